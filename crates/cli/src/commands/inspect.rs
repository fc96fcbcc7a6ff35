//! `ombud inspect`: everything a bundle says about itself.

use super::Outcome;
use super::verify::Standing;
use crate::bundles::{self, StagesArguments};
use crate::console::{Console, Shade};
use crate::failure::Failure;
use crate::keys::TrustArguments;
use crate::numbers::{bytes, count, measured, plural, seconds};
use crate::report;
use crate::table::{Table, facts, plain};
use clap::Args;
use ombud_core::schema::{Columns, Feature, Missing};
use ombud_core::task::Outputs;
use ombud_core::{Class, Ensemble, Manifest};
use ombud_engine::Model;
use ombud_engine::calibration::Method;
use serde_json::{Value, json};
use std::path::PathBuf;

/// Features listed as the most telling.
const FEATURES_TOLD_MAX: usize = 10;
/// Outputs listed by name.
const OUTPUTS_TOLD_MAX: usize = 12;
/// Letters of a feature's allowed values that a table has room for.
const ALLOWED_LETTERS_MAX: usize = 60;

/// Show what a bundle is: identity, lineage, schema, metrics, gates, files
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  ombud inspect models/claim_outcome/latest
  ombud inspect claim_outcome_3.tar.gz --json")]
pub struct Arguments {
    /// The bundle: a folder or a .tar.gz
    pub bundle: PathBuf,
    #[command(flatten)]
    pub trust: TrustArguments,
    #[command(flatten)]
    pub stages: StagesArguments,
    /// Print one JSON object: the manifest, and what is known of the signature, the calibration and the features
    #[arg(long)]
    pub json: bool,
}

/// Opens and prints.
pub fn run(arguments: &Arguments, console: &Console) -> Result<Outcome, Failure> {
    let bundle = bundles::open(&arguments.bundle, &arguments.trust)?;
    let standing = Standing::of(&bundle);
    let model = bundles::as_model(bundle, &arguments.bundle, &arguments.stages)?;
    if console.is_json {
        console.print_json(&as_json(&model, &standing)?)?;
    } else {
        tell(&model, &standing, console)?;
    }
    Ok(Outcome::Done)
}

fn as_json(model: &Model, standing: &Standing) -> Result<Value, Failure> {
    let internal = |error: serde_json::Error| {
        Failure::new(
            Class::Internal,
            format!("the manifest cannot be written as JSON: {error}"),
            "report this",
        )
    };
    let importance: Vec<Value> = importance(model)
        .into_iter()
        .map(|(feature, share)| json!({ "feature": feature, "importance": share }))
        .collect();
    Ok(json!({
        "manifest": serde_json::to_value(model.manifest()).map_err(internal)?,
        "digest": standing.digest,
        "signed": standing.is_signed,
        "signed_by": standing.signed_by,
        "answering": serde_json::to_value(model.answering()).map_err(internal)?,
        "importance": importance,
    }))
}

fn tell(model: &Model, standing: &Standing, console: &Console) -> Result<(), Failure> {
    let manifest = model.manifest();
    console.print(&facts(console, identity(model, standing, console)))?;
    let section = |title: &str, text: String| -> Result<(), Failure> {
        console.print(&format!(
            "\n{}\n\n{text}",
            console.shade(Shade::Strong, title)
        ))
    };
    section("Features", features(manifest, console))?;
    if !manifest.metrics.is_empty() {
        section("Metrics", report::metrics(&manifest.metrics, console))?;
    }
    let top = importance(model);
    if !top.is_empty() {
        section("Most telling features", most_telling(&top, console))?;
    }
    if !manifest.gates.is_empty() {
        section("Gates", report::gates(&manifest.gates, console))?;
    }
    if !manifest.warnings.is_empty() {
        let lines = manifest
            .warnings
            .iter()
            .map(|warning| format!(" - {warning}"));
        section("Warnings", lines.collect::<Vec<_>>().join("\n"))?;
    }
    section("Files", files(manifest, console))
}

fn identity<'t>(model: &Model, standing: &Standing, console: &Console) -> Vec<(&'t str, String)> {
    let manifest = model.manifest();
    let mut lines = vec![(
        "model",
        format!(
            "{} version {} ({})",
            manifest.name, manifest.version, manifest.label
        ),
    )];
    if !manifest.description.is_empty() {
        lines.push(("about", plain(&manifest.description)));
    }
    lines.push(("task", format!("{} by {}", manifest.task, manifest.engine)));
    lines.push(("answers", answers(&manifest.outputs)));
    if let Some(ensemble) = &manifest.ensemble {
        lines.extend(stages(ensemble));
    }
    lines.push((
        "made",
        format!("{} by {}", manifest.created, manifest.made_by),
    ));
    let lineage = &manifest.lineage;
    if let Some(data) = &lineage.data {
        let (rows, fitted, held) = (
            count(data.rows),
            count(data.rows_fitted),
            count(data.rows_validation),
        );
        lines.push((
            "data",
            format!(
                "{rows} rows of {} ({fitted} fitted, {held} held out)",
                data.source
            ),
        ));
        lines.push(("", format!("sha256 {}", data.sha256)));
    }
    if let Some(origin) = &lineage.imported_from {
        lines.push(("imported from", origin.clone()));
    }
    if lineage.imported_from.is_none() {
        lines.push((
            "seed",
            format!("{} (trained in {})", lineage.seed, seconds(lineage.seconds)),
        ));
    }
    let parameters = lineage
        .parameters
        .iter()
        .map(|(name, value)| format!("{name} {value}"));
    lines.push(("parameters", parameters.collect::<Vec<_>>().join(", ")));
    lines.push(("probabilities", probabilities(model)));
    lines.extend(columns(&manifest.schema.columns));
    lines.push(("digest", standing.digest.clone()));
    lines.push(("signature", standing.words(console)));
    lines.retain(|(_, text)| !text.is_empty());
    lines
}

/// Which models it asks first, and what it takes of their answers.
fn stages<'t>(ensemble: &Ensemble) -> impl Iterator<Item = (&'t str, String)> {
    ensemble.stages.iter().map(|stage| {
        let taken = stage.features.iter();
        let taken = taken.map(|feature| format!("{} = {}", feature.name, feature.output));
        let taken = taken.collect::<Vec<_>>().join(", ");
        let (words, digest) = (stage.words(), stage.digest.short());
        ("asks first", format!("{words} ({digest}) for {taken}"))
    })
}

fn answers(outputs: &Outputs) -> String {
    let listed = |noun: &str, names: &[String]| {
        let shown: Vec<&str> = names
            .iter()
            .take(OUTPUTS_TOLD_MAX)
            .map(String::as_str)
            .collect();
        let more = if names.len() > shown.len() {
            ", …"
        } else {
            ""
        };
        format!("{}: {}{more}", plural(names.len(), noun), shown.join(", "))
    };
    match outputs {
        Outputs::Classes { names } => format!(
            "one of {}",
            listed("class", names).replacen("classs", "classes", 1)
        ),
        Outputs::Labels { names } => format!("any of {}", listed("label", names)),
        Outputs::Segments { names } => format!("one of {}", listed("segment", names)),
        Outputs::Number { name } => format!("a number, {name}"),
    }
}

/// Calibration, decision rule and promised coverage, in words.
fn probabilities(model: &Model) -> String {
    let answering = model.answering();
    let mut parts = Vec::new();
    if let Some(calibrator) = &answering.calibrator {
        parts.push(format!("calibrated ({})", method_word(calibrator.method())));
    }
    if answering.decision.is_some() {
        parts.push("decided by tuned thresholds".to_owned());
    }
    if let Some(coverage) = answering.coverage {
        parts.push(format!(
            "intervals or sets that hold the truth in {:.0} % of cases",
            100.0 * coverage
        ));
    }
    parts.join("; ")
}

fn method_word(method: &Method) -> &'static str {
    match method {
        Method::Identity => "as they are",
        Method::Temperature { .. } => "temperature",
        Method::Platt { .. } => "Platt",
        Method::Isotonic { .. } => "isotonic",
    }
}

fn columns<'t>(columns: &Columns) -> Vec<(&'t str, String)> {
    let single = [
        ("target", &columns.target),
        ("subject", &columns.subject),
        ("time", &columns.time),
        ("group", &columns.group),
        ("weight", &columns.weight),
    ];
    let mut lines: Vec<(&str, String)> = single
        .into_iter()
        .filter_map(|(part, name)| Some((part, name.clone()?)))
        .collect();
    lines.push(("ids", columns.ids.join(", ")));
    lines.push(("protected", columns.protected.join(", ")));
    lines
}

fn features(manifest: &Manifest, console: &Console) -> String {
    let mut table = Table::new(console, &["feature", "type", "allowed", "missing"], &[]);
    for feature in manifest.schema.features() {
        let missing = match feature.missing {
            Missing::Allowed => "allowed",
            Missing::Refused => "refused",
        };
        table.row([
            place(feature),
            feature.kind.word().to_owned(),
            allowed(feature),
            missing.to_owned(),
        ]);
    }
    table.text()
}

/// The name, and the path of a request when that is another.
fn place(feature: &Feature) -> String {
    let path = feature.path.to_string();
    if path == feature.name {
        path
    } else {
        format!("{} ({path})", feature.name)
    }
}

fn allowed(feature: &Feature) -> String {
    let allowed = feature.kind.allowed();
    if allowed.chars().count() <= ALLOWED_LETTERS_MAX {
        return allowed;
    }
    let start: String = allowed.chars().take(ALLOWED_LETTERS_MAX).collect();
    let values = feature.kind.values().len();
    if values > 0 {
        format!("{start}… ({})", plural(values, "value"))
    } else {
        format!("{start}…")
    }
}

/// Features by how much they matter, most first.
fn importance(model: &Model) -> Vec<(String, f64)> {
    let Some(shares) = model.engine().importance() else {
        return Vec::new();
    };
    let features = model
        .decides_by()
        .features()
        .iter()
        .map(|feature| feature.name.clone());
    let mut importance: Vec<(String, f64)> = features.zip(shares).collect();
    importance.sort_by(|a, b| b.1.total_cmp(&a.1));
    importance
}

fn most_telling(importance: &[(String, f64)], console: &Console) -> String {
    const BAR_LETTERS: f64 = 24.0;
    let most = importance
        .first()
        .map_or(1.0, |(_, share)| share.max(f64::MIN_POSITIVE));
    let mut table = Table::new(console, &["feature", "share", ""], &[1]);
    for (feature, share) in importance.iter().take(FEATURES_TOLD_MAX) {
        let letters = (BAR_LETTERS * share / most).round() as usize;
        table.row([feature.clone(), measured(*share), "▪".repeat(letters)]);
    }
    table.text()
}

fn files(manifest: &Manifest, console: &Console) -> String {
    let mut table = Table::new(console, &["file", "size", "sha256"], &[1]);
    for (name, entry) in &manifest.files {
        table.row([name.clone(), bytes(entry.bytes), entry.sha256.to_string()]);
    }
    table.text()
}
