//! What flows along the edges of a graph: tensors, and the maps that classifiers end in.
//!
//! Data is shared, so that handing a tensor on (or giving it another shape) copies no numbers.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use ombud_onnx::{TensorProto, TensorShapeProto, data_type, tensor_shape_proto::dimension};

/// Most dimensions; converters use up to four.
pub(super) const RANK_MAX: usize = 8;
/// Most elements of one tensor.
const VOLUME_MAX: usize = 1 << 27;
/// The same for one without elements, counting its sizes of zero as one.
const EMPTY_VOLUME_MAX: usize = 1 << 20;

/// What a graph takes and gives.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    Tensor(Tensor),
    /// A score per label for every row.
    Maps(Maps),
}

/// What `ZipMap` gives: the same keys for every row.
#[derive(Debug, Clone, PartialEq)]
pub struct Maps {
    /// The labels, texts or 64-bit integers.
    pub keys: Tensor,
    /// Rows by labels.
    pub scores: Tensor,
}

/// Elements with a shape, the last dimension running fastest.
#[derive(Debug, Clone, PartialEq)]
pub struct Tensor {
    shape: Vec<usize>,
    data: Data,
}

/// The elements of a tensor.
#[derive(Debug, Clone, PartialEq)]
pub enum Data {
    Float(Arc<Vec<f32>>),
    Double(Arc<Vec<f64>>),
    Int32(Arc<Vec<i32>>),
    Int64(Arc<Vec<i64>>),
    Bool(Arc<Vec<bool>>),
    Text(Arc<Vec<Arc<str>>>),
}

/// What a tensor is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Element {
    Float,
    Double,
    Int32,
    Int64,
    Bool,
    Text,
}

/// Elements and a shape that do not belong together.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a tensor of shape {shape:?} cannot hold {found} elements")]
pub struct TensorError {
    pub shape: Vec<usize>,
    pub found: usize,
}

/// Why an operator cannot be used or run; the node's name is added above.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Fault(pub Cow<'static, str>);

impl Fault {
    pub fn new(reason: impl Into<Cow<'static, str>>) -> Self {
        Fault(reason.into())
    }
}

/// Types that tensors are made of.
pub(super) trait Scalar: Clone + Default + Send + Sync + 'static {
    const ELEMENT: Element;
    fn wrap(values: Vec<Self>) -> Data;
    fn view(data: &Data) -> Option<&[Self]>;
}

macro_rules! scalar {
    ($type:ty, $variant:ident) => {
        impl Scalar for $type {
            const ELEMENT: Element = Element::$variant;
            fn wrap(values: Vec<Self>) -> Data {
                Data::$variant(Arc::new(values))
            }
            fn view(data: &Data) -> Option<&[Self]> {
                match data {
                    Data::$variant(values) => Some(values),
                    _ => None,
                }
            }
        }
    };
}

scalar!(f32, Float);
scalar!(f64, Double);
scalar!(i32, Int32);
scalar!(i64, Int64);
scalar!(bool, Bool);
scalar!(Arc<str>, Text);

/// Calls the same code for every type of element.
macro_rules! each_element {
    ($data:expr, $values:ident => $body:expr) => {
        match $data {
            $crate::onnx::tensor::Data::Float($values) => $body,
            $crate::onnx::tensor::Data::Double($values) => $body,
            $crate::onnx::tensor::Data::Int32($values) => $body,
            $crate::onnx::tensor::Data::Int64($values) => $body,
            $crate::onnx::tensor::Data::Bool($values) => $body,
            $crate::onnx::tensor::Data::Text($values) => $body,
        }
    };
}
pub(super) use each_element;

/// Calls the same code for every type of number.
macro_rules! each_number {
    ($data:expr, $values:ident => $body:expr) => {
        match $data {
            $crate::onnx::tensor::Data::Float($values) => $body,
            $crate::onnx::tensor::Data::Double($values) => $body,
            $crate::onnx::tensor::Data::Int32($values) => $body,
            $crate::onnx::tensor::Data::Int64($values) => $body,
            $crate::onnx::tensor::Data::Bool(_) | $crate::onnx::tensor::Data::Text(_) => {
                Err($crate::onnx::tensor::Fault::new("it takes numbers only"))
            }
        }
    };
}
pub(super) use each_number;

impl Value {
    /// The tensor, when it is one.
    pub fn tensor(&self) -> Option<&Tensor> {
        match self {
            Value::Tensor(tensor) => Some(tensor),
            Value::Maps(_) => None,
        }
    }
}

impl Tensor {
    /// Single-precision numbers.
    ///
    /// # Errors
    /// When the shape does not hold that many.
    pub fn float(shape: Vec<usize>, values: Vec<f32>) -> Result<Tensor, TensorError> {
        Tensor::new(shape, f32::wrap(values))
    }

    /// Double-precision numbers.
    ///
    /// # Errors
    /// When the shape does not hold that many.
    pub fn double(shape: Vec<usize>, values: Vec<f64>) -> Result<Tensor, TensorError> {
        Tensor::new(shape, f64::wrap(values))
    }

    /// Integers.
    ///
    /// # Errors
    /// When the shape does not hold that many.
    pub fn int64(shape: Vec<usize>, values: Vec<i64>) -> Result<Tensor, TensorError> {
        Tensor::new(shape, i64::wrap(values))
    }

    /// Texts.
    ///
    /// # Errors
    /// When the shape does not hold that many.
    pub fn text(shape: Vec<usize>, values: Vec<Arc<str>>) -> Result<Tensor, TensorError> {
        Tensor::new(shape, Arc::<str>::wrap(values))
    }

    /// Any elements.
    ///
    /// # Errors
    /// When the shape does not hold that many.
    pub fn new(shape: Vec<usize>, data: Data) -> Result<Tensor, TensorError> {
        let is_bounded = shape.len() <= RANK_MAX && volume(&shape).is_ok();
        if is_bounded && count(&shape) == Some(data.len()) {
            return Ok(Tensor { shape, data });
        }
        let found = data.len();
        Err(TensorError { shape, found })
    }

    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    pub fn data(&self) -> &Data {
        &self.data
    }

    pub fn element(&self) -> Element {
        self.data.element()
    }

    /// How many elements there are.
    pub fn len(&self) -> usize {
        self.data.len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// A tensor whose shape is right by construction.
    pub(super) fn of<T: Scalar>(shape: Vec<usize>, values: Vec<T>) -> Tensor {
        assert_eq!(
            count(&shape),
            Some(values.len()),
            "an operator counted wrong"
        );
        Tensor {
            shape,
            data: T::wrap(values),
        }
    }

    /// The same elements in another shape.
    pub(super) fn reshaped(&self, shape: Vec<usize>) -> Result<Tensor, Fault> {
        Tensor::new(shape, self.data.clone()).map_err(|error| Fault::new(error.to_string()))
    }

    /// The elements, when they are of this type.
    pub(super) fn values<T: Scalar>(&self) -> Result<&[T], Fault> {
        T::view(&self.data).ok_or_else(|| {
            Fault::new(format!(
                "it is given {} where it takes {}",
                self.element(),
                T::ELEMENT
            ))
        })
    }

    /// Rows and columns of a table; a single dimension is one row.
    pub(super) fn rows_and_columns(&self) -> Result<(usize, usize), Fault> {
        match self.shape[..] {
            [columns] => Ok((1, columns)),
            [rows, columns] => Ok((rows, columns)),
            _ => Err(Fault::new("it takes a table of rows and columns")),
        }
    }

    /// All numbers as single precision, borrowed where they are.
    pub(super) fn as_f32(&self) -> Result<Cow<'_, [f32]>, Fault> {
        Ok(match &self.data {
            Data::Float(values) => Cow::Borrowed(values),
            Data::Double(values) => values.iter().map(|&x| x as f32).collect(),
            Data::Int32(values) => values.iter().map(|&x| x as f32).collect(),
            Data::Int64(values) => values.iter().map(|&x| x as f32).collect(),
            Data::Bool(_) | Data::Text(_) => return Err(Fault::new("it takes numbers only")),
        })
    }

    /// All numbers as double precision, borrowed where they are.
    pub(super) fn as_f64(&self) -> Result<Cow<'_, [f64]>, Fault> {
        Ok(match &self.data {
            Data::Float(values) => values.iter().map(|&x| f64::from(x)).collect(),
            Data::Double(values) => Cow::Borrowed(values),
            Data::Int32(values) => values.iter().map(|&x| f64::from(x)).collect(),
            Data::Int64(values) => values.iter().map(|&x| x as f64).collect(),
            Data::Bool(_) | Data::Text(_) => return Err(Fault::new("it takes numbers only")),
        })
    }

    /// All integers.
    pub(super) fn as_i64(&self) -> Result<Cow<'_, [i64]>, Fault> {
        match &self.data {
            Data::Int64(values) => Ok(Cow::Borrowed(values)),
            Data::Int32(values) => Ok(values.iter().map(|&x| i64::from(x)).collect()),
            _ => Err(Fault::new("it takes integers here")),
        }
    }

    /// Reads a stored tensor.
    pub(super) fn read(proto: &TensorProto) -> Result<Tensor, Fault> {
        if proto.data_location != 0 || !proto.external_data.is_empty() {
            return Err(Fault::new("its data lies in another file"));
        }
        let shape = proto
            .dims
            .iter()
            .map(|&dimension| usize::try_from(dimension))
            .collect::<Result<Vec<_>, _>>()
            .map_err(|_| Fault::new("a dimension is negative"))?;
        Tensor::new(shape, read_data(proto)?).map_err(|error| Fault::new(error.to_string()))
    }
}

impl Data {
    pub fn element(&self) -> Element {
        match self {
            Data::Float(_) => Element::Float,
            Data::Double(_) => Element::Double,
            Data::Int32(_) => Element::Int32,
            Data::Int64(_) => Element::Int64,
            Data::Bool(_) => Element::Bool,
            Data::Text(_) => Element::Text,
        }
    }

    fn len(&self) -> usize {
        each_element!(self, values => values.len())
    }
}

impl Element {
    /// The element that a stored number names.
    pub(super) fn of(kind: i32) -> Option<Element> {
        Some(match kind {
            data_type::FLOAT => Element::Float,
            data_type::DOUBLE => Element::Double,
            data_type::INT32 => Element::Int32,
            data_type::INT64 => Element::Int64,
            data_type::BOOL => Element::Bool,
            data_type::STRING => Element::Text,
            _ => return None,
        })
    }
}

impl fmt::Display for Element {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Element::Float => "float",
            Element::Double => "double",
            Element::Int32 => "int32",
            Element::Int64 => "int64",
            Element::Bool => "bool",
            Element::Text => "string",
        })
    }
}

/// How many elements a shape holds, refusing shapes whose other sizes are absurd beside a zero.
pub(super) fn volume(shape: &[usize]) -> Result<usize, Fault> {
    let bound = shape
        .iter()
        .try_fold(1_usize, |product, &size| product.checked_mul(size.max(1)));
    let limit = if shape.contains(&0) {
        EMPTY_VOLUME_MAX
    } else {
        VOLUME_MAX
    };
    if bound.is_none_or(|bound| bound > limit) {
        return Err(Fault::new(
            "a tensor is larger than the 2^27 elements allowed",
        ));
    }
    Ok(shape.iter().product())
}

/// How many elements a shape holds; `None` beyond what can be counted.
pub(super) fn count(shape: &[usize]) -> Option<usize> {
    shape
        .iter()
        .try_fold(1_usize, |product, &size| product.checked_mul(size))
}

/// The sizes a file declares.
pub(super) fn dimensions(shape: &TensorShapeProto) -> Vec<Option<usize>> {
    let size = |value: &Option<dimension::Value>| match value {
        Some(dimension::Value::DimValue(size)) => {
            usize::try_from(*size).ok().filter(|&size| size > 0)
        }
        _ => None,
    };
    shape
        .dim
        .iter()
        .map(|dimension| size(&dimension.value))
        .collect()
}

fn read_data(proto: &TensorProto) -> Result<Data, Fault> {
    let raw = &proto.raw_data[..];
    let is_raw = !raw.is_empty();
    Ok(match proto.data_type {
        data_type::FLOAT if is_raw => f32::wrap(read_raw(raw, f32::from_le_bytes)?),
        data_type::FLOAT => f32::wrap(proto.float_data.clone()),
        data_type::DOUBLE if is_raw => f64::wrap(read_raw(raw, f64::from_le_bytes)?),
        data_type::DOUBLE => f64::wrap(proto.double_data.clone()),
        data_type::INT32 if is_raw => i32::wrap(read_raw(raw, i32::from_le_bytes)?),
        data_type::INT64 if is_raw => i64::wrap(read_raw(raw, i64::from_le_bytes)?),
        data_type::INT64 => i64::wrap(proto.int64_data.clone()),
        data_type::BOOL if is_raw => bool::wrap(raw.iter().map(|&byte| byte != 0).collect()),
        data_type::BOOL => bool::wrap(proto.int32_data.iter().map(|&number| number != 0).collect()),
        // Small integers only come as settings of operators, which widen them anyway.
        data_type::UINT8 if is_raw => i32::wrap(raw.iter().map(|&byte| i32::from(byte)).collect()),
        data_type::INT32 | data_type::UINT8 => i32::wrap(proto.int32_data.clone()),
        data_type::STRING => {
            let texts = proto.string_data.iter().map(|bytes| read_text(bytes));
            Arc::<str>::wrap(texts.collect::<Result<_, _>>()?)
        }
        other => {
            let name = data_type::name(other);
            return Err(Fault::new(format!("tensors of {name} are not read")));
        }
    })
}

fn read_raw<T, const N: usize>(raw: &[u8], from: impl Fn([u8; N]) -> T) -> Result<Vec<T>, Fault> {
    let (chunks, rest) = raw.as_chunks::<N>();
    if !rest.is_empty() {
        return Err(Fault::new("a tensor's raw data ends amid a number"));
    }
    Ok(chunks.iter().map(|&chunk| from(chunk)).collect())
}

/// A text of a file.
pub(super) fn read_text(bytes: &[u8]) -> Result<Arc<str>, Fault> {
    std::str::from_utf8(bytes)
        .map(Arc::from)
        .map_err(|_| Fault::new("a text is not UTF-8"))
}
