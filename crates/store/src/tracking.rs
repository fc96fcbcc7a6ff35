//! Experiments, runs and logged models: what people tried, with what, and how well it did.
//!
//! The nouns are those of MLflow's clients, because it is they who write here and read back; the protocol itself is known
//! above. [`filter`] reads the clients' filter language, [`search`] turns it into SQL, [`listing`] shows the registry in
//! the clients' words. What a client deletes is marked, not removed, because it may bring it back.

pub mod experiment;
pub mod filter;
pub mod listing;
pub mod logged_model;
pub mod metric;
pub mod run;
pub mod search;

pub use experiment::Experiment;
pub use filter::FilterError;
pub use metric::Point;
pub use run::Run;
pub use search::SearchQuery;

use crate::database::{Transaction, Value, values};
use crate::error::{Error, Result};
use crate::store::bounded;
use ombud_ledger::Tenant;
use sqlx::AssertSqlSafe;

/// Longest key of a param, a tag or a metric.
pub const KEY_BYTES_MAX: usize = 250;
/// Longest value of a param; a longer one is cut, as MLflow's server does.
pub const PARAM_CHARS_MAX: usize = 6_000;
/// Longest value of a tag; a longer one is cut.
pub const TAG_CHARS_MAX: usize = 8_000;
/// Longest name of an experiment, a run or a logged model.
pub const NAME_BYTES_MAX: usize = 500;
/// Rows in one statement: enough to make its cost small, few enough for either database's bound on values.
const ROWS_AT_ONCE: usize = 200;
/// Keys in one statement that reads.
const KEYS_AT_ONCE: usize = 500;

/// A name and a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pair {
    pub key: String,
    pub value: String,
}

/// Which of the living and the deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum View {
    #[default]
    Active,
    Deleted,
    All,
}

impl Pair {
    /// A pair.
    pub fn new(key: impl Into<String>, value: impl Into<String>) -> Self {
        Pair {
            key: key.into(),
            value: value.into(),
        }
    }
}

impl View {
    /// As a condition on `e`.
    fn condition(self) -> &'static str {
        match self {
            View::Active => " and e.deleted_ms is null",
            View::Deleted => " and e.deleted_ms is not null",
            View::All => "",
        }
    }
}

/// The next number of a tenant's series. Whoever asks next waits until this transaction ends.
async fn next_number(transaction: &mut Transaction, tenant: &Tenant, series: &str) -> Result<i64> {
    let sql = "insert into store_counters (tenant, name, value) values ($1, $2, 1) \
        on conflict (tenant, name) do update set value = store_counters.value + 1 returning value";
    let row = transaction.row(sql, values![tenant, series]).await?;
    row.ok_or(Error::Unreadable { what: "counter" })?
        .whole("value")
}

/// A new id: 128 random bits.
fn random_id() -> Result<String> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes)?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// Writes rows by few statements. Every row begins with `shared`, which is bound once a statement.
async fn insert_rows(
    transaction: &mut Transaction,
    head: &str,
    shared: Vec<Value>,
    rows: Vec<Vec<Value>>,
    tail: &str,
) -> Result<()> {
    let mut rows = rows.into_iter().peekable();
    while rows.peek().is_some() {
        let mut sql = head.to_owned();
        let mut bound = shared.clone();
        for (place, row) in rows.by_ref().take(ROWS_AT_ONCE).enumerate() {
            sql.push_str(if place == 0 { " values (" } else { ", (" });
            let holders = (1..=shared.len()).chain(bound.len() + 1..=bound.len() + row.len());
            for (place, holder) in holders.enumerate() {
                let comma = if place == 0 { "$" } else { ", $" };
                sql.push_str(comma);
                sql.push_str(&holder.to_string());
            }
            sql.push(')');
            bound.extend(row);
        }
        sql.push(' ');
        sql.push_str(tail);
        transaction.execute(AssertSqlSafe(sql), bound).await?;
    }
    Ok(())
}

/// `$2, $3, …` for so many values after the first.
fn holders(count: usize) -> String {
    let holders: Vec<String> = (2..count + 2).map(|place| format!("${place}")).collect();
    holders.join(", ")
}

/// A key that can be kept.
fn checked_key(what: &'static str, key: &str) -> Result<()> {
    bounded(what, key, KEY_BYTES_MAX)?;
    let is_plain = |c: char| !c.is_control();
    let is_path = key.starts_with('/') || key.split('/').any(|part| part == "..");
    if key.is_empty() || is_path || !key.chars().all(is_plain) {
        return Err(Error::Malformed {
            what,
            came: key.chars().take(80).collect(),
            allowed: "a name that is not empty, without control characters, and no path out of its folder",
        });
    }
    Ok(())
}

/// Names and values, each of which may be kept; values that are too long are cut.
fn checked_pairs(what: &'static str, pairs: &[Pair], chars_max: usize) -> Result<Vec<Pair>> {
    let mut checked: Vec<Pair> = Vec::with_capacity(pairs.len());
    for pair in pairs {
        checked_key(what, &pair.key)?;
        let value = match pair.value.char_indices().nth(chars_max) {
            Some((end, _)) => &pair.value[..end],
            None => &pair.value,
        };
        bounded(what, value, chars_max * 4)?;
        checked.push(Pair::new(pair.key.as_str(), value));
    }
    Ok(checked)
}

/// One statement cannot set a key twice: the last word counts.
fn last_of_each(pairs: Vec<Pair>) -> Vec<Pair> {
    let mut last: Vec<Pair> = Vec::with_capacity(pairs.len());
    let mut places = std::collections::HashMap::new();
    for pair in pairs {
        match places.get(&pair.key) {
            Some(place) => last[*place] = pair,
            None => {
                places.insert(pair.key.clone(), last.len());
                last.push(pair);
            }
        }
    }
    last
}

fn pair_rows(pairs: Vec<Pair>) -> Vec<Vec<Value>> {
    pairs
        .into_iter()
        .map(|pair| values![pair.key, pair.value])
        .collect()
}
