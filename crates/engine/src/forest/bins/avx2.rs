//! Counting passed cuts in AVX2: a comparison a vector, and the bits of the answers.

use std::arch::x86_64::{
    _CMP_LE_OQ, _CMP_LT_OQ, _mm256_cmp_pd, _mm256_cmp_ps, _mm256_loadu_pd, _mm256_loadu_ps,
    _mm256_movemask_pd, _mm256_movemask_ps, _mm256_set1_pd, _mm256_set1_ps,
};

use super::FAN;

/// # Safety
/// The processor has AVX2 and POPCNT.
#[inline(always)]
pub(super) unsafe fn passed_single(cuts: &[f32; FAN], x: f32) -> usize {
    let mut bits = 0;
    for (index, eight) in cuts.as_chunks::<8>().0.iter().enumerate() {
        // SAFETY: the caller's promise; the chunk is as long as a vector.
        let passed = unsafe {
            let cuts = _mm256_loadu_ps(eight.as_ptr());
            _mm256_movemask_ps(_mm256_cmp_ps::<_CMP_LE_OQ>(cuts, _mm256_set1_ps(x)))
        };
        bits |= passed << (8 * index);
    }
    bits.count_ones() as usize
}

/// # Safety
/// The processor has AVX2 and POPCNT.
#[inline(always)]
pub(super) unsafe fn passed_double(cuts: &[f64; FAN], x: f64) -> usize {
    let mut bits = 0;
    for (index, four) in cuts.as_chunks::<4>().0.iter().enumerate() {
        // SAFETY: the caller's promise; the chunk is as long as a vector.
        let passed = unsafe {
            let cuts = _mm256_loadu_pd(four.as_ptr());
            _mm256_movemask_pd(_mm256_cmp_pd::<_CMP_LT_OQ>(cuts, _mm256_set1_pd(x)))
        };
        bits |= passed << (4 * index);
    }
    bits.count_ones() as usize
}
