//! `/review-cases`: somebody may be in danger; a person of the named role looks, within the time limit.

use super::survey::{country_of, note_change};
use super::{id_of, record};
use crate::hseg::crisis::Urgency;
use crate::hseg::keep::resources::{self, RESOURCES_MAX, Resource, TEXT_BYTES_MAX};
use crate::hseg::keep::{Case, case};
use axum::extract::State;
use axum::{Extension, Json as Answer};
use ombud_api::extract::{Json, Known, Path, Query};
use ombud_api::request::Origin;
use ombud_api::time::{now_us, text};
use ombud_api::{Code, House, Refusal};
use ombud_core::Fault;
use ombud_store::Role;
use serde::{Deserialize, Serialize};
use serde_json::json;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

/// Which cases.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Which {
    #[serde(default)]
    with_closed: bool,
}

/// What was done.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CloseWish {
    /// In words that name nobody.
    #[schema(min_length = 1, max_length = 4000)]
    pub note: String,
}

/// A country's help, as it shall be shown.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ResourcesWish {
    #[schema(min_items = 1, max_items = 20)]
    pub resources: Vec<Resource>,
}

/// A case.
#[derive(Debug, Serialize, ToSchema)]
pub struct CaseView {
    pub id: String,
    /// `waiting`, `overdue`, `acknowledged` or `closed`.
    pub state: String,
    pub organization_id: Option<String>,
    pub campaign_id: Option<String>,
    /// Where somebody with a key asked: that answer's record.
    pub decision_id: Option<String>,
    /// `urgent`, or `please_read` where only the model found something.
    pub urgency: String,
    /// Which kinds of words; never the words.
    pub reasons: Vec<String>,
    /// The role whose people look at it.
    pub role: String,
    /// The hour.
    #[schema(format = DateTime)]
    pub opened_at: String,
    #[schema(format = DateTime)]
    pub due_at: String,
    pub acknowledged_by: Option<String>,
    #[schema(format = DateTime)]
    pub acknowledged_at: Option<String>,
    pub closed_by: Option<String>,
    #[schema(format = DateTime)]
    pub closed_at: Option<String>,
    pub note: String,
}

/// Cases, those that wait first. How many wait is told of all; what a case is about, only to whom it is for.
#[derive(Debug, Serialize, ToSchema)]
pub struct CasesView {
    pub waiting: usize,
    /// Nobody acknowledged these in time.
    pub overdue: usize,
    pub cases: Vec<CaseView>,
}

/// The routes of this file.
pub fn router() -> OpenApiRouter<House> {
    OpenApiRouter::new()
        .routes(routes!(list))
        .routes(routes!(acknowledge))
        .routes(routes!(close))
        .routes(routes!(put_help))
}

/// Cases that wait for a person
#[utoipa::path(get, path = "/review-cases", tag = "hseg", operation_id = "review_cases", params(("with_closed" = Option<bool>, Query, description = "Closed ones too. Default: false.")),
    responses((status = 200, description = "Those that the caller's role is named for: first those that wait, the most urgent of them first.", body = CasesView)))]
async fn list(
    State(house): State<House>,
    caller: Known,
    Query(which): Query<Which>,
) -> Result<Answer<CasesView>, Refusal> {
    let now = now_us();
    let cases = case::all(&house.store, &caller.tenant, which.with_closed).await?;
    let waiting = cases
        .iter()
        .filter(|case| case.acknowledged.is_none() && case.closed.is_none());
    Ok(Answer(CasesView {
        waiting: waiting.count(),
        overdue: cases.iter().filter(|case| case.is_overdue(now)).count(),
        cases: cases
            .into_iter()
            .filter(|case| must_be_named(&caller, case).is_ok())
            .map(|case| view_of(case, now))
            .collect(),
    }))
}

/// Say that one looks at a case
#[utoipa::path(post, path = "/review-cases/{id}/acknowledge", tag = "hseg", operation_id = "acknowledge_case", params(("id" = String, Path, description = "The case.")),
    responses((status = 200, description = "The case.", body = CaseView)))]
async fn acknowledge(
    State(house): State<House>,
    caller: Known,
    Extension(origin): Extension<Origin>,
    Path(id): Path<String>,
) -> Result<Answer<CaseView>, Refusal> {
    let id = id_of(&id, "id")?;
    let found = case::get(&house.store, &caller.tenant, id).await?;
    must_be_named(&caller, &found)?;
    let by = caller.principal.to_string();
    let now = now_us();
    let taken = case::acknowledge(&house.store, &caller.tenant, id, &by, now).await?;
    let detail = json!({ "act": "case-acknowledged", "case": id.to_string() });
    record(&house, &caller, &origin, detail).await?;
    Ok(Answer(view_of(taken, now)))
}

/// End a case, with what was done
#[utoipa::path(post, path = "/review-cases/{id}/close", tag = "hseg", operation_id = "close_case", params(("id" = String, Path, description = "The case.")), request_body = CloseWish,
    responses((status = 200, description = "The case.", body = CaseView)))]
async fn close(
    State(house): State<House>,
    caller: Known,
    Extension(origin): Extension<Origin>,
    Path(id): Path<String>,
    Json(wish): Json<CloseWish>,
) -> Result<Answer<CaseView>, Refusal> {
    let id = id_of(&id, "id")?;
    if wish.note.trim().is_empty() {
        return Err(Fault::new("note", "an empty text", "what was done, in a few words").into());
    }
    let found = case::get(&house.store, &caller.tenant, id).await?;
    must_be_named(&caller, &found)?;
    let by = caller.principal.to_string();
    let now = now_us();
    let ended = case::close(&house.store, &caller.tenant, id, &by, &wish.note, now).await?;
    let detail = json!({ "act": "case-closed", "case": id.to_string() });
    record(&house, &caller, &origin, detail).await?;
    Ok(Answer(view_of(ended, now)))
}

/// Replace what help is shown in a country
#[utoipa::path(put, path = "/help-resources/{country}", tag = "hseg", operation_id = "put_help_resources", params(("country" = String, Path, description = "Two letters (ISO 3166); ZZ for everywhere else.")), request_body = ResourcesWish,
    responses((status = 204, description = "Shown from now on.")))]
async fn put_help(
    State(house): State<House>,
    caller: Known,
    Path(country): Path<String>,
    Json(wish): Json<ResourcesWish>,
) -> Result<axum::http::StatusCode, Refusal> {
    let country = country_of(&country)?;
    let texts = wish
        .resources
        .iter()
        .flat_map(|it| [&it.name, &it.contact, &it.hours, &it.note]);
    let is_kept = |text: &String| text.len() <= TEXT_BYTES_MAX && !text.contains('\0');
    let number = wish.resources.len();
    if number == 0 || number > RESOURCES_MAX || !texts.into_iter().all(is_kept) {
        let allowed = format!("1 to {RESOURCES_MAX}, each text of at most {TEXT_BYTES_MAX} bytes");
        return Err(Fault::new("resources", &format!("{number} resources"), allowed).into());
    }
    for (place, line) in wish.resources.iter().enumerate() {
        for (field, text) in [("name", &line.name), ("contact", &line.contact)] {
            if text.trim().is_empty() {
                let path = format!("resources.{place}.{field}");
                let allowed = "words that tell somebody in distress whom to turn to, and how";
                return Err(Fault::new(path, "an empty text", allowed).into());
            }
        }
    }
    let by = caller.principal.to_string();
    let put = resources::put(
        &house.store,
        &caller.tenant,
        &country,
        &wish.resources,
        &by,
        now_us(),
    );
    put.await?;
    note_change(&house, &caller.tenant, &by, &country).await?;
    Ok(axum::http::StatusCode::NO_CONTENT)
}

fn must_be_named(caller: &Known, case: &Case) -> Result<(), Refusal> {
    if caller.roles.contains(case.role) || caller.roles.contains(Role::Admin) {
        return Ok(());
    }
    let detail = format!("this case is for the role {}", case.role);
    Err(Refusal::new(Code::Forbidden, detail))
}

fn view_of(case: Case, now_us: i64) -> CaseView {
    let state = match (&case.closed, &case.acknowledged) {
        (Some(_), _) => "closed",
        (None, Some(_)) => "acknowledged",
        (None, None) if case.is_overdue(now_us) => "overdue",
        (None, None) => "waiting",
    };
    let (acknowledged_at, acknowledged_by) = case.acknowledged.unzip();
    let (closed_at, closed_by) = case.closed.unzip();
    CaseView {
        id: case.id.to_string(),
        state: state.to_owned(),
        organization_id: case.organization.map(|id| id.to_string()),
        campaign_id: case.campaign.map(|id| id.to_string()),
        decision_id: case.decision.map(|id| id.to_string()),
        urgency: Urgency::of(&case.reasons)
            .unwrap_or(Urgency::Urgent)
            .word()
            .to_owned(),
        reasons: case.reasons,
        role: case.role.to_string(),
        opened_at: text(case.opened_us),
        due_at: text(case.due_us),
        acknowledged_by,
        acknowledged_at: acknowledged_at.map(text),
        closed_by,
        closed_at: closed_at.map(text),
        note: case.note,
    }
}
