//! Whether confidence means what it says.
//!
//! Rows are binned by confidence into 15 bins of equal width, (0, 1/15], …, (14/15, 1]. The curve
//! gives each bin's mean confidence beside the share that was right; the expected calibration error
//! is ECE = Σ over bins (weight of bin / weight of all) · |mean confidence − share right|.
//! Confidence is the highest probability of the row and right means that this class is the true
//! one, whatever a rule with thresholds decided (Guo et al. 2017). Empty bins are left out of the
//! curve and add nothing. ECE is never negative and, by chance alone, never quite zero: read it
//! with its interval.
//!
//! ```
//! use ombud_learn::evaluate::reliability::{Confidence, expected_calibration_error};
//! let sure_and_half_right = Confidence::new(vec![1.0, 1.0], vec![true, false]);
//! assert_eq!(expected_calibration_error(&sure_and_half_right, &[1.0; 2]), Ok(0.5));
//! ```

use serde::{Deserialize, Serialize};

use super::metric::{Undefined, divide};
use super::sample::{Classified, top_class};

/// Bins of the curve and of the calibration error.
pub const BINS: usize = 15;

/// How sure each row was, and whether it was right.
#[derive(Debug, Clone)]
pub struct Confidence {
    levels: Vec<f64>,
    is_right: Vec<bool>,
    bins: Vec<u8>,
}

/// One bin of the reliability curve.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct ReliabilityBin {
    /// The bin holds confidences above `from` and up to `to`.
    pub from: f64,
    pub to: f64,
    pub weight: f64,
    pub mean_confidence: f64,
    pub share_right: f64,
}

#[derive(Debug, Clone, Copy, Default)]
struct Tally {
    weight: f64,
    confidence: f64,
    right: f64,
}

impl Confidence {
    pub fn new(levels: Vec<f64>, is_right: Vec<bool>) -> Self {
        let bins = levels.iter().map(|level| bin_of(*level)).collect();
        Self {
            levels,
            is_right,
            bins,
        }
    }

    /// The most probable class of each row against the truth.
    pub fn of(sample: &Classified) -> Self {
        let tops: Vec<usize> = (0..sample.rows())
            .map(|row| top_class(sample.probabilities_of(row)))
            .collect();
        let levels = tops
            .iter()
            .enumerate()
            .map(|(row, &top)| sample.probabilities_of(row)[top])
            .collect();
        let is_right = tops
            .iter()
            .zip(sample.labels())
            .map(|(&top, &label)| top == label as usize)
            .collect();
        Self::new(levels, is_right)
    }
}

/// The bins that hold rows, from the least confident.
pub fn reliability_curve(confidence: &Confidence, weights: &[f64]) -> Vec<ReliabilityBin> {
    let bin = |(at, tally): (usize, &Tally)| ReliabilityBin {
        from: at as f64 / BINS as f64,
        to: (at + 1) as f64 / BINS as f64,
        weight: tally.weight,
        mean_confidence: tally.confidence / tally.weight,
        share_right: tally.right / tally.weight,
    };
    let tallies = tally(confidence, weights);
    tallies
        .iter()
        .enumerate()
        .filter(|(_, tally)| tally.weight > 0.0)
        .map(bin)
        .collect()
}

pub fn expected_calibration_error(
    confidence: &Confidence,
    weights: &[f64],
) -> Result<f64, Undefined> {
    let tallies = tally(confidence, weights);
    let gaps: f64 = tallies
        .iter()
        .map(|tally| (tally.confidence - tally.right).abs())
        .sum();
    divide(
        gaps,
        tallies.iter().map(|tally| tally.weight).sum(),
        Undefined::NoRows,
    )
}

fn tally(confidence: &Confidence, weights: &[f64]) -> [Tally; BINS] {
    let mut tallies = [Tally::default(); BINS];
    for (row, weight) in weights.iter().enumerate() {
        let tally = &mut tallies[confidence.bins[row] as usize];
        tally.weight += weight;
        tally.confidence += weight * confidence.levels[row];
        tally.right += weight * f64::from(confidence.is_right[row]);
    }
    tallies
}

fn bin_of(level: f64) -> u8 {
    ((level * BINS as f64).ceil() as usize).clamp(1, BINS) as u8 - 1
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{assert_close, binary, multiclass};
    use super::*;

    #[test]
    fn calibration_error_is_the_formulas() {
        // numpy 2: the formula above, bin by bin.
        for (sample, expected) in [
            (binary().sample(), 0.2239837398373984),
            (binary().weighted(), 0.20975609756097563),
            (multiclass().sample(), 0.1574589459808713),
            (multiclass().weighted(), 0.1685830577094624),
        ] {
            let found = expected_calibration_error(&Confidence::of(&sample), sample.weights());
            assert_close(found.expect("defined"), expected);
        }
    }

    #[test]
    fn the_curve_holds_every_row_and_only_bins_with_rows() {
        let rows = binary();
        let curve = reliability_curve(&Confidence::of(&rows.sample()), rows.sample().weights());
        assert_eq!(curve.iter().map(|bin| bin.weight).sum::<f64>(), 60.0);
        assert!(
            curve
                .iter()
                .all(|bin| bin.from >= 0.4 && bin.from < bin.mean_confidence)
        );
        assert!(curve.iter().all(|bin| bin.mean_confidence <= bin.to));
    }

    #[test]
    fn both_ends_have_a_bin() {
        assert_eq!(
            [bin_of(0.0), bin_of(1e-9), bin_of(0.5), bin_of(1.0)],
            [0, 0, 7, 14]
        );
    }
}
