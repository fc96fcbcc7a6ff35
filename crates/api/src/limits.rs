//! How much one principal may ask per minute, and what they hear when it is more.
//!
//! A token bucket per principal and class of route: it holds a minute's worth, fills evenly, and a request takes one
//! (GCRA, so that a bucket is one number). Kept in memory; the table is bounded, and when it is full the buckets that have
//! filled up again are forgotten first, because forgetting them changes nothing. With a Redis all replicas take from the
//! same buckets; what it last said is kept here too, so that a replica whose Redis is gone goes on from there alone.

use crate::config::Limits;
use crate::refusal::{Code, Refusal};
use ombud_store::buckets::Buckets;
use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Buckets kept at once.
pub const BUCKETS_MAX: usize = 100_000;
const SHARDS: usize = 16;

/// What kind of request it is; each has a limit of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RouteClass {
    Decisions,
    Reads,
    Changes,
    SignIns,
    Runs,
}

/// What is left of a limit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Allowance {
    /// Requests per minute.
    pub limit: u32,
    /// How many more would pass now.
    pub remaining: u32,
    /// Until the bucket is full again.
    pub reset: Duration,
}

/// When whose bucket will be full again.
type Shard = HashMap<(RouteClass, String), Duration>;

/// How a class of route is limited.
#[derive(Debug, Clone, Copy)]
struct Bucket {
    class: RouteClass,
    limit: u32,
}

/// The buckets of everybody.
#[derive(Debug)]
pub struct RateLimits {
    per_minute: [u32; 5],
    started: Instant,
    shared: Option<Buckets>,
    shards: Vec<Mutex<Shard>>,
}

impl RateLimits {
    /// Empty buckets under these limits.
    pub fn new(limits: &Limits, shared: Option<Buckets>) -> Self {
        RateLimits {
            per_minute: [
                limits.decisions_per_minute,
                limits.reads_per_minute,
                limits.changes_per_minute,
                limits.sign_ins_per_minute,
                limits.runs_per_minute,
            ],
            started: Instant::now(),
            shared,
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
        }
    }

    /// Takes a request out of a principal's bucket, as it comes in; `None` when the class has no limit.
    pub async fn take(
        &self,
        class: RouteClass,
        principal: &str,
    ) -> Result<Option<Allowance>, Refusal> {
        self.take_cost(class, principal, 1, 0).await
    }

    /// Takes the further rows of a request that was let in. Whoever hears no and tries again pays at the door again.
    pub async fn take_rows(
        &self,
        class: RouteClass,
        principal: &str,
        rows: u32,
    ) -> Result<Option<Allowance>, Refusal> {
        self.take_cost(class, principal, rows, 1).await
    }

    async fn take_cost(
        &self,
        class: RouteClass,
        principal: &str,
        cost: u32,
        paid_before: u32,
    ) -> Result<Option<Allowance>, Refusal> {
        let Some(bucket) = self.bucket(class) else {
            return Ok(None);
        };
        let cost = bucket.cost_of(cost);
        let retried = cost + bucket.interval() * paid_before;
        if let Some(shared) = &self.shared {
            // Who calls is nobody else's to read there.
            let name = format!("{}:{}", class.noun(), ombud_store::secret::hash(principal));
            if let Some(taken) = shared.take(&name, cost, bucket.holds()).await {
                self.remember(class, principal, taken.owed);
                return bucket.told(taken.is_granted, taken.owed, retried).map(Some);
            }
        }
        let now = self.started.elapsed();
        let (is_granted, owed) = self.take_at(bucket, principal, cost, now);
        bucket.told(is_granted, owed, retried).map(Some)
    }

    /// Whether it was granted, and after how long the bucket is full again.
    fn take_at(
        &self,
        bucket: Bucket,
        principal: &str,
        cost: Duration,
        now: Duration,
    ) -> (bool, Duration) {
        let mut shard = self.shard(principal);
        let key = (bucket.class, principal.to_owned());
        let full_at = shard.get(&key).copied().unwrap_or_default().max(now);
        let owed = full_at + cost - now;
        if owed > bucket.holds() {
            return (false, full_at - now);
        }
        keep(&mut shard, key, now, now + owed);
        (true, owed)
    }

    /// Keeps what a shared bucket said.
    fn remember(&self, class: RouteClass, principal: &str, owed: Duration) {
        let now = self.started.elapsed();
        let mut shard = self.shard(principal);
        keep(&mut shard, (class, principal.to_owned()), now, now + owed);
    }

    fn bucket(&self, class: RouteClass) -> Option<Bucket> {
        let limit = self.per_minute[class as usize];
        (limit > 0).then_some(Bucket { class, limit })
    }

    fn shard(&self, principal: &str) -> std::sync::MutexGuard<'_, Shard> {
        let sum = principal.bytes().fold(0_usize, |sum, byte| {
            sum.wrapping_mul(31).wrapping_add(usize::from(byte))
        });
        self.shards[sum % SHARDS]
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl Bucket {
    /// What one request takes.
    fn interval(self) -> Duration {
        Duration::from_secs(60) / self.limit
    }

    /// What so many take. A batch pays for its request at the door and for its further rows later, which together are never
    /// more than a full bucket: it passes when its caller waited long enough.
    fn cost_of(self, requests: u32) -> Duration {
        let most = self.limit.saturating_sub(1).max(1);
        self.interval() * requests.min(most)
    }

    fn holds(self) -> Duration {
        self.interval() * self.limit
    }

    /// What a caller hears whose bucket is full again after `owed`, and for whom to try again costs `retried`.
    fn told(
        self,
        is_granted: bool,
        owed: Duration,
        retried: Duration,
    ) -> Result<Allowance, Refusal> {
        let Bucket { class, limit } = self;
        if is_granted {
            let left = self.holds().saturating_sub(owed).as_nanos() / self.interval().as_nanos();
            return Ok(Allowance {
                limit,
                remaining: u32::try_from(left).unwrap_or(limit),
                reset: owed,
            });
        }
        let detail = format!("at most {limit} {} a minute", class.noun());
        let wait = (owed + retried).saturating_sub(self.holds());
        let refusal = Refusal::new(Code::RateLimited, detail).retry_after(wait);
        let allowance = Allowance {
            limit,
            remaining: 0,
            reset: owed,
        };
        Err(allowance
            .headers()
            .into_iter()
            .fold(refusal, |refusal, (name, value)| {
                refusal.header(name, value)
            }))
    }
}

/// A table that is full of busy principals forgets nobody and takes nobody new in; they pass uncounted.
fn keep(shard: &mut Shard, key: (RouteClass, String), now: Duration, full_at: Duration) {
    if shard.len() >= BUCKETS_MAX / SHARDS {
        shard.retain(|_, full_at| *full_at > now);
    }
    if shard.len() < BUCKETS_MAX / SHARDS || shard.contains_key(&key) {
        shard.insert(key, full_at);
    }
}

impl Allowance {
    /// The `RateLimit-*` headers.
    pub fn headers(&self) -> [(&'static str, String); 3] {
        [
            ("ratelimit-limit", self.limit.to_string()),
            ("ratelimit-remaining", self.remaining.to_string()),
            (
                "ratelimit-reset",
                self.reset.as_millis().div_ceil(1_000).to_string(),
            ),
        ]
    }
}

impl RouteClass {
    fn noun(self) -> &'static str {
        match self {
            RouteClass::Decisions => "decisions",
            RouteClass::Reads => "reads",
            RouteClass::Changes => "changes",
            RouteClass::SignIns => "sign-ins",
            RouteClass::Runs => "reads and changes of runs",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits(per_minute: u32) -> RateLimits {
        let limits = Limits {
            changes_per_minute: per_minute,
            ..Limits::default()
        };
        RateLimits::new(&limits, None)
    }

    fn take(limits: &RateLimits, who: &str, cost: u32, second: u64) -> Result<Allowance, Refusal> {
        let class = RouteClass::Changes;
        let bucket = limits.bucket(class).expect("a limit");
        let cost = bucket.cost_of(cost);
        let (is_granted, owed) = limits.take_at(bucket, who, cost, Duration::from_secs(second));
        bucket.told(is_granted, owed, cost)
    }

    #[test]
    fn a_minute_s_worth_passes_at_once_and_the_next_must_wait_its_turn() {
        let limits = limits(4);
        let at = |second| take(&limits, "key:a", 1, second);
        for left in [3, 2, 1, 0] {
            assert_eq!(at(0).expect("passes").remaining, left);
        }
        let refused = at(0).expect_err("a fifth");
        assert_eq!(refused.code(), Code::RateLimited);
        assert_eq!(refused.headers()["retry-after"], "15");
        assert!(at(14).is_err());
        assert!(at(15).is_ok());
    }

    #[tokio::test]
    async fn one_principal_s_haste_is_not_another_s_wait() {
        let limits = limits(1);
        assert!(limits.take(RouteClass::Changes, "key:a").await.is_ok());
        assert!(limits.take(RouteClass::Changes, "key:a").await.is_err());
        assert!(limits.take(RouteClass::Changes, "key:b").await.is_ok());
        assert!(limits.take(RouteClass::Reads, "key:a").await.is_ok());
    }

    #[tokio::test]
    async fn a_batch_that_waits_as_it_was_told_passes() {
        let limits = limits(60);
        let door = || limits.take(RouteClass::Changes, "key:a");
        let rows = || limits.take_rows(RouteClass::Changes, "key:a", 49);
        assert!(door().await.is_ok());
        let left = rows().await.expect("passes").expect("a limit").remaining;
        assert_eq!(left, 10, "its headers tell of the rows too");
        assert!(door().await.is_ok());
        let refused = rows().await.expect_err("nine are left");
        // 49 rows and the door again, of which nine are there.
        assert_eq!(refused.headers()["retry-after"], "41");
    }

    #[test]
    fn a_batch_costs_its_rows_and_never_more_than_a_full_bucket() {
        let limits = limits(10);
        // At the door, and then for its further rows.
        assert!(take(&limits, "key:a", 1, 0).is_ok());
        assert!(take(&limits, "key:a", 999, 0).is_ok());
        assert!(take(&limits, "key:a", 1, 0).is_err());
        assert!(take(&limits, "key:a", 1, 60).is_ok());
        assert!(take(&limits, "key:a", 999, 60).is_ok());
    }
}
