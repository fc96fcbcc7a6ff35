//! `POST /upload/survey-data`: answers that were gathered elsewhere, as CSV, XLSX or JSON.
//!
//! Twice the same call. The first shows what would be read: which column means what, what cannot be read, row by row; it
//! keeps nothing. It gives a `confirm` word over the file and everything that was said about it; the second call repeats
//! the file with that word, and only then is anything stored: what is stored is what was shown.

use super::{id_of, record};
use crate::hseg::intake::{left_out, take_in};
use crate::hseg::keep::organization;
use crate::hseg::upload::{Mapping, Preview, Scale, Table, preview};
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::{Extension, Json as Answer};
use bytes::Bytes;
use ombud_api::extract::{Known, Query, read_body};
use ombud_api::request::Origin;
use ombud_api::time::now_us;
use ombud_api::{Code, House, Refusal};
use ombud_core::Fault;
use serde::{Deserialize, Serialize};
use serde_json::json;
use sha2::{Digest, Sha256};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

/// Largest file; fifty thousand responses with open answers are a third of it.
const FILE_BYTES_MAX: usize = 96 << 20;

/// What is said about the file.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Said {
    organization_id: String,
    /// The campaign that the answers become.
    #[serde(default)]
    name: Option<String>,
    /// JSON: which column each field is read from, where the suggestion is wrong.
    #[serde(default)]
    mapping: Option<String>,
    /// `health` or `agreement`.
    #[serde(default)]
    ratings: Option<String>,
    /// Whether rows with problems are left out.
    #[serde(default)]
    skip_problems: bool,
    /// What the preview gave.
    #[serde(default)]
    confirm: Option<String>,
    /// `csv`, `xlsx` or `json`, where neither the name nor the content's type says so.
    #[serde(default)]
    format: Option<String>,
}

/// What would be read, or what was stored.
#[derive(Debug, Serialize, ToSchema)]
pub struct UploadView {
    /// Whether anything was stored.
    pub is_stored: bool,
    pub preview: Preview,
    /// Repeat the call with this word to store what is shown here; absent when nothing can be.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub confirm: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub campaign_id: Option<String>,
    /// The job that scores the answers; `GET /campaigns/{id}` tells how far it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub job_id: Option<String>,
    /// Answers that a file uploaded before has already; they are not taken in again, so that no two campaigns share any. Absent
    /// in a preview of what would not be taken in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub left_out: Option<usize>,
}

/// The routes of this file.
pub fn router() -> OpenApiRouter<House> {
    OpenApiRouter::new().routes(routes!(upload))
}

/// Preview a file of answers, or store what was previewed
#[utoipa::path(post, path = "/upload/survey-data", tag = "hseg", operation_id = "upload_survey_data",
    params(
        ("organization_id" = String, Query, description = "Whose answers these are."),
        ("name" = Option<String>, Query, description = "The campaign that they become. Default: `Upload` and the date."),
        ("mapping" = Option<String>, Query, description = "JSON: which column each field is read from, where the suggestion is wrong."),
        ("ratings" = Option<String>, Query, description = "`health` (4 is the healthiest; the default) or `agreement` (4 is full agreement, as respondents marked it: negative statements are turned round)."),
        ("skip_problems" = Option<bool>, Query, description = "Leave rows with problems out; where only what is said of the person is wrong, that value alone. Default: false."),
        ("confirm" = Option<String>, Query, description = "What the preview gave; stores."),
        ("format" = Option<String>, Query, description = "`csv`, `xlsx` or `json`, where the content's type does not say."),
    ),
    request_body(content = String, content_type = "text/csv", description = "The file: CSV, XLSX (`application/vnd.openxmlformats-officedocument.spreadsheetml.sheet`), JSON, or any of them as the part `file` of a form."),
    responses((status = 200, description = "What would be read; nothing was stored.", body = UploadView), (status = 202, description = "Stored; a job scores it.", body = UploadView)))]
async fn upload(
    State(house): State<House>,
    caller: Known,
    Extension(origin): Extension<Origin>,
    Query(said): Query<Said>,
    headers: HeaderMap,
    body: Body,
) -> Result<(StatusCode, Answer<UploadView>), Refusal> {
    let id = id_of(&said.organization_id, "organization_id")?;
    let organization = organization::get(&house.store, &caller.tenant, id).await?;
    let (kind, file) = file(&headers, body).await?;
    let confirm = confirm_word(&said, &file);
    let mapping = said.mapping.as_deref().map(Mapping::parse).transpose()?;
    let format = said.format.clone().or(kind);
    let skips = said.skip_problems;
    let scale = said.ratings.as_deref().map(Scale::parse).transpose()?;
    let scale = scale.unwrap_or(Scale::Health);
    let work = move || {
        let table = Table::read(&file, format.as_deref())?;
        preview(&table, mapping, organization.domain, scale)
    };
    let read = tokio::task::spawn_blocking(work).await;
    let (preview, responses) = read.map_err(|error| Refusal::internal(&error))??;
    let can_store = !responses.is_empty() && (preview.problem_rows == 0 || skips);
    let Some(word) = &said.confirm else {
        let view = UploadView {
            is_stored: false,
            confirm: can_store.then_some(confirm),
            campaign_id: None,
            job_id: None,
            left_out: left_out(&house, &caller.tenant, id, &responses).await?,
            preview,
        };
        return Ok((StatusCode::OK, Answer(view)));
    };
    if *word != confirm {
        return Err(Refusal::new(
            Code::Conflict,
            "this is not what was previewed: the file, its mapping or another word differs",
        )
        .hint("ask for the preview again and repeat the call with its `confirm`"));
    }
    if !can_store {
        let detail = format!("{} rows cannot be read", preview.problem_rows);
        return Err(Refusal::new(Code::FieldsAtFault, detail)
            .hint("mend them, or say skip_problems=true to leave out what cannot be read"));
    }
    let name = said
        .name
        .unwrap_or_else(|| format!("Upload {}", super::organizations::date(now_us())));
    let principal = &caller.principal;
    let taken = take_in(&house, &caller.tenant, principal, id, &name, responses).await?;
    let (campaign, job) = (taken.campaign.id, taken.job);
    let detail = json!({ "act": "survey-data-uploaded", "campaign": campaign.to_string(), "rows": taken.responses, "left_out": taken.left_out });
    record(&house, &caller, &origin, detail).await?;
    let view = UploadView {
        is_stored: true,
        confirm: None,
        campaign_id: Some(campaign.to_string()),
        job_id: Some(job.to_string()),
        left_out: Some(taken.left_out),
        preview,
    };
    Ok((StatusCode::ACCEPTED, Answer(view)))
}

/// The file, and what its type says it is.
async fn file(headers: &HeaderMap, body: Body) -> Result<(Option<String>, Bytes), Refusal> {
    let kind = headers
        .get(header::CONTENT_TYPE)
        .and_then(|kind| kind.to_str().ok());
    let kind = kind.unwrap_or_default().to_owned();
    let bytes = read_body(body, FILE_BYTES_MAX).await?;
    if !kind.starts_with("multipart/form-data") {
        return Ok((format_of(&kind, None), bytes));
    }
    let boundary = multer::parse_boundary(&kind)
        .map_err(|_| Refusal::malformed("the form names no boundary"))?;
    let whole = futures_util::stream::once(async move { Ok::<_, std::io::Error>(bytes) });
    let mut form = multer::Multipart::new(whole, boundary);
    let unreadable = |_| Refusal::malformed("the form cannot be read");
    while let Some(part) = form.next_field().await.map_err(unreadable)? {
        if part.name() == Some("file") {
            let kind = part
                .content_type()
                .map(ToString::to_string)
                .unwrap_or_default();
            let format = format_of(&kind, part.file_name());
            return Ok((format, part.bytes().await.map_err(unreadable)?));
        }
    }
    Err(Fault::new(
        "file",
        "a form without it",
        "the file as the form's part `file`",
    )
    .into())
}

fn format_of(kind: &str, name: Option<&str>) -> Option<String> {
    let ending = name
        .and_then(|name| name.rsplit_once('.'))
        .map(|(_, ending)| ending.to_ascii_lowercase());
    let by_name = ending.filter(|ending| matches!(ending.as_str(), "csv" | "xlsx" | "json"));
    by_name.or_else(|| {
        let word = match kind.split(';').next().unwrap_or_default().trim() {
            "text/csv" => "csv",
            "application/json" => "json",
            kind if kind.ends_with("spreadsheetml.sheet") => "xlsx",
            _ => return None,
        };
        Some(word.to_owned())
    })
}

/// A word over the file and everything that decides how it is read.
fn confirm_word(said: &Said, file: &[u8]) -> String {
    let mut hasher = Sha256::new();
    let mapping = said.mapping.as_deref().unwrap_or_default();
    let skips = if said.skip_problems { "skip" } else { "" };
    for part in [
        said.organization_id.as_bytes(),
        mapping.as_bytes(),
        skips.as_bytes(),
        said.ratings.as_deref().unwrap_or_default().as_bytes(),
        file,
    ] {
        hasher.update((part.len() as u64).to_be_bytes());
        hasher.update(part);
    }
    let digest = hasher.finalize();
    digest[..16]
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}
