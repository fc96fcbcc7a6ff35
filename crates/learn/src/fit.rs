//! Fits an algorithm on some rows of a problem: the seam between training's plan and the algorithms.
//!
//! [`crate::train`] decides which rows are learned from, watched and measured; a learner here turns rows into a
//! [`Fitted`] engine with the files that store it. Each algorithm is one file and knows nothing of splits or metrics.

mod clusters;
mod encode;
mod forest;
mod linear;
mod text_stage;

pub use clusters::{ClusterLearner, Segmented};
pub use forest::{ForestLearner, GrownForest, ROUNDS_MAX, Watching};
pub use linear::LinearLearner;

use crate::cluster::ClusterError;
use crate::grow::GrowError;
use crate::logistic::{LogisticError, LogisticOptionsError};
use crate::progress::Progress;
use crate::recipe::ClassWeights;
use crate::target::Target;
use crate::vocabulary;
use ombud_core::Frame;
use ombud_engine::Engine;
use ombud_engine::bundle::Files;
use ombud_engine::encoding::EncodingError;
use serde_json::Value;
use std::collections::BTreeMap;

/// What is to be learned: all kept rows with their targets.
#[derive(Debug)]
pub struct Problem<'a> {
    /// The rows.
    pub frame: &'a Frame,
    /// Their targets.
    pub target: &'a Target,
    /// How much each row counts; once without it.
    pub weights: Option<&'a [f64]>,
    /// How classes are weighted.
    pub class_weights: &'a ClassWeights,
    /// Per feature: +1 may only raise the answer, -1 only lower it.
    pub monotone: &'a [i8],
    /// Rows with the same key belong together.
    pub keys: Option<&'a [u64]>,
    /// The seed of everything random.
    pub seed: u64,
    /// Threads; all when `None`.
    pub threads: Option<usize>,
}

/// A fitted engine and what stores it.
#[derive(Debug)]
pub struct Fitted {
    /// Ready to score.
    pub engine: Box<dyn Engine>,
    /// Its files in a bundle.
    pub files: Files,
    /// The parameters as they were used.
    pub parameters: BTreeMap<String, Value>,
}

/// Why rows could not be fitted.
#[derive(Debug, thiserror::Error)]
pub enum FitError {
    #[error(transparent)]
    Grow(#[from] GrowError),
    #[error(transparent)]
    Logistic(#[from] LogisticError),
    #[error(transparent)]
    LogisticOptions(#[from] LogisticOptionsError),
    #[error(transparent)]
    Clusters(#[from] ClusterError),
    #[error("the texts of {feature:?} cannot be learned from: {cause}")]
    Texts {
        feature: String,
        cause: vocabulary::FitError,
    },
    #[error("the features are too many to be written out: {0}")]
    Encoding(#[from] EncodingError),
    #[error("a fitted part cannot be stored: {0}")]
    Store(String),
    #[error("training was stopped")]
    Stopped,
}

impl Problem<'_> {
    /// The weight of each of some rows: its own times its class's; `None` when all count once.
    pub fn weights_of(&self, rows: &[u32]) -> Option<Vec<f64>> {
        let by_class = self.weights_by_class(rows);
        if self.weights.is_none() && by_class.is_none() {
            return None;
        }
        let codes = self.target.codes();
        let weight = |row: &u32| {
            let own = self.weights.map_or(1.0, |weights| weights[*row as usize]);
            let of_class = by_class
                .as_ref()
                .zip(codes)
                .map_or(1.0, |(by_class, codes)| {
                    by_class[codes[*row as usize] as usize]
                });
            own * of_class
        };
        Some(rows.iter().map(weight).collect())
    }

    fn weights_by_class(&self, rows: &[u32]) -> Option<Vec<f64>> {
        let Target::Classes { names, codes, .. } = self.target else {
            return None;
        };
        match self.class_weights {
            ClassWeights::Even => None,
            ClassWeights::Given(given) => Some(
                names
                    .iter()
                    .map(|name| given.get(name).copied().unwrap_or(1.0))
                    .collect(),
            ),
            ClassWeights::Balanced => {
                let mut counts = vec![0.0f64; names.len()];
                rows.iter()
                    .for_each(|row| counts[codes[*row as usize] as usize] += 1.0);
                let even = rows.len() as f64 / names.len() as f64;
                Some(
                    counts
                        .into_iter()
                        .map(|count| if count > 0.0 { even / count } else { 1.0 })
                        .collect(),
                )
            }
        }
    }
}

/// Asks a listener whether to go on.
fn keep_going(progress: &dyn Progress) -> Result<(), FitError> {
    if progress.is_stopped() {
        Err(FitError::Stopped)
    } else {
        Ok(())
    }
}
