//! Carries what the write-ahead log holds over into the file, beside the writer instead of in its way.
//!
//! SQLite does this by itself in the commit that fills the log, and everybody who waits for that commit waits for
//! thousands of pages. Here a second connection carries most of it over meanwhile; the writer adds the little that came
//! since, so that the log can begin anew.

use rusqlite::Connection;
use rusqlite::hooks::Wal;
use std::cell::Cell;
use std::ffi::c_int;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;

/// Pages of the log that the drainer lets come together before it carries them over.
const DRAINED_PAGES: i32 = 2_000;
/// A log longer than this is to begin anew.
const LOG_PAGES: i32 = 4_000;
/// So few pages the writer carries over itself.
const REST_PAGES: i32 = 250;

thread_local! {
    /// Pages in the log after this thread's last commit; SQLite's hook takes a function without surroundings.
    static LOGGED: Cell<i32> = const { Cell::new(0) };
}

/// The thread with the second connection, and what the writer knows of it.
#[derive(Debug)]
pub(super) struct Drainer {
    /// Taken when it is to end.
    wake: Option<SyncSender<()>>,
    /// Pages of the log that are in the file.
    drained: Arc<AtomicI32>,
    thread: Option<JoinHandle<()>>,
}

impl Drainer {
    /// Starts draining; `writer` no longer does it by itself, and is to be [`Drainer::committed`] from its own thread.
    pub fn start(writer: &Connection, own: Connection) -> io::Result<Self> {
        writer.wal_hook(Some(note));
        let (wake, woken) = sync_channel(1);
        let drained = Arc::new(AtomicI32::new(0));
        let told = Arc::clone(&drained);
        let thread = std::thread::Builder::new()
            .name("ledger-drain".to_owned())
            .spawn(move || drain(&own, &woken, &told))?;
        Ok(Drainer {
            wake: Some(wake),
            drained,
            thread: Some(thread),
        })
    }

    /// After each commit of the writer.
    pub fn committed(&self, writer: &Connection) {
        let logged = LOGGED.get();
        if logged < self.drained.load(Ordering::Relaxed) {
            // The log has begun anew.
            self.drained.store(0, Ordering::Relaxed);
        }
        let rest = logged - self.drained.load(Ordering::Relaxed);
        let is_long = logged > LOG_PAGES;
        if is_long && rest <= REST_PAGES {
            let _ = carry_over(writer);
        } else if is_long || rest > DRAINED_PAGES {
            // A full channel means that it is awake.
            let _ = self.wake.as_ref().map(|wake| wake.try_send(()));
        }
    }
}

impl Drop for Drainer {
    fn drop(&mut self) {
        self.wake = None;
        if let Some(thread) = self.thread.take() {
            // It panicked or it ended; both leave the log to the next commit.
            let _ = thread.join();
        }
    }
}

// The signature is SQLite's.
#[expect(clippy::unnecessary_wraps)]
fn note(_: &Wal, pages: c_int) -> rusqlite::Result<()> {
    LOGGED.set(pages);
    Ok(())
}

fn drain(own: &Connection, woken: &Receiver<()>, drained: &AtomicI32) {
    while woken.recv().is_ok() {
        // What does not work now, for want of space or because somebody reads an old state, is tried after a later commit.
        if let Ok(pages) = carry_over(own) {
            drained.store(pages, Ordering::Relaxed);
        }
    }
}

/// Carries over what nobody still needs to find in the log; how many of its pages are in the file.
fn carry_over(connection: &Connection) -> rusqlite::Result<i32> {
    connection
        .prepare_cached("pragma wal_checkpoint(passive)")?
        .query_row([], |row| row.get(2))
}
