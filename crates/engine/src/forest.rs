//! Tree ensembles: what they are, and every way of reading, running and explaining them.
//!
//! [`Forest`] is plain data in one flat, checked layout, whoever trained it; [`CompiledForest`] is the
//! same forest laid out for speed. The cut is here because all learners end in the same few numbers
//! per node, and because checking them once (children only point forward, every index in range) lets
//! each evaluator below run without a check of its own. What a margin means to a person (class names,
//! calibration, intervals) is left to the caller; only the objective's own [`Link`] is kept.

mod batch;
mod bins;
mod compiled;
mod document;
mod json;
mod lightgbm;
mod link;
mod shap;
mod single;
mod ubjson;
mod walk;
mod xgboost;
mod xgboost_write;

use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::sync::Arc;

pub use compiled::{CompiledForest, Evaluator};
pub use link::Link;
pub use shap::Explainer;

/// The most features a forest may ask for; a wide one-hot table stays far below.
pub const FEATURES_MAX: usize = 1 << 20;
/// The most outputs (classes, targets, quantiles) a forest may give.
pub const OUTPUTS_MAX: usize = 1 << 12;
/// The most trees; ten thousand rounds of ten classes fit.
pub const TREES_MAX: usize = 1 << 17;
/// The most nodes over all trees, so that a forest stays under about a gigabyte.
pub const NODES_MAX: usize = 1 << 24;
/// The longest way from root to leaf; a leaf-wise tree of 512 leaves cannot be deeper.
pub const DEPTH_MAX: usize = 512;
/// The most 32-bit words over all category sets (64 MiB).
pub const SET_WORDS_MAX: usize = 1 << 24;

/// Why a forest was refused.
#[derive(Debug, thiserror::Error)]
pub enum ForestError {
    /// The bytes are not the format they claim to be.
    #[error("the model file cannot be read: {reason} (at {place})")]
    Malformed { reason: String, place: Place },
    /// A field the format needs is absent or of another kind.
    #[error("the model file has no usable field {field}")]
    Field { field: String },
    /// The model is sound but of a kind that is not evaluated here.
    #[error("{what} is not supported")]
    Unsupported { what: String, hint: &'static str },
    /// More of something than a named limit allows.
    #[error("the forest has {count} {what}, more than the limit of {limit}")]
    TooLarge {
        what: &'static str,
        count: usize,
        limit: usize,
    },
    /// The nodes of a tree do not form a tree, or point outside of it.
    #[error("tree {tree} is broken: {reason}")]
    BrokenTree { tree: usize, reason: &'static str },
    /// Two parts of the forest disagree.
    #[error("the forest contradicts itself: {reason}")]
    Contradiction { reason: &'static str },
    /// The forest cannot be expressed in the wanted format.
    #[error("the forest cannot be written as an XGBoost model: {reason}")]
    NotExpressible { reason: &'static str },
}

/// Where a file is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// Counted from zero.
    Byte(usize),
    /// Counted from one.
    Line(usize),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::Byte(byte) => write!(f, "byte {byte}"),
            Place::Line(line) => write!(f, "line {line}"),
        }
    }
}

/// How a number is compared with a threshold, and in which precision the forest lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Comparison {
    /// XGBoost: the number is rounded to `f32`, goes left if `x < t`; leaves are summed in `f32`;
    /// a category goes right if it is in the set.
    Less,
    /// LightGBM and scikit-learn: goes left if `x <= t` in `f64`; leaves are summed in `f64`;
    /// a category goes left if it is in the set.
    LessOrEqual,
}

/// One node of a tree. Children are indices into the same tree's nodes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Node {
    /// The end of a path.
    Leaf { value: f64, cover: f64 },
    /// A question about one feature.
    Split(Split),
}

/// One question about one feature.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Split {
    pub feature: u32,
    pub test: Test,
    /// Where a missing value goes.
    pub missing_left: bool,
    pub left: u32,
    pub right: u32,
    /// How much the split lowered the training loss; zero if the file does not say.
    pub gain: f64,
    /// How much training weight came by: a sum of hessians or a count of rows.
    pub cover: f64,
}

/// What a split asks.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Test {
    /// Compare with a threshold.
    Threshold(f64),
    /// Look up the category in the set of this index.
    Members(u32),
}

/// A tree as a reader or a trainer hands it in: any order of nodes, the root first.
#[derive(Clone, Debug, PartialEq)]
pub struct Tree {
    /// The output that the leaves add to.
    pub output: usize,
    pub nodes: Vec<Node>,
}

/// A forest before it was checked; [`Forest::new`] checks it.
#[derive(Clone, Debug, PartialEq)]
pub struct ForestDraft {
    pub features: usize,
    pub comparison: Comparison,
    pub link: Link,
    /// What each output starts from; its length is the number of outputs.
    pub base_margins: Vec<f64>,
    /// Features whose zeros count as missing (LightGBM's `zero_as_missing`); the others count `NaN` only.
    pub zero_is_missing: Vec<u32>,
    /// Category sets that [`Test::Members`] refers to.
    pub sets: Vec<CategorySet>,
    pub trees: Vec<Tree>,
}

/// A set of category codes as a bit set. Clones share it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct CategorySet {
    /// The last word is not zero.
    words: Arc<[u32]>,
}

/// A forest whose every index is in range and whose every path ends.
#[derive(Clone, Debug, PartialEq)]
pub struct Forest {
    features: usize,
    comparison: Comparison,
    link: Link,
    base_margins: Vec<f64>,
    /// One flag a feature, or empty when no feature has it.
    zero_is_missing: Vec<bool>,
    sets: Vec<CategorySet>,
    /// All trees' nodes, each tree level by level; a right child follows its left sibling, as XGBoost
    /// too demands.
    nodes: Vec<Node>,
    trees: Vec<Span>,
}

/// Where a tree's nodes are; child indices count from `first`.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Span {
    first: u32,
    end: u32,
    output: u32,
    depth: u32,
}

/// A forest from a file, with what else the file says.
#[derive(Clone, Debug)]
pub struct ImportedForest {
    pub forest: Forest,
    /// One name a feature, or empty when the file has none.
    pub feature_names: Vec<String>,
    /// One kind a feature, or empty when the file does not say.
    pub feature_kinds: Vec<FeatureKind>,
}

/// What a model file says about a feature.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FeatureKind {
    Number,
    /// A category; code `i` stands for the i-th label, where the file keeps labels.
    Category {
        labels: Vec<String>,
    },
    /// A category of so many values whose names are stored in a way that lost them.
    UnreadableCategory {
        values: usize,
    },
}

/// A column as a file for XGBoost names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedColumn {
    pub name: String,
    /// Whether its numbers are codes of categories.
    pub is_category: bool,
}

/// How much the splits of one feature did, over the whole forest.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct FeatureImportance {
    pub splits: u64,
    pub gain: f64,
    pub cover: f64,
}

impl Forest {
    /// Checks a draft and lays it out flat.
    ///
    /// # Errors
    /// When a limit is passed, an index is out of range, or nodes do not form trees.
    pub fn new(draft: ForestDraft) -> Result<Forest, ForestError> {
        check_sizes(&draft)?;
        let mut zero_is_missing = Vec::new();
        for &feature in &draft.zero_is_missing {
            zero_is_missing.resize(draft.features, false);
            let flag = zero_is_missing.get_mut(feature as usize);
            *flag.ok_or(ForestError::Contradiction {
                reason: "a flag names no feature",
            })? = true;
        }
        let mut forest = Forest {
            features: draft.features,
            comparison: draft.comparison,
            link: draft.link,
            base_margins: draft.base_margins,
            zero_is_missing,
            sets: draft.sets,
            nodes: Vec::new(),
            trees: Vec::with_capacity(draft.trees.len()),
        };
        if forest.comparison == Comparison::Less {
            forest
                .base_margins
                .iter_mut()
                .for_each(|margin| *margin = round_to_f32(*margin));
        }
        for (index, tree) in draft.trees.iter().enumerate() {
            forest.append(index, tree)?;
        }
        Ok(forest)
    }

    /// Reads a model that XGBoost (2 or later) or hessboost wrote as JSON or UBJSON.
    ///
    /// # Errors
    /// When the bytes are malformed, beyond a limit, or of a kind not evaluated here.
    pub fn from_xgboost(bytes: &[u8]) -> Result<ImportedForest, ForestError> {
        xgboost::read(bytes)
    }

    /// Reads a model that LightGBM (4 or later) wrote as text.
    ///
    /// # Errors
    /// When the text is malformed, beyond a limit, or of a kind not evaluated here.
    pub fn from_lightgbm(text: &[u8]) -> Result<ImportedForest, ForestError> {
        lightgbm::read(text)
    }

    /// Writes the forest as an XGBoost JSON model.
    ///
    /// # Errors
    /// When XGBoost has no way of saying it ([`Comparison::LessOrEqual`], some links).
    pub fn to_xgboost_json(&self) -> Result<Vec<u8>, ForestError> {
        self.to_xgboost_json_of(&[])
    }

    /// The same, with what the columns are called; one name a column, or none.
    ///
    /// # Errors
    /// As [`Forest::to_xgboost_json`].
    pub fn to_xgboost_json_of(&self, columns: &[NamedColumn]) -> Result<Vec<u8>, ForestError> {
        Ok(json::write(&xgboost_write::document(self, columns)?))
    }

    /// Writes the forest as an XGBoost UBJSON model.
    ///
    /// # Errors
    /// As [`Forest::to_xgboost_json`].
    pub fn to_xgboost_ubjson(&self) -> Result<Vec<u8>, ForestError> {
        self.to_xgboost_ubjson_of(&[])
    }

    /// The same, with what the columns are called; one name a column, or none.
    ///
    /// # Errors
    /// As [`Forest::to_xgboost_json`].
    pub fn to_xgboost_ubjson_of(&self, columns: &[NamedColumn]) -> Result<Vec<u8>, ForestError> {
        Ok(ubjson::write(&xgboost_write::document(self, columns)?))
    }

    /// The forest as plain data again, for whoever writes it in another format.
    pub fn to_draft(&self) -> ForestDraft {
        let tree = |span: &Span| Tree {
            output: span.output as usize,
            nodes: self.nodes_of(*span).to_vec(),
        };
        let flagged = self
            .zero_is_missing
            .iter()
            .enumerate()
            .filter(|(_, flag)| **flag);
        ForestDraft {
            features: self.features,
            comparison: self.comparison,
            link: self.link,
            base_margins: self.base_margins.clone(),
            zero_is_missing: flagged.map(|(feature, _)| feature as u32).collect(),
            sets: self.sets.clone(),
            trees: self.trees.iter().map(tree).collect(),
        }
    }

    /// Lays the forest out for speed.
    pub fn compile(&self) -> CompiledForest {
        CompiledForest::new(self)
    }

    /// Prepares exact TreeSHAP contributions.
    pub fn explainer(&self) -> Explainer {
        Explainer::new(self)
    }

    /// How many numbers a row has.
    pub fn features(&self) -> usize {
        self.features
    }

    /// How many margins a row gets.
    pub fn outputs(&self) -> usize {
        self.base_margins.len()
    }

    /// How many trees there are.
    pub fn trees(&self) -> usize {
        self.trees.len()
    }

    /// The longest path of any tree, in splits.
    pub fn depth(&self) -> usize {
        self.trees
            .iter()
            .map(|tree| tree.depth as usize)
            .max()
            .unwrap_or(0)
    }

    /// What the margins mean.
    pub fn link(&self) -> Link {
        self.link
    }

    /// What each output starts from.
    pub fn base_margins(&self) -> &[f64] {
        &self.base_margins
    }

    /// How numbers are compared.
    pub fn comparison(&self) -> Comparison {
        self.comparison
    }

    /// Splits, gain and cover by feature, summed over all trees.
    pub fn importance(&self) -> Vec<FeatureImportance> {
        let mut importance = vec![FeatureImportance::default(); self.features];
        for node in &self.nodes {
            if let Node::Split(split) = node {
                let of_feature = &mut importance[split.feature as usize];
                of_feature.splits += 1;
                of_feature.gain += split.gain;
                of_feature.cover += split.cover;
            }
        }
        importance
    }

    /// The columns that some split takes for a category.
    pub fn category_columns(&self) -> BTreeSet<u32> {
        let column = |node: &Node| match node {
            Node::Split(Split {
                feature,
                test: Test::Members(_),
                ..
            }) => Some(*feature),
            _ => None,
        };
        self.nodes.iter().filter_map(column).collect()
    }

    fn nodes_of(&self, tree: Span) -> &[Node] {
        &self.nodes[tree.first as usize..tree.end as usize]
    }

    fn zero_counts_as_missing(&self, feature: usize) -> bool {
        self.zero_is_missing.get(feature).copied().unwrap_or(false)
    }

    /// Appends a tree level by level, so that loops, shared nodes and stray indices cannot survive.
    fn append(&mut self, index: usize, tree: &Tree) -> Result<(), ForestError> {
        let broken = |reason| ForestError::BrokenTree {
            tree: index,
            reason,
        };
        if tree.output >= self.outputs() {
            return Err(broken("its output does not exist"));
        }
        let first = self.nodes.len();
        let mut seen = vec![false; tree.nodes.len()];
        // The nodes of the draft in their new order, each with its depth.
        let mut order = vec![(0u32, 0usize)];
        let mut next = 0;
        while let Some(&(source, depth)) = order.get(next) {
            let visited = seen
                .get_mut(source as usize)
                .ok_or(broken("a child does not exist"))?;
            if std::mem::replace(visited, true) {
                return Err(broken("a node has two parents"));
            }
            check_limit("levels in a tree", depth, DEPTH_MAX)?;
            let mut node = self.checked(tree.nodes[source as usize]).map_err(broken)?;
            if let Node::Split(split) = &mut node {
                let place = order.len() as u32;
                order.extend([(split.left, depth + 1), (split.right, depth + 1)]);
                (split.left, split.right) = (place, place + 1);
            }
            self.nodes.push(node);
            next += 1;
        }
        check_limit("nodes", self.nodes.len(), NODES_MAX)?;
        let depth = order.last().map_or(0, |&(_, depth)| depth) as u32;
        let (first, end) = (first as u32, self.nodes.len() as u32);
        self.trees.push(Span {
            first,
            end,
            output: tree.output as u32,
            depth,
        });
        Ok(())
    }

    fn checked(&self, node: Node) -> Result<Node, &'static str> {
        match node {
            Node::Leaf { value, .. } if !self.rounded(value).is_finite() => {
                Err("a leaf is no finite number")
            }
            Node::Leaf { value, cover } => Ok(Node::Leaf {
                value: self.rounded(value),
                cover: self.rounded(cover),
            }),
            Node::Split(split) if split.feature as usize >= self.features => {
                Err("a split names no feature")
            }
            Node::Split(split) => Ok(Node::Split(Split {
                test: self.checked_test(split.test)?,
                gain: self.rounded(split.gain),
                cover: self.rounded(split.cover),
                ..split
            })),
        }
    }

    fn checked_test(&self, test: Test) -> Result<Test, &'static str> {
        match test {
            Test::Threshold(threshold) if threshold.is_nan() => Err("a threshold is not a number"),
            Test::Threshold(threshold) => Ok(Test::Threshold(self.rounded(threshold))),
            Test::Members(set) if set as usize >= self.sets.len() => {
                Err("a split names no category set")
            }
            Test::Members(_) => Ok(test),
        }
    }

    fn rounded(&self, x: f64) -> f64 {
        match self.comparison {
            Comparison::Less => round_to_f32(x),
            Comparison::LessOrEqual => x,
        }
    }
}

impl CategorySet {
    /// The set of these codes.
    ///
    /// # Errors
    /// When a code is beyond what all sets together may hold.
    pub fn new(codes: impl IntoIterator<Item = u32>) -> Result<CategorySet, ForestError> {
        let mut words = Vec::new();
        for code in codes {
            let word = code as usize / 32;
            check_limit("words of category sets", word + 1, SET_WORDS_MAX)?;
            if word >= words.len() {
                words.resize(word + 1, 0);
            }
            words[word] |= 1 << (code % 32);
        }
        Ok(CategorySet {
            words: words.into(),
        })
    }

    fn from_words(mut words: Vec<u32>) -> CategorySet {
        while words.last() == Some(&0) {
            words.pop();
        }
        CategorySet {
            words: words.into(),
        }
    }

    /// Whether the code is in the set.
    pub fn contains(&self, code: u32) -> bool {
        let word = self.words.get(code as usize / 32).copied().unwrap_or(0);
        word >> (code % 32) & 1 == 1
    }

    /// The codes in the set, ascending.
    pub fn codes(&self) -> impl Iterator<Item = u32> + '_ {
        (0..self.codes_end()).filter(|&code| self.contains(code))
    }

    /// One more than the greatest code in the set.
    fn codes_end(&self) -> u32 {
        self.words.last().map_or(0, |word| {
            self.words.len() as u32 * 32 - word.leading_zeros()
        })
    }
}

impl Comparison {
    /// The category that a number stands for; `None` goes where categories outside of the set go.
    #[inline]
    fn category(self, x: f64) -> Option<u32> {
        match self {
            // XGBoost refuses what is negative or cannot be told apart in f32, before truncating.
            Comparison::Less => {
                let x = x as f32;
                (0.0..16_777_216.0).contains(&x).then_some(x as u32)
            }
            // LightGBM truncates first, so that -0.5 is category 0.
            Comparison::LessOrEqual => (x > -1.0 && x < 2_147_483_648.0).then_some(x as u32),
        }
    }

    /// Whether a category goes left, given whether it is in the split's set.
    #[inline]
    fn member_goes_left(self, is_member: bool) -> bool {
        is_member == (self == Comparison::LessOrEqual)
    }
}

/// Numbers XGBoost keeps in `f32`; rounding once at the door keeps every path equal.
fn round_to_f32(x: f64) -> f64 {
    f64::from(x as f32)
}

fn check_sizes(draft: &ForestDraft) -> Result<(), ForestError> {
    check_limit("features", draft.features, FEATURES_MAX)?;
    check_limit("outputs", draft.base_margins.len(), OUTPUTS_MAX)?;
    check_limit("trees", draft.trees.len(), TREES_MAX)?;
    check_limit(
        "nodes",
        draft.trees.iter().map(|tree| tree.nodes.len()).sum(),
        NODES_MAX,
    )?;
    let words = draft.sets.iter().map(|set| set.words.len()).sum();
    check_limit("words of category sets", words, SET_WORDS_MAX)?;
    if !draft.base_margins.iter().all(|margin| margin.is_finite()) {
        return Err(ForestError::Contradiction {
            reason: "what an output starts from is no finite number",
        });
    }
    if draft.base_margins.is_empty() {
        return Err(ForestError::Contradiction {
            reason: "it has no output",
        });
    }
    Ok(())
}

fn check_limit(what: &'static str, count: usize, limit: usize) -> Result<(), ForestError> {
    if count > limit {
        Err(too_large(what, count, limit))
    } else {
        Ok(())
    }
}

fn too_large(what: &'static str, count: usize, limit: usize) -> ForestError {
    ForestError::TooLarge { what, count, limit }
}

/// Collects category sets while a file is read, each distinct one once.
#[derive(Default)]
struct SetTable {
    sets: Vec<CategorySet>,
    index_by_set: HashMap<CategorySet, u32>,
    words: usize,
}

impl SetTable {
    /// The index of a set; repeated ones count against the limit too, as they cost time.
    fn index(&mut self, set: CategorySet) -> Result<u32, ForestError> {
        self.words += set.words.len();
        check_limit("words of category sets", self.words, SET_WORDS_MAX)?;
        if let Some(&index) = self.index_by_set.get(&set) {
            return Ok(index);
        }
        let index = self.sets.len() as u32;
        self.sets.push(set.clone());
        self.index_by_set.insert(set, index);
        Ok(index)
    }
}
