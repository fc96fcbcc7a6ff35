//! Runs an ONNX model on rows from standard input, one JSON object a line, and prints what it gives, one a line.
//!
//! `run_onnx model.onnx < rows.jsonl`. A row names every input; a table's row is a list. It is what the tests beside
//! Python's onnxruntime drive, and a small example of the evaluator's face.

use std::io::{BufRead, BufWriter, Write};
use std::sync::Arc;

use ombud_engine::onnx::{Data, Element, Input, OnnxModel, Tensor, Value};
use serde_json::{Map, Value as Json, json};

/// Rows that are run together.
const ROWS: usize = 512;

type Failure = Box<dyn std::error::Error>;

fn main() -> Result<(), Failure> {
    let path = std::env::args()
        .nth(1)
        .ok_or("usage: run_onnx MODEL < ROWS")?;
    let model = OnnxModel::open(std::fs::read(path)?)?;
    let mut out = BufWriter::new(std::io::stdout().lock());
    let mut rows: Vec<Json> = Vec::with_capacity(ROWS);
    for line in std::io::stdin().lock().lines() {
        rows.push(serde_json::from_str(&line?)?);
        if rows.len() == ROWS {
            run(&model, &rows, &mut out)?;
            rows.clear();
        }
    }
    if !rows.is_empty() {
        run(&model, &rows, &mut out)?;
    }
    Ok(())
}

fn run(model: &OnnxModel, rows: &[Json], out: &mut impl Write) -> Result<(), Failure> {
    let inputs = model
        .inputs()
        .iter()
        .map(|input| tensor(input, rows))
        .collect::<Result<Vec<_>, _>>()?;
    let values = model.run(&inputs)?;
    for row in 0..rows.len() {
        let mut printed = Map::new();
        for (name, value) in model.outputs().iter().zip(&values) {
            printed.insert(name.clone(), shown(value, row, rows.len()));
        }
        writeln!(out, "{}", Json::Object(printed))?;
    }
    Ok(())
}

fn tensor(input: &Input, rows: &[Json]) -> Result<Tensor, Failure> {
    let mut cells = Vec::new();
    for row in rows {
        match &row[&input.name] {
            Json::Array(list) => cells.extend(list),
            one => cells.push(one),
        }
    }
    let number = |cell: &&Json| cell.as_f64().unwrap_or(f64::NAN);
    let integer = |cell: &&Json| cell.as_i64().unwrap_or_default();
    let data = match input.element {
        Element::Float => Data::Float(Arc::new(
            cells.iter().map(|cell| number(cell) as f32).collect(),
        )),
        Element::Double => Data::Double(Arc::new(cells.iter().map(number).collect())),
        Element::Int32 => Data::Int32(Arc::new(
            cells.iter().map(|cell| integer(cell) as i32).collect(),
        )),
        Element::Int64 => Data::Int64(Arc::new(cells.iter().map(integer).collect())),
        Element::Bool => Data::Bool(Arc::new(
            cells
                .iter()
                .map(|cell| cell.as_bool().unwrap_or_default())
                .collect(),
        )),
        Element::Text => Data::Text(Arc::new(
            cells
                .iter()
                .map(|cell| cell.as_str().unwrap_or_default().into())
                .collect(),
        )),
    };
    let shape = match input.shape.len() {
        1 => vec![cells.len()],
        _ => vec![rows.len(), cells.len() / rows.len()],
    };
    Ok(Tensor::new(shape, data)?)
}

fn shown(value: &Value, row: usize, rows: usize) -> Json {
    match value {
        Value::Tensor(tensor) => cells(tensor, row, rows),
        Value::Maps(maps) => {
            let scores = cells(&maps.scores, row, rows);
            let keys = cells(&maps.keys, 0, 1);
            json!({ "keys": keys, "scores": scores })
        }
    }
}

fn cells(tensor: &Tensor, row: usize, rows: usize) -> Json {
    let width = tensor.len() / rows.max(1);
    let places = row * width..(row + 1) * width;
    match tensor.data() {
        Data::Float(values) => json!(
            values[places]
                .iter()
                .map(|&x| f64::from(x))
                .collect::<Vec<_>>()
        ),
        Data::Double(values) => json!(values[places]),
        Data::Int32(values) => json!(values[places]),
        Data::Int64(values) => json!(values[places]),
        Data::Bool(values) => json!(values[places]),
        Data::Text(values) => json!(
            values[places]
                .iter()
                .map(|text| &**text)
                .collect::<Vec<_>>()
        ),
    }
}
