//! `ombud config`: the server's settings, checked, shown, explained.

use super::Outcome;
use crate::console::Console;
use crate::failure::Failure;
use crate::settings::Settings;
use clap::{Args, Subcommand};
use ombud_api::{Config, access};
use serde_json::json;

/// Check, show and explain the server's settings
#[derive(Debug, Subcommand)]
pub enum Command {
    Check(Check),
    Show(Show),
    /// Print what every setting means (docs/config.md)
    Reference,
    /// Print who may do what (docs/roles.md)
    Roles,
    /// Print the description of every route (OpenAPI 3.1)
    Openapi,
}

/// Tell every mistake in the settings, each with its line
#[derive(Debug, Args)]
pub struct Check {
    #[command(flatten)]
    pub settings: Settings,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}

/// Print the settings in force, secrets masked, and who said so
#[derive(Debug, Args)]
pub struct Show {
    #[command(flatten)]
    pub settings: Settings,
    /// Only what somebody said, with where
    #[arg(long)]
    pub origins: bool,
}

impl Command {
    /// Whether the answer is one JSON object.
    pub fn is_json(&self) -> bool {
        matches!(self, Command::Check(check) if check.json)
    }
}

/// Does what was asked.
pub fn run(command: &Command, console: &Console) -> Result<Outcome, Failure> {
    match command {
        Command::Check(arguments) => check(arguments, console)?,
        Command::Show(arguments) => show(arguments, console)?,
        Command::Reference => console.print_bytes(Config::reference().as_bytes())?,
        Command::Roles => console.print_bytes(access::page(crate::kits::ALL).as_bytes())?,
        Command::Openapi => console.print(&openapi())?,
    }
    Ok(Outcome::Done)
}

fn check(arguments: &Check, console: &Console) -> Result<(), Failure> {
    let (config, origins) = arguments.settings.load()?;
    ombud_api::open::check_keys(&config)?;
    if console.is_json {
        return console.print_json(&json!({ "is_right": true, "said": origins.len() }));
    }
    let noun = if origins.len() == 1 {
        "setting differs"
    } else {
        "settings differ"
    };
    console.print(&format!(
        "the settings are right; {} {noun} from the defaults",
        origins.len()
    ))
}

fn show(arguments: &Show, console: &Console) -> Result<(), Failure> {
    let (config, origins) = arguments.settings.load()?;
    if !arguments.origins {
        return console.print(&config.shown());
    }
    for origin in origins {
        console.print(&format!("{}  ({})", origin.key, origin.place))?;
    }
    Ok(())
}

fn openapi() -> String {
    ombud_api::routes::document_with(crate::kits::ALL)
        .to_pretty_json()
        .unwrap_or_default()
}
