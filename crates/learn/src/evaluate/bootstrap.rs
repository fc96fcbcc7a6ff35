//! Intervals by resampling rows, or whole subjects, for many statistics at once.
//!
//! Percentile bootstrap: B times as many rows as there are (with subjects: as many subjects) are
//! drawn with replacement; a draw is a weight per row, so every statistic sees the same draws and
//! none is written twice. The interval runs between the (1 − level)/2 and (1 + level)/2 quantiles
//! of the B values. Not stratified: how many rows of a class there are is itself chance.
//!
//! Two corrections, both named where they apply:
//! - A statistic that [`Scorer::is_biased`] (calibration error: repeated rows look less calibrated)
//!   has its replicates moved so that their mean is the measured value.
//! - Beyond [`Resampling::visits_max`] row visits, B falls to [`REPLICATES_MIN`], then a random
//!   part of the rows is resampled in place of all and deviations are scaled by √(part / all), as
//!   the error of an average would be.
//!
//! Replicates on which a statistic is undefined are left out; when they are more than half, or
//! fewer than [`UNITS_MIN`] rows or subjects exist, the value stands without interval. Every
//! replicate has its own random stream: equal seeds give equal bits on any number of threads.
//!
//! ```
//! use ombud_learn::evaluate::{Regressed, Resampling, regression};
//! let (truth, guess) = ([1.0, 2.0, 3.0, 4.0].repeat(10), [1.5, 2.0, 2.0, 4.0].repeat(10));
//! let report = regression::evaluate(&Regressed::new(&truth, &guess)?, &Resampling::default())?;
//! let mae = report.metrics.measured["mae"];
//! assert!(mae.interval.is_some_and(|interval| interval.contains(mae.value)));
//! # Ok::<(), ombud_learn::evaluate::SampleError>(())
//! ```

use std::collections::BTreeMap;

use ombud_engine::conformal::Interval;
use rayon::prelude::*;

use super::metric::{Metric, Undefined};
use super::sample::{SampleError, check_length};
use crate::random::Random;

/// Replicates unless asked otherwise: the ends of a 95 % interval then rest on 25 values each.
pub const REPLICATES: usize = 1_000;

/// Replicates below which rows are saved instead: five values beyond each end.
pub const REPLICATES_MIN: usize = 200;

/// Row visits that one evaluation may spend on intervals; about a second of one core.
pub const VISITS_MAX: u64 = 300_000_000;

/// Rows or subjects below which no interval is given: resampling a handful says nothing.
pub const UNITS_MIN: usize = 10;

/// The share of replicates that must be defined for an interval to be given.
const DEFINED_SHARE_MIN: f64 = 0.5;

/// How intervals are made.
#[derive(Debug, Clone)]
pub struct Resampling<'a> {
    /// Zero for values without intervals.
    pub replicates: usize,
    /// The share of intervals that are to hold the truth, such as 0.95.
    pub level: f64,
    pub seed: u64,
    /// One id per row: rows of one subject are drawn together, because they are not independent.
    pub subjects: Option<&'a [u64]>,
    /// What all intervals of one evaluation may cost.
    pub visits_max: u64,
}

/// Several statistics of the same rows, computed together for any weights.
pub trait Scorer: Sync {
    /// One outcome per statistic, always equally many and in the same order.
    fn score(&self, weights: &[f64]) -> Vec<Result<f64, Undefined>>;

    /// Whether resampling shifts statistic `index` systematically, so that only its spread is to be
    /// trusted.
    fn is_biased(&self, _index: usize) -> bool {
        false
    }
}

impl Default for Resampling<'_> {
    fn default() -> Self {
        Self {
            replicates: REPLICATES,
            level: 0.95,
            seed: 0,
            subjects: None,
            visits_max: VISITS_MAX,
        }
    }
}

impl Resampling<'_> {
    /// Values without intervals.
    pub fn none() -> Self {
        Self {
            replicates: 0,
            ..Self::default()
        }
    }

    pub(crate) fn check(&self, rows: usize) -> Result<(), SampleError> {
        match self.subjects {
            Some(subjects) => check_length("the subjects", rows, subjects.len()),
            None => Ok(()),
        }
    }
}

/// Every statistic's value on all rows, with its interval.
///
/// `prepare` builds the scorer for all rows (`None`) or for a selection; `visits_per_row` is what
/// one row costs it.
pub fn measure<S: Scorer>(
    weights: &[f64],
    visits_per_row: usize,
    resampling: &Resampling,
    prepare: impl Fn(Option<&[u32]>) -> S,
) -> Vec<Result<Metric, Undefined>> {
    let metric = |measured: Measured| Metric {
        value: measured.value,
        interval: measured.spread.map(|s| s.interval),
    };
    let outcomes = measure_spread(weights, visits_per_row, resampling, prepare);
    outcomes
        .into_iter()
        .map(|outcome| outcome.map(metric))
        .collect()
}

/// A value, and how it varies when rows are drawn again.
pub(crate) struct Measured {
    pub(crate) value: f64,
    pub(crate) spread: Option<Spread>,
}

pub(crate) struct Spread {
    pub(crate) interval: Interval,
    /// The defined replicates, sorted, corrected as the module says.
    pub(crate) replicates: Vec<f64>,
}

/// As [`measure`], keeping the replicates.
pub(crate) fn measure_spread<S: Scorer>(
    weights: &[f64],
    visits_per_row: usize,
    resampling: &Resampling,
    prepare: impl Fn(Option<&[u32]>) -> S,
) -> Vec<Result<Measured, Undefined>> {
    let all = prepare(None);
    let values = all.score(weights);
    let Some(plan) = Plan::new(weights.len(), visits_per_row, resampling) else {
        return values
            .into_iter()
            .map(|value| {
                Ok(Measured {
                    value: value?,
                    spread: None,
                })
            })
            .collect();
    };
    let Some(kept) = &plan.kept else {
        let replicates = plan.replicate(&all, weights);
        return spreads(&plan, resampling.level, &all, &values, &values, &replicates);
    };
    drop(all);
    let part = prepare(Some(kept));
    let kept_weights: Vec<f64> = kept.iter().map(|&row| weights[row as usize]).collect();
    let replicates = plan.replicate(&part, &kept_weights);
    spreads(
        &plan,
        resampling.level,
        &part,
        &values,
        &part.score(&kept_weights),
        &replicates,
    )
}

/// All outcomes of all replicates, in order; `None` where undefined.
type Replicates = Vec<Vec<Option<f64>>>;

/// What is drawn, how often, and from which rows.
struct Plan {
    replicates: usize,
    seed: u64,
    /// The unit (row or subject) of each resampled row; `None` when every row is its own.
    unit_of_row: Option<Vec<u32>>,
    unit_count: usize,
    /// The rows that are resampled; `None` for all.
    kept: Option<Vec<u32>>,
    /// √(units resampled / units).
    scale: f64,
}

impl Plan {
    /// `None` when there is nothing to resample.
    fn new(rows: usize, visits_per_row: usize, resampling: &Resampling) -> Option<Self> {
        let (unit_of_row, unit_count) = match resampling.subjects {
            Some(subjects) => {
                let (units, count) = number_densely(subjects);
                (Some(units), count)
            }
            None => (None, rows),
        };
        if resampling.replicates == 0 || unit_count < UNITS_MIN {
            return None;
        }
        let visits = (rows as u64).saturating_mul(visits_per_row as u64).max(1);
        let affordable = usize::try_from(resampling.visits_max / visits).unwrap_or(usize::MAX);
        let replicates = affordable.clamp(
            REPLICATES_MIN.min(resampling.replicates),
            resampling.replicates,
        );
        let share = resampling.visits_max as f64 / (visits as f64 * replicates as f64);
        let plan = Self {
            replicates,
            seed: resampling.seed,
            unit_of_row,
            unit_count,
            kept: None,
            scale: 1.0,
        };
        Some(if share < 1.0 {
            plan.keep(rows, share)
        } else {
            plan
        })
    }

    /// Scores every replicate; the order of results does not depend on threads.
    fn replicate<S: Scorer>(&self, scorer: &S, weights: &[f64]) -> Replicates {
        let buffers = || (vec![0u32; self.unit_count], vec![0.0; weights.len()]);
        let run = |(draws, drawn): &mut (Vec<u32>, Vec<f64>), replicate: usize| {
            self.draw(replicate, draws);
            self.weigh(draws, weights, drawn);
            scorer.score(drawn).into_iter().map(Result::ok).collect()
        };
        (0..self.replicates)
            .into_par_iter()
            .map_init(buffers, run)
            .collect()
    }

    fn draw(&self, replicate: usize, draws: &mut [u32]) {
        let mut random = Random::stream(self.seed, replicate as u64);
        draws.fill(0);
        for _ in 0..draws.len() {
            draws[random.below(draws.len())] += 1;
        }
    }

    fn weigh(&self, draws: &[u32], weights: &[f64], drawn: &mut [f64]) {
        match &self.unit_of_row {
            None => drawn
                .iter_mut()
                .zip(weights)
                .zip(draws)
                .for_each(|((to, weight), &draw)| {
                    *to = weight * f64::from(draw);
                }),
            Some(units) => {
                drawn
                    .iter_mut()
                    .zip(weights)
                    .zip(units)
                    .for_each(|((to, weight), &unit)| {
                        *to = weight * f64::from(draws[unit as usize]);
                    });
            }
        }
    }

    /// Keeps a random `share` of the units, at least [`UNITS_MIN`].
    fn keep(self, rows: usize, share: f64) -> Self {
        let keep_count = ((self.unit_count as f64 * share) as usize).max(UNITS_MIN);
        let mut units: Vec<u32> = (0..self.unit_count as u32).collect();
        Random::stream(self.seed, u64::MAX).shuffle(&mut units);
        let mut number_of_unit = vec![None; self.unit_count];
        for (number, &unit) in (0u32..).zip(&units[..keep_count]) {
            number_of_unit[unit as usize] = Some(number);
        }
        let unit_of = |row: usize| {
            self.unit_of_row
                .as_ref()
                .map_or(row, |units| units[row] as usize)
        };
        let numbered =
            (0..rows).filter_map(|row| Some((row as u32, number_of_unit[unit_of(row)]?)));
        let (kept, unit_of_row): (Vec<u32>, Vec<u32>) = numbered.unzip();
        Self {
            scale: (keep_count as f64 / self.unit_count as f64).sqrt(),
            unit_of_row: Some(unit_of_row),
            unit_count: keep_count,
            kept: Some(kept),
            ..self
        }
    }

    /// The interval around `value` of a statistic that was `centre` on the resampled rows, and its
    /// moved replicates.
    fn spread(
        &self,
        value: f64,
        centre: f64,
        level: f64,
        replicates: impl Iterator<Item = Option<f64>>,
        is_biased: bool,
    ) -> Option<Spread> {
        let mut defined: Vec<f64> = replicates.flatten().collect();
        if defined.is_empty() || (defined.len() as f64) < DEFINED_SHARE_MIN * self.replicates as f64
        {
            return None;
        }
        let mean = defined.iter().sum::<f64>() / defined.len() as f64;
        let centre = if is_biased { mean } else { centre };
        if is_biased || self.kept.is_some() {
            defined
                .iter_mut()
                .for_each(|replicate| *replicate = value + self.scale * (*replicate - centre));
        }
        defined.sort_unstable_by(f64::total_cmp);
        let lower = quantile_of_sorted(&defined, (1.0 - level) / 2.0);
        let upper = quantile_of_sorted(&defined, (1.0 + level) / 2.0);
        Some(Spread {
            interval: Interval { lower, upper },
            replicates: defined,
        })
    }
}

/// The `share` quantile between order statistics, as numpy interpolates by default.
///
/// # Panics
/// When there are no values.
pub fn quantile_of_sorted(sorted: &[f64], share: f64) -> f64 {
    let place = share.clamp(0.0, 1.0) * (sorted.len() - 1) as f64;
    let below = sorted[place.floor() as usize];
    let above = sorted[place.ceil() as usize];
    below + (above - below) * place.fract()
}

fn spreads<S: Scorer>(
    plan: &Plan,
    level: f64,
    scorer: &S,
    values: &[Result<f64, Undefined>],
    centres: &[Result<f64, Undefined>],
    replicates: &Replicates,
) -> Vec<Result<Measured, Undefined>> {
    let measured = |index: usize| {
        let value = values[index]?;
        let spread = centres[index].ok().and_then(|centre| {
            let column = replicates.iter().map(|outcomes| outcomes[index]);
            plan.spread(value, centre, level, column, scorer.is_biased(index))
        });
        Ok(Measured { value, spread })
    };
    (0..values.len()).map(measured).collect()
}

/// Gives equal ids equal numbers from zero, in order of first appearance.
fn number_densely(ids: &[u64]) -> (Vec<u32>, usize) {
    let mut numbers = BTreeMap::new();
    let number = |id: &u64| {
        let next = numbers.len() as u32;
        *numbers.entry(*id).or_insert(next)
    };
    let numbered = ids.iter().map(number).collect();
    (numbered, numbers.len())
}

#[cfg(test)]
mod tests {
    use super::super::metric::weighted_mean;
    use super::*;

    struct Mean(Vec<f64>);

    impl Scorer for Mean {
        fn score(&self, weights: &[f64]) -> Vec<Result<f64, Undefined>> {
            vec![weighted_mean(&self.0, weights)]
        }
    }

    fn noise(rows: usize) -> Vec<f64> {
        let mut random = Random::new(11);
        (0..rows).map(|_| random.unit()).collect()
    }

    fn interval_of(values: &[f64], resampling: &Resampling) -> Interval {
        let select = |rows: Option<&[u32]>| match rows {
            None => Mean(values.to_vec()),
            Some(rows) => Mean(rows.iter().map(|&row| values[row as usize]).collect()),
        };
        let outcome = measure(&vec![1.0; values.len()], 1, resampling, select)[0];
        outcome.expect("defined").interval.expect("enough rows")
    }

    /// The width that theory gives for the mean of uniform numbers.
    fn expected_width(rows: f64) -> f64 {
        2.0 * 1.96 * (1.0 / 12.0 / rows).sqrt()
    }

    #[test]
    fn the_interval_of_a_mean_has_the_width_that_theory_gives() {
        let width = interval_of(&noise(2_000), &Resampling::default()).width();
        assert!(
            (width / expected_width(2_000.0) - 1.0).abs() < 0.1,
            "{width}"
        );
    }

    #[test]
    fn a_bounded_cost_keeps_the_width() {
        let bounded = Resampling {
            visits_max: 1_000_000,
            ..Resampling::default()
        };
        let width = interval_of(&noise(20_000), &bounded).width();
        assert!(
            (width / expected_width(20_000.0) - 1.0).abs() < 0.2,
            "{width}"
        );
        let plan = Plan::new(20_000, 1, &bounded).expect("resamples");
        assert_eq!((plan.replicates, plan.unit_count), (200, 5_000));
    }

    #[test]
    fn rows_of_one_subject_count_as_one() {
        let values: Vec<f64> = noise(200)
            .into_iter()
            .flat_map(|value| [value; 10])
            .collect();
        let subjects: Vec<u64> = (0..2_000).map(|row| row / 10).collect();
        let grouped = Resampling {
            subjects: Some(&subjects),
            ..Resampling::default()
        };
        let width = interval_of(&values, &grouped).width();
        assert!(
            (width / expected_width(200.0) - 1.0).abs() < 0.15,
            "{width}"
        );
        let bounded = Resampling {
            visits_max: 200_000,
            ..grouped
        };
        let width = interval_of(&values, &bounded).width();
        assert!((width / expected_width(200.0) - 1.0).abs() < 0.3, "{width}");
    }

    #[test]
    fn the_same_seed_gives_the_same_bits_on_any_number_of_threads() {
        let values = noise(500);
        let on = |threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new()
                .num_threads(threads)
                .build()
                .expect("pool");
            pool.install(|| interval_of(&values, &Resampling::default()))
        };
        assert_eq!(on(1), on(4));
        assert_ne!(
            on(1),
            interval_of(
                &values,
                &Resampling {
                    seed: 1,
                    ..Resampling::default()
                }
            )
        );
    }

    #[test]
    fn a_handful_of_rows_has_a_value_and_no_interval() {
        let outcome = measure(&[1.0; 9], 1, &Resampling::default(), |_| Mean(vec![2.0; 9]));
        assert_eq!(outcome, [Ok(Metric::exact(2.0))]);
    }

    #[test]
    fn quantiles_are_numpys() {
        let sorted = [1.0, 2.0, 4.0, 8.0];
        assert_eq!(
            [0.0, 0.5, 0.75, 1.0].map(|share| quantile_of_sorted(&sorted, share)),
            [1.0, 3.0, 5.0, 8.0]
        );
    }
}
