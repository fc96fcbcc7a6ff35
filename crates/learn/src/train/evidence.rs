//! What is chosen from rows that the weights did not learn from: calibration, thresholds and coverage.
//!
//! The rows come either out of fold or from a part of the learning rows that was left out; never from the rows that
//! measure. Gathered fold by fold, then turned into the rule that makes answers of scores.

use super::report::{CrossValidation, Trial};
use super::{Quiet, TrainError, score_rows};
use crate::calibrate::{self, Calibration, Method, Request};
use crate::evaluate::{Classified, MultiLabelled};
use crate::fit::{LinearLearner, Problem};
use crate::progress::Progress;
use crate::random::Random;
use crate::recipe::{Calibrate, LinearParameters, Recipe, Search, Wanted};
use crate::split::{self, Sides};
use crate::target::Target;
use crate::thresholds::{self, Achieved, Aim, Wish};
use ombud_engine::answering::Answering;
use ombud_engine::conformal::{Conformal, Coverage, LabelSets, ResidualBand};
use ombud_engine::decision::{ClassThreshold, DecisionRule};
use std::time::{Duration, Instant};

/// Folds of out-of-fold evidence.
pub(super) const FOLDS: usize = 5;
/// The share of learning rows left out to choose by, when there are many.
const INNER_SHARE: f64 = 0.1;
/// Intervals of what thresholds achieve.
const LEVEL: f64 = 0.95;

/// Scores of rows that the weights did not learn from.
#[derive(Debug, Default)]
pub(super) struct Evidence {
    rows: Vec<u32>,
    scores: Vec<f64>,
    by_fold: Vec<f64>,
}

/// How scores become answers, with what speaks for it.
#[derive(Debug, Default)]
pub(super) struct Chosen {
    pub(super) answering: Answering,
    pub(super) calibration: Option<Calibration>,
    pub(super) thresholds: Vec<Achieved>,
    pub(super) notes: Vec<String>,
}

/// The parts of the learning rows that are learned from and left out in turn; with one fold, a single part.
pub(super) fn plan(problem: &Problem<'_>, rows: &[u32], folds: usize) -> Vec<Sides> {
    let keys: Option<Vec<u64>> = problem
        .keys
        .map(|keys| rows.iter().map(|row| keys[*row as usize]).collect());
    let codes: Option<Vec<u32>> = problem
        .target
        .codes()
        .map(|codes| rows.iter().map(|row| codes[*row as usize]).collect());
    if folds > 1 {
        let fold_of = split::folds(
            folds,
            codes.as_deref(),
            keys.as_deref(),
            rows.len(),
            problem.seed,
        );
        return (0..folds as u32)
            .map(|fold| split::sides_of_fold(rows, &fold_of, fold))
            .collect();
    }
    let rule = match &keys {
        Some(keys) => split::Rule::Together(keys),
        None => split::Rule::Stratified(codes.as_deref()),
    };
    let places = split::divide(rows.len(), INNER_SHARE, rule, problem.seed ^ 0x1);
    let pick = |places: Vec<u32>| {
        places
            .into_iter()
            .map(|place| rows[place as usize])
            .collect()
    };
    vec![Sides {
        training: pick(places.training),
        validation: pick(places.validation),
    }]
}

/// The loss by which settings are compared: log loss for classes and labels, squared or absolute error for numbers.
pub(super) fn loss(target: &Target, rows: &[u32], scores: &[f64], is_absolute: bool) -> f64 {
    const FLOOR: f64 = 1e-15;
    let log = |probability: f64| -probability.max(FLOOR).ln();
    let width = scores.len() / rows.len().max(1);
    let of_row = |(row, scores): (&u32, &[f64])| match target {
        Target::Classes { codes, .. } => log(scores[codes[*row as usize] as usize]),
        Target::Labels { names, flags } => {
            let truth = &flags[*row as usize * names.len()..];
            scores
                .iter()
                .zip(truth)
                .map(|(p, holds)| log(if *holds { *p } else { 1.0 - p }))
                .sum::<f64>()
                / names.len() as f64
        }
        Target::Numbers(numbers) => {
            let error = (scores[0] - numbers[*row as usize]).abs();
            if is_absolute { error } else { error * error }
        }
        Target::Nothing { .. } => 0.0,
    };
    rows.iter()
        .zip(scores.chunks_exact(width.max(1)))
        .map(of_row)
        .sum::<f64>()
        / rows.len().max(1) as f64
}

impl Evidence {
    /// Adds the scores of rows that were left out.
    pub(super) fn add(&mut self, problem: &Problem<'_>, rows: &[u32], scores: Vec<f64>) {
        self.by_fold
            .push(loss(problem.target, rows, &scores, false));
        self.rows.extend_from_slice(rows);
        self.scores.extend(scores);
    }

    /// The loss of each fold, when there were several.
    pub(super) fn cross_validation(&self, problem: &Problem<'_>) -> Option<CrossValidation> {
        let folds = self.by_fold.len();
        let metric = if problem.target.task().has_classes() {
            "log_loss"
        } else {
            "mse"
        };
        let mean = self.by_fold.iter().sum::<f64>() / folds.max(1) as f64;
        (folds > 1).then(|| CrossValidation {
            metric: metric.into(),
            mean,
            folds: self.by_fold.clone(),
        })
    }

    /// Chooses calibration, thresholds and coverage.
    pub(super) fn choose(
        &self,
        recipe: &Recipe,
        problem: &Problem<'_>,
    ) -> Result<Chosen, TrainError> {
        let target = problem.target.take(&self.rows);
        let weights: Option<Vec<f64>> = problem
            .weights
            .map(|weights| self.rows.iter().map(|row| weights[*row as usize]).collect());
        let keys: Option<Vec<u64>> = problem
            .keys
            .map(|keys| self.rows.iter().map(|row| keys[*row as usize]).collect());
        match &target {
            Target::Classes { names, codes, .. } => {
                self.choose_for_classes(recipe, names, codes, weights.as_deref(), keys.as_deref())
            }
            Target::Labels { names, flags } => {
                let mut scores = self.scores.clone();
                let mut chosen = Chosen::default();
                let sample = MultiLabelled::new(flags, &self.scores, names.len())?;
                calibrate_on(recipe, &(&sample).into(), keys.as_deref(), &mut chosen);
                apply(&chosen.answering, &mut scores, names.len());
                set_label_thresholds(recipe, names, flags, &scores, &mut chosen)?;
                Ok(chosen)
            }
            Target::Numbers(numbers) => {
                let mut chosen = Chosen::default();
                if let Some(coverage) = recipe.train.coverage {
                    let band = ResidualBand::fit(numbers, &self.scores, Coverage::new(coverage)?)?;
                    chosen.answering.conformal = Some(Conformal::ResidualBand(band));
                    chosen.answering.coverage = Some(coverage);
                    // Amounts and durations are never negative; an interval that says so would not be believed.
                    let is_amount = numbers.iter().all(|number| *number >= 0.0);
                    chosen.answering.least = is_amount.then_some(0.0);
                }
                Ok(chosen)
            }
            Target::Nothing { .. } => Ok(Chosen::default()),
        }
    }

    fn choose_for_classes(
        &self,
        recipe: &Recipe,
        names: &[String],
        codes: &[u32],
        weights: Option<&[f64]>,
        keys: Option<&[u64]>,
    ) -> Result<Chosen, TrainError> {
        let mut chosen = Chosen::default();
        let mut sample = Classified::new(codes, &self.scores, names.len())?;
        if let Some(weights) = weights {
            sample = sample.with_weights(weights)?;
        }
        calibrate_on(recipe, &(&sample).into(), keys, &mut chosen);
        let mut scores = self.scores.clone();
        apply(&chosen.answering, &mut scores, names.len());
        if !recipe.train.thresholds.is_empty() {
            let wishes = wishes(recipe, names)?;
            let mut calibrated = Classified::new(codes, &scores, names.len())?;
            if let Some(weights) = weights {
                calibrated = calibrated.with_weights(weights)?;
            }
            let tuning = thresholds::tune(&calibrated, &wishes, LEVEL)
                .map_err(|error| threshold_error(names, &error))?;
            chosen.notes.extend(
                tuning
                    .achieved
                    .iter()
                    .map(|achieved| sentence(names, achieved)),
            );
            chosen.answering.decision = Some(tuning.rule);
            chosen.thresholds = tuning.achieved;
        }
        if let Some(coverage) = recipe.train.coverage {
            let sets = LabelSets::fit(codes, &scores, names.len(), Coverage::new(coverage)?)?;
            chosen.answering.conformal = Some(Conformal::LabelSets(sets));
            chosen.answering.coverage = Some(coverage);
        }
        Ok(chosen)
    }
}

fn calibrate_on(
    recipe: &Recipe,
    evidence: &calibrate::Evidence<'_>,
    keys: Option<&[u64]>,
    chosen: &mut Chosen,
) {
    let request = match recipe.train.calibrate {
        Calibrate::None => return,
        Calibrate::Auto => Request::Auto,
        Calibrate::Platt => Request::Only(Method::Platt),
        Calibrate::Isotonic => Request::Only(Method::Isotonic),
        Calibrate::Temperature => Request::Only(Method::Temperature),
    };
    let options = calibrate::Options {
        seed: recipe.train.seed,
        subjects: keys,
        ..Default::default()
    };
    match calibrate::calibrate(evidence, request, &options) {
        Ok(calibration) => {
            chosen.notes.push(format!(
                "calibration: {}, log loss {:.4} before and {:.4} after on rows left out",
                method_word(calibration.chosen),
                calibration.before.log_loss,
                calibration.after.log_loss
            ));
            chosen.answering.calibrator = Some(calibration.calibrator.clone());
            chosen.calibration = Some(calibration);
        }
        Err(reason) => chosen
            .notes
            .push(format!("probabilities are not calibrated: {reason}")),
    }
}

fn method_word(method: Method) -> &'static str {
    match method {
        Method::Identity => "none needed",
        Method::Temperature => "temperature",
        Method::Platt => "sigmoid (Platt)",
        Method::Isotonic => "isotonic",
    }
}

fn apply(answering: &Answering, scores: &mut [f64], width: usize) {
    scores
        .chunks_exact_mut(width)
        .for_each(|row| answering.calibrate(row));
}

fn wishes(recipe: &Recipe, names: &[String]) -> Result<Vec<Wish>, TrainError> {
    let wish =
        |(class, wanted): &(String, Wanted)| {
            let place = names.iter().position(|name| name == class).ok_or_else(|| {
                TrainError::Threshold {
                    class: class.clone(),
                    reason: format!("the target has no such class, only {}", names.join(", ")),
                }
            })?;
            Ok(Wish {
                class: place as u32,
                aim: match wanted {
                    Wanted::Recall(recall) => Aim::Recall(*recall),
                    Wanted::Precision(precision) => Aim::Precision(*precision),
                },
            })
        };
    recipe.train.thresholds.iter().map(wish).collect()
}

/// A room below knows classes by number; a person knows them by name.
fn threshold_error(names: &[String], error: &thresholds::ThresholdError) -> TrainError {
    use ombud_engine::decision::DecisionError;
    use thresholds::ThresholdError;
    let (class, reason) = match error {
        ThresholdError::OutOfReach {
            class,
            measure,
            wanted,
            best,
        } => (
            Some(*class),
            format!("no threshold gives a {measure} of {wanted}; the best is {best:.3}"),
        ),
        ThresholdError::ClassMissing { class } => (
            Some(*class),
            "it does not occur in the rows left out to tune by".to_owned(),
        ),
        ThresholdError::Rule(DecisionError::Twice { class }) => {
            (Some(*class), "it has two thresholds".to_owned())
        }
        ThresholdError::Aim { .. } | ThresholdError::Rule(_) => (None, error.to_string()),
    };
    let class = class.and_then(|class| names.get(class as usize).cloned());
    TrainError::Threshold {
        class: class.unwrap_or_default(),
        reason,
    }
}

fn sentence(names: &[String], achieved: &Achieved) -> String {
    let precision = achieved
        .precision
        .map_or("no".to_owned(), |p| format!("{:.3}", p.value));
    format!(
        "threshold of {}: {:.4}, with recall {:.3} and {precision} precision on rows left out",
        names[achieved.class as usize], achieved.threshold, achieved.recall.value
    )
}

/// Each label has a threshold of its own: as a class against its absence.
fn set_label_thresholds(
    recipe: &Recipe,
    names: &[String],
    flags: &[bool],
    scores: &[f64],
    chosen: &mut Chosen,
) -> Result<(), TrainError> {
    let mut wishes = wishes(recipe, names)?;
    // A rare label hardly ever reaches one half, so each gets the threshold of its best F1 unless the recipe asks otherwise.
    for label in 0..names.len() as u32 {
        if wishes.iter().all(|wish| wish.class != label) {
            wishes.push(Wish {
                class: label,
                aim: Aim::HighestF1,
            });
        }
    }
    let mut tuned = Vec::new();
    for wish in wishes {
        let label = wish.class as usize;
        let codes: Vec<u32> = flags
            .iter()
            .skip(label)
            .step_by(names.len())
            .map(|flag| u32::from(*flag))
            .collect();
        let pairs: Vec<f64> = scores
            .iter()
            .skip(label)
            .step_by(names.len())
            .flat_map(|score| [1.0 - score, *score])
            .collect();
        let is_asked = recipe
            .train
            .thresholds
            .iter()
            .any(|(class, _)| *class == names[label]);
        let sample = Classified::new(&codes, &pairs, 2)?;
        let tuning = match thresholds::tune(
            &sample,
            &[Wish {
                class: 1,
                aim: wish.aim,
            }],
            LEVEL,
        ) {
            Ok(tuning) => tuning,
            // Seen alone, a label is the second of two classes: it does not hold, it holds.
            Err(error) if is_asked => {
                let pair = [String::new(), names[label].clone()];
                return Err(threshold_error(&pair, &error));
            }
            // A label that never occurs among the rows left out keeps the common threshold.
            Err(_) => continue,
        };
        for mut achieved in tuning.achieved {
            achieved.class = wish.class;
            tuned.push(ClassThreshold {
                class: achieved.class,
                threshold: achieved.threshold,
            });
            if is_asked {
                chosen.notes.push(sentence(names, &achieved));
            }
            chosen.thresholds.push(achieved);
        }
    }
    if !tuned.is_empty() {
        let rule = DecisionRule::new(names.len(), tuned);
        let store =
            |error: ombud_engine::decision::DecisionError| TrainError::Store(error.to_string());
        chosen.answering.decision = Some(rule.map_err(store)?);
    }
    Ok(())
}

/// Searches the strength of the penalty, and leaves the best in `parameters`.
pub(super) fn search_linear(
    problem: &Problem<'_>,
    parameters: &mut LinearParameters,
    rows: &[u32],
    wanted: Search,
    progress: &dyn Progress,
) -> Result<Vec<Trial>, TrainError> {
    let started = Instant::now();
    let parts = plan(problem, rows, 3);
    let mut random = Random::stream(problem.seed, 0x5EA);
    let mut race = Race::new(wanted, started);
    progress.start("searching", Some(wanted.trials as u64));
    for trial in 0..wanted.trials {
        if race.is_over() || progress.is_stopped() {
            break;
        }
        let mut candidate = parameters.clone();
        if trial > 0 {
            candidate.c = Some(10f64.powf(-2.0 + 4.0 * random.unit()));
        }
        let learner = LinearLearner::new(problem, &candidate);
        let settings = penalty_text(&candidate);
        race.run(candidate.clone(), settings, parts.len(), |fold| {
            let part = &parts[fold];
            let fitted = learner.fit(&part.training, &Quiet(progress))?;
            Ok(loss(
                problem.target,
                &part.validation,
                &score_rows(&fitted, problem, &part.validation),
                false,
            ))
        })?;
        progress.advance(trial as u64 + 1);
    }
    progress.finish();
    if let Some(best) = race.best() {
        *parameters = best;
    }
    Ok(race.trials)
}

/// Strengths compared when the recipe names none; text wants less of a penalty than scikit-learn's default of 1.
const STRENGTHS: [f64; 3] = [1.0, 4.0, 16.0];

/// Chooses the strength of the penalty on one part of the plan, when the recipe names none.
pub(super) fn choose_penalty(
    problem: &Problem<'_>,
    parameters: &mut LinearParameters,
    part: &Sides,
    progress: &dyn Progress,
) -> Result<Vec<Trial>, TrainError> {
    let mut trials = Vec::new();
    if parameters.c.is_some() {
        return Ok(trials);
    }
    let mut best: Option<(f64, f64)> = None;
    progress.start("choosing the penalty", Some(STRENGTHS.len() as u64));
    for (done, c) in STRENGTHS.into_iter().enumerate() {
        let candidate = LinearParameters {
            c: Some(c),
            ..parameters.clone()
        };
        let fitted =
            LinearLearner::new(problem, &candidate).fit(&part.training, &Quiet(progress))?;
        let loss = loss(
            problem.target,
            &part.validation,
            &score_rows(&fitted, problem, &part.validation),
            false,
        );
        trials.push(Trial {
            settings: penalty_text(&candidate),
            loss,
            folds: 1,
            is_pruned: false,
        });
        if best.is_none_or(|(least, _)| loss < least) {
            best = Some((loss, c));
        }
        progress.advance(done as u64 + 1);
    }
    progress.finish();
    parameters.c = best.map(|(_, c)| c);
    Ok(trials)
}

fn penalty_text(parameters: &LinearParameters) -> String {
    format!("c = {:.4}", parameters.c.unwrap_or(1.0))
}

/// Candidates against each other, fold by fold: one that lies behind the middle of the others is given up early.
#[derive(Debug)]
pub(super) struct Race<P> {
    limit: Duration,
    started: Instant,
    best: Option<(f64, P)>,
    /// Mean loss after each fold, of every candidate that got there.
    means: Vec<Vec<f64>>,
    pub(super) trials: Vec<Trial>,
}

impl<P> Race<P> {
    pub(super) fn new(wanted: Search, started: Instant) -> Self {
        Race {
            limit: Duration::from_secs(wanted.time.0),
            started,
            best: None,
            means: Vec::new(),
            trials: Vec::new(),
        }
    }

    pub(super) fn is_over(&self) -> bool {
        self.started.elapsed() >= self.limit && !self.trials.is_empty()
    }

    pub(super) fn run(
        &mut self,
        candidate: P,
        settings: String,
        folds: usize,
        mut loss_of_fold: impl FnMut(usize) -> Result<f64, TrainError>,
    ) -> Result<(), TrainError> {
        let mut sum = 0.0;
        let mut folds_run = 0;
        let mut is_pruned = false;
        for fold in 0..folds {
            sum += loss_of_fold(fold)?;
            folds_run = fold + 1;
            let mean = sum / folds_run as f64;
            is_pruned = folds_run < folds && self.is_behind(fold, mean);
            if self.means.len() <= fold {
                self.means.push(Vec::new());
            }
            self.means[fold].push(mean);
            if is_pruned {
                break;
            }
        }
        let mean = sum / folds_run.max(1) as f64;
        if !is_pruned && self.best.as_ref().is_none_or(|(best, _)| mean < *best) {
            self.best = Some((mean, candidate));
        }
        self.trials.push(Trial {
            settings,
            loss: mean,
            folds: folds_run,
            is_pruned,
        });
        Ok(())
    }

    /// Behind the median of the candidates that were measured on this fold before.
    fn is_behind(&self, fold: usize, mean: f64) -> bool {
        const CANDIDATES_MIN: usize = 4;
        let Some(others) = self.means.get(fold) else {
            return false;
        };
        let mut others = others.clone();
        others.sort_by(f64::total_cmp);
        others.len() >= CANDIDATES_MIN && mean > others[others.len() / 2]
    }

    pub(super) fn best(&mut self) -> Option<P> {
        self.best.take().map(|(_, best)| best)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recipe::Seconds;

    #[test]
    fn a_candidate_behind_the_middle_is_given_up() {
        let wanted = Search {
            trials: 10,
            time: Seconds(60),
        };
        let mut race = Race::new(wanted, Instant::now());
        for loss in [1.0, 2.0, 3.0, 4.0, 9.0, 0.5] {
            race.run(loss, String::new(), 3, |_| Ok(loss)).unwrap();
        }
        let given_up: Vec<bool> = race.trials.iter().map(|trial| trial.is_pruned).collect();
        assert_eq!(given_up, [false, false, false, false, true, false]);
        assert_eq!(race.best(), Some(0.5));
    }
}
