//! The chance that a positive row scores higher than a negative one, ties counting half.
//!
//! AUC = Σ over pairs w⁺ w⁻ (1[s⁺ > s⁻] + ½ 1[s⁺ = s⁻]) / (W⁺ W⁻), in O(n log n) by one sort. With
//! more than two classes the mean over classes of one against the rest. Absent when only one class
//! has weight; the mean is absent when any class is missing, because a mean over other classes
//! would be another metric.
//!
//! ```
//! use ombud_learn::evaluate::{ranking::Ranking, roc_auc::roc_auc};
//! let ranking = Ranking::new(&[0.9, 0.4, 0.4, 0.1], &[true, true, false, false]);
//! assert_eq!(roc_auc(&ranking, &[1.0; 4]), Ok(0.875));
//! ```

use super::metric::Undefined;
use super::ranking::{Ranking, Step};

pub fn roc_auc(ranking: &Ranking, weights: &[f64]) -> Result<f64, Undefined> {
    let mut area = RocArea::default();
    ranking.walk(weights, |step| area.add(step));
    area.share()
}

/// The area so far, so that one walk can feed several statistics.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct RocArea {
    pairs_won: f64,
    positives: f64,
    negatives: f64,
}

impl RocArea {
    pub(crate) fn add(&mut self, step: Step) {
        let positives_above = self.positives;
        self.pairs_won += step.negatives * (positives_above + step.positives / 2.0);
        self.positives = step.positives_so_far;
        self.negatives = step.negatives_so_far;
    }

    pub(crate) fn share(self) -> Result<f64, Undefined> {
        if self.positives <= 0.0 && self.negatives <= 0.0 {
            return Err(Undefined::NoRows);
        }
        if self.positives <= 0.0 || self.negatives <= 0.0 {
            return Err(Undefined::OneClass);
        }
        Ok(self.pairs_won / (self.positives * self.negatives))
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{BinaryRows, assert_close, binary, multiclass, tied};
    use super::*;
    use proptest::prelude::*;

    fn auc(rows: &BinaryRows, weights: &[f64]) -> f64 {
        roc_auc(&Ranking::new(&rows.scores, &rows.positive()), weights).expect("two classes")
    }

    #[test]
    fn roc_auc_is_scikit_learns() {
        // scikit-learn 1.9.1, roc_auc_score.
        let (plain, tied) = (binary(), tied());
        assert_close(auc(&plain, &[1.0; 60]), 0.7039473684210525);
        assert_close(auc(&plain, &plain.weights), 0.7065548780487805);
        assert_close(auc(&tied, &[1.0; 60]), 0.6889952153110047);
        assert_close(auc(&tied, &tied.weights), 0.6863567073170732);
        let rows = multiclass();
        let sample = rows.weighted();
        for (class, expected) in [0.8486829815056978, 0.92033390799383, 0.8526556776556776]
            .into_iter()
            .enumerate()
        {
            let ranking = Ranking::new(&sample.scores(class), &sample.is_of(class));
            assert_close(
                roc_auc(&ranking, sample.weights()).expect("defined"),
                expected,
            );
        }
    }

    #[test]
    fn one_class_has_no_auc() {
        let ranking = Ranking::new(&[0.1, 0.2], &[true, false]);
        assert_eq!(roc_auc(&ranking, &[1.0, 0.0]), Err(Undefined::OneClass));
        assert_eq!(roc_auc(&ranking, &[0.0, 0.0]), Err(Undefined::NoRows));
    }

    proptest! {
        #[test]
        fn roc_auc_is_the_share_of_pairs_won(
            rows in prop::collection::vec((0u8..6, any::<bool>(), 0u8..4), 2..40)
        ) {
            let scores: Vec<f64> = rows.iter().map(|row| f64::from(row.0)).collect();
            let truth: Vec<bool> = rows.iter().map(|row| row.1).collect();
            let weights: Vec<f64> = rows.iter().map(|row| f64::from(row.2)).collect();
            let (mut won, mut pairs) = (0.0, 0.0);
            for i in (0..rows.len()).filter(|&i| truth[i]) {
                for j in (0..rows.len()).filter(|&j| !truth[j]) {
                    let weight = weights[i] * weights[j];
                    pairs += weight;
                    let ties = f64::from(scores[i] == scores[j]);
                    let wins = f64::from(scores[i] > scores[j]) + ties / 2.0;
                    won += weight * wins;
                }
            }
            match roc_auc(&Ranking::new(&scores, &truth), &weights) {
                Ok(area) => prop_assert!((area - won / pairs).abs() < 1e-12),
                Err(_) => prop_assert_eq!(pairs, 0.0),
            }
        }
    }
}
