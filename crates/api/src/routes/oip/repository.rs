//! The repository as Triton's clients handle it: what there is, and putting it to work by name.
//!
//! `load` puts to work what somebody approved ([`ombud_ops::load`]); a model that a request brings along is refused, because
//! nothing here serves that was not registered.

use super::body::Opened;
use crate::access::Right;
use crate::extract::{Known, Path, read_json};
use crate::house::House;
use crate::inference::Place;
use crate::refusal::{Code, Refusal};
use crate::request::Origin;
use axum::extract::State;
use axum::{Extension, Json};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

const READY: &str = "READY";
const UNAVAILABLE: &str = "UNAVAILABLE";
const UNLOAD_REASON: &str = "unloaded through the inference protocol";

/// Which versions to list.
#[derive(Debug, Default, Deserialize, ToSchema)]
pub struct IndexWish {
    /// Only those that answer.
    #[serde(default)]
    pub ready: bool,
}

/// Where a model is put to work, or taken out.
#[derive(Debug, Default, Deserialize, ToSchema)]
pub struct LoadWish {
    /// `environment`; `unload_dependents` has nothing to do here. `config` and `file:…` are refused.
    #[serde(default)]
    #[schema(value_type = Object)]
    pub parameters: Map<String, Value>,
}

/// A version of the repository.
#[derive(Debug, Serialize, ToSchema)]
pub struct IndexedView {
    pub name: String,
    pub version: String,
    /// `READY` or `UNAVAILABLE`.
    pub state: String,
    /// Why it is not ready.
    pub reason: String,
}

/// Nothing more to say.
#[derive(Debug, Serialize, ToSchema)]
pub struct DoneView {}

/// The routes of this file.
pub fn router() -> OpenApiRouter<House> {
    OpenApiRouter::new()
        .routes(routes!(index))
        .routes(routes!(index_of))
        .routes(routes!(load))
        .routes(routes!(unload))
}

/// List every version and whether it answers
#[utoipa::path(post, path = "/v2/repository/index", tag = "inference", request_body = Option<IndexWish>,
    responses((status = 200, description = "Versions, by model.", body = Vec<IndexedView>)))]
async fn index(
    State(house): State<House>,
    caller: Known,
    body: Opened,
) -> Result<Json<Vec<IndexedView>>, Refusal> {
    let wish: IndexWish = or_empty(&body)?;
    Ok(Json(indexed(&house, &caller, wish.ready).await?))
}

/// List every version of a repository, of which there is one under any name
#[utoipa::path(post, path = "/v2/repository/{repository}/index", tag = "inference", request_body = Option<IndexWish>,
    params(("repository" = String, Path, description = "Any name.")),
    responses((status = 200, description = "Versions, by model.", body = Vec<IndexedView>)))]
async fn index_of(
    State(house): State<House>,
    caller: Known,
    body: Opened,
) -> Result<Json<Vec<IndexedView>>, Refusal> {
    let wish: IndexWish = or_empty(&body)?;
    Ok(Json(indexed(&house, &caller, wish.ready).await?))
}

/// Put to work what was approved
#[utoipa::path(post, path = "/v2/repository/models/{name}/load", tag = "inference", request_body = Option<LoadWish>,
    params(("name" = String, Path, description = "The model's name.")), responses((status = 200, description = "It answers.", body = DoneView)))]
async fn load(
    State(house): State<House>,
    caller: Known,
    Extension(origin): Extension<Origin>,
    Path(name): Path<String>,
    body: Opened,
) -> Result<Json<DoneView>, Refusal> {
    let wish: LoadWish = or_empty(&body)?;
    load_model(&house, &caller, &origin, &name, &wish.parameters).await?;
    Ok(Json(DoneView {}))
}

/// Take a model out of its environment
#[utoipa::path(post, path = "/v2/repository/models/{name}/unload", tag = "inference", request_body = Option<LoadWish>,
    params(("name" = String, Path, description = "The model's name.")), responses((status = 200, description = "It answers nobody.", body = DoneView)))]
async fn unload(
    State(house): State<House>,
    caller: Known,
    Extension(origin): Extension<Origin>,
    Path(name): Path<String>,
    body: Opened,
) -> Result<Json<DoneView>, Refusal> {
    let wish: LoadWish = or_empty(&body)?;
    unload_model(&house, &caller, &origin, &name, &wish.parameters).await?;
    Ok(Json(DoneView {}))
}

fn or_empty<T: Default + serde::de::DeserializeOwned>(body: &Opened) -> Result<T, Refusal> {
    match body.bytes.iter().all(u8::is_ascii_whitespace) {
        true => Ok(T::default()),
        false => Ok(read_json::<Option<T>>(&body.bytes)?.unwrap_or_default()),
    }
}

/// The versions that a caller may see.
pub async fn indexed(
    house: &House,
    caller: &Known,
    is_ready_wanted: bool,
) -> Result<Vec<IndexedView>, Refusal> {
    caller.may(Right::SeeModels)?;
    let routing = house.ops.routing();
    let live = routing.all_live(&caller.tenant);
    let failures = routing.failures();
    let mut found = Vec::new();
    for model in house.store.models(&caller.tenant).await? {
        if !caller.sees(&model.name) {
            continue;
        }
        let start = format!("{}/{}/", caller.tenant, model.name);
        let failure = failures.iter().find(|(name, _)| name.starts_with(&start));
        for version in house.store.versions(&caller.tenant, &model.name).await? {
            let is_ready = live.iter().any(|live| {
                live.deployment.model == model.name && live.version(version.version).is_some()
            });
            let reason = match (is_ready, failure, version.archived_us) {
                (true, ..) => String::new(),
                (false, _, Some(_)) => "archived".to_owned(),
                (false, Some((_, why)), None) => why.clone(),
                (false, None, None) => "not deployed".to_owned(),
            };
            if is_ready || !is_ready_wanted {
                found.push(IndexedView {
                    name: model.name.to_string(),
                    version: version.version.to_string(),
                    state: if is_ready { READY } else { UNAVAILABLE }.to_owned(),
                    reason,
                });
            }
        }
    }
    Ok(found)
}

/// Puts a model to work.
pub async fn load_model(
    house: &House,
    caller: &Known,
    origin: &Origin,
    name: &str,
    parameters: &Map<String, Value>,
) -> Result<(), Refusal> {
    let place = changed(caller, name, parameters)?;
    let brought = parameters
        .keys()
        .find(|key| *key == "config" || key.starts_with("file:"));
    if let Some(brought) = brought {
        let detail = format!("`{brought}` would serve what nobody registered");
        return Err(Refusal::new(Code::Forbidden, detail)
            .hint("register a bundle (`ombud register`), deploy it, then load it by its name"));
    }
    let who = origin.caller(caller);
    let (model, environment) = (&place.model, &place.environment);
    house
        .ops
        .load(&caller.tenant, &who, model, environment)
        .await?;
    Ok(())
}

/// Takes a model out.
pub async fn unload_model(
    house: &House,
    caller: &Known,
    origin: &Origin,
    name: &str,
    parameters: &Map<String, Value>,
) -> Result<(), Refusal> {
    let place = changed(caller, name, parameters)?;
    let who = origin.caller(caller);
    let (model, environment) = (&place.model, &place.environment);
    house
        .ops
        .withdraw(&caller.tenant, &who, model, environment, UNLOAD_REASON)
        .await?;
    Ok(())
}

fn changed(caller: &Known, name: &str, parameters: &Map<String, Value>) -> Result<Place, Refusal> {
    let place = Place::of(name, "", parameters.get("environment"))?;
    caller.may_on(Right::Deploy, &place.model, &place.environment)?;
    Ok(place)
}
