//! Outcomes: what really happened, told after the decision, joined to it by its id.
//!
//! Every report is kept, in the order it came; one of them is current and counts:
//!
//! - **repeated** — the same value and the same time of observation as a report before: nothing is added;
//! - **contradicting** — another value than the current one: the later observation counts, and of two observations at one
//!   time the later report; the other stays in the history;
//! - **late** — told more than [`LATE_AFTER_US`] after the decision: it counts, and is marked, because windows over that
//!   time may have been judged without it.
//!
//! A report about a decision that the ledger does not know is refused above, where the ledger is at hand.

use crate::database::{Row, Transaction, values};
use crate::environment::Environment;
use crate::error::{Error, Result};
use crate::store::{Page, Store, bounded, page_rows};
use ombud_core::{ModelName, Version};
use ombud_ledger::{RecordId, SubjectReference, Tenant};
use std::fmt;

/// When a report counts as late: ninety days after the decision.
pub const LATE_AFTER_US: i64 = 90 * 24 * 3_600 * 1_000_000;
/// Longest value, as JSON text.
pub const VALUE_BYTES_MAX: usize = 10_000;
/// Longest free text.
pub const FREE_TEXT_BYTES_MAX: usize = 10_000;
/// Reports of one decision; beyond them contradictions are somebody's loop.
pub const REPORTS_MAX: usize = 100;

/// A report to be kept, with what the decision's record says.
#[derive(Debug, Clone)]
pub struct NewOutcome {
    pub decision: RecordId,
    /// A class, labels, a number or a segment, as JSON.
    pub value: serde_json::Value,
    pub note: Option<FreeText>,
    pub model: ModelName,
    pub version: Version,
    pub environment: Environment,
    pub subject: Option<SubjectReference>,
    pub decided_us: i64,
    pub observed_us: i64,
    pub reported_by: String,
}

/// A report as it is kept.
#[derive(Debug, Clone, PartialEq)]
pub struct Outcome {
    pub decision: RecordId,
    /// From 1, in the order reports came.
    pub number: i64,
    pub value: serde_json::Value,
    pub note: Option<FreeText>,
    pub model: ModelName,
    pub version: Version,
    pub environment: Environment,
    pub decided_us: i64,
    pub observed_us: i64,
    pub reported_us: i64,
    pub reported_by: String,
    pub is_late: bool,
    /// Whether this report is the one that counts.
    pub is_current: bool,
}

/// What became of a report.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// The first of its decision.
    First,
    /// Known already; nothing was added.
    Repeated,
    /// It contradicts the one before and counts from now on.
    Replaces,
    /// It contradicts a later observation, which still counts.
    Superseded,
    /// It says the same as the current one, observed at another time.
    Confirms,
}

/// A kept report and what became of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kept {
    pub standing: Standing,
    pub is_late: bool,
}

/// Which outcomes that count, by the time of their decisions.
#[derive(Debug, Clone)]
pub struct OutcomeQuery {
    pub model: ModelName,
    pub environment: Option<Environment>,
    pub version: Option<Version>,
    pub from_us: i64,
    pub until_us: i64,
    /// After the last one of the page before.
    pub after: Option<(i64, RecordId)>,
    pub limit: usize,
}

/// What a person wrote about somebody. It does not print.
#[derive(Clone, PartialEq, Eq)]
pub struct FreeText(pub String);

impl Standing {
    /// The word that is told.
    pub fn as_str(self) -> &'static str {
        match self {
            Standing::First => "first",
            Standing::Repeated => "repeated",
            Standing::Replaces => "replaces",
            Standing::Superseded => "superseded",
            Standing::Confirms => "confirms",
        }
    }
}

impl Store {
    /// Keeps a report; see this module for what a late, repeated or contradicting one becomes.
    pub async fn add_outcome(
        &self,
        tenant: &Tenant,
        outcome: NewOutcome,
        now_us: i64,
    ) -> Result<Kept> {
        let value = outcome.value.to_string();
        bounded("value", &value, VALUE_BYTES_MAX)?;
        if let Some(note) = &outcome.note {
            bounded("note", &note.0, FREE_TEXT_BYTES_MAX)?;
        }
        let is_late = now_us.saturating_sub(outcome.decided_us) > LATE_AFTER_US;
        let mut transaction = self.database.begin().await?;
        lock(&mut transaction, self, outcome.decision).await?;
        let reports = reports(&mut transaction, tenant, outcome.decision).await?;
        let standing = judge(&reports, &outcome.value, outcome.observed_us);
        let kept = Kept { standing, is_late };
        if standing == Standing::Repeated {
            return Ok(kept);
        }
        if reports.len() >= REPORTS_MAX {
            return Err(Error::TooMany {
                what: "reports about this decision",
                count_max: REPORTS_MAX,
            });
        }
        let is_current = standing != Standing::Superseded;
        if is_current {
            let sql =
                "update store_outcomes set is_current = 0 where tenant = $1 and decision = $2";
            transaction
                .execute(sql, values![tenant, outcome.decision])
                .await?;
        }
        let sql = "insert into store_outcomes (tenant, decision, number, value, note, model, version, environment, \
            subject, decided_us, observed_us, reported_us, reported_by, is_late, is_current) \
            values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15)";
        let values = values![
            tenant,
            outcome.decision,
            reports.len() as i64 + 1,
            value,
            outcome.note.map(|note| note.0),
            &outcome.model,
            outcome.version,
            &outcome.environment,
            outcome.subject.map(|subject| subject.0),
            outcome.decided_us,
            outcome.observed_us,
            now_us,
            outcome.reported_by,
            is_late,
            is_current
        ];
        transaction.execute(sql, values).await?;
        transaction.commit().await?;
        Ok(kept)
    }

    /// Every report about a decision, in the order they came.
    pub async fn outcomes_of(&self, tenant: &Tenant, decision: RecordId) -> Result<Vec<Outcome>> {
        let rows = self
            .database
            .rows(REPORTS, values![tenant, decision])
            .await?;
        rows.iter().map(outcome).collect()
    }

    /// Outcomes that count, in order of their decisions' time.
    pub async fn outcomes(
        &self,
        tenant: &Tenant,
        query: &OutcomeQuery,
    ) -> Result<Page<Outcome, (i64, RecordId)>> {
        let sql = "select * from store_outcomes where tenant = $1 and model = $2 and is_current = 1 \
            and ($3 is null or environment = $3) and ($4 is null or version = $4) \
            and decided_us >= $5 and decided_us < $6 and (decided_us > $7 or (decided_us = $7 and decision > $8)) \
            order by decided_us, decision limit $9";
        let limit = page_rows(query.limit);
        let (after_us, after) = match query.after {
            Some((time_us, id)) => (time_us, id.as_bytes().to_vec()),
            None => (i64::MIN, Vec::new()),
        };
        let values = values![
            tenant,
            &query.model,
            query.environment.as_ref().map(ToString::to_string),
            query.version,
            query.from_us,
            query.until_us,
            after_us,
            after,
            limit
        ];
        let rows = self.database.rows(sql, values).await?;
        let items: Vec<Outcome> = rows.iter().map(outcome).collect::<Result<_>>()?;
        let is_full = items.len() as i64 == limit;
        let next = items
            .last()
            .filter(|_| is_full)
            .map(|last| (last.decided_us, last.decision));
        Ok(Page { items, next })
    }

    /// Every report about a person, for them to have.
    pub async fn outcomes_about(
        &self,
        tenant: &Tenant,
        subject: SubjectReference,
        limit: usize,
    ) -> Result<Vec<Outcome>> {
        let sql = "select * from store_outcomes where tenant = $1 and subject = $2 order by decided_us, decision, number \
            limit $3";
        let values = values![tenant, subject.0, page_rows(limit)];
        let rows = self.database.rows(sql, values).await?;
        rows.iter().map(outcome).collect()
    }
}

const REPORTS: &str =
    "select * from store_outcomes where tenant = $1 and decision = $2 order by number";

/// What a report becomes beside those that came before.
fn judge(reports: &[Outcome], value: &serde_json::Value, observed_us: i64) -> Standing {
    let is_same = |report: &Outcome| report.value == *value && report.observed_us == observed_us;
    if reports.iter().any(is_same) {
        return Standing::Repeated;
    }
    let Some(current) = reports.iter().find(|report| report.is_current) else {
        return Standing::First;
    };
    match (observed_us < current.observed_us, current.value == *value) {
        (true, _) => Standing::Superseded,
        (false, true) => Standing::Confirms,
        (false, false) => Standing::Replaces,
    }
}

/// Two reports about one decision come one after the other. SQLite has one writer anyway.
async fn lock(transaction: &mut Transaction, store: &Store, decision: RecordId) -> Result<()> {
    if let crate::database::Database::Postgres(_) = store.database {
        let bytes = decision.as_bytes();
        let number = bytes[8..]
            .iter()
            .fold(0i64, |number, byte| (number << 8) | i64::from(*byte));
        let sql = "select pg_advisory_xact_lock($1)";
        transaction.execute(sql, values![number]).await?;
    }
    Ok(())
}

async fn reports(
    transaction: &mut Transaction,
    tenant: &Tenant,
    decision: RecordId,
) -> Result<Vec<Outcome>> {
    let rows = transaction.rows(REPORTS, values![tenant, decision]).await?;
    rows.iter().map(outcome).collect()
}

fn outcome(row: &Row) -> Result<Outcome> {
    Ok(Outcome {
        decision: row.id("decision")?,
        number: row.whole("number")?,
        value: row.json("value")?,
        note: row.text_or_none("note", "note")?.map(FreeText),
        model: row.model("model")?,
        version: row.version("version")?,
        environment: row.parsed("environment")?,
        decided_us: row.whole("decided_us")?,
        observed_us: row.whole("observed_us")?,
        reported_us: row.whole("reported_us")?,
        reported_by: row.text("reported_by")?,
        is_late: row.truth("is_late")?,
        is_current: row.truth("is_current")?,
    })
}

impl fmt::Debug for FreeText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FreeText(…)")
    }
}
