//! A graph in the making: nodes in order, constants, inputs and outputs, with fresh names.
//!
//! Knows the messages and nothing of models. Values are [`Port`]s, so that a name cannot be mistyped.

use ombud_onnx::{
    AttributeProto, Bytes, GraphProto, ModelProto, NodeProto, OperatorSetIdProto,
    StringStringEntryProto, TensorProto, TensorShapeProto, TypeProto, ValueInfoProto,
    attribute_type, data_type, tensor_shape_proto, type_proto,
};

/// The version of the container that goes with the operators below.
const IR_VERSION: i64 = 8;
/// Core operators: from here on all reductions take their dimensions as an input.
const CORE_VERSION: i64 = 18;
/// Classical operators: trees in double precision.
const ML_VERSION: i64 = 3;

/// The domains beside the core.
pub(super) const ML: &str = "ai.onnx.ml";
pub(super) const MICROSOFT: &str = "com.microsoft";

/// A value within the graph.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Port(String);

/// A setting of a node.
pub(super) enum Setting {
    Int(i64),
    Float(f32),
    Text(String),
    Ints(Vec<i64>),
    Floats(Vec<f32>),
    Texts(Vec<Bytes>),
    Tensor(Box<TensorProto>),
    Graph(Box<GraphProto>),
}

/// The graph so far.
#[derive(Debug, Default)]
pub(super) struct Builder {
    graph: GraphProto,
    metadata: Vec<StringStringEntryProto>,
    count: usize,
    core_version: i64,
    ml_version: i64,
    has_microsoft: bool,
}

impl Builder {
    /// An input of rows by `width`.
    pub fn input(&mut self, name: &str, kind: i32, width: usize) -> Port {
        self.graph
            .input
            .push(info(name, kind, &[None, Some(width)]));
        Port(name.to_owned())
    }

    /// Gives a value to the outside under a name.
    pub fn output(&mut self, name: &str, kind: i32, columns: Option<usize>, value: &Port) {
        let shape = match columns {
            Some(columns) => vec![None, Some(columns)],
            None => vec![None],
        };
        self.graph.output.push(info(name, kind, &shape));
        self.push("", "Identity", &[value], vec![name.to_owned()], Vec::new());
    }

    /// A word about the file.
    pub fn note(&mut self, key: &str, value: String) {
        self.metadata.push(StringStringEntryProto {
            key: key.to_owned(),
            value,
        });
    }

    /// Asks for at least this version of the core operators.
    pub fn needs_core(&mut self, version: i64) {
        self.core_version = self.core_version.max(version);
    }

    /// Asks for at least this version of the classical operators.
    pub fn needs_ml(&mut self, version: i64) {
        self.ml_version = self.ml_version.max(version);
    }

    /// A core operator with one output.
    pub fn op(&mut self, operator: &str, inputs: &[&Port]) -> Port {
        self.node("", operator, inputs, Vec::new())
    }

    /// A core operator with settings.
    pub fn op_with(
        &mut self,
        operator: &str,
        inputs: &[&Port],
        settings: Vec<(&str, Setting)>,
    ) -> Port {
        self.node("", operator, inputs, settings)
    }

    /// An operator of any domain with one output.
    pub fn node(
        &mut self,
        domain: &str,
        operator: &str,
        inputs: &[&Port],
        settings: Vec<(&str, Setting)>,
    ) -> Port {
        let mut outputs = self.nodes(domain, operator, inputs, 1, settings);
        outputs.swap_remove(0)
    }

    /// An operator with several outputs.
    pub fn nodes(
        &mut self,
        domain: &str,
        operator: &str,
        inputs: &[&Port],
        outputs: usize,
        settings: Vec<(&str, Setting)>,
    ) -> Vec<Port> {
        let names: Vec<String> = (0..outputs).map(|_| self.fresh(operator)).collect();
        self.push(domain, operator, inputs, names.clone(), settings);
        names.into_iter().map(Port).collect()
    }

    pub fn cast(&mut self, value: &Port, kind: i32) -> Port {
        self.op_with(
            "Cast",
            &[value],
            vec![("to", Setting::Int(i64::from(kind)))],
        )
    }

    /// The value in another shape; −1 takes what is left.
    pub fn reshape(&mut self, value: &Port, shape: &[i64]) -> Port {
        let shape = self.ints(shape);
        self.op("Reshape", &[value, &shape])
    }

    pub fn concat(&mut self, parts: &[Port]) -> Port {
        match parts {
            [only] => only.clone(),
            parts => {
                let parts: Vec<&Port> = parts.iter().collect();
                self.op_with("Concat", &parts, vec![("axis", Setting::Int(1))])
            }
        }
    }

    /// A reduction over the columns that keeps them as one.
    pub fn reduce(&mut self, operator: &str, value: &Port) -> Port {
        let columns = self.ints(&[1]);
        self.op_with(
            operator,
            &[value, &columns],
            vec![("keepdims", Setting::Int(1))],
        )
    }

    /// The place of the greatest column of each row.
    pub fn arg_max(&mut self, value: &Port) -> Port {
        self.op_with(
            "ArgMax",
            &[value],
            vec![("axis", Setting::Int(1)), ("keepdims", Setting::Int(0))],
        )
    }

    /// The rows of a table of texts put one behind another, behind the texts of `start`.
    pub fn joined(&mut self, start: &Port, rows: &Port) -> Port {
        let settings = vec![
            ("num_scan_inputs", Setting::Int(1)),
            ("body", Setting::Graph(Box::new(joining()))),
        ];
        self.op_with("Scan", &[start, rows], settings)
    }

    /// One double, for all elements.
    pub fn number(&mut self, x: f64) -> Port {
        self.doubles(&[], &[x])
    }

    pub fn doubles(&mut self, shape: &[usize], values: &[f64]) -> Port {
        let raw = values.iter().flat_map(|x| x.to_le_bytes()).collect();
        self.constant(doubles_tensor(shape, raw))
    }

    /// The same doubles in half the bytes, where single precision holds them all.
    pub fn exact(&mut self, shape: &[usize], values: &[f64]) -> Port {
        if values.iter().any(|&x| f64::from(x as f32) != x) {
            return self.doubles(shape, values);
        }
        let raw = values.iter().flat_map(|&x| (x as f32).to_le_bytes());
        let single = self.constant(tensor(data_type::FLOAT, shape, raw.collect()));
        self.cast(&single, data_type::DOUBLE)
    }

    pub fn ints(&mut self, values: &[i64]) -> Port {
        let raw: Vec<u8> = values.iter().flat_map(|x| x.to_le_bytes()).collect();
        self.constant(tensor(data_type::INT64, &[values.len()], raw))
    }

    pub fn int(&mut self, value: i64) -> Port {
        self.constant(tensor(data_type::INT64, &[], value.to_le_bytes().to_vec()))
    }

    pub fn flags(&mut self, shape: &[usize], values: &[bool]) -> Port {
        self.constant(tensor(
            data_type::BOOL,
            shape,
            values.iter().map(|&x| u8::from(x)).collect(),
        ))
    }

    pub fn texts<T: AsRef<str>>(&mut self, shape: &[usize], values: &[T]) -> Port {
        let string_data = texts(values);
        self.constant(TensorProto {
            string_data,
            ..tensor(data_type::STRING, shape, Vec::new())
        })
    }

    /// The file.
    pub fn model(mut self, name: &str) -> ModelProto {
        self.graph.name = name.to_owned();
        let opset = |domain: &str, version| OperatorSetIdProto {
            domain: domain.to_owned(),
            version,
        };
        let core = self.core_version.max(CORE_VERSION);
        let mut opset_import = vec![opset("", core), opset(ML, self.ml_version.max(ML_VERSION))];
        if self.has_microsoft {
            opset_import.push(opset(MICROSOFT, 1));
        }
        ModelProto {
            // Version 20 of the core came with the ninth container.
            ir_version: if core > 18 {
                IR_VERSION + 1
            } else {
                IR_VERSION
            },
            producer_name: "ombud".to_owned(),
            producer_version: env!("CARGO_PKG_VERSION").to_owned(),
            graph: Some(self.graph),
            opset_import,
            metadata_props: self.metadata,
            ..ModelProto::default()
        }
    }

    fn constant(&mut self, tensor: TensorProto) -> Port {
        let name = self.fresh("constant");
        self.graph.initializer.push(TensorProto {
            name: name.clone(),
            ..tensor
        });
        Port(name)
    }

    fn fresh(&mut self, stem: &str) -> String {
        self.count += 1;
        // No feature is named so: an input keeps its feature's name.
        format!("/{stem}/{}", self.count)
    }

    fn push(
        &mut self,
        domain: &str,
        operator: &str,
        inputs: &[&Port],
        output: Vec<String>,
        settings: Vec<(&str, Setting)>,
    ) {
        self.has_microsoft |= domain == MICROSOFT;
        self.count += 1;
        self.graph.node.push(NodeProto {
            input: inputs.iter().map(|port| port.0.clone()).collect(),
            output,
            name: format!("{operator}_{}", self.count),
            op_type: operator.to_owned(),
            attribute: settings
                .into_iter()
                .map(|(name, setting)| setting.attribute(name))
                .collect(),
            doc_string: String::new(),
            domain: domain.to_owned(),
        });
    }
}

impl Setting {
    fn attribute(self, name: &str) -> AttributeProto {
        let mut attribute = AttributeProto {
            name: name.to_owned(),
            ..AttributeProto::default()
        };
        attribute.r#type = match self {
            Setting::Int(i) => {
                attribute.i = i;
                attribute_type::INT
            }
            Setting::Float(f) => {
                attribute.f = f;
                attribute_type::FLOAT
            }
            Setting::Text(text) => {
                attribute.s = text.into();
                attribute_type::STRING
            }
            Setting::Ints(ints) => {
                attribute.ints = ints;
                attribute_type::INTS
            }
            Setting::Floats(floats) => {
                attribute.floats = floats;
                attribute_type::FLOATS
            }
            Setting::Texts(texts) => {
                attribute.strings = texts;
                attribute_type::STRINGS
            }
            Setting::Tensor(tensor) => {
                attribute.t = Some(*tensor);
                attribute_type::TENSOR
            }
            Setting::Graph(graph) => {
                attribute.g = Some(*graph);
                attribute_type::GRAPH
            }
        };
        attribute
    }
}

/// Texts as attributes and tensors hold them.
pub(super) fn texts<T: AsRef<str>>(values: &[T]) -> Vec<Bytes> {
    values
        .iter()
        .map(|text| Bytes::copy_from_slice(text.as_ref().as_bytes()))
        .collect()
}

/// A tensor from little-endian bytes.
pub(super) fn tensor(kind: i32, shape: &[usize], raw: Vec<u8>) -> TensorProto {
    TensorProto {
        dims: shape.iter().map(|&size| size as i64).collect(),
        data_type: kind,
        raw_data: raw.into(),
        ..TensorProto::default()
    }
}

fn doubles_tensor(shape: &[usize], raw: Vec<u8>) -> TensorProto {
    tensor(data_type::DOUBLE, shape, raw)
}

/// One step of [`Builder::joined`].
fn joining() -> GraphProto {
    let node = |operator: &str, input: &[&str], output: &str| NodeProto {
        input: input.iter().map(ToString::to_string).collect(),
        output: vec![output.to_owned()],
        name: format!("joining_{operator}"),
        op_type: operator.to_owned(),
        ..NodeProto::default()
    };
    let row = |name: &str| info(name, data_type::STRING, &[None]);
    let always = TensorProto {
        name: "/always".to_owned(),
        ..tensor(data_type::BOOL, &[1], vec![1])
    };
    GraphProto {
        name: "joining".to_owned(),
        // onnxruntime 1.31 joins onto what the last step left in the buffer of a state; choosing writes it anew.
        node: vec![
            node("StringConcat", &["/so_far", "/row"], "/together"),
            node("Where", &["/always", "/together", "/so_far"], "/joined"),
        ],
        initializer: vec![always],
        input: vec![row("/so_far"), row("/row")],
        output: vec![row("/joined")],
        ..GraphProto::default()
    }
}

fn info(name: &str, kind: i32, shape: &[Option<usize>]) -> ValueInfoProto {
    use tensor_shape_proto::{Dimension, dimension::Value};
    let value = |size: &Option<usize>| match size {
        Some(size) => Value::DimValue(*size as i64),
        None => Value::DimParam("rows".to_owned()),
    };
    let dimension = |size| Dimension {
        value: Some(value(size)),
        ..Dimension::default()
    };
    let shape = TensorShapeProto {
        dim: shape.iter().map(dimension).collect(),
    };
    let tensor = type_proto::Tensor {
        elem_type: kind,
        shape: Some(shape),
    };
    ValueInfoProto {
        name: name.to_owned(),
        r#type: Some(TypeProto {
            value: Some(type_proto::Value::TensorType(tensor)),
            ..TypeProto::default()
        }),
        ..ValueInfoProto::default()
    }
}
