//! What every handler reaches for: the rooms below, the settings, the limits, the counters.

use crate::access::Caller;
use crate::auth::Auth;
use crate::bodies::Bodies;
use crate::config::Config;
use crate::kit::Kit;
use crate::limits::{Allowance, RateLimits, RouteClass};
use crate::metrics::Metrics;
use crate::performance::Performance;
use crate::refusal::{Code, Refusal};
use crate::request::Origin;
use crate::statistics::Statistics;
use crate::time::now_us;
use crate::traces::{Exporter, Traces};
use crate::turned_away::{Count, Sort, TurnedAway, Verdict, Who};
use axum::http::{Extensions, HeaderMap};
use ombud_core::ModelName;
use ombud_ledger::record::Kind;
use ombud_ledger::{Entry, LaneName, Ledger, RecordId, Recorded, Tenant, VerifyingKey};
use ombud_ops::Ops;
use ombud_store::registry::Registry;
use ombud_store::{Depot, Store};
use std::collections::BTreeSet;
use std::net::IpAddr;
use std::ops::Deref;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;
use tokio::sync::Semaphore;

/// How long whoever is turned away waits for that to be on record.
const REFUSAL_WAIT: Duration = Duration::from_secs(2);
/// How long a ledger that failed is told to be unwell.
const FAILURE_REMEMBERED_US: i64 = 10_000_000;
/// How long nothing of what waits for the ledger may be finished before it is told to be unwell. A slow disk's group commit
/// takes tenths of a second.
const STILL_MAX: Duration = Duration::from_secs(5);

/// A handle on everything; cheap to clone.
#[derive(Debug, Clone)]
pub struct House(Arc<Parts>);

/// What a house is made of.
#[derive(Debug)]
pub struct Parts {
    /// The settings.
    pub config: Config,
    /// The counters.
    pub metrics: Arc<Metrics>,
    /// What the house keeps.
    pub store: Store,
    /// The versions, rows and files.
    pub registry: Registry,
    /// Files beside runs.
    pub depot: Arc<dyn Depot>,
    /// What it does with models.
    pub ops: Ops,
    /// The lane that it writes, which tells replicas apart.
    pub lane: LaneName,
    /// How models did here.
    pub performance: Performance,
    /// What Triton counts.
    pub statistics: Statistics,
    /// What it proves.
    pub ledger: Ledger,
    /// What checks its checkpoints.
    pub checkpoint_key: VerifyingKey,
    /// Who calls.
    pub auth: Auth,
    /// The buckets of everybody.
    pub limits: RateLimits,
    /// Where spans of requests are handed in, when a collector is named.
    pub traces: Option<Traces>,
    /// What sends them, until the server takes it.
    pub exporter: Mutex<Option<Exporter>>,
    /// Requests that were turned away at the door.
    pub turned_away: TurnedAway,
    /// What was handed in beside our own routes.
    pub kits: &'static [Kit],
    /// What waits of bodies that are still arriving.
    pub bodies: Bodies,
    /// Places for requests at work.
    pub places: Semaphore,
    /// Proxies that are believed.
    pub trusted_proxies: Vec<IpAddr>,
}

/// Where an extractor leaves what the outermost layer should know.
#[derive(Debug, Clone, Default)]
pub struct Noted(Arc<Notes>);

#[derive(Debug, Default)]
struct Notes {
    /// What was told last: a batch pays at the door and for its rows.
    allowance: Mutex<Option<Allowance>>,
    caller: OnceLock<Arc<Caller>>,
}

impl Noted {
    /// What the answer's headers should say.
    pub fn allowance(&self) -> Option<Allowance> {
        *self.allowance_noted()
    }

    fn allowance_noted(&self) -> MutexGuard<'_, Option<Allowance>> {
        let noted = self.0.allowance.lock();
        noted.unwrap_or_else(PoisonError::into_inner)
    }

    /// Who it was, once that is known.
    pub fn caller(&self) -> Option<&Arc<Caller>> {
        self.0.caller.get()
    }
}

impl House {
    /// Puts a house together.
    pub fn new(parts: Parts) -> Self {
        House(Arc::new(parts))
    }

    /// Whether answers go out encrypted, by us or by the proxy that the public address names.
    pub fn is_encrypted(&self) -> bool {
        self.config.has_tls() || self.config.server.public_url.starts_with("https://")
    }

    /// Writes down that a question was turned away before it reached a model; its body is not kept.
    pub async fn record_refusal(
        &self,
        caller: &Caller,
        origin: &Origin,
        model: Option<ModelName>,
        refusal: Refusal,
    ) -> Refusal {
        let now = now_us();
        let Ok(id) = RecordId::generate(now) else {
            return refusal;
        };
        let detail = serde_json::json!({ "code": refusal.code().name() });
        let entry = Entry {
            model,
            principal: Some(caller.principal.to_string()),
            ip: origin.ip_text(),
            user_agent: origin.user_agent_text(),
            request_id: Some(origin.request_id.to_string()),
            detail: Some(detail.to_string()),
            ..Entry::new(id, Kind::Refused, now)
        };
        match self.ledger.append(&caller.tenant, entry).await {
            Ok(_) => refusal.recorded(),
            Err(error) => error.into(),
        }
    }

    /// Writes down that a request was turned away at the door, at once or with others like it ([`crate::turned_away`]).
    /// The caller hears the same, whether or not it could be written.
    pub async fn note_refusal(
        &self,
        caller: Option<&Caller>,
        origin: &Origin,
        route: &str,
        refusal: &Refusal,
    ) {
        let code = refusal.code();
        let is_nothing = matches!(
            code,
            Code::NoSuchRoute | Code::MethodNotAllowed | Code::NotRecorded
        );
        if is_nothing || refusal.is_recorded() {
            return;
        }
        let sort = Sort {
            tenant: caller
                .map_or(self.tenant(), |caller| &caller.tenant)
                .clone(),
            who: match caller {
                Some(caller) => Who::Principal(Arc::clone(&caller.principal)),
                None => Who::stranger(origin.ip),
            },
            code,
        };
        let now = now_us();
        if self.turned_away.note(&sort, route, now) == Verdict::Counted {
            return;
        }
        let detail = serde_json::json!({ "code": code.name(), "route": route });
        let (house, origin, route) = (self.clone(), origin.clone(), route.to_owned());
        let principal = caller.map(|caller| Arc::clone(&caller.principal));
        let recording = tokio::spawn(async move {
            let (kind, tenant) = (kind_of(code), &sort.tenant);
            let recorded = house.record_of(kind, tenant, principal.as_deref(), &origin, detail);
            if recorded.await.is_err() {
                house.turned_away.count(&sort, &route, now);
            }
        });
        // A ledger that hangs keeps nobody waiting who gets no answer from it; what is written goes on being written.
        let _ = tokio::time::timeout(REFUSAL_WAIT, recording).await;
    }

    /// Records what was counted of those turned away, of windows that ended by `until_us`.
    pub async fn sum_up_refusals(&self, until_us: i64) {
        for (sort, count) in self.turned_away.ended(until_us) {
            if let Err(error) = self.record_count(&sort, &count).await {
                tracing::warn!(cause = %crate::refusal::chain(&error), "refusals could not be recorded");
                self.turned_away.take_back(sort, count, now_us());
            }
        }
    }

    async fn record_count(&self, sort: &Sort, count: &Count) -> Result<(), ombud_ledger::Error> {
        let now = now_us();
        let mut entry = Entry::new(RecordId::generate(now)?, kind_of(sort.code), now);
        match &sort.who {
            Who::Principal(principal) => entry.principal = Some(principal.to_string()),
            Who::Address(address) => entry.ip = Some(address.to_string()),
            Who::Anybody => {}
        }
        entry.detail = Some(count.detail(sort.code).to_string());
        self.ledger.append(&sort.tenant, entry).await.map(drop)
    }

    /// Whose data it is when nobody says.
    pub fn tenant(&self) -> &Tenant {
        self.auth.tenant()
    }

    /// Whether the ledger could be written when it was last tried, and does not hang now. A failure that is older than
    /// `FAILURE_REMEMBERED_US` is forgotten: whoever is sent no requests because of it would never find out that it has
    /// passed.
    pub fn ledger_is_well(&self) -> bool {
        let failed_us = self.metrics.ledger_failed_us.load(Ordering::Relaxed);
        now_us() - failed_us > FAILURE_REMEMBERED_US && self.ledger.queue().still < STILL_MAX
    }

    /// Everybody of whom something is on record.
    pub async fn tenants(&self) -> Result<BTreeSet<Tenant>, ombud_ledger::Error> {
        let heads = self.ledger.read(|reader| reader.heads(None)).await?;
        Ok(heads.into_iter().map(|head| head.tenant).collect())
    }

    /// Takes the further rows of a batch out of a caller's bucket.
    pub async fn pay_for_rows(
        &self,
        caller: &Caller,
        origin: &Origin,
        rows: usize,
    ) -> Result<(), Refusal> {
        let rows = u32::try_from(rows).unwrap_or(u32::MAX);
        if rows == 0 {
            return Ok(());
        }
        let (limits, class) = (&self.limits, RouteClass::Decisions);
        if let Some(allowance) = limits.take_rows(class, &caller.principal, rows).await? {
            *origin.noted.allowance_noted() = Some(allowance);
        }
        Ok(())
    }

    /// Records an act of somebody; answers when it is durable.
    pub async fn record(
        &self,
        kind: Kind,
        caller: &Caller,
        origin: &Origin,
        detail: serde_json::Value,
    ) -> Result<Recorded, Refusal> {
        self.record_of(
            kind,
            &caller.tenant,
            Some(&caller.principal),
            origin,
            detail,
        )
        .await
    }

    /// Records an act of somebody who may not be known.
    pub async fn record_of(
        &self,
        kind: Kind,
        tenant: &Tenant,
        principal: Option<&str>,
        origin: &Origin,
        detail: serde_json::Value,
    ) -> Result<Recorded, Refusal> {
        let now = now_us();
        let id = RecordId::generate(now).map_err(|error| Refusal::internal(&error))?;
        let entry = Entry {
            principal: principal.map(str::to_owned),
            ip: origin.ip_text(),
            user_agent: origin.user_agent_text(),
            request_id: Some(origin.request_id.to_string()),
            detail: Some(detail.to_string()),
            ..Entry::new(id, kind, now)
        };
        Ok(self.ledger.append(tenant, entry).await?)
    }

    pub(crate) fn believed(&self, peer: IpAddr, headers: &HeaderMap) -> IpAddr {
        crate::request::client_behind(&self.trusted_proxies, peer, headers)
    }

    pub(crate) fn note_allowance(&self, extensions: &mut Extensions, allowance: Allowance) {
        if let Some(noted) = extensions.get::<Noted>() {
            *noted.allowance_noted() = Some(allowance);
        }
    }

    pub(crate) fn note_caller(&self, extensions: &Extensions, caller: &Arc<Caller>) {
        if let Some(noted) = extensions.get::<Noted>() {
            let _ = noted.0.caller.set(Arc::clone(caller));
        }
    }
}

/// A refusal is the caller's to mend, a failure ours.
fn kind_of(code: Code) -> Kind {
    if code.status() < 500 {
        Kind::Refused
    } else {
        Kind::Failed
    }
}

impl Deref for House {
    type Target = Parts;

    fn deref(&self) -> &Parts {
        &self.0
    }
}
