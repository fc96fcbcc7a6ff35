//! What every column of a table is, with the reason in words.
//!
//! Looks at names and values together: a number, a category, an order, a text, an identifier, a date, an outcome that
//! was written down later. A recipe may overrule any of it; what is left out is told, never silent. The same look
//! serves training and `ombud recipe new`.

mod scales;

use crate::recipe::{FeatureSpec, KindWord, Recipe};
use arrow_array::{Array, ArrayRef, RecordBatch};
use arrow_schema::DataType;
use ombud_core::frame::{is_missing_word, numbers, texts};
use ombud_core::schema::{Bounds, Columns, Missing, STEPS_MAX, SchemaError, Unseen};
use ombud_core::{Feature, Kind};
use std::collections::HashMap;

/// Values a category keeps; rarer ones count as unseen.
const VALUES_KEPT_MAX: usize = 1_000;
/// A column that a person calls a category may have this many values.
const VALUES_GIVEN_MAX: usize = 50_000;
/// A category with more values than this expects new ones.
const VALUES_CLOSED_MAX: usize = 50;
/// A value seen less often than this is too rare for its set to be closed.
const VALUE_ROWS_MIN: usize = 5;
/// Texts with at least this many words on average are sentences.
const WORDS_MIN: f64 = 3.5;
/// Up to this many different texts are values, however long they are.
const DISTINCT_VALUES_MAX: usize = 30;
/// The share of rows that are different above which a column identifies rows.
const UNIQUE_SHARE: f64 = 0.95;
/// Fewer rows than this cannot show that a column identifies them.
const UNIQUE_ROWS_MIN: usize = 50;

/// What a column is taken for.
#[derive(Debug, Clone, PartialEq)]
pub struct Look {
    /// The column.
    pub name: String,
    /// What it is.
    pub part: Part,
    /// Why, in words.
    pub why: String,
}

/// The part that a column plays.
#[derive(Debug, Clone, PartialEq)]
pub enum Part {
    /// Something to decide by.
    Feature(Kind),
    /// Tells rows apart and nothing else.
    Id,
    /// A moment in time.
    Date,
    /// The same in every row, or nothing at all.
    Constant,
    /// Written down after the outcome, or another outcome.
    Later,
}

/// Features with what a person should know about them.
#[derive(Debug)]
pub struct Described {
    /// The features.
    pub features: Vec<Feature>,
    /// The columns that play another part.
    pub columns: Columns,
    /// Columns left out, and other things to know.
    pub warnings: Vec<String>,
}

/// Why a table has no schema.
#[derive(Debug, thiserror::Error)]
pub enum InferError {
    #[error("no column is left to learn from: {reason}")]
    NoFeature { reason: String },
    #[error("the feature {feature:?} is to be {wanted}, and {why}")]
    Unfit {
        feature: String,
        wanted: &'static str,
        why: String,
    },
    #[error("the target {target:?} is also named as a feature, an id or a column to drop")]
    TargetAmongFeatures { target: String },
    #[error(transparent)]
    Schema(#[from] SchemaError),
}

impl InferError {
    /// What to do.
    pub fn hint(&self) -> String {
        match self {
            InferError::NoFeature { .. } => {
                "add columns that are known when deciding, or name one in [features], such as `age = \"number\"`".into()
            }
            InferError::Unfit { .. } => "give it another type in [features], or mend the cells".into(),
            InferError::TargetAmongFeatures { target } => {
                format!("remove `{target}` from [features] and `ids`: a model that is told the answer learns nothing")
            }
            InferError::Schema(_) => "check the names and values in [features]".into(),
        }
    }
}

/// The order of a target's words, when they are of a known scale.
pub(crate) fn order_of(names: &[String]) -> Option<Vec<String>> {
    scales::order(names.iter().map(String::as_str))
}

/// The features of a table under a recipe, without the columns that are left to others.
pub fn describe(
    recipe: &Recipe,
    batch: &RecordBatch,
    left_to_others: &[String],
) -> Result<Described, InferError> {
    let columns = columns_of(recipe);
    check_target(recipe)?;
    let (mut features, mut warnings) = (Vec::new(), Vec::new());
    let fields = batch.schema();
    let sequences = wide_sequences(recipe, batch);
    for (field, array) in fields.fields().iter().zip(batch.columns()) {
        let name = field.name();
        if plays_another_part(recipe, name) || left_to_others.contains(name) {
            continue;
        }
        if let Some(sequence) = sequences.iter().find(|sequence| sequence.holds(name)) {
            // The first step stands for all of them.
            if name == &sequence.step(1) {
                features.push(sequence.feature());
            }
            continue;
        }
        if let Some(spec) = recipe.features.given.get(name) {
            features.push(given_feature(name, spec, array)?);
            continue;
        }
        let look = look(name, array, recipe.data.target.as_deref());
        match look.part {
            Part::Feature(kind) => features.push(Feature::new(name, kind)),
            Part::Id | Part::Date | Part::Constant | Part::Later => {
                warnings.push(format!("{name} is left out: {}", look.why));
            }
        }
    }
    for name in &recipe.data.protected {
        if features.iter().any(|feature| &feature.name == name)
            && !recipe.features.given.contains_key(name)
        {
            warnings.push(format!(
                "{name} is protected and is also used to decide by: drop it in [features], or name it there to say that this is meant"
            ));
        }
    }
    if features.is_empty() && recipe.stages.is_empty() {
        let reason = match warnings.first() {
            Some(first) => first.clone(),
            None => "every column plays another part".to_owned(),
        };
        return Err(InferError::NoFeature { reason });
    }
    Ok(Described {
        features,
        columns,
        warnings,
    })
}

/// A sequence that the recipe names and the table holds as one column per step: `hr_1` … `hr_7`.
struct WideSequence<'a> {
    name: &'a str,
    steps: usize,
    spec: &'a FeatureSpec,
}

impl WideSequence<'_> {
    fn step(&self, step: usize) -> String {
        format!("{}_{step}", self.name)
    }

    fn holds(&self, column: &str) -> bool {
        (1..=self.steps).any(|step| column == self.step(step))
    }

    fn feature(&self) -> Feature {
        let bounds = Bounds {
            min: self.spec.min,
            max: self.spec.max,
        };
        let steps = self.steps;
        Feature::new(self.name, Kind::Sequence { steps, bounds })
    }
}

fn wide_sequences<'a>(recipe: &'a Recipe, batch: &RecordBatch) -> Vec<WideSequence<'a>> {
    let is_there = |name: &str| batch.column_by_name(name).is_some();
    let wide = |(name, spec): (&'a String, &'a FeatureSpec)| {
        let steps = (1..=STEPS_MAX).take_while(|step| is_there(&format!("{name}_{step}")));
        let sequence = WideSequence {
            name,
            steps: steps.count(),
            spec,
        };
        let is_wide = spec.kind == Some(KindWord::Sequence) && !is_there(name);
        (is_wide && sequence.steps > 0).then_some(sequence)
    };
    recipe.features.given.iter().filter_map(wide).collect()
}

fn check_target(recipe: &Recipe) -> Result<(), InferError> {
    let Some(target) = &recipe.data.target else {
        return Ok(());
    };
    let data = &recipe.data;
    let is_elsewhere = recipe.features.drop.contains(target) || data.ids.contains(target);
    if recipe.features.given.contains_key(target)
        || recipe.features.only.contains(target)
        || is_elsewhere
    {
        return Err(InferError::TargetAmongFeatures {
            target: target.clone(),
        });
    }
    Ok(())
}

fn columns_of(recipe: &Recipe) -> Columns {
    let data = &recipe.data;
    Columns {
        subject: data.subject.clone(),
        target: data.target.clone(),
        separator: data.separator.clone(),
        time: data.time.clone(),
        group: data.group.clone(),
        weight: data.weight.clone(),
        protected: data.protected.clone(),
        ids: data.ids.clone(),
    }
}

fn plays_another_part(recipe: &Recipe, name: &str) -> bool {
    let data = &recipe.data;
    let single = [&data.target, &data.subject, &data.group, &data.weight];
    let is_named = single.into_iter().flatten().any(|column| column == name);
    let is_given = recipe.features.given.contains_key(name);
    let is_time = data.time.as_deref() == Some(name) && !is_given;
    let is_left_out = !recipe.features.only.is_empty()
        && !recipe.features.only.iter().any(|c| c == name)
        && !is_given;
    is_named
        || is_time
        || is_left_out
        || data.ids.iter().any(|c| c == name)
        || recipe.features.drop.iter().any(|c| c == name)
}

/// `3 features: 2 number, 1 text`.
pub(crate) fn counts_text(features: &[Feature]) -> String {
    let mut counts: Vec<(&str, usize)> = Vec::new();
    for feature in features {
        let word = feature.kind.word();
        match counts.iter_mut().find(|(known, _)| *known == word) {
            Some((_, count)) => *count += 1,
            None => counts.push((word, 1)),
        }
    }
    let parts: Vec<String> = counts
        .into_iter()
        .map(|(word, count)| format!("{count} {word}"))
        .collect();
    let noun = if features.len() == 1 {
        "feature"
    } else {
        "features"
    };
    format!("{} {noun}: {}", features.len(), parts.join(", "))
}

/// A feature as the recipe says it.
fn given_feature(name: &str, spec: &FeatureSpec, array: &ArrayRef) -> Result<Feature, InferError> {
    refuse_empty(name, array)?;
    let bounds = Bounds {
        min: spec.min,
        max: spec.max,
    };
    let word = spec.kind.unwrap_or_else(|| natural_word(name, array));
    let kind = match word {
        KindWord::Number => {
            let (_, unfit) = numbers(array);
            if unfit > 0 {
                let why = format!("{unfit} of its cells are no number");
                return Err(InferError::Unfit {
                    feature: name.to_owned(),
                    wanted: "a number",
                    why,
                });
            }
            Kind::Number { bounds }
        }
        KindWord::Text => Kind::Text,
        KindWord::Sequence => Kind::Sequence {
            steps: list_steps(array).unwrap_or(1).clamp(1, STEPS_MAX),
            bounds,
        },
        KindWord::Category if !spec.values.is_empty() => Kind::Category {
            values: spec.values.clone(),
            unseen: Unseen::Refused,
        },
        KindWord::Category => {
            let counts = value_counts(array);
            if counts.len() > VALUES_GIVEN_MAX {
                let why = format!(
                    "it has {} different values: an identifier, or a text",
                    counts.len()
                );
                return Err(InferError::Unfit {
                    feature: name.to_owned(),
                    wanted: "a category",
                    why,
                });
            }
            category(&counts)
        }
        KindWord::Ordinal if !spec.levels.is_empty() => Kind::Ordinal {
            levels: spec.levels.clone(),
        },
        KindWord::Ordinal => {
            let counts = value_counts(array);
            match scales::order(counts.iter().map(|(value, _)| value.as_str())) {
                Some(levels) => Kind::Ordinal { levels },
                None => {
                    let why =
                        "its order cannot be told from its values: give `levels`, lowest first"
                            .to_owned();
                    return Err(InferError::Unfit {
                        feature: name.to_owned(),
                        wanted: "ordinal",
                        why,
                    });
                }
            }
        }
    };
    let missing = match spec.missing {
        Some(false) => Missing::Refused,
        _ => Missing::Allowed,
    };
    let path = spec.path.clone();
    let feature = Feature::new(name, kind);
    Ok(Feature {
        missing,
        path: path.unwrap_or_else(|| feature.path.clone()),
        ..feature
    })
}

/// A column that a person names must be able to tell something.
fn refuse_empty(name: &str, array: &ArrayRef) -> Result<(), InferError> {
    let refused = |why: String| InferError::Unfit {
        feature: name.to_owned(),
        wanted: "a feature",
        why,
    };
    if array.null_count() == array.len() {
        return Err(refused("it has no value in any row".into()));
    }
    let is_list = matches!(
        array.data_type(),
        DataType::List(_) | DataType::LargeList(_) | DataType::FixedSizeList(_, _)
    );
    if is_list || array.null_count() > 0 {
        return Ok(());
    }
    let cells = texts(array);
    let first = cells.value(0);
    if is_missing_word(first) && cells.iter().flatten().all(is_missing_word) {
        return Err(refused("it has no value in any row".into()));
    }
    if cells.iter().flatten().all(|cell| cell == first) {
        let why = format!("it is {:?} in every row", shortened(first));
        return Err(refused(why));
    }
    Ok(())
}

fn natural_word(name: &str, array: &ArrayRef) -> KindWord {
    match part_by_values(name, array).0 {
        Part::Feature(Kind::Ordinal { .. }) => KindWord::Ordinal,
        Part::Feature(Kind::Category { .. }) => KindWord::Category,
        Part::Feature(Kind::Text) => KindWord::Text,
        Part::Feature(Kind::Sequence { .. }) => KindWord::Sequence,
        _ => KindWord::Number,
    }
}

/// What one column is taken for.
pub fn look(name: &str, array: &ArrayRef, target: Option<&str>) -> Look {
    let (part, why) = part_of(name, array, target);
    Look {
        name: name.to_owned(),
        part,
        why,
    }
}

fn part_of(name: &str, array: &ArrayRef, target: Option<&str>) -> (Part, String) {
    match later(name, target) {
        Some(why) => (Part::Later, why),
        None => part_by_values(name, array),
    }
}

fn part_by_values(name: &str, array: &ArrayRef) -> (Part, String) {
    if array.null_count() == array.len() {
        return (Part::Constant, "it has no value in any row".into());
    }
    match array.data_type() {
        DataType::List(_) | DataType::LargeList(_) | DataType::FixedSizeList(_, _) => {
            let steps = list_steps(array).unwrap_or(1).clamp(1, STEPS_MAX);
            (
                Part::Feature(Kind::Sequence {
                    steps,
                    bounds: Bounds::default(),
                }),
                format!("lists of {steps} numbers"),
            )
        }
        DataType::Float64 | DataType::Int64 => number_part(name, array),
        DataType::Boolean => (Part::Feature(Kind::number()), "true or false".into()),
        _ => text_part(name, array),
    }
}

/// Names that say that a column was written down after the outcome.
fn later(name: &str, target: Option<&str>) -> Option<String> {
    let lower = name.to_ascii_lowercase();
    let Some(target) = target else {
        return is_outcome_name(&lower).then(|| {
            "its name says that it is an outcome, and segments are found without one; name it in [features] if it is meant".into()
        });
    };
    let target = target.to_ascii_lowercase();
    if target.starts_with("label_") && lower.starts_with("label_") {
        return Some(
            "it is another outcome; name it in [features] if it is known when deciding".into(),
        );
    }
    let starts = ["post_", "outcome_", "after_", "closing_", "survival_"];
    let ends = ["_closed", "_outcome", "length_of_stay", "until_end"];
    let is_later = starts.iter().any(|start| lower.starts_with(start))
        || ends.iter().any(|end| lower.ends_with(end));
    is_later.then(|| {
        "its name says that it is written down after the outcome; name it in [features] if it is known when deciding"
            .into()
    })
}

/// Names that people give to what is to be predicted.
fn is_outcome_name(lower: &str) -> bool {
    ["outcome", "label", "target"].contains(&lower)
        || ["outcome_", "label_", "target_"]
            .iter()
            .any(|start| lower.starts_with(start))
}

fn is_id_name(name: &str) -> bool {
    let lower = name.to_ascii_lowercase();
    let ends = [
        "_id", "_uuid", "_guid", "_no", "_number", "_key", "_ref", " id",
    ];
    let camel = name.ends_with("ID") || name.ends_with("Id");
    [
        "id",
        "uuid",
        "guid",
        "index",
        "row",
        "rownum",
        "row_number",
        "key",
    ]
    .contains(&lower.as_str())
        || camel
        || ends.iter().any(|end| lower.ends_with(end))
}

fn number_part(name: &str, array: &ArrayRef) -> (Part, String) {
    let (values, _) = numbers(array);
    let known: Vec<f64> = values.iter().flatten().collect();
    let mut sorted: Vec<u64> = known.iter().map(|value| value.to_bits()).collect();
    sorted.sort_unstable();
    sorted.dedup();
    if sorted.len() == 1 && known.len() == array.len() {
        return (Part::Constant, format!("it is {} in every row", known[0]));
    }
    let is_whole = known.iter().all(|value| value.fract() == 0.0);
    let is_unique =
        known.len() >= UNIQUE_ROWS_MIN && sorted.len() as f64 >= UNIQUE_SHARE * known.len() as f64;
    let is_ramp =
        known.len() >= UNIQUE_ROWS_MIN && known.windows(2).all(|pair| pair[1] - pair[0] == 1.0);
    if is_whole && ((is_unique && is_id_name(name)) || is_ramp) {
        return (
            Part::Id,
            format!(
                "{} different whole numbers in {} rows: an identifier",
                sorted.len(),
                known.len()
            ),
        );
    }
    (
        Part::Feature(Kind::number()),
        format!("{} different numbers", sorted.len()),
    )
}

fn text_part(name: &str, array: &ArrayRef) -> (Part, String) {
    let counts = value_counts(array);
    let rows: usize = counts.iter().map(|(_, count)| count).sum();
    let distinct = counts.len();
    if distinct == 0 {
        return (Part::Constant, "it has no value in any row".into());
    }
    if distinct == 1 && rows == array.len() {
        return (
            Part::Constant,
            format!("it is {:?} in every row", shortened(&counts[0].0)),
        );
    }
    let dates = counts.iter().filter(|(value, _)| is_date(value)).count();
    if dates * 20 >= distinct * 19 {
        return (
            Part::Date,
            "it holds dates; name it as `time` in [data] to split by it".into(),
        );
    }
    if let Some(unfit) = few_unfit_numbers(&counts, rows) {
        let why = format!("numbers, but for {unfit} cells");
        return (Part::Feature(Kind::number()), why);
    }
    let words: usize = counts
        .iter()
        .map(|(value, count)| value.split_whitespace().count() * count)
        .sum();
    let words = words as f64 / rows as f64;
    let is_unique = rows >= UNIQUE_ROWS_MIN && distinct as f64 >= UNIQUE_SHARE * rows as f64;
    if is_unique && words < 2.0 {
        return (
            Part::Id,
            format!("{distinct} different texts in {rows} rows: an identifier"),
        );
    }
    if is_id_name(name) && words < 2.0 && distinct * 2 >= rows {
        return (
            Part::Id,
            format!("its name and {distinct} different texts in {rows} rows: an identifier"),
        );
    }
    if words >= WORDS_MIN && distinct > DISTINCT_VALUES_MAX {
        return (
            Part::Feature(Kind::Text),
            format!("{words:.0} words on average: a text"),
        );
    }
    if let Some(levels) = scales::order(counts.iter().map(|(value, _)| value.as_str())) {
        let why = format!("{distinct} values with a known order");
        return (Part::Feature(Kind::Ordinal { levels }), why);
    }
    (
        Part::Feature(category(&counts)),
        format!("{distinct} different texts in {rows} rows: a category"),
    )
}

/// How many cells are no number, when nearly all are: typing mistakes must not cost a column. Codes with leading zeros
/// are names and stay texts.
fn few_unfit_numbers(counts: &[(String, usize)], rows: usize) -> Option<usize> {
    const UNFIT_SHARE_MAX: f64 = 0.02;
    let is_code = |text: &str| text.len() > 1 && text.starts_with('0') && !text.starts_with("0.");
    let mut unfit = 0;
    for (value, count) in counts {
        let value = value.trim();
        if is_code(value) {
            return None;
        }
        if value.parse::<f64>().is_err() {
            unfit += count;
        }
    }
    (unfit > 0 && unfit as f64 <= UNFIT_SHARE_MAX * rows as f64).then_some(unfit)
}

/// The known texts of a column, most frequent first, ties by name.
fn value_counts(array: &ArrayRef) -> Vec<(String, usize)> {
    let cells = texts(array);
    let mut counts: HashMap<&str, usize> = HashMap::new();
    for cell in cells.iter().flatten() {
        if !is_missing_word(cell) {
            *counts.entry(cell).or_default() += 1;
        }
    }
    let mut counts: Vec<(String, usize)> = counts
        .into_iter()
        .map(|(value, count)| (value.to_owned(), count))
        .collect();
    counts.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
    counts
}

/// A category of the most frequent values, in the order of their names.
fn category(counts: &[(String, usize)]) -> Kind {
    let is_closed = counts.len() <= VALUES_CLOSED_MAX
        && counts.iter().all(|(_, count)| *count >= VALUE_ROWS_MIN);
    let mut values: Vec<String> = counts
        .iter()
        .take(VALUES_KEPT_MAX)
        .map(|(value, _)| value.clone())
        .collect();
    values.sort();
    Kind::Category {
        values,
        unseen: if is_closed {
            Unseen::Refused
        } else {
            Unseen::Missing
        },
    }
}

fn list_steps(array: &ArrayRef) -> Option<usize> {
    use arrow_array::cast::AsArray;
    let length = |row: usize| match array.data_type() {
        DataType::List(_) => array.as_list::<i32>().value(row).len(),
        DataType::LargeList(_) => array.as_list::<i64>().value(row).len(),
        DataType::FixedSizeList(_, length) => *length as usize,
        _ => 0,
    };
    let mut counts: HashMap<usize, usize> = HashMap::new();
    (0..array.len())
        .filter(|row| array.is_valid(*row))
        .for_each(|row| *counts.entry(length(row)).or_default() += 1);
    counts
        .into_iter()
        .max_by_key(|(length, count)| (*count, *length))
        .map(|(length, _)| length)
}

pub(crate) fn is_date(text: &str) -> bool {
    let text = text.trim();
    let Some(date) = text.get(..10) else {
        return false;
    };
    let bytes = date.as_bytes();
    let is_digit = |place: usize| bytes[place].is_ascii_digit();
    let year_first = [0, 1, 2, 3, 5, 6, 8, 9].into_iter().all(is_digit)
        && matches!(bytes[4], b'-' | b'/')
        && bytes[4] == bytes[7];
    let year_last = [0, 1, 3, 4, 6, 7, 8, 9].into_iter().all(is_digit)
        && matches!(bytes[2], b'/' | b'.')
        && bytes[2] == bytes[5];
    (year_first || year_last) && text.len() <= 40
}

fn shortened(value: &str) -> String {
    value.chars().take(40).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow_array::{Float64Array, LargeStringArray};
    use std::sync::Arc;

    fn cells(values: impl IntoIterator<Item = String>) -> ArrayRef {
        Arc::new(values.into_iter().map(Some).collect::<LargeStringArray>())
    }

    fn part(name: &str, values: impl IntoIterator<Item = String>) -> Part {
        look(name, &cells(values), Some("label_x")).part
    }

    #[test]
    fn identifiers_are_not_learned_from() {
        assert_eq!(part("case", (0..100).map(|i| format!("C-{i}"))), Part::Id);
        let ramp: ArrayRef = Arc::new(Float64Array::from_iter_values((0..100).map(f64::from)));
        assert_eq!(look("n", &ramp, None).part, Part::Id);
        let measured: ArrayRef = Arc::new(Float64Array::from_iter_values(
            (0..100).map(|i| f64::from(i) * 1.7),
        ));
        assert_eq!(
            look("n", &measured, None).part,
            Part::Feature(Kind::number())
        );
    }

    #[test]
    fn values_sentences_and_dates_are_told_apart() {
        let values = part("team", (0..100).map(|i| format!("team {}", i % 3)));
        assert!(
            matches!(values, Part::Feature(Kind::Category { ref values, unseen: Unseen::Refused }) if values.len() == 3)
        );
        let sentences = part(
            "note",
            (0..100).map(|i| format!("the shift of day {i} was long and hard")),
        );
        assert_eq!(sentences, Part::Feature(Kind::Text));
        assert_eq!(
            part(
                "when",
                (0..60).map(|i| format!("2024-01-{:02}", i % 28 + 1))
            ),
            Part::Date
        );
    }

    #[test]
    fn what_is_known_later_is_left_out_by_name() {
        assert_eq!(
            part("label_other", (0..9).map(|i| i.to_string())),
            Part::Later
        );
        assert_eq!(
            part("post_votes", (0..9).map(|i| i.to_string())),
            Part::Later
        );
    }

    #[test]
    fn a_hundred_thousand_values_keep_the_most_frequent() {
        let many = (0..200_000).map(|i| {
            if i % 2 == 0 {
                "common thing".to_owned()
            } else {
                format!("thing {i}")
            }
        });
        let Part::Feature(Kind::Category { values, unseen }) = part("job", many) else {
            panic!("a category")
        };
        assert_eq!((values.len(), unseen), (VALUES_KEPT_MAX, Unseen::Missing));
        assert!(values.contains(&"common thing".to_owned()));
    }
}
