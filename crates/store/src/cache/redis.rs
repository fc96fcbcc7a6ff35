//! Answers in Redis, where every replica sees them. How a Redis is asked, and left alone, is [`crate::redis`]'s.

use super::{Cache, CacheError, CacheKey, CacheStatus, Doing, LIFETIME, VALUE_BYTES_MAX};
use crate::redis::{Link, WAIT};
use ::redis::{RedisError, cmd};
use ombud_ledger::Tenant;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

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
#[derive(Debug)]
pub struct Redis {
    link: Link,
    options: RedisOptions,
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
        let link = Link::new(&options.url, options.wait)?;
        Ok(Redis { link, options })
    }

    async fn clear_now(&self, tenant: &Tenant) -> Result<(), RedisError> {
        let mut link = self.link.own_connection().await?;
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
}

impl Cache for Redis {
    fn get<'a>(&'a self, tenant: &'a Tenant, key: &'a CacheKey) -> Doing<'a, Option<Arc<[u8]>>> {
        let mut question = cmd("GET");
        question.arg(self.key(tenant, key));
        Box::pin(async move {
            let found: Option<Vec<u8>> = self.link.ask(&question).await?;
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
                let _: Option<()> = self.link.ask(&question).await;
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
            let answered: Option<String> = self.link.ask(&cmd("PING")).await;
            CacheStatus {
                is_available: answered.is_some() && self.link.is_closed(),
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
