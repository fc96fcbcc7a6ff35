//! The passes over heaps in AVX-512: one shuffle finds the bins of 64 questions, one comparison answers them.

use std::arch::x86_64::{
    __m512i, _mm_cvtsi64_si128, _mm_load_si128, _mm_loadl_epi64, _mm_loadu_si128,
    _mm256_loadu_si256, _mm512_add_epi64, _mm512_cmple_epi8_mask, _mm512_cvtepu8_epi64,
    _mm512_cvtepu16_epi64, _mm512_cvtepu32_epi64, _mm512_inserti32x4, _mm512_load_si512,
    _mm512_permutex2var_epi8, _mm512_permutexvar_epi8, _mm512_set1_epi64, _mm512_setr_epi64,
    _mm512_slli_epi64, _mm512_srlv_epi64, _mm512_store_si512, _mm512_ternarylogic_epi64,
    _mm512_unpackhi_epi64, _mm512_unpacklo_epi64, _mm512_zextsi128_si512,
};

use super::heaps::{
    Asked, BOTTOM_LANES, BOTTOM_LEAVES_BITS, Bottom, HeapBins, Heaps, LINE, Places, Rights,
    STRETCH_TREES, Vectors,
};
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

/// Finds the bins of 64 slots.
trait Tables {
    /// # Safety
    /// AVX-512 with shuffles of bytes.
    unsafe fn bins(&self, slots: __m512i) -> __m512i;
}

impl Tables for OneTable {
    #[inline(always)]
    unsafe fn bins(&self, slots: __m512i) -> __m512i {
        // SAFETY: the caller's promise.
        unsafe { _mm512_permutexvar_epi8(slots, self.0) }
    }
}

impl Tables for TwoTables {
    #[inline(always)]
    unsafe fn bins(&self, slots: __m512i) -> __m512i {
        // SAFETY: the caller's promise.
        unsafe { _mm512_permutex2var_epi8(self.0, slots, self.1) }
    }
}

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
            _mm512_cmple_epi8_mask(cuts, self.bins(slots))
        }
    }

    #[inline(always)]
    unsafe fn follow<const DEPTH: u32>(rights: &Rights, trees: usize, places: &mut Places) {
        // SAFETY: the caller's promise.
        unsafe { follow::<DEPTH>(rights, trees, places) }
    }

    #[inline(always)]
    unsafe fn lower<S: Scalar>(&self, bottoms: &[Bottom<S>], trees: usize, places: &mut Places) {
        // SAFETY: the caller's promise.
        unsafe { lower(self, bottoms, trees, places) }
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
            _mm512_cmple_epi8_mask(cuts, self.bins(slots))
        }
    }

    #[inline(always)]
    unsafe fn follow<const DEPTH: u32>(rights: &Rights, trees: usize, places: &mut Places) {
        // SAFETY: the caller's promise.
        unsafe { follow::<DEPTH>(rights, trees, places) }
    }

    #[inline(always)]
    unsafe fn lower<S: Scalar>(&self, bottoms: &[Bottom<S>], trees: usize, places: &mut Places) {
        // SAFETY: the caller's promise.
        unsafe { lower(self, bottoms, trees, places) }
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
            for _ in 0..DEPTH {
                place = step(place, right, place);
            }
            let leaf = _mm512_add_epi64(place, base);
            _mm512_store_si512(places.0.as_mut_ptr().add(first).cast(), leaf);
            base = _mm512_add_epi64(base, next);
        }
    }
}

/// Asks the bottoms of eight trees at once, and follows their bits.
///
/// # Safety
/// As [`Vectors::lower`].
#[inline(always)]
unsafe fn lower<S: Scalar, T: Tables>(
    tables: &T,
    bottoms: &[Bottom<S>],
    trees: usize,
    places: &mut Places,
) {
    assert!(trees <= STRETCH_TREES);
    let start = bottoms.as_ptr();
    // SAFETY: the caller's promise: each place up to the rounded number of trees is one of a bottom, whose
    // questions are the first sixteen bytes.
    unsafe {
        let one = _mm512_set1_epi64(1);
        let before = Bottom::<S>::LEAVES_BEFORE as i64 - BOTTOM_LANES as i64;
        let before = _mm512_set1_epi64(before);
        for first in (0..trees).step_by(LANES) {
            let ways = &places.0[first..first + LANES];
            let even = asked_by_four(start, [ways[0], ways[2], ways[4], ways[6]]);
            let odd = asked_by_four(start, [ways[1], ways[3], ways[5], ways[7]]);
            let slots = _mm512_unpacklo_epi64(even, odd);
            let cuts = _mm512_unpackhi_epi64(even, odd);
            let rights = _mm512_cmple_epi8_mask(cuts, tables.bins(slots));
            let rights = _mm512_cvtepu8_epi64(_mm_cvtsi64_si128(rights.cast_signed()));
            let mut place = one;
            for _ in 0..BOTTOM_LANES.ilog2() {
                place = step(place, rights, place);
            }
            let here = places.0.as_mut_ptr().add(first).cast();
            let ways = _mm512_load_si512(here);
            let ways = _mm512_slli_epi64::<BOTTOM_LEAVES_BITS>(ways);
            let leaf = _mm512_add_epi64(_mm512_add_epi64(ways, before), place);
            _mm512_store_si512(here, leaf);
        }
    }
}

/// What four bottoms ask: slots and cuts of each side by side.
///
/// # Safety
/// AVX-512; each way is one of a bottom.
#[inline(always)]
unsafe fn asked_by_four<S>(start: *const Bottom<S>, ways: [u64; 4]) -> __m512i {
    // SAFETY: the caller's promise; bottoms are aligned, and their first sixteen bytes are slots and cuts.
    unsafe {
        let [a, b, c, d] = ways;
        let one = _mm512_zextsi128_si512(_mm_load_si128(start.add(a as usize).cast()));
        let two = _mm512_inserti32x4::<1>(one, _mm_load_si128(start.add(b as usize).cast()));
        let three = _mm512_inserti32x4::<2>(two, _mm_load_si128(start.add(c as usize).cast()));
        _mm512_inserti32x4::<3>(three, _mm_load_si128(start.add(d as usize).cast()))
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
    // SAFETY: the caller's promise; a tree has 2^depth bits.
    unsafe {
        match DEPTH {
            3 => _mm512_cvtepu8_epi64(_mm_loadl_epi64(bytes.add(first).cast())),
            4 => _mm512_cvtepu16_epi64(_mm_loadu_si128(bytes.add(2 * first).cast())),
            _ => _mm512_cvtepu32_epi64(_mm256_loadu_si256(bytes.add(4 * first).cast())),
        }
    }
}
