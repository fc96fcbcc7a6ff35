//! The master key is replaced while the server serves, and the old one is needed by nothing afterwards.

use crate::serve::{decide, person, trained, wait_until_served};
use crate::server::Server;
use serde_json::{Value, json};

const NEW: &str = "ledger.master_key_file=new.key";
const BEFORE: &str = "ledger.master_key_before_file=ombud-data/master.key";

#[test]
fn a_server_does_not_start_with_keys_that_are_not_the_ledger_s() {
    let place = trained();
    let server = Server::start(&place, &["--set", "ledger.checkpoint_seconds=1"]);
    let key = server.first_key();
    place.done(&["deploy", "leavers", "models/leavers/latest"]);
    wait_until_served(&server);
    decide(
        &server,
        &key,
        &json!({ "input": person(), "subject": "ana" }),
    )
    .fine();
    let signed = || {
        let verified = place.json(&["audit", "verify", "--json"]);
        verified["checkpoints"]
            .as_u64()
            .is_some_and(|count| count > 0)
    };
    while !signed() {}
    server.stop();

    place.done(&["keys", "master", "new", "stranger.key"]);
    place
        .ombud(&[
            "serve",
            "--port",
            "0",
            "--set",
            "ledger.master_key_file=stranger.key",
        ])
        .refused("not the one that sealed this ledger");
    std::fs::remove_file(place.path("ombud-data/checkpoint.key")).expect("it was there");
    place
        .ombud(&["serve", "--port", "0"])
        .refused("the checkpoint key");
    assert!(!place.path("ombud-data/checkpoint.key").exists());

    // Whoever lost it says so by making another.
    place.done(&["keys", "master", "new", "ombud-data/checkpoint.key"]);
    let server = Server::start(&place, &[]);
    decide(
        &server,
        &key,
        &json!({ "input": person(), "subject": "ana" }),
    )
    .fine();
    let told = std::fs::read_to_string(place.path("serve.log")).expect("a log");
    assert!(told.contains("checkpoints were signed by"), "{told}");
    assert_eq!(server.stop(), Some(0));
    let acts = place.json(&["audit", "show", "--kind", "key_change", "--json"]);
    let is_on_record = acts.to_string().contains("sign checkpoints by another key");
    assert!(is_on_record, "{acts}");
}

#[test]
fn a_new_master_key_takes_over_while_the_server_serves() {
    let place = trained();
    let server = Server::start(&place, &[]);
    let key = server.first_key();
    place.done(&["deploy", "leavers", "models/leavers/latest"]);
    wait_until_served(&server);
    let ask = |server: &Server, who: &str| {
        let body = json!({ "input": person(), "subject": who });
        decide(server, &key, &body).fine()
    };
    ask(&server, "ana");
    assert_eq!(server.stop(), Some(0));

    place.done(&["keys", "master", "new", "new.key"]);
    let again = place.ombud(&["keys", "master", "new", "new.key"]);
    assert_ne!(again.code, 0, "a key is never overwritten");
    let both = Server::start(&place, &["--set", NEW, "--set", BEFORE]);
    ask(&both, "ana");
    ask(&both, "ben");
    let rewrap = ["keys", "master", "rewrap", "--reason", "yearly", "--json"];
    let words = [&rewrap[..], &["--set", NEW, "--set", BEFORE]].concat();
    let told = place.json(&words);
    assert_eq!(
        told,
        json!({ "keys": 1, "reference_keys": 1, "unreadable": 0 })
    );
    assert_eq!(place.json(&words)["keys"], 0, "repeating changes nothing");
    ask(&both, "ana");
    assert_eq!(both.stop(), Some(0));

    let server = Server::start(&place, &["--set", NEW]);
    ask(&server, "ana");
    let export = [
        "subject", "export", "ana", "--reason", "asked", "--set", NEW,
    ];
    let export: Value = serde_json::from_str(&place.done(&export).stdout).expect("JSON");
    let records = export["records"].as_array().expect("a list");
    assert_eq!(records.len(), 4);
    for record in records {
        assert_eq!(record["input"], person(), "{record}");
    }
    let acts = place.json(&["audit", "show", "--kind", "key_change", "--json"]);
    let acts = acts.to_string();
    assert!(acts.contains("wrap keys anew") && acts.contains("yearly"));
    assert_eq!(place.json(&["audit", "verify", "--json"])["is_sound"], true);
}
