//! A batch of rows under a schema, columnar.
//!
//! Tables arrive as Arrow record batches from any reader (CSV, Parquet, SQL); [`Frame::bind`] turns one into typed
//! columns in the schema's order: numbers as they are (their buffers are shared, not copied), categories as codes. A row
//! of a request is judged strictly and refused ([`crate::row`]); a table is judged leniently, because one odd cell
//! must not lose a million rows: what does not fit becomes missing and is counted in [`Notes`], for the caller to tell.

use crate::nearest::nearest;
use crate::refusal::{Fault, Refusal};
use crate::row::{Row, Value, code_table, number_text};
use crate::schema::{Feature, Kind, Schema};
use arrow_array::builder::{Float64Builder, LargeStringBuilder, UInt32Builder};
use arrow_array::cast::AsArray;
use arrow_array::types::{Float64Type, Int32Type, Int64Type, UInt32Type};
use arrow_array::{
    Array, ArrayRef, BooleanArray, Float64Array, LargeStringArray, RecordBatch, UInt32Array,
};
use arrow_schema::DataType;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// Most rows a frame may hold, so that a row number always fits 32 bits.
pub const ROWS_MAX: usize = u32::MAX as usize;

/// A batch of rows under a schema.
#[derive(Debug, Clone)]
pub struct Frame {
    schema: Arc<Schema>,
    rows: usize,
    columns: Vec<Column>,
    carried: Vec<(String, ArrayRef)>,
}

/// The values of one feature.
#[derive(Debug, Clone)]
pub enum Column {
    /// A number; null is missing.
    Number(Float64Array),
    /// Codes of an ordinal or category; null is missing.
    Code(UInt32Array),
    /// Texts; null is missing.
    Text(LargeStringArray),
    /// Numbers, `steps` per row; NaN is missing.
    Sequence { steps: usize, values: Vec<f64> },
}

/// What did not fit when a table was bound to a schema, by column.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Notes {
    /// Values that training never saw, with how often: `(column, value)`.
    pub unseen: BTreeMap<(String, String), usize>,
    /// Cells that are no number or outside the bounds, by column.
    pub unfit: BTreeMap<String, usize>,
    /// Features the table does not have at all.
    pub absent: Vec<String>,
}

/// Most distinct unseen values remembered; more only waste memory.
const UNSEEN_KEPT_MAX: usize = 1_000;

impl Notes {
    /// Whether everything fitted.
    pub fn is_empty(&self) -> bool {
        self.unseen.is_empty() && self.unfit.is_empty() && self.absent.is_empty()
    }

    /// Adds another batch's notes.
    pub fn merge(&mut self, other: Notes) {
        for (key, count) in other.unseen {
            self.note_unseen(key.0, key.1, count);
        }
        for (column, count) in other.unfit {
            *self.unfit.entry(column).or_default() += count;
        }
        if self.absent.is_empty() {
            self.absent = other.absent;
        }
    }

    fn note_unseen(&mut self, column: String, value: String, count: usize) {
        if self.unseen.len() < UNSEEN_KEPT_MAX
            || self.unseen.contains_key(&(column.clone(), value.clone()))
        {
            *self.unseen.entry((column, value)).or_default() += count;
        }
    }

    /// One sentence per column, for a person.
    pub fn sentences(&self) -> Vec<String> {
        let mut unseen: BTreeMap<&str, (usize, Vec<&str>)> = BTreeMap::new();
        for ((column, value), count) in &self.unseen {
            let entry = unseen.entry(column).or_default();
            entry.0 += count;
            entry.1.push(value);
        }
        let unseen = unseen.into_iter().map(|(column, (count, values))| {
            let shown: Vec<String> = values.iter().take(3).map(|v| format!("{v:?}")).collect();
            let more = if values.len() > 3 { ", …" } else { "" };
            format!("{column}: {count} cells hold values unseen in training ({}{more}); they count as missing", shown.join(", "))
        });
        let unfit = self.unfit.iter().map(|(column, count)| {
            format!(
                "{column}: {count} cells are no number within the bounds; they count as missing"
            )
        });
        let absent = self
            .absent
            .iter()
            .map(|column| format!("{column}: the column is absent; it counts as missing"));
        unseen.chain(unfit).chain(absent).collect()
    }
}

impl Frame {
    /// Gives a table its types.
    ///
    /// # Errors
    /// Names every feature column that is absent, unless at least half of the features are there and the absent ones may
    /// be missing.
    pub fn bind(schema: &Arc<Schema>, batch: &RecordBatch) -> Result<(Frame, Notes), Refusal> {
        let mut notes = Notes::default();
        let mut refusal = Refusal::default();
        let mut columns = Vec::with_capacity(schema.features().len());
        for feature in schema.features() {
            match raw_column(batch, feature) {
                Some(raw) => columns.push(typed(feature, &raw, &mut notes)),
                None => {
                    refusal.add(absent_column(feature, batch));
                    notes.absent.push(feature.name.clone());
                    columns.push(empty(feature, batch.num_rows()));
                }
            }
        }
        let is_tolerable = refusal.count * 2 <= schema.features().len()
            && schema
                .features()
                .iter()
                .filter(|f| notes.absent.contains(&f.name))
                .all(Feature::may_be_missing);
        if refusal.count > 0 && !is_tolerable {
            return Err(refusal);
        }
        let carried = schema.columns.carried().into_iter();
        let carried = carried
            .filter_map(|name| Some((name.to_owned(), batch.column_by_name(name)?.clone())))
            .collect();
        Ok((
            Frame {
                schema: schema.clone(),
                rows: batch.num_rows(),
                columns,
                carried,
            },
            notes,
        ))
    }

    /// A frame of rows that were parsed one by one.
    pub fn from_rows(schema: &Arc<Schema>, rows: &[Row]) -> Frame {
        let columns = (0..schema.features().len())
            .map(|f| {
                let values = rows.iter().map(|row| &row.values()[f]);
                gather(&schema.features()[f].kind, values)
            })
            .collect();
        Frame {
            schema: schema.clone(),
            rows: rows.len(),
            columns,
            carried: Vec::new(),
        }
    }

    /// The same rows under another schema, with columns that were computed; what is carried beside them stays.
    ///
    /// # Panics
    /// When there is another number of columns than features, or one is of another kind or length.
    pub fn with_columns(&self, schema: Arc<Schema>, columns: Vec<Column>) -> Frame {
        let features = schema.features();
        assert_eq!(columns.len(), features.len(), "one column per feature");
        for (feature, column) in features.iter().zip(&columns) {
            assert!(column.is_of(&feature.kind), "a column of {}", feature.name);
            assert_eq!(column.rows(), self.rows, "as many rows as before");
        }
        Frame {
            schema,
            rows: self.rows,
            columns,
            carried: self.carried.clone(),
        }
    }

    /// The schema.
    pub fn schema(&self) -> &Arc<Schema> {
        &self.schema
    }

    /// How many rows.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// The columns, in the schema's order.
    pub fn columns(&self) -> &[Column] {
        &self.columns
    }

    /// A column that is carried beside the features: the subject, target, time, a protected attribute, an id.
    pub fn carried(&self, name: &str) -> Option<&ArrayRef> {
        self.carried
            .iter()
            .find(|(column, _)| column == name)
            .map(|(_, array)| array)
    }

    /// One row, as the parser of a request would have given it.
    pub fn row(&self, row: usize) -> Row {
        Row::from_values(
            self.columns
                .iter()
                .map(|column| column.value(row))
                .collect(),
        )
    }

    /// The rows at the given places, in that order.
    pub fn take(&self, rows: &[u32]) -> Frame {
        let indices = UInt32Array::from(rows.to_vec());
        let take = |array: &dyn Array| {
            arrow_select::take::take(array, &indices, None).expect("indices lie within the frame")
        };
        let columns = self.columns.iter().map(|column| match column {
            Column::Number(values) => {
                Column::Number(take(values).as_primitive::<Float64Type>().clone())
            }
            Column::Code(codes) => Column::Code(take(codes).as_primitive::<UInt32Type>().clone()),
            Column::Text(texts) => Column::Text(take(texts).as_string::<i64>().clone()),
            Column::Sequence { steps, values } => Column::Sequence {
                steps: *steps,
                values: rows
                    .iter()
                    .flat_map(|&row| &values[row as usize * steps..(row as usize + 1) * steps])
                    .copied()
                    .collect(),
            },
        });
        let carried = self
            .carried
            .iter()
            .map(|(name, array)| (name.clone(), take(array)))
            .collect();
        Frame {
            schema: self.schema.clone(),
            rows: rows.len(),
            columns: columns.collect(),
            carried,
        }
    }

    /// A run of rows, sharing the buffers.
    pub fn slice(&self, start: usize, length: usize) -> Frame {
        let columns = self.columns.iter().map(|column| match column {
            Column::Number(values) => Column::Number(values.slice(start, length)),
            Column::Code(codes) => Column::Code(codes.slice(start, length)),
            Column::Text(texts) => Column::Text(texts.slice(start, length)),
            Column::Sequence { steps, values } => Column::Sequence {
                steps: *steps,
                values: values[start * steps..(start + length) * steps].to_vec(),
            },
        });
        let carried = self
            .carried
            .iter()
            .map(|(name, array)| (name.clone(), array.slice(start, length)))
            .collect();
        Frame {
            schema: self.schema.clone(),
            rows: length,
            columns: columns.collect(),
            carried,
        }
    }
}

impl Feature {
    fn may_be_missing(&self) -> bool {
        self.missing == crate::schema::Missing::Allowed
    }
}

impl Column {
    /// A column of one kind, made of values of that kind.
    pub fn of(kind: &Kind, values: &[Value]) -> Column {
        gather(kind, values.iter())
    }

    /// How many rows.
    pub fn rows(&self) -> usize {
        match self {
            Column::Number(values) => values.len(),
            Column::Code(codes) => codes.len(),
            Column::Text(texts) => texts.len(),
            Column::Sequence { steps, values } => values.len() / steps,
        }
    }

    fn is_of(&self, kind: &Kind) -> bool {
        match (self, kind) {
            (Column::Number(_), Kind::Number { .. })
            | (Column::Code(_), Kind::Ordinal { .. } | Kind::Category { .. })
            | (Column::Text(_), Kind::Text) => true,
            (Column::Sequence { steps, .. }, Kind::Sequence { steps: wanted, .. }) => {
                steps == wanted
            }
            _ => false,
        }
    }

    /// Whether a row holds nothing.
    pub fn is_missing(&self, row: usize) -> bool {
        match self {
            Column::Number(values) => values.is_null(row),
            Column::Code(codes) => codes.is_null(row),
            Column::Text(texts) => texts.is_null(row),
            Column::Sequence { steps, values } => {
                let steps_of_row = &values[row * steps..(row + 1) * steps];
                steps_of_row.iter().all(|step| step.is_nan())
            }
        }
    }

    /// The value of one row.
    pub fn value(&self, row: usize) -> Value {
        match self {
            _ if self.is_missing(row) => Value::Missing,
            Column::Number(values) => Value::Number(values.value(row)),
            Column::Code(codes) => Value::Code(codes.value(row)),
            Column::Text(texts) => Value::Text(texts.value(row).to_owned()),
            Column::Sequence { steps, values } => {
                Value::Sequence(values[row * steps..(row + 1) * steps].to_vec())
            }
        }
    }

    /// How many rows hold nothing.
    pub fn missing(&self) -> usize {
        match self {
            Column::Number(values) => values.null_count(),
            Column::Code(codes) => codes.null_count(),
            Column::Text(texts) => texts.null_count(),
            Column::Sequence { steps, values } => values
                .chunks_exact(*steps)
                .filter(|row| row.iter().all(|step| step.is_nan()))
                .count(),
        }
    }
}

/// The column of a feature: by its name, or by its dotted path.
fn raw_column(batch: &RecordBatch, feature: &Feature) -> Option<RawColumn> {
    if let Kind::Sequence { steps, .. } = feature.kind {
        return sequence_columns(batch, feature, steps);
    }
    let array = batch
        .column_by_name(&feature.name)
        .or_else(|| batch.column_by_name(&feature.path.to_string()))?;
    Some(RawColumn::One(array.clone()))
}

enum RawColumn {
    One(ArrayRef),
    Steps(Vec<ArrayRef>),
}

/// A sequence in a table is a list column of its name, or one column per step: `hr_1` … `hr_7`.
fn sequence_columns(batch: &RecordBatch, feature: &Feature, steps: usize) -> Option<RawColumn> {
    if let Some(array) = batch.column_by_name(&feature.name) {
        return Some(RawColumn::One(array.clone()));
    }
    let step = |i: usize| {
        batch
            .column_by_name(&format!("{}_{}", feature.name, i + 1))
            .cloned()
    };
    (0..steps)
        .map(step)
        .collect::<Option<Vec<_>>>()
        .map(RawColumn::Steps)
}

fn absent_column(feature: &Feature, batch: &RecordBatch) -> Fault {
    let schema = batch.schema();
    let near = nearest(
        &feature.name,
        schema.fields().iter().map(|field| field.name().as_str()),
    );
    Fault::new(
        &feature.name,
        "no such column",
        format!("a column of {}", feature.kind.word()),
    )
    .near(near)
}

fn empty(feature: &Feature, rows: usize) -> Column {
    match feature.kind {
        Kind::Number { .. } => Column::Number(Float64Array::new_null(rows)),
        Kind::Ordinal { .. } | Kind::Category { .. } => Column::Code(UInt32Array::new_null(rows)),
        Kind::Text => Column::Text(LargeStringArray::new_null(rows)),
        Kind::Sequence { steps, .. } => Column::Sequence {
            steps,
            values: vec![f64::NAN; rows * steps],
        },
    }
}

fn typed(feature: &Feature, raw: &RawColumn, notes: &mut Notes) -> Column {
    match (&feature.kind, raw) {
        (Kind::Number { bounds }, RawColumn::One(array)) => {
            let (numbers, unfit) = numbers(array);
            let outside = |v: Option<f64>| v.is_some_and(|v| !(is_usable(v) && bounds.allow(v)));
            let all_inside = !numbers.iter().any(outside);
            let (numbers, outside) = if all_inside {
                (numbers, 0)
            } else {
                drop_values(&numbers, outside)
            };
            note_unfit(notes, feature, unfit + outside);
            Column::Number(numbers)
        }
        (Kind::Ordinal { .. } | Kind::Category { .. }, RawColumn::One(array)) => {
            Column::Code(codes(feature, array, notes))
        }
        (Kind::Sequence { steps, bounds }, raw) => {
            let (values, unfit) = match raw {
                RawColumn::One(array) => list_steps(array, *steps),
                RawColumn::Steps(arrays) => interleave(arrays),
            };
            let (values, outside) =
                values
                    .into_iter()
                    .fold((Vec::new(), 0), |(mut kept, outside), value| {
                        let fits = value.is_nan() || (is_usable(value) && bounds.allow(value));
                        kept.push(if fits { value } else { f64::NAN });
                        (kept, outside + usize::from(!fits))
                    });
            note_unfit(notes, feature, unfit + outside);
            Column::Sequence {
                steps: *steps,
                values,
            }
        }
        (_, RawColumn::One(array)) => Column::Text(known_texts(array)),
        (_, RawColumn::Steps(arrays)) => empty(feature, arrays.first().map_or(0, Array::len)),
    }
}

/// Models compare in single precision; a number beyond it is a mistake in the data.
fn is_usable(value: f64) -> bool {
    value.abs() <= f64::from(f32::MAX)
}

fn note_unfit(notes: &mut Notes, feature: &Feature, count: usize) {
    if count > 0 {
        *notes.unfit.entry(feature.name.clone()).or_default() += count;
    }
}

fn drop_values(
    numbers: &Float64Array,
    dropped: impl Fn(Option<f64>) -> bool,
) -> (Float64Array, usize) {
    let mut count = 0;
    let kept = numbers.iter().map(|value| {
        if dropped(value) {
            count += 1;
            None
        } else {
            value
        }
    });
    (kept.collect(), count)
}

/// Any column as numbers, with how many cells are none. NaN becomes missing.
pub fn numbers(array: &ArrayRef) -> (Float64Array, usize) {
    match array.data_type() {
        DataType::Float64 => {
            let values = array.as_primitive::<Float64Type>();
            if values.values().iter().any(|v| v.is_nan()) {
                (drop_values(values, |v| v.is_some_and(f64::is_nan)).0, 0)
            } else {
                (values.clone(), 0)
            }
        }
        DataType::Int64 => (array.as_primitive::<Int64Type>().unary(|v| v as f64), 0),
        DataType::Boolean => {
            let flags: &BooleanArray = array.as_boolean();
            (
                flags
                    .iter()
                    .map(|flag| flag.map(|flag| f64::from(u8::from(flag))))
                    .collect(),
                0,
            )
        }
        _ => numbers_from_texts(&texts(array)),
    }
}

fn numbers_from_texts(texts: &LargeStringArray) -> (Float64Array, usize) {
    let mut unfit = 0;
    let parse = |text: Option<&str>| {
        let text = text?.trim();
        match text.parse::<f64>() {
            Ok(number) if number.is_finite() => Some(number),
            _ => {
                unfit += usize::from(!is_missing_word(text));
                None
            }
        }
    };
    (texts.iter().map(parse).collect(), unfit)
}

/// The words by which tables say that a value is not known.
pub fn is_missing_word(text: &str) -> bool {
    const WORDS: [&str; 13] = [
        "", "na", "n/a", "#n/a", "nan", "null", "none", "nil", "-nan", "<na>", "#na", "?",
        "missing",
    ];
    text.len() <= 7 && WORDS.iter().any(|word| text.eq_ignore_ascii_case(word))
}

/// Whether a text says anything: white space alone is missing, in a table, in a request and in an exported graph.
pub fn is_blank(text: &str) -> bool {
    text.trim().is_empty()
}

/// The texts of a feature. Cells that say nothing are missing whatever the file is, so that a row means the same in all.
fn known_texts(array: &ArrayRef) -> LargeStringArray {
    let all = texts(array);
    if !all.iter().flatten().any(is_blank) {
        return all;
    }
    all.iter()
        .map(|text| text.filter(|text| !is_blank(text)))
        .collect()
}

/// Any column as texts.
pub fn texts(array: &ArrayRef) -> LargeStringArray {
    match array.data_type() {
        DataType::LargeUtf8 => array.as_string::<i64>().clone(),
        DataType::Utf8 => array.as_string::<i32>().iter().collect(),
        DataType::Dictionary(_, _) => match array.as_dictionary_opt::<Int32Type>() {
            Some(dictionary) => {
                let values = texts(dictionary.values());
                dictionary
                    .keys()
                    .iter()
                    .map(|key| key.map(|key| values.value(key as usize)))
                    .collect()
            }
            None => LargeStringArray::new_null(array.len()),
        },
        DataType::Boolean => {
            let flags: &BooleanArray = array.as_boolean();
            flags
                .iter()
                .map(|flag| flag.map(|flag| if flag { "true" } else { "false" }))
                .collect()
        }
        DataType::Float64 | DataType::Int64 => {
            let (numbers, _) = numbers(array);
            let mut builder = LargeStringBuilder::with_capacity(array.len(), array.len() * 4);
            numbers
                .iter()
                .for_each(|value| builder.append_option(value.map(number_text)));
            builder.finish()
        }
        _ => LargeStringArray::new_null(array.len()),
    }
}

fn codes(feature: &Feature, array: &ArrayRef, notes: &mut Notes) -> UInt32Array {
    let table = code_table(&feature.kind);
    if let Some(dictionary) = array.as_dictionary_opt::<Int32Type>() {
        let values = texts(dictionary.values());
        let by_key: Vec<Option<u32>> = values
            .iter()
            .map(|v| v.and_then(|v| table.get(v).copied()))
            .collect();
        let mut counts: HashMap<i32, usize> = HashMap::new();
        let codes = dictionary.keys().iter().map(|key| {
            let key = key?;
            let code = by_key[key as usize];
            if code.is_none() && !is_missing_word(values.value(key as usize)) {
                *counts.entry(key).or_default() += 1;
            }
            code
        });
        let codes = codes.collect();
        for (key, count) in counts {
            notes.note_unseen(
                feature.name.clone(),
                values.value(key as usize).to_owned(),
                count,
            );
        }
        return codes;
    }
    let texts = texts(array);
    let mut builder = UInt32Builder::with_capacity(texts.len());
    let mut unseen: HashMap<&str, usize> = HashMap::new();
    for text in &texts {
        let code = text.and_then(|text| table.get(text).copied());
        if let (None, Some(text)) = (code, text)
            && !is_missing_word(text)
        {
            *unseen.entry(text).or_default() += 1;
        }
        builder.append_option(code);
    }
    for (value, count) in unseen {
        notes.note_unseen(feature.name.clone(), value.to_owned(), count);
    }
    builder.finish()
}

fn list_steps(array: &ArrayRef, steps: usize) -> (Vec<f64>, usize) {
    let mut values = vec![f64::NAN; array.len() * steps];
    let mut unfit = 0;
    for (row, out) in values.chunks_exact_mut(steps).enumerate() {
        let list = match array.data_type() {
            DataType::List(_) if array.is_valid(row) => array.as_list::<i32>().value(row),
            DataType::LargeList(_) if array.is_valid(row) => array.as_list::<i64>().value(row),
            DataType::FixedSizeList(_, _) if array.is_valid(row) => {
                array.as_fixed_size_list().value(row)
            }
            _ => continue,
        };
        if list.len() != steps {
            unfit += 1;
            continue;
        }
        let (numbers, faults) = numbers(&list);
        unfit += faults;
        for (step, number) in out.iter_mut().zip(&numbers) {
            *step = number.unwrap_or(f64::NAN);
        }
    }
    (values, unfit)
}

fn interleave(arrays: &[ArrayRef]) -> (Vec<f64>, usize) {
    let rows = arrays.first().map_or(0, Array::len);
    let mut values = vec![f64::NAN; rows * arrays.len()];
    let mut unfit = 0;
    for (step, array) in arrays.iter().enumerate() {
        let (numbers, faults) = numbers(array);
        unfit += faults;
        for (row, number) in numbers.iter().enumerate() {
            values[row * arrays.len() + step] = number.unwrap_or(f64::NAN);
        }
    }
    (values, unfit)
}

fn gather<'v>(kind: &Kind, values: impl ExactSizeIterator<Item = &'v Value>) -> Column {
    let rows = values.len();
    match kind {
        Kind::Number { .. } => {
            let mut builder = Float64Builder::with_capacity(rows);
            values.for_each(|v| {
                builder.append_option(if let Value::Number(n) = v {
                    Some(*n)
                } else {
                    None
                });
            });
            Column::Number(builder.finish())
        }
        Kind::Ordinal { .. } | Kind::Category { .. } => {
            let mut builder = UInt32Builder::with_capacity(rows);
            values.for_each(|v| {
                builder.append_option(if let Value::Code(c) = v {
                    Some(*c)
                } else {
                    None
                });
            });
            Column::Code(builder.finish())
        }
        Kind::Text => {
            let mut builder = LargeStringBuilder::new();
            values.for_each(|v| {
                builder.append_option(if let Value::Text(t) = v {
                    Some(t)
                } else {
                    None
                });
            });
            Column::Text(builder.finish())
        }
        Kind::Sequence { steps, .. } => {
            let mut all = Vec::with_capacity(rows * steps);
            for value in values {
                match value {
                    Value::Sequence(sequence) => all.extend_from_slice(sequence),
                    _ => all.extend(std::iter::repeat_n(f64::NAN, *steps)),
                }
            }
            Column::Sequence {
                steps: *steps,
                values: all,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::row::RowParser;
    use crate::schema::{Bounds, Columns, Unseen};
    use arrow_array::{Int64Array, StringArray};

    fn schema() -> Arc<Schema> {
        let features = vec![
            Feature::new(
                "age",
                Kind::Number {
                    bounds: Bounds {
                        min: Some(0.0),
                        max: Some(120.0),
                    },
                },
            ),
            Feature::new(
                "sex",
                Kind::Category {
                    values: vec!["f".into(), "m".into()],
                    unseen: Unseen::Missing,
                },
            ),
            Feature::new(
                "hr",
                Kind::Sequence {
                    steps: 2,
                    bounds: Bounds::default(),
                },
            ),
        ];
        let columns = Columns {
            subject: Some("id".into()),
            ..Columns::default()
        };
        Arc::new(Schema::new(features, columns).unwrap())
    }

    fn batch() -> RecordBatch {
        RecordBatch::try_from_iter([
            (
                "id",
                Arc::new(StringArray::from(vec!["a", "b", "c"])) as ArrayRef,
            ),
            (
                "age",
                Arc::new(Float64Array::from(vec![Some(30.0), Some(300.0), None])),
            ),
            (
                "sex",
                Arc::new(StringArray::from(vec![Some("m"), Some("x"), None])),
            ),
            ("hr_1", Arc::new(Int64Array::from(vec![80, 81, 82]))),
            (
                "hr_2",
                Arc::new(Int64Array::from(vec![Some(90), None, None])),
            ),
        ])
        .unwrap()
    }

    #[test]
    fn what_does_not_fit_is_missing_and_counted() {
        let (frame, notes) = Frame::bind(&schema(), &batch()).unwrap();
        assert_eq!(notes.unfit["age"], 1);
        assert_eq!(notes.unseen[&("sex".to_owned(), "x".to_owned())], 1);
        assert_eq!(frame.columns()[0].missing(), 2);
        assert!(frame.carried("id").is_some());
    }

    #[test]
    fn a_text_of_nothing_but_white_space_is_missing() {
        let note = vec![Feature::new("note", Kind::Text)];
        let schema = Arc::new(Schema::new(note, Columns::default()).unwrap());
        let cells = StringArray::from(vec![
            Some("calm"),
            Some(""),
            Some(" \t\u{a0}"),
            Some("none"),
            None,
        ]);
        let batch = RecordBatch::try_from_iter([("note", Arc::new(cells) as ArrayRef)]).unwrap();
        let (frame, notes) = Frame::bind(&schema, &batch).unwrap();
        let is_missing: Vec<bool> = (0..5)
            .map(|row| frame.columns()[0].is_missing(row))
            .collect();
        assert_eq!(is_missing, [false, true, true, false, true]);
        assert!(notes.is_empty());
    }

    #[test]
    fn a_row_of_a_frame_is_the_row_of_a_request() {
        let (frame, _) = Frame::bind(&schema(), &batch()).unwrap();
        let row = RowParser::new(schema())
            .parse(br#"{"age":30,"sex":"m","hr":[80,90]}"#)
            .unwrap();
        assert_eq!(frame.row(0), row);
        let again = Frame::from_rows(&schema(), std::slice::from_ref(&row));
        assert_eq!(again.row(0), row);
    }

    #[test]
    fn taken_and_sliced_rows_stay_themselves() {
        let (frame, _) = Frame::bind(&schema(), &batch()).unwrap();
        assert_eq!(frame.take(&[2, 0]).row(1), frame.row(0));
        assert_eq!(frame.slice(1, 1).columns()[0].missing(), 1);
    }

    #[test]
    fn a_table_of_something_else_is_refused_with_near_names() {
        let other = RecordBatch::try_from_iter([(
            "agee",
            Arc::new(Float64Array::from(vec![1.0])) as ArrayRef,
        )])
        .unwrap();
        let refusal = Frame::bind(&schema(), &other).unwrap_err();
        assert_eq!(refusal.count, 3);
        assert_eq!(refusal.faults[0].nearest.as_deref(), Some("agee"));
    }
}
