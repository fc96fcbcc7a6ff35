//! `cargo xtask bench NAME`: our binary beside the Python peers, same data, same run, taking turns.
//!
//! Each benchmark is a file that gives a [`Report`]; this one prints it and keeps it in
//! `docs/benchmarks.md`, between the markers of that benchmark's name.

use std::process::ExitCode;
use std::{env, fs, thread};

use anyhow::{Context, Result};
use clap::ValueEnum;

use crate::house::{BINARY, House};

mod data;
mod duel;
mod files;
mod measure;
mod mlflow;
pub mod python;
mod quality;
mod report;
pub mod serve;
mod topics;
mod train;

pub use report::Report;

/// What can be measured.
#[derive(Clone, Copy, ValueEnum)]
pub enum Bench {
    /// Train a five-class forest, CSV to signed bundle, beside pandas + XGBoost
    Train,
    /// Grow equal forests in memory beside XGBoost and LightGBM
    Trees,
    /// Answer by a forest, many rows and one, beside XGBoost, LightGBM, lleaves and hessboost
    Infer,
    /// Explain by exact TreeSHAP beside XGBoost and shap
    Explain,
    /// Learn from texts beside scikit-learn
    Text,
    /// Find segments beside scikit-learn
    Cluster,
    /// Answer whole files beside pandas or polars with XGBoost
    Files,
    /// Serve a forest over HTTP beside FastAPI, MLServer, BentoML and a bare echo
    Serve,
    /// Answer the Open Inference Protocol beside MLServer and Triton
    Oip,
    /// Serve the kit hseg beside FastAPI with XGBoost and scikit-learn, and take in a file of 49,550 responses
    Hseg,
    /// Log metrics and search runs beside MLflow's own server
    Mlflow,
    /// Quality on the data sets of ../shared/data beside the scikit-learn references
    Quality,
}

impl Bench {
    fn name(self) -> &'static str {
        match self {
            Self::Train => "train",
            Self::Trees => "trees",
            Self::Infer => "infer",
            Self::Explain => "explain",
            Self::Text => "text",
            Self::Cluster => "cluster",
            Self::Files => "files",
            Self::Serve => "serve",
            Self::Oip => "oip",
            Self::Hseg => "hseg",
            Self::Mlflow => "mlflow",
            Self::Quality => "quality",
        }
    }
}

pub fn run(bench: Bench, rounds: usize, house: &House) -> Result<ExitCode> {
    let mut report = match bench {
        Bench::Train => train::run(rounds.max(1), house)?,
        Bench::Trees => duel::run(&topics::TREES, rounds.max(1), house)?,
        Bench::Infer => duel::run(&topics::INFER, rounds.max(1), house)?,
        Bench::Explain => duel::run(&topics::EXPLAIN, rounds.max(1), house)?,
        Bench::Text => duel::run(&topics::TEXT, rounds.max(1), house)?,
        Bench::Cluster => duel::run(&topics::CLUSTER, rounds.max(1), house)?,
        Bench::Files => files::run(rounds.max(1), house)?,
        Bench::Serve => serve::run(rounds.max(1), house)?,
        Bench::Oip => serve::oip::run(rounds.max(1), house)?,
        Bench::Hseg => serve::hseg::run(rounds.max(1), house)?,
        Bench::Mlflow => mlflow::run(rounds.max(1), house)?,
        Bench::Quality => quality::run(house)?,
    };
    if env::var_os(BINARY).is_some() {
        let note = format!("Our side was the binary that `{BINARY}` names.");
        report.notes.push(note);
    }
    report.notes.push(machine());
    println!("\n{}", report.to_markdown());
    keep(house, bench.name(), &report)?;
    Ok(if report.failed {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    })
}

/// Rewrites the section of `docs/benchmarks.md` that belongs to `name`.
fn keep(house: &House, name: &str, report: &Report) -> Result<()> {
    let path = house.root.join("docs/benchmarks.md");
    let page = fs::read_to_string(&path).unwrap_or_else(|_| "# Benchmarks\n".to_owned());
    fs::create_dir_all(house.root.join("docs"))?;
    fs::write(
        &path,
        report::replace_section(&page, name, &report.to_markdown()),
    )
    .context("docs/benchmarks.md cannot be written")?;
    println!("docs/benchmarks.md, section {name}, is rewritten");
    Ok(())
}

fn machine() -> String {
    let cores = thread::available_parallelism().map_or(1, usize::from);
    let cpu = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpu
        .lines()
        .find_map(|line| line.strip_prefix("model name"))
        .unwrap_or("");
    let model = model.trim_start_matches([' ', '\t', ':']);
    // Peers that spin while they wait for their threads lose most when other work runs beside them.
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let load = load.split(' ').next().unwrap_or("unknown").to_owned();
    format!(
        "Measured on {cores} cores{}{model}; the load average was {load} at the end.",
        if model.is_empty() { "" } else { " of " }
    )
}
