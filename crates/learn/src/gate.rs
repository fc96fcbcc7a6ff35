//! Judges the gates that need no more than held-out rows.
//!
//! Pure: limits and measurements in, results with their numbers out. What a failed gate means is decided by whoever wants
//! to deploy; the champion's gate needs what serves today and is judged there.

use crate::evaluation::Evaluation;
use crate::recipe::{FairnessGate, Gates, MetricGate};
use ombud_core::manifest::GateResult;

/// The results, in the recipe's order: samples, metrics, fairness.
pub fn judge(gates: &Gates, rows_fitted: u64, evaluation: &Evaluation) -> Vec<GateResult> {
    let samples = gates.samples_min.map(|min| GateResult {
        name: "min_samples".into(),
        passed: rows_fitted >= min,
        measured: Some(rows_fitted as f64),
        limit: format!(">= {min}"),
        note: String::new(),
    });
    let metrics = gates
        .metrics
        .iter()
        .map(|gate| judge_metric(gate, evaluation));
    let fairness = gates
        .fairness
        .iter()
        .map(|gate| judge_fairness(gate, evaluation));
    samples.into_iter().chain(metrics).chain(fairness).collect()
}

fn judge_metric(gate: &MetricGate, evaluation: &Evaluation) -> GateResult {
    let limit = limit_text(gate.min, gate.max);
    match evaluation.metrics.get(&gate.metric) {
        Some(metric) => GateResult {
            name: gate.metric.clone(),
            passed: gate.min.is_none_or(|min| metric.value >= min)
                && gate.max.is_none_or(|max| metric.value <= max),
            measured: Some(metric.value),
            limit,
            note: String::new(),
        },
        None => {
            let reason = evaluation.absent.get(&gate.metric);
            let note = reason.map_or("this task has no such metric".to_owned(), |reason| {
                format!("not measured: {reason}")
            });
            GateResult {
                name: gate.metric.clone(),
                passed: false,
                measured: None,
                limit,
                note,
            }
        }
    }
}

fn judge_fairness(gate: &FairnessGate, evaluation: &Evaluation) -> GateResult {
    let name = format!("fairness.{}.{}", gate.attribute, gate.metric);
    let limit = limit_text(None, Some(gate.max));
    let measured = evaluation
        .groups
        .iter()
        .find(|of| of.attribute == gate.attribute)
        .and_then(|of| of.differences.get(&gate.metric));
    match measured {
        Some(difference) => GateResult {
            name,
            passed: difference.metric.value <= gate.max,
            measured: Some(difference.metric.value),
            limit,
            note: format!(
                "between {:?} and {:?}",
                difference.highest, difference.lowest
            ),
        },
        None => GateResult {
            name,
            passed: false,
            measured: None,
            limit,
            note: format!(
                "not measured: no two groups of {} are large enough, or it is not protected",
                gate.attribute
            ),
        },
    }
}

fn limit_text(min: Option<f64>, max: Option<f64>) -> String {
    match (min, max) {
        (Some(min), Some(max)) => format!("{min} to {max}"),
        (Some(min), None) => format!(">= {min}"),
        (None, Some(max)) => format!("<= {max}"),
        (None, None) => "none".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ombud_core::Metric;

    #[test]
    fn a_gate_without_a_measurement_fails_and_says_why() {
        let gates = Gates {
            samples_min: Some(100),
            metrics: vec![
                MetricGate {
                    metric: "accuracy".into(),
                    min: Some(0.8),
                    max: None,
                },
                MetricGate {
                    metric: "roc_auc".into(),
                    min: Some(0.8),
                    max: None,
                },
            ],
            fairness: vec![FairnessGate {
                attribute: "gender".into(),
                metric: "equal_opportunity_difference".into(),
                max: 0.1,
            }],
            champion: None,
        };
        let evaluation = Evaluation {
            metrics: [("accuracy".to_owned(), Metric::exact(0.81))].into(),
            absent: [(
                "roc_auc".to_owned(),
                "every row is of the same class".to_owned(),
            )]
            .into(),
            ..Evaluation::default()
        };
        let results = judge(&gates, 99, &evaluation);
        let passed: Vec<bool> = results.iter().map(|result| result.passed).collect();
        assert_eq!(passed, [false, true, false, false]);
        assert!(results[2].note.contains("same class"));
    }
}
