//! `TreeEnsembleClassifier`, `TreeEnsembleRegressor` and the newer `TreeEnsemble` that replaces both.
//!
//! All three come down to the same trees ([`Trees`] in [`super::walk`]); here the attributes are read, the way of
//! evaluating is chosen, and sums become labels and scores. Forests whose splits are comparisons and whose leaves add up
//! go through [`crate::forest`]; the rest is walked.
//!
//! The standard says little about classifiers of two classes; the cases below are those of onnxruntime. So is the
//! arithmetic: in single precision leaf by leaf in the order of the trees, so that what ties there ties here. (With more
//! threads than one onnxruntime adds up parts of large forests, and its own ties move.)

use std::collections::HashMap;

use super::attributes::Attributes;
use super::graph::{Kernel, Versions, one};
use super::scores::{SecondClass, Transform, greatest, labels_at, single};
use super::tensor::{Element, Fault, Tensor, Value};
use super::walk::{Aggregate, Node, Precision, Scores, Test, Trees};

type Built = Result<Kernel, Fault>;

/// Most classes or targets, so that a row of scores stays small.
const TARGETS_MAX: usize = 1 << 16;

pub(super) fn classifier(node: Attributes<'_>, _: Versions) -> Built {
    let labels = node.labels("classlabels_strings", "classlabels_int64s")?;
    if labels.len() < 2 {
        return Err(Fault::new("it tells only one class"));
    }
    let trees = read_trees(node, "class", labels.len())?;
    let base = finite(reals(node, "base_values")?, "base_values")?;
    if base.len() > labels.len() {
        return Err(Fault::new("it has more base values than classes"));
    }
    let decision = Decision {
        is_one_sided: labels.len() == 2
            && trees
                .targets_written()
                .filter(|&is_written| is_written)
                .count()
                == 1,
        all_positive: trees.weights().all(|weight| weight >= 0.0),
        transform: Transform::read(node)?,
        base,
    };
    let evaluator = trees.evaluator(Aggregate::Sum);
    Ok(Box::new(move |call| {
        let (rows, mut scores) = evaluator.apply(call)?;
        let precision = scores.precision;
        let classes = labels.len();
        let mut out = Vec::with_capacity(rows * classes);
        let mut places = Vec::with_capacity(rows);
        let Scores {
            values, is_written, ..
        } = &mut scores;
        for (row, is_written) in values
            .chunks_exact_mut(classes)
            .zip(is_written.chunks_exact_mut(classes))
        {
            places.push(decision.decide(row, is_written, precision, &mut out));
        }
        let scores = single(vec![rows, classes], &out);
        Ok(vec![
            Value::Tensor(labels_at(&labels, &places)),
            Value::Tensor(scores),
        ])
    }))
}

pub(super) fn regressor(node: Attributes<'_>, _: Versions) -> Built {
    let targets = targets(node)?;
    let aggregate = match &node.text_or("aggregate_function", "SUM")?[..] {
        "SUM" => Aggregate::Sum,
        "AVERAGE" => Aggregate::Average,
        "MIN" => Aggregate::Min,
        "MAX" => Aggregate::Max,
        other => return Err(Fault::new(format!("the aggregate {other:?} is not known"))),
    };
    let base = finite(reals(node, "base_values")?, "base_values")?;
    if !base.is_empty() && base.len() != targets {
        return Err(Fault::new(format!(
            "{} base values do not fit {targets} targets",
            base.len()
        )));
    }
    let transform = Transform::read(node)?;
    let evaluator = read_trees(node, "target", targets)?.evaluator(aggregate);
    Ok(Box::new(move |call| {
        let (rows, mut scores) = evaluator.apply(call)?;
        let out = regressed(&mut scores, targets, &base, transform);
        one(single(vec![rows, targets], &out))
    }))
}

pub(super) fn ensemble(node: Attributes<'_>, _: Versions) -> Built {
    let targets = targets(node)?;
    let aggregate = match node.int_or("aggregate_function", 1)? {
        0 => Aggregate::Average,
        1 => Aggregate::Sum,
        2 => Aggregate::Min,
        3 => Aggregate::Max,
        _ => return Err(Fault::new("the aggregate is not known")),
    };
    let transform = Transform::numbered(node.int_or("post_transform", 0)?)?;
    let evaluator = read_new_trees(node, targets)?.evaluator(aggregate);
    Ok(Box::new(move |call| {
        let element = call.tensor(0)?.element();
        let (rows, mut scores) = evaluator.apply(call)?;
        let out = regressed(&mut scores, targets, &[], transform);
        let shape = vec![rows, targets];
        one(match element {
            Element::Double => Tensor::of(shape, out),
            _ => single(shape, &out),
        })
    }))
}

/// From the sums of a row to its class.
struct Decision {
    /// Two classes of which the leaves tell only one.
    is_one_sided: bool,
    /// Leaves hold probabilities, not margins.
    all_positive: bool,
    transform: Transform,
    base: Vec<f64>,
}

impl Decision {
    fn decide(
        &self,
        scores: &mut [f64],
        is_written: &mut [bool],
        precision: Precision,
        out: &mut Vec<f64>,
    ) -> usize {
        if scores.len() > 2 {
            return self.decide_among_many(scores, is_written, precision, out);
        }
        let mut second = SecondClass::Opposite;
        match *self.base {
            [_, base] if is_written[1] => {
                // The first base value is not used, and the first class's sum is: so onnxruntime has it.
                scores[1] = precision.sum(base, scores[0]);
                scores[0] = -scores[1];
            }
            [first, base] => {
                scores[0] = precision.sum(scores[0], first);
                scores[1] = precision.sum(scores[1], base);
            }
            [base] => scores[0] = precision.sum(scores[0], base),
            _ => {}
        }
        // What no leaf told counts as nothing, even beside a base value.
        scores
            .iter_mut()
            .zip(&*is_written)
            .filter(|(_, is_written)| !**is_written)
            .for_each(|(score, _)| *score = 0.0);
        let positive = if is_written[1] { scores[1] } else { scores[0] };
        let is_single = !is_written[1] && self.base.len() < 2;
        let label = if self.is_one_sided {
            second = if self.all_positive {
                SecondClass::Remainder
            } else {
                SecondClass::Opposite
            };
            usize::from(positive > if self.all_positive { 0.5 } else { 0.0 })
        } else {
            greatest(scores)
        };
        let width = if is_single { 1 } else { 2 };
        self.transform.finish(&mut scores[..width], second, out);
        label
    }

    fn decide_among_many(
        &self,
        scores: &mut [f64],
        is_written: &mut [bool],
        precision: Precision,
        out: &mut Vec<f64>,
    ) -> usize {
        for ((score, is_written), base) in
            scores.iter_mut().zip(is_written.iter_mut()).zip(&self.base)
        {
            *score = precision.sum(*score, *base);
            *is_written = true;
        }
        let mut best = None;
        for (class, &score) in scores.iter().enumerate() {
            if is_written[class] && best.is_none_or(|best: usize| score > scores[best]) {
                best = Some(class);
            }
        }
        self.transform.finish(scores, SecondClass::No, out);
        best.unwrap_or(0)
    }
}

fn regressed(scores: &mut Scores, targets: usize, base: &[f64], transform: Transform) -> Vec<f64> {
    let precision = scores.precision;
    let mut out = Vec::with_capacity(scores.values.len());
    for row in scores.values.chunks_exact_mut(targets) {
        row.iter_mut()
            .zip(base)
            .for_each(|(score, base)| *score = precision.sum(*score, *base));
        transform.finish(row, SecondClass::No, &mut out);
    }
    out
}

fn targets(node: Attributes<'_>) -> Result<usize, Fault> {
    let targets = usize::try_from(node.int_or("n_targets", 1)?).unwrap_or(0);
    if (1..=TARGETS_MAX).contains(&targets) {
        return Ok(targets);
    }
    Err(Fault::new("its number of targets is out of range"))
}

/// Numbers under their name, or as a tensor of either precision.
fn reals(node: Attributes<'_>, name: &str) -> Result<Vec<f64>, Fault> {
    if let Some(tensor) = node.tensor(&format!("{name}_as_tensor"))? {
        return Ok(tensor.as_f64()?.into_owned());
    }
    Ok(node.floats(name)?.iter().map(|&x| f64::from(x)).collect())
}

/// Numbers that sums are made of: one beyond all bounds, and no row had an answer.
fn finite(numbers: Vec<f64>, name: &str) -> Result<Vec<f64>, Fault> {
    if numbers.iter().all(|number| number.is_finite()) {
        return Ok(numbers);
    }
    Err(Fault::new(format!("{name} holds what is no finite number")))
}

/// Thresholds may be infinite, which is how a split of the missing values alone is written.
fn check_thresholds(thresholds: &[f64]) -> Result<(), Fault> {
    match thresholds.iter().any(|threshold| threshold.is_nan()) {
        true => Err(Fault::new("a threshold is not a number")),
        false => Ok(()),
    }
}

/// Trees as the two older operators store them: nodes by tree and number, weights apart.
fn read_trees(node: Attributes<'_>, kind: &str, targets: usize) -> Result<Trees, Fault> {
    if targets > TARGETS_MAX {
        return Err(Fault::new("it has too many classes"));
    }
    let ids = Ids::new(node.ints("nodes_treeids")?, node.ints("nodes_nodeids")?)?;
    let features = node.ints("nodes_featureids")?;
    let thresholds = reals(node, "nodes_values")?;
    check_thresholds(&thresholds)?;
    let (yes, no) = (
        node.ints("nodes_truenodeids")?,
        node.ints("nodes_falsenodeids")?,
    );
    let missing = node.ints("nodes_missing_value_tracks_true")?;
    let modes = node.raw_texts("nodes_modes")?;
    let count = ids.count;
    let lengths = [
        features.len(),
        thresholds.len(),
        yes.len(),
        no.len(),
        modes.len(),
    ];
    if lengths.iter().any(|&length| length != count)
        || !(missing.is_empty() || missing.len() == count)
    {
        return Err(Fault::new("its lists of nodes have different lengths"));
    }
    let mut trees = Trees::new(targets, node.has("nodes_values_as_tensor"));
    trees.roots = ids.runs.iter().map(|run| run.first as u32).collect();
    trees.nodes.reserve_exact(count);
    for (at, mode) in modes.enumerate() {
        trees.nodes.push(match mode {
            b"LEAF" => Node::EMPTY_LEAF,
            mode => Node::Split {
                feature: u32::try_from(features[at])
                    .map_err(|_| Fault::new("a feature is out of range"))?,
                test: test(mode, thresholds[at])?,
                missing_yes: missing.get(at) == Some(&1),
                yes: ids.child(at, yes[at])?,
                no: ids.child(at, no[at])?,
            },
        });
    }
    add_weights(&mut trees, node, kind, &ids)?;
    trees.check()?;
    Ok(trees)
}

fn add_weights(
    trees: &mut Trees,
    node: Attributes<'_>,
    kind: &str,
    ids: &Ids<'_>,
) -> Result<(), Fault> {
    let ints = |name: &str| node.ints(&format!("{kind}_{name}"));
    let (tree_ids, node_ids, targets) = (ints("treeids")?, ints("nodeids")?, ints("ids")?);
    let name = format!("{kind}_weights");
    let weights = finite(reals(node, &name)?, &name)?;
    if [node_ids.len(), targets.len(), weights.len()]
        .iter()
        .any(|&length| length != tree_ids.len())
    {
        return Err(Fault::new("its lists of weights have different lengths"));
    }
    let mut entries = Vec::with_capacity(weights.len());
    for (at, weight) in weights.into_iter().enumerate() {
        let target = usize::try_from(targets[at])
            .ok()
            .filter(|&target| target < trees.targets);
        let target = target
            .ok_or_else(|| Fault::new("a weight is for a class or target that is not there"))?;
        entries.push((ids.find(tree_ids[at], node_ids[at])?, target as u32, weight));
    }
    // Stable, so that the weights of a leaf stay in their order.
    entries.sort_by_key(|&(leaf, ..)| leaf);
    for run in entries.chunk_by(|a, b| a.0 == b.0) {
        let first = trees.leaf_weights.len() as u32;
        // Old converters put weights on inner nodes too; nobody comes by there.
        if let Node::Leaf { first: start, end } = &mut trees.nodes[run[0].0 as usize] {
            trees
                .leaf_weights
                .extend(run.iter().map(|&(_, target, weight)| (target, weight)));
            (*start, *end) = (first, first + run.len() as u32);
        }
    }
    Ok(())
}

fn test(mode: &[u8], threshold: f64) -> Result<Test, Fault> {
    Ok(match mode {
        b"BRANCH_LEQ" => Test::LessOrEqual(threshold),
        b"BRANCH_LT" => Test::Less(threshold),
        b"BRANCH_GTE" => Test::GreaterOrEqual(threshold),
        b"BRANCH_GT" => Test::Greater(threshold),
        b"BRANCH_EQ" => Test::Equal(threshold),
        b"BRANCH_NEQ" => Test::NotEqual(threshold),
        other => {
            let name = String::from_utf8_lossy(&other[..other.len().min(40)]);
            return Err(Fault::new(format!("the node mode {name:?} is not known")));
        }
    })
}

/// Nodes of the older operators, found by the numbers of their tree and their own.
struct Ids<'a> {
    runs: Vec<Run>,
    run_by_tree: HashMap<i64, usize>,
    /// For each node, the run it is in.
    run_of_node: Vec<u32>,
    node_ids: &'a [i64],
    count: usize,
}

/// The nodes of one tree, which lie together.
struct Run {
    first: usize,
    end: usize,
    /// Only when the numbers do not simply count upwards.
    place_by_id: Option<HashMap<i64, usize>>,
}

impl<'a> Ids<'a> {
    fn new(tree_ids: &[i64], node_ids: &'a [i64]) -> Result<Self, Fault> {
        if tree_ids.len() != node_ids.len() || u32::try_from(tree_ids.len()).is_err() {
            return Err(Fault::new("its lists of nodes have different lengths"));
        }
        let mut ids = Ids {
            runs: Vec::new(),
            run_by_tree: HashMap::new(),
            run_of_node: Vec::with_capacity(tree_ids.len()),
            node_ids,
            count: tree_ids.len(),
        };
        let mut first = 0;
        for run in tree_ids.chunk_by(|a, b| a == b) {
            let end = first + run.len();
            if ids.run_by_tree.insert(run[0], ids.runs.len()).is_some() {
                return Err(Fault::new("the nodes of a tree do not lie together"));
            }
            ids.run_of_node
                .extend(std::iter::repeat_n(ids.runs.len() as u32, run.len()));
            ids.runs.push(Run::new(first, end, node_ids)?);
            first = end;
        }
        Ok(ids)
    }

    fn find(&self, tree: i64, id: i64) -> Result<u32, Fault> {
        let run = self
            .run_by_tree
            .get(&tree)
            .ok_or_else(|| Fault::new("a weight is for no tree"))?;
        self.runs[*run].find(id)
    }

    fn child(&self, of: usize, id: i64) -> Result<u32, Fault> {
        debug_assert_eq!(self.node_ids.len(), self.count);
        self.runs[self.run_of_node[of] as usize].find(id)
    }
}

impl Run {
    fn new(first: usize, end: usize, node_ids: &[i64]) -> Result<Self, Fault> {
        let numbers = &node_ids[first..end];
        let counts_upwards = numbers.iter().enumerate().all(|(at, &id)| id == at as i64);
        if counts_upwards {
            return Ok(Run {
                first,
                end,
                place_by_id: None,
            });
        }
        let mut place_by_id = HashMap::with_capacity(numbers.len());
        for (at, &id) in numbers.iter().enumerate() {
            if place_by_id.insert(id, first + at).is_some() {
                return Err(Fault::new("a tree has two nodes of one number"));
            }
        }
        Ok(Run {
            first,
            end,
            place_by_id: Some(place_by_id),
        })
    }

    fn find(&self, id: i64) -> Result<u32, Fault> {
        let place = match &self.place_by_id {
            Some(places) => places.get(&id).copied(),
            None => usize::try_from(id)
                .ok()
                .and_then(|id| self.first.checked_add(id))
                .filter(|&at| at < self.end),
        };
        place
            .map(|place| place as u32)
            .ok_or_else(|| Fault::new("a child or weight is for a node that is not there"))
    }
}

/// Trees as the newer operator stores them: splits and leaves apart, children by index.
fn read_new_trees(node: Attributes<'_>, targets: usize) -> Result<Trees, Fault> {
    let features = node.ints("nodes_featureids")?;
    let thresholds = node
        .tensor("nodes_splits")?
        .ok_or_else(|| Fault::new("it has no splits"))?;
    let modes = node
        .tensor("nodes_modes")?
        .ok_or_else(|| Fault::new("it has no modes"))?;
    let is_double = thresholds.element() == Element::Double;
    let (thresholds, modes) = (
        thresholds.as_f64()?.into_owned(),
        modes.as_i64()?.into_owned(),
    );
    check_thresholds(&thresholds)?;
    let (yes, no) = (
        node.ints("nodes_truenodeids")?,
        node.ints("nodes_falsenodeids")?,
    );
    let (yes_leaf, no_leaf) = (
        node.ints("nodes_trueleafs")?,
        node.ints("nodes_falseleafs")?,
    );
    let missing = node.ints("nodes_missing_value_tracks_true")?;
    let splits = features.len();
    let lengths = [
        thresholds.len(),
        modes.len(),
        yes.len(),
        no.len(),
        yes_leaf.len(),
        no_leaf.len(),
    ];
    if lengths.iter().any(|&length| length != splits)
        || !(missing.is_empty() || missing.len() == splits)
    {
        return Err(Fault::new("its lists of nodes have different lengths"));
    }
    let mut trees = Trees::new(targets, is_double);
    let leaf_targets = node.ints("leaf_targetids")?;
    let weights = node
        .tensor("leaf_weights")?
        .ok_or_else(|| Fault::new("it has no weights"))?;
    let weights = finite(weights.as_f64()?.into_owned(), "leaf_weights")?;
    if weights.len() != leaf_targets.len() || u32::try_from(splits + weights.len()).is_err() {
        return Err(Fault::new("its lists of leaves have different lengths"));
    }
    let child = |is_leaf: i64, index: i64| {
        let (start, count) = if is_leaf == 0 {
            (0, splits)
        } else {
            (splits, weights.len())
        };
        let index = usize::try_from(index).ok().filter(|&index| index < count);
        index
            .map(|index| (start + index) as u32)
            .ok_or_else(|| Fault::new("a child is not there"))
    };
    let mut sets = Sets::read(node)?;
    for at in 0..splits {
        let test = match modes[at] {
            0 => Test::LessOrEqual(thresholds[at]),
            1 => Test::Less(thresholds[at]),
            2 => Test::GreaterOrEqual(thresholds[at]),
            3 => Test::Greater(thresholds[at]),
            4 => Test::Equal(thresholds[at]),
            5 => Test::NotEqual(thresholds[at]),
            6 => Test::Member(sets.next()?),
            _ => return Err(Fault::new("a node mode is not known")),
        };
        trees.nodes.push(Node::Split {
            feature: u32::try_from(features[at])
                .map_err(|_| Fault::new("a feature is out of range"))?,
            test,
            missing_yes: missing.get(at) == Some(&1),
            yes: child(yes_leaf[at], yes[at])?,
            no: child(no_leaf[at], no[at])?,
        });
    }
    for (at, (&target, &weight)) in leaf_targets.iter().zip(weights.iter()).enumerate() {
        let target = usize::try_from(target)
            .ok()
            .filter(|&target| target < targets);
        let target =
            target.ok_or_else(|| Fault::new("a leaf is for a target that is not there"))?;
        trees.leaf_weights.push((target as u32, weight));
        trees.nodes.push(Node::Leaf {
            first: at as u32,
            end: at as u32 + 1,
        });
    }
    trees.sets = sets.sets;
    for &root in node.ints("tree_roots")? {
        trees.roots.push(child(0, root)?);
    }
    // A split both of whose children are the same leaf is how a tree of one leaf is written.
    trees.unshare_stumps();
    trees.check()?;
    Ok(trees)
}

/// The member lists, in the order of the nodes that use them, each ended by NaN.
struct Sets {
    sets: Vec<Vec<f64>>,
    next: usize,
}

impl Sets {
    fn read(node: Attributes<'_>) -> Result<Self, Fault> {
        let Some(values) = node.tensor("membership_values")? else {
            return Ok(Sets {
                sets: Vec::new(),
                next: 0,
            });
        };
        let values = values.as_f64()?;
        let mut sets: Vec<Vec<f64>> = values
            .split(|value| value.is_nan())
            .map(<[f64]>::to_vec)
            .collect();
        sets.iter_mut().for_each(|set| set.sort_by(f64::total_cmp));
        Ok(Sets { sets, next: 0 })
    }

    fn next(&mut self) -> Result<u32, Fault> {
        let at = self.next;
        self.next += 1;
        if at >= self.sets.len() {
            return Err(Fault::new("a node asks for members that are not there"));
        }
        Ok(at as u32)
    }
}
