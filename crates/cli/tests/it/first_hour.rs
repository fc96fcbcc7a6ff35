//! The mistakes of the first hour: each ends in one message with a hint and exit code 2, and nothing is written.

use crate::support::{DAYS, LEAVERS, Place, leavers};
use std::fmt::Write;

/// One mistake in training.
struct Case {
    name: &'static str,
    recipe: String,
    data: Vec<u8>,
    /// Further words after `train recipe.toml`.
    words: &'static [&'static str],
    /// What the message must say.
    because: &'static str,
}

impl Case {
    fn of_recipe(name: &'static str, change: (&str, &str), because: &'static str) -> Self {
        let recipe = LEAVERS.replace(change.0, change.1);
        assert_ne!(recipe, LEAVERS, "{name}: the change applies");
        Case {
            name,
            recipe,
            data: leavers(120, 1).into(),
            words: &[],
            because,
        }
    }

    fn of_data(name: &'static str, data: impl Into<Vec<u8>>, because: &'static str) -> Self {
        Case {
            name,
            recipe: LEAVERS.into(),
            data: data.into(),
            words: &[],
            because,
        }
    }

    fn of_words(name: &'static str, words: &'static [&'static str], because: &'static str) -> Self {
        Case {
            name,
            recipe: LEAVERS.into(),
            data: leavers(120, 1).into(),
            words,
            because,
        }
    }

    fn check(&self) {
        let place = Place::new();
        place.write("recipe.toml", &self.recipe);
        place.write("data.csv", &self.data);
        let before = place.listing();
        let words: Vec<&str> = ["train", "recipe.toml"]
            .into_iter()
            .chain(self.words.iter().copied())
            .collect();
        let run = place.ombud(&words);
        println!("── {}\n{}", self.name, run.stderr);
        run.refused(self.because);
        assert_eq!(run.stdout, "", "{}: nothing on standard output", self.name);
        assert!(
            place.listing() == before,
            "{}: something was written",
            self.name
        );
        let with_json: Vec<&str> = words.iter().copied().chain(["--json"]).collect();
        let run = place.ombud(&with_json);
        assert_eq!(run.code, 2, "{}", self.name);
        let error = &run.json()["error"];
        assert!(
            error["message"].is_string() && error["hint"].is_string() && error["class"].is_string(),
            "{error}"
        );
        assert!(
            place.listing() == before,
            "{}: something was written with --json",
            self.name
        );
    }
}

/// The data with one column's cells replaced.
fn with_column(column: usize, cell: impl Fn(usize) -> String) -> String {
    let data = leavers(120, 1);
    let lines = data.lines().enumerate().map(|(line, text)| {
        let mut cells: Vec<String> = text.split(',').map(str::to_owned).collect();
        if line > 0 {
            cells[column] = cell(line - 1);
        }
        cells.join(",") + "\n"
    });
    lines.collect()
}

/// Features of which every value is the same.
fn constant() -> String {
    let mut csv = "person_id,gender,hours,left\n".to_owned();
    for row in 0..120 {
        let left = if row % 3 == 0 { "yes" } else { "no" };
        writeln!(csv, "P{row},woman,40,{left}").expect("a string");
    }
    csv
}

/// Features without a single value.
fn hollow() -> String {
    let mut csv = "person_id,gender,hours,left\n".to_owned();
    for row in 0..120 {
        let left = if row % 3 == 0 { "yes" } else { "no" };
        writeln!(csv, "P{row},,NaN,{left}").expect("a string");
    }
    csv
}

/// A target of more classes than anyone can mean.
fn crowded() -> String {
    let mut csv = "person_id,gender,hours,left\n".to_owned();
    for row in 0..100_000 {
        writeln!(csv, "P{row},woman,{},reason {row}", row % 50).expect("a string");
    }
    csv
}

fn utf_16(text: &str) -> Vec<u8> {
    let units = std::iter::once(0xFEFF).chain(text.encode_utf16());
    units.flat_map(u16::to_le_bytes).collect()
}

#[test]
fn a_wrong_target_names_the_nearest_column() {
    Case::of_recipe(
        "wrong target",
        ("target = \"left\"", "target = \"lft\""),
        "no column \"lft\"",
    )
    .check();
}

#[test]
fn a_missing_target_is_asked_for() {
    Case::of_recipe("no target", ("target = \"left\"\n", ""), "target").check();
}

#[test]
fn a_target_among_the_features_is_refused() {
    let change = ("[train]", "[features]\nleft = \"category\"\n[train]");
    Case::of_recipe("target among the features", change, "left").check();
}

#[test]
fn files_that_are_no_table_are_told_apart() {
    let ragged = format!("{}P99999,woman,40.0,3,north\n", leavers(120, 1));
    for case in [
        Case::of_data("empty file", "", "is empty"),
        Case::of_data(
            "header only",
            "person_id,gender,hours,tenure,site,left\n",
            "no rows",
        ),
        Case::of_data(
            "binary",
            [
                0x7f, b'E', b'L', b'F', 2, 1, 1, 0, 0, 0, 0xff, 0xfe, b'\n', 0, 9,
            ],
            "data.csv",
        ),
        Case::of_data("UTF-16", utf_16(&leavers(120, 1)), "UTF-16"),
        Case::of_data(
            "Latin-1",
            leavers(120, 1)
                .replace("harbour", "h\u{e4}fen")
                .chars()
                .map(|c| c as u8)
                .collect::<Vec<u8>>(),
            "UTF-8",
        ),
        Case::of_data("ragged row", ragged, "line 122"),
        Case::of_data(
            "open quote",
            leavers(120, 1)
                .replacen("P00050,woman", "P00050,\"woman", 1)
                .replacen("P00050,man", "P00050,\"man", 1),
            "quote",
        ),
        Case::of_data(
            "column twice",
            leavers(120, 1).replacen("tenure", "hours", 1),
            "hours",
        ),
    ] {
        case.check();
    }
}

#[test]
fn data_without_anything_to_learn_is_told_apart() {
    for case in [
        Case::of_data("one class", with_column(5, |_| "yes".into()), "only"),
        Case::of_data(
            "target all missing",
            with_column(5, |_| String::new()),
            "left",
        ),
        Case::of_data(
            "one row of a class",
            with_column(5, |row| if row == 3 { "yes".into() } else { "no".into() }),
            "yes",
        ),
        Case::of_data("features all constant", constant(), "feature"),
        Case::of_data("features all missing", hollow(), "feature"),
        Case::of_data("a hundred thousand classes", crowded(), "left"),
        Case::of_data("too few rows", leavers(8, 1), "rows"),
    ] {
        case.check();
    }
}

#[test]
fn a_text_where_numbers_are_wanted_is_refused() {
    let recipe = DAYS
        .replace("target = \"days\"", "target = \"site\"")
        .replace("ids = [\"case_id\"]\n", "");
    let case = Case {
        name: "text target of a regression",
        recipe,
        data: leavers(120, 1).into(),
        words: &[],
        because: "site",
    };
    case.check();
}

#[test]
fn wrong_recipes_name_the_line() {
    for case in [
        Case::of_recipe(
            "unknown key",
            ("rounds = 20", "ruonds = 20"),
            "recipe.toml:10",
        ),
        Case::of_recipe("unknown section", ("[train]", "[trian]"), "trian"),
        Case::of_recipe(
            "wrong type",
            ("seed = 7", "seed = \"seven\""),
            "recipe.toml:12",
        ),
        Case::of_recipe(
            "not TOML",
            ("rounds = 20", "rounds = = 20"),
            "recipe.toml:10",
        ),
        Case::of_recipe("absurd rounds", ("rounds = 20", "rounds = 0"), "rounds"),
        Case::of_recipe("absurd depth", ("depth = 3", "depth = 4000"), "depth"),
        Case::of_recipe("negative seed", ("seed = 7", "seed = -7"), "seed"),
        Case::of_recipe(
            "name of a folder",
            ("\"leavers\"", "\"../leavers\""),
            "name",
        ),
        Case::of_recipe("no name", ("name = \"leavers\"\n", ""), "name"),
        Case::of_recipe("unknown algorithm", ("\"forest\"", "\"forrest\""), "forest"),
        Case::of_recipe(
            "algorithm of another task",
            ("\"forest\"\nrounds = 20\ndepth = 3", "\"kmeans\"\ntask = 1"),
            "task",
        ),
        Case::of_recipe(
            "unknown split",
            ("[train]", "split = { by = \"moon\" }\n[train]"),
            "split",
        ),
        Case::of_recipe(
            "share beyond one",
            (
                "[train]",
                "split = { by = \"random\", validation = 1.5 }\n[train]",
            ),
            "validation",
        ),
        Case::of_recipe(
            "unknown gate",
            ("[train]", "[gates]\nacuracy = { min = 0.9 }\n[train]"),
            "acuracy",
        ),
        Case::of_recipe(
            "unknown class for a threshold",
            ("seed = 7", "thresholds = { maybe = { recall = 0.9 } }"),
            "maybe",
        ),
        Case::of_recipe(
            "unknown positive class",
            (
                "target = \"left\"",
                "target = \"left\"\npositive = \"maybe\"",
            ),
            "maybe",
        ),
        Case::of_recipe(
            "unknown protected column",
            ("[\"gender\"]", "[\"gendre\"]"),
            "gendre",
        ),
        Case::of_recipe(
            "unknown feature",
            ("[train]", "[features]\nhuors = \"number\"\n[train]"),
            "huors",
        ),
    ] {
        case.check();
    }
}

#[test]
fn all_mistakes_of_a_recipe_are_listed_at_once() {
    let place = Place::new();
    place.write(
        "recipe.toml",
        LEAVERS
            .replace("rounds = 20", "ruonds = 20")
            .replace("seed = 7", "seed = \"x\""),
    );
    let run = place.ombud(&["train", "recipe.toml", "--json"]);
    run.refused("recipe.toml has 2 mistakes");
    let error = &run.json()["error"];
    assert_eq!(error["mistakes"][0]["line"], 10, "{error}");
    assert_eq!(error["mistakes"][1]["line"], 12, "{error}");
}

#[test]
fn wrong_words_and_places_are_refused() {
    for case in [
        Case::of_words("absent data", &["--data", "absent.csv"], "absent.csv"),
        Case::of_words("folder as data", &["--data", "home"], "home"),
        Case::of_words("unknown ending", &["--data", "recipe.toml"], "recipe.toml"),
        Case::of_words("unknown scheme", &["--data", "sql:select"], "sql"),
        Case::of_words(
            "set without a value",
            &["--set", "train.rounds"],
            "train.rounds",
        ),
        Case::of_words(
            "set of an unknown key",
            &["--set", "train.ruonds=3"],
            "ruonds",
        ),
        Case::of_words(
            "set of an absurd value",
            &["--set", "train.rounds=-3"],
            "rounds",
        ),
        Case::of_words("absent key", &["--key", "absent.key"], "absent.key"),
        Case::of_words("data as key", &["--key", "data.csv"], "private key"),
        Case::of_words(
            "file as folder of models",
            &["--out", "data.csv"],
            "data.csv",
        ),
        Case::of_words("unknown flag", &["--seed", "3"], "--seed"),
    ] {
        case.check();
    }
}

#[test]
fn recipes_that_are_no_recipes_are_refused() {
    let place = Place::new();
    place.write("data.csv", leavers(120, 1));
    place.write("binary.toml", [0xff, 0xfe, 0, 1]);
    for (recipe, because) in [
        ("absent.toml", "does not exist"),
        ("home", "is a folder"),
        ("binary.toml", "UTF-8"),
        ("data.csv", "not TOML"),
    ] {
        let before = place.listing();
        place.ombud(&["train", recipe]).refused(because);
        assert!(place.listing() == before, "{recipe}");
    }
}

#[test]
fn an_odd_column_among_good_ones_is_told_and_does_not_stop() {
    let data: String = leavers(200, 1)
        .lines()
        .enumerate()
        .map(|(line, text)| match line {
            0 => format!("{text},constant,hollow,code,remark\n"),
            line => format!("{text},same,,K{line},nan\n"),
        })
        .collect();
    let place = Place::new();
    let report = place.train(&data, LEAVERS);
    let warnings = report["warnings"].to_string();
    for column in ["constant", "hollow", "code"] {
        assert!(
            warnings.contains(column) || report["notes"].to_string().contains(column),
            "{column}: {warnings}"
        );
    }
}

#[test]
fn data_for_a_model_that_does_not_fit_is_refused() {
    let place = Place::new();
    place.train(&leavers(150, 1), LEAVERS);
    place.write("other.csv", "person_id,hourz,site\nP1,40,north\n");
    place.write("empty.csv", "");
    place.write("no_target.csv", leavers(30, 2).replace(",left", ",stayed"));
    let before = place.listing();
    let bundle = "models/leavers/latest";
    for (words, because) in [
        (
            vec!["predict", bundle, "--data", "other.csv"],
            "hours (is it `hourz`?)",
        ),
        (vec!["predict", bundle, "--data", "empty.csv"], "empty"),
        (
            vec!["predict", bundle, "--data", "absent.csv"],
            "absent.csv",
        ),
        (
            vec![
                "predict",
                bundle,
                "--data",
                "data.csv",
                "--out",
                "answers.xlsx",
            ],
            "answers.xlsx",
        ),
        (
            vec![
                "predict",
                bundle,
                "--data",
                "data.csv",
                "--out",
                "absent/answers.csv",
            ],
            "absent",
        ),
        (
            vec!["predict", bundle, "--data", "data.csv", "--format", "xml"],
            "xml",
        ),
        (
            vec![
                "predict",
                bundle,
                "--data",
                "other.csv",
                "--out",
                "answers.csv",
            ],
            "hours",
        ),
        (vec!["evaluate", bundle, "--data", "no_target.csv"], "left"),
        (
            vec!["evaluate", bundle, "--data", "absent.csv"],
            "absent.csv",
        ),
        (
            vec!["evaluate", "models/absent", "--data", "data.csv"],
            "absent",
        ),
        (
            vec!["compare", bundle, "data.csv", "--data", "data.csv"],
            "data.csv",
        ),
        (vec!["inspect", "models"], "manifest.json"),
        (vec!["package", bundle, "--out", "home"], "is a folder"),
        (
            vec!["recipe", "new", "data.csv", "--target", "lefd"],
            "left",
        ),
        (vec!["recipe", "new", "absent.csv"], "absent.csv"),
        (
            vec![
                "recipe", "new", "data.csv", "--target", "left", "--out", "data.csv",
            ],
            "never overwritten",
        ),
        (vec!["keys", "signing", "show", "data.csv"], "data.csv"),
    ] {
        let run = place.ombud(&words);
        println!("── {}\n{}", words.join(" "), run.stderr);
        run.refused(because);
        assert!(
            place.listing() == before,
            "{words:?}: something was written"
        );
    }
}
