//! Models: the names under which versions are registered.

use crate::database::{Row, Transaction, values};
use crate::error::{Error, Result};
use crate::store::{Store, bounded};
use ombud_core::ModelName;
use ombud_ledger::Tenant;

/// Longest description.
pub const DESCRIPTION_BYTES_MAX: usize = 4_000;

/// A model of a tenant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Model {
    pub name: ModelName,
    pub description: String,
    /// Moves with every change of the model or its versions.
    pub revision: i64,
    pub created_us: i64,
    pub archived_us: Option<i64>,
}

impl Store {
    /// A tenant's models, by name.
    pub async fn models(&self, tenant: &Tenant) -> Result<Vec<Model>> {
        let sql = "select * from store_models where tenant = $1 order by name";
        let rows = self.database.rows(sql, values![tenant]).await?;
        rows.iter().map(model).collect()
    }

    /// Those of a tenant's models that have a version which can be deployed, by name. What MLflow's clients keep beside them,
    /// prompts among it, is theirs to list.
    pub async fn deployable_models(&self, tenant: &Tenant) -> Result<Vec<Model>> {
        let sql = "select * from store_models m where m.tenant = $1 and exists (select 1 from store_versions v \
            where v.tenant = m.tenant and v.model = m.name) order by m.name";
        let rows = self.database.rows(sql, values![tenant]).await?;
        rows.iter().map(model).collect()
    }

    /// A model by its name.
    pub async fn model(&self, tenant: &Tenant, name: &ModelName) -> Result<Model> {
        let sql = "select * from store_models where tenant = $1 and name = $2";
        let row = self.database.row(sql, values![tenant, name]).await?;
        model(&row.ok_or_else(|| unknown(name))?)
    }

    /// Says in other words what a model is.
    pub async fn describe_model(
        &self,
        tenant: &Tenant,
        name: &ModelName,
        text: &str,
    ) -> Result<()> {
        bounded("description", text, DESCRIPTION_BYTES_MAX)?;
        let mut transaction = self.database.begin().await?;
        lock(&mut transaction, tenant, name).await?;
        let sql = "update store_models set description = $3 where tenant = $1 and name = $2";
        transaction
            .execute(sql, values![tenant, name, text])
            .await?;
        transaction.commit().await
    }

    /// Puts a model aside, or takes it back. One that is deployed somewhere stays.
    pub async fn archive_model(
        &self,
        tenant: &Tenant,
        name: &ModelName,
        is_archived: bool,
        now_us: i64,
    ) -> Result<()> {
        let mut transaction = self.database.begin().await?;
        lock(&mut transaction, tenant, name).await?;
        if is_archived {
            let sql = "select environment, version from store_traffic where tenant = $1 and model = $2 limit 1";
            if let Some(row) = transaction.row(sql, values![tenant, name]).await? {
                return Err(Error::Deployed {
                    model: name.clone(),
                    version: row.version("version")?,
                    environment: row.parsed("environment")?,
                });
            }
        }
        let sql = "update store_models set archived_us = $3 where tenant = $1 and name = $2";
        let since = is_archived.then_some(now_us);
        transaction
            .execute(sql, values![tenant, name, since])
            .await?;
        transaction.commit().await
    }
}

/// Makes everybody else who would change this model wait until the transaction ends.
pub(crate) async fn lock(
    transaction: &mut Transaction,
    tenant: &Tenant,
    name: &ModelName,
) -> Result<()> {
    let sql = "update store_models set revision = revision + 1 where tenant = $1 and name = $2";
    match transaction.execute(sql, values![tenant, name]).await? {
        0 => Err(unknown(name)),
        _ => Ok(()),
    }
}

pub(crate) fn unknown(name: &ModelName) -> Error {
    Error::NotFound {
        what: "model",
        name: name.to_string(),
    }
}

fn model(row: &Row) -> Result<Model> {
    Ok(Model {
        name: row.model("name")?,
        description: row.text("description")?,
        revision: row.whole("revision")?,
        created_us: row.whole("created_us")?,
        archived_us: row.time_or_none("archived_us")?,
    })
}
