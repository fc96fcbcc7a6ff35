//! The command line itself: help, completions, wrong words.

use crate::support::Place;

const COMMANDS: [&[&str]; 14] = [
    &[],
    &["train"],
    &["evaluate"],
    &["predict"],
    &["inspect"],
    &["compare"],
    &["package"],
    &["verify"],
    &["recipe"],
    &["recipe", "new"],
    &["recipe", "check"],
    &["keys", "signing", "new"],
    &["keys", "signing", "show"],
    &["completions"],
];

#[test]
fn every_command_explains_itself() {
    let place = Place::new();
    for words in COMMANDS {
        let words: Vec<&str> = words.iter().copied().chain(["--help"]).collect();
        let run = place.done(&words);
        assert!(
            run.stdout.contains("Usage: ombud") && run.stderr.is_empty(),
            "{words:?}"
        );
        assert!(
            !run.stdout.contains('\u{1b}'),
            "{words:?}: no colour outside a terminal"
        );
    }
}

#[test]
fn every_command_that_does_something_shows_an_example() {
    let place = Place::new();
    for words in COMMANDS
        .iter()
        .filter(|words| !words.is_empty() && **words != ["recipe"])
    {
        let words: Vec<&str> = words.iter().copied().chain(["--help"]).collect();
        let run = place.done(&words);
        assert!(
            run.stdout.contains("Example") && run.stdout.contains("\n  ombud "),
            "{words:?}"
        );
    }
}

#[test]
fn completions_know_the_commands() {
    let place = Place::new();
    for shell in ["bash", "zsh", "fish"] {
        let run = place.done(&["completions", shell]);
        assert!(
            run.stdout.contains("predict") && run.stdout.contains("explain"),
            "{shell}"
        );
    }
}

#[test]
fn wrong_words_get_a_hint() {
    let place = Place::new();
    for (words, because) in [
        (vec![], "a command is missing"),
        (vec!["trian", "recipe.toml"], "did you mean `train`?"),
        (
            vec!["predict", "b", "--data", "d", "--explian"],
            "did you mean `--explain`?",
        ),
        (vec!["predict", "b"], "--data"),
        (vec!["train"], "RECIPE"),
        (vec!["completions", "fsh"], "fish"),
        (vec!["keys"], "ombud keys"),
        (vec!["train", "r", "--gates", "ignore"], "enforce"),
    ] {
        let run = place.ombud(&words);
        println!("── {words:?}\n{}", run.stderr);
        run.refused(because);
    }
    let run = place.ombud(&["predict", "--json"]);
    assert_eq!(run.json()["error"]["class"], "invalid");
}

#[test]
fn the_version_is_told() {
    let run = Place::new().done(&["--version"]);
    assert!(run.stdout.starts_with("ombud "));
}
