//! Buckets of rate limits in Redis, where all replicas take from the same ones.
//!
//! A bucket is one number, the moment when it will be full again (GCRA), kept under a name that ends by itself. Looking and
//! taking are one script, and the time is the Redis's own, so that neither two replicas' haste nor their clocks matter. A
//! Redis that does not answer in time gives no answer ([`crate::redis`]); whoever asks then counts for themselves.

use crate::redis::{Link, UrlError, WAIT};
use ::redis::cmd;
use std::time::Duration;

/// Takes ARGV[1] microseconds out of a bucket that holds ARGV[2]: 1 or 0, and what is owed afterwards.
/// A number is written by `%.0f`, because Lua's own way keeps fourteen digits.
const TAKE: &str = "\
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local full = tonumber(redis.call('GET', KEYS[1]) or '0')
if full < now then full = now end
local after = full + tonumber(ARGV[1])
if after - now > tonumber(ARGV[2]) then return {0, full - now} end
redis.call('SET', KEYS[1], string.format('%.0f', after), 'PX', math.ceil((after - now) / 1000) + 1)
return {1, after - now}";

/// Buckets that replicas share.
#[derive(Debug)]
pub struct Buckets {
    link: Link,
    prefix: String,
}

/// What became of a taking.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Taken {
    /// Whether there was enough.
    pub is_granted: bool,
    /// Until the bucket is full again.
    pub owed: Duration,
}

impl Buckets {
    /// Buckets in a Redis, which need not be there yet.
    pub fn new(url: &str, prefix: &str) -> Result<Self, UrlError> {
        Ok(Buckets {
            link: Link::new(url, WAIT)?,
            prefix: prefix.to_owned(),
        })
    }

    /// Takes time's worth out of a bucket that holds so much; nothing when the Redis does not answer.
    pub async fn take(&self, name: &str, cost: Duration, holds: Duration) -> Option<Taken> {
        let mut question = cmd("EVAL");
        question
            .arg(TAKE)
            .arg(1)
            .arg(format!("{}:bucket:{name}", self.prefix))
            .arg(cost.as_micros() as u64)
            .arg(holds.as_micros() as u64);
        let (is_granted, owed_us): (bool, u64) = self.link.ask(&question).await?;
        Some(Taken {
            is_granted,
            owed: Duration::from_micros(owed_us),
        })
    }
}
