//! A decision as it is recorded, cached and told: in names, not in indices.

use ombud_core::answer::{Answer, Prediction};
use ombud_core::{Digest, Explanation, Label, ModelName, Version};
use ombud_engine::Model;
use ombud_ledger::{RecordId, Recorded};
use ombud_store::Environment;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;

/// What was answered; the ledger keeps exactly this text, in clear.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AnswerText {
    /// The class or segment, a list of labels, or a number.
    pub prediction: Value,
    /// The probability of the prediction, where the task has one.
    pub confidence: Option<f64>,
    /// By class, label or segment; empty for a number.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub probabilities: BTreeMap<String, f64>,
    /// The classes that hold the truth at the promised coverage.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub set: Vec<String>,
    /// The interval of a number at the promised coverage.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interval: Option<(f64, f64)>,
}

/// A decision, recorded.
#[derive(Debug, Clone, PartialEq)]
pub struct Decision {
    pub id: RecordId,
    pub model: ModelName,
    pub version: Version,
    pub label: Label,
    pub bundle: Digest,
    pub environment: Environment,
    pub answer: AnswerText,
    pub explanation: Option<Explanation>,
    pub cache_hit: bool,
    pub latency_us: u64,
    /// Where it stands in the ledger; absent when the answer did not wait for that.
    pub recorded: Option<Recorded>,
    /// Whether an earlier try of the same request made it.
    pub is_replayed: bool,
}

/// What the cache keeps of an answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Cached {
    pub answer: AnswerText,
    pub explanation: Option<Explanation>,
}

impl AnswerText {
    /// A model's answer in names; none when it holds something that is no number.
    pub fn of(model: &Model, answer: &Answer) -> Option<Self> {
        let names = model.manifest().outputs.names();
        let named = |indices: &[usize]| -> Vec<String> {
            indices.iter().map(|index| names[*index].clone()).collect()
        };
        let (mut set, mut interval) = (Vec::new(), None);
        let prediction = match &answer.prediction {
            Prediction::Class {
                index,
                set: indices,
            } => {
                set = named(indices);
                Value::from(names[*index].as_str())
            }
            Prediction::Labels { indices } => Value::from(named(indices)),
            Prediction::Number {
                value,
                interval: ends,
            } => {
                interval = *ends;
                Value::from(*value)
            }
            Prediction::Segment { index } => Value::from(names[*index].as_str()),
        };
        let is_finite = answer
            .probabilities
            .iter()
            .chain(&answer.confidence)
            .all(|number| number.is_finite());
        if !is_finite || prediction.is_null() {
            return None;
        }
        Some(AnswerText {
            prediction,
            confidence: answer.confidence,
            probabilities: names
                .iter()
                .cloned()
                .zip(answer.probabilities.iter().copied())
                .collect(),
            set,
            interval,
        })
    }
}
