//! Every way a request can end without doing what it asked: one vocabulary, told over HTTP and gRPC alike.
//!
//! A [`Code`] is stable and has a page in `docs/errors/`; it alone decides the HTTP status, the gRPC code and the title. In
//! which words it is told is [`crate::dialect`]'s matter: the protocols that others wrote have words of their own.
//! Rooms below speak in classes and in errors of their own, which are turned into a [`Refusal`] here and nowhere else.
//! What the caller can mend is told; what only we can mend is logged under the request's id and not told.

use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use ombud_core::{Class, Fault};
use serde::Serialize;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;
use utoipa::ToSchema;

/// What a code's name stands behind in a problem's `type`: a name, not an address; the page is `docs/errors/CODE.md`.
pub const PAGES: &str = "urn:ombud:error:";
/// What a refusal's body is.
pub const PROBLEM_JSON: &str = "application/problem+json";

macro_rules! codes {
    ($( $(#[doc = $about:literal])+ $Code:ident: $name:literal, $status:literal, $grpc:ident, $inference:literal, $mlflow:literal, $mlflow_status:literal,
        $title:literal; )+) => {
        /// Why a request was refused; stable, with a page in `docs/errors/`.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Code { $( $(#[doc = $about])+ $Code, )+ }

        impl Code {
            /// Every code.
            pub const ALL: &'static [Code] = &[ $( Code::$Code, )+ ];

            /// The stable name.
            pub fn name(self) -> &'static str {
                match self { $( Code::$Code => $name, )+ }
            }

            /// The HTTP status.
            pub fn status(self) -> u16 {
                match self { $( Code::$Code => $status, )+ }
            }

            /// The gRPC status.
            pub fn grpc(self) -> Grpc {
                match self { $( Code::$Code => Grpc::$grpc, )+ }
            }

            /// The HTTP status where the Open Inference Protocol is spoken.
            pub fn inference(self) -> u16 {
                match self { $( Code::$Code => $inference, )+ }
            }

            /// The name and the HTTP status where MLflow's protocol is spoken; its clients branch on the name.
            pub fn mlflow(self) -> (&'static str, u16) {
                match self { $( Code::$Code => ($mlflow, $mlflow_status), )+ }
            }

            /// A short sentence, the same for every refusal of this code.
            pub fn title(self) -> &'static str {
                match self { $( Code::$Code => $title, )+ }
            }

            /// What it means and what to do.
            pub fn about(self) -> &'static str {
                match self { $( Code::$Code => concat!($($about, "\n"),+), )+ }
            }
        }
    };
}

// Name, HTTP status, gRPC code; the status where inference is spoken; the name and status where MLflow is; title.
// MLflow's clients try again for minutes after 500, 502, 503 and 504. What would fail again is told by others: a caller's
// mistake by a 4xx, ours by 501, which they take as final and which a monitor still counts as ours.
codes! {
    /// The request's body, query or path cannot be read at all: it is no JSON, a field has the wrong type, or a name is
    /// none. Read `detail`, mend the request, send it again.
    Malformed: "malformed", 400, InvalidArgument, 400, "INVALID_PARAMETER_VALUE", 400, "The request cannot be read";
    /// The request can be read, but one or more fields cannot be accepted. `errors` lists every one of them with what
    /// came, what is allowed and the nearest right name. Mend them all, send it again.
    FieldsAtFault: "fields-at-fault", 400, InvalidArgument, 400, "INVALID_PARAMETER_VALUE", 400, "Fields cannot be accepted";
    /// Nobody is known to have sent this: there is no key, session or token, or it is expired, withdrawn or unknown.
    /// Send `Authorization: Bearer omb_…`, or sign in.
    Unauthenticated: "unauthenticated", 401, Unauthenticated, 401, "UNAUTHENTICATED", 401, "Nobody is known to have sent this";
    /// You are known and may not do this. `detail` names the right that is missing; `docs/roles.md` says which roles have
    /// it, and an admin can give you one.
    Forbidden: "forbidden", 403, PermissionDenied, 403, "PERMISSION_DENIED", 403, "You may not do this";
    /// A request by a session's cookie came without its token in `x-csrf-token`, so it may come from another page.
    CrossSite: "cross-site", 403, PermissionDenied, 403, "PERMISSION_DENIED", 403, "The session's token is missing";
    /// Nothing is at this path. `openapi.json` lists every path there is.
    NoSuchRoute: "no-such-route", 404, Unimplemented, 404, "ENDPOINT_NOT_FOUND", 404, "Nothing is at this path";
    /// What was named does not exist, or is not yours to see.
    NotFound: "not-found", 404, NotFound, 404, "RESOURCE_DOES_NOT_EXIST", 404, "What was named does not exist";
    /// The path exists and does not take this method. `Allow` lists those it takes.
    MethodNotAllowed: "method-not-allowed", 405, Unimplemented, 405, "BAD_REQUEST", 405, "This path does not take this method";
    /// It exists already, changed meanwhile, or is in a state that does not allow this.
    Conflict: "conflict", 409, AlreadyExists, 409, "INVALID_STATE", 400, "It is not in a state that allows this";
    /// The same `Idempotency-Key` came with another request before. Use a new key for a new request.
    IdempotencyConflict: "idempotency-conflict", 409, FailedPrecondition, 409, "RESOURCE_CONFLICT", 409, "This key was used for another request";
    /// The version did not pass a gate of its recipe. `detail` has the numbers. Train a better one, or let an admin deploy
    /// it with `force` and a reason, which is recorded.
    GateFailed: "gate-failed", 409, FailedPrecondition, 409, "RESOURCE_CONFLICT", 409, "The version did not pass its gates";
    /// The body, the number of rows or another size is beyond its limit, which `detail` names.
    TooLarge: "too-large", 413, ResourceExhausted, 413, "BAD_REQUEST", 413, "Something is larger than its limit";
    /// The body is not of a type that this path reads. Send `Content-Type: application/json`.
    UnsupportedMediaType: "unsupported-media-type", 415, InvalidArgument, 415, "BAD_REQUEST", 415, "The body's type is not read here";
    /// Well-formed, and nothing that this server or this model does.
    Unsupported: "unsupported", 422, Unimplemented, 501, "NOT_IMPLEMENTED", 400, "This is not done here";
    /// More requests than your limit allows. `Retry-After` says when to go on, `RateLimit` what is left.
    RateLimited: "rate-limited", 429, ResourceExhausted, 429, "REQUEST_LIMIT_EXCEEDED", 429, "Too many requests";
    /// What is stored is damaged or was tampered with. Nothing was answered from it. Tell whoever runs this server.
    Corrupt: "corrupt", 500, DataLoss, 500, "DATA_LOSS", 501, "What is stored is damaged";
    /// A mistake of ours. The log has it under the request's id.
    Internal: "internal", 500, Internal, 500, "INTERNAL_ERROR", 501, "A mistake of ours";
    /// As much is being done as can be done at once. Try again after `Retry-After`.
    Busy: "busy", 503, Unavailable, 503, "TEMPORARILY_UNAVAILABLE", 503, "Too much at once";
    /// The decision's record could not be made durable, so the decision was not given. Try again after `Retry-After`;
    /// whoever runs this server should look at the ledger's disk or database.
    NotRecorded: "not-recorded", 503, Unavailable, 503, "TEMPORARILY_UNAVAILABLE", 503, "The decision could not be recorded";
    /// Something that this needs cannot be reached just now. Try again after `Retry-After`.
    Unavailable: "unavailable", 503, Unavailable, 503, "TEMPORARILY_UNAVAILABLE", 503, "Something cannot be reached just now";
    /// It took longer than a request may take.
    TimedOut: "timed-out", 504, DeadlineExceeded, 504, "DEADLINE_EXCEEDED", 504, "It took too long";
}

/// The status codes of gRPC that we use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Grpc {
    InvalidArgument = 3,
    DeadlineExceeded = 4,
    NotFound = 5,
    AlreadyExists = 6,
    PermissionDenied = 7,
    ResourceExhausted = 8,
    FailedPrecondition = 9,
    Unimplemented = 12,
    Internal = 13,
    Unavailable = 14,
    DataLoss = 15,
    Unauthenticated = 16,
}

/// A request that was refused or failed. Small, because every handler's result carries one.
#[derive(Debug, Clone)]
pub struct Refusal(Box<Told>);

#[derive(Debug, Clone)]
struct Told {
    code: Code,
    detail: String,
    hint: Option<String>,
    faults: Vec<Fault>,
    fault_count: usize,
    retry_after: Option<Duration>,
    headers: Vec<(&'static str, String)>,
    is_recorded: bool,
    is_name_taken: bool,
}

/// What a caller reads, as `application/problem+json` (RFC 9457).
#[derive(Debug, Serialize, ToSchema)]
pub struct Problem {
    /// The page of this code.
    #[serde(rename = "type")]
    pub kind: String,
    /// A short sentence, the same for every problem of this code.
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// The stable code.
    pub code: String,
    /// What is wrong this time.
    pub detail: String,
    /// What to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// Every field at fault.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<FieldProblem>,
    /// The request's id, which the log and the ledger carry too.
    pub request_id: String,
}

/// One field that cannot be accepted.
#[derive(Debug, Serialize, ToSchema)]
pub struct FieldProblem {
    /// Where, as a dotted path.
    pub path: String,
    /// What came, shortened.
    pub came: String,
    /// What would be accepted.
    pub allowed: String,
    /// The nearest right name or value, when one is close.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nearest: Option<String>,
}

impl Refusal {
    /// A refusal that says what is wrong this time.
    pub fn new(code: Code, detail: impl Into<String>) -> Self {
        Refusal(Box::new(Told {
            code,
            detail: detail.into(),
            hint: None,
            faults: Vec::new(),
            fault_count: 0,
            retry_after: None,
            headers: Vec::new(),
            is_recorded: false,
            is_name_taken: false,
        }))
    }

    /// A mistake of ours: the cause goes to the log, the caller hears only that there was one.
    pub fn internal(cause: &dyn std::error::Error) -> Self {
        tracing::error!(cause = %chain(cause), "a request failed by our mistake");
        Refusal::new(
            Code::Internal,
            "something went wrong here; the log has it under the request's id",
        )
    }

    /// A path that cannot be read.
    pub fn malformed(detail: impl Into<String>) -> Self {
        Refusal::new(Code::Malformed, detail)
    }

    /// Adds what to do.
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.0.hint = Some(hint.into());
        self
    }

    /// Adds when to try again.
    pub fn retry_after(mut self, after: Duration) -> Self {
        self.0.retry_after = Some(after);
        self
    }

    /// Adds a header.
    pub fn header(mut self, name: &'static str, value: String) -> Self {
        self.0.headers.push((name, value));
        self
    }

    /// Says that the ledger has it already.
    pub fn recorded(mut self) -> Self {
        self.0.is_recorded = true;
        self
    }

    /// Whether the ledger has it already.
    pub fn is_recorded(&self) -> bool {
        self.0.is_recorded
    }

    /// Says that what was to be made is there already.
    fn name_taken(mut self) -> Self {
        self.0.is_name_taken = true;
        self
    }

    /// The name and the HTTP status where MLflow's protocol is spoken. Its clients go on after a name that is taken, and must
    /// not after another conflict.
    pub fn mlflow(&self) -> (&'static str, u16) {
        if self.0.is_name_taken {
            return ("RESOURCE_ALREADY_EXISTS", 400);
        }
        self.code().mlflow()
    }

    /// The same, with a model called by another of its names.
    pub fn renamed(mut self, ours: &str, theirs: &str) -> Self {
        let is_of_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
        let detail = &self.0.detail;
        let mut told = String::with_capacity(detail.len());
        let mut rest = detail.as_str();
        while let Some(at) = rest.find(ours) {
            let (before, after) = (&rest[..at], &rest[at + ours.len()..]);
            let is_whole =
                !before.ends_with(is_of_name) && !after.starts_with(is_of_name) && !ours.is_empty();
            told.push_str(before);
            told.push_str(if is_whole { theirs } else { ours });
            rest = after;
            if ours.is_empty() {
                break;
            }
        }
        told.push_str(rest);
        self.0.detail = told;
        self
    }

    /// Says which row of several it is about, counted from 0.
    pub fn in_row(mut self, row: usize) -> Self {
        self.0.detail = format!("row {row}: {}", self.0.detail);
        self
    }

    /// Its code.
    pub fn code(&self) -> Code {
        self.0.code
    }

    /// What is wrong this time.
    pub fn detail(&self) -> &str {
        &self.0.detail
    }

    /// What a caller reads.
    pub fn problem(&self, request_id: &str) -> Problem {
        let told = &self.0;
        Problem {
            kind: format!("{PAGES}{}", told.code.name()),
            title: told.code.title().to_owned(),
            status: told.code.status(),
            code: told.code.name().to_owned(),
            detail: told.detail.clone(),
            hint: told.hint.clone(),
            errors: told.faults.iter().map(FieldProblem::from).collect(),
            request_id: request_id.to_owned(),
        }
    }

    /// Everything that a caller can use, in one text: for protocols whose errors are a sentence.
    pub fn sentence(&self) -> String {
        let told = &self.0;
        let mut text = told.detail.clone();
        for fault in &told.faults {
            text.push_str(&format!("; {fault}"));
        }
        if let Some(hint) = &told.hint {
            text.push_str(&format!(" ({hint})"));
        }
        text
    }

    /// What its answer's headers say, in every dialect.
    pub fn headers(&self) -> HeaderMap {
        let told = &self.0;
        let mut headers = HeaderMap::new();
        if let Some(after) = told.retry_after {
            let seconds = after.as_millis().div_ceil(1_000).max(1);
            headers.insert(
                header::RETRY_AFTER,
                HeaderValue::from(u64::try_from(seconds).unwrap_or(u64::MAX)),
            );
        }
        if told.code == Code::Unauthenticated {
            headers.insert(
                header::WWW_AUTHENTICATE,
                HeaderValue::from_static("Bearer realm=\"ombud\""),
            );
        }
        for (name, value) in &told.headers {
            if let Ok(value) = HeaderValue::from_str(value) {
                headers.insert(*name, value);
            }
        }
        headers
    }
}

/// A handler's refusal travels as an extension; the outermost layer, which knows the request's id, renders it.
impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let status =
            StatusCode::from_u16(self.code().status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = status.into_response();
        response.extensions_mut().insert(Arc::new(self));
        response
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.0.code.name(), self.0.detail)
    }
}

impl From<&Fault> for FieldProblem {
    fn from(fault: &Fault) -> Self {
        FieldProblem {
            path: fault.path.clone(),
            came: fault.came.clone(),
            allowed: fault.allowed.clone(),
            nearest: fault.nearest.clone(),
        }
    }
}

impl From<ombud_core::Refusal> for Refusal {
    fn from(refusal: ombud_core::Refusal) -> Self {
        let noun = if refusal.count == 1 {
            "field"
        } else {
            "fields"
        };
        let mut told = Refusal::new(
            Code::FieldsAtFault,
            format!("{} {noun} cannot be accepted", refusal.count),
        );
        told.0.fault_count = refusal.count;
        told.0.faults = refusal.faults;
        told
    }
}

impl From<Fault> for Refusal {
    fn from(fault: Fault) -> Self {
        ombud_core::Refusal::from(fault).into()
    }
}

impl From<ombud_ledger::Error> for Refusal {
    fn from(error: ombud_ledger::Error) -> Self {
        let after = error.retry_after_ms().map(Duration::from_millis);
        let refusal = match &error {
            ombud_ledger::Error::QueueFull { .. } => Refusal::new(Code::Busy, error.to_string()),
            ombud_ledger::Error::NotWiped { .. } => {
                Refusal::new(Code::Unavailable, error.to_string())
            }
            ombud_ledger::Error::NotRecorded { .. } | ombud_ledger::Error::Closed => {
                tracing::error!(cause = %chain(&error), "a decision could not be recorded");
                Refusal::new(
                    Code::NotRecorded,
                    "the ledger cannot be written just now, so nothing was answered",
                )
                .retry_after(Duration::from_secs(1))
            }
            _ => Refusal::of_class(error.class(), &error),
        };
        match after {
            Some(after) => refusal.retry_after(after),
            None => refusal,
        }
    }
}

impl From<ombud_store::Error> for Refusal {
    fn from(error: ombud_store::Error) -> Self {
        let refusal = match &error {
            ombud_store::Error::IdempotencyMismatch { .. } => {
                Refusal::new(Code::IdempotencyConflict, error.to_string())
            }
            ombud_store::Error::Exists { .. } => {
                Refusal::of_class(error.class(), &error).name_taken()
            }
            _ => Refusal::of_class(error.class(), &error),
        };
        match error.retry_after_ms() {
            Some(after) => refusal.retry_after(Duration::from_millis(after)),
            None => refusal,
        }
    }
}

impl From<ombud_ops::Error> for Refusal {
    fn from(error: ombud_ops::Error) -> Self {
        match error {
            ombud_ops::Error::Refused(refusal) => refusal.into(),
            ombud_ops::Error::Deploy(error) => error.into(),
            ombud_ops::Error::Store(error) => error.into(),
            ombud_ops::Error::Registry(error) => error.into(),
            ombud_ops::Error::Ledger(error) => error.into(),
            ombud_ops::Error::Row { row, source } => Refusal::from(*source).in_row(row),
            ombud_ops::Error::NotAtHand { .. } => {
                let after = error.retry_after_ms().map(Duration::from_millis);
                Refusal::new(Code::Unavailable, error.to_string())
                    .retry_after(after.unwrap_or_default())
            }
            ombud_ops::Error::CacheKeeps(_) => {
                tracing::warn!(cause = %chain(&error), "a cache did not forget");
                let after = error.retry_after_ms().map(Duration::from_millis);
                Refusal::new(Code::Unavailable, error.to_string())
                    .retry_after(after.unwrap_or_default())
            }
            error => Refusal::of_class(error.class(), &error),
        }
    }
}

impl Refusal {
    /// A refusal for an error of a room below, by its class. Its words are told when the caller can mend it.
    pub fn of_class(class: Class, error: &dyn std::error::Error) -> Self {
        let told = |code| Refusal::new(code, chain(error));
        match class {
            Class::Invalid => told(Code::Malformed),
            Class::NotFound => told(Code::NotFound),
            Class::Conflict => told(Code::Conflict),
            Class::Unauthenticated => told(Code::Unauthenticated),
            Class::Forbidden => told(Code::Forbidden),
            Class::TooLarge => told(Code::TooLarge),
            Class::Unsupported => told(Code::Unsupported),
            Class::Corrupt => {
                tracing::error!(cause = %chain(error), "something stored is damaged");
                Refusal::new(
                    Code::Corrupt,
                    "something stored is damaged; the log has it under the request's id",
                )
            }
            Class::Unavailable => {
                tracing::warn!(cause = %chain(error), "something cannot be reached");
                Refusal::new(
                    Code::Unavailable,
                    "something that this needs cannot be reached just now",
                )
                .retry_after(Duration::from_secs(1))
            }
            Class::Internal => Refusal::internal(error),
        }
    }
}

/// An error with everything that caused it, on one line.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let words = cause.to_string();
        // Transparent errors repeat their cause's words.
        if !text.ends_with(&words) {
            text.push_str(": ");
            text.push_str(&words);
        }
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_has_its_page() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/errors");
        for code in Code::ALL {
            let path = format!("{folder}/{}.md", code.name());
            let page =
                std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
            assert_eq!(
                page,
                page_of(*code),
                "write the pages again with OMBUD_WRITE_PAGES=1"
            );
        }
    }

    fn page_of(code: Code) -> String {
        let about: Vec<&str> = code.about().lines().map(str::trim).collect();
        format!(
            "# `{}`\n\n**{}** · HTTP {} · gRPC {:?} ({})\n\n{}\n",
            code.name(),
            code.title(),
            code.status(),
            code.grpc(),
            code.grpc() as u8,
            about.join("\n").trim(),
        )
    }

    /// Writes the pages when asked to; else only proves that it could.
    #[test]
    fn the_pages_can_be_written() {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/errors");
        if std::env::var_os("OMBUD_WRITE_PAGES").is_some() {
            std::fs::create_dir_all(&folder).expect("a folder");
            for code in Code::ALL {
                std::fs::write(folder.join(format!("{}.md", code.name())), page_of(*code))
                    .expect("a page");
            }
        }
        assert!(folder.is_dir());
    }

    #[test]
    fn a_mistake_of_ours_does_not_tell_its_cause() {
        let cause = std::io::Error::other("password of the database is hunter2");
        let refusal = Refusal::internal(&cause);
        assert!(!format!("{:?}", refusal.problem("r")).contains("hunter2"));
    }

    #[test]
    fn a_model_is_called_as_its_caller_calls_it() {
        let refusal = Refusal::malformed("version 1 of iris_model is not iris_model_2; iris_model");
        let told = refusal.renamed("iris_model", "Iris Model");
        assert_eq!(
            told.detail(),
            "version 1 of Iris Model is not iris_model_2; Iris Model"
        );
    }

    #[test]
    fn an_answer_to_try_again_says_when() {
        let refusal = Refusal::from(ombud_ledger::Error::QueueFull {
            retry_after_ms: 500,
        });
        assert_eq!(refusal.code().status(), 503);
        assert_eq!(refusal.headers()[header::RETRY_AFTER], "1");
    }
}
