//! McNemar's test: does one model get more rows right than the other?
//!
//! Only rows on which exactly one is right count: b right by A alone, c right by B alone. Under 25
//! of them the exact two-sided binomial p = min(1, 2 P(X ≤ min(b, c))), X ~ Binomial(b + c, ½);
//! from 25 on χ² = (|b − c| − 1)² / (b + c) with one degree of freedom. Without such rows p is 1.
//! Weights are ignored: a test of counts needs counts.
//!
//! ```
//! use ombud_learn::compare::mcnemar::mcnemar;
//! let test = mcnemar(&[true, true, false], &[true, false, true]);
//! assert_eq!((test.only_a, test.only_b, test.p_value), (1, 1, 1.0));
//! ```

use serde::Serialize;

use crate::math::{binomial_lower_tail, chi_square_upper_tail};

/// Rows of disagreement from which on the approximation is used.
pub const APPROXIMATE_FROM: u64 = 25;

#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct McNemar {
    /// Rows that only A got right, and only B.
    pub only_a: u64,
    pub only_b: u64,
    /// χ²; absent when the exact test was used.
    pub statistic: Option<f64>,
    pub p_value: f64,
}

/// `a_right` and `b_right` say for each row whether that model was right.
pub fn mcnemar(a_right: &[bool], b_right: &[bool]) -> McNemar {
    let count = |a: bool, b: bool| {
        a_right
            .iter()
            .zip(b_right)
            .filter(|pair| *pair == (&a, &b))
            .count() as u64
    };
    from_counts(count(true, false), count(false, true))
}

pub fn from_counts(only_a: u64, only_b: u64) -> McNemar {
    let total = only_a + only_b;
    if total < APPROXIMATE_FROM {
        let p_value = (2.0 * binomial_lower_tail(only_a.min(only_b), total, 0.5)).min(1.0);
        return McNemar {
            only_a,
            only_b,
            statistic: None,
            p_value,
        };
    }
    // Continuity correction never pushes past equality.
    let gap = (only_a.abs_diff(only_b) as f64 - 1.0).max(0.0);
    let statistic = gap * gap / total as f64;
    McNemar {
        only_a,
        only_b,
        statistic: Some(statistic),
        p_value: chi_square_upper_tail(statistic, 1.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evaluate::fixture::assert_close;

    #[test]
    fn few_disagreements_are_tested_exactly() {
        // scipy 1.17.1, binomtest(3, 13) and binomtest(5, 10).
        assert_close(from_counts(3, 10).p_value, 0.09228515625);
        assert_eq!(from_counts(5, 5).p_value, 1.0);
        assert_eq!(from_counts(0, 0).p_value, 1.0);
        assert_eq!(from_counts(10, 3).p_value, from_counts(3, 10).p_value);
    }

    #[test]
    fn many_disagreements_are_tested_by_chi_square() {
        // scipy 1.17.1, chi2.sf(6.01667, 1), the formula of statsmodels' mcnemar(exact=False).
        let test = from_counts(40, 20);
        assert_close(test.statistic.expect("approximate"), 6.016666666666667);
        assert_close(test.p_value, 0.014171388254012323);
        assert_eq!(from_counts(20, 20).p_value, 1.0);
    }

    #[test]
    fn both_ways_agree_where_they_meet() {
        let (exact, approximate) = (from_counts(7, 17).p_value, from_counts(7, 18).p_value);
        assert!((exact - 0.064).abs() < 0.001 && (approximate - 0.0455).abs() < 0.001);
    }
}
