//! Models leaving: as ONNX, for whoever runs that, and as XGBoost, for the trees alone.
//!
//! A bundle in, a file's bytes out; writing them is the caller's.

pub mod onnx;

use ombud_core::{Class, Task};
use ombud_engine::Bundle;
use ombud_engine::encoding::Block;
use ombud_engine::forest::ForestError;
use ombud_engine::model::{ModelError, ONNX_FILE};
use ombud_engine::stored::{Stored, Weights};
use onnx::{Body, ExportError, Source};

/// A model in another format.
#[derive(Debug)]
pub struct Exported {
    /// The file.
    pub bytes: Vec<u8>,
    /// What it takes, in order.
    pub inputs: Vec<String>,
    /// What stayed behind.
    pub notes: Vec<String>,
}

/// Why a bundle cannot leave in a format.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    #[error(transparent)]
    Model(#[from] ModelError),
    #[error(transparent)]
    Onnx(#[from] ExportError),
    #[error(transparent)]
    Forest(#[from] ForestError),
    /// The format has no words for this kind of model.
    #[error("{what} cannot be written as {format}")]
    Kind {
        what: String,
        format: &'static str,
        hint: &'static str,
    },
}

impl Refused {
    /// Whose mistake it is.
    pub fn class(&self) -> Class {
        match self {
            Refused::Model(error) => error.class(),
            Refused::Onnx(ExportError::Contradiction { .. }) => Class::Corrupt,
            Refused::Onnx(ExportError::TooLarge { .. }) => Class::TooLarge,
            Refused::Onnx(ExportError::Unsupported { .. })
            | Refused::Forest(_)
            | Refused::Kind { .. } => Class::Unsupported,
        }
    }

    /// What to do.
    pub fn hint(&self) -> &'static str {
        match self {
            Refused::Model(_) => {
                "the bundle was not made by this program, or made wrongly; train it again"
            }
            Refused::Onnx(ExportError::Unsupported { hint, .. }) | Refused::Kind { hint, .. } => {
                hint
            }
            Refused::Onnx(ExportError::TooLarge { .. }) => {
                "train with fewer trees or a smaller vocabulary"
            }
            Refused::Onnx(ExportError::Contradiction { .. }) => "report this",
            Refused::Forest(_) => "write it with --to onnx",
        }
    }
}

/// A file in another format cannot ask other models first.
fn refuse_stages(bundle: &Bundle, format: &'static str) -> Result<(), Refused> {
    let manifest = bundle.manifest();
    let Some(ensemble) = &manifest.ensemble else {
        return Ok(());
    };
    let stages: Vec<String> = ensemble
        .stages
        .iter()
        .map(ombud_core::ensemble::Stage::words)
        .collect();
    Err(Refused::Kind {
        what: format!(
            "{}, which asks {} first,",
            manifest.name,
            stages.join(" and ")
        ),
        format,
        hint: "export its stages one by one, or move the bundles themselves with `ombud package`",
    })
}

/// The whole way from a row to its answer as one ONNX graph.
///
/// # Errors
/// When ONNX has no words for a part of it.
pub fn onnx(bundle: &Bundle) -> Result<Exported, Refused> {
    refuse_stages(bundle, "ONNX")?;
    let manifest = bundle.manifest();
    let inputs = names(bundle);
    if let Some(bytes) = bundle.file(ONNX_FILE) {
        return Ok(Exported {
            bytes: bytes.to_vec(),
            inputs,
            notes: vec!["the file is the one that was imported, byte for byte".into()],
        });
    }
    let stored = Stored::read(bundle)?;
    let body = match &stored.weights {
        Weights::Forest(forest) => Body::Forest(forest),
        Weights::Linear(linear) => Body::Linear {
            linear,
            is_exclusive: manifest.task != Task::MultiLabel,
        },
        Weights::Clusters(clusters) => Body::Clusters(clusters),
    };
    let bytes = onnx::write(&Source {
        name: manifest.name.as_str(),
        schema: &manifest.schema,
        blocks: &stored.blocks,
        parts: &stored.parts,
        body,
        answering: &stored.answering,
        outputs: &manifest.outputs,
    })?;
    let mut notes = Vec::new();
    if stored.answering.conformal.is_some() {
        notes.push(
            "intervals and prediction sets stay behind: ONNX answers with the prediction alone"
                .into(),
        );
    }
    Ok(Exported {
        bytes,
        inputs,
        notes,
    })
}

/// A forest's trees as an XGBoost model, JSON or UBJSON.
///
/// # Errors
/// When the model is no forest over plain columns, or asks in a way that XGBoost does not.
pub fn xgboost(bundle: &Bundle, as_json: bool) -> Result<Exported, Refused> {
    let format = "an XGBoost model";
    refuse_stages(bundle, format)?;
    let kind = |what: &str, hint| Refused::Kind {
        what: what.to_owned(),
        format,
        hint,
    };
    let is_forest = bundle.manifest().engine == "forest";
    if !is_forest {
        let what = format!("a model of the engine {}", bundle.manifest().engine);
        return Err(kind(&what, "write it with --to onnx"));
    }
    let stored = Stored::read(bundle)?;
    let Weights::Forest(forest) = &stored.weights else {
        return Err(kind("a model without trees", "write it with --to onnx"));
    };
    if !stored
        .blocks
        .iter()
        .all(|block| matches!(block, Block::Raw { .. }))
    {
        return Err(kind(
            "a forest over text",
            "write it with --to onnx, which carries the text too",
        ));
    }
    let bytes = match as_json {
        true => forest.to_xgboost_json()?,
        false => forest.to_xgboost_ubjson()?,
    };
    let mut notes = Vec::new();
    if stored.answering.calibrator.is_some() {
        notes
            .push("the calibration stays behind: XGBoost gives the probabilities before it".into());
    }
    if stored.answering.decision.is_some() {
        notes.push(
            "the tuned thresholds stay behind: XGBoost chooses the most probable class".into(),
        );
    }
    Ok(Exported {
        bytes,
        inputs: names(bundle),
        notes,
    })
}

fn names(bundle: &Bundle) -> Vec<String> {
    let features = bundle.manifest().schema.features().iter();
    features.map(|feature| feature.name.clone()).collect()
}
