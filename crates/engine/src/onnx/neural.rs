//! Neural nets: graphs with operators that only `rten` runs.
//!
//! `rten` bounds neither time nor memory, so every size is known before it computes: one row at a time, all dimensions
//! fixed, operators from a list, shapes of all values inferred and added up. What is computed at load from constants alone
//! is bounded beforehand ([`growth`]). A net whose sizes depend on its numbers is refused. What has passed all that may be
//! run by an installed onnxruntime instead ([`onnxruntime`]). Beside the net for one row stands one for several rows, where it
//! proved to give the same answers ([`wide`]).

#[cfg(feature = "onnxruntime")]
pub(super) mod onnxruntime;
mod plain;
mod steps;
mod wide;

use std::collections::{BTreeSet, HashMap};
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use ombud_onnx::{
    GraphProto, Message, ModelProto, NodeProto, TensorShapeProto, tensor_shape_proto::Dimension,
    tensor_shape_proto::dimension, type_proto,
};
use rten::{Dimension as Size, Model, ModelOptions, NodeId, ShapeInferenceMode, Value as NetValue};
use rten_tensor::prelude::*;

use super::OnnxError;
use super::operators::is_core;
use super::tensor::{Data, Tensor, Value};

/// Most elements that all values of one row may have together: an image of a megapixel passes through a few layers.
const ELEMENTS_MAX: usize = 1 << 25;
/// Most nodes of a net: half of what a thread's stack of two megabytes can plan. Large nets have a thousand or two.
const NODES_MAX: usize = 3_000;
/// Most elements computed from constants when a net is opened.
const CONSTANT_MAX: usize = 1 << 25;

/// Operators that nets are made of, and that make no more than their inputs and weights say. Sorted.
const OPERATORS: [&str; 87] = [
    "Abs",
    "Add",
    "And",
    "ArgMax",
    "ArgMin",
    "AveragePool",
    "BatchNormalization",
    "Cast",
    "Ceil",
    "Clip",
    "Concat",
    "Constant",
    "Conv",
    "ConvInteger",
    "Cos",
    "DequantizeLinear",
    "Div",
    "Dropout",
    "DynamicQuantizeLinear",
    "Elu",
    "Equal",
    "Erf",
    "Exp",
    "Flatten",
    "Floor",
    "GRU",
    "Gather",
    "Gelu",
    "Gemm",
    "GlobalAveragePool",
    "GlobalMaxPool",
    "Greater",
    "GreaterOrEqual",
    "HardSigmoid",
    "HardSwish",
    "Identity",
    "InstanceNormalization",
    "LSTM",
    "LayerNormalization",
    "LeakyRelu",
    "Less",
    "LessOrEqual",
    "Log",
    "LogSoftmax",
    "MatMul",
    "MatMulInteger",
    "Max",
    "MaxPool",
    "Mean",
    "Min",
    "Mod",
    "Mul",
    "Neg",
    "Not",
    "Or",
    "PRelu",
    "Pow",
    "QuantizeLinear",
    "Reciprocal",
    "ReduceL2",
    "ReduceMax",
    "ReduceMean",
    "ReduceMin",
    "ReduceProd",
    "ReduceSum",
    "ReduceSumSquare",
    "Relu",
    "Reshape",
    "Round",
    "Selu",
    "Shape",
    "Sigmoid",
    "Sign",
    "Sin",
    "Slice",
    "Softmax",
    "Softplus",
    "Split",
    "Sqrt",
    "Squeeze",
    "Sub",
    "Sum",
    "Tanh",
    "Transpose",
    "Unsqueeze",
    "Where",
    "Xor",
];

/// A net, ready to run.
#[derive(Debug)]
pub(super) struct Net {
    runner: Runner,
    /// The sizes of what each input is given in a run.
    shapes: Vec<Vec<usize>>,
    outputs: usize,
    /// The same net for several rows at once, where that is faster.
    wide: Option<Box<wide::Wide>>,
}

/// What computes it.
#[derive(Debug)]
enum Runner {
    Rten {
        model: Model,
        inputs: Vec<NodeId>,
        outputs: Vec<NodeId>,
    },
    #[cfg(feature = "onnxruntime")]
    Installed(onnxruntime::Sessions),
}

/// The sizes of one row, by the name of the input.
type RowShapes = Vec<(String, Vec<usize>)>;

impl Net {
    /// Whether a net may hold an operator at all.
    pub fn knows(domain: &str, operator: &str) -> bool {
        is_core(domain) && OPERATORS.binary_search(&operator).is_ok()
    }

    /// Whether a net may hold every operator of a graph.
    pub fn knows_all(graph: &GraphProto) -> bool {
        let mut nodes = graph.node.iter();
        nodes.all(|node| Net::knows(&node.domain, &node.op_type))
    }

    /// Fixes every size, bounds them, and opens.
    pub fn open(model: &ModelProto) -> Result<Net, OnnxError> {
        let mut net = Net::open_for(model, 1)?;
        // An installed runtime is asked row by row.
        #[cfg(feature = "onnxruntime")]
        if matches!(net.runner, Runner::Installed(_)) {
            return Ok(net);
        }
        net.wide = wide::open(model, &net).map(Box::new);
        Ok(net)
    }

    /// Whether several rows take less time together.
    pub fn is_wide(&self) -> bool {
        self.wide.is_some()
    }

    fn open_for(model: &ModelProto, rows: usize) -> Result<Net, OnnxError> {
        let graph = model.graph.as_ref().ok_or_else(|| wrong("there is none"))?;
        refuse_long(graph)?;
        refuse_unknown(graph)?;
        growth::check(graph)?;
        let (fixed, shapes) = of_rows(model, graph, rows)?;
        let mut options = ModelOptions::with_all_ops();
        options.shape_inference(ShapeInferenceMode::Strict);
        let bytes = fixed.encode_to_vec();
        #[cfg(feature = "onnxruntime")]
        let copy = bytes.clone();
        let net = guarded(|| {
            options
                .load(bytes)
                .map_err(|error| wrong(&error.to_string()))
        })?;
        check_sizes(&net, graph)?;
        let weights: HashMap<&str, &[i64]> = graph
            .initializer
            .iter()
            .map(|tensor| (tensor.name.as_str(), tensor.dims.as_slice()))
            .collect();
        steps::check(graph, |name| shape_of(&net, &weights, name))?;
        let (names, shapes): (Vec<String>, Vec<Vec<usize>>) = shapes.into_iter().unzip();
        let outputs = graph.output.len();
        #[cfg(feature = "onnxruntime")]
        if let Some(sessions) = onnxruntime::Sessions::open(graph, copy)? {
            return Ok(Net {
                runner: Runner::Installed(sessions),
                shapes,
                outputs,
                wide: None,
            });
        }
        let node = |name: &str| net.node_id(name).map_err(|error| wrong(&error.to_string()));
        let nodes = |names: Vec<&str>| names.into_iter().map(node).collect::<Result<_, _>>();
        let output_names = graph.output.iter().map(|output| output.name.as_str());
        Ok(Net {
            runner: Runner::Rten {
                inputs: nodes(names.iter().map(String::as_str).collect())?,
                outputs: nodes(output_names.collect())?,
                model: net,
            },
            shapes,
            outputs,
            wide: None,
        })
    }

    /// Runs row by row, or several rows together; every output becomes a table of rows.
    pub fn run(&self, inputs: &[Tensor]) -> Result<Vec<Value>, OnnxError> {
        let rows = inputs.first().and_then(|tensor| tensor.shape().first());
        let rows = rows.copied().unwrap_or(0);
        let mut tables: Vec<Option<Table>> = vec![None; self.outputs];
        let mut row = 0;
        while row < rows {
            let wide = self
                .wide
                .as_deref()
                .filter(|wide| rows - row >= wide.rows_min);
            let net = wide.map_or(self, |wide| &wide.net);
            let step = wide.map_or(1, |_| wide::ROWS.min(rows - row));
            let values = net.run_part(inputs, row..row + step, rows)?;
            for (table, value) in tables.iter_mut().zip(values) {
                push(table, value)?;
            }
            row += step;
        }
        tables
            .into_iter()
            .map(|table| finish(table, rows))
            .collect()
    }

    /// Runs as many rows as the net is for, or fewer.
    fn run_part(
        &self,
        inputs: &[Tensor],
        taken: Range<usize>,
        rows: usize,
    ) -> Result<Vec<Table>, OnnxError> {
        let (model, ids, outputs) = match &self.runner {
            Runner::Rten {
                model,
                inputs,
                outputs,
            } => (model, inputs, outputs),
            #[cfg(feature = "onnxruntime")]
            Runner::Installed(sessions) => {
                return sessions.run_row(inputs, &self.shapes, taken.start, rows);
            }
        };
        let mut given = Vec::with_capacity(inputs.len());
        for ((id, shape), tensor) in ids.iter().zip(&self.shapes).zip(inputs) {
            given.push((*id, part(tensor, shape, &taken, rows)?.into()));
        }
        let failed = |error: rten::RunError| OnnxError::Run {
            node: String::new(),
            operator: "net".to_owned(),
            reason: error.to_string(),
        };
        let values = guarded(|| model.run(given, outputs, None).map_err(failed))?;
        let rows = self.shapes.first().map_or(1, |shape| shape[0]);
        let of_rows = |value| Ok(table(value)?.first(taken.len(), rows));
        values.into_iter().map(of_rows).collect()
    }
}

/// A panic of the engine on a net that nobody foresaw is a refusal, not our end.
fn guarded<T>(work: impl FnOnce() -> Result<T, OnnxError>) -> Result<T, OnnxError> {
    catch_unwind(AssertUnwindSafe(work))
        .unwrap_or_else(|_| Err(wrong("the engine of nets gave it up")))
}

/// Rows of an output as they come.
#[derive(Debug, Clone)]
enum Table {
    Float(Vec<f32>),
    Whole(Vec<i64>),
}

impl Table {
    /// The first of so many rows.
    fn first(mut self, kept: usize, rows: usize) -> Table {
        match &mut self {
            Table::Float(values) => values.truncate(values.len() / rows.max(1) * kept),
            Table::Whole(values) => values.truncate(values.len() / rows.max(1) * kept),
        }
        self
    }
}

/// The engine of nets plans from the outputs back by calling itself, a frame a node: what ends a stack ends the process, and no
/// refusal could be told.
fn refuse_long(graph: &GraphProto) -> Result<(), OnnxError> {
    let nodes = nodes_of(graph);
    if nodes > NODES_MAX {
        return Err(wrong(&format!(
            "it has {nodes} nodes, more than the {NODES_MAX} allowed in a net"
        )));
    }
    Ok(())
}

/// Nodes with those of the graphs within; how deep these may lie was limited when the file was read.
fn nodes_of(graph: &GraphProto) -> usize {
    let settings = graph.node.iter().flat_map(|node| &node.attribute);
    let within = settings.flat_map(|setting| setting.g.iter().chain(&setting.graphs));
    graph.node.len() + within.map(nodes_of).sum::<usize>()
}

fn refuse_unknown(graph: &GraphProto) -> Result<(), OnnxError> {
    let unknown: BTreeSet<String> = graph
        .node
        .iter()
        .filter(|node| !Net::knows(&node.domain, &node.op_type))
        .map(|node| match is_core(&node.domain) {
            true => node.op_type.clone(),
            false => format!("{}.{}", node.domain, node.op_type),
        })
        .collect();
    if unknown.is_empty() {
        return Ok(());
    }
    Err(OnnxError::UnknownOperators {
        names: unknown.into_iter().collect(),
    })
}

/// The same model for exactly so many rows, without the shapes it declares within, and the shape of every input.
fn of_rows(
    model: &ModelProto,
    graph: &GraphProto,
    rows: usize,
) -> Result<(ModelProto, RowShapes), OnnxError> {
    let mut fixed = model.clone();
    let mut graph = graph.clone();
    graph.value_info.clear();
    let constants: Vec<String> = graph.initializer.iter().map(|t| t.name.clone()).collect();
    graph.input.retain(|input| !constants.contains(&input.name));
    plain::write_out(&mut graph)?;
    let mut shapes = Vec::new();
    for input in &mut graph.input {
        let kind = input.r#type.as_mut().and_then(|kind| kind.value.as_mut());
        let Some(type_proto::Value::TensorType(tensor)) = kind else {
            return Err(wrong("only tensors are taken"));
        };
        let declared = tensor.shape.as_ref().map(super::tensor::dimensions);
        let declared = declared.unwrap_or_default();
        let rest: Option<Vec<usize>> = declared.iter().skip(1).copied().collect();
        let Some(rest) = rest.filter(|_| !declared.is_empty()) else {
            let name = &input.name;
            return Err(wrong(&format!(
                "the input {name:?} has sizes that vary; only the first, the number of rows, may (export with fixed sizes)"
            )));
        };
        let shape: Vec<usize> = std::iter::once(rows).chain(rest).collect();
        tensor.shape = Some(TensorShapeProto {
            dim: shape.iter().map(|size| dimension(*size)).collect(),
        });
        shapes.push((input.name.clone(), shape));
    }
    for output in &mut graph.output {
        if let Some(type_proto::Value::TensorType(tensor)) =
            output.r#type.as_mut().and_then(|kind| kind.value.as_mut())
        {
            tensor.shape = None;
        }
    }
    fixed.graph = Some(graph);
    Ok((fixed, shapes))
}

fn dimension(size: usize) -> Dimension {
    Dimension {
        value: Some(dimension::Value::DimValue(size as i64)),
        ..Dimension::default()
    }
}

/// Adds up what one row makes; every size must be known.
fn check_sizes(net: &Model, graph: &GraphProto) -> Result<(), OnnxError> {
    let names = graph.node.iter().flat_map(|node| &node.output);
    let mut sum: usize = 0;
    for name in names.filter(|name| !name.is_empty()) {
        // What the optimizer took away is not made.
        let Some(info) = net.find_node(name).and_then(|id| net.node_info(id)) else {
            continue;
        };
        let size = info.shape().and_then(|shape| {
            shape.iter().try_fold(1_usize, |product, size| match size {
                Size::Fixed(size) => product.checked_mul(*size),
                Size::Symbolic(_) => None,
            })
        });
        let Some(size) = size else {
            return Err(wrong(&format!(
                "the size of {name:?} depends on its numbers, and a net is only run when all sizes are known"
            )));
        };
        sum = sum.saturating_add(size);
    }
    if sum > ELEMENTS_MAX {
        return Err(wrong(&format!(
            "a run makes {sum} numbers, more than the {ELEMENTS_MAX} allowed"
        )));
    }
    Ok(())
}

/// A value's sizes, where they are known: those of weights from the file, the optimizer may have packed them.
fn shape_of(net: &Model, weights: &HashMap<&str, &[i64]>, name: &str) -> Option<Vec<usize>> {
    if let Some(sizes) = weights.get(name) {
        let sizes = sizes.iter().map(|size| usize::try_from(*size).ok());
        return sizes.collect();
    }
    let shape = net.node_info(net.find_node(name)?)?.shape()?;
    let sizes = shape.iter().map(|size| match size {
        Size::Fixed(size) => Some(*size),
        Size::Symbolic(_) => None,
    });
    sizes.collect()
}

/// Some rows of an input; where the net is for more, the last one again and again.
fn part(
    tensor: &Tensor,
    shape: &[usize],
    taken: &Range<usize>,
    rows: usize,
) -> Result<NetValue, OnnxError> {
    let width = tensor.len() / rows.max(1);
    if width * shape[0] != shape.iter().product::<usize>() {
        return Err(wrong("a row does not fit its input"));
    }
    fn rows_of<T: Clone>(values: &[T], width: usize, taken: &Range<usize>, rows: usize) -> Vec<T> {
        let last = taken.end.saturating_sub(1);
        let places = (taken.start..taken.start + rows).map(|row| row.min(last));
        let row = |row: usize| values[row * width..(row + 1) * width].iter().cloned();
        places.flat_map(row).collect()
    }
    let count = shape[0];
    let float = |values: Vec<f32>| NetValue::from(rten_tensor::Tensor::from_data(shape, values));
    let whole = |values: Vec<i32>| NetValue::from(rten_tensor::Tensor::from_data(shape, values));
    Ok(match tensor.data() {
        Data::Float(values) => float(rows_of(values, width, taken, count)),
        Data::Double(values) => {
            let values = rows_of(values, width, taken, count);
            float(values.iter().map(|x| *x as f32).collect())
        }
        Data::Int32(values) => whole(rows_of(values, width, taken, count)),
        Data::Int64(values) => {
            let values = rows_of(values, width, taken, count);
            whole(values.iter().map(|x| clamped(*x)).collect())
        }
        Data::Bool(values) => {
            let values = rows_of(values, width, taken, count);
            whole(values.iter().map(|x| i32::from(*x)).collect())
        }
        Data::Text(_) => return Err(wrong("a net takes numbers only")),
    })
}

/// The engine holds whole numbers in 32 bits.
fn clamped(number: i64) -> i32 {
    number.clamp(i64::from(i32::MIN), i64::from(i32::MAX)) as i32
}

fn table(value: NetValue) -> Result<Table, OnnxError> {
    match value {
        NetValue::FloatTensor(tensor) => Ok(Table::Float(tensor.to_vec())),
        NetValue::Int32Tensor(tensor) => {
            let numbers = tensor.to_vec().into_iter();
            Ok(Table::Whole(numbers.map(i64::from).collect()))
        }
        _ => Err(wrong(
            "an output is neither a table of numbers nor of labels",
        )),
    }
}

fn push(table: &mut Option<Table>, part: Table) -> Result<(), OnnxError> {
    match (table.as_mut(), part) {
        (None, part) => *table = Some(part),
        (Some(Table::Float(all)), Table::Float(part)) => all.extend(part),
        (Some(Table::Whole(all)), Table::Whole(part)) => all.extend(part),
        _ => return Err(wrong("an output changes its type")),
    }
    Ok(())
}

fn finish(table: Option<Table>, rows: usize) -> Result<Value, OnnxError> {
    let (length, data) = match table {
        Some(Table::Float(values)) => (values.len(), Data::Float(Arc::new(values))),
        Some(Table::Whole(values)) => (values.len(), Data::Int64(Arc::new(values))),
        None => (0, Data::Float(Arc::new(Vec::new()))),
    };
    let width = length.checked_div(rows).unwrap_or(0);
    Tensor::new(vec![rows, width], data)
        .map(Value::Tensor)
        .map_err(|error| wrong(&error.to_string()))
}

fn wrong(reason: &str) -> OnnxError {
    OnnxError::Graph {
        reason: reason.to_owned(),
    }
}

/// What can be told of sizes before the engine sees a net: it counts them in 32 bits, and would count wrongly.
mod growth {
    use super::*;

    /// Most times over that joining may repeat an input.
    const REPEATS_MAX: usize = 1 << 16;
    /// Most inputs of one node, and the largest size, step or margin that a setting names.
    const INPUTS_MAX: usize = 64;
    const SETTING_MAX: i64 = 1 << 16;

    /// Operators that give at most as much as their largest input.
    const KEEP: [&str; 20] = [
        "Abs",
        "Cast",
        "Clip",
        "DequantizeLinear",
        "Flatten",
        "Floor",
        "Identity",
        "Neg",
        "QuantizeLinear",
        "ReduceMax",
        "ReduceProd",
        "ReduceSum",
        "Relu",
        "Reshape",
        "Slice",
        "Split",
        "Sqrt",
        "Squeeze",
        "Transpose",
        "Unsqueeze",
    ];

    /// Refuses settings beyond reason, joins that repeat without end, and constants that grow.
    pub(super) fn check(graph: &GraphProto) -> Result<(), OnnxError> {
        graph.node.iter().try_for_each(check_settings)?;
        check_repeats(graph)?;
        check_constants(graph)
    }

    fn check_settings(node: &NodeProto) -> Result<(), OnnxError> {
        // A constant's numbers are data.
        let settings = node.attribute.iter().filter(|_| node.op_type != "Constant");
        let mut numbers =
            settings.flat_map(|attribute| attribute.ints.iter().copied().chain([attribute.i]));
        // An end of `i64::MAX` is how exporters say "to the end".
        let is_slice = node.op_type == "Slice";
        let is_wild = |number: i64| !(-SETTING_MAX..=SETTING_MAX).contains(&number) && !is_slice;
        if node.input.len() > INPUTS_MAX || numbers.any(is_wild) {
            let (name, operator) = (&node.name, &node.op_type);
            return Err(wrong(&format!(
                "the node {name:?} ({operator}) has a setting beyond {SETTING_MAX}"
            )));
        }
        Ok(())
    }

    /// Joining a value with itself again and again doubles it: a few bytes of a file ask for any size.
    fn check_repeats(graph: &GraphProto) -> Result<(), OnnxError> {
        let mut repeats: HashMap<&str, usize> = HashMap::new();
        for node in &graph.node {
            let inputs = node
                .input
                .iter()
                .map(|name| repeats.get(name.as_str()).copied().unwrap_or(1));
            let repeated = match node.op_type.as_str() {
                "Concat" => inputs.fold(0, usize::saturating_add),
                _ => inputs.max().unwrap_or(1),
            };
            if repeated > REPEATS_MAX {
                let name = &node.name;
                return Err(wrong(&format!(
                    "the node {name:?} (Concat) repeats an input more than the {REPEATS_MAX} times allowed"
                )));
            }
            repeats.extend(node.output.iter().map(|name| (name.as_str(), repeated)));
        }
        Ok(())
    }

    /// Follows constants through the graph and bounds what they become.
    fn check_constants(graph: &GraphProto) -> Result<(), OnnxError> {
        const SHAPE_ELEMENTS: usize = 8;
        let mut bounds: HashMap<&str, usize> = HashMap::new();
        for tensor in &graph.initializer {
            let size = super::super::tensor::count(
                &tensor
                    .dims
                    .iter()
                    .map(|d| usize::try_from(*d).unwrap_or(0))
                    .collect::<Vec<_>>(),
            );
            bounds.insert(&tensor.name, size.unwrap_or(usize::MAX));
        }
        for node in &graph.node {
            let bound = match node.op_type.as_str() {
                "Constant" => Some(constant(node)),
                // Sizes of values are constants once all of them are fixed.
                "Shape" => Some(SHAPE_ELEMENTS),
                _ => derived(node, &bounds),
            };
            let Some(bound) = bound else {
                continue;
            };
            if bound > CONSTANT_MAX {
                return Err(wrong(&format!(
                    "the node {:?} ({}) may make {bound} numbers from constants, more than the {CONSTANT_MAX} allowed",
                    node.name, node.op_type
                )));
            }
            bounds.extend(node.output.iter().map(|name| (name.as_str(), bound)));
        }
        Ok(())
    }

    fn constant(node: &NodeProto) -> usize {
        let sizes = node.attribute.iter().map(|attribute| {
            let tensor = attribute.t.as_ref().map_or(0, |tensor| {
                tensor.dims.iter().fold(1_usize, |product, size| {
                    product.saturating_mul(usize::try_from(*size).unwrap_or(0))
                })
            });
            tensor
                .max(attribute.ints.len())
                .max(attribute.floats.len())
                .max(1)
        });
        sizes.max().unwrap_or(1)
    }

    /// A bound on what a node of constants makes; `None` for one that waits for a row.
    fn derived(node: &NodeProto, bounds: &HashMap<&str, usize>) -> Option<usize> {
        let inputs = node.input.iter().filter(|name| !name.is_empty());
        let sizes: Option<Vec<usize>> = inputs
            .map(|name| bounds.get(name.as_str()).copied())
            .collect();
        let sizes = sizes.filter(|sizes| !sizes.is_empty())?;
        let operator = node.op_type.as_str();
        Some(if KEEP.binary_search(&operator).is_ok() {
            sizes.into_iter().max().unwrap_or(0)
        } else if operator == "Concat" {
            sizes.into_iter().fold(0, usize::saturating_add)
        } else {
            sizes
                .into_iter()
                .fold(1, |product, size| product.saturating_mul(size.max(1)))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::OnnxModel;
    use super::*;
    use ombud_onnx::{
        AttributeProto, OperatorSetIdProto, TensorProto, TypeProto, ValueInfoProto, attribute_type,
        data_type,
    };
    use proptest::prelude::*;
    use serde_json::Value as Json;

    const STEPS: usize = 12;
    const WIDTH: usize = 3;

    fn golden(name: &str) -> Vec<u8> {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/onnx/");
        std::fs::read(format!("{folder}{name}")).unwrap()
    }

    fn numbers(rows: &Json) -> Vec<f32> {
        let rows = rows.as_array().unwrap().iter();
        let cells = rows.flat_map(|row| row.as_array().unwrap());
        cells.map(|cell| cell.as_f64().unwrap() as f32).collect()
    }

    #[test]
    fn a_chain_that_would_end_a_stack_is_refused() {
        let chain = |nodes: usize| GraphProto {
            node: vec![NodeProto::default(); nodes],
            ..GraphProto::default()
        };
        assert!(refuse_long(&chain(NODES_MAX)).is_ok());
        let mut within = chain(1);
        within.node[0].attribute.push(AttributeProto {
            g: Some(chain(NODES_MAX)),
            ..AttributeProto::default()
        });
        let refused = refuse_long(&within).expect_err("too long").to_string();
        assert!(refused.contains("3001 nodes"), "{refused}");
    }

    #[test]
    fn the_list_of_operators_can_be_searched() {
        assert!(OPERATORS.is_sorted());
        assert!(Net::knows("", "LSTM") && !Net::knows("", "Loop") && !Net::knows("x", "Conv"));
    }

    #[test]
    fn an_lstm_answers_as_onnxruntime() {
        let model = OnnxModel::open(golden("lstm.onnx")).unwrap();
        let told: Json = serde_json::from_slice(&golden("lstm.json")).unwrap();
        let rows = numbers(&told["inputs"]["x"]);
        let shape = vec![rows.len() / STEPS / WIDTH, STEPS, WIDTH];
        let outputs = model.run(&[Tensor::float(shape, rows).unwrap()]).unwrap();
        let Data::Float(found) = outputs[0].tensor().unwrap().data() else {
            panic!("floats")
        };
        let wanted = numbers(&told["outputs"]["probabilities"]);
        assert_eq!(found.len(), wanted.len());
        for (found, wanted) in found.iter().zip(wanted) {
            assert!((found - wanted).abs() <= 1e-5, "{found}, not {wanted}");
        }
    }

    fn setting(name: &str, ints: Vec<i64>) -> AttributeProto {
        AttributeProto {
            name: name.to_owned(),
            r#type: attribute_type::INTS,
            ints,
            ..AttributeProto::default()
        }
    }

    /// One row of four numbers through a kernel of two, then through a dropout.
    fn convolution(kernel: Vec<AttributeProto>, trains: u8) -> Result<Vec<f32>, OnnxError> {
        let info = |name: &str, sizes: &[usize]| ValueInfoProto {
            name: name.to_owned(),
            r#type: Some(TypeProto {
                value: Some(type_proto::Value::TensorType(type_proto::Tensor {
                    elem_type: data_type::FLOAT,
                    shape: Some(TensorShapeProto {
                        dim: sizes.iter().map(|size| dimension(*size)).collect(),
                    }),
                })),
                ..TypeProto::default()
            }),
            ..ValueInfoProto::default()
        };
        let weights = TensorProto {
            name: "w".to_owned(),
            dims: vec![1, 1, 2],
            data_type: data_type::FLOAT,
            float_data: vec![1.0, 10.0],
            ..TensorProto::default()
        };
        let flag = TensorProto {
            name: "trains".to_owned(),
            data_type: data_type::BOOL,
            raw_data: vec![trains].into(),
            ..TensorProto::default()
        };
        let node = |operator: &str, input: &[&str], output: &str, attribute| NodeProto {
            op_type: operator.to_owned(),
            name: operator.to_owned(),
            input: input.iter().map(ToString::to_string).collect(),
            output: vec![output.to_owned()],
            attribute,
            ..NodeProto::default()
        };
        let graph = GraphProto {
            node: vec![
                node("Conv", &["x", "w"], "a", kernel),
                node("Dropout", &["a", "", "trains"], "y", Vec::new()),
            ],
            initializer: vec![weights, flag],
            input: vec![info("x", &[1, 1, 4])],
            output: vec![info("y", &[1, 1, 3])],
            ..GraphProto::default()
        };
        let model = ModelProto {
            ir_version: 8,
            graph: Some(graph),
            opset_import: vec![OperatorSetIdProto {
                domain: String::new(),
                version: 17,
            }],
            ..ModelProto::default()
        };
        let model = OnnxModel::open(model.encode_to_vec())?;
        let row = Tensor::float(vec![1, 1, 4], vec![1.0, 2.0, 3.0, 4.0]).unwrap();
        let outputs = model.run(&[row])?;
        match outputs[0].tensor().unwrap().data() {
            Data::Float(found) => Ok(found.to_vec()),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_kernel_has_the_size_of_its_weights_when_nobody_says_it() {
        let said = vec![setting("kernel_shape", vec![2])];
        assert_eq!(convolution(said, 0).unwrap(), [21.0, 32.0, 43.0]);
        assert_eq!(convolution(Vec::new(), 0).unwrap(), [21.0, 32.0, 43.0]);
    }

    #[test]
    fn a_net_that_would_draw_at_random_is_refused() {
        let refused = convolution(Vec::new(), 1).unwrap_err().to_string();
        assert!(refused.contains("(Dropout) is set to train"), "{refused}");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(200))]

        #[test]
        fn a_damaged_net_runs_or_is_refused(
            damage in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
        ) {
            let mut bytes = golden("lstm.onnx");
            for (at, byte) in damage {
                let at = at.index(bytes.len());
                bytes[at] = byte;
            }
            if let Ok(model) = OnnxModel::open(bytes) {
                let rows = Tensor::float(vec![2, STEPS, WIDTH], vec![0.5; 2 * STEPS * WIDTH]);
                let _ = model.run(&[rows.unwrap()]);
            }
        }
    }
}
