//! The options of logistic regression, as a person writes them in a recipe, with their check.

use serde::{Deserialize, Serialize};

/// More pairs than this cost more memory than they save iterations.
const HISTORY_MAX: usize = 100;

/// The defaults are scikit-learn's, but for more iterations.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LogisticOptions {
    pub family: Family,
    /// How much the losses count against the penalty ½ ‖W‖²; larger fits closer.
    pub c: f64,
    pub class_weights: ClassWeights,
    /// Training ends when no part of the mean loss's gradient is larger.
    pub tolerance: f64,
    pub iterations_max: usize,
    /// Steps that L-BFGS remembers.
    pub history: usize,
}

impl Default for LogisticOptions {
    fn default() -> Self {
        Self {
            family: Family::Multinomial,
            c: 1.0,
            class_weights: ClassWeights::Uniform,
            tolerance: 1e-4,
            iterations_max: 1000,
            history: 10,
        }
    }
}

/// How several classes are told apart. Two classes are one logistic output either way, and labels
/// are always one-versus-rest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Family {
    /// All against all: probabilities sum to one.
    Multinomial,
    /// Each class against the others, on its own.
    OneVsRest,
}

/// How much the rows of each class count.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ClassWeights {
    /// All the same.
    Uniform,
    /// Rare classes more, so that all classes weigh the same in sum. One-versus-rest balances each
    /// class with its rest.
    Balanced,
    /// One weight per class. For one-versus-rest and labels it is the weight of the positive rows.
    Given(Vec<f64>),
}

#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum LogisticOptionsError {
    #[error("{option} = {value} must be a number above 0")]
    NotPositive { option: &'static str, value: f64 },
    #[error("history = {history} must lie within 1 and {HISTORY_MAX}")]
    History { history: usize },
    #[error("iterations_max must be at least 1")]
    NoIterations,
}

impl LogisticOptions {
    pub fn check(&self) -> Result<(), LogisticOptionsError> {
        check_positive("c", self.c)?;
        check_positive("tolerance", self.tolerance)?;
        if let ClassWeights::Given(weights) = &self.class_weights {
            weights
                .iter()
                .try_for_each(|&weight| check_positive("class_weights", weight))?;
        }
        if !(1..=HISTORY_MAX).contains(&self.history) {
            return Err(LogisticOptionsError::History {
                history: self.history,
            });
        }
        if self.iterations_max == 0 {
            return Err(LogisticOptionsError::NoIterations);
        }
        Ok(())
    }
}

fn check_positive(option: &'static str, value: f64) -> Result<(), LogisticOptionsError> {
    if value.is_finite() && value > 0.0 {
        return Ok(());
    }
    Err(LogisticOptionsError::NotPositive { option, value })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_read_as_a_recipe_writes_them() {
        let written =
            r#"{"family": "one_vs_rest", "c": 4.0, "class_weights": {"given": [1, 2.5]}}"#;
        let options: LogisticOptions = serde_json::from_str(written).unwrap();
        assert_eq!(options.family, Family::OneVsRest);
        assert_eq!(options.class_weights, ClassWeights::Given(vec![1.0, 2.5]));
        assert_eq!(options.history, 10);
    }

    #[test]
    fn absurd_options_are_refused_by_name() {
        let refused = |options: LogisticOptions| options.check().unwrap_err().to_string();
        let default = LogisticOptions::default;
        for c in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            assert!(refused(LogisticOptions { c, ..default() }).starts_with("c = "));
        }
        let class_weights = ClassWeights::Given(vec![1.0, -1.0]);
        let message = refused(LogisticOptions {
            class_weights,
            ..default()
        });
        assert!(message.starts_with("class_weights = -1"));
        assert!(
            refused(LogisticOptions {
                history: 0,
                ..default()
            })
            .starts_with("history")
        );
        let none = LogisticOptions {
            iterations_max: 0,
            ..default()
        };
        assert!(refused(none).starts_with("iterations_max"));
    }
}
