//! Chooses the class (or labels) from a row's probabilities.
//!
//! Without thresholds the most probable class wins. With thresholds, the classes that have one are
//! tried in the given order, and the first whose probability reaches its threshold wins; otherwise
//! the most probable among the classes without a threshold (among all, when every class has one).
//! Ties go to the lower index. A label of independent classes holds when its probability reaches
//! its threshold, 0.5 unless given.
//!
//! Thresholds are tuned by `learn`'s `thresholds`; here they are only kept and obeyed.
//!
//! ```
//! use ombud_engine::decision::{ClassThreshold, DecisionRule};
//! let high_risk_first = DecisionRule::new(3, vec![ClassThreshold { class: 2, threshold: 0.2 }])?;
//! assert_eq!(high_risk_first.decide(&[0.5, 0.28, 0.22]), 2);
//! assert_eq!(high_risk_first.decide(&[0.5, 0.35, 0.15]), 0);
//! # Ok::<(), ombud_engine::decision::DecisionError>(())
//! ```

use serde::{Deserialize, Serialize};

/// The threshold of a label of independent classes that has none of its own.
pub const LABEL_THRESHOLD: f64 = 0.5;

/// From which probability on a class is chosen.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClassThreshold {
    pub class: u32,
    /// Reached when probability ≥ threshold.
    pub threshold: f64,
}

/// A checked rule from probabilities to a decision.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "RuleFile", into = "RuleFile")]
pub struct DecisionRule {
    class_count: usize,
    thresholds: Vec<ClassThreshold>,
}

/// Why a rule is refused.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum DecisionError {
    #[error("class {class} has a threshold, the model knows {class_count} classes")]
    UnknownClass { class: u32, class_count: usize },
    #[error("class {class} has two thresholds")]
    Twice { class: u32 },
    #[error("the threshold {threshold} of class {class} is not between 0 and 1")]
    Threshold { class: u32, threshold: f64 },
    #[error("a rule for {class_count} classes decides nothing")]
    NoClass { class_count: usize },
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct RuleFile {
    class_count: usize,
    thresholds: Vec<ClassThreshold>,
}

impl DecisionRule {
    /// `thresholds` in the order in which they are tried.
    pub fn new(class_count: usize, thresholds: Vec<ClassThreshold>) -> Result<Self, DecisionError> {
        if class_count == 0 {
            return Err(DecisionError::NoClass { class_count });
        }
        let mut seen = std::collections::HashSet::new();
        for &ClassThreshold { class, threshold } in &thresholds {
            if class as usize >= class_count {
                return Err(DecisionError::UnknownClass { class, class_count });
            }
            if !(0.0..=1.0).contains(&threshold) {
                return Err(DecisionError::Threshold { class, threshold });
            }
            if !seen.insert(class) {
                return Err(DecisionError::Twice { class });
            }
        }
        Ok(Self {
            class_count,
            thresholds,
        })
    }

    pub fn class_count(&self) -> usize {
        self.class_count
    }

    pub fn thresholds(&self) -> &[ClassThreshold] {
        &self.thresholds
    }

    /// The class decided on, for exclusive classes.
    pub fn decide(&self, probabilities: &[f64]) -> usize {
        let reached = |rule: &&ClassThreshold| probabilities[rule.class as usize] >= rule.threshold;
        if let Some(rule) = self.thresholds.iter().find(reached) {
            return rule.class as usize;
        }
        let mut best: Option<usize> = None;
        for (class, &probability) in probabilities.iter().enumerate() {
            let is_candidate = self.decides_all() || self.threshold(class).is_none();
            let is_better = best.is_none_or(|best| probability > probabilities[best]);
            if is_candidate && is_better {
                best = Some(class);
            }
        }
        best.unwrap_or(0)
    }

    /// Whether a label of independent classes holds.
    pub fn holds(&self, label: usize, probability: f64) -> bool {
        probability >= self.threshold(label).unwrap_or(LABEL_THRESHOLD)
    }

    fn decides_all(&self) -> bool {
        self.thresholds.len() == self.class_count
    }

    fn threshold(&self, class: usize) -> Option<f64> {
        self.thresholds
            .iter()
            .find(|rule| rule.class as usize == class)
            .map(|rule| rule.threshold)
    }
}

impl TryFrom<RuleFile> for DecisionRule {
    type Error = DecisionError;

    fn try_from(file: RuleFile) -> Result<Self, DecisionError> {
        Self::new(file.class_count, file.thresholds)
    }
}

impl From<DecisionRule> for RuleFile {
    fn from(rule: DecisionRule) -> Self {
        Self {
            class_count: rule.class_count,
            thresholds: rule.thresholds,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(class_count: usize, thresholds: &[(u32, f64)]) -> DecisionRule {
        let thresholds = thresholds
            .iter()
            .map(|&(class, threshold)| ClassThreshold { class, threshold });
        DecisionRule::new(class_count, thresholds.collect()).expect("valid rule")
    }

    #[test]
    fn without_thresholds_the_most_probable_class_wins_and_a_tie_goes_to_the_lower_index() {
        assert_eq!(rule(3, &[]).decide(&[0.2, 0.4, 0.4]), 1);
    }

    #[test]
    fn the_first_threshold_reached_wins_in_the_given_order() {
        let rule = rule(3, &[(2, 0.1), (1, 0.3)]);
        assert_eq!(rule.decide(&[0.2, 0.7, 0.1]), 2);
        assert_eq!(rule.decide(&[0.63, 0.3, 0.07]), 1);
        assert_eq!(rule.decide(&[0.7, 0.25, 0.05]), 0);
    }

    #[test]
    fn a_class_that_missed_its_threshold_does_not_win_as_the_most_probable() {
        assert_eq!(rule(3, &[(1, 0.9)]).decide(&[0.1, 0.7, 0.2]), 2);
        assert_eq!(rule(2, &[(0, 0.9), (1, 0.9)]).decide(&[0.4, 0.6]), 1);
    }

    #[test]
    fn a_label_holds_at_its_threshold_and_at_one_half_without() {
        let rule = rule(2, &[(1, 0.2)]);
        assert!(rule.holds(0, 0.5) && !rule.holds(0, 0.49));
        assert!(rule.holds(1, 0.2) && !rule.holds(1, 0.19));
    }

    #[test]
    fn a_rule_that_cannot_be_meant_is_refused() {
        for (class, threshold) in [(2, 0.5), (0, 1.5), (0, f64::NAN)] {
            assert!(DecisionRule::new(2, vec![ClassThreshold { class, threshold }]).is_err());
        }
        let twice = vec![
            ClassThreshold {
                class: 0,
                threshold: 0.5
            };
            2
        ];
        assert_eq!(
            DecisionRule::new(2, twice),
            Err(DecisionError::Twice { class: 0 })
        );
        let text = r#"{"class_count":2,"thresholds":[{"class":1,"threshold":0.3}]}"#;
        let loaded: DecisionRule = serde_json::from_str(text).expect("loads");
        assert_eq!(serde_json::to_string(&loaded).expect("serializes"), text);
        assert!(serde_json::from_str::<DecisionRule>(&text.replace("0.3", "3.0")).is_err());
    }
}
