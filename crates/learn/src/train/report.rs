//! Everything that was measured in a training, kept in the bundle as `report.json`.
//!
//! The manifest holds the headline; here is what stands behind it, for the card, the console and an auditor: curves, groups,
//! what mattered, how answers move with a feature, what was tried and not chosen.

use crate::calibrate::Calibration;
use crate::cluster::profile::Profile;
use crate::cluster::select::Choice;
use crate::evaluation::Evaluation;
use crate::thresholds::Achieved;
use ombud_core::frame::Column;
use ombud_core::row::Value;
use ombud_core::{Frame, Kind, Row};
use ombud_engine::Model;
use rayon::prelude::*;
use serde::Serialize;

/// Rows explained to find what matters.
const ROWS_EXPLAINED_MAX: usize = 500;
/// Rows asked "what if".
const ROWS_ASKED_MAX: usize = 100;
/// Features whose effect is drawn.
const EFFECTS_MAX: usize = 8;
/// Points of a number's curve.
const POINTS_MAX: usize = 12;
/// Values of a category that are drawn.
const VALUES_DRAWN_MAX: usize = 20;

/// What a training measured.
#[derive(Debug, Serialize)]
pub struct Report {
    /// On held-out rows.
    pub evaluation: Evaluation,
    /// Share of each feature in the explanations, strongest first.
    pub importance: Vec<Importance>,
    /// How the mean answer moves with a feature.
    pub effects: Vec<Effect>,
    /// The calibration chosen, with the others tried.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub calibration: Option<Calibration>,
    /// What tuned thresholds achieve.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub thresholds: Vec<Achieved>,
    /// The loss of each fold.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cross_validation: Option<CrossValidation>,
    /// Settings that were tried.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub search: Vec<Trial>,
    /// Segments and why there are so many.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub segments: Option<Segments>,
    /// Whether the weights that ship were fitted on all rows after measuring.
    pub refitted: bool,
}

/// How much a feature mattered.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Importance {
    /// The feature.
    pub feature: String,
    /// Its share of all absolute contributions on explained rows.
    pub share: f64,
}

/// The mean answer as one feature is set to each of some values and all others stay.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Effect {
    /// The feature.
    pub feature: String,
    /// What the numbers are of: a class, label or segment, or the target.
    pub outputs: Vec<String>,
    /// One per value.
    pub points: Vec<EffectPoint>,
}

/// One value of a feature and the mean scores with it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct EffectPoint {
    /// The value as a person would read it.
    pub value: String,
    /// Mean score per output.
    pub means: Vec<f64>,
}

/// The loss of each fold of a cross-validation.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct CrossValidation {
    /// The loss.
    pub metric: String,
    /// Its mean.
    pub mean: f64,
    /// By fold.
    pub folds: Vec<f64>,
}

impl CrossValidation {
    /// The same in words.
    pub(super) fn sentence(&self) -> String {
        let least = self.folds.iter().copied().fold(f64::INFINITY, f64::min);
        let most = self.folds.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        format!(
            "{} over {} folds of the learning rows: {:.4} (from {least:.4} to {most:.4})",
            self.metric,
            self.folds.len(),
            self.mean
        )
    }
}

/// What a search came to, in words; nothing when nothing was searched.
pub(super) fn search_sentence(trials: &[Trial]) -> Option<String> {
    let whole = trials.iter().filter(|trial| !trial.is_pruned);
    let best = whole.min_by(|a, b| a.loss.total_cmp(&b.loss))?;
    let pruned = trials.iter().filter(|trial| trial.is_pruned).count();
    Some(format!(
        "{} settings were tried and {pruned} given up early; the best was {}, with a loss of {:.4}",
        trials.len(),
        best.settings,
        best.loss
    ))
}

/// One candidate of a search.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Trial {
    /// Its settings.
    pub settings: String,
    /// Its mean loss on the folds it ran.
    pub loss: f64,
    /// How many folds it ran.
    pub folds: usize,
    /// Whether it was given up early.
    pub is_pruned: bool,
}

/// Found segments.
#[derive(Debug, Clone, Serialize)]
pub struct Segments {
    /// One per segment.
    pub profiles: Vec<Profile>,
    /// Why so many, when the number was not given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub choice: Option<Choice>,
    /// Mean log density of a row; a mixture's only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub log_likelihood: Option<f64>,
}

/// Rows spread evenly over a frame.
fn spread(rows: usize, most: usize) -> Vec<usize> {
    let step = rows.div_ceil(most.max(1)).max(1);
    (0..rows).step_by(step).collect()
}

/// Mean absolute contributions to the predicted output over some rows, as shares.
pub(super) fn importance(model: &Model, frame: &Frame) -> Vec<Importance> {
    let names: Vec<&str> = model
        .schema()
        .features()
        .iter()
        .map(|feature| feature.name.as_str())
        .collect();
    let by_row: Vec<Vec<f64>> = spread(frame.rows(), ROWS_EXPLAINED_MAX)
        .into_par_iter()
        .map(|row| {
            let row = frame.row(row);
            let answer = model.predict(&row);
            let explanation = model.explain(&row, &answer);
            let mut weights = vec![0.0; names.len()];
            for contribution in explanation.contributions {
                if let Some(place) = model.schema().position(&contribution.feature) {
                    weights[place] = contribution.weight.abs();
                }
            }
            weights
        })
        .collect();
    let mut sums = vec![0.0; names.len()];
    for weights in by_row {
        sums.iter_mut()
            .zip(weights)
            .for_each(|(sum, weight)| *sum += weight);
    }
    let total: f64 = sums.iter().sum();
    let share = |sum: f64| if total > 0.0 { sum / total } else { 0.0 };
    let mut all: Vec<Importance> = names
        .iter()
        .zip(sums)
        .map(|(name, sum)| Importance {
            feature: (*name).to_owned(),
            share: share(sum),
        })
        .collect();
    all.sort_by(|a, b| b.share.total_cmp(&a.share));
    all
}

/// Partial dependence of the features that matter most.
pub(super) fn effects(model: &Model, frame: &Frame) -> Vec<Effect> {
    let rows: Vec<Row> = spread(frame.rows(), ROWS_ASKED_MAX)
        .into_iter()
        .map(|row| frame.row(row))
        .collect();
    let outputs = match model.manifest().outputs.names() {
        [] => vec![
            model
                .schema()
                .columns
                .target
                .clone()
                .unwrap_or_else(|| "value".into()),
        ],
        names => names.to_vec(),
    };
    let ranked = importance(model, frame);
    let drawn = ranked.iter().filter_map(|of| {
        let place = model.schema().position(&of.feature)?;
        let values = values_to_ask(
            &model.schema().features()[place].kind,
            &frame.columns()[place],
        );
        (values.len() > 1).then_some((of.feature.clone(), place, values))
    });
    drawn
        .take(EFFECTS_MAX)
        .map(|(feature, place, values)| {
            let points = values.into_iter().map(|(value, shown)| {
                let asked: Vec<Row> = rows
                    .iter()
                    .map(|row| row.with_value(place, value.clone()))
                    .collect();
                EffectPoint {
                    value: shown,
                    means: mean_scores(model, &asked),
                }
            });
            Effect {
                feature,
                outputs: outputs.clone(),
                points: points.collect(),
            }
        })
        .collect()
}

fn mean_scores(model: &Model, rows: &[Row]) -> Vec<f64> {
    let scores = model.predict_frame(&Frame::from_rows(model.schema(), rows));
    let mut means = vec![0.0; scores.width];
    for row in scores.values.chunks_exact(scores.width) {
        means
            .iter_mut()
            .zip(row)
            .for_each(|(mean, score)| *mean += score / rows.len() as f64);
    }
    means
}

/// Quantiles of a number, or the values of a category.
fn values_to_ask(kind: &Kind, column: &Column) -> Vec<(Value, String)> {
    match (kind, column) {
        (Kind::Number { .. }, Column::Number(numbers)) => {
            let mut sorted: Vec<f64> = numbers.iter().flatten().collect();
            sorted.sort_by(f64::total_cmp);
            let Some(last) = sorted.len().checked_sub(1) else {
                return Vec::new();
            };
            let mut points: Vec<f64> = (0..POINTS_MAX)
                .map(|point| sorted[last * point / (POINTS_MAX - 1)])
                .collect();
            points.dedup();
            points
                .into_iter()
                .map(|point| (Value::Number(point), point.to_string()))
                .collect()
        }
        (Kind::Ordinal { .. } | Kind::Category { .. }, Column::Code(codes)) => {
            let values = kind.values();
            let mut seen: Vec<bool> = vec![false; values.len()];
            codes
                .iter()
                .flatten()
                .for_each(|code| seen[code as usize] = true);
            let drawn = (0..values.len())
                .filter(|code| seen[*code])
                .take(VALUES_DRAWN_MAX);
            drawn
                .map(|code| (Value::Code(code as u32), values[code].clone()))
                .collect()
        }
        _ => Vec::new(),
    }
}
