//! Any bytes as an ONNX graph: refused, or run on a row of zeros within its budget.

#![no_main]

use libfuzzer_sys::fuzz_target;
use ombud_engine::onnx::{Data, Element, OnnxModel, Tensor};
use std::sync::Arc;

/// A graph may ask for a row of any width; a wide one is sound, and slow to feed.
const WIDTH_MAX: usize = 4_096;

fuzz_target!(|bytes: &[u8]| {
    let Ok(model) = OnnxModel::open(bytes.to_vec()) else {
        return;
    };
    let mut inputs = Vec::new();
    for input in model.inputs() {
        let shape: Vec<usize> = input.shape.iter().map(|size| size.unwrap_or(1)).collect();
        let width = shape.iter().try_fold(1_usize, |product, size| product.checked_mul(*size));
        let Some(width) = width.filter(|width| *width <= WIDTH_MAX) else {
            return;
        };
        let data = match input.element {
            Element::Float => Data::Float(Arc::new(vec![0.0; width])),
            Element::Double => Data::Double(Arc::new(vec![0.0; width])),
            Element::Int32 => Data::Int32(Arc::new(vec![0; width])),
            Element::Int64 => Data::Int64(Arc::new(vec![0; width])),
            Element::Bool => Data::Bool(Arc::new(vec![false; width])),
            Element::Text => Data::Text(Arc::new(vec!["calm".into(); width])),
        };
        let Ok(tensor) = Tensor::new(shape, data) else {
            return;
        };
        inputs.push(tensor);
    }
    let _ = model.run(&inputs);
});
