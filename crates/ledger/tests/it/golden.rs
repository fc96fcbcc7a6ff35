//! What was stored once is read for ever: the golden files of every version (`examples/golden.rs` writes them).

use crate::house::{
    House, act, append, assert_sound, block_on, decision, signer, tenant, trusting, verify,
};
use ombud_ledger::export::{self, EXPORT_VERSION};
use ombud_ledger::ledger::Contents;
use ombud_ledger::verify::VerifyOptions;
use ombud_ledger::{Kind, Query, RecordId, SignedCheckpoint, Subject};
use std::path::PathBuf;

/// The time of the golden records.
const TIME_US: i64 = 1_795_248_000_000_000;

fn golden(version: u32, file: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join(format!("tests/golden/v{version}"))
        .join(file)
}

fn text(version: u32, file: &str) -> String {
    std::fs::read_to_string(golden(version, file)).unwrap()
}

#[test]
fn every_version_has_its_golden_files() {
    for version in 1..=EXPORT_VERSION {
        for file in ["ledger.sql", "export.jsonl", "acme-0000000001.checkpoint"] {
            assert!(
                golden(version, file).is_file(),
                "version {version} has no {file}"
            );
        }
    }
}

#[test]
fn a_ledger_stored_by_version_1_verifies_opens_and_goes_on() {
    let house = House::sqlite();
    house.sql().execute_batch(&text(1, "ledger.sql")).unwrap();
    let ledger = house.open();
    let report = verify(&ledger);
    assert_sound(&report);
    assert_eq!(
        (report.records, report.checkpoints, report.lanes.len()),
        (7, 1, 2)
    );
    let id = |number: u8| RecordId::from_parts(TIME_US + i64::from(number), [number; 10]);
    let opened =
        block_on(ledger.open_sealed(&tenant(), vec![id(1), id(2), id(3)], act("golden"))).unwrap();
    let Contents::Open { input, .. } = &opened[0].contents else {
        panic!("not open")
    };
    assert_eq!(
        input.as_ref().unwrap().expose(),
        br#"{"note":"ana slept badly"}"#
    );
    assert_eq!(opened[1].contents, Contents::Erased);
    assert_eq!(opened[2].contents, Contents::Nothing);
    assert_eq!(opened[0].record.confidence, Some(0.1 + 0.2));
    let ana = ledger
        .reader()
        .subject_reference(&tenant(), &Subject::new("ana".to_owned()))
        .unwrap();
    let about_ana = Query {
        subject: ana,
        kind: Some(Kind::Decision),
        ..Query::default()
    };
    assert_eq!(
        ledger
            .reader()
            .page(&tenant(), &about_ana)
            .unwrap()
            .records
            .len(),
        2
    );
    append(&ledger, decision("ana"));
    assert_sound(&verify(&ledger));
}

#[test]
fn a_ledger_stored_by_version_1_is_exported_byte_for_byte_as_then() {
    let house = House::sqlite();
    house.sql().execute_batch(&text(1, "ledger.sql")).unwrap();
    let mut out = Vec::new();
    house.open().reader().export(None, None, &mut out).unwrap();
    assert_eq!(String::from_utf8(out).unwrap(), text(1, "export.jsonl"));
}

#[test]
fn an_export_of_version_1_verifies_against_a_checkpoint_of_then() {
    let copy = SignedCheckpoint::read_file(&golden(1, "acme-0000000001.checkpoint")).unwrap();
    assert_eq!(copy.signer, signer().verifying_key());
    let options = VerifyOptions {
        copies: vec![copy],
        ..trusting()
    };
    let report = export::verify(text(1, "export.jsonl").as_bytes(), &options).unwrap();
    assert_sound(&report);
    assert_eq!((report.records, report.checkpoints), (7, 1));
}

#[test]
fn the_hashes_of_version_1_never_change() {
    let export = text(1, "export.jsonl");
    let announced = export.lines().next().unwrap();
    // Python 3.11, tests/verify_export.py: the heads of both lanes.
    for head in [
        "d014c1a9c49b38bf18500865e2f8cbd9dbd182137335835c249e517b3755abdf",
        "72b686ffe2af4a8d6d8733e488106f00580559aa7411f0adaa6824d85eb294a2",
    ] {
        assert!(announced.contains(head), "{announced}");
    }
}
