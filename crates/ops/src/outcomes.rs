//! Outcomes: what really happened, joined to the decision it is about.
//!
//! The decision is named by its id, or by the person, the model and a time. What a late, repeated or contradicting report
//! becomes is the store's ([`ombud_store::outcome`]); that it came is on record. What happened is told in the words of the
//! version that decided (`value.rs`).

mod value;

use crate::error::{Error, Result};
use crate::ops::{Caller, Ops};
use crate::perform::new_id;
use ombud_core::refusal::Fault;
use ombud_core::task::Outputs;
use ombud_core::{ModelName, Version};
use ombud_ledger::reader::Query;
use ombud_ledger::record::Record;
use ombud_ledger::{Kind, RecordId, Subject, Tenant};
use ombud_store::Environment;
use ombud_store::outcome::{FreeText, Kept, NewOutcome};
use serde::Deserialize;
use serde_json::json;

/// Reports that may come at once.
pub const REPORTS_AT_ONCE_MAX: usize = 1_000;

/// How far the clock of whoever reports may be ahead of ours.
pub const SKEW_US_MAX: i64 = 5 * 60 * SECOND_US;
const SECOND_US: i64 = 1_000_000;

/// A report.
#[derive(Debug, Clone)]
pub struct Report {
    pub about: About,
    /// What happened, in the model's own terms: a class, labels, a number or a segment.
    pub value: serde_json::Value,
    pub note: Option<FreeText>,
    /// When it was observed.
    pub observed_us: i64,
}

/// Which decision a report is about.
#[derive(Debug, Clone)]
pub enum About {
    Decision(RecordId),
    /// The one decision of a model about a person within a time: from, until.
    Person {
        subject: Subject,
        model: ModelName,
        from_us: i64,
        until_us: i64,
    },
}

/// A report that was taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Taken {
    pub decision: RecordId,
    pub kept: Kept,
}

/// Nobody has seen what is yet to come, nor what came of a decision before it was made. A time in whole seconds may lie in
/// the decision's own second.
fn check_observed(observed_us: i64, decided_us: i64, now_us: i64) -> Result<()> {
    let allowed = if observed_us > now_us.saturating_add(SKEW_US_MAX) {
        "a time that has passed: what is yet to come has not been observed"
    } else if observed_us < decided_us - decided_us.rem_euclid(SECOND_US) {
        "a time after the decision: what happened before it is no outcome of it"
    } else {
        return Ok(());
    };
    let came = format!("{} s from now", (observed_us - now_us) / SECOND_US);
    Err(Error::Refused(
        Fault::new("observed_at", &came, allowed).into(),
    ))
}

impl Ops {
    /// Takes one report.
    pub async fn report(&self, tenant: &Tenant, caller: &Caller, report: Report) -> Result<Taken> {
        let record = self.decision_meant(tenant, &report.about).await?;
        let id = record.id;
        let no_decision = || Error::NoDecision { id };
        let (model, version) = record
            .model
            .clone()
            .zip(record.version)
            .ok_or_else(no_decision)?;
        let environment = record.environment.as_deref().ok_or_else(no_decision)?;
        let now_us = self.now_us();
        check_observed(report.observed_us, record.time_us, now_us)?;
        let outputs = self.outputs(tenant, &model, version).await?;
        let value = value::in_words_of(&outputs, report.value)
            .map_err(|fault| Error::Refused(fault.into()))?;
        let outcome = NewOutcome {
            decision: id,
            value,
            note: report.note,
            model: model.clone(),
            version,
            environment: Environment::new(environment).map_err(|_| no_decision())?,
            subject: record.subject,
            decided_us: record.time_us,
            observed_us: report.observed_us,
            reported_by: caller.principal.clone(),
        };
        let store = &self.shared.registry.store;
        let kept = store.add_outcome(tenant, outcome, now_us).await?;
        let mut entry = caller.entry(new_id(now_us)?, Kind::Outcome, now_us);
        entry.model = Some(model);
        entry.version = Some(version);
        entry.environment = record.environment;
        let standing = kept.standing.as_str();
        let detail =
            json!({ "decision": id.to_string(), "standing": standing, "late": kept.is_late });
        entry.detail = Some(detail.to_string());
        self.shared.ledger.append(tenant, entry).await?;
        Ok(Taken { decision: id, kept })
    }

    /// Takes many; each is taken or refused for itself.
    pub async fn report_all(
        &self,
        tenant: &Tenant,
        caller: &Caller,
        reports: Vec<Report>,
    ) -> Result<Vec<Result<Taken>>> {
        let rows = reports.len();
        if rows > REPORTS_AT_ONCE_MAX {
            let rows_max = REPORTS_AT_ONCE_MAX;
            return Err(Error::TooManyRows { rows, rows_max });
        }
        let mut taken = Vec::with_capacity(rows);
        for report in reports {
            taken.push(self.report(tenant, caller, report).await);
        }
        Ok(taken)
    }

    /// What the answers of a version are made of.
    async fn outputs(
        &self,
        tenant: &Tenant,
        model: &ModelName,
        version: Version,
    ) -> Result<Outputs> {
        /// The part of a manifest that is looked at.
        #[derive(Deserialize)]
        struct Manifest {
            outputs: Outputs,
        }
        if let Some(warm) = self.routing().find(tenant, model, version) {
            return Ok(warm.model.manifest().outputs.clone());
        }
        let store = &self.shared.registry.store;
        let text = store.manifest(tenant, model, version).await?;
        let unreadable = |_| ombud_store::Error::Unreadable { what: "manifest" };
        let manifest: Manifest = serde_json::from_str(&text).map_err(unreadable)?;
        Ok(manifest.outputs)
    }

    /// The decision that a report means.
    pub async fn decision_meant(&self, tenant: &Tenant, about: &About) -> Result<Record> {
        match about {
            About::Decision(id) => {
                let record = self.recorded(tenant, *id).await?;
                let is_decision = |record: &Record| record.kind == Kind::Decision;
                record
                    .filter(is_decision)
                    .ok_or(Error::NoDecision { id: *id })
            }
            About::Person {
                subject,
                model,
                from_us,
                until_us,
            } => {
                let (owner, subject) = (tenant.clone(), subject.clone());
                let query = Query {
                    model: Some(model.clone()),
                    kind: Some(Kind::Decision),
                    from_us: *from_us,
                    until_us: *until_us,
                    limit: 2,
                    ..Query::default()
                };
                let find = move |reader: &ombud_ledger::Reader| {
                    let Some(person) = reader.subject_reference(&owner, &subject)? else {
                        return Ok(Vec::new());
                    };
                    let query = Query {
                        subject: Some(person),
                        ..query
                    };
                    Ok(reader.page(&owner, &query)?.records)
                };
                let mut found = self.shared.ledger.read(find).await?;
                match (found.pop(), found.is_empty()) {
                    (Some(record), true) => Ok(record),
                    (Some(_), false) => Err(Error::Ambiguous),
                    (None, _) => Err(Error::NoMatch),
                }
            }
        }
    }
}
