//! Acts on keys: a person's are destroyed, a model's old ones, or all are wrapped anew.
//!
//! Each is one transaction with the record that proves it, and ends in wiping what it left in files.

use super::{RETRY_AFTER_MS, Writer, keyring, reference_purpose};
use crate::entry::{Act, Subject};
use crate::error::Error;
use crate::ledger::{Erased, Retained, Rewrapped};
use crate::master::{MasterKeyError, Purpose};
use crate::name::Tenant;
use crate::record::{Kind, RecordId};
use crate::seal::month;
use crate::tables::{Doomed, Wrapped};
use ombud_core::ModelName;
use std::sync::Arc;

/// How many keys one act of retention destroys; the caller repeats until none are left.
const KEYS_DESTROYED_MAX: usize = 50_000;
/// How many keys one act of re-wrapping takes; the caller repeats until none are left.
const KEYS_REWRAPPED_MAX: usize = 1_000;

impl Writer {
    pub(super) fn erase(
        &mut self,
        tenant: &Tenant,
        subject: &Subject,
        act: &Act,
    ) -> Result<Erased, Error> {
        let erased = self.in_transaction(|writer| {
            let reference = writer.lane(tenant)?.reference.of(subject.expose());
            let keys =
                writer
                    .tables
                    .destroy_keys(tenant, Doomed::Subject(&reference), usize::MAX)?;
            let detail = serde_json::json!({ "reason": act.reason, "keys_destroyed": keys });
            let mut entry = act.entry(
                RecordId::generate(act.time_us).map_err(Error::from)?,
                Kind::Erasure,
                detail.to_string(),
            );
            entry.subject = Some(subject.clone());
            let recorded = writer.record_one(tenant, entry)?;
            Ok(Erased {
                subject: reference,
                keys_destroyed: keys,
                recorded,
            })
        })?;
        self.wipe()?;
        Ok(erased)
    }

    pub(super) fn retain(
        &mut self,
        tenant: &Tenant,
        model: &ModelName,
        before_us: i64,
        act: &Act,
    ) -> Result<Retained, Error> {
        let doomed = Doomed::Older {
            model,
            month: month(before_us),
        };
        let retained = self.in_transaction(|writer| {
            let keys = writer.tables.destroy_keys(tenant, doomed, KEYS_DESTROYED_MAX)?;
            let detail = serde_json::json!({ "reason": act.reason, "keys_destroyed": keys, "before_us": before_us });
            let mut entry = act.entry(RecordId::generate(act.time_us).map_err(Error::from)?, Kind::Retention, detail.to_string());
            entry.model = Some(model.clone());
            // A policy is applied again and again, and mostly finds nothing.
            let recorded = match keys {
                0 => None,
                _ => Some(writer.record_one(tenant, entry)?),
            };
            Ok(Retained { keys_destroyed: keys, is_complete: keys < KEYS_DESTROYED_MAX, recorded })
        })?;
        if retained.recorded.is_some() {
            self.wipe()?;
        }
        Ok(retained)
    }

    /// Wraps anew, by the current master key, keys that another one wrapped; all tenants', because they share it.
    pub(super) fn rewrap(
        &mut self,
        tenant: &Tenant,
        after: i64,
        act: &Act,
    ) -> Result<Rewrapped, Error> {
        let master = Arc::clone(&self.equipment.master);
        let anew = |wrapped: &[u8], purpose: &Purpose<'_>| {
            let secret = master.unwrap(wrapped, purpose)?;
            Ok::<_, MasterKeyError>(Wrapped {
                bytes: master.wrap(&secret, purpose)?,
                master: master.id().to_owned(),
            })
        };
        let rewrapped = self.in_transaction(|writer| {
            let mut references = 0;
            for (owner, wrapped) in writer.tables.references_of_others(master.id())? {
                let wrapped = anew(&wrapped, &reference_purpose(&owner)).map_err(Error::from)?;
                writer.tables.rewrap_reference(&owner, &wrapped)?;
                references += 1;
            }
            let old = writer
                .tables
                .keys_of_others(master.id(), after, KEYS_REWRAPPED_MAX)?;
            let mut unreadable = 0;
            for key in &old {
                match anew(&key.wrapped, &keyring::purpose(&key.tenant, &key.id)) {
                    Ok(wrapped) => writer.tables.rewrap_key(key.number, &wrapped)?,
                    // A damaged one stays as it is and keeps nobody else's from being wrapped.
                    Err(MasterKeyError::DoesNotUnwrap { .. }) => unreadable += 1,
                    Err(error) => return Err(Error::from(error).into()),
                }
            }
            let keys = old.len() - unreadable;
            let detail = serde_json::json!({
                "did": "wrap keys anew", "reason": act.reason, "master": master.id(), "keys": keys,
                "reference_keys": references, "unreadable": unreadable,
            });
            let id = RecordId::generate(act.time_us).map_err(Error::from)?;
            let entry = act.entry(id, Kind::KeyChange, detail.to_string());
            let next = old
                .last()
                .map(|key| key.number)
                .filter(|_| old.len() == KEYS_REWRAPPED_MAX);
            Ok(Rewrapped {
                keys,
                references,
                unreadable,
                next,
                recorded: writer.record_one(tenant, entry)?,
            })
        })?;
        self.wipe()?;
        Ok(rewrapped)
    }

    /// Wipes destroyed keys from the files. When a reader stands in the way, it is tried again later.
    pub(super) fn wipe(&mut self) -> Result<(), Error> {
        self.is_wipe_due = !self.tables.wipe()?;
        if self.is_wipe_due {
            return Err(Error::NotWiped {
                retry_after_ms: RETRY_AFTER_MS,
            });
        }
        Ok(())
    }
}
