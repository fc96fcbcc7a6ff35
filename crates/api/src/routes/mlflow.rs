//! MLflow's REST protocol, so that its clients keep working: tracking, registry, artifacts.
//!
//! The protocol is MLflow's and is described there, so these routes stand in [`ACCESS`] and not in our OpenAPI document.
//! What its clients trip over is kept here: success without content is `{}`, int64 is a number, a field that we do not know
//! is passed over, a fault that stays is never told as one of ours (they would try again for minutes). How a refusal looks
//! is the dialect's business, who may ask that of [`crate::access`].

mod artifacts;
mod asked;
mod experiments;
mod logged_models;
mod registry;
mod runs;
mod server;
mod versions;
mod views;

use crate::access::{Access, Right};
use crate::house::House;
use crate::refusal::Refusal;
use axum::Json;
use axum::Router;
use axum::routing::{delete, get, patch, post};
use serde_json::{Value, json};

use Access::{Needs, Public};

/// Where the clients ask.
pub const API: &str = "/api/2.0/mlflow";
/// Where MLflow's pages ask for the same.
const PAGES_API: &str = "/ajax-api/2.0/mlflow";
/// Where files are.
pub const FILES: &str = "/api/2.0/mlflow-artifacts";
/// What tells their paths from all others.
pub const FILES_PART: &str = "/mlflow-artifacts/artifacts/";
const PAGES_FILES: &str = "/ajax-api/2.0/mlflow-artifacts";
/// Where what came with MLflow 3 is.
pub const API_3: &str = "/api/3.0/mlflow";
const PAGES_API_3: &str = "/ajax-api/3.0/mlflow";

/// What an answer is made of.
type Told = Result<Json<Value>, Refusal>;

/// Nothing to tell; the clients need an object all the same.
fn nothing() -> Told {
    Ok(Json(json!({})))
}

const SEE: Access = Needs(Right::SeeRuns);
const LOG: Access = Needs(Right::LogRuns);
const SEE_MODELS: Access = Needs(Right::SeeModels);
const REGISTER: Access = Needs(Right::Register);

/// What each route asks of its caller. Those of MLflow's pages ask the same.
pub const ACCESS: &[(&str, &str, Access)] = &[
    ("GET", "/version", Public),
    ("GET", "/api/3.0/mlflow/server-info", Public),
    ("GET", "/api/3.0/mlflow/workspaces", Access::Known),
    (
        "GET",
        "/api/3.0/mlflow/workspaces/{workspace}",
        Access::Known,
    ),
    ("POST", "/api/2.0/mlflow/experiments/create", LOG),
    ("GET", "/api/2.0/mlflow/experiments/get", SEE),
    ("GET", "/api/2.0/mlflow/experiments/get-by-name", SEE),
    ("GET", "/api/2.0/mlflow/experiments/search", SEE),
    ("POST", "/api/2.0/mlflow/experiments/search", SEE),
    ("POST", "/api/2.0/mlflow/experiments/update", LOG),
    ("POST", "/api/2.0/mlflow/experiments/delete", LOG),
    ("POST", "/api/2.0/mlflow/experiments/restore", LOG),
    (
        "POST",
        "/api/2.0/mlflow/experiments/set-experiment-tag",
        LOG,
    ),
    (
        "POST",
        "/api/2.0/mlflow/experiments/delete-experiment-tag",
        LOG,
    ),
    ("POST", "/api/2.0/mlflow/runs/create", LOG),
    ("GET", "/api/2.0/mlflow/runs/get", SEE),
    ("POST", "/api/2.0/mlflow/runs/search", SEE),
    ("POST", "/api/2.0/mlflow/runs/update", LOG),
    ("POST", "/api/2.0/mlflow/runs/delete", LOG),
    ("POST", "/api/2.0/mlflow/runs/restore", LOG),
    ("POST", "/api/2.0/mlflow/runs/log-metric", LOG),
    ("POST", "/api/2.0/mlflow/runs/log-parameter", LOG),
    ("POST", "/api/2.0/mlflow/runs/log-batch", LOG),
    ("POST", "/api/2.0/mlflow/runs/log-model", LOG),
    ("POST", "/api/2.0/mlflow/runs/log-inputs", LOG),
    ("POST", "/api/2.0/mlflow/runs/outputs", LOG),
    ("POST", "/api/2.0/mlflow/runs/set-tag", LOG),
    ("POST", "/api/2.0/mlflow/runs/delete-tag", LOG),
    ("GET", "/api/2.0/mlflow/metrics/get-history", SEE),
    ("GET", "/api/2.0/mlflow/artifacts/list", SEE),
    ("POST", "/api/2.0/mlflow/logged-models", LOG),
    ("POST", "/api/2.0/mlflow/logged-models/search", SEE),
    ("GET", "/api/2.0/mlflow/logged-models/{model_id}", SEE),
    ("PATCH", "/api/2.0/mlflow/logged-models/{model_id}", LOG),
    ("DELETE", "/api/2.0/mlflow/logged-models/{model_id}", LOG),
    (
        "PATCH",
        "/api/2.0/mlflow/logged-models/{model_id}/tags",
        LOG,
    ),
    (
        "DELETE",
        "/api/2.0/mlflow/logged-models/{model_id}/tags/{tag}",
        LOG,
    ),
    (
        "POST",
        "/api/2.0/mlflow/logged-models/{model_id}/params",
        LOG,
    ),
    (
        "GET",
        "/api/2.0/mlflow/logged-models/{model_id}/artifacts/directories",
        SEE,
    ),
    ("POST", "/api/2.0/mlflow/registered-models/create", REGISTER),
    ("GET", "/api/2.0/mlflow/registered-models/get", SEE_MODELS),
    (
        "GET",
        "/api/2.0/mlflow/registered-models/search",
        SEE_MODELS,
    ),
    (
        "PATCH",
        "/api/2.0/mlflow/registered-models/update",
        REGISTER,
    ),
    ("POST", "/api/2.0/mlflow/registered-models/rename", REGISTER),
    (
        "DELETE",
        "/api/2.0/mlflow/registered-models/delete",
        REGISTER,
    ),
    (
        "POST",
        "/api/2.0/mlflow/registered-models/set-tag",
        REGISTER,
    ),
    (
        "DELETE",
        "/api/2.0/mlflow/registered-models/delete-tag",
        REGISTER,
    ),
    (
        "GET",
        "/api/2.0/mlflow/registered-models/get-latest-versions",
        SEE_MODELS,
    ),
    (
        "POST",
        "/api/2.0/mlflow/registered-models/get-latest-versions",
        SEE_MODELS,
    ),
    ("GET", "/api/2.0/mlflow/registered-models/alias", SEE_MODELS),
    ("POST", "/api/2.0/mlflow/registered-models/alias", REGISTER),
    (
        "DELETE",
        "/api/2.0/mlflow/registered-models/alias",
        REGISTER,
    ),
    ("POST", "/api/2.0/mlflow/model-versions/create", REGISTER),
    ("GET", "/api/2.0/mlflow/model-versions/get", SEE_MODELS),
    ("GET", "/api/2.0/mlflow/model-versions/search", SEE_MODELS),
    (
        "GET",
        "/api/2.0/mlflow/model-versions/get-download-uri",
        SEE_MODELS,
    ),
    ("PATCH", "/api/2.0/mlflow/model-versions/update", REGISTER),
    ("DELETE", "/api/2.0/mlflow/model-versions/delete", REGISTER),
    ("POST", "/api/2.0/mlflow/model-versions/set-tag", REGISTER),
    (
        "DELETE",
        "/api/2.0/mlflow/model-versions/delete-tag",
        REGISTER,
    ),
    (
        "POST",
        "/api/2.0/mlflow/model-versions/transition-stage",
        Needs(Right::Deploy),
    ),
    ("GET", "/api/2.0/mlflow-artifacts/artifacts", SEE),
    ("GET", "/api/2.0/mlflow-artifacts/artifacts/{*path}", SEE),
    ("PUT", "/api/2.0/mlflow-artifacts/artifacts/{*path}", LOG),
    ("DELETE", "/api/2.0/mlflow-artifacts/artifacts/{*path}", LOG),
    ("POST", "/api/2.0/mlflow-artifacts/mpu/create/{*path}", LOG),
];

/// The routes of this protocol.
pub fn router() -> Router<House> {
    Router::new()
        .nest(API, api())
        .nest(PAGES_API, api())
        .nest(FILES, artifacts::router())
        .nest(PAGES_FILES, artifacts::router())
        .nest(API_3, server::router())
        .nest(PAGES_API_3, server::router())
        .route("/version", get(server::version))
}

fn api() -> Router<House> {
    Router::new()
        .route("/experiments/create", post(experiments::create))
        .route("/experiments/get", get(experiments::get))
        .route("/experiments/get-by-name", get(experiments::get_by_name))
        .route(
            "/experiments/search",
            get(experiments::search).post(experiments::search),
        )
        .route("/experiments/update", post(experiments::update))
        .route("/experiments/delete", post(experiments::delete))
        .route("/experiments/restore", post(experiments::restore))
        .route(
            "/experiments/set-experiment-tag",
            post(experiments::set_tag),
        )
        .route(
            "/experiments/delete-experiment-tag",
            post(experiments::delete_tag),
        )
        .route("/runs/create", post(runs::create))
        .route("/runs/get", get(runs::get))
        .route("/runs/search", post(runs::search))
        .route("/runs/update", post(runs::update))
        .route("/runs/delete", post(runs::delete))
        .route("/runs/restore", post(runs::restore))
        .route("/runs/log-metric", post(runs::log_metric))
        .route("/runs/log-parameter", post(runs::log_param))
        .route("/runs/log-batch", post(runs::log_batch))
        .route("/runs/log-model", post(runs::log_model))
        .route("/runs/log-inputs", post(runs::log_inputs))
        .route("/runs/outputs", post(runs::log_outputs))
        .route("/runs/set-tag", post(runs::set_tag))
        .route("/runs/delete-tag", post(runs::delete_tag))
        .route("/metrics/get-history", get(runs::history))
        .route("/artifacts/list", get(artifacts::list_of_run))
        .merge(logged_models())
        .merge(registered())
}

fn logged_models() -> Router<House> {
    Router::new()
        .route("/logged-models", post(logged_models::create))
        .route("/logged-models/search", post(logged_models::search))
        .route(
            "/logged-models/{model_id}",
            get(logged_models::get)
                .patch(logged_models::finish)
                .delete(logged_models::delete),
        )
        .route(
            "/logged-models/{model_id}/tags",
            patch(logged_models::set_tags),
        )
        .route(
            "/logged-models/{model_id}/tags/{tag}",
            delete(logged_models::delete_tag),
        )
        .route(
            "/logged-models/{model_id}/params",
            post(logged_models::log_params),
        )
        .route(
            "/logged-models/{model_id}/artifacts/directories",
            get(artifacts::list_of_model),
        )
}

fn registered() -> Router<House> {
    Router::new()
        .route("/registered-models/create", post(registry::create))
        .route("/registered-models/get", get(registry::get))
        .route("/registered-models/search", get(registry::search))
        .route("/registered-models/update", patch(registry::update))
        .route("/registered-models/rename", post(registry::rename))
        .route("/registered-models/delete", delete(registry::delete))
        .route("/registered-models/set-tag", post(registry::set_tag))
        .route(
            "/registered-models/delete-tag",
            delete(registry::delete_tag),
        )
        .route(
            "/registered-models/get-latest-versions",
            get(registry::latest).post(registry::latest),
        )
        .route(
            "/registered-models/alias",
            get(registry::by_alias)
                .post(registry::set_alias)
                .delete(registry::delete_alias),
        )
        .route("/model-versions/create", post(versions::create))
        .route("/model-versions/get", get(versions::get))
        .route("/model-versions/search", get(versions::search))
        .route(
            "/model-versions/get-download-uri",
            get(versions::download_uri),
        )
        .route("/model-versions/update", patch(versions::update))
        .route("/model-versions/delete", delete(versions::delete))
        .route("/model-versions/set-tag", post(versions::set_tag))
        .route("/model-versions/delete-tag", delete(versions::delete_tag))
        .route(
            "/model-versions/transition-stage",
            post(versions::transition),
        )
}
