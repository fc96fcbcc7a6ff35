//! Aliases: names that people give to versions and move on, with every move remembered.

use crate::database::{Row, Transaction, values};
use crate::error::{Error, Result};
use crate::model::lock;
use crate::store::{Store, bounded, page_rows};
use crate::version::no_version;
use ombud_core::{ModelName, Version};
use ombud_ledger::Tenant;
use std::collections::BTreeMap;

/// Longest alias.
pub const ALIAS_LENGTH_MAX: usize = 255;
/// Longest reason for a change.
pub const REASON_BYTES_MAX: usize = 1_000;
/// The alias that is computed and can be given to nothing.
const LATEST: &str = "latest";

/// One assignment in an alias's history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Assignment {
    /// From 1, in order.
    pub number: i64,
    /// What it named from then on; none when it was withdrawn.
    pub version: Option<Version>,
    pub time_us: i64,
    pub principal: String,
    pub reason: String,
}

/// A change of an alias: to what, by whom, why.
#[derive(Debug, Clone)]
pub struct NewAssignment {
    pub version: Option<Version>,
    pub principal: String,
    pub reason: String,
}

impl Store {
    /// Gives an alias to a version, or withdraws it.
    pub async fn set_alias(
        &self,
        tenant: &Tenant,
        model: &ModelName,
        alias: &str,
        change: NewAssignment,
        now_us: i64,
    ) -> Result<()> {
        if !is_alias(alias) {
            return Err(Error::Malformed {
                what: "alias",
                came: alias.chars().take(80).collect(),
                allowed: "letters, digits, _ and -, a letter among them; neither latest nor v and a number",
            });
        }
        bounded("reason", &change.reason, REASON_BYTES_MAX)?;
        let mut transaction = self.database.begin().await?;
        lock(&mut transaction, tenant, model).await?;
        if let Some(version) = change.version {
            require_listed(&mut transaction, tenant, model, version).await?;
        }
        let sql = "insert into store_aliases (tenant, model, alias, number, version, time_us, principal, reason) \
            values ($1, $2, $3, (select coalesce(max(number), 0) + 1 from store_aliases \
            where tenant = $1 and model = $2 and alias = $3), $4, $5, $6, $7)";
        let values = values![
            tenant,
            model,
            alias,
            change.version,
            now_us,
            change.principal,
            change.reason
        ];
        transaction.execute(sql, values).await?;
        transaction.commit().await
    }

    /// What an alias names now.
    pub async fn alias(
        &self,
        tenant: &Tenant,
        model: &ModelName,
        alias: &str,
    ) -> Result<Option<Version>> {
        let sql = "select version from store_aliases where tenant = $1 and model = $2 and alias = $3 \
            order by number desc limit 1";
        let row = self
            .database
            .row(sql, values![tenant, model, alias])
            .await?;
        row.map_or(Ok(None), |row| row.version_or_none("version"))
    }

    /// A model's aliases that name something now.
    pub async fn aliases(
        &self,
        tenant: &Tenant,
        model: &ModelName,
    ) -> Result<BTreeMap<String, Version>> {
        let sql = "select a.alias, a.version from store_aliases a where a.tenant = $1 and a.model = $2 \
            and a.version is not null and a.number = (select max(b.number) from store_aliases b \
            where b.tenant = a.tenant and b.model = a.model and b.alias = a.alias)";
        let rows = self.database.rows(sql, values![tenant, model]).await?;
        rows.iter()
            .map(|row| Ok((row.text("alias")?, row.version("version")?)))
            .collect()
    }

    /// Every assignment of an alias, newest first; at most a page.
    pub async fn alias_history(
        &self,
        tenant: &Tenant,
        model: &ModelName,
        alias: &str,
    ) -> Result<Vec<Assignment>> {
        let sql = "select * from store_aliases where tenant = $1 and model = $2 and alias = $3 \
            order by number desc limit $4";
        let values = values![tenant, model, alias, page_rows(usize::MAX)];
        let rows = self.database.rows(sql, values).await?;
        rows.iter().map(assignment).collect()
    }
}

/// A name that can be told from a number, a label and what is computed.
fn is_alias(text: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
    let has_letter = text.contains(|c: char| c.is_ascii_alphabetic());
    let rest = text.strip_prefix(['v', 'V']).unwrap_or_default();
    let is_number = !rest.is_empty() && rest.bytes().all(|byte| byte.is_ascii_digit());
    has_letter
        && !text.starts_with('-')
        && text.len() <= ALIAS_LENGTH_MAX
        && text.bytes().all(is_plain)
        && !is_number
        && !text.eq_ignore_ascii_case(LATEST)
}

/// A version may have an alias also when nothing here can serve it.
async fn require_listed(
    transaction: &mut Transaction,
    tenant: &Tenant,
    model: &ModelName,
    version: Version,
) -> Result<()> {
    let sql =
        "select 1 from store_listed_versions where tenant = $1 and model = $2 and version = $3";
    let row = transaction
        .row(sql, values![tenant, model, version])
        .await?;
    row.map(drop)
        .ok_or_else(|| no_version(model, &version.to_string()))
}

fn assignment(row: &Row) -> Result<Assignment> {
    Ok(Assignment {
        number: row.whole("number")?,
        version: row.version_or_none("version")?,
        time_us: row.whole("time_us")?,
        principal: row.text("principal")?,
        reason: row.text("reason")?,
    })
}
