//! A graph made ready: names become places, attributes become kernels, constants are read once.
//!
//! A kernel is a function of tensors; the graph knows only the order, and lets a value go after its last use.

use std::collections::HashMap;
use std::fmt;

use ombud_onnx::{GraphProto, NodeProto};

use super::OnnxError;
use super::attributes::Attributes;
use super::budget::Budget;
use super::operators;
use super::tensor::{Fault, Tensor, Value};

/// Which versions of the operators a file means.
#[derive(Debug, Clone, Copy)]
pub(super) struct Versions {
    pub core: i64,
    pub ml: i64,
}

/// An operator with its settings: values in, values out.
pub(super) type Kernel = Box<dyn Fn(&Call<'_>) -> Result<Vec<Value>, Fault> + Send + Sync>;

/// What a kernel is called with.
pub(super) struct Call<'a> {
    pub inputs: &'a [Option<&'a Value>],
    pub budget: &'a Budget,
}

impl<'a> Call<'a> {
    /// The tensor of an input that must be there.
    pub fn tensor(&self, index: usize) -> Result<&'a Tensor, Fault> {
        self.optional(index)?
            .ok_or_else(|| Fault::new(format!("its input {index} is missing")))
    }

    /// The tensor of an input that may be left out.
    pub fn optional(&self, index: usize) -> Result<Option<&'a Tensor>, Fault> {
        match self.inputs.get(index).copied().flatten() {
            None => Ok(None),
            Some(Value::Tensor(tensor)) => Ok(Some(tensor)),
            Some(Value::Maps(_)) => Err(Fault::new("it is given maps where it takes a tensor")),
        }
    }
}

/// One output that is a tensor.
pub(super) fn one(tensor: Tensor) -> Result<Vec<Value>, Fault> {
    Ok(vec![Value::Tensor(tensor)])
}

/// Steps over numbered places.
#[derive(Debug)]
pub(super) struct Graph {
    places: usize,
    constants: Vec<(usize, Value)>,
    steps: Vec<Step>,
    inputs: Vec<usize>,
    outputs: Vec<usize>,
    /// Names that a graph within another takes from around it, and where they go.
    captured: Vec<(String, usize)>,
}

struct Step {
    node: String,
    operator: String,
    kernel: Kernel,
    inputs: Vec<Option<usize>>,
    outputs: Vec<Option<usize>>,
    /// Places nobody reads afterwards.
    spent: Vec<usize>,
}

/// Names on their way to places.
#[derive(Default)]
struct Names {
    place_by_name: HashMap<String, usize>,
    places: usize,
}

impl Graph {
    /// Checks a graph that stands on its own.
    pub fn compile(proto: &GraphProto, versions: Versions) -> Result<Graph, OnnxError> {
        let graph = Graph::compile_within(proto, versions)?;
        match graph.captured.first() {
            None => Ok(graph),
            Some((name, _)) => Err(broken(format!("{name:?} is used before it is made"))),
        }
    }

    /// Checks a graph that may use names from around it.
    pub fn compile_within(proto: &GraphProto, versions: Versions) -> Result<Graph, OnnxError> {
        if !proto.sparse_initializer.is_empty() {
            return Err(broken("sparse constants are not read".to_owned()));
        }
        let mut names = Names::default();
        let mut constants = Vec::with_capacity(proto.initializer.len());
        for tensor in &proto.initializer {
            let value = Tensor::read(tensor)
                .map_err(|fault| broken(format!("the constant {:?}: {}", tensor.name, fault.0)))?;
            constants.push((names.make(&tensor.name)?, Value::Tensor(value)));
        }
        let mut inputs = Vec::with_capacity(proto.input.len());
        for input in &proto.input {
            // A constant may be listed among the inputs: then it is its default, and here its value.
            if !names.place_by_name.contains_key(&input.name) {
                inputs.push(names.make(&input.name)?);
            }
        }
        let mut captured = Vec::new();
        let mut steps = Vec::with_capacity(proto.node.len());
        for node in &proto.node {
            let is_constant = node.op_type == "Constant" && operators::is_core(&node.domain);
            if is_constant {
                let value =
                    operators::constant(Attributes(node)).map_err(|fault| unusable(node, fault))?;
                let name = node.output.first().map_or("", String::as_str);
                constants.push((names.make(name)?, Value::Tensor(value)));
            } else {
                steps.push(step(node, versions, &mut names, &mut captured)?);
            }
        }
        let outputs = proto
            .output
            .iter()
            .map(|output| names.find_or_capture(&output.name, &mut captured))
            .collect();
        let mut graph = Graph {
            places: names.places,
            constants,
            steps,
            inputs,
            outputs,
            captured,
        };
        graph.mark_spent();
        Ok(graph)
    }

    pub fn inputs(&self) -> usize {
        self.inputs.len()
    }

    pub fn outputs(&self) -> usize {
        self.outputs.len()
    }

    /// The names it takes from around it, in the order of [`Graph::run_within`].
    pub fn captured_names(&self) -> impl Iterator<Item = &str> {
        self.captured.iter().map(|(name, _)| name.as_str())
    }

    /// Runs on one value an input.
    pub fn run(&self, inputs: Vec<Value>, budget: &Budget) -> Result<Vec<Value>, OnnxError> {
        self.run_within(inputs, &[], budget)
    }

    /// Runs on one value an input and one a captured name.
    pub fn run_within(
        &self,
        inputs: Vec<Value>,
        captured: &[&Value],
        budget: &Budget,
    ) -> Result<Vec<Value>, OnnxError> {
        let mut values: Vec<Option<Value>> = vec![None; self.places];
        for (place, value) in &self.constants {
            values[*place] = Some(value.clone());
        }
        for (place, value) in self.inputs.iter().zip(inputs) {
            values[*place] = Some(value);
        }
        for ((_, place), value) in self.captured.iter().zip(captured) {
            values[*place] = Some((*value).clone());
        }
        for step in &self.steps {
            step.run(&mut values, budget)?;
        }
        let outputs = self.outputs.iter().map(|&place| values[place].clone());
        outputs
            .collect::<Option<Vec<_>>>()
            .ok_or_else(|| broken("an output is not made".to_owned()))
    }

    /// Finds where each place is read last.
    fn mark_spent(&mut self) {
        let mut is_needed = vec![false; self.places];
        self.outputs
            .iter()
            .for_each(|&place| is_needed[place] = true);
        for step in self.steps.iter_mut().rev() {
            for place in step.inputs.iter().chain(&step.outputs).flatten() {
                if !std::mem::replace(&mut is_needed[*place], true) {
                    step.spent.push(*place);
                }
            }
        }
    }
}

impl Step {
    fn run(&self, values: &mut [Option<Value>], budget: &Budget) -> Result<(), OnnxError> {
        let inputs: Vec<Option<&Value>> = self
            .inputs
            .iter()
            .map(|place| place.and_then(|place| values[place].as_ref()))
            .collect();
        let outputs = budget
            .call(&inputs)
            .and_then(|()| {
                (self.kernel)(&Call {
                    inputs: &inputs,
                    budget,
                })
            })
            .map_err(|fault| OnnxError::Run {
                node: self.node.clone(),
                operator: self.operator.clone(),
                reason: fault.0.into_owned(),
            })?;
        for (place, value) in self.outputs.iter().zip(outputs) {
            if let Some(place) = place {
                values[*place] = Some(value);
            }
        }
        self.spent.iter().for_each(|&place| values[place] = None);
        Ok(())
    }
}

impl fmt::Debug for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} {:?} -> {:?}",
            self.operator, self.inputs, self.outputs
        )
    }
}

impl Names {
    fn make(&mut self, name: &str) -> Result<usize, OnnxError> {
        let place = self.places;
        self.places += 1;
        match self.place_by_name.insert(name.to_owned(), place) {
            None => Ok(place),
            Some(_) => Err(broken(format!("{name:?} is made twice"))),
        }
    }

    /// A name made before, or one to be taken from around the graph.
    fn find_or_capture(&mut self, name: &str, captured: &mut Vec<(String, usize)>) -> usize {
        if let Some(&place) = self.place_by_name.get(name) {
            return place;
        }
        let place = self.places;
        self.places += 1;
        self.place_by_name.insert(name.to_owned(), place);
        captured.push((name.to_owned(), place));
        place
    }
}

fn step(
    node: &NodeProto,
    versions: Versions,
    names: &mut Names,
    captured: &mut Vec<(String, usize)>,
) -> Result<Step, OnnxError> {
    let built = operators::build(node, versions).map_err(|error| match error {
        operators::BuildError::Fault(fault) => unusable(node, fault),
        operators::BuildError::Inner(error) => error,
    })?;
    let taken = node.input.iter().chain(&built.captured);
    let inputs = taken
        .map(|name| (!name.is_empty()).then(|| names.find_or_capture(name, captured)))
        .collect();
    let mut outputs = Vec::with_capacity(node.output.len());
    for name in &node.output {
        outputs.push(if name.is_empty() {
            None
        } else {
            Some(names.make(name)?)
        });
    }
    Ok(Step {
        node: node.name.clone(),
        operator: node.op_type.clone(),
        kernel: built.kernel,
        inputs,
        outputs,
        spent: Vec::new(),
    })
}

fn unusable(node: &NodeProto, fault: Fault) -> OnnxError {
    OnnxError::Node {
        node: node.name.clone(),
        operator: node.op_type.clone(),
        reason: fault.0.into_owned(),
    }
}

fn broken(reason: String) -> OnnxError {
    OnnxError::Graph { reason }
}
