//! Answers as a table: who each row is about, what the model says, how sure it is, and why.
//!
//! [`Maker::table`] turns a batch of rows into a batch of answers; below it are the ways to write one: [`text`] for CSV and
//! JSON lines, [`sink`] for a file or a pipe. Batches are independent of each other, so that many can be made at once.

pub mod sink;
pub mod text;

mod reasons;

use crate::failure::Failure;
use arrow_array::builder::{Float64Builder, StringBuilder};
use arrow_array::{ArrayRef, Int64Array, LargeStringArray, RecordBatch};
use arrow_schema::{DataType, Field};
use ombud_core::answer::Prediction;
use ombud_core::frame::{self, Notes};
use ombud_core::schema::Columns;
use ombud_core::task::Outputs;
use ombud_core::{Answer, Class, Frame, Schema};
use ombud_engine::Model;
use ombud_engine::model::Scores;
use ombud_learn::joining;
use ombud_learn::source::{Hints, Series};
use rayon::prelude::*;
use std::sync::Arc;

pub use text::TextFormat;

/// What joins several labels or classes in one cell.
const JOINT: char = '|';

/// Makes tables of answers.
#[derive(Debug)]
pub struct Maker {
    model: Model,
    /// The long table that rows are joined with before they are asked about.
    series: Option<Series>,
    /// Features that only such a table brings.
    joined: Vec<String>,
    /// The model's features with only those columns that answers carry: the rest need not be read.
    schema: Arc<Schema>,
    columns: Arc<arrow_schema::Schema>,
    explained: Option<TextFormat>,
}

/// Answers to some rows.
#[derive(Debug)]
pub struct Answers {
    /// One row per row asked about, in their order.
    pub table: RecordBatch,
    /// What did not fit the model.
    pub notes: Notes,
}

impl Maker {
    /// Answers of a model; with reasons in the way that the format can carry.
    pub fn new(
        model: Model,
        series: Option<Series>,
        explained: Option<TextFormat>,
    ) -> Result<Self, Failure> {
        let full = model.schema();
        let carried = Columns {
            subject: full.columns.subject.clone(),
            ids: full.columns.ids.clone(),
            ..Columns::default()
        };
        let schema =
            Schema::new(full.features().to_vec(), carried).map_err(|error| internal(&error))?;
        let columns = columns(&model, &schema, explained);
        Ok(Maker {
            schema: Arc::new(schema),
            columns: Arc::new(columns),
            joined: joining::columns(&model),
            model,
            series,
            explained,
        })
    }

    /// What must be read.
    pub fn hints(&self) -> Hints {
        let mut hints = Hints::of(&self.schema);
        if let Some(series) = &self.series {
            let (key, kind) = series.key();
            hints.want(key, kind);
        }
        hints
    }

    /// The columns of every table.
    pub fn columns(&self) -> &Arc<arrow_schema::Schema> {
        &self.columns
    }

    /// Answers a batch of raw rows.
    pub fn table(&self, batch: &RecordBatch) -> Result<Answers, Failure> {
        let joined = self.series.as_ref().map(|series| series.join(batch));
        let joined = joined.transpose()?;
        let batch = joined.as_ref().unwrap_or(batch);
        let (frame, notes) =
            Frame::bind(&self.schema, batch).map_err(|refusal| Failure::columns(&refusal))?;
        if let Some(absent) = notes.absent.iter().find(|name| self.joined.contains(name)) {
            return Err(Failure::invalid(
                format!(
                    "the rows have no column {absent:?}, which the model's recipe joins from a long table"
                ),
                "give that table of these rows with --series FILE",
            ));
        }
        let scores = self.model.predict_frame(&frame);
        let mut arrays: Vec<ArrayRef> = self.carried(&frame);
        arrays.extend(self.answers(&frame, &scores));
        let table =
            RecordBatch::try_new(self.columns.clone(), arrays).map_err(|error| internal(&error))?;
        Ok(Answers { table, notes })
    }

    fn carried(&self, frame: &Frame) -> Vec<ArrayRef> {
        let column = |name: &str| -> ArrayRef {
            match frame.carried(name) {
                Some(array) => Arc::new(frame::texts(array)),
                None => Arc::new(LargeStringArray::new_null(frame.rows())),
            }
        };
        self.schema
            .columns
            .carried()
            .into_iter()
            .map(column)
            .collect()
    }

    fn answers(&self, frame: &Frame, scores: &Scores) -> Vec<ArrayRef> {
        let answers: Vec<Answer> = scores
            .values
            .chunks_exact(scores.width)
            .map(|row| self.model.answer(row))
            .collect();
        let answering = self.model.answering();
        let mut arrays = match &self.model.manifest().outputs {
            Outputs::Number { .. } => numbers(&answers, answering.conformal.is_some()),
            Outputs::Segments { names } => vec![
                segment_numbers(&answers),
                texts(&answers, |answer, text| named(answer, names, text)),
                confidences(&answers),
            ],
            Outputs::Classes { names } | Outputs::Labels { names } => {
                let mut arrays = vec![
                    texts(&answers, |answer, text| named(answer, names, text)),
                    confidences(&answers),
                ];
                arrays.extend((0..names.len()).map(|class| probabilities(scores, class)));
                if has_sets(&self.model) {
                    arrays.push(texts(&answers, |answer, text| set(answer, names, text)));
                }
                arrays
            }
        };
        if let Some(format) = self.explained {
            arrays.push(self.reasons(frame, &answers, format));
        }
        arrays
    }

    fn reasons(&self, frame: &Frame, answers: &[Answer], format: TextFormat) -> ArrayRef {
        let told: Vec<String> = answers
            .par_iter()
            .enumerate()
            .map(|(row, answer)| {
                reasons::told(&self.model.explain(&frame.row(row), answer), format)
            })
            .collect();
        Arc::new(arrow_array::StringArray::from(told))
    }
}

/// The columns of the answers, in order.
fn columns(model: &Model, schema: &Schema, explained: Option<TextFormat>) -> arrow_schema::Schema {
    let text = |name: &str| Field::new(name, DataType::Utf8, true);
    let number = |name: &str| Field::new(name, DataType::Float64, true);
    let mut fields: Vec<Field> = schema
        .columns
        .carried()
        .into_iter()
        .map(|name| Field::new(name, DataType::LargeUtf8, true))
        .collect();
    match &model.manifest().outputs {
        Outputs::Number { .. } => {
            fields.push(number("prediction"));
            if model.answering().conformal.is_some() {
                fields.extend([number("lower"), number("upper")]);
            }
        }
        Outputs::Segments { .. } => {
            let segment = Field::new("segment", DataType::Int64, true);
            fields.extend([segment, text("segment_name"), number("confidence")]);
        }
        Outputs::Classes { names } | Outputs::Labels { names } => {
            fields.extend([text("prediction"), number("confidence")]);
            fields.extend(names.iter().map(|name| number(&format!("p_{name}"))));
            if has_sets(model) {
                fields.push(text("prediction_set"));
            }
        }
    }
    match explained {
        Some(TextFormat::Jsonl) => fields.push(text::raw_json(text("reasons"))),
        Some(TextFormat::Csv) => fields.push(text("reasons")),
        None => {}
    }
    arrow_schema::Schema::new(fields)
}

fn has_sets(model: &Model) -> bool {
    matches!(model.manifest().outputs, Outputs::Classes { .. })
        && model.answering().conformal.is_some()
}

fn numbers(answers: &[Answer], with_interval: bool) -> Vec<ArrayRef> {
    let parts = |answer: &Answer| match answer.prediction {
        Prediction::Number { value, interval } => (Some(value), interval),
        Prediction::Class { .. } | Prediction::Labels { .. } | Prediction::Segment { .. } => {
            (None, None)
        }
    };
    let column = |of: &dyn Fn(&Answer) -> Option<f64>| -> ArrayRef {
        Arc::new(
            answers
                .iter()
                .map(of)
                .collect::<arrow_array::Float64Array>(),
        )
    };
    let value = |answer: &Answer| parts(answer).0.filter(|value| !value.is_nan());
    let mut arrays = vec![column(&value)];
    if with_interval {
        arrays.push(column(&|answer| parts(answer).1.map(|(lower, _)| lower)));
        arrays.push(column(&|answer| parts(answer).1.map(|(_, upper)| upper)));
    }
    arrays
}

fn confidences(answers: &[Answer]) -> ArrayRef {
    Arc::new(
        answers
            .iter()
            .map(|answer| answer.confidence.filter(|confidence| !confidence.is_nan()))
            .collect::<arrow_array::Float64Array>(),
    )
}

fn probabilities(scores: &Scores, class: usize) -> ArrayRef {
    let mut column = Float64Builder::with_capacity(scores.values.len() / scores.width);
    scores
        .values
        .chunks_exact(scores.width)
        .for_each(|row| column.append_option(Some(row[class]).filter(|share| !share.is_nan())));
    Arc::new(column.finish())
}

/// A column of texts, each written by `write` into an empty buffer.
fn texts(answers: &[Answer], write: impl Fn(&Answer, &mut String)) -> ArrayRef {
    const LETTERS_EXPECTED: usize = 12;
    let mut column = StringBuilder::with_capacity(answers.len(), answers.len() * LETTERS_EXPECTED);
    let mut text = String::new();
    for answer in answers {
        if !is_answered(answer) {
            column.append_null();
            continue;
        }
        text.clear();
        write(answer, &mut text);
        column.append_value(&text);
    }
    Arc::new(column.finish())
}

/// An imported graph has no answer to a row that lacks what it needs; then there are no scores.
fn is_answered(answer: &Answer) -> bool {
    !answer.confidence.is_some_and(f64::is_nan)
}

fn named(answer: &Answer, names: &[String], text: &mut String) {
    match &answer.prediction {
        Prediction::Class { index, .. } | Prediction::Segment { index } => {
            text.push_str(&names[*index]);
        }
        Prediction::Labels { indices } => join(indices, names, text),
        Prediction::Number { .. } => {}
    }
}

fn segment_numbers(answers: &[Answer]) -> ArrayRef {
    let number = |answer: &Answer| match &answer.prediction {
        Prediction::Segment { index } if is_answered(answer) => i64::try_from(*index).ok(),
        Prediction::Segment { .. } => None,
        Prediction::Class { .. } | Prediction::Labels { .. } | Prediction::Number { .. } => None,
    };
    Arc::new(answers.iter().map(number).collect::<Int64Array>())
}

fn set(answer: &Answer, names: &[String], text: &mut String) {
    if let Prediction::Class { set, .. } = &answer.prediction {
        join(set, names, text);
    }
}

fn join(indices: &[usize], names: &[String], text: &mut String) {
    for (place, index) in indices.iter().enumerate() {
        if place > 0 {
            text.push(JOINT);
        }
        text.push_str(&names[*index]);
    }
}

fn internal(error: &dyn std::fmt::Display) -> Failure {
    Failure::new(
        Class::Internal,
        format!("the answers cannot be put into a table: {error}"),
        "report this",
    )
}
