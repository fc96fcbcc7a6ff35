//! Damaged files are refused, or become bundles that open and answer; they never make us panic or wait.

use std::fs;
use std::path::{Path, PathBuf};

use ombud_core::{Frame, ModelName, Row};
use ombud_engine::Model;
use ombud_learn::import::{Format, Options, Wanted, import};
use proptest::prelude::*;
use std::sync::Arc;

const MODELS: [(&str, Format); 8] = [
    ("forest/xgb-category.ubj", Format::Xgboost),
    ("forest/xgb-dart.ubj", Format::Xgboost),
    ("forest/xgb-binary-json.json", Format::Xgboost),
    ("forest/lgb-category.lightgbm.txt", Format::Lightgbm),
    ("forest/lgb-zero.lightgbm.txt", Format::Lightgbm),
    ("onnx/logistic_scaled.onnx", Format::Onnx),
    ("onnx/mixed_one_hot.onnx", Format::Onnx),
    ("onnx/svc_probability.onnx", Format::Onnx),
];

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../engine/tests/golden")
        .join(name)
}

/// Imports, opens and asks; `false` when it was refused.
fn is_taken(format: Format, bytes: &[u8]) -> bool {
    let place = tempfile::tempdir().expect("a temporary folder");
    let name = ModelName::new("damaged").expect("a name");
    let options = Options {
        name: &name,
        origin: "damaged",
        wanted: &Wanted::default(),
        out: place.path(),
        key: None,
    };
    let Ok(imported) = import(format, bytes, &options) else {
        assert!(!place.path().join("damaged").exists(), "nothing is written");
        return false;
    };
    let model = Model::open(&imported.path).expect("what was taken opens");
    // A changed digit may ask for a hundred thousand features: still sound, but slow to answer here.
    if model.schema().features().len() < 1_000 {
        let rows: Vec<Row> = Vec::new();
        model.predict_frame(&Frame::from_rows(
            &Arc::new(model.manifest().schema.clone()),
            &rows,
        ));
    }
    true
}

#[test]
fn every_whole_file_is_taken() {
    for (name, format) in MODELS {
        let bytes = fs::read(golden(name)).expect("a golden file");
        assert!(is_taken(format, &bytes), "{name}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn a_damaged_file_is_refused_or_answers(
        which in 0..MODELS.len(),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        cut in prop::option::weighted(0.2, any::<prop::sample::Index>()),
    ) {
        let (name, format) = MODELS[which];
        let mut bytes = fs::read(golden(name)).expect("a golden file");
        for (at, byte) in damage {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        if let Some(cut) = cut {
            bytes.truncate(cut.index(bytes.len()));
        }
        is_taken(format, &bytes);
    }

    #[test]
    fn any_bytes_are_refused(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        for format in [Format::Xgboost, Format::Lightgbm, Format::Onnx] {
            prop_assert!(!is_taken(format, &bytes));
        }
    }

    #[test]
    fn any_text_is_no_schema_or_one(text in ".{0,300}") {
        let _ = Wanted::parse("schema", &text);
        let _ = Wanted::parse("schema", &format!("{{\"features\": {text}}}"));
        let _ = Wanted::parse("schema", &format!("[features]\n{text}"));
    }
}
