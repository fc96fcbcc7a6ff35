//! Many rows at once, in blocks of 32 lanes.
//!
//! A complete tree is answered by asking all of its questions of 32 rows each and folding the answers
//! bottom-up into 32 leaf numbers: no branch, no dependent load. Leaf values in `f32` are looked up as four
//! planes of bytes by shuffles. Deep trees are walked eight rows interleaved. Several blocks share each
//! tree, so that a forest beyond the cache is read once for all of them. Sums are in tree order, lane by
//! lane, so the bits are those of the plain walk.

#[cfg(target_arch = "x86_64")]
pub(super) mod avx2;

use super::bins::{Bin, LANES, Scalar};
use super::compiled::{DeepNode, Group, Plan, PlannedTree, Question, Shape, Trees};

/// Blocks that go through the trees together.
const BLOCKS: usize = 4;
/// Rows walked interleaved through a deep tree: enough loads in flight, few enough for the registers.
const INTERLEAVED_ROWS: usize = 8;
/// Steps between checks whether all of the interleaved rows arrived.
const STEPS: u32 = 4;
/// Leaves whose bytes one shuffle can tell apart.
const TABLE_LEAVES: usize = 16;

/// Margins of `rows` as [`super::CompiledForest::margins`] promises.
pub(super) fn margins<S: Scalar + LeafSum>(
    plan: &Plan<S>,
    features: usize,
    base_margins: &[f64],
    rows: &[f64],
    out: &mut [f64],
    use_simd: bool,
) {
    let outputs = base_margins.len();
    let mut scratch = Scratch::new(plan, outputs);
    let count = out.len() / outputs;
    for start in (0..count).step_by(BLOCKS * LANES) {
        let end = count.min(start + BLOCKS * LANES);
        let rows = &rows[start * features..end * features];
        let out = &mut out[start * outputs..end * outputs];
        scratch.start(base_margins);
        for group in &plan.groups {
            match group {
                Group::Narrow(trees) => {
                    run(
                        trees,
                        features,
                        rows,
                        &mut scratch.narrow,
                        &mut scratch.sums,
                        use_simd,
                    );
                }
                Group::Wide(trees) => {
                    run(
                        trees,
                        features,
                        rows,
                        &mut scratch.wide,
                        &mut scratch.sums,
                        use_simd,
                    );
                }
            }
        }
        scratch.finish(outputs, out);
    }
}

/// How leaves of complete trees are added to the sums of a block.
pub(super) trait LeafSum: Scalar {
    /// Adds the leaves that the bins of a block lead to.
    ///
    /// # Safety
    /// The processor has AVX2; the offsets lie in `bins`; the tree is complete and narrow.
    #[cfg(target_arch = "x86_64")]
    unsafe fn add_complete_avx2(
        trees: &Trees<Self, i8>,
        tree: &PlannedTree,
        bins: &[[i8; LANES]],
        sums: &mut [Self; LANES],
    );
}

#[cfg(not(target_arch = "x86_64"))]
impl LeafSum for f32 {}
#[cfg(not(target_arch = "x86_64"))]
impl LeafSum for f64 {}

/// Bins and sums of the blocks in flight.
struct Scratch<S> {
    narrow: Vec<[i8; LANES]>,
    wide: Vec<[i16; LANES]>,
    /// By block, then output; lanes in the order of [`lane_place`].
    sums: Vec<[S; LANES]>,
}

impl<S: Scalar> Scratch<S> {
    fn new(plan: &Plan<S>, outputs: usize) -> Scratch<S> {
        let (mut narrow, mut wide) = (0, 0);
        for group in &plan.groups {
            match group {
                Group::Narrow(trees) => narrow = narrow.max(trees.slots.count()),
                Group::Wide(trees) => wide = wide.max(trees.slots.count()),
            }
        }
        Scratch {
            narrow: vec![[0; LANES]; BLOCKS * narrow],
            wide: vec![[0; LANES]; BLOCKS * wide],
            sums: vec![[S::default(); LANES]; BLOCKS * outputs],
        }
    }

    fn start(&mut self, base_margins: &[f64]) {
        for (sums, &base) in self.sums.iter_mut().zip(base_margins.iter().cycle()) {
            *sums = [S::from_f64(base); LANES];
        }
    }

    fn finish(&self, outputs: usize, out: &mut [f64]) {
        for (row, out) in out.chunks_exact_mut(outputs).enumerate() {
            let (block, lane) = (row / LANES, row % LANES);
            for (output, out) in out.iter_mut().enumerate() {
                *out = self.sums[block * outputs + output][lane_place(lane)].to_f64();
            }
        }
    }
}

/// Whether the processor has AVX2 and the bit instructions that came with it.
#[cfg(target_arch = "x86_64")]
pub(super) fn has_avx2() -> bool {
    is_x86_feature_detected!("avx2")
        && is_x86_feature_detected!("bmi1")
        && is_x86_feature_detected!("bmi2")
        && is_x86_feature_detected!("lzcnt")
        && is_x86_feature_detected!("popcnt")
}

/// Where a lane's sum is kept: the order in which unpacking bytes to `f32` leaves the rows.
#[inline(always)]
pub(super) const fn lane_place(lane: usize) -> usize {
    lane / 4 % 4 * 8 + lane / 16 * 4 + lane % 4
}

/// The slot as a byte offset into a block of byte-wide bins.
pub(super) fn offset(slot: u16) -> u32 {
    u32::from(slot) * LANES as u32
}

/// Appends the bytes of a complete tree's leaves by plane, sixteen leaves a table, padded with zeros.
pub(super) fn add_planes<S: Scalar>(leaves: &[S], planes: &mut Vec<u8>) {
    let tables = leaves.len().div_ceil(TABLE_LEAVES);
    for plane in 0..4 {
        for leaf in 0..tables * TABLE_LEAVES {
            let value = leaves.get(leaf).map_or(0.0, |leaf| leaf.to_f64() as f32);
            planes.push(value.to_le_bytes()[plane]);
        }
    }
}

fn run<S: Scalar + LeafSum, B: Bin + Complete<S>>(
    trees: &Trees<S, B>,
    features: usize,
    rows: &[f64],
    bins: &mut [[B; LANES]],
    sums: &mut [[S; LANES]],
    use_simd: bool,
) {
    #[cfg(target_arch = "x86_64")]
    if use_simd && has_avx2() {
        // SAFETY: the processor has what the function was compiled for.
        return unsafe { avx2::run(trees, features, rows, bins, sums) };
    }
    run_with::<S, B, false>(trees, features, rows, bins, sums);
}

#[inline(always)]
fn run_with<S: Scalar + LeafSum, B: Bin + Complete<S>, const SIMD: bool>(
    trees: &Trees<S, B>,
    features: usize,
    rows: &[f64],
    bins: &mut [[B; LANES]],
    sums: &mut [[S; LANES]],
) {
    let slots = trees.slots.count();
    let outputs = sums.len() / BLOCKS;
    let blocks = (rows.len() / features.max(1)).div_ceil(LANES).min(BLOCKS);
    let block_rows = LANES * features.max(1);
    for (rows, bins) in rows.chunks(block_rows).zip(bins.chunks_exact_mut(slots)) {
        trees.slots.block::<B, SIMD>(rows, features, bins);
    }
    // Without features there is nothing to ask, but the leaves still count.
    let blocks = if features == 0 { BLOCKS } else { blocks };
    for tree in &trees.trees {
        for block in 0..blocks {
            let bins = &bins[block * slots..][..slots];
            let sums = &mut sums[block * outputs + tree.output];
            match tree.shape {
                Shape::Complete { .. } => B::add_complete::<SIMD>(trees, tree, bins, sums),
                Shape::Deep { root } => add_deep(trees, root, bins, sums),
            }
        }
    }
}

/// Complete trees by the width of their bins.
pub(super) trait Complete<S: Scalar>: Bin {
    fn add_complete<const SIMD: bool>(
        trees: &Trees<S, Self>,
        tree: &PlannedTree,
        bins: &[[Self; LANES]],
        sums: &mut [S; LANES],
    );
}

impl<S: Scalar + LeafSum> Complete<S> for i8 {
    #[inline(always)]
    fn add_complete<const SIMD: bool>(
        trees: &Trees<S, i8>,
        tree: &PlannedTree,
        bins: &[[i8; LANES]],
        sums: &mut [S; LANES],
    ) {
        #[cfg(target_arch = "x86_64")]
        if SIMD {
            // SAFETY: `SIMD` is set only after AVX2 was detected; `bins` has all of the group's slots.
            return unsafe { S::add_complete_avx2(trees, tree, bins, sums) };
        }
        add_complete_portable(trees, tree, bins, sums);
    }
}

impl<S: Scalar> Complete<S> for i16 {
    #[inline(always)]
    fn add_complete<const SIMD: bool>(
        trees: &Trees<S, i16>,
        tree: &PlannedTree,
        bins: &[[i16; LANES]],
        sums: &mut [S; LANES],
    ) {
        add_complete_portable(trees, tree, bins, sums);
    }
}

/// Eight rows interleaved through the implicit tree.
#[inline(always)]
fn add_complete_portable<S: Scalar, B: Bin>(
    trees: &Trees<S, B>,
    tree: &PlannedTree,
    bins: &[[B; LANES]],
    sums: &mut [S; LANES],
) {
    let Shape::Complete {
        questions, leaves, ..
    } = tree.shape
    else {
        return;
    };
    let inner = (1 << tree.depth) - 1;
    let questions: &[Question<B>] = &trees.questions[questions..][..inner];
    let leaves = &trees.leaves[leaves..][..inner + 1];
    for first in (0..LANES).step_by(INTERLEAVED_ROWS) {
        let mut places = [0usize; INTERLEAVED_ROWS];
        for _ in 0..tree.depth {
            for (row, place) in places.iter_mut().enumerate() {
                let question = &questions[*place];
                let goes_left = question.cut > bins[usize::from(question.slot)][first + row];
                *place = 2 * *place + 1 + usize::from(!goes_left);
            }
        }
        for (row, place) in places.into_iter().enumerate() {
            let sum = &mut sums[lane_place(first + row)];
            *sum = sum.plus(leaves[place - inner]);
        }
    }
}

#[inline(always)]
fn add_deep<S: Scalar, B: Bin>(
    trees: &Trees<S, B>,
    root: u32,
    bins: &[[B; LANES]],
    sums: &mut [S; LANES],
) {
    for first in (0..LANES).step_by(INTERLEAVED_ROWS) {
        let mut places = [root; INTERLEAVED_ROWS];
        loop {
            for _ in 0..STEPS {
                for (row, place) in places.iter_mut().enumerate() {
                    *place = deep_step(&trees.nodes, *place, |slot| bins[slot][first + row]);
                }
            }
            let has_arrived = |&place: &u32| trees.nodes[place as usize].left == place;
            if places.iter().all(has_arrived) {
                break;
            }
        }
        for (row, place) in places.into_iter().enumerate() {
            let sum = &mut sums[lane_place(first + row)];
            *sum = sum.plus(trees.values[place as usize]);
        }
    }
}

/// One step down a deep tree; a leaf stays where it is.
#[inline(always)]
pub(super) fn deep_step<B: Bin>(
    nodes: &[DeepNode<B>],
    place: u32,
    bin: impl Fn(usize) -> B,
) -> u32 {
    let node = nodes[place as usize];
    node.left + u32::from(node.cut <= bin(usize::from(node.slot)))
}
