//! The commands, a file each, and how they end.

pub mod audit;
pub mod compare;
pub mod completions;
pub mod config;
pub mod db;
pub mod deploy;
pub mod evaluate;
pub mod export;
pub mod import;
pub mod inspect;
pub mod keys;
pub mod kit;
pub mod package;
pub mod people;
pub mod predict;
pub mod recipe;
pub mod reference;
pub mod serve;
pub mod subject;
pub mod train;
pub mod verify;

use crate::args::{Cli, Command};
use crate::console::Console;
use crate::failure::{FLAWED, Failure, GATES_FAILED};
use std::process::ExitCode;

/// How a command ended that did what it was asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// All is well.
    Done,
    /// A gate failed that was to be enforced.
    GatesFailed,
    /// What was verified has a flaw, and the answer has said so.
    Flawed,
}

/// Runs a command and tells how it ended.
pub fn run(cli: &Cli) -> ExitCode {
    let console = Console::new(is_json(&cli.command), cli.quiet, cli.progress);
    #[cfg(feature = "onnxruntime")]
    let ended = crate::nets::ready().and_then(|()| dispatch(&cli.command, &console));
    #[cfg(not(feature = "onnxruntime"))]
    let ended = dispatch(&cli.command, &console);
    match ended {
        Ok(Outcome::Done) => ExitCode::SUCCESS,
        Ok(Outcome::GatesFailed) => ExitCode::from(GATES_FAILED),
        Ok(Outcome::Flawed) => ExitCode::from(FLAWED),
        Err(failure) => {
            console.fail(&failure);
            ExitCode::from(failure.exit_code())
        }
    }
}

fn dispatch(command: &Command, console: &Console) -> Result<Outcome, Failure> {
    match command {
        Command::Train(arguments) => train::run(arguments, console),
        Command::Evaluate(arguments) => evaluate::run(arguments, console),
        Command::Predict(arguments) => predict::run(arguments, console),
        Command::Inspect(arguments) => inspect::run(arguments, console),
        Command::Compare(arguments) => compare::run(arguments, console),
        Command::Package(arguments) => package::run(arguments, console),
        Command::Import(arguments) => import::run(arguments, console),
        Command::Export(arguments) => export::run(arguments, console),
        Command::Verify(arguments) => verify::run(arguments, console),
        Command::Recipe(command) => recipe::run(command, console),
        Command::Kit(command) => kit::run(command, console),
        Command::Serve(arguments) => serve::run(arguments, console),
        Command::Register(arguments) => deploy::register(arguments, console),
        Command::Deploy(arguments) => deploy::deploy(arguments, console),
        Command::Promote(arguments) => deploy::promote(arguments, console),
        Command::Rollback(arguments) => deploy::rollback(arguments, console),
        Command::Models(arguments) => deploy::models(arguments, console),
        Command::Deployments(arguments) => deploy::deployments(arguments, console),
        Command::Subject(command) => subject::run(command, console),
        Command::Audit(command) => audit::run(command, console),
        Command::Keys(command) => keys::run(command, console),
        Command::People(command) => people::run(command, console),
        Command::Config(command) => config::run(command, console),
        Command::Db(command) => db::run(command, console),
        Command::Completions(arguments) => completions::run(arguments, console),
        Command::Reference(_) => reference::run(console),
    }
}

fn is_json(command: &Command) -> bool {
    match command {
        Command::Train(arguments) => arguments.json,
        Command::Evaluate(arguments) => arguments.json,
        Command::Inspect(arguments) => arguments.json,
        Command::Compare(arguments) => arguments.json,
        Command::Package(arguments) => arguments.json,
        Command::Import(arguments) => arguments.json,
        Command::Export(arguments) => arguments.json,
        Command::Verify(arguments) => arguments.json,
        Command::Recipe(command) => command.is_json(),
        Command::Kit(command) => command.is_json(),
        Command::Serve(arguments) => arguments.json,
        Command::Register(arguments) => arguments.json,
        Command::Deploy(arguments) => arguments.json,
        Command::Promote(arguments) => arguments.json,
        Command::Rollback(arguments) => arguments.json,
        Command::Models(arguments) => arguments.json,
        Command::Deployments(arguments) => arguments.json,
        Command::Subject(command) => command.is_json(),
        Command::Audit(command) => command.is_json(),
        Command::Keys(command) => command.is_json(),
        Command::People(command) => command.is_json(),
        Command::Config(command) => command.is_json(),
        Command::Db(command) => command.is_json(),
        Command::Predict(_) | Command::Completions(_) | Command::Reference(_) => false,
    }
}
