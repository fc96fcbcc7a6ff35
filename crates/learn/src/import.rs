//! Models of other tools as bundles of ours: XGBoost, LightGBM, and whatever was converted to ONNX.
//!
//! A file is read by `engine`, which refuses what it cannot run; here the model gets what a bundle has and a file has
//! not: a schema, names for its answers, lineage, a card. Everything that can be wrong is found before a byte is written.
//! Nothing is measured: that takes data (`ombud evaluate`).

mod card;
mod forest;
mod onnx;
mod pbtxt;
mod probe;
pub mod repository;
mod schema;

pub use schema::{SCHEMA_BYTES_MAX, Wanted, WantedError};

use crate::train::{self, TrainError};
use ombud_core::manifest::{FORMAT, Lineage};
use ombud_core::task::Outputs;
use ombud_core::{Class, Label, Manifest, ModelName, Schema, Task, Version};
use ombud_engine::bundle::Files;
use ombud_engine::bundle::digest::digest_bytes;
use ombud_engine::bundle::keys::SigningKey;
use ombud_engine::forest::ForestError;
use ombud_engine::onnx::OnnxError;
use ombud_engine::{Bundle, Model, shown};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Longest model file read: what one file of a bundle may hold is more, but an ONNX file ends at two gigabytes.
pub const MODEL_BYTES_MAX: u64 = 2 << 30;

/// Longest name of a feature or a class that is taken from a file.
pub const NAME_BYTES_MAX: usize = 1_000;

/// Where a model file comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// JSON or UBJSON of XGBoost 2 or later.
    Xgboost,
    /// Text of LightGBM 4 or later.
    Lightgbm,
    /// An ONNX graph, of skl2onnx, onnxmltools, CatBoost or anyone.
    Onnx,
}

/// How a model is kept.
#[derive(Debug)]
pub struct Options<'a> {
    /// The model's name here.
    pub name: &'a ModelName,
    /// The file as its owner calls it.
    pub origin: &'a str,
    /// What is known beyond the file.
    pub wanted: &'a Wanted,
    /// The folder of models.
    pub out: &'a Path,
    /// Signs the bundle.
    pub key: Option<&'a SigningKey>,
}

/// A model that was imported.
#[derive(Debug)]
pub struct Imported {
    /// Its bundle.
    pub bundle: Bundle,
    /// Where it lies.
    pub path: PathBuf,
}

/// What a file turned out to hold.
struct Parts {
    task: Task,
    engine: &'static str,
    schema: Schema,
    outputs: Outputs,
    files: Files,
    parameters: BTreeMap<String, Value>,
    warnings: Vec<String>,
}

/// Why a file cannot be imported.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    #[error(transparent)]
    Forest(#[from] ForestError),
    #[error(transparent)]
    Onnx(#[from] OnnxError),
    /// The file is of another kind than said.
    #[error("this is no {wanted} file: {found}")]
    Kind {
        wanted: &'static str,
        found: &'static str,
        hint: &'static str,
    },
    /// The model is sound and answers something that no bundle can.
    #[error("the model {what}")]
    Unsupported { what: String, hint: String },
    /// What was said about the features contradicts the file or itself.
    #[error("the schema {what}")]
    Schema { what: String, hint: String },
    #[error(transparent)]
    Keep(#[from] TrainError),
}

impl ImportError {
    /// Whose mistake it is.
    pub fn class(&self) -> Class {
        match self {
            ImportError::Forest(ForestError::TooLarge { .. }) => Class::TooLarge,
            ImportError::Forest(ForestError::Unsupported { .. })
            | ImportError::Onnx(OnnxError::UnknownOperators { .. } | OnnxError::Version { .. })
            | ImportError::Unsupported { .. } => Class::Unsupported,
            ImportError::Forest(_)
            | ImportError::Onnx(_)
            | ImportError::Kind { .. }
            | ImportError::Schema { .. } => Class::Invalid,
            ImportError::Keep(error) => error.class(),
        }
    }

    /// What to do.
    pub fn hint(&self) -> String {
        match self {
            ImportError::Forest(ForestError::Unsupported { hint, .. }) => (*hint).to_owned(),
            ImportError::Forest(ForestError::TooLarge { .. }) => {
                "prune the model or train it with fewer trees".into()
            }
            ImportError::Forest(_) => {
                "save the model again: booster.save_model(\"model.ubj\") with XGBoost 2 or later, \
                 booster.save_model(\"model.txt\") with LightGBM 4"
                    .into()
            }
            ImportError::Onnx(OnnxError::UnknownOperators { .. }) => {
                "convert the model with operators of ai.onnx and ai.onnx.ml only; docs/portable.md lists those known here"
                    .into()
            }
            ImportError::Onnx(OnnxError::Version { .. }) => {
                "convert it again with target_opset={\"\": 18, \"ai.onnx.ml\": 3}".into()
            }
            ImportError::Onnx(_) => {
                "convert the model again with a current skl2onnx, onnxmltools or exporter".into()
            }
            ImportError::Kind { hint, .. } => (*hint).to_owned(),
            ImportError::Unsupported { hint, .. } | ImportError::Schema { hint, .. } => hint.clone(),
            ImportError::Keep(error) => error.hint().unwrap_or_else(|| "report this".into()),
        }
    }
}

/// Whose bundle a model file becomes.
#[derive(Debug)]
pub struct Origin<'a> {
    /// The model's name here.
    pub name: &'a ModelName,
    /// Its place in the order of registration.
    pub version: Version,
    /// The file as its owner calls it.
    pub file: &'a str,
    /// What is known beyond the file.
    pub wanted: &'a Wanted,
    /// Signs the bundle.
    pub key: Option<&'a SigningKey>,
    /// When it came, in microseconds since 1970, where that is known: whoever makes the bundle again makes the same. Else now.
    pub came_us: Option<i64>,
}

/// Reads a model file and keeps it as a bundle under `out/<name>/<version>`.
///
/// # Errors
/// When the file cannot be run exactly, contradicts the schema, or cannot be kept; nothing is written then.
pub fn import(
    format: Format,
    bytes: &[u8],
    options: &Options<'_>,
) -> Result<Imported, ImportError> {
    let origin = Origin {
        came_us: None,
        name: options.name,
        version: train::next_version(options.out, options.name.as_str()),
        file: options.origin,
        wanted: options.wanted,
        key: options.key,
    };
    let bundle = bundle(format, bytes, &origin)?;
    let path = train::write(&bundle, options.out)?;
    Ok(Imported { bundle, path })
}

/// Reads a model file as a bundle that is not written yet.
///
/// # Errors
/// When the file cannot be run exactly, or contradicts the schema.
pub fn bundle(format: Format, bytes: &[u8], origin: &Origin<'_>) -> Result<Bundle, ImportError> {
    refuse_other_kinds(format, bytes)?;
    let parts = match format {
        Format::Xgboost => forest::xgboost(bytes, origin.wanted)?,
        Format::Lightgbm => forest::lightgbm(bytes, origin.wanted)?,
        Format::Onnx => onnx::read(bytes, origin.wanted)?,
    };
    make(format, bytes, parts, origin)
}

/// A pickle can run code when it is loaded, so it is told apart before anything else is said.
fn refuse_other_kinds(format: Format, bytes: &[u8]) -> Result<(), ImportError> {
    let wanted = format.word();
    let start = &bytes[..bytes.len().min(16)];
    let looks_like_text = start.starts_with(b"tree");
    let refuse = |found, hint| {
        Err(ImportError::Kind {
            wanted,
            found,
            hint,
        })
    };
    match start {
        [] => refuse("it is empty", "save the model again"),
        [0x80, 2..=5, ..] | [b'P', b'K', 3, 4, ..] | [0x1f, 0x8b, ..] => refuse(
            "it looks like a pickle or an archive, which may run code when it is opened",
            "convert the model instead: skl2onnx.to_onnx(model, X[:1]).SerializeToString() for scikit-learn, \
             save_model(\"model.ubj\") for XGBoost, save_model(\"model.txt\") for LightGBM",
        ),
        [b'b', b'i', b'n', b'f', ..] => refuse(
            "it is in XGBoost's old binary format",
            "load it with XGBoost 2 and save it as .ubj or .json",
        ),
        _ if format == Format::Xgboost && looks_like_text => refuse(
            "it looks like LightGBM's text",
            "use `ombud import lightgbm`",
        ),
        [b'{', ..] if format != Format::Xgboost => refuse(
            "it looks like JSON or UBJSON",
            "use `ombud import xgboost` for a model of XGBoost; LightGBM's text comes from save_model, not dump_model",
        ),
        [first, ..]
            if format == Format::Xgboost
                && !matches!(first, b'{' | b' ' | b'\n' | b'\t' | b'\r') =>
        {
            refuse(
                "it begins like neither JSON nor UBJSON",
                "save it with booster.save_model(\"model.ubj\"), or use `ombud import onnx` for an ONNX file",
            )
        }
        _ => Ok(()),
    }
}

impl Format {
    /// The tool's name.
    pub fn word(self) -> &'static str {
        match self {
            Format::Xgboost => "XGBoost",
            Format::Lightgbm => "LightGBM",
            Format::Onnx => "ONNX",
        }
    }
}

fn make(
    format: Format,
    bytes: &[u8],
    mut parts: Parts,
    origin: &Origin<'_>,
) -> Result<Bundle, ImportError> {
    check_task(&parts, origin.wanted)?;
    check_names(&parts)?;
    let version = origin.version;
    let digest = digest_bytes(bytes);
    let manifest = Manifest {
        format: FORMAT,
        name: origin.name.clone(),
        version,
        label: Label::of(version),
        description: origin.wanted.description.clone(),
        created: origin
            .came_us
            .map_or_else(train::now_text, train::time_text),
        made_by: format!("ombud {}", env!("CARGO_PKG_VERSION")),
        task: parts.task,
        engine: parts.engine.to_owned(),
        schema: parts.schema,
        ensemble: None,
        outputs: parts.outputs,
        metrics: BTreeMap::new(),
        lineage: Lineage {
            recipe: None,
            data: None,
            seed: 0,
            parameters: parts.parameters,
            seconds: 0.0,
            imported_from: Some(format!(
                "{} file {} (sha256 {digest})",
                format.word(),
                origin.file
            )),
        },
        gates: Vec::new(),
        watch: Value::Null,
        retrain: Value::Null,
        warnings: parts.warnings,
        files: BTreeMap::new(),
    };
    let card = card::write(&manifest);
    train::add(&mut parts.files, train::CARD_FILE, card.into_bytes())?;
    let bundle = Bundle::make(manifest, parts.files, origin.key).map_err(TrainError::from)?;
    // Whoever opens the bundle later must not find what could have been found now.
    let opened = train::opened_again(&bundle)?;
    Model::from_bundle(opened).map_err(TrainError::from)?;
    Ok(bundle)
}

/// What a model answers is the file's to say; a schema may only repeat it, or say that classes have an order.
fn check_task(parts: &Parts, wanted: &Wanted) -> Result<(), ImportError> {
    match wanted.task {
        Some(task) if task != parts.task => Err(ImportError::Schema {
            what: format!(
                "says that the task is {task}, and the file answers with {}: {}",
                card::answers(&parts.outputs),
                parts.task
            ),
            hint: "leave `task` out, or say `ordered` of classes that have an order".into(),
        }),
        _ => Ok(()),
    }
}

/// Names of a file go into tables, cards and terminals: they have a bound and nothing that draws no letter.
fn check_names(parts: &Parts) -> Result<(), ImportError> {
    let features = parts.schema.features().iter();
    let features = features.map(|feature| ("a feature", feature.name.as_str()));
    let answers = parts.outputs.names().iter();
    let answers = answers.map(|name| ("a class", name.as_str()));
    for (what, name) in features.chain(answers) {
        let hint = match what {
            "a class" => "name the classes with `[data] levels` in --schema",
            _ => "rename the features before the model is trained or converted",
        };
        let refused = |reason: String| {
            Err(ImportError::Unsupported {
                what: format!("calls {what} {:?}, {reason}", shown::name(name)),
                hint: hint.into(),
            })
        };
        if name.len() > NAME_BYTES_MAX {
            let length = name.len();
            return refused(format!(
                "a name of {length} bytes; {NAME_BYTES_MAX} are allowed"
            ));
        }
        if name.contains(shown::is_obeyed) {
            return refused("a name with characters that draw nothing".into());
        }
        if name.trim().is_empty() {
            return refused("which is no name".into());
        }
    }
    match parts.outputs.repeated_name() {
        Some(name) => Err(ImportError::Unsupported {
            what: format!("calls two classes {name:?}"),
            hint: "name the classes with `[data] levels` in --schema".into(),
        }),
        None => Ok(()),
    }
}
