//! Decides what a deployment becomes when somebody orders a change.
//!
//! Pure: takes the [`Situation`] and the [`Order`], returns the [`Change`] in full, with its words, or says why not.
//! Warming, writing and telling is [`crate::perform`].

use ombud_core::manifest::GateResult;
use ombud_core::{Class, ModelName, Version};
use ombud_store::{Deployment, Environment, Recording, Role, Share, Traffic};

/// Longest reason.
pub const REASON_BYTES_MAX: usize = 1_000;

/// What somebody wants of a deployment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Order {
    /// Everybody is answered by this version.
    Deploy { version: Version },
    /// This part of the traffic is, the rest stays.
    Canary { version: Version, percent: u8 },
    /// Nobody is, but it sees the same rows; `None` ends that.
    Shadow { version: Option<Version> },
    /// The canary, or else the shadow, takes everybody.
    Promote,
    /// Back to this version, or to what was before.
    Rollback { to: Option<Version> },
    /// Whether answers wait for their records.
    Record { recording: Recording },
}

/// An admin's word that a gate which was not passed is to be overruled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Force {
    reason: String,
}

/// What is known when the order comes.
#[derive(Debug, Clone)]
pub struct Situation<'a> {
    pub model: &'a ModelName,
    pub environment: &'a Environment,
    /// The deployment, when there is one.
    pub now: Option<&'a Deployment>,
    /// The gates of the version that the order would put to work, judged again ([`crate::gates`]).
    pub gates: &'a [GateResult],
    /// Whether the version that a rollback names answered here before; what was before the last change always did.
    pub has_served: bool,
    pub force: Option<&'a Force>,
    /// Why, in a person's words.
    pub reason: &'a str,
}

/// What a deployment becomes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// `deploy`, `canary`, `shadow`, `promote`, `rollback` or `record`.
    pub kind: &'static str,
    pub traffic: Traffic,
    pub recording: Recording,
    pub expected_revision: i64,
    /// Before, in words.
    pub was: String,
    /// After, in words.
    pub becomes: String,
    /// Why; shouts when a gate was overruled.
    pub reason: String,
    pub is_forced: bool,
}

/// Why an order is not followed.
#[derive(Debug, thiserror::Error)]
pub enum DeployError {
    #[error(
        "version {version} of {model} did not pass the gate {gate}: {measured}, needed is {limit}"
    )]
    GateFailed {
        model: ModelName,
        version: Version,
        gate: String,
        measured: String,
        limit: String,
    },
    #[error("only an admin may overrule a gate")]
    OnlyAdmin,
    #[error("a reason is needed, of at most {REASON_BYTES_MAX} bytes")]
    Reason,
    #[error("nothing of {model} is deployed to {environment}, so there is nothing to {wanted}")]
    NothingDeployed {
        model: ModelName,
        environment: Environment,
        wanted: &'static str,
    },
    #[error("{canary} is being tried; promote it or roll back before another is")]
    CanaryRuns { canary: Version },
    #[error("neither a canary nor a shadow waits to be promoted")]
    NothingToPromote,
    #[error("there is no version before; say which of those that answered here it is to be")]
    NothingBefore,
    #[error(
        "version {version} of {model} never answered in {environment}, so nothing can go back to it"
    )]
    NeverServed {
        model: ModelName,
        version: Version,
        environment: Environment,
    },
    #[error("version {version} answers everybody already")]
    AlreadyThere { version: Version },
    #[error("a canary takes from 1 to 99 percent, not {percent}")]
    Percent { percent: u8 },
    #[error(transparent)]
    Traffic(#[from] ombud_store::Error),
}

impl DeployError {
    /// Whose mistake it was.
    pub fn class(&self) -> Class {
        match self {
            DeployError::GateFailed { .. }
            | DeployError::CanaryRuns { .. }
            | DeployError::AlreadyThere { .. }
            | DeployError::NeverServed { .. }
            | DeployError::NothingBefore
            | DeployError::NothingToPromote => Class::Conflict,
            DeployError::OnlyAdmin => Class::Forbidden,
            DeployError::Reason | DeployError::Percent { .. } => Class::Invalid,
            DeployError::NothingDeployed { .. } => Class::NotFound,
            DeployError::Traffic(source) => source.class(),
        }
    }
}

impl Force {
    /// Takes an admin's word; nobody else's counts.
    pub fn new(role: Role, reason: &str) -> Result<Self, DeployError> {
        if role != Role::Admin {
            return Err(DeployError::OnlyAdmin);
        }
        Ok(Force {
            reason: checked_reason(reason)?,
        })
    }
}

impl Order {
    /// The version that the order newly puts to work, whose gates count. Going back to what answered here is always allowed.
    pub fn candidate(&self, now: Option<&Deployment>) -> Option<Version> {
        match self {
            Order::Deploy { version } | Order::Canary { version, .. } => Some(*version),
            Order::Shadow { version } => *version,
            Order::Promote => promoted(now?),
            Order::Rollback { .. } | Order::Record { .. } => None,
        }
    }
}

/// What the deployment becomes.
pub fn decide(situation: &Situation<'_>, order: &Order) -> Result<Change, DeployError> {
    let now = situation.now;
    let (kind, traffic) = match order {
        Order::Deploy { version } => ("deploy", deploy(now, *version)?),
        Order::Canary { version, percent } => {
            let now = deployed(situation, "try a canary beside")?;
            ("canary", canary(now, *version, *percent)?)
        }
        Order::Shadow { version } => {
            let now = deployed(situation, "shadow")?;
            ("shadow", shadow(now, *version)?)
        }
        Order::Promote => ("promote", promote(deployed(situation, "promote")?)?),
        Order::Rollback { to } => {
            let now = deployed(situation, "roll back")?;
            ("rollback", rollback(situation, now, *to)?)
        }
        Order::Record { .. } => ("record", deployed(situation, "change")?.traffic.clone()),
    };
    let recording = match order {
        Order::Record { recording } => *recording,
        _ => now.map_or(Recording::default(), |now| now.recording),
    };
    let (reason, is_forced) = reason(situation, order)?;
    let words = |traffic: &Traffic, recording| format!("{traffic}; record {recording}");
    Ok(Change {
        kind,
        was: now.map_or_else(
            || "nothing".to_owned(),
            |now| words(&now.traffic, now.recording),
        ),
        becomes: words(&traffic, recording),
        traffic,
        recording,
        expected_revision: now.map_or(0, |now| now.revision),
        reason,
        is_forced,
    })
}

fn deployed<'a>(
    situation: &Situation<'a>,
    wanted: &'static str,
) -> Result<&'a Deployment, DeployError> {
    situation.now.ok_or_else(|| DeployError::NothingDeployed {
        model: situation.model.clone(),
        environment: situation.environment.clone(),
        wanted,
    })
}

fn all(version: Version) -> Vec<Share> {
    vec![Share {
        version,
        percent: 100,
    }]
}

fn answers_all(shares: &[Share], version: Version) -> bool {
    matches!(shares, [only] if only.version == version)
}

fn deploy(now: Option<&Deployment>, version: Version) -> Result<Traffic, DeployError> {
    let Some(now) = now else {
        return Ok(Traffic::all_to(version));
    };
    if answers_all(now.traffic.active(), version) {
        return Err(DeployError::AlreadyThere { version });
    }
    replace(now, version)
}

/// Everybody to one version; whoever answered before is kept warm, but a half-tried canary is not what was before.
fn replace(now: &Deployment, version: Version) -> Result<Traffic, DeployError> {
    let traffic = &now.traffic;
    let before = if traffic.active().len() > 1 && !traffic.previous().is_empty() {
        traffic.previous()
    } else {
        traffic.active()
    };
    let shadow = traffic.shadow().filter(|shadow| *shadow != version);
    Ok(Traffic::new(all(version), before.to_vec(), shadow)?)
}

fn canary(now: &Deployment, version: Version, percent: u8) -> Result<Traffic, DeployError> {
    if !(1..=99).contains(&percent) {
        return Err(DeployError::Percent { percent });
    }
    let others: Vec<Version> = now
        .traffic
        .active()
        .iter()
        .map(|share| share.version)
        .filter(|other| *other != version)
        .collect();
    let base = match (others.as_slice(), candidate_of(now)) {
        ([], _) => return Err(DeployError::AlreadyThere { version }),
        ([base], None) => *base,
        ([base], Some(running)) if running == version => *base,
        (_, running) => {
            let canary = running.unwrap_or(others[0]);
            return Err(DeployError::CanaryRuns { canary });
        }
    };
    let active = vec![
        Share {
            version: base,
            percent: 100 - percent,
        },
        Share { version, percent },
    ];
    let shadow = now.traffic.shadow().filter(|shadow| *shadow != version);
    Ok(Traffic::new(active, all(base), shadow)?)
}

/// The version that is being tried: it answers, and did not before.
fn candidate_of(now: &Deployment) -> Option<Version> {
    let active = now.traffic.active();
    let is_new = |share: &&Share| {
        let mut previous = now.traffic.previous().iter();
        !previous.any(|before| before.version == share.version)
    };
    active
        .iter()
        .find(is_new)
        .map(|share| share.version)
        .filter(|_| active.len() > 1)
}

fn shadow(now: &Deployment, version: Option<Version>) -> Result<Traffic, DeployError> {
    let traffic = &now.traffic;
    let (active, previous) = (traffic.active().to_vec(), traffic.previous().to_vec());
    Ok(Traffic::new(active, previous, version)?)
}

fn promoted(now: &Deployment) -> Option<Version> {
    candidate_of(now).or(now.traffic.shadow())
}

fn promote(now: &Deployment) -> Result<Traffic, DeployError> {
    let version = promoted(now).ok_or(DeployError::NothingToPromote)?;
    replace(now, version)
}

fn rollback(
    situation: &Situation<'_>,
    now: &Deployment,
    to: Option<Version>,
) -> Result<Traffic, DeployError> {
    let traffic = &now.traffic;
    let answered = |version: Version| {
        let mut shares = traffic.active().iter().chain(traffic.previous());
        situation.has_served || shares.any(|share| share.version == version)
    };
    let target = match to {
        Some(version) if answers_all(traffic.active(), version) => {
            return Err(DeployError::AlreadyThere { version });
        }
        // A version that only was a shadow, or nothing yet, would pass its gates by without a word.
        Some(version) if !answered(version) => {
            return Err(DeployError::NeverServed {
                model: situation.model.clone(),
                version,
                environment: situation.environment.clone(),
            });
        }
        Some(version) => all(version),
        None if traffic.previous().is_empty() => return Err(DeployError::NothingBefore),
        None => traffic.previous().to_vec(),
    };
    // What was rolled back from stays warm only when it had answered everybody: a canary is simply gone.
    let before = match traffic.active() {
        [only] => vec![*only],
        _ => Vec::new(),
    };
    let is_free = |version: &Version| !target.iter().any(|share| share.version == *version);
    let shadow = traffic.shadow().filter(is_free);
    Ok(Traffic::new(target, before, shadow)?)
}

/// The event's reason, and whether a gate was overruled.
fn reason(situation: &Situation<'_>, order: &Order) -> Result<(String, bool), DeployError> {
    let needs_words = matches!(order, Order::Rollback { .. });
    let said = match situation.reason {
        "" if !needs_words => String::new(),
        said => checked_reason(said)?,
    };
    let Some(version) = order.candidate(situation.now) else {
        return Ok((said, false));
    };
    let failed: Vec<&GateResult> = situation.gates.iter().filter(|gate| !gate.passed).collect();
    match (failed.as_slice(), situation.force) {
        ([], _) => Ok((said, false)),
        ([gate, ..], None) => Err(DeployError::GateFailed {
            model: situation.model.clone(),
            version,
            gate: gate.name.clone(),
            measured: measured(gate),
            limit: gate.limit.clone(),
        }),
        (failed, Some(force)) => {
            let gates: Vec<String> = failed.iter().map(|gate| overruled(gate)).collect();
            let gates: String = gates
                .join(", ")
                .chars()
                .take(REASON_BYTES_MAX / 4)
                .collect();
            Ok((format!("GATES OVERRULED ({gates}): {}", force.reason), true))
        }
    }
}

fn overruled(gate: &GateResult) -> String {
    format!("{} {}, needed {}", gate.name, measured(gate), gate.limit)
}

fn measured(gate: &GateResult) -> String {
    gate.measured.map_or_else(
        || "nothing was measured".to_owned(),
        |measured| format!("measured {measured}"),
    )
}

fn checked_reason(reason: &str) -> Result<String, DeployError> {
    let reason = reason.trim();
    if reason.is_empty() || reason.len() > REASON_BYTES_MAX || reason.contains('\0') {
        return Err(DeployError::Reason);
    }
    Ok(reason.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version(text: &str) -> Version {
        text.parse().unwrap()
    }

    fn shares(text: &str) -> Vec<Share> {
        let share = |pair: &str| {
            let (number, percent) = pair.split_once(':').unwrap();
            Share {
                version: version(number),
                percent: percent.parse().unwrap(),
            }
        };
        text.split_whitespace().map(share).collect()
    }

    /// `active | previous | shadow`, such as `1:75 2:25 | 1:100 | 3`; empty for no deployment.
    fn deployment(text: &str) -> Option<Deployment> {
        let mut parts = text.split('|').map(str::trim);
        let active = parts.next().filter(|part| !part.is_empty())?;
        let previous = parts.next().unwrap_or_default();
        let shadow = parts.next().filter(|part| !part.is_empty()).map(version);
        Some(Deployment {
            model: ModelName::new("claims").unwrap(),
            environment: Environment::production(),
            traffic: Traffic::new(shares(active), shares(previous), shadow).unwrap(),
            recording: Recording::BeforeAnswer,
            revision: 7,
            changed_us: 0,
            changed_by: String::new(),
            reason: String::new(),
        })
    }

    fn order(text: &str) -> Order {
        let words: Vec<&str> = text.split_whitespace().collect();
        match words.as_slice() {
            ["deploy", number] => Order::Deploy {
                version: version(number),
            },
            ["canary", number, percent] => Order::Canary {
                version: version(number),
                percent: percent.parse().unwrap(),
            },
            ["shadow"] => Order::Shadow { version: None },
            ["shadow", number] => Order::Shadow {
                version: Some(version(number)),
            },
            ["promote"] => Order::Promote,
            ["rollback"] => Order::Rollback { to: None },
            ["rollback", number] => Order::Rollback {
                to: Some(version(number)),
            },
            _ => Order::Record {
                recording: Recording::After,
            },
        }
    }

    fn gate(name: &str, passed: bool) -> GateResult {
        GateResult {
            name: name.to_owned(),
            passed,
            measured: Some(0.8),
            limit: ">= 0.85".to_owned(),
            note: String::new(),
        }
    }

    fn decided(
        now: &str,
        ordered: &str,
        gates: &[GateResult],
        force: Option<&Force>,
    ) -> Result<Change, DeployError> {
        let now = deployment(now);
        let situation = Situation {
            model: &ModelName::new("claims").unwrap(),
            environment: &Environment::production(),
            now: now.as_ref(),
            gates,
            // Version 1 answered here once.
            has_served: ordered.ends_with(" 1"),
            force,
            reason: "because",
        };
        decide(&situation, &order(ordered))
    }

    fn check(now: &str, ordered: &str, expected: &str) {
        let told = match decided(now, ordered, &[], None) {
            Ok(change) => {
                let previous: Vec<String> = change
                    .traffic
                    .previous()
                    .iter()
                    .map(|share| format!("v{} {}%", share.version, share.percent))
                    .collect();
                format!("{} | before {}", change.traffic, previous.join(", "))
            }
            Err(error) => error.to_string(),
        };
        assert_eq!(told.trim_end(), expected, "{now}: {ordered}");
    }

    #[test]
    fn a_deploy_takes_everybody_and_keeps_the_version_before() {
        check("", "deploy 1", "v1 100% | before");
        check("1:100", "deploy 2", "v2 100% | before v1 100%");
        check("2:100 | 1:100", "deploy 3", "v3 100% | before v2 100%");
        check("2:100", "deploy 2", "version 2 answers everybody already");
        check("1:90 2:10 | 1:100", "deploy 3", "v3 100% | before v1 100%");
    }

    #[test]
    fn a_canary_takes_its_part_and_may_grow() {
        check("1:100", "canary 2 10", "v1 90%, v2 10% | before v1 100%");
        check(
            "1:90 2:10 | 1:100",
            "canary 2 25",
            "v1 75%, v2 25% | before v1 100%",
        );
        check(
            "1:90 2:10 | 1:100",
            "canary 3 10",
            "2 is being tried; promote it or roll back before another is",
        );
        check(
            "1:100",
            "canary 1 10",
            "version 1 answers everybody already",
        );
        check(
            "1:100",
            "canary 2 100",
            "a canary takes from 1 to 99 percent, not 100",
        );
        check(
            "",
            "canary 1 10",
            "nothing of claims is deployed to production, so there is nothing to try a canary beside",
        );
    }

    #[test]
    fn a_shadow_answers_nobody() {
        check("1:100", "shadow 2", "v1 100%, shadow v2 | before");
        check("1:100 || 2", "shadow", "v1 100% | before");
        check(
            "1:100",
            "shadow 1",
            "the shares of the traffic are wrong: a version cannot answer and be the shadow at once",
        );
    }

    #[test]
    fn what_was_tried_is_promoted() {
        check("1:75 2:25 | 1:100", "promote", "v2 100% | before v1 100%");
        check("1:100 || 2", "promote", "v2 100% | before v1 100%");
        check(
            "1:100",
            "promote",
            "neither a canary nor a shadow waits to be promoted",
        );
        check(
            "1:75 2:25 | 1:100 | 3",
            "promote",
            "v2 100%, shadow v3 | before v1 100%",
        );
    }

    #[test]
    fn a_rollback_returns_to_the_version_before() {
        check("2:100 | 1:100", "rollback", "v1 100% | before v2 100%");
        check("1:75 2:25 | 1:100", "rollback", "v1 100% | before");
        check("3:100 | 2:100", "rollback 1", "v1 100% | before v3 100%");
        check(
            "1:100",
            "rollback",
            "there is no version before; say which of those that answered here it is to be",
        );
        check("2:100 || 1", "rollback 1", "v1 100% | before v2 100%");
    }

    #[test]
    fn nothing_goes_back_to_what_never_answered() {
        let refused =
            "version 4 of claims never answered in production, so nothing can go back to it";
        check("3:100 | 2:100", "rollback 4", refused);
        check("3:100 | 2:100 | 4", "rollback 4", refused);
        check("3:100 | 2:100", "rollback 2", "v2 100% | before v3 100%");
        check("3:90 4:10 | 3:100", "rollback 4", "v4 100% | before");
    }

    #[test]
    fn a_failed_gate_is_in_the_way_of_everything_but_going_back() {
        let gates = [gate("ece", true), gate("accuracy", false)];
        for ordered in ["deploy 2", "canary 2 10", "shadow 2"] {
            let refused = decided("1:100", ordered, &gates, None).unwrap_err();
            assert_eq!(
                refused.to_string(),
                "version 2 of claims did not pass the gate accuracy: measured 0.8, needed is >= 0.85"
            );
        }
        decided("2:100 | 1:100", "rollback", &gates, None).unwrap();
        decided("1:100", "record", &gates, None).unwrap();
    }

    #[test]
    fn an_admin_who_overrules_a_gate_is_heard() {
        let force = Force::new(Role::Admin, "the regulator's deadline is today").unwrap();
        let change = decided(
            "1:100",
            "deploy 2",
            &[gate("accuracy", false)],
            Some(&force),
        )
        .unwrap();
        assert!(change.is_forced);
        assert_eq!(
            change.reason,
            "GATES OVERRULED (accuracy measured 0.8, needed >= 0.85): the regulator's deadline is today"
        );
        let calm = decided("1:100", "deploy 2", &[gate("accuracy", true)], Some(&force)).unwrap();
        assert_eq!((calm.is_forced, calm.reason.as_str()), (false, "because"));
        assert!(matches!(
            Force::new(Role::Operator, "x"),
            Err(DeployError::OnlyAdmin)
        ));
        assert!(matches!(
            Force::new(Role::Admin, " "),
            Err(DeployError::Reason)
        ));
    }
}
