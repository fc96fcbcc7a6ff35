//! The socket: accepts connections, encrypts them, and lets none of them hold more than its share.
//!
//! A connection has a time for its first words, a time for its head, a time for its next request and a time in which it must
//! read what it was answered; their number is bounded; a shutdown stops accepting, finishes what was accepted, and then
//! closes. Everything above is the router's and knows no socket. TLS is [`tls`].

pub mod tls;

mod patient;
mod unread;

use crate::config::Config;
use crate::metrics::Metrics;
use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use hyper::Version;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::GracefulShutdown;
use patient::Patient;
use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tls::Tls;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tower::Service;
use unread::Answers;

/// The largest head of a request.
const HEAD_BYTES_MAX: usize = 32 << 10;
/// Headers in a request's head.
const HEADERS_MAX: usize = 64;
/// Requests at once on one connection (HTTP/2).
const STREAMS_MAX: u32 = 128;
/// How long accepting pauses after the system has no more sockets to give.
const EXHAUSTED_PAUSE: Duration = Duration::from_millis(50);

/// A socket that is open and not yet served.
#[derive(Debug)]
pub struct Door {
    listener: TcpListener,
    tls: Option<Arc<Tls>>,
    patience: Patience,
    connections: Arc<Semaphore>,
    metrics: Arc<Metrics>,
}

/// How long a client may take.
#[derive(Debug, Clone, Copy)]
struct Patience {
    head: Duration,
    write: Duration,
    shutdown: Duration,
}

/// Why the door does not open.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    #[error("cannot listen on {address}")]
    Address {
        address: SocketAddr,
        source: io::Error,
    },
    #[error(transparent)]
    Tls(#[from] tls::TlsError),
}

impl Door {
    /// Opens a socket at an address.
    pub async fn open(
        address: SocketAddr,
        config: &Config,
        metrics: Arc<Metrics>,
    ) -> Result<Self, ListenError> {
        let tls = config
            .has_tls()
            .then(|| Tls::load(&config.tls))
            .transpose()?;
        let listener = TcpListener::bind(address)
            .await
            .map_err(|source| ListenError::Address { address, source })?;
        Ok(Door {
            listener,
            tls: tls.map(Arc::new),
            patience: Patience {
                head: Duration::from_secs(config.server.head_seconds.0),
                write: Duration::from_secs(config.server.write_seconds.0),
                shutdown: Duration::from_secs(config.server.shutdown_seconds.0),
            },
            connections: Arc::new(Semaphore::new(config.server.connections_max)),
            metrics,
        })
    }

    /// Where it listens.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Serves until `stop` resolves, then finishes what was accepted.
    pub async fn serve(self, router: Router, stop: impl Future<Output = ()>) {
        let graceful = GracefulShutdown::new();
        let mut stop = std::pin::pin!(stop);
        let reloading = self
            .tls
            .clone()
            .map(|tls| tokio::spawn(async move { tls.watch().await }));
        loop {
            let permit = tokio::select! {
                permit = Arc::clone(&self.connections).acquire_owned() => permit,
                () = &mut stop => break,
            };
            let Ok(permit) = permit else { break };
            let accepted = tokio::select! {
                accepted = self.listener.accept() => accepted,
                () = &mut stop => break,
            };
            let (stream, peer) = match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    pause_after(&error).await;
                    continue;
                }
            };
            // A reply is one small write: waiting to fill a packet would only delay it.
            if stream.set_nodelay(true).is_err() {
                continue;
            }
            let (router, tls, patience) = (router.clone(), self.tls.clone(), self.patience);
            let (watcher, metrics) = (graceful.watcher(), Arc::clone(&self.metrics));
            tokio::spawn(async move {
                let _permit = permit;
                let _open = metrics.connections.hold();
                match tls {
                    None => connection(stream, peer, router, patience, watcher).await,
                    Some(tls) => {
                        if let Some(stream) = tls.accept(stream, patience.head).await {
                            connection(stream, peer, router, patience, watcher).await;
                        }
                    }
                }
            });
        }
        drop(self.listener);
        if let Some(reloading) = reloading {
            reloading.abort();
        }
        if tokio::time::timeout(self.patience.shutdown, graceful.shutdown())
            .await
            .is_err()
        {
            tracing::warn!(
                "some requests were still at work when the time to finish them was over"
            );
        }
    }
}

async fn connection<S>(
    stream: S,
    peer: SocketAddr,
    router: Router,
    patience: Patience,
    watcher: hyper_util::server::graceful::Watcher,
) where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(patience.head)
        .max_buf_size(HEAD_BYTES_MAX)
        .max_headers(HEADERS_MAX)
        .pipeline_flush(true);
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(Some(patience.head))
        .keep_alive_timeout(patience.head)
        .max_header_list_size(HEAD_BYTES_MAX as u32)
        .max_concurrent_streams(STREAMS_MAX);
    let answers = Answers::default();
    let watched = answers.clone();
    let service = service_fn(move |mut request: hyper::Request<hyper::body::Incoming>| {
        let (mut router, answers) = (router.clone(), watched.clone());
        // Over HTTP/1 an answer is unread when a write does not move.
        let is_watched = request.version() == Version::HTTP_2;
        request.extensions_mut().insert(ConnectInfo(peer));
        async move {
            let response = router.call(request.map(Body::new)).await?;
            Ok::<_, Infallible>(match is_watched {
                true => response.map(|body| answers.watch(body)),
                false => response,
            })
        }
    });
    let io = TokioIo::new(Patient::new(stream, patience.head, patience.write));
    let serving = builder.serve_connection_with_upgrades(io, service);
    tokio::select! {
        // How a connection ended is the client's business; a request that failed has told already.
        _ = watcher.watch(serving.into_owned()) => {}
        () = answers.unread(patience.write) => {}
    }
}

async fn pause_after(error: &io::Error) {
    let is_theirs = matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionRefused
    );
    if !is_theirs {
        tracing::warn!(%error, "a connection could not be accepted");
        tokio::time::sleep(EXHAUSTED_PAUSE).await;
    }
}

/// The stream that a connection is read from, before it is encrypted.
pub type Plain = TcpStream;
