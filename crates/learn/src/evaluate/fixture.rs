//! Small samples whose reference values were computed once with scikit-learn, from the same
//! formulas in numpy.

use super::sample::{Classified, MultiLabelled, Regressed};

pub struct BinaryRows {
    pub labels: Vec<u32>,
    pub scores: Vec<f64>,
    pub probabilities: Vec<f64>,
    pub weights: Vec<f64>,
}

pub struct MultiRows {
    pub labels: Vec<u32>,
    pub probabilities: Vec<f64>,
    pub weights: Vec<f64>,
}

pub struct LabelRows {
    pub truth: Vec<bool>,
    pub probabilities: Vec<f64>,
    pub weights: Vec<f64>,
}

pub struct NumberRows {
    pub truth: Vec<f64>,
    pub predicted: Vec<f64>,
    pub lower: Vec<f64>,
    pub upper: Vec<f64>,
    pub weights: Vec<f64>,
}

/// 60 rows, two classes.
pub fn binary() -> BinaryRows {
    let score = |i: usize| (((i * 37) % 41) as f64 + 0.5) / 41.0;
    let scores: Vec<f64> = (0..60).map(score).collect();
    let labels = (0..60).map(|i| u32::from((((i * i * 3 + i * 7) % 10) as f64) < 10.0 * scores[i]));
    let labels = labels.collect();
    with_scores(labels, scores)
}

/// The binary rows with scores rounded to tenths, a certain 0 and a certain 1.
pub fn tied() -> BinaryRows {
    let BinaryRows { labels, scores, .. } = binary();
    let mut scores: Vec<f64> = scores
        .iter()
        .map(|score| (score * 10.0).round() / 10.0)
        .collect();
    scores[3] = 0.0;
    scores[7] = 1.0;
    with_scores(labels, scores)
}

/// 90 rows, three classes.
pub fn multiclass() -> MultiRows {
    let labels: Vec<u32> = (0..90u32).map(|i| (i * i + i / 3) % 3).collect();
    let mut probabilities = Vec::new();
    for (i, &label) in labels.iter().enumerate() {
        let mut raw: Vec<f64> = (0..3)
            .map(|k| ((i * (13 + 7 * k) + 5 * k * k) % 23) as f64 + 1.0)
            .collect();
        raw[label as usize] += 9.0;
        let sum: f64 = raw.iter().sum();
        probabilities.extend(raw.iter().map(|value| value / sum));
    }
    MultiRows {
        labels,
        probabilities,
        weights: weights(90),
    }
}

/// 50 rows, three labels, the last of them with one probability for all.
pub fn multilabel() -> LabelRows {
    let mut rows = LabelRows {
        truth: Vec::new(),
        probabilities: Vec::new(),
        weights: weights(50),
    };
    for i in 0..50 {
        for l in 0..3 {
            let probability = (((i * (17 + 6 * l) + l) % 29) as f64 + 0.5) / 29.0;
            rows.probabilities.push(probability);
            rows.truth
                .push((((i * i * (l + 3) + i) % 10) as f64) < 10.0 * probability);
        }
    }
    rows
}

/// 70 rows of numbers with intervals.
pub fn numbers() -> NumberRows {
    let truth: Vec<f64> = (0..70)
        .map(|i| ((i * 29) % 53) as f64 / 5.0 - 2.0)
        .collect();
    let error = |i: usize| (((i * 17) % 23) as f64 - 11.0) / 7.0;
    let predicted: Vec<f64> = truth
        .iter()
        .enumerate()
        .map(|(i, y)| y + error(i))
        .collect();
    let lower = predicted.iter().map(|guess| guess - 1.0).collect();
    let upper = predicted.iter().map(|guess| guess + 0.8).collect();
    NumberRows {
        truth,
        predicted,
        lower,
        upper,
        weights: weights(70),
    }
}

impl BinaryRows {
    pub fn sample(&self) -> Classified<'_> {
        Classified::new(&self.labels, &self.probabilities, 2).expect("valid rows")
    }

    pub fn weighted(&self) -> Classified<'_> {
        self.sample()
            .with_weights(&self.weights)
            .expect("valid weights")
    }

    pub fn positive(&self) -> Vec<bool> {
        self.labels.iter().map(|&label| label == 1).collect()
    }
}

impl MultiRows {
    pub fn sample(&self) -> Classified<'_> {
        Classified::new(&self.labels, &self.probabilities, 3).expect("valid rows")
    }

    pub fn weighted(&self) -> Classified<'_> {
        self.sample()
            .with_weights(&self.weights)
            .expect("valid weights")
    }
}

impl LabelRows {
    pub fn sample(&self) -> MultiLabelled<'_> {
        MultiLabelled::new(&self.truth, &self.probabilities, 3).expect("valid rows")
    }

    pub fn weighted(&self) -> MultiLabelled<'_> {
        self.sample()
            .with_weights(&self.weights)
            .expect("valid weights")
    }
}

impl NumberRows {
    pub fn sample(&self) -> Regressed<'_> {
        let sample = Regressed::new(&self.truth, &self.predicted).expect("valid rows");
        sample
            .with_bounds(&self.lower, &self.upper)
            .expect("valid bounds")
    }

    pub fn weighted(&self) -> Regressed<'_> {
        self.sample()
            .with_weights(&self.weights)
            .expect("valid weights")
    }
}

/// Fails unless `found` is `expected` to twelve digits.
#[track_caller]
pub fn assert_close(found: f64, expected: f64) {
    let error = (found - expected).abs();
    assert!(
        error < 1e-12 * expected.abs().max(1.0),
        "{found} is not {expected}"
    );
}

fn with_scores(labels: Vec<u32>, scores: Vec<f64>) -> BinaryRows {
    let probabilities = scores
        .iter()
        .flat_map(|&score| [1.0 - score, score])
        .collect();
    BinaryRows {
        labels,
        scores,
        probabilities,
        weights: weights(60),
    }
}

fn weights(rows: usize) -> Vec<f64> {
    (0..rows).map(|i| 1.0 + 0.5 * (i % 4) as f64).collect()
}
