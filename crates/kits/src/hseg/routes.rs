//! The kit's routes, and what each asks of its caller.
//!
//! Paths and bodies are what this system's clients use today. A respondent needs no key: an invitation lets them answer
//! once, and nothing of where they came from is handed on. Everybody else is let in by the house's own table of rights.

pub mod analytics;
pub mod campaigns;
pub mod cases;
pub mod info;
pub mod organizations;
pub mod predict;
pub mod survey;
pub mod upload;

use super::keep::{self, Traces};
use super::process;
use ombud_api::access::Access::{self, Anonymous, Known, Needs};
use ombud_api::access::Right;
use ombud_api::kit::{Deed, Kit};
use ombud_api::request::Origin;
use ombud_api::{Caller, Code, House, Refusal};
use ombud_core::Fault;
use ombud_ledger::{Entry, Kind, RecordId, Tenant};
use serde_json::Value;
use utoipa_axum::router::OpenApiRouter;

/// The kit, as a server takes it in.
pub const KIT: Kit = Kit {
    name: "hseg",
    router,
    access: ACCESS,
    tables: keep::TABLES,
    jobs: &[Deed {
        kind: process::KIND,
        run: process::run,
    }],
    // Whoever answered just before a server was killed left traces.
    start: |house| Traces::OfAnswers.wipe_soon(&house.store),
};

const ACCESS: &[(&str, &str, Access)] = &[
    ("POST", "/predict/individual", Needs(Right::Decide)),
    ("POST", "/predict/batch/individual", Needs(Right::Decide)),
    ("POST", "/predict/communication_risk", Needs(Right::Decide)),
    ("POST", "/predict/organizational", Needs(Right::Decide)),
    ("GET", "/organizations", Needs(Right::SeeDecisions)),
    ("POST", "/organizations", Needs(Right::CollectAnswers)),
    ("GET", "/organizations/{id}", Needs(Right::SeeDecisions)),
    (
        "GET",
        "/organizations/{id}/risk-profile",
        Needs(Right::SeeDecisions),
    ),
    ("GET", "/campaigns", Needs(Right::SeeDecisions)),
    ("POST", "/campaigns", Needs(Right::CollectAnswers)),
    ("GET", "/campaigns/{id}", Needs(Right::SeeDecisions)),
    ("POST", "/campaigns/{id}/open", Needs(Right::CollectAnswers)),
    (
        "POST",
        "/campaigns/{id}/close",
        Needs(Right::CollectAnswers),
    ),
    (
        "POST",
        "/campaigns/{id}/invitations",
        Needs(Right::CollectAnswers),
    ),
    (
        "POST",
        "/campaigns/{id}/process",
        Needs(Right::CollectAnswers),
    ),
    ("GET", "/survey", Anonymous),
    ("GET", "/survey/page.js", Anonymous),
    ("GET", "/survey/statements", Anonymous),
    ("POST", "/survey/responses", Anonymous),
    ("POST", "/upload/survey-data", Needs(Right::CollectAnswers)),
    (
        "GET",
        "/analytics/dashboard/{org_id}",
        Needs(Right::SeeDecisions),
    ),
    ("GET", "/review-cases", Needs(Right::SeeCases)),
    (
        "POST",
        "/review-cases/{id}/acknowledge",
        Needs(Right::SeeCases),
    ),
    ("POST", "/review-cases/{id}/close", Needs(Right::SeeCases)),
    ("GET", "/help-resources/{country}", Anonymous),
    (
        "PUT",
        "/help-resources/{country}",
        Needs(Right::CollectAnswers),
    ),
    ("GET", "/scoring/info", Known),
    ("GET", "/models/info", Needs(Right::SeeModels)),
    ("POST", "/models/reload", Needs(Right::Deploy)),
    ("GET", "/pipeline/status", Needs(Right::SeeModels)),
];

fn router() -> OpenApiRouter<House> {
    OpenApiRouter::new()
        .merge(predict::router())
        .merge(organizations::router())
        .merge(campaigns::router())
        .merge(survey::router())
        .merge(upload::router())
        .merge(analytics::router())
        .merge(cases::router())
        .merge(info::router())
}

/// An id that somebody sent.
fn id_of(text: &str, what: &'static str) -> Result<RecordId, Refusal> {
    text.parse()
        .map_err(|_| Fault::new(what, text, "an id as this server gives them").into())
}

/// Writes an act down without where it came from, because it came from a respondent or about one.
pub(super) async fn record_without_origin(
    house: &House,
    tenant: &Tenant,
    kind: Kind,
    principal: Option<&str>,
    detail: Value,
) -> Result<(), Refusal> {
    let now = ombud_api::time::now_us();
    let id = RecordId::generate(now).map_err(|error| Refusal::internal(&error))?;
    let entry = Entry {
        principal: principal.map(str::to_owned),
        detail: Some(detail.to_string()),
        ..Entry::new(id, kind, now)
    };
    house.ledger.append(tenant, entry).await?;
    Ok(())
}

/// Writes an act of somebody down.
async fn record(
    house: &House,
    caller: &Caller,
    origin: &Origin,
    detail: Value,
) -> Result<(), Refusal> {
    house
        .record(Kind::Settings, caller, origin, detail)
        .await
        .map(drop)
}

/// What is told when something cannot be done in the state that it is in.
fn conflict(detail: impl Into<String>) -> Refusal {
    Refusal::new(Code::Conflict, detail)
}

/// A number as it is told: two decimals.
fn told(number: f64) -> f64 {
    (number * 100.0).round() / 100.0
}
