//! What `ombud predict` writes: the columns, the formats, the reasons.

use crate::support::{
    DAYS, LEAVERS, NOTES, Place, Run, TAGGED, WAYS, cells, days, leavers, notes, tagged, ways,
};
use serde_json::Value;
use std::io::Write;
use std::process::Stdio;

fn number(cell: &str) -> f64 {
    cell.parse()
        .unwrap_or_else(|_| panic!("{cell:?} is a number"))
}

#[test]
fn classes_come_with_subject_confidence_and_a_probability_each() {
    let place = Place::new();
    place.train(&leavers(300, 1), LEAVERS);
    let run = place.done(&["predict", "models/leavers/latest", "--data", "data.csv"]);
    let (head, rows) = cells(&run.stdout);
    assert_eq!(
        head,
        ["person_id", "prediction", "confidence", "p_no", "p_yes"]
    );
    assert_eq!(rows.len(), 300);
    for (place, row) in rows.iter().enumerate() {
        assert_eq!(row[0], format!("P{place:05}"), "in the order of the data");
        let (no, yes) = (number(row[3]), number(row[4]));
        assert!((no + yes - 1.0).abs() < 1e-9);
        let likelier = if yes > no { "yes" } else { "no" };
        assert_eq!((row[1], number(row[2])), (likelier, no.max(yes)));
    }
}

#[test]
fn numbers_come_with_the_interval_that_was_promised() {
    let place = Place::new();
    place.train(&days(300, 1), DAYS);
    let run = place.done(&["predict", "models/days/latest", "--data", "data.csv"]);
    let (head, rows) = cells(&run.stdout);
    assert_eq!(head, ["case_id", "prediction", "lower", "upper"]);
    assert!(
        rows.iter()
            .all(|row| number(row[2]) <= number(row[1]) && number(row[1]) <= number(row[3]))
    );
}

#[test]
fn numbers_without_a_promise_stand_alone() {
    let place = Place::new();
    place.train(&days(200, 1), &DAYS.replace("coverage = 0.9\n", ""));
    let run = place.done(&["predict", "models/days/latest", "--data", "data.csv"]);
    assert_eq!(cells(&run.stdout).0, ["case_id", "prediction"]);
}

#[test]
fn segments_come_with_their_name_and_confidence() {
    let place = Place::new();
    place.train(&ways(150, 1), WAYS);
    let run = place.done(&[
        "predict",
        "models/ways/latest",
        "--data",
        "data.csv",
        "--format",
        "jsonl",
    ]);
    let rows: Vec<Value> = run
        .stdout
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect();
    assert_eq!(rows.len(), 150);
    for row in &rows {
        let keys: Vec<&String> = row.as_object().expect("an object").keys().collect();
        assert_eq!(keys, ["confidence", "person_id", "segment", "segment_name"]);
        assert!(row["segment"].is_u64(), "{row}");
        assert!((0.0..=1.0).contains(&row["confidence"].as_f64().expect("a number")));
    }
    let segments: std::collections::BTreeSet<String> =
        rows.iter().map(|row| row["segment"].to_string()).collect();
    assert_eq!(segments.len(), 3);
    assert!(
        rows.iter()
            .skip(3)
            .step_by(3)
            .all(|row| row["segment"] == rows[0]["segment"]),
        "one way, one segment"
    );
}

#[test]
fn labels_are_joined_and_each_has_a_probability() {
    let place = Place::new();
    place.train(&tagged(300, 1), TAGGED);
    let run = place.done(&["predict", "models/tagged/latest", "--data", "data.csv"]);
    let (head, rows) = cells(&run.stdout);
    assert_eq!(
        head,
        ["case_id", "prediction", "confidence", "p_large", "p_loud"]
    );
    assert!(
        rows.iter().any(|row| row[1] == "large|loud") && rows.iter().any(|row| row[1].is_empty())
    );
}

#[test]
fn classes_with_coverage_come_with_a_set() {
    let place = Place::new();
    place.train(
        &leavers(400, 1),
        &LEAVERS.replace("seed = 7", "seed = 7\ncoverage = 0.9"),
    );
    let run = place.done(&["predict", "models/leavers/latest", "--data", "data.csv"]);
    let (head, rows) = cells(&run.stdout);
    assert_eq!(head.last(), Some(&"prediction_set"));
    assert!(rows.iter().all(|row| {
        row[5]
            .split('|')
            .all(|class| ["", "yes", "no"].contains(&class))
    }));
}

#[test]
fn reasons_are_short_in_a_table_and_objects_in_json() {
    let place = Place::new();
    place.train(&leavers(300, 1), LEAVERS);
    let predict = [
        "predict",
        "models/leavers/latest",
        "--data",
        "data.csv",
        "--explain",
    ];
    let run = place.done(&predict);
    let first = run.stdout.lines().nth(1).expect("a row");
    assert!(
        run.stdout
            .starts_with("person_id,prediction,confidence,p_no,p_yes,reasons\n")
    );
    assert!(first.contains("hours=") && first.contains("; "), "{first}");
    let run = place.done(&[&predict[..], &["--format", "jsonl"]].concat());
    let row: Value = serde_json::from_str(run.stdout.lines().next().expect("a row")).expect("JSON");
    let reasons = &row["reasons"];
    assert_eq!(reasons["output"], row["prediction"]);
    let features = reasons["features"].as_array().expect("a list");
    assert!((1..=5).contains(&features.len()));
    assert!(
        features
            .iter()
            .all(|reason| reason["feature"].is_string() && reason["weight"].is_f64())
    );
}

#[test]
fn reasons_of_a_text_name_its_words() {
    let place = Place::new();
    place.train(&notes(240, 1), NOTES);
    let run = place.done(&[
        "predict",
        "models/notes/latest",
        "--data",
        "data.csv",
        "--explain",
        "--format",
        "jsonl",
    ]);
    let row: Value = serde_json::from_str(run.stdout.lines().next().expect("a row")).expect("JSON");
    assert_eq!(row["prediction"], "pay");
    let words = row["reasons"]["words"].as_array().expect("words");
    let text = words[0]["word"].as_str().expect("a word");
    assert!(
        ["dues", "wage", "refund", "payslip"]
            .iter()
            .any(|word| text.contains(word)),
        "{words:?}"
    );
}

#[test]
fn a_file_is_written_in_the_format_its_name_says() {
    let place = Place::new();
    place.train(&leavers(200, 1), LEAVERS);
    let bundle = "models/leavers/latest";
    let shown = place
        .done(&["predict", bundle, "--data", "data.csv"])
        .stdout;
    for name in ["a.csv", "a.jsonl", "a.parquet"] {
        let run = place.done(&["predict", bundle, "--data", "data.csv", "--out", name]);
        assert_eq!(run.stdout, "");
        assert!(
            run.stderr.contains(&format!("200 answers in {name}")),
            "{}",
            run.stderr
        );
    }
    assert_eq!(place.read("a.csv"), shown);
    assert_eq!(place.read("a.jsonl").lines().count(), 200);
    assert_eq!(
        &std::fs::read(place.path("a.parquet")).expect("a file")[..4],
        b"PAR1"
    );
}

#[test]
fn answers_of_one_format_are_questions_of_another() {
    let place = Place::new();
    place.train(&leavers(200, 1), LEAVERS);
    let bundle = "models/leavers/latest";
    let from_csv = place
        .done(&["predict", bundle, "--data", "data.csv"])
        .stdout;
    let lines: String = {
        let data = leavers(200, 1);
        let (head, rows) = cells(&data);
        let object = |row: &Vec<&str>| {
            let pairs = head
                .iter()
                .zip(row)
                .map(|(name, cell)| match cell.parse::<f64>() {
                    Ok(number) => format!("{name:?}: {number}"),
                    Err(_) => format!("{name:?}: {cell:?}"),
                });
            format!("{{{}}}\n", pairs.collect::<Vec<_>>().join(", "))
        };
        rows.iter().map(object).collect()
    };
    place.write("data.jsonl", lines);
    let from_json = place
        .done(&["predict", bundle, "--data", "data.jsonl"])
        .stdout;
    assert_eq!(from_json, from_csv);
}

#[test]
fn a_pipe_is_read_and_written() {
    let place = Place::new();
    place.train(&leavers(200, 1), LEAVERS);
    let bundle = "models/leavers/latest";
    let from_file = place
        .done(&["predict", bundle, "--data", "data.csv"])
        .stdout;
    let mut child = place
        .command(&["predict", bundle, "--data", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary runs");
    child
        .stdin
        .take()
        .expect("a pipe")
        .write_all(leavers(200, 1).as_bytes())
        .expect("the binary reads");
    let run = Run::of(child.wait_with_output().expect("the binary ends"));
    assert_eq!((run.code, run.stdout), (0, from_file), "{}", run.stderr);
}

#[test]
fn many_rows_keep_their_order_over_many_batches() {
    let place = Place::new();
    place.train(&leavers(300, 1), LEAVERS);
    place.write("many.csv", leavers(50_000, 2));
    let run = place.done(&["predict", "models/leavers/latest", "--data", "many.csv"]);
    let (_, rows) = cells(&run.stdout);
    assert_eq!(rows.len(), 50_000);
    assert!(
        rows.iter()
            .enumerate()
            .all(|(place, row)| row[0] == format!("P{place:05}"))
    );
}

#[test]
fn a_reader_that_stops_early_ends_the_command_quietly() {
    let place = Place::new();
    place.train(&leavers(200, 1), LEAVERS);
    place.write("many.csv", leavers(150_000, 2));
    let mut child = place
        .command(&["predict", "models/leavers/latest", "--data", "many.csv"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary runs");
    let mut first = [0; 10];
    std::io::Read::read_exact(&mut child.stdout.take().expect("a pipe"), &mut first)
        .expect("it writes");
    let run = Run::of(child.wait_with_output().expect("the binary ends"));
    assert_eq!((run.code, run.stderr.as_str()), (0, ""));
}

#[test]
fn what_the_model_does_not_know_is_summed_up_at_the_end() {
    let place = Place::new();
    place.train(&leavers(200, 1), LEAVERS);
    place.write(
        "odd.csv",
        "person_id,gender,hours,tenure,site\nA,woman,forty,3,north\nB,man,41,,moon\n",
    );
    let run = place.done(&["predict", "models/leavers/latest", "--data", "odd.csv"]);
    assert_eq!(run.stdout.lines().count(), 3);
    assert!(
        run.stderr.contains("hours: 1 cells") && run.stderr.contains("\"moon\""),
        "{}",
        run.stderr
    );
}

#[test]
fn a_row_without_its_id_still_gets_an_answer() {
    let place = Place::new();
    place.train(&leavers(200, 1), LEAVERS);
    place.write("new.csv", "gender,hours,tenure,site\nwoman,52,1,harbour\n");
    let run = place.done(&["predict", "models/leavers/latest", "--data", "new.csv"]);
    let (head, rows) = cells(&run.stdout);
    assert_eq!((head[0], rows[0][0], rows[0][1]), ("person_id", "", "yes"));
}

#[test]
fn a_failure_half_way_leaves_no_file() {
    let place = Place::new();
    place.train(&leavers(200, 1), LEAVERS);
    place.write("many.csv", format!("{}broken,row\n", leavers(40_000, 2)));
    let before = place.listing();
    let run = place.ombud(&[
        "predict",
        "models/leavers/latest",
        "--data",
        "many.csv",
        "--out",
        "a.csv",
    ]);
    run.refused("line 40002");
    assert!(place.listing() == before);
}

#[test]
fn a_full_disk_ends_the_command_with_the_reason() {
    let place = Place::new();
    place.train(&leavers(200, 1), LEAVERS);
    place.write("many.csv", leavers(150_000, 2));
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full");
    let output = place
        .command(&["predict", "models/leavers/latest", "--data", "many.csv"])
        .stdout(Stdio::from(full.expect("a device that is always full")))
        .output();
    let run = Run::of(output.expect("the binary ends"));
    assert_eq!(run.code, 1, "{}", run.stderr);
    assert!(
        run.stderr.starts_with("error: ") && run.stderr.contains("hint: "),
        "{}",
        run.stderr
    );
}
