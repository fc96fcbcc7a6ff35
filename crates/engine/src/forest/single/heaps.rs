//! Complete trees laid out so that vectors ask all questions of a tree at once.
//!
//! Trees lie in stretches, each padded to the deepest of its stretch. A stretch is answered in three passes
//! over it, so that none waits for another: a comparison gives a bit for each question, shifts follow the
//! bits down eight trees at a time, and the leaves are added. Within a stretch trees are in order of their
//! output, and within an output in the forest's order: a sum stays in a register and keeps its bits.

use std::ops::Range;

use crate::forest::bins::{Bin, LOWEST_SLOT, Scalar};
use crate::forest::compiled::{PlannedTree, Question, Shape, Trees};

/// Bytes of a line of cache, and questions asked by one instruction.
pub(super) const LINE: usize = 64;
/// The most slots that shuffles can tell apart at little cost.
pub(super) const SLOTS_MAX: usize = 2 * LINE;
/// Trees answered together: what their passes hand on stays in the nearest cache.
pub(super) const STRETCH_TREES: usize = 64;
/// The shallowest heap: its bits are a byte.
const DEPTH_MIN: u32 = 3;
const DEPTH_MAX: u32 = crate::forest::compiled::COMPLETE_DEPTH_MAX;

/// The complete trees of a group, and where trees are walked between them.
#[derive(Clone, Debug)]
pub(in crate::forest) struct Heaps<S> {
    stretches: Vec<Stretch>,
    asked: Vec<Asked>,
    leaves: Vec<S>,
    ends: Vec<End>,
}

#[derive(Clone, Debug)]
enum Stretch {
    Complete(Complete),
    Walked(Range<usize>),
}

#[derive(Clone, Debug)]
struct Complete {
    depth: u32,
    trees: usize,
    asked: Range<usize>,
    leaves: Range<usize>,
    ends: Range<usize>,
}

/// Questions by their place in a heap, the root at 1, one tree's heap behind another's.
#[derive(Clone, Debug)]
#[repr(C, align(64))]
pub(super) struct Asked {
    pub slots: [u8; LINE],
    pub cuts: [u8; LINE],
}

/// Up to which tree of its stretch an output's trees go.
#[derive(Clone, Debug)]
struct End {
    output: usize,
    tree: usize,
}

/// A row's bins where shuffles find them.
#[repr(C, align(64))]
pub(super) struct HeapBins(pub [u8; SLOTS_MAX]);

/// A bit a question, whether the row goes right: trees one behind the other. The lower questions of the
/// deepest trees, which have two words each, lie in the second half.
#[repr(C, align(64))]
pub(super) struct Rights(pub [u64; 2 * STRETCH_TREES]);

/// Where each tree's leaf lies in its stretch.
#[repr(C, align(64))]
pub(super) struct Places(pub [u64; STRETCH_TREES]);

/// What the passes need of a processor. All functions may be called only where it has the instructions.
pub(super) trait Vectors {
    /// # Safety
    /// The processor has the instructions.
    unsafe fn of(bins: &HeapBins) -> Self;

    /// A bit for each question of a line.
    ///
    /// # Safety
    /// The processor has the instructions.
    unsafe fn rights(&self, asked: &Asked) -> u64;

    /// Follows the bits of `trees` trees, rounded up as it likes, down `DEPTH` steps.
    ///
    /// # Safety
    /// The processor has the instructions; `trees` is at most [`STRETCH_TREES`].
    unsafe fn follow<const DEPTH: u32>(rights: &Rights, trees: usize, places: &mut Places);
}

impl<S: Scalar> Heaps<S> {
    /// `None` where no tree is complete or the slots are too many.
    pub(in crate::forest) fn new<B: Bin>(trees: &Trees<S, B>) -> Option<Heaps<S>> {
        let is_complete = |tree: &PlannedTree| matches!(tree.shape, Shape::Complete { .. });
        if trees.slots.count() > SLOTS_MAX || !trees.trees.iter().any(is_complete) {
            return None;
        }
        let mut heaps = Heaps {
            stretches: Vec::new(),
            asked: Vec::new(),
            leaves: Vec::new(),
            ends: Vec::new(),
        };
        let mut first = 0;
        for run in trees
            .trees
            .chunk_by(|a, b| is_complete(a) == is_complete(b))
        {
            let end = first + run.len();
            if is_complete(&run[0]) {
                for start in (first..end).step_by(STRETCH_TREES) {
                    heaps.add_stretch(trees, start..end.min(start + STRETCH_TREES));
                }
            } else {
                heaps.stretches.push(Stretch::Walked(first..end));
            }
            first = end;
        }
        Some(heaps)
    }

    fn add_stretch<B: Bin>(&mut self, trees: &Trees<S, B>, range: Range<usize>) {
        let mut planned: Vec<&PlannedTree> = trees.trees[range].iter().collect();
        planned.sort_by_key(|tree| tree.output);
        let depth = planned.iter().map(|tree| tree.depth).max();
        let depth = depth.unwrap_or(DEPTH_MIN).max(DEPTH_MIN);
        let (asked, leaves, ends) = (self.asked.len(), self.leaves.len(), self.ends.len());
        let lines = (planned.len() << depth).div_ceil(LINE);
        self.asked.resize(asked + lines, Asked::LEFT);
        for (index, &tree) in planned.iter().enumerate() {
            self.add_tree(trees, tree, asked, index, depth);
            match self.ends[ends..].last_mut() {
                Some(end) if end.output == tree.output => end.tree = index + 1,
                _ => self.ends.push(End {
                    output: tree.output,
                    tree: index + 1,
                }),
            }
        }
        self.stretches.push(Stretch::Complete(Complete {
            depth,
            trees: planned.len(),
            asked: asked..self.asked.len(),
            leaves: leaves..self.leaves.len(),
            ends: ends..self.ends.len(),
        }));
    }

    /// Below a tree's own leaves every way leads to the same value.
    fn add_tree<B: Bin>(
        &mut self,
        trees: &Trees<S, B>,
        tree: &PlannedTree,
        asked: usize,
        index: usize,
        depth: u32,
    ) {
        let Shape::Complete {
            questions, leaves, ..
        } = tree.shape
        else {
            return;
        };
        let inner = (1 << tree.depth) - 1;
        let questions: &[Question<B>] = &trees.questions[questions..][..inner];
        for (place, question) in (1..).zip(questions) {
            let lane = (index << depth) + place;
            let line = &mut self.asked[asked + lane / LINE];
            line.slots[lane % LINE] = question.slot as u8;
            line.cuts[lane % LINE] = question.cut.low_byte();
        }
        let padding = depth - tree.depth;
        let leaves = &trees.leaves[leaves..][..inner + 1];
        self.leaves
            .extend((0..1usize << depth).map(|leaf| leaves[leaf >> padding]));
    }

    /// Adds what the trees say, each output's in order; those that are no heaps are handed to `walk`.
    ///
    /// # Safety
    /// As [`Vectors`].
    #[inline(always)]
    pub(super) unsafe fn add<V: Vectors>(
        &self,
        bins: &HeapBins,
        sums: &mut [S],
        mut walk: impl FnMut(Range<usize>, &mut [S]),
    ) {
        // SAFETY: the caller's promise.
        let vectors = unsafe { V::of(bins) };
        let (mut rights, mut places) = (Rights([0; 2 * STRETCH_TREES]), Places([0; STRETCH_TREES]));
        for stretch in &self.stretches {
            let stretch = match stretch {
                Stretch::Complete(stretch) => stretch,
                Stretch::Walked(range) => {
                    walk(range.clone(), sums);
                    continue;
                }
            };
            // SAFETY: the caller's promise; a stretch's depth is between the two limits.
            unsafe {
                self.ask(&vectors, stretch, &mut rights);
                match stretch.depth {
                    DEPTH_MIN => V::follow::<DEPTH_MIN>(&rights, stretch.trees, &mut places),
                    4 => V::follow::<4>(&rights, stretch.trees, &mut places),
                    5 => V::follow::<5>(&rights, stretch.trees, &mut places),
                    6 => V::follow::<6>(&rights, stretch.trees, &mut places),
                    _ => V::follow::<DEPTH_MAX>(&rights, stretch.trees, &mut places),
                }
            }
            self.add_leaves(stretch, &places, sums);
        }
    }

    /// # Safety
    /// As [`Vectors`].
    #[inline(always)]
    unsafe fn ask<V: Vectors>(&self, vectors: &V, stretch: &Complete, rights: &mut Rights) {
        let asked = &self.asked[stretch.asked.clone()];
        if stretch.depth < DEPTH_MAX {
            for (rights, asked) in rights.0.iter_mut().zip(asked) {
                // SAFETY: the caller's promise.
                *rights = unsafe { vectors.rights(asked) };
            }
            return;
        }
        let (upper, lower) = rights.0.split_at_mut(STRETCH_TREES);
        for ((upper, lower), asked) in upper.iter_mut().zip(lower).zip(asked.as_chunks::<2>().0) {
            // SAFETY: the caller's promise.
            (*upper, *lower) = unsafe { (vectors.rights(&asked[0]), vectors.rights(&asked[1])) };
        }
    }

    #[inline(always)]
    fn add_leaves(&self, stretch: &Complete, places: &Places, sums: &mut [S]) {
        let leaves = &self.leaves[stretch.leaves.clone()];
        let mut first = 0;
        for end in &self.ends[stretch.ends.clone()] {
            let mut sum = sums[end.output];
            for &place in &places.0[first..end.tree] {
                // SAFETY: whatever the bits, `follow` ends on one of the 2^depth leaves of each tree.
                sum = sum.plus(unsafe { *leaves.get_unchecked(place as usize) });
            }
            sums[end.output] = sum;
            first = end.tree;
        }
    }
}

impl Asked {
    /// Every row goes left.
    const LEFT: Asked = Asked {
        slots: [LOWEST_SLOT as u8; LINE],
        cuts: [<i8 as Bin>::SECOND as u8; LINE],
    };
}

impl HeapBins {
    #[inline(always)]
    pub(super) fn of<B: Bin>(bins: &[B]) -> HeapBins {
        let mut bytes = [0; SLOTS_MAX];
        for (byte, bin) in bytes.iter_mut().zip(bins) {
            *byte = bin.low_byte();
        }
        HeapBins(bytes)
    }
}
