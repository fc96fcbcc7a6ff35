//! Versions: registered, found, described, moved between stages.
//!
//! A stage is a deprecated word for an environment of ours: moving a version that has a bundle to `Production` deploys it,
//! through its gates. One without a bundle only gets the word, because nothing here could serve it.

use super::asked::Asked;
use super::registry::{find, note, stage};
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
use ombud_store::tracking::listing::{ListedVersion, NewListedVersion, Stage, Status};
use ombud_store::tracking::logged_model::path_here;
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
    let text = |name: &str| asked.text_or_none(name).map(|text| text.map(str::to_owned));
    let folder = folder(&house, &caller, &source).await;
    let new = NewListedVersion {
        source: source.clone(),
        run: text("run_id")?,
        run_link: text("run_link")?,
        logged_model: text("model_id")?,
        description: asked.text_or_empty("description")?.to_owned(),
        user: caller.principal.to_string(),
        tags: asked.pairs("tags")?,
        files: folder.clone(),
        version: None,
    };
    let version = house
        .store
        .list_version(&caller.tenant, &found.model, new, now_us())
        .await?;
    let detail =
        json!({ "did": "list version", "model": found.model, "version": version, "from": source });
    note(&house, &caller, &origin, &found.model, detail).await?;
    let adoption = Adoption {
        tenant: caller.tenant.clone(),
        caller: origin.caller(&caller),
        model: found.model.clone(),
        version,
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
    told(&house, &caller, &found.model, asked.version()?).await
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
    house
        .store
        .describe_version(&caller.tenant, &found.model, version, description, now_us())
        .await?;
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
    let listed = house
        .store
        .listed_version(&caller.tenant, &found.model, asked.version()?)
        .await?;
    house
        .ops
        .forget_version(&caller.tenant, &origin.caller(&caller), &listed)
        .await?;
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
        note(&house, &caller, &origin, &found.model, detail).await?;
    } else if listed.stage != becomes {
        serve(&house, &caller, &origin, &listed, becomes).await?;
    }
    told(&house, &caller, &found.model, version).await
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
