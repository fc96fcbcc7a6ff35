//! A kit's place in the house: its routes, who may call them, its tables, its long work.
//!
//! The room knows no kit. Whoever starts a server hands some in, and each brings what it has as plain data: a router that
//! is merged with ours and described in the same document, lines for the table of access, migrations, and jobs by name.
//! A kit's handlers take the same [`House`] and the same extractors as ours, so that nobody is let in by another door.

use crate::access::Access;
use crate::house::House;
use crate::refusal::{Refusal, chain};
use crate::time::now_us;
use ombud_store::job::{Advice, End, Job, Progress};
use ombud_store::{Guest, RecordId};
use std::future::Future;
use std::pin::Pin;
use std::time::Duration;
use utoipa_axum::router::OpenApiRouter;

/// How often a worker looks whether a job waits.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// How long a worker that says nothing keeps its job.
const LEASE_US: i64 = 120_000_000;

/// What a kit brings.
#[derive(Clone, Copy)]
pub struct Kit {
    /// One word, which its tables begin with.
    pub name: &'static str,
    /// Its routes, described.
    pub router: fn() -> OpenApiRouter<House>,
    /// What each of them asks of its caller.
    pub access: &'static [(&'static str, &'static str, Access)],
    /// Its tables.
    pub tables: Guest,
    /// Its long work.
    pub jobs: &'static [Deed],
    /// What it sees to when a server starts. Must not wait.
    pub start: fn(&House),
}

/// Long work by the name of its kind.
#[derive(Clone, Copy)]
pub struct Deed {
    /// `KIT-VERB`.
    pub kind: &'static str,
    /// Does it; the result is kept with the job.
    pub run: fn(Work) -> Doing,
}

/// What doing a job gives, in the end.
pub type Doing = Pin<Box<dyn Future<Output = Result<serde_json::Value, Stopped>> + Send>>;

/// A job in a worker's hands.
#[derive(Debug, Clone)]
pub struct Work {
    pub house: House,
    pub job: Job,
}

/// Why a job ended without its result.
#[derive(Debug)]
pub enum Stopped {
    /// Somebody cancelled it.
    Cancelled,
    /// Another worker has it now.
    Lost,
    /// It cannot be done, in words for whoever asked for it.
    Failed(String),
}

impl Work {
    /// Tells how far it is; gives back whether to go on.
    pub async fn progress(&self, done: u64, total: u64, message: &str) -> Result<(), Stopped> {
        let progress = Progress {
            done,
            total: Some(total),
            message,
        };
        let told = self
            .house
            .store
            .job_progress(&self.job, progress, LEASE_US, now_us());
        match told.await {
            Ok(Advice::Continue) => Ok(()),
            Ok(Advice::Cancel) => Err(Stopped::Cancelled),
            Ok(Advice::Lost) => Err(Stopped::Lost),
            Err(error) => Err(Stopped::Failed(chain(&error))),
        }
    }

    /// The job's id.
    pub fn id(&self) -> RecordId {
        self.job.id
    }
}

/// Works on jobs that wait, one after another, until the server ends.
pub(crate) async fn work(house: House) {
    let worker = format!("worker:{}", std::process::id());
    loop {
        match next(&house, &worker).await {
            Ok(true) => {}
            Ok(false) => tokio::time::sleep(LOOK_EVERY).await,
            Err(error) => {
                tracing::warn!(cause = %chain(&error), "jobs cannot be looked at");
                tokio::time::sleep(LOOK_EVERY * 8).await;
            }
        }
    }
}

/// Works off what waits now, for a program that serves nobody.
///
/// # Errors
/// When the store cannot be asked.
pub async fn work_off(house: &House) -> Result<usize, ombud_store::Error> {
    let worker = format!("command:{}", std::process::id());
    let mut done = 0;
    while next(house, &worker).await? {
        done += 1;
    }
    Ok(done)
}

/// Works on the job that waits longest; whether there was one.
async fn next(house: &House, worker: &str) -> Result<bool, ombud_store::Error> {
    if !house.store.has_waiting_jobs(now_us()).await? {
        return Ok(false);
    }
    let Some(job) = house.store.claim_job(worker, LEASE_US, now_us()).await? else {
        return Ok(false);
    };
    let deeds = house.kits.iter().flat_map(|kit| kit.jobs);
    let deed = deeds.into_iter().find(|deed| deed.kind == job.kind);
    let end = match deed {
        None => Err(Stopped::Failed(format!("nobody here does {}", job.kind))),
        Some(deed) => {
            let (house, job) = (house.clone(), job.clone());
            (deed.run)(Work { house, job }).await
        }
    };
    let end = match end {
        Ok(result) => End::Succeeded(result),
        Err(Stopped::Cancelled) => End::Cancelled,
        Err(Stopped::Failed(message)) => End::Failed(message),
        Err(Stopped::Lost) => return Ok(true),
    };
    house.store.end_job(&job, end, now_us()).await?;
    Ok(true)
}

impl From<Refusal> for Stopped {
    fn from(refusal: Refusal) -> Self {
        Stopped::Failed(refusal.detail().to_owned())
    }
}

impl std::fmt::Debug for Kit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Kit").field("name", &self.name).finish()
    }
}

impl std::fmt::Debug for Deed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Deed").field("kind", &self.kind).finish()
    }
}
