//! Experiments: names under which runs are gathered. Each tenant has one called `Default`, numbered 0, from the start.

use super::search::{Attribute, Prepared, SearchQuery, Searchable, Shelf};
use super::{
    NAME_BYTES_MAX, Pair, TAG_CHARS_MAX, View, checked_pairs, holders, insert_rows, last_of_each,
    next_number, pair_rows,
};
use crate::database::{Row, Transaction, Value, values};
use crate::error::{Error, Result};
use crate::store::{Store, bounded};
use ombud_ledger::Tenant;
use sqlx::AssertSqlSafe;
use std::collections::HashMap;

/// What begins the address of files that are kept here.
pub const HERE: &str = "mlflow-artifacts:/";
/// The experiment of runs that name none.
pub const DEFAULT: i64 = 0;
const DEFAULT_NAME: &str = "Default";
/// Longest address of files.
const LOCATION_BYTES_MAX: usize = 2_000;

/// An experiment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Experiment {
    pub number: i64,
    pub name: String,
    /// Where its runs' files are.
    pub location: String,
    pub created_ms: i64,
    pub changed_ms: i64,
    pub deleted_ms: Option<i64>,
    pub tags: Vec<Pair>,
}

/// An experiment to be made.
#[derive(Debug, Clone, Default)]
pub struct NewExperiment {
    pub name: String,
    /// Where its runs' files are, when not here.
    pub location: Option<String>,
    pub tags: Vec<Pair>,
}

const SEARCHABLE: Searchable = Searchable {
    from: "store_experiments e",
    attributes: &[
        Attribute {
            names: &["name"],
            column: "e.name",
            is_text: true,
            is_nullable: false,
        },
        Attribute {
            names: &["creation_time"],
            column: "e.created_ms",
            is_text: false,
            is_nullable: false,
        },
        Attribute {
            names: &["last_update_time"],
            column: "e.changed_ms",
            is_text: false,
            is_nullable: false,
        },
        Attribute {
            names: &["experiment_id"],
            column: "e.experiment",
            is_text: false,
            is_nullable: false,
        },
    ],
    metrics: None,
    params: None,
    tags: Some(Shelf {
        table: "store_experiment_tags",
        on: "t.experiment = e.experiment",
    }),
    datasets: None,
    default_order: &[("e.created_ms", true), ("e.experiment", true)],
    last: "e.name",
    among_equals: &[],
};

impl Store {
    /// Makes an experiment; its number.
    pub async fn create_experiment(
        &self,
        tenant: &Tenant,
        new: NewExperiment,
        now_ms: i64,
    ) -> Result<i64> {
        bounded("experiment's name", &new.name, NAME_BYTES_MAX)?;
        if new.name.trim().is_empty() {
            return Err(Error::Malformed {
                what: "experiment's name",
                came: new.name,
                allowed: "a name that is not empty",
            });
        }
        let location = new.location.filter(|location| !location.is_empty());
        bounded(
            "artifact location",
            location.as_deref().unwrap_or_default(),
            LOCATION_BYTES_MAX,
        )?;
        let tags = checked_pairs("experiment's tag", &new.tags, TAG_CHARS_MAX)?;
        self.require_default(tenant, now_ms).await?;
        let mut transaction = self.database.begin().await?;
        let number = next_number(&mut transaction, tenant, "experiments").await?;
        let sql = "insert into store_experiments (tenant, experiment, name, location, created_ms, changed_ms) \
            values ($1, $2, $3, $4, $5, $5) on conflict do nothing";
        let values = values![tenant, number, new.name.as_str(), location, now_ms];
        if transaction.execute(sql, values).await? == 0 {
            return Err(Error::Exists {
                what: "experiment",
                name: new.name,
            });
        }
        put_tags(&mut transaction, tenant, number, tags).await?;
        transaction.commit().await?;
        Ok(number)
    }

    /// An experiment by its number.
    pub async fn experiment(&self, tenant: &Tenant, number: i64) -> Result<Experiment> {
        self.require_default_if(tenant, number == DEFAULT).await?;
        let sql = "select e.* from store_experiments e where tenant = $1 and experiment = $2";
        let row = self.database.row(sql, values![tenant, number]).await?;
        let row = row.ok_or_else(|| unknown(&number.to_string()))?;
        let mut found = vec![experiment(&row)?];
        self.add_experiment_tags(tenant, &mut found).await?;
        Ok(found.remove(0))
    }

    /// An experiment by its name, also a deleted one.
    pub async fn experiment_by_name(&self, tenant: &Tenant, name: &str) -> Result<Experiment> {
        self.require_default_if(tenant, name == DEFAULT_NAME)
            .await?;
        let sql = "select e.* from store_experiments e where tenant = $1 and name = $2";
        let row = self.database.row(sql, values![tenant, name]).await?;
        let mut found = vec![experiment(&row.ok_or_else(|| unknown(name))?)?];
        self.add_experiment_tags(tenant, &mut found).await?;
        Ok(found.remove(0))
    }

    /// A page of experiments.
    pub async fn search_experiments(
        &self,
        tenant: &Tenant,
        view: View,
        query: &SearchQuery,
    ) -> Result<(Vec<Experiment>, Option<String>)> {
        self.require_default_if(tenant, true).await?;
        let asked = Prepared::new(&SEARCHABLE, tenant, query, |statement| {
            statement.add(view.condition());
        })?;
        let (rows, next) = asked.ask(&self.database).await?;
        let mut found: Vec<Experiment> = rows.iter().map(experiment).collect::<Result<_>>()?;
        self.add_experiment_tags(tenant, &mut found).await?;
        Ok((found, next))
    }

    /// Gives an experiment another name.
    pub async fn rename_experiment(
        &self,
        tenant: &Tenant,
        number: i64,
        name: &str,
        now_ms: i64,
    ) -> Result<()> {
        bounded("experiment's name", name, NAME_BYTES_MAX)?;
        let mut transaction = self.database.begin().await?;
        let sql =
            "select 1 from store_experiments where tenant = $1 and name = $2 and experiment <> $3";
        let taken = transaction.row(sql, values![tenant, name, number]).await?;
        if taken.is_some() {
            return Err(Error::Exists {
                what: "experiment",
                name: name.to_owned(),
            });
        }
        let sql = "update store_experiments set name = $3, changed_ms = $4 where tenant = $1 and experiment = $2 \
            and deleted_ms is null";
        let values = values![tenant, number, name, now_ms];
        if transaction.execute(sql, values).await? == 0 {
            return Err(unknown(&number.to_string()));
        }
        transaction.commit().await
    }

    /// Marks an experiment and its runs as deleted, or brings those back that went with it.
    pub async fn delete_experiment(
        &self,
        tenant: &Tenant,
        number: i64,
        is_deleted: bool,
        now_ms: i64,
    ) -> Result<()> {
        self.require_default_if(tenant, number == DEFAULT).await?;
        let mut transaction = self.database.begin().await?;
        let sql = "select deleted_ms from store_experiments where tenant = $1 and experiment = $2";
        let row = transaction.row(sql, values![tenant, number]).await?;
        let since = row
            .ok_or_else(|| unknown(&number.to_string()))?
            .time_or_none("deleted_ms")?;
        if since.is_some() == is_deleted {
            return Err(unknown(&number.to_string()));
        }
        let (becomes, runs) = if is_deleted {
            (
                Some(now_ms),
                "update store_runs set deleted_ms = $3 where tenant = $1 and experiment = $2 and deleted_ms is null",
            )
        } else {
            (
                None,
                "update store_runs set deleted_ms = null where tenant = $1 and experiment = $2 and deleted_ms = $3",
            )
        };
        let sql = "update store_experiments set deleted_ms = $3, changed_ms = $4 where tenant = $1 and experiment = $2";
        let values = values![tenant, number, becomes, now_ms];
        transaction.execute(sql, values).await?;
        let values = values![tenant, number, since.unwrap_or(now_ms)];
        transaction.execute(runs, values).await?;
        transaction.commit().await
    }

    /// Sets a tag of an experiment, or removes it.
    pub async fn set_experiment_tag(
        &self,
        tenant: &Tenant,
        number: i64,
        key: &str,
        value: Option<&str>,
        now_ms: i64,
    ) -> Result<()> {
        self.require_default_if(tenant, number == DEFAULT).await?;
        let mut transaction = self.database.begin().await?;
        let sql = "update store_experiments set changed_ms = $3 where tenant = $1 and experiment = $2 \
            and deleted_ms is null";
        if transaction
            .execute(sql, values![tenant, number, now_ms])
            .await?
            == 0
        {
            return Err(unknown(&number.to_string()));
        }
        if let Some(value) = value {
            let tags = checked_pairs("experiment's tag", &[Pair::new(key, value)], TAG_CHARS_MAX)?;
            put_tags(&mut transaction, tenant, number, tags).await?;
        } else {
            let sql = "delete from store_experiment_tags where tenant = $1 and experiment = $2 and name = $3";
            transaction
                .execute(sql, values![tenant, number, key])
                .await?;
        }
        transaction.commit().await
    }

    async fn require_default_if(&self, tenant: &Tenant, is_asked: bool) -> Result<()> {
        if !is_asked {
            return Ok(());
        }
        let sql = "select 1 from store_experiments where tenant = $1 and experiment = $2";
        match self.database.row(sql, values![tenant, DEFAULT]).await? {
            Some(_) => Ok(()),
            None => self.require_default(tenant, 0).await,
        }
    }

    async fn require_default(&self, tenant: &Tenant, now_ms: i64) -> Result<()> {
        let sql = "insert into store_experiments (tenant, experiment, name, created_ms, changed_ms) \
            values ($1, $2, $3, $4, $4) on conflict do nothing";
        let values = values![tenant, DEFAULT, DEFAULT_NAME, now_ms];
        self.database.execute(sql, values).await.map(drop)
    }

    async fn add_experiment_tags(&self, tenant: &Tenant, found: &mut [Experiment]) -> Result<()> {
        let places: HashMap<i64, usize> = found
            .iter()
            .enumerate()
            .map(|(place, experiment)| (experiment.number, place))
            .collect();
        let numbers: Vec<i64> = found.iter().map(|experiment| experiment.number).collect();
        for numbers in numbers.chunks(super::KEYS_AT_ONCE) {
            let sql = format!(
                "select experiment, name, value from store_experiment_tags where tenant = $1 and experiment in ({}) \
                 order by name",
                holders(numbers.len())
            );
            let mut bound = values![tenant];
            bound.extend(numbers.iter().map(|number| Value::from(*number)));
            for row in self.database.rows(AssertSqlSafe(sql), bound).await? {
                let place = places.get(&row.whole("experiment")?);
                if let Some(place) = place {
                    let pair = Pair::new(row.text("name")?, row.text("value")?);
                    found[*place].tags.push(pair);
                }
            }
        }
        Ok(())
    }
}

async fn put_tags(
    transaction: &mut Transaction,
    tenant: &Tenant,
    number: i64,
    tags: Vec<Pair>,
) -> Result<()> {
    insert_rows(
        transaction,
        "insert into store_experiment_tags (tenant, experiment, name, value)",
        values![tenant, number],
        pair_rows(last_of_each(tags)),
        "on conflict (tenant, experiment, name) do update set value = excluded.value",
    )
    .await
}

pub(crate) fn unknown(number: &str) -> Error {
    Error::NotFound {
        what: "experiment",
        name: number.chars().take(80).collect(),
    }
}

fn experiment(row: &Row) -> Result<Experiment> {
    let number = row.whole("experiment")?;
    let location = row.text_or_none("location", "location")?;
    Ok(Experiment {
        number,
        name: row.text("name")?,
        location: location.unwrap_or_else(|| format!("{HERE}{number}")),
        created_ms: row.whole("created_ms")?,
        changed_ms: row.whole("changed_ms")?,
        deleted_ms: row.time_or_none("deleted_ms")?,
        tags: Vec::new(),
    })
}
