//! Truth beside prediction: the checked input of every statistic.
//!
//! Lengths, classes, probabilities and weights are checked once, here, so that statistics neither
//! check nor fail for such reasons. Rows are borrowed; a selection of rows owns its own copy.

use std::borrow::Cow;

/// The most classes evaluated; the confusion matrix is their square.
pub const CLASSES_MAX: usize = 500;

/// The most rows evaluated: row numbers are kept in 32 bits.
pub const ROWS_MAX: usize = u32::MAX as usize - 1;

/// Rows of exclusive classes.
#[derive(Debug, Clone)]
pub struct Classified<'a> {
    class_count: usize,
    labels: Cow<'a, [u32]>,
    probabilities: Cow<'a, [f64]>,
    decisions: Cow<'a, [u32]>,
    weights: Cow<'a, [f64]>,
}

/// Rows of labels that hold or not, each on its own.
#[derive(Debug, Clone)]
pub struct MultiLabelled<'a> {
    label_count: usize,
    truth: Cow<'a, [bool]>,
    probabilities: Cow<'a, [f64]>,
    decisions: Cow<'a, [bool]>,
    weights: Cow<'a, [f64]>,
}

/// Rows of numbers.
#[derive(Debug, Clone)]
pub struct Regressed<'a> {
    truth: Cow<'a, [f64]>,
    predicted: Cow<'a, [f64]>,
    bounds: Option<Bounds<'a>>,
    weights: Cow<'a, [f64]>,
}

#[derive(Debug, Clone)]
struct Bounds<'a> {
    lower: Cow<'a, [f64]>,
    upper: Cow<'a, [f64]>,
}

/// Why rows cannot be evaluated.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum SampleError {
    #[error("{what} has {found} values where {expected} are expected")]
    Length {
        what: &'static str,
        expected: usize,
        found: usize,
    },
    #[error("there are no rows to evaluate")]
    NoRows,
    #[error("{rows} rows are more than {most}")]
    TooManyRows { rows: usize, most: usize },
    #[error("{count} classes cannot be evaluated (2 to {most})")]
    ClassCount { count: usize, most: usize },
    #[error("row {row}: {what} names class {class}, there are {class_count}")]
    UnknownClass {
        row: usize,
        what: &'static str,
        class: u32,
        class_count: usize,
    },
    #[error("row {row}: the probability {probability} is not between 0 and 1")]
    Probability { row: usize, probability: f64 },
    #[error("row {row}: {what} is not a finite number")]
    NotFinite { row: usize, what: &'static str },
    #[error("row {row}: the weight {weight} is negative or not finite")]
    Weight { row: usize, weight: f64 },
    #[error("all weights are zero")]
    NoWeight,
}

impl<'a> Classified<'a> {
    /// `probabilities` are row-major; the decision is the most probable class, a tie going to the
    /// lower index.
    pub fn new(
        labels: &'a [u32],
        probabilities: &'a [f64],
        class_count: usize,
    ) -> Result<Self, SampleError> {
        if !(2..=CLASSES_MAX).contains(&class_count) {
            return Err(SampleError::ClassCount {
                count: class_count,
                most: CLASSES_MAX,
            });
        }
        check_rows(labels.len())?;
        check_classes("the truth", labels, class_count)?;
        check_probabilities(probabilities, labels.len(), class_count)?;
        let decisions = probabilities
            .chunks_exact(class_count)
            .map(|row| top_class(row) as u32)
            .collect();
        Ok(Self {
            class_count,
            labels: Cow::Borrowed(labels),
            probabilities: Cow::Borrowed(probabilities),
            decisions: Cow::Owned(decisions),
            weights: Cow::Owned(vec![1.0; labels.len()]),
        })
    }

    /// Replaces the most probable class by the decision of a rule with thresholds.
    pub fn with_decisions(mut self, decisions: &'a [u32]) -> Result<Self, SampleError> {
        check_length("the decisions", self.rows(), decisions.len())?;
        check_classes("the decision", decisions, self.class_count)?;
        self.decisions = Cow::Borrowed(decisions);
        Ok(self)
    }

    pub fn with_weights(mut self, weights: &'a [f64]) -> Result<Self, SampleError> {
        check_weights(weights, self.rows())?;
        self.weights = Cow::Borrowed(weights);
        Ok(self)
    }

    pub fn rows(&self) -> usize {
        self.labels.len()
    }

    pub fn class_count(&self) -> usize {
        self.class_count
    }

    pub fn labels(&self) -> &[u32] {
        &self.labels
    }

    pub fn decisions(&self) -> &[u32] {
        &self.decisions
    }

    pub fn weights(&self) -> &[f64] {
        &self.weights
    }

    /// All probabilities, row by row.
    pub fn probabilities(&self) -> &[f64] {
        &self.probabilities
    }

    pub fn probabilities_of(&self, row: usize) -> &[f64] {
        &self.probabilities[row * self.class_count..][..self.class_count]
    }

    /// One class's probability on every row.
    pub fn scores(&self, class: usize) -> Vec<f64> {
        self.probabilities
            .iter()
            .skip(class)
            .step_by(self.class_count)
            .copied()
            .collect()
    }

    /// Whether each row is of `class`.
    pub fn is_of(&self, class: usize) -> Vec<bool> {
        self.labels
            .iter()
            .map(|&label| label as usize == class)
            .collect()
    }

    /// Owns a copy of the given rows; their weights may all be zero.
    pub fn select(&self, rows: &[u32]) -> Classified<'static> {
        Classified {
            class_count: self.class_count,
            labels: pick(&self.labels, rows, 1),
            probabilities: pick(&self.probabilities, rows, self.class_count),
            decisions: pick(&self.decisions, rows, 1),
            weights: pick(&self.weights, rows, 1),
        }
    }
}

impl<'a> MultiLabelled<'a> {
    /// Both matrices are row-major; a label is decided to hold from 0.5 on.
    pub fn new(
        truth: &'a [bool],
        probabilities: &'a [f64],
        label_count: usize,
    ) -> Result<Self, SampleError> {
        if !(1..=CLASSES_MAX).contains(&label_count) {
            return Err(SampleError::ClassCount {
                count: label_count,
                most: CLASSES_MAX,
            });
        }
        let rows = truth.len() / label_count;
        check_rows(rows)?;
        check_length("the truth", rows * label_count, truth.len())?;
        check_probabilities(probabilities, rows, label_count)?;
        let holds = |p: &f64| *p >= ombud_engine::decision::LABEL_THRESHOLD;
        Ok(Self {
            label_count,
            truth: Cow::Borrowed(truth),
            probabilities: Cow::Borrowed(probabilities),
            decisions: probabilities.iter().map(holds).collect(),
            weights: Cow::Owned(vec![1.0; rows]),
        })
    }

    pub fn with_decisions(mut self, decisions: &'a [bool]) -> Result<Self, SampleError> {
        check_length("the decisions", self.truth.len(), decisions.len())?;
        self.decisions = Cow::Borrowed(decisions);
        Ok(self)
    }

    pub fn with_weights(mut self, weights: &'a [f64]) -> Result<Self, SampleError> {
        check_weights(weights, self.rows())?;
        self.weights = Cow::Borrowed(weights);
        Ok(self)
    }

    pub fn rows(&self) -> usize {
        self.truth.len() / self.label_count
    }

    pub fn label_count(&self) -> usize {
        self.label_count
    }

    pub fn weights(&self) -> &[f64] {
        &self.weights
    }

    pub fn probabilities(&self) -> &[f64] {
        &self.probabilities
    }

    /// Row-major truth.
    pub fn truth(&self) -> &[bool] {
        &self.truth
    }

    /// Row-major decisions.
    pub fn decisions(&self) -> &[bool] {
        &self.decisions
    }

    pub fn scores(&self, label: usize) -> Vec<f64> {
        self.probabilities
            .iter()
            .skip(label)
            .step_by(self.label_count)
            .copied()
            .collect()
    }

    pub fn truth_of(&self, label: usize) -> Vec<bool> {
        self.truth
            .iter()
            .skip(label)
            .step_by(self.label_count)
            .copied()
            .collect()
    }

    pub fn select(&self, rows: &[u32]) -> MultiLabelled<'static> {
        MultiLabelled {
            label_count: self.label_count,
            truth: pick(&self.truth, rows, self.label_count),
            probabilities: pick(&self.probabilities, rows, self.label_count),
            decisions: pick(&self.decisions, rows, self.label_count),
            weights: pick(&self.weights, rows, 1),
        }
    }
}

impl<'a> Regressed<'a> {
    pub fn new(truth: &'a [f64], predicted: &'a [f64]) -> Result<Self, SampleError> {
        check_rows(truth.len())?;
        check_finite("the truth", truth)?;
        check_length("the prediction", truth.len(), predicted.len())?;
        check_finite("the prediction", predicted)?;
        Ok(Self {
            truth: Cow::Borrowed(truth),
            predicted: Cow::Borrowed(predicted),
            bounds: None,
            weights: Cow::Owned(vec![1.0; truth.len()]),
        })
    }

    /// The interval around each prediction.
    pub fn with_bounds(mut self, lower: &'a [f64], upper: &'a [f64]) -> Result<Self, SampleError> {
        for (what, ends) in [("the lower bound", lower), ("the upper bound", upper)] {
            check_length(what, self.rows(), ends.len())?;
            check_finite(what, ends)?;
        }
        self.bounds = Some(Bounds {
            lower: Cow::Borrowed(lower),
            upper: Cow::Borrowed(upper),
        });
        Ok(self)
    }

    pub fn with_weights(mut self, weights: &'a [f64]) -> Result<Self, SampleError> {
        check_weights(weights, self.rows())?;
        self.weights = Cow::Borrowed(weights);
        Ok(self)
    }

    pub fn rows(&self) -> usize {
        self.truth.len()
    }

    pub fn truth(&self) -> &[f64] {
        &self.truth
    }

    pub fn predicted(&self) -> &[f64] {
        &self.predicted
    }

    /// Lower and upper ends, where the model gave intervals.
    pub fn bounds(&self) -> Option<(&[f64], &[f64])> {
        self.bounds
            .as_ref()
            .map(|Bounds { lower, upper }| (&lower[..], &upper[..]))
    }

    pub fn weights(&self) -> &[f64] {
        &self.weights
    }

    pub fn select(&self, rows: &[u32]) -> Regressed<'static> {
        let bounds = self.bounds.as_ref().map(|Bounds { lower, upper }| Bounds {
            lower: pick(lower, rows, 1),
            upper: pick(upper, rows, 1),
        });
        Regressed {
            truth: pick(&self.truth, rows, 1),
            predicted: pick(&self.predicted, rows, 1),
            bounds,
            weights: pick(&self.weights, rows, 1),
        }
    }
}

/// The most probable class; a tie goes to the lower index.
pub(crate) fn top_class(probabilities: &[f64]) -> usize {
    let mut top = 0;
    for (class, probability) in probabilities.iter().enumerate() {
        if *probability > probabilities[top] {
            top = class;
        }
    }
    top
}

pub(crate) fn check_length(
    what: &'static str,
    expected: usize,
    found: usize,
) -> Result<(), SampleError> {
    if expected == found {
        return Ok(());
    }
    Err(SampleError::Length {
        what,
        expected,
        found,
    })
}

fn pick<T: Copy>(values: &[T], rows: &[u32], width: usize) -> Cow<'static, [T]> {
    let row_values = rows
        .iter()
        .flat_map(|&row| &values[row as usize * width..][..width]);
    row_values.copied().collect()
}

fn check_rows(rows: usize) -> Result<(), SampleError> {
    match rows {
        0 => Err(SampleError::NoRows),
        1..=ROWS_MAX => Ok(()),
        _ => Err(SampleError::TooManyRows {
            rows,
            most: ROWS_MAX,
        }),
    }
}

fn check_classes(
    what: &'static str,
    classes: &[u32],
    class_count: usize,
) -> Result<(), SampleError> {
    match classes
        .iter()
        .position(|&class| class as usize >= class_count)
    {
        None => Ok(()),
        Some(row) => Err(SampleError::UnknownClass {
            row,
            what,
            class: classes[row],
            class_count,
        }),
    }
}

fn check_probabilities(
    probabilities: &[f64],
    rows: usize,
    width: usize,
) -> Result<(), SampleError> {
    check_length("the probability matrix", rows * width, probabilities.len())?;
    match probabilities.iter().position(|p| !(0.0..=1.0).contains(p)) {
        None => Ok(()),
        Some(at) => Err(SampleError::Probability {
            row: at / width,
            probability: probabilities[at],
        }),
    }
}

fn check_finite(what: &'static str, values: &[f64]) -> Result<(), SampleError> {
    match values.iter().position(|value| !value.is_finite()) {
        None => Ok(()),
        Some(row) => Err(SampleError::NotFinite { row, what }),
    }
}

fn check_weights(weights: &[f64], rows: usize) -> Result<(), SampleError> {
    check_length("the weights", rows, weights.len())?;
    if let Some(row) = weights
        .iter()
        .position(|weight| !(weight.is_finite() && *weight >= 0.0))
    {
        return Err(SampleError::Weight {
            row,
            weight: weights[row],
        });
    }
    if weights.iter().all(|&weight| weight == 0.0) {
        return Err(SampleError::NoWeight);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tie_is_decided_for_the_lower_index() {
        let sample = Classified::new(&[0, 1], &[0.5, 0.5, 0.4, 0.6], 2).expect("valid");
        assert_eq!(sample.decisions(), [0, 1]);
    }

    #[test]
    fn malformed_input_is_refused_with_its_row() {
        let refusal =
            |outcome: Result<Classified, SampleError>| outcome.expect_err("malformed").to_string();
        let good = [0.5, 0.5, 0.4, 0.6];
        assert_eq!(
            refusal(Classified::new(&[], &[], 2)),
            "there are no rows to evaluate"
        );
        assert_eq!(
            refusal(Classified::new(&[0], &[1.0], 1)),
            "1 classes cannot be evaluated (2 to 500)"
        );
        assert_eq!(
            refusal(Classified::new(&[0, 2], &good, 2)),
            "row 1: the truth names class 2, there are 2"
        );
        assert_eq!(
            refusal(Classified::new(&[0, 1], &good[..3], 2)),
            "the probability matrix has 3 values where 4 are expected"
        );
        let with_nan = [0.5, 0.5, f64::NAN, 0.6];
        assert_eq!(
            refusal(Classified::new(&[0, 1], &with_nan, 2)),
            "row 1: the probability NaN is not between 0 and 1"
        );
        let weighted = |weights| {
            refusal(Classified::new(&[0, 1], &good, 2).and_then(|s| s.with_weights(weights)))
        };
        assert_eq!(
            weighted(&[1.0, -1.0]),
            "row 1: the weight -1 is negative or not finite"
        );
        assert_eq!(weighted(&[0.0, 0.0]), "all weights are zero");
        assert!(Regressed::new(&[1.0], &[f64::INFINITY]).is_err());
        assert!(MultiLabelled::new(&[true; 3], &[0.5; 3], 2).is_err());
    }

    #[test]
    fn a_selection_keeps_rows_together() {
        let sample =
            Classified::new(&[0, 1, 1], &[0.9, 0.1, 0.4, 0.6, 0.3, 0.7], 2).expect("valid");
        let chosen = sample.select(&[2, 0]);
        assert_eq!(chosen.labels(), [1, 0]);
        assert_eq!(chosen.probabilities(), [0.3, 0.7, 0.9, 0.1]);
        assert_eq!(chosen.decisions(), [1, 0]);
    }
}
