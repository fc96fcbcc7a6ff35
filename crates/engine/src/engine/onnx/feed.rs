//! From the columns of a frame to the tensors of a graph.

use super::OnnxEngineError;
use crate::onnx::{Data, Element, Input, OnnxModel, Tensor};
use arrow_array::Array;
use ombud_core::Frame;
use ombud_core::frame::Column;
use ombud_core::schema::{Feature, Kind, Schema};
use std::sync::Arc;

/// Checks that every input gets as many columns, of a kind it takes, as it wants.
pub(super) fn check(
    model: &OnnxModel,
    inputs: &[Vec<usize>],
    schema: &Schema,
) -> Result<(), OnnxEngineError> {
    let wrong = |reason: String| Err(OnnxEngineError::Mapping { reason });
    if inputs.len() != model.inputs().len() {
        let (found, wanted) = (inputs.len(), model.inputs().len());
        return wrong(format!("it feeds {found} inputs, the graph has {wanted}"));
    }
    for (input, places) in model.inputs().iter().zip(inputs) {
        let name = &input.name;
        let features: Option<Vec<&Feature>> =
            places.iter().map(|p| schema.features().get(*p)).collect();
        let Some(features) = features else {
            return wrong(format!(
                "the input {name:?} is fed by a feature that is not there"
            ));
        };
        if let Some(stranger) = features.iter().find(|f| !takes(input.element, &f.kind)) {
            let (feature, kind) = (&stranger.name, stranger.kind.word());
            let element = input.element;
            return wrong(format!(
                "the input {name:?} takes {element}, the feature {feature:?} is a {kind}"
            ));
        }
        let width: usize = features.iter().map(|feature| steps(&feature.kind)).sum();
        let wanted = width_of(input);
        if width == 0 || wanted.is_some_and(|wanted| wanted != width) {
            let wanted = wanted.map_or_else(|| "some".to_owned(), |w| w.to_string());
            return wrong(format!(
                "the input {name:?} takes {wanted} columns, the features give {width}"
            ));
        }
    }
    Ok(())
}

/// Columns that an input takes; `None` when the file does not say.
fn width_of(input: &Input) -> Option<usize> {
    match input.shape.as_slice() {
        [] => None,
        [_] => Some(1),
        [_, rest @ ..] => rest.iter().copied().product(),
    }
}

fn takes(element: Element, kind: &Kind) -> bool {
    match kind {
        Kind::Text => element == Element::Text,
        Kind::Category { .. } | Kind::Ordinal { .. } => true,
        Kind::Number { .. } | Kind::Sequence { .. } => element != Element::Text,
    }
}

/// Columns that a feature becomes.
fn steps(kind: &Kind) -> usize {
    match kind {
        Kind::Sequence { steps, .. } => *steps,
        _ => 1,
    }
}

/// The tensor of one input; the features were checked to fit it.
pub(super) fn tensor(input: &Input, features: &[usize], frame: &Frame) -> Tensor {
    let rows = frame.rows();
    let data = match input.element {
        Element::Text => Data::Text(Arc::new(texts(features, frame))),
        element => numbers_as(element, &numbers(features, frame)),
    };
    let width = data_len(&data).checked_div(rows).unwrap_or(0);
    let shape = match input.shape.as_slice() {
        [_] => vec![rows],
        [] | [_, _] => vec![rows, width],
        // Images and series come flat; the sizes the file does not say are one, but the last takes what is left.
        [_, inner @ ..] => {
            let known: usize = inner.iter().flatten().product();
            let mut rest = width.checked_div(known).unwrap_or(0);
            let sizes = inner
                .iter()
                .map(|size| size.unwrap_or_else(|| std::mem::replace(&mut rest, 1)));
            std::iter::once(rows).chain(sizes).collect()
        }
    };
    match Tensor::new(shape, data.clone()) {
        Ok(tensor) => tensor,
        Err(_) => flat(rows, data),
    }
}

/// A shape that always fits, so that the graph refuses it by name.
fn flat(rows: usize, data: Data) -> Tensor {
    let width = data_len(&data).checked_div(rows).unwrap_or(0);
    Tensor::new(vec![rows, width], data).unwrap_or_else(|_| unreachable!("rows × width elements"))
}

fn data_len(data: &Data) -> usize {
    match data {
        Data::Float(values) => values.len(),
        Data::Double(values) => values.len(),
        Data::Int32(values) => values.len(),
        Data::Int64(values) => values.len(),
        Data::Bool(values) => values.len(),
        Data::Text(values) => values.len(),
    }
}

/// Whole numbers hold no gap: a missing value is the least there is, which no model takes for a value it knows.
fn numbers_as(element: Element, numbers: &[f64]) -> Data {
    match element {
        Element::Float => Data::Float(Arc::new(numbers.iter().map(|x| *x as f32).collect())),
        Element::Double | Element::Text => Data::Double(Arc::new(numbers.to_vec())),
        Element::Int32 => Data::Int32(Arc::new(numbers.iter().map(|x| whole(*x) as i32).collect())),
        Element::Int64 => Data::Int64(Arc::new(numbers.iter().map(|x| whole(*x)).collect())),
        Element::Bool => Data::Bool(Arc::new(numbers.iter().map(|x| *x != 0.0).collect())),
    }
}

fn whole(number: f64) -> i64 {
    if number.is_nan() {
        return i64::MIN;
    }
    number as i64
}

fn numbers(features: &[usize], frame: &Frame) -> Vec<f64> {
    let mut cells = Vec::new();
    for row in 0..frame.rows() {
        for feature in features {
            match &frame.columns()[*feature] {
                Column::Number(values) if values.is_valid(row) => cells.push(values.value(row)),
                Column::Code(codes) if codes.is_valid(row) => {
                    cells.push(f64::from(codes.value(row)));
                }
                Column::Sequence { steps, values } => {
                    cells.extend_from_slice(&values[row * steps..(row + 1) * steps]);
                }
                Column::Number(_) | Column::Code(_) | Column::Text(_) => cells.push(f64::NAN),
            }
        }
    }
    cells
}

/// A missing text is the empty one, as converters have it.
fn texts(features: &[usize], frame: &Frame) -> Vec<Arc<str>> {
    let empty: Arc<str> = Arc::from("");
    let names: Vec<Vec<Arc<str>>> = features
        .iter()
        .map(|feature| shared(&frame.schema().features()[*feature]))
        .collect();
    let mut cells = Vec::with_capacity(frame.rows() * features.len());
    for row in 0..frame.rows() {
        for (feature, names) in features.iter().zip(&names) {
            cells.push(match &frame.columns()[*feature] {
                Column::Text(texts) if texts.is_valid(row) => Arc::from(texts.value(row)),
                Column::Code(codes) if codes.is_valid(row) => {
                    names[codes.value(row) as usize].clone()
                }
                _ => empty.clone(),
            });
        }
    }
    cells
}

fn shared(feature: &Feature) -> Vec<Arc<str>> {
    let values = feature.kind.values().iter();
    values.map(|value| Arc::from(value.as_str())).collect()
}
