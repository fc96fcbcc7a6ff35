//! Temperature scaling: one number that makes a model more or less sure of everything.
//!
//! p′ = softmax(ln p / t), or σ(logit p / t) for independent labels, with the t that minimizes log
//! loss. In β = 1/t the loss is convex, so Newton's method inside a shrinking bracket finds it
//! surely. Sums run over fixed chunks of rows, added in order, so threads change nothing. Equals
//! scikit-learn's `method="temperature"`. t is held between [`TEMPERATURE_MIN`] and
//! [`TEMPERATURE_MAX`]; a model that is right everywhere, or no better than chance, ends at those.
//!
//! ```
//! use ombud_learn::{calibrate::temperature, evaluate::Classified};
//! // Says 0.9 and is right three times of four: t must bring 0.9 to 0.75, halving its logit.
//! let probabilities = [0.1, 0.9].repeat(4);
//! let sample = Classified::new(&[1, 1, 1, 0], &probabilities, 2)?;
//! let t = temperature::fit(&(&sample).into(), &[0, 1, 2, 3]);
//! assert!((t - 2.0).abs() < 1e-9);
//! # Ok::<(), ombud_learn::evaluate::SampleError>(())
//! ```

use ombud_engine::calibration::{Classes, PROBABILITY_FLOOR, logit, sigmoid};
use rayon::prelude::*;

use super::Evidence;

/// Ten times the logits: more would make a model certain that was merely right on a few hundred
/// rows.
pub const TEMPERATURE_MIN: f64 = 0.1;
/// A hundredth of the logits: all but the base rates' order is gone.
pub const TEMPERATURE_MAX: f64 = 100.0;

/// Steps of the search; halving alone would need 60 to reach the last bit.
const STEPS_MAX: usize = 100;

/// Rows per partial sum; fixed, because it decides the rounding.
const CHUNK_ROWS: usize = 4_096;

pub fn fit(evidence: &Evidence, rows: &[u32]) -> f64 {
    let (mut low, mut high) = (1.0 / TEMPERATURE_MAX, 1.0 / TEMPERATURE_MIN);
    let mut beta = 1.0f64;
    for _ in 0..STEPS_MAX {
        let Slopes { first, second } = slopes(evidence, rows, beta);
        if first > 0.0 {
            high = beta;
        } else {
            low = beta;
        }
        let newton = beta - first / second;
        let next = if newton > low && newton < high {
            newton
        } else {
            (low + high) / 2.0
        };
        if (next - beta).abs() <= 1e-14 * beta || first == 0.0 {
            break;
        }
        beta = next;
    }
    (1.0 / beta).clamp(TEMPERATURE_MIN, TEMPERATURE_MAX)
}

/// Derivatives of the loss by β.
#[derive(Debug, Clone, Copy, Default)]
struct Slopes {
    first: f64,
    second: f64,
}

impl Slopes {
    fn plus(self, other: Self) -> Self {
        Self {
            first: self.first + other.first,
            second: self.second + other.second,
        }
    }

    fn times(self, weight: f64) -> Self {
        Self {
            first: weight * self.first,
            second: weight * self.second,
        }
    }
}

fn slopes(evidence: &Evidence, rows: &[u32], beta: f64) -> Slopes {
    let of_row = |row: usize, logs: &mut Vec<f64>| match evidence.classes() {
        Classes::Exclusive => exclusive(evidence, row, beta, logs),
        Classes::Independent => independent(evidence, row, beta),
    };
    let of_chunk = |chunk: &[u32]| {
        let mut logs = Vec::new();
        let add = |sum: Slopes, &row: &u32| {
            let row = row as usize;
            sum.plus(of_row(row, &mut logs).times(evidence.weight(row)))
        };
        chunk.iter().fold(Slopes::default(), add)
    };
    let sums: Vec<Slopes> = rows.par_chunks(CHUNK_ROWS).map(of_chunk).collect();
    sums.into_iter().fold(Slopes::default(), Slopes::plus)
}

/// First: the mean logarithm under the softened row minus the true class's; second: its variance.
fn exclusive(evidence: &Evidence, row: usize, beta: f64, logs: &mut Vec<f64>) -> Slopes {
    logs.clear();
    logs.extend(
        evidence
            .probabilities(row)
            .iter()
            .map(|p| p.max(PROBABILITY_FLOOR).ln()),
    );
    let highest = logs.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let (mut total, mut mean, mut square, mut truth) = (0.0, 0.0, 0.0, 0.0);
    for (class, &log) in logs.iter().enumerate() {
        let share = (beta * (log - highest)).exp();
        total += share;
        mean += share * log;
        square += share * log * log;
        if evidence.is_true(row, class) {
            truth = log;
        }
    }
    mean /= total;
    Slopes {
        first: mean - truth,
        second: (square / total - mean * mean).max(0.0),
    }
}

fn independent(evidence: &Evidence, row: usize, beta: f64) -> Slopes {
    let of_label = |(label, &p): (usize, &f64)| {
        let z = logit(p);
        let share = sigmoid(beta * z);
        let truth = f64::from(evidence.is_true(row, label));
        Slopes {
            first: (share - truth) * z,
            second: share * (1.0 - share) * z * z,
        }
    };
    evidence
        .probabilities(row)
        .iter()
        .enumerate()
        .map(of_label)
        .fold(Slopes::default(), Slopes::plus)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evaluate::fixture::{binary, multiclass};
    use crate::evaluate::{Classified, MultiLabelled};

    fn fitted(sample: &Classified) -> f64 {
        let rows: Vec<u32> = (0..sample.rows() as u32).collect();
        fit(&sample.into(), &rows)
    }

    #[test]
    fn the_temperature_is_scikit_learns() {
        // scikit-learn 1.9.1, CalibratedClassifierCV's _TemperatureScaling, 1 / beta_; its search
        // stops at about 1e-8.
        for (found, expected) in [
            (fitted(&multiclass().sample()), 0.36940345711172373),
            (fitted(&multiclass().weighted()), 0.3656874059348129),
            (fitted(&binary().sample()), 3.9249249504314916),
        ] {
            assert!(
                (found / expected - 1.0).abs() < 1e-6,
                "{found} is not {expected}"
            );
        }
    }

    #[test]
    fn two_exclusive_classes_and_one_label_are_the_same_question() {
        let rows = binary();
        let truth = rows.positive();
        let label = MultiLabelled::new(&truth, &rows.scores, 1).expect("valid");
        let all: Vec<u32> = (0..60).collect();
        let independent = fit(&(&label).into(), &all);
        assert!((independent / fitted(&rows.sample()) - 1.0).abs() < 1e-9);
    }

    #[test]
    fn a_perfect_and_a_hopeless_model_end_at_the_bounds() {
        let perfect = Classified::new(&[0, 1], &[0.6, 0.4, 0.4, 0.6], 2).expect("valid");
        assert!((fitted(&perfect) - TEMPERATURE_MIN).abs() < 1e-6);
        let hopeless = Classified::new(&[1, 0], &[0.6, 0.4, 0.4, 0.6], 2).expect("valid");
        assert!((fitted(&hopeless) - TEMPERATURE_MAX).abs() < 1e-6);
    }
}
