//! A model as clients of the protocol see it: its inputs and outputs as tensors, and Triton's configuration of it.
//!
//! A model whose features are all numbers takes one FP32 matrix, as its clients have always sent it; any other takes one
//! tensor per feature. Either may be sent to either ([`crate::rows`]); this is what is said of it.

use crate::messages::{ModelConfig, ModelInput, ModelOutput, ModelParameter, TensorMetadata};
use crate::tensor::Datatype;
use ombud_core::schema::{Kind, Schema};
use ombud_core::task::Outputs;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// The name of the one matrix.
pub const MATRIX: &str = "input";
/// The answer's class or segment.
pub const LABEL: &str = "label";
/// The labels that apply, in the order of the model's labels.
pub const LABELS: &str = "labels";
/// The answer's number.
pub const PREDICTION: &str = "prediction";
/// The ends of a number's interval.
pub const INTERVAL: &str = "interval";
/// The score of every class, label or segment, in the model's order.
pub const PROBABILITIES: &str = "probabilities";
/// What an outcome or an auditor names.
pub const DECISION_ID: &str = "decision_id";
/// Why, as JSON; computed only when it is asked for by name.
pub const EXPLANATION: &str = "explanation";

/// A tensor of a model, without its rows.
#[derive(Debug, Clone, PartialEq)]
pub struct Slot {
    pub name: String,
    pub datatype: Datatype,
    /// The sizes of one row.
    pub dims: Vec<i64>,
}

/// What is told of a model beside its tensors.
#[derive(Debug, Clone)]
pub struct About<'a> {
    pub name: &'a str,
    /// `forest`, `linear`, …
    pub engine: &'a str,
    pub schema: &'a Schema,
    pub outputs: &'a Outputs,
    pub rows_max: usize,
}

impl Slot {
    fn new(name: &str, datatype: Datatype, width: usize) -> Self {
        Slot {
            name: name.to_owned(),
            datatype,
            dims: vec![i64::try_from(width).unwrap_or(i64::MAX)],
        }
    }

    /// As metadata has it: with the rows, whose number is not fixed.
    pub fn metadata(&self) -> TensorMetadata {
        TensorMetadata {
            name: self.name.clone(),
            datatype: self.datatype.name().to_owned(),
            shape: std::iter::once(-1)
                .chain(self.dims.iter().copied())
                .collect(),
        }
    }
}

/// The inputs of a schema.
pub fn inputs(schema: &Schema) -> Vec<Slot> {
    let features = schema.features();
    if features
        .iter()
        .all(|feature| matches!(feature.kind, Kind::Number { .. }))
    {
        return vec![Slot::new(MATRIX, Datatype::Fp32, features.len())];
    }
    let slot = |feature: &ombud_core::Feature| {
        let (datatype, width) = match &feature.kind {
            Kind::Number { .. } => (Datatype::Fp64, 1),
            Kind::Ordinal { .. } | Kind::Category { .. } | Kind::Text => (Datatype::Bytes, 1),
            Kind::Sequence { steps, .. } => (Datatype::Fp64, *steps),
        };
        Slot::new(&feature.name, datatype, width)
    };
    features.iter().map(slot).collect()
}

/// The outputs of a model, in the order in which they are given when nobody names any.
pub fn outputs(outputs: &Outputs) -> Vec<Slot> {
    let scores = Slot::new(PROBABILITIES, Datatype::Fp64, outputs.width());
    let decision = Slot::new(DECISION_ID, Datatype::Bytes, 1);
    match outputs {
        Outputs::Classes { .. } | Outputs::Segments { .. } => {
            vec![Slot::new(LABEL, Datatype::Bytes, 1), scores, decision]
        }
        Outputs::Labels { names } => {
            vec![
                Slot::new(LABELS, Datatype::Bool, names.len()),
                scores,
                decision,
            ]
        }
        Outputs::Number { .. } => vec![Slot::new(PREDICTION, Datatype::Fp64, 1), decision],
    }
}

impl About<'_> {
    /// What kind of model it is.
    pub fn platform(&self) -> String {
        format!("ombud_{}", self.engine)
    }

    /// The names behind the matrix and the scores, for clients that show them.
    pub fn properties(&self) -> BTreeMap<String, String> {
        let features = self
            .schema
            .features()
            .iter()
            .map(|feature| feature.name.as_str());
        let features: Vec<&str> = features.collect();
        let mut properties = BTreeMap::new();
        properties.insert("features".to_owned(), json!(features).to_string());
        if !self.outputs.names().is_empty() {
            properties.insert(
                "classes".to_owned(),
                json!(self.outputs.names()).to_string(),
            );
        }
        if let Some(subject) = &self.schema.columns.subject {
            properties.insert("subject".to_owned(), subject.clone());
        }
        properties
    }

    /// Triton's configuration of the model.
    pub fn config(&self) -> ModelConfig {
        let input = |slot: Slot| ModelInput {
            name: slot.name,
            data_type: slot.datatype.config_number(),
            dims: slot.dims,
            optional: false,
        };
        let output = |slot: Slot| ModelOutput {
            name: slot.name,
            data_type: slot.datatype.config_number(),
            dims: slot.dims,
            label_filename: String::new(),
        };
        let parameter = |(name, string_value)| (name, ModelParameter { string_value });
        ModelConfig {
            name: self.name.to_owned(),
            platform: self.platform(),
            max_batch_size: i32::try_from(self.rows_max).unwrap_or(i32::MAX),
            input: inputs(self.schema).into_iter().map(input).collect(),
            output: outputs(self.outputs).into_iter().map(output).collect(),
            parameters: self.properties().into_iter().map(parameter).collect(),
            backend: "ombud".to_owned(),
        }
    }

    /// The same as JSON: enums by name, as Triton writes it.
    pub fn config_json(&self) -> Value {
        let slot = |slot: &Slot| json!({ "name": slot.name, "data_type": slot.datatype.config_name(), "dims": slot.dims });
        let parameters: serde_json::Map<String, Value> = self
            .properties()
            .into_iter()
            .map(|(name, text)| (name, json!({ "string_value": text })))
            .collect();
        json!({
            "name": self.name,
            "platform": self.platform(),
            "backend": "ombud",
            "version_policy": { "all": {} },
            "max_batch_size": self.rows_max,
            "input": inputs(self.schema).iter().map(slot).collect::<Vec<_>>(),
            "output": outputs(self.outputs).iter().map(slot).collect::<Vec<_>>(),
            "instance_group": [],
            "parameters": parameters,
        })
    }
}
