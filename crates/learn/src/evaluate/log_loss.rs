//! How surprised the model was: mean −ln p(true class).
//!
//! Probabilities are held within ε = 2⁻⁵² of 0 and 1, as scikit-learn holds them, so a certain
//! error costs 36, not infinity. A row need not sum to one; it is taken as it is. Absent only
//! without rows.
//!
//! ```
//! use ombud_learn::evaluate::{Classified, log_loss::log_loss};
//! let sample = Classified::new(&[1], &[0.5, 0.5], 2)?;
//! assert_eq!(log_loss(&sample), Ok(2f64.ln()));
//! # Ok::<(), ombud_learn::evaluate::SampleError>(())
//! ```

use super::metric::{Undefined, weighted_mean};
use super::sample::Classified;

pub fn log_loss(sample: &Classified) -> Result<f64, Undefined> {
    weighted_mean(&row_losses(sample), sample.weights())
}

pub(crate) fn row_losses(sample: &Classified) -> Vec<f64> {
    let of_row =
        |(row, &label): (usize, &u32)| surprise(sample.probabilities_of(row)[label as usize]);
    sample.labels().iter().enumerate().map(of_row).collect()
}

/// −ln p, with p held off 0 and 1.
pub(crate) fn surprise(probability: f64) -> f64 {
    -probability.clamp(f64::EPSILON, 1.0 - f64::EPSILON).ln()
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{assert_close, binary, multiclass, tied};
    use super::*;

    #[test]
    fn log_loss_is_scikit_learns() {
        // scikit-learn 1.9.1, log_loss.
        for (sample, expected) in [
            (binary().sample(), 0.8029378281806581),
            (binary().weighted(), 0.7767979491452857),
            (tied().sample(), 3.531464934190283),
            (multiclass().sample(), 0.7673260509644688),
            (multiclass().weighted(), 0.7704772483160328),
        ] {
            assert_close(log_loss(&sample).expect("defined"), expected);
        }
    }
}
