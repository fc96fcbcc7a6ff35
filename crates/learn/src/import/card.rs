//! The model card of an imported model: what is known of it, and what is not.

use ombud_core::Manifest;
use ombud_core::task::Outputs;
use ombud_engine::shown;
use std::fmt::Write;

/// Outputs named in the card.
const NAMES_MAX: usize = 50;

/// The card as Markdown.
pub(super) fn write(manifest: &Manifest) -> String {
    let mut card = format!(
        "# {} version {}\n\nImported, not trained here.\n\n",
        manifest.name, manifest.version
    );
    if !manifest.description.is_empty() {
        let _ = writeln!(card, "{}\n", manifest.description);
    }
    let origin = manifest
        .lineage
        .imported_from
        .as_deref()
        .unwrap_or_default();
    let _ = writeln!(card, "- from: {}", shown::escaped(origin));
    let _ = writeln!(
        card,
        "- task: {}, run by the engine {}",
        manifest.task, manifest.engine
    );
    let _ = writeln!(card, "- answers: {}", answers(&manifest.outputs));
    card.push_str("\n## What it takes\n\n| feature | type | allowed |\n| --- | --- | --- |\n");
    for feature in manifest.schema.features() {
        let (kind, allowed) = (feature.kind.word(), feature.kind.allowed());
        let row = format!("| {} | {kind} | {allowed} |", feature.name);
        let _ = writeln!(card, "{}", shown::escaped(&row));
    }
    if !manifest.warnings.is_empty() {
        card.push_str("\n## Know before use\n\n");
        for warning in &manifest.warnings {
            let _ = writeln!(card, "- {}", shown::escaped(warning));
        }
    }
    card.push_str(
        "\n## What is not known\n\nNothing was measured when it was imported: how good it is, for whom, and on whose data it was \
         trained is for its owner to say. `ombud evaluate` measures it on rows whose truth is known.\n",
    );
    card
}

pub(super) fn answers(outputs: &Outputs) -> String {
    let listed = |names: &[String]| {
        let more = if names.len() > NAMES_MAX { ", …" } else { "" };
        let shown: Vec<&str> = names.iter().take(NAMES_MAX).map(String::as_str).collect();
        format!("{}{more}", shown.join(", "))
    };
    match outputs {
        Outputs::Classes { names } => format!("one of {}", listed(names)),
        Outputs::Labels { names } => format!("any of {}", listed(names)),
        Outputs::Segments { names } => format!("one of the segments {}", listed(names)),
        Outputs::Number { name } => format!("a number, {name}"),
    }
}
