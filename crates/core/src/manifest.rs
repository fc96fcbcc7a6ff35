//! What is known of a bundle: identity, schema, outputs, metrics, lineage and the digest of every other file.
//!
//! The manifest is the one file a loader reads first and trusts least; its own bytes are covered by the signature, and
//! its digest is the bundle's identity. It is kept as plain data with one version number, so that a bundle of today can
//! be read by a program of next year ([`FORMAT`]). A field this format does not know is refused: a loader that skips what
//! it cannot read would let two programs see two different models under one digest.

use crate::digest::Digest;
use crate::ensemble::Ensemble;
use crate::metrics::Metrics;
use crate::name::ModelName;
use crate::schema::Schema;
use crate::task::{Outputs, Task};
use crate::version::{Label, Version};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The format this program writes; it reads this one and the older ones.
pub const FORMAT: u32 = 1;

/// The manifest of a bundle.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// The format of the bundle.
    pub format: u32,
    /// The model's name.
    pub name: ModelName,
    /// The place in the order of registration.
    pub version: Version,
    /// The label people read.
    pub label: Label,
    /// One sentence for people.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub description: String,
    /// When it was made, RFC 3339 in UTC.
    pub created: String,
    /// The program that made it.
    pub made_by: String,
    /// What it is asked to do.
    pub task: Task,
    /// The engine that runs it: `forest`, `linear`, `clusters`, `onnx`.
    pub engine: String,
    /// What it takes.
    pub schema: Schema,
    /// The bundles it asks first, when there are any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ensemble: Option<Ensemble>,
    /// What it gives.
    pub outputs: Outputs,
    /// Measured on rows that training did not see.
    pub metrics: Metrics,
    /// Where it comes from.
    pub lineage: Lineage,
    /// Conditions it had to pass, and whether it did.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub gates: Vec<GateResult>,
    /// What to watch once it serves, as the recipe says it.
    #[serde(default, skip_serializing_if = "serde_json::Value::is_null")]
    pub watch: serde_json::Value,
    /// When to retrain, as the recipe says it.
    #[serde(default, skip_serializing_if = "serde_json::Value::is_null")]
    pub retrain: serde_json::Value,
    /// Things a person should know before using it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
    /// Every other file of the bundle, by name.
    pub files: BTreeMap<String, FileEntry>,
}

/// A file of a bundle.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileEntry {
    /// Digest of its bytes.
    pub sha256: Digest,
    /// Length in bytes.
    pub bytes: u64,
}

/// Where a bundle comes from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Lineage {
    /// The recipe's text, when one was used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recipe: Option<String>,
    /// Digest of the data that was read, over every source file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data: Option<DataPrint>,
    /// The seed of everything random.
    #[serde(default)]
    pub seed: u64,
    /// Parameters of the algorithm as they were used.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub parameters: BTreeMap<String, serde_json::Value>,
    /// How long training took, in seconds.
    #[serde(default)]
    pub seconds: f64,
    /// For an imported model: where it was made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub imported_from: Option<String>,
}

/// The fingerprint of a data set.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DataPrint {
    /// The source as the recipe or command names it.
    pub source: String,
    /// Digest of the bytes.
    pub sha256: Digest,
    /// Rows read.
    pub rows: u64,
    /// Rows the final weights were fitted on.
    pub rows_fitted: u64,
    /// Rows held out to measure.
    pub rows_validation: u64,
}

/// A gate's result.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GateResult {
    /// The gate, as the recipe names it.
    pub name: String,
    /// Whether the candidate passed.
    pub passed: bool,
    /// What was measured; absent when there was nothing to measure with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub measured: Option<f64>,
    /// The limit, as `>= 0.85` or `<= 0.05`.
    pub limit: String,
    /// Why, when the numbers alone do not say it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub note: String,
}
