//! Files of runs and models, through the server: up, down, listed, removed.
//!
//! A file is streamed both ways, so its size costs disk and no memory. What it holds is nobody's business here. Files of a
//! registered version stay as they are: who registered them, and who loads them, must mean the same.

use super::asked::Asked;
use super::{Told, nothing, views};
use crate::access::Right;
use crate::extract::{Known, Path};
use crate::house::House;
use crate::refusal::{Code, Refusal};
use axum::Json;
use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use futures_util::{StreamExt, TryStreamExt};
use ombud_store::FilePath;
use ombud_store::depot::{Chunks, FilePathError};
use ombud_store::tracking::logged_model::path_here;
use serde_json::json;
use std::io;
use std::time::Duration;

/// How an answer begins after which a client sends a large file in one piece.
const NO_PARTS: &str = "Multipart upload is not supported for the current artifact repository";
/// How long the next piece of a file may take.
const PIECE_WAIT: Duration = Duration::from_secs(30);

pub fn router() -> Router<House> {
    Router::new()
        .route("/artifacts", get(list))
        .route(
            "/artifacts/{*path}",
            get(download).put(upload).delete(remove),
        )
        .route("/mpu/create/{*path}", post(refuse_parts))
}

/// A file comes in one piece, and is streamed.
async fn refuse_parts(caller: Known) -> Told {
    caller.may_everywhere(Right::LogRuns)?;
    Err(Refusal::new(Code::Unsupported, NO_PARTS))
}

async fn upload(
    State(house): State<House>,
    caller: Known,
    Path(path): Path<String>,
    request: Request,
) -> Told {
    caller.may_everywhere(Right::LogRuns)?;
    let path = file_path(&path)?;
    house.store.refuse_put(&caller.tenant, &path).await?;
    let bytes_max = house.config.limits.artifact_bytes_max.0 as u64;
    let too_large = || {
        let detail = format!("a file may have {bytes_max} bytes (`limits.artifact_bytes_max`)");
        Refusal::new(Code::TooLarge, detail)
    };
    let announced = request
        .headers()
        .get(header::CONTENT_LENGTH)
        .and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    if announced.is_some_and(|bytes| bytes > bytes_max) {
        return Err(too_large());
    }
    let chunks = bounded(request.into_body(), bytes_max);
    match house.depot.put(&caller.tenant, &path, chunks).await {
        Ok(_) => nothing(),
        Err(ombud_store::ArtifactError::Stream(error)) => Err(match error.kind() {
            io::ErrorKind::FileTooLarge => too_large(),
            _ => Refusal::malformed("the file did not arrive whole"),
        }),
        Err(error) => Err(of(error)),
    }
}

/// A body that ends when it is too long or its next piece takes too long.
fn bounded(body: Body, bytes_max: u64) -> Chunks {
    let mut seen = 0;
    let pieces = Box::pin(body.into_data_stream());
    let timed = futures_util::stream::unfold(pieces, |mut pieces| async move {
        match tokio::time::timeout(PIECE_WAIT, pieces.next()).await {
            Ok(None) => None,
            Ok(Some(piece)) => Some((piece.map_err(io::Error::other), pieces)),
            Err(_) => Some((Err(io::ErrorKind::TimedOut.into()), pieces)),
        }
    });
    Box::pin(timed.map(move |piece| {
        let piece = piece?;
        seen += piece.len() as u64;
        if seen > bytes_max {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        Ok(piece.to_vec())
    }))
}

async fn download(
    State(house): State<House>,
    caller: Known,
    Path(path): Path<String>,
) -> Result<Response, Refusal> {
    caller.may_everywhere(Right::SeeRuns)?;
    let path = file_path(&path)?;
    let found = house.depot.get(&caller.tenant, &path).await.map_err(of)?;
    let Some((bytes, chunks)) = found else {
        let detail = format!("there is no file {:?}", path.as_str());
        return Err(Refusal::new(Code::NotFound, detail));
    };
    let headers = [
        (header::CONTENT_TYPE, "application/octet-stream".to_owned()),
        (header::CONTENT_DISPOSITION, "attachment".to_owned()),
        (header::CONTENT_LENGTH, bytes.to_string()),
    ];
    let body = Body::from_stream(chunks.map_ok(bytes::Bytes::from));
    Ok((headers, body).into_response())
}

async fn remove(State(house): State<House>, caller: Known, Path(path): Path<String>) -> Told {
    caller.may_everywhere(Right::LogRuns)?;
    // A folder is called with a stroke at its end.
    let path = file_path(path.trim_end_matches('/'))?;
    house.store.refuse_removal(&caller.tenant, &path).await?;
    house
        .depot
        .remove(&caller.tenant, &path)
        .await
        .map_err(of)?;
    nothing()
}

async fn list(State(house): State<House>, caller: Known, asked: Asked) -> Told {
    caller.may_everywhere(Right::SeeRuns)?;
    let path = match asked.text_or_empty("path")?.trim_matches('/') {
        "" => None,
        path => Some(file_path(path)?),
    };
    let entries = house
        .depot
        .list(&caller.tenant, path.as_ref())
        .await
        .map_err(of)?;
    Ok(Json(json!({ "files": views::files(&entries, "") })))
}

pub async fn list_of_run(State(house): State<House>, caller: Known, asked: Asked) -> Told {
    caller.may_everywhere(Right::SeeRuns)?;
    let root = house
        .store
        .run_artifact_uri(&caller.tenant, asked.run()?)
        .await?;
    list_below(&house, &caller, &root, asked.text_or_empty("path")?).await
}

pub async fn list_of_model(
    State(house): State<House>,
    caller: Known,
    Path(id): Path<String>,
    asked: Asked,
) -> Told {
    caller.may_everywhere(Right::SeeRuns)?;
    let model = house.store.logged_model(&caller.tenant, &id).await?;
    let path = asked.text_or_empty("artifact_directory_path")?;
    list_below(&house, &caller, &model.artifact_uri, path).await
}

/// What lies below a root; nothing when the root is elsewhere, where only the client reaches.
async fn list_below(house: &House, caller: &Known, root: &str, path: &str) -> Told {
    let path = path.trim_matches('/');
    let Some(here) = path_here(root) else {
        return Ok(Json(json!({ "root_uri": root, "files": [] })));
    };
    let folder = if path.is_empty() {
        file_path(here)?
    } else {
        file_path(&format!("{here}/{path}"))?
    };
    let entries = house
        .depot
        .list(&caller.tenant, Some(&folder))
        .await
        .map_err(of)?;
    Ok(Json(
        json!({ "root_uri": root, "files": views::files(&entries, path) }),
    ))
}

fn file_path(text: &str) -> Result<FilePath, Refusal> {
    FilePath::new(text)
        .map_err(|error: FilePathError| Refusal::malformed(format!("Invalid path: {error}")))
}

fn of(error: ombud_store::ArtifactError) -> Refusal {
    Refusal::of_class(error.class(), &error)
}
