//! `ombud db`: the database's tables, and bringing them up to date.

use super::Outcome;
use crate::console::Console;
use crate::failure::Failure;
use crate::settings::{Settings, runtime};
use clap::{Args, Subcommand};
use ombud_api::open;
use ombud_ledger::Reader;
use ombud_store::{Place, Store};
use serde_json::json;

/// Look at the database's tables and bring them up to date
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Tell which version the tables have and which this program knows; changes nothing
    Status(Arguments),
    /// Bring the tables up to date, as starting a server does
    Migrate(Arguments),
}

// Without words of its own: each command that takes it has others.
#[derive(Debug, Args)]
pub struct Arguments {
    #[command(flatten)]
    pub settings: Settings,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}

impl Command {
    /// Whether the answer is one JSON object.
    pub fn is_json(&self) -> bool {
        let (Command::Status(arguments) | Command::Migrate(arguments)) = self;
        arguments.json
    }
}

/// Does what was asked.
pub fn run(command: &Command, console: &Console) -> Result<Outcome, Failure> {
    match command {
        Command::Status(arguments) => {
            let (config, _) = arguments.settings.load()?;
            tell(&open::place(&config)?, console)?;
        }
        Command::Migrate(arguments) => {
            let (config, _) = arguments.settings.load()?;
            let runtime = runtime()?;
            let lane = ombud_ledger::LaneName::new("command")
                .map_err(|_| open::OpenError::Name("command".to_owned()))?;
            let rooms = runtime.block_on(open::rooms(&config, lane, None))?;
            crate::settings::close(&runtime, &rooms);
            tell(&open::place(&config)?, console)?;
        }
    }
    Ok(Outcome::Done)
}

fn tell(place: &Place, console: &Console) -> Result<(), Failure> {
    let store = runtime()?.block_on(Store::status(place))?;
    let is_there = !matches!(place, Place::Sqlite(path) if !path.exists());
    let ledger = is_there
        .then(|| Reader::new(place.for_ledger(), None).schema())
        .transpose()?;
    let ledger = ledger.map(|schema| (schema.found, schema.known));
    if console.is_json {
        return console.print_json(&json!({
            "database": format!("{place:?}"),
            "store": { "found": store.found, "known": store.known },
            "ledger": ledger.map(|(found, known)| json!({ "found": found, "known": known })),
        }));
    }
    let line = |name: &str, found: i64, known: i64| {
        let word = match found.cmp(&known) {
            std::cmp::Ordering::Less if found == 0 => "not made yet",
            std::cmp::Ordering::Less => "older: `ombud db migrate` brings it up to date",
            std::cmp::Ordering::Equal => "up to date",
            std::cmp::Ordering::Greater => "newer than this program: use a newer ombud",
        };
        format!("{name:<8}  {found} of {known}  {word}")
    };
    console.print(&format!("{place:?}"))?;
    console.print(&line("store", store.found, store.known))?;
    match ledger {
        Some((found, known)) => console.print(&line("ledger", found, known)),
        None => console.print("ledger    not made yet"),
    }
}
