//! What the house knows about a person: gathered for them, or destroyed.
//!
//! A person's id comes in a body, never in a URL, because URLs end up in logs.

use crate::access::Right;
use crate::extract::{Json, Known};
use crate::house::House;
use crate::refusal::Refusal;
use crate::request::Origin;
use crate::time;
use axum::extract::State;
use axum::{Extension, Json as Answer};
use ombud_ledger::{Opened, Subject};
use ombud_store::outcome::Outcome;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::audit::{OpenedView, cursor_of, cursor_text};

/// Whose data, and why.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SubjectWish {
    #[schema(min_length = 1, max_length = 1024)]
    pub subject: String,
    /// In a person's words; it is recorded.
    #[schema(min_length = 1, max_length = 1000)]
    pub reason: String,
    /// Where the page before said that this one begins.
    #[serde(default)]
    pub after: Option<String>,
}

/// A page of what is known about a person.
#[derive(Debug, Serialize, ToSchema)]
pub struct SubjectView {
    /// Their records, newest first, opened.
    pub records: Vec<OpenedView>,
    /// What was reported about them; with the first page only.
    pub outcomes: Vec<SubjectOutcome>,
    /// What to send as `after` for the next page.
    pub next: Option<String>,
}

/// Something reported about a person.
#[derive(Debug, Serialize, ToSchema)]
pub struct SubjectOutcome {
    pub decision_id: String,
    pub model: String,
    pub value: Value,
    pub note: Option<String>,
    #[schema(format = DateTime)]
    pub observed_at: String,
}

/// That a person was erased.
#[derive(Debug, Serialize, ToSchema)]
pub struct ErasedView {
    /// The person, as the keyed hash that records still carry.
    pub subject: String,
    pub keys_destroyed: usize,
    /// Reports that lost their free text and their tie to the person.
    pub outcomes: u64,
    /// The record that proves it.
    pub record: String,
}

/// The routes of this file.
pub fn router() -> OpenApiRouter<House> {
    OpenApiRouter::new()
        .routes(routes!(export))
        .routes(routes!(erase))
}

/// Gather everything about a person, for that person; recorded first
#[utoipa::path(post, path = "/api/v1/subjects/export", tag = "subjects", request_body = SubjectWish, responses((status = 200, description = "A page of it.", body = SubjectView)))]
async fn export(
    State(house): State<House>,
    caller: Known,
    Extension(origin): Extension<Origin>,
    Json(wish): Json<SubjectWish>,
) -> Result<Answer<SubjectView>, Refusal> {
    caller.may_everywhere(Right::ExportSubject)?;
    let after = wish.after.as_deref().map(cursor_of).transpose()?;
    let subject = wish.checked()?;
    let export = house
        .ops
        .export_subject(
            &caller.tenant,
            &origin.caller(&caller),
            &subject,
            &wish.reason,
            after,
        )
        .await?;
    Ok(Answer(SubjectView {
        next: export.next.map(cursor_text),
        records: export
            .records
            .into_iter()
            .map(|(record, contents)| OpenedView::from(Opened { record, contents }))
            .collect(),
        outcomes: export
            .outcomes
            .into_iter()
            .map(SubjectOutcome::from)
            .collect(),
    }))
}

/// Destroy what is known about a person; the chain still verifies
#[utoipa::path(post, path = "/api/v1/subjects/erase", tag = "subjects", request_body = SubjectWish, responses((status = 200, description = "What was destroyed.", body = ErasedView)))]
async fn erase(
    State(house): State<House>,
    caller: Known,
    Extension(origin): Extension<Origin>,
    Json(wish): Json<SubjectWish>,
) -> Result<Answer<ErasedView>, Refusal> {
    caller.may_everywhere(Right::EraseSubject)?;
    let subject = wish.checked()?;
    let erased = house
        .ops
        .erase_subject(
            &caller.tenant,
            &origin.caller(&caller),
            subject,
            &wish.reason,
        )
        .await?;
    Ok(Answer(ErasedView {
        subject: erased.erased.subject.0.to_string(),
        keys_destroyed: erased.erased.keys_destroyed,
        outcomes: erased.forgotten.outcomes,
        record: erased.erased.recorded.id.to_string(),
    }))
}

impl SubjectWish {
    fn checked(&self) -> Result<Subject, Refusal> {
        let mut wrong = ombud_core::Refusal::default();
        if self.subject.is_empty() {
            wrong.add(ombud_core::Fault::new(
                "subject",
                "an empty text",
                "a person's id",
            ));
        }
        if self.reason.trim().is_empty() {
            wrong.add(ombud_core::Fault::new(
                "reason",
                "an empty text",
                "why, in a person's words",
            ));
        }
        Ok(wrong.or(Subject::new(self.subject.clone()))?)
    }
}

impl From<Outcome> for SubjectOutcome {
    fn from(outcome: Outcome) -> Self {
        SubjectOutcome {
            decision_id: outcome.decision.to_string(),
            model: outcome.model.to_string(),
            value: outcome.value,
            note: outcome.note.map(|note| note.0),
            observed_at: time::text(outcome.observed_us),
        }
    }
}

impl std::fmt::Debug for SubjectWish {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SubjectWish(…)")
    }
}
