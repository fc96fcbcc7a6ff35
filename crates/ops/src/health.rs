//! How a version is doing on this replica, counted as it answers.
//!
//! Counts since it was put to work here. What the whole house answered is in the ledger; this is for the question "is it
//! alive", and for a canary's first minutes.

use std::sync::atomic::{AtomicU64, Ordering};

/// The counters of one version at work.
#[derive(Debug, Default)]
pub struct Counters {
    answered: AtomicU64,
    cache_hits: AtomicU64,
    refused: AtomicU64,
    failed: AtomicU64,
    shadowed: AtomicU64,
    shadow_differs: AtomicU64,
    latency_us: AtomicU64,
}

/// What was counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    pub answered: u64,
    pub cache_hits: u64,
    /// Inputs that could not be accepted.
    pub refused: u64,
    /// Questions that failed on our side.
    pub failed: u64,
    /// Questions seen as a shadow.
    pub shadowed: u64,
    /// Of them, those where the shadow's prediction was another one.
    pub shadow_differs: u64,
    /// Of all answers together.
    pub latency_us: u64,
}

/// What happened to a question.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Happened {
    Answered { latency_us: u64, cache_hit: bool },
    Refused,
    Failed,
    Shadowed { differs: bool },
}

impl Counters {
    /// Counts it.
    pub fn count(&self, happened: Happened) {
        let add = |counter: &AtomicU64, number: u64| {
            counter.fetch_add(number, Ordering::Relaxed);
        };
        match happened {
            Happened::Answered {
                latency_us,
                cache_hit,
            } => {
                add(&self.answered, 1);
                add(&self.cache_hits, u64::from(cache_hit));
                add(&self.latency_us, latency_us);
            }
            Happened::Refused => add(&self.refused, 1),
            Happened::Failed => add(&self.failed, 1),
            Happened::Shadowed { differs } => {
                add(&self.shadowed, 1);
                add(&self.shadow_differs, u64::from(differs));
            }
        }
    }

    /// What was counted so far.
    pub fn counts(&self) -> Counts {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Counts {
            answered: read(&self.answered),
            cache_hits: read(&self.cache_hits),
            refused: read(&self.refused),
            failed: read(&self.failed),
            shadowed: read(&self.shadowed),
            shadow_differs: read(&self.shadow_differs),
            latency_us: read(&self.latency_us),
        }
    }
}
