//! The server's life: opens its door, serves, tends what needs tending beside requests, and ends in order.
//!
//! The order of the end matters: first nobody new is let in, then what was accepted is answered, then the ledger makes
//! durable what was handed to it, then the database is let go.

use crate::house::House;
use crate::listen::{Door, ListenError};
use crate::performance::{HOURS_MAX, this_hour};
use crate::refusal::chain;
use crate::retention::{Policy, forget_old};
use crate::routes;
use crate::time::now_us;
use futures_util::FutureExt;
use ombud_core::Digest;
use ombud_ledger::{LaneName, Tenant};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, PoisonError};
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::task::JoinSet;

/// How often sessions that ended and old idempotency keys are removed.
const SWEEP_EVERY: Duration = Duration::from_secs(3_600);

/// How long a start waits for what is deployed.
const FIRST_LOOK_WAIT: Duration = Duration::from_secs(10);
/// How often what is too old is looked for.
const FORGET_EVERY: Duration = Duration::from_secs(6 * 3_600);
/// How often what was counted is put into the store.
const KEEP_HOURS_EVERY: Duration = Duration::from_secs(60);
/// How long a cache that did not forget is left alone.
const FORGET_AGAIN_AFTER: Duration = Duration::from_secs(5);
/// How often it is looked whether the cache answers.
const LOOK_AT_CACHE_EVERY: Duration = Duration::from_secs(5);
/// How often the windows of those turned away are looked at.
const SUM_UP_EVERY: Duration = Duration::from_secs(1);

/// A server whose socket is open and who serves nobody yet.
#[derive(Debug)]
pub struct Server {
    house: House,
    door: Door,
    address: SocketAddr,
    /// For gRPC alone, when the settings name an address for it.
    grpc: Option<(Door, SocketAddr)>,
}

impl Server {
    /// Opens the socket.
    pub async fn open(house: House) -> Result<Self, ListenError> {
        // What is deployed is at hand before anybody can ask; what cannot be loaded is told and tried again.
        match tokio::time::timeout(FIRST_LOOK_WAIT, house.ops.follow_deployments()).await {
            Ok(Ok(_)) => {}
            Ok(Err(error)) => {
                tracing::warn!(cause = %chain(&error), "what is deployed could not be looked at");
            }
            Err(_) => tracing::warn!(
                "what is deployed is not loaded yet; it goes on, and until then this server is not ready"
            ),
        }
        let (door, address) = open_door(&house, house.config.server.listen).await?;
        // The settings were checked when they were read.
        let grpc = match house.config.grpc_bind().ok().flatten() {
            Some(at) => Some(open_door(&house, at).await?),
            None => None,
        };
        Ok(Server {
            house,
            door,
            address,
            grpc,
        })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where it listens for gRPC alone.
    pub fn grpc_address(&self) -> Option<SocketAddr> {
        self.grpc.as_ref().map(|(_, address)| *address)
    }

    /// The address that people and programs use.
    pub fn url(&self) -> String {
        let config = &self.house.config;
        if !config.server.public_url.is_empty() {
            return config.server.public_url.trim_end_matches('/').to_owned();
        }
        let scheme = if config.has_tls() { "https" } else { "http" };
        let mut address = self.address;
        if address.ip().is_unspecified() {
            address.set_ip(std::net::Ipv4Addr::LOCALHOST.into());
        }
        format!("{scheme}://{address}")
    }

    /// Serves until `stop` resolves, then ends in order.
    pub async fn run(self, stop: impl Future<Output = ()>) {
        let mut tending = JoinSet::new();
        tending.spawn(sign_heads(self.house.clone()));
        tending.spawn(sweep(self.house.clone()));
        tending.spawn(follow(self.house.clone()));
        tending.spawn(follow_erasures(self.house.clone()));
        tending.spawn(sum_up(self.house.clone()));
        let (house, start) = (self.house.clone(), now_us());
        tending.spawn(async move { crate::adoptions::take_up(&house, start).await });
        tending.spawn(forget(self.house.clone()));
        take_up_hours(&self.house).await;
        tending.spawn(keep_hours(self.house.clone()));
        if !self.house.config.cache.redis.is_empty() {
            tending.spawn(watch_cache(self.house.clone()));
        }
        self.house
            .kits
            .iter()
            .for_each(|kit| (kit.start)(&self.house));
        if self.house.kits.iter().any(|kit| !kit.jobs.is_empty()) {
            tending.spawn(crate::kit::work(self.house.clone()));
        }
        let (stop_traces, stopped) = oneshot::channel();
        let exporter = self
            .house
            .exporter
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        let exporting = exporter.map(|exporter| tokio::spawn(exporter.run(stopped)));
        let stop = stop.shared();
        let grpc = async {
            if let Some((door, _)) = self.grpc {
                let router = routes::grpc_router(self.house.clone());
                door.serve(router, stop.clone()).await;
            }
        };
        let router = routes::router(self.house.clone());
        tokio::join!(self.door.serve(router, stop.clone()), grpc);
        tending.shutdown().await;
        self.house.sum_up_refusals(i64::MAX).await;
        put_hours(&self.house).await;
        drop(stop_traces);
        if let Some(exporting) = exporting {
            // One that panicked sends nothing more.
            let _ = exporting.await;
        }
        self.house.ops.drain_shadows().await;
        let ledger = self.house.ledger.clone();
        if tokio::task::spawn_blocking(move || ledger.close())
            .await
            .is_err()
        {
            tracing::error!("the ledger did not close in order");
        }
        self.house.store.close().await;
        tracing::info!("stopped");
    }
}

async fn open_door(house: &House, at: SocketAddr) -> Result<(Door, SocketAddr), ListenError> {
    let door = Door::open(at, &house.config, Arc::clone(&house.metrics)).await?;
    let address = door.address().map_err(|source| ListenError::Address {
        address: at,
        source,
    })?;
    Ok((door, address))
}

/// Signs the heads of every tenant whose lanes moved.
async fn sign_heads(house: House) {
    let seconds = house.config.ledger.checkpoint_seconds.0;
    if seconds == 0 {
        return;
    }
    let mut signed = BTreeMap::new();
    loop {
        tokio::time::sleep(Duration::from_secs(seconds)).await;
        if let Err(error) = sign_moved(&house, &mut signed).await {
            tracing::warn!(cause = %chain(&error), "heads could not be signed");
        }
    }
}

/// Where a tenant's lanes stood.
type Heads = Vec<(LaneName, u64, Digest)>;

async fn sign_moved(
    house: &House,
    signed: &mut BTreeMap<Tenant, Heads>,
) -> Result<(), ombud_ledger::Error> {
    let mut standing: BTreeMap<Tenant, Heads> = BTreeMap::new();
    for head in house.ledger.read(|reader| reader.heads(None)).await? {
        standing
            .entry(head.tenant)
            .or_default()
            .push((head.lane, head.sequence, head.hash));
    }
    for (tenant, heads) in standing {
        if signed.get(&tenant) != Some(&heads) {
            house.ledger.checkpoint(&tenant, now_us()).await?;
            signed.insert(tenant, heads);
        }
    }
    Ok(())
}

/// Follows what other replicas, or a command, changed.
async fn follow(house: House) {
    let pause = Duration::from_millis(house.config.models.refresh_milliseconds.max(50));
    loop {
        tokio::time::sleep(pause).await;
        if let Err(error) = house.ops.follow_deployments().await {
            tracing::warn!(cause = %chain(&error), "what is deployed could not be looked at");
        }
    }
}

/// Empties the cache after erasures, also after those that found no cache.
async fn follow_erasures(house: House) {
    let pause = Duration::from_millis(house.config.models.refresh_milliseconds.max(50));
    loop {
        let pause = match house.ops.follow_erasures().await {
            Ok(()) => pause,
            Err(error) => {
                tracing::warn!(cause = %chain(&error), "a cache did not forget; it is asked again");
                FORGET_AGAIN_AFTER
            }
        };
        tokio::time::sleep(pause).await;
    }
}

/// Records what was turned away, as windows end.
async fn sum_up(house: House) {
    loop {
        tokio::time::sleep(SUM_UP_EVERY).await;
        house.sum_up_refusals(now_us()).await;
    }
}

/// Finds what this replica counted before it started again.
async fn take_up_hours(house: &House) {
    let from = this_hour() - HOURS_MAX as i64;
    match house.store.hours_of(&house.lane, from).await {
        Ok(rows) => house.performance.remember(rows),
        Err(error) => {
            tracing::warn!(cause = %chain(&error), "what was counted before could not be read");
        }
    }
}

async fn keep_hours(house: House) {
    loop {
        tokio::time::sleep(KEEP_HOURS_EVERY).await;
        put_hours(&house).await;
    }
}

async fn put_hours(house: &House) {
    if !house.performance.remembers() {
        // What is put takes the place of what was there, so that must be known first.
        take_up_hours(house).await;
    }
    if !house.performance.remembers() {
        return;
    }
    let rows = house.performance.changed();
    if rows.is_empty() {
        return;
    }
    if let Err(error) = house.store.put_hours(&house.lane, &rows).await {
        tracing::warn!(cause = %chain(&error), "what was counted could not be kept; it is tried again");
        house.performance.not_put(&rows);
    }
}

/// Forgets what is older than the settings let it be.
async fn forget(house: House) {
    let days = &house.config.ledger.keep_days;
    // Checked when the settings were read.
    let Ok(policy) = Policy::read(days) else {
        return;
    };
    while !days.is_empty() {
        forget_old(&house, &policy).await;
        tokio::time::sleep(FORGET_EVERY).await;
    }
}

/// Tells when the shared cache goes and when it comes back; everything goes on without it.
async fn watch_cache(house: House) {
    let mut was_there = true;
    loop {
        let is_there = house.ops.cache().status().await.is_available;
        match (was_there, is_there) {
            (true, false) => {
                tracing::warn!("the cache does not answer; everything is computed anew meanwhile");
            }
            (false, true) => tracing::info!("the cache answers again"),
            _ => {}
        }
        was_there = is_there;
        tokio::time::sleep(LOOK_AT_CACHE_EVERY).await;
    }
}

async fn sweep(house: House) {
    loop {
        if let Err(error) = house.store.sweep_sessions(now_us()).await {
            tracing::warn!(cause = %chain(&error), "sessions that ended could not be removed");
        }
        if let Err(error) = house.store.sweep_idempotency(now_us()).await {
            tracing::warn!(cause = %chain(&error), "old idempotency keys could not be removed");
        }
        let before = this_hour() - HOURS_MAX as i64;
        if let Err(error) = house.store.sweep_hours(before).await {
            tracing::warn!(cause = %chain(&error), "old counts could not be removed");
        }
        tokio::time::sleep(SWEEP_EVERY).await;
    }
}
