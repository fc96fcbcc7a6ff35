//! What a caller may want to count, without this room knowing of any metrics library.

use crate::warm::Warm;
use std::fmt;
use std::time::Duration;

/// How long a version took on its way to work.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LoadTimes {
    /// Reading its files and checking every digest and the signature.
    pub verify: Duration,
    /// Building its engine.
    pub build: Duration,
    /// Its self-test, and the answers that warm it.
    pub warm: Duration,
}

/// Hears of what happens here: be quick.
pub trait Observer: Send + Sync + fmt::Debug {
    /// A version is ready for work on this replica.
    fn loaded(&self, warm: &Warm);
    /// What is deployed could not be put to work here; `place` is `tenant/model/environment`. Told once for each reason.
    fn not_loaded(&self, place: &str, reason: &str);
}
