//! Platt scaling: a straight line on the logit scale.
//!
//! p′ = σ(slope · logit p + intercept), fitted by maximum likelihood against Platt's smoothed
//! targets, (N₊ + 1) / (N₊ + 2) for positives and 1 / (N₋ + 2) for negatives (weights counted),
//! which keep a small or separable sample finite. Newton's method with halved steps (Lin, Lin and
//! Weng 2007). It is scikit-learn's `_sigmoid_calibration` on logits, with slope = −a and intercept
//! = −b. A falling line would turn the model's order round; then the slope is 0 and only the base
//! rate is kept.
//!
//! ```
//! use ombud_learn::calibrate::platt::fit;
//! let line = fit(&[0.5; 8], &[true, false, false, false, true, false, false, false], &[1.0; 8]);
//! assert!((line.intercept - (2.0f64 / 6.0).ln()).abs() < 0.2);
//! ```

use ombud_engine::calibration::{Line, logit, sigmoid};

/// Newton steps before the fit is taken as it is; convergence takes about six.
const STEPS_MAX: usize = 100;

/// The largest gradient, per unit of weight, that counts as zero.
const GRADIENT_MAX: f64 = 1e-12;

/// Added to the curvature, so that scores that are all equal do not divide by zero.
const RIDGE: f64 = 1e-12;

pub fn fit(scores: &[f64], is_positive: &[bool], weights: &[f64]) -> Line {
    let logits: Vec<f64> = scores.iter().map(|&score| logit(score)).collect();
    let targets = smoothed_targets(is_positive, weights);
    let total: f64 = weights.iter().sum();
    let problem = Problem {
        logits: &logits,
        targets: &targets,
        weights,
    };
    let base_rate = targets
        .iter()
        .zip(weights)
        .map(|(target, weight)| target * weight)
        .sum::<f64>()
        / total;
    let flat = Line {
        slope: 0.0,
        intercept: logit(base_rate),
    };
    let mut line = Line {
        slope: 1.0,
        intercept: 0.0,
    };
    let mut loss = problem.loss(line);
    for _ in 0..STEPS_MAX {
        let Slopes {
            gradient,
            curvature,
        } = problem.slopes(line);
        if gradient
            .iter()
            .all(|part| part.abs() < GRADIENT_MAX * total)
        {
            break;
        }
        let [step_slope, step_intercept] = newton_step(gradient, curvature, total);
        let stepped = |scale: f64| Line {
            slope: line.slope - scale * step_slope,
            intercept: line.intercept - scale * step_intercept,
        };
        // Halving ends at a step too small to matter.
        let halvings = (0..40).map(|halving| 0.5f64.powi(halving));
        let better = halvings
            .map(stepped)
            .map(|line| (line, problem.loss(line)))
            .find(|(_, new)| *new < loss);
        let Some((next, new_loss)) = better else {
            break;
        };
        (line, loss) = (next, new_loss);
    }
    if line.slope >= 0.0 && line.slope.is_finite() && line.intercept.is_finite() {
        line
    } else {
        flat
    }
}

struct Problem<'a> {
    logits: &'a [f64],
    targets: &'a [f64],
    weights: &'a [f64],
}

struct Slopes {
    gradient: [f64; 2],
    /// The second derivatives: slope twice, slope and intercept, intercept twice.
    curvature: [f64; 3],
}

impl Problem<'_> {
    fn loss(&self, line: Line) -> f64 {
        self.rows()
            .map(|(x, target, weight)| {
                weight * cross_entropy(line.slope * x + line.intercept, target)
            })
            .sum()
    }

    fn slopes(&self, line: Line) -> Slopes {
        let mut slopes = Slopes {
            gradient: [0.0; 2],
            curvature: [0.0; 3],
        };
        for (x, target, weight) in self.rows() {
            let p = sigmoid(line.slope * x + line.intercept);
            let error = weight * (p - target);
            let spread = weight * p * (1.0 - p);
            slopes.gradient[0] += error * x;
            slopes.gradient[1] += error;
            slopes.curvature[0] += spread * x * x;
            slopes.curvature[1] += spread * x;
            slopes.curvature[2] += spread;
        }
        slopes
    }

    fn rows(&self) -> impl Iterator<Item = (f64, f64, f64)> {
        self.logits
            .iter()
            .zip(self.targets)
            .zip(self.weights)
            .map(|((&x, &target), &weight)| (x, target, weight))
    }
}

fn newton_step(gradient: [f64; 2], curvature: [f64; 3], total: f64) -> [f64; 2] {
    let [a, b, c] = [
        curvature[0] + RIDGE * total,
        curvature[1],
        curvature[2] + RIDGE * total,
    ];
    let determinant = a * c - b * b;
    [
        (c * gradient[0] - b * gradient[1]) / determinant,
        (a * gradient[1] - b * gradient[0]) / determinant,
    ]
}

/// ln(1 + eᶻ) − t z, without overflow.
fn cross_entropy(z: f64, target: f64) -> f64 {
    z.max(0.0) + (-z.abs()).exp().ln_1p() - target * z
}

fn smoothed_targets(is_positive: &[bool], weights: &[f64]) -> Vec<f64> {
    let positive: f64 = is_positive
        .iter()
        .zip(weights)
        .filter(|(is, _)| **is)
        .map(|(_, weight)| weight)
        .sum();
    let negative = weights.iter().sum::<f64>() - positive;
    let target = |&is: &bool| {
        if is {
            (positive + 1.0) / (positive + 2.0)
        } else {
            1.0 / (negative + 2.0)
        }
    };
    is_positive.iter().map(target).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evaluate::fixture::binary;

    #[test]
    fn the_line_is_scikit_learns() {
        // scikit-learn 1.9.1, _sigmoid_calibration(logit p, y), signs turned; its optimizer stops
        // at about 1e-8.
        let rows = binary();
        for (weights, slope, intercept) in [
            (&vec![1.0; 60], 0.25809857182691937, 0.577073235636145),
            (&rows.weights, 0.29322158623885886, 0.4681204630450827),
        ] {
            let line = fit(&rows.scores, &rows.positive(), weights);
            assert!((line.slope - slope).abs() < 1e-7, "{line:?}");
            assert!((line.intercept - intercept).abs() < 1e-7, "{line:?}");
        }
    }

    #[test]
    fn the_line_is_the_exact_optimum() {
        // scipy 1.17.1, BFGS on the same likelihood with gtol 1e-10.
        let rows = binary();
        let line = fit(&rows.scores, &rows.positive(), &[1.0; 60]);
        assert!((line.slope - 0.2580985717890772).abs() < 1e-9, "{line:?}");
        assert!(
            (line.intercept - 0.5770732272737016).abs() < 1e-9,
            "{line:?}"
        );
    }

    #[test]
    fn a_model_that_is_wrong_way_round_keeps_only_the_base_rate() {
        let line = fit(
            &[0.1, 0.2, 0.8, 0.9],
            &[true, true, false, false],
            &[1.0; 4],
        );
        assert_eq!(line.slope, 0.0);
        assert!(line.intercept.abs() < 1e-12);
    }

    #[test]
    fn extreme_and_one_sided_samples_stay_finite() {
        for (scores, truth) in [
            (vec![0.0, 1.0, 0.0, 1.0], vec![false, true, false, true]),
            (vec![0.5; 4], vec![true; 4]),
            (vec![1.0; 4], vec![false; 4]),
            (vec![0.0, 1.0, 1e-300, 0.5], vec![true, false, true, false]),
        ] {
            let line = fit(&scores, &truth, &[1.0; 4]);
            assert!(
                line.slope >= 0.0 && line.slope.is_finite() && line.intercept.is_finite(),
                "{line:?}"
            );
        }
    }
}
