//! Disks that fail: an error for those who waited, nothing half-written, and work goes on when the disk is back.

use crate::house::{House, append, assert_sound, decision, fresh_id, tenant, verify};
use ombud_core::Class;
use ombud_ledger::{Entry, Ledger};
use std::process::Command;

/// Names the folder in which a child process is to fill its disk.
const CHILD: &str = "OMBUD_LEDGER_FULL_DISK";

#[test]
fn a_failed_group_is_told_so_and_the_next_one_continues_the_chain() {
    let house = House::sqlite();
    let ledger = house.open();
    append(&ledger, decision("ana"));
    let broken = "create trigger broken before insert on ledger_records when new.user_agent = 'break' \
        begin select raise(abort, 'the disk is read-only'); end";
    house.sql().execute_batch(broken).unwrap();
    let bad = Entry {
        user_agent: Some("break".to_owned()),
        ..decision("new-person")
    };
    let refused = ledger
        .submit(&tenant(), vec![decision("ben"), bad])
        .unwrap()
        .wait()
        .unwrap_err();
    assert_eq!(refused.class(), Class::Unavailable);
    assert!(refused.retry_after_ms().is_some());
    assert_eq!(append(&ledger, decision("new-person")).sequence, 2);
    let report = verify(&ledger);
    assert_sound(&report);
    assert_eq!(report.records, 2);
}

#[test]
fn the_write_ahead_log_begins_anew_while_records_keep_coming() {
    const ROUNDS: u64 = 250;
    let house = House::sqlite();
    let ledger = house.open();
    let large = || Entry {
        answer: Some("x".repeat(50_000)),
        ..Entry::new(fresh_id(), ombud_ledger::Kind::Job, 0)
    };
    for _ in 0..ROUNDS {
        let group = (0..8).map(|_| large()).collect();
        ledger.submit(&tenant(), group).unwrap().wait().unwrap();
    }
    let log = house.folder.path().join("ledger.sqlite-wal");
    let (log, written) = (log.metadata().unwrap().len(), ROUNDS * 8 * 50_000);
    assert!(log < written / 2, "{log} of {written} bytes");
    let report = verify(&ledger);
    assert_sound(&report);
    assert_eq!(report.records, ROUNDS * 8);
}

#[test]
fn a_full_disk_refuses_records_and_corrupts_nothing() {
    if let Some(folder) = std::env::var_os(CHILD) {
        return fill_the_disk(&House::sqlite_in(folder.as_ref()));
    }
    // The limit on a file's size makes writes fail as a full disk does; ignored, its signal becomes an error.
    let folder = tempfile::tempdir().unwrap();
    let program = std::env::current_exe().unwrap();
    let status = Command::new("sh")
        .args(["-c", "trap '' XFSZ; ulimit -f 2000; exec \"$0\" \"$@\""])
        .arg(program)
        .args([
            "--exact",
            "disk::a_full_disk_refuses_records_and_corrupts_nothing",
        ])
        .env(CHILD, folder.path())
        .status()
        .unwrap();
    assert!(status.success());
}

fn fill_the_disk(house: &House) {
    let ledger = house.open();
    let large = || Entry {
        answer: Some("x".repeat(50_000)),
        ..Entry::new(fresh_id(), ombud_ledger::Kind::Job, 0)
    };
    let mut recorded = Vec::new();
    let refused = loop {
        match ledger.submit(&tenant(), vec![large()]).unwrap().wait() {
            Ok(mut answer) => recorded.append(&mut answer),
            Err(refused) => break refused,
        }
        assert!(recorded.len() < 1_000, "the disk never filled");
    };
    assert_eq!(refused.class(), Class::Unavailable, "{refused:?}");
    assert!(recorded.len() > 5, "{refused:?}");
    for _ in 0..3 {
        let again = ledger.submit(&tenant(), vec![large()]).unwrap().wait();
        assert_eq!(again.unwrap_err().class(), Class::Unavailable);
    }
    ledger.close();
    let report = verify(&ledger);
    assert_sound(&report);
    assert_eq!(report.records, recorded.len() as u64);
    for answer in recorded {
        assert_eq!(
            ledger.reader().record(&tenant(), &answer.id).unwrap().hash,
            answer.hash
        );
    }
    let check: String = house
        .sql()
        .query_row("pragma integrity_check", [], |row| row.get(0))
        .unwrap();
    assert_eq!(check, "ok");
}

#[test]
fn a_file_that_is_no_database_is_refused_as_it_is() {
    let house = House::sqlite();
    std::fs::write(
        house.file(),
        "not a database, but somebody's text".repeat(100),
    )
    .unwrap();
    assert_eq!(
        Ledger::open(house.options("r1")).unwrap_err().class(),
        Class::Corrupt
    );
    assert!(
        std::fs::read_to_string(house.file())
            .unwrap()
            .starts_with("not a database")
    );
}
