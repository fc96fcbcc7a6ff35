//! `ombud evaluate`: how good a model is on rows whose truth is known.

use super::Outcome;
use crate::bundles::{self, StagesArguments};
use crate::console::Console;
use crate::failure::Failure;
use crate::keys::TrustArguments;
use crate::numbers::plural;
use crate::progress::{self, Shown};
use crate::report;
use clap::Args;
use ombud_engine::Model;
use ombud_learn::evaluation::Evaluation;
use ombud_learn::judge;
use serde_json::Value;
use std::path::{Path, PathBuf};

/// Measure a model on rows whose truth is known, with intervals and by group
///
/// The rows need the model's features and its target column; rows it was trained on make it look better than it is.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  ombud evaluate models/claim_outcome/latest --data held_out.csv
  ombud evaluate models/claim_outcome/latest --data parquet:held_out/ --json")]
pub struct Arguments {
    /// The bundle: a folder or a .tar.gz
    pub bundle: PathBuf,
    /// The rows, with the target
    #[arg(long, value_name = "SOURCE")]
    pub data: String,
    /// The long table that the recipe joins to the rows, when it is not the recipe's own
    #[arg(long, value_name = "SOURCE")]
    pub series: Option<String>,
    #[command(flatten)]
    pub trust: TrustArguments,
    #[command(flatten)]
    pub stages: StagesArguments,
    /// Print one JSON object: metrics, intervals, rows, and everything else that was measured
    #[arg(long)]
    pub json: bool,
}

/// Measures and prints.
pub fn run(arguments: &Arguments, console: &Console) -> Result<Outcome, Failure> {
    let model = bundles::open_model(&arguments.bundle, &arguments.trust, &arguments.stages)?;
    let shown = Shown::new(console);
    let measured = judge::evaluate(
        &model,
        &arguments.data,
        arguments.series.as_deref(),
        Path::new(""),
        &shown,
    );
    drop(shown);
    let evaluation = progress::ended(measured, Failure::of_data_named_here)?;
    if console.is_json {
        console.print_json(&as_json(&evaluation, &model)?)?;
        return Ok(Outcome::Done);
    }
    for note in &evaluation.notes {
        console.note(note);
    }
    let manifest = model.manifest();
    let what = format!(
        "{} version {} on {}",
        manifest.name,
        manifest.version,
        plural(evaluation.rows, "row")
    );
    console.print(&format!(
        "{what}\n\n{}",
        report::evaluation(&evaluation, manifest.outputs.names(), console)
    ))?;
    Ok(Outcome::Done)
}

/// The promised keys as plain numbers, and the whole evaluation beside them.
fn as_json(evaluation: &Evaluation, model: &Model) -> Result<Value, Failure> {
    let mut answer = serde_json::to_value(evaluation).map_err(|error| {
        Failure::new(
            ombud_core::Class::Internal,
            format!("the answer cannot be written as JSON: {error}"),
            "report this",
        )
    })?;
    let manifest = model.manifest();
    answer["name"] = manifest.name.as_str().into();
    answer["version"] = manifest.version.get().into();
    answer["outputs"] = manifest.outputs.names().into();
    answer["metrics"] = report::values(&evaluation.metrics).into();
    answer["intervals"] = report::intervals(&evaluation.metrics).into();
    Ok(answer)
}
