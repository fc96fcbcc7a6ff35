//! Logged models: files of a model that a run made, with an id of their own (MLflow 3).

use super::experiment::{DEFAULT, HERE};
use super::metric::{ModelPoint, model_point};
use super::search::{Attribute, Prepared, SearchQuery, Searchable, Shelf};
use super::{
    NAME_BYTES_MAX, PARAM_CHARS_MAX, Pair, TAG_CHARS_MAX, View, checked_pairs, holders,
    insert_rows, last_of_each, pair_rows, random_id,
};
use crate::database::{Row, Transaction, Value, values};
use crate::error::{Error, Result};
use crate::store::{Store, bounded};
use ombud_ledger::Tenant;
use sqlx::AssertSqlSafe;
use std::collections::HashMap;

/// A logged model.
#[derive(Debug, Clone, PartialEq)]
pub struct LoggedModel {
    /// `m-` and 32 digits.
    pub id: String,
    pub experiment: i64,
    pub name: String,
    pub kind: String,
    pub source_run: Option<String>,
    pub status: String,
    pub artifact_uri: String,
    pub created_ms: i64,
    pub changed_ms: i64,
    pub params: Vec<Pair>,
    pub tags: Vec<Pair>,
    /// Each with the run that measured it.
    pub metrics: Vec<(ModelPoint, String)>,
}

/// A logged model to be made.
#[derive(Debug, Clone, Default)]
pub struct NewLoggedModel {
    /// Its id, when it had one elsewhere.
    pub id: Option<String>,
    pub experiment: i64,
    pub name: String,
    pub kind: String,
    pub source_run: Option<String>,
    pub params: Vec<Pair>,
    pub tags: Vec<Pair>,
}

/// How far a logged model is, in the clients' words.
pub const MODEL_STATUSES: [&str; 3] = [
    "LOGGED_MODEL_PENDING",
    "LOGGED_MODEL_READY",
    "LOGGED_MODEL_UPLOAD_FAILED",
];

const fn text(names: &'static [&'static str], column: &'static str) -> Attribute {
    Attribute {
        names,
        column,
        is_text: true,
        is_nullable: false,
    }
}

const SEARCHABLE: Searchable = Searchable {
    from: "store_logged_models e",
    attributes: &[
        text(&["name"], "e.name"),
        text(&["model_id"], "e.model"),
        text(&["model_type"], "e.kind"),
        text(&["status"], "e.status"),
        text(&["artifact_uri"], "e.artifact_uri"),
        Attribute {
            names: &["source_run_id"],
            column: "e.source_run",
            is_text: true,
            is_nullable: true,
        },
        Attribute {
            names: &["creation_timestamp", "creation_time"],
            column: "e.created_ms",
            is_text: false,
            is_nullable: false,
        },
        Attribute {
            names: &["last_updated_timestamp", "last_updated_time"],
            column: "e.changed_ms",
            is_text: false,
            is_nullable: false,
        },
    ],
    metrics: Some(Shelf {
        table: "store_logged_model_metrics",
        on: "t.model = e.model",
    }),
    params: Some(Shelf {
        table: "store_logged_model_params",
        on: "t.model = e.model",
    }),
    tags: Some(Shelf {
        table: "store_logged_model_tags",
        on: "t.model = e.model",
    }),
    datasets: None,
    default_order: &[("e.created_ms", true)],
    last: "e.model",
    among_equals: &[],
};

impl Store {
    /// Makes a logged model, whose files are yet to come.
    pub async fn create_logged_model(
        &self,
        tenant: &Tenant,
        new: NewLoggedModel,
        now_ms: i64,
    ) -> Result<LoggedModel> {
        bounded("logged model's name", &new.name, NAME_BYTES_MAX)?;
        bounded("logged model's type", &new.kind, NAME_BYTES_MAX)?;
        bounded(
            "run id",
            new.source_run.as_deref().unwrap_or_default(),
            NAME_BYTES_MAX,
        )?;
        let params = last_of_each(checked_pairs("param", &new.params, PARAM_CHARS_MAX)?);
        let tags = last_of_each(checked_pairs("tag", &new.tags, TAG_CHARS_MAX)?);
        if new.experiment == DEFAULT {
            self.experiment(tenant, DEFAULT).await?;
        }
        let id = match new.id {
            Some(id) => id,
            None => format!("m-{}", random_id()?),
        };
        let experiment = self.experiment(tenant, new.experiment).await?;
        let location = experiment.location.trim_end_matches('/');
        let artifact_uri = format!("{location}/models/{id}/artifacts");
        let mut transaction = self.database.begin().await?;
        let sql = "insert into store_logged_models (tenant, model, experiment, name, kind, source_run, status, \
            artifact_uri, created_ms, changed_ms) values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $9) on conflict do nothing";
        let values = values![
            tenant,
            id.as_str(),
            new.experiment,
            new.name,
            new.kind,
            new.source_run.filter(|run| !run.is_empty()),
            MODEL_STATUSES[0],
            artifact_uri,
            now_ms
        ];
        if transaction.execute(sql, values).await? == 0 {
            return Err(Error::Exists {
                what: "logged model",
                name: id,
            });
        }
        put(&mut transaction, tenant, &id, "params", params).await?;
        put(&mut transaction, tenant, &id, "tags", tags).await?;
        transaction.commit().await?;
        self.logged_model(tenant, &id).await
    }

    /// A logged model by its id.
    pub async fn logged_model(&self, tenant: &Tenant, id: &str) -> Result<LoggedModel> {
        let sql = "select * from store_logged_models where tenant = $1 and model = $2 and deleted_ms is null";
        let row = self.database.row(sql, values![tenant, id]).await?;
        let mut found = vec![logged_model(&row.ok_or_else(|| unknown(id))?)?];
        self.furnish_models(tenant, &mut found).await?;
        Ok(found.remove(0))
    }

    /// Says how far a logged model is.
    pub async fn finish_logged_model(
        &self,
        tenant: &Tenant,
        id: &str,
        status: &str,
        now_ms: i64,
    ) -> Result<LoggedModel> {
        if !MODEL_STATUSES.contains(&status) {
            return Err(Error::Malformed {
                what: "status",
                came: status.chars().take(40).collect(),
                allowed: "one of LOGGED_MODEL_PENDING, LOGGED_MODEL_READY, LOGGED_MODEL_UPLOAD_FAILED",
            });
        }
        let sql = "update store_logged_models set status = $3, changed_ms = $4 \
            where tenant = $1 and model = $2 and deleted_ms is null";
        let values = values![tenant, id, status, now_ms];
        if self.database.execute(sql, values).await? == 0 {
            return Err(unknown(id));
        }
        self.logged_model(tenant, id).await
    }

    /// Marks a logged model as deleted.
    pub async fn delete_logged_model(&self, tenant: &Tenant, id: &str, now_ms: i64) -> Result<()> {
        let sql = "update store_logged_models set deleted_ms = $3 where tenant = $1 and model = $2 and deleted_ms is null";
        match self
            .database
            .execute(sql, values![tenant, id, now_ms])
            .await?
        {
            0 => Err(unknown(id)),
            _ => Ok(()),
        }
    }

    /// Sets params of a logged model.
    pub async fn log_model_params(&self, tenant: &Tenant, id: &str, params: &[Pair]) -> Result<()> {
        let params = last_of_each(checked_pairs("param", params, PARAM_CHARS_MAX)?);
        self.put_on_model(tenant, id, "params", params).await
    }

    /// Sets tags of a logged model.
    pub async fn set_model_tags(&self, tenant: &Tenant, id: &str, tags: &[Pair]) -> Result<()> {
        let tags = last_of_each(checked_pairs("tag", tags, TAG_CHARS_MAX)?);
        self.put_on_model(tenant, id, "tags", tags).await
    }

    /// Removes a tag of a logged model.
    pub async fn delete_model_tag(&self, tenant: &Tenant, id: &str, key: &str) -> Result<()> {
        let sql =
            "delete from store_logged_model_tags where tenant = $1 and model = $2 and name = $3";
        match self.database.execute(sql, values![tenant, id, key]).await? {
            0 => Err(Error::NotFound {
                what: "tag",
                name: key.chars().take(80).collect(),
            }),
            _ => Ok(()),
        }
    }

    /// A page of logged models of some experiments.
    pub async fn search_logged_models(
        &self,
        tenant: &Tenant,
        experiments: &[i64],
        query: &SearchQuery,
    ) -> Result<(Vec<LoggedModel>, Option<String>)> {
        if experiments.is_empty() {
            return Ok((Vec::new(), None));
        }
        let asked = Prepared::new(&SEARCHABLE, tenant, query, |statement| {
            let listed: Vec<String> = experiments
                .iter()
                .map(|number| statement.bind(*number))
                .collect();
            statement.add(&format!(" and e.experiment in ({})", listed.join(", ")));
            statement.add(View::Active.condition());
        })?;
        let (rows, next) = asked.ask(&self.database).await?;
        let mut found: Vec<LoggedModel> = rows.iter().map(logged_model).collect::<Result<_>>()?;
        self.furnish_models(tenant, &mut found).await?;
        Ok((found, next))
    }

    async fn put_on_model(
        &self,
        tenant: &Tenant,
        id: &str,
        shelf: &'static str,
        pairs: Vec<Pair>,
    ) -> Result<()> {
        let mut transaction = self.database.begin().await?;
        let sql = "select 1 from store_logged_models where tenant = $1 and model = $2 and deleted_ms is null";
        if transaction.row(sql, values![tenant, id]).await?.is_none() {
            return Err(unknown(id));
        }
        put(&mut transaction, tenant, id, shelf, pairs).await?;
        transaction.commit().await
    }

    async fn furnish_models(&self, tenant: &Tenant, models: &mut [LoggedModel]) -> Result<()> {
        let places: HashMap<String, usize> = models
            .iter()
            .enumerate()
            .map(|(place, model)| (model.id.clone(), place))
            .collect();
        let ids: Vec<String> = models.iter().map(|model| model.id.clone()).collect();
        for ids in ids.chunks(super::KEYS_AT_ONCE) {
            let listed = holders(ids.len());
            let bound = || {
                let mut bound = values![tenant];
                bound.extend(ids.iter().map(|id| Value::from(id.as_str())));
                bound
            };
            for shelf in ["params", "tags"] {
                let sql = format!(
                    "select model, name, value from store_logged_model_{shelf} where tenant = $1 and model in ({listed}) \
                     order by name"
                );
                for row in self.database.rows(AssertSqlSafe(sql), bound()).await? {
                    let pair = Pair::new(row.text("name")?, row.text("value")?);
                    if let Some(place) = places.get(&row.text("model")?) {
                        let model = &mut models[*place];
                        let pairs = if shelf == "tags" {
                            &mut model.tags
                        } else {
                            &mut model.params
                        };
                        pairs.push(pair);
                    }
                }
            }
            let sql = format!(
                "select * from store_logged_model_metrics where tenant = $1 and model in ({listed}) \
                 order by name, dataset_name, dataset_digest, run"
            );
            for row in self.database.rows(AssertSqlSafe(sql), bound()).await? {
                let said = model_point(&row)?;
                if let Some(place) = places.get(&said.0.model) {
                    models[*place].metrics.push(said);
                }
            }
        }
        Ok(())
    }
}

async fn put(
    transaction: &mut Transaction,
    tenant: &Tenant,
    id: &str,
    shelf: &'static str,
    pairs: Vec<Pair>,
) -> Result<()> {
    insert_rows(
        transaction,
        &format!("insert into store_logged_model_{shelf} (tenant, model, name, value)"),
        values![tenant, id],
        pair_rows(pairs),
        "on conflict (tenant, model, name) do update set value = excluded.value",
    )
    .await
}

fn unknown(id: &str) -> Error {
    Error::NotFound {
        what: "logged model",
        name: id.chars().take(80).collect(),
    }
}

fn logged_model(row: &Row) -> Result<LoggedModel> {
    Ok(LoggedModel {
        id: row.text("model")?,
        experiment: row.whole("experiment")?,
        name: row.text("name")?,
        kind: row.text("kind")?,
        source_run: row.text_or_none("source_run", "source_run")?,
        status: row.text("status")?,
        artifact_uri: row.text("artifact_uri")?,
        created_ms: row.whole("created_ms")?,
        changed_ms: row.whole("changed_ms")?,
        params: Vec::new(),
        tags: Vec::new(),
        metrics: Vec::new(),
    })
}

/// Where the files of a run or a logged model lie here, when they do: the path within this tenant's files.
pub fn path_here(uri: &str) -> Option<&str> {
    let rest = uri.strip_prefix(HERE)?;
    // `mlflow-artifacts://host/path` names another server, or this one by its own name; the path is the same.
    let path = match rest.strip_prefix('/') {
        Some(with_host) => with_host.split_once('/').map_or("", |(_, path)| path),
        None => rest,
    };
    Some(path.trim_matches('/'))
}
