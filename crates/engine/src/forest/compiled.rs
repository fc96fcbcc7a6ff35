//! A forest laid out for speed, and the choice of evaluator.
//!
//! Trees are cut into groups whose thresholds fit the bins of [`super::bins`]: a byte where each feature
//! has at most 255 of them, else two. Within a group a shallow tree is padded to a complete one and a deep
//! one keeps its nodes; [`super::batch`] and [`super::single`] run both. A forest that no group can hold
//! is walked plainly. Every way gives the same bits.

use std::collections::{HashMap, HashSet};
use std::ops::Range;

use rayon::prelude::*;

use super::bins::{Bin, LOWEST_SLOT, SLOTS_MAX, Scalar, Slots, SlotsBuilder, same_zero, split_of};
use super::{Comparison, Forest, Node, Span, Split, Test, batch, single};

/// The deepest tree that is padded to a complete one: 127 questions answered without a branch.
pub(super) const COMPLETE_DEPTH_MAX: u32 = 7;
/// Below this many rows the row-wise walk beats filling up a block.
const BATCH_ROWS_MIN: usize = 8;
/// Rows a thread takes at once.
const PARALLEL_ROWS: usize = 1024;

/// A forest ready to run.
#[derive(Clone, Debug)]
pub struct CompiledForest {
    features: usize,
    base_margins: Vec<f64>,
    body: Body,
    evaluator: Evaluator,
}

/// Which evaluator runs; all give the same bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Evaluator {
    /// The fastest that this processor has.
    Fastest,
    /// As on a processor with AVX2 but without AVX-512.
    Avx2,
    /// The same layout without vector instructions.
    Portable,
}

#[derive(Clone, Debug)]
enum Body {
    Plain(Forest),
    Single(Plan<f32>),
    Double(Plan<f64>),
}

/// Groups of trees in order.
#[derive(Clone, Debug)]
pub(super) struct Plan<S> {
    pub groups: Vec<Group<S>>,
}

#[derive(Clone, Debug)]
pub(super) enum Group<S> {
    Narrow(Trees<S, i8>),
    Wide(Trees<S, i16>),
}

/// Trees that share slots.
#[derive(Clone, Debug)]
pub(super) struct Trees<S, B> {
    pub slots: Slots<S>,
    pub trees: Vec<PlannedTree>,
    /// Trees next to each other of the same shape: what can be walked interleaved.
    pub runs: Vec<Range<usize>>,
    /// Questions of complete trees in breadth-first order.
    pub questions: Vec<Question<B>>,
    /// The same for vectors: the slot as an offset in a block of bins, and the cut.
    pub offsets: Vec<u32>,
    pub cuts: Vec<B>,
    /// Leaves of complete trees, from left to right.
    pub leaves: Vec<S>,
    /// Nodes of deep trees.
    pub nodes: Vec<DeepNode<B>>,
    /// What a deep tree's node is worth; zero for those that are no leaf.
    pub values: Vec<S>,
    /// The bytes of the leaves of complete trees, as [`batch`] looks them up.
    pub planes: Vec<u8>,
    /// Complete trees as [`single`] asks all of their questions at once.
    pub heaps: Option<single::Heaps<S>>,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct PlannedTree {
    pub output: usize,
    pub depth: u32,
    pub shape: Shape,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    /// Where its questions, its leaves and its planes begin.
    Complete {
        questions: usize,
        leaves: usize,
        planes: usize,
    },
    /// Its root.
    Deep { root: u32 },
}

/// Left if `cut > bin` in the slot.
#[derive(Clone, Copy, Debug)]
pub(super) struct Question<B> {
    pub slot: u16,
    pub cut: B,
}

/// The right child follows the left one; a leaf is its own left child and always goes there.
#[derive(Clone, Copy, Debug)]
pub(super) struct DeepNode<B> {
    pub left: u32,
    pub slot: u16,
    pub cut: B,
}

impl<B: Bin> Question<B> {
    /// Every row goes left.
    const LEFT: Question<B> = Question {
        slot: LOWEST_SLOT as u16,
        cut: B::SECOND,
    };
}

impl CompiledForest {
    pub(super) fn new(forest: &Forest) -> CompiledForest {
        let body = match forest.comparison {
            Comparison::Less => Plan::new(forest).map(Body::Single),
            Comparison::LessOrEqual => Plan::new(forest).map(Body::Double),
        };
        CompiledForest {
            features: forest.features,
            base_margins: forest.base_margins.clone(),
            body: body.unwrap_or_else(|| Body::Plain(forest.clone())),
            evaluator: Evaluator::Fastest,
        }
    }

    /// The same forest under another evaluator.
    #[must_use]
    pub fn with_evaluator(self, evaluator: Evaluator) -> CompiledForest {
        CompiledForest { evaluator, ..self }
    }

    /// How many numbers a row has.
    pub fn features(&self) -> usize {
        self.features
    }

    /// How many margins a row gets.
    pub fn outputs(&self) -> usize {
        self.base_margins.len()
    }

    /// Margins of row-major `rows`, on the calling thread.
    ///
    /// # Panics
    /// When the lengths do not fit the forest.
    pub fn margins(&self, rows: &[f64], out: &mut [f64]) {
        let count = row_count(rows, self.features, out, self.outputs());
        if count < BATCH_ROWS_MIN {
            for index in 0..count {
                let row = &rows[index * self.features..][..self.features];
                self.margins_row(row, &mut out[index * self.outputs()..][..self.outputs()]);
            }
            return;
        }
        let use_simd = self.evaluator != Evaluator::Portable;
        match &self.body {
            Body::Plain(forest) => forest.margins(rows, out),
            Body::Single(plan) => {
                batch::margins(plan, self.features, &self.base_margins, rows, out, use_simd);
            }
            Body::Double(plan) => {
                batch::margins(plan, self.features, &self.base_margins, rows, out, use_simd);
            }
        }
    }

    /// Margins of row-major `rows`, on all threads of the current rayon pool.
    ///
    /// # Panics
    /// When the lengths do not fit the forest.
    pub fn margins_parallel(&self, rows: &[f64], out: &mut [f64]) {
        row_count(rows, self.features, out, self.outputs());
        let chunks = out
            .par_chunks_mut(PARALLEL_ROWS * self.outputs())
            .enumerate();
        chunks.for_each(|(index, out)| {
            let start = index * PARALLEL_ROWS * self.features;
            let length = out.len() / self.outputs() * self.features;
            self.margins(&rows[start..start + length], out);
        });
    }

    /// Margins of one row.
    ///
    /// # Panics
    /// When the lengths do not fit the forest.
    pub fn margins_row(&self, row: &[f64], out: &mut [f64]) {
        assert_eq!(row.len(), self.features);
        assert_eq!(out.len(), self.outputs());
        let evaluator = self.evaluator;
        match &self.body {
            Body::Plain(forest) => forest.margins_row(row, out),
            Body::Single(plan) => single::margins(plan, &self.base_margins, row, out, evaluator),
            Body::Double(plan) => single::margins(plan, &self.base_margins, row, out, evaluator),
        }
    }
}

impl<S: Scalar> Plan<S> {
    /// `None` if a tree alone is beyond what bins and slots can hold.
    fn new(forest: &Forest) -> Option<Plan<S>> {
        let mut groups = Vec::new();
        let mut first = 0;
        while first < forest.trees.len() {
            let narrow = fitting(forest, first, i8::CUTS_MAX);
            let end = if narrow > first {
                narrow
            } else {
                fitting(forest, first, i16::CUTS_MAX)
            };
            if end == first {
                return None;
            }
            let trees = &forest.trees[first..end];
            groups.push(match narrow > first {
                true => Group::Narrow(Trees::new(forest, trees, COMPLETE_DEPTH_MAX)),
                false => Group::Wide(Trees::new(forest, trees, 0)),
            });
            first = end;
        }
        Some(Plan { groups })
    }
}

/// The end of the longest run of trees from `first` with at most `cuts_max` cuts a feature.
fn fitting(forest: &Forest, first: usize, cuts_max: usize) -> usize {
    let mut cuts = HashSet::new();
    let mut cuts_by_feature: HashMap<u32, usize> = HashMap::new();
    let mut slots = HashSet::new();
    for (index, &tree) in forest.trees.iter().enumerate().skip(first) {
        for split in forest.nodes_of(tree).iter().filter_map(split_of) {
            let set = if let Test::Members(set) = split.test {
                Some(set)
            } else {
                None
            };
            slots.insert((split.feature, set, split.missing_left));
            if let Test::Threshold(threshold) = split.test
                && cuts.insert((split.feature, same_zero(threshold).to_bits()))
            {
                let count = cuts_by_feature.entry(split.feature).or_default();
                *count += 1;
                if *count > cuts_max {
                    return index;
                }
            }
        }
        if slots.len() >= SLOTS_MAX {
            return index;
        }
    }
    forest.trees.len()
}

impl<S: Scalar, B: Bin> Trees<S, B> {
    fn new(forest: &Forest, spans: &[Span], complete_depth_max: u32) -> Trees<S, B> {
        let builder = SlotsBuilder::new(forest, spans);
        let mut trees = Trees {
            slots: builder.finish(forest),
            trees: Vec::with_capacity(spans.len()),
            runs: Vec::new(),
            questions: Vec::new(),
            offsets: Vec::new(),
            cuts: Vec::new(),
            leaves: Vec::new(),
            nodes: Vec::new(),
            values: Vec::new(),
            planes: Vec::new(),
            heaps: None,
        };
        for &span in spans {
            let nodes = forest.nodes_of(span);
            let question = |split: &Split| {
                let address = builder.address(split);
                Question {
                    slot: address.slot as u16,
                    cut: address.cut,
                }
            };
            // A lone leaf is padded to one question, so that every complete tree has a root.
            let depth = span.depth.max(1);
            let shape = match depth <= complete_depth_max {
                true => trees.add_complete(nodes, depth, &question),
                false => trees.add_deep(nodes, &question),
            };
            trees.trees.push(PlannedTree {
                output: span.output as usize,
                depth,
                shape,
            });
        }
        trees.offsets = trees
            .questions
            .iter()
            .map(|question| batch::offset(question.slot))
            .collect();
        trees.cuts = trees
            .questions
            .iter()
            .map(|question| question.cut)
            .collect();
        trees.runs = runs(&trees.trees);
        trees.heaps = single::Heaps::new(&trees);
        trees
    }

    /// Pads a tree: below a leaf every way leads to the same value.
    fn add_complete(
        &mut self,
        nodes: &[Node],
        depth: u32,
        question: &impl Fn(&Split) -> Question<B>,
    ) -> Shape {
        let (questions, leaves) = (self.questions.len(), self.leaves.len());
        let planes = self.planes.len();
        let mut level = vec![0usize];
        for _ in 0..depth {
            let mut next = Vec::with_capacity(2 * level.len());
            for &index in &level {
                let (asked, left, right) = match &nodes[index] {
                    Node::Split(split) => {
                        (question(split), split.left as usize, split.right as usize)
                    }
                    Node::Leaf { .. } => (Question::LEFT, index, index),
                };
                self.questions.push(asked);
                next.extend([left, right]);
            }
            level = next;
        }
        self.leaves.extend(
            level
                .into_iter()
                .map(|index| leaf_value::<S>(&nodes[index])),
        );
        batch::add_planes(&self.leaves[leaves..], &mut self.planes);
        Shape::Complete {
            questions,
            leaves,
            planes,
        }
    }

    /// Keeps the nodes level by level, so that siblings are neighbours and the top stays in cache.
    fn add_deep(&mut self, nodes: &[Node], question: &impl Fn(&Split) -> Question<B>) -> Shape {
        let root = self.nodes.len() as u32;
        for (index, node) in nodes.iter().enumerate() {
            let (Question { slot, cut }, left) = match node {
                Node::Leaf { .. } => (Question::LEFT, index as u32),
                Node::Split(split) => (question(split), split.left),
            };
            self.nodes.push(DeepNode {
                left: root + left,
                slot,
                cut,
            });
            self.values.push(leaf_value::<S>(node));
        }
        Shape::Deep { root }
    }
}

fn leaf_value<S: Scalar>(node: &Node) -> S {
    match node {
        Node::Leaf { value, .. } => S::from_f64(*value),
        Node::Split(_) => S::default(),
    }
}

/// Cuts trees where the shape or the depth of a complete tree changes.
fn runs(trees: &[PlannedTree]) -> Vec<Range<usize>> {
    let kind = |tree: &PlannedTree| match tree.shape {
        Shape::Complete { .. } => tree.depth,
        Shape::Deep { .. } => u32::MAX,
    };
    let mut runs: Vec<Range<usize>> = Vec::new();
    for (index, tree) in trees.iter().enumerate() {
        match runs.last_mut() {
            Some(run) if kind(&trees[run.start]) == kind(tree) => run.end = index + 1,
            _ => runs.push(index..index + 1),
        }
    }
    runs
}

/// How many rows there are; the lengths must agree.
pub(super) fn row_count(rows: &[f64], features: usize, out: &[f64], width: usize) -> usize {
    let count = out.len() / width;
    assert_eq!(
        out.len(),
        count * width,
        "the output is not a whole number of rows"
    );
    assert_eq!(
        rows.len(),
        count * features,
        "rows and output differ in length"
    );
    count
}
