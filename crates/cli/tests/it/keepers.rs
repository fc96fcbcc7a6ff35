//! What whoever keeps a house is told: by `audit verify`, by a second start, by keys, by settings.

use crate::serve::trained;
use crate::server::Server;
use crate::support::Place;
use std::fs;

/// A house with a few records and no server.
fn kept() -> Place {
    let place = trained();
    drop(Server::start(&place, &[]));
    place.done(&["deploy", "leavers", "models/leavers/latest"]);
    place
}

#[test]
fn verifying_says_no_more_than_was_seen() {
    let place = kept();
    let told = place.done(&["audit", "verify"]).stdout;
    assert!(
        told.contains("0 checkpoints") && told.contains("no checkpoint says"),
        "{told}"
    );
    assert!(!told.contains("as it was written"), "{told}");
    place
        .ombud(&["audit", "verify", "--lane", "nobody"])
        .refused("there is no lane nobody");
    place
        .ombud(&["audit", "verify", "--tenant", "nobody"])
        .refused("there is no tenant nobody");
    fs::create_dir(place.path("empty")).expect("a folder");
    place
        .ombud(&["audit", "verify", "--copies", "empty"])
        .refused("holds no copy of a checkpoint");
    place.done(&["audit", "verify", "--lane", "command"]);
}

#[test]
fn a_ledger_with_a_flaw_is_no_mistake_in_what_was_asked() {
    let place = kept();
    let out = "records.jsonl";
    place.done(&["audit", "export", "--out", out, "--reason", "a test"]);
    place.done(&["audit", "verify", "--export", out]);
    let changed = place.read(out).replacen("register", "rejister", 1);
    place.write("changed.jsonl", changed);
    for more in [&["--json"][..], &[]] {
        let words = [&["audit", "verify", "--export", "changed.jsonl"], more].concat();
        let run = place.ombud(&words);
        assert_eq!(run.code, 4, "{}", run.stderr);
    }
    let again = place.ombud(&["audit", "export", "--out", out, "--reason", "a test"]);
    again.refused("records.jsonl exists already");
}

#[test]
fn a_second_server_on_one_folder_does_not_start() {
    let place = kept();
    let server = Server::start(&place, &[]);
    let run = place.ombud(&["serve", "--port", "0"]);
    assert_eq!(run.code, 1, "{}", run.stderr);
    assert!(
        run.stderr.contains("another process writes the lane main")
            && run.stderr.contains("stop that one"),
        "{}",
        run.stderr
    );
    // Commands have lanes of their own.
    place.done(&["models"]);
    drop(server);
    drop(Server::start(&place, &[]));
}

#[test]
fn a_key_that_opens_nothing_is_not_made_and_one_is_withdrawn_once() {
    let place = kept();
    let words = ["keys", "new", "--label", "x", "--expires", "2020-01-01"];
    place.ombud(&words).refused("expired already");
    let made = place.json(&["keys", "new", "--label", "x", "--json"]);
    let prefix = made["prefix"].as_str().expect("a prefix");
    place.done(&["keys", "revoke", prefix]);
    let again = place.done(&["keys", "revoke", prefix]).stdout;
    assert!(again.contains("was withdrawn already"), "{again}");
}

#[test]
fn a_master_key_that_is_gone_is_told_before_a_start() {
    let place = kept();
    place.done(&["config", "check"]);
    fs::remove_file(place.path("ombud-data/master.key")).expect("it was there");
    place
        .ombud(&["config", "check"])
        .refused("is gone, but the ledger holds what it sealed");
}

#[test]
fn mistakes_of_a_deployment_are_told_with_what_to_do() {
    let place = kept();
    let canary = ["deploy", "leavers", "1", "--canary", "100"];
    let run = place.ombud(&canary);
    run.refused("from 1 to 99 percent");
    assert!(run.stderr.contains("--canary 10"), "{}", run.stderr);
    let label = ["register", "models/leavers/latest", "--label", "v9.9.9"];
    let told = place.done(&label).stderr;
    assert!(told.contains("the label v9.9.9 was not taken"), "{told}");
}
