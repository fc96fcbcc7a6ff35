//! One row, as fast as a decision on its own needs it.
//!
//! Where a group of complete trees has few slots, vectors answer all questions of a tree at once: shuffles
//! fetch each question's bin, one comparison gives a bit a question, and the way down is shifts. Other
//! trees are walked with several interleaved, so that their loads wait together. (A table of masks by
//! feature and bin, as in QuickScorer, touches far more memory a row than either.)

#[cfg(target_arch = "x86_64")]
mod avx2;

use super::batch::deep_step;
#[cfg(target_arch = "x86_64")]
use super::batch::has_avx2;
use super::bins::{Bin, Scalar};
use super::compiled::{Group, Plan, PlannedTree, Question, Shape, Trees};

/// Trees walked interleaved.
const INTERLEAVED_TREES: usize = 8;
/// Slots and outputs that fit the stack.
const STACK_SLOTS: usize = 1024;
const STACK_OUTPUTS: usize = 64;
/// Steps between checks whether all of the interleaved deep trees arrived.
const STEPS: u32 = 4;
/// The most slots that shuffles can tell apart at little cost.
pub(super) const HEAP_SLOTS_MAX: usize = 64;
/// Questions in a vector of a heap.
const HEAP_LANES: usize = 32;

/// Margins of one row as [`super::CompiledForest::margins_row`] promises.
pub(super) fn margins<S: Scalar>(
    plan: &Plan<S>,
    base_margins: &[f64],
    row: &[f64],
    out: &mut [f64],
    use_simd: bool,
) {
    let mut stack = [S::default(); STACK_OUTPUTS];
    let mut heap = Vec::new();
    let sums = match stack.get_mut(..out.len()) {
        Some(sums) => sums,
        None => {
            heap.resize(out.len(), S::default());
            &mut heap
        }
    };
    for (sum, &base) in sums.iter_mut().zip(base_margins) {
        *sum = S::from_f64(base);
    }
    for group in &plan.groups {
        match group {
            Group::Narrow(trees) => run(trees, row, sums, use_simd),
            Group::Wide(trees) => run(trees, row, sums, use_simd),
        }
    }
    for (out, sum) in out.iter_mut().zip(sums) {
        *out = sum.to_f64();
    }
}

/// Vectors of a heap that holds the questions of a complete tree, the root at place 1.
pub(super) const fn heap_vectors(depth: u32) -> usize {
    (1usize << depth).div_ceil(HEAP_LANES)
}

/// Appends a complete tree's questions as a heap: first the slots, then the cuts.
pub(super) fn add_heap<B: Bin>(
    questions: &[Question<B>],
    depth: u32,
    heaps: &mut Vec<[u8; HEAP_LANES]>,
) {
    let lanes = heap_vectors(depth) * HEAP_LANES;
    let at = |place: usize| place.checked_sub(1).and_then(|place| questions.get(place));
    let slots: Vec<u8> = (0..lanes)
        .map(|place| at(place).map_or(0, |question| question.slot as u8))
        .collect();
    let cuts: Vec<u8> = (0..lanes)
        .map(|place| at(place).map_or(0, |question| question.cut.low_byte()))
        .collect();
    heaps.extend(slots.as_chunks::<HEAP_LANES>().0);
    heaps.extend(cuts.as_chunks::<HEAP_LANES>().0);
}

fn run<S: Scalar, B: Bin>(trees: &Trees<S, B>, row: &[f64], sums: &mut [S], use_simd: bool) {
    #[cfg(target_arch = "x86_64")]
    if use_simd && has_avx2() {
        // SAFETY: the processor has what the function was compiled for.
        return unsafe { avx2::run(trees, row, sums) };
    }
    run_with::<S, B, false>(trees, row, sums);
}

#[inline(always)]
fn run_with<S: Scalar, B: Bin, const SIMD: bool>(trees: &Trees<S, B>, row: &[f64], sums: &mut [S]) {
    let mut stack = [B::default(); STACK_SLOTS];
    let mut heap = Vec::new();
    let bins = match stack.get_mut(..trees.slots.count()) {
        Some(bins) => bins,
        None => {
            heap.resize(trees.slots.count(), B::default());
            &mut heap
        }
    };
    trees.slots.row::<B, SIMD>(row, bins);
    #[cfg(target_arch = "x86_64")]
    let by_heap = if SIMD {
        avx2::HeapBins::of(trees, bins)
    } else {
        None
    };
    for run in &trees.runs {
        #[cfg(target_arch = "x86_64")]
        if let (Some(bins), Shape::Complete { .. }) = (&by_heap, trees.trees[run.start].shape) {
            // SAFETY: `SIMD` is set only after AVX2 was detected.
            unsafe { bins.add(trees, run.clone(), sums) };
            continue;
        }
        let mut first = run.start;
        while first + INTERLEAVED_TREES <= run.end {
            walk::<S, B, INTERLEAVED_TREES>(trees, first, bins, sums);
            first += INTERLEAVED_TREES;
        }
        for tree in first..run.end {
            walk::<S, B, 1>(trees, tree, bins, sums);
        }
    }
}

/// Walks `N` trees of one run and adds what they say, in order.
#[inline(always)]
fn walk<S: Scalar, B: Bin, const N: usize>(
    trees: &Trees<S, B>,
    first: usize,
    bins: &[B],
    sums: &mut [S],
) {
    let planned = &trees.trees[first..first + N];
    let mut values = [S::default(); N];
    match planned[0].shape {
        Shape::Complete {
            questions, leaves, ..
        } => {
            let (questions, leaves) = (&trees.questions[questions..], &trees.leaves[leaves..]);
            assert!(bins.len() >= trees.slots.count());
            // A fixed depth lets the compiler unroll the walk, with all strides constant.
            match planned[0].depth {
                1 => complete::<S, B, N, 1>(questions, leaves, bins, &mut values),
                2 => complete::<S, B, N, 2>(questions, leaves, bins, &mut values),
                3 => complete::<S, B, N, 3>(questions, leaves, bins, &mut values),
                4 => complete::<S, B, N, 4>(questions, leaves, bins, &mut values),
                5 => complete::<S, B, N, 5>(questions, leaves, bins, &mut values),
                6 => complete::<S, B, N, 6>(questions, leaves, bins, &mut values),
                _ => complete::<S, B, N, 7>(questions, leaves, bins, &mut values),
            }
        }
        Shape::Deep { .. } => values = deep_values(trees, planned, bins),
    }
    for (tree, value) in planned.iter().zip(values) {
        let sum = &mut sums[tree.output];
        *sum = sum.plus(value);
    }
}

/// The leaves of `N` complete trees of one run, which lie one behind the other.
#[inline(always)]
fn complete<S: Scalar, B: Bin, const N: usize, const DEPTH: usize>(
    questions: &[Question<B>],
    leaves: &[S],
    bins: &[B],
    values: &mut [S; N],
) {
    let inner = (1usize << DEPTH) - 1;
    let (questions, leaves) = (&questions[..N * inner], &leaves[..N * (inner + 1)]);
    let mut places = [0usize; N];
    for _ in 0..DEPTH {
        for (tree, place) in places.iter_mut().enumerate() {
            // SAFETY: before step k of `DEPTH` a place is below 2^k - 1 + 2^k, so within the tree's `inner`
            // questions; they ask slots below the number of slots, which the caller compared with `bins`.
            let (cut, bin) = unsafe {
                let question = questions.get_unchecked(tree * inner + *place);
                (
                    question.cut,
                    *bins.get_unchecked(usize::from(question.slot)),
                )
            };
            *place = 2 * *place + 1 + usize::from(cut <= bin);
        }
    }
    for (tree, (value, place)) in values.iter_mut().zip(places).enumerate() {
        *value = leaves[tree * (inner + 1) + place - inner];
    }
}

/// The leaves of deep trees.
#[inline(always)]
fn deep_values<S: Scalar, B: Bin, const N: usize>(
    trees: &Trees<S, B>,
    planned: &[PlannedTree],
    bins: &[B],
) -> [S; N] {
    let mut places: [u32; N] = std::array::from_fn(|tree| match planned[tree].shape {
        Shape::Deep { root } => root,
        Shape::Complete { .. } => 0,
    });
    loop {
        for _ in 0..STEPS {
            for place in &mut places {
                *place = deep_step(&trees.nodes, *place, |slot| bins[slot]);
            }
        }
        let has_arrived = |&place: &u32| trees.nodes[place as usize].left == place;
        if places.iter().all(has_arrived) {
            break;
        }
    }
    places.map(|place| trees.values[place as usize])
}
