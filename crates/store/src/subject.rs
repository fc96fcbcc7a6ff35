//! What the store holds about one person, and how it forgets them.
//!
//! A person is known here only by the ledger's keyed reference. Erasing comes before the ledger destroys the person's keys,
//! because the ledger's own wiping then takes what SQLite still has of these rows in its write-ahead log.

use crate::database::values;
use crate::error::Result;
use crate::store::{Store, Topic, touch};
use ombud_core::ModelName;
use ombud_ledger::{SubjectReference, Tenant};

/// What was removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Forgotten {
    /// Reports of outcomes that lost their free text and their tie to the person.
    pub outcomes: u64,
    /// Idempotency keys.
    pub idempotency_keys: u64,
}

impl Store {
    /// Removes what was derived from a person: outcomes lose their free text and their tie to the person, idempotency keys
    /// go. Replicas are told, so that they empty their caches.
    pub async fn forget_subject(
        &self,
        tenant: &Tenant,
        subject: SubjectReference,
    ) -> Result<Forgotten> {
        let mut transaction = self.database.begin().await?;
        let sql = "update store_outcomes set note = null, subject = null where tenant = $1 and subject = $2";
        let outcomes = transaction.execute(sql, values![tenant, subject.0]).await?;
        let sql = "delete from store_idempotency where tenant = $1 and subject = $2";
        let idempotency_keys = transaction.execute(sql, values![tenant, subject.0]).await?;
        touch(&mut transaction, tenant, Topic::Erasures).await?;
        transaction.commit().await?;
        Ok(Forgotten {
            outcomes,
            idempotency_keys,
        })
    }

    /// Removes the outcomes of a model's decisions from before a moment; how many reports.
    pub async fn retain_outcomes(
        &self,
        tenant: &Tenant,
        model: &ModelName,
        before_us: i64,
    ) -> Result<u64> {
        let sql = "delete from store_outcomes where tenant = $1 and model = $2 and decided_us < $3";
        let values = values![tenant, model, before_us];
        self.database.execute(sql, values).await
    }
}
