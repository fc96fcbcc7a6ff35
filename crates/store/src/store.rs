//! The handle to the database: opened once, cheap to clone, asked from everywhere.

use crate::database::{Database, Transaction, values};
use crate::error::{Error, Result};
use crate::migrations::{self, Status};
use crate::subject::Rewriting;
use ombud_ledger::Tenant;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

/// Where the store is kept.
#[derive(Clone, PartialEq, Eq)]
pub enum Place {
    /// A SQLite file, made when new, together with its folder.
    Sqlite(PathBuf),
    /// A PostgreSQL database, by its URL.
    Postgres(String),
}

/// An open store.
#[derive(Debug, Clone)]
pub struct Store {
    pub(crate) database: Database,
    pub(crate) rewriting: Arc<Rewriting>,
}

/// What moves when something that replicas remember was changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Topic {
    /// Deployments, and versions that they name.
    Deployments,
    /// People and keys.
    Principals,
    /// People were forgotten, so caches are to be emptied.
    Erasures,
}

/// One page of something, and where the next begins.
#[derive(Debug, Clone, PartialEq)]
pub struct Page<T, After> {
    /// At most as many as were asked for.
    pub items: Vec<T>,
    /// What to ask for next; none when this was the last.
    pub next: Option<After>,
}

/// Rows on one page.
pub const PAGE_ROWS_MAX: usize = 1_000;

impl Place {
    /// Reads a `database.url`: `sqlite:FILE`, `postgres://…`, or a file's name alone.
    pub fn parse(url: &str) -> Result<Self> {
        if url.starts_with("postgres:") || url.starts_with("postgresql:") {
            return Ok(Place::Postgres(url.to_owned()));
        }
        let path = url.strip_prefix("sqlite:").unwrap_or(url);
        let path = path.strip_prefix("//").unwrap_or(path);
        if path.is_empty() || path.contains("://") {
            return Err(Error::Url {
                url: crate::database::hidden(url),
            });
        }
        Ok(Place::Sqlite(PathBuf::from(path)))
    }

    /// The same place, as the ledger names it.
    pub fn for_ledger(&self) -> ombud_ledger::Database {
        match self {
            Place::Sqlite(path) => ombud_ledger::Database::Sqlite(path.clone()),
            Place::Postgres(url) => ombud_ledger::Database::Postgres(url.clone()),
        }
    }
}

impl Store {
    /// Opens the store and brings its tables up to date.
    pub async fn open(place: &Place) -> Result<Self> {
        let store = Store::connect(place).await?;
        migrations::run(&store.database).await?;
        Ok(store)
    }

    /// Which version the tables have, without changing them. A SQLite file that is not there is not made.
    pub async fn status(place: &Place) -> Result<Status> {
        let known = migrations::known();
        if matches!(place, Place::Sqlite(path) if !path.exists()) {
            return Ok(Status { found: 0, known });
        }
        let store = Store::connect(place).await?;
        let found = migrations::found(&store.database).await?;
        store.close().await;
        Ok(Status { found, known })
    }

    /// Whether the database answers.
    pub async fn ping(&self) -> Result<()> {
        self.database.row("select 1", values![]).await.map(drop)
    }

    /// How often a topic was touched, for every tenant that did; replicas ask this each second. It counts changes and
    /// tells nothing else of anybody, so it is the one question asked for all tenants at once.
    pub async fn revisions(&self, topic: Topic) -> Result<Vec<(Tenant, i64)>> {
        let sql = "select tenant, revision from store_revisions where topic = $1 order by tenant";
        let rows = self.database.rows(sql, values![topic.as_str()]).await?;
        rows.iter()
            .map(|row| Ok((row.parsed("tenant")?, row.whole("revision")?)))
            .collect()
    }

    /// Finishes what runs and closes every connection.
    pub async fn close(&self) {
        self.database.close().await;
    }

    async fn connect(place: &Place) -> Result<Self> {
        let database = match place {
            Place::Sqlite(path) => {
                if let Some(folder) = path.parent() {
                    std::fs::create_dir_all(folder).map_err(|source| Error::Folder {
                        path: folder.to_owned(),
                        source,
                    })?;
                }
                Database::sqlite(path).await?
            }
            Place::Postgres(url) => Database::postgres(url).await?,
        };
        Ok(Store {
            database,
            rewriting: Arc::default(),
        })
    }
}

impl Topic {
    /// The word that is stored.
    pub fn as_str(self) -> &'static str {
        match self {
            Topic::Deployments => "deployments",
            Topic::Principals => "principals",
            Topic::Erasures => "erasures",
        }
    }
}

/// Tells other replicas that a topic moved.
pub(crate) async fn touch(
    transaction: &mut Transaction,
    tenant: &Tenant,
    topic: Topic,
) -> Result<()> {
    let sql = "insert into store_revisions (tenant, topic, revision) values ($1, $2, 1) \
        on conflict (tenant, topic) do update set revision = store_revisions.revision + 1";
    let values = values![tenant, topic.as_str()];
    transaction.execute(sql, values).await.map(drop)
}

/// Refuses a text that is longer than it may be, or that no database keeps.
pub(crate) fn bounded(what: &'static str, text: &str, bytes_max: usize) -> Result<()> {
    if text.len() > bytes_max {
        return Err(Error::TooLong {
            what,
            bytes: text.len(),
            bytes_max,
        });
    }
    if text.contains('\0') {
        return Err(Error::Malformed {
            what,
            came: String::new(),
            allowed: "a text without zero bytes",
        });
    }
    Ok(())
}

/// How many rows a page has, at most.
pub(crate) fn page_rows(limit: usize) -> i64 {
    limit.clamp(1, PAGE_ROWS_MAX) as i64
}

impl fmt::Debug for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::Sqlite(path) => write!(f, "sqlite:{}", path.display()),
            Place::Postgres(url) => f.write_str(&crate::database::hidden(url)),
        }
    }
}
