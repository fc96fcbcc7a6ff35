//! What every engine gives: scores for a row or a frame, and the reasons for one of them.
//!
//! The trait stays on this page. An engine knows weights and arithmetic; names of classes, calibration, thresholds and
//! intervals are [`crate::answering`], so that a new engine is one file and inherits all of them.

mod clusters;
mod forest;
mod linear;
mod onnx;

pub use clusters::ClusterEngine;
pub use forest::ForestEngine;
pub use linear::LinearEngine;
pub use onnx::{Given, Mapping, OnnxEngine, OnnxEngineError, label_texts};

use ombud_core::explanation::Unit;
use ombud_core::{Frame, Row};
use std::fmt;

/// A fitted model as arithmetic. Rows fit the schema it was made for; a frame's rows are scored in parallel.
pub trait Engine: fmt::Debug + Send + Sync {
    /// Scores per row: one per class, label or segment; one for a number.
    fn width(&self) -> usize;

    /// Scores one row into `scores`, which has [`Engine::width`] places: probabilities, memberships, or the number.
    fn score_row(&self, row: &Row, scores: &mut [f64]);

    /// Scores every row of a frame, row after row.
    fn score_frame(&self, frame: &Frame, scores: &mut [f64]);

    /// Whether it can say what each feature added; [`Engine::explain_row`] has nothing to tell where it cannot.
    fn explains(&self) -> bool {
        true
    }

    /// What each feature added to one score of a row.
    fn explain_row(&self, row: &Row, output: usize) -> Reasons;

    /// How much each feature mattered over all training rows, if the weights alone can tell; sums to one.
    fn importance(&self) -> Option<Vec<f64>>;

    /// Whether many rows take little more time than one, so that rows which come apart are worth gathering.
    fn gains_from_batches(&self) -> bool {
        false
    }

    /// Rows as points between which distances mean something, for engines that find segments.
    fn points(&self, _frame: &Frame) -> Option<Points> {
        None
    }
}

/// Rows as points, row after row.
#[derive(Debug, Clone, PartialEq)]
pub struct Points {
    /// Numbers per row.
    pub columns: usize,
    /// All numbers.
    pub values: Vec<f64>,
    /// Mean log density of the points, when the segments have one.
    pub mean_log_likelihood: Option<f64>,
}

/// An explanation before it has names.
#[derive(Debug, Clone, PartialEq)]
pub struct Reasons {
    /// What the numbers are measured in.
    pub unit: Unit,
    /// The score before anything is known.
    pub base: f64,
    /// One per feature of the schema, in its order.
    pub by_feature: Vec<f64>,
    /// Words of text features.
    pub words: Vec<Marked>,
}

/// The words of one text feature.
#[derive(Debug, Clone, PartialEq)]
pub struct Marked {
    /// The feature.
    pub feature: usize,
    /// Its words, with what each added.
    pub marks: Vec<crate::text::Mark>,
}

/// Rows scored by one task; enough to outweigh handing it out, few enough to balance two threads.
const ROWS_PER_TASK: usize = 2_048;
