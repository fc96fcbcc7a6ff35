//! Trees as ONNX has them, checked, and the two ways of evaluating them.
//!
//! [`crate::forest`] takes comparisons, one output a tree, and sums; it is many times faster. Trees beyond that (equality,
//! member lists, leaves of many classes, least and greatest) are walked node by node.

use rayon::prelude::*;

use crate::forest::{Comparison, CompiledForest, Forest, ForestDraft, Link, Split, Tree};
use crate::forest::{Node as ForestNode, Test as ForestTest};

use super::graph::Call;
use super::tensor::{Data, Fault, Tensor};

/// A leaf of so many classes becomes as many trees; beyond, one slow walk beats many fast ones.
const COPIES_MAX: usize = 4;
/// The longest path that is walked.
const DEPTH_MAX: usize = 1 << 12;
/// Most columns a tree may ask for.
const FEATURES_MAX: usize = 1 << 20;
/// Rows that one thread walks at a time.
const ROWS_PER_TASK: usize = 256;

/// One node; children and weights by index.
#[derive(Debug, Clone, Copy)]
pub(super) enum Node {
    Leaf {
        first: u32,
        end: u32,
    },
    Split {
        feature: u32,
        test: Test,
        missing_yes: bool,
        yes: u32,
        no: u32,
    },
}

impl Node {
    pub const EMPTY_LEAF: Node = Node::Leaf { first: 0, end: 0 };
}

/// What a split asks of a number.
#[derive(Debug, Clone, Copy)]
pub(super) enum Test {
    LessOrEqual(f64),
    Less(f64),
    GreaterOrEqual(f64),
    Greater(f64),
    Equal(f64),
    NotEqual(f64),
    /// Whether the number is in the set of this index.
    Member(u32),
}

/// What is known of the longest path from a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Height {
    Unknown,
    /// A path to it is being followed.
    Open,
    Known(usize),
}

/// How the leaves of all trees come together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Aggregate {
    Sum,
    Average,
    Min,
    Max,
}

/// Trees of one ensemble.
#[derive(Debug)]
pub(super) struct Trees {
    pub targets: usize,
    /// Whether thresholds have more digits than single precision.
    pub is_double: bool,
    pub nodes: Vec<Node>,
    pub roots: Vec<u32>,
    /// Targets and weights of the leaves, leaf after leaf.
    pub leaf_weights: Vec<(u32, f64)>,
    /// Sorted members.
    pub sets: Vec<Vec<f64>>,
    features: usize,
    /// Whether some node has two parents.
    has_joins: bool,
    /// The lengths of the longest paths of all trees, added up.
    steps: usize,
}

/// How sums are rounded: as onnxruntime has it, by the numbers that the trees are asked about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Precision {
    Single,
    Double,
}

impl Precision {
    fn of(trees: &Trees, x: &Tensor) -> Self {
        match x.data() {
            _ if trees.is_double => Precision::Double,
            Data::Double(_) => Precision::Double,
            _ => Precision::Single,
        }
    }

    pub fn rounded(self, x: f64) -> f64 {
        match self {
            Precision::Single => f64::from(x as f32),
            Precision::Double => x,
        }
    }

    /// The sum of two numbers of this precision. Rounding a sum of doubles once more gives the sum of singles.
    pub fn sum(self, a: f64, b: f64) -> f64 {
        self.rounded(self.rounded(a) + self.rounded(b))
    }
}

/// Sums of every row and target, and whether any leaf said something about them.
pub(super) struct Scores {
    pub values: Vec<f64>,
    pub is_written: Vec<bool>,
    pub precision: Precision,
}

/// Trees ready to run.
#[derive(Debug)]
pub(super) struct Evaluator {
    trees: Trees,
    aggregate: Aggregate,
    fast: Option<Fast>,
}

#[derive(Debug)]
struct Fast {
    forest: CompiledForest,
    /// A forest in single precision must not be asked about doubles.
    comparison: Comparison,
    is_written: Vec<bool>,
}

impl Trees {
    pub fn new(targets: usize, is_double: bool) -> Self {
        Trees {
            targets,
            is_double,
            nodes: Vec::new(),
            roots: Vec::new(),
            leaf_weights: Vec::new(),
            sets: Vec::new(),
            features: 0,
            has_joins: false,
            steps: 0,
        }
    }

    /// All weights, in any order.
    pub fn weights(&self) -> impl Iterator<Item = f64> {
        self.leaf_weights.iter().map(|&(_, weight)| weight)
    }

    /// For each target, whether any leaf is about it.
    pub fn targets_written(&self) -> impl Iterator<Item = bool> {
        let mut is_written = vec![false; self.targets];
        self.leaf_weights
            .iter()
            .for_each(|&(target, _)| is_written[target as usize] = true);
        is_written.into_iter()
    }

    /// Gives a split whose children are one leaf a second copy of it, so that no node has two parents.
    pub fn unshare_stumps(&mut self) {
        for at in 0..self.nodes.len() {
            let copy = self.nodes.len() as u32;
            let Node::Split { yes, no, .. } = &mut self.nodes[at] else {
                continue;
            };
            if yes == no {
                let shared = *yes as usize;
                *no = copy;
                if let leaf @ Node::Leaf { .. } = self.nodes[shared] {
                    self.nodes.push(leaf);
                } else {
                    // Not a leaf: point back, and let the check refuse it.
                    self.nodes.push(Node::Leaf { first: 0, end: 0 });
                    if let Node::Split { no, .. } = &mut self.nodes[at] {
                        *no = shared as u32;
                    }
                }
            }
        }
    }

    /// Checks that every walk ends. Branches may join again: converters write member tests as chains that do.
    pub fn check(&mut self) -> Result<(), Fault> {
        let mut height = vec![Height::Unknown; self.nodes.len()];
        let mut is_child = vec![false; self.nodes.len()];
        for node in &self.nodes {
            if let Node::Split {
                feature, yes, no, ..
            } = *node
            {
                self.features = self.features.max(feature as usize + 1);
                for child in [yes, no] {
                    self.has_joins |= std::mem::replace(&mut is_child[child as usize], true);
                }
            }
        }
        if self.features > FEATURES_MAX {
            return Err(Fault::new("a tree asks for more columns than allowed"));
        }
        for &root in &self.roots {
            self.has_joins |= is_child[root as usize];
            self.measure(root, &mut height)?;
            if let Height::Known(height) = height[root as usize] {
                self.steps += height;
            }
        }
        Ok(())
    }

    /// Finds the longest path from a node, refusing circles.
    fn measure(&self, root: u32, height: &mut [Height]) -> Result<(), Fault> {
        let mut pending = vec![root];
        while let Some(&at) = pending.last() {
            let Node::Split { yes, no, .. } = self.nodes[at as usize] else {
                height[at as usize] = Height::Known(1);
                pending.pop();
                continue;
            };
            match (
                height[at as usize],
                height[yes as usize],
                height[no as usize],
            ) {
                (Height::Known(_), ..) => drop(pending.pop()),
                (Height::Open, Height::Known(left), Height::Known(right)) => {
                    height[at as usize] = Height::Known(1 + left.max(right));
                    pending.pop();
                }
                (_, left, right) => {
                    if left == Height::Open || right == Height::Open {
                        return Err(Fault::new("the nodes of a tree go round in a circle"));
                    }
                    height[at as usize] = Height::Open;
                    pending.extend(
                        [yes, no]
                            .into_iter()
                            .filter(|&child| height[child as usize] == Height::Unknown),
                    );
                }
            }
            if pending.len() > 2 * DEPTH_MAX {
                return Err(Fault::new("a tree is deeper than the 4096 levels allowed"));
            }
        }
        Ok(())
    }

    /// Chooses how to evaluate.
    pub fn evaluator(self, aggregate: Aggregate) -> Evaluator {
        let fast = match aggregate {
            Aggregate::Sum | Aggregate::Average => self.fast(),
            Aggregate::Min | Aggregate::Max => None,
        };
        let mut trees = self;
        let is_walked = fast
            .as_ref()
            .is_none_or(|fast| fast.comparison == Comparison::Less);
        if !is_walked {
            trees.nodes = Vec::new();
            trees.leaf_weights = Vec::new();
        }
        Evaluator {
            trees,
            aggregate,
            fast,
        }
    }

    /// The same trees for [`crate::forest`], when they can be said so.
    fn fast(&self) -> Option<Fast> {
        if self.has_joins {
            return None;
        }
        let comparison = match self.is_double {
            true => Comparison::LessOrEqual,
            false => Comparison::Less,
        };
        let mut trees = Vec::new();
        let mut is_written = vec![false; self.targets];
        let mut place = vec![0_u32; self.nodes.len()];
        for &root in &self.roots {
            let order = self.preorder(root, &mut place);
            let targets = self.common_targets(&order)?;
            if targets.len() > COPIES_MAX {
                return None;
            }
            for (copy, &target) in targets.iter().enumerate() {
                is_written[target as usize] = true;
                let nodes = order
                    .iter()
                    .map(|&at| self.forest_node(at, copy, comparison, &place));
                trees.push(Tree {
                    output: target as usize,
                    nodes: nodes.collect::<Option<_>>()?,
                });
            }
        }
        let draft = ForestDraft {
            features: self.features.max(1),
            comparison,
            link: Link::Identity,
            base_margins: vec![0.0; self.targets],
            zero_is_missing: Vec::new(),
            sets: Vec::new(),
            trees,
        };
        let forest = Forest::new(draft).ok()?.compile();
        Some(Fast {
            forest,
            comparison,
            is_written,
        })
    }

    /// The nodes of a tree, the root first, and their places in that order.
    fn preorder(&self, root: u32, place: &mut [u32]) -> Vec<u32> {
        let mut order = Vec::new();
        let mut pending = vec![root];
        while let Some(at) = pending.pop() {
            place[at as usize] = order.len() as u32;
            order.push(at);
            if let Node::Split { yes, no, .. } = self.nodes[at as usize] {
                pending.push(no);
                pending.push(yes);
            }
        }
        order
    }

    /// The targets of a tree's leaves, when all leaves are about the same.
    fn common_targets(&self, order: &[u32]) -> Option<Vec<u32>> {
        let mut common: Option<Vec<u32>> = None;
        for &at in order {
            let Node::Leaf { first, end } = self.nodes[at as usize] else {
                continue;
            };
            let targets = self.leaf_weights[first as usize..end as usize]
                .iter()
                .map(|&(target, _)| target);
            match &common {
                None => common = Some(targets.collect()),
                Some(common) => {
                    if !common.iter().copied().eq(targets) {
                        return None;
                    }
                }
            }
        }
        let mut common = common?;
        let count = common.len();
        let ordered = common.clone();
        common.sort_unstable();
        common.dedup();
        (common.len() == count).then_some(ordered)
    }

    fn forest_node(
        &self,
        at: u32,
        copy: usize,
        comparison: Comparison,
        place: &[u32],
    ) -> Option<ForestNode> {
        let (feature, test, missing_yes, yes, no) = match self.nodes[at as usize] {
            Node::Leaf { first, .. } => {
                let (_, value) = self.leaf_weights[first as usize + copy];
                return Some(ForestNode::Leaf { value, cover: 0.0 });
            }
            Node::Split {
                feature,
                test,
                missing_yes,
                yes,
                no,
            } => (feature, test, missing_yes, yes, no),
        };
        let (yes, no) = (place[yes as usize], place[no as usize]);
        // "Greater" is the opposite of "less or equal", but for missing values, which are neither.
        let (threshold, is_opposite, is_strict) = match test {
            Test::LessOrEqual(threshold) => (threshold, false, false),
            Test::Less(threshold) => (threshold, false, true),
            Test::Greater(threshold) => (threshold, true, false),
            Test::GreaterOrEqual(threshold) => (threshold, true, true),
            Test::Equal(_) | Test::NotEqual(_) | Test::Member(_) => return None,
        };
        // A number is at most a threshold exactly when it is below the next one, in the precision of both.
        let threshold = match comparison {
            Comparison::LessOrEqual if is_strict => threshold.next_down(),
            Comparison::Less if !is_strict => f64::from((threshold as f32).next_up()),
            _ => threshold,
        };
        if !threshold.is_finite() {
            return None;
        }
        let (left, right) = if is_opposite { (no, yes) } else { (yes, no) };
        Some(ForestNode::Split(Split {
            feature,
            test: ForestTest::Threshold(threshold),
            missing_left: missing_yes != is_opposite,
            left,
            right,
            gain: 0.0,
            cover: 0.0,
        }))
    }

    fn leaf(&self, root: u32, row: &[f64]) -> &[(u32, f64)] {
        let mut at = root;
        loop {
            match self.nodes[at as usize] {
                Node::Leaf { first, end } => {
                    return &self.leaf_weights[first as usize..end as usize];
                }
                Node::Split {
                    feature,
                    test,
                    missing_yes,
                    yes,
                    no,
                } => {
                    let x = row[feature as usize];
                    let goes_yes = self.holds(test, x) || (missing_yes && x.is_nan());
                    at = if goes_yes { yes } else { no };
                }
            }
        }
    }

    fn holds(&self, test: Test, x: f64) -> bool {
        match test {
            Test::LessOrEqual(threshold) => x <= threshold,
            Test::Less(threshold) => x < threshold,
            Test::GreaterOrEqual(threshold) => x >= threshold,
            Test::Greater(threshold) => x > threshold,
            Test::Equal(threshold) => x == threshold,
            Test::NotEqual(threshold) => x != threshold,
            Test::Member(set) => self.sets[set as usize]
                .binary_search_by(|member| member.total_cmp(&(x + 0.0)))
                .is_ok(),
        }
    }
}

impl Evaluator {
    /// The number of rows and their scores.
    pub fn apply(&self, call: &Call<'_>) -> Result<(usize, Scores), Fault> {
        let x = call.tensor(0)?;
        let (rows, columns) = x.rows_and_columns()?;
        if columns < self.trees.features {
            return Err(Fault::new(format!(
                "it is given {columns} columns where it takes {}",
                self.trees.features
            )));
        }
        let targets = self.trees.targets;
        call.budget.claim(
            rows.saturating_mul(columns)
                .saturating_add(rows.saturating_mul(targets)),
        )?;
        call.budget
            .work(rows.saturating_mul(self.trees.steps + 1))?;
        let precision = Precision::of(&self.trees, x);
        let mut scores = match &self.fast {
            Some(fast) if fast.takes(x) => {
                let sums = fast.apply(x, rows, columns, self.trees.features.max(1), targets)?;
                Scores {
                    is_written: fast.is_written.repeat(rows),
                    values: sums,
                    precision,
                }
            }
            _ => self.walk(&x.as_f64()?, rows, columns, precision),
        };
        if self.aggregate == Aggregate::Average {
            let count = self.trees.roots.len() as f64;
            let precision = scores.precision;
            scores
                .values
                .iter_mut()
                .for_each(|score| *score = precision.rounded(*score / count));
        }
        Ok((rows, scores))
    }

    fn walk(&self, x: &[f64], rows: usize, columns: usize, precision: Precision) -> Scores {
        let targets = self.trees.targets;
        let mut scores = Scores {
            values: vec![0.0; rows * targets],
            is_written: vec![false; rows * targets],
            precision,
        };
        let tasks = scores.values.par_chunks_mut(ROWS_PER_TASK * targets);
        let tasks = tasks.zip(scores.is_written.par_chunks_mut(ROWS_PER_TASK * targets));
        tasks.enumerate().for_each(|(task, (values, is_written))| {
            let first = task * ROWS_PER_TASK;
            // All rows of a task go through one tree before the next, so that a tree stays in the cache.
            for &root in &self.trees.roots {
                for at in 0..values.len() / targets {
                    let row = &x[(first + at) * columns..(first + at + 1) * columns];
                    let places = at * targets..(at + 1) * targets;
                    let leaf = self.trees.leaf(root, row);
                    let values = &mut values[places.clone()];
                    self.add(leaf, values, &mut is_written[places], precision);
                }
            }
        });
        scores
    }

    fn add(
        &self,
        leaf: &[(u32, f64)],
        values: &mut [f64],
        is_written: &mut [bool],
        precision: Precision,
    ) {
        for &(target, weight) in leaf {
            let (value, is_written) = (
                &mut values[target as usize],
                &mut is_written[target as usize],
            );
            *value = match self.aggregate {
                Aggregate::Sum | Aggregate::Average => precision.sum(*value, weight),
                Aggregate::Min if *is_written => value.min(weight),
                Aggregate::Max if *is_written => value.max(weight),
                Aggregate::Min | Aggregate::Max => weight,
            };
            *is_written = true;
        }
    }
}

impl Fast {
    fn takes(&self, x: &Tensor) -> bool {
        self.comparison == Comparison::LessOrEqual || !matches!(x.data(), Data::Double(_))
    }

    fn apply(
        &self,
        x: &Tensor,
        rows: usize,
        columns: usize,
        features: usize,
        targets: usize,
    ) -> Result<Vec<f64>, Fault> {
        let values = x.as_f64()?;
        let mut table = Vec::new();
        // Trees that ask nothing still take a column.
        let needed = if columns == features {
            &values[..]
        } else {
            table.resize(rows * features, 0.0);
            let width = features.min(columns);
            for row in 0..rows {
                table[row * features..][..width].copy_from_slice(&values[row * columns..][..width]);
            }
            &table[..]
        };
        let mut sums = vec![0.0; rows * targets];
        self.forest.margins(needed, &mut sums);
        Ok(sums)
    }
}
