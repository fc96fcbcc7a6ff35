//! `ombud recipe`: writes a recipe from data, and checks one against its data.

use super::Outcome;
use crate::console::Console;
use crate::failure::Failure;
use crate::numbers;
use crate::places;
use crate::progress::{self, Shown};
use clap::{Args, Subcommand};
use ombud_engine::bundle::staging::write_file_once;
use ombud_learn::stages::Places;
use ombud_learn::{recipe_new, train};
use serde_json::json;
use std::path::{Path, PathBuf};

/// Write a recipe from data, or check one
#[derive(Debug, Subcommand)]
pub enum Command {
    New(New),
    Check(Check),
}

/// Write a commented recipe from what is found in the data
///
/// Types, likely ids, the subject and time columns and protected attributes are guessed from names and values; each
/// guess says why, so that you can correct it.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  ombud recipe new people.csv --target outcome --out recipe.toml
  ombud recipe new parquet:visits/ > segments.toml         (no target: segments)")]
pub struct New {
    /// The data: a .csv, .tsv, .jsonl or .parquet file, with its format in front when the ending does not tell (csv:people.dat)
    #[arg(value_name = "DATA")]
    pub data: String,
    /// The column to predict; without it, segments are looked for
    #[arg(long, value_name = "COLUMN")]
    pub target: Option<String>,
    /// The file to write, which must not exist; standard output without it
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}

/// Check a recipe, and its columns against the data it names
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  ombud recipe check recipe.toml --set train.algorithm=linear")]
pub struct Check {
    /// The recipe
    pub recipe: PathBuf,
    /// Change a key, as if it stood in the recipe (may be given again)
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub set: Vec<String>,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}

impl Command {
    /// Whether the answer is one JSON object.
    pub fn is_json(&self) -> bool {
        match self {
            Command::New(new) => new.json,
            Command::Check(check) => check.json,
        }
    }
}

/// Does what was asked.
pub fn run(command: &Command, console: &Console) -> Result<Outcome, Failure> {
    match command {
        Command::New(arguments) => new(arguments, console),
        Command::Check(arguments) => check(arguments, console),
    }
}

fn new(arguments: &New, console: &Console) -> Result<Outcome, Failure> {
    // Paths in a recipe start at its folder, paths on the command line here.
    let folder = arguments
        .out
        .as_deref()
        .map_or_else(PathBuf::new, places::recipe_folder);
    let source = places::source_seen_from(&folder, &arguments.data);
    let shown = Shown::new(console);
    let made = recipe_new::write(&source, arguments.target.as_deref(), &folder, &shown);
    drop(shown);
    let made = progress::ended(made, Failure::of_data_named_here)?;
    if let Some(out) = &arguments.out {
        write_file_once(out, format!("{}\n", made.text.trim_end()).as_bytes(), 0o644)?;
    }
    if console.is_json {
        console.print_json(&json!({
            "recipe": made.text, "warnings": made.warnings, "file": arguments.out.as_ref().map(|out| out.display().to_string()),
        }))?;
        return Ok(Outcome::Done);
    }
    for warning in &made.warnings {
        console.warn(warning);
    }
    match &arguments.out {
        Some(out) => {
            let out = out.display();
            console.print(&format!("{out}\n\nNext:\n  read and correct it, then\n  ombud recipe check {out}\n  ombud train {out}"))?;
        }
        None => console.print(made.text.trim_end())?,
    }
    Ok(Outcome::Done)
}

fn check(arguments: &Check, console: &Console) -> Result<Outcome, Failure> {
    let recipe = places::recipe(&arguments.recipe, &arguments.set)?;
    let shown = Shown::new(console);
    let places = Places {
        recipe_folder: &places::recipe_folder(&arguments.recipe),
        models: Path::new(train::MODELS_FOLDER),
    };
    let checked = recipe_new::check(&recipe, places, &shown);
    drop(shown);
    let checked = progress::ended(checked, Failure::from)?;
    if console.is_json {
        console.print_json(
            &json!({ "name": recipe.name.as_str(), "passed": true, "remarks": checked.remarks, "warnings": checked.warnings }),
        )?;
        return Ok(Outcome::Done);
    }
    for remark in &checked.remarks {
        console.print(&format!(" - {remark}"))?;
    }
    for warning in &checked.warnings {
        console.warn(warning);
    }
    let with = match checked.warnings.len() {
        0 => String::new(),
        count => format!(", with {}", numbers::plural(count, "warning")),
    };
    console.print(&format!(
        "{} can be trained{with}",
        arguments.recipe.display()
    ))?;
    Ok(Outcome::Done)
}
