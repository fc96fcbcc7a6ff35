//! The messages of an ONNX file, and reading them within limits.
//!
//! Only the format: `engine` reads these messages and runs them, `learn` writes them. Kept apart so that neither has to
//! know the other, and checked in by hand, so that building needs no `protoc`. What an operator means is not known here.

mod limits;
mod messages;

pub use bytes::Bytes;
pub use limits::{DecodeError, Limits};
pub use messages::*;
pub use prost::Message;

/// Reads a model, refusing one that would take more memory than the limits allow.
///
/// # Errors
/// When the bytes are no ONNX model, or one beyond the limits.
pub fn decode(bytes: Bytes, limits: &Limits) -> Result<ModelProto, DecodeError> {
    limits.check(&bytes)?;
    ModelProto::decode(bytes).map_err(|error| DecodeError::Malformed {
        reason: error.to_string(),
    })
}
