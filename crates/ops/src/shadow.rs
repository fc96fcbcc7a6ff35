//! Shadows: versions that see the same rows after the answer has left, and answer nobody.
//!
//! One task works through a bounded queue; a full queue drops the row, because a shadow may miss one and a caller may not
//! wait. What is kept is whether the shadow would have said the same, never the row.

use crate::answer::AnswerText;
use crate::health::Happened;
use crate::warm::Warm;
use ombud_core::Row;
use serde_json::Value;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::sync::{mpsc, oneshot};

/// Rows that may wait.
pub const QUEUE_ROWS_MAX: usize = 1_024;

/// The queue to the shadows of this replica.
#[derive(Debug)]
pub struct Shadows {
    queue: mpsc::Sender<Work>,
    dropped: AtomicU64,
}

#[derive(Debug)]
enum Work {
    See {
        warm: Arc<Warm>,
        row: Row,
        answered: Value,
    },
    Tell(oneshot::Sender<()>),
}

impl Shadows {
    pub(crate) fn start() -> Self {
        let (queue, waiting) = mpsc::channel(QUEUE_ROWS_MAX);
        tokio::spawn(work(waiting));
        Shadows {
            queue,
            dropped: AtomicU64::new(0),
        }
    }

    /// Hands over a row, unless too many wait.
    pub(crate) fn see(&self, warm: Arc<Warm>, row: Row, answered: Value) {
        let handed = self.queue.try_send(Work::See {
            warm,
            row,
            answered,
        });
        if handed.is_err() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Rows that no shadow saw because too many waited.
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    pub(crate) async fn drain(&self) {
        let (told, telling) = oneshot::channel();
        if self.queue.send(Work::Tell(told)).await.is_ok() {
            // A worker that ended has nothing left to see.
            let _ = telling.await;
        }
    }
}

async fn work(mut waiting: mpsc::Receiver<Work>) {
    while let Some(work) = waiting.recv().await {
        match work {
            Work::Tell(told) => {
                // Whoever asked may have left.
                let _ = told.send(());
            }
            Work::See {
                warm,
                row,
                answered,
            } => {
                // Off the workers that answer; a model that panics takes nobody along.
                let seen = tokio::task::spawn_blocking(move || see(&warm, &row, &answered));
                let _ = seen.await;
            }
        }
    }
}

fn see(warm: &Warm, row: &Row, answered: &Value) {
    let answer = AnswerText::of(&warm.model, &warm.model.predict(row));
    let happened = match answer {
        Some(answer) => Happened::Shadowed {
            differs: answer.prediction != *answered,
        },
        None => Happened::Failed,
    };
    warm.counters.count(happened);
}
