//! A Redis that nothing depends on: asked within a bound, and left alone for a while when it misses it (`breaker`).
//!
//! Dead, hung or slow, it costs a caller at most that bound once, and then nothing. One connection carries all questions at
//! once; after a failure it is thrown away, because its next answer may be the last question's.

mod breaker;

use ::redis::aio::MultiplexedConnection;
use ::redis::{AsyncConnectionConfig, Client, Cmd, FromRedisValue, RedisError};
use breaker::Breaker;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How long a caller waits for an answer, unless told otherwise.
pub const WAIT: Duration = Duration::from_millis(50);

/// A connection to a Redis, made when it is first needed.
pub(crate) struct Link {
    client: Client,
    wait: Duration,
    connection: tokio::sync::Mutex<Option<MultiplexedConnection>>,
    breaker: Mutex<Breaker>,
}

/// A text that names no Redis, without its password.
#[derive(Debug, thiserror::Error)]
#[error("{url:?} names no Redis: write redis://HOST:PORT or unix:PATH")]
pub struct UrlError {
    pub url: String,
}

impl Link {
    /// A link to a Redis, which need not be there yet.
    pub fn new(url: &str, wait: Duration) -> Result<Self, UrlError> {
        let client = Client::open(url).map_err(|_| UrlError {
            url: crate::database::hidden(url),
        })?;
        Ok(Link {
            client,
            wait,
            connection: tokio::sync::Mutex::default(),
            breaker: Mutex::new(Breaker::new()),
        })
    }

    /// Asks within the bound, unless the server is left alone; whatever goes wrong, there is no answer.
    pub async fn ask<T: FromRedisValue>(&self, question: &Cmd) -> Option<T> {
        if !self.breaker().admits(Instant::now()) {
            return None;
        }
        let asked = tokio::time::timeout(self.wait, self.ask_now(question)).await;
        if let Ok(Ok(answer)) = asked {
            self.breaker().succeeded();
            return Some(answer);
        }
        self.breaker().failed(Instant::now());
        // Whoever makes a connection just now may keep theirs: the next failure takes it.
        if let Ok(mut connection) = self.connection.try_lock() {
            *connection = None;
        }
        None
    }

    /// A connection of its own, for work that may take longer: the shared one may be hanging.
    pub async fn own_connection(&self) -> Result<MultiplexedConnection, RedisError> {
        self.client.get_multiplexed_async_connection().await
    }

    /// Whether the server answered when it was last asked.
    pub fn is_closed(&self) -> bool {
        self.breaker().is_closed()
    }

    async fn ask_now<T: FromRedisValue>(&self, question: &Cmd) -> Result<T, RedisError> {
        let mut connection = self.connected().await?;
        question.query_async(&mut connection).await
    }

    async fn connected(&self) -> Result<MultiplexedConnection, RedisError> {
        let mut connection = self.connection.lock().await;
        if let Some(connection) = connection.as_ref() {
            return Ok(connection.clone());
        }
        // The bound around the whole question ends a slow connect.
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(None)
            .set_response_timeout(None);
        let fresh = self
            .client
            .get_multiplexed_async_connection_with_config(&config)
            .await?;
        *connection = Some(fresh.clone());
        Ok(fresh)
    }

    fn breaker(&self) -> std::sync::MutexGuard<'_, Breaker> {
        self.breaker.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for Link {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Link")
            .field("wait", &self.wait)
            .finish_non_exhaustive()
    }
}
