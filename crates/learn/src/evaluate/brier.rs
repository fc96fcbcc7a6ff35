//! The squared distance between probabilities and what happened.
//!
//! Two classes: mean (p − y)² of the second class, 0 to 1. More: mean over rows of Σ over classes
//! (p − y)², 0 to 2. These are the two scales of scikit-learn's `brier_score_loss` by default.
//! Absent only without rows.
//!
//! ```
//! use ombud_learn::evaluate::{Classified, brier::brier};
//! let sample = Classified::new(&[1], &[0.5, 0.5], 2)?;
//! assert_eq!(brier(&sample), Ok(0.25));
//! # Ok::<(), ombud_learn::evaluate::SampleError>(())
//! ```

use super::metric::{Undefined, weighted_mean};
use super::sample::Classified;

pub fn brier(sample: &Classified) -> Result<f64, Undefined> {
    weighted_mean(&row_scores(sample), sample.weights())
}

pub(crate) fn row_scores(sample: &Classified) -> Vec<f64> {
    let distance = |probability: f64, is_true: bool| (probability - f64::from(is_true)).powi(2);
    let of_row = |(row, &label): (usize, &u32)| {
        let probabilities = sample.probabilities_of(row);
        if let [_, positive] = probabilities {
            return distance(*positive, label == 1);
        }
        probabilities
            .iter()
            .enumerate()
            .map(|(class, &p)| distance(p, class == label as usize))
            .sum()
    };
    sample.labels().iter().enumerate().map(of_row).collect()
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{assert_close, binary, multiclass};
    use super::*;

    #[test]
    fn brier_is_scikit_learns() {
        // scikit-learn 1.9.1, brier_score_loss.
        for (sample, expected) in [
            (binary().sample(), 0.24093793376958159),
            (binary().weighted(), 0.23611937338885583),
            (multiclass().sample(), 0.45926367510097016),
            (multiclass().weighted(), 0.46283843797450513),
        ] {
            assert_close(brier(&sample).expect("defined"), expected);
        }
    }
}
