//! A connection that gives up a server that hangs, and the tables that it finds or makes there.

use super::super::Result;
use crate::error::StorageError;
use sqlx::postgres::{PgArguments, PgConnectOptions, PgConnection, PgRow};
use sqlx::query::Query;
use sqlx::{AssertSqlSafe, ConnectOptions, Postgres, Row, query, raw_sql};
use std::io;
use std::str::FromStr;
use std::time::Duration;
use tokio::runtime::Runtime;

/// Numbered from 1; a migration that has shipped is never edited.
const MIGRATIONS: &[&str] = &[include_str!("../../../schema/postgres/0001_ledger.sql")];
/// Held while tables are created or changed, so that replicas that start together do it once.
const MIGRATION_LOCK: i64 = 0x6f6d_6275_6401;
/// How long a connection may take to be made.
const CONNECT_WAIT: Duration = Duration::from_secs(5);

pub(super) type Sql<'q> = Query<'q, Postgres, PgArguments>;

/// A connection, when there is one, and the runtime it lives on.
pub(super) struct Link {
    pub(super) runtime: OwnRuntime,
    options: PgConnectOptions,
    pub(super) connection: Option<PgConnection>,
    wait: Duration,
}

/// A runtime that may be dropped anywhere: the last clone of a ledger may go away inside somebody else's runtime, where
/// waiting for this one to end is not allowed.
pub(super) struct OwnRuntime(Option<Runtime>);

impl Drop for OwnRuntime {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

impl std::ops::Deref for OwnRuntime {
    type Target = Runtime;
    fn deref(&self) -> &Runtime {
        let Some(runtime) = &self.0 else {
            unreachable!("it is taken only when dropped");
        };
        runtime
    }
}

impl Link {
    pub(super) fn new(url: &str, wait: Duration) -> Result<Self> {
        let options = PgConnectOptions::from_str(url)?
            .application_name("ombud ledger")
            .disable_statement_logging();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        let runtime = runtime.map_err(StorageError::Thread)?;
        Ok(Link {
            runtime: OwnRuntime(Some(runtime)),
            options,
            connection: None,
            wait,
        })
    }

    /// Makes a connection when there is none; whether it is a new one.
    pub(super) fn connect(&mut self) -> Result<bool> {
        if self.connection.is_some() {
            return Ok(false);
        }
        let connecting = async { tokio::time::timeout(CONNECT_WAIT, self.options.connect()).await };
        let connection = self.runtime.block_on(connecting).map_err(|_| hangs())??;
        self.connection = Some(connection);
        Ok(true)
    }

    /// Does something on the connection. One that took too long is dropped: what it does still is unknown.
    pub(super) fn run<T>(
        &mut self,
        work: impl AsyncFnOnce(&mut PgConnection) -> sqlx::Result<T>,
    ) -> Result<T> {
        let missing = || sqlx::Error::Io(io::ErrorKind::NotConnected.into());
        let connection = self.connection.as_mut().ok_or_else(missing)?;
        let wait = self.wait;
        let bounded = async { tokio::time::timeout(wait, work(connection)).await };
        match self.runtime.block_on(bounded) {
            Ok(done) => Ok(done?),
            Err(_) => {
                self.connection = None;
                Err(hangs().into())
            }
        }
    }

    pub(super) fn execute(&mut self, sql: Sql<'_>) -> Result<u64> {
        self.run(async |connection| Ok(sql.execute(connection).await?.rows_affected()))
    }

    pub(super) fn row(&mut self, sql: Sql<'_>) -> Result<Option<PgRow>> {
        self.run(async |connection| sql.fetch_optional(connection).await)
    }

    pub(super) fn rows(&mut self, sql: Sql<'_>) -> Result<Vec<PgRow>> {
        self.run(async |connection| sql.fetch_all(connection).await)
    }
}

pub(super) fn migrate(link: &mut Link) -> Result<()> {
    link.execute(query("select pg_advisory_lock($1)").bind(MIGRATION_LOCK))?;
    link.execute(query(
        "create table if not exists ledger_schema (version bigint primary key)",
    ))?;
    let found = schema_version(link)?;
    refuse_newer(found)?;
    for (number, sql) in (1i64..).zip(MIGRATIONS) {
        if number > found {
            // Statements that are sent together are one transaction.
            let sql = format!("{sql}; insert into ledger_schema (version) values ({number})");
            link.run(async |connection| raw_sql(AssertSqlSafe(sql)).execute(connection).await)?;
        }
    }
    link.execute(query("select pg_advisory_unlock($1)").bind(MIGRATION_LOCK))?;
    Ok(())
}

/// The version this program brings a database to.
pub(crate) fn version_known() -> i64 {
    MIGRATIONS.len().try_into().unwrap_or(i64::MAX)
}

pub(super) fn refuse_newer(found: i64) -> Result<()> {
    let known = version_known();
    if found > known {
        return Err(StorageError::NewerSchema { found, known });
    }
    Ok(())
}

pub(super) fn schema_version(link: &mut Link) -> Result<i64> {
    let exists = minimum(link, query("select count(to_regclass('ledger_schema'))"))?;
    if exists != Some(1) {
        return Ok(0);
    }
    Ok(minimum(
        link,
        query("select coalesce(max(version), 0) from ledger_schema"),
    )?
    .unwrap_or(0))
}

/// The one number that an aggregate gives.
pub(super) fn minimum(link: &mut Link, sql: Sql<'_>) -> Result<Option<i64>> {
    let row = link.row(sql)?;
    Ok(row
        .map(|row| row.try_get::<Option<i64>, _>(0))
        .transpose()?
        .flatten())
}

fn hangs() -> sqlx::Error {
    sqlx::Error::Io(io::ErrorKind::TimedOut.into())
}
