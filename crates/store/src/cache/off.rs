//! No cache: nothing is kept, so nothing is found and nothing has to be forgotten.

use super::{Cache, CacheError, CacheKey, CacheStatus, Doing};
use ombud_ledger::Tenant;
use std::future::ready;
use std::sync::Arc;

/// A cache that is switched off.
#[derive(Debug, Clone, Copy)]
pub struct Off;

impl Cache for Off {
    fn get<'a>(&'a self, _: &'a Tenant, _: &'a CacheKey) -> Doing<'a, Option<Arc<[u8]>>> {
        Box::pin(ready(None))
    }

    fn put<'a>(&'a self, _: &'a Tenant, _: &'a CacheKey, _: Arc<[u8]>) -> Doing<'a, ()> {
        Box::pin(ready(()))
    }

    fn clear<'a>(&'a self, _: &'a Tenant) -> Doing<'a, Result<(), CacheError>> {
        Box::pin(ready(Ok(())))
    }

    fn status(&self) -> Doing<'_, CacheStatus> {
        Box::pin(ready(CacheStatus {
            is_available: true,
            entries: Some(0),
            bytes: Some(0),
        }))
    }
}
