//! Everything measured about exclusive classes, at once.
//!
//! | name | statistic |
//! | --- | --- |
//! | `accuracy`, `balanced_accuracy`, `macro_*`, `weighted_*` | [`super::confusion`] |
//! | `log_loss`, `brier` | [`super::log_loss`], [`super::brier`] |
//! | `roc_auc`, `pr_auc` | [`super::roc_auc`], [`super::pr_auc`]; of class 1 of two, else one-vs-rest mean |
//! | `ece` | [`super::reliability`] |
//! | `quadratic_kappa`, `level_error` | [`super::ordered`], when classes have an order |
//!
//! Each class has `precision`, `recall`, `f1`, and, but for class 0 of two, `roc_auc` and `pr_auc`
//! against the rest. What decides by threshold (accuracy and its kin) uses the sample's decisions;
//! what judges probabilities uses probabilities. Prepared once, scored for any weights, so that
//! intervals cost no more sorting.
//!
//! ```
//! use ombud_learn::evaluate::{Classified, Resampling, classification::{Order, evaluate}};
//! let sample = Classified::new(&[0, 1, 1], &[0.9, 0.1, 0.2, 0.8, 0.6, 0.4], 2)?;
//! let report = evaluate(&sample, Order::None, &Resampling::none())?;
//! assert_eq!(report.metrics.value("roc_auc"), Some(1.0));
//! # Ok::<(), ombud_learn::evaluate::SampleError>(())
//! ```

use serde::Serialize;

use super::bootstrap::{Resampling, Scorer, measure};
use super::confusion::{ClassScore, Confusion, cell_of_each_row};
use super::metric::{Metric, Metrics, Undefined, weighted_mean};
use super::ordered::{level_error, quadratic_kappa};
use super::pr_auc::PrecisionArea;
use super::ranking::Ranking;
use super::reliability::{
    Confidence, ReliabilityBin, expected_calibration_error, reliability_curve,
};
use super::roc_auc::RocArea;
use super::sample::{Classified, SampleError};
use super::{brier, log_loss};

/// Whether class numbers are levels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    None,
    /// Class 0 is the lowest level.
    Rising,
}

/// What was measured.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    pub rows: usize,
    pub metrics: Metrics,
    pub classes: Vec<ClassReport>,
    /// Weight of rows by true class, then by decided class.
    pub confusion: Vec<Vec<f64>>,
    pub reliability: Vec<ReliabilityBin>,
}

/// What was measured about one class against the rest.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ClassReport {
    pub class: usize,
    pub rows: usize,
    pub metrics: Metrics,
}

pub fn evaluate(
    sample: &Classified,
    order: Order,
    resampling: &Resampling,
) -> Result<Report, SampleError> {
    resampling.check(sample.rows())?;
    let (metrics, classes) = measure_all(sample, order, resampling);
    Ok(Report {
        rows: sample.rows(),
        metrics,
        classes,
        confusion: Confusion::of(sample).rows(),
        reliability: reliability_curve(&Confidence::of(sample), sample.weights()),
    })
}

/// The headline metrics alone.
pub(crate) fn measure_all(
    sample: &Classified,
    order: Order,
    resampling: &Resampling,
) -> (Metrics, Vec<ClassReport>) {
    let prepare = |rows: Option<&[u32]>| match rows {
        None => Prepared::new(sample, order),
        Some(rows) => Prepared::new(&sample.select(rows), order),
    };
    let outcomes = measure(
        sample.weights(),
        visits_per_row(sample),
        resampling,
        prepare,
    );
    let names = headline_names(order);
    let (headline, by_class) = outcomes.split_at(names.len());
    (
        names.into_iter().zip(headline.iter().copied()).collect(),
        class_reports(sample, by_class),
    )
}

/// What one row costs in one replicate: drawing it, counting it, and one step in each ranking.
/// The confusion matrix is cleared and read once a replicate, which its rows share.
pub(crate) fn visits_per_row(sample: &Classified) -> usize {
    let class_count = sample.class_count();
    let cells_per_row = class_count * class_count / sample.rows();
    4 + cells_per_row + if class_count == 2 { 1 } else { class_count }
}

pub(crate) fn headline_names(order: Order) -> Vec<&'static str> {
    let mut names = vec![
        "accuracy",
        "balanced_accuracy",
        "macro_precision",
        "macro_recall",
        "macro_f1",
        "weighted_precision",
        "weighted_recall",
        "weighted_f1",
        "log_loss",
        "brier",
        "roc_auc",
        "pr_auc",
        "ece",
    ];
    if order == Order::Rising {
        names.extend(["quadratic_kappa", "level_error"]);
    }
    names
}

/// Position of `ece` among the headline names.
const ECE: usize = 12;

const CLASS_NAMES: [&str; 5] = ["precision", "recall", "f1", "roc_auc", "pr_auc"];

/// What of a sample does not change with weights.
pub(crate) struct Prepared {
    class_count: usize,
    order: Order,
    cells: Vec<u32>,
    losses: Vec<f64>,
    briers: Vec<f64>,
    confidence: Confidence,
    /// Of class 1 for two classes, else of every class.
    rankings: Vec<Ranking>,
}

struct Areas {
    roc: Result<f64, Undefined>,
    precision: Result<f64, Undefined>,
}

impl Prepared {
    pub(crate) fn new(sample: &Classified, order: Order) -> Self {
        let class_count = sample.class_count();
        let first_ranked = if class_count == 2 { 1 } else { 0 };
        let ranking = |class: usize| Ranking::new(&sample.scores(class), &sample.is_of(class));
        Self {
            class_count,
            order,
            cells: cell_of_each_row(sample),
            losses: log_loss::row_losses(sample),
            briers: brier::row_scores(sample),
            confidence: Confidence::of(sample),
            rankings: (first_ranked..class_count).map(ranking).collect(),
        }
    }

    fn areas(&self, weights: &[f64]) -> Vec<Areas> {
        let of_ranking = |(place, ranking): (usize, &Ranking)| {
            let (mut roc, mut precision) = (RocArea::default(), PrecisionArea::default());
            ranking.walk(weights, |step| {
                roc.add(step);
                precision.add(step);
            });
            let class = if self.class_count == 2 { 1 } else { place };
            let missing = |_| Undefined::ClassMissing { class };
            Areas {
                roc: roc.share(),
                precision: precision.share().map_err(missing),
            }
        };
        self.rankings.iter().enumerate().map(of_ranking).collect()
    }
}

impl Scorer for Prepared {
    fn score(&self, weights: &[f64]) -> Vec<Result<f64, Undefined>> {
        use ClassScore::{F1, Precision, Recall};
        let confusion = Confusion::from_cells(&self.cells, weights, self.class_count);
        let areas = self.areas(weights);
        let mut scores = vec![confusion.accuracy(), confusion.balanced_accuracy()];
        scores.extend([Precision, Recall, F1].map(|score| confusion.macro_average(score)));
        scores.extend([Precision, Recall, F1].map(|score| confusion.weighted_average(score)));
        scores.push(weighted_mean(&self.losses, weights));
        scores.push(weighted_mean(&self.briers, weights));
        scores.push(mean_roc(&areas, &confusion));
        scores.push(mean_of(areas.iter().map(|area| area.precision)));
        scores.push(expected_calibration_error(&self.confidence, weights));
        if self.order == Order::Rising {
            scores.extend([quadratic_kappa(&confusion), level_error(&confusion)]);
        }
        let unranked = self.class_count - areas.len();
        for class in 0..self.class_count {
            scores.extend([Precision, Recall, F1].map(|score| confusion.class_score(score, class)));
            if let Some(area) = class.checked_sub(unranked).map(|place| &areas[place]) {
                scores.extend([area.roc, area.precision]);
            }
        }
        scores
    }

    fn is_biased(&self, index: usize) -> bool {
        index == ECE
    }
}

/// The mean area, or the first class that is missing.
fn mean_roc(areas: &[Areas], confusion: &Confusion) -> Result<f64, Undefined> {
    let missing = (0..confusion.class_count()).find(|&class| confusion.truth(class) <= 0.0);
    match missing {
        Some(_) if confusion.total() <= 0.0 => Err(Undefined::NoRows),
        Some(class) => Err(Undefined::ClassMissing { class }),
        None => mean_of(areas.iter().map(|area| area.roc)),
    }
}

fn mean_of(
    scores: impl ExactSizeIterator<Item = Result<f64, Undefined>>,
) -> Result<f64, Undefined> {
    let count = scores.len() as f64;
    Ok(scores.sum::<Result<f64, Undefined>>()? / count)
}

fn class_reports(sample: &Classified, outcomes: &[Result<Metric, Undefined>]) -> Vec<ClassReport> {
    let mut rows = vec![0; sample.class_count()];
    sample
        .labels()
        .iter()
        .for_each(|&label| rows[label as usize] += 1);
    let mut rest = outcomes;
    let mut report = |class: usize| {
        let is_unranked = class == 0 && sample.class_count() == 2;
        let (own, others) = rest.split_at(if is_unranked { 3 } else { CLASS_NAMES.len() });
        rest = others;
        let metrics = CLASS_NAMES.into_iter().zip(own.iter().copied()).collect();
        ClassReport {
            class,
            rows: rows[class],
            metrics,
        }
    };
    (0..sample.class_count()).map(&mut report).collect()
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{assert_close, binary, multiclass};
    use super::*;

    #[test]
    fn the_headline_is_the_statistics_of_their_files() {
        // scikit-learn 1.9.1.
        let rows = multiclass();
        let report = evaluate(&rows.sample(), Order::Rising, &Resampling::none()).expect("valid");
        for (name, expected) in [
            ("accuracy", 0.6666666666666666),
            ("macro_f1", 0.6670435274166197),
            ("log_loss", 0.7673260509644688),
            ("brier", 0.45926367510097016),
            ("roc_auc", 0.8772222222222221),
            ("pr_auc", 0.7718579225975565),
            ("ece", 0.1574589459808713),
            ("quadratic_kappa", 0.5210084033613446),
            ("level_error", 0.43333333333333335),
        ] {
            assert_close(report.metrics.value(name).expect(name), expected);
        }
        assert_close(
            report.classes[1].metrics.value("roc_auc").expect("auc"),
            0.9344444444444444,
        );
        assert_close(
            report.classes[2].metrics.value("pr_auc").expect("ap"),
            0.7554628410870753,
        );
        assert_close(
            report.classes[2]
                .metrics
                .value("precision")
                .expect("precision"),
            0.7142857142857143,
        );
        assert_eq!(report.classes[0].rows, 30);
    }

    #[test]
    fn two_classes_are_ranked_by_the_second() {
        let rows = binary();
        let report = evaluate(&rows.sample(), Order::None, &Resampling::none()).expect("valid");
        assert_close(
            report.metrics.value("roc_auc").expect("auc"),
            0.7039473684210525,
        );
        assert_eq!(report.classes[0].metrics.value("roc_auc"), None);
        assert_close(
            report.classes[1].metrics.value("pr_auc").expect("ap"),
            0.8405653683593476,
        );
        assert_close(
            report.classes[0].metrics.value("recall").expect("recall"),
            0.8181818181818182,
        );
    }

    #[test]
    fn every_metric_of_enough_rows_lies_in_its_interval() {
        let rows = multiclass();
        let report =
            evaluate(&rows.weighted(), Order::Rising, &Resampling::default()).expect("valid");
        let of_classes = report
            .classes
            .iter()
            .flat_map(|class| &class.metrics.measured);
        for (name, metric) in report.metrics.measured.iter().chain(of_classes) {
            let interval = metric.interval.expect("90 rows");
            assert!(interval.contains(metric.value), "{name} {metric:?}");
            assert!(interval.width() > 0.01, "{name} {metric:?}");
        }
        assert!(report.metrics.absent.is_empty());
    }

    #[test]
    fn a_metric_without_a_second_class_is_absent_with_its_reason() {
        let sample = Classified::new(&[1, 1], &[0.2, 0.8, 0.3, 0.7], 2).expect("valid");
        let report = evaluate(&sample, Order::None, &Resampling::default()).expect("valid");
        assert_eq!(
            report.metrics.absent["roc_auc"],
            Undefined::ClassMissing { class: 0 }
        );
        assert_eq!(
            report.classes[1].metrics.absent["roc_auc"],
            Undefined::OneClass
        );
        assert_eq!(report.metrics.value("accuracy"), Some(1.0));
        let text = serde_json::to_string(&report).expect("serializes");
        assert!(
            !text.contains("null") && text.contains(r#""roc_auc":"class 0 does not occur""#),
            "{text}"
        );
    }

    #[test]
    fn subjects_must_be_as_many_as_rows() {
        let rows = binary();
        let resampling = Resampling {
            subjects: Some(&[1, 2]),
            ..Resampling::default()
        };
        assert!(evaluate(&rows.sample(), Order::None, &resampling).is_err());
    }
}
