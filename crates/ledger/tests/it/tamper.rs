//! Tampering: whatever is changed in the stored records or checkpoints, `verify` finds it and names it.

use crate::house::{
    Dice, House, TIME_US, append, assert_sound, block_on, decision, faults, signer, tenant,
    trusting, verify,
};
use ombud_ledger::layout;
use ombud_ledger::seal::Secret;
use ombud_ledger::verify::VerifyOptions;
use ombud_ledger::{Ledger, SignedCheckpoint, Signer};
use rusqlite::types::Value;
use rusqlite::{Connection, params};

promises! {
    a_changed_record_is_named,
    a_missing_record_is_named,
    reordered_records_are_named,
    a_lane_cut_before_a_signed_head_is_named,
    a_record_in_no_lane_is_named,
    a_record_that_was_changed_and_hashed_again_breaks_the_next_link,
    a_chain_that_was_written_anew_to_its_end_is_not_the_one_that_was_signed,
    checkpoints_that_were_changed_removed_or_signed_by_a_stranger_are_named,
    a_copy_kept_elsewhere_proves_that_the_newest_checkpoint_and_what_it_signed_were_removed,
    the_database_itself_refuses_changes_made_by_accident,
}

/// A ledger with eleven records in one lane; checkpoint 1 signs the sixth, checkpoint 2 the ninth.
fn ledger_of_eleven(house: &House) -> (Ledger, Vec<SignedCheckpoint>) {
    let ledger = house.open();
    let mut checkpoints = Vec::new();
    for number in 1..=11 {
        append(&ledger, decision(["ana", "ben"][number % 2]));
        if number == 6 || number == 9 {
            checkpoints.push(block_on(ledger.checkpoint(&tenant(), TIME_US)).unwrap());
        }
    }
    assert_sound(&verify(&ledger));
    (ledger, checkpoints)
}

/// What verifying such a ledger says after some SQL.
fn after(house: &House, sql: &str) -> String {
    let house = house.another();
    let (ledger, _) = ledger_of_eleven(&house);
    house.tamper(sql);
    faults(&verify(&ledger))
}

fn a_changed_record_is_named(house: &House) {
    let changed = "acme/r1 record 4: changed: its fields do not give its hash";
    let at = |set: &str| {
        after(
            house,
            &format!("update ledger_records set {set} where position & 65535 = 4"),
        )
    };
    assert_eq!(at("answer = '{\"label\":\"denied\"}'"), changed);
    assert_eq!(at("sealed_input = null"), changed);
    assert_eq!(at("confidence = 0.930000001"), changed);
    assert_eq!(
        at(&format!("previous = {}", house.bytes(&[0; 32]))),
        changed
    );
    assert_eq!(at(&format!("hash = {}", house.bytes(&[0; 31]))), changed);
    assert_eq!(at("detail = ''"), changed);
}

fn a_missing_record_is_named(house: &House) {
    let missing = "acme/r1 record 4: missing, with all up to 5";
    assert_eq!(
        after(
            house,
            "delete from ledger_records where position & 65535 in (4, 5)"
        ),
        missing
    );
    let first = "acme/r1 record 1: missing, with all up to 1";
    assert_eq!(
        after(
            house,
            "delete from ledger_records where position & 65535 = 1"
        ),
        first
    );
}

fn reordered_records_are_named(house: &House) {
    let swapped = "update ledger_records set position = -1 where position & 65535 = 4 and position > 0; \
        update ledger_records set position = position - 1 where position & 65535 = 5 and position > 0; \
        update ledger_records set position = (select max(position) - 11 + 5 from ledger_records) where position = -1;";
    assert_eq!(
        after(house, swapped),
        "acme/r1 record 4: reordered: number 5 stands in its place"
    );
}

fn a_lane_cut_before_a_signed_head_is_named(house: &House) {
    let cut = "acme/r1 record 8: truncated: the lane ends at 7, but checkpoint 2 signed 9";
    assert_eq!(
        after(
            house,
            "delete from ledger_records where position & 65535 > 7"
        ),
        cut
    );
    let gone = "acme/r1 record 1: truncated: the lane ends at 0, but checkpoint 2 signed 9";
    assert_eq!(after(house, "delete from ledger_records"), gone);
    assert_eq!(
        after(
            house,
            "delete from ledger_records; delete from ledger_lanes"
        ),
        gone
    );
}

fn a_record_in_no_lane_is_named(house: &House) {
    // Seven lanes further on.
    let moved =
        "update ledger_records set position = position + 7696581394432 where position & 65535 = 11";
    let found = after(house, moved);
    assert!(found.contains("belongs to no lane"), "{found}");
}

fn a_record_that_was_changed_and_hashed_again_breaks_the_next_link(house: &House) {
    let (ledger, _) = ledger_of_eleven(house);
    rehash(house, &ledger, 4, 4);
    let unlinked =
        "acme/r1 record 5: changed: it, or the one before it, was replaced and hashed again";
    assert_eq!(faults(&verify(&ledger)), unlinked);
}

fn a_chain_that_was_written_anew_to_its_end_is_not_the_one_that_was_signed(house: &House) {
    let (ledger, _) = ledger_of_eleven(house);
    rehash(house, &ledger, 4, 11);
    let rewritten = "acme/r1 record 6: changed: checkpoint 1 signed another hash here";
    assert_eq!(faults(&verify(&ledger)), rewritten);
}

fn checkpoints_that_were_changed_removed_or_signed_by_a_stranger_are_named(house: &House) {
    let changed = "acme checkpoint 1: changed: the text and its signature do not belong together";
    let text = "update ledger_checkpoints set body = replace(body, ' 6 ', ' 5 ') where number = 1";
    assert_eq!(after(house, text), changed);
    let missing = "acme checkpoint 1: missing, or it does not follow the one before it";
    assert_eq!(
        after(house, "delete from ledger_checkpoints where number = 1"),
        missing
    );
    let renamed = after(
        house,
        "update ledger_checkpoints set tenant = 'acne' where number = 2",
    );
    assert_eq!(
        renamed,
        "acne checkpoint 1: missing, or it does not follow the one before it"
    );

    let (ledger, _) = ledger_of_eleven(house);
    let stranger = Signer::new(&Secret::new([66; 32]));
    let trusted = vec![stranger.verifying_key()];
    let report = ledger
        .reader()
        .verify(&VerifyOptions {
            trusted,
            ..VerifyOptions::default()
        })
        .unwrap();
    let wrong = format!(
        "acme checkpoint 1: wrong key: signed by {}, which is not trusted",
        signer().verifying_key()
    );
    assert_eq!(faults(&report), wrong);
}

fn a_copy_kept_elsewhere_proves_that_the_newest_checkpoint_and_what_it_signed_were_removed(
    house: &House,
) {
    let (ledger, copies) = ledger_of_eleven(house);
    house.tamper("delete from ledger_checkpoints where number = 2");
    house.tamper("delete from ledger_records where position & 65535 > 7");
    assert_sound(&verify(&ledger));
    let report = ledger
        .reader()
        .verify(&VerifyOptions {
            copies,
            ..trusting()
        })
        .unwrap();
    let proved = "acme checkpoint 2: missing, or it does not follow the one before it\n\
        acme/r1 record 8: truncated: the lane ends at 7, but checkpoint 2 signed 9";
    assert_eq!(faults(&report), proved);
}

fn the_database_itself_refuses_changes_made_by_accident(house: &House) {
    ledger_of_eleven(house);
    for sql in [
        "update ledger_records set answer = null",
        "delete from ledger_records",
        "update ledger_checkpoints set body = ''",
        "delete from ledger_checkpoints",
    ] {
        assert!(!house.execute(sql), "{sql}");
    }
}

#[test]
fn any_single_flipped_bit_in_records_and_checkpoints_is_found() {
    let house = House::sqlite();
    let (ledger, _) = ledger_of_eleven(&house);
    house.tamper("select 1");
    let connection = house.sql();
    let mut dice = Dice(4_711);
    for turn in 0..1_500 {
        let table =
            ["ledger_records", "ledger_checkpoints", "ledger_lanes"][dice.roll(20).min(2) as usize];
        let Some(flip) = Flip::random(&connection, table, &mut dice) else {
            continue;
        };
        if !flip.apply(&connection) {
            continue;
        }
        assert!(
            !verify(&ledger).is_sound(),
            "turn {turn}: nobody noticed {flip:?}"
        );
        flip.undo(&connection);
    }
    assert_sound(&verify(&ledger));
}

/// One flipped bit in one cell.
#[derive(Debug)]
struct Flip {
    table: String,
    column: String,
    row: String,
    before: Value,
    after: Value,
}

impl Flip {
    fn random(connection: &Connection, table: &str, dice: &mut Dice) -> Option<Flip> {
        let sql = format!("select name from pragma_table_info('{table}')");
        let mut statement = connection.prepare(&sql).unwrap();
        let columns: Vec<String> = statement
            .query_map([], |row| row.get(0))
            .unwrap()
            .map(Result::unwrap)
            .collect();
        let column = columns[dice.roll(columns.len() as u64) as usize].clone();
        let keys = match table {
            "ledger_records" => "position",
            "ledger_lanes" => "lane",
            _ => "number",
        };
        let sql = format!(
            "select {keys} from {table} order by {keys} limit 1 offset abs(?1) % (select count(*) from {table})"
        );
        let key: i64 = connection
            .query_row(&sql, [dice.roll(1_000) as i64], |row| row.get(0))
            .unwrap();
        let row = format!("{keys} = {key}");
        let sql = format!("select {column} from {table} where {row}");
        let before: Value = connection.query_row(&sql, [], |row| row.get(0)).unwrap();
        let after = flipped(&before, dice)?;
        Some(Flip {
            table: table.to_owned(),
            column,
            row,
            before,
            after,
        })
    }

    /// Whether the database took it: a key that is taken already is refused by itself.
    fn apply(&self, connection: &Connection) -> bool {
        let sql = format!(
            "update {} set {} = ?1 where {}",
            self.table, self.column, self.row
        );
        let mut statement = connection.prepare(&sql).unwrap();
        match (&self.before, &self.after) {
            // Text may have become no text; the cast keeps the column's type.
            (Value::Text(_), Value::Blob(bytes)) => {
                let sql = sql.replace("?1", "cast(?1 as text)");
                connection.execute(&sql, params![bytes]).is_ok()
            }
            _ => statement.execute(params![self.after]).is_ok(),
        }
    }

    fn undo(&self, connection: &Connection) {
        let key = self.row.split(" = ").next().unwrap();
        let row = match &self.after {
            Value::Integer(moved) if self.column == key => format!("{key} = {moved}"),
            _ => self.row.clone(),
        };
        let sql = format!("update {} set {} = ?1 where {row}", self.table, self.column);
        assert_eq!(connection.execute(&sql, params![self.before]).unwrap(), 1);
    }
}

fn flipped(value: &Value, dice: &mut Dice) -> Option<Value> {
    let mut flip = |mut bytes: Vec<u8>| {
        let place = dice.roll(bytes.len() as u64) as usize;
        bytes[place] ^= 1 << dice.roll(8);
        bytes
    };
    match value {
        Value::Null => None,
        Value::Integer(number) => {
            let bytes: [u8; 8] = flip(number.to_be_bytes().to_vec()).try_into().unwrap();
            Some(Value::Integer(i64::from_be_bytes(bytes)))
        }
        Value::Real(number) => {
            let bytes: [u8; 8] = flip(number.to_be_bytes().to_vec()).try_into().unwrap();
            Some(Value::Real(f64::from_be_bytes(bytes)))
        }
        Value::Text(text) if text.is_empty() => None,
        Value::Text(text) => Some(Value::Blob(flip(text.as_bytes().to_vec()))),
        Value::Blob(bytes) => Some(Value::Blob(flip(bytes.clone()))),
    }
}

/// Changes a record's answer and hashes it and its followers again, up to one.
fn rehash(house: &House, ledger: &Ledger, from: u64, to: u64) {
    let page = ledger
        .reader()
        .page(&tenant(), &ombud_ledger::Query::default())
        .unwrap();
    let mut previous = None;
    for mut record in page
        .records
        .into_iter()
        .rev()
        .filter(|r| (from..=to).contains(&r.sequence))
    {
        record.previous = previous.unwrap_or(record.previous);
        if record.sequence == from {
            record.answer = Some("denied".to_owned());
        }
        let hash = layout::hash(&record.raw(), &mut Vec::new());
        previous = Some(hash);
        house.tamper(&format!(
            "update ledger_records set answer = '{}', previous = {}, hash = {} where id = {}",
            record.answer.unwrap(),
            house.bytes(record.previous.as_bytes()),
            house.bytes(hash.as_bytes()),
            house.bytes(record.id.as_bytes()),
        ));
    }
}
