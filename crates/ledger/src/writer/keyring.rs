//! The data keys a writer has in memory, so that a person who comes back costs no unwrapping.
//!
//! Bounded by two generations: when the young one is full it becomes the old one, and what nobody asked for meanwhile
//! is dropped with the old one before it.

use crate::error::Error;
use crate::master::{MasterKey, Purpose};
use crate::name::Tenant;
use crate::record::KeyId;
use crate::seal::{DataKey, Secret, fresh_secret};
use crate::tables::{KeyRow, Slot, Wrapped};
use std::collections::HashMap;
use std::sync::Arc;

/// Keys in one generation; about 200 bytes each. Larger than any group, so that a group's keys are never dropped
/// before it is sealed.
const GENERATION_KEYS_MAX: usize = 16_384;

/// The ring.
#[derive(Default)]
pub(super) struct Keyring {
    young: HashMap<Slot, DataKey>,
    old: HashMap<Slot, DataKey>,
    troubled: HashMap<Slot, Error>,
}

impl Keyring {
    /// Whether the key is here; one from the old generation becomes young again.
    pub fn holds(&mut self, slot: &Slot) -> bool {
        if self.young.contains_key(slot) {
            return true;
        }
        match self.old.remove(slot) {
            Some(key) => {
                self.put(slot.clone(), key);
                true
            }
            None => false,
        }
    }

    /// The key of a slot, or why it is not here.
    pub fn get(&self, slot: &Slot) -> Result<DataKey, Error> {
        let key = self.young.get(slot).or_else(|| self.old.get(slot));
        let trouble = || self.troubled.get(slot).cloned().unwrap_or(Error::Closed);
        key.cloned().ok_or_else(trouble)
    }

    /// Unwraps a stored key.
    pub fn admit(
        &mut self,
        master: &Arc<dyn MasterKey>,
        tenant: &Tenant,
        slot: Slot,
        row: &KeyRow,
    ) {
        match master.unwrap(&row.wrapped.bytes, &purpose(tenant, &row.id)) {
            Ok(secret) => self.put(slot, DataKey::new(row.id, &secret)),
            Err(error) => self.note(slot, error.into()),
        }
    }

    /// Makes a new key; what is to be stored.
    pub fn make(
        &mut self,
        master: &Arc<dyn MasterKey>,
        tenant: &Tenant,
        slot: Slot,
    ) -> Option<(Tenant, Slot, KeyRow)> {
        match fresh_key(master, tenant) {
            Ok((secret, row)) => {
                self.put(slot.clone(), DataKey::new(row.id, &secret));
                Some((tenant.clone(), slot, row))
            }
            Err(error) => {
                self.note(slot, error);
                None
            }
        }
    }

    /// Drops every key.
    pub fn clear(&mut self) {
        *self = Keyring::default();
    }

    fn put(&mut self, slot: Slot, key: DataKey) {
        if self.young.len() >= GENERATION_KEYS_MAX {
            self.old = std::mem::take(&mut self.young);
            self.troubled.clear();
        }
        self.troubled.remove(&slot);
        self.young.insert(slot, key);
    }

    fn note(&mut self, slot: Slot, error: Error) {
        if self.troubled.len() >= GENERATION_KEYS_MAX {
            self.troubled.clear();
        }
        self.troubled.insert(slot, error);
    }
}

/// What a data key is wrapped for.
pub(crate) fn purpose<'a>(tenant: &'a Tenant, id: &'a KeyId) -> Purpose<'a> {
    Purpose {
        role: "data",
        tenant: tenant.as_str(),
        name: &id.0,
    }
}

fn fresh_key(master: &Arc<dyn MasterKey>, tenant: &Tenant) -> Result<(Secret, KeyRow), Error> {
    let mut id = KeyId([0; KeyId::BYTES]);
    getrandom::fill(&mut id.0)?;
    let secret = fresh_secret()?;
    let bytes = master.wrap(&secret, &purpose(tenant, &id))?;
    let wrapped = Wrapped {
        bytes,
        master: master.id().to_owned(),
    };
    Ok((secret, KeyRow { id, wrapped }))
}
