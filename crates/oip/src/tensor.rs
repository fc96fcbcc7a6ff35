//! A tensor: a name, a datatype, a shape, and its elements in row-major order.

use crate::error::{Error, Result};
use bytes::Bytes;
use serde_json::Value;
use std::collections::BTreeMap;

/// Parameters of a request, a tensor or an answer, by name.
pub type Parameters = BTreeMap<String, Value>;

/// What an element is on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Datatype {
    Bool,
    Uint8,
    Uint16,
    Uint32,
    Uint64,
    Int8,
    Int16,
    Int32,
    Int64,
    Fp16,
    Bf16,
    Fp32,
    Fp64,
    Bytes,
}

/// The elements of a tensor.
#[derive(Debug, Clone, PartialEq)]
pub enum Data {
    Bools(Vec<bool>),
    Ints(Vec<i64>),
    Uints(Vec<u64>),
    /// NaN where one is missing.
    Singles(Vec<f32>),
    /// NaN where one is missing.
    Doubles(Vec<f64>),
    /// Texts, or bytes; `None` where one is missing.
    Texts(Vec<Option<Bytes>>),
}

/// A tensor.
#[derive(Debug, Clone, PartialEq)]
pub struct Tensor {
    pub name: String,
    pub datatype: Datatype,
    pub shape: Vec<u64>,
    pub parameters: Parameters,
    pub data: Data,
}

use Datatype::{
    Bf16, Bool, Fp16, Fp32, Fp64, Int8, Int16, Int32, Int64, Uint8, Uint16, Uint32, Uint64,
};

impl Datatype {
    /// Every one, with its name here, its name and number in a model's configuration, and the bytes of an element.
    const TABLE: [(Datatype, &'static str, &'static str, i32, Option<usize>); 14] = [
        (Bool, "BOOL", "TYPE_BOOL", 1, Some(1)),
        (Uint8, "UINT8", "TYPE_UINT8", 2, Some(1)),
        (Uint16, "UINT16", "TYPE_UINT16", 3, Some(2)),
        (Uint32, "UINT32", "TYPE_UINT32", 4, Some(4)),
        (Uint64, "UINT64", "TYPE_UINT64", 5, Some(8)),
        (Int8, "INT8", "TYPE_INT8", 6, Some(1)),
        (Int16, "INT16", "TYPE_INT16", 7, Some(2)),
        (Int32, "INT32", "TYPE_INT32", 8, Some(4)),
        (Int64, "INT64", "TYPE_INT64", 9, Some(8)),
        (Fp16, "FP16", "TYPE_FP16", 10, Some(2)),
        (Bf16, "BF16", "TYPE_BF16", 14, Some(2)),
        (Fp32, "FP32", "TYPE_FP32", 11, Some(4)),
        (Fp64, "FP64", "TYPE_FP64", 12, Some(8)),
        (Datatype::Bytes, "BYTES", "TYPE_STRING", 13, None),
    ];

    /// Every one.
    pub fn all() -> impl Iterator<Item = Datatype> {
        Self::TABLE.into_iter().map(|line| line.0)
    }

    /// The one of a name.
    pub fn parse(name: &str) -> Result<Self> {
        let found = Self::TABLE.into_iter().find(|line| line.1 == name);
        found
            .map(|line| line.0)
            .ok_or_else(|| Error::Datatype(name.chars().take(40).collect()))
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        self.line().1
    }

    /// Its name in a model's configuration.
    pub fn config_name(self) -> &'static str {
        self.line().2
    }

    /// Its number in a model's configuration.
    pub fn config_number(self) -> i32 {
        self.line().3
    }

    /// The bytes of an element; none when each has its own length.
    pub fn size(self) -> Option<usize> {
        self.line().4
    }

    fn line(self) -> (Datatype, &'static str, &'static str, i32, Option<usize>) {
        let found = Self::TABLE.into_iter().find(|line| line.0 == self);
        found.unwrap_or(Self::TABLE[0])
    }
}

impl Data {
    /// How many elements.
    pub fn len(&self) -> usize {
        match self {
            Data::Bools(values) => values.len(),
            Data::Ints(values) => values.len(),
            Data::Uints(values) => values.len(),
            Data::Singles(values) => values.len(),
            Data::Doubles(values) => values.len(),
            Data::Texts(values) => values.len(),
        }
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Tensor {
    /// How many elements a shape has.
    pub fn elements(name: &str, shape: &[u64]) -> Result<u64> {
        let product = shape
            .iter()
            .try_fold(1_u64, |product, size| product.checked_mul(*size));
        product.ok_or_else(|| Error::Shape {
            tensor: name.to_owned(),
        })
    }

    /// That there are as many elements as the shape says.
    pub fn check(self) -> Result<Self> {
        let expected = Tensor::elements(&self.name, &self.shape)?;
        let came = self.data.len() as u64;
        if expected == came {
            return Ok(self);
        }
        Err(Error::Elements {
            tensor: self.name,
            shape: self.shape,
            expected,
            came,
        })
    }
}
