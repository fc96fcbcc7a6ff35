//! The Open Inference Protocol v2 over HTTP: the same decisions in the words that Triton, KServe and MLServer taught clients.
//!
//! Here stand the questions about the server and its models; answering is [`infer`] and, as events or a row by name,
//! [`streams`], the repository [`repository`], counts [`counted`], the doors of MLflow's scoring server and TensorFlow Serving
//! [`scoring`], and what is not done here [`beyond`]. What is asked and answered is made of formats that know no server (`ombud_oip`); who may and what happens is the house's ([`crate::inference`]).

pub mod beyond;
pub mod body;
pub mod counted;
pub mod infer;
pub mod repository;
pub mod scoring;
pub mod streams;

use crate::access::Right;
use crate::extract::{Known, Path, Query};
use crate::house::House;
use crate::inference::{Found, Place, find, unknown_model};
use crate::refusal::{Code, Refusal};
use crate::routes::health;
use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use ombud_core::ModelName;
use ombud_core::Version;
use ombud_oip::model::{About, Slot, inputs, outputs};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

/// What the server calls itself.
pub const SERVER_NAME: &str = "ombud";
/// What it does beyond the protocol's core.
pub const EXTENSIONS: &[&str] = &[
    "binary_tensor_data",
    "classification",
    "model_configuration",
    "model_repository",
    "model_repository(unload_dependents)",
    "parameters",
    "statistics",
];

/// The server.
#[derive(Debug, Serialize, ToSchema)]
pub struct ServerView {
    pub name: String,
    pub version: String,
    /// What it does beyond the protocol's core.
    pub extensions: Vec<String>,
}

/// That the server lives.
#[derive(Debug, Serialize, ToSchema)]
pub struct InferenceLiveView {
    pub live: bool,
}

/// Whether the server can answer.
#[derive(Debug, Serialize, ToSchema)]
pub struct InferenceReadyView {
    pub ready: bool,
}

/// Whether a model can answer.
#[derive(Debug, Serialize, ToSchema)]
pub struct ModelReadyView {
    pub name: String,
    pub ready: bool,
}

/// The models that answer.
#[derive(Debug, Serialize, ToSchema)]
pub struct ServedView {
    pub models: Vec<String>,
}

/// A model as tensors.
#[derive(Debug, Serialize, ToSchema)]
pub struct MetadataView {
    pub name: String,
    /// The versions that answer or did just before.
    pub versions: Vec<String>,
    pub platform: String,
    pub inputs: Vec<TensorView>,
    pub outputs: Vec<TensorView>,
    /// The names behind the matrix and the scores, as JSON.
    pub properties: BTreeMap<String, String>,
}

/// A tensor's name, datatype and shape; -1 is a size that is not fixed.
#[derive(Debug, Serialize, ToSchema)]
pub struct TensorView {
    pub name: String,
    pub datatype: String,
    pub shape: Vec<i64>,
}

/// Where a model is looked at or asked.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Where {
    /// Default: `production`.
    #[serde(default)]
    pub environment: Option<String>,
}

/// Where a question goes, as its address says it: what cannot be read there is a refused request, and on record as one.
pub type At = Result<Query<Where>, Refusal>;

/// The routes of the protocol.
pub fn router() -> OpenApiRouter<House> {
    OpenApiRouter::new()
        .routes(routes!(server))
        .routes(routes!(live))
        .routes(routes!(ready))
        .routes(routes!(served))
        .routes(routes!(model_ready))
        .routes(routes!(version_ready))
        .routes(routes!(metadata))
        .routes(routes!(version_metadata))
        .routes(routes!(config))
        .routes(routes!(version_config))
        .merge(infer::router())
        .merge(counted::router())
        .merge(repository::router())
        .merge(scoring::router())
        .merge(streams::router())
}

/// What the server is and does
#[utoipa::path(get, path = "/v2", tag = "inference", security(()), responses((status = 200, description = "The server.", body = ServerView)))]
async fn server() -> Json<ServerView> {
    Json(ServerView {
        name: SERVER_NAME.to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        extensions: EXTENSIONS.iter().map(|name| (*name).to_owned()).collect(),
    })
}

/// Whether the process lives
#[utoipa::path(get, path = "/v2/health/live", tag = "inference", security(()), responses((status = 200, description = "It lives.", body = InferenceLiveView)))]
async fn live() -> Json<InferenceLiveView> {
    Json(InferenceLiveView { live: true })
}

/// Whether the server can answer
#[utoipa::path(get, path = "/v2/health/ready", tag = "inference", security(()), responses(
    (status = 200, description = "It can.", body = InferenceReadyView),
    (status = 503, description = "It cannot.", body = InferenceReadyView),
))]
async fn ready(State(house): State<House>) -> Response {
    let ready = health::is_well(&house).await;
    (status(ready), Json(InferenceReadyView { ready })).into_response()
}

/// List the models that answer
#[utoipa::path(get, path = "/v2/models", tag = "inference", params(("environment" = Option<String>, Query, description = "Default: all.")),
    responses((status = 200, description = "Their names.", body = ServedView)))]
async fn served(
    State(house): State<House>,
    caller: Known,
    Query(at): Query<Where>,
) -> Result<Json<ServedView>, Refusal> {
    caller.may(Right::SeeModels)?;
    let live = house.ops.routing().all_live(&caller.tenant);
    let is_meant = |environment: &str| at.environment.as_deref().is_none_or(|it| it == environment);
    let seen = live
        .iter()
        .filter(|live| is_meant(live.deployment.environment.as_str()))
        .filter(|live| caller.sees_in(&live.deployment.model, &live.deployment.environment));
    let mut models: Vec<String> = seen.map(|live| live.deployment.model.to_string()).collect();
    models.dedup();
    Ok(Json(ServedView { models }))
}

/// Whether a model can answer
#[utoipa::path(get, path = "/v2/models/{name}/ready", tag = "inference", params(("name" = String, Path, description = "The model's name.")), responses(
    (status = 200, description = "It can.", body = ModelReadyView),
    (status = 503, description = "It cannot.", body = ModelReadyView),
))]
async fn model_ready(
    State(house): State<House>,
    caller: Known,
    Path(name): Path<String>,
    Query(at): Query<Where>,
) -> Result<Response, Refusal> {
    tell_ready(&house, &caller, &name, "", at).await
}

/// Whether a version can answer
#[utoipa::path(get, path = "/v2/models/{name}/versions/{version}/ready", tag = "inference",
    params(("name" = String, Path, description = "The model's name."), ("version" = String, Path, description = "The version's number.")), responses(
    (status = 200, description = "It can.", body = ModelReadyView),
    (status = 503, description = "It cannot.", body = ModelReadyView),
))]
async fn version_ready(
    State(house): State<House>,
    caller: Known,
    Path((name, version)): Path<(String, String)>,
    Query(at): Query<Where>,
) -> Result<Response, Refusal> {
    tell_ready(&house, &caller, &name, &version, at).await
}

/// A model's tensors
#[utoipa::path(get, path = "/v2/models/{name}", tag = "inference", params(("name" = String, Path, description = "The model's name.")),
    responses((status = 200, description = "Its tensors.", body = MetadataView)))]
async fn metadata(
    State(house): State<House>,
    caller: Known,
    Path(name): Path<String>,
    Query(at): Query<Where>,
) -> Result<Json<MetadataView>, Refusal> {
    let found = look(&house, &caller, &name, "", at).await?;
    Ok(Json(metadata_view(&found, house.config.limits.rows_max)))
}

/// A version's tensors
#[utoipa::path(get, path = "/v2/models/{name}/versions/{version}", tag = "inference",
    params(("name" = String, Path, description = "The model's name."), ("version" = String, Path, description = "The version's number.")),
    responses((status = 200, description = "Its tensors.", body = MetadataView)))]
async fn version_metadata(
    State(house): State<House>,
    caller: Known,
    Path((name, version)): Path<(String, String)>,
    Query(at): Query<Where>,
) -> Result<Json<MetadataView>, Refusal> {
    let found = look(&house, &caller, &name, &version, at).await?;
    Ok(Json(metadata_view(&found, house.config.limits.rows_max)))
}

/// A model's configuration in Triton's words
#[utoipa::path(get, path = "/v2/models/{name}/config", tag = "inference", params(("name" = String, Path, description = "The model's name.")),
    responses((status = 200, description = "Its configuration.", body = Object)))]
async fn config(
    State(house): State<House>,
    caller: Known,
    Path(name): Path<String>,
    Query(at): Query<Where>,
) -> Result<Json<Value>, Refusal> {
    let found = look(&house, &caller, &name, "", at).await?;
    Ok(Json(
        about(&found, house.config.limits.rows_max).config_json(),
    ))
}

/// A version's configuration in Triton's words
#[utoipa::path(get, path = "/v2/models/{name}/versions/{version}/config", tag = "inference",
    params(("name" = String, Path, description = "The model's name."), ("version" = String, Path, description = "The version's number.")),
    responses((status = 200, description = "Its configuration.", body = Object)))]
async fn version_config(
    State(house): State<House>,
    caller: Known,
    Path((name, version)): Path<(String, String)>,
    Query(at): Query<Where>,
) -> Result<Json<Value>, Refusal> {
    let found = look(&house, &caller, &name, &version, at).await?;
    Ok(Json(
        about(&found, house.config.limits.rows_max).config_json(),
    ))
}

async fn look(
    house: &House,
    caller: &Known,
    name: &str,
    version: &str,
    at: Where,
) -> Result<Found, Refusal> {
    let environment = at.environment.map(Value::from);
    let place = Place::of(name, version, environment.as_ref())?;
    find(house, caller, Right::SeeModels, place).await
}

async fn tell_ready(
    house: &House,
    caller: &Known,
    name: &str,
    version: &str,
    at: Where,
) -> Result<Response, Refusal> {
    let ready = is_ready(house, caller, name, version, at).await?;
    let name = name.to_owned();
    Ok((status(ready), Json(ModelReadyView { name, ready })).into_response())
}

/// Whether a model is at work; one that is not registered is an error.
pub async fn is_ready(
    house: &House,
    caller: &Known,
    name: &str,
    version: &str,
    at: Where,
) -> Result<bool, Refusal> {
    match look(house, caller, name, version, at).await {
        Ok(_) => Ok(true),
        Err(refusal) if matches!(refusal.code(), Code::NotFound | Code::Unavailable) => {
            let model = ModelName::new(name).map_err(|_| unknown_model(name))?;
            house.store.model(&caller.tenant, &model).await?;
            Ok(false)
        }
        Err(refusal) => Err(refusal),
    }
}

/// A model as the formats describe it.
pub fn about(found: &Found, rows_max: usize) -> About<'_> {
    let manifest = found.warm.model.manifest();
    About {
        name: manifest.name.as_str(),
        engine: &manifest.engine,
        schema: found.warm.model.schema(),
        outputs: &manifest.outputs,
        rows_max,
    }
}

/// The versions that answer or did just before.
pub fn versions(found: &Found) -> Vec<String> {
    let traffic = &found.live.deployment.traffic;
    let shares = traffic.active().iter().chain(traffic.previous());
    let mut versions: Vec<Version> = shares.map(|share| share.version).collect();
    versions.sort_unstable();
    versions.dedup();
    versions.iter().map(ToString::to_string).collect()
}

fn metadata_view(found: &Found, rows_max: usize) -> MetadataView {
    let about = about(found, rows_max);
    let view = |slot: &Slot| {
        let told = slot.metadata();
        TensorView {
            name: told.name,
            datatype: told.datatype,
            shape: told.shape,
        }
    };
    MetadataView {
        name: about.name.to_owned(),
        versions: versions(found),
        platform: about.platform(),
        inputs: inputs(about.schema).iter().map(view).collect(),
        outputs: outputs(about.outputs).iter().map(view).collect(),
        properties: about.properties(),
    }
}

fn status(is_well: bool) -> StatusCode {
    if is_well {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    }
}
