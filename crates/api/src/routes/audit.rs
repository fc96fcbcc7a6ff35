//! The ledger for auditors: records, heads, verification, export, and what was sealed.
//!
//! Nothing here can change a record. What leaves the house, and what is opened, is on record before it does; a person's id
//! never stands in a URL.

use crate::access::Right;
use crate::extract::{Json, Known, Path, Query};
use crate::house::House;
use crate::refusal::{Code, Refusal};
use crate::request::Origin;
use crate::time;
use axum::body::Body;
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json as Answer};
use bytes::Bytes;
use ombud_core::ModelName;
use ombud_ledger::ledger::Contents;
use ombud_ledger::reader::{Cursor, PAGE_RECORDS_MAX, Query as LedgerQuery};
use ombud_ledger::record::Kind;
use ombud_ledger::verify::VerifyOptions;
use ombud_ledger::{Clear, LaneName, Opened, Record, RecordId, Report};
use serde::{Deserialize, Serialize};
use serde_json::json;
use serde_json::value::RawValue;
use std::io::{self, Write};
use tokio::sync::mpsc;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

/// Chunks of an export that wait for a slow reader.
const EXPORT_CHUNKS_MAX: usize = 8;
/// How large such a chunk is.
const EXPORT_CHUNK_BYTES: usize = 256 << 10;

/// Which records.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct RecordsQuery {
    /// Only of this kind: `decision`, `refused`, `failed`, `outcome`, `sign_in`, `key_change`, `registry`, `deployment`, …
    pub kind: Option<String>,
    /// Only of this model.
    pub model: Option<String>,
    /// Only in this environment.
    pub environment: Option<String>,
    /// Not before this time.
    #[param(format = DateTime)]
    pub from: Option<String>,
    /// Before this time.
    #[param(format = DateTime)]
    pub until: Option<String>,
    /// At most this many.
    #[param(minimum = 1, maximum = 1000)]
    pub limit: Option<usize>,
    /// Where the page before said that this one begins.
    pub after: Option<String>,
}

/// A record, with what is sealed in it left sealed.
#[derive(Debug, Serialize, ToSchema)]
pub struct RecordView {
    pub id: String,
    pub lane: String,
    /// Its place in the lane, from 1.
    pub sequence: u64,
    #[schema(format = DateTime)]
    pub time: String,
    /// What it is about.
    pub kind: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// The digest of the bundle that answered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bundle: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub environment: Option<String>,
    /// The person, as a keyed hash.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// Whether an input is sealed in it.
    pub has_input: bool,
    /// What was answered.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Object)]
    pub answer: Option<Box<RawValue>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub confidence: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub latency_ms: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cache_hit: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub principal: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ip: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user_agent: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
    /// What else an act has to say.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Object)]
    pub detail: Option<Box<RawValue>>,
    /// The hash of the record before it in the lane.
    pub previous: String,
    /// Its own hash.
    pub hash: String,
}

/// A page of records, newest first.
#[derive(Debug, Serialize, ToSchema)]
pub struct RecordsView {
    pub records: Vec<RecordView>,
    /// What to send as `after` for the next page.
    pub next: Option<String>,
}

/// Why somebody looks.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Reason {
    /// In a person's words; it is recorded.
    #[schema(min_length = 1, max_length = 1000)]
    pub reason: String,
}

/// A record with what was sealed in it.
#[derive(Debug, Serialize, ToSchema)]
pub struct OpenedView {
    pub record: RecordView,
    /// `open`, `erased` or `nothing`.
    pub contents: String,
    /// What the model was given.
    #[schema(value_type = Option<Object>)]
    pub input: Option<Box<RawValue>>,
    /// Why it answered so.
    #[schema(value_type = Option<Object>)]
    pub explanation: Option<Box<RawValue>>,
}

/// What should be verified.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct VerifyWish {
    /// Only this lane.
    #[serde(default)]
    pub lane: Option<String>,
    /// Only records from this time on.
    #[serde(default)]
    #[schema(format = DateTime)]
    pub since: Option<String>,
    /// Whose checkpoints are right beside this house's own: public keys in hexadecimal, such as the one that signed before.
    #[serde(default)]
    #[schema(max_items = 100)]
    pub trust: Vec<String>,
}

/// What verification found.
#[derive(Debug, Serialize, ToSchema)]
pub struct ReportView {
    pub is_sound: bool,
    /// Records that are right.
    pub records: u64,
    /// Checkpoints that are right.
    pub checkpoints: u64,
    pub lanes: Vec<LaneView>,
    /// The first flaw of each lane.
    pub faults: Vec<String>,
}

/// A lane that was walked.
#[derive(Debug, Serialize, ToSchema)]
pub struct LaneView {
    pub lane: String,
    /// Records that are right.
    pub records: u64,
    /// How far checkpoints vouch for it.
    pub signed_until: Option<u64>,
}

/// Where every lane stands.
#[derive(Debug, Serialize, ToSchema)]
pub struct HeadsView {
    pub heads: Vec<HeadView>,
    /// The key that signs this replica's checkpoints, in hexadecimal.
    pub checkpoint_key: String,
}

/// Where a lane stands.
#[derive(Debug, Serialize, ToSchema)]
pub struct HeadView {
    pub lane: String,
    pub sequence: u64,
    pub hash: String,
}

/// What should leave the house.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ExportWish {
    /// In a person's words; it is recorded.
    #[schema(min_length = 1, max_length = 1000)]
    pub reason: String,
    /// Only records from this time on.
    #[serde(default)]
    #[schema(format = DateTime)]
    pub since: Option<String>,
}

/// The routes of this file.
pub fn router() -> OpenApiRouter<House> {
    OpenApiRouter::new()
        .routes(routes!(records))
        .routes(routes!(record))
        .routes(routes!(open))
        .routes(routes!(heads))
        .routes(routes!(verify))
        .routes(routes!(export))
}

/// Records, newest first
#[utoipa::path(get, path = "/api/v1/audit/records", tag = "audit", params(RecordsQuery), responses((status = 200, description = "A page of records.", body = RecordsView)))]
async fn records(
    State(house): State<House>,
    caller: Known,
    Query(query): Query<RecordsQuery>,
) -> Result<Answer<RecordsView>, Refusal> {
    caller.may_everywhere(Right::SeeAudit)?;
    let query = query.checked()?;
    let tenant = caller.tenant.clone();
    let page = house
        .ledger
        .read(move |reader| reader.page(&tenant, &query))
        .await?;
    Ok(Answer(RecordsView {
        records: page.records.iter().map(RecordView::from).collect(),
        next: page.next.map(cursor_text),
    }))
}

/// A record by its id
#[utoipa::path(get, path = "/api/v1/audit/records/{id}", tag = "audit", params(("id" = String, Path, description = "The record's id.")),
    responses((status = 200, description = "The record.", body = RecordView)))]
async fn record(
    State(house): State<House>,
    caller: Known,
    Path(id): Path<String>,
) -> Result<Answer<RecordView>, Refusal> {
    caller.may_everywhere(Right::SeeAudit)?;
    let id = record_id(&id)?;
    let tenant = caller.tenant.clone();
    let record = house
        .ledger
        .read(move |reader| reader.record(&tenant, &id))
        .await?;
    Ok(Answer(RecordView::from(&record)))
}

/// Open what is sealed in a record; who looked and why is recorded first
#[utoipa::path(post, path = "/api/v1/audit/records/{id}/open", tag = "audit", params(("id" = String, Path, description = "The record's id.")), request_body = Reason,
    responses((status = 200, description = "The record, opened.", body = OpenedView)))]
async fn open(
    State(house): State<House>,
    caller: Known,
    Extension(origin): Extension<Origin>,
    Path(id): Path<String>,
    Json(why): Json<Reason>,
) -> Result<Answer<OpenedView>, Refusal> {
    caller.may_everywhere(Right::OpenSealed)?;
    let id = record_id(&id)?;
    let act = origin.act(&caller.principal, why.reason);
    let opened = house
        .ledger
        .open_sealed(&caller.tenant, vec![id], act)
        .await?;
    let opened = opened.into_iter().next();
    opened
        .map(|opened| Answer(OpenedView::from(opened)))
        .ok_or_else(|| Refusal::new(Code::NotFound, "there is no such record"))
}

/// Where every lane stands
#[utoipa::path(get, path = "/api/v1/audit/heads", tag = "audit", responses((status = 200, description = "The last record of every lane.", body = HeadsView)))]
async fn heads(State(house): State<House>, caller: Known) -> Result<Answer<HeadsView>, Refusal> {
    caller.may_everywhere(Right::SeeAudit)?;
    let tenant = caller.tenant.clone();
    let heads = house
        .ledger
        .read(move |reader| reader.heads(Some(&tenant)))
        .await?;
    let view = |head: ombud_ledger::LaneHead| HeadView {
        lane: head.lane.to_string(),
        sequence: head.sequence,
        hash: head.hash.to_string(),
    };
    Ok(Answer(HeadsView {
        heads: heads.into_iter().map(view).collect(),
        checkpoint_key: house.checkpoint_key.to_string(),
    }))
}

/// Walk every chain again; large ledgers are better verified with `ombud audit verify`
#[utoipa::path(post, path = "/api/v1/audit/verify", tag = "audit", request_body = VerifyWish, responses((status = 200, description = "What was found.", body = ReportView)))]
async fn verify(
    State(house): State<House>,
    caller: Known,
    Json(wish): Json<VerifyWish>,
) -> Result<Answer<ReportView>, Refusal> {
    caller.may_everywhere(Right::SeeAudit)?;
    let lane = wish
        .lane
        .as_deref()
        .map(LaneName::new)
        .transpose()
        .map_err(|error| Refusal::malformed(error.to_string()))?;
    let mut trusted = vec![house.checkpoint_key];
    for (place, key) in wish.trust.iter().enumerate() {
        let read = key.parse().map_err(|_| {
            let path = format!("trust.{place}");
            Refusal::from(ombud_core::Fault::new(
                path,
                key,
                "64 hexadecimal digits, a public key",
            ))
        });
        trusted.push(read?);
    }
    let options = VerifyOptions {
        tenant: Some(caller.tenant.clone()),
        lane,
        since_us: time_of("since", wish.since.as_deref())?,
        trusted,
        copies: Vec::new(),
    };
    let report = house
        .ledger
        .read(move |reader| reader.verify(&options))
        .await?;
    if let (Some(lane), false) = (&wish.lane, report.is_known) {
        let words = format!("there is no lane {lane}, so nothing was verified");
        return Err(Refusal::new(Code::NotFound, words));
    }
    Ok(Answer(report.into()))
}

/// Take records out of the house, as lines that a stranger can check; recorded first
#[utoipa::path(post, path = "/api/v1/audit/export", tag = "audit", request_body = ExportWish,
    responses((status = 200, description = "One JSON object a line.", body = String, content_type = "application/x-ndjson")))]
async fn export(
    State(house): State<House>,
    caller: Known,
    Extension(origin): Extension<Origin>,
    Json(wish): Json<ExportWish>,
) -> Result<Response, Refusal> {
    caller.may_everywhere(Right::ExportAudit)?;
    if wish.reason.trim().is_empty() {
        return Err(Refusal::malformed("an export needs a reason"));
    }
    let since_us = time_of("since", wish.since.as_deref())?;
    let detail = json!({ "reason": wish.reason, "what": "ledger", "since": wish.since });
    house.record(Kind::Export, &caller, &origin, detail).await?;
    let (sender, receiver) = mpsc::channel(EXPORT_CHUNKS_MAX);
    let (written, chunks) = std::sync::mpsc::sync_channel(EXPORT_CHUNKS_MAX);
    let (reader, tenant) = (house.ledger.reader().clone(), caller.tenant.clone());
    // On a thread of its own, because a reader of PostgreSQL writes from within a runtime, where a channel of tokio's may not
    // wait.
    tokio::task::spawn_blocking(move || {
        for chunk in chunks {
            if sender.blocking_send(chunk).is_err() {
                break;
            }
        }
    });
    tokio::task::spawn_blocking(move || {
        let mut out = Chunks {
            sender: written,
            chunk: Vec::with_capacity(EXPORT_CHUNK_BYTES),
        };
        let written = reader.export(Some(&tenant), since_us, &mut out);
        // An export that broke off lacks its last line, which whoever reads it checks.
        if let Err(error) = written.map_err(io::Error::other).and_then(|_| out.flush()) {
            tracing::warn!(%error, "an export broke off");
        }
    });
    let body = Body::from_stream(Receiving(receiver));
    Ok(([(header::CONTENT_TYPE, "application/x-ndjson")], body).into_response())
}

/// Collects lines into chunks and waits for a slow reader, on a thread that may block.
struct Chunks {
    sender: std::sync::mpsc::SyncSender<Bytes>,
    chunk: Vec<u8>,
}

struct Receiving(mpsc::Receiver<Bytes>);

impl Write for Chunks {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.chunk.extend_from_slice(bytes);
        if self.chunk.len() >= EXPORT_CHUNK_BYTES {
            self.flush()?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        let chunk = Bytes::from(std::mem::take(&mut self.chunk));
        self.sender
            .send(chunk)
            .map_err(|_| io::ErrorKind::BrokenPipe.into())
    }
}

impl futures_util::Stream for Receiving {
    type Item = Result<Bytes, io::Error>;

    fn poll_next(
        mut self: std::pin::Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Self::Item>> {
        self.0.poll_recv(context).map(|chunk| chunk.map(Ok))
    }
}

impl RecordsQuery {
    fn checked(self) -> Result<LedgerQuery, Refusal> {
        let kind = |text: String| {
            text.parse::<Kind>().map_err(|_| {
                let names: Vec<&str> = Kind::ALL.iter().map(|kind| kind.as_str()).collect();
                Refusal::malformed(format!("{text:?} is no kind of record"))
                    .hint(format!("one of: {}", names.join(", ")))
            })
        };
        let model = |text: String| {
            ModelName::new(&text).map_err(|error| Refusal::malformed(error.to_string()))
        };
        Ok(LedgerQuery {
            subject: None,
            kind: self.kind.map(kind).transpose()?,
            model: self.model.map(model).transpose()?,
            environment: self.environment,
            from_us: time_of("from", self.from.as_deref())?.unwrap_or(i64::MIN),
            until_us: time_of("until", self.until.as_deref())?.unwrap_or(i64::MAX),
            after: self.after.as_deref().map(cursor_of).transpose()?,
            limit: self.limit.unwrap_or(100).clamp(1, PAGE_RECORDS_MAX),
        })
    }
}

/// Where a page begins, as its predecessor told it.
pub(super) fn cursor_of(text: &str) -> Result<Cursor, Refusal> {
    let parts = text
        .split_once('.')
        .and_then(|(time_us, position)| Some((time_us.parse().ok()?, position.parse().ok()?)));
    let (time_us, position) =
        parts.ok_or_else(|| Refusal::malformed("`after` is not what a page said in `next`"))?;
    Ok(Cursor { time_us, position })
}

/// Where the next page begins, as text.
pub(super) fn cursor_text(cursor: Cursor) -> String {
    format!("{}.{}", cursor.time_us, cursor.position)
}

/// A record's id, as it stands in a path.
pub(super) fn record_id(text: &str) -> Result<RecordId, Refusal> {
    text.parse()
        .map_err(|error: ombud_ledger::record::RecordIdError| Refusal::malformed(error.to_string()))
}

/// A time that somebody gave.
pub(super) fn time_of(name: &str, text: Option<&str>) -> Result<Option<i64>, Refusal> {
    let read = |text: &str| {
        time::parse(text).ok_or_else(|| {
            Refusal::from(ombud_core::Fault::new(
                name,
                text,
                "a time such as 2026-11-01T08:00:00Z",
            ))
        })
    };
    text.map(read).transpose()
}

fn raw(text: Option<&String>) -> Option<Box<RawValue>> {
    text.and_then(|text| RawValue::from_string(text.clone()).ok())
}

impl From<&Record> for RecordView {
    fn from(record: &Record) -> Self {
        RecordView {
            id: record.id.to_string(),
            lane: record.lane.to_string(),
            sequence: record.sequence,
            time: time::text(record.time_us),
            kind: record.kind.as_str().to_owned(),
            model: record.model.as_ref().map(ToString::to_string),
            version: record.version.map(|version| version.to_string()),
            bundle: record.bundle.as_ref().map(ToString::to_string),
            environment: record.environment.clone(),
            subject: record.subject.as_ref().map(|subject| subject.0.to_string()),
            has_input: record.sealed_input.is_some(),
            answer: raw(record.answer.as_ref()),
            confidence: record.confidence,
            latency_ms: record.latency_us.map(|micros| micros as f64 / 1e3),
            cache_hit: record.cache_hit,
            principal: record.principal.clone(),
            ip: record.ip.clone(),
            user_agent: record.user_agent.clone(),
            request_id: record.request_id.clone(),
            detail: raw(record.detail.as_ref()),
            previous: record.previous.to_string(),
            hash: record.hash.to_string(),
        }
    }
}

impl From<Opened> for OpenedView {
    fn from(opened: Opened) -> Self {
        let clear = |clear: Option<Clear>| {
            let text = clear.map(|clear| String::from_utf8_lossy(clear.expose()).into_owned());
            raw(text.as_ref())
        };
        let record = RecordView::from(&opened.record);
        let (contents, input, explanation) = match opened.contents {
            Contents::Open { input, explanation } => ("open", clear(input), clear(explanation)),
            Contents::Erased => ("erased", None, None),
            Contents::Nothing => ("nothing", None, None),
        };
        OpenedView {
            record,
            contents: contents.to_owned(),
            input,
            explanation,
        }
    }
}

impl From<Report> for ReportView {
    fn from(report: Report) -> Self {
        ReportView {
            is_sound: report.is_sound(),
            records: report.records,
            checkpoints: report.checkpoints,
            faults: report.faults.iter().map(ToString::to_string).collect(),
            lanes: report
                .lanes
                .into_iter()
                .map(|lane| LaneView {
                    lane: lane.lane,
                    records: lane.records,
                    signed_until: lane.signed_until,
                })
                .collect(),
        }
    }
}
