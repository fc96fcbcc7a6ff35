//! Requests that were turned away at the door are on record, and nobody fills the ledger with them.

use crate::support::{Open, get, post};
use ombud_ledger::{Kind, Query, Record};
use ombud_store::Role;
use serde_json::{Value, json};

/// Records of refusals, oldest first, each with its detail.
async fn refused(open: &Open) -> Vec<(Record, Value)> {
    let tenant = open.house.tenant().clone();
    let query = Query {
        kind: Some(Kind::Refused),
        limit: 100,
        ..Query::default()
    };
    let page = open
        .house
        .ledger
        .read(move |reader| reader.page(&tenant, &query))
        .await
        .expect("a page");
    let read = |record: Record| {
        let detail = serde_json::from_str(record.detail.as_deref().expect("a detail"));
        (record, detail.expect("JSON"))
    };
    page.records.into_iter().rev().map(read).collect()
}

#[tokio::test]
async fn a_wrong_key_is_on_record_once_and_then_counted() {
    let open = Open::new().await;
    let secret = "omb_0123456789abcdef0123456789abcdef0123456789abcdef";
    let mut ids = Vec::new();
    for _ in 0..5 {
        let answer = open.call(get("/api/v1/models").key(secret)).await;
        let problem = answer.refused("unauthenticated");
        ids.push(problem["request_id"].as_str().expect("an id").to_owned());
    }
    let told = refused(&open).await;
    assert_eq!(told.len(), 1);
    let (first, detail) = &told[0];
    assert_eq!(first.request_id.as_deref(), Some(&*ids[0]));
    assert_eq!(first.principal, None);
    assert_eq!(
        *detail,
        json!({ "code": "unauthenticated", "route": "/api/v1/models" })
    );
    open.house.sum_up_refusals(i64::MAX).await;
    let told = refused(&open).await;
    assert_eq!(told.len(), 2);
    assert_eq!(told[1].1["count"], 4);
    assert_eq!(told[1].1["routes"], json!({ "/api/v1/models": 4 }));
    for (record, detail) in &told {
        assert!(!format!("{record:?}{detail}").contains("0123456789abcdef"));
    }
}

#[tokio::test]
async fn a_missing_right_an_empty_bucket_and_an_unreadable_body_are_on_record_with_who_it_was() {
    let open = Open::with(|config| config.limits.reads_per_minute = 1).await;
    let viewer = open.key(Role::Viewer).await;
    let admin = open.key(Role::Admin).await;
    let label = json!({ "label": "my-own-words" });
    open.call(post("/api/v1/keys").key(&viewer).json(&label))
        .await
        .refused("forbidden");
    open.call(get("/api/v1/models").key(&viewer)).await;
    open.call(get("/api/v1/models").key(&viewer))
        .await
        .refused("rate-limited");
    open.call(
        post("/api/v1/keys")
            .key(&admin)
            .raw(b"my-own-words".to_vec()),
    )
    .await
    .refused("malformed");
    let told = refused(&open).await;
    let codes: Vec<&str> = told
        .iter()
        .filter_map(|(_, detail)| detail["code"].as_str())
        .collect();
    assert_eq!(codes, ["forbidden", "rate-limited", "malformed"]);
    for (record, detail) in &told {
        let who = record.principal.as_deref().expect("somebody known");
        assert!(who.starts_with("key:omb_"), "{who}");
        assert!(!format!("{record:?}{detail}").contains("my-own-words"));
    }
}

#[tokio::test]
async fn what_asks_for_nothing_leaves_no_record() {
    let open = Open::new().await;
    open.call(get("/nowhere")).await.refused("no-such-route");
    open.call(post("/health"))
        .await
        .refused("method-not-allowed");
    open.house.sum_up_refusals(i64::MAX).await;
    assert!(refused(&open).await.is_empty());
}
