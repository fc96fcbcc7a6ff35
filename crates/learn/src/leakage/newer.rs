//! Columns that were written down after the moment of deciding.
//!
//! The recipe's `time` says when a row was true. A date that lies behind it in most rows was not known then; and a
//! feature that is filled in just where such a date is filled in came with it. Only tables that carry dates can be
//! judged so; what only a name gives away is [`crate::infer`]'s.

use crate::infer::is_date;
use crate::times;
use arrow_array::{Array, ArrayRef, RecordBatch};
use arrow_schema::DataType;
use ombud_core::Schema;
use ombud_core::frame::{is_missing_word, texts};

/// A date is newer when it lies behind the time in at least this share of the rows that have both.
const NEWER_SHARE: f64 = 0.5;
/// Fewer rows with both show nothing.
const ROWS_MIN: usize = 20;
/// A feature is filled in together with a date when the two agree in at least this share of rows.
const TOGETHER_SHARE: f64 = 0.99;
/// A date that is known in nearly all rows, or in nearly none, cannot show what was filled in with it.
const KNOWN_SHARE: std::ops::RangeInclusive<f64> = 0.05..=0.95;

/// What to tell about columns that are newer than `time`.
pub(crate) fn warnings(time: &str, schema: &Schema, batch: &RecordBatch) -> Vec<String> {
    let Some(decided) = batch.column_by_name(time).and_then(|a| times::read(a).ok()) else {
        return Vec::new();
    };
    let fields = batch.schema();
    let mut told = Vec::new();
    for (field, array) in fields.fields().iter().zip(batch.columns()) {
        let name = field.name();
        if name == time || !holds_dates(array) {
            continue;
        }
        let Some(share) = newer_share(&decided, array) else {
            continue;
        };
        let is_feature = is_feature(schema, name);
        let remedy = if is_feature {
            "drop it in [features]: it is not known when deciding"
        } else {
            "it is not a feature; look at what was written down with it"
        };
        told.push(format!(
            "{name} is newer than {time} in {:.0} % of rows: {remedy}",
            100.0 * share
        ));
        told.extend(filled_in_with(name, array, time, schema, batch));
    }
    told
}

fn is_feature(schema: &Schema, name: &str) -> bool {
    let mut features = schema.features().iter();
    features.any(|feature| feature.name == name)
}

fn holds_dates(array: &ArrayRef) -> bool {
    const LOOKED_AT: usize = 200;
    if !holds_words(array) {
        return false;
    }
    let cells = texts(array);
    let mut known = cells.iter().flatten().filter(|cell| !is_missing_word(cell));
    let looked: Vec<bool> = known.by_ref().take(LOOKED_AT).map(is_date).collect();
    !looked.is_empty() && looked.iter().filter(|is| **is).count() * 20 >= looked.len() * 19
}

/// In which share of the rows that have both the column lies behind the time; `None` when that is not worth a word.
fn newer_share(decided: &[Option<i64>], array: &ArrayRef) -> Option<f64> {
    let moments = times::read(array).ok()?;
    let pairs = decided.iter().zip(&moments);
    let both: Vec<(i64, i64)> = pairs.filter_map(|(a, b)| Some(((*a)?, (*b)?))).collect();
    let newer = both.iter().filter(|(decided, moment)| moment > decided);
    let share = newer.count() as f64 / both.len().max(1) as f64;
    (both.len() >= ROWS_MIN && share >= NEWER_SHARE).then_some(share)
}

/// Features that are known just where a newer date is.
fn filled_in_with(
    date: &str,
    dates: &ArrayRef,
    time: &str,
    schema: &Schema,
    batch: &RecordBatch,
) -> Vec<String> {
    let known = known_rows(dates);
    let share = known.iter().filter(|known| **known).count() as f64 / known.len().max(1) as f64;
    if !KNOWN_SHARE.contains(&share) {
        return Vec::new();
    }
    let together = schema.features().iter().filter(|feature| {
        let array = batch.column_by_name(&feature.name);
        feature.name != date && array.is_some_and(|array| agree(&known, &known_rows(array)))
    });
    together
        .map(|feature| {
            format!(
                "{} is filled in just where {date} is, which is newer than {time}: drop it in [features] unless it is known when deciding",
                feature.name
            )
        })
        .collect()
}

fn known_rows(array: &ArrayRef) -> Vec<bool> {
    if !holds_words(array) {
        return (0..array.len()).map(|row| array.is_valid(row)).collect();
    }
    let is_known = |cell: Option<&str>| cell.is_some_and(|cell| !is_missing_word(cell));
    texts(array).iter().map(is_known).collect()
}

fn holds_words(array: &ArrayRef) -> bool {
    matches!(
        array.data_type(),
        DataType::LargeUtf8 | DataType::Utf8 | DataType::Dictionary(_, _)
    )
}

fn agree(a: &[bool], b: &[bool]) -> bool {
    let equal = a.iter().zip(b).filter(|(a, b)| a == b).count();
    equal as f64 >= TOGETHER_SHARE * a.len() as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow_array::LargeStringArray;
    use ombud_core::schema::Columns;
    use ombud_core::{Feature, Kind};
    use std::sync::Arc;

    fn texts_of(values: impl IntoIterator<Item = Option<String>>) -> ArrayRef {
        Arc::new(values.into_iter().collect::<LargeStringArray>())
    }

    fn day(day: usize) -> Option<String> {
        Some(format!("2024-{:02}-{:02}", day / 28 + 1, day % 28 + 1))
    }

    /// Forty claims filed day after day; every other one was closed ten days later, by somebody.
    fn claims() -> (Schema, RecordBatch) {
        let is_closed = |row: &usize| row.is_multiple_of(2);
        let after = |row: usize| is_closed(&row).then(|| day(row + 10)).flatten();
        let by = |row: usize| is_closed(&row).then(|| format!("clerk {}", row % 3));
        let columns = [
            ("filed_at", texts_of((0..40).map(day))),
            ("born", texts_of((0..40).map(|_| Some("1980-01-01".into())))),
            ("closed_at", texts_of((0..40).map(after))),
            ("closed_by", texts_of((0..40).map(by))),
            (
                "team",
                texts_of((0..40).map(|row| Some(format!("team {}", row % 2)))),
            ),
        ];
        let word = |name| Feature::new(name, Kind::Text);
        let features = vec![word("closed_by"), word("team")];
        let schema = Schema::new(features, Columns::default()).unwrap();
        (schema, RecordBatch::try_from_iter(columns).unwrap())
    }

    #[test]
    fn a_date_after_the_decision_is_told_with_what_came_with_it() {
        let (schema, batch) = claims();
        let told = warnings("filed_at", &schema, &batch);
        assert_eq!(told.len(), 2, "{told:?}");
        assert!(told[0].starts_with("closed_at is newer than filed_at in 100 % of rows"));
        assert!(told[1].starts_with("closed_by is filled in just where closed_at is"));
    }

    #[test]
    fn a_date_before_the_decision_is_not_worth_a_word() {
        let (schema, batch) = claims();
        let told = warnings("closed_at", &schema, &batch);
        assert!(told.is_empty(), "{told:?}");
    }
}
