//! One thing after another, each told in a way that telling it twice does no harm.

use super::client::Server;
use super::{Counts, Staged};
use crate::failure::Failure;
use crate::progress::is_stopped;
use crate::settings;
use ombud_api::open::Rooms;
use ombud_api::time::now_us;
use ombud_core::{Class, ModelName, Version};
use ombud_learn::progress::Progress;
use ombud_ops::adopt::Adoption;
use ombud_store::FilePath;
use ombud_store::tracking::experiment::{HERE, NewExperiment};
use ombud_store::tracking::listing::{ListedVersion, NewListedVersion, Stage, Status};
use ombud_store::tracking::logged_model::{NewLoggedModel, path_here};
use ombud_store::tracking::metric::{ModelPoint, number_in};
use ombud_store::tracking::run::{DatasetInput, NewRun, Output, Run, RunChange};
use ombud_store::tracking::search::PROMPT_TAG;
use ombud_store::tracking::{Pair, Point};
use serde_json::{Value, json};
use std::collections::HashMap;
use std::sync::Arc;

/// The tag of a run that came over whole.
const DONE_TAG: &str = "ombud.imported_from";
/// The tag with what of its files did not, a line each, so that a later import tells it too.
const LEFT_OUT_TAG: &str = "ombud.import_left_out";
/// Longest text of that tag.
const LEFT_OUT_CHARS_MAX: usize = 4_000;
/// Points written at once.
const POINTS_AT_ONCE: usize = 1_000;
/// Points asked for at once.
const HISTORY_ROWS: &str = "10000";
/// Folders inside folders that are looked into.
const DEPTH_MAX: usize = 32;

/// Whether nothing comes any more of a run in this state.
fn has_ended(status: &str) -> bool {
    matches!(status, "FINISHED" | "FAILED" | "KILLED")
}

/// An import at work.
struct Taking<'a> {
    server: &'a Server,
    rooms: &'a Rooms,
    counts: Counts,
    /// Where the files of a run or a logged model were there, and are here.
    moved: HashMap<String, String>,
}

/// Takes everything over; what came is counted also where it ends too early.
pub(super) async fn everything(
    server: &Server,
    rooms: &Rooms,
    progress: &dyn Progress,
) -> (Counts, Result<(), Failure>) {
    let mut taking = Taking {
        server,
        rooms,
        counts: Counts::default(),
        moved: HashMap::new(),
    };
    let ended = taking.all(progress).await;
    (taking.counts, ended)
}

impl Taking<'_> {
    async fn all(&mut self, progress: &dyn Progress) -> Result<(), Failure> {
        progress.start("experiments", None);
        let experiments = self.experiments().await?;
        let mut runs = Vec::new();
        for (number, experiment) in &experiments {
            for run in self.runs_of(experiment).await? {
                runs.push((*number, run));
            }
        }
        progress.start("runs", Some(runs.len() as u64));
        for (place, (number, run)) in runs.iter().enumerate() {
            if is_stopped() {
                return Err(Failure::Stopped);
            }
            self.run(*number, run).await?;
            progress.advance(place as u64 + 1);
        }
        progress.start("models", None);
        for (number, experiment) in &experiments {
            self.logged_models(*number, experiment).await?;
        }
        self.registry().await?;
        for (number, experiment) in &experiments {
            self.leave_deleted(*number, experiment).await?;
        }
        progress.finish();
        Ok(())
    }

    async fn experiments(&mut self) -> Result<Vec<(i64, Value)>, Failure> {
        let all = self
            .server
            .searched(
                "experiments/search",
                "experiments",
                json!({ "view_type": "ALL" }),
            )
            .await?;
        let (store, tenant) = (&self.rooms.store, &self.rooms.tenant);
        let mut taken = Vec::new();
        for experiment in all {
            let name = text(&experiment, "name");
            let number = match store.experiment_by_name(tenant, &name).await {
                Ok(found) => {
                    let is_deleted_there = experiment["lifecycle_stage"] == "deleted";
                    // What was deleted here stays deleted.
                    if found.deleted_ms.is_some() && !is_deleted_there {
                        let what = format!("the experiment {name:?}: it was deleted here");
                        self.counts.left_out.push(what);
                        continue;
                    }
                    // Deleted on both sides it may lack runs that an interrupted import did not come to.
                    if found.deleted_ms.is_some() {
                        store
                            .delete_experiment(tenant, found.number, false, now_ms())
                            .await?;
                    }
                    found.number
                }
                Err(ombud_store::Error::NotFound { .. }) => {
                    let location = text(&experiment, "artifact_location");
                    let new = NewExperiment {
                        name,
                        // What the server kept is kept here; what it only pointed at stays there.
                        location: (!is_served(&location)).then_some(location),
                        tags: pairs(&experiment["tags"]),
                    };
                    store.create_experiment(tenant, new, now_ms()).await?
                }
                Err(error) => return Err(error.into()),
            };
            self.counts.experiments += 1;
            taken.push((number, experiment));
        }
        Ok(taken)
    }

    /// An experiment that was deleted there is deleted here, once its runs are here.
    async fn leave_deleted(&self, number: i64, experiment: &Value) -> Result<(), Failure> {
        if experiment["lifecycle_stage"] != "deleted" {
            return Ok(());
        }
        let (store, tenant) = (&self.rooms.store, &self.rooms.tenant);
        Ok(store
            .delete_experiment(tenant, number, true, now_ms())
            .await?)
    }

    async fn runs_of(&self, experiment: &Value) -> Result<Vec<Value>, Failure> {
        let body = json!({
            "experiment_ids": [text(experiment, "experiment_id")],
            "run_view_type": "ALL",
            "order_by": ["attributes.start_time ASC"],
        });
        self.server.searched("runs/search", "runs", body).await
    }

    async fn run(&mut self, experiment: i64, there: &Value) -> Result<(), Failure> {
        let (store, tenant) = (&self.rooms.store, &self.rooms.tenant);
        let (info, data) = (&there["info"], &there["data"]);
        let id = text(info, "run_id");
        let here = match store.run(tenant, &id).await {
            Err(ombud_store::Error::NotFound { .. }) => {
                let new = NewRun {
                    id: Some(id.clone()),
                    experiment,
                    name: text(info, "run_name"),
                    user: text(info, "user_id"),
                    started_ms: info["start_time"].as_i64().unwrap_or_default(),
                    tags: pairs(&data["tags"]),
                };
                store.create_run(tenant, new).await?
            }
            found => found?,
        };
        self.moved
            .insert(text(info, "artifact_uri"), here.artifact_uri.clone());
        let has_tag = |key: &str| here.tags.iter().any(|tag| tag.key == key);
        let is_done = has_tag(DONE_TAG) && has_ended(&here.status);
        let mut tags = pairs(&data["tags"]);
        // What was changed here since it came over stays.
        tags.retain(|tag| !(has_tag(&tag.key) && is_done || here.tags.contains(tag)));
        if here.deleted_ms.is_none() {
            for tags in tags.chunks(POINTS_AT_ONCE) {
                store.log_batch(tenant, &id, &[], &[], tags).await?;
            }
        }
        // One that was deleted takes nothing in any more, there or here.
        if is_done || here.deleted_ms.is_some() {
            self.counts.known += 1;
            self.tell_again(&here.tags);
            return Ok(());
        }
        self.points(&id, &data["metrics"]).await?;
        for params in pairs(&data["params"]).chunks(POINTS_AT_ONCE) {
            store.log_batch(tenant, &id, &[], params, &[]).await?;
        }
        self.inputs_and_outputs(&id, there).await?;
        let there_uri = text(info, "artifact_uri");
        if let Some(tag) = self.files(&there_uri, &here.artifact_uri).await? {
            let (store, tenant) = (&self.rooms.store, &self.rooms.tenant);
            store.log_batch(tenant, &id, &[], &[], &[tag]).await?;
        }
        self.end(&here, info).await
    }

    /// What an import before this one left out.
    fn tell_again(&mut self, tags: &[Pair]) {
        let said = tags.iter().find(|tag| tag.key == LEFT_OUT_TAG);
        let lines = said.map_or("", |tag| tag.value.as_str()).lines();
        self.counts.left_out.extend(lines.map(str::to_owned));
    }

    async fn points(&mut self, run: &str, metrics: &Value) -> Result<(), Failure> {
        for metric in list(metrics) {
            let key = text(metric, "key");
            let query = [
                ("run_id", run),
                ("metric_key", key.as_str()),
                ("max_results", HISTORY_ROWS),
            ];
            let history = self
                .server
                .listed("metrics/get-history", "metrics", &query)
                .await?;
            let points: Vec<Point> = history.iter().filter_map(point).collect();
            for points in points.chunks(POINTS_AT_ONCE) {
                self.rooms
                    .store
                    .log_batch(&self.rooms.tenant, run, points, &[], &[])
                    .await?;
            }
            self.counts.metrics += points.len() as u64;
        }
        Ok(())
    }

    async fn inputs_and_outputs(&self, run: &str, there: &Value) -> Result<(), Failure> {
        let (store, tenant) = (&self.rooms.store, &self.rooms.tenant);
        let datasets = list(&there["inputs"]["dataset_inputs"])
            .map(|input| {
                let tags = pairs(&input["tags"]);
                let context = tags.iter().find(|tag| tag.key == "mlflow.data.context");
                DatasetInput {
                    name: text(&input["dataset"], "name"),
                    digest: text(&input["dataset"], "digest"),
                    context: context.map(|tag| tag.value.clone()).unwrap_or_default(),
                    document: input.to_string(),
                }
            })
            .collect();
        let models = list(&there["inputs"]["model_inputs"]).map(|model| text(model, "model_id"));
        store
            .log_inputs(tenant, run, datasets, models.collect())
            .await?;
        let outputs = list(&there["outputs"]["model_outputs"]).map(|output| Output {
            model: text(output, "model_id"),
            step: whole(&output["step"]),
        });
        Ok(store.log_outputs(tenant, run, outputs.collect()).await?)
    }

    async fn end(&mut self, here: &Run, info: &Value) -> Result<(), Failure> {
        let (store, tenant) = (&self.rooms.store, &self.rooms.tenant);
        let change = RunChange {
            status: info["status"].as_str().map(str::to_owned),
            ended_ms: info["end_time"].as_i64(),
            name: None,
        };
        store.update_run(tenant, &here.id, change).await?;
        // One that is still at work there is asked for again the next time.
        if info["status"].as_str().is_some_and(has_ended) {
            let done = [Pair::new(DONE_TAG, text(info, "artifact_uri"))];
            store.log_batch(tenant, &here.id, &[], &[], &done).await?;
        } else {
            self.counts.running += 1;
        }
        if info["lifecycle_stage"] == "deleted" {
            store.delete_run(tenant, &here.id, true, now_ms()).await?;
        }
        self.counts.runs += 1;
        Ok(())
    }

    /// Copies the files below one address to another, when the server keeps the ones and this house the others. The tag that
    /// tells what could not be copied, if any.
    async fn files(&mut self, there: &str, here: &str) -> Result<Option<Pair>, Failure> {
        let (Some(from), Some(to)) = (path_here(there), path_here(here)) else {
            return Ok(None);
        };
        let told = self.counts.left_out.len();
        let mut folders = vec![(from.to_owned(), to.to_owned(), 0)];
        while let Some((from, to, depth)) = folders.pop() {
            let listed = self.server.files(&from).await?;
            let Some(entries) = self.had(listed, "folder", &from) else {
                continue;
            };
            for entry in entries {
                let path = text(&entry, "path");
                let name = path.rsplit('/').next().unwrap_or(&path);
                let (from, to) = (format!("{from}/{name}"), format!("{to}/{name}"));
                if entry["is_dir"] == true {
                    if depth < DEPTH_MAX {
                        folders.push((from, to, depth + 1));
                    } else {
                        let what = format!(
                            "the folder {from:?}: it is more than {DEPTH_MAX} folders deep"
                        );
                        self.counts.left_out.push(what);
                    }
                    continue;
                }
                if is_stopped() {
                    return Err(Failure::Stopped);
                }
                let place = match FilePath::new(&to) {
                    Ok(place) => place,
                    Err(error) => {
                        let what = format!("the file {from:?}: {error}");
                        self.counts.left_out.push(what);
                        continue;
                    }
                };
                let chunks = self.server.file(&from).await?;
                let Some(chunks) = self.had(chunks, "file", &from) else {
                    continue;
                };
                let put = self.rooms.depot.put(&self.rooms.tenant, &place, chunks);
                put.await.map_err(ombud_store::RegistryError::from)?;
                self.counts.files += 1;
            }
        }
        let lines = &self.counts.left_out[told..];
        let lines: String = lines.join("\n").chars().take(LEFT_OUT_CHARS_MAX).collect();
        Ok((!lines.is_empty()).then(|| Pair::new(LEFT_OUT_TAG.to_owned(), lines)))
    }

    /// What the server gave, or nothing where it refused just that, which is told at the end.
    fn had<T>(&mut self, given: Result<T, String>, what: &str, path: &str) -> Option<T> {
        match given {
            Ok(given) => Some(given),
            Err(why) => {
                self.counts
                    .left_out
                    .push(format!("the {what} {path:?}: {why}"));
                None
            }
        }
    }

    async fn logged_models(&mut self, number: i64, experiment: &Value) -> Result<(), Failure> {
        let body = json!({ "experiment_ids": [text(experiment, "experiment_id")] });
        let models = self
            .server
            .searched("logged-models/search", "models", body)
            .await?;
        for model in models {
            self.logged_model(number, &model).await?;
        }
        Ok(())
    }

    async fn logged_model(&mut self, experiment: i64, there: &Value) -> Result<(), Failure> {
        let (store, tenant) = (&self.rooms.store, &self.rooms.tenant);
        let info = &there["info"];
        let id = text(info, "model_id");
        let here = match store.logged_model(tenant, &id).await {
            Ok(found) if found.status == info["status"] => {
                self.tell_again(&found.tags);
                self.moved
                    .insert(text(info, "artifact_uri"), found.artifact_uri);
                return Ok(());
            }
            Err(ombud_store::Error::NotFound { .. }) => {
                let new = NewLoggedModel {
                    id: Some(id.clone()),
                    experiment,
                    name: text(info, "name"),
                    kind: text(info, "model_type"),
                    source_run: info["source_run_id"].as_str().map(str::to_owned),
                    params: pairs(&there["data"]["params"]),
                    tags: pairs(&info["tags"]),
                };
                let created_ms = whole(&info["creation_timestamp_ms"]);
                store.create_logged_model(tenant, new, created_ms).await?
            }
            found => found?,
        };
        for metric in list(&there["data"]["metrics"]) {
            let Some(said) = point(metric) else { continue };
            let about = ModelPoint {
                point: said,
                model: id.clone(),
                dataset_name: text(metric, "dataset_name"),
                dataset_digest: text(metric, "dataset_digest"),
            };
            let run = text(metric, "run_id");
            store.log_model_points(tenant, &run, &[about]).await?;
        }
        let there_uri = text(info, "artifact_uri");
        if let Some(tag) = self.files(&there_uri, &here.artifact_uri).await? {
            let (store, tenant) = (&self.rooms.store, &self.rooms.tenant);
            store.set_model_tags(tenant, &id, &[tag]).await?;
        }
        self.moved.insert(there_uri, here.artifact_uri);
        let status = text(info, "status");
        let changed_ms = whole(&info["last_updated_timestamp_ms"]);
        // Its state comes last: what has it came over whole.
        self.rooms
            .store
            .finish_logged_model(&self.rooms.tenant, &id, &status, changed_ms)
            .await?;
        Ok(())
    }

    async fn registry(&mut self) -> Result<(), Failure> {
        let models = self
            .server
            .listed("registered-models/search", "registered_models", &[])
            .await?;
        // MLflow 3 tells of prompts only when it is asked for them; older ones, that know none, of all models again.
        let filter = prompts();
        let prompts = self
            .server
            .listed(
                "registered-models/search",
                "registered_models",
                &[("filter", &filter)],
            )
            .await?;
        let is_prompt = |model: &&Value| pairs(&model["tags"]).iter().any(is_prompt_tag);
        let models = models.iter().filter(|model| !is_prompt(model));
        for model in models.chain(prompts.iter().filter(is_prompt)) {
            self.model(model).await?;
        }
        Ok(())
    }

    async fn model(&mut self, there: &Value) -> Result<(), Failure> {
        let (store, tenant) = (&self.rooms.store, &self.rooms.tenant);
        let name = text(there, "name");
        let listed = match store.listed(tenant, &name).await {
            Err(ombud_store::Error::NotFound { .. }) => {
                let description = text(there, "description");
                let tags = pairs(&there["tags"]);
                let made = store
                    .list_model(tenant, &name, &description, &tags, now_us())
                    .await?;
                let detail = json!({ "did": "make model", "model": made.model, "name": name, "by": "import" });
                self.record(&made.model, detail).await?;
                made
            }
            found => found?,
        };
        self.counts.models += 1;
        // MLflow's own filters know no way to write the mark that they begin with.
        let mark = if name.contains('\'') { '"' } else { '\'' };
        let mut filter = format!("name = {mark}{name}{mark}");
        if pairs(&there["tags"]).iter().any(is_prompt_tag) {
            filter = format!("{filter} AND {}", prompts());
        }
        let mut versions = self
            .server
            .listed(
                "model-versions/search",
                "model_versions",
                &[("filter", &filter)],
            )
            .await?;
        versions.sort_by_key(|version| whole(&version["version"]));
        let mut taken = Vec::new();
        for version in &versions {
            taken.extend(self.version(&listed.model, version).await?);
        }
        for alias in list(&there["aliases"]) {
            let (alias, wanted) = (text(alias, "alias"), version_of(&alias["version"]));
            // What was changed here since it came over stays.
            let is_new = wanted.is_some_and(|version| taken.contains(&version));
            if is_new && listed.aliases.get(&alias).copied() != wanted {
                self.alias(&listed.model, &alias, wanted).await?;
            }
        }
        Ok(())
    }

    /// Names a version; a name that cannot be one here is told at the end, and the import goes on.
    async fn alias(
        &mut self,
        model: &ModelName,
        alias: &str,
        version: Option<Version>,
    ) -> Result<(), Failure> {
        let (ops, caller) = (&self.rooms.ops, settings::caller());
        let pointed = ops
            .point_alias(&self.rooms.tenant, &caller, model, alias, version)
            .await;
        match pointed {
            Err(error) if error.class() == Class::Invalid => {
                let what = format!("the alias {alias:?} of {model}: {error}");
                self.counts.left_out.push(what);
                Ok(())
            }
            pointed => Ok(pointed.map(drop)?),
        }
    }

    /// Takes a version over; its number, when it was not here.
    async fn version(
        &mut self,
        model: &ModelName,
        there: &Value,
    ) -> Result<Option<Version>, Failure> {
        let (store, tenant) = (&self.rooms.store, &self.rooms.tenant);
        let Some(number) = version_of(&there["version"]) else {
            return Ok(None);
        };
        let stage = Stage::parse(&text(there, "current_stage"));
        let source = self.source(&text(there, "source"));
        let known = store.listed_version(tenant, model, number).await.ok();
        match &known {
            Some(known) if known.source != source => {
                let what = format!("version {number} of {model}: another one is here by that name");
                self.counts.left_out.push(what);
                return Ok(None);
            }
            // An import that was interrupted had listed it, and not looked at its files.
            Some(known) if known.status == Status::Pending => {}
            Some(known) => {
                self.tell_stage(model, known, stage);
                return Ok(None);
            }
            None => {}
        }
        let uri = self.address(&source).await;
        let folder = path_here(&uri).and_then(|path| FilePath::new(path).ok());
        let reference = |name: &str| there[name].as_str().map(str::to_owned);
        let new = NewListedVersion {
            source: source.clone(),
            run: reference("run_id"),
            run_link: reference("run_link"),
            logged_model: reference("model_id"),
            description: text(there, "description"),
            user: text(there, "user_id"),
            tags: pairs(&there["tags"]),
            files: folder.clone(),
            version: Some(number),
        };
        let listed_us = known.as_ref().map_or_else(now_us, |known| known.created_us);
        let version = match known {
            Some(known) => known.version,
            None => {
                let version = store.list_version(tenant, model, new, listed_us).await?;
                let detail = json!({ "did": "list version", "model": model, "version": version, "from": source, "by": "import" });
                self.record(model, detail).await?;
                version
            }
        };
        if pairs(&there["tags"]).iter().any(is_prompt_tag) {
            // A prompt is the text in its tags: nothing becomes of it.
            store
                .settle_version(tenant, model, version, "", now_us())
                .await?;
        } else {
            let adoption = Adoption {
                tenant: tenant.clone(),
                caller: settings::caller(),
                model: model.clone(),
                version,
                listed_us,
                source,
                folder,
            };
            self.rooms
                .ops
                .adopt(Arc::clone(&self.rooms.depot), adoption)
                .await?;
        }
        self.counts.versions += 1;
        let listed = store.listed_version(tenant, model, version).await?;
        if listed.has_bundle {
            self.counts.deployable += 1;
            self.tell_stage(model, &listed, stage);
        } else if let Some(stage) = stage {
            store
                .note_stage(tenant, model, version, stage, false, now_us())
                .await?;
        }
        Ok(Some(version))
    }

    /// Keeps for the end what serves there and could serve here.
    fn tell_stage(&mut self, model: &ModelName, listed: &ListedVersion, stage: Option<Stage>) {
        let Some(stage @ (Stage::Staging | Stage::Production)) = stage else {
            return;
        };
        if listed.has_bundle && listed.stage != stage {
            self.counts.staged.push(Staged {
                model: model.clone(),
                version: listed.version,
                stage,
            });
        }
    }

    /// Where a source's files are, when it names a logged model or a run.
    async fn address(&self, source: &str) -> String {
        let (store, tenant) = (&self.rooms.store, &self.rooms.tenant);
        let found = if let Some(id) = source.strip_prefix("models:/") {
            let model = store.logged_model(tenant, id).await;
            model.ok().map(|model| model.artifact_uri)
        } else if let Some((run, path)) = source
            .strip_prefix("runs:/")
            .and_then(|rest| rest.split_once('/'))
        {
            let root = store.run_artifact_uri(tenant, run).await;
            root.ok().map(|root| format!("{root}/{path}"))
        } else {
            None
        };
        found.unwrap_or_else(|| source.to_owned())
    }

    /// A source as it is called here: files that moved have another address.
    fn source(&self, there: &str) -> String {
        let moved = self.moved.iter().find_map(|(from, to)| {
            let rest = there.strip_prefix(from.as_str())?;
            (rest.is_empty() || rest.starts_with('/')).then(|| format!("{to}{rest}"))
        });
        moved.unwrap_or_else(|| there.to_owned())
    }

    async fn record(&self, model: &ModelName, detail: Value) -> Result<(), Failure> {
        let caller = settings::caller();
        Ok(self
            .rooms
            .ops
            .record_registry(&self.rooms.tenant, &caller, Some(model), detail)
            .await?)
    }
}

fn is_served(location: &str) -> bool {
    location.is_empty() || location.starts_with(HERE)
}

fn now_ms() -> i64 {
    now_us() / 1_000
}

fn text(value: &Value, name: &str) -> String {
    match &value[name] {
        Value::String(text) => clean(text),
        Value::Number(number) => number.to_string(),
        _ => String::new(),
    }
}

/// A NUL, which MLflow's SQLite keeps, is a mark that cannot be shown here.
fn clean(text: &str) -> String {
    text.replace('\0', "\u{FFFD}")
}

fn whole(value: &Value) -> i64 {
    match value {
        Value::String(text) => text.parse().unwrap_or_default(),
        value => value.as_i64().unwrap_or_default(),
    }
}

fn version_of(value: &Value) -> Option<Version> {
    u32::try_from(whole(value)).ok().and_then(Version::new)
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn pairs(value: &Value) -> Vec<Pair> {
    list(value)
        .map(|pair| Pair::new(text(pair, "key"), text(pair, "value")))
        .filter(|pair| !pair.key.is_empty())
        .collect()
}

/// The filter that finds prompts; without it MLflow keeps them out.
fn prompts() -> String {
    format!("tag.`{PROMPT_TAG}` = 'true'")
}

fn is_prompt_tag(tag: &Pair) -> bool {
    tag.key == PROMPT_TAG && tag.value.eq_ignore_ascii_case("true")
}

fn point(value: &Value) -> Option<Point> {
    let number = match &value["value"] {
        Value::String(text) => number_in(text).ok()?,
        number => number.as_f64()?,
    };
    Some(Point {
        key: text(value, "key"),
        value: number,
        step: whole(&value["step"]),
        logged_ms: whole(&value["timestamp"]),
    })
}
