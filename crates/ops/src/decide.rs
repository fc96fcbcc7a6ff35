//! A question's way: route, cache, engine, ledger, answer.
//!
//! Nothing is answered that is not recorded: the answer waits for its record, or, where the deployment says so, at least for
//! the ledger's acceptance. What is refused or fails is recorded too, without its body. A retry under an idempotency key gets
//! the decision of the first try, read back from the ledger; its reasons are computed again, because what is kept in clear
//! must not quote a person.

use crate::answer::{AnswerText, Cached, Decision};
use crate::batching::{self, Computed};
use crate::canonical::{self, Reasons};
use crate::error::{Error, Result};
use crate::health::Happened;
use crate::ops::{Caller, Ops};
use crate::perform::new_id;
use crate::routing::Route;
use crate::warm::Warm;
use ombud_core::{Answer, Digest, Explanation, ModelName, Row, Version};
use ombud_ledger::record::Record;
use ombud_ledger::{Clear, Entry, Kind, RecordId, Recorded, Subject, Tenant};
use ombud_store::cache::CacheKey;
use ombud_store::idempotency::{Reservation, Try};
use ombud_store::{Environment, Recording};
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

/// Rows of one batch; the ledger takes as many at once.
pub const BATCH_ROWS_MAX: usize = 1_000;

/// A question about one row.
#[derive(Debug, Clone)]
pub struct Ask {
    pub model: ModelName,
    pub environment: Environment,
    /// A version of the deployment, instead of the one that the shares choose.
    pub version: Option<Version>,
    /// Whom it is about.
    pub subject: Option<Subject>,
    /// What the model is given, as JSON.
    pub input: Clear,
    pub explain: bool,
    pub use_cache: bool,
    pub idempotency_key: Option<String>,
}

/// Questions about many rows, answered by one deployment.
#[derive(Debug, Clone)]
pub struct Batch {
    pub model: ModelName,
    pub environment: Environment,
    pub version: Option<Version>,
    pub rows: Vec<BatchRow>,
    pub explain: bool,
}

/// A row of a batch.
#[derive(Debug, Clone)]
pub struct BatchRow {
    pub subject: Option<Subject>,
    pub input: Clear,
}

/// A row with its answer, before it is recorded.
struct Answered {
    row: Row,
    answer: AnswerText,
    explanation: Option<Explanation>,
    cache_hit: bool,
    /// Where the answer may be kept; none when it came from there or is not to be.
    keep: Option<CacheKey>,
}

/// A row of a batch on its way: where it goes, or why nowhere.
type RoutedRow = (Ask, RecordId, Result<Route>);
/// The same as its model reads it.
type ParsedRow = (Ask, RecordId, Result<(Route, Row)>);
/// The same with its answer.
type ComputedRow = (Ask, RecordId, Result<(Route, Answered)>);

/// A batch with its answers, before it is recorded.
struct ComputedBatch {
    rows: Vec<ComputedRow>,
    time_us: i64,
    /// Per row.
    latency_us: u64,
}

impl ComputedBatch {
    fn entry(&self, caller: &Caller, (ask, id, answered): &ComputedRow) -> Entry {
        let time_us = self.time_us;
        match answered {
            Ok((route, answered)) => {
                decision_entry(caller, ask, route, answered, *id, time_us, self.latency_us)
            }
            Err(error) => refused_entry(caller, ask, error, *id, time_us),
        }
    }
}

impl Ops {
    /// Answers one question.
    pub async fn decide(&self, tenant: &Tenant, caller: &Caller, ask: Ask) -> Result<Decision> {
        let fresh = new_id(self.now_us())?;
        match &ask.idempotency_key {
            None => self.decide_once(tenant, caller, &ask, fresh).await,
            // Apart, so that the many without a key do not carry what the few with one need.
            Some(key) => Box::pin(self.decide_under(tenant, caller, &ask, key, fresh)).await,
        }
    }

    /// Answers a question once, however often it is sent under a key.
    async fn decide_under(
        &self,
        tenant: &Tenant,
        caller: &Caller,
        ask: &Ask,
        key: &str,
        fresh: RecordId,
    ) -> Result<Decision> {
        let reservation = self.reserve(tenant, caller, ask, key, fresh).await?;
        let id = reservation.decision();
        if let Reservation::Again(_) = reservation
            && let Some(record) = self.recorded(tenant, id).await?
        {
            return self.replay(tenant, ask, record).await;
        }
        match self.decide_once(tenant, caller, ask, id).await {
            // Another try of the same request was faster between our look and our record.
            Err(Error::Ledger(ombud_ledger::Error::Repeated { .. })) => {
                let record = self.recorded(tenant, id).await?;
                self.replay(tenant, ask, record.ok_or(Error::Unreadable { id })?)
                    .await
            }
            Err(
                error @ (Error::Refused(_)
                | Error::NotDeployed { .. }
                | Error::NotAtHand { .. }
                | Error::NotServed { .. }),
            ) => {
                let store = &self.shared.registry.store;
                store.release(tenant, &caller.principal, key, id).await?;
                Err(error)
            }
            other => other,
        }
    }

    /// Answers many questions; a row that cannot be answered is an error beside the answers. All records are durable
    /// together, or the whole batch is refused.
    pub async fn decide_batch(
        &self,
        tenant: &Tenant,
        caller: &Caller,
        batch: Batch,
    ) -> Result<Vec<Result<Decision>>> {
        let computed = self.compute_batch(tenant, batch).await?;
        let entries = computed.rows.iter().map(|row| computed.entry(caller, row));
        let entries = entries.collect();
        let recorded = self.shared.ledger.append_all(tenant, entries).await?;
        Ok(self.tell_rows(computed, recorded).collect())
    }

    /// Answers many questions or none: when a row cannot be answered, only what was refused is recorded, and the first such
    /// row is the error. For protocols that have no place for an error beside answers.
    pub async fn decide_whole(
        &self,
        tenant: &Tenant,
        caller: &Caller,
        batch: Batch,
    ) -> Result<Vec<Decision>> {
        let computed = self.compute_batch(tenant, batch).await?;
        let is_whole = computed
            .rows
            .iter()
            .all(|(_, _, answered)| answered.is_ok());
        let recorded = computed
            .rows
            .iter()
            .filter(|(_, _, answered)| is_whole || answered.is_err());
        let entries = recorded.map(|row| computed.entry(caller, row)).collect();
        let recorded = self.shared.ledger.append_all(tenant, entries).await?;
        if !is_whole {
            return Err(first_failure(computed.rows));
        }
        self.tell_rows(computed, recorded).collect()
    }

    fn tell_rows(
        &self,
        computed: ComputedBatch,
        recorded: Vec<Recorded>,
    ) -> impl Iterator<Item = Result<Decision>> {
        let latency_us = computed.latency_us;
        let decisions = computed.rows.into_iter().zip(recorded);
        decisions.map(move |((ask, id, answered), recorded)| {
            let (route, answered) = answered?;
            Ok(self.tell(&ask, route, answered, id, latency_us, Some(recorded)))
        })
    }

    async fn compute_batch(&self, tenant: &Tenant, batch: Batch) -> Result<ComputedBatch> {
        let rows = batch.rows.len();
        if rows == 0 {
            return Err(Error::NoRows);
        }
        if rows > BATCH_ROWS_MAX {
            let rows_max = BATCH_ROWS_MAX;
            return Err(Error::TooManyRows { rows, rows_max });
        }
        let started = Instant::now();
        let time_us = self.now_us();
        let routed = self.route_rows(tenant, batch, time_us)?;
        // A thousand rows are more than a worker that answers others may be kept busy with.
        let work = move || compute_rows(routed);
        let computed = self.shared.pool.run(work).await?;
        Ok(ComputedBatch {
            rows: computed,
            time_us,
            latency_us: micros(started) / rows as u64,
        })
    }

    fn route_rows(&self, tenant: &Tenant, batch: Batch, time_us: i64) -> Result<Vec<RoutedRow>> {
        let mut routed = Vec::with_capacity(batch.rows.len());
        for row in batch.rows {
            let ask = Ask {
                model: batch.model.clone(),
                environment: batch.environment.clone(),
                version: batch.version,
                subject: row.subject,
                input: row.input,
                explain: batch.explain,
                use_cache: false,
                idempotency_key: None,
            };
            let id = new_id(time_us)?;
            let route = self.route(tenant, &ask, id);
            routed.push((ask, id, route));
        }
        Ok(routed)
    }

    async fn decide_once(
        &self,
        tenant: &Tenant,
        caller: &Caller,
        ask: &Ask,
        id: RecordId,
    ) -> Result<Decision> {
        let started = Instant::now();
        let time_us = self.now_us();
        let found = match self.route(tenant, ask, id) {
            Ok(route) => match self.answer(tenant, &route.warm, ask).await {
                Ok(answered) => Ok((route, answered)),
                Err(error) => Err((Some(route), error)),
            },
            Err(error) => Err((None, error)),
        };
        let (route, answered) = match found {
            Ok(found) => found,
            Err((route, error)) => {
                let happened = match error {
                    Error::Refused(_) => Happened::Refused,
                    _ => Happened::Failed,
                };
                if let Some(route) = route {
                    route.warm.counters.count(happened);
                }
                // A refusal has an id of its own: the try that is mended keeps the reserved one.
                let entry = refused_entry(caller, ask, &error, new_id(time_us)?, time_us);
                self.shared.ledger.append(tenant, entry).await?;
                return Err(error);
            }
        };
        let latency_us = micros(started);
        let entry = decision_entry(caller, ask, &route, &answered, id, time_us, latency_us);
        let recording = route.live.deployment.recording;
        let (recorded, ()) = tokio::join!(
            self.record(tenant, entry, recording),
            self.keep(tenant, &answered)
        );
        let recorded = recorded.inspect_err(|_| route.warm.counters.count(Happened::Failed))?;
        Ok(self.tell(ask, route, answered, id, latency_us, recorded))
    }

    fn route(&self, tenant: &Tenant, ask: &Ask, id: RecordId) -> Result<Route> {
        // A question about nobody is spread by its own id.
        let who = match &ask.subject {
            Some(subject) => subject.expose().as_bytes(),
            None => id.as_bytes().as_slice(),
        };
        let (model, environment) = (&ask.model, &ask.environment);
        let routing = &self.shared.routing;
        routing.route(tenant, model, environment, ask.version, who)
    }

    async fn answer(&self, tenant: &Tenant, warm: &Arc<Warm>, ask: &Ask) -> Result<Answered> {
        let row = parse(warm, ask)?;
        if !ask.use_cache {
            return self.compute(warm, row, ask.explain).await;
        }
        let reasons = if ask.explain {
            Reasons::Wanted
        } else {
            Reasons::NotWanted
        };
        let key = CacheKey {
            bundle: warm.registered.digest,
            input: canonical::digest(&row, reasons),
        };
        let found = self.shared.cache.get(tenant, &key).await;
        // An answer that cannot be read, of an older program perhaps, is as good as none.
        if let Some(cached) = found.and_then(|bytes| serde_json::from_slice::<Cached>(&bytes).ok())
        {
            return Ok(Answered {
                row,
                answer: cached.answer,
                explanation: cached.explanation,
                cache_hit: true,
                keep: None,
            });
        }
        let mut answered = self.compute(warm, row, ask.explain).await?;
        answered.keep = Some(key);
        Ok(answered)
    }

    /// A model that gains from it answers together with other rows; a small one here, a large one on the pool.
    async fn compute(&self, warm: &Arc<Warm>, row: Row, explain: bool) -> Result<Answered> {
        if let Some(batcher) = &warm.batcher {
            let computed = Box::pin(batcher.ask(row, explain)).await?;
            return Answered::of(warm, computed);
        }
        if !warm.is_large() {
            return compute_row(warm, row, explain);
        }
        let warm = Arc::clone(warm);
        let work = move || compute_row(&warm, row, explain);
        Box::pin(self.shared.pool.run(work)).await?
    }

    async fn record(
        &self,
        tenant: &Tenant,
        entry: Entry,
        recording: Recording,
    ) -> Result<Option<Recorded>> {
        match recording {
            Recording::BeforeAnswer => Ok(Some(self.shared.ledger.append(tenant, entry).await?)),
            Recording::After => {
                // Accepted is queued: the writer finishes it whether or not anybody waits.
                drop(self.shared.ledger.submit(tenant, vec![entry])?);
                Ok(None)
            }
        }
    }

    async fn keep(&self, tenant: &Tenant, answered: &Answered) {
        let Some(key) = &answered.keep else { return };
        let cached = Cached {
            answer: answered.answer.clone(),
            explanation: answered.explanation.clone(),
        };
        if let Ok(bytes) = serde_json::to_vec(&cached) {
            self.shared.cache.put(tenant, key, bytes.into()).await;
        }
    }

    /// Counts, hands the row to the shadow, and puts the decision into words.
    fn tell(
        &self,
        ask: &Ask,
        route: Route,
        answered: Answered,
        id: RecordId,
        latency_us: u64,
        recorded: Option<Recorded>,
    ) -> Decision {
        let cache_hit = answered.cache_hit;
        route.warm.counters.count(Happened::Answered {
            latency_us,
            cache_hit,
        });
        if let Some(shadow) = route.live.shadow() {
            let seen = shadow_row(&route.warm, shadow, answered.row, ask);
            if let Some(row) = seen {
                let prediction = answered.answer.prediction.clone();
                self.shared.shadows.see(Arc::clone(shadow), row, prediction);
            }
        }
        let registered = &route.warm.registered;
        Decision {
            id,
            model: ask.model.clone(),
            version: registered.version,
            label: registered.label.clone(),
            bundle: registered.digest,
            environment: ask.environment.clone(),
            answer: answered.answer,
            explanation: answered.explanation,
            cache_hit,
            latency_us,
            recorded,
            is_replayed: false,
        }
    }

    async fn reserve(
        &self,
        tenant: &Tenant,
        caller: &Caller,
        ask: &Ask,
        key: &str,
        fresh: RecordId,
    ) -> Result<Reservation> {
        let subject = match ask.subject.clone() {
            Some(subject) => {
                let owner = tenant.clone();
                let find =
                    move |reader: &ombud_ledger::Reader| reader.subject_reference(&owner, &subject);
                self.shared.ledger.read(find).await?
            }
            None => None,
        };
        let came = Try {
            principal: &caller.principal,
            key,
            request: request_digest(ask),
            fresh,
            subject,
        };
        let store = &self.shared.registry.store;
        Ok(store.reserve(tenant, came, self.now_us()).await?)
    }

    /// The record of a decision, when it has one.
    pub(crate) async fn recorded(&self, tenant: &Tenant, id: RecordId) -> Result<Option<Record>> {
        let owner = tenant.clone();
        let found = self
            .shared
            .ledger
            .read(move |reader| reader.record(&owner, &id))
            .await;
        match found {
            Ok(record) => Ok(Some(record)),
            Err(ombud_ledger::Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Tells a recorded decision again.
    async fn replay(&self, tenant: &Tenant, ask: &Ask, record: Record) -> Result<Decision> {
        let unreadable = || Error::Unreadable { id: record.id };
        let answer = record.answer.as_deref().ok_or_else(unreadable)?;
        let answer: AnswerText = serde_json::from_str(answer).map_err(|_| unreadable())?;
        let (model, version) = record
            .model
            .clone()
            .zip(record.version)
            .ok_or_else(unreadable)?;
        let store = &self.shared.registry.store;
        let registered = store.version(tenant, &model, version).await?;
        let explanation = match ask.explain {
            true => self.explain_again(tenant, &model, version, ask).await?,
            false => None,
        };
        Ok(Decision {
            id: record.id,
            label: registered.label,
            bundle: registered.digest,
            environment: ask.environment.clone(),
            answer,
            explanation,
            cache_hit: record.cache_hit.unwrap_or_default(),
            latency_us: record.latency_us.unwrap_or_default(),
            recorded: Some(Recorded {
                id: record.id,
                lane: record.lane,
                sequence: record.sequence,
                hash: record.hash,
            }),
            is_replayed: true,
            model,
            version,
        })
    }

    /// The reasons of the version that answered; the same input gives the same ones.
    async fn explain_again(
        &self,
        tenant: &Tenant,
        model: &ModelName,
        version: Version,
        ask: &Ask,
    ) -> Result<Option<Explanation>> {
        let routing = &self.shared.routing;
        let warm = routing.warm(tenant, model, version).await?;
        let row = parse(&warm, ask)?;
        let answer = warm.model.predict(&row);
        Ok(Some(warm.model.explain(&row, &answer)))
    }
}

fn parse(warm: &Warm, ask: &Ask) -> Result<Row> {
    warm.model.row(ask.input.expose()).map_err(Error::Refused)
}

fn first_failure(rows: Vec<ComputedRow>) -> Error {
    let failed = rows
        .into_iter()
        .enumerate()
        .find_map(|(row, (_, _, answered))| {
            let source = Box::new(answered.err()?);
            Some(Error::Row { row, source })
        });
    failed.unwrap_or(Error::Interrupted)
}

fn compute_rows(routed: Vec<RoutedRow>) -> Vec<ComputedRow> {
    let parse = |(ask, id, route): RoutedRow| {
        let parsed = route.and_then(|route| {
            let row = parse(&route.warm, &ask)?;
            Ok((route, row))
        });
        (ask, id, parsed)
    };
    let parsed: Vec<_> = routed.into_iter().map(parse).collect();
    let mut answers = answers_by_version(&parsed);
    let answer = |(place, (ask, id, parsed)): (usize, ParsedRow)| {
        let answered = parsed.and_then(|(route, row)| {
            let answer = answers[place].take().ok_or(Error::NoAnswer)?;
            let model = &route.warm.model;
            let explanation = ask.explain.then(|| model.explain(&row, &answer));
            let computed = Computed {
                row,
                answer,
                explanation,
            };
            let answered = Answered::of(&route.warm, computed)?;
            Ok((route, answered))
        });
        (ask, id, answered)
    };
    parsed.into_iter().enumerate().map(answer).collect()
}

/// The answers to all rows that can be asked; rows of one version are asked together.
fn answers_by_version(parsed: &[ParsedRow]) -> Vec<Option<Answer>> {
    let mut places: BTreeMap<Version, Vec<usize>> = BTreeMap::new();
    for (place, (_, _, parsed)) in parsed.iter().enumerate() {
        if let Ok((route, _)) = parsed {
            let version = route.warm.registered.version;
            places.entry(version).or_default().push(place);
        }
    }
    let mut answers = vec![None; parsed.len()];
    for places in places.into_values() {
        let of_version = places
            .iter()
            .filter_map(|place| parsed[*place].2.as_ref().ok());
        let Some((route, _)) = of_version.clone().next() else {
            continue;
        };
        let rows: Vec<Row> = of_version.map(|(_, row)| row.clone()).collect();
        let together = batching::answers(&route.warm.model, &rows);
        for (place, answer) in places.into_iter().zip(together) {
            answers[place] = Some(answer);
        }
    }
    answers
}

fn compute_row(warm: &Warm, row: Row, explain: bool) -> Result<Answered> {
    let answer = warm.model.predict(&row);
    let explanation = explain.then(|| warm.model.explain(&row, &answer));
    let computed = Computed {
        row,
        answer,
        explanation,
    };
    Answered::of(warm, computed)
}

impl Answered {
    /// An answer in words; one that holds what is no number is none.
    fn of(warm: &Warm, computed: Computed) -> Result<Answered> {
        let answer = AnswerText::of(&warm.model, &computed.answer).ok_or(Error::NoAnswer)?;
        Ok(Answered {
            row: computed.row,
            answer,
            explanation: computed.explanation,
            cache_hit: false,
            keep: None,
        })
    }
}

/// The row as the shadow reads it: its schema may be another, and codes would then mean other values.
fn shadow_row(warm: &Warm, shadow: &Warm, row: Row, ask: &Ask) -> Option<Row> {
    if warm.model.schema() == shadow.model.schema() {
        return Some(row);
    }
    match shadow.model.row(ask.input.expose()) {
        Ok(row) => Some(row),
        Err(_) => {
            shadow.counters.count(Happened::Refused);
            None
        }
    }
}

fn decision_entry(
    caller: &Caller,
    ask: &Ask,
    route: &Route,
    answered: &Answered,
    id: RecordId,
    time_us: i64,
    latency_us: u64,
) -> Entry {
    let registered = &route.warm.registered;
    let explanation = answered.explanation.as_ref();
    let explanation = explanation.and_then(|reasons| serde_json::to_vec(reasons).ok());
    Entry {
        model: Some(ask.model.clone()),
        version: Some(registered.version),
        bundle: Some(registered.digest),
        environment: Some(ask.environment.to_string()),
        subject: ask.subject.clone(),
        input: Some(ask.input.clone()),
        answer: serde_json::to_string(&answered.answer).ok(),
        confidence: answered.answer.confidence,
        explanation: explanation.map(Clear::new),
        latency_us: Some(latency_us),
        cache_hit: Some(answered.cache_hit),
        ..caller.entry(id, Kind::Decision, time_us)
    }
}

/// What is kept of a question that was not answered: that it came, from whom, and whose fault it was. Not its body, and not
/// the faults, which quote it.
fn refused_entry(caller: &Caller, ask: &Ask, error: &Error, id: RecordId, time_us: i64) -> Entry {
    let (kind, faults) = match error {
        Error::Refused(refusal) => (Kind::Refused, refusal.count),
        Error::NotDeployed { .. } | Error::NotServed { .. } => (Kind::Refused, 0),
        _ => (Kind::Failed, 0),
    };
    let detail = serde_json::json!({ "class": format!("{:?}", error.class()), "faults": faults });
    Entry {
        model: Some(ask.model.clone()),
        version: ask.version,
        environment: Some(ask.environment.to_string()),
        detail: Some(detail.to_string()),
        ..caller.entry(id, kind, time_us)
    }
}

/// What makes two requests the same one.
fn request_digest(ask: &Ask) -> Digest {
    let mut hasher = Sha256::new();
    let same_input = same_input(ask.input.expose());
    let version = ask.version.map_or(0, Version::get).to_be_bytes();
    let subject = ask.subject.as_ref().map_or("", Subject::expose);
    for part in [
        ask.model.as_str().as_bytes(),
        ask.environment.as_str().as_bytes(),
        &version,
        &[u8::from(ask.explain), u8::from(ask.subject.is_some())],
        subject.as_bytes(),
        same_input.expose(),
    ] {
        hasher.update((part.len() as u64).to_be_bytes());
        hasher.update(part);
    }
    Digest::new(hasher.finalize().into())
}

/// The input as a client that writes it anew for a retry may have written it: spaces, the order of names, `0.10` for `0.1`
/// and `2.0` for `2` are no difference.
fn same_input(input: &[u8]) -> Clear {
    let read = serde_json::from_slice::<Value>(input);
    let written = read.and_then(|value| serde_json::to_vec(&with_plain_numbers(value)));
    Clear::new(written.unwrap_or_else(|_| input.to_vec()))
}

fn with_plain_numbers(value: Value) -> Value {
    // Beyond it, two whole numbers may be one when they are read as a double.
    const WHOLE_MAX: i64 = 1 << 53;
    match value {
        Value::Number(number) => match number.as_i64() {
            Some(whole) if (-WHOLE_MAX..=WHOLE_MAX).contains(&whole) => Value::from(whole as f64),
            _ => Value::Number(number),
        },
        Value::Array(items) => items.into_iter().map(with_plain_numbers).collect(),
        Value::Object(entries) => {
            let plain = |(name, value)| (name, with_plain_numbers(value));
            Value::Object(entries.into_iter().map(plain).collect())
        }
        other => other,
    }
}

fn micros(started: Instant) -> u64 {
    started.elapsed().as_micros() as u64
}
