//! Triton's generate form: one row as a plain JSON object with a key per input, one answer with a key per output.
//!
//! Triton takes a key that is no input for a parameter. Here such a key is refused, because a feature that is misspelt would be
//! missing from the decision without a word; parameters stand under `parameters`. What a model calls its own is its own: a
//! feature named `id` is read as a feature.

use crate::error::{Error, Result};
use crate::json::{self, Pairs};
use crate::request::Request;
use crate::response::Response;
use crate::rows::is_subject;
use crate::tensor::{Data, Datatype, Parameters, Tensor};
use bytes::Bytes;
use ombud_core::schema::Schema;
use serde_json::{Map, Value};

const ID: &str = "id";
const PARAMETERS: &str = "parameters";
const INPUTS: &str = "inputs";

/// What came: one row by its inputs' names, or, as MLServer takes it at the same address, a request with tensors.
#[derive(Debug, Clone, PartialEq)]
pub enum Asked {
    Row(Row),
    Tensors(Request),
}

/// A row, not read under a schema yet.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    /// What stands under `parameters`.
    pub parameters: Parameters,
    fields: Vec<(String, Value)>,
}

/// Reads a body.
pub fn read(body: &Bytes) -> Result<Asked> {
    json::refuse_list(body)?;
    let Pairs(mut fields) = fields(body)?;
    if fields.iter().any(is_tensors) {
        return Request::from_body(body, None).map(Asked::Tensors);
    }
    let mut parameters = None;
    for (_, value) in fields.extract_if(.., |(name, value)| is_parameters(name, value)) {
        let named = value.as_object().cloned().unwrap_or_default();
        if parameters.replace(named).is_some() {
            return Err(twice(PARAMETERS));
        }
    }
    let parameters = parameters.unwrap_or_default().into_iter().collect();
    Ok(Asked::Row(Row { parameters, fields }))
}

impl Row {
    /// The request of a model with this schema.
    pub fn under(self, schema: &Schema) -> Result<Request> {
        let is_own = |name: &str| schema.position(name).is_some() || is_subject(schema, name);
        let mut request = Request {
            parameters: self.parameters,
            ..Request::default()
        };
        for (name, value) in self.fields {
            let id = match &value {
                _ if name != ID || is_own(ID) => None,
                Value::String(id) => Some(id.clone()),
                Value::Number(id) => Some(id.to_string()),
                _ => None,
            };
            match id {
                Some(_) if request.id.is_some() => return Err(twice(ID)),
                Some(id) => request.id = Some(id),
                None => request.inputs.push(tensor(name, value)?),
            }
        }
        request.checked()
    }
}

/// The answer about the one row: what is a single value stands alone, several stand in a list.
#[must_use]
pub fn write(response: &Response) -> Map<String, Value> {
    let mut told = Map::new();
    told.insert("model_name".to_owned(), response.model_name.clone().into());
    let version = response.model_version.clone();
    told.insert("model_version".to_owned(), version.into());
    if let Some(id) = &response.id {
        told.insert(ID.to_owned(), id.clone().into());
    }
    for (name, value) in &response.parameters {
        told.insert(name.clone(), value.clone());
    }
    for output in &response.outputs {
        let tensor = &output.tensor;
        // Numbers, flags and texts are JSON; what could not be written is told as missing.
        let value = match serde_json::to_value(&tensor.data) {
            Ok(Value::Array(mut values)) if values.len() == 1 => values.remove(0),
            Ok(values) => values,
            Err(_) => Value::Null,
        };
        told.insert(tensor.name.clone(), value);
    }
    told
}

/// A feature of that name has a value, and no object.
fn is_parameters(name: &str, value: &Value) -> bool {
    name == PARAMETERS && (value.is_object() || value.is_null())
}

fn is_tensors((name, value): &(String, Value)) -> bool {
    let is_tensor = |value: &Value| value.get("datatype").is_some();
    name == INPUTS
        && value
            .as_array()
            .is_some_and(|values| values.iter().any(is_tensor))
}

/// One value, or a flat list of values, of one row.
fn tensor(name: String, value: Value) -> Result<Tensor> {
    let values = match value {
        Value::Array(values) => values,
        single => vec![single],
    };
    let (datatype, data) = data(&values).ok_or_else(|| Error::Data {
        tensor: name.chars().take(80).collect(),
        datatype: "a generate request",
        reason: "it takes a value, or a list of values of one kind".to_owned(),
    })?;
    Ok(Tensor {
        shape: vec![1, values.len() as u64],
        name,
        datatype,
        parameters: Parameters::new(),
        data,
    })
}

/// What the values are is seen by themselves; whether that is what a feature takes, its model judges.
fn data(values: &[Value]) -> Option<(Datatype, Data)> {
    let present = || values.iter().filter(|value| !value.is_null());
    let is_whole = values.iter().all(Value::is_i64);
    if is_whole {
        let whole = values.iter().filter_map(Value::as_i64).collect();
        return Some((Datatype::Int64, Data::Ints(whole)));
    }
    if values.iter().all(Value::is_boolean) {
        let flags = values.iter().filter_map(Value::as_bool).collect();
        return Some((Datatype::Bool, Data::Bools(flags)));
    }
    if present().all(Value::is_string) {
        let text = |value: &Value| value.as_str().map(|text| Bytes::from(text.to_owned()));
        let texts = values.iter().map(text).collect();
        return Some((Datatype::Bytes, Data::Texts(texts)));
    }
    if present().all(Value::is_number) {
        let number = |value: &Value| value.as_f64().unwrap_or(f64::NAN);
        let numbers = values.iter().map(number).collect();
        return Some((Datatype::Fp64, Data::Doubles(numbers)));
    }
    None
}

fn fields(body: &[u8]) -> Result<Pairs<Value>> {
    let wrong = |error: serde_json::Error| Error::Json(error.to_string());
    match serde_json::from_slice(body) {
        Ok(fields) => Ok(fields),
        Err(error) => {
            let mended = json::without_nan(body).ok_or_else(|| wrong(error))?;
            serde_json::from_slice(&mended).map_err(wrong)
        }
    }
}

fn twice(name: &str) -> Error {
    Error::Twice {
        tensor: name.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::response::Output;
    use ombud_core::schema::{Columns, Feature, Kind};

    fn request_of(features: &[&str], subject: Option<&str>, body: &str) -> Result<Request> {
        let features = features.iter().map(|name| Feature::new(name, Kind::Text));
        let columns = Columns {
            subject: subject.map(str::to_owned),
            ..Columns::default()
        };
        let schema = Schema::new(features.collect(), columns).expect("a schema");
        match read(&Bytes::from(body.to_owned()))? {
            Asked::Row(row) => row.under(&schema),
            Asked::Tensors(request) => panic!("no row: {request:?}"),
        }
    }

    fn request(body: &str) -> Result<Request> {
        request_of(&["age"], None, body)
    }

    #[test]
    fn a_row_is_read_by_its_inputs_names() {
        let body = r#"{"id":7,"age":41,"wage":12.5,"site":"Bern","is_new":true,"gone":null,"week":[1,null,2.5],
            "subject":4711,"parameters":{"environment":"staging"}}"#;
        let request = request(body).expect("a row");
        assert_eq!(request.id.as_deref(), Some("7"));
        assert_eq!(request.parameters["environment"], "staging");
        let tensors: Vec<(&str, &[u64])> = request
            .inputs
            .iter()
            .map(|tensor| (tensor.name.as_str(), tensor.shape.as_slice()))
            .collect();
        let one: &[u64] = &[1, 1];
        let expected = [
            ("age", one),
            ("wage", one),
            ("site", one),
            ("is_new", one),
            ("gone", one),
            ("week", &[1, 3]),
            ("subject", one),
        ];
        assert_eq!(tensors, expected);
        assert_eq!(request.inputs[0].data, Data::Ints(vec![41]));
        assert_eq!(request.inputs[4].data, Data::Texts(vec![None]));
    }

    #[test]
    fn what_a_model_calls_its_own_is_its_own() {
        let names = |request: Request| -> Vec<String> {
            request.inputs.into_iter().map(|it| it.name).collect()
        };
        let body = r#"{"id":"P77","parameters":"many","environment":"city"}"#;
        let features = ["id", "parameters", "environment"];
        let read = request_of(&features, None, body).expect("features");
        assert_eq!(read.id, None);
        assert_eq!(names(read), features);
        let person = request_of(&["age"], Some("id"), r#"{"id":"P77","age":3}"#);
        assert_eq!(names(person.expect("a person")), ["id", "age"]);
    }

    #[test]
    fn what_is_no_row_is_refused() {
        for body in [
            "[]",
            "{}",
            "7",
            r#"{"age":1,"age":2}"#,
            r#"{"id":"a","id":"b","age":2}"#,
            r#"{"subject":"a","subject":"b","age":2}"#,
            r#"{"age":2,"parameters":{},"parameters":{}}"#,
            r#"{"age":{"years":1}}"#,
            r#"{"week":[[1],[2]]}"#,
            r#"{"week":[1,"x"]}"#,
            r#"{"age":1,"parameters":{"enviroment":"staging"}}"#,
            r#"{"age":1"#,
        ] {
            assert!(request(body).is_err(), "{body}");
        }
        // Triton's clients write what is missing so.
        assert!(request(r#"{"age":NaN,"site":"Bern"}"#).is_ok());
    }

    #[test]
    fn tensors_at_the_same_address_are_read_as_tensors() {
        let body = r#"{"inputs":[{"name":"age","shape":[2],"datatype":"INT64","data":[1,2]}]}"#;
        let read = read(&Bytes::from(body));
        assert!(matches!(read, Ok(Asked::Tensors(request)) if request.inputs[0].shape == [2]));
    }

    #[test]
    fn single_values_stand_alone_and_several_in_a_list() {
        let output = |name: &str, data: Data| Output {
            tensor: Tensor {
                name: name.to_owned(),
                datatype: Datatype::Bytes,
                shape: vec![1, data.len() as u64],
                parameters: Parameters::new(),
                data,
            },
            is_binary: true,
        };
        let response = Response {
            model_name: "claims".to_owned(),
            model_version: "3".to_owned(),
            id: None,
            parameters: Parameters::from([("environment".to_owned(), "production".into())]),
            outputs: vec![
                output("label", Data::Texts(vec![Some(Bytes::from("won"))])),
                output("probabilities", Data::Doubles(vec![0.25, 0.75])),
            ],
        };
        let expected = serde_json::json!({
            "model_name": "claims", "model_version": "3", "environment": "production",
            "label": "won", "probabilities": [0.25, 0.75],
        });
        assert_eq!(Value::Object(write(&response)), expected);
    }
}
