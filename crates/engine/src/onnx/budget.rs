//! What one run may build and compute.
//!
//! A graph of a few bytes can ask for tensors larger than any memory, or double one a hundred times. Every operator
//! claims its output here before it allocates, and its multiplications before it computes; the sums are bounded.

use std::cell::Cell;

use super::tensor::Fault;

/// Most elements that all operators of a run may build: one gibibyte of doubles.
const ELEMENTS_MAX: u64 = 1 << 27;
/// Most steps of arithmetic in a run: some tens of seconds.
const STEPS_MAX: u64 = 1 << 35;

/// What is left.
#[derive(Debug)]
pub(super) struct Budget {
    elements: Cell<u64>,
    steps: Cell<u64>,
}

impl Default for Budget {
    fn default() -> Self {
        Budget {
            elements: Cell::new(ELEMENTS_MAX),
            steps: Cell::new(STEPS_MAX),
        }
    }
}

impl Budget {
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
            "the run builds more than the 2^27 elements allowed",
        )
    }

    /// Asks for this many multiplications or comparisons.
    pub(super) fn work(&self, steps: usize) -> Result<(), Fault> {
        spend(
            &self.steps,
            steps,
            "the run takes more than the 2^35 steps allowed",
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
