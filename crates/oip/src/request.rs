//! A request for answers, whichever way it came: JSON, JSON with binary tensors behind it, one raw tensor, or gRPC.
//!
//! What clients do decides where it and the published text differ: `null` stands where something may be left out, binary and
//! JSON tensors come in any mix, and unknown fields are passed over.

use crate::binary;
use crate::error::{Error, Result};
use crate::json;
use crate::messages::{
    InferInputTensor, InferParameter, InferTensorContents, ModelInferRequest, ParameterChoice,
};
use crate::model::Slot;
use crate::tensor::{Data, Datatype, Parameters, Tensor};
use bytes::Bytes;
use ombud_core::nearest::nearest;
use serde::{Deserialize, Deserializer};
use serde_json::Value;
use serde_json::value::RawValue;
use std::collections::BTreeMap;

/// A request for answers.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Request {
    pub id: Option<String>,
    pub parameters: Parameters,
    pub inputs: Vec<Tensor>,
    /// The outputs that are wanted; none named means all.
    pub outputs: Vec<Wanted>,
    /// Whether outputs that say nothing of it are to come as binary data.
    pub is_binary: bool,
}

/// An output that is wanted.
#[derive(Debug, Clone, PartialEq)]
pub struct Wanted {
    pub name: String,
    pub is_binary: bool,
    /// The best so many classes instead of all scores.
    pub classification: Option<usize>,
}

/// What a model's repository is told in parameters: a region of shared memory is read by nobody here.
const SHARED_MEMORY: &str = "shared_memory_region";
const BINARY_SIZE: &str = "binary_data_size";
/// Parameters of a request that are read here.
const OURS: [&str; 4] = [
    "environment",
    "subject",
    "idempotency_key",
    "binary_data_output",
];
/// Names that the protocol, Triton or MLServer give, which are no mistake of spelling.
const OF_OTHERS: [&str; 5] = [
    "content_type",
    "binary_data",
    "binary_data_size",
    "triton_enable_empty_final_response",
    "headers",
];

impl Request {
    /// Reads a body. With binary tensors, the header tells how long the JSON before them is.
    pub fn from_body(body: &Bytes, header_length: Option<usize>) -> Result<Self> {
        let length = header_length.unwrap_or(body.len());
        if length > body.len() {
            return Err(Error::HeaderLength {
                came: length,
                length: body.len(),
            });
        }
        let plain = &body[..length];
        json::refuse_list(plain)?;
        let mended;
        let header: RequestJson<'_> = match serde_json::from_slice(plain) {
            Ok(header) => header,
            Err(error) => {
                let wrong = |error: serde_json::Error| Error::Json(error.to_string());
                mended = json::without_nan(plain).ok_or_else(|| wrong(error))?;
                serde_json::from_slice(&mended).map_err(wrong)?
            }
        };
        let mut binary = body.slice(length..);
        let inputs = header
            .inputs
            .into_iter()
            .map(|input| input.read(&mut binary));
        let inputs = inputs.collect::<Result<Vec<Tensor>>>()?;
        if !binary.is_empty() {
            return Err(Error::BinaryLeft(binary.len()));
        }
        let is_binary = flag(&header.parameters, "binary_data_output")?.unwrap_or_default();
        let outputs = header.outputs.into_iter().map(|output| {
            Ok(Wanted {
                is_binary: flag(&output.parameters, "binary_data")?.unwrap_or(is_binary),
                classification: classification(&output.parameters)?,
                name: output.name,
            })
        });
        Request {
            id: header.id,
            outputs: outputs.collect::<Result<_>>()?,
            parameters: header.parameters,
            inputs,
            is_binary,
        }
        .checked()
    }

    /// A body that is nothing but the bytes of a model's only input.
    pub fn from_raw(body: Bytes, inputs: &[Slot]) -> Result<Self> {
        let [input] = inputs else {
            return Err(Error::RawInputs(inputs.len()));
        };
        let width: u64 = input.dims.iter().map(|size| size.unsigned_abs()).product();
        let data = match input.datatype {
            Datatype::Bytes => Data::Texts(vec![Some(body)]),
            datatype => binary::read(&input.name, datatype, body)?,
        };
        let rows = (data.len() as u64).checked_div(width).unwrap_or_default();
        let shape = std::iter::once(rows).chain(input.dims.iter().map(|size| size.unsigned_abs()));
        let tensor = Tensor {
            name: input.name.clone(),
            datatype: input.datatype,
            shape: shape.collect(),
            parameters: Parameters::new(),
            data,
        };
        let request = Request {
            inputs: vec![tensor.check()?],
            is_binary: true,
            ..Request::default()
        };
        request.checked()
    }

    /// Reads a message of gRPC. Raw contents are all or nothing, and are answered raw.
    pub fn from_message(message: ModelInferRequest) -> Result<Self> {
        let is_raw = !message.raw_input_contents.is_empty();
        let (came, inputs) = (message.raw_input_contents.len(), message.inputs.len());
        if is_raw && came != inputs {
            return Err(Error::RawParts { came, inputs });
        }
        if let Some(twice) = message
            .inputs
            .iter()
            // MLServer's clients send empty ones beside raw ones.
            .find(|input| {
                is_raw
                    && input
                        .contents
                        .as_ref()
                        .is_some_and(|contents| *contents != InferTensorContents::default())
            })
        {
            return Err(Error::Data {
                tensor: twice.name.chars().take(80).collect(),
                datatype: "raw",
                reason: "the message has raw contents, and this tensor typed ones too".to_owned(),
            });
        }
        let mut raw = message.raw_input_contents.into_iter();
        let inputs = message
            .inputs
            .into_iter()
            .map(|input| input.read(raw.next()));
        let inputs = inputs.collect::<Result<Vec<Tensor>>>()?;
        let outputs = message.outputs.into_iter().map(|output| {
            let parameters = values(output.parameters);
            Ok(Wanted {
                is_binary: is_raw,
                classification: classification(&parameters)?,
                name: output.name,
            })
        });
        Request {
            id: (!message.id.is_empty()).then_some(message.id),
            outputs: outputs.collect::<Result<_>>()?,
            parameters: values(message.parameters),
            inputs,
            is_binary: is_raw,
        }
        .checked()
    }

    /// A parameter that is a text.
    pub fn text(&self, name: &str) -> Result<Option<&str>> {
        match self.parameters.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(other) => Err(wrong(name, other, "a text")),
        }
    }

    /// A parameter that is true or false.
    pub fn flag(&self, name: &str) -> Result<bool> {
        Ok(flag(&self.parameters, name)?.unwrap_or_default())
    }

    pub(crate) fn checked(self) -> Result<Self> {
        refuse_near_misses(self.parameters.keys())?;
        if self.inputs.is_empty() {
            return Err(Error::NoInputs);
        }
        for (place, input) in self.inputs.iter().enumerate() {
            if self.inputs[..place]
                .iter()
                .any(|before| before.name == input.name)
            {
                return Err(Error::Twice {
                    tensor: input.name.clone(),
                });
            }
        }
        Ok(self)
    }
}

/// Refuses a parameter that is nearly one of ours. Others are passed over, as the protocol wants; but one that was meant for
/// us and misspelt would be answered from another environment, or about nobody.
pub fn refuse_near_misses<'a>(names: impl IntoIterator<Item = &'a String>) -> Result<()> {
    for came in names.into_iter().map(String::as_str) {
        if OURS.contains(&came) || OF_OTHERS.contains(&came) {
            continue;
        }
        if let Some(near) = nearest(came, OURS) {
            return Err(Error::UnknownParameter {
                came: came.chars().take(80).collect(),
                nearest: near.to_owned(),
            });
        }
    }
    Ok(())
}

/// Parameters of gRPC as values.
pub fn values(parameters: BTreeMap<String, InferParameter>) -> Parameters {
    let value = |parameter: InferParameter| match parameter.choice {
        Some(ParameterChoice::Bool(flag)) => Value::from(flag),
        Some(ParameterChoice::Int(number)) => Value::from(number),
        Some(ParameterChoice::Uint(number)) => Value::from(number),
        Some(ParameterChoice::Double(number)) => Value::from(number),
        Some(ParameterChoice::Text(text)) => Value::from(text),
        None => Value::Null,
    };
    parameters
        .into_iter()
        .map(|(name, parameter)| (name, value(parameter)))
        .collect()
}

fn flag(parameters: &Parameters, name: &str) -> Result<Option<bool>> {
    match parameters.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::Bool(flag)) => Ok(Some(*flag)),
        Some(other) => Err(wrong(name, other, "true or false")),
    }
}

fn classification(parameters: &Parameters) -> Result<Option<usize>> {
    match parameters.get("classification") {
        None | Some(Value::Null) => Ok(None),
        // Triton's clients send 0 where nobody asked for classes.
        Some(value) => match value.as_u64() {
            Some(count) => Ok((count > 0).then_some(usize::try_from(count).unwrap_or(usize::MAX))),
            None => Err(wrong("classification", value, "a number of classes")),
        },
    }
}

fn wrong(name: &str, came: &Value, allowed: &'static str) -> Error {
    let came = came.to_string().chars().take(60).collect();
    Error::Parameter {
        parameter: name.to_owned(),
        came,
        allowed,
    }
}

#[derive(Deserialize)]
struct RequestJson<'a> {
    #[serde(default)]
    id: Option<String>,
    #[serde(default, deserialize_with = "or_default")]
    parameters: Parameters,
    #[serde(borrow)]
    inputs: Vec<InputJson<'a>>,
    #[serde(default, deserialize_with = "or_default")]
    outputs: Vec<OutputJson>,
}

#[derive(Deserialize)]
struct InputJson<'a> {
    name: String,
    shape: Vec<u64>,
    datatype: String,
    #[serde(default, deserialize_with = "or_default")]
    parameters: Parameters,
    #[serde(borrow, default)]
    data: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct OutputJson {
    name: String,
    #[serde(default, deserialize_with = "or_default")]
    parameters: Parameters,
}

fn or_default<'de, D: Deserializer<'de>, T: Default + Deserialize<'de>>(
    deserializer: D,
) -> std::result::Result<T, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

impl InputJson<'_> {
    /// Takes its part of the binary data, or reads its JSON.
    fn read(self, binary: &mut Bytes) -> Result<Tensor> {
        refuse_shared_memory(&self.name, &self.parameters)?;
        let datatype = Datatype::parse(&self.datatype)?;
        let data = match (self.parameters.get(BINARY_SIZE), self.data) {
            (Some(size), _) => {
                let came = binary.len();
                let expected = size.as_u64().and_then(|size| usize::try_from(size).ok());
                let expected =
                    expected.ok_or_else(|| wrong(BINARY_SIZE, size, "a number of bytes"))?;
                if expected > came {
                    return Err(Error::BinaryShort {
                        tensor: self.name,
                        expected,
                        came,
                    });
                }
                binary::read(&self.name, datatype, binary.split_to(expected))?
            }
            (None, Some(data)) => {
                let elements_max = Tensor::elements(&self.name, &self.shape)?;
                json::read(&self.name, datatype, data.get(), elements_max)?
            }
            (None, None) => return Err(Error::NoData { tensor: self.name }),
        };
        Tensor {
            name: self.name,
            datatype,
            shape: self.shape,
            parameters: self.parameters,
            data,
        }
        .check()
    }
}

impl InferInputTensor {
    fn read(self, raw: Option<Bytes>) -> Result<Tensor> {
        let parameters = values(self.parameters);
        refuse_shared_memory(&self.name, &parameters)?;
        let datatype = Datatype::parse(&self.datatype)?;
        let shape = self.shape.iter().map(|size| u64::try_from(*size));
        let shape = shape
            .collect::<std::result::Result<Vec<u64>, _>>()
            .map_err(|_| Error::Shape {
                tensor: self.name.clone(),
            })?;
        let data = match (raw, self.contents) {
            (Some(bytes), _) => binary::read(&self.name, datatype, bytes)?,
            (None, Some(contents)) => contents.read(&self.name, datatype)?,
            (None, None) => return Err(Error::NoData { tensor: self.name }),
        };
        Tensor {
            name: self.name,
            datatype,
            shape,
            parameters,
            data,
        }
        .check()
    }
}

/// Numbers that came in a field wider than their datatype; one that does not fit is refused, as it is in JSON.
fn narrow<Narrow, Carried, Wide>(
    tensor: &str,
    datatype: Datatype,
    values: Vec<Carried>,
) -> Result<Vec<Wide>>
where
    Carried: Copy + std::fmt::Display + TryInto<Narrow>,
    Wide: From<Narrow>,
{
    let fits = |value: Carried| {
        let narrow = TryInto::<Narrow>::try_into(value);
        narrow.map(Wide::from).map_err(|_| Error::Data {
            tensor: tensor.to_owned(),
            datatype: datatype.name(),
            reason: format!("{value} is beyond it"),
        })
    };
    values.into_iter().map(fits).collect()
}

impl InferTensorContents {
    fn read(self, tensor: &str, datatype: Datatype) -> Result<Data> {
        Ok(match datatype {
            Datatype::Bool => Data::Bools(self.bool_contents),
            Datatype::Int8 => Data::Ints(narrow::<i8, _, _>(tensor, datatype, self.int_contents)?),
            Datatype::Int16 => {
                Data::Ints(narrow::<i16, _, _>(tensor, datatype, self.int_contents)?)
            }
            Datatype::Int32 => {
                Data::Ints(narrow::<i32, _, _>(tensor, datatype, self.int_contents)?)
            }
            Datatype::Int64 => Data::Ints(self.int64_contents),
            Datatype::Uint8 => {
                Data::Uints(narrow::<u8, _, _>(tensor, datatype, self.uint_contents)?)
            }
            Datatype::Uint16 => {
                Data::Uints(narrow::<u16, _, _>(tensor, datatype, self.uint_contents)?)
            }
            Datatype::Uint32 => {
                Data::Uints(narrow::<u32, _, _>(tensor, datatype, self.uint_contents)?)
            }
            Datatype::Uint64 => Data::Uints(self.uint64_contents),
            Datatype::Fp32 => Data::Singles(self.fp32_contents),
            Datatype::Fp64 => Data::Doubles(self.fp64_contents),
            Datatype::Bytes => Data::Texts(self.bytes_contents.into_iter().map(Some).collect()),
            Datatype::Fp16 | Datatype::Bf16 => {
                return Err(Error::BinaryOnly {
                    tensor: tensor.to_owned(),
                    datatype: datatype.name(),
                });
            }
        })
    }
}

fn refuse_shared_memory(tensor: &str, parameters: &Parameters) -> Result<()> {
    if parameters.contains_key(SHARED_MEMORY) {
        return Err(Error::SharedMemory {
            tensor: tensor.to_owned(),
        });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body(json: &str, binary: &[u8]) -> (Bytes, Option<usize>) {
        let length = (!binary.is_empty()).then_some(json.len());
        (Bytes::from([json.as_bytes(), binary].concat()), length)
    }

    #[test]
    fn binary_and_json_inputs_come_in_any_mix() {
        let (body, length) = body(
            r#"{"id":"7","parameters":null,"inputs":[
                {"name":"a","shape":[2],"datatype":"FP32","parameters":{"binary_data_size":8}},
                {"name":"b","shape":[2],"datatype":"BYTES","data":["x",null]},
                {"name":"c","shape":[2,1],"datatype":"BOOL","parameters":{"binary_data_size":2}}],
                "outputs":[{"name":"label","parameters":{"binary_data":true,"classification":0}},{"name":"probabilities"}]}"#,
            &[0, 0, 128, 63, 0, 0, 0, 64, 1, 0],
        );
        let request = Request::from_body(&body, length).expect("a request");
        assert_eq!(request.id.as_deref(), Some("7"));
        assert_eq!(request.inputs[0].data, Data::Singles(vec![1.0, 2.0]));
        assert_eq!(
            request.inputs[1].data,
            Data::Texts(vec![Some(Bytes::from("x")), None])
        );
        assert_eq!(request.inputs[2].data, Data::Bools(vec![true, false]));
        let binary: Vec<bool> = request
            .outputs
            .iter()
            .map(|output| output.is_binary)
            .collect();
        assert_eq!(binary, [true, false]);
        assert_eq!(request.outputs[0].classification, None);
    }

    #[test]
    fn what_does_not_add_up_is_refused() {
        let input = |more: &str| {
            format!(r#"{{"inputs":[{{"name":"a","shape":[2],"datatype":"FP32"{more}}}]}}"#)
        };
        let said = |json: &str, binary: &[u8]| {
            let (body, length) = body(json, binary);
            Request::from_body(&body, length).expect_err("refused")
        };
        assert!(matches!(
            said(&input(r#","data":[1]"#), &[]),
            Error::Elements { .. }
        ));
        assert!(matches!(said(&input(""), &[]), Error::NoData { .. }));
        let sized = input(r#","parameters":{"binary_data_size":8}"#);
        assert!(matches!(said(&sized, &[0; 7]), Error::BinaryShort { .. }));
        assert!(matches!(said(&sized, &[0; 9]), Error::BinaryLeft(1)));
        assert!(matches!(said(r#"{"inputs":[]}"#, &[]), Error::NoInputs));
        let huge = r#"{"inputs":[{"name":"a","shape":[18446744073709551615,2],"datatype":"FP32","data":[]}]}"#;
        assert!(matches!(said(huge, &[]), Error::Shape { .. }));
        let header = Request::from_body(&Bytes::from_static(b"{}"), Some(9));
        assert!(matches!(header, Err(Error::HeaderLength { .. })));
    }

    #[test]
    fn a_list_is_no_request_and_a_misspelt_parameter_is_not_passed_over() {
        let said = |json: &str| {
            let (body, length) = body(json, &[]);
            Request::from_body(&body, length)
        };
        let input = r#"{"name":"a","shape":[1],"datatype":"FP32","data":[1]}"#;
        let list = format!(r#" ["7",{{}},[{input}],[]]"#);
        assert!(matches!(said(&list), Err(Error::NoObject)));
        let with = |name: &str| {
            said(&format!(
                r#"{{"parameters":{{"{name}":"x"}},"inputs":[{input}]}}"#
            ))
        };
        let refused = with("enviroment").expect_err("misspelt").to_string();
        assert!(refused.contains("is it \"environment\"?"), "{refused}");
        for passed in [
            "environment",
            "priority",
            "headers",
            "binary_data",
            "temperature",
        ] {
            assert!(with(passed).is_ok(), "{passed}");
        }
    }

    #[test]
    fn a_typed_number_beyond_its_datatype_is_refused() {
        let read = |datatype: &str, contents: InferTensorContents| {
            let tensor = InferInputTensor {
                name: "a".to_owned(),
                datatype: datatype.to_owned(),
                shape: vec![1],
                contents: Some(contents),
                ..InferInputTensor::default()
            };
            tensor.read(None)
        };
        let int = |value| InferTensorContents {
            int_contents: vec![value],
            ..InferTensorContents::default()
        };
        let uint = |value| InferTensorContents {
            uint_contents: vec![value],
            ..InferTensorContents::default()
        };
        assert!(read("INT8", int(-128)).is_ok());
        assert!(read("INT16", int(300)).is_ok());
        assert!(read("UINT8", uint(255)).is_ok());
        let refused = [
            read("INT8", int(300)),
            read("INT16", int(-32_769)),
            read("UINT8", uint(256)),
            read("UINT16", uint(65_536)),
        ];
        for refused in refused {
            assert!(matches!(refused, Err(Error::Data { .. })), "{refused:?}");
        }
    }

    #[test]
    fn a_raw_body_is_the_only_input() {
        let slot = Slot {
            name: "input".to_owned(),
            datatype: Datatype::Fp32,
            dims: vec![2],
        };
        let slots = std::slice::from_ref(&slot);
        let request = Request::from_raw(Bytes::from(vec![0; 16]), slots).expect("a request");
        assert_eq!(request.inputs[0].shape, [2, 2]);
        assert!(request.is_binary);
        assert!(Request::from_raw(Bytes::from(vec![0; 12]), slots).is_err());
        assert!(matches!(
            Request::from_raw(Bytes::new(), &[slot.clone(), slot]),
            Err(Error::RawInputs(2))
        ));
    }
}
