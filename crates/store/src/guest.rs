//! Tables of a room above, in the same database: how a kit keeps what only it knows.
//!
//! A guest has a name and numbered migrations of its own, run like the store's, on both databases, each once. Its tables
//! begin with its name and their keys with the tenant. It asks with the store's own means: one plain SQL, cells as
//! [`Value`]s, so that it need not know that there are two databases. A statement is a text of the program, never put
//! together from what somebody sent.

pub use crate::database::{Row, Transaction, Value};

use crate::database::values;
use crate::error::{Error, Result};
use crate::migrations;
use crate::store::Store;
use std::time::Duration;

/// How long a wipe waits for a table; it is tried again.
const LOCK_WAIT: Duration = Duration::from_millis(50);

/// A room above that keeps tables here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Guest {
    /// Its name, which its tables begin with.
    pub name: &'static str,
    /// Numbered from 1; one that has shipped is never edited.
    pub migrations: &'static [&'static str],
}

/// Cells for a statement, in the order of its `$1`, `$2`, ….
#[macro_export]
macro_rules! cells {
    ($($value:expr),* $(,)?) => { vec![$($crate::guest::Value::from($value)),*] };
}

impl Store {
    /// Brings a guest's tables up to date; how many migrations ran.
    pub async fn admit(&self, guest: &Guest) -> Result<usize> {
        let mut done = 0;
        loop {
            let mut transaction = self.database.begin().await?;
            migrations::lock(&mut transaction).await?;
            let found = found(&mut transaction, guest.name).await?;
            let known = guest.migrations.len() as i64;
            if found > known {
                return Err(Error::NewerSchema { found, known });
            }
            let Some(script) = guest.migrations.get(found as usize) else {
                return Ok(done);
            };
            let number = found + 1;
            let ran = transaction.script(script).await;
            ran.map_err(|source| Error::Migration { number, source })?;
            let note = "insert into store_guests (guest, number) values ($1, $2)";
            transaction
                .execute(note, values![guest.name, number])
                .await?;
            transaction.commit().await?;
            done += 1;
        }
    }

    /// A transaction that will write; dropping it undoes everything.
    pub async fn begin(&self) -> Result<Transaction> {
        self.database.begin().await
    }

    /// Wipes what was deleted from the database's files, where what was written before still lies: SQLite's log of writes, and
    /// PostgreSQL's tables by `rewrites`. Whether nothing stood in the way; nobody who writes waits for what does.
    pub async fn wipe(&self, rewrites: &[&'static str]) -> Result<bool> {
        self.database.rewrite(rewrites, LOCK_WAIT).await?;
        self.database.empty_log().await
    }

    /// Runs one statement that writes; how many rows it touched.
    pub async fn execute(&self, sql: &'static str, values: Vec<Value>) -> Result<u64> {
        self.database.execute(sql, values).await
    }

    /// The rows of a question.
    pub async fn rows(&self, sql: &'static str, values: Vec<Value>) -> Result<Vec<Row>> {
        self.database.rows(sql, values).await
    }

    /// The first row of a question.
    pub async fn row(&self, sql: &'static str, values: Vec<Value>) -> Result<Option<Row>> {
        self.database.row(sql, values).await
    }
}

async fn found(transaction: &mut Transaction, guest: &str) -> Result<i64> {
    // About the database and not about anybody's rows, so without a tenant.
    let create = "create table if not exists store_guests \
        (guest text not null, number bigint not null, primary key (guest, number))";
    transaction.execute(create, values![]).await?;
    let highest = "select coalesce(max(number), 0) as number from store_guests where guest = $1";
    let row = transaction.row(highest, values![guest]).await?;
    row.map_or(Ok(0), |row| row.whole("number"))
}
