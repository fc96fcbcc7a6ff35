//! Everything measured about predicted numbers.
//!
//! | name | formula | empty |
//! | --- | --- | --- |
//! | `rmse` | √ mean (ŷ − y)² | no rows: absent |
//! | `mae` | mean \|ŷ − y\| | no rows: absent |
//! | `median_absolute_error` | weighted median of \|ŷ − y\|, the mean of both middle values at a tie | no rows: absent |
//! | `r2` | 1 − Σ (ŷ − y)² / Σ (y − ȳ)² | truth does not vary: absent |
//! | `mean_error` | mean (ŷ − y): above 0 is too high | no rows: absent |
//! | `interval_coverage`, `interval_width` | share of y within the ends, mean width | no intervals: not reported |
//!
//! [`pinball`] is apart, since only a quantile model has its α. Equal to scikit-learn 1.9.
//!
//! ```
//! use ombud_learn::evaluate::{Regressed, Resampling, regression::evaluate};
//! let report = evaluate(&Regressed::new(&[1.0, 3.0], &[2.0, 3.0])?, &Resampling::none())?;
//! assert_eq!(report.metrics.value("mae"), Some(0.5));
//! # Ok::<(), ombud_learn::evaluate::SampleError>(())
//! ```

use serde::Serialize;

use super::bootstrap::{Resampling, Scorer, measure};
use super::metric::{Metric, Metrics, Undefined, divide, weighted_mean};
use super::sample::{Regressed, SampleError};

/// What was measured.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    pub rows: usize,
    pub metrics: Metrics,
}

pub fn evaluate(sample: &Regressed, resampling: &Resampling) -> Result<Report, SampleError> {
    resampling.check(sample.rows())?;
    Ok(Report {
        rows: sample.rows(),
        metrics: measure_all(sample, resampling),
    })
}

/// Mean α (y − q) above the predicted quantile q and (1 − α) (q − y) below it, with its interval.
pub fn pinball(
    sample: &Regressed,
    alpha: f64,
    resampling: &Resampling,
) -> Result<Metric, Undefined> {
    let losses = |sample: &Regressed| -> Vec<f64> {
        let pairs = sample.truth().iter().zip(sample.predicted());
        pairs
            .map(|(y, q)| (alpha * (y - q)).max((1.0 - alpha) * (q - y)))
            .collect()
    };
    let prepare = |rows: Option<&[u32]>| match rows {
        None => Mean(losses(sample)),
        Some(rows) => Mean(losses(&sample.select(rows))),
    };
    measure(sample.weights(), VISITS_PER_ROW, resampling, prepare).remove(0)
}

pub(crate) fn measure_all(sample: &Regressed, resampling: &Resampling) -> Metrics {
    let prepare = |rows: Option<&[u32]>| match rows {
        None => Prepared::new(sample),
        Some(rows) => Prepared::new(&sample.select(rows)),
    };
    let outcomes = measure(sample.weights(), VISITS_PER_ROW, resampling, prepare);
    headline_names(sample).into_iter().zip(outcomes).collect()
}

pub(crate) fn headline_names(sample: &Regressed) -> Vec<&'static str> {
    let mut names = vec!["rmse", "mae", "median_absolute_error", "r2", "mean_error"];
    if sample.bounds().is_some() {
        names.extend(["interval_coverage", "interval_width"]);
    }
    names
}

/// What one row costs in one replicate: drawing it, four sums, one step through sorted errors.
pub(crate) const VISITS_PER_ROW: usize = 4;

struct Mean(Vec<f64>);

impl Scorer for Mean {
    fn score(&self, weights: &[f64]) -> Vec<Result<f64, Undefined>> {
        vec![weighted_mean(&self.0, weights)]
    }
}

/// What of a sample does not change with weights.
pub(crate) struct Prepared {
    truth: Vec<f64>,
    errors: Vec<f64>,
    /// Rows by rising absolute error.
    by_error: Vec<u32>,
    /// Whether the interval held the truth (1 or 0), and its width.
    bounds: Option<(Vec<f64>, Vec<f64>)>,
}

impl Prepared {
    pub(crate) fn new(sample: &Regressed) -> Self {
        let errors: Vec<f64> = sample
            .predicted()
            .iter()
            .zip(sample.truth())
            .map(|(guess, y)| guess - y)
            .collect();
        let mut by_error: Vec<u32> = (0..errors.len() as u32).collect();
        by_error.sort_unstable_by(|&a, &b| {
            errors[a as usize]
                .abs()
                .total_cmp(&errors[b as usize].abs())
                .then(a.cmp(&b))
        });
        let bounds = sample.bounds().map(|(lower, upper)| {
            let held = |((low, high), y): ((&f64, &f64), &f64)| f64::from(low <= y && y <= high);
            let holds = lower
                .iter()
                .zip(upper)
                .zip(sample.truth())
                .map(held)
                .collect();
            (
                holds,
                lower
                    .iter()
                    .zip(upper)
                    .map(|(low, high)| high - low)
                    .collect(),
            )
        });
        Self {
            truth: sample.truth().to_vec(),
            errors,
            by_error,
            bounds,
        }
    }

    fn median_absolute_error(&self, weights: &[f64]) -> Result<f64, Undefined> {
        let half = weights.iter().sum::<f64>() / 2.0;
        let mut so_far = 0.0;
        let mut lower_middle = None;
        for &row in self
            .by_error
            .iter()
            .filter(|&&row| weights[row as usize] > 0.0)
        {
            let error = self.errors[row as usize].abs();
            if let Some(lower) = lower_middle {
                return Ok((lower + error) / 2.0);
            }
            so_far += weights[row as usize];
            if so_far > half {
                return Ok(error);
            }
            if so_far == half {
                lower_middle = Some(error);
            }
        }
        lower_middle.ok_or(Undefined::NoRows)
    }

    fn r2(&self, weights: &[f64]) -> Result<f64, Undefined> {
        let mean = weighted_mean(&self.truth, weights)?;
        let (mut unexplained, mut spread) = (0.0, 0.0);
        for ((error, y), weight) in self.errors.iter().zip(&self.truth).zip(weights) {
            unexplained += weight * error * error;
            spread += weight * (y - mean).powi(2);
        }
        Ok(1.0 - divide(unexplained, spread, Undefined::NoVariance)?)
    }

    fn mean_of_errors(
        &self,
        weights: &[f64],
        of_error: impl Fn(f64) -> f64,
    ) -> Result<f64, Undefined> {
        let (mut sum, mut total) = (0.0, 0.0);
        for (&error, weight) in self.errors.iter().zip(weights) {
            sum += weight * of_error(error);
            total += weight;
        }
        divide(sum, total, Undefined::NoRows)
    }
}

impl Scorer for Prepared {
    fn score(&self, weights: &[f64]) -> Vec<Result<f64, Undefined>> {
        let mut scores = vec![
            self.mean_of_errors(weights, |error| error * error)
                .map(f64::sqrt),
            self.mean_of_errors(weights, f64::abs),
            self.median_absolute_error(weights),
            self.r2(weights),
            self.mean_of_errors(weights, |error| error),
        ];
        if let Some((holds, widths)) = &self.bounds {
            scores.extend([
                weighted_mean(holds, weights),
                weighted_mean(widths, weights),
            ]);
        }
        scores
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{assert_close, numbers};
    use super::*;

    fn check(sample: &Regressed, expected: [f64; 5], pinball_expected: f64) {
        let report = evaluate(sample, &Resampling::none()).expect("valid");
        let names = [
            "rmse",
            "mae",
            "median_absolute_error",
            "r2",
            "interval_coverage",
        ];
        for (name, expected) in names.into_iter().zip(expected) {
            assert_close(report.metrics.value(name).expect(name), expected);
        }
        assert_close(report.metrics.value("interval_width").expect("bounds"), 1.8);
        let pinball = pinball(sample, 0.9, &Resampling::none()).expect("defined");
        assert_close(pinball.value, pinball_expected);
    }

    #[test]
    fn regression_scores_are_scikit_learns() {
        // scikit-learn 1.9.1; coverage by numpy.
        let rows = numbers();
        check(
            &rows.sample(),
            [
                0.9593790508789036,
                0.8306122448979592,
                0.8571428571428568,
                0.9025975989336273,
                0.5571428571428572,
            ],
            0.42428571428571427,
        );
        check(
            &rows.weighted(),
            [
                0.9880447703904718,
                0.8665490887713109,
                0.8571428571428572,
                0.8957130862400695,
                0.51440329218107,
            ],
            0.4483245149911817,
        );
    }

    #[test]
    fn the_median_of_evenly_many_is_the_mean_of_the_middle_two() {
        let sample = Regressed::new(&[0.0; 4], &[1.0, -2.0, 4.0, 9.0]).expect("valid");
        let prepared = Prepared::new(&sample);
        assert_eq!(prepared.median_absolute_error(&[1.0; 4]), Ok(3.0));
        assert_eq!(
            prepared.median_absolute_error(&[2.0, 1.0, 0.0, 1.0]),
            Ok(1.5)
        );
        assert_eq!(
            prepared.median_absolute_error(&[0.0; 4]),
            Err(Undefined::NoRows)
        );
    }

    #[test]
    fn a_constant_truth_has_no_r2() {
        let sample = Regressed::new(&[3.0, 3.0], &[1.0, 2.0]).expect("valid");
        let report = evaluate(&sample, &Resampling::none()).expect("valid");
        assert_eq!(report.metrics.absent["r2"], Undefined::NoVariance);
    }

    #[test]
    fn every_metric_lies_in_its_interval() {
        let report = evaluate(&numbers().sample(), &Resampling::default()).expect("valid");
        for (name, metric) in &report.metrics.measured {
            let interval = metric.interval.expect("70 rows");
            // Every interval is 1.8 wide, so only rounding separates the replicates of that mean.
            let is_inside =
                interval.lower - 1e-12 <= metric.value && metric.value <= interval.upper + 1e-12;
            assert!(is_inside, "{name}");
        }
    }
}
