//! What MLflow's scoring server and TensorFlow Serving are sent: rows or columns as plain JSON, without tensors.
//!
//! `dataframe_split`, `dataframe_records`, `instances` and `inputs` become rows by name; a list without names is a row in the
//! order of the features. A name that is no feature goes through as it came, and the model's own parser judges it.

use crate::error::{Error, Result};
use crate::json::{Pairs, refuse_list, without_nan};
use crate::rows::{Rows, SUBJECT, is_subject};
use ombud_core::schema::{Kind, Schema};
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value};
use std::collections::BTreeSet;

/// A body to be scored.
#[derive(Debug)]
pub struct Scoring {
    /// Each a JSON object, with whom it is about.
    pub rows: Rows,
    /// Beside the rows: MLflow's `params`.
    pub parameters: Map<String, Value>,
    /// Whether columns came, which TensorFlow Serving answers in another form.
    pub is_by_column: bool,
}

#[derive(Deserialize)]
struct BodyJson<'a> {
    #[serde(borrow, default)]
    dataframe_split: Option<Split<'a>>,
    #[serde(borrow, default)]
    dataframe_records: Option<Vec<Record<'a>>>,
    #[serde(borrow, default)]
    instances: Option<Vec<&'a RawValue>>,
    #[serde(borrow, default)]
    inputs: Option<&'a RawValue>,
    #[serde(default)]
    params: Option<Map<String, Value>>,
}

#[derive(Deserialize)]
struct Split<'a> {
    #[serde(default)]
    columns: Option<Vec<String>>,
    #[serde(borrow)]
    data: Vec<Vec<&'a RawValue>>,
}

type Record<'a> = Pairs<&'a RawValue>;

/// A row, and whom it is about.
type Line = (Vec<u8>, Option<String>);

/// Whether the last cell of a table of text begins with a quote and is never closed: it would swallow all rows behind it.
fn ends_in_quotes(body: &[u8]) -> bool {
    #[derive(PartialEq)]
    enum At {
        Start,
        Plain,
        Quoted,
        /// Behind a quote within quotes, which ends them unless another follows.
        Quote,
    }
    let step = |at: At, byte: &u8| match (at, byte) {
        (At::Start | At::Quote, b'"') => At::Quoted,
        (At::Quoted, b'"') => At::Quote,
        (At::Quoted, _) => At::Quoted,
        (_, b',' | b'\n' | b'\r') => At::Start,
        _ => At::Plain,
    };
    body.iter().fold(At::Start, step) == At::Quoted
}

impl Scoring {
    /// Reads a body under a schema, at most `rows_max` rows.
    pub fn read(schema: &Schema, body: &[u8], rows_max: usize) -> Result<Self> {
        refuse_list(body)?;
        let mended;
        let body: BodyJson<'_> = match serde_json::from_slice(body) {
            Ok(body) => body,
            Err(error) => {
                mended = without_nan(body).ok_or_else(|| json(error))?;
                serde_json::from_slice(&mended).map_err(json)?
            }
        };
        body.refuse_two()?;
        let mut is_by_column = false;
        let rows = match body {
            BodyJson {
                dataframe_split: Some(split),
                ..
            } => split.rows(schema)?,
            BodyJson {
                dataframe_records: Some(records),
                ..
            } => records
                .iter()
                .map(|record| by_name(schema, record))
                .collect::<Result<_>>()?,
            BodyJson {
                instances: Some(instances),
                ..
            } => instances
                .iter()
                .map(|instance| one(schema, instance))
                .collect::<Result<_>>()?,
            BodyJson {
                inputs: Some(inputs),
                ..
            } if inputs.get().starts_with('{') => {
                is_by_column = true;
                columns(schema, inputs, rows_max)?
            }
            BodyJson {
                inputs: Some(inputs),
                ..
            } => {
                let instances: Vec<&RawValue> = serde_json::from_str(inputs.get()).map_err(json)?;
                instances
                    .iter()
                    .map(|instance| one(schema, instance))
                    .collect::<Result<_>>()?
            }
            _ => {
                let one_of = "one of `dataframe_split`, `dataframe_records`, `instances`, `inputs` is needed";
                return Err(Error::Json(one_of.to_owned()));
            }
        };
        if rows.len() > rows_max {
            return Err(Error::TooManyRows {
                rows: rows.len() as u64,
                rows_max: rows_max as u64,
            });
        }
        let parameters = body.params.unwrap_or_default();
        Ok(Scoring {
            rows: rows_of(rows, &parameters)?,
            parameters,
            is_by_column,
        })
    }
}

impl Scoring {
    /// Reads a table with the columns' names in its first line, at most `rows_max` rows. As pandas reads it for MLflow's scoring
    /// server, a cell that is empty is missing; what a feature of numbers has is a number when it reads as one.
    pub fn read_csv(schema: &Schema, body: &[u8], rows_max: usize) -> Result<Self> {
        let wrong = |error: csv::Error| Error::Csv(error.to_string());
        if ends_in_quotes(body) {
            return Err(Error::Csv("a quote is opened and never closed".to_owned()));
        }
        let mut reader = csv::Reader::from_reader(body);
        let columns: Vec<String> = reader
            .headers()
            .map_err(wrong)?
            .iter()
            .map(str::to_owned)
            .collect();
        let is_number: Vec<bool> = columns
            .iter()
            .map(|column| {
                let feature = schema.position(column).map(|at| &schema.features()[at]);
                feature.is_some_and(|feature| matches!(feature.kind, Kind::Number { .. }))
            })
            .collect();
        let mut rows = Vec::new();
        for record in reader.records() {
            let record = record.map_err(wrong)?;
            if rows.len() == rows_max {
                return Err(Error::TooManyRows {
                    rows: rows_max as u64 + 1,
                    rows_max: rows_max as u64,
                });
            }
            let cells: Vec<String> = record
                .iter()
                .zip(&is_number)
                .map(|(cell, is_number)| as_json(cell, *is_number))
                .collect();
            let names = columns.iter().map(String::as_str);
            rows.push(write(schema, names.zip(cells.iter().map(String::as_str)))?);
        }
        Ok(Scoring {
            rows: rows_of(rows, &Map::new())?,
            parameters: Map::new(),
            is_by_column: false,
        })
    }
}

fn as_json(cell: &str, is_number: bool) -> String {
    let trimmed = cell.trim();
    let number = || trimmed.parse::<f64>().ok();
    let value = match number().filter(|_| is_number) {
        _ if trimmed.is_empty() => Value::Null,
        Some(number) if number.is_nan() => Value::Null,
        // The digits as they came, unless JSON writes them in another way.
        Some(_) if serde_json::from_str::<serde_json::Number>(trimmed).is_ok() => {
            return trimmed.to_owned();
        }
        Some(number) if number.is_finite() => Value::from(number),
        _ => Value::from(cell),
    };
    value.to_string()
}

impl BodyJson<'_> {
    /// Rows come in one form: of two, one would be passed over without a word.
    fn refuse_two(&self) -> Result<()> {
        let forms = [
            ("dataframe_split", self.dataframe_split.is_some()),
            ("dataframe_records", self.dataframe_records.is_some()),
            ("instances", self.instances.is_some()),
            ("inputs", self.inputs.is_some()),
        ];
        let mut came = forms.iter().filter(|(_, came)| *came);
        match (came.next(), came.next()) {
            (Some((one, _)), Some((other, _))) => Err(Error::Json(format!(
                "`{one}` and `{other}` came together; send the rows in one of them"
            ))),
            _ => Ok(()),
        }
    }
}

impl Split<'_> {
    fn rows(&self, schema: &Schema) -> Result<Vec<Line>> {
        let features = || {
            schema
                .features()
                .iter()
                .map(|feature| feature.name.clone())
                .collect()
        };
        let columns: Vec<String> = self.columns.clone().unwrap_or_else(features);
        let row = |cells: &Vec<&RawValue>| {
            if cells.len() != columns.len() {
                let (came, named) = (cells.len(), columns.len());
                return Err(Error::Json(format!(
                    "a row has {came} cells for {named} columns"
                )));
            }
            write(
                schema,
                columns
                    .iter()
                    .map(String::as_str)
                    .zip(cells.iter().map(|cell| cell.get())),
            )
        };
        self.data.iter().map(row).collect()
    }
}

fn json(error: serde_json::Error) -> Error {
    Error::Json(error.to_string())
}

fn one(schema: &Schema, instance: &RawValue) -> Result<Line> {
    if instance.get().starts_with('{') {
        let record: Record<'_> = serde_json::from_str(instance.get()).map_err(json)?;
        return by_name(schema, &record);
    }
    // A single feature may come without a list around it.
    let cells: Vec<&RawValue> = match instance.get().starts_with('[') {
        true => serde_json::from_str(instance.get()).map_err(json)?,
        false => vec![instance],
    };
    let features = schema.features();
    if cells.len() != features.len() {
        let (came, width) = (cells.len(), features.len());
        return Err(Error::Json(format!(
            "a row has {came} values, the model has {width} features"
        )));
    }
    let names = features.iter().map(|feature| feature.name.as_str());
    write(schema, names.zip(cells.iter().map(|cell| cell.get())))
}

fn by_name(schema: &Schema, record: &Record<'_>) -> Result<Line> {
    write(
        schema,
        record
            .0
            .iter()
            .map(|(name, cell)| (name.as_str(), cell.get())),
    )
}

fn columns(schema: &Schema, inputs: &RawValue, rows_max: usize) -> Result<Vec<Line>> {
    let Pairs(columns): Record<'_> = serde_json::from_str(inputs.get()).map_err(json)?;
    let cells = |(name, column): &(String, &RawValue)| {
        let cells: Vec<Box<RawValue>> = match column.get().starts_with('[') {
            true => serde_json::from_str(column.get()).map_err(json)?,
            false => vec![(*column).to_owned()],
        };
        Ok((name.clone(), cells))
    };
    let columns = columns.iter().map(cells).collect::<Result<Vec<_>>>()?;
    let rows = columns.first().map_or(0, |(_, cells)| cells.len());
    if rows > rows_max {
        return Err(Error::TooManyRows {
            rows: rows as u64,
            rows_max: rows_max as u64,
        });
    }
    if let Some((tensor, cells)) = columns.iter().find(|(_, cells)| cells.len() != rows) {
        let came = cells.len() as u64;
        return Err(Error::RowCount {
            tensor: tensor.clone(),
            came,
            rows: rows as u64,
        });
    }
    let row = |row: usize| {
        write(
            schema,
            columns
                .iter()
                .map(|(name, cells)| (name.as_str(), cells[row].get())),
        )
    };
    (0..rows).map(row).collect()
}

/// Whom rows are about: as each says, or as the parameter says of all; who says it twice must not contradict.
fn rows_of(lines: Vec<Line>, parameters: &Map<String, Value>) -> Result<Rows> {
    let of_all = match parameters.get(SUBJECT) {
        None | Some(Value::Null) => None,
        Some(person) => Some(person_of(person)?),
    };
    let (mut rows, mut subjects) = (Vec::new(), Vec::new());
    for (row, (line, own)) in lines.into_iter().enumerate() {
        if let (Some(own), Some(all)) = (&own, &of_all)
            && own != all
        {
            return Err(Error::Subjects {
                one: "the row".to_owned(),
                other: "the parameter \"subject\"".to_owned(),
                row,
            });
        }
        rows.push(line);
        subjects.push(own.or_else(|| of_all.clone()));
    }
    match rows.is_empty() {
        true => Err(Error::NoRows),
        false => Ok(Rows { rows, subjects }),
    }
}

fn person_of(value: &Value) -> Result<String> {
    match value {
        Value::String(person) => Ok(person.clone()),
        Value::Number(number) if number.is_i64() || number.is_u64() => Ok(number.to_string()),
        other => Err(Error::Parameter {
            parameter: SUBJECT.to_owned(),
            came: other.to_string().chars().take(60).collect(),
            allowed: "a text or a whole number",
        }),
    }
}

/// A row with each cell where its feature sits.
fn write<'a>(schema: &Schema, cells: impl Iterator<Item = (&'a str, &'a str)>) -> Result<Line> {
    let (mut row, mut subject) = (Value::Object(Map::new()), None);
    let mut seen = BTreeSet::new();
    for (name, cell) in cells {
        if !seen.insert(name) {
            return Err(Error::Twice {
                tensor: name.chars().take(80).collect(),
            });
        }
        let cell: Value = serde_json::from_str(cell).map_err(json)?;
        if is_subject(schema, name) {
            if !cell.is_null() {
                subject = Some(person_of(&cell)?);
            }
            continue;
        }
        let top = [name.to_owned()];
        let steps = match schema.position(name) {
            Some(place) => schema.features()[place].path.steps(),
            None => &top,
        };
        let mut place = &mut row;
        for step in steps {
            if !place.is_object() {
                *place = Value::Object(Map::new());
            }
            place = &mut place[step.as_str()];
        }
        *place = cell;
    }
    Ok((serde_json::to_vec(&row).map_err(json)?, subject))
}

#[cfg(test)]
mod tests {
    use super::*;
    use ombud_core::FieldPath;
    use ombud_core::schema::{Columns, Feature, Kind};

    fn rows(body: &str) -> Result<Vec<String>> {
        let features = vec![
            Feature::new("age", Kind::number()),
            Feature {
                path: FieldPath::parse("survey.q1").expect("a path"),
                ..Feature::new("q1", Kind::Text)
            },
        ];
        let schema = Schema::new(features, Columns::default()).expect("a schema");
        let read = Scoring::read(&schema, body.as_bytes(), 3)?;
        Ok(read
            .rows
            .rows
            .into_iter()
            .map(|row| String::from_utf8(row).expect("text"))
            .collect())
    }

    #[test]
    fn every_form_means_the_same_rows() {
        let expected = [
            r#"{"age":1,"survey":{"q1":"x"}}"#,
            r#"{"age":2.5,"survey":{"q1":null}}"#,
        ];
        for body in [
            r#"{"dataframe_split":{"index":[0,1],"columns":["age","q1"],"data":[[1,"x"],[2.5,null]]}}"#,
            r#"{"dataframe_records":[{"q1":"x","age":1},{"age":2.5,"q1":null}]}"#,
            r#"{"instances":[{"q1":"x","age":1},[2.5,null]]}"#,
            r#"{"inputs":{"age":[1,2.5],"q1":["x",null]}}"#,
            r#"{"inputs":[[1,"x"],[2.5,null]]}"#,
            r#"{"instances":[{"age":1,"survey":{"q1":"x"}},{"age":2.5,"survey":{"q1":null}}],"signature_name":"serving_default"}"#,
        ] {
            assert_eq!(rows(body).expect("rows"), expected, "{body}");
        }
    }

    /// As pandas 2.3 reads the same text (`read_csv`), but for the class, which stays a text here.
    #[test]
    fn a_table_of_text_means_the_same_rows() {
        let features = vec![
            Feature::new("age", Kind::number()),
            Feature::new("site", Kind::Text),
        ];
        let schema = Schema::new(features, Columns::default()).expect("a schema");
        let read = |text: &str| Scoring::read_csv(&schema, text.as_bytes(), 3);
        let rows = read("site,age\n\"a,\"\"b\",+1.50\n3,\nx,nan\n").expect("rows");
        let rows: Vec<String> = rows
            .rows
            .rows
            .into_iter()
            .map(|row| String::from_utf8(row).expect("text"))
            .collect();
        assert_eq!(
            rows,
            [
                r#"{"age":1.5,"site":"a,\"b"}"#,
                r#"{"age":null,"site":"3"}"#,
                r#"{"age":null,"site":"x"}"#,
            ]
        );
        for wrong in ["", "age,site\n", "age,site\n1\n", "age\n1\n2\n3\n4\n"] {
            assert!(read(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn a_cell_that_is_never_closed_swallows_no_rows() {
        for open in ["a\n\"1\n2\n", "a,b\n1,\"2\n3,4\n", "a\n\"x\"\"\n"] {
            assert!(ends_in_quotes(open.as_bytes()), "{open:?}");
        }
        for closed in [
            "",
            "a\n5\" pipe\n",
            "a\n\"x\"\"y\"\n",
            "a,b\n\"\",\"2\n3\"\n",
        ] {
            assert!(!ends_in_quotes(closed.as_bytes()), "{closed:?}");
        }
    }

    #[test]
    fn a_row_says_whom_it_is_about_or_the_parameter_does() {
        let columns = Columns {
            subject: Some("person".to_owned()),
            ..Columns::default()
        };
        let schema = Schema::new(vec![Feature::new("age", Kind::number())], columns);
        let schema = schema.expect("a schema");
        let read = |body: &str| Scoring::read(&schema, body.as_bytes(), 3).map(|it| it.rows);
        let of = |person: &str| Some(person.to_owned());
        let rows = read(r#"{"dataframe_records":[{"age":1,"person":"P1"},{"age":2,"subject":7}]}"#);
        let rows = rows.expect("rows");
        assert_eq!(rows.subjects, [of("P1"), of("7")]);
        assert_eq!(rows.rows[0], br#"{"age":1}"#);
        let rows = read(r#"{"instances":[[1],[2]],"params":{"subject":"P9"}}"#);
        assert_eq!(rows.expect("rows").subjects, [of("P9"), of("P9")]);
        let two = r#"{"dataframe_records":[{"age":1,"person":"P1"}],"params":{"subject":"P2"}}"#;
        assert!(read(two).is_err());
    }

    #[test]
    fn what_is_no_table_is_refused() {
        for body in [
            "{}",
            r#"{"instances":[]}"#,
            r#"[null,null,[[1,"x"]]]"#,
            r#"{"instances":[[1,"x"]],"inputs":[[1,"x"]]}"#,
            r#"{"instances":[[1]]}"#,
            r#"{"dataframe_records":[{"age":1,"age":2}]}"#,
            r#"{"dataframe_split":{"columns":["age","age"],"data":[[1,2]]}}"#,
            r#"{"inputs":{"age":[1],"age":[2]}}"#,
            r#"{"inputs":{"age":[1],"q1":[]}}"#,
            r#"{"instances":[[1,"x"],[1,"x"],[1,"x"],[1,"x"]]}"#,
            r#"{"dataframe_split":{"columns":["age"],"data":[[1,2]]}}"#,
        ] {
            assert!(rows(body).is_err(), "{body}");
        }
    }
}
