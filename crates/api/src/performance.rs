//! How models did, hour by hour: counted in memory, bounded, for people who look now and then.
//!
//! Each replica puts its hours into the store once a minute and when it ends, and finds them there when it starts again;
//! what others counted is read when somebody asks. Whoever is killed loses a minute of counts, and nothing of the ledger.

use crate::time::now_us;
use ombud_ledger::Tenant;
use ombud_ops::Decision;
use ombud_store::hours::CountedHour;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, OnceLock, PoisonError};
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
pub struct Performance {
    counted: Mutex<Hours>,
    /// What this replica counted before it started again.
    before: OnceLock<Hours>,
}

type Hours = HashMap<(Tenant, String), BTreeMap<i64, Hour>>;

/// How a model did in one hour.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Hour {
    /// Whether it counted anything since it was put into the store.
    #[serde(skip)]
    is_changed: bool,
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

    /// A model's hours from one on, oldest first, each with the moment it began: those of this replica and `elsewhere`.
    pub fn hours(
        &self,
        tenant: &Tenant,
        model: &str,
        from: i64,
        elsewhere: &[CountedHour],
    ) -> Vec<(i64, Hour)> {
        let key = (tenant.clone(), model.to_owned());
        let mut sums: BTreeMap<i64, Hour> = BTreeMap::new();
        let mut add = |hour: i64, counted: &Hour| {
            let sum = sums.entry(hour).or_default();
            *sum = std::mem::take(sum).plus(counted);
        };
        let all = self.counted.lock().unwrap_or_else(PoisonError::into_inner);
        let before = self.before.get().and_then(|before| before.get(&key));
        for hours in all.get(&key).into_iter().chain(before) {
            hours
                .range(from..)
                .for_each(|(hour, counted)| add(*hour, counted));
        }
        for row in elsewhere {
            if let Ok(counted) = serde_json::from_str(&row.counted) {
                add(row.hour, &counted);
            }
        }
        sums.into_iter()
            .map(|(hour, sum)| (hour * HOUR_US, sum))
            .collect()
    }

    /// Takes up what this replica put into the store before it started again. What another program wrote there and cannot be
    /// read is left out.
    pub fn remember(&self, rows: Vec<CountedHour>) {
        let mut before = Hours::default();
        for row in rows {
            if let Ok(counted) = serde_json::from_str(&row.counted) {
                let hours = before.entry((row.tenant, row.model)).or_default();
                hours.insert(row.hour, counted);
            }
        }
        // A house starts once.
        let _ = self.before.set(before);
    }

    /// The hours that counted something since they were asked for, whole, for the store.
    pub fn changed(&self) -> Vec<CountedHour> {
        let mut all = self.counted.lock().unwrap_or_else(PoisonError::into_inner);
        let mut rows = Vec::new();
        for (key, hours) in all.iter_mut() {
            for (hour, counted) in hours.iter_mut().filter(|(_, counted)| counted.is_changed) {
                counted.is_changed = false;
                let before = self.before.get().and_then(|it| it.get(key)?.get(hour));
                let sum = before.into_iter().fold(counted.clone(), Hour::plus);
                rows.extend(serde_json::to_string(&sum).map(|counted| CountedHour {
                    tenant: key.0.clone(),
                    model: key.1.clone(),
                    hour: *hour,
                    counted,
                }));
            }
        }
        rows
    }

    /// Whether it is known what this replica counted before.
    pub fn remembers(&self) -> bool {
        self.before.get().is_some()
    }

    /// Takes back that hours were put into the store.
    pub fn not_put(&self, rows: &[CountedHour]) {
        let mut all = self.counted.lock().unwrap_or_else(PoisonError::into_inner);
        for row in rows {
            let hours = all.get_mut(&(row.tenant.clone(), row.model.clone()));
            if let Some(hour) = hours.and_then(|hours| hours.get_mut(&row.hour)) {
                hour.is_changed = true;
            }
        }
    }

    /// Every model's sums since the start.
    pub fn sums(&self, tenant: &Tenant) -> BTreeMap<String, Hour> {
        let all = self.counted.lock().unwrap_or_else(PoisonError::into_inner);
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
        let mut all = self.counted.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (tenant.clone(), model.to_owned());
        if all.len() >= MODELS_MAX && !all.contains_key(&key) {
            return;
        }
        let hours = all.entry(key).or_default();
        let hour = hours.entry(this_hour()).or_default();
        hour.is_changed = true;
        note(hour);
        while hours.len() > HOURS_MAX {
            hours.pop_first();
        }
    }
}

/// The hour that it is, since 1970.
pub fn this_hour() -> i64 {
    now_us() / HOUR_US
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
    fn hours_are_put_once_and_found_again_beside_those_of_others() {
        let tenant = Tenant::new("acme").expect("a tenant");
        let first = Performance::default();
        first.failed(&tenant, "claims", "refused");
        let put = first.changed();
        assert_eq!(put.len(), 1);
        assert!(first.changed().is_empty(), "nothing came since");
        first.not_put(&put);
        assert_eq!(first.changed(), put, "the store was not there");

        let again = Performance::default();
        again.remember(put.clone());
        again.failed(&tenant, "claims", "refused");
        let sum = |performance: &Performance, elsewhere: &[CountedHour]| {
            let hours = performance.hours(&tenant, "claims", this_hour() - 2, elsewhere);
            hours.iter().map(|(_, hour)| hour.refused).sum::<u64>()
        };
        assert_eq!(sum(&again, &[]), 2);
        assert_eq!(sum(&again, &put), 3, "another replica counted one");
        let all = again
            .sums(&tenant)
            .values()
            .map(|hour| hour.refused)
            .sum::<u64>();
        assert_eq!(all, 1, "since the start");
        // What is put includes what was there.
        let third = Performance::default();
        third.remember(again.changed());
        assert_eq!(sum(&third, &[]), 2);
    }

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
