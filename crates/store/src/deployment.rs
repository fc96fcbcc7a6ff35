//! Deployments: for a tenant, a model and an environment, which versions answer whom.
//!
//! Kept whole: a change writes the complete new state, its event and the count that other replicas watch in one
//! transaction, and only onto the revision that its author had seen.

use crate::database::{Row, Transaction, values};
use crate::environment::Environment;
use crate::error::{Error, Result};
use crate::event::{self, Event};
use crate::model::lock;
use crate::store::{Store, Topic, touch};
use crate::version::require;
use ombud_core::{ModelName, Version};
use ombud_ledger::Tenant;
use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

/// Versions that share one deployment's traffic.
pub const SHARES_MAX: usize = 10;

/// A deployment as it is now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Deployment {
    pub model: ModelName,
    pub environment: Environment,
    pub traffic: Traffic,
    pub recording: Recording,
    /// From 1; moves with every change.
    pub revision: i64,
    pub changed_us: i64,
    pub changed_by: String,
    pub reason: String,
}

/// Who is answered by which version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Traffic {
    active: Vec<Share>,
    previous: Vec<Share>,
    shadow: Option<Version>,
}

/// A version's part of the traffic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Share {
    pub version: Version,
    /// From 1 to 100.
    pub percent: u8,
}

/// Whether an answer waits for its record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Recording {
    /// The record is durable before the answer leaves.
    #[default]
    BeforeAnswer,
    /// The answer leaves when the record is accepted.
    After,
}

/// A text that is no way of recording.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no way of recording: before-answer or after")]
pub struct RecordingError(pub String);

/// The state a deployment is to have.
#[derive(Debug, Clone)]
pub struct NewDeployment {
    pub model: ModelName,
    pub environment: Environment,
    pub traffic: Traffic,
    pub recording: Recording,
    /// The revision its author saw; zero when there was no deployment.
    pub expected_revision: i64,
}

impl Traffic {
    /// Checks that the active shares are whole: distinct versions, each at least 1, together 100.
    pub fn new(active: Vec<Share>, previous: Vec<Share>, shadow: Option<Version>) -> Result<Self> {
        check_shares(&active)?;
        if !previous.is_empty() {
            check_shares(&previous)?;
        }
        if shadow.is_some_and(|shadow| active.iter().any(|share| share.version == shadow)) {
            return Err(Error::Traffic {
                reason: "a version cannot answer and be the shadow at once",
            });
        }
        Ok(Traffic {
            active,
            previous,
            shadow,
        })
    }

    /// All of it to one version.
    pub fn all_to(version: Version) -> Self {
        Traffic {
            active: vec![Share {
                version,
                percent: 100,
            }],
            previous: Vec::new(),
            shadow: None,
        }
    }

    /// Those that answer, with their shares; the first has the seniority.
    pub fn active(&self) -> &[Share] {
        &self.active
    }

    /// The one that answers most; of equals the one that did before.
    pub fn senior(&self) -> Option<&Share> {
        let was_before = |share: &Share| {
            let mut previous = self.previous.iter();
            previous.any(|before| before.version == share.version)
        };
        let shares = self.active.iter().rev();
        shares.max_by_key(|share| (share.percent, was_before(share)))
    }

    /// Those that answered before the last change, kept warm.
    pub fn previous(&self) -> &[Share] {
        &self.previous
    }

    /// The one that sees the same rows and answers nobody.
    pub fn shadow(&self) -> Option<Version> {
        self.shadow
    }

    /// Every version that must be at hand, each once.
    pub fn versions(&self) -> Vec<Version> {
        let shares = self.active.iter().chain(&self.previous);
        let mut versions: Vec<Version> = shares
            .map(|share| share.version)
            .chain(self.shadow)
            .collect();
        versions.sort_unstable();
        versions.dedup();
        versions
    }
}

impl Recording {
    /// The word that is stored and told.
    pub fn as_str(self) -> &'static str {
        match self {
            Recording::BeforeAnswer => "before-answer",
            Recording::After => "after",
        }
    }
}

impl Store {
    /// A deployment, when there is one.
    pub async fn deployment(
        &self,
        tenant: &Tenant,
        model: &ModelName,
        environment: &Environment,
    ) -> Result<Option<Deployment>> {
        let all = self.deployments(tenant).await?;
        Ok(all
            .into_iter()
            .find(|found| found.model == *model && found.environment == *environment))
    }

    /// All of a tenant's deployments, by model and environment.
    pub async fn deployments(&self, tenant: &Tenant) -> Result<Vec<Deployment>> {
        // One question, so that a change in between cannot be half seen.
        let sql = "select d.*, t.part, t.version, t.percent from store_deployments d \
            join store_traffic t on t.tenant = d.tenant and t.model = d.model and t.environment = d.environment \
            where d.tenant = $1 order by d.model, d.environment, t.percent desc, t.version";
        let rows = self.database.rows(sql, values![tenant]).await?;
        let mut found: BTreeMap<(ModelName, Environment), Vec<&Row>> = BTreeMap::new();
        for row in &rows {
            let place = (row.model("model")?, row.parsed("environment")?);
            found.entry(place).or_default().push(row);
        }
        found.values().map(|rows| deployment(rows)).collect()
    }

    /// The deployments of one model.
    pub async fn deployments_of(
        &self,
        tenant: &Tenant,
        model: &ModelName,
    ) -> Result<Vec<Deployment>> {
        let mut all = self.deployments(tenant).await?;
        all.retain(|deployment| deployment.model == *model);
        Ok(all)
    }

    /// Whether a version ever answered people in an environment, by what the events say it became. A shadow answers nobody.
    pub async fn has_served(
        &self,
        tenant: &Tenant,
        model: &ModelName,
        environment: &Environment,
        version: Version,
    ) -> Result<bool> {
        // As [`Traffic`] tells its shares: `v2 75%, v3 25%, shadow v4`.
        let (first, later) = (format!("v{version} %"), format!("%, v{version} %"));
        let sql = "select id from store_events where tenant = $1 and model = $2 and environment = $3 \
            and (becomes like $4 or becomes like $5) limit 1";
        let values = values![tenant, model, environment, first.as_str(), later.as_str()];
        Ok(!self.database.rows(sql, values).await?.is_empty())
    }

    /// The version that answered everybody before those of `now` did, by what the events say, and that nobody went back from;
    /// none when there was no other.
    pub async fn served_before(
        &self,
        tenant: &Tenant,
        model: &ModelName,
        environment: &Environment,
        now: &[Share],
    ) -> Result<Option<Version>> {
        let sql = "select kind, was, becomes from store_events where tenant = $1 and model = $2 and environment = $3 \
            order by id desc limit $4";
        let values = values![tenant, model, environment, EVENTS_LOOKED_BACK];
        let mut out: Vec<Version> = now.iter().map(|share| share.version).collect();
        for row in self.database.rows(sql, values).await? {
            let became = alone_in(&row.text("becomes")?);
            if let Some(found) = became.filter(|found| !out.contains(found)) {
                return Ok(Some(found));
            }
            if row.text("kind")? == "rollback" {
                out.extend(alone_in(&row.text("was")?));
            }
        }
        Ok(None)
    }

    /// Gives a deployment its new state and writes the event, when nobody changed it since its author looked.
    pub async fn put_deployment(
        &self,
        tenant: &Tenant,
        wanted: NewDeployment,
        event: &Event,
    ) -> Result<Deployment> {
        let mut transaction = self.database.begin().await?;
        lock(&mut transaction, tenant, &wanted.model).await?;
        let found = revision(&mut transaction, tenant, &wanted).await?;
        if found != wanted.expected_revision {
            return Err(Error::Moved {
                found,
                expected: wanted.expected_revision,
                model: wanted.model,
                environment: wanted.environment,
            });
        }
        for version in wanted.traffic.versions() {
            let registered = require(&mut transaction, tenant, &wanted.model, version).await?;
            if registered.archived_us.is_some() {
                return Err(Error::Archived {
                    model: wanted.model,
                    version,
                });
            }
        }
        write(&mut transaction, tenant, &wanted, event).await?;
        event::insert(&mut transaction, tenant, event).await?;
        touch(&mut transaction, tenant, Topic::Deployments).await?;
        transaction.commit().await?;
        Ok(Deployment {
            model: wanted.model,
            environment: wanted.environment,
            traffic: wanted.traffic,
            recording: wanted.recording,
            revision: wanted.expected_revision + 1,
            changed_us: event.time_us,
            changed_by: event.principal.clone(),
            reason: event.reason.clone(),
        })
    }

    /// Takes a model out of an environment and writes the event.
    pub async fn remove_deployment(
        &self,
        tenant: &Tenant,
        model: &ModelName,
        environment: &Environment,
        event: &Event,
    ) -> Result<()> {
        let mut transaction = self.database.begin().await?;
        lock(&mut transaction, tenant, model).await?;
        transaction
            .execute(CLEAR_TRAFFIC, values![tenant, model, environment])
            .await?;
        let sql =
            "delete from store_deployments where tenant = $1 and model = $2 and environment = $3";
        let removed = transaction
            .execute(sql, values![tenant, model, environment])
            .await?;
        if removed == 0 {
            return Err(Error::NotFound {
                what: "deployment",
                name: format!("{model} in {environment}"),
            });
        }
        event::insert(&mut transaction, tenant, event).await?;
        touch(&mut transaction, tenant, Topic::Deployments).await?;
        transaction.commit().await
    }
}

/// How far back it is looked for what answered before.
const EVENTS_LOOKED_BACK: i64 = 1_000;

/// The version that has all of the traffic, of a text as [`Traffic`] tells it: `v2 100%, shadow v3`.
fn alone_in(told: &str) -> Option<Version> {
    let (version, share) = told.strip_prefix('v')?.split_once(' ')?;
    share.starts_with("100%").then(|| version.parse().ok())?
}

const CLEAR_TRAFFIC: &str =
    "delete from store_traffic where tenant = $1 and model = $2 and environment = $3";

async fn revision(
    transaction: &mut Transaction,
    tenant: &Tenant,
    wanted: &NewDeployment,
) -> Result<i64> {
    let sql = "select revision from store_deployments where tenant = $1 and model = $2 and environment = $3";
    let values = values![tenant, &wanted.model, &wanted.environment];
    let row = transaction.row(sql, values).await?;
    row.map_or(Ok(0), |row| row.whole("revision"))
}

async fn write(
    transaction: &mut Transaction,
    tenant: &Tenant,
    wanted: &NewDeployment,
    event: &Event,
) -> Result<()> {
    let (model, environment) = (&wanted.model, &wanted.environment);
    let sql = "insert into store_deployments (tenant, model, environment, revision, record, changed_us, changed_by, \
        reason) values ($1, $2, $3, $4, $5, $6, $7, $8) on conflict (tenant, model, environment) do update set \
        revision = excluded.revision, record = excluded.record, changed_us = excluded.changed_us, \
        changed_by = excluded.changed_by, reason = excluded.reason";
    let values = values![
        tenant,
        model,
        environment,
        wanted.expected_revision + 1,
        wanted.recording.as_str(),
        event.time_us,
        event.principal.as_str(),
        event.reason.as_str()
    ];
    transaction.execute(sql, values).await?;
    transaction
        .execute(CLEAR_TRAFFIC, values![tenant, model, environment])
        .await?;
    let shadow = wanted.traffic.shadow.map(|version| Share {
        version,
        percent: 0,
    });
    let parts = [
        (ACTIVE, wanted.traffic.active.as_slice()),
        (PREVIOUS, wanted.traffic.previous.as_slice()),
        (SHADOW, shadow.as_slice()),
    ];
    let insert = "insert into store_traffic (tenant, model, environment, part, version, percent) \
        values ($1, $2, $3, $4, $5, $6)";
    let first = "update store_versions set first_deployed_us = coalesce(first_deployed_us, $4) \
        where tenant = $1 and model = $2 and version = $3";
    for (part, shares) in parts {
        for share in shares {
            let percent = i64::from(share.percent);
            let values = values![tenant, model, environment, part, share.version, percent];
            transaction.execute(insert, values).await?;
            let values = values![tenant, model, share.version, event.time_us];
            transaction.execute(first, values).await?;
        }
    }
    Ok(())
}

const ACTIVE: &str = "active";
const PREVIOUS: &str = "previous";
const SHADOW: &str = "shadow";

fn deployment(rows: &[&Row]) -> Result<Deployment> {
    let (mut active, mut previous, mut shadow) = (Vec::new(), Vec::new(), None);
    for row in rows {
        let version = row.version("version")?;
        let percent = u8::try_from(row.whole("percent")?);
        let percent = percent.map_err(|_| Error::Unreadable { what: "percent" })?;
        match row.text("part")?.as_str() {
            ACTIVE => active.push(Share { version, percent }),
            PREVIOUS => previous.push(Share { version, percent }),
            SHADOW => shadow = Some(version),
            _ => return Err(Error::Unreadable { what: "part" }),
        }
    }
    let row = rows[0];
    Ok(Deployment {
        model: row.model("model")?,
        environment: row.parsed("environment")?,
        traffic: Traffic::new(active, previous, shadow)?,
        recording: row.parsed("record")?,
        revision: row.whole("revision")?,
        changed_us: row.whole("changed_us")?,
        changed_by: row.text("changed_by")?,
        reason: row.text("reason")?,
    })
}

fn check_shares(shares: &[Share]) -> Result<()> {
    let sum: u32 = shares.iter().map(|share| u32::from(share.percent)).sum();
    let mut versions: Vec<Version> = shares.iter().map(|share| share.version).collect();
    versions.sort_unstable();
    versions.dedup();
    let reason = if shares.is_empty() {
        "somebody must answer"
    } else if shares.len() > SHARES_MAX {
        "too many versions share the traffic"
    } else if versions.len() != shares.len() {
        "a version is named twice"
    } else if shares.iter().any(|share| share.percent == 0) {
        "a share is at least 1 percent"
    } else if sum != 100 {
        "the shares must add up to 100"
    } else {
        return Ok(());
    };
    Err(Error::Traffic { reason })
}

impl FromStr for Recording {
    type Err = RecordingError;
    fn from_str(text: &str) -> std::result::Result<Self, RecordingError> {
        match text {
            "before-answer" => Ok(Recording::BeforeAnswer),
            "after" => Ok(Recording::After),
            other => Err(RecordingError(other.chars().take(40).collect())),
        }
    }
}

impl fmt::Display for Recording {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// `v2 75%, v3 25%, shadow v4`, for events and people.
impl fmt::Display for Traffic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, share) in self.active.iter().enumerate() {
            let comma = if place == 0 { "" } else { ", " };
            write!(f, "{comma}v{} {}%", share.version, share.percent)?;
        }
        match self.shadow {
            Some(shadow) => write!(f, ", shadow v{shadow}"),
            None => Ok(()),
        }
    }
}
