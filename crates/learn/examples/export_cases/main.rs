//! Writes models of every kind as ONNX, with rows and our own answers beside, for the test against onnxruntime.
//!
//! `export_cases FOLDER`: for every case `<case>.onnx`, `<case>.rows.jsonl` (inputs by name) and `<case>.answers.jsonl`.

mod cases;

use std::fs;
use std::path::PathBuf;

use cases::Failure;
use serde_json::Value as Json;

fn main() -> Result<(), Failure> {
    let folder = PathBuf::from(
        std::env::args()
            .nth(1)
            .ok_or("usage: export_cases FOLDER")?,
    );
    cases::for_each(&mut |made| {
        let path = |ending: &str| folder.join(format!("{}.{ending}", made.name));
        fs::write(path("onnx"), &made.model)?;
        fs::write(path("rows.jsonl"), lines(&made.rows))?;
        fs::write(path("answers.jsonl"), lines(&made.answers))?;
        Ok(())
    })
}

fn lines(values: &[Json]) -> String {
    values.iter().map(|value| format!("{value}\n")).collect()
}
