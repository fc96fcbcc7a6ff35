//! Draws: a seeded generator whose every number is the same on every machine.
//!
//! Only the four operations and shifts are used, which IEEE 754 fixes to the last bit; `exp` and `ln` of
//! the standard library may differ between systems.

/// Splitmix64 with the few distributions the examples need.
pub struct Draw {
    state: u64,
}

impl Draw {
    pub fn new(seed: u64) -> Self {
        Self { state: seed }
    }

    /// Uniform in 0..1.
    pub fn uniform(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// Uniform whole number below `limit`.
    pub fn below(&mut self, limit: usize) -> usize {
        (self.uniform() * limit as f64) as usize
    }

    /// True with this probability.
    pub fn chance(&mut self, probability: f64) -> bool {
        self.uniform() < probability
    }

    /// Close to a standard normal: twelve uniforms less six, so never beyond ±6.
    pub fn normal(&mut self) -> f64 {
        (0..12).map(|_| self.uniform()).sum::<f64>() - 6.0
    }

    /// One of `choices`, each as likely.
    pub fn pick<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len())]
    }

    /// An index, with chances in proportion to `weights`.
    pub fn weighted(&mut self, weights: &[f64]) -> usize {
        let mut left = self.uniform() * weights.iter().sum::<f64>();
        for (index, weight) in weights.iter().enumerate() {
            if left < *weight {
                return index;
            }
            left -= weight;
        }
        weights.len() - 1
    }

    fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }
}

/// `e^x` to about six digits for |x| ≤ 8, by the four operations alone: (1 + x/2²⁰) squared 20 times.
pub fn exponential(x: f64) -> f64 {
    let start = 1.0 + x / (1u64 << 20) as f64;
    (0..20).fold(start, |power, _| power * power)
}

/// The date that many days after 2023-01-01, as `2023-01-01`.
pub fn date(days: usize) -> String {
    let (mut year, mut left) = (2023, days);
    while left >= days_in_year(year) {
        left -= days_in_year(year);
        year += 1;
    }
    let mut month = 1;
    while left >= days_in_month(year, month) {
        left -= days_in_month(year, month);
        month += 1;
    }
    format!("{year}-{month:02}-{:02}", left + 1)
}

fn days_in_year(year: usize) -> usize {
    if year.is_multiple_of(4) { 366 } else { 365 }
}

fn days_in_month(year: usize, month: usize) -> usize {
    match month {
        2 => days_in_year(year) - 337,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_know_leap_years() {
        assert_eq!(date(0), "2023-01-01");
        assert_eq!(date(365 + 31 + 28), "2024-02-29");
        assert_eq!(date(365 + 366 - 1), "2024-12-31");
    }

    #[test]
    fn the_exponential_is_close_to_the_real_one() {
        for x in [-4.0f64, -0.5, 0.0, 1.0, 5.0] {
            let error = exponential(x) / x.exp() - 1.0;
            assert!(error.abs() < 1e-4, "{x}: {error}");
        }
    }

    #[test]
    fn the_normal_has_mean_zero_and_variance_one() {
        let mut draw = Draw::new(3);
        let values: Vec<f64> = (0..20_000).map(|_| draw.normal()).collect();
        let mean = values.iter().sum::<f64>() / 20_000.0;
        let variance = values.iter().map(|value| value * value).sum::<f64>() / 20_000.0;
        assert!(
            mean.abs() < 0.03 && (variance - 1.0).abs() < 0.05,
            "{mean} {variance}"
        );
    }

    #[test]
    fn weights_are_kept() {
        let mut draw = Draw::new(5);
        let ones = (0..10_000)
            .filter(|_| draw.weighted(&[3.0, 1.0]) == 1)
            .count();
        assert!((2_300..2_700).contains(&ones), "{ones}");
    }
}
