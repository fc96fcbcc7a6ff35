//! What training, evaluating, comparing and inspecting tell: to people as text, to programs as one JSON object.

use crate::support::{DAYS, LEAVERS, Place, WAYS, days, leavers, ways};
use serde_json::Value;

const GATED: &str =
    "\n[gates]\naccuracy = { min = 0.6 }\nlog_loss = { max = 0.0001 }\nmin_samples = 50\n";

fn plain_numbers(metrics: &Value, names: &[&str]) {
    for name in names {
        assert!(metrics[name].is_f64(), "{name} in {metrics}");
    }
    assert!(
        metrics
            .as_object()
            .is_some_and(|all| all.values().all(Value::is_number)),
        "{metrics}"
    );
}

#[test]
fn train_reports_name_version_bundle_metrics_gates_and_warnings() {
    let place = Place::new();
    let report = place.train(&leavers(300, 1), &format!("{LEAVERS}{GATED}"));
    assert_eq!(
        (&report["name"], &report["version"]),
        (&"leavers".into(), &1.into())
    );
    assert_eq!(report["bundle"], "models/leavers/1");
    plain_numbers(
        &report["metrics"],
        &[
            "accuracy",
            "balanced_accuracy",
            "macro_f1",
            "log_loss",
            "brier",
            "roc_auc",
            "pr_auc",
            "ece",
        ],
    );
    assert!(report["warnings"].is_array());
    let gates = report["gates"].as_array().expect("a list");
    let passed = |name: &str| {
        let gate = gates
            .iter()
            .find(|gate| gate["name"] == name)
            .unwrap_or_else(|| panic!("{name} in {gates:?}"));
        assert!(
            gate["measured"].is_number() && gate["limit"].is_string(),
            "{gate}"
        );
        gate["passed"] == true
    };
    assert!(passed("accuracy") && passed("min_samples") && !passed("log_loss"));
    assert!(place.path("models/leavers/1/manifest.json").is_file());
    assert!(place.path("models/leavers/latest/card.md").is_file());
}

#[test]
fn a_second_training_is_the_next_version_and_the_latest() {
    let place = Place::new();
    place.train(&leavers(200, 1), LEAVERS);
    let report = place.json(&["train", "recipe.toml", "--set", "train.seed=8", "--json"]);
    assert_eq!(report["version"], 2);
    let latest = place.json(&["inspect", "models/leavers", "--json"]);
    assert_eq!(latest["manifest"]["version"], 2);
    assert_eq!(latest["manifest"]["lineage"]["seed"], 8);
}

#[test]
fn a_failed_gate_is_told_and_stops_a_pipeline_only_when_enforced() {
    let place = Place::new();
    place.write("data.csv", leavers(300, 1));
    place.write("recipe.toml", format!("{LEAVERS}{GATED}"));
    let run = place.done(&["train", "recipe.toml"]);
    assert!(
        run.stdout.contains("GATE FAILED: log_loss"),
        "{}",
        run.stdout
    );
    let run = place.ombud(&["train", "recipe.toml", "--gates", "enforce", "--json"]);
    assert_eq!((run.code, run.json()["version"].as_u64()), (3, Some(2)));
}

#[test]
fn a_person_reads_what_was_read_measured_and_written() {
    let place = Place::new();
    place.write("data.csv", leavers(300, 1));
    place.write("recipe.toml", LEAVERS);
    let run = place.done(&["train", "recipe.toml"]);
    for told in [
        "leavers version 1",
        "300 rows",
        "accuracy",
        "95 % interval",
        "gender",
        "models/leavers/1",
        "ombud predict",
    ] {
        assert!(
            run.stdout.contains(told),
            "{told:?} is not in:\n{}",
            run.stdout
        );
    }
    assert!(
        !run.stdout.contains('\u{1b}') && !run.stderr.contains('\u{1b}'),
        "no colour outside a terminal"
    );
    assert!(run.stderr.contains("not signed"), "{}", run.stderr);
}

#[test]
fn evaluate_reports_metrics_intervals_and_rows() {
    let place = Place::new();
    place.train(&leavers(300, 1), LEAVERS);
    place.write("more.csv", leavers(200, 2));
    let report = place.json(&[
        "evaluate",
        "models/leavers/latest",
        "--data",
        "more.csv",
        "--json",
    ]);
    plain_numbers(
        &report["metrics"],
        &[
            "accuracy",
            "balanced_accuracy",
            "macro_f1",
            "log_loss",
            "brier",
            "roc_auc",
            "pr_auc",
            "ece",
        ],
    );
    assert_eq!(report["rows"], 200);
    let accuracy = report["metrics"]["accuracy"].as_f64().expect("a number");
    let interval: Vec<f64> =
        serde_json::from_value(report["intervals"]["accuracy"].clone()).expect("two numbers");
    assert!(interval.len() == 2 && interval[0] <= accuracy && accuracy <= interval[1]);
    assert!(accuracy > 0.6, "{accuracy}");
    let run = place.done(&["evaluate", "models/leavers/latest", "--data", "more.csv"]);
    assert!(
        run.stdout.contains("said yes") && run.stdout.contains("200 rows"),
        "{}",
        run.stdout
    );
}

#[test]
fn evaluation_agrees_with_the_predictions() {
    let place = Place::new();
    place.train(&leavers(300, 1), LEAVERS);
    let more = leavers(200, 2);
    place.write("more.csv", &more);
    let report = place.json(&[
        "evaluate",
        "models/leavers/latest",
        "--data",
        "more.csv",
        "--json",
    ]);
    let run = place.done(&["predict", "models/leavers/latest", "--data", "more.csv"]);
    let said = run
        .stdout
        .lines()
        .skip(1)
        .map(|line| line.split(',').nth(1));
    let truth = more.lines().skip(1).map(|line| line.split(',').nth(5));
    let right = said
        .zip(truth)
        .filter(|(said, truth)| said == truth)
        .count();
    let accuracy = report["metrics"]["accuracy"].as_f64().expect("a number");
    assert!(
        (accuracy - right as f64 / 200.0).abs() < 1e-12,
        "{accuracy} and {right} of 200"
    );
}

#[test]
fn a_regression_is_measured_in_its_own_metrics() {
    let place = Place::new();
    let report = place.train(&days(300, 1), DAYS);
    plain_numbers(
        &report["metrics"],
        &["rmse", "mae", "r2", "interval_coverage"],
    );
    let report = place.json(&[
        "evaluate",
        "models/days/latest",
        "--data",
        "data.csv",
        "--json",
    ]);
    plain_numbers(&report["metrics"], &["rmse", "mae", "r2"]);
}

#[test]
fn segments_are_measured_without_a_truth() {
    let place = Place::new();
    let report = place.train(&ways(150, 1), WAYS);
    plain_numbers(&report["metrics"], &["silhouette", "inertia"]);
    let report = place.json(&[
        "evaluate",
        "models/ways/latest",
        "--data",
        "data.csv",
        "--json",
    ]);
    plain_numbers(&report["metrics"], &["silhouette", "inertia"]);
}

#[test]
fn compare_tests_the_difference_of_two_models() {
    let place = Place::new();
    place.train(&leavers(400, 1), LEAVERS);
    place.json(&[
        "train",
        "recipe.toml",
        "--set",
        "train.rounds=1",
        "--set",
        "train.depth=1",
        "--json",
    ]);
    place.write("more.csv", leavers(300, 2));
    let words = [
        "compare",
        "models/leavers/1",
        "models/leavers/2",
        "--data",
        "more.csv",
    ];
    let report = place.json(&[&words[..], &["--json"]].concat());
    let names: Vec<&str> = report["tests"]
        .as_array()
        .expect("tests")
        .iter()
        .filter_map(|test| test["name"].as_str())
        .collect();
    for name in ["mcnemar", "paired_bootstrap", "delong"] {
        assert!(names.contains(&name), "{name} in {names:?}");
    }
    assert!(report["verdict"].is_string() && report["rows"] == 300);
    let run = place.done(&words);
    assert!(
        run.stdout.contains("mcnemar") && run.stdout.contains("leavers version 2"),
        "{}",
        run.stdout
    );
}

#[test]
fn inspect_tells_everything_a_bundle_says() {
    let place = Place::new();
    place.train(&leavers(300, 1), &format!("{LEAVERS}{GATED}"));
    let run = place.done(&["inspect", "models/leavers/latest"]);
    let expected = [
        "leavers version 1",
        "one of 2 classes: no, yes",
        "300 rows",
        "subject",
        "hours",
        "harbour",
        "accuracy",
        "FAILED",
        "manifest.json",
        "card.md",
        "none: the bundle is not signed",
    ];
    for told in expected.into_iter().filter(|told| *told != "manifest.json") {
        assert!(
            run.stdout.contains(told),
            "{told:?} is not in:\n{}",
            run.stdout
        );
    }
    let report = place.json(&["inspect", "models/leavers/latest", "--json"]);
    assert_eq!(report["manifest"]["name"], "leavers");
    assert_eq!(report["signed"], false);
    assert_eq!(report["digest"].as_str().map(str::len), Some(64));
    let top = report["importance"][0]["feature"]
        .as_str()
        .expect("a feature");
    assert!(["hours", "tenure", "site"].contains(&top), "{top}");
}

#[test]
fn a_new_recipe_can_be_checked_and_trained() {
    let place = Place::new();
    place.write("data.csv", leavers(300, 1));
    let shown = place.done(&["recipe", "new", "data.csv", "--target", "left"]);
    place.done(&[
        "recipe",
        "new",
        "data.csv",
        "--target",
        "left",
        "--out",
        "recipe.toml",
    ]);
    assert_eq!(shown.stdout, place.read("recipe.toml"));
    assert!(
        shown.stdout.contains("person_id") && shown.stdout.contains("gender"),
        "{}",
        shown.stdout
    );
    place.done(&["recipe", "check", "recipe.toml"]);
    let checked = place.json(&["recipe", "check", "recipe.toml", "--json"]);
    assert_eq!(checked["passed"], true);
    let report = place.json(&["train", "recipe.toml", "--set", "train.rounds=10", "--json"]);
    plain_numbers(&report["metrics"], &["accuracy"]);
}

#[test]
fn a_recipe_written_elsewhere_still_finds_its_data() {
    let place = Place::new();
    place.write("data.csv", leavers(150, 1));
    place.write("project/inner/data.csv", leavers(160, 1));
    place.done(&[
        "recipe",
        "new",
        "data.csv",
        "--target",
        "left",
        "--out",
        "project/a.toml",
    ]);
    place.done(&["recipe", "check", "project/a.toml"]);
    let inner = "csv:project/inner/data.csv";
    place.done(&[
        "recipe",
        "new",
        inner,
        "--target",
        "left",
        "--out",
        "project/b.toml",
    ]);
    assert!(
        place
            .read("project/b.toml")
            .contains("\"csv:inner/data.csv\"")
    );
    place.done(&["recipe", "check", "project/b.toml"]);
}

#[test]
fn a_path_in_a_recipe_starts_at_the_recipe_and_on_the_command_line_here() {
    let place = Place::new();
    place.write("project/data.csv", leavers(150, 1));
    place.write("other.csv", leavers(180, 2));
    place.write("project/recipe.toml", LEAVERS);
    let inside = place.json(&[
        "train",
        "project/recipe.toml",
        "--out",
        "project/models",
        "--json",
    ]);
    assert_eq!(inside["bundle"], "project/models/leavers/1");
    place.json(&[
        "train",
        "project/recipe.toml",
        "--data",
        "other.csv",
        "--out",
        "project/models",
        "--json",
    ]);
    let rows = |version: u32| {
        let report = place.json(&[
            "inspect",
            &format!("project/models/leavers/{version}"),
            "--json",
        ]);
        report["manifest"]["lineage"]["data"]["rows"].as_u64()
    };
    assert_eq!((rows(1), rows(2)), (Some(150), Some(180)));
}
