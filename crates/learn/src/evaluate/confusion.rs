//! Counts of true against decided class, and the scores that follow from them.
//!
//! | score | formula | empty |
//! | --- | --- | --- |
//! | accuracy | Σ right / Σ all | no rows: absent |
//! | recall of a class | right / true | class does not occur: absent |
//! | precision of a class | right / chosen | class never chosen: absent |
//! | F1 of a class | 2 · right / (true + chosen) | neither: absent |
//! | balanced accuracy | mean recall of the classes that occur | no rows: absent |
//! | macro average | mean over the classes that occur or were chosen, an absent score counting 0 | no rows: absent |
//! | weighted average | the same, weighted by true rows | no rows: absent |
//!
//! These are scikit-learn's with their default labels and `zero_division=0`.
//!
//! ```
//! use ombud_learn::evaluate::{Classified, confusion::Confusion};
//! let sample = Classified::new(&[0, 1, 1], &[0.9, 0.1, 0.2, 0.8, 0.6, 0.4], 2)?;
//! let confusion = Confusion::of(&sample);
//! assert_eq!(confusion.recall(1), Ok(0.5));
//! # Ok::<(), ombud_learn::evaluate::SampleError>(())
//! ```

use super::metric::{Undefined, divide};
use super::sample::Classified;

/// Weighted counts, one row of cells per true class, one column per decided class.
#[derive(Debug, Clone, PartialEq)]
pub struct Confusion {
    class_count: usize,
    cells: Vec<f64>,
    truths: Vec<f64>,
    choices: Vec<f64>,
}

/// One of the three scores of a class.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClassScore {
    Precision,
    Recall,
    F1,
}

impl Confusion {
    pub fn of(sample: &Classified) -> Self {
        Self::from_cells(
            &cell_of_each_row(sample),
            sample.weights(),
            sample.class_count(),
        )
    }

    /// From each row's cell number (truth · classes + decision), so that resampling need not look
    /// at classes again.
    pub(crate) fn from_cells(cell_of_row: &[u32], weights: &[f64], class_count: usize) -> Self {
        let mut cells = vec![0.0; class_count * class_count];
        for (&cell, weight) in cell_of_row.iter().zip(weights) {
            cells[cell as usize] += weight;
        }
        Self::from_counts(cells, class_count)
    }

    pub(crate) fn from_counts(cells: Vec<f64>, class_count: usize) -> Self {
        let mut truths = vec![0.0; class_count];
        let mut choices = vec![0.0; class_count];
        for (truth, row) in cells.chunks_exact(class_count).enumerate() {
            truths[truth] = row.iter().sum();
            choices
                .iter_mut()
                .zip(row)
                .for_each(|(choice, count)| *choice += count);
        }
        Self {
            class_count,
            cells,
            truths,
            choices,
        }
    }

    pub fn class_count(&self) -> usize {
        self.class_count
    }

    /// The weight of rows of class `truth` that were decided as `decision`.
    pub fn count(&self, truth: usize, decision: usize) -> f64 {
        self.cells[truth * self.class_count + decision]
    }

    /// The weight of rows that are of `class`.
    pub fn truth(&self, class: usize) -> f64 {
        self.truths[class]
    }

    /// The weight of rows that were decided as `class`.
    pub fn chosen(&self, class: usize) -> f64 {
        self.choices[class]
    }

    pub fn total(&self) -> f64 {
        self.truths.iter().sum()
    }

    /// One list of counts per true class.
    pub fn rows(&self) -> Vec<Vec<f64>> {
        self.cells
            .chunks_exact(self.class_count)
            .map(<[f64]>::to_vec)
            .collect()
    }

    pub fn accuracy(&self) -> Result<f64, Undefined> {
        let right: f64 = (0..self.class_count)
            .map(|class| self.count(class, class))
            .sum();
        divide(right, self.total(), Undefined::NoRows)
    }

    pub fn balanced_accuracy(&self) -> Result<f64, Undefined> {
        let recalls: Vec<f64> = (0..self.class_count)
            .filter_map(|class| self.recall(class).ok())
            .collect();
        divide(
            recalls.iter().sum(),
            recalls.len() as f64,
            Undefined::NoRows,
        )
    }

    pub fn precision(&self, class: usize) -> Result<f64, Undefined> {
        divide(
            self.count(class, class),
            self.choices[class],
            Undefined::NeverChosen,
        )
    }

    pub fn recall(&self, class: usize) -> Result<f64, Undefined> {
        divide(
            self.count(class, class),
            self.truths[class],
            Undefined::ClassMissing { class },
        )
    }

    pub fn f1(&self, class: usize) -> Result<f64, Undefined> {
        let either = self.truths[class] + self.choices[class];
        divide(
            2.0 * self.count(class, class),
            either,
            Undefined::NeitherOccursNorChosen,
        )
    }

    pub fn class_score(&self, score: ClassScore, class: usize) -> Result<f64, Undefined> {
        match score {
            ClassScore::Precision => self.precision(class),
            ClassScore::Recall => self.recall(class),
            ClassScore::F1 => self.f1(class),
        }
    }

    pub fn macro_average(&self, score: ClassScore) -> Result<f64, Undefined> {
        let is_seen = |&class: &usize| self.truths[class] + self.choices[class] > 0.0;
        let scores = (0..self.class_count)
            .filter(is_seen)
            .map(|class| self.class_score(score, class).unwrap_or(0.0));
        let (sum, count) =
            scores.fold((0.0, 0.0), |(sum, count), score| (sum + score, count + 1.0));
        divide(sum, count, Undefined::NoRows)
    }

    pub fn weighted_average(&self, score: ClassScore) -> Result<f64, Undefined> {
        let part =
            |class: usize| self.truths[class] * self.class_score(score, class).unwrap_or(0.0);
        divide(
            (0..self.class_count).map(part).sum(),
            self.total(),
            Undefined::NoRows,
        )
    }
}

pub(crate) fn cell_of_each_row(sample: &Classified) -> Vec<u32> {
    let class_count = sample.class_count() as u32;
    let pairs = sample.labels().iter().zip(sample.decisions());
    pairs
        .map(|(label, decision)| label * class_count + decision)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{assert_close, binary, multiclass};
    use super::*;

    // Every expected number below is scikit-learn 1.9.1's.

    fn check(
        sample: &Classified,
        expected: [f64; 8],
        precisions: &[f64],
        recalls: &[f64],
        f1s: &[f64],
    ) {
        use ClassScore::{F1, Precision, Recall};
        let confusion = Confusion::of(sample);
        let found = [
            confusion.accuracy(),
            confusion.balanced_accuracy(),
            confusion.macro_average(Precision),
            confusion.macro_average(Recall),
            confusion.macro_average(F1),
            confusion.weighted_average(Precision),
            confusion.weighted_average(Recall),
            confusion.weighted_average(F1),
        ];
        for (found, expected) in found.into_iter().zip(expected) {
            assert_close(found.expect("defined"), expected);
        }
        for class in 0..sample.class_count() {
            assert_close(
                confusion.precision(class).expect("defined"),
                precisions[class],
            );
            assert_close(confusion.recall(class).expect("defined"), recalls[class]);
            assert_close(confusion.f1(class).expect("defined"), f1s[class]);
        }
    }

    #[test]
    fn binary_scores_are_scikit_learns() {
        check(
            &binary().sample(),
            [
                0.7333333333333333,
                0.7511961722488039,
                0.7333333333333334,
                0.7511961722488039,
                0.7285067873303167,
                0.768888888888889,
                0.7333333333333333,
                0.7381598793363499,
            ],
            &[0.6, 0.8666666666666667],
            &[0.8181818181818182, 0.6842105263157895],
            &[0.6923076923076923, 0.7647058823529411],
        );
        check(
            &binary().weighted(),
            [
                0.7428571428571429,
                0.7540015243902439,
                0.7418359941944848,
                0.7540015243902439,
                0.7394540942928041,
                0.765322413435621,
                0.7428571428571429,
                0.7459766040411202,
            ],
            &[0.6346153846153846, 0.8490566037735849],
            &[0.8048780487804879, 0.703125],
            &[0.7096774193548387, 0.7692307692307693],
        );
    }

    #[test]
    fn multiclass_scores_are_scikit_learns() {
        let rows = multiclass();
        assert_eq!(
            Confusion::of(&rows.sample()).rows(),
            [[20.0, 6.0, 4.0], [6.0, 20.0, 4.0], [5.0, 5.0, 20.0]]
        );
        check(
            &rows.weighted(),
            [
                0.6613418530351438,
                0.6617166122486748,
                0.6631902246581146,
                0.6617166122486748,
                0.6621489660229428,
                0.6630792408146806,
                0.6613418530351438,
                0.6619069914982064,
            ],
            &[0.6476190476190476, 0.6146788990825688, 0.7272727272727273],
            &[0.6732673267326733, 0.6261682242990654, 0.6857142857142857],
            &[0.6601941747572816, 0.6203703703703703, 0.7058823529411765],
        );
    }

    #[test]
    fn an_empty_cell_has_a_reason_and_counts_zero_in_the_average() {
        let confusion =
            Confusion::from_counts(vec![2.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0], 3);
        assert_eq!(confusion.precision(1), Err(Undefined::NeverChosen));
        assert_eq!(
            confusion.recall(2),
            Err(Undefined::ClassMissing { class: 2 })
        );
        assert_eq!(confusion.f1(1), Ok(0.0));
        assert_eq!(confusion.f1(2), Err(Undefined::NeitherOccursNorChosen));
        assert_close(
            confusion
                .macro_average(ClassScore::Precision)
                .expect("defined"),
            1.0 / 3.0,
        );
        assert_eq!(
            Confusion::from_counts(vec![0.0; 4], 2).accuracy(),
            Err(Undefined::NoRows)
        );
    }
}
