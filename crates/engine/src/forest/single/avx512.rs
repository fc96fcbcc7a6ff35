//! The passes over heaps in AVX-512: one shuffle finds the bins of 64 questions, one comparison answers them.

use std::arch::x86_64::{
    __m512i, _mm_loadl_epi64, _mm_loadu_si128, _mm256_loadu_si256, _mm512_add_epi64,
    _mm512_cmple_epi8_mask, _mm512_cvtepu8_epi64, _mm512_cvtepu16_epi64, _mm512_cvtepu32_epi64,
    _mm512_load_si512, _mm512_permutex2var_epi8, _mm512_permutexvar_epi8, _mm512_set1_epi64,
    _mm512_setr_epi64, _mm512_srlv_epi64, _mm512_store_si512, _mm512_sub_epi64,
    _mm512_ternarylogic_epi64,
};

use super::heaps::{Asked, HeapBins, Heaps, LINE, Places, Rights, STRETCH_TREES, Vectors};
use super::run_with_heaps;
use crate::forest::bins::{Bin, Scalar};
use crate::forest::compiled::Trees;

/// Trees followed at once.
const LANES: usize = 8;
/// The truth table of `a or (b and c)`.
const OR_AND: i32 = 0xf8;

/// The whole run of a group, compiled for AVX-512: the search for bins gains from it too.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vbmi,avx2,bmi1,bmi2,lzcnt,popcnt")]
pub(super) fn run<S: Scalar, B: Bin>(
    trees: &Trees<S, B>,
    heaps: &Heaps<S>,
    row: &[f64],
    sums: &mut [S],
) {
    // SAFETY: the function is compiled for what the vectors need.
    unsafe {
        if trees.slots.count() <= LINE {
            run_with_heaps::<S, B, OneTable>(trees, heaps, row, sums);
        } else {
            run_with_heaps::<S, B, TwoTables>(trees, heaps, row, sums);
        }
    }
}

/// Bins of up to 64 slots.
struct OneTable(__m512i);

/// Bins of up to 128 slots.
struct TwoTables(__m512i, __m512i);

impl Vectors for OneTable {
    #[inline(always)]
    unsafe fn of(bins: &HeapBins) -> OneTable {
        // SAFETY: the caller's promise; the bins are aligned and longer than a vector.
        OneTable(unsafe { _mm512_load_si512(bins.0.as_ptr().cast()) })
    }

    #[inline(always)]
    unsafe fn rights(&self, asked: &Asked) -> u64 {
        // SAFETY: the caller's promise; both lines are aligned.
        unsafe {
            let slots = _mm512_load_si512(asked.slots.as_ptr().cast());
            let cuts = _mm512_load_si512(asked.cuts.as_ptr().cast());
            _mm512_cmple_epi8_mask(cuts, _mm512_permutexvar_epi8(slots, self.0))
        }
    }

    #[inline(always)]
    unsafe fn follow<const DEPTH: u32>(rights: &Rights, trees: usize, places: &mut Places) {
        // SAFETY: the caller's promise.
        unsafe { follow::<DEPTH>(rights, trees, places) }
    }
}

impl Vectors for TwoTables {
    #[inline(always)]
    unsafe fn of(bins: &HeapBins) -> TwoTables {
        let (first, second) = bins.0.split_at(LINE);
        // SAFETY: the caller's promise; both halves are aligned and as long as a vector.
        unsafe {
            TwoTables(
                _mm512_load_si512(first.as_ptr().cast()),
                _mm512_load_si512(second.as_ptr().cast()),
            )
        }
    }

    #[inline(always)]
    unsafe fn rights(&self, asked: &Asked) -> u64 {
        // SAFETY: the caller's promise; both lines are aligned.
        unsafe {
            let slots = _mm512_load_si512(asked.slots.as_ptr().cast());
            let cuts = _mm512_load_si512(asked.cuts.as_ptr().cast());
            _mm512_cmple_epi8_mask(cuts, _mm512_permutex2var_epi8(self.0, slots, self.1))
        }
    }

    #[inline(always)]
    unsafe fn follow<const DEPTH: u32>(rights: &Rights, trees: usize, places: &mut Places) {
        // SAFETY: the caller's promise.
        unsafe { follow::<DEPTH>(rights, trees, places) }
    }
}

/// # Safety
/// As [`Vectors::follow`].
#[inline(always)]
unsafe fn follow<const DEPTH: u32>(rights: &Rights, trees: usize, places: &mut Places) {
    assert!(trees <= STRETCH_TREES);
    // SAFETY: the caller's promise; with at most `STRETCH_TREES` trees, rounded up to whole vectors, all
    // loads and stores lie in their buffers.
    unsafe {
        let one = _mm512_set1_epi64(1);
        let width = 1i64 << DEPTH;
        let mut base = _mm512_setr_epi64(
            -width,
            0,
            width,
            2 * width,
            3 * width,
            4 * width,
            5 * width,
            6 * width,
        );
        let next = _mm512_set1_epi64(LANES as i64 * width);
        for first in (0..trees).step_by(LANES) {
            let right = rights_of::<DEPTH>(rights, first);
            let mut place = one;
            for _ in 0..DEPTH.min(6) {
                place = step(place, right, place);
            }
            if DEPTH == 7 {
                let lower = _mm512_load_si512(rights.0.as_ptr().add(STRETCH_TREES + first).cast());
                let bit = _mm512_sub_epi64(place, _mm512_set1_epi64(LINE as i64));
                place = step(place, lower, bit);
            }
            let leaf = _mm512_add_epi64(place, base);
            _mm512_store_si512(places.0.as_mut_ptr().add(first).cast(), leaf);
            base = _mm512_add_epi64(base, next);
        }
    }
}

/// Twice the place, and one more where the bit is set.
///
/// # Safety
/// AVX-512.
#[inline(always)]
unsafe fn step(place: __m512i, rights: __m512i, bit: __m512i) -> __m512i {
    // SAFETY: the caller's promise.
    unsafe {
        let (twice, shifted) = (
            _mm512_add_epi64(place, place),
            _mm512_srlv_epi64(rights, bit),
        );
        _mm512_ternarylogic_epi64::<OR_AND>(twice, shifted, _mm512_set1_epi64(1))
    }
}

/// The bits of eight trees from `first`, a tree a lane.
///
/// # Safety
/// AVX-512; `first` is below [`STRETCH_TREES`] and a whole number of vectors.
#[inline(always)]
unsafe fn rights_of<const DEPTH: u32>(rights: &Rights, first: usize) -> __m512i {
    let bytes = rights.0.as_ptr().cast::<u8>();
    // SAFETY: the caller's promise; a tree has 2^depth bits, or 64 here where it has more.
    unsafe {
        match DEPTH {
            3 => _mm512_cvtepu8_epi64(_mm_loadl_epi64(bytes.add(first).cast())),
            4 => _mm512_cvtepu16_epi64(_mm_loadu_si128(bytes.add(2 * first).cast())),
            5 => _mm512_cvtepu32_epi64(_mm256_loadu_si256(bytes.add(4 * first).cast())),
            _ => _mm512_load_si512(bytes.add(8 * first).cast()),
        }
    }
}
