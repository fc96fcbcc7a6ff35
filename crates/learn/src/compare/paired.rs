//! Paired bootstrap: how much does any metric differ between two models?
//!
//! Each replicate draws rows once and measures both models on them; the interval is that of B − A,
//! so what makes rows hard for both cancels. The two-sided p-value is 2 · (min(#\[Δ ≤ 0\], #\[Δ ≥
//! 0\]) + 1) / (B + 1), at most 1: with 1,000 replicates never below 0.002. A metric that is
//! undefined for either model is absent. Draws, cost bound and subjects are
//! [`crate::evaluate::bootstrap`]'s.
//!
//! ```
//! use ombud_learn::{compare::paired::regression, evaluate::{Regressed, Resampling}};
//! let truth: Vec<f64> = (0..40).map(f64::from).collect();
//! let off_by_one: Vec<f64> = truth.iter().map(|y| y + 1.0).collect();
//! let (a, b) = (Regressed::new(&truth, &off_by_one)?, Regressed::new(&truth, &truth)?);
//! let (name, outcome) = &regression(&a, &b, &Resampling::default())[1];
//! assert_eq!((*name, outcome.as_ref().map(|found| found.difference)), ("mae", Ok(-1.0)));
//! # Ok::<(), ombud_learn::evaluate::SampleError>(())
//! ```

use ombud_engine::conformal::Interval;
use serde::Serialize;

use crate::evaluate::bootstrap::{Measured, Resampling, Scorer, measure_spread};
use crate::evaluate::classification::{self, Order, headline_names, visits_per_row};
use crate::evaluate::metric::Undefined;
use crate::evaluate::regression;
use crate::evaluate::sample::{Classified, Regressed};

/// One metric of both models.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct PairedDifference {
    pub a: f64,
    pub b: f64,
    /// B − A.
    pub difference: f64,
    /// Absent, as the p-value, when there were too few rows to resample.
    pub interval: Option<Interval>,
    pub p_value: Option<f64>,
}

/// A difference, or the reason why there is none, for each metric.
pub type Outcomes = Vec<(&'static str, Result<PairedDifference, Undefined>)>;

/// Every headline metric of two classifiers of the same rows.
pub fn classification(
    a: &Classified,
    b: &Classified,
    order: Order,
    resampling: &Resampling,
) -> Outcomes {
    let names = headline_names(order);
    let visits = 2 * visits_per_row(a);
    let measured = measure_spread(a.weights(), visits, resampling, |rows| match rows {
        None => Pair::new(
            classification::Prepared::new(a, order),
            classification::Prepared::new(b, order),
            names.len(),
        ),
        Some(rows) => Pair::new(
            classification::Prepared::new(&a.select(rows), order),
            classification::Prepared::new(&b.select(rows), order),
            names.len(),
        ),
    });
    outcomes(names, measured)
}

/// Every headline metric of two predictors of the same numbers; those of intervals only when both
/// give intervals.
pub fn regression(a: &Regressed, b: &Regressed, resampling: &Resampling) -> Outcomes {
    let (of_a, of_b) = (regression::headline_names(a), regression::headline_names(b));
    let names = if of_a.len() < of_b.len() { of_a } else { of_b };
    let visits = 2 * regression::VISITS_PER_ROW;
    let measured = measure_spread(a.weights(), visits, resampling, |rows| match rows {
        None => Pair::new(
            regression::Prepared::new(a),
            regression::Prepared::new(b),
            names.len(),
        ),
        Some(rows) => Pair::new(
            regression::Prepared::new(&a.select(rows)),
            regression::Prepared::new(&b.select(rows)),
            names.len(),
        ),
    });
    outcomes(names, measured)
}

/// Scores both models with the same weights: all differences, then all of A, then all of B.
struct Pair<S> {
    a: S,
    b: S,
    count: usize,
}

impl<S> Pair<S> {
    fn new(a: S, b: S, count: usize) -> Self {
        Self { a, b, count }
    }
}

impl<S: Scorer> Scorer for Pair<S> {
    fn score(&self, weights: &[f64]) -> Vec<Result<f64, Undefined>> {
        let (mut a, mut b) = (self.a.score(weights), self.b.score(weights));
        a.truncate(self.count);
        b.truncate(self.count);
        let mut scores: Vec<_> = a.iter().zip(&b).map(|(a, b)| Ok((*b)? - (*a)?)).collect();
        scores.append(&mut a);
        scores.append(&mut b);
        scores
    }

    fn is_biased(&self, index: usize) -> bool {
        self.a.is_biased(index % self.count)
    }
}

fn outcomes(names: Vec<&'static str>, measured: Vec<Result<Measured, Undefined>>) -> Outcomes {
    let count = names.len();
    let value = |index: usize| {
        measured[index]
            .as_ref()
            .map(|measured| measured.value)
            .map_err(|reason| *reason)
    };
    let difference = |at: usize| {
        let measured = measured[at].as_ref().map_err(|reason| *reason)?;
        let spread = measured.spread.as_ref();
        Ok(PairedDifference {
            a: value(count + at)?,
            b: value(2 * count + at)?,
            difference: measured.value,
            interval: spread.map(|spread| spread.interval),
            p_value: spread.map(|spread| p_value(&spread.replicates)),
        })
    };
    names
        .into_iter()
        .enumerate()
        .map(|(at, name)| (name, difference(at)))
        .collect()
}

fn p_value(differences: &[f64]) -> f64 {
    let not_above = differences
        .iter()
        .filter(|difference| **difference <= 0.0)
        .count();
    let not_below = differences
        .iter()
        .filter(|difference| **difference >= 0.0)
        .count();
    (2.0 * (not_above.min(not_below) + 1) as f64 / (differences.len() + 1) as f64).min(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evaluate::fixture::{assert_close, binary};
    use crate::random::Random;

    #[test]
    fn equal_models_are_called_different_about_as_often_as_alpha() {
        let mut random = Random::new(9);
        let trials = 200;
        let mut called = 0;
        for seed in 0..trials {
            let truth = [0.0; 80];
            let noise = |random: &mut Random| -> Vec<f64> {
                (0..80).map(|_| random.unit() - 0.5).collect()
            };
            let (a, b) = (noise(&mut random), noise(&mut random));
            let (a, b) = (
                Regressed::new(&truth, &a).expect("valid"),
                Regressed::new(&truth, &b).expect("valid"),
            );
            let resampling = Resampling {
                replicates: 400,
                seed,
                ..Resampling::default()
            };
            let outcome = regression(&a, &b, &resampling)[0].1.expect("defined");
            called += u32::from(outcome.p_value.expect("80 rows") < 0.05);
        }
        assert!((3..=20).contains(&called), "{called} of {trials}");
    }

    #[test]
    fn differences_are_b_minus_a_and_lie_in_their_intervals() {
        let rows = binary();
        let sharper: Vec<f64> = rows
            .scores
            .iter()
            .map(|score| (score * 3.0).min(0.99))
            .collect();
        let sharper: Vec<f64> = sharper
            .iter()
            .flat_map(|&score| [1.0 - score, score])
            .collect();
        let b = Classified::new(&rows.labels, &sharper, 2).expect("valid");
        for (name, outcome) in
            classification(&rows.sample(), &b, Order::None, &Resampling::default())
        {
            let found = outcome.expect(name);
            assert_close(found.difference, found.b - found.a);
            let interval = found.interval.expect("60 rows");
            assert!(interval.contains(found.difference), "{name} {found:?}");
        }
    }

    #[test]
    fn the_p_value_is_never_zero_and_never_above_one() {
        assert_eq!(p_value(&[1.0; 999]), 0.002);
        assert_eq!(p_value(&[0.0; 999]), 1.0);
    }
}
