//! `ombud reference`: every command with its flags as one page of Markdown, kept as `docs/commands.md`.
//!
//! Hidden from help: it is for the repository's check that the page tells what the program does.

use super::Outcome;
use crate::args::Cli;
use crate::console::Console;
use crate::failure::Failure;
use clap::{Args, Command, CommandFactory};
use std::fmt::Write;

/// Width of the page's help texts.
const COLUMNS: usize = 100;

/// Print all commands as Markdown
#[derive(Debug, Args)]
pub struct Arguments {}

/// Prints the page.
pub fn run(console: &Console) -> Result<Outcome, Failure> {
    let mut page = "# Commands\n\nWritten by `cargo xtask references` from `ombud --help`; change the help instead.\n".to_owned();
    // Whoever runs it, the page is the same: no terminal's width and no colours.
    let mut root = Cli::command().term_width(COLUMNS);
    root.build();
    add(&mut page, &mut root);
    console.print(page.trim_end())?;
    Ok(Outcome::Done)
}

fn add(page: &mut String, command: &mut Command) {
    let name = command
        .get_bin_name()
        .unwrap_or(command.get_name())
        .to_owned();
    let help = command.clone().render_long_help().to_string();
    let lines: Vec<&str> = help.lines().map(str::trim_end).collect();
    let _ = write!(
        page,
        "\n## `{name}`\n```text\n{}\n```\n",
        lines.join("\n").trim()
    );
    let is_shown = |command: &&mut Command| !command.is_hide_set() && command.get_name() != "help";
    for below in command.get_subcommands_mut().filter(is_shown) {
        add(page, below);
    }
}
