//! Outcomes: what really happened, reported after a decision and joined to it.
//!
//! A report names a decision, or a person and a time, which then means that person's last decision by the model before
//! that time. What becomes of late, repeated and contradicting reports is the store's rule.

use crate::access::Right;
use crate::extract::{Json, Known, Path};
use crate::house::House;
use crate::refusal::{Code, Problem, Refusal};
use crate::request::Origin;
use crate::time::{self, now_us};
use axum::extract::State;
use axum::{Extension, Json as Answer};
use ombud_core::{Fault, ModelName};
use ombud_ledger::reader::Query as LedgerQuery;
use ombud_ledger::record::Kind;
use ombud_ledger::{Entry, Record, RecordId, Subject};
use ombud_store::outcome::{FreeText, NewOutcome};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
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
    /// The model whose last decision is meant.
    #[serde(default)]
    pub model: Option<String>,
    /// About whom.
    #[serde(default)]
    pub subject: Option<String>,
    /// The last decision before this time is meant; absent: the last one.
    #[serde(default)]
    #[schema(format = DateTime)]
    pub decided_before: Option<String>,
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
    OpenApiRouter::new().routes(routes!(report)).routes(routes!(report_many))
}

/// Report what really happened after a decision
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
        decided_before: None,
        value: wish.value,
        observed_at: wish.observed_at,
        note: wish.note,
    };
    keep(&house, &caller, &origin, named).await.map(Answer)
}

/// Report what really happened after several decisions; each is judged by itself
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
        return Err(Refusal::new(Code::TooLarge, format!("{} outcomes at once; at most {rows_max}", wish.outcomes.len())));
    }
    let mut results = Vec::with_capacity(wish.outcomes.len());
    for named in wish.outcomes {
        results.push(match keep(&house, &caller, &origin, named).await {
            Ok(view) => OutcomeResult::Kept(view),
            Err(refusal) => OutcomeResult::Refused { error: refusal.problem(&origin.request_id) },
        });
    }
    let kept = results.iter().filter(|result| matches!(result, OutcomeResult::Kept(_))).count();
    Ok(Answer(OutcomesView { kept, refused: results.len() - kept, results }))
}

async fn keep(house: &House, caller: &Known, origin: &Origin, named: NamedOutcome) -> Result<OutcomeView, Refusal> {
    let now = now_us();
    let observed_us = super::audit::time_of("observed_at", named.observed_at.as_deref())?.unwrap_or(now);
    if !is_outcome(&named.value) {
        return Err(Fault::new("value", &named.value.to_string(), "a text, a number, a truth, or a list of texts").into());
    }
    let decision = find(house, caller, &named).await?;
    let (Some(model), Some(version), Some(environment)) = (&decision.model, decision.version, &decision.environment) else {
        return Err(not_a_decision(&decision.id));
    };
    let environment = super::registry::environment(environment)?;
    caller.may_on(Right::ReportOutcomes, model, &environment)?;
    let outcome = NewOutcome {
        decision: decision.id,
        value: named.value,
        note: named.note.map(|note| FreeText(note.0)),
        model: model.clone(),
        version,
        environment,
        subject: decision.subject,
        decided_us: decision.time_us,
        observed_us,
        reported_by: caller.principal.to_string(),
    };
    let detail = json!({ "decision": decision.id.to_string(), "value": outcome.value, "observed_at": time::text(observed_us) });
    let kept = house.store.add_outcome(&caller.tenant, outcome, now).await?;
    let id = RecordId::generate(now).map_err(|error| Refusal::internal(&error))?;
    let entry = Entry {
        model: Some(model.clone()),
        version: Some(version),
        environment: decision.environment.clone(),
        principal: Some(caller.principal.to_string()),
        ip: origin.ip_text(),
        user_agent: origin.user_agent_text(),
        request_id: Some(origin.request_id.to_string()),
        detail: Some(detail.to_string()),
        ..Entry::new(id, Kind::Outcome, now)
    };
    house.ledger.append(&caller.tenant, entry).await?;
    house.metrics.outcomes.of(&[model.as_str()]).add();
    Ok(OutcomeView { decision_id: decision.id.to_string(), standing: kept.standing.as_str().to_owned(), is_late: kept.is_late })
}

async fn find(house: &House, caller: &Known, named: &NamedOutcome) -> Result<Record, Refusal> {
    if let Some(id) = &named.decision_id {
        let id = super::audit::record_id(id)?;
        let tenant = caller.tenant.clone();
        let record = house.ledger.read(move |reader| reader.record(&tenant, &id)).await?;
        return if record.kind == Kind::Decision { Ok(record) } else { Err(not_a_decision(&id)) };
    }
    let (Some(model), Some(subject)) = (&named.model, &named.subject) else {
        return Err(Fault::new("decision_id", "nothing", "a decision's id, or both `model` and `subject`").into());
    };
    let model = ModelName::new(model).map_err(|error| Refusal::malformed(error.to_string()))?;
    let until_us = super::audit::time_of("decided_before", named.decided_before.as_deref())?.unwrap_or(i64::MAX);
    let (tenant, subject) = (caller.tenant.clone(), Subject::new(subject.clone()));
    let found = house.ledger.read(move |reader| {
        let Some(reference) = reader.subject_reference(&tenant, &subject)? else {
            return Ok(None);
        };
        let query = LedgerQuery {
            subject: Some(reference),
            model: Some(model),
            kind: Some(Kind::Decision),
            until_us,
            limit: 1,
            ..LedgerQuery::default()
        };
        Ok(reader.page(&tenant, &query)?.records.into_iter().next())
    });
    found.await?.ok_or_else(|| Refusal::new(Code::NotFound, "this model has decided nothing about this person in that time"))
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

fn not_a_decision(id: &RecordId) -> Refusal {
    Refusal::new(Code::NotFound, format!("there is no decision {id}"))
}

impl std::fmt::Debug for Note {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Note(…)")
    }
}

impl std::fmt::Debug for NamedOutcome {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NamedOutcome").field("decision_id", &self.decision_id).field("model", &self.model).finish_non_exhaustive()
    }
}
