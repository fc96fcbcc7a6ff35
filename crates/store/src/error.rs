//! Everything that can go wrong here, with whose mistake it was.

use crate::depot::FilePath;
use crate::environment::Environment;
use crate::tracking::FilterError;
use ombud_core::{Class, Digest, ModelName, Version};
use ombud_ledger::RecordId;
use std::path::PathBuf;

/// When a caller who found the database busy or away may try again.
pub const RETRY_AFTER_MS: u64 = 500;

/// Why the store did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{url:?} names no database: write sqlite:FILE or postgres://…")]
    Url { url: String },
    #[error("the database cannot be reached or used just now; try again in {RETRY_AFTER_MS} ms")]
    Unavailable {
        #[source]
        source: sqlx::Error,
    },
    #[error("the database refused what should have been right")]
    Database {
        #[source]
        source: sqlx::Error,
    },
    #[error("the database's tables are of version {found}; this program knows up to {known}")]
    NewerSchema { found: i64, known: i64 },
    #[error("migration {number} did not run")]
    Migration {
        number: i64,
        #[source]
        source: sqlx::Error,
    },
    #[error("the stored {what} cannot be read")]
    Unreadable { what: &'static str },
    #[error("the folder {path:?} cannot be used")]
    Folder {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("the {what} has {bytes} bytes; at most {bytes_max} are kept")]
    TooLong {
        what: &'static str,
        bytes: usize,
        bytes_max: usize,
    },
    #[error("there are {count_max} {what} already, and no more are kept")]
    TooMany {
        what: &'static str,
        count_max: usize,
    },
    #[error("the {what} {came:?} cannot be accepted: {allowed}")]
    Malformed {
        what: &'static str,
        came: String,
        allowed: &'static str,
    },
    #[error("{reason}")]
    Refused { reason: String },
    #[error("the filter cannot be read: {0}")]
    Filter(#[source] FilterError),
    #[error("the order cannot be read: {0}")]
    Order(#[source] FilterError),
    #[error("there is no {what} {name}")]
    NotFound { what: &'static str, name: String },
    #[error("the {what} {name} exists already")]
    Exists { what: &'static str, name: String },
    #[error("the credentials are not known, or not valid any more")]
    Unauthenticated,
    #[error("model {model} has no version {version}")]
    UnknownVersion { model: ModelName, version: String },
    #[error("{model} {label} is registered already as version {version}, with other content")]
    LabelTaken {
        model: ModelName,
        label: String,
        version: Version,
        registered: Digest,
    },
    #[error("version {version} of {model} is archived")]
    Archived { model: ModelName, version: Version },
    #[error("version {version} of {model} is deployed to {environment}")]
    Deployed {
        model: ModelName,
        version: Version,
        environment: Environment,
    },
    #[error(
        "version {version} of {model} has answered, and the ledger needs it; archive it instead"
    )]
    NeededByLedger { model: ModelName, version: Version },
    #[error(
        "{:?} belongs to version {version} of the registered model {name}, whose files stay as they were registered",
        .path.as_str()
    )]
    FilesHeld {
        path: FilePath,
        name: String,
        version: Version,
    },
    #[error("{model} asks other models first that are not registered: {stages}")]
    StagesAbsent { model: ModelName, stages: String },
    #[error("version {version} of {model} is a stage of version {by_version} of {by}")]
    IsStage {
        model: ModelName,
        version: Version,
        by: ModelName,
        by_version: Version,
    },
    #[error(
        "the deployment of {model} to {environment} changed meanwhile: it is at revision {found}, not {expected}"
    )]
    Moved {
        model: ModelName,
        environment: Environment,
        found: i64,
        expected: i64,
    },
    #[error("the shares of the traffic are wrong: {reason}")]
    Traffic { reason: &'static str },
    #[error("this idempotency key came before with another request")]
    IdempotencyMismatch { decision: RecordId },
    #[error("the {what} {id} is {state}, so it cannot be {wanted}")]
    Standing {
        what: &'static str,
        id: RecordId,
        state: &'static str,
        wanted: &'static str,
    },
    #[error("the job {id} is {state}, so it cannot be {wanted}")]
    JobState {
        id: RecordId,
        state: &'static str,
        wanted: &'static str,
    },
    #[error("the operating system gave no randomness")]
    Randomness(#[from] getrandom::Error),
}

/// What the functions of this room give.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// Whose mistake it was.
    pub fn class(&self) -> Class {
        match self {
            Error::Url { .. }
            | Error::Malformed { .. }
            | Error::Refused { .. }
            | Error::Filter(_)
            | Error::Order(_)
            | Error::Traffic { .. } => Class::Invalid,
            Error::TooLong { .. } | Error::TooMany { .. } => Class::TooLarge,
            Error::Unavailable { .. } | Error::Folder { .. } | Error::Migration { .. } => {
                Class::Unavailable
            }
            Error::NewerSchema { .. } => Class::Unsupported,
            Error::Unreadable { .. } => Class::Corrupt,
            Error::NotFound { .. } | Error::UnknownVersion { .. } => Class::NotFound,
            Error::Unauthenticated => Class::Unauthenticated,
            Error::Exists { .. }
            | Error::LabelTaken { .. }
            | Error::Archived { .. }
            | Error::Deployed { .. }
            | Error::NeededByLedger { .. }
            | Error::FilesHeld { .. }
            | Error::StagesAbsent { .. }
            | Error::IsStage { .. }
            | Error::Moved { .. }
            | Error::IdempotencyMismatch { .. }
            | Error::Standing { .. }
            | Error::JobState { .. } => Class::Conflict,
            Error::Database { .. } | Error::Randomness(_) => Class::Internal,
        }
    }

    /// When trying again can help, in milliseconds.
    pub fn retry_after_ms(&self) -> Option<u64> {
        matches!(self, Error::Unavailable { .. }).then_some(RETRY_AFTER_MS)
    }
}

impl From<sqlx::Error> for Error {
    fn from(source: sqlx::Error) -> Self {
        if is_passing(&source) {
            Error::Unavailable { source }
        } else {
            Error::Database { source }
        }
    }
}

/// Whether the same statement may succeed later.
fn is_passing(source: &sqlx::Error) -> bool {
    match source {
        sqlx::Error::Io(_)
        | sqlx::Error::Tls(_)
        | sqlx::Error::Protocol(_)
        | sqlx::Error::PoolTimedOut
        | sqlx::Error::PoolClosed
        | sqlx::Error::WorkerCrashed => true,
        sqlx::Error::Database(said) => said.code().is_some_and(|code| is_passing_code(&code)),
        _ => false,
    }
}

/// PostgreSQL: connection lost, rolled back by others, resources, operator, system. SQLite: busy, locked, read-only,
/// input/output, full, cannot open.
fn is_passing_code(code: &str) -> bool {
    // SQLite's codes are numbers below 10,000; PostgreSQL's have five characters.
    if code.len() == 5 {
        return ["08", "25006", "40", "53", "55", "57", "58"]
            .iter()
            .any(|start| code.starts_with(start));
    }
    let primary = code.parse::<u32>().map(|code| code & 0xff);
    primary.is_ok_and(|code| matches!(code, 5 | 6 | 8 | 10 | 13 | 14))
}
