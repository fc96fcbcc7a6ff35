//! How far decisions are off, where classes have an order.
//!
//! Quadratic weighted kappa: 1 − Σ (i − j)² · observed / Σ (i − j)² · expected, where expected is
//! what the same marginal counts would give by chance; 1 is perfect, 0 is chance. Level error: mean
//! |i − j|, in levels. Kappa is absent when nothing but one class occurs on both sides (there is no
//! chance to disagree).
//!
//! ```
//! use ombud_learn::evaluate::{Classified, confusion::Confusion, ordered::level_error};
//! let sample = Classified::new(&[2], &[0.8, 0.1, 0.1], 3)?;
//! assert_eq!(level_error(&Confusion::of(&sample)), Ok(2.0));
//! # Ok::<(), ombud_learn::evaluate::SampleError>(())
//! ```

use super::confusion::Confusion;
use super::metric::{Undefined, divide};

pub fn quadratic_kappa(confusion: &Confusion) -> Result<f64, Undefined> {
    let total = confusion.total();
    if total <= 0.0 {
        return Err(Undefined::NoRows);
    }
    let mut observed = 0.0;
    let mut expected = 0.0;
    for (truth, decision) in pairs(confusion.class_count()) {
        let distance = (truth as f64 - decision as f64).powi(2);
        observed += distance * confusion.count(truth, decision);
        expected += distance * confusion.truth(truth) * confusion.chosen(decision) / total;
    }
    Ok(1.0 - divide(observed, expected, Undefined::NoDisagreementPossible)?)
}

/// Mean distance in levels between truth and decision.
pub fn level_error(confusion: &Confusion) -> Result<f64, Undefined> {
    let off = |(truth, decision): (usize, usize)| {
        truth.abs_diff(decision) as f64 * confusion.count(truth, decision)
    };
    divide(
        pairs(confusion.class_count()).map(off).sum(),
        confusion.total(),
        Undefined::NoRows,
    )
}

fn pairs(class_count: usize) -> impl Iterator<Item = (usize, usize)> {
    (0..class_count).flat_map(move |truth| (0..class_count).map(move |decision| (truth, decision)))
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{assert_close, multiclass};
    use super::*;

    #[test]
    fn kappa_and_level_error_are_scikit_learns() {
        // scikit-learn 1.9.1: cohen_kappa_score(weights="quadratic"), mean_absolute_error of the
        // levels.
        let rows = multiclass();
        let plain = Confusion::of(&rows.sample());
        assert_close(
            quadratic_kappa(&plain).expect("defined"),
            0.5210084033613446,
        );
        assert_close(level_error(&plain).expect("defined"), 0.43333333333333335);
        let weighted = Confusion::of(&rows.weighted());
        assert_close(
            quadratic_kappa(&weighted).expect("defined"),
            0.5660159840471108,
        );
        assert_close(
            level_error(&weighted).expect("defined"),
            0.41533546325878595,
        );
    }

    #[test]
    fn one_class_on_both_sides_has_no_kappa() {
        let confusion = Confusion::from_counts(vec![5.0, 0.0, 0.0, 0.0], 2);
        assert_eq!(
            quadratic_kappa(&confusion),
            Err(Undefined::NoDisagreementPossible)
        );
        assert_eq!(level_error(&confusion), Ok(0.0));
    }
}
