//! Complete trees laid out so that vectors ask all questions of a tree at once.
//!
//! Trees lie in stretches, each padded to the deepest of its stretch. A stretch is answered in passes over
//! it, so that none waits for another: a comparison gives a bit for each question, shifts follow the bits
//! down eight trees at a time, and the leaves are added. Within a stretch trees are in order of their
//! output, and within an output in the forest's order: a sum stays in a register and keeps its bits.
//!
//! What a row costs is the memory it touches. Of deep trees only the top is asked whole; below it, each way
//! leads to a line of cache that holds the last three questions' bits and their leaves ([`Bottom`]), and a
//! row looks at one line a tree.

use std::ops::Range;

use crate::forest::bins::{Bin, LOWEST_SLOT, Scalar};
use crate::forest::compiled::{COMPLETE_DEPTH_MAX, PlannedTree, Question, Shape, Trees};

/// Bytes of a line of cache, and questions asked by one instruction.
pub(super) const LINE: usize = 64;
/// The most slots that shuffles can tell apart at little cost.
pub(super) const SLOTS_MAX: usize = 2 * LINE;
/// Trees answered together: what their passes hand on stays in the nearest cache.
pub(super) const STRETCH_TREES: usize = 64;
/// Levels of questions in a bottom.
const BOTTOM_DEPTH: u32 = 3;
/// Questions and leaves of a bottom, with the place that no question has.
pub(super) const BOTTOM_LANES: usize = 1 << BOTTOM_DEPTH;
/// A bottom has room for sixteen leaves, single or double.
pub(super) const BOTTOM_LEAVES_BITS: u32 = 4;
const _: () = assert!(Bottom::<f32>::LEAVES == 1 << BOTTOM_LEAVES_BITS);
const _: () = assert!(Bottom::<f64>::LEAVES == 1 << BOTTOM_LEAVES_BITS);
/// From here on trees have bottoms: what a row touches is less than half then.
const DIVIDED_DEPTH_MIN: u32 = WHOLE_DEPTH_MAX + 1;
/// Trees whose places are made together, so that each has a bottom to look at.
const ROUNDED_TREES: usize = 8;
/// The shallowest heap: its bits are a byte.
const DEPTH_MIN: u32 = 3;
/// The most levels that are asked whole.
const WHOLE_DEPTH_MAX: u32 = 5;
const _: () = assert!(COMPLETE_DEPTH_MAX - BOTTOM_DEPTH <= WHOLE_DEPTH_MAX);

/// The complete trees of a group, and where trees are walked between them.
#[derive(Clone, Debug)]
pub(in crate::forest) struct Heaps<S> {
    stretches: Vec<Stretch>,
    asked: Vec<Asked>,
    leaves: Vec<S>,
    bottoms: Vec<Bottom<S>>,
    ends: Vec<End>,
}

#[derive(Clone, Debug)]
enum Stretch {
    Complete(Complete),
    Walked(Range<usize>),
}

#[derive(Clone, Debug)]
struct Complete {
    /// Levels that are asked whole.
    depth: u32,
    trees: usize,
    asked: Range<usize>,
    below: Below,
    ends: Range<usize>,
}

/// What stands below the levels that are asked whole.
#[derive(Clone, Debug)]
enum Below {
    Leaves(Range<usize>),
    Bottoms(Range<usize>),
}

/// Questions by their place in a heap, the root at 1, one tree's heap behind another's.
#[derive(Clone, Debug)]
#[repr(C, align(64))]
pub(super) struct Asked {
    pub slots: [u8; LINE],
    pub cuts: [u8; LINE],
}

/// The last levels of a tree below one of the ways there: questions by their place, the first at 1, and the
/// leaves. With leaves of single precision it is a line of cache.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(64))]
pub(super) struct Bottom<S> {
    pub slots: [u8; BOTTOM_LANES],
    pub cuts: [u8; BOTTOM_LANES],
    pub leaves: [S; BOTTOM_LANES],
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

/// A bit a question, whether the row goes right: trees one behind the other, at most half a word each.
#[repr(C, align(64))]
pub(super) struct Rights(pub [u64; STRETCH_TREES]);

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

    /// Takes each tree's place among bottoms to the place of its leaf, counted in leaves from the first
    /// bottom on.
    ///
    /// # Safety
    /// The processor has the instructions; `trees` is at most [`STRETCH_TREES`], and up to `trees`, rounded
    /// up to [`ROUNDED_TREES`], each place is one of a bottom.
    unsafe fn lower<S: Scalar>(&self, bottoms: &[Bottom<S>], trees: usize, places: &mut Places);
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
            bottoms: Vec::new(),
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
        let whole = depth.unwrap_or(DEPTH_MIN).max(DEPTH_MIN);
        let is_divided = whole >= DIVIDED_DEPTH_MIN;
        let depth = if is_divided {
            whole - BOTTOM_DEPTH
        } else {
            whole
        };
        let (asked, leaves, bottoms, ends) = (
            self.asked.len(),
            self.leaves.len(),
            self.bottoms.len(),
            self.ends.len(),
        );
        let lines = (planned.len() << depth).div_ceil(LINE);
        self.asked.resize(asked + lines, Asked::LEFT);
        if is_divided {
            let ways = planned.len().next_multiple_of(ROUNDED_TREES) << depth;
            self.bottoms.resize(bottoms + ways, Bottom::left());
        }
        for (index, &tree) in planned.iter().enumerate() {
            let Shape::Complete {
                questions, leaves, ..
            } = tree.shape
            else {
                continue;
            };
            let inner = (1 << tree.depth) - 1;
            let questions = &trees.questions[questions..][..inner];
            let leaves = &trees.leaves[leaves..][..inner + 1];
            // Below a tree's own leaves every way leads to the same value.
            let padding = whole - tree.depth;
            let leaf = |leaf: usize| leaves[leaf >> padding];
            self.add_questions(questions, asked, bottoms, index, depth);
            if is_divided {
                let ways = &mut self.bottoms[bottoms + (index << depth)..][..1 << depth];
                for (way, bottom) in ways.iter_mut().enumerate() {
                    bottom.leaves = std::array::from_fn(|at| leaf(way * BOTTOM_LANES + at));
                }
            } else {
                self.leaves.extend((0..1usize << depth).map(leaf));
            }
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
            below: match is_divided {
                true => Below::Bottoms(bottoms..self.bottoms.len()),
                false => Below::Leaves(leaves..self.leaves.len()),
            },
            ends: ends..self.ends.len(),
        }));
    }

    /// Questions by level, the first `depth` levels in the tree's heap and the rest in its bottoms.
    fn add_questions<B: Bin>(
        &mut self,
        questions: &[Question<B>],
        asked: usize,
        bottoms: usize,
        index: usize,
        depth: u32,
    ) {
        for (place, question) in (1_usize..).zip(questions) {
            let (slot, cut) = (question.slot as u8, question.cut.low_byte());
            let level = place.ilog2();
            if level < depth {
                let lane = (index << depth) + place;
                let line = &mut self.asked[asked + lane / LINE];
                (line.slots[lane % LINE], line.cuts[lane % LINE]) = (slot, cut);
            } else {
                // A place's leading digits are the way there, the others the place below it.
                let below = level - depth;
                let way = (place >> below) - (1 << depth);
                let within = (1 << below) | (place & ((1 << below) - 1));
                let bottom = &mut self.bottoms[bottoms + (index << depth) + way];
                (bottom.slots[within], bottom.cuts[within]) = (slot, cut);
            }
        }
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
        let (mut rights, mut places) = (Rights([0; STRETCH_TREES]), Places([0; STRETCH_TREES]));
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
                    _ => V::follow::<WHOLE_DEPTH_MAX>(&rights, stretch.trees, &mut places),
                }
            }
            let leaves = match &stretch.below {
                Below::Leaves(leaves) => self.leaves[leaves.clone()].as_ptr(),
                Below::Bottoms(bottoms) => {
                    let bottoms = &self.bottoms[bottoms.clone()];
                    // SAFETY: the caller's promise; `follow` ended on one of the ways of each tree, and every
                    // way of the rounded number of trees has a bottom.
                    unsafe { vectors.lower(bottoms, stretch.trees, &mut places) };
                    Bottom::as_leaves(bottoms)
                }
            };
            // SAFETY: whatever the bits, `follow` ended on one of the 2^depth leaves of each tree, or `lower` on
            // one of those of a bottom.
            unsafe { add_leaves(leaves, &self.ends[stretch.ends.clone()], &places, sums) };
        }
    }

    /// # Safety
    /// As [`Vectors`].
    #[inline(always)]
    unsafe fn ask<V: Vectors>(&self, vectors: &V, stretch: &Complete, rights: &mut Rights) {
        let asked = &self.asked[stretch.asked.clone()];
        for (rights, asked) in rights.0.iter_mut().zip(asked) {
            // SAFETY: the caller's promise.
            *rights = unsafe { vectors.rights(asked) };
        }
    }
}

/// Adds the leaves of each output's trees in their order.
///
/// # Safety
/// Up to the last end, a leaf lies at each place from `leaves` on.
#[inline(always)]
unsafe fn add_leaves<S: Scalar>(leaves: *const S, ends: &[End], places: &Places, sums: &mut [S]) {
    let mut first = 0;
    for end in ends {
        let mut sum = sums[end.output];
        for &place in &places.0[first..end.tree] {
            // SAFETY: the caller's promise.
            sum = sum.plus(unsafe { *leaves.add(place as usize) });
        }
        sums[end.output] = sum;
        first = end.tree;
    }
}

impl Asked {
    /// Every row goes left.
    const LEFT: Asked = Asked {
        slots: [LOWEST_SLOT as u8; LINE],
        cuts: [<i8 as Bin>::SECOND as u8; LINE],
    };
}

impl<S: Scalar> Bottom<S> {
    /// Leaves that would find room in a bottom, and those before its own.
    const LEAVES: usize = size_of::<Self>() / size_of::<S>();
    pub(super) const LEAVES_BEFORE: usize = std::mem::offset_of!(Self, leaves) / size_of::<S>();

    /// Every row goes left, to nothing.
    fn left() -> Self {
        Bottom {
            slots: [LOWEST_SLOT as u8; BOTTOM_LANES],
            cuts: [<i8 as Bin>::SECOND as u8; BOTTOM_LANES],
            leaves: [S::default(); BOTTOM_LANES],
        }
    }

    /// The memory of bottoms, counted in leaves; only those at the places of leaves may be looked at.
    fn as_leaves(bottoms: &[Self]) -> *const S {
        bottoms.as_ptr().cast()
    }
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
