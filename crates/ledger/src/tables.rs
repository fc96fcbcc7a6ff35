//! The seam to the database: what the writer and the readers ask of it, and nothing of how a chain works.
//!
//! Two traits, because writing happens on one connection in one thread and reading on many. Both block: the writer has
//! a thread of its own, and readers are called where blocking is allowed.

pub(crate) mod page;
pub(crate) mod postgres;
pub(crate) mod sqlite;

use crate::checkpoint::SignedCheckpoint;
use crate::error::StorageError;
use crate::name::{LaneName, Tenant};
use crate::record::{KeyId, RawRecord, Record, RecordId, SubjectReference};
use ombud_core::{Digest, ModelName};
use page::PageQuery;
use std::ops::ControlFlow;

pub(crate) type Result<T> = std::result::Result<T, StorageError>;

/// How many records a lane may have, as a power of two: a thousand a second for thirty years.
pub(crate) const SEQUENCE_BITS: u32 = 40;

/// The last record of a lane.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Head {
    pub sequence: u64,
    pub hash: Digest,
}

/// A lane as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LaneRow {
    pub number: i64,
    pub tenant: Tenant,
    pub name: LaneName,
}

/// A wrapped secret and which master key wrapped it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Wrapped {
    pub bytes: Vec<u8>,
    pub master: String,
}

/// What a data key is for: one person, one model, one month, one lane.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Slot {
    pub lane: i64,
    pub subject: Option<SubjectReference>,
    pub model: Option<ModelName>,
    pub month: i64,
}

/// A data key as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct KeyRow {
    pub id: KeyId,
    pub wrapped: Wrapped,
}

/// A secret that another master key wrapped, and where it lies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct OldKey {
    pub number: i64,
    pub tenant: Tenant,
    pub id: KeyId,
    pub wrapped: Vec<u8>,
}

/// Which data keys are to be destroyed.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Doomed<'a> {
    Subject(&'a SubjectReference),
    /// A model's keys of the months before this one.
    Older {
        model: &'a ModelName,
        month: i64,
    },
}

/// One connection that writes. Everything happens between `begin` and `commit` or `rollback`.
pub(crate) trait Writing {
    /// Opens a transaction; the answer moves whenever keys were destroyed by anybody.
    fn begin(&mut self) -> Result<i64>;
    /// The tenant's reference key: the one that is stored, else `fresh`, which then is.
    fn reference(
        &mut self,
        tenant: &Tenant,
        fresh: &mut dyn FnMut() -> Option<Wrapped>,
    ) -> Result<Option<Wrapped>>;
    /// Takes a lane for as long as this connection lives, without making it; whether no other process had it.
    fn claim(&mut self, tenant: &Tenant, name: &LaneName) -> Result<bool>;
    /// The lane's number and last record, made when new; `None` when another process writes it.
    fn lane(&mut self, tenant: &Tenant, name: &LaneName) -> Result<Option<(i64, Option<Head>)>>;
    /// The living keys of slots.
    fn keys(&mut self, slots: &[Slot]) -> Result<Vec<Option<KeyRow>>>;
    /// Adds keys.
    fn insert_keys(&mut self, tenant_of: &[(&Tenant, &Slot, &KeyRow)]) -> Result<()>;
    /// Adds records; `HeadMoved` when a place is taken.
    fn insert_records(&mut self, records: &[(i64, Record)]) -> Result<()>;
    /// Which of these ids are taken.
    fn taken(&mut self, ids: &[RecordId]) -> Result<Vec<RecordId>>;
    /// Destroys at most `limit` keys, and says how many.
    fn destroy_keys(&mut self, tenant: &Tenant, doomed: Doomed<'_>, limit: usize) -> Result<usize>;
    /// Living keys that another master key than this one wrapped, numbered after `after`, in order; nobody else destroys
    /// them before the transaction ends.
    fn keys_of_others(&mut self, master: &str, after: i64, limit: usize) -> Result<Vec<OldKey>>;
    /// Puts a key's new wrapping in place of its old one.
    fn rewrap_key(&mut self, number: i64, wrapped: &Wrapped) -> Result<()>;
    /// Reference keys that another master key than this one wrapped.
    fn references_of_others(&mut self, master: &str) -> Result<Vec<(Tenant, Vec<u8>)>>;
    /// Puts a reference key's new wrapping in place of its old one.
    fn rewrap_reference(&mut self, tenant: &Tenant, wrapped: &Wrapped) -> Result<()>;
    /// The last record of every lane of a tenant that has one, in order of names.
    fn heads(&mut self, tenant: &Tenant) -> Result<Vec<(LaneName, Head)>>;
    /// The tenant's newest checkpoint.
    fn last_checkpoint(&mut self, tenant: &Tenant) -> Result<Option<(u64, SignedCheckpoint)>>;
    /// Adds a checkpoint; `HeadMoved` when the number is taken.
    fn insert_checkpoint(
        &mut self,
        tenant: &Tenant,
        number: u64,
        signed: &SignedCheckpoint,
    ) -> Result<()>;
    /// Makes everything since `begin` durable.
    fn commit(&mut self) -> Result<()>;
    /// Forgets everything since `begin`; what failed may have left the connection unusable, so it mends it if it can.
    fn rollback(&mut self);
    /// Wipes destroyed keys from files; whether nothing stood in the way.
    fn wipe(&mut self) -> Result<bool>;
}

/// One connection that reads.
pub(crate) trait Reading: Send {
    /// Every lane, in order of numbers.
    fn lanes(&mut self) -> Result<Vec<LaneRow>>;
    /// The last record of a lane.
    fn head(&mut self, lane: i64) -> Result<Option<Head>>;
    /// Visits at most `limit` records of a lane in order, from a sequence on; how many were visited.
    fn walk(
        &mut self,
        lane: &LaneRow,
        from: i64,
        limit: usize,
        visit: &mut dyn FnMut(&RawRecord<'_>) -> ControlFlow<()>,
    ) -> Result<usize>;
    /// The lowest sequence in a lane whose time is not before this.
    fn first_since(&mut self, lane: &LaneRow, time_us: i64) -> Result<Option<u64>>;
    /// The lowest position in use from this one on.
    fn position_from(&mut self, position: i64) -> Result<Option<i64>>;
    /// A record by its id.
    fn find(&mut self, tenant: &Tenant, id: &RecordId) -> Result<Option<(i64, Record)>>;
    /// A page of records with their positions, newest first.
    fn page(&mut self, tenant: &Tenant, query: &PageQuery<'_>) -> Result<Vec<(i64, Record)>>;
    /// The living key of a slot.
    fn key(&mut self, slot: &Slot) -> Result<Option<KeyRow>>;
    /// The tenant's reference key.
    fn reference(&mut self, tenant: &Tenant) -> Result<Option<Wrapped>>;
    /// Every tenant that has a checkpoint, as stored.
    fn checkpointed_tenants(&mut self) -> Result<Vec<String>>;
    /// Who signed the tenant's newest checkpoint, as stored.
    fn newest_signer(&mut self, tenant: &Tenant) -> Result<Option<Vec<u8>>>;
    /// Checkpoints of a tenant from a number on, as stored.
    fn checkpoints(&mut self, tenant: &str, from: i64, limit: usize) -> Result<Vec<CheckpointRow>>;
}

/// A checkpoint's cells as they are stored, checked for nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CheckpointRow {
    pub number: i64,
    pub body: Vec<u8>,
    pub signer: Vec<u8>,
    pub signature: Vec<u8>,
}

impl CheckpointRow {
    /// The checkpoint, when its cells have the right form.
    pub fn to_signed(&self) -> Option<SignedCheckpoint> {
        Some(SignedCheckpoint {
            text: String::from_utf8(self.body.clone()).ok()?,
            signer: crate::checkpoint::VerifyingKey::new(self.signer.as_slice().try_into().ok()?),
            signature: self.signature.as_slice().try_into().ok()?,
        })
    }
}

impl Slot {
    /// The subject as it is stored: empty when the record is about nobody.
    pub fn subject_cell(&self) -> &[u8] {
        self.subject
            .as_ref()
            .map_or(&[], |subject| subject.0.as_bytes().as_slice())
    }

    /// The model as it is stored: empty when there is none.
    pub fn model_cell(&self) -> &str {
        self.model.as_ref().map_or("", ModelName::as_str)
    }
}

/// Where a record lies.
pub(crate) fn position(lane: i64, sequence: u64) -> i64 {
    (lane << SEQUENCE_BITS) + sequence.cast_signed()
}

/// A record's sequence, by where it lies.
pub(crate) fn sequence_at(position: i64) -> i64 {
    position & ((1 << SEQUENCE_BITS) - 1)
}

/// A record's lane, by where it lies.
pub(crate) fn lane_at(position: i64) -> i64 {
    position >> SEQUENCE_BITS
}
