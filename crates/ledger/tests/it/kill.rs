//! Killed at any moment, the ledger has every record it answered, and nothing half-written.

use crate::house::{Dice, House, assert_sound, decision, options, tenant, verify};
use ombud_ledger::ledger::Database;
use ombud_ledger::{Entry, Ledger, Query, RecordId};
use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};

promises! {
    a_ledger_killed_under_load_has_every_record_it_answered,
}

/// Names the file into which a child process is to append until it is killed.
const CHILD: &str = "OMBUD_LEDGER_KILLED";
/// Entries in each of the child's batches.
const BATCH: usize = 3;
const CALLERS: usize = 4;
const ROUNDS: u64 = 8;

#[test]
fn a_child_appends_what_it_is_told_until_it_is_killed() {
    // Not started by the promise below, it checks that a child would append where it is told.
    match std::env::var(CHILD) {
        Err(_) => {
            let house = House::sqlite();
            assert_eq!(database(&place(&house)), house.database);
        }
        Ok(place) => append_until_killed(&Ledger::open(options(database(&place), "r1")).unwrap()),
    }
}

fn a_ledger_killed_under_load_has_every_record_it_answered(house: &House) {
    let mut dice = Dice(20_261_121);
    let mut answered: HashMap<RecordId, String> = HashMap::new();
    for round in 0..ROUNDS {
        let answers = dice.roll(400);
        for (id, hash) in killed_after(house, answers) {
            answered.insert(id, hash);
        }
        let ledger = house.open();
        let report = verify(&ledger);
        assert_sound(&report);
        for (id, hash) in &answered {
            let record = ledger
                .reader()
                .record(&tenant(), id)
                .unwrap_or_else(|error| {
                    panic!("round {round}: {id} was answered, but: {error}");
                });
            assert_eq!(record.hash.to_string(), *hash);
        }
        assert_batches_are_whole(&ledger);
        ledger.close();
    }
    assert!(
        answered.len() as u64 > ROUNDS * 10,
        "{} answers",
        answered.len()
    );
}

/// How a child is told where to append.
fn place(house: &House) -> String {
    match &house.database {
        Database::Sqlite(path) => path.to_str().unwrap().to_owned(),
        Database::Postgres(url) => url.clone(),
    }
}

fn database(place: &str) -> Database {
    if place.starts_with("postgres:") {
        Database::Postgres(place.to_owned())
    } else {
        Database::Sqlite(place.into())
    }
}

/// Starts a child, reads some of its answers, kills it, and gives every answer it gave.
fn killed_after(house: &House, answers: u64) -> Vec<(RecordId, String)> {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "kill::a_child_appends_what_it_is_told_until_it_is_killed",
            "--nocapture",
        ])
        .env(CHILD, place(house))
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut heard = Vec::new();
    while (heard.len() as u64) < answers + 1 {
        heard.extend(answer(&lines.next().expect("the child lives").unwrap()));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    heard.extend(lines.map_while(Result::ok).filter_map(|line| answer(&line)));
    heard
}

/// One answered record, when the line is one and whole.
fn answer(line: &str) -> Option<(RecordId, String)> {
    let (id, hash) = line.strip_prefix("answered ")?.split_once(' ')?;
    let hash = hash.strip_suffix('.')?;
    Some((id.parse().ok()?, hash.to_owned()))
}

fn append_until_killed(ledger: &Ledger) {
    std::thread::scope(|scope| {
        for caller in 0..CALLERS {
            scope.spawn(move || {
                for turn in 0.. {
                    let request = format!("{}-{caller}-{turn}", std::process::id());
                    let entry = || Entry {
                        request_id: Some(request.clone()),
                        ..decision("ana")
                    };
                    let batch = (0..BATCH).map(|_| entry()).collect();
                    for recorded in ledger.submit(&tenant(), batch).unwrap().wait().unwrap() {
                        let line = format!("answered {} {}.\n", recorded.id, recorded.hash);
                        std::io::stdout().write_all(line.as_bytes()).unwrap();
                    }
                }
            });
        }
    });
}

fn assert_batches_are_whole(ledger: &Ledger) {
    let mut entries: HashMap<String, usize> = HashMap::new();
    let mut query = Query {
        limit: 1_000,
        ..Query::default()
    };
    loop {
        let page = ledger.reader().page(&tenant(), &query).unwrap();
        for record in page.records {
            *entries.entry(record.request_id.unwrap()).or_default() += 1;
        }
        query.after = page.next;
        if query.after.is_none() {
            break;
        }
    }
    for (request, count) in entries {
        assert_eq!(count, BATCH, "{request}");
    }
}
