//! `/survey`: the respondent's side. No key, no account, no trace of where an answer came from.
//!
//! The page reads the invitation from behind the `#` of its link, which a browser sends to nobody, and posts it in a body.
//! Whoever writes that they may be in danger is shown at once where help is; a review case is opened, which tells that
//! there was such an answer and not whose.

use super::record_without_origin;
use crate::hseg::asking::Models;
use crate::hseg::crisis::{Crisis, judge, judge_by_words};
use crate::hseg::keep::campaign::{self, seal};
use crate::hseg::keep::resources::{self, Resource};
use crate::hseg::keep::{Traces, case, organization};
use crate::hseg::response::Response;
use crate::hseg::survey::{Domain, Framing, OPEN_QUESTIONS, STATEMENTS};
use axum::Json as Answer;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use ombud_api::extract::{Json, Path, Query};
use ombud_api::time::now_us;
use ombud_api::{Code, House, Refusal};
use ombud_core::Fault;
use ombud_ledger::{Kind, Tenant};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

const PAGE: &str = include_str!("../page/survey.html");
const SCRIPT: &str = include_str!("../page/survey.js");
const PAGE_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'unsafe-inline'; connect-src 'self'; \
    frame-ancestors 'none'; base-uri 'none'; form-action 'none'";

/// A respondent's answer.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RespondWish {
    /// What stands behind the `#` of the invitation's link.
    pub invitation: String,
    /// `q1` to `q22`, each 1 to 4, 4 the healthiest; any may be missing.
    #[schema(value_type = Object)]
    pub survey_responses: Map<String, Value>,
    /// `q23` to `q25`.
    #[serde(default)]
    #[schema(value_type = Option<Object>)]
    pub text_responses: Option<Map<String, Value>>,
    /// Everything may be missing.
    #[serde(default)]
    #[schema(value_type = Option<Object>)]
    pub demographics: Option<Map<String, Value>>,
    #[serde(default)]
    #[schema(value_type = Option<Object>)]
    pub response_quality: Option<Map<String, Value>>,
}

/// Which wording.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Wording {
    #[serde(default)]
    domain: Option<String>,
}

/// What was taken in.
#[derive(Debug, Serialize, ToSchema)]
pub struct ThanksView {
    pub message: String,
    /// Where help is, when what was written sounds as if it may be needed; empty otherwise.
    pub resources: Vec<Resource>,
}

/// What is asked.
#[derive(Debug, Serialize, ToSchema)]
pub struct StatementsView {
    pub domain: String,
    pub statements: Vec<StatementView>,
    pub open_questions: Vec<OpenQuestionView>,
}

/// One statement.
#[derive(Debug, Serialize, ToSchema)]
pub struct StatementView {
    pub name: String,
    pub text: String,
    /// Whether agreeing is good news; where it is not, 5 minus the agreement is the rating to send.
    pub is_positive: bool,
}

/// One open question.
#[derive(Debug, Serialize, ToSchema)]
pub struct OpenQuestionView {
    pub name: String,
    pub text: String,
}

/// Where help is.
#[derive(Debug, Serialize, ToSchema)]
pub struct ResourcesView {
    pub country: String,
    /// Whether somebody of this house has put or checked these lines; what the kit ships must be.
    pub is_reviewed: bool,
    pub resources: Vec<Resource>,
}

/// The routes of this file.
pub fn router() -> OpenApiRouter<House> {
    OpenApiRouter::new()
        .routes(routes!(page))
        .routes(routes!(script))
        .routes(routes!(statements))
        .routes(routes!(respond))
        .routes(routes!(help))
}

/// The page that an invitation leads to
#[utoipa::path(get, path = "/survey", tag = "hseg", operation_id = "survey_page", security(()), responses((status = 200, description = "The page.", content_type = "text/html", body = String)))]
async fn page() -> impl IntoResponse {
    let kind = (header::CONTENT_TYPE, "text/html; charset=utf-8");
    ([kind, (header::CONTENT_SECURITY_POLICY, PAGE_POLICY)], PAGE)
}

/// The page's script
#[utoipa::path(get, path = "/survey/page.js", tag = "hseg", operation_id = "survey_script", security(()), responses((status = 200, description = "The script.", content_type = "text/javascript", body = String)))]
async fn script() -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "text/javascript")], SCRIPT)
}

/// What is asked, worded for a domain
#[utoipa::path(get, path = "/survey/statements", tag = "hseg", operation_id = "survey_statements", security(()), params(("domain" = Option<String>, Query, description = "`Healthcare`, `University` or `Business`; absent: Business.")),
    responses((status = 200, description = "The statements.", body = StatementsView)))]
async fn statements(Query(wording): Query<Wording>) -> Result<Answer<StatementsView>, Refusal> {
    let word = wording.domain.as_deref().unwrap_or("Business");
    let domain = Domain::parse(word).ok_or_else(|| {
        let words = Domain::ALL.map(Domain::word).join(", ");
        Refusal::from(Fault::new("domain", word, words))
    })?;
    Ok(Answer(statements_of(domain)))
}

/// Answer a survey once, without being known
#[utoipa::path(post, path = "/survey/responses", tag = "hseg", operation_id = "respond", security(()), request_body = RespondWish,
    responses((status = 201, description = "Taken in.", body = ThanksView)))]
async fn respond(
    State(house): State<House>,
    Json(wish): Json<RespondWish>,
) -> Result<(StatusCode, Answer<ThanksView>), Refusal> {
    let read = |domain: Domain| {
        Response::read(
            domain.word(),
            &wish.survey_responses,
            wish.text_responses.as_ref(),
            wish.demographics.as_ref(),
            wish.response_quality.as_ref(),
        )
    };
    // Before the invitation is looked at: whoever mailed the links could else learn, by an answer that cannot be taken in,
    // which of them were used.
    read(Domain::Business)?;
    let invited = campaign::invited(&house.store, &wish.invitation).await?;
    let (tenant, found) = invited.ok_or_else(unusable)?;
    let organization = organization::get(&house.store, &tenant, found.organization).await?;
    let response = read(organization.domain)?;
    let safe = found.safe(&house.ledger, &tenant)?;
    let clear = zeroize::Zeroizing::new(response.written().to_string());
    let sealed = seal(&safe, clear.as_bytes())?;
    let is_taken = campaign::respond(&house.store, &tenant, found.id, &wish.invitation, sealed);
    if !is_taken.await? {
        return Err(unusable());
    }
    Traces::OfAnswers.wipe_soon(&house.store);
    let crisis = response.text().map(|text| heard(&house, &tenant, &text));
    let crisis = crisis.unwrap_or_default();
    let mut resources = Vec::new();
    if let Some(urgency) = crisis.urgency() {
        let new = case::NewCase {
            organization: Some(organization.id),
            campaign: Some(found.id),
            decision: None,
            reasons: crisis.kinds,
            role: organization.case_role,
            hours: urgency.hours(organization.case_hours),
        };
        case::open(&house.store, &tenant, new, now_us()).await?;
        resources = resources::of(&house.store, &tenant, &organization.country).await?;
    }
    let message =
        "Thank you. Your answer was taken in; it cannot be traced back to you.".to_owned();
    Ok((
        StatusCode::CREATED,
        Answer(ThanksView { message, resources }),
    ))
}

/// Both nets, where models are at work, else the curated words. Nothing is recorded of it: the moment must not be.
fn heard(house: &House, tenant: &Tenant, text: &str) -> Crisis {
    let models = Models::new(house, tenant, "respondent", None);
    let read = || models.panel().ok()?.reader().ok()?.read(text).ok();
    match read() {
        Some(read) => judge(read.risk, &read.reading),
        None => judge_by_words(text),
    }
}

/// Where people in distress find help
#[utoipa::path(get, path = "/help-resources/{country}", tag = "hseg", operation_id = "help_resources", security(()), params(("country" = String, Path, description = "Two letters (ISO 3166).")),
    responses((status = 200, description = "Where help is.", body = ResourcesView)))]
async fn help(
    State(house): State<House>,
    Path(country): Path<String>,
) -> Result<Answer<ResourcesView>, Refusal> {
    let country = country_of(&country)?;
    let resources = resources::of(&house.store, house.tenant(), &country).await?;
    let is_reviewed = resources::is_put(&house.store, house.tenant(), &country).await?;
    Ok(Answer(ResourcesView {
        country,
        is_reviewed,
        resources,
    }))
}

/// A country's code as it is kept.
pub fn country_of(text: &str) -> Result<String, Refusal> {
    let code = text.to_ascii_uppercase();
    if code.len() == 2 && code.bytes().all(|byte| byte.is_ascii_uppercase()) {
        return Ok(code);
    }
    Err(Fault::new("country", text, "two letters, such as DE").into())
}

/// What is asked in a domain.
pub fn statements_of(domain: Domain) -> StatementsView {
    let statement = |statement: &crate::hseg::survey::Statement| StatementView {
        name: statement.name.to_owned(),
        text: statement.text(domain).to_owned(),
        is_positive: statement.framing == Framing::Positive,
    };
    let question = |question: &crate::hseg::survey::OpenQuestion| OpenQuestionView {
        name: question.name.to_owned(),
        text: question.text.to_owned(),
    };
    StatementsView {
        domain: domain.word().to_owned(),
        statements: STATEMENTS.iter().map(statement).collect(),
        open_questions: OPEN_QUESTIONS.iter().map(question).collect(),
    }
}

/// Unknown, used and closed are told in the same words: whether somebody answered is nobody's business.
fn unusable() -> Refusal {
    Refusal::new(
        Code::Conflict,
        "this invitation cannot be used: it is not known, was used, or its survey has ended",
    )
}

/// Records that somebody changed what help is shown.
pub async fn note_change(
    house: &House,
    tenant: &Tenant,
    principal: &str,
    country: &str,
) -> Result<(), Refusal> {
    let detail = json!({ "act": "help-changed", "country": country });
    record_without_origin(house, tenant, Kind::Settings, Some(principal), detail).await
}

impl std::fmt::Debug for RespondWish {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("RespondWish(…)")
    }
}
