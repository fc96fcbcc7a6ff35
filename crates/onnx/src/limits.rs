//! A walk over the bytes of a model before anything is built of them.
//!
//! A message of two bytes becomes a struct of hundreds, so the size of a file says little about the memory it takes.
//! The walk counts what decoding will build, by the kinds of [`crate::messages`], and refuses early. It allocates nothing.

/// Most bytes of a file: a forest of a million leaves takes about fifty megabytes.
const BYTES_MAX: usize = 512 << 20;
/// Most messages: nodes, attributes, tensors, names of dimensions.
const MESSAGES_MAX: usize = 1 << 18;
/// Most strings, one for the mode of every node of a forest among them.
const STRINGS_MAX: usize = 1 << 24;
/// Most numbers written one by one; eight bytes each once they are read.
const NUMBERS_MAX: usize = 1 << 27;
/// Deepest nesting: a graph in an attribute of a node in a graph is three levels.
const NESTING_MAX: usize = 24;

/// What a file may make us build.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    pub bytes: usize,
    pub messages: usize,
    pub strings: usize,
    pub numbers: usize,
    pub nesting: usize,
}

/// Why a file is not read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    #[error("the file is no ONNX model: {reason}")]
    Malformed { reason: String },
    #[error("the ONNX file holds {found} {what}, more than the {limit} allowed")]
    TooLarge {
        what: &'static str,
        found: usize,
        limit: usize,
    },
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            bytes: BYTES_MAX,
            messages: MESSAGES_MAX,
            strings: STRINGS_MAX,
            numbers: NUMBERS_MAX,
            nesting: NESTING_MAX,
        }
    }
}

impl Limits {
    /// Counts what decoding these bytes would build.
    pub(crate) fn check(&self, bytes: &[u8]) -> Result<(), DecodeError> {
        within("bytes", bytes.len(), self.bytes)?;
        let mut walk = Walk {
            limits: self,
            messages: 0,
            strings: 0,
            numbers: 0,
        };
        walk.message(Kind::Model, bytes, 0)
    }
}

/// The messages, as far as they hold others.
#[derive(Clone, Copy)]
enum Kind {
    Model,
    Graph,
    Node,
    Attribute,
    Tensor,
    Sparse,
    Value,
    Type,
    TensorType,
    SequenceType,
    MapType,
    Shape,
    Leaf,
}

/// What the bytes of a field are.
enum Field {
    Message(Kind),
    /// Numbers of variable length, one after the other.
    Varints,
    /// Numbers of this many bytes.
    Fixed(usize),
    Text,
}

struct Walk<'a> {
    limits: &'a Limits,
    messages: usize,
    strings: usize,
    numbers: usize,
}

impl Walk<'_> {
    fn message(&mut self, kind: Kind, mut bytes: &[u8], depth: usize) -> Result<(), DecodeError> {
        within("levels of nesting", depth, self.limits.nesting)?;
        self.messages += 1;
        within("messages", self.messages, self.limits.messages)?;
        while !bytes.is_empty() {
            let key = varint(&mut bytes)?;
            let number = key >> 3;
            match key & 7 {
                0 => {
                    varint(&mut bytes)?;
                    self.count_numbers(1)?;
                }
                1 => {
                    take(&mut bytes, 8)?;
                    self.count_numbers(1)?;
                }
                5 => {
                    take(&mut bytes, 4)?;
                    self.count_numbers(1)?;
                }
                2 => {
                    let length = usize::try_from(varint(&mut bytes)?)
                        .map_err(|_| malformed("a length is out of range"))?;
                    let inner = take(&mut bytes, length)?;
                    self.field(kind, number, inner, depth)?;
                }
                _ => return Err(malformed("a field is of an unknown kind")),
            }
        }
        Ok(())
    }

    fn field(
        &mut self,
        kind: Kind,
        number: u64,
        inner: &[u8],
        depth: usize,
    ) -> Result<(), DecodeError> {
        match field(kind, number) {
            Field::Message(kind) => self.message(kind, inner, depth + 1),
            // A varint ends at the byte whose highest bit is clear.
            Field::Varints => {
                self.count_numbers(inner.iter().filter(|&&byte| byte & 0x80 == 0).count())
            }
            Field::Fixed(size) => self.count_numbers(inner.len() / size),
            Field::Text => {
                self.strings += 1;
                within("strings", self.strings, self.limits.strings)
            }
        }
    }

    fn count_numbers(&mut self, count: usize) -> Result<(), DecodeError> {
        self.numbers += count;
        within("numbers", self.numbers, self.limits.numbers)
    }
}

/// The fields that hold more than text, by the numbers of `onnx.proto`.
fn field(kind: Kind, number: u64) -> Field {
    match (kind, number) {
        (Kind::Model, 7) => Field::Message(Kind::Graph),
        (Kind::Model, 8 | 14) => Field::Message(Kind::Leaf),
        (Kind::Graph, 1) => Field::Message(Kind::Node),
        (Kind::Graph, 5) => Field::Message(Kind::Tensor),
        (Kind::Graph, 11..=13) => Field::Message(Kind::Value),
        (Kind::Graph, 15) => Field::Message(Kind::Sparse),
        (Kind::Node, 5) => Field::Message(Kind::Attribute),
        (Kind::Attribute, 5 | 10) => Field::Message(Kind::Tensor),
        (Kind::Attribute, 6 | 11) => Field::Message(Kind::Graph),
        (Kind::Attribute, 14 | 15) => Field::Message(Kind::Type),
        (Kind::Attribute, 22 | 23) => Field::Message(Kind::Sparse),
        (Kind::Attribute, 7) => Field::Fixed(4),
        (Kind::Attribute, 8) => Field::Varints,
        (Kind::Sparse, 1 | 2) => Field::Message(Kind::Tensor),
        (Kind::Sparse, 3) => Field::Varints,
        (Kind::Tensor, 13) => Field::Message(Kind::Leaf),
        (Kind::Tensor, 1 | 5 | 7 | 11) => Field::Varints,
        (Kind::Tensor, 4) => Field::Fixed(4),
        (Kind::Tensor, 10) => Field::Fixed(8),
        (Kind::Value, 2) => Field::Message(Kind::Type),
        (Kind::Type, 1 | 8) => Field::Message(Kind::TensorType),
        (Kind::Type, 4 | 9) => Field::Message(Kind::SequenceType),
        (Kind::Type, 5) => Field::Message(Kind::MapType),
        (Kind::TensorType, 2) => Field::Message(Kind::Shape),
        (Kind::SequenceType, 1) | (Kind::MapType, 2) => Field::Message(Kind::Type),
        (Kind::Shape, 1) => Field::Message(Kind::Leaf),
        _ => Field::Text,
    }
}

fn within(what: &'static str, found: usize, limit: usize) -> Result<(), DecodeError> {
    if found > limit {
        return Err(DecodeError::TooLarge { what, found, limit });
    }
    Ok(())
}

fn malformed(reason: &str) -> DecodeError {
    DecodeError::Malformed {
        reason: reason.to_owned(),
    }
}

fn take<'a>(bytes: &mut &'a [u8], length: usize) -> Result<&'a [u8], DecodeError> {
    let (taken, rest) = bytes
        .split_at_checked(length)
        .ok_or_else(|| malformed("a field ends after the file"))?;
    *bytes = rest;
    Ok(taken)
}

fn varint(bytes: &mut &[u8]) -> Result<u64, DecodeError> {
    let mut value = 0_u64;
    for place in 0..10 {
        let byte = take(bytes, 1)?[0];
        value |= u64::from(byte & 0x7f) << (7 * place);
        if byte & 0x80 == 0 {
            return Ok(value);
        }
    }
    Err(malformed("a number has too many bytes"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{AttributeProto, Bytes, GraphProto, Message, ModelProto, NodeProto, decode};
    use proptest::prelude::*;

    fn nested(levels: usize) -> GraphProto {
        let mut graph = GraphProto::default();
        for _ in 0..levels {
            let attribute = AttributeProto {
                g: Some(graph),
                ..AttributeProto::default()
            };
            let node = NodeProto {
                attribute: vec![attribute],
                ..NodeProto::default()
            };
            graph = GraphProto {
                node: vec![node],
                ..GraphProto::default()
            };
        }
        graph
    }

    fn read(graph: GraphProto, limits: Limits) -> Result<ModelProto, DecodeError> {
        let model = ModelProto {
            graph: Some(graph),
            ..ModelProto::default()
        };
        decode(model.encode_to_vec().into(), &limits)
    }

    #[test]
    fn graphs_nested_too_deep_are_refused() {
        assert!(read(nested(3), Limits::default()).is_ok());
        let error = read(nested(20), Limits::default()).unwrap_err();
        assert!(error.to_string().contains("levels of nesting"), "{error}");
    }

    #[test]
    fn small_bytes_cannot_build_large_structs() {
        let graph = GraphProto {
            node: vec![NodeProto::default(); 100],
            ..GraphProto::default()
        };
        let limits = Limits {
            messages: 50,
            ..Limits::default()
        };
        let error = read(graph, limits).unwrap_err();
        assert!(error.to_string().contains("messages"), "{error}");
    }

    #[test]
    fn numbers_and_strings_are_counted() {
        let attribute = AttributeProto {
            ints: vec![1; 100],
            strings: vec![Bytes::new(); 100],
            ..AttributeProto::default()
        };
        let node = NodeProto {
            attribute: vec![attribute],
            ..NodeProto::default()
        };
        let graph = GraphProto {
            node: vec![node],
            ..GraphProto::default()
        };
        for (limits, what) in [
            (
                Limits {
                    numbers: 99,
                    ..Limits::default()
                },
                "numbers",
            ),
            (
                Limits {
                    strings: 99,
                    ..Limits::default()
                },
                "strings",
            ),
        ] {
            let error = read(graph.clone(), limits).unwrap_err();
            assert!(error.to_string().contains(what), "{error}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            let _ = decode(bytes.into(), &Limits::default());
        }
    }
}
