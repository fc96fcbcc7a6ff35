//! Fits a calibration on rows kept out of training, and chooses among methods.
//!
//! `auto` compares identity, temperature, Platt and isotonic by their log loss on rows that each
//! was not fitted on (5 folds, stratified by class, or whole subjects together). Three rules keep
//! small samples from fooling it: under [`ROWS_MIN`] rows nothing is fitted; isotonic is not tried
//! under [`ISOTONIC_ROWS_MIN`]; and the simplest candidate whose loss is within one standard error
//! (paired, row by row) of the best is taken, identity being the simplest.
//!
//! `before` and `after` are measured on the same rows, `after` out of fold, so that it promises
//! what new rows will see. Applying a calibration is the engine's; the fits are one file each:
//! [`temperature`], [`platt`], [`isotonic`].
//!
//! ```
//! use ombud_learn::{calibrate::{Options, Request, calibrate}, evaluate::Classified};
//! let labels: Vec<u32> = (0..200).map(|row| u32::from(row % 5 == 0)).collect();
//! let probabilities = [0.5, 0.5].repeat(200);
//! let sample = Classified::new(&labels, &probabilities, 2)?;
//! let calibration = calibrate(&(&sample).into(), Request::Auto, &Options::default())?;
//! assert!(calibration.after.log_loss < calibration.before.log_loss);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

pub mod isotonic;
pub mod platt;
pub mod temperature;

use ombud_engine::calibration::{CalibrationError, Calibrator, Classes, Method as Map};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::evaluate::log_loss::surprise;
use crate::evaluate::metric::weighted_mean;
use crate::evaluate::reliability::{
    Confidence, ReliabilityBin, expected_calibration_error, reliability_curve,
};
use crate::evaluate::sample::{Classified, MultiLabelled, SampleError, check_length, top_class};
use crate::random::Random;

/// Rows below which no calibration is fitted: its error would exceed the model's.
pub const ROWS_MIN: usize = 50;

/// Rows below which isotonic is not tried; it has as many parameters as it finds steps.
pub const ISOTONIC_ROWS_MIN: usize = 1_000;

/// Rows beyond which a random part is calibrated on: the fit's error is far below the model's by
/// then.
pub const ROWS_MAX: usize = 100_000;

/// Folds of the comparison unless asked otherwise.
pub const FOLDS: usize = 5;

/// The methods, from the simplest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Method {
    Identity,
    Temperature,
    Platt,
    Isotonic,
}

/// What a recipe asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Request {
    Auto,
    Only(Method),
}

#[derive(Debug, Clone)]
pub struct Options<'a> {
    pub folds: usize,
    pub seed: u64,
    /// One id per row: rows of one subject stay in one fold.
    pub subjects: Option<&'a [u64]>,
}

/// A fitted calibration and the evidence for it.
#[derive(Debug, Clone, Serialize)]
pub struct Calibration {
    pub calibrator: Calibrator,
    pub chosen: Method,
    /// Every method, from the simplest, scored or left out with the reason.
    pub candidates: Vec<Candidate>,
    pub before: Quality,
    pub after: Quality,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Candidate {
    pub method: Method,
    pub outcome: Outcome,
}

/// What came of a candidate.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    Scored {
        /// Out of fold.
        log_loss: f64,
        /// Log loss above the best candidate's, and the standard error of that difference.
        above_best: f64,
        standard_error: f64,
    },
    TooFewRows {
        rows: usize,
        needed: usize,
    },
    NotAsked,
}

/// How well probabilities mean what they say.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Quality {
    pub log_loss: f64,
    pub ece: f64,
    pub reliability: Vec<ReliabilityBin>,
}

/// Rows to calibrate on, exclusive or independent.
#[derive(Debug, Clone, Copy)]
pub struct Evidence<'a> {
    classes: Classes,
    width: usize,
    truth: Truth<'a>,
    probabilities: &'a [f64],
    weights: &'a [f64],
}

#[derive(Debug, thiserror::Error)]
pub enum CalibrateError {
    #[error("calibration needs at least {needed} rows kept out of training, there are {rows}")]
    TooFewRows { rows: usize, needed: usize },
    #[error("{folds} folds are not between 2 and the {units} rows or subjects")]
    Folds { folds: usize, units: usize },
    #[error(transparent)]
    Sample(#[from] SampleError),
    #[error(transparent)]
    Fitted(#[from] CalibrationError),
}

#[derive(Debug, Clone, Copy)]
enum Truth<'a> {
    Labels(&'a [u32]),
    Flags(&'a [bool]),
}

impl Method {
    pub const ALL: [Self; 4] = [
        Self::Identity,
        Self::Temperature,
        Self::Platt,
        Self::Isotonic,
    ];

    /// Rows below which `auto` does not try this method.
    pub fn rows_needed(self) -> usize {
        match self {
            Self::Identity => 0,
            Self::Temperature | Self::Platt => ROWS_MIN,
            Self::Isotonic => ISOTONIC_ROWS_MIN,
        }
    }
}

impl Default for Options<'_> {
    fn default() -> Self {
        Self {
            folds: FOLDS,
            seed: 0,
            subjects: None,
        }
    }
}

impl<'a> From<&'a Classified<'a>> for Evidence<'a> {
    fn from(sample: &'a Classified<'a>) -> Self {
        Self {
            classes: Classes::Exclusive,
            width: sample.class_count(),
            truth: Truth::Labels(sample.labels()),
            probabilities: sample.probabilities(),
            weights: sample.weights(),
        }
    }
}

impl<'a> From<&'a MultiLabelled<'a>> for Evidence<'a> {
    fn from(sample: &'a MultiLabelled<'a>) -> Self {
        Self {
            classes: Classes::Independent,
            width: sample.label_count(),
            truth: Truth::Flags(sample.truth()),
            probabilities: sample.probabilities(),
            weights: sample.weights(),
        }
    }
}

/// Fits what was asked for, with its evidence.
pub fn calibrate(
    evidence: &Evidence,
    request: Request,
    options: &Options,
) -> Result<Calibration, CalibrateError> {
    let rows = evidence.rows();
    if let Some(subjects) = options.subjects {
        check_length("the subjects", rows, subjects.len())?;
    }
    if rows > ROWS_MAX {
        let part = Part::of(evidence, options);
        let subjects = part.subjects.as_deref();
        let options = Options {
            subjects,
            ..options.clone()
        };
        return calibrate(&part.evidence(evidence), request, &options);
    }
    if let Request::Only(method) = request
        && rows < method.rows_needed().min(ROWS_MIN)
    {
        return Err(CalibrateError::TooFewRows {
            rows,
            needed: ROWS_MIN,
        });
    }
    let tried: Vec<Method> = Method::ALL
        .into_iter()
        .filter(|method| request.tries(*method, rows))
        .collect();
    let folds = if rows < ROWS_MIN {
        Vec::new()
    } else {
        evidence.folds(options)?
    };
    let held_out = tried
        .par_iter()
        .map(|&method| evidence.out_of_fold(method, &folds));
    let held_out: Vec<Vec<f64>> = held_out.collect::<Result<_, _>>()?;
    let losses: Vec<Vec<f64>> = held_out
        .iter()
        .map(|probabilities| evidence.losses(probabilities))
        .collect();
    let scores = score(&losses, evidence.weights);
    let simplest = scores
        .iter()
        .position(|score| score.above_best <= score.standard_error)
        .unwrap_or(0);
    let chosen = tried[simplest];
    let all: Vec<u32> = (0..rows as u32).collect();
    let candidate = |method: Method| {
        let scored = tried.iter().position(|&tried| tried == method);
        Candidate {
            method,
            outcome: outcome(scored.map(|at| &scores[at]), request, method, rows),
        }
    };
    Ok(Calibration {
        calibrator: evidence.fit(chosen, &all)?,
        chosen,
        candidates: Method::ALL.map(candidate).to_vec(),
        before: evidence.quality(evidence.probabilities),
        after: evidence.quality(&held_out[simplest]),
    })
}

/// A random part of the rows, copied.
struct Part {
    labels: Vec<u32>,
    flags: Vec<bool>,
    probabilities: Vec<f64>,
    weights: Vec<f64>,
    subjects: Option<Vec<u64>>,
}

/// One candidate beside the best.
struct Score {
    log_loss: f64,
    above_best: f64,
    standard_error: f64,
}

impl Part {
    fn of(evidence: &Evidence, options: &Options) -> Self {
        let mut rows: Vec<usize> = (0..evidence.rows()).collect();
        Random::stream(options.seed, u64::MAX).shuffle(&mut rows);
        rows.truncate(ROWS_MAX);
        // In their old order they are read from memory front to back.
        rows.sort_unstable();
        let width = evidence.width;
        let (labels, flags) = match evidence.truth {
            Truth::Labels(labels) => (rows.iter().map(|&row| labels[row]).collect(), Vec::new()),
            Truth::Flags(flags) => {
                let cells = rows.iter().flat_map(|&row| &flags[row * width..][..width]);
                (Vec::new(), cells.copied().collect())
            }
        };
        let cells = rows.iter().flat_map(|&row| evidence.probabilities(row));
        let pick = |subjects: &[u64]| rows.iter().map(|&row| subjects[row]).collect();
        Self {
            labels,
            flags,
            probabilities: cells.copied().collect(),
            weights: rows.iter().map(|&row| evidence.weights[row]).collect(),
            subjects: options.subjects.map(pick),
        }
    }

    fn evidence(&self, whole: &Evidence) -> Evidence<'_> {
        let truth = match whole.truth {
            Truth::Labels(_) => Truth::Labels(&self.labels),
            Truth::Flags(_) => Truth::Flags(&self.flags),
        };
        let (probabilities, weights) = (&self.probabilities, &self.weights);
        Evidence {
            classes: whole.classes,
            width: whole.width,
            truth,
            probabilities,
            weights,
        }
    }
}

impl Request {
    fn tries(self, method: Method, rows: usize) -> bool {
        match self {
            Self::Auto => rows >= method.rows_needed(),
            Self::Only(only) => only == method,
        }
    }
}

impl Evidence<'_> {
    /// Fits `method` on the given rows.
    pub fn fit(&self, method: Method, rows: &[u32]) -> Result<Calibrator, CalibrationError> {
        let map = match method {
            Method::Identity => Map::Identity,
            Method::Temperature => Map::Temperature {
                temperature: temperature::fit(self, rows),
            },
            Method::Platt => Map::Platt {
                lines: self.of_each_class(rows, platt::fit),
            },
            Method::Isotonic => Map::Isotonic {
                curves: self.of_each_class(rows, isotonic::fit),
            },
        };
        Calibrator::new(self.classes, map)
    }

    pub fn rows(&self) -> usize {
        self.weights.len()
    }

    pub(crate) fn classes(&self) -> Classes {
        self.classes
    }

    pub(crate) fn weight(&self, row: usize) -> f64 {
        self.weights[row]
    }

    pub(crate) fn probabilities(&self, row: usize) -> &[f64] {
        &self.probabilities[row * self.width..][..self.width]
    }

    pub(crate) fn is_true(&self, row: usize, class: usize) -> bool {
        match self.truth {
            Truth::Labels(labels) => labels[row] as usize == class,
            Truth::Flags(flags) => flags[row * self.width + class],
        }
    }

    /// Fits one map per class: of two exclusive classes only the second has one.
    fn of_each_class<T: Send>(
        &self,
        rows: &[u32],
        fit: impl Fn(&[f64], &[bool], &[f64]) -> T + Sync,
    ) -> Vec<T> {
        let is_binary = self.classes == Classes::Exclusive && self.width == 2;
        let first = usize::from(is_binary);
        let weights: Vec<f64> = rows.iter().map(|&row| self.weights[row as usize]).collect();
        let of_class = |class: usize| {
            let scores: Vec<f64> = rows
                .iter()
                .map(|&row| self.probabilities(row as usize)[class])
                .collect();
            let truth: Vec<bool> = rows
                .iter()
                .map(|&row| self.is_true(row as usize, class))
                .collect();
            fit(&scores, &truth, &weights)
        };
        (first..self.width).into_par_iter().map(of_class).collect()
    }

    /// The fold of each row: every stratum, or the list of subjects, is shuffled and dealt out.
    fn folds(&self, options: &Options) -> Result<Vec<usize>, CalibrateError> {
        let units: Vec<u64> = match options.subjects {
            None => (0..self.rows() as u64).collect(),
            Some(subjects) => subjects.to_vec(),
        };
        let mut order = units.clone();
        order.sort_unstable();
        order.dedup();
        if !(2..=order.len()).contains(&options.folds) {
            return Err(CalibrateError::Folds {
                folds: options.folds,
                units: order.len(),
            });
        }
        Random::new(options.seed).shuffle(&mut order);
        if let (None, Truth::Labels(labels)) = (options.subjects, self.truth) {
            order.sort_by_key(|&row| labels[row as usize]);
        }
        let dealt = order
            .into_iter()
            .enumerate()
            .map(|(place, unit)| (unit, place % options.folds));
        let fold_of: std::collections::HashMap<u64, usize> = dealt.collect();
        Ok(units.iter().map(|unit| fold_of[unit]).collect())
    }

    /// Every row's probabilities from a fit that has not seen it; unchanged when there are no
    /// folds.
    fn out_of_fold(&self, method: Method, folds: &[usize]) -> Result<Vec<f64>, CalibrationError> {
        let mut probabilities = self.probabilities.to_vec();
        if method == Method::Identity {
            return Ok(probabilities);
        }
        let fold_count = folds.iter().max().map_or(0, |highest| highest + 1);
        for fold in 0..fold_count {
            let others = (0u32..)
                .zip(folds)
                .filter(|(_, own)| **own != fold)
                .map(|(row, _)| row);
            let calibrator = self.fit(method, &others.collect::<Vec<u32>>())?;
            let rows = probabilities.chunks_exact_mut(self.width).zip(folds);
            rows.filter(|(_, own)| **own == fold)
                .for_each(|(row, _)| calibrator.apply(row));
        }
        Ok(probabilities)
    }

    fn losses(&self, probabilities: &[f64]) -> Vec<f64> {
        let of_row = |(row, probabilities): (usize, &[f64])| match self.truth {
            Truth::Labels(labels) => surprise(probabilities[labels[row] as usize]),
            Truth::Flags(_) => {
                let of_label = |(label, &p): (usize, &f64)| {
                    surprise(if self.is_true(row, label) { p } else { 1.0 - p })
                };
                probabilities.iter().enumerate().map(of_label).sum::<f64>() / self.width as f64
            }
        };
        probabilities
            .chunks_exact(self.width)
            .enumerate()
            .map(of_row)
            .collect()
    }

    fn quality(&self, probabilities: &[f64]) -> Quality {
        let (confidence, weights) = self.confidence(probabilities);
        // Evidence has rows and weight, so neither mean can be empty.
        Quality {
            log_loss: weighted_mean(&self.losses(probabilities), self.weights).unwrap_or(0.0),
            ece: expected_calibration_error(&confidence, &weights).unwrap_or(0.0),
            reliability: reliability_curve(&confidence, &weights),
        }
    }

    /// Of exclusive classes the top one of each row; of independent labels every one.
    fn confidence(&self, probabilities: &[f64]) -> (Confidence, Vec<f64>) {
        if self.classes == Classes::Independent {
            let cells = 0..probabilities.len();
            let is_right = cells
                .clone()
                .map(|cell| self.is_true(cell / self.width, cell % self.width))
                .collect();
            let weights = cells.map(|cell| self.weights[cell / self.width]).collect();
            return (Confidence::new(probabilities.to_vec(), is_right), weights);
        }
        let tops = probabilities
            .chunks_exact(self.width)
            .map(|row| (top_class(row), row));
        let rows = tops
            .enumerate()
            .map(|(row, (top, values))| (values[top], self.is_true(row, top)));
        let (levels, is_right) = rows.unzip();
        (Confidence::new(levels, is_right), self.weights.to_vec())
    }
}

fn score(losses: &[Vec<f64>], weights: &[f64]) -> Vec<Score> {
    // Evidence has rows and weight, so the mean cannot be empty.
    let means: Vec<f64> = losses
        .iter()
        .map(|losses| weighted_mean(losses, weights).unwrap_or(0.0))
        .collect();
    let best = (0..means.len())
        .min_by(|&a, &b| means[a].total_cmp(&means[b]))
        .unwrap_or(0);
    let of_candidate = |(own, &log_loss): (&Vec<f64>, &f64)| Score {
        log_loss,
        above_best: log_loss - means[best],
        standard_error: paired_standard_error(own, &losses[best], weights),
    };
    losses.iter().zip(&means).map(of_candidate).collect()
}

/// √(Σ w² (d − d̄)²) / Σ w of the row-by-row differences d.
fn paired_standard_error(a: &[f64], b: &[f64], weights: &[f64]) -> f64 {
    let differences: Vec<f64> = a.iter().zip(b).map(|(a, b)| a - b).collect();
    let mean = weighted_mean(&differences, weights).unwrap_or(0.0);
    let squares: f64 = differences
        .iter()
        .zip(weights)
        .map(|(d, w)| (w * (d - mean)).powi(2))
        .sum();
    squares.sqrt() / weights.iter().sum::<f64>()
}

fn outcome(score: Option<&Score>, request: Request, method: Method, rows: usize) -> Outcome {
    match score {
        Some(&Score {
            log_loss,
            above_best,
            standard_error,
        }) => Outcome::Scored {
            log_loss,
            above_best,
            standard_error,
        },
        None if request == Request::Auto => Outcome::TooFewRows {
            rows,
            needed: method.rows_needed(),
        },
        None => Outcome::NotAsked,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evaluate::fixture::{assert_close, binary, multilabel};

    /// Rows whose true chance is `truth(p)` where the model says p.
    fn drawn(rows: usize, seed: u64, truth: impl Fn(f64) -> f64) -> (Vec<u32>, Vec<f64>) {
        let mut random = Random::new(seed);
        let draw = |_| {
            let said = random.unit();
            (u32::from(random.unit() < truth(said)), [1.0 - said, said])
        };
        let (labels, rows): (Vec<u32>, Vec<[f64; 2]>) = (0..rows).map(draw).unzip();
        (labels, rows.concat())
    }

    fn automatic(labels: &[u32], probabilities: &[f64]) -> Calibration {
        let sample = Classified::new(labels, probabilities, 2).expect("valid");
        calibrate(&(&sample).into(), Request::Auto, &Options::default()).expect("calibrates")
    }

    #[test]
    fn a_calibrated_model_is_left_alone() {
        let (labels, probabilities) = drawn(3_000, 1, |said| said);
        assert_eq!(automatic(&labels, &probabilities).chosen, Method::Identity);
    }

    #[test]
    fn overconfidence_is_cooled_by_a_temperature() {
        let (labels, probabilities) = drawn(3_000, 2, |p| {
            let (yes, no) = (p.powf(0.4), (1.0 - p).powf(0.4));
            yes / (yes + no)
        });
        let calibration = automatic(&labels, &probabilities);
        assert_eq!(calibration.chosen, Method::Temperature);
        assert!(calibration.after.ece < calibration.before.ece / 2.0);
        assert!(calibration.after.log_loss < calibration.before.log_loss);
    }

    #[test]
    fn a_staircase_needs_isotonic() {
        let (labels, probabilities) = drawn(5_000, 3, |p| {
            if p < 0.3 {
                0.1
            } else if p < 0.9 {
                0.6
            } else {
                0.65
            }
        });
        assert_eq!(automatic(&labels, &probabilities).chosen, Method::Isotonic);
    }

    #[test]
    fn few_rows_are_not_calibrated_and_say_so() {
        let (labels, probabilities) = drawn(40, 4, |_| 0.1);
        let calibration = automatic(&labels, &probabilities);
        assert_eq!(calibration.chosen, Method::Identity);
        let outcomes: Vec<&Outcome> = calibration
            .candidates
            .iter()
            .map(|candidate| &candidate.outcome)
            .collect();
        assert_eq!(
            outcomes[2],
            &Outcome::TooFewRows {
                rows: 40,
                needed: ROWS_MIN
            }
        );
        assert_eq!(
            outcomes[3],
            &Outcome::TooFewRows {
                rows: 40,
                needed: ISOTONIC_ROWS_MIN
            }
        );
        let sample = Classified::new(&labels, &probabilities, 2).expect("valid");
        let refused = calibrate(
            &(&sample).into(),
            Request::Only(Method::Platt),
            &Options::default(),
        );
        assert!(matches!(
            refused,
            Err(CalibrateError::TooFewRows {
                rows: 40,
                needed: 50
            })
        ));
    }

    #[test]
    fn a_method_asked_for_is_the_one_fitted() {
        let rows = binary();
        let sample = rows.sample();
        let calibration = calibrate(
            &(&sample).into(),
            Request::Only(Method::Platt),
            &Options::default(),
        )
        .expect("fits");
        assert_eq!(calibration.chosen, Method::Platt);
        assert_eq!(calibration.candidates[1].outcome, Outcome::NotAsked);
        assert_close(calibration.before.log_loss, 0.8029378281806581);
        assert_close(calibration.before.ece, 0.2239837398373984);
        assert!(calibration.after.log_loss < calibration.before.log_loss);
    }

    #[test]
    fn independent_labels_are_calibrated_each_on_its_own() {
        let rows = multilabel();
        let sample = rows.sample();
        let calibration = calibrate(
            &(&sample).into(),
            Request::Only(Method::Platt),
            &Options::default(),
        )
        .expect("fits");
        assert_eq!(calibration.calibrator.check_width(3), Ok(()));
        let mut row = [0.9, 0.9, 0.017];
        calibration.calibrator.apply(&mut row);
        assert!(row.iter().sum::<f64>() > 1.1, "{row:?}");
        assert_close(calibration.before.log_loss, 0.5017298480159059);
    }

    #[test]
    fn folds_keep_subjects_together_and_classes_apart() {
        let (labels, probabilities) = drawn(100, 5, |p| p);
        let sample = Classified::new(&labels, &probabilities, 2).expect("valid");
        let evidence = Evidence::from(&sample);
        let folds = evidence.folds(&Options::default()).expect("folds");
        for class in 0..2 {
            let in_fold = |fold| {
                (0..100)
                    .filter(|&row| folds[row] == fold && labels[row] == class)
                    .count()
            };
            let counts: Vec<usize> = (0..FOLDS).map(in_fold).collect();
            assert!(
                counts
                    .iter()
                    .max()
                    .zip(counts.iter().min())
                    .is_some_and(|(most, least)| most - least <= 1)
            );
        }
        let subjects: Vec<u64> = (0..100).map(|row| row / 4).collect();
        let options = Options {
            subjects: Some(&subjects),
            ..Options::default()
        };
        let folds = evidence.folds(&options).expect("folds");
        assert!((0..100).all(|row| folds[row] == folds[row / 4 * 4]));
        let too_many = Options {
            folds: 26,
            ..options
        };
        assert!(matches!(
            evidence.folds(&too_many),
            Err(CalibrateError::Folds {
                folds: 26,
                units: 25
            })
        ));
    }

    #[test]
    fn beyond_the_bound_a_part_of_the_rows_is_enough() {
        let (labels, probabilities) = drawn(ROWS_MAX + 20_000, 7, |p| p * p);
        let calibration = automatic(&labels, &probabilities);
        let weight: f64 = calibration
            .before
            .reliability
            .iter()
            .map(|bin| bin.weight)
            .sum();
        assert_eq!(weight, ROWS_MAX as f64);
        let mut row = [0.4, 0.6];
        calibration.calibrator.apply(&mut row);
        assert!((row[1] - 0.36).abs() < 0.03, "{row:?}");
    }

    #[test]
    fn the_same_seed_gives_the_same_bits_on_any_number_of_threads() {
        let (labels, probabilities) = drawn(20_000, 6, |p| p * p);
        let on = |threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new()
                .num_threads(threads)
                .build()
                .expect("pool");
            pool.install(|| {
                serde_json::to_string(&automatic(&labels, &probabilities)).expect("serializes")
            })
        };
        assert_eq!(on(1), on(3));
    }
}
