//! The same recipe, data and seed give the same model, whoever trains it and on however many threads.

use crate::support::{DAYS, LEAVERS, NOTES, Place, WAYS, days, leavers, notes, ways};
use serde_json::Value;

/// The digests of all files of a freshly trained bundle but those that hold the time of day.
fn digests(place: &Place, name: &str, set: &[&str]) -> Value {
    let words: Vec<&str> = ["train", "recipe.toml", "--json"]
        .into_iter()
        .chain(set.iter().flat_map(|set| ["--set", *set]))
        .collect();
    let bundle = place.json(&words)["bundle"]
        .as_str()
        .expect("a path")
        .to_owned();
    assert!(bundle.starts_with(&format!("models/{name}/")));
    let mut files = place.json(&["inspect", &bundle, "--json"])["manifest"]["files"].take();
    // The card tells version, date and duration.
    files.as_object_mut().expect("files").remove("card.md");
    files
}

fn check(name: &str, data: String, recipe: &str) {
    let place = Place::new();
    place.write("data.csv", data);
    place.write("recipe.toml", recipe);
    let first = digests(&place, name, &[]);
    assert!(
        first
            .as_object()
            .is_some_and(|files| files.keys().any(|file| file.starts_with("model."))),
        "{first}"
    );
    assert_eq!(
        digests(&place, name, &[]),
        first,
        "{name}: the same seed twice"
    );
    assert_eq!(
        digests(&place, name, &["train.threads=1"]),
        first,
        "{name}: on one thread"
    );
    assert_eq!(
        digests(&place, name, &["train.threads=3"]),
        first,
        "{name}: on three threads"
    );
}

#[test]
fn a_forest_of_classes_repeats() {
    check("leavers", leavers(400, 1), LEAVERS);
}

#[test]
fn a_forest_of_numbers_repeats() {
    check("days", days(300, 1), DAYS);
}

#[test]
fn a_linear_model_of_texts_repeats() {
    check("notes", notes(240, 1), NOTES);
}

#[test]
fn segments_repeat() {
    check("ways", ways(150, 1), WAYS);
}

#[test]
fn another_seed_gives_another_model() {
    let place = Place::new();
    place.write("data.csv", leavers(400, 1));
    place.write("recipe.toml", LEAVERS);
    let first = digests(&place, "leavers", &[]);
    assert_ne!(
        digests(&place, "leavers", &["train.seed=8"])["model.ubj"],
        first["model.ubj"]
    );
}
