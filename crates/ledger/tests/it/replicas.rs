//! Several replicas on one PostgreSQL: lanes of their own, locks on them, sessions that die.

use crate::house::{House, act, append, assert_sound, block_on, decision, tenant, verify};
use ombud_core::Class;
use ombud_ledger::{Error, Ledger, Subject};

#[test]
fn replicas_write_lanes_of_their_own_and_each_verifies() {
    let Some(house) = House::postgres() else {
        return;
    };
    let replicas: Vec<Ledger> = ["r1", "r2", "r3"]
        .iter()
        .map(|lane| Ledger::open(house.options(lane)).unwrap())
        .collect();
    std::thread::scope(|scope| {
        for replica in &replicas {
            scope.spawn(move || {
                for turn in 0..30 {
                    append(replica, decision(["ana", "ben"][turn % 2]));
                }
            });
        }
    });
    let report = verify(&replicas[0]);
    assert_sound(&report);
    assert_eq!((report.lanes.len(), report.records), (3, 90));
    // One erasure reaches the keys that every replica made.
    let ana = Subject::new("ana".to_owned());
    let erased = block_on(replicas[0].erase(&tenant(), ana, act("she asked"))).unwrap();
    assert_eq!(erased.keys_destroyed, 3);
}

#[test]
fn a_lane_that_another_process_writes_is_refused_and_free_when_that_one_ends() {
    let Some(house) = House::postgres() else {
        return;
    };
    let first = house.open();
    append(&first, decision("ana"));
    let second = house.open();
    let refused = second
        .submit(&tenant(), vec![decision("ana")])
        .unwrap()
        .wait()
        .unwrap_err();
    assert!(matches!(refused, Error::LaneTaken { .. }), "{refused}");
    first.close();
    assert_eq!(append(&second, decision("ana")).sequence, 2);
    assert_sound(&verify(&second));
}

#[test]
fn a_lane_is_claimed_by_one_process_at_a_time() {
    for house in [Some(House::sqlite()), House::postgres()]
        .into_iter()
        .flatten()
    {
        let first = house.open();
        block_on(first.claim(&tenant())).unwrap();
        append(&first, decision("ana"));
        let second = house.open();
        let refused = block_on(second.claim(&tenant())).unwrap_err();
        assert!(matches!(refused, Error::LaneTaken { .. }), "{refused}");
        let beside = Ledger::open(house.options("r2")).unwrap();
        block_on(beside.claim(&tenant())).unwrap();
        first.close();
        drop(first);
        block_on(second.claim(&tenant())).unwrap();
    }
}

#[test]
fn a_session_that_the_server_ends_costs_one_answer_at_most_and_the_chain_goes_on() {
    let Some(house) = House::postgres() else {
        return;
    };
    let ledger = house.open();
    append(&ledger, decision("ana"));
    let end = "select pg_terminate_backend(pid) from pg_stat_activity \
        where datname = current_database() and application_name = 'ombud ledger'";
    assert!(house.execute(end));
    let refused = ledger
        .submit(&tenant(), vec![decision("ana")])
        .unwrap()
        .wait()
        .unwrap_err();
    assert_eq!(refused.class(), Class::Unavailable);
    assert_eq!(append(&ledger, decision("ana")).sequence, 2);
    let again = house.open();
    drop(ledger);
    assert_sound(&verify(&again));
}
