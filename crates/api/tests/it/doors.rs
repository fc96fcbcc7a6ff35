//! What a key with scopes does not reach, what may wait at the door, and what is said of things that are not done here.

use crate::support::{Open, call, get, post};
use axum::http::Method;
use flate2::Compression;
use flate2::write::GzEncoder;
use ombud_api::Kit;
use ombud_api::access::Access;
use ombud_api::bodies::FREE_BYTES;
use ombud_api::config::value::Bytes;
use ombud_api::grpc::SERVICE;
use ombud_api::serve::Server;
use ombud_oip::Message;
use ombud_oip::messages::ModelReadyRequest;
use ombud_store::{Guest, Role, Scopes};
use serde_json::json;
use std::io::Write;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use utoipa_axum::router::OpenApiRouter;

fn scopes(text: &str) -> Scopes {
    Scopes::new(vec![text.parse().expect("a scope")]).expect("scopes")
}

#[tokio::test]
async fn an_admin_for_some_models_makes_nobody_an_admin_of_all() {
    let open = Open::new().await;
    let narrow = open
        .key_with(Role::Admin, scopes("claims@production"))
        .await;
    let key = json!({ "label": "more", "role": "admin" });
    let person = json!({ "login": "eve", "role": "admin" });
    for (method, path, body) in [
        (Method::GET, "/api/v1/keys", json!({})),
        (Method::POST, "/api/v1/keys", key),
        (Method::DELETE, "/api/v1/keys/omb_nobody", json!({})),
        (Method::GET, "/api/v1/people", json!({})),
        (Method::POST, "/api/v1/people", person),
        (
            Method::PATCH,
            "/api/v1/people/admin",
            json!({ "disabled": true }),
        ),
        (Method::POST, "/api/v1/people/admin/password", json!({})),
    ] {
        let answer = open
            .call(call(method.clone(), path).key(&narrow).json(&body))
            .await;
        answer.refused("forbidden");
        assert_eq!(
            answer.words(),
            "this key is not for everything",
            "{method} {path}"
        );
    }
    assert_eq!(
        open.house
            .store
            .people(open.house.tenant())
            .await
            .expect("people")
            .len(),
        1
    );
}

#[tokio::test]
async fn a_bad_bundle_is_its_sender_s_mistake_and_is_named() {
    let open = Open::new().await;
    let key = open.key(Role::Operator).await;
    let mut cut = GzEncoder::new(Vec::new(), Compression::fast());
    cut.write_all(&[1; 700]).expect("memory");
    let bodies = [b"no package at all".to_vec(), cut.finish().expect("memory")];
    for body in bodies {
        let answer = open.call(post("/api/v1/models").key(&key).raw(body)).await;
        answer.refused("malformed");
        let words = answer.words();
        assert!(
            words.starts_with("the bundle cannot be taken: the package"),
            "{words}"
        );
        assert!(
            !words.contains("incoming"),
            "where it lay is nobody's to know: {words}"
        );
    }
}

#[tokio::test]
async fn bodies_that_arrive_slowly_hold_no_more_than_their_budget() {
    let open = Open::with(|config| {
        config.server.listen = "127.0.0.1:0".parse().expect("an address");
        config.limits.bodies_bytes_max = Bytes(100 << 10);
    })
    .await;
    let key = open.key(Role::Caller).await;
    let server = Server::open(open.house.clone()).await.expect("a server");
    let address = server.address();
    let running = tokio::spawn(server.run(std::future::pending()));
    let head = format!(
        "POST /api/v1/models/claims/decide HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {key}\r\n\
         content-type: application/json\r\ncontent-length: 1000000\r\n\r\n"
    );
    let begin = async || {
        let mut stream = TcpStream::connect(address).await.expect("a connection");
        stream.write_all(head.as_bytes()).await.expect("written");
        let most = vec![b' '; FREE_BYTES + (60 << 10)];
        stream.write_all(&most).await.expect("written");
        stream
    };
    let first = begin().await;
    while open.house.bodies.held() < 60 << 10 {
        tokio::task::yield_now().await;
    }
    let mut second = begin().await;
    let mut said = vec![0; 2_000];
    let read = second.read(&mut said).await.expect("an answer");
    let said = String::from_utf8_lossy(&said[..read]).into_owned();
    assert!(said.starts_with("HTTP/1.1 503"), "{said}");
    assert!(
        said.contains("retry-after: 1") && said.contains("\"busy\""),
        "{said}"
    );
    assert!(open.house.bodies.held() <= 100 << 10);
    // A small question passes all the while, and whoever leaves gives back what it held.
    let small = post("/api/v1/models/claims/decide")
        .key(&key)
        .json(&json!({ "input": {} }));
    open.call(small).await.refused("not-found");
    drop((first, second));
    while open.house.bodies.held() > 0 {
        tokio::task::yield_now().await;
    }
    running.abort();
}

#[tokio::test]
async fn a_body_is_an_object_and_comes_unpacked() {
    let open = Open::new().await;
    let key = open.key(Role::Admin).await;
    let list = post("/api/v1/keys")
        .key(&key)
        .json(&json!(["made by a list", "admin", [], null]));
    let answer = open.call(list).await;
    answer.refused("malformed");
    assert_eq!(answer.words(), "the body is a JSON object");
    let packed = post("/api/v1/keys")
        .key(&key)
        .header("content-encoding", "gzip")
        .json(&json!({ "label": "x", "role": "viewer" }));
    open.call(packed).await.refused("unsupported-media-type");
}

#[tokio::test]
async fn a_question_that_cannot_be_opened_is_on_record() {
    let open = Open::new().await;
    let key = open.key(Role::Caller).await;
    let infer = || post("/v2/models/claims/infer").key(&key);
    let asked = [
        infer().header("content-encoding", "br").json(&json!({})),
        infer().header("content-encoding", "gzip").json(&json!({})),
        infer()
            .header("inference-header-content-length", "few")
            .json(&json!({})),
        post("/v2/models/claims/generate")
            .key(&key)
            .header("content-encoding", "br")
            .json(&json!({})),
        post("/v2/models/claims/infer?enviroment=staging")
            .key(&key)
            .json(&json!({})),
        post("/invocations?model=claims")
            .key(&key)
            .typed("application/x-parquet", Vec::new()),
    ];
    let count = asked.len();
    for asked in asked {
        let answer = open.call(asked).await;
        assert!(answer.status.is_client_error(), "{answer}");
    }
    let auditor = open.key(Role::Auditor).await;
    let refused = get("/api/v1/audit/records?kind=refused").key(&auditor);
    let told = open.call(refused).await.json();
    let models = told["records"].as_array().expect("a list");
    let models = models.iter().map(|record| &record["model"]);
    assert_eq!(
        models.collect::<Vec<_>>(),
        vec![&json!("claims"); count],
        "{told}"
    );
}

#[tokio::test]
async fn what_is_not_done_here_is_told_in_the_protocol_s_words() {
    let open = Open::new().await;
    for (method, path) in [
        (Method::GET, "/v2/systemsharedmemory/status"),
        (Method::POST, "/v2/cudasharedmemory/region/a/register"),
        (Method::GET, "/v2/trace/setting"),
        (Method::POST, "/v2/logging"),
    ] {
        let answer = open.call(call(method, path)).await;
        assert_eq!(answer.status, 501, "{path}: {answer}");
        assert!(answer.json()["error"].is_string(), "{path}: {answer}");
    }
}

#[tokio::test]
async fn a_misspelt_query_is_told_the_right_word() {
    let open = Open::new().await;
    let key = open.key(Role::Caller).await;
    let asked = post("/v2/models/claims/infer?enviroment=staging").key(&key);
    let answer = open.call(asked.json(&json!({}))).await;
    assert_eq!(answer.status, 400, "{answer}");
    let words = answer.words();
    assert!(words.contains("is it `environment`?"), "{words}");
}

#[tokio::test]
async fn over_grpc_a_message_that_cannot_be_read_is_on_record() {
    let open = Open::new().await;
    let key = open.key(Role::Caller).await;
    let asked = call(Method::POST, &format!("/{SERVICE}/ModelInfer"))
        .key(&key)
        .grpc_with(vec![0, 0, 0, 0, 3, 0xff, 0xff, 0xff]);
    let answer = open.call(asked).await;
    let status = answer
        .headers
        .get("grpc-status")
        .map(axum::http::HeaderValue::as_bytes);
    assert_eq!(status, Some(b"3".as_slice()), "{answer}");
    let auditor = open.key(Role::Auditor).await;
    let refused = get("/api/v1/audit/records?kind=refused").key(&auditor);
    let told = open.call(refused).await.json();
    assert_eq!(told["records"].as_array().map(Vec::len), Some(1), "{told}");
}

#[tokio::test]
async fn over_grpc_a_model_that_is_not_there_is_not_ready() {
    let open = Open::new().await;
    let key = open.key(Role::Viewer).await;
    let request = ModelReadyRequest {
        name: "nothing".to_owned(),
        ..ModelReadyRequest::default()
    };
    let message = request.encode_to_vec();
    let length = u32::try_from(message.len()).expect("a short message");
    let framed = [&[0], &length.to_be_bytes()[..], &message].concat();
    let asked = call(Method::POST, &format!("/{SERVICE}/ModelReady"))
        .key(&key)
        .grpc_with(framed);
    let answer = open.call(asked).await;
    assert_eq!(answer.headers.get("grpc-status"), None, "{answer}");
    assert_eq!(answer.body, [0; 5], "an empty message: `ready` is false");
}

#[tokio::test]
async fn rows_of_text_are_read_and_other_types_are_not() {
    let open = Open::new().await;
    let key = open.key(Role::Caller).await;
    let asked = |kind: &str| {
        post("/invocations?model=claims")
            .key(&key)
            .typed(kind, b"a\n1\n".to_vec())
    };
    open.call(asked("text/csv; charset=utf-8"))
        .await
        .refused("not-found");
    open.call(asked("application/x-parquet"))
        .await
        .refused("unsupported-media-type");
    let misspelt = post("/invocations?model=claims&enviroment=staging").key(&key);
    open.call(misspelt.json(&json!({})))
        .await
        .refused("malformed");
}

const ANONYMOUS: &[(&str, &str, Access)] = &[
    ("POST", "/answers", Access::Anonymous),
    ("POST", "/counted", Access::Public),
];

fn anonymous() -> OpenApiRouter<ombud_api::House> {
    OpenApiRouter::new()
        .route("/answers", axum::routing::post(async || "taken"))
        .route("/counted", axum::routing::post(async || "taken"))
}

#[tokio::test]
async fn when_and_how_often_somebody_answered_is_not_counted() {
    static KITS: &[Kit] = &[Kit {
        name: "answers",
        router: anonymous,
        access: ANONYMOUS,
        tables: Guest {
            name: "answers",
            migrations: &[],
        },
        jobs: &[],
        start: |_| {},
    }];
    let open = Open::with_kits(KITS).await;
    for path in ["/answers", "/counted"] {
        assert_eq!(open.call(post(path)).await.status, 200);
    }
    let metrics = open.call(get("/metrics")).await;
    let text = String::from_utf8_lossy(&metrics.body).into_owned();
    assert!(text.contains("route=\"/counted\""), "{text}");
    assert!(!text.contains("/answers"), "{text}");
}
