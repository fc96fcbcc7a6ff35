//! A bundle's parts as they are stored, for whoever writes them in another format.
//!
//! [`crate::Model`] hides its weights behind the engine that runs them; export needs the weights themselves, with the
//! encoding before and the answering after them.

use crate::answering::Answering;
use crate::bundle::Bundle;
use crate::clusters::Clusters;
use crate::encoding::{Block, Parts};
use crate::forest::Forest;
use crate::linear::Linear;
use crate::model::{self, ANSWERING_FILE, ENCODING_FILE, ModelError, TENSORS_FILE};

/// Everything between a row and its answer.
#[derive(Debug)]
pub struct Stored {
    /// How features become columns.
    pub blocks: Vec<Block>,
    /// The vectorizers and text stages that blocks name.
    pub parts: Parts,
    /// What was learned.
    pub weights: Weights,
    /// How scores become answers.
    pub answering: Answering,
}

/// What was learned.
#[derive(Debug)]
pub enum Weights {
    Forest(Forest),
    Linear(Linear),
    Clusters(Clusters),
}

impl Stored {
    /// Reads the parts of a bundle.
    ///
    /// # Errors
    /// When a part is damaged, or the engine keeps its weights in a way of its own.
    pub fn read(bundle: &Bundle) -> Result<Stored, ModelError> {
        let weights = weights(bundle)?;
        let blocks: Vec<Block> = model::json(bundle, ENCODING_FILE)?;
        let answering = match bundle.file(ANSWERING_FILE) {
            Some(_) => model::json(bundle, ANSWERING_FILE)?,
            None => Answering::default(),
        };
        Ok(Stored {
            parts: model::parts(bundle, &blocks)?,
            blocks,
            weights,
            answering,
        })
    }
}

fn weights(bundle: &Bundle) -> Result<Weights, ModelError> {
    let tensors = || model::required(bundle, TENSORS_FILE);
    let wrong = |error: &dyn std::fmt::Display| model::wrong(TENSORS_FILE, error);
    match bundle.manifest().engine.as_str() {
        "forest" => {
            let (file, forest) = model::stored_forest(bundle)?;
            let forest = forest.map_err(|error| model::wrong(file, &error))?;
            Ok(Weights::Forest(forest))
        }
        "linear" => {
            let linear = Linear::from_bytes(tensors()?);
            Ok(Weights::Linear(linear.map_err(|error| wrong(&error))?))
        }
        "clusters" => {
            let clusters = Clusters::from_bytes(tensors()?);
            Ok(Weights::Clusters(clusters.map_err(|error| wrong(&error))?))
        }
        engine => Err(ModelError::UnknownEngine {
            engine: engine.to_owned(),
        }),
    }
}
