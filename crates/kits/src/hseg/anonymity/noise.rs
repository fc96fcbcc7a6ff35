//! Laplace noise on what is told, and the budget that it spends.
//!
//! A release with privacy loss ε adds to every cell's sums noise of scale `sensitivity × parts / ε`: a respondent is in one
//! cell, so cells do not add up, and the [`PARTS`] statistics of a cell do. An organization states a total for all its
//! campaigns together; a release that would go beyond it is refused. Who is in which cell depends on the respondents and
//! carries no noise; that is what the floor is for.

use std::fmt;

/// Statistics that one respondent adds to: how many there are, six categories, one tier.
pub const PARTS: f64 = 8.0;
/// Largest ε that may be stated; beyond it the noise protects nobody.
pub const EPSILON_MAX: f64 = 20.0;

/// A privacy loss in thousandths of ε, so that sums of it are exact.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Loss(u64);

/// How much may be lost, and how much was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Budget {
    pub total: Loss,
    pub spent: Loss,
}

/// A release that would cost more than is left.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("this release costs {cost} of the privacy budget, and {left} of {total} is left")]
pub struct Overspent {
    pub cost: Loss,
    pub left: Loss,
    pub total: Loss,
}

impl Loss {
    pub const ZERO: Loss = Loss(0);

    /// `None` for what is not above zero or is beyond [`EPSILON_MAX`].
    pub fn new(epsilon: f64) -> Option<Loss> {
        let milli = (epsilon * 1_000.0).round();
        let is_stated = milli >= 1.0 && epsilon <= EPSILON_MAX;
        is_stated.then_some(Loss(milli as u64))
    }

    pub fn from_milli(milli: u64) -> Loss {
        Loss(milli)
    }

    pub fn milli(self) -> u64 {
        self.0
    }

    pub fn epsilon(self) -> f64 {
        self.0 as f64 / 1_000.0
    }
}

impl Budget {
    /// What is left of it.
    pub fn left(&self) -> Loss {
        Loss(self.total.0.saturating_sub(self.spent.0))
    }

    /// The budget after a release.
    ///
    /// # Errors
    /// When less is left than the release costs.
    pub fn after(&self, cost: Loss) -> Result<Budget, Overspent> {
        let left = self.left();
        if cost > left {
            let total = self.total;
            return Err(Overspent { cost, left, total });
        }
        Ok(Budget {
            spent: Loss(self.spent.0 + cost.0),
            ..*self
        })
    }
}

/// A draw of Laplace's distribution around zero, from a uniform draw in (0, 1).
pub fn laplace(scale: f64, uniform: f64) -> f64 {
    let centred = uniform.clamp(f64::EPSILON, 1.0 - f64::EPSILON) - 0.5;
    -scale * centred.signum() * (1.0 - 2.0 * centred.abs()).ln()
}

/// The scale of the noise on one statistic to which a respondent adds at most `sensitivity`.
pub fn scale(sensitivity: f64, cost: Loss) -> f64 {
    sensitivity * PARTS / cost.epsilon()
}

impl fmt::Display for Loss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.epsilon())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_budget_is_spent_and_then_refuses() {
        let total = Loss::new(1.0).unwrap();
        let half = Loss::new(0.4).unwrap();
        let budget = Budget {
            total,
            spent: Loss::ZERO,
        };
        let budget = budget.after(half).unwrap().after(half).unwrap();
        let refused = budget.after(half).unwrap_err();
        assert_eq!(
            refused.to_string(),
            "this release costs 0.4 of the privacy budget, and 0.2 of 1 is left"
        );
        assert_eq!(budget.left(), Loss::new(0.2).unwrap());
    }

    #[test]
    fn what_is_no_loss_cannot_be_stated() {
        assert_eq!(
            [0.0, -1.0, f64::NAN, 21.0, f64::INFINITY].map(Loss::new),
            [None; 5]
        );
    }

    #[test]
    fn the_noise_has_the_spread_of_laplace() {
        // E|X| is the scale and half of the draws are within scale × ln 2.
        let draws: Vec<f64> = (1..10_000)
            .map(|i| laplace(3.0, i as f64 / 10_000.0))
            .collect();
        let spread = draws.iter().map(|draw| draw.abs()).sum::<f64>() / draws.len() as f64;
        assert!((spread - 3.0).abs() < 0.02, "{spread}");
        let near = draws
            .iter()
            .filter(|draw| draw.abs() < 3.0 * 2f64.ln())
            .count();
        assert!((near as f64 / draws.len() as f64 - 0.5).abs() < 0.01);
    }
}
