//! `/predict/…`: the formula's score and the models' forecasts of one response, of many, of a text, of a group.
//!
//! The score is arithmetic and always there. A forecast is what a model expects three months later; the two are told apart
//! by name and never mixed. Both are on record before they are answered.

use super::analytics::known_filters;
use super::{record_without_origin, told};
use crate::hseg::aggregate::{Aggregate, MEMBERS_MIN, Member};
use crate::hseg::anonymity::{Filters, Floor};
use crate::hseg::asking::{Asked, Forecast, Models, TextAnswer};
use crate::hseg::crisis::{Crisis, judge};
use crate::hseg::features;
use crate::hseg::keep::resources::{self, ANYWHERE, Resource};
use crate::hseg::keep::{case, organization, profile};
use crate::hseg::process::Told;
use crate::hseg::recommend::{Recommendation, recommend};
use crate::hseg::response::{RESPONSE_ID_BYTES_MAX, Response};
use crate::hseg::score::{Score, Tier};
use crate::hseg::survey::{Category, Domain, OPEN_ANSWER_BYTES_MAX};
use crate::hseg::text::TextRisk;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::{Extension, Json as Answer};
use ombud_api::access::Right;
use ombud_api::extract::{Json, Known};
use ombud_api::request::Origin;
use ombud_api::routes::decisions::IDEMPOTENCY_KEY;
use ombud_api::{Code, House, Refusal};
use ombud_core::Fault;
use ombud_ledger::{Kind, Subject};
use ombud_store::Role;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, HashSet};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

/// Responses in one batch.
const BATCH_MAX: usize = 1_000;
/// Who looks at a case of a response that belongs to no organization here, and how soon.
const CASE_ROLE: Role = Role::Operator;
const CASE_HOURS: i64 = 24;

/// One filled-in survey.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct IndividualWish {
    /// The caller's own name for it; kept only as a reference that nobody can read back.
    #[serde(default)]
    #[schema(min_length = 1, max_length = 200)]
    pub response_id: Option<String>,
    /// `Healthcare`, `University` or `Business`.
    // Without one it is told beside all else that is at fault.
    #[serde(default)]
    #[schema(required = true)]
    pub domain: String,
    /// `q1` to `q22`, each 1 to 4, 4 the healthiest; any may be missing.
    #[serde(default)]
    #[schema(value_type = Object, required = true)]
    pub survey_responses: Map<String, Value>,
    /// `q23` to `q25`, in the respondent's own words.
    #[serde(default)]
    #[schema(value_type = Option<Object>)]
    pub text_responses: Option<Map<String, Value>>,
    /// What they said of themselves; everything may be missing.
    #[serde(default)]
    #[schema(value_type = Option<Object>)]
    pub demographics: Option<Map<String, Value>>,
    /// How it was answered: `seconds`, `completion`, `attention_passed`, `straight_lining`.
    #[serde(default)]
    #[schema(value_type = Option<Object>)]
    pub response_quality: Option<Map<String, Value>>,
    /// The country whose help is shown, two letters; absent: help that is there everywhere.
    #[serde(default)]
    #[schema(min_length = 2, max_length = 2)]
    pub country: Option<String>,
}

/// Several filled-in surveys.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
// Another shape of the document has the name.
#[schema(as = RespondentsWish)]
pub struct BatchWish {
    #[schema(min_items = 1, max_items = 1000)]
    pub responses: Vec<IndividualWish>,
}

/// One text.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TextWish {
    #[schema(min_length = 1, max_length = 20000)]
    pub text: String,
    /// The country whose help is shown, two letters.
    #[serde(default)]
    #[schema(min_length = 2, max_length = 2)]
    pub country: Option<String>,
}

/// A group: predictions that the caller has, or an organization here with filters.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct GroupWish {
    /// Answers of `/predict/individual`, at least five.
    #[serde(default)]
    pub individual_predictions: Vec<GivenPrediction>,
    /// The kind of place; needed with `individual_predictions`.
    #[serde(default)]
    pub domain: Option<String>,
    /// An organization here, instead.
    #[serde(default)]
    pub organization_id: Option<String>,
    /// Values of the organization's drill-down, such as `{"department": "Nursing"}`.
    #[serde(default)]
    pub filters: BTreeMap<String, String>,
}

/// What is needed of an individual prediction; more may be there.
#[derive(Deserialize, ToSchema)]
pub struct GivenPrediction {
    /// By category, `"1"` to `"6"`.
    pub category_scores: BTreeMap<String, Option<f64>>,
}

/// What is said of one response.
#[derive(Debug, Serialize, ToSchema)]
pub struct IndividualView {
    pub response_id: String,
    /// The forecast's record; an outcome or an auditor names it.
    pub decision_id: String,
    /// The formula's score, 7 to 28.
    pub overall_hseg_score: f64,
    /// The formula's tier: `Crisis`, `At_Risk`, `Mixed`, `Safe` or `Thriving`.
    pub overall_risk_tier: String,
    /// The formula's score of each category, `"1"` to `"6"`, 1 to 4; null where nothing was answered.
    pub category_scores: BTreeMap<String, Option<f64>>,
    /// What the model expects three months later. Another thing than the score.
    pub forecast: ForecastView,
    /// 0 to 1: the forecast's probability, lowered where the answers show little care.
    pub confidence_score: f64,
    /// Absent without open answers.
    pub text_risk: Option<TextView>,
    pub contributing_factors: Vec<Factor>,
    pub recommendations: Vec<Recommendation>,
    pub crisis: CrisisView,
}

/// A forecast.
#[derive(Debug, Serialize, ToSchema)]
pub struct ForecastView {
    pub tier: String,
    pub probabilities: BTreeMap<String, f64>,
    /// The probability of the tier.
    pub confidence: f64,
    /// The tiers that hold the outcome at the promised coverage.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub prediction_set: Vec<String>,
}

/// What a text shows, by the model and by the curated words.
#[derive(Debug, Serialize, ToSchema)]
pub struct TextView {
    pub decision_id: String,
    /// The model's: `None`, `Low`, `Medium`, `High` or `Crisis`.
    pub level: String,
    pub confidence: f64,
    pub probabilities: BTreeMap<String, f64>,
    /// 0 to 1: how strongly distress is voiced, by the curated words.
    pub emotional_intensity: f64,
    /// The probability that each category is spoken of, by the model.
    pub category_signals: BTreeMap<String, f64>,
    /// Whether model and curated words agree about a crisis.
    pub agrees: bool,
    /// The words that carried the model's answer, strongest first.
    pub words: Vec<String>,
}

/// Something that moved the score or the forecast.
#[derive(Debug, Serialize, ToSchema)]
pub struct Factor {
    /// `score` or `forecast`.
    pub of: String,
    pub name: String,
    /// The same in a reader's words: the statement as it was asked, the category's title.
    pub title: String,
    /// In points of the overall score, or the model's own units.
    pub weight: f64,
    /// The answer, where there is one.
    pub value: Option<String>,
}

/// Whether somebody may be in danger, and where help is.
#[derive(Debug, Serialize, ToSchema)]
pub struct CrisisView {
    pub detected: bool,
    /// `urgent`: the curated words found it. `please_read`: only the model did, which takes too much for a crisis; a person
    /// should read it, and nobody need be alarmed. Absent when nothing was found.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub urgency: Option<String>,
    pub indicators: Vec<String>,
    /// Shown at once when something was detected, and beside a score or a forecast of tier Crisis or At_Risk; else empty.
    pub resources: Vec<Resource>,
    /// The review case that was opened.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub case_id: Option<String>,
}

/// What is said of several responses, in their order.
#[derive(Debug, Serialize, ToSchema)]
// Another shape of the document has the name.
#[schema(as = RespondentsView)]
pub struct BatchView {
    pub count: usize,
    pub results: Vec<IndividualView>,
}

/// What is said of one text.
#[derive(Debug, Serialize, ToSchema)]
pub struct CommunicationView {
    pub text_risk: TextView,
    pub crisis: CrisisView,
}

/// What is said of a group.
#[derive(Debug, Serialize, ToSchema)]
pub struct GroupView {
    /// The forecast's record; absent for a part of an organization, which no model is asked about.
    pub decision_id: Option<String>,
    /// At least so many people, in steps of the smallest group that may be told.
    pub respondents_at_least: usize,
    /// Whether more people may be meant than these, who are told only together with others.
    pub is_part: bool,
    pub overall_hseg_score: Option<f64>,
    pub overall_risk_tier: Option<String>,
    pub category_scores: BTreeMap<String, Option<f64>>,
    /// What the model expects of the whole organization.
    pub forecast: Option<ForecastView>,
    pub recommendations: Vec<Recommendation>,
}

/// The routes of this file.
pub fn router() -> OpenApiRouter<House> {
    OpenApiRouter::new()
        .routes(routes!(individual))
        .routes(routes!(batch))
        .routes(routes!(communication_risk))
        .routes(routes!(organizational))
}

/// Score one response and forecast its tier
#[utoipa::path(post, path = "/predict/individual", tag = "hseg", request_body = IndividualWish,
    responses((status = 200, description = "The score and the forecast, on record.", body = IndividualView)))]
async fn individual(
    State(house): State<House>,
    caller: Known,
    Extension(origin): Extension<Origin>,
    headers: HeaderMap,
    Json(wish): Json<IndividualWish>,
) -> Result<Answer<IndividualView>, Refusal> {
    refuse_idempotency_key(&headers)?;
    let models = Models::new(
        &house,
        &caller.tenant,
        &caller.principal,
        Some(&origin.request_id),
    );
    let (response, wish) = read(wish)?;
    let id = response_id(wish.response_id)?;
    let subject = Subject::new(id.clone());
    let text = match response.text() {
        None => None,
        Some(text) => {
            let answer = models.text(Some(subject.clone()), &text).await?;
            Some((text, answer))
        }
    };
    let asked = Asked {
        response: &response,
        employees: None,
        text: text.as_ref().map(|(_, answer)| answer),
        subject,
    };
    let forecast = models.individual(asked).await?;
    let country = wish.country;
    let view = view(&house, &caller, id, &response, text, forecast, country).await?;
    Ok(Answer(view))
}

/// Score many responses and forecast their tiers
#[utoipa::path(post, path = "/predict/batch/individual", tag = "hseg", request_body = BatchWish,
    responses((status = 200, description = "The scores and forecasts, in the order of the responses, all on record.", body = BatchView)))]
async fn batch(
    State(house): State<House>,
    caller: Known,
    Extension(origin): Extension<Origin>,
    headers: HeaderMap,
    Json(wish): Json<BatchWish>,
) -> Result<Answer<BatchView>, Refusal> {
    refuse_idempotency_key(&headers)?;
    let count = wish.responses.len();
    if count == 0 || count > BATCH_MAX {
        let detail = format!("{count} responses at once; 1 to {BATCH_MAX} may be sent");
        return Err(Refusal::new(Code::TooLarge, detail));
    }
    house.pay_for_rows(&caller, &origin, count - 1).await?;
    let principal = &caller.principal;
    let models = Models::new(&house, &caller.tenant, principal, Some(&origin.request_id));
    let mut read_in = Vec::with_capacity(count);
    let mut faults = ombud_core::Refusal::default();
    for (place, wish) in wish.responses.into_iter().enumerate() {
        match read(wish) {
            Ok((response, wish)) => {
                let id = response_id(wish.response_id)?;
                read_in.push((id, response, wish.country));
            }
            Err(wrong) => wrong.faults.into_iter().for_each(|mut fault| {
                fault.path = format!("responses.{place}.{}", fault.path);
                faults.add(fault);
            }),
        }
    }
    let read_in = faults.or(read_in)?;
    let texts: Vec<Option<String>> = read_in.iter().map(|(_, one, _)| one.text()).collect();
    let written = read_in.iter().zip(&texts);
    let written =
        written.filter_map(|((id, _, _), text)| Some((Subject::new(id.clone()), text.as_deref()?)));
    let written: Vec<(Subject, &str)> = written.collect();
    let mut answers = models.texts(&written).await?.into_iter();
    let texts: Vec<Option<(String, TextAnswer)>> = texts
        .into_iter()
        .map(|text| Some((text?, answers.next()?)))
        .collect();
    let asked = read_in
        .iter()
        .zip(&texts)
        .map(|((id, response, _), text)| Asked {
            response,
            employees: None,
            text: text.as_ref().map(|(_, answer)| answer),
            subject: Subject::new(id.clone()),
        });
    let forecasts = models.individuals(asked.collect()).await?;
    let mut results = Vec::with_capacity(count);
    for (((id, response, country), text), forecast) in read_in.into_iter().zip(texts).zip(forecasts)
    {
        let view = view(&house, &caller, id, &response, text, forecast, country).await?;
        results.push(view);
    }
    Ok(Answer(BatchView { count, results }))
}

/// Judge one text
#[utoipa::path(post, path = "/predict/communication_risk", tag = "hseg", request_body = TextWish,
    responses((status = 200, description = "What the text shows, on record.", body = CommunicationView)))]
async fn communication_risk(
    State(house): State<House>,
    caller: Known,
    Extension(origin): Extension<Origin>,
    headers: HeaderMap,
    Json(wish): Json<TextWish>,
) -> Result<Answer<CommunicationView>, Refusal> {
    refuse_idempotency_key(&headers)?;
    let TextWish { text, country } = wish;
    if text.trim().is_empty() || text.len() > OPEN_ANSWER_BYTES_MAX {
        let allowed = format!("a text of 1 to {OPEN_ANSWER_BYTES_MAX} bytes");
        return Err(Fault::new("text", "something else", allowed).into());
    }
    check_country(country.as_deref())?;
    let principal = &caller.principal;
    let models = Models::new(&house, &caller.tenant, principal, Some(&origin.request_id));
    let answer = models.text(None, &text).await?;
    let crisis = judge(answer.risk, &answer.reading);
    let decision = answer.decision;
    let text_risk = text_view(&answer, &crisis);
    let crisis = crisis_view(&house, &caller, crisis, false, Some(decision), country).await?;
    Ok(Answer(CommunicationView { text_risk, crisis }))
}

/// Score a group and forecast an organization's tier
#[utoipa::path(post, path = "/predict/organizational", tag = "hseg", request_body = GroupWish,
    responses((status = 200, description = "The group's score, and the organization's forecast, on record.", body = GroupView)))]
async fn organizational(
    State(house): State<House>,
    caller: Known,
    Extension(origin): Extension<Origin>,
    Json(wish): Json<GroupWish>,
) -> Result<Answer<GroupView>, Refusal> {
    let principal = &caller.principal;
    let models = Models::new(&house, &caller.tenant, principal, Some(&origin.request_id));
    match &wish.organization_id {
        Some(_) if !wish.individual_predictions.is_empty() => {
            let came = "individual_predictions beside it";
            Err(Fault::new("organization_id", came, "one of the two").into())
        }
        Some(id) => {
            caller.may(Right::SeeDecisions)?;
            let id = super::id_of(id, "organization_id")?;
            stored_group(&house, &caller, id, &wish.filters).await
        }
        None => given_group(&models, wish).await,
    }
    .map(Answer)
}

async fn stored_group(
    house: &House,
    caller: &Known,
    id: ombud_ledger::RecordId,
    filters: &Filters,
) -> Result<GroupView, Refusal> {
    let organization = organization::get(&house.store, &caller.tenant, id).await?;
    let profiles = profile::of(&house.store, &caller.tenant, id).await?;
    let newest = profiles
        .last()
        .and_then(|profile| Told::read(&profile.document));
    let newest = newest.ok_or_else(|| {
        super::conflict("nothing may be told of this organization yet: no campaign with enough answers was processed")
            .hint("POST /campaigns/{id}/process")
    })?;
    known_filters(&newest.release, filters)?;
    let group = newest.release.group(filters).ok_or_else(|| {
        let floor = newest.release.floor;
        super::conflict(format!("nothing may be told of this group: it, or what would be left, has fewer than {floor} people"))
    })?;
    let is_all = filters.is_empty();
    let forecast = newest.forecast.filter(|_| is_all);
    Ok(GroupView {
        decision_id: forecast.as_ref().map(|it| it.decision_id.clone()),
        respondents_at_least: group.people_at_least,
        is_part: group.is_part,
        overall_hseg_score: group.overall,
        overall_risk_tier: group.tier.map(|tier| tier.word().to_owned()),
        recommendations: recommend(organization.domain, &group.categories),
        category_scores: by_category(&group.categories),
        forecast: forecast.map(|it| ForecastView {
            tier: it.tier,
            probabilities: it.probabilities,
            confidence: it.confidence,
            prediction_set: it.prediction_set,
        }),
    })
}

async fn given_group(models: &Models, wish: GroupWish) -> Result<GroupView, Refusal> {
    let floor = Floor::new(MEMBERS_MIN).unwrap_or_default();
    let given = wish.individual_predictions;
    if !floor.admits(given.len()) {
        let came = format!("{} predictions", given.len());
        let allowed = format!("at least {}, or an organization_id", floor.get());
        return Err(Fault::new("individual_predictions", &came, allowed).into());
    }
    if given.len() > BATCH_MAX * 10 {
        let detail = format!(
            "{} predictions at once; at most {}",
            given.len(),
            BATCH_MAX * 10
        );
        return Err(Refusal::new(Code::TooLarge, detail));
    }
    let domain = wish.domain.as_deref().unwrap_or_default();
    let domain = Domain::parse(domain).ok_or_else(|| {
        let words = Domain::ALL.map(Domain::word).join(", ");
        Refusal::from(Fault::new("domain", domain, words))
    })?;
    let mut scores = Vec::with_capacity(given.len());
    for (place, one) in given.iter().enumerate() {
        scores.push(score_of(one, place)?);
    }
    let member = |score: &Score| Member {
        score: *score,
        text: None,
        reliability: 1.0,
    };
    let members: Vec<Member> = scores.iter().map(member).collect();
    let aggregate = Aggregate::of(domain, None, &members)
        .map_err(|few| Fault::new("individual_predictions", &few.to_string(), "more"))?;
    let name = format!("group of {} given predictions", scores.len());
    let forecast = models.organization(&name, &aggregate).await?;
    let categories =
        std::array::from_fn(|at| mean(scores.iter().filter_map(|one| one.categories[at])));
    let overall = mean(scores.iter().map(|one| one.overall));
    Ok(GroupView {
        decision_id: Some(forecast.decision.to_string()),
        respondents_at_least: scores.len() / floor.get() * floor.get(),
        is_part: false,
        overall_hseg_score: overall.map(told),
        overall_risk_tier: overall.map(|it| Tier::of(it).word().to_owned()),
        recommendations: recommend(domain, &categories),
        category_scores: by_category(&categories),
        forecast: Some(forecast_view(&forecast)),
    })
}

fn score_of(given: &GivenPrediction, place: usize) -> Result<Score, Refusal> {
    let at = |number: usize| {
        given
            .category_scores
            .get(&number.to_string())
            .copied()
            .flatten()
    };
    let categories = std::array::from_fn(|place| at(place + 1));
    let is_scale = |score: &Option<f64>| score.is_none_or(|score| (1.0..=4.0).contains(&score));
    let score = Score::of_categories(categories).filter(|_| categories.iter().all(is_scale));
    score.ok_or_else(|| {
        let path = format!("individual_predictions.{place}.category_scores");
        Fault::new(
            path,
            "something else",
            "scores from 1 to 4 under \"1\" to \"6\"",
        )
        .into()
    })
}

fn mean(values: impl Iterator<Item = f64>) -> Option<f64> {
    let (sum, number) = values.fold((0.0, 0.0), |(sum, number), value| {
        (sum + value, number + 1.0)
    });
    (number > 0.0).then(|| sum / number)
}

/// Whoever sends one believes that a retry is safe; these calls ask several models and may open a case, and are not.
fn refuse_idempotency_key(headers: &HeaderMap) -> Result<(), Refusal> {
    if headers.contains_key(IDEMPOTENCY_KEY) {
        return Err(Refusal::malformed("this call takes no Idempotency-Key")
            .hint("a retry is another forecast, on record beside the first"));
    }
    Ok(())
}

/// The response of a body, and what else the body says.
fn read(wish: IndividualWish) -> Result<(Response, IndividualWish), ombud_core::Refusal> {
    let response = Response::read(
        &wish.domain,
        &wish.survey_responses,
        wish.text_responses.as_ref(),
        wish.demographics.as_ref(),
        wish.response_quality.as_ref(),
    );
    let response = response.and_then(|response| response.must_be_rated().map(|()| response));
    let country = check_country(wish.country.as_deref());
    let others = [country, check_id(wish.response_id.as_deref())];
    let others = others.into_iter().filter_map(Result::err);
    match response {
        Ok(response) => {
            let mut faults = ombud_core::Refusal::default();
            others.for_each(|fault| faults.add(fault));
            faults.or((response, wish))
        }
        Err(mut faults) => {
            others.for_each(|fault| faults.add(fault));
            Err(faults)
        }
    }
}

/// A country by another name would be shown help of another place.
fn check_country(country: Option<&str>) -> Result<(), Fault> {
    match country {
        Some(code) if code.len() != 2 || !code.bytes().all(|byte| byte.is_ascii_alphabetic()) => {
            Err(Fault::new("country", code, "two letters, such as DE"))
        }
        _ => Ok(()),
    }
}

fn check_id(id: Option<&str>) -> Result<(), Fault> {
    let is_one =
        |id: &str| !id.is_empty() && id.len() <= RESPONSE_ID_BYTES_MAX && !id.contains('\0');
    if id.is_none_or(is_one) {
        return Ok(());
    }
    let allowed = format!("a text of 1 to {RESPONSE_ID_BYTES_MAX} bytes");
    Err(Fault::new("response_id", "something else", allowed))
}

fn response_id(given: Option<String>) -> Result<String, Refusal> {
    match given {
        None => Ok(crate::hseg::keep::random_id()?.to_string()),
        Some(id) => Ok(id),
    }
}

async fn view(
    house: &House,
    caller: &Known,
    id: String,
    response: &Response,
    text: Option<(String, TextAnswer)>,
    forecast: Forecast,
    country: Option<String>,
) -> Result<IndividualView, Refusal> {
    // A response without an answer was refused when it was read.
    let score =
        Score::of(&response.ratings).ok_or_else(|| Refusal::malformed("nothing was answered"))?;
    let judged = text
        .as_ref()
        .map(|(_, answer)| judge(answer.risk, &answer.reading));
    let text_risk = text.as_ref().zip(judged.as_ref());
    let text_risk = text_risk.map(|((_, answer), crisis)| text_view(answer, crisis));
    let crisis = judged.unwrap_or_default();
    let decision = Some(forecast.decision);
    let is_at_risk = score.tier.min(forecast.tier) <= Tier::AtRisk;
    Ok(IndividualView {
        response_id: id,
        decision_id: forecast.decision.to_string(),
        overall_hseg_score: told(score.overall),
        overall_risk_tier: score.tier.word().to_owned(),
        category_scores: by_category(&score.categories),
        confidence_score: confidence(response, &forecast),
        contributing_factors: factors(&score, &forecast, response.domain),
        recommendations: recommend(response.domain, &score.categories),
        forecast: forecast_view(&forecast),
        text_risk,
        crisis: crisis_view(house, caller, crisis, is_at_risk, decision, country).await?,
    })
}

/// The forecast's probability times how far the answers can be relied on.
fn confidence(response: &Response, forecast: &Forecast) -> f64 {
    let quality = response.quality.completed_from(&response.ratings);
    (forecast.confidence * quality.reliability()).clamp(0.0, 1.0)
}

fn by_category(scores: &[Option<f64>; 6]) -> BTreeMap<String, Option<f64>> {
    let line = |category: Category| {
        let score = scores[category.index()].map(told);
        (category.number().to_string(), score)
    };
    Category::ALL.into_iter().map(line).collect()
}

fn factors(score: &Score, forecast: &Forecast, domain: Domain) -> Vec<Factor> {
    const EACH_MAX: usize = 5;
    let losses = score.losses().into_iter().filter(|(_, loss)| *loss > 0.0);
    let losses = losses.take(EACH_MAX).map(|(category, loss)| Factor {
        of: "score".to_owned(),
        name: category.title().to_owned(),
        title: category.title().to_owned(),
        weight: -told(loss),
        value: score
            .category(category)
            .map(|score| told(score).to_string()),
    });
    let reasons = forecast.explanation.iter().flat_map(|it| &it.contributions);
    let reasons = reasons.take(EACH_MAX).map(|reason| Factor {
        of: "forecast".to_owned(),
        name: reason.feature.clone(),
        title: features::title(&reason.feature, domain).into_owned(),
        weight: reason.weight,
        value: reason.value.clone(),
    });
    losses.chain(reasons).collect()
}

fn forecast_view(forecast: &Forecast) -> ForecastView {
    ForecastView {
        tier: forecast.tier.word().to_owned(),
        probabilities: forecast.probabilities.clone(),
        confidence: forecast.confidence,
        prediction_set: forecast.set.clone(),
    }
}

fn risk_chances(answer: &TextAnswer) -> BTreeMap<String, f64> {
    let chance = |risk: TextRisk| (risk.word().to_owned(), answer.outputs.risk[risk.index()]);
    TextRisk::ALL.into_iter().map(chance).collect()
}

fn category_signals(answer: &TextAnswer) -> BTreeMap<String, f64> {
    let chance = |category: Category| {
        let chance = answer.outputs.signals[category.index()];
        (category.number().to_string(), chance)
    };
    Category::ALL.into_iter().map(chance).collect()
}

fn text_view(answer: &TextAnswer, crisis: &Crisis) -> TextView {
    const WORDS_MAX: usize = 8;
    const CRISIS_INTENSITY: f64 = 0.8;
    let words = answer.explanation.iter().flat_map(|it| &it.words);
    // What one of the nets takes for a crisis is not calm, whichever words it is said in.
    let intensity = match answer.risk {
        TextRisk::Crisis => answer.outputs.intensity.max(CRISIS_INTENSITY),
        _ => answer.outputs.intensity,
    };
    let mut seen = HashSet::new();
    let words = words.filter(|word| word.weight > 0.0 && seen.insert(word.text.to_lowercase()));
    TextView {
        decision_id: answer.decision.to_string(),
        level: answer.risk.word().to_owned(),
        confidence: answer.confidence,
        probabilities: risk_chances(answer),
        emotional_intensity: told(intensity),
        category_signals: category_signals(answer),
        agrees: crisis.agrees,
        words: words
            .take(WORDS_MAX)
            .map(|word| word.text.clone())
            .collect(),
    }
}

/// Shows where help is, and opens a review case, when something was detected; whoever is at risk is shown whom to talk to.
async fn crisis_view(
    house: &House,
    caller: &Known,
    crisis: Crisis,
    is_at_risk: bool,
    decision: Option<ombud_ledger::RecordId>,
    country: Option<String>,
) -> Result<CrisisView, Refusal> {
    let urgency = crisis.urgency();
    let resources = match urgency.is_some() || is_at_risk {
        true => help(house, caller, country).await?,
        false => Vec::new(),
    };
    let Some(urgency) = urgency else {
        return Ok(CrisisView {
            detected: false,
            urgency: None,
            indicators: crisis.indicators,
            resources,
            case_id: None,
        });
    };
    let new = case::NewCase {
        organization: None,
        campaign: None,
        decision,
        reasons: crisis.kinds.clone(),
        role: CASE_ROLE,
        hours: urgency.hours(CASE_HOURS),
    };
    let now = ombud_api::time::now_us();
    let id = case::open(&house.store, &caller.tenant, new, now).await?;
    let detail = json!({ "act": "case-opened", "case": id.to_string() });
    record_without_origin(
        house,
        &caller.tenant,
        Kind::Settings,
        Some(&caller.principal),
        detail,
    )
    .await?;
    Ok(CrisisView {
        detected: true,
        urgency: Some(urgency.word().to_owned()),
        indicators: crisis.indicators,
        resources,
        case_id: Some(id.to_string()),
    })
}

async fn help(
    house: &House,
    caller: &Known,
    country: Option<String>,
) -> Result<Vec<Resource>, Refusal> {
    let country = country.map(|code| code.to_ascii_uppercase());
    let country = country.unwrap_or_else(|| ANYWHERE.to_owned());
    Ok(resources::of(&house.store, &caller.tenant, &country).await?)
}

macro_rules! silent {
    ($($name:ident),*) => { $(impl std::fmt::Debug for $name {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str(concat!(stringify!($name), "(…)"))
        }
    })* };
}
silent!(
    IndividualWish,
    BatchWish,
    TextWish,
    GroupWish,
    GivenPrediction
);
