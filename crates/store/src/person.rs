//! People who sign in with a password.
//!
//! The password's hash comes as argon2id's own text, made above: this room compares nothing and hashes nothing slow.

use crate::database::{Row, values};
use crate::error::{Error, Result};
use crate::role::Role;
use crate::store::{Store, Topic, bounded, touch};
use ombud_ledger::Tenant;
use std::fmt;

/// Longest login.
pub const LOGIN_BYTES_MAX: usize = 200;
/// Longest name.
pub const NAME_BYTES_MAX: usize = 200;
/// Longest password hash.
const HASH_BYTES_MAX: usize = 512;

/// A person who may sign in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Person {
    /// What they sign in with; unique within the tenant.
    pub login: String,
    /// What they are called.
    pub name: String,
    pub role: Role,
    pub password_hash: PasswordHash,
    /// Whether the password was given by somebody else and must be replaced.
    pub must_change_password: bool,
    pub created_us: i64,
    /// When role, password or state last changed; sessions from before a new password are closed.
    pub changed_us: i64,
    pub disabled_us: Option<i64>,
    pub last_sign_in_us: Option<i64>,
}

/// A person to be made.
#[derive(Debug, Clone)]
pub struct NewPerson {
    pub login: String,
    pub name: String,
    pub role: Role,
    pub password_hash: PasswordHash,
    pub must_change_password: bool,
}

/// argon2id's text, with salt and costs. It does not print.
#[derive(Clone, PartialEq, Eq)]
pub struct PasswordHash(String);

impl PasswordHash {
    /// Takes a hash in its text form.
    pub fn new(text: String) -> Self {
        PasswordHash(text)
    }

    /// The text form.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl Store {
    /// Adds a person.
    pub async fn add_person(
        &self,
        tenant: &Tenant,
        person: NewPerson,
        now_us: i64,
    ) -> Result<Person> {
        check_login(&person.login)?;
        bounded("name", &person.name, NAME_BYTES_MAX)?;
        bounded(
            "password hash",
            person.password_hash.expose(),
            HASH_BYTES_MAX,
        )?;
        let sql = "insert into store_people (tenant, login, name, role, password_hash, must_change_password, \
            created_us, changed_us) values ($1, $2, $3, $4, $5, $6, $7, $7) on conflict do nothing";
        let values = values![
            tenant,
            person.login.as_str(),
            person.name.as_str(),
            person.role.as_str(),
            person.password_hash.expose(),
            person.must_change_password,
            now_us
        ];
        let mut transaction = self.database.begin().await?;
        if transaction.execute(sql, values).await? == 0 {
            return Err(Error::Exists {
                what: "person",
                name: person.login,
            });
        }
        touch(&mut transaction, tenant, Topic::Principals).await?;
        transaction.commit().await?;
        Ok(Person {
            login: person.login,
            name: person.name,
            role: person.role,
            password_hash: person.password_hash,
            must_change_password: person.must_change_password,
            created_us: now_us,
            changed_us: now_us,
            disabled_us: None,
            last_sign_in_us: None,
        })
    }

    /// A person by their login, also when disabled.
    pub async fn person(&self, tenant: &Tenant, login: &str) -> Result<Option<Person>> {
        let sql = "select * from store_people where tenant = $1 and login = $2";
        let row = self.database.row(sql, values![tenant, login]).await?;
        row.map(|row| person(&row)).transpose()
    }

    /// Everybody of a tenant, by login.
    pub async fn people(&self, tenant: &Tenant) -> Result<Vec<Person>> {
        let sql = "select * from store_people where tenant = $1 order by login";
        let rows = self.database.rows(sql, values![tenant]).await?;
        rows.iter().map(person).collect()
    }

    /// Replaces a password; every session of the person ends.
    pub async fn set_password(
        &self,
        tenant: &Tenant,
        login: &str,
        hash: &PasswordHash,
        must_change: bool,
        now_us: i64,
    ) -> Result<()> {
        bounded("password hash", hash.expose(), HASH_BYTES_MAX)?;
        let sql = "update store_people set password_hash = $3, must_change_password = $4, changed_us = $5 \
            where tenant = $1 and login = $2";
        let values = values![tenant, login, hash.expose(), must_change, now_us];
        self.change_person(tenant, login, sql, values).await
    }

    /// Gives a person another role; every session of theirs ends.
    pub async fn set_role(
        &self,
        tenant: &Tenant,
        login: &str,
        role: Role,
        now_us: i64,
    ) -> Result<()> {
        let sql =
            "update store_people set role = $3, changed_us = $4 where tenant = $1 and login = $2";
        let values = values![tenant, login, role.as_str(), now_us];
        self.change_person(tenant, login, sql, values).await
    }

    /// Shuts a person out, or lets them in again; every session of theirs ends.
    pub async fn set_disabled(
        &self,
        tenant: &Tenant,
        login: &str,
        is_disabled: bool,
        now_us: i64,
    ) -> Result<()> {
        let sql = "update store_people set disabled_us = $3, changed_us = $4 where tenant = $1 and login = $2";
        let since = is_disabled.then_some(now_us);
        let values = values![tenant, login, since, now_us];
        self.change_person(tenant, login, sql, values).await
    }

    async fn change_person(
        &self,
        tenant: &Tenant,
        login: &str,
        sql: &'static str,
        values: Vec<crate::database::Value>,
    ) -> Result<()> {
        let mut transaction = self.database.begin().await?;
        if transaction.execute(sql, values).await? == 0 {
            return Err(unknown(login));
        }
        let close = "delete from store_sessions where tenant = $1 and login = $2";
        transaction.execute(close, values![tenant, login]).await?;
        touch(&mut transaction, tenant, Topic::Principals).await?;
        transaction.commit().await
    }
}

pub(crate) fn unknown(login: &str) -> Error {
    Error::NotFound {
        what: "person",
        name: login.chars().take(LOGIN_BYTES_MAX).collect(),
    }
}

pub(crate) fn person(row: &Row) -> Result<Person> {
    Ok(Person {
        login: row.text("login")?,
        name: row.text("name")?,
        role: row.parsed("role")?,
        password_hash: PasswordHash(row.text("password_hash")?),
        must_change_password: row.truth("must_change_password")?,
        created_us: row.whole("created_us")?,
        changed_us: row.whole("changed_us")?,
        disabled_us: row.time_or_none("disabled_us")?,
        last_sign_in_us: row.time_or_none("last_sign_in_us")?,
    })
}

/// A login is printable and has no spaces: it stands in records and logs of acts.
fn check_login(login: &str) -> Result<()> {
    let is_printable =
        !login.is_empty() && login.chars().all(|c| !c.is_whitespace() && !c.is_control());
    if is_printable && login.len() <= LOGIN_BYTES_MAX {
        return Ok(());
    }
    Err(Error::Malformed {
        what: "login",
        came: login.chars().take(80).collect(),
        allowed: "1 to 200 bytes without spaces",
    })
}

impl fmt::Debug for PasswordHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PasswordHash(…)")
    }
}
