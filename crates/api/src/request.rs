//! What surrounds every request: its id, where it came from, its time, its headers, its line in the log.
//!
//! [`surround`] is the outermost layer. It alone tells a refusal, because it alone knows the request's id and the dialect of
//! its path, and it alone decides what a browser may do with an answer. `admit` bounds how many requests are at work and how long.

use crate::access::{Access, Caller};
use crate::dialect::Dialect;
use crate::house::{House, Noted};
use crate::refusal::{Code, Refusal};
use crate::routes::access_of;
use crate::time::now_us;
use crate::traces::{Span, TraceParent};
use axum::body::Body;
use axum::extract::{ConnectInfo, MatchedPath, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use ombud_ledger::{Act, RecordId};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Longest request id that a client may bring.
const REQUEST_ID_LENGTH_MAX: usize = 64;
/// How much of a client's description of itself is kept.
const USER_AGENT_LENGTH_MAX: usize = 200;
/// How much longer than other requests the arrival of a file may take.
const UPLOAD_PATIENCE: u32 = 60;
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Where a request came from.
#[derive(Debug, Clone)]
pub struct Origin {
    /// The id that the log, the ledger and the answer carry.
    pub request_id: Arc<str>,
    /// The client's address.
    pub ip: Option<IpAddr>,
    /// What the client calls itself.
    pub user_agent: Option<Arc<str>>,
    /// When its head had arrived.
    pub started: Instant,
    /// What its answer's headers and its line will say.
    pub noted: Noted,
}

impl Origin {
    /// The client's address as text.
    pub fn ip_text(&self) -> Option<String> {
        self.ip.map(|ip| ip.to_string())
    }

    /// The client's description of itself, as text.
    pub fn user_agent_text(&self) -> Option<String> {
        self.user_agent.as_deref().map(str::to_owned)
    }

    /// Who asks, as the room below records it.
    pub fn caller(&self, caller: &Caller) -> ombud_ops::Caller {
        ombud_ops::Caller {
            principal: caller.principal.to_string(),
            ip: self.ip_text(),
            user_agent: self.user_agent_text(),
            request_id: Some(self.request_id.to_string()),
        }
    }

    /// Who does something to the ledger, when, from where and why.
    pub fn act(&self, principal: &str, reason: String) -> Act {
        Act {
            time_us: now_us(),
            reason,
            principal: Some(principal.to_owned()),
            ip: self.ip_text(),
            user_agent: self.user_agent_text(),
            request_id: Some(self.request_id.to_string()),
        }
    }
}

/// Gives a request its id and its origin, and its answer a body, headers, a count and a line.
pub async fn surround(
    State(house): State<House>,
    mut request: Request<Body>,
    next: Next,
) -> Response {
    let origin = origin_of(&house, &request);
    let dialect = Dialect::of(&request);
    let method = request.method().clone();
    let route = request.extensions().get::<MatchedPath>().cloned();
    let noted = origin.noted.clone();
    let parent = house
        .traces
        .as_ref()
        .and_then(|_| TraceParent::of(request.headers()));
    request.extensions_mut().insert(origin.clone());
    request.extensions_mut().insert(noted.clone());
    let held = house.metrics.in_flight.hold();
    let mut response = cross_origin(&house, request, next).await;
    drop(held);
    let route = route.as_ref().map_or("none", MatchedPath::as_str);
    let access = access_of(house.kits, method.as_str(), route);
    let is_anonymous = access == Some(Access::Anonymous);
    if let Some(refusal) = response.extensions().get::<Arc<Refusal>>().cloned() {
        // Its moment would tell as much as the line below.
        if !is_anonymous {
            let caller = noted.caller().map(Arc::as_ref);
            house.note_refusal(caller, &origin, route, &refusal).await;
        }
        let rendered = dialect.tell(&refusal, &origin.request_id);
        let headers = std::mem::take(response.headers_mut());
        response = rendered;
        for (name, value) in &headers {
            if name != header::CONTENT_LENGTH && name != header::CONTENT_TYPE {
                response.headers_mut().append(name, value.clone());
            }
        }
    }
    if let Some(allowance) = noted.allowance() {
        for (name, value) in allowance.headers() {
            if let Ok(value) = HeaderValue::from_str(&value) {
                response.headers_mut().entry(name).or_insert(value);
            }
        }
    }
    secure(response.headers_mut(), house.is_encrypted());
    if let Ok(id) = HeaderValue::from_str(&origin.request_id) {
        response.headers_mut().insert(REQUEST_ID, id);
    }
    // When somebody opened or answered a survey, and how long they thought, tells who it was to whoever saw them do it: a line
    // per call with its time, or a counter that moved between two scrapes, would undo what the route promises. Neither is kept.
    if is_anonymous {
        return response;
    }
    let took = origin.started.elapsed();
    let status = response.status();
    house
        .metrics
        .requests
        .of(&[route, method.as_str(), status.as_str()])
        .add();
    house.metrics.request_seconds.of(&[route]).time(took);
    if let Some(traces) = &house.traces {
        let id = &origin.request_id;
        traces.note(parent.as_ref(), || {
            Span::ended(method.as_str(), route, status.as_u16(), id, took)
        });
    }
    if house.config.log.requests {
        let (request_id, status) = (&*origin.request_id, status.as_u16());
        tracing::info!(%method, route, status, took_us = took.as_micros() as u64, request_id, "request");
    }
    response
}

/// Lets a request in when there is room, and ends it when its time is over.
async fn admit(house: &House, mut request: Request<Body>, next: Next) -> Response {
    let Ok(_place) = house.places.try_acquire() else {
        house.metrics.limited.of(&["requests"]).add();
        return Refusal::new(Code::Busy, "as many requests as may be are at work")
            .retry_after(Duration::from_secs(1))
            .into_response();
    };
    if !is_streamed(&request) {
        let (parts, body) = request.into_parts();
        let (body, holding) = house.bodies.count(body);
        request = Request::from_parts(parts, body);
        request.extensions_mut().insert(holding);
    }
    let mut patience = Duration::from_secs(house.config.server.request_seconds.0);
    if is_upload(&request) {
        patience *= UPLOAD_PATIENCE;
    }
    match tokio::time::timeout(patience, next.run(request)).await {
        Ok(response) => response,
        Err(_) => {
            house.metrics.limited.of(&["time"]).add();
            let detail = format!(
                "a request may take {} s, its body's arrival included",
                patience.as_secs()
            );
            Refusal::new(Code::TimedOut, detail).into_response()
        }
    }
}

/// A file may be large and come slowly; whoever reads it asks that it keeps coming.
fn is_upload(request: &Request<Body>) -> bool {
    request.method() == Method::PUT
        && request
            .uri()
            .path()
            .contains(crate::routes::mlflow::FILES_PART)
}

/// Whether the body goes to a disk piece by piece, and never waits in memory.
fn is_streamed(request: &Request<Body>) -> bool {
    let is_bundle = request.method() == Method::POST
        && request.uri().path() == crate::routes::registry::MODELS_PATH;
    is_bundle || is_upload(request)
}

/// Lets the pages of named origins call, and answers their browsers' questions before a call.
async fn cross_origin(house: &House, request: Request<Body>, next: Next) -> Response {
    let origin = request.headers().get(header::ORIGIN).cloned();
    let allowed = origin.filter(|origin| {
        house
            .config
            .server
            .cors_origins
            .iter()
            .any(|named| named.as_bytes() == origin.as_bytes())
    });
    let Some(allowed) = allowed else {
        return admit(house, request, next).await;
    };
    let is_question = request.method() == Method::OPTIONS
        && request
            .headers()
            .contains_key(header::ACCESS_CONTROL_REQUEST_METHOD);
    let mut response = if is_question {
        StatusCode::NO_CONTENT.into_response()
    } else {
        Box::pin(admit(house, request, next)).await
    };
    let headers = response.headers_mut();
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, allowed);
    headers.append(header::VARY, HeaderValue::from_static("origin"));
    headers.insert(
        header::ACCESS_CONTROL_EXPOSE_HEADERS,
        HeaderValue::from_static(
            "x-request-id, retry-after, ratelimit-limit, ratelimit-remaining, ratelimit-reset",
        ),
    );
    headers.insert(
        HeaderName::from_static("cross-origin-resource-policy"),
        HeaderValue::from_static("cross-origin"),
    );
    if is_question {
        headers.insert(
            header::ACCESS_CONTROL_ALLOW_METHODS,
            HeaderValue::from_static("GET, POST, PUT, PATCH, DELETE"),
        );
        headers.insert(
            header::ACCESS_CONTROL_ALLOW_HEADERS,
            HeaderValue::from_static(
                "authorization, content-type, idempotency-key, x-api-key, x-request-id",
            ),
        );
        headers.insert(
            header::ACCESS_CONTROL_MAX_AGE,
            HeaderValue::from_static("600"),
        );
    }
    response
}

/// What is told at a path where nothing is.
pub async fn no_such_route() -> Refusal {
    Refusal::new(Code::NoSuchRoute, "nothing is at this path")
        .hint("/openapi.json lists every path there is")
}

/// What is told when a path does not take a method.
pub async fn method_not_allowed() -> Refusal {
    Refusal::new(
        Code::MethodNotAllowed,
        "this path does not take this method",
    )
}

fn origin_of(house: &House, request: &Request<Body>) -> Origin {
    let headers = request.headers();
    let given = headers
        .get(REQUEST_ID)
        .and_then(|value| value.to_str().ok())
        .filter(|id| is_request_id(id));
    let request_id = match given {
        Some(given) => Arc::from(given),
        // Without randomness there is no id; the request itself can still be answered.
        None => RecordId::generate(now_us())
            .map_or_else(|_| Arc::from("none"), |id| Arc::from(id.to_string())),
    };
    let peer = request
        .extensions()
        .get::<ConnectInfo<SocketAddr>>()
        .map(|info| info.0.ip());
    let user_agent = headers
        .get(header::USER_AGENT)
        .and_then(|value| value.to_str().ok());
    Origin {
        request_id,
        ip: peer.map(|peer| house.believed(peer, headers)),
        user_agent: user_agent
            .map(|text| Arc::from(text.get(..USER_AGENT_LENGTH_MAX).unwrap_or(text))),
        started: Instant::now(),
        noted: Noted::default(),
    }
}

/// The client behind a proxy that is trusted: the last address in `X-Forwarded-For` that is no trusted proxy itself.
pub(crate) fn client_behind(trusted: &[IpAddr], peer: IpAddr, headers: &HeaderMap) -> IpAddr {
    if !trusted.contains(&peer) {
        return peer;
    }
    let forwarded = headers
        .get_all("x-forwarded-for")
        .iter()
        .filter_map(|value| value.to_str().ok());
    let hops: Vec<IpAddr> = forwarded
        .flat_map(|value| value.split(','))
        .filter_map(|hop| hop.trim().parse().ok())
        .collect();
    hops.into_iter()
        .rev()
        .find(|hop| !trusted.contains(hop))
        .unwrap_or(peer)
}

fn is_request_id(id: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    !id.is_empty() && id.len() <= REQUEST_ID_LENGTH_MAX && id.bytes().all(is_plain)
}

/// What a browser may do with an answer: as little as possible, unless a page said otherwise.
fn secure(headers: &mut HeaderMap, is_encrypted: bool) {
    let fixed = [
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::CACHE_CONTROL, "no-store"),
        (
            header::CONTENT_SECURITY_POLICY,
            "default-src 'none'; frame-ancestors 'none'",
        ),
        (
            HeaderName::from_static("cross-origin-resource-policy"),
            "same-origin",
        ),
    ];
    headers.reserve(fixed.len() + 2);
    for (name, value) in fixed {
        headers
            .entry(name)
            .or_insert(HeaderValue::from_static(value));
    }
    if is_encrypted {
        headers.insert(
            header::STRICT_TRANSPORT_SECURITY,
            HeaderValue::from_static("max-age=31536000"),
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_trusted_proxy_is_believed_about_who_called() {
        let address = |text: &str| text.parse::<IpAddr>().expect("an address");
        let mut headers = HeaderMap::new();
        headers.insert(
            "x-forwarded-for",
            HeaderValue::from_static("1.1.1.1, 9.9.9.9, 10.0.0.2"),
        );
        let trusted = [address("10.0.0.1"), address("10.0.0.2")];
        assert_eq!(
            client_behind(&trusted, address("10.0.0.1"), &headers),
            address("9.9.9.9")
        );
        assert_eq!(
            client_behind(&trusted, address("8.8.8.8"), &headers),
            address("8.8.8.8")
        );
    }

    #[test]
    fn a_request_id_that_could_forge_a_log_line_is_not_taken() {
        assert!(is_request_id("a-1_2.B"));
        for wrong in ["", "a b", "a\nb", &"x".repeat(65)] {
            assert!(!is_request_id(wrong), "{wrong:?}");
        }
    }
}
