//! Carries out what [`crate::deploy`] decided: warm, record, write, follow, in this order.
//!
//! A version that cannot be warmed changes nothing. The ledger hears of the change before the database does, so that none
//! is without a record; when the database then refuses, a second record says so.

use crate::deploy::{self, Change, Force, Order, Situation};
use crate::error::Result;
use crate::ops::{Caller, Ops};
use ombud_core::manifest::GateResult;
use ombud_core::{Manifest, ModelName, Version};
use ombud_ledger::{Kind, RecordId, Tenant};
use ombud_store::deployment::NewDeployment;
use ombud_store::{Deployment, Environment, Event};
use serde_json::json;

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
        let gates = match ordered.order.candidate(now.as_ref()) {
            Some(version) => self.gates(tenant, model, version).await?,
            None => Vec::new(),
        };
        let situation = Situation {
            model,
            environment,
            now: now.as_ref(),
            gates: &gates,
            force: ordered.force.as_ref(),
            reason: &ordered.reason,
        };
        let change = deploy::decide(&situation, &ordered.order)?;
        let now_us = self.now_us();
        let mut warmed = Vec::new();
        for version in change.traffic.versions() {
            let routing = &self.shared.routing;
            warmed.push(routing.warm(tenant, model, version, now_us).await?);
        }
        let event = event(&change, &ordered, caller, &gates, now_us)?;
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
        self.shared.routing.follow(tenant, &warmed, now_us).await?;
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
        self.shared.routing.follow(tenant, &[], now_us).await
    }

    /// The gates of a version, as its manifest has them.
    async fn gates(
        &self,
        tenant: &Tenant,
        model: &ModelName,
        version: Version,
    ) -> Result<Vec<GateResult>> {
        let store = &self.shared.registry.store;
        let text = store.manifest(tenant, model, version).await?;
        let manifest: Manifest = serde_json::from_str(&text)
            .map_err(|_| ombud_store::Error::Unreadable { what: "manifest" })?;
        Ok(manifest.gates)
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
    gates: &[GateResult],
    now_us: i64,
) -> Result<Event> {
    let numbers: Vec<serde_json::Value> = gates
        .iter()
        .map(|gate| {
            json!({ "gate": gate.name, "passed": gate.passed, "measured": gate.measured, "limit": gate.limit })
        })
        .collect();
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
        numbers: json!({ "gates": numbers }),
        is_forced: change.is_forced,
    })
}
