//! What learning does with what it is asked for, and with data as people have it.

use crate::support::{DAYS, Dice, LEAVERS, Place, days, leavers};
use serde_json::Value;
use std::fmt::Write;

const BUNDLE: &str = "models/leavers/latest";

fn has(texts: &Value, part: &str) -> bool {
    let texts = texts.as_array().expect("a list of texts");
    texts
        .iter()
        .any(|text| text.as_str().is_some_and(|text| text.contains(part)))
}

/// The data with a column added before the target.
fn with_added(data: &str, name: &str, cell: impl Fn(usize, &str) -> String) -> String {
    let lines = data.lines().enumerate().map(|(line, text)| {
        let (row, target) = text.rsplit_once(',').expect("a target");
        match line {
            0 => format!("{row},{name},{target}\n"),
            _ => format!("{row},{},{target}\n", cell(line - 1, target)),
        }
    });
    lines.collect()
}

/// The probability of leaving for each number of hours, everything else equal.
fn leaving_by_hours(place: &Place, hours: &[f64]) -> Vec<f64> {
    let mut csv = "person_id,gender,hours,tenure,site\n".to_owned();
    for hours in hours {
        writeln!(csv, "P,woman,{hours},4,north").expect("a string");
    }
    place.write("asked.csv", csv);
    let run = place.done(&["predict", BUNDLE, "--data", "asked.csv"]);
    let mut lines = run.stdout.lines();
    let head: Vec<&str> = lines.next().expect("a header").split(',').collect();
    let column = head
        .iter()
        .position(|name| *name == "p_yes")
        .expect("p_yes");
    let cell = |line: &str| {
        line.split(',')
            .nth(column)
            .expect("a cell")
            .parse()
            .expect("a number")
    };
    lines.map(cell).collect()
}

#[test]
fn an_answer_only_rises_with_a_monotone_feature() {
    let hours: Vec<f64> = (0..200).map(|step| 10.0 + 0.4 * f64::from(step)).collect();
    let falls = |place: &Place| {
        let told = leaving_by_hours(place, &hours);
        assert_eq!(told.len(), hours.len());
        told.windows(2)
            .filter(|pair| pair[1] < pair[0] - 1e-12)
            .count()
    };
    let free = Place::new();
    free.train(
        &leavers(300, 3),
        &LEAVERS.replace("rounds = 20", "rounds = 60\ncalibrate = \"none\""),
    );
    let bound = Place::new();
    let recipe = LEAVERS
        .replace("rounds = 20", "rounds = 60\ncalibrate = \"none\"")
        .replace(
            "[train]",
            "[features]\nhours = { type = \"number\", monotone = \"up\" }\n[train]",
        );
    bound.train(&leavers(300, 3), &recipe);
    assert!(
        falls(&free) > 0,
        "without the wish the same data gives a curve that falls somewhere"
    );
    assert_eq!(falls(&bound), 0);
}

#[test]
fn a_search_keeps_the_best_it_tried_and_says_so() {
    let place = Place::new();
    let recipe = LEAVERS.replace(
        "rounds = 20",
        "rounds = 20\nsearch = { trials = 6, time = \"1m\" }",
    );
    let report = place.train(&leavers(300, 1), &recipe);
    assert!(
        has(&report["notes"], "6 settings were tried"),
        "{}",
        report["notes"]
    );
    let told: Value =
        serde_json::from_str(&place.read("models/leavers/1/report.json")).expect("JSON");
    let trials = told["search"].as_array().expect("trials");
    let loss = |trial: &Value| trial["loss"].as_f64().expect("a loss");
    let whole = trials.iter().filter(|trial| trial["is_pruned"] == false);
    let best = whole.map(loss).fold(f64::INFINITY, f64::min);
    assert_eq!(trials.len(), 6);
    assert!(
        has(&report["notes"], &format!("a loss of {best:.4}")),
        "{}",
        report["notes"]
    );
    assert!(
        trials.iter().any(|trial| loss(trial) > best),
        "all trials came out alike"
    );
}

#[test]
fn folds_are_told_with_their_spread() {
    let place = Place::new();
    let recipe = LEAVERS.replace("rounds = 20", "rounds = 20\ncross_validate = 4");
    let report = place.train(&leavers(300, 1), &recipe);
    assert!(
        has(&report["notes"], "log_loss over 4 folds"),
        "{}",
        report["notes"]
    );
}

#[test]
fn a_dirty_cell_does_not_cost_a_column() {
    let place = Place::new();
    let dirty = leavers(300, 1)
        .replacen(",3,", ",three,", 1)
        .replacen(",5,", ",1e60,", 1);
    let report = place.train(&dirty, LEAVERS);
    let inspected = place.json(&["inspect", BUNDLE, "--json"]);
    let features = inspected["manifest"]["schema"]["features"]
        .as_array()
        .expect("features");
    let tenure = features
        .iter()
        .find(|feature| feature["name"] == "tenure")
        .expect("tenure");
    assert_eq!(tenure["type"], "number", "{tenure}");
    assert!(
        has(&report["warnings"], "tenure: 2 cells"),
        "{}",
        report["warnings"]
    );
}

#[test]
fn what_cannot_be_kept_is_refused_and_never_ignored() {
    let forest = |line: &str| LEAVERS.replace("rounds = 20", &format!("rounds = 20\n{line}"));
    let feature = |line: &str| LEAVERS.replace("[train]", &format!("[features]\n{line}\n[train]"));
    let gate = |line: &str| format!("{LEAVERS}[gates]\n{line}\n");
    let linear = LEAVERS.replace("\"forest\"\nrounds = 20\ndepth = 3", "\"linear\"");
    let linear = linear.replace(
        "[train]",
        "[features]\nhours = { monotone = \"up\" }\n[train]",
    );
    for (recipe, because) in [
        (linear, "linear does not keep it"),
        (
            forest("class_weights = { maybe = 2.0 }"),
            "the target has no class \"maybe\"",
        ),
        (forest("loss = \"absolute\""), "it is for numbers"),
        (
            forest("thresholds = { maybe = { recall = 0.9 } }"),
            "the target has no such class",
        ),
        (
            forest("thresholds = { yes = { recall = 1.0 }, no = { recall = 1.0 } }"),
            "no threshold gives a recall of 1",
        ),
        (feature("site = \"ordinal\""), "its order cannot be told"),
        (
            gate("rmse = { max = 3.0 }"),
            "it is no metric of classification",
        ),
        (gate("accuracy = { min = 85 }"), "it is never more than 1"),
        (
            gate("fairness = { attribute = \"site\" }"),
            "not among `protected`",
        ),
        (
            LEAVERS.replace("\"person_id\"", "\"prediction\""),
            "the name of a column of answers",
        ),
    ] {
        let place = Place::new();
        place.write(
            "data.csv",
            leavers(300, 1).replace(
                "person_id",
                if because.contains("answers") {
                    "prediction"
                } else {
                    "person_id"
                },
            ),
        );
        place.write("recipe.toml", &recipe);
        println!("── {because}");
        place.ombud(&["train", "recipe.toml"]).refused(because);
        assert!(
            !place.path("models").exists(),
            "{because}: something was written"
        );
    }
}

#[test]
fn the_algorithm_follows_from_its_parameters() {
    let place = Place::new();
    let recipe = LEAVERS.replace("algorithm = \"forest\"\nrounds = 20\ndepth = 3", "c = 0.5");
    place.train(&leavers(200, 1), &recipe);
    assert_eq!(
        place.json(&["inspect", BUNDLE, "--json"])["manifest"]["engine"],
        "linear"
    );
}

#[test]
fn the_index_of_a_folder_lists_what_is_there() {
    let place = Place::new();
    place.train(&leavers(200, 1), LEAVERS);
    place.train(&leavers(200, 2), LEAVERS);
    let index: Value = serde_json::from_str(&place.read("models/registry.json")).expect("JSON");
    let leavers = &index["models"]["leavers"];
    assert_eq!(
        (
            leavers["latest"].as_u64(),
            leavers["versions"].to_string().as_str()
        ),
        (Some(2), "[1,2]")
    );
}

#[test]
fn equal_trainings_write_equal_cards() {
    let card = || {
        let place = Place::new();
        place.train(&leavers(300, 1), LEAVERS);
        place.read("models/leavers/1/card.md")
    };
    assert_eq!(card(), card());
}

#[test]
fn a_feature_that_knows_the_answer_is_told_even_when_it_errs_now_and_then() {
    let number = |row: usize, left: &str| {
        let truth = f64::from(u8::from(left == "yes"));
        let noise = f64::from((row as u32).wrapping_mul(2_654_435_761) >> 16) / 65_536.0;
        format!("{:.3}", truth + 1.15 * noise)
    };
    let word = |row: usize, left: &str| match (left, row % 40) {
        (_, 0) => "open".to_owned(),
        ("yes", _) => "letter sent".to_owned(),
        _ => "in the house".to_owned(),
    };
    let data = with_added(&with_added(&leavers(400, 1), "clue", number), "state", word);
    let report = Place::new().train(&data, LEAVERS);
    for name in ["clue", "state"] {
        assert!(
            has(
                &report["warnings"],
                &format!("{name} alone gives the target away")
            ),
            "{}",
            report["warnings"]
        );
    }
    assert!(
        !has(&report["warnings"], "hours alone"),
        "{}",
        report["warnings"]
    );
}

#[test]
fn what_was_written_down_later_is_told() {
    let day = |row: usize| format!("2024-{:02}-{:02}", row % 12 + 1, row % 27 + 1);
    let data = with_added(&leavers(400, 1), "asked_on", |row, _| day(row));
    let data = with_added(&data, "left_on", |row, left| match left {
        "yes" => format!("2025-{:02}-01", row % 12 + 1),
        _ => String::new(),
    });
    let data = with_added(&data, "told_by", |row, left| match left {
        "yes" => ["mail", "letter"][row % 2].to_owned(),
        _ => String::new(),
    });
    let report = Place::new().train(
        &data,
        &LEAVERS.replace("[train]", "time = \"asked_on\"\n[train]"),
    );
    assert!(
        has(&report["warnings"], "left_on is newer than asked_on"),
        "{}",
        report["warnings"]
    );
    assert!(
        has(
            &report["warnings"],
            "told_by is filled in just where left_on is"
        ),
        "{}",
        report["warnings"]
    );
}

#[test]
fn rare_values_are_no_duplicates() {
    // Two thousand jobs of one person each are encoded alike, and are not.
    let data = with_added(&leavers(2_500, 1), "job", |row, _| {
        format!("job of the year {row}")
    });
    let lines: Vec<String> = data
        .lines()
        .map(|line| {
            let cells: Vec<&str> = line.split(',').collect();
            [cells[0], cells[4], cells[5], cells[6]].join(",") + "\n"
        })
        .collect();
    let recipe = LEAVERS
        .replace("protected = [\"gender\"]\n", "")
        .replace("[train]", "[features]\njob = \"category\"\n[train]");
    let report = Place::new().train(&lines.concat(), &recipe);
    assert!(
        !has(&report["warnings"], "same features as a learned row"),
        "{}",
        report["warnings"]
    );
}

#[test]
fn a_target_is_not_needed_for_segments_and_says_so() {
    let recipe = LEAVERS.replace(
        "algorithm = \"forest\"\nrounds = 20\ndepth = 3",
        "algorithm = \"kmeans\"\nk = 3",
    );
    let report = Place::new().train(&leavers(200, 1), &recipe);
    assert!(
        has(
            &report["warnings"],
            "left is named as target, and segments are found without one"
        ),
        "{}",
        report["warnings"]
    );
}

/// Patients with a pulse at seven moments, in a table of their own; it rises before a fall.
fn pulses(people: usize, seed: u64) -> (String, String) {
    let mut dice = Dice::new(seed);
    let mut main = "patient_id,age,fell\n".to_owned();
    let mut long = "patient_id,step,pulse\n".to_owned();
    for person in 0..people {
        let falls = dice.unit() < 0.4;
        writeln!(
            main,
            "{person},{:.0},{}",
            60.0 + 30.0 * dice.unit(),
            if falls { "yes" } else { "no" }
        )
        .expect("a string");
        for step in 1..=7 {
            let rise = if falls { 3.0 * f64::from(step) } else { 0.0 };
            writeln!(
                long,
                "{person},{step},{:.1}",
                70.0 + rise + 4.0 * dice.normal()
            )
            .expect("a string");
        }
    }
    (main, long)
}

const FALLS: &str = "\
[model]
name = \"falls\"
[data]
source = \"csv:data.csv\"
target = \"fell\"
subject = \"patient_id\"
series = { source = \"csv:pulse.csv\", key = \"patient_id\", order = \"step\", columns = [\"pulse\"] }
[train]
algorithm = \"forest\"
rounds = 20
depth = 3
";

#[test]
fn a_series_of_new_people_is_joined_when_they_are_asked_about() {
    let place = Place::new();
    let (main, long) = pulses(200, 1);
    place.write("pulse.csv", long);
    place.train(&main, FALLS);
    let (main, long) = pulses(80, 2);
    place.write("new/people.csv", main);
    place.write("new/pulse.csv", long);
    let bundle = "models/falls/latest";
    let data = ["--data", "new/people.csv"];
    let series = ["--series", "new/pulse.csv"];
    let measured = place.json(&[&["evaluate", bundle, "--json"][..], &data, &series].concat());
    let run = place.done(&[&["predict", bundle][..], &data, &series].concat());
    let truth = place.read("new/people.csv");
    let right = truth
        .lines()
        .zip(run.stdout.lines())
        .skip(1)
        .filter(|(truth, told)| truth.rsplit(',').next() == told.split(',').nth(1));
    let accuracy = right.count() as f64 / 80.0;
    assert!((accuracy - measured["metrics"]["accuracy"].as_f64().expect("a number")).abs() < 1e-9);
    assert!(accuracy > 0.85, "{accuracy}");
    place
        .ombud(&[&["predict", bundle][..], &data].concat())
        .refused("pulse");
    place.train(&leavers(200, 1), LEAVERS);
    place
        .ombud(&[&["predict", BUNDLE, "--data", "data.csv"][..], &series].concat())
        .refused("was not trained with a series");
}

#[test]
fn a_sequence_may_stand_in_columns_of_its_own() {
    let (main, long) = pulses(200, 1);
    let pulse: Vec<Vec<&str>> = long
        .lines()
        .skip(1)
        .map(|line| line.split(',').collect())
        .collect();
    let wide = main.lines().enumerate().map(|(line, text)| match line {
        0 => format!(
            "{text},{}\n",
            (1..=7)
                .map(|step| format!("pulse_{step}"))
                .collect::<Vec<_>>()
                .join(",")
        ),
        _ => {
            let steps: Vec<&str> = pulse[(line - 1) * 7..line * 7]
                .iter()
                .map(|row| row[2])
                .collect();
            format!("{text},{}\n", steps.join(","))
        }
    });
    let wide: String = wide.collect();
    let place = Place::new();
    let series = FALLS
        .lines()
        .find(|line| line.starts_with("series"))
        .expect("a series");
    place.train(
        &wide,
        &FALLS.replace(series, "[features]\npulse = \"sequence\""),
    );
    let inspected = place.json(&["inspect", "models/falls/latest", "--json"]);
    let features = inspected["manifest"]["schema"]["features"]
        .as_array()
        .expect("features");
    let pulse = features
        .iter()
        .find(|feature| feature["name"] == "pulse")
        .expect("a pulse");
    assert_eq!(
        (pulse["type"].as_str(), pulse["steps"].as_u64()),
        (Some("sequence"), Some(7))
    );
    assert_eq!(features.len(), 2, "{features:?}");
    let run = place.done(&["predict", "models/falls/latest", "--data", "data.csv"]);
    assert_eq!(run.stdout.lines().count(), 201);
}

#[test]
fn an_interval_of_amounts_does_not_begin_before_zero() {
    let place = Place::new();
    let mut dice = Dice::new(5);
    let mut csv = "case_id,size,kind,days\n".to_owned();
    for row in 0..300 {
        let days = 4.0 * dice.normal().abs();
        writeln!(csv, "C{row},{:.1},short,{days:.2}", 10.0 * dice.unit()).expect("a string");
    }
    place.train(&csv.replacen("short", "long", 1), DAYS);
    let run = place.done(&["predict", "models/days/latest", "--data", "data.csv"]);
    let lower = |line: &str| {
        line.split(',')
            .nth(2)
            .expect("lower")
            .parse::<f64>()
            .expect("a number")
    };
    let lowest = run
        .stdout
        .lines()
        .skip(1)
        .map(lower)
        .fold(f64::INFINITY, f64::min);
    assert_eq!(
        lowest, 0.0,
        "an interval wider than the amount ends at zero"
    );
}

#[test]
fn a_gate_on_a_number_is_judged_in_its_unit() {
    let place = Place::new();
    let report = place.train(
        &days(300, 1),
        &format!("{DAYS}[gates]\nmae = {{ max = 100.0 }}\n"),
    );
    assert_eq!(report["gates"][0]["passed"], true, "{}", report["gates"]);
}
