//! Triton's generate form, and the answers that MLServer and Triton stream over HTTP as server-sent events.
//!
//! Nothing here is generated word by word: an answer leaves when its record is durable, so a stream is one event, and an error
//! is a status instead of an event behind a 200. At `generate` Triton takes a row by name and MLServer tensors; both are read,
//! and each is answered in its own form.

use super::At;
use super::body::{Packing, Sent};
use super::infer::{self, InferWish};
use crate::access::Right;
use crate::extract::{Known, Path, Query};
use crate::house::House;
use crate::inference::{Place, find};
use crate::refusal::Refusal;
use crate::request::Origin;
use axum::Extension;
use axum::extract::State;
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use ombud_oip::Request;
use ombud_oip::generate::{self, Asked};
use ombud_oip::response::Body;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::time::Instant;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

const EVENTS: &str = "text/event-stream; charset=utf-8";

/// One row: a key per input of the model beside these, or tensors as for `infer`.
#[derive(Debug, Deserialize, ToSchema)]
pub struct GenerateWish {
    pub id: Option<String>,
    /// `environment`, `subject`, `idempotency_key`. Whom the row is about may stand beside the inputs too.
    #[schema(value_type = Option<Object>)]
    pub parameters: Option<Map<String, Value>>,
    #[serde(flatten)]
    #[schema(additional_properties)]
    pub row: Map<String, Value>,
}

/// One answer: a key per output of the model beside these; in the form of `infer` where tensors came.
#[derive(Debug, Serialize, ToSchema)]
pub struct GeneratedView {
    pub model_name: String,
    pub model_version: String,
    pub id: Option<String>,
    #[serde(flatten)]
    #[schema(additional_properties)]
    pub outputs: Map<String, Value>,
}

/// How a body is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Row,
    Tensors,
}

/// How an answer leaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Leaves {
    Whole,
    AsEvent,
}

/// The routes of this file.
pub fn router() -> OpenApiRouter<House> {
    OpenApiRouter::new()
        .routes(routes!(generate))
        .routes(routes!(generate_version))
        .routes(routes!(generate_stream))
        .routes(routes!(generate_stream_version))
        .routes(routes!(infer_stream))
        .routes(routes!(infer_stream_version))
}

/// Ask the deployed version about one row, by its inputs' names
#[utoipa::path(post, path = "/v2/models/{name}/generate", tag = "inference",
    params(("name" = String, Path, description = "The model's name."), ("environment" = Option<String>, Query, description = "Default: `production`.")), request_body = GenerateWish,
    responses((status = 200, description = "The answer, on record.", body = GeneratedView)))]
async fn generate(
    State(house): State<House>,
    caller: Known,
    Extension(origin): Extension<Origin>,
    Path(name): Path<String>,
    at: At,
    headers: HeaderMap,
    body: Sent,
) -> Result<Response, Refusal> {
    let asked = Question {
        model: &name,
        version: "",
        form: Form::Row,
        leaves: Leaves::Whole,
    };
    asked
        .answer(&house, &caller, &origin, at, &headers, body)
        .await
}

/// Ask a version of the deployment about one row, by its inputs' names
#[utoipa::path(post, path = "/v2/models/{name}/versions/{version}/generate", tag = "inference",
    params(("name" = String, Path, description = "The model's name."), ("version" = String, Path, description = "The version's number."), ("environment" = Option<String>, Query, description = "Default: `production`.")), request_body = GenerateWish,
    responses((status = 200, description = "The answer, on record.", body = GeneratedView)))]
async fn generate_version(
    State(house): State<House>,
    caller: Known,
    Extension(origin): Extension<Origin>,
    Path((name, version)): Path<(String, String)>,
    at: At,
    headers: HeaderMap,
    body: Sent,
) -> Result<Response, Refusal> {
    let asked = Question {
        model: &name,
        version: &version,
        form: Form::Row,
        leaves: Leaves::Whole,
    };
    asked
        .answer(&house, &caller, &origin, at, &headers, body)
        .await
}

/// Ask the deployed version about one row; the answer is an event
#[utoipa::path(post, path = "/v2/models/{name}/generate_stream", tag = "inference",
    params(("name" = String, Path, description = "The model's name."), ("environment" = Option<String>, Query, description = "Default: `production`.")), request_body = GenerateWish,
    responses((status = 200, description = "The answer as one event, on record.", body = String, content_type = "text/event-stream")))]
async fn generate_stream(
    State(house): State<House>,
    caller: Known,
    Extension(origin): Extension<Origin>,
    Path(name): Path<String>,
    at: At,
    headers: HeaderMap,
    body: Sent,
) -> Result<Response, Refusal> {
    let asked = Question {
        model: &name,
        version: "",
        form: Form::Row,
        leaves: Leaves::AsEvent,
    };
    asked
        .answer(&house, &caller, &origin, at, &headers, body)
        .await
}

/// Ask a version of the deployment about one row; the answer is an event
#[utoipa::path(post, path = "/v2/models/{name}/versions/{version}/generate_stream", tag = "inference",
    params(("name" = String, Path, description = "The model's name."), ("version" = String, Path, description = "The version's number."), ("environment" = Option<String>, Query, description = "Default: `production`.")), request_body = GenerateWish,
    responses((status = 200, description = "The answer as one event, on record.", body = String, content_type = "text/event-stream")))]
async fn generate_stream_version(
    State(house): State<House>,
    caller: Known,
    Extension(origin): Extension<Origin>,
    Path((name, version)): Path<(String, String)>,
    at: At,
    headers: HeaderMap,
    body: Sent,
) -> Result<Response, Refusal> {
    let asked = Question {
        model: &name,
        version: &version,
        form: Form::Row,
        leaves: Leaves::AsEvent,
    };
    asked
        .answer(&house, &caller, &origin, at, &headers, body)
        .await
}

/// Ask the deployed version as `infer` does; the answer is an event
#[utoipa::path(post, path = "/v2/models/{name}/infer_stream", tag = "inference",
    params(("name" = String, Path, description = "The model's name."), ("environment" = Option<String>, Query, description = "Default: `production`.")), request_body = InferWish,
    responses((status = 200, description = "The answer as one event, on record.", body = String, content_type = "text/event-stream")))]
async fn infer_stream(
    State(house): State<House>,
    caller: Known,
    Extension(origin): Extension<Origin>,
    Path(name): Path<String>,
    at: At,
    headers: HeaderMap,
    body: Sent,
) -> Result<Response, Refusal> {
    let asked = Question {
        model: &name,
        version: "",
        form: Form::Tensors,
        leaves: Leaves::AsEvent,
    };
    asked
        .answer(&house, &caller, &origin, at, &headers, body)
        .await
}

/// Ask a version of the deployment as `infer` does; the answer is an event
#[utoipa::path(post, path = "/v2/models/{name}/versions/{version}/infer_stream", tag = "inference",
    params(("name" = String, Path, description = "The model's name."), ("version" = String, Path, description = "The version's number."), ("environment" = Option<String>, Query, description = "Default: `production`.")), request_body = InferWish,
    responses((status = 200, description = "The answer as one event, on record.", body = String, content_type = "text/event-stream")))]
async fn infer_stream_version(
    State(house): State<House>,
    caller: Known,
    Extension(origin): Extension<Origin>,
    Path((name, version)): Path<(String, String)>,
    at: At,
    headers: HeaderMap,
    body: Sent,
) -> Result<Response, Refusal> {
    let asked = Question {
        model: &name,
        version: &version,
        form: Form::Tensors,
        leaves: Leaves::AsEvent,
    };
    asked
        .answer(&house, &caller, &origin, at, &headers, body)
        .await
}

struct Question<'a> {
    model: &'a str,
    version: &'a str,
    form: Form,
    leaves: Leaves,
}

impl Question<'_> {
    async fn answer(
        &self,
        house: &House,
        caller: &Known,
        origin: &Origin,
        at: At,
        headers: &HeaderMap,
        body: Sent,
    ) -> Result<Response, Refusal> {
        let started = Instant::now();
        let read = self.read(house, caller, at, headers, body).await;
        let is_row = matches!(read, Ok((_, _, Form::Row)));
        let read = read.map(|(place, request, _)| (place, request));
        let response = infer::ask(house, caller, origin, self.model, read, started).await?;
        let told = if is_row {
            serde_json::to_vec(&generate::write(&response))
        } else {
            response.to_body().map(|body| body.bytes)
        };
        let told = told.map_err(|error| Refusal::internal(&error))?;
        Ok(self.leaves.respond(told, headers))
    }

    async fn read(
        &self,
        house: &House,
        caller: &Known,
        at: At,
        headers: &HeaderMap,
        body: Sent,
    ) -> Result<(Place, Request, Form), Refusal> {
        let (Query(at), body) = (at?, body?);
        let asked = match (self.form, body.header_length) {
            (Form::Row, None) => generate::read(&body.bytes)?,
            (_, length) => Asked::Tensors(Request::from_body(&body.bytes, length)?),
        };
        let (mut request, form) = match asked {
            Asked::Tensors(request) => (request, Form::Tensors),
            // Which keys are features, the model says.
            Asked::Row(row) => {
                let named = at.environment.clone().map(Value::from);
                let named = row.parameters.get("environment").or(named.as_ref());
                let place = Place::of(self.model, self.version, named)?;
                let found = find(house, caller, Right::Decide, place).await?;
                (row.under(found.warm.model.schema())?, Form::Row)
            }
        };
        // Neither form has a place for bytes behind the JSON.
        request.is_binary = false;
        for output in &mut request.outputs {
            output.is_binary = false;
        }
        let (place, request) = infer::place(self.model, self.version, at, headers, request)?;
        Ok((place, request, form))
    }
}

impl Leaves {
    fn respond(self, told: Vec<u8>, headers: &HeaderMap) -> Response {
        match self {
            Leaves::Whole => Packing::accepted(headers).respond(Body {
                bytes: told,
                header_length: None,
            }),
            Leaves::AsEvent => {
                // JSON as it is written here has no line ends, so it is one line of an event.
                let event = [b"data: ", told.as_slice(), b"\n\n"].concat();
                let kinds = [
                    (header::CONTENT_TYPE, EVENTS),
                    (header::CACHE_CONTROL, "no-cache"),
                ];
                (kinds, event).into_response()
            }
        }
    }
}
