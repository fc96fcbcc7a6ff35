//! `/scoring/info`, `/models/info`, `/models/reload`, `/pipeline/status`: how scores are made, and what is at work.

use crate::hseg::keep::campaign;
use crate::hseg::process::KIND;
use crate::hseg::recipes;
use crate::hseg::score::{OVERALL_MAX, OVERALL_MIN, Tier};
use crate::hseg::survey::{Category, Framing, STATEMENTS};
use axum::Json as Answer;
use axum::extract::State;
use ombud_api::extract::Known;
use ombud_api::time::text;
use ombud_api::{House, Refusal};
use ombud_core::ModelName;
use ombud_ledger::Tenant;
use ombud_store::Environment;
use serde::Serialize;
use std::collections::BTreeMap;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

/// Jobs that are listed.
const JOBS_LISTED: usize = 20;

/// How a score is made.
#[derive(Debug, Serialize, ToSchema)]
pub struct ScoringView {
    pub formula: String,
    pub overall_min: f64,
    pub overall_max: f64,
    pub categories: Vec<CategoryView>,
    pub tiers: Vec<TierView>,
    /// What a score is and what a forecast is.
    pub meaning: String,
}

/// A category.
#[derive(Debug, Serialize, ToSchema)]
pub struct CategoryView {
    pub number: usize,
    pub name: String,
    pub weight: f64,
    pub questions: Vec<String>,
    /// The questions whose agreement is turned around before it is a rating.
    pub reversed: Vec<String>,
}

/// A tier.
#[derive(Debug, Serialize, ToSchema)]
pub struct TierView {
    pub name: String,
    /// The highest score of the tier; the last has none.
    pub up_to: Option<f64>,
}

/// The kit's models.
#[derive(Debug, Serialize, ToSchema)]
// Another shape of the document has the name.
#[schema(as = NetsView)]
pub struct ModelsView {
    pub models: Vec<NetView>,
}

/// A model of the kit.
#[derive(Debug, Serialize, ToSchema)]
pub struct NetView {
    pub name: String,
    pub is_deployed: bool,
    pub version: Option<u32>,
    pub label: Option<String>,
    pub digest: Option<String>,
    pub features: Vec<String>,
    /// What was measured when it was trained.
    pub metrics: BTreeMap<String, f64>,
    #[schema(format = DateTime)]
    pub deployed_at: Option<String>,
}

/// What is under way.
#[derive(Debug, Serialize, ToSchema)]
pub struct PipelineView {
    /// `ready` when every model is deployed, else `incomplete`.
    pub status: String,
    pub missing_models: Vec<String>,
    /// How many campaigns are in each state.
    pub campaigns: BTreeMap<String, i64>,
    /// Newest first.
    pub jobs: Vec<JobView>,
}

/// A job.
#[derive(Debug, Serialize, ToSchema)]
// Another shape of the document has the name.
#[schema(as = PipelineJobView)]
pub struct JobView {
    pub id: String,
    pub state: String,
    pub done: u64,
    pub total: Option<u64>,
    pub message: String,
    #[schema(format = DateTime)]
    pub created_at: String,
    #[schema(format = DateTime)]
    pub ended_at: Option<String>,
}

/// The routes of this file.
pub fn router() -> OpenApiRouter<House> {
    OpenApiRouter::new()
        .routes(routes!(scoring))
        .routes(routes!(models))
        .routes(routes!(reload))
        .routes(routes!(pipeline))
}

/// How a score is made
#[utoipa::path(get, path = "/scoring/info", tag = "hseg", operation_id = "scoring_info", responses((status = 200, description = "The formula, its weights and tiers.", body = ScoringView)))]
async fn scoring(_caller: Known) -> Answer<ScoringView> {
    Answer(scoring_view())
}

/// The kit's models, as they are at work
#[utoipa::path(get, path = "/models/info", tag = "hseg", operation_id = "models_info", responses((status = 200, description = "The three models.", body = ModelsView)))]
async fn models(State(house): State<House>, caller: Known) -> Result<Answer<ModelsView>, Refusal> {
    Ok(Answer(models_of(&house, &caller.tenant)))
}

/// Look for newly deployed versions at once
#[utoipa::path(post, path = "/models/reload", tag = "hseg", operation_id = "reload_models", responses((status = 200, description = "The models, as they are at work now.", body = ModelsView)))]
async fn reload(State(house): State<House>, caller: Known) -> Result<Answer<ModelsView>, Refusal> {
    house.ops.tick().await?;
    Ok(Answer(models_of(&house, &caller.tenant)))
}

/// What is deployed, gathered and under way
#[utoipa::path(get, path = "/pipeline/status", tag = "hseg", operation_id = "pipeline_status", responses((status = 200, description = "Models, campaigns and jobs.", body = PipelineView)))]
async fn pipeline(
    State(house): State<House>,
    caller: Known,
) -> Result<Answer<PipelineView>, Refusal> {
    let models = models_of(&house, &caller.tenant).models;
    let missing = models.into_iter().filter(|model| !model.is_deployed);
    let missing_models: Vec<String> = missing.map(|model| model.name).collect();
    let counts = campaign::counts(&house.store, &caller.tenant).await?;
    let jobs = house.store.jobs(&caller.tenant, None, JOBS_LISTED).await?;
    let ours = jobs.items.into_iter().filter(|job| job.kind == KIND);
    let status = if missing_models.is_empty() {
        "ready"
    } else {
        "incomplete"
    };
    Ok(Answer(PipelineView {
        status: status.to_owned(),
        missing_models,
        campaigns: counts
            .into_iter()
            .map(|(state, number)| (state.to_string(), number))
            .collect(),
        jobs: ours
            .map(|job| JobView {
                id: job.id.to_string(),
                state: job.state.to_string(),
                done: job.done,
                total: job.total,
                message: job.message,
                created_at: text(job.created_us),
                ended_at: job.ended_us.map(text),
            })
            .collect(),
    }))
}

fn scoring_view() -> ScoringView {
    let category = |category: Category| {
        let names = |only_reversed: bool| {
            let statements = category.questions().map(|at| &STATEMENTS[at]);
            let wanted = statements.filter(|it| !only_reversed || it.framing == Framing::Negative);
            wanted.map(|it| it.name.to_owned()).collect()
        };
        CategoryView {
            number: category.number(),
            name: category.title().to_owned(),
            weight: category.weight(),
            questions: names(false),
            reversed: names(true),
        }
    };
    let tier = |tier: Tier| TierView {
        name: tier.word().to_owned(),
        up_to: tier.limit(),
    };
    ScoringView {
        formula: "7 × Σ(weight × category) / Σ weight, over the categories with an answer; a category is the mean of its answered questions"
            .to_owned(),
        overall_min: OVERALL_MIN,
        overall_max: OVERALL_MAX,
        categories: Category::ALL.into_iter().map(category).collect(),
        tiers: Tier::ALL.into_iter().map(tier).collect(),
        meaning: "A score says how somebody answered. A forecast says what a model expects three months later. Neither is a finding about anybody's health."
            .to_owned(),
    }
}

fn models_of(house: &House, tenant: &Tenant) -> ModelsView {
    ModelsView {
        models: recipes::ALL
            .iter()
            .map(|shipped| model_of(house, tenant, shipped.name))
            .collect(),
    }
}

fn model_of(house: &House, tenant: &Tenant, name: &str) -> NetView {
    let absent = NetView {
        name: name.to_owned(),
        is_deployed: false,
        version: None,
        label: None,
        digest: None,
        features: Vec::new(),
        metrics: BTreeMap::new(),
        deployed_at: None,
    };
    let Ok(model) = ModelName::new(name) else {
        return absent;
    };
    let environment = Environment::production();
    let live = house.ops.routing().live(tenant, &model, &environment);
    let Ok(live) = live else { return absent };
    let share = live.deployment.traffic.active().first();
    let Some(warm) = share.and_then(|share| live.version(share.version)) else {
        return absent;
    };
    let features = warm.model.schema().features().iter();
    let metrics = warm.model.manifest().metrics.iter();
    NetView {
        is_deployed: true,
        version: Some(warm.registered.version.get()),
        label: Some(warm.registered.label.to_string()),
        digest: Some(warm.registered.digest.to_string()),
        features: features.map(|feature| feature.name.clone()).collect(),
        metrics: metrics
            .map(|(name, metric)| (name.clone(), metric.value))
            .collect(),
        deployed_at: Some(text(live.deployment.changed_us)),
        ..absent
    }
}
