//! Two replicas that share their work: one PostgreSQL, one Redis, two processes.

use crate::serve::{person, trained, wait_until_served};
use crate::server::{Server, call};
use crate::support::{LEAVERS, Place};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// What is promised is two seconds; as many again are a busy machine's.
const TAKEN_UP_WITHIN: Duration = Duration::from_secs(4);
const CALLERS: usize = 6;
const QUESTIONS: usize = 40;

/// A Redis of the test's own, on a socket in a place.
struct RedisServer {
    child: Child,
    url: String,
}

impl RedisServer {
    fn start(place: &Place) -> Option<Self> {
        let socket = place.path("redis.socket");
        let spawned = Command::new("redis-server")
            .args(["--port", "0", "--save", "", "--appendonly", "no"])
            .args(["--unixsocket".as_ref(), socket.as_os_str()])
            .args(["--dir".as_ref(), place.path(".").as_os_str()])
            .stdout(Stdio::piped())
            .spawn();
        let Ok(mut child) = spawned else {
            assert!(std::env::var_os("CI").is_none(), "redis-server is missing");
            eprintln!("redis-server is not installed: nothing to run on");
            return None;
        };
        let mut lines = BufReader::new(child.stdout.take().expect("a pipe")).lines();
        assert!(
            lines.any(|line| line.is_ok_and(|line| line.contains("eady to accept connections"))),
            "redis-server ended before it was ready"
        );
        std::thread::spawn(move || lines.for_each(drop));
        let url = format!("unix:{}", socket.display());
        Some(RedisServer { child, url })
    }

    fn signal(&self, name: &str) {
        let id = self.child.id().to_string();
        let sent = Command::new("kill")
            .args([&format!("-{name}"), &id])
            .status();
        assert!(sent.expect("kill runs").success());
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A database of the test's own, on the server that `OMBUD_TEST_POSTGRES` names.
fn fresh_database() -> Option<String> {
    let Ok(server) = std::env::var("OMBUD_TEST_POSTGRES") else {
        eprintln!("OMBUD_TEST_POSTGRES is not set: nothing to run on");
        return None;
    };
    let name = format!("replicas_{}", std::process::id());
    let made = Command::new("psql")
        .args([&server, "-qc", &format!("create database {name}")])
        .status();
    assert!(made.expect("psql is installed beside the server").success());
    let (before, after) = server
        .split_once("/postgres")
        .expect("a URL of the database postgres");
    Some(format!("{before}/{name}{after}"))
}

fn set(words: &[String]) -> Vec<&str> {
    words
        .iter()
        .flat_map(|word| ["--set", word.as_str()])
        .collect()
}

#[test]
fn two_replicas_share_their_work_and_one_that_is_killed_loses_nothing() {
    let Some(url) = fresh_database() else {
        return;
    };
    let place = trained();
    let Some(redis) = RedisServer::start(&place) else {
        return;
    };
    let shared = [
        format!("storage.database={url}"),
        format!("cache.redis={}", redis.url),
    ];
    let words = set(&shared);
    let start = |lane: &str| {
        let lane = format!("ledger.lane={lane}");
        Server::start(&place, &[words.as_slice(), &["--set", &lane]].concat())
    };
    let with = |more: &[&str]| -> Vec<String> {
        more.iter()
            .chain(&words)
            .map(|word| (*word).to_owned())
            .collect()
    };
    let run = |more: &[&str]| {
        let words = with(more);
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        place.json(&words)
    };
    let mut first = start("r1");
    let second = start("r2");
    let key = first.first_key();
    run(&["deploy", "leavers", "models/leavers/latest", "--json"]);
    wait_until_served(&first);

    // Deployed through one, both serve it.
    place.write("second.toml", LEAVERS.replace("seed = 7", "seed = 8"));
    let bundle = place.json(&["train", "second.toml", "--json"])["bundle"].clone();
    run(&["register", bundle.as_str().expect("a path"), "--json"]);
    let admin = run(&["keys", "new", "--label", "a", "--role", "admin", "--json"]);
    let deployed = first.post(
        "/api/v1/models/leavers/deployments/production/deploy",
        admin["key"].as_str().expect("a key"),
        &json!({ "version": 2, "reason": "newer" }),
    );
    deployed.fine();
    let since = Instant::now();
    for server in [&first, &second] {
        while version_at(server, &key) != 2 {
            assert!(since.elapsed() < TAKEN_UP_WITHIN, "{}", server.address);
            std::thread::yield_now();
        }
    }
    println!("taken up by both after {:?}", since.elapsed());

    // One is killed under load; whoever retries under the same key loses nothing.
    let addresses = [first.address.clone(), second.address.clone()];
    let done = AtomicUsize::new(0);
    let told: Vec<(String, String)> = std::thread::scope(|scope| {
        let callers: Vec<_> = (0..CALLERS)
            .map(|caller| {
                let (addresses, key, done) = (&addresses, &key, &done);
                scope.spawn(move || {
                    let ask = |question| {
                        let name = format!("q-{caller}-{question}");
                        let id = ask_until_answered(addresses, caller + question, key, &name);
                        done.fetch_add(1, Ordering::Relaxed);
                        (name, id)
                    };
                    (0..QUESTIONS).map(ask).collect::<Vec<_>>()
                })
            })
            .collect();
        while done.load(Ordering::Relaxed) < CALLERS * QUESTIONS / 3 {
            std::thread::yield_now();
        }
        first.kill();
        callers
            .into_iter()
            .flat_map(|caller| caller.join().expect("every question is answered"))
            .collect()
    });
    let ids: BTreeSet<&str> = told.iter().map(|(_, id)| id.as_str()).collect();
    assert_eq!(ids.len(), CALLERS * QUESTIONS, "one decision a key");
    for (name, id) in &told {
        let again = ask(&second.address, &key, name).expect("the one that lives answers");
        assert_eq!(again["decision_id"], id.as_str());
        assert_eq!(again["replayed"], true);
    }
    an_export_over_http_is_whole(&second, &run);
    assert_eq!(second.stop(), Some(0));

    // Both lanes verify, and hold every answer.
    let verified = run(&["audit", "verify", "--json"]);
    assert_eq!(verified["is_sound"], true, "{verified}");
    let lanes = verified["lanes"].to_string();
    assert!(lanes.contains("r1") && lanes.contains("r2"), "{lanes}");
    run(&[
        "audit",
        "export",
        "--out",
        "all.jsonl",
        "--reason",
        "a test",
        "--json",
    ]);
    let export = place.read("all.jsonl");
    for id in ids {
        assert!(export.contains(id), "{id} was answered and is not there");
    }
}

/// Larger than one chunk of it, and while it is read from PostgreSQL.
fn an_export_over_http_is_whole(server: &Server, run: &dyn Fn(&[&str]) -> Value) {
    let key_of = |role: &str| {
        let made = run(&["keys", "new", "--label", "e", "--role", role, "--json"]);
        made["key"].as_str().expect("a key").to_owned()
    };
    let row = json!({ "input": person() });
    let rows = json!({ "rows": vec![row; 1_000] });
    let batch = "/api/v1/models/leavers/decide:batch";
    server.post(batch, &key_of("caller"), &rows).fine();
    let reason = json!({ "reason": "a test" });
    let export = server.post("/api/v1/audit/export", &key_of("auditor"), &reason);
    assert_eq!(export.status, 200, "{}", export.head);
    let lines = unchunked(&export.body);
    assert!(lines.len() > 512 << 10, "{} bytes", lines.len());
    let last = lines.lines().last().expect("lines");
    assert!(last.contains(r#""type":"end""#), "{last}");
    let verified = server.post("/api/v1/audit/verify", &key_of("auditor"), &json!({}));
    assert_eq!(verified.fine()["is_sound"], true);
}

/// A body that came in chunks.
fn unchunked(mut body: &str) -> String {
    let mut whole = String::new();
    while let Some((size, rest)) = body.split_once("\r\n") {
        let size = usize::from_str_radix(size, 16).expect("a chunk's size");
        whole.push_str(&rest[..size]);
        body = rest[size..].trim_start_matches("\r\n");
    }
    whole
}

fn version_at(server: &Server, key: &str) -> u64 {
    let body = json!({ "input": person(), "explain": false });
    let reply = server.post("/api/v1/models/leavers/decide", key, &body);
    match reply.status {
        // Not yet taken up at all.
        404 | 503 => 0,
        _ => reply.fine()["version"].as_u64().expect("a number"),
    }
}

/// Asks one replica, then the other, under one key, until somebody answers.
fn ask_until_answered(addresses: &[String; 2], first: usize, key: &str, name: &str) -> String {
    let deadline = Instant::now() + Duration::from_secs(60);
    for turn in first.. {
        let address = &addresses[turn % 2];
        if let Some(told) = ask(address, key, name) {
            return told["decision_id"].as_str().expect("an id").to_owned();
        }
        assert!(Instant::now() < deadline, "{name} was not answered");
    }
    unreachable!("the loop has no end");
}

fn ask(address: &str, key: &str, name: &str) -> Option<Value> {
    let authorization = format!("Bearer {key}");
    let headers = [
        ("authorization", authorization.as_str()),
        ("content-type", "application/json"),
        ("idempotency-key", name),
    ];
    let body = json!({ "input": person(), "explain": false, "use_cache": false }).to_string();
    let path = "/api/v1/models/leavers/decide";
    let reply = call(address, "POST", path, &headers, &body).ok()?;
    (reply.status == 200).then(|| reply.json())
}

#[test]
fn replicas_share_rate_limits_and_count_alone_when_redis_is_gone() {
    let (place, other) = (Place::new(), Place::new());
    let Some(redis) = RedisServer::start(&place) else {
        return;
    };
    let shared = [
        format!("cache.redis={}", redis.url),
        "limits.reads_per_minute=6".to_owned(),
    ];
    let words = [set(&shared).as_slice(), &["--open-demo"]].concat();
    let servers = [Server::start(&place, &words), Server::start(&other, &words)];
    let look = |server: &Server| server.call("GET", "/api/v1/models", &[], "");
    for turn in 0..6 {
        let reply = look(&servers[turn % 2]);
        assert_eq!(reply.status, 200, "{turn}: {reply:?}");
        let left = (5 - turn).to_string();
        assert_eq!(reply.header("ratelimit-remaining"), Some(&*left));
    }
    for server in &servers {
        let reply = look(server);
        assert_eq!(reply.status, 429, "{reply:?}");
        assert!(reply.header("retry-after").is_some());
    }
    // Hanging or dead, it costs little, and nobody gets a second minute's worth at once.
    for signal in ["STOP", "KILL"] {
        redis.signal(signal);
        for server in &servers {
            let since = Instant::now();
            for _ in 0..20 {
                look(server);
            }
            let passed = (0..6).filter(|_| look(server).status == 200).count();
            assert!(passed <= 1, "{signal}: {passed} passed");
            assert!(since.elapsed() < Duration::from_secs(5), "{signal}");
        }
    }
}
