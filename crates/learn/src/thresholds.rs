//! Tunes from which probability on a class is chosen.
//!
//! A wish names a class and an aim: at least so much recall (at the best precision that allows), at
//! least so much precision (at the best recall), the highest F1, or the highest balanced accuracy
//! against the rest. Wishes are tuned in their order, which is the order in which [`DecisionRule`]
//! tries them: a row taken by an earlier class is lost to later ones, and is counted so. Candidates
//! are the scores that occur; ties among equally good ones go to the higher recall, then to the
//! higher threshold. An aim that no threshold reaches is refused with the best that can be had.
//!
//! Precision and recall are reported for the whole rule, with Wilson intervals (weights by Kish's
//! effective number). Tuned and measured on the same rows they flatter a little; [`achieved`]
//! measures the rule on others.
//!
//! ```
//! use ombud_learn::{evaluate::Classified, thresholds::{Aim, Wish, tune}};
//! let probabilities = [0.9, 0.1, 0.7, 0.3, 0.6, 0.4, 0.2, 0.8];
//! let sample = Classified::new(&[0, 1, 0, 1], &probabilities, 2)?;
//! let tuning = tune(&sample, &[Wish { class: 1, aim: Aim::Recall(0.98) }], 0.95)?;
//! assert_eq!(tuning.rule.thresholds()[0].threshold, 0.3);
//! assert_eq!(tuning.achieved[0].recall.value, 1.0);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use ombud_engine::conformal::Interval;
use ombud_engine::decision::{ClassThreshold, DecisionError, DecisionRule};
use serde::Serialize;

use crate::evaluate::metric::{Metric, Undefined};
use crate::evaluate::ranking::Ranking;
use crate::evaluate::sample::Classified;
use crate::math::share_interval;

/// What a threshold is to reach.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Aim {
    /// At least this recall, at the best precision.
    Recall(f64),
    /// At least this precision, at the best recall.
    Precision(f64),
    HighestF1,
    HighestBalancedAccuracy,
}

/// An aim for a class.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Wish {
    pub class: u32,
    pub aim: Aim,
}

/// A tuned rule and what it does on the rows it was tuned on.
#[derive(Debug, Clone, PartialEq)]
pub struct Tuning {
    pub rule: DecisionRule,
    /// One per wish, in their order.
    pub achieved: Vec<Achieved>,
}

/// What a rule reaches for one class.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Achieved {
    pub class: u32,
    pub threshold: f64,
    pub recall: Metric,
    /// The share of rows decided as the class.
    pub selection_rate: f64,
    /// Absent when the class is never decided.
    pub precision: Option<Metric>,
}

#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum ThresholdError {
    #[error("an aim of {aim} is not above 0 and at most 1")]
    Aim { aim: f64 },
    #[error("class {class} does not occur, so no threshold can be tuned for it")]
    ClassMissing { class: u32 },
    #[error("no threshold gives class {class} a {measure} of {wanted}; the best is {best:.3}")]
    OutOfReach {
        class: u32,
        measure: &'static str,
        wanted: f64,
        best: f64,
    },
    #[error(transparent)]
    Rule(#[from] DecisionError),
}

/// Tunes a threshold per wish; `level` is that of the reported intervals, such as 0.95.
pub fn tune(sample: &Classified, wishes: &[Wish], level: f64) -> Result<Tuning, ThresholdError> {
    let mut thresholds: Vec<ClassThreshold> = Vec::new();
    let mut free = sample.weights().to_vec();
    for wish in wishes {
        let untuned = ClassThreshold {
            class: wish.class,
            threshold: 1.0,
        };
        let attempt = thresholds.iter().copied().chain([untuned]).collect();
        // Made only to refuse classes that are unknown or named twice before they are tuned.
        DecisionRule::new(sample.class_count(), attempt)?;
        let threshold = tune_one(sample, &free, *wish)?;
        thresholds.push(ClassThreshold {
            class: wish.class,
            threshold,
        });
        for (row, weight) in free.iter_mut().enumerate() {
            if sample.probabilities_of(row)[wish.class as usize] >= threshold {
                *weight = 0.0;
            }
        }
    }
    let rule = DecisionRule::new(sample.class_count(), thresholds)?;
    let achieved = achieved(sample, &rule, level)?;
    Ok(Tuning { rule, achieved })
}

/// What `rule` reaches on `sample` for each of its thresholds.
pub fn achieved(
    sample: &Classified,
    rule: &DecisionRule,
    level: f64,
) -> Result<Vec<Achieved>, ThresholdError> {
    let decided: Vec<usize> = (0..sample.rows())
        .map(|row| rule.decide(sample.probabilities_of(row)))
        .collect();
    let of_class = |tuned: &ClassThreshold| {
        let is_true = |row: usize| sample.labels()[row] == tuned.class;
        let is_chosen = |row: usize| decided[row] == tuned.class as usize;
        let recall = share(sample, level, is_true, is_chosen);
        let all = share(sample, level, |_| true, is_chosen);
        Ok(Achieved {
            class: tuned.class,
            threshold: tuned.threshold,
            recall: recall.map_err(|_| ThresholdError::ClassMissing { class: tuned.class })?,
            selection_rate: all.map_or(0.0, |share| share.value),
            precision: share(sample, level, is_chosen, is_true).ok(),
        })
    };
    rule.thresholds().iter().map(of_class).collect()
}

/// One threshold and what it would give.
#[derive(Debug, Clone, Copy)]
struct Candidate {
    threshold: f64,
    recall: f64,
    precision: f64,
    f1: f64,
    balanced_accuracy: f64,
}

fn tune_one(sample: &Classified, free: &[f64], wish: Wish) -> Result<f64, ThresholdError> {
    let class = wish.class;
    let candidates = candidates(sample, free, class as usize)?;
    let reach = |measure: &'static str, wanted: f64, value: fn(&Candidate) -> f64| {
        let best = candidates.iter().map(value).fold(0.0, f64::max);
        if !(wanted > 0.0 && wanted <= 1.0) {
            return Err(ThresholdError::Aim { aim: wanted });
        }
        if best < wanted {
            return Err(ThresholdError::OutOfReach {
                class,
                measure,
                wanted,
                best,
            });
        }
        Ok(candidates
            .iter()
            .filter(move |candidate| value(candidate) >= wanted)
            .copied()
            .collect::<Vec<_>>())
    };
    let (allowed, value): (Vec<Candidate>, fn(&Candidate) -> f64) = match wish.aim {
        Aim::Recall(wanted) => (
            reach("recall", wanted, |candidate| candidate.recall)?,
            |candidate| candidate.precision,
        ),
        Aim::Precision(wanted) => (
            reach("precision", wanted, |candidate| candidate.precision)?,
            |candidate| candidate.recall,
        ),
        Aim::HighestF1 => (candidates, |candidate| candidate.f1),
        Aim::HighestBalancedAccuracy => (candidates, |candidate| candidate.balanced_accuracy),
    };
    let mut best: Option<Candidate> = None;
    for candidate in allowed {
        let key = |candidate: &Candidate| (value(candidate), candidate.recall);
        if best.is_none_or(|best| key(&candidate) > key(&best)) {
            best = Some(candidate);
        }
    }
    best.map(|best| best.threshold)
        .ok_or(ThresholdError::ClassMissing { class })
}

/// Every distinct score of the rows still free, from the highest, counted against all rows of the
/// class.
fn candidates(
    sample: &Classified,
    free: &[f64],
    class: usize,
) -> Result<Vec<Candidate>, ThresholdError> {
    let scores = sample.scores(class);
    let is_of = sample.is_of(class);
    let weight_of = |wanted: bool| {
        let rows = is_of
            .iter()
            .zip(sample.weights())
            .filter(move |(is, _)| **is == wanted);
        rows.map(|(_, weight)| weight).sum::<f64>()
    };
    let (positives, negatives) = (weight_of(true), weight_of(false));
    if positives <= 0.0 {
        return Err(ThresholdError::ClassMissing {
            class: class as u32,
        });
    }
    let mut distinct = scores.clone();
    distinct.sort_unstable_by(|a, b| b.total_cmp(a));
    distinct.dedup();
    let mut thresholds = distinct.into_iter();
    let mut candidates = Vec::new();
    Ranking::new(&scores, &is_of).walk(free, |step| {
        let Some(threshold) = thresholds.next() else {
            return;
        };
        if step.positives + step.negatives <= 0.0 {
            return;
        }
        let (right, wrong) = (step.positives_so_far, step.negatives_so_far);
        let recall = right / positives;
        let spared = if negatives > 0.0 {
            1.0 - wrong / negatives
        } else {
            1.0
        };
        candidates.push(Candidate {
            threshold,
            recall,
            precision: right / (right + wrong),
            f1: 2.0 * right / (right + wrong + positives),
            balanced_accuracy: (recall + spared) / 2.0,
        });
    });
    Ok(candidates)
}

/// The share of the rows in question that succeed, with Wilson's interval.
fn share(
    sample: &Classified,
    level: f64,
    is_asked: impl Fn(usize) -> bool,
    succeeds: impl Fn(usize) -> bool,
) -> Result<Metric, Undefined> {
    let (mut weight, mut squares, mut success) = (0.0, 0.0, 0.0);
    for row in (0..sample.rows()).filter(|&row| is_asked(row)) {
        let own = sample.weights()[row];
        weight += own;
        squares += own * own;
        success += own * f64::from(succeeds(row));
    }
    if weight <= 0.0 {
        return Err(Undefined::NoRows);
    }
    // Kish: as many equally weighted rows as would be worth these.
    let effective = weight * weight / squares;
    let (lower, upper) = share_interval(success / weight * effective, effective, level);
    Ok(Metric {
        value: success / weight,
        interval: Some(Interval { lower, upper }),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evaluate::fixture::{assert_close, binary, multiclass};

    fn wish(class: u32, aim: Aim) -> Wish {
        Wish { class, aim }
    }

    /// The best value over every threshold, by counting.
    fn brute(best_of: impl Fn(f64, f64, f64) -> Option<f64>) -> f64 {
        let rows = binary();
        let of_threshold = |&threshold: &f64| {
            let chosen: Vec<bool> = rows
                .scores
                .iter()
                .map(|&score| score >= threshold)
                .collect();
            let count = |truth: u32| {
                (0..60)
                    .filter(|&i| chosen[i] && rows.labels[i] == truth)
                    .count() as f64
            };
            let (right, wrong) = (count(1), count(0));
            best_of(right / 38.0, right / (right + wrong), wrong / 22.0)
        };
        rows.scores
            .iter()
            .filter_map(of_threshold)
            .fold(0.0, f64::max)
    }

    fn tuned(aim: Aim) -> Achieved {
        tune(&binary().sample(), &[wish(1, aim)], 0.95)
            .expect("tunes")
            .achieved
            .remove(0)
    }

    #[test]
    fn each_aim_reaches_the_best_that_counting_finds() {
        let at_recall = tuned(Aim::Recall(0.9));
        assert!(at_recall.recall.value >= 0.9);
        let expected = brute(|recall, precision, _| (recall >= 0.9).then_some(precision));
        assert_close(at_recall.precision.expect("chosen").value, expected);

        let at_precision = tuned(Aim::Precision(0.85));
        let expected = brute(|recall, precision, _| (precision >= 0.85).then_some(recall));
        assert_close(at_precision.recall.value, expected);

        let f1 = |recall: f64, precision: f64| {
            2.0 * recall * precision / (recall + precision).max(1e-300)
        };
        let best = tuned(Aim::HighestF1);
        let expected = brute(|recall, precision, _| Some(f1(recall, precision)));
        assert_close(
            f1(best.recall.value, best.precision.expect("chosen").value),
            expected,
        );

        let best = tuned(Aim::HighestBalancedAccuracy);
        let expected = brute(|recall, _, false_rate| Some((recall + 1.0 - false_rate) / 2.0));
        let chosen = best.selection_rate * 60.0;
        let false_rate = (chosen - best.recall.value * 38.0) / 22.0;
        assert_close((best.recall.value + 1.0 - false_rate) / 2.0, expected);
    }

    #[test]
    fn full_recall_is_reported_with_what_the_rows_can_prove() {
        // Wilson's lower end for 38 of 38: 38 / (38 + 1.96²), as scipy 1.17.1's binomtest gives.
        let recall = tuned(Aim::Recall(1.0)).recall;
        assert_eq!(recall.value, 1.0);
        let interval = recall.interval.expect("always given");
        assert_close(interval.lower, 38.0 / (38.0 + 1.959963984540054f64.powi(2)));
        assert_eq!(interval.upper, 1.0);
    }

    #[test]
    fn rows_taken_by_an_earlier_class_are_lost_to_later_ones() {
        let rows = multiclass();
        let sample = rows.sample();
        let wishes = [wish(2, Aim::Recall(0.9)), wish(1, Aim::HighestF1)];
        let tuning = tune(&sample, &wishes, 0.95).expect("tunes");
        assert!(tuning.achieved[0].recall.value >= 0.9);
        let decided: Vec<u32> = (0..90)
            .map(|row| tuning.rule.decide(sample.probabilities_of(row)) as u32)
            .collect();
        let right = (0..90)
            .filter(|&row| decided[row] == 1 && rows.labels[row] == 1)
            .count();
        assert_close(tuning.achieved[1].recall.value, right as f64 / 30.0);
        let alone = tune(&sample, &wishes[1..], 0.95).expect("tunes");
        assert!(alone.achieved[0].recall.value >= tuning.achieved[1].recall.value);
    }

    #[test]
    fn what_cannot_be_reached_is_refused_with_the_best() {
        let rows = multiclass();
        let sample = rows.sample();
        let refusal = |wishes: &[Wish]| {
            tune(&sample, wishes, 0.95)
                .expect_err("refused")
                .to_string()
        };
        let message = refusal(&[wish(2, Aim::Recall(1.0)), wish(1, Aim::Recall(0.99))]);
        assert!(
            message.starts_with("no threshold gives class 1 a recall of 0.99; the best is 0."),
            "{message}"
        );
        assert!(refusal(&[wish(1, Aim::Recall(1.2))]).starts_with("an aim of 1.2"));
        assert_eq!(
            refusal(&[wish(3, Aim::HighestF1)]),
            "class 3 has a threshold, the model knows 3 classes"
        );
        assert_eq!(
            refusal(&[wish(1, Aim::HighestF1); 2]),
            "class 1 has two thresholds"
        );
        let one_class = Classified::new(&[0], &[0.5, 0.5], 2).expect("valid");
        let missing = tune(&one_class, &[wish(1, Aim::HighestF1)], 0.95);
        assert_eq!(missing, Err(ThresholdError::ClassMissing { class: 1 }));
    }
}
