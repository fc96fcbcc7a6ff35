//! Registrations that a server which was killed left waiting are taken up by the next one that starts.
//!
//! Here, because it is the server that answers a registration before its work is done; doing it is
//! [`ombud_ops::adopt`]'s. Another replica may be at the same version: both make the same bundle, and it is kept once.

use crate::house::House;
use crate::refusal::chain;
use ombud_ledger::Tenant;
use ombud_ops::adopt::Adoption;
use std::sync::Arc;

/// Makes what can be made of versions that were listed before a moment, one after another; each says what became of it. What
/// cannot be looked for is told and looked for again by the next start.
pub async fn take_up(house: &House, before_us: i64) {
    let tenants = match house.tenants().await {
        Ok(tenants) => tenants,
        Err(error) => {
            tracing::warn!(cause = %chain(&error), "waiting registrations could not be looked for");
            return;
        }
    };
    for tenant in tenants {
        if let Err(error) = take_up_of(house, &tenant, before_us).await {
            tracing::warn!(cause = %chain(&error), %tenant, "waiting registrations could not be taken up");
        }
    }
}

async fn take_up_of(
    house: &House,
    tenant: &Tenant,
    before_us: i64,
) -> Result<(), ombud_ops::Error> {
    for waiting in house.store.waiting_versions(tenant, before_us).await? {
        let adoption = Adoption {
            tenant: tenant.clone(),
            caller: ombud_ops::Caller {
                principal: waiting.user,
                ..ombud_ops::Caller::default()
            },
            model: waiting.model,
            version: waiting.version,
            listed_us: waiting.listed_us,
            source: waiting.source,
            folder: waiting.files,
        };
        house.ops.adopt(Arc::clone(&house.depot), adoption).await?;
    }
    Ok(())
}
