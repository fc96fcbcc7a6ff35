//! What the store holds about one person, and how it forgets them.
//!
//! A person is known here only by the ledger's keyed reference. Erasing comes before the ledger destroys the person's keys,
//! because the ledger's own wiping then takes what SQLite still has of these rows in its write-ahead log. PostgreSQL leaves
//! what a row was in its page, also when it is vacuumed, so the tables are written anew there.

use crate::database::values;
use crate::error::Result;
use crate::store::{Store, Topic, touch};
use ombud_core::ModelName;
use ombud_ledger::{SubjectReference, Tenant};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::Mutex;

/// What writes the tables anew that hold something derived from a person. A column that gets its own type by an expression makes
/// a new file of the living rows alone; a full vacuum would carry over whatever some old snapshot might still see.
const REWRITES: &[&str] = &[
    "alter table store_outcomes alter column note type text using note || ''",
    "alter table store_idempotency alter column request type bytea using request || ''::bytea",
];

/// How long an erasure waits for a table.
const LOCK_WAIT: Duration = Duration::from_secs(5);

/// What was removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Forgotten {
    /// Reports of outcomes that lost their free text and their tie to the person.
    pub outcomes: u64,
    /// Idempotency keys.
    pub idempotency_keys: u64,
}

/// Who asked for a rewriting, and up to whom one has served.
#[derive(Debug, Default)]
pub(crate) struct Rewriting {
    asked: AtomicU64,
    served: Mutex<u64>,
}

impl Store {
    /// Removes what was derived from a person: outcomes lose their free text and their tie to the person, idempotency keys
    /// go. Replicas are told, so that they empty their caches. Its bytes end with [`Store::wipe_forgotten`].
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

    /// Wipes what was removed from PostgreSQL's files: returns when the tables were written anew after this call. One
    /// rewriting serves all who asked before it began. It fails when somebody reads the tables for long, a backup perhaps;
    /// then it is asked again.
    pub async fn wipe_forgotten(&self) -> Result<()> {
        let Rewriting { asked, served } = &*self.rewriting;
        let mine = asked.fetch_add(1, Ordering::SeqCst) + 1;
        let mut served = served.lock().await;
        if *served < mine {
            let serves = asked.load(Ordering::SeqCst);
            self.database.rewrite(REWRITES, LOCK_WAIT).await?;
            *served = serves;
        }
        Ok(())
    }
}
