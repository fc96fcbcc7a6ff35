//! Carries out what [`crate::deploy`] decided: warm, record, write, follow, in this order.
//!
//! A version that cannot be warmed changes nothing. The ledger hears of the change before the database does, so that none
//! is without a record; when the database then refuses, a second record says so.

use crate::deploy::{self, Change, Force, Order, Situation};
use crate::error::Result;
use crate::gates;
use crate::ops::{Caller, Ops};
use ombud_core::manifest::GateResult;
use ombud_core::{Manifest, ModelName, Version};
use ombud_ledger::{Kind, RecordId, Tenant};
use ombud_store::deployment::NewDeployment;
use ombud_store::{Deployment, Environment, Event};
use serde_json::json;

/// What the event says of a bundle whose gates nobody vouches for.
const UNSIGNED: &str = "the bundle is not signed: its gates and numbers are as its file has them";

/// A version that an order would put to work.
#[derive(Debug)]
struct Candidate {
    gates: Vec<GateResult>,
    signed_by: Option<String>,
}

/// An order with whom it concerns and why.
#[derive(Debug, Clone)]
pub struct Ordered {
    pub model: ModelName,
    pub environment: Environment,
    pub order: Order,
    pub reason: String,
    pub force: Option<Force>,
}

impl Ops {
    /// Changes a deployment: deploy, canary, shadow, promote, rollback, record.
    pub async fn change(
        &self,
        tenant: &Tenant,
        caller: &Caller,
        ordered: Ordered,
    ) -> Result<Deployment> {
        let (model, environment) = (&ordered.model, &ordered.environment);
        let store = &self.shared.registry.store;
        let now = store.deployment(tenant, model, environment).await?;
        let order = match (&ordered.order, &now) {
            // After a canary was taken back nothing is kept warm, and what answered before is in the events.
            (Order::Rollback { to: None }, Some(now)) if now.traffic.previous().is_empty() => {
                let active = now.traffic.active();
                let before = store.served_before(tenant, model, environment, active);
                Order::Rollback { to: before.await? }
            }
            (order, _) => order.clone(),
        };
        let candidate = match order.candidate(now.as_ref()) {
            Some(version) => Some(self.candidate(tenant, model, version).await?),
            None => None,
        };
        let has_served = match order {
            Order::Rollback { to: Some(version) } => {
                store
                    .has_served(tenant, model, environment, version)
                    .await?
            }
            _ => false,
        };
        let situation = Situation {
            model,
            environment,
            now: now.as_ref(),
            gates: candidate.as_ref().map_or(&[], |candidate| &candidate.gates),
            has_served,
            force: ordered.force.as_ref(),
            reason: &ordered.reason,
        };
        let change = deploy::decide(&situation, &order)?;
        let now_us = self.now_us();
        let mut warmed = Vec::new();
        for version in change.traffic.versions() {
            let routing = &self.shared.routing;
            warmed.push(routing.warm(tenant, model, version).await?);
        }
        let candidate = match (candidate, &order, change.traffic.active().first()) {
            // Going back is free, but not silent: the event has the gates of what it goes back to.
            (None, Order::Rollback { .. }, Some(share)) => {
                Some(self.candidate(tenant, model, share.version).await?)
            }
            (candidate, ..) => candidate,
        };
        let event = event(&change, &ordered, caller, candidate.as_ref(), now_us)?;
        self.record_change(tenant, caller, &event, None).await?;
        let wanted = NewDeployment {
            model: model.clone(),
            environment: environment.clone(),
            traffic: change.traffic,
            recording: change.recording,
            expected_revision: change.expected_revision,
        };
        let made = match store.put_deployment(tenant, wanted, &event).await {
            Ok(made) => made,
            Err(error) => {
                let why = error.to_string();
                self.record_change(tenant, caller, &event, Some(why))
                    .await?;
                return Err(error.into());
            }
        };
        self.shared.routing.follow(tenant, &warmed).await?;
        Ok(made)
    }

    /// Takes a model out of an environment.
    pub async fn withdraw(
        &self,
        tenant: &Tenant,
        caller: &Caller,
        model: &ModelName,
        environment: &Environment,
        reason: &str,
    ) -> Result<()> {
        let store = &self.shared.registry.store;
        let now_us = self.now_us();
        let now = store.deployment(tenant, model, environment).await?;
        let now = now.ok_or_else(|| crate::Error::NotDeployed {
            model: model.clone(),
            environment: environment.clone(),
        })?;
        let event = Event {
            id: new_id(now_us)?,
            time_us: now_us,
            kind: "withdraw".to_owned(),
            model: Some(model.clone()),
            environment: Some(environment.clone()),
            principal: caller.principal.clone(),
            was: now.traffic.to_string(),
            becomes: "nothing".to_owned(),
            reason: reason.to_owned(),
            // The one that comes back when the model is loaded again.
            numbers: json!({ "served": now.traffic.active().first().map(|share| share.version.get()) }),
            is_forced: false,
        };
        self.record_change(tenant, caller, &event, None).await?;
        store
            .remove_deployment(tenant, model, environment, &event)
            .await?;
        self.shared.routing.follow(tenant, &[]).await
    }

    /// A version that is to be put to work: its gates, judged again from the numbers in its manifest, and who signed it.
    async fn candidate(
        &self,
        tenant: &Tenant,
        model: &ModelName,
        version: Version,
    ) -> Result<Candidate> {
        let store = &self.shared.registry.store;
        let text = store.manifest(tenant, model, version).await?;
        let manifest: Manifest = serde_json::from_str(&text)
            .map_err(|_| ombud_store::Error::Unreadable { what: "manifest" })?;
        let registered = store.version(tenant, model, version).await?;
        Ok(Candidate {
            gates: gates::judged(manifest.gates),
            signed_by: registered.signed_by,
        })
    }

    async fn record_change(
        &self,
        tenant: &Tenant,
        caller: &Caller,
        event: &Event,
        abandoned: Option<String>,
    ) -> Result<()> {
        let now_us = self.now_us();
        let mut entry = caller.entry(new_id(now_us)?, Kind::Deployment, now_us);
        entry.model = event.model.clone();
        entry.environment = event.environment.as_ref().map(ToString::to_string);
        let detail = json!({
            "event": event.id.to_string(),
            "kind": event.kind,
            "was": event.was,
            "becomes": event.becomes,
            "reason": event.reason,
            "numbers": event.numbers,
            "forced": event.is_forced,
            "abandoned": abandoned,
        });
        entry.detail = Some(detail.to_string());
        self.shared.ledger.append(tenant, entry).await?;
        Ok(())
    }
}

pub(crate) fn new_id(now_us: i64) -> Result<RecordId> {
    let id = RecordId::generate(now_us).map_err(ombud_ledger::Error::from);
    Ok(id?)
}

fn event(
    change: &Change,
    ordered: &Ordered,
    caller: &Caller,
    candidate: Option<&Candidate>,
    now_us: i64,
) -> Result<Event> {
    let gates: Vec<serde_json::Value> = candidate
        .iter()
        .flat_map(|candidate| &candidate.gates)
        .map(|gate| {
            json!({ "gate": gate.name, "passed": gate.passed, "measured": gate.measured, "limit": gate.limit })
        })
        .collect();
    let mut numbers = json!({ "gates": gates });
    if let Some(candidate) = candidate {
        numbers["signed_by"] = json!(candidate.signed_by);
        let is_unsigned = candidate.signed_by.is_none();
        let mut warnings = Vec::new();
        if is_unsigned && ordered.environment == Environment::production() {
            warnings.push(UNSIGNED.to_owned());
        }
        let failed = candidate.gates.iter().filter(|gate| !gate.passed);
        let failed: Vec<&str> = failed.map(|gate| gate.name.as_str()).collect();
        if !failed.is_empty() && matches!(ordered.order, Order::Rollback { .. }) {
            let gates = failed.join(", ");
            warnings.push(format!("WENT BACK PAST FAILED GATES: {gates}"));
        }
        if !warnings.is_empty() {
            numbers["warning"] = json!(warnings.join("; "));
        }
    }
    Ok(Event {
        id: new_id(now_us)?,
        time_us: now_us,
        kind: change.kind.to_owned(),
        model: Some(ordered.model.clone()),
        environment: Some(ordered.environment.clone()),
        principal: caller.principal.clone(),
        was: change.was.clone(),
        becomes: change.becomes.clone(),
        reason: change.reason.clone(),
        numbers,
        is_forced: change.is_forced,
    })
}
