//! In which words a refusal is told: ours, or those of a protocol that others wrote and whose clients read nothing else.
//!
//! Chosen by the path alone and before anything else is known, so that what a limit, a missing key or a wrong path says is
//! told in the same words as what a handler says. Which status and which code a refusal has in each dialect stands in
//! [`crate::refusal`]'s one table.

use crate::refusal::{PROBLEM_JSON, Refusal};
use axum::http::{HeaderValue, Request, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

/// The words of a refusal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    /// Ours: `application/problem+json`.
    Problem,
    /// The Open Inference Protocol's, TensorFlow Serving's and MLflow scoring's: `{"error": "…"}`.
    Inference,
    /// MLflow's: `{"error_code": "…", "message": "…"}`.
    Mlflow,
    /// gRPC's: status 200, and the truth in `grpc-status` and `grpc-message`.
    Grpc,
}

/// A refusal as clients of the inference protocol read it.
#[derive(Debug, Serialize, ToSchema)]
pub struct InferenceError {
    /// What is wrong, every field at fault, and what to do.
    pub error: String,
}

/// A refusal as MLflow's clients read it.
#[derive(Debug, Serialize, ToSchema)]
pub struct MlflowError {
    /// MLflow's name for what is wrong.
    pub error_code: String,
    /// What is wrong, every field at fault, and what to do.
    pub message: String,
}

/// Where each protocol lives: a path, or the start of one up to a `/`.
const PLACES: &[(&str, Dialect)] = &[
    ("/v2", Dialect::Inference),
    ("/v1/models", Dialect::Inference),
    ("/invocations", Dialect::Inference),
    ("/ping", Dialect::Inference),
    ("/api/2.0/mlflow", Dialect::Mlflow),
    ("/api/2.0/mlflow-artifacts", Dialect::Mlflow),
    ("/api/3.0/mlflow", Dialect::Mlflow),
    ("/ajax-api", Dialect::Mlflow),
];
/// What a message of gRPC says it is, and how a longer name of it goes on.
const GRPC: &str = "application/grpc";

impl Dialect {
    /// The dialect that a request is answered in.
    pub fn of<B>(request: &Request<B>) -> Self {
        if is_grpc(request) {
            return Dialect::Grpc;
        }
        Dialect::at(request.uri().path())
    }

    /// The dialect of a path.
    pub fn at(path: &str) -> Self {
        let speaks = |start: &str| {
            path.strip_prefix(start)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        let found = PLACES.iter().find(|(start, _)| speaks(start));
        found.map_or(Dialect::Problem, |(_, dialect)| *dialect)
    }

    /// What a refusal is, and the schema of the OpenAPI document that describes it.
    pub fn described(self) -> (&'static str, &'static str) {
        match self {
            Dialect::Problem => (PROBLEM_JSON, "Problem"),
            Dialect::Inference => ("application/json", "InferenceError"),
            Dialect::Mlflow => ("application/json", "MlflowError"),
            Dialect::Grpc => (GRPC, "InferenceError"),
        }
    }

    /// The whole answer.
    pub fn tell(self, refusal: &Refusal, request_id: &str) -> Response {
        let code = refusal.code();
        let mut response = match self {
            Dialect::Problem => {
                let body = serde_json::to_vec(&refusal.problem(request_id)).unwrap_or_default();
                said(code.status(), PROBLEM_JSON, body)
            }
            Dialect::Inference => {
                let error = refusal.sentence();
                let body = serde_json::to_vec(&InferenceError { error }).unwrap_or_default();
                said(code.inference(), "application/json", body)
            }
            Dialect::Mlflow => {
                let (name, status) = refusal.mlflow();
                let told = MlflowError {
                    error_code: name.to_owned(),
                    message: refusal.sentence(),
                };
                let body = serde_json::to_vec(&told).unwrap_or_default();
                said(status, "application/json", body)
            }
            Dialect::Grpc => grpc(refusal),
        };
        for (name, value) in &refusal.headers() {
            response.headers_mut().insert(name.clone(), value.clone());
        }
        response
    }
}

/// Whether a request is a call of gRPC.
pub fn is_grpc<B>(request: &Request<B>) -> bool {
    let kind = request.headers().get(header::CONTENT_TYPE);
    kind.is_some_and(|kind| kind.as_bytes().starts_with(GRPC.as_bytes()))
}

fn said(status: u16, kind: &'static str, body: Vec<u8>) -> Response {
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    (status, [(header::CONTENT_TYPE, kind)], body).into_response()
}

/// An answer without a message: its trailers stand in the head.
fn grpc(refusal: &Refusal) -> Response {
    let mut response = said(200, GRPC, Vec::new());
    let headers = response.headers_mut();
    headers.insert(
        "grpc-status",
        HeaderValue::from(refusal.code().grpc() as u16),
    );
    if let Ok(message) = HeaderValue::from_str(&percent_encoded(&refusal.sentence())) {
        headers.insert("grpc-message", message);
    }
    response
}

/// As gRPC wants a message in a header: whatever is no plain ASCII, and `%` itself, as `%XX`.
fn percent_encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'%' | 0..0x20 | 0x7f.. => encoded.push_str(&format!("%{byte:02X}")),
            plain => encoded.push(char::from(plain)),
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::refusal::Code;
    use axum::http::HeaderMap;

    fn dialect(path: &str) -> Dialect {
        Dialect::of(&Request::builder().uri(path).body(()).expect("a request"))
    }

    #[test]
    fn a_path_is_answered_in_the_words_of_its_protocol() {
        for (path, expected) in [
            ("/v2", Dialect::Inference),
            ("/v2/models/claims/infer", Dialect::Inference),
            ("/v1/models/claims:predict", Dialect::Inference),
            ("/invocations", Dialect::Inference),
            ("/v22", Dialect::Problem),
            ("/api/2.0/mlflow/runs/create", Dialect::Mlflow),
            ("/api/2.0/mlflow-artifacts/artifacts/x", Dialect::Mlflow),
            ("/ajax-api/2.0/mlflow/runs/get", Dialect::Mlflow),
            ("/api/v1/models", Dialect::Problem),
        ] {
            assert_eq!(dialect(path), expected, "{path}");
        }
    }

    #[test]
    fn the_same_refusal_has_the_status_and_the_name_that_each_client_expects() {
        let refusal = Refusal::new(Code::Conflict, "it exists");
        let statuses = [Dialect::Problem, Dialect::Inference, Dialect::Mlflow]
            .map(|dialect| dialect.tell(&refusal, "r").status().as_u16());
        assert_eq!(statuses, [409, 409, 400]);
        let unsupported = Refusal::new(Code::Unsupported, "not here");
        assert_eq!(Dialect::Inference.tell(&unsupported, "r").status(), 501);
    }

    #[test]
    fn grpc_reads_a_refusal_from_the_head_whatever_its_words() {
        let refusal = Refusal::new(Code::NotFound, "100% »nothing«");
        let told = Dialect::Grpc.tell(&refusal, "r");
        let header = |headers: &HeaderMap, name: &str| headers[name].to_str().map(str::to_owned);
        assert_eq!(told.status(), 200);
        assert_eq!(header(told.headers(), "grpc-status").expect("text"), "5");
        assert_eq!(
            header(told.headers(), "grpc-message").expect("text"),
            "100%25 %C2%BBnothing%C2%AB"
        );
    }
}
