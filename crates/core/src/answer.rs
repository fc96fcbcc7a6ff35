//! What a model answers about one row.

use serde::Serialize;

/// One answer: the prediction, how sure the model is, and everything it weighed.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Answer {
    /// The prediction.
    pub prediction: Prediction,
    /// Probability of the prediction, where the task has one (0 to 1).
    pub confidence: Option<f64>,
    /// Probability per class, label or segment, in the order of the model's outputs; empty for a number.
    pub probabilities: Vec<f64>,
}

/// The prediction itself. Indices refer to the names in the model's outputs.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Prediction {
    /// A class; with `set`, the classes that hold the truth at the promised coverage.
    Class {
        /// Index of the class.
        index: usize,
        /// Indices of the classes in the prediction set; empty unless intervals were asked for in the recipe.
        set: Vec<usize>,
    },
    /// The labels that apply.
    Labels {
        /// Indices of the labels.
        indices: Vec<usize>,
    },
    /// A number; with an interval when the recipe promised coverage.
    Number {
        /// The value, in the target's unit.
        value: f64,
        /// Lower and upper end.
        interval: Option<(f64, f64)>,
    },
    /// A segment.
    Segment {
        /// Index of the segment.
        index: usize,
    },
}
