//! Tells whether one model is better than another on the same rows.
//!
//! Both models answered the same rows, so every test here is paired: what both get right or wrong
//! alike says nothing. [`mcnemar`] asks about being right, [`delong`] about ranking two classes,
//! [`paired`] about any metric. The [`verdict`] says in a sentence what the numbers allow. Nothing
//! here decides a promotion; gates do, with these numbers.
//!
//! ```
//! use ombud_learn::{compare::{Options, classification}, evaluate::Classified};
//! let labels = [0, 1].repeat(50);
//! let sure = [0.9, 0.1, 0.1, 0.9].repeat(50);
//! let unsure = [0.6, 0.4, 0.4, 0.6].repeat(50);
//! let a = Classified::new(&labels, &unsure, 2)?;
//! let b = Classified::new(&labels, &sure, 2)?;
//! let comparison = classification(&a, &b, &Options::default())?;
//! assert!(comparison.verdicts["log_loss"].sentence.starts_with("B is better than A on log_loss"));
//! # Ok::<(), ombud_learn::compare::CompareError>(())
//! ```

pub mod delong;
pub mod mcnemar;
pub mod paired;
pub mod verdict;

use std::collections::BTreeMap;

use serde::Serialize;

use crate::evaluate::classification::Order;
use crate::evaluate::metric::Undefined;
use crate::evaluate::{Classified, Regressed, Resampling, SampleError};
use delong::DeLong;
use mcnemar::McNemar;
use paired::PairedDifference;
use verdict::Verdict;

#[derive(Debug, Clone)]
pub struct Options<'a> {
    pub order: Order,
    /// The chance of calling equal models different that is accepted.
    pub alpha: f64,
    /// `level` is 1 − `alpha` whatever is set here.
    pub resampling: Resampling<'a>,
}

/// Two models side by side; every difference is B − A.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Comparison {
    pub rows: usize,
    pub differences: BTreeMap<String, PairedDifference>,
    pub absent: BTreeMap<String, Undefined>,
    /// For classes only.
    pub mcnemar: Option<McNemar>,
    /// For two classes without weights or subjects only, where both occur.
    pub delong: Option<DeLong>,
    /// By metric; metrics that are neither good nor bad when high have none.
    pub verdicts: BTreeMap<String, Verdict>,
}

#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum CompareError {
    #[error("the models were given different rows: {what} differ")]
    DifferentRows { what: &'static str },
    #[error(transparent)]
    Sample(#[from] SampleError),
}

impl Default for Options<'_> {
    fn default() -> Self {
        Self {
            order: Order::None,
            alpha: 0.05,
            resampling: Resampling::default(),
        }
    }
}

/// Compares classifiers on every headline metric.
pub fn classification(
    a: &Classified,
    b: &Classified,
    options: &Options,
) -> Result<Comparison, CompareError> {
    same(
        "the true classes",
        a.labels() == b.labels() && a.class_count() == b.class_count(),
    )?;
    same("the weights", a.weights() == b.weights())?;
    options.resampling.check(a.rows())?;
    let right = |sample: &Classified| -> Vec<bool> {
        sample
            .labels()
            .iter()
            .zip(sample.decisions())
            .map(|(label, decision)| label == decision)
            .collect()
    };
    let is_plain =
        options.resampling.subjects.is_none() && a.weights().iter().all(|&weight| weight == 1.0);
    let has_delong = is_plain && a.class_count() == 2;
    let delong = has_delong
        .then(|| delong::delong(&a.is_of(1), &a.scores(1), &b.scores(1), 1.0 - options.alpha));
    let outcomes = paired::classification(a, b, options.order, &options.resampling());
    Ok(Comparison {
        mcnemar: Some(mcnemar::mcnemar(&right(a), &right(b))),
        delong: delong.and_then(Result::ok),
        ..Comparison::new(a.rows(), outcomes, options.alpha)
    })
}

/// Compares predictors of numbers on every headline metric.
pub fn regression(
    a: &Regressed,
    b: &Regressed,
    options: &Options,
) -> Result<Comparison, CompareError> {
    same("the true values", a.truth() == b.truth())?;
    same("the weights", a.weights() == b.weights())?;
    options.resampling.check(a.rows())?;
    let outcomes = paired::regression(a, b, &options.resampling());
    Ok(Comparison::new(a.rows(), outcomes, options.alpha))
}

impl<'a> Options<'a> {
    fn resampling(&self) -> Resampling<'a> {
        Resampling {
            level: 1.0 - self.alpha,
            ..self.resampling.clone()
        }
    }
}

impl Comparison {
    fn new(rows: usize, outcomes: paired::Outcomes, alpha: f64) -> Self {
        let mut comparison = Self {
            rows,
            differences: BTreeMap::new(),
            absent: BTreeMap::new(),
            mcnemar: None,
            delong: None,
            verdicts: BTreeMap::new(),
        };
        for (name, outcome) in outcomes {
            match outcome {
                Err(reason) => drop(comparison.absent.insert(name.to_owned(), reason)),
                Ok(difference) => comparison.insert(name, difference, alpha),
            }
        }
        comparison
    }

    fn insert(&mut self, name: &str, difference: PairedDifference, alpha: f64) {
        if let Some(verdict) = verdict::verdict(name, &difference, alpha) {
            self.verdicts.insert(name.to_owned(), verdict);
        }
        self.differences.insert(name.to_owned(), difference);
    }
}

fn same(what: &'static str, is_same: bool) -> Result<(), CompareError> {
    if is_same {
        Ok(())
    } else {
        Err(CompareError::DifferentRows { what })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evaluate::fixture::{assert_close, binary, numbers, tied};

    #[test]
    fn models_of_different_rows_are_not_compared() {
        let rows = binary();
        let other = Classified::new(&[0; 60], &rows.probabilities, 2).expect("valid");
        let refusal =
            classification(&rows.sample(), &other, &Options::default()).expect_err("different");
        assert_eq!(
            refusal.to_string(),
            "the models were given different rows: the true classes differ"
        );
        assert!(classification(&rows.sample(), &rows.weighted(), &Options::default()).is_err());
    }

    #[test]
    fn a_model_compared_with_itself_is_not_different() {
        let rows = binary();
        let comparison =
            classification(&rows.sample(), &rows.sample(), &Options::default()).expect("compares");
        for (name, verdict) in &comparison.verdicts {
            assert_eq!(verdict.better, None, "{name}");
            assert_eq!(comparison.differences[name].difference, 0.0);
            assert_eq!(comparison.differences[name].p_value, Some(1.0));
        }
        assert_eq!(comparison.mcnemar.expect("classes").p_value, 1.0);
    }

    #[test]
    fn every_test_that_fits_is_there() {
        let (a, b) = (binary(), tied());
        let plain =
            classification(&a.sample(), &b.sample(), &Options::default()).expect("compares");
        assert!(plain.mcnemar.is_some() && plain.delong.is_some());
        let auc = &plain.differences["roc_auc"];
        let delong = plain.delong.expect("two classes");
        assert_close(auc.difference, delong.difference);
        let weighted =
            classification(&a.weighted(), &b.weighted(), &Options::default()).expect("compares");
        assert!(weighted.delong.is_none());
    }

    #[test]
    fn numbers_are_compared_by_their_errors() {
        let rows = numbers();
        let worse: Vec<f64> = rows
            .predicted
            .iter()
            .zip(&rows.truth)
            .map(|(guess, y)| guess + (guess - y))
            .collect();
        let a = Regressed::new(&rows.truth, &rows.predicted).expect("valid");
        let b = Regressed::new(&rows.truth, &worse).expect("valid");
        let comparison = regression(&a, &b, &Options::default()).expect("compares");
        assert_eq!(comparison.verdicts["rmse"].better, Some(verdict::Side::A));
        assert_close(comparison.differences["mae"].difference, 0.8306122448979592);
        assert!(!comparison.verdicts.contains_key("mean_error"));
    }
}
