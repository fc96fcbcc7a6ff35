//! Answers in Redis, where every replica sees them.
//!
//! Every question has a bound, and a server that misses it is left alone for a while ([`super::breaker`]): dead, hung or
//! slow, it costs a caller at most that bound once, and then nothing. One connection carries all questions at once; after
//! a failure it is thrown away, because its next answer may be the last question's.

use super::breaker::Breaker;
use super::{Cache, CacheError, CacheKey, CacheStatus, Doing, LIFETIME, VALUE_BYTES_MAX};
use ::redis::aio::MultiplexedConnection;
use ::redis::{AsyncConnectionConfig, Client, Cmd, FromRedisValue, RedisError, cmd};
use ombud_ledger::Tenant;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How long a caller waits for an answer, unless told otherwise.
pub const WAIT: Duration = Duration::from_millis(50);
/// How long forgetting may take: it must happen, and nobody's request waits for it.
const CLEAR_WAIT: Duration = Duration::from_secs(10);
/// Keys that are looked through at once while forgetting.
const SCAN_KEYS: usize = 1_000;

/// How a Redis is used.
#[derive(Clone)]
pub struct RedisOptions {
    /// `redis://[user:password@]HOST:PORT[/DB]` or `unix:PATH`.
    pub url: String,
    /// What every key begins with.
    pub prefix: String,
    /// How long an answer lives.
    pub lifetime: Duration,
    /// How long a caller waits.
    pub wait: Duration,
}

/// A cache in Redis.
pub struct Redis {
    client: Client,
    options: RedisOptions,
    link: tokio::sync::Mutex<Option<MultiplexedConnection>>,
    breaker: Mutex<Breaker>,
}

impl RedisOptions {
    /// The usual use of a server.
    pub fn new(url: &str) -> Self {
        RedisOptions {
            url: url.to_owned(),
            prefix: "ombud".to_owned(),
            lifetime: LIFETIME,
            wait: WAIT,
        }
    }
}

impl Redis {
    /// A cache in a Redis, which need not be there yet.
    pub fn new(options: RedisOptions) -> Result<Self, CacheError> {
        let client = Client::open(options.url.as_str()).map_err(|_| CacheError::Url {
            url: crate::database::hidden(&options.url),
        })?;
        Ok(Redis {
            client,
            options,
            link: tokio::sync::Mutex::default(),
            breaker: Mutex::new(Breaker::new()),
        })
    }

    /// Asks within the bound, unless the server is left alone; whatever goes wrong, there is no answer.
    async fn ask<T: FromRedisValue>(&self, question: Cmd) -> Option<T> {
        if !self.breaker().admits(Instant::now()) {
            return None;
        }
        let asked = tokio::time::timeout(self.options.wait, self.ask_now(&question)).await;
        if let Ok(Ok(answer)) = asked {
            self.breaker().succeeded();
            return Some(answer);
        }
        self.breaker().failed(Instant::now());
        // Whoever makes a connection just now may keep theirs: the next failure takes it.
        if let Ok(mut link) = self.link.try_lock() {
            *link = None;
        }
        None
    }

    async fn ask_now<T: FromRedisValue>(&self, question: &Cmd) -> Result<T, RedisError> {
        let mut link = self.connected().await?;
        question.query_async(&mut link).await
    }

    async fn connected(&self) -> Result<MultiplexedConnection, RedisError> {
        let mut link = self.link.lock().await;
        if let Some(link) = link.as_ref() {
            return Ok(link.clone());
        }
        // The bound around the whole question ends a slow connect; the connection's own would end the clearing's long
        // questions too.
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(None)
            .set_response_timeout(None);
        let fresh = self
            .client
            .get_multiplexed_async_connection_with_config(&config)
            .await?;
        *link = Some(fresh.clone());
        Ok(fresh)
    }

    async fn clear_now(&self, tenant: &Tenant) -> Result<(), RedisError> {
        // A connection of its own: the shared one may be hanging.
        let mut link = self.client.get_multiplexed_async_connection().await?;
        // A tenant's name holds nothing that a pattern would read as more than itself.
        let pattern = format!("{}*", self.start(tenant));
        let mut cursor = 0u64;
        loop {
            let (next, keys): (u64, Vec<Vec<u8>>) = cmd("SCAN")
                .arg(cursor)
                .arg("MATCH")
                .arg(&pattern)
                .arg("COUNT")
                .arg(SCAN_KEYS)
                .query_async(&mut link)
                .await?;
            if !keys.is_empty() {
                let () = cmd("UNLINK").arg(keys).query_async(&mut link).await?;
            }
            if next == 0 {
                return Ok(());
            }
            cursor = next;
        }
    }

    fn start(&self, tenant: &Tenant) -> String {
        format!("{}:answer:{tenant}:", self.options.prefix)
    }

    fn key(&self, tenant: &Tenant, key: &CacheKey) -> String {
        format!("{}{}:{}", self.start(tenant), key.bundle, key.input)
    }

    fn breaker(&self) -> std::sync::MutexGuard<'_, Breaker> {
        self.breaker.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Cache for Redis {
    fn get<'a>(&'a self, tenant: &'a Tenant, key: &'a CacheKey) -> Doing<'a, Option<Arc<[u8]>>> {
        let mut question = cmd("GET");
        question.arg(self.key(tenant, key));
        Box::pin(async move {
            let found: Option<Vec<u8>> = self.ask(question).await?;
            found.map(Arc::from)
        })
    }

    fn put<'a>(&'a self, tenant: &'a Tenant, key: &'a CacheKey, value: Arc<[u8]>) -> Doing<'a, ()> {
        let mut question = cmd("SET");
        let lifetime_ms = self.options.lifetime.as_millis().max(1) as u64;
        question
            .arg(self.key(tenant, key))
            .arg(&*value)
            .arg("PX")
            .arg(lifetime_ms);
        Box::pin(async move {
            if value.len() <= VALUE_BYTES_MAX {
                let _: Option<()> = self.ask(question).await;
            }
        })
    }

    fn clear<'a>(&'a self, tenant: &'a Tenant) -> Doing<'a, Result<(), CacheError>> {
        Box::pin(async move {
            match tokio::time::timeout(CLEAR_WAIT, self.clear_now(tenant)).await {
                Ok(Ok(())) => Ok(()),
                Ok(Err(source)) => Err(CacheError::Unavailable {
                    source: Some(source),
                }),
                Err(_) => Err(CacheError::Unavailable { source: None }),
            }
        })
    }

    fn status(&self) -> Doing<'_, CacheStatus> {
        Box::pin(async move {
            let answered: Option<String> = self.ask(cmd("PING")).await;
            CacheStatus {
                is_available: answered.is_some() && self.breaker().is_closed(),
                entries: None,
                bytes: None,
            }
        })
    }
}

impl fmt::Debug for RedisOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisOptions")
            .field("url", &crate::database::hidden(&self.url))
            .field("prefix", &self.prefix)
            .field("lifetime", &self.lifetime)
            .field("wait", &self.wait)
            .finish()
    }
}

impl fmt::Debug for Redis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Redis")
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}
