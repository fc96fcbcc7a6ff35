//! Single and double precision behind one trait, with the few functions that training loops over.
//!
//! The single-precision exponential and logarithm are branch-free polynomials, so that the compiler
//! makes vectors of the loops over classes; the library's versions are calls. Double precision,
//! where equality with a reference counts for more than speed, uses the library's.

use std::fmt::Debug;
use std::ops::{Add, AddAssign, Div, Mul, MulAssign, Neg, Sub};

pub(crate) trait Real:
    Copy
    + Debug
    + Default
    + PartialOrd
    + Send
    + Sync
    + Neg<Output = Self>
    + Add<Output = Self>
    + Sub<Output = Self>
    + Mul<Output = Self>
    + Div<Output = Self>
    + AddAssign
    + MulAssign
    + 'static
{
    const ZERO: Self;
    const ONE: Self;
    /// How far rounding may move an objective, relative to its value: single precision errs in the
    /// margins, double precision only in the order of its sums.
    const NOISE: f64;

    fn of(value: f64) -> Self;
    fn to_f64(self) -> f64;
    fn abs(self) -> Self;
    fn larger(self, other: Self) -> Self;
    /// eˣ for x ≤ 0; zero below −87 in single precision.
    fn exp_of_negative(self) -> Self;
    /// ln(1 + x) for x within 0 and 1.
    fn ln_1p_of_unit(self) -> Self;
}

impl Real for f32 {
    const ZERO: Self = 0.0;
    const ONE: Self = 1.0;
    const NOISE: f64 = f32::EPSILON as f64;

    #[inline(always)]
    fn of(value: f64) -> Self {
        value as f32
    }

    #[inline(always)]
    fn to_f64(self) -> f64 {
        f64::from(self)
    }

    #[inline(always)]
    fn abs(self) -> Self {
        f32::abs(self)
    }

    #[inline(always)]
    fn larger(self, other: Self) -> Self {
        if other > self { other } else { self }
    }

    /// 2ⁿ eʳ with n the nearest whole number of x / ln 2 and r the rest, |r| ≤ ln 2 / 2; eʳ by its
    /// series to the seventh power (relative error below 1e-8). Adding and taking off 1.5 · 2²³ rounds.
    #[inline(always)]
    fn exp_of_negative(self) -> Self {
        const ROUNDER: f32 = 12_582_912.0;
        const LN_2_HIGH: f32 = 0.693_359_4;
        const LN_2_LOW: f32 = -2.121_944_4e-4;
        let x = if self > -87.0 { self } else { -87.0 };
        let rounded = x * std::f32::consts::LOG2_E + ROUNDER;
        let n = rounded - ROUNDER;
        let r = x - n * LN_2_HIGH - n * LN_2_LOW;
        let series = 1.0 / 720.0 + r * (1.0 / 5040.0);
        let series = 1.0 / 120.0 + r * series;
        let series = 1.0 / 24.0 + r * series;
        let series = 1.0 / 6.0 + r * series;
        let series = 0.5 + r * series;
        let series = 1.0 + r * (1.0 + r * series);
        let power = f32::from_bits((rounded.to_bits() << 23).wrapping_add(127 << 23));
        if self > -87.0 { series * power } else { 0.0 }
    }

    /// 2 artanh(z) with z = x / (2 + x) ≤ ⅓, by its series to the thirteenth power (relative error
    /// below 1e-7).
    #[inline(always)]
    fn ln_1p_of_unit(self) -> Self {
        let z = self / (2.0 + self);
        let square = z * z;
        let series = 1.0 / 11.0 + square * (1.0 / 13.0);
        let series = 1.0 / 9.0 + square * series;
        let series = 1.0 / 7.0 + square * series;
        let series = 1.0 / 5.0 + square * series;
        let series = 1.0 / 3.0 + square * series;
        2.0 * z * (1.0 + square * series)
    }
}

impl Real for f64 {
    const ZERO: Self = 0.0;
    const ONE: Self = 1.0;
    const NOISE: f64 = 16.0 * f64::EPSILON;

    #[inline(always)]
    fn of(value: f64) -> Self {
        value
    }

    #[inline(always)]
    fn to_f64(self) -> f64 {
        self
    }

    #[inline(always)]
    fn abs(self) -> Self {
        f64::abs(self)
    }

    #[inline(always)]
    fn larger(self, other: Self) -> Self {
        if other > self { other } else { self }
    }

    #[inline(always)]
    fn exp_of_negative(self) -> Self {
        self.exp()
    }

    #[inline(always)]
    fn ln_1p_of_unit(self) -> Self {
        self.ln_1p()
    }
}

/// The largest value, taken in four lanes.
#[inline(always)]
pub(crate) fn largest<T: Real>(values: &[T]) -> T {
    let Some(&first) = values.first() else {
        return T::ZERO;
    };
    let mut lanes = [first; 4];
    let (quads, rest) = values.as_chunks::<4>();
    for quad in quads {
        for (lane, &value) in lanes.iter_mut().zip(quad) {
            *lane = lane.larger(value);
        }
    }
    lanes
        .iter()
        .chain(rest)
        .fold(first, |largest, &value| largest.larger(value))
}

/// The sum, taken in four lanes of double precision.
#[inline(always)]
pub(crate) fn sum<T: Real>(values: &[T]) -> f64 {
    let mut lanes = [0.0; 4];
    let (quads, rest) = values.as_chunks::<4>();
    for quad in quads {
        for (lane, value) in lanes.iter_mut().zip(quad) {
            *lane += value.to_f64();
        }
    }
    lanes[0]
        + lanes[1]
        + (lanes[2] + lanes[3])
        + rest.iter().map(|value| value.to_f64()).sum::<f64>()
}

/// Products that are summed in their own precision before the sum goes on in double precision: their
/// rounding is no larger than that of the numbers themselves, and most conversions are saved.
pub(crate) const SUMMED_SHORT: usize = 16;

/// The sum of products.
#[inline(always)]
pub(crate) fn dot<T: Real>(left: &[T], right: &[T]) -> f64 {
    const LANES: usize = 32;
    let run = LANES * SUMMED_SHORT;
    let mut total = 0.0;
    for (left, right) in left.chunks(run).zip(right.chunks(run)) {
        let mut lanes = [T::ZERO; LANES];
        let (left, left_rest) = left.as_chunks::<LANES>();
        let (right, right_rest) = right.as_chunks::<LANES>();
        for (left, right) in left.iter().zip(right) {
            for lane in 0..LANES {
                lanes[lane] += left[lane] * right[lane];
            }
        }
        add_products(&mut lanes, left_rest, right_rest);
        total += sum(&lanes);
    }
    total
}

#[inline(always)]
pub(crate) fn add_products<T: Real>(sums: &mut [T], left: &[T], right: &[T]) {
    for ((sum, &left), &right) in sums.iter_mut().zip(left).zip(right) {
        *sum += left * right;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_single_exponential_is_right_to_a_few_units_in_the_last_place() {
        for step in 0..=87_000 {
            let x = -(step as f32) / 1000.0;
            let (found, exact) = (x.exp_of_negative(), f64::from(x).exp());
            let error = (f64::from(found) - exact).abs() / exact;
            assert!(x <= -87.0 || error < 4e-7, "e^{x}: {found} {exact}");
        }
        assert_eq!(0_f32.exp_of_negative(), 1.0);
        assert_eq!(f32::NEG_INFINITY.exp_of_negative(), 0.0);
    }

    #[test]
    fn the_single_logarithm_is_right_to_a_few_units_in_the_last_place() {
        for step in 1..=10_000 {
            let x = step as f32 / 10_000.0;
            let (found, exact) = (x.ln_1p_of_unit(), f64::from(x).ln_1p());
            let error = (f64::from(found) - exact).abs() / exact;
            assert!(error < 4e-7, "ln(1 + {x}): {found} {exact}");
        }
        assert_eq!(0_f32.ln_1p_of_unit(), 0.0);
    }

    #[test]
    fn lanes_and_rests_are_all_counted() {
        for length in 0..40 {
            let values = (0..length).map(|value| value as f32).collect::<Vec<_>>();
            let plain = values.iter().map(|&value| f64::from(value)).sum::<f64>();
            assert_eq!(sum(&values), plain);
            assert_eq!(dot(&values, &vec![2.0; length]), 2.0 * plain);
            assert_eq!(largest(&values), values.last().copied().unwrap_or(0.0));
        }
    }
}
