//! A stream that gives up on whoever connects and says nothing, and on a reader who does not read.
//!
//! Heads and bodies have their times elsewhere, but they begin when it is known which HTTP is spoken; until then a silent
//! connection would keep its place for ever. So would an answer that nobody takes keep its memory.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};

/// What a client of HTTP/2 says first. Whoever says something else speaks HTTP/1.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// A stream whose first words must come, and whose writes must move, within a time.
#[derive(Debug)]
pub struct Patient<S> {
    stream: S,
    patience: Duration,
    /// Set while a write waits.
    deadline: Option<Pin<Box<Sleep>>>,
    /// Set until it is known which HTTP is spoken.
    opening: Option<Opening>,
}

#[derive(Debug)]
struct Opening {
    deadline: Pin<Box<Sleep>>,
    /// Bytes of the preface that came.
    came: usize,
}

impl<S> Patient<S> {
    /// Wraps a stream, which has so long to begin, and so long for each write.
    pub fn new(stream: S, beginning: Duration, patience: Duration) -> Self {
        Patient {
            stream,
            patience,
            deadline: None,
            opening: Some(Opening {
                deadline: Box::pin(tokio::time::sleep(beginning)),
                came: 0,
            }),
        }
    }

    /// Takes note of bytes that came.
    fn hear(&mut self, bytes: &[u8]) {
        let Some(opening) = &mut self.opening else {
            return;
        };
        let rest = &PREFACE[opening.came..];
        let is_undecided = bytes.len() < rest.len() && rest.starts_with(bytes);
        // No bytes are the end of the stream.
        if is_undecided && !bytes.is_empty() {
            opening.came += bytes.len();
        } else {
            self.opening = None;
        }
    }

    fn judge<T>(
        &mut self,
        context: &mut Context<'_>,
        polled: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if polled.is_ready() {
            self.deadline = None;
            return polled;
        }
        let patience = self.patience;
        let deadline = self
            .deadline
            .get_or_insert_with(|| Box::pin(tokio::time::sleep_until(Instant::now() + patience)));
        match deadline.as_mut().poll(context) {
            Poll::Ready(()) => Poll::Ready(Err(io::ErrorKind::TimedOut.into())),
            Poll::Pending => Poll::Pending,
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Patient<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(context, buffer);
        if polled.is_ready() {
            self.hear(&buffer.filled()[before..]);
            return polled;
        }
        let Some(opening) = &mut self.opening else {
            return Poll::Pending;
        };
        let is_over = opening.deadline.as_mut().poll(context);
        is_over.map(|()| Err(io::ErrorKind::TimedOut.into()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Patient<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.judge(context, polled)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write_vectored(context, slices);
        self.judge(context, polled)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.stream).poll_flush(context);
        self.judge(context, polled)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.stream).poll_shutdown(context);
        self.judge(context, polled)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    #[tokio::test(start_paused = true)]
    async fn whoever_says_nothing_or_half_a_preface_is_given_up() {
        for said in [&b""[..], b"P", b"PRI * HT", &PREFACE[..PREFACE.len() - 1]] {
            let (near, mut far) = tokio::io::duplex(64);
            let mut patient = Patient::new(near, Duration::from_secs(5), Duration::from_secs(30));
            far.write_all(said).await.expect("room");
            let mut read = Vec::new();
            let error = patient.read_to_end(&mut read).await.expect_err("silence");
            assert_eq!(error.kind(), io::ErrorKind::TimedOut, "{said:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_has_begun_has_other_times() {
        for said in [&b"G"[..], b"PUT", PREFACE] {
            let (near, mut far) = tokio::io::duplex(64);
            let mut patient = Patient::new(near, Duration::from_secs(5), Duration::from_secs(30));
            let later = async {
                far.write_all(said).await.expect("room");
                tokio::time::sleep(Duration::from_secs(60)).await;
                drop(far);
            };
            let mut read = Vec::new();
            let (_, read_all) = tokio::join!(later, patient.read_to_end(&mut read));
            read_all.expect("the end, not a time");
            assert_eq!(read, said);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_reader_who_does_not_read_is_given_up() {
        let (near, _far) = tokio::io::duplex(8);
        let mut patient = Patient::new(near, Duration::from_secs(5), Duration::from_secs(30));
        let error = patient.write_all(&[0; 64]).await.expect_err("nobody reads");
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }
}
