//! `ombud subject`: what the house knows about a person, gathered for them or destroyed.

use super::Outcome;
use crate::console::Console;
use crate::failure::Failure;
use crate::settings::{self, Settings};
use clap::{Args, Subcommand};
use ombud_api::open::Rooms;
use ombud_api::routes::audit::OpenedView;
use ombud_api::routes::subjects::SubjectOutcome;
use ombud_ledger::{Opened, Subject};
use serde_json::{Value, json};
use std::io::Read;
use std::path::PathBuf;

/// Longest id of a person that is read from standard input.
const ID_BYTES_MAX: u64 = 4_096;

/// Gather everything about a person for them, or destroy it
#[derive(Debug, Subcommand)]
pub enum Command {
    Export(Export),
    Erase(Erase),
}

/// Gather everything about a person, opened, as one JSON object; that it was done is on record
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  ombud subject export M-4711 --reason \"asked for by the member\" --out M-4711.json")]
pub struct Export {
    #[command(flatten)]
    pub settings: Settings,
    /// The person's id, as decisions named it; `-` reads it from standard input
    pub id: String,
    /// Why
    #[arg(long)]
    pub reason: String,
    /// The file to write [default: standard output]
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
}

/// Destroy what is known about a person; the chain still verifies, and a record proves the erasure
#[derive(Debug, Args)]
pub struct Erase {
    #[command(flatten)]
    pub settings: Settings,
    /// The person's id, as decisions named it; `-` reads it from standard input
    pub id: String,
    /// Why
    #[arg(long)]
    pub reason: String,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}

impl Command {
    /// Whether the answer is one JSON object.
    pub fn is_json(&self) -> bool {
        matches!(self, Command::Erase(erase) if erase.json)
    }
}

/// Does what was asked.
pub fn run(command: &Command, console: &Console) -> Result<Outcome, Failure> {
    let (settings, id, reason) = match command {
        Command::Export(export) => (&export.settings, &export.id, &export.reason),
        Command::Erase(erase) => (&erase.settings, &erase.id, &erase.reason),
    };
    if reason.trim().is_empty() {
        return Err(Failure::invalid(
            "a reason is needed",
            "say why with --reason",
        ));
    }
    let subject = subject(id)?;
    let (runtime, _, rooms) = settings.open()?;
    let outcome = match command {
        Command::Export(arguments) => {
            runtime.block_on(export(&rooms, &subject, arguments, console))
        }
        Command::Erase(arguments) => runtime.block_on(erase(&rooms, subject, arguments, console)),
    };
    settings::close(&runtime, &rooms);
    outcome.map(|()| Outcome::Done)
}

async fn export(
    rooms: &Rooms,
    subject: &Subject,
    arguments: &Export,
    console: &Console,
) -> Result<(), Failure> {
    let caller = settings::caller();
    let (mut records, mut outcomes, mut after) = (Vec::new(), Vec::new(), None);
    loop {
        let page = rooms
            .ops
            .export_subject(&rooms.tenant, &caller, subject, &arguments.reason, after)
            .await?;
        records.extend(
            page.records
                .into_iter()
                .map(|(record, contents)| OpenedView::from(Opened { record, contents })),
        );
        outcomes.extend(page.outcomes.into_iter().map(SubjectOutcome::from));
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    let text = serde_json::to_string_pretty(&json!({ "records": records, "outcomes": outcomes }))
        .unwrap_or_default();
    match &arguments.out {
        None => console.print(&text),
        Some(path) => {
            std::fs::write(path, text).map_err(|error| Failure::file("written", path, &error))?;
            console.print(&format!(
                "{}: {} records, {} reported outcomes",
                path.display(),
                records.len(),
                outcomes.len()
            ))
        }
    }
}

async fn erase(
    rooms: &Rooms,
    subject: Subject,
    arguments: &Erase,
    console: &Console,
) -> Result<(), Failure> {
    let erased = rooms
        .ops
        .erase_subject(
            &rooms.tenant,
            &settings::caller(),
            subject,
            &arguments.reason,
        )
        .await?;
    let (proof, keys) = (&erased.erased.recorded, erased.erased.keys_destroyed);
    if console.is_json {
        let answer: Value = json!({
            "subject": erased.erased.subject.0.to_string(), "keys_destroyed": keys,
            "outcomes": erased.forgotten.outcomes, "record": proof.id.to_string(),
        });
        return console.print_json(&answer);
    }
    console.print(&format!(
        "{keys} data keys are destroyed, {} reported outcomes lost their text; nothing sealed about this person opens any more\nrecord {} proves it",
        erased.forgotten.outcomes, proof.id
    ))
}

fn subject(id: &str) -> Result<Subject, Failure> {
    if id != "-" {
        return Ok(Subject::new(id.to_owned()));
    }
    let mut text = String::new();
    std::io::stdin()
        .take(ID_BYTES_MAX)
        .read_to_string(&mut text)
        .map_err(|error| {
            Failure::invalid(
                format!("standard input cannot be read: {error}"),
                "write the id on one line",
            )
        })?;
    Ok(Subject::new(text.trim().to_owned()))
}
