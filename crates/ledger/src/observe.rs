//! What a caller may want to count, without this room knowing of any metrics library.

use std::fmt;
use std::time::Duration;

/// One group made durable, or not.
#[derive(Debug, Clone, Copy)]
pub struct Commit {
    /// How many records.
    pub records: usize,
    /// How many callers waited for them.
    pub callers: usize,
    /// From taking the first job to answering.
    pub took: Duration,
    /// How long the caller that waited longest had been queued before that.
    pub queued: Duration,
    /// Whether it is durable.
    pub succeeded: bool,
}

/// Hears of every commit, on the writer's thread: be quick.
pub trait Observer: Send + Sync + fmt::Debug {
    /// A group was committed, or failed to be.
    fn committed(&self, commit: &Commit);
}
