//! Whole graphs: converted models kept with onnxruntime's answers, graphs made to be refused, damaged bytes.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use ombud_onnx::{
    AttributeProto, GraphProto, Message, ModelProto, NodeProto, OperatorSetIdProto, TensorProto,
    TensorShapeProto, TypeProto, ValueInfoProto, attribute_type, data_type,
    tensor_shape_proto::Dimension, type_proto,
};
use proptest::prelude::*;
use serde_json::Value as Json;

use super::budget::Budget;
use super::{Data, Element, OnnxError, OnnxModel, Tensor, Value};

/// How far a number may be from onnxruntime's, relative beyond one.
const TOLERANCE: f64 = 1e-5;
/// Converted models, smallest first.
const GOLDEN: [&str; 9] = [
    "logistic_scaled",
    "mixed_one_hot",
    "gradient_boosting_regressor",
    "svc_probability",
    "nearest_neighbours",
    "xgboost_holes",
    "random_forest",
    "text",
    "lightgbm_categories",
];

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/golden/onnx")
        .join(name)
}

fn golden_bytes(name: &str) -> Vec<u8> {
    std::fs::read(golden(&format!("{name}.onnx"))).unwrap()
}

/// A table of JSON as the tensor an input wants.
fn tensor(element: Element, rows: &Json) -> Tensor {
    let rows = rows.as_array().unwrap();
    let cells: Vec<&Json> = rows
        .iter()
        .flat_map(|row| row.as_array().unwrap())
        .collect();
    let data = match element {
        Element::Text => Data::Text(Arc::new(
            cells
                .iter()
                .map(|cell| cell.as_str().unwrap().into())
                .collect(),
        )),
        _ => Data::Float(Arc::new(
            cells
                .iter()
                .map(|cell| cell.as_f64().unwrap_or(f64::NAN) as f32)
                .collect(),
        )),
    };
    Tensor::new(vec![rows.len(), cells.len() / rows.len()], data).unwrap()
}

fn check_equal(name: &str, wanted: &Json, value: &Value) {
    let cells: Vec<&Json> = wanted
        .as_array()
        .unwrap()
        .iter()
        .flat_map(|row| row.as_array().unwrap())
        .collect();
    let found = match value {
        Value::Tensor(tensor) => tensor,
        Value::Maps(maps) => &maps.scores,
    };
    assert_eq!(found.len(), cells.len(), "{name}");
    match found.data() {
        Data::Float(values) => values.iter().zip(cells).for_each(|(&found, wanted)| {
            let (found, wanted) = (f64::from(found), wanted.as_f64().unwrap());
            assert!(
                (found - wanted).abs() <= TOLERANCE * wanted.abs().max(1.0),
                "{name}: {found}, not {wanted}"
            );
        }),
        Data::Int64(values) => values
            .iter()
            .zip(cells)
            .for_each(|(found, wanted)| assert_eq!(*wanted, *found, "{name}")),
        Data::Text(values) => values
            .iter()
            .zip(cells)
            .for_each(|(found, wanted)| assert_eq!(*wanted, **found, "{name}")),
        other => panic!("{name}: {other:?}"),
    }
}

#[test]
fn converted_models_answer_as_onnxruntime_did() {
    // skl2onnx 1.20, onnxmltools 1.16, onnxruntime 1.31.
    for name in GOLDEN {
        let model = OnnxModel::open(golden_bytes(name)).unwrap();
        let document: Json =
            serde_json::from_slice(&std::fs::read(golden(&format!("{name}.json"))).unwrap())
                .unwrap();
        let inputs: Vec<Tensor> = model
            .inputs()
            .iter()
            .map(|input| tensor(input.element, &document["inputs"][&input.name]))
            .collect();
        let outputs = model.run(&inputs).unwrap();
        for (output, value) in model.outputs().iter().zip(&outputs) {
            check_equal(name, &document["outputs"][output], value);
        }
    }
}

fn attribute(name: &str, value: impl Fn(&mut AttributeProto)) -> AttributeProto {
    let mut attribute = AttributeProto {
        name: name.to_owned(),
        ..AttributeProto::default()
    };
    value(&mut attribute);
    attribute
}

fn ints(name: &str, values: &[i64]) -> AttributeProto {
    attribute(name, |attribute| {
        (attribute.r#type, attribute.ints) = (attribute_type::INTS, values.to_vec());
    })
}

fn int(name: &str, value: i64) -> AttributeProto {
    attribute(name, |attribute| {
        (attribute.r#type, attribute.i) = (attribute_type::INT, value);
    })
}

fn floats(name: &str, values: &[f32]) -> AttributeProto {
    attribute(name, |attribute| {
        (attribute.r#type, attribute.floats) = (attribute_type::FLOATS, values.to_vec());
    })
}

fn texts(name: &str, values: &[&'static str]) -> AttributeProto {
    let values = || values.iter().map(|text| text.as_bytes().into()).collect();
    attribute(name, |attribute| {
        (attribute.r#type, attribute.strings) = (attribute_type::STRINGS, values());
    })
}

fn text(name: &str, value: &'static str) -> AttributeProto {
    attribute(name, |attribute| {
        (attribute.r#type, attribute.s) = (attribute_type::STRING, value.as_bytes().into());
    })
}

fn node(
    domain: &str,
    operator: &str,
    inputs: &[&str],
    outputs: &[&str],
    attribute: Vec<AttributeProto>,
) -> NodeProto {
    let names = |names: &[&str]| names.iter().map(ToString::to_string).collect();
    NodeProto {
        input: names(inputs),
        output: names(outputs),
        op_type: operator.to_owned(),
        domain: domain.to_owned(),
        attribute,
        ..NodeProto::default()
    }
}

/// A graph from `x`, a table of floats, to `y`.
fn graph(node: Vec<NodeProto>, initializer: Vec<TensorProto>) -> GraphProto {
    let shape = TensorShapeProto {
        dim: vec![Dimension::default(); 2],
    };
    let tensor = type_proto::Tensor {
        elem_type: data_type::FLOAT,
        shape: Some(shape),
    };
    let info = |name: &str| ValueInfoProto {
        name: name.to_owned(),
        r#type: Some(TypeProto {
            value: Some(type_proto::Value::TensorType(tensor.clone())),
            ..TypeProto::default()
        }),
        ..ValueInfoProto::default()
    };
    GraphProto {
        node,
        initializer,
        input: vec![info("x")],
        output: vec![info("y")],
        ..GraphProto::default()
    }
}

fn open(graph: GraphProto) -> Result<OnnxModel, OnnxError> {
    let opset = |domain: &str, version| OperatorSetIdProto {
        domain: domain.to_owned(),
        version,
    };
    let model = ModelProto {
        ir_version: 8,
        opset_import: vec![opset("", 18), opset("ai.onnx.ml", 3)],
        graph: Some(graph),
        ..ModelProto::default()
    };
    OnnxModel::open(model.encode_to_vec())
}

fn refusal(graph: GraphProto) -> String {
    open(graph).unwrap_err().to_string()
}

fn constant(name: &str, values: &[i64]) -> TensorProto {
    TensorProto {
        name: name.to_owned(),
        dims: vec![values.len() as i64],
        data_type: data_type::INT64,
        int64_data: values.to_vec(),
        ..TensorProto::default()
    }
}

fn floats_of(value: &Value) -> Vec<f32> {
    match value.tensor().unwrap().data() {
        Data::Float(values) => values.to_vec(),
        other => panic!("{other:?}"),
    }
}

fn answers(model: &OnnxModel, columns: usize, values: &[f32]) -> Vec<f32> {
    let input = Tensor::float(vec![values.len() / columns, columns], values.to_vec()).unwrap();
    floats_of(&model.run(&[input]).unwrap()[0])
}

#[test]
fn unknown_operators_are_named_when_the_file_is_opened() {
    let inner = graph(vec![node("", "Loop", &["x"], &["y"], vec![])], vec![]);
    let body = attribute("body", |attribute| {
        (attribute.r#type, attribute.g) = (attribute_type::GRAPH, Some(inner.clone()));
    });
    let nodes = vec![
        node("", "Relu", &["x"], &["a"], vec![]),
        node(
            "",
            "Scan",
            &["a"],
            &["b"],
            vec![body, int("num_scan_inputs", 1)],
        ),
        node("com.example", "Guess", &["b"], &["c"], vec![]),
        node("ai.onnx.ml", "DictVectorizer", &["c"], &["y"], vec![]),
    ];
    let refused = refusal(graph(nodes, vec![]));
    assert_eq!(
        refused,
        "the ONNX file uses operators that are not known here: Loop, ai.onnx.ml.DictVectorizer, com.example.Guess"
    );
}

#[cfg(feature = "neural-onnx")]
#[test]
fn of_a_classical_graph_only_operators_that_are_lacking_are_named() {
    let scaled = node("ai.onnx.ml", "Normalizer", &["x"], &["a"], vec![]);
    let nodes = |last| vec![scaled.clone(), node("", last, &["a"], &["y"], vec![])];
    let refused = |last| refusal(graph(nodes(last), vec![]));
    let told = "the ONNX file uses operators that are not known here: ";
    // A net may hold the first of them, but no normalizer beside it.
    for lacking in ["LSTM", "Guess"] {
        assert_eq!(refused(lacking), format!("{told}{lacking}"));
    }
}

#[test]
fn a_split_gives_parts_and_dropout_nothing_but_its_input() {
    let nodes = vec![
        node("", "Dropout", &["x"], &["a"], vec![]),
        node(
            "",
            "Split",
            &["a"],
            &["b", "c"],
            vec![int("axis", 1), int("num_outputs", 2)],
        ),
        node("", "Concat", &["c", "b"], &["y"], vec![int("axis", 1)]),
    ];
    let model = open(graph(nodes, vec![])).unwrap();
    let x = Tensor::float(vec![2, 3], vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0]).unwrap();
    let found = floats_of(&model.run(&[x]).unwrap()[0]);
    // onnxruntime 1.31: of three columns the first part has two.
    assert_eq!(found, [3.0, 1.0, 2.0, 6.0, 4.0, 5.0]);
}

#[test]
fn weights_beyond_all_bounds_are_refused() {
    let regressor = |weight: f32| {
        let settings = vec![floats("coefficients", &[weight]), int("targets", 1)];
        graph(
            vec![node(
                "ai.onnx.ml",
                "LinearRegressor",
                &["x"],
                &["y"],
                settings,
            )],
            vec![],
        )
    };
    assert!(open(regressor(1.0)).is_ok());
    let refused = refusal(regressor(f32::NAN));
    assert!(
        refused.contains("coefficients holds what is no finite number"),
        "{refused}"
    );
    let leaves = |weight: f32| {
        let settings = vec![
            ints("nodes_treeids", &[0]),
            ints("nodes_nodeids", &[0]),
            ints("nodes_featureids", &[0]),
            floats("nodes_values", &[0.0]),
            texts("nodes_modes", &["LEAF"]),
            ints("nodes_truenodeids", &[0]),
            ints("nodes_falsenodeids", &[0]),
            ints("target_treeids", &[0]),
            ints("target_nodeids", &[0]),
            ints("target_ids", &[0]),
            floats("target_weights", &[weight]),
            int("n_targets", 1),
        ];
        let trees = node(
            "ai.onnx.ml",
            "TreeEnsembleRegressor",
            &["x"],
            &["y"],
            settings,
        );
        graph(vec![trees], vec![])
    };
    assert!(open(leaves(1.0)).is_ok());
    assert!(refusal(leaves(f32::INFINITY)).contains("target_weights holds"));
}

#[test]
fn case_is_changed_letter_by_letter() {
    let lowered = |case: &'static str, given: &str| {
        let settings = vec![text("case_change_action", case)];
        let mut graph = graph(
            vec![node("", "StringNormalizer", &["x"], &["y"], settings)],
            vec![],
        );
        if let Some(type_proto::Value::TensorType(tensor)) = graph.input[0]
            .r#type
            .as_mut()
            .and_then(|kind| kind.value.as_mut())
        {
            tensor.elem_type = data_type::STRING;
        }
        let texts = Data::Text(Arc::new(vec![given.into()]));
        let x = Tensor::new(vec![1, 1], texts).unwrap();
        let outputs = open(graph).unwrap().run(&[x]).unwrap();
        match outputs[0].tensor().unwrap().data() {
            Data::Text(texts) => texts[0].to_string(),
            other => panic!("{other:?}"),
        }
    };
    // onnxruntime 1.31 under C.UTF-8.
    assert_eq!(lowered("LOWER", "İZMİR ΟΔΟΣ ẞ"), "izmir οδοσ ß");
    assert_eq!(lowered("UPPER", "ß οδος ﬁ"), "ß ΟΔΟΣ ﬁ");
}

#[test]
fn versions_from_the_future_are_refused() {
    let opset = |domain: &str, version| OperatorSetIdProto {
        domain: domain.to_owned(),
        version,
    };
    let open = |opset_import| {
        let graph = Some(graph(
            vec![node("", "Relu", &["x"], &["y"], vec![])],
            vec![],
        ));
        OnnxModel::open(
            ModelProto {
                opset_import,
                graph,
                ..ModelProto::default()
            }
            .encode_to_vec(),
        )
    };
    assert!(open(vec![opset("", 18)]).is_ok());
    let refused = open(vec![opset("", 99)]).unwrap_err().to_string();
    assert!(
        refused.contains("version 99 of the core operators; 7 to 26"),
        "{refused}"
    );
    let refused = open(vec![opset("", 18), opset("ai.onnx.ml", 6)])
        .unwrap_err()
        .to_string();
    assert!(
        refused.contains("version 6 of ai.onnx.ml; 1 to 5"),
        "{refused}"
    );
}

#[test]
fn a_name_used_before_it_is_made_is_refused() {
    let nodes = vec![
        node("", "Add", &["x", "later"], &["y"], vec![]),
        node("", "Relu", &["x"], &["later"], vec![]),
    ];
    let refused = refusal(graph(nodes, vec![]));
    assert!(
        refused.contains("\"later\" is made twice") || refused.contains("\"later\" is used before"),
        "{refused}"
    );
}

#[test]
fn a_graph_that_doubles_without_end_runs_out_of_budget() {
    let names: Vec<String> = std::iter::once("x".to_owned())
        .chain((0..60).map(|at| format!("v{at}")))
        .collect();
    let mut nodes: Vec<NodeProto> = names
        .windows(2)
        .map(|pair| {
            node(
                "",
                "Concat",
                &[&pair[0], &pair[0]],
                &[&pair[1]],
                vec![int("axis", 1)],
            )
        })
        .collect();
    nodes.push(node("", "Identity", &["v59"], &["y"], vec![]));
    let model = open(graph(nodes, vec![])).unwrap();
    let failed = model
        .run(&[Tensor::float(vec![1, 4], vec![0.0; 4]).unwrap()])
        .unwrap_err()
        .to_string();
    assert!(failed.contains("2^26 a row"), "{failed}");
}

#[test]
fn a_long_text_costs_its_length_wherever_it_is_read() {
    let budget = Budget::of(1 << 20, (256 + 1_000) + (256 + 1_999));
    let long: Arc<str> = "x".repeat(500).into();
    let texts = Value::Tensor(Tensor::of(vec![1, 2], vec![long.clone(), long]));
    let (few, many) = ([Some(&texts)], [None, Some(&texts), Some(&texts)]);
    assert!(budget.call(&few).is_ok());
    assert!(budget.call(&many).is_err(), "four times 500 letters");
}

#[test]
fn a_shape_larger_than_memory_is_refused_before_it_is_made() {
    for shape in [
        vec![1 << 40],
        vec![1 << 20, 1 << 20],
        vec![0, 1 << 40],
        vec![-1],
        vec![1; 64],
    ] {
        let fill = node("", "ConstantOfShape", &["shape"], &["y"], vec![]);
        let model = open(graph(vec![fill], vec![constant("shape", &shape)])).unwrap();
        assert!(
            model
                .run(&[Tensor::float(vec![1, 1], vec![0.0]).unwrap()])
                .is_err(),
            "{shape:?}"
        );
    }
}

/// One tree of three leaves: feature 0 against `mode` 0.5, then feature 1.
fn tree(modes: [&'static str; 2], missing: [i64; 2], children: [i64; 2]) -> NodeProto {
    let attributes = vec![
        ints("nodes_treeids", &[0; 5]),
        ints("nodes_nodeids", &[0, 1, 2, 3, 4]),
        ints("nodes_featureids", &[0, 1, 0, 0, 0]),
        floats("nodes_values", &[0.5, 2.0, 0.0, 0.0, 0.0]),
        texts("nodes_modes", &[modes[0], modes[1], "LEAF", "LEAF", "LEAF"]),
        ints("nodes_truenodeids", &[1, children[0], 0, 0, 0]),
        ints("nodes_falsenodeids", &[2, children[1], 0, 0, 0]),
        ints(
            "nodes_missing_value_tracks_true",
            &[missing[0], missing[1], 0, 0, 0],
        ),
        ints("target_treeids", &[0; 3]),
        ints("target_nodeids", &[2, 3, 4]),
        ints("target_ids", &[0; 3]),
        floats("target_weights", &[1.0, 2.0, 4.0]),
        int("n_targets", 1),
    ];
    node(
        "ai.onnx.ml",
        "TreeEnsembleRegressor",
        &["x"],
        &["y"],
        attributes,
    )
}

#[test]
fn every_mode_sends_values_and_holes_where_it_should() {
    let modes = [
        "BRANCH_LEQ",
        "BRANCH_LT",
        "BRANCH_GTE",
        "BRANCH_GT",
        "BRANCH_EQ",
        "BRANCH_NEQ",
    ];
    let holds = |mode: &str, x: f32, threshold: f32| match mode {
        "BRANCH_LEQ" => x <= threshold,
        "BRANCH_LT" => x < threshold,
        "BRANCH_GTE" => x >= threshold,
        "BRANCH_GT" => x > threshold,
        "BRANCH_EQ" => x == threshold,
        _ => x != threshold,
    };
    let values = [
        0.0,
        0.5,
        0.5_f32.next_up(),
        0.5_f32.next_down(),
        2.0,
        3.0,
        f32::NAN,
        f32::INFINITY,
        f32::NEG_INFINITY,
    ];
    for first in modes {
        for second in modes {
            for missing in [[0, 0], [1, 0], [0, 1], [1, 1]] {
                let model =
                    open(graph(vec![tree([first, second], missing, [3, 4])], vec![])).unwrap();
                let rows: Vec<f32> = values
                    .iter()
                    .flat_map(|&a| values.iter().flat_map(move |&b| [a, b]))
                    .collect();
                let found = answers(&model, 2, &rows);
                for (row, found) in rows.chunks(2).zip(found) {
                    let goes = |mode, x: f32, threshold, missing| {
                        holds(mode, x, threshold) || (missing == 1 && x.is_nan())
                    };
                    let wanted = match goes(first, row[0], 0.5, missing[0]) {
                        false => 1.0,
                        true if goes(second, row[1], 2.0, missing[1]) => 2.0,
                        true => 4.0,
                    };
                    assert_eq!(found, wanted, "{first} {second} {missing:?} {row:?}");
                }
            }
        }
    }
}

#[test]
fn trees_that_go_round_in_a_circle_are_refused() {
    let refused = refusal(graph(
        vec![tree(["BRANCH_LT", "BRANCH_LT"], [0, 0], [0, 4])],
        vec![],
    ));
    assert!(refused.contains("circle"), "{refused}");
    let refused = refusal(graph(
        vec![tree(["BRANCH_LT", "BRANCH_LT"], [0, 0], [9, 4])],
        vec![],
    ));
    assert!(refused.contains("not there"), "{refused}");
    let refused = refusal(graph(
        vec![tree(["BRANCH_LT", "BRANCH_SO"], [0, 0], [3, 4])],
        vec![],
    ));
    assert!(refused.contains("BRANCH_SO"), "{refused}");
}

#[test]
fn branches_may_join_again() {
    let model = open(graph(
        vec![tree(["BRANCH_LT", "BRANCH_LT"], [0, 0], [2, 4])],
        vec![],
    ))
    .unwrap();
    assert_eq!(
        answers(&model, 2, &[0.0, 0.0, 0.0, 9.0, 1.0, 0.0]),
        [1.0, 4.0, 1.0]
    );
}

#[test]
fn a_double_is_not_rounded_before_it_is_compared() {
    let mut graph = graph(
        vec![tree(["BRANCH_LT", "BRANCH_LT"], [0, 0], [3, 4])],
        vec![],
    );
    if let Some(type_proto::Value::TensorType(tensor)) = graph.input[0]
        .r#type
        .as_mut()
        .and_then(|t| t.value.as_mut())
    {
        tensor.elem_type = data_type::DOUBLE;
    }
    let model = open(graph).unwrap();
    let input = Tensor::double(vec![2, 2], vec![0.5 - 1e-12, 0.0, 0.5, 0.0]).unwrap();
    assert_eq!(floats_of(&model.run(&[input]).unwrap()[0]), [2.0, 1.0]);
}

/// A classifier of labels 3 and 7 by one stump.
fn stump(ids: [i64; 2], weights: [f32; 2], base: &[f32], transform: &'static str) -> OnnxModel {
    let attributes = vec![
        ints("nodes_treeids", &[0; 3]),
        ints("nodes_nodeids", &[0, 1, 2]),
        ints("nodes_featureids", &[0; 3]),
        floats("nodes_values", &[0.0; 3]),
        texts("nodes_modes", &["BRANCH_LEQ", "LEAF", "LEAF"]),
        ints("nodes_truenodeids", &[1, 0, 0]),
        ints("nodes_falsenodeids", &[2, 0, 0]),
        ints("class_treeids", &[0, 0]),
        ints("class_nodeids", &[1, 2]),
        ints("class_ids", &ids),
        floats("class_weights", &weights),
        ints("classlabels_int64s", &[3, 7]),
        floats("base_values", base),
        text("post_transform", transform),
    ];
    let classifier = node(
        "ai.onnx.ml",
        "TreeEnsembleClassifier",
        &["x"],
        &["label", "y"],
        attributes,
    );
    let mut graph = graph(vec![classifier], vec![]);
    let label = ValueInfoProto {
        name: "label".to_owned(),
        ..ValueInfoProto::default()
    };
    graph.output.push(label);
    open(graph).unwrap()
}

/// As many trees of one leaf, of two classes of which the leaves tell the first.
fn votes(count: i64, weight: f32) -> (Vec<f32>, i64) {
    let numbers: Vec<i64> = (0..count).collect();
    let none = vec![0; count as usize];
    let settings = vec![
        ints("nodes_treeids", &numbers),
        ints("nodes_nodeids", &none),
        ints("nodes_featureids", &none),
        floats("nodes_values", &vec![0.0; count as usize]),
        texts("nodes_modes", &vec!["LEAF"; count as usize]),
        ints("nodes_truenodeids", &none),
        ints("nodes_falsenodeids", &none),
        ints("class_treeids", &numbers),
        ints("class_nodeids", &none),
        ints("class_ids", &none),
        floats("class_weights", &vec![weight; count as usize]),
        ints("classlabels_int64s", &[3, 7]),
        text("post_transform", "NONE"),
    ];
    let classifier = node(
        "ai.onnx.ml",
        "TreeEnsembleClassifier",
        &["x"],
        &["label", "y"],
        settings,
    );
    let mut graph = graph(vec![classifier], vec![]);
    graph.output.push(ValueInfoProto {
        name: "label".to_owned(),
        ..ValueInfoProto::default()
    });
    let row = Tensor::float(vec![1, 1], vec![0.0]).unwrap();
    let outputs = open(graph).unwrap().run(&[row]).unwrap();
    let label = outputs[1].tensor().unwrap().as_i64().unwrap()[0];
    (floats_of(&outputs[0]), label)
}

#[test]
fn a_tie_of_many_trees_is_one_where_onnxruntime_has_it() {
    // onnxruntime 1.31 on the same graphs, one row: sums in single precision, tree after tree. In double precision the
    // first would be above one half, and the last as well.
    for (count, weight, scores, label) in [
        (5, 0.1, [0.5, 0.5], 3),
        (10, 0.05, [0.499_999_94, 0.500_000_06], 7),
        (20, 0.025, [0.499_999_94, 0.500_000_06], 7),
        (30, 1.0 / 60.0, [0.499_999_82, 0.500_000_2], 7),
        (50, 0.01, [0.500_000_24, 0.499_999_8], 3),
    ] {
        assert_eq!(votes(count, weight), (scores.to_vec(), label), "{count}");
    }
}

#[test]
fn two_classes_told_by_one_score_come_out_as_in_onnxruntime() {
    // onnxruntime 1.31 on the same graphs; rows −1 and 1.
    let check = |ids, weights, base: &[f32], transform, labels: [i64; 2], scores: [f32; 4]| {
        let model = stump(ids, weights, base, transform);
        let outputs = model
            .run(&[Tensor::float(vec![2, 1], vec![-1.0, 1.0]).unwrap()])
            .unwrap();
        let found = floats_of(&outputs[0]);
        let is_close = found.iter().zip(scores).all(|(a, b)| (a - b).abs() < 1e-4);
        assert!(
            is_close,
            "{ids:?} {weights:?} {base:?} {transform}: {found:?}, not {scores:?}"
        );
        let wanted = Tensor::int64(vec![2], labels.to_vec()).unwrap();
        assert_eq!(
            outputs[1].tensor(),
            Some(&wanted),
            "{ids:?} {weights:?} {base:?} {transform}"
        );
    };
    check(
        [0, 0],
        [0.8, 0.3],
        &[],
        "NONE",
        [7, 3],
        [0.2, 0.8, 0.7, 0.3],
    );
    check(
        [0, 0],
        [0.8, 0.3],
        &[],
        "LOGISTIC",
        [7, 3],
        [0.31, 0.69, 0.4256, 0.5744],
    );
    check(
        [0, 0],
        [0.8, 0.3],
        &[0.1],
        "NONE",
        [7, 3],
        [0.1, 0.9, 0.6, 0.4],
    );
    check(
        [0, 0],
        [0.8, 0.3],
        &[0.1, 0.2],
        "NONE",
        [7, 3],
        [0.9, 0.0, 0.4, 0.0],
    );
    check(
        [0, 0],
        [0.8, 0.3],
        &[0.1, 0.2],
        "SOFTMAX",
        [7, 3],
        [0.7109, 0.2891, 0.5987, 0.4013],
    );
    check(
        [0, 0],
        [0.8, -0.3],
        &[],
        "NONE",
        [7, 3],
        [-0.8, 0.8, 0.3, -0.3],
    );
    check(
        [0, 0],
        [0.8, -0.3],
        &[0.1],
        "LOGISTIC",
        [7, 3],
        [0.2891, 0.7109, 0.5498, 0.4502],
    );
    check(
        [1, 1],
        [0.8, 0.3],
        &[],
        "NONE",
        [7, 3],
        [0.0, 0.8, 0.0, 0.3],
    );
    check(
        [1, 1],
        [0.8, 0.3],
        &[0.1],
        "SOFTMAX",
        [7, 3],
        [0.31, 0.69, 0.4256, 0.5744],
    );
    check(
        [1, 1],
        [0.8, 0.3],
        &[0.1, 0.2],
        "NONE",
        [3, 3],
        [0.0, 0.2, 0.0, 0.2],
    );
    check(
        [1, 1],
        [0.8, -0.3],
        &[0.1, 0.2],
        "LOGISTIC",
        [7, 7],
        [0.5, 0.5498, 0.5, 0.5498],
    );
}

#[test]
fn two_classes_told_by_both_scores_go_by_the_greater() {
    let model = stump([0, 1], [0.8, 0.3], &[], "NONE");
    let outputs = model
        .run(&[Tensor::float(vec![2, 1], vec![-1.0, 1.0]).unwrap()])
        .unwrap();
    assert_eq!(
        outputs[1].tensor(),
        Some(&Tensor::int64(vec![2], vec![3, 7]).unwrap())
    );
}

#[test]
fn an_input_of_another_type_or_width_is_refused() {
    let model = OnnxModel::open(golden_bytes("random_forest")).unwrap();
    let refused = |tensor: Tensor| model.run(&[tensor]).unwrap_err().to_string();
    let double = refused(Tensor::double(vec![1, 4], vec![0.0; 4]).unwrap());
    assert!(
        double.contains("it holds double, wanted is float"),
        "{double}"
    );
    let narrow = refused(Tensor::float(vec![1, 3], vec![0.0; 3]).unwrap());
    assert!(narrow.contains("[1, 3]"), "{narrow}");
    assert!(model.run(&[]).is_err());
}

/// Runs whatever opened on a few rows of what it asks for, on a small budget.
fn run_somehow(model: &OnnxModel, seed: u64) {
    let width = |size: &Option<usize>| size.unwrap_or(3).min(64);
    let inputs = model.inputs().iter().map(|input| {
        let mut shape: Vec<usize> = input.shape.iter().map(width).collect();
        if let Some(rows) = shape.first_mut() {
            *rows = (seed % 3) as usize;
        }
        let count = shape.iter().product();
        let number = |at: usize| {
            [f64::NAN, -1.0, 0.0, 0.5, 1e30, 3.0, f64::INFINITY][(at + seed as usize) % 7]
        };
        let word = |at: usize| -> Arc<str> {
            ["", "Wards", "night pay", "é"][(at + seed as usize) % 4].into()
        };
        let data = match input.element {
            Element::Float => {
                Data::Float(Arc::new((0..count).map(|at| number(at) as f32).collect()))
            }
            Element::Double => Data::Double(Arc::new((0..count).map(number).collect())),
            Element::Int32 => {
                Data::Int32(Arc::new((0..count).map(|at| number(at) as i32).collect()))
            }
            Element::Int64 => {
                Data::Int64(Arc::new((0..count).map(|at| number(at) as i64).collect()))
            }
            Element::Bool => Data::Bool(Arc::new((0..count).map(|at| at % 2 == 0).collect())),
            Element::Text => Data::Text(Arc::new((0..count).map(word).collect())),
        };
        Tensor::new(shape, data)
    });
    if let Ok(inputs) = inputs.collect::<Result<Vec<_>, _>>() {
        let values = inputs.into_iter().map(Value::Tensor).collect();
        let _ = model.run_within(values, &Budget::of(1 << 16, 1 << 20));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn any_bytes_are_opened_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = OnnxModel::open(bytes);
    }

    #[test]
    fn a_damaged_model_runs_or_is_refused(
        which in 0..GOLDEN.len(),
        damage in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
        cut in proptest::option::of(any::<prop::sample::Index>()),
        seed in any::<u64>(),
    ) {
        let mut bytes = golden_bytes(GOLDEN[which]);
        for (at, byte) in damage {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        if let Some(cut) = cut.filter(|_| seed % 4 == 0) {
            bytes.truncate(cut.index(bytes.len()));
        }
        if let Ok(model) = OnnxModel::open(bytes) {
            run_somehow(&model, seed);
        }
    }

    #[test]
    fn damaged_settings_run_or_are_refused(
        which in 0..GOLDEN.len(),
        damage in proptest::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>(), any::<prop::sample::Index>(), damage()), 1..5),
        seed in any::<u64>(),
    ) {
        let mut model = ModelProto::decode(&golden_bytes(GOLDEN[which])[..]).unwrap();
        let graph = model.graph.as_mut().unwrap();
        for (node, attribute, place, damage) in damage {
            let node = node.index(graph.node.len());
            inflict(&mut graph.node[node], attribute, place, damage);
        }
        if let Ok(model) = OnnxModel::open(model.encode_to_vec()) {
            run_somehow(&model, seed);
        }
    }
}

/// What may happen to a node, keeping it well-formed.
#[derive(Debug, Clone)]
enum Damage {
    Int(i64),
    Float(f32),
    Shorten,
    Lengthen,
    Remove,
    Rename(&'static str),
    SwapInput,
}

fn damage() -> impl Strategy<Value = Damage> {
    let operators = [
        "Add",
        "MatMul",
        "Gemm",
        "Concat",
        "Reshape",
        "Slice",
        "Gather",
        "TopK",
        "Expand",
        "Tile",
        "Cast",
        "Transpose",
        "Scaler",
        "SVMRegressor",
        "OneHotEncoder",
        "ArrayFeatureExtractor",
        "Tokenizer",
        "Where",
        "CumSum",
    ];
    prop_oneof![
        prop_oneof![
            Just(-1),
            Just(0),
            Just(1),
            Just(i64::MAX),
            Just(i64::MIN),
            -4..40_i64
        ]
        .prop_map(Damage::Int),
        any::<f32>().prop_map(Damage::Float),
        Just(Damage::Shorten),
        Just(Damage::Lengthen),
        Just(Damage::Remove),
        proptest::sample::select(operators.to_vec()).prop_map(Damage::Rename),
        Just(Damage::SwapInput),
    ]
}

fn inflict(
    node: &mut NodeProto,
    attribute: prop::sample::Index,
    place: prop::sample::Index,
    damage: Damage,
) {
    match damage {
        Damage::Rename(operator) => operator.clone_into(&mut node.op_type),
        Damage::SwapInput => node.input.reverse(),
        _ if node.attribute.is_empty() => {}
        Damage::Remove => drop(node.attribute.remove(attribute.index(node.attribute.len()))),
        damage => {
            let at = attribute.index(node.attribute.len());
            spoil(&mut node.attribute[at], place, damage);
        }
    }
}

fn spoil(attribute: &mut AttributeProto, place: prop::sample::Index, damage: Damage) {
    fn at<T>(values: &mut [T], place: prop::sample::Index, value: T) {
        if !values.is_empty() {
            values[place.index(values.len())] = value;
        }
    }
    match damage {
        Damage::Int(value) => {
            attribute.i = value;
            at(&mut attribute.ints, place, value);
        }
        Damage::Float(value) => {
            attribute.f = value;
            at(&mut attribute.floats, place, value);
        }
        Damage::Shorten => {
            attribute.ints.pop();
            attribute.floats.pop();
            attribute.strings.pop();
        }
        _ => {
            attribute.ints.push(1);
            attribute.floats.push(1.0);
            attribute.strings.push("x".into());
        }
    }
}
