//! The few distribution functions that tests and intervals need.
//!
//! Normal and chi-square tails come from one function, the regularized incomplete gamma (series
//! below the mean, Lentz's continued fraction above), so there is one place to be right. Agreement
//! with scipy 1.17.1 is to at least ten digits, in the tails too. What the numbers mean is left to
//! the statistics.

use std::f64::consts::PI;

/// Terms of a series or fraction before it counts as converged; √a · 10 suffices, and a is below
/// 10⁸ here.
const TERMS_MAX: usize = 200_000;

/// P(Z ≤ z) for a standard normal Z.
pub fn normal_lower_tail(z: f64) -> f64 {
    if z < 0.0 {
        normal_upper_tail(-z)
    } else {
        1.0 - normal_upper_tail(z)
    }
}

/// P(Z > z) for a standard normal Z, exact in the far tail.
pub fn normal_upper_tail(z: f64) -> f64 {
    if z < 0.0 {
        return 1.0 - normal_upper_tail(-z);
    }
    0.5 * gamma_upper_share(0.5, z * z / 2.0)
}

/// P(|Z| ≥ |z|): the two-sided p-value of a normal statistic.
pub fn normal_two_sided(z: f64) -> f64 {
    2.0 * normal_upper_tail(z.abs())
}

/// The z with P(Z ≤ z) = `share`; infinite at 0 and 1.
pub fn normal_quantile(share: f64) -> f64 {
    if share <= 0.0 {
        return f64::NEG_INFINITY;
    }
    if share >= 1.0 {
        return f64::INFINITY;
    }
    if share > 0.5 {
        return -normal_quantile(1.0 - share);
    }
    // Acklam's approximation is right to nine digits; one step of Halley's method makes it exact.
    let guess = quantile_guess(share);
    let error =
        (normal_lower_tail(guess) - share) * (2.0 * PI).sqrt() * (guess * guess / 2.0).exp();
    guess - error / (1.0 + guess * error / 2.0)
}

/// P(X > `x`) for a chi-square X.
pub fn chi_square_upper_tail(x: f64, degrees: f64) -> f64 {
    if x <= 0.0 {
        return 1.0;
    }
    gamma_upper_share(degrees / 2.0, x / 2.0)
}

/// P(X ≤ `successes`) for a binomial X; costs one step a success.
pub fn binomial_lower_tail(successes: u64, trials: u64, chance: f64) -> f64 {
    if successes >= trials || chance <= 0.0 {
        return 1.0;
    }
    if chance >= 1.0 {
        return 0.0;
    }
    let (log_hit, log_miss) = (chance.ln(), (-chance).ln_1p());
    let mut log_ways = 0.0;
    let mut sum = 0.0;
    for hits in 0..=successes {
        sum += f64::exp(log_ways + hits as f64 * log_hit + (trials - hits) as f64 * log_miss);
        log_ways += (((trials - hits) as f64) / (hits + 1) as f64).ln();
    }
    sum.min(1.0)
}

/// Wilson's interval for a share: `successes` of `trials`, both possibly fractional, at `level`
/// (such as 0.95).
///
/// Without trials nothing is known: 0 to 1.
pub fn share_interval(successes: f64, trials: f64, level: f64) -> (f64, f64) {
    if trials <= 0.0 {
        return (0.0, 1.0);
    }
    let z = normal_quantile(0.5 + level / 2.0);
    let share = successes / trials;
    let correction = z * z / trials;
    let middle = share + correction / 2.0;
    let reach = (correction * (share * (1.0 - share) + correction / 4.0)).sqrt();
    // At the ends rounding could leave a hair below 0 or above 1.
    let end = |numerator: f64| (numerator / (1.0 + correction)).clamp(0.0, 1.0);
    let lower = if successes <= 0.0 {
        0.0
    } else {
        end(middle - reach)
    };
    let upper = if successes >= trials {
        1.0
    } else {
        end(middle + reach)
    };
    (lower, upper)
}

/// Q(a, x) = Γ(a, x) / Γ(a).
fn gamma_upper_share(a: f64, x: f64) -> f64 {
    if x <= 0.0 {
        return 1.0;
    }
    let front = (a * x.ln() - x - ln_gamma(a)).exp();
    if x < a + 1.0 {
        1.0 - front * gamma_series(a, x)
    } else {
        front * gamma_fraction(a, x)
    }
}

fn gamma_series(a: f64, x: f64) -> f64 {
    let mut term = 1.0 / a;
    let mut sum = term;
    for step in 1..TERMS_MAX {
        term *= x / (a + step as f64);
        sum += term;
        if term < sum * f64::EPSILON {
            break;
        }
    }
    sum
}

fn gamma_fraction(a: f64, x: f64) -> f64 {
    const TINY: f64 = 1e-300;
    let mut b = x + 1.0 - a;
    let mut c = 1.0 / TINY;
    let mut d = 1.0 / b;
    let mut product = d;
    for step in 1..TERMS_MAX {
        let numerator = -(step as f64) * (step as f64 - a);
        b += 2.0;
        d = 1.0 / away_from_zero(numerator * d + b, TINY);
        c = away_from_zero(b + numerator / c, TINY);
        product *= d * c;
        if (d * c - 1.0).abs() < f64::EPSILON {
            break;
        }
    }
    product
}

fn away_from_zero(value: f64, tiny: f64) -> f64 {
    if value.abs() < tiny { tiny } else { value }
}

/// ln Γ(x) for x > 0, by Lanczos with g = 7 and nine terms.
fn ln_gamma(x: f64) -> f64 {
    const TERMS: [f64; 8] = [
        676.5203681218851,
        -1259.1392167224028,
        771.323428777653,
        -176.6150291621406,
        12.507343278686905,
        -0.13857109526572012,
        9.984369578019572e-6,
        1.5056327351493116e-7,
    ];
    if x < 0.5 {
        return (PI / (PI * x).sin()).ln() - ln_gamma(1.0 - x);
    }
    let x = x - 1.0;
    let mut sum = 0.9999999999998099;
    for (step, term) in TERMS.iter().enumerate() {
        sum += term / (x + step as f64 + 1.0);
    }
    let t = x + 7.5;
    0.5 * (2.0 * PI).ln() + (x + 0.5) * t.ln() - t + sum.ln()
}

/// Acklam's rational approximation for shares up to one half.
fn quantile_guess(share: f64) -> f64 {
    const TAIL_BELOW: f64 = 0.02425;
    if share < TAIL_BELOW {
        let q = (-2.0 * share.ln()).sqrt();
        let top = [
            -0.007784894002430293,
            -0.3223964580411365,
            -2.400758277161838,
            -2.549732539343734,
            4.374664141464968,
            2.938163982698783,
        ];
        let bottom = [
            0.007784695709041462,
            0.3224671290700398,
            2.445134137142996,
            3.754408661907416,
            1.0,
        ];
        return polynomial(&top, q) / polynomial(&bottom, q);
    }
    let q = share - 0.5;
    let top = [
        -39.69683028665376,
        220.9460984245205,
        -275.9285104469687,
        138.357751867269,
        -30.66479806614716,
        2.506628277459239,
    ];
    let bottom = [
        -54.47609879822406,
        161.5858368580409,
        -155.6989798598866,
        66.80131188771972,
        -13.28068155288572,
        1.0,
    ];
    q * polynomial(&top, q * q) / polynomial(&bottom, q * q)
}

fn polynomial(coefficients: &[f64], x: f64) -> f64 {
    coefficients
        .iter()
        .fold(0.0, |sum, coefficient| sum * x + coefficient)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn assert_close(found: f64, expected: f64) {
        let error = (found - expected).abs() / expected.abs().max(1e-300);
        assert!(
            error < 1e-10 || found == expected,
            "{found} is not {expected}"
        );
    }

    // Every expected number below is scipy 1.17.1's.

    #[test]
    fn normal_tails_are_scipys() {
        for (z, expected) in [
            (-8.0, 6.22096057427174e-16),
            (-3.0, 0.0013498980316300933),
            (-1.5, 0.06680720126885807),
            (-0.1, 0.460172162722971),
            (0.0, 0.5),
            (0.7, 0.758036347776927),
            (2.5, 0.9937903346742238),
            (6.0, 0.9999999990134123),
        ] {
            assert_close(normal_lower_tail(z), expected);
        }
        assert_close(normal_upper_tail(20.0), 2.7536241186061556e-89);
        assert_close(normal_two_sided(-3.0), 2.0 * 0.0013498980316300933);
    }

    #[test]
    fn normal_quantiles_are_scipys() {
        for (share, expected) in [
            (1e-12, -7.034483825301131),
            (0.001, -3.090232306167813),
            (0.025, -1.9599639845400545),
            (0.3, -0.5244005127080409),
            (0.8, 0.8416212335729143),
            (0.975, 1.959963984540054),
            (0.9999, 3.719016485455709),
        ] {
            assert_close(normal_quantile(share), expected);
        }
        assert!(normal_quantile(0.5).abs() < 1e-15);
        assert_eq!(
            [normal_quantile(0.0), normal_quantile(1.0)],
            [f64::NEG_INFINITY, f64::INFINITY]
        );
    }

    #[test]
    fn chi_square_tails_are_scipys() {
        for (x, degrees, expected) in [
            (0.5, 1.0, 0.47950012218695337),
            (3.841, 1.0, 0.050013683763956804),
            (30.0, 1.0, 4.3204630578274955e-8),
            (5.0, 4.0, 0.2872974951836458),
            (100.0, 40.0, 4.791357300338064e-7),
            (1200.0, 1000.0, 1.2255942330622893e-5),
        ] {
            assert_close(chi_square_upper_tail(x, degrees), expected);
        }
        assert_eq!(chi_square_upper_tail(0.0, 3.0), 1.0);
    }

    #[test]
    fn binomial_tails_are_scipys() {
        for (successes, trials, expected) in [
            (3, 10, 0.171875),
            (0, 24, 5.960464477539063e-8),
            (11, 23, 0.5),
            (480, 1000, 0.10872414660207075),
        ] {
            assert_close(binomial_lower_tail(successes, trials, 0.5), expected);
        }
        assert_close(1.0 - binomial_lower_tail(3, 10, 0.2), 0.12087388160000007);
        assert_eq!(binomial_lower_tail(10, 10, 0.5), 1.0);
    }

    #[test]
    fn share_intervals_are_scipys_wilson() {
        for (successes, trials, level, expected) in [
            (45.0, 50.0, 0.95, (0.7863976856252034, 0.9565242350681095)),
            (0.0, 20.0, 0.95, (0.0, 0.16112515805281935)),
            (7.0, 10.0, 0.9, (0.4416997958698351, 0.8731234160968021)),
        ] {
            let (lower, upper) = share_interval(successes, trials, level);
            assert_close(lower, expected.0);
            assert_close(upper, expected.1);
        }
        assert_eq!(share_interval(0.0, 0.0, 0.95), (0.0, 1.0));
    }
}
