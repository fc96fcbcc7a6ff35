//! Everything that can go wrong here, with whose mistake it was.
//!
//! One commit serves many callers and fails for all of them, so errors can be cloned; what the database said is kept
//! behind a shared pointer.

use crate::entry::EntryError;
use crate::master::{MasterKeyError, SecretError};
use crate::name::{LaneName, Tenant};
use crate::record::{RecordId, Unreadable};
use ombud_core::Class;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

/// Why the ledger did not do what it was asked.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    #[error("the ledger's queue is full; try again in {retry_after_ms} ms")]
    QueueFull { retry_after_ms: u64 },
    #[error("the record could not be made durable; try again in {retry_after_ms} ms")]
    NotRecorded {
        retry_after_ms: u64,
        #[source]
        source: Arc<StorageError>,
    },
    #[error("the ledger is closed")]
    Closed,
    #[error(transparent)]
    Entry(#[from] EntryError),
    #[error("{entries} entries at once; at most {entries_max}")]
    TooManyEntries { entries: usize, entries_max: usize },
    #[error("a record with the id {id} exists already")]
    Repeated { id: RecordId },
    #[error("another process writes the lane {lane} of {tenant}")]
    LaneTaken { tenant: Tenant, lane: LaneName },
    #[error("there is no record {id}")]
    NotFound { id: RecordId },
    #[error("what the record {id} held was erased")]
    Erased { id: RecordId },
    #[error("what the record {id} holds does not open with its key")]
    DoesNotOpen { id: RecordId },
    #[error("nothing signs checkpoints: the ledger was opened without a signing key")]
    NoSigner,
    #[error(
        "the keys are destroyed, but their bytes could not yet be wiped from the file; try again in {retry_after_ms} ms"
    )]
    NotWiped { retry_after_ms: u64 },
    #[error(transparent)]
    MasterKey(#[from] MasterKeyError),
    #[error("the operating system gave no randomness")]
    Randomness(#[from] getrandom::Error),
    #[error("the ledger cannot be read")]
    Storage(#[from] Arc<StorageError>),
}

/// What a database or a file did.
#[derive(Debug, thiserror::Error)]
pub enum StorageError {
    #[error("SQLite")]
    Sqlite(#[from] rusqlite::Error),
    #[error("PostgreSQL")]
    Postgres(#[from] sqlx::Error),
    #[error("the ledger's tables are of version {found}; this program knows up to {known}")]
    NewerSchema { found: i64, known: i64 },
    #[error("somebody else wrote this lane")]
    HeadMoved,
    #[error("{path:?}")]
    File { path: PathBuf, source: io::Error },
    #[error("the writer's thread did not start")]
    Thread(#[source] io::Error),
    #[error(transparent)]
    Unreadable(#[from] Unreadable),
    #[error("the export's line {line} cannot be read: {why}")]
    Export { line: u64, why: String },
    #[error("{heads} signed heads; at most {heads_max} can be held against the chains at once")]
    TooManyHeads { heads: usize, heads_max: usize },
}

impl Error {
    /// Whose mistake it was.
    pub fn class(&self) -> Class {
        match self {
            Error::QueueFull { .. }
            | Error::NotRecorded { .. }
            | Error::Closed
            | Error::LaneTaken { .. }
            | Error::NotWiped { .. } => Class::Unavailable,
            Error::Entry(source) => source.class(),
            Error::TooManyEntries { .. } => Class::TooLarge,
            Error::Repeated { .. } => Class::Conflict,
            Error::NotFound { .. } | Error::Erased { .. } => Class::NotFound,
            Error::DoesNotOpen { .. } => Class::Corrupt,
            Error::NoSigner => Class::Unsupported,
            Error::MasterKey(source) => source.class(),
            Error::Randomness(_) => Class::Internal,
            Error::Storage(source) => source.class(),
        }
    }

    /// When trying again can help, in milliseconds.
    pub fn retry_after_ms(&self) -> Option<u64> {
        match self {
            Error::QueueFull { retry_after_ms }
            | Error::NotRecorded { retry_after_ms, .. }
            | Error::NotWiped { retry_after_ms } => Some(*retry_after_ms),
            _ => None,
        }
    }
}

impl StorageError {
    /// Whose mistake it was.
    pub fn class(&self) -> Class {
        match self {
            StorageError::Sqlite(source) => sqlite_class(source),
            StorageError::Postgres(_) | StorageError::HeadMoved | StorageError::Thread(_) => {
                Class::Unavailable
            }
            StorageError::NewerSchema { .. } => Class::Unsupported,
            StorageError::File { source, .. } if source.kind() == io::ErrorKind::NotFound => {
                Class::NotFound
            }
            StorageError::File { .. } => Class::Unavailable,
            StorageError::Unreadable(_) => Class::Corrupt,
            StorageError::Export { .. } => Class::Invalid,
            StorageError::TooManyHeads { .. } => Class::TooLarge,
        }
    }
}

impl MasterKeyError {
    /// Whose mistake it was.
    pub fn class(&self) -> Class {
        match self {
            MasterKeyError::DoesNotUnwrap { .. } => Class::Corrupt,
            MasterKeyError::Randomness(_) => Class::Internal,
            MasterKeyError::Service { .. } => Class::Unavailable,
        }
    }
}

impl SecretError {
    /// Whose mistake it was.
    pub fn class(&self) -> Class {
        match self {
            SecretError::Read { source, .. } if source.kind() == io::ErrorKind::NotFound => {
                Class::NotFound
            }
            SecretError::Read { .. }
            | SecretError::Write { .. }
            | SecretError::Exposed { .. }
            | SecretError::NoVariable { .. }
            | SecretError::NoCommand
            | SecretError::Malformed => Class::Invalid,
            SecretError::Run { .. } | SecretError::Failed { .. } | SecretError::TooSlow { .. } => {
                Class::Unavailable
            }
            SecretError::Randomness(_) => Class::Internal,
        }
    }
}

impl From<rusqlite::Error> for Error {
    fn from(source: rusqlite::Error) -> Self {
        StorageError::from(source).into()
    }
}

impl From<StorageError> for Error {
    fn from(source: StorageError) -> Self {
        Error::Storage(Arc::new(source))
    }
}

fn sqlite_class(source: &rusqlite::Error) -> Class {
    use rusqlite::ErrorCode;
    match source.sqlite_error_code() {
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => Class::Corrupt,
        Some(ErrorCode::ApiMisuse | ErrorCode::InternalMalfunction) | None => Class::Internal,
        Some(_) => Class::Unavailable,
    }
}
