//! From a recipe and its files to rows ready to be learned from.
//!
//! Reads the data, decides what every column is, gives the table its types and finds the target. Everything that the data
//! itself can be wrong about ends here, in one error that names the column and the remedy.

use crate::evaluation::Protected;
use crate::infer::{self, InferError};
use crate::leakage::{duplicates, newer};
use crate::progress::Progress;
use crate::recipe::{Recipe, SplitBy};
use crate::source::{self, ReadError, SourceSpec};
use crate::split::{self, Rule, Sides};
use crate::stages::{self, Opened, Places, Staged, StagesError};
use crate::target::{self, Target, TargetError};
use crate::times;
use arrow_array::{Array, ArrayRef, RecordBatch, UInt32Array};
use ombud_core::frame::{is_missing_word, numbers, texts};
use ombud_core::manifest::DataPrint;
use ombud_core::nearest::nearest;
use ombud_core::schema::SchemaError;
use ombud_core::{Class, Digest, Frame, Refusal, Schema, Task};
use sha2::{Digest as _, Sha256};
use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::Path;
use std::sync::Arc;

/// Groups of a protected attribute; the rarest beyond it are counted together.
const GROUPS_MAX: usize = 50;
/// A protected number of more values than this is told in bands.
const BANDS_FROM: usize = 12;
/// Bands of a protected number.
const BANDS: usize = 4;

/// Rows ready to be learned from.
#[derive(Debug)]
pub struct Prepared {
    /// The rows that have a target, as the algorithm sees them.
    pub frame: Frame,
    /// With stages: the rows as requests hold them, and what was made of them.
    pub staged: Option<Staged>,
    /// Their targets.
    pub target: Target,
    /// How much each counts.
    pub weights: Option<Vec<f64>>,
    /// Which rows belong together: by group, or by subject when subjects repeat.
    pub keys: Option<Vec<u64>>,
    /// When each row was true, in an order-preserving number.
    pub times: Option<Vec<i64>>,
    /// One number per row, made of every feature as it came; equal rows have equal ones.
    pub fingerprints: Vec<u64>,
    /// Per feature: +1 may only raise the answer, -1 only lower it.
    pub monotone: Vec<i8>,
    /// Attributes by which fairness is measured.
    pub protected: Vec<Protected>,
    /// The data's fingerprint.
    pub print: DataPrint,
    /// What a person should know before using the model.
    pub warnings: Vec<String>,
    /// What was decided, in words.
    pub notes: Vec<String>,
}

/// Why there is nothing to learn from.
#[derive(Debug, thiserror::Error)]
pub enum PrepareError {
    #[error("the recipe names no data")]
    NoSource,
    #[error("this program reads no {scheme:?} sources")]
    ForeignSource { scheme: String },
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error("the data has no column {column:?}, which is named as {role}")]
    NoColumn {
        column: String,
        role: &'static str,
        hint: String,
    },
    #[error("the column {column:?}, named as {role}, has the name of a column of answers")]
    NameTaken { column: String, role: &'static str },
    #[error("{model} was not trained with a series, so none can be joined")]
    NoSeries { model: String },
    #[error("the recipe names no target, and the task is not clustering")]
    NoTarget { hint: String },
    #[error(transparent)]
    Target(#[from] TargetError),
    #[error(transparent)]
    Infer(#[from] InferError),
    #[error(transparent)]
    Stages(#[from] StagesError),
    #[error("the features do not go together: {0}")]
    Schema(#[from] SchemaError),
    #[error("the data does not fit its own schema: {0}")]
    Refused(#[from] Refusal),
    #[error("the weight column {column:?} holds {what} at row {row}")]
    Weight {
        column: String,
        row: usize,
        what: String,
    },
    #[error("the time column {column:?} holds {value:?} at row {row}, which is no time")]
    Time {
        column: String,
        row: usize,
        value: String,
    },
}

impl PrepareError {
    /// Whose mistake it is.
    pub fn class(&self) -> Class {
        match self {
            PrepareError::Read(error) => error.class(),
            PrepareError::ForeignSource { .. } => Class::Unsupported,
            PrepareError::Stages(error) => error.class(),
            PrepareError::NoSource
            | PrepareError::NoColumn { .. }
            | PrepareError::NameTaken { .. }
            | PrepareError::NoSeries { .. }
            | PrepareError::NoTarget { .. }
            | PrepareError::Target(_)
            | PrepareError::Infer(_)
            | PrepareError::Schema(_)
            | PrepareError::Refused(_)
            | PrepareError::Weight { .. }
            | PrepareError::Time { .. } => Class::Invalid,
        }
    }

    /// What to do.
    pub fn hint(&self) -> Option<String> {
        match self {
            PrepareError::NoSource => {
                Some("add `source = \"csv:data.csv\"` to [data], or use --data".into())
            }
            PrepareError::ForeignSource { .. } => Some("use csv:, tsv:, jsonl: or parquet:".into()),
            PrepareError::Read(error) => Some(error.hint()),
            PrepareError::NoColumn { hint, .. } | PrepareError::NoTarget { hint } => {
                Some(hint.clone())
            }
            PrepareError::NoSeries { .. } => Some("leave --series out".into()),
            PrepareError::NameTaken { .. } => Some(
                "answers carry it beside their own columns, so rename it in the data, or do not name it"
                    .into(),
            ),
            PrepareError::Target(error) => Some(error.hint()),
            PrepareError::Infer(error) => Some(error.hint()),
            PrepareError::Stages(error) => Some(error.hint()),
            PrepareError::Schema(_) => Some("check the names and values in [features]".into()),
            PrepareError::Refused(_) => None,
            PrepareError::Weight { .. } => Some("weights are numbers of at least 0".into()),
            PrepareError::Time { .. } => {
                Some("write times as 2026-03-31 or 2026-03-31T10:00:00Z, or as numbers".into())
            }
        }
    }
}

/// A whole table with where it came from.
pub(crate) struct Loaded {
    pub(crate) batch: RecordBatch,
    pub(crate) print: DataPrint,
}

/// Reads a table, joining a recipe's series.
pub(crate) fn load(
    recipe: Option<&Recipe>,
    source: &str,
    base: &Path,
    progress: &dyn Progress,
) -> Result<Loaded, PrepareError> {
    for scheme in ["sql", "kit"] {
        if source.starts_with(&format!("{scheme}:")) {
            return Err(PrepareError::ForeignSource {
                scheme: scheme.to_owned(),
            });
        }
    }
    let spec = SourceSpec::parse(source, base)?;
    let opened = source::open(&spec)?;
    progress.start("reading", opened.meter().bytes_total());
    let table = watch_reading(opened.as_ref(), progress)?;
    progress.finish();
    let mut batch = table.batch;
    let mut sha256 = table.fingerprint;
    if let Some(series) = recipe.and_then(|recipe| recipe.data.series.as_ref()) {
        let joined = source::SeriesSpec {
            source: series.source.clone(),
            key: series.key.clone(),
            order: series.order.clone(),
            columns: series.columns.clone(),
            steps: None,
        };
        progress.start("joining series", None);
        let long = source::open(&SourceSpec::parse(&series.source, base)?)?.read_all()?;
        sha256 = both(&sha256, &long.fingerprint);
        batch = source::Series::new(&long.batch, &joined)?.join(&batch)?;
        progress.finish();
    }
    let rows = batch.num_rows() as u64;
    let print = DataPrint {
        source: source.to_owned(),
        sha256,
        rows,
        rows_fitted: 0,
        rows_validation: 0,
    };
    Ok(Loaded { batch, print })
}

/// The fingerprint of two files together: the digest of their digests, in order.
fn both(first: &Digest, second: &Digest) -> Digest {
    let mut hasher = Sha256::new();
    hasher.update(first.as_bytes());
    hasher.update(second.as_bytes());
    Digest::new(hasher.finalize().into())
}

/// Reads on this thread while another tells how far it is.
fn watch_reading(
    opened: &dyn source::Source,
    progress: &dyn Progress,
) -> Result<source::Table, ReadError> {
    let is_done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        let watcher = scope.spawn(|| {
            while !is_done.load(std::sync::atomic::Ordering::Relaxed) {
                progress.advance(opened.meter().bytes_read());
                std::thread::park_timeout(std::time::Duration::from_millis(100));
            }
        });
        let table = opened.read_all();
        is_done.store(true, std::sync::atomic::Ordering::Relaxed);
        watcher.thread().unpark();
        table
    })
}

/// Makes rows ready.
pub fn prepare(
    recipe: &Recipe,
    places: Places<'_>,
    data: Option<&str>,
    progress: &dyn Progress,
) -> Result<Prepared, PrepareError> {
    // Stages first: a wrong name there should not be told after minutes of reading.
    let opened = stages::open(recipe, places)?;
    // A path on the command line starts where the person stands, a path in a recipe where the recipe lies.
    let (source, base) = match data {
        Some(data) => (data, Path::new("")),
        None => (
            recipe
                .data
                .source
                .as_deref()
                .ok_or(PrepareError::NoSource)?,
            places.recipe_folder,
        ),
    };
    let loaded = load(Some(recipe), source, base, progress)?;
    prepare_loaded(recipe, &opened, loaded, progress)
}

/// Makes rows ready that were read already.
pub(crate) fn prepare_loaded(
    recipe: &Recipe,
    opened: &[Opened],
    loaded: Loaded,
    progress: &dyn Progress,
) -> Result<Prepared, PrepareError> {
    let batch = loaded.batch;
    check_columns(recipe, &batch)?;
    stages::check(recipe, opened, &batch)?;
    check_carried(recipe)?;
    progress.start("finding types", None);
    let (target, rows, notes, mut warnings) = find_target(recipe, &batch)?;
    let kept = if rows.len() == batch.num_rows() {
        batch
    } else {
        take(&batch, &rows)
    };
    let described = infer::describe(recipe, &kept, &stages::texts_for_stages(recipe, opened))?;
    warnings.extend(described.warnings);
    let (schema, ensemble) = if opened.is_empty() {
        (Schema::new(described.features, described.columns)?, None)
    } else {
        let (own, columns) = (described.features, described.columns);
        let (asked, ensemble) = stages::plan(recipe, opened, own, columns)?;
        (asked, Some(ensemble))
    };
    let schema = Arc::new(schema);
    let (asked, unfit) = Frame::bind(&schema, &kept)?;
    warnings.extend(unfit.sentences());
    progress.finish();
    let mut notes = notes;
    let (frame, staged) = match ensemble {
        None => (asked, None),
        Some(ensemble) => {
            progress.start("asking the stages", None);
            let (frame, staged) = Staged::ask(asked, ensemble, opened)?;
            warnings.extend(stages::warnings(opened, &loaded.print));
            notes.extend(staged.notes());
            progress.finish();
            (frame, Some(staged))
        }
    };
    let monotone = frame.schema().features().iter().map(|feature| {
        let said = recipe.features.given.get(&feature.name);
        said.and_then(|spec| spec.monotone).unwrap_or(0)
    });
    let monotone = monotone.collect();
    let weights = recipe
        .data
        .weight
        .as_ref()
        .map(|column| read_weights(column, &kept))
        .transpose()?;
    let times = recipe
        .data
        .time
        .as_ref()
        .map(|column| read_times(column, &kept))
        .transpose()?;
    if let Some(time) = &recipe.data.time {
        warnings.extend(newer::warnings(time, &schema, &kept));
    }
    let keys = read_keys(recipe, &kept);
    let protected = schema
        .columns
        .protected
        .iter()
        .filter_map(|name| read_protected(name, &kept))
        .collect();
    Ok(Prepared {
        frame,
        staged,
        target,
        weights,
        keys,
        times,
        fingerprints: duplicates::fingerprints(&schema, &kept),
        monotone,
        protected,
        print: loaded.print,
        warnings,
        notes,
    })
}

/// Divides the rows as the recipe says, or as the data asks for.
pub fn divide(recipe: &Recipe, prepared: &mut Prepared) -> Sides {
    let split = recipe.data.split.unwrap_or_default();
    let rows = prepared.frame.rows();
    let codes = prepared.target.codes();
    let together = match split.by {
        SplitBy::Subject | SplitBy::Group => true,
        // Rows of one subject on both sides would measure recognition, so repeating subjects stay together unasked.
        SplitBy::Random => recipe.data.split.is_none() && prepared.keys.is_some(),
        SplitBy::Time => false,
    };
    if together && recipe.data.split.is_none() {
        prepared.notes.push(
            "subjects have several rows each, so the split keeps each subject on one side".into(),
        );
    }
    let rule = match (&prepared.keys, &prepared.times) {
        (Some(keys), _) if together => Rule::Together(keys),
        (_, Some(times)) if split.by == SplitBy::Time => Rule::Latest(times),
        _ => Rule::Stratified(codes),
    };
    split::divide(rows, split.validation, rule, recipe.train.seed)
}

fn check_columns(recipe: &Recipe, batch: &RecordBatch) -> Result<(), PrepareError> {
    let data = &recipe.data;
    let single = [
        (&data.target, "target"),
        (&data.subject, "subject"),
        (&data.time, "time"),
        (&data.group, "group"),
        (&data.weight, "weight"),
    ];
    let single = single
        .into_iter()
        .filter_map(|(column, role)| Some((column.as_ref()?, role)));
    let many = data
        .ids
        .iter()
        .map(|c| (c, "an id"))
        .chain(data.protected.iter().map(|c| (c, "protected")));
    let features = recipe.features.drop.iter().map(|c| (c, "a column to drop"));
    let features = features.chain(recipe.features.only.iter().map(|c| (c, "a feature")));
    let given = recipe
        .features
        .given
        .iter()
        .filter(|(_, spec)| spec.path.is_none())
        .filter(|(name, _)| !stages::made(recipe).any(|made| made == *name));
    let features = features.chain(given.map(|(c, _)| (c, "a feature")));
    for (column, role) in single.chain(many).chain(features) {
        let is_there = batch.column_by_name(column).is_some()
            || batch.column_by_name(&format!("{column}_1")).is_some();
        if !is_there {
            return Err(PrepareError::NoColumn {
                column: column.clone(),
                role,
                hint: column_hint(column, batch),
            });
        }
    }
    Ok(())
}

/// A column that a person named must be there.
pub(crate) fn check_column(
    column: &str,
    role: &'static str,
    batch: &RecordBatch,
) -> Result<(), PrepareError> {
    let is_there = batch.column_by_name(column).is_some();
    is_there
        .then_some(())
        .ok_or_else(|| PrepareError::NoColumn {
            column: column.to_owned(),
            role,
            hint: column_hint(column, batch),
        })
}

/// Columns that answers carry must not have the name of an answer's own.
fn check_carried(recipe: &Recipe) -> Result<(), PrepareError> {
    const ANSWERS: [&str; 8] = [
        "prediction",
        "confidence",
        "lower",
        "upper",
        "segment",
        "segment_name",
        "prediction_set",
        "reasons",
    ];
    let subject = recipe.data.subject.iter().map(|name| (name, "subject"));
    let ids = recipe.data.ids.iter().map(|name| (name, "an id"));
    match subject
        .chain(ids)
        .find(|(name, _)| ANSWERS.contains(&name.as_str()))
    {
        Some((column, role)) => Err(PrepareError::NameTaken {
            column: column.clone(),
            role,
        }),
        None => Ok(()),
    }
}

fn column_hint(wrong: &str, batch: &RecordBatch) -> String {
    const SHOWN_MAX: usize = 15;
    let schema = batch.schema();
    let names = || schema.fields().iter().map(|field| field.name().as_str());
    match nearest(wrong, names()) {
        Some(near) => format!("did you mean {near:?}?"),
        None => {
            let shown: Vec<&str> = names().take(SHOWN_MAX).collect();
            let more = if names().count() > SHOWN_MAX {
                ", …"
            } else {
                ""
            };
            format!("the data has: {}{more}", shown.join(", "))
        }
    }
}

type FoundTarget = (Target, Vec<u32>, Vec<String>, Vec<String>);

fn find_target(recipe: &Recipe, batch: &RecordBatch) -> Result<FoundTarget, PrepareError> {
    let all = || (0..batch.num_rows() as u32).collect::<Vec<u32>>();
    let is_clustering = recipe.task == Some(Task::Clustering)
        || matches!(
            recipe.train.algorithm,
            Some(crate::recipe::Algorithm::KMeans(_) | crate::recipe::Algorithm::Mixture(_))
        );
    let Some(column) = recipe.data.target.as_ref().filter(|_| !is_clustering) else {
        if is_clustering {
            let target = Target::Nothing {
                rows: batch.num_rows(),
            };
            let unused = recipe.data.target.as_ref().map(|target| {
                format!("{target} is named as target, and segments are found without one: it is neither learned from nor predicted")
            });
            return Ok((target, all(), Vec::new(), unused.into_iter().collect()));
        }
        let hint =
            "add `target = \"…\"` to [data], or `task = \"clustering\"` to [model]".to_owned();
        return Err(PrepareError::NoTarget { hint });
    };
    let array = source::column(batch, column, &recipe.name.to_string())?;
    let found = target::find(column, array, recipe)?;
    let mut notes = Vec::new();
    if let Some(why) = found.why {
        notes.push(format!("task: {}, because {why}", found.target.task()));
    }
    let mut warnings = Vec::new();
    if found.without > 0 {
        let excluded = if recipe.data.exclude.is_empty() {
            "without a target"
        } else {
            "without a target or excluded"
        };
        warnings.push(format!(
            "{} of {} rows are {excluded} and were left out",
            found.without,
            batch.num_rows()
        ));
    }
    Ok((found.target, found.rows, notes, warnings))
}

/// The rows at the given places.
pub(crate) fn take(batch: &RecordBatch, rows: &[u32]) -> RecordBatch {
    let indices = UInt32Array::from(rows.to_vec());
    arrow_select::take::take_record_batch(batch, &indices).expect("indices lie within the table")
}

fn read_weights(column: &str, batch: &RecordBatch) -> Result<Vec<f64>, PrepareError> {
    let array = source::column(batch, column, "the data")?;
    let (values, _) = numbers(array);
    let weight = |row: usize| {
        let refused = |what: &str| PrepareError::Weight {
            column: column.to_owned(),
            row: row + 1,
            what: what.to_owned(),
        };
        if values.is_null(row) {
            return Err(refused("no number"));
        }
        let weight = values.value(row);
        if weight < 0.0 {
            Err(refused("a negative number"))
        } else {
            Ok(weight)
        }
    };
    (0..values.len()).map(weight).collect()
}

/// The moment of every row; a missing one counts as the oldest.
fn read_times(column: &str, batch: &RecordBatch) -> Result<Vec<i64>, PrepareError> {
    let array = source::column(batch, column, "the data")?;
    let moments = times::read(array).map_err(|wrong| PrepareError::Time {
        column: column.to_owned(),
        row: wrong.row,
        value: wrong.value,
    })?;
    let or_oldest = |moment: Option<i64>| moment.unwrap_or(i64::MIN);
    Ok(moments.into_iter().map(or_oldest).collect())
}

/// Keys of rows that belong together: by the group column, else by the subject when subjects repeat.
fn read_keys(recipe: &Recipe, batch: &RecordBatch) -> Option<Vec<u64>> {
    let hashed = |column: &ArrayRef| -> Vec<u64> {
        texts(column)
            .iter()
            .enumerate()
            .map(|(row, cell)| {
                let cell = cell.filter(|cell| !is_missing_word(cell));
                let mut hasher = DefaultHasher::new();
                match cell {
                    Some(cell) => cell.hash(&mut hasher),
                    // A row of nobody belongs to no other row.
                    None => (row, "nobody").hash(&mut hasher),
                }
                hasher.finish()
            })
            .collect()
    };
    if let Some(group) = recipe
        .data
        .group
        .as_ref()
        .and_then(|group| batch.column_by_name(group))
    {
        return Some(hashed(group));
    }
    let subject = recipe
        .data
        .subject
        .as_ref()
        .and_then(|subject| batch.column_by_name(subject))?;
    let keys = hashed(subject);
    let distinct: std::collections::HashSet<&u64> = keys.iter().collect();
    (distinct.len() < keys.len()).then_some(keys)
}

/// The groups of a protected attribute; a number of many values in bands between its quartiles.
pub(crate) fn read_protected(name: &str, batch: &RecordBatch) -> Option<Protected> {
    let array = batch.column_by_name(name)?;
    let (values, unfit) = numbers(array);
    let cells: Vec<String> = if unfit == 0 && is_many_valued(&values) {
        bands(&values)
    } else {
        texts(array)
            .iter()
            .map(|cell| {
                cell.filter(|c| !is_missing_word(c))
                    .unwrap_or("(not known)")
                    .to_owned()
            })
            .collect()
    };
    let mut counts: HashMap<&str, usize> = HashMap::new();
    cells
        .iter()
        .for_each(|cell| *counts.entry(cell).or_default() += 1);
    let mut ranked: Vec<(&str, usize)> = counts.into_iter().collect();
    ranked.sort_by_key(|(value, count)| (std::cmp::Reverse(*count), *value));
    let mut values: Vec<String> = ranked
        .iter()
        .take(GROUPS_MAX)
        .map(|(value, _)| (*value).to_owned())
        .collect();
    values.sort();
    let places: HashMap<String, u32> = values
        .iter()
        .enumerate()
        .map(|(code, value)| (value.clone(), code as u32))
        .collect();
    if ranked.len() > GROUPS_MAX {
        values.push("(others)".to_owned());
    }
    let others = values.len() as u32 - 1;
    let codes = cells
        .iter()
        .map(|cell| places.get(cell).copied().unwrap_or(others))
        .collect();
    Some(Protected {
        name: name.to_owned(),
        codes,
        values,
    })
}

fn is_many_valued(values: &arrow_array::Float64Array) -> bool {
    let mut distinct = std::collections::HashSet::new();
    values.iter().flatten().any(|value| {
        distinct.insert(value.to_bits());
        distinct.len() > BANDS_FROM
    })
}

fn bands(values: &arrow_array::Float64Array) -> Vec<String> {
    let mut sorted: Vec<f64> = values.iter().flatten().collect();
    sorted.sort_by(f64::total_cmp);
    let mut edges: Vec<f64> = (1..BANDS)
        .map(|band| sorted[sorted.len() * band / BANDS])
        .collect();
    edges.dedup();
    let name = |band: usize| match (
        band.checked_sub(1).and_then(|below| edges.get(below)),
        edges.get(band),
    ) {
        (None, Some(to)) => format!("below {to}"),
        (Some(from), Some(to)) => format!("{from} to below {to}"),
        (Some(from), None) => format!("{from} and above"),
        (None, None) => "all".to_owned(),
    };
    values
        .iter()
        .map(|value| match value {
            Some(value) => name(edges.partition_point(|edge| *edge <= value)),
            None => "(not known)".to_owned(),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow_array::Float64Array;

    #[test]
    fn a_protected_number_is_told_in_bands() {
        let ages = Float64Array::from_iter_values((18..98).map(f64::from));
        let batch = RecordBatch::try_from_iter([("age", Arc::new(ages) as ArrayRef)]).unwrap();
        let protected = read_protected("age", &batch).unwrap();
        assert_eq!(protected.values.len(), 4);
        assert!(protected.values.contains(&"78 and above".to_owned()));
    }
}
