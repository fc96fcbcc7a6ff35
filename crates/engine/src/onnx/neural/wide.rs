//! A second copy of a net, for several rows at once.
//!
//! Weights are read once for many rows instead of once for each, which is most of the time of a net. Whether rows stay apart is
//! not written in a graph: a reshape may glue them together, a mean may run over them; and a small net gains nothing. So the
//! wide net is tried against the plain one on made-up rows when it is opened, and only kept when every answer is the same and
//! comes sooner; otherwise rows go one by one.

use super::{Net, Table};
use crate::onnx::tensor::{Data, Tensor};
use ombud_onnx::{GraphProto, Message, ModelProto, ValueInfoProto, data_type, type_proto};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Rows of the wide net.
pub(super) const ROWS: usize = 16;
/// It must be worth its run from so many rows on: a run takes as long for few rows as for all.
const ROWS_MIN_MAX: usize = ROWS / 2;
/// Runs of which the fastest counts, while they take no longer together than this.
const RUNS_TIMED: usize = 3;
const TIMING_MAX: Duration = Duration::from_millis(100);
/// Larger nets are not kept twice in memory.
const BYTES_MAX: usize = 256 << 20;
/// Sums of many numbers come out a little differently in another order. `docs/portable.md` promises this; a net that strays
/// further answers row by row, so that what a person is told does not hang on who asked at the same moment.
const TOLERANCE: f64 = 1e-5;

/// A net for several rows.
#[derive(Debug)]
pub(super) struct Wide {
    pub net: Net,
    /// From so many rows on it is faster than one by one, as measured.
    pub rows_min: usize,
}

/// The wide net, if there can be one that is worth it.
pub(super) fn open(model: &ModelProto, plain: &Net) -> Option<Wide> {
    if model.encoded_len() > BYTES_MAX {
        return None;
    }
    let wide = Net::open_for(model, ROWS).ok()?;
    let graph = model.graph.as_ref()?;
    let rows_min = tried(plain, &wide, graph)?;
    (rows_min <= ROWS_MIN_MAX).then_some(Wide {
        net: wide,
        rows_min,
    })
}

/// From how many rows on the wide net is faster; none when it answers otherwise.
fn tried(plain: &Net, wide: &Net, graph: &GraphProto) -> Option<usize> {
    let mut random = 0x2545_f491_4f6c_dd1d_u64;
    let given = graph
        .input
        .iter()
        .filter(|input| !is_constant(graph, input));
    let inputs: Option<Vec<Tensor>> = plain
        .shapes
        .iter()
        .zip(given)
        .map(|(shape, input)| made_up(shape, is_whole(input), &mut random))
        .collect();
    let inputs = inputs?;
    let mut together_takes = Duration::MAX;
    let mut together = Vec::new();
    let begun = Instant::now();
    for _ in 0..RUNS_TIMED {
        let started = Instant::now();
        together = wide.run_part(&inputs, 0..ROWS, ROWS).ok()?;
        together_takes = together_takes.min(started.elapsed());
        if begun.elapsed() > TIMING_MAX {
            break;
        }
    }
    let mut row_takes = Duration::MAX;
    let mut apart: Vec<Option<Table>> = vec![None; together.len()];
    for row in 0..ROWS {
        let started = Instant::now();
        let values = plain.run_part(&inputs, row..row + 1, ROWS).ok()?;
        row_takes = row_takes.min(started.elapsed());
        for (table, value) in apart.iter_mut().zip(values) {
            super::push(table, value).ok()?;
        }
    }
    let alike = |(together, apart): (&Table, &Option<Table>)| {
        let apart = apart.as_ref();
        apart.is_some_and(|apart| are_alike(together, apart))
    };
    let is_alike = together.iter().zip(&apart).all(alike);
    let rows = together_takes.as_secs_f64() / row_takes.as_secs_f64().max(f64::MIN_POSITIVE);
    is_alike.then_some((rows.ceil() as usize).max(2))
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

#[cfg(test)]
mod tests {
    use super::*;
    use ombud_onnx::{AttributeProto, Bytes, Limits, NodeProto};
    use std::path::Path;

    fn lstm() -> ModelProto {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/onnx/lstm.onnx");
        let bytes = Bytes::from(std::fs::read(path).unwrap());
        ombud_onnx::decode(bytes, &Limits::default()).unwrap()
    }

    fn tried_on(model: &ModelProto) -> Option<usize> {
        let plain = Net::open_for(model, 1).unwrap();
        let wide = Net::open_for(model, ROWS).unwrap();
        tried(&plain, &wide, model.graph.as_ref().unwrap())
    }

    #[test]
    fn a_net_whose_rows_stay_apart_may_be_wide() {
        assert!(tried_on(&lstm()).is_some());
    }

    #[test]
    fn a_net_that_mixes_its_rows_is_found_out() {
        let mut model = lstm();
        let graph = model.graph.as_mut().unwrap();
        let answer = graph.output[0].name.clone();
        // What was the answer is now shared out among the rows of a run.
        let over_rows = AttributeProto {
            name: "axis".to_owned(),
            i: 0,
            r#type: ombud_onnx::attribute_type::INT,
            ..AttributeProto::default()
        };
        graph.node.push(NodeProto {
            op_type: "Softmax".to_owned(),
            name: "mix".to_owned(),
            input: vec![answer],
            output: vec!["mixed".to_owned()],
            attribute: vec![over_rows],
            ..NodeProto::default()
        });
        graph.output[0].name = "mixed".to_owned();
        assert_eq!(tried_on(&model), None);
    }

    #[test]
    fn rows_together_and_a_rest_come_out_in_order() {
        let model = lstm();
        let plain = Net::open_for(&model, 1).unwrap();
        let mut both = Net::open_for(&model, 1).unwrap();
        both.wide = Some(Box::new(Wide {
            net: Net::open_for(&model, ROWS).unwrap(),
            rows_min: 4,
        }));
        // One full run, one padded, one row alone.
        for rows in [1, 3, ROWS + 5, 2 * ROWS + 1] {
            let width: usize = plain.shapes[0].iter().product();
            let values = (0..rows * width).map(|place| (place % 19) as f32 / 9.5 - 1.0);
            let values: Vec<f32> = values.collect();
            let input = Tensor::new(vec![rows, width], Data::Float(Arc::new(values))).unwrap();
            let run = |net: &Net| net.run(std::slice::from_ref(&input)).unwrap();
            let (together, apart) = (run(&both), run(&plain));
            for (a, b) in together.iter().zip(&apart) {
                let (a, b) = (a.tensor().unwrap(), b.tensor().unwrap());
                assert_eq!(a.shape(), b.shape());
                let (Data::Float(a), Data::Float(b)) = (a.data(), b.data()) else {
                    continue;
                };
                let near = |(a, b): (&f32, &f32)| (a - b).abs() < 1e-5;
                assert!(a.iter().zip(b.iter()).all(near), "{rows} rows");
            }
        }
    }
}
