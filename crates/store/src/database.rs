//! One way to ask two databases.
//!
//! SQLite and PostgreSQL understand the same SQL as long as it stays plain: `$1`, `on conflict`, `returning`, texts, whole
//! numbers, doubles and bytes. So every statement of the room is written once, and this file is the only one that knows
//! there are two. Both are pools; SQLite has one connection that writes, because it has one write lock anyway.

use crate::error::{Error, Result};
use ombud_core::{Digest, ModelName, Version};
use ombud_ledger::{RecordId, Tenant};
use sqlx::postgres::{PgArguments, PgConnectOptions, PgPool, PgPoolOptions, PgRow};
use sqlx::sqlite::{
    SqliteArguments, SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions,
    SqliteRow, SqliteSynchronous,
};
use sqlx::{ConnectOptions as _, Connection as _, Postgres, Row as _, SqlSafeStr, Sqlite};
use std::path::Path;
use std::str::FromStr;
use std::time::{Duration, Instant};

/// How long a statement waits for SQLite's write lock, which the ledger's writer takes too.
const BUSY_WAIT: Duration = Duration::from_secs(10);
/// Between tries to open a file that another process is making.
const BUSY_PAUSE: Duration = Duration::from_millis(20);
/// How long a caller waits for a connection.
const POOL_WAIT: Duration = Duration::from_secs(5);
/// Connections that read SQLite at once; each has a thread.
const SQLITE_READERS_MAX: u32 = 4;
/// Connections to PostgreSQL; a server shares its own hundred with other replicas.
const POSTGRES_CONNECTIONS_MAX: u32 = 10;
/// How long PostgreSQL may work on one statement.
const POSTGRES_STATEMENT_WAIT: &str = "30s";

/// An open database.
#[derive(Debug, Clone)]
pub(crate) enum Database {
    Sqlite {
        reading: SqlitePool,
        writing: SqlitePool,
    },
    Postgres(PgPool),
}

/// A transaction; dropping it undoes everything.
pub enum Transaction {
    Sqlite(sqlx::Transaction<'static, Sqlite>),
    Postgres(sqlx::Transaction<'static, Postgres>),
}

/// A cell that goes into a statement. Absent ones carry their type, because PostgreSQL asks for it.
#[derive(Debug, Clone)]
pub enum Value {
    Text(Option<String>),
    Whole(Option<i64>),
    Real(f64),
    Bytes(Option<Vec<u8>>),
}

/// A row that came out of one.
pub enum Row {
    Sqlite(SqliteRow),
    Postgres(PgRow),
}

impl Database {
    /// Opens a SQLite file, made when new.
    pub async fn sqlite(path: &Path) -> Result<Self> {
        let options = SqliteConnectOptions::new()
            .filename(path)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .busy_timeout(BUSY_WAIT)
            .foreign_keys(true)
            // What is deleted is overwritten: an erased person's words must not lie in free pages.
            .pragma("secure_delete", "on")
            // As PostgreSQL has it.
            .pragma("case_sensitive_like", "on");
        let pool = || SqlitePoolOptions::new().acquire_timeout(POOL_WAIT.max(BUSY_WAIT));
        let writer = pool()
            .max_connections(1)
            // When a disk is full or fails, SQLite rolls back by itself; the connection's own count of open
            // transactions is off by one then, and no further one could begin on it.
            .before_acquire(|link, _| Box::pin(async { Ok(!link.is_in_transaction()) }));
        let until = Instant::now() + BUSY_WAIT;
        let writing = loop {
            match writer.clone().connect_with(options.clone()).await {
                // Two that make one file at once are in each other's way while its journal changes, and there SQLite
                // does not wait.
                Err(error) if is_busy(&error) && Instant::now() < until => {
                    tokio::time::sleep(BUSY_PAUSE).await;
                }
                connected => break connected?,
            }
        };
        let reading = pool()
            .max_connections(SQLITE_READERS_MAX)
            .connect_lazy_with(options.pragma("query_only", "on"));
        Ok(Database::Sqlite { reading, writing })
    }

    /// Opens a PostgreSQL database by its URL.
    pub async fn postgres(url: &str) -> Result<Self> {
        let options = PgConnectOptions::from_str(url)
            .map_err(|_| Error::Url { url: hidden(url) })?
            .application_name("ombud store")
            .options([("statement_timeout", POSTGRES_STATEMENT_WAIT)]);
        // A pool would only say that nobody answered in time, and not why.
        let first = tokio::time::timeout(POOL_WAIT, options.connect()).await;
        if let Ok(connected) = first {
            connected?.close().await?;
        }
        let pool = PgPoolOptions::new()
            .max_connections(POSTGRES_CONNECTIONS_MAX)
            .acquire_timeout(POOL_WAIT)
            .connect_with(options)
            .await?;
        Ok(Database::Postgres(pool))
    }

    /// A transaction that will write. On SQLite it takes the write lock at once, so that it cannot fail half-way.
    pub async fn begin(&self) -> Result<Transaction> {
        Ok(match self {
            Database::Sqlite { writing, .. } => {
                Transaction::Sqlite(writing.begin_with("begin immediate").await?)
            }
            Database::Postgres(pool) => Transaction::Postgres(pool.begin().await?),
        })
    }

    /// Runs one statement that writes; how many rows it touched.
    pub async fn execute(&self, sql: impl SqlSafeStr, values: Vec<Value>) -> Result<u64> {
        Ok(match self {
            Database::Sqlite { writing, .. } => {
                sqlite(sql, values).execute(writing).await?.rows_affected()
            }
            Database::Postgres(pool) => postgres(sql, values).execute(pool).await?.rows_affected(),
        })
    }

    /// The rows of a question.
    pub async fn rows(&self, sql: impl SqlSafeStr, values: Vec<Value>) -> Result<Vec<Row>> {
        Ok(match self {
            Database::Sqlite { reading, .. } => {
                let rows = sqlite(sql, values).fetch_all(reading).await?;
                rows.into_iter().map(Row::Sqlite).collect()
            }
            Database::Postgres(pool) => {
                let rows = postgres(sql, values).fetch_all(pool).await?;
                rows.into_iter().map(Row::Postgres).collect()
            }
        })
    }

    /// The first row of a question.
    pub async fn row(&self, sql: impl SqlSafeStr, values: Vec<Value>) -> Result<Option<Row>> {
        Ok(match self {
            Database::Sqlite { reading, .. } => sqlite(sql, values)
                .fetch_optional(reading)
                .await?
                .map(Row::Sqlite),
            Database::Postgres(pool) => postgres(sql, values)
                .fetch_optional(pool)
                .await?
                .map(Row::Postgres),
        })
    }

    /// Runs statements that write whole tables of PostgreSQL anew; SQLite overwrites in place and needs none.
    ///
    /// Whoever asks for the table meanwhile waits for as long as the lock is waited for.
    pub async fn rewrite(&self, statements: &[&'static str], lock_wait: Duration) -> Result<()> {
        let Database::Postgres(pool) = self else {
            return Ok(());
        };
        // A connection of its own, whose other bounds end with it.
        let mut connection = pool.acquire().await?.detach();
        let wait = lock_wait.as_millis();
        let bounds = format!("set lock_timeout = {wait}; set statement_timeout = '10min'");
        sqlx::raw_sql(sqlx::AssertSqlSafe(bounds))
            .execute(&mut connection)
            .await?;
        for statement in statements {
            sqlx::raw_sql(*statement).execute(&mut connection).await?;
        }
        Ok(connection.close().await?)
    }

    /// Carries SQLite's log of writes over and empties it: until then it holds each transaction by itself. Whether nothing stood
    /// in the way; PostgreSQL keeps its own log, which no client can empty.
    pub async fn empty_log(&self) -> Result<bool> {
        let Database::Sqlite { writing, .. } = self else {
            return Ok(true);
        };
        // Everybody who writes waits meanwhile, so a reader who stands in the way is not waited for.
        let mut connection = writing.acquire().await?;
        sqlx::raw_sql("pragma busy_timeout = 0")
            .execute(&mut *connection)
            .await?;
        let emptied = sqlx::query("pragma wal_checkpoint(truncate)")
            .fetch_one(&mut *connection)
            .await;
        let wait = format!("pragma busy_timeout = {}", BUSY_WAIT.as_millis());
        sqlx::raw_sql(sqlx::AssertSqlSafe(wait))
            .execute(&mut *connection)
            .await?;
        match emptied {
            Ok(row) => Ok(row.try_get::<i64, _>(0)? == 0),
            Err(error) if is_busy(&error) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Finishes what runs and closes every connection.
    pub async fn close(&self) {
        match self {
            Database::Sqlite { reading, writing } => {
                reading.close().await;
                writing.close().await;
            }
            Database::Postgres(pool) => pool.close().await,
        }
    }
}

fn is_busy(error: &sqlx::Error) -> bool {
    let sqlx::Error::Database(said) = error else {
        return false;
    };
    let code = said.code().and_then(|code| code.parse::<u32>().ok());
    code.is_some_and(|code| matches!(code & 0xff, 5 | 6))
}

impl Transaction {
    /// Runs one statement; how many rows it touched.
    pub async fn execute(&mut self, sql: impl SqlSafeStr, values: Vec<Value>) -> Result<u64> {
        Ok(match self {
            Transaction::Sqlite(link) => {
                let done = sqlite(sql, values).execute(&mut **link).await?;
                done.rows_affected()
            }
            Transaction::Postgres(link) => {
                let done = postgres(sql, values).execute(&mut **link).await?;
                done.rows_affected()
            }
        })
    }

    /// The rows of a question.
    pub async fn rows(&mut self, sql: impl SqlSafeStr, values: Vec<Value>) -> Result<Vec<Row>> {
        Ok(match self {
            Transaction::Sqlite(link) => {
                let rows = sqlite(sql, values).fetch_all(&mut **link).await?;
                rows.into_iter().map(Row::Sqlite).collect()
            }
            Transaction::Postgres(link) => {
                let rows = postgres(sql, values).fetch_all(&mut **link).await?;
                rows.into_iter().map(Row::Postgres).collect()
            }
        })
    }

    /// The first row of a question.
    pub async fn row(&mut self, sql: impl SqlSafeStr, values: Vec<Value>) -> Result<Option<Row>> {
        Ok(self.rows(sql, values).await?.into_iter().next())
    }

    /// Runs a text of many statements.
    pub(crate) async fn script(
        &mut self,
        sql: &'static str,
    ) -> std::result::Result<(), sqlx::Error> {
        match self {
            Transaction::Sqlite(link) => sqlx::raw_sql(sql).execute(&mut **link).await.map(drop),
            Transaction::Postgres(link) => sqlx::raw_sql(sql).execute(&mut **link).await.map(drop),
        }
    }

    /// Makes it durable.
    pub async fn commit(self) -> Result<()> {
        match self {
            Transaction::Sqlite(link) => link.commit().await?,
            Transaction::Postgres(link) => link.commit().await?,
        }
        Ok(())
    }
}

impl Row {
    /// A text that may be absent.
    pub fn text_or_none(&self, column: &str, what: &'static str) -> Result<Option<String>> {
        match self {
            Row::Sqlite(row) => row.try_get(column),
            Row::Postgres(row) => row.try_get(column),
        }
        .map_err(|_| Error::Unreadable { what })
    }

    /// A whole number that may be absent.
    pub fn whole_or_none(&self, column: &str, what: &'static str) -> Result<Option<i64>> {
        match self {
            Row::Sqlite(row) => row.try_get(column),
            Row::Postgres(row) => row.try_get(column),
        }
        .map_err(|_| Error::Unreadable { what })
    }

    /// Bytes that may be absent.
    pub fn bytes_or_none(&self, column: &str, what: &'static str) -> Result<Option<Vec<u8>>> {
        match self {
            Row::Sqlite(row) => row.try_get(column),
            Row::Postgres(row) => row.try_get(column),
        }
        .map_err(|_| Error::Unreadable { what })
    }

    /// A text.
    pub fn text(&self, column: &'static str) -> Result<String> {
        self.text_or_none(column, column)?
            .ok_or(Error::Unreadable { what: column })
    }

    /// A whole number.
    pub fn whole(&self, column: &'static str) -> Result<i64> {
        self.whole_or_none(column, column)?
            .ok_or(Error::Unreadable { what: column })
    }

    /// A double.
    pub fn real(&self, column: &'static str) -> Result<f64> {
        match self {
            Row::Sqlite(row) => row.try_get(column),
            Row::Postgres(row) => row.try_get(column),
        }
        .map_err(|_| Error::Unreadable { what: column })
    }

    /// A time that may be absent.
    pub fn time_or_none(&self, column: &'static str) -> Result<Option<i64>> {
        self.whole_or_none(column, column)
    }

    /// A truth.
    pub fn truth(&self, column: &'static str) -> Result<bool> {
        Ok(self.whole(column)? != 0)
    }

    /// A text in a form of its own.
    pub fn parsed<T: FromStr>(&self, column: &'static str) -> Result<T> {
        let text = self.text(column)?;
        text.parse().map_err(|_| Error::Unreadable { what: column })
    }

    /// A model's name.
    pub fn model(&self, column: &'static str) -> Result<ModelName> {
        ModelName::new(&self.text(column)?).map_err(|_| Error::Unreadable { what: column })
    }

    /// A version that may be absent.
    pub fn version_or_none(&self, column: &'static str) -> Result<Option<Version>> {
        let Some(number) = self.whole_or_none(column, column)? else {
            return Ok(None);
        };
        let version = u32::try_from(number).ok().and_then(Version::new);
        version.map(Some).ok_or(Error::Unreadable { what: column })
    }

    /// A version.
    pub fn version(&self, column: &'static str) -> Result<Version> {
        self.version_or_none(column)?
            .ok_or(Error::Unreadable { what: column })
    }

    /// A digest that may be absent.
    pub fn digest_or_none(&self, column: &'static str) -> Result<Option<Digest>> {
        let Some(bytes) = self.bytes_or_none(column, column)? else {
            return Ok(None);
        };
        let bytes = bytes.try_into();
        bytes
            .map(|bytes| Some(Digest::new(bytes)))
            .map_err(|_| Error::Unreadable { what: column })
    }

    /// A digest.
    pub fn digest(&self, column: &'static str) -> Result<Digest> {
        self.digest_or_none(column)?
            .ok_or(Error::Unreadable { what: column })
    }

    /// A record's id.
    pub fn id(&self, column: &'static str) -> Result<RecordId> {
        let bytes = self
            .bytes_or_none(column, column)?
            .and_then(|bytes| bytes.try_into().ok());
        bytes
            .map(RecordId::from_bytes)
            .ok_or(Error::Unreadable { what: column })
    }

    /// A JSON document.
    pub fn json(&self, column: &'static str) -> Result<serde_json::Value> {
        let text = self.text(column)?;
        serde_json::from_str(&text).map_err(|_| Error::Unreadable { what: column })
    }
}

fn sqlite(
    sql: impl SqlSafeStr,
    values: Vec<Value>,
) -> sqlx::query::Query<'static, Sqlite, SqliteArguments> {
    values
        .into_iter()
        .fold(sqlx::query(sql), |query, value| match value {
            Value::Text(text) => query.bind(text),
            Value::Whole(number) => query.bind(number),
            Value::Real(number) => query.bind(number),
            Value::Bytes(bytes) => query.bind(bytes),
        })
}

fn postgres(
    sql: impl SqlSafeStr,
    values: Vec<Value>,
) -> sqlx::query::Query<'static, Postgres, PgArguments> {
    values
        .into_iter()
        .fold(sqlx::query(sql), |query, value| match value {
            Value::Text(text) => query.bind(text),
            Value::Whole(number) => query.bind(number),
            Value::Real(number) => query.bind(number),
            Value::Bytes(bytes) => query.bind(bytes),
        })
}

/// A database's URL without what stands before its `@`: that may be a password.
pub(crate) fn hidden(url: &str) -> String {
    match (url.split_once("://"), url.rsplit_once('@')) {
        (Some((scheme, _)), Some((_, place))) => format!("{scheme}://…@{place}"),
        _ => url.to_owned(),
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Value::Text(Some(text.to_owned()))
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Value::Text(Some(text))
    }
}

impl From<Option<String>> for Value {
    fn from(text: Option<String>) -> Self {
        Value::Text(text)
    }
}

impl From<i64> for Value {
    fn from(number: i64) -> Self {
        Value::Whole(Some(number))
    }
}

impl From<Option<i64>> for Value {
    fn from(number: Option<i64>) -> Self {
        Value::Whole(number)
    }
}

impl From<f64> for Value {
    fn from(number: f64) -> Self {
        Value::Real(number)
    }
}

impl From<bool> for Value {
    fn from(truth: bool) -> Self {
        Value::Whole(Some(i64::from(truth)))
    }
}

impl From<Vec<u8>> for Value {
    fn from(bytes: Vec<u8>) -> Self {
        Value::Bytes(Some(bytes))
    }
}

impl From<&Tenant> for Value {
    fn from(tenant: &Tenant) -> Self {
        tenant.as_str().into()
    }
}

impl From<&ModelName> for Value {
    fn from(model: &ModelName) -> Self {
        model.as_str().into()
    }
}

impl From<Version> for Value {
    fn from(version: Version) -> Self {
        i64::from(version.get()).into()
    }
}

impl From<Option<Version>> for Value {
    fn from(version: Option<Version>) -> Self {
        Value::Whole(version.map(|version| i64::from(version.get())))
    }
}

impl From<Digest> for Value {
    fn from(digest: Digest) -> Self {
        digest.as_bytes().to_vec().into()
    }
}

impl From<Option<Digest>> for Value {
    fn from(digest: Option<Digest>) -> Self {
        Value::Bytes(digest.map(|digest| digest.as_bytes().to_vec()))
    }
}

impl From<RecordId> for Value {
    fn from(id: RecordId) -> Self {
        id.as_bytes().to_vec().into()
    }
}

impl From<&serde_json::Value> for Value {
    fn from(document: &serde_json::Value) -> Self {
        document.to_string().into()
    }
}

/// Cells for a statement, in the order of its `$1`, `$2`, ….
macro_rules! values {
    ($($value:expr),* $(,)?) => { vec![$($crate::database::Value::from($value)),*] };
}
pub(crate) use values;

impl std::fmt::Debug for Transaction {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Transaction")
    }
}

impl std::fmt::Debug for Row {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Row(…)")
    }
}
