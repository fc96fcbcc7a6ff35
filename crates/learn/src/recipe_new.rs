//! Writes a first recipe from a look at the data, with its reasons as comments.
//!
//! The recipe is meant to be read and corrected by a person: what it decided stands in it, and what it is unsure of
//! stands beside it.

use crate::infer::{self, Look, Part};
use crate::prepare::{self, PrepareError};
use crate::progress::Progress;
use crate::recipe::Recipe;
use crate::target::{self, Target};
use crate::train::TrainError;
use arrow_array::RecordBatch;
use ombud_core::Kind;
use std::fmt::Write;
use std::path::Path;

/// A first recipe and what to think about before using it.
#[derive(Debug, Clone, PartialEq)]
pub struct NewRecipe {
    /// The TOML text.
    pub text: String,
    /// Things to think about.
    pub warnings: Vec<String>,
}

const SUBJECT_NAMES: [&str; 10] = [
    "subject",
    "patient_id",
    "member_id",
    "person_id",
    "employee_id",
    "respondent_id",
    "user_id",
    "customer_id",
    "customerid",
    "client_id",
];
const TIME_NAMES: [&str; 8] = [
    "date",
    "filed_at",
    "created_at",
    "timestamp",
    "time",
    "date_filed",
    "admitted_at",
    "year",
];
const PROTECTED_NAMES: [&str; 12] = [
    "gender",
    "sex",
    "age",
    "age_band",
    "age_range",
    "race",
    "ethnicity",
    "disability",
    "religion",
    "marital_status",
    "nationality",
    "gender_identity",
];

/// Reads the data and writes a recipe for it.
pub fn write(
    source: &str,
    target: Option<&str>,
    base: &Path,
    progress: &dyn Progress,
) -> Result<NewRecipe, TrainError> {
    let loaded = prepare::load(None, source, base, progress)?;
    let batch = loaded.batch;
    if let Some(target) = target {
        crate::source::column(&batch, target, source).map_err(PrepareError::from)?;
    }
    let schema = batch.schema();
    let looks: Vec<Look> = schema
        .fields()
        .iter()
        .zip(batch.columns())
        .filter(|(field, _)| Some(field.name().as_str()) != target)
        .map(|(field, array)| infer::look(field.name(), array, target))
        .collect();
    let task = target.map(|target| task_text(target, &batch)).transpose()?;
    Ok(compose(source, target, task, &looks))
}

/// Reads the data of a recipe as training would, and tells what it would do.
pub fn check(
    recipe: &Recipe,
    base: &Path,
    progress: &dyn Progress,
) -> Result<Vec<String>, TrainError> {
    let mut prepared = prepare::prepare(recipe, base, None, progress)?;
    let sides = prepare::divide(recipe, &mut prepared);
    let mut remarks = vec![format!(
        "{} rows, {} to learn from and {} held out to measure",
        prepared.frame.rows(),
        sides.training.len(),
        sides.validation.len()
    )];
    remarks.extend(prepared.notes.iter().cloned());
    remarks.extend(
        prepared
            .warnings
            .iter()
            .map(|warning| format!("warning: {warning}")),
    );
    remarks.extend(
        crate::leakage::warnings(&prepared, &sides)
            .iter()
            .map(|warning| format!("warning: {warning}")),
    );
    Ok(remarks)
}

fn task_text(target: &str, batch: &RecordBatch) -> Result<(String, String), TrainError> {
    let array = crate::source::column(batch, target, "the data").map_err(PrepareError::from)?;
    let plain = Recipe::parse("a recipe", "[model]\nname = \"new\"\n")
        .map_err(|error| TrainError::Store(error.to_string()))?;
    let found = target::find(target, array, &plain).map_err(PrepareError::from)?;
    let mut why = found.why.unwrap_or_default();
    if let Target::Classes { names, .. } = &found.target {
        let shown: Vec<&str> = names.iter().take(8).map(String::as_str).collect();
        let _ = write!(why, ": {}", shown.join(", "));
    }
    if found.without > 0 {
        let _ = write!(why, "; {} rows have none", found.without);
    }
    Ok((found.target.task().as_str().to_owned(), why))
}

fn compose(
    source: &str,
    target: Option<&str>,
    task: Option<(String, String)>,
    looks: &[Look],
) -> NewRecipe {
    let mut warnings = Vec::new();
    let mut text = String::new();
    let name = model_name(target.unwrap_or("segments"));
    let _ = writeln!(text, "[model]\nname = {name:?}");
    match &task {
        Some((task, why)) => drop(writeln!(text, "task = {task:?}   # {why}")),
        None => text.push_str("task = \"clustering\"   # no target was named\n"),
    }
    text.push_str("description = \"\"   # one sentence for people\n\n[data]\n");
    let _ = writeln!(text, "source = {source:?}");
    if let Some(target) = target {
        let _ = writeln!(text, "target = {target:?}");
    }
    let named = |names: &[&str]| {
        looks
            .iter()
            .find(|look| {
                names
                    .iter()
                    .any(|name| look.name.eq_ignore_ascii_case(name))
            })
            .map(|look| look.name.clone())
    };
    let subject = named(&SUBJECT_NAMES).or_else(|| {
        looks
            .iter()
            .find(|look| look.part == Part::Id)
            .map(|look| look.name.clone())
    });
    if let Some(subject) = &subject {
        let _ = writeln!(
            text,
            "subject = {subject:?}   # the person a row is about; never learned from"
        );
    }
    let time = named(&TIME_NAMES).or_else(|| {
        looks
            .iter()
            .find(|look| look.part == Part::Date)
            .map(|look| look.name.clone())
    });
    match time.filter(|time| looks.iter().any(|look| &look.name == time && look.part == Part::Date)) {
        Some(time) => {
            let _ = writeln!(text, "time = {time:?}");
            text.push_str("# split = { by = \"time\", validation = 0.2 }   # hold out the latest rows, as it will be used\n");
        }
        None => text.push_str("# split = { by = \"random\", validation = 0.2 }   # or \"subject\", \"group\", \"time\"\n"),
    }
    let protected: Vec<&str> = looks
        .iter()
        .filter(|look| {
            PROTECTED_NAMES
                .iter()
                .any(|name| look.name.eq_ignore_ascii_case(name))
        })
        .map(|look| look.name.as_str())
        .collect();
    if !protected.is_empty() {
        let _ = writeln!(
            text,
            "protected = {protected:?}   # fairness is measured by these"
        );
        warnings.push(format!(
            "{} look like protected attributes: decide whether the model may use them",
            protected.join(", ")
        ));
    }
    text.push_str("\n[features]\n");
    let left_out: Vec<&Look> = looks
        .iter()
        .filter(|look| {
            !matches!(look.part, Part::Feature(_)) && Some(&look.name) != subject.as_ref()
        })
        .collect();
    if !left_out.is_empty() {
        let names: Vec<&str> = left_out.iter().map(|look| look.name.as_str()).collect();
        let _ = writeln!(text, "drop = {names:?}");
        for look in left_out {
            let _ = writeln!(text, "# {}: {}", look.name, look.why);
            warnings.push(format!("{}: {}", look.name, look.why));
        }
    }
    for look in looks
        .iter()
        .filter(|look| Some(&look.name) != subject.as_ref())
    {
        if let Part::Feature(kind) = &look.part {
            text.push_str(&feature_line(&look.name, kind, &look.why));
        }
    }
    text.push_str("\n[train]\n");
    text.push_str(&train_lines(
        task.as_ref().map(|(task, _)| task.as_str()),
        looks,
    ));
    NewRecipe { text, warnings }
}

fn feature_line(name: &str, kind: &Kind, why: &str) -> String {
    let key = if name
        .bytes()
        .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-'))
        && !name.is_empty()
    {
        name.to_owned()
    } else {
        format!("{name:?}")
    };
    match kind {
        Kind::Ordinal { levels } => {
            format!("{key} = {{ type = \"ordinal\", levels = {levels:?} }}   # {why}\n")
        }
        kind => format!("{key} = \"{}\"   # {why}\n", kind.word()),
    }
}

fn train_lines(task: Option<&str>, looks: &[Look]) -> String {
    let only_text = looks
        .iter()
        .all(|look| !matches!(&look.part, Part::Feature(kind) if !matches!(kind, Kind::Text)));
    let algorithm = match task {
        None => "algorithm = \"kmeans\"   # or \"mixture\"\n",
        Some("regression") => "algorithm = \"forest\"\n",
        Some(_) if only_text => "algorithm = \"linear\"\n",
        Some(_) => "algorithm = \"forest\"   # or \"linear\"\n",
    };
    let gates = match task {
        None => "",
        Some("regression") => "\n[gates]\nmin_samples = 500\n# r2 = { min = 0.3 }\n",
        Some(_) => {
            "\n[gates]\nmin_samples = 500\n# accuracy = { min = 0.8 }\n# ece = { max = 0.05 }\n"
        }
    };
    format!("{algorithm}seed = 7\n{gates}")
}

/// A model name made of a column's name.
fn model_name(column: &str) -> String {
    let column = column.strip_prefix("label_").unwrap_or(column);
    let plain: String = column
        .chars()
        .map(|c| {
            if c.is_ascii_alphanumeric() {
                c.to_ascii_lowercase()
            } else {
                '_'
            }
        })
        .take(60)
        .collect();
    if plain.starts_with(|c: char| c.is_ascii_lowercase()) {
        plain
    } else {
        format!("m_{plain}")
    }
}
