//! What surrounds every request: ids, headers, limits, refusals, the pages.

use crate::support::{Open, call, get, post};
use axum::http::Method;
use ombud_store::Role;
use serde_json::json;

#[tokio::test]
async fn every_answer_carries_an_id_and_tells_a_browser_to_do_little() {
    let open = Open::new().await;
    let answer = open
        .call(get("/health/live").header("x-request-id", "from-the-proxy"))
        .await;
    assert_eq!(answer.headers["x-request-id"], "from-the-proxy");
    let answer = open.call(get("/nowhere")).await;
    answer.refused("no-such-route");
    for (name, value) in [
        ("x-content-type-options", "nosniff"),
        ("x-frame-options", "DENY"),
        ("cache-control", "no-store"),
    ] {
        assert_eq!(answer.headers[name], value);
    }
    let answer = open.call(call(Method::DELETE, "/health")).await;
    answer.refused("method-not-allowed");
    assert!(
        answer.headers["allow"]
            .to_str()
            .expect("text")
            .contains("GET"),
        "{answer}"
    );
}

#[tokio::test]
async fn health_names_what_it_looked_at() {
    let open = Open::new().await;
    let answer = open.call(get("/health")).await;
    assert_eq!(answer.status, 200);
    let health = answer.json();
    assert_eq!(health["status"], "healthy");
    assert_eq!(health["services"]["ledger"], "healthy");
    assert_eq!(health["services"]["store"], "healthy");
    assert!(
        health["timestamp"]
            .as_str()
            .is_some_and(|at| at.ends_with('Z'))
            && health["version"].is_string()
    );
}

#[tokio::test]
async fn a_body_that_is_too_large_or_no_json_is_refused_before_it_is_understood() {
    let open =
        Open::with(|config| config.limits.body_bytes_max = ombud_api::config::value::Bytes(100))
            .await;
    let admin = open.key(Role::Admin).await;
    open.call(post("/api/v1/keys").key(&admin).raw(vec![b' '; 101]))
        .await
        .refused("too-large");
    let form = post("/api/v1/keys")
        .key(&admin)
        .header("content-type", "text/plain");
    open.call(form).await.refused("unsupported-media-type");
    let typo = open
        .call(
            post("/api/v1/keys")
                .key(&admin)
                .json(&json!({ "lable": "x" })),
        )
        .await;
    assert_eq!(typo.refused("malformed")["hint"], "is it `label`?");
    let wrong =
        json!({ "label": " ", "role": "admn", "scopes": ["nowhere"], "expires_at": "soon" });
    let wrong = open
        .call(post("/api/v1/keys").key(&admin).json(&wrong))
        .await;
    let errors = wrong.refused("fields-at-fault")["errors"].clone();
    let paths: Vec<_> = errors
        .as_array()
        .expect("a list")
        .iter()
        .map(|error| error["path"].as_str().unwrap_or_default())
        .collect();
    assert_eq!(paths, ["label", "role", "scopes.0", "expires_at"]);
    assert_eq!(errors[1]["nearest"], "admin");
}

#[tokio::test]
async fn a_caller_in_haste_hears_when_to_go_on() {
    let open = Open::with(|config| config.limits.reads_per_minute = 2).await;
    let key = open.key(Role::Viewer).await;
    let first = open.call(get("/api/v1/session").key(&key)).await;
    assert_eq!(
        (
            &first.headers["ratelimit-limit"],
            &first.headers["ratelimit-remaining"]
        ),
        (
            &"2".parse().expect("a value"),
            &"1".parse().expect("a value")
        )
    );
    open.call(get("/api/v1/session").key(&key)).await;
    let third = open.call(get("/api/v1/session").key(&key)).await;
    third.refused("rate-limited");
    assert_eq!(third.headers["retry-after"], "30");
}

#[tokio::test]
async fn only_the_pages_of_named_origins_may_call() {
    let open =
        Open::with(|config| config.server.cors_origins = vec!["https://app.example".to_owned()])
            .await;
    let asked = |origin: &str| {
        call(Method::OPTIONS, "/api/v1/keys")
            .header("origin", origin)
            .header("access-control-request-method", "POST")
    };
    let friend = open.call(asked("https://app.example")).await;
    assert_eq!(
        friend.headers["access-control-allow-origin"],
        "https://app.example"
    );
    let stranger = open.call(asked("https://evil.example")).await;
    assert!(
        !stranger.headers.contains_key("access-control-allow-origin"),
        "{stranger}"
    );
}

#[tokio::test]
async fn the_document_and_its_pages_come_from_here_alone() {
    let open = Open::new().await;
    let document = open.call(get("/openapi.json")).await.json();
    assert!(
        document["openapi"]
            .as_str()
            .is_some_and(|version| version.starts_with("3.1")),
        "{}",
        document["openapi"]
    );
    for path in ["/docs/", "/redoc"] {
        let page = open.call(get(path)).await;
        assert_eq!(page.status, 200, "{path}");
        let html = String::from_utf8(page.body).expect("text");
        assert!(
            !html.contains("http://") && !html.contains("https://"),
            "{path} loads from elsewhere: {html}"
        );
    }
    let script = open
        .call(get("/redoc/redoc.js").header("accept-encoding", "gzip"))
        .await;
    assert_eq!(script.headers["content-encoding"], "gzip");
    let swagger = open.call(get("/docs/swagger-ui-bundle.js")).await;
    assert_eq!(swagger.status, 200);
}

#[tokio::test]
async fn what_is_counted_names_no_person() {
    let open = Open::new().await;
    let key = open.key(Role::Viewer).await;
    open.call(get("/api/v1/people/hans.muster@example.org").key(&key))
        .await;
    open.call(get("/hans.muster@example.org").key(&key)).await;
    let text = String::from_utf8(open.call(get("/metrics")).await.body).expect("text");
    assert!(text.contains("ombud_http_requests_total"), "{text}");
    assert!(!text.contains("muster"), "{text}");
}

#[tokio::test]
async fn what_stands_before_a_handler_speaks_the_dialect_of_the_path_too() {
    let open = Open::with(|config| config.limits.reads_per_minute = 1).await;
    let stranger = open.call(get("/v2/nothing-here")).await;
    assert_eq!(stranger.status, 404);
    assert_eq!(stranger.headers["content-type"], "application/json");
    assert!(stranger.json()["error"].is_string(), "{stranger}");
    let stranger = open.call(get("/api/2.0/mlflow/nothing-here")).await;
    assert_eq!(stranger.json()["error_code"], "ENDPOINT_NOT_FOUND");
    assert!(stranger.json()["message"].is_string(), "{stranger}");
    let stranger = open
        .call(post("/nobody.Service/Call").header("content-type", "application/grpc"))
        .await;
    assert_eq!(
        (stranger.status.as_u16(), &stranger.headers["grpc-status"]),
        (200, &"12".parse().expect("a value"))
    );
}
