//! `ombud keys new|list|revoke`: the keys that programs call the server with.

use super::super::Outcome;
use super::super::people::{record, role};
use crate::console::Console;
use crate::failure::Failure;
use crate::settings::{self, Settings};
use clap::Args;
use ombud_api::time::{self, now_us};
use ombud_store::Scopes;
use ombud_store::key::{NewKey, fresh_prefix};
use serde_json::json;

/// Make a key that a program calls with; it is printed once
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  ombud keys new --label \"claims desk\" --role caller --scope claims@production
  ombud keys new --label ci --role operator --scope '*@staging' --expires 2027-01-31")]
pub struct New {
    #[command(flatten)]
    pub settings: Settings,
    /// What it is for
    #[arg(long)]
    pub label: String,
    /// viewer, caller, operator, auditor or admin
    #[arg(long, default_value = "caller")]
    pub role: String,
    /// Where it may be used, MODEL@ENVIRONMENT with * for any; may be given again [default: everywhere]
    #[arg(long, value_name = "SCOPE")]
    pub scope: Vec<String>,
    /// When it stops working
    #[arg(long, value_name = "TIME")]
    pub expires: Option<String>,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}

/// List the keys that programs call with
#[derive(Debug, Args)]
pub struct List {
    #[command(flatten)]
    pub settings: Settings,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}

/// Withdraw a key for good
#[derive(Debug, Args)]
pub struct Revoke {
    #[command(flatten)]
    pub settings: Settings,
    /// Its visible part, such as omb_1a2b3c4d
    pub prefix: String,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}

/// Makes a key.
pub fn new(arguments: &New, console: &Console) -> Result<Outcome, Failure> {
    let scope = |text: &String| {
        text.parse()
            .map_err(|error: ombud_store::role::ScopeError| {
                Failure::invalid(error.to_string(), "such as claims@production or *@staging")
            })
    };
    let scopes = arguments
        .scope
        .iter()
        .map(scope)
        .collect::<Result<_, _>>()?;
    let scopes = Scopes::new(scopes)
        .map_err(|error| Failure::invalid(error.to_string(), "make several keys"))?;
    let expires = |text: &String| {
        time::parse(text).ok_or_else(|| {
            Failure::invalid(format!("{text:?} is no time"), "write it like 2027-01-31")
        })
    };
    let expires_us = arguments.expires.as_ref().map(expires).transpose()?;
    if expires_us.is_some_and(|at| at <= now_us()) {
        return Err(Failure::invalid(
            "a key that has expired already would open nothing",
            "write a time that is yet to come, such as 2027-01-31",
        ));
    }
    let wish = NewKey {
        prefix: fresh_prefix()?,
        label: arguments.label.clone(),
        role: role(&arguments.role)?,
        scopes,
        expires_us,
        created_by: settings::principal(),
    };
    let (runtime, _, rooms) = arguments.settings.open()?;
    let detail = json!({ "did": "make key", "prefix": wish.prefix, "label": wish.label, "role": wish.role.as_str(), "scopes": arguments.scope });
    let made = runtime.block_on(async {
        record(&rooms, detail).await?;
        Ok::<_, Failure>(rooms.store.add_key(&rooms.tenant, wish, now_us()).await?)
    });
    settings::close(&runtime, &rooms);
    let (key, secret) = made?;
    if console.is_json {
        console.print_json(
            &json!({ "key": secret.expose(), "prefix": key.prefix, "role": key.role.as_str() }),
        )?;
    } else {
        console.print(&format!(
            "{}\n\nIt is shown this once; {} tells it from others.",
            secret.expose(),
            key.prefix
        ))?;
    }
    Ok(Outcome::Done)
}

/// Lists keys.
pub fn list(arguments: &List, console: &Console) -> Result<Outcome, Failure> {
    let (runtime, _, rooms) = arguments.settings.open()?;
    let keys = runtime.block_on(rooms.store.keys(&rooms.tenant));
    settings::close(&runtime, &rooms);
    let keys = keys?;
    if console.is_json {
        let keys: Vec<_> = keys
            .iter()
            .map(|key| {
                json!({
                    "prefix": key.prefix, "label": key.label, "role": key.role.as_str(),
                    "is_valid": key.is_valid_at(now_us()), "last_used_at": key.last_used_us.map(time::text),
                })
            })
            .collect();
        console.print_json(&json!({ "keys": keys }))?;
        return Ok(Outcome::Done);
    }
    for key in keys {
        let state = if key.revoked_us.is_some() {
            "  withdrawn"
        } else if key.is_valid_at(now_us()) {
            ""
        } else {
            "  expired"
        };
        let used = key.last_used_us.map_or_else(
            || "never used".to_owned(),
            |at| format!("last used {}", time::text(at)),
        );
        console.print(&format!(
            "{}  {}  {}  {used}{state}",
            key.prefix, key.role, key.label
        ))?;
    }
    Ok(Outcome::Done)
}

/// Withdraws a key.
pub fn revoke(arguments: &Revoke, console: &Console) -> Result<Outcome, Failure> {
    let (runtime, _, rooms) = arguments.settings.open()?;
    let revoked = runtime.block_on(async {
        let before = rooms.store.key(&rooms.tenant, &arguments.prefix).await?;
        if let Some(key) = before.filter(|key| key.revoked_us.is_some()) {
            return Ok((key, true));
        }
        let key = rooms
            .store
            .revoke_key(&rooms.tenant, &arguments.prefix, now_us())
            .await?;
        record(&rooms, json!({ "did": "revoke key", "prefix": key.prefix })).await?;
        Ok::<_, Failure>((key, false))
    });
    settings::close(&runtime, &rooms);
    let (key, was_withdrawn) = revoked?;
    let since = key.revoked_us.map(time::text).unwrap_or_default();
    if console.is_json {
        console.print_json(&json!({
            "prefix": key.prefix, "revoked_at": since, "was_withdrawn": was_withdrawn,
        }))?;
    } else if was_withdrawn {
        console.print(&format!(
            "{} was withdrawn already, at {since}; nothing changed",
            key.prefix
        ))?;
    } else {
        console.print(&format!(
            "{} opens nothing any more; a running server knows within two seconds",
            key.prefix
        ))?;
    }
    Ok(Outcome::Done)
}
