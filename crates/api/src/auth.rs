//! Who sent a request: an API key, a session's cookie or an issuer's token becomes a [`Caller`].
//!
//! Keys and sessions are looked up by the hash of what was shown and remembered for [`REMEMBERED_FOR`], so that a busy key
//! asks the database once a while and a revoked one stops within that time on every replica, at once on this one.

pub mod basic;
pub mod issuers;
pub mod passwords;
pub mod token;

use crate::access::{Caller, Proof, Roles};
use crate::refusal::{Code, Refusal};
use crate::time::now_us;
use axum::http::{HeaderMap, Method, header};
use issuers::Issuers;
use ombud_core::Digest;
use ombud_ledger::Tenant;
use ombud_store::{Role, Scopes, Store};
use passwords::Passwords;
use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};
use token::TokenError;

/// When to ask again for whom an issuer could not be asked; its keys are looked for anew by then.
const ISSUER_WAIT: Duration = Duration::from_secs(5);

/// How long a looked-up key or session is believed.
pub const REMEMBERED_FOR: Duration = Duration::from_secs(2);
/// Callers remembered at once.
pub const REMEMBERED_MAX: usize = 10_000;
/// The cookie that carries a session.
pub const SESSION_COOKIE: &str = "ombud_session";
/// The header that a session's changes must carry.
pub const CSRF_HEADER: &str = "x-csrf-token";

/// Finds out who sent a request.
#[derive(Debug)]
pub struct Auth {
    store: Store,
    tenant: Tenant,
    issuers: Issuers,
    /// Checks passwords.
    pub passwords: Passwords,
    remembered: RwLock<HashMap<Digest, Remembered>>,
    proven: basic::Proven,
    is_open: bool,
}

#[derive(Debug)]
struct Remembered {
    caller: Arc<Caller>,
    since: Instant,
}

impl Auth {
    /// With everybody still a stranger.
    pub fn new(
        store: Store,
        tenant: Tenant,
        issuers: Issuers,
        password_checks_max: usize,
        is_open: bool,
    ) -> Self {
        Auth {
            store,
            tenant,
            issuers,
            passwords: Passwords::new(password_checks_max),
            remembered: RwLock::default(),
            proven: basic::Proven::default(),
            is_open,
        }
    }

    /// Who sent a request with these headers.
    pub async fn caller(
        &self,
        method: &Method,
        headers: &HeaderMap,
    ) -> Result<Arc<Caller>, Refusal> {
        if let Some(given) = headers.get(header::AUTHORIZATION) {
            let given = given.to_str().map_err(|_| unreadable())?;
            let (scheme, secret) = given.split_once(' ').ok_or_else(unreadable)?;
            let secret = secret.trim();
            return match scheme {
                _ if scheme.eq_ignore_ascii_case("basic") => self.basic(secret, headers).await,
                _ if !scheme.eq_ignore_ascii_case("bearer") => Err(unreadable()),
                _ if secret.starts_with(ombud_store::key::KEY_START) => self.key(secret).await,
                _ => self.token(secret).await,
            };
        }
        if let Some(key) = headers.get("x-api-key") {
            return self.key(key.to_str().map_err(|_| unreadable())?).await;
        }
        if let Some(secret) = cookie(headers) {
            return self.session(secret, method, headers).await;
        }
        if self.is_open && is_meant_for_this_machine(headers) {
            return Ok(Arc::new(self.demo()));
        }
        let hint = "send `Authorization: Bearer omb_…`; make a key with `ombud keys new`";
        Err(Refusal::new(
            Code::Unauthenticated,
            "no key, session or token came with the request",
        )
        .hint(hint))
    }

    /// Whose data it is when nobody says.
    pub fn tenant(&self) -> &Tenant {
        &self.tenant
    }

    /// Forgets everybody, because somebody's rights were changed here.
    pub fn forget(&self) {
        self.remembered
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .clear();
    }

    async fn key(&self, text: &str) -> Result<Arc<Caller>, Refusal> {
        let hash = ombud_store::secret::hash(text);
        if let Some(caller) = self.recall(&hash) {
            return Ok(caller);
        }
        let now = now_us();
        let key = self
            .store
            .authenticate_key(text, now)
            .await
            .map_err(stranger)?;
        // Whether the last use could be noted changes nothing for the caller, who does not wait for it.
        let (store, used) = (self.store.clone(), key.clone());
        tokio::spawn(async move {
            if let Err(error) = store.key_used(&used, now).await {
                tracing::warn!(cause = %crate::refusal::chain(&error), "a key's use could not be noted");
            }
        });
        let caller = Caller {
            principal: Arc::from(format!("key:{}", key.prefix)),
            tenant: key.tenant,
            roles: Roles::of([key.role]),
            scopes: key.scopes,
            proof: Proof::Key,
        };
        Ok(self.remember(hash, caller))
    }

    async fn session(
        &self,
        secret: &str,
        method: &Method,
        headers: &HeaderMap,
    ) -> Result<Arc<Caller>, Refusal> {
        let hash = ombud_store::secret::hash(secret);
        let caller = match self.recall(&hash) {
            Some(caller) => caller,
            None => self.look_up_session(secret, hash).await?,
        };
        let is_change = !matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS);
        if let (true, Proof::Session(session)) = (is_change, &caller.proof) {
            let shown = headers
                .get(CSRF_HEADER)
                .map(axum::http::HeaderValue::as_bytes)
                .unwrap_or_default();
            // Hashed first, so that the time of a comparison tells nothing.
            if ombud_store::secret::hash(&String::from_utf8_lossy(shown))
                != ombud_store::secret::hash(&session.csrf)
            {
                let detail = format!("a change by a session needs its token in `{CSRF_HEADER}`");
                return Err(Refusal::new(Code::CrossSite, detail)
                    .hint("GET /api/v1/session tells the token"));
            }
        }
        Ok(caller)
    }

    async fn look_up_session(&self, secret: &str, hash: Digest) -> Result<Arc<Caller>, Refusal> {
        let now = now_us();
        let session = self.store.session(secret, now).await.map_err(stranger)?;
        if let Err(error) = self.store.session_used(&session, now).await {
            tracing::warn!(cause = %crate::refusal::chain(&error), "a session's use could not be noted");
        }
        let caller = Caller {
            principal: Arc::from(format!("person:{}", session.person.login)),
            tenant: session.tenant.clone(),
            roles: Roles::of([session.person.role]),
            scopes: Scopes::EVERYWHERE,
            proof: Proof::Session(Arc::new(session)),
        };
        Ok(self.remember(hash, caller))
    }

    async fn token(&self, token: &str) -> Result<Arc<Caller>, Refusal> {
        if self.issuers.is_empty() {
            return Err(Refusal::new(
                Code::Unauthenticated,
                "this is no API key, and no issuer of tokens is known here",
            ));
        }
        let seconds = now_us() as f64 / 1e6;
        let caller = self.issuers.caller(token, seconds).await;
        let caller = caller.map_err(|error| {
            let code = match error {
                TokenError::NoKeys => Code::Unavailable,
                _ => Code::Unauthenticated,
            };
            let refusal = Refusal::new(code, error.to_string());
            match code {
                Code::Unavailable => refusal.retry_after(ISSUER_WAIT),
                _ => refusal,
            }
        })?;
        Ok(Arc::new(caller))
    }

    fn demo(&self) -> Caller {
        Caller {
            principal: Arc::from("demo"),
            tenant: self.tenant.clone(),
            roles: Roles::of([Role::Viewer, Role::Caller]),
            scopes: Scopes::EVERYWHERE,
            proof: Proof::Demo,
        }
    }

    fn recall(&self, hash: &Digest) -> Option<Arc<Caller>> {
        let remembered = self
            .remembered
            .read()
            .unwrap_or_else(PoisonError::into_inner);
        let found = remembered
            .get(hash)
            .filter(|found| found.since.elapsed() < REMEMBERED_FOR);
        found.map(|found| Arc::clone(&found.caller))
    }

    fn remember(&self, hash: Digest, caller: Caller) -> Arc<Caller> {
        let caller = Arc::new(caller);
        let mut remembered = self
            .remembered
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        if remembered.len() >= REMEMBERED_MAX {
            remembered.clear();
        }
        let since = Instant::now();
        remembered.insert(
            hash,
            Remembered {
                caller: Arc::clone(&caller),
                since,
            },
        );
        caller
    }
}

fn cookie(headers: &HeaderMap) -> Option<&str> {
    let cookies = headers
        .get_all(header::COOKIE)
        .iter()
        .filter_map(|value| value.to_str().ok());
    cookies
        .flat_map(|value| value.split(';'))
        .filter_map(|pair| pair.trim().split_once('='))
        .find(|(name, _)| *name == SESSION_COOKIE)
        .map(|(_, value)| value)
}

fn stranger(error: ombud_store::Error) -> Refusal {
    match error {
        ombud_store::Error::Unauthenticated => Refusal::new(
            Code::Unauthenticated,
            "the key or session is not known, or not valid any more",
        ),
        other => other.into(),
    }
}

/// Whether a request without a key names this machine. A page from elsewhere can have its own name lead here, and a browser
/// would then let it read whatever is open to anybody at this machine.
fn is_meant_for_this_machine(headers: &HeaderMap) -> bool {
    let Some(host) = headers
        .get(header::HOST)
        .and_then(|host| host.to_str().ok())
    else {
        // HTTP/2 has no such header; browsers speak it over TLS alone, where the certificate holds the name.
        return true;
    };
    let name = host
        .rsplit_once(':')
        .filter(|(_, port)| port.bytes().all(|digit| digit.is_ascii_digit()))
        .map_or(host, |(name, _)| name);
    let address = name.trim_matches(['[', ']']);
    let is_loopback = address
        .parse()
        .is_ok_and(|address: std::net::IpAddr| address.is_loopback());
    name.eq_ignore_ascii_case("localhost") || is_loopback
}

fn unreadable() -> Refusal {
    Refusal::new(Code::Unauthenticated, "the credentials cannot be read")
        .hint("send `Authorization: Bearer omb_…`")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_of_this_machine_are_its_own() {
        let is_own = |host: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::HOST, axum::http::HeaderValue::from_static(host));
            is_meant_for_this_machine(&headers)
        };
        for host in [
            "localhost:8080",
            "LOCALHOST",
            "127.0.0.1",
            "127.0.0.1:1",
            "[::1]:8080",
            "[::1]",
        ] {
            assert!(is_own(host), "{host}");
        }
        for host in [
            "evil.example",
            "evil.example:8080",
            "localhost.evil.example",
            "10.0.0.1:80",
            "",
        ] {
            assert!(!is_own(host), "{host}");
        }
    }
}
