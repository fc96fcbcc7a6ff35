//! Answers of HTTP/2 that nobody reads.
//!
//! A client of HTTP/2 reads as much of each answer as it allows, and may allow nothing while it goes on answering pings: the
//! connection's writes move, and the answers stay in memory. So each answer is watched from its making until its last byte was
//! handed to the connection's writes; one that waited for its reader longer than an answer may be left unread ends the
//! connection. While all of them together hold much memory, that is a second. An answer that waits for us, as a stream of
//! questions and answers does, may wait.

use axum::body::Body;
use bytes::Bytes;
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::time::Instant;

/// How often within the time that an answer may be left unread is looked.
const LOOKS: u32 = 4;

/// Bytes of answers that may lie about before nobody's patience is long any more.
const HELD_BYTES_MAX: usize = 64 << 20;
/// How long an answer may be left unread then.
const SHORT_PATIENCE: Duration = Duration::from_secs(1);
/// Bytes of all answers of all connections that are on their way.
static HELD_BYTES: AtomicUsize = AtomicUsize::new(0);

/// The answers of one connection that are on their way.
#[derive(Debug, Clone, Default)]
pub struct Answers(Arc<Mutex<Vec<Arc<Answer>>>>);

#[derive(Debug)]
struct Answer {
    state: Mutex<State>,
    /// What it holds, where that is known from the beginning.
    held: usize,
}

#[derive(Debug)]
struct State {
    /// Bytes that were handed over and not written yet.
    bytes: usize,
    /// Whether there is nothing that a reader could take: we have to say more, or have said all.
    is_ours: bool,
    /// Since when nothing moved.
    since: Instant,
}

/// A body that is watched.
struct Watched {
    body: Body,
    answer: Arc<Answer>,
}

/// Bytes of a body, until they were written.
struct Taken {
    bytes: Bytes,
    answer: Arc<Answer>,
}

impl Answers {
    /// The same body, watched.
    pub fn watch(&self, body: Body) -> Body {
        let held = body.size_hint().exact().unwrap_or_default();
        let held = usize::try_from(held).unwrap_or_default();
        HELD_BYTES.fetch_add(held, Ordering::Relaxed);
        let answer = Arc::new(Answer {
            state: Mutex::new(State {
                bytes: 0,
                is_ours: false,
                since: Instant::now(),
            }),
            held,
        });
        self.listed().push(Arc::clone(&answer));
        Body::new(Watched { body, answer })
    }

    /// Ends when an answer waited for its reader so long.
    pub async fn unread(&self, patience: Duration) {
        loop {
            let is_much = HELD_BYTES.load(Ordering::Relaxed) > HELD_BYTES_MAX;
            let patience = match is_much {
                true => patience.min(SHORT_PATIENCE),
                false => patience,
            };
            tokio::time::sleep((patience / LOOKS).min(SHORT_PATIENCE)).await;
            let mut answers = self.listed();
            // Nobody else holds one that has left.
            answers.retain(|answer| Arc::strong_count(answer) > 1);
            if answers.iter().any(|answer| answer.is_left(patience)) {
                return;
            }
        }
    }

    fn listed(&self) -> MutexGuard<'_, Vec<Arc<Answer>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Answer {
    fn is_left(&self, patience: Duration) -> bool {
        let state = self.state();
        let waits = state.bytes > 0 || !state.is_ours;
        waits && state.since.elapsed() > patience
    }

    fn moved(&self, change: impl FnOnce(&mut State)) {
        let mut state = self.state();
        state.since = Instant::now();
        change(&mut state);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        HELD_BYTES.fetch_sub(self.held, Ordering::Relaxed);
    }
}

impl HttpBody for Watched {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(context);
        let Poll::Ready(Some(Ok(frame))) = polled else {
            // Nothing yet, the end, or an error.
            self.answer.moved(|state| state.is_ours = true);
            return polled;
        };
        let answer = &self.answer;
        answer.moved(|state| state.is_ours = false);
        let frame = frame.map_data(|bytes| {
            answer.moved(|state| state.bytes += bytes.len());
            let answer = Arc::clone(answer);
            Bytes::from_owner(Taken { bytes, answer })
        });
        Poll::Ready(Some(Ok(frame)))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        self.answer.moved(|state| state.is_ours = true);
    }
}

impl AsRef<[u8]> for Taken {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        let bytes = self.bytes.len();
        self.answer.moved(|state| state.bytes -= bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::BodyExt;

    const PATIENCE: Duration = Duration::from_secs(4);

    async fn is_left(answers: &Answers) -> bool {
        let looked = tokio::time::timeout(3 * PATIENCE, answers.unread(PATIENCE));
        looked.await.is_ok()
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_that_nobody_takes_is_left_and_so_are_bytes_that_nobody_writes() {
        let answers = Answers::default();
        let mut body = answers.watch(Body::from("an answer"));
        assert!(is_left(&answers).await, "it was not asked for");
        let frame = body.frame().await.expect("a frame").expect("bytes");
        drop(body);
        assert!(is_left(&answers).await, "its bytes lie about");
        let bytes = frame.into_data().expect("data");
        assert_eq!(bytes, "an answer");
        drop(bytes);
        assert!(!is_left(&answers).await, "it is gone");
        assert!(answers.listed().is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_that_waits_for_us_may_wait() {
        let answers = Answers::default();
        let endless = futures_util::stream::pending::<Result<Bytes, axum::Error>>();
        let mut body = answers.watch(Body::from_stream(endless));
        let waiting = tokio::time::timeout(Duration::from_millis(1), body.frame());
        assert!(waiting.await.is_err(), "there is nothing yet");
        assert!(!is_left(&answers).await);
        drop(body);
    }
}
