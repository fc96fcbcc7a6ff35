//! What the tests share: a ledger in a temporary folder, and entries to put into it.

use ombud_core::{Digest, ModelName, Version};
use ombud_ledger::ledger::Database;
use ombud_ledger::record::RecordId;
use ombud_ledger::seal::Secret;
use ombud_ledger::verify::{Report, VerifyOptions};
use ombud_ledger::{
    Act, Clear, Entry, Kind, LaneName, Ledger, LocalMasterKey, Options, Recorded, Signer, Subject,
    Tenant,
};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tempfile::TempDir;

/// 21 November 2026, 08:00 UTC.
pub const TIME_US: i64 = 1_795_248_000_000_000;

/// Names a PostgreSQL server where databases may be made, by the URL of one of its databases.
const POSTGRES: &str = "OMBUD_TEST_POSTGRES";

/// An empty place for a ledger.
pub struct House {
    pub folder: TempDir,
    pub database: Database,
}

impl House {
    pub fn sqlite() -> Self {
        House::sqlite_in(&std::env::temp_dir())
    }

    pub fn sqlite_in(parent: &Path) -> Self {
        let folder = TempDir::new_in(parent).unwrap();
        let database = Database::Sqlite(folder.path().join("ledger.sqlite"));
        House { folder, database }
    }

    /// A database of its own on the server, when there is one.
    pub fn postgres() -> Option<Self> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let Ok(server) = std::env::var(POSTGRES) else {
            eprintln!("{POSTGRES} is not set: nothing to run on");
            return None;
        };
        let name = format!(
            "t{}_{}",
            std::process::id(),
            NEXT.fetch_add(1, Ordering::Relaxed)
        );
        run_on_postgres(&server, &format!("create database {name}")).unwrap();
        let (before, after) = server
            .split_once("/postgres")
            .expect("a URL of the database postgres");
        let database = Database::Postgres(format!("{before}/{name}{after}"));
        Some(House {
            folder: tempfile::tempdir().unwrap(),
            database,
        })
    }

    /// Another empty place of the same sort.
    pub fn another(&self) -> Self {
        match self.database {
            Database::Sqlite(_) => House::sqlite(),
            Database::Postgres(_) => House::postgres().unwrap(),
        }
    }

    pub fn is_sqlite(&self) -> bool {
        matches!(self.database, Database::Sqlite(_))
    }

    pub fn file(&self) -> PathBuf {
        self.folder.path().join("ledger.sqlite")
    }

    pub fn open(&self) -> Ledger {
        Ledger::open(self.options("r1")).unwrap()
    }

    pub fn options(&self, lane: &str) -> Options {
        options(self.database.clone(), lane)
    }

    /// The SQLite file as a stranger with write access sees it.
    pub fn sql(&self) -> rusqlite::Connection {
        let connection = rusqlite::Connection::open(self.file()).unwrap();
        connection
            .pragma_update(None, "busy_timeout", 5_000)
            .unwrap();
        connection
    }

    /// Where this database's files lie, when they can be read from here.
    pub fn readable_data_folder(&self) -> Option<PathBuf> {
        let sql = "select current_setting('data_directory') || '/base/' || oid from pg_database \
            where datname = current_database()";
        let folder: String =
            self.ask_postgres(|connection| Box::pin(sqlx::query_scalar(sql).fetch_one(connection)));
        let folder = PathBuf::from(folder);
        std::fs::read_dir(&folder).is_ok().then_some(folder)
    }

    /// A person's keys as they lie in PostgreSQL's table.
    pub fn wrapped_keys(&self, ledger: &Ledger, person: &str) -> Vec<Vec<u8>> {
        let subject = Subject::new(person.to_owned());
        let reference = ledger.reader().subject_reference(&tenant(), &subject);
        let reference = reference.unwrap().unwrap().0.as_bytes().to_vec();
        let sql = "select wrapped from ledger_keys where subject = $1";
        self.ask_postgres(move |connection| {
            Box::pin(
                sqlx::query_scalar(sql)
                    .bind(reference)
                    .fetch_all(connection),
            )
        })
    }

    /// A backup as PostgreSQL's own program makes it.
    pub fn dump(&self) -> String {
        let Database::Postgres(url) = &self.database else {
            panic!("only PostgreSQL is dumped");
        };
        let dumped = std::process::Command::new("pg_dump").arg(url).output();
        let dumped = dumped.expect("pg_dump is installed beside the server");
        assert!(dumped.status.success(), "{dumped:?}");
        String::from_utf8(dumped.stdout).unwrap()
    }

    fn ask_postgres<T>(
        &self,
        ask: impl for<'c> FnOnce(
            &'c mut sqlx::PgConnection,
        ) -> futures_util::future::BoxFuture<'c, sqlx::Result<T>>,
    ) -> T {
        use sqlx::Connection;
        let Database::Postgres(url) = &self.database else {
            panic!("only PostgreSQL is asked");
        };
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async {
            let mut connection = sqlx::PgConnection::connect(url).await.unwrap();
            ask(&mut connection).await.unwrap()
        })
    }

    /// Runs SQL as a stranger with write access would; whether the database took it.
    pub fn execute(&self, sql: &str) -> bool {
        match &self.database {
            Database::Sqlite(_) => self.sql().execute_batch(sql).is_ok(),
            Database::Postgres(url) => run_on_postgres(url, sql).is_ok(),
        }
    }

    /// The same, with the triggers that guard against accidents out of the way.
    pub fn tamper(&self, sql: &str) {
        let unguard = if self.is_sqlite() {
            "drop trigger if exists ledger_records_stay; drop trigger if exists ledger_records_remain; \
             drop trigger if exists ledger_checkpoints_stay; drop trigger if exists ledger_checkpoints_remain;"
        } else {
            "alter table ledger_records disable trigger all; alter table ledger_checkpoints disable trigger all;"
        };
        assert!(self.execute(unguard));
        assert!(self.execute(sql), "{sql}");
    }

    /// Bytes as this database's SQL spells them.
    pub fn bytes(&self, bytes: &[u8]) -> String {
        let digits: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        if self.is_sqlite() {
            format!("x'{digits}'")
        } else {
            format!("'\\x{digits}'::bytea")
        }
    }
}

fn run_on_postgres(url: &str, sql: &str) -> sqlx::Result<()> {
    use sqlx::Connection;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let mut connection = sqlx::PgConnection::connect(url).await?;
        sqlx::raw_sql(sqlx::AssertSqlSafe(sql))
            .execute(&mut connection)
            .await?;
        connection.close().await
    })
}

pub fn options(database: Database, lane: &str) -> Options {
    Options {
        database,
        lane: LaneName::new(lane).unwrap(),
        master: Arc::new(LocalMasterKey::new(&Secret::new([7; 32]))),
        signer: Some(signer()),
        checkpoint_folder: None,
        observer: None,
    }
}

pub fn signer() -> Signer {
    Signer::new(&Secret::new([8; 32]))
}

pub fn tenant() -> Tenant {
    Tenant::new("acme").unwrap()
}

/// An id that no other entry of this process has.
pub fn fresh_id() -> RecordId {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let mut random = [0; 10];
    random[..4].copy_from_slice(&std::process::id().to_be_bytes());
    random[4..].copy_from_slice(&NEXT.fetch_add(1, Ordering::Relaxed).to_be_bytes()[2..]);
    RecordId::from_parts(TIME_US, random)
}

/// A decision about somebody, with every field filled.
pub fn decision(subject: &str) -> Entry {
    Entry {
        model: Some(ModelName::new("claim_outcome").unwrap()),
        version: Version::new(3),
        bundle: Some(Digest::new([9; 32])),
        environment: Some("production".to_owned()),
        subject: Some(Subject::new(subject.to_owned())),
        input: Some(Clear::new(
            format!("{{\"note\":\"{subject} slept badly\"}}").into_bytes(),
        )),
        answer: Some(r#"{"label":"settled","score":0.93}"#.to_owned()),
        confidence: Some(0.93),
        explanation: Some(Clear::new(
            format!("because {subject} wrote so").into_bytes(),
        )),
        latency_us: Some(420),
        cache_hit: Some(false),
        principal: Some("key:omb_1a2b".to_owned()),
        ip: Some("192.0.2.7".to_owned()),
        user_agent: Some("tests/1".to_owned()),
        request_id: Some("req-1".to_owned()),
        detail: None,
        ..Entry::new(fresh_id(), Kind::Decision, TIME_US)
    }
}

pub fn act(reason: &str) -> Act {
    Act {
        time_us: TIME_US + 1,
        reason: reason.to_owned(),
        principal: Some("person:ana".to_owned()),
        ip: None,
        user_agent: None,
        request_id: None,
    }
}

pub fn append(ledger: &Ledger, entry: Entry) -> Recorded {
    ledger
        .submit(&tenant(), vec![entry])
        .unwrap()
        .wait()
        .unwrap()
        .remove(0)
}

pub fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap()
        .block_on(future)
}

pub fn trusting() -> VerifyOptions {
    VerifyOptions {
        trusted: vec![signer().verifying_key()],
        ..VerifyOptions::default()
    }
}

pub fn verify(ledger: &Ledger) -> Report {
    ledger.reader().verify(&trusting()).unwrap()
}

/// What verifying says, a line for each fault.
pub fn faults(report: &Report) -> String {
    report
        .faults
        .iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join("\n")
}

pub fn assert_sound(report: &Report) {
    assert!(report.is_sound(), "{}", faults(report));
}

/// Whether a file holds these bytes anywhere.
pub fn holds(path: &Path, bytes: &[u8]) -> bool {
    let content = std::fs::read(path).unwrap_or_default();
    content.windows(bytes.len()).any(|window| window == bytes)
}

/// A small generator for places and moments; a failing test prints its seed.
pub struct Dice(pub u64);

impl Dice {
    pub fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % sides
    }
}
