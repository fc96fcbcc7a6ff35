//! The settings of a node, read by name and type.

use std::sync::Arc;

use ombud_onnx::{AttributeProto, GraphProto, NodeProto, attribute_type};

use super::tensor::{Fault, Scalar, Tensor, read_text};

/// The attributes of one node.
#[derive(Clone, Copy)]
pub(super) struct Attributes<'a>(pub &'a NodeProto);

impl<'a> Attributes<'a> {
    fn find(self, name: &str) -> Option<&'a AttributeProto> {
        self.0
            .attribute
            .iter()
            .find(|attribute| attribute.name == name)
    }

    /// The attribute when it is there and of the kind; old files leave the kind out.
    fn typed(self, name: &str, kind: i32) -> Result<Option<&'a AttributeProto>, Fault> {
        match self.find(name) {
            Some(attribute) if !attribute.ref_attr_name.is_empty() => Err(Fault::new(format!(
                "{name} refers to a function's attribute"
            ))),
            Some(attribute) if attribute.r#type != kind && attribute.r#type != 0 => Err(
                Fault::new(format!("{name} is of another type than it should be")),
            ),
            attribute => Ok(attribute),
        }
    }

    pub fn has(self, name: &str) -> bool {
        self.find(name).is_some()
    }

    pub fn int(self, name: &str) -> Result<Option<i64>, Fault> {
        Ok(self
            .typed(name, attribute_type::INT)?
            .map(|attribute| attribute.i))
    }

    pub fn int_or(self, name: &str, default: i64) -> Result<i64, Fault> {
        Ok(self.int(name)?.unwrap_or(default))
    }

    pub fn flag(self, name: &str, default: bool) -> Result<bool, Fault> {
        Ok(self.int_or(name, i64::from(default))? != 0)
    }

    pub fn float(self, name: &str) -> Result<Option<f32>, Fault> {
        Ok(self
            .typed(name, attribute_type::FLOAT)?
            .map(|attribute| attribute.f))
    }

    pub fn float_or(self, name: &str, default: f32) -> Result<f32, Fault> {
        Ok(self.float(name)?.unwrap_or(default))
    }

    pub fn text(self, name: &str) -> Result<Option<Arc<str>>, Fault> {
        self.typed(name, attribute_type::STRING)?
            .map(|attribute| read_text(&attribute.s))
            .transpose()
    }

    pub fn text_or(self, name: &str, default: &str) -> Result<Arc<str>, Fault> {
        Ok(self.text(name)?.unwrap_or_else(|| default.into()))
    }

    pub fn ints(self, name: &str) -> Result<&'a [i64], Fault> {
        Ok(self
            .typed(name, attribute_type::INTS)?
            .map_or(&[], |attribute| &attribute.ints))
    }

    /// Integers, or `None` when the attribute is absent.
    pub fn ints_if_any(self, name: &str) -> Result<Option<&'a [i64]>, Fault> {
        if self.has(name) {
            self.ints(name).map(Some)
        } else {
            Ok(None)
        }
    }

    pub fn floats(self, name: &str) -> Result<&'a [f32], Fault> {
        Ok(self
            .typed(name, attribute_type::FLOATS)?
            .map_or(&[], |attribute| &attribute.floats))
    }

    /// Weights: floats of which none is beyond all bounds, because then no row had an answer.
    pub fn weights(self, name: &str) -> Result<&'a [f32], Fault> {
        let weights = self.floats(name)?;
        if weights.iter().all(|weight| weight.is_finite()) {
            return Ok(weights);
        }
        Err(Fault::new(format!("{name} holds what is no finite number")))
    }

    pub fn texts(self, name: &str) -> Result<Vec<Arc<str>>, Fault> {
        let attribute = self.typed(name, attribute_type::STRINGS)?;
        attribute
            .iter()
            .flat_map(|attribute| &attribute.strings)
            .map(|bytes| read_text(bytes))
            .collect()
    }

    /// The raw strings of an attribute, one by one, without copying them.
    pub fn raw_texts(self, name: &str) -> Result<impl ExactSizeIterator<Item = &'a [u8]>, Fault> {
        let attribute = self.typed(name, attribute_type::STRINGS)?;
        let strings: &[_] = attribute.map_or(&[], |attribute| &attribute.strings);
        Ok(strings.iter().map(|bytes| &bytes[..]))
    }

    pub fn tensor(self, name: &str) -> Result<Option<Tensor>, Fault> {
        let attribute = self.typed(name, attribute_type::TENSOR)?;
        attribute
            .and_then(|attribute| attribute.t.as_ref())
            .map(Tensor::read)
            .transpose()
    }

    pub fn graph(self, name: &str) -> Result<Option<&'a GraphProto>, Fault> {
        Ok(self
            .typed(name, attribute_type::GRAPH)?
            .and_then(|attribute| attribute.g.as_ref()))
    }

    /// Labels of classes under their two names, texts first, as a tensor of one dimension.
    pub fn labels(self, texts: &str, ints: &str) -> Result<Tensor, Fault> {
        let texts = self.texts(texts)?;
        if !texts.is_empty() {
            return Ok(vector(texts));
        }
        let ints = self.ints(ints)?;
        if ints.is_empty() {
            return Err(Fault::new("it names no classes"));
        }
        Ok(vector(ints.to_vec()))
    }
}

/// A tensor of one dimension.
pub(super) fn vector<T: Scalar>(values: Vec<T>) -> Tensor {
    Tensor::of(vec![values.len()], values)
}
