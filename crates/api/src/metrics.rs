//! Counters, gauges and histograms in Prometheus' text format.
//!
//! Our own, in one file: names stay exactly as given (a Triton dashboard asks for counters without `_total`), and the
//! number of label combinations has a bound, so that no caller can fill memory with names. Labels hold models, versions,
//! outcomes and route patterns; never anything about a person.

use crate::time::now_us;
use hashbrown::{Equivalent, HashMap};
use std::fmt::Write;
use std::hash::{Hash, Hasher, RandomState};
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, PoisonError, RwLock};
use std::time::Duration;

/// Label combinations kept per metric; further ones are counted under `other`.
pub const SERIES_MAX: usize = 2_000;
/// What Prometheus is told the text is.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Upper ends of latency buckets, in seconds: from a cached answer to a request's time limit.
const SECONDS: &[f64] = &[
    0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5,
    1.0, 2.5, 5.0, 10.0, 30.0,
];
/// Upper ends of buckets for numbers of things.
const COUNTS: &[f64] = &[
    1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1_024.0,
];

/// A number that only grows.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

/// A number that goes up and down.
#[derive(Debug, Default)]
pub struct Gauge(AtomicI64);

/// How often a value fell below each bound.
#[derive(Debug)]
pub struct Histogram {
    bounds: &'static [f64],
    buckets: Box<[AtomicU64]>,
    /// In millionths, so that it can be added to without a lock.
    sum_millionths: AtomicU64,
}

/// A metric by its labels' values.
#[derive(Debug)]
pub struct Family<M> {
    name: &'static str,
    help: &'static str,
    labels: &'static [&'static str],
    make: fn() -> M,
    series: RwLock<HashMap<Box<[String]>, Arc<M>, RandomState>>,
}

/// A metric that can be written down.
pub trait Metric {
    /// What Prometheus calls it.
    const KIND: &'static str;
    /// Writes its lines.
    fn write(&self, name: &str, labels: &str, text: &mut String);
}

/// Everything the server counts.
#[derive(Debug)]
pub struct Metrics {
    /// Requests by route pattern, method and status.
    pub requests: Family<Counter>,
    /// Their time, by route pattern.
    pub request_seconds: Family<Histogram>,
    /// Requests at work now.
    pub in_flight: Gauge,
    /// Connections open now.
    pub connections: Gauge,
    /// Decisions by model, version, environment and how they ended.
    pub decisions: Family<Counter>,
    /// Their time, by model, version and how they ended.
    pub decision_seconds: Family<Histogram>,
    /// Answers that came from the cache, or did not.
    pub cache: Family<Counter>,
    /// Groups the ledger made durable, or could not.
    pub commits: Family<Counter>,
    /// From taking a group to its being durable.
    pub commit_seconds: Family<Histogram>,
    /// How long the oldest of a group had waited.
    pub commit_wait_seconds: Family<Histogram>,
    /// Records in a group.
    pub commit_records: Family<Histogram>,
    /// From reading a bundle to its being ready, by model and step.
    pub load_seconds: Family<Histogram>,
    /// Requests turned away by a limit.
    pub limited: Family<Counter>,
    /// Sign-ins by how they ended.
    pub sign_ins: Family<Counter>,
    /// Spans of traces, by what became of them.
    pub spans: Family<Counter>,
    /// Outcomes reported, by what became of them.
    pub outcomes: Family<Counter>,
    /// When a group could last not be made durable, in microseconds since 1970; 0 when the last one could.
    pub ledger_failed_us: AtomicI64,
}

impl Metrics {
    /// All at zero.
    pub fn new() -> Self {
        let seconds = || Histogram::new(SECONDS);
        let counts = || Histogram::new(COUNTS);
        Metrics {
            requests: Family::new(
                "ombud_http_requests_total",
                "Requests answered.",
                &["route", "method", "status"],
                Counter::default,
            ),
            request_seconds: Family::new(
                "ombud_http_request_seconds",
                "Time from a request's head to its answer.",
                &["route"],
                seconds,
            ),
            in_flight: Gauge::default(),
            connections: Gauge::default(),
            decisions: Family::new(
                "ombud_decisions_total",
                "Decisions by how they ended.",
                &["model", "version", "environment", "outcome"],
                Counter::default,
            ),
            decision_seconds: Family::new(
                "ombud_decision_seconds",
                "Time a decision took, its record included.",
                &["model", "version", "outcome"],
                seconds,
            ),
            cache: Family::new(
                "ombud_cache_lookups_total",
                "Looks into the cache of answers.",
                &["model", "result"],
                Counter::default,
            ),
            commits: Family::new(
                "ombud_ledger_commits_total",
                "Groups of records made durable, or not.",
                &["result"],
                Counter::default,
            ),
            commit_seconds: Family::new(
                "ombud_ledger_commit_seconds",
                "Time to make a group durable.",
                &[],
                seconds,
            ),
            commit_wait_seconds: Family::new(
                "ombud_ledger_wait_seconds",
                "How long the oldest record of a group had waited.",
                &[],
                seconds,
            ),
            commit_records: Family::new(
                "ombud_ledger_commit_records",
                "Records in a group.",
                &[],
                counts,
            ),
            load_seconds: Family::new(
                "ombud_model_load_seconds",
                "Time to verify, build and warm a version.",
                &["model", "step"],
                seconds,
            ),
            limited: Family::new(
                "ombud_limited_total",
                "Requests turned away by a limit.",
                &["limit"],
                Counter::default,
            ),
            sign_ins: Family::new(
                "ombud_sign_ins_total",
                "Sign-ins by how they ended.",
                &["result"],
                Counter::default,
            ),
            spans: Family::new(
                "ombud_trace_spans_total",
                "Spans handed to a collector, or not.",
                &["result"],
                Counter::default,
            ),
            outcomes: Family::new(
                "ombud_outcomes_total",
                "Outcomes reported, by what became of them.",
                &["standing"],
                Counter::default,
            ),
            ledger_failed_us: AtomicI64::new(0),
        }
    }

    /// Everything as text.
    pub fn write(&self, gauges: &[(&str, &str, f64)]) -> String {
        let mut text = String::with_capacity(16 << 10);
        self.requests.write(&mut text);
        self.request_seconds.write(&mut text);
        self.decisions.write(&mut text);
        self.decision_seconds.write(&mut text);
        self.cache.write(&mut text);
        self.commits.write(&mut text);
        self.commit_seconds.write(&mut text);
        self.commit_wait_seconds.write(&mut text);
        self.commit_records.write(&mut text);
        self.load_seconds.write(&mut text);
        self.limited.write(&mut text);
        self.sign_ins.write(&mut text);
        self.spans.write(&mut text);
        self.outcomes.write(&mut text);
        let own = [
            (
                "ombud_http_in_flight",
                "Requests at work now.",
                self.in_flight.get() as f64,
            ),
            (
                "ombud_http_connections",
                "Connections open now.",
                self.connections.get() as f64,
            ),
        ];
        for (name, help, value) in own.iter().chain(gauges) {
            let _ = writeln!(
                text,
                "# HELP {name} {help}\n# TYPE {name} gauge\n{name} {value}"
            );
        }
        text
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Metrics::new()
    }
}

/// The process's own metrics. One process is one server; tests that start several share them, as Prometheus would see it.
pub fn shared() -> &'static Arc<Metrics> {
    static SHARED: OnceLock<Arc<Metrics>> = OnceLock::new();
    SHARED.get_or_init(Arc::default)
}

impl<M> Family<M> {
    fn new(
        name: &'static str,
        help: &'static str,
        labels: &'static [&'static str],
        make: fn() -> M,
    ) -> Self {
        Family {
            name,
            help,
            labels,
            make,
            series: RwLock::default(),
        }
    }

    /// The metric of these labels' values.
    pub fn of(&self, values: &[&str]) -> Arc<M> {
        debug_assert_eq!(values.len(), self.labels.len(), "{}", self.name);
        {
            let series = self.series.read().unwrap_or_else(PoisonError::into_inner);
            if let Some(metric) = series.get(&Values(values)) {
                return Arc::clone(metric);
            }
        }
        let mut series = self.series.write().unwrap_or_else(PoisonError::into_inner);
        let is_full = series.len() >= SERIES_MAX;
        let key = if is_full {
            vec!["other".to_owned(); values.len()].into_boxed_slice()
        } else {
            owned(values)
        };
        Arc::clone(series.entry(key).or_insert_with(|| Arc::new((self.make)())))
    }
}

impl<M: Metric> Family<M> {
    fn write(&self, text: &mut String) {
        let _ = writeln!(
            text,
            "# HELP {} {}\n# TYPE {} {}",
            self.name,
            self.help,
            self.name,
            M::KIND
        );
        let series = self.series.read().unwrap_or_else(PoisonError::into_inner);
        let mut sorted: Vec<_> = series.iter().collect();
        sorted.sort_by_key(|(values, _)| *values);
        for (values, metric) in sorted {
            let pairs = self.labels.iter().zip(values.iter());
            let labels: Vec<String> = pairs
                .map(|(label, value)| format!("{label}=\"{}\"", escaped(value)))
                .collect();
            metric.write(self.name, &labels.join(","), text);
        }
    }
}

impl Counter {
    /// One more.
    pub fn add(&self) {
        self.add_many(1);
    }

    /// Several more.
    pub fn add_many(&self, count: u64) {
        self.0.fetch_add(count, Ordering::Relaxed);
    }

    /// The number now.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl Gauge {
    /// One more, until the answer is dropped.
    pub fn hold(self: &Gauge) -> Held<'_> {
        self.0.fetch_add(1, Ordering::Relaxed);
        Held(self)
    }

    /// The number now.
    pub fn get(&self) -> i64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// One of what a gauge counts.
#[derive(Debug)]
pub struct Held<'g>(&'g Gauge);

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Histogram {
    fn new(bounds: &'static [f64]) -> Self {
        let buckets = (0..=bounds.len()).map(|_| AtomicU64::new(0)).collect();
        Histogram {
            bounds,
            buckets,
            sum_millionths: AtomicU64::new(0),
        }
    }

    /// Notes a time.
    pub fn time(&self, took: Duration) {
        self.note(took.as_secs_f64());
    }

    /// Notes a value.
    pub fn note(&self, value: f64) {
        let bucket = self.bounds.partition_point(|bound| *bound < value);
        self.buckets[bucket].fetch_add(1, Ordering::Relaxed);
        self.sum_millionths
            .fetch_add((value * 1e6) as u64, Ordering::Relaxed);
    }
}

impl Metric for Counter {
    const KIND: &'static str = "counter";
    fn write(&self, name: &str, labels: &str, text: &mut String) {
        let _ = if labels.is_empty() {
            writeln!(text, "{name} {}", self.get())
        } else {
            writeln!(text, "{name}{{{labels}}} {}", self.get())
        };
    }
}

impl Metric for Histogram {
    const KIND: &'static str = "histogram";
    fn write(&self, name: &str, labels: &str, text: &mut String) {
        let comma = if labels.is_empty() { "" } else { "," };
        let mut below = 0;
        for (bucket, bound) in self.buckets.iter().zip(self.bounds) {
            below += bucket.load(Ordering::Relaxed);
            let _ = writeln!(
                text,
                "{name}_bucket{{{labels}{comma}le=\"{bound}\"}} {below}"
            );
        }
        below += self.buckets[self.bounds.len()].load(Ordering::Relaxed);
        let sum = self.sum_millionths.load(Ordering::Relaxed) as f64 / 1e6;
        let braces = if labels.is_empty() {
            String::new()
        } else {
            format!("{{{labels}}}")
        };
        let _ = writeln!(
            text,
            "{name}_bucket{{{labels}{comma}le=\"+Inf\"}} {below}\n{name}_sum{braces} {sum}\n{name}_count{braces} {below}"
        );
    }
}

/// Labels' values to look up, without making a key that owns them: this is done several times per request.
struct Values<'a>(&'a [&'a str]);

/// As `[String]` hashes.
impl Hash for Values<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.hash(state);
    }
}

impl Equivalent<Box<[String]>> for Values<'_> {
    fn equivalent(&self, key: &Box<[String]>) -> bool {
        self.0
            .iter()
            .zip(key.iter())
            .all(|(value, key)| value == key)
    }
}

/// Counts what the ledger's writer does.
#[derive(Debug)]
pub struct LedgerObserver(pub Arc<Metrics>);

impl ombud_ledger::Observer for LedgerObserver {
    fn committed(&self, commit: &ombud_ledger::Commit) {
        let result = if commit.succeeded {
            "durable"
        } else {
            "failed"
        };
        let failed_us = if commit.succeeded { 0 } else { now_us() };
        self.0.ledger_failed_us.store(failed_us, Ordering::Relaxed);
        self.0.commits.of(&[result]).add();
        self.0.commit_seconds.of(&[]).time(commit.took);
        self.0.commit_wait_seconds.of(&[]).time(commit.queued);
        self.0.commit_records.of(&[]).note(commit.records as f64);
    }
}

/// Counts what happens to models.
#[derive(Debug)]
pub struct OpsObserver(pub Arc<Metrics>);

impl ombud_ops::Observer for OpsObserver {
    fn loaded(&self, warm: &ombud_ops::warm::Warm) {
        let (model, took) = (warm.registered.model.as_str(), &warm.took);
        for (step, took) in [
            ("verify", took.verify),
            ("build", took.build),
            ("warm", took.warm),
        ] {
            self.0.load_seconds.of(&[model, step]).time(took);
        }
    }

    fn not_loaded(&self, place: &str, reason: &str) {
        tracing::warn!(
            place,
            cause = reason,
            "what is deployed could not be loaded; it is tried again"
        );
    }
}

fn owned(values: &[&str]) -> Box<[String]> {
    values.iter().map(|value| (*value).to_owned()).collect()
}

fn escaped(value: &str) -> String {
    value
        .replace('\\', "\\\\")
        .replace('"', "\\\"")
        .replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_histogram_counts_what_fell_below_each_bound() {
        let metrics = Metrics::new();
        let decisions = metrics.decision_seconds.of(&["claims", "v1", "answered"]);
        decisions.time(Duration::from_micros(70));
        decisions.time(Duration::from_secs(100));
        let text = metrics.write(&[]);
        for line in [
            "ombud_decision_seconds_bucket{model=\"claims\",version=\"v1\",outcome=\"answered\",le=\"0.00005\"} 0",
            "ombud_decision_seconds_bucket{model=\"claims\",version=\"v1\",outcome=\"answered\",le=\"0.0001\"} 1",
            "ombud_decision_seconds_bucket{model=\"claims\",version=\"v1\",outcome=\"answered\",le=\"+Inf\"} 2",
            "ombud_decision_seconds_count{model=\"claims\",version=\"v1\",outcome=\"answered\"} 2",
        ] {
            assert!(text.contains(line), "{line} is missing in {text}");
        }
    }

    #[test]
    fn names_beyond_the_bound_share_one_series() {
        let metrics = Metrics::new();
        for number in 0..SERIES_MAX + 50 {
            metrics.outcomes.of(&[&number.to_string()]).add();
        }
        assert_eq!(metrics.outcomes.of(&["other"]).get(), 50);
    }

    #[test]
    fn what_is_held_is_given_back() {
        let gauge = Gauge::default();
        let held = gauge.hold();
        assert_eq!(gauge.get(), 1);
        drop(held);
        assert_eq!(gauge.get(), 0);
    }
}
