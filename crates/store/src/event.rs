//! Events: what changed in the registry or in production, from what, to what, by whom and why, with the numbers.
//!
//! Written in the transaction that makes the change. The ledger has a record of the same act that cannot be changed; this
//! table is what people page through.

use crate::database::{Row, Transaction, values};
use crate::environment::Environment;
use crate::error::Result;
use crate::store::{Page, Store, bounded, page_rows};
use ombud_core::ModelName;
use ombud_ledger::{RecordId, Tenant};

/// Longest reason, and longest state in words.
pub const WORDS_BYTES_MAX: usize = 2_000;
/// Longest numbers.
pub const NUMBERS_BYTES_MAX: usize = 64 << 10;

/// Something that changed.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    pub id: RecordId,
    pub time_us: i64,
    /// One word: `deploy`, `promote`, `rollback`, `register`, `archive`, ….
    pub kind: String,
    pub model: Option<ModelName>,
    pub environment: Option<Environment>,
    /// Who, or what when it happened by itself.
    pub principal: String,
    /// Before, in words.
    pub was: String,
    /// After, in words.
    pub becomes: String,
    /// Why, in words.
    pub reason: String,
    /// With which numbers.
    pub numbers: serde_json::Value,
    /// Whether somebody overruled a gate.
    pub is_forced: bool,
}

/// Which events, newest first.
#[derive(Debug, Clone, Default)]
pub struct EventQuery {
    pub model: Option<ModelName>,
    pub environment: Option<Environment>,
    /// After the last one of the page before.
    pub after: Option<RecordId>,
    /// At most this many, and at most [`crate::store::PAGE_ROWS_MAX`].
    pub limit: usize,
}

impl Store {
    /// Writes down something that changed nothing in this database.
    pub async fn add_event(&self, tenant: &Tenant, event: &Event) -> Result<()> {
        let mut transaction = self.database.begin().await?;
        insert(&mut transaction, tenant, event).await?;
        transaction.commit().await
    }

    /// A page of events, newest first.
    pub async fn events(
        &self,
        tenant: &Tenant,
        query: &EventQuery,
    ) -> Result<Page<Event, RecordId>> {
        let sql = "select * from store_events where tenant = $1 and ($2 is null or model = $2) \
            and ($3 is null or environment = $3) and ($4 is null or id < $4) order by id desc limit $5";
        let limit = page_rows(query.limit);
        let after = query.after.map(|id| id.as_bytes().to_vec());
        let values = values![
            tenant,
            query.model.as_ref().map(ToString::to_string),
            query.environment.as_ref().map(ToString::to_string),
            crate::database::Value::Bytes(after),
            limit
        ];
        let rows = self.database.rows(sql, values).await?;
        let items: Vec<Event> = rows.iter().map(event).collect::<Result<_>>()?;
        let is_full = items.len() as i64 == limit;
        let next = items.last().filter(|_| is_full).map(|event| event.id);
        Ok(Page { items, next })
    }
}

pub(crate) async fn insert(
    transaction: &mut Transaction,
    tenant: &Tenant,
    event: &Event,
) -> Result<()> {
    let numbers = event.numbers.to_string();
    bounded("reason", &event.reason, WORDS_BYTES_MAX)?;
    bounded("state", &event.was, WORDS_BYTES_MAX)?;
    bounded("state", &event.becomes, WORDS_BYTES_MAX)?;
    bounded("numbers", &numbers, NUMBERS_BYTES_MAX)?;
    let sql = "insert into store_events (tenant, id, time_us, kind, model, environment, principal, was, becomes, \
        reason, numbers, is_forced) values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)";
    let values = values![
        tenant,
        event.id,
        event.time_us,
        event.kind.as_str(),
        event.model.as_ref().map(ToString::to_string),
        event.environment.as_ref().map(ToString::to_string),
        event.principal.as_str(),
        event.was.as_str(),
        event.becomes.as_str(),
        event.reason.as_str(),
        numbers,
        event.is_forced
    ];
    transaction.execute(sql, values).await.map(drop)
}

fn event(row: &Row) -> Result<Event> {
    let has_model = row.text_or_none("model", "model")?.is_some();
    let has_environment = row.text_or_none("environment", "environment")?.is_some();
    Ok(Event {
        id: row.id("id")?,
        time_us: row.whole("time_us")?,
        kind: row.text("kind")?,
        model: has_model.then(|| row.model("model")).transpose()?,
        environment: has_environment
            .then(|| row.parsed("environment"))
            .transpose()?,
        principal: row.text("principal")?,
        was: row.text("was")?,
        becomes: row.text("becomes")?,
        reason: row.text("reason")?,
        numbers: row.json("numbers")?,
        is_forced: row.truth("is_forced")?,
    })
}
