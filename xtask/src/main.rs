//! `cargo xtask`: everything a person or CI does to the house besides building it.
//!
//! This file only parses the command line and hands over. What is checked stands in `check.rs`, what is
//! tested in `test.rs`, and each of the others in the file that carries its name. They are kept out of
//! `.ci/run` so that a developer and CI always run the same thing.

use std::process::ExitCode;

use anyhow::Result;
use clap::{Args, Parser, Subcommand};

use crate::bench::Bench;
use crate::house::House;
use crate::steps::Selection;

mod arrows;
mod bench;
mod check;
mod command;
mod demo;
mod deny;
mod examples;
mod house;
mod instructions;
mod references;
mod steps;
mod test;
mod tidy;

#[derive(Parser)]
#[command(
    name = "cargo xtask",
    bin_name = "cargo xtask",
    about = "Work on Ombud: see it, check it, test it, measure it."
)]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Train the example models, show predictions with reasons, and serve them on http://127.0.0.1:8080
    Demo {
        /// Stop before serving, and say how to
        #[arg(long)]
        no_serve: bool,
    },
    /// Everything CI runs: all of `check`, then every test
    Test(StepArguments),
    /// Format, lints, docs, licences, headers, dependency arrows, generated files
    Check(StepArguments),
    /// Measure against the Python peers and rewrite that part of docs/benchmarks.md
    Bench {
        /// What to measure
        name: Bench,
        /// How often each side runs; the median is shown
        #[arg(long, default_value_t = 5)]
        rounds: usize,
    },
    /// Write the data under examples/ again, bit for bit
    Examples,
    /// Write the generated reference pages again
    References,
}

#[derive(Args)]
struct StepArguments {
    /// Run only this step (may be given more than once)
    #[arg(long, value_name = "STEP")]
    only: Vec<String>,
    /// Leave this step out (may be given more than once)
    #[arg(long, value_name = "STEP")]
    skip: Vec<String>,
    /// Name the steps and stop
    #[arg(long)]
    list: bool,
}

fn main() -> ExitCode {
    match perform(Arguments::parse().task) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn perform(task: Task) -> Result<ExitCode> {
    let house = House::find()?;
    match task {
        Task::Check(arguments) => steps::run("check", &check::steps(), &arguments.into(), &house),
        Task::Test(arguments) => steps::run("test", &test::steps(), &arguments.into(), &house),
        Task::Demo { no_serve } => demo::run(&house, !no_serve),
        Task::Bench { name, rounds } => bench::run(name, rounds, &house),
        Task::Examples => examples::write(&house),
        Task::References => references::write(&house),
    }
}

impl From<StepArguments> for Selection {
    fn from(arguments: StepArguments) -> Self {
        Self {
            only: arguments.only,
            skip: arguments.skip,
            list: arguments.list,
        }
    }
}
