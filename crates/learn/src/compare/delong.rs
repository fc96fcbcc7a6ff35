//! DeLong's test: do two models rank two classes differently well?
//!
//! The AUC is a mean over positives of the share of negatives each outranks (its placement), and
//! likewise over negatives. With S⁺ and S⁻ the sample covariances of both models' placements,
//! Var(AUC_B − AUC_A) = v(S⁺)/n⁺ + v(S⁻)/n⁻, v(S) = S_aa + S_bb − 2 S_ab; z = difference / √Var
//! (DeLong et al. 1988). Placements come from midranks, so ties count half and the cost is one sort
//! per model (Sun and Xu 2014). Fewer than two rows of a class: absent. Without variance p is 1
//! when the areas are equal, which they then are whenever the placements are.
//!
//! ```
//! use ombud_learn::compare::delong::delong;
//! let truth = [true, true, true, false, false, false];
//! let test = delong(&truth, &[0.9, 0.3, 0.6, 0.5, 0.4, 0.1], &[0.9, 0.7, 0.6, 0.5, 0.4, 0.1], 0.95)?;
//! assert!(test.auc_a < test.auc_b);
//! # Ok::<(), ombud_learn::evaluate::Undefined>(())
//! ```

use ombud_engine::conformal::Interval;
use serde::Serialize;

use crate::evaluate::metric::Undefined;
use crate::math::{normal_quantile, normal_two_sided};

#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct DeLong {
    pub auc_a: f64,
    pub auc_b: f64,
    /// B − A.
    pub difference: f64,
    pub standard_error: f64,
    pub interval: Interval,
    pub p_value: f64,
}

/// Compares the scores of two models; `level` is that of the interval, such as 0.95.
///
/// # Panics
/// When the slices differ in length.
pub fn delong(
    is_positive: &[bool],
    scores_a: &[f64],
    scores_b: &[f64],
    level: f64,
) -> Result<DeLong, Undefined> {
    assert!(
        is_positive.len() == scores_a.len() && is_positive.len() == scores_b.len(),
        "one score a row"
    );
    let positives = is_positive.iter().filter(|&&is| is).count();
    if positives < 2 || is_positive.len() - positives < 2 {
        return Err(Undefined::OneClass);
    }
    let (a, b) = (
        Placements::of(is_positive, scores_a),
        Placements::of(is_positive, scores_b),
    );
    let (auc_a, auc_b) = (mean(&a.positives), mean(&b.positives));
    let difference = auc_b - auc_a;
    let variance = variance_of_difference(&a.positives, &b.positives) / a.positives.len() as f64
        + variance_of_difference(&a.negatives, &b.negatives) / a.negatives.len() as f64;
    let standard_error = variance.sqrt();
    let p_value = match standard_error > 0.0 {
        true => normal_two_sided(difference / standard_error),
        false => f64::from(difference == 0.0),
    };
    let reach = normal_quantile(0.5 + level / 2.0) * standard_error;
    let interval = Interval {
        lower: difference - reach,
        upper: difference + reach,
    };
    Ok(DeLong {
        auc_a,
        auc_b,
        difference,
        standard_error,
        interval,
        p_value,
    })
}

/// The share of the other class that each row is on the right side of, in order of rows.
struct Placements {
    positives: Vec<f64>,
    negatives: Vec<f64>,
}

impl Placements {
    fn of(is_positive: &[bool], scores: &[f64]) -> Self {
        let pick = |wanted: bool| -> Vec<f64> {
            scores
                .iter()
                .zip(is_positive)
                .filter(|(_, is)| **is == wanted)
                .map(|(score, _)| *score)
                .collect()
        };
        let (positives, negatives) = (pick(true), pick(false));
        let (sorted_positives, sorted_negatives) = (sorted(&positives), sorted(&negatives));
        Self {
            positives: positives
                .iter()
                .map(|&score| share_below(&sorted_negatives, score))
                .collect(),
            negatives: negatives
                .iter()
                .map(|&score| 1.0 - share_below(&sorted_positives, score))
                .collect(),
        }
    }
}

fn sorted(scores: &[f64]) -> Vec<f64> {
    let mut sorted = scores.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    sorted
}

/// The share of `sorted` that is below `score`, ties counting half.
fn share_below(sorted: &[f64], score: f64) -> f64 {
    let below = sorted.partition_point(|&other| other < score);
    let up_to = sorted.partition_point(|&other| other <= score);
    (below + up_to) as f64 / 2.0 / sorted.len() as f64
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

/// The sample variance of b − a, which is S_aa + S_bb − 2 S_ab without cancellation.
fn variance_of_difference(a: &[f64], b: &[f64]) -> f64 {
    let differences: Vec<f64> = a.iter().zip(b).map(|(a, b)| b - a).collect();
    let centre = mean(&differences);
    let squares: f64 = differences
        .iter()
        .map(|difference| (difference - centre).powi(2))
        .sum();
    squares / (differences.len() as f64 - 1.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evaluate::fixture::{assert_close, binary, tied};

    fn second_model(scores: &[f64]) -> Vec<f64> {
        let other = |i: usize| (((i * 23) % 37) as f64 + 0.5) / 37.0;
        scores
            .iter()
            .enumerate()
            .map(|(i, score)| 0.6 * score + 0.4 * other(i))
            .collect()
    }

    fn check(test: DeLong, [auc_a, auc_b, standard_error, p_value]: [f64; 4]) {
        assert_close(test.auc_a, auc_a);
        assert_close(test.auc_b, auc_b);
        assert_close(test.standard_error, standard_error);
        assert!((test.p_value - p_value).abs() < 1e-10, "{test:?}");
    }

    #[test]
    fn the_test_is_the_formulas() {
        // numpy 2 on all pairs, p by scipy 1.17.1.
        let rows = binary();
        let b = second_model(&rows.scores);
        let plain = delong(&rows.positive(), &rows.scores, &b, 0.95).expect("two classes");
        check(
            plain,
            [
                0.7039473684210527,
                0.7105263157894738,
                0.0345625143924377,
                0.8490354931679412,
            ],
        );
        let b_tied: Vec<f64> = b
            .iter()
            .map(|score| (score * 10.0).round() / 10.0)
            .collect();
        let with_ties =
            delong(&rows.positive(), &tied().scores, &b_tied, 0.95).expect("two classes");
        check(
            with_ties,
            [
                0.6889952153110048,
                0.7428229665071772,
                0.0617986671287408,
                0.38374432712683837,
            ],
        );
        assert_close(
            with_ties.interval.width(),
            2.0 * 1.959963984540054 * 0.0617986671287408,
        );
    }

    #[test]
    fn equal_models_are_not_different_and_one_class_is_no_test() {
        let rows = binary();
        let same = delong(&rows.positive(), &rows.scores, &rows.scores, 0.95).expect("two classes");
        assert_eq!((same.difference, same.p_value), (0.0, 1.0));
        assert_eq!(
            delong(&[true, true, false], &[0.1; 3], &[0.2; 3], 0.95),
            Err(Undefined::OneClass)
        );
    }
}
