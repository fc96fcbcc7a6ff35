//! What Triton counts, as its clients and dashboards read it: by model and version, since the start of this replica.
//!
//! A [`Pending`] stands for a request from its arrival to its end; whichever end it has is counted once, and one that is
//! dropped without any is a caller who left. The same counts are told by the protocol's statistics and by `/metrics`, where
//! tenants are added up. How many models are counted has a bound.

use crate::refusal::{Code, Refusal};
use crate::time::now_us;
use ombud_ledger::Tenant;
use ombud_ops::warm::Warm;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt::Write;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};

/// Versions counted at once; further ones are not.
pub const VERSIONS_MAX: usize = 2_000;
/// Batch sizes told apart for one version.
const BATCH_SIZES_MAX: usize = 64;

/// The counts of every version.
#[derive(Debug, Default)]
pub struct Statistics(RwLock<HashMap<Key, Arc<Counts>>>);

#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Key {
    tenant: Tenant,
    model: String,
    version: String,
}

/// How often, and how long together.
#[derive(Debug, Default)]
pub struct Sum {
    count: AtomicU64,
    ns: AtomicU64,
}

/// The counts of one version.
#[derive(Debug, Default)]
pub struct Counts {
    pub success: Sum,
    pub fail: Sum,
    pub queue: Sum,
    pub input: Sum,
    pub infer: Sum,
    pub output: Sum,
    pub cache_hit: Sum,
    pub cache_miss: Sum,
    rows: AtomicU64,
    executions: AtomicU64,
    last_ms: AtomicI64,
    pending: AtomicI64,
    failures: [AtomicU64; 4],
    batches: Mutex<BTreeMap<usize, Batches>>,
}

/// The requests of one batch size.
#[derive(Debug, Clone, Copy, Default)]
pub struct Batches {
    pub count: u64,
    pub input_ns: u64,
    pub infer_ns: u64,
    pub output_ns: u64,
}

/// Why a request failed, in Triton's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    Rejected,
    Canceled,
    Backend,
    Other,
}

/// How long each part of an answer took.
#[derive(Debug, Clone, Copy, Default)]
pub struct Times {
    pub queue: Duration,
    pub input: Duration,
    pub infer: Duration,
    pub output: Duration,
}

/// A request on its way.
#[derive(Debug)]
pub struct Pending {
    counts: Option<Arc<Counts>>,
    started: Instant,
    is_over: bool,
}

/// A version's name with its counts.
#[derive(Debug, Clone)]
pub struct Counted {
    pub model: String,
    pub version: String,
    pub counts: Arc<Counts>,
}

impl Statistics {
    /// A request for a version has arrived.
    pub fn begin(&self, tenant: &Tenant, model: &str, version: &str, started: Instant) -> Pending {
        let counts = self.of(tenant, model, version);
        if let Some(counts) = &counts {
            counts.pending.fetch_add(1, Ordering::Relaxed);
        }
        Pending {
            counts,
            started,
            is_over: false,
        }
    }

    /// Makes a version known, so that its counts are told before anybody asked it.
    pub fn know(&self, tenant: &Tenant, model: &str, version: &str) {
        self.of(tenant, model, version);
    }

    /// A tenant's counts, by model and version.
    pub fn counted(&self, tenant: &Tenant) -> Vec<Counted> {
        let all = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let mut found: Vec<(&Key, &Arc<Counts>)> = all
            .iter()
            .filter(|(key, _)| key.tenant == *tenant)
            .collect();
        found.sort_by_key(|(key, _)| *key);
        let counted = |(key, counts): (&Key, &Arc<Counts>)| Counted {
            model: key.model.clone(),
            version: key.version.clone(),
            counts: Arc::clone(counts),
        };
        found.into_iter().map(counted).collect()
    }

    /// Everything in Prometheus' text format, under Triton's names.
    pub fn write(&self, text: &mut String) {
        let mut sums: BTreeMap<(String, String), Vec<Arc<Counts>>> = BTreeMap::new();
        {
            let all = self.0.read().unwrap_or_else(PoisonError::into_inner);
            for (key, counts) in all.iter() {
                let place = (key.model.clone(), key.version.clone());
                sums.entry(place).or_default().push(Arc::clone(counts));
            }
        }
        for (name, kind, help, value) in SERIES {
            let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}");
            for ((model, version), counts) in &sums {
                let sum: i64 = counts.iter().map(|counts| value(counts)).sum();
                let _ = writeln!(
                    text,
                    "{name}{{model=\"{model}\",version=\"{version}\"}} {sum}"
                );
            }
        }
        let _ = writeln!(
            text,
            "# HELP nv_inference_request_failure Requests that failed, by reason.\n# TYPE nv_inference_request_failure counter"
        );
        for ((model, version), counts) in &sums {
            for reason in Reason::ALL {
                let failures = counts.iter().map(|counts| counts.failures_of(reason));
                let _ = writeln!(
                    text,
                    "nv_inference_request_failure{{model=\"{model}\",version=\"{version}\",reason=\"{}\"}} {}",
                    reason.name(),
                    failures.sum::<u64>()
                );
            }
        }
    }

    fn of(&self, tenant: &Tenant, model: &str, version: &str) -> Option<Arc<Counts>> {
        let key = Key {
            tenant: tenant.clone(),
            model: model.to_owned(),
            version: version.to_owned(),
        };
        if let Some(counts) = self
            .0
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .get(&key)
        {
            return Some(Arc::clone(counts));
        }
        let mut all = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if all.len() >= VERSIONS_MAX && !all.contains_key(&key) {
            return None;
        }
        Some(Arc::clone(all.entry(key).or_default()))
    }
}

/// Writes how long versions took to be put to work; one that is at work in several places tells its longest.
pub fn write_loads<'w>(text: &mut String, at_work: impl IntoIterator<Item = &'w Warm>) {
    let mut longest: BTreeMap<(String, String), Duration> = BTreeMap::new();
    for warm in at_work {
        let place = (
            warm.registered.model.to_string(),
            warm.registered.version.to_string(),
        );
        let took = warm.took.verify + warm.took.build + warm.took.warm;
        let known = longest.entry(place).or_default();
        *known = took.max(*known);
    }
    let name = "nv_model_load_duration_secs";
    let _ = writeln!(
        text,
        "# HELP {name} Time of reading, building and trying a version.\n# TYPE {name} gauge"
    );
    for ((model, version), took) in longest {
        let seconds = took.as_secs_f64();
        let _ = writeln!(
            text,
            "{name}{{model=\"{model}\",version=\"{version}\"}} {seconds}"
        );
    }
}

/// Writes how often shadows said what was answered, since each was put to work on this replica.
pub fn write_shadows(text: &mut String, at_work: &[Arc<Warm>]) {
    // One version may be at work in several environments, and is counted once.
    let mut seen = BTreeSet::new();
    let mut sums: BTreeMap<(String, String), (u64, u64)> = BTreeMap::new();
    for warm in at_work {
        let counts = warm.counters.counts();
        if counts.shadowed == 0 || !seen.insert(Arc::as_ptr(warm)) {
            continue;
        }
        let place = (
            warm.registered.model.to_string(),
            warm.registered.version.to_string(),
        );
        let (same, other) = sums.entry(place).or_default();
        *same += counts.shadowed.saturating_sub(counts.shadow_differs);
        *other += counts.shadow_differs;
    }
    let name = "ombud_shadow_rows_total";
    let _ = writeln!(
        text,
        "# HELP {name} Rows that a shadow saw, by whether its prediction was the one that was answered.\n# TYPE {name} counter"
    );
    for ((model, version), (same, other)) in sums {
        for (agrees, rows) in [("same", same), ("other", other)] {
            let _ = writeln!(
                text,
                "{name}{{model=\"{model}\",version=\"{version}\",prediction=\"{agrees}\"}} {rows}"
            );
        }
    }
}

/// A series: its name, kind and meaning, and what of a version it tells.
type Series = (&'static str, &'static str, &'static str, fn(&Counts) -> i64);

const SERIES: &[Series] = &[
    (
        "nv_inference_request_success",
        "counter",
        "Requests that were answered.",
        |c| whole(c.success.count()),
    ),
    (
        "nv_inference_count",
        "counter",
        "Rows that were answered, without those of the cache.",
        |c| whole(c.rows()),
    ),
    (
        "nv_inference_exec_count",
        "counter",
        "Runs of the model.",
        |c| whole(c.executions()),
    ),
    (
        "nv_inference_request_duration_us",
        "counter",
        "Time of answered requests.",
        |c| c.success.us(),
    ),
    (
        "nv_inference_queue_duration_us",
        "counter",
        "Time before a request was looked at.",
        |c| c.queue.us(),
    ),
    (
        "nv_inference_compute_input_duration_us",
        "counter",
        "Time of reading inputs.",
        |c| c.input.us(),
    ),
    (
        "nv_inference_compute_infer_duration_us",
        "counter",
        "Time of answering, the durable record included.",
        |c| c.infer.us(),
    ),
    (
        "nv_inference_compute_output_duration_us",
        "counter",
        "Time of making outputs.",
        |c| c.output.us(),
    ),
    (
        "nv_inference_pending_request_count",
        "gauge",
        "Requests at work now.",
        |c| c.pending.load(Ordering::Relaxed),
    ),
    (
        "nv_cache_num_hits_per_model",
        "counter",
        "Answers that came from the cache.",
        |c| whole(c.cache_hit.count()),
    ),
    (
        "nv_cache_num_misses_per_model",
        "counter",
        "Answers that did not.",
        |c| whole(c.cache_miss.count()),
    ),
    (
        "nv_cache_hit_duration_per_model",
        "counter",
        "Time of answers from the cache, in microseconds.",
        |c| c.cache_hit.us(),
    ),
    (
        "nv_cache_miss_duration_per_model",
        "counter",
        "Time of other answers, in microseconds.",
        |c| c.cache_miss.us(),
    ),
];

impl Pending {
    /// It was answered: so many rows, of which so many came from the cache, in these times.
    pub fn answered(mut self, rows: usize, cache_hits: usize, times: Times) {
        self.is_over = true;
        let Some(counts) = &self.counts else { return };
        let took = self.started.elapsed();
        counts.success.add(1, took);
        counts.queue.add(1, times.queue);
        let computed = rows - cache_hits.min(rows);
        if cache_hits > 0 {
            counts.cache_hit.add(cache_hits as u64, times.infer);
        }
        if computed > 0 {
            counts.cache_miss.add(computed as u64, times.infer);
            counts.input.add(1, times.input);
            counts.infer.add(1, times.infer);
            counts.output.add(1, times.output);
            counts.rows.fetch_add(computed as u64, Ordering::Relaxed);
            counts.executions.fetch_add(1, Ordering::Relaxed);
            counts.note_batch(rows, times);
        }
        counts.last_ms.store(now_us() / 1_000, Ordering::Relaxed);
    }

    /// It was refused, or failed.
    pub fn failed(mut self, refusal: &Refusal) {
        self.end(Reason::of(refusal.code()));
    }

    fn end(&mut self, reason: Reason) {
        self.is_over = true;
        if let Some(counts) = &self.counts {
            counts.fail.add(1, self.started.elapsed());
            counts.failures[reason as usize].fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        if !self.is_over {
            self.end(Reason::Canceled);
        }
        if let Some(counts) = &self.counts {
            counts.pending.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

impl Counts {
    /// Rows that a model was run for.
    pub fn rows(&self) -> u64 {
        self.rows.load(Ordering::Relaxed)
    }

    /// Runs of the model.
    pub fn executions(&self) -> u64 {
        self.executions.load(Ordering::Relaxed)
    }

    /// When the last answer was given, in milliseconds since 1970; 0 when none was.
    pub fn last_ms(&self) -> u64 {
        u64::try_from(self.last_ms.load(Ordering::Relaxed)).unwrap_or_default()
    }

    /// By batch size.
    pub fn batches(&self) -> BTreeMap<usize, Batches> {
        self.batches
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    fn failures_of(&self, reason: Reason) -> u64 {
        self.failures[reason as usize].load(Ordering::Relaxed)
    }

    fn note_batch(&self, rows: usize, times: Times) {
        let mut batches = self.batches.lock().unwrap_or_else(PoisonError::into_inner);
        if batches.len() >= BATCH_SIZES_MAX && !batches.contains_key(&rows) {
            return;
        }
        let batch = batches.entry(rows).or_default();
        batch.count += 1;
        batch.input_ns += nanos(times.input);
        batch.infer_ns += nanos(times.infer);
        batch.output_ns += nanos(times.output);
    }
}

impl Sum {
    /// How often.
    pub fn count(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }

    /// How long together, in nanoseconds.
    pub fn ns(&self) -> u64 {
        self.ns.load(Ordering::Relaxed)
    }

    fn us(&self) -> i64 {
        whole(self.ns() / 1_000)
    }

    fn add(&self, count: u64, took: Duration) {
        self.count.fetch_add(count, Ordering::Relaxed);
        self.ns.fetch_add(nanos(took), Ordering::Relaxed);
    }
}

impl Reason {
    const ALL: [Reason; 4] = [
        Reason::Rejected,
        Reason::Canceled,
        Reason::Backend,
        Reason::Other,
    ];

    fn of(code: Code) -> Self {
        match code.status() {
            503 | 429 => Reason::Rejected,
            500.. => Reason::Backend,
            _ => Reason::Other,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Reason::Rejected => "REJECTED",
            Reason::Canceled => "CANCELED",
            Reason::Backend => "BACKEND",
            Reason::Other => "OTHER",
        }
    }
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

fn whole(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tenant() -> Tenant {
        Tenant::new("main").expect("a name")
    }

    #[test]
    fn every_end_of_a_request_is_counted_once() {
        let statistics = Statistics::default();
        let begin = || statistics.begin(&tenant(), "claims", "3", Instant::now());
        let times = Times {
            infer: Duration::from_micros(5),
            ..Times::default()
        };
        begin().answered(4, 0, times);
        begin().answered(1, 1, times);
        begin().failed(&Refusal::new(Code::Busy, "full"));
        drop(begin());
        let waiting = begin();
        let mut text = String::new();
        statistics.write(&mut text);
        let labels = "model=\"claims\",version=\"3\"";
        for line in [
            format!("nv_inference_request_success{{{labels}}} 2"),
            format!("nv_inference_count{{{labels}}} 4"),
            format!("nv_inference_exec_count{{{labels}}} 1"),
            format!("nv_cache_num_hits_per_model{{{labels}}} 1"),
            format!("nv_inference_pending_request_count{{{labels}}} 1"),
            format!("nv_inference_request_failure{{{labels},reason=\"REJECTED\"}} 1"),
            format!("nv_inference_request_failure{{{labels},reason=\"CANCELED\"}} 1"),
            format!("nv_inference_request_failure{{{labels},reason=\"BACKEND\"}} 0"),
        ] {
            assert!(
                text.lines().any(|found| found == line),
                "{line} is missing in {text}"
            );
        }
        drop(waiting);
        let counted = statistics.counted(&tenant());
        assert_eq!(counted[0].counts.batches()[&4].count, 1);
    }
}
