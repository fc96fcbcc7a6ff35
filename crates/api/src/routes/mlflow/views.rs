//! Experiments, runs, models and versions as MLflow's clients read them.

use ombud_store::depot::Entry;
use ombud_store::tracking::experiment::Experiment;
use ombud_store::tracking::listing::{Listed, ListedVersion, Stage};
use ombud_store::tracking::logged_model::LoggedModel;
use ombud_store::tracking::metric::Point;
use ombud_store::tracking::{Pair, Run};
use serde::{Serialize, Serializer};
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};

/// A run. Thousands of them make one answer, so it is written without being built first.
#[derive(Debug, Serialize)]
pub struct RunView<'r> {
    info: RunInfo<'r>,
    data: RunData<'r>,
    inputs: RunInputs<'r>,
    outputs: RunOutputs<'r>,
}

/// A page of runs.
#[derive(Debug, Serialize)]
pub struct RunsView<'r> {
    runs: Vec<RunView<'r>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_page_token: Option<&'r str>,
}

#[derive(Debug, Serialize)]
pub struct RunInfo<'r> {
    run_id: &'r str,
    run_uuid: &'r str,
    run_name: &'r str,
    experiment_id: String,
    user_id: &'r str,
    status: &'r str,
    start_time: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    end_time: Option<i64>,
    artifact_uri: &'r str,
    lifecycle_stage: &'static str,
}

#[derive(Debug, Serialize)]
struct RunData<'r> {
    metrics: Vec<PointView<'r>>,
    params: Vec<PairView<'r>>,
    tags: Vec<PairView<'r>>,
}

#[derive(Debug, Serialize)]
struct RunInputs<'r> {
    dataset_inputs: Vec<&'r RawValue>,
    model_inputs: Vec<Value>,
}

#[derive(Debug, Serialize)]
struct RunOutputs<'r> {
    model_outputs: Vec<OutputView<'r>>,
}

#[derive(Debug, Serialize)]
struct OutputView<'r> {
    model_id: &'r str,
    step: i64,
}

#[derive(Debug, Serialize)]
struct PairView<'r> {
    key: &'r str,
    value: &'r str,
}

/// A point of a metric.
#[derive(Debug, Serialize)]
pub struct PointView<'r> {
    key: &'r str,
    #[serde(serialize_with = "double")]
    value: f64,
    timestamp: i64,
    step: i64,
}

/// What is no number, or infinite, is a text in protobuf's JSON.
fn double<S: Serializer>(value: &f64, serializer: S) -> Result<S::Ok, S::Error> {
    match *value {
        value if value.is_nan() => serializer.serialize_str("NaN"),
        f64::INFINITY => serializer.serialize_str("Infinity"),
        f64::NEG_INFINITY => serializer.serialize_str("-Infinity"),
        value => serializer.serialize_f64(value),
    }
}

impl<'r> From<&'r Run> for RunInfo<'r> {
    fn from(run: &'r Run) -> Self {
        RunInfo {
            run_id: &run.id,
            run_uuid: &run.id,
            run_name: &run.name,
            experiment_id: run.experiment.to_string(),
            user_id: &run.user,
            status: &run.status,
            start_time: run.started_ms,
            end_time: run.ended_ms,
            artifact_uri: &run.artifact_uri,
            lifecycle_stage: lifecycle(run.deleted_ms),
        }
    }
}

impl<'r> From<&'r Run> for RunView<'r> {
    fn from(run: &'r Run) -> Self {
        let datasets = run.datasets.iter();
        RunView {
            info: run.into(),
            data: RunData {
                metrics: run.metrics.iter().map(PointView::from).collect(),
                params: run.params.iter().map(PairView::from).collect(),
                tags: run.tags.iter().map(PairView::from).collect(),
            },
            inputs: RunInputs {
                // What was taken in as JSON is given back as such.
                dataset_inputs: datasets
                    .filter_map(|document| serde_json::from_str(document).ok())
                    .collect(),
                model_inputs: run
                    .inputs
                    .iter()
                    .map(|model| json!({ "model_id": model }))
                    .collect(),
            },
            outputs: RunOutputs {
                model_outputs: run
                    .outputs
                    .iter()
                    .map(|output| OutputView {
                        model_id: &output.model,
                        step: output.step,
                    })
                    .collect(),
            },
        }
    }
}

impl<'r> RunsView<'r> {
    pub fn new(runs: &'r [Run], next: Option<&'r str>) -> Self {
        RunsView {
            runs: runs.iter().map(RunView::from).collect(),
            next_page_token: next,
        }
    }
}

impl<'r> From<&'r Pair> for PairView<'r> {
    fn from(pair: &'r Pair) -> Self {
        PairView {
            key: &pair.key,
            value: &pair.value,
        }
    }
}

impl<'r> From<&'r Point> for PointView<'r> {
    fn from(point: &'r Point) -> Self {
        PointView {
            key: &point.key,
            value: point.value,
            timestamp: point.logged_ms,
            step: point.step,
        }
    }
}

fn lifecycle(deleted_ms: Option<i64>) -> &'static str {
    if deleted_ms.is_some() {
        "deleted"
    } else {
        "active"
    }
}

fn pairs(pairs: &[Pair]) -> Value {
    pairs
        .iter()
        .map(|pair| json!({ "key": pair.key, "value": pair.value }))
        .collect()
}

pub fn experiment(experiment: &Experiment, tenant: &str) -> Value {
    json!({
        "experiment_id": experiment.number.to_string(),
        "name": experiment.name,
        "artifact_location": experiment.location,
        "lifecycle_stage": lifecycle(experiment.deleted_ms),
        "creation_time": experiment.created_ms,
        "last_update_time": experiment.changed_ms,
        "tags": pairs(&experiment.tags),
        "workspace": tenant,
    })
}

pub fn logged_model(model: &LoggedModel) -> Value {
    let metrics: Vec<Value> = model
        .metrics
        .iter()
        .map(|(said, run)| {
            let mut view = json!(PointView::from(&said.point));
            view["model_id"] = json!(model.id);
            view["run_id"] = json!(run);
            for (name, text) in [
                ("dataset_name", &said.dataset_name),
                ("dataset_digest", &said.dataset_digest),
            ] {
                if !text.is_empty() {
                    view[name] = json!(text);
                }
            }
            view
        })
        .collect();
    let mut info = json!({
        "model_id": model.id,
        "experiment_id": model.experiment.to_string(),
        "name": model.name,
        "creation_timestamp_ms": model.created_ms,
        "last_updated_timestamp_ms": model.changed_ms,
        "artifact_uri": model.artifact_uri,
        "status": model.status,
        "model_type": model.kind,
        "tags": pairs(&model.tags),
    });
    if let Some(run) = &model.source_run {
        info["source_run_id"] = json!(run);
    }
    json!({ "info": info, "data": { "params": pairs(&model.params), "metrics": metrics } })
}

pub fn listed(model: &Listed, versions: &[ListedVersion]) -> Value {
    let aliases: Vec<Value> = model
        .aliases
        .iter()
        .map(|(alias, version)| json!({ "alias": alias, "version": version.to_string() }))
        .collect();
    let latest: Vec<Value> = latest(versions, &[]).map(listed_version).collect();
    json!({
        "name": model.name,
        "creation_timestamp": model.created_us / 1_000,
        "last_updated_timestamp": model.changed_us / 1_000,
        "description": model.description,
        "latest_versions": latest,
        "tags": pairs(&model.tags),
        "aliases": aliases,
    })
}

/// The newest version in each stage; in some only, when those are named. Versions come newest first.
pub fn latest<'v>(
    versions: &'v [ListedVersion],
    stages: &[Stage],
) -> impl Iterator<Item = &'v ListedVersion> {
    let newest = |stage: Stage| versions.iter().find(move |version| version.stage == stage);
    let wanted = Stage::ALL
        .into_iter()
        .filter(|stage| stages.is_empty() || stages.contains(stage));
    wanted.filter_map(newest).collect::<Vec<_>>().into_iter()
}

pub fn listed_version(version: &ListedVersion) -> Value {
    let mut view = Map::new();
    let mut put = |name: &str, value: Value| view.insert(name.to_owned(), value);
    put("name", json!(version.name));
    put("version", json!(version.version.to_string()));
    put("creation_timestamp", json!(version.created_us / 1_000));
    put("last_updated_timestamp", json!(version.changed_us / 1_000));
    put("user_id", json!(version.user));
    put("current_stage", json!(version.stage.as_str()));
    put("description", json!(version.description));
    put("source", json!(version.source));
    put("status", json!(version.status.as_str()));
    put("status_message", json!(version.status_message));
    put("tags", pairs(&version.tags));
    put("aliases", json!(version.aliases));
    for (name, text) in [
        ("run_id", &version.run),
        ("run_link", &version.run_link),
        ("model_id", &version.logged_model),
    ] {
        if let Some(text) = text {
            put(name, json!(text));
        }
    }
    Value::Object(view)
}

/// What lies in a folder, each named from `base`.
pub fn files(entries: &[Entry], base: &str) -> Value {
    let view = |entry: &Entry| {
        let path = if base.is_empty() {
            entry.name.clone()
        } else {
            format!("{base}/{}", entry.name)
        };
        let mut view = json!({ "path": path, "is_dir": entry.bytes.is_none() });
        if let Some(bytes) = entry.bytes {
            view["file_size"] = json!(bytes);
        }
        view
    };
    entries.iter().map(view).collect()
}

/// A page of something.
pub fn page(name: &str, items: Vec<Value>, next: Option<String>) -> Value {
    let mut page = Map::new();
    page.insert(name.to_owned(), Value::Array(items));
    if let Some(next) = next {
        page.insert("next_page_token".to_owned(), json!(next));
    }
    Value::Object(page)
}
