//! An ONNX file as an engine: features become tensors, one of the graph's outputs becomes scores.
//!
//! Which input takes which features, and which output means what, is the [`Mapping`] that importing found by trying the
//! graph; it is kept beside the file. A graph gives no reasons, so [`Engine::explains`] says no.

mod answer;
mod feed;

pub use answer::label_texts;

use super::{Engine, Reasons};
use crate::onnx::{OnnxError, OnnxModel, Value};
use ombud_core::explanation::Unit;
use ombud_core::{Frame, Row, Schema};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// Rows run together: nearest-neighbour graphs build a table of rows by training rows, and a run's memory is bounded.
const ROWS_PER_RUN: usize = 256;

/// How a graph is asked and understood, as it is stored.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mapping {
    /// For every input of the graph, the features whose columns it takes, side by side.
    pub inputs: Vec<Vec<usize>>,
    /// What the scores are made of.
    pub answer: Given,
    /// How the graph itself calls its classes, in the order of the scores; empty where it names none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub labels: Vec<String>,
}

/// Which outputs the scores are made of; outputs are counted from zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "from", rename_all = "snake_case", deny_unknown_fields)]
pub enum Given {
    /// A probability per class.
    Probabilities {
        output: usize,
        /// The chosen class, which breaks ties and rounding.
        label: Option<usize>,
    },
    /// The probability of the second of two classes.
    Second { output: usize },
    /// A score per class (or one for two classes) that is no probability: the shares are its softmax.
    Margins { output: usize, label: Option<usize> },
    /// A probability per class, each in an output of its own; the first of them, and how many follow one another.
    Columns {
        first: usize,
        count: usize,
        label: usize,
    },
    /// Nothing but the class: it gets the whole share.
    Label { output: usize },
    /// A distance per segment: the shares are the softmax of the negative squares.
    Distances { output: usize, label: Option<usize> },
    /// An independent probability per label.
    Independent { output: usize },
    /// One number.
    Number { output: usize },
}

/// Why a graph and its mapping cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum OnnxEngineError {
    #[error(transparent)]
    Model(#[from] OnnxError),
    #[error("the mapping does not fit the graph: {reason}")]
    Mapping { reason: String },
}

/// An ONNX graph over a schema's features.
#[derive(Debug)]
pub struct OnnxEngine {
    model: OnnxModel,
    mapping: Mapping,
    schema: Arc<Schema>,
    width: usize,
}

impl OnnxEngine {
    /// A graph that takes the features of a schema and gives `width` scores a row.
    ///
    /// # Errors
    /// When the features are not what the graph's inputs take.
    pub fn new(
        model: OnnxModel,
        mapping: Mapping,
        schema: Arc<Schema>,
        width: usize,
    ) -> Result<OnnxEngine, OnnxEngineError> {
        feed::check(&model, &mapping.inputs, &schema)?;
        let outputs = model.outputs().len();
        if mapping.answer.outputs().any(|output| output >= outputs) {
            let reason = format!("it names an output beyond the {outputs} there are");
            return Err(OnnxEngineError::Mapping { reason });
        }
        if mapping.answer.needs_labels() && mapping.labels.len() != width {
            let reason = format!("it names {} classes of {width}", mapping.labels.len());
            return Err(OnnxEngineError::Mapping { reason });
        }
        if width == 0 {
            let reason = "it gives no score".to_owned();
            return Err(OnnxEngineError::Mapping { reason });
        }
        Ok(OnnxEngine {
            model,
            mapping,
            schema,
            width,
        })
    }

    /// What the graph gives for some rows, untouched.
    ///
    /// # Errors
    /// When a node cannot take the numbers it is given.
    pub fn run(&self, frame: &Frame) -> Result<Vec<Value>, OnnxError> {
        let inputs: Vec<_> = self
            .model
            .inputs()
            .iter()
            .zip(&self.mapping.inputs)
            .map(|(input, features)| feed::tensor(input, features, frame))
            .collect();
        self.model.run(&inputs)
    }

    /// The graph itself.
    pub fn model(&self) -> &OnnxModel {
        &self.model
    }

    /// Scores a part of a frame; rows that the graph cannot take are tried alone, and then have no score.
    fn score(&self, frame: &Frame, scores: &mut [f64]) {
        let read = |values: Vec<Value>, scores: &mut [f64]| {
            answer::read(&self.mapping, self.width, &values, scores)
        };
        let is_scored = self
            .run(frame)
            .is_ok_and(|values| read(values, scores).is_some());
        if is_scored {
            return;
        }
        scores.fill(f64::NAN);
        if frame.rows() > 1 {
            for (row, scores) in scores.chunks_exact_mut(self.width()).enumerate() {
                self.score(&frame.slice(row, 1), scores);
            }
        }
    }
}

impl Given {
    /// Whether scores can only be told with the graph's own names of classes.
    fn needs_labels(&self) -> bool {
        let has_label = |label: Option<usize>| label.is_some();
        match *self {
            Given::Probabilities { label, .. }
            | Given::Margins { label, .. }
            | Given::Distances { label, .. } => has_label(label),
            Given::Label { .. } | Given::Columns { .. } => true,
            Given::Second { .. } | Given::Independent { .. } | Given::Number { .. } => false,
        }
    }

    /// The outputs it reads; of several that follow one another the last.
    pub fn outputs(&self) -> impl Iterator<Item = usize> {
        let (output, label) = match *self {
            Given::Columns {
                first,
                count,
                label,
            } => (first.saturating_add(count.saturating_sub(1)), Some(label)),
            Given::Probabilities { output, label }
            | Given::Margins { output, label }
            | Given::Distances { output, label } => (output, label),
            Given::Second { output }
            | Given::Label { output }
            | Given::Independent { output }
            | Given::Number { output } => (output, None),
        };
        std::iter::once(output).chain(label)
    }
}

impl Engine for OnnxEngine {
    fn width(&self) -> usize {
        self.width
    }

    fn score_row(&self, row: &Row, scores: &mut [f64]) {
        self.score(
            &Frame::from_rows(&self.schema, std::slice::from_ref(row)),
            scores,
        );
    }

    fn score_frame(&self, frame: &Frame, scores: &mut [f64]) {
        let width = self.width();
        scores
            .par_chunks_mut(ROWS_PER_RUN * width)
            .enumerate()
            .for_each(|(task, scores)| {
                let rows = scores.len() / width;
                self.score(&frame.slice(task * ROWS_PER_RUN, rows), scores);
            });
    }

    fn gains_from_batches(&self) -> bool {
        self.model.gains_from_batches()
    }

    fn explains(&self) -> bool {
        false
    }

    fn explain_row(&self, _row: &Row, _output: usize) -> Reasons {
        Reasons {
            unit: Unit::Target,
            base: 0.0,
            by_feature: Vec::new(),
            words: Vec::new(),
        }
    }

    fn importance(&self) -> Option<Vec<f64>> {
        None
    }
}
