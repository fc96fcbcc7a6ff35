//! What is left after a server was killed, and what it does when its disk is full or cannot be written.

use crate::serve::{decide, person, trained, wait_until_served};
use crate::server::{Server, call};
use crate::support::Dice;
use serde_json::{Value, json};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// How often the server is killed.
const KILLS: u64 = 4;

#[test]
fn a_server_that_cannot_load_what_is_deployed_is_not_ready_until_it_can() {
    let place = trained();
    let server = Server::start(&place, &[]);
    let key = server.first_key();
    place.done(&["deploy", "leavers", "models/leavers/latest"]);
    wait_until_served(&server);
    server.stop();
    let (models, away) = (
        place.path("ombud-data/main/models"),
        place.path("ombud-data/away"),
    );
    std::fs::rename(&models, &away).expect("moved");
    let server = Server::start(&place, &[]);
    let ready = || server.call("GET", "/health/ready", &[], "");
    assert_eq!(ready().status, 503);
    assert_eq!(ready().json()["services"]["models"], "unhealthy");
    let refused = decide(&server, &key, &json!({ "input": person() }));
    assert_eq!(refused.status, 503, "{refused:?}");
    assert_eq!(refused.json()["code"], "unavailable");
    assert!(refused.header("retry-after").is_some(), "{refused:?}");
    std::fs::remove_dir_all(&models).ok();
    std::fs::rename(&away, &models).expect("moved back");
    // It tries again by itself.
    let since = Instant::now();
    while ready().status != 200 {
        assert!(since.elapsed() < Duration::from_secs(30), "{:?}", ready());
        std::thread::yield_now();
    }
    decide(&server, &key, &json!({ "input": person() })).fine();
}

#[test]
fn whatever_moment_it_is_killed_every_answered_decision_is_in_the_ledger() {
    let place = trained();
    let mut words: Vec<String> = Vec::new();
    // Under with_postgres.sh the same promise is checked there.
    if let Ok(url) = std::env::var("OMBUD_TEST_POSTGRES") {
        words = vec![
            "--set".to_owned(),
            format!("storage.database={url}"),
            "--set".to_owned(),
            "server.tenant=killed".to_owned(),
        ];
    }
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let with = |more: &[&'static str]| [more, &words].concat();
    let mut server = Server::start(&place, &words);
    let key = server.first_key();
    place.done(&with(&["deploy", "leavers", "models/leavers/latest"]));
    wait_until_served(&server);
    let seed = std::env::var("OMBUD_TEST_SEED")
        .ok()
        .and_then(|seed| seed.parse().ok())
        .unwrap_or(20_261_121);
    println!("OMBUD_TEST_SEED={seed}");
    let mut dice = Dice::new(seed);
    let answered: Mutex<Vec<String>> = Mutex::default();
    for _ in 0..KILLS {
        let alive_ms = 100.0 + 500.0 * dice.unit();
        let (address, stop) = (server.address.clone(), AtomicBool::new(false));
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    while !stop.load(Ordering::Relaxed) {
                        if let Some(id) = ask(&address, &key) {
                            answered.lock().expect("a lock").push(id);
                        }
                    }
                });
            }
            // The moment is random; this only lets time pass until then, and waits for nothing.
            let until = Instant::now() + Duration::from_micros((alive_ms * 1e3) as u64);
            while Instant::now() < until {
                std::thread::yield_now();
            }
            server.kill();
            stop.store(true, Ordering::Relaxed);
        });
        server = Server::start(&place, &words);
    }
    let answered = answered.into_inner().expect("a lock");
    assert!(
        answered.len() > KILLS as usize,
        "only {} were answered",
        answered.len()
    );
    assert_eq!(server.stop(), Some(0));
    let verified = place.json(&with(&["audit", "verify", "--json"]));
    assert_eq!(verified["is_sound"], true, "{verified}");
    place.done(&with(&[
        "audit",
        "export",
        "--out",
        "records.jsonl",
        "--reason",
        "a test",
    ]));
    let export = place.read("records.jsonl");
    for id in &answered {
        assert!(
            export.contains(id.as_str()),
            "{id} was answered and is not in the ledger"
        );
    }
}

fn ask(address: &str, key: &str) -> Option<String> {
    let authorization = format!("Bearer {key}");
    let headers = [
        ("authorization", authorization.as_str()),
        ("content-type", "application/json"),
    ];
    let body = json!({ "input": person(), "use_cache": false, "explain": false }).to_string();
    let reply = call(
        address,
        "POST",
        "/api/v1/models/leavers/decide",
        &headers,
        &body,
    )
    .ok()?;
    if reply.status != 200 {
        return None;
    }
    let told: Value = serde_json::from_str(&reply.body).ok()?;
    told["decision_id"].as_str().map(str::to_owned)
}

#[cfg(target_os = "linux")]
#[test]
fn a_ledger_that_cannot_grow_ends_in_503_and_not_in_an_answer() {
    use std::os::unix::process::CommandExt as _;
    let place = trained();
    let server = Server::start(&place, &[]);
    let key = server.first_key();
    place.done(&["deploy", "leavers", "models/leavers/latest"]);
    wait_until_served(&server);
    drop(server);
    // A file may not grow beyond this: what a full disk looks like to the program.
    let bytes = std::fs::metadata(place.path("ombud-data/ombud.db"))
        .expect("a database")
        .len();
    let limit = format!(
        "trap '' XFSZ; ulimit -f {}; exec \"$0\" \"$@\"",
        bytes.div_ceil(1_024) + 64
    );
    let mut limited = place.command(&[]);
    let program = limited.get_program().to_owned();
    limited = std::process::Command::new("bash");
    limited
        .arg("-c")
        .arg(&limit)
        .arg(&program)
        .args(["serve", "--json", "--port", "0"])
        .current_dir(place.path("."));
    limited.env("HOME", place.path("home")).process_group(0);
    let server = Server::run(&place, limited);
    let started = Instant::now();
    let refused = loop {
        let reply = decide(
            &server,
            &key,
            &json!({ "input": person(), "use_cache": false }),
        );
        if reply.status != 200 {
            break reply;
        }
        assert!(started.elapsed().as_secs() < 60, "it never ran out of room");
    };
    assert_eq!(refused.status, 503, "{refused:?}");
    assert!(refused.header("retry-after").is_some());
    assert_eq!(refused.json()["code"], "not-recorded");
    assert_eq!(server.get("/health", &key).status, 503);
    drop(server);
    assert_eq!(place.json(&["audit", "verify", "--json"])["is_sound"], true);
    // With room again it goes on as if nothing had been.
    let server = Server::start(&place, &[]);
    decide(&server, &key, &json!({ "input": person() })).fine();
}
