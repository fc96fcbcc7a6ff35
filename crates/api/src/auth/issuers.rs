//! The issuers that are believed: their keys, pinned or fetched, and what their claims mean here.
//!
//! Keys are fetched when a token first names its issuer and again when it names a key that is not known, but never more
//! often than [`FETCH_AGAIN_AFTER`], so that invented key ids cannot make us call anybody. While an issuer cannot be
//! reached the keys at hand stay in use.

use super::token::{Claims, KeySet, TokenError, Unverified};
use crate::access::{Caller, Proof, Roles};
use crate::config::{Config, Issuer};
use bytes::Bytes;
use http_body_util::{BodyExt, Empty, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use ombud_ledger::Tenant;
use ombud_store::Scopes;
use serde::Deserialize;
use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

/// The shortest time between two fetches of one issuer's keys.
pub const FETCH_AGAIN_AFTER: Duration = Duration::from_secs(30);
/// The same after a fetch that failed.
const FETCH_FAILED_AGAIN_AFTER: Duration = Duration::from_secs(3);
/// How long a fetch may take.
const FETCH_PATIENCE: Duration = Duration::from_secs(5);
/// The largest document that is read.
const DOCUMENT_BYTES_MAX: usize = 1 << 20;

/// Every issuer that is believed.
pub struct Issuers {
    issuers: Vec<Known>,
    tenant: Tenant,
    client: Client<HttpsConnector<HttpConnector>, Empty<Bytes>>,
}

/// Why issuers cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum IssuersError {
    #[error("the pinned keys {path:?} cannot be read")]
    Pinned { path: PathBuf, source: io::Error },
    #[error("the pinned keys {path:?} are no JWK set with a key that can sign")]
    NoKeys { path: PathBuf },
    #[error("the system's certificates cannot be read")]
    Roots(#[source] io::Error),
}

struct Known {
    settings: Issuer,
    tenant: Tenant,
    keys: RwLock<Arc<KeySet>>,
    fetched: tokio::sync::Mutex<Option<Fetched>>,
}

/// The last try to fetch an issuer's keys.
struct Fetched {
    at: Instant,
    succeeded: bool,
}

#[derive(Deserialize)]
struct Discovery {
    issuer: String,
    jwks_uri: String,
}

impl Issuers {
    /// The issuers of the settings.
    pub fn new(config: &Config, tenant: Tenant) -> Result<Self, IssuersError> {
        let provider = rustls::crypto::ring::default_provider();
        let connector = HttpsConnectorBuilder::new()
            .with_provider_and_native_roots(provider)
            .map_err(IssuersError::Roots)?
            // Checked with the settings: plain HTTP is for an issuer on this machine.
            .https_or_http()
            .enable_http1()
            .build();
        let issuers = config
            .issuers
            .iter()
            .map(|settings| Known::new(settings, &tenant));
        Ok(Issuers {
            issuers: issuers.collect::<Result<_, _>>()?,
            tenant,
            client: Client::builder(TokioExecutor::new()).build(connector),
        })
    }

    /// Whether anybody is believed.
    pub fn is_empty(&self) -> bool {
        self.issuers.is_empty()
    }

    /// Who a token names.
    pub async fn caller(&self, token: &str, now_seconds: f64) -> Result<Caller, TokenError> {
        let unverified = Unverified::read(token)?;
        let named = unverified.issuer().ok_or(TokenError::Issuer)?;
        let known = self
            .issuers
            .iter()
            .find(|known| known.settings.issuer == named)
            .ok_or(TokenError::Issuer)?;
        let claims = match unverified.verify(&known.keys()) {
            Err(TokenError::UnknownKey) if known.fetches() => {
                let is_answered = self.fetch(known).await;
                match Unverified::read(token)?.verify(&known.keys()) {
                    Err(TokenError::UnknownKey) if !is_answered => return Err(TokenError::NoKeys),
                    verified => verified?,
                }
            }
            other => other?,
        };
        let subject = claims.check(
            &known.settings.issuer,
            &known.settings.audience,
            now_seconds,
        )?;
        Ok(Caller {
            principal: Arc::from(format!("token:{}#{subject}", known.settings.issuer)),
            tenant: known.tenant_of(&claims)?,
            roles: known.roles_of(&claims),
            scopes: Scopes::EVERYWHERE,
            proof: Proof::Token,
        })
    }

    /// Fetches an issuer's keys, unless that was done just before; whether the last try succeeded.
    async fn fetch(&self, known: &Known) -> bool {
        let mut fetched = known.fetched.lock().await;
        if let Some(last) = &*fetched {
            let pause = match last.succeeded {
                true => FETCH_AGAIN_AFTER,
                false => FETCH_FAILED_AGAIN_AFTER,
            };
            if last.at.elapsed() < pause {
                return last.succeeded;
            }
        }
        let result = self.key_set(&known.settings.issuer).await;
        let succeeded = result.is_ok();
        match result {
            Ok(keys) => {
                *known.keys.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(keys);
            }
            Err(cause) => tracing::warn!(
                issuer = known.settings.issuer,
                cause,
                "an issuer's keys cannot be fetched"
            ),
        }
        let at = Instant::now();
        *fetched = Some(Fetched { at, succeeded });
        succeeded
    }

    async fn key_set(&self, issuer: &str) -> Result<KeySet, String> {
        let place = format!(
            "{}/.well-known/openid-configuration",
            issuer.trim_end_matches('/')
        );
        let discovery = self.get(&place).await?;
        let discovery: Discovery =
            serde_json::from_slice(&discovery).map_err(|error| error.to_string())?;
        if discovery.issuer != issuer {
            return Err("its discovery document names another issuer".to_owned());
        }
        let is_safe = discovery.jwks_uri.starts_with("https://") || issuer.starts_with("http://");
        if !is_safe {
            return Err("its keys would come over plain HTTP".to_owned());
        }
        let keys = KeySet::read(&self.get(&discovery.jwks_uri).await?)
            .map_err(|error| error.to_string())?;
        if keys.is_empty() {
            Err("it has no key that can sign".to_owned())
        } else {
            Ok(keys)
        }
    }

    async fn get(&self, url: &str) -> Result<Bytes, String> {
        let uri = url
            .parse()
            .map_err(|_| "an address cannot be read".to_owned())?;
        let fetching = async {
            let response = self
                .client
                .get(uri)
                .await
                .map_err(|error| crate::refusal::chain(&error))?;
            if !response.status().is_success() {
                return Err(format!("it answered {}", response.status()));
            }
            let body = Limited::new(response.into_body(), DOCUMENT_BYTES_MAX)
                .collect()
                .await;
            body.map(http_body_util::Collected::to_bytes)
                .map_err(|error| error.to_string())
        };
        tokio::time::timeout(FETCH_PATIENCE, fetching)
            .await
            .map_err(|_| "it took too long".to_owned())?
    }

    /// The tenant of everybody whom no issuer places elsewhere.
    pub fn tenant(&self) -> &Tenant {
        &self.tenant
    }
}

impl Known {
    fn new(settings: &Issuer, tenant: &Tenant) -> Result<Self, IssuersError> {
        let keys = if settings.jwks.as_os_str().is_empty() {
            KeySet::default()
        } else {
            pinned(&settings.jwks)?
        };
        let tenant = match settings.tenant.as_str() {
            "" => tenant.clone(),
            named => Tenant::new(named).unwrap_or_else(|_| tenant.clone()),
        };
        Ok(Known {
            settings: settings.clone(),
            tenant,
            keys: RwLock::new(Arc::new(keys)),
            fetched: tokio::sync::Mutex::default(),
        })
    }

    fn keys(&self) -> Arc<KeySet> {
        Arc::clone(&self.keys.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn fetches(&self) -> bool {
        self.settings.jwks.as_os_str().is_empty()
    }

    /// A claim that should name the tenant and does not leads nowhere, rather than to everybody's.
    fn tenant_of(&self, claims: &Claims) -> Result<Tenant, TokenError> {
        if self.settings.tenant_claim.is_empty() {
            return Ok(self.tenant.clone());
        }
        let claim = &self.settings.tenant_claim;
        match claims.texts_at(claim).as_slice() {
            [one] => Tenant::new(&one.to_lowercase()).map_err(|_| TokenError::Tenant),
            _ => Err(TokenError::Tenant),
        }
    }

    fn roles_of(&self, claims: &Claims) -> Roles {
        let named = claims.texts_at(&self.settings.roles_claim);
        Roles::of(
            named
                .iter()
                .filter_map(|name| self.settings.roles.get(*name))
                .filter_map(|role| role.parse().ok()),
        )
    }
}

impl fmt::Debug for Issuers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = self.issuers.iter().map(|known| &known.settings.issuer);
        f.debug_list().entries(names).finish()
    }
}

fn pinned(path: &std::path::Path) -> Result<KeySet, IssuersError> {
    let json = std::fs::read(path).map_err(|source| IssuersError::Pinned {
        path: path.to_owned(),
        source,
    })?;
    match KeySet::read(&json) {
        Ok(keys) if !keys.is_empty() => Ok(keys),
        _ => Err(IssuersError::NoKeys {
            path: path.to_owned(),
        }),
    }
}
