//! Wiping destroyed keys from PostgreSQL's files, shared by all who wait for it.
//!
//! SQLite overwrites in place; PostgreSQL leaves what a row was in its page, so the table is written anew. That costs the
//! size of the table, whoever asks: when many people are erased at once, one rewriting that began after a caller's keys were
//! destroyed serves that caller too.

use crate::error::Error;
use crate::ledger::Database;
use crate::tables::postgres;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

/// When a caller may try again whose rewriting did not get its lock.
const RETRY_AFTER_MS: u64 = 5_000;

/// The rewritings of one database by one process.
pub(crate) struct Rewriting {
    url: String,
    asked: AtomicU64,
    /// The last asking that a finished rewriting has served.
    served: Mutex<u64>,
}

impl Rewriting {
    /// Of a database that needs it.
    pub fn of(database: &Database) -> Option<Self> {
        let Database::Postgres(url) = database else {
            return None;
        };
        Some(Rewriting {
            url: url.clone(),
            asked: AtomicU64::new(0),
            served: Mutex::new(0),
        })
    }

    /// Returns when a rewriting that began after this call has ended. Blocks.
    pub fn run(&self) -> Result<(), Error> {
        let mine = self.asked.fetch_add(1, Ordering::SeqCst) + 1;
        let mut served = self.served.lock().unwrap_or_else(PoisonError::into_inner);
        if *served >= mine {
            return Ok(());
        }
        let serves = self.asked.load(Ordering::SeqCst);
        postgres::rewrite_keys(&self.url).map_err(|_| Error::NotWiped {
            retry_after_ms: RETRY_AFTER_MS,
        })?;
        *served = serves;
        Ok(())
    }
}
