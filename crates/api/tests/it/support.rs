//! A house in a folder of its own, and a way to call it.

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, Method, Request, StatusCode, header};
use http_body_util::BodyExt;
use ombud_api::config::Config;
use ombud_api::metrics::Metrics;
use ombud_api::open::{self, Rooms};
use ombud_api::{Code, House, Kit, routes};
use ombud_store::key::NewKey;
use ombud_store::{Role, Scopes};
use serde_json::Value;
use std::sync::Arc;
use tempfile::TempDir;
use tower::ServiceExt;

/// A house that is open for one test.
pub struct Open {
    pub router: Router,
    pub house: House,
    pub password: String,
    _folder: TempDir,
}

/// What was answered.
#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Vec<u8>,
}

/// A call to be made.
pub struct Call {
    request: axum::http::request::Builder,
    body: Vec<u8>,
}

impl Open {
    pub async fn new() -> Self {
        Open::with(|_| {}).await
    }

    pub async fn with(change: impl FnOnce(&mut Config)) -> Self {
        Open::made(change, &[]).await
    }

    pub async fn with_kits(kits: &'static [Kit]) -> Self {
        Open::made(|_| {}, kits).await
    }

    async fn made(change: impl FnOnce(&mut Config), kits: &'static [Kit]) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let mut config = Config::default();
        config.storage.folder = folder.path().join("data");
        config.limits.changes_per_minute = 0;
        config.limits.reads_per_minute = 0;
        config.limits.sign_ins_per_minute = 0;
        change(&mut config);
        let metrics = Arc::new(Metrics::new());
        let lane = open::server_lane(&config).expect("a lane");
        let rooms: Rooms = open::rooms_with(&config, lane, Some(Arc::clone(&metrics)), kits)
            .await
            .expect("rooms");
        let first = open::first_start(&config, &rooms)
            .await
            .expect("a first start")
            .expect("nobody was there");
        let house = open::house(config, rooms, metrics).expect("a house");
        house.ops.tick().await.expect("what is deployed is known");
        Open {
            router: routes::router(house.clone()),
            house,
            password: first.password.to_string(),
            _folder: folder,
        }
    }

    /// A key of a role.
    pub async fn key(&self, role: Role) -> String {
        self.key_with(role, Scopes::EVERYWHERE).await
    }

    pub async fn key_with(&self, role: Role, scopes: Scopes) -> String {
        let wish = NewKey {
            prefix: ombud_store::key::fresh_prefix().unwrap(),
            label: role.to_string(),
            role,
            scopes,
            expires_us: None,
            created_by: "a test".to_owned(),
        };
        let (_, secret) = self
            .house
            .store
            .add_key(self.house.tenant(), wish, 1)
            .await
            .expect("a key");
        secret.expose().to_owned()
    }

    pub async fn call(&self, call: Call) -> Answer {
        let request = call.request.body(Body::from(call.body)).expect("a request");
        let response = self
            .router
            .clone()
            .oneshot(request)
            .await
            .expect("an answer");
        let (parts, body) = response.into_parts();
        let body = body.collect().await.expect("a body").to_bytes().to_vec();
        Answer {
            status: parts.status,
            headers: parts.headers,
            body,
        }
    }

    /// The admin's session: what a call must carry.
    pub async fn sign_in(&self) -> (String, String) {
        let call = post("/api/v1/session")
            .json(&serde_json::json!({ "login": "admin", "password": self.password }));
        let answer = self.call(call).await;
        assert_eq!(answer.status, 200, "{answer}");
        let cookie = answer.headers[header::SET_COOKIE]
            .to_str()
            .expect("text")
            .split(';')
            .next()
            .expect("a pair")
            .to_owned();
        let csrf = answer.json()["csrf"].as_str().expect("a token").to_owned();
        (cookie, csrf)
    }
}

pub fn call(method: Method, path: &str) -> Call {
    Call {
        request: Request::builder().method(method).uri(path),
        body: Vec::new(),
    }
}

pub fn get(path: &str) -> Call {
    call(Method::GET, path)
}

pub fn post(path: &str) -> Call {
    call(Method::POST, path)
}

impl Call {
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.request = self.request.header(name, value);
        self
    }

    pub fn key(self, key: &str) -> Self {
        self.header("authorization", &format!("Bearer {key}"))
    }

    pub fn json(self, body: &Value) -> Self {
        self.raw(body.to_string().into_bytes())
    }

    /// A call of gRPC with an empty message.
    pub fn grpc(self) -> Self {
        self.grpc_with(vec![0; 5])
    }

    /// A call of gRPC with a framed message.
    pub fn grpc_with(self, framed: Vec<u8>) -> Self {
        self.typed("application/grpc", framed)
    }

    pub fn typed(mut self, kind: &str, body: Vec<u8>) -> Self {
        self.body = body;
        self.header("content-type", kind)
    }

    pub fn raw(self, body: Vec<u8>) -> Self {
        self.typed("application/json", body)
    }
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {self}"))
    }

    /// That it was refused with this code, told in the words of the path's dialect.
    pub fn refused(&self, code: &str) -> Value {
        let known = Code::ALL.iter().find(|known| known.name() == code);
        let known = known.unwrap_or_else(|| panic!("{code} is no code"));
        let told = self.json();
        let status = self.status.as_u16();
        if told["error"].is_string() {
            assert_eq!(status, known.inference(), "{self}");
        } else if told["error_code"].is_string() {
            assert_eq!(
                (told["error_code"].as_str(), status),
                (Some(known.mlflow().0), known.mlflow().1),
                "{self}"
            );
        } else {
            assert_eq!(
                self.headers[header::CONTENT_TYPE],
                "application/problem+json",
                "{self}"
            );
            assert_eq!(told["code"], code, "{told}");
            assert_eq!(told["status"], status);
            assert_eq!(
                told["request_id"].as_str(),
                self.headers["x-request-id"].to_str().ok()
            );
        }
        told
    }

    /// What a refusal says, in whatever dialect.
    pub fn words(&self) -> String {
        let told: Value = serde_json::from_slice(&self.body).unwrap_or_default();
        let words = ["detail", "error", "message"].map(|field| told[field].as_str());
        words
            .into_iter()
            .flatten()
            .next()
            .unwrap_or_default()
            .to_owned()
    }
}

impl std::fmt::Display for Answer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{} {:?} {}",
            self.status,
            self.headers,
            String::from_utf8_lossy(&self.body)
        )
    }
}
