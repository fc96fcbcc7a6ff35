//! Says in a sentence what a difference means.
//!
//! Better is claimed only when the p-value is below α and the interval leaves out zero; otherwise
//! the sentence says that the models cannot be told apart, which is not that they are equal.
//! Metrics for which neither high nor low is good (mean error, interval coverage) get no verdict;
//! an unknown metric gets none either.
//!
//! ```
//! use ombud_engine::conformal::Interval;
//! use ombud_learn::compare::{paired::PairedDifference, verdict::verdict};
//! let interval = Some(Interval { lower: -0.04, upper: -0.01 });
//! let found = PairedDifference { a: 0.5, b: 0.475, difference: -0.025, interval, p_value: Some(0.002) };
//! let sentence = verdict("log_loss", &found, 0.05).map(|verdict| verdict.sentence);
//! assert_eq!(
//!     sentence.as_deref(),
//!     Some("B is better than A on log_loss: 0.4750 against 0.5000, lower by 0.0250 (95 % interval 0.0100 to 0.0400, p = 0.002).")
//! );
//! ```

use serde::Serialize;

use super::paired::PairedDifference;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum Side {
    A,
    B,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Verdict {
    /// Absent when the models cannot be told apart.
    pub better: Option<Side>,
    pub sentence: String,
}

/// Which end of a metric is good.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Good {
    High,
    Low,
}

/// Which end of the metric `name` is good, if either is.
pub fn good_end(name: &str) -> Option<Good> {
    match name {
        "accuracy" | "balanced_accuracy" | "macro_precision" | "macro_recall" | "macro_f1" => {
            Some(Good::High)
        }
        "weighted_precision" | "weighted_recall" | "weighted_f1" | "micro_f1"
        | "subset_accuracy" => Some(Good::High),
        "roc_auc" | "pr_auc" | "quadratic_kappa" | "r2" => Some(Good::High),
        "log_loss" | "brier" | "ece" | "level_error" | "hamming_loss" => Some(Good::Low),
        "rmse" | "mae" | "median_absolute_error" | "interval_width" | "pinball" => Some(Good::Low),
        _ => None,
    }
}

pub fn verdict(name: &str, found: &PairedDifference, alpha: f64) -> Option<Verdict> {
    let good = good_end(name)?;
    let (Some(interval), Some(p_value)) = (found.interval, found.p_value) else {
        let sentence = format!("A and B cannot be compared on {name}: there are too few rows.");
        return Some(Verdict {
            better: None,
            sentence,
        });
    };
    let level = 100.0 * (1.0 - alpha);
    let is_clear = p_value < alpha && !interval.contains(0.0);
    if !is_clear {
        let sentence = format!(
            "A and B cannot be told apart on {name}: {:.4} and {:.4}, a difference of {:+.4} \
             ({level:.0} % interval {:+.4} to {:+.4}, p = {p_value:.3}).",
            found.a, found.b, found.difference, interval.lower, interval.upper,
        );
        return Some(Verdict {
            better: None,
            sentence,
        });
    }
    let is_b = (found.difference > 0.0) == (good == Good::High);
    let (better, winner, loser) = if is_b {
        (Side::B, found.b, found.a)
    } else {
        (Side::A, found.a, found.b)
    };
    let (better_name, other_name) = if is_b { ("B", "A") } else { ("A", "B") };
    let direction = if winner > loser { "higher" } else { "lower" };
    let (near, far) = (
        interval.lower.abs().min(interval.upper.abs()),
        interval.lower.abs().max(interval.upper.abs()),
    );
    let sentence = format!(
        "{better_name} is better than {other_name} on {name}: {winner:.4} against {loser:.4}, \
         {direction} by {:.4} ({level:.0} % interval {near:.4} to {far:.4}, p = {p_value:.3}).",
        found.difference.abs(),
    );
    Some(Verdict {
        better: Some(better),
        sentence,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use ombud_engine::conformal::Interval;

    fn found(difference: f64, lower: f64, upper: f64, p_value: f64) -> PairedDifference {
        let interval = Some(Interval { lower, upper });
        PairedDifference {
            a: 0.8,
            b: 0.8 + difference,
            difference,
            interval,
            p_value: Some(p_value),
        }
    }

    fn sentence(name: &str, found: PairedDifference) -> String {
        verdict(name, &found, 0.05).expect("a verdict").sentence
    }

    #[test]
    fn the_winner_is_named_by_what_is_good() {
        let lower = found(-0.05, -0.08, -0.02, 0.004);
        assert_eq!(
            sentence("accuracy", lower),
            "A is better than B on accuracy: 0.8000 against 0.7500, higher by 0.0500 \
             (95 % interval 0.0200 to 0.0800, p = 0.004)."
        );
        assert!(
            sentence("brier", lower)
                .starts_with("B is better than A on brier: 0.7500 against 0.8000, lower")
        );
    }

    #[test]
    fn an_unclear_difference_claims_nothing() {
        assert_eq!(
            sentence("accuracy", found(0.01, -0.02, 0.04, 0.5)),
            "A and B cannot be told apart on accuracy: 0.8000 and 0.8100, a difference of +0.0100 \
             (95 % interval -0.0200 to +0.0400, p = 0.500)."
        );
    }

    #[test]
    fn too_few_rows_are_said_and_neutral_metrics_have_no_verdict() {
        let bare = PairedDifference {
            interval: None,
            p_value: None,
            ..found(0.1, 0.0, 0.0, 1.0)
        };
        assert_eq!(
            sentence("mae", bare),
            "A and B cannot be compared on mae: there are too few rows."
        );
        assert_eq!(verdict("mean_error", &bare, 0.05), None);
    }
}
