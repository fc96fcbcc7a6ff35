//! Reads XGBoost models (JSON or UBJSON, version 2 or later), also those hessboost writes.
//!
//! Everything a version says differently (a scalar or a vector base score, leaf vectors, dropped trees'
//! weights) is settled here, so that a [`Forest`] has one meaning. Multi-output trees become one tree
//! per output. What cannot be evaluated exactly is refused by name.

use crate::shown;

use super::document::Value;
use super::{
    CategorySet, Comparison, FEATURES_MAX, FeatureKind, Forest, ForestDraft, ForestError,
    ImportedForest, Link, NODES_MAX, Node, OUTPUTS_MAX, SetTable, Split, TREES_MAX, Test, Tree,
    check_limit, json, ubjson,
};

/// An objective as far as prediction goes: its name in XGBoost, its link, and the space of its base score.
pub(super) struct Objective {
    pub name: &'static str,
    pub link: Link,
    pub base: BaseScore,
}

/// The space a base score is stored in.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum BaseScore {
    Margin,
    Probability,
    Mean,
}

const LOGISTIC: Link = Link::Logistic { scale: 1.0 };

pub(super) const OBJECTIVES: [Objective; 16] = [
    objective("reg:squarederror", Link::Identity, BaseScore::Margin),
    objective("reg:linear", Link::Identity, BaseScore::Margin),
    objective("reg:squaredlogerror", Link::Identity, BaseScore::Margin),
    objective("reg:pseudohubererror", Link::Identity, BaseScore::Margin),
    objective("reg:absoluteerror", Link::Identity, BaseScore::Margin),
    objective("reg:quantileerror", Link::Identity, BaseScore::Margin),
    objective("reg:expectileerror", Link::Identity, BaseScore::Margin),
    objective("reg:logistic", LOGISTIC, BaseScore::Probability),
    objective("binary:logistic", LOGISTIC, BaseScore::Probability),
    objective("binary:logitraw", Link::Identity, BaseScore::Margin),
    objective("binary:hinge", Link::Step, BaseScore::Margin),
    objective("multi:softprob", Link::Softmax, BaseScore::Margin),
    objective("multi:softmax", Link::Softmax, BaseScore::Margin),
    objective("count:poisson", Link::Exp, BaseScore::Mean),
    objective("reg:gamma", Link::Exp, BaseScore::Mean),
    objective("reg:tweedie", Link::Exp, BaseScore::Mean),
];

const fn objective(name: &'static str, link: Link, base: BaseScore) -> Objective {
    Objective { name, link, base }
}

/// Reads a model, whichever of the two formats it is in.
pub(super) fn read(bytes: &[u8]) -> Result<ImportedForest, ForestError> {
    let document = if is_ubjson(bytes) {
        ubjson::read(bytes)?
    } else {
        json::read(bytes)?
    };
    let learner = child(&document, "learner")?;
    let model = Model::of(learner)?;
    let forest = Forest::new(model.draft()?)?;
    let feature_kinds = kinds(
        learner.field("feature_types"),
        model.categories,
        forest.features(),
    );
    Ok(ImportedForest {
        feature_names: names(learner.field("feature_names"), forest.features()),
        feature_kinds,
        forest,
    })
}

/// In JSON the brace is followed by space, a quote or the end; in UBJSON by the length of a key.
fn is_ubjson(bytes: &[u8]) -> bool {
    matches!(bytes, [b'{', b'L' | b'l' | b'I' | b'i' | b'U' | b'#', ..])
}

/// The parts of a document that matter for prediction.
struct Model<'a> {
    objective: &'static Objective,
    outputs: usize,
    features: usize,
    base_scores: Vec<f64>,
    trees: &'a [Value],
    /// How many there are, by the file's own word.
    trees_told: Option<usize>,
    tree_outputs: &'a [f64],
    /// One weight a tree, for DART only.
    weights: Option<&'a [f64]>,
    categories: Option<&'a Value>,
}

impl<'a> Model<'a> {
    fn of(learner: &'a Value) -> Result<Model<'a>, ForestError> {
        let objective = known_objective(text(child(learner, "objective")?, "name")?)?;
        let parameters = child(learner, "learner_model_param")?;
        let classes = whole(parameters, "num_class").unwrap_or(0);
        let targets = whole(parameters, "num_target").unwrap_or(1);
        let outputs = classes.max(targets).max(1);
        check_limit("outputs", outputs, OUTPUTS_MAX)?;
        let booster = child(learner, "gradient_booster")?;
        let (trees, weights) = match text(booster, "name")? {
            "gbtree" => (child(booster, "model")?, None),
            "dart" => {
                let weights = numbers(booster, "weight_drop")?;
                (child(child(booster, "gbtree")?, "model")?, Some(weights))
            }
            other => {
                return Err(unsupported(
                    "booster",
                    other,
                    "only tree boosters are forests",
                ));
            }
        };
        Ok(Model {
            objective,
            outputs,
            features: whole(parameters, "num_feature")?,
            base_scores: base_scores(text(parameters, "base_score")?, outputs)?,
            tree_outputs: numbers(trees, "tree_info")?,
            trees_told: trees
                .field("gbtree_model_param")
                .and_then(|parameters| whole(parameters, "num_trees").ok()),
            categories: trees.field("cats"),
            trees: child(trees, "trees")?
                .elements()
                .ok_or_else(|| missing("trees"))?,
            weights,
        })
    }

    fn draft(&self) -> Result<ForestDraft, ForestError> {
        check_limit("features", self.features, FEATURES_MAX)?;
        check_limit("trees", self.trees.len(), TREES_MAX)?;
        if self.trees_told.is_some_and(|told| told != self.trees.len()) {
            return Err(ForestError::Contradiction {
                reason: "the file tells another number of trees than it has",
            });
        }
        let mut sets = SetTable::default();
        let mut trees = Vec::with_capacity(self.trees.len());
        let mut nodes = 0;
        for (index, tree) in self.trees.iter().enumerate() {
            let reader = TreeReader::of(tree, index, self.weight(index)?)?;
            let first_output = self.output(index)?;
            let outputs = first_output..first_output + reader.targets;
            if outputs.end > self.outputs {
                return Err(broken(index, "it has more targets than the model"));
            }
            nodes += reader.nodes() * reader.targets;
            check_limit("nodes", nodes, NODES_MAX)?;
            let sets = reader.sets(&mut sets)?;
            for (target, output) in outputs.enumerate() {
                trees.push(Tree {
                    output,
                    nodes: reader.read(target, &sets)?,
                });
            }
        }
        let to_margin = |&score: &f64| {
            let margin = self.objective.base.margin(score as f32);
            margin.is_finite().then_some(f64::from(margin))
        };
        let base_margins: Option<Vec<f64>> = self.base_scores.iter().map(to_margin).collect();
        Ok(ForestDraft {
            features: self.features,
            comparison: Comparison::Less,
            link: self.objective.link,
            base_margins: base_margins.ok_or_else(|| missing("base_score"))?,
            zero_is_missing: Vec::new(),
            sets: sets.sets,
            trees,
        })
    }

    fn weight(&self, tree: usize) -> Result<f32, ForestError> {
        let Some(weights) = self.weights else {
            return Ok(1.0);
        };
        weights
            .get(tree)
            .map(|&weight| weight as f32)
            .ok_or_else(|| missing("weight_drop"))
    }

    fn output(&self, tree: usize) -> Result<usize, ForestError> {
        let output = self
            .tree_outputs
            .get(tree)
            .ok_or_else(|| missing("tree_info"))?;
        index_of(*output).ok_or_else(|| missing("tree_info"))
    }
}

impl BaseScore {
    /// The margin of a stored base score, in `f32` as XGBoost computes it.
    pub(super) fn margin(self, score: f32) -> f32 {
        match self {
            BaseScore::Margin => score,
            BaseScore::Probability => -((1.0 / score - 1.0).ln()),
            BaseScore::Mean => score.ln(),
        }
    }

    /// A base score whose [`BaseScore::margin`] is `margin`, or as close as `f32` comes.
    pub(super) fn score(self, margin: f32) -> f32 {
        let near = match self {
            BaseScore::Margin => return margin,
            BaseScore::Probability => 1.0 / (1.0 + (-f64::from(margin)).exp()),
            BaseScore::Mean => f64::from(margin).exp(),
        } as f32;
        let candidates =
            (-64..=64).map(|step: i32| f32::from_bits(near.to_bits().saturating_add_signed(step)));
        let distance = |score: &f32| (self.margin(*score) - margin).abs();
        let is_number = |score: &f32| distance(score).is_finite();
        let best = candidates
            .filter(is_number)
            .min_by(|a, b| distance(a).total_cmp(&distance(b)));
        best.unwrap_or(near)
    }
}

/// One tree's columns, of equal length.
struct TreeReader<'a> {
    index: usize,
    weight: f32,
    targets: usize,
    left: &'a [f64],
    right: &'a [f64],
    features: &'a [f64],
    conditions: &'a [f64],
    default_left: Flags<'a>,
    /// 1 where the split is by category; empty if nowhere.
    kinds: Flags<'a>,
    gains: &'a [f64],
    covers: &'a [f64],
    leaves: LeafVectors<'a>,
    categories: Categories<'a>,
}

/// Where the vector of a multi-output leaf is.
enum LeafVectors<'a> {
    /// One output: the leaf's value is its split condition.
    None,
    /// Version 3: the leaf's right child counts into a table of leaves.
    ByLeaf(&'a [f64]),
    /// Version 2: a table of nodes.
    ByNode(&'a [f64]),
}

/// Flags are numbers or booleans, depending on the version.
enum Flags<'a> {
    Numbers(&'a [f64]),
    Values(&'a [Value]),
}

struct Categories<'a> {
    nodes: &'a [f64],
    starts: &'a [f64],
    sizes: &'a [f64],
    codes: &'a [f64],
}

impl<'a> TreeReader<'a> {
    fn of(tree: &'a Value, index: usize, weight: f32) -> Result<TreeReader<'a>, ForestError> {
        let targets = match tree.field("tree_param") {
            Some(parameters) => whole(parameters, "size_leaf_vector").unwrap_or(1).max(1),
            None => 1,
        };
        check_limit("outputs", targets, OUTPUTS_MAX)?;
        let leaves = match optional(tree, "leaf_weights") {
            _ if targets == 1 => LeafVectors::None,
            [] => LeafVectors::ByNode(numbers(tree, "base_weights")?),
            table => LeafVectors::ByLeaf(table),
        };
        let reader = TreeReader {
            index,
            weight,
            targets,
            left: numbers(tree, "left_children")?,
            right: numbers(tree, "right_children")?,
            features: numbers(tree, "split_indices")?,
            conditions: numbers(tree, "split_conditions")?,
            default_left: Flags::of(child(tree, "default_left")?),
            kinds: tree
                .field("split_type")
                .map_or(Flags::Numbers(&[]), Flags::of),
            gains: optional(tree, "loss_changes"),
            covers: optional(tree, "sum_hessian"),
            leaves,
            categories: Categories {
                nodes: optional(tree, "categories_nodes"),
                starts: optional(tree, "categories_segments"),
                sizes: optional(tree, "categories_sizes"),
                codes: optional(tree, "categories"),
            },
        };
        let columns = [
            reader.right.len(),
            reader.features.len(),
            reader.conditions.len(),
        ];
        if columns != [reader.nodes(); 3] {
            return Err(broken(index, "its columns differ in length"));
        }
        let is_whole = |column: &str| {
            let length = tree.field(column).map(|column| Flags::of(column).len());
            length.is_none_or(|length| length == reader.nodes())
        };
        let of_one_output = ["split_type", "sum_hessian", "loss_changes"];
        if !is_whole("default_left") || targets == 1 && !of_one_output.into_iter().all(is_whole) {
            return Err(broken(index, "its columns differ in length"));
        }
        reader.categories.check(index)?;
        Ok(reader)
    }

    fn nodes(&self) -> usize {
        self.left.len()
    }

    fn read(&self, target: usize, sets: &[Option<u32>]) -> Result<Vec<Node>, ForestError> {
        (0..self.nodes())
            .map(|node| self.node(node, target, sets[node]))
            .collect()
    }

    /// The category set of each node that has one.
    fn sets(&self, sets: &mut SetTable) -> Result<Vec<Option<u32>>, ForestError> {
        let mut set_of_node = vec![None; self.nodes()];
        for (segment, &node) in self.categories.nodes.iter().enumerate() {
            let place = index_of(node).and_then(|node| set_of_node.get_mut(node));
            let place = place.ok_or_else(|| broken(self.index, "a category set names no node"))?;
            *place = Some(sets.index(self.categories.set(segment, self.index)?)?);
        }
        Ok(set_of_node)
    }

    fn node(&self, node: usize, target: usize, set: Option<u32>) -> Result<Node, ForestError> {
        let cover = self.covers.get(node).copied().unwrap_or(0.0);
        if self.left[node] == -1.0 {
            let value = self.leaf(node, target)? as f32 * self.weight;
            return Ok(Node::Leaf {
                value: f64::from(value),
                cover,
            });
        }
        let index = |column: &[f64]| {
            let index = index_of(column[node]).and_then(|index| u32::try_from(index).ok());
            index.ok_or_else(|| broken(self.index, "an index is not a whole number"))
        };
        let test = match (self.kinds.get(node), set) {
            (false, _) => Test::Threshold(self.conditions[node]),
            (true, Some(set)) => Test::Members(set),
            (true, None) => return Err(broken(self.index, "a category split has no set")),
        };
        Ok(Node::Split(Split {
            feature: index(self.features)?,
            test,
            missing_left: self.default_left.get(node),
            left: index(self.left)?,
            right: index(self.right)?,
            gain: self.gains.get(node).copied().unwrap_or(0.0) / self.targets as f64,
            cover,
        }))
    }

    fn leaf(&self, node: usize, target: usize) -> Result<f64, ForestError> {
        let value = match self.leaves {
            LeafVectors::None => return Ok(self.conditions[node]),
            LeafVectors::ByNode(table) => table.get(node * self.targets + target),
            LeafVectors::ByLeaf(table) => index_of(self.right[node])
                .and_then(|leaf| leaf.checked_mul(self.targets)?.checked_add(target))
                .and_then(|place| table.get(place)),
        };
        value
            .copied()
            .ok_or_else(|| broken(self.index, "a leaf has no value"))
    }
}

impl<'a> Flags<'a> {
    fn of(value: &'a Value) -> Flags<'a> {
        match value.numbers() {
            Some(numbers) => Flags::Numbers(numbers),
            None => Flags::Values(value.elements().unwrap_or_default()),
        }
    }

    fn len(&self) -> usize {
        match self {
            Flags::Numbers(numbers) => numbers.len(),
            Flags::Values(values) => values.len(),
        }
    }

    fn get(&self, index: usize) -> bool {
        match self {
            Flags::Numbers(numbers) => numbers.get(index).is_some_and(|&flag| flag != 0.0),
            Flags::Values(values) => values.get(index) == Some(&Value::Bool(true)),
        }
    }
}

impl Categories<'_> {
    /// Overlapping segments would make a small file cost quadratic time.
    fn check(&self, tree: usize) -> Result<(), ForestError> {
        let sets = self.nodes.len();
        if self.starts.len() != sets || self.sizes.len() != sets {
            return Err(broken(tree, "its category sets differ in number"));
        }
        let mut codes = 0_usize;
        for &size in self.sizes {
            let size = index_of(size)
                .ok_or_else(|| broken(tree, "a category set's size is no whole number"))?;
            codes = codes.saturating_add(size);
        }
        match codes > self.codes.len() {
            true => Err(broken(tree, "its category sets overlap")),
            false => Ok(()),
        }
    }

    fn set(&self, segment: usize, tree: usize) -> Result<CategorySet, ForestError> {
        let codes = self
            .codes_of(segment)
            .ok_or_else(|| broken(tree, "a category set is cut off"))?;
        let mut whole = Vec::with_capacity(codes.len());
        for &code in codes {
            let code = index_of(code).and_then(|code| u32::try_from(code).ok());
            whole.push(code.ok_or_else(|| broken(tree, "a category is not a whole number"))?);
        }
        CategorySet::new(whole)
    }

    fn codes_of(&self, segment: usize) -> Option<&[f64]> {
        let start = index_of(*self.starts.get(segment)?)?;
        let size = index_of(*self.sizes.get(segment)?)?;
        self.codes.get(start..start.checked_add(size)?)
    }
}

fn known_objective(name: &str) -> Result<&'static Objective, ForestError> {
    if let Some(objective) = OBJECTIVES.iter().find(|objective| objective.name == name) {
        return Ok(objective);
    }
    let hint = match name.split(':').next() {
        Some("rank") => "a ranking score has no meaning for one row alone",
        Some("survival") => "survival times are no task here",
        _ => "train with one of XGBoost's regression, binary or multiclass objectives",
    };
    Err(unsupported("objective", name, hint))
}

/// `"5E-1"` until version 3.0, `"[5E-1]"` or one score an output since.
fn base_scores(text: &str, outputs: usize) -> Result<Vec<f64>, ForestError> {
    let inner = text.trim().trim_start_matches('[').trim_end_matches(']');
    let parsed: Result<Vec<f64>, _> = inner.split(',').map(|score| score.trim().parse()).collect();
    match parsed {
        Ok(scores) if scores.len() == outputs => Ok(scores),
        Ok(scores) if scores.len() == 1 => Ok(vec![scores[0]; outputs]),
        Ok(_) | Err(_) => Err(missing("base_score")),
    }
}

fn names(value: Option<&Value>, features: usize) -> Vec<String> {
    let texts = value.and_then(Value::elements).unwrap_or_default();
    let names: Vec<String> = texts
        .iter()
        .filter_map(|name| name.text().map(str::to_owned))
        .collect();
    if names.len() == features {
        names
    } else {
        Vec::new()
    }
}

fn kinds(types: Option<&Value>, categories: Option<&Value>, features: usize) -> Vec<FeatureKind> {
    let types = types.and_then(Value::elements).unwrap_or_default();
    if types.len() != features {
        return Vec::new();
    }
    let tables = categories
        .and_then(|cats| cats.field("enc"))
        .and_then(Value::elements);
    let table = |feature: usize| tables.unwrap_or_default().get(feature);
    let kind = |(feature, kind): (usize, &Value)| match kind.text() {
        Some("c") => {
            table(feature).map_or(FeatureKind::Category { labels: Vec::new() }, of_categories)
        }
        _ => FeatureKind::Number,
    };
    types.iter().enumerate().map(kind).collect()
}

/// Labels are one string of bytes cut at offsets, or plain numbers.
fn of_categories(table: &Value) -> FeatureKind {
    let values = optional(table, "values");
    let Some(offsets) = table.field("offsets").and_then(Value::numbers) else {
        let labels = values.iter().map(f64::to_string).collect();
        return FeatureKind::Category { labels };
    };
    // The bytes are signed, and the offsets count characters instead of them: beyond ASCII no name is left whole.
    let is_ascii = |byte: &f64| (0.0..128.0).contains(byte);
    if !values.iter().all(is_ascii) {
        return FeatureKind::UnreadableCategory {
            values: offsets.len().saturating_sub(1),
        };
    }
    let bytes: Vec<u8> = values.iter().map(|&byte| byte as u8).collect();
    let label = |ends: &[f64]| {
        let bytes = bytes.get(index_of(ends[0])?..index_of(ends[1])?)?;
        String::from_utf8(bytes.to_vec()).ok()
    };
    let labels = offsets
        .windows(2)
        .map(label)
        .collect::<Option<Vec<String>>>();
    FeatureKind::Category {
        labels: labels.unwrap_or_default(),
    }
}

fn child<'a>(value: &'a Value, name: &str) -> Result<&'a Value, ForestError> {
    value.field(name).ok_or_else(|| missing(name))
}

fn text<'a>(value: &'a Value, name: &str) -> Result<&'a str, ForestError> {
    child(value, name)?.text().ok_or_else(|| missing(name))
}

fn numbers<'a>(value: &'a Value, name: &str) -> Result<&'a [f64], ForestError> {
    child(value, name)?.numbers().ok_or_else(|| missing(name))
}

fn optional<'a>(value: &'a Value, name: &str) -> &'a [f64] {
    value
        .field(name)
        .and_then(Value::numbers)
        .unwrap_or_default()
}

/// XGBoost keeps its parameters as text.
fn whole(value: &Value, name: &str) -> Result<usize, ForestError> {
    text(value, name)?.parse().map_err(|_| missing(name))
}

fn index_of(number: f64) -> Option<usize> {
    let is_index = (0.0..=f64::from(u32::MAX)).contains(&number) && number.fract() == 0.0;
    is_index.then_some(number as usize)
}

fn missing(field: &str) -> ForestError {
    ForestError::Field {
        field: field.to_owned(),
    }
}

fn broken(tree: usize, reason: &'static str) -> ForestError {
    ForestError::BrokenTree { tree, reason }
}

fn unsupported(what: &str, name: &str, hint: &'static str) -> ForestError {
    let name = shown::name(name);
    ForestError::Unsupported {
        what: format!("{what} {name}"),
        hint,
    }
}
