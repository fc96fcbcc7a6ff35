//! Appending: places, batches, restarts, refusals, tenants.

use crate::house::{
    House, TIME_US, act, append, assert_sound, block_on, decision, fresh_id, tenant, verify,
};
use ombud_core::{Class, ModelName};
use ombud_ledger::ledger::Contents;
use ombud_ledger::{
    Commit, Cursor, Entry, Error, Kind, Ledger, LocalMasterKey, Observer, Options, Query, Reader,
    Subject, Tenant,
};
use std::collections::HashSet;
use std::sync::{Arc, Mutex};

promises! {
    what_is_answered_is_there_with_its_place_and_its_hash,
    many_callers_of_many_tenants_leave_no_gap,
    a_restarted_ledger_continues_its_chain,
    a_repeated_id_is_refused_with_its_whole_batch_and_nobody_elses,
    a_closed_ledger_has_finished_what_it_accepted,
    one_tenant_can_neither_read_nor_count_anothers_records,
    pages_cover_every_record_once_newest_first,
    acts_share_the_chain_with_decisions,
    what_is_too_large_is_refused_before_it_waits,
    another_master_key_is_told_so_and_changes_nothing,
    tables_of_a_newer_program_are_refused,
}

fn what_is_answered_is_there_with_its_place_and_its_hash(house: &House) {
    let ledger = house.open();
    let first = append(&ledger, decision("ana"));
    let second = append(&ledger, decision("ben"));
    assert_eq!((first.sequence, second.sequence), (1, 2));
    let record = ledger.reader().record(&tenant(), &second.id).unwrap();
    assert_eq!(record.hash, second.hash);
    assert_eq!(record.previous, first.hash);
    assert_eq!(record.confidence, Some(0.93));
    assert_eq!(record.time_us, TIME_US);
    assert_sound(&verify(&ledger));
}

#[test]
fn inputs_are_not_stored_in_clear_and_open_with_a_reason_that_is_recorded() {
    let house = House::sqlite();
    let ledger = house.open();
    let recorded = append(&ledger, decision("ana"));
    ledger.close();
    for file in ["ledger.sqlite", "ledger.sqlite-wal"] {
        assert!(
            !crate::house::holds(&house.folder.path().join(file), b"slept badly"),
            "{file}"
        );
    }
    let ledger = house.open();
    let opened =
        block_on(ledger.open_sealed(&tenant(), vec![recorded.id], act("appeal 17"))).unwrap();
    let Contents::Open { input, explanation } = &opened[0].contents else {
        panic!("not open")
    };
    assert_eq!(
        input.as_ref().unwrap().expose(),
        br#"{"note":"ana slept badly"}"#
    );
    assert_eq!(
        explanation.as_ref().unwrap().expose(),
        b"because ana wrote so"
    );
    let query = Query {
        kind: Some(Kind::Opened),
        ..Query::default()
    };
    let page = ledger.reader().page(&tenant(), &query).unwrap();
    let detail = page.records[0].detail.as_deref().unwrap();
    assert!(
        detail.contains("appeal 17") && detail.contains(&recorded.id.to_string()),
        "{detail}"
    );
    let without = block_on(ledger.open_sealed(&tenant(), vec![recorded.id], act(" ")));
    assert_eq!(without.unwrap_err().class(), Class::Invalid);
}

fn many_callers_of_many_tenants_leave_no_gap(house: &House) {
    let ledger = house.open();
    let tenants: Vec<Tenant> = ["a", "b", "c"]
        .map(|name| Tenant::new(name).unwrap())
        .into();
    let (callers, each) = (12, 40);
    std::thread::scope(|scope| {
        for caller in 0..callers {
            let (ledger, tenant) = (ledger.clone(), &tenants[caller % tenants.len()]);
            scope.spawn(move || {
                for turn in 0..each {
                    let entry = decision(&format!("person-{}", (caller + turn) % 7));
                    ledger.submit(tenant, vec![entry]).unwrap().wait().unwrap();
                }
            });
        }
    });
    let report = verify(&ledger);
    assert_sound(&report);
    assert_eq!(report.records, (callers * each) as u64);
    for lane in &report.lanes {
        assert_eq!(
            lane.last.unwrap().0,
            (callers * each / tenants.len()) as u64,
            "{}",
            lane.tenant
        );
    }
}

fn a_restarted_ledger_continues_its_chain(house: &House) {
    let last = append(&house.open(), decision("ana"));
    let ledger = house.open();
    let next = append(&ledger, decision("ana"));
    assert_eq!(next.sequence, 2);
    assert_eq!(
        ledger
            .reader()
            .record(&tenant(), &next.id)
            .unwrap()
            .previous,
        last.hash
    );
    assert_sound(&verify(&ledger));
}

fn a_repeated_id_is_refused_with_its_whole_batch_and_nobody_elses(house: &House) {
    let ledger = house.open();
    let first = append(&ledger, decision("ana"));
    let again = Entry {
        id: first.id,
        ..decision("ana")
    };
    // Submitted without waiting, so that they share a group.
    let bad = ledger
        .submit(&tenant(), vec![decision("ana"), again])
        .unwrap();
    let good = ledger.submit(&tenant(), vec![decision("ben")]).unwrap();
    assert!(matches!(bad.wait(), Err(Error::Repeated { id }) if id == first.id));
    assert_eq!(good.wait().unwrap()[0].sequence, 2);
    let report = verify(&ledger);
    assert_sound(&report);
    assert_eq!(report.records, 2);
}

#[test]
fn two_processes_on_one_lane_do_not_break_its_chain() {
    let house = House::sqlite();
    let (one, other) = (house.open(), house.open());
    for turn in 0..6 {
        append(if turn % 2 == 0 { &one } else { &other }, decision("ana"));
    }
    let report = verify(&one);
    assert_sound(&report);
    assert_eq!(report.lanes.len(), 1);
    assert_eq!(report.records, 6);
}

#[test]
fn a_full_queue_refuses_at_once_and_what_was_accepted_is_recorded() {
    let house = House::sqlite();
    let ledger = house.open();
    append(&ledger, decision("ana"));
    let blocker = house.sql();
    blocker.execute_batch("begin immediate").unwrap();
    let mut accepted = Vec::new();
    let refused = loop {
        let batch = (0..512).map(|_| decision("ana")).collect();
        match ledger.submit(&tenant(), batch) {
            Ok(pending) => accepted.push(pending),
            Err(refused) => break refused,
        }
    };
    assert_eq!(refused.class(), Class::Unavailable);
    assert!(refused.retry_after_ms().is_some());
    assert_eq!(ledger.queue().records, accepted.len() * 512);
    let still = ledger.queue().still;
    while ledger.queue().still <= still {
        std::thread::yield_now();
    }
    blocker.execute_batch("rollback").unwrap();
    for pending in accepted {
        pending.wait().unwrap();
    }
    assert_eq!(ledger.queue().records, 0);
    assert!(ledger.queue().still.is_zero());
    assert_sound(&verify(&ledger));
}

fn a_closed_ledger_has_finished_what_it_accepted(house: &House) {
    let ledger = house.open();
    let accepted: Vec<_> = (0..50)
        .map(|_| ledger.submit(&tenant(), vec![decision("ana")]).unwrap())
        .collect();
    ledger.close();
    for pending in accepted {
        pending.wait().unwrap();
    }
    assert!(matches!(
        ledger.submit(&tenant(), vec![decision("ana")]),
        Err(Error::Closed)
    ));
}

fn one_tenant_can_neither_read_nor_count_anothers_records(house: &House) {
    let ledger = house.open();
    let stranger = Tenant::new("other").unwrap();
    let ours = append(&ledger, decision("ana"));
    ledger
        .submit(&stranger, vec![decision("ana")])
        .unwrap()
        .wait()
        .unwrap();
    let reader = ledger.reader();
    assert!(matches!(
        reader.record(&stranger, &ours.id),
        Err(Error::NotFound { .. })
    ));
    let theirs = reader.page(&stranger, &Query::default()).unwrap();
    assert_eq!(theirs.records.len(), 1);
    assert_eq!(reader.heads(Some(&stranger)).unwrap()[0].sequence, 1);
    let reference = |tenant| {
        reader
            .subject_reference(tenant, &Subject::new("ana".to_owned()))
            .unwrap()
    };
    assert_ne!(reference(&tenant()), reference(&stranger));
    let checkpoint = block_on(ledger.checkpoint(&stranger, TIME_US)).unwrap();
    assert!(!checkpoint.text.contains("acme"));
}

fn pages_cover_every_record_once_newest_first(house: &House) {
    let ledger = house.open();
    let model = |name: &str| Some(ModelName::new(name).unwrap());
    for turn in 0..25 {
        let entry = decision(["ana", "ben"][turn % 2]);
        // Times repeat, so that a page may end between records of one moment.
        let time_us = TIME_US + (turn / 4) as i64;
        append(
            &ledger,
            Entry {
                time_us,
                model: model(["m1", "m2", "m3"][turn % 3]),
                ..entry
            },
        );
    }
    let all = |query: Query| {
        let mut records = Vec::new();
        let mut after: Option<Cursor> = None;
        loop {
            let page = ledger
                .reader()
                .page(
                    &tenant(),
                    &Query {
                        after,
                        limit: 4,
                        ..query.clone()
                    },
                )
                .unwrap();
            records.extend(page.records);
            after = page.next;
            if after.is_none() {
                return records;
            }
        }
    };
    let records = all(Query::default());
    assert_eq!(records.len(), 25);
    assert!(
        records.is_sorted_by_key(|record| std::cmp::Reverse((record.time_us, record.sequence)))
    );
    assert_eq!(
        records
            .iter()
            .map(|record| record.id)
            .collect::<HashSet<_>>()
            .len(),
        25
    );
    assert_eq!(
        all(Query {
            model: model("m2"),
            ..Query::default()
        })
        .len(),
        8
    );
    let ana = ledger
        .reader()
        .subject_reference(&tenant(), &Subject::new("ana".to_owned()))
        .unwrap();
    assert_eq!(
        all(Query {
            subject: ana,
            ..Query::default()
        })
        .len(),
        13
    );
    let some = Query {
        from_us: TIME_US + 1,
        until_us: TIME_US + 3,
        ..Query::default()
    };
    assert_eq!(all(some).len(), 8);
}

fn acts_share_the_chain_with_decisions(house: &House) {
    let ledger = house.open();
    for kind in Kind::ALL {
        let detail = Some(r#"{"why":"a test"}"#.to_owned());
        append(
            &ledger,
            Entry {
                detail,
                ..Entry::new(fresh_id(), kind, TIME_US)
            },
        );
    }
    assert_eq!(verify(&ledger).records, Kind::ALL.len() as u64);
    let query = Query {
        kind: Some(Kind::SignIn),
        ..Query::default()
    };
    assert_eq!(
        ledger
            .reader()
            .page(&tenant(), &query)
            .unwrap()
            .records
            .len(),
        1
    );
}

fn what_is_too_large_is_refused_before_it_waits(house: &House) {
    let ledger = house.open();
    let entry = Entry {
        user_agent: Some("x".repeat(2_000)),
        ..decision("ana")
    };
    assert_eq!(
        ledger.submit(&tenant(), vec![entry]).unwrap_err().class(),
        Class::TooLarge
    );
    let batch = (0..1_025).map(|_| decision("ana")).collect();
    assert_eq!(
        ledger.submit(&tenant(), batch).unwrap_err().class(),
        Class::TooLarge
    );
    assert_eq!(ledger.queue().records, 0);
}

fn another_master_key_is_told_so_and_changes_nothing(house: &House) {
    append(&house.open(), decision("ana"));
    let master = Arc::new(LocalMasterKey::new(&ombud_ledger::seal::Secret::new(
        [1; 32],
    )));
    let stranger = Ledger::open(Options {
        master,
        ..house.options("r1")
    })
    .unwrap();
    let refused = stranger
        .submit(&tenant(), vec![decision("ana")])
        .unwrap()
        .wait()
        .unwrap_err();
    assert!(matches!(refused, Error::MasterKey(_)), "{refused}");
    assert_eq!(verify(&stranger).records, 1);
}

fn tables_of_a_newer_program_are_refused(house: &House) {
    append(&house.open(), decision("ana"));
    assert!(house.execute("insert into ledger_schema (version) values (99)"));
    let refused = Ledger::open(house.options("r1")).unwrap_err();
    assert_eq!(refused.class(), Class::Unsupported);
    let reader = Reader::new(house.database.clone(), None);
    let schema = reader.schema().unwrap();
    assert_eq!((schema.found, schema.known), (99, 1));
    assert_eq!(reader.heads(None).unwrap_err().class(), Class::Unsupported);
}

#[test]
fn of_two_callers_with_one_id_the_first_is_recorded() {
    let house = House::sqlite();
    let ledger = house.open();
    append(&ledger, decision("ana"));
    let blocker = house.sql();
    blocker.execute_batch("begin immediate").unwrap();
    // The writer stands at the first of these while the others gather into one group.
    let standing = ledger.submit(&tenant(), vec![decision("ana")]).unwrap();
    let id = fresh_id();
    let with_id = || Entry {
        id,
        ..decision("ana")
    };
    let first = ledger.submit(&tenant(), vec![with_id()]).unwrap();
    let second = ledger.submit(&tenant(), vec![with_id()]).unwrap();
    let twice = ledger
        .submit(&tenant(), vec![with_id(), with_id()])
        .unwrap();
    blocker.execute_batch("rollback").unwrap();
    standing.wait().unwrap();
    assert_eq!(first.wait().unwrap()[0].id, id);
    assert!(matches!(second.wait(), Err(Error::Repeated { .. })));
    assert!(matches!(twice.wait(), Err(Error::Repeated { .. })));
    assert_eq!(verify(&ledger).records, 3);
}

#[test]
fn an_observer_hears_of_every_commit_and_of_those_that_failed() {
    #[derive(Debug, Default)]
    struct Heard(Mutex<Vec<Commit>>);
    impl Observer for Heard {
        fn committed(&self, commit: &Commit) {
            self.0.lock().unwrap().push(*commit);
        }
    }
    let house = House::sqlite();
    let heard = Arc::new(Heard::default());
    let observer: Arc<dyn Observer> = Arc::<Heard>::clone(&heard);
    let ledger = Ledger::open(Options {
        observer: Some(observer),
        ..house.options("r1")
    })
    .unwrap();
    ledger
        .submit(&tenant(), vec![decision("ana"), decision("ben")])
        .unwrap()
        .wait()
        .unwrap();
    assert!(house.execute("alter table ledger_keys rename to hidden"));
    assert!(
        ledger
            .submit(&tenant(), vec![decision("cem")])
            .unwrap()
            .wait()
            .is_err()
    );
    let heard: Vec<_> = heard
        .0
        .lock()
        .unwrap()
        .iter()
        .map(|c| (c.records, c.callers, c.succeeded))
        .collect();
    assert_eq!(heard, [(2, 1, true), (1, 1, false)]);
}
