//! Writes out what a net may leave unsaid, and takes out what only training needs, because `rten` knows neither.

use ombud_onnx::{AttributeProto, GraphProto, NodeProto, TensorProto, attribute_type};

use super::{OnnxError, wrong};
use crate::onnx::operators::is_core;
use crate::onnx::tensor::Tensor;

/// Mends every node that needs it; the names of values stay.
pub(super) fn write_out(graph: &mut GraphProto) -> Result<(), OnnxError> {
    let constants = Constants::of(graph);
    let mut mended = Vec::new();
    for (place, node) in graph.node.iter().enumerate() {
        let new = match node.op_type.as_str() {
            _ if !is_core(&node.domain) => None,
            "Conv" | "ConvInteger" => with_kernel(node, &constants),
            "Dropout" => without_training(node, graph, &constants)?,
            _ => None,
        };
        mended.extend(new.map(|node| (place, node)));
    }
    for (place, node) in mended {
        graph.node[place] = node;
    }
    Ok(())
}

/// Values that are in the file.
struct Constants<'a>(Vec<(&'a str, &'a TensorProto)>);

impl<'a> Constants<'a> {
    fn of(graph: &'a GraphProto) -> Self {
        let initial = graph
            .initializer
            .iter()
            .map(|tensor| (tensor.name.as_str(), tensor));
        let nodes = graph.node.iter().filter(|node| node.op_type == "Constant");
        let written = nodes.filter_map(|node| {
            let tensor = node
                .attribute
                .iter()
                .find_map(|setting| setting.t.as_ref())?;
            Some((node.output.first()?.as_str(), tensor))
        });
        let mut all: Vec<_> = initial.chain(written).collect();
        all.sort_unstable_by_key(|(name, _)| *name);
        Constants(all)
    }

    fn find(&self, name: &str) -> Option<&'a TensorProto> {
        let place = self.0.binary_search_by_key(&name, |(name, _)| name).ok()?;
        Some(self.0[place].1)
    }
}

/// The size of a kernel is that of its weights, when nobody says it.
fn with_kernel(node: &NodeProto, constants: &Constants<'_>) -> Option<NodeProto> {
    let is_said = |setting: &AttributeProto| setting.name == "kernel_shape";
    if node.attribute.iter().any(is_said) {
        return None;
    }
    let weights = constants.find(node.input.get(1)?)?;
    let mut node = node.clone();
    node.attribute.push(AttributeProto {
        name: "kernel_shape".to_owned(),
        r#type: attribute_type::INTS,
        ints: weights.dims.get(2..)?.to_vec(),
        ..AttributeProto::default()
    });
    Some(node)
}

/// Dropping some values out is for training; an answer is not drawn.
fn without_training(
    node: &NodeProto,
    graph: &GraphProto,
    constants: &Constants<'_>,
) -> Result<Option<NodeProto>, OnnxError> {
    if let Some(trains) = node.input.get(2).filter(|name| !name.is_empty()) {
        let trains = constants
            .find(trains)
            .and_then(|flag| Tensor::read(flag).ok());
        let trains = trains.as_ref().and_then(|flag| flag.values::<bool>().ok());
        if trains.is_none_or(|trains| trains.contains(&true)) {
            return Err(wrong(&format!(
                "the node {:?} (Dropout) is set to train, and an answer is not drawn",
                node.name
            )));
        }
    }
    let (Some(input), Some(output)) = (node.input.first(), node.output.first()) else {
        return Ok(None);
    };
    let mask = node.output.get(1).filter(|name| !name.is_empty());
    let is_used = |name: &String| {
        let inputs = graph.node.iter().flat_map(|node| &node.input);
        let outputs = graph.output.iter().map(|output| &output.name);
        inputs.chain(outputs).any(|used| used == name)
    };
    if mask.is_some_and(is_used) {
        return Ok(None);
    }
    Ok(Some(NodeProto {
        op_type: "Identity".to_owned(),
        input: vec![input.clone()],
        output: vec![output.clone()],
        attribute: Vec::new(),
        ..node.clone()
    }))
}
