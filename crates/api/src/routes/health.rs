//! Whether the server lives, whether it can answer, and what it has counted.

use crate::house::House;
use crate::machine;
use crate::metrics;
use crate::statistics;
use crate::time::{now_us, text};
use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use std::collections::BTreeMap;
use std::time::Duration;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

/// How long a service may take to say that it is well.
const PATIENCE: Duration = Duration::from_secs(2);

/// How the server is.
#[derive(Debug, Serialize, ToSchema)]
pub struct HealthView {
    /// `healthy` or `unhealthy`.
    pub status: String,
    /// When it was asked.
    #[schema(format = DateTime)]
    pub timestamp: String,
    /// The program's version.
    pub version: String,
    /// What it needs, each `healthy` or `unhealthy`. A cache is there when answers are kept in Redis; without it they are
    /// computed, so it makes nothing else unhealthy.
    pub services: BTreeMap<String, String>,
}

/// That the server lives.
#[derive(Debug, Serialize, ToSchema)]
pub struct LiveView {
    /// `alive`.
    pub status: String,
}

/// The routes of this file.
pub fn router() -> OpenApiRouter<House> {
    OpenApiRouter::new()
        .routes(routes!(health))
        .routes(routes!(live))
        .routes(routes!(ready))
        .routes(routes!(counted))
}

/// How the server and what it needs are
#[utoipa::path(get, path = "/health", tag = "health", security(()), responses(
    (status = 200, description = "All is well.", body = HealthView),
    (status = 503, description = "Something is not.", body = HealthView),
))]
async fn health(State(house): State<House>) -> Response {
    let view = look(&house).await;
    let status = if view.status == "healthy" {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    (status, Json(view)).into_response()
}

/// Whether the process lives; asks nothing else
#[utoipa::path(get, path = "/health/live", tag = "health", security(()), responses((status = 200, description = "It lives.", body = LiveView)))]
async fn live() -> Json<LiveView> {
    Json(LiveView {
        status: "alive".to_owned(),
    })
}

/// Whether requests should be sent here
#[utoipa::path(get, path = "/health/ready", tag = "health", security(()), responses(
    (status = 200, description = "Send them.", body = HealthView),
    (status = 503, description = "Send them elsewhere.", body = HealthView),
))]
async fn ready(state: State<House>) -> Response {
    health(state).await
}

/// What was counted, in Prometheus' text format
#[utoipa::path(get, path = "/metrics", tag = "health", security(()), responses((status = 200, description = "Counters, gauges and histograms.", body = String, content_type = "text/plain")))]
async fn counted(State(house): State<House>) -> Response {
    let queue = house.ledger.queue();
    let gauges = [
        (
            "ombud_ledger_queue_records",
            "Records that wait to be made durable.",
            queue.records as f64,
        ),
        (
            "ombud_ledger_queue_bytes",
            "Bytes that wait to be made durable.",
            queue.bytes as f64,
        ),
        (
            "ombud_deployments_not_loaded",
            "Deployments that could not be loaded here, or only as they were before.",
            house.ops.routing().failures().len() as f64,
        ),
        (
            "ombud_cache_available",
            "Whether the cache answers.",
            f64::from(u8::from(house.ops.cache().status().await.is_available)),
        ),
    ];
    let mut text = house.metrics.write(&gauges);
    house.statistics.write(&mut text);
    let at_work = house.ops.routing().all_warm();
    statistics::write_loads(&mut text, at_work.iter().map(AsRef::as_ref));
    statistics::write_shadows(&mut text, &at_work);
    machine::write(&mut text);
    ([(header::CONTENT_TYPE, metrics::CONTENT_TYPE)], text).into_response()
}

/// Whether requests can be answered.
pub async fn is_well(house: &House) -> bool {
    look(house).await.status == "healthy"
}

async fn look(house: &House) -> HealthView {
    let word = |is_well: bool| if is_well { "healthy" } else { "unhealthy" }.to_owned();
    let store = tokio::time::timeout(PATIENCE, house.store.ping()).await;
    let is_store_well = matches!(store, Ok(Ok(())));
    // The ledger lies in the same database.
    let is_ledger_well = is_store_well && house.ledger_is_well();
    let is_routing_well = house.ops.routing().is_ready();
    let mut services = BTreeMap::new();
    if !house.config.cache.redis.is_empty() {
        let is_cache_well = house.ops.cache().status().await.is_available;
        services.insert("cache".to_owned(), word(is_cache_well));
    }
    services.insert("models".to_owned(), word(is_routing_well));
    services.insert("store".to_owned(), word(is_store_well));
    services.insert("ledger".to_owned(), word(is_ledger_well));
    HealthView {
        status: word(is_store_well && is_ledger_well && is_routing_well),
        timestamp: text(now_us()),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        services,
    }
}
