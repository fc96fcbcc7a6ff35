//! Every route, and what each asks of its caller.
//!
//! A resource is a file with its handlers, its wire types and a `router()`; here they are only put together. [`ACCESS`]
//! says who may call what. It is a page for people and the expectation of a test that calls every route of the OpenAPI
//! document as every role, so a route that is missing here, or that asks for something else, is found.

pub mod audit;
pub mod decisions;
pub mod deployments;
pub mod health;
pub mod keys;
pub mod ml;
pub mod mlflow;
pub mod oip;
pub mod outcomes;
pub mod people;
pub mod registry;
pub mod session;
pub mod subjects;

use crate::access::{Access, Right};
use crate::docs;
use crate::grpc;
use crate::house::House;
use crate::kit::Kit;
use crate::request;
use axum::Router;
use axum::middleware::from_fn_with_state;
use std::collections::HashMap;
use std::sync::LazyLock;
use utoipa::openapi::OpenApi;
use utoipa_axum::router::OpenApiRouter;

use Access::{Known, Needs, Public};

/// What each route asks of its caller.
pub const ACCESS: &[(&str, &str, Access)] = &[
    ("GET", "/health", Public),
    ("GET", "/health/live", Public),
    ("GET", "/health/ready", Public),
    ("GET", "/metrics", Public),
    ("POST", "/api/v1/session", Public),
    ("GET", "/api/v1/session", Known),
    ("DELETE", "/api/v1/session", Known),
    ("PUT", "/api/v1/session/password", Known),
    ("GET", "/api/v1/keys", Needs(Right::ManageKeys)),
    ("POST", "/api/v1/keys", Needs(Right::ManageKeys)),
    ("DELETE", "/api/v1/keys/{prefix}", Needs(Right::ManageKeys)),
    ("GET", "/api/v1/people", Needs(Right::ManagePeople)),
    ("POST", "/api/v1/people", Needs(Right::ManagePeople)),
    (
        "PATCH",
        "/api/v1/people/{login}",
        Needs(Right::ManagePeople),
    ),
    (
        "POST",
        "/api/v1/people/{login}/password",
        Needs(Right::ManagePeople),
    ),
    ("GET", "/api/v1/audit/records", Needs(Right::SeeAudit)),
    ("GET", "/api/v1/audit/records/{id}", Needs(Right::SeeAudit)),
    (
        "POST",
        "/api/v1/audit/records/{id}/open",
        Needs(Right::OpenSealed),
    ),
    ("GET", "/api/v1/audit/heads", Needs(Right::SeeAudit)),
    ("POST", "/api/v1/audit/verify", Needs(Right::SeeAudit)),
    ("POST", "/api/v1/audit/export", Needs(Right::ExportAudit)),
    ("GET", "/api/v1/models", Needs(Right::SeeModels)),
    ("POST", "/api/v1/models", Needs(Right::Register)),
    ("GET", "/api/v1/models/{name}", Needs(Right::SeeModels)),
    (
        "GET",
        "/api/v1/models/{name}/versions/{version}",
        Needs(Right::SeeModels),
    ),
    (
        "DELETE",
        "/api/v1/models/{name}/versions/{version}",
        Needs(Right::Register),
    ),
    (
        "PUT",
        "/api/v1/models/{name}/versions/{version}/tags/{tag}",
        Needs(Right::Register),
    ),
    (
        "DELETE",
        "/api/v1/models/{name}/versions/{version}/tags/{tag}",
        Needs(Right::Register),
    ),
    (
        "POST",
        "/api/v1/models/{name}/versions/{version}/notes",
        Needs(Right::Register),
    ),
    (
        "POST",
        "/api/v1/models/{name}/versions/{version}/archive",
        Needs(Right::Register),
    ),
    (
        "GET",
        "/api/v1/models/{name}/aliases/{alias}",
        Needs(Right::SeeModels),
    ),
    (
        "PUT",
        "/api/v1/models/{name}/aliases/{alias}",
        Needs(Right::Register),
    ),
    ("GET", "/api/v1/events", Needs(Right::SeeModels)),
    ("GET", "/api/v1/deployments", Needs(Right::SeeModels)),
    (
        "GET",
        "/api/v1/models/{name}/deployments/{environment}",
        Needs(Right::SeeModels),
    ),
    (
        "POST",
        "/api/v1/models/{name}/deployments/{environment}/deploy",
        Needs(Right::Deploy),
    ),
    (
        "POST",
        "/api/v1/models/{name}/deployments/{environment}/promote",
        Needs(Right::Deploy),
    ),
    (
        "POST",
        "/api/v1/models/{name}/deployments/{environment}/rollback",
        Needs(Right::Deploy),
    ),
    (
        "POST",
        "/api/v1/models/{name}/deployments/{environment}/record",
        Needs(Right::Deploy),
    ),
    (
        "POST",
        "/api/v1/models/{name}/deployments/{environment}/withdraw",
        Needs(Right::Deploy),
    ),
    ("POST", "/api/v1/models/{name}/decide", Needs(Right::Decide)),
    (
        "POST",
        "/api/v1/models/{name}/decide:batch",
        Needs(Right::Decide),
    ),
    ("POST", "/api/v1/ml/predict", Needs(Right::Decide)),
    ("GET", "/api/v1/ml/models", Needs(Right::SeeModels)),
    (
        "GET",
        "/api/v1/ml/models/{name}/performance",
        Needs(Right::SeeDecisions),
    ),
    (
        "GET",
        "/api/v1/ml/predictions/history",
        Needs(Right::SeeDecisions),
    ),
    ("GET", "/api/v1/ml/stats", Needs(Right::SeeDecisions)),
    ("GET", "/api/v1/ml-models", Needs(Right::SeeModels)),
    ("GET", "/api/v1/ml-models/{type}", Needs(Right::SeeModels)),
    (
        "GET",
        "/api/v1/ml-models/{type}/health",
        Needs(Right::SeeModels),
    ),
    (
        "POST",
        "/api/v1/decisions/{id}/outcome",
        Needs(Right::ReportOutcomes),
    ),
    ("POST", "/api/v1/outcomes", Needs(Right::ReportOutcomes)),
    (
        "POST",
        "/api/v1/subjects/export",
        Needs(Right::ExportSubject),
    ),
    ("POST", "/api/v1/subjects/erase", Needs(Right::EraseSubject)),
    ("GET", "/v2", Public),
    ("GET", "/v2/health/live", Public),
    ("GET", "/v2/health/ready", Public),
    ("GET", "/ping", Public),
    ("GET", "/v2/models", Needs(Right::SeeModels)),
    ("GET", "/v2/models/stats", Needs(Right::SeeModels)),
    ("GET", "/v2/models/{name}", Needs(Right::SeeModels)),
    ("GET", "/v2/models/{name}/ready", Needs(Right::SeeModels)),
    ("GET", "/v2/models/{name}/config", Needs(Right::SeeModels)),
    ("GET", "/v2/models/{name}/stats", Needs(Right::SeeModels)),
    (
        "GET",
        "/v2/models/{name}/versions/{version}",
        Needs(Right::SeeModels),
    ),
    (
        "GET",
        "/v2/models/{name}/versions/{version}/ready",
        Needs(Right::SeeModels),
    ),
    (
        "GET",
        "/v2/models/{name}/versions/{version}/config",
        Needs(Right::SeeModels),
    ),
    (
        "GET",
        "/v2/models/{name}/versions/{version}/stats",
        Needs(Right::SeeModels),
    ),
    ("POST", "/v2/models/{name}/infer", Needs(Right::Decide)),
    (
        "POST",
        "/v2/models/{name}/versions/{version}/infer",
        Needs(Right::Decide),
    ),
    ("POST", "/v2/models/{name}/generate", Needs(Right::Decide)),
    (
        "POST",
        "/v2/models/{name}/versions/{version}/generate",
        Needs(Right::Decide),
    ),
    (
        "POST",
        "/v2/models/{name}/generate_stream",
        Needs(Right::Decide),
    ),
    (
        "POST",
        "/v2/models/{name}/versions/{version}/generate_stream",
        Needs(Right::Decide),
    ),
    (
        "POST",
        "/v2/models/{name}/infer_stream",
        Needs(Right::Decide),
    ),
    (
        "POST",
        "/v2/models/{name}/versions/{version}/infer_stream",
        Needs(Right::Decide),
    ),
    ("POST", "/v2/repository/index", Needs(Right::SeeModels)),
    (
        "POST",
        "/v2/repository/{repository}/index",
        Needs(Right::SeeModels),
    ),
    (
        "POST",
        "/v2/repository/models/{name}/load",
        Needs(Right::Deploy),
    ),
    (
        "POST",
        "/v2/repository/models/{name}/unload",
        Needs(Right::Deploy),
    ),
    ("POST", "/invocations", Needs(Right::Decide)),
    ("GET", "/v1/models/{model}", Needs(Right::SeeModels)),
    ("POST", "/v1/models/{model}", Needs(Right::Decide)),
    (
        "POST",
        "/v1/models/{model}/versions/{version}",
        Needs(Right::Decide),
    ),
    (
        "POST",
        "/v1/models/{model}/labels/{label}",
        Needs(Right::Decide),
    ),
];

/// Every line of the table: ours, then those of kits.
pub fn access(kits: &[Kit]) -> impl Iterator<Item = &'static (&'static str, &'static str, Access)> {
    let theirs: Vec<_> = kits.iter().flat_map(|kit| kit.access).collect();
    ACCESS.iter().chain(mlflow::ACCESS).chain(theirs)
}

/// What a route asks of its caller; `None` when no table has it.
pub fn access_of(kits: &[Kit], method: &str, route: &str) -> Option<Access> {
    static TABLE: LazyLock<HashMap<(&str, &str), Access>> = LazyLock::new(|| {
        ACCESS
            .iter()
            .chain(mlflow::ACCESS)
            .map(|(method, route, access)| ((*method, *route), *access))
            .collect()
    });
    // MLflow's pages ask at paths of their own for what its clients ask for.
    let of_clients = route
        .strip_prefix("/ajax-api/")
        .map(|rest| format!("/api/{rest}"));
    let route = of_clients.as_deref().unwrap_or(route);
    // A HEAD is a GET whose body nobody reads.
    let method = if method == "HEAD" { "GET" } else { method };
    let ours = TABLE.get(&(method, route)).copied();
    ours.or_else(|| {
        let mut theirs = kits.iter().flat_map(|kit| kit.access);
        let line = theirs.find(|(with, at, _)| *with == method && *at == route)?;
        Some(line.2)
    })
}

/// The whole of it, ready to be listened for.
pub fn router(house: House) -> Router {
    let (routes, document) = parts(house.kits);
    let routes = routes
        .merge(docs::router(document))
        .merge(mlflow::router())
        .merge(oip::beyond::router())
        .merge(grpc::router(&house));
    surrounded(routes, house)
}

/// Only what is spoken over gRPC, for an address of its own.
pub fn grpc_router(house: House) -> Router {
    surrounded(grpc::router(&house), house)
}

fn surrounded(routes: Router<House>, house: House) -> Router {
    routes
        .fallback(request::no_such_route)
        .method_not_allowed_fallback(request::method_not_allowed)
        .layer(from_fn_with_state(house.clone(), request::surround))
        .with_state(house)
}

/// The document that describes every route.
pub fn document() -> OpenApi {
    document_with(&[])
}

/// The same, with the routes of kits.
pub fn document_with(kits: &[Kit]) -> OpenApi {
    parts(kits).1
}

fn parts(kits: &[Kit]) -> (Router<House>, OpenApi) {
    let mut api = OpenApiRouter::<House>::with_openapi(docs::frame())
        .merge(health::router())
        .merge(session::router())
        .merge(keys::router())
        .merge(people::router())
        .merge(audit::router())
        .merge(registry::router())
        .merge(deployments::router())
        .merge(decisions::router())
        .merge(ml::router())
        .merge(outcomes::router())
        .merge(subjects::router())
        .merge(oip::router());
    for kit in kits {
        api = api.merge((kit.router)());
    }
    let (routes, document) = api.split_for_parts();
    (routes, docs::finish(document, kits))
}
