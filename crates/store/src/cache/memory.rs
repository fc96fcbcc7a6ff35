//! Answers in this process, bounded by bytes; the one unused for longest goes first.
//!
//! Split into shards by key, so that callers seldom meet; each shard has its part of the bytes. Time is handed in by a
//! clock, so that a test can let an hour pass.

use super::{Cache, CacheError, CacheKey, CacheStatus, Doing, VALUE_BYTES_MAX};
use ombud_ledger::Tenant;
use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Parts that are locked apart.
const SHARDS: usize = 16;
/// What an entry costs beside its value: its key twice, its place in two maps.
const ENTRY_BYTES: usize = 256;

/// A cache in memory.
pub struct Memory {
    shards: [Mutex<Shard>; SHARDS],
    shard_bytes_max: usize,
    lifetime: Duration,
    clock: fn() -> Instant,
}

#[derive(Debug, Default)]
struct Shard {
    entries: HashMap<(Tenant, CacheKey), Entry>,
    /// Which entry was used at which tick; the lowest is the one unused for longest.
    used: BTreeMap<u64, (Tenant, CacheKey)>,
    tick: u64,
    bytes: usize,
}

#[derive(Debug)]
struct Entry {
    value: Arc<[u8]>,
    ends: Instant,
    tick: u64,
}

impl Memory {
    /// A cache of at most `bytes_max`, whose answers live for `lifetime`.
    pub fn new(bytes_max: usize, lifetime: Duration) -> Self {
        Memory::with_clock(bytes_max, lifetime, Instant::now)
    }

    /// The same, with another clock.
    pub fn with_clock(bytes_max: usize, lifetime: Duration, clock: fn() -> Instant) -> Self {
        Memory {
            shards: std::array::from_fn(|_| Mutex::default()),
            shard_bytes_max: bytes_max / SHARDS,
            lifetime,
            clock,
        }
    }

    fn shard(&self, key: &CacheKey) -> MutexGuard<'_, Shard> {
        // A digest's bytes are as even as any hash of them.
        let place = usize::from(key.input.as_bytes()[0]) % SHARDS;
        lock(&self.shards[place])
    }

    fn find(&self, tenant: &Tenant, key: &CacheKey) -> Option<Arc<[u8]>> {
        let now = (self.clock)();
        let mut shard = self.shard(key);
        let place = (tenant.clone(), *key);
        let entry = shard.entries.get(&place)?;
        if entry.ends <= now {
            shard.remove(&place);
            return None;
        }
        let value = Arc::clone(&entry.value);
        shard.refresh(&place);
        Some(value)
    }

    fn keep(&self, tenant: &Tenant, key: &CacheKey, value: Arc<[u8]>) {
        let bytes = value.len() + ENTRY_BYTES;
        if value.len() > VALUE_BYTES_MAX || bytes > self.shard_bytes_max {
            return;
        }
        let ends = (self.clock)() + self.lifetime;
        let mut shard = self.shard(key);
        let place = (tenant.clone(), *key);
        shard.remove(&place);
        while shard.bytes + bytes > self.shard_bytes_max {
            let Some((_, oldest)) = shard.used.pop_first() else {
                break;
            };
            shard.remove(&oldest);
        }
        shard.insert(place, value, ends);
    }
}

impl Shard {
    fn insert(&mut self, place: (Tenant, CacheKey), value: Arc<[u8]>, ends: Instant) {
        self.tick += 1;
        self.bytes += value.len() + ENTRY_BYTES;
        self.used.insert(self.tick, place.clone());
        let tick = self.tick;
        self.entries.insert(place, Entry { value, ends, tick });
    }

    fn remove(&mut self, place: &(Tenant, CacheKey)) {
        if let Some(entry) = self.entries.remove(place) {
            self.used.remove(&entry.tick);
            self.bytes -= entry.value.len() + ENTRY_BYTES;
        }
    }

    fn refresh(&mut self, place: &(Tenant, CacheKey)) {
        self.tick += 1;
        let tick = self.tick;
        if let Some(entry) = self.entries.get_mut(place)
            && let Some(place) = self.used.remove(&entry.tick)
        {
            entry.tick = tick;
            self.used.insert(tick, place);
        }
    }
}

impl Cache for Memory {
    fn get<'a>(&'a self, tenant: &'a Tenant, key: &'a CacheKey) -> Doing<'a, Option<Arc<[u8]>>> {
        Box::pin(std::future::ready(self.find(tenant, key)))
    }

    fn put<'a>(&'a self, tenant: &'a Tenant, key: &'a CacheKey, value: Arc<[u8]>) -> Doing<'a, ()> {
        self.keep(tenant, key, value);
        Box::pin(std::future::ready(()))
    }

    fn clear<'a>(&'a self, tenant: &'a Tenant) -> Doing<'a, Result<(), CacheError>> {
        for shard in &self.shards {
            let mut shard = lock(shard);
            let theirs: Vec<_> = shard
                .entries
                .keys()
                .filter(|(owner, _)| owner == tenant)
                .cloned()
                .collect();
            theirs.iter().for_each(|place| shard.remove(place));
        }
        Box::pin(std::future::ready(Ok(())))
    }

    fn status(&self) -> Doing<'_, CacheStatus> {
        let (mut entries, mut bytes) = (0, 0);
        for shard in &self.shards {
            let shard = lock(shard);
            entries += shard.entries.len() as u64;
            bytes += shard.bytes as u64;
        }
        Box::pin(std::future::ready(CacheStatus {
            is_available: true,
            entries: Some(entries),
            bytes: Some(bytes),
        }))
    }
}

/// A panic inside leaves a cache that may have forgotten something, which it may.
fn lock(shard: &Mutex<Shard>) -> MutexGuard<'_, Shard> {
    shard.lock().unwrap_or_else(PoisonError::into_inner)
}

impl fmt::Debug for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Memory")
            .field("bytes_max", &(self.shard_bytes_max * SHARDS))
            .finish_non_exhaustive()
    }
}
