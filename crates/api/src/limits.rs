//! How much one principal may ask per minute, and what they hear when it is more.
//!
//! A token bucket per principal and class of route: it holds a minute's worth, fills evenly, and a request takes one
//! (GCRA, so that a bucket is one number). Kept in memory; the table is bounded, and when it is full the buckets that have
//! filled up again are forgotten first, because forgetting them changes nothing.

use crate::config::Limits;
use crate::refusal::{Code, Refusal};
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
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Allowance {
    /// Requests per minute.
    pub limit: u32,
    /// How many more would pass now.
    pub remaining: u32,
    /// Until the bucket is full again.
    pub reset: Duration,
}

/// The buckets of everybody.
#[derive(Debug)]
pub struct RateLimits {
    per_minute: [u32; 5],
    started: Instant,
    shards: Vec<Mutex<HashMap<(RouteClass, String), Duration>>>,
}

impl RateLimits {
    /// Empty buckets under these limits.
    pub fn new(limits: &Limits) -> Self {
        RateLimits {
            per_minute: [
                limits.decisions_per_minute,
                limits.reads_per_minute,
                limits.changes_per_minute,
                limits.sign_ins_per_minute,
                limits.runs_per_minute,
            ],
            started: Instant::now(),
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
        }
    }

    /// Takes `cost` requests out of a principal's bucket; `None` when the class has no limit.
    pub fn take(
        &self,
        class: RouteClass,
        principal: &str,
        cost: u32,
    ) -> Result<Option<Allowance>, Refusal> {
        self.take_at(class, principal, cost, self.started.elapsed())
    }

    fn take_at(
        &self,
        class: RouteClass,
        principal: &str,
        cost: u32,
        now: Duration,
    ) -> Result<Option<Allowance>, Refusal> {
        let limit = self.per_minute[class as usize];
        if limit == 0 {
            return Ok(None);
        }
        let interval = Duration::from_secs(60) / limit;
        let mut shard = self.shard(principal);
        if shard.len() >= BUCKETS_MAX / SHARDS {
            shard.retain(|_, full_at| *full_at > now);
        }
        let key = (class, principal.to_owned());
        let full_at = shard.get(&key).copied().unwrap_or_default().max(now);
        let full_after = full_at + interval * cost.min(limit);
        let owed = full_after - now;
        let minute = interval * limit;
        if owed > minute {
            let wait = owed - minute;
            let detail = format!("at most {limit} {} a minute", class.noun());
            let allowance = Allowance {
                limit,
                remaining: 0,
                reset: full_at - now,
            };
            let refusal = Refusal::new(Code::RateLimited, detail).retry_after(wait);
            return Err(allowance
                .headers()
                .into_iter()
                .fold(refusal, |refusal, (name, value)| {
                    refusal.header(name, value)
                }));
        }
        // A table that stays full of busy principals forgets nobody and takes nobody new in; they pass uncounted.
        if shard.len() < BUCKETS_MAX / SHARDS || shard.contains_key(&key) {
            shard.insert(key, full_after);
        }
        let left = (minute - owed).as_nanos() / interval.as_nanos().max(1);
        let remaining = u32::try_from(left).unwrap_or(limit);
        Ok(Some(Allowance {
            limit,
            remaining,
            reset: owed,
        }))
    }

    fn shard(
        &self,
        principal: &str,
    ) -> std::sync::MutexGuard<'_, HashMap<(RouteClass, String), Duration>> {
        let sum = principal.bytes().fold(0_usize, |sum, byte| {
            sum.wrapping_mul(31).wrapping_add(usize::from(byte))
        });
        self.shards[sum % SHARDS]
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
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
        RateLimits::new(&Limits {
            changes_per_minute: per_minute,
            ..Limits::default()
        })
    }

    #[test]
    fn a_minute_s_worth_passes_at_once_and_the_next_must_wait_its_turn() {
        let limits = limits(4);
        let at = |seconds| {
            limits.take_at(
                RouteClass::Changes,
                "key:a",
                1,
                Duration::from_secs(seconds),
            )
        };
        for left in [3, 2, 1, 0] {
            assert_eq!(at(0).expect("passes").expect("limited").remaining, left);
        }
        let refused = at(0).expect_err("a fifth");
        assert_eq!(refused.code(), Code::RateLimited);
        assert_eq!(refused.headers()["retry-after"], "15");
        assert!(at(14).is_err());
        assert!(at(15).is_ok());
    }

    #[test]
    fn one_principal_s_haste_is_not_another_s_wait() {
        let limits = limits(1);
        assert!(limits.take(RouteClass::Changes, "key:a", 1).is_ok());
        assert!(limits.take(RouteClass::Changes, "key:a", 1).is_err());
        assert!(limits.take(RouteClass::Changes, "key:b", 1).is_ok());
        assert!(limits.take(RouteClass::Reads, "key:a", 1).is_ok());
    }

    #[test]
    fn a_batch_costs_its_rows_and_never_more_than_a_full_bucket() {
        let limits = limits(10);
        let now = Duration::ZERO;
        assert!(
            limits
                .take_at(RouteClass::Changes, "key:a", 1_000, now)
                .is_ok()
        );
        assert!(
            limits
                .take_at(RouteClass::Changes, "key:a", 1, now)
                .is_err()
        );
    }
}
