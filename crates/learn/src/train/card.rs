//! The model card: what a person needs to judge, use and object to a model, in plain words.
//!
//! Written from the manifest and the report alone, so that every sentence can be checked against `report.json`.

use super::report::{Effect, Report};
use crate::baseline::Baseline;
use crate::evaluation::Evaluation;
use crate::recipe::Recipe;
use ombud_core::manifest::GateResult;
use ombud_core::task::Outputs;
use ombud_core::{Manifest, Metric, Task};
use std::fmt::Write;

/// Features named as most telling.
const FEATURES_SHOWN_MAX: usize = 12;

/// The card as Markdown.
pub(super) fn write(
    manifest: &Manifest,
    report: &Report,
    baseline: &Baseline,
    recipe: &Recipe,
    notes: &[String],
) -> String {
    let mut card = String::new();
    let sections = [
        head(manifest),
        purpose(manifest),
        data(manifest, baseline),
        stages(manifest),
        quality(&report.evaluation, report.refitted),
        groups(&report.evaluation),
        calibration(report),
        segments(report),
        reasons(report),
        gates(&manifest.gates),
        how(manifest, notes),
        limits(manifest, recipe),
        objection(),
    ];
    for section in sections.into_iter().filter(|section| !section.is_empty()) {
        card.push_str(&section);
        card.push('\n');
    }
    card
}

fn head(manifest: &Manifest) -> String {
    let mut text = format!(
        "# {} {} (version {})\n\n",
        manifest.name, manifest.label, manifest.version
    );
    if !manifest.description.is_empty() {
        let _ = writeln!(text, "{}\n", manifest.description);
    }
    let _ = writeln!(text, "Made by {}.", manifest.made_by);
    text
}

fn purpose(manifest: &Manifest) -> String {
    let what = match (&manifest.outputs, manifest.task) {
        (Outputs::Number { name }, _) => format!("It estimates **{name}** as a number."),
        (Outputs::Labels { names }, _) => {
            format!("It says which of these labels apply: {}.", list(names))
        }
        (Outputs::Segments { names }, _) => format!(
            "It assigns each row to one of {} segments, which are described below.",
            names.len()
        ),
        (Outputs::Classes { names }, Task::Ordered) => format!(
            "It chooses one of these levels, lowest first: {}.",
            list(names)
        ),
        (Outputs::Classes { names }, _) => {
            format!("It chooses one of these classes: {}.", list(names))
        }
    };
    format!(
        "## What it is for\n\n{what} Its answers are meant to support a person who decides; they are patterns in past data and not \
         statements about what someone is or will do. It is not made to diagnose, and it recommends no treatment.\n"
    )
}

fn data(manifest: &Manifest, baseline: &Baseline) -> String {
    let mut text = "## What it learned from\n\n".to_owned();
    if let Some(data) = &manifest.lineage.data {
        let _ = writeln!(
            text,
            "{} rows were read from `{}` (SHA-256 `{}`). {} rows were held out to measure it; the weights were fitted on {} rows.\n",
            data.rows,
            data.source,
            data.sha256.short(),
            data.rows_validation,
            data.rows_fitted
        );
    }
    let _ = writeln!(text, "| feature | type | missing |\n| --- | --- | --- |");
    for feature in manifest.schema.features() {
        let missing = baseline
            .features
            .get(&feature.name)
            .map_or(0.0, missing_share);
        let _ = writeln!(
            text,
            "| {} | {} | {:.1} % |",
            feature.name,
            feature.kind.word(),
            missing * 100.0
        );
    }
    if !baseline.target.is_empty() {
        let _ = writeln!(text, "\n| outcome | share of rows |\n| --- | --- |");
        for (name, share) in &baseline.target {
            let _ = writeln!(text, "| {name} | {:.1} % |", share * 100.0);
        }
    }
    if !baseline.groups.is_empty() {
        text.push_str(
            "\nWho is in it:\n\n| attribute | group | share of rows |\n| --- | --- | --- |\n",
        );
        for (attribute, groups) in &baseline.groups {
            for (group, rates) in groups {
                let _ = writeln!(
                    text,
                    "| {attribute} | {group} | {:.1} % |",
                    rates.share * 100.0
                );
            }
        }
    }
    text
}

fn stages(manifest: &Manifest) -> String {
    let Some(ensemble) = &manifest.ensemble else {
        return String::new();
    };
    let mut text = "## What it asks first\n\n\
        Other models answer before it does, and their answers are features of it. Each is pinned by its digest; their own cards say \
        what they are and are not for.\n\n| feature | answer | of the model | digest |\n| --- | --- | --- | --- |\n"
        .to_owned();
    for stage in &ensemble.stages {
        for feature in &stage.features {
            let _ = writeln!(
                text,
                "| {} | {} | {} | `{}` |",
                feature.name,
                feature.output,
                stage.words(),
                stage.digest.short()
            );
        }
    }
    if !ensemble.passed_on.is_empty() {
        let _ = writeln!(
            text,
            "\nIt does not see {} itself; only those models do.",
            list(&ensemble.passed_on)
        );
    }
    text
}

fn missing_share(distribution: &crate::baseline::Distribution) -> f64 {
    use crate::baseline::Distribution;
    match distribution {
        Distribution::Number { missing, .. }
        | Distribution::Category { missing, .. }
        | Distribution::Text { missing, .. } => *missing,
        Distribution::Sequence { steps } => {
            steps.iter().map(missing_share).sum::<f64>() / steps.len().max(1) as f64
        }
    }
}

fn quality(evaluation: &Evaluation, refitted: bool) -> String {
    let mut text = format!(
        "## How good it is\n\nMeasured on {} rows that it had not seen",
        evaluation.rows
    );
    text.push_str(match refitted {
        true => "; afterwards the same settings were fitted once more on all rows, because data is scarce.\n\n",
        false => ".\n\n",
    });
    text.push_str("| metric | value | 95 % interval |\n| --- | --- | --- |\n");
    for (name, metric) in &evaluation.metrics {
        let _ = writeln!(
            text,
            "| {name} | {:.4} | {} |",
            metric.value,
            interval(metric)
        );
    }
    if !evaluation.classes.is_empty() {
        text.push_str(
            "\n| class | rows | precision | recall | F1 |\n| --- | --- | --- | --- | --- |\n",
        );
        for class in &evaluation.classes {
            let value = |name: &str| {
                class
                    .metrics
                    .get(name)
                    .map_or("—".to_owned(), |m| format!("{:.3}", m.value))
            };
            let _ = writeln!(
                text,
                "| {} | {} | {} | {} | {} |",
                class.name,
                class.rows,
                value("precision"),
                value("recall"),
                value("f1")
            );
        }
    }
    for (name, reason) in &evaluation.absent {
        let _ = writeln!(text, "\n{name} could not be measured: {reason}.");
    }
    text
}

fn groups(evaluation: &Evaluation) -> String {
    if evaluation.groups.is_empty() {
        return String::new();
    }
    let mut text = "## How it treats groups\n".to_owned();
    for of in &evaluation.groups {
        let headline = of
            .groups
            .iter()
            .filter_map(|group| group.metrics.as_ref())
            .next();
        let shown: Vec<&str> = ["accuracy", "log_loss", "mae", "selection_rate"]
            .into_iter()
            .filter(|name| headline.is_some_and(|metrics| metrics.contains_key(*name)))
            .collect();
        let _ = writeln!(
            text,
            "\n**{}**\n\n| group | rows | {} |",
            of.attribute,
            shown.join(" | ")
        );
        let _ = writeln!(
            text,
            "| --- | --- | {} |",
            vec!["---"; shown.len().max(1)].join(" | ")
        );
        for group in &of.groups {
            let cells = shown.iter().map(|name| {
                let metric = group
                    .metrics
                    .as_ref()
                    .and_then(|metrics| metrics.get(*name));
                metric.map_or("too few rows".to_owned(), |m| format!("{:.3}", m.value))
            });
            let _ = writeln!(
                text,
                "| {} | {} | {} |",
                group.value,
                group.rows,
                cells.collect::<Vec<_>>().join(" | ")
            );
        }
        for (name, difference) in &of.differences {
            let _ = writeln!(
                text,
                "\n{}: {:.3} ({}), highest for {}, lowest for {}.",
                name.replace('_', " "),
                difference.metric.value,
                interval(&difference.metric),
                difference.highest,
                difference.lowest
            );
        }
    }
    text
}

fn calibration(report: &Report) -> String {
    if report.evaluation.reliability.is_empty() {
        return String::new();
    }
    let mut text =
        "## How far its confidence can be trusted\n\n| it said | it was right | rows |\n| --- | --- | --- |\n".to_owned();
    for bin in report
        .evaluation
        .reliability
        .iter()
        .filter(|bin| bin.weight > 0.0)
    {
        let _ = writeln!(
            text,
            "| {:.0} % | {:.0} % | {:.0} |",
            bin.mean_confidence * 100.0,
            bin.share_right * 100.0,
            bin.weight
        );
    }
    text
}

fn segments(report: &Report) -> String {
    let Some(segments) = &report.segments else {
        return String::new();
    };
    let mut text = "## The segments\n\n| segment | rows | share | what sets it apart |\n| --- | --- | --- | --- |\n".to_owned();
    for profile in &segments.profiles {
        let phrases: Vec<&str> = profile
            .traits
            .iter()
            .take(4)
            .map(|of| of.phrase.as_str())
            .collect();
        let _ = writeln!(
            text,
            "| {} | {} | {:.1} % | {} |",
            profile.name,
            profile.size,
            profile.share * 100.0,
            phrases.join(", ")
        );
    }
    if let Some(choice) = &segments.choice {
        let _ = writeln!(text, "\n{}", choice.reason);
        choice
            .cautions
            .iter()
            .for_each(|caution| text.push_str(&format!("\n{caution}\n")));
    }
    text
}

fn reasons(report: &Report) -> String {
    let strongest: Vec<_> = report
        .importance
        .iter()
        .filter(|of| of.share > 0.0)
        .take(FEATURES_SHOWN_MAX)
        .collect();
    if strongest.is_empty() {
        return String::new();
    }
    let mut text = "## What it goes by\n\nShare of each feature in the reasons for its answers:\n\n| feature | share |\n| --- | --- |\n".to_owned();
    for of in strongest {
        let _ = writeln!(text, "| {} | {:.1} % |", of.feature, of.share * 100.0);
    }
    if let Some(effect) = report.effects.first() {
        text.push_str(&effect_table(effect));
    }
    text
}

/// How the mean answer moves with the strongest feature.
fn effect_table(effect: &Effect) -> String {
    const OUTPUTS_SHOWN_MAX: usize = 5;
    let outputs: Vec<&String> = effect.outputs.iter().take(OUTPUTS_SHOWN_MAX).collect();
    let names: Vec<&str> = outputs.iter().map(|name| name.as_str()).collect();
    let mut text = format!(
        "\nIf only **{}** changed, the mean answer would be:\n\n| {} | {} |\n",
        effect.feature,
        effect.feature,
        names.join(" | ")
    );
    let _ = writeln!(text, "| --- | {} |", vec!["---"; names.len()].join(" | "));
    for point in &effect.points {
        let means: Vec<String> = point
            .means
            .iter()
            .take(OUTPUTS_SHOWN_MAX)
            .map(|mean| format!("{mean:.3}"))
            .collect();
        let _ = writeln!(text, "| {} | {} |", point.value, means.join(" | "));
    }
    text
}

fn gates(gates: &[GateResult]) -> String {
    if gates.is_empty() {
        return String::new();
    }
    let mut text =
        "## Gates\n\n| gate | limit | measured | passed |\n| --- | --- | --- | --- |\n".to_owned();
    for gate in gates {
        let measured = gate
            .measured
            .map_or("—".to_owned(), |measured| format!("{measured:.4}"));
        let _ = writeln!(
            text,
            "| {} | {} | {measured} | {} |",
            gate.name,
            gate.limit,
            if gate.passed { "yes" } else { "**no**" }
        );
    }
    text
}

fn how(manifest: &Manifest, notes: &[String]) -> String {
    let parameters: Vec<String> = manifest
        .lineage
        .parameters
        .iter()
        .filter(|(_, value)| !value.is_object() && !value.is_null())
        .map(|(name, value)| format!("{name} {}", value.to_string().trim_matches('"')))
        .collect();
    let mut text = format!(
        "## How it was made\n\n{}. Seed {}.\n",
        parameters.join(", "),
        manifest.lineage.seed
    );
    notes
        .iter()
        .for_each(|note| text.push_str(&format!("\n- {note}\n")));
    text
}

fn limits(manifest: &Manifest, recipe: &Recipe) -> String {
    let mut text = "## Limits\n\n".to_owned();
    let protected: Vec<&String> = recipe
        .data
        .protected
        .iter()
        .filter(|name| manifest.schema.position(name).is_some())
        .collect();
    if !protected.is_empty() {
        let names: Vec<&str> = protected.iter().map(|name| name.as_str()).collect();
        let _ = writeln!(
            text,
            "- It uses {} itself, which is a protected attribute: know why, or drop it.",
            names.join(", ")
        );
    }
    for warning in &manifest.warnings {
        let _ = writeln!(text, "- {warning}");
    }
    text.push_str("- It knows only people and times like those it learned from; where either changes, measure it again.\n");
    text.push_str("- An answer with low confidence is a reason to look closer, not a weak yes.\n");
    text
}

fn objection() -> String {
    "## How to object\n\nWhoever is affected by a decision that this model took part in may ask for the reasons of that answer \
     (`ombud predict --explain`), have it looked at by a person, correct what was wrong in the data, and have it decided again. \
     Whoever deploys it names here who to talk to: the person responsible for the decision, and a data protection officer.\n"
        .to_owned()
}

fn interval(metric: &Metric) -> String {
    match (metric.lower, metric.upper) {
        (Some(lower), Some(upper)) => format!("{lower:.4} to {upper:.4}"),
        _ => "—".to_owned(),
    }
}

fn list(names: &[String]) -> String {
    const SHOWN_MAX: usize = 12;
    let shown: Vec<&str> = names.iter().take(SHOWN_MAX).map(String::as_str).collect();
    let more = if names.len() > SHOWN_MAX {
        format!(" and {} more", names.len() - SHOWN_MAX)
    } else {
        String::new()
    };
    format!("{}{more}", shown.join(", "))
}
