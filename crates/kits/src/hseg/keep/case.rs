//! Review cases: somebody may be in danger, and a person must look.
//!
//! A case names a role, has a time limit, and is acknowledged and closed by people whose names are kept. It tells that
//! there was an answer and which kinds of words it held, never the words, and its times are whole hours.

use super::{Result, hour_of, id_or_none, unknown};
use ombud_ledger::{RecordId, Tenant};
use ombud_store::guest::Row;
use ombud_store::{Error, Role, Store, cells};

/// Longest note.
pub const NOTE_BYTES_MAX: usize = 4_000;
/// Cases on one page.
pub const CASES_MAX: i64 = 500;

/// A case.
#[derive(Debug, Clone, PartialEq)]
pub struct Case {
    pub id: RecordId,
    pub organization: Option<RecordId>,
    pub campaign: Option<RecordId>,
    pub decision: Option<RecordId>,
    /// Kinds of indicators.
    pub reasons: Vec<String>,
    pub role: Role,
    pub opened_us: i64,
    pub due_us: i64,
    pub acknowledged: Option<(i64, String)>,
    pub closed: Option<(i64, String)>,
    pub note: String,
}

/// What a new case is about.
#[derive(Debug, Clone, PartialEq)]
pub struct NewCase {
    pub organization: Option<RecordId>,
    pub campaign: Option<RecordId>,
    pub decision: Option<RecordId>,
    pub reasons: Vec<String>,
    pub role: Role,
    pub hours: i64,
}

/// Opens a case.
pub async fn open(store: &Store, tenant: &Tenant, case: NewCase, now_us: i64) -> Result<RecordId> {
    let id = super::random_id()?;
    let opened = hour_of(now_us);
    // Counted from the hour's end, so that nobody has less time than was promised.
    let hours = case.hours.saturating_add(1);
    let due = opened.saturating_add(hours.saturating_mul(super::HOUR_US));
    let bytes = |id: Option<RecordId>| {
        ombud_store::guest::Value::Bytes(id.map(|id| id.as_bytes().to_vec()))
    };
    let sql = "insert into hseg_cases (tenant, id, organization, campaign, decision, reasons, role, opened_us, due_us, note) \
        values ($1, $2, $3, $4, $5, $6, $7, $8, $9, '')";
    let values = cells![
        tenant,
        id,
        bytes(case.organization),
        bytes(case.campaign),
        bytes(case.decision),
        &serde_json::json!(case.reasons),
        case.role.as_str(),
        opened,
        due,
    ];
    store.execute(sql, values).await?;
    Ok(id)
}

/// Cases, those that wait first, the most urgent of them first.
pub async fn all(store: &Store, tenant: &Tenant, with_closed: bool) -> Result<Vec<Case>> {
    let sql = "select * from hseg_cases where tenant = $1 and ($2 = 1 or closed_us is null) \
        order by case when closed_us is null then 0 else 1 end, due_us, id limit $3";
    let values = cells![tenant, i64::from(with_closed), CASES_MAX];
    let rows = store.rows(sql, values).await?;
    rows.iter().map(read).collect()
}

/// How many cases a campaign has had.
pub async fn of_campaign(store: &Store, tenant: &Tenant, campaign: RecordId) -> Result<usize> {
    let sql = "select count(*) as number from hseg_cases where tenant = $1 and campaign = $2";
    let row = store.row(sql, cells![tenant, campaign]).await?;
    let number = row.map(|row| row.whole("number")).transpose()?;
    Ok(number.unwrap_or_default().max(0) as usize)
}

/// A case by its id.
pub async fn get(store: &Store, tenant: &Tenant, id: RecordId) -> Result<Case> {
    let sql = "select * from hseg_cases where tenant = $1 and id = $2";
    let row = store.row(sql, cells![tenant, id]).await?;
    read(&row.ok_or_else(|| unknown("case", id))?)
}

/// Says who looks at a case.
pub async fn acknowledge(
    store: &Store,
    tenant: &Tenant,
    id: RecordId,
    by: &str,
    now_us: i64,
) -> Result<Case> {
    let sql = "update hseg_cases set acknowledged_us = $3, acknowledged_by = $4 \
        where tenant = $1 and id = $2 and acknowledged_us is null";
    let changed = store.execute(sql, cells![tenant, id, now_us, by]).await?;
    let case = get(store, tenant, id).await?;
    if changed == 0 {
        return Err(Error::Standing {
            what: "case",
            id,
            state: "acknowledged already",
            wanted: "acknowledged",
        });
    }
    Ok(case)
}

/// Ends an acknowledged case, with what was done.
pub async fn close(
    store: &Store,
    tenant: &Tenant,
    id: RecordId,
    by: &str,
    note: &str,
    now_us: i64,
) -> Result<Case> {
    if note.len() > NOTE_BYTES_MAX || note.contains('\0') {
        return Err(Error::TooLong {
            what: "note",
            bytes: note.len(),
            bytes_max: NOTE_BYTES_MAX,
        });
    }
    let sql = "update hseg_cases set closed_us = $3, closed_by = $4, note = $5 \
        where tenant = $1 and id = $2 and closed_us is null and acknowledged_us is not null";
    let values = cells![tenant, id, now_us, by, note];
    let changed = store.execute(sql, values).await?;
    let case = get(store, tenant, id).await?;
    if changed == 0 {
        let state = if case.closed.is_some() {
            "closed already"
        } else {
            "not acknowledged"
        };
        return Err(Error::Standing {
            what: "case",
            id,
            state,
            wanted: "closed",
        });
    }
    Ok(case)
}

impl Case {
    /// Whether its time limit passed before anybody acknowledged it.
    pub fn is_overdue(&self, now_us: i64) -> bool {
        self.acknowledged.is_none() && self.closed.is_none() && now_us > self.due_us
    }
}

fn read(row: &Row) -> Result<Case> {
    let act = |time: &'static str, by: &'static str| -> Result<Option<(i64, String)>> {
        let time = row.time_or_none(time)?;
        let by = row.text_or_none(by, by)?;
        Ok(time.zip(by))
    };
    let reasons = serde_json::from_value(row.json("reasons")?);
    Ok(Case {
        id: row.id("id")?,
        organization: id_or_none(row, "organization")?,
        campaign: id_or_none(row, "campaign")?,
        decision: id_or_none(row, "decision")?,
        reasons: reasons.map_err(|_| Error::Unreadable { what: "reasons" })?,
        role: row.parsed("role")?,
        opened_us: row.whole("opened_us")?,
        due_us: row.whole("due_us")?,
        acknowledged: act("acknowledged_us", "acknowledged_by")?,
        closed: act("closed_us", "closed_by")?,
        note: row.text("note")?,
    })
}
