//! Which version answers whom: a person stays with their version for as long as the shares allow it.
//!
//! A person's place is a hash of who they are, within the tenant, the model and the environment. The newest version takes
//! places from zero upwards, so a canary that grows keeps those it had, and one that shrinks gives the last ones back.

use ombud_core::{ModelName, Version};
use ombud_ledger::Tenant;
use ombud_store::{Environment, Share};
use sha2::{Digest, Sha256};

/// How many places there are: a hundredth of a percent each.
pub const PLACES: u64 = 10_000;

/// The place of a person, or of a question about nobody.
pub fn place(tenant: &Tenant, model: &ModelName, environment: &Environment, who: &[u8]) -> u64 {
    let mut hasher = Sha256::new();
    // Each part with its length, so that no two lists of parts hash alike.
    for part in [
        tenant.as_str().as_bytes(),
        model.as_str().as_bytes(),
        environment.as_str().as_bytes(),
        who,
    ] {
        hasher.update((part.len() as u64).to_be_bytes());
        hasher.update(part);
    }
    let hash: [u8; 32] = hasher.finalize().into();
    let number = hash[..8]
        .iter()
        .fold(0u64, |number, byte| (number << 8) | u64::from(*byte));
    number % PLACES
}

/// The version that answers at a place; none when there are no shares.
pub fn choose(shares: &[Share], place: u64) -> Option<Version> {
    let mut newest_first: Vec<&Share> = shares.iter().collect();
    newest_first.sort_unstable_by_key(|share| std::cmp::Reverse(share.version));
    let mut end = 0;
    for share in &newest_first {
        end += u64::from(share.percent) * PLACES / 100;
        if place < end {
            return Some(share.version);
        }
    }
    newest_first.last().map(|share| share.version)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shares(text: &str) -> Vec<Share> {
        let share = |pair: &str| {
            let (version, percent) = pair.split_once(':').unwrap();
            Share {
                version: version.parse().unwrap(),
                percent: percent.parse().unwrap(),
            }
        };
        text.split(' ').map(share).collect()
    }

    fn places() -> Vec<u64> {
        let tenant = Tenant::new("acme").unwrap();
        let model = ModelName::new("claims").unwrap();
        let place_of = |person: u32| {
            place(
                &tenant,
                &model,
                &Environment::production(),
                &person.to_be_bytes(),
            )
        };
        (0..10_000).map(place_of).collect()
    }

    /// How many of ten thousand people each version answers, in percent, rounded.
    fn check(text: &str, expected: &[(u32, u32)]) {
        let shares = shares(text);
        for (version, percent) in expected {
            let chosen = places().into_iter().filter(|place| {
                choose(&shares, *place).is_some_and(|chosen| chosen.get() == *version)
            });
            let found = chosen.count() as f64 / 100.0;
            assert!(
                (found - f64::from(*percent)).abs() < 1.5,
                "{text}: v{version} {found}%"
            );
        }
    }

    #[test]
    fn versions_get_their_shares() {
        check("1:100", &[(1, 100)]);
        check("1:90 2:10", &[(1, 90), (2, 10)]);
        check("1:33 2:33 3:34", &[(1, 33), (2, 33), (3, 34)]);
    }

    #[test]
    fn a_person_stays_with_a_growing_canary() {
        let steps = ["1:95 2:5", "1:75 2:25", "1:50 2:50", "1:10 2:90", "2:100"];
        for place in places() {
            let mut has_canary = false;
            for step in steps {
                let is_canary = choose(&shares(step), place).unwrap().get() == 2;
                assert!(is_canary || !has_canary, "place {place} at {step}");
                has_canary = is_canary;
            }
        }
    }

    #[test]
    fn people_are_spread_anew_for_each_model() {
        let tenant = Tenant::new("acme").unwrap();
        let at = |model: &str| {
            let model = ModelName::new(model).unwrap();
            place(&tenant, &model, &Environment::production(), b"person 7")
        };
        assert_ne!(at("claims"), at("churn"));
    }
}
