//! What a client asks about the server before it asks for anything else.

use super::Told;
use crate::extract::{Known, Path};
use crate::house::House;
use crate::refusal::{Code, Refusal};
use axum::Json;
use axum::Router;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use serde_json::{Value, json};

/// The release of MLflow whose protocol this is. Later clients then leave out what came after it (traces, prompts).
const RELEASE: &str = "2.22.5";

pub fn router() -> Router<House> {
    Router::new()
        .route("/server-info", get(info))
        .route("/workspaces", get(workspaces))
        .route("/workspaces/{workspace}", get(workspace))
}

/// What is done here: workspaces are tenants; files go through the server.
async fn info() -> Json<Value> {
    Json(json!({
        "store_type": "SqlStore",
        "workspaces_enabled": true,
        "trace_archival_enabled": false,
        "multipart_uploads_enabled": false,
        "multipart_downloads_enabled": false,
    }))
}

pub async fn version() -> Response {
    ([(header::CONTENT_TYPE, "text/plain")], RELEASE).into_response()
}

/// The workspaces a caller may use: theirs.
async fn workspaces(caller: Known) -> Told {
    Ok(Json(
        json!({ "workspaces": [{ "name": caller.tenant.as_str() }] }),
    ))
}

async fn workspace(caller: Known, Path(workspace): Path<String>) -> Told {
    if workspace != caller.tenant.as_str() {
        let detail = format!("there is no workspace {workspace:?}, or it is not yours");
        return Err(Refusal::new(Code::NotFound, detail));
    }
    Ok(Json(json!({ "workspace": { "name": workspace } })))
}
