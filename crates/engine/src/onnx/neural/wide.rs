//! A second copy of a net, for several rows at once.
//!
//! Weights are read once for many rows instead of once for each, which is most of the time of a net. Whether rows stay apart is
//! not written in a graph: a reshape may glue them together, a mean may run over them. So the wide net is tried against the
//! plain one on made-up rows when it is opened, and only kept when every answer is the same; otherwise rows go one by one.

use super::{Net, Table};
use crate::onnx::tensor::{Data, Tensor};
use ombud_onnx::{GraphProto, Message, ModelProto, ValueInfoProto, data_type, type_proto};
use std::sync::Arc;

/// Rows of the wide net.
pub(super) const ROWS: usize = 16;
/// From here on the wide net is worth its run: a run takes as long for few rows as for all.
pub(super) const ROWS_MIN: usize = 4;
/// Larger nets are not kept twice in memory.
const BYTES_MAX: usize = 256 << 20;
/// Sums of many numbers come out a little differently in another order.
const TOLERANCE: f64 = 1e-4;

/// The wide net, if there can be one.
pub(super) fn open(model: &ModelProto, plain: &Net) -> Option<Net> {
    if model.encoded_len() > BYTES_MAX {
        return None;
    }
    let wide = Net::open_for(model, ROWS).ok()?;
    let graph = model.graph.as_ref()?;
    answers_alike(plain, &wide, graph).then_some(wide)
}

fn answers_alike(plain: &Net, wide: &Net, graph: &GraphProto) -> bool {
    let mut random = 0x2545_f491_4f6c_dd1d_u64;
    let inputs: Option<Vec<Tensor>> = plain
        .inputs
        .iter()
        .zip(
            graph
                .input
                .iter()
                .filter(|input| !is_constant(graph, input)),
        )
        .map(|((_, shape), input)| made_up(shape, is_whole(input), &mut random))
        .collect();
    let Some(inputs) = inputs else { return false };
    let Ok(together) = wide.run_part(&inputs, 0..ROWS, ROWS) else {
        return false;
    };
    let mut apart: Vec<Option<Table>> = vec![None; together.len()];
    for row in 0..ROWS {
        let Ok(values) = plain.run_part(&inputs, row..row + 1, ROWS) else {
            return false;
        };
        for (table, value) in apart.iter_mut().zip(values) {
            if super::push(table, value).is_err() {
                return false;
            }
        }
    }
    let alike = |(together, apart): (&Table, &Option<Table>)| {
        apart
            .as_ref()
            .is_some_and(|apart| are_alike(together, apart))
    };
    together.iter().zip(&apart).all(alike)
}

fn is_constant(graph: &GraphProto, input: &ValueInfoProto) -> bool {
    graph
        .initializer
        .iter()
        .any(|constant| constant.name == input.name)
}

fn is_whole(input: &ValueInfoProto) -> bool {
    let kind = input.r#type.as_ref().and_then(|kind| kind.value.as_ref());
    let floating = [data_type::FLOAT, data_type::DOUBLE];
    matches!(kind, Some(type_proto::Value::TensorType(tensor)) if !floating.contains(&tensor.elem_type))
}

/// Rows of numbers between -1 and 1; whole ones are 0 or 1, which every vocabulary has.
fn made_up(shape: &[usize], is_whole: bool, random: &mut u64) -> Option<Tensor> {
    let width: usize = shape.iter().skip(1).product();
    let mut next = || {
        *random ^= *random << 13;
        *random ^= *random >> 7;
        *random ^= *random << 17;
        (*random >> 40) as f32 / (1_u32 << 23) as f32 - 1.0
    };
    let values: Vec<f32> = (0..ROWS * width).map(|_| next()).collect();
    let data = match is_whole {
        true => Data::Int64(Arc::new(
            values.iter().map(|x| i64::from(*x > 0.0)).collect(),
        )),
        false => Data::Float(Arc::new(values)),
    };
    Tensor::new(vec![ROWS, width], data).ok()
}

fn are_alike(a: &Table, b: &Table) -> bool {
    match (a, b) {
        (Table::Float(a), Table::Float(b)) => {
            let near = |(a, b): (&f32, &f32)| {
                let (a, b) = (f64::from(*a), f64::from(*b));
                a == b || (a - b).abs() <= TOLERANCE * (1.0 + a.abs())
            };
            a.len() == b.len() && a.iter().zip(b).all(near)
        }
        (Table::Whole(a), Table::Whole(b)) => a == b,
        _ => false,
    }
}
