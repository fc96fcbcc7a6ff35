//! Risk profiles: what each processed campaign may tell, kept for good.

use super::Result;
use crate::hseg::survey::Domain;
use ombud_ledger::{RecordId, Tenant};
use ombud_store::guest::{Row, Transaction};
use ombud_store::{Store, cells};
use serde_json::Value;

/// A profile.
#[derive(Debug, Clone, PartialEq)]
pub struct Profile {
    pub organization: RecordId,
    pub campaign: RecordId,
    pub closed_us: i64,
    /// A [`crate::hseg::process::Told`].
    pub document: Value,
}

/// Keeps a profile.
pub async fn add(
    transaction: &mut Transaction,
    tenant: &Tenant,
    domain: Domain,
    profile: &Profile,
) -> Result<()> {
    let sql = "insert into hseg_profiles (tenant, organization, campaign, domain, document, closed_us) \
        values ($1, $2, $3, $4, $5, $6)";
    let values = cells![
        tenant,
        profile.organization,
        profile.campaign,
        domain.word(),
        &profile.document,
        profile.closed_us,
    ];
    transaction.execute(sql, values).await.map(drop)
}

/// An organization's profiles, oldest first.
pub async fn of(store: &Store, tenant: &Tenant, organization: RecordId) -> Result<Vec<Profile>> {
    let sql = "select * from hseg_profiles where tenant = $1 and organization = $2 order by closed_us, campaign";
    let rows = store.rows(sql, cells![tenant, organization]).await?;
    rows.iter().map(read).collect()
}

/// The newest profile of every organization of a domain.
pub async fn newest(store: &Store, tenant: &Tenant, domain: Domain) -> Result<Vec<Profile>> {
    let sql = "select * from hseg_profiles p where tenant = $1 and domain = $2 and not exists (select 1 from hseg_profiles l \
        where l.tenant = p.tenant and l.organization = p.organization and \
        (l.closed_us > p.closed_us or (l.closed_us = p.closed_us and l.campaign > p.campaign))) order by organization";
    let rows = store.rows(sql, cells![tenant, domain.word()]).await?;
    rows.iter().map(read).collect()
}

fn read(row: &Row) -> Result<Profile> {
    Ok(Profile {
        organization: row.id("organization")?,
        campaign: row.id("campaign")?,
        closed_us: row.whole("closed_us")?,
        document: row.json("document")?,
    })
}
