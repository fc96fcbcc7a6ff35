//! The handle: hand in entries, hear where they stand once they are on disk.
//!
//! Cheap to clone; all clones share one writer thread, which serves every tenant of this replica: SQLite has one write
//! lock anyway, and one fsync then serves all tenants. What waits is bounded in records and in bytes, and a full queue
//! refuses at once. The futures need no particular runtime; [`Ledger::read`] and [`Ledger::open_sealed`] need tokio's,
//! because they read on its blocking threads.

use crate::checkpoint::{SignedCheckpoint, Signer};
use crate::entry::{Act, Clear, Entry, Subject};
use crate::error::{Error, StorageError};
use crate::master::MasterKey;
use crate::name::{LaneName, Tenant};
use crate::observe::Observer;
use crate::reader::Reader;
use crate::record::{Kind, Record, RecordId, SubjectReference};
use crate::rewriting::Rewriting;
use crate::tables::Writing;
use crate::tables::postgres::PostgresWriter;
use crate::tables::sqlite::SqliteWriter;
use crate::writer::{Append, Equipment, Job, Reply, Writer};
use ombud_core::{Digest, ModelName};
use std::fmt;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, oneshot};

/// Records that may wait; two fifths of a second of the writer's work.
pub const QUEUE_RECORDS_MAX: usize = 8_192;
/// Bytes that may wait.
pub const QUEUE_BYTES_MAX: usize = 128 << 20;
/// Entries one caller may append at once.
pub const ENTRIES_MAX: usize = 1_024;
/// Records one caller may open at once.
pub const OPENED_MAX: usize = 1_000;
/// When a caller who found the queue full may try again.
const RETRY_AFTER_MS: u64 = 500;

/// Where the ledger is kept.
#[derive(Clone, PartialEq, Eq)]
pub enum Database {
    /// A SQLite file, made when new.
    Sqlite(PathBuf),
    /// A PostgreSQL database, by its URL.
    Postgres(String),
}

/// How a ledger is opened.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where.
    pub database: Database,
    /// The name of this replica, which no other process uses at the same time.
    pub lane: LaneName,
    /// What wraps data keys.
    pub master: Arc<dyn MasterKey>,
    /// What signs checkpoints.
    pub signer: Option<Signer>,
    /// Where checkpoints are copied to; best on write-once storage.
    pub checkpoint_folder: Option<PathBuf>,
    /// What hears of commits.
    pub observer: Option<Arc<dyn Observer>>,
}

/// An open ledger.
#[derive(Clone)]
pub struct Ledger {
    shared: Arc<Shared>,
}

/// Where an entry stands now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recorded {
    /// The record.
    pub id: RecordId,
    /// Its lane.
    pub lane: LaneName,
    /// Its place in the lane.
    pub sequence: u64,
    /// Its hash.
    pub hash: Digest,
}

/// Entries on their way to the disk. Dropping it changes nothing for them.
#[derive(Debug)]
pub struct Pending {
    answer: oneshot::Receiver<Result<Vec<Recorded>, Error>>,
}

/// A person's data keys are gone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Erased {
    /// The person's reference, which records still carry.
    pub subject: SubjectReference,
    /// How many keys there were.
    pub keys_destroyed: usize,
    /// The record that proves it.
    pub recorded: Recorded,
}

/// A model's old data keys are gone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Retained {
    /// How many keys there were.
    pub keys_destroyed: usize,
    /// Whether none are left; else the caller asks again.
    pub is_complete: bool,
    /// The record that proves it, when there were any.
    pub recorded: Option<Recorded>,
}

/// Keys are wrapped by the current master key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rewrapped {
    /// How many data keys.
    pub keys: usize,
    /// How many tenants' reference keys.
    pub references: usize,
    /// How many data keys neither master key unwraps; they stay as they are.
    pub unreadable: usize,
    /// Where to go on; none when no more are left.
    pub next: Option<i64>,
    /// The record of it.
    pub recorded: Recorded,
}

/// A record with what was sealed in it.
#[derive(Debug, Clone, PartialEq)]
pub struct Opened {
    /// The record.
    pub record: Record,
    /// What was sealed.
    pub contents: Contents,
}

/// What became of a record's sealed fields.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Contents {
    /// In clear.
    Open {
        input: Option<Clear>,
        explanation: Option<Clear>,
    },
    /// The key was destroyed.
    Erased,
    /// Nothing was sealed.
    Nothing,
}

/// What waits in the queue now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Queue {
    pub records: usize,
    pub bytes: usize,
    /// For how long nothing of it was finished; zero when nothing waits.
    pub still: Duration,
}

struct Shared {
    jobs: mpsc::Sender<Job>,
    intake: Arc<Intake>,
    reader: Reader,
    thread: Mutex<Option<JoinHandle<()>>>,
    /// Only PostgreSQL's files need it.
    rewriting: Option<Arc<Rewriting>>,
}

/// Counts what waits.
#[derive(Debug)]
struct Intake {
    records: AtomicUsize,
    bytes: AtomicUsize,
    opened: Instant,
    /// When something was last finished, or came to an empty queue, in milliseconds from the opening.
    moved_ms: AtomicU64,
}

/// A place in the queue; given back when dropped.
pub(crate) struct Reservation {
    intake: Arc<Intake>,
    records: usize,
    bytes: usize,
}

impl Ledger {
    /// Opens the ledger: creates or migrates its tables and starts the writer. Blocks while it does.
    pub fn open(options: Options) -> Result<Self, Error> {
        let (jobs, waiting) = mpsc::channel(QUEUE_RECORDS_MAX);
        let rewriting = Rewriting::of(&options.database).map(Arc::new);
        let reader = Reader::new(options.database.clone(), Some(Arc::clone(&options.master)));
        let equipment = Equipment {
            lane: options.lane,
            master: options.master,
            signer: options.signer,
            checkpoint_folder: options.checkpoint_folder,
            observer: options.observer,
        };
        // The tables are opened on the writer's thread, which may block on a runtime of its own wherever this is called.
        let (opened, outcome) = std::sync::mpsc::channel();
        let database = options.database;
        let work = move || match open_tables(&database) {
            Ok(tables) => {
                let _ = opened.send(Ok(()));
                Writer::new(tables, waiting, equipment).run();
            }
            Err(error) => {
                let _ = opened.send(Err(error));
            }
        };
        let thread = std::thread::Builder::new()
            .name("ledger".to_owned())
            .spawn(work);
        let thread = thread.map_err(StorageError::Thread)?;
        outcome.recv().map_err(|_| Error::Closed)??;
        let shared = Shared {
            jobs,
            intake: Arc::new(Intake::new()),
            reader,
            thread: Mutex::new(Some(thread)),
            rewriting,
        };
        Ok(Ledger {
            shared: Arc::new(shared),
        })
    }

    /// Takes this replica's lane, so that a process that finds another one on it says so when it starts and not at its first
    /// record.
    pub async fn claim(&self, tenant: &Tenant) -> Result<(), Error> {
        let tenant = tenant.clone();
        self.ask(|reply| Job::Claim { tenant, reply }).await
    }

    /// Records one entry; answers when it is durable.
    pub async fn append(&self, tenant: &Tenant, entry: Entry) -> Result<Recorded, Error> {
        let recorded = self.submit(tenant, vec![entry])?.await?;
        recorded.into_iter().next().ok_or(Error::Closed)
    }

    /// Records a batch, all or nothing; answers when it is durable.
    pub async fn append_all(
        &self,
        tenant: &Tenant,
        entries: Vec<Entry>,
    ) -> Result<Vec<Recorded>, Error> {
        self.submit(tenant, entries)?.await
    }

    /// Accepts a batch without waiting: for those who answer first and record after.
    pub fn submit(&self, tenant: &Tenant, entries: Vec<Entry>) -> Result<Pending, Error> {
        if entries.len() > ENTRIES_MAX {
            return Err(Error::TooManyEntries {
                entries: entries.len(),
                entries_max: ENTRIES_MAX,
            });
        }
        let mut bytes = 0;
        for entry in &entries {
            bytes += entry.check()?;
        }
        let reservation = Intake::reserve(&self.shared.intake, entries.len(), bytes)?;
        let (reply, answer) = oneshot::channel();
        let tenant = tenant.clone();
        self.enqueue(Job::Append(Append {
            tenant,
            entries,
            reply,
            queued: Instant::now(),
            reservation,
        }))?;
        Ok(Pending { answer })
    }

    /// Destroys a person's data keys and wipes them from the files; everything sealed about them is noise from then on.
    pub async fn erase(
        &self,
        tenant: &Tenant,
        subject: Subject,
        act: Act,
    ) -> Result<Erased, Error> {
        act.check()?;
        subject.check()?;
        let tenant = tenant.clone();
        let erased = self.ask(|reply| Job::Erase {
            tenant,
            subject,
            act,
            reply,
        });
        let erased = erased.await?;
        self.rewrite_keys().await?;
        Ok(erased)
    }

    /// Destroys a model's data keys of the months that ended before `before_us`; repeat until it is complete.
    pub async fn retain(
        &self,
        tenant: &Tenant,
        model: ModelName,
        before_us: i64,
        act: Act,
    ) -> Result<Retained, Error> {
        act.check()?;
        let tenant = tenant.clone();
        let retained = self.ask(|reply| Job::Retain {
            tenant,
            model,
            before_us,
            act,
            reply,
        });
        let retained = retained.await?;
        if retained.is_complete && retained.recorded.is_some() {
            self.rewrite_keys().await?;
        }
        Ok(retained)
    }

    /// Wraps keys anew that the master key before wrapped; repeat from where it says until none are left.
    pub async fn rewrap(&self, tenant: &Tenant, after: i64, act: Act) -> Result<Rewrapped, Error> {
        act.check()?;
        let tenant = tenant.clone();
        let rewrapped = self.ask(|reply| Job::Rewrap {
            tenant,
            after,
            act,
            reply,
        });
        let rewrapped = rewrapped.await?;
        if rewrapped.next.is_none() {
            self.rewrite_keys().await?;
        }
        Ok(rewrapped)
    }

    /// Signs the heads of all of a tenant's lanes, stores them, and copies them when a folder is set.
    pub async fn checkpoint(
        &self,
        tenant: &Tenant,
        time_us: i64,
    ) -> Result<SignedCheckpoint, Error> {
        let tenant = tenant.clone();
        self.ask(|reply| Job::Checkpoint {
            tenant,
            time_us,
            reply,
        })
        .await
    }

    /// Opens what is sealed in records. Who looked, at what and why is on record before anything is opened.
    pub async fn open_sealed(
        &self,
        tenant: &Tenant,
        ids: Vec<RecordId>,
        act: Act,
    ) -> Result<Vec<Opened>, Error> {
        act.check()?;
        if ids.len() > OPENED_MAX {
            return Err(Error::TooManyEntries {
                entries: ids.len(),
                entries_max: OPENED_MAX,
            });
        }
        let owner = tenant.clone();
        let find = move |reader: &Reader| ids.iter().map(|id| reader.record(&owner, id)).collect();
        let records: Vec<Record> = self.read(find).await?;
        let names: Vec<String> = records.iter().map(|record| record.id.to_string()).collect();
        let detail = serde_json::json!({ "reason": act.reason, "records": names });
        let id = RecordId::generate(act.time_us)?;
        self.append(tenant, act.entry(id, Kind::Opened, detail.to_string()))
            .await?;
        let open = move |reader: &Reader| {
            records
                .into_iter()
                .map(|record| reader.unseal(record))
                .collect()
        };
        self.read(open).await
    }

    /// Reads on a thread that may block.
    pub async fn read<T, F>(&self, read: F) -> Result<T, Error>
    where
        T: Send + 'static,
        F: FnOnce(&Reader) -> Result<T, Error> + Send + 'static,
    {
        let reader = self.shared.reader.clone();
        tokio::task::spawn_blocking(move || read(&reader))
            .await
            .map_err(|_| Error::Closed)?
    }

    /// The master key, for rooms above that seal what they keep beside the ledger. What is wrapped carries its purpose, so
    /// that no room unwraps another's.
    pub fn master(&self) -> Result<Arc<dyn MasterKey>, Error> {
        self.shared.reader.master().cloned()
    }

    /// The reader, for those who are on a thread that may block.
    pub fn reader(&self) -> &Reader {
        &self.shared.reader
    }

    /// What waits now.
    pub fn queue(&self) -> Queue {
        let intake = &self.shared.intake;
        Queue {
            records: intake.records.load(Ordering::Relaxed),
            bytes: intake.bytes.load(Ordering::Relaxed),
            still: intake.still(),
        }
    }

    /// Accepts nothing more, finishes what was accepted, and waits until it is durable. Blocks.
    pub fn close(&self) {
        let mut thread = self
            .shared
            .thread
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let Some(thread) = thread.take() else { return };
        let mut close = Job::Close;
        // A full queue moves; a closed one is closed already.
        while let Err(mpsc::error::TrySendError::Full(back)) = self.shared.jobs.try_send(close) {
            close = back;
            std::thread::yield_now();
        }
        // A writer that panicked is as closed as it can be.
        let _ = thread.join();
    }

    /// Wipes what was destroyed from PostgreSQL's files. One rewriting serves all whose keys were destroyed before it began.
    async fn rewrite_keys(&self) -> Result<(), Error> {
        let Some(rewriting) = self.shared.rewriting.clone() else {
            return Ok(());
        };
        let work = tokio::task::spawn_blocking(move || rewriting.run());
        work.await.map_err(|_| Error::Closed)?
    }

    async fn ask<T>(&self, job: impl FnOnce(Reply<T>) -> Job) -> Result<T, Error> {
        let (reply, answer) = oneshot::channel();
        self.enqueue(job(reply))?;
        answer.await.map_err(|_| Error::Closed)?
    }

    fn enqueue(&self, job: Job) -> Result<(), Error> {
        self.shared
            .jobs
            .try_send(job)
            .map_err(|refused| match refused {
                mpsc::error::TrySendError::Full(_) => Error::QueueFull {
                    retry_after_ms: RETRY_AFTER_MS,
                },
                mpsc::error::TrySendError::Closed(_) => Error::Closed,
            })
    }
}

impl Future for Pending {
    type Output = Result<Vec<Recorded>, Error>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let answer = Pin::new(&mut self.answer).poll(context);
        answer.map(|answer| answer.unwrap_or(Err(Error::Closed)))
    }
}

impl Pending {
    /// Waits on a thread that may block.
    pub fn wait(self) -> Result<Vec<Recorded>, Error> {
        self.answer.blocking_recv().unwrap_or(Err(Error::Closed))
    }
}

impl Intake {
    fn new() -> Self {
        Intake {
            records: AtomicUsize::new(0),
            bytes: AtomicUsize::new(0),
            opened: Instant::now(),
            moved_ms: AtomicU64::new(0),
        }
    }

    fn reserve(intake: &Arc<Self>, records: usize, bytes: usize) -> Result<Reservation, Error> {
        let records_before = intake.records.fetch_add(records, Ordering::Relaxed);
        let bytes_before = intake.bytes.fetch_add(bytes, Ordering::Relaxed);
        if records_before + records > QUEUE_RECORDS_MAX || bytes_before + bytes > QUEUE_BYTES_MAX {
            intake.release(records, bytes);
            return Err(Error::QueueFull {
                retry_after_ms: RETRY_AFTER_MS,
            });
        }
        if records_before == 0 {
            intake.move_on();
        }
        Ok(Reservation {
            intake: Arc::clone(intake),
            records,
            bytes,
        })
    }

    fn release(&self, records: usize, bytes: usize) {
        self.records.fetch_sub(records, Ordering::Relaxed);
        self.bytes.fetch_sub(bytes, Ordering::Relaxed);
    }

    fn move_on(&self) {
        self.moved_ms.store(self.age_ms(), Ordering::Relaxed);
    }

    fn still(&self) -> Duration {
        if self.records.load(Ordering::Relaxed) == 0 {
            return Duration::ZERO;
        }
        let moved_ms = self.moved_ms.load(Ordering::Relaxed);
        Duration::from_millis(self.age_ms().saturating_sub(moved_ms))
    }

    fn age_ms(&self) -> u64 {
        u64::try_from(self.opened.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.intake.move_on();
        self.intake.release(self.records, self.bytes);
    }
}

impl fmt::Debug for Database {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Database::Sqlite(path) => write!(f, "Sqlite({path:?})"),
            // The URL may hold a password.
            Database::Postgres(_) => f.write_str("Postgres(…)"),
        }
    }
}

impl fmt::Debug for Ledger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ledger")
            .field("queue", &self.queue())
            .finish_non_exhaustive()
    }
}

fn open_tables(database: &Database) -> Result<Box<dyn Writing>, StorageError> {
    Ok(match database {
        Database::Sqlite(path) => Box::new(SqliteWriter::open(path)?),
        Database::Postgres(url) => Box::new(PostgresWriter::open(url)?),
    })
}
