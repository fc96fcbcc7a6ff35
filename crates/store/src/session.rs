//! Sessions of people who signed in: found by the hash of a token that only their browser has.

use crate::database::{Row, values};
use crate::error::{Error, Result};
use crate::person::{self, Person};
use crate::secret::{self, SECRET_TEXT_BYTES_MAX, SecretText};
use crate::store::Store;
use ombud_core::Digest;
use ombud_ledger::Tenant;

/// How stale `last_seen_us` may be: a busy session is not written on every call.
const LAST_SEEN_STALE_US: i64 = 60_000_000;
/// Sessions of one person at once; the oldest ends for a new one.
pub const SESSIONS_MAX: usize = 20;

/// A session, with the person as they are now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Session {
    pub tenant: Tenant,
    pub person: Person,
    /// What finds it; not the token itself.
    pub token_hash: Digest,
    /// What a form of this session must bring along; useless without the cookie.
    pub csrf: String,
    pub created_us: i64,
    pub expires_us: i64,
    pub last_seen_us: i64,
}

impl Store {
    /// Opens a session for a person who has just proved who they are. The token is in the answer and nowhere else.
    pub async fn open_session(
        &self,
        tenant: &Tenant,
        login: &str,
        lifetime_us: i64,
        now_us: i64,
    ) -> Result<(Session, SecretText)> {
        let token = SecretText::generate("")?;
        let csrf = SecretText::generate("")?.expose().to_owned();
        let hash = token.hash();
        let mut transaction = self.database.begin().await?;
        let seen = "update store_people set last_sign_in_us = $3 where tenant = $1 and login = $2 \
            and disabled_us is null returning *";
        let row = transaction
            .row(seen, values![tenant, login, now_us])
            .await?;
        let person = person::person(&row.ok_or(Error::Unauthenticated)?)?;
        let crowd_out = "delete from store_sessions where tenant = $1 and login = $2 and token_hash in \
            (select token_hash from store_sessions where tenant = $1 and login = $2 \
             order by created_us desc limit 1000 offset $3)";
        let kept = SESSIONS_MAX as i64 - 1;
        transaction
            .execute(crowd_out, values![tenant, login, kept])
            .await?;
        let expires_us = now_us.saturating_add(lifetime_us);
        let insert = "insert into store_sessions (tenant, token_hash, login, csrf, created_us, expires_us, last_seen_us) \
            values ($1, $2, $3, $4, $5, $6, $5)";
        let values = values![tenant, hash, login, csrf.as_str(), now_us, expires_us];
        transaction.execute(insert, values).await?;
        transaction.commit().await?;
        let session = Session {
            tenant: tenant.clone(),
            person,
            token_hash: hash,
            csrf,
            created_us: now_us,
            expires_us,
            last_seen_us: now_us,
        };
        Ok((session, token))
    }

    /// The session of a token, when it has not ended and its person may still sign in.
    pub async fn session(&self, token: &str, now_us: i64) -> Result<Session> {
        if token.len() > SECRET_TEXT_BYTES_MAX {
            return Err(Error::Unauthenticated);
        }
        let sql = "select p.*, s.token_hash, s.csrf, s.created_us as opened_us, s.expires_us, s.last_seen_us \
            from store_sessions s join store_people p on p.tenant = s.tenant and p.login = s.login \
            where s.token_hash = $1 and s.expires_us > $2 and p.disabled_us is null";
        let values = values![secret::hash(token), now_us];
        let row = self.database.row(sql, values).await?;
        session(&row.ok_or(Error::Unauthenticated)?)
    }

    /// Notes that a session was used, when the last note is older than a minute.
    pub async fn session_used(&self, session: &Session, now_us: i64) -> Result<()> {
        if now_us < session.last_seen_us + LAST_SEEN_STALE_US {
            return Ok(());
        }
        let sql =
            "update store_sessions set last_seen_us = $3 where tenant = $1 and token_hash = $2";
        let values = values![&session.tenant, session.token_hash, now_us];
        self.database.execute(sql, values).await.map(drop)
    }

    /// Ends a session. Twice is as once.
    pub async fn close_session(&self, tenant: &Tenant, token_hash: Digest) -> Result<()> {
        let sql = "delete from store_sessions where tenant = $1 and token_hash = $2";
        let values = values![tenant, token_hash];
        self.database.execute(sql, values).await.map(drop)
    }

    /// Removes sessions that have ended, of every tenant; how many. Nobody learns whose they were.
    pub async fn sweep_sessions(&self, now_us: i64) -> Result<u64> {
        let sql = "delete from store_sessions where expires_us <= $1";
        self.database.execute(sql, values![now_us]).await
    }
}

fn session(row: &Row) -> Result<Session> {
    Ok(Session {
        tenant: row.parsed("tenant")?,
        person: person::person(row)?,
        token_hash: row.digest("token_hash")?,
        csrf: row.text("csrf")?,
        created_us: row.whole("opened_us")?,
        expires_us: row.whole("expires_us")?,
        last_seen_us: row.whole("last_seen_us")?,
    })
}
