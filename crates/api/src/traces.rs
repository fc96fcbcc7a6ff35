//! Traces of requests, sent to a collector as OTLP over HTTP, in its JSON form.
//!
//! One span a request: its method, its route's pattern, its status, its time and its id; nothing of what people sent. Whoever
//! calls with a `traceparent` (W3C) has the span in their trace. Our own few lines instead of a library's tree of crates:
//! the form is a page long, and every collector reads it.
//!
//! Nothing waits for a collector: spans go into a bounded queue, and what finds it full is dropped and counted.

use crate::config;
use crate::metrics::Metrics;
use axum::http::{HeaderMap, Request, header};
use bytes::Bytes;
use http_body_util::Full;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::{Value, json};
use std::io;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::sync::{mpsc, oneshot};

/// Spans that may wait; some seconds of a busy server.
const QUEUE_MAX: usize = 8_192;
/// Spans sent at once.
const BATCH_MAX: usize = 512;
/// How long the first span of a batch waits for others.
const GATHER: Duration = Duration::from_secs(1);
/// How long a collector may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// And with what is left at the end.
const LAST_PATIENCE: Duration = Duration::from_secs(2);
/// OTLP's word for a span of a server, and for one that failed.
const KIND_SERVER: u8 = 2;
const STATUS_ERROR: u8 = 2;

/// Where spans are handed in.
#[derive(Debug)]
pub struct Traces {
    spans: mpsc::Sender<Span>,
    sample: u64,
    metrics: Arc<Metrics>,
}

/// What sends them; runs beside the server.
#[derive(Debug)]
pub struct Exporter {
    spans: mpsc::Receiver<Span>,
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
    endpoint: axum::http::Uri,
    service: String,
    metrics: Arc<Metrics>,
    /// Whether the last spans were not taken.
    is_losing: bool,
}

/// One request.
#[derive(Debug, Clone)]
pub struct Span {
    place: Place,
    pub method: String,
    pub route: String,
    pub status: u16,
    pub request_id: Arc<str>,
    pub ended: SystemTime,
    pub took: Duration,
}

/// A span's place in its trace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Place {
    trace: [u8; 16],
    span: [u8; 8],
    parent: Option<[u8; 8]>,
}

/// Why traces cannot be sent at all.
#[derive(Debug, thiserror::Error)]
pub enum TracesError {
    #[error("{0:?} is no address of a collector")]
    Endpoint(String),
    #[error("the certificates of this machine cannot be read")]
    Certificates(#[from] io::Error),
}

/// Both ends, when a collector is named.
pub fn open(
    settings: &config::Traces,
    metrics: &Arc<Metrics>,
) -> Result<Option<(Traces, Exporter)>, TracesError> {
    if settings.endpoint.is_empty() {
        return Ok(None);
    }
    let endpoint = settings.endpoint.parse();
    let endpoint = endpoint.map_err(|_| TracesError::Endpoint(settings.endpoint.clone()))?;
    let connector = HttpsConnectorBuilder::new()
        .with_provider_and_native_roots(rustls::crypto::ring::default_provider())?
        .https_or_http()
        .enable_http1()
        .build();
    let (spans, waiting) = mpsc::channel(QUEUE_MAX);
    let traces = Traces {
        spans,
        sample: settings.sample_percent.min(100).into(),
        metrics: Arc::clone(metrics),
    };
    let exporter = Exporter {
        spans: waiting,
        client: Client::builder(TokioExecutor::new()).build(connector),
        endpoint,
        service: settings.service.clone(),
        metrics: Arc::clone(metrics),
        is_losing: false,
    };
    Ok(Some((traces, exporter)))
}

impl Traces {
    /// Hands a request in, if its trace is one that is kept.
    pub fn note(&self, parent: Option<&TraceParent>, span: impl FnOnce() -> Span) {
        let Some(place) = self.place(parent) else {
            return;
        };
        let span = Span { place, ..span() };
        if self.spans.try_send(span).is_err() {
            self.metrics.spans.of(&["dropped"]).add();
        }
    }

    fn place(&self, parent: Option<&TraceParent>) -> Option<Place> {
        let mut random = [0; 24];
        getrandom::fill(&mut random).ok()?;
        let (trace, span) = random.split_at(16);
        let span = span.try_into().ok()?;
        match parent {
            Some(parent) => parent.is_sampled.then_some(Place {
                trace: parent.trace,
                span,
                parent: Some(parent.span),
            }),
            None => {
                let trace: [u8; 16] = trace.try_into().ok()?;
                let dice = u64::from_be_bytes(trace[8..].try_into().ok()?) % 100;
                (dice < self.sample).then_some(Place {
                    trace,
                    span,
                    parent: None,
                })
            }
        }
    }
}

impl Exporter {
    /// Sends until it is told to stop, then what is left.
    pub async fn run(mut self, mut stop: oneshot::Receiver<()>) {
        let mut batch = Vec::with_capacity(BATCH_MAX);
        loop {
            tokio::select! {
                () = gather(&mut self.spans, &mut batch) => {}
                _ = &mut stop => break,
            }
            self.send(&batch, PATIENCE).await;
            batch.clear();
        }
        while let Ok(span) = self.spans.try_recv() {
            batch.push(span);
        }
        self.send(&batch, LAST_PATIENCE).await;
    }

    async fn send(&mut self, spans: &[Span], patience: Duration) {
        if spans.is_empty() {
            return;
        }
        let body = document(&self.service, spans).to_string();
        let request = Request::post(self.endpoint.clone())
            .header(header::CONTENT_TYPE, "application/json")
            .body(Full::new(Bytes::from(body)));
        let Ok(request) = request else { return };
        let answered = tokio::time::timeout(patience, self.client.request(request)).await;
        let is_taken = answered.is_ok_and(|answer| answer.is_ok_and(|a| a.status().is_success()));
        // Told when it begins and when it ends: a line a batch would fill the log.
        if is_taken == self.is_losing {
            self.is_losing = !is_taken;
            if self.is_losing {
                tracing::warn!(endpoint = %self.endpoint, "the collector takes no traces; they are lost");
            } else {
                tracing::info!(endpoint = %self.endpoint, "the collector takes traces again");
            }
        }
        let word = if is_taken { "sent" } else { "lost" };
        self.metrics.spans.of(&[word]).add_many(spans.len() as u64);
    }
}

impl Span {
    /// A request that has just been answered.
    pub fn ended(method: &str, route: &str, status: u16, id: &Arc<str>, took: Duration) -> Self {
        Span {
            place: Place {
                trace: [0; 16],
                span: [0; 8],
                parent: None,
            },
            method: method.to_owned(),
            route: route.to_owned(),
            status,
            request_id: Arc::clone(id),
            ended: SystemTime::now(),
            took,
        }
    }

    fn document(&self) -> Value {
        let text =
            |key: &str, value: &str| json!({ "key": key, "value": { "stringValue": value } });
        let ended = self.ended.duration_since(UNIX_EPOCH).unwrap_or_default();
        let started = ended.saturating_sub(self.took);
        let mut span = json!({
            "traceId": hex(&self.place.trace), "spanId": hex(&self.place.span),
            "name": format!("{} {}", self.method, self.route), "kind": KIND_SERVER,
            "startTimeUnixNano": started.as_nanos().to_string(), "endTimeUnixNano": ended.as_nanos().to_string(),
            "attributes": [
                text("http.request.method", &self.method), text("http.route", &self.route),
                { "key": "http.response.status_code", "value": { "intValue": self.status.to_string() } },
                text("ombud.request_id", &self.request_id),
            ],
        });
        if let Some(parent) = self.place.parent {
            span["parentSpanId"] = hex(&parent).into();
        }
        if self.status >= 500 {
            span["status"] = json!({ "code": STATUS_ERROR });
        }
        span
    }
}

/// Waits for a span, and a little for others.
async fn gather(spans: &mut mpsc::Receiver<Span>, batch: &mut Vec<Span>) {
    if spans.recv_many(batch, BATCH_MAX).await == 0 {
        // Nobody can hand anything in any more: only the end is waited for.
        return std::future::pending().await;
    }
    let more = async {
        while batch.len() < BATCH_MAX && spans.recv_many(batch, BATCH_MAX - batch.len()).await > 0 {
        }
    };
    // What does not come in time is sent with the next batch.
    let _ = tokio::time::timeout(GATHER, more).await;
}

/// The trace that a request belongs to, as its caller says in `traceparent`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TraceParent {
    trace: [u8; 16],
    span: [u8; 8],
    is_sampled: bool,
}

impl TraceParent {
    /// Reads the header; one that is malformed is as good as none.
    pub fn of(headers: &HeaderMap) -> Option<Self> {
        let text = headers.get("traceparent")?.to_str().ok()?;
        let mut parts = text.split('-');
        let (version, trace, span, flags) =
            (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
        let (version, flags) = (unhex::<1>(version)?, unhex::<1>(flags)?);
        let parent = TraceParent {
            trace: unhex(trace)?,
            span: unhex(span)?,
            is_sampled: flags[0] & 1 == 1,
        };
        let is_whole = version != [0xff] && parent.trace != [0; 16] && parent.span != [0; 8];
        is_whole.then_some(parent)
    }
}

fn document(service: &str, spans: &[Span]) -> Value {
    let spans: Vec<Value> = spans.iter().map(Span::document).collect();
    json!({ "resourceSpans": [{
        "resource": { "attributes": [
            { "key": "service.name", "value": { "stringValue": service } },
            { "key": "service.version", "value": { "stringValue": env!("CARGO_PKG_VERSION") } },
        ] },
        "scopeSpans": [{ "scope": { "name": "ombud" }, "spans": spans }],
    }] })
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let is_hex = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    if text.len() != 2 * N || !text.bytes().all(is_hex) {
        return None;
    }
    let mut bytes = [0; N];
    for (place, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&text[2 * place..2 * place + 2], 16).ok()?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;

    fn parent(text: &'static str) -> Option<TraceParent> {
        let mut headers = HeaderMap::new();
        headers.insert("traceparent", HeaderValue::from_static(text));
        TraceParent::of(&headers)
    }

    #[test]
    fn only_a_whole_traceparent_is_followed() {
        let whole = parent("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01");
        assert!(whole.is_some_and(|parent| parent.is_sampled));
        let unsampled = parent("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00");
        assert!(unsampled.is_some_and(|parent| !parent.is_sampled));
        for wrong in [
            "",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
        ] {
            assert_eq!(parent(wrong), None, "{wrong}");
        }
    }
}
