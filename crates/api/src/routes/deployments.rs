//! Deployments: which versions answer whom, and how that is changed.
//!
//! Every change names its reason; gates are checked below, and only an admin's `force` passes them, loudly.

use super::decisions::VersionWish;
use super::registry::environment;
use crate::access::Right;
use crate::extract::{Json, Known, Path};
use crate::house::House;
use crate::refusal::{Code, Refusal};
use crate::request::Origin;
use crate::time;
use axum::extract::State;
use axum::http::StatusCode;
use axum::{Extension, Json as Answer};
use ombud_core::{Fault, ModelName, Version};
use ombud_ops::perform::Ordered;
use ombud_ops::{DeployError, Force, Order};
use ombud_store::{Deployment, Recording, Role, Share};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

/// A version to be put to work.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct DeployWish {
    /// Its number, its label, an alias, or `latest`.
    pub version: VersionWish,
    /// This part of the traffic only, in percent; the rest stays.
    #[serde(default)]
    #[schema(value_type = Option<u8>, minimum = 1, maximum = 99)]
    pub canary: Option<f64>,
    /// It sees the same rows and answers nobody.
    #[serde(default)]
    pub shadow: bool,
    /// Why, in a person's words.
    #[schema(min_length = 1, max_length = 1000)]
    pub reason: String,
    /// Past its gates; an admin's alone, and told loudly.
    #[serde(default)]
    pub force: bool,
}

/// Why a canary or a shadow takes everybody.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PromoteWish {
    #[schema(min_length = 1, max_length = 1000)]
    pub reason: String,
    #[serde(default)]
    pub force: bool,
}

/// Why, and how far, a deployment goes back.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RollbackWish {
    /// Back to this version; absent: to what was before.
    #[serde(default)]
    pub to: Option<VersionWish>,
    #[schema(min_length = 1, max_length = 1000)]
    pub reason: String,
}

/// Whether answers wait for their records.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RecordWish {
    /// `before-answer` or `after`.
    pub record: String,
    #[schema(min_length = 1, max_length = 1000)]
    pub reason: String,
}

/// Why something ends.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct WithdrawWish {
    #[schema(min_length = 1, max_length = 1000)]
    pub reason: String,
}

/// A deployment.
#[derive(Debug, Serialize, ToSchema)]
pub struct DeploymentView {
    pub model: String,
    pub environment: String,
    /// Who answers, with their shares.
    pub active: Vec<ShareView>,
    /// Who answered before, kept warm.
    pub previous: Vec<ShareView>,
    /// Who sees the same rows and answers nobody.
    pub shadow: Option<u32>,
    /// How often it said what was answered, on this replica; absent without a shadow at work here.
    pub shadow_agreement: Option<AgreementView>,
    /// `before-answer` or `after`.
    pub record: String,
    /// Moves with every change.
    pub revision: i64,
    #[schema(format = DateTime)]
    pub changed_at: String,
    pub changed_by: String,
    pub reason: String,
    /// Whether this replica has it at hand.
    pub ready: bool,
}

/// What a shadow saw since it was put to work on this replica.
#[derive(Debug, Serialize, ToSchema)]
pub struct AgreementView {
    /// Rows it saw.
    pub rows: u64,
    /// Of them, those where its prediction was the one that was answered.
    pub same: u64,
}

/// A version's part of the traffic.
#[derive(Debug, Serialize, ToSchema)]
pub struct ShareView {
    pub version: u32,
    pub percent: u8,
}

/// Deployments, by model and environment.
#[derive(Debug, Serialize, ToSchema)]
pub struct DeploymentsView {
    pub deployments: Vec<DeploymentView>,
}

/// The routes of this file.
pub fn router() -> OpenApiRouter<House> {
    OpenApiRouter::new()
        .routes(routes!(list))
        .routes(routes!(deployment))
        .routes(routes!(deploy))
        .routes(routes!(promote))
        .routes(routes!(roll_back))
        .routes(routes!(record))
        .routes(routes!(withdraw))
}

/// List deployments
#[utoipa::path(get, path = "/api/v1/deployments", tag = "deployments", responses((status = 200, description = "Deployments, by model and environment.", body = DeploymentsView)))]
async fn list(
    State(house): State<House>,
    caller: Known,
) -> Result<Answer<DeploymentsView>, Refusal> {
    caller.may(Right::SeeModels)?;
    let all = house.registry.store.deployments(&caller.tenant).await?;
    let seen = all
        .into_iter()
        .filter(|deployment| caller.sees_in(&deployment.model, &deployment.environment));
    Ok(Answer(DeploymentsView {
        deployments: seen
            .map(|deployment| view(&house, &caller, deployment))
            .collect(),
    }))
}

/// A deployment
#[utoipa::path(get, path = "/api/v1/models/{name}/deployments/{environment}", tag = "deployments",
    params(("name" = String, Path, description = "The model's name."), ("environment" = String, Path, description = "`production`, `staging` or another.")),
    responses((status = 200, description = "The deployment.", body = DeploymentView)))]
async fn deployment(
    State(house): State<House>,
    caller: Known,
    Path((name, place)): Path<(ModelName, String)>,
) -> Result<Answer<DeploymentView>, Refusal> {
    let environment = environment(&place)?;
    caller.may_on(Right::SeeModels, &name, &environment)?;
    let found = house
        .registry
        .store
        .deployment(&caller.tenant, &name, &environment)
        .await?;
    let found = found.ok_or_else(|| {
        Refusal::new(
            Code::NotFound,
            format!("nothing of {name} is deployed to {environment}"),
        )
    })?;
    Ok(Answer(view(&house, &caller, found)))
}

/// Put a version to work: for everybody, for a part, or as a shadow
#[utoipa::path(post, path = "/api/v1/models/{name}/deployments/{environment}/deploy", tag = "deployments", request_body = DeployWish,
    params(("name" = String, Path, description = "The model's name."), ("environment" = String, Path, description = "`production`, `staging` or another.")),
    responses((status = 200, description = "The deployment as it is now.", body = DeploymentView)))]
async fn deploy(
    State(house): State<House>,
    caller: Known,
    Extension(origin): Extension<Origin>,
    Path((name, place)): Path<(ModelName, String)>,
    Json(wish): Json<DeployWish>,
) -> Result<Answer<DeploymentView>, Refusal> {
    let version = resolve(&house, &caller, &name, wish.version).await?;
    let order = match (wish.canary, wish.shadow) {
        (None, false) => Order::Deploy { version },
        (Some(percent), false) => Order::Canary {
            version,
            percent: percent_of(percent)?,
        },
        (None, true) => Order::Shadow {
            version: Some(version),
        },
        (Some(_), true) => {
            return Err(Fault::new("shadow", "true", "either `canary` or `shadow`").into());
        }
    };
    change(
        &house,
        &caller,
        &origin,
        name,
        &place,
        Wanted {
            order,
            reason: wish.reason,
            is_forced: wish.force,
        },
    )
    .await
}

/// Let the canary, or else the shadow, take everybody
#[utoipa::path(post, path = "/api/v1/models/{name}/deployments/{environment}/promote", tag = "deployments", request_body = PromoteWish,
    params(("name" = String, Path, description = "The model's name."), ("environment" = String, Path, description = "`production`, `staging` or another.")),
    responses((status = 200, description = "The deployment as it is now.", body = DeploymentView)))]
async fn promote(
    State(house): State<House>,
    caller: Known,
    Extension(origin): Extension<Origin>,
    Path((name, place)): Path<(ModelName, String)>,
    Json(wish): Json<PromoteWish>,
) -> Result<Answer<DeploymentView>, Refusal> {
    let wanted = Wanted {
        order: Order::Promote,
        reason: wish.reason,
        is_forced: wish.force,
    };
    change(&house, &caller, &origin, name, &place, wanted).await
}

/// Go back to what was before, or to a version
#[utoipa::path(post, path = "/api/v1/models/{name}/deployments/{environment}/rollback", tag = "deployments", request_body = RollbackWish,
    params(("name" = String, Path, description = "The model's name."), ("environment" = String, Path, description = "`production`, `staging` or another.")),
    responses((status = 200, description = "The deployment as it is now.", body = DeploymentView)))]
async fn roll_back(
    State(house): State<House>,
    caller: Known,
    Extension(origin): Extension<Origin>,
    Path((name, place)): Path<(ModelName, String)>,
    Json(wish): Json<RollbackWish>,
) -> Result<Answer<DeploymentView>, Refusal> {
    let to = match wish.to {
        Some(version) => Some(resolve(&house, &caller, &name, version).await?),
        None => None,
    };
    let wanted = Wanted {
        order: Order::Rollback { to },
        reason: wish.reason,
        is_forced: false,
    };
    change(&house, &caller, &origin, name, &place, wanted).await
}

/// Say whether answers wait for their records
#[utoipa::path(post, path = "/api/v1/models/{name}/deployments/{environment}/record", tag = "deployments", request_body = RecordWish,
    params(("name" = String, Path, description = "The model's name."), ("environment" = String, Path, description = "`production`, `staging` or another.")),
    responses((status = 200, description = "The deployment as it is now.", body = DeploymentView)))]
async fn record(
    State(house): State<House>,
    caller: Known,
    Extension(origin): Extension<Origin>,
    Path((name, place)): Path<(ModelName, String)>,
    Json(wish): Json<RecordWish>,
) -> Result<Answer<DeploymentView>, Refusal> {
    let recording: Recording = wish
        .record
        .parse()
        .map_err(|_| Refusal::from(Fault::new("record", &wish.record, "before-answer or after")))?;
    let wanted = Wanted {
        order: Order::Record { recording },
        reason: wish.reason,
        is_forced: false,
    };
    change(&house, &caller, &origin, name, &place, wanted).await
}

/// Take a model out of an environment
#[utoipa::path(post, path = "/api/v1/models/{name}/deployments/{environment}/withdraw", tag = "deployments", request_body = WithdrawWish,
    params(("name" = String, Path, description = "The model's name."), ("environment" = String, Path, description = "`production`, `staging` or another.")),
    responses((status = 204, description = "Nothing of it is deployed there.")))]
async fn withdraw(
    State(house): State<House>,
    caller: Known,
    Extension(origin): Extension<Origin>,
    Path((name, place)): Path<(ModelName, String)>,
    Json(wish): Json<WithdrawWish>,
) -> Result<StatusCode, Refusal> {
    let environment = environment(&place)?;
    caller.may_on(Right::Deploy, &name, &environment)?;
    reasoned(&wish.reason)?;
    house
        .ops
        .withdraw(
            &caller.tenant,
            &origin.caller(&caller),
            &name,
            &environment,
            &wish.reason,
        )
        .await?;
    Ok(StatusCode::NO_CONTENT)
}

/// What somebody wants of a deployment, and why.
struct Wanted {
    order: Order,
    reason: String,
    is_forced: bool,
}

async fn change(
    house: &House,
    caller: &Known,
    origin: &Origin,
    model: ModelName,
    place: &str,
    wanted: Wanted,
) -> Result<Answer<DeploymentView>, Refusal> {
    let environment = environment(place)?;
    caller.may_on(Right::Deploy, &model, &environment)?;
    reasoned(&wanted.reason)?;
    let force = if wanted.is_forced {
        caller.may(Right::ForceDeploy)?;
        Some(Force::new(Role::Admin, &wanted.reason)?)
    } else {
        None
    };
    let ordered = Ordered {
        model,
        environment,
        order: wanted.order,
        reason: wanted.reason,
        force,
    };
    let made = house
        .ops
        .change(&caller.tenant, &origin.caller(caller), ordered)
        .await?;
    Ok(Answer(view(house, caller, made)))
}

async fn resolve(
    house: &House,
    caller: &Known,
    model: &ModelName,
    version: VersionWish,
) -> Result<Version, Refusal> {
    let text = match version {
        VersionWish::Number(number) => number.to_string(),
        VersionWish::Text(text) => text,
    };
    caller.may_about(Right::Deploy, model)?;
    Ok(house
        .registry
        .store
        .resolve(&caller.tenant, model, &text)
        .await?
        .version)
}

/// A canary's part of the traffic, in whole percents.
fn percent_of(came: f64) -> Result<u8, Refusal> {
    if came.fract() == 0.0 && (1.0..=99.0).contains(&came) {
        return Ok(came as u8);
    }
    Err(Fault::new("canary", &came.to_string(), "a whole number from 1 to 99").into())
}

fn reasoned(reason: &str) -> Result<(), Refusal> {
    if reason.trim().is_empty() {
        return Err(Fault::new("reason", reason, "why, in a person's words").into());
    }
    Ok(())
}

fn view(house: &House, caller: &Known, deployment: Deployment) -> DeploymentView {
    let shares = |shares: &[Share]| {
        shares
            .iter()
            .map(|share| ShareView {
                version: share.version.get(),
                percent: share.percent,
            })
            .collect()
    };
    let live = house
        .ops
        .routing()
        .live(&caller.tenant, &deployment.model, &deployment.environment);
    let agreement = live.as_ref().ok().and_then(|live| {
        let counts = live
            .version(deployment.traffic.shadow()?)?
            .counters
            .counts();
        Some(AgreementView {
            rows: counts.shadowed,
            same: counts.shadowed.saturating_sub(counts.shadow_differs),
        })
    });
    DeploymentView {
        shadow_agreement: agreement,
        ready: live.is_ok_and(|live| live.deployment.revision >= deployment.revision),
        model: deployment.model.to_string(),
        environment: deployment.environment.to_string(),
        active: shares(deployment.traffic.active()),
        previous: shares(deployment.traffic.previous()),
        shadow: deployment.traffic.shadow().map(Version::get),
        record: deployment.recording.to_string(),
        revision: deployment.revision,
        changed_at: time::text(deployment.changed_us),
        changed_by: deployment.changed_by,
        reason: deployment.reason,
    }
}

impl From<DeployError> for Refusal {
    fn from(error: DeployError) -> Self {
        match &error {
            DeployError::GateFailed { .. } => Refusal::new(Code::GateFailed, error.to_string())
                .hint(
                    "train a better version, or let an admin deploy it with `force` and a reason",
                ),
            DeployError::NeverServed { .. } => Refusal::of_class(error.class(), &error)
                .hint("`deploy` puts it to work there, through its gates"),
            _ => Refusal::of_class(error.class(), &error),
        }
    }
}
