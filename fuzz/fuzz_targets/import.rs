//! Any bytes as a model file of any kind: refused with nothing written, or kept as a bundle that opens.

#![no_main]

use libfuzzer_sys::fuzz_target;
use ombud_core::ModelName;
use ombud_engine::Model;
use ombud_learn::import::{Format, Options, Wanted, import};

fuzz_target!(|bytes: &[u8]| {
    let Ok(name) = ModelName::new("fuzzed") else {
        return;
    };
    for format in [Format::Xgboost, Format::Lightgbm, Format::Onnx] {
        let Ok(place) = tempfile::tempdir() else {
            return;
        };
        let options = Options {
            name: &name,
            origin: "fuzzed",
            wanted: &Wanted::default(),
            out: place.path(),
            key: None,
        };
        match import(format, bytes, &options) {
            Ok(imported) => assert!(Model::open(&imported.path).is_ok()),
            Err(_) => assert!(!place.path().join("fuzzed").exists()),
        }
    }
});
