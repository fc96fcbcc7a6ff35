//! `ombud verify`: whether a bundle is whole and whose it is.

use super::Outcome;
use crate::bundles::{self, StagesArguments};
use crate::console::{Console, Shade};
use crate::failure::Failure;
use crate::keys::TrustArguments;
use crate::table::facts;
use clap::Args;
use ombud_engine::Bundle;
use serde_json::json;
use std::path::PathBuf;

/// Check every file of a bundle against its digest, and the signature against a trusted key
///
/// Without a key only the digests are checked: they find damage, but whoever changes a file can change its digest too.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  ombud verify models/claim_outcome/latest --key signing.pub
  ombud verify claim_outcome_3.tar.gz --key signing.pub --json")]
pub struct Arguments {
    /// The bundle: a folder or a .tar.gz
    pub bundle: PathBuf,
    #[command(flatten)]
    pub trust: TrustArguments,
    #[command(flatten)]
    pub stages: StagesArguments,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}

/// Verifies and tells what was verified.
pub fn run(arguments: &Arguments, console: &Console) -> Result<Outcome, Failure> {
    let bundle = bundles::open(&arguments.bundle, &arguments.trust)?;
    let standing = Standing::of(&bundle);
    let manifest = bundle.manifest().clone();
    // Weights that do not fit their manifest are as useless as damaged ones.
    bundles::as_model(bundle, &arguments.bundle, &arguments.stages)?;
    if console.is_json {
        console.print_json(&json!({
            "verified": true,
            "name": manifest.name.as_str(),
            "version": manifest.version.get(),
            "label": manifest.label.as_str(),
            "digest": standing.digest,
            "files": manifest.files.len() + 1,
            "signed": standing.is_signed,
            "signed_by": standing.signed_by,
        }))?;
        return Ok(Outcome::Done);
    }
    let files = format!("{} files match their digests", manifest.files.len() + 1);
    console.print(&facts(
        console,
        [
            (
                "bundle",
                format!(
                    "{} version {} ({})",
                    manifest.name, manifest.version, manifest.label
                ),
            ),
            ("digest", standing.digest.clone()),
            ("files", console.shade(Shade::Good, &files)),
            ("signature", standing.words(console)),
        ],
    ))?;
    Ok(Outcome::Done)
}

/// What is known of a bundle's signature.
#[derive(Debug, Clone)]
pub struct Standing {
    /// The bundle's identity.
    pub digest: String,
    /// Whether it carries a signature.
    pub is_signed: bool,
    /// The trusted key that signed it, when keys were given.
    pub signed_by: Option<String>,
}

impl Standing {
    /// Reads it off a verified bundle.
    pub fn of(bundle: &Bundle) -> Self {
        Standing {
            digest: bundle.digest().to_string(),
            is_signed: bundle.is_signed(),
            signed_by: bundle.signed_by().map(|key| key.to_string()),
        }
    }

    /// For a person.
    pub fn words(&self, console: &Console) -> String {
        match (self.is_signed, &self.signed_by) {
            (_, Some(key)) => console.shade(Shade::Good, &format!("by the trusted key {key}")),
            (true, None) => console.shade(
                Shade::Notice,
                "present, not checked: name the key you trust with --key",
            ),
            (false, None) => console.shade(Shade::Notice, "none: the bundle is not signed"),
        }
    }
}
