//! Erasing and retention: what was sealed is gone from every file, and the chain still verifies.

use crate::house::{
    House, TIME_US, act, append, assert_sound, block_on, decision, holds, tenant, verify,
};
use ombud_core::ModelName;
use ombud_ledger::ledger::Contents;
use ombud_ledger::master::{MasterKey, Purpose};
use ombud_ledger::seal::Secret;
use ombud_ledger::{Entry, Error, Kind, Ledger, LocalMasterKey, Query, RecordId, Subject};
use std::path::PathBuf;

promises! {
    what_was_sealed_before_an_erasure_does_not_open_and_what_comes_after_does,
    another_process_that_remembers_a_destroyed_key_seals_nothing_more_with_it,
    retention_forgets_the_old_months_of_one_model_only,
}

const DAY_US: i64 = 86_400_000_000;

#[test]
fn an_erased_person_is_found_in_no_file_and_the_chain_verifies() {
    let house = House::sqlite();
    let ledger = house.open();
    let people: Vec<String> = (0..300).map(|number| format!("person-{number}")).collect();
    for months in 0..4 {
        let batch = people.iter().map(|person| Entry {
            time_us: TIME_US + months * 31 * DAY_US,
            ..decision(person)
        });
        ledger
            .submit(&tenant(), batch.collect())
            .unwrap()
            .wait()
            .unwrap();
    }
    // Many are erased, here and there, because a page that is split or merged is where copies would be forgotten.
    let erased: Vec<&String> = people.iter().step_by(7).collect();
    let secrets: Vec<(Vec<u8>, Secret)> = erased
        .iter()
        .flat_map(|person| secrets(&house, &ledger, person))
        .collect();
    assert_eq!(secrets.len(), erased.len() * 4);
    for person in &erased {
        let proof = block_on(ledger.erase(&tenant(), subject(person), act("she asked"))).unwrap();
        assert_eq!(proof.keys_destroyed, 4);
    }
    let backup = house.folder.path().join("backup.sqlite");
    house
        .sql()
        .execute("vacuum into ?1", [backup.to_str().unwrap()])
        .unwrap();
    let copy = house.folder.path().join("copy.sqlite");
    std::fs::copy(house.file(), &copy).unwrap();
    let files: [PathBuf; 5] = [
        house.file(),
        with_suffix(&house, "-wal"),
        with_suffix(&house, "-shm"),
        backup,
        copy,
    ];
    for file in &files {
        let content = std::fs::read(file).unwrap_or_default();
        for (wrapped, key) in &secrets {
            assert!(
                !contains(&content, wrapped),
                "wrapped key in {}",
                file.display()
            );
            assert!(
                !contains(&content, key.as_slice()),
                "key in {}",
                file.display()
            );
        }
        assert!(
            !contains(&content, b"slept badly"),
            "input in {}",
            file.display()
        );
        assert!(!contains(&content, b"person-7"), "id in {}", file.display());
    }
    let report = verify(&ledger);
    assert_sound(&report);
    assert_eq!(report.records as usize, people.len() * 4 + erased.len());
}

#[test]
fn the_search_would_find_a_key_that_is_still_there() {
    let house = House::sqlite();
    let ledger = house.open();
    append(&ledger, decision("ana"));
    let secrets = secrets(&house, &ledger, "ana");
    block_on(ledger.erase(
        &tenant(),
        subject("somebody else"),
        act("to move the log into the file"),
    ))
    .unwrap();
    assert!(holds(&house.file(), &secrets[0].0));
}

#[test]
fn a_reader_in_the_way_delays_wiping_and_does_not_prevent_it() {
    let house = House::sqlite();
    let ledger = house.open();
    append(&ledger, decision("ana"));
    let secrets = secrets(&house, &ledger, "ana");
    let log = with_suffix(&house, "-wal");
    assert!(holds(&log, &secrets[0].0));
    let reading = house.sql();
    reading
        .execute_batch("begin; select count(*) from ledger_records")
        .unwrap();
    let refused = block_on(ledger.erase(&tenant(), subject("ana"), act("she asked"))).unwrap_err();
    assert!(matches!(refused, Error::NotWiped { .. }), "{refused}");
    reading.execute_batch("rollback").unwrap();
    // Whenever nobody waits the writer tries again by itself; somebody may wait just now, so it gets some turns.
    let is_wiped = (0..1_000).any(|_| {
        append(&ledger, decision("ben"));
        !holds(&log, &secrets[0].0)
    });
    assert!(is_wiped);
    assert!(!holds(&house.file(), &secrets[0].0));
    assert_sound(&verify(&ledger));
}

fn what_was_sealed_before_an_erasure_does_not_open_and_what_comes_after_does(house: &House) {
    let ledger = house.open();
    let before = append(&ledger, decision("ana"));
    let other = append(&ledger, decision("ben"));
    let proof = block_on(ledger.erase(&tenant(), subject("ana"), act("she asked"))).unwrap();
    let after = append(&ledger, decision("ana"));
    let ids = vec![before.id, other.id, after.id];
    let opened = block_on(ledger.open_sealed(&tenant(), ids, act("an appeal"))).unwrap();
    assert_eq!(opened[0].contents, Contents::Erased);
    assert!(matches!(opened[1].contents, Contents::Open { .. }));
    assert!(matches!(opened[2].contents, Contents::Open { .. }));
    let record = ledger
        .reader()
        .record(&tenant(), &proof.recorded.id)
        .unwrap();
    assert_eq!(
        (record.kind, record.subject),
        (Kind::Erasure, Some(proof.subject))
    );
    assert_eq!(opened[0].record.subject, Some(proof.subject));
}

fn another_process_that_remembers_a_destroyed_key_seals_nothing_more_with_it(house: &House) {
    let server = house.open();
    let first = append(&server, decision("ana"));
    let command = Ledger::open(house.options("cli")).unwrap();
    block_on(command.erase(&tenant(), subject("ana"), act("she asked"))).unwrap();
    let second = append(&server, decision("ana"));
    let key = |id: &RecordId| server.reader().record(&tenant(), id).unwrap().key;
    assert_ne!(key(&first.id), key(&second.id));
    let opened =
        block_on(server.open_sealed(&tenant(), vec![first.id, second.id], act("a look"))).unwrap();
    assert_eq!(opened[0].contents, Contents::Erased);
    assert!(matches!(opened[1].contents, Contents::Open { .. }));
}

fn retention_forgets_the_old_months_of_one_model_only(house: &House) {
    let ledger = house.open();
    let at = |days: i64, model: &str| Entry {
        time_us: TIME_US + days * DAY_US,
        model: Some(ModelName::new(model).unwrap()),
        ..decision("ana")
    };
    let old = append(&ledger, at(-70, "mood"));
    let last_month = append(&ledger, at(-30, "mood"));
    let young = append(&ledger, at(0, "mood"));
    let other = append(&ledger, at(-70, "claims"));
    let mood = ModelName::new("mood").unwrap();
    // 45 days ago lies in October: September is over, October is not.
    let retained = block_on(ledger.retain(
        &tenant(),
        mood,
        TIME_US - 45 * DAY_US,
        act("policy: 45 days"),
    ))
    .unwrap();
    assert_eq!((retained.keys_destroyed, retained.is_complete), (1, true));
    let ids = vec![old.id, last_month.id, young.id, other.id];
    let opened = block_on(ledger.open_sealed(&tenant(), ids, act("a look"))).unwrap();
    let is_open: Vec<bool> = opened
        .iter()
        .map(|o| matches!(o.contents, Contents::Open { .. }))
        .collect();
    assert_eq!(is_open, [false, true, true, true]);
    let acts = Query {
        kind: Some(Kind::Retention),
        ..Query::default()
    };
    assert_eq!(
        ledger
            .reader()
            .page(&tenant(), &acts)
            .unwrap()
            .records
            .len(),
        1
    );
    assert_sound(&verify(&ledger));
}

fn subject(person: &str) -> Subject {
    Subject::new(person.to_owned())
}

/// A person's data keys, wrapped as they lie in the file and in clear.
fn secrets(house: &House, ledger: &Ledger, person: &str) -> Vec<(Vec<u8>, Secret)> {
    let reference = ledger
        .reader()
        .subject_reference(&tenant(), &subject(person))
        .unwrap()
        .unwrap();
    let master = LocalMasterKey::new(&Secret::new([7; 32]));
    let connection = house.sql();
    let mut statement = connection
        .prepare("select id, wrapped from ledger_keys where subject = ?1")
        .unwrap();
    let rows = statement.query_map([reference.0.as_bytes()], |row| {
        Ok((row.get(0)?, row.get(1)?))
    });
    rows.unwrap()
        .map(|row| {
            let (id, wrapped): (Vec<u8>, Vec<u8>) = row.unwrap();
            let purpose = Purpose {
                role: "data",
                tenant: "acme",
                name: &id,
            };
            let key = master.unwrap(&wrapped, &purpose).unwrap();
            (wrapped, key)
        })
        .collect()
}

fn with_suffix(house: &House, suffix: &str) -> PathBuf {
    house.folder.path().join(format!("ledger.sqlite{suffix}"))
}

fn contains(content: &[u8], bytes: &[u8]) -> bool {
    // Comparing first bytes first keeps a search for many keys quick.
    content
        .windows(bytes.len())
        .any(|window| window[0] == bytes[0] && window == bytes)
}
