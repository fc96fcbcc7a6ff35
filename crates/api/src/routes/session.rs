//! Signing in and out, and who one is.
//!
//! A session is a cookie that scripts cannot read (`HttpOnly`, `SameSite=Strict`) and a token that a change must carry in a
//! header, so that neither another page nor a stolen form can act for a person. Every try is on record, right or wrong.

use crate::access::Proof;
use crate::auth::SESSION_COOKIE;
use crate::auth::passwords::PasswordError;
use crate::extract::{Json, Known};
use crate::house::House;
use crate::limits::RouteClass;
use crate::refusal::{Code, Refusal};
use crate::request::Origin;
use crate::time::{now_us, text};
use crate::wire::Password;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json as Answer};
use ombud_ledger::record::Kind;
use ombud_store::Session;
use ombud_store::person::LOGIN_BYTES_MAX;
use serde::{Deserialize, Serialize};
use serde_json::json;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

/// Who wants to sign in.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SignIn {
    /// The person's login.
    #[schema(min_length = 1, max_length = 200)]
    pub login: String,
    /// Their password.
    #[schema(value_type = String, format = Password, max_length = 256)]
    pub password: Password,
}

/// A new password in place of an old one.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewPassword {
    /// The password until now.
    #[schema(value_type = String, format = Password, max_length = 256)]
    pub current: Password,
    /// The password from now on: 12 to 256 characters.
    #[schema(value_type = String, format = Password, min_length = 12, max_length = 256)]
    pub new: Password,
}

/// Who one is.
#[derive(Debug, Serialize, ToSchema)]
pub struct WhoView {
    /// The name that records carry.
    pub principal: String,
    /// Whose data one sees.
    pub tenant: String,
    /// What one is trusted with.
    pub roles: Vec<String>,
    /// What that lets one do.
    pub rights: Vec<String>,
    /// Where a key may be used; empty is everywhere.
    pub scopes: Vec<String>,
    /// What a session's changes carry in `x-csrf-token`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub csrf: Option<String>,
    /// When the session ends.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(format = DateTime)]
    pub expires_at: Option<String>,
    /// Whether the password must be replaced before anything else.
    pub must_change_password: bool,
}

/// The routes of this file.
pub fn router() -> OpenApiRouter<House> {
    OpenApiRouter::new()
        .routes(routes!(sign_in, who, sign_out))
        .routes(routes!(change_password))
}

/// Sign in with a password
#[utoipa::path(post, path = "/api/v1/session", tag = "session", security(()), request_body = SignIn,
    responses((status = 200, description = "Signed in; the cookie is set.", body = WhoView)))]
async fn sign_in(
    State(house): State<House>,
    Extension(origin): Extension<Origin>,
    Json(given): Json<SignIn>,
) -> Result<Response, Refusal> {
    pay_for_a_try(&house, &origin).await?;
    let tenant = house.tenant();
    let SignIn { login, password } = given;
    if login.is_empty() || login.len() > LOGIN_BYTES_MAX {
        return Err(Refusal::malformed("a login has 1 to 200 bytes"));
    }
    let person = house
        .store
        .person(tenant, &login)
        .await?
        .filter(|person| person.disabled_us.is_none());
    let kept = person.as_ref().map(|person| person.password_hash.clone());
    let is_right = house.auth.passwords.check(password.0, kept).await?;
    let word = if is_right { "signed in" } else { "refused" };
    house.metrics.sign_ins.of(&[word]).add();
    // A login that nobody has may be a password typed into the wrong field: it is not kept.
    let named = person.as_ref().map(|person| person.login.clone());
    let principal = named.as_ref().map(|login| format!("person:{login}"));
    let detail = json!({ "result": word, "by": "password" });
    house
        .record_of(Kind::SignIn, tenant, principal.as_deref(), &origin, detail)
        .await?;
    let Some(login) = named.filter(|_| is_right) else {
        return Err(
            Refusal::new(Code::Unauthenticated, "the login or the password is wrong").recorded(),
        );
    };
    let lifetime_us = i64::try_from(house.config.sessions.hours)
        .unwrap_or(12)
        .saturating_mul(3_600_000_000);
    let (session, secret) = house
        .store
        .open_session(tenant, &login, lifetime_us, now_us())
        .await?;
    let cookie = cookie(
        &house,
        secret.expose(),
        house.config.sessions.hours.saturating_mul(3_600),
    );
    Ok(([(header::SET_COOKIE, cookie)], Answer(view_of(&session))).into_response())
}

/// Passwords are tried by address: who tries has no name yet.
async fn pay_for_a_try(house: &House, origin: &Origin) -> Result<(), Refusal> {
    let address = origin.ip_text().unwrap_or_default();
    let paid = house.limits.take(RouteClass::SignIns, &address).await;
    paid.map(drop)
        .inspect_err(|_| house.metrics.limited.of(&["rate"]).add())
}

/// Who one is
#[utoipa::path(get, path = "/api/v1/session", tag = "session", responses((status = 200, description = "Who one is.", body = WhoView)))]
async fn who(caller: Known) -> Answer<WhoView> {
    let Proof::Session(session) = &caller.proof else {
        let rights = crate::access::RIGHTS
            .iter()
            .filter(|grant| caller.roles.have(grant.right));
        return Answer(WhoView {
            principal: caller.principal.to_string(),
            tenant: caller.tenant.to_string(),
            roles: caller.roles.iter().map(|role| role.to_string()).collect(),
            rights: rights.map(|grant| grant.name.to_owned()).collect(),
            scopes: caller
                .scopes
                .as_slice()
                .iter()
                .map(ToString::to_string)
                .collect(),
            csrf: None,
            expires_at: None,
            must_change_password: false,
        });
    };
    Answer(view_of(session))
}

/// Sign out
#[utoipa::path(delete, path = "/api/v1/session", tag = "session", responses((status = 204, description = "Signed out.")))]
async fn sign_out(
    State(house): State<House>,
    caller: Known,
    Extension(origin): Extension<Origin>,
) -> Result<Response, Refusal> {
    if let Proof::Session(session) = &caller.proof {
        house
            .record(
                Kind::SignIn,
                &caller,
                &origin,
                json!({ "result": "signed out" }),
            )
            .await?;
        house
            .store
            .close_session(&session.tenant, session.token_hash)
            .await?;
        house.auth.forget();
    }
    Ok((
        StatusCode::NO_CONTENT,
        [(header::SET_COOKIE, cookie(&house, "", 0))],
    )
        .into_response())
}

/// Replace one's own password; every session of one's own ends
#[utoipa::path(put, path = "/api/v1/session/password", tag = "session", request_body = NewPassword,
    responses((status = 204, description = "Replaced; sign in again.")))]
async fn change_password(
    State(house): State<House>,
    caller: Known,
    Extension(origin): Extension<Origin>,
    Json(given): Json<NewPassword>,
) -> Result<StatusCode, Refusal> {
    let Proof::Session(session) = &caller.proof else {
        return Err(Refusal::new(
            Code::Forbidden,
            "only a person who signed in with a password has one",
        ));
    };
    pay_for_a_try(&house, &origin).await?;
    let kept = Some(session.person.password_hash.clone());
    if !house.auth.passwords.check(given.current.0, kept).await? {
        return Err(Refusal::new(
            Code::Forbidden,
            "the current password is wrong",
        ));
    }
    let hash = house.auth.passwords.hash(given.new.0).await?;
    house
        .record(
            Kind::KeyChange,
            &caller,
            &origin,
            json!({ "did": "replaced own password" }),
        )
        .await?;
    house
        .store
        .set_password(
            &session.tenant,
            &session.person.login,
            &hash,
            false,
            now_us(),
        )
        .await?;
    house.auth.forget();
    Ok(StatusCode::NO_CONTENT)
}

fn view_of(session: &Session) -> WhoView {
    let role = session.person.role;
    let rights = crate::access::RIGHTS
        .iter()
        .filter(|grant| grant.roles.contains(&role));
    WhoView {
        principal: format!("person:{}", session.person.login),
        tenant: session.tenant.to_string(),
        roles: vec![role.to_string()],
        rights: rights.map(|grant| grant.name.to_owned()).collect(),
        scopes: Vec::new(),
        csrf: Some(session.csrf.clone()),
        expires_at: Some(text(session.expires_us)),
        must_change_password: session.person.must_change_password,
    }
}

fn cookie(house: &House, secret: &str, seconds: u64) -> String {
    let secure = if house.is_encrypted() { "; Secure" } else { "" };
    format!(
        "{SESSION_COOKIE}={secret}; Path=/; HttpOnly; SameSite=Strict; Max-Age={seconds}{secure}"
    )
}

impl From<PasswordError> for Refusal {
    fn from(error: PasswordError) -> Self {
        match error {
            PasswordError::Length => Refusal::malformed(error.to_string()),
            PasswordError::Busy => Refusal::new(Code::Busy, error.to_string())
                .retry_after(std::time::Duration::from_secs(1)),
            PasswordError::Stored => Refusal::of_class(ombud_core::Class::Corrupt, &error),
        }
    }
}
