//! Takes a model elsewhere: the formats that other tools read.

pub mod onnx;
