//! Lists of labels that a graph names its classes by.
//!
//! Without `ZipMap` an ONNX file has no one place for the names of classes: they stand in a classifier's settings, in a
//! label encoder's, or in a constant that labels are picked from. All are collected here; which of them is the answer's is
//! for whoever sees answers beside them.

use std::collections::BTreeSet;

use ombud_onnx::{Bytes, GraphProto, NodeProto};

use super::attributes::Attributes;
use super::operators;
use super::tensor::{Data, Tensor};

/// Settings that hold names of classes.
const SETTINGS: [&str; 7] = [
    "classlabels_strings",
    "classlabels_int64s",
    "classlabels_ints",
    "values_strings",
    "values_int64s",
    "keys_strings",
    "cats_strings",
];
/// Longest list of classes looked at.
const CLASSES_MAX: usize = 10_000;
/// Most lists kept: a converter writes a handful.
const LISTS_MAX: usize = 64;

/// Numbers that encoders of categories know.
pub(super) fn categories(graph: &GraphProto) -> BTreeSet<i64> {
    let settings = graph.node.iter().flat_map(|node| &node.attribute);
    let known = settings.filter(|setting| setting.name == "cats_int64s");
    let numbers = known.flat_map(|setting| setting.ints.iter().copied());
    numbers.take(CLASSES_MAX).collect()
}

/// Every list of at least two labels, each once.
pub(super) fn collect(graph: &GraphProto) -> Vec<Vec<String>> {
    let picked: BTreeSet<&str> = graph
        .node
        .iter()
        .filter(|node| matches!(node.op_type.as_str(), "ArrayFeatureExtractor" | "Gather"))
        .filter_map(|node| node.input.first().map(String::as_str))
        .collect();
    let constants = graph
        .initializer
        .iter()
        .filter(|tensor| picked.contains(tensor.name.as_str()))
        .filter_map(|tensor| listed(&Tensor::read(tensor).ok()?));
    let made = graph
        .node
        .iter()
        .filter(|node| node.op_type == "Constant" && operators::is_core(&node.domain))
        .filter_map(|node| listed(&operators::constant(Attributes(node)).ok()?));
    let mut lists: Vec<Vec<String>> = Vec::new();
    let set = graph.node.iter().flat_map(settings);
    for list in set.chain(constants).chain(made) {
        let is_usable = (2..=CLASSES_MAX).contains(&list.len());
        if is_usable && lists.len() < LISTS_MAX && !lists.contains(&list) {
            lists.push(list);
        }
    }
    lists
}

fn settings(node: &NodeProto) -> Vec<Vec<String>> {
    let named = |name: &&str| node.attribute.iter().find(|a| a.name == **name);
    let found = SETTINGS.iter().filter_map(named);
    let list = |attribute: &ombud_onnx::AttributeProto| match attribute.ints.is_empty() {
        false => attribute.ints.iter().map(ToString::to_string).collect(),
        true => attribute.strings.iter().map(text).collect(),
    };
    found.map(list).collect()
}

fn text(bytes: &Bytes) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn listed(tensor: &Tensor) -> Option<Vec<String>> {
    match tensor.data() {
        Data::Int64(values) => Some(values.iter().map(ToString::to_string).collect()),
        Data::Int32(values) => Some(values.iter().map(ToString::to_string).collect()),
        Data::Text(values) => Some(values.iter().map(ToString::to_string).collect()),
        Data::Float(_) | Data::Double(_) | Data::Bool(_) => None,
    }
}
