//! Who else may vouch for people: an OpenID Connect issuer, and how its claims become a role and a tenant.
//!
//! Every provider names its claims differently (Cognito `cognito:groups`, Keycloak `realm_access.roles`, Entra `roles`),
//! so a claim is a dotted path and its values are translated by a table that a person wrote.

use super::value::{Given, Setting, quoted};
use std::collections::BTreeMap;
use std::path::PathBuf;
use toml::de::DeValue;

/// An issuer of signed tokens.
#[derive(Debug, Clone, PartialEq)]
pub struct Issuer {
    /// The `iss` claim; its keys are found below it unless `jwks` says where.
    pub issuer: String,
    /// The `aud` claim (or Cognito's `client_id`) that tokens for us carry.
    pub audience: String,
    /// Pinned keys: a file with a JWK set. Empty: fetched from the issuer.
    pub jwks: PathBuf,
    /// Where the roles stand in the claims.
    pub roles_claim: String,
    /// What the issuer's role or group names mean here.
    pub roles: BTreeMap<String, String>,
    /// Where the tenant stands in the claims. Empty: everybody is of `tenant`.
    pub tenant_claim: String,
    /// The tenant of everybody, when no claim names one. Empty: the server's own.
    pub tenant: String,
}

/// The reference page's part on issuers.
pub(super) const REFERENCE: &str = "
## `[[issuers]]`

Programs and people may come with a token (`Authorization: Bearer …`) that an OpenID Connect issuer signed. One table for each
issuer; only in the file.

| setting | what it means |
| --- | --- |
| `issuer` | The `iss` claim. Its keys are found at `/.well-known/openid-configuration` below it, and fetched again when a token names an unknown one. |
| `audience` | The `aud` claim (Cognito's access tokens: `client_id`) that tokens for this server carry. |
| `jwks` | A file with pinned keys (a JWK set); then nothing is fetched. |
| `roles_claim` | Where roles or groups stand in the claims, as a dotted path. Default: `roles`. |
| `roles` | What they mean here: `{ ombud-operators = \"operator\" }`. Values: `viewer`, `caller`, `operator`, `auditor`, `admin`. Names not listed mean nothing. |
| `tenant_claim` | Where the tenant stands in the claims; its value is taken in small letters. Default: nobody names one. |
| `tenant` | The tenant when no claim names one. Default: `server.tenant`. |

```toml
[[issuers]] # Cognito
issuer = \"https://cognito-idp.eu-central-1.amazonaws.com/eu-central-1_AbCdEf123\"
audience = \"4n5example\"
roles_claim = \"cognito:groups\"
roles = { operators = \"operator\", auditors = \"auditor\" }

[[issuers]] # Keycloak
issuer = \"https://login.example.org/realms/house\"
audience = \"ombud\"
roles_claim = \"realm_access.roles\"
roles = { ombud-caller = \"caller\" }
tenant_claim = \"organization\"

[[issuers]] # Entra
issuer = \"https://login.microsoftonline.com/00000000-0000-0000-0000-000000000000/v2.0\"
audience = \"11111111-1111-1111-1111-111111111111\" # the application's client id, which v2.0 tokens carry as `aud`
roles_claim = \"roles\"
roles = { \"Ombud.Admin\" = \"admin\" }
tenant_claim = \"tid\"
```
";

impl Default for Issuer {
    fn default() -> Self {
        Issuer {
            issuer: String::new(),
            audience: String::new(),
            jwks: PathBuf::new(),
            roles_claim: "roles".to_owned(),
            roles: BTreeMap::new(),
            tenant_claim: String::new(),
            tenant: String::new(),
        }
    }
}

impl Issuer {
    pub(super) const NAMES: &'static [&'static str] = &[
        "issuer",
        "audience",
        "jwks",
        "roles_claim",
        "roles",
        "tenant_claim",
        "tenant",
    ];

    pub(super) fn set(&mut self, name: &str, value: &DeValue<'_>) -> Result<(), String> {
        let given = Given::Toml(value);
        match name {
            "issuer" => self.issuer = Setting::read(given)?,
            "audience" => self.audience = Setting::read(given)?,
            "jwks" => self.jwks = Setting::read(given)?,
            "roles_claim" => self.roles_claim = Setting::read(given)?,
            "tenant_claim" => self.tenant_claim = Setting::read(given)?,
            "tenant" => self.tenant = Setting::read(given)?,
            "roles" => self.roles = roles(value)?,
            _ => return Err("is not a setting".to_owned()),
        }
        Ok(())
    }

    pub(super) fn shown(&self) -> String {
        let roles: Vec<String> = self
            .roles
            .iter()
            .map(|(from, to)| format!("{} = {}", quoted(from), quoted(to)))
            .collect();
        format!(
            "[[issuers]]\nissuer = {}\naudience = {}\njwks = {}\nroles_claim = {}\nroles = {{ {} }}\ntenant_claim = {}\ntenant = {}\n",
            quoted(&self.issuer),
            quoted(&self.audience),
            quoted(&self.jwks.to_string_lossy()),
            quoted(&self.roles_claim),
            roles.join(", "),
            quoted(&self.tenant_claim),
            quoted(&self.tenant),
        )
    }

    pub(super) fn check(&self) -> Result<(), (String, String)> {
        let wrong = |what: &str, hint: &str| Err((what.to_owned(), hint.to_owned()));
        if self.issuer.is_empty() || self.audience.is_empty() {
            return wrong(
                "lacks `issuer` or `audience`",
                "a token for somebody else must not open this door",
            );
        }
        let is_near = ["http://127.0.0.1:", "http://localhost:", "http://[::1]:"];
        let is_safe = self.issuer.starts_with("https://")
            || is_near.iter().any(|near| self.issuer.starts_with(near));
        if self.jwks.as_os_str().is_empty() && !is_safe {
            return wrong(
                "would fetch keys over plain HTTP",
                "name an https:// issuer, or pin its keys with `jwks`",
            );
        }
        for role in self.roles.values() {
            if role.parse::<ombud_store::Role>().is_err() {
                return wrong(
                    "maps to a role that does not exist",
                    "say viewer, caller, operator, auditor or admin",
                );
            }
        }
        if !self.tenant.is_empty() && ombud_ledger::Tenant::new(&self.tenant).is_err() {
            return wrong(
                "names a tenant that is no name",
                "lower-case letters, digits, `_`, `-` or `.`",
            );
        }
        Ok(())
    }
}

fn roles(value: &DeValue<'_>) -> Result<BTreeMap<String, String>, String> {
    let wrong = || "must be a table of names, such as { operators = \"operator\" }".to_owned();
    let DeValue::Table(entries) = value else {
        return Err(wrong());
    };
    let pair = |(from, to): (
        &toml::Spanned<std::borrow::Cow<'_, str>>,
        &toml::Spanned<DeValue<'_>>,
    )| {
        Some((
            from.get_ref().to_string(),
            to.get_ref().as_str()?.to_owned(),
        ))
    };
    entries
        .iter()
        .map(pair)
        .collect::<Option<_>>()
        .ok_or_else(wrong)
}
