//! Tokens that an issuer really signed: one that runs in this test, with the shapes of three providers.

use crate::support::{Open, get};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ombud_api::config::Issuer;
use ring::rand::SystemRandom;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair, RSA_PKCS1_SHA256, RsaKeyPair,
};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use tokio::net::TcpListener;

/// An issuer on a port of its own.
struct LocalIssuer {
    url: String,
    keys: Arc<Mutex<Vec<Value>>>,
    fetches: Arc<AtomicUsize>,
}

/// Somebody who signs.
enum Signer {
    Es256(EcdsaKeyPair),
    Rs256(RsaKeyPair),
}

impl LocalIssuer {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let keys: Arc<Mutex<Vec<Value>>> = Arc::default();
        let fetches = Arc::new(AtomicUsize::new(0));
        let discovery = json!({ "issuer": url, "jwks_uri": format!("{url}/keys") });
        let (served, counted) = (Arc::clone(&keys), Arc::clone(&fetches));
        let routes = axum::Router::new()
            .route(
                "/.well-known/openid-configuration",
                axum::routing::get(move || std::future::ready(axum::Json(discovery.clone()))),
            )
            .route(
                "/keys",
                axum::routing::get(move || {
                    counted.fetch_add(1, Ordering::Relaxed);
                    std::future::ready(axum::Json(
                        json!({ "keys": *served.lock().expect("a lock") }),
                    ))
                }),
            );
        tokio::spawn(async move { axum::serve(listener, routes).await });
        LocalIssuer { url, keys, fetches }
    }

    fn publish(&self, signer: &Signer, id: &str) {
        self.keys.lock().expect("a lock").push(signer.jwk(id));
    }
}

impl Signer {
    fn es256() -> Self {
        let random = SystemRandom::new();
        let pair =
            EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random).expect("a key");
        Signer::Es256(
            EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, pair.as_ref(), &random)
                .expect("a key"),
        )
    }

    /// A key that opens nothing but these tests.
    fn rs256() -> Self {
        Signer::Rs256(
            RsaKeyPair::from_pkcs8(include_bytes!("keys/issuer-for-tests.pk8")).expect("a key"),
        )
    }

    fn algorithm(&self) -> &'static str {
        match self {
            Signer::Es256(_) => "ES256",
            Signer::Rs256(_) => "RS256",
        }
    }

    fn jwk(&self, id: &str) -> Value {
        match self {
            Signer::Es256(pair) => {
                let point = pair.public_key().as_ref();
                json!({ "kty": "EC", "crv": "P-256", "use": "sig", "alg": "ES256", "kid": id, "x": text(&point[1..33]), "y": text(&point[33..]) })
            }
            Signer::Rs256(pair) => {
                let public = ring::rsa::PublicKeyComponents::<Vec<u8>>::from(pair.public());
                json!({ "kty": "RSA", "use": "sig", "alg": "RS256", "kid": id, "n": text(&public.n), "e": text(&public.e) })
            }
        }
    }

    fn sign(&self, id: &str, claims: &Value) -> String {
        let header = json!({ "alg": self.algorithm(), "typ": "JWT", "kid": id });
        let signed = format!(
            "{}.{}",
            text(header.to_string().as_bytes()),
            text(claims.to_string().as_bytes())
        );
        let random = SystemRandom::new();
        let signature = match self {
            Signer::Es256(pair) => pair
                .sign(&random, signed.as_bytes())
                .expect("signs")
                .as_ref()
                .to_vec(),
            Signer::Rs256(pair) => {
                let mut signature = vec![0; pair.public().modulus_len()];
                pair.sign(
                    &RSA_PKCS1_SHA256,
                    &random,
                    signed.as_bytes(),
                    &mut signature,
                )
                .expect("signs");
                signature
            }
        };
        format!("{signed}.{}", text(&signature))
    }
}

fn text(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

fn in_an_hour() -> i64 {
    ombud_api::time::now_us() / 1_000_000 + 3_600
}

fn settings(url: &str, roles_claim: &str, roles: &[(&str, &str)]) -> Issuer {
    Issuer {
        issuer: url.to_owned(),
        audience: "ombud".to_owned(),
        roles_claim: roles_claim.to_owned(),
        roles: roles
            .iter()
            .map(|(from, to)| ((*from).to_owned(), (*to).to_owned()))
            .collect::<BTreeMap<_, _>>(),
        ..Issuer::default()
    }
}

async fn who(open: &Open, token: &str) -> crate::support::Answer {
    open.call(get("/api/v1/session").key(token)).await
}

#[tokio::test]
async fn a_cognito_access_token_names_its_client_and_its_groups() {
    let issuer = LocalIssuer::start().await;
    let signer = Signer::rs256();
    issuer.publish(&signer, "one");
    let known = settings(&issuer.url, "cognito:groups", &[("operators", "operator")]);
    let open = Open::with(|config| config.issuers = vec![known]).await;
    let claims = json!({
        "iss": issuer.url, "sub": "8f1c", "client_id": "ombud", "token_use": "access", "scope": "openid", "exp": in_an_hour(),
        "cognito:groups": ["operators", "somebody-else-s"], "username": "ada",
    });
    let answer = who(&open, &signer.sign("one", &claims)).await;
    assert_eq!(answer.status, 200, "{answer}");
    assert_eq!(answer.json()["roles"], json!(["operator"]));
    assert_eq!(
        answer.json()["principal"],
        format!("token:{}#8f1c", issuer.url)
    );
}

#[tokio::test]
async fn a_keycloak_token_has_its_roles_inside_and_its_tenant_beside() {
    let issuer = LocalIssuer::start().await;
    let signer = Signer::rs256();
    issuer.publish(&signer, "one");
    let mut known = settings(
        &issuer.url,
        "realm_access.roles",
        &[("ombud-caller", "caller"), ("ombud-viewer", "viewer")],
    );
    known.tenant_claim = "organization".to_owned();
    let open = Open::with(|config| config.issuers = vec![known]).await;
    let mut claims = json!({
        "iss": issuer.url, "sub": "f:1:ada", "aud": ["account", "ombud"], "azp": "desk", "exp": in_an_hour(),
        "realm_access": { "roles": ["offline_access", "ombud-caller", "ombud-viewer"] }, "organization": "Acme",
    });
    let answer = who(&open, &signer.sign("one", &claims)).await;
    assert_eq!(
        answer.json()["roles"],
        json!(["viewer", "caller"]),
        "{answer}"
    );
    assert_eq!(answer.json()["tenant"], "acme");
    claims
        .as_object_mut()
        .expect("an object")
        .remove("organization");
    who(&open, &signer.sign("one", &claims))
        .await
        .refused("unauthenticated");
}

#[tokio::test]
async fn an_entra_token_without_a_role_for_us_is_known_and_may_nothing() {
    let issuer = LocalIssuer::start().await;
    let signer = Signer::es256();
    issuer.publish(&signer, "one");
    let known = settings(&issuer.url, "roles", &[("Ombud.Admin", "admin")]);
    let open = Open::with(|config| config.issuers = vec![known]).await;
    let claims = |roles: Value| json!({ "iss": issuer.url, "sub": "s", "aud": "ombud", "tid": "t", "ver": "2.0", "exp": in_an_hour(), "roles": roles });
    let admin = signer.sign("one", &claims(json!(["Ombud.Admin"])));
    assert_eq!(open.call(get("/api/v1/keys").key(&admin)).await.status, 200);
    let nobody = signer.sign("one", &claims(json!([])));
    assert_eq!(who(&open, &nobody).await.status, 200);
    open.call(get("/api/v1/keys").key(&nobody))
        .await
        .refused("forbidden");
}

#[tokio::test]
async fn a_token_that_is_wrong_in_any_way_opens_nothing() {
    let issuer = LocalIssuer::start().await;
    let (signer, stranger) = (Signer::es256(), Signer::es256());
    issuer.publish(&signer, "one");
    let known = settings(&issuer.url, "roles", &[("a", "admin")]);
    let open = Open::with(|config| config.issuers = vec![known]).await;
    let right = json!({ "iss": issuer.url, "sub": "s", "aud": "ombud", "exp": in_an_hour(), "roles": ["a"] });
    let with = |name: &str, value: Value| {
        let mut claims = right.clone();
        claims[name] = value;
        signer.sign("one", &claims)
    };
    assert_eq!(who(&open, &signer.sign("one", &right)).await.status, 200);
    let good = signer.sign("one", &right);
    let (head, _) = good.rsplit_once('.').expect("a signature");
    let unsigned = format!(
        "{}.{}.",
        text(json!({ "alg": "none" }).to_string().as_bytes()),
        text(right.to_string().as_bytes())
    );
    let confused = good.replacen(
        &text(
            json!({ "alg": "ES256", "typ": "JWT", "kid": "one" })
                .to_string()
                .as_bytes(),
        ),
        &text(
            json!({ "alg": "HS256", "kid": "one" })
                .to_string()
                .as_bytes(),
        ),
        1,
    );
    for (what, token) in [
        ("signed by a stranger", stranger.sign("one", &right)),
        ("for somebody else", with("aud", json!("other"))),
        (
            "from another issuer",
            with("iss", json!("https://elsewhere.example")),
        ),
        ("expired", with("exp", json!(1_000))),
        ("not valid yet", with("nbf", json!(in_an_hour()))),
        ("about nobody", with("sub", json!(""))),
        ("without a signature", format!("{head}.")),
        ("unsigned", unsigned),
        ("of another algorithm", confused),
        ("changed", good.replacen('.', ".e30", 1)),
    ] {
        let answer = who(&open, &token).await;
        assert_eq!(answer.status, 401, "a token {what}: {answer}");
    }
}

#[tokio::test]
async fn a_rotated_key_is_fetched_once_and_invented_ones_do_not_make_us_call_again() {
    let issuer = LocalIssuer::start().await;
    let (old, new) = (Signer::es256(), Signer::es256());
    issuer.publish(&old, "old");
    let known = settings(&issuer.url, "roles", &[("a", "viewer")]);
    let open = Open::with(|config| config.issuers = vec![known]).await;
    let claims = json!({ "iss": issuer.url, "sub": "s", "aud": "ombud", "exp": in_an_hour(), "roles": ["a"] });
    assert_eq!(who(&open, &old.sign("old", &claims)).await.status, 200);
    for invented in 0..20 {
        who(&open, &new.sign(&format!("invented-{invented}"), &claims))
            .await
            .refused("unauthenticated");
    }
    assert_eq!(issuer.fetches.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn an_issuer_that_cannot_be_asked_makes_nobody_a_stranger() {
    // Nobody listens there: the port was ours until now.
    let gone = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}", gone.local_addr().expect("an address"));
    drop(gone);
    let known = settings(&url, "roles", &[("a", "viewer")]);
    let open = Open::with(|config| config.issuers = vec![known]).await;
    let claims =
        json!({ "iss": url, "sub": "s", "aud": "ombud", "exp": in_an_hour(), "roles": ["a"] });
    let answer = who(&open, &Signer::es256().sign("k", &claims)).await;
    assert_eq!(answer.status, 503, "{answer}");
    answer.refused("unavailable");
}

#[tokio::test]
async fn pinned_keys_are_believed_without_calling_anybody() {
    let signer = Signer::es256();
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("keys.json");
    std::fs::write(&path, json!({ "keys": [signer.jwk("one")] }).to_string()).expect("a file");
    let mut known = settings("https://issuer.invalid", "roles", &[("a", "viewer")]);
    known.jwks = path;
    let open = Open::with(|config| config.issuers = vec![known]).await;
    let claims = json!({ "iss": "https://issuer.invalid", "sub": "s", "aud": "ombud", "exp": in_an_hour(), "roles": ["a"] });
    assert_eq!(who(&open, &signer.sign("one", &claims)).await.status, 200);
}
