//! The batch evaluator in AVX2: 32 bins to a vector.

use std::arch::x86_64::{
    __m128i, __m256i, _mm_loadu_si128, _mm256_add_epi8, _mm256_add_ps, _mm256_blendv_epi8,
    _mm256_broadcastsi128_si256, _mm256_castsi256_ps, _mm256_cmpgt_epi8, _mm256_loadu_ps,
    _mm256_loadu_si256, _mm256_set1_epi8, _mm256_shuffle_epi8, _mm256_slli_epi16, _mm256_storeu_ps,
    _mm256_storeu_si256, _mm256_unpackhi_epi8, _mm256_unpackhi_epi16, _mm256_unpacklo_epi8,
    _mm256_unpacklo_epi16,
};

use super::{Complete, LeafSum, TABLE_LEAVES, lane_place, run_with};
use crate::forest::bins::{Bin, LANES, Scalar};
use crate::forest::compiled::{PlannedTree, Shape, Trees};

/// The whole run of a group, compiled for AVX2.
#[target_feature(enable = "avx2,bmi1,bmi2,lzcnt,popcnt")]
pub(super) fn run<S: Scalar + LeafSum, B: Bin + Complete<S>>(
    trees: &Trees<S, B>,
    features: usize,
    rows: &[f64],
    bins: &mut [[B; LANES]],
    sums: &mut [[S; LANES]],
) {
    run_with::<S, B, true>(trees, features, rows, bins, sums);
}

/// A complete tree's questions and the bins they are asked of.
#[derive(Clone, Copy)]
struct Asked {
    bins: *const u8,
    offsets: *const u32,
    cuts: *const i8,
}

impl LeafSum for f32 {
    #[inline(always)]
    unsafe fn add_complete_avx2(
        trees: &Trees<f32, i8>,
        tree: &PlannedTree,
        bins: &[[i8; LANES]],
        sums: &mut [f32; LANES],
    ) {
        let Shape::Complete {
            questions, planes, ..
        } = tree.shape
        else {
            return;
        };
        let asked = Asked::of(trees, questions, tree.depth, bins);
        let tables = (1usize << tree.depth).div_ceil(TABLE_LEAVES);
        let planes = trees.planes[planes..][..4 * tables * TABLE_LEAVES].as_ptr();
        // SAFETY: AVX2 is the caller's promise; `Asked::of` checked the ranges of the questions and the
        // slice above that of the planes; offsets were made from slots below the number of slots.
        unsafe {
            match tree.depth {
                1 => add_values::<1>(planes, fold1(asked, 0, 0), sums),
                2 => add_values::<1>(planes, fold2(asked, 0, 0), sums),
                3 => add_values::<1>(planes, fold3(asked, 0, 0), sums),
                4 => add_values::<1>(planes, fold4(asked, 0, 0), sums),
                5 => add_values::<2>(planes, fold5(asked, 0, 0), sums),
                6 => add_values::<4>(planes, fold6(asked, 0, 0), sums),
                _ => add_values::<8>(planes, fold7(asked, 0, 0), sums),
            }
        }
    }
}

impl LeafSum for f64 {
    #[inline(always)]
    unsafe fn add_complete_avx2(
        trees: &Trees<f64, i8>,
        tree: &PlannedTree,
        bins: &[[i8; LANES]],
        sums: &mut [f64; LANES],
    ) {
        let Shape::Complete {
            questions, leaves, ..
        } = tree.shape
        else {
            return;
        };
        let asked = Asked::of(trees, questions, tree.depth, bins);
        let leaves = &trees.leaves[leaves..][..1 << tree.depth];
        let mut places = [0u8; LANES];
        // SAFETY: as for f32; `places` is as long as a vector.
        unsafe {
            let folded = match tree.depth {
                1 => fold1(asked, 0, 0),
                2 => fold2(asked, 0, 0),
                3 => fold3(asked, 0, 0),
                4 => fold4(asked, 0, 0),
                5 => fold5(asked, 0, 0),
                6 => fold6(asked, 0, 0),
                _ => fold7(asked, 0, 0),
            };
            _mm256_storeu_si256(places.as_mut_ptr().cast(), folded);
        }
        for (lane, &place) in places.iter().enumerate() {
            sums[lane_place(lane)] += leaves[usize::from(place)];
        }
    }
}

impl Asked {
    #[inline(always)]
    fn of<S>(trees: &Trees<S, i8>, first: usize, depth: u32, bins: &[[i8; LANES]]) -> Asked {
        let count = (1 << depth) - 1;
        assert!((1..=7).contains(&depth) && bins.len() >= trees.slots.count());
        Asked {
            bins: bins.as_ptr().cast(),
            offsets: trees.offsets[first..][..count].as_ptr(),
            cuts: trees.cuts[first..][..count].as_ptr(),
        }
    }

    /// All ones in the lanes that go left at a question.
    ///
    /// # Safety
    /// AVX2; the question is one of the tree's.
    #[inline(always)]
    unsafe fn left(self, question: usize) -> __m256i {
        // SAFETY: the question is in range, and its offset is a slot's in `bins`.
        unsafe {
            let offset = *self.offsets.add(question) as usize;
            let bins = _mm256_loadu_si256(self.bins.add(offset).cast());
            _mm256_cmpgt_epi8(_mm256_set1_epi8(*self.cuts.add(question)), bins)
        }
    }
}

/// Folds the questions above two neighbouring leaves: the left one's number, or the next.
///
/// # Safety
/// As [`Asked::left`].
#[inline(always)]
unsafe fn fold1(asked: Asked, question: usize, leaf: i8) -> __m256i {
    // SAFETY: the caller's promise.
    unsafe { _mm256_add_epi8(asked.left(question), _mm256_set1_epi8(leaf + 1)) }
}

/// Folds a tree of one more level out of its two halves.
macro_rules! fold {
    ($name:ident, $half:ident, $leaves:literal) => {
        /// # Safety
        /// As [`Asked::left`], for all questions of the subtree.
        #[inline(always)]
        unsafe fn $name(asked: Asked, question: usize, leaf: i8) -> __m256i {
            // SAFETY: the caller's promise.
            unsafe {
                let left = $half(asked, 2 * question + 1, leaf);
                let right = $half(asked, 2 * question + 2, leaf + $leaves);
                _mm256_blendv_epi8(right, left, asked.left(question))
            }
        }
    };
}

fold!(fold2, fold1, 2);
fold!(fold3, fold2, 4);
fold!(fold4, fold3, 8);
fold!(fold5, fold4, 16);
fold!(fold6, fold5, 32);
fold!(fold7, fold6, 64);

/// Looks the leaves up and adds them to the sums.
///
/// # Safety
/// AVX2; `planes` has four planes of `TABLES` tables.
#[inline(always)]
unsafe fn add_values<const TABLES: usize>(
    planes: *const u8,
    leaves: __m256i,
    sums: &mut [f32; LANES],
) {
    // SAFETY: the caller's promise; `sums` has four vectors.
    unsafe {
        let bytes = TABLES * TABLE_LEAVES;
        let first = lookup::<TABLES>(planes, leaves);
        let second = lookup::<TABLES>(planes.add(bytes), leaves);
        let third = lookup::<TABLES>(planes.add(2 * bytes), leaves);
        let fourth = lookup::<TABLES>(planes.add(3 * bytes), leaves);
        let low = _mm256_unpacklo_epi8(first, second);
        let high = _mm256_unpackhi_epi8(first, second);
        let low_top = _mm256_unpacklo_epi8(third, fourth);
        let high_top = _mm256_unpackhi_epi8(third, fourth);
        let values = [
            _mm256_unpacklo_epi16(low, low_top),
            _mm256_unpackhi_epi16(low, low_top),
            _mm256_unpacklo_epi16(high, high_top),
            _mm256_unpackhi_epi16(high, high_top),
        ];
        for (index, value) in values.into_iter().enumerate() {
            let place = sums.as_mut_ptr().add(8 * index);
            let sum = _mm256_add_ps(_mm256_loadu_ps(place), _mm256_castsi256_ps(value));
            _mm256_storeu_ps(place, sum);
        }
    }
}

/// One byte of each lane's leaf: a shuffle a table, and blends by the leaf's higher bits.
///
/// Functions rather than closures, as only they can be inlined into code compiled for AVX2.
///
/// # Safety
/// AVX2; `plane` has `TABLES` tables.
#[inline(always)]
pub(in crate::forest) unsafe fn lookup<const TABLES: usize>(
    plane: *const u8,
    leaves: __m256i,
) -> __m256i {
    // SAFETY: the caller's promise.
    unsafe {
        match TABLES {
            1 => table(plane, 0, leaves),
            2 => two_tables(plane, 0, leaves),
            4 => four_tables(plane, 0, leaves),
            _ => {
                let (left, right) = (four_tables(plane, 0, leaves), four_tables(plane, 4, leaves));
                // Blends look at the sign bit, to which the shift brings bit 6, and below bits 5 and 4.
                _mm256_blendv_epi8(left, right, _mm256_slli_epi16::<1>(leaves))
            }
        }
    }
}

/// # Safety
/// As [`lookup`], for the tables from `first`.
#[inline(always)]
unsafe fn four_tables(plane: *const u8, first: usize, leaves: __m256i) -> __m256i {
    // SAFETY: the caller's promise.
    unsafe {
        let left = two_tables(plane, first, leaves);
        let right = two_tables(plane, first + 2, leaves);
        _mm256_blendv_epi8(left, right, _mm256_slli_epi16::<2>(leaves))
    }
}

/// # Safety
/// As [`lookup`], for the tables from `first`.
#[inline(always)]
unsafe fn two_tables(plane: *const u8, first: usize, leaves: __m256i) -> __m256i {
    // SAFETY: the caller's promise.
    unsafe {
        let (left, right) = (table(plane, first, leaves), table(plane, first + 1, leaves));
        _mm256_blendv_epi8(left, right, _mm256_slli_epi16::<3>(leaves))
    }
}

/// # Safety
/// As [`lookup`], for the table `index`.
#[inline(always)]
unsafe fn table(plane: *const u8, index: usize, leaves: __m256i) -> __m256i {
    // SAFETY: the caller's promise.
    unsafe {
        let bytes: __m128i = _mm_loadu_si128(plane.add(index * TABLE_LEAVES).cast());
        // A shuffle looks at the low four bits, and leaves stay below the sign bit.
        _mm256_shuffle_epi8(_mm256_broadcastsi128_si256(bytes), leaves)
    }
}
