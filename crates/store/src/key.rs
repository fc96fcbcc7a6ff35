//! API keys: `omb_` and eight visible characters, then the secret.
//!
//! A caller shows a key and nothing else, so the key's hash alone finds the row, and the row names the tenant. Nobody can
//! ask by prefix, or by part of a hash, across tenants.

use crate::database::{Row, values};
use crate::error::{Error, Result};
use crate::role::{Role, Scopes};
use crate::secret::{self, SECRET_TEXT_BYTES_MAX, SecretText};
use crate::store::{Store, Topic, bounded, touch};
use ombud_ledger::Tenant;

/// What every key begins with, so that scanners for leaked secrets can know it.
pub const KEY_START: &str = "omb_";
/// How many characters of a key stay visible after its start.
const VISIBLE_LENGTH: usize = 8;
/// Longest label.
pub const LABEL_BYTES_MAX: usize = 200;
/// How stale `last_used_us` may be: a busy key is not written on every call.
pub const LAST_USED_STALE_US: i64 = 60_000_000;

/// A key as it is known after it was shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key {
    pub tenant: Tenant,
    /// Its visible part, unique within the tenant: `omb_1a2b3c4d`.
    pub prefix: String,
    /// What it is for.
    pub label: String,
    pub role: Role,
    pub scopes: Scopes,
    pub created_us: i64,
    pub created_by: String,
    /// The moment it stops working.
    pub expires_us: Option<i64>,
    pub revoked_us: Option<i64>,
    /// When it was last used, at most [`LAST_USED_STALE_US`] too early.
    pub last_used_us: Option<i64>,
}

/// A key to be made.
#[derive(Debug, Clone)]
pub struct NewKey {
    /// From [`fresh_prefix`], so that it can be on record before the key is made.
    pub prefix: String,
    pub label: String,
    pub role: Role,
    pub scopes: Scopes,
    pub expires_us: Option<i64>,
    pub created_by: String,
}

impl Key {
    /// Whether it works at a moment.
    pub fn is_valid_at(&self, now_us: i64) -> bool {
        self.revoked_us.is_none() && self.expires_us.is_none_or(|end| now_us < end)
    }
}

impl Store {
    /// Makes a key. Its text is in the answer and nowhere else.
    pub async fn add_key(
        &self,
        tenant: &Tenant,
        key: NewKey,
        now_us: i64,
    ) -> Result<(Key, SecretText)> {
        bounded("label", &key.label, LABEL_BYTES_MAX)?;
        bounded("principal", &key.created_by, LABEL_BYTES_MAX * 2)?;
        let text = SecretText::generate(&format!("{}_", key.prefix))?;
        let sql = "insert into store_keys (tenant, prefix, label, role, scopes, secret_hash, created_us, created_by, \
            expires_us) values ($1, $2, $3, $4, $5, $6, $7, $8, $9)";
        let values = values![
            tenant,
            key.prefix.as_str(),
            key.label.as_str(),
            key.role.as_str(),
            key.scopes.to_text(),
            text.hash(),
            now_us,
            key.created_by.as_str(),
            key.expires_us
        ];
        let mut transaction = self.database.begin().await?;
        transaction.execute(sql, values).await?;
        touch(&mut transaction, tenant, Topic::Principals).await?;
        transaction.commit().await?;
        let made = Key {
            tenant: tenant.clone(),
            prefix: key.prefix,
            label: key.label,
            role: key.role,
            scopes: key.scopes,
            created_us: now_us,
            created_by: key.created_by,
            expires_us: key.expires_us,
            revoked_us: None,
            last_used_us: None,
        };
        Ok((made, text))
    }

    /// The key that a caller shows, when it works now. Unknown, expired and revoked are one answer.
    pub async fn authenticate_key(&self, text: &str, now_us: i64) -> Result<Key> {
        if !text.starts_with(KEY_START) || text.len() > SECRET_TEXT_BYTES_MAX {
            return Err(Error::Unauthenticated);
        }
        let sql = "select * from store_keys where secret_hash = $1";
        let row = self.database.row(sql, values![secret::hash(text)]).await?;
        let key = row.as_ref().map(key).transpose()?;
        key.filter(|key| key.is_valid_at(now_us))
            .ok_or(Error::Unauthenticated)
    }

    /// Notes that a key was used, when the last note is older than [`LAST_USED_STALE_US`].
    pub async fn key_used(&self, key: &Key, now_us: i64) -> Result<()> {
        if key
            .last_used_us
            .is_some_and(|last| now_us < last + LAST_USED_STALE_US)
        {
            return Ok(());
        }
        let sql = "update store_keys set last_used_us = $3 where tenant = $1 and prefix = $2 \
            and (last_used_us is null or last_used_us < $3)";
        let values = values![&key.tenant, key.prefix.as_str(), now_us];
        self.database.execute(sql, values).await.map(drop)
    }

    /// A tenant's keys, newest first.
    pub async fn keys(&self, tenant: &Tenant) -> Result<Vec<Key>> {
        let sql = "select * from store_keys where tenant = $1 order by created_us desc, prefix";
        let rows = self.database.rows(sql, values![tenant]).await?;
        rows.iter().map(key).collect()
    }

    /// A key by its visible part.
    pub async fn key(&self, tenant: &Tenant, prefix: &str) -> Result<Option<Key>> {
        let sql = "select * from store_keys where tenant = $1 and prefix = $2";
        let row = self.database.row(sql, values![tenant, prefix]).await?;
        row.as_ref().map(key).transpose()
    }

    /// Withdraws a key for good. Twice is as once.
    pub async fn revoke_key(&self, tenant: &Tenant, prefix: &str, now_us: i64) -> Result<Key> {
        let sql = "update store_keys set revoked_us = coalesce(revoked_us, $3) where tenant = $1 and prefix = $2 \
            returning *";
        let mut transaction = self.database.begin().await?;
        let row = transaction
            .row(sql, values![tenant, prefix, now_us])
            .await?;
        let Some(row) = row else {
            return Err(Error::NotFound {
                what: "key",
                name: prefix.chars().take(40).collect(),
            });
        };
        touch(&mut transaction, tenant, Topic::Principals).await?;
        transaction.commit().await?;
        key(&row)
    }
}

fn key(row: &Row) -> Result<Key> {
    let scopes = Scopes::from_text(&row.text("scopes")?);
    Ok(Key {
        tenant: row.parsed("tenant")?,
        prefix: row.text("prefix")?,
        label: row.text("label")?,
        role: row.parsed("role")?,
        scopes: scopes.map_err(|_| Error::Unreadable { what: "scopes" })?,
        created_us: row.whole("created_us")?,
        created_by: row.text("created_by")?,
        expires_us: row.time_or_none("expires_us")?,
        revoked_us: row.time_or_none("revoked_us")?,
        last_used_us: row.time_or_none("last_used_us")?,
    })
}

/// The visible part of a new key: characters that are read aloud without mistakes, no `0`, `o`, `1`, `l`.
pub fn fresh_prefix() -> Result<String> {
    const LETTERS: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyz23456789";
    let mut random = [0; VISIBLE_LENGTH];
    getrandom::fill(&mut random)?;
    let letters = random
        .iter()
        .map(|byte| char::from(LETTERS[usize::from(byte % 32)]));
    Ok(KEY_START.chars().chain(letters).collect())
}
