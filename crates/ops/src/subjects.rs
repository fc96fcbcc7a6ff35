//! A person's rights over what the house holds about them, and what ends by age.
//!
//! Erasing goes through the rooms in an order that can be repeated: rows derived from the person, then the keys in the
//! ledger, whose wiping also takes what SQLite still has of the rows, then every cache, because one that does not answer must
//! not keep the keys alive. What fails half-way is asked again, and each step does nothing the second time.

use crate::error::{Error, Result};
use crate::ops::{Caller, Ops};
use crate::perform::new_id;
use ombud_core::ModelName;
use ombud_ledger::ledger::{Contents, OPENED_MAX};
use ombud_ledger::reader::{Cursor, Query};
use ombud_ledger::record::Record;
use ombud_ledger::{Erased, Kind, RecordId, Retained, Subject, SubjectReference, Tenant};
use ombud_store::outcome::Outcome;
use ombud_store::subject::Forgotten;

/// Records on one page of an export; each is opened, which is on record.
pub const EXPORT_PAGE_RECORDS: usize = 200;
/// Outcomes that an export brings along.
const EXPORT_OUTCOMES_MAX: usize = 1_000;

/// One page of what the house holds about a person.
#[derive(Debug, Clone)]
pub struct Export {
    /// Their records, newest first, with what was sealed in them.
    pub records: Vec<(Record, Contents)>,
    /// Reports about their decisions; with the first page only.
    pub outcomes: Vec<Outcome>,
    /// Where the next page begins.
    pub next: Option<Cursor>,
}

/// A person who was erased.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ErasedPerson {
    pub forgotten: Forgotten,
    pub erased: Erased,
}

impl Ops {
    /// A page of everything about a person. Who asked and why is on record before anything is opened.
    pub async fn export_subject(
        &self,
        tenant: &Tenant,
        caller: &Caller,
        subject: &Subject,
        reason: &str,
        after: Option<Cursor>,
    ) -> Result<Export> {
        let now_us = self.now_us();
        let Some(person) = self.reference(tenant, subject).await? else {
            return Ok(Export {
                records: Vec::new(),
                outcomes: Vec::new(),
                next: None,
            });
        };
        let query = Query {
            subject: Some(person),
            after,
            limit: EXPORT_PAGE_RECORDS.min(OPENED_MAX),
            ..Query::default()
        };
        let owner = tenant.clone();
        let page = self
            .shared
            .ledger
            .read(move |reader| reader.page(&owner, &query))
            .await?;
        let mut entry = caller.entry(new_id(now_us)?, Kind::Export, now_us);
        let detail = serde_json::json!({ "reason": reason, "records": page.records.len() });
        entry.detail = Some(detail.to_string());
        self.shared.ledger.append(tenant, entry).await?;
        let ids: Vec<RecordId> = page.records.iter().map(|record| record.id).collect();
        let opened = match ids.is_empty() {
            true => Vec::new(),
            false => {
                let act = caller.act(reason, now_us);
                self.shared.ledger.open_sealed(tenant, ids, act).await?
            }
        };
        let store = &self.shared.registry.store;
        let outcomes = match after {
            None => {
                store
                    .outcomes_about(tenant, person, EXPORT_OUTCOMES_MAX)
                    .await?
            }
            Some(_) => Vec::new(),
        };
        Ok(Export {
            records: opened
                .into_iter()
                .map(|opened| (opened.record, opened.contents))
                .collect(),
            outcomes,
            next: page.next,
        })
    }

    /// Destroys what can be known of a person; the chain still verifies. May be repeated until it succeeds.
    pub async fn erase_subject(
        &self,
        tenant: &Tenant,
        caller: &Caller,
        subject: Subject,
        reason: &str,
    ) -> Result<ErasedPerson> {
        let store = &self.shared.registry.store;
        let forgotten = match self.reference(tenant, &subject).await? {
            Some(person) => store.forget_subject(tenant, person).await?,
            None => Forgotten {
                outcomes: 0,
                idempotency_keys: 0,
            },
        };
        let act = caller.act(reason, self.now_us());
        let erased = self.shared.ledger.erase(tenant, subject, act).await;
        // An answer quotes its input in its reasons and does not say whose it was, so all of the tenant's go.
        let cleared = self.shared.cache.clear(tenant).await;
        let erased = erased?;
        // Last, because it may have to be repeated, and the keys must not wait for it.
        store.wipe_forgotten().await?;
        cleared.map_err(Error::CacheKeeps)?;
        Ok(ErasedPerson { forgotten, erased })
    }

    /// Ends what a model's decisions left behind before a moment: sealed inputs by month, outcomes by their decision's time.
    /// To be repeated until it is complete.
    pub async fn retain(
        &self,
        tenant: &Tenant,
        caller: &Caller,
        model: ModelName,
        before_us: i64,
        reason: &str,
    ) -> Result<Retained> {
        let store = &self.shared.registry.store;
        let outcomes = store.retain_outcomes(tenant, &model, before_us).await?;
        let (ledger, now_us) = (&self.shared.ledger, self.now_us());
        if outcomes > 0 {
            let mut entry = caller.entry(new_id(now_us)?, Kind::Retention, now_us);
            let detail = serde_json::json!({ "reason": reason, "outcomes_removed": outcomes });
            entry.model = Some(model.clone());
            entry.detail = Some(detail.to_string());
            ledger.append(tenant, entry).await?;
        }
        let act = caller.act(reason, now_us);
        let retained = ledger.retain(tenant, model, before_us, act).await?;
        if outcomes > 0 {
            store.wipe_forgotten().await?;
        }
        Ok(retained)
    }

    async fn reference(
        &self,
        tenant: &Tenant,
        subject: &Subject,
    ) -> Result<Option<SubjectReference>> {
        let (owner, subject) = (tenant.clone(), subject.clone());
        let find = move |reader: &ombud_ledger::Reader| reader.subject_reference(&owner, &subject);
        Ok(self.shared.ledger.read(find).await?)
    }
}
