//! Runs classical models from ONNX files: what skl2onnx and onnxmltools write for scikit-learn, XGBoost, LightGBM.
//!
//! Our own evaluator, because no engine at hand has the `ai.onnx.ml` operators at a usable speed. Everything a file can
//! get wrong is refused when it is opened, unknown operators by name, so that a request can only fail by its own numbers.
//! Tree ensembles become a [`crate::forest`] wherever their splits allow. Neural nets go to `rten` with the feature
//! `neural-onnx`; which output of a graph means what to a person is the caller's to say.
//!
//! ```no_run
//! use ombud_engine::onnx::{OnnxModel, Tensor};
//! let model = OnnxModel::open(std::fs::read("iris.onnx")?)?;
//! let rows = Tensor::float(vec![1, 4], vec![5.1, 3.5, 1.4, 0.2])?;
//! let outputs = model.run(&[rows])?;
//! println!("{} = {:?}", model.outputs()[0], outputs[0]);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod algebra;
mod attributes;
mod broadcast;
mod budget;
mod elementwise;
mod encode;
mod ensemble;
mod graph;
mod linear;
mod names;
#[cfg(feature = "neural-onnx")]
mod neural;
mod operators;
mod pattern;
mod reduce;
mod scale;
mod scan;
mod scores;
mod shape;
mod svm;
mod tensor;
#[cfg(test)]
mod tests;
mod text;
mod walk;

use std::collections::{BTreeSet, HashMap};

use ombud_onnx::{
    Bytes, DecodeError, GraphProto, Limits, ModelProto, ValueInfoProto, data_type, type_proto,
};

use budget::Budget;
use graph::{Graph, Versions};

pub use tensor::{Data, Element, Maps, Tensor, TensorError, Value};

/// The newest core operators whose meaning is known here.
pub const CORE_VERSION_MAX: i64 = 26;
/// The oldest: before, broadcasting worked otherwise.
pub const CORE_VERSION_MIN: i64 = 7;
/// The newest `ai.onnx.ml` operators whose meaning is known here.
pub const ML_VERSION_MAX: i64 = 5;

/// A model from an ONNX file, every operator known and checked. Read-only, so threads may share it.
#[derive(Debug)]
pub struct OnnxModel {
    body: Body,
    inputs: Vec<Input>,
    outputs: Vec<String>,
    class_names: Vec<Vec<String>>,
    categories: BTreeSet<i64>,
    metadata: Vec<(String, String)>,
    producer: String,
}

/// What runs it.
#[derive(Debug)]
enum Body {
    Graph(Graph),
    #[cfg(feature = "neural-onnx")]
    Net(Box<neural::Net>),
}

/// What a model takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Input {
    pub name: String,
    pub element: Element,
    /// One size a dimension, `None` where it varies; empty when the file does not say.
    pub shape: Vec<Option<usize>>,
}

/// Why a model is refused, or a run fails.
#[derive(Debug, thiserror::Error)]
pub enum OnnxError {
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// Operators that are not evaluated here; the names are in the order of the alphabet.
    #[error("the ONNX file uses operators that are not known here: {}", names.join(", "))]
    UnknownOperators { names: Vec<String> },
    #[error(
        "the ONNX file is written against version {version} of {domain}; {min} to {max} are known here"
    )]
    Version {
        domain: &'static str,
        version: i64,
        min: i64,
        max: i64,
    },
    /// An onnxruntime that cannot be used.
    #[cfg(feature = "onnxruntime")]
    #[error("the onnxruntime at {path} cannot be used: {reason}")]
    Library { path: String, reason: String },
    #[error("the ONNX graph cannot be used: {reason}")]
    Graph { reason: String },
    /// A node whose attributes cannot be used.
    #[error("the ONNX node {node:?} ({operator}) cannot be used: {reason}")]
    Node {
        node: String,
        operator: String,
        reason: String,
    },
    #[error("the input {name:?} does not fit: {reason}")]
    Input { name: String, reason: String },
    /// The numbers of a request that a node cannot take.
    #[error("the ONNX node {node:?} ({operator}) failed: {reason}")]
    Run {
        node: String,
        operator: String,
        reason: String,
    },
}

/// Takes the onnxruntime library at `path` (`libonnxruntime.so` of an installed package) for all neural nets that are
/// opened from now on. To be called once, when a program starts.
///
/// # Errors
/// When there is no usable library, or one is loaded already.
#[cfg(feature = "onnxruntime")]
pub fn load_onnxruntime(path: &std::path::Path) -> Result<(), OnnxError> {
    neural::onnxruntime::load(path)
}

impl OnnxModel {
    /// Reads and checks a model.
    ///
    /// # Errors
    /// When the bytes are no model, beyond a limit, or use what is not known here.
    pub fn open(bytes: impl Into<Bytes>) -> Result<OnnxModel, OnnxError> {
        OnnxModel::open_within(bytes.into(), &Limits::default())
    }

    /// Reads and checks a model under other limits.
    ///
    /// # Errors
    /// As [`OnnxModel::open`].
    pub fn open_within(bytes: Bytes, limits: &Limits) -> Result<OnnxModel, OnnxError> {
        let model = ombud_onnx::decode(bytes, limits)?;
        let proto = model.graph.as_ref().ok_or_else(|| OnnxError::Graph {
            reason: "there is none".to_owned(),
        })?;
        let body = Body::open(&model, proto)?;
        let initialized: Vec<&str> = proto.initializer.iter().map(|t| t.name.as_str()).collect();
        let inputs = proto
            .input
            .iter()
            .filter(|input| !initialized.contains(&input.name.as_str()))
            .map(input)
            .collect::<Result<_, _>>()?;
        let outputs = proto
            .output
            .iter()
            .map(|output| output.name.clone())
            .collect();
        Ok(OnnxModel {
            body,
            inputs,
            outputs,
            class_names: names::collect(proto),
            categories: names::categories(proto),
            metadata: model
                .metadata_props
                .iter()
                .map(|entry| (entry.key.clone(), entry.value.clone()))
                .collect(),
            producer: model.producer_name.clone(),
        })
    }

    /// What it takes, in order.
    pub fn inputs(&self) -> &[Input] {
        &self.inputs
    }

    /// The names of what it gives, in order.
    pub fn outputs(&self) -> &[String] {
        &self.outputs
    }

    /// Every list of labels in the graph that may be the names of its classes.
    pub fn class_names(&self) -> &[Vec<String>] {
        &self.class_names
    }

    /// Numbers that encoders of categories know.
    pub fn categories(&self) -> &BTreeSet<i64> {
        &self.categories
    }

    /// What the file says about itself under a key.
    pub fn metadata(&self, key: &str) -> Option<&str> {
        let found = self.metadata.iter().find(|(name, _)| name == key);
        found.map(|(_, value)| value.as_str())
    }

    /// The program that wrote the file, as it calls itself.
    pub fn producer(&self) -> &str {
        &self.producer
    }

    /// Whether several rows take less time together than apart.
    pub fn gains_from_batches(&self) -> bool {
        match &self.body {
            Body::Graph(_) => false,
            #[cfg(feature = "neural-onnx")]
            Body::Net(net) => net.is_wide(),
        }
    }

    /// Runs the graph on one tensor an input, in the order of [`OnnxModel::inputs`]; gives one value an output.
    ///
    /// What one run may build and compute is bounded: hand many rows over in parts of a few thousand.
    ///
    /// # Errors
    /// When a tensor does not fit its input or a node cannot take the numbers it is given.
    pub fn run(&self, inputs: &[Tensor]) -> Result<Vec<Value>, OnnxError> {
        if inputs.len() != self.inputs.len() {
            return Err(OnnxError::Input {
                name: String::new(),
                reason: format!("{} given, {} wanted", inputs.len(), self.inputs.len()),
            });
        }
        for (input, tensor) in self.inputs.iter().zip(inputs) {
            input.check(tensor)?;
        }
        match &self.body {
            Body::Graph(graph) => {
                let rows = inputs.iter().filter_map(|tensor| tensor.shape().first());
                let budget = Budget::of_rows(rows.copied().max().unwrap_or(1));
                let values = inputs.iter().cloned().map(Value::Tensor).collect();
                graph.run(values, &budget)
            }
            #[cfg(feature = "neural-onnx")]
            Body::Net(net) => net.run(inputs),
        }
    }

    /// Runs a classical graph within a budget of one's own.
    #[cfg(test)]
    fn run_within(&self, values: Vec<Value>, budget: &Budget) -> Result<Vec<Value>, OnnxError> {
        match &self.body {
            Body::Graph(graph) => graph.run(values, budget),
            #[cfg(feature = "neural-onnx")]
            Body::Net(_) => Ok(Vec::new()),
        }
    }
}

impl Body {
    /// Our own evaluator where it knows every operator, else a net.
    fn open(model: &ModelProto, proto: &GraphProto) -> Result<Body, OnnxError> {
        match operators::refuse_unknown(proto) {
            Ok(()) => Ok(Body::Graph(Graph::compile(proto, versions(model)?)?)),
            #[cfg(feature = "neural-onnx")]
            Err(OnnxError::UnknownOperators { names }) => {
                if neural::Net::knows_all(proto) {
                    return Ok(Body::Net(Box::new(neural::Net::open(model)?)));
                }
                Err(OnnxError::UnknownOperators {
                    names: lacking(proto, names),
                })
            }
            Err(error) => Err(error),
        }
    }
}

/// Of the operators that our own evaluator does not know, those that are to be named: all of them in a classical graph; in
/// any other, those that nets do not know either, if there are such.
#[cfg(feature = "neural-onnx")]
fn lacking(proto: &GraphProto, names: Vec<String>) -> Vec<String> {
    if operators::is_classical(proto) {
        return names;
    }
    let is_stranger = |name: &&String| !neural::Net::knows("", name);
    let strangers: Vec<String> = names.iter().filter(is_stranger).cloned().collect();
    if strangers.is_empty() {
        names
    } else {
        strangers
    }
}

impl Input {
    /// The rows may be any number, whatever the file declares: converters write the size they were tried with.
    fn check(&self, tensor: &Tensor) -> Result<(), OnnxError> {
        let wrong = |reason: String| OnnxError::Input {
            name: self.name.clone(),
            reason,
        };
        if tensor.element() != self.element {
            let (found, wanted) = (tensor.element(), self.element);
            return Err(wrong(format!("it holds {found}, wanted is {wanted}")));
        }
        if self.shape.is_empty() {
            return Ok(());
        }
        let shape = tensor.shape();
        let fits = shape.len() == self.shape.len()
            && shape
                .iter()
                .zip(&self.shape)
                .skip(1)
                .all(|(found, wanted)| wanted.is_none_or(|w| w == *found));
        if !fits {
            return Err(wrong(format!(
                "its shape is {shape:?}, wanted is {:?}",
                self.shape
            )));
        }
        Ok(())
    }
}

fn versions(model: &ModelProto) -> Result<Versions, OnnxError> {
    let by_domain: HashMap<&str, i64> = model
        .opset_import
        .iter()
        .map(|opset| (opset.domain.as_str(), opset.version))
        .collect();
    let core = by_domain
        .get("")
        .or_else(|| by_domain.get("ai.onnx"))
        .copied();
    let ml = by_domain.get("ai.onnx.ml").copied();
    // A graph of nothing but `ai.onnx.ml` operators may leave the core version out.
    let versions = Versions {
        core: core.unwrap_or(CORE_VERSION_MIN),
        ml: ml.unwrap_or(1),
    };
    let check = |domain, version, min, max| {
        if (min..=max).contains(&version) {
            Ok(())
        } else {
            Err(OnnxError::Version {
                domain,
                version,
                min,
                max,
            })
        }
    };
    check(
        "the core operators",
        versions.core,
        CORE_VERSION_MIN,
        CORE_VERSION_MAX,
    )?;
    check("ai.onnx.ml", versions.ml, 1, ML_VERSION_MAX)?;
    Ok(versions)
}

fn input(info: &ValueInfoProto) -> Result<Input, OnnxError> {
    let wrong = |reason: &str| OnnxError::Input {
        name: info.name.clone(),
        reason: reason.to_owned(),
    };
    let Some(type_proto::Value::TensorType(tensor)) =
        info.r#type.as_ref().and_then(|t| t.value.as_ref())
    else {
        return Err(wrong("only tensors are taken"));
    };
    let element = Element::of(tensor.elem_type).ok_or_else(|| {
        wrong(&format!(
            "{} is not taken",
            data_type::name(tensor.elem_type)
        ))
    })?;
    Ok(Input {
        name: info.name.clone(),
        element,
        shape: tensor
            .shape
            .as_ref()
            .map(tensor::dimensions)
            .unwrap_or_default(),
    })
}
