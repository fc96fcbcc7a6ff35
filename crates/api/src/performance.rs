//! How models did here, hour by hour: kept in memory, bounded, for people who look now and then.
//!
//! Counted by this replica since it started. What the whole house answered is in the ledger, and a time series that
//! outlives a restart is Prometheus' business.

use crate::time::now_us;
use ombud_ledger::Tenant;
use ombud_ops::Decision;
use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// Hours that are kept.
pub const HOURS_MAX: usize = 168;
/// Models that are kept.
const MODELS_MAX: usize = 1_000;
const HOUR_US: i64 = 3_600_000_000;
/// Upper ends of latency buckets, in microseconds: half a decade each, twice as fine as needed for a quantile.
const BOUNDS_US: [u64; 20] = [
    20, 50, 100, 200, 350, 500, 750, 1_000, 1_500, 2_500, 5_000, 7_500, 10_000, 25_000, 50_000,
    100_000, 250_000, 500_000, 1_000_000, 30_000_000,
];

/// How every model did.
#[derive(Debug, Default)]
pub struct Performance(Mutex<HashMap<(Tenant, String), BTreeMap<i64, Hour>>>);

/// How a model did in one hour.
#[derive(Debug, Clone, Default)]
pub struct Hour {
    pub answered: u64,
    pub refused: u64,
    pub failed: u64,
    pub cache_hits: u64,
    confidences: u64,
    confidence_sum: f64,
    latency_us_sum: u64,
    buckets: [u64; BOUNDS_US.len() + 1],
}

impl Performance {
    /// Notes an answer.
    pub fn answered(&self, tenant: &Tenant, decision: &Decision, took: Duration) {
        self.with(tenant, decision.model.as_str(), |hour| {
            let took_us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
            hour.answered += 1;
            hour.cache_hits += u64::from(decision.cache_hit);
            hour.latency_us_sum = hour.latency_us_sum.saturating_add(took_us);
            hour.buckets[BOUNDS_US.partition_point(|bound| *bound < took_us)] += 1;
            if let Some(confidence) = decision.answer.confidence {
                hour.confidences += 1;
                hour.confidence_sum += confidence;
            }
        });
    }

    /// Notes a question that got no answer.
    pub fn failed(&self, tenant: &Tenant, model: &str, outcome: &str) {
        self.with(tenant, model, |hour| match outcome {
            "refused" => hour.refused += 1,
            _ => hour.failed += 1,
        });
    }

    /// A model's last hours, oldest first, each with the moment it began.
    pub fn hours(&self, tenant: &Tenant, model: &str, hours: usize) -> Vec<(i64, Hour)> {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let from = now_us() / HOUR_US - i64::try_from(hours).unwrap_or(i64::MAX);
        let found = all.get(&(tenant.clone(), model.to_owned()));
        let found = found.into_iter().flat_map(|hours| hours.range(from + 1..));
        found
            .map(|(hour, counted)| (hour * HOUR_US, counted.clone()))
            .collect()
    }

    /// Every model's sums since the start.
    pub fn sums(&self, tenant: &Tenant) -> BTreeMap<String, Hour> {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let theirs = all.iter().filter(|((owner, _), _)| owner == tenant);
        theirs
            .map(|((_, model), hours)| {
                (
                    model.clone(),
                    hours.values().fold(Hour::default(), Hour::plus),
                )
            })
            .collect()
    }

    fn with(&self, tenant: &Tenant, model: &str, note: impl FnOnce(&mut Hour)) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (tenant.clone(), model.to_owned());
        if all.len() >= MODELS_MAX && !all.contains_key(&key) {
            return;
        }
        let hours = all.entry(key).or_default();
        note(hours.entry(now_us() / HOUR_US).or_default());
        while hours.len() > HOURS_MAX {
            hours.pop_first();
        }
    }
}

impl Hour {
    /// The mean confidence, when any answer had one.
    pub fn confidence(&self) -> Option<f64> {
        (self.confidences > 0).then(|| self.confidence_sum / self.confidences as f64)
    }

    /// The mean time of an answer, in milliseconds.
    pub fn latency_ms(&self) -> Option<f64> {
        (self.answered > 0).then(|| self.latency_us_sum as f64 / self.answered as f64 / 1e3)
    }

    /// The time that this part of the answers stayed below, in milliseconds: the upper end of its bucket.
    pub fn latency_ms_at(&self, part: f64) -> Option<f64> {
        let wanted = (part * self.answered as f64).ceil() as u64;
        let mut below = 0;
        let bucket = self.buckets.iter().position(|count| {
            below += count;
            below >= wanted
        });
        let bound = BOUNDS_US
            .get(bucket?)
            .copied()
            .unwrap_or(BOUNDS_US[BOUNDS_US.len() - 1]);
        (self.answered > 0).then_some(bound as f64 / 1e3)
    }

    fn plus(mut self, other: &Hour) -> Hour {
        self.answered += other.answered;
        self.refused += other.refused;
        self.failed += other.failed;
        self.cache_hits += other.cache_hits;
        self.confidences += other.confidences;
        self.confidence_sum += other.confidence_sum;
        self.latency_us_sum += other.latency_us_sum;
        for (mine, theirs) in self.buckets.iter_mut().zip(other.buckets) {
            *mine += theirs;
        }
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quantile_is_the_upper_end_of_its_bucket() {
        let mut hour = Hour::default();
        for micros in [10, 10, 10, 400] {
            hour.answered += 1;
            hour.buckets[BOUNDS_US.partition_point(|bound| *bound < micros)] += 1;
        }
        assert_eq!(hour.latency_ms_at(0.5), Some(0.02));
        assert_eq!(hour.latency_ms_at(0.99), Some(0.5));
        assert_eq!(Hour::default().latency_ms_at(0.5), None);
    }
}
