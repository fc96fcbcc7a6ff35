//! Experiments: made, found, renamed, deleted and brought back.

use super::asked::Asked;
use super::{Told, nothing, views};
use crate::access::Right;
use crate::extract::Known;
use crate::house::House;
use crate::time::now_us;
use axum::Json;
use axum::extract::State;
use ombud_store::tracking::experiment::NewExperiment;
use ombud_store::tracking::search::SEARCH_ROWS_MAX;
use serde_json::json;

/// Experiments on a page when nobody says.
const ROWS: usize = 1_000;

pub async fn create(State(house): State<House>, caller: Known, asked: Asked) -> Told {
    caller.may_everywhere(Right::LogRuns)?;
    let new = NewExperiment {
        name: asked.text("name")?.to_owned(),
        location: asked.text_or_none("artifact_location")?.map(str::to_owned),
        tags: asked.pairs("tags")?,
    };
    let number = house
        .store
        .create_experiment(&caller.tenant, new, now_us() / 1_000)
        .await?;
    Ok(Json(json!({ "experiment_id": number.to_string() })))
}

pub async fn get(State(house): State<House>, caller: Known, asked: Asked) -> Told {
    caller.may_everywhere(Right::SeeRuns)?;
    let number = asked.experiment()?;
    let found = house.store.experiment(&caller.tenant, number).await?;
    let view = views::experiment(&found, caller.tenant.as_str());
    Ok(Json(json!({ "experiment": view })))
}

pub async fn get_by_name(State(house): State<House>, caller: Known, asked: Asked) -> Told {
    caller.may_everywhere(Right::SeeRuns)?;
    let name = asked.text("experiment_name")?;
    let found = house.store.experiment_by_name(&caller.tenant, name).await?;
    let view = views::experiment(&found, caller.tenant.as_str());
    Ok(Json(json!({ "experiment": view })))
}

pub async fn search(State(house): State<House>, caller: Known, asked: Asked) -> Told {
    caller.may_everywhere(Right::SeeRuns)?;
    let query = asked.search(ROWS, SEARCH_ROWS_MAX)?;
    let view = asked.view("view_type")?;
    let (found, next) = house
        .store
        .search_experiments(&caller.tenant, view, &query)
        .await?;
    let items = found
        .iter()
        .map(|experiment| views::experiment(experiment, caller.tenant.as_str()));
    Ok(Json(views::page("experiments", items.collect(), next)))
}

pub async fn update(State(house): State<House>, caller: Known, asked: Asked) -> Told {
    caller.may_everywhere(Right::LogRuns)?;
    let (number, name) = (asked.experiment()?, asked.text("new_name")?);
    house
        .store
        .rename_experiment(&caller.tenant, number, name, now_us() / 1_000)
        .await?;
    nothing()
}

pub async fn delete(house: State<House>, caller: Known, asked: Asked) -> Told {
    mark(house, caller, asked, true).await
}

pub async fn restore(house: State<House>, caller: Known, asked: Asked) -> Told {
    mark(house, caller, asked, false).await
}

async fn mark(State(house): State<House>, caller: Known, asked: Asked, is_deleted: bool) -> Told {
    caller.may_everywhere(Right::LogRuns)?;
    let number = asked.experiment()?;
    house
        .store
        .delete_experiment(&caller.tenant, number, is_deleted, now_us() / 1_000)
        .await?;
    nothing()
}

pub async fn set_tag(State(house): State<House>, caller: Known, asked: Asked) -> Told {
    caller.may_everywhere(Right::LogRuns)?;
    let (number, key) = (asked.experiment()?, asked.text("key")?);
    let value = Some(asked.text_or_empty("value")?);
    house
        .store
        .set_experiment_tag(&caller.tenant, number, key, value, now_us() / 1_000)
        .await?;
    nothing()
}

pub async fn delete_tag(State(house): State<House>, caller: Known, asked: Asked) -> Told {
    caller.may_everywhere(Right::LogRuns)?;
    let (number, key) = (asked.experiment()?, asked.text("key")?);
    house
        .store
        .set_experiment_tag(&caller.tenant, number, key, None, now_us() / 1_000)
        .await?;
    nothing()
}
