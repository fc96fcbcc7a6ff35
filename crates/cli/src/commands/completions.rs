//! `ombud completions`: lets a shell complete our words.

use super::Outcome;
use crate::args::Cli;
use crate::console::Console;
use crate::failure::Failure;
use clap::{Args, CommandFactory};
use clap_complete::Shell;

/// Print what a shell needs to complete ombud's commands and flags
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  ombud completions bash > ~/.local/share/bash-completion/completions/ombud
  ombud completions zsh > ~/.zfunc/_ombud
  ombud completions fish > ~/.config/fish/completions/ombud.fish")]
pub struct Arguments {
    /// The shell
    pub shell: Shell,
}

/// Prints the script.
pub fn run(arguments: &Arguments, console: &Console) -> Result<Outcome, Failure> {
    let mut script = Vec::new();
    clap_complete::generate(arguments.shell, &mut Cli::command(), "ombud", &mut script);
    console.print_bytes(&script)?;
    Ok(Outcome::Done)
}
