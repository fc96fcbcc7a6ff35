//! What a recipe asks for after training: standing watches and the rules of retraining.
//!
//! Training only checks and keeps them in the manifest; the operating room carries them out.

use super::reading::{Seconds, Section};
use serde_json::{Value, json};

/// The standing watches of a model.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Watch {
    /// Whether the inputs still look as in training.
    pub drift: Option<Drift>,
    /// Whether the model is still as good.
    pub performance: Vec<Performance>,
    /// Whether it still answers.
    pub errors: Option<Errors>,
    /// Whether it still answers in time.
    pub latency: Option<Latency>,
}

/// A watch for changed inputs.
#[derive(Debug, Clone, PartialEq)]
pub struct Drift {
    /// The statistic.
    pub method: &'static str,
    /// Beyond it there is a finding.
    pub threshold: f64,
    /// The window compared with training.
    pub window: Seconds,
}

/// A watch for a metric of reported outcomes.
#[derive(Debug, Clone, PartialEq)]
pub struct Performance {
    /// The metric.
    pub metric: String,
    /// Below it there is a finding.
    pub min: Option<f64>,
    /// Above it there is a finding.
    pub max: Option<f64>,
    /// The window measured.
    pub window: Seconds,
    /// Fewest outcomes before anything is said.
    pub outcomes_min: u64,
}

/// A watch for failing answers.
#[derive(Debug, Clone, PartialEq)]
pub struct Errors {
    /// The share of failures beyond which there is a finding.
    pub rate: f64,
    /// The window measured.
    pub window: Seconds,
    /// Whether the version before comes back by itself.
    pub rolls_back: bool,
}

/// A watch for slow answers.
#[derive(Debug, Clone, PartialEq)]
pub struct Latency {
    /// The 99th percentile beyond which there is a finding, in milliseconds.
    pub p99_ms: f64,
    /// The window measured.
    pub window: Seconds,
    /// Whether the version before comes back by itself.
    pub rolls_back: bool,
}

/// When a model is trained again, and how the new version comes into service.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Retrain {
    /// The watches whose findings cause it.
    pub when: Vec<&'static str>,
    /// A schedule in cron's five fields.
    pub cron: Option<String>,
    /// How the new version takes over.
    pub rollout: Option<Rollout>,
    /// Who is told.
    pub notify: Vec<String>,
}

/// How a new version takes over.
#[derive(Debug, Clone, PartialEq)]
pub struct Rollout {
    /// How long it only listens.
    pub shadow: Option<Seconds>,
    /// The shares of traffic it gets, in per cent.
    pub canary: Vec<u8>,
    /// How long each share is held.
    pub hold: Option<Seconds>,
}

const HOUR: Seconds = Seconds(3_600);
const WEEK: Seconds = Seconds(7 * 86_400);
const THEN_WORDS: [(&str, bool); 2] = [("rollback", true), ("notify", false)];

pub(super) fn read_watch(section: Section<'_>) -> Watch {
    let watch = Watch {
        drift: section.section("drift").map(read_drift),
        performance: section
            .section("performance")
            .map(read_performance)
            .into_iter()
            .flatten()
            .collect(),
        errors: section.section("errors").map(read_errors),
        latency: section.section("latency").map(read_latency),
    };
    section.finish();
    watch
}

fn read_drift(section: Section<'_>) -> Drift {
    let methods = ["psi", "ks", "chi_square", "wasserstein"].map(|method| (method, method));
    let drift = Drift {
        method: section.word(&["method"], &methods).unwrap_or("psi"),
        threshold: section.number(&["threshold"], 0.0..=1e6).unwrap_or(0.25),
        window: section.duration(&["window"]).unwrap_or(WEEK),
    };
    section.finish();
    drift
}

fn read_performance(section: Section<'_>) -> Option<Performance> {
    let any = f64::MIN..=f64::MAX;
    let metric = section.text(&["metric"]);
    let metric = section.require("metric", metric, "metric = \"accuracy\"");
    let performance = Performance {
        metric: metric.unwrap_or_default(),
        min: section.number(&["min"], any.clone()),
        max: section.number(&["max"], any),
        window: section.duration(&["window"]).unwrap_or(WEEK),
        outcomes_min: section.whole(&["min_outcomes"], 1..=u64::MAX).unwrap_or(50),
    };
    section.finish();
    Some(performance)
}

fn read_errors(section: Section<'_>) -> Errors {
    let errors = Errors {
        rate: section.number(&["rate"], 0.0..=1.0).unwrap_or(0.02),
        window: section.duration(&["window"]).unwrap_or(HOUR),
        rolls_back: section.word(&["then"], &THEN_WORDS).unwrap_or(false),
    };
    section.finish();
    errors
}

fn read_latency(section: Section<'_>) -> Latency {
    let latency = Latency {
        p99_ms: section.number(&["p99_ms"], 0.0..=1e9).unwrap_or(1_000.0),
        window: section.duration(&["window"]).unwrap_or(HOUR),
        rolls_back: section.word(&["then"], &THEN_WORDS).unwrap_or(false),
    };
    section.finish();
    latency
}

pub(super) fn read_retrain(section: Section<'_>) -> Retrain {
    let causes = ["drift", "performance", "errors", "latency"].map(|cause| (cause, cause));
    let line = section.line();
    let when = section.texts(&["when"]);
    let when = when
        .iter()
        .filter_map(|word| section.one_of("when", line, word, &causes))
        .collect();
    let cron = section
        .get(&["cron"])
        .and_then(|found| match found.value.as_str() {
            Some(cron) if is_cron(cron) => Some(cron.to_owned()),
            Some(_) => {
                let hint = Some(
                    "write it like \"0 2 * * *\": minute, hour, day, month, weekday".to_owned(),
                );
                section.mistake(found.line, "cron", "is not a schedule of five fields", hint);
                None
            }
            None => section.wrong_type("cron", found, "a text in quotes"),
        });
    let retrain = Retrain {
        when,
        cron,
        rollout: section.section("rollout").map(read_rollout),
        notify: section.texts(&["notify"]),
    };
    section.finish();
    retrain
}

fn read_rollout(section: Section<'_>) -> Rollout {
    let canary = section.get(&["canary"]).and_then(|found| {
        let shares = found.value.as_array().and_then(|array| {
            array
                .iter()
                .map(|share| {
                    super::reading::as_whole(share.get_ref()).and_then(|s| u8::try_from(s).ok())
                })
                .collect::<Option<Vec<u8>>>()
        });
        let is_rising = |shares: &Vec<u8>| {
            shares.windows(2).all(|pair| pair[0] < pair[1])
                && shares.iter().all(|s| (1..=100).contains(s))
        };
        match shares.filter(is_rising) {
            Some(shares) => Some(shares),
            None => section.wrong_type(
                "canary",
                found,
                "rising shares in per cent such as [5, 25, 100]",
            ),
        }
    });
    let rollout = Rollout {
        shadow: section.duration(&["shadow"]),
        canary: canary.unwrap_or_default(),
        hold: section.duration(&["hold"]),
    };
    section.finish();
    rollout
}

/// Five fields of digits, `*`, lists, ranges and steps; what they mean is the scheduler's business.
fn is_cron(text: &str) -> bool {
    let fields: Vec<&str> = text.split_whitespace().collect();
    let is_field = |field: &&str| {
        field
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'*' | b',' | b'-' | b'/'))
    };
    fields.len() == 5 && fields.iter().all(is_field)
}

impl Watch {
    /// As kept in a manifest; null when nothing is watched.
    pub fn to_json(&self) -> Value {
        if *self == Watch::default() {
            return Value::Null;
        }
        let performance = self.performance.iter().map(|p| {
            json!({"metric": p.metric, "min": p.min, "max": p.max, "window_seconds": p.window.0, "outcomes_min": p.outcomes_min})
        });
        json!({
            "drift": self.drift.as_ref().map(|d| json!({"method": d.method, "threshold": d.threshold, "window_seconds": d.window.0})),
            "performance": performance.collect::<Vec<_>>(),
            "errors": self.errors.as_ref().map(|e| json!({"rate": e.rate, "window_seconds": e.window.0, "rolls_back": e.rolls_back})),
            "latency": self.latency.as_ref().map(|l| json!({"p99_ms": l.p99_ms, "window_seconds": l.window.0, "rolls_back": l.rolls_back})),
        })
    }
}

impl Retrain {
    /// As kept in a manifest; null when the model is never retrained by itself.
    pub fn to_json(&self) -> Value {
        if *self == Retrain::default() {
            return Value::Null;
        }
        let rollout = self.rollout.as_ref().map(|rollout| {
            json!({
                "shadow_seconds": rollout.shadow.map(|s| s.0),
                "canary": rollout.canary,
                "hold_seconds": rollout.hold.map(|s| s.0),
            })
        });
        json!({"when": self.when, "cron": self.cron, "rollout": rollout, "notify": self.notify})
    }
}
