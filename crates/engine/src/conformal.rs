//! Bounds that keep their word: intervals and sets that hold the truth as often as promised.
//!
//! Split conformal prediction. On `n` rows the model was not trained on, a score says how wrong the
//! model was; the bound is the `ceil((n + 1) · coverage)`-th smallest of them. If new rows come
//! from where those came from, the answer holds the truth with at least the promised probability,
//! whatever the model (Vovk; Lei et al. 2018).
//!
//! | rule | score of a calibration row | answer |
//! | --- | --- | --- |
//! | [`ResidualBand`] | \|y − ŷ\| | ŷ ± bound: the same width for everyone |
//! | [`QuantileBand`] (CQR, Romano et al. 2019) | max(lower − y, y − upper) | \[lower − bound, upper + bound\]: wide where the model is unsure |
//! | [`LabelSets`] (LAC, Sadinle et al. 2019) | 1 − p(true class) | every class with 1 − p ≤ bound |
//!
//! LAC rather than APS: its sets are the smallest of that coverage. Where LAC alone would name no
//! class, the most probable class is named, which can only raise coverage. Coverage is over all
//! rows together; a group may have less, which is why evaluation reports it by group.
//!
//! Too few rows for the promise (under coverage / (1 − coverage)) is an error, not an infinite
//! bound. Fitting stands here beside using, since both are the one sorted score; where rows come
//! from is left to `learn`.
//!
//! ```
//! use ombud_engine::conformal::{Coverage, ResidualBand};
//! let truth: Vec<f64> = (1..=9).map(f64::from).collect();
//! let band = ResidualBand::fit(&truth, &[0.0; 9], Coverage::new(0.9)?)?;
//! assert_eq!(band.around(20.0).lower, 11.0);
//! # Ok::<(), ombud_engine::conformal::ConformalError>(())
//! ```

use serde::{Deserialize, Serialize};

/// The closed range from `lower` to `upper`; `lower` is never above `upper`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Interval {
    pub lower: f64,
    pub upper: f64,
}

/// How often the answer is to hold the truth: strictly between 0 and 1.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "f64", into = "f64")]
pub struct Coverage(f64);

/// A conformal rule as a bundle stores it, named by its method.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "method", rename_all = "snake_case")]
pub enum Conformal {
    ResidualBand(ResidualBand),
    QuantileBand(QuantileBand),
    LabelSets(LabelSets),
}

/// The same width to both sides of every prediction.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "BoundFile", into = "BoundFile")]
pub struct ResidualBand(Bound);

/// The model's own quantiles, moved outwards (or inwards, when they were too wide) by one number.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "BoundFile", into = "BoundFile")]
pub struct QuantileBand(Bound);

/// The classes that cannot be ruled out.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "BoundFile", into = "BoundFile")]
pub struct LabelSets(Bound);

/// Why a conformal rule cannot be made or loaded.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum ConformalError {
    #[error("a coverage of {coverage} is not strictly between 0 and 1")]
    Coverage { coverage: f64 },
    #[error("a coverage of {coverage} needs at least {needed} calibration rows, there are {rows}")]
    TooFewRows {
        coverage: f64,
        needed: usize,
        rows: usize,
    },
    #[error("{what} has {found} values where {expected} are expected")]
    Length {
        what: &'static str,
        expected: usize,
        found: usize,
    },
    #[error("the score of calibration row {row} is not a finite number")]
    NotFinite { row: usize },
    #[error("calibration row {row} has class {class}, the model knows {class_count}")]
    UnknownClass {
        row: usize,
        class: u32,
        class_count: usize,
    },
    #[error("a bound of {bound} is not possible for this method")]
    Bound { bound: f64 },
}

/// The fitted number, with the promise and the evidence behind it.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Bound {
    coverage: Coverage,
    bound: f64,
    rows: usize,
}

/// The stored form of every rule.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
struct BoundFile {
    coverage: Coverage,
    bound: f64,
    rows: usize,
}

impl Coverage {
    pub fn new(coverage: f64) -> Result<Self, ConformalError> {
        if coverage > 0.0 && coverage < 1.0 {
            return Ok(Self(coverage));
        }
        Err(ConformalError::Coverage { coverage })
    }

    pub fn get(self) -> f64 {
        self.0
    }

    /// The fewest calibration rows that can keep this promise.
    pub fn rows_needed(self) -> usize {
        (self.0 / (1.0 - self.0) - RANK_SLACK).ceil().max(1.0) as usize
    }
}

impl Interval {
    pub fn width(&self) -> f64 {
        self.upper - self.lower
    }

    pub fn contains(&self, value: f64) -> bool {
        self.lower <= value && value <= self.upper
    }

    /// The interval between two ends, or their midpoint alone when they have crossed.
    fn between(lower: f64, upper: f64) -> Self {
        if lower <= upper {
            return Self { lower, upper };
        }
        let middle = lower + (upper - lower) / 2.0;
        Self {
            lower: middle,
            upper: middle,
        }
    }
}

impl ResidualBand {
    /// Fits on rows kept out of training.
    pub fn fit(
        truth: &[f64],
        predicted: &[f64],
        coverage: Coverage,
    ) -> Result<Self, ConformalError> {
        check_length("the prediction", truth.len(), predicted.len())?;
        let scores = truth
            .iter()
            .zip(predicted)
            .map(|(y, guess)| (y - guess).abs())
            .collect();
        Bound::fit(scores, coverage).map(Self)
    }

    pub fn around(&self, predicted: f64) -> Interval {
        Interval {
            lower: predicted - self.0.bound,
            upper: predicted + self.0.bound,
        }
    }

    pub fn coverage(&self) -> Coverage {
        self.0.coverage
    }
}

impl QuantileBand {
    /// Fits on rows kept out of training, given the model's lower and upper quantiles for them.
    pub fn fit(
        truth: &[f64],
        lower: &[f64],
        upper: &[f64],
        coverage: Coverage,
    ) -> Result<Self, ConformalError> {
        check_length("the lower quantile", truth.len(), lower.len())?;
        check_length("the upper quantile", truth.len(), upper.len())?;
        let ends = lower.iter().zip(upper);
        let scores = truth
            .iter()
            .zip(ends)
            .map(|(y, (low, high))| (low - y).max(y - high))
            .collect();
        Bound::fit(scores, coverage).map(Self)
    }

    /// Quantiles that cross after moving inwards become one point between them.
    pub fn around(&self, lower: f64, upper: f64) -> Interval {
        Interval::between(lower - self.0.bound, upper + self.0.bound)
    }

    pub fn coverage(&self) -> Coverage {
        self.0.coverage
    }
}

impl LabelSets {
    /// Fits on rows kept out of training; `probabilities` are row-major and already calibrated.
    pub fn fit(
        labels: &[u32],
        probabilities: &[f64],
        class_count: usize,
        coverage: Coverage,
    ) -> Result<Self, ConformalError> {
        let expected = labels.len().saturating_mul(class_count);
        check_length("the probability matrix", expected, probabilities.len())?;
        let mut scores = Vec::with_capacity(labels.len());
        for (row, &class) in labels.iter().enumerate() {
            if class as usize >= class_count {
                return Err(ConformalError::UnknownClass {
                    row,
                    class,
                    class_count,
                });
            }
            scores.push(1.0 - probabilities[row * class_count + class as usize]);
        }
        Bound::fit(scores, coverage).map(Self)
    }

    /// The classes of the set, in order of index; never empty for a row with classes.
    pub fn set(&self, probabilities: &[f64]) -> Vec<usize> {
        let top = top_class(probabilities);
        let is_in = |&class: &usize| class == top || 1.0 - probabilities[class] <= self.0.bound;
        (0..probabilities.len()).filter(is_in).collect()
    }

    pub fn coverage(&self) -> Coverage {
        self.0.coverage
    }
}

/// Absorbs the rounding of products such as 0.9 · 10, which must count as 9 and not as a hair more.
const RANK_SLACK: f64 = 1e-9;

impl Bound {
    fn fit(mut scores: Vec<f64>, coverage: Coverage) -> Result<Self, ConformalError> {
        if let Some(row) = scores.iter().position(|score| !score.is_finite()) {
            return Err(ConformalError::NotFinite { row });
        }
        let rows = scores.len();
        let rank = ((rows as f64 + 1.0) * coverage.0 - RANK_SLACK)
            .ceil()
            .max(1.0) as usize;
        if rank > rows {
            let needed = coverage.rows_needed();
            return Err(ConformalError::TooFewRows {
                coverage: coverage.0,
                needed,
                rows,
            });
        }
        let (_, &mut bound, _) = scores.select_nth_unstable_by(rank - 1, f64::total_cmp);
        Ok(Self {
            coverage,
            bound,
            rows,
        })
    }

    fn load(file: BoundFile, is_possible: impl Fn(f64) -> bool) -> Result<Self, ConformalError> {
        let BoundFile {
            coverage,
            bound,
            rows,
        } = file;
        if bound.is_finite() && is_possible(bound) {
            return Ok(Self {
                coverage,
                bound,
                rows,
            });
        }
        Err(ConformalError::Bound { bound })
    }
}

impl TryFrom<BoundFile> for ResidualBand {
    type Error = ConformalError;

    fn try_from(file: BoundFile) -> Result<Self, ConformalError> {
        Bound::load(file, |bound| bound >= 0.0).map(Self)
    }
}

impl TryFrom<BoundFile> for QuantileBand {
    type Error = ConformalError;

    fn try_from(file: BoundFile) -> Result<Self, ConformalError> {
        Bound::load(file, |_| true).map(Self)
    }
}

impl TryFrom<BoundFile> for LabelSets {
    type Error = ConformalError;

    fn try_from(file: BoundFile) -> Result<Self, ConformalError> {
        Bound::load(file, |bound| (0.0..=1.0).contains(&bound)).map(Self)
    }
}

impl From<ResidualBand> for BoundFile {
    fn from(ResidualBand(bound): ResidualBand) -> Self {
        bound.into()
    }
}

impl From<QuantileBand> for BoundFile {
    fn from(QuantileBand(bound): QuantileBand) -> Self {
        bound.into()
    }
}

impl From<LabelSets> for BoundFile {
    fn from(LabelSets(bound): LabelSets) -> Self {
        bound.into()
    }
}

impl From<Bound> for BoundFile {
    fn from(
        Bound {
            coverage,
            bound,
            rows,
        }: Bound,
    ) -> Self {
        Self {
            coverage,
            bound,
            rows,
        }
    }
}

impl TryFrom<f64> for Coverage {
    type Error = ConformalError;

    fn try_from(coverage: f64) -> Result<Self, ConformalError> {
        Self::new(coverage)
    }
}

impl From<Coverage> for f64 {
    fn from(coverage: Coverage) -> f64 {
        coverage.0
    }
}

fn check_length(what: &'static str, expected: usize, found: usize) -> Result<(), ConformalError> {
    if expected == found {
        return Ok(());
    }
    Err(ConformalError::Length {
        what,
        expected,
        found,
    })
}

/// The most probable class; a tie goes to the lower index.
fn top_class(probabilities: &[f64]) -> usize {
    let mut top = 0;
    for (class, probability) in probabilities.iter().enumerate() {
        if *probability > probabilities[top] {
            top = class;
        }
    }
    top
}

#[cfg(test)]
mod tests {
    use super::*;

    fn coverage(share: f64) -> Coverage {
        Coverage::new(share).expect("valid coverage")
    }

    /// Numbers in 0..1 that look random and never change.
    fn noise(count: u64, salt: u64) -> Vec<f64> {
        let mix = |i: u64| {
            (i + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ salt.wrapping_mul(0xBF58_476D_1CE4_E5B9)
        };
        let scramble = |x: u64| (x ^ (x >> 31)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (0..count)
            .map(|i| (scramble(mix(i)) >> 11) as f64 / (1u64 << 53) as f64)
            .collect()
    }

    #[test]
    fn the_bound_is_the_corrected_quantile() {
        let truth: Vec<f64> = (1..=19).map(f64::from).collect();
        let width = |share| {
            let band = ResidualBand::fit(&truth, &[0.0; 19], coverage(share)).expect("enough rows");
            band.around(0.0).upper
        };
        // ceil(20 · coverage): 18, 19, 10.
        assert_eq!([width(0.9), width(0.95), width(0.5)], [18.0, 19.0, 10.0]);
    }

    #[test]
    fn too_few_rows_for_the_promise_is_said_with_the_number_needed() {
        let refusal = ResidualBand::fit(&[1.0; 8], &[0.0; 8], coverage(0.9)).expect_err("8 rows");
        assert_eq!(
            refusal,
            ConformalError::TooFewRows {
                coverage: 0.9,
                needed: 9,
                rows: 8
            }
        );
        assert!(ResidualBand::fit(&[1.0; 9], &[0.0; 9], coverage(0.9)).is_ok());
        assert!(ResidualBand::fit(&[], &[], coverage(0.1)).is_err());
    }

    #[test]
    fn quantiles_that_were_too_wide_move_inwards_and_never_cross() {
        let band =
            QuantileBand::fit(&[0.0; 19], &[-3.0; 19], &[3.0; 19], coverage(0.9)).expect("fits");
        assert_eq!(
            band.around(-3.0, 3.0),
            Interval {
                lower: 0.0,
                upper: 0.0
            }
        );
        assert_eq!(
            band.around(-10.0, 10.0),
            Interval {
                lower: -7.0,
                upper: 7.0
            }
        );
        assert_eq!(
            band.around(1.0, 2.0),
            Interval {
                lower: 1.5,
                upper: 1.5
            }
        );
    }

    #[test]
    fn intervals_hold_the_truth_as_often_as_promised() {
        let guess = noise(4000, 1);
        let error = noise(4000, 2);
        let truth: Vec<f64> = guess
            .iter()
            .zip(&error)
            .map(|(g, e)| g + (e - 0.5) * g)
            .collect();
        let band = ResidualBand::fit(&truth[..2000], &guess[..2000], coverage(0.8)).expect("fits");
        let held = (2000..4000)
            .filter(|&i| band.around(guess[i]).contains(truth[i]))
            .count();
        assert!(
            (0.77..0.83).contains(&(held as f64 / 2000.0)),
            "{held} of 2000"
        );

        let (low, high): (Vec<f64>, Vec<f64>) = guess.iter().map(|g| (0.9 * g, 1.1 * g)).unzip();
        let band = QuantileBand::fit(&truth[..2000], &low[..2000], &high[..2000], coverage(0.8))
            .expect("fits");
        let held = (2000..4000)
            .filter(|&i| band.around(low[i], high[i]).contains(truth[i]))
            .count();
        assert!(
            (0.77..0.83).contains(&(held as f64 / 2000.0)),
            "{held} of 2000"
        );
    }

    #[test]
    fn sets_hold_the_true_class_as_often_as_promised() {
        let (a, b, draw) = (noise(4000, 3), noise(4000, 4), noise(4000, 5));
        let rows: Vec<[f64; 3]> = (0..4000)
            .map(|i| [a[i], (1.0 - a[i]) * b[i], (1.0 - a[i]) * (1.0 - b[i])])
            .collect();
        let pick = |row: &[f64; 3], u: f64| {
            if u < row[0] {
                0
            } else {
                1 + u32::from(u >= row[0] + row[1])
            }
        };
        let labels: Vec<u32> = rows
            .iter()
            .zip(&draw)
            .map(|(row, &u)| pick(row, u))
            .collect();
        let flat: Vec<f64> = rows[..2000].iter().flatten().copied().collect();
        let sets = LabelSets::fit(&labels[..2000], &flat, 3, coverage(0.9)).expect("fits");
        let held = (2000..4000)
            .filter(|&i| sets.set(&rows[i]).contains(&(labels[i] as usize)))
            .count();
        assert!(
            (0.875..0.93).contains(&(held as f64 / 2000.0)),
            "{held} of 2000"
        );
    }

    #[test]
    fn a_set_is_never_empty_and_a_tie_goes_to_the_lower_index() {
        let sets = LabelSets::fit(&[0; 9], &[0.9, 0.1].repeat(9), 2, coverage(0.5)).expect("fits");
        assert_eq!(sets.set(&[0.5, 0.5]), [0]);
        assert_eq!(sets.set(&[0.05, 0.95]), [1]);
    }

    #[test]
    fn rules_return_unchanged_from_json_and_damaged_ones_are_refused() {
        let band = ResidualBand::fit(&[1.0; 9], &[0.5; 9], coverage(0.9)).expect("fits");
        let text = serde_json::to_string(&Conformal::ResidualBand(band)).expect("serializes");
        assert_eq!(
            text,
            r#"{"method":"residual_band","coverage":0.9,"bound":0.5,"rows":9}"#
        );
        assert_eq!(
            serde_json::from_str::<Conformal>(&text).expect("loads"),
            Conformal::ResidualBand(band)
        );
        for damaged in [
            text.replace("0.5", "-0.5"),
            text.replace("0.9", "1.9"),
            text.replace("residual", "magic"),
        ] {
            assert!(
                serde_json::from_str::<Conformal>(&damaged).is_err(),
                "{damaged}"
            );
        }
    }

    #[test]
    fn input_of_unequal_length_or_not_a_number_is_refused() {
        assert!(ResidualBand::fit(&[1.0; 9], &[0.5; 8], coverage(0.9)).is_err());
        assert_eq!(
            ResidualBand::fit(&[f64::NAN; 9], &[0.5; 9], coverage(0.9)),
            Err(ConformalError::NotFinite { row: 0 })
        );
        assert!(LabelSets::fit(&[2; 9], &[0.5; 18], 2, coverage(0.9)).is_err());
    }
}
