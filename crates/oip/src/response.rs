//! An answer, and how it leaves: JSON, JSON with binary tensors behind it, or gRPC.

use crate::binary;
use crate::messages::{
    InferOutputTensor, InferParameter, InferTensorContents, ModelInferResponse, ParameterChoice,
};
use crate::tensor::{Data, Parameters, Tensor};
use bytes::Bytes;
use serde::Serialize;
use serde_json::Value;
use std::collections::BTreeMap;

/// An answer.
#[derive(Debug, Clone, PartialEq)]
pub struct Response {
    pub model_name: String,
    pub model_version: String,
    pub id: Option<String>,
    pub parameters: Parameters,
    pub outputs: Vec<Output>,
}

/// A tensor of an answer.
#[derive(Debug, Clone, PartialEq)]
pub struct Output {
    pub tensor: Tensor,
    pub is_binary: bool,
}

/// A body, and how long the JSON before its binary tensors is, when there are any.
#[derive(Debug, Clone, PartialEq)]
pub struct Body {
    pub bytes: Vec<u8>,
    pub header_length: Option<usize>,
}

#[derive(Serialize)]
struct ResponseJson<'a> {
    model_name: &'a str,
    model_version: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<&'a str>,
    #[serde(skip_serializing_if = "Parameters::is_empty")]
    parameters: &'a Parameters,
    outputs: Vec<OutputJson<'a>>,
}

#[derive(Serialize)]
struct OutputJson<'a> {
    name: &'a str,
    shape: &'a [u64],
    datatype: &'static str,
    #[serde(skip_serializing_if = "Parameters::is_empty")]
    parameters: Parameters,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<&'a Data>,
}

impl Response {
    /// The body of an answer over HTTP.
    ///
    /// # Errors
    /// Never for what this room makes: JSON of plain fields.
    pub fn to_body(&self) -> Result<Body, serde_json::Error> {
        let mut binary = Vec::new();
        let outputs = self.outputs.iter().map(|output| {
            let tensor = &output.tensor;
            let mut parameters = tensor.parameters.clone();
            if output.is_binary {
                let bytes = binary::write(&tensor.data);
                parameters.insert("binary_data_size".to_owned(), Value::from(bytes.len()));
                binary.extend_from_slice(&bytes);
            }
            OutputJson {
                name: &tensor.name,
                shape: &tensor.shape,
                datatype: tensor.datatype.name(),
                parameters,
                data: (!output.is_binary).then_some(&tensor.data),
            }
        });
        let json = ResponseJson {
            model_name: &self.model_name,
            model_version: &self.model_version,
            id: self.id.as_deref(),
            parameters: &self.parameters,
            outputs: outputs.collect(),
        };
        let mut bytes = serde_json::to_vec(&json)?;
        let is_mixed = self.outputs.iter().any(|output| output.is_binary);
        let header_length = is_mixed.then_some(bytes.len());
        bytes.extend_from_slice(&binary);
        Ok(Body {
            bytes,
            header_length,
        })
    }

    /// The message of an answer over gRPC: all raw, or all typed.
    pub fn into_message(self, is_raw: bool) -> ModelInferResponse {
        let mut raw_output_contents = Vec::new();
        let outputs = self.outputs.into_iter().map(|output| {
            let tensor = output.tensor;
            let contents = if is_raw {
                raw_output_contents.push(Bytes::from(binary::write(&tensor.data)));
                None
            } else {
                Some(InferTensorContents::of(tensor.data))
            };
            InferOutputTensor {
                name: tensor.name,
                datatype: tensor.datatype.name().to_owned(),
                // A size that is no i64 cannot be in memory.
                shape: tensor
                    .shape
                    .iter()
                    .map(|size| i64::try_from(*size).unwrap_or(i64::MAX))
                    .collect(),
                parameters: messages(tensor.parameters),
                contents,
            }
        });
        ModelInferResponse {
            model_name: self.model_name,
            model_version: self.model_version,
            id: self.id.unwrap_or_default(),
            parameters: messages(self.parameters),
            outputs: outputs.collect(),
            raw_output_contents,
        }
    }
}

impl InferTensorContents {
    fn of(data: Data) -> Self {
        let empty = InferTensorContents::default();
        match data {
            Data::Bools(values) => InferTensorContents {
                bool_contents: values,
                ..empty
            },
            Data::Ints(values) => InferTensorContents {
                int64_contents: values,
                ..empty
            },
            Data::Uints(values) => InferTensorContents {
                uint64_contents: values,
                ..empty
            },
            Data::Singles(values) => InferTensorContents {
                fp32_contents: values,
                ..empty
            },
            Data::Doubles(values) => InferTensorContents {
                fp64_contents: values,
                ..empty
            },
            Data::Texts(values) => InferTensorContents {
                bytes_contents: values.into_iter().map(Option::unwrap_or_default).collect(),
                ..empty
            },
        }
    }
}

fn messages(parameters: Parameters) -> BTreeMap<String, InferParameter> {
    let choice = |value: Value| match value {
        Value::Bool(flag) => ParameterChoice::Bool(flag),
        Value::String(text) => ParameterChoice::Text(text),
        Value::Number(number) => match (number.as_i64(), number.as_f64()) {
            (Some(whole), _) => ParameterChoice::Int(whole),
            (None, Some(real)) => ParameterChoice::Double(real),
            (None, None) => ParameterChoice::Text(number.to_string()),
        },
        other => ParameterChoice::Text(other.to_string()),
    };
    let message = |(name, value)| {
        (
            name,
            InferParameter {
                choice: Some(choice(value)),
            },
        )
    };
    parameters.into_iter().map(message).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tensor::Datatype;

    fn output(name: &str, datatype: Datatype, data: Data, is_binary: bool) -> Output {
        let tensor = Tensor {
            name: name.to_owned(),
            datatype,
            shape: vec![data.len() as u64],
            parameters: Parameters::new(),
            data,
        };
        Output { tensor, is_binary }
    }

    #[test]
    fn binary_outputs_stand_behind_the_json_in_their_order() {
        let response = Response {
            model_name: "claims".to_owned(),
            model_version: "3".to_owned(),
            id: Some("7".to_owned()),
            parameters: Parameters::new(),
            outputs: vec![
                output(
                    "label",
                    Datatype::Bytes,
                    Data::Texts(vec![Some(Bytes::from("won"))]),
                    true,
                ),
                output(
                    "probabilities",
                    Datatype::Fp64,
                    Data::Doubles(vec![0.25, 0.75]),
                    false,
                ),
            ],
        };
        let body = response.to_body().expect("a body");
        let length = body.header_length.expect("binary data");
        let (json, binary) = body.bytes.split_at(length);
        assert_eq!(binary, b"\x03\x00\x00\x00won");
        let json: Value = serde_json::from_slice(json).expect("JSON");
        assert_eq!(json["outputs"][0]["parameters"]["binary_data_size"], 7);
        assert!(json["outputs"][0].get("data").is_none());
        assert_eq!(json["outputs"][1]["data"], serde_json::json!([0.25, 0.75]));
        let message = response.into_message(true);
        assert_eq!(message.raw_output_contents.len(), 2);
        assert!(
            message
                .outputs
                .iter()
                .all(|output| output.contents.is_none())
        );
    }
}
