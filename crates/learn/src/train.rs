//! From a recipe and its data to a signed bundle: the plan of a training.
//!
//! The plan keeps four kinds of rows apart. Rows to *learn* from; rows to *choose* by (rounds, depth, calibration,
//! thresholds, intervals), which are out-of-fold rows on small data and a part of the learning rows on large; rows held
//! out to *measure*, which nothing else sees; and, where data is scarce, *all* rows for the weights that ship, after
//! everything was measured. What is reported was measured before that last step.

mod card;
mod evidence;
mod forest;
mod report;

pub use report::Report;

use crate::baseline;
use crate::calibrate::Calibration;
use crate::evaluation::{self, Evaluation, Truth};
use crate::fit::{ClusterLearner, FitError, Fitted, LinearLearner, Problem, Segmented};
use crate::gate;
use crate::leakage;
use crate::prepare::{self, PrepareError, Prepared};
use crate::progress::Progress;
use crate::recipe::{Algorithm, ForestParameters, LinearParameters, Recipe};
use crate::split::Sides;
use crate::stages::Places;
use crate::target::Target;
use crate::thresholds::Achieved;
use evidence::Evidence;
use ombud_core::manifest::{FORMAT, Lineage};
use ombud_core::task::Outputs;
use ombud_core::{Class, Kind, Label, Manifest, Task, Version};
use ombud_engine::answering::Answering;
use ombud_engine::bundle::keys::SigningKey;
use ombud_engine::bundle::path_name::PathName;
use ombud_engine::bundle::{Bundle, BundleError, Files, index, staging};
use ombud_engine::model::ANSWERING_FILE;
use ombud_engine::{Model, ModelError, Trust};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// The file of reference distributions.
pub const BASELINE_FILE: &str = "baseline.json";
/// The file of everything that was measured.
pub const REPORT_FILE: &str = "report.json";
/// The model card.
pub const CARD_FILE: &str = "card.md";

/// The folder of models, when nobody names another.
pub const MODELS_FOLDER: &str = "models";

/// Below this many rows nothing can be held out and measured.
pub const ROWS_MIN: usize = 20;
/// Leftovers of interrupted trainings are swept when they are older than this.
const LEFTOVER_AGE: Duration = Duration::from_secs(24 * 3_600);

/// Where a training reads and writes.
#[derive(Debug, Clone, Copy)]
pub struct TrainOptions<'a> {
    /// Relative sources start here.
    pub recipe_folder: &'a Path,
    /// Another source than the recipe's.
    pub data: Option<&'a str>,
    /// The folder of models.
    pub out: &'a Path,
    /// Signs the bundle.
    pub key: Option<&'a SigningKey>,
}

/// A finished training.
#[derive(Debug)]
pub struct Trained {
    /// Ready to answer.
    pub model: Model,
    /// As written.
    pub bundle: Bundle,
    /// Where it is.
    pub path: PathBuf,
    /// Things a person should know before using it.
    pub warnings: Vec<String>,
    /// What was decided, in words.
    pub notes: Vec<String>,
    /// Measured on held-out rows.
    pub evaluation: Evaluation,
}

/// Why no model was trained. Nothing was written.
#[derive(Debug, thiserror::Error)]
pub enum TrainError {
    #[error(transparent)]
    Prepare(#[from] PrepareError),
    #[error(transparent)]
    Fit(#[from] FitError),
    #[error("{rows} rows are too few to learn from and measure; at least {ROWS_MIN} are needed")]
    TooFewRows { rows: usize },
    #[error("the class {class:?} has only {rows} row: it cannot be both learned and measured")]
    RareClass { class: String, rows: usize },
    #[error("the split leaves {rows} rows on the {side} side, where {missing}")]
    Split {
        rows: usize,
        side: &'static str,
        missing: String,
    },
    #[error("{algorithm} cannot be used for {task}")]
    Algorithm { algorithm: &'static str, task: Task },
    #[error("{what} cannot be used here: {why}")]
    Parameter { what: String, why: String },
    #[error("the threshold for {class:?} cannot be set: {reason}")]
    Threshold { class: String, reason: String },
    #[error("{a} and {b} answer different questions and cannot be compared")]
    Incomparable { a: String, b: String },
    #[error("two models for {task} cannot be compared")]
    NothingToCompare { task: Task },
    #[error("the answers cannot be measured: {0}")]
    Measure(#[from] crate::evaluate::SampleError),
    #[error("the promised coverage cannot be kept: {0}")]
    Coverage(#[from] ombud_engine::conformal::ConformalError),
    #[error(transparent)]
    Model(#[from] ModelError),
    #[error(transparent)]
    Bundle(#[from] BundleError),
    #[error("the bundle cannot be written")]
    Write(#[from] staging::WriteError),
    #[error("a part of the bundle cannot be stored: {0}")]
    Store(String),
}

impl TrainError {
    /// Whose mistake it is.
    pub fn class(&self) -> Class {
        match self {
            TrainError::Prepare(error) => error.class(),
            TrainError::Fit(FitError::Stopped) => Class::Unavailable,
            TrainError::Model(error) => error.class(),
            TrainError::Bundle(error) => error.class(),
            TrainError::Write(_) => Class::Unavailable,
            TrainError::Store(_) => Class::Internal,
            TrainError::Fit(_)
            | TrainError::TooFewRows { .. }
            | TrainError::RareClass { .. }
            | TrainError::Split { .. }
            | TrainError::Algorithm { .. }
            | TrainError::Threshold { .. }
            | TrainError::Parameter { .. }
            | TrainError::Incomparable { .. }
            | TrainError::NothingToCompare { .. }
            | TrainError::Measure(_)
            | TrainError::Coverage(_) => Class::Invalid,
        }
    }

    /// What to do.
    pub fn hint(&self) -> Option<String> {
        let hint = match self {
            TrainError::Prepare(error) => return error.hint(),
            TrainError::Bundle(error) => error.hint(),
            TrainError::Fit(FitError::Stopped) => {
                "nothing was written; start it again when you like"
            }
            TrainError::Fit(_) => "check the parameters in [train] and the columns in [features]",
            TrainError::TooFewRows { .. } => {
                "collect more rows before training a model about people"
            }
            TrainError::RareClass { .. } => {
                "collect more rows of it, or leave the class out with `exclude` in [data]"
            }
            TrainError::Split { .. } => "use another split or another share in [data] split",
            TrainError::Algorithm {
                task: Task::Regression,
                ..
            } => "use algorithm = \"forest\" for a number",
            TrainError::Algorithm {
                task: Task::Clustering,
                ..
            } => "use algorithm = \"kmeans\" or \"mixture\" to find segments",
            TrainError::Algorithm { .. } => {
                "use algorithm = \"forest\" or \"linear\"; kmeans and mixture find segments without a target"
            }
            TrainError::Parameter { .. } => "remove it, or change what it does not fit",
            TrainError::Threshold { .. } => {
                "classes are written exactly as in the data; ask for less, or collect more rows"
            }
            TrainError::Incomparable { .. } | TrainError::NothingToCompare { .. } => {
                "name two bundles of the same task with the same classes"
            }
            TrainError::Coverage(_) => "ask for less coverage, or collect more rows",
            TrainError::Measure(_) | TrainError::Model(_) => return None,
            TrainError::Write(_) => "check the disk and the rights on the output folder",
            TrainError::Store(_) => return None,
        };
        Some(hint.to_owned())
    }
}

/// A plan's outcome: what ships, what it was measured with, and the words about it.
struct Made {
    shipped: Fitted,
    /// Measured on held-out rows; `None` when it is the shipped one.
    measured: Option<Fitted>,
    answering: Answering,
    calibration: Option<Calibration>,
    thresholds: Vec<Achieved>,
    cross_validation: Option<report::CrossValidation>,
    segmented: Option<report::Segments>,
    search: Vec<report::Trial>,
    notes: Vec<String>,
    rows_fitted: usize,
}

/// Trains a model and writes its bundle under `out/<name>/<version>`.
pub fn train(
    recipe: &Recipe,
    options: &TrainOptions<'_>,
    progress: &dyn Progress,
) -> Result<Trained, TrainError> {
    let started = Instant::now();
    match recipe.train.threads {
        // Threads are limited for the whole plan, not only where trees grow.
        Some(threads) => match rayon::ThreadPoolBuilder::new().num_threads(threads).build() {
            Ok(pool) => pool.install(|| train_here(recipe, options, progress, started)),
            Err(_) => train_here(recipe, options, progress, started),
        },
        None => train_here(recipe, options, progress, started),
    }
}

fn train_here(
    recipe: &Recipe,
    options: &TrainOptions<'_>,
    progress: &dyn Progress,
    started: Instant,
) -> Result<Trained, TrainError> {
    let places = Places {
        recipe_folder: options.recipe_folder,
        models: options.out,
    };
    let mut prepared = prepare::prepare(recipe, places, options.data, progress)?;
    let algorithm = check(recipe, &prepared)?;
    if let Target::Classes { names, .. } = &prepared.target
        && names.len() == 2
    {
        prepared
            .notes
            .push(format!("the positive class is {:?}", names[1]));
    }
    let sides = prepare::divide(recipe, &mut prepared);
    check_sides(&prepared, &sides)?;
    let mut warnings = std::mem::take(&mut prepared.warnings);
    progress.start("checking for leaks", None);
    warnings.extend(leakage::warnings(&prepared, &sides));
    progress.finish();
    let problem = Problem {
        frame: &prepared.frame,
        target: &prepared.target,
        weights: prepared.weights.as_deref(),
        class_weights: &recipe.train.class_weights,
        monotone: &prepared.monotone,
        keys: prepared.keys.as_deref(),
        seed: recipe.train.seed,
        threads: recipe.train.threads,
    };
    let made = match &algorithm {
        Algorithm::Forest(parameters) => {
            forest::make(recipe, &problem, parameters, &sides, progress)?
        }
        Algorithm::Linear(parameters) => {
            make_linear(recipe, &problem, parameters, &sides, progress)?
        }
        Algorithm::KMeans(parameters) | Algorithm::Mixture(parameters) => {
            let is_mixture = matches!(algorithm, Algorithm::Mixture(_));
            make_segments(&problem, parameters, is_mixture, &sides, progress)?
        }
    };
    finish(
        recipe, options, progress, started, &prepared, &sides, made, warnings,
    )
}

/// What will be trained, once it is known that it can be.
pub(crate) fn check(recipe: &Recipe, prepared: &Prepared) -> Result<Algorithm, TrainError> {
    let algorithm = algorithm_of(recipe, prepared)?;
    check_enough(prepared)?;
    check_parameters(recipe, prepared, &algorithm)?;
    Ok(algorithm)
}

/// The algorithm, chosen when the recipe does not say.
fn algorithm_of(recipe: &Recipe, prepared: &Prepared) -> Result<Algorithm, TrainError> {
    let task = prepared.target.task();
    let only_text = prepared
        .frame
        .schema()
        .features()
        .iter()
        .all(|feature| matches!(feature.kind, Kind::Text));
    let algorithm = match &recipe.train.algorithm {
        Some(algorithm) => algorithm.clone(),
        None if task == Task::Clustering => Algorithm::KMeans(Default::default()),
        None if only_text && task.has_classes() => Algorithm::Linear(LinearParameters::default()),
        None => Algorithm::Forest(ForestParameters::default()),
    };
    let fits = match &algorithm {
        Algorithm::Forest(_) => task != Task::Clustering,
        Algorithm::Linear(_) => task.has_classes(),
        Algorithm::KMeans(_) | Algorithm::Mixture(_) => task == Task::Clustering,
    };
    if fits {
        Ok(algorithm)
    } else {
        Err(TrainError::Algorithm {
            algorithm: algorithm.word(),
            task,
        })
    }
}

fn check_enough(prepared: &Prepared) -> Result<(), TrainError> {
    let rows = prepared.target.rows();
    if rows < ROWS_MIN {
        return Err(TrainError::TooFewRows { rows });
    }
    if let Target::Classes { names, codes, .. } = &prepared.target {
        let mut counts = vec![0; names.len()];
        codes.iter().for_each(|code| counts[*code as usize] += 1);
        if let Some(rare) = counts
            .iter()
            .position(|count| *count < crate::target::CLASS_ROWS_MIN)
        {
            return Err(TrainError::RareClass {
                class: names[rare].clone(),
                rows: counts[rare],
            });
        }
    }
    Ok(())
}

/// What the recipe asks for must have a meaning for this target and algorithm; nothing is silently ignored.
fn check_parameters(
    recipe: &Recipe,
    prepared: &Prepared,
    algorithm: &Algorithm,
) -> Result<(), TrainError> {
    let refused = |what: &str, why: String| {
        let what = what.to_owned();
        Err(TrainError::Parameter { what, why })
    };
    let target = &prepared.target;
    let (task, classes) = (target.task(), target.names());
    if let Some(misplaced) = gate::misplaced(&recipe.gates, task, classes, &recipe.data.protected) {
        return refused(&format!("the gate `{}`", misplaced.gate), misplaced.why);
    }
    if prepared.monotone.iter().any(|direction| *direction != 0) {
        if !matches!(algorithm, Algorithm::Forest(_)) {
            return refused(
                "`monotone`",
                format!("{} does not keep it, a forest does", algorithm.word()),
            );
        }
        if target.names().len() > 2 {
            return refused(
                "`monotone`",
                "with more than two classes no single one rises or falls".into(),
            );
        }
    }
    if let crate::recipe::ClassWeights::Given(weights) = &recipe.train.class_weights
        && let Some(class) = weights.keys().find(|class| !target.names().contains(class))
    {
        let why = format!(
            "the target has no class {class:?}, only {}",
            target.names().join(", ")
        );
        return refused("`class_weights`", why);
    }
    if let Algorithm::Forest(parameters) = algorithm
        && parameters.loss != crate::recipe::LossKind::Squared
        && !matches!(target, Target::Numbers(_))
    {
        return refused(
            "`loss`",
            format!("it is for numbers, and the task is {}", target.task()),
        );
    }
    Ok(())
}

/// Both sides must be able to do their work: learn every class, and measure more than one.
pub(crate) fn check_sides(prepared: &Prepared, sides: &Sides) -> Result<(), TrainError> {
    for (side, rows) in [
        ("learning", &sides.training),
        ("measuring", &sides.validation),
    ] {
        let refused = |missing: String| TrainError::Split {
            rows: rows.len(),
            side,
            missing,
        };
        if rows.len() < 2 {
            return Err(refused("at least 2 are needed".into()));
        }
        if let Target::Classes { names, codes, .. } = &prepared.target {
            let mut has = vec![false; names.len()];
            rows.iter()
                .for_each(|row| has[codes[*row as usize] as usize] = true);
            let needed = if side == "learning" { names.len() } else { 2 };
            if has.iter().filter(|has| **has).count() < needed {
                let absent = has.iter().position(|has| !has).unwrap_or(0);
                return Err(refused(format!(
                    "the class {:?} does not occur",
                    names[absent]
                )));
            }
        }
    }
    Ok(())
}

/// Below this many rows the calibration of a linear model is fitted out of fold.
const LINEAR_FOLDS_ROWS_MAX: usize = 3_000;

fn make_linear(
    recipe: &Recipe,
    problem: &Problem<'_>,
    parameters: &LinearParameters,
    sides: &Sides,
    progress: &dyn Progress,
) -> Result<Made, TrainError> {
    let mut parameters = parameters.clone();
    let mut search = Vec::new();
    if let Some(wanted) = recipe.train.search {
        search =
            evidence::search_linear(problem, &mut parameters, &sides.training, wanted, progress)?;
    }
    let folds = if sides.training.len() < LINEAR_FOLDS_ROWS_MAX {
        evidence::FOLDS
    } else {
        1
    };
    let plan = evidence::plan(
        problem,
        &sides.training,
        recipe.train.cross_validate.unwrap_or(folds),
    );
    search.extend(evidence::choose_penalty(
        problem,
        &mut parameters,
        &plan[0],
        progress,
    )?);
    let learner = LinearLearner::new(problem, &parameters);
    let mut notes = vec![format!("penalty c = {}", parameters.c.unwrap_or(1.0))];
    progress.start("learning, to choose by", Some(plan.len() as u64));
    let mut evidence = Evidence::default();
    for (done, part) in plan.iter().enumerate() {
        let fitted = learner.fit(&part.training, &Quiet(progress))?;
        evidence.add(
            problem,
            &part.validation,
            score_rows(&fitted, problem, &part.validation),
        );
        progress.advance(done as u64 + 1);
    }
    progress.finish();
    let chosen = evidence.choose(recipe, problem)?;
    notes.extend(chosen.notes);
    progress.start("learning, to measure", Some(parameters.iterations as u64));
    let measured = learner.fit(&sides.training, progress)?;
    progress.finish();
    let (shipped, measured, rows_fitted) = if recipe.train.refit.unwrap_or(true) {
        let all: Vec<u32> = (0..problem.target.rows() as u32).collect();
        progress.start("learning from all rows", Some(parameters.iterations as u64));
        let shipped = learner.fit(&all, progress)?;
        progress.finish();
        (shipped, Some(measured), all.len())
    } else {
        (measured, None, sides.training.len())
    };
    Ok(Made {
        shipped,
        measured,
        answering: chosen.answering,
        calibration: chosen.calibration,
        thresholds: chosen.thresholds,
        cross_validation: evidence.cross_validation(problem),
        segmented: None,
        search,
        notes,
        rows_fitted,
    })
}

fn make_segments(
    problem: &Problem<'_>,
    parameters: &crate::recipe::ClusterParameters,
    is_mixture: bool,
    sides: &Sides,
    progress: &dyn Progress,
) -> Result<Made, TrainError> {
    let learner = ClusterLearner::new(problem, parameters, is_mixture);
    progress.start("finding segments", None);
    let segmented: Segmented = learner.fit(&sides.training, progress)?;
    progress.finish();
    let mut notes = Vec::new();
    if let Some(choice) = &segmented.choice {
        notes.push(choice.reason.clone());
    }
    Ok(Made {
        answering: Answering::default(),
        measured: None,
        calibration: None,
        thresholds: Vec::new(),
        cross_validation: None,
        search: Vec::new(),
        segmented: Some(report::Segments {
            profiles: segmented.profiles,
            choice: segmented.choice,
            log_likelihood: segmented.log_likelihood,
        }),
        notes,
        rows_fitted: sides.training.len(),
        shipped: segmented.fitted,
    })
}

/// Scores of some rows, not calibrated.
fn score_rows(fitted: &Fitted, problem: &Problem<'_>, rows: &[u32]) -> Vec<f64> {
    let mut scores = vec![0.0; rows.len() * fitted.engine.width()];
    fitted
        .engine
        .score_frame(&problem.frame.take(rows), &mut scores);
    scores
}

/// Passes on whether to stop, and nothing else: a part of a stage must not draw its own bar.
struct Quiet<'a>(&'a dyn Progress);

impl Progress for Quiet<'_> {
    fn start(&self, _stage: &str, _total: Option<u64>) {}
    fn advance(&self, _done: u64) {}
    fn finish(&self) {}
    fn is_stopped(&self) -> bool {
        self.0.is_stopped()
    }
}

#[expect(
    clippy::too_many_arguments,
    reason = "the last step joins everything that the plan made"
)]
fn finish(
    recipe: &Recipe,
    options: &TrainOptions<'_>,
    progress: &dyn Progress,
    started: Instant,
    prepared: &Prepared,
    sides: &Sides,
    made: Made,
    warnings: Vec<String>,
) -> Result<Trained, TrainError> {
    let name = recipe.name.clone();
    let version = next_version(options.out, name.as_str());
    let draft = draft(recipe, prepared, sides, &made, version, &warnings);
    progress.start("measuring", None);
    let frame = prepared.frame.take(&sides.validation);
    let assemble = |fitted: Fitted, answering: &Answering| -> Result<(Model, Files), TrainError> {
        Ok((
            Model::assemble(draft.clone(), fitted.engine, answering.clone())?,
            fitted.files,
        ))
    };
    let measured = made
        .measured
        .map(|measured| assemble(measured, &made.answering))
        .transpose()?;
    let (shipped, mut files) = assemble(made.shipped, &made.answering)?;
    let model = measured.as_ref().map_or(&shipped, |(measured, _)| measured);
    let evaluation = measure(recipe, prepared, sides, model, &frame)?;
    progress.finish();
    progress.start("explaining", None);
    let mut notes = made.notes;
    let crossed = made.cross_validation.as_ref();
    notes.extend(crossed.map(report::CrossValidation::sentence));
    notes.extend(report::search_sentence(&made.search));
    let report = Report {
        evaluation: evaluation.clone(),
        importance: report::importance(model, &frame),
        effects: report::effects(model, &frame),
        calibration: made.calibration,
        thresholds: made.thresholds,
        cross_validation: made.cross_validation,
        search: made.search,
        segments: made.segmented,
        refitted: measured.is_some(),
    };
    progress.finish();
    progress.start("keeping a baseline", None);
    let baseline = baseline::of(&shipped, prepared);
    progress.finish();
    let mut manifest = draft;
    if let Some(staged) = &prepared.staged {
        // Until here the model was measured behind its stages; from here on it is asked before them.
        manifest.schema = staged.asked.schema().as_ref().clone();
        manifest.ensemble = Some(staged.ensemble.clone());
    }
    manifest.metrics = evaluation.metrics.clone();
    manifest.gates = gate::judge(&recipe.gates, made.rows_fitted as u64, &evaluation);
    manifest.lineage.seconds = started.elapsed().as_secs_f64();
    let card = card::write(&manifest, &report, &baseline, recipe, &notes);
    add_json(&mut files, ANSWERING_FILE, &made.answering)?;
    add_json(&mut files, BASELINE_FILE, &baseline)?;
    add_json(&mut files, REPORT_FILE, &report)?;
    add(&mut files, CARD_FILE, card.into_bytes())?;
    let bundle = Bundle::make(manifest, files, options.key)?;
    let path = write(&bundle, options.out)?;
    let manifest = bundle.manifest().clone();
    let model = match &prepared.staged {
        Some(staged) => shipped.behind(staged.stages().map_err(ModelError::from)?, manifest),
        None => shipped.with_manifest(manifest),
    };
    let notes = prepared.notes.iter().cloned().chain(notes).collect();
    Ok(Trained {
        model,
        path,
        warnings,
        notes,
        evaluation,
        bundle,
    })
}

fn measure(
    recipe: &Recipe,
    prepared: &Prepared,
    sides: &Sides,
    model: &Model,
    frame: &ombud_core::Frame,
) -> Result<Evaluation, TrainError> {
    let scores = model.predict_frame(frame);
    let rows = &sides.validation;
    let pick = |values: &Vec<f64>| {
        rows.iter()
            .map(|row| values[*row as usize])
            .collect::<Vec<f64>>()
    };
    let weights = prepared.weights.as_ref().map(pick);
    let keys: Option<Vec<u64>> = prepared
        .keys
        .as_ref()
        .map(|keys| rows.iter().map(|row| keys[*row as usize]).collect());
    let protected: Vec<_> = prepared
        .protected
        .iter()
        .map(|attribute| attribute.take(rows))
        .collect();
    let target = prepared.target.take(rows);
    let truth = Truth {
        target: &target,
        weights: weights.as_deref(),
        keys: keys.as_deref(),
        protected: &protected,
        seed: recipe.train.seed,
    };
    Ok(evaluation::measure(model, frame, &scores, &truth)?)
}

fn draft(
    recipe: &Recipe,
    prepared: &Prepared,
    sides: &Sides,
    made: &Made,
    version: Version,
    warnings: &[String],
) -> Manifest {
    let outputs = match (&prepared.target, &made.segmented) {
        (Target::Classes { names, .. }, _) => Outputs::Classes {
            names: names.clone(),
        },
        (Target::Labels { names, .. }, _) => Outputs::Labels {
            names: names.clone(),
        },
        (Target::Numbers(_), _) => Outputs::Number {
            name: prepared
                .frame
                .schema()
                .columns
                .target
                .clone()
                .unwrap_or_else(|| "value".into()),
        },
        (Target::Nothing { .. }, segmented) => {
            let profiles = segmented
                .as_ref()
                .map_or(&[][..], |segmented| &segmented.profiles);
            Outputs::Segments {
                names: profiles
                    .iter()
                    .map(|profile| profile.name.clone())
                    .collect(),
            }
        }
    };
    let mut data = prepared.print.clone();
    data.rows_fitted = made.rows_fitted as u64;
    data.rows_validation = sides.validation.len() as u64;
    Manifest {
        format: FORMAT,
        name: recipe.name.clone(),
        version,
        label: recipe.label.clone().unwrap_or_else(|| Label::of(version)),
        description: recipe.description.clone(),
        created: now_text(),
        made_by: format!("ombud {}", env!("CARGO_PKG_VERSION")),
        task: prepared.target.task(),
        engine: engine_word(&made.shipped.parameters).to_owned(),
        schema: prepared.frame.schema().as_ref().clone(),
        ensemble: None,
        outputs,
        metrics: BTreeMap::new(),
        lineage: Lineage {
            recipe: Some(recipe.text.clone()),
            data: Some(data),
            seed: recipe.train.seed,
            parameters: made.shipped.parameters.clone(),
            seconds: 0.0,
            imported_from: None,
        },
        gates: Vec::new(),
        watch: recipe.watch.to_json(),
        retrain: recipe.retrain.to_json(),
        warnings: warnings.to_vec(),
        files: BTreeMap::new(),
    }
}

fn engine_word(parameters: &BTreeMap<String, Value>) -> &'static str {
    match parameters.get("algorithm").and_then(Value::as_str) {
        Some("linear") => "linear",
        Some("kmeans" | "mixture") => "clusters",
        _ => "forest",
    }
}

pub(crate) fn add_json(
    files: &mut Files,
    name: &str,
    value: &impl serde::Serialize,
) -> Result<(), TrainError> {
    let mut text =
        serde_json::to_vec_pretty(value).map_err(|error| TrainError::Store(error.to_string()))?;
    text.push(b'\n');
    add(files, name, text)
}

pub(crate) fn add(files: &mut Files, name: &str, content: Vec<u8>) -> Result<(), TrainError> {
    let name = PathName::new(name).map_err(|error| TrainError::Store(error.to_string()))?;
    files.insert(name, content);
    Ok(())
}

/// One more than the highest version in the model's folder.
pub(crate) fn next_version(out: &Path, name: &str) -> Version {
    let names = staging::folders_in(&out.join(name)).unwrap_or_default();
    let highest = names
        .iter()
        .filter_map(|folder| folder.as_str().parse::<Version>().ok())
        .max();
    highest.map_or(Version::FIRST, Version::next)
}

/// Writes the folder in one step, then points `latest` to it.
pub(crate) fn write(bundle: &Bundle, options_out: &Path) -> Result<PathBuf, TrainError> {
    let manifest = bundle.manifest();
    let folder = options_out.join(manifest.name.as_str());
    // Leftovers of a killed training harm nobody; sweeping them may fail without harm, too.
    let _ = staging::sweep(&folder, SystemTime::now(), LEFTOVER_AGE);
    let path = folder.join(manifest.version.to_string());
    opened_again(bundle)?;
    bundle.write(&path)?;
    staging::point_latest(&folder, &manifest.version.to_string())?;
    index::write(options_out)?;
    Ok(path)
}

/// The bundle as whoever opens it will read it, so that nothing is published that cannot be opened.
pub(crate) fn opened_again(bundle: &Bundle) -> Result<Bundle, TrainError> {
    let copied = |(name, content): (&str, &[u8])| Ok((PathName::new(name)?, content.to_vec()));
    let files: Result<Files, BundleError> = bundle.files().map(copied).collect();
    Ok(Bundle::from_files(files?, &Trust::default())?)
}

/// The file that lists every model and version of a folder, for people and scripts.
pub use ombud_engine::bundle::index::INDEX_FILE;

/// The present in UTC, as RFC 3339 with seconds.
pub(crate) fn now_text() -> String {
    let seconds = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs());
    rfc3339(seconds)
}

/// A moment in microseconds since 1970, to the second.
pub(crate) fn time_text(time_us: i64) -> String {
    rfc3339(u64::try_from(time_us / 1_000_000).unwrap_or_default())
}

/// Civil date of a count of seconds, after Howard Hinnant's `civil_from_days`.
fn rfc3339(seconds: u64) -> String {
    let (days, rest) = ((seconds / 86_400) as i64, seconds % 86_400);
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_shifted + 2) / 5 + 1;
    let month = if month_shifted < 10 {
        month_shifted + 3
    } else {
        month_shifted - 9
    };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    format!(
        "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}Z",
        rest / 3_600,
        rest / 60 % 60,
        rest % 60
    )
}

#[cfg(test)]
mod tests {
    use super::rfc3339;

    #[test]
    fn seconds_become_civil_dates() {
        // `date -u -d @N +%FT%TZ`, GNU coreutils 9.1.
        assert_eq!(rfc3339(0), "1970-01-01T00:00:00Z");
        assert_eq!(rfc3339(951_827_696), "2000-02-29T12:34:56Z");
        assert_eq!(rfc3339(1_795_392_000), "2026-11-23T00:00:00Z");
    }
}
