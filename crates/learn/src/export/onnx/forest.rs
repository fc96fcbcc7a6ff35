//! A forest as one tree-ensemble node and its link.
//!
//! `TreeEnsembleRegressor` says all but splits by category sets; for those there is `TreeEnsemble`, which only newer
//! versions of onnxruntime know. In both, "true" is the side a comparison that holds goes to.

use ombud_engine::forest::{Comparison, Forest, ForestDraft, Link, Node, Split, Test, Tree};
use ombud_onnx::{Bytes, data_type};

use super::ExportError;
use super::answer::binary;
use super::builder::{Builder, ML, Port, Setting, tensor};

/// Node modes of the newer operator.
const LESS_OR_EQUAL: u8 = 0;
const LESS: u8 = 1;
const MEMBER: u8 = 6;

/// How leaves are added up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sums {
    /// By the ensemble itself, in whichever order its threads take the trees: fast, and right but for rounding.
    AnyOrder,
    /// Tree after tree in single precision, as the forest does it: for curves so steep that rounding shows.
    TreeByTree,
}

/// Scores as doubles: two for a binary forest, else one an output.
pub(super) fn scores(
    builder: &mut Builder,
    forest: &Forest,
    columns: &Port,
    sums: Sums,
) -> Result<Port, ExportError> {
    let draft = forest.to_draft();
    let columns = with_holes(builder, &draft, columns);
    let columns = match draft.comparison {
        Comparison::Less => builder.cast(&columns, data_type::FLOAT),
        Comparison::LessOrEqual => columns,
    };
    let has_sets = draft.trees.iter().flat_map(|tree| &tree.nodes).any(|node| {
        matches!(
            node,
            Node::Split(Split {
                test: Test::Members(_),
                ..
            })
        )
    });
    let added = |builder: &mut Builder, draft: &ForestDraft| match has_sets {
        true => new_ensemble(builder, draft, &columns),
        false => ensemble(builder, draft, &columns),
    };
    let margins = if sums == Sums::TreeByTree && draft.comparison == Comparison::Less {
        let leaves = added(builder, &one_output_a_tree(&draft));
        let margins = tree_by_tree(builder, &draft, &leaves);
        builder.cast(&margins, data_type::DOUBLE)
    } else {
        let sums = added(builder, &draft);
        let sums = builder.cast(&sums, data_type::DOUBLE);
        let base = builder.doubles(&[1, draft.base_margins.len()], &draft.base_margins);
        builder.op("Add", &[&sums, &base])
    };
    let scores = linked(builder, draft.link, &margins);
    let tells_two_apart = matches!(draft.link, Link::Logistic { .. } | Link::Step);
    let is_binary = draft.base_margins.len() == 1 && tells_two_apart;
    Ok(if is_binary {
        binary(builder, &scores)
    } else {
        scores
    })
}

/// The same trees, each with an output of its own, sorted by what they add to; before those of an output a tree of one leaf,
/// which is what the output starts from.
fn one_output_a_tree(draft: &ForestDraft) -> ForestDraft {
    let mut trees: Vec<Tree> = Vec::with_capacity(draft.trees.len() + draft.base_margins.len());
    for (output, &base) in draft.base_margins.iter().enumerate() {
        let start = Tree {
            output,
            nodes: vec![Node::Leaf {
                value: base,
                cover: 0.0,
            }],
        };
        let own = draft.trees.iter().filter(|tree| tree.output == output);
        trees.extend(std::iter::once(start).chain(own.cloned()));
    }
    for (place, tree) in trees.iter_mut().enumerate() {
        tree.output = place;
    }
    ForestDraft {
        base_margins: vec![0.0; trees.len()],
        trees,
        ..draft.clone()
    }
}

/// The sums of the columns of [`one_output_a_tree`], one an output of the forest.
fn tree_by_tree(builder: &mut Builder, draft: &ForestDraft, leaves: &Port) -> Port {
    let (axis, last) = (builder.int(1), builder.ints(&[-1]));
    let columns = builder.ints(&[1]);
    let mut first = 0;
    let mut sums = Vec::with_capacity(draft.base_margins.len());
    for output in 0..draft.base_margins.len() {
        let own = draft.trees.iter().filter(|tree| tree.output == output);
        let end = first + 1 + own.count() as i64;
        let (from, to) = (builder.ints(&[first]), builder.ints(&[end]));
        let own = builder.op("Slice", &[leaves, &from, &to, &columns]);
        let running = builder.op("CumSum", &[&own, &axis]);
        let settings = vec![("axis", Setting::Int(1))];
        sums.push(builder.op_with("Gather", &[&running, &last], settings));
        first = end;
    }
    builder.concat(&sums)
}

/// Zeros become holes in the columns where they stand for them.
fn with_holes(builder: &mut Builder, draft: &ForestDraft, columns: &Port) -> Port {
    if draft.zero_is_missing.is_empty() {
        return columns.clone();
    }
    let mut flags = vec![false; draft.features];
    draft
        .zero_is_missing
        .iter()
        .for_each(|&feature| flags[feature as usize] = true);
    let flags = builder.flags(&[1, draft.features], &flags);
    let zero = builder.number(0.0);
    let is_zero = builder.op("Equal", &[columns, &zero]);
    let is_hole = builder.op("And", &[&is_zero, &flags]);
    let nan = builder.number(f64::NAN);
    builder.op("Where", &[&is_hole, &nan, columns])
}

/// The lists of the older operator.
#[derive(Default)]
struct Lists {
    trees: Vec<i64>,
    nodes: Vec<i64>,
    features: Vec<i64>,
    modes: Vec<Bytes>,
    thresholds: Vec<f64>,
    yes: Vec<i64>,
    no: Vec<i64>,
    missing_yes: Vec<i64>,
    leaf_trees: Vec<i64>,
    leaf_nodes: Vec<i64>,
    leaf_outputs: Vec<i64>,
    leaf_values: Vec<f64>,
}

fn ensemble(builder: &mut Builder, draft: &ForestDraft, columns: &Port) -> Port {
    let mode = Bytes::from_static(match draft.comparison {
        Comparison::Less => b"BRANCH_LT",
        Comparison::LessOrEqual => b"BRANCH_LEQ",
    });
    let leaf = Bytes::from_static(b"LEAF");
    let mut lists = Lists::default();
    for (tree, content) in draft.trees.iter().enumerate() {
        for (at, node) in content.nodes.iter().enumerate() {
            let (tree, at) = (tree as i64, at as i64);
            lists.trees.push(tree);
            lists.nodes.push(at);
            match node {
                Node::Leaf { value, .. } => {
                    lists.question(0, leaf.clone(), 0.0, 0, 0, false);
                    lists.leaf_trees.push(tree);
                    lists.leaf_nodes.push(at);
                    lists.leaf_outputs.push(content.output as i64);
                    lists.leaf_values.push(*value);
                }
                Node::Split(split) => {
                    let Test::Threshold(threshold) = split.test else {
                        unreachable!("forests with category sets are written otherwise")
                    };
                    lists.question(
                        split.feature,
                        mode.clone(),
                        threshold,
                        split.left,
                        split.right,
                        split.missing_left,
                    );
                }
            }
        }
    }
    let mut settings = vec![
        ("n_targets", Setting::Int(draft.base_margins.len() as i64)),
        ("aggregate_function", Setting::Text("SUM".to_owned())),
        ("post_transform", Setting::Text("NONE".to_owned())),
        ("nodes_treeids", Setting::Ints(lists.trees)),
        ("nodes_nodeids", Setting::Ints(lists.nodes)),
        ("nodes_featureids", Setting::Ints(lists.features)),
        ("nodes_modes", Setting::Texts(lists.modes)),
        ("nodes_truenodeids", Setting::Ints(lists.yes)),
        ("nodes_falsenodeids", Setting::Ints(lists.no)),
        (
            "nodes_missing_value_tracks_true",
            Setting::Ints(lists.missing_yes),
        ),
        ("target_treeids", Setting::Ints(lists.leaf_trees)),
        ("target_nodeids", Setting::Ints(lists.leaf_nodes)),
        ("target_ids", Setting::Ints(lists.leaf_outputs)),
    ];
    let single = |values: Vec<f64>| values.into_iter().map(|x| x as f32).collect();
    settings.extend(match draft.comparison {
        Comparison::Less => [
            ("nodes_values", Setting::Floats(single(lists.thresholds))),
            ("target_weights", Setting::Floats(single(lists.leaf_values))),
        ],
        Comparison::LessOrEqual => [
            ("nodes_values_as_tensor", reals(draft, &lists.thresholds)),
            ("target_weights_as_tensor", reals(draft, &lists.leaf_values)),
        ],
    });
    builder.node(ML, "TreeEnsembleRegressor", &[columns], settings)
}

impl Lists {
    fn question(
        &mut self,
        feature: u32,
        mode: Bytes,
        threshold: f64,
        yes: u32,
        no: u32,
        missing_yes: bool,
    ) {
        self.features.push(i64::from(feature));
        self.modes.push(mode);
        self.thresholds.push(threshold);
        self.yes.push(i64::from(yes));
        self.no.push(i64::from(no));
        self.missing_yes.push(i64::from(missing_yes));
    }
}

/// The lists of the newer operator: splits and leaves apart.
#[derive(Default)]
struct NewLists {
    features: Vec<i64>,
    modes: Vec<u8>,
    thresholds: Vec<f64>,
    /// Child and whether it is a leaf, for the side that holds and the other.
    yes: Vec<(i64, i64)>,
    no: Vec<(i64, i64)>,
    missing_yes: Vec<i64>,
    members: Vec<f64>,
    leaf_outputs: Vec<i64>,
    leaf_values: Vec<f64>,
    roots: Vec<i64>,
}

fn new_ensemble(builder: &mut Builder, draft: &ForestDraft, columns: &Port) -> Port {
    builder.needs_ml(5);
    let mut lists = NewLists::default();
    for tree in &draft.trees {
        lists.tree(draft, &tree.nodes, tree.output as i64);
    }
    let (yes, yes_leaf): (Vec<i64>, Vec<i64>) = lists.yes.iter().copied().unzip();
    let (no, no_leaf): (Vec<i64>, Vec<i64>) = lists.no.iter().copied().unzip();
    let modes = tensor(data_type::UINT8, &[lists.modes.len()], lists.modes);
    let settings = vec![
        ("n_targets", Setting::Int(draft.base_margins.len() as i64)),
        ("aggregate_function", Setting::Int(1)),
        ("post_transform", Setting::Int(0)),
        ("tree_roots", Setting::Ints(lists.roots)),
        ("nodes_featureids", Setting::Ints(lists.features)),
        ("nodes_modes", Setting::Tensor(Box::new(modes))),
        ("nodes_splits", reals(draft, &lists.thresholds)),
        ("nodes_truenodeids", Setting::Ints(yes)),
        ("nodes_trueleafs", Setting::Ints(yes_leaf)),
        ("nodes_falsenodeids", Setting::Ints(no)),
        ("nodes_falseleafs", Setting::Ints(no_leaf)),
        (
            "nodes_missing_value_tracks_true",
            Setting::Ints(lists.missing_yes),
        ),
        ("membership_values", reals(draft, &lists.members)),
        ("leaf_targetids", Setting::Ints(lists.leaf_outputs)),
        ("leaf_weights", reals(draft, &lists.leaf_values)),
    ];
    builder.node(ML, "TreeEnsemble", &[columns], settings)
}

impl NewLists {
    fn tree(&mut self, draft: &ForestDraft, nodes: &[Node], output: i64) {
        self.roots.push(self.features.len() as i64);
        if let [Node::Leaf { value, .. }] = nodes {
            // A tree begins with a question there, so this one asks something that does not matter.
            let [yes, no] = [(); 2].map(|()| self.leaf(*value, output));
            return self.question(0, LESS_OR_EQUAL, 0.0, yes, no, false);
        }
        let mut places = Vec::with_capacity(nodes.len());
        let mut next = self.features.len() as i64;
        for node in nodes {
            places.push(match node {
                Node::Leaf { value, .. } => self.leaf(*value, output),
                Node::Split(_) => {
                    next += 1;
                    (next - 1, 0)
                }
            });
        }
        for node in nodes {
            if let Node::Split(split) = node {
                self.split(
                    draft,
                    split,
                    places[split.left as usize],
                    places[split.right as usize],
                );
            }
        }
    }

    fn leaf(&mut self, value: f64, output: i64) -> (i64, i64) {
        self.leaf_outputs.push(output);
        self.leaf_values.push(value);
        (self.leaf_values.len() as i64 - 1, 1)
    }

    fn split(&mut self, draft: &ForestDraft, split: &Split, left: (i64, i64), right: (i64, i64)) {
        match split.test {
            Test::Threshold(threshold) => {
                let mode = if draft.comparison == Comparison::Less {
                    LESS
                } else {
                    LESS_OR_EQUAL
                };
                self.question(
                    split.feature,
                    mode,
                    threshold,
                    left,
                    right,
                    split.missing_left,
                );
            }
            Test::Members(set) => {
                self.members
                    .extend(draft.sets[set as usize].codes().map(f64::from));
                self.members.push(f64::NAN);
                // XGBoost sends members right, LightGBM left.
                let is_left = draft.comparison == Comparison::LessOrEqual;
                let (yes, no) = if is_left {
                    (left, right)
                } else {
                    (right, left)
                };
                self.question(
                    split.feature,
                    MEMBER,
                    0.0,
                    yes,
                    no,
                    split.missing_left == is_left,
                );
            }
        }
    }

    fn question(
        &mut self,
        feature: u32,
        mode: u8,
        threshold: f64,
        yes: (i64, i64),
        no: (i64, i64),
        missing_yes: bool,
    ) {
        self.features.push(i64::from(feature));
        self.modes.push(mode);
        self.thresholds.push(threshold);
        self.yes.push(yes);
        self.no.push(no);
        self.missing_yes.push(i64::from(missing_yes));
    }
}

/// Numbers in the precision that the forest lives in.
fn reals(draft: &ForestDraft, values: &[f64]) -> Setting {
    let shape = [values.len()];
    Setting::Tensor(Box::new(match draft.comparison {
        Comparison::Less => tensor(
            data_type::FLOAT,
            &shape,
            values
                .iter()
                .flat_map(|&x| (x as f32).to_le_bytes())
                .collect(),
        ),
        Comparison::LessOrEqual => tensor(
            data_type::DOUBLE,
            &shape,
            values.iter().flat_map(|x| x.to_le_bytes()).collect(),
        ),
    }))
}

fn linked(builder: &mut Builder, link: Link, margins: &Port) -> Port {
    match link {
        Link::Identity => margins.clone(),
        Link::Logistic { scale } => {
            let scale = builder.number(scale);
            let scaled = builder.op("Mul", &[margins, &scale]);
            builder.op("Sigmoid", &[&scaled])
        }
        Link::Softmax => builder.op_with("Softmax", &[margins], vec![("axis", Setting::Int(1))]),
        Link::Exp => builder.op("Exp", &[margins]),
        Link::Step => {
            let zero = builder.number(0.0);
            let is_positive = builder.op("Greater", &[margins, &zero]);
            builder.cast(&is_positive, data_type::DOUBLE)
        }
        Link::SignedSquare => {
            let size = builder.op("Abs", &[margins]);
            builder.op("Mul", &[margins, &size])
        }
        Link::Softplus => softplus(builder, margins),
    }
}

/// `max(x, 0) + ln(1 + exp(−|x|))`: the operator of that name is in single precision only.
fn softplus(builder: &mut Builder, margins: &Port) -> Port {
    let zero = builder.number(0.0);
    let one = builder.number(1.0);
    let positive = builder.op("Max", &[margins, &zero]);
    let size = builder.op("Abs", &[margins]);
    let opposite = builder.op("Sub", &[&zero, &size]);
    let small = builder.op("Exp", &[&opposite]);
    let raised = builder.op("Add", &[&one, &small]);
    let log = builder.op("Log", &[&raised]);
    builder.op("Add", &[&positive, &log])
}
