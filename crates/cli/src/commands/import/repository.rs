//! `ombud import triton|mlserver`: everything that a repository holds and we can read becomes bundles.
//!
//! One model that cannot be read keeps no other from coming in; each is told with its reason. Versions come in their order,
//! so that the newest there is the newest here.

use super::{Arguments, ImportFormat, read, schema};
use crate::commands::Outcome;
use crate::console::Console;
use crate::failure::{Failure, chain};
use crate::keys;
use ombud_core::Class;
use ombud_engine::bundle::keys::SigningKey;
use ombud_learn::import::repository::{self, Found, Passed, Repository};
use ombud_learn::import::{self, Imported, MODEL_BYTES_MAX, Options, Wanted};
use serde_json::{Value, json};

/// What became of a repository.
#[derive(Default)]
struct Taken {
    imported: Vec<(Found, Imported)>,
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
    let taken = take(there, only, arguments, key.as_ref())?;
    if console.is_json {
        console.print_json(&taken.as_json())?;
    } else {
        taken.tell(console)?;
    }
    if taken.imported.is_empty() {
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
) -> Result<Taken, Failure> {
    let mut taken = Taken {
        passed: there.passed,
        ..Taken::default()
    };
    let wanted = match &arguments.schema {
        Some(path) => schema(path)?,
        None => Wanted::default(),
    };
    for found in there.found {
        let is_wanted = only.is_none_or(|name| name == found.name.as_str() || name == found.theirs);
        if !is_wanted {
            continue;
        }
        match bring(&found, wanted.clone(), arguments, key) {
            Ok(imported) => taken.imported.push((found, imported)),
            Err(reason) => taken.passed.push(Passed {
                theirs: found.theirs,
                version: found.version,
                reason,
            }),
        }
    }
    Ok(taken)
}

fn bring(
    found: &Found,
    mut wanted: Wanted,
    arguments: &Arguments,
    key: Option<&SigningKey>,
) -> Result<Imported, String> {
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
    import::import(found.format, &bytes, &options)
        .map_err(|error| format!("{} ({})", chain(&error), error.hint()))
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
        json!({ "imported": imported.collect::<Vec<_>>(), "passed": passed.collect::<Vec<_>>() })
    }

    fn tell(&self, console: &Console) -> Result<(), Failure> {
        for passed in &self.passed {
            let what = format!("{} {}", passed.theirs, passed.version);
            console.warn(&format!("{}: {}", what.trim(), passed.reason));
        }
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
