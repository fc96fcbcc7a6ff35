//! What is left of an invitation and its response in the database's files, where both stand in one transaction.
//!
//! SQLite's log of writes holds each transaction until it is emptied, and PostgreSQL's pages hold what a deleted row was until
//! they are written anew. Soon after, neither does; what stands in the way is tried again, and nobody waits for it.

use ombud_store::Store;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// What is to be wiped.
#[derive(Debug, Clone, Copy)]
pub enum Traces {
    /// Of answers that came in: a used invitation's row tells the transaction that its response came in.
    OfAnswers,
    /// Of a campaign that closed: all that its responses and invitations were.
    OfCampaign,
}

/// A column that gets its own type by an expression makes a new file of the living rows alone; a vacuum would carry over what
/// some old snapshot might still see.
const TOKENS: &str = "alter table hseg_tokens alter column hash type bytea using hash || ''::bytea";
const RESPONSES: &str =
    "alter table hseg_responses alter column sealed type bytea using sealed || ''::bytea";

/// How long files may hold who used which invitation; of many that answer at once, one is the last.
const FIRST_AFTER: Duration = Duration::from_secs(1);
/// How often and in what steps it is tried again, a day long in all, while others read or write.
const TRIES_MAX: u32 = 4_000;
const PAUSE_MAX: Duration = Duration::from_secs(30);
/// From which try on it is worth a word.
const TOLD_FROM: u32 = 10;

impl Traces {
    /// Wipes them soon. Needs tokio's runtime.
    pub fn wipe_soon(self, store: &Store) {
        let (is_due, first_after) = match self {
            Traces::OfAnswers => {
                static IS_DUE: AtomicBool = AtomicBool::new(false);
                (Some(&IS_DUE), FIRST_AFTER)
            }
            Traces::OfCampaign => (None, Duration::ZERO),
        };
        if is_due.is_some_and(|is_due| is_due.swap(true, Ordering::SeqCst)) {
            return;
        }
        let store = store.clone();
        tokio::spawn(async move {
            tokio::time::sleep(first_after).await;
            if let Some(is_due) = is_due {
                is_due.store(false, Ordering::SeqCst);
            }
            self.wipe(&store).await;
        });
    }

    async fn wipe(self, store: &Store) {
        let statements: &[&str] = match self {
            Traces::OfAnswers => &[TOKENS],
            Traces::OfCampaign => &[RESPONSES, TOKENS],
        };
        for attempt in 1..=TRIES_MAX {
            let error = match store.wipe(statements).await {
                Ok(true) => return,
                Ok(false) => None,
                Err(error) => Some(error),
            };
            if attempt == TOLD_FROM {
                let cause = error.map(|error| error.to_string());
                let cause = cause.unwrap_or_else(|| "others read".to_owned());
                tracing::warn!(%cause, "what was deleted cannot be wiped from the database's files yet; it is tried again");
            }
            tokio::time::sleep(FIRST_AFTER.saturating_mul(attempt).min(PAUSE_MAX)).await;
        }
    }
}
