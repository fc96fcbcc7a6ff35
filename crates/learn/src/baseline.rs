//! What the data and the answers looked like when the model was made: `baseline.json`.
//!
//! Watching a model needs the past to compare with; keeping the training-time histograms with the model means that no
//! one has to keep the training data for it. Bins are fixed here once, from quantiles, and every later sample is
//! counted into the same bins.

use crate::prepare::Prepared;
use crate::target::Target;
use ombud_core::frame::Column;
use ombud_core::{Frame, Kind};
use ombud_engine::Model;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The format of the file.
pub const FORMAT: u32 = 1;
/// Bins of a number.
const BINS: usize = 10;
/// Category values counted by name; the rest is counted together.
const VALUES_MAX: usize = 200;
/// Rows whose answers are counted.
const ROWS_ANSWERED_MAX: usize = 20_000;

/// Reference distributions of a model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Baseline {
    /// The format.
    pub format: u32,
    /// Rows counted.
    pub rows: usize,
    /// By feature.
    pub features: BTreeMap<String, Distribution>,
    /// Of the scores, by output.
    pub scores: BTreeMap<String, Distribution>,
    /// Share of predictions, by class, label or segment.
    pub predictions: BTreeMap<String, f64>,
    /// Share of the truth, by class or label.
    #[serde(skip_serializing_if = "BTreeMap::is_empty", default)]
    pub target: BTreeMap<String, f64>,
    /// The target's distribution, when it is a number.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub target_number: Option<Distribution>,
    /// By protected attribute, by group: its share of rows and of each prediction.
    #[serde(skip_serializing_if = "BTreeMap::is_empty", default)]
    pub groups: BTreeMap<String, BTreeMap<String, GroupRates>>,
}

/// How one column is distributed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Distribution {
    /// A number: `shares[i]` of the known values lie in bin `i`, which ends before `edges[i]`; the last is open.
    Number {
        missing: f64,
        edges: Vec<f64>,
        shares: Vec<f64>,
        mean: f64,
        deviation: f64,
        min: f64,
        max: f64,
    },
    /// A category or ordinal: shares of the known values.
    Category {
        missing: f64,
        shares: BTreeMap<String, f64>,
        others: f64,
    },
    /// A text: the distribution of its length in words.
    Text {
        missing: f64,
        words: Box<Distribution>,
    },
    /// A sequence, step by step.
    Sequence { steps: Vec<Distribution> },
}

/// What a group got.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct GroupRates {
    /// Its share of rows.
    pub share: f64,
    /// Share of each prediction within it.
    pub predictions: BTreeMap<String, f64>,
}

/// Counts the kept rows of a training and the answers to them.
pub fn of(model: &Model, prepared: &Prepared) -> Baseline {
    let frame = &prepared.frame;
    let step = frame.rows().div_ceil(ROWS_ANSWERED_MAX).max(1);
    let answered: Vec<u32> = (0..frame.rows() as u32).step_by(step).collect();
    let sample = frame.take(&answered);
    let scores = model.predict_frame(&sample);
    let names = model.manifest().outputs.names();
    let answers: Vec<String> = scores
        .values
        .chunks_exact(scores.width)
        .map(|row| model.name_of(&model.answer(row)))
        .collect();
    let score_names: Vec<String> = if names.is_empty() {
        vec!["value".into()]
    } else {
        names.to_vec()
    };
    let by_output = score_names.into_iter().enumerate().map(|(output, name)| {
        let of_output = scores
            .values
            .iter()
            .skip(output)
            .step_by(scores.width)
            .copied();
        (name, number_distribution(of_output.map(Some)))
    });
    let groups = prepared.protected.iter().map(|attribute| {
        let mut members: BTreeMap<String, Vec<&str>> = BTreeMap::new();
        for (row, answer) in answered.iter().zip(&answers) {
            let value = &attribute.values[attribute.codes[*row as usize] as usize];
            members.entry(value.clone()).or_default().push(answer);
        }
        let rates = members.into_iter().map(|(value, answers)| {
            let share = answers.len() as f64 / answered.len().max(1) as f64;
            (
                value,
                GroupRates {
                    share,
                    predictions: if names.is_empty() {
                        BTreeMap::new()
                    } else {
                        shares(&answers)
                    },
                },
            )
        });
        (attribute.name.clone(), rates.collect())
    });
    Baseline {
        format: FORMAT,
        rows: frame.rows(),
        features: all_features(prepared),
        scores: by_output.collect(),
        predictions: if names.is_empty() {
            BTreeMap::new()
        } else {
            shares(&answers.iter().map(String::as_str).collect::<Vec<_>>())
        },
        target: target_shares(&prepared.target),
        target_number: match &prepared.target {
            Target::Numbers(numbers) => Some(number_distribution(numbers.iter().map(|n| Some(*n)))),
            _ => None,
        },
        groups: groups.collect(),
    }
}

/// What the model decides by, and what only its stages are given.
fn all_features(prepared: &Prepared) -> BTreeMap<String, Distribution> {
    let mut all = features(&prepared.frame);
    if let Some(staged) = &prepared.staged {
        all.extend(features(&staged.asked));
    }
    all
}

fn features(frame: &Frame) -> BTreeMap<String, Distribution> {
    let described = frame.schema().features().iter().zip(frame.columns());
    described
        .map(|(feature, column)| (feature.name.clone(), distribution(&feature.kind, column)))
        .collect()
}

fn distribution(kind: &Kind, column: &Column) -> Distribution {
    match column {
        Column::Number(numbers) => number_distribution(numbers.iter()),
        Column::Code(codes) => {
            let values = kind.values();
            let mut counts = vec![0usize; values.len()];
            codes
                .iter()
                .flatten()
                .for_each(|code| counts[code as usize] += 1);
            let known: usize = counts.iter().sum();
            let rows = arrow_array::Array::len(codes).max(1);
            let mut ranked: Vec<(usize, &String)> = counts.into_iter().zip(values).collect();
            ranked.sort_by_key(|(count, _)| std::cmp::Reverse(*count));
            let share = |count: usize| count as f64 / known.max(1) as f64;
            let named: BTreeMap<String, f64> = ranked
                .iter()
                .take(VALUES_MAX)
                .map(|(count, value)| ((*value).clone(), share(*count)))
                .collect();
            let others = ranked
                .iter()
                .skip(VALUES_MAX)
                .map(|(count, _)| share(*count))
                .sum();
            Distribution::Category {
                missing: 1.0 - known as f64 / rows as f64,
                shares: named,
                others,
            }
        }
        Column::Text(texts) => {
            let words = texts
                .iter()
                .map(|text| text.map(|text| text.split_whitespace().count() as f64));
            let rows = arrow_array::Array::len(texts).max(1);
            Distribution::Text {
                missing: column.missing() as f64 / rows as f64,
                words: Box::new(number_distribution(words)),
            }
        }
        Column::Sequence { steps, values } => {
            let of_step = |step: usize| {
                let known = values
                    .iter()
                    .skip(step)
                    .step_by(*steps)
                    .map(|v| if v.is_nan() { None } else { Some(*v) });
                number_distribution(known)
            };
            Distribution::Sequence {
                steps: (0..*steps).map(of_step).collect(),
            }
        }
    }
}

/// Bins between the deciles; equal deciles make one edge, so a number of few values has few bins.
fn number_distribution(values: impl Iterator<Item = Option<f64>>) -> Distribution {
    let (mut known, mut missing) = (Vec::new(), 0usize);
    for value in values {
        match value {
            Some(value) if value.is_finite() => known.push(value),
            _ => missing += 1,
        }
    }
    let rows = known.len() + missing;
    known.sort_by(f64::total_cmp);
    let count = known.len().max(1) as f64;
    let mean = known.iter().sum::<f64>() / count;
    let deviation = (known.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / count).sqrt();
    let mut edges: Vec<f64> = Vec::new();
    if !known.is_empty() {
        edges = (1..BINS)
            .map(|bin| known[known.len() * bin / BINS])
            .collect();
        edges.dedup();
    }
    let mut shares = vec![0.0; edges.len() + 1];
    for value in &known {
        shares[edges.partition_point(|edge| edge <= value)] += 1.0 / count;
    }
    Distribution::Number {
        missing: missing as f64 / rows.max(1) as f64,
        min: known.first().copied().unwrap_or(0.0),
        max: known.last().copied().unwrap_or(0.0),
        edges,
        shares,
        mean,
        deviation,
    }
}

fn shares(answers: &[&str]) -> BTreeMap<String, f64> {
    let mut shares = BTreeMap::new();
    for answer in answers {
        *shares.entry((*answer).to_owned()).or_insert(0.0) += 1.0 / answers.len() as f64;
    }
    shares
}

fn target_shares(target: &Target) -> BTreeMap<String, f64> {
    match target {
        Target::Classes { names, codes, .. } => shares(
            &codes
                .iter()
                .map(|code| names[*code as usize].as_str())
                .collect::<Vec<_>>(),
        ),
        Target::Labels { names, flags } => {
            let rows = target.rows().max(1) as f64;
            let holds = |label: usize| {
                flags
                    .iter()
                    .skip(label)
                    .step_by(names.len())
                    .filter(|flag| **flag)
                    .count()
            };
            names
                .iter()
                .enumerate()
                .map(|(label, name)| (name.clone(), holds(label) as f64 / rows))
                .collect()
        }
        Target::Numbers(_) | Target::Nothing { .. } => BTreeMap::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_of_few_values_has_few_bins_and_shares_sum_to_one() {
        let values = (0..100).map(|i| {
            if i % 10 == 0 {
                None
            } else {
                Some(f64::from(i % 3))
            }
        });
        let Distribution::Number {
            missing,
            edges,
            shares,
            ..
        } = number_distribution(values)
        else {
            panic!("a number")
        };
        assert_eq!(edges, [0.0, 1.0, 2.0]);
        assert!((missing - 0.1).abs() < 1e-12);
        assert!((shares.iter().sum::<f64>() - 1.0).abs() < 1e-9);
        assert_eq!(shares[0], 0.0);
    }
}
