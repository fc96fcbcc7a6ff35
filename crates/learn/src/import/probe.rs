//! Tries a graph on made-up rows, because a file's own declarations of what it gives are wrong in the wild.
//!
//! Rows are made by a fixed rule, so that the same file is always understood the same way. A row that the graph cannot
//! take is passed over; one that works is enough. Where none does, because encoders take only the categories that they know, one
//! is looked for feature by feature: each change that lets the graph come further is kept.

use arrow_array::{ArrayRef, Float64Array, RecordBatch};
use ombud_core::Row;
use ombud_core::frame::Frame;
use ombud_core::row::Value;
use ombud_core::schema::{Feature, Kind, Missing, Schema};
use ombud_engine::engine::{OnnxEngine, label_texts};
use ombud_engine::onnx::{Data, OnnxError, Value as Output};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Rows that are tried.
const ROWS: usize = 64;
/// Features whose absence is tried one by one; with more, absence is taken to be allowed.
const FEATURES_MAX: usize = 2_000;
/// How long rows are tried, and then absences: a hostile graph may take seconds for one row.
const TIME_MAX: Duration = Duration::from_secs(10);

/// What a graph itself knows, for trying it.
pub(super) struct Known {
    pub words: Vec<String>,
    pub numbers: Vec<f64>,
}

/// What an output gave on every row that worked.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Seen {
    /// One label a row.
    Labels(Vec<String>),
    /// The same count of numbers a row, with their keys where they came as a map.
    Numbers {
        width: usize,
        rows: Vec<Vec<f64>>,
        keys: Option<Vec<String>>,
    },
    /// Nothing that a row could be answered with.
    Other,
}

/// Made-up rows that the graph can take, and what it gave for them.
pub(super) struct Probed {
    pub outputs: Vec<Seen>,
    base: Row,
}

/// The schema with every feature allowed to be absent, as trying needs it.
pub(super) fn lenient(schema: &Schema) -> Option<Arc<Schema>> {
    let features = schema.features().iter().cloned().map(|feature| Feature {
        missing: Missing::Allowed,
        ..feature
    });
    Schema::new(features.collect(), schema.columns.clone())
        .ok()
        .map(Arc::new)
}

/// Runs the graph on made-up rows.
pub(super) fn run(
    engine: &OnnxEngine,
    schema: &Arc<Schema>,
    known: &Known,
) -> Result<Probed, OnnxError> {
    let blank = blank(schema).ok_or_else(|| OnnxError::Graph {
        reason: "no row could be made to try it with".to_owned(),
    })?;
    let trial = Trial {
        engine,
        schema,
        known,
        started: Instant::now(),
    };
    let failed = match trial.rows(&blank, &BTreeMap::new()) {
        Ok(probed) => return Ok(probed),
        Err(failed) => failed,
    };
    match trial.pleasing(&blank) {
        Some(values) => trial.rows(&blank, &values),
        None => Err(failed),
    }
}

/// A graph that is tried.
struct Trial<'a> {
    engine: &'a OnnxEngine,
    schema: &'a Arc<Schema>,
    known: &'a Known,
    started: Instant,
}

impl Trial<'_> {
    /// What it gives for made-up rows, in which some features have these values.
    fn rows(&self, blank: &Row, values: &BTreeMap<usize, Value>) -> Result<Probed, OnnxError> {
        let mut random = Random(0x9e37_79b9_7f4a_7c15);
        let mut failed = None;
        let mut base = None;
        let mut collected: Vec<Vec<Output>> = Vec::new();
        for index in 0..ROWS {
            if index > 0 && self.is_late() {
                break;
            }
            let made = made_up(blank, self.schema, index, &self.known.words, &mut random);
            let row = with(&made, values);
            match self.run(&row) {
                Ok(values) => {
                    collected.push(values);
                    base.get_or_insert(row);
                }
                Err(error) => failed = Some(error),
            }
        }
        match (base, failed) {
            (Some(base), _) => Ok(Probed {
                outputs: seen(&collected),
                base,
            }),
            (None, Some(error)) => Err(error),
            (None, None) => Err(OnnxError::Graph {
                reason: "it was not tried".to_owned(),
            }),
        }
    }

    /// Values with which a row of zeros comes to the end.
    fn pleasing(&self, blank: &Row) -> Option<BTreeMap<usize, Value>> {
        let zeros = made_up(blank, self.schema, 0, &[], &mut Random(1));
        let mut values = BTreeMap::new();
        let mut passed: BTreeSet<String> = BTreeSet::new();
        let mut at = node(self.run(&zeros).err()?)?;
        'further: loop {
            for (feature, value) in self.candidates() {
                if self.is_late() {
                    return None;
                }
                let mut tried = values.clone();
                tried.insert(feature, value);
                match self.run(&with(&zeros, &tried)) {
                    Ok(_) => return Some(tried),
                    Err(error) => {
                        let now = node(error)?;
                        if now != at && !passed.contains(&now) {
                            passed.insert(std::mem::replace(&mut at, now));
                            values = tried;
                            continue 'further;
                        }
                    }
                }
            }
            return None;
        }
    }

    /// Every value that the graph knows, for every feature that could have it.
    fn candidates(&self) -> impl Iterator<Item = (usize, Value)> + '_ {
        let features = self.schema.features().iter().enumerate();
        features.flat_map(|(place, feature)| {
            let (words, numbers) = match &feature.kind {
                Kind::Text => (self.known.words.as_slice(), &[][..]),
                Kind::Number { .. } => (&[][..], self.known.numbers.as_slice()),
                _ => (&[][..], &[][..]),
            };
            let words = words.iter().map(|word| Value::Text(word.clone()));
            let numbers = numbers.iter().map(|number| Value::Number(*number));
            words.chain(numbers).map(move |value| (place, value))
        })
    }

    fn run(&self, row: &Row) -> Result<Vec<Output>, OnnxError> {
        let row = std::slice::from_ref(row);
        self.engine.run(&Frame::from_rows(self.schema, row))
    }

    fn is_late(&self) -> bool {
        self.started.elapsed() > TIME_MAX
    }
}

fn with(row: &Row, values: &BTreeMap<usize, Value>) -> Row {
    let put = |row: Row, (place, value): (&usize, &Value)| row.with_value(*place, value.clone());
    values.iter().fold(row.clone(), put)
}

/// The node that could not take its numbers.
fn node(error: OnnxError) -> Option<String> {
    match error {
        OnnxError::Run { node, .. } => Some(node),
        _ => None,
    }
}

impl Probed {
    /// The features without which the graph has no answer.
    pub fn needed(&self, engine: &OnnxEngine, schema: &Arc<Schema>) -> Vec<usize> {
        let features = schema.features().len();
        if features > FEATURES_MAX {
            return Vec::new();
        }
        let started = Instant::now();
        let fails = |feature: &usize| {
            if started.elapsed() > TIME_MAX {
                return false;
            }
            let row = self.base.with_value(*feature, Value::Missing);
            let values = engine.run(&Frame::from_rows(schema, &[row]));
            values.map_or(true, |values| values.iter().any(has_gap))
        };
        (0..features).filter(fails).collect()
    }
}

fn has_gap(value: &Output) -> bool {
    numbers(value).is_some_and(|numbers| numbers.iter().any(|x| x.is_nan()))
}

fn seen(rows: &[Vec<Output>]) -> Vec<Seen> {
    let outputs = rows.first().map_or(0, Vec::len);
    (0..outputs)
        .map(|output| {
            let values: Vec<&Output> = rows.iter().filter_map(|row| row.get(output)).collect();
            labels(&values)
                .or_else(|| scores(&values))
                .unwrap_or(Seen::Other)
        })
        .collect()
}

fn labels(values: &[&Output]) -> Option<Seen> {
    let one = |value: &&Output| {
        let tensor = value.tensor()?;
        let is_label = !matches!(tensor.data(), Data::Float(_) | Data::Double(_));
        if !is_label || tensor.len() != 1 {
            return None;
        }
        label_texts(value)?.pop()
    };
    values
        .iter()
        .map(one)
        .collect::<Option<_>>()
        .map(Seen::Labels)
}

fn scores(values: &[&Output]) -> Option<Seen> {
    let rows: Vec<Vec<f64>> = values
        .iter()
        .map(|value| numbers(value))
        .collect::<Option<_>>()?;
    let width = rows.first()?.len();
    if width == 0 || rows.iter().any(|row| row.len() != width) {
        return None;
    }
    let keys = match values.first()? {
        Output::Maps(maps) => Some(label_texts(&Output::Tensor(maps.keys.clone()))?),
        Output::Tensor(_) => None,
    };
    Some(Seen::Numbers { width, rows, keys })
}

fn numbers(value: &Output) -> Option<Vec<f64>> {
    let tensor = match value {
        Output::Tensor(tensor) => tensor,
        Output::Maps(maps) => &maps.scores,
    };
    match tensor.data() {
        Data::Float(values) => Some(values.iter().map(|x| f64::from(*x)).collect()),
        Data::Double(values) => Some(values.to_vec()),
        Data::Bool(values) => Some(values.iter().map(|x| f64::from(u8::from(*x))).collect()),
        Data::Int32(_) | Data::Int64(_) | Data::Text(_) => None,
    }
}

/// A row of one of four manners: nothing but zeros, small whole numbers, numbers around zero, larger numbers.
fn made_up(
    blank: &Row,
    schema: &Schema,
    index: usize,
    words: &[String],
    random: &mut Random,
) -> Row {
    let mut row = blank.clone();
    for (place, feature) in schema.features().iter().enumerate() {
        let mut number = || match index % 4 {
            0 => 0.0,
            1 => (random.next() * 10.0).floor(),
            2 => random.next() * 4.0 - 2.0,
            _ => random.next() * 100.0,
        };
        let value = match &feature.kind {
            Kind::Number { .. } => Value::Number(number()),
            Kind::Sequence { steps, .. } => {
                Value::Sequence((0..*steps).map(|_| number()).collect())
            }
            Kind::Text => Value::Text(random.word(words)),
            kind => match kind.values().len() {
                0 => Value::Missing,
                count => Value::Code((random.next() * count as f64) as u32),
            },
        };
        row = row.with_value(place, value);
    }
    row
}

/// A row of nothing.
fn blank(schema: &Arc<Schema>) -> Option<Row> {
    let nothing: ArrayRef = Arc::new(Float64Array::new_null(1));
    let named = schema.features().iter();
    let columns = named.map(|feature| (feature.name.as_str(), nothing.clone(), true));
    let batch = RecordBatch::try_from_iter_with_nullable(columns).ok()?;
    let (frame, _) = Frame::bind(schema, &batch).ok()?;
    Some(frame.row(0))
}

/// A small generator: the numbers only need to differ.
struct Random(u64);

impl Random {
    /// From zero, below one.
    fn next(&mut self) -> f64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as f64 / (1_u64 << 53) as f64
    }

    fn word(&mut self, words: &[String]) -> String {
        let place = (self.next() * (words.len() + 1) as f64) as usize;
        words.get(place).cloned().unwrap_or_default()
    }
}
