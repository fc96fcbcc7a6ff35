//! API keys: made, listed, withdrawn. A key is shown once, when it is made.

use crate::access::Right;
use crate::extract::{Json, Known, Path};
use crate::house::House;
use crate::refusal::Refusal;
use crate::request::Origin;
use crate::time::{self, now_us};
use crate::wire::ShownOnce;
use axum::extract::State;
use axum::http::StatusCode;
use axum::{Extension, Json as Answer};
use ombud_core::Fault;
use ombud_ledger::record::Kind;
use ombud_store::key::{NewKey, fresh_prefix};
use ombud_store::{Key, Role, Scopes};
use serde::{Deserialize, Serialize};
use serde_json::json;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

/// A key to be made.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct KeyWish {
    /// What it is for.
    #[schema(min_length = 1, max_length = 200)]
    pub label: String,
    /// `viewer`, `caller`, `operator`, `auditor` or `admin`.
    pub role: String,
    /// Where it may be used, such as `claims@production` or `*@staging`; none is everywhere.
    #[serde(default)]
    pub scopes: Vec<String>,
    /// When it stops working; absent: never.
    #[serde(default)]
    #[schema(format = DateTime)]
    pub expires_at: Option<String>,
}

/// A key as it is known after it was shown.
#[derive(Debug, Serialize, ToSchema)]
pub struct KeyView {
    /// Its visible part.
    pub prefix: String,
    /// What it is for.
    pub label: String,
    /// What it is trusted with.
    pub role: String,
    /// Where it may be used; empty is everywhere.
    pub scopes: Vec<String>,
    /// When it was made.
    #[schema(format = DateTime)]
    pub created_at: String,
    /// By whom.
    pub created_by: String,
    /// When it stops working.
    #[schema(format = DateTime)]
    pub expires_at: Option<String>,
    /// When it was withdrawn.
    #[schema(format = DateTime)]
    pub revoked_at: Option<String>,
    /// When it was last used, up to a minute too early.
    #[schema(format = DateTime)]
    pub last_used_at: Option<String>,
}

/// A key that was just made.
#[derive(Debug, Serialize, ToSchema)]
pub struct MadeKey {
    /// The key itself; it is not shown again.
    #[schema(value_type = String)]
    pub key: ShownOnce,
    /// What is known of it from now on.
    #[serde(flatten)]
    pub view: KeyView,
}

/// Keys, newest first.
#[derive(Debug, Serialize, ToSchema)]
pub struct KeysView {
    pub keys: Vec<KeyView>,
}

/// The routes of this file.
pub fn router() -> OpenApiRouter<House> {
    OpenApiRouter::new()
        .routes(routes!(list, make))
        .routes(routes!(revoke))
}

/// List keys
#[utoipa::path(get, path = "/api/v1/keys", tag = "keys", responses((status = 200, description = "Keys, newest first.", body = KeysView)))]
async fn list(State(house): State<House>, caller: Known) -> Result<Answer<KeysView>, Refusal> {
    caller.may_everywhere(Right::ManageKeys)?;
    let keys = house.store.keys(&caller.tenant).await?;
    Ok(Answer(KeysView {
        keys: keys.into_iter().map(KeyView::from).collect(),
    }))
}

/// Make a key; it is shown in the answer and never again
#[utoipa::path(post, path = "/api/v1/keys", tag = "keys", request_body = KeyWish, responses((status = 201, description = "The key.", body = MadeKey)))]
async fn make(
    State(house): State<House>,
    caller: Known,
    Extension(origin): Extension<Origin>,
    Json(wish): Json<KeyWish>,
) -> Result<(StatusCode, Answer<MadeKey>), Refusal> {
    caller.may_everywhere(Right::ManageKeys)?;
    let wanted = wish.checked(&caller.principal)?;
    let detail = json!({ "did": "make key", "prefix": wanted.prefix, "label": wanted.label, "role": wanted.role.as_str(), "scopes": wish.scopes });
    house
        .record(Kind::KeyChange, &caller, &origin, detail)
        .await?;
    let (key, secret) = house
        .store
        .add_key(&caller.tenant, wanted, now_us())
        .await?;
    let made = MadeKey {
        key: ShownOnce::new(secret.expose()),
        view: key.into(),
    };
    Ok((StatusCode::CREATED, Answer(made)))
}

/// Withdraw a key for good
#[utoipa::path(delete, path = "/api/v1/keys/{prefix}", tag = "keys", params(("prefix" = String, Path, description = "The key's visible part.")),
    responses((status = 200, description = "Withdrawn.", body = KeyView)))]
async fn revoke(
    State(house): State<House>,
    caller: Known,
    Extension(origin): Extension<Origin>,
    Path(prefix): Path<String>,
) -> Result<Answer<KeyView>, Refusal> {
    caller.may_everywhere(Right::ManageKeys)?;
    let key = house
        .store
        .revoke_key(&caller.tenant, &prefix, now_us())
        .await?;
    house.auth.forget();
    house
        .record(
            Kind::KeyChange,
            &caller,
            &origin,
            json!({ "did": "revoke key", "prefix": key.prefix }),
        )
        .await?;
    Ok(Answer(key.into()))
}

impl KeyWish {
    fn checked(&self, created_by: &str) -> Result<NewKey, Refusal> {
        let mut wrong = ombud_core::Refusal::default();
        if self.label.trim().is_empty() {
            wrong.add(Fault::new("label", "", "what the key is for"));
        }
        let role = checked_role(&self.role, &mut wrong);
        let mut scopes = Vec::new();
        for (place, scope) in self.scopes.iter().enumerate() {
            match scope.parse() {
                Ok(scope) => scopes.push(scope),
                Err(_) => wrong.add(Fault::new(
                    format!("scopes.{place}"),
                    scope,
                    "MODEL@ENVIRONMENT, with * for any",
                )),
            }
        }
        let expires_us = self.expires_at.as_deref().map(|at| (at, time::parse(at)));
        if let Some((came, None)) = expires_us {
            wrong.add(Fault::new(
                "expires_at",
                came,
                "a time such as 2027-01-31T00:00:00Z",
            ));
        }
        if let Some((came, Some(at))) = expires_us
            && at <= now_us()
        {
            wrong.add(Fault::new("expires_at", came, "a time that is yet to come"));
        }
        let scopes = Scopes::new(scopes).map_err(|error| Refusal::malformed(error.to_string()))?;
        let expires_us = expires_us.and_then(|(_, at)| at);
        let label = self.label.clone();
        let prefix = fresh_prefix()?;
        let wanted = role.map(|role| NewKey {
            prefix,
            label,
            role,
            scopes,
            expires_us,
            created_by: created_by.to_owned(),
        });
        match wrong.or(wanted)? {
            Some(wanted) => Ok(wanted),
            None => Err(Refusal::malformed("the role is none")),
        }
    }
}

/// A role by its name; noted as a fault when it is none.
pub(super) fn checked_role(name: &str, wrong: &mut ombud_core::Refusal) -> Option<Role> {
    let role = name.parse().ok();
    if role.is_none() {
        let names = Role::ALL.map(Role::as_str);
        let near = ombud_core::nearest::nearest(name, names);
        wrong.add(Fault::new("role", name, names.join(", ")).near(near));
    }
    role
}

impl From<Key> for KeyView {
    fn from(key: Key) -> Self {
        KeyView {
            prefix: key.prefix,
            label: key.label,
            role: key.role.to_string(),
            scopes: key
                .scopes
                .as_slice()
                .iter()
                .map(ToString::to_string)
                .collect(),
            created_at: time::text(key.created_us),
            created_by: key.created_by,
            expires_at: key.expires_us.map(time::text),
            revoked_at: key.revoked_us.map(time::text),
            last_used_at: key.last_used_us.map(time::text),
        }
    }
}
