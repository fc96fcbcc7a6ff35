//! What is written as ONNX answers, in our own evaluator, as the model it was written from.

#[path = "../../examples/export_cases/cases.rs"]
mod cases;

use std::sync::Arc;

use ombud_engine::onnx::{Data, Element, Input, OnnxModel, Tensor};
use serde_json::Value as Json;

/// How far a score may be off, relative beyond one: outputs are in single precision.
const TOLERANCE: f64 = 1e-5;
/// Rows run together.
const ROWS: usize = 300;

#[test]
fn an_exported_model_answers_as_the_one_it_was_made_from() {
    let mut count = 0;
    cases::for_each(&mut |made| {
        let model = OnnxModel::open(made.model)?;
        for (rows, answers) in made.rows.chunks(ROWS).zip(made.answers.chunks(ROWS)) {
            check(made.name, &model, rows, answers);
        }
        count += 1;
        Ok(())
    })
    .unwrap();
    assert_eq!(count, 28);
}

fn check(name: &str, model: &OnnxModel, rows: &[Json], answers: &[Json]) {
    let inputs: Vec<Tensor> = model
        .inputs()
        .iter()
        .map(|input| tensor(input, rows))
        .collect();
    let outputs = model.run(&inputs).unwrap();
    for (output, value) in model.outputs().iter().zip(&outputs) {
        let tensor = value.tensor().unwrap();
        for (row, answer) in answers.iter().enumerate() {
            match output.as_str() {
                "label" | "labels" => assert_eq!(
                    told(tensor, row, rows.len()),
                    answer[output],
                    "{name}, row {row}"
                ),
                _ => check_scores(name, &scores(tensor, row, rows.len()), &answer["scores"]),
            }
        }
    }
}

/// The cells of a feature: an empty text or NaN where it is missing.
fn tensor(input: &Input, rows: &[Json]) -> Tensor {
    let width = input.shape[1].unwrap();
    let data = match input.element {
        Element::Text => {
            let cell = |row: &Json| row[&input.name].as_str().unwrap_or_default().into();
            Data::Text(Arc::new(rows.iter().map(cell).collect()))
        }
        _ => {
            let cells = |row: &Json| match &row[&input.name] {
                Json::Array(steps) => steps.iter().map(|step| step.as_f64().unwrap()).collect(),
                cell => vec![cell.as_f64().unwrap_or(f64::NAN); width],
            };
            Data::Double(Arc::new(rows.iter().flat_map(cells).collect()))
        }
    };
    Tensor::new(vec![rows.len(), width], data).unwrap()
}

fn told(tensor: &Tensor, row: usize, rows: usize) -> Json {
    let width = tensor.len() / rows;
    match tensor.data() {
        Data::Text(values) => Json::from(&*values[row]),
        Data::Bool(values) => Json::from(values[row * width..(row + 1) * width].to_vec()),
        other => panic!("{other:?} is no label"),
    }
}

fn scores(tensor: &Tensor, row: usize, rows: usize) -> Vec<f64> {
    let width = tensor.len() / rows;
    let places = row * width..(row + 1) * width;
    match tensor.data() {
        Data::Float(values) => values[places].iter().map(|&x| f64::from(x)).collect(),
        Data::Double(values) => values[places].to_vec(),
        other => panic!("{other:?} are no scores"),
    }
}

fn check_scores(name: &str, found: &[f64], wanted: &Json) {
    let wanted: Vec<f64> = wanted
        .as_array()
        .unwrap()
        .iter()
        .map(|x| x.as_f64().unwrap())
        .collect();
    assert_eq!(found.len(), wanted.len(), "{name}");
    for (found, wanted) in found.iter().zip(&wanted) {
        let distance = (found - wanted).abs() / wanted.abs().max(1.0);
        assert!(distance <= TOLERANCE, "{name}: {found}, not {wanted}");
    }
}
