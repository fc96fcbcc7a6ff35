//! Forests of other libraries mean here what they mean there.
//!
//! The files and the numbers are made by `golden/forest/make.py`, which names the versions.

use std::fs;
use std::path::{Path, PathBuf};

use ombud_engine::forest::{FeatureKind, Forest, ImportedForest, Link};

/// The largest difference of a margin, relative to its size where that is above one.
const MARGIN_TOLERANCE: f64 = 1e-6;
const CONTRIBUTION_TOLERANCE: f64 = 1e-5;

#[derive(serde::Deserialize)]
struct Expected {
    tool: String,
    rows: Vec<Option<f64>>,
    margins: Vec<f64>,
    predictions: Vec<f64>,
    contributions: Vec<f64>,
    splits: Vec<f64>,
    gain: Vec<f64>,
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/forest")
}

fn import(path: &Path) -> ImportedForest {
    let bytes = fs::read(path).expect("a golden file");
    let is_text = path.extension().is_some_and(|extension| extension == "txt");
    let imported = if is_text {
        Forest::from_lightgbm(&bytes)
    } else {
        Forest::from_xgboost(&bytes)
    };
    imported.unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn named(file: &str) -> ImportedForest {
    import(&folder().join(file))
}

/// Every model of the folder with what its own library said.
fn goldens() -> Vec<(String, ImportedForest, Expected)> {
    let files = fs::read_dir(folder()).expect("the golden folder");
    let mut goldens = Vec::new();
    for file in files {
        let file = file
            .expect("an entry")
            .file_name()
            .into_string()
            .expect("a name");
        let name = file.split('.').next().unwrap_or_default().to_owned();
        let is_model = [".ubj", ".json", ".txt"]
            .iter()
            .any(|end| file.ends_with(end));
        if !is_model || file.ends_with(".expected.json") {
            continue;
        }
        let text = fs::read(folder().join(format!("{name}.expected.json"))).expect("numbers");
        let expected = serde_json::from_slice(&text).expect("well-formed numbers");
        goldens.push((name, named(&file), expected));
    }
    assert!(goldens.len() >= 20, "golden files are missing");
    goldens
}

impl Expected {
    fn rows(&self) -> Vec<f64> {
        self.rows.iter().map(|x| x.unwrap_or(f64::NAN)).collect()
    }
}

fn check(name: &str, what: &str, ours: &[f64], theirs: &[f64], tolerance: f64) {
    assert_eq!(ours.len(), theirs.len(), "{name}: {what}");
    for (place, (a, b)) in ours.iter().zip(theirs).enumerate() {
        let difference = (a - b).abs() / b.abs().max(1.0);
        assert!(
            difference <= tolerance,
            "{name}: {what} {place}: {a} is not {b}"
        );
    }
}

#[test]
fn margins_are_those_of_the_library() {
    for (name, imported, expected) in goldens() {
        let mut ours = vec![0.0; expected.margins.len()];
        imported.forest.margins(&expected.rows(), &mut ours);
        check(
            &name,
            &expected.tool,
            &ours,
            &expected.margins,
            MARGIN_TOLERANCE,
        );
        let mut compiled = vec![0.0; expected.margins.len()];
        imported
            .forest
            .compile()
            .margins(&expected.rows(), &mut compiled);
        assert_eq!(ours, compiled, "{name}");
    }
}

#[test]
fn xgboost_margins_are_equal_to_the_last_bit() {
    for (name, imported, expected) in goldens() {
        if !expected.tool.starts_with("xgboost") {
            continue;
        }
        let mut ours = vec![0.0; expected.margins.len()];
        imported.forest.margins(&expected.rows(), &mut ours);
        assert_eq!(ours, expected.margins, "{name}");
    }
}

#[test]
fn predictions_are_those_of_the_library() {
    for (name, imported, expected) in goldens() {
        let mut ours = vec![0.0; expected.predictions.len()];
        imported.forest.margins(&expected.rows(), &mut ours);
        let link = imported.forest.link();
        ours.chunks_exact_mut(imported.forest.outputs())
            .for_each(|row| link.apply(row));
        check(
            &name,
            &expected.tool,
            &ours,
            &expected.predictions,
            MARGIN_TOLERANCE,
        );
    }
}

#[test]
fn contributions_are_those_of_the_library_and_sum_to_the_margin() {
    for (name, imported, expected) in goldens() {
        let explainer = imported.forest.explainer();
        let count = expected.margins.len() / imported.forest.outputs();
        let mut ours = vec![0.0; count * explainer.width()];
        explainer.contributions(&expected.rows(), &mut ours);
        let sums = ours
            .chunks_exact(imported.forest.features() + 1)
            .map(|row| row.iter().sum());
        let sums: Vec<f64> = sums.collect();
        check(
            &name,
            "sum",
            &sums,
            &expected.margins,
            CONTRIBUTION_TOLERANCE,
        );
        if !expected.contributions.is_empty() {
            check(
                &name,
                &expected.tool,
                &ours,
                &expected.contributions,
                CONTRIBUTION_TOLERANCE,
            );
        }
    }
}

#[test]
fn importance_is_that_of_the_library() {
    for (name, imported, expected) in goldens() {
        let importance = imported.forest.importance();
        let splits: Vec<f64> = importance
            .iter()
            .map(|feature| feature.splits as f64)
            .collect();
        let gain: Vec<f64> = importance.iter().map(|feature| feature.gain).collect();
        if !expected.splits.is_empty() {
            assert_eq!(splits, expected.splits, "{name}");
            check(&name, "gain", &gain, &expected.gain, CONTRIBUTION_TOLERANCE);
        }
    }
}

#[test]
fn a_forest_written_for_xgboost_is_read_back_the_same() {
    for (name, imported, expected) in goldens() {
        if !expected.tool.starts_with("xgboost") {
            assert!(imported.forest.to_xgboost_json().is_err(), "{name}");
            continue;
        }
        let json = imported.forest.to_xgboost_json().expect("expressible");
        let ubjson = imported.forest.to_xgboost_ubjson().expect("expressible");
        assert_eq!(
            Forest::from_xgboost(&json).expect("json").forest,
            imported.forest,
            "{name}"
        );
        assert_eq!(
            Forest::from_xgboost(&ubjson).expect("ubjson").forest,
            imported.forest,
            "{name}"
        );
    }
}

#[test]
fn names_and_categories_come_along() {
    let labels: Vec<String> = (0..40).map(|code| format!("job {code:02}")).collect();
    let mut kinds = vec![FeatureKind::Number; 5];
    kinds[1] = FeatureKind::Category { labels };
    let xgboost = named("xgb-labels.ubj");
    assert_eq!(xgboost.feature_names, ["age", "job", "pay", "years", "gap"]);
    assert_eq!(xgboost.feature_kinds, kinds);
    let lightgbm = named("lgb-labels.lightgbm.txt");
    assert_eq!(
        lightgbm.feature_names,
        ["age", "job", "pay", "years", "gap"]
    );
    assert_eq!(lightgbm.feature_kinds, kinds);
}

#[test]
fn the_objective_gives_the_link() {
    assert_eq!(named("xgb-multiclass.ubj").forest.link(), Link::Softmax);
    assert_eq!(
        named("lgb-binary.lightgbm.txt").forest.link(),
        Link::Logistic { scale: 1.5 }
    );
}

#[test]
fn what_has_no_meaning_for_one_row_is_refused_by_name() {
    let text = fs::read_to_string(folder().join("lgb-binary.lightgbm.txt")).expect("text");
    let ranking = text.replace("objective=binary sigmoid:1.5", "objective=lambdarank");
    let error = Forest::from_lightgbm(ranking.as_bytes()).expect_err("ranking");
    assert!(error.to_string().contains("ranking"), "{error}");
    let text = fs::read_to_string(folder().join("xgb-binary-json.json")).expect("text");
    let ranking = text.replace("binary:logistic", "rank:pairwise");
    let error = Forest::from_xgboost(ranking.as_bytes()).expect_err("ranking");
    assert!(error.to_string().contains("rank:pairwise"), "{error}");
    let linear = text.replace("\"gbtree\"}", "\"gblinear\"}");
    let error = Forest::from_xgboost(linear.as_bytes()).expect_err("linear");
    assert!(error.to_string().contains("gblinear"), "{error}");
}
