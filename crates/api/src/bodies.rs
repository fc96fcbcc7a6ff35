//! How many bytes of bodies may wait in memory for the rest of them, all together.
//!
//! A body is gathered before it is read, and a client may send it as slowly as a request may last. Each body's first
//! [`FREE_BYTES`] cost nothing, because connections are bounded; what is beyond comes out of one budget and goes back when the
//! body ends, however it ends. A body that finds the budget spent is refused at once, so that those that are nearly whole
//! become whole. Bodies that are streamed to a disk hold nothing here and are not counted.

use axum::body::Body;
use bytes::Bytes;
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use std::error::Error;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;
use tonic::Status;

/// What of each body costs nothing.
pub const FREE_BYTES: usize = 64 << 10;
/// When a client that found the budget spent may come again.
pub const RETRY_AFTER: Duration = Duration::from_secs(1);

/// The budget of a server; cheap to clone.
#[derive(Debug, Clone)]
pub struct Bodies(Arc<Budget>);

#[derive(Debug)]
struct Budget {
    bytes_max: usize,
    held: AtomicUsize,
}

/// What one body holds; given back when dropped.
#[derive(Debug)]
pub struct Holding {
    bodies: Bodies,
    arrived: AtomicUsize,
    held: AtomicUsize,
}

/// No bytes of bodies are left to be given.
#[derive(Debug)]
pub struct Spent(Status);

/// A body whose bytes are counted while they wait.
struct Counted {
    body: Body,
    holding: Arc<Holding>,
}

impl Bodies {
    /// A budget of so many bytes.
    pub fn new(bytes_max: usize) -> Self {
        Bodies(Arc::new(Budget {
            bytes_max,
            held: AtomicUsize::new(0),
        }))
    }

    /// What is held now.
    pub fn held(&self) -> usize {
        self.0.held.load(Ordering::Relaxed)
    }

    /// The same body, counted, and what it holds.
    pub fn count(&self, body: Body) -> (Body, Arc<Holding>) {
        let holding = Arc::new(Holding {
            bodies: self.clone(),
            arrived: AtomicUsize::new(0),
            held: AtomicUsize::new(0),
        });
        let counted = Counted {
            body,
            holding: Arc::clone(&holding),
        };
        (Body::new(counted), holding)
    }

    fn take(&self, bytes: usize) -> bool {
        let taken = |held: usize| {
            let held = held.checked_add(bytes)?;
            (held <= self.0.bytes_max).then_some(held)
        };
        let (success, failure) = (Ordering::Relaxed, Ordering::Relaxed);
        self.0.held.fetch_update(success, failure, taken).is_ok()
    }
}

impl Holding {
    /// Takes in what arrived.
    fn grow(&self, bytes: usize) -> Result<(), Spent> {
        let arrived = self.arrived.fetch_add(bytes, Ordering::Relaxed) + bytes;
        let held = self.held.load(Ordering::Relaxed);
        let more = arrived.saturating_sub(FREE_BYTES).saturating_sub(held);
        if !self.bodies.take(more) {
            return Err(Spent::new());
        }
        self.held.fetch_add(more, Ordering::Relaxed);
        Ok(())
    }

    /// Gives back what was held: a message of a stream was read, or the body ended.
    pub fn release(&self) {
        self.arrived.store(0, Ordering::Relaxed);
        let held = self.held.swap(0, Ordering::Relaxed);
        self.bodies.0.held.fetch_sub(held, Ordering::Relaxed);
    }
}

impl Drop for Holding {
    fn drop(&mut self) {
        self.release();
    }
}

impl HttpBody for Counted {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(context);
        let Poll::Ready(Some(Ok(frame))) = polled else {
            return polled;
        };
        let arrived = frame.data_ref().map_or(0, Bytes::len);
        Poll::Ready(Some(match self.holding.grow(arrived) {
            Ok(()) => Ok(frame),
            Err(spent) => Err(axum::Error::new(spent)),
        }))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Spent {
    fn new() -> Self {
        Spent(Status::unavailable(WORDS))
    }

    /// Whether this is why a body did not arrive.
    pub fn is_behind(error: &(dyn Error + 'static)) -> bool {
        let mut cause = Some(error);
        while let Some(error) = cause {
            if error.is::<Spent>() {
                return true;
            }
            cause = error.source();
        }
        false
    }
}

/// What a client is told whose body found the budget spent.
pub const WORDS: &str =
    "as many bytes of requests are arriving as may be; send it again a little later";

impl fmt::Display for Spent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(WORDS)
    }
}

/// Those who speak gRPC look for a status among the causes.
impl Error for Spent {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::BodyExt;

    async fn gather(bodies: &Bodies, bytes: usize) -> Result<usize, axum::Error> {
        let (body, _holding) = bodies.count(Body::from(vec![0; bytes]));
        Ok(body.collect().await?.to_bytes().len())
    }

    #[tokio::test]
    async fn what_waits_is_bounded_and_given_back() {
        let bodies = Bodies::new(1_000);
        let (waiting, holding) = bodies.count(Body::from(vec![0; FREE_BYTES + 600]));
        let mut waiting = waiting;
        waiting.frame().await.expect("a frame").expect("within");
        assert_eq!(bodies.held(), 600);
        let refused = gather(&bodies, FREE_BYTES + 401).await.expect_err("spent");
        assert!(Spent::is_behind(&refused));
        assert_eq!(bodies.held(), 600, "who was refused holds nothing");
        assert!(gather(&bodies, FREE_BYTES + 400).await.is_ok());
        assert!(
            gather(&bodies, FREE_BYTES).await.is_ok(),
            "small ones always"
        );
        drop((waiting, holding));
        assert_eq!(bodies.held(), 0);
        assert!(gather(&bodies, FREE_BYTES + 1_000).await.is_ok());
    }

    #[tokio::test]
    async fn a_stream_gives_back_what_was_read() {
        let bodies = Bodies::new(1_000);
        let (mut body, holding) = bodies.count(Body::from(vec![0; FREE_BYTES + 10]));
        body.frame().await.expect("a frame").expect("within");
        holding.release();
        assert_eq!(bodies.held(), 0);
        drop((body, holding));
        assert_eq!(bodies.held(), 0, "and only once");
    }
}
