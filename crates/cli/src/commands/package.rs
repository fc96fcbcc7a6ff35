//! `ombud package`: a bundle as one file.

use super::Outcome;
use crate::bundles;
use crate::console::Console;
use crate::failure::Failure;
use crate::keys::TrustArguments;
use crate::numbers;
use clap::Args;
use ombud_core::Class;
use ombud_engine::bundle::digest::digest_bytes;
use ombud_engine::bundle::staging::write_file_atomically;
use serde_json::json;
use std::fs;
use std::path::{Path, PathBuf};

/// Pack a bundle into one .tar.gz; the same bundle gives the same bytes
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  ombud package models/claim_outcome/latest
  ombud package models/claim_outcome/3 --out claim_outcome.tar.gz")]
pub struct Arguments {
    /// The bundle
    pub bundle: PathBuf,
    /// The file to write [default: model_packages/NAME_VERSION.tar.gz]
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
    #[command(flatten)]
    pub trust: TrustArguments,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}

/// Verifies, packs, writes.
pub fn run(arguments: &Arguments, console: &Console) -> Result<Outcome, Failure> {
    let bundle = bundles::open(&arguments.bundle, &arguments.trust)?;
    let manifest = bundle.manifest();
    let out = match &arguments.out {
        Some(out) => out.clone(),
        None => Path::new("model_packages")
            .join(format!("{}_{}.tar.gz", manifest.name, manifest.version)),
    };
    let mut bytes = Vec::new();
    bundle.pack(&mut bytes).map_err(|error| {
        Failure::new(
            Class::Internal,
            format!("the bundle cannot be packed: {error}"),
            "report this",
        )
    })?;
    write(&out, &bytes)?;
    let digest = digest_bytes(&bytes).to_string();
    for stage in manifest
        .ensemble
        .iter()
        .flat_map(|ensemble| &ensemble.stages)
    {
        console.note(&format!(
            "its stage {} (digest {}) is a package of its own: pack it too, and keep the two together",
            stage.words(),
            stage.digest.short()
        ));
    }
    if console.is_json {
        console.print_json(&json!({
            "name": manifest.name.as_str(), "version": manifest.version.get(),
            "package": out.display().to_string(), "bytes": bytes.len(), "sha256": digest,
        }))?;
        return Ok(Outcome::Done);
    }
    console.print(&format!(
        "{} ({}, sha256 {digest})",
        out.display(),
        numbers::bytes(bytes.len() as u64)
    ))?;
    Ok(Outcome::Done)
}

fn write(out: &Path, bytes: &[u8]) -> Result<(), Failure> {
    if out.is_dir() {
        let hint = format!(
            "name the file, such as {}",
            out.join("model.tar.gz").display()
        );
        return Err(Failure::invalid(
            format!("{} is a folder", out.display()),
            hint,
        ));
    }
    if let Some(folder) = out.parent().filter(|folder| *folder != Path::new("")) {
        fs::create_dir_all(folder).map_err(|error| Failure::file("made", folder, &error))?;
    }
    Ok(write_file_atomically(out, bytes)?)
}
