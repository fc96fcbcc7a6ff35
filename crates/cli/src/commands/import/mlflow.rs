//! `ombud import mlflow URI`: what a running MLflow server has becomes this house's own.
//!
//! Experiments go by name, runs and logged models keep their ids, versions keep their numbers. What came over whole is
//! marked or cannot be told twice, so an import that was interrupted is simply begun again and goes on.

mod client;
mod take;

use super::super::Outcome;
use crate::console::Console;
use crate::failure::Failure;
use crate::progress::Shown;
use crate::settings::{self, Settings};
use client::Server;
use ombud_core::{ModelName, Version};
use ombud_store::tracking::listing::Stage;
use serde_json::{Value, json};

/// What came over.
#[derive(Debug, Default)]
pub(super) struct Counts {
    pub experiments: u64,
    pub runs: u64,
    /// Runs that an earlier import brought over.
    pub known: u64,
    /// Runs that are still at work there, which the next import looks at again.
    pub running: u64,
    pub metrics: u64,
    pub models: u64,
    pub versions: u64,
    pub deployable: u64,
    pub files: u64,
    /// Versions that can be deployed here and are in a stage there. What serves is decided here, by gates, so none is moved.
    pub staged: Vec<Staged>,
    /// What could not be taken over, and why.
    pub left_out: Vec<String>,
}

/// A version in a stage of the other server.
#[derive(Debug)]
pub(super) struct Staged {
    pub model: ModelName,
    pub version: Version,
    pub stage: Stage,
}

/// Takes everything over.
pub fn run(uri: &str, settings: &Settings, console: &Console) -> Result<Outcome, Failure> {
    let server = Server::new(uri)?;
    let (runtime, _, rooms) = settings.open()?;
    let shown = Shown::new(console);
    let (counts, ended) = runtime.block_on(take::everything(&server, &rooms, &shown));
    drop(shown);
    settings::close(&runtime, &rooms);
    for what in &counts.left_out {
        console.warn(&format!("left out: {what}"));
    }
    ended?;
    if counts.running > 0 {
        console.warn(&format!(
            "{} runs were still at work there; import again when they have ended",
            counts.running
        ));
    }
    if console.is_json {
        console.print_json(&json!({
            "experiments": counts.experiments, "runs": counts.runs, "known": counts.known, "running": counts.running,
            "metrics": counts.metrics, "models": counts.models, "versions": counts.versions,
            "deployable": counts.deployable, "files": counts.files,
            "staged": counts.staged.iter().map(staged_json).collect::<Vec<_>>(),
            "left_out": counts.left_out,
        }))?;
    } else {
        console.print(&format!(
            "{} experiments, {} runs ({} were here already), {} points of metrics, {} files\n\
             {} registered models, {} versions ({} can be deployed)",
            counts.experiments,
            counts.runs,
            counts.known,
            counts.metrics,
            counts.files,
            counts.models,
            counts.versions,
            counts.deployable
        ))?;
        for staged in &counts.staged {
            let (model, version) = (&staged.model, staged.version);
            let (stage, environment) = (staged.stage.as_str(), environment_of(staged.stage));
            console.print(&format!(
                "  in {stage} there: `ombud deploy {model} {version} --env {environment}` puts it to work here"
            ))?;
        }
    }
    Ok(Outcome::Done)
}

fn staged_json(staged: &Staged) -> Value {
    json!({ "model": staged.model, "version": staged.version, "stage": staged.stage.as_str() })
}

fn environment_of(stage: Stage) -> &'static str {
    match stage {
        Stage::Production => "production",
        _ => "staging",
    }
}
