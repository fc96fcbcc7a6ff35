//! What the tests share: an empty database of either sort, two tenants, and things to put into it.

use ombud_core::{Digest, Label, ModelName, Version};
use ombud_ledger::{RecordId, Tenant};
use ombud_store::person::{NewPerson, PasswordHash};
use ombud_store::version::{NewVersion, Registration};
use ombud_store::{Environment, Event, Place, Role, Store};
use std::sync::atomic::{AtomicU64, Ordering};
use tempfile::TempDir;

/// 21 November 2026, 08:00 UTC.
pub const NOW_US: i64 = 1_795_248_000_000_000;
pub const MINUTE_US: i64 = 60_000_000;
pub const DAY_US: i64 = 24 * 60 * MINUTE_US;

/// Names a PostgreSQL server where databases may be made, by the URL of one of its databases.
const POSTGRES: &str = "OMBUD_TEST_POSTGRES";

/// A fresh store.
pub struct House {
    pub folder: TempDir,
    pub place: Place,
    pub store: Store,
}

impl House {
    pub async fn sqlite() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let place = Place::Sqlite(folder.path().join("ombud.sqlite"));
        House::open(folder, place).await
    }

    /// A database of its own on the server, when there is one.
    pub async fn postgres() -> Option<Self> {
        let place = fresh_postgres().await?;
        Some(House::open(tempfile::tempdir().unwrap(), place).await)
    }

    /// Another empty place of the same sort.
    pub async fn another_place(&self) -> Place {
        match &self.place {
            Place::Sqlite(_) => Place::Sqlite(self.folder.path().join("another/ombud.sqlite")),
            Place::Postgres(_) => fresh_postgres().await.unwrap(),
        }
    }
    async fn open(folder: TempDir, place: Place) -> Self {
        let store = Store::open(&place).await.unwrap();
        House {
            folder,
            place,
            store,
        }
    }

    pub fn is_sqlite(&self) -> bool {
        matches!(self.place, Place::Sqlite(_))
    }

    /// Runs SQL as somebody with rights on the database could.
    pub async fn execute(&self, sql: &str) {
        match &self.place {
            Place::Postgres(url) => run_on_postgres(url, sql).await,
            Place::Sqlite(path) => {
                use sqlx::ConnectOptions;
                let options = sqlx::sqlite::SqliteConnectOptions::new().filename(path);
                let mut connection = options.connect().await.unwrap();
                let sql = sqlx::AssertSqlSafe(sql.to_owned());
                sqlx::raw_sql(sql).execute(&mut connection).await.unwrap();
                // One that is only dropped closes later, and the log is emptied by whoever closes last.
                sqlx::Connection::close(connection).await.unwrap();
            }
        }
    }

    /// The database's files, its write-ahead log emptied into them, and a backup taken now. PostgreSQL's files only where they
    /// can be read from here; its backup in any case.
    pub async fn files_and_a_backup(&self) -> Vec<Vec<u8>> {
        match &self.place {
            Place::Sqlite(_) => {
                let backup = self.folder.path().join("backup.sqlite");
                let sql = format!("vacuum into '{}'", backup.display());
                self.execute(&sql).await;
                self.store.close().await;
                files_below(self.folder.path())
            }
            Place::Postgres(url) => {
                self.execute("checkpoint").await;
                let dumped = std::process::Command::new("pg_dump").arg(url).output();
                let dumped = dumped.expect("pg_dump is installed beside the server");
                assert!(dumped.status.success(), "{dumped:?}");
                let mut files = files_below(&data_folder(url).await);
                files.push(dumped.stdout);
                files
            }
        }
    }

    /// Every table of the store with the first column of its primary key.
    pub async fn tables_and_first_key_columns(&self) -> Vec<(String, String)> {
        use sqlx::Row;
        match &self.place {
            Place::Sqlite(path) => {
                use sqlx::ConnectOptions;
                let options = sqlx::sqlite::SqliteConnectOptions::new().filename(path);
                let mut connection = options.connect().await.unwrap();
                let sql = "select m.name, c.name from sqlite_master m, pragma_table_info(m.name) c \
                    where m.type = 'table' and m.name like 'store%' and c.pk = 1";
                let rows = sqlx::query(sql).fetch_all(&mut connection).await.unwrap();
                rows.iter().map(|row| (row.get(0), row.get(1))).collect()
            }
            Place::Postgres(url) => {
                use sqlx::Connection;
                let mut connection = sqlx::PgConnection::connect(url).await.unwrap();
                let sql = "select c.relname::text, a.attname::text from pg_index i \
                    join pg_class c on c.oid = i.indrelid \
                    join pg_attribute a on a.attrelid = c.oid and a.attnum = i.indkey[0] \
                    where i.indisprimary and c.relname like 'store%'";
                let rows = sqlx::query(sql).fetch_all(&mut connection).await.unwrap();
                rows.iter().map(|row| (row.get(0), row.get(1))).collect()
            }
        }
    }

    /// Registers a version whose content is the given number.
    pub async fn register(&self, tenant: &Tenant, model: &str, content: u8) -> Version {
        let model = name(model);
        let version = self
            .store
            .reserve_version(tenant, &model, "", NOW_US)
            .await
            .unwrap();
        let new = new_version(&model, version, content);
        match self.store.register(tenant, new, NOW_US).await.unwrap() {
            Registration::New(registered) | Registration::Known(registered) => registered.version,
        }
    }
}

async fn fresh_postgres() -> Option<Place> {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let Ok(server) = std::env::var(POSTGRES) else {
        eprintln!("{POSTGRES} is not set: nothing to run on");
        return None;
    };
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let name = format!("s{}_{number}", std::process::id());
    run_on_postgres(&server, &format!("create database {name}")).await;
    let (before, after) = server
        .split_once("/postgres")
        .expect("a URL of the database postgres");
    Some(Place::Postgres(format!("{before}/{name}{after}")))
}

async fn run_on_postgres(url: &str, sql: &str) {
    use sqlx::Connection;
    let mut connection = sqlx::PgConnection::connect(url).await.unwrap();
    let sql = sqlx::AssertSqlSafe(sql.to_owned());
    sqlx::raw_sql(sql).execute(&mut connection).await.unwrap();
    connection.close().await.unwrap();
}

pub fn acme() -> Tenant {
    Tenant::new("acme").unwrap()
}

pub fn other() -> Tenant {
    Tenant::new("other").unwrap()
}

pub fn name(text: &str) -> ModelName {
    ModelName::new(text).unwrap()
}

pub fn production() -> Environment {
    Environment::production()
}

pub fn version(number: u32) -> Version {
    Version::new(number).unwrap()
}

pub fn id() -> RecordId {
    RecordId::generate(NOW_US).unwrap()
}

pub fn new_version(model: &ModelName, version: Version, content: u8) -> NewVersion {
    NewVersion {
        model: model.clone(),
        version,
        label: Label::of(version),
        digest: Digest::new([content; 32]),
        task: "classification".to_owned(),
        engine: "forest".to_owned(),
        manifest: "{}".to_owned(),
        bytes: 1_000,
        signed_by: None,
        by: "person:ana".to_owned(),
        stages: Vec::new(),
    }
}

pub fn event(kind: &str, model: &str) -> Event {
    Event {
        id: id(),
        time_us: NOW_US,
        kind: kind.to_owned(),
        model: Some(name(model)),
        environment: Some(production()),
        principal: "person:ana".to_owned(),
        was: "nothing".to_owned(),
        becomes: "v1 100%".to_owned(),
        reason: "a test".to_owned(),
        numbers: serde_json::json!({ "accuracy": 0.9 }),
        is_forced: false,
    }
}

pub fn ana() -> NewPerson {
    NewPerson {
        login: "ana".to_owned(),
        name: "Ana".to_owned(),
        role: Role::Operator,
        password_hash: PasswordHash::new("$argon2id$v=19$x".to_owned()),
        must_change_password: false,
    }
}

async fn data_folder(url: &str) -> std::path::PathBuf {
    use sqlx::Connection;
    let mut connection = sqlx::PgConnection::connect(url).await.unwrap();
    let sql = "select current_setting('data_directory') || '/base/' || oid from pg_database \
        where datname = current_database()";
    let folder: String = sqlx::query_scalar(sql)
        .fetch_one(&mut connection)
        .await
        .unwrap();
    folder.into()
}

fn files_below(folder: &std::path::Path) -> Vec<Vec<u8>> {
    let Ok(entries) = std::fs::read_dir(folder) else {
        return Vec::new();
    };
    let files = entries.map(|entry| entry.unwrap().path());
    files
        .filter(|path| path.is_file())
        .map(|path| std::fs::read(path).unwrap())
        .collect()
}
