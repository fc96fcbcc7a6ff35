//! What one run may build and compute.
//!
//! A graph of a few bytes can ask for tensors larger than any memory, or double one a hundred times. Every operator
//! claims its output here before it allocates, and its multiplications before it computes; the sums are bounded.

use std::cell::Cell;

use super::tensor::{Data, Fault, Value};

/// Most elements that all operators of a run may build: one gibibyte of doubles.
const ELEMENTS_MAX: u64 = 1 << 27;
/// And for each of its rows. A graph is tried on a row at a time before it is taken in, so that one that asks for too much is
/// refused within seconds.
const ROW_ELEMENTS_MAX: u64 = 1 << 26;
/// Most steps of arithmetic in a run: some tens of seconds.
const STEPS_MAX: u64 = 1 << 35;
/// And for each of its rows.
const ROW_STEPS_MAX: u64 = 1 << 32;
/// What calling an operator costs beside what it computes.
const CALL_STEPS: usize = 256;

/// What is left.
#[derive(Debug)]
pub(super) struct Budget {
    elements: Cell<u64>,
    steps: Cell<u64>,
}

impl Budget {
    /// What so many rows may cost together.
    pub(super) fn of_rows(rows: usize) -> Self {
        let rows = rows.max(1) as u64;
        let most = |a_row: u64, in_all: u64| Cell::new(rows.saturating_mul(a_row).min(in_all));
        Budget {
            elements: most(ROW_ELEMENTS_MAX, ELEMENTS_MAX),
            steps: most(ROW_STEPS_MAX, STEPS_MAX),
        }
    }

    /// A budget of one's own.
    #[cfg(test)]
    pub(super) fn of(elements: u64, steps: u64) -> Self {
        Budget {
            elements: Cell::new(elements),
            steps: Cell::new(steps),
        }
    }

    /// Asks for room for this many elements.
    pub(super) fn claim(&self, elements: usize) -> Result<(), Fault> {
        spend(
            &self.elements,
            elements,
            "the run builds more elements than are allowed: 2^26 a row, 2^27 in all",
        )
    }

    /// Asks for the call of an operator: even one on nothing costs, so that loops over empty tensors end, and every text that
    /// it may have to read costs its length, however often it is the same one.
    pub(super) fn call(&self, inputs: &[Option<&Value>]) -> Result<(), Fault> {
        let texts = inputs.iter().flatten().filter_map(|value| match value {
            Value::Tensor(tensor) => match tensor.data() {
                Data::Text(texts) => Some(texts),
                _ => None,
            },
            Value::Maps(_) => None,
        });
        let bytes = texts.map(|texts| texts.iter().map(|text| text.len()).sum::<usize>());
        self.work(bytes.fold(CALL_STEPS, usize::saturating_add))
    }

    /// Asks for this many multiplications or comparisons.
    pub(super) fn work(&self, steps: usize) -> Result<(), Fault> {
        spend(
            &self.steps,
            steps,
            "the run takes more steps than are allowed: 2^32 a row, 2^35 in all",
        )
    }
}

fn spend(left: &Cell<u64>, amount: usize, reason: &'static str) -> Result<(), Fault> {
    let rest = left
        .get()
        .checked_sub(amount as u64)
        .ok_or_else(|| Fault::new(reason))?;
    left.set(rest);
    Ok(())
}
