//! The ledger in a SQLite file: write-ahead log, `synchronous=FULL`, one connection that writes, any number that read.
//!
//! The file may be shared with other tables, but a file of its own is better: a writer elsewhere makes this one wait.

mod draining;

use super::page::{Cell, PageQuery};
use super::{
    CheckpointRow, Doomed, Head, KeyRow, LaneRow, OldKey, Reading, Result, SEQUENCE_BITS, Slot,
    Wrapped, Writing, lane_at, position, sequence_at,
};
use crate::checkpoint::{SignedCheckpoint, VerifyingKey};
use crate::error::StorageError;
use crate::name::{LaneName, Tenant};
use crate::record::{KeyId, RawRecord, Record, RecordId, Unreadable};
use draining::Drainer;
use ombud_core::Digest;
use rusqlite::types::{ToSqlOutput, ValueRef};
use rusqlite::{
    Connection, ErrorCode, OpenFlags, OptionalExtension, Row, ToSql, TransactionBehavior, params,
};
use std::fs::{File, TryLockError};
use std::io;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Numbered from 1; a migration that has shipped is never edited.
const MIGRATIONS: &[&str] = &[include_str!("../../schema/sqlite/0001_ledger.sql")];

/// How long a connection waits for another before it gives up.
const BUSY_WAIT: Duration = Duration::from_secs(5);
/// How long wiping waits for readers.
const WIPE_WAIT: Duration = Duration::from_millis(500);
/// Pages the writer keeps: enough for the leaves of the indexes over ids and people that one group touches.
const CACHE_KIB: i64 = 4 << 10;
/// Statements kept prepared per connection; there are about twenty.
const STATEMENTS_MAX: usize = 32;

const INSERT_RECORD: &str = "insert into ledger_records (position, tenant, previous, time_us, id, kind, model, version, \
    bundle, environment, subject, key, sealed_input, answer, confidence, sealed_explanation, latency_us, cache_hit, \
    principal, ip, user_agent, request_id, detail, hash) \
    values (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, ?20, ?21, ?22, ?23, \
    ?24)";

/// Every cell of a record, in the order [`raw`] reads them; `r` is the record.
const CELLS: &str = "r.position, r.tenant, r.previous, r.time_us, r.id, r.kind, r.model, r.version, r.bundle, \
    r.environment, r.subject, r.key, r.sealed_input, r.answer, r.confidence, r.sealed_explanation, r.latency_us, \
    r.cache_hit, r.principal, r.ip, r.user_agent, r.request_id, r.detail, r.hash";

/// The connection that writes.
#[derive(Debug)]
pub(crate) struct SqliteWriter {
    connection: Connection,
    drainer: Drainer,
    path: PathBuf,
    /// Files whose locks say which lanes are this process's; let go with it, however it ends.
    claims: Vec<File>,
}

/// A connection that reads.
#[derive(Debug)]
pub(crate) struct SqliteReader {
    connection: Connection,
}

impl SqliteWriter {
    /// Opens the file, made when new, and brings its tables up to date.
    pub fn open(path: &Path) -> Result<Self> {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE;
        let mut connection = connect(path, flags)?;
        connection.pragma_update(None, "journal_mode", "wal")?;
        connection.pragma_update(None, "synchronous", "full")?;
        connection.pragma_update(None, "secure_delete", true)?;
        connection.pragma_update(None, "cache_size", -CACHE_KIB)?;
        migrate(&mut connection)?;
        let beside = connect(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
        let drainer = Drainer::start(&connection, beside).map_err(|source| StorageError::File {
            path: path.to_owned(),
            source,
        })?;
        Ok(SqliteWriter {
            connection,
            drainer,
            path: path.to_owned(),
            claims: Vec::new(),
        })
    }
}

impl SqliteReader {
    /// Opens the file for reading.
    pub fn open(path: &Path) -> Result<Self> {
        let connection = read_from(path)?;
        connection.pragma_update(None, "query_only", true)?;
        refuse_newer(schema_version(&connection)?)?;
        Ok(SqliteReader { connection })
    }
}

impl Writing for SqliteWriter {
    fn begin(&mut self) -> Result<i64> {
        self.connection
            .prepare_cached("begin immediate")?
            .execute([])?;
        let mut statement = self
            .connection
            .prepare_cached("select epoch from ledger_epoch")?;
        Ok(statement.query_row([], |row| row.get(0))?)
    }

    fn reference(
        &mut self,
        tenant: &Tenant,
        fresh: &mut dyn FnMut() -> Option<Wrapped>,
    ) -> Result<Option<Wrapped>> {
        if let Some(stored) = reference(&self.connection, tenant)? {
            return Ok(Some(stored));
        }
        let Some(fresh) = fresh() else {
            return Ok(None);
        };
        self.connection
            .prepare_cached(
                "insert into ledger_tenants (tenant, reference, master) values (?1, ?2, ?3)",
            )?
            .execute(params![tenant.as_str(), fresh.bytes, fresh.master])?;
        Ok(Some(fresh))
    }

    /// The file's own lock already keeps two writers apart record by record; this one keeps a second server from starting
    /// unseen. A file system that knows no locks lets everybody pass.
    fn claim(&mut self, tenant: &Tenant, name: &LaneName) -> Result<bool> {
        let mut path = self.path.clone().into_os_string();
        path.push(format!("-{tenant}-{name}.lane"));
        let path = PathBuf::from(path);
        let opened = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&path);
        let file = opened.map_err(|source| StorageError::File { path, source })?;
        if let Err(TryLockError::WouldBlock) = file.try_lock() {
            return Ok(false);
        }
        self.claims.push(file);
        Ok(true)
    }

    fn lane(&mut self, tenant: &Tenant, name: &LaneName) -> Result<Option<(i64, Option<Head>)>> {
        let names = [tenant.as_str(), name.as_str()];
        self.connection
            .prepare_cached(
                "insert into ledger_lanes (tenant, replica) values (?1, ?2) on conflict do nothing",
            )?
            .execute(names)?;
        let number: i64 = self
            .connection
            .prepare_cached("select lane from ledger_lanes where tenant = ?1 and replica = ?2")?
            .query_row(names, |row| row.get(0))?;
        Ok(Some((number, head(&self.connection, number)?)))
    }

    fn keys(&mut self, slots: &[Slot]) -> Result<Vec<Option<KeyRow>>> {
        slots
            .iter()
            .map(|slot| key(&self.connection, slot))
            .collect()
    }

    fn insert_keys(&mut self, keys: &[(&Tenant, &Slot, &KeyRow)]) -> Result<()> {
        let mut statement = self.connection.prepare_cached(
            "insert into ledger_keys (lane, tenant, subject, model, month, id, wrapped, master, destroyed) \
             values (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, 0)",
        )?;
        for (tenant, slot, key) in keys {
            let wrapped = &key.wrapped;
            statement.execute(params![
                slot.lane,
                tenant.as_str(),
                slot.subject_cell(),
                slot.model_cell(),
                slot.month,
                key.id.0,
                wrapped.bytes,
                wrapped.master
            ])?;
        }
        Ok(())
    }

    fn insert_records(&mut self, records: &[(i64, Record)]) -> Result<()> {
        let mut statement = self.connection.prepare_cached(INSERT_RECORD)?;
        for (lane, record) in records {
            insert_record(&mut statement, *lane, record).map_err(moved_or)?;
        }
        Ok(())
    }

    fn taken(&mut self, ids: &[RecordId]) -> Result<Vec<RecordId>> {
        let mut statement = self
            .connection
            .prepare_cached("select 1 from ledger_records where id = ?1")?;
        let mut taken = Vec::new();
        for id in ids {
            if statement.exists([id.as_bytes()])? {
                taken.push(*id);
            }
        }
        Ok(taken)
    }

    fn destroy_keys(&mut self, tenant: &Tenant, doomed: Doomed<'_>, limit: usize) -> Result<usize> {
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let destroy = |condition: &str| {
            format!(
                "update ledger_keys set destroyed = 1, wrapped = zeroblob(length(wrapped)) where number in \
                 (select number from ledger_keys where tenant = ?1 and {condition} and destroyed = 0 limit ?2)"
            )
        };
        let connection = &self.connection;
        let count = match doomed {
            Doomed::Subject(subject) => connection
                .prepare_cached(&destroy("subject = ?3"))?
                .execute(params![tenant.as_str(), limit, subject.0.as_bytes()])?,
            Doomed::Older { model, month } => connection
                .prepare_cached(&destroy("model = ?3 and month < ?4"))?
                .execute(params![tenant.as_str(), limit, model.as_str(), month])?,
        };
        self.connection
            .prepare_cached("update ledger_epoch set epoch = epoch + 1")?
            .execute([])?;
        Ok(count)
    }

    fn keys_of_others(&mut self, master: &str, after: i64, limit: usize) -> Result<Vec<OldKey>> {
        let mut statement = self.connection.prepare_cached(
            "select number, tenant, id, wrapped from ledger_keys \
             where master <> ?1 and destroyed = 0 and number > ?2 order by number limit ?3",
        )?;
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let mut rows = statement.query(params![master, after, limit])?;
        let mut keys = Vec::new();
        while let Some(row) = rows.next()? {
            keys.push(OldKey {
                number: row.get(0)?,
                tenant: tenant_cell(row.get(1)?)?,
                id: KeyId(row.get(2)?),
                wrapped: row.get(3)?,
            });
        }
        Ok(keys)
    }

    fn rewrap_key(&mut self, number: i64, wrapped: &Wrapped) -> Result<()> {
        self.connection
            .prepare_cached("update ledger_keys set wrapped = ?2, master = ?3 where number = ?1")?
            .execute(params![number, wrapped.bytes, wrapped.master])?;
        Ok(())
    }

    fn references_of_others(&mut self, master: &str) -> Result<Vec<(Tenant, Vec<u8>)>> {
        let sql = "select tenant, reference from ledger_tenants where master <> ?1";
        let mut statement = self.connection.prepare_cached(sql)?;
        let mut rows = statement.query([master])?;
        let mut references = Vec::new();
        while let Some(row) = rows.next()? {
            references.push((tenant_cell(row.get(0)?)?, row.get(1)?));
        }
        Ok(references)
    }

    fn rewrap_reference(&mut self, tenant: &Tenant, wrapped: &Wrapped) -> Result<()> {
        let sql = "update ledger_tenants set reference = ?2, master = ?3 where tenant = ?1";
        self.connection.prepare_cached(sql)?.execute(params![
            tenant.as_str(),
            wrapped.bytes,
            wrapped.master
        ])?;
        Ok(())
    }

    fn heads(&mut self, tenant: &Tenant) -> Result<Vec<(LaneName, Head)>> {
        let mut heads = Vec::new();
        for lane in lanes(&self.connection)?
            .into_iter()
            .filter(|lane| lane.tenant == *tenant)
        {
            if let Some(head) = head(&self.connection, lane.number)? {
                heads.push((lane.name, head));
            }
        }
        heads.sort_by(|(one, _), (other, _)| one.cmp(other));
        Ok(heads)
    }

    fn last_checkpoint(&mut self, tenant: &Tenant) -> Result<Option<(u64, SignedCheckpoint)>> {
        let mut statement = self.connection.prepare_cached(
            "select number, body, signer, signature from ledger_checkpoints where tenant = ?1 \
             order by number desc limit 1",
        )?;
        let read = |row: &Row<'_>| {
            let signed = SignedCheckpoint {
                text: row.get(1)?,
                signer: VerifyingKey::new(row.get(2)?),
                signature: row.get(3)?,
            };
            Ok((row.get::<_, i64>(0)?.cast_unsigned(), signed))
        };
        Ok(statement.query_row([tenant.as_str()], read).optional()?)
    }

    fn insert_checkpoint(
        &mut self,
        tenant: &Tenant,
        number: u64,
        signed: &SignedCheckpoint,
    ) -> Result<()> {
        let mut statement = self.connection.prepare_cached(
            "insert into ledger_checkpoints (tenant, number, body, signer, signature) values (?1, ?2, ?3, ?4, ?5)",
        )?;
        let number = number.cast_signed();
        let cells = params![
            tenant.as_str(),
            number,
            signed.text,
            signed.signer.as_bytes(),
            signed.signature
        ];
        statement.execute(cells).map_err(moved_or)?;
        Ok(())
    }

    fn commit(&mut self) -> Result<()> {
        self.connection.prepare_cached("commit")?.execute([])?;
        self.drainer.committed(&self.connection);
        Ok(())
    }

    fn rollback(&mut self) {
        // After some errors SQLite has rolled back by itself, and then this one fails, which is as good.
        if !self.connection.is_autocommit() {
            let _ = self.connection.execute_batch("rollback");
        }
    }

    fn wipe(&mut self) -> Result<bool> {
        // Everybody who appends waits meanwhile, so a reader who stands in the way is not waited for as long as usual.
        self.connection.busy_timeout(WIPE_WAIT)?;
        let sql = "pragma wal_checkpoint(truncate)";
        let busy = self
            .connection
            .query_row(sql, [], |row| row.get::<_, i64>(0));
        self.connection.busy_timeout(BUSY_WAIT)?;
        Ok(busy? == 0)
    }
}

impl Reading for SqliteReader {
    fn lanes(&mut self) -> Result<Vec<LaneRow>> {
        lanes(&self.connection)
    }

    fn head(&mut self, lane: i64) -> Result<Option<Head>> {
        head(&self.connection, lane)
    }

    fn walk(
        &mut self,
        lane: &LaneRow,
        from: i64,
        limit: usize,
        visit: &mut dyn FnMut(&RawRecord<'_>) -> ControlFlow<()>,
    ) -> Result<usize> {
        let sql = format!(
            "select {CELLS} from ledger_records r where position >= ?1 and position < ?2 order by position limit ?3"
        );
        let mut statement = self.connection.prepare_cached(&sql)?;
        let first = position(lane.number, 0);
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let mut rows = statement.query([first + from, first + (1 << SEQUENCE_BITS), limit])?;
        let mut visited = 0;
        while let Some(row) = rows.next()? {
            visited += 1;
            if visit(&raw(row, lane.name.as_str())?).is_break() {
                break;
            }
        }
        Ok(visited)
    }

    fn first_since(&mut self, lane: &LaneRow, time_us: i64) -> Result<Option<u64>> {
        let mut statement = self.connection.prepare_cached(
            "select min(position) from ledger_records where tenant = ?1 and time_us >= ?2 \
             and position >= ?3 and position < ?4",
        )?;
        let first = position(lane.number, 0);
        let cells = params![
            lane.tenant.as_str(),
            time_us,
            first,
            first + (1 << SEQUENCE_BITS)
        ];
        let found: Option<i64> = statement.query_row(cells, |row| row.get(0))?;
        Ok(found.map(|position| sequence_at(position).cast_unsigned()))
    }

    fn position_from(&mut self, position: i64) -> Result<Option<i64>> {
        let sql = "select min(position) from ledger_records where position >= ?1";
        Ok(self
            .connection
            .prepare_cached(sql)?
            .query_row([position], |row| row.get(0))?)
    }

    fn find(&mut self, tenant: &Tenant, id: &RecordId) -> Result<Option<(i64, Record)>> {
        let cells = [Cell::Text(tenant.as_str()), Cell::Bytes(id.as_bytes())];
        Ok(records(
            &self.connection,
            "where r.tenant = ?1 and r.id = ?2",
            &cells,
        )?
        .pop())
    }

    fn page(&mut self, tenant: &Tenant, query: &PageQuery<'_>) -> Result<Vec<(i64, Record)>> {
        let (conditions, cells) = query.sql(tenant.as_str(), '?');
        records(&self.connection, &conditions, &cells)
    }

    fn key(&mut self, slot: &Slot) -> Result<Option<KeyRow>> {
        key(&self.connection, slot)
    }

    fn reference(&mut self, tenant: &Tenant) -> Result<Option<Wrapped>> {
        reference(&self.connection, tenant)
    }

    fn checkpointed_tenants(&mut self) -> Result<Vec<String>> {
        let sql = "select distinct tenant from ledger_checkpoints order by tenant";
        let mut statement = self.connection.prepare_cached(sql)?;
        let tenants = statement.query_map([], |row| {
            let tenant = row.get_ref(0)?.as_bytes()?;
            Ok(String::from_utf8_lossy(tenant).into_owned())
        })?;
        Ok(tenants.collect::<rusqlite::Result<_>>()?)
    }

    fn newest_signer(&mut self, tenant: &Tenant) -> Result<Option<Vec<u8>>> {
        let mut statement = self.connection.prepare_cached(
            "select signer from ledger_checkpoints where tenant = ?1 order by number desc limit 1",
        )?;
        let read = |row: &Row<'_>| Ok(row.get_ref(0)?.as_bytes()?.to_vec());
        Ok(statement.query_row([tenant.as_str()], read).optional()?)
    }

    fn checkpoints(&mut self, tenant: &str, from: i64, limit: usize) -> Result<Vec<CheckpointRow>> {
        let mut statement = self.connection.prepare_cached(
            "select number, body, signer, signature from ledger_checkpoints where tenant = ?1 and number >= ?2 \
             order by number limit ?3",
        )?;
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let rows = statement.query_map(params![tenant, from, limit], |row| {
            Ok(CheckpointRow {
                number: row.get(0)?,
                body: row.get_ref(1)?.as_bytes()?.to_vec(),
                signer: row.get_ref(2)?.as_bytes()?.to_vec(),
                signature: row.get_ref(3)?.as_bytes()?.to_vec(),
            })
        })?;
        Ok(rows.collect::<rusqlite::Result<_>>()?)
    }
}

fn tenant_cell(name: String) -> Result<Tenant> {
    let unreadable = |_| Unreadable { field: "tenant" };
    Ok(name.parse().map_err(unreadable)?)
}

/// The version of the ledger's tables in a file; zero when there are none.
pub(crate) fn version(path: &Path) -> Result<i64> {
    schema_version(&read_from(path)?)
}

/// The version this program brings a file to.
pub(crate) fn version_known() -> i64 {
    MIGRATIONS.len().try_into().unwrap_or(i64::MAX)
}

/// A connection for reading: beside whoever writes, which itself needs to write, because readers of a write-ahead log note
/// there how far they are; else of a file that stands still.
fn read_from(path: &Path) -> Result<Connection> {
    let shared = connect(path, OpenFlags::SQLITE_OPEN_READ_WRITE)
        .and_then(|connection| schema_version(&connection).map(|_| connection));
    match shared {
        Err(StorageError::Sqlite(error)) if is_about_writing(&error) => {
            stands_still(path).map_err(|_| error.into())
        }
        opened => opened,
    }
}

/// A file on a disk where nobody writes, with nothing of it left in a log.
fn stands_still(path: &Path) -> Result<Connection> {
    let mut log = path.as_os_str().to_owned();
    log.push("-wal");
    let is_left = std::fs::metadata(&log).is_ok_and(|log| log.len() > 0);
    let failed = |kind: io::ErrorKind| StorageError::File {
        path: path.to_owned(),
        source: kind.into(),
    };
    if is_left {
        return Err(failed(io::ErrorKind::ReadOnlyFilesystem));
    }
    let name = path
        .to_str()
        .ok_or_else(|| failed(io::ErrorKind::InvalidFilename))?;
    let name = name
        .replace('%', "%25")
        .replace('?', "%3f")
        .replace('#', "%23");
    let uri = format!("file:{name}?immutable=1");
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI;
    connect(Path::new(&uri), flags)
}

/// Whether a file could only not be opened or read because nothing can be written beside it.
fn is_about_writing(error: &rusqlite::Error) -> bool {
    matches!(
        error.sqlite_error_code(),
        Some(ErrorCode::ReadOnly | ErrorCode::CannotOpen)
    )
}

fn connect(path: &Path, flags: OpenFlags) -> Result<Connection> {
    let flags = flags | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(BUSY_WAIT)?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS_MAX);
    Ok(connection)
}

fn migrate(connection: &mut Connection) -> Result<()> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    transaction.execute_batch(
        "create table if not exists ledger_schema (version integer primary key) strict",
    )?;
    let found = schema_version(&transaction)?;
    refuse_newer(found)?;
    for (number, sql) in (1i64..).zip(MIGRATIONS) {
        if number > found {
            transaction.execute_batch(sql)?;
            transaction.execute("insert into ledger_schema (version) values (?1)", [number])?;
        }
    }
    transaction.commit()?;
    Ok(())
}

fn refuse_newer(found: i64) -> Result<()> {
    let known = version_known();
    if found > known {
        return Err(StorageError::NewerSchema { found, known });
    }
    Ok(())
}

fn schema_version(connection: &Connection) -> Result<i64> {
    let exists = connection
        .prepare("select 1 from sqlite_schema where type = 'table' and name = 'ledger_schema'")?
        .exists([])?;
    if !exists {
        return Ok(0);
    }
    let sql = "select coalesce(max(version), 0) from ledger_schema";
    Ok(connection.query_row(sql, [], |row| row.get(0))?)
}

fn reference(connection: &Connection, tenant: &Tenant) -> Result<Option<Wrapped>> {
    let mut statement = connection
        .prepare_cached("select reference, master from ledger_tenants where tenant = ?1")?;
    let read = |row: &Row<'_>| {
        Ok(Wrapped {
            bytes: row.get(0)?,
            master: row.get(1)?,
        })
    };
    Ok(statement.query_row([tenant.as_str()], read).optional()?)
}

fn lanes(connection: &Connection) -> Result<Vec<LaneRow>> {
    let mut statement = connection
        .prepare_cached("select lane, tenant, replica from ledger_lanes order by lane")?;
    let mut rows = statement.query([])?;
    let mut lanes = Vec::new();
    while let Some(row) = rows.next()? {
        let text = |place| row.get_ref(place).ok().and_then(|cell| cell.as_str().ok());
        let tenant = text(1).and_then(|text| text.parse().ok());
        let name = text(2).and_then(|text| text.parse().ok());
        // A lane whose names are damaged is none; `verify` then finds its records foreign.
        if let (Some(tenant), Some(name)) = (tenant, name) {
            lanes.push(LaneRow {
                number: row.get(0)?,
                tenant,
                name,
            });
        }
    }
    Ok(lanes)
}

fn head(connection: &Connection, lane: i64) -> Result<Option<Head>> {
    let mut statement = connection.prepare_cached(
        "select position, hash from ledger_records where position >= ?1 and position < ?2 \
         order by position desc limit 1",
    )?;
    let first = position(lane, 0);
    let read = |row: &Row<'_>| {
        let sequence = sequence_at(row.get(0)?).cast_unsigned();
        Ok(Head {
            sequence,
            hash: Digest::new(row.get(1)?),
        })
    };
    Ok(statement
        .query_row([first, first + (1 << SEQUENCE_BITS)], read)
        .optional()?)
}

fn key(connection: &Connection, slot: &Slot) -> Result<Option<KeyRow>> {
    let mut statement = connection.prepare_cached(
        "select id, wrapped, master from ledger_keys \
         where lane = ?1 and subject = ?2 and model = ?3 and month = ?4 and destroyed = 0",
    )?;
    let read = |row: &Row<'_>| {
        let wrapped = Wrapped {
            bytes: row.get(1)?,
            master: row.get(2)?,
        };
        Ok(KeyRow {
            id: KeyId(row.get(0)?),
            wrapped,
        })
    };
    let cells = params![
        slot.lane,
        slot.subject_cell(),
        slot.model_cell(),
        slot.month
    ];
    Ok(statement.query_row(cells, read).optional()?)
}

fn insert_record(
    statement: &mut rusqlite::Statement<'_>,
    lane: i64,
    record: &Record,
) -> rusqlite::Result<()> {
    statement.execute(params![
        position(lane, record.sequence),
        record.tenant.as_str(),
        record.previous.as_bytes(),
        record.time_us,
        record.id.as_bytes(),
        record.kind.as_str(),
        record.model.as_ref().map(ombud_core::ModelName::as_str),
        record.version.map(ombud_core::Version::get),
        record.bundle.as_ref().map(Digest::as_bytes),
        record.environment,
        record.subject.as_ref().map(|subject| subject.0.as_bytes()),
        record.key.as_ref().map(|key| key.0),
        record.sealed_input,
        record.answer,
        record.confidence,
        record.sealed_explanation,
        record.latency_us.map(u64::cast_signed),
        record.cache_hit,
        record.principal,
        record.ip,
        record.user_agent,
        record.request_id,
        record.detail,
        record.hash.as_bytes(),
    ])?;
    Ok(())
}

fn records(
    connection: &Connection,
    conditions: &str,
    cells: &[Cell<'_>],
) -> Result<Vec<(i64, Record)>> {
    let sql = format!("select {CELLS} from ledger_records r {conditions}");
    let names = lanes(connection)?;
    let mut statement = connection.prepare_cached(&sql)?;
    let mut rows = statement.query(rusqlite::params_from_iter(cells))?;
    let mut records = Vec::new();
    while let Some(row) = rows.next()? {
        let position: i64 = row.get(0)?;
        let lane = names.iter().find(|lane| lane.number == lane_at(position));
        let lane = lane.ok_or(Unreadable { field: "lane" })?;
        records.push((position, raw(row, lane.name.as_str())?.to_record()?));
    }
    Ok(records)
}

fn raw<'a>(row: &'a Row<'_>, lane: &'a str) -> rusqlite::Result<RawRecord<'a>> {
    // The tables are strict, so a cell is null or has its column's type; null where none may be hashes as empty.
    let bytes = |place| match row.get_ref(place) {
        Ok(ValueRef::Text(bytes) | ValueRef::Blob(bytes)) => Some(bytes),
        _ => None,
    };
    let number = |place| match row.get_ref(place) {
        Ok(ValueRef::Integer(number)) => Some(number),
        _ => None,
    };
    let confidence = match row.get_ref(14)? {
        ValueRef::Real(confidence) => Some(confidence),
        _ => None,
    };
    Ok(RawRecord {
        sequence: sequence_at(number(0).unwrap_or_default()),
        tenant: bytes(1).unwrap_or_default(),
        previous: bytes(2).unwrap_or_default(),
        time_us: number(3).unwrap_or_default(),
        id: bytes(4).unwrap_or_default(),
        lane: lane.as_bytes(),
        kind: bytes(5).unwrap_or_default(),
        model: bytes(6),
        version: number(7),
        bundle: bytes(8),
        environment: bytes(9),
        subject: bytes(10),
        key: bytes(11),
        sealed_input: bytes(12),
        answer: bytes(13),
        confidence,
        sealed_explanation: bytes(15),
        latency_us: number(16),
        cache_hit: number(17),
        principal: bytes(18),
        ip: bytes(19),
        user_agent: bytes(20),
        request_id: bytes(21),
        detail: bytes(22),
        hash: bytes(23).unwrap_or_default(),
    })
}

/// A place that is taken means that somebody else wrote this lane, or the id twice.
fn moved_or(error: rusqlite::Error) -> StorageError {
    use rusqlite::ffi::{
        SQLITE_CONSTRAINT_PRIMARYKEY, SQLITE_CONSTRAINT_ROWID, SQLITE_CONSTRAINT_UNIQUE,
    };
    match error.sqlite_error().map(|error| error.extended_code) {
        Some(SQLITE_CONSTRAINT_PRIMARYKEY | SQLITE_CONSTRAINT_ROWID | SQLITE_CONSTRAINT_UNIQUE) => {
            StorageError::HeadMoved
        }
        _ => StorageError::Sqlite(error),
    }
}

impl ToSql for Cell<'_> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        let value = match *self {
            Cell::Number(number) => ValueRef::Integer(number),
            Cell::Text(text) => ValueRef::Text(text.as_bytes()),
            Cell::Bytes(bytes) => ValueRef::Blob(bytes),
        };
        Ok(ToSqlOutput::Borrowed(value))
    }
}
