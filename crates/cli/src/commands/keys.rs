//! `ombud keys`: the keys that sign bundles, the keys that programs call with, and the ledger's master key.

mod api_keys;
mod master;

use super::Outcome;
use crate::console::Console;
use crate::failure::Failure;
use crate::keys::{PRIVATE_FILE, PUBLIC_FILE, SIGNING_VARIABLE, TRUSTED_VARIABLE, load_public};
use crate::places;
use clap::{Args, Subcommand};
use ombud_core::Class;
use ombud_engine::bundle::keys::SigningKey;
use serde_json::json;
use std::fs;
use std::path::{Path, PathBuf};

/// Make and look at keys
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Keys that sign bundles
    #[command(subcommand)]
    Signing(Signing),
    /// The key above all data keys of the ledger
    #[command(subcommand)]
    Master(Master),
    New(api_keys::New),
    List(api_keys::List),
    Revoke(api_keys::Revoke),
}

/// What to do with signing keys.
#[derive(Debug, Subcommand)]
pub enum Signing {
    New(New),
    Show(Show),
}

/// What to do with the master key.
#[derive(Debug, Subcommand)]
pub enum Master {
    New(master::New),
    Rewrap(master::Rewrap),
}

/// Make a signing key: a private file for whoever trains, a public file for whoever uses models
///
/// The key is ECDSA on P-256, in PEM files that openssl and model_signing read too. An existing key is never overwritten.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  ombud keys signing new
  ombud keys signing new --out keys/")]
pub struct New {
    /// The folder to write signing.key and signing.pub to [default: ~/.config/ombud/keys, where training finds it]
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}

/// Show a public key's id, the one that signatures name
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  ombud keys signing show keys/signing.pub")]
pub struct Show {
    /// The public key
    pub public_key: PathBuf,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}

impl Command {
    /// Whether the answer is one JSON object.
    pub fn is_json(&self) -> bool {
        match self {
            Command::Signing(Signing::New(new)) => new.json,
            Command::Signing(Signing::Show(show)) => show.json,
            Command::Master(Master::New(new)) => new.json,
            Command::Master(Master::Rewrap(rewrap)) => rewrap.json,
            Command::New(new) => new.json,
            Command::List(list) => list.json,
            Command::Revoke(revoke) => revoke.json,
        }
    }
}

/// Does what was asked.
pub fn run(command: &Command, console: &Console) -> Result<Outcome, Failure> {
    match command {
        Command::Signing(Signing::New(arguments)) => new(arguments, console),
        Command::Signing(Signing::Show(arguments)) => show(arguments, console),
        Command::Master(Master::New(arguments)) => master::new(arguments, console),
        Command::Master(Master::Rewrap(arguments)) => master::rewrap(arguments, console),
        Command::New(arguments) => api_keys::new(arguments, console),
        Command::List(arguments) => api_keys::list(arguments, console),
        Command::Revoke(arguments) => api_keys::revoke(arguments, console),
    }
}

fn new(arguments: &New, console: &Console) -> Result<Outcome, Failure> {
    let is_default = arguments.out.is_none();
    let folder = match arguments.out.clone().or_else(places::keys_folder) {
        Some(folder) => folder,
        None => {
            return Err(Failure::invalid(
                "there is no home folder to keep a key in",
                "name a folder with --out DIR",
            ));
        }
    };
    let (private, public) = (folder.join(PRIVATE_FILE), folder.join(PUBLIC_FILE));
    for path in [&private, &public] {
        // A link that leads nowhere is not to be followed either.
        if fs::symlink_metadata(path).is_ok() {
            let message = format!("{} exists already and is never overwritten", path.display());
            return Err(Failure::new(
                Class::Conflict,
                message,
                "use that key, or name another folder with --out DIR",
            ));
        }
    }
    make_folder(&folder)?;
    let key = SigningKey::generate()?;
    let id = key.public()?.id();
    key.save(&private)?;
    if let Err(error) = key.public().and_then(|key| key.save(&public)) {
        // Half a pair would only be in the way; the private key has not signed anything yet.
        let _ = fs::remove_file(&private);
        return Err(error.into());
    }
    if console.is_json {
        console.print_json(&json!({
            "private": private.display().to_string(), "public": public.display().to_string(),
            "key_id": id.to_string(),
        }))?;
        return Ok(Outcome::Done);
    }
    console.print(&told(&private, &public, &id.to_string(), is_default))?;
    Ok(Outcome::Done)
}

fn told(private: &Path, public: &Path, id: &str, is_default: bool) -> String {
    let (private, public) = (private.display(), public.display());
    let use_it = if is_default {
        "`ombud train` signs with it from now on".to_owned()
    } else {
        format!(
            "sign with it: ombud train RECIPE --key {private}   (or set {SIGNING_VARIABLE}={private})"
        )
    };
    format!(
        "private key  {private}\npublic key   {public}\nkey id       {id}\n\n\
         Next:\n  keep the private key to yourself, with a copy in a safe place\n  {use_it}\n  \
         give the public key to whoever uses your models; they check with\n    \
         ombud verify BUNDLE --key {public}   (or set {TRUSTED_VARIABLE}={public})"
    )
}

/// Whoever may write to the folder could swap the key, so a folder we make is the owner's alone.
fn make_folder(folder: &Path) -> Result<(), Failure> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder
        .create(folder)
        .map_err(|error| Failure::file("made", folder, &error))
}

fn show(arguments: &Show, console: &Console) -> Result<Outcome, Failure> {
    let key = load_public(&arguments.public_key)?;
    if console.is_json {
        console.print_json(&json!({
            "public": arguments.public_key.display().to_string(), "key_id": key.id().to_string(),
        }))?;
    } else {
        console.print(&format!("key id  {}", key.id()))?;
    }
    Ok(Outcome::Done)
}
