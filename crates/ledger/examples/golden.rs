//! Writes the golden files of the stored format: a SQLite ledger as SQL text, its export, and a checkpoint's copy.
//!
//! `cargo run --example golden -- FOLDER`, once for each version of the format; `tests/it/golden.rs` reads them for ever.

use ombud_core::{Digest, ModelName, Version};
use ombud_ledger::ledger::Database;
use ombud_ledger::seal::Secret;
use ombud_ledger::{
    Act, Clear, Entry, Kind, LaneName, Ledger, LocalMasterKey, Options, RecordId, Signer, Subject,
    Tenant,
};
use rusqlite::Connection;
use std::fmt::Write;
use std::path::PathBuf;
use std::sync::Arc;

/// 21 November 2026, 08:00 UTC.
const TIME_US: i64 = 1_795_248_000_000_000;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let folder = PathBuf::from(std::env::args().nth(1).ok_or("which folder?")?);
    std::fs::create_dir_all(&folder)?;
    let working = tempfile::tempdir()?;
    let file = working.path().join("ledger.sqlite");
    let ledger = Ledger::open(Options {
        database: Database::Sqlite(file.clone()),
        lane: LaneName::new("r1")?,
        master: Arc::new(LocalMasterKey::new(&Secret::new([7; 32]))),
        signer: Some(Signer::new(&Secret::new([8; 32]))),
        checkpoint_folder: Some(folder.clone()),
        observer: None,
    })?;
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    let acme = Tenant::new("acme")?;
    runtime.block_on(async {
        ledger.append(&acme, decision(1, "ana")).await?;
        ledger.append(&acme, decision(2, "ben")).await?;
        ledger
            .append(
                &acme,
                Entry {
                    detail: Some(r#"{"why":"schema"}"#.to_owned()),
                    ..bare(3, Kind::Refused)
                },
            )
            .await?;
        ledger
            .append(
                &acme,
                Entry {
                    principal: Some("person:ana".to_owned()),
                    ..bare(4, Kind::SignIn)
                },
            )
            .await?;
        ledger
            .append(&Tenant::new("other")?, decision(5, "ana"))
            .await?;
        ledger
            .erase(&acme, Subject::new("ben".to_owned()), act())
            .await?;
        ledger.checkpoint(&acme, TIME_US + 10).await?;
        ledger
            .append(
                &acme,
                Entry {
                    confidence: None,
                    answer: None,
                    ..decision(6, "ana")
                },
            )
            .await?;
        Ok::<_, Box<dyn std::error::Error>>(())
    })?;
    let mut export = Vec::new();
    ledger.reader().export(None, None, &mut export)?;
    ledger.close();
    std::fs::write(folder.join("export.jsonl"), export)?;
    std::fs::write(folder.join("ledger.sql"), dump(&Connection::open(file)?)?)?;
    Ok(())
}

fn bare(number: u8, kind: Kind) -> Entry {
    let time_us = TIME_US + i64::from(number);
    Entry::new(RecordId::from_parts(time_us, [number; 10]), kind, time_us)
}

fn decision(number: u8, person: &str) -> Entry {
    Entry {
        model: ModelName::new("claim_outcome").ok(),
        version: Version::new(3),
        bundle: Some(Digest::new([9; 32])),
        environment: Some("production".to_owned()),
        subject: Some(Subject::new(person.to_owned())),
        input: Some(Clear::new(
            format!("{{\"note\":\"{person} slept badly\"}}").into_bytes(),
        )),
        answer: Some(r#"{"label":"settled","text":"“yes”\n"}"#.to_owned()),
        confidence: Some(0.1 + 0.2),
        explanation: Some(Clear::new(b"[]".to_vec())),
        latency_us: Some(420),
        cache_hit: Some(number.is_multiple_of(2)),
        principal: Some("key:omb_1a2b".to_owned()),
        ip: Some("2001:db8::7".to_owned()),
        user_agent: Some("golden/1 \"quoted\"".to_owned()),
        request_id: Some(format!("req-{number}")),
        ..bare(number, Kind::Decision)
    }
}

fn act() -> Act {
    Act {
        time_us: TIME_US + 9,
        reason: "he asked".to_owned(),
        principal: Some("person:ana".to_owned()),
        ip: None,
        user_agent: None,
        request_id: None,
    }
}

/// The database as SQL text: tables, rows, then what watches over rows.
fn dump(connection: &Connection) -> rusqlite::Result<String> {
    let mut text = String::new();
    let mut tables = Vec::new();
    let mut schema = connection.prepare(
        "select type, name, sql from sqlite_schema where sql is not null order by rowid",
    )?;
    let entries: Vec<(String, String, String)> = schema
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?
        .collect::<Result<_, _>>()?;
    for (kind, name, sql) in &entries {
        if kind == "table" {
            tables.push(name);
            let _ = writeln!(text, "{sql};");
        }
    }
    for table in tables {
        let mut columns = connection.prepare("select name from pragma_table_info(?1)")?;
        let columns: Vec<String> = columns
            .query_map([table], |row| row.get(0))?
            .collect::<Result<_, _>>()?;
        let quoted: Vec<String> = columns
            .iter()
            .map(|column| format!("quote({column})"))
            .collect();
        let mut rows = connection.prepare(&format!("select {} from {table}", quoted.join(", ")))?;
        let mut rows = rows.query([])?;
        while let Some(row) = rows.next()? {
            let cells: Result<Vec<String>, _> =
                (0..columns.len()).map(|place| row.get(place)).collect();
            let _ = writeln!(text, "insert into {table} values ({});", cells?.join(", "));
        }
    }
    for (kind, _, sql) in &entries {
        if kind != "table" {
            let _ = writeln!(text, "{sql};");
        }
    }
    Ok(text)
}
