//! The doors of MLflow's scoring server (`/invocations`, `/ping`) and of TensorFlow Serving's REST (`/v1/models/…:predict`).
//!
//! Both send rows as plain JSON. What they get is what their clients read, and beside it the ids of the decisions, because a
//! decision without one can be neither explained nor judged later.

use super::body::Sent;
use super::{Where, is_ready};
use crate::access::Right;
use crate::extract::{Known, Path, Query};
use crate::house::House;
use crate::inference::{Found, Place, Questions, find, score};
use crate::refusal::{Code, Refusal};
use crate::request::{self, Origin};
use crate::routes::decisions::VersionWish;
use axum::extract::State;
use axum::http::{HeaderMap, header};
use axum::{Extension, Json};
use ombud_oip::request::refuse_near_misses;
use ombud_oip::scoring::Scoring;
use ombud_ops::Decision;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::time::Instant;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

/// The verb of TensorFlow Serving that is answered; `:classify` and `:regress` take examples in a form of their own.
const PREDICT: &str = ":predict";

/// Rows to be scored, described; they are read by the formats themselves. One of the four is needed.
#[derive(Debug, Deserialize, ToSchema)]
pub struct ScoreWish {
    /// `columns` and `data`, as pandas writes them with `orient="split"`.
    #[schema(value_type = Option<Object>)]
    pub dataframe_split: Option<Value>,
    #[schema(value_type = Option<Vec<Object>>)]
    pub dataframe_records: Option<Vec<Value>>,
    /// Rows by name, or values in the features' order.
    #[schema(value_type = Option<Vec<Value>>)]
    pub instances: Option<Vec<Value>>,
    /// Columns by name, or rows.
    #[schema(value_type = Option<Value>)]
    pub inputs: Option<Value>,
    /// `subject`: whom all rows are about. A row says it in the column of the schema's subject, or in `subject`.
    #[schema(value_type = Option<Object>)]
    pub params: Option<Value>,
}

/// Predictions, in the order of the rows.
#[derive(Debug, Serialize, ToSchema)]
pub struct ScoredView {
    /// The class, segment, number or list of labels of each row.
    pub predictions: Vec<Value>,
    /// What an outcome or an auditor names.
    pub decision_ids: Vec<String>,
    pub model_version: String,
}

/// Which model is scored with.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Which {
    #[serde(default)]
    model: Option<String>,
    #[serde(default)]
    environment: Option<String>,
}

/// The routes of this file.
pub fn router() -> OpenApiRouter<House> {
    OpenApiRouter::new()
        .routes(routes!(ping))
        .routes(routes!(invocations))
        .routes(routes!(model_status))
        .routes(routes!(predict))
        .routes(routes!(predict_version))
        .routes(routes!(predict_label))
}

/// Whether the server lives, as MLflow's scoring server is asked
#[utoipa::path(get, path = "/ping", tag = "inference", security(()), responses((status = 200, description = "It lives.", body = String, content_type = "text/plain")))]
async fn ping() -> &'static str {
    "\n"
}

/// Score rows as MLflow's scoring server does
///
/// As JSON, or as `text/csv` with the columns' names in its first line.
#[utoipa::path(post, path = "/invocations", tag = "inference", request_body(content((ScoreWish = "application/json"), (String = "text/csv"))),
    params(("model" = Option<String>, Query, description = "The model, by our name or by that of MLflow's clients; not needed where only one is deployed."), ("environment" = Option<String>, Query, description = "Default: `production`.")),
    responses((status = 200, description = "Predictions, on record.", body = ScoredView)))]
async fn invocations(
    State(house): State<House>,
    caller: Known,
    Extension(origin): Extension<Origin>,
    Query(which): Query<Which>,
    headers: HeaderMap,
    body: Sent,
) -> Result<Json<ScoredView>, Refusal> {
    let environment = which.environment.map(Value::from);
    let model = match which.model {
        Some(model) => called(&house, &caller, model).await?,
        None => only_model(&house, &caller)?,
    };
    let asked = Asked {
        model: &model,
        version: None,
        environment,
        form: None,
    };
    let (_, _, decisions) = answer(&house, &caller, &origin, asked, &headers, body).await?;
    let predictions = decisions
        .iter()
        .map(|decision| decision.answer.prediction.clone());
    Ok(Json(ScoredView {
        predictions: predictions.collect(),
        decision_ids: ids(&decisions),
        model_version: version_of(&decisions),
    }))
}

/// How a model is, as TensorFlow Serving and KServe's first protocol are asked
#[utoipa::path(get, path = "/v1/models/{model}", tag = "inference", params(("model" = String, Path, description = "The model's name.")),
    responses((status = 200, description = "Its versions and their states.", body = Object)))]
async fn model_status(
    State(house): State<House>,
    caller: Known,
    Path(name): Path<String>,
    Query(at): Query<Where>,
) -> Result<Json<Value>, Refusal> {
    let environment = at.environment.clone().map(Value::from);
    let ready = is_ready(&house, &caller, &name, "", at).await?;
    let versions = match Place::of(&name, "", environment.as_ref()) {
        Ok(place) if ready => {
            super::versions(&find(&house, &caller, Right::SeeModels, place).await?)
        }
        _ => Vec::new(),
    };
    let status = |version: &String| json!({ "version": version, "state": "AVAILABLE", "status": { "error_code": "OK", "error_message": "" } });
    let states: Vec<Value> = versions.iter().map(status).collect();
    Ok(Json(
        json!({ "name": name, "ready": ready, "model_version_status": states }),
    ))
}

/// Predict as TensorFlow Serving does
#[utoipa::path(post, path = "/v1/models/{model}", tag = "inference", request_body = ScoreWish,
    params(("model" = String, Path, description = "The model's name, then `:predict`."), ("environment" = Option<String>, Query, description = "Default: `production`.")),
    responses((status = 200, description = "`predictions` for `instances`, `outputs` for `inputs`; on record.", body = Object)))]
async fn predict(
    State(house): State<House>,
    caller: Known,
    Extension(origin): Extension<Origin>,
    Path(call): Path<String>,
    Query(at): Query<Where>,
    headers: HeaderMap,
    body: Sent,
) -> Result<Json<Value>, Refusal> {
    let asked = Asked {
        model: verb(&call).await?,
        version: None,
        environment: at.environment.map(Value::from),
        form: Some(Form::Json),
    };
    predicted(&house, &caller, &origin, asked, &headers, body).await
}

/// Predict with a version of the deployment
#[utoipa::path(post, path = "/v1/models/{model}/versions/{version}", tag = "inference", request_body = ScoreWish,
    params(("model" = String, Path, description = "The model's name."), ("version" = String, Path, description = "The version's number, then `:predict`."), ("environment" = Option<String>, Query, description = "Default: `production`.")),
    responses((status = 200, description = "`predictions` for `instances`, `outputs` for `inputs`; on record.", body = Object)))]
async fn predict_version(
    State(house): State<House>,
    caller: Known,
    Extension(origin): Extension<Origin>,
    Path((model, call)): Path<(String, String)>,
    Query(at): Query<Where>,
    headers: HeaderMap,
    body: Sent,
) -> Result<Json<Value>, Refusal> {
    let asked = Asked {
        model: &model,
        version: Some(verb(&call).await?),
        environment: at.environment.map(Value::from),
        form: Some(Form::Json),
    };
    predicted(&house, &caller, &origin, asked, &headers, body).await
}

/// Predict with the version that a label or an alias names
#[utoipa::path(post, path = "/v1/models/{model}/labels/{label}", tag = "inference", request_body = ScoreWish,
    params(("model" = String, Path, description = "The model's name."), ("label" = String, Path, description = "A label or an alias, then `:predict`."), ("environment" = Option<String>, Query, description = "Default: `production`.")),
    responses((status = 200, description = "`predictions` for `instances`, `outputs` for `inputs`; on record.", body = Object)))]
async fn predict_label(
    State(house): State<House>,
    caller: Known,
    Extension(origin): Extension<Origin>,
    Path((model, call)): Path<(String, String)>,
    Query(at): Query<Where>,
    headers: HeaderMap,
    body: Sent,
) -> Result<Json<Value>, Refusal> {
    let asked = Asked {
        model: &model,
        version: Some(verb(&call).await?),
        environment: at.environment.map(Value::from),
        form: Some(Form::Json),
    };
    predicted(&house, &caller, &origin, asked, &headers, body).await
}

struct Asked<'a> {
    model: &'a str,
    version: Option<&'a str>,
    environment: Option<Value>,
    /// None where the headers say it.
    form: Option<Form>,
}

/// What the rows are written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Json,
    Csv,
}

impl Form {
    /// What MLflow's scoring server takes; whoever names nothing sends JSON.
    fn of(headers: &HeaderMap) -> Result<Self, Refusal> {
        let named = headers
            .get(header::CONTENT_TYPE)
            .and_then(|value| value.to_str().ok());
        let named = named.unwrap_or("application/json");
        let kind = named.split(';').next().unwrap_or(named).trim();
        match kind.to_ascii_lowercase().as_str() {
            "" | "application/json" => Ok(Form::Json),
            "text/csv" => Ok(Form::Csv),
            _ => {
                let words = "rows come as application/json or text/csv";
                Err(Refusal::new(Code::UnsupportedMediaType, words)
                    .hint("send `Content-Type: application/json`"))
            }
        }
    }
}

async fn answer(
    house: &House,
    caller: &Known,
    origin: &Origin,
    asked: Asked<'_>,
    headers: &HeaderMap,
    body: Sent,
) -> Result<(Found, bool, Vec<Decision>), Refusal> {
    let started = Instant::now();
    let model = ombud_core::ModelName::new(asked.model).ok();
    let read = read(house, caller, asked, headers, body).await;
    let (found, is_by_column, questions) = match read {
        Ok(read) => read,
        Err(refusal) => return Err(house.record_refusal(caller, origin, model, refusal).await),
    };
    let decisions = score(house, caller, origin, &found, questions, started).await?;
    Ok((found, is_by_column, decisions))
}

async fn read(
    house: &House,
    caller: &Known,
    asked: Asked<'_>,
    headers: &HeaderMap,
    body: Sent,
) -> Result<(Found, bool, Questions), Refusal> {
    let form = asked.form.map_or_else(|| Form::of(headers), Ok)?;
    let body = body?;
    let mut place = Place::of(asked.model, "", asked.environment.as_ref())?;
    place.version = asked.version.map(|text| VersionWish::Text(text.to_owned()));
    let found = find(house, caller, Right::Decide, place).await?;
    let rows_max = house.config.limits.rows_max;
    let schema = found.warm.model.schema();
    let scoring = match form {
        Form::Json => Scoring::read(schema, &body.bytes, rows_max)?,
        Form::Csv => Scoring::read_csv(schema, &body.bytes, rows_max)?,
    };
    refuse_near_misses(scoring.parameters.keys())?;
    if scoring.parameters.contains_key("environment") && asked.environment.is_none() {
        return Err(Refusal::malformed(
            "say the environment in the query: `?environment=…`",
        ));
    }
    let key = super::infer::idempotency_key(headers)?;
    let questions = Questions {
        rows: scoring.rows,
        explain: false,
        idempotency_key: key,
    };
    Ok((found, scoring.is_by_column, questions))
}

async fn predicted(
    house: &House,
    caller: &Known,
    origin: &Origin,
    asked: Asked<'_>,
    headers: &HeaderMap,
    body: Sent,
) -> Result<Json<Value>, Refusal> {
    let (found, is_by_column, decisions) =
        answer(house, caller, origin, asked, headers, body).await?;
    let classes = found.warm.model.manifest().outputs.names();
    let scores = |decision: &Decision| {
        let answer = &decision.answer;
        match classes {
            [] => answer.prediction.clone(),
            names => names
                .iter()
                .map(|name| answer.probabilities.get(name).copied())
                .collect(),
        }
    };
    let scores: Vec<Value> = decisions.iter().map(scores).collect();
    let labels: Vec<&Value> = decisions
        .iter()
        .map(|decision| &decision.answer.prediction)
        .collect();
    let ids = ids(&decisions);
    if is_by_column {
        let outputs = json!({ "scores": scores, "labels": labels, "decision_ids": ids });
        return Ok(Json(json!({ "outputs": outputs })));
    }
    Ok(Json(json!({
        "predictions": scores, "labels": labels, "classes": classes, "decision_ids": ids,
        "model_version": version_of(&decisions),
    })))
}

/// What stands before the verb.
async fn verb(call: &str) -> Result<&str, Refusal> {
    match call.strip_suffix(PREDICT) {
        Some(named) => Ok(named),
        None => Err(request::no_such_route().await),
    }
}

/// The model that is deployed under a name, or that MLflow's clients call so. Where these are two, neither is guessed.
async fn called(house: &House, caller: &Known, name: String) -> Result<String, Refusal> {
    let is_ours = ombud_core::ModelName::new(&name).is_ok_and(|model| {
        let live = house.ops.routing().all_live(&caller.tenant);
        live.iter().any(|live| live.deployment.model == model)
    });
    match house.store.listed_model(&caller.tenant, &name).await {
        Ok(theirs) if is_ours && theirs.as_str() != name => {
            let words = format!("{name} is a model here, and MLflow's clients call {theirs} so");
            Err(Refusal::new(Code::Conflict, words).hint(format!(
                "`ombud models` tells them apart; `/v2/models/{name}/infer` and `/v2/models/{theirs}/infer` ask by our names"
            )))
        }
        Ok(theirs) if !is_ours => Ok(theirs.to_string()),
        _ => Ok(name),
    }
}

/// The model that is meant when nobody says: the one of the settings, or the only one that the caller may ask.
fn only_model(house: &House, caller: &Known) -> Result<String, Refusal> {
    let named = &house.config.inference.default_model;
    if !named.is_empty() {
        return Ok(named.clone());
    }
    let live = house.ops.routing().all_live(&caller.tenant);
    let mut names: Vec<&str> = live
        .iter()
        .map(|live| &live.deployment.model)
        .filter(|model| caller.sees(model))
        .map(ombud_core::ModelName::as_str)
        .collect();
    names.dedup();
    match names.as_slice() {
        [one] => Ok((*one).to_owned()),
        [] => Err(Refusal::new(Code::NotFound, "nothing is deployed")),
        _ => Err(Refusal::malformed("several models are deployed")
            .hint("say which: `/invocations?model=NAME`, or set `inference.default_model`")),
    }
}

fn ids(decisions: &[Decision]) -> Vec<String> {
    decisions
        .iter()
        .map(|decision| decision.id.to_string())
        .collect()
}

fn version_of(decisions: &[Decision]) -> String {
    let first = decisions.first();
    first
        .map(|decision| decision.version.to_string())
        .unwrap_or_default()
}
