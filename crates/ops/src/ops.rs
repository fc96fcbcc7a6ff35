//! The handle to what the house does: opened once, cheap to clone, asked from everywhere.

use crate::batching::Batching;
use crate::clock::Clock;
use crate::error::Result;
use crate::observe::Observer;
use crate::pool::Pool;
use crate::routing::Routing;
use crate::shadow::Shadows;
use crate::warm::Loader;
use ombud_ledger::{Entry, Kind, Ledger, RecordId, Tenant};
use ombud_store::store::Topic;
use ombud_store::{Cache, Registry};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

/// What the room works with.
#[derive(Debug)]
pub struct Options {
    pub registry: Registry,
    pub ledger: Ledger,
    pub cache: Arc<dyn Cache>,
    pub clock: Arc<dyn Clock>,
    /// What hears of versions that were loaded.
    pub observer: Option<Arc<dyn Observer>>,
    /// How rows are gathered for engines that gain from it.
    pub batching: Batching,
}

/// The room, open.
#[derive(Debug, Clone)]
pub struct Ops {
    pub(crate) shared: Arc<Shared>,
}

#[derive(Debug)]
pub(crate) struct Shared {
    pub registry: Registry,
    pub ledger: Ledger,
    pub cache: Arc<dyn Cache>,
    pub clock: Arc<dyn Clock>,
    pub routing: Routing,
    pub shadows: Shadows,
    pub pool: Arc<Pool>,
    /// How many erasures of each tenant this replica's cache has followed.
    erasures: Mutex<HashMap<Tenant, i64>>,
}

/// Who asks, and from where: what every record says of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Caller {
    /// `key:omb_1a2b3c4d`, `person:ana`, `oidc:…`.
    pub principal: String,
    pub ip: Option<String>,
    pub user_agent: Option<String>,
    pub request_id: Option<String>,
}

impl Ops {
    /// Opens the room. Nothing is at work before the first [`Ops::tick`]. Needs tokio's runtime.
    pub fn new(options: Options) -> Self {
        let pool = Arc::new(Pool::new());
        let loader = Loader {
            registry: options.registry.clone(),
            pool: Arc::clone(&pool),
            batching: options.batching,
        };
        let shared = Shared {
            routing: Routing::new(loader, options.observer),
            registry: options.registry,
            ledger: options.ledger,
            cache: options.cache,
            clock: options.clock,
            shadows: Shadows::start(),
            pool,
            erasures: Mutex::default(),
        };
        Ops {
            shared: Arc::new(shared),
        }
    }

    /// Follows what other replicas did: deployments, then erasures. Returns when to be called again.
    pub async fn tick(&self) -> Result<i64> {
        let next = self.follow_deployments().await?;
        self.follow_erasures().await?;
        Ok(next)
    }

    /// Follows deployments of other replicas. Returns when to be called again; a loop above calls it, also after it failed.
    pub async fn follow_deployments(&self) -> Result<i64> {
        let shared = &self.shared;
        shared.routing.tick(shared.clock.now_us()).await
    }

    /// The table of what is at work here.
    pub fn routing(&self) -> &Routing {
        &self.shared.routing
    }

    /// The rows and the files.
    pub fn registry(&self) -> &Registry {
        &self.shared.registry
    }

    /// The ledger.
    pub fn ledger(&self) -> &Ledger {
        &self.shared.ledger
    }

    /// The cache.
    pub fn cache(&self) -> &Arc<dyn Cache> {
        &self.shared.cache
    }

    /// The time by the room's clock.
    pub fn now_us(&self) -> i64 {
        self.shared.clock.now_us()
    }

    /// Waits until shadows have seen everything that was handed to them. For an orderly end, and for tests.
    pub async fn drain_shadows(&self) {
        self.shared.shadows.drain().await;
    }

    /// Empties the cache after erasures. A loop of its own calls it: a cache that does not answer must keep no deployment
    /// waiting.
    pub async fn follow_erasures(&self) -> Result<()> {
        let revisions = self
            .shared
            .registry
            .store
            .revisions(Topic::Erasures)
            .await?;
        for (tenant, revision) in revisions {
            if self.erasures().get(&tenant) == Some(&revision) {
                continue;
            }
            self.shared.cache.clear(&tenant).await?;
            self.erasures().insert(tenant, revision);
        }
        Ok(())
    }

    fn erasures(&self) -> std::sync::MutexGuard<'_, HashMap<Tenant, i64>> {
        self.shared
            .erasures
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl Caller {
    /// An entry of this caller.
    pub(crate) fn entry(&self, id: RecordId, kind: Kind, time_us: i64) -> Entry {
        Entry {
            principal: Some(self.principal.clone()),
            ip: self.ip.clone(),
            user_agent: self.user_agent.clone(),
            request_id: self.request_id.clone(),
            ..Entry::new(id, kind, time_us)
        }
    }

    /// An act of this caller on the ledger itself.
    pub(crate) fn act(&self, reason: &str, time_us: i64) -> ombud_ledger::Act {
        ombud_ledger::Act {
            time_us,
            reason: reason.to_owned(),
            principal: Some(self.principal.clone()),
            ip: self.ip.clone(),
            user_agent: self.user_agent.clone(),
            request_id: self.request_id.clone(),
        }
    }
}
