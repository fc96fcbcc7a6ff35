//! Runs: one try each, with its params, tags, metrics, data sets and models.
//!
//! A param is written once, a tag as often as one likes. Everything that one call says is written in one transaction, by
//! statements of many rows.

use super::experiment::{DEFAULT, HERE, unknown as unknown_experiment};
use super::metric::{self, Point, log, point};
use super::search::{Attribute, Prepared, SearchQuery, Searchable, Shelf};
use super::{
    NAME_BYTES_MAX, PARAM_CHARS_MAX, Pair, TAG_CHARS_MAX, View, checked_pairs, holders,
    insert_rows, last_of_each, next_number, pair_rows, random_id,
};
use crate::database::{Database, Row, Transaction, Value, values};
use crate::error::{Error, Result};
use crate::store::{Store, bounded};
use ombud_ledger::Tenant;
use sqlx::AssertSqlSafe;
use std::collections::HashMap;

/// The tag that is a run's name.
pub const NAME_TAG: &str = "mlflow.runName";
/// Longest description of a data set.
const DOCUMENT_BYTES_MAX: usize = 1 << 20;

/// A run.
#[derive(Debug, Clone, PartialEq)]
pub struct Run {
    pub(crate) number: i64,
    pub id: String,
    pub experiment: i64,
    pub name: String,
    pub user: String,
    pub status: String,
    pub started_ms: i64,
    pub ended_ms: Option<i64>,
    pub artifact_uri: String,
    pub deleted_ms: Option<i64>,
    /// The latest of each.
    pub metrics: Vec<Point>,
    pub params: Vec<Pair>,
    pub tags: Vec<Pair>,
    /// The clients' own descriptions, as JSON.
    pub datasets: Vec<String>,
    pub inputs: Vec<String>,
    pub outputs: Vec<Output>,
}

/// A logged model that a run made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Output {
    pub model: String,
    pub step: i64,
}

/// A data set that a run used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DatasetInput {
    pub name: String,
    pub digest: String,
    pub context: String,
    /// The client's own description, as JSON.
    pub document: String,
}

/// A run to be made.
#[derive(Debug, Clone, Default)]
pub struct NewRun {
    /// Its id, when it had one elsewhere.
    pub id: Option<String>,
    pub experiment: i64,
    pub name: String,
    pub user: String,
    pub started_ms: i64,
    pub tags: Vec<Pair>,
}

/// What changes about a run.
#[derive(Debug, Clone, Default)]
pub struct RunChange {
    pub status: Option<String>,
    pub ended_ms: Option<i64>,
    pub name: Option<String>,
}

/// How a run goes, in the clients' words.
pub const STATUSES: [&str; 5] = ["RUNNING", "SCHEDULED", "FINISHED", "FAILED", "KILLED"];

const fn text(names: &'static [&'static str], column: &'static str) -> Attribute {
    Attribute {
        names,
        column,
        is_text: true,
        is_nullable: false,
    }
}

const SEARCHABLE: Searchable = Searchable {
    from: "store_runs e",
    attributes: &[
        text(&["run_id", "run_uuid"], "e.id"),
        text(&["run_name", "run name", "Run name", "Run Name"], "e.name"),
        text(&["status"], "e.status"),
        text(&["user_id"], "e.user_name"),
        text(&["artifact_uri"], "e.artifact_uri"),
        Attribute {
            names: &["start_time", "created", "Created"],
            column: "e.started_ms",
            is_text: false,
            is_nullable: false,
        },
        Attribute {
            names: &["end_time"],
            column: "e.ended_ms",
            is_text: false,
            is_nullable: true,
        },
        Attribute {
            names: &["experiment_id"],
            column: "e.experiment",
            is_text: false,
            is_nullable: false,
        },
    ],
    metrics: Some(Shelf {
        table: "store_latest_metrics",
        on: "t.run = e.run",
    }),
    params: Some(Shelf {
        table: "store_run_params",
        on: "t.run = e.run",
    }),
    tags: Some(Shelf {
        table: "store_run_tags",
        on: "t.run = e.run",
    }),
    datasets: Some("store_run_datasets"),
    default_order: &[("e.started_ms", true)],
    last: "e.id",
    among_equals: &[("e.started_ms", true)],
};

impl Store {
    /// Begins a run.
    pub async fn create_run(&self, tenant: &Tenant, new: NewRun) -> Result<Run> {
        if new.experiment == DEFAULT {
            self.experiment(tenant, DEFAULT).await?;
        }
        let id = match new.id {
            Some(id) => checked_id(id)?,
            None => random_id()?,
        };
        let mut tags = checked_pairs("run's tag", &new.tags, TAG_CHARS_MAX)?;
        let named = tags.iter().find(|tag| tag.key == NAME_TAG);
        let name = match (named, new.name.as_str()) {
            (Some(tag), "") => tag.value.clone(),
            (None, "") => two_words(&id),
            (_, name) => name.to_owned(),
        };
        bounded("run's name", &name, NAME_BYTES_MAX)?;
        bounded("user", &new.user, NAME_BYTES_MAX)?;
        tags.retain(|tag| tag.key != NAME_TAG);
        tags.push(Pair::new(NAME_TAG, name.as_str()));
        let mut transaction = self.database.begin().await?;
        let location = active_location(&mut transaction, tenant, new.experiment).await?;
        let artifact_uri = format!("{location}/{id}/artifacts");
        let number = next_number(&mut transaction, tenant, "runs").await?;
        let sql = "insert into store_runs (tenant, run, id, experiment, name, user_name, status, started_ms, artifact_uri) \
            values ($1, $2, $3, $4, $5, $6, 'RUNNING', $7, $8) on conflict do nothing";
        let values = values![
            tenant,
            number,
            id.as_str(),
            new.experiment,
            name.as_str(),
            new.user.as_str(),
            new.started_ms,
            artifact_uri.as_str()
        ];
        if transaction.execute(sql, values).await? == 0 {
            return Err(Error::Exists {
                what: "run",
                name: id,
            });
        }
        let tags = last_of_each(tags);
        put_tags(&mut transaction, tenant, number, tags.clone()).await?;
        transaction.commit().await?;
        Ok(Run {
            number,
            id,
            experiment: new.experiment,
            name,
            user: new.user,
            status: "RUNNING".to_owned(),
            started_ms: new.started_ms,
            ended_ms: None,
            artifact_uri,
            deleted_ms: None,
            metrics: Vec::new(),
            params: Vec::new(),
            tags,
            datasets: Vec::new(),
            inputs: Vec::new(),
            outputs: Vec::new(),
        })
    }

    /// A run with everything known of it.
    pub async fn run(&self, tenant: &Tenant, id: &str) -> Result<Run> {
        let mut found = vec![find(&self.database, tenant, id).await?];
        self.furnish(tenant, &mut found).await?;
        Ok(found.remove(0))
    }

    /// Where a run's files are.
    pub async fn run_artifact_uri(&self, tenant: &Tenant, id: &str) -> Result<String> {
        Ok(find(&self.database, tenant, id).await?.artifact_uri)
    }

    /// A page of the runs of some experiments.
    pub async fn search_runs(
        &self,
        tenant: &Tenant,
        experiments: &[i64],
        view: View,
        query: &SearchQuery,
    ) -> Result<(Vec<Run>, Option<String>)> {
        if experiments.is_empty() {
            return Ok((Vec::new(), None));
        }
        let asked = Prepared::new(&SEARCHABLE, tenant, query, |statement| {
            let listed: Vec<String> = experiments
                .iter()
                .map(|number| statement.bind(*number))
                .collect();
            statement.add(&format!(" and e.experiment in ({})", listed.join(", ")));
            statement.add(view.condition());
        })?;
        let (rows, next) = asked.ask(&self.database).await?;
        let mut found: Vec<Run> = rows.iter().map(run).collect::<Result<_>>()?;
        self.furnish(tenant, &mut found).await?;
        Ok((found, next))
    }

    /// Writes what a client says about a run's course.
    pub async fn update_run(&self, tenant: &Tenant, id: &str, change: RunChange) -> Result<Run> {
        if let Some(status) = &change.status
            && !STATUSES.contains(&status.as_str())
        {
            return Err(Error::Malformed {
                what: "status",
                came: status.chars().take(40).collect(),
                allowed: "one of RUNNING, SCHEDULED, FINISHED, FAILED, KILLED",
            });
        }
        let name = change.name.filter(|name| !name.is_empty());
        bounded(
            "run's name",
            name.as_deref().unwrap_or_default(),
            NAME_BYTES_MAX,
        )?;
        let mut transaction = self.database.begin().await?;
        let number = require_active(&mut transaction, tenant, id).await?;
        let sql = "update store_runs set status = coalesce($3, status), ended_ms = coalesce($4, ended_ms), \
            name = coalesce($5, name) where tenant = $1 and run = $2 returning *";
        let values = values![tenant, number, change.status, change.ended_ms, name.clone()];
        let row = transaction.row(sql, values).await?;
        if let Some(name) = name {
            let tags = vec![Pair::new(NAME_TAG, name)];
            put_tags(&mut transaction, tenant, number, tags).await?;
        }
        transaction.commit().await?;
        run(&row.ok_or_else(|| unknown(id))?)
    }

    /// Marks a run as deleted, or takes it back.
    pub async fn delete_run(
        &self,
        tenant: &Tenant,
        id: &str,
        is_deleted: bool,
        now_ms: i64,
    ) -> Result<()> {
        let sql = "update store_runs set deleted_ms = $3 where tenant = $1 and id = $2";
        let since = is_deleted.then_some(now_ms);
        match self
            .database
            .execute(sql, values![tenant, id, since])
            .await?
        {
            0 => Err(unknown(id)),
            _ => Ok(()),
        }
    }

    /// Writes metrics, params and tags of a run, all or none.
    pub async fn log_batch(
        &self,
        tenant: &Tenant,
        id: &str,
        metrics: &[Point],
        params: &[Pair],
        tags: &[Pair],
    ) -> Result<()> {
        let params = checked_pairs("param", params, PARAM_CHARS_MAX)?;
        let tags = last_of_each(checked_pairs("run's tag", tags, TAG_CHARS_MAX)?);
        let mut transaction = self.database.begin().await?;
        let number = require_active(&mut transaction, tenant, id).await?;
        put_params(&mut transaction, tenant, number, id, params).await?;
        log(&mut transaction, tenant, number, metrics).await?;
        if let Some(name) = tags.iter().find(|tag| tag.key == NAME_TAG) {
            let sql = "update store_runs set name = $3 where tenant = $1 and run = $2";
            let values = values![tenant, number, name.value.as_str()];
            transaction.execute(sql, values).await?;
        }
        put_tags(&mut transaction, tenant, number, tags).await?;
        transaction.commit().await
    }

    /// Removes a tag of a run.
    pub async fn delete_run_tag(&self, tenant: &Tenant, id: &str, key: &str) -> Result<()> {
        let mut transaction = self.database.begin().await?;
        let number = require_active(&mut transaction, tenant, id).await?;
        let sql = "delete from store_run_tags where tenant = $1 and run = $2 and name = $3";
        let values = values![tenant, number, key];
        if transaction.execute(sql, values).await? == 0 {
            return Err(Error::NotFound {
                what: "tag",
                name: key.chars().take(80).collect(),
            });
        }
        transaction.commit().await
    }

    /// Notes which data sets and models a run used.
    pub async fn log_inputs(
        &self,
        tenant: &Tenant,
        id: &str,
        datasets: Vec<DatasetInput>,
        models: Vec<String>,
    ) -> Result<()> {
        let mut transaction = self.database.begin().await?;
        let number = require_active(&mut transaction, tenant, id).await?;
        let mut rows = Vec::new();
        for input in datasets {
            bounded("data set's name", &input.name, NAME_BYTES_MAX)?;
            bounded("data set's digest", &input.digest, NAME_BYTES_MAX)?;
            bounded("data set's context", &input.context, NAME_BYTES_MAX)?;
            bounded("data set", &input.document, DOCUMENT_BYTES_MAX)?;
            rows.push(values![
                input.name,
                input.digest,
                input.context,
                input.document
            ]);
        }
        insert_rows(
            &mut transaction,
            "insert into store_run_datasets (tenant, run, name, digest, context, document)",
            values![tenant, number],
            rows,
            "on conflict do nothing",
        )
        .await?;
        let models = models.into_iter().map(|model| Output { model, step: 0 });
        put_models(&mut transaction, tenant, number, "input", models.collect()).await?;
        transaction.commit().await
    }

    /// Notes which logged models a run made.
    pub async fn log_outputs(&self, tenant: &Tenant, id: &str, outputs: Vec<Output>) -> Result<()> {
        let mut transaction = self.database.begin().await?;
        let number = require_active(&mut transaction, tenant, id).await?;
        put_models(&mut transaction, tenant, number, "output", outputs).await?;
        transaction.commit().await
    }

    /// Adds to runs what hangs on them.
    async fn furnish(&self, tenant: &Tenant, runs: &mut [Run]) -> Result<()> {
        let places: HashMap<i64, usize> = runs
            .iter()
            .enumerate()
            .map(|(place, run)| (run.number, place))
            .collect();
        let numbers: Vec<i64> = runs.iter().map(|run| run.number).collect();
        for numbers in numbers.chunks(super::KEYS_AT_ONCE) {
            for (sql, add) in SHELVES {
                let sql = sql.replace("$RUNS", &holders(numbers.len()));
                let mut bound = values![tenant];
                bound.extend(numbers.iter().map(|number| Value::from(*number)));
                for row in self.database.rows(AssertSqlSafe(sql), bound).await? {
                    if let Some(place) = places.get(&row.whole("run")?) {
                        add(&mut runs[*place], &row)?;
                    }
                }
            }
        }
        Ok(())
    }
}

type Add = fn(&mut Run, &Row) -> Result<()>;

/// What hangs on a run, and where it goes.
const SHELVES: [(&str, Add); 5] = [
    (
        "select run, name, step, logged_ms, value, kind from store_latest_metrics \
         where tenant = $1 and run in ($RUNS) order by run, name",
        |run, row| {
            run.metrics.push(point(row)?);
            Ok(())
        },
    ),
    (
        "select run, name, value from store_run_params where tenant = $1 and run in ($RUNS) order by run, name",
        |run, row| {
            run.params
                .push(Pair::new(row.text("name")?, row.text("value")?));
            Ok(())
        },
    ),
    (
        "select run, name, value from store_run_tags where tenant = $1 and run in ($RUNS) order by run, name",
        |run, row| {
            run.tags
                .push(Pair::new(row.text("name")?, row.text("value")?));
            Ok(())
        },
    ),
    (
        "select run, document from store_run_datasets where tenant = $1 and run in ($RUNS) order by run, name, digest",
        |run, row| {
            run.datasets.push(row.text("document")?);
            Ok(())
        },
    ),
    (
        "select run, part, model, step from store_run_models where tenant = $1 and run in ($RUNS) order by run, step, model",
        |run, row| {
            let model = row.text("model")?;
            if row.text("part")? == "input" {
                run.inputs.push(model);
            } else {
                let step = row.whole("step")?;
                run.outputs.push(Output { model, step });
            }
            Ok(())
        },
    ),
];

/// A run that may be written to; its number.
pub(super) async fn require_active(
    transaction: &mut Transaction,
    tenant: &Tenant,
    id: &str,
) -> Result<i64> {
    let sql = "select run, deleted_ms from store_runs where tenant = $1 and id = $2";
    let row = transaction.row(sql, values![tenant, id]).await?;
    let row = row.ok_or_else(|| unknown(id))?;
    if row.time_or_none("deleted_ms")?.is_some() {
        return Err(Error::Refused {
            reason: format!("the run {id} is deleted; restore it first"),
        });
    }
    row.whole("run")
}

pub(super) async fn find(database: &Database, tenant: &Tenant, id: &str) -> Result<Run> {
    let sql = "select * from store_runs where tenant = $1 and id = $2";
    let row = database.row(sql, values![tenant, id]).await?;
    run(&row.ok_or_else(|| unknown(id))?)
}

async fn active_location(
    transaction: &mut Transaction,
    tenant: &Tenant,
    number: i64,
) -> Result<String> {
    let sql =
        "select location, deleted_ms from store_experiments where tenant = $1 and experiment = $2";
    let row = transaction.row(sql, values![tenant, number]).await?;
    let row = row.ok_or_else(|| unknown_experiment(&number.to_string()))?;
    if row.time_or_none("deleted_ms")?.is_some() {
        return Err(Error::Refused {
            reason: format!("the experiment {number} is deleted; restore it first"),
        });
    }
    let location = row.text_or_none("location", "location")?;
    Ok(location.map_or_else(
        || format!("{HERE}{number}"),
        |location| location.trim_end_matches('/').to_owned(),
    ))
}

/// Params are written once; the same value again is as once.
async fn put_params(
    transaction: &mut Transaction,
    tenant: &Tenant,
    run: i64,
    id: &str,
    params: Vec<Pair>,
) -> Result<()> {
    let mut wanted: HashMap<&str, &str> = HashMap::new();
    for param in &params {
        let before = wanted.insert(&param.key, &param.value);
        if before.is_some_and(|before| before != param.value) {
            return Err(changed(param, before.unwrap_or_default(), id));
        }
    }
    if params.is_empty() {
        return Ok(());
    }
    let keys: Vec<&str> = wanted.keys().copied().collect();
    for keys in keys.chunks(super::KEYS_AT_ONCE) {
        let listed: Vec<String> = (3..keys.len() + 3)
            .map(|place| format!("${place}"))
            .collect();
        let sql = format!(
            "select name, value from store_run_params where tenant = $1 and run = $2 and name in ({})",
            listed.join(", ")
        );
        let mut bound = values![tenant, run];
        bound.extend(keys.iter().map(|key| Value::from(*key)));
        for row in transaction.rows(AssertSqlSafe(sql), bound).await? {
            let (key, before) = (row.text("name")?, row.text("value")?);
            let value = wanted.get(key.as_str()).copied().unwrap_or_default();
            if value != before {
                return Err(changed(&Pair::new(key.as_str(), value), &before, id));
            }
        }
    }
    insert_rows(
        transaction,
        "insert into store_run_params (tenant, run, name, value)",
        values![tenant, run],
        pair_rows(last_of_each(params)),
        "on conflict do nothing",
    )
    .await
}

fn changed(param: &Pair, before: &str, id: &str) -> Error {
    let short = |text: &str| text.chars().take(80).collect::<String>();
    Error::Refused {
        reason: format!(
            "Changing param values is not allowed. Param with key='{}' was already logged with value='{}' for run ID='{id}'. \
             Attempted logging new value '{}'.",
            param.key,
            short(before),
            short(&param.value)
        ),
    }
}

async fn put_tags(
    transaction: &mut Transaction,
    tenant: &Tenant,
    run: i64,
    tags: Vec<Pair>,
) -> Result<()> {
    insert_rows(
        transaction,
        "insert into store_run_tags (tenant, run, name, value)",
        values![tenant, run],
        pair_rows(tags),
        "on conflict (tenant, run, name) do update set value = excluded.value",
    )
    .await
}

async fn put_models(
    transaction: &mut Transaction,
    tenant: &Tenant,
    run: i64,
    part: &str,
    models: Vec<Output>,
) -> Result<()> {
    let models = models.into_iter().collect::<Vec<_>>();
    for output in &models {
        bounded("logged model's id", &output.model, NAME_BYTES_MAX)?;
    }
    insert_rows(
        transaction,
        "insert into store_run_models (tenant, run, part, model, step)",
        values![tenant, run, part],
        models
            .into_iter()
            .map(|output| values![output.model, output.step])
            .collect(),
        "on conflict do nothing",
    )
    .await
}

pub(crate) fn unknown(id: &str) -> Error {
    Error::NotFound {
        what: "run",
        name: id.chars().take(80).collect(),
    }
}

fn checked_id(id: String) -> Result<String> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    if (1..=256).contains(&id.len()) && id.bytes().all(is_plain) {
        return Ok(id);
    }
    Err(Error::Malformed {
        what: "run id",
        came: id.chars().take(80).collect(),
        allowed: "letters, digits, - and _",
    })
}

/// A name that can be said aloud, for a run that was given none.
fn two_words(id: &str) -> String {
    const FIRST: [&str; 16] = [
        "calm", "bright", "early", "gentle", "honest", "keen", "late", "lively", "mild", "patient",
        "plain", "quiet", "steady", "swift", "thorough", "warm",
    ];
    const SECOND: [&str; 16] = [
        "ash", "birch", "brook", "cedar", "finch", "hazel", "heron", "lark", "linden", "maple",
        "meadow", "otter", "reed", "robin", "willow", "wren",
    ];
    let digit = |place: usize| {
        let digit = id.as_bytes().get(place).copied().unwrap_or_default();
        char::from(digit).to_digit(16).unwrap_or_default() as usize
    };
    let number = digit(2) * 256 + digit(3) * 16 + digit(4);
    format!(
        "{}-{}-{}",
        FIRST[digit(0) % 16],
        SECOND[digit(1) % 16],
        number % 1_000
    )
}

fn run(row: &Row) -> Result<Run> {
    Ok(Run {
        number: row.whole("run")?,
        id: row.text("id")?,
        experiment: row.whole("experiment")?,
        name: row.text("name")?,
        user: row.text("user_name")?,
        status: row.text("status")?,
        started_ms: row.whole("started_ms")?,
        ended_ms: row.time_or_none("ended_ms")?,
        artifact_uri: row.text("artifact_uri")?,
        deleted_ms: row.time_or_none("deleted_ms")?,
        metrics: Vec::new(),
        params: Vec::new(),
        tags: Vec::new(),
        datasets: Vec::new(),
        inputs: Vec::new(),
        outputs: Vec::new(),
    })
}

/// So that a caller need not know where points are read.
pub use metric::HISTORY_ROWS_MAX;
