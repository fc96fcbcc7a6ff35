//! Judges the gates that need no more than held-out rows.
//!
//! Pure: limits and measurements in, results with their numbers out. What a failed gate means is decided by whoever wants
//! to deploy; the champion's gate needs what serves today and is judged there. A gate that no training of this task could
//! ever pass is a mistake in the recipe, told before anything is learned ([`misplaced`]).

use crate::evaluation::Evaluation;
use crate::recipe::{ClassGate, FairnessGate, Gates, MetricGate};
use ombud_core::Task;
use ombud_core::manifest::GateResult;

/// Metrics of a task whose answers are numbers.
const OF_NUMBERS: [&str; 7] = [
    "rmse",
    "mae",
    "median_absolute_error",
    "r2",
    "pinball",
    "interval_coverage",
    "interval_width",
];
/// Metrics of found segments.
const OF_SEGMENTS: [&str; 5] = [
    "silhouette",
    "davies_bouldin",
    "calinski_harabasz",
    "inertia",
    "mean_log_likelihood",
];
/// Metrics of at least 0 that have no bound above.
const UNBOUNDED: [&str; 11] = [
    "log_loss",
    "level_error",
    "rmse",
    "mae",
    "median_absolute_error",
    "pinball",
    "interval_width",
    "set_size",
    "davies_bouldin",
    "calinski_harabasz",
    "inertia",
];

/// A gate that cannot be judged, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Misplaced {
    /// The gate, as the recipe names it.
    pub gate: String,
    /// Why.
    pub why: String,
}

/// The first gate that no model of this task can pass or be judged by.
pub fn misplaced(
    gates: &Gates,
    task: Task,
    classes: &[String],
    protected: &[String],
) -> Option<Misplaced> {
    let of = |gate: String, why: String| Some(Misplaced { gate, why });
    for gate in &gates.metrics {
        if !measures(&gate.metric, task) {
            let why = format!("it is no metric of {task}");
            return of(gate.metric.clone(), why);
        }
        if let Some(why) = out_of_range(gate) {
            return of(gate.metric.clone(), why);
        }
    }
    for ClassGate { class, gate } in &gates.classes {
        let name = || format!("classes.{class}.{}", gate.metric);
        if matches!(task, Task::Regression | Task::Clustering) {
            return of(name(), format!("{task} has no classes to be told apart"));
        }
        if !classes.contains(class) {
            let known = classes.join(", ");
            return of(
                name(),
                format!("the target has no class {class:?}, only {known}"),
            );
        }
        if let Some(why) = out_of_range(gate) {
            return of(name(), why);
        }
    }
    let fairness = gates
        .fairness
        .iter()
        .find(|gate| !protected.contains(&gate.attribute))?;
    of(
        format!("fairness.{}", fairness.attribute),
        format!(
            "{:?} is not among `protected` in [data]",
            fairness.attribute
        ),
    )
}

fn measures(metric: &str, task: Task) -> bool {
    match task {
        Task::Regression => OF_NUMBERS.contains(&metric),
        Task::Clustering => OF_SEGMENTS.contains(&metric),
        Task::Classification | Task::MultiLabel | Task::Ordered => {
            !OF_NUMBERS.contains(&metric) && !OF_SEGMENTS.contains(&metric)
        }
    }
}

/// Why no measurement can lie within a gate's limits.
fn out_of_range(gate: &MetricGate) -> Option<String> {
    let (least, most) = match gate.metric.as_str() {
        "mean_log_likelihood" => (f64::NEG_INFINITY, f64::INFINITY),
        "r2" => (f64::NEG_INFINITY, 1.0),
        "quadratic_kappa" | "silhouette" => (-1.0, 1.0),
        name if UNBOUNDED.contains(&name) => (0.0, f64::INFINITY),
        _ => (0.0, 1.0),
    };
    match (gate.min, gate.max) {
        (Some(min), Some(max)) if min > max => Some(format!("{min} is more than {max}")),
        (Some(min), _) if min > most => Some(format!("it is never more than {most}")),
        (_, Some(max)) if max < least => Some(format!("it is never less than {least}")),
        _ => None,
    }
}

/// The results: samples, metrics, metrics of classes, fairness.
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
    let classes = gates
        .classes
        .iter()
        .map(|gate| judge_class(gate, evaluation));
    let fairness = gates
        .fairness
        .iter()
        .map(|gate| judge_fairness(gate, evaluation));
    let results = samples.into_iter().chain(metrics).chain(classes);
    results.chain(fairness).collect()
}

fn judge_metric(gate: &MetricGate, evaluation: &Evaluation) -> GateResult {
    match evaluation.metrics.get(&gate.metric) {
        Some(metric) => limited(gate.metric.clone(), gate, metric.value),
        None => {
            let reason = evaluation.absent.get(&gate.metric);
            let note = reason.map_or("this task has no such metric".to_owned(), |reason| {
                format!("not measured: {reason}")
            });
            unmeasured(gate.metric.clone(), gate, note)
        }
    }
}

fn judge_class(ClassGate { class, gate }: &ClassGate, evaluation: &Evaluation) -> GateResult {
    let name = format!("classes.{class}.{}", gate.metric);
    let Some(of) = evaluation.classes.iter().find(|of| of.name == *class) else {
        let names = evaluation.classes.iter().map(|of| of.name.as_str());
        let names: Vec<&str> = names.collect();
        let note = format!(
            "not measured: no class is called so; there are {}",
            names.join(", ")
        );
        return unmeasured(name, gate, note);
    };
    match of.metrics.get(&gate.metric) {
        Some(metric) => limited(name, gate, metric.value),
        None => unmeasured(
            name,
            gate,
            format!("not measured: {} rows are of it", of.rows),
        ),
    }
}

fn limited(name: String, gate: &MetricGate, measured: f64) -> GateResult {
    GateResult {
        name,
        passed: gate.min.is_none_or(|min| measured >= min)
            && gate.max.is_none_or(|max| measured <= max),
        measured: Some(measured),
        limit: limit_text(gate.min, gate.max),
        note: String::new(),
    }
}

fn unmeasured(name: String, gate: &MetricGate, note: String) -> GateResult {
    GateResult {
        name,
        passed: false,
        measured: None,
        limit: limit_text(gate.min, gate.max),
        note,
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
    use crate::evaluation::ClassEvaluation;
    use ombud_core::Metric;

    #[test]
    fn a_gate_that_no_training_can_pass_is_told_beforehand() {
        let gates = |metric: &str, min, max| Gates {
            metrics: vec![MetricGate {
                metric: metric.into(),
                min,
                max,
            }],
            ..Gates::default()
        };
        let why = |gates: Gates, task| misplaced(&gates, task, &[], &[]).map(|of| of.why);
        assert_eq!(
            why(gates("rmse", None, Some(3.0)), Task::Classification).unwrap(),
            "it is no metric of classification"
        );
        assert_eq!(
            why(gates("accuracy", Some(85.0), None), Task::Classification).unwrap(),
            "it is never more than 1"
        );
        assert_eq!(
            why(gates("ece", None, Some(-0.1)), Task::Ordered).unwrap(),
            "it is never less than 0"
        );
        assert_eq!(
            why(gates("mae", Some(5.0), Some(3.0)), Task::Regression).unwrap(),
            "5 is more than 3"
        );
        assert_eq!(why(gates("mae", None, Some(300.0)), Task::Regression), None);
        assert_eq!(why(gates("r2", Some(-2.0), None), Task::Regression), None);
    }

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
            ..Gates::default()
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

    #[test]
    fn a_class_has_limits_of_its_own() {
        let gate = |class: &str, metric: &str, min: f64| ClassGate {
            class: class.into(),
            gate: MetricGate {
                metric: metric.into(),
                min: Some(min),
                max: None,
            },
        };
        let gates = Gates {
            classes: vec![
                gate("crisis", "recall", 0.95),
                gate("crisis", "recall", 0.98),
                gate("crisis", "precision", 0.1),
                gate("crises", "recall", 0.95),
            ],
            ..Gates::default()
        };
        let evaluation = Evaluation {
            classes: vec![ClassEvaluation {
                name: "crisis".into(),
                rows: 50,
                metrics: [("recall".to_owned(), Metric::exact(0.96))].into(),
            }],
            ..Evaluation::default()
        };
        let results = judge(&gates, 99, &evaluation);
        let passed: Vec<bool> = results.iter().map(|result| result.passed).collect();
        assert_eq!(passed, [true, false, false, false]);
        assert_eq!(results[0].name, "classes.crisis.recall");
        assert!(
            results[3].note.ends_with("there are crisis"),
            "{}",
            results[3].note
        );
        let numbers = misplaced(&gates, Task::Regression, &[], &[]).expect("no classes");
        assert_eq!(numbers.gate, "classes.crisis.recall");
        let classes = |names: &[&str]| {
            names
                .iter()
                .map(|name| (*name).to_owned())
                .collect::<Vec<_>>()
        };
        let known = classes(&["crisis", "crises"]);
        assert_eq!(misplaced(&gates, Task::Classification, &known, &[]), None);
        let unknown = misplaced(&gates, Task::Classification, &classes(&["calm"]), &[]);
        let unknown = unknown.expect("there is no such class").why;
        assert!(unknown.contains("only calm"), "{unknown}");
    }
}
