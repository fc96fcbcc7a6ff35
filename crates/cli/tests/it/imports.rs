//! Models of other tools come in, are used like our own, and go out again.
//!
//! The files are the golden ones of `engine`, written by the tools themselves with their own answers beside.

use crate::support::{LEAVERS, Place, leavers};
use serde_json::Value;
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

/// How far a margin may be from the tool's own.
const TOLERANCE: f64 = 1e-6;

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../engine/tests/golden")
        .join(name)
}

fn place_with(file: &str, golden_name: &str) -> Place {
    let place = Place::new();
    place.write(file, fs::read(golden(golden_name)).expect("a golden file"));
    place
}

/// What a forest's own tool said, as a table of rows with these columns, and its margins.
fn expected(name: &str, columns: &[&str]) -> (String, Vec<f64>) {
    let text = fs::read_to_string(golden(name)).expect("a golden file");
    let value: Value = serde_json::from_str(&text).expect("JSON");
    let numbers = |key: &str| -> Vec<Option<f64>> {
        let list = value[key].as_array().expect("a list");
        list.iter().map(Value::as_f64).collect()
    };
    let mut csv = columns.join(",") + "\n";
    for row in numbers("rows").chunks_exact(columns.len()) {
        let cells = row
            .iter()
            .map(|cell| cell.map_or(String::new(), |cell| cell.to_string()));
        let _ = writeln!(csv, "{}", cells.collect::<Vec<_>>().join(","));
    }
    let margins = numbers("margins").into_iter().flatten().collect();
    (csv, margins)
}

fn lightgbm() -> (Place, Vec<f64>) {
    let place = place_with("model.txt", "forest/lgb-category.lightgbm.txt");
    let columns = ["age", "job_code", "pay", "years", "gap"];
    let (csv, margins) = expected("forest/lgb-category.expected.json", &columns);
    place.write("rows.csv", csv);
    (place, margins)
}

fn column(csv: &str, name: &str) -> Vec<String> {
    let mut lines = csv.lines();
    let header: Vec<&str> = lines.next().expect("a header").split(',').collect();
    let at = header.iter().position(|found| *found == name).expect(name);
    lines
        .map(|line| line.split(',').nth(at).expect("a cell").to_owned())
        .collect()
}

#[test]
fn an_import_says_name_version_and_bundle_and_nothing_else() {
    let (place, _) = lightgbm();
    let import = [
        "import",
        "lightgbm",
        "model.txt",
        "--name",
        "claims",
        "--json",
    ];
    let first = place.json(&import);
    assert_eq!(
        first,
        serde_json::json!({ "name": "claims", "version": 1, "bundle": "models/claims/1" })
    );
    assert_eq!(place.json(&import)["version"], 2);
    let index: Value = serde_json::from_str(&place.read("models/registry.json")).expect("JSON");
    assert_eq!(
        index["models"]["claims"]["versions"],
        serde_json::json!([1, 2])
    );
    assert!(place.path("models/claims/latest/manifest.json").is_file());
}

#[test]
fn an_imported_forest_answers_as_the_tool_that_made_it() {
    let (place, margins) = lightgbm();
    place.done(&["import", "lightgbm", "model.txt", "--name", "claims"]);
    let run = place.done(&["predict", "models/claims/latest", "--data", "rows.csv"]);
    let shares = column(&run.stdout, "p_1");
    assert_eq!(shares.len(), margins.len());
    for (share, margin) in shares.iter().zip(margins) {
        let share: f64 = share.parse().expect("a number");
        let found = (share / (1.0 - share)).ln();
        assert!((found - margin).abs() <= TOLERANCE, "{found}, not {margin}");
    }
}

#[test]
fn an_imported_bundle_is_used_like_any_other() {
    let (place, _) = lightgbm();
    place.done(&["keys", "signing", "new", "--out", "keys"]);
    let signing = ["--key", "keys/signing.key"];
    let import = [
        "import",
        "lightgbm",
        "model.txt",
        "--name",
        "claims",
        "--target",
        "left",
    ];
    place.done(&[&import[..], &signing[..]].concat());
    let bundle = "models/claims/1";
    place.done(&["verify", bundle, "--key", "keys/signing.pub"]);
    let inspected = place.done(&["inspect", bundle]).stdout;
    for told in [
        "classification by forest",
        "imported from",
        "LightGBM file model.txt",
        "job_code",
    ] {
        assert!(inspected.contains(told), "{told:?} is not in:\n{inspected}");
    }
    assert!(
        place
            .read("models/claims/1/card.md")
            .contains("Imported, not trained here")
    );
    place.done(&["package", bundle, "--out", "claims.tar.gz"]);
    let explained = ["--data", "rows.csv", "--explain", "--format", "jsonl"];
    let run = place.done(&[&["predict", "claims.tar.gz"][..], &explained[..]].concat());
    assert!(run.stdout.contains("\"reasons\":"), "{}", run.stdout);
    let truth: String = place
        .read("rows.csv")
        .lines()
        .enumerate()
        .map(|(row, line)| match row {
            0 => format!("{line},left\n"),
            row => format!("{line},{}\n", row % 2),
        })
        .collect();
    place.write("held_out.csv", truth);
    let measured = place.json(&["evaluate", bundle, "--data", "held_out.csv", "--json"]);
    assert!(measured["metrics"]["accuracy"].is_number(), "{measured}");
    place.done(&["compare", bundle, bundle, "--data", "held_out.csv"]);
}

#[test]
fn an_onnx_graph_is_understood_and_says_that_it_gives_no_reasons() {
    let place = place_with("model.onnx", "onnx/mixed_one_hot.onnx");
    let told = place.done(&["import", "sklearn", "model.onnx", "--name", "leavers"]);
    assert!(told.stderr.contains("gives no reasons"), "{}", told.stderr);
    let text = fs::read_to_string(golden("onnx/mixed_one_hot.json")).expect("golden");
    let golden: Value = serde_json::from_str(&text).expect("JSON");
    let inputs = golden["inputs"].as_object().expect("inputs");
    let names: Vec<&str> = inputs.keys().map(String::as_str).collect();
    let rows = inputs[names[0]].as_array().expect("rows").len();
    let mut csv = names.join(",") + "\n";
    for row in 0..rows {
        let cell = |name: &&str| match &inputs[*name][row][0] {
            Value::Null => String::new(),
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        let _ = writeln!(
            csv,
            "{}",
            names.iter().map(cell).collect::<Vec<_>>().join(",")
        );
    }
    place.write("rows.csv", csv);
    let bundle = "models/leavers/1";
    let run = place.done(&["predict", bundle, "--data", "rows.csv"]);
    let wanted = golden["outputs"]["output_label"]
        .as_array()
        .expect("labels");
    let wanted: Vec<&str> = wanted
        .iter()
        .map(|row| row[0].as_str().expect("a label"))
        .collect();
    assert_eq!(column(&run.stdout, "prediction"), wanted);
    place
        .ombud(&["predict", bundle, "--data", "rows.csv", "--explain"])
        .refused("gives no reasons");
    place.done(&["inspect", bundle]);
    place.done(&["export", bundle, "--to", "onnx", "--out", "again.onnx"]);
    assert_eq!(
        fs::read(place.path("again.onnx")).expect("written"),
        fs::read(place.path("model.onnx")).expect("read")
    );
}

#[test]
fn what_cannot_be_imported_is_refused_with_a_remedy_and_nothing_is_written() {
    let place = place_with("model.txt", "forest/lgb-category.lightgbm.txt");
    place.write(
        "model.ubj",
        fs::read(golden("forest/xgb-targets.ubj")).expect("golden"),
    );
    place.write(
        "pickle.onnx",
        b"\x80\x04\x95\x10\x00\x00\x00\x00\x00\x00\x00\x8c",
    );
    place.write("old.bin", b"binf\0\0\0\0\0\0\0\0");
    place.write("empty.onnx", "");
    let ranks = place
        .read("model.txt")
        .replace("objective=binary sigmoid:1", "objective=lambdarank");
    place.write("ranks.txt", ranks);
    place.write("wrong.toml", "[features]\nagee = \"number\"\n");
    place.write("odd.toml", "[features]\nage = \"numbr\"\n");
    let before = place.listing();
    for (words, because) in [
        (vec!["import", "lightgbm", "ranks.txt"], "ranking"),
        (vec!["import", "sklearn", "pickle.onnx"], "skl2onnx"),
        (vec!["import", "xgboost", "old.bin"], "save it as .ubj"),
        (vec!["import", "onnx", "empty.onnx"], "it is empty"),
        (
            vec!["import", "xgboost", "model.txt"],
            "ombud import lightgbm",
        ),
        (
            vec!["import", "lightgbm", "model.ubj"],
            "ombud import xgboost",
        ),
        (vec!["import", "xgboost", "model.ubj"], "numbers a row"),
        (vec!["import", "xgboost", "absent.ubj"], "does not exist"),
        (vec!["import", "pickle", "model.txt"], "sklearn"),
        (
            vec!["import", "lightgbm", "model.txt", "--schema", "wrong.toml"],
            "is it `age`?",
        ),
        (
            vec!["import", "lightgbm", "model.txt", "--schema", "odd.toml"],
            "odd.toml:2",
        ),
        (
            vec!["import", "lightgbm", "model.txt", "--out", "old.bin"],
            "no models can be kept",
        ),
    ] {
        let words = [&words[..], &["--name", "a"][..]].concat();
        place.ombud(&words).refused(because);
    }
    place
        .ombud(&["import", "lightgbm", "model.txt", "--name", "No Name"])
        .refused("is not a model name");
    assert_eq!(place.listing(), before);
}

#[test]
fn an_operator_that_is_not_known_is_named_at_import() {
    let place = place_with("model.onnx", "onnx/random_forest.onnx");
    let mut bytes = fs::read(place.path("model.onnx")).expect("golden");
    let name = b"TreeEnsembleClassifier";
    let other = b"FrobEnsembleClassifier";
    for at in 0..bytes.len().saturating_sub(name.len()) {
        if bytes[at..].starts_with(name) {
            bytes[at..at + other.len()].copy_from_slice(other);
        }
    }
    place.write("model.onnx", bytes);
    place
        .ombud(&["import", "onnx", "model.onnx", "--name", "a"])
        .refused("FrobEnsembleClassifier");
    assert!(!place.path("models").exists());
}

#[test]
fn a_model_of_ours_goes_out_whole_or_not_at_all() {
    let place = Place::new();
    place.train(&leavers(400, 3), LEAVERS);
    let bundle = "models/leavers/1";
    let told = place.json(&[
        "export",
        bundle,
        "--to",
        "onnx",
        "--out",
        "out/m.onnx",
        "--json",
    ]);
    assert_eq!(told["file"], "out/m.onnx");
    place.done(&["import", "onnx", "out/m.onnx", "--name", "again"]);
    let answers = |bundle: &str| {
        let run = place.done(&["predict", bundle, "--data", "data.csv"]);
        column(&run.stdout, "prediction")
    };
    assert_eq!(answers(bundle), answers("models/again/1"));
    for ending in ["ubj", "json"] {
        let file = format!("trees.{ending}");
        place.done(&["export", bundle, "--to", "xgboost", "--out", &file]);
        place.done(&["import", "xgboost", &file, "--name", "trees"]);
    }
    place
        .ombud(&["export", bundle, "--to", "onnx", "--out", "out"])
        .refused("is a folder");
    place
        .ombud(&["export", bundle, "--to", "pickle", "--out", "m"])
        .refused("onnx, xgboost");
    assert!(!place.path("m").exists());
}

#[test]
fn trees_that_xgboost_cannot_say_are_refused() {
    let (place, _) = lightgbm();
    place.done(&["import", "lightgbm", "model.txt", "--name", "claims"]);
    place
        .ombud(&[
            "export",
            "models/claims/1",
            "--to",
            "xgboost",
            "--out",
            "m.ubj",
        ])
        .refused("inclusive");
    assert!(!place.path("m.ubj").exists());
    place.done(&[
        "export",
        "models/claims/1",
        "--to",
        "onnx",
        "--out",
        "m.onnx",
    ]);
}

#[test]
fn the_help_shows_how_files_are_made_and_schemas_are_written() {
    let place = Place::new();
    let help = place.done(&["import", "--help"]).stdout;
    for told in ["skl2onnx.to_onnx", "save_model", "levels = ", "Examples:"] {
        assert!(help.contains(told), "{told:?} is not in:\n{help}");
    }
    assert!(
        place
            .done(&["export", "--help"])
            .stdout
            .contains("onnxruntime")
    );
}

#[test]
fn a_repository_that_came_in_does_not_come_in_again() {
    let (place, _) = lightgbm();
    let model = fs::read(place.path("model.txt")).expect("a model");
    for version in ["1", "2"] {
        place.write(&format!("repository/claims/{version}/model.txt"), &model);
    }
    let words = ["import", "triton", "repository", "--json"];
    let first = place.json(&words);
    let count = |told: &Value, what: &str| told[what].as_array().map(Vec::len);
    assert_eq!(count(&first, "imported"), Some(2), "{first}");
    let again = place.json(&words);
    assert_eq!(count(&again, "imported"), Some(0), "{again}");
    assert_eq!(count(&again, "known"), Some(2), "{again}");
    place.write("repository/claims/3/model.txt", &model);
    let more = place.json(&words);
    assert_eq!(count(&more, "imported"), Some(1), "{more}");
    assert_eq!(count(&more, "known"), Some(2), "{more}");
}
