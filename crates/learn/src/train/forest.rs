//! The plan of a forest: how deep, how many rounds, and what the rest is chosen by.
//!
//! On few rows everything is tried out of fold, a few depths against each other, and the final forest grows on all rows
//! with the rounds that the folds agreed on. On many rows one part of the learning rows is left out to stop by and to
//! calibrate on, and the forest that was measured is the one that ships.

use super::evidence::{self, Evidence, FOLDS, Race, loss};
use super::report::Trial;
use super::{Made, TrainError};
use crate::fit::{ForestLearner, GrownForest, Problem, ROUNDS_MAX, Watching};
use crate::progress::Progress;
use crate::random::Random;
use crate::recipe::{ForestParameters, LossKind, Recipe, Search};
use crate::split::Sides;
use std::ops::ControlFlow;
use std::time::Instant;

/// Below this many learning rows everything is chosen out of fold and the forest is refitted on all rows.
const FEW_ROWS_MAX: usize = 60_000;
/// The same when the recipe gives the rounds: then there is less to choose, and folds would cost more than they tell.
const FEW_ROWS_MAX_GIVEN: usize = 20_000;
/// Depths compared on few rows, unless the recipe gives one.
const DEPTHS: [usize; 3] = [2, 4, 6];
/// Learning rates of the two plans: slower where a fit costs little.
const LEARNING_RATE_FEW: f64 = 0.05;
const LEARNING_RATE_MANY: f64 = 0.1;
const DEPTH_MANY: usize = 6;
/// A refit on all rows has more to learn than each fold had, and earns a few more rounds.
const ROUNDS_FOR_ALL: f64 = 1.1;

/// Makes a forest by the plan that the number of rows asks for.
pub(super) fn make(
    recipe: &Recipe,
    problem: &Problem<'_>,
    parameters: &ForestParameters,
    sides: &Sides,
    progress: &dyn Progress,
) -> Result<Made, TrainError> {
    progress.start("preparing the rows", None);
    let learner = ForestLearner::new(problem, &sides.training, progress)?;
    progress.finish();
    let rows_few = if parameters.rounds.is_some() {
        FEW_ROWS_MAX_GIVEN
    } else {
        FEW_ROWS_MAX
    };
    let is_few = sides.training.len() < rows_few;
    let mut parameters = parameters.clone();
    parameters.learning_rate.get_or_insert(if is_few {
        LEARNING_RATE_FEW
    } else {
        LEARNING_RATE_MANY
    });
    let folds = recipe
        .train
        .cross_validate
        .unwrap_or(if is_few { FOLDS } else { 1 });
    let mut trials = Vec::new();
    if let Some(wanted) = recipe.train.search {
        trials = search(problem, &learner, &mut parameters, wanted, progress)?;
    }
    if folds > 1 {
        out_of_fold(
            recipe, problem, parameters, &learner, sides, folds, trials, progress,
        )
    } else {
        one_part(
            recipe, problem, parameters, &learner, sides, trials, progress,
        )
    }
}

/// One growing with its scores of the rows left out.
struct Attempt {
    places: Vec<usize>,
    scores: Vec<f64>,
    rounds: usize,
    grown: GrownForest,
}

/// Grows on all places but some, stops by those, and scores them.
fn attempt(
    learner: &ForestLearner<'_>,
    parameters: &ForestParameters,
    part: &Sides,
    progress: &dyn Progress,
    shows: bool,
) -> Result<Attempt, TrainError> {
    let places = |rows: &[u32]| -> Vec<usize> {
        rows.iter()
            .filter_map(|row| learner.rows().binary_search(row).ok())
            .collect()
    };
    let (inside, outside) = (places(&part.training), places(&part.validation));
    let (rounds, watching) = match parameters.rounds {
        Some(rounds) => (rounds, Watching::Nothing),
        None => (ROUNDS_MAX, Watching::Places(&outside)),
    };
    let mut on_round = |round: usize| {
        if shows {
            progress.advance(round as u64 + 1);
        }
        if progress.is_stopped() {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    };
    let grown = learner.fit(Some(&inside), watching, parameters, rounds, &mut on_round)?;
    let scores = learner.score(&grown, &outside);
    Ok(Attempt {
        places: outside,
        scores,
        rounds: grown.rounds,
        grown,
    })
}

#[expect(clippy::too_many_arguments, reason = "one plan, told whole")]
fn out_of_fold(
    recipe: &Recipe,
    problem: &Problem<'_>,
    mut parameters: ForestParameters,
    learner: &ForestLearner<'_>,
    sides: &Sides,
    folds: usize,
    mut trials: Vec<Trial>,
    progress: &dyn Progress,
) -> Result<Made, TrainError> {
    let plan = evidence::plan(problem, &sides.training, folds);
    let depths: Vec<usize> = parameters
        .depth
        .map_or(DEPTHS.to_vec(), |depth| vec![depth]);
    let is_absolute = !matches!(parameters.loss, LossKind::Squared);
    let mut best: Option<(f64, usize, Vec<Attempt>)> = None;
    progress.start("growing out of fold", Some((depths.len() * folds) as u64));
    for (tried, depth) in depths.iter().enumerate() {
        parameters.depth = Some(*depth);
        let mut attempts = Vec::with_capacity(folds);
        let mut sum = 0.0;
        for (fold, part) in plan.iter().enumerate() {
            let attempt = attempt(learner, &parameters, part, progress, false)?;
            sum += loss(
                problem.target,
                &rows_at(learner, &attempt.places),
                &attempt.scores,
                is_absolute,
            );
            attempts.push(attempt);
            progress.advance((tried * folds + fold + 1) as u64);
        }
        let mean = sum / folds as f64;
        if depths.len() > 1 {
            trials.push(Trial {
                settings: format!("depth = {depth}"),
                loss: mean,
                folds,
                is_pruned: false,
            });
        }
        if best.as_ref().is_none_or(|(loss, _, _)| mean < *loss) {
            best = Some((mean, *depth, attempts));
        }
    }
    progress.finish();
    let (_, depth, attempts) =
        best.ok_or_else(|| TrainError::Store("no depth was tried".into()))?;
    parameters.depth = Some(depth);
    let mut rounds: Vec<usize> = attempts.iter().map(|attempt| attempt.rounds).collect();
    rounds.sort_unstable();
    let agreed = parameters
        .rounds
        .unwrap_or_else(|| ((rounds[rounds.len() / 2] as f64 * ROUNDS_FOR_ALL) as usize).max(1));
    let mut evidence = Evidence::default();
    for attempt in attempts {
        evidence.add(problem, &rows_at(learner, &attempt.places), attempt.scores);
    }
    let chosen = evidence.choose(recipe, problem)?;
    let mut notes = vec![format!(
        "depth {depth} and {agreed} rounds, chosen on {folds} folds"
    )];
    notes.extend(chosen.notes);
    let measured = grow_all(
        learner,
        &parameters,
        agreed,
        "growing, to measure",
        progress,
    )?;
    let refits = recipe.train.refit.unwrap_or(true);
    let (shipped, measured, rows_fitted) = if refits {
        let all: Vec<u32> = (0..problem.target.rows() as u32).collect();
        progress.start("preparing all rows", None);
        let learner = ForestLearner::new(problem, &all, progress)?;
        progress.finish();
        let shipped = grow_all(
            &learner,
            &parameters,
            agreed,
            "growing on all rows",
            progress,
        )?;
        (shipped, Some(measured.into()), all.len())
    } else {
        (measured, None, sides.training.len())
    };
    Ok(Made {
        shipped: shipped.into(),
        measured,
        answering: chosen.answering,
        calibration: chosen.calibration,
        thresholds: chosen.thresholds,
        cross_validation: evidence.cross_validation(problem),
        segmented: None,
        search: trials,
        notes,
        rows_fitted,
    })
}

fn one_part(
    recipe: &Recipe,
    problem: &Problem<'_>,
    mut parameters: ForestParameters,
    learner: &ForestLearner<'_>,
    sides: &Sides,
    trials: Vec<Trial>,
    progress: &dyn Progress,
) -> Result<Made, TrainError> {
    parameters.depth.get_or_insert(DEPTH_MANY);
    let plan = evidence::plan(problem, &sides.training, 1);
    let part = &plan[0];
    let total = parameters.rounds.map(|rounds| rounds as u64);
    progress.start("growing", total);
    let attempt = attempt(learner, &parameters, part, progress, true)?;
    progress.finish();
    let mut evidence = Evidence::default();
    evidence.add(problem, &rows_at(learner, &attempt.places), attempt.scores);
    let chosen = evidence.choose(recipe, problem)?;
    let stopped = if parameters.rounds.is_none() {
        "stopped by"
    } else {
        "calibrated on"
    };
    let mut notes = vec![format!(
        "{} rounds of depth {}; {stopped} {} rows left out of learning",
        attempt.rounds,
        parameters.depth.unwrap_or(DEPTH_MANY),
        part.validation.len()
    )];
    notes.extend(chosen.notes);
    let (shipped, measured, rows_fitted) = if recipe.train.refit.unwrap_or(false) {
        let all: Vec<u32> = (0..problem.target.rows() as u32).collect();
        progress.start("preparing all rows", None);
        let learner = ForestLearner::new(problem, &all, progress)?;
        progress.finish();
        let shipped = grow_all(
            &learner,
            &parameters,
            attempt.rounds,
            "growing on all rows",
            progress,
        )?;
        (shipped, Some(attempt.grown.into()), all.len())
    } else {
        (attempt.grown, None, part.training.len())
    };
    Ok(Made {
        shipped: shipped.into(),
        measured,
        answering: chosen.answering,
        calibration: chosen.calibration,
        thresholds: chosen.thresholds,
        cross_validation: None,
        segmented: None,
        search: trials,
        notes,
        rows_fitted,
    })
}

fn rows_at(learner: &ForestLearner<'_>, places: &[usize]) -> Vec<u32> {
    places.iter().map(|place| learner.rows()[*place]).collect()
}

fn grow_all(
    learner: &ForestLearner<'_>,
    parameters: &ForestParameters,
    rounds: usize,
    stage: &str,
    progress: &dyn Progress,
) -> Result<GrownForest, TrainError> {
    progress.start(stage, Some(rounds as u64));
    let mut on_round = |round: usize| {
        progress.advance(round as u64 + 1);
        if progress.is_stopped() {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    };
    let grown = learner.fit(None, Watching::Nothing, parameters, rounds, &mut on_round)?;
    progress.finish();
    Ok(grown)
}

/// Folds of a search: fewer than of the evidence, because many candidates share the time.
const SEARCH_FOLDS: usize = 3;

/// Searches shape, pace and sampling, and leaves the best in `parameters`; what the recipe gives stays.
fn search(
    problem: &Problem<'_>,
    learner: &ForestLearner<'_>,
    parameters: &mut ForestParameters,
    wanted: Search,
    progress: &dyn Progress,
) -> Result<Vec<Trial>, TrainError> {
    let plan = evidence::plan(problem, learner.rows(), SEARCH_FOLDS);
    let is_absolute = !matches!(parameters.loss, LossKind::Squared);
    let mut random = Random::stream(problem.seed, 0x5EA2C);
    let mut race = Race::new(wanted, Instant::now());
    progress.start("searching", Some(wanted.trials as u64));
    for trial in 0..wanted.trials {
        if race.is_over() || progress.is_stopped() {
            break;
        }
        let candidate = if trial == 0 {
            first(parameters)
        } else {
            draw(parameters, &mut random)
        };
        race.run(
            candidate.clone(),
            settings_text(&candidate),
            plan.len(),
            |fold| {
                let attempt = attempt(learner, &candidate, &plan[fold], progress, false)?;
                Ok(loss(
                    problem.target,
                    &rows_at(learner, &attempt.places),
                    &attempt.scores,
                    is_absolute,
                ))
            },
        )?;
        progress.advance(trial as u64 + 1);
    }
    progress.finish();
    if let Some(best) = race.best() {
        *parameters = best;
    }
    Ok(race.trials)
}

/// The defaults run first, so that a search never ends worse than no search.
fn first(given: &ForestParameters) -> ForestParameters {
    ForestParameters {
        depth: Some(given.depth.unwrap_or(4)),
        ..given.clone()
    }
}

fn draw(given: &ForestParameters, random: &mut Random) -> ForestParameters {
    let mut between = |low: f64, high: f64| low + (high - low) * random.unit();
    let depth = between(2.0, 9.0) as usize;
    let learning_rate = between(0.02f64.ln(), 0.2f64.ln()).exp();
    ForestParameters {
        depth: Some(given.depth.unwrap_or(depth)),
        learning_rate: Some(learning_rate),
        subsample: between(0.5, 1.0),
        colsample: between(0.4, 1.0),
        min_child_weight: between(0.0f64, 3.0).exp2() - 0.5,
        lambda: between(-2.0, 3.0).exp2(),
        ..given.clone()
    }
}

fn settings_text(of: &ForestParameters) -> String {
    format!(
        "depth = {}, learning_rate = {:.3}, subsample = {:.2}, colsample = {:.2}, min_child_weight = {:.2}, lambda = {:.2}",
        of.depth.unwrap_or(0),
        of.learning_rate.unwrap_or(0.0),
        of.subsample,
        of.colsample,
        of.min_child_weight,
        of.lambda
    )
}
