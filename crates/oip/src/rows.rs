//! Tensors as rows: each row a JSON object as a model's own parser reads it, which alone judges what is in it.
//!
//! Three forms are read. One tensor per feature, by name, is what mixed columns need and what MLServer's `pd` content type
//! sends. One numeric matrix with a column per feature is what all-numeric models have always been sent, whatever it is
//! called. A tensor named like the schema's subject column, or `subject`, says whom each row is about; it is no feature.
//!
//! A single-precision number becomes the shortest decimal that reads back as it, so that the same value sent as JSON and as
//! binary is one input and one line in the record.

use crate::error::{Error, Result};
use crate::request::Request;
use crate::tensor::{Data, Tensor};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use ombud_core::nearest::nearest;
use ombud_core::schema::{Feature, Kind, Schema};
use serde_json::Value;
use std::io::Write;

/// The name by which subjects can always be sent.
pub const SUBJECT: &str = "subject";
const CONTENT_TYPE: &str = "content_type";
/// Below these, whole numbers of each precision are exact.
const SINGLE_EXACT_MAX: f64 = (1u64 << 24) as f64;
const DOUBLE_EXACT_MAX: f64 = (1u64 << 53) as f64;
/// Inputs named in a refusal.
const NAMES_SHOWN_MAX: usize = 12;

/// The rows of a request.
#[derive(Clone, PartialEq)]
pub struct Rows {
    /// Each a JSON object.
    pub rows: Vec<Vec<u8>>,
    /// Whom each is about; empty when nobody says.
    pub subjects: Vec<Option<String>>,
}

/// Where a feature's values come from.
struct Column<'a> {
    feature: &'a Feature,
    tensor: &'a Tensor,
    /// The first element of the first row.
    start: usize,
    /// From one row to the next.
    step: usize,
}

impl Rows {
    /// Reads a request under a schema, at most `rows_max` rows.
    pub fn read(schema: &Schema, request: &Request, rows_max: usize) -> Result<Self> {
        content_type(&request.parameters)?;
        request
            .inputs
            .iter()
            .try_for_each(|tensor| content_type(&tensor.parameters))?;
        let (subjects, inputs): (Vec<&Tensor>, Vec<&Tensor>) = request
            .inputs
            .iter()
            .partition(|tensor| is_subject(schema, &tensor.name));
        let rows = row_count(request, rows_max)?;
        let mut columns = match matrix(schema, &inputs)? {
            Some(columns) => columns,
            None => by_name(schema, &inputs)?,
        };
        // Fields of one folder of the request stand together.
        columns.sort_by(|a, b| a.feature.path.steps().cmp(b.feature.path.steps()));
        let writer = Writer::new(&columns);
        Ok(Rows {
            rows: (0..rows)
                .map(|row| writer.row(row))
                .collect::<Result<_>>()?,
            subjects: subjects_of(request, &subjects, rows)?,
        })
    }
}

impl std::fmt::Debug for Rows {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Rows({})", self.rows.len())
    }
}

/// Whether a name is that of whom rows are about.
pub(crate) fn is_subject(schema: &Schema, name: &str) -> bool {
    let is_column = schema.columns.subject.as_deref() == Some(name);
    (is_column || name == SUBJECT) && schema.position(name).is_none()
}

fn row_count(request: &Request, rows_max: usize) -> Result<usize> {
    let mut counted: Option<u64> = None;
    for tensor in &request.inputs {
        let came = tensor.shape.first().copied().unwrap_or(1);
        match counted {
            Some(rows) if rows != came => {
                return Err(Error::RowCount {
                    tensor: tensor.name.clone(),
                    came,
                    rows,
                });
            }
            _ => counted = Some(came),
        }
    }
    let rows = counted.ok_or(Error::NoInputs)?;
    if rows == 0 {
        return Err(Error::NoRows);
    }
    let rows_max = rows_max as u64;
    if rows > rows_max {
        return Err(Error::TooManyRows { rows, rows_max });
    }
    Ok(rows as usize)
}

/// The columns of the one matrix, when that is what came.
fn matrix<'a>(schema: &'a Schema, inputs: &[&'a Tensor]) -> Result<Option<Vec<Column<'a>>>> {
    let [tensor] = inputs else { return Ok(None) };
    let features = schema.features();
    if schema.position(&tensor.name).is_some()
        || features.iter().any(|feature| !is_cell(&feature.kind))
    {
        return Ok(None);
    }
    let width = features.len();
    if tensor.shape.len() != 2 || tensor.shape[1] != width as u64 {
        // A name that nobody has tells more than a shape that does not fit.
        if tensor.name != crate::model::MATRIX {
            return Ok(None);
        }
        let expected = format!("[rows, {width}]");
        return Err(Error::Width {
            tensor: tensor.name.clone(),
            expected,
            came: tensor.shape.clone(),
        });
    }
    let column = |(start, feature)| Column {
        feature,
        tensor,
        start,
        step: width,
    };
    Ok(Some(features.iter().enumerate().map(column).collect()))
}

fn is_cell(kind: &Kind) -> bool {
    match kind {
        Kind::Number { .. } | Kind::Ordinal { .. } | Kind::Category { .. } => true,
        Kind::Text | Kind::Sequence { .. } => false,
    }
}

fn by_name<'a>(schema: &'a Schema, inputs: &[&'a Tensor]) -> Result<Vec<Column<'a>>> {
    let column = |tensor: &&'a Tensor| {
        let Some(place) = schema.position(&tensor.name) else {
            return Err(unknown(schema, &tensor.name));
        };
        let feature = &schema.features()[place];
        let step = match &feature.kind {
            Kind::Sequence { steps, .. } => *steps,
            _ => 1,
        };
        let width: u64 = tensor.shape.iter().skip(1).product();
        if width != step as u64 {
            let expected = if step == 1 {
                "[rows] or [rows, 1]".to_owned()
            } else {
                format!("[rows, {step}]")
            };
            return Err(Error::Width {
                tensor: tensor.name.clone(),
                expected,
                came: tensor.shape.clone(),
            });
        }
        Ok(Column {
            feature,
            tensor,
            start: 0,
            step,
        })
    };
    inputs.iter().map(column).collect()
}

fn unknown(schema: &Schema, came: &str) -> Error {
    let names = schema
        .features()
        .iter()
        .map(|feature| feature.name.as_str());
    let mut shown: Vec<&str> = names.clone().take(NAMES_SHOWN_MAX).collect();
    if schema.features().len() > NAMES_SHOWN_MAX {
        shown.push("…");
    }
    Error::UnknownInput {
        came: came.chars().take(80).collect(),
        allowed: shown.join(", "),
        nearest: nearest(came, names).map(str::to_owned),
    }
}

/// The content type decides nothing but base64; one that nobody knows would be read wrongly and is refused.
fn content_type(parameters: &crate::tensor::Parameters) -> Result<()> {
    match parameters.get(CONTENT_TYPE) {
        None | Some(Value::Null) => Ok(()),
        Some(Value::String(kind))
            if matches!(kind.as_str(), "np" | "pd" | "str" | "base64" | "datetime") =>
        {
            Ok(())
        }
        Some(other) => Err(Error::ContentType(
            other.to_string().chars().take(40).collect(),
        )),
    }
}

/// Whom each row is about, as tensors and the parameter say it; empty when nobody does. They may say it twice and must not
/// contradict each other: which of two people a decision is about is not ours to choose.
fn subjects_of(request: &Request, tensors: &[&Tensor], rows: usize) -> Result<Vec<Option<String>>> {
    let parameter = request.text(SUBJECT)?;
    if tensors.is_empty() && parameter.is_none() {
        return Ok(Vec::new());
    }
    for tensor in tensors {
        let width: u64 = tensor.shape.iter().skip(1).product();
        if width != 1 {
            return Err(Error::Width {
                tensor: tensor.name.clone(),
                expected: "[rows] or [rows, 1]".to_owned(),
                came: tensor.shape.clone(),
            });
        }
    }
    let of_row = |row: usize| {
        let mut said: Option<(String, String)> = None;
        let of_tensors = tensors.iter().map(|tensor| {
            let source = format!("the tensor {:?}", tensor.name);
            Ok(subject(tensor, row)?.map(|person| (source, person)))
        });
        let of_parameter =
            parameter.map(|person| ("the parameter \"subject\"".to_owned(), person.to_owned()));
        for next in of_tensors.chain(std::iter::once(Ok(of_parameter))) {
            let Some((other, person)) = next? else {
                continue;
            };
            match &said {
                Some((one, before)) if *before != person => {
                    let one = one.clone();
                    return Err(Error::Subjects { one, other, row });
                }
                Some(_) => {}
                None => said = Some((other, person)),
            }
        }
        Ok(said.map(|(_, person)| person))
    };
    (0..rows).map(of_row).collect()
}

/// Whom a row is about. A number that lost digits would be another person, and so would `4711.0` beside `4711`.
fn subject(tensor: &Tensor, row: usize) -> Result<Option<String>> {
    let whole = |value: f64, exact_max: f64| {
        if value.is_nan() {
            return Ok(None);
        }
        if value.fract() == 0.0 && value.abs() < exact_max {
            return Ok(Some((value as i64).to_string()));
        }
        Err(Error::Data {
            tensor: tensor.name.clone(),
            datatype: tensor.datatype.name(),
            reason: "a subject is a text or a whole number that lost no digit".to_owned(),
        })
    };
    match &tensor.data {
        Data::Texts(values) => match &values[row] {
            None => Ok(None),
            Some(bytes) => words(tensor, bytes).map(Some),
        },
        Data::Ints(values) => Ok(Some(values[row].to_string())),
        Data::Uints(values) => Ok(Some(values[row].to_string())),
        Data::Singles(values) => whole(f64::from(values[row]), SINGLE_EXACT_MAX),
        Data::Doubles(values) => whole(values[row], DOUBLE_EXACT_MAX),
        Data::Bools(_) => whole(f64::INFINITY, 0.0),
    }
}

/// Writes rows: what stands between the values is the same in each, and made once.
struct Writer<'a> {
    columns: &'a [Column<'a>],
    /// What stands before each value and after the last, one behind the other.
    between: Vec<u8>,
    /// Where each of them ends.
    ends: Vec<usize>,
}

impl<'a> Writer<'a> {
    fn new(columns: &'a [Column<'a>]) -> Self {
        let mut open: &[String] = &[];
        let mut between = Vec::with_capacity(columns.len() * 16);
        let mut ends = Vec::with_capacity(columns.len() + 1);
        between.push(b'{');
        for (place, column) in columns.iter().enumerate() {
            let steps = column.feature.path.steps();
            let (folder, key) = steps.split_at(steps.len().saturating_sub(1));
            let shared = open.iter().zip(folder).take_while(|(a, b)| a == b).count();
            if place > 0 {
                between.extend(open[shared..].iter().map(|_| b'}'));
                between.push(b',');
            }
            for step in &folder[shared..] {
                write_text(&mut between, step);
                between.extend_from_slice(b":{");
            }
            for step in key {
                write_text(&mut between, step);
                between.push(b':');
            }
            open = folder;
            ends.push(between.len());
        }
        between.extend(open.iter().map(|_| b'}'));
        between.push(b'}');
        ends.push(between.len());
        Writer {
            columns,
            between,
            ends,
        }
    }

    fn row(&self, row: usize) -> Result<Vec<u8>> {
        let mut text = Vec::with_capacity(self.between.len() + self.columns.len() * 16);
        let mut start = 0;
        for (place, end) in self.ends.iter().enumerate() {
            text.extend_from_slice(&self.between[start..*end]);
            if let Some(column) = self.columns.get(place) {
                column.write(&mut text, row)?;
            }
            start = *end;
        }
        Ok(text)
    }
}

impl Column<'_> {
    fn write(&self, text: &mut Vec<u8>, row: usize) -> Result<()> {
        let first = self.start + row * self.step;
        let Kind::Sequence { steps, .. } = &self.feature.kind else {
            return write_cell(text, self.tensor, first);
        };
        for step in 0..*steps {
            text.push(if step == 0 { b'[' } else { b',' });
            write_cell(text, self.tensor, first + step)?;
        }
        text.push(b']');
        Ok(())
    }
}

fn write_cell(text: &mut Vec<u8>, tensor: &Tensor, at: usize) -> Result<()> {
    match &tensor.data {
        Data::Bools(values) => text.extend_from_slice(if values[at] { b"true" } else { b"false" }),
        Data::Ints(values) => write_plain(text, values[at]),
        Data::Uints(values) => write_plain(text, values[at]),
        Data::Singles(values) => write_number(
            text,
            values[at],
            values[at].is_finite(),
            values[at].is_nan(),
        ),
        Data::Doubles(values) => write_number(
            text,
            values[at],
            values[at].is_finite(),
            values[at].is_nan(),
        ),
        Data::Texts(values) => match &values[at] {
            None => text.extend_from_slice(b"null"),
            Some(bytes) => write_text(text, &words(tensor, bytes)?),
        },
    }
    Ok(())
}

fn write_plain(text: &mut Vec<u8>, value: impl std::fmt::Display) {
    // Writing to memory does not fail.
    let _ = write!(text, "{value}");
}

/// Missing is null; what is no number is told to the parser as what it is.
fn write_number<F: zmij::Float>(text: &mut Vec<u8>, value: F, is_finite: bool, is_nan: bool) {
    if is_finite {
        text.extend_from_slice(zmij::Buffer::new().format_finite(value).as_bytes());
    } else if is_nan {
        text.extend_from_slice(b"null");
    } else {
        text.extend_from_slice(b"\"an infinite number\"");
    }
}

fn write_text(text: &mut Vec<u8>, words: &str) {
    let _ = serde_json::to_writer(text, words);
}

fn words(tensor: &Tensor, bytes: &Bytes) -> Result<String> {
    let wrong = |reason: &str| Error::Data {
        tensor: tensor.name.clone(),
        datatype: tensor.datatype.name(),
        reason: reason.to_owned(),
    };
    let is_base64 = tensor.parameters.get(CONTENT_TYPE).and_then(Value::as_str) == Some("base64");
    let plain = if is_base64 {
        STANDARD
            .decode(bytes)
            .map_err(|_| wrong("a text is no base64"))?
    } else {
        bytes.to_vec()
    };
    String::from_utf8(plain).map_err(|_| wrong("a text is no UTF-8"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use ombud_core::FieldPath;
    use ombud_core::schema::{Columns, Unseen};
    use serde_json::json;

    /// What a request says of whom its two rows are about.
    fn subjects(tensor: Value) -> Result<Vec<Option<String>>> {
        let q1 = json!({ "name": "q1", "shape": [2], "datatype": "FP64", "data": [1.0, 2.0] });
        let body = json!({ "inputs": [q1, tensor] }).to_string();
        let request = Request::from_body(&Bytes::from(body), None)?;
        Rows::read(&schema(), &request, 10).map(|rows| rows.subjects)
    }

    #[test]
    fn a_subject_is_one_text_or_whole_number_a_row() {
        let of = |shape: Value, datatype: &str, data: Value| {
            subjects(
                json!({ "name": "subject", "shape": shape, "datatype": datatype, "data": data }),
            )
        };
        let said = |people: [&str; 2]| people.map(|person| Some(person.to_owned())).to_vec();
        assert_eq!(
            of(json!([2, 1]), "BYTES", json!(["S-A", "S-B"])).unwrap(),
            said(["S-A", "S-B"])
        );
        assert_eq!(
            of(json!([2]), "INT64", json!([4711, 12])).unwrap(),
            said(["4711", "12"])
        );
        assert_eq!(
            of(json!([2]), "FP64", json!([4711.0, 12])).unwrap(),
            said(["4711", "12"])
        );
        for (shape, datatype, data) in [
            (json!([2, 0]), "BYTES", json!([])),
            (json!([2, 2]), "BYTES", json!(["S-A", "S-B", "S-C", "S-D"])),
            (json!([2]), "FP64", json!([0.5, 1.0])),
            (json!([2]), "FP32", json!([16_777_217, 1])),
            (json!([2]), "BOOL", json!([true, false])),
        ] {
            assert!(
                of(shape.clone(), datatype, data).is_err(),
                "{shape} {datatype}"
            );
        }
    }

    fn schema() -> Schema {
        let category = Kind::Category {
            values: vec!["north".into(), "3".into()],
            unseen: Unseen::Refused,
        };
        let steps = Kind::Sequence {
            steps: 2,
            bounds: Default::default(),
        };
        let nested = |name: &str, path: &str, kind: Kind| Feature {
            path: FieldPath::parse(path).expect("a path"),
            ..Feature::new(name, kind)
        };
        let features = vec![
            Feature::new("age", Kind::number()),
            nested("q1", "survey.q1", Kind::number()),
            Feature::new("site", category),
            nested("hr", "vitals.hr", steps),
            nested("q2", "survey.q2", Kind::number()),
        ];
        let columns = Columns {
            subject: Some("member".into()),
            ..Columns::default()
        };
        Schema::new(features, columns).expect("a schema")
    }

    fn numbers() -> Schema {
        let features = ["a", "b"].map(|name| Feature::new(name, Kind::number()));
        Schema::new(features.to_vec(), Columns::default()).expect("a schema")
    }

    fn read(schema: &Schema, inputs: &str) -> Result<(Vec<String>, Vec<Option<String>>)> {
        let body = Bytes::from(format!(r#"{{"inputs":{inputs}}}"#));
        let rows = Rows::read(schema, &Request::from_body(&body, None)?, 10)?;
        let texts = rows
            .rows
            .into_iter()
            .map(|row| String::from_utf8(row).expect("text"));
        Ok((texts.collect(), rows.subjects))
    }

    #[test]
    fn one_tensor_per_feature_becomes_nested_rows_with_their_subjects() {
        let (rows, subjects) = read(&schema(), r#"[
            {"name":"q2","shape":[2,1],"datatype":"INT64","data":[5,6]},
            {"name":"hr","shape":[2,2],"datatype":"FP64","data":[[60,null],[62,63]]},
            {"name":"age","shape":[2],"datatype":"FP32","data":[0.1,null]},
            {"name":"member","shape":[2],"datatype":"INT32","data":[7,8]},
            {"name":"q1","shape":[2],"datatype":"BOOL","data":[true,false]},
            {"name":"site","shape":[2,1],"datatype":"BYTES","parameters":{"content_type":"str"},"data":["no\"rth",null]}]"#)
            .expect("rows");
        assert_eq!(
            rows,
            [
                r#"{"age":0.1,"site":"no\"rth","survey":{"q1":true,"q2":5},"vitals":{"hr":[60.0,null]}}"#,
                r#"{"age":null,"site":null,"survey":{"q1":false,"q2":6},"vitals":{"hr":[62.0,63.0]}}"#,
            ]
        );
        assert_eq!(subjects, [Some("7".to_owned()), Some("8".to_owned())]);
    }

    #[test]
    fn a_matrix_has_a_column_per_feature_whatever_it_is_called() {
        let input = r#"[{"name":"INPUT__0","shape":[2,2],"datatype":"FP32","data":[0.1,2,3,4]}]"#;
        let (rows, _) = read(&numbers(), input).expect("rows");
        assert_eq!(rows, [r#"{"a":0.1,"b":2.0}"#, r#"{"a":3.0,"b":4.0}"#]);
    }

    #[test]
    fn what_does_not_fit_is_refused_with_what_would() {
        let said =
            |schema: &Schema, inputs: &str| read(schema, inputs).expect_err("refused").to_string();
        let text = said(
            &schema(),
            r#"[{"name":"aeg","shape":[1],"datatype":"FP32","data":[1]}]"#,
        );
        assert!(text.contains("is it \"age\"?"), "{text}");
        let text = said(
            &numbers(),
            r#"[{"name":"input","shape":[1,3],"datatype":"FP32","data":[1,2,3]}]"#,
        );
        assert!(text.contains("[rows, 2]"), "{text}");
        let text = said(
            &schema(),
            r#"[{"name":"age","shape":[2],"datatype":"FP32","data":[1,2]},{"name":"q1","shape":[1],"datatype":"FP32","data":[1]}]"#,
        );
        assert!(text.contains("1 rows, others have 2"), "{text}");
        let text = said(
            &schema(),
            r#"[{"name":"age","shape":[11],"datatype":"FP32","data":[1,2,3,4,5,6,7,8,9,10,11]}]"#,
        );
        assert!(text.contains("at most 10"), "{text}");
        let image = r#"[{"name":"age","shape":[1],"datatype":"FP32","parameters":{"content_type":"image"},"data":[1]}]"#;
        let text = said(&schema(), image);
        assert!(text.starts_with("\"image\" is no content type"), "{text}");
        let empty = r#"[{"name":"age","shape":[0,1],"datatype":"FP32","data":[]}]"#;
        assert_eq!(said(&schema(), empty), "the request has no rows");
    }

    #[test]
    fn two_who_say_whom_a_row_is_about_must_agree() {
        let age = r#"{"name":"age","shape":[2],"datatype":"FP32","data":[1,2]}"#;
        let who = |name: &str, people: &str| {
            format!(r#"{{"name":"{name}","shape":[2],"datatype":"BYTES","data":{people}}}"#)
        };
        let read = |inputs: &[String], parameters: &str| {
            let body = format!(
                r#"{{"inputs":[{age},{}],"parameters":{parameters}}}"#,
                inputs.join(",")
            );
            let request = Request::from_body(&Bytes::from(body), None)?;
            Rows::read(&schema(), &request, 10).map(|rows| rows.subjects)
        };
        let person = |name: &str| Some(name.to_owned());
        let (one, same) = (
            who("member", r#"["a","b"]"#),
            who("subject", r#"["a",null]"#),
        );
        assert_eq!(
            read(&[one.clone(), same], "{}").expect("they agree"),
            [person("a"), person("b")]
        );
        let refused = read(&[one.clone(), who("subject", r#"["a","c"]"#)], "{}")
            .expect_err("they do not")
            .to_string();
        assert_eq!(
            refused,
            "the tensor \"member\" and the tensor \"subject\" name different people in row 1"
        );
        let refused = read(&[one], r#"{"subject":"a"}"#)
            .expect_err("nor these")
            .to_string();
        assert!(refused.contains("the parameter \"subject\""), "{refused}");
    }

    #[test]
    fn base64_is_opened() {
        let input = r#"[{"name":"site","shape":[1],"datatype":"BYTES","parameters":{"content_type":"base64"},"data":["bm9ydGg="]}]"#;
        assert_eq!(
            read(&schema(), input).expect("rows").0,
            [r#"{"site":"north"}"#]
        );
    }
}
