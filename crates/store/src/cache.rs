//! Answers that may be given again: bounded, short-lived, and never needed.
//!
//! A cache only saves work. It may forget at any moment, so nothing here fails a caller: what cannot be read is not there,
//! and what cannot be written is let go. The one thing that must succeed is forgetting ([`Cache::clear`]), because a person
//! may have asked for it. [`Memory`] keeps answers in this process, [`Redis`] where all replicas see them.

mod memory;
mod off;
mod redis;

pub use self::redis::{Redis, RedisOptions};
pub use memory::Memory;
pub use off::Off;

use ombud_core::{Class, Digest};
use ombud_ledger::Tenant;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

/// How long an answer may be given again, unless told otherwise.
pub const LIFETIME: Duration = Duration::from_secs(3_600);
/// Largest answer that is kept.
pub const VALUE_BYTES_MAX: usize = 256 << 10;

/// What an answer belongs to, within a tenant: the bundle that gave it and what it was asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct CacheKey {
    pub bundle: Digest,
    /// Of the input in its canonical form.
    pub input: Digest,
}

/// How a cache is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CacheStatus {
    /// Whether it can be asked just now.
    pub is_available: bool,
    /// Answers that it holds, where that is known.
    pub entries: Option<u64>,
    /// Bytes that they take, where that is known.
    pub bytes: Option<u64>,
}

/// Why a cache did not forget.
#[derive(Debug, thiserror::Error)]
pub enum CacheError {
    #[error("the cache does not answer; what it holds ends within its lifetime")]
    Unavailable {
        #[source]
        source: Option<::redis::RedisError>,
    },
    #[error(transparent)]
    Url(#[from] crate::redis::UrlError),
}

/// Work that may wait for a network, for a bounded time.
pub type Doing<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// A cache of answers.
pub trait Cache: Send + Sync + fmt::Debug {
    /// The answer, when it is at hand.
    fn get<'a>(&'a self, tenant: &'a Tenant, key: &'a CacheKey) -> Doing<'a, Option<Arc<[u8]>>>;
    /// Keeps an answer, if it can.
    fn put<'a>(&'a self, tenant: &'a Tenant, key: &'a CacheKey, value: Arc<[u8]>) -> Doing<'a, ()>;
    /// Forgets everything of a tenant.
    fn clear<'a>(&'a self, tenant: &'a Tenant) -> Doing<'a, Result<(), CacheError>>;
    /// How it is doing.
    fn status(&self) -> Doing<'_, CacheStatus>;
}

impl CacheError {
    /// Whose mistake it was.
    pub fn class(&self) -> Class {
        match self {
            CacheError::Unavailable { .. } => Class::Unavailable,
            CacheError::Url(_) => Class::Invalid,
        }
    }
}
