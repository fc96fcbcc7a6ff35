//! Finds the version that answers: a table in memory, replaced whole, never locked while anybody computes.
//!
//! Every replica has one. It is filled at start, changed by whoever deploys here, and compared each second with the counts
//! that the store keeps ([`Routing::tick`]), so that a deployment through one replica is at work on all within two. A version
//! that cannot be loaded changes nothing: what served goes on serving, and the failure is told by [`Routing::failures`].

use crate::adopt::chain;
use crate::error::{Error, Result};
use crate::observe::Observer;
use crate::traffic;
use crate::warm::{Loader, Warm};
use ombud_core::{ModelName, Version};
use ombud_ledger::Tenant;
use ombud_store::store::Topic;
use ombud_store::{Deployment, Environment};
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, PoisonError, RwLock};

/// How often other replicas' changes are looked for.
pub const TICK_US: i64 = 1_000_000;
/// How long a tenant whose version could not be loaded is left alone.
const RETRY_US: i64 = 5_000_000;

/// A deployment with everything it needs at hand.
#[derive(Debug)]
pub struct Live {
    pub deployment: Deployment,
    versions: HashMap<Version, Arc<Warm>>,
}

/// Where a question goes.
#[derive(Debug, Clone)]
pub struct Route {
    pub live: Arc<Live>,
    pub warm: Arc<Warm>,
}

/// The table of what is at work here.
#[derive(Debug)]
pub struct Routing {
    loader: Loader,
    observer: Option<Arc<dyn Observer>>,
    table: RwLock<Arc<Table>>,
    /// One reload at a time; questions never wait for it.
    reloading: tokio::sync::Mutex<Seen>,
}

type Place = (Tenant, ModelName, Environment);

#[derive(Debug, Default, Clone)]
struct Table {
    live: HashMap<Place, Arc<Live>>,
    failures: BTreeMap<String, String>,
    /// Whether the store has been looked at once, so that what is not here is not deployed.
    is_filled: bool,
}

#[derive(Debug, Default)]
struct Seen {
    revisions: HashMap<Tenant, i64>,
    retry_us: HashMap<Tenant, i64>,
}

impl Live {
    /// A version that is at hand here, whatever its share.
    pub fn version(&self, version: Version) -> Option<&Arc<Warm>> {
        self.versions.get(&version)
    }

    /// The one that sees the same rows and answers nobody.
    pub fn shadow(&self) -> Option<&Arc<Warm>> {
        self.version(self.deployment.traffic.shadow()?)
    }
}

impl Routing {
    /// An empty table; [`Routing::tick`] fills it.
    pub(crate) fn new(loader: Loader, observer: Option<Arc<dyn Observer>>) -> Self {
        Routing {
            loader,
            observer,
            table: RwLock::default(),
            reloading: tokio::sync::Mutex::default(),
        }
    }

    /// The version that answers about somebody, or the one that was asked for when the deployment has it.
    pub fn route(
        &self,
        tenant: &Tenant,
        model: &ModelName,
        environment: &Environment,
        version: Option<Version>,
        who: &[u8],
    ) -> Result<Route> {
        let live = self.live(tenant, model, environment)?;
        let traffic = &live.deployment.traffic;
        let not_served = |version| Error::NotServed {
            model: model.clone(),
            version,
            environment: environment.clone(),
        };
        let chosen = match version {
            // Who asks for a version gets one that answers or did; a shadow answers nobody.
            Some(version) => {
                let mut serving = traffic.active().iter().chain(traffic.previous());
                let serves = serving.any(|share| share.version == version);
                serves
                    .then_some(version)
                    .ok_or_else(|| not_served(version))?
            }
            None => {
                let place = traffic::place(tenant, model, environment, who);
                traffic::choose(traffic.active(), place).ok_or_else(|| Error::NotDeployed {
                    model: model.clone(),
                    environment: environment.clone(),
                })?
            }
        };
        let warm = live.version(chosen).map(Arc::clone);
        let warm = warm.ok_or_else(|| not_served(chosen))?;
        Ok(Route { live, warm })
    }

    /// A deployment at work here.
    pub fn live(
        &self,
        tenant: &Tenant,
        model: &ModelName,
        environment: &Environment,
    ) -> Result<Arc<Live>> {
        let place = (tenant.clone(), model.clone(), environment.clone());
        let table = self.table();
        if let Some(live) = table.live.get(&place) {
            return Ok(Arc::clone(live));
        }
        let has_failed = table.failures.contains_key(&name_of(&place));
        let (_, model, environment) = place;
        Err(match has_failed || !table.is_filled {
            true => Error::NotAtHand { model, environment },
            false => Error::NotDeployed { model, environment },
        })
    }

    /// Whether requests should be sent here: it is known what is deployed, and not all of it failed to load.
    pub fn is_ready(&self) -> bool {
        let table = self.table();
        table.is_filled && (table.failures.is_empty() || !table.live.is_empty())
    }

    /// Everything of a tenant that is at work here, in order of names.
    pub fn all_live(&self, tenant: &Tenant) -> Vec<Arc<Live>> {
        let table = self.table();
        let theirs = table.live.iter().filter(|(place, _)| place.0 == *tenant);
        let mut found: Vec<Arc<Live>> = theirs.map(|(_, live)| Arc::clone(live)).collect();
        found.sort_by(|a, b| {
            let key = |live: &Live| {
                (
                    live.deployment.model.clone(),
                    live.deployment.environment.clone(),
                )
            };
            key(a).cmp(&key(b))
        });
        found
    }

    /// Every version that is at hand here, whoever's it is. For operators of the house.
    pub fn all_warm(&self) -> Vec<Arc<Warm>> {
        let table = self.table();
        let live = table.live.values();
        live.flat_map(|live| live.versions.values().map(Arc::clone))
            .collect()
    }

    /// What could not be put to work here and why, by `tenant/model/environment`. For operators of the house.
    pub fn failures(&self) -> BTreeMap<String, String> {
        self.table().failures.clone()
    }

    /// Looks whether another replica changed anything, and follows. Returns when to look again.
    pub async fn tick(&self, now_us: i64) -> Result<i64> {
        let revisions = self
            .loader
            .registry
            .store
            .revisions(Topic::Deployments)
            .await?;
        let mut seen = self.reloading.lock().await;
        for (tenant, revision) in revisions {
            let is_known = seen.revisions.get(&tenant) == Some(&revision);
            let is_resting = seen
                .retry_us
                .get(&tenant)
                .is_some_and(|retry| now_us < *retry);
            if is_known || is_resting {
                continue;
            }
            if self.reload(&tenant, &[]).await? {
                seen.revisions.insert(tenant.clone(), revision);
                seen.retry_us.remove(&tenant);
            } else {
                seen.retry_us.insert(tenant, now_us + RETRY_US);
            }
        }
        if !self.table().is_filled {
            let mut filled = Table::clone(&self.table());
            filled.is_filled = true;
            self.put(filled);
        }
        Ok(now_us + TICK_US)
    }

    /// Follows a change that was made here, with versions that were warmed for it.
    pub async fn follow(&self, tenant: &Tenant, warmed: &[Arc<Warm>]) -> Result<()> {
        let _alone = self.reloading.lock().await;
        self.reload(tenant, warmed).await.map(drop)
    }

    /// A version at hand, taken from the table when it is there.
    pub async fn warm(
        &self,
        tenant: &Tenant,
        model: &ModelName,
        version: Version,
    ) -> Result<Arc<Warm>> {
        if let Some(warm) = self.find(tenant, model, version) {
            return Ok(warm);
        }
        let store = &self.loader.registry.store;
        let registered = store.version(tenant, model, version).await?;
        let warm = self.loader.load(tenant, registered).await?;
        if let Some(observer) = &self.observer {
            observer.loaded(&warm);
        }
        Ok(Arc::new(warm))
    }

    /// Makes a tenant's part of the table what the store says; whether all of it could be.
    async fn reload(&self, tenant: &Tenant, warmed: &[Arc<Warm>]) -> Result<bool> {
        let deployments = self.loader.registry.store.deployments(tenant).await?;
        let mut next = Table::clone(&self.table());
        let before = next.live.clone();
        next.live.retain(|place, _| place.0 != *tenant);
        let start = format!("{tenant}/");
        let failed_before = next.failures.clone();
        next.failures.retain(|name, _| !name.starts_with(&start));
        let mut is_whole = true;
        for deployment in deployments {
            let place = (
                tenant.clone(),
                deployment.model.clone(),
                deployment.environment.clone(),
            );
            match self.bring_up(tenant, deployment, warmed).await {
                Ok(live) => {
                    next.live.insert(place, Arc::new(live));
                }
                Err(error) => {
                    is_whole = false;
                    let (name, why) = (name_of(&place), chain(&error));
                    if let Some(observer) = &self.observer
                        && failed_before.get(&name) != Some(&why)
                    {
                        observer.not_loaded(&name, &why);
                    }
                    next.failures.insert(name, why);
                    if let Some(old) = before.get(&place) {
                        next.live.insert(place, Arc::clone(old));
                    }
                }
            }
        }
        self.put(next);
        Ok(is_whole)
    }

    fn put(&self, table: Table) {
        *self.table.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(table);
    }

    async fn bring_up(
        &self,
        tenant: &Tenant,
        deployment: Deployment,
        warmed: &[Arc<Warm>],
    ) -> Result<Live> {
        let mut versions = HashMap::new();
        for version in deployment.traffic.versions() {
            let is_it = |warm: &&Arc<Warm>| {
                warm.registered.model == deployment.model && warm.registered.version == version
            };
            let warm = match warmed.iter().find(is_it) {
                Some(warm) => Arc::clone(warm),
                None => self.warm(tenant, &deployment.model, version).await?,
            };
            versions.insert(version, warm);
        }
        Ok(Live {
            deployment,
            versions,
        })
    }

    /// A version that is at hand here, in whatever environment.
    pub(crate) fn find(
        &self,
        tenant: &Tenant,
        model: &ModelName,
        version: Version,
    ) -> Option<Arc<Warm>> {
        let table = self.table();
        let theirs = table
            .live
            .iter()
            .filter(|(place, _)| place.0 == *tenant && place.1 == *model);
        let found = theirs.filter_map(|(_, live)| live.version(version)).next();
        found.map(Arc::clone)
    }

    fn table(&self) -> Arc<Table> {
        Arc::clone(&self.table.read().unwrap_or_else(PoisonError::into_inner))
    }
}

/// How operators of the house read a place.
fn name_of((tenant, model, environment): &Place) -> String {
    format!("{tenant}/{model}/{environment}")
}
