//! Everything measured about labels that hold independently.
//!
//! | name | formula | empty |
//! | --- | --- | --- |
//! | `micro_f1` | 2 TP / (2 TP + FP + FN), pooled over labels | no label true or chosen anywhere: absent |
//! | `macro_f1` | mean F1 of all labels, 0 for one neither true nor chosen | no rows: absent |
//! | `subset_accuracy` | share of rows with every label right | no rows: absent |
//! | `hamming_loss` | share of single decisions that are wrong | no rows: absent |
//! | `roc_auc`, `pr_auc` | mean over labels | a label with one truth only: absent |
//! | `log_loss`, `brier` | mean over labels of the binary statistic | no rows: absent |
//!
//! Each label has `precision`, `recall`, `f1`, `roc_auc`, `pr_auc`. Equal to scikit-learn 1.9.
//!
//! ```
//! use ombud_learn::evaluate::{MultiLabelled, Resampling, multilabel::evaluate};
//! let sample = MultiLabelled::new(&[true, false, true, true], &[0.9, 0.2, 0.8, 0.4], 2)?;
//! let report = evaluate(&sample, &Resampling::none())?;
//! assert_eq!(report.metrics.value("hamming_loss"), Some(0.25));
//! # Ok::<(), ombud_learn::evaluate::SampleError>(())
//! ```

use serde::Serialize;

use super::bootstrap::{Resampling, Scorer, measure};
use super::log_loss::surprise;
use super::metric::{Metric, Metrics, Undefined, divide, weighted_mean};
use super::pr_auc::average_precision;
use super::ranking::Ranking;
use super::roc_auc::roc_auc;
use super::sample::{MultiLabelled, SampleError};

/// What was measured.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    pub rows: usize,
    pub metrics: Metrics,
    pub labels: Vec<LabelReport>,
}

/// What was measured about one label.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LabelReport {
    pub label: usize,
    /// Rows on which the label holds.
    pub rows: usize,
    pub metrics: Metrics,
}

pub fn evaluate(sample: &MultiLabelled, resampling: &Resampling) -> Result<Report, SampleError> {
    resampling.check(sample.rows())?;
    let prepare = |rows: Option<&[u32]>| match rows {
        None => Prepared::new(sample),
        Some(rows) => Prepared::new(&sample.select(rows)),
    };
    let outcomes = measure(
        sample.weights(),
        2 + 3 * sample.label_count(),
        resampling,
        prepare,
    );
    let (headline, by_label) = outcomes.split_at(HEADLINE_NAMES.len());
    let metrics = HEADLINE_NAMES
        .into_iter()
        .zip(headline.iter().copied())
        .collect();
    let report = |(label, own): (usize, &[Result<Metric, Undefined>])| LabelReport {
        label,
        rows: sample
            .truth_of(label)
            .into_iter()
            .filter(|&holds| holds)
            .count(),
        metrics: LABEL_NAMES.into_iter().zip(own.iter().copied()).collect(),
    };
    let labels = by_label
        .chunks_exact(LABEL_NAMES.len())
        .enumerate()
        .map(report)
        .collect();
    Ok(Report {
        rows: sample.rows(),
        metrics,
        labels,
    })
}

const HEADLINE_NAMES: [&str; 8] = [
    "micro_f1",
    "macro_f1",
    "subset_accuracy",
    "hamming_loss",
    "roc_auc",
    "pr_auc",
    "log_loss",
    "brier",
];

const LABEL_NAMES: [&str; 5] = ["precision", "recall", "f1", "roc_auc", "pr_auc"];

struct Prepared {
    label_count: usize,
    truth: Vec<bool>,
    decisions: Vec<bool>,
    /// Mean over labels, per row.
    losses: Vec<f64>,
    briers: Vec<f64>,
    rankings: Vec<Ranking>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Tally {
    right: f64,
    truths: f64,
    choices: f64,
}

impl Prepared {
    fn new(sample: &MultiLabelled) -> Self {
        let label_count = sample.label_count();
        let loss = |probability: f64, holds: bool| {
            surprise(if holds {
                probability
            } else {
                1.0 - probability
            })
        };
        let square = |probability: f64, holds: bool| (probability - f64::from(holds)).powi(2);
        Self {
            label_count,
            truth: sample.truth().to_vec(),
            decisions: sample.decisions().to_vec(),
            losses: row_means(sample, loss),
            briers: row_means(sample, square),
            rankings: (0..label_count)
                .map(|l| Ranking::new(&sample.scores(l), &sample.truth_of(l)))
                .collect(),
        }
    }

    fn tallies(&self, weights: &[f64]) -> Vec<Tally> {
        let mut tallies = vec![Tally::default(); self.label_count];
        let rows = self
            .truth
            .chunks_exact(self.label_count)
            .zip(self.decisions.chunks_exact(self.label_count));
        for ((truth, decisions), &weight) in rows.zip(weights) {
            for (tally, (&holds, &chosen)) in tallies.iter_mut().zip(truth.iter().zip(decisions)) {
                tally.right += weight * f64::from(holds && chosen);
                tally.truths += weight * f64::from(holds);
                tally.choices += weight * f64::from(chosen);
            }
        }
        tallies
    }

    fn subset_accuracy(&self, weights: &[f64]) -> Result<f64, Undefined> {
        let rows = self
            .truth
            .chunks_exact(self.label_count)
            .zip(self.decisions.chunks_exact(self.label_count));
        let right = rows
            .zip(weights)
            .map(|((truth, decisions), weight)| weight * f64::from(truth == decisions));
        divide(right.sum(), weights.iter().sum(), Undefined::NoRows)
    }
}

impl Scorer for Prepared {
    fn score(&self, weights: &[f64]) -> Vec<Result<f64, Undefined>> {
        let count = self.label_count as f64;
        let tallies = self.tallies(weights);
        let total: f64 = weights.iter().sum();
        let f1s: f64 = tallies.iter().map(|tally| tally.f1().unwrap_or(0.0)).sum();
        let wrong: f64 = tallies.iter().map(Tally::wrong).sum();
        let aucs: Vec<_> = self
            .rankings
            .iter()
            .map(|ranking| roc_auc(ranking, weights))
            .collect();
        let areas = self.rankings.iter().enumerate().map(|(label, ranking)| {
            average_precision(ranking, weights)
                .map_err(|_| Undefined::ClassMissing { class: label })
        });
        let areas: Vec<_> = areas.collect();
        let mean = |scores: &[Result<f64, Undefined>]| {
            let sum: Result<f64, Undefined> = scores.iter().copied().sum();
            Ok(sum? / count)
        };
        let mut scores = vec![
            Tally::pool(&tallies).f1(),
            divide(f1s * total, count * total, Undefined::NoRows),
            self.subset_accuracy(weights),
            divide(wrong, count * total, Undefined::NoRows),
            mean(&aucs),
            mean(&areas),
            weighted_mean(&self.losses, weights),
            weighted_mean(&self.briers, weights),
        ];
        for (label, tally) in tallies.iter().enumerate() {
            let recall = divide(
                tally.right,
                tally.truths,
                Undefined::ClassMissing { class: label },
            );
            let precision = divide(tally.right, tally.choices, Undefined::NeverChosen);
            scores.extend([precision, recall, tally.f1(), aucs[label], areas[label]]);
        }
        scores
    }
}

impl Tally {
    fn f1(&self) -> Result<f64, Undefined> {
        divide(
            2.0 * self.right,
            self.truths + self.choices,
            Undefined::NeitherOccursNorChosen,
        )
    }

    fn wrong(&self) -> f64 {
        self.truths + self.choices - 2.0 * self.right
    }

    fn pool(tallies: &[Self]) -> Self {
        tallies.iter().fold(Self::default(), |sum, tally| Self {
            right: sum.right + tally.right,
            truths: sum.truths + tally.truths,
            choices: sum.choices + tally.choices,
        })
    }
}

fn row_means(sample: &MultiLabelled, of_cell: impl Fn(f64, bool) -> f64) -> Vec<f64> {
    let width = sample.label_count();
    let rows = sample
        .probabilities()
        .chunks_exact(width)
        .zip(sample.truth().chunks_exact(width));
    let mean = |(row, truth): (&[f64], &[bool])| {
        row.iter()
            .zip(truth)
            .map(|(&p, &holds)| of_cell(p, holds))
            .sum::<f64>()
            / width as f64
    };
    rows.map(mean).collect()
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{assert_close, multilabel};
    use super::*;

    // Every expected number below is scikit-learn 1.9.1's.

    fn check(sample: &MultiLabelled, headline: [f64; 8], labels: [[f64; 5]; 2]) {
        let report = evaluate(sample, &Resampling::none()).expect("valid");
        for (name, expected) in HEADLINE_NAMES.into_iter().zip(headline) {
            assert_close(report.metrics.value(name).expect(name), expected);
        }
        for (label, expected) in report.labels.iter().zip(labels) {
            for (name, expected) in LABEL_NAMES.into_iter().zip(expected) {
                assert_close(label.metrics.value(name).expect(name), expected);
            }
        }
        assert_eq!(
            report.labels[2].metrics.absent["precision"],
            Undefined::NeverChosen
        );
    }

    #[test]
    fn multilabel_scores_are_scikit_learns() {
        check(
            &multilabel().sample(),
            [
                0.7716535433070866,
                0.5601415094339622,
                0.5,
                0.19333333333333333,
                (0.9353070175438597 + 0.926731078904992 + 0.5) / 3.0,
                (0.9805958875315688 + 0.9483656092120246 + 0.2) / 3.0,
                0.5017298480159059,
                0.15531906460562822,
            ],
            [
                [
                    1.0,
                    0.6842105263157895,
                    0.8125,
                    0.9353070175438597,
                    0.9805958875315688,
                ],
                [
                    0.8846153846153846,
                    0.8518518518518519,
                    0.8679245283018868,
                    0.926731078904992,
                    0.9483656092120246,
                ],
            ],
        );
        check(
            &multilabel().weighted(),
            [
                0.7884187082405345,
                0.568246036008687,
                0.5028901734104047,
                0.18304431599229287,
                (0.9535714285714285 + 0.9356060606060607 + 0.5) / 3.0,
                (0.9866948305083476 + 0.9533659205674618 + 0.1907514450867052) / 3.0,
                0.4772150539273452,
                0.14842352094831596,
            ],
            [
                [
                    1.0,
                    0.7218045112781954,
                    0.8384279475982532,
                    0.9535714285714285,
                    0.9866948305083476,
                ],
                [
                    0.8901098901098901,
                    0.84375,
                    0.8663101604278075,
                    0.9356060606060607,
                    0.9533659205674618,
                ],
            ],
        );
    }

    #[test]
    fn every_headline_metric_lies_in_its_interval() {
        let report = evaluate(&multilabel().sample(), &Resampling::default()).expect("valid");
        for (name, metric) in &report.metrics.measured {
            assert!(
                metric.interval.expect("50 rows").contains(metric.value),
                "{name}"
            );
        }
    }
}
