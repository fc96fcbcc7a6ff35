//! One row in AVX2: all questions of a complete tree at once.

use std::arch::x86_64::{_mm256_cmpgt_epi8, _mm256_loadu_si256, _mm256_movemask_epi8};
use std::ops::Range;

use super::{HEAP_LANES, HEAP_SLOTS_MAX, heap_vectors, run_with};
use crate::forest::batch::avx2::lookup;
use crate::forest::bins::{Bin, Scalar};
use crate::forest::compiled::{Shape, Trees};

/// The whole run of a group, compiled for AVX2: the search for bins gains from it too.
#[target_feature(enable = "avx2,bmi1,bmi2,lzcnt,popcnt")]
pub(super) fn run<S: Scalar, B: Bin>(trees: &Trees<S, B>, row: &[f64], sums: &mut [S]) {
    run_with::<S, B, true>(trees, row, sums);
}

/// A row's bins where shuffles find them.
pub(super) struct HeapBins {
    bins: [u8; HEAP_SLOTS_MAX],
    /// Whether half of them is enough.
    is_half: bool,
}

impl HeapBins {
    /// `None` if the group has no heaps.
    #[inline(always)]
    pub(super) fn of<S, B: Bin>(trees: &Trees<S, B>, bins: &[B]) -> Option<HeapBins> {
        if trees.heaps.is_empty() {
            return None;
        }
        let mut bytes = [0; HEAP_SLOTS_MAX];
        for (byte, bin) in bytes.iter_mut().zip(bins) {
            *byte = bin.low_byte();
        }
        Some(HeapBins {
            bins: bytes,
            is_half: bins.len() <= HEAP_SLOTS_MAX / 2,
        })
    }

    /// Adds what the complete trees of a run say, in order.
    ///
    /// # Safety
    /// The processor has AVX2.
    #[inline(always)]
    pub(super) unsafe fn add<S: Scalar, B: Bin>(
        &self,
        trees: &Trees<S, B>,
        run: Range<usize>,
        sums: &mut [S],
    ) {
        // SAFETY: the caller's promise.
        unsafe {
            match (trees.trees[run.start].depth, self.is_half) {
                (1..=5, true) => self.add_run::<S, B, 1, 2>(trees, run, sums),
                (1..=5, false) => self.add_run::<S, B, 1, 4>(trees, run, sums),
                (6, true) => self.add_run::<S, B, 2, 2>(trees, run, sums),
                (6, false) => self.add_run::<S, B, 2, 4>(trees, run, sums),
                (_, true) => self.add_run::<S, B, 4, 2>(trees, run, sums),
                (_, false) => self.add_run::<S, B, 4, 4>(trees, run, sums),
            }
        }
    }

    /// # Safety
    /// As [`HeapBins::add`].
    #[inline(always)]
    unsafe fn add_run<S: Scalar, B: Bin, const VECTORS: usize, const TABLES: usize>(
        &self,
        trees: &Trees<S, B>,
        run: Range<usize>,
        sums: &mut [S],
    ) {
        for tree in &trees.trees[run] {
            let Shape::Complete { leaves, heap, .. } = tree.shape else {
                continue;
            };
            assert!(heap_vectors(tree.depth) == VECTORS);
            let heap = &trees.heaps[heap..][..2 * VECTORS];
            // SAFETY: the caller's promise; the heap has as many vectors of slots as of cuts.
            let right = unsafe { self.right::<VECTORS, TABLES>(heap) };
            let mut place = 1u32;
            for _ in 0..tree.depth.min(6) {
                place = 2 * place + (right[0] >> place & 1) as u32;
            }
            if VECTORS == 4 {
                place = 2 * place + (right[1] >> (place - 64) & 1) as u32;
            }
            let leaf = leaves + place as usize - (1 << tree.depth);
            let sum = &mut sums[tree.output];
            *sum = sum.plus(trees.leaves[leaf]);
        }
    }

    /// A bit for each question by its place in the heap: whether the row goes right.
    ///
    /// # Safety
    /// AVX2; `heap` has `VECTORS` vectors of slots and as many of cuts.
    #[inline(always)]
    unsafe fn right<const VECTORS: usize, const TABLES: usize>(
        &self,
        heap: &[[u8; HEAP_LANES]],
    ) -> [u64; 2] {
        let mut right = [0; 2];
        for vector in 0..VECTORS {
            // SAFETY: the caller's promise; `bins` is as long as all tables.
            let left = unsafe {
                let slots = _mm256_loadu_si256(heap[vector].as_ptr().cast());
                let cuts = _mm256_loadu_si256(heap[VECTORS + vector].as_ptr().cast());
                let bins = lookup::<TABLES>(self.bins.as_ptr(), slots);
                _mm256_movemask_epi8(_mm256_cmpgt_epi8(cuts, bins)) as u32
            };
            right[vector / 2] |= u64::from(!left) << (vector % 2 * HEAP_LANES);
        }
        right
    }
}
