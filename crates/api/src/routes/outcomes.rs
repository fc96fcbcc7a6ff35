//! Outcomes: what really happened, reported after a decision and joined to it.
//!
//! A report names a decision, or a person, a model and a time in which there is one decision about them. What becomes of
//! late, repeated and contradicting reports is the store's rule.

use super::audit::{record_id, time_of};
use crate::access::Right;
use crate::extract::{Json, Known, Path};
use crate::house::House;
use crate::refusal::{Code, Problem, Refusal};
use crate::request::Origin;
use crate::routes::registry::environment;
use crate::time::now_us;
use axum::extract::State;
use axum::{Extension, Json as Answer};
use ombud_core::{Fault, ModelName};
use ombud_ledger::Subject;
use ombud_ops::outcomes::{About, Report};
use ombud_store::Scopes;
use ombud_store::outcome::FreeText;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

/// What really happened after one decision.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct OutcomeWish {
    /// A class, a list of labels, a number or a segment, in the model's own words.
    #[schema(value_type = Value)]
    pub value: Value,
    /// When it was observed; absent: now.
    #[serde(default)]
    #[schema(format = DateTime)]
    pub observed_at: Option<String>,
    /// Free text; removed when the person is erased.
    #[serde(default)]
    #[schema(max_length = 10000)]
    pub note: Option<Note>,
}

/// A person's words about somebody; they do not print.
#[derive(Deserialize, ToSchema)]
#[serde(transparent)]
pub struct Note(String);

/// Several outcomes.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct OutcomesWish {
    #[schema(min_items = 1, max_items = 1000)]
    pub outcomes: Vec<NamedOutcome>,
}

/// What really happened, and after which decision.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NamedOutcome {
    /// The decision; or name a model and a subject.
    #[serde(default)]
    pub decision_id: Option<String>,
    /// The model that decided.
    #[serde(default)]
    pub model: Option<String>,
    /// About whom.
    #[serde(default)]
    pub subject: Option<String>,
    /// The one decision from this time on is meant.
    #[serde(default)]
    #[schema(format = DateTime)]
    pub decided_from: Option<String>,
    /// The one decision before this time is meant.
    #[serde(default)]
    #[schema(format = DateTime)]
    pub decided_until: Option<String>,
    /// A class, a list of labels, a number or a segment, in the model's own words.
    #[schema(value_type = Value)]
    pub value: Value,
    /// When it was observed; absent: now.
    #[serde(default)]
    #[schema(format = DateTime)]
    pub observed_at: Option<String>,
    /// Free text; removed when the person is erased.
    #[serde(default)]
    #[schema(max_length = 10000)]
    pub note: Option<Note>,
}

/// What became of a report.
#[derive(Debug, Serialize, ToSchema)]
pub struct OutcomeView {
    pub decision_id: String,
    /// `first`, `repeated`, `replaces`, `superseded` or `confirms`.
    pub standing: String,
    /// Whether it came more than ninety days after the decision.
    pub is_late: bool,
}

/// What became of several reports, in their order.
#[derive(Debug, Serialize, ToSchema)]
pub struct OutcomesView {
    pub kept: usize,
    pub refused: usize,
    pub results: Vec<OutcomeResult>,
}

/// What became of one of them.
#[derive(Debug, Serialize, ToSchema)]
#[serde(untagged)]
pub enum OutcomeResult {
    Kept(OutcomeView),
    Refused { error: Problem },
}

/// The routes of this file.
pub fn router() -> OpenApiRouter<House> {
    OpenApiRouter::new()
        .routes(routes!(report))
        .routes(routes!(report_many))
}

/// Report what really happened after a decision
///
/// Every report is kept, and one of them counts. The same value observed at the same time is `repeated` and changes nothing;
/// another value `replaces` the one that counted when it was observed later (of two observations at one time the later report
/// counts), else it is `superseded`; the same value observed at another time `confirms`. A report that comes more than ninety days
/// after the decision counts and is marked late. One that was observed before the decision, or more than five minutes from now, is
/// refused. A decision takes 100 reports.
#[utoipa::path(post, path = "/api/v1/decisions/{id}/outcome", tag = "outcomes", params(("id" = String, Path, description = "The decision's id.")), request_body = OutcomeWish,
    responses((status = 200, description = "What became of the report.", body = OutcomeView)))]
async fn report(
    State(house): State<House>,
    caller: Known,
    Extension(origin): Extension<Origin>,
    Path(id): Path<String>,
    Json(wish): Json<OutcomeWish>,
) -> Result<Answer<OutcomeView>, Refusal> {
    caller.may(Right::ReportOutcomes)?;
    let named = NamedOutcome {
        decision_id: Some(id),
        model: None,
        subject: None,
        decided_from: None,
        decided_until: None,
        value: wish.value,
        observed_at: wish.observed_at,
        note: wish.note,
    };
    keep(&house, &caller, &origin, named).await.map(Answer)
}

/// Report what really happened after several decisions; each is judged by itself
///
/// The rules for late, repeated and contradicting reports are those of `/api/v1/decisions/{id}/outcome`.
#[utoipa::path(post, path = "/api/v1/outcomes", tag = "outcomes", request_body = OutcomesWish,
    responses((status = 200, description = "What became of each, in their order.", body = OutcomesView)))]
async fn report_many(
    State(house): State<House>,
    caller: Known,
    Extension(origin): Extension<Origin>,
    Json(wish): Json<OutcomesWish>,
) -> Result<Answer<OutcomesView>, Refusal> {
    caller.may(Right::ReportOutcomes)?;
    let rows_max = house.config.limits.rows_max;
    if wish.outcomes.len() > rows_max {
        return Err(Refusal::new(
            Code::TooLarge,
            format!(
                "{} outcomes at once; at most {rows_max}",
                wish.outcomes.len()
            ),
        ));
    }
    let mut results = Vec::with_capacity(wish.outcomes.len());
    for named in wish.outcomes {
        results.push(match keep(&house, &caller, &origin, named).await {
            Ok(view) => OutcomeResult::Kept(view),
            Err(refusal) => OutcomeResult::Refused {
                error: refusal.problem(&origin.request_id),
            },
        });
    }
    let kept = results
        .iter()
        .filter(|result| matches!(result, OutcomeResult::Kept(_)))
        .count();
    Ok(Answer(OutcomesView {
        kept,
        refused: results.len() - kept,
        results,
    }))
}

async fn keep(
    house: &House,
    caller: &Known,
    origin: &Origin,
    named: NamedOutcome,
) -> Result<OutcomeView, Refusal> {
    let observed_us = time_of("observed_at", named.observed_at.as_deref())?.unwrap_or_else(now_us);
    if !is_outcome(&named.value) {
        return Err(Fault::new(
            "value",
            &named.value.to_string(),
            "a text, a number, a truth, or a list of texts",
        )
        .into());
    }
    let about = within_scopes(house, caller, meant(&named)?).await?;
    let report = Report {
        about,
        value: named.value,
        note: named.note.map(|note| FreeText(note.0)),
        observed_us,
    };
    let taken = house
        .ops
        .report(&caller.tenant, &origin.caller(caller), report)
        .await?;
    house
        .metrics
        .outcomes
        .of(&[taken.kept.standing.as_str()])
        .add();
    Ok(OutcomeView {
        decision_id: taken.decision.to_string(),
        standing: taken.kept.standing.as_str().to_owned(),
        is_late: taken.kept.is_late,
    })
}

fn meant(named: &NamedOutcome) -> Result<About, Refusal> {
    if let Some(id) = &named.decision_id {
        if named.model.is_some() || named.subject.is_some() {
            let came = "beside `model` or `subject`";
            let allowed = "alone, or left out: which of two decisions is meant is not guessed";
            return Err(Fault::new("decision_id", came, allowed).into());
        }
        return Ok(About::Decision(record_id(id)?));
    }
    let (Some(model), Some(subject)) = (&named.model, &named.subject) else {
        return Err(Fault::new(
            "decision_id",
            "nothing",
            "a decision's id, or both `model` and `subject`",
        )
        .into());
    };
    Ok(About::Person {
        subject: Subject::new(subject.clone()),
        model: ModelName::new(model).map_err(|error| Refusal::malformed(error.to_string()))?,
        from_us: time_of("decided_from", named.decided_from.as_deref())?.unwrap_or(i64::MIN),
        until_us: time_of("decided_until", named.decided_until.as_deref())?.unwrap_or(i64::MAX),
    })
}

/// A key for some models and environments reports about decisions there only. Whoever may report about all is not asked twice.
async fn within_scopes(house: &House, caller: &Known, about: About) -> Result<About, Refusal> {
    if caller.scopes == Scopes::EVERYWHERE {
        return Ok(about);
    }
    // Whether there is a decision of a model that the key is not for, is not told.
    if let About::Person { model, .. } = &about {
        caller.may_about(Right::ReportOutcomes, model)?;
    }
    let record = house.ops.decision_meant(&caller.tenant, &about).await?;
    let environment = record.environment.as_deref().map(environment).transpose()?;
    match record.model.zip(environment) {
        Some((model, environment)) => {
            caller.may_on(Right::ReportOutcomes, &model, &environment)?;
            Ok(About::Decision(record.id))
        }
        None => {
            let detail = format!("there is no decision {}", record.id);
            Err(Refusal::new(Code::NotFound, detail))
        }
    }
}

/// What a model could have answered.
fn is_outcome(value: &Value) -> bool {
    match value {
        Value::String(_) | Value::Bool(_) => true,
        Value::Number(number) => number.as_f64().is_some_and(f64::is_finite),
        Value::Array(values) => values.iter().all(Value::is_string),
        Value::Null | Value::Object(_) => false,
    }
}

impl std::fmt::Debug for Note {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Note(…)")
    }
}

impl std::fmt::Debug for NamedOutcome {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NamedOutcome")
            .field("decision_id", &self.decision_id)
            .field("model", &self.model)
            .finish_non_exhaustive()
    }
}
