//! A measured number with its interval, or the reason why there is none.
//!
//! Kept apart from the statistics so that they all speak of absence in the same words.

use std::collections::BTreeMap;

use ombud_engine::conformal::Interval;
use serde::{Deserialize, Serialize, Serializer};

/// A value and the bootstrap interval around it.
///
/// As JSON `{"value": 0.91, "lower": 0.90, "upper": 0.92}`, the ends left out where no interval was
/// computed.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Metric {
    pub value: f64,
    /// Absent when resampling was not asked for or too few rows stand behind the value.
    #[serde(flatten)]
    pub interval: Option<Interval>,
}

/// Metrics by name, and the reasons of those that could not be computed.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Metrics {
    pub measured: BTreeMap<String, Metric>,
    pub absent: BTreeMap<String, Undefined>,
}

/// Why a statistic has no value on these rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Undefined {
    #[error("there are no rows")]
    NoRows,
    #[error("class {class} does not occur")]
    ClassMissing { class: usize },
    #[error("every row is of the same class")]
    OneClass,
    #[error("the class was never chosen")]
    NeverChosen,
    #[error("the class neither occurs nor was it chosen")]
    NeitherOccursNorChosen,
    #[error("the true values are all the same")]
    NoVariance,
    #[error("fewer than two groups have enough rows")]
    TooFewGroups,
    #[error("truth and decisions are one and the same class throughout")]
    NoDisagreementPossible,
}

impl Metric {
    pub fn exact(value: f64) -> Self {
        Self {
            value,
            interval: None,
        }
    }
}

impl Metrics {
    pub fn insert(&mut self, name: impl Into<String>, outcome: Result<Metric, Undefined>) {
        match outcome {
            Ok(metric) => drop(self.measured.insert(name.into(), metric)),
            Err(reason) => drop(self.absent.insert(name.into(), reason)),
        }
    }

    /// The value of `name`, if it was measured.
    pub fn value(&self, name: &str) -> Option<f64> {
        self.measured.get(name).map(|metric| metric.value)
    }
}

impl<N: Into<String>> FromIterator<(N, Result<Metric, Undefined>)> for Metrics {
    fn from_iter<I: IntoIterator<Item = (N, Result<Metric, Undefined>)>>(outcomes: I) -> Self {
        let mut metrics = Self::default();
        outcomes
            .into_iter()
            .for_each(|(name, outcome)| metrics.insert(name, outcome));
        metrics
    }
}

impl Serialize for Undefined {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// Σ w·x / Σ w; the mean of nothing is undefined.
pub fn weighted_mean(values: &[f64], weights: &[f64]) -> Result<f64, Undefined> {
    let mut sum = 0.0;
    let mut weight_sum = 0.0;
    for (value, weight) in values.iter().zip(weights) {
        sum += value * weight;
        weight_sum += weight;
    }
    divide(sum, weight_sum, Undefined::NoRows)
}

/// `top / bottom`, or `reason` when there is nothing below.
pub(crate) fn divide(top: f64, bottom: f64, reason: Undefined) -> Result<f64, Undefined> {
    if bottom > 0.0 {
        Ok(top / bottom)
    } else {
        Err(reason)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_carries_the_ends_beside_the_value_and_reasons_in_words() {
        let metrics: Metrics = [
            (
                "accuracy",
                Ok(Metric {
                    value: 0.5,
                    interval: Some(Interval {
                        lower: 0.25,
                        upper: 0.75,
                    }),
                }),
            ),
            ("mae", Ok(Metric::exact(2.0))),
            ("roc_auc", Err(Undefined::OneClass)),
        ]
        .into_iter()
        .collect();
        let text = serde_json::to_string(&metrics).expect("serializes");
        assert_eq!(
            text,
            concat!(
                r#"{"measured":{"accuracy":{"value":0.5,"lower":0.25,"upper":0.75},"#,
                r#""mae":{"value":2.0}},"absent":{"roc_auc":"every row is of the same class"}}"#
            )
        );
        let metric: Metric =
            serde_json::from_str(r#"{"value":0.5,"lower":0.25,"upper":0.75}"#).expect("loads");
        assert_eq!(metric, metrics.measured["accuracy"]);
        let metric: Metric = serde_json::from_str(r#"{"value":2.0}"#).expect("loads");
        assert_eq!(metric, Metric::exact(2.0));
    }

    #[test]
    fn the_mean_of_nothing_is_undefined() {
        assert_eq!(weighted_mean(&[], &[]), Err(Undefined::NoRows));
        assert_eq!(weighted_mean(&[1.0], &[0.0]), Err(Undefined::NoRows));
        assert_eq!(weighted_mean(&[1.0, 4.0], &[2.0, 1.0]), Ok(2.0));
    }
}
