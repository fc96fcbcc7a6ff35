//! Measured quality: a number with its interval, by name.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A measured value and, when it was estimated, its 95 % interval.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Metric {
    /// The measured value.
    pub value: f64,
    /// Lower end of the 95 % bootstrap interval.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub lower: Option<f64>,
    /// Upper end of the 95 % bootstrap interval.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub upper: Option<f64>,
}

impl Metric {
    /// A value whose uncertainty was not estimated.
    pub fn exact(value: f64) -> Self {
        Metric {
            value,
            lower: None,
            upper: None,
        }
    }

    /// A value with its interval.
    pub fn between(value: f64, lower: f64, upper: f64) -> Self {
        Metric {
            value,
            lower: Some(lower),
            upper: Some(upper),
        }
    }
}

/// Metrics by name (`accuracy`, `log_loss`, …). A metric that is undefined for the data is absent.
pub type Metrics = BTreeMap<String, Metric>;

/// Whether more of a metric is better; errors and losses shrink as a model improves.
pub fn higher_is_better(metric: &str) -> bool {
    const LOWER: [&str; 13] = [
        "log_loss",
        "brier",
        "ece",
        "rmse",
        "mae",
        "median_absolute_error",
        "pinball",
        "inertia",
        "davies_bouldin",
        "hamming_loss",
        "level_mae",
        "interval_width",
        "median_ae",
    ];
    !LOWER.contains(&metric)
}
