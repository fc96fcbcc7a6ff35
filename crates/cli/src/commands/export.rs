//! `ombud export`: a bundle leaves as a file that other tools run.

use super::Outcome;
use crate::bundles;
use crate::console::Console;
use crate::failure::Failure;
use crate::keys::TrustArguments;
use crate::numbers;
use clap::{Args, ValueEnum};
use ombud_engine::bundle::staging::write_file_atomically;
use ombud_learn::export::{self, Exported};
use serde_json::json;
use std::fs;
use std::io::{self, IsTerminal};
use std::path::{Path, PathBuf};

/// Write a bundle as an ONNX or XGBoost file
///
/// ONNX carries the whole way from a row to its answer: encoding, text, weights, calibration and thresholds; Python's
/// onnxruntime answers with equal labels, and probabilities within 1e-5. XGBoost carries the trees alone.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  ombud export models/claim_outcome/latest --to onnx --out claim_outcome.onnx
  ombud export models/claim_outcome/latest --to xgboost --out claim_outcome.ubj   (or .json)

In Python:
  session = onnxruntime.InferenceSession(\"claim_outcome.onnx\")
  session.run(None, {\"age\": numpy.array([[41.0]]), \"department\": numpy.array([[\"Surgery\"]], dtype=object), …})
Every feature is an input of rows × 1: a double (NaN where missing) or a string (empty where missing).
A text of nothing but white space is missing, too.")]
pub struct Arguments {
    /// The bundle: a folder or a .tar.gz
    pub bundle: PathBuf,
    /// The format to write
    #[arg(long, value_name = "FORMAT")]
    pub to: ExportFormat,
    /// The file to write, whole or not at all; `-` for standard output
    #[arg(long, value_name = "FILE")]
    pub out: PathBuf,
    #[command(flatten)]
    pub trust: TrustArguments,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}

/// A format that models leave in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ExportFormat {
    /// One ONNX graph: forests, linear models with their text, segments
    Onnx,
    /// XGBoost's own format: forests
    Xgboost,
}

/// Opens, converts, writes.
pub fn run(arguments: &Arguments, console: &Console) -> Result<Outcome, Failure> {
    let out = &arguments.out;
    let bundle = bundles::open(&arguments.bundle, &arguments.trust)?;
    let exported = match arguments.to {
        ExportFormat::Onnx => export::onnx(&bundle)?,
        ExportFormat::Xgboost => export::xgboost(&bundle, is_json_name(out))?,
    };
    let is_standard = out == Path::new("-") || out == Path::new("/dev/stdout");
    if is_standard {
        print(&exported.bytes, console)?;
    } else {
        let name = match arguments.to {
            ExportFormat::Onnx => "model.onnx",
            ExportFormat::Xgboost => "model.ubj",
        };
        write(out, name, &exported.bytes)?;
    }
    for note in &exported.notes {
        console.warn(note);
    }
    if is_standard {
        return Ok(Outcome::Done);
    }
    let manifest = bundle.manifest();
    if console.is_json {
        console.print_json(&json!({
            "name": manifest.name.as_str(), "version": manifest.version.get(),
            "file": out.display().to_string(), "bytes": exported.bytes.len(),
            "inputs": exported.inputs, "notes": exported.notes,
        }))?;
        return Ok(Outcome::Done);
    }
    console.print(&told(&exported, out))?;
    Ok(Outcome::Done)
}

fn told(exported: &Exported, out: &Path) -> String {
    const INPUTS_TOLD_MAX: usize = 12;
    let size = numbers::bytes(exported.bytes.len() as u64);
    let shown: Vec<&str> = exported
        .inputs
        .iter()
        .take(INPUTS_TOLD_MAX)
        .map(String::as_str)
        .collect();
    let more = match exported.inputs.len() > INPUTS_TOLD_MAX {
        true => ", …",
        false => "",
    };
    format!(
        "{} ({size})\ninputs  {}{more}",
        out.display(),
        shown.join(", ")
    )
}

fn is_json_name(out: &Path) -> bool {
    out.extension()
        .is_some_and(|ending| ending.eq_ignore_ascii_case("json"))
}

/// The file as the answer itself. A terminal obeys some of its bytes, so it gets none.
fn print(bytes: &[u8], console: &Console) -> Result<(), Failure> {
    if console.is_json {
        return Err(Failure::invalid(
            "standard output is asked for both the model and --json",
            "name a file with --out FILE, or leave --json out",
        ));
    }
    if io::stdout().is_terminal() {
        return Err(Failure::invalid(
            "a model is no text that a terminal could show",
            "send it on with `> FILE` or `| PROGRAM`, or name a file with --out FILE",
        ));
    }
    console.print_bytes(bytes)
}

fn write(out: &Path, name: &str, bytes: &[u8]) -> Result<(), Failure> {
    if out.is_dir() {
        let hint = format!("name the file, such as {}", out.join(name).display());
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
