//! Putting a model to work by name alone, as clients of the inference protocol ask for it.
//!
//! Somebody must have approved what is loaded: it is deployed already, it served here until it was withdrawn, or its model's
//! alias [`CHAMPION`] names it. The newest version is not enough, because registering is not approving. Gates are asked for as
//! by any other deployment.

use crate::deploy::Order;
use crate::error::{Error, Result};
use crate::ops::{Caller, Ops};
use crate::perform::Ordered;
use ombud_core::{ModelName, Version};
use ombud_ledger::Tenant;
use ombud_store::event::EventQuery;
use ombud_store::{Deployment, Environment};

/// The alias of the version that should serve.
pub const CHAMPION: &str = "champion";
/// How far back a withdrawal is looked for.
const EVENTS_MAX: usize = 50;
const REASON: &str = "loaded through the inference protocol";

impl Ops {
    /// Makes a model answer in an environment; one that does so already stays as it is.
    pub async fn load(
        &self,
        tenant: &Tenant,
        caller: &Caller,
        model: &ModelName,
        environment: &Environment,
    ) -> Result<Deployment> {
        let store = &self.shared.registry.store;
        if let Some(deployment) = store.deployment(tenant, model, environment).await? {
            let routing = &self.shared.routing;
            if routing.live(tenant, model, environment).is_err() {
                routing.follow(tenant, &[]).await?;
                routing.live(tenant, model, environment)?;
            }
            return Ok(deployment);
        }
        let version = self.approved(tenant, model, environment).await?;
        let ordered = Ordered {
            model: model.clone(),
            environment: environment.clone(),
            order: Order::Deploy { version },
            reason: REASON.to_owned(),
            force: None,
        };
        self.change(tenant, caller, ordered).await
    }

    async fn approved(
        &self,
        tenant: &Tenant,
        model: &ModelName,
        environment: &Environment,
    ) -> Result<Version> {
        let store = &self.shared.registry.store;
        store.model(tenant, model).await?;
        let query = EventQuery {
            model: Some(model.clone()),
            environment: Some(environment.clone()),
            limit: EVENTS_MAX,
            ..EventQuery::default()
        };
        let events = store.events(tenant, &query).await?;
        let withdrawn = events.items.iter().find(|event| event.kind == "withdraw");
        let served = withdrawn.and_then(|event| event.numbers["served"].as_u64());
        let served = served.and_then(|number| Version::new(u32::try_from(number).ok()?));
        let approved = match served {
            Some(version) => Some(version),
            None => store.alias(tenant, model, CHAMPION).await?,
        };
        approved.ok_or_else(|| Error::NothingApproved {
            model: model.clone(),
            environment: environment.clone(),
        })
    }
}
