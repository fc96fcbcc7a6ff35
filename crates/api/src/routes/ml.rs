//! The same house in the words of two systems that call it today: `/api/v1/ml/*` as the clinical inference guide has it,
//! and `/api/v1/ml-models*` as operators' dashboards ask.
//!
//! Only shapes differ: the way to a decision is `super::decisions::ask`.

use super::audit::RecordView;
use super::decisions::{Question, RecordedView, ask};
use crate::access::Right;
use crate::extract::{Known, Path, Query, Raw, read_json};
use crate::house::House;
use crate::performance::{Hour, this_hour};
use crate::refusal::{Code, Refusal};
use crate::request::Origin;
use crate::time::{self, now_us};
use axum::extract::State;
use axum::http::HeaderMap;
use axum::{Extension, Json as Answer};
use ombud_core::{Fault, ModelName};
use ombud_ledger::reader::Query as LedgerQuery;
use ombud_ledger::record::Kind;
use ombud_ops::routing::Live;
use ombud_store::Environment;
use ombud_store::outcome::{Outcome, OutcomeQuery};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;
use std::collections::BTreeMap;
use std::sync::Arc;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

/// Outcomes that a look at accuracy reads.
const OUTCOMES_MAX: usize = 1_000;
const HOUR_US: i64 = 3_600_000_000;

/// A question, in the guide's words.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PredictWish<'a> {
    /// The model's name.
    pub model_name: String,
    /// The features by name.
    #[serde(borrow)]
    #[schema(value_type = Object)]
    pub input_data: &'a RawValue,
    /// Whether an equal question's answer may be given again. Default: true.
    #[serde(default = "yes")]
    #[schema(default = true)]
    pub use_cache: bool,
    /// Whom it is about; never a feature.
    #[serde(default)]
    #[schema(min_length = 1, max_length = 1024)]
    pub subject: Option<String>,
}

/// An answer, in the guide's words.
#[derive(Debug, Serialize, ToSchema)]
pub struct PredictView {
    pub prediction: Value,
    pub confidence: Option<f64>,
    pub metadata: PredictMetadata,
}

/// What there is to say about an answer.
#[derive(Debug, Serialize, ToSchema)]
pub struct PredictMetadata {
    pub inference_time_ms: f64,
    pub cache_hit: bool,
    pub model_name: String,
    pub model_version: String,
    pub decision_id: String,
    pub probabilities: BTreeMap<String, f64>,
    pub recorded: Option<RecordedView>,
    #[schema(format = DateTime)]
    pub timestamp: String,
}

/// What is at work, in the guide's words.
#[derive(Debug, Serialize, ToSchema)]
pub struct MlModelsView {
    pub models: Vec<MlModelView>,
    pub count: usize,
}

/// A model at work.
#[derive(Debug, Serialize, ToSchema)]
pub struct MlModelView {
    pub name: String,
    pub version: String,
    pub environment: String,
    pub task: String,
    pub engine: String,
    pub description: String,
    /// The features it takes.
    pub features: Vec<String>,
    #[schema(format = DateTime)]
    pub deployed_at: String,
}

/// How far back to look.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct PerformanceQuery {
    /// Default: 24.
    #[param(minimum = 1, maximum = 168)]
    pub hours: Option<usize>,
}

/// How a model did, by metric.
#[derive(Debug, Serialize, ToSchema)]
pub struct PerformanceView {
    pub model_name: String,
    pub hours: usize,
    /// Each a series, oldest first.
    pub metrics: BTreeMap<String, Vec<MeasurementView>>,
}

/// One measurement.
#[derive(Debug, Serialize, ToSchema)]
pub struct MeasurementView {
    pub value: f64,
    pub unit: String,
    #[schema(format = DateTime)]
    pub measured_at: String,
    /// Over what: `hour`, or `window` for all of it.
    pub aggregation: String,
}

/// How much history.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct HistoryQuery {
    /// Default: 50.
    #[param(minimum = 1, maximum = 1000)]
    pub limit: Option<usize>,
    /// Only of this model.
    pub model_name: Option<String>,
}

/// Decisions, newest first, without what was asked about whom.
#[derive(Debug, Serialize, ToSchema)]
pub struct HistoryView {
    pub predictions: Vec<HistoryItem>,
    pub count: usize,
}

/// A decision in the history.
#[derive(Debug, Serialize, ToSchema)]
pub struct HistoryItem {
    pub decision_id: String,
    pub model_name: Option<String>,
    pub model_version: Option<String>,
    pub environment: Option<String>,
    #[schema(value_type = Value)]
    pub prediction: Value,
    pub confidence: Option<f64>,
    pub inference_time_ms: Option<f64>,
    pub cache_hit: Option<bool>,
    #[schema(format = DateTime)]
    pub created_at: String,
}

/// Sums since this replica started.
#[derive(Debug, Serialize, ToSchema)]
pub struct StatsView {
    pub total_predictions: u64,
    pub refused: u64,
    pub failed: u64,
    pub cache_hit_rate: f64,
    pub average_inference_time_ms: Option<f64>,
    pub models_loaded: usize,
    pub by_model: BTreeMap<String, ModelStats>,
}

/// A model's sums.
#[derive(Debug, Serialize, ToSchema)]
pub struct ModelStats {
    pub predictions: u64,
    pub refused: u64,
    pub failed: u64,
    pub cache_hits: u64,
    pub average_inference_time_ms: Option<f64>,
    pub p95_inference_time_ms: Option<f64>,
    pub average_confidence: Option<f64>,
}

/// Every model with its versions.
#[derive(Debug, Serialize, ToSchema)]
pub struct CatalogueView {
    pub models: BTreeMap<String, Vec<String>>,
    #[schema(format = DateTime)]
    pub timestamp: String,
}

/// Which version.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct VersionQuery {
    /// A number, a label, an alias; absent: what production answers with, or else the latest.
    pub version: Option<String>,
}

/// A version, in an operator's words.
#[derive(Debug, Serialize, ToSchema)]
pub struct ModelInfoView {
    pub model_type: String,
    pub version: String,
    pub label: String,
    pub task: String,
    pub engine: String,
    pub digest: String,
    #[schema(format = DateTime)]
    pub registered_at: String,
    #[schema(value_type = Object)]
    pub manifest: Box<RawValue>,
}

/// How a model is.
#[derive(Debug, Serialize, ToSchema)]
pub struct ModelHealthView {
    pub model_type: String,
    pub version: String,
    /// `healthy` or `unhealthy`.
    pub status: String,
    /// Whether it is deployed.
    pub available: bool,
    /// Whether this replica has it at hand.
    pub loadable: bool,
    pub metadata: ModelHealthMetadata,
}

/// Which version, and since when.
#[derive(Debug, Serialize, ToSchema)]
pub struct ModelHealthMetadata {
    pub version: String,
    #[schema(format = DateTime)]
    pub deployed_at: Option<String>,
}

/// The routes of this file.
pub fn router() -> OpenApiRouter<House> {
    OpenApiRouter::new()
        .routes(routes!(predict))
        .routes(routes!(models))
        .routes(routes!(performance))
        .routes(routes!(history))
        .routes(routes!(stats))
        .routes(routes!(catalogue))
        .routes(routes!(info))
        .routes(routes!(model_health))
}

/// Ask for a decision, in the guide's words
#[utoipa::path(post, path = "/api/v1/ml/predict", tag = "ml", request_body = PredictWish,
    params(("idempotency-key" = Option<String>, Header, description = "A retry with the same key gets the same decision.")),
    responses((status = 200, description = "The answer, on record.", body = PredictView)))]
async fn predict(
    State(house): State<House>,
    caller: Known,
    Extension(origin): Extension<Origin>,
    headers: HeaderMap,
    Raw(body): Raw,
) -> Result<Answer<PredictView>, Refusal> {
    let (name, question) = match question_of(&headers, &body) {
        Ok(asked) => asked,
        Err(refusal) => return Err(house.record_refusal(&caller, &origin, None, refusal).await),
    };
    let production = Environment::production();
    let decision = ask(&house, &caller, &origin, name, production, question).await?;
    Ok(Answer(PredictView {
        prediction: decision.answer.prediction,
        confidence: decision.answer.confidence,
        metadata: PredictMetadata {
            inference_time_ms: decision.latency_us as f64 / 1e3,
            cache_hit: decision.cache_hit,
            model_name: decision.model.to_string(),
            model_version: decision.label.to_string(),
            decision_id: decision.id.to_string(),
            probabilities: decision.answer.probabilities,
            recorded: decision.recorded.map(RecordedView::from),
            timestamp: time::text(now_us()),
        },
    }))
}

fn question_of<'b>(
    headers: &HeaderMap,
    body: &'b [u8],
) -> Result<(ModelName, Question<'b>), Refusal> {
    let wish: PredictWish<'b> = read_json(body)?;
    let name =
        ModelName::new(&wish.model_name).map_err(|error| Refusal::malformed(error.to_string()))?;
    let question = Question {
        subject: super::decisions::subject_of(wish.subject)?,
        input: wish.input_data,
        version: None,
        explain: false,
        use_cache: wish.use_cache,
        idempotency_key: super::decisions::idempotency_key(headers)?,
    };
    Ok((name, question))
}

/// What is at work
#[utoipa::path(get, path = "/api/v1/ml/models", tag = "ml", responses((status = 200, description = "Models at work on this replica.", body = MlModelsView)))]
async fn models(
    State(house): State<House>,
    caller: Known,
) -> Result<Answer<MlModelsView>, Refusal> {
    caller.may(Right::SeeModels)?;
    let live = house.ops.routing().all_live(&caller.tenant);
    let models: Vec<MlModelView> = live
        .iter()
        .filter(|live| caller.sees_in(&live.deployment.model, &live.deployment.environment))
        .filter_map(|live| at_work(live))
        .collect();
    Ok(Answer(MlModelsView {
        count: models.len(),
        models,
    }))
}

/// How a model did, hour by hour
#[utoipa::path(get, path = "/api/v1/ml/models/{name}/performance", tag = "ml", params(("name" = String, Path, description = "The model's name."), PerformanceQuery),
    responses((status = 200, description = "Series by metric, of all replicas; what others count arrives within a minute. Accuracy is over reported outcomes.", body = PerformanceView)))]
async fn performance(
    State(house): State<House>,
    caller: Known,
    Path(name): Path<ModelName>,
    Query(query): Query<PerformanceQuery>,
) -> Result<Answer<PerformanceView>, Refusal> {
    caller.may_about(Right::SeeDecisions, &name)?;
    let hours = query.hours.unwrap_or(24);
    if !(1..=crate::performance::HOURS_MAX).contains(&hours) {
        return Err(Fault::new("hours", &hours.to_string(), "1 to 168").into());
    }
    house.registry.store.model(&caller.tenant, &name).await?;
    // What was counted is of all environments together.
    let live = house.ops.routing().all_live(&caller.tenant);
    let mut of_model = live.iter().filter(|live| live.deployment.model == name);
    if !of_model.all(|live| caller.sees_in(&name, &live.deployment.environment)) {
        let detail = "these numbers are of all environments, and this key is for some of them";
        return Err(Refusal::new(Code::Forbidden, detail));
    }
    let from = this_hour() + 1 - i64::try_from(hours).unwrap_or(i64::MAX);
    let (tenant, model) = (&caller.tenant, name.as_str());
    let elsewhere = house
        .store
        .hours_elsewhere(tenant, model, &house.lane, from);
    let elsewhere = elsewhere.await?;
    let mut metrics: BTreeMap<String, Vec<MeasurementView>> = BTreeMap::new();
    for (began_us, hour) in house.performance.hours(tenant, model, from, &elsewhere) {
        for (metric, value, unit) in measurements(&hour) {
            let measured_at = time::text(began_us);
            let measured = MeasurementView {
                value,
                unit: unit.to_owned(),
                measured_at,
                aggregation: "hour".to_owned(),
            };
            metrics.entry(metric.to_owned()).or_default().push(measured);
        }
    }
    if let Some(accuracy) = accuracy(&house, &caller, &name, hours).await? {
        let measured_at = time::text(now_us());
        let measured = MeasurementView {
            value: accuracy,
            unit: "ratio".to_owned(),
            measured_at,
            aggregation: "window".to_owned(),
        };
        metrics.insert("accuracy".to_owned(), vec![measured]);
    }
    Ok(Answer(PerformanceView {
        model_name: name.to_string(),
        hours,
        metrics,
    }))
}

/// Decisions, newest first, without what was asked about whom
#[utoipa::path(get, path = "/api/v1/ml/predictions/history", tag = "ml", params(HistoryQuery), responses((status = 200, description = "The last decisions.", body = HistoryView)))]
async fn history(
    State(house): State<House>,
    caller: Known,
    Query(query): Query<HistoryQuery>,
) -> Result<Answer<HistoryView>, Refusal> {
    caller.may_everywhere(Right::SeeDecisions)?;
    let limit = query.limit.unwrap_or(50);
    if !(1..=1_000).contains(&limit) {
        return Err(Fault::new("limit", &limit.to_string(), "1 to 1000").into());
    }
    let model = query
        .model_name
        .as_deref()
        .map(ModelName::new)
        .transpose()
        .map_err(|error| Refusal::malformed(error.to_string()))?;
    let query = LedgerQuery {
        kind: Some(Kind::Decision),
        model,
        limit,
        ..LedgerQuery::default()
    };
    let tenant = caller.tenant.clone();
    let page = house
        .ledger
        .read(move |reader| reader.page(&tenant, &query))
        .await?;
    let predictions: Vec<HistoryItem> = page
        .records
        .iter()
        .map(|record| item(RecordView::from(record)))
        .collect();
    Ok(Answer(HistoryView {
        count: predictions.len(),
        predictions,
    }))
}

/// Sums since this replica started
#[utoipa::path(get, path = "/api/v1/ml/stats", tag = "ml", responses((status = 200, description = "Sums, in all and by model.", body = StatsView)))]
async fn stats(State(house): State<House>, caller: Known) -> Result<Answer<StatsView>, Refusal> {
    caller.may_everywhere(Right::SeeDecisions)?;
    let sums = house.performance.sums(&caller.tenant);
    let total = |of: fn(&Hour) -> u64| sums.values().map(of).sum::<u64>();
    let answered = total(|hour| hour.answered);
    let time_sum: f64 = sums
        .values()
        .filter_map(|hour| Some(hour.latency_ms()? * hour.answered as f64))
        .sum();
    Ok(Answer(StatsView {
        total_predictions: answered,
        refused: total(|hour| hour.refused),
        failed: total(|hour| hour.failed),
        cache_hit_rate: if answered == 0 {
            0.0
        } else {
            total(|hour| hour.cache_hits) as f64 / answered as f64
        },
        average_inference_time_ms: (answered > 0).then(|| time_sum / answered as f64),
        models_loaded: house.ops.routing().all_live(&caller.tenant).len(),
        by_model: sums
            .iter()
            .map(|(model, hour)| (model.clone(), ModelStats::from(hour)))
            .collect(),
    }))
}

/// Every model with its versions
#[utoipa::path(get, path = "/api/v1/ml-models", tag = "ml", responses((status = 200, description = "Models and the labels of their versions, newest first.", body = CatalogueView)))]
async fn catalogue(
    State(house): State<House>,
    caller: Known,
) -> Result<Answer<CatalogueView>, Refusal> {
    caller.may(Right::SeeModels)?;
    let store = &house.registry.store;
    let mut models = BTreeMap::new();
    for model in store.models(&caller.tenant).await? {
        if caller.sees(&model.name) {
            let versions = store.versions(&caller.tenant, &model.name).await?;
            let labels = versions
                .iter()
                .filter(|version| version.archived_us.is_none())
                .map(|version| version.label.to_string());
            models.insert(model.name.to_string(), labels.collect());
        }
    }
    Ok(Answer(CatalogueView {
        models,
        timestamp: time::text(now_us()),
    }))
}

/// A version, by its model
#[utoipa::path(get, path = "/api/v1/ml-models/{type}", tag = "ml", params(("type" = String, Path, description = "The model's name."), VersionQuery),
    responses((status = 200, description = "The version.", body = ModelInfoView)))]
async fn info(
    State(house): State<House>,
    caller: Known,
    Path(name): Path<ModelName>,
    Query(query): Query<VersionQuery>,
) -> Result<Answer<ModelInfoView>, Refusal> {
    caller.may_about(Right::SeeModels, &name)?;
    let store = &house.registry.store;
    let deployed = in_production(&house, &caller, &name).map(|(version, _)| version);
    let wanted = query
        .version
        .or(deployed)
        .unwrap_or_else(|| "latest".to_owned());
    let version = store.resolve(&caller.tenant, &name, &wanted).await?;
    let manifest = store
        .manifest(&caller.tenant, &name, version.version)
        .await?;
    Ok(Answer(ModelInfoView {
        model_type: name.to_string(),
        version: version.version.to_string(),
        label: version.label.to_string(),
        task: version.task,
        engine: version.engine,
        digest: version.digest.to_string(),
        registered_at: time::text(version.registered_us),
        manifest: RawValue::from_string(manifest).map_err(|error| Refusal::internal(&error))?,
    }))
}

/// How a model is
#[utoipa::path(get, path = "/api/v1/ml-models/{type}/health", tag = "ml", params(("type" = String, Path, description = "The model's name."), VersionQuery),
    responses((status = 200, description = "How it is.", body = ModelHealthView)))]
async fn model_health(
    State(house): State<House>,
    caller: Known,
    Path(name): Path<ModelName>,
    Query(query): Query<VersionQuery>,
) -> Result<Answer<ModelHealthView>, Refusal> {
    let production = Environment::production();
    caller.may_on(Right::SeeModels, &name, &production)?;
    let (tenant, store) = (&caller.tenant, &house.registry.store);
    let deployment = store.deployment(tenant, &name, &production).await?;
    let wanted = match (&query.version, &deployment) {
        (Some(version), _) => version.clone(),
        (None, Some(deployment)) => deployment
            .traffic
            .active()
            .first()
            .map_or_else(|| "latest".to_owned(), |share| share.version.to_string()),
        (None, None) => "latest".to_owned(),
    };
    let version = store.resolve(tenant, &name, &wanted).await?;
    let available = deployment
        .as_ref()
        .is_some_and(|deployment| deployment.traffic.versions().contains(&version.version));
    let live = house.ops.routing().live(tenant, &name, &production).ok();
    let warm = live.as_ref().and_then(|live| live.version(version.version));
    let loadable = warm.is_some();
    let number = version.version.to_string();
    Ok(Answer(ModelHealthView {
        model_type: name.to_string(),
        version: number.clone(),
        status: if available && loadable {
            "healthy"
        } else {
            "unhealthy"
        }
        .to_owned(),
        available,
        loadable,
        metadata: ModelHealthMetadata {
            version: number,
            deployed_at: deployment
                .filter(|_| available)
                .map(|deployment| time::text(deployment.changed_us)),
        },
    }))
}

/// The senior version that production answers with here, and its deployment.
fn in_production(house: &House, caller: &Known, name: &ModelName) -> Option<(String, Arc<Live>)> {
    let production = Environment::production();
    let live = house
        .ops
        .routing()
        .live(&caller.tenant, name, &production)
        .ok()?;
    let version = live
        .deployment
        .traffic
        .active()
        .first()?
        .version
        .to_string();
    Some((version, live))
}

fn at_work(live: &Live) -> Option<MlModelView> {
    let version = live.deployment.traffic.active().first()?.version;
    let warm = live.version(version)?;
    let manifest = warm.model.manifest();
    Some(MlModelView {
        name: manifest.name.to_string(),
        version: warm.registered.label.to_string(),
        environment: live.deployment.environment.to_string(),
        task: warm.registered.task.clone(),
        engine: warm.registered.engine.clone(),
        description: manifest.description.clone(),
        features: manifest
            .schema
            .features()
            .iter()
            .map(|feature| feature.path.to_string())
            .collect(),
        deployed_at: time::text(live.deployment.changed_us),
    })
}

fn measurements(hour: &Hour) -> Vec<(&'static str, f64, &'static str)> {
    let mut found = vec![
        ("predictions", hour.answered as f64, "count"),
        ("refused", hour.refused as f64, "count"),
        ("failed", hour.failed as f64, "count"),
    ];
    let optional = [
        ("inference_time_mean", hour.latency_ms(), "ms"),
        ("inference_time_p50", hour.latency_ms_at(0.5), "ms"),
        ("inference_time_p95", hour.latency_ms_at(0.95), "ms"),
        ("inference_time_p99", hour.latency_ms_at(0.99), "ms"),
        ("confidence_mean", hour.confidence(), "probability"),
        (
            "cache_hit_rate",
            (hour.answered > 0).then(|| hour.cache_hits as f64 / hour.answered as f64),
            "ratio",
        ),
    ];
    found.extend(
        optional
            .into_iter()
            .filter_map(|(name, value, unit)| Some((name, value?, unit))),
    );
    found
}

/// The part of decisions whose reported outcome is what was predicted; none without a class and an outcome.
async fn accuracy(
    house: &House,
    caller: &Known,
    name: &ModelName,
    hours: usize,
) -> Result<Option<f64>, Refusal> {
    let from_us = now_us() - i64::try_from(hours).unwrap_or(24).saturating_mul(HOUR_US);
    let query = OutcomeQuery {
        model: name.clone(),
        environment: None,
        version: None,
        from_us,
        until_us: i64::MAX,
        after: None,
        limit: OUTCOMES_MAX,
    };
    let outcomes = house.store.outcomes(&caller.tenant, &query).await?.items;
    let tenant = caller.tenant.clone();
    let judged = house.ledger.read(move |reader| {
        let mut judged = Vec::with_capacity(outcomes.len());
        for outcome in outcomes {
            let record = reader.record(&tenant, &outcome.decision)?;
            judged.extend(is_right(
                &outcome,
                record.answer.as_deref().unwrap_or_default(),
            ));
        }
        Ok(judged)
    });
    let judged: Vec<bool> = judged.await?;
    let right = judged.iter().filter(|is_right| **is_right).count();
    Ok((!judged.is_empty()).then(|| right as f64 / judged.len() as f64))
}

fn is_right(outcome: &Outcome, answer: &str) -> Option<bool> {
    let answer: Value = serde_json::from_str(answer).ok()?;
    let predicted = answer.get("prediction")?;
    (predicted.is_string() || predicted.is_array()).then(|| *predicted == outcome.value)
}

fn item(record: RecordView) -> HistoryItem {
    let answer: Option<Value> = record
        .answer
        .as_ref()
        .and_then(|answer| serde_json::from_str(answer.get()).ok());
    HistoryItem {
        decision_id: record.id,
        model_name: record.model,
        model_version: record.version,
        environment: record.environment,
        prediction: answer
            .and_then(|mut answer| answer.get_mut("prediction").map(Value::take))
            .unwrap_or(Value::Null),
        confidence: record.confidence,
        inference_time_ms: record.latency_ms,
        cache_hit: record.cache_hit,
        created_at: record.time,
    }
}

fn yes() -> bool {
    true
}

impl From<&Hour> for ModelStats {
    fn from(hour: &Hour) -> Self {
        ModelStats {
            predictions: hour.answered,
            refused: hour.refused,
            failed: hour.failed,
            cache_hits: hour.cache_hits,
            average_inference_time_ms: hour.latency_ms(),
            p95_inference_time_ms: hour.latency_ms_at(0.95),
            average_confidence: hour.confidence(),
        }
    }
}

impl std::fmt::Debug for PredictWish<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("PredictWish(…)")
    }
}
