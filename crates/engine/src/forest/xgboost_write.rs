//! Writes a forest as an XGBoost model document, for XGBoost itself and for our bundles.
//!
//! Storing bundles in XGBoost's own format keeps them readable without us. Tree weights are already
//! folded into the leaves, so every forest is written as `gbtree`.

use super::document::{Value, Width};
use super::xgboost::{BaseScore, OBJECTIVES, Objective};
use super::{Comparison, Forest, ForestError, Link, NamedColumn, Node, Span, Split, Test};

/// XGBoost's mark for "no parent".
const NO_PARENT: f64 = 2_147_483_647.0;

/// The forest as a document that XGBoost 2 and later load.
pub(super) fn document(forest: &Forest, columns: &[NamedColumn]) -> Result<Value, ForestError> {
    if !(columns.is_empty() || columns.len() == forest.features()) {
        return Err(ForestError::Contradiction {
            reason: "it has another number of features than names",
        });
    }
    if forest.comparison == Comparison::LessOrEqual {
        let reason = "its thresholds are inclusive and in double precision";
        return Err(ForestError::NotExpressible { reason });
    }
    let objective = objective(forest)?;
    let scores: Vec<f32> = forest
        .base_margins
        .iter()
        .map(|&x| objective.base.score(x as f32))
        .collect();
    let is_uniform = scores.iter().all(|score| score == &scores[0]);
    // A scalar base score is what every version understands; a vector came with version 3.1.
    let (base_score, version) = match is_uniform {
        true => (format!("{:E}", scores[0]), [2.0, 1.0, 0.0]),
        false => (vector_text(&scores), [3.0, 1.0, 0.0]),
    };
    let (classes, targets) = match forest.link {
        Link::Softmax => (forest.outputs(), 1),
        _ => (0, forest.outputs()),
    };
    let learner = object([
        ("attributes", object([])),
        ("feature_names", texts(columns, |column| &column.name)),
        (
            "feature_types",
            texts(
                columns,
                |column| if column.is_category { "c" } else { "float" },
            ),
        ),
        ("gradient_booster", booster(forest)),
        (
            "learner_model_param",
            object([
                ("base_score", text(base_score)),
                ("boost_from_average", text("1")),
                ("num_class", text(classes.to_string())),
                ("num_feature", text(forest.features().to_string())),
                ("num_target", text(targets.to_string())),
            ]),
        ),
        ("objective", objective_value(objective, forest)),
    ]);
    Ok(object([("learner", learner), ("version", each(version))]))
}

fn objective(forest: &Forest) -> Result<&'static Objective, ForestError> {
    let name = match forest.link {
        Link::Identity => "reg:squarederror",
        Link::Logistic { scale: 1.0 } => "binary:logistic",
        Link::Softmax if forest.outputs() > 1 => "multi:softprob",
        Link::Exp => "reg:gamma",
        Link::Step => "binary:hinge",
        Link::Softmax | Link::Logistic { .. } | Link::SignedSquare | Link::Softplus => {
            return Err(ForestError::NotExpressible {
                reason: "it has no such objective",
            });
        }
    };
    let known = OBJECTIVES.iter().find(|objective| objective.name == name);
    known.ok_or(ForestError::NotExpressible {
        reason: "it has no such objective",
    })
}

fn objective_value(objective: &Objective, forest: &Forest) -> Value {
    let name = ("name", text(objective.name));
    if forest.link == Link::Softmax {
        let parameters = object([("num_class", text(forest.outputs().to_string()))]);
        return object([name, ("softmax_multiclass_param", parameters)]);
    }
    if objective.base == BaseScore::Margin && forest.link == Link::Step {
        return object([name]);
    }
    object([
        name,
        ("reg_loss_param", object([("scale_pos_weight", text("1"))])),
    ])
}

fn booster(forest: &Forest) -> Value {
    let trees = forest.trees.iter().enumerate();
    let outputs = forest.trees.iter().map(|tree| f64::from(tree.output));
    let rounds = forest.trees.len().div_ceil(forest.outputs());
    let starts =
        (0..=rounds).map(|round| (round * forest.outputs()).min(forest.trees.len()) as f64);
    let model = object([
        (
            "gbtree_model_param",
            object([
                ("num_parallel_tree", text("1")),
                ("num_trees", text(forest.trees.len().to_string())),
            ]),
        ),
        ("iteration_indptr", each(starts)),
        ("tree_info", each(outputs)),
        (
            "trees",
            Value::Array(trees.map(|(id, &span)| tree(forest, id, span)).collect()),
        ),
    ]);
    object([("model", model), ("name", text("gbtree"))])
}

fn tree(forest: &Forest, id: usize, span: Span) -> Value {
    let nodes = forest.nodes_of(span);
    let split = |node: &Node| {
        if let Node::Split(split) = node {
            Some(*split)
        } else {
            None
        }
    };
    let splits: Vec<Option<Split>> = nodes.iter().map(split).collect();
    let column = |width, of: fn(&Split) -> f64, leaf: f64| {
        let numbers = splits.iter().map(|split| split.as_ref().map_or(leaf, of));
        Value::from_numbers(numbers.collect(), width)
    };
    let value = |node: &Node| match node {
        Node::Leaf { value, .. } => *value,
        Node::Split(Split {
            test: Test::Threshold(threshold),
            ..
        }) => *threshold,
        Node::Split(_) => 0.0,
    };
    let weight = |node: &Node| {
        if let Node::Leaf { value, .. } = node {
            *value
        } else {
            0.0
        }
    };
    let cover = |node: &Node| match node {
        Node::Leaf { cover, .. } | Node::Split(Split { cover, .. }) => *cover,
    };
    let floats =
        |of: &dyn Fn(&Node) -> f64| Value::from_numbers(nodes.iter().map(of).collect(), Width::F32);
    let is_set = |split: &Split| f64::from(u8::from(matches!(split.test, Test::Members(_))));
    let sets = SetColumns::of(forest, nodes);
    object([
        ("base_weights", floats(&weight)),
        ("categories", integers(sets.codes)),
        ("categories_nodes", integers(sets.nodes)),
        (
            "categories_segments",
            Value::from_numbers(sets.starts, Width::I64),
        ),
        (
            "categories_sizes",
            Value::from_numbers(sets.sizes, Width::I64),
        ),
        (
            "default_left",
            column(
                Width::U8,
                |split| f64::from(u8::from(split.missing_left)),
                0.0,
            ),
        ),
        ("id", Value::Number(id as f64)),
        (
            "left_children",
            column(Width::I32, |split| f64::from(split.left), -1.0),
        ),
        ("loss_changes", column(Width::F32, |split| split.gain, 0.0)),
        ("parents", integers(parents(nodes))),
        (
            "right_children",
            column(Width::I32, |split| f64::from(split.right), -1.0),
        ),
        ("split_conditions", floats(&value)),
        (
            "split_indices",
            column(Width::I32, |split| f64::from(split.feature), 0.0),
        ),
        ("split_type", column(Width::U8, is_set, 0.0)),
        ("sum_hessian", floats(&cover)),
        (
            "tree_param",
            object([
                ("num_deleted", text("0")),
                ("num_feature", text(forest.features().to_string())),
                ("num_nodes", text(nodes.len().to_string())),
                ("size_leaf_vector", text("1")),
            ]),
        ),
    ])
}

/// A tree's category sets: all codes in one row, and where each node's begin.
#[derive(Default)]
struct SetColumns {
    codes: Vec<f64>,
    nodes: Vec<f64>,
    starts: Vec<f64>,
    sizes: Vec<f64>,
}

impl SetColumns {
    fn of(forest: &Forest, nodes: &[Node]) -> SetColumns {
        let mut columns = SetColumns::default();
        for (index, node) in nodes.iter().enumerate() {
            if let Node::Split(Split {
                test: Test::Members(set),
                ..
            }) = node
            {
                let start = columns.codes.len();
                columns
                    .codes
                    .extend(forest.sets[*set as usize].codes().map(f64::from));
                columns.nodes.push(index as f64);
                columns.starts.push(start as f64);
                columns.sizes.push((columns.codes.len() - start) as f64);
            }
        }
        columns
    }
}

fn parents(nodes: &[Node]) -> Vec<f64> {
    let mut parents = vec![NO_PARENT; nodes.len()];
    for (index, node) in nodes.iter().enumerate() {
        if let Node::Split(split) = node {
            parents[split.left as usize] = index as f64;
            parents[split.right as usize] = index as f64;
        }
    }
    parents
}

fn vector_text(scores: &[f32]) -> String {
    let scores: Vec<String> = scores.iter().map(|score| format!("{score:E}")).collect();
    format!("[{}]", scores.join(","))
}

fn object<const N: usize>(fields: [(&str, Value); N]) -> Value {
    Value::Object(fields.map(|(name, value)| (name.to_owned(), value)).into())
}

fn text(text: impl Into<String>) -> Value {
    Value::Text(text.into())
}

fn texts(columns: &[NamedColumn], word: impl Fn(&NamedColumn) -> &str) -> Value {
    match columns {
        [] => each([]),
        columns => Value::Array(columns.iter().map(|column| text(word(column))).collect()),
    }
}

fn integers(numbers: impl IntoIterator<Item = f64>) -> Value {
    Value::from_numbers(numbers.into_iter().collect(), Width::I32)
}

/// XGBoost reads these few arrays only without a common type.
fn each(numbers: impl IntoIterator<Item = f64>) -> Value {
    Value::from_numbers(numbers.into_iter().collect(), Width::Each)
}
