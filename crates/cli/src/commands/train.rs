//! `ombud train`: from a recipe to a bundle, with everything a person needs to judge it.

use super::Outcome;
use crate::console::{Console, Shade};
use crate::failure::Failure;
use crate::keys;
use crate::numbers::{count, plural, seconds};
use crate::places;
use crate::progress::{self, Shown};
use crate::report;
use crate::settings::{self, Settings};
use crate::table::facts;
use clap::{Args, ValueEnum};
use ombud_api::time;
use ombud_core::schema::Schema;
use ombud_learn::train::{self, TrainOptions, Trained};
use ombud_ops::history;
use serde_json::json;
use std::path::{Path, PathBuf};

/// The settings of a house, when it is here.
const SETTINGS_FILE: &str = "ombud.toml";

/// Train a model from a recipe and keep it as a bundle
///
/// What is reported was measured on rows that training did not see. The bundle is written whole or not at all, to
/// DIR/NAME/VERSION, and DIR/NAME/latest points to it. A failed gate does not keep the bundle from being written,
/// for it is the evidence; with `--gates enforce` the exit code is then 3.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  ombud train recipe.toml
  ombud train recipe.toml --data january.csv --set train.rounds=300 --set train.seed=8
  ombud train recipe.toml --gates enforce --json        (in a pipeline)

The bundle is signed with --key, or the key in $OMBUD_SIGNING_KEY, or the one that
`ombud keys signing new` made; without any it is not signed.")]
pub struct Arguments {
    /// The recipe
    pub recipe: PathBuf,
    /// Other data than the recipe names; a relative path starts at the current folder
    #[arg(long, value_name = "SOURCE")]
    pub data: Option<String>,
    /// The folder of models
    #[arg(long, value_name = "DIR", default_value = "models")]
    pub out: PathBuf,
    /// Change a key, as if it stood in the recipe (may be given again)
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub set: Vec<String>,
    /// The private key that signs the bundle
    #[arg(long, value_name = "PRIVATE_KEY")]
    pub key: Option<PathBuf>,
    /// What a failed gate does to the exit code
    #[arg(long, value_name = "HOW", default_value = "report")]
    pub gates: GatesMode,
    /// Show the training as a run in the house with this storage folder [default: the house of an ombud.toml here]
    #[arg(long, value_name = "DIR")]
    pub house: Option<PathBuf>,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}

/// What a failed gate does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum GatesMode {
    /// It is told; the exit code is 0
    Report,
    /// It is told; the exit code is 3
    Enforce,
}

/// Trains and prints.
pub fn run(arguments: &Arguments, console: &Console) -> Result<Outcome, Failure> {
    let recipe = places::recipe(&arguments.recipe, &arguments.set)?;
    check_out(&arguments.out)?;
    let key = keys::signing_key(arguments.key.as_deref(), console)?;
    let house = house(arguments)?;
    let folder = places::recipe_folder(&arguments.recipe);
    let options = TrainOptions {
        recipe_folder: &folder,
        data: arguments.data.as_deref(),
        out: &arguments.out,
        key: key.as_ref(),
    };
    let shown = Shown::new(console);
    let trained = train::train(&recipe, &options, &shown);
    drop(shown);
    let trained = progress::ended(trained, |error| match arguments.data {
        Some(_) => Failure::of_data_named_here(error),
        None => error.into(),
    })?;
    let run = house
        .map(|settings| show(&settings, &trained))
        .transpose()?;
    if console.is_json {
        console.print_json(&as_json(&trained, run.as_deref()))?;
    } else {
        tell(&trained, console)?;
        if let Some(run) = &run {
            console.note(&format!("shown as the run {run} in the house"));
        }
    }
    let has_failed = trained
        .bundle
        .manifest()
        .gates
        .iter()
        .any(|gate| !gate.passed);
    match (arguments.gates, has_failed) {
        (GatesMode::Enforce, true) => Ok(Outcome::GatesFailed),
        (GatesMode::Enforce, false) | (GatesMode::Report, _) => Ok(Outcome::Done),
    }
}

/// The house that shows the run: one that is named must be there before training begins.
fn house(arguments: &Arguments) -> Result<Option<Settings>, Failure> {
    let is_configured = Path::new(SETTINGS_FILE).is_file();
    if arguments.house.is_none() && !is_configured {
        return Ok(None);
    }
    let settings = Settings {
        config: None,
        folder: arguments.house.clone(),
        set: Vec::new(),
    };
    let (config, _) = settings.load()?;
    match settings::must_exist(&config) {
        Err(_) if arguments.house.is_none() => Ok(None),
        there => there.map(|()| Some(settings)),
    }
}

/// Shows a training as a run; the run's id.
fn show(settings: &Settings, trained: &Trained) -> Result<String, Failure> {
    let (runtime, _, rooms) = settings.open()?;
    let shown = runtime.block_on(history::record_training(
        &rooms.store,
        &*rooms.depot,
        &rooms.tenant,
        &trained.bundle,
        &settings::principal(),
        time::now_us(),
    ));
    settings::close(&runtime, &rooms);
    Ok(shown.map(|(run, _)| run)?)
}

/// A training that cannot be kept should not begin.
pub(crate) fn check_out(out: &Path) -> Result<(), Failure> {
    match out.ancestors().find(|folder| folder.exists()) {
        Some(place) if !place.is_dir() => {
            let message = format!(
                "{} is a file, so no models can be kept there",
                place.display()
            );
            Err(Failure::invalid(
                message,
                "name a folder with --out DIR; it need not exist yet",
            ))
        }
        _ => Ok(()),
    }
}

fn as_json(trained: &Trained, run: Option<&str>) -> serde_json::Value {
    let manifest = trained.bundle.manifest();
    let mut told = json!({
        "name": manifest.name.as_str(),
        "version": manifest.version.get(),
        "label": manifest.label.as_str(),
        "bundle": trained.path.display().to_string(),
        "digest": trained.bundle.digest().to_string(),
        "signed": trained.bundle.is_signed(),
        "metrics": report::values(&manifest.metrics),
        "intervals": report::intervals(&manifest.metrics),
        "gates": report::gates_json(&manifest.gates),
        "warnings": trained.warnings,
        "notes": trained.notes,
        "seconds": manifest.lineage.seconds,
    });
    if let Some(run) = run {
        told["run"] = json!(run);
    }
    told
}

fn tell(trained: &Trained, console: &Console) -> Result<(), Failure> {
    for warning in &trained.warnings {
        console.warn(warning);
    }
    let manifest = trained.bundle.manifest();
    console.print(&made(trained, console))?;
    let measured_on = match trained.evaluation.rows {
        0 => "Measured".to_owned(),
        rows => format!(
            "Measured on {} that training did not see",
            plural(rows, "row")
        ),
    };
    console.print(&format!(
        "\n{}\n",
        console.shade(Shade::Strong, &measured_on)
    ))?;
    // The manifest may hold more than the evaluation, such as the likelihood of a mixture.
    let mut evaluation = trained.evaluation.clone();
    evaluation.metrics.clone_from(&manifest.metrics);
    console.print(&report::evaluation(
        &evaluation,
        manifest.outputs.names(),
        console,
    ))?;
    if !manifest.gates.is_empty() {
        console.print(&format!("\n{}\n", console.shade(Shade::Strong, "Gates")))?;
        console.print(&report::gates(&manifest.gates, console))?;
        tell_failed_gates(trained, console)?;
    }
    console.print(&next(trained))
}

/// Who the model is and what it was made from.
fn made(trained: &Trained, console: &Console) -> String {
    let manifest = trained.bundle.manifest();
    let mut lines = vec![(
        "model",
        format!(
            "{} version {} ({})",
            manifest.name, manifest.version, manifest.label
        ),
    )];
    if let Some(data) = &manifest.lineage.data {
        let rows = plural(usize::try_from(data.rows).unwrap_or(usize::MAX), "row");
        lines.push(("data", format!("{rows} from {}", data.source)));
    }
    lines.push(("task", format!("{} by {}", manifest.task, manifest.engine)));
    lines.push(("features", schema_summary(&manifest.schema)));
    for note in &trained.notes {
        lines.push(("note", note.clone()));
    }
    lines.push(("time", seconds(manifest.lineage.seconds)));
    facts(console, lines)
}

/// `12 (7 numbers, 4 categories, 1 text)`.
fn schema_summary(schema: &Schema) -> String {
    let words = ["number", "ordinal", "category", "text", "sequence"];
    let kinds: Vec<&str> = schema
        .features()
        .iter()
        .map(|feature| feature.kind.word())
        .collect();
    let parts = words.iter().filter_map(|word| {
        let found = kinds.iter().filter(|kind| *kind == word).count();
        let many = if *word == "category" {
            "categories".to_owned()
        } else {
            format!("{word}s")
        };
        match found {
            0 => None,
            1 => Some(format!("1 {word}")),
            more => Some(format!("{} {many}", count(more as u64))),
        }
    });
    format!(
        "{} ({})",
        count(kinds.len() as u64),
        parts.collect::<Vec<_>>().join(", ")
    )
}

fn tell_failed_gates(trained: &Trained, console: &Console) -> Result<(), Failure> {
    let failed: Vec<&str> = trained
        .bundle
        .manifest()
        .gates
        .iter()
        .filter(|gate| !gate.passed)
        .map(|gate| gate.name.as_str())
        .collect();
    if failed.is_empty() {
        return Ok(());
    }
    let line = format!(
        "GATE FAILED: {}. Do not let this model serve; the bundle is kept as evidence.",
        failed.join(", ")
    );
    console.print(&format!("\n{}", console.shade(Shade::Bad, &line)))
}

fn next(trained: &Trained) -> String {
    let path = trained.path.display();
    let signed = if trained.bundle.is_signed() {
        "signed"
    } else {
        "not signed"
    };
    format!(
        "\nbundle  {path} ({signed})\n\nNext:\n  read the model card    {path}/card.md\n  \
         look into it           ombud inspect {path}\n  \
         use it                 ombud predict {path} --data NEW.csv --explain\n  \
         measure it elsewhere   ombud evaluate {path} --data HELD_OUT.csv"
    )
}
