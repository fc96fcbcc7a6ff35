//! Models leaving: as ONNX, for whoever runs that, and as XGBoost, for the trees alone.
//!
//! A bundle in, a file's bytes out; writing them is the caller's.

pub mod onnx;

use ombud_core::{Class, Kind, Task};
use ombud_engine::Bundle;
use ombud_engine::encoding::Block;
use ombud_engine::forest::{Forest, ForestError, NamedColumn};
use ombud_engine::model::{ModelError, ONNX_FILE};
use ombud_engine::stored::{Stored, Weights};
use onnx::{Body, ExportError, Source};

/// Characters that XGBoost refuses in a feature's name.
const NOT_IN_NAMES: [char; 3] = ['[', ']', '<'];

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
    let mut notes = Vec::new();
    let mut columns = named_columns(bundle, &stored.blocks, forest);
    if columns
        .iter()
        .any(|column| column.name.contains(NOT_IN_NAMES))
    {
        notes.push(
            "the names of the features stay behind: XGBoost allows no [, ] or < in them".into(),
        );
        columns.clear();
    }
    let bytes = match as_json {
        true => forest.to_xgboost_json_of(&columns)?,
        false => forest.to_xgboost_ubjson_of(&columns)?,
    };
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

/// What the forest's columns are called, and which of them are codes; a sequence has its steps numbered, as tables have.
fn named_columns(bundle: &Bundle, blocks: &[Block], forest: &Forest) -> Vec<NamedColumn> {
    let set_columns = forest.category_columns();
    let features = bundle.manifest().schema.features();
    let of_block = |block: &Block| {
        let feature = features.get(block.feature())?;
        let names = match feature.kind {
            Kind::Sequence { steps, .. } => (1..=steps)
                .map(|step| format!("{}_{step}", feature.name))
                .collect(),
            _ => vec![feature.name.clone()],
        };
        let is_category = matches!(feature.kind, Kind::Category { .. });
        Some(names.into_iter().map(move |name| (name, is_category)))
    };
    let named = blocks.iter().filter_map(of_block).flatten().enumerate();
    let columns = named.map(|(place, (name, is_category))| NamedColumn {
        name,
        is_category: is_category || set_columns.contains(&(place as u32)),
    });
    columns.collect()
}

fn names(bundle: &Bundle) -> Vec<String> {
    let features = bundle.manifest().schema.features().iter();
    features.map(|feature| feature.name.clone()).collect()
}
