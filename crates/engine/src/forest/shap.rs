//! Exact path-dependent TreeSHAP: how much each feature moved each margin.
//!
//! A leaf of value `v` under the splits of `k` features is a product game: feature `j` brings 1 or 0 if
//! it is known (does the row follow its splits?), else the share `z_j` of training weight that did. Its
//! Shapley value is an integral over one variable,
//! `φ_i = v (o_i − z_i) ∫ Π_{j≠i} (t o_j + (1 − t) z_j) dt` for `t` from 0 to 1,
//! of a polynomial of degree `k − 1`, which Gauss–Legendre quadrature with `⌈k / 2⌉` points gives exactly.
//! So one pass down a tree carries the products at those points, one pass up sums the leaves, and every
//! edge adds its feature's part: work linear in the nodes, no division that could fail, and points side
//! by side in a vector. Equal to XGBoost's `pred_contribs` up to rounding.

use super::compiled::row_count;
use super::{CategorySet, Comparison, Forest, Node, Span, Test};

/// Rows explained together, so that a tree's tables are made once for all of them.
const BLOCK_ROWS: usize = 64;

/// A forest prepared for explaining.
#[derive(Clone, Debug)]
pub struct Explainer {
    features: usize,
    comparison: Comparison,
    sets: Vec<CategorySet>,
    trees: Vec<ExplainedTree>,
    /// Per output, the mean margin over the training rows.
    expected: Vec<f64>,
    four: Vec<Points<4>>,
    /// By number of chunks, the quadrature points for deep trees.
    eight: Vec<Vec<Points<8>>>,
}

/// A tree as the passes need it: an edge for each node below the root, parents first.
#[derive(Clone, Debug)]
struct ExplainedTree {
    output: usize,
    /// Per node.
    questions: Vec<Question>,
    /// Per node but the root: the edge from its parent.
    edges: Vec<Edge>,
    /// The features that the tree asks about.
    features: Vec<u32>,
    /// Chunks of eight points, or zero if one chunk of four is enough.
    chunks: usize,
}

/// What a node asks; a leaf asks nothing and has a value.
#[derive(Clone, Copy, Debug)]
struct Question {
    /// A leaf's value, the threshold, or the index of the set: sixteen bytes a node, of which there are many.
    number: f64,
    feature: u32,
    asks: Asks,
    missing_left: bool,
    zero_is_missing: bool,
}

/// What a question's number is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asks {
    Nothing,
    Threshold,
    Members,
}

/// The way from a node to a child.
#[derive(Clone, Copy, Debug)]
struct Edge {
    parent: u32,
    /// The nearest edge above with the same feature, by its lower node; the root if there is none.
    above: u32,
    /// The feature's place among the tree's.
    place: u32,
    is_left: bool,
    /// The share of the parent's weight that went this way.
    share: f64,
    /// The product of the shares of this feature's edges down to here.
    known_share: f64,
}

/// Quadrature points on (0, 1) and their weights.
#[derive(Clone, Copy, Debug)]
struct Points<const Q: usize> {
    t: [f64; Q],
    weight: [f64; Q],
    /// `-weight / (1 - t)`.
    lost: [f64; Q],
}

/// Which outputs are explained.
#[derive(Clone, Copy)]
enum Told {
    All,
    /// Only the trees of one output are walked: with many classes, a fraction of the work.
    One(usize),
}

impl Told {
    fn has(self, output: usize) -> bool {
        match self {
            Told::All => true,
            Told::One(only) => only == output,
        }
    }

    /// Where an output stands among those that are told.
    #[inline(always)]
    fn place(self, output: usize) -> usize {
        match self {
            Told::All => output,
            Told::One(_) => 0,
        }
    }
}

/// What an edge does to a product and to a leaf's part. Tables rather than choices: which way a row goes
/// cannot be predicted, but it can be an index.
#[derive(Clone, Copy)]
struct Factors<const Q: usize> {
    /// By [`Way`].
    ways: [[f64; Q]; 3],
    /// By whether the row follows the feature: `w (o − z) / (t o + (1 − t) z)`.
    gain: [[f64; Q]; 2],
    /// `1 / (t + (1 − t) z)`.
    inverse: [f64; Q],
}

/// Whether a row follows all edges of a feature, before and after one more of them.
#[derive(Clone, Copy)]
enum Way {
    Stays = 0,
    Leaves = 1,
    HasLeft = 2,
}

/// Memory of the passes, kept between trees. All by node.
struct Scratch<const Q: usize> {
    factors: Vec<Factors<Q>>,
    goes_left: Vec<bool>,
    follows: Vec<bool>,
    products: Vec<[f64; Q]>,
    sums: Vec<[f64; Q]>,
    /// By the features' places in the tree.
    parts: Vec<[f64; Q]>,
}

impl Explainer {
    pub(super) fn new(forest: &Forest) -> Explainer {
        let trees: Vec<ExplainedTree> = forest
            .trees
            .iter()
            .map(|&tree| ExplainedTree::of(forest, tree))
            .collect();
        let chunks_max = trees.iter().map(|tree| tree.chunks).max().unwrap_or(0);
        let mut expected = forest.base_margins.clone();
        trees
            .iter()
            .for_each(|tree| expected[tree.output] += tree.mean());
        Explainer {
            features: forest.features,
            comparison: forest.comparison,
            sets: forest.sets.clone(),
            trees,
            expected,
            four: points(4),
            eight: (0..=chunks_max).map(|chunks| points(8 * chunks)).collect(),
        }
    }

    /// How many numbers [`Explainer::contributions`] gives a row: features + 1 for each output.
    pub fn width(&self) -> usize {
        self.expected.len() * (self.features + 1)
    }

    /// Contributions of row-major `rows`: for each row and output one number a feature, then the
    /// expected margin; they sum to the margin.
    ///
    /// # Panics
    /// When the lengths do not fit the forest's features and [`Explainer::width`].
    pub fn contributions(&self, rows: &[f64], out: &mut [f64]) {
        let count = row_count(rows, self.features, out, self.width());
        for start in (0..count).step_by(BLOCK_ROWS) {
            let end = count.min(start + BLOCK_ROWS);
            let rows = &rows[start * self.features..end * self.features];
            let out = &mut out[start * self.width()..end * self.width()];
            self.block(rows, Told::All, out);
        }
    }

    /// Contributions of one row to one output, bit-equal to that part of [`Explainer::contributions`]: one number a
    /// feature, then the expected margin.
    ///
    /// # Panics
    /// When the row or `out` does not fit the forest's features, or there is no such output.
    pub fn contributions_to(&self, output: usize, row: &[f64], out: &mut [f64]) {
        assert!(output < self.expected.len(), "no output {output}");
        assert_eq!(row_count(row, self.features, out, self.features + 1), 1);
        self.block(row, Told::One(output), out);
    }

    fn block(&self, rows: &[f64], told: Told, out: &mut [f64]) {
        out.fill(0.0);
        let rows: Vec<f64> = match self.comparison {
            Comparison::Less => rows.iter().copied().map(super::round_to_f32).collect(),
            Comparison::LessOrEqual => rows.to_vec(),
        };
        let (mut four, mut eight) = (Scratch::<4>::new(), Scratch::<8>::new());
        for tree in self.trees.iter().filter(|tree| told.has(tree.output)) {
            if tree.chunks == 0 {
                self.tree(tree, &self.four[0], &rows, told, &mut four, out);
            }
            for points in &self.eight[tree.chunks] {
                self.tree(tree, points, &rows, told, &mut eight, out);
            }
        }
        let expected = match &told {
            Told::All => self.expected.as_slice(),
            Told::One(output) => std::slice::from_ref(&self.expected[*output]),
        };
        for (output, expected) in out
            .chunks_exact_mut(self.features + 1)
            .zip(expected.iter().cycle())
        {
            output[self.features] = *expected;
        }
    }

    /// One tree's part at one chunk of points, for a block of rows.
    fn tree<const Q: usize>(
        &self,
        tree: &ExplainedTree,
        points: &Points<Q>,
        rows: &[f64],
        told: Told,
        scratch: &mut Scratch<Q>,
        out: &mut [f64],
    ) {
        if tree.edges.is_empty() {
            return;
        }
        #[cfg(target_arch = "x86_64")]
        if is_x86_feature_detected!("avx2") {
            // SAFETY: the processor has AVX2.
            return unsafe { self.tree_avx2(tree, points, rows, told, scratch, out) };
        }
        self.tree_with(tree, points, rows, told, scratch, out);
    }

    /// The same, compiled for AVX2: the points fill its vectors. Bits do not depend on it.
    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx2")]
    fn tree_avx2<const Q: usize>(
        &self,
        tree: &ExplainedTree,
        points: &Points<Q>,
        rows: &[f64],
        told: Told,
        scratch: &mut Scratch<Q>,
        out: &mut [f64],
    ) {
        self.tree_with(tree, points, rows, told, scratch, out);
    }

    #[inline(always)]
    fn tree_with<const Q: usize>(
        &self,
        tree: &ExplainedTree,
        points: &Points<Q>,
        rows: &[f64],
        told: Told,
        scratch: &mut Scratch<Q>,
        out: &mut [f64],
    ) {
        scratch.prepare(tree, points);
        let width = match told {
            Told::All => self.width(),
            Told::One(_) => self.features + 1,
        };
        for (row, out) in rows
            .chunks_exact(self.features)
            .zip(out.chunks_exact_mut(width))
        {
            let out = &mut out[told.place(tree.output) * (self.features + 1)..][..self.features];
            for (goes_left, question) in scratch.goes_left.iter_mut().zip(&tree.questions) {
                *goes_left = question.asks != Asks::Nothing && self.goes_left(question, row);
            }
            scratch.down(tree);
            scratch.up(tree);
            for (part, &feature) in scratch.parts.iter().zip(&tree.features) {
                let mut sum = 0.0;
                for number in part {
                    sum += number;
                }
                out[feature as usize] += sum;
            }
        }
    }

    #[inline(always)]
    fn goes_left(&self, question: &Question, row: &[f64]) -> bool {
        let x = row[question.feature as usize];
        if x.is_nan() {
            return question.missing_left;
        }
        if question.asks == Asks::Members {
            let set = &self.sets[question.number as usize];
            let category = self.comparison.category(x);
            return self
                .comparison
                .member_goes_left(category.is_some_and(|code| set.contains(code)));
        }
        if question.zero_is_missing && x.abs() <= super::walk::ZERO_MAX {
            return question.missing_left;
        }
        match self.comparison {
            Comparison::Less => x < question.number,
            Comparison::LessOrEqual => x <= question.number,
        }
    }
}

impl ExplainedTree {
    fn of(forest: &Forest, tree: Span) -> ExplainedTree {
        let nodes = forest.nodes_of(tree);
        let mut explained = ExplainedTree {
            output: tree.output as usize,
            questions: nodes
                .iter()
                .map(|node| Question::of(forest, node))
                .collect(),
            edges: Vec::with_capacity(nodes.len().saturating_sub(1)),
            features: Vec::new(),
            chunks: 0,
        };
        explained.features = nodes.iter().filter_map(feature).collect();
        explained.features.sort_unstable();
        explained.features.dedup();
        let mut parents = vec![(0u32, false); nodes.len()];
        // How many distinct features are asked on the way to a node.
        let mut asked = vec![0usize; nodes.len()];
        for (index, node) in nodes.iter().enumerate() {
            if index > 0 {
                let (parent, is_left) = parents[index];
                let edge = explained.edge(nodes, index, parent, is_left);
                asked[index] = asked[parent as usize] + usize::from(edge.above == 0);
                explained.edges.push(edge);
            }
            if let Node::Split(split) = node {
                parents[split.left as usize] = (index as u32, true);
                parents[split.right as usize] = (index as u32, false);
            }
        }
        let asked_max = asked.into_iter().max().unwrap_or(0);
        explained.chunks = if asked_max <= 8 {
            0
        } else {
            asked_max.div_ceil(16)
        };
        explained
    }

    fn edge(&self, nodes: &[Node], child: usize, parent: u32, is_left: bool) -> Edge {
        let feature = self.questions[parent as usize].feature;
        let mut above = parent;
        while above > 0 && self.questions[self.edge_to(above).parent as usize].feature != feature {
            above = self.edge_to(above).parent;
        }
        let share = share(cover(&nodes[child]), cover(&nodes[parent as usize]));
        let earlier = if above == 0 {
            1.0
        } else {
            self.edge_to(above).known_share
        };
        let place = self.features.partition_point(|&other| other < feature) as u32;
        Edge {
            parent,
            above,
            place,
            is_left,
            share,
            known_share: earlier * share,
        }
    }

    fn edge_to(&self, node: u32) -> &Edge {
        &self.edges[node as usize - 1]
    }

    /// The mean of the leaves, each weighed with the share of training weight that reached it.
    fn mean(&self) -> f64 {
        let mut reach = vec![1.0; self.questions.len()];
        for (index, edge) in self.edges.iter().enumerate() {
            reach[index + 1] = reach[edge.parent as usize] * edge.share;
        }
        let leaves = self
            .questions
            .iter()
            .zip(&reach)
            .filter(|(question, _)| question.asks == Asks::Nothing);
        leaves
            .map(|(question, reach)| question.number * reach)
            .sum()
    }
}

impl Question {
    fn of(forest: &Forest, node: &Node) -> Question {
        match node {
            Node::Leaf { value, .. } => Question {
                number: *value,
                feature: 0,
                asks: Asks::Nothing,
                missing_left: false,
                zero_is_missing: false,
            },
            Node::Split(split) => {
                let (number, asks) = match split.test {
                    Test::Threshold(threshold) => (threshold, Asks::Threshold),
                    Test::Members(set) => (f64::from(set), Asks::Members),
                };
                Question {
                    number,
                    feature: split.feature,
                    asks,
                    missing_left: split.missing_left,
                    zero_is_missing: forest.zero_counts_as_missing(split.feature as usize),
                }
            }
        }
    }
}

impl<const Q: usize> Factors<Q> {
    /// An edge that does nothing: what stands for "no edge of this feature above".
    const NOTHING: Factors<Q> = Factors {
        ways: [[1.0; Q]; 3],
        gain: [[0.0; Q]; 2],
        inverse: [1.0; Q],
    };

    #[inline(always)]
    fn of(edge: &Edge, above: &Factors<Q>, points: &Points<Q>) -> Factors<Q> {
        let mut factors = Factors::NOTHING;
        for q in 0..Q {
            let (t, z, weight) = (points.t[q], edge.known_share, points.weight[q]);
            let known = t + (1.0 - t) * z;
            factors.inverse[q] = 1.0 / known;
            factors.ways[Way::Stays as usize][q] = known * above.inverse[q];
            factors.ways[Way::Leaves as usize][q] = (1.0 - t) * z * above.inverse[q];
            factors.ways[Way::HasLeft as usize][q] = edge.share;
            factors.gain[1][q] = weight * (1.0 - z) * factors.inverse[q];
            // For o = 0 the share cancels, so nothing is divided by it.
            factors.gain[0][q] = points.lost[q];
        }
        factors
    }
}

impl<const Q: usize> Scratch<Q> {
    fn new() -> Scratch<Q> {
        Scratch {
            factors: Vec::new(),
            goes_left: Vec::new(),
            follows: Vec::new(),
            products: Vec::new(),
            sums: Vec::new(),
            parts: Vec::new(),
        }
    }

    /// Makes the tables of a tree, for all rows of a block.
    #[inline(always)]
    fn prepare(&mut self, tree: &ExplainedTree, points: &Points<Q>) {
        self.factors.clear();
        self.factors.push(Factors::NOTHING);
        for edge in &tree.edges {
            let factors = Factors::of(edge, &self.factors[edge.above as usize], points);
            self.factors.push(factors);
        }
        let nodes = tree.questions.len();
        self.goes_left.resize(nodes, false);
        self.follows.resize(nodes, true);
        self.follows[0] = true;
        self.products.resize(nodes, [1.0; Q]);
        self.products[0] = [1.0; Q];
        self.sums.resize(nodes, [0.0; Q]);
        self.parts.resize(tree.features.len(), [0.0; Q]);
    }

    /// Carries the products from the root to the leaves.
    #[inline(always)]
    fn down(&mut self, tree: &ExplainedTree) {
        for (index, edge) in tree.edges.iter().enumerate() {
            let node = index + 1;
            let followed = self.follows[edge.above as usize];
            let takes = self.goes_left[edge.parent as usize] == edge.is_left;
            self.follows[node] = followed & takes;
            let way = 2 * usize::from(!followed) + usize::from(followed & !takes);
            let factor = &self.factors[node].ways[way];
            let mut product = self.products[edge.parent as usize];
            let question = &tree.questions[node];
            let value = if question.asks == Asks::Nothing {
                question.number
            } else {
                0.0
            };
            let mut sum = [0.0; Q];
            for q in 0..Q {
                product[q] *= factor[q];
                sum[q] = product[q] * value;
            }
            self.products[node] = product;
            self.sums[node] = sum;
        }
    }

    /// Sums the leaves on the way up; every edge adds its feature's part.
    #[inline(always)]
    fn up(&mut self, tree: &ExplainedTree) {
        for part in &mut self.parts {
            *part = [0.0; Q];
        }
        for (index, edge) in tree.edges.iter().enumerate().rev() {
            let node = index + 1;
            let sum = self.sums[node];
            let above = edge.above as usize;
            let gain = &self.factors[node].gain[usize::from(self.follows[node])];
            let gain_above = &self.factors[above].gain[usize::from(self.follows[above])];
            let part = &mut self.parts[edge.place as usize];
            for q in 0..Q {
                part[q] += sum[q] * (gain[q] - gain_above[q]);
            }
            let parent = &mut self.sums[edge.parent as usize];
            for q in 0..Q {
                parent[q] += sum[q];
            }
        }
    }
}

fn feature(node: &Node) -> Option<u32> {
    if let Node::Split(split) = node {
        Some(split.feature)
    } else {
        None
    }
}

fn cover(node: &Node) -> f64 {
    match node {
        Node::Leaf { cover, .. } => *cover,
        Node::Split(split) => split.cover,
    }
}

/// A file without weights, or a node nobody reached, counts both ways alike.
fn share(child: f64, parent: f64) -> f64 {
    let share = child / parent;
    if parent > 0.0 && share.is_finite() && share >= 0.0 {
        share
    } else {
        0.5
    }
}

/// `count` Gauss–Legendre points on (0, 1), in chunks of `Q`.
fn points<const Q: usize>(count: usize) -> Vec<Points<Q>> {
    let all: Vec<(f64, f64)> = (0..count).map(|index| point(index, count)).collect();
    let chunk = |chunk: &[(f64, f64)]| Points {
        t: std::array::from_fn(|q| chunk[q].0),
        weight: std::array::from_fn(|q| chunk[q].1),
        lost: std::array::from_fn(|q| -chunk[q].1 / (1.0 - chunk[q].0)),
    };
    all.chunks_exact(Q).map(chunk).collect()
}

/// One point and weight, by Newton's method on the Legendre polynomial.
fn point(index: usize, count: usize) -> (f64, f64) {
    let mut x = (std::f64::consts::PI * (index as f64 + 0.75) / (count as f64 + 0.5)).cos();
    let mut slope = 1.0;
    for _ in 0..64 {
        let (mut last, mut value) = (1.0, x);
        for degree in 2..=count {
            let degree = degree as f64;
            let next = ((2.0 * degree - 1.0) * x * value - (degree - 1.0) * last) / degree;
            (last, value) = (value, next);
        }
        slope = count as f64 * (x * value - last) / (x * x - 1.0);
        let step = value / slope;
        x -= step;
        if step.abs() < 1e-16 {
            break;
        }
    }
    (0.5 * (1.0 - x), 1.0 / ((1.0 - x * x) * slope * slope))
}
