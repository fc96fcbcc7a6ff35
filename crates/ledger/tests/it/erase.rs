//! Erasing and retention: what was sealed is gone from every file, and the chain still verifies.

use crate::house::{
    House, TIME_US, act, append, assert_sound, block_on, decision, holds, tenant, verify,
};
use ombud_core::ModelName;
use ombud_ledger::ledger::Contents;
use ombud_ledger::master::{MasterKey, Purpose};
use ombud_ledger::seal::Secret;
use ombud_ledger::{
    Entry, Error, Kind, Ledger, LocalMasterKey, Options, Query, RecordId, Subject,
    SucceedingMasterKey,
};
use std::path::{Path, PathBuf};
use std::sync::Arc;

promises! {
    what_was_sealed_before_an_erasure_does_not_open_and_what_comes_after_does,
    another_process_that_remembers_a_destroyed_key_seals_nothing_more_with_it,
    retention_forgets_the_old_months_of_one_model_only,
    a_new_master_key_takes_the_place_of_an_old_one,
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

#[test]
fn on_postgres_an_erased_person_is_in_no_data_file_and_in_no_backup_taken_afterwards() {
    let Some(house) = House::postgres() else {
        return;
    };
    let Some(folder) = house.readable_data_folder() else {
        eprintln!("the server's files are not readable here: nothing to look through");
        return;
    };
    let ledger = house.open();
    let people: Vec<String> = (0..60).map(|number| format!("person-{number}")).collect();
    for person in &people {
        append(&ledger, decision(person));
    }
    let kept = house.wrapped_keys(&ledger, "person-1");
    let gone: Vec<Vec<u8>> = (0..60)
        .step_by(7)
        .flat_map(|number| house.wrapped_keys(&ledger, &people[number]))
        .collect();
    assert_eq!((kept.len(), gone.len()), (1, 9));
    for number in (0..60).step_by(7) {
        block_on(ledger.erase(&tenant(), subject(&people[number]), act("she asked"))).unwrap();
    }
    assert!(house.execute("checkpoint"));
    let is_anywhere = |bytes: &[u8]| files_below(&folder).iter().any(|file| holds(file, bytes));
    assert!(is_anywhere(&kept[0]), "the search finds what is there");
    for wrapped in &gone {
        assert!(!is_anywhere(wrapped), "a wrapped key is in a data file");
    }
    let backup = house.dump();
    let in_backup = |bytes: &[u8]| {
        let digits: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        backup.contains(&digits)
    };
    assert!(in_backup(&kept[0]));
    assert!(!gone.iter().any(|wrapped| in_backup(wrapped)));
    assert_sound(&verify(&ledger));
}

fn a_new_master_key_takes_the_place_of_an_old_one(house: &House) {
    let (old, new) = (Secret::new([7; 32]), Secret::new([21; 32]));
    let both = SucceedingMasterKey {
        current: LocalMasterKey::new(&new),
        before: LocalMasterKey::new(&old),
    };
    let ledger = house.open();
    let before = append(&ledger, decision("ana"));
    let erased = append(&ledger, decision("ben"));
    block_on(ledger.erase(&tenant(), subject("ben"), act("he asked"))).unwrap();
    let reference = |ledger: &Ledger| {
        let found = ledger
            .reader()
            .subject_reference(&tenant(), &subject("ana"));
        found.unwrap().unwrap()
    };
    let ana = reference(&ledger);
    ledger.close();
    // With both keys everything opens, and what is new is wrapped by the new one.
    let options = |master: Arc<dyn MasterKey>| Options {
        master,
        ..house.options("r1")
    };
    let ledger = Ledger::open(options(Arc::new(both))).unwrap();
    let between = append(&ledger, decision("cleo"));
    let steps = [(); 2].map(|()| {
        let step = block_on(ledger.rewrap(&tenant(), 0, act("yearly"))).unwrap();
        (step.keys, step.references, step.unreadable, step.next)
    });
    assert_eq!(
        steps,
        [(1, 1, 0, None), (0, 0, 0, None)],
        "repeating it changes nothing"
    );
    ledger.close();
    // The old one is needed by nothing any more.
    let ledger = Ledger::open(options(Arc::new(LocalMasterKey::new(&new)))).unwrap();
    assert_eq!(reference(&ledger), ana);
    let after = append(&ledger, decision("ana"));
    let ids = vec![before.id, erased.id, between.id, after.id];
    let opened = block_on(ledger.open_sealed(&tenant(), ids, act("a look"))).unwrap();
    let is_open: Vec<bool> = opened
        .iter()
        .map(|opened| matches!(opened.contents, Contents::Open { .. }))
        .collect();
    assert_eq!(is_open, [true, false, true, true]);
    assert_sound(&verify(&ledger));
    ledger.close();
    let ledger = house.open();
    let refused = ledger.submit(&tenant(), vec![decision("ana")]).unwrap();
    assert!(matches!(refused.wait(), Err(Error::MasterKey(_))));
}

fn files_below(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(files_below(&path));
        } else {
            files.push(path);
        }
    }
    files
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
