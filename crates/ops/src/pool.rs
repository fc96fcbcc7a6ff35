//! A bounded pool for work that would keep a worker from answering others: large models, and batches.
//!
//! As much runs at once as there are cores; what waits is bounded, and a full queue refuses at once. Whoever leaves while
//! waiting is skipped, because their place goes with their future.

use crate::error::{Error, Result};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Questions that may wait or run.
pub const PLACES_MAX: usize = 256;
/// When a caller who found the pool full may try again.
const RETRY_AFTER_MS: u64 = 500;

/// The pool of this replica.
#[derive(Debug)]
pub(crate) struct Pool {
    running: Arc<Semaphore>,
    taken: AtomicUsize,
    places_max: usize,
}

/// A place in the pool; given back when dropped.
struct Taken<'a>(&'a AtomicUsize);

impl Pool {
    /// A pool as wide as the machine.
    pub fn new() -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Pool::with(cores, PLACES_MAX)
    }

    pub(crate) fn with(at_once: usize, places_max: usize) -> Self {
        Pool {
            running: Arc::new(Semaphore::new(at_once)),
            taken: AtomicUsize::new(0),
            places_max,
        }
    }

    /// Does the work on a thread of its own when its turn comes.
    pub async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T> {
        let _place = self.enter()?;
        let turn = self.turn().await?;
        let done = tokio::task::spawn_blocking(move || {
            // Kept by the work and not by the caller, who may leave while it runs.
            let _turn = turn;
            work()
        });
        done.await.map_err(|_| Error::Interrupted)
    }

    /// A turn to compute, kept by whoever does: as many are out as there are cores.
    pub async fn turn(&self) -> Result<OwnedSemaphorePermit> {
        let turn = Arc::clone(&self.running).acquire_owned().await;
        turn.map_err(|_| Error::Interrupted)
    }

    fn enter(&self) -> Result<Taken<'_>> {
        let before = self.taken.fetch_add(1, Ordering::Relaxed);
        // Made before the check, so that a refusal gives back what was just counted.
        let place = Taken(&self.taken);
        if before >= self.places_max {
            return Err(Error::Busy {
                retry_after_ms: RETRY_AFTER_MS,
            });
        }
        Ok(place)
    }
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    #[tokio::test]
    async fn a_full_pool_refuses_at_once_and_serves_again_when_there_is_room() {
        let pool = Pool::with(1, 2);
        let (open, gate) = mpsc::channel::<()>();
        let first = pool.run(move || gate.recv().is_ok());
        let second = pool.run(|| true);
        tokio::pin!(first, second);
        // Polled once each: one runs, one waits.
        let poll = std::future::poll_fn(|context| {
            assert!(first.as_mut().poll(context).is_pending());
            assert!(second.as_mut().poll(context).is_pending());
            std::task::Poll::Ready(())
        });
        poll.await;
        let refused = pool.run(|| true).await.unwrap_err();
        assert!(refused.retry_after_ms().is_some(), "{refused}");
        open.send(()).unwrap();
        assert!(first.await.unwrap() && second.await.unwrap());
        assert!(pool.run(|| true).await.unwrap());
    }

    #[tokio::test]
    async fn work_that_panics_takes_nobody_along() {
        let pool = Pool::with(1, 1);
        let refused = pool.run::<()>(|| std::panic::panic_any("on purpose")).await;
        assert!(matches!(refused, Err(Error::Interrupted)));
        assert!(pool.run(|| true).await.unwrap());
    }
}
