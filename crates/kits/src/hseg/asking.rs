//! Asks the kit's models, through the house: routed, recorded, answered.
//!
//! What a model is given is made where training makes its tables ([`Features`], [`Aggregate`]), so that the two cannot part
//! ways; of that, a model gets what its own schema names, so that one that is trained anew on fewer columns is asked
//! rightly without a change here. Respondents' addresses and programs are never handed on, so no record has them.

use super::aggregate::Aggregate;
use super::features::{Features, TextOutputs};
use super::lexicon::{Lexicon, Reading};
use super::reading::Reader;
use super::recipes;
use super::response::Response;
use super::score::Tier;
use super::survey::Category;
use super::text::TextRisk;
use ombud_api::{House, Refusal};
use ombud_core::schema::Schema;
use ombud_core::{Explanation, ModelName};
use ombud_ledger::{Clear, RecordId, Subject, Tenant};
use ombud_ops::{Ask, Batch, BatchRow, Decision, Warm};
use ombud_store::Environment;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;

/// The feature of the text models.
const TEXT_FEATURE: &str = "text";

/// Who asks, and whose data it is.
#[derive(Debug, Clone)]
pub struct Models {
    house: House,
    tenant: Tenant,
    caller: ombud_ops::Caller,
}

/// Whether an answer's reasons are wanted; they take longer than the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reasons {
    Told,
    Left,
}

/// What both nets made of a text: the models, and the words that people listed.
#[derive(Debug, Clone, PartialEq)]
pub struct TextAnswer {
    pub decision: RecordId,
    pub risk: TextRisk,
    pub confidence: f64,
    pub outputs: TextOutputs,
    pub reading: Reading,
    pub explanation: Option<Explanation>,
}

/// What a model forecasts of tiers.
#[derive(Debug, Clone, PartialEq)]
pub struct Forecast {
    pub decision: RecordId,
    pub tier: Tier,
    pub confidence: f64,
    pub probabilities: BTreeMap<String, f64>,
    pub set: Vec<String>,
    pub explanation: Option<Explanation>,
}

/// The share of people who will have left, with its interval.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Turnover {
    pub decision: RecordId,
    pub share: f64,
    pub interval: Option<(f64, f64)>,
}

/// One response on its way to the individual model.
#[derive(Debug, Clone)]
pub struct Asked<'a> {
    pub response: &'a Response,
    pub employees: Option<u32>,
    pub text: Option<&'a TextAnswer>,
    /// The response's own name, so that what is recorded of it can be erased.
    pub subject: Subject,
}

/// The models that read the answers of a campaign, without a record of each.
///
/// A record of a respondent's forecast, with its time, is what anonymity rules out, and none is needed: what these models
/// say of one person never leaves the process; it goes into sums, of which only a release is told. What is recorded is the
/// campaign: which versions read it, and a digest over all that they read.
#[derive(Debug)]
pub struct Panel {
    risk: Arc<Warm>,
    signals: Arc<Warm>,
    individual: Arc<Warm>,
}

impl Asked<'_> {
    fn row(&self) -> Value {
        let text = self.text.map(|text| &text.outputs);
        row(self.response, self.employees, text)
    }
}

impl Models {
    pub fn new(house: &House, tenant: &Tenant, principal: &str, request_id: Option<&str>) -> Self {
        Models {
            house: house.clone(),
            tenant: tenant.clone(),
            caller: ombud_ops::Caller {
                principal: principal.to_owned(),
                ip: None,
                user_agent: None,
                request_id: request_id.map(str::to_owned),
            },
        }
    }

    /// Whether a model answers here.
    pub fn is_at_work(&self, model: &str) -> bool {
        self.schema(model).is_ok()
    }

    /// One text, with the words that carried the answer.
    pub async fn text(&self, subject: Option<Subject>, text: &str) -> Result<TextAnswer, Refusal> {
        let input = json!({ TEXT_FEATURE: text });
        // Together, so that both records are made durable by one commit.
        let (risk, signals) = tokio::try_join!(
            self.one(recipes::TEXT.name, subject.clone(), &input, Reasons::Told),
            self.one(recipes::SIGNALS.name, subject, &input, Reasons::Left),
        )?;
        text_answer(text, risk, &signals)
    }

    /// Many texts, without explanations.
    pub async fn texts(&self, rows: &[(Subject, &str)]) -> Result<Vec<TextAnswer>, Refusal> {
        if rows.is_empty() {
            return Ok(Vec::new());
        }
        let asked = || {
            let row = |(subject, text): &(Subject, &str)| {
                (Some(subject.clone()), json!({ TEXT_FEATURE: text }))
            };
            rows.iter().map(row).collect()
        };
        let (risks, signals) = tokio::try_join!(
            self.many(recipes::TEXT.name, asked()),
            self.many(recipes::SIGNALS.name, asked()),
        )?;
        let answers = rows.iter().zip(risks).zip(&signals);
        answers
            .map(|(((_, text), risk), signals)| text_answer(text, risk, signals))
            .collect()
    }

    /// One person's forecast, with what carried it.
    pub async fn individual(&self, asked: Asked<'_>) -> Result<Forecast, Refusal> {
        let schema = self.schema(recipes::INDIVIDUAL.name)?;
        let input = input(&schema, asked.row());
        let subject = Some(asked.subject);
        let model = recipes::INDIVIDUAL.name;
        forecast(self.one(model, subject, &input, Reasons::Told).await?)
    }

    /// Many people's forecasts.
    pub async fn individuals(&self, rows: Vec<Asked<'_>>) -> Result<Vec<Forecast>, Refusal> {
        if rows.is_empty() {
            return Ok(Vec::new());
        }
        let schema = self.schema(recipes::INDIVIDUAL.name)?;
        let row = |asked: Asked<'_>| {
            let input = input(&schema, asked.row());
            (Some(asked.subject), input)
        };
        let rows = rows.into_iter().map(row).collect();
        let decisions = self.many(recipes::INDIVIDUAL.name, rows).await?;
        decisions.into_iter().map(forecast).collect()
    }

    /// An organization's forecast.
    pub async fn organization(
        &self,
        subject: &str,
        aggregate: &Aggregate,
    ) -> Result<Forecast, Refusal> {
        let model = recipes::ORGANIZATION.name;
        let schema = self.schema(model)?;
        let input = input(&schema, aggregate.row());
        let subject = Some(Subject::new(subject.to_owned()));
        forecast(self.one(model, subject, &input, Reasons::Left).await?)
    }

    /// The share of an organization's people who will have left.
    pub async fn turnover(
        &self,
        subject: &str,
        aggregate: &Aggregate,
    ) -> Result<Turnover, Refusal> {
        let model = recipes::TURNOVER.name;
        let schema = self.schema(model)?;
        let input = input(&schema, aggregate.row());
        let subject = Some(Subject::new(subject.to_owned()));
        let decision = self.one(model, subject, &input, Reasons::Left).await?;
        let share = decision.answer.prediction.as_f64().ok_or_else(unreadable)?;
        Ok(Turnover {
            decision: decision.id,
            share: share.clamp(0.0, 1.0),
            interval: decision.answer.interval,
        })
    }

    async fn one(
        &self,
        model: &str,
        subject: Option<Subject>,
        input: &Value,
        reasons: Reasons,
    ) -> Result<Decision, Refusal> {
        let ask = Ask {
            model: name(model)?,
            environment: Environment::production(),
            version: None,
            subject,
            input: Clear::new(input.to_string().into_bytes()),
            explain: reasons == Reasons::Told,
            use_cache: false,
            idempotency_key: None,
        };
        let decided = self.house.ops.decide(&self.tenant, &self.caller, ask).await;
        decided.map_err(missing)
    }

    async fn many(
        &self,
        model: &str,
        rows: Vec<(Option<Subject>, Value)>,
    ) -> Result<Vec<Decision>, Refusal> {
        let row = |(subject, input): (Option<Subject>, Value)| BatchRow {
            subject,
            input: Clear::new(input.to_string().into_bytes()),
        };
        let batch = Batch {
            model: name(model)?,
            environment: Environment::production(),
            version: None,
            rows: rows.into_iter().map(row).collect(),
            explain: false,
        };
        let decided = self
            .house
            .ops
            .decide_batch(&self.tenant, &self.caller, batch)
            .await?;
        decided
            .into_iter()
            .map(|decision| decision.map_err(missing))
            .collect()
    }

    /// The models that read a campaign's answers.
    pub fn panel(&self) -> Result<Panel, Refusal> {
        Ok(Panel {
            risk: self.at_work(recipes::TEXT.name)?,
            signals: self.at_work(recipes::SIGNALS.name)?,
            individual: self.at_work(recipes::INDIVIDUAL.name)?,
        })
    }

    /// The schema of the version that answers.
    fn schema(&self, model: &str) -> Result<Arc<Schema>, Refusal> {
        Ok(Arc::clone(self.at_work(model)?.model.schema()))
    }

    /// The version that answers.
    fn at_work(&self, model: &str) -> Result<Arc<Warm>, Refusal> {
        let environment = Environment::production();
        let routing = self.house.ops.routing();
        let live = routing
            .live(&self.tenant, &name(model)?, &environment)
            .map_err(missing)?;
        let active = live.deployment.traffic.active().first();
        let warm = active.and_then(|share| live.version(share.version));
        let warm =
            warm.ok_or_else(|| Refusal::malformed(format!("{model} has no version at work")))?;
        Ok(Arc::clone(warm))
    }
}

impl Panel {
    /// Both nets for texts.
    pub fn reader(&self) -> Result<Reader<'_>, Refusal> {
        let (risk, signals) = (&self.risk.model, &self.signals.model);
        Reader::new(risk, signals, Lexicon::shipped()).map_err(|_| unreadable())
    }

    /// The tier that is forecast of one person.
    pub fn forecast(
        &self,
        response: &Response,
        employees: Option<u32>,
        text: Option<&TextOutputs>,
    ) -> Result<Tier, Refusal> {
        let model = &self.individual.model;
        let input = input(model.schema(), row(response, employees, text));
        let answer = model.predict(&model.parser().parse_value(&input)?);
        Tier::parse(&model.name_of(&answer)).ok_or_else(unreadable)
    }

    /// Which versions they are, for the campaign's record.
    pub fn named(&self) -> Value {
        let named = |warm: &Arc<Warm>| {
            let it = &warm.registered;
            json!({ "model": it.model.as_str(), "version": it.version.get(), "bundle": it.digest.to_string() })
        };
        [&self.risk, &self.signals, &self.individual]
            .map(named)
            .into_iter()
            .collect()
    }
}

/// Everything that is known of a response, as training knows it.
fn row(response: &Response, employees: Option<u32>, text: Option<&TextOutputs>) -> Value {
    let features = Features {
        domain: response.domain,
        employees,
        ratings: &response.ratings,
        demographics: &response.demographics,
        quality: &response.quality.completed_from(&response.ratings),
        text,
    };
    features.row()
}

/// What a schema names of what is known.
fn input(schema: &Schema, mut known: Value) -> Value {
    if let Value::Object(known) = &mut known {
        known.retain(|name, _| schema.position(name).is_some());
    }
    known
}

fn text_answer(text: &str, risk: Decision, signals: &Decision) -> Result<TextAnswer, Refusal> {
    let reading = Lexicon::shipped().read(text);
    let mut outputs = TextOutputs {
        risk: [0.0; 5],
        signals: [0.0; 6],
        intensity: reading.intensity,
        is_crisis_by_lexicon: reading.is_crisis,
    };
    for (class, chance) in &risk.answer.probabilities {
        let risk = TextRisk::of_class(class).ok_or_else(unreadable)?;
        outputs.risk[risk.index()] = *chance;
    }
    for (label, chance) in &signals.answer.probabilities {
        let category = Category::parse(label).ok_or_else(unreadable)?;
        outputs.signals[category.index()] = *chance;
    }
    let class = risk.answer.prediction.as_str().and_then(TextRisk::of_class);
    Ok(TextAnswer {
        decision: risk.id,
        risk: class.ok_or_else(unreadable)?,
        confidence: risk.answer.confidence.unwrap_or_default(),
        outputs,
        reading,
        explanation: risk.explanation,
    })
}

fn forecast(decision: Decision) -> Result<Forecast, Refusal> {
    let answer = decision.answer;
    let tier = answer.prediction.as_str().and_then(Tier::parse);
    Ok(Forecast {
        decision: decision.id,
        tier: tier.ok_or_else(unreadable)?,
        confidence: answer.confidence.unwrap_or_default(),
        probabilities: answer.probabilities,
        set: answer.set,
        explanation: decision.explanation,
    })
}

/// A model under the kit's name that answers something else.
fn unreadable() -> Refusal {
    Refusal::new(
        ombud_api::Code::Unsupported,
        "the deployed model does not answer in this kit's words",
    )
    .hint("deploy a model that was trained by the kit's recipe")
}

fn missing(error: ombud_ops::Error) -> Refusal {
    let is_missing = matches!(error, ombud_ops::Error::NotDeployed { .. });
    let refusal = Refusal::from(error);
    match is_missing {
        true => refusal
            .hint("train and deploy the kit's models, for example with `ombud kit hseg demo`"),
        false => refusal,
    }
}

fn name(model: &str) -> Result<ModelName, Refusal> {
    ModelName::new(model).map_err(|error| Refusal::internal(&error))
}
