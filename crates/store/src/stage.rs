//! Which versions an ensemble asks first: found when it is registered, and kept as long as it is there.
//!
//! A stage is meant by its digest alone; the number that its manifest has may be another in this registry. An ensemble whose
//! stages are not all here is refused, because it could never answer.

use crate::database::{Row, Transaction, values};
use crate::error::{Error, Result};
use crate::model::lock;
use crate::store::Store;
use crate::version::{Registered, by_digest};
use ombud_core::ensemble::Stage;
use ombud_core::{ModelName, Version};
use ombud_ledger::Tenant;
use std::collections::BTreeSet;

/// A version by its model and number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Named {
    pub model: ModelName,
    pub version: Version,
}

impl Store {
    /// The versions that a version asks first, in its order.
    pub async fn stages(
        &self,
        tenant: &Tenant,
        model: &ModelName,
        version: Version,
    ) -> Result<Vec<Named>> {
        let sql = "select stage_model as model, stage_version as version from store_stages \
            where tenant = $1 and model = $2 and version = $3 order by place";
        let rows = self.database.rows(sql, values![tenant, model, version]);
        rows.await?.iter().map(named).collect()
    }

    /// Refuses an ensemble whose stages are not all registered, naming those that are not.
    pub async fn refuse_absent_stages(
        &self,
        tenant: &Tenant,
        model: &ModelName,
        stages: &[Stage],
    ) -> Result<()> {
        let mut absent = Vec::new();
        for stage in stages {
            let found = self.version_by_digest(tenant, &stage.name, stage.digest);
            if found.await?.is_none() {
                absent.push(stage);
            }
        }
        refuse_absent(model, &absent)
    }
}

/// Locks a model and the models of its stages, in the order of names, so that two who do so never wait for each other.
pub(crate) async fn lock_all(
    transaction: &mut Transaction,
    tenant: &Tenant,
    model: &ModelName,
    stages: &[Stage],
) -> Result<()> {
    let names: BTreeSet<&ModelName> = stages.iter().map(|stage| &stage.name).collect();
    let names: BTreeSet<&ModelName> = names.into_iter().chain([model]).collect();
    for name in names {
        match lock(transaction, tenant, name).await {
            // A stage's model that is not there is told with the stage.
            Err(Error::NotFound { .. }) if name != model => {}
            locked => locked?,
        }
    }
    Ok(())
}

/// The registered versions of all stages.
pub(crate) async fn find(
    transaction: &mut Transaction,
    tenant: &Tenant,
    model: &ModelName,
    stages: &[Stage],
) -> Result<Vec<Registered>> {
    let (mut found, mut absent) = (Vec::with_capacity(stages.len()), Vec::new());
    for stage in stages {
        match by_digest(transaction, tenant, &stage.name, stage.digest).await? {
            Some(registered) => found.push(registered),
            None => absent.push(stage),
        }
    }
    refuse_absent(model, &absent)?;
    Ok(found)
}

/// Writes down what a new version asks first.
pub(crate) async fn note(
    transaction: &mut Transaction,
    tenant: &Tenant,
    ensemble: &Registered,
    stages: &[Registered],
) -> Result<()> {
    let sql = "insert into store_stages (tenant, model, version, place, stage_model, stage_version) \
        values ($1, $2, $3, $4, $5, $6)";
    for (place, stage) in stages.iter().enumerate() {
        let values = values![
            tenant,
            &ensemble.model,
            ensemble.version,
            place as i64,
            &stage.model,
            stage.version
        ];
        transaction.execute(sql, values).await?;
    }
    Ok(())
}

/// Refuses to let a version go that an ensemble asks.
pub(crate) async fn refuse_named(
    transaction: &mut Transaction,
    tenant: &Tenant,
    model: &ModelName,
    version: Version,
) -> Result<()> {
    let sql = "select model, version from store_stages \
        where tenant = $1 and stage_model = $2 and stage_version = $3 order by model, version limit 1";
    let row = transaction
        .row(sql, values![tenant, model, version])
        .await?;
    let Some(row) = row else { return Ok(()) };
    let by = named(&row)?;
    Err(Error::IsStage {
        model: model.clone(),
        version,
        by: by.model,
        by_version: by.version,
    })
}

fn refuse_absent(model: &ModelName, absent: &[&Stage]) -> Result<()> {
    if absent.is_empty() {
        return Ok(());
    }
    let words = |stage: &&Stage| format!("{} (digest {})", stage.words(), stage.digest.short());
    let stages: Vec<String> = absent.iter().map(words).collect();
    Err(Error::StagesAbsent {
        model: model.clone(),
        stages: stages.join(", "),
    })
}

fn named(row: &Row) -> Result<Named> {
    Ok(Named {
        model: row.model("model")?,
        version: row.version("version")?,
    })
}
