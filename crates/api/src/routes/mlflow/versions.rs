//! Versions: registered, found, described, moved between stages.
//!
//! A stage is a deprecated word for an environment of ours: moving a version that has a bundle to `Production` deploys it,
//! through its gates. One without a bundle only gets the word, because nothing here could serve it.

use super::asked::Asked;
use super::registry::{called, find, note, stage};
use super::{Told, nothing, views};
use crate::access::Right;
use crate::extract::Known;
use crate::house::House;
use crate::refusal::{Code, Refusal};
use crate::request::Origin;
use crate::time::now_us;
use axum::extract::State;
use axum::{Extension, Json};
use ombud_ops::Order;
use ombud_ops::adopt::Adoption;
use ombud_ops::history::environment_of;
use ombud_ops::perform::Ordered;
use ombud_store::FilePath;
use ombud_store::tracking::listing::{Listed, ListedVersion, NewListedVersion, Stage, Status};
use ombud_store::tracking::logged_model::path_here;
use ombud_store::tracking::search::PROMPT_TAG;
use serde_json::json;
use std::sync::Arc;
use std::time::Duration;

/// Versions on a page when nobody says, and at most.
const ROWS: usize = 10_000;
const ROWS_MAX: usize = 200_000;
/// How long a registration waits for what becomes of it; after that the client asks again every three seconds.
const ADOPTION_WAIT: Duration = Duration::from_secs(2);
/// A registration that waits longer was interrupted.
const ADOPTION_US_MAX: i64 = 900_000_000;
/// Why a deployment changed, when a client said no more.
const REASON: &str = "moved between stages by a client of MLflow's protocol";

pub async fn create(
    State(house): State<House>,
    caller: Known,
    Extension(origin): Extension<Origin>,
    asked: Asked,
) -> Told {
    let found = find(&house, &caller, Right::Register, asked.text("name")?).await?;
    let source = asked.text("source")?.to_owned();
    let tags = asked.pairs("tags")?;
    // A prompt is all in its tags; its source is a placeholder.
    let is_prompt = tags
        .iter()
        .any(|tag| tag.key == PROMPT_TAG && tag.value.eq_ignore_ascii_case("true"));
    if !is_prompt {
        refuse_source(&source)?;
    }
    let text = |name: &str| asked.text_or_none(name).map(|text| text.map(str::to_owned));
    let folder = folder(&house, &caller, &source).await;
    let new = NewListedVersion {
        source: source.clone(),
        run: match text("run_id")?.filter(|run| !run.is_empty()) {
            None => source_run(&house, &caller, &source, asked.text_or_none("model_id")?).await?,
            run => run,
        },
        run_link: text("run_link")?,
        logged_model: text("model_id")?,
        description: asked.text_or_empty("description")?.to_owned(),
        user: caller.principal.to_string(),
        tags,
        files: folder.clone(),
        version: None,
    };
    let listed_us = now_us();
    let version = house
        .store
        .list_version(&caller.tenant, &found.model, new, listed_us)
        .await?;
    let detail =
        json!({ "did": "list version", "model": found.model, "version": version, "from": source });
    note(&house, &caller, &origin, &found.model, detail).await?;
    if is_prompt {
        let (tenant, model) = (&caller.tenant, &found.model);
        let settled = house
            .store
            .settle_version(tenant, model, version, "", now_us());
        settled.await?;
        return told(&house, &caller, &found.model, version).await;
    }
    let adoption = Adoption {
        tenant: caller.tenant.clone(),
        caller: origin.caller(&caller),
        model: found.model.clone(),
        version,
        listed_us,
        source,
        folder,
    };
    adopt(&house, adoption).await;
    told(&house, &caller, &found.model, version).await
}

/// Begins to make a bundle of it, and waits a little: most are done before the client asks.
async fn adopt(house: &House, adoption: Adoption) {
    let (ops, depot) = (house.ops.clone(), Arc::clone(&house.depot));
    let work = tokio::spawn(async move {
        if let Err(error) = ops.adopt(depot, adoption).await {
            tracing::warn!(cause = %crate::refusal::chain(&error), "what became of a registration could not be noted");
        }
    });
    // Whether it is done or still at work, the version says so.
    let _ = tokio::time::timeout(ADOPTION_WAIT, work).await;
}

/// Refuses what MLflow refuses: a path on the client's or the server's disk, and one that climbs.
fn refuse_source(source: &str) -> Result<(), Refusal> {
    let scheme = source.split_once(':').map_or("", |(scheme, _)| scheme);
    let is_scheme = |c: char| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.');
    // `C:\…` has a letter where others have a scheme.
    let is_elsewhere =
        scheme.len() > 1 && scheme.chars().all(is_scheme) && !scheme.eq_ignore_ascii_case("file");
    let shown: String = source.chars().take(200).collect();
    if !is_elsewhere {
        let words = format!(
            "Invalid model version source: '{shown}'. A local path names nothing that this server could keep for others."
        );
        return Err(Refusal::malformed(words).hint("log the model to a run, and register that"));
    }
    let plain = source.to_ascii_lowercase().replace("%2e", ".");
    let plain = plain.replace("%2f", "/").replace("%5c", "\\");
    if plain.split(['/', '\\']).any(|part| part == "..") || source.contains('\0') {
        let words = format!(
            "Invalid model version source: '{shown}'. It must be an absolute path without relative references."
        );
        return Err(Refusal::malformed(words));
    }
    Ok(())
}

/// The run that a version comes from, when the client left it out: MLflow 3 names the logged model alone.
async fn source_run(
    house: &House,
    caller: &Known,
    source: &str,
    logged: Option<&str>,
) -> Result<Option<String>, Refusal> {
    let (store, tenant) = (&house.store, &caller.tenant);
    let named = source.strip_prefix("models:/");
    let logged = logged
        .filter(|id| !id.is_empty())
        .or(named.filter(|id| id.starts_with("m-") && !id.contains('/')));
    if let Some(id) = logged {
        // One that is not there tells nothing of its run.
        let model = store.logged_model(tenant, id).await;
        return Ok(model.ok().and_then(|model| model.source_run));
    }
    let Some((name, version)) = named.and_then(|rest| rest.split_once('/')) else {
        return Ok(None);
    };
    let (Ok(found), Ok(version)) = (store.listed(tenant, name).await, version.parse()) else {
        return Ok(None);
    };
    caller.may_about(Right::SeeModels, &found.model)?;
    let listed = store.listed_version(tenant, &found.model, version).await;
    Ok(listed.ok().and_then(|listed| listed.run))
}

/// Where a source's files lie here, when they do.
async fn folder(house: &House, caller: &Known, source: &str) -> Option<FilePath> {
    let (store, tenant) = (&house.store, &caller.tenant);
    let uri = if let Some(id) = source.strip_prefix("models:/m-") {
        let model = store.logged_model(tenant, &format!("m-{id}")).await;
        model.ok()?.artifact_uri
    } else if let Some(rest) = source.strip_prefix("models:/") {
        let (name, version) = rest.split_once('/')?;
        let model = store.listed_model(tenant, name).await.ok()?;
        let version = version.parse().ok()?;
        let listed = store.listed_version(tenant, &model, version).await.ok()?;
        download_uri_of(house, caller, &listed).await
    } else if let Some(rest) = source.strip_prefix("runs:/") {
        let (run, path) = rest.split_once('/')?;
        let root = store.run_artifact_uri(tenant, run).await.ok()?;
        format!("{root}/{path}")
    } else {
        source.to_owned()
    };
    FilePath::new(path_here(&uri)?).ok()
}

pub async fn get(State(house): State<House>, caller: Known, asked: Asked) -> Told {
    let found = find(&house, &caller, Right::SeeModels, asked.text("name")?).await?;
    let version = asked.version()?;
    called(&found, told(&house, &caller, &found.model, version)).await
}

pub async fn search(State(house): State<House>, caller: Known, asked: Asked) -> Told {
    caller.may(Right::SeeModels)?;
    let query = asked.search(ROWS, ROWS_MAX)?;
    let (found, next) = house.store.search_versions(&caller.tenant, &query).await?;
    let items = found
        .iter()
        .filter(|version| caller.sees(&version.model))
        .map(views::listed_version);
    Ok(Json(views::page("model_versions", items.collect(), next)))
}

pub async fn download_uri(State(house): State<House>, caller: Known, asked: Asked) -> Told {
    let found = find(&house, &caller, Right::SeeModels, asked.text("name")?).await?;
    let listed = house
        .store
        .listed_version(&caller.tenant, &found.model, asked.version()?)
        .await?;
    let uri = download_uri_of(&house, &caller, &listed).await;
    Ok(Json(json!({ "artifact_uri": uri })))
}

async fn download_uri_of(house: &House, caller: &Known, listed: &ListedVersion) -> String {
    if let Some(id) = listed.source.strip_prefix("models:/") {
        let model = house.store.logged_model(&caller.tenant, id).await;
        if let Ok(model) = model {
            return model.artifact_uri;
        }
    }
    listed.source.clone()
}

pub async fn update(
    State(house): State<House>,
    caller: Known,
    Extension(origin): Extension<Origin>,
    asked: Asked,
) -> Told {
    let found = find(&house, &caller, Right::Register, asked.text("name")?).await?;
    let (version, description) = (asked.version()?, asked.text_or_empty("description")?);
    let (tenant, model) = (&caller.tenant, &found.model);
    let described = async {
        let store = &house.store;
        Ok(store
            .describe_version(tenant, model, version, description, now_us())
            .await?)
    };
    called(&found, described).await?;
    let detail = json!({ "did": "describe", "model": found.model, "version": version });
    note(&house, &caller, &origin, &found.model, detail).await?;
    told(&house, &caller, &found.model, version).await
}

pub async fn delete(
    State(house): State<House>,
    caller: Known,
    Extension(origin): Extension<Origin>,
    asked: Asked,
) -> Told {
    let found = find(&house, &caller, Right::Register, asked.text("name")?).await?;
    let version = asked.version()?;
    let forgotten = async {
        let tenant = &caller.tenant;
        let listed = house.store.listed_version(tenant, &found.model, version);
        let (listed, actor) = (listed.await?, origin.caller(&caller));
        Ok(house.ops.forget_version(tenant, &actor, &listed).await?)
    };
    called(&found, forgotten).await?;
    nothing()
}

pub async fn set_tag(
    State(house): State<House>,
    caller: Known,
    Extension(origin): Extension<Origin>,
    asked: Asked,
) -> Told {
    let value = Some(asked.text_or_empty("value")?);
    tag(&house, &caller, &origin, &asked, value).await
}

pub async fn delete_tag(
    State(house): State<House>,
    caller: Known,
    Extension(origin): Extension<Origin>,
    asked: Asked,
) -> Told {
    tag(&house, &caller, &origin, &asked, None).await
}

async fn tag(
    house: &House,
    caller: &Known,
    origin: &Origin,
    asked: &Asked,
    value: Option<&str>,
) -> Told {
    let found = find(house, caller, Right::Register, asked.text("name")?).await?;
    let (version, key) = (asked.version()?, asked.text("key")?);
    house
        .store
        .set_version_tag(&caller.tenant, &found.model, version, key, value, now_us())
        .await?;
    let detail = json!({ "did": "tag", "model": found.model, "version": version, "tag": key });
    note(house, caller, origin, &found.model, detail).await?;
    nothing()
}

pub async fn transition(
    State(house): State<House>,
    caller: Known,
    Extension(origin): Extension<Origin>,
    asked: Asked,
) -> Told {
    let found = find(&house, &caller, Right::Deploy, asked.text("name")?).await?;
    called(&found, moved(&house, &caller, &origin, &asked, &found)).await
}

async fn moved(
    house: &House,
    caller: &Known,
    origin: &Origin,
    asked: &Asked,
    found: &Listed,
) -> Told {
    let (version, becomes) = (asked.version()?, stage(asked.text("stage")?)?);
    let listed = house
        .store
        .listed_version(&caller.tenant, &found.model, version)
        .await?;
    if !listed.has_bundle {
        let is_alone = asked.truth("archive_existing_versions")?;
        house
            .store
            .note_stage(
                &caller.tenant,
                &found.model,
                version,
                becomes,
                is_alone,
                now_us(),
            )
            .await?;
        let detail = json!({ "did": "note stage", "model": found.model, "version": version, "stage": becomes.as_str() });
        note(house, caller, origin, &found.model, detail).await?;
    } else if listed.stage != becomes {
        serve(house, caller, origin, &listed, becomes).await?;
    }
    told(house, caller, &found.model, version).await
}

/// Moves a version that has a bundle to where a stage says.
async fn serve(
    house: &House,
    caller: &Known,
    origin: &Origin,
    listed: &ListedVersion,
    becomes: Stage,
) -> Result<(), Refusal> {
    let (model, version) = (&listed.model, listed.version);
    let actor = origin.caller(caller);
    if let Some(environment) = environment_of(becomes) {
        caller.may_on(Right::Deploy, model, &environment)?;
        if listed.stage == Stage::Archived {
            shelve(house, caller, origin, listed, false).await?;
        }
        let ordered = Ordered {
            model: model.clone(),
            environment,
            order: Order::Deploy { version },
            reason: REASON.to_owned(),
            force: None,
        };
        house.ops.change(&caller.tenant, &actor, ordered).await?;
        return Ok(());
    }
    // Out of where it serves, when it serves there alone.
    if let Some(environment) = environment_of(listed.stage) {
        caller.may_on(Right::Deploy, model, &environment)?;
        let now = house
            .store
            .deployment(&caller.tenant, model, &environment)
            .await?;
        let is_alone = now.is_some_and(|now| now.traffic.active().len() == 1);
        if !is_alone {
            let detail =
                format!("version {version} shares the traffic of {environment} with another");
            return Err(Refusal::new(Code::Conflict, detail));
        }
        house
            .ops
            .withdraw(&caller.tenant, &actor, model, &environment, REASON)
            .await?;
    }
    if becomes == Stage::Archived || listed.stage == Stage::Archived {
        let is_archived = becomes == Stage::Archived;
        shelve(house, caller, origin, listed, is_archived).await?;
    }
    Ok(())
}

async fn shelve(
    house: &House,
    caller: &Known,
    origin: &Origin,
    listed: &ListedVersion,
    is_archived: bool,
) -> Result<(), Refusal> {
    caller.may_about(Right::Register, &listed.model)?;
    let (model, version) = (&listed.model, listed.version);
    house
        .store
        .archive_version(&caller.tenant, model, version, is_archived, now_us())
        .await?;
    let did = if is_archived { "archive" } else { "take back" };
    let detail = json!({ "did": did, "model": model, "version": version });
    note(house, caller, origin, model, detail).await
}

/// A version as it is now.
async fn told(
    house: &House,
    caller: &Known,
    model: &ombud_core::ModelName,
    version: ombud_core::Version,
) -> Told {
    let (store, tenant) = (&house.store, &caller.tenant);
    let mut listed = store.listed_version(tenant, model, version).await?;
    let waited_us = now_us() - listed.created_us;
    if listed.status == Status::Pending && waited_us > ADOPTION_US_MAX {
        let words = "Kept, not deployable: making a bundle of it was interrupted. Register it again to try once more.";
        store
            .settle_version(tenant, model, version, words, now_us())
            .await?;
        listed = store.listed_version(tenant, model, version).await?;
    }
    Ok(Json(
        json!({ "model_version": views::listed_version(&listed) }),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What MLflow 3.14's server refuses (`_validate_source_model` and `_validate_non_local_source_contains_relative_paths`).
    #[test]
    fn a_source_on_a_disk_or_one_that_climbs_is_refused() {
        for wrong in [
            "/etc/passwd",
            "model",
            "./model",
            "file:///etc",
            "FILE:/etc",
            "C:\\model",
            "mlflow-artifacts:/0/../1",
            "s3://bucket/%2E%2e/x",
            "https://host/a/..",
        ] {
            let refused = refuse_source(wrong).expect_err(wrong);
            assert_eq!(
                refused.mlflow(),
                ("INVALID_PARAMETER_VALUE", 400),
                "{wrong}"
            );
        }
        for right in [
            "mlflow-artifacts:/0/a/artifacts/model",
            "models:/m-0123",
            "models:/name/3",
            "runs:/a/model",
            "s3://bucket/a..b/model",
            "dbfs:/model",
        ] {
            assert!(refuse_source(right).is_ok(), "{right}");
        }
    }
}
