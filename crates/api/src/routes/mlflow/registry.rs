//! Registered models: names under which versions are registered, with tags and aliases.
//!
//! Every change is an act on record, as it is over our own API.

use super::asked::{Asked, refused};
use super::{Told, nothing, views};
use crate::access::Right;
use crate::extract::Known;
use crate::house::House;
use crate::refusal::Refusal;
use crate::request::Origin;
use crate::time::now_us;
use axum::extract::State;
use axum::{Extension, Json};
use ombud_core::ModelName;
use ombud_store::tracking::listing::{Listed, Stage};
use serde_json::{Value, json};

/// Models on a page when nobody says, and at most.
const ROWS: usize = 100;
const ROWS_MAX: usize = 1_000;

pub async fn create(
    State(house): State<House>,
    caller: Known,
    Extension(origin): Extension<Origin>,
    asked: Asked,
) -> Told {
    caller.may_everywhere(Right::Register)?;
    let (name, description) = (asked.text("name")?, asked.text_or_empty("description")?);
    let tags = asked.pairs("tags")?;
    let made = house
        .store
        .list_model(&caller.tenant, name, description, &tags, now_us())
        .await?;
    let detail = json!({ "did": "make model", "model": made.model, "name": made.name });
    note(&house, &caller, &origin, &made.model, detail).await?;
    Ok(Json(
        json!({ "registered_model": views::listed(&made, &[]) }),
    ))
}

pub async fn get(State(house): State<House>, caller: Known, asked: Asked) -> Told {
    let found = find(&house, &caller, Right::SeeModels, asked.text("name")?).await?;
    view(&house, &caller, &found).await
}

pub async fn search(State(house): State<House>, caller: Known, asked: Asked) -> Told {
    caller.may(Right::SeeModels)?;
    let query = asked.search(ROWS, ROWS_MAX)?;
    let (found, next) = house.store.search_listed(&caller.tenant, &query).await?;
    let mut items = Vec::new();
    for model in found.iter().filter(|model| caller.sees(&model.model)) {
        let versions = house
            .store
            .listed_versions(&caller.tenant, &model.model)
            .await?;
        items.push(views::listed(model, &versions));
    }
    Ok(Json(views::page("registered_models", items, next)))
}

pub async fn update(
    State(house): State<House>,
    caller: Known,
    Extension(origin): Extension<Origin>,
    asked: Asked,
) -> Told {
    let found = find(&house, &caller, Right::Register, asked.text("name")?).await?;
    let description = asked.text_or_empty("description")?;
    house
        .store
        .describe_model(&caller.tenant, &found.model, description)
        .await?;
    let detail = json!({ "did": "describe model", "model": found.model });
    note(&house, &caller, &origin, &found.model, detail).await?;
    let found = house.store.listed(&caller.tenant, &found.name).await?;
    view(&house, &caller, &found).await
}

pub async fn rename(
    State(house): State<House>,
    caller: Known,
    Extension(origin): Extension<Origin>,
    asked: Asked,
) -> Told {
    let found = find(&house, &caller, Right::Register, asked.text("name")?).await?;
    let name = asked.text("new_name")?;
    house
        .store
        .rename_listed(&caller.tenant, &found.model, name, now_us())
        .await?;
    let detail =
        json!({ "did": "rename model", "model": found.model, "was": found.name, "name": name });
    note(&house, &caller, &origin, &found.model, detail).await?;
    let found = house.store.listed(&caller.tenant, name).await?;
    view(&house, &caller, &found).await
}

/// Deletes a model with its versions, unless one of them has ever been deployed: records speak of it.
pub async fn delete(
    State(house): State<House>,
    caller: Known,
    Extension(origin): Extension<Origin>,
    asked: Asked,
) -> Told {
    let found = find(&house, &caller, Right::Register, asked.text("name")?).await?;
    let versions = house.store.versions(&caller.tenant, &found.model).await?;
    let answered = versions
        .iter()
        .find(|version| version.first_deployed_us.is_some());
    if let Some(version) = answered {
        let error = ombud_store::Error::NeededByLedger {
            model: found.model.clone(),
            version: version.version,
        };
        return Err(Refusal::from(error).renamed(found.model.as_str(), &found.name));
    }
    let actor = origin.caller(&caller);
    for version in house
        .store
        .listed_versions(&caller.tenant, &found.model)
        .await?
    {
        house
            .ops
            .forget_version(&caller.tenant, &actor, &version)
            .await?;
    }
    house
        .store
        .unlist_model(&caller.tenant, &found.model)
        .await?;
    let detail = json!({ "did": "delete model", "model": found.model, "name": found.name });
    note(&house, &caller, &origin, &found.model, detail).await?;
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
    let key = asked.text("key")?;
    house
        .store
        .set_listed_tag(&caller.tenant, &found.model, key, value, now_us())
        .await?;
    let detail = json!({ "did": "tag model", "model": found.model, "tag": key });
    note(house, caller, origin, &found.model, detail).await?;
    nothing()
}

pub async fn latest(State(house): State<House>, caller: Known, asked: Asked) -> Told {
    let found = find(&house, &caller, Right::SeeModels, asked.text("name")?).await?;
    let stages = asked.texts("stages")?;
    let stages: Vec<Stage> = stages
        .iter()
        .map(|text| stage(text))
        .collect::<Result<_, _>>()?;
    let versions = house
        .store
        .listed_versions(&caller.tenant, &found.model)
        .await?;
    let newest: Vec<Value> = views::latest(&versions, &stages)
        .map(views::listed_version)
        .collect();
    Ok(Json(json!({ "model_versions": newest })))
}

pub async fn by_alias(State(house): State<House>, caller: Known, asked: Asked) -> Told {
    let found = find(&house, &caller, Right::SeeModels, asked.text("name")?).await?;
    let alias = asked.text("alias")?;
    let Some(version) = found.aliases.get(alias) else {
        // MLflow's own name for it, which its clients branch on.
        return Err(Refusal::malformed(format!(
            "Registered model alias {alias} not found."
        )));
    };
    let version = house
        .store
        .listed_version(&caller.tenant, &found.model, *version)
        .await?;
    Ok(Json(
        json!({ "model_version": views::listed_version(&version) }),
    ))
}

pub async fn set_alias(
    State(house): State<House>,
    caller: Known,
    Extension(origin): Extension<Origin>,
    asked: Asked,
) -> Told {
    let found = find(&house, &caller, Right::Register, asked.text("name")?).await?;
    let (alias, version) = (asked.text("alias")?, asked.version()?);
    let actor = origin.caller(&caller);
    let (tenant, model) = (&caller.tenant, &found.model);
    let pointed = async {
        let pointing = house
            .ops
            .point_alias(tenant, &actor, model, alias, Some(version));
        Ok(pointing.await?)
    };
    called(&found, pointed).await?;
    nothing()
}

pub async fn delete_alias(
    State(house): State<House>,
    caller: Known,
    Extension(origin): Extension<Origin>,
    asked: Asked,
) -> Told {
    let found = find(&house, &caller, Right::Register, asked.text("name")?).await?;
    let alias = asked.text("alias")?;
    // One that is not there is withdrawn already.
    if found.aliases.contains_key(alias) {
        let actor = origin.caller(&caller);
        house
            .ops
            .point_alias(&caller.tenant, &actor, &found.model, alias, None)
            .await?;
    }
    nothing()
}

/// A registered model that the caller may do this with.
pub(super) async fn find(
    house: &House,
    caller: &Known,
    right: Right,
    name: &str,
) -> Result<Listed, Refusal> {
    caller.may(right)?;
    let found = house.store.listed(&caller.tenant, name).await?;
    caller.may_about(right, &found.model)?;
    Ok(found)
}

/// Does something with a model, and tells what stands in the way in the name that the client gave it.
pub(super) async fn called<T>(
    found: &Listed,
    work: impl Future<Output = Result<T, Refusal>>,
) -> Result<T, Refusal> {
    let done = work.await;
    done.map_err(|refusal| refusal.renamed(found.model.as_str(), &found.name))
}

/// A stage by its word.
pub(super) fn stage(text: &str) -> Result<Stage, Refusal> {
    Stage::parse(text)
        .ok_or_else(|| refused("stage", text, "None, Staging, Production or Archived"))
}

pub(super) async fn note(
    house: &House,
    caller: &Known,
    origin: &Origin,
    model: &ModelName,
    detail: Value,
) -> Result<(), Refusal> {
    house
        .ops
        .record_registry(&caller.tenant, &origin.caller(caller), Some(model), detail)
        .await?;
    Ok(())
}

async fn view(house: &House, caller: &Known, found: &Listed) -> Told {
    let versions = house
        .store
        .listed_versions(&caller.tenant, &found.model)
        .await?;
    Ok(Json(
        json!({ "registered_model": views::listed(found, &versions) }),
    ))
}
