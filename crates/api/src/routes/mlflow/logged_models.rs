//! Logged models: what clients of MLflow 3 make of a model's files before anything is registered.

use super::asked::Asked;
use super::{Told, nothing, views};
use crate::access::Right;
use crate::extract::{Known, Path};
use crate::house::House;
use crate::time::now_us;
use axum::Json;
use axum::extract::State;
use ombud_store::tracking::logged_model::NewLoggedModel;
use serde_json::json;

/// Logged models on a page when nobody says, and at most.
const ROWS: usize = 50;
const ROWS_MAX: usize = 1_000;

pub async fn create(State(house): State<House>, caller: Known, asked: Asked) -> Told {
    caller.may_everywhere(Right::LogRuns)?;
    let new = NewLoggedModel {
        id: None,
        experiment: asked.experiment()?,
        name: asked.text_or_empty("name")?.to_owned(),
        kind: asked.text_or_empty("model_type")?.to_owned(),
        source_run: asked.text_or_none("source_run_id")?.map(str::to_owned),
        params: asked.pairs("params")?,
        tags: asked.pairs("tags")?,
    };
    let model = house
        .store
        .create_logged_model(&caller.tenant, new, now_us() / 1_000)
        .await?;
    Ok(Json(json!({ "model": views::logged_model(&model) })))
}

pub async fn get(State(house): State<House>, caller: Known, Path(id): Path<String>) -> Told {
    caller.may_everywhere(Right::SeeRuns)?;
    let model = house.store.logged_model(&caller.tenant, &id).await?;
    Ok(Json(json!({ "model": views::logged_model(&model) })))
}

pub async fn finish(
    State(house): State<House>,
    caller: Known,
    Path(id): Path<String>,
    asked: Asked,
) -> Told {
    caller.may_everywhere(Right::LogRuns)?;
    let model = house
        .store
        .finish_logged_model(&caller.tenant, &id, asked.text("status")?, now_us() / 1_000)
        .await?;
    Ok(Json(json!({ "model": views::logged_model(&model) })))
}

pub async fn delete(State(house): State<House>, caller: Known, Path(id): Path<String>) -> Told {
    caller.may_everywhere(Right::LogRuns)?;
    house
        .store
        .delete_logged_model(&caller.tenant, &id, now_us() / 1_000)
        .await?;
    nothing()
}

pub async fn set_tags(
    State(house): State<House>,
    caller: Known,
    Path(id): Path<String>,
    asked: Asked,
) -> Told {
    caller.may_everywhere(Right::LogRuns)?;
    house
        .store
        .set_model_tags(&caller.tenant, &id, &asked.pairs("tags")?)
        .await?;
    let model = house.store.logged_model(&caller.tenant, &id).await?;
    Ok(Json(json!({ "model": views::logged_model(&model) })))
}

pub async fn delete_tag(
    State(house): State<House>,
    caller: Known,
    Path((id, tag)): Path<(String, String)>,
) -> Told {
    caller.may_everywhere(Right::LogRuns)?;
    house
        .store
        .delete_model_tag(&caller.tenant, &id, &tag)
        .await?;
    nothing()
}

pub async fn log_params(
    State(house): State<House>,
    caller: Known,
    Path(id): Path<String>,
    asked: Asked,
) -> Told {
    caller.may_everywhere(Right::LogRuns)?;
    house
        .store
        .log_model_params(&caller.tenant, &id, &asked.pairs("params")?)
        .await?;
    nothing()
}

pub async fn search(State(house): State<House>, caller: Known, asked: Asked) -> Told {
    caller.may_everywhere(Right::SeeRuns)?;
    let mut query = asked.page(ROWS, ROWS_MAX)?;
    for order in asked.objects("order_by")? {
        let is_descending =
            order.text_or_none("ascending").is_err() && !order.truth("ascending")?;
        let direction = if is_descending { "DESC" } else { "ASC" };
        query
            .order_by
            .push(format!("{} {direction}", order.text("field_name")?));
    }
    let (found, next) = house
        .store
        .search_logged_models(&caller.tenant, &asked.experiments()?, &query)
        .await?;
    let items = found.iter().map(views::logged_model).collect();
    Ok(Json(views::page("models", items, next)))
}
