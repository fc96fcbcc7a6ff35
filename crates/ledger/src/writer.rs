//! The one writer of a replica's lanes: a thread that takes whatever is queued, links it, makes it durable in one
//! transaction, and only then answers.
//!
//! No timer: while one group is on its way to the disk the next one gathers, so a lone caller waits for one fsync and
//! a crowd shares it. The writer alone gives sequences, makes data keys and destroys them, so appending and erasing can
//! never race. When a commit fails, the group is told so, everything remembered is forgotten, and the next group reads
//! heads and keys from the database again.

pub(crate) mod keyring;
mod keys;

use crate::checkpoint::{Checkpoint, SignedCheckpoint, Signer, first_previous};
use crate::entry::{Act, Entry, Subject};
use crate::error::{Error, StorageError};
use crate::layout::{self, GENESIS};
use crate::ledger::{Erased, Recorded, Reservation, Retained, Rewrapped};
use crate::master::{MasterKey, Purpose};
use crate::name::{LaneName, Tenant};
use crate::observe::{Commit, Observer};
use crate::record::{Record, RecordId, SubjectReference};
use crate::seal::{Identity, NONCE_BYTES, ReferenceKey, Role, fresh_secret, month};
use crate::tables::{Head, Slot, Wrapped, Writing};
use keyring::Keyring;
use ombud_core::{Digest, ModelName};
use std::collections::{HashMap, HashSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;
use tokio::sync::{mpsc, oneshot};

/// A group stops growing at this many records.
pub const GROUP_RECORDS_MAX: usize = 1_024;
/// When a caller whose record failed may try again.
const RETRY_AFTER_MS: u64 = 1_000;

/// What the writer is asked.
pub(crate) enum Job {
    Append(Append),
    Erase {
        tenant: Tenant,
        subject: Subject,
        act: Act,
        reply: Reply<Erased>,
    },
    Retain {
        tenant: Tenant,
        model: ModelName,
        before_us: i64,
        act: Act,
        reply: Reply<Retained>,
    },
    Rewrap {
        tenant: Tenant,
        after: i64,
        act: Act,
        reply: Reply<Rewrapped>,
    },
    Checkpoint {
        tenant: Tenant,
        time_us: i64,
        reply: Reply<SignedCheckpoint>,
    },
    Claim {
        tenant: Tenant,
        reply: Reply<()>,
    },
    Close,
}

/// One caller's entries: all are recorded, or none.
pub(crate) struct Append {
    pub tenant: Tenant,
    pub entries: Vec<Entry>,
    pub reply: Reply<Vec<Recorded>>,
    pub queued: Instant,
    pub reservation: Reservation,
}

pub(crate) type Reply<T> = oneshot::Sender<Result<T, Error>>;

/// What a writer needs besides its tables.
#[derive(Debug)]
pub(crate) struct Equipment {
    pub lane: LaneName,
    pub master: Arc<dyn MasterKey>,
    pub signer: Option<Signer>,
    pub checkpoint_folder: Option<PathBuf>,
    pub observer: Option<Arc<dyn Observer>>,
}

/// The writer; lives on its thread.
pub(crate) struct Writer {
    tables: Box<dyn Writing>,
    jobs: mpsc::Receiver<Job>,
    equipment: Equipment,
    lanes: HashMap<Tenant, Lane>,
    keyring: Keyring,
    epoch: Option<i64>,
    is_wipe_due: bool,
    buffer: Vec<u8>,
}

/// What the writer remembers of a lane.
struct Lane {
    number: i64,
    head: Head,
    reference: ReferenceKey,
}

/// Why something stopped: for one caller only, or for everybody in the transaction.
enum Stop {
    Caller(Error),
    Everybody(StorageError),
}

type Step<T> = Result<T, Stop>;

/// What an entry's sealing needs.
struct Plan {
    subject: Option<SubjectReference>,
    slot: Option<Slot>,
}

impl Writer {
    pub fn new(tables: Box<dyn Writing>, jobs: mpsc::Receiver<Job>, equipment: Equipment) -> Self {
        Writer {
            tables,
            jobs,
            equipment,
            lanes: HashMap::new(),
            keyring: Keyring::default(),
            epoch: None,
            is_wipe_due: false,
            buffer: Vec::new(),
        }
    }

    /// Works until the last handle is gone or the ledger is closed, then finishes what was accepted.
    pub fn run(mut self) {
        let mut left_over = None;
        while let Some(job) = left_over.take().or_else(|| self.next()) {
            match job {
                Job::Append(first) => {
                    let (group, other) = self.gather(first);
                    left_over = other;
                    self.commit_group(group);
                }
                Job::Erase {
                    tenant,
                    subject,
                    act,
                    reply,
                } => {
                    let answer = self.erase(&tenant, &subject, &act);
                    // A caller who left needs no answer; here and below.
                    let _ = reply.send(answer);
                }
                Job::Retain {
                    tenant,
                    model,
                    before_us,
                    act,
                    reply,
                } => {
                    let _ = reply.send(self.retain(&tenant, &model, before_us, &act));
                }
                Job::Rewrap {
                    tenant,
                    after,
                    act,
                    reply,
                } => {
                    let _ = reply.send(self.rewrap(&tenant, after, &act));
                }
                Job::Checkpoint {
                    tenant,
                    time_us,
                    reply,
                } => {
                    let _ = reply.send(self.checkpoint(&tenant, time_us));
                }
                Job::Claim { tenant, reply } => {
                    let _ = reply.send(self.claim(&tenant));
                }
                Job::Close => self.jobs.close(),
            }
        }
    }

    /// The next job; a wipe that is due is tried again while nobody waits.
    fn next(&mut self) -> Option<Job> {
        if self.is_wipe_due {
            if let Ok(job) = self.jobs.try_recv() {
                return Some(job);
            }
            self.is_wipe_due = !self.tables.wipe().unwrap_or(false);
        }
        self.jobs.blocking_recv()
    }

    /// Everything that waits, up to a group's size, or up to a job of another sort.
    fn gather(&mut self, first: Append) -> (Vec<Append>, Option<Job>) {
        let mut records = first.entries.len();
        let mut group = vec![first];
        while records < GROUP_RECORDS_MAX {
            match self.jobs.try_recv() {
                Ok(Job::Append(next)) => {
                    records += next.entries.len();
                    group.push(next);
                }
                Ok(other) => return (group, Some(other)),
                Err(_) => break,
            }
        }
        (group, None)
    }

    fn commit_group(&mut self, group: Vec<Append>) {
        let started = Instant::now();
        let result = self.record_group_or_again(&group);
        if let Some(observer) = &self.equipment.observer {
            observer.committed(&Commit {
                records: group.iter().map(|job| job.entries.len()).sum(),
                callers: group.len(),
                took: started.elapsed(),
                queued: group
                    .iter()
                    .map(|job| started.duration_since(job.queued))
                    .max()
                    .unwrap_or_default(),
                succeeded: result.is_ok(),
            });
        }
        match result {
            Ok(answers) => {
                for (job, answer) in group.into_iter().zip(answers) {
                    drop(job.reservation);
                    let _ = job.reply.send(answer);
                }
            }
            Err(source) => {
                let source = Arc::new(source);
                for job in group {
                    drop(job.reservation);
                    let source = Arc::clone(&source);
                    let _ = job.reply.send(Err(Error::NotRecorded {
                        retry_after_ms: RETRY_AFTER_MS,
                        source,
                    }));
                }
            }
        }
    }

    /// A place or an id that was taken is worth one more try, with heads read anew and ids looked up.
    fn record_group_or_again(
        &mut self,
        group: &[Append],
    ) -> Result<Vec<Result<Vec<Recorded>, Error>>, StorageError> {
        let mut result = self.record_group(group, false);
        if matches!(result, Err(StorageError::HeadMoved)) {
            self.forget();
            result = self.record_group(group, true);
        }
        if result.is_err() {
            self.forget();
        }
        result
    }

    fn record_group(
        &mut self,
        group: &[Append],
        look_for_repeated: bool,
    ) -> Result<Vec<Result<Vec<Recorded>, Error>>, StorageError> {
        self.begin()?;
        let mut taken = if look_for_repeated {
            Some(self.taken(group)?)
        } else {
            None
        };
        let mut records = Vec::new();
        let mut answers = Vec::with_capacity(group.len());
        let plans = self.plan_group(group)?;
        for (job, plans) in group.iter().zip(plans) {
            let repeated = taken.as_mut().and_then(|taken| claim(job, taken));
            let answer = match (repeated, plans) {
                (Some(id), _) => Err(Error::Repeated { id }),
                (None, Err(refused)) => Err(refused),
                (None, Ok(plans)) => {
                    match self.link(&job.tenant, &job.entries, &plans, &mut records) {
                        Ok(recorded) => Ok(recorded),
                        Err(Stop::Caller(refused)) => Err(refused),
                        Err(Stop::Everybody(failed)) => return Err(failed),
                    }
                }
            };
            answers.push(answer);
        }
        self.tables.insert_records(&records)?;
        self.tables.commit()?;
        Ok(answers)
    }

    /// Opens a transaction. When keys were destroyed elsewhere since the last one, the remembered ones are dropped.
    fn begin(&mut self) -> Result<(), StorageError> {
        let epoch = self.tables.begin()?;
        if self.epoch.replace(epoch) != Some(epoch) {
            self.keyring.clear();
        }
        Ok(())
    }

    /// After a failure nothing remembered can be trusted: heads go back to the last committed record.
    fn forget(&mut self) {
        self.tables.rollback();
        self.lanes.clear();
        self.keyring.clear();
        self.epoch = None;
    }

    /// The group's ids that are in the ledger already.
    fn taken(&mut self, group: &[Append]) -> Result<HashSet<RecordId>, StorageError> {
        let entries = group.iter().flat_map(|job| &job.entries);
        let ids: Vec<RecordId> = entries.map(|entry| entry.id).collect();
        Ok(self.tables.taken(&ids)?.into_iter().collect())
    }

    /// Each caller's plan; data keys that are missing are fetched or made for the whole group at once.
    fn plan_group(
        &mut self,
        group: &[Append],
    ) -> Result<Vec<Result<Vec<Plan>, Error>>, StorageError> {
        let mut plans = Vec::with_capacity(group.len());
        let mut wanted = Vec::new();
        for job in group {
            let planned = match self.plan(&job.tenant, &job.entries) {
                Ok(planned) => planned,
                Err(Stop::Caller(refused)) => {
                    plans.push(Err(refused));
                    continue;
                }
                Err(Stop::Everybody(failed)) => return Err(failed),
            };
            let slots = planned.iter().filter_map(|plan| plan.slot.as_ref());
            wanted.extend(slots.map(|slot| (&job.tenant, slot.clone())));
            plans.push(Ok(planned));
        }
        self.fetch_keys(&wanted)?;
        Ok(plans)
    }

    fn plan(&mut self, tenant: &Tenant, entries: &[Entry]) -> Step<Vec<Plan>> {
        let lane = self.lane(tenant)?;
        let plan = |entry: &Entry| {
            let subject = entry
                .subject
                .as_ref()
                .map(|subject| lane.reference.of(subject.expose()));
            let slot = entry.has_something_to_seal().then(|| Slot {
                lane: lane.number,
                subject,
                model: entry.model.clone(),
                month: month(entry.time_us),
            });
            Plan { subject, slot }
        };
        Ok(entries.iter().map(plan).collect())
    }

    /// The tenant's lane, from memory or from the database.
    fn lane(&mut self, tenant: &Tenant) -> Step<&mut Lane> {
        if !self.lanes.contains_key(tenant) {
            let lane = self.load_lane(tenant)?;
            self.lanes.insert(tenant.clone(), lane);
        }
        self.lanes
            .get_mut(tenant)
            .ok_or(Stop::Caller(Error::Closed))
    }

    fn load_lane(&mut self, tenant: &Tenant) -> Step<Lane> {
        let name = &self.equipment.lane;
        let found = self.tables.lane(tenant, name)?;
        let (number, head) = found.ok_or_else(|| Error::LaneTaken {
            tenant: tenant.clone(),
            lane: name.clone(),
        })?;
        let nothing_yet = Head {
            sequence: 0,
            hash: Digest::new(GENESIS),
        };
        Ok(Lane {
            number,
            head: head.unwrap_or(nothing_yet),
            reference: self.load_reference(tenant)?,
        })
    }

    fn load_reference(&mut self, tenant: &Tenant) -> Step<ReferenceKey> {
        let master = &self.equipment.master;
        let purpose = reference_purpose(tenant);
        let mut failed = None;
        let mut fresh = || {
            let wrapped = fresh_secret()
                .map_err(Error::from)
                .and_then(|secret| Ok(master.wrap(&secret, &purpose)?));
            wrapped
                .map(|bytes| Wrapped {
                    bytes,
                    master: master.id().to_owned(),
                })
                .map_err(|error| failed = Some(error))
                .ok()
        };
        let stored = self.tables.reference(tenant, &mut fresh)?;
        let stored = stored.ok_or_else(|| failed.unwrap_or(Error::Closed))?;
        let secret = master
            .unwrap(&stored.bytes, &purpose)
            .map_err(Error::from)?;
        Ok(ReferenceKey::new(&secret))
    }

    /// Puts the keys of slots on the ring. A key that does not unwrap stays off it, and is its caller's trouble alone.
    fn fetch_keys(&mut self, wanted: &[(&Tenant, Slot)]) -> Result<(), StorageError> {
        let mut tenants = HashMap::new();
        for (tenant, slot) in wanted {
            if !self.keyring.holds(slot) {
                tenants.insert(slot.clone(), *tenant);
            }
        }
        if tenants.is_empty() {
            return Ok(());
        }
        let mut slots: Vec<Slot> = tenants.keys().cloned().collect();
        slots.sort();
        let rows = self.tables.keys(&slots)?;
        let mut fresh = Vec::new();
        for (slot, row) in slots.into_iter().zip(rows) {
            let Some(&tenant) = tenants.get(&slot) else {
                continue;
            };
            match row {
                Some(row) => self
                    .keyring
                    .admit(&self.equipment.master, tenant, slot, &row),
                None => fresh.extend(self.keyring.make(&self.equipment.master, tenant, slot)),
            }
        }
        let fresh: Vec<_> = fresh
            .iter()
            .map(|(tenant, slot, row)| (tenant, slot, row))
            .collect();
        if fresh.is_empty() {
            Ok(())
        } else {
            self.tables.insert_keys(&fresh)
        }
    }

    /// Seals entries and links them to their lane; all of a caller's, or none.
    fn link(
        &mut self,
        tenant: &Tenant,
        entries: &[Entry],
        plans: &[Plan],
        records: &mut Vec<(i64, Record)>,
    ) -> Step<Vec<Recorded>> {
        let mut drafts = Vec::with_capacity(entries.len());
        for (entry, plan) in entries.iter().zip(plans) {
            drafts.push(self.seal(tenant, entry, plan)?);
        }
        let mut buffer = std::mem::take(&mut self.buffer);
        let lane = self.lane(tenant)?;
        let mut recorded = Vec::with_capacity(drafts.len());
        for mut record in drafts {
            record.sequence = lane.head.sequence + 1;
            record.previous = lane.head.hash;
            record.hash = layout::hash(&record.raw(), &mut buffer);
            lane.head = Head {
                sequence: record.sequence,
                hash: record.hash,
            };
            recorded.push(Recorded {
                id: record.id,
                lane: record.lane.clone(),
                sequence: record.sequence,
                hash: record.hash,
            });
            records.push((lane.number, record));
        }
        self.buffer = buffer;
        Ok(recorded)
    }

    /// The record of an entry, sealed but not yet linked.
    fn seal(&mut self, tenant: &Tenant, entry: &Entry, plan: &Plan) -> Step<Record> {
        let key = match &plan.slot {
            None => None,
            Some(slot) => Some(self.keyring.get(slot).map_err(Stop::Caller)?),
        };
        let mut nonces = [[0; NONCE_BYTES]; 2];
        if key.is_some() {
            getrandom::fill(nonces.as_flattened_mut()).map_err(Error::from)?;
        }
        let seal = |role, nonce, clear: &[u8]| {
            let key = key.as_ref()?;
            let identity = Identity {
                tenant,
                record: &entry.id,
                key: &key.id,
                subject: plan.subject.as_ref(),
                model: entry.model.as_ref().map(ModelName::as_str),
                role,
            };
            Some(key.seal(clear, nonce, &identity))
        };
        Ok(Record {
            tenant: tenant.clone(),
            lane: self.equipment.lane.clone(),
            sequence: 0,
            time_us: entry.time_us,
            kind: entry.kind,
            id: entry.id,
            model: entry.model.clone(),
            version: entry.version,
            bundle: entry.bundle,
            environment: entry.environment.clone(),
            subject: plan.subject,
            key: key.as_ref().map(|key| key.id),
            sealed_input: entry
                .input
                .as_ref()
                .and_then(|clear| seal(Role::Input, nonces[0], clear.expose())),
            answer: entry.answer.clone(),
            // SQLite keeps no negative zero; adding zero makes it positive and leaves all else.
            confidence: entry.confidence.map(|confidence| confidence + 0.0),
            sealed_explanation: entry
                .explanation
                .as_ref()
                .and_then(|clear| seal(Role::Explanation, nonces[1], clear.expose())),
            latency_us: entry.latency_us,
            cache_hit: entry.cache_hit,
            principal: entry.principal.clone(),
            ip: entry.ip.clone(),
            user_agent: entry.user_agent.clone(),
            request_id: entry.request_id.clone(),
            detail: entry.detail.clone(),
            previous: Digest::new(GENESIS),
            hash: Digest::new(GENESIS),
        })
    }

    fn checkpoint(&mut self, tenant: &Tenant, time_us: i64) -> Result<SignedCheckpoint, Error> {
        let signer = self.equipment.signer.clone().ok_or(Error::NoSigner)?;
        let signed = self.in_transaction(|writer| {
            let last = writer.tables.last_checkpoint(tenant)?;
            let checkpoint = Checkpoint {
                tenant: tenant.clone(),
                number: last.as_ref().map_or(1, |(number, _)| number + 1),
                time_us,
                previous: last
                    .as_ref()
                    .map_or_else(first_previous, |(_, signed)| signed.digest()),
                heads: writer
                    .tables
                    .heads(tenant)?
                    .into_iter()
                    .map(|(lane, head)| (lane, head.sequence, head.hash))
                    .collect(),
            };
            let signed = signer.sign(&checkpoint);
            writer
                .tables
                .insert_checkpoint(tenant, checkpoint.number, &signed)?;
            Ok(signed)
        })?;
        if let Some(folder) = &self.equipment.checkpoint_folder {
            let copied = signed.copy_into(folder);
            copied.map_err(|source| StorageError::File {
                path: folder.clone(),
                source,
            })?;
        }
        Ok(signed)
    }

    fn claim(&mut self, tenant: &Tenant) -> Result<(), Error> {
        self.in_transaction(|writer| {
            let lane = &writer.equipment.lane;
            if writer.tables.claim(tenant, lane)? {
                // Another master key than the one that made this would seal and open nothing; better now than at a decision.
                return writer.load_reference(tenant).map(drop);
            }
            let (tenant, lane) = (tenant.clone(), lane.clone());
            Err(Error::LaneTaken { tenant, lane }.into())
        })
    }

    /// Runs an act in a transaction of its own, once more when another process got in between.
    fn in_transaction<T>(&mut self, act: impl Fn(&mut Self) -> Step<T>) -> Result<T, Error> {
        let mut attempt = || {
            let done = self
                .begin()
                .map_err(Stop::Everybody)
                .and_then(|()| act(self));
            let done =
                done.and_then(|done| self.tables.commit().map(|()| done).map_err(Stop::Everybody));
            // Keys may have been destroyed, or heads moved by what was not committed.
            self.keyring.clear();
            if done.is_err() {
                self.forget();
            }
            done
        };
        let mut done = attempt();
        if matches!(done, Err(Stop::Everybody(StorageError::HeadMoved))) {
            done = attempt();
        }
        done.map_err(|stop| match stop {
            Stop::Caller(error) => error,
            Stop::Everybody(source) => Error::NotRecorded {
                retry_after_ms: RETRY_AFTER_MS,
                source: Arc::new(source),
            },
        })
    }

    fn record_one(&mut self, tenant: &Tenant, entry: Entry) -> Step<Recorded> {
        let entries = [entry];
        let plans = self.plan(tenant, &entries)?;
        let mut records = Vec::with_capacity(1);
        let mut recorded = self.link(tenant, &entries, &plans, &mut records)?;
        self.tables.insert_records(&records)?;
        recorded.pop().ok_or(Stop::Caller(Error::Closed))
    }
}

/// What a tenant's reference key is wrapped for.
fn reference_purpose(tenant: &Tenant) -> Purpose<'_> {
    Purpose {
        role: "reference",
        tenant: tenant.as_str(),
        name: &[],
    }
}

/// Takes a caller's ids, all or none; the first that is taken already.
fn claim(job: &Append, taken: &mut HashSet<RecordId>) -> Option<RecordId> {
    let mut claimed = HashSet::with_capacity(job.entries.len());
    for entry in &job.entries {
        if taken.contains(&entry.id) || !claimed.insert(entry.id) {
            return Some(entry.id);
        }
    }
    taken.extend(claimed);
    None
}

impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        Stop::Caller(error)
    }
}

impl From<StorageError> for Stop {
    fn from(error: StorageError) -> Self {
        Stop::Everybody(error)
    }
}
