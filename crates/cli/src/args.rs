//! The words of the command line.
//!
//! Each command's own flags stand in its file under [`crate::commands`]; here are the list of commands, the flags that all
//! share, and how a wrong word is told: like every other mistake, with a hint and exit code 2.

use crate::commands::{
    audit, compare, completions, config, db, deploy, evaluate, export, import, inspect, keys, kit,
    package, people, predict, recipe, reference, serve, subject, train, verify,
};
use crate::console::{Console, ProgressStyle};
use crate::failure::Failure;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Parser, Subcommand};
use std::ffi::OsString;
use std::process::ExitCode;

/// Train, judge and use models that make calls about people.
///
/// A model is made from a recipe (a TOML file) and kept as a bundle (a folder with a signed manifest). Data goes to
/// standard output, everything else to standard error.
#[derive(Debug, Parser)]
#[command(name = "ombud", version, max_term_width = 100, after_help = FIRST_STEPS)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
    /// Leave out notes and progress
    #[arg(long, short, global = true)]
    pub quiet: bool,
    /// How to show progress
    #[arg(
        long,
        global = true,
        value_name = "HOW",
        default_value = "auto",
        hide_possible_values = false
    )]
    pub progress: ProgressStyle,
}

const FIRST_STEPS: &str = "\
First steps:
  ombud recipe new people.csv --target outcome --out recipe.toml
  ombud train recipe.toml
  ombud predict models/outcome/latest --data new.csv --explain
  ombud serve
  ombud deploy outcome models/outcome/latest

Exit codes: 0 done, 1 our mistake or a disk or network in trouble, 2 a mistake in what was asked,
3 a gate failed under `train --gates enforce`, 4 `audit verify` found a flaw, 130 stopped with Ctrl-C.";

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    Train(train::Arguments),
    Evaluate(evaluate::Arguments),
    Predict(predict::Arguments),
    Inspect(inspect::Arguments),
    Compare(compare::Arguments),
    Package(package::Arguments),
    Import(import::Arguments),
    Export(export::Arguments),
    Verify(verify::Arguments),
    #[command(subcommand)]
    Recipe(recipe::Command),
    #[command(subcommand)]
    Kit(kit::Command),
    Serve(serve::Arguments),
    Register(deploy::RegisterArguments),
    Deploy(deploy::DeployArguments),
    Promote(deploy::PromoteArguments),
    Rollback(deploy::RollbackArguments),
    Models(deploy::ModelsArguments),
    Deployments(deploy::DeploymentsArguments),
    #[command(subcommand)]
    Subject(subject::Command),
    #[command(subcommand)]
    Audit(audit::Command),
    #[command(subcommand)]
    Keys(keys::Command),
    #[command(subcommand)]
    People(people::Command),
    #[command(subcommand)]
    Config(config::Command),
    #[command(subcommand)]
    Db(db::Command),
    Completions(completions::Arguments),
    #[command(hide = true)]
    Reference(reference::Arguments),
}

/// Reads the command line; asking for help or the version, or a wrong word, ends here.
pub fn parse() -> Result<Cli, ExitCode> {
    let words: Vec<OsString> = std::env::args_os().collect();
    Cli::try_parse_from(&words).map_err(|error| end(&error, &words))
}

fn end(error: &clap::Error, words: &[OsString]) -> ExitCode {
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
            // Help into a closed pipe needs no complaint.
            let _ = error.print();
            ExitCode::SUCCESS
        }
        _ => {
            let is_json = words.iter().any(|word| word == "--json");
            let failure = wrong_words(error);
            Console::new(is_json, false, ProgressStyle::None).fail(&failure);
            ExitCode::from(failure.exit_code())
        }
    }
}

/// clap's report as ours: the first paragraph is what is wrong, its tip or the usage is what to do.
fn wrong_words(error: &clap::Error) -> Failure {
    if error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
        let usage = usage(&error.to_string()).unwrap_or_else(|| "ombud <COMMAND>".to_owned());
        let words = usage
            .split(['<', '['])
            .next()
            .unwrap_or("ombud")
            .trim()
            .to_owned();
        return Failure::invalid(
            "a command is missing",
            format!("write it like: {usage}; see `{words} --help`"),
        );
    }
    let text = error.to_string();
    let is_further = |line: &str| {
        line.starts_with("Usage:")
            || line.starts_with("For more")
            || line.trim_start().starts_with("tip:")
    };
    let what: Vec<&str> = text
        .lines()
        .take_while(|line| !is_further(line))
        .map(str::trim)
        .filter(|line| !line.is_empty())
        .collect();
    let what = what.join(" ");
    let what = what.strip_prefix("error: ").unwrap_or(&what);
    // The possible values are the hint's business.
    let what = what
        .split(" [possible values:")
        .next()
        .unwrap_or(what)
        .to_owned();
    Failure::invalid(what, hint(error, &text))
}

fn hint(error: &clap::Error, text: &str) -> String {
    let suggested = [
        ContextKind::SuggestedArg,
        ContextKind::SuggestedSubcommand,
        ContextKind::SuggestedValue,
    ];
    for kind in suggested {
        match error.get(kind) {
            Some(ContextValue::String(near)) => return format!("did you mean `{near}`?"),
            Some(ContextValue::Strings(near)) if !near.is_empty() => {
                return format!("did you mean `{}`?", near.join("` or `"));
            }
            _ => {}
        }
    }
    if let Some(ContextValue::Strings(valid)) = error.get(ContextKind::ValidValue)
        && !valid.is_empty()
    {
        return format!("one of: {}", valid.join(", "));
    }
    usage(text).map_or_else(
        || "see `ombud --help`".to_owned(),
        |usage| format!("write it like: {usage}"),
    )
}

fn usage(text: &str) -> Option<String> {
    text.lines()
        .find_map(|line| line.strip_prefix("Usage: "))
        .map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_flags_of_all_commands_agree_with_each_other() {
        Cli::command().debug_assert();
    }

    #[test]
    fn a_wrong_flag_is_told_like_any_other_mistake() {
        let error = Cli::try_parse_from(["ombud", "predict", "b", "--data", "d", "--explian"])
            .expect_err("wrong");
        let Failure::Wrong(wrong) = wrong_words(&error) else {
            panic!("a mistake")
        };
        assert_eq!(
            wrong.text(),
            "error: unexpected argument '--explian' found\n\nhint: did you mean `--explain`?"
        );
    }

    #[test]
    fn a_missing_argument_shows_how_to_write_it() {
        let error = Cli::try_parse_from(["ombud", "predict", "b"]).expect_err("wrong");
        let Failure::Wrong(wrong) = wrong_words(&error) else {
            panic!("a mistake")
        };
        assert!(
            wrong.text().contains("--data <SOURCE>")
                && wrong.text().contains("hint: write it like: ombud predict")
        );
    }
}
