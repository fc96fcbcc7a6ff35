//! Idempotency keys: a retry gets the decision of the first try.
//!
//! Only the decision's id and a digest of the request are kept, never the answer: an answer is in the ledger, and its
//! reasons quote a person's inputs, which must not lie here in clear. The id is fixed before anything is decided; the
//! ledger refuses a second record of one id, so however many tries run at once, and whenever one dies, there is one decision.

use crate::database::values;
use crate::error::{Error, Result};
use crate::store::Store;
use ombud_core::Digest;
use ombud_ledger::{RecordId, SubjectReference, Tenant};

/// Longest key a caller may send.
pub const IDEMPOTENCY_KEY_BYTES_MAX: usize = 255;
/// How long a key is remembered.
pub const IDEMPOTENCY_AGE_MAX_US: i64 = 24 * 3_600 * 1_000_000;

/// What a caller's key stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reservation {
    /// This is the first try: decide under this id.
    First(RecordId),
    /// This came before; the decision has, or will have, this id.
    Again(RecordId),
}

/// A key as it came.
#[derive(Debug, Clone)]
pub struct Try<'a> {
    /// Who sent it: keys of two principals never meet.
    pub principal: &'a str,
    /// What they sent.
    pub key: &'a str,
    /// What identifies the request it came with.
    pub request: Digest,
    /// The id to decide under, should this be the first try.
    pub fresh: RecordId,
    /// Whom it is about, so that erasing them finds it.
    pub subject: Option<SubjectReference>,
}

impl Reservation {
    /// The decision's id.
    pub fn decision(self) -> RecordId {
        match self {
            Reservation::First(id) | Reservation::Again(id) => id,
        }
    }
}

impl Store {
    /// Ties a key to a decision's id, or finds the one it is tied to. The same key with another request is refused.
    pub async fn reserve(
        &self,
        tenant: &Tenant,
        came: Try<'_>,
        now_us: i64,
    ) -> Result<Reservation> {
        let is_plain = came.key.bytes().all(|byte| (0x21..=0x7e).contains(&byte));
        if came.key.is_empty() || came.key.len() > IDEMPOTENCY_KEY_BYTES_MAX || !is_plain {
            return Err(Error::Malformed {
                what: "idempotency key",
                came: came.key.chars().take(40).collect(),
                allowed: "1 to 255 visible ASCII characters",
            });
        }
        // One too old to count is taken over, as if the sweep had been here.
        let sql = "insert into store_idempotency (tenant, principal, idempotency_key, request, decision, subject, \
            created_us) values ($1, $2, $3, $4, $5, $6, $7) on conflict (tenant, principal, idempotency_key) \
            do update set request = excluded.request, decision = excluded.decision, subject = excluded.subject, \
            created_us = excluded.created_us where store_idempotency.created_us <= $8";
        let values = values![
            tenant,
            came.principal,
            came.key,
            came.request,
            came.fresh,
            came.subject.map(|subject| subject.0),
            now_us,
            now_us - IDEMPOTENCY_AGE_MAX_US
        ];
        let mut transaction = self.database.begin().await?;
        if transaction.execute(sql, values).await? == 1 {
            transaction.commit().await?;
            return Ok(Reservation::First(came.fresh));
        }
        let sql = "select request, decision from store_idempotency where tenant = $1 and principal = $2 \
            and idempotency_key = $3";
        let values = values![tenant, came.principal, came.key];
        let row = transaction.row(sql, values).await?;
        let row = row.ok_or(Error::Unreadable {
            what: "idempotency key",
        })?;
        let decision = row.id("decision")?;
        if row.digest("request")? != came.request {
            return Err(Error::IdempotencyMismatch { decision });
        }
        Ok(Reservation::Again(decision))
    }

    /// Lets go of a key whose try was refused before anything was decided, so that a mended request may use it.
    pub async fn release(
        &self,
        tenant: &Tenant,
        principal: &str,
        key: &str,
        decision: RecordId,
    ) -> Result<()> {
        let sql = "delete from store_idempotency where tenant = $1 and principal = $2 and idempotency_key = $3 \
            and decision = $4";
        let values = values![tenant, principal, key, decision];
        self.database.execute(sql, values).await.map(drop)
    }

    /// Removes keys too old to count, of every tenant; how many. Nobody learns whose they were.
    pub async fn sweep_idempotency(&self, now_us: i64) -> Result<u64> {
        let sql = "delete from store_idempotency where created_us <= $1";
        let values = values![now_us - IDEMPOTENCY_AGE_MAX_US];
        self.database.execute(sql, values).await
    }
}
