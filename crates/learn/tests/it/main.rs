//! The public face of learning, driven from outside.

mod import;
mod onnx;
