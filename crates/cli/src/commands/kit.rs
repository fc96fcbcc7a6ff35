//! `ombud kit`: the shipped systems, a file each.

pub mod hseg;

use super::Outcome;
use crate::console::Console;
use crate::failure::Failure;
use clap::Subcommand;

/// Use one of the shipped systems
#[derive(Debug, Subcommand)]
pub enum Command {
    #[command(subcommand)]
    Hseg(hseg::Command),
}

impl Command {
    /// Whether the answer is one JSON object.
    pub fn is_json(&self) -> bool {
        match self {
            Command::Hseg(command) => command.is_json(),
        }
    }
}

/// Does what was asked.
pub fn run(command: &Command, console: &Console) -> Result<Outcome, Failure> {
    match command {
        Command::Hseg(command) => hseg::run(command, console),
    }
}
