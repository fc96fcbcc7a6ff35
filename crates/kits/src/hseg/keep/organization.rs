//! Organizations that are assessed, and what each has decided: its floor, its drill-down, who looks at cases, its budget.

use super::{Result, check_name, unknown};
use crate::hseg::anonymity::Floor;
use crate::hseg::anonymity::noise::{Budget, Loss};
use crate::hseg::survey::Domain;
use ombud_ledger::{RecordId, Tenant};
use ombud_store::guest::{Row, Transaction};
use ombud_store::{Error, Role, Store, cells};

/// An organization.
#[derive(Debug, Clone, PartialEq)]
pub struct Organization {
    pub id: RecordId,
    pub name: String,
    pub domain: Domain,
    /// Two letters.
    pub country: String,
    /// How many people work there.
    pub employees: Option<u32>,
    pub floor: Floor,
    /// What can be asked for, the most wanted first.
    pub drill_down: Vec<String>,
    pub case_role: Role,
    pub case_hours: i64,
    /// Where noise is wished for: the budget, and what one campaign costs.
    pub noise: Option<(Budget, Loss)>,
    pub created_us: i64,
}

/// Adds an organization.
pub async fn add(store: &Store, tenant: &Tenant, organization: &Organization) -> Result<()> {
    check_name("name", &organization.name)?;
    let sql = "insert into hseg_organizations (tenant, id, name, domain, country, group_floor, drill_down, case_role, \
        case_hours, noise_total, noise_spent, noise_release, created_us, employees) \
        values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, 0, $11, $12, $13) on conflict do nothing";
    let milli = |loss: Loss| loss.milli().cast_signed();
    let noise = organization.noise;
    let values = cells![
        tenant,
        organization.id,
        organization.name.as_str(),
        organization.domain.word(),
        organization.country.as_str(),
        organization.floor.get() as i64,
        &serde_json::json!(organization.drill_down),
        organization.case_role.as_str(),
        organization.case_hours,
        noise.map(|(budget, _)| milli(budget.total)),
        noise.map(|(_, release)| milli(release)),
        organization.created_us,
        organization.employees.map(i64::from),
    ];
    if store.execute(sql, values).await? == 0 {
        return Err(Error::Exists {
            what: "organization",
            name: organization.name.clone(),
        });
    }
    Ok(())
}

/// An organization by its id.
pub async fn get(store: &Store, tenant: &Tenant, id: RecordId) -> Result<Organization> {
    let sql = "select * from hseg_organizations where tenant = $1 and id = $2";
    let row = store.row(sql, cells![tenant, id]).await?;
    read(&row.ok_or_else(|| unknown("organization", id))?)
}

/// An organization by its name.
pub async fn named(store: &Store, tenant: &Tenant, name: &str) -> Result<Option<Organization>> {
    let sql = "select * from hseg_organizations where tenant = $1 and name = $2";
    let row = store.row(sql, cells![tenant, name]).await?;
    row.as_ref().map(read).transpose()
}

/// Every organization of a tenant, by name.
pub async fn all(store: &Store, tenant: &Tenant) -> Result<Vec<Organization>> {
    let sql = "select * from hseg_organizations where tenant = $1 order by name";
    let rows = store.rows(sql, cells![tenant]).await?;
    rows.iter().map(read).collect()
}

/// Spends privacy budget; whether there was enough. What two campaigns spend at once is never more than there is.
pub async fn spend(
    transaction: &mut Transaction,
    tenant: &Tenant,
    id: RecordId,
    cost: Loss,
) -> Result<bool> {
    let sql = "update hseg_organizations set noise_spent = noise_spent + $3 \
        where tenant = $1 and id = $2 and noise_spent + $3 <= noise_total";
    let values = cells![tenant, id, cost.milli().cast_signed()];
    Ok(transaction.execute(sql, values).await? == 1)
}

fn read(row: &Row) -> Result<Organization> {
    let unreadable = |what| Error::Unreadable { what };
    let loss = |milli: i64| Loss::from_milli(milli.max(0).cast_unsigned());
    let total = row.whole_or_none("noise_total", "noise_total")?;
    let release = row.whole_or_none("noise_release", "noise_release")?;
    let spent = loss(row.whole("noise_spent")?);
    let noise = total.zip(release).map(|(total, release)| {
        let total = loss(total);
        (Budget { total, spent }, loss(release))
    });
    let floor = usize::try_from(row.whole("group_floor")?);
    let floor = floor.ok().and_then(Floor::new);
    Ok(Organization {
        id: row.id("id")?,
        name: row.text("name")?,
        domain: Domain::parse(&row.text("domain")?).ok_or(unreadable("domain"))?,
        country: row.text("country")?,
        employees: row
            .whole_or_none("employees", "employees")?
            .and_then(|number| u32::try_from(number).ok()),
        floor: floor.ok_or(unreadable("group_floor"))?,
        drill_down: serde_json::from_value(row.json("drill_down")?)
            .map_err(|_| unreadable("drill_down"))?,
        case_role: row.parsed("case_role")?,
        case_hours: row.whole("case_hours")?,
        noise,
        created_us: row.whole("created_us")?,
    })
}
