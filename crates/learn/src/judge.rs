//! Measures finished models on other data: `evaluate` and `compare`.
//!
//! The model's own schema and outputs are the judge of the data here; nothing is learned. What the metrics are is
//! [`crate::evaluation`], how two models are set against each other [`mod@crate::compare`].

use crate::compare;
use crate::evaluate::classification::Order;
use crate::evaluate::{Classified, Regressed, Resampling, SampleError};
use crate::evaluation::{self, Evaluation, Truth};
use crate::joining;
use crate::prepare::{self, PrepareError};
use crate::progress::Progress;
use crate::target::{self, Target};
use crate::train::TrainError;
use ombud_core::frame::Notes;
use ombud_core::{Frame, Task};
use ombud_engine::Model;
use ombud_engine::answering::highest;
use ombud_engine::model::Scores;
use serde::Serialize;
use std::path::Path;

/// Rows of other data, with their truth in a model's terms.
struct Judged {
    frame: Frame,
    target: Target,
    weights: Option<Vec<f64>>,
    protected: Vec<evaluation::Protected>,
    notes: Vec<String>,
}

/// Two models on the same rows.
#[derive(Debug, Clone, Serialize)]
pub struct Comparison {
    /// How many rows.
    pub rows: usize,
    /// One test per metric and method.
    pub tests: Vec<TestResult>,
    /// The upshot in a sentence.
    pub verdict: String,
}

/// One test of a difference.
#[derive(Debug, Clone, Serialize)]
pub struct TestResult {
    /// `mcnemar`, `paired_bootstrap` or `delong`.
    pub name: String,
    /// What is compared.
    pub metric: String,
    /// Of the first model.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub a: Option<f64>,
    /// Of the second.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub b: Option<f64>,
    /// Second minus first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub difference: Option<f64>,
    /// Lower end of the difference's 95 % interval.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lower: Option<f64>,
    /// Its upper end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub upper: Option<f64>,
    /// How likely so large a difference is by chance.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub p_value: Option<f64>,
    /// The same in words.
    pub note: String,
}

/// Measures a model on a source; `series` is the long table that its recipe joins, when it is not the recipe's own.
pub fn evaluate(
    model: &Model,
    source: &str,
    series: Option<&str>,
    base: &Path,
    progress: &dyn Progress,
) -> Result<Evaluation, TrainError> {
    let judged = read(model, source, series, base, progress)?;
    progress.start("measuring", None);
    let scores = model.predict_frame(&judged.frame);
    let truth = Truth {
        target: &judged.target,
        weights: judged.weights.as_deref(),
        keys: None,
        protected: &judged.protected,
        seed: model.manifest().lineage.seed,
    };
    let mut evaluation = evaluation::measure(model, &judged.frame, &scores, &truth)?;
    evaluation.notes = judged.notes;
    progress.finish();
    Ok(evaluation)
}

/// Sets two models against each other on a source.
pub fn compare(
    a: &Model,
    b: &Model,
    source: &str,
    series: Option<&str>,
    base: &Path,
    progress: &dyn Progress,
) -> Result<Comparison, TrainError> {
    if a.manifest().task != b.manifest().task || a.manifest().outputs != b.manifest().outputs {
        return Err(TrainError::Incomparable {
            a: format!("{} ({})", a.manifest().name, a.manifest().task),
            b: format!("{} ({})", b.manifest().name, b.manifest().task),
        });
    }
    let of_a = read(a, source, series, base, progress)?;
    let of_b = read(b, source, series, base, progress)?;
    progress.start("comparing", None);
    let (scores_a, scores_b) = (a.predict_frame(&of_a.frame), b.predict_frame(&of_b.frame));
    let resampling = Resampling {
        seed: a.manifest().lineage.seed,
        ..Resampling::default()
    };
    let options = compare::Options {
        order: order(a.manifest().task),
        alpha: 0.05,
        resampling,
    };
    let compared = match &of_a.target {
        Target::Classes { codes, .. } => {
            let (decided_a, decided_b) = (decisions(a, &scores_a), decisions(b, &scores_b));
            let sample_a = Classified::new(codes, &scores_a.values, scores_a.width)?
                .with_decisions(&decided_a)?;
            let sample_b = Classified::new(codes, &scores_b.values, scores_b.width)?
                .with_decisions(&decided_b)?;
            compare::classification(&sample_a, &sample_b, &options)
        }
        Target::Numbers(numbers) => {
            let sample_a = Regressed::new(numbers, &scores_a.values)?;
            let sample_b = Regressed::new(numbers, &scores_b.values)?;
            compare::regression(&sample_a, &sample_b, &options)
        }
        Target::Labels { .. } | Target::Nothing { .. } => {
            return Err(TrainError::NothingToCompare {
                task: a.manifest().task,
            });
        }
    };
    progress.finish();
    let compared = compared.map_err(|error| TrainError::Store(error.to_string()))?;
    Ok(told(compared, a.manifest().task))
}

fn order(task: Task) -> Order {
    if task == Task::Ordered {
        Order::Rising
    } else {
        Order::None
    }
}

fn decisions(model: &Model, scores: &Scores) -> Vec<u32> {
    scores
        .values
        .chunks_exact(scores.width)
        .map(|row| match model.answer(row).prediction {
            ombud_core::Prediction::Class { index, .. } => index as u32,
            _ => highest(row) as u32,
        })
        .collect()
}

fn told(compared: compare::Comparison, task: Task) -> Comparison {
    let mut tests: Vec<TestResult> = compared
        .differences
        .iter()
        .map(|(metric, found)| TestResult {
            name: "paired_bootstrap".into(),
            metric: metric.clone(),
            a: Some(found.a),
            b: Some(found.b),
            difference: Some(found.difference),
            lower: found.interval.map(|interval| interval.lower),
            upper: found.interval.map(|interval| interval.upper),
            p_value: found.p_value,
            note: compared
                .verdicts
                .get(metric)
                .map(|verdict| verdict.sentence.clone())
                .unwrap_or_default(),
        })
        .collect();
    if let Some(mcnemar) = &compared.mcnemar {
        tests.push(TestResult {
            name: "mcnemar".into(),
            metric: "accuracy".into(),
            a: None,
            b: None,
            difference: None,
            lower: None,
            upper: None,
            p_value: Some(mcnemar.p_value),
            note: format!(
                "only A was right on {} rows, only B on {}",
                mcnemar.only_a, mcnemar.only_b
            ),
        });
    }
    if let Some(delong) = &compared.delong {
        tests.push(TestResult {
            name: "delong".into(),
            metric: "roc_auc".into(),
            a: Some(delong.auc_a),
            b: Some(delong.auc_b),
            difference: Some(delong.difference),
            lower: Some(delong.interval.lower),
            upper: Some(delong.interval.upper),
            p_value: Some(delong.p_value),
            note: String::new(),
        });
    }
    let headline = if task == Task::Regression {
        "rmse"
    } else {
        "log_loss"
    };
    let verdict = compared
        .verdicts
        .get(headline)
        .map(|verdict| verdict.sentence.clone());
    let verdict =
        verdict.unwrap_or_else(|| format!("A and B could not be compared on {headline}."));
    Comparison {
        rows: compared.rows,
        tests,
        verdict,
    }
}

fn read(
    model: &Model,
    source: &str,
    series: Option<&str>,
    base: &Path,
    progress: &dyn Progress,
) -> Result<Judged, TrainError> {
    let manifest = model.manifest();
    let mut batch = match series {
        Some(series) => {
            let series = joining::open(model, series, base)?;
            let main = prepare::load(None, source, base, progress)?.batch;
            series.join(&main).map_err(PrepareError::from)?
        }
        // Without one of its own, the series that the recipe names is joined.
        None => prepare::load(joining::recipe_of(model).as_ref(), source, base, progress)?.batch,
    };
    let mut notes = Vec::new();
    let target = if manifest.task == Task::Clustering {
        Target::Nothing {
            rows: batch.num_rows(),
        }
    } else {
        let column = manifest
            .schema
            .columns
            .target
            .as_deref()
            .unwrap_or_default();
        let array = crate::source::column(&batch, column, source).map_err(PrepareError::from)?;
        let separator = manifest.schema.columns.separator.as_deref();
        let found = target::align(column, array, manifest.task, &manifest.outputs, separator)
            .map_err(PrepareError::from)?;
        if found.without > 0 {
            notes.push(format!(
                "{} rows have no target that the model knows and were left out",
                found.without
            ));
            batch = prepare::take(&batch, &found.rows);
        }
        found.target
    };
    let (frame, unfit): (Frame, Notes) =
        Frame::bind(model.schema(), &batch).map_err(PrepareError::from)?;
    notes.extend(unfit.sentences());
    let protected = manifest.schema.columns.protected.iter();
    let protected = protected
        .filter_map(|name| prepare::read_protected(name, &batch))
        .collect();
    if frame.rows() == 0 {
        return Err(TrainError::Measure(SampleError::NoRows));
    }
    Ok(Judged {
        frame,
        target,
        weights: None,
        protected,
        notes,
    })
}
