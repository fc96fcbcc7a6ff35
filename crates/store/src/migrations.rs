//! Brings the tables up to date, once, whoever starts first.
//!
//! Numbered texts, embedded, run in order inside one transaction each, under a lock: SQLite's write lock, an advisory lock on
//! PostgreSQL. A database that a newer program has changed is refused, because this program would misread it.

use crate::database::{Database, Transaction, values};
use crate::error::{Error, Result};

/// Numbered from 1; a migration that has shipped is never edited.
const MIGRATIONS: &[&str] = &[
    include_str!("../migrations/0001_store.sql"),
    include_str!("../migrations/0002_stages.sql"),
    include_str!("../migrations/0003_tracking.sql"),
    include_str!("../migrations/0004_hours.sql"),
];
/// Held on PostgreSQL while tables are created or changed. The ledger has a number of its own.
pub(crate) const MIGRATION_LOCK: i64 = 0x6f6d_6275_6402;

/// Which version the tables have and which this program knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Status {
    /// Zero when there are no tables yet.
    pub found: i64,
    /// What [`crate::Store::open`] brings them to.
    pub known: i64,
}

impl Status {
    /// Whether there is nothing to do.
    pub fn is_current(&self) -> bool {
        self.found == self.known
    }
}

/// The newest version this program knows.
pub(crate) fn known() -> i64 {
    MIGRATIONS.len() as i64
}

/// Runs what has not run yet; how many did.
pub(crate) async fn run(database: &Database) -> Result<usize> {
    let mut done = 0;
    loop {
        let mut transaction = database.begin().await?;
        lock(&mut transaction).await?;
        let found = found_in(&mut transaction).await?;
        refuse_newer(found)?;
        let Some(migration) = MIGRATIONS.get(found as usize) else {
            return Ok(done);
        };
        apply(&mut transaction, found + 1, migration).await?;
        transaction.commit().await?;
        done += 1;
    }
}

/// What version the tables have, without touching them.
pub(crate) async fn found(database: &Database) -> Result<i64> {
    let exists = match database {
        Database::Sqlite { .. } => {
            "select count(*) as number from sqlite_master where name = 'store_migrations'"
        }
        Database::Postgres(_) => {
            "select count(*) as number from pg_tables where tablename = 'store_migrations' \
             and schemaname = any (current_schemas(false))"
        }
    };
    let row = database.row(exists, values![]).await?;
    if row.map_or(Ok(0), |row| row.whole("number"))? == 0 {
        return Ok(0);
    }
    let row = database.row(HIGHEST, values![]).await?;
    row.map_or(Ok(0), |row| row.whole("number"))
}

/// Refuses a database that a newer program has changed.
pub(crate) fn refuse_newer(found: i64) -> Result<()> {
    let known = known();
    if found > known {
        return Err(Error::NewerSchema { found, known });
    }
    Ok(())
}

const HIGHEST: &str = "select coalesce(max(number), 0) as number from store_migrations";

pub(crate) async fn lock(transaction: &mut Transaction) -> Result<()> {
    if let Transaction::Postgres(_) = transaction {
        let sql = "select pg_advisory_xact_lock($1)";
        transaction.execute(sql, values![MIGRATION_LOCK]).await?;
    }
    Ok(())
}

async fn found_in(transaction: &mut Transaction) -> Result<i64> {
    // The one table without a tenant: it is about the database and not about anybody's rows.
    let create = "create table if not exists store_migrations (number bigint primary key)";
    transaction.execute(create, values![]).await?;
    let row = transaction.row(HIGHEST, values![]).await?;
    row.map_or(Ok(0), |row| row.whole("number"))
}

async fn apply(transaction: &mut Transaction, number: i64, sql: &'static str) -> Result<()> {
    let ran = transaction.script(sql).await;
    ran.map_err(|source| Error::Migration { number, source })?;
    let note = "insert into store_migrations (number) values ($1)";
    transaction.execute(note, values![number]).await?;
    Ok(())
}
