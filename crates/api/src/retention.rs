//! How long what was asked about people is kept, by model.
//!
//! The settings say how many days ([`Policy`]); the server forgets what is older ([`forget_old`]), for every tenant. What is
//! sealed ends by whole months, because a data key is a month's, so it is kept up to a month longer than the days say.

use crate::house::House;
use crate::refusal::chain;
use crate::time::now_us;
use ombud_core::ModelName;
use ombud_ledger::Tenant;
use std::collections::BTreeMap;

const DAY_US: i64 = 86_400_000_000;
/// The name that records of forgetting carry.
const PRINCIPAL: &str = "retention";
/// Every model that is not named.
const OTHERS: &str = "*";

/// Days by model.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Policy {
    named: BTreeMap<ModelName, u32>,
    others: Option<u32>,
}

impl Policy {
    /// Reads `MODEL=DAYS` or `*=DAYS`, each once.
    pub fn read(lines: &[String]) -> Result<Self, String> {
        let mut policy = Policy::default();
        for line in lines {
            let wrong = || format!("{line:?} is not understood");
            let (model, days) = line.split_once('=').ok_or_else(wrong)?;
            let days = days.trim().parse().ok().filter(|days| *days > 0);
            let days: u32 = days.ok_or_else(wrong)?;
            let before = match model.trim() {
                OTHERS => policy.others.replace(days),
                name => {
                    let name = ModelName::new(name).map_err(|_| wrong())?;
                    policy.named.insert(name, days)
                }
            };
            if before.is_some() {
                return Err(format!("{:?} is named twice", model.trim()));
            }
        }
        Ok(policy)
    }

    /// Before which moment a model's decisions are forgotten.
    fn before_us(&self, model: &ModelName, now_us: i64) -> Option<(i64, u32)> {
        let days = self.named.get(model).copied().or(self.others)?;
        Some((now_us - i64::from(days) * DAY_US, days))
    }
}

/// Forgets what is too old, of every tenant's models. What fails is told and tried again the next time.
pub async fn forget_old(house: &House, policy: &Policy) {
    let tenants = match house.tenants().await {
        Ok(tenants) => tenants,
        Err(error) => {
            tracing::warn!(cause = %chain(&error), "what is too old could not be looked for");
            return;
        }
    };
    for tenant in tenants {
        if let Err(error) = forget_of(house, policy, &tenant).await {
            tracing::warn!(cause = %chain(&error), %tenant, "what is too old could not be forgotten");
        }
    }
}

async fn forget_of(
    house: &House,
    policy: &Policy,
    tenant: &Tenant,
) -> Result<(), ombud_ops::Error> {
    let caller = ombud_ops::Caller {
        principal: PRINCIPAL.to_owned(),
        ..ombud_ops::Caller::default()
    };
    for model in house.store.models(tenant).await? {
        let Some((before_us, days)) = policy.before_us(&model.name, now_us()) else {
            continue;
        };
        let reason = format!("kept for {days} days");
        loop {
            let (ops, name) = (&house.ops, model.name.clone());
            let step = ops
                .retain(tenant, &caller, name, before_us, &reason)
                .await?;
            if step.is_complete {
                break;
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(lines: &[&str]) -> Result<Policy, String> {
        let lines: Vec<String> = lines.iter().map(|line| (*line).to_owned()).collect();
        Policy::read(&lines)
    }

    #[test]
    fn a_named_model_has_its_own_days_and_every_other_the_rest() {
        let policy = read(&["claims=30", "*=365"]).expect("a policy");
        let before = |name| policy.before_us(&ModelName::new(name).expect("a name"), 400 * DAY_US);
        assert_eq!(before("claims"), Some((370 * DAY_US, 30)));
        assert_eq!(before("mood"), Some((35 * DAY_US, 365)));
        let nothing = read(&[])
            .expect("none")
            .before_us(&ModelName::new("mood").expect("a name"), 0);
        assert_eq!(nothing, None);
    }

    #[test]
    fn what_is_no_policy_is_refused() {
        for wrong in [
            &["claims"][..],
            &["claims=0"],
            &["claims=ten"],
            &["Cla ims=3"],
            &["*=3", "*=4"],
        ] {
            assert!(read(wrong).is_err(), "{wrong:?}");
        }
    }
}
