//! The command `ombud`: puts the rooms together for a person at a terminal, or for a script.
//!
//! A command is a file in [`commands`]: it resolves settings, calls a room, and prints. Data goes to standard output and
//! everything else to standard error; with `--json` there is exactly one JSON object on standard output, whatever
//! happens. Exit codes say whose mistake it was: 2 the caller's, 1 ours, 3 a gate that was to be enforced, 4 a ledger with a flaw.

mod allocator;
mod args;
mod bundles;
mod commands;
mod console;
mod failure;
mod keys;
mod kits;
#[cfg(feature = "onnxruntime")]
mod nets;
mod numbers;
mod places;
mod predictions;
mod progress;
mod report;
mod settings;
mod table;

use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: allocator::Allocator = allocator::Allocator;

fn main() -> ExitCode {
    allocator::settle();
    match args::parse() {
        Ok(cli) => commands::run(&cli),
        Err(end) => end,
    }
}
