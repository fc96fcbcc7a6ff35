//! People who sign in: made, given a role, shut out, given a new password.

use super::keys::checked_role;
use crate::access::Right;
use crate::auth::passwords::random_password;
use crate::extract::{Json, Known, Path};
use crate::house::House;
use crate::refusal::{Code, Refusal};
use crate::request::Origin;
use crate::time::{self, now_us};
use crate::wire::ShownOnce;
use axum::extract::State;
use axum::http::StatusCode;
use axum::{Extension, Json as Answer};
use ombud_ledger::record::Kind;
use ombud_store::person::NewPerson;
use ombud_store::{Person, Role};
use serde::{Deserialize, Serialize};
use serde_json::json;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

/// A person to be made.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PersonWish {
    /// What they sign in with: no spaces.
    #[schema(min_length = 1, max_length = 200)]
    pub login: String,
    /// What they are called.
    #[serde(default)]
    #[schema(max_length = 200)]
    pub name: String,
    /// `viewer`, `caller`, `operator`, `auditor` or `admin`.
    pub role: String,
}

/// What should change about a person.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PersonChange {
    /// Another role.
    #[serde(default)]
    pub role: Option<String>,
    /// Whether they are shut out.
    #[serde(default)]
    pub disabled: Option<bool>,
}

/// A person.
#[derive(Debug, Serialize, ToSchema)]
pub struct PersonView {
    /// What they sign in with.
    pub login: String,
    /// What they are called.
    pub name: String,
    /// What they are trusted with.
    pub role: String,
    /// Whether they must replace their password.
    pub must_change_password: bool,
    /// When they were made.
    #[schema(format = DateTime)]
    pub created_at: String,
    /// Since when they are shut out.
    #[schema(format = DateTime)]
    pub disabled_at: Option<String>,
    /// When they last signed in.
    #[schema(format = DateTime)]
    pub last_sign_in_at: Option<String>,
}

/// A person with a password that was just made for them.
#[derive(Debug, Serialize, ToSchema)]
pub struct PersonWithPassword {
    /// The password; it is not shown again, and must be replaced at the first sign-in.
    #[schema(value_type = String)]
    pub password: ShownOnce,
    #[serde(flatten)]
    pub view: PersonView,
}

/// People, by login.
#[derive(Debug, Serialize, ToSchema)]
pub struct PeopleView {
    pub people: Vec<PersonView>,
}

/// The routes of this file.
pub fn router() -> OpenApiRouter<House> {
    OpenApiRouter::new()
        .routes(routes!(list, make))
        .routes(routes!(change))
        .routes(routes!(new_password))
}

/// List people
#[utoipa::path(get, path = "/api/v1/people", tag = "people", responses((status = 200, description = "People, by login.", body = PeopleView)))]
async fn list(State(house): State<House>, caller: Known) -> Result<Answer<PeopleView>, Refusal> {
    caller.may_everywhere(Right::ManagePeople)?;
    let people = house.store.people(&caller.tenant).await?;
    Ok(Answer(PeopleView {
        people: people.into_iter().map(PersonView::from).collect(),
    }))
}

/// Make a person, with a random password that is shown in the answer and never again
#[utoipa::path(post, path = "/api/v1/people", tag = "people", request_body = PersonWish, responses((status = 201, description = "The person and their password.", body = PersonWithPassword)))]
async fn make(
    State(house): State<House>,
    caller: Known,
    Extension(origin): Extension<Origin>,
    Json(wish): Json<PersonWish>,
) -> Result<(StatusCode, Answer<PersonWithPassword>), Refusal> {
    caller.may_everywhere(Right::ManagePeople)?;
    let mut wrong = ombud_core::Refusal::default();
    let role = checked_role(&wish.role, &mut wrong);
    let Some(role) = wrong.or(role)? else {
        return Err(Refusal::malformed("the role is none"));
    };
    let password = random_password().map_err(|error| Refusal::internal(&error))?;
    let password_hash = house.auth.passwords.hash(password.clone()).await?;
    house
        .record(
            Kind::KeyChange,
            &caller,
            &origin,
            json!({ "did": "make person", "login": wish.login, "role": wish.role }),
        )
        .await?;
    let wanted = NewPerson {
        login: wish.login,
        name: wish.name,
        role,
        password_hash,
        must_change_password: true,
    };
    let person = house
        .store
        .add_person(&caller.tenant, wanted, now_us())
        .await?;
    Ok((
        StatusCode::CREATED,
        Answer(PersonWithPassword {
            password: ShownOnce::new(&password),
            view: person.into(),
        }),
    ))
}

/// Give a person another role, shut them out, or let them in again; their sessions end
#[utoipa::path(patch, path = "/api/v1/people/{login}", tag = "people", params(("login" = String, Path, description = "The person's login.")), request_body = PersonChange,
    responses((status = 200, description = "The person as they are now.", body = PersonView)))]
async fn change(
    State(house): State<House>,
    caller: Known,
    Extension(origin): Extension<Origin>,
    Path(login): Path<String>,
    Json(wanted): Json<PersonChange>,
) -> Result<Answer<PersonView>, Refusal> {
    caller.may_everywhere(Right::ManagePeople)?;
    if *caller.principal == *format!("person:{login}") {
        return Err(Refusal::new(
            Code::Conflict,
            "nobody changes their own role or shuts themselves out",
        ));
    }
    let mut wrong = ombud_core::Refusal::default();
    let role = wanted
        .role
        .as_deref()
        .and_then(|role| checked_role(role, &mut wrong));
    let role = wrong.or(role)?;
    known(&house, &caller, &login).await?;
    refuse_no_admin(&house, &caller, &login, role, wanted.disabled).await?;
    let detail = json!({ "did": "change person", "login": login, "role": wanted.role, "disabled": wanted.disabled });
    house
        .record(Kind::KeyChange, &caller, &origin, detail)
        .await?;
    if let Some(role) = role {
        house
            .store
            .set_role(&caller.tenant, &login, role, now_us())
            .await?;
    }
    if let Some(is_disabled) = wanted.disabled {
        house
            .store
            .set_disabled(&caller.tenant, &login, is_disabled, now_us())
            .await?;
    }
    house.auth.forget();
    known(&house, &caller, &login).await.map(Answer)
}

/// Give a person a new random password, which they must replace; their sessions end
#[utoipa::path(post, path = "/api/v1/people/{login}/password", tag = "people", params(("login" = String, Path, description = "The person's login.")),
    responses((status = 200, description = "The person and their password.", body = PersonWithPassword)))]
async fn new_password(
    State(house): State<House>,
    caller: Known,
    Extension(origin): Extension<Origin>,
    Path(login): Path<String>,
) -> Result<Answer<PersonWithPassword>, Refusal> {
    caller.may_everywhere(Right::ManagePeople)?;
    known(&house, &caller, &login).await?;
    let password = random_password().map_err(|error| Refusal::internal(&error))?;
    let hash = house.auth.passwords.hash(password.clone()).await?;
    house
        .record(
            Kind::KeyChange,
            &caller,
            &origin,
            json!({ "did": "reset password", "login": login }),
        )
        .await?;
    house
        .store
        .set_password(&caller.tenant, &login, &hash, true, now_us())
        .await?;
    house.auth.forget();
    let view = known(&house, &caller, &login).await?;
    Ok(Answer(PersonWithPassword {
        password: ShownOnce::new(&password),
        view,
    }))
}

/// A house whose last admin is shut out can only be opened by whoever holds its database.
async fn refuse_no_admin(
    house: &House,
    caller: &Known,
    login: &str,
    role: Option<Role>,
    disabled: Option<bool>,
) -> Result<(), Refusal> {
    let is_left = |person: &Person| {
        let is_changed = person.login == login;
        let role = role.filter(|_| is_changed).unwrap_or(person.role);
        let is_shut_out = match disabled.filter(|_| is_changed) {
            Some(disabled) => disabled,
            None => person.disabled_us.is_some(),
        };
        role == Role::Admin && !is_shut_out
    };
    let people = house.store.people(&caller.tenant).await?;
    if people.iter().any(is_left) {
        return Ok(());
    }
    Err(
        Refusal::new(Code::Conflict, "nobody who is an admin would be left")
            .hint("make another person an admin first"),
    )
}

async fn known(house: &House, caller: &Known, login: &str) -> Result<PersonView, Refusal> {
    let person = house.store.person(&caller.tenant, login).await?;
    person
        .map(PersonView::from)
        .ok_or_else(|| Refusal::new(Code::NotFound, "nobody has this login"))
}

impl From<Person> for PersonView {
    fn from(person: Person) -> Self {
        PersonView {
            login: person.login,
            name: person.name,
            role: person.role.to_string(),
            must_change_password: person.must_change_password,
            created_at: time::text(person.created_us),
            disabled_at: person.disabled_us.map(time::text),
            last_sign_in_at: person.last_sign_in_us.map(time::text),
        }
    }
}
