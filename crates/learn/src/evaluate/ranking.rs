//! Rows from the highest score to the lowest, sorted once, walked for any weights.
//!
//! Both areas under curves need only this order, and resampling changes weights, never the order:
//! so a thousand replicates cost a thousand walks and one sort. Rows of equal score form one
//! [`Step`], which is what makes ties come out right. The areas themselves are [`super::roc_auc`]
//! and [`super::pr_auc`].

use rayon::slice::ParallelSliceMut;

/// Rows in order of falling score.
#[derive(Debug, Clone)]
pub struct Ranking {
    rows: Vec<u32>,
    marks: Vec<Mark>,
}

/// What passes when a threshold falls by one distinct score.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Step {
    /// Weight of positives and negatives at this score.
    pub positives: f64,
    pub negatives: f64,
    /// Weight at this score or above.
    pub positives_so_far: f64,
    pub negatives_so_far: f64,
}

#[derive(Debug, Clone, Copy)]
struct Mark {
    is_positive: bool,
    ends_tie: bool,
}

impl Ranking {
    /// # Panics
    /// When the slices differ in length.
    pub fn new(scores: &[f64], is_positive: &[bool]) -> Self {
        assert_eq!(
            scores.len(),
            is_positive.len(),
            "one score and one truth per row"
        );
        let mut order: Vec<(u64, u32)> = (0..)
            .zip(scores)
            .map(|(row, &score)| (falling_key(score), row))
            .collect();
        order.par_sort_unstable();
        let mark = |place: usize| {
            let (key, row) = order[place];
            let ends_tie = order.get(place + 1).is_none_or(|&(next, _)| next != key);
            Mark {
                is_positive: is_positive[row as usize],
                ends_tie,
            }
        };
        let marks = (0..order.len()).map(mark).collect();
        Self {
            rows: order.into_iter().map(|(_, row)| row).collect(),
            marks,
        }
    }

    /// Walks the distinct scores from the highest, those without weight too.
    pub fn walk(&self, weights: &[f64], mut visit: impl FnMut(Step)) {
        let mut step = Step {
            positives: 0.0,
            negatives: 0.0,
            positives_so_far: 0.0,
            negatives_so_far: 0.0,
        };
        for (&row, mark) in self.rows.iter().zip(&self.marks) {
            let weight = weights[row as usize];
            // No branch on truth or weight, here or in the areas: a draw of rows makes both random,
            // and wrong guesses of the processor would cost more than the arithmetic.
            let positive = weight * f64::from(mark.is_positive);
            step.positives += positive;
            step.negatives += weight - positive;
            if mark.ends_tie {
                step.positives_so_far += step.positives;
                step.negatives_so_far += step.negatives;
                visit(step);
                step.positives = 0.0;
                step.negatives = 0.0;
            }
        }
    }
}

/// A key that sorts scores from high to low; both zeros are one score.
fn falling_key(score: f64) -> u64 {
    let bits = (score + 0.0).to_bits();
    let rising = if bits >> 63 == 1 {
        !bits
    } else {
        bits | 1 << 63
    };
    !rising
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ties_are_one_step() {
        let ranking = Ranking::new(
            &[0.2, 0.9, 0.2, -1.0, 0.0, -0.0],
            &[true, false, false, true, true, false],
        );
        let mut steps = Vec::new();
        ranking.walk(&[1.0, 2.0, 3.0, 0.0, 1.0, 1.0], |step| {
            steps.push((step.positives, step.negatives));
        });
        assert_eq!(steps, [(0.0, 2.0), (1.0, 3.0), (1.0, 1.0), (0.0, 0.0)]);
    }
}
