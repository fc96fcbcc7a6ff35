//! `ombud import triton|mlserver`: everything that a repository holds and we can read becomes bundles.
//!
//! One model that cannot be read keeps no other from coming in; each is told with its reason. Versions come in their order,
//! so that the newest there is the newest here. What came in before, and would come in the same, does not come in again.

use super::{Arguments, ImportFormat, read, schema};
use crate::commands::Outcome;
use crate::console::Console;
use crate::failure::{Failure, chain};
use crate::keys;
use crate::progress::Shown;
use ombud_core::{Class, Manifest, Version};
use ombud_engine::bundle::keys::SigningKey;
use ombud_learn::import::repository::{self, Found, Passed, Repository};
use ombud_learn::import::{self, Imported, MODEL_BYTES_MAX, Options, Origin, Wanted};
use ombud_learn::progress::Progress;
use serde_json::{Value, json};

/// What became of a repository.
#[derive(Default)]
struct Taken {
    imported: Vec<(Found, Imported)>,
    /// What is here already, and as which version.
    known: Vec<(Found, Version)>,
    passed: Vec<Passed>,
}

/// Looks, imports one by one, tells.
pub fn run(arguments: &Arguments, console: &Console) -> Result<Outcome, Failure> {
    let only = arguments.name.as_deref();
    if arguments.schema.is_some() && only.is_none() {
        return Err(Failure::invalid(
            "--schema is about one model",
            "say which with --name",
        ));
    }
    crate::commands::train::check_out(&arguments.out)?;
    let folder = &arguments.file;
    let look = match arguments.format {
        ImportFormat::Triton => repository::triton,
        _ => repository::mlserver,
    };
    let there = look(folder).map_err(|error| Failure::file("read", folder, &error))?;
    let key = keys::signing_key(arguments.key.as_deref(), console)?;
    let taken = take(there, only, arguments, key.as_ref(), console)?;
    if console.is_json {
        console.print_json(&taken.as_json())?;
    } else {
        taken.tell(console)?;
    }
    if taken.imported.is_empty() && taken.known.is_empty() {
        let what = format!("{} holds no model that can be read here", folder.display());
        let hint =
            "ONNX, XGBoost and LightGBM are read; docs/portable.md says how to convert others";
        return Err(Failure::new(Class::Unsupported, what, hint));
    }
    Ok(Outcome::Done)
}

fn take(
    there: Repository,
    only: Option<&str>,
    arguments: &Arguments,
    key: Option<&SigningKey>,
    console: &Console,
) -> Result<Taken, Failure> {
    let mut taken = Taken {
        passed: there.passed,
        ..Taken::default()
    };
    let wanted = match &arguments.schema {
        Some(path) => schema(path)?,
        None => Wanted::default(),
    };
    let is_wanted =
        |found: &Found| only.is_none_or(|name| name == found.name.as_str() || name == found.theirs);
    let names: Vec<String> = there
        .found
        .iter()
        .map(|found| found.theirs.clone())
        .collect();
    let wanted_ones: Vec<Found> = there.found.into_iter().filter(is_wanted).collect();
    if let Some(only) = only
        && wanted_ones.is_empty()
        && !taken.passed.iter().any(|passed| passed.theirs == only)
    {
        let what = format!("no model that can be read here is called {only}");
        let hint = match names.is_empty() {
            true => "none is there at all".to_owned(),
            false => format!("there are {}", names.join(", ")),
        };
        return Err(Failure::new(Class::NotFound, what, hint));
    }
    let progress = Shown::new(console);
    progress.start("models", Some(wanted_ones.len() as u64));
    for (done, found) in (1..).zip(wanted_ones) {
        let brought = bring(&found, wanted.clone(), arguments, key);
        progress.advance(done);
        match brought {
            Ok(Brought::New(imported)) => taken.imported.push((found, *imported)),
            Ok(Brought::Known(version)) => taken.known.push((found, version)),
            Err(reason) => taken.passed.push(Passed {
                theirs: found.theirs,
                version: found.version,
                reason,
            }),
        }
        if progress.is_stopped() {
            return Err(Failure::Stopped);
        }
    }
    progress.finish();
    Ok(taken)
}

/// What became of one model.
enum Brought {
    New(Box<Imported>),
    Known(Version),
}

fn bring(
    found: &Found,
    mut wanted: Wanted,
    arguments: &Arguments,
    key: Option<&SigningKey>,
) -> Result<Brought, String> {
    let bytes = read(&found.file, MODEL_BYTES_MAX).map_err(|failure| match failure {
        Failure::Wrong(wrong) => wrong.message,
        Failure::Stopped | Failure::PipeClosed => "it could not be read".to_owned(),
    })?;
    if wanted.names.is_empty() {
        wanted.names.clone_from(&found.names);
    }
    if arguments.target.is_some() {
        wanted.columns.target.clone_from(&arguments.target);
    }
    let origin = match found.version.as_str() {
        "" => found.theirs.clone(),
        version => format!("{} {version}", found.theirs),
    };
    let options = Options {
        name: &found.name,
        origin: &origin,
        wanted: &wanted,
        out: &arguments.out,
        key,
    };
    if let Some(version) = known(found, &bytes, &options) {
        return Ok(Brought::Known(version));
    }
    let imported = import::import(found.format, &bytes, &options)
        .map_err(|error| format!("{} ({})", chain(&error), error.hint()))?;
    Ok(Brought::New(Box::new(imported)))
}

/// The version that came of the same file in the same way before. A manifest names the digest of the file that it came from.
fn known(found: &Found, bytes: &[u8], options: &Options<'_>) -> Option<Version> {
    let folders = std::fs::read_dir(options.out.join(options.name.as_str())).ok()?;
    let manifests: Vec<Manifest> = folders
        .filter_map(|folder| {
            let text = std::fs::read(folder.ok()?.path().join("manifest.json")).ok()?;
            serde_json::from_slice(&text).ok()
        })
        .collect();
    let version = manifests.first()?.version;
    let origin = Origin {
        came_us: None,
        name: options.name,
        version,
        file: options.origin,
        wanted: options.wanted,
        key: None,
    };
    let made = import::bundle(found.format, bytes, &origin).ok()?;
    let made = made.manifest();
    let is_same = |there: &&Manifest| {
        there.lineage.imported_from == made.lineage.imported_from
            && there.schema == made.schema
            && there.outputs == made.outputs
            && there.engine == made.engine
    };
    manifests
        .iter()
        .filter(is_same)
        .map(|there| there.version)
        .max()
}

impl Taken {
    fn as_json(&self) -> Value {
        let imported = self.imported.iter().map(|(found, imported)| {
            let manifest = imported.bundle.manifest();
            json!({
                "name": manifest.name.as_str(), "version": manifest.version.get(),
                "bundle": imported.path.display().to_string(),
                "from": { "name": found.theirs, "version": found.version },
            })
        });
        let passed = self.passed.iter().map(|passed| {
            json!({ "name": passed.theirs, "version": passed.version, "reason": passed.reason })
        });
        let known = self.known.iter().map(|(found, version)| {
            json!({
                "name": found.name.as_str(), "version": version.get(),
                "from": { "name": found.theirs, "version": found.version },
            })
        });
        json!({
            "imported": imported.collect::<Vec<_>>(), "known": known.collect::<Vec<_>>(),
            "passed": passed.collect::<Vec<_>>(),
        })
    }

    fn tell(&self, console: &Console) -> Result<(), Failure> {
        for passed in &self.passed {
            let what = format!("{} {}", passed.theirs, passed.version);
            console.warn(&format!("{}: {}", what.trim(), passed.reason));
        }
        for (found, version) in &self.known {
            console.note(&format!(
                "{} {} is here already: {} version {version}",
                found.theirs, found.version, found.name
            ));
        }
        console.note(&format!(
            "{} came in, {} were here already, {} could not be read",
            self.imported.len(),
            self.known.len(),
            self.passed.len()
        ));
        for (found, imported) in &self.imported {
            let manifest = imported.bundle.manifest();
            console.print(&format!(
                "{} version {} (there: {} {})  {}",
                manifest.name,
                manifest.version,
                found.theirs,
                found.version,
                imported.path.display()
            ))?;
        }
        Ok(())
    }
}
