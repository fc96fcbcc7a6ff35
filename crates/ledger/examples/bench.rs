//! Measures the ledger: records a second at 1, 16 and 64 concurrent appenders, then how fast chains verify, in the
//! database and in an export.
//!
//! `cargo run --release --example bench -- [--postgres URL] [--seconds N] [--rounds N]`

use ombud_core::{Class, Digest, ModelName, Version};
use ombud_ledger::ledger::Database;
use ombud_ledger::seal::Secret;
use ombud_ledger::verify::VerifyOptions;
use ombud_ledger::{
    Clear, Entry, Error, Kind, LaneName, Ledger, LocalMasterKey, Options, RecordId, Subject,
    Tenant, export,
};
use std::io::{BufReader, BufWriter};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// People the decisions are about; each costs a data key once.
const PEOPLE: u64 = 5_000;
const RECORDS_TO_VERIFY: usize = 300_000;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().collect();
    let option = |name: &str| {
        arguments
            .iter()
            .position(|word| word == name)
            .and_then(|at| arguments.get(at + 1))
    };
    let seconds: u64 = option("--seconds").map_or(Ok(3), |text| text.parse())?;
    let folder = tempfile::tempdir()?;
    let database = match option("--postgres") {
        Some(url) => Database::Postgres(url.clone()),
        None => Database::Sqlite(folder.path().join("ledger.sqlite")),
    };
    let ledger = Ledger::open(Options {
        database,
        lane: LaneName::new("bench")?,
        master: Arc::new(LocalMasterKey::new(&Secret::new([1; 32]))),
        signer: None,
        checkpoint_folder: None,
        observer: None,
    })?;
    let rounds: usize = option("--rounds").map_or(Ok(2), |text| text.parse())?;
    println!("appenders  records/s   p50 ms   p99 ms");
    for _ in 0..rounds {
        for appenders in [1, 16, 64] {
            appending(&ledger, appenders, Duration::from_secs(seconds))?;
        }
    }
    verifying(&ledger, folder.path())
}

fn appending(ledger: &Ledger, appenders: usize, time: Duration) -> Result<(), Error> {
    let runtime = tokio::runtime::Builder::new_current_thread().build();
    let runtime = runtime.map_err(|_| Error::Closed)?;
    let tasks = tokio::task::LocalSet::new();
    let started = Instant::now();
    let mut waits: Vec<f64> = runtime.block_on(tasks.run_until(async {
        let mut running = Vec::new();
        for appender in 0..appenders {
            let ledger = ledger.clone();
            running.push(tokio::task::spawn_local(async move {
                let mut waits = Vec::new();
                for turn in 0.. {
                    let asked = Instant::now();
                    if asked.duration_since(started) > time {
                        break;
                    }
                    let person = (appender as u64 * 7_919 + turn * 31) % PEOPLE;
                    ledger.append(&tenant(), decision(person)?).await?;
                    waits.push(asked.elapsed().as_secs_f64() * 1e3);
                }
                Ok::<_, Error>(waits)
            }));
        }
        let mut waits = Vec::new();
        for task in running {
            waits.extend(task.await.map_err(|_| Error::Closed)??);
        }
        Ok::<_, Error>(waits)
    }))?;
    waits.sort_by(f64::total_cmp);
    let at = |share: f64| waits[((waits.len() - 1) as f64 * share) as usize];
    let rate = waits.len() as f64 / started.elapsed().as_secs_f64();
    println!(
        "{appenders:9}  {rate:9.0}  {:7.2}  {:7.2}",
        at(0.5),
        at(0.99)
    );
    Ok(())
}

fn verifying(ledger: &Ledger, folder: &std::path::Path) -> Result<(), Box<dyn std::error::Error>> {
    let started = Instant::now();
    let mut added = 0;
    while added < RECORDS_TO_VERIFY {
        let batch: Result<Vec<Entry>, Error> = (0..1_000).map(|n| decision(n % PEOPLE)).collect();
        match ledger.submit(&tenant(), batch?) {
            Ok(pending) => drop(pending.wait()?),
            Err(error) if error.class() == Class::Unavailable => continue,
            Err(error) => return Err(error.into()),
        }
        added += 1_000;
    }
    println!(
        "batches of 1,000: {:.0} records/s",
        added as f64 / started.elapsed().as_secs_f64()
    );
    for _ in 0..3 {
        let started = Instant::now();
        let report = ledger.reader().verify(&VerifyOptions::default())?;
        assert!(report.is_sound());
        println!(
            "verify: {} records, {:.0} records/s",
            report.records,
            report.records as f64 / started.elapsed().as_secs_f64()
        );
    }
    let path = folder.join("export.jsonl");
    let started = Instant::now();
    let exported = ledger.reader().export(
        None,
        None,
        &mut BufWriter::new(std::fs::File::create(&path)?),
    )?;
    println!(
        "export: {:.0} records/s, {} bytes a record",
        exported.records as f64 / started.elapsed().as_secs_f64(),
        std::fs::metadata(&path)?.len() / exported.records
    );
    let started = Instant::now();
    let file = BufReader::with_capacity(1 << 18, std::fs::File::open(&path)?);
    let report = export::verify(file, &VerifyOptions::default())?;
    assert!(report.is_sound());
    println!(
        "verify export: {:.0} records/s",
        report.records as f64 / started.elapsed().as_secs_f64()
    );
    Ok(())
}

fn tenant() -> Tenant {
    Tenant::new("bench").expect("a right name")
}

/// A decision as a five-class forest on 40 features gives it.
fn decision(person: u64) -> Result<Entry, Error> {
    let time_us = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_micros() as i64;
    let features: Vec<String> = (0..24)
        .map(|n| format!("\"feature_{n}\":{}", (person * n) % 97))
        .collect();
    Ok(Entry {
        model: ModelName::new("claim_outcome").ok(),
        version: Version::new(3),
        bundle: Some(Digest::new([9; 32])),
        environment: Some("production".to_owned()),
        subject: Some(Subject::new(format!("member-{person}"))),
        input: Some(Clear::new(
            format!("{{{}}}", features.join(",")).into_bytes(),
        )),
        answer: Some(
            r#"{"label":"settled","probabilities":{"settled":0.81,"denied":0.1,"withdrawn":0.09}}"#
                .to_owned(),
        ),
        confidence: Some(0.81),
        explanation: Some(Clear::new(
            br#"[{"feature":"feature_3","push":0.4},{"feature":"feature_9","push":-0.2}]"#.to_vec(),
        )),
        latency_us: Some(420),
        cache_hit: Some(false),
        principal: Some("key:omb_1a2b".to_owned()),
        ip: Some("192.0.2.7".to_owned()),
        user_agent: Some("bench/1".to_owned()),
        request_id: Some(RecordId::generate(time_us)?.to_string()),
        ..Entry::new(RecordId::generate(time_us)?, Kind::Decision, time_us)
    })
}
