//! Rows of the ledger's tables, read into what they mean.

use super::super::page::Cell;
use super::super::{
    Head, KeyRow, LaneRow, Result, SEQUENCE_BITS, Wrapped, lane_at, position, sequence_at,
};
use super::link::{Link, minimum};
use crate::name::{LaneName, Tenant};
use crate::record::{KeyId, RawRecord, Record, Unreadable};
use ombud_core::Digest;
use sqlx::postgres::PgRow;
use sqlx::{AssertSqlSafe, Row, query};

/// Every cell of a record, in the order [`raw`] reads them; `r` is the record.
pub(super) const CELLS: &str = "r.position, r.tenant, r.previous, r.time_us, r.id, r.kind, r.model, r.version, r.bundle, \
    r.environment, r.subject, r.key, r.sealed_input, r.answer, r.confidence, r.sealed_explanation, r.latency_us, \
    r.cache_hit, r.principal, r.ip, r.user_agent, r.request_id, r.detail, r.hash";

pub(super) fn tenant_cell(name: String) -> Result<Tenant> {
    let unreadable = |_| Unreadable { field: "tenant" };
    Ok(name.parse().map_err(unreadable)?)
}

pub(super) fn reference(link: &mut Link, tenant: &Tenant) -> Result<Option<Wrapped>> {
    let sql = "select reference, master from ledger_tenants where tenant = $1";
    let row = link.row(query(sql).bind(tenant.as_str()))?;
    row.map(|row| {
        Ok(Wrapped {
            bytes: row.try_get(0)?,
            master: row.try_get(1)?,
        })
    })
    .transpose()
}

pub(super) fn lane_number(
    link: &mut Link,
    tenant: &Tenant,
    name: &LaneName,
) -> Result<Option<i64>> {
    let sql = "select lane from ledger_lanes where tenant = $1 and replica = $2";
    minimum(link, query(sql).bind(tenant.as_str()).bind(name.as_str()))
}

pub(super) fn lanes(link: &mut Link) -> Result<Vec<LaneRow>> {
    let rows = link.rows(query(
        "select lane, tenant, replica from ledger_lanes order by lane",
    ))?;
    let mut lanes = Vec::with_capacity(rows.len());
    for row in rows {
        let (tenant, name): (String, String) = (row.try_get(1)?, row.try_get(2)?);
        // A lane whose names are damaged is none; `verify` then finds its records foreign.
        if let (Ok(tenant), Ok(name)) = (tenant.parse(), name.parse()) {
            lanes.push(LaneRow {
                number: row.try_get(0)?,
                tenant,
                name,
            });
        }
    }
    Ok(lanes)
}

pub(super) fn head(link: &mut Link, lane: i64) -> Result<Option<Head>> {
    let sql = "select position, hash from ledger_records where position >= $1 and position < $2 \
        order by position desc limit 1";
    let first = position(lane, 0);
    let row = link.row(query(sql).bind(first).bind(first + (1 << SEQUENCE_BITS)))?;
    let read = |row: PgRow| {
        let sequence = sequence_at(row.try_get(0)?).cast_unsigned();
        Ok(Head {
            sequence,
            hash: Digest::new(row.try_get(1)?),
        })
    };
    row.map(read).transpose()
}

pub(super) fn key_row(row: &PgRow, first: usize) -> Result<KeyRow> {
    let wrapped = Wrapped {
        bytes: row.try_get(first + 1)?,
        master: row.try_get(first + 2)?,
    };
    Ok(KeyRow {
        id: KeyId(row.try_get(first)?),
        wrapped,
    })
}

pub(super) fn records(
    link: &mut Link,
    conditions: &str,
    cells: &[Cell<'_>],
) -> Result<Vec<(i64, Record)>> {
    let names = lanes(link)?;
    let mut sql = query(AssertSqlSafe(format!(
        "select {CELLS} from ledger_records r {conditions}"
    )));
    for cell in cells {
        sql = match *cell {
            Cell::Number(number) => sql.bind(number),
            Cell::Text(text) => sql.bind(text),
            Cell::Bytes(bytes) => sql.bind(bytes),
        };
    }
    let mut records = Vec::new();
    for row in link.rows(sql)? {
        let position: i64 = row.try_get(0)?;
        let lane = names.iter().find(|lane| lane.number == lane_at(position));
        let lane = lane.ok_or(Unreadable { field: "lane" })?;
        records.push((position, raw(&row, lane.name.as_str())?.to_record()?));
    }
    Ok(records)
}

pub(super) fn raw<'a>(row: &'a PgRow, lane: &'a str) -> sqlx::Result<RawRecord<'a>> {
    // Text travels as its bytes, so both kinds of column are read as bytes.
    let bytes = |place: usize| row.try_get_unchecked::<Option<&[u8]>, _>(place);
    let number = |place: usize| row.try_get::<Option<i64>, _>(place);
    Ok(RawRecord {
        sequence: sequence_at(number(0)?.unwrap_or_default()),
        tenant: bytes(1)?.unwrap_or_default(),
        previous: bytes(2)?.unwrap_or_default(),
        time_us: number(3)?.unwrap_or_default(),
        id: bytes(4)?.unwrap_or_default(),
        lane: lane.as_bytes(),
        kind: bytes(5)?.unwrap_or_default(),
        model: bytes(6)?,
        version: number(7)?,
        bundle: bytes(8)?,
        environment: bytes(9)?,
        subject: bytes(10)?,
        key: bytes(11)?,
        sealed_input: bytes(12)?,
        answer: bytes(13)?,
        confidence: row.try_get(14)?,
        sealed_explanation: bytes(15)?,
        latency_us: number(16)?,
        cache_hit: number(17)?,
        principal: bytes(18)?,
        ip: bytes(19)?,
        user_agent: bytes(20)?,
        request_id: bytes(21)?,
        detail: bytes(22)?,
        hash: bytes(23)?.unwrap_or_default(),
    })
}
