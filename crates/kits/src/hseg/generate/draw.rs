//! Draws from a stream of random numbers, and the normal distribution function they are judged by.

use ombud_learn::random::Random;
use std::f64::consts::TAU;

/// A stream of draws.
#[derive(Debug, Clone)]
pub(super) struct Draw(Random);

impl Draw {
    pub(super) fn stream(seed: u64, stream: u64) -> Draw {
        Draw(Random::stream(seed, stream))
    }

    /// A number in [0, 1).
    pub(super) fn unit(&mut self) -> f64 {
        self.0.unit()
    }

    pub(super) fn chance(&mut self, probability: f64) -> bool {
        self.0.unit() < probability
    }

    pub(super) fn below(&mut self, bound: usize) -> usize {
        self.0.below(bound)
    }

    pub(super) fn pick<'a, T>(&mut self, items: &'a [T]) -> &'a T {
        &items[self.0.below(items.len())]
    }

    /// A standard normal number (Box and Muller).
    pub(super) fn normal(&mut self) -> f64 {
        let radius = (-2.0 * (1.0 - self.0.unit()).ln()).sqrt();
        radius * (TAU * self.0.unit()).cos()
    }

    /// A place, drawn in proportion to its weight.
    pub(super) fn weighted(&mut self, weights: &[f64]) -> usize {
        let mut left = self.0.unit() * weights.iter().sum::<f64>();
        for (place, weight) in weights.iter().enumerate() {
            left -= weight;
            if left < 0.0 {
                return place;
            }
        }
        weights.len() - 1
    }
}

/// P(Z ≤ z) for a standard normal Z, to 2 × 10⁻⁷: a Chebyshev fit of erfc (Numerical Recipes, 6.2). The exact one of
/// `ombud_learn::math` is too slow for an integral over every respondent.
pub(super) fn normal_cdf(z: f64) -> f64 {
    let x = z.abs() / std::f64::consts::SQRT_2;
    let t = 1.0 / (1.0 + 0.5 * x);
    const FIT: [f64; 10] = [
        -1.265_512_23,
        1.000_023_68,
        0.374_091_96,
        0.096_784_18,
        -0.186_288_06,
        0.278_868_07,
        -1.135_203_98,
        1.488_515_87,
        -0.822_152_23,
        0.170_872_77,
    ];
    let polynomial = FIT.iter().rev().fold(0.0, |sum, term| sum * t + term);
    let tail = 0.5 * t * (polynomial - x * x).exp();
    match z < 0.0 {
        true => tail,
        false => 1.0 - tail,
    }
}

pub(super) fn sigmoid(logit: f64) -> f64 {
    1.0 / (1.0 + (-logit).exp())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fast_distribution_function_agrees_with_the_exact_one() {
        for step in -60..=60 {
            let z = f64::from(step) / 10.0;
            let exact = ombud_learn::math::normal_lower_tail(z);
            assert!((normal_cdf(z) - exact).abs() < 2e-7, "{z}");
        }
    }

    #[test]
    fn normal_draws_have_mean_0_and_spread_1() {
        let mut draw = Draw::stream(1, 1);
        let drawn: Vec<f64> = (0..40_000).map(|_| draw.normal()).collect();
        let mean = drawn.iter().sum::<f64>() / 40_000.0;
        let variance = drawn.iter().map(|it| (it - mean).powi(2)).sum::<f64>() / 40_000.0;
        assert!(
            mean.abs() < 0.02 && (variance - 1.0).abs() < 0.03,
            "{mean} {variance}"
        );
    }
}
