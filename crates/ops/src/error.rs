//! Everything that can go wrong here, with whose mistake it was.

use crate::deploy::DeployError;
use ombud_core::{Class, ModelName, Refusal, Version};
use ombud_engine::ModelError;
use ombud_ledger::RecordId;
use ombud_store::cache::CacheError;
use ombud_store::{Environment, RegistryError};

/// Why something was not done.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("nothing of {model} is deployed to {environment}")]
    NotDeployed {
        model: ModelName,
        environment: Environment,
    },
    #[error("{model} could not be loaded here yet for {environment}")]
    NotAtHand {
        model: ModelName,
        environment: Environment,
    },
    #[error("version {version} of {model} is not part of its deployment to {environment}")]
    NotServed {
        model: ModelName,
        version: Version,
        environment: Environment,
    },
    #[error("the input cannot be accepted")]
    Refused(#[source] Refusal),
    #[error("{rows} rows at once; at most {rows_max} (`limits.rows_max`)")]
    TooManyRows { rows: usize, rows_max: usize },
    #[error("row {row}")]
    Row {
        /// From 0.
        row: usize,
        #[source]
        source: Box<Error>,
    },
    #[error(
        "no version of {model} was approved for {environment}: deploy one, or give one the alias `champion`"
    )]
    NothingApproved {
        model: ModelName,
        environment: Environment,
    },
    #[error("the batch is empty")]
    NoRows,
    #[error("the model gave an answer that is no number")]
    NoAnswer,
    #[error("the decision {id} was recorded, and its record cannot be read as an answer")]
    Unreadable { id: RecordId },
    #[error("{id} is no decision of a model")]
    NoDecision { id: RecordId },
    #[error("several decisions about this person fit that time; name one by its id")]
    Ambiguous,
    #[error("no decision about this person fits that time")]
    NoMatch,
    #[error("too many questions wait for a large model; try again in {retry_after_ms} ms")]
    Busy { retry_after_ms: u64 },
    #[error("the work was interrupted")]
    Interrupted,
    #[error(transparent)]
    Deploy(#[from] DeployError),
    #[error("version {version} of {model} cannot be put to work")]
    Load {
        model: ModelName,
        version: Version,
        #[source]
        source: ModelError,
    },
    #[error("version {version} of {model} did not pass its self-test: {reason}")]
    SelfTest {
        model: ModelName,
        version: Version,
        reason: String,
    },
    #[error(transparent)]
    Store(#[from] ombud_store::Error),
    #[error(transparent)]
    Registry(#[from] RegistryError),
    #[error(transparent)]
    Ledger(#[from] ombud_ledger::Error),
    #[error(transparent)]
    Cache(#[from] CacheError),
    /// A server forgets them as soon as its cache answers, also when nobody asks again.
    #[error("the person's keys are destroyed; answers about them may still be in the cache")]
    CacheKeeps(#[source] CacheError),
}

/// When a cache that did not answer, or a model that could not be loaded, may be asked for again.
const RETRY_AFTER_MS: u64 = 5_000;

/// What the functions of this room give.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// Whose mistake it was.
    pub fn class(&self) -> Class {
        match self {
            Error::NotDeployed { .. }
            | Error::NotServed { .. }
            | Error::NoDecision { .. }
            | Error::NoMatch => Class::NotFound,
            Error::Refused(_) | Error::NoRows => Class::Invalid,
            Error::TooManyRows { .. } => Class::TooLarge,
            Error::Ambiguous | Error::NothingApproved { .. } => Class::Conflict,
            Error::Row { source, .. } => source.class(),
            Error::Busy { .. } | Error::NotAtHand { .. } => Class::Unavailable,
            Error::NoAnswer | Error::Interrupted => Class::Internal,
            Error::Unreadable { .. } => Class::Corrupt,
            // Its bytes are those that were registered, so whoever made them is asked and not our disk.
            Error::SelfTest { .. } => Class::Unsupported,
            Error::Deploy(source) => source.class(),
            Error::Load { source, .. } => match source.class() {
                Class::Corrupt => Class::Unsupported,
                class => class,
            },
            Error::Store(source) => source.class(),
            Error::Registry(source) => source.class(),
            Error::Ledger(source) => source.class(),
            Error::Cache(source) | Error::CacheKeeps(source) => source.class(),
        }
    }

    /// When trying again can help, in milliseconds.
    pub fn retry_after_ms(&self) -> Option<u64> {
        match self {
            Error::Busy { retry_after_ms } => Some(*retry_after_ms),
            Error::CacheKeeps(_) | Error::NotAtHand { .. } => Some(RETRY_AFTER_MS),
            Error::Row { source, .. } => source.retry_after_ms(),
            Error::Ledger(source) => source.retry_after_ms(),
            Error::Store(source) => source.retry_after_ms(),
            _ => None,
        }
    }
}
