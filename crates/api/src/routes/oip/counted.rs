//! What Triton's clients ask about counts.

use crate::access::Right;
use crate::extract::{Known, Path};
use crate::house::House;
use crate::inference::unknown_model;
use crate::refusal::Refusal;
use crate::statistics::{Batches, Counted, Sum};
use axum::Json;
use axum::extract::State;
use ombud_core::ModelName;
use ombud_oip::messages;
use serde::Serialize;
use serde_json::{Value, json};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

/// Counts by model and version, of this replica since its start.
#[derive(Debug, Serialize, ToSchema)]
pub struct StatisticsView {
    #[schema(value_type = Vec<Object>)]
    pub model_stats: Vec<Value>,
}

/// The routes of this file.
pub fn router() -> OpenApiRouter<House> {
    OpenApiRouter::new()
        .routes(routes!(all))
        .routes(routes!(of_model))
        .routes(routes!(of_version))
}

/// What every model answered here
#[utoipa::path(get, path = "/v2/models/stats", tag = "inference", responses((status = 200, description = "Counts by model and version.", body = StatisticsView)))]
async fn all(State(house): State<House>, caller: Known) -> Result<Json<StatisticsView>, Refusal> {
    Ok(Json(view(&counted(&house, &caller, "", "").await?)))
}

/// What a model answered here
#[utoipa::path(get, path = "/v2/models/{name}/stats", tag = "inference", params(("name" = String, Path, description = "The model's name.")),
    responses((status = 200, description = "Counts by version.", body = StatisticsView)))]
async fn of_model(
    State(house): State<House>,
    caller: Known,
    Path(name): Path<String>,
) -> Result<Json<StatisticsView>, Refusal> {
    Ok(Json(view(&counted(&house, &caller, &name, "").await?)))
}

/// What a version answered here
#[utoipa::path(get, path = "/v2/models/{name}/versions/{version}/stats", tag = "inference",
    params(("name" = String, Path, description = "The model's name."), ("version" = String, Path, description = "The version's number.")),
    responses((status = 200, description = "Its counts.", body = StatisticsView)))]
async fn of_version(
    State(house): State<House>,
    caller: Known,
    Path((name, version)): Path<(String, String)>,
) -> Result<Json<StatisticsView>, Refusal> {
    Ok(Json(view(
        &counted(&house, &caller, &name, &version).await?,
    )))
}

/// The counts that a caller may see; an empty name is every one. A version at work that nobody asked yet is there too.
pub async fn counted(
    house: &House,
    caller: &Known,
    name: &str,
    version: &str,
) -> Result<Vec<Counted>, Refusal> {
    if name.is_empty() {
        caller.may(Right::SeeModels)?;
    } else {
        let model = ModelName::new(name).map_err(|_| unknown_model(name))?;
        caller.may_about(Right::SeeModels, &model)?;
        house.store.model(&caller.tenant, &model).await?;
    }
    for live in house.ops.routing().all_live(&caller.tenant) {
        for share in live.deployment.traffic.active() {
            let model = live.deployment.model.as_str();
            house
                .statistics
                .know(&caller.tenant, model, &share.version.to_string());
        }
    }
    let mut found = house.statistics.counted(&caller.tenant);
    found.retain(|counted| {
        let is_named = name.is_empty() || counted.model == name;
        let is_version = version.is_empty() || counted.version == version;
        let is_seen = ModelName::new(&counted.model).is_ok_and(|model| caller.sees(&model));
        is_named && is_version && is_seen
    });
    Ok(found)
}

/// Counts as a message.
pub fn message(counted: &Counted) -> messages::ModelStatistics {
    let counts = &counted.counts;
    let sum = |sum: &Sum| {
        Some(messages::StatisticDuration {
            count: sum.count(),
            ns: sum.ns(),
        })
    };
    let part = |batches: &Batches, ns: u64| {
        Some(messages::StatisticDuration {
            count: batches.count,
            ns,
        })
    };
    let batch = |(size, batches): (usize, Batches)| messages::InferBatchStatistics {
        batch_size: size as u64,
        compute_input: part(&batches, batches.input_ns),
        compute_infer: part(&batches, batches.infer_ns),
        compute_output: part(&batches, batches.output_ns),
    };
    messages::ModelStatistics {
        name: counted.model.clone(),
        version: counted.version.clone(),
        last_inference: counts.last_ms(),
        inference_count: counts.rows(),
        execution_count: counts.executions(),
        inference_stats: Some(messages::InferStatistics {
            success: sum(&counts.success),
            fail: sum(&counts.fail),
            queue: sum(&counts.queue),
            compute_input: sum(&counts.input),
            compute_infer: sum(&counts.infer),
            compute_output: sum(&counts.output),
            cache_hit: sum(&counts.cache_hit),
            cache_miss: sum(&counts.cache_miss),
        }),
        batch_stats: counts.batches().into_iter().map(batch).collect(),
        memory_usage: Vec::new(),
    }
}

fn view(counted: &[Counted]) -> StatisticsView {
    let sum = |sum: &Option<messages::StatisticDuration>| {
        let sum = sum.clone().unwrap_or_default();
        json!({ "count": sum.count, "ns": sum.ns })
    };
    let one = |counted: &Counted| {
        let told = message(counted);
        let stats = told.inference_stats.unwrap_or_default();
        let batch = |batch: &messages::InferBatchStatistics| {
            json!({
                "batch_size": batch.batch_size, "compute_input": sum(&batch.compute_input),
                "compute_infer": sum(&batch.compute_infer), "compute_output": sum(&batch.compute_output),
            })
        };
        json!({
            "name": told.name, "version": told.version, "last_inference": told.last_inference,
            "inference_count": told.inference_count, "execution_count": told.execution_count,
            "inference_stats": {
                "success": sum(&stats.success), "fail": sum(&stats.fail), "queue": sum(&stats.queue),
                "compute_input": sum(&stats.compute_input), "compute_infer": sum(&stats.compute_infer),
                "compute_output": sum(&stats.compute_output), "cache_hit": sum(&stats.cache_hit),
                "cache_miss": sum(&stats.cache_miss),
            },
            "response_stats": {},
            "batch_stats": told.batch_stats.iter().map(batch).collect::<Vec<_>>(),
            "memory_usage": [],
        })
    };
    StatisticsView {
        model_stats: counted.iter().map(one).collect(),
    }
}
