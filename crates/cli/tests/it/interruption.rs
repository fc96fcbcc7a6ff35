//! A training that is killed leaves no half bundle, wherever it was.

use crate::support::{LEAVERS, Place, leavers};
use std::io::{BufRead, BufReader};
use std::process::Stdio;

/// Starts a training and kills it when it says that the given stage begins; false when it ended first.
fn kill_at(place: &Place, stage: usize) -> bool {
    let mut child = place
        .command(&["train", "recipe.toml", "--progress", "plain"])
        .stderr(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .expect("the binary runs");
    let lines = BufReader::new(child.stderr.take().expect("a pipe")).lines();
    let is_reached = lines
        .map_while(Result::ok)
        .filter(|line| line.ends_with(" …"))
        .nth(stage)
        .is_some();
    child.kill().expect("a child can be killed");
    child.wait().expect("it ends");
    is_reached
}

#[test]
fn a_killed_training_leaves_no_half_bundle() {
    let place = Place::new();
    place.write("data.csv", leavers(2_000, 1));
    place.write("recipe.toml", LEAVERS);
    let stages = (0..).take_while(|stage| kill_at(&place, *stage)).count();
    assert!(stages >= 4, "only {stages} stages were seen");
    let models = place.path("models/leavers");
    for entry in models.read_dir().into_iter().flatten() {
        let name = entry
            .expect("an entry")
            .file_name()
            .into_string()
            .expect("a plain name");
        // A kill may come after the bundle was whole; then it must be sound. Drafts begin with a dot and are never taken
        // for a bundle.
        if !name.starts_with('.') {
            place.done(&["verify", &format!("models/leavers/{name}")]);
        }
    }
    let report = place.json(&["train", "recipe.toml", "--json"]);
    place.done(&["verify", report["bundle"].as_str().expect("a path")]);
    place.done(&["verify", "models/leavers/latest"]);
}

#[cfg(unix)]
#[test]
fn an_interrupted_training_says_so_and_writes_nothing() {
    let place = Place::new();
    place.write("data.csv", leavers(20_000, 1));
    place.write(
        "recipe.toml",
        LEAVERS
            .replace("rounds = 20", "rounds = 5000")
            .replace("seed = 7", "early_stopping = 5000"),
    );
    let before = place.listing();
    let mut child = place
        .command(&["train", "recipe.toml", "--progress", "plain", "--json"])
        .stderr(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the binary runs");
    let mut lines = BufReader::new(child.stderr.take().expect("a pipe"))
        .lines()
        .map_while(Result::ok);
    assert!(
        lines.any(|line| line.starts_with("growing") || line.starts_with("learning")),
        "it learns"
    );
    let interrupt = std::process::Command::new("kill")
        .args(["-INT", &child.id().to_string()])
        .status();
    assert!(interrupt.expect("kill runs").success());
    let told: Vec<String> = lines.collect();
    let run = crate::support::Run::of(child.wait_with_output().expect("it ends"));
    assert_eq!(run.code, 130, "{told:?}");
    assert!(told.iter().any(|line| line.contains("stopped")), "{told:?}");
    assert_eq!(run.json()["error"]["class"], "stopped");
    assert!(place.listing() == before);
}
