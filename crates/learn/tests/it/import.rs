//! Damaged files are refused, or become bundles that open and answer; they never make us panic or wait.

use std::fs;
use std::path::{Path, PathBuf};

use ombud_core::{Frame, ModelName, Row, Version};
use ombud_engine::Model;
use ombud_learn::import::{Format, Options, Origin, Wanted, bundle, import};
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

/// Two replicas may make a bundle of one registration, and one of them again after it was killed: it is the same.
#[test]
fn what_came_at_one_time_is_one_bundle_whenever_it_is_made() {
    let bytes = fs::read(golden("forest/xgb-category.ubj")).expect("a golden file");
    let name = ModelName::new("twice").expect("a name");
    let made = |came_us: Option<i64>| {
        let origin = Origin {
            name: &name,
            version: Version::new(1).expect("a version"),
            file: "twice",
            wanted: &Wanted::default(),
            key: None,
            came_us,
        };
        bundle(Format::Xgboost, &bytes, &origin).expect("a bundle")
    };
    let then = made(Some(1_700_000_000_000_000));
    assert_eq!(then.manifest().created, "2023-11-14T22:13:20Z");
    assert_eq!(then.digest(), made(Some(1_700_000_000_000_000)).digest());
    assert_ne!(then.digest(), made(None).digest());
}

/// Imports under a schema; what was refused, and what to do.
fn imported(bytes: &[u8], schema: &str) -> Result<Vec<String>, (String, String)> {
    let place = tempfile::tempdir().expect("a temporary folder");
    let name = ModelName::new("said").expect("a name");
    let wanted = Wanted::parse("schema", schema).expect("a schema");
    let options = Options {
        name: &name,
        origin: "said",
        wanted: &wanted,
        out: place.path(),
        key: None,
    };
    match import(Format::Xgboost, bytes, &options) {
        Ok(imported) => {
            let schema = &imported.bundle.manifest().schema;
            let values = schema
                .features()
                .iter()
                .map(|feature| feature.kind.values());
            Ok(values.flatten().cloned().collect())
        }
        Err(error) => {
            let written = place.path().join("said").exists();
            assert!(!written, "nothing is written, and `latest` does not move");
            Err((error.to_string(), error.hint()))
        }
    }
}

#[test]
fn names_of_classes_that_cannot_be_told_apart_are_refused() {
    let bytes = fs::read(golden("forest/xgb-labels.ubj")).expect("a golden file");
    let refused =
        |levels: &str| imported(&bytes, &format!("[data]\nlevels = {levels}\n")).unwrap_err();
    let (told, hint) = refused(r#"["no", "no"]"#);
    assert_eq!(
        told,
        "the schema gives one name to two classes: levels 1 and 2 are both \"no\""
    );
    assert_eq!(hint, "give every class a name of its own in `levels`");
    let (told, _) = refused(r#"["no", " "]"#);
    assert_eq!(
        told,
        "the schema leaves a class without a name: level 2 is empty"
    );
}

#[test]
fn a_schema_that_contradicts_the_file_is_refused() {
    let bytes = fs::read(golden("forest/xgb-labels.ubj")).expect("a golden file");
    let refused = |schema: &str| imported(&bytes, schema).unwrap_err().0;
    let told = refused("[features]\njob = \"number\"\n");
    assert!(
        told.starts_with("the schema says that \"job\" is a number, and the file has a category with the values \"job 00\", "),
        "{told}"
    );
    let told = refused("[features]\njob = { type = \"category\", values = [\"a\", \"b\"] }\n");
    assert!(
        told.contains("\"job\" has the values \"a\", \"b\", and the file"),
        "{told}"
    );
    let told = refused("[model]\ntask = \"regression\"\n");
    assert!(
        told.starts_with(
            "the schema says that the task is regression, and the file answers with one of 0, 1"
        ),
        "{told}"
    );
    let told = refused("[data]\ntarget = \"age\"\n");
    assert!(
        told.contains("\"age\" is the target, and the model takes it as a feature"),
        "{told}"
    );
    let told = refused("[features]\npay = \"text\"\n");
    assert!(
        told.contains("\"pay\" is a text, and a forest takes numbers"),
        "{told}"
    );
    // What repeats the file, or adds to it, is taken.
    let repeated = "[model]\ntask = \"ordered\"\n[features]\njob = \"category\"\npay = { type = \"number\", min = 0 }\n";
    assert_eq!(imported(&bytes, repeated).expect("agreed").len(), 40);
}

/// XGBoost 3.1 and later keep names of values as signed bytes, and cut them where characters would end: `["Ä", "b"]`.
#[test]
fn values_beyond_ascii_are_asked_for() {
    let bytes = fs::read(golden("forest/xgb-binary-json.json")).expect("a golden file");
    let mut model: serde_json::Value = serde_json::from_slice(&bytes).expect("JSON");
    let learner = &mut model["learner"];
    learner["feature_names"] = serde_json::json!(["age", "job", "pay", "years", "gap"]);
    learner["feature_types"] = serde_json::json!(["float", "c", "float", "float", "float"]);
    let none = serde_json::json!({ "type": 0, "offsets": [0], "values": [] });
    let names = serde_json::json!({ "type": 0, "offsets": [0, 1, 2], "values": [-61, -124, 98] });
    learner["gradient_booster"]["model"]["cats"] =
        serde_json::json!({ "enc": [none, names, none, none, none] });
    let bytes = serde_json::to_vec(&model).expect("JSON");
    let (told, hint) = imported(&bytes, "").unwrap_err();
    assert_eq!(
        told,
        "the schema is needed: XGBoost stored the values of the category \"job\" in a way that lost all beyond ASCII"
    );
    assert!(
        hint.starts_with("list its 2 values in the order of their codes"),
        "{hint}"
    );
    let schema =
        |values: &str| format!("[features]\njob = {{ type = \"category\", values = {values} }}\n");
    let (told, _) = imported(&bytes, &schema(r#"["Ä"]"#)).unwrap_err();
    assert_eq!(
        told,
        "the schema gives \"job\" 1 values, and the file has 2"
    );
    let taken = imported(&bytes, &schema(r#"["Ä", "b"]"#)).expect("said");
    assert_eq!(taken, ["Ä", "b"]);
}

#[test]
fn names_that_a_terminal_obeys_or_that_have_no_end_are_refused() {
    let text = fs::read_to_string(golden("forest/lgb-category.lightgbm.txt")).expect("text");
    let renamed = |name: &str| {
        let place = tempfile::tempdir().expect("a temporary folder");
        let options = Options {
            name: &ModelName::new("named").expect("a name"),
            origin: "named",
            wanted: &Wanted::default(),
            out: place.path(),
            key: None,
        };
        let text = text.replace("age job_code", &format!("{name} job_code"));
        import(Format::Lightgbm, text.as_bytes(), &options)
            .map(|_| ())
            .map_err(|error| error.to_string())
    };
    assert_eq!(renamed("Alter"), Ok(()));
    let told = renamed("\u{1b}[2Jage").unwrap_err();
    assert!(!told.contains('\u{1b}'), "{told:?}");
    assert!(told.contains("[2Jage"), "{told}");
    let told = renamed(&"a".repeat(1_001)).unwrap_err();
    assert!(
        told.len() < 300 && told.contains("a name of 1001 bytes; 1000 are allowed"),
        "{told}"
    );
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
