//! Writes a first recipe from a look at the data, with its reasons as comments.
//!
//! The recipe is meant to be read and corrected by a person: what it decided stands in it, and what it is unsure of
//! stands beside it.

mod names;

use crate::infer::{self, Look, Part};
use crate::prepare::{self, PrepareError};
use crate::progress::Progress;
use crate::recipe::Recipe;
use crate::stages::Places;
use crate::target::{self, Target};
use crate::train::{self, TrainError};
use arrow_array::RecordBatch;
use ombud_core::Kind;
use ombud_core::manifest::DataPrint;
use ombud_core::schema::{Bounds, STEPS_MAX};
use std::collections::HashSet;
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

/// What `ombud recipe check` found.
#[derive(Debug, Clone, PartialEq)]
pub struct Checked {
    /// What training would do.
    pub remarks: Vec<String>,
    /// What to think about before training.
    pub warnings: Vec<String>,
}

/// Fewest columns that are taken for the steps of one sequence.
const STEPS_MIN: usize = 3;

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
        prepare::check_column(target, "the target", &batch)?;
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
    let mut new = compose(source, target, task, &looks, batch.num_rows());
    new.warnings
        .extend(tried(&new.text, batch, loaded.print, progress));
    Ok(new)
}

/// What training would warn of, or refuse, if the recipe were used as it stands.
fn tried(text: &str, batch: RecordBatch, print: DataPrint, progress: &dyn Progress) -> Vec<String> {
    let refused =
        |error: &dyn std::fmt::Display| vec![format!("as it stands it cannot be trained: {error}")];
    let recipe = match Recipe::parse("the new recipe", text) {
        Ok(recipe) => recipe,
        Err(error) => return refused(&error),
    };
    let loaded = prepare::Loaded { batch, print };
    let mut prepared = match prepare::prepare_loaded(&recipe, &[], loaded, progress) {
        Ok(prepared) => prepared,
        Err(error) => return refused(&error),
    };
    if let Err(error) = train::check(&recipe, &prepared) {
        return refused(&error);
    }
    let sides = prepare::divide(&recipe, &mut prepared);
    crate::leakage::warnings(&prepared, &sides)
}

/// Reads the data of a recipe as training would, and tells what it would do.
pub fn check(
    recipe: &Recipe,
    places: Places<'_>,
    progress: &dyn Progress,
) -> Result<Checked, TrainError> {
    let mut prepared = prepare::prepare(recipe, places, None, progress)?;
    let algorithm = train::check(recipe, &prepared)?;
    let sides = prepare::divide(recipe, &mut prepared);
    train::check_sides(&prepared, &sides)?;
    let mut remarks = vec![
        format!(
            "{} rows, {} to learn from and {} held out to measure",
            prepared.frame.rows(),
            sides.training.len(),
            sides.validation.len()
        ),
        infer::counts_text(prepared.frame.schema().features()),
        format!("{} for {}", algorithm.word(), prepared.target.task()),
    ];
    remarks.append(&mut prepared.notes);
    let mut warnings = std::mem::take(&mut prepared.warnings);
    warnings.extend(crate::leakage::warnings(&prepared, &sides));
    Ok(Checked { remarks, warnings })
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
    rows: usize,
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
    let named = |is_it: fn(&str) -> bool| {
        let mut named = looks.iter().filter(|look| is_it(&look.name));
        named.next().map(|look| look.name.clone())
    };
    let subject = named(names::is_subject).or_else(|| {
        let mut ids = looks.iter().filter(|look| look.part == Part::Id);
        ids.next().map(|look| look.name.clone())
    });
    if let Some(subject) = &subject {
        let _ = writeln!(
            text,
            "subject = {subject:?}   # the person a row is about; never learned from"
        );
    }
    let dates = || looks.iter().filter(|look| look.part == Part::Date);
    let time = dates()
        .find(|look| names::is_time(&look.name))
        .or_else(|| dates().find(|look| !names::is_birth(&look.name)))
        .map(|look| look.name.clone());
    match time {
        Some(time) => {
            let _ = writeln!(text, "time = {time:?}");
            text.push_str("# split = { by = \"time\", validation = 0.2 }   # hold out the latest rows, as it will be used\n");
        }
        None => text.push_str("# split = { by = \"random\", validation = 0.2 }   # or \"subject\", \"group\", \"time\"\n"),
    }
    let protected: Vec<&str> = looks
        .iter()
        .filter(|look| names::is_protected(&look.name) && Some(&look.name) != subject.as_ref())
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
    text.push_str(&feature_lines(looks, subject.as_deref()));
    text.push_str("\n[train]\n");
    text.push_str(&train_lines(
        task.as_ref().map(|(task, _)| task.as_str()),
        looks,
        rows,
    ));
    NewRecipe { text, warnings }
}

/// A line for every feature; columns that are the steps of one sequence share one.
fn feature_lines(looks: &[Look], subject: Option<&str>) -> String {
    let mut lines = String::new();
    let mut told = HashSet::new();
    for look in looks
        .iter()
        .filter(|look| Some(look.name.as_str()) != subject)
    {
        let Part::Feature(kind) = &look.part else {
            continue;
        };
        if told.contains(&look.name) {
            continue;
        }
        match sequence_from(look, looks) {
            Some((stem, steps)) => {
                let why = format!("{stem}_1 to {stem}_{steps}: a number at each step");
                lines.push_str(&feature_line(
                    stem,
                    &Kind::Sequence {
                        steps,
                        bounds: Bounds::default(),
                    },
                    &why,
                ));
                told.extend((1..=steps).map(|step| format!("{stem}_{step}")));
            }
            None => lines.push_str(&feature_line(&look.name, kind, &look.why)),
        }
    }
    lines
}

/// The stem and the steps of a sequence that begins with this column.
fn sequence_from<'a>(first: &'a Look, looks: &[Look]) -> Option<(&'a str, usize)> {
    let stem = first.name.strip_suffix("_1")?;
    let is_step = |step: usize| {
        let name = format!("{stem}_{step}");
        let is_number = |look: &Look| matches!(look.part, Part::Feature(Kind::Number { .. }));
        looks
            .iter()
            .any(|look| look.name == name && is_number(look))
    };
    let steps = (1..=STEPS_MAX).take_while(|step| is_step(*step)).count();
    // Numbered questions are different questions, not one thing measured again and again.
    (steps >= STEPS_MIN && !names::is_question(stem)).then_some((stem, steps))
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

fn train_lines(task: Option<&str>, looks: &[Look], rows: usize) -> String {
    let only_text = looks
        .iter()
        .all(|look| !matches!(&look.part, Part::Feature(kind) if !matches!(kind, Kind::Text)));
    let algorithm = match task {
        None => "algorithm = \"kmeans\"   # or \"mixture\"\n",
        Some("regression") => "algorithm = \"forest\"\n",
        Some(_) if only_text => "algorithm = \"linear\"\n",
        Some(_) => "algorithm = \"forest\"   # or \"linear\"\n",
    };
    let min_samples = names::rounded_down(rows / 2).max(20);
    let least = format!("\n[gates]\nmin_samples = {min_samples}   # half of what there is now\n");
    let gates = match task {
        None => String::new(),
        Some("regression") => format!("{least}# r2 = {{ min = 0.3 }}\n"),
        Some(_) => format!("{least}# accuracy = {{ min = 0.8 }}\n# ece = {{ max = 0.05 }}\n"),
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
