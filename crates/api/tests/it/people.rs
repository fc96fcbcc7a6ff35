//! People sign in, and what becomes of their sessions.

use crate::support::{Open, call, get, post};
use axum::http::{Method, StatusCode};
use ombud_ledger::reader::Query;
use ombud_ledger::record::Kind;
use serde_json::json;

#[tokio::test]
async fn a_session_s_change_needs_its_token_and_its_reading_does_not() {
    let open = Open::new().await;
    let (cookie, csrf) = open.sign_in().await;
    let who = open
        .call(get("/api/v1/session").header("cookie", &cookie))
        .await;
    assert_eq!(who.json()["principal"], "person:admin");
    let wish = json!({ "label": "x", "role": "viewer" });
    open.call(post("/api/v1/keys").header("cookie", &cookie).json(&wish))
        .await
        .refused("cross-site");
    let forged = post("/api/v1/keys")
        .header("cookie", &cookie)
        .header("x-csrf-token", "guess")
        .json(&wish);
    open.call(forged).await.refused("cross-site");
    let right = post("/api/v1/keys")
        .header("cookie", &cookie)
        .header("x-csrf-token", &csrf)
        .json(&wish);
    assert_eq!(open.call(right).await.status, StatusCode::CREATED);
}

#[tokio::test]
async fn a_session_s_cookie_is_out_of_reach_of_scripts_and_other_pages() {
    let open =
        Open::with(|config| config.server.public_url = "https://ombud.example".to_owned()).await;
    let body = json!({ "login": "admin", "password": open.password });
    let answer = open.call(post("/api/v1/session").json(&body)).await;
    let cookie = answer.headers["set-cookie"].to_str().expect("text");
    for part in ["HttpOnly", "SameSite=Strict", "Secure", "Path=/"] {
        assert!(cookie.contains(part), "{cookie}");
    }
}

#[tokio::test]
async fn a_wrong_password_and_an_unknown_login_are_told_alike_and_both_are_on_record() {
    let open = Open::new().await;
    let mut told = Vec::new();
    for login in ["admin", "nobody"] {
        let answer = open
            .call(
                post("/api/v1/session")
                    .json(&json!({ "login": login, "password": "wrong wrong wrong" })),
            )
            .await;
        told.push(answer.refused("unauthenticated")["detail"].clone());
    }
    assert_eq!(told[0], told[1]);
    let query = Query {
        kind: Some(Kind::SignIn),
        ..Query::default()
    };
    let tenant = open.house.tenant().clone();
    let page = open
        .house
        .ledger
        .read(move |reader| reader.page(&tenant, &query))
        .await
        .expect("a page");
    assert_eq!(page.records.len(), 2);
    assert!(page.records.iter().all(|record| {
        record
            .detail
            .as_deref()
            .is_some_and(|detail| detail.contains("refused"))
    }));
}

#[tokio::test]
async fn a_given_password_must_be_replaced_before_anything_else() {
    let open = Open::new().await;
    let (cookie, csrf) = open.sign_in().await;
    let as_admin = |asked: crate::support::Call| {
        asked
            .header("cookie", &cookie)
            .header("x-csrf-token", &csrf)
    };
    let made = open
        .call(as_admin(
            post("/api/v1/people").json(&json!({ "login": "ada", "role": "auditor" })),
        ))
        .await;
    assert_eq!(made.status, StatusCode::CREATED, "{made}");
    let given = made.json()["password"]
        .as_str()
        .expect("a password")
        .to_owned();

    let in_ = open
        .call(post("/api/v1/session").json(&json!({ "login": "ada", "password": given })))
        .await;
    assert_eq!(in_.json()["must_change_password"], true);
    let cookie_of = |answer: &crate::support::Answer| {
        let cookie = answer.headers["set-cookie"]
            .to_str()
            .expect("text")
            .split(';')
            .next()
            .expect("a pair")
            .to_owned();
        (
            cookie,
            answer.json()["csrf"].as_str().expect("a token").to_owned(),
        )
    };
    let (ada, token) = cookie_of(&in_);
    let change = call(Method::PUT, "/api/v1/session/password")
        .header("cookie", &ada)
        .header("x-csrf-token", &token);
    let changed = open
        .call(change.json(&json!({ "current": given, "new": "a much better one" })))
        .await;
    assert_eq!(changed.status, StatusCode::NO_CONTENT, "{changed}");
    open.call(get("/api/v1/session").header("cookie", &ada))
        .await
        .refused("unauthenticated");
    let again = open
        .call(
            post("/api/v1/session")
                .json(&json!({ "login": "ada", "password": "a much better one" })),
        )
        .await;
    assert_eq!(again.json()["must_change_password"], false);
}

#[tokio::test]
async fn whoever_is_shut_out_is_out_at_once() {
    let open = Open::new().await;
    let (cookie, csrf) = open.sign_in().await;
    let as_admin = |asked: crate::support::Call| {
        asked
            .header("cookie", &cookie)
            .header("x-csrf-token", &csrf)
    };
    let made = open
        .call(as_admin(
            post("/api/v1/people").json(&json!({ "login": "bob", "role": "viewer" })),
        ))
        .await;
    let body = json!({ "login": "bob", "password": made.json()["password"] });
    let in_ = open.call(post("/api/v1/session").json(&body)).await;
    let bob = in_.headers["set-cookie"]
        .to_str()
        .expect("text")
        .split(';')
        .next()
        .expect("a pair")
        .to_owned();
    assert_eq!(
        open.call(get("/api/v1/session").header("cookie", &bob))
            .await
            .status,
        200
    );
    let out = open
        .call(as_admin(
            call(Method::PATCH, "/api/v1/people/bob").json(&json!({ "disabled": true })),
        ))
        .await;
    assert_eq!(out.status, 200, "{out}");
    open.call(get("/api/v1/session").header("cookie", &bob))
        .await
        .refused("unauthenticated");
    open.call(post("/api/v1/session").json(&body))
        .await
        .refused("unauthenticated");
    let self_ = open
        .call(as_admin(
            call(Method::PATCH, "/api/v1/people/admin").json(&json!({ "role": "viewer" })),
        ))
        .await;
    self_.refused("conflict");
}

#[tokio::test]
async fn sign_ins_from_one_address_are_limited() {
    let open = Open::with(|config| config.limits.sign_ins_per_minute = 2).await;
    let wrong = || {
        post("/api/v1/session").json(&json!({ "login": "admin", "password": "wrong wrong wrong" }))
    };
    for _ in 0..2 {
        open.call(wrong()).await.refused("unauthenticated");
    }
    let answer = open.call(wrong()).await;
    answer.refused("rate-limited");
    assert!(
        answer.headers.contains_key("retry-after")
            && answer.headers.contains_key("ratelimit-limit"),
        "{answer}"
    );
}
