//! Answers over the Open Inference Protocol, whichever door they are asked through: REST and gRPC share this one call.
//!
//! A question of the protocol is a question like any other: the same rights, limits, routing, ledger. What is particular is
//! that its tensors are read under the schema of the version that answers, that a batch is answered whole or not at all, and
//! that what it cost is counted as Triton counts ([`crate::statistics`]).

use crate::access::Right;
use crate::extract::Known;
use crate::house::House;
use crate::refusal::{Code, Refusal};
use crate::request::Origin;
use crate::routes::decisions::{VersionWish, count, count_failure, subject_of, version_of};
use crate::routes::registry::environment;
use crate::statistics::{Pending, Times};
use ombud_core::task::Outputs;
use ombud_core::{ModelName, Version};
use ombud_ledger::Clear;
use ombud_oip::{Plan, Request, Response, Rows, Told};
use ombud_ops::routing::Live;
use ombud_ops::warm::Warm;
use ombud_ops::{Ask, Batch, BatchRow, Decision};
use ombud_store::Environment;
use serde_json::{Map, Value};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Where people are answered.
const PRODUCTION: &str = "production";

/// Whom a question goes to.
#[derive(Debug, Clone)]
pub struct Place {
    pub model: ModelName,
    pub environment: Environment,
    /// A version of the deployment, instead of the one that the traffic's shares choose.
    pub version: Option<VersionWish>,
}

/// A deployment that will answer, and the version by whose schema the question is read.
pub struct Found {
    pub place: Place,
    pub live: Arc<Live>,
    pub warm: Arc<Warm>,
    asked: Option<Version>,
}

/// Rows to be answered together.
pub struct Questions {
    pub rows: Rows,
    pub explain: bool,
    pub idempotency_key: Option<String>,
}

impl Place {
    /// A model by the names that a request gives it.
    pub fn of(
        model: &str,
        version: &str,
        environment_named: Option<&Value>,
    ) -> Result<Self, Refusal> {
        let model = ModelName::new(model).map_err(|_| unknown_model(model))?;
        let place = match environment_named {
            None | Some(Value::Null) => PRODUCTION,
            Some(Value::String(name)) => name,
            Some(_) => return Err(Refusal::malformed("the parameter `environment` is a name")),
        };
        Ok(Place {
            model,
            environment: environment(place)?,
            version: (!version.is_empty()).then(|| VersionWish::Text(version.to_owned())),
        })
    }
}

/// Finds who answers, and whether the caller may ask them.
pub async fn find(
    house: &House,
    caller: &Known,
    right: Right,
    place: Place,
) -> Result<Found, Refusal> {
    caller.may_on(right, &place.model, &place.environment)?;
    let live = house
        .ops
        .routing()
        .live(&caller.tenant, &place.model, &place.environment)?;
    let wish = place.version.clone();
    let asked = version_of(house, caller, &place.model, &place.environment, wish).await?;
    let senior = live.deployment.traffic.senior();
    let version = asked.or(senior.map(|share| share.version));
    let warm = version
        .and_then(|version| live.version(version))
        .map(Arc::clone);
    let warm = warm.ok_or_else(|| {
        let version = version.map(|version| version.to_string());
        let (model, environment) = (&place.model, &place.environment);
        let detail = format!(
            "version {} of {model} is not part of its deployment to {environment}",
            version.unwrap_or_default()
        );
        Refusal::new(Code::NotFound, detail)
    })?;
    Ok(Found {
        place,
        live,
        warm,
        asked,
    })
}

/// Answers a request of the protocol. `read` is how long reading it took.
pub async fn infer(
    house: &House,
    caller: &Known,
    origin: &Origin,
    place: Place,
    request: &Request,
    started: Instant,
) -> Result<Response, Refusal> {
    let model = place.model.clone();
    let found = match find(house, caller, Right::Decide, place).await {
        Ok(found) => found,
        Err(refusal) => {
            return Err(house
                .record_refusal(caller, origin, Some(model), refusal)
                .await);
        }
    };
    let pending = begin(house, caller, &found, started);
    let outcome = answer_request(house, caller, origin, &found, request, started).await;
    finish(pending, outcome)
}

/// Answers rows that came without tensors.
pub async fn score(
    house: &House,
    caller: &Known,
    origin: &Origin,
    found: &Found,
    questions: Questions,
    started: Instant,
) -> Result<Vec<Decision>, Refusal> {
    let pending = begin(house, caller, found, started);
    let read = started.elapsed();
    let outcome = decide(house, caller, origin, found, questions).await;
    let outcome = outcome.map(|decisions| {
        let times = Times {
            input: read,
            infer: started.elapsed().saturating_sub(read),
            ..Times::default()
        };
        (decisions, times)
    });
    finish(
        pending,
        outcome.map(|(decisions, times)| (counts(&decisions), decisions, times)),
    )
}

type Counted = (usize, usize);

fn counts(decisions: &[Decision]) -> Counted {
    let hits = decisions.iter().filter(|decision| decision.cache_hit);
    (decisions.len(), hits.count())
}

fn begin(house: &House, caller: &Known, found: &Found, started: Instant) -> Pending {
    let version = found.warm.registered.version.to_string();
    let model = found.place.model.as_str();
    house
        .statistics
        .begin(&caller.tenant, model, &version, started)
}

fn finish<T>(
    pending: Pending,
    outcome: Result<(Counted, T, Times), Refusal>,
) -> Result<T, Refusal> {
    match outcome {
        Ok(((rows, hits), told, times)) => {
            pending.answered(rows, hits, times);
            Ok(told)
        }
        Err(refusal) => {
            pending.failed(&refusal);
            Err(refusal)
        }
    }
}

async fn answer_request(
    house: &House,
    caller: &Known,
    origin: &Origin,
    found: &Found,
    request: &Request,
    started: Instant,
) -> Result<(Counted, Response, Times), Refusal> {
    let manifest = found.warm.model.manifest();
    let asked = questions(house, found, request, &manifest.outputs);
    let (plan, questions) = match asked {
        Ok(asked) => asked,
        Err(refusal) => {
            let model = Some(found.place.model.clone());
            return Err(house.record_refusal(caller, origin, model, refusal).await);
        }
    };
    let read = started.elapsed();
    let decisions = decide(house, caller, origin, found, questions).await?;
    let answered = started.elapsed();
    let response = respond(request, &plan, &decisions);
    let times = Times {
        queue: started.saturating_duration_since(origin.started),
        input: read,
        infer: answered.saturating_sub(read),
        output: started.elapsed().saturating_sub(answered),
    };
    Ok((counts(&decisions), response, times))
}

fn questions<'f>(
    house: &House,
    found: &Found,
    request: &Request,
    outputs: &'f Outputs,
) -> Result<(Plan<'f>, Questions), Refusal> {
    let plan = Plan::new(outputs, request)?;
    let rows_max = house.config.limits.rows_max;
    let rows = Rows::read(found.warm.model.schema(), request, rows_max)?;
    let key = request.text("idempotency_key")?.map(str::to_owned);
    let questions = Questions {
        rows,
        explain: plan.explains(),
        idempotency_key: key,
    };
    Ok((plan, questions))
}

/// One row as a decision, several as a batch that is answered whole.
async fn decide(
    house: &House,
    caller: &Known,
    origin: &Origin,
    found: &Found,
    questions: Questions,
) -> Result<Vec<Decision>, Refusal> {
    let started = Instant::now();
    let Rows { rows, subjects } = questions.rows;
    let count_of_rows = rows.len();
    // The first row was paid for when the caller was let in.
    let further = count_of_rows.saturating_sub(1);
    house.pay_for_rows(caller, origin, further).await?;
    let mut subjects = subjects.into_iter();
    let mut row = |input: Vec<u8>| {
        Ok(BatchRow {
            subject: subject_of(subjects.next().flatten())?,
            input: Clear::new(input),
        })
    };
    let mut rows = rows
        .into_iter()
        .map(&mut row)
        .collect::<Result<Vec<_>, Refusal>>()?;
    let (model, environment) = (&found.place.model, &found.place.environment);
    let who = origin.caller(caller);
    let decided = if count_of_rows == 1 {
        let Some(row) = rows.pop() else {
            return Err(Refusal::from(ombud_ops::Error::NoRows));
        };
        let ask = Ask {
            model: model.clone(),
            environment: environment.clone(),
            version: found.asked,
            subject: row.subject,
            input: row.input,
            explain: questions.explain,
            use_cache: house.config.cache.seconds.0 > 0,
            idempotency_key: questions.idempotency_key,
        };
        let decision = house.ops.decide(&caller.tenant, &who, ask).await;
        decision.map(|decision| vec![decision])
    } else if questions.idempotency_key.is_some() {
        return Err(Refusal::malformed("several rows take no idempotency key")
            .hint("send single rows with a key each"));
    } else {
        let batch = Batch {
            model: model.clone(),
            environment: environment.clone(),
            version: found.asked,
            rows,
            explain: questions.explain,
        };
        house.ops.decide_whole(&caller.tenant, &who, batch).await
    };
    match decided {
        Ok(decisions) => {
            let took = started.elapsed();
            let uses_cache = count_of_rows == 1 && house.config.cache.seconds.0 > 0;
            for decision in &decisions {
                let took = match count_of_rows {
                    1 => took,
                    _ => Duration::from_micros(decision.latency_us),
                };
                count(house, &caller.tenant, decision, took, uses_cache);
            }
            Ok(decisions)
        }
        Err(error) => Err(count_failure(house, caller, model, environment, error)),
    }
}

fn respond(request: &Request, plan: &Plan<'_>, decisions: &[Decision]) -> Response {
    let told: Vec<Told<'_>> = decisions.iter().map(told).collect();
    let mut versions: Vec<String> = decisions
        .iter()
        .map(|decision| decision.version.to_string())
        .collect();
    let mut parameters = Map::new();
    if let Some(first) = decisions.first() {
        parameters.insert("environment".to_owned(), first.environment.as_str().into());
    }
    // Rows of one batch may be answered by different versions while traffic is shared.
    if versions.windows(2).any(|pair| pair[0] != pair[1]) {
        parameters.insert("model_versions".to_owned(), versions.join(",").into());
    }
    if request.parameters.get("triton_enable_empty_final_response") == Some(&Value::Bool(true)) {
        parameters.insert("triton_final_response".to_owned(), true.into());
    }
    let model = decisions.first().map(|decision| decision.model.to_string());
    Response {
        model_name: model.unwrap_or_default(),
        model_version: versions.drain(..).next().unwrap_or_default(),
        id: request.id.clone(),
        parameters: parameters.into_iter().collect(),
        outputs: plan.outputs(&told),
    }
}

/// A decision as the formats tell it.
pub fn told(decision: &Decision) -> Told<'_> {
    let explanation = decision.explanation.as_ref();
    Told {
        prediction: &decision.answer.prediction,
        probabilities: &decision.answer.probabilities,
        interval: decision.answer.interval,
        decision_id: decision.id.to_string(),
        explanation: explanation.and_then(|reasons| serde_json::to_string(reasons).ok()),
    }
}

/// A name that no model can have is a model that does not exist.
pub fn unknown_model(name: &str) -> Refusal {
    let name: String = name.chars().take(80).collect();
    Refusal::new(Code::NotFound, format!("there is no model {name:?}"))
}

impl From<ombud_oip::Error> for Refusal {
    fn from(error: ombud_oip::Error) -> Self {
        Refusal::of_class(error.class(), &error)
    }
}

impl std::fmt::Debug for Found {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Found").field(&self.place).finish()
    }
}

impl std::fmt::Debug for Questions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.rows.fmt(f)
    }
}
