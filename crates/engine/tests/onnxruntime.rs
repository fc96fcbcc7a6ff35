//! Nets answered by an installed onnxruntime.
//!
//! `cargo xtask test --only onnxruntime` finds the library in the Python tests' environment. Without `ORT_DYLIB_PATH` there
//! is nothing to load and only the refusal is tested.

use std::path::{Path, PathBuf};

use ombud_engine::onnx::{Data, OnnxError, OnnxModel, Tensor, load_onnxruntime};
use serde_json::Value;

/// How far an answer may be from the one onnxruntime gave in Python.
const NEAR: f32 = 1e-6;

fn golden(name: &str) -> Vec<u8> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/onnx");
    std::fs::read(folder.join(name)).expect("a golden file")
}

fn numbers(rows: &Value) -> Vec<f32> {
    let rows = rows.as_array().expect("rows").iter();
    let cells = rows.flat_map(|row| row.as_array().expect("a row"));
    cells
        .map(|cell| cell.as_f64().expect("a number") as f32)
        .collect()
}

fn answers(model: &OnnxModel, rows: Vec<f32>) -> Vec<f32> {
    let (steps, width) = (12, 3);
    let shape = vec![rows.len() / steps / width, steps, width];
    let rows = Tensor::float(shape, rows).expect("a tensor");
    let outputs = model.run(&[rows]).expect("answers");
    let Data::Float(found) = outputs[0].tensor().expect("a tensor").data() else {
        panic!("floats")
    };
    found.to_vec()
}

#[test]
fn an_installed_onnxruntime_answers_nets_and_a_wrong_one_is_refused() {
    let error = load_onnxruntime(Path::new("no/such/library.so")).expect_err("it is not there");
    assert!(matches!(error, OnnxError::Library { .. }), "{error}");
    let by_rten = OnnxModel::open(golden("lstm.onnx")).expect("a net");

    let Some(library) = std::env::var_os("ORT_DYLIB_PATH") else {
        println!("ORT_DYLIB_PATH names no onnxruntime: nothing is run by it");
        return;
    };
    load_onnxruntime(&PathBuf::from(&library)).expect("an onnxruntime");
    assert!(
        load_onnxruntime(&PathBuf::from(&library)).is_err(),
        "once is enough"
    );
    let model = OnnxModel::open(golden("lstm.onnx")).expect("a net");
    assert!(
        format!("{model:?}").contains("Installed"),
        "it is onnxruntime that answers"
    );
    let told: Value = serde_json::from_slice(&golden("lstm.json")).expect("JSON");
    let (rows, wanted) = (
        numbers(&told["inputs"]["x"]),
        numbers(&told["outputs"]["probabilities"]),
    );
    // Several at once: a session takes one call at a time.
    let found = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..4)
            .map(|_| scope.spawn(|| answers(&model, rows.clone())))
            .collect();
        threads
            .into_iter()
            .map(|thread| thread.join().expect("no panic"))
            .collect::<Vec<_>>()
    });
    for found in found {
        assert_eq!(found.len(), wanted.len());
        for (found, wanted) in found.iter().zip(&wanted) {
            assert!((found - wanted).abs() <= NEAR, "{found}, not {wanted}");
        }
    }
    assert!(
        format!("{by_rten:?}").contains("Rten"),
        "what was open before stays as it was"
    );
}
