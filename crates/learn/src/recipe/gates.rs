//! The gates of a recipe: what a candidate must show before it may serve.
//!
//! Only parsed here. Gates that need no more than held-out rows are judged at the end of training
//! ([`mod@crate::gate`]); the champion's gate needs what is deployed and waits for a deployment.

use super::reading::Section;
use crate::evaluation::{CLASS_METRIC_NAMES, METRIC_NAMES};
use ombud_core::nearest::nearest;

/// All gates.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Gates {
    /// Fewest rows the model may be fitted on.
    pub samples_min: Option<u64>,
    /// Limits on metrics.
    pub metrics: Vec<MetricGate>,
    /// Limits on metrics of single classes or labels.
    pub classes: Vec<ClassGate>,
    /// Limits on differences between groups.
    pub fairness: Vec<FairnessGate>,
    /// The comparison with what serves today.
    pub champion: Option<ChampionGate>,
}

/// A limit on a metric.
#[derive(Debug, Clone, PartialEq)]
pub struct MetricGate {
    /// The metric.
    pub metric: String,
    /// Must be at least.
    pub min: Option<f64>,
    /// Must be at most.
    pub max: Option<f64>,
}

/// A limit on a metric of one class against the rest.
#[derive(Debug, Clone, PartialEq)]
pub struct ClassGate {
    /// The class or label.
    pub class: String,
    /// The limit.
    pub gate: MetricGate,
}

/// A limit on a difference between the groups of a protected attribute.
#[derive(Debug, Clone, PartialEq)]
pub struct FairnessGate {
    /// The protected attribute.
    pub attribute: String,
    /// The difference measured.
    pub metric: String,
    /// Must be at most.
    pub max: f64,
}

/// The comparison with the version that serves today.
#[derive(Debug, Clone, PartialEq)]
pub struct ChampionGate {
    /// The metric compared.
    pub metric: String,
    /// The level of the test.
    pub alpha: f64,
    /// How much worse the candidate may be.
    pub margin: f64,
}

/// The differences between groups that a gate may limit.
pub const FAIRNESS_METRICS: [&str; 4] = [
    "demographic_parity_difference",
    "equal_opportunity_difference",
    "equalized_odds_difference",
    "mean_error_difference",
];

pub(super) fn read(section: Section<'_>) -> Gates {
    let samples_min = section.whole(&["min_samples"], 1..=u64::MAX);
    let champion = section.section("champion").map(read_champion);
    let fairness = read_fairness_list(&section);
    let classes = section.section("classes").map(read_classes);
    let known = ["min_samples", "champion", "fairness", "classes"];
    Gates {
        samples_min,
        metrics: read_metrics(&section, &METRIC_NAMES, &known),
        classes: classes.unwrap_or_default(),
        fairness,
        champion,
    }
}

/// What is left in a section, each a metric with its limits.
fn read_metrics(section: &Section<'_>, metrics: &[&str], others: &[&str]) -> Vec<MetricGate> {
    let mut gates = Vec::new();
    for (name, found) in section.rest() {
        if !metrics.contains(&name.as_str()) {
            let known = metrics.iter().chain(others).copied();
            let hint = nearest(&name, known).map(|near| format!("did you mean `{near}`?"));
            let hint = hint.or_else(|| Some(format!("known metrics: {}", metrics.join(", "))));
            section.mistake(found.line, &name, "is not a known gate", hint);
            continue;
        }
        let Some(limits) = section.as_section(&name, found) else {
            continue;
        };
        let any = f64::MIN..=f64::MAX;
        let gate = MetricGate {
            metric: name.clone(),
            min: limits.number(&["min"], any.clone()),
            max: limits.number(&["max"], any),
        };
        limits.finish();
        if gate.min.is_none() && gate.max.is_none() {
            let hint = Some(format!(
                "write `{name} = {{ min = 0.8 }}` or `{{ max = 0.05 }}`"
            ));
            section.mistake(found.line, &name, "has no limit", hint);
        }
        gates.push(gate);
    }
    gates
}

/// `crisis = { recall = { min = 0.95 } }`; which classes there are, only the data tell.
fn read_classes(section: Section<'_>) -> Vec<ClassGate> {
    let mut gates = Vec::new();
    for (class, found) in section.rest() {
        let Some(limits) = section.as_section(&class, found) else {
            continue;
        };
        let read = read_metrics(&limits, &CLASS_METRIC_NAMES, &[]);
        if read.is_empty() {
            let hint = format!("write `{class} = {{ recall = {{ min = 0.95 }} }}`");
            section.mistake(found.line, &class, "limits nothing", Some(hint));
        }
        gates.extend(read.into_iter().map(|gate| ClassGate {
            class: class.clone(),
            gate,
        }));
    }
    gates
}

fn read_champion(section: Section<'_>) -> ChampionGate {
    let gate = ChampionGate {
        metric: section
            .text(&["metric"])
            .unwrap_or_else(|| "log_loss".to_owned()),
        alpha: section.number(&["alpha"], 0.0001..=0.5).unwrap_or(0.05),
        margin: section.number(&["margin"], 0.0..=f64::MAX).unwrap_or(0.0),
    };
    section.word(&["test"], &[("paired", ())]);
    section.finish();
    gate
}

/// One fairness gate is a table, several are a list of tables.
fn read_fairness_list(section: &Section<'_>) -> Vec<FairnessGate> {
    let Some(found) = section.get(&["fairness"]) else {
        return Vec::new();
    };
    match found.value.as_array() {
        Some(array) => array
            .iter()
            .filter_map(|item| {
                let found = super::reading::Found {
                    line: found.line,
                    value: item.get_ref(),
                };
                read_fairness(section.as_section("fairness", found)?)
            })
            .collect(),
        None => section
            .as_section("fairness", found)
            .and_then(read_fairness)
            .into_iter()
            .collect(),
    }
}

fn read_fairness(section: Section<'_>) -> Option<FairnessGate> {
    let attribute = section.text(&["attribute"]);
    let attribute = section.require("attribute", attribute, "attribute = \"gender\"");
    let words = FAIRNESS_METRICS.map(|metric| (metric, metric));
    let metric = section
        .word(&["metric"], &words)
        .unwrap_or("equal_opportunity_difference");
    let max = section.number(&["max"], 0.0..=f64::MAX).unwrap_or(0.1);
    section.finish();
    Some(FairnessGate {
        attribute: attribute?,
        metric: metric.to_owned(),
        max,
    })
}
