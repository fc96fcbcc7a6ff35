//! MLflow's protocol without its client: who is let in, what the client's own words would trip over, what is on record.
//!
//! The real clients are driven by `tests/python/test_mlflow.py`.

use crate::support::{Answer, Call, Open, call, get, post};
use axum::http::{Method, StatusCode};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ombud_api::access::Access;
use ombud_api::adoptions;
use ombud_api::routes::mlflow::ACCESS;
use ombud_api::time::now_us;
use ombud_ledger::Tenant;
use ombud_store::key::NewKey;
use ombud_store::tracking::listing::NewListedVersion;
use ombud_store::{Role, Scopes};
use serde_json::{Value, json};

const API: &str = "/api/2.0/mlflow";

/// A path with its parts filled in by something that is well-formed and names nothing.
fn concrete(path: &str) -> String {
    path.replace("{model_id}", "m-nobody")
        .replace("{workspace}", "nobody")
        .replace("{tag}", "colour")
        .replace("{*path}", "0/nobody/artifacts/nothing")
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
            for at in [
                concrete(path),
                concrete(path).replace("/api/", "/ajax-api/"),
            ] {
                if at == "/version" && role != Role::Viewer {
                    continue;
                }
                let asked = call(method.clone(), &at).key(&key).raw(b"{}".to_vec());
                let answer = open.call(asked).await;
                let is_about_roles = answer.status == StatusCode::FORBIDDEN
                    && answer.words().contains("needs the right");
                assert_eq!(
                    is_about_roles, !is_allowed,
                    "{method} {at} as {role}: {answer}"
                );
                let is_missing =
                    String::from_utf8_lossy(&answer.body).contains("ENDPOINT_NOT_FOUND");
                assert!(!is_missing, "{method} {at} is in the table and not there");
                assert!(
                    !answer.status.is_server_error()
                        && answer.status != StatusCode::METHOD_NOT_ALLOWED,
                    "{method} {at} as {role}: {answer}"
                );
            }
        }
    }
}

#[tokio::test]
async fn a_stranger_is_let_in_nowhere_but_at_the_public_routes() {
    let open = Open::new().await;
    for (method, path, access) in ACCESS {
        let method: Method = method.parse().expect("a method");
        let answer = open
            .call(call(method.clone(), &concrete(path)).raw(b"{}".to_vec()))
            .await;
        if *access == Access::Public {
            assert!(answer.status.is_success(), "{method} {path}: {answer}");
        } else {
            answer.refused("unauthenticated");
        }
    }
}

async fn posted(open: &Open, key: &str, path: &str, body: &Value) -> Answer {
    open.call(post(&format!("{API}/{path}")).key(key).json(body))
        .await
}

async fn done(open: &Open, key: &str, path: &str, body: &Value) -> Value {
    let answer = posted(open, key, path, body).await;
    assert_eq!(answer.status, 200, "{path}: {answer}");
    answer.json()
}

async fn run(open: &Open, key: &str) -> String {
    let made = done(open, key, "runs/create", &json!({ "experiment_id": "0" })).await;
    let id = made["run"]["info"]["run_id"].as_str();
    id.expect("an id").to_owned()
}

#[tokio::test]
async fn what_a_client_may_send_in_two_ways_is_taken_in_both() {
    let open = Open::new().await;
    let key = open.key(Role::Operator).await;
    let id = run(&open, &key).await;
    let said = json!({ "run_uuid": id, "key": "x", "value": "NaN", "timestamp": "7", "step": "3", "unknown": {} });
    let answer = done(&open, &key, "runs/log-metric", &said).await;
    assert_eq!(answer, json!({}), "success without content is an object");
    let found = open
        .call(get(&format!("{API}/runs/get?run_id={id}&other=1")).key(&key))
        .await
        .json();
    let metric = &found["run"]["data"]["metrics"][0];
    assert_eq!(
        metric,
        &json!({ "key": "x", "value": "NaN", "timestamp": 7, "step": 3 })
    );
    assert!(found["run"]["info"]["start_time"].is_i64(), "{found}");
    let answer = posted(&open, &key, "runs/log-metric", &json!({ "run_id": id })).await;
    answer.refused("malformed");
    assert_eq!(
        answer.words(),
        "Missing value for required parameter 'key'."
    );
    let bodyless = call(Method::POST, &format!("{API}/experiments/search")).key(&key);
    let found = open.call(bodyless).await;
    assert_eq!(found.json()["experiments"][0]["name"], "Default", "{found}");
}

#[tokio::test]
async fn a_filter_that_is_wrong_is_told_with_its_place() {
    let open = Open::new().await;
    let key = open.key(Role::Operator).await;
    let body = json!({ "experiment_ids": ["0"], "filter": "metrcs.auc > 1" });
    let answer = posted(&open, &key, "runs/search", &body).await;
    answer.refused("malformed");
    let words = answer.words();
    assert!(
        words.contains("at character 1") && words.contains("is it `metrics`?"),
        "{words}"
    );
}

#[tokio::test]
async fn a_login_and_a_password_open_it_and_a_wrong_one_does_not() {
    let open = Open::new().await;
    let basic = |login: &str, password: &str| {
        let pair = STANDARD.encode(format!("{login}:{password}"));
        get(&format!("{API}/experiments/get?experiment_id=0"))
            .header("authorization", &format!("Basic {pair}"))
    };
    for _ in 0..3 {
        let answer = open.call(basic("admin", &open.password)).await;
        assert_eq!(answer.status, 200, "{answer}");
    }
    for (login, password) in [("admin", "wrong"), ("nobody", "wrong"), ("", "")] {
        let answer = open.call(basic(login, password)).await;
        answer.refused("unauthenticated");
    }
    let key = open.key(Role::Viewer).await;
    for (login, password) in [("anybody", key.as_str()), (key.as_str(), "")] {
        assert_eq!(open.call(basic(login, password)).await.status, 200);
    }
}

#[tokio::test]
async fn wrong_passwords_are_limited_and_on_record() {
    let open = Open::with(|config| config.limits.sign_ins_per_minute = 2).await;
    let asked = || {
        let pair = STANDARD.encode("admin:wrong");
        get(&format!("{API}/experiments/get?experiment_id=0"))
            .header("authorization", &format!("Basic {pair}"))
    };
    open.call(asked()).await.refused("unauthenticated");
    open.call(asked()).await.refused("unauthenticated");
    open.call(asked()).await.refused("rate-limited");
    let key = open.key(Role::Auditor).await;
    let records = open
        .call(get("/api/v1/audit/records?kind=sign_in").key(&key))
        .await;
    let text = String::from_utf8_lossy(&records.body).into_owned();
    assert!(text.contains("password in a header"), "{text}");
}

#[tokio::test]
async fn one_tenant_sees_nothing_of_another() {
    let open = Open::new().await;
    let ours = open.key(Role::Operator).await;
    let wish = NewKey {
        prefix: ombud_store::key::fresh_prefix().unwrap(),
        label: "other".to_owned(),
        role: Role::Operator,
        scopes: Scopes::EVERYWHERE,
        expires_us: None,
        created_by: "a test".to_owned(),
    };
    let other = Tenant::new("other").expect("a tenant");
    let (_, theirs) = open
        .house
        .store
        .add_key(&other, wish, 1)
        .await
        .expect("a key");
    let theirs = theirs.expose();
    let id = run(&open, &ours).await;
    let file = format!("/api/2.0/mlflow-artifacts/artifacts/0/{id}/artifacts/a.txt");
    let put = call(Method::PUT, &file).key(&ours).raw(b"secret".to_vec());
    assert_eq!(open.call(put).await.status, 200);
    done(
        &open,
        &ours,
        "registered-models/create",
        &json!({ "name": "Ours" }),
    )
    .await;
    open.call(get(&format!("{API}/runs/get?run_id={id}")).key(theirs))
        .await
        .refused("not-found");
    open.call(get(&file).key(theirs)).await.refused("not-found");
    open.call(get(&format!("{API}/registered-models/get?name=Ours")).key(theirs))
        .await
        .refused("not-found");
    let search = json!({ "experiment_ids": ["0"] });
    let found = done(&open, theirs, "runs/search", &search).await;
    assert_eq!(found["runs"], json!([]));
    let named = |call: Call| call.header("x-mlflow-workspace", "main");
    open.call(named(
        get(&format!("{API}/experiments/get?experiment_id=0")).key(theirs),
    ))
    .await
    .refused("forbidden");
    let content = open.call(get(&file).key(&ours)).await;
    assert_eq!(content.body, b"secret");
}

#[tokio::test]
async fn a_file_stays_in_its_folder_and_under_its_limit() {
    let open = Open::with(|config| {
        config.limits.artifact_bytes_max = ombud_api::config::value::Bytes(10);
    })
    .await;
    let key = open.key(Role::Operator).await;
    let files = "/api/2.0/mlflow-artifacts/artifacts";
    for path in [
        "0/..%2F..%2Fombud.db",
        "..%2Fombud.db",
        "a%5Cb",
        "%2Fetc%2Fpasswd",
    ] {
        let at = format!("{files}/{path}");
        open.call(get(&at).key(&key)).await.refused("malformed");
        let put = call(Method::PUT, &at).key(&key).raw(b"x".to_vec());
        open.call(put).await.refused("malformed");
    }
    let put = call(Method::PUT, &format!("{files}/0/large"))
        .key(&key)
        .raw(vec![0; 11]);
    open.call(put).await.refused("too-large");
    open.call(get(&format!("{files}/0/large")).key(&key))
        .await
        .refused("not-found");
    let put = call(Method::PUT, &format!("{files}/0/small"))
        .key(&key)
        .raw(vec![0; 10]);
    assert_eq!(open.call(put).await.json(), json!({}));
    let listed = open.call(get(&format!("{files}?path=0")).key(&key)).await;
    assert_eq!(
        listed.json(),
        json!({ "files": [{ "path": "small", "is_dir": false, "file_size": 10 }] })
    );
}

#[tokio::test]
async fn a_version_that_is_a_pickle_is_kept_and_never_deployed() {
    let open = Open::new().await;
    let key = open.key(Role::Operator).await;
    let id = run(&open, &key).await;
    let folder = format!("0/{id}/artifacts/model");
    for name in ["MLmodel", "model.pkl"] {
        let at = format!("/api/2.0/mlflow-artifacts/artifacts/{folder}/{name}");
        let put = call(Method::PUT, &at)
            .key(&key)
            .raw(b"\x80\x04cos\nsystem\n".to_vec());
        assert_eq!(open.call(put).await.status, 200);
    }
    let name = json!({ "name": "Iris Model" });
    done(&open, &key, "registered-models/create", &name).await;
    let again = posted(&open, &key, "registered-models/create", &name).await;
    assert_eq!(again.status, 400, "{again}");
    assert_eq!(again.json()["error_code"], "RESOURCE_ALREADY_EXISTS");
    let wish = json!({ "name": "Iris Model", "source": format!("mlflow-artifacts:/{folder}"), "run_id": id });
    let made = done(&open, &key, "model-versions/create", &wish).await["model_version"].take();
    assert_eq!(
        (&made["version"], &made["status"]),
        (&json!("1"), &json!("READY"))
    );
    let file = format!("/api/2.0/mlflow-artifacts/artifacts/{folder}/model.pkl");
    for method in [Method::PUT, Method::DELETE] {
        let changed = call(method, &file).key(&key).raw(b"another".to_vec());
        let answer = open.call(changed).await;
        assert_eq!(
            (answer.status.as_u16(), &answer.json()["error_code"]),
            (400, &json!("INVALID_STATE")),
            "{answer}"
        );
    }
    let whole = format!("/api/2.0/mlflow-artifacts/artifacts/{folder}/");
    let removed = open.call(call(Method::DELETE, &whole).key(&key)).await;
    assert_eq!(removed.json()["error_code"], "INVALID_STATE", "{removed}");
    let kept = open.call(get(&file).key(&key)).await;
    assert_eq!(kept.body, b"\x80\x04cos\nsystem\n");
    let message = made["status_message"].as_str().expect("a text");
    assert!(
        message.contains("model.pkl") && message.contains("never loaded"),
        "{message}"
    );
    let alias = json!({ "name": "Iris Model", "alias": "Champion", "version": "1" });
    done(&open, &key, "registered-models/alias", &alias).await;
    let found = open
        .call(
            get(&format!(
                "{API}/registered-models/alias?name=Iris%20Model&alias=Champion"
            ))
            .key(&key),
        )
        .await;
    assert_eq!(
        found.json()["model_version"]["aliases"],
        json!(["Champion"])
    );
    let moved = json!({ "name": "Iris Model", "version": "1", "stage": "Production" });
    let moved = done(&open, &key, "model-versions/transition-stage", &moved).await;
    assert_eq!(moved["model_version"]["current_stage"], "Production");
    let deployments = open.call(get("/api/v1/deployments").key(&key)).await;
    assert_eq!(
        deployments.json()["deployments"],
        json!([]),
        "a word and no more"
    );
    let delete = call(Method::DELETE, &format!("{API}/registered-models/delete"))
        .key(&key)
        .json(&name);
    assert_eq!(open.call(delete).await.json(), json!({}));
    open.call(get(&format!("{API}/registered-models/get?name=Iris%20Model")).key(&key))
        .await
        .refused("not-found");
}

#[tokio::test]
async fn a_registration_that_a_killed_server_left_is_taken_up() {
    let open = Open::new().await;
    let key = open.key(Role::Operator).await;
    done(
        &open,
        &key,
        "registered-models/create",
        &json!({ "name": "left" }),
    )
    .await;
    let (store, tenant) = (&open.house.store, open.house.tenant());
    let model = store.listed(tenant, "left").await.expect("a model").model;
    let new = NewListedVersion {
        source: "s3://elsewhere/model".to_owned(),
        run: None,
        run_link: None,
        logged_model: None,
        description: String::new(),
        user: "key:omb_gone".to_owned(),
        tags: Vec::new(),
        files: None,
        version: None,
    };
    let listed_us = now_us();
    store
        .list_version(tenant, &model, new, listed_us)
        .await
        .expect("a version");
    let of_it = format!("{API}/model-versions/get?name=left&version=1");
    let waits = open.call(get(&of_it).key(&key)).await.json();
    let waits = &waits["model_version"];
    assert_eq!(waits["status"], "PENDING_REGISTRATION", "{waits}");
    // Its own are left to the server that is at them.
    adoptions::take_up(&open.house, listed_us).await;
    let waits = open.call(get(&of_it).key(&key)).await.json();
    let waits = &waits["model_version"];
    assert_eq!(waits["status"], "PENDING_REGISTRATION", "{waits}");
    adoptions::take_up(&open.house, listed_us + 1).await;
    let told = open.call(get(&of_it).key(&key)).await.json();
    let told = &told["model_version"];
    assert_eq!(told["status"], "READY", "{told}");
    let message = told["status_message"].as_str().expect("a text");
    assert!(message.contains("s3://elsewhere/model"), "{message}");
}

#[tokio::test]
async fn a_version_whose_client_names_no_run_has_the_run_of_what_it_is_made_of() {
    let open = Open::new().await;
    let key = open.key(Role::Operator).await;
    let id = run(&open, &key).await;
    let wish = json!({ "experiment_id": "0", "name": "model", "source_run_id": id });
    let logged = done(&open, &key, "logged-models", &wish).await;
    let model = logged["model"]["info"]["model_id"].as_str().expect("an id");
    let name = "Iris Model";
    done(
        &open,
        &key,
        "registered-models/create",
        &json!({ "name": name }),
    )
    .await;
    // What the newest client sends (MLflow 3.14, `register_model` of a logged model), and what older ones do.
    for wish in [
        json!({ "name": name, "source": "mlflow-artifacts:/0/x/artifacts", "model_id": model }),
        json!({ "name": name, "source": format!("models:/{model}"), "run_id": "" }),
        json!({ "name": name, "source": format!("models:/{name}/1") }),
        json!({ "name": name, "source": format!("models:/{model}"), "run_id": id }),
    ] {
        let made = done(&open, &key, "model-versions/create", &wish).await;
        assert_eq!(made["model_version"]["run_id"], json!(id), "{wish}: {made}");
    }
    let none = json!({ "name": name, "source": "s3://bucket/model" });
    let made = done(&open, &key, "model-versions/create", &none).await;
    assert!(
        made["model_version"]["run_id"]
            .as_str()
            .unwrap_or_default()
            .is_empty(),
        "{made}"
    );
    let wrong = json!({ "name": name, "source": "/srv/model" });
    let refused = posted(&open, &key, "model-versions/create", &wrong).await;
    assert_eq!(
        refused.json()["error_code"],
        "INVALID_PARAMETER_VALUE",
        "{refused}"
    );
    let alias = format!("{API}/registered-models/alias?name=Iris%20Model&alias=nobody");
    let refused = open.call(get(&alias).key(&key)).await;
    assert_eq!(
        refused.json()["error_code"],
        "INVALID_PARAMETER_VALUE",
        "{refused}"
    );
    let absent = format!("{API}/model-versions/get?name=Iris%20Model&version=99");
    let words = open.call(get(&absent).key(&key)).await.words();
    assert!(
        words.contains("Iris Model") && !words.contains("iris_model"),
        "{words}"
    );
}

#[tokio::test]
async fn runs_that_are_equal_by_what_was_asked_come_newest_first() {
    let open = Open::new().await;
    let key = open.key(Role::Operator).await;
    let mut ids = Vec::new();
    for started in [1_000, 3_000, 2_000, 2_000] {
        let wish = json!({ "experiment_id": "0", "start_time": started });
        let made = done(&open, &key, "runs/create", &wish).await;
        let id = made["run"]["info"]["run_id"]
            .as_str()
            .expect("an id")
            .to_owned();
        let metric = json!({ "run_id": id, "key": "auc", "value": 0.5, "timestamp": 1 });
        done(&open, &key, "runs/log-metric", &metric).await;
        ids.push(id);
    }
    let (mut one, mut other) = (ids[2].clone(), ids[3].clone());
    if one > other {
        std::mem::swap(&mut one, &mut other);
    }
    let expected = [ids[1].clone(), one, other, ids[0].clone()];
    for page in [4, 1] {
        let mut found = Vec::new();
        let mut token = String::new();
        while found.len() < 4 {
            let wish = json!({ "experiment_ids": ["0"], "order_by": ["metrics.auc DESC"],
                "max_results": page, "page_token": token });
            let told = done(&open, &key, "runs/search", &wish).await;
            let runs = told["runs"].as_array().expect("runs");
            let id = |run: &Value| run["info"]["run_id"].as_str().expect("an id").to_owned();
            found.extend(runs.iter().map(id));
            token = told["next_page_token"]
                .as_str()
                .unwrap_or_default()
                .to_owned();
        }
        assert_eq!(found, expected);
    }
}
