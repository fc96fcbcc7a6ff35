//! Isotonic calibration: the rising step curve nearest to what happened.
//!
//! Minimizes Σ w (f(p) − y)² over all f that never fall, by pooling adjacent violators in O(n log
//! n). Equal scores are one point; between the steps the curve is interpolated, outside it is flat.
//! [`steps`] is scikit-learn's `IsotonicRegression`; [`fit`] then holds the curve within 1 / (n +
//! 2) of 0 and 1 (Laplace), because n rows cannot show that something never happens, and thins
//! curves beyond the engine's knot limit.
//!
//! ```
//! use ombud_learn::calibrate::isotonic::steps;
//! let curve = steps(&[0.1, 0.2, 0.3], &[true, false, true], &[1.0; 3]);
//! assert_eq!(curve.value, [0.5, 0.5, 1.0]);
//! ```

use ombud_engine::calibration::{Curve, KNOTS_MAX};

/// The curve to calibrate with.
pub fn fit(scores: &[f64], is_positive: &[bool], weights: &[f64]) -> Curve {
    let curve = thinned(steps(scores, is_positive, weights), KNOTS_MAX);
    let least = 1.0 / (scores.len() as f64 + 2.0);
    let value = curve
        .value
        .iter()
        .map(|value| value.clamp(least, 1.0 - least))
        .collect();
    Curve {
        at: curve.at,
        value,
    }
}

/// The pooled curve, a knot at both ends of every step; a flat half without weighted rows.
pub fn steps(scores: &[f64], is_positive: &[bool], weights: &[f64]) -> Curve {
    let mut blocks: Vec<Block> = Vec::new();
    for point in points(scores, is_positive, weights) {
        let mut block = point;
        while let Some(before) = blocks.pop_if(|before| before.mean() >= block.mean()) {
            block = before.joined(block);
        }
        blocks.push(block);
    }
    let mut curve = Curve {
        at: Vec::new(),
        value: Vec::new(),
    };
    for block in &blocks {
        let ends = if block.from < block.to {
            &[block.from, block.to][..]
        } else {
            &[block.from]
        };
        curve.at.extend_from_slice(ends);
        curve.value.extend(ends.iter().map(|_| block.mean()));
    }
    if blocks.is_empty() {
        return Curve {
            at: vec![0.5],
            value: vec![0.5],
        };
    }
    curve
}

/// Rows pooled into one step.
#[derive(Debug, Clone, Copy)]
struct Block {
    from: f64,
    to: f64,
    weight: f64,
    positive: f64,
}

impl Block {
    fn mean(&self) -> f64 {
        (self.positive / self.weight).clamp(0.0, 1.0)
    }

    fn joined(self, next: Self) -> Self {
        let (weight, positive) = (self.weight + next.weight, self.positive + next.positive);
        Self {
            from: self.from,
            to: next.to,
            weight,
            positive,
        }
    }
}

/// One block per distinct score, from the lowest.
fn points(scores: &[f64], is_positive: &[bool], weights: &[f64]) -> Vec<Block> {
    let mut order: Vec<usize> = (0..scores.len())
        .filter(|&row| weights[row] > 0.0)
        .collect();
    order.sort_unstable_by(|&a, &b| scores[a].total_cmp(&scores[b]).then(a.cmp(&b)));
    let mut points: Vec<Block> = Vec::new();
    for row in order {
        let (score, weight) = (scores[row], weights[row]);
        let point = Block {
            from: score,
            to: score,
            weight,
            positive: weight * f64::from(is_positive[row]),
        };
        match points.last_mut() {
            Some(last) if last.to == score => *last = last.joined(point),
            _ => points.push(point),
        }
    }
    points
}

/// Keeps the ends and evenly spaced knots between them.
fn thinned(curve: Curve, most: usize) -> Curve {
    let count = curve.at.len();
    if count <= most {
        return curve;
    }
    let kept: Vec<usize> = (0..most)
        .map(|place| place * (count - 1) / (most - 1))
        .collect();
    let pick = |values: &[f64]| kept.iter().map(|&knot| values[knot]).collect();
    Curve {
        at: pick(&curve.at),
        value: pick(&curve.value),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evaluate::fixture::{assert_close, tied};
    use proptest::prelude::*;

    #[test]
    fn the_steps_are_scikit_learns() {
        // scikit-learn 1.9.1, IsotonicRegression(out_of_bounds="clip"): predictions at seven
        // places.
        let rows = tied();
        for (weights, expected) in [
            (
                &vec![1.0; 60],
                [
                    0.34615384615384615,
                    0.34615384615384615,
                    0.84,
                    0.84,
                    0.8888888888888888,
                ],
            ),
            (
                &rows.weights,
                [
                    0.3225806451612903,
                    0.3225806451612903,
                    0.8333333333333334,
                    0.8333333333333334,
                    0.8484848484848485,
                ],
            ),
        ] {
            let curve = steps(&rows.scores, &rows.positive(), weights);
            for (place, expected) in [0.0, 0.33, 0.5, 0.66, 0.95].into_iter().zip(expected) {
                assert_close(curve.at(place), expected);
            }
            assert_eq!(curve.at, [0.0, 0.4, 0.5, 0.8, 0.9, 1.0]);
        }
    }

    #[test]
    fn no_finite_sample_makes_certain() {
        let curve = fit(&[0.1, 0.9], &[false, true], &[1.0; 2]);
        assert_eq!(curve.value, [0.25, 0.75]);
    }

    #[test]
    fn a_long_curve_is_thinned_and_keeps_its_ends() {
        let long = Curve {
            at: (0..1000).map(f64::from).collect(),
            value: vec![0.5; 1000],
        };
        let short = thinned(long, 10);
        assert_eq!((short.at.len(), short.at[0], short.at[9]), (10, 0.0, 999.0));
    }

    proptest! {
        #[test]
        fn the_curve_never_falls_and_keeps_the_mean(
            rows in prop::collection::vec((0u8..20, any::<bool>(), 1u8..5), 1..60)
        ) {
            let scores: Vec<f64> = rows.iter().map(|row| f64::from(row.0) / 20.0).collect();
            let truth: Vec<bool> = rows.iter().map(|row| row.1).collect();
            let weights: Vec<f64> = rows.iter().map(|row| f64::from(row.2)).collect();
            let curve = steps(&scores, &truth, &weights);
            prop_assert!(curve.value.is_sorted());
            prop_assert!(curve.at.is_sorted_by(|a, b| a < b));
            let (mut fitted, mut happened) = (0.0, 0.0);
            for (row, weight) in weights.iter().enumerate() {
                fitted += weight * curve.at(scores[row]);
                happened += weight * f64::from(truth[row]);
            }
            prop_assert!((fitted - happened).abs() < 1e-9);
        }
    }
}
