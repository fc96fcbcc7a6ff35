//! What was measured, as tables and as JSON; the same for `train`, `evaluate` and `inspect`.

use crate::console::{Console, Shade};
use crate::numbers::{count, interval, measured};
use crate::table::{Shaded, Table};
use ombud_core::manifest::GateResult;
use ombud_core::{Metric, Metrics};
use ombud_learn::evaluation::{Evaluation, GroupEvaluation};
use serde_json::{Map, Value, json};

/// Classes up to which a confusion matrix fits a screen.
const CONFUSION_CLASSES_MAX: usize = 8;
/// Classes whose metrics are listed; past it a person wants the JSON.
const CLASSES_SHOWN_MAX: usize = 20;
/// Metrics of groups that are worth a column, in this order.
const GROUP_METRICS: [&str; 7] = [
    "accuracy",
    "selection_rate",
    "recall",
    "macro_f1",
    "log_loss",
    "mae",
    "mean_error",
];

/// Metrics as plain numbers, by name.
pub fn values(metrics: &Metrics) -> Map<String, Value> {
    metrics
        .iter()
        .map(|(name, metric)| (name.clone(), json!(metric.value)))
        .collect()
}

/// The intervals of the metrics that have one.
pub fn intervals(metrics: &Metrics) -> Map<String, Value> {
    let with_interval = metrics
        .iter()
        .filter_map(|(name, metric)| Some((name.clone(), json!([metric.lower?, metric.upper?]))));
    with_interval.collect()
}

/// The headline metrics.
pub fn metrics(metrics: &Metrics, console: &Console) -> String {
    let mut table = Table::new(console, &["metric", "value", "95 % interval"], &[1]);
    for (name, metric) in metrics {
        table.row([name.clone(), measured(metric.value), interval(metric)]);
    }
    table.text()
}

/// Everything measured on some rows.
pub fn evaluation(evaluation: &Evaluation, class_names: &[String], console: &Console) -> String {
    let mut parts = vec![metrics(&evaluation.metrics, console)];
    let absent = evaluation
        .absent
        .iter()
        .map(|(name, reason)| format!("{name} could not be measured: {reason}"));
    parts.extend(absent);
    if (1..=CLASSES_SHOWN_MAX).contains(&evaluation.classes.len()) {
        parts.push(classes(evaluation, console));
    }
    if (2..=CONFUSION_CLASSES_MAX).contains(&evaluation.confusion.len()) {
        parts.push(confusion(&evaluation.confusion, class_names, console));
    }
    parts.extend(evaluation.groups.iter().map(|of| group(of, console)));
    parts.join("\n\n")
}

fn classes(evaluation: &Evaluation, console: &Console) -> String {
    let names = columns(
        &evaluation.classes.iter().map(|class| &class.metrics),
        &["precision", "recall", "f1", "roc_auc"],
    );
    let head: Vec<&str> = ["class", "rows"]
        .into_iter()
        .chain(names.iter().copied())
        .collect();
    let right: Vec<usize> = (1..head.len()).collect();
    let mut table = Table::new(console, &head, &right);
    for class in &evaluation.classes {
        let known = [class.name.clone(), count(class.rows as u64)];
        table.row(
            known
                .into_iter()
                .chain(names.iter().map(|name| cell(class.metrics.get(*name)))),
        );
    }
    table.text()
}

fn confusion(confusion: &[Vec<f64>], names: &[String], console: &Console) -> String {
    let name = |class: usize| {
        names
            .get(class)
            .map_or_else(|| class.to_string(), Clone::clone)
    };
    let decided: Vec<String> = (0..confusion.len())
        .map(|class| format!("said {}", name(class)))
        .collect();
    let head: Vec<&str> = std::iter::once("truly")
        .chain(decided.iter().map(String::as_str))
        .collect();
    let right: Vec<usize> = (1..head.len()).collect();
    let mut table = Table::new(console, &head, &right);
    for (class, row) in confusion.iter().enumerate() {
        let counts = row.iter().enumerate().map(|(said, weight)| {
            let text = if weight.fract() == 0.0 {
                count(*weight as i64)
            } else {
                format!("{weight:.1}")
            };
            Shaded((said == class).then_some(Shade::Good), text)
        });
        table.row(std::iter::once(Shaded::from(name(class))).chain(counts));
    }
    table.text()
}

fn group(of: &GroupEvaluation, console: &Console) -> String {
    let names = columns(
        &of.groups.iter().filter_map(|group| group.metrics.as_ref()),
        &GROUP_METRICS,
    );
    let head: Vec<&str> = [of.attribute.as_str(), "rows"]
        .into_iter()
        .chain(names.iter().copied())
        .collect();
    let right: Vec<usize> = (1..head.len()).collect();
    let mut table = Table::new(console, &head, &right);
    for group in &of.groups {
        let cells = names.iter().map(|name| match &group.metrics {
            Some(metrics) => cell(metrics.get(*name)),
            None => "too few".to_owned(),
        });
        table.row(
            [group.value.clone(), count(group.rows as u64)]
                .into_iter()
                .chain(cells),
        );
    }
    let mut text = table.text();
    for (name, difference) in &of.differences {
        let (highest, lowest) = (&difference.highest, &difference.lowest);
        let interval = match interval(&difference.metric) {
            interval if interval.is_empty() => interval,
            interval => format!(" ({interval})"),
        };
        let value = measured(difference.metric.value);
        text.push_str(&format!(
            "\n {name}: {value}{interval}, highest {highest}, lowest {lowest}"
        ));
    }
    text
}

/// Those of the wanted metrics that anyone has.
fn columns<'n, 'm>(
    all: &(impl Iterator<Item = &'m Metrics> + Clone),
    wanted: &[&'n str],
) -> Vec<&'n str> {
    wanted
        .iter()
        .copied()
        .filter(|name| all.clone().any(|metrics| metrics.contains_key(*name)))
        .collect()
}

fn cell(metric: Option<&Metric>) -> String {
    metric.map_or_else(String::new, |metric| measured(metric.value))
}

/// The gates with their numbers.
pub fn gates(gates: &[GateResult], console: &Console) -> String {
    let mut table = Table::new(
        console,
        &["gate", "result", "measured", "limit", "note"],
        &[2, 3],
    );
    for gate in gates {
        let result = if gate.passed {
            Shaded(Some(Shade::Good), "passed".to_owned())
        } else {
            Shaded(Some(Shade::Bad), "FAILED".to_owned())
        };
        let number = gate.measured.map_or_else(|| "nothing".to_owned(), measured);
        let [name, number, limit, note] = [
            gate.name.clone(),
            number,
            gate.limit.clone(),
            gate.note.clone(),
        ]
        .map(Shaded::from);
        table.row([name, result, number, limit, note]);
    }
    table.text()
}

/// The gates for a program.
pub fn gates_json(gates: &[GateResult]) -> Value {
    let gate = |gate: &GateResult| {
        json!({
            "name": gate.name, "passed": gate.passed, "measured": gate.measured,
            "limit": gate.limit, "note": gate.note,
        })
    };
    gates.iter().map(gate).collect()
}
