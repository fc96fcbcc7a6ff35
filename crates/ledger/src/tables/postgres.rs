//! The ledger in PostgreSQL: `synchronous_commit=on`, an advisory lock per lane, one `insert … select from unnest` a
//! group.
//!
//! The traits block, so each connection brings a small runtime of its own and lives on a thread that may block. Nothing
//! waits for ever: a server that hangs is given up after a bound, and its connection with it. Only `begin` connects, so
//! that no statement can slip out of its transaction onto a fresh connection.

mod link;
mod rows;

pub(crate) use link::version_known;

use super::page::{Cell, PageQuery};
use super::{
    CheckpointRow, Doomed, Head, KeyRow, LaneRow, OldKey, Reading, Result, SEQUENCE_BITS, Slot,
    Wrapped, Writing, position, sequence_at,
};
use crate::checkpoint::{SignedCheckpoint, VerifyingKey};
use crate::error::StorageError;
use crate::layout::frame;
use crate::name::{LaneName, Tenant};
use crate::record::{KeyId, RawRecord, Record, RecordId, Unreadable};
use futures_util::TryStreamExt;
use link::{Link, migrate, minimum, refuse_newer, schema_version};
use ombud_core::{ModelName, Version};
use rows::{CELLS, head, key_row, lane_number, lanes, raw, records, reference, tenant_cell};
use sha2::{Digest as _, Sha256};
use sqlx::postgres::PgRow;
use sqlx::{AssertSqlSafe, Row, query};
use std::collections::HashSet;
use std::ops::ControlFlow;
use std::time::Duration;

/// How long a transaction's statement may take.
const WRITE_WAIT: Duration = Duration::from_secs(30);
/// How long a fresh connection waits, in all, for locks of one that died: the server takes a moment to notice.
const LOCK_PATIENCE: Duration = Duration::from_secs(3);
/// Between two tries for a lock.
const LOCK_PAUSE: Duration = Duration::from_millis(50);
/// How long writing a table of keys anew may take; a million keys take some seconds.
const REWRITE_WAIT: Duration = Duration::from_secs(600);
/// How long one reading statement may take; a page or a chunk of a walk.
const READ_WAIT: Duration = Duration::from_secs(120);

/// Vacuuming leaves old bytes in the free space of a page, and a full vacuum carries over whatever some old snapshot might
/// still see. A column that gets its own type by an expression makes a new file of the living rows alone.
const REWRITES: [&str; 2] = [
    "alter table ledger_keys alter column wrapped type bytea using wrapped || ''::bytea",
    "alter table ledger_tenants alter column reference type bytea using reference || ''::bytea",
];

const INSERT_RECORDS: &str = "insert into ledger_records (position, tenant, previous, time_us, id, kind, model, version, \
    bundle, environment, subject, key, sealed_input, answer, confidence, sealed_explanation, latency_us, cache_hit, \
    principal, ip, user_agent, request_id, detail, hash) \
    select * from unnest($1::bigint[], $2::text[], $3::bytea[], $4::bigint[], $5::bytea[], $6::text[], $7::text[], \
    $8::bigint[], $9::bytea[], $10::text[], $11::bytea[], $12::bytea[], $13::bytea[], $14::text[], \
    $15::double precision[], $16::bytea[], $17::bigint[], $18::bigint[], $19::text[], $20::text[], $21::text[], \
    $22::text[], $23::text[], $24::bytea[])";

/// The connection that writes.
pub(crate) struct PostgresWriter {
    link: Link,
    locked: HashSet<i64>,
    /// How long this connection may still wait for locks that somebody else holds.
    patience: Duration,
}

/// A connection that reads.
pub(crate) struct PostgresReader {
    link: Link,
}

impl PostgresWriter {
    /// Connects and brings the tables up to date.
    pub fn open(url: &str) -> Result<Self> {
        let mut link = Link::new(url, WRITE_WAIT)?;
        link.connect()?;
        migrate(&mut link)?;
        Ok(PostgresWriter {
            link,
            locked: HashSet::new(),
            patience: LOCK_PATIENCE,
        })
    }

    /// Locks a lane for as long as this connection lives; whether nobody else had it.
    fn lock(&mut self, tenant: &Tenant, name: &LaneName) -> Result<bool> {
        let lock = lane_lock(tenant, name);
        if self.locked.contains(&lock) {
            return Ok(true);
        }
        loop {
            let row = self
                .link
                .row(query("select pg_try_advisory_lock($1)").bind(lock))?;
            if row.is_some_and(|row| row.get::<bool, _>(0)) {
                self.locked.insert(lock);
                return Ok(true);
            }
            if self.patience.is_zero() {
                return Ok(false);
            }
            self.patience = self.patience.saturating_sub(LOCK_PAUSE);
            std::thread::sleep(LOCK_PAUSE);
        }
    }
}

impl PostgresReader {
    /// Connects for reading.
    pub fn open(url: &str) -> Result<Self> {
        let mut link = Link::new(url, READ_WAIT)?;
        link.connect()?;
        link.execute(query("set default_transaction_read_only = on"))?;
        refuse_newer(schema_version(&mut link)?)?;
        Ok(PostgresReader { link })
    }
}

impl Writing for PostgresWriter {
    fn begin(&mut self) -> Result<i64> {
        if self.link.connect()? {
            self.locked.clear();
            self.patience = LOCK_PATIENCE;
            self.link.execute(query("set synchronous_commit = on"))?;
        }
        self.link.execute(query("begin"))?;
        let row = self.link.row(query("select epoch from ledger_epoch"))?;
        Ok(row
            .map(|row| row.try_get(0))
            .transpose()?
            .unwrap_or_default())
    }

    fn reference(
        &mut self,
        tenant: &Tenant,
        fresh: &mut dyn FnMut() -> Option<Wrapped>,
    ) -> Result<Option<Wrapped>> {
        if let Some(stored) = reference(&mut self.link, tenant)? {
            return Ok(Some(stored));
        }
        let Some(fresh) = fresh() else {
            return Ok(None);
        };
        let sql = "insert into ledger_tenants (tenant, reference, master) values ($1, $2, $3) on conflict do nothing";
        self.link.execute(
            query(sql)
                .bind(tenant.as_str())
                .bind(&fresh.bytes)
                .bind(&fresh.master),
        )?;
        // Another replica may have been quicker.
        reference(&mut self.link, tenant)
    }

    fn claim(&mut self, tenant: &Tenant, name: &LaneName) -> Result<bool> {
        self.lock(tenant, name)
    }

    fn lane(&mut self, tenant: &Tenant, name: &LaneName) -> Result<Option<(i64, Option<Head>)>> {
        if !self.lock(tenant, name)? {
            return Ok(None);
        }
        let mut number = lane_number(&mut self.link, tenant, name)?;
        if number.is_none() {
            let sql = "insert into ledger_lanes (tenant, replica) values ($1, $2)";
            self.link
                .execute(query(sql).bind(tenant.as_str()).bind(name.as_str()))?;
            number = lane_number(&mut self.link, tenant, name)?;
        }
        let number = number.ok_or(Unreadable { field: "lane" })?;
        Ok(Some((number, head(&mut self.link, number)?)))
    }

    fn keys(&mut self, slots: &[Slot]) -> Result<Vec<Option<KeyRow>>> {
        let sql = "select wanted.place, k.id, k.wrapped, k.master \
            from unnest($1::bigint[], $2::bytea[], $3::text[], $4::bigint[]) with ordinality \
            as wanted (lane, subject, model, month, place) \
            join ledger_keys k on k.lane = wanted.lane and k.subject = wanted.subject and k.model = wanted.model \
            and k.month = wanted.month and not k.destroyed";
        let lanes: Vec<i64> = slots.iter().map(|slot| slot.lane).collect();
        let subjects: Vec<&[u8]> = slots.iter().map(Slot::subject_cell).collect();
        let models: Vec<&str> = slots.iter().map(Slot::model_cell).collect();
        let months: Vec<i64> = slots.iter().map(|slot| slot.month).collect();
        let rows = self.link.rows(
            query(sql)
                .bind(lanes)
                .bind(subjects)
                .bind(models)
                .bind(months),
        )?;
        let mut keys = vec![None; slots.len()];
        for row in rows {
            let place: i64 = row.try_get(0)?;
            let found = usize::try_from(place - 1)
                .ok()
                .and_then(|place| keys.get_mut(place));
            if let Some(found) = found {
                *found = Some(key_row(&row, 1)?);
            }
        }
        Ok(keys)
    }

    fn insert_keys(&mut self, keys: &[(&Tenant, &Slot, &KeyRow)]) -> Result<()> {
        let sql = "insert into ledger_keys (lane, tenant, subject, model, month, id, wrapped, master) \
            select * from unnest($1::bigint[], $2::text[], $3::bytea[], $4::text[], $5::bigint[], $6::bytea[], \
            $7::bytea[], $8::text[])";
        let sql = query(sql)
            .bind(
                keys.iter()
                    .map(|(_, slot, _)| slot.lane)
                    .collect::<Vec<_>>(),
            )
            .bind(
                keys.iter()
                    .map(|(tenant, ..)| tenant.as_str())
                    .collect::<Vec<_>>(),
            )
            .bind(
                keys.iter()
                    .map(|(_, slot, _)| slot.subject_cell())
                    .collect::<Vec<_>>(),
            )
            .bind(
                keys.iter()
                    .map(|(_, slot, _)| slot.model_cell())
                    .collect::<Vec<_>>(),
            )
            .bind(
                keys.iter()
                    .map(|(_, slot, _)| slot.month)
                    .collect::<Vec<_>>(),
            )
            .bind(
                keys.iter()
                    .map(|(_, _, key)| key.id.0.as_slice())
                    .collect::<Vec<_>>(),
            )
            .bind(
                keys.iter()
                    .map(|(_, _, key)| key.wrapped.bytes.as_slice())
                    .collect::<Vec<_>>(),
            )
            .bind(
                keys.iter()
                    .map(|(_, _, key)| key.wrapped.master.as_str())
                    .collect::<Vec<_>>(),
            );
        self.link.execute(sql)?;
        Ok(())
    }

    fn insert_records(&mut self, records: &[(i64, Record)]) -> Result<()> {
        if records.is_empty() {
            return Ok(());
        }
        let places = records
            .iter()
            .map(|(lane, record)| position(*lane, record.sequence));
        let sql = query(INSERT_RECORDS)
            .bind(places.collect::<Vec<_>>())
            .bind(column(records, |record| record.tenant.as_str()))
            .bind(column(records, |record| {
                record.previous.as_bytes().as_slice()
            }))
            .bind(column(records, |record| record.time_us))
            .bind(column(records, |record| record.id.as_bytes().as_slice()))
            .bind(column(records, |record| record.kind.as_str()))
            .bind(column(records, |record| {
                record.model.as_ref().map(ModelName::as_str)
            }))
            .bind(column(records, |record| {
                record.version.map(Version::get).map(i64::from)
            }))
            .bind(column(records, |record| {
                record
                    .bundle
                    .as_ref()
                    .map(|digest| digest.as_bytes().as_slice())
            }))
            .bind(column(records, |record| record.environment.as_deref()))
            .bind(column(records, |record| {
                record
                    .subject
                    .as_ref()
                    .map(|subject| subject.0.as_bytes().as_slice())
            }))
            .bind(column(records, |record| {
                record.key.as_ref().map(|key| key.0.as_slice())
            }))
            .bind(column(records, |record| record.sealed_input.as_deref()))
            .bind(column(records, |record| record.answer.as_deref()))
            .bind(column(records, |record| record.confidence))
            .bind(column(records, |record| {
                record.sealed_explanation.as_deref()
            }))
            .bind(column(records, |record| {
                record.latency_us.map(u64::cast_signed)
            }))
            .bind(column(records, |record| record.cache_hit.map(i64::from)))
            .bind(column(records, |record| record.principal.as_deref()))
            .bind(column(records, |record| record.ip.as_deref()))
            .bind(column(records, |record| record.user_agent.as_deref()))
            .bind(column(records, |record| record.request_id.as_deref()))
            .bind(column(records, |record| record.detail.as_deref()))
            .bind(column(records, |record| record.hash.as_bytes().as_slice()));
        self.link.execute(sql).map_err(moved_or)?;
        Ok(())
    }

    fn taken(&mut self, ids: &[RecordId]) -> Result<Vec<RecordId>> {
        let sql = "select id from ledger_records where id = any($1::bytea[])";
        let ids: Vec<&[u8]> = ids.iter().map(|id| id.as_bytes().as_slice()).collect();
        let rows = self.link.rows(query(sql).bind(ids))?;
        rows.iter()
            .map(|row| Ok(RecordId::from_bytes(row.try_get(0)?)))
            .collect()
    }

    fn destroy_keys(&mut self, tenant: &Tenant, doomed: Doomed<'_>, limit: usize) -> Result<usize> {
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let count = match doomed {
            Doomed::Subject(subject) => {
                let sql = "update ledger_keys set destroyed = true, wrapped = '' where number in (select number \
                    from ledger_keys where tenant = $1 and subject = $3 and not destroyed limit $2)";
                self.link.execute(
                    query(sql)
                        .bind(tenant.as_str())
                        .bind(limit)
                        .bind(subject.0.as_bytes().as_slice()),
                )?
            }
            Doomed::Older { model, month } => {
                let sql = "update ledger_keys set destroyed = true, wrapped = '' where number in (select number \
                    from ledger_keys where tenant = $1 and model = $3 and month < $4 and not destroyed limit $2)";
                self.link.execute(
                    query(sql)
                        .bind(tenant.as_str())
                        .bind(limit)
                        .bind(model.as_str())
                        .bind(month),
                )?
            }
        };
        self.link
            .execute(query("update ledger_epoch set epoch = epoch + 1"))?;
        Ok(usize::try_from(count).unwrap_or(usize::MAX))
    }

    fn keys_of_others(&mut self, master: &str, after: i64, limit: usize) -> Result<Vec<OldKey>> {
        let sql = "select number, tenant, id, wrapped from ledger_keys \
            where master <> $1 and not destroyed and number > $2 order by number limit $3 for update";
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let rows = self
            .link
            .rows(query(sql).bind(master).bind(after).bind(limit))?;
        let read = |row: &PgRow| {
            Ok(OldKey {
                number: row.try_get(0)?,
                tenant: tenant_cell(row.try_get(1)?)?,
                id: KeyId(row.try_get(2)?),
                wrapped: row.try_get(3)?,
            })
        };
        rows.iter().map(read).collect()
    }

    fn rewrap_key(&mut self, number: i64, wrapped: &Wrapped) -> Result<()> {
        let sql = "update ledger_keys set wrapped = $2, master = $3 where number = $1";
        self.link.execute(
            query(sql)
                .bind(number)
                .bind(&wrapped.bytes)
                .bind(&wrapped.master),
        )?;
        Ok(())
    }

    fn references_of_others(&mut self, master: &str) -> Result<Vec<(Tenant, Vec<u8>)>> {
        let sql = "select tenant, reference from ledger_tenants where master <> $1";
        let rows = self.link.rows(query(sql).bind(master))?;
        rows.iter()
            .map(|row| Ok((tenant_cell(row.try_get(0)?)?, row.try_get(1)?)))
            .collect()
    }

    fn rewrap_reference(&mut self, tenant: &Tenant, wrapped: &Wrapped) -> Result<()> {
        let sql = "update ledger_tenants set reference = $2, master = $3 where tenant = $1";
        self.link.execute(
            query(sql)
                .bind(tenant.as_str())
                .bind(&wrapped.bytes)
                .bind(&wrapped.master),
        )?;
        Ok(())
    }

    fn heads(&mut self, tenant: &Tenant) -> Result<Vec<(LaneName, Head)>> {
        let mut heads = Vec::new();
        for lane in lanes(&mut self.link)?
            .into_iter()
            .filter(|lane| lane.tenant == *tenant)
        {
            if let Some(head) = head(&mut self.link, lane.number)? {
                heads.push((lane.name, head));
            }
        }
        heads.sort_by(|(one, _), (other, _)| one.cmp(other));
        Ok(heads)
    }

    fn last_checkpoint(&mut self, tenant: &Tenant) -> Result<Option<(u64, SignedCheckpoint)>> {
        let sql = "select number, body, signer, signature from ledger_checkpoints where tenant = $1 \
            order by number desc limit 1";
        let Some(row) = self.link.row(query(sql).bind(tenant.as_str()))? else {
            return Ok(None);
        };
        let signed = SignedCheckpoint {
            text: row.try_get(1)?,
            signer: VerifyingKey::new(row.try_get(2)?),
            signature: row.try_get(3)?,
        };
        Ok(Some((row.try_get::<i64, _>(0)?.cast_unsigned(), signed)))
    }

    fn insert_checkpoint(
        &mut self,
        tenant: &Tenant,
        number: u64,
        signed: &SignedCheckpoint,
    ) -> Result<()> {
        let sql = "insert into ledger_checkpoints (tenant, number, body, signer, signature) values ($1, $2, $3, $4, $5)";
        let sql = query(sql)
            .bind(tenant.as_str())
            .bind(number.cast_signed())
            .bind(&signed.text)
            .bind(signed.signer.as_bytes().as_slice())
            .bind(signed.signature.as_slice());
        self.link.execute(sql).map_err(moved_or)?;
        Ok(())
    }

    fn commit(&mut self) -> Result<()> {
        self.link.execute(query("commit"))?;
        Ok(())
    }

    fn rollback(&mut self) {
        // A session that cannot even roll back is given up, and its locks with it.
        if self.link.execute(query("rollback")).is_err() {
            self.link.connection = None;
            self.locked.clear();
        }
    }

    fn wipe(&mut self) -> Result<bool> {
        // Rewriting takes longer than whoever appends may wait: [`rewrite_keys`] does it on a connection of its own.
        Ok(true)
    }
}

impl Reading for PostgresReader {
    fn lanes(&mut self) -> Result<Vec<LaneRow>> {
        lanes(&mut self.link)
    }

    fn head(&mut self, lane: i64) -> Result<Option<Head>> {
        head(&mut self.link, lane)
    }

    fn walk(
        &mut self,
        lane: &LaneRow,
        from: i64,
        limit: usize,
        visit: &mut dyn FnMut(&RawRecord<'_>) -> ControlFlow<()>,
    ) -> Result<usize> {
        let sql = format!(
            "select {CELLS} from ledger_records r where position >= $1 and position < $2 order by position limit $3"
        );
        let first = position(lane.number, 0);
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let sql = query(AssertSqlSafe(sql))
            .bind(first + from)
            .bind(first + (1 << SEQUENCE_BITS))
            .bind(limit);
        self.link.run(async |connection| {
            let mut rows = sql.fetch(connection);
            let mut visited = 0;
            while let Some(row) = rows.try_next().await? {
                visited += 1;
                if visit(&raw(&row, lane.name.as_str())?).is_break() {
                    break;
                }
            }
            Ok(visited)
        })
    }

    fn first_since(&mut self, lane: &LaneRow, time_us: i64) -> Result<Option<u64>> {
        let sql = "select min(position) from ledger_records where tenant = $1 and time_us >= $2 \
            and position >= $3 and position < $4";
        let first = position(lane.number, 0);
        let sql = query(sql)
            .bind(lane.tenant.as_str())
            .bind(time_us)
            .bind(first)
            .bind(first + (1 << SEQUENCE_BITS));
        let found = minimum(&mut self.link, sql)?;
        Ok(found.map(|position| sequence_at(position).cast_unsigned()))
    }

    fn position_from(&mut self, position: i64) -> Result<Option<i64>> {
        let sql =
            query("select min(position) from ledger_records where position >= $1").bind(position);
        minimum(&mut self.link, sql)
    }

    fn find(&mut self, tenant: &Tenant, id: &RecordId) -> Result<Option<(i64, Record)>> {
        let cells = [Cell::Text(tenant.as_str()), Cell::Bytes(id.as_bytes())];
        Ok(records(&mut self.link, "where r.tenant = $1 and r.id = $2", &cells)?.pop())
    }

    fn page(&mut self, tenant: &Tenant, query: &PageQuery<'_>) -> Result<Vec<(i64, Record)>> {
        let (conditions, cells) = query.sql(tenant.as_str(), '$');
        records(&mut self.link, &conditions, &cells)
    }

    fn key(&mut self, slot: &Slot) -> Result<Option<KeyRow>> {
        let sql = "select id, wrapped, master from ledger_keys \
            where lane = $1 and subject = $2 and model = $3 and month = $4 and not destroyed";
        let sql = query(sql)
            .bind(slot.lane)
            .bind(slot.subject_cell())
            .bind(slot.model_cell())
            .bind(slot.month);
        self.link.row(sql)?.map(|row| key_row(&row, 0)).transpose()
    }

    fn reference(&mut self, tenant: &Tenant) -> Result<Option<Wrapped>> {
        reference(&mut self.link, tenant)
    }

    fn checkpointed_tenants(&mut self) -> Result<Vec<String>> {
        let rows = self.link.rows(query(
            "select distinct tenant from ledger_checkpoints order by tenant",
        ))?;
        rows.iter().map(|row| Ok(row.try_get(0)?)).collect()
    }

    fn newest_signer(&mut self, tenant: &Tenant) -> Result<Option<Vec<u8>>> {
        let sql =
            "select signer from ledger_checkpoints where tenant = $1 order by number desc limit 1";
        let row = self.link.row(query(sql).bind(tenant.as_str()))?;
        row.map(|row| Ok(row.try_get(0)?)).transpose()
    }

    fn checkpoints(&mut self, tenant: &str, from: i64, limit: usize) -> Result<Vec<CheckpointRow>> {
        let sql = "select number, body, signer, signature from ledger_checkpoints where tenant = $1 and number >= $2 \
            order by number limit $3";
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let rows = self
            .link
            .rows(query(sql).bind(tenant).bind(from).bind(limit))?;
        let read = |row: &PgRow| {
            Ok(CheckpointRow {
                number: row.try_get(0)?,
                body: row.try_get::<String, _>(1)?.into_bytes(),
                signer: row.try_get(2)?,
                signature: row.try_get(3)?,
            })
        };
        rows.iter().map(read).collect()
    }
}

impl Drop for PostgresWriter {
    /// Frees the lanes before the socket closes, so that whoever takes over finds them free at once.
    fn drop(&mut self) {
        if !self.locked.is_empty() {
            let _ = self.link.execute(query("select pg_advisory_unlock_all()"));
        }
    }
}

/// Writes the tables of keys anew, without what was destroyed in them. Blocks. Whoever needs a key that is not remembered waits meanwhile.
pub(crate) fn rewrite_keys(url: &str) -> Result<()> {
    let mut link = Link::new(url, REWRITE_WAIT)?;
    link.connect()?;
    link.execute(query("set lock_timeout = '5s'"))?;
    for table in REWRITES {
        link.execute(query(table))?;
    }
    Ok(())
}

/// The version of the ledger's tables in a database; zero when there are none.
pub(crate) fn version(url: &str) -> Result<i64> {
    let mut link = Link::new(url, READ_WAIT)?;
    link.connect()?;
    schema_version(&mut link)
}

fn column<'a, T>(records: &'a [(i64, Record)], cell: impl Fn(&'a Record) -> T) -> Vec<T> {
    records.iter().map(|(_, record)| cell(record)).collect()
}

/// The number of a lane's advisory lock.
fn lane_lock(tenant: &Tenant, name: &LaneName) -> i64 {
    let mut bytes = Vec::new();
    frame(&mut bytes, Some(b"ombud-lane-1"));
    frame(&mut bytes, Some(tenant.as_str().as_bytes()));
    frame(&mut bytes, Some(name.as_str().as_bytes()));
    let digest: [u8; 32] = Sha256::digest(&bytes).into();
    digest
        .iter()
        .take(8)
        .fold(0, |number, byte| (number << 8) | i64::from(*byte))
}

/// A place that is taken means that somebody else wrote this lane, or the id twice.
fn moved_or(error: StorageError) -> StorageError {
    match &error {
        StorageError::Postgres(sqlx::Error::Database(cause)) if cause.is_unique_violation() => {
            StorageError::HeadMoved
        }
        _ => error,
    }
}
