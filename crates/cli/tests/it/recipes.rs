//! What `recipe new` and `recipe check` find in data as people have it.

use crate::support::{LEAVERS, Place, leavers};
use std::fmt::Write;

/// Visits with everything that a first look should notice.
fn visits() -> String {
    let mut csv =
        "PID,SeniorCitizen,male,visited_on,date_of_birth,hr_1,hr_2,hr_3,hr_4,q_1,q_2,q_3,outcome\n"
            .to_owned();
    for row in 0..200_usize {
        let numbers: Vec<String> = (0..4)
            .map(|step| ((row * 7 + step * 13) % 60 + 50).to_string())
            .collect();
        let answers: Vec<String> = (0..3)
            .map(|step| ((row * 3 + step) % 4 + 1).to_string())
            .collect();
        let outcome = if (row * 2_654_435_761) % 97 < 40 {
            "back"
        } else {
            "well"
        };
        writeln!(
            csv,
            "V{row},{},{},2024-{:02}-{:02},19{:02}-05-01,{},{},{outcome}",
            row % 2,
            row / 2 % 2,
            row % 12 + 1,
            row % 28 + 1,
            row % 60 + 30,
            numbers.join(","),
            answers.join(",")
        )
        .expect("a string");
    }
    csv
}

fn new_recipe(place: &Place, words: &[&str]) -> (String, String) {
    let words = [&["recipe", "new", "data.csv"][..], words].concat();
    let run = place.done(&words);
    (run.stdout, run.stderr)
}

#[test]
fn a_first_recipe_knows_people_times_and_what_is_protected() {
    let place = Place::new();
    place.write("data.csv", visits());
    let (text, _) = new_recipe(&place, &["--target", "outcome"]);
    for line in [
        "subject = \"PID\"",
        "time = \"visited_on\"",
        "protected = [\"SeniorCitizen\", \"male\"]",
        "hr = \"sequence\"   # hr_1 to hr_4",
        "q_1 = \"number\"",
        "min_samples = 100",
    ] {
        assert!(text.contains(line), "no {line:?} in\n{text}");
    }
    assert!(!text.contains("hr_2 ="), "{text}");
    place.write("recipe.toml", text);
    place.done(&["train", "recipe.toml"]);
}

#[test]
fn segments_are_not_found_by_an_outcome() {
    let place = Place::new();
    place.write("data.csv", visits());
    let (text, _) = new_recipe(&place, &[]);
    let dropped = text
        .lines()
        .find(|line| line.starts_with("drop"))
        .expect("a drop");
    assert!(dropped.contains("outcome"), "{text}");
    assert!(!text.contains("\noutcome ="), "{text}");
}

#[test]
fn a_first_look_warns_of_what_gives_the_target_away() {
    let place = Place::new();
    let data = leavers(300, 1);
    let leaky: String = data
        .lines()
        .map(|line| match line.rsplit_once(',') {
            Some((row, "yes")) => format!("{row},gone,yes\n"),
            Some((row, "no")) => format!("{row},here,no\n"),
            _ => line.replace(",left", ",badge,left") + "\n",
        })
        .collect();
    place.write("data.csv", leaky);
    let (_, told) = new_recipe(&place, &["--target", "left"]);
    assert!(told.contains("badge alone gives the target away"), "{told}");
}

#[test]
fn a_wrong_target_is_told_with_the_nearest_column() {
    let place = Place::new();
    place.write("data.csv", leavers(100, 1));
    let run = place.ombud(&["recipe", "new", "data.csv", "--target", "Left"]);
    run.refused("did you mean \"left\"?");
}

#[test]
fn a_check_finds_what_training_would_refuse() {
    let place = Place::new();
    place.write("data.csv", leavers(200, 1));
    place.write(
        "recipe.toml",
        format!("{LEAVERS}[gates]\nsilhouette = {{ min = 0.2 }}\n"),
    );
    place
        .ombud(&["recipe", "check", "recipe.toml"])
        .refused("it is no metric of classification");
    place.write("recipe.toml", LEAVERS);
    let checked = place.json(&["recipe", "check", "recipe.toml", "--json"]);
    let remarks = checked["remarks"].to_string();
    assert!(
        remarks.contains("4 features") && remarks.contains("forest for classification"),
        "{remarks}"
    );
    assert!(checked["warnings"].is_array());
}
