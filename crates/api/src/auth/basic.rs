//! Basic authentication, which MLflow's clients know: an API key as the password, or a person's login and password.
//!
//! A password is checked by argon2id, which is slow on purpose, and a script calls hundreds of times. So a pair that was
//! right is remembered by its hash together with what was kept of the password; as long as the store still keeps the same,
//! it is right. Every slow check counts against the address's sign-ins and is on record, right or wrong.

use super::{Auth, stranger, unreadable};
use crate::access::{Caller, Proof, Roles};
use crate::house::House;
use crate::limits::RouteClass;
use crate::refusal::{Code, Refusal};
use crate::request::Origin;
use axum::http::request::Parts;
use axum::http::{HeaderMap, header};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ombud_core::Digest;
use ombud_ledger::Tenant;
use ombud_ledger::record::Kind;
use ombud_store::person::{LOGIN_BYTES_MAX, PasswordHash};
use ombud_store::{Scopes, key::KEY_START, secret};
use serde_json::json;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use zeroize::Zeroizing;

/// The header in which MLflow's clients name a tenant.
pub const WORKSPACE_HEADER: &str = "x-mlflow-workspace";
/// Pairs remembered at once.
const PROVEN_MAX: usize = 1_000;

/// Pairs of login and password that were right, by their hash, with what was kept of the password then.
#[derive(Debug, Default)]
pub struct Proven(Mutex<HashMap<Digest, PasswordHash>>);

/// A login and a password, as they came.
struct Pair {
    login: String,
    password: Zeroizing<String>,
}

/// Who sent a request. A password that must be checked slowly costs a sign-in, and the try is on record.
pub async fn caller(house: &House, parts: &Parts) -> Result<Arc<Caller>, Refusal> {
    let auth = &house.auth;
    if !auth.needs_slow_check(&parts.headers) {
        return auth.caller(&parts.method, &parts.headers).await;
    }
    let origin = parts.extensions.get::<Origin>().cloned();
    let address = origin.as_ref().and_then(Origin::ip_text);
    house
        .limits
        .take(RouteClass::SignIns, &address.unwrap_or_default())
        .await?;
    let found = auth.caller(&parts.method, &parts.headers).await;
    let word = if found.is_ok() {
        "signed in"
    } else {
        "refused"
    };
    house.metrics.sign_ins.of(&[word]).add();
    if let Some(origin) = origin {
        let principal = found.as_ref().ok().map(|caller| &*caller.principal);
        let tenant = found
            .as_ref()
            .map_or(house.tenant(), |caller| &caller.tenant);
        let detail = json!({ "result": word, "by": "password in a header" });
        house
            .record_of(Kind::SignIn, tenant, principal, &origin, detail)
            .await?;
    }
    found
}

impl Auth {
    /// Whether these headers hold a password that is not known to be right.
    fn needs_slow_check(&self, headers: &HeaderMap) -> bool {
        let Some(secret) = basic_of(headers) else {
            return false;
        };
        let is_key = read(secret).is_ok_and(|pair| key_in(&pair).is_some());
        !is_key && self.proven.get(&print(secret, headers)).is_none()
    }

    pub(super) async fn basic(
        &self,
        given: &str,
        headers: &HeaderMap,
    ) -> Result<Arc<Caller>, Refusal> {
        let pair = read(given)?;
        if let Some(key) = key_in(&pair) {
            return self.key(key).await;
        }
        let print = print(given, headers);
        if let Some(caller) = self.recall(&print) {
            return Ok(caller);
        }
        let tenant = self.tenant_of(headers)?;
        let person = match pair.login.len() {
            1..=LOGIN_BYTES_MAX => self
                .store
                .person(&tenant, &pair.login)
                .await
                .map_err(stranger)?,
            _ => None,
        };
        let person = person.filter(|person| person.disabled_us.is_none());
        let kept = person.as_ref().map(|person| person.password_hash.clone());
        let is_proven = kept.is_some() && self.proven.get(&print) == kept;
        let is_right = is_proven || self.passwords.check(pair.password, kept).await?;
        let Some(person) = person.filter(|_| is_right) else {
            return Err(Refusal::new(
                Code::Unauthenticated,
                "the login or the password is wrong",
            ));
        };
        if person.must_change_password {
            let detail = "your password was given by somebody else and must be replaced first";
            return Err(Refusal::new(Code::Forbidden, detail).hint("sign in and replace it"));
        }
        self.proven.put(print, person.password_hash);
        let caller = Caller {
            principal: Arc::from(format!("person:{}", person.login)),
            tenant,
            roles: Roles::of([person.role]),
            scopes: Scopes::EVERYWHERE,
            proof: Proof::Password,
        };
        Ok(self.remember(print, caller))
    }

    /// The tenant that a person signs in to.
    fn tenant_of(&self, headers: &HeaderMap) -> Result<Tenant, Refusal> {
        match headers.get(WORKSPACE_HEADER) {
            None => Ok(self.tenant.clone()),
            Some(named) => Tenant::new(&String::from_utf8_lossy(named.as_bytes())).map_err(|_| {
                Refusal::new(Code::Unauthenticated, "the login or the password is wrong")
            }),
        }
    }
}

impl Proven {
    fn get(&self, print: &Digest) -> Option<PasswordHash> {
        let proven = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        proven.get(print).cloned()
    }

    fn put(&self, print: Digest, kept: PasswordHash) {
        let mut proven = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if proven.len() >= PROVEN_MAX {
            proven.clear();
        }
        proven.insert(print, kept);
    }
}

fn basic_of(headers: &HeaderMap) -> Option<&str> {
    let given = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, secret) = given.split_once(' ')?;
    scheme
        .eq_ignore_ascii_case("basic")
        .then_some(secret.trim())
}

/// The same pair for another workspace is another pair.
fn print(given: &str, headers: &HeaderMap) -> Digest {
    let workspace = headers
        .get(WORKSPACE_HEADER)
        .map(|named| String::from_utf8_lossy(named.as_bytes()).into_owned());
    let text = Zeroizing::new(format!("basic {given} {}", workspace.unwrap_or_default()));
    secret::hash(&text)
}

fn read(given: &str) -> Result<Pair, Refusal> {
    let bytes = Zeroizing::new(STANDARD.decode(given).map_err(|_| unreadable())?);
    let text = std::str::from_utf8(&bytes).map_err(|_| unreadable())?;
    let (login, password) = text.split_once(':').ok_or_else(unreadable)?;
    Ok(Pair {
        login: login.to_owned(),
        password: Zeroizing::new(password.to_owned()),
    })
}

/// A key, given as the password or as the login.
fn key_in(pair: &Pair) -> Option<&str> {
    [pair.password.as_str(), pair.login.as_str()]
        .into_iter()
        .find(|text| text.starts_with(KEY_START))
}
