//! What every handler reaches for: the rooms below, the settings, the limits, the counters.

use crate::config::Config;
use crate::limits::RateLimits;
use crate::metrics::Metrics;
use axum::http::HeaderMap;
use std::net::IpAddr;
use std::ops::Deref;
use std::sync::Arc;
use tokio::sync::Semaphore;

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
    /// The buckets of everybody.
    pub limits: RateLimits,
    /// Places for requests at work.
    pub places: Semaphore,
    /// Proxies that are believed.
    pub trusted_proxies: Vec<IpAddr>,
}

impl House {
    /// Whether answers go out encrypted, by us or by the proxy that the public address names.
    pub fn is_encrypted(&self) -> bool {
        self.config.has_tls() || self.config.server.public_url.starts_with("https://")
    }

    pub(crate) fn believed(&self, peer: IpAddr, headers: &HeaderMap) -> IpAddr {
        crate::request::client_behind(&self.trusted_proxies, peer, headers)
    }
}

impl Deref for House {
    type Target = Parts;

    fn deref(&self) -> &Parts {
        &self.0
    }
}
