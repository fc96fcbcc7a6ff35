//! One row, as fast as a decision on its own needs it.
//!
//! Where a group of complete trees has few slots, vectors answer all questions of a tree at once: see
//! [`heaps`]. Other trees are walked with several interleaved, so that their loads wait together. (A table
//! of masks by feature and bin, as in QuickScorer, touches far more memory a row than either.)

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod heaps;

use std::ops::Range;

pub(super) use heaps::Heaps;
#[cfg(target_arch = "x86_64")]
use heaps::{HeapBins, Vectors};

use super::batch::deep_step;
#[cfg(target_arch = "x86_64")]
use super::batch::has_avx2;
use super::bins::{Bin, Scalar};
use super::compiled::{Evaluator, Group, Plan, PlannedTree, Question, Shape, Trees};

/// Trees walked interleaved.
const INTERLEAVED_TREES: usize = 8;
/// Slots and outputs that fit the stack.
const STACK_SLOTS: usize = 1024;
const STACK_OUTPUTS: usize = 64;
/// Steps between checks whether all of the interleaved deep trees arrived.
const STEPS: u32 = 4;

/// Margins of one row as [`super::CompiledForest::margins_row`] promises.
pub(super) fn margins<S: Scalar>(
    plan: &Plan<S>,
    base_margins: &[f64],
    row: &[f64],
    out: &mut [f64],
    evaluator: Evaluator,
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
            Group::Narrow(trees) => run(trees, row, sums, evaluator),
            Group::Wide(trees) => run(trees, row, sums, evaluator),
        }
    }
    for (out, sum) in out.iter_mut().zip(sums) {
        *out = sum.to_f64();
    }
}

/// Whether the processor has AVX-512 with shuffles of bytes, and what AVX2 came with.
#[cfg(target_arch = "x86_64")]
fn has_avx512() -> bool {
    has_avx2()
        && is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512bw")
        && is_x86_feature_detected!("avx512dq")
        && is_x86_feature_detected!("avx512vbmi")
}

fn run<S: Scalar, B: Bin>(trees: &Trees<S, B>, row: &[f64], sums: &mut [S], evaluator: Evaluator) {
    #[cfg(target_arch = "x86_64")]
    match (evaluator, &trees.heaps) {
        (Evaluator::Fastest, Some(heaps)) if has_avx512() => {
            // SAFETY: the processor has what the function was compiled for.
            return unsafe { avx512::run(trees, heaps, row, sums) };
        }
        (Evaluator::Fastest | Evaluator::Avx2, _) if has_avx2() => {
            // SAFETY: the processor has what the function was compiled for.
            return unsafe { avx2::run(trees, row, sums) };
        }
        _ => {}
    }
    run_walking::<S, B, false>(trees, row, sums);
}

/// `SIMD` may be set only where AVX2 was detected.
#[inline(always)]
fn run_walking<S: Scalar, B: Bin, const SIMD: bool>(
    trees: &Trees<S, B>,
    row: &[f64],
    sums: &mut [S],
) {
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
    for run in &trees.runs {
        walk_run(trees, run.clone(), bins, sums);
    }
}

/// # Safety
/// The processor has AVX2 and what the vectors need.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
unsafe fn run_with_heaps<S: Scalar, B: Bin, V: Vectors>(
    trees: &Trees<S, B>,
    heaps: &Heaps<S>,
    row: &[f64],
    sums: &mut [S],
) {
    let mut stack = [B::default(); heaps::SLOTS_MAX];
    let bins = &mut stack[..trees.slots.count()];
    trees.slots.row::<B, true>(row, bins);
    // SAFETY: the caller's promise.
    unsafe {
        heaps.add::<V>(&HeapBins::of(bins), sums, |range, sums| {
            walk_run(trees, range, bins, sums);
        });
    }
}

#[inline(always)]
fn walk_run<S: Scalar, B: Bin>(trees: &Trees<S, B>, run: Range<usize>, bins: &[B], sums: &mut [S]) {
    let mut first = run.start;
    while first + INTERLEAVED_TREES <= run.end {
        walk::<S, B, INTERLEAVED_TREES>(trees, first, bins, sums);
        first += INTERLEAVED_TREES;
    }
    for tree in first..run.end {
        walk::<S, B, 1>(trees, tree, bins, sums);
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
