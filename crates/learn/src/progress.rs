//! How long work tells what it is doing, and hears that it should stop.
//!
//! Training does not know whether a terminal, a job table or nobody listens.

/// Listens to long work.
pub trait Progress: Send + Sync {
    /// A new stage begins, of so many units when that is known.
    fn start(&self, stage: &str, total: Option<u64>);
    /// So many units of the stage are done.
    fn advance(&self, done: u64);
    /// The stage ended.
    fn finish(&self);
    /// Whether the work should stop.
    fn is_stopped(&self) -> bool {
        false
    }
}

/// Nobody listens.
#[derive(Debug, Clone, Copy, Default)]
pub struct Silent;

impl Progress for Silent {
    fn start(&self, _stage: &str, _total: Option<u64>) {}
    fn advance(&self, _done: u64) {}
    fn finish(&self) {}
}
