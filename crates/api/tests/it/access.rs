//! Every route as every role.

use crate::support::{Open, call, get};
use axum::http::{Method, StatusCode};
use ombud_api::access::Access;
use ombud_api::grpc;
use ombud_api::routes::{self, ACCESS};
use ombud_store::key::NewKey;
use ombud_store::{Role, Scopes};
use std::collections::BTreeSet;

#[test]
fn the_table_of_access_and_the_document_name_the_same_routes() {
    let mut document = routes::document();
    let mut described = BTreeSet::new();
    for (path, item) in &mut document.paths.paths {
        for (method, _) in ombud_api::docs::operations(item) {
            described.insert((method.to_owned(), path.clone()));
        }
    }
    let listed: BTreeSet<_> = ACCESS
        .iter()
        .map(|(method, path, _)| ((*method).to_owned(), (*path).to_owned()))
        .collect();
    assert_eq!(listed.len(), ACCESS.len(), "a route is listed twice");
    assert_eq!(listed, described);
}

#[test]
fn every_operation_has_a_name_of_its_own() {
    let mut document = routes::document();
    let mut names = BTreeSet::new();
    for (path, item) in &mut document.paths.paths {
        for (method, operation) in ombud_api::docs::operations(item) {
            let name = operation.operation_id.clone().expect("a name");
            assert!(
                names.insert(name.clone()),
                "{method} {path} is called {name}, and so is another"
            );
        }
    }
}

#[tokio::test]
async fn every_route_lets_in_exactly_the_roles_that_the_table_names() {
    let open = Open::new().await;
    for role in Role::ALL {
        let key = open.key(role).await;
        for (method, path, access) in ACCESS {
            let is_allowed = match access {
                Access::Public | Access::Anonymous | Access::Known => true,
                Access::Needs(right) => right.grant().roles.contains(&role),
            };
            let method: Method = method.parse().expect("a method");
            let at = concrete(path);
            let answer = open
                .call(call(method.clone(), &at).key(&key).raw(b"{}".to_vec()))
                .await;
            // A route for persons only refuses a key for another reason, in its own words.
            let is_about_roles =
                answer.status == StatusCode::FORBIDDEN && answer.words().contains("right");
            assert_eq!(
                is_about_roles, !is_allowed,
                "{method} {path} as {role}: {answer}"
            );
            assert_ne!(
                answer.status,
                StatusCode::UNAUTHORIZED,
                "{method} {path} as {role}: {answer}"
            );
        }
    }
}

#[tokio::test]
async fn a_stranger_is_let_in_nowhere_but_at_the_public_routes() {
    let open = Open::new().await;
    for (method, path, access) in ACCESS {
        let method: Method = method.parse().expect("a method");
        for stranger in [None, Some("omb_aaaaaaaa_bbbb"), Some("a.b.c")] {
            let mut asked = call(method.clone(), &concrete(path)).raw(b"{}".to_vec());
            if let Some(key) = stranger {
                asked = asked.key(key);
            }
            let answer = open.call(asked).await;
            if *access == Access::Public {
                assert_ne!(
                    answer.status,
                    StatusCode::UNAUTHORIZED,
                    "{method} {path}: {answer}"
                );
            } else {
                answer.refused("unauthenticated");
            }
        }
    }
}

#[tokio::test]
async fn every_method_of_grpc_lets_in_exactly_the_roles_that_its_table_names() {
    let open = Open::new().await;
    let mut callers = vec![(None, "16")];
    for role in Role::ALL {
        callers.push((Some((role, open.key(role).await)), "7"));
    }
    for (caller, refused) in &callers {
        for (method, access) in grpc::ACCESS {
            let mut asked = call(Method::POST, &format!("/{}/{method}", grpc::SERVICE)).grpc();
            let is_allowed = match (access, caller) {
                (Access::Public | Access::Anonymous, _) => true,
                (_, None) => false,
                (Access::Known, Some(_)) => true,
                (Access::Needs(right), Some((role, _))) => right.grant().roles.contains(role),
            };
            if let Some((_, key)) = caller {
                asked = asked.key(key);
            }
            let answer = open.call(asked).await;
            assert_eq!(answer.status, StatusCode::OK, "{method}: {answer}");
            let status = answer.headers.get("grpc-status");
            let is_refused = status.is_some_and(|status| status == refused);
            assert_eq!(is_refused, !is_allowed, "{method} as {caller:?}: {answer}");
        }
    }
}

#[tokio::test]
async fn a_withdrawn_or_expired_key_opens_nothing() {
    let open = Open::new().await;
    let admin = open.key(Role::Admin).await;
    let key = open.key(Role::Viewer).await;
    assert_eq!(
        open.call(get("/api/v1/session").key(&key)).await.status,
        200
    );
    let prefix = key.rsplit_once('_').expect("two parts").0;
    let prefix = &key[..prefix.len().min(12)];
    let answer = open
        .call(call(Method::DELETE, &format!("/api/v1/keys/{prefix}")).key(&admin))
        .await;
    assert_eq!(answer.status, 200, "{answer}");
    open.call(get("/api/v1/session").key(&key))
        .await
        .refused("unauthenticated");

    let wish = serde_json::json!({ "label": "old", "role": "viewer", "expires_at": "2020-01-01" });
    let refused = open
        .call(call(Method::POST, "/api/v1/keys").key(&admin).json(&wish))
        .await
        .refused("fields-at-fault");
    assert_eq!(refused["errors"][0]["path"], "expires_at");
    let old = NewKey {
        prefix: ombud_store::key::fresh_prefix().unwrap(),
        label: "old".to_owned(),
        role: Role::Viewer,
        scopes: Scopes::EVERYWHERE,
        expires_us: Some(2),
        created_by: "a test".to_owned(),
    };
    let store = &open.house.store;
    let (_, old) = store
        .add_key(open.house.tenant(), old, 1)
        .await
        .expect("a key");
    open.call(get("/api/v1/session").key(old.expose()))
        .await
        .refused("unauthenticated");
}

/// A path with its parts filled in by something that is well-formed and names nothing.
fn concrete(path: &str) -> String {
    let mut filled = path.to_owned();
    for (name, value) in [
        ("{prefix}", "omb_nobody"),
        ("{login}", "nobody"),
        ("{name}", "nothing"),
        ("{type}", "nothing"),
        ("{repository}", "any"),
        ("{model}/", "nothing/"),
        ("{model}", "nothing:predict"),
        ("{label}", "stable:predict"),
        ("{version}", "1"),
        ("{environment}", "production"),
        ("{alias}", "champion"),
        ("{tag}", "colour"),
        ("{id}", "019aa4b6-4500-7fff-bfff-ffffffffffff"),
    ] {
        filled = filled.replace(name, value);
    }
    assert!(!filled.contains('{'), "{filled} has a part without a value");
    filled
}
