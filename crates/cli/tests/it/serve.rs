//! The server as a newcomer and as an operator meet it.

use crate::server::Server;
use crate::support::{LEAVERS, Place, leavers};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// A place with a trained model `leavers`.
pub fn trained() -> Place {
    let place = Place::new();
    place.train(&leavers(400, 1), LEAVERS);
    place
}

pub fn person() -> Value {
    json!({ "hours": 44.5, "tenure": 2, "site": "harbour", "gender": "woman" })
}

pub fn decide(server: &Server, key: &str, body: &Value) -> crate::server::Reply {
    server.post("/api/v1/models/leavers/decide", key, body)
}

#[test]
fn an_empty_folder_is_enough_and_the_first_secrets_are_shown_once() {
    let place = Place::new();
    let server = Server::start(&place, &[]);
    let first = &server.started["first_start"];
    assert_eq!(first["login"], "admin");
    let who = server.get("/api/v1/session", &server.first_key()).fine();
    assert_eq!(who["roles"], json!(["caller"]));
    let signed_in = server.call(
        "POST",
        "/api/v1/session",
        &[("content-type", "application/json")],
        &json!({ "login": "admin", "password": first["password"] }).to_string(),
    );
    assert_eq!(signed_in.fine()["roles"], json!(["admin"]));
    let (key, password) = (
        server.first_key(),
        first["password"].as_str().expect("text").to_owned(),
    );
    assert_eq!(server.stop(), Some(0));
    let made = place.json(&["audit", "show", "--kind", "key_change", "--json"]);
    let made = made["records"].to_string();
    assert!(made.contains("first start"), "{made}");
    assert!(made.contains(&key[.."omb_12345678".len()]), "{made}");
    let again = Server::start(&place, &[]);
    assert_eq!(again.started["first_start"], Value::Null);
    assert_eq!(again.get("/api/v1/session", &key).status, 200);
    drop(again);
    for (path, content) in place.listing() {
        if path.ends_with("serve.log") || path.is_dir() {
            continue;
        }
        for secret in [&key, &password] {
            let is_there = content
                .windows(secret.len())
                .any(|window| window == secret.as_bytes());
            assert!(!is_there, "{} holds a secret in clear", path.display());
        }
    }
}

#[test]
fn a_decision_is_on_record_before_it_is_told() {
    let place = trained();
    let server = Server::start(&place, &[]);
    place.done(&[
        "deploy",
        "leavers",
        "models/leavers/latest",
        "--folder",
        "ombud-data",
    ]);
    wait_until_served(&server);
    let key = server.first_key();
    let told = decide(
        &server,
        &key,
        &json!({ "input": person(), "subject": "P00042" }),
    )
    .fine();
    assert!(
        ["yes", "no"].contains(&told["prediction"].as_str().expect("a class")),
        "{told}"
    );
    assert_eq!(told["model"], "leavers");
    assert!(
        told["confidence"]
            .as_f64()
            .is_some_and(|confidence| (0.0..=1.0).contains(&confidence))
    );
    assert!(
        !told["explanation"]["contributions"]
            .as_array()
            .expect("reasons")
            .is_empty()
    );
    let id = told["decision_id"].as_str().expect("an id").to_owned();
    // Without a word to say goodbye with: the record must be there already.
    let mut server = server;
    server.kill();
    let shown = place.json(&["audit", "show", &id, "--json"]);
    let record = &shown["records"][0];
    assert_eq!(record["hash"], told["recorded"]["hash"]);
    assert_eq!(record["sequence"], told["recorded"]["sequence"]);
    assert_eq!(record["answer"]["prediction"], told["prediction"]);
    assert!(record["has_input"].as_bool().expect("a truth"));
    assert!(!record.to_string().contains("P00042") && !record.to_string().contains("44.5"));
    let verified = place.json(&["audit", "verify", "--json"]);
    assert_eq!(verified["is_sound"], true, "{verified}");
}

#[test]
fn every_field_at_fault_is_told_and_the_refusal_is_on_record_without_the_body() {
    let place = trained();
    let server = Server::start(&place, &[]);
    place.done(&["deploy", "leavers", "models/leavers/latest"]);
    wait_until_served(&server);
    let wrong =
        json!({ "input": { "hours": "many", "tenrue": 2, "site": "moon", "gender": "woman" } });
    let reply = decide(&server, &server.first_key(), &wrong);
    assert_eq!(reply.status, 400, "{reply:?}");
    assert_eq!(
        reply.header("content-type"),
        Some("application/problem+json")
    );
    let problem = reply.json();
    assert_eq!(problem["code"], "fields-at-fault");
    let paths: Vec<&str> = problem["errors"]
        .as_array()
        .expect("a list")
        .iter()
        .filter_map(|error| error["path"].as_str())
        .collect();
    for path in ["hours", "tenrue"] {
        assert!(paths.contains(&path), "{path} is not among {paths:?}");
    }
    let headers = [
        ("authorization", &*format!("Bearer {}", server.first_key())),
        ("content-type", "application/json"),
    ];
    let broken = server.call(
        "POST",
        "/api/v1/models/leavers/decide",
        &headers,
        "{\"input\": ",
    );
    assert_eq!(broken.json()["code"], "malformed");
    let refused = place.json(&["audit", "show", "--kind", "refused", "--json"]);
    assert_eq!(
        refused["records"][0]["request_id"],
        broken.json()["request_id"]
    );
    let record = &refused["records"][1];
    assert_eq!(record["request_id"], problem["request_id"]);
    assert!(
        !record.to_string().contains("many") && !record.to_string().contains("moon"),
        "{record}"
    );
}

#[test]
fn a_retry_with_the_same_key_gets_the_same_decision() {
    let place = trained();
    let server = Server::start(&place, &[]);
    place.done(&["deploy", "leavers", "models/leavers/latest"]);
    wait_until_served(&server);
    let ask = |body: &Value| {
        let path = "/api/v1/models/leavers/decide";
        ask_with_key(&server, path, "order-66", &body.to_string())
    };
    let body = json!({ "input": person() });
    let (first, second) = (ask(&body).fine(), ask(&body).fine());
    assert_eq!(first["decision_id"], second["decision_id"]);
    assert_eq!(first["prediction"], second["prediction"]);
    assert_eq!(
        (first["replayed"].as_bool(), second["replayed"].as_bool()),
        (Some(false), Some(true))
    );
    let other =
        ask(&json!({ "input": { "hours": 20, "tenure": 9, "site": "north", "gender": "man" } }));
    assert_eq!(
        (
            other.status,
            other.json()["code"].as_str().map(str::to_owned)
        ),
        (409, Some("idempotency-conflict".to_owned()))
    );
}

#[test]
fn a_retry_is_known_by_what_it_means_and_at_the_clinical_door_too() {
    let place = trained();
    let server = Server::start(&place, &[]);
    place.done(&["deploy", "leavers", "models/leavers/latest"]);
    wait_until_served(&server);
    let decision = |path: &str, key: &str, body: &str, id: &str| {
        let told = ask_with_key(&server, path, key, body).fine();
        told.pointer(id).and_then(Value::as_str).map(str::to_owned)
    };
    let path = "/api/v1/models/leavers/decide";
    let first = r#"{"input": {"hours": 44.5, "tenure": 2, "site": "harbour", "gender": "woman"}}"#;
    // Another client's writer: another order, other blanks, another spelling of the same numbers.
    let again = r#"{"input":{"gender":"woman","site":"harbour","tenure":2.0,"hours":4.45e1},"explain":true}"#;
    let first = decision(path, "spelled", first, "/decision_id");
    assert!(first.is_some());
    assert_eq!(first, decision(path, "spelled", again, "/decision_id"));

    let path = "/api/v1/ml/predict";
    let body = json!({ "model_name": "leavers", "input_data": person() }).to_string();
    let first = decision(path, "clinic-1", &body, "/metadata/decision_id");
    assert!(first.is_some());
    assert_eq!(
        first,
        decision(path, "clinic-1", &body, "/metadata/decision_id")
    );
    assert_ne!(
        first,
        decision(path, "clinic-2", &body, "/metadata/decision_id")
    );
}

fn ask_with_key(server: &Server, path: &str, key: &str, body: &str) -> crate::server::Reply {
    let bearer = format!("Bearer {}", server.first_key());
    let headers = [
        ("authorization", bearer.as_str()),
        ("content-type", "application/json"),
        ("idempotency-key", key),
    ];
    server.call("POST", path, &headers, body)
}

#[test]
fn a_batch_answers_good_rows_beside_bad_ones() {
    let place = trained();
    let server = Server::start(&place, &[]);
    place.done(&["deploy", "leavers", "models/leavers/latest"]);
    wait_until_served(&server);
    let rows = json!({ "rows": [{ "input": person(), "subject": "a" }, { "input": { "hours": "x" } }, { "input": person() }] });
    let told = server
        .post(
            "/api/v1/models/leavers/decide:batch",
            &server.first_key(),
            &rows,
        )
        .fine();
    assert_eq!(
        (told["answered"].as_u64(), told["refused"].as_u64()),
        (Some(2), Some(1)),
        "{told}"
    );
    assert_eq!(told["results"][1]["error"]["code"], "fields-at-fault");
    assert!(told["results"][2]["decision_id"].is_string());
    let many = json!({ "rows": vec![json!({ "input": person() }); 1_001] });
    let reply = server.post(
        "/api/v1/models/leavers/decide:batch",
        &server.first_key(),
        &many,
    );
    assert_eq!(reply.status, 413, "{reply:?}");
    let nobody = json!({ "rows": [{ "input": person() }, { "input": person(), "subject": "" }] });
    let path = "/api/v1/models/leavers/decide:batch";
    let refused = server.post(path, &server.first_key(), &nobody);
    assert_eq!(refused.status, 400, "{refused:?}");
    assert!(refused.body.contains("row 1"), "{refused:?}");
}

#[test]
fn the_shapes_of_callers_today_are_kept() {
    let place = trained();
    let server = Server::start(&place, &[]);
    place.done(&["deploy", "leavers", "models/leavers/latest"]);
    wait_until_served(&server);
    let key = server.first_key();
    let told = server
        .post(
            "/api/v1/ml/predict",
            &key,
            &json!({ "model_name": "leavers", "input_data": person(), "use_cache": true }),
        )
        .fine();
    assert!(
        told["prediction"].is_string() && told["confidence"].is_number(),
        "{told}"
    );
    assert!(
        told["metadata"]["inference_time_ms"].is_number() && told["metadata"]["cache_hit"] == false
    );
    let again = server
        .post(
            "/api/v1/ml/predict",
            &key,
            &json!({ "model_name": "leavers", "input_data": person(), "use_cache": true }),
        )
        .fine();
    assert_eq!(again["metadata"]["cache_hit"], true);
    let catalogue = server.get("/api/v1/ml-models", &key).fine();
    assert!(
        catalogue["models"]["leavers"]
            .as_array()
            .is_some_and(|versions| versions.len() == 1)
            && catalogue["timestamp"].is_string(),
        "{catalogue}"
    );
    let health = server.get("/api/v1/ml-models/leavers/health", &key).fine();
    assert_eq!(
        (&health["model_type"], &health["status"]),
        (&json!("leavers"), &json!("healthy")),
        "{health}"
    );
    assert!(
        health["available"] == true
            && health["loadable"] == true
            && health["metadata"]["deployed_at"].is_string()
    );

    let auditor = place.json(&["keys", "new", "--label", "a", "--role", "auditor", "--json"]);
    let auditor = auditor["key"].as_str().expect("a key");
    let history = server
        .get("/api/v1/ml/predictions/history?limit=1", auditor)
        .fine();
    assert_eq!(
        history["predictions"].as_array().map(Vec::len),
        Some(1),
        "{history}"
    );
    let decision = told["metadata"]["decision_id"].as_str().expect("an id");
    let path = format!("/api/v1/decisions/{decision}/outcome");
    let outcome = json!({ "value": told["prediction"] });
    let elsewhere = ["--role", "operator", "--scope", "leavers@staging", "--json"];
    let elsewhere = place.json(&[&["keys", "new", "--label", "s"], &elsewhere[..]].concat());
    let elsewhere = elsewhere["key"].as_str().expect("a key");
    let refused = server.post(&path, elsewhere, &outcome);
    assert_eq!(refused.status, 403, "a key for staging: {refused:?}");
    let outcome = server.post(&path, &key, &outcome);
    assert_eq!(outcome.fine()["standing"], "first");
    let performance = server
        .get("/api/v1/ml/models/leavers/performance?hours=24", auditor)
        .fine();
    assert_eq!(
        performance["metrics"]["accuracy"][0]["value"], 1.0,
        "{performance}"
    );
    let answered = |performance: &Value| {
        let hours = performance["metrics"]["predictions"].as_array();
        let values = hours.expect("a series").iter();
        values
            .filter_map(|hour| hour["value"].as_f64())
            .sum::<f64>()
    };
    assert!((answered(&performance) - 2.0).abs() < 1e-9);
    let stats = server.get("/api/v1/ml/stats", auditor).fine();
    assert_eq!(stats["total_predictions"], 2);

    // How a model did outlives the server, what was counted since its start does not.
    assert_eq!(server.stop(), Some(0));
    let server = Server::start(&place, &[]);
    server
        .post(
            "/api/v1/ml/predict",
            &key,
            &json!({ "model_name": "leavers", "input_data": person() }),
        )
        .fine();
    let performance = server
        .get("/api/v1/ml/models/leavers/performance?hours=24", auditor)
        .fine();
    assert!((answered(&performance) - 3.0).abs() < 1e-9, "{performance}");
    let stats = server.get("/api/v1/ml/stats", auditor).fine();
    assert_eq!(stats["total_predictions"], 1);
}

#[test]
fn an_erased_person_is_nowhere_and_the_chain_still_verifies() {
    let place = trained();
    let server = Server::start(&place, &[]);
    place.done(&["deploy", "leavers", "models/leavers/latest"]);
    wait_until_served(&server);
    let key = server.first_key();
    let input = json!({ "hours": 41.987_654, "tenure": 2, "site": "harbour", "gender": "woman" });
    let told = decide(
        &server,
        &key,
        &json!({ "input": input, "subject": "person-of-the-test" }),
    )
    .fine();
    let id = told["decision_id"].as_str().expect("an id");
    let export = place.done(&[
        "subject",
        "export",
        "person-of-the-test",
        "--reason",
        "asked for",
    ]);
    let export: Value = serde_json::from_str(&export.stdout).expect("JSON");
    assert_eq!(export["records"][0]["input"]["hours"], 41.987_654);
    let erased = place.json(&[
        "subject",
        "erase",
        "person-of-the-test",
        "--reason",
        "asked for",
        "--json",
    ]);
    assert_eq!(erased["keys_destroyed"], 1, "{erased}");
    let admin = place.json(&["keys", "new", "--label", "a", "--role", "admin", "--json"]);
    let opened = server
        .post(
            &format!("/api/v1/audit/records/{id}/open"),
            admin["key"].as_str().expect("a key"),
            &json!({ "reason": "a look" }),
        )
        .fine();
    assert_eq!(
        (&opened["contents"], &opened["input"]),
        (&json!("erased"), &Value::Null)
    );
    assert_eq!(server.stop(), Some(0));
    assert_eq!(place.json(&["audit", "verify", "--json"])["is_sound"], true);
    for (path, content) in place.listing() {
        for clear in ["41.987654", "person-of-the-test"] {
            let is_there = content
                .windows(clear.len())
                .any(|window| window == clear.as_bytes());
            assert!(!is_there, "{} still holds {clear}", path.display());
        }
    }
}

#[test]
fn a_version_is_rolled_back_under_load_and_no_request_is_lost() {
    let place = trained();
    let server = Server::start(&place, &[]);
    place.done(&["deploy", "leavers", "models/leavers/latest"]);
    wait_until_served(&server);
    place.write(
        "second.toml",
        LEAVERS
            .replace("seed = 7", "seed = 8")
            .replace("rounds = 20", "rounds = 30"),
    );
    let second = place.json(&["train", "second.toml", "--json"]);
    let folder = second["bundle"]
        .as_str()
        .unwrap_or("models/leavers/latest")
        .to_owned();
    let key = server.first_key();
    let (stop, asked) = (AtomicBool::new(false), AtomicUsize::new(0));
    let versions = std::thread::scope(|scope| {
        let callers: Vec<_> = (0..4)
            .map(|_| {
                scope.spawn(|| {
                    let mut seen: BTreeMap<u64, usize> = BTreeMap::new();
                    while !stop.load(Ordering::Relaxed) {
                        let told = decide(
                            &server,
                            &key,
                            &json!({ "input": person(), "use_cache": false, "explain": false }),
                        )
                        .fine();
                        *seen
                            .entry(told["version"].as_u64().expect("a number"))
                            .or_default() += 1;
                        asked.fetch_add(1, Ordering::Relaxed);
                    }
                    seen
                })
            })
            .collect();
        let until_version = |wanted: u64| {
            while decide(&server, &key, &json!({ "input": person() })).fine()["version"].as_u64()
                != Some(wanted)
            {
                std::thread::yield_now();
            }
        };
        place.done(&["deploy", "leavers", &folder]);
        until_version(2);
        place.done(&[
            "rollback",
            "leavers",
            "--env",
            "production",
            "--reason",
            "it refuses too much",
        ]);
        until_version(1);
        stop.store(true, Ordering::Relaxed);
        callers
            .into_iter()
            .map(|caller| caller.join().expect("no request failed"))
            .collect::<Vec<_>>()
    });
    let all: BTreeMap<u64, usize> =
        versions
            .into_iter()
            .flatten()
            .fold(BTreeMap::new(), |mut all, (version, count)| {
                *all.entry(version).or_default() += count;
                all
            });
    assert_eq!(all.keys().copied().collect::<Vec<_>>(), [1, 2], "{all:?}");
    let events = place.json(&["audit", "show", "--kind", "deployment", "--json"]);
    assert!(
        events.to_string().contains("it refuses too much"),
        "{events}"
    );
}

#[test]
fn nothing_personal_is_in_the_log_or_the_metrics() {
    let place = trained();
    let server = Server::start(
        &place,
        &["--set", "log.level=trace", "--set", "log.format=json"],
    );
    place.done(&["deploy", "leavers", "models/leavers/latest"]);
    wait_until_served(&server);
    let key = server.first_key();
    let input = json!({ "hours": 41.987_654, "tenure": 2, "site": "harbour", "gender": "woman" });
    decide(
        &server,
        &key,
        &json!({ "input": input, "subject": "hans-muster" }),
    )
    .fine();
    decide(
        &server,
        &key,
        &json!({ "input": { "hours": "hans-muster" } }),
    );
    server.get("/api/v1/people/hans-muster?name=hans-muster", &key);
    let metrics = server.get("/metrics", &key).body;
    assert!(
        metrics.contains("ombud_decisions_total{model=\"leavers\""),
        "{metrics}"
    );
    assert_eq!(server.stop(), Some(0));
    let log = place.read("serve.log");
    assert!(
        log.contains("\"route\":\"/api/v1/models/{name}/decide\""),
        "{log}"
    );
    for clear in ["hans-muster", "41.98", &key] {
        assert!(!log.contains(clear), "the log holds {clear}");
        assert!(!metrics.contains(clear), "the metrics hold {clear}");
    }
}

#[test]
fn settings_are_checked_before_anything_is_opened() {
    let place = Place::new();
    place.write(
        "ombud.toml",
        "[server]\nlisten = \"127.0.0.1:0\"\nrequest_secnds = 3\n",
    );
    let run = place.ombud(&["serve"]);
    run.refused("ombud.toml:3");
    run.refused("`request_seconds`");
    assert!(!place.path("ombud-data").exists());
    place.write("ombud.toml", "[server]\nlisten = \"0.0.0.0:0\"\n");
    place.ombud(&["config", "check"]).refused("plain HTTP");
    place.write(
        "ombud.toml",
        "[storage]\ndatabase = \"postgres://u:hunter2@h/d\"\n",
    );
    let shown = place.done(&["config", "show"]);
    assert!(
        shown.stdout.contains("postgres://u:********@h/d") && !shown.stdout.contains("hunter2")
    );
}

/// Until the server has taken up what a command deployed.
pub fn wait_until_served(server: &Server) {
    let key = server.first_key();
    let started = std::time::Instant::now();
    loop {
        let models = server.get("/api/v1/ml/models", &key).fine();
        if models["count"].as_u64().is_some_and(|count| count > 0) {
            return;
        }
        assert!(
            started.elapsed().as_secs() < 10,
            "it was not taken up: {models}"
        );
        std::thread::yield_now();
    }
}
