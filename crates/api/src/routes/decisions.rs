//! Decisions: one row, or many, answered by whatever version is deployed, and on record before they are told.
//!
//! The input is never taken apart here: it goes as it came to the model's own parser, which walks the bytes once.

use super::registry::environment;
use crate::access::Right;
use crate::extract::{Known, Path, Raw, read_json};
use crate::house::House;
use crate::refusal::{Code, Problem, Refusal};
use crate::request::Origin;
use axum::Extension;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response};
use ombud_core::{Explanation, ModelName, Version};
use ombud_ledger::{Clear, Recorded, Subject, Tenant};
use ombud_ops::{Ask, Batch, BatchRow, Decision};
use ombud_store::Environment;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

/// The header that makes a retry get the decision of the first try.
pub const IDEMPOTENCY_KEY: &str = "idempotency-key";
/// Where people are answered.
const PRODUCTION: &str = "production";

/// A question about one row.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct DecideWish<'a> {
    /// What the model is given: its features by name.
    #[serde(borrow)]
    #[schema(value_type = Object)]
    pub input: &'a RawValue,
    /// Whom it is about; never a feature. Stored as a keyed hash.
    #[serde(default)]
    #[schema(min_length = 1, max_length = 1024)]
    pub subject: Option<String>,
    /// Default: `production`.
    #[serde(default)]
    pub environment: Option<String>,
    /// A version of the deployment, instead of the one that the traffic's shares choose.
    #[serde(default)]
    pub version: Option<VersionWish>,
    /// Whether to say why. Default: true.
    #[serde(default = "yes")]
    #[schema(default = true)]
    pub explain: bool,
    /// Whether an equal question's answer may be given again. Default: true.
    #[serde(default = "yes")]
    #[schema(default = true)]
    pub use_cache: bool,
}

/// Questions about many rows.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct BatchWish<'a> {
    /// At most `limits.rows_max`.
    #[serde(borrow)]
    #[schema(min_items = 1, max_items = 1000)]
    pub rows: Vec<RowWish<'a>>,
    /// Default: `production`.
    #[serde(default)]
    pub environment: Option<String>,
    /// A version of the deployment, instead of the one that the traffic's shares choose.
    #[serde(default)]
    pub version: Option<VersionWish>,
    /// Whether to say why. Default: false.
    #[serde(default)]
    pub explain: bool,
}

/// A row of a batch.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RowWish<'a> {
    /// What the model is given: its features by name.
    #[serde(borrow)]
    #[schema(value_type = Object)]
    pub input: &'a RawValue,
    /// Whom it is about.
    #[serde(default)]
    #[schema(min_length = 1, max_length = 1024)]
    pub subject: Option<String>,
}

/// A version by its number, its label or an alias.
#[derive(Debug, Clone, Deserialize, ToSchema)]
#[serde(
    untagged,
    expecting = "a version is a number from 1, a label, an alias or `latest`"
)]
pub enum VersionWish {
    Number(u32),
    Text(String),
}

/// A decision.
#[derive(Debug, Serialize, ToSchema)]
pub struct DecisionView {
    /// What an outcome or an auditor names.
    pub decision_id: String,
    pub model: String,
    /// The version's number.
    pub version: u32,
    /// What people call it.
    pub label: String,
    pub environment: String,
    /// The class or segment, a list of labels, or a number.
    pub prediction: Value,
    /// The probability of the prediction, where the task has one.
    pub confidence: Option<f64>,
    /// By class, label or segment.
    pub probabilities: BTreeMap<String, f64>,
    /// The classes that hold the truth at the promised coverage.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub prediction_set: Vec<String>,
    /// The interval of a number at the promised coverage.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Vec<f64>>)]
    pub interval: Option<(f64, f64)>,
    /// Why: what each feature added.
    #[schema(value_type = Option<Object>)]
    pub explanation: Option<Explanation>,
    pub cache_hit: bool,
    /// How long the model and its cache took.
    pub latency_ms: f64,
    /// Where it stands in the ledger; absent when the deployment answers before it records.
    pub recorded: Option<RecordedView>,
    /// Whether an earlier try of the same request made it.
    pub replayed: bool,
}

/// A place in the ledger.
#[derive(Debug, Serialize, ToSchema)]
pub struct RecordedView {
    pub lane: String,
    pub sequence: u64,
    pub hash: String,
}

/// What became of a batch, in the order of its rows.
#[derive(Debug, Serialize, ToSchema)]
pub struct BatchView {
    pub answered: usize,
    pub refused: usize,
    pub results: Vec<RowResult>,
}

/// What became of one row.
#[derive(Debug, Serialize, ToSchema)]
#[serde(untagged)]
pub enum RowResult {
    Answered(Box<DecisionView>),
    Refused { error: Problem },
}

/// The routes of this file.
pub fn router() -> OpenApiRouter<House> {
    OpenApiRouter::new()
        .routes(routes!(decide))
        .routes(routes!(decide_batch))
}

/// Ask for a decision about one row
#[utoipa::path(post, path = "/api/v1/models/{name}/decide", tag = "decisions",
    params(("name" = String, Path, description = "The model's name."), ("idempotency-key" = Option<String>, Header, description = "A retry with the same key gets the same decision.")),
    request_body = DecideWish, responses((status = 200, description = "The decision, on record.", body = DecisionView)))]
async fn decide(
    State(house): State<House>,
    caller: Known,
    Extension(origin): Extension<Origin>,
    Path(name): Path<ModelName>,
    headers: HeaderMap,
    Raw(body): Raw,
) -> Result<Response, Refusal> {
    let (environment, question) = match question_of(&caller, &name, &headers, &body) {
        Ok(asked) => asked,
        Err(refusal) => {
            let recorded = house.record_refusal(&caller, &origin, Some(name), refusal);
            return Err(Box::pin(recorded).await);
        }
    };
    let decision = ask(&house, &caller, &origin, name, environment, question).await?;
    Ok(json(&DecisionView::from(decision)))
}

/// Ask for decisions about many rows; each is answered or refused by itself
#[utoipa::path(post, path = "/api/v1/models/{name}/decide:batch", tag = "decisions", params(("name" = String, Path, description = "The model's name.")), request_body = BatchWish,
    responses((status = 200, description = "What became of each row, in their order.", body = BatchView)))]
async fn decide_batch(
    State(house): State<House>,
    caller: Known,
    Extension(origin): Extension<Origin>,
    Path(name): Path<ModelName>,
    headers: HeaderMap,
    Raw(body): Raw,
) -> Result<Response, Refusal> {
    let batch = match batch_of(&house, &caller, &origin, &name, &headers, &body).await {
        Ok(batch) => batch,
        Err(refusal) => {
            return Err(house
                .record_refusal(&caller, &origin, Some(name), refusal)
                .await);
        }
    };
    let results = house
        .ops
        .decide_batch(&caller.tenant, &origin.caller(&caller), batch)
        .await?;
    let result = |result: ombud_ops::error::Result<Decision>| match result {
        Ok(decision) => {
            let took = Duration::from_micros(decision.latency_us);
            count(&house, &caller.tenant, &decision, took, false);
            RowResult::Answered(Box::new(decision.into()))
        }
        Err(error) => RowResult::Refused {
            error: Refusal::from(error).problem(&origin.request_id),
        },
    };
    let results: Vec<RowResult> = results.into_iter().map(result).collect();
    let answered = results
        .iter()
        .filter(|result| matches!(result, RowResult::Answered(_)))
        .count();
    Ok(json(&BatchView {
        answered,
        refused: results.len() - answered,
        results,
    }))
}

/// Reads a question and whether its caller may ask it.
fn question_of<'b>(
    caller: &Known,
    model: &ModelName,
    headers: &HeaderMap,
    body: &'b [u8],
) -> Result<(Environment, Question<'b>), Refusal> {
    let wish: DecideWish<'b> = read_json(body)?;
    let environment = environment(wish.environment.as_deref().unwrap_or(PRODUCTION))?;
    caller.may_on(Right::Decide, model, &environment)?;
    let question = Question {
        subject: subject_of(wish.subject)?,
        input: wish.input,
        version: wish.version,
        explain: wish.explain,
        use_cache: wish.use_cache,
        idempotency_key: idempotency_key(headers)?,
    };
    Ok((environment, question))
}

/// Reads a batch and whether its caller may ask it, and has them pay for its rows.
async fn batch_of(
    house: &House,
    caller: &Known,
    origin: &Origin,
    model: &ModelName,
    headers: &HeaderMap,
    body: &[u8],
) -> Result<Batch, Refusal> {
    if headers.contains_key(IDEMPOTENCY_KEY) {
        return Err(Refusal::malformed("a batch takes no Idempotency-Key")
            .hint("send single rows with a key each"));
    }
    let wish: BatchWish<'_> = read_json(body)?;
    let (rows, rows_max) = (wish.rows.len(), house.config.limits.rows_max);
    if rows > rows_max {
        return Err(Refusal::new(
            Code::TooLarge,
            format!("{rows} rows at once; at most {rows_max} (`limits.rows_max`)"),
        ));
    }
    let environment = environment(wish.environment.as_deref().unwrap_or(PRODUCTION))?;
    caller.may_on(Right::Decide, model, &environment)?;
    // The first row was paid for when the caller was let in.
    house
        .pay_for_rows(caller, origin, rows.saturating_sub(1))
        .await?;
    let row = |(number, row): (usize, RowWish<'_>)| {
        Ok(BatchRow {
            subject: subject_of(row.subject).map_err(|refusal| refusal.in_row(number))?,
            input: clear(row.input),
        })
    };
    Ok(Batch {
        version: version_of(house, caller, model, &environment, wish.version).await?,
        rows: wish
            .rows
            .into_iter()
            .enumerate()
            .map(row)
            .collect::<Result<_, Refusal>>()?,
        explain: wish.explain,
        model: model.clone(),
        environment,
    })
}

/// A question, whichever door it came through.
pub(super) struct Question<'a> {
    pub subject: Option<Subject>,
    pub input: &'a RawValue,
    pub version: Option<VersionWish>,
    pub explain: bool,
    pub use_cache: bool,
    pub idempotency_key: Option<String>,
}

/// Asks, counts and times.
pub(super) async fn ask(
    house: &House,
    caller: &Known,
    origin: &Origin,
    model: ModelName,
    environment: Environment,
    question: Question<'_>,
) -> Result<Decision, Refusal> {
    caller.may_on(Right::Decide, &model, &environment)?;
    let started = Instant::now();
    let ask = Ask {
        version: version_of(house, caller, &model, &environment, question.version).await?,
        subject: question.subject,
        input: clear(question.input),
        explain: question.explain,
        use_cache: question.use_cache && house.config.cache.seconds.0 > 0,
        idempotency_key: question.idempotency_key,
        model,
        environment,
    };
    let (model, environment, uses_cache) =
        (ask.model.clone(), ask.environment.clone(), ask.use_cache);
    let decided = house
        .ops
        .decide(&caller.tenant, &origin.caller(caller), ask)
        .await;
    let took = started.elapsed();
    match decided {
        Ok(decision) => {
            count(house, &caller.tenant, &decision, took, uses_cache);
            Ok(decision)
        }
        Err(error) => Err(count_failure(house, caller, &model, &environment, error)),
    }
}

/// Whether the room below wrote the refusal down: it does, unless it could not even begin.
fn is_on_record(error: &ombud_ops::Error) -> bool {
    use ombud_ops::Error;
    !matches!(
        error,
        Error::Ledger(_) | Error::Store(_) | Error::Unreadable { .. }
    )
}

/// Counts a question that was not answered, and puts it into words.
pub(crate) fn count_failure(
    house: &House,
    caller: &Known,
    model: &ModelName,
    environment: &Environment,
    error: ombud_ops::Error,
) -> Refusal {
    let is_recorded = is_on_record(&error);
    let mut refusal = Refusal::from(error);
    if is_recorded {
        refusal = refusal.recorded();
    }
    let outcome = if refusal.code().status() < 500 {
        "refused"
    } else {
        "failed"
    };
    // A name that nobody has is a stranger's choice of words, and no label.
    let model = if refusal.code() == Code::NotFound {
        "unknown"
    } else {
        model.as_str()
    };
    house
        .metrics
        .decisions
        .of(&[model, "", environment.as_str(), outcome])
        .add();
    house.performance.failed(&caller.tenant, model, outcome);
    refusal
}

pub(crate) fn count(
    house: &House,
    tenant: &Tenant,
    decision: &Decision,
    took: Duration,
    uses_cache: bool,
) {
    let version = decision.version.get().to_string();
    let (model, environment) = (decision.model.as_str(), decision.environment.as_str());
    house
        .metrics
        .decisions
        .of(&[model, &version, environment, "answered"])
        .add();
    house
        .metrics
        .decision_seconds
        .of(&[model, &version, "answered"])
        .time(took);
    if uses_cache {
        house
            .metrics
            .cache
            .of(&[model, if decision.cache_hit { "hit" } else { "miss" }])
            .add();
    }
    // How long the model took: the ledger's time is measured by itself, and would hide a model that became slow.
    let inference = Duration::from_micros(decision.latency_us);
    house.performance.answered(tenant, decision, inference);
}

pub(crate) async fn version_of(
    house: &House,
    caller: &Known,
    model: &ModelName,
    environment: &Environment,
    wish: Option<VersionWish>,
) -> Result<Option<Version>, Refusal> {
    let text = match wish {
        None => return Ok(None),
        Some(VersionWish::Number(number)) => number.to_string(),
        Some(VersionWish::Text(text)) => text,
    };
    if let Ok(number) = text.parse() {
        return Ok(Some(number));
    }
    // Labels of what is deployed are at hand; an alias is asked for.
    if let Ok(live) = house.ops.routing().live(&caller.tenant, model, environment) {
        let labelled = live
            .deployment
            .traffic
            .versions()
            .into_iter()
            .find(|version| {
                live.version(*version)
                    .is_some_and(|warm| warm.registered.label.to_string() == text)
            });
        if labelled.is_some() {
            return Ok(labelled);
        }
    }
    let resolved = house.registry.store.resolve(&caller.tenant, model, &text);
    Ok(Some(Box::pin(resolved).await?.version))
}

fn clear(input: &RawValue) -> Clear {
    Clear::new(input.get().as_bytes().to_vec())
}

pub(crate) fn subject_of(subject: Option<String>) -> Result<Option<Subject>, Refusal> {
    match subject {
        Some(empty) if empty.is_empty() => {
            Err(
                ombud_core::Fault::new("subject", "an empty text", "a person's id, or nothing")
                    .into(),
            )
        }
        subject => Ok(subject.map(Subject::new)),
    }
}

pub(super) fn idempotency_key(headers: &HeaderMap) -> Result<Option<String>, Refusal> {
    let text = |value: &axum::http::HeaderValue| value.to_str().map(str::to_owned);
    let key = headers.get(IDEMPOTENCY_KEY).map(text).transpose();
    key.map_err(|_| Refusal::malformed("the Idempotency-Key is 1 to 255 visible ASCII characters"))
}

/// An answer in one piece, so that it leaves in one write.
fn json(view: &impl Serialize) -> Response {
    match serde_json::to_vec(view) {
        Ok(body) => (
            [(axum::http::header::CONTENT_TYPE, "application/json")],
            body,
        )
            .into_response(),
        Err(error) => Refusal::internal(&error).into_response(),
    }
}

fn yes() -> bool {
    true
}

impl From<Decision> for DecisionView {
    fn from(decision: Decision) -> Self {
        let answer = decision.answer;
        DecisionView {
            decision_id: decision.id.to_string(),
            model: decision.model.to_string(),
            version: decision.version.get(),
            label: decision.label.to_string(),
            environment: decision.environment.to_string(),
            prediction: answer.prediction,
            confidence: answer.confidence,
            probabilities: answer.probabilities,
            prediction_set: answer.set,
            interval: answer.interval,
            explanation: decision.explanation,
            cache_hit: decision.cache_hit,
            latency_ms: decision.latency_us as f64 / 1e3,
            recorded: decision.recorded.map(RecordedView::from),
            replayed: decision.is_replayed,
        }
    }
}

impl From<Recorded> for RecordedView {
    fn from(recorded: Recorded) -> Self {
        RecordedView {
            lane: recorded.lane.to_string(),
            sequence: recorded.sequence,
            hash: recorded.hash.to_string(),
        }
    }
}

impl std::fmt::Debug for DecideWish<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("DecideWish(…)")
    }
}

impl std::fmt::Debug for BatchWish<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "BatchWish({} rows)", self.rows.len())
    }
}

impl std::fmt::Debug for RowWish<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("RowWish(…)")
    }
}
