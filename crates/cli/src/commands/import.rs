//! `ombud import`: a model of another tool becomes a bundle like any other.

mod mlflow;
mod repository;

use super::Outcome;
use crate::console::Console;
use crate::failure::{Failure, chain};
use crate::keys;
use crate::settings::Settings;
use clap::{Args, ValueEnum};
use ombud_core::{Class, ModelName};
use ombud_learn::import::{
    self, Format, Imported, MODEL_BYTES_MAX, Options, SCHEMA_BYTES_MAX, Wanted, WantedError,
};
use serde_json::json;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

/// Bring a model in from XGBoost, LightGBM, scikit-learn or any ONNX file
///
/// The model answers here as it does there: margins of XGBoost and LightGBM within 1e-6, ONNX within 1e-5. What cannot be
/// run exactly is refused by name, now and not at the first request. Pickles are never opened. The bundle is kept like one
/// of `ombud train`: predict, evaluate, compare, inspect, verify and package take it.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  ombud import xgboost churn.ubj --name churn
  ombud import lightgbm churn.txt --name churn --target left
  ombud import sklearn churn.onnx --name churn --schema churn.toml --json
  ombud import onnx net.onnx --name vitals --schema vitals.json
  ombud import triton /srv/model_repository          (every model and version it can read)
  ombud import mlserver /srv/models --name churn
  ombud import mlflow http://127.0.0.1:5000          (everything it has, into the house here; again goes on)

What the files are made with, in Python:
  xgboost    booster.save_model(\"churn.ubj\")            (or .json; XGBoost 2 or later)
  lightgbm   booster.save_model(\"churn.txt\")            (LightGBM 4 or later)
  sklearn    onnx = skl2onnx.to_onnx(model, X[:1]); open(\"churn.onnx\", \"wb\").write(onnx.SerializeToString())

Without --schema, features are named and typed as the file has it. A schema file names what the file does not:
  [data]
  target = \"outcome\"                    # what `ombud evaluate` compares with
  levels = [\"stays\", \"leaves\"]          # the classes, in the model's order
  [features]                            # in the model's order where the file has no names
  age = \"number\"
  site = { type = \"category\", values = [\"north\", \"south\"] }
or is the JSON that a manifest has under \"schema\". docs/portable.md has the whole of it.")]
pub struct Arguments {
    /// What the file is
    pub format: ImportFormat,
    /// The model file; for triton and mlserver, their folder; for mlflow, the address of its server
    #[arg(value_name = "FILE|DIR|URI")]
    pub file: PathBuf,
    /// The model's name here: small letters, digits, `_` and `-`. For triton and mlserver: only this model
    #[arg(long, value_name = "NAME", required_if_eq_any = [
        ("format", "xgboost"), ("format", "lightgbm"), ("format", "sklearn"), ("format", "onnx")])]
    pub name: Option<String>,
    // The house that takes in what a server has.
    #[command(flatten)]
    pub settings: Settings,
    /// What is known beyond the file: names, types, classes (TOML or JSON)
    #[arg(long, value_name = "FILE")]
    pub schema: Option<PathBuf>,
    /// The column that holds the truth, for `ombud evaluate`
    #[arg(long, value_name = "COLUMN")]
    pub target: Option<String>,
    /// The folder of models
    #[arg(long, value_name = "DIR", default_value = "models")]
    pub out: PathBuf,
    /// The private key that signs the bundle
    #[arg(long, value_name = "PRIVATE_KEY")]
    pub key: Option<PathBuf>,
    /// Print one JSON object: name, version, bundle
    #[arg(long)]
    pub json: bool,
}

/// What a model file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ImportFormat {
    /// XGBoost's JSON or UBJSON
    Xgboost,
    /// LightGBM's text
    Lightgbm,
    /// The ONNX file that skl2onnx makes of a scikit-learn model
    Sklearn,
    /// An ONNX file
    Onnx,
    /// A model repository of Triton: MODEL/VERSION/model.onnx
    Triton,
    /// A folder of MLServer: model-settings.json
    Mlserver,
    /// A running MLflow server: experiments, runs, registry, files
    Mlflow,
}

/// Reads, understands, keeps.
pub fn run(arguments: &Arguments, console: &Console) -> Result<Outcome, Failure> {
    let Some(format) = arguments.format.room() else {
        if matches!(arguments.format, ImportFormat::Mlflow) {
            let uri = arguments.file.to_string_lossy();
            return mlflow::run(&uri, &arguments.settings, console);
        }
        return repository::run(arguments, console);
    };
    let name = arguments.name.as_deref().unwrap_or_default();
    let name = ModelName::new(name).map_err(|error| {
        Failure::invalid(error.to_string(), "give a name like --name claim_outcome")
    })?;
    super::train::check_out(&arguments.out)?;
    let bytes = read(&arguments.file, MODEL_BYTES_MAX)?;
    let mut wanted = match &arguments.schema {
        Some(path) => schema(path)?,
        None => Wanted::default(),
    };
    if arguments.target.is_some() {
        wanted.columns.target.clone_from(&arguments.target);
    }
    let key = keys::signing_key(arguments.key.as_deref(), console)?;
    let origin = arguments.file.file_name().unwrap_or_default();
    let options = Options {
        name: &name,
        origin: &origin.to_string_lossy(),
        wanted: &wanted,
        out: &arguments.out,
        key: key.as_ref(),
    };
    let imported = import::import(format, &bytes, &options)
        .map_err(|error| Failure::from(error).about(&arguments.file))?;
    for warning in &imported.bundle.manifest().warnings {
        console.warn(warning);
    }
    if console.is_json {
        console.print_json(&as_json(&imported))?;
    } else {
        tell(&imported, console)?;
    }
    Ok(Outcome::Done)
}

impl ImportFormat {
    /// What the file is; none for a folder of many and for a server.
    fn room(self) -> Option<Format> {
        match self {
            ImportFormat::Xgboost => Some(Format::Xgboost),
            ImportFormat::Lightgbm => Some(Format::Lightgbm),
            ImportFormat::Sklearn | ImportFormat::Onnx => Some(Format::Onnx),
            ImportFormat::Triton | ImportFormat::Mlserver | ImportFormat::Mlflow => None,
        }
    }
}

fn as_json(imported: &Imported) -> serde_json::Value {
    let manifest = imported.bundle.manifest();
    json!({
        "name": manifest.name.as_str(),
        "version": manifest.version.get(),
        "bundle": imported.path.display().to_string(),
    })
}

fn tell(imported: &Imported, console: &Console) -> Result<(), Failure> {
    let manifest = imported.bundle.manifest();
    let path = imported.path.display();
    let signed = match imported.bundle.is_signed() {
        true => "signed",
        false => "not signed",
    };
    let measure = match manifest
        .schema
        .columns
        .target
        .as_deref()
        .unwrap_or_default()
        .is_empty()
    {
        true => "measure it     import it with --target COLUMN, then `ombud evaluate`".to_owned(),
        false => format!("measure it     ombud evaluate {path} --data HELD_OUT.csv"),
    };
    console.print(&format!(
        "{} version {}: {} by {}\n\nbundle  {path} ({signed})\n\nNext:\n  look into it   ombud inspect {path}\n  use it         \
         ombud predict {path} --data NEW.csv\n  {measure}",
        manifest.name, manifest.version, manifest.task, manifest.engine
    ))
}

fn schema(path: &Path) -> Result<Wanted, Failure> {
    let bytes = read(path, SCHEMA_BYTES_MAX as u64)?;
    let hint = "a schema is TOML with [features], or the JSON of a manifest's schema; see `ombud import --help`";
    let text = String::from_utf8(bytes)
        .map_err(|_| Failure::invalid(format!("{} is no text in UTF-8", path.display()), hint))?;
    Wanted::parse(&path.display().to_string(), &text).map_err(|error| match error {
        WantedError::Toml(error) => error.into(),
        WantedError::Json { .. } => Failure::invalid(chain(&error), hint),
    })
}

/// A file's bytes, if they are not too many.
fn read(path: &Path, limit: u64) -> Result<Vec<u8>, Failure> {
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| file.take(limit + 1).read_to_end(&mut bytes))
        .map_err(|error| Failure::file("read", path, &error))?;
    if bytes.len() as u64 > limit {
        return Err(Failure::new(
            Class::TooLarge,
            format!(
                "{} is longer than the {limit} bytes that are read",
                path.display()
            ),
            "is this the right file?",
        ));
    }
    Ok(bytes)
}
