//! Runs: begun, written to, searched, ended.

use super::asked::Asked;
use super::views::{PointView, RunInfo, RunView, RunsView};
use super::{Told, nothing};
use crate::access::Right;
use crate::extract::Known;
use crate::house::House;
use crate::refusal::Refusal;
use crate::time::now_us;
use axum::Json;
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use ombud_store::tracking::metric::{HISTORY_ROWS_MAX, ModelPoint};
use ombud_store::tracking::run::{DatasetInput, NewRun, Output, RunChange};
use ombud_store::tracking::search::SEARCH_ROWS_MAX;
use ombud_store::tracking::{Pair, Point};
use serde_json::{Value, json};

/// Runs on a page when nobody says.
const ROWS: usize = 1_000;
/// What one `log-batch` may hold, as MLflow's server has it.
const METRICS_MAX: usize = 1_000;
const PAIRS_MAX: usize = 100;
const INPUTS_MAX: usize = 1_000;
/// The tag in which clients of MLflow 2 list a run's models.
const HISTORY_TAG: &str = "mlflow.log-model.history";

pub async fn create(State(house): State<House>, caller: Known, asked: Asked) -> Told {
    caller.may_everywhere(Right::LogRuns)?;
    let now_ms = now_us() / 1_000;
    let new = NewRun {
        id: None,
        experiment: match asked.text_or_empty("experiment_id") {
            Ok("") => 0,
            _ => asked.experiment()?,
        },
        name: asked.text_or_empty("run_name")?.to_owned(),
        user: asked.text_or_empty("user_id")?.to_owned(),
        started_ms: asked.whole("start_time")?.unwrap_or(now_ms),
        tags: asked.pairs("tags")?,
    };
    let run = house.store.create_run(&caller.tenant, new).await?;
    Ok(Json(json!({ "run": RunView::from(&run) })))
}

pub async fn get(State(house): State<House>, caller: Known, asked: Asked) -> Told {
    caller.may_everywhere(Right::SeeRuns)?;
    let run = house.store.run(&caller.tenant, asked.run()?).await?;
    Ok(Json(json!({ "run": RunView::from(&run) })))
}

pub async fn search(
    State(house): State<House>,
    caller: Known,
    asked: Asked,
) -> Result<Response, Refusal> {
    caller.may_everywhere(Right::SeeRuns)?;
    let query = asked.search(ROWS, SEARCH_ROWS_MAX)?;
    let (experiments, view) = (asked.experiments()?, asked.view("run_view_type")?);
    let (runs, next) = house
        .store
        .search_runs(&caller.tenant, &experiments, view, &query)
        .await?;
    let body = serde_json::to_vec(&RunsView::new(&runs, next.as_deref()))
        .map_err(|error| Refusal::internal(&error))?;
    Ok(([(header::CONTENT_TYPE, "application/json")], body).into_response())
}

pub async fn update(State(house): State<House>, caller: Known, asked: Asked) -> Told {
    caller.may_everywhere(Right::LogRuns)?;
    let change = RunChange {
        status: asked.text_or_none("status")?.map(str::to_owned),
        ended_ms: asked.whole("end_time")?,
        name: asked.text_or_none("run_name")?.map(str::to_owned),
    };
    let run = house
        .store
        .update_run(&caller.tenant, asked.run()?, change)
        .await?;
    Ok(Json(json!({ "run_info": RunInfo::from(&run) })))
}

pub async fn delete(house: State<House>, caller: Known, asked: Asked) -> Told {
    mark(house, caller, asked, true).await
}

pub async fn restore(house: State<House>, caller: Known, asked: Asked) -> Told {
    mark(house, caller, asked, false).await
}

async fn mark(State(house): State<House>, caller: Known, asked: Asked, is_deleted: bool) -> Told {
    caller.may_everywhere(Right::LogRuns)?;
    house
        .store
        .delete_run(&caller.tenant, asked.run()?, is_deleted, now_us() / 1_000)
        .await?;
    nothing()
}

pub async fn log_metric(State(house): State<House>, caller: Known, asked: Asked) -> Told {
    caller.may_everywhere(Right::LogRuns)?;
    let (said, about) = point(&asked)?;
    let run = asked.run()?;
    house.store.log_point(&caller.tenant, run, said).await?;
    if let Some(about) = about {
        house
            .store
            .log_model_points(&caller.tenant, run, &[about])
            .await?;
    }
    nothing()
}

pub async fn log_param(State(house): State<House>, caller: Known, asked: Asked) -> Told {
    caller.may_everywhere(Right::LogRuns)?;
    let param = Pair::new(asked.text("key")?, asked.text_or_empty("value")?);
    house
        .store
        .log_batch(&caller.tenant, asked.run()?, &[], &[param], &[])
        .await?;
    nothing()
}

pub async fn log_batch(State(house): State<House>, caller: Known, asked: Asked) -> Told {
    caller.may_everywhere(Right::LogRuns)?;
    let run = asked.run()?;
    let (metrics, params, tags) = (
        asked.objects("metrics")?,
        asked.pairs("params")?,
        asked.pairs("tags")?,
    );
    bounded("metrics", metrics.len(), METRICS_MAX)?;
    bounded("params", params.len(), PAIRS_MAX)?;
    bounded("tags", tags.len(), PAIRS_MAX)?;
    let mut points = Vec::with_capacity(metrics.len());
    let mut about = Vec::new();
    for metric in &metrics {
        let (said, model) = point(metric)?;
        points.push(said);
        about.extend(model);
    }
    house
        .store
        .log_batch(&caller.tenant, run, &points, &params, &tags)
        .await?;
    if !about.is_empty() {
        house
            .store
            .log_model_points(&caller.tenant, run, &about)
            .await?;
    }
    nothing()
}

/// A client of MLflow 2 tells of a model that it put among a run's files.
pub async fn log_model(State(house): State<House>, caller: Known, asked: Asked) -> Told {
    caller.may_everywhere(Right::LogRuns)?;
    let id = asked.run()?;
    let said: Value = serde_json::from_str(asked.text("model_json")?)
        .map_err(|error| Refusal::malformed(format!("'model_json' is no JSON: {error}")))?;
    let run = house.store.run(&caller.tenant, id).await?;
    let before = run.tags.iter().find(|tag| tag.key == HISTORY_TAG);
    let mut models: Vec<Value> = before
        .and_then(|tag| serde_json::from_str(&tag.value).ok())
        .unwrap_or_default();
    models.push(said);
    let tag = Pair::new(HISTORY_TAG, Value::Array(models).to_string());
    house
        .store
        .log_batch(&caller.tenant, id, &[], &[], &[tag])
        .await?;
    nothing()
}

pub async fn log_inputs(State(house): State<House>, caller: Known, asked: Asked) -> Told {
    caller.may_everywhere(Right::LogRuns)?;
    let (datasets, models) = (asked.objects("datasets")?, asked.objects("models")?);
    bounded("datasets", datasets.len(), INPUTS_MAX)?;
    bounded("models", models.len(), INPUTS_MAX)?;
    let datasets: Vec<DatasetInput> = datasets.iter().map(dataset).collect::<Result<_, _>>()?;
    let models = models
        .iter()
        .map(|model| model.text("model_id").map(str::to_owned));
    house
        .store
        .log_inputs(
            &caller.tenant,
            asked.run()?,
            datasets,
            models.collect::<Result<_, _>>()?,
        )
        .await?;
    nothing()
}

pub async fn log_outputs(State(house): State<House>, caller: Known, asked: Asked) -> Told {
    caller.may_everywhere(Right::LogRuns)?;
    let models = asked.objects("models")?;
    bounded("models", models.len(), INPUTS_MAX)?;
    let output = |model: &Asked| {
        Ok::<_, Refusal>(Output {
            model: model.text("model_id")?.to_owned(),
            step: model.whole("step")?.unwrap_or_default(),
        })
    };
    let outputs = models.iter().map(output).collect::<Result<_, _>>()?;
    house
        .store
        .log_outputs(&caller.tenant, asked.run()?, outputs)
        .await?;
    nothing()
}

pub async fn set_tag(State(house): State<House>, caller: Known, asked: Asked) -> Told {
    caller.may_everywhere(Right::LogRuns)?;
    let tag = Pair::new(asked.text("key")?, asked.text_or_empty("value")?);
    house
        .store
        .log_batch(&caller.tenant, asked.run()?, &[], &[], &[tag])
        .await?;
    nothing()
}

pub async fn delete_tag(State(house): State<House>, caller: Known, asked: Asked) -> Told {
    caller.may_everywhere(Right::LogRuns)?;
    house
        .store
        .delete_run_tag(&caller.tenant, asked.run()?, asked.text("key")?)
        .await?;
    nothing()
}

/// A page of a metric's points. Its token is how many came before: points are only added, and at the end.
pub async fn history(State(house): State<House>, caller: Known, asked: Asked) -> Told {
    caller.may_everywhere(Right::SeeRuns)?;
    let skip = match asked.text_or_empty("page_token")? {
        "" => 0,
        token => token
            .parse::<usize>()
            .map_err(|_| Refusal::malformed("'page_token' is none that was given here"))?,
    };
    let wanted = asked
        .whole("max_results")?
        .unwrap_or(HISTORY_ROWS_MAX as i64);
    let rows_max = usize::try_from(wanted)
        .unwrap_or_default()
        .clamp(1, HISTORY_ROWS_MAX);
    let (run, key) = (asked.run()?, asked.text("metric_key")?);
    let mut points = house
        .store
        .metric_history(&caller.tenant, run, key, skip, rows_max + 1)
        .await?;
    let has_more = points.len() > rows_max;
    points.truncate(rows_max);
    let views: Vec<PointView<'_>> = points.iter().map(PointView::from).collect();
    let mut page = json!({ "metrics": views });
    if has_more {
        page["next_page_token"] = json!((skip + rows_max).to_string());
    }
    Ok(Json(page))
}

/// A point, and what it says of a logged model.
fn point(asked: &Asked) -> Result<(Point, Option<ModelPoint>), Refusal> {
    let said = Point {
        key: asked.text("key")?.to_owned(),
        value: asked.number("value")?,
        step: asked.whole("step")?.unwrap_or_default(),
        logged_ms: asked
            .whole("timestamp")?
            .unwrap_or_else(|| now_us() / 1_000),
    };
    let about = match asked.text_or_empty("model_id")? {
        "" => None,
        model => Some(ModelPoint {
            point: said.clone(),
            model: model.to_owned(),
            dataset_name: asked.text_or_empty("dataset_name")?.to_owned(),
            dataset_digest: asked.text_or_empty("dataset_digest")?.to_owned(),
        }),
    };
    Ok((said, about))
}

fn dataset(input: &Asked) -> Result<DatasetInput, Refusal> {
    let dataset = input
        .object("dataset")?
        .ok_or_else(|| Refusal::malformed("Missing value for required parameter 'dataset'."))?;
    let tags = input.pairs("tags")?;
    let context = tags.iter().find(|tag| tag.key == "mlflow.data.context");
    Ok(DatasetInput {
        name: dataset.text("name")?.to_owned(),
        digest: dataset.text("digest")?.to_owned(),
        context: context.map(|tag| tag.value.clone()).unwrap_or_default(),
        document: input.whole_text(),
    })
}

fn bounded(name: &str, count: usize, count_max: usize) -> Result<(), Refusal> {
    if count <= count_max {
        return Ok(());
    }
    Err(Refusal::malformed(format!(
        "A batch logging request can contain at most {count_max} {name}. Got {count} {name}. \
         Please split up {name} across multiple requests and try again."
    )))
}
