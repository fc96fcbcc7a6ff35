//! The Open Inference Protocol v2 as formats, and nothing that serves them.
//!
//! A request comes as JSON, as JSON with binary tensors behind it, or as a gRPC message ([`request`]); its tensors become
//! rows that a model's own parser judges ([`rows`]), and answers become tensors again ([`outputs`], [`response`]). How a model
//! is described to clients is [`model`]; what MLflow's scoring and TensorFlow Serving send instead of tensors is [`scoring`], and
//! what Triton's generate form does is [`generate`].
//! The messages of gRPC ([`messages`]) are written by hand, so that building needs no `protoc`. Who may ask, what answers
//! and where it is recorded is not known here.

pub mod binary;
pub mod error;
pub mod generate;
pub mod json;
pub mod messages;
pub mod model;
pub mod outputs;
pub mod request;
pub mod response;
pub mod rows;
pub mod scoring;
pub mod tensor;

pub use error::{Error, Result};
pub use outputs::{Plan, Told};
pub use prost::Message;
pub use request::{Request, Wanted};
pub use response::Response;
pub use rows::Rows;
pub use tensor::{Data, Datatype, Parameters, Tensor};

/// The messages and services of [`messages`] for clients that ask what there is (gRPC reflection): an encoded
/// `FileDescriptorSet` of `proto/inference.proto`. Made by
/// `python -m grpc_tools.protoc -I crates/oip/proto --include_imports --descriptor_set_out=crates/oip/src/descriptors.bin inference.proto`.
pub const DESCRIPTORS: &[u8] = include_bytes!("descriptors.bin");
