//! `ombud keys master new|rewrap`: the key above all data keys, and how another takes its place.

use super::super::Outcome;
use crate::console::Console;
use crate::failure::Failure;
use crate::settings::{self, Settings};
use clap::Args;
use ombud_api::open::OpenError;
use ombud_ledger::SecretSource;
use serde_json::json;
use std::path::PathBuf;

/// Make a master key in a new file that its owner alone can read
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  ombud keys master new /etc/ombud/master-2027.key")]
pub struct New {
    /// The file; an existing one is never overwritten
    pub file: PathBuf,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}

/// Wrap every data key anew by the master key of the settings, so that the one before it can be destroyed
///
/// Name both keys in the settings (`ledger.master_key_file` and `ledger.master_key_before_file`), restart every server, run
/// this, take the key before out of the settings again. Servers go on serving meanwhile. It may be broken off and repeated.
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  ombud keys master rewrap --reason \"yearly change\"")]
pub struct Rewrap {
    #[command(flatten)]
    pub settings: Settings,
    /// Why; it is recorded
    #[arg(long)]
    pub reason: String,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}

/// Makes a key.
pub fn new(arguments: &New, console: &Console) -> Result<Outcome, Failure> {
    SecretSource::generate_file(&arguments.file).map_err(OpenError::Secret)?;
    let file = arguments.file.display();
    if console.is_json {
        console.print_json(&json!({ "file": file.to_string() }))?;
    } else {
        console.print(&format!(
            "{file}\n\nKeep a copy in a safe place: without it nothing sealed under it opens."
        ))?;
    }
    Ok(Outcome::Done)
}

/// Wraps anew.
pub fn rewrap(arguments: &Rewrap, console: &Console) -> Result<Outcome, Failure> {
    let (runtime, _, rooms) = arguments.settings.open()?;
    let (mut keys, mut references, mut unreadable) = (0, 0, 0);
    let mut after = Some(0);
    let mut result = Ok(());
    while let Some(number) = after {
        let act = settings::act(&arguments.reason);
        match runtime.block_on(rooms.ledger.rewrap(&rooms.tenant, number, act)) {
            Ok(step) => {
                keys += step.keys;
                references += step.references;
                unreadable += step.unreadable;
                after = step.next;
            }
            Err(error) => {
                result = Err(error);
                break;
            }
        }
    }
    settings::close(&runtime, &rooms);
    result?;
    if console.is_json {
        console.print_json(
            &json!({ "keys": keys, "reference_keys": references, "unreadable": unreadable }),
        )?;
    } else {
        let mut told = format!("{keys} data keys and {references} reference keys wrapped anew");
        if unreadable > 0 {
            told.push_str(&format!(
                "; {unreadable} are unwrapped by neither key and stay as they are"
            ));
        } else {
            told.push_str("; the key before is needed by nothing any more");
        }
        console.print(&told)?;
    }
    Ok(Outcome::Done)
}
