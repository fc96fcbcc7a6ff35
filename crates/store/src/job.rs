//! Jobs: long work with progress, worked on by one replica at a time.
//!
//! A worker holds a lease and renews it with its progress. One that dies loses the lease, and another takes the job up, at
//! most [`ATTEMPTS_MAX`] times. What a job does is known above.

use crate::database::{Row, values};
use crate::error::{Error, Result};
use crate::store::{Page, Store, bounded, page_rows};
use ombud_ledger::{RecordId, Tenant};
use std::fmt;
use std::str::FromStr;

/// How often a job is taken up before it counts as failed.
pub const ATTEMPTS_MAX: i64 = 3;
/// Largest specification or result.
pub const DOCUMENT_BYTES_MAX: usize = 1 << 20;
/// Longest message about progress.
pub const MESSAGE_BYTES_MAX: usize = 2_000;

/// Where a job is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum State {
    Waiting,
    Running,
    Succeeded,
    Failed,
    Cancelled,
}

/// A job as it is kept.
#[derive(Debug, Clone, PartialEq)]
pub struct Job {
    pub tenant: Tenant,
    pub id: RecordId,
    /// One word: `score`, `train`, `export`, ….
    pub kind: String,
    pub state: State,
    /// What is to be done.
    pub spec: serde_json::Value,
    /// How far it is, in its own unit.
    pub done: u64,
    pub total: Option<u64>,
    pub message: String,
    pub result: Option<serde_json::Value>,
    pub created_us: i64,
    pub created_by: String,
    pub started_us: Option<i64>,
    pub ended_us: Option<i64>,
    pub worker: Option<String>,
    pub attempts: i64,
    pub is_cancel_wanted: bool,
}

/// How far a job is.
#[derive(Debug, Clone, Copy)]
pub struct Progress<'a> {
    pub done: u64,
    pub total: Option<u64>,
    pub message: &'a str,
}

/// What a worker that told its progress should do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Advice {
    /// Go on.
    Continue,
    /// Stop: somebody cancelled it.
    Cancel,
    /// Stop at once: the lease was lost, and another worker may be at it.
    Lost,
}

/// How a job ended.
#[derive(Debug, Clone, PartialEq)]
pub enum End {
    Succeeded(serde_json::Value),
    Failed(String),
    Cancelled,
}

impl State {
    /// The word that is stored and told.
    pub fn as_str(self) -> &'static str {
        match self {
            State::Waiting => "waiting",
            State::Running => "running",
            State::Succeeded => "succeeded",
            State::Failed => "failed",
            State::Cancelled => "cancelled",
        }
    }

    /// Whether nothing more will happen to it.
    pub fn is_over(self) -> bool {
        matches!(self, State::Succeeded | State::Failed | State::Cancelled)
    }
}

impl Store {
    /// Adds a job to those that wait.
    pub async fn add_job(
        &self,
        tenant: &Tenant,
        kind: &str,
        spec: &serde_json::Value,
        by: &str,
        now_us: i64,
    ) -> Result<RecordId> {
        bounded("kind", kind, 64)?;
        bounded("specification", &spec.to_string(), DOCUMENT_BYTES_MAX)?;
        let id = RecordId::generate(now_us)?;
        let sql = "insert into store_jobs (tenant, id, kind, state, spec, done, message, created_us, created_by, attempts, \
            is_cancel_wanted) values ($1, $2, $3, 'waiting', $4, 0, '', $5, $6, 0, 0)";
        let values = values![tenant, id, kind, spec, now_us, by];
        self.database.execute(sql, values).await?;
        Ok(id)
    }

    /// A job by its id.
    pub async fn job(&self, tenant: &Tenant, id: RecordId) -> Result<Job> {
        let sql = "select * from store_jobs where tenant = $1 and id = $2";
        let row = self.database.row(sql, values![tenant, id]).await?;
        job(&row.ok_or_else(|| unknown(id))?)
    }

    /// A page of a tenant's jobs, newest first.
    pub async fn jobs(
        &self,
        tenant: &Tenant,
        after: Option<RecordId>,
        limit: usize,
    ) -> Result<Page<Job, RecordId>> {
        let sql = "select * from store_jobs where tenant = $1 and ($2 is null or id < $2) order by id desc limit $3";
        let limit = page_rows(limit);
        let after = crate::database::Value::Bytes(after.map(|id| id.as_bytes().to_vec()));
        let rows = self
            .database
            .rows(sql, values![tenant, after, limit])
            .await?;
        let items: Vec<Job> = rows.iter().map(job).collect::<Result<_>>()?;
        let is_full = items.len() as i64 == limit;
        let next = items.last().filter(|_| is_full).map(|job| job.id);
        Ok(Page { items, next })
    }

    /// Whether a job waits, of any tenant; a look that takes no lock, so that workers may ask often.
    pub async fn has_waiting_jobs(&self, now_us: i64) -> Result<bool> {
        let sql = "select 1 as one from store_jobs \
            where state = 'waiting' or (state = 'running' and lease_until_us < $1) limit 1";
        Ok(self.database.row(sql, values![now_us]).await?.is_some())
    }

    /// Takes up the oldest job that waits, of any tenant: a worker works for the house. A job whose worker died waits
    /// again, until it was tried [`ATTEMPTS_MAX`] times.
    pub async fn claim_job(&self, worker: &str, lease_us: i64, now_us: i64) -> Result<Option<Job>> {
        let mut transaction = self.database.begin().await?;
        let give_up = "update store_jobs set state = 'failed', ended_us = $1, worker = null, \
            message = 'its workers died' where state = 'running' and lease_until_us < $1 and attempts >= $2";
        transaction
            .execute(give_up, values![now_us, ATTEMPTS_MAX])
            .await?;
        let skip_locked = match self.database {
            crate::database::Database::Sqlite { .. } => CLAIM,
            crate::database::Database::Postgres(_) => CLAIM_ON_POSTGRES,
        };
        let values = values![now_us, worker, now_us.saturating_add(lease_us)];
        let row = transaction.row(skip_locked, values).await?;
        transaction.commit().await?;
        row.as_ref().map(job).transpose()
    }

    /// Notes progress, renews the lease, and says whether to go on.
    pub async fn job_progress(
        &self,
        claimed: &Job,
        progress: Progress<'_>,
        lease_us: i64,
        now_us: i64,
    ) -> Result<Advice> {
        bounded("message", progress.message, MESSAGE_BYTES_MAX)?;
        let sql = "update store_jobs set done = $4, total = $5, message = $6, lease_until_us = $7 \
            where tenant = $1 and id = $2 and worker = $3 and attempts = $8 and state = 'running' returning is_cancel_wanted";
        let values = values![
            &claimed.tenant,
            claimed.id,
            claimed.worker.clone(),
            progress.done.cast_signed(),
            progress.total.map(u64::cast_signed),
            progress.message,
            now_us.saturating_add(lease_us),
            claimed.attempts
        ];
        let mut transaction = self.database.begin().await?;
        let row = transaction.row(sql, values).await?;
        transaction.commit().await?;
        Ok(match row {
            None => Advice::Lost,
            Some(row) if row.truth("is_cancel_wanted")? => Advice::Cancel,
            Some(_) => Advice::Continue,
        })
    }

    /// Ends a job that this worker still holds.
    pub async fn end_job(&self, claimed: &Job, end: End, now_us: i64) -> Result<()> {
        let (state, result, message) = match end {
            End::Succeeded(result) => (State::Succeeded, Some(result.to_string()), None),
            End::Failed(message) => (State::Failed, None, Some(message)),
            End::Cancelled => (State::Cancelled, None, None),
        };
        bounded(
            "result",
            result.as_deref().unwrap_or_default(),
            DOCUMENT_BYTES_MAX,
        )?;
        let message =
            message.map(|text| text.chars().take(MESSAGE_BYTES_MAX / 4).collect::<String>());
        let sql = "update store_jobs set state = $4, result = $5, message = coalesce($6, message), ended_us = $7, \
            worker = null, lease_until_us = null \
            where tenant = $1 and id = $2 and worker = $3 and attempts = $8 and state = 'running'";
        let values = values![
            &claimed.tenant,
            claimed.id,
            claimed.worker.clone(),
            state.as_str(),
            result,
            message,
            now_us,
            claimed.attempts
        ];
        if self.database.execute(sql, values).await? == 1 {
            return Ok(());
        }
        let found = self.job(&claimed.tenant, claimed.id).await?;
        Err(Error::JobState {
            id: claimed.id,
            state: found.state.as_str(),
            wanted: "ended by a worker that lost it",
        })
    }

    /// Cancels a job: at once when it waits, at its next word of progress when it runs.
    pub async fn cancel_job(&self, tenant: &Tenant, id: RecordId, now_us: i64) -> Result<Job> {
        let sql = "update store_jobs set is_cancel_wanted = 1, \
            state = case when state = 'waiting' then 'cancelled' else state end, \
            ended_us = case when state = 'waiting' then $3 else ended_us end \
            where tenant = $1 and id = $2 and state in ('waiting', 'running')";
        let changed = self
            .database
            .execute(sql, values![tenant, id, now_us])
            .await?;
        let found = self.job(tenant, id).await?;
        if changed == 0 {
            return Err(Error::JobState {
                id,
                state: found.state.as_str(),
                wanted: "cancelled",
            });
        }
        Ok(found)
    }
}

const CLAIM: &str = "update store_jobs set state = 'running', worker = $2, lease_until_us = $3, \
    started_us = coalesce(started_us, $1), attempts = attempts + 1 where (tenant, id) = (select tenant, id from store_jobs \
    where state = 'waiting' or (state = 'running' and lease_until_us < $1) order by id limit 1) returning *";
/// The same; two workers that ask at once get two jobs.
const CLAIM_ON_POSTGRES: &str = "update store_jobs set state = 'running', worker = $2, lease_until_us = $3, \
    started_us = coalesce(started_us, $1), attempts = attempts + 1 where (tenant, id) = (select tenant, id from store_jobs \
    where state = 'waiting' or (state = 'running' and lease_until_us < $1) order by id limit 1 for update skip locked) \
    returning *";

fn unknown(id: RecordId) -> Error {
    Error::NotFound {
        what: "job",
        name: id.to_string(),
    }
}

fn job(row: &Row) -> Result<Job> {
    let result = row.text_or_none("result", "result")?;
    Ok(Job {
        tenant: row.parsed("tenant")?,
        id: row.id("id")?,
        kind: row.text("kind")?,
        state: row.parsed("state")?,
        spec: row.json("spec")?,
        done: row.whole("done")?.cast_unsigned(),
        total: row.whole_or_none("total", "total")?.map(i64::cast_unsigned),
        message: row.text("message")?,
        result: result
            .map(|text| serde_json::from_str(&text))
            .transpose()
            .map_err(|_| Error::Unreadable { what: "result" })?,
        created_us: row.whole("created_us")?,
        created_by: row.text("created_by")?,
        started_us: row.time_or_none("started_us")?,
        ended_us: row.time_or_none("ended_us")?,
        worker: row.text_or_none("worker", "worker")?,
        attempts: row.whole("attempts")?,
        is_cancel_wanted: row.truth("is_cancel_wanted")?,
    })
}

impl FromStr for State {
    type Err = ();
    fn from_str(text: &str) -> std::result::Result<Self, ()> {
        let all = [
            State::Waiting,
            State::Running,
            State::Succeeded,
            State::Failed,
            State::Cancelled,
        ];
        all.into_iter()
            .find(|state| state.as_str() == text)
            .ok_or(())
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
