//! Help for people in distress, by country: what the kit knows, and what an organization's people have changed.

use super::Result;
use crate::hseg::help::HelpList;
use ombud_ledger::Tenant;
use ombud_store::{Error, Store, cells};
use serde::{Deserialize, Serialize};

/// Where help can be had.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Resource {
    /// Who helps.
    #[schema(max_length = 200)]
    pub name: String,
    /// A number to call or write to, or an address on the web.
    #[schema(max_length = 200)]
    pub contact: String,
    /// When somebody is there.
    #[schema(max_length = 200)]
    pub hours: String,
    /// What else helps to know, such as that it is free.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schema(max_length = 200)]
    pub note: String,
}

/// Resources of one country.
pub const RESOURCES_MAX: usize = 20;
/// Longest text of a resource.
pub const TEXT_BYTES_MAX: usize = 800;
/// The country of those whose country is not known.
pub const ANYWHERE: &str = "ZZ";

/// The help that is shown in a country: its own lines, then what helps anywhere. Whoever puts a country's lines cannot take
/// the others away.
pub async fn of(store: &Store, tenant: &Tenant, country: &str) -> Result<Vec<Resource>> {
    let mut lines = lines_of(store, tenant, country).await?;
    if country != ANYWHERE {
        let anywhere = lines_of(store, tenant, ANYWHERE).await?;
        let named = |line: &Resource| lines.iter().any(|own| own.name == line.name);
        let more: Vec<Resource> = anywhere.into_iter().filter(|line| !named(line)).collect();
        lines.extend(more);
    }
    Ok(lines)
}

/// Whether somebody put a country's lines.
pub async fn is_put(store: &Store, tenant: &Tenant, country: &str) -> Result<bool> {
    Ok(put_lines(store, tenant, country).await?.is_some())
}

async fn lines_of(store: &Store, tenant: &Tenant, country: &str) -> Result<Vec<Resource>> {
    let put = put_lines(store, tenant, country).await?;
    let Some(mut lines) = put else {
        return Ok(shipped(country));
    };
    if country == ANYWHERE {
        // The number that is called in an emergency is shown in any case.
        let named = |line: &Resource| lines.iter().any(|own| own.name == line.name);
        let more: Vec<Resource> = shipped(country)
            .into_iter()
            .filter(|line| !named(line))
            .collect();
        lines.extend(more);
    }
    Ok(lines)
}

async fn put_lines(store: &Store, tenant: &Tenant, country: &str) -> Result<Option<Vec<Resource>>> {
    let sql = "select document from hseg_resources where tenant = $1 and country = $2";
    let Some(row) = store.row(sql, cells![tenant, country]).await? else {
        return Ok(None);
    };
    let read = serde_json::from_value(row.json("document")?);
    read.map(Some)
        .map_err(|_| Error::Unreadable { what: "document" })
}

/// Replaces what is shown in a country.
pub async fn put(
    store: &Store,
    tenant: &Tenant,
    country: &str,
    resources: &[Resource],
    by: &str,
    now_us: i64,
) -> Result<()> {
    let sql = "insert into hseg_resources (tenant, country, document, changed_us, changed_by) values ($1, $2, $3, $4, $5) \
        on conflict (tenant, country) do update set document = $3, changed_us = $4, changed_by = $5";
    let values = cells![tenant, country, &serde_json::json!(resources), now_us, by];
    store.execute(sql, values).await.map(drop)
}

/// What the kit ships for a country alone.
fn shipped(country: &str) -> Vec<Resource> {
    let wanted = if country == ANYWHERE {
        None
    } else {
        Some(country)
    };
    let found = HelpList::shipped().only(wanted);
    let told = found.map(|help| Resource {
        name: help.name.clone(),
        contact: help.contact.clone(),
        hours: help.hours.clone(),
        note: help.note.clone(),
    });
    told.collect()
}
