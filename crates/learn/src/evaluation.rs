//! Everything measured about a model's answers on rows whose truth is known.
//!
//! One [`Evaluation`] for every task, so that training, `ombud evaluate`, the model card and the gates read the same
//! numbers. The statistics themselves are in [`crate::evaluate`]; here they are chosen for the task and given names.

use crate::cluster::{Rows, quality};
use crate::evaluate::classification::{self, Order};
use crate::evaluate::groups::{self, Attribute, Focus, GroupOptions, GroupReport};
use crate::evaluate::reliability::ReliabilityBin;
use crate::evaluate::{
    self, Classified, MultiLabelled, Regressed, Resampling, SampleError, multilabel, regression,
};
use crate::target::Target;
use ombud_core::answer::Prediction;
use ombud_core::{Frame, Metric, Metrics};
use ombud_engine::Model;
use ombud_engine::model::Scores;
use serde::Serialize;
use std::collections::BTreeMap;

/// Rows up to which the silhouette is exact; above it a sample is measured.
const SILHOUETTE_ROWS_MAX: usize = 20_000;

/// Every metric that an evaluation may hold and a gate may limit.
pub const METRIC_NAMES: [&str; 32] = [
    "accuracy",
    "balanced_accuracy",
    "macro_precision",
    "macro_recall",
    "macro_f1",
    "weighted_precision",
    "weighted_recall",
    "weighted_f1",
    "micro_f1",
    "subset_accuracy",
    "hamming_loss",
    "log_loss",
    "brier",
    "roc_auc",
    "pr_auc",
    "ece",
    "quadratic_kappa",
    "level_error",
    "rmse",
    "mae",
    "median_absolute_error",
    "r2",
    "pinball",
    "interval_coverage",
    "interval_width",
    "set_coverage",
    "set_size",
    "silhouette",
    "davies_bouldin",
    "calinski_harabasz",
    "inertia",
    "mean_log_likelihood",
];

/// Every metric of a single class or label that a gate may limit.
pub const CLASS_METRIC_NAMES: [&str; 5] = ["precision", "recall", "f1", "roc_auc", "pr_auc"];

/// What was measured on some rows.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Evaluation {
    /// How many rows.
    pub rows: usize,
    /// Headline metrics of the task.
    pub metrics: Metrics,
    /// Metrics that could not be computed, with the reason.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub absent: BTreeMap<String, String>,
    /// Metrics of single classes or labels.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub classes: Vec<ClassEvaluation>,
    /// Weight of rows by true class, then by decided class.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub confusion: Vec<Vec<f64>>,
    /// How often the model was right, by how sure it was.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub reliability: Vec<ReliabilityBin>,
    /// The same by group of each protected attribute.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<GroupEvaluation>,
    /// Things a reader should know.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

/// What was measured about one class or label.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ClassEvaluation {
    /// The class.
    pub name: String,
    /// Rows of it.
    pub rows: usize,
    /// Its metrics against the rest.
    pub metrics: Metrics,
}

/// What was measured by one protected attribute.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct GroupEvaluation {
    /// The attribute.
    pub attribute: String,
    /// Its groups.
    pub groups: Vec<OneGroup>,
    /// Differences between groups, by name.
    pub differences: BTreeMap<String, GroupDifference>,
}

/// One group.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct OneGroup {
    /// The attribute's value.
    pub value: String,
    /// Rows in it.
    pub rows: usize,
    /// Absent for a group too small to be measured.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metrics: Option<Metrics>,
}

/// How far two groups are apart.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct GroupDifference {
    /// The difference.
    #[serde(flatten)]
    pub metric: Metric,
    /// The group with the highest value.
    pub highest: String,
    /// The group with the lowest.
    pub lowest: String,
}

/// A protected attribute of the measured rows.
#[derive(Debug, Clone, PartialEq)]
pub struct Protected {
    /// The column.
    pub name: String,
    /// The group of each row.
    pub codes: Vec<u32>,
    /// What each code means.
    pub values: Vec<String>,
}

/// The truth of the measured rows, and what belongs to it.
#[derive(Debug)]
pub struct Truth<'a> {
    /// The targets; their names are the model's outputs.
    pub target: &'a Target,
    /// How much each row counts.
    pub weights: Option<&'a [f64]>,
    /// Rows of one subject are resampled together.
    pub keys: Option<&'a [u64]>,
    /// Attributes by which to measure.
    pub protected: &'a [Protected],
    /// The seed of resampling.
    pub seed: u64,
}

/// Measures a model's calibrated scores.
pub fn measure(
    model: &Model,
    frame: &Frame,
    scores: &Scores,
    truth: &Truth<'_>,
) -> Result<Evaluation, SampleError> {
    match truth.target {
        Target::Classes {
            codes, is_ordered, ..
        } => classes(model, scores, codes, *is_ordered, truth),
        Target::Labels { flags, .. } => labels(model, scores, flags, truth),
        Target::Numbers(numbers) => numbers_of(model, scores, numbers, truth),
        Target::Nothing { rows } => Ok(segments(model, frame, scores, *rows, truth.weights)),
    }
}

fn resampling<'a>(truth: &Truth<'a>) -> Resampling<'a> {
    Resampling {
        seed: truth.seed,
        subjects: truth.keys,
        ..Resampling::default()
    }
}

fn classes(
    model: &Model,
    scores: &Scores,
    codes: &[u32],
    is_ordered: bool,
    truth: &Truth<'_>,
) -> Result<Evaluation, SampleError> {
    let names = model.manifest().outputs.names();
    let answers = scores
        .values
        .chunks_exact(scores.width)
        .map(|row| model.answer(row));
    let mut decisions = Vec::with_capacity(codes.len());
    let mut sets = Vec::new();
    for answer in answers {
        if let Prediction::Class { index, set } = answer.prediction {
            decisions.push(index as u32);
            sets.push(set);
        }
    }
    let mut sample =
        Classified::new(codes, &scores.values, scores.width)?.with_decisions(&decisions)?;
    if let Some(weights) = truth.weights {
        sample = sample.with_weights(weights)?;
    }
    let order = if is_ordered {
        Order::Rising
    } else {
        Order::None
    };
    let report = classification::evaluate(&sample, order, &resampling(truth))?;
    let (mut metrics, absent) = named(report.metrics);
    if model.answering().conformal.is_some() {
        add_sets(&mut metrics, codes, &sets);
    }
    let focus = if names.len() == 2 {
        Focus::Class(1)
    } else {
        Focus::WorstCase
    };
    let by_attribute = truth.protected.iter().filter_map(|attribute| {
        let options = GroupOptions {
            order,
            resampling: resampling(truth),
            ..GroupOptions::default()
        };
        groups::by_group(&sample, &attribute.view(), focus, &options)
            .ok()
            .map(group_evaluation)
    });
    Ok(Evaluation {
        rows: codes.len(),
        metrics,
        absent,
        groups: by_attribute.collect(),
        classes: report
            .classes
            .into_iter()
            .map(|class| ClassEvaluation {
                name: names[class.class].clone(),
                rows: class.rows,
                metrics: named(class.metrics).0,
            })
            .collect(),
        confusion: report.confusion,
        reliability: report.reliability,
        notes: Vec::new(),
    })
}

/// How often sets hold the truth, and how large they are.
fn add_sets(metrics: &mut Metrics, codes: &[u32], sets: &[Vec<usize>]) {
    let rows = codes.len().max(1) as f64;
    let held = codes
        .iter()
        .zip(sets)
        .filter(|(code, set)| set.contains(&(**code as usize)))
        .count() as f64;
    let size = sets.iter().map(Vec::len).sum::<usize>() as f64;
    metrics.insert("set_coverage".into(), Metric::exact(held / rows));
    metrics.insert("set_size".into(), Metric::exact(size / rows));
}

fn labels(
    model: &Model,
    scores: &Scores,
    flags: &[bool],
    truth: &Truth<'_>,
) -> Result<Evaluation, SampleError> {
    let names = model.manifest().outputs.names();
    let mut decisions = vec![false; flags.len()];
    for (row, decided) in scores
        .values
        .chunks_exact(scores.width)
        .zip(decisions.chunks_exact_mut(scores.width))
    {
        if let Prediction::Labels { indices } = model.answer(row).prediction {
            indices.into_iter().for_each(|index| decided[index] = true);
        }
    }
    let mut sample =
        MultiLabelled::new(flags, &scores.values, scores.width)?.with_decisions(&decisions)?;
    if let Some(weights) = truth.weights {
        sample = sample.with_weights(weights)?;
    }
    let report = multilabel::evaluate(&sample, &resampling(truth))?;
    let (metrics, absent) = named(report.metrics);
    let classes = report.labels.into_iter().map(|label| ClassEvaluation {
        name: names[label.label].clone(),
        rows: label.rows,
        metrics: named(label.metrics).0,
    });
    Ok(Evaluation {
        rows: report.rows,
        metrics,
        absent,
        classes: classes.collect(),
        ..Evaluation::default()
    })
}

fn numbers_of(
    model: &Model,
    scores: &Scores,
    numbers: &[f64],
    truth: &Truth<'_>,
) -> Result<Evaluation, SampleError> {
    let mut lower = Vec::new();
    let mut upper = Vec::new();
    for value in &scores.values {
        if let Prediction::Number {
            interval: Some((low, high)),
            ..
        } = model.answer(&[*value]).prediction
        {
            lower.push(low);
            upper.push(high);
        }
    }
    let mut sample = Regressed::new(numbers, &scores.values)?;
    if !lower.is_empty() {
        sample = sample.with_bounds(&lower, &upper)?;
    }
    if let Some(weights) = truth.weights {
        sample = sample.with_weights(weights)?;
    }
    let report = regression::evaluate(&sample, &resampling(truth))?;
    let (metrics, absent) = named(report.metrics);
    let by_attribute = truth.protected.iter().filter_map(|attribute| {
        let options = GroupOptions {
            resampling: resampling(truth),
            ..GroupOptions::default()
        };
        groups::by_group_of_numbers(&sample, &attribute.view(), &options)
            .ok()
            .map(group_evaluation)
    });
    Ok(Evaluation {
        rows: numbers.len(),
        metrics,
        absent,
        groups: by_attribute.collect(),
        ..Evaluation::default()
    })
}

fn segments(
    model: &Model,
    frame: &Frame,
    scores: &Scores,
    rows: usize,
    weights: Option<&[f64]>,
) -> Evaluation {
    let mut evaluation = Evaluation {
        rows,
        ..Evaluation::default()
    };
    let Some(points) = model.points(frame) else {
        return evaluation;
    };
    if let Some(likelihood) = points.mean_log_likelihood {
        evaluation
            .metrics
            .insert("mean_log_likelihood".into(), Metric::exact(likelihood));
    }
    let labels: Vec<usize> = scores
        .values
        .chunks_exact(scores.width)
        .map(ombud_engine::answering::highest)
        .collect();
    let Ok(mut points) = Rows::new(&points.values, points.columns) else {
        return evaluation;
    };
    if let Some(weights) = weights {
        match points.with_weights(weights) {
            Ok(weighted) => points = weighted,
            Err(_) => return evaluation,
        }
    }
    let mut note = |name: &str, outcome: Result<f64, crate::cluster::ClusterError>| match outcome {
        Ok(value) => drop(
            evaluation
                .metrics
                .insert(name.to_owned(), Metric::exact(value)),
        ),
        Err(reason) => drop(
            evaluation
                .absent
                .insert(name.to_owned(), reason.to_string()),
        ),
    };
    note(
        "silhouette",
        quality::silhouette(&points, &labels, SILHOUETTE_ROWS_MAX, 0),
    );
    note("davies_bouldin", quality::davies_bouldin(&points, &labels));
    note(
        "calinski_harabasz",
        quality::calinski_harabasz(&points, &labels),
    );
    note("inertia", quality::inertia(&points, &labels, scores.width));
    evaluation
}

impl Protected {
    fn view(&self) -> Attribute<'_> {
        Attribute {
            name: &self.name,
            codes: &self.codes,
            values: &self.values,
        }
    }

    /// The attribute of some rows.
    pub fn take(&self, rows: &[u32]) -> Protected {
        Protected {
            name: self.name.clone(),
            codes: rows.iter().map(|row| self.codes[*row as usize]).collect(),
            values: self.values.clone(),
        }
    }
}

/// Measured metrics by name, and the reasons of the others.
fn named(metrics: evaluate::Metrics) -> (Metrics, BTreeMap<String, String>) {
    let metric = |metric: evaluate::Metric| match metric.interval {
        Some(interval) => Metric::between(metric.value, interval.lower, interval.upper),
        None => Metric::exact(metric.value),
    };
    let measured = metrics
        .measured
        .into_iter()
        .map(|(name, value)| (name, metric(value)));
    let absent = metrics
        .absent
        .into_iter()
        .map(|(name, reason)| (name, reason.to_string()));
    (measured.collect(), absent.collect())
}

fn group_evaluation(report: GroupReport) -> GroupEvaluation {
    let differences = report.differences.into_iter().map(|(name, difference)| {
        let metric = match difference.metric.interval {
            Some(interval) => {
                Metric::between(difference.metric.value, interval.lower, interval.upper)
            }
            None => Metric::exact(difference.metric.value),
        };
        (
            name,
            GroupDifference {
                metric,
                highest: difference.highest,
                lowest: difference.lowest,
            },
        )
    });
    let groups = report.groups.into_iter().map(|group| OneGroup {
        value: group.value,
        rows: group.rows,
        metrics: group.metrics.map(|metrics| named(metrics).0),
    });
    GroupEvaluation {
        attribute: report.attribute,
        groups: groups.collect(),
        differences: differences.collect(),
    }
}
