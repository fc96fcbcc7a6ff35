//! Asking for answers over HTTP.

use super::body::{Packing, Sent};
use super::{At, Where};
use crate::access::Right;
use crate::extract::{Known, Path, Query};
use crate::house::House;
use crate::inference::{self, Place, find};
use crate::refusal::Refusal;
use crate::request::Origin;
use crate::routes::decisions::IDEMPOTENCY_KEY;
use axum::Extension;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use ombud_core::ModelName;
use ombud_oip::model::inputs;
use ombud_oip::{Parameters, Request};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::time::Instant;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

/// A request of the protocol, described; it is read by the formats themselves.
#[derive(Debug, Deserialize, ToSchema)]
pub struct InferWish {
    pub id: Option<String>,
    /// `environment`, `subject`, `idempotency_key`, `binary_data_output`.
    #[schema(value_type = Option<Object>)]
    pub parameters: Option<Map<String, Value>>,
    #[schema(min_items = 1)]
    pub inputs: Vec<TensorWish>,
    /// Those that are wanted; none named means all.
    pub outputs: Option<Vec<OutputWish>>,
}

/// A tensor with its data.
#[derive(Debug, Deserialize, ToSchema)]
pub struct TensorWish {
    pub name: String,
    #[schema(value_type = Vec<u64>)]
    pub shape: Vec<u64>,
    pub datatype: String,
    #[schema(value_type = Option<Object>)]
    pub parameters: Option<Map<String, Value>>,
    /// Nested or flat, row-major; absent when `parameters.binary_data_size` says that it stands behind the JSON.
    #[schema(value_type = Option<Vec<Value>>)]
    pub data: Option<Vec<Value>>,
}

/// An output that is wanted.
#[derive(Debug, Deserialize, ToSchema)]
pub struct OutputWish {
    pub name: String,
    /// `binary_data`, `classification`.
    #[schema(value_type = Option<Object>)]
    pub parameters: Option<Map<String, Value>>,
}

/// An answer of the protocol.
#[derive(Debug, Serialize, ToSchema)]
pub struct InferView {
    pub model_name: String,
    pub model_version: String,
    pub id: Option<String>,
    #[schema(value_type = Option<Object>)]
    pub parameters: Option<Map<String, Value>>,
    pub outputs: Vec<OutputView>,
}

/// A tensor of an answer.
#[derive(Debug, Serialize, ToSchema)]
pub struct OutputView {
    pub name: String,
    #[schema(value_type = Vec<u64>)]
    pub shape: Vec<u64>,
    pub datatype: String,
    #[schema(value_type = Option<Object>)]
    pub parameters: Option<Map<String, Value>>,
    #[schema(value_type = Option<Vec<Value>>)]
    pub data: Option<Vec<Value>>,
}

/// The routes of this file.
pub fn router() -> OpenApiRouter<House> {
    OpenApiRouter::new()
        .routes(routes!(infer))
        .routes(routes!(infer_version))
}

/// Ask the deployed version about one row or many
#[utoipa::path(post, path = "/v2/models/{name}/infer", tag = "inference",
    params(("name" = String, Path, description = "The model's name."), ("environment" = Option<String>, Query, description = "Default: `production`.")), request_body = InferWish,
    responses((status = 200, description = "The answers, on record. `application/octet-stream` when binary tensors stand behind the JSON.",
        content((InferView = "application/json"), (Vec<u8> = "application/octet-stream")))))]
async fn infer(
    State(house): State<House>,
    caller: Known,
    Extension(origin): Extension<Origin>,
    Path(name): Path<String>,
    at: At,
    headers: HeaderMap,
    body: Sent,
) -> Result<Response, Refusal> {
    answer(&house, &caller, &origin, (&name, ""), at, &headers, body).await
}

/// Ask a version of the deployment about one row or many
#[utoipa::path(post, path = "/v2/models/{name}/versions/{version}/infer", tag = "inference",
    params(("name" = String, Path, description = "The model's name."), ("version" = String, Path, description = "The version's number."), ("environment" = Option<String>, Query, description = "Default: `production`.")),
    request_body = InferWish,
    responses((status = 200, description = "The answers, on record. `application/octet-stream` when binary tensors stand behind the JSON.",
        content((InferView = "application/json"), (Vec<u8> = "application/octet-stream")))))]
async fn infer_version(
    State(house): State<House>,
    caller: Known,
    Extension(origin): Extension<Origin>,
    Path((name, version)): Path<(String, String)>,
    at: At,
    headers: HeaderMap,
    body: Sent,
) -> Result<Response, Refusal> {
    answer(
        &house,
        &caller,
        &origin,
        (&name, &version),
        at,
        &headers,
        body,
    )
    .await
}

async fn answer(
    house: &House,
    caller: &Known,
    origin: &Origin,
    (name, version): (&str, &str),
    at: At,
    headers: &HeaderMap,
    body: Sent,
) -> Result<Response, Refusal> {
    let started = Instant::now();
    let read = read(house, caller, name, version, at, headers, body).await;
    let response = ask(house, caller, origin, name, read, started).await?;
    let body = response
        .to_body()
        .map_err(|error| Refusal::internal(&error))?;
    Ok(Packing::accepted(headers).respond(body))
}

/// Asks what could be read; that it could not is on record too.
pub async fn ask(
    house: &House,
    caller: &Known,
    origin: &Origin,
    name: &str,
    read: Result<(Place, Request), Refusal>,
    started: Instant,
) -> Result<ombud_oip::Response, Refusal> {
    match read {
        Ok((place, request)) => {
            inference::infer(house, caller, origin, place, &request, started).await
        }
        Err(refusal) => {
            let model = ModelName::new(name).ok();
            Err(house.record_refusal(caller, origin, model, refusal).await)
        }
    }
}

async fn read(
    house: &House,
    caller: &Known,
    name: &str,
    version: &str,
    at: At,
    headers: &HeaderMap,
    body: Sent,
) -> Result<(Place, Request), Refusal> {
    let (Query(at), body) = (at?, body?);
    let request = match body.header_length {
        // Nothing but the bytes of the model's only input.
        Some(0) => {
            let environment = at.environment.clone().map(Value::from);
            let place = Place::of(name, version, environment.as_ref())?;
            let found = find(house, caller, Right::Decide, place).await?;
            Request::from_raw(body.bytes, &inputs(found.warm.model.schema()))?
        }
        length => Request::from_body(&body.bytes, length)?,
    };
    place(name, version, at, headers, request)
}

/// What the header says.
pub fn idempotency_key(headers: &HeaderMap) -> Result<Option<String>, Refusal> {
    let key = headers.get(IDEMPOTENCY_KEY).map(|key| key.to_str());
    let key = key
        .transpose()
        .map_err(|_| Refusal::malformed("the Idempotency-Key is visible ASCII"))?;
    Ok(key.map(str::to_owned))
}

/// Takes what the address or a header says for a parameter, which must not say otherwise.
fn say(parameters: &mut Parameters, name: &str, said: Option<String>) -> Result<(), Refusal> {
    let Some(said) = said else { return Ok(()) };
    match parameters.get(name) {
        Some(other) if !other.is_null() && *other != said.as_str() => {
            let detail =
                format!("the parameter `{name}` says otherwise than the address or the header");
            Err(Refusal::malformed(detail))
        }
        _ => {
            parameters.insert(name.to_owned(), said.into());
            Ok(())
        }
    }
}

/// Where a request goes, and the request with what its address and its headers say.
pub fn place(
    name: &str,
    version: &str,
    at: Where,
    headers: &HeaderMap,
    mut request: Request,
) -> Result<(Place, Request), Refusal> {
    say(
        &mut request.parameters,
        "idempotency_key",
        idempotency_key(headers)?,
    )?;
    say(&mut request.parameters, "environment", at.environment)?;
    let place = Place::of(name, version, request.parameters.get("environment"))?;
    Ok((place, request))
}
