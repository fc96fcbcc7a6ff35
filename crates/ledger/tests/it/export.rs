//! Exports: checked offline, by us and by a script that shares no code with us.

use crate::house::{
    Dice, House, TIME_US, append, assert_sound, block_on, decision, faults, tenant, trusting,
};
use ombud_ledger::export::verify;
use ombud_ledger::verify::{Report, VerifyOptions};
use ombud_ledger::{Entry, Ledger, Tenant};
use std::path::Path;
use std::process::{Command, Output};

promises! {
    an_export_verifies_without_the_database,
    an_export_from_a_time_on_verifies_too,
    a_tenants_export_holds_nothing_of_another,
    moved_removed_and_cut_lines_are_named,
    any_single_flipped_bit_of_an_export_is_found_or_says_the_same,
    a_strangers_script_agrees,
}

/// Two lanes of two tenants, twelve records and two checkpoints.
fn ledger(house: &House) -> Ledger {
    let ledger = house.open();
    let other = Tenant::new("other").unwrap();
    for number in 0..6 {
        let time_us = TIME_US + number * 1_000_000;
        append(
            &ledger,
            Entry {
                time_us,
                ..decision("ana \"quoted\" \u{1f600}")
            },
        );
        ledger
            .submit(
                &other,
                vec![Entry {
                    time_us,
                    ..decision("ben")
                }],
            )
            .unwrap()
            .wait()
            .unwrap();
    }
    block_on(ledger.checkpoint(&tenant(), TIME_US)).unwrap();
    block_on(ledger.checkpoint(&other, TIME_US)).unwrap();
    ledger
}

fn export(ledger: &Ledger, since_us: Option<i64>) -> String {
    let mut out = Vec::new();
    ledger.reader().export(None, since_us, &mut out).unwrap();
    String::from_utf8(out).unwrap()
}

fn verified(text: &str) -> Report {
    verify(text.as_bytes(), &trusting()).unwrap()
}

fn an_export_verifies_without_the_database(house: &House) {
    let text = export(&ledger(house), None);
    let report = verified(&text);
    assert_sound(&report);
    assert_eq!(
        (report.records, report.checkpoints, report.lanes.len()),
        (12, 2, 2)
    );
    assert!(!text.contains("slept badly"));
}

fn an_export_from_a_time_on_verifies_too(house: &House) {
    let text = export(&ledger(house), Some(TIME_US + 3_000_000));
    let report = verified(&text);
    assert_sound(&report);
    assert_eq!(report.records, 6);
}

fn a_tenants_export_holds_nothing_of_another(house: &House) {
    let ledger = ledger(house);
    let mut out = Vec::new();
    ledger
        .reader()
        .export(Some(&tenant()), None, &mut out)
        .unwrap();
    let text = String::from_utf8(out).unwrap();
    assert!(!text.contains("other"));
    assert_eq!(verified(&text).records, 6);
}

fn moved_removed_and_cut_lines_are_named(house: &House) {
    let text = export(&ledger(house), None);
    let lines: Vec<&str> = text.split_inclusive('\n').collect();
    let first = lines
        .iter()
        .position(|line| line.starts_with(r#"{"type":"record"#))
        .unwrap();

    let mut swapped = lines.clone();
    swapped.swap(first + 2, first + 3);
    assert_eq!(
        faults(&verified(&swapped.concat())),
        "acme/r1 record 3: reordered: number 4 stands in its place"
    );

    let mut removed = lines.clone();
    removed.remove(first + 2);
    assert_eq!(
        faults(&verified(&removed.concat())),
        "acme/r1 record 3: missing, with all up to 3"
    );

    let cut = lines[..lines.len() - 3].concat();
    let named = "other/r1 record 5: truncated: the lane ends at 4, but checkpoint 1 signed 6";
    assert_eq!(faults(&verified(&cut)), named);

    let endless = lines[..lines.len() - 1].concat();
    assert_eq!(
        faults(&verified(&endless)),
        "ledger: line 16 cannot be read: the export does not end as it should"
    );

    let half = &text[..text.len() - 10];
    assert!(faults(&verified(half)).contains("it is cut"));
}

fn any_single_flipped_bit_of_an_export_is_found_or_says_the_same(house: &House) {
    let text = export(&ledger(house), None);
    let body = text.find('\n').unwrap() as u64 + 1;
    let end = text.trim_end().rfind('\n').unwrap() as u64 + 1;
    let mut dice = Dice(99);
    for turn in 0..2_000 {
        let mut bytes = text.clone().into_bytes();
        let place = (body + dice.roll(end - body)) as usize;
        bytes[place] ^= 1 << dice.roll(8);
        let report = verify(bytes.as_slice(), &trusting()).unwrap();
        let says_the_same =
            String::from_utf8(bytes).is_ok_and(|changed| meaning(&changed) == meaning(&text));
        assert!(
            !report.is_sound() || says_the_same,
            "turn {turn}: nobody noticed byte {place}"
        );
    }
}

/// What the lines mean, whatever their spelling.
fn meaning(text: &str) -> Vec<Option<serde_json::Value>> {
    text.split('\n')
        .map(|line| serde_json::from_str(line).ok())
        .collect()
}

fn a_strangers_script_agrees(house: &House) {
    let text = export(&ledger(house), None);
    let file = house.folder.path().join("export.jsonl");
    std::fs::write(&file, &text).unwrap();
    let output = script(&file);
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    assert_eq!(
        String::from_utf8_lossy(&output.stdout),
        "12 records in 2 lanes and 2 checkpoints hold together\n"
    );
    for (right, wrong) in [
        ("settled", "denied!"),
        ("0.93", "0.94"),
        (r#""sequence":3"#, r#""sequence":4"#),
    ] {
        std::fs::write(&file, text.replacen(right, wrong, 1)).unwrap();
        assert!(!script(&file).status.success(), "{wrong}");
        assert!(
            !verify(
                text.replacen(right, wrong, 1).as_bytes(),
                &VerifyOptions::default()
            )
            .unwrap()
            .is_sound()
        );
    }
}

fn script(file: &Path) -> Output {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/verify_export.py");
    Command::new("python3")
        .arg(script)
        .arg(file)
        .output()
        .unwrap()
}
