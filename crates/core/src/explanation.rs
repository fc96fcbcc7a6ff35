//! Why an answer came out as it did: what each feature added, in the model's own units.
//!
//! Contributions are exact for the engine that gives them (TreeSHAP, weight × value, distance shares): they and the base
//! add up to the raw score that is explained. Which engine computed them is not visible here.

use serde::{Deserialize, Serialize};

/// An explained answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Explanation {
    /// The class, label or segment whose score is explained; the target's name for a number.
    pub output: String,
    /// What `base` and the weights are measured in.
    pub unit: Unit,
    /// The score before anything is known of the row.
    pub base: f64,
    /// One entry per feature, strongest first.
    pub contributions: Vec<Contribution>,
    /// For text features: the words that carried the score, strongest first.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub words: Vec<Word>,
    /// For features that stages made: why the stages answered as they did.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub stages: Vec<StageReasons>,
}

/// Why a stage answered as it did.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StageReasons {
    /// The stage.
    pub stage: String,
    /// The features that its answer became.
    pub features: Vec<String>,
    /// Its own reasons, in its own features.
    pub explanation: Explanation,
}

/// The scale in which contributions add up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Unit {
    /// Log-odds (or softmax margin) of the explained class.
    LogOdds,
    /// The target's own unit.
    Target,
    /// The logarithm of the target.
    LogTarget,
    /// Difference in (log) closeness between the chosen segment and the next one.
    Closeness,
}

/// What one feature added.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Contribution {
    /// The feature.
    pub feature: String,
    /// Its value in the row, as a person would read it; `None` when missing.
    pub value: Option<String>,
    /// How far it moved the score; positive speaks for the explained output.
    pub weight: f64,
}

/// A word of a text feature and what it added.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Word {
    /// The text feature.
    pub feature: String,
    /// First byte of the word in the text.
    pub start: usize,
    /// One past the last byte.
    pub end: usize,
    /// The word itself.
    pub text: String,
    /// How far it moved the score of the text.
    pub weight: f64,
}
