//! A version at work: its bundle verified, its engine built, its first answers given to nobody.
//!
//! All of it happens on a thread that may block, before any question can reach the version.

use crate::answer::AnswerText;
use crate::batching::{Batcher, Batching};
use crate::error::{Error, Result};
use crate::health::Counters;
use crate::observe::LoadTimes;
use crate::pool::Pool;
use ombud_core::schema::{Bounds, Feature, Kind, Schema};
use ombud_engine::ensemble::Gathered;
use ombud_engine::{Bundle, Model};
use ombud_ledger::Tenant;
use ombud_store::Registry;
use ombud_store::version::Registered;
use serde_json::{Map, Value, json};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Answers given before the first real one, so that caches of code and data are filled.
const WARMING_ANSWERS: usize = 8;

/// From here on a model is too large to be asked on a worker that answers others.
pub const LARGE_US: u64 = 2_000;

/// A version that can answer at once.
#[derive(Debug)]
pub struct Warm {
    pub registered: Registered,
    pub model: Arc<Model>,
    pub counters: Counters,
    /// How long one answer with its reasons takes, as measured before it was put to work.
    pub answer_us: u64,
    /// How long it took to get here.
    pub took: LoadTimes,
    /// Where its engine gains from answering rows together.
    pub(crate) batcher: Option<Batcher>,
}

/// Brings versions to work.
#[derive(Debug)]
pub(crate) struct Loader {
    pub registry: Registry,
    pub pool: Arc<Pool>,
    pub batching: Batching,
}

impl Warm {
    /// Whether it is asked on the pool.
    pub fn is_large(&self) -> bool {
        self.answer_us >= LARGE_US
    }
}

impl Loader {
    /// Reads, verifies, builds and tries a version with everything it asks first.
    pub async fn load(&self, tenant: &Tenant, registered: Registered) -> Result<Warm> {
        let started = Instant::now();
        let bundle = self.registry.bundle(tenant, &registered).await?;
        let stages = self.registry.stages(tenant, &bundle).await?;
        let verify = started.elapsed();
        let work = move || build(bundle, &stages, registered, verify);
        let built = tokio::task::spawn_blocking(work).await;
        let mut warm = built.map_err(|_| Error::Interrupted)??;
        if self.batching.is_for(&warm.model) {
            let (model, pool) = (Arc::clone(&warm.model), Arc::clone(&self.pool));
            warm.batcher = Some(Batcher::start(model, pool, self.batching));
        }
        Ok(warm)
    }
}

fn build(
    bundle: Bundle,
    stages: &Gathered,
    registered: Registered,
    verify: Duration,
) -> Result<Warm> {
    let started = Instant::now();
    let model = Model::from_bundle_with(bundle, stages).map_err(|source| Error::Load {
        model: registered.model.clone(),
        version: registered.version,
        source,
    })?;
    let build = started.elapsed();
    let answer_us = self_test(&model).map_err(|reason| Error::SelfTest {
        model: registered.model.clone(),
        version: registered.version,
        reason,
    })?;
    Ok(Warm {
        registered,
        model: Arc::new(model),
        batcher: None,
        counters: Counters::default(),
        answer_us,
        took: LoadTimes {
            verify,
            build,
            warm: started.elapsed() - build,
        },
    })
}

/// Asks a question that fits the schema: the answer must be whole, the same each time, and have reasons.
/// Says how long the fastest answer took, in microseconds.
fn self_test(model: &Model) -> std::result::Result<u64, String> {
    let question = sample(model.schema());
    let row = model
        .parser()
        .parse_value(&question)
        .map_err(|refusal| format!("its own schema refuses a row made from it: {refusal}"))?;
    let first = model.predict(&row);
    AnswerText::of(model, &first).ok_or("its answer is no number")?;
    let mut answer_us = u64::MAX;
    for _ in 1..WARMING_ANSWERS {
        let started = Instant::now();
        if model.predict(&row) != first {
            return Err("one question has two answers".to_owned());
        }
        model.explain(&row, &first);
        answer_us = answer_us.min(started.elapsed().as_micros() as u64);
    }
    let reasons = model.explain(&row, &first);
    let is_finite = |weight: f64| weight.is_finite();
    if !is_finite(reasons.base)
        || !reasons
            .contributions
            .iter()
            .all(|reason| is_finite(reason.weight))
    {
        return Err("its reasons are no numbers".to_owned());
    }
    Ok(answer_us)
}

/// A row that fits a schema, made from nothing but the schema.
pub fn sample(schema: &Schema) -> Value {
    let mut row = Value::Object(Map::new());
    for feature in schema.features() {
        put(&mut row, feature);
    }
    row
}

fn put(row: &mut Value, feature: &Feature) {
    let mut place = row;
    for step in feature.path.steps() {
        if !place.is_object() {
            *place = Value::Object(Map::new());
        }
        place = &mut place[step.as_str()];
    }
    *place = sample_value(&feature.kind);
}

fn sample_value(kind: &Kind) -> Value {
    match kind {
        Kind::Number { bounds } => json!(inside(bounds)),
        Kind::Ordinal { levels } => json!(levels.first()),
        Kind::Category { values, .. } => json!(values.first()),
        Kind::Text => json!("a text"),
        Kind::Sequence { steps, bounds } => json!(vec![inside(bounds); *steps]),
    }
}

fn inside(bounds: &Bounds) -> f64 {
    match (bounds.min, bounds.max) {
        (Some(min), Some(max)) => min + (max - min) / 2.0,
        (Some(min), None) => min.max(0.0),
        (None, Some(max)) => max.min(0.0),
        (None, None) => 0.0,
    }
}
