//! The passes over heaps in AVX2: shuffles find the bins of 32 questions, one comparison answers them.

use std::arch::x86_64::{
    __m256i, _mm_cvtsi32_si128, _mm_load_si128, _mm_loadl_epi64, _mm_loadu_si128, _mm256_add_epi64,
    _mm256_and_si256, _mm256_cmpgt_epi8, _mm256_cvtepu8_epi64, _mm256_cvtepu16_epi64,
    _mm256_cvtepu32_epi64, _mm256_load_si256, _mm256_movemask_epi8, _mm256_or_si256,
    _mm256_set_m128i, _mm256_set1_epi64x, _mm256_setr_epi64x, _mm256_slli_epi64, _mm256_srlv_epi64,
    _mm256_store_si256, _mm256_unpackhi_epi64, _mm256_unpacklo_epi64,
};

use super::heaps::{
    Asked, BOTTOM_LANES, BOTTOM_LEAVES_BITS, Bottom, HeapBins, LINE, Places, Rights, STRETCH_TREES,
    Vectors,
};
use super::{run_walking, run_with_heaps};
use crate::forest::batch::avx2::lookup;
use crate::forest::bins::{Bin, Scalar};
use crate::forest::compiled::Trees;

/// Questions answered at once.
const HALF: usize = LINE / 2;
/// Trees followed at once.
const LANES: usize = 4;

/// The whole run of a group, compiled for AVX2: the search for bins gains from it too.
#[target_feature(enable = "avx2,bmi1,bmi2,lzcnt,popcnt")]
pub(super) fn run<S: Scalar, B: Bin>(trees: &Trees<S, B>, row: &[f64], sums: &mut [S]) {
    // SAFETY: the function is compiled for what the vectors need.
    match (&trees.heaps, trees.slots.count()) {
        (Some(heaps), ..=32) => unsafe {
            run_with_heaps::<S, B, Shuffles<2>>(trees, heaps, row, sums);
        },
        (Some(heaps), ..=64) => unsafe {
            run_with_heaps::<S, B, Shuffles<4>>(trees, heaps, row, sums);
        },
        // With still more tables, shuffles and blends take longer than the walk.
        _ => run_walking::<S, B, true>(trees, row, sums),
    }
}

/// Bins in tables of sixteen.
struct Shuffles<const TABLES: usize>(*const u8);

impl<const TABLES: usize> Vectors for Shuffles<TABLES> {
    #[inline(always)]
    unsafe fn of(bins: &HeapBins) -> Shuffles<TABLES> {
        Shuffles(bins.0.as_ptr())
    }

    #[inline(always)]
    unsafe fn rights(&self, asked: &Asked) -> u64 {
        let mut rights = 0;
        for first in [0, HALF] {
            // SAFETY: the caller's promise; both halves of both lines are aligned, and the bins, which
            // live as long as the run, are as long as all tables.
            let left = unsafe {
                let slots = _mm256_load_si256(asked.slots.as_ptr().add(first).cast());
                let cuts = _mm256_load_si256(asked.cuts.as_ptr().add(first).cast());
                let bins = lookup::<TABLES>(self.0, slots);
                _mm256_movemask_epi8(_mm256_cmpgt_epi8(cuts, bins)) as u32
            };
            rights |= u64::from(!left) << first;
        }
        rights
    }

    #[inline(always)]
    unsafe fn follow<const DEPTH: u32>(rights: &Rights, trees: usize, places: &mut Places) {
        assert!(trees <= STRETCH_TREES);
        let width = 1i64 << DEPTH;
        // SAFETY: the caller's promise; with at most `STRETCH_TREES` trees, rounded up to whole vectors,
        // all loads and stores lie in their buffers.
        unsafe {
            let mut base = _mm256_setr_epi64x(-width, 0, width, 2 * width);
            let next = _mm256_set1_epi64x(LANES as i64 * width);
            for first in (0..trees).step_by(LANES) {
                let right = rights_of::<DEPTH>(rights, first);
                let mut place = _mm256_set1_epi64x(1);
                for _ in 0..DEPTH {
                    place = step(place, right, place);
                }
                let leaf = _mm256_add_epi64(place, base);
                _mm256_store_si256(places.0.as_mut_ptr().add(first).cast(), leaf);
                base = _mm256_add_epi64(base, next);
            }
        }
    }

    #[inline(always)]
    unsafe fn lower<S: Scalar>(&self, bottoms: &[Bottom<S>], trees: usize, places: &mut Places) {
        assert!(trees <= STRETCH_TREES);
        let start = bottoms.as_ptr();
        // SAFETY: the caller's promise: each place up to the rounded number of trees is one of a bottom,
        // whose questions are the first sixteen bytes.
        unsafe {
            let before = Bottom::<S>::LEAVES_BEFORE as i64 - BOTTOM_LANES as i64;
            let before = _mm256_set1_epi64x(before);
            for first in (0..trees).step_by(LANES) {
                let ways = &places.0[first..first + LANES];
                let even = asked_by_two(start, [ways[0], ways[2]]);
                let odd = asked_by_two(start, [ways[1], ways[3]]);
                let bins = lookup::<TABLES>(self.0, _mm256_unpacklo_epi64(even, odd));
                let cuts = _mm256_unpackhi_epi64(even, odd);
                let rights = !_mm256_movemask_epi8(_mm256_cmpgt_epi8(cuts, bins));
                let rights = _mm256_cvtepu8_epi64(_mm_cvtsi32_si128(rights));
                let mut place = _mm256_set1_epi64x(1);
                for _ in 0..BOTTOM_LANES.ilog2() {
                    place = step(place, rights, place);
                }
                let here = places.0.as_mut_ptr().add(first).cast();
                let ways =
                    _mm256_slli_epi64::<{ BOTTOM_LEAVES_BITS as i32 }>(_mm256_load_si256(here));
                let leaf = _mm256_add_epi64(_mm256_add_epi64(ways, before), place);
                _mm256_store_si256(here, leaf);
            }
        }
    }
}

/// What two bottoms ask: slots and cuts of each side by side.
///
/// # Safety
/// AVX2; each way is one of a bottom.
#[inline(always)]
unsafe fn asked_by_two<S>(start: *const Bottom<S>, [a, b]: [u64; 2]) -> __m256i {
    // SAFETY: the caller's promise; bottoms are aligned, and their first sixteen bytes are slots and cuts.
    unsafe {
        let first = _mm_load_si128(start.add(a as usize).cast());
        let second = _mm_load_si128(start.add(b as usize).cast());
        _mm256_set_m128i(second, first)
    }
}

/// Twice the place, and one more where the bit is set.
///
/// # Safety
/// AVX2.
#[inline(always)]
unsafe fn step(place: __m256i, rights: __m256i, bit: __m256i) -> __m256i {
    // SAFETY: the caller's promise.
    unsafe {
        let is_set = _mm256_and_si256(_mm256_srlv_epi64(rights, bit), _mm256_set1_epi64x(1));
        _mm256_or_si256(_mm256_add_epi64(place, place), is_set)
    }
}

/// The bits of four trees from `first`, a tree a lane.
///
/// # Safety
/// AVX2; `first` is below [`STRETCH_TREES`] and a whole number of vectors.
#[inline(always)]
unsafe fn rights_of<const DEPTH: u32>(rights: &Rights, first: usize) -> __m256i {
    let bytes = rights.0.as_ptr().cast::<u8>();
    // SAFETY: the caller's promise; a tree has 2^depth bits.
    unsafe {
        match DEPTH {
            3 => _mm256_cvtepu8_epi64(_mm_cvtsi32_si128(
                bytes.add(first).cast::<i32>().read_unaligned(),
            )),
            4 => _mm256_cvtepu16_epi64(_mm_loadl_epi64(bytes.add(2 * first).cast())),
            _ => _mm256_cvtepu32_epi64(_mm_loadu_si128(bytes.add(4 * first).cast())),
        }
    }
}
