//! Joins a long table to a table of one row each: `record_id, step, hr, sbp` becomes the sequences `hr` and `sbp`.
//!
//! The long table is held in memory, sorted once by key; the main table may then come batch by batch. A key without rows gets
//! no sequence. Every sequence has the same number of steps, the commonest of the keys unless told. When the order
//! column numbers exactly so many steps, each value goes to its step; otherwise the newest values count and the oldest
//! places stay empty.

use super::cells::Lists;
use super::error::ReadError;
use super::{RawKind, batch_of, column};
use arrow_array::{Array, ArrayRef, Float64Array, RecordBatch};
use arrow_schema::DataType;
use ombud_core::frame;
use ombud_core::schema::STEPS_MAX;
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// How a long table joins.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SeriesSpec {
    /// The long table, as any other source.
    pub source: String,
    /// The column that both tables have.
    pub key: String,
    /// The column that puts the rows of a key in order, oldest first.
    pub order: String,
    /// The columns of numbers that become sequences.
    pub columns: Vec<String>,
    /// How many steps each sequence has.
    #[serde(default)]
    pub steps: Option<usize>,
}

/// A long table, ready to be joined.
#[derive(Debug)]
pub struct Series {
    file: String,
    key: String,
    key_kind: RawKind,
    steps: usize,
    /// The row of each step, oldest first, by key; none where a step is absent.
    places: HashMap<String, Vec<Option<u32>>>,
    columns: Vec<(String, Float64Array)>,
}

impl Series {
    /// Sorts a long table by key and order.
    ///
    /// # Errors
    /// An absent column, a column or an order that is no number, a key with two rows of one order, absurd steps.
    pub fn new(batch: &RecordBatch, spec: &SeriesSpec) -> Result<Series, ReadError> {
        let file = &spec.source;
        let rows = rows_by_key(batch, spec)?;
        let orders: BTreeSet<u64> = rows.values().flat_map(BTreeMap::keys).copied().collect();
        let steps = spec.steps.unwrap_or_else(|| commonest_count(&rows));
        if !(1..=STEPS_MAX).contains(&steps) {
            return Err(ReadError::SeriesSteps {
                file: file.clone(),
                steps,
                limit: STEPS_MAX,
            });
        }
        let numbered = (orders.len() == steps).then(|| Vec::from_iter(orders));
        let places = rows
            .into_iter()
            .map(|(key, rows)| (key, places_of(&rows, steps, numbered.as_deref())))
            .collect();
        let columns: Result<Vec<_>, ReadError> = spec
            .columns
            .iter()
            .map(|name| Ok((name.clone(), numbers_of(batch, name, file)?)))
            .collect();
        Ok(Series {
            file: file.clone(),
            key: spec.key.clone(),
            key_kind: key_kind(column(batch, &spec.key, file)?),
            steps,
            places,
            columns: columns?,
        })
    }

    /// How many steps each sequence has.
    pub fn steps(&self) -> usize {
        self.steps
    }

    /// The column by which it joins, and as what the main table must be read there to agree with it.
    pub fn key(&self) -> (&str, RawKind) {
        (&self.key, self.key_kind)
    }

    /// How many keys have a sequence.
    pub fn keys(&self) -> usize {
        self.places.len()
    }

    /// Adds the sequences to a table as columns of lists.
    ///
    /// # Errors
    /// The table has no key column, has one of the columns already, or shares no key although it has rows.
    pub fn join(&self, main: &RecordBatch) -> Result<RecordBatch, ReadError> {
        let keys = frame::texts(column(main, &self.key, "the table")?);
        let places: Vec<Option<&Vec<Option<u32>>>> =
            keys.iter().map(|key| self.places.get(key?)).collect();
        if !places.is_empty() && places.iter().all(Option::is_none) {
            return Err(ReadError::SeriesApart {
                file: self.file.clone(),
                column: self.key.clone(),
            });
        }
        let schema = main.schema();
        let names = schema.fields().iter().map(|field| field.name().clone());
        let mut columns: Vec<(String, ArrayRef)> =
            names.zip(main.columns().iter().cloned()).collect();
        for (name, values) in &self.columns {
            if main.column_by_name(name).is_some() {
                return Err(ReadError::SeriesClash {
                    file: self.file.clone(),
                    column: name.clone(),
                });
            }
            columns.push((name.clone(), lists(values, &places)));
        }
        Ok(batch_of(columns, main.num_rows()))
    }
}

/// A key of numbers agrees with a number however it is written, a key of texts only with the same text.
fn key_kind(keys: &ArrayRef) -> RawKind {
    match keys.data_type() {
        DataType::Float64 | DataType::Int64 => RawKind::NumberName,
        _ => RawKind::Text,
    }
}

fn lists(values: &Float64Array, places: &[Option<&Vec<Option<u32>>>]) -> ArrayRef {
    let mut lists = Lists::default();
    for row in places {
        let numbers: Option<Vec<f64>> = row.map(|steps| {
            let value = |place: &Option<u32>| match place {
                Some(place) if values.is_valid(*place as usize) => values.value(*place as usize),
                _ => f64::NAN,
            };
            steps.iter().map(value).collect()
        });
        lists.push(numbers.as_deref());
    }
    lists.finish()
}

/// The rows of each key by order. Orders are kept as bits that sort like the numbers they are.
fn rows_by_key(
    batch: &RecordBatch,
    spec: &SeriesSpec,
) -> Result<HashMap<String, BTreeMap<u64, u32>>, ReadError> {
    let file = &spec.source;
    let keys = frame::texts(column(batch, &spec.key, file)?);
    let order = column(batch, &spec.order, file)?;
    let order_texts = frame::texts(order);
    let (orders, _) = frame::numbers(order);
    let mut rows: HashMap<String, BTreeMap<u64, u32>> = HashMap::new();
    for (row, key) in keys.iter().enumerate() {
        let Some(key) = key else { continue };
        let shown = || match order_texts.is_valid(row) {
            true => order_texts.value(row).to_owned(),
            false => String::new(),
        };
        if orders.is_null(row) {
            return Err(ReadError::SeriesOrder {
                file: file.clone(),
                row: row + 1,
                order: shown(),
            });
        }
        let of_key = match rows.get_mut(key) {
            Some(of_key) => of_key,
            None => rows.entry(key.to_owned()).or_default(),
        };
        if of_key
            .insert(sortable(orders.value(row)), row as u32)
            .is_some()
        {
            return Err(ReadError::SeriesTwice {
                file: file.clone(),
                key: key.to_owned(),
                order: shown(),
            });
        }
    }
    Ok(rows)
}

fn sortable(number: f64) -> u64 {
    // Adding zero makes a negative zero positive.
    let bits = (number + 0.0).to_bits();
    if bits >> 63 == 0 {
        bits | 1 << 63
    } else {
        !bits
    }
}

/// The commonest number of rows per key; of equally common ones the largest.
fn commonest_count(rows: &HashMap<String, BTreeMap<u64, u32>>) -> usize {
    let mut counts: BTreeMap<usize, usize> = BTreeMap::new();
    for of_key in rows.values() {
        *counts.entry(of_key.len()).or_default() += 1;
    }
    let commonest = counts.into_iter().max_by_key(|(rows, keys)| (*keys, *rows));
    commonest.map_or(0, |(rows, _)| rows)
}

fn places_of(
    rows: &BTreeMap<u64, u32>,
    steps: usize,
    numbered: Option<&[u64]>,
) -> Vec<Option<u32>> {
    if let Some(orders) = numbered {
        return orders
            .iter()
            .map(|order| rows.get(order).copied())
            .collect();
    }
    let newest = rows.values().skip(rows.len().saturating_sub(steps));
    let absent = steps - rows.len().min(steps);
    std::iter::repeat_n(None, absent)
        .chain(newest.map(|row| Some(*row)))
        .collect()
}

fn numbers_of(batch: &RecordBatch, name: &str, file: &str) -> Result<Float64Array, ReadError> {
    let (numbers, unfit) = frame::numbers(column(batch, name, file)?);
    if unfit > 0 {
        return Err(ReadError::SeriesColumn {
            file: file.to_owned(),
            column: name.to_owned(),
        });
    }
    Ok(numbers)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::{SourceSpec, open, testing};

    fn table(text: &str) -> RecordBatch {
        let (_folder, spec) = testing::file("a.csv", text.as_bytes());
        open(&spec).unwrap().read_all().unwrap().batch
    }

    fn spec() -> SeriesSpec {
        SeriesSpec {
            source: "series.csv".into(),
            key: "id".into(),
            order: "step".into(),
            columns: vec!["hr".into()],
            steps: None,
        }
    }

    fn sequences(batch: &RecordBatch, name: &str) -> Vec<Option<Vec<f64>>> {
        use arrow_array::cast::AsArray;
        let lists = batch.column_by_name(name).unwrap().as_list::<i64>();
        let numbers = |row: usize| {
            let (numbers, _) = frame::numbers(&lists.value(row));
            numbers.iter().map(|n| n.unwrap_or(-1.0)).collect()
        };
        (0..lists.len())
            .map(|row| lists.is_valid(row).then(|| numbers(row)))
            .collect()
    }

    #[test]
    fn each_value_goes_to_its_step() {
        let long = table("id,step,hr\n7,2,72\n7,1,71\n8,1,81\n8,2,\n9,2,92\n");
        let series = Series::new(&long, &spec()).unwrap();
        assert_eq!((series.steps(), series.keys()), (2, 3));
        let joined = series
            .join(&table("id,age\n9,1\n10,2\n7,3\n8,4\n"))
            .unwrap();
        let expected = [
            Some(vec![-1.0, 92.0]),
            None,
            Some(vec![71.0, 72.0]),
            Some(vec![81.0, -1.0]),
        ];
        assert_eq!(sequences(&joined, "hr"), expected);
    }

    #[test]
    fn without_numbered_steps_the_newest_count() {
        let long = table("id,step,hr\n7,10,1\n7,20,2\n7,30,3\n8,5,4\n8,6,5\n9,1,6\n9,2,7\n6,9,8\n");
        let series = Series::new(&long, &spec()).unwrap();
        assert_eq!(series.steps(), 2);
        let joined = series.join(&table("id\n7\n8\n6\n")).unwrap();
        let expected = [
            Some(vec![2.0, 3.0]),
            Some(vec![4.0, 5.0]),
            Some(vec![-1.0, 8.0]),
        ];
        assert_eq!(sequences(&joined, "hr"), expected);
    }

    #[test]
    fn what_does_not_join_is_told() {
        let main = table("id,hr\n7,1\n");
        let long = "id,step,hr\n7,1,1\n7,2,2\n";
        let told = |long: &str, spec: &SeriesSpec, main: &RecordBatch| {
            let joined = Series::new(&table(long), spec).and_then(|series| series.join(main));
            joined.unwrap_err().to_string()
        };
        let other = SeriesSpec {
            order: "steps".into(),
            ..spec()
        };
        assert_eq!(
            told(long, &other, &main),
            "series.csv has no column \"steps\""
        );
        assert_eq!(
            told(long, &spec(), &main),
            "series.csv: the table already has a column \"hr\""
        );
        assert_eq!(
            told("id,step,hr\n7,1,1\n7,1,2\n", &spec(), &main),
            "series.csv: key \"7\" has two rows with the order 1"
        );
        assert_eq!(
            told("id,step,hr\n7,x,1\n", &spec(), &main),
            "series.csv, row 1: the order \"x\" is no number"
        );
        assert_eq!(
            told(long, &spec(), &table("id\n8\n")),
            "series.csv: none of its keys is in the table's column \"id\""
        );
        let text = SeriesSpec {
            columns: vec!["hr".into()],
            ..spec()
        };
        assert_eq!(
            told("id,step,hr\n7,1,high\n", &text, &main),
            "series.csv: column \"hr\" is not made of numbers"
        );
        assert!(SourceSpec::parse(&spec().source, std::path::Path::new("")).is_ok());
    }
}
