//! Average precision: the area under precision against recall, in steps.
//!
//! AP = Σ over distinct scores (R − R before) · P, which is scikit-learn's
//! `average_precision_score`: no interpolation, which would be too kind. With more than two classes
//! the mean over classes of one against the rest. Absent without positives.
//!
//! ```
//! use ombud_learn::evaluate::{ranking::Ranking, pr_auc::average_precision};
//! let ranking = Ranking::new(&[0.9, 0.5, 0.1], &[true, false, true]);
//! assert_eq!(average_precision(&ranking, &[1.0; 3]), Ok((1.0 + 2.0 / 3.0) / 2.0));
//! ```

use super::metric::{Undefined, divide};
use super::ranking::{Ranking, Step};

pub fn average_precision(ranking: &Ranking, weights: &[f64]) -> Result<f64, Undefined> {
    let mut area = PrecisionArea::default();
    ranking.walk(weights, |step| area.add(step));
    area.share()
}

/// The area so far, so that one walk can feed several statistics.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct PrecisionArea {
    sum: f64,
    positives: f64,
}

impl PrecisionArea {
    pub(crate) fn add(&mut self, step: Step) {
        // Before the first weight there is nothing to divide; nothing is then also above the line.
        let chosen = (step.positives_so_far + step.negatives_so_far).max(f64::MIN_POSITIVE);
        self.sum += step.positives * step.positives_so_far / chosen;
        self.positives = step.positives_so_far;
    }

    pub(crate) fn share(self) -> Result<f64, Undefined> {
        divide(
            self.sum,
            self.positives,
            Undefined::ClassMissing { class: 1 },
        )
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{BinaryRows, assert_close, binary, multiclass, tied};
    use super::*;

    fn precision(rows: &BinaryRows, weights: &[f64]) -> f64 {
        average_precision(&Ranking::new(&rows.scores, &rows.positive()), weights)
            .expect("positives")
    }

    #[test]
    fn average_precision_is_scikit_learns() {
        // scikit-learn 1.9.1, average_precision_score.
        let (plain, tied) = (binary(), tied());
        assert_close(precision(&plain, &[1.0; 60]), 0.8405653683593476);
        assert_close(precision(&plain, &plain.weights), 0.8304996925735397);
        assert_close(precision(&tied, &[1.0; 60]), 0.7860589101301175);
        assert_close(precision(&tied, &tied.weights), 0.75805736977489);
        let rows = multiclass();
        let sample = rows.weighted();
        for (class, expected) in [0.733750072476603, 0.7885266612661967, 0.7579618616966974]
            .into_iter()
            .enumerate()
        {
            let ranking = Ranking::new(&sample.scores(class), &sample.is_of(class));
            assert_close(
                average_precision(&ranking, sample.weights()).expect("defined"),
                expected,
            );
        }
    }

    #[test]
    fn without_positives_there_is_no_average_precision() {
        let ranking = Ranking::new(&[0.1], &[false]);
        assert!(average_precision(&ranking, &[1.0]).is_err());
    }
}
