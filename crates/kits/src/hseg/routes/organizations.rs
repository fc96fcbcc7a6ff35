//! `/organizations`: who is assessed, and how they stood over time.

use super::{conflict, id_of, record, told};
use crate::hseg::anonymity::noise::{Budget, Loss};
use crate::hseg::anonymity::{FLOOR_DEFAULT, FLOOR_MAX, FLOOR_MIN, Floor};
use crate::hseg::benchmark::{median, percentile};
use crate::hseg::keep::resources::ANYWHERE;
use crate::hseg::keep::{Organization, Profile, campaign, organization, profile, random_id};
use crate::hseg::process::{Told, told_bands};
use crate::hseg::response::DIMENSIONS;
use crate::hseg::survey::{Category, Domain};
use axum::extract::State;
use axum::http::StatusCode;
use axum::{Extension, Json as Answer};
use ombud_api::extract::{Json, Known, Path};
use ombud_api::request::Origin;
use ombud_api::time::{now_us, text};
use ombud_api::{House, Refusal};
use ombud_core::Fault;
use ombud_core::nearest::nearest;
use ombud_ledger::{RecordId, Tenant};
use ombud_store::Role;
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::collections::BTreeMap;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

/// What can be asked for where nobody says.
const DRILL_DOWN: [&str; 2] = ["department", "position_level"];
/// Dimensions that may be asked for at once; with more, cells are too many to be large.
const DRILL_DOWN_MAX: usize = 4;
const CASE_HOURS: i64 = 24;
const CASE_HOURS_MAX: i64 = 24 * 14;

/// An organization to be assessed.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct OrganizationWish {
    #[schema(min_length = 1, max_length = 200)]
    pub name: String,
    /// `Healthcare`, `University` or `Business`.
    pub domain: String,
    /// Two letters (ISO 3166): whose help is shown to people in distress.
    #[serde(default)]
    #[schema(min_length = 2, max_length = 2)]
    pub country: Option<String>,
    /// How many people work there; the organization's forecast uses it.
    #[serde(default)]
    #[schema(minimum = 1)]
    pub employees: Option<u32>,
    /// The smallest group that is ever told of. Default: 5; never below 3.
    #[serde(default)]
    #[schema(minimum = 3, maximum = 100)]
    pub group_floor: Option<usize>,
    /// Demographics that groups can be asked for by, the most wanted first. Default: department, position_level.
    #[serde(default)]
    #[schema(max_items = 4)]
    pub drill_down: Option<Vec<String>>,
    /// The role whose people look at review cases. Default: operator.
    #[serde(default)]
    pub case_role: Option<String>,
    /// Within how many hours somebody must have acknowledged a case. Default: 24.
    #[serde(default)]
    #[schema(minimum = 1, maximum = 336)]
    pub case_hours: Option<i64>,
    /// Noise on everything that is told, and the budget that it may spend; absent: none.
    #[serde(default)]
    pub noise: Option<NoiseWish>,
}

/// Laplace noise on what is told.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NoiseWish {
    /// The privacy loss, as epsilon, that all campaigns together may cost.
    pub epsilon_total: f64,
    /// What one campaign costs.
    pub epsilon_per_campaign: f64,
}

/// An organization.
#[derive(Debug, Serialize, ToSchema)]
pub struct OrganizationView {
    pub id: String,
    pub name: String,
    pub domain: String,
    pub country: String,
    pub employees: Option<u32>,
    pub group_floor: usize,
    pub drill_down: Vec<String>,
    pub case_role: String,
    pub case_hours: i64,
    pub noise: Option<NoiseView>,
    #[schema(format = DateTime)]
    pub created_at: String,
}

/// What noise costs, and what is left.
#[derive(Debug, Serialize, ToSchema)]
pub struct NoiseView {
    pub epsilon_total: f64,
    pub epsilon_per_campaign: f64,
    pub epsilon_spent: f64,
}

/// Every organization.
#[derive(Debug, Serialize, ToSchema)]
pub struct OrganizationsView {
    pub organizations: Vec<OrganizationView>,
}

/// How an organization stood, campaign by campaign, and where among others.
#[derive(Debug, Serialize, ToSchema)]
pub struct ProfileView {
    pub organization: OrganizationView,
    /// Oldest first.
    pub trend: Vec<MomentView>,
    pub benchmark: BenchmarkView,
}

/// One campaign in the trend.
#[derive(Debug, Serialize, ToSchema)]
pub struct MomentView {
    pub campaign_id: String,
    pub campaign: String,
    /// A date: times are not told more finely.
    #[schema(format = Date)]
    pub closed_on: String,
    pub respondents_at_least: usize,
    pub overall_hseg_score: Option<f64>,
    pub overall_risk_tier: Option<String>,
    pub category_scores: BTreeMap<String, Option<f64>>,
    /// Respondents by tier of their score; tiers with few are told with their neighbours.
    pub tiers: Vec<BandView>,
    /// The tier that the model expects three months later.
    pub forecast_tier: Option<String>,
}

/// Neighbouring tiers and at least how many are in them.
#[derive(Debug, Serialize, ToSchema)]
pub struct BandView {
    pub tiers: String,
    pub people_at_least: usize,
}

/// An organization among those of its domain in this house.
#[derive(Debug, Serialize, ToSchema)]
pub struct BenchmarkView {
    /// How many others there are.
    pub others: usize,
    /// 0 to 100; null with fewer than two others.
    pub percentile: Option<f64>,
    pub median_overall: Option<f64>,
    /// By category, `"1"` to `"6"`.
    pub median_categories: BTreeMap<String, Option<f64>>,
}

/// The routes of this file.
pub fn router() -> OpenApiRouter<House> {
    OpenApiRouter::new()
        .routes(routes!(list, add))
        .routes(routes!(one))
        .routes(routes!(risk_profile))
}

/// Every organization
#[utoipa::path(get, path = "/organizations", tag = "hseg", operation_id = "list_organizations",
    responses((status = 200, description = "By name.", body = OrganizationsView)))]
async fn list(
    State(house): State<House>,
    caller: Known,
) -> Result<Answer<OrganizationsView>, Refusal> {
    let all = organization::all(&house.store, &caller.tenant).await?;
    let organizations = all.into_iter().map(view_of).collect();
    Ok(Answer(OrganizationsView { organizations }))
}

/// Add an organization
#[utoipa::path(post, path = "/organizations", tag = "hseg", operation_id = "add_organization", request_body = OrganizationWish,
    responses((status = 201, description = "The organization.", body = OrganizationView)))]
async fn add(
    State(house): State<House>,
    caller: Known,
    Extension(origin): Extension<Origin>,
    Json(wish): Json<OrganizationWish>,
) -> Result<(StatusCode, Answer<OrganizationView>), Refusal> {
    let organization = read(wish)?;
    organization::add(&house.store, &caller.tenant, &organization).await?;
    let detail =
        json!({ "act": "organization-added", "organization": organization.id.to_string() });
    record(&house, &caller, &origin, detail).await?;
    Ok((StatusCode::CREATED, Answer(view_of(organization))))
}

/// One organization
#[utoipa::path(get, path = "/organizations/{id}", tag = "hseg", operation_id = "organization", params(("id" = String, Path, description = "The organization.")),
    responses((status = 200, description = "The organization.", body = OrganizationView)))]
async fn one(
    State(house): State<House>,
    caller: Known,
    Path(id): Path<String>,
) -> Result<Answer<OrganizationView>, Refusal> {
    let id = id_of(&id, "id")?;
    let found = organization::get(&house.store, &caller.tenant, id).await?;
    Ok(Answer(view_of(found)))
}

/// How an organization stood over time, and among others
#[utoipa::path(get, path = "/organizations/{id}/risk-profile", tag = "hseg", params(("id" = String, Path, description = "The organization.")),
    responses((status = 200, description = "Its processed campaigns, oldest first, and its place.", body = ProfileView)))]
async fn risk_profile(
    State(house): State<House>,
    caller: Known,
    Path(id): Path<String>,
) -> Result<Answer<ProfileView>, Refusal> {
    let id = id_of(&id, "id")?;
    let organization = organization::get(&house.store, &caller.tenant, id).await?;
    let trend = trend(&house.store, &caller.tenant, id).await?;
    let benchmark = benchmark(&house.store, &caller.tenant, &organization).await?;
    Ok(Answer(ProfileView {
        organization: view_of(organization),
        trend,
        benchmark,
    }))
}

/// Reads what was wished for.
pub fn read(wish: OrganizationWish) -> Result<Organization, Refusal> {
    let mut faults = ombud_core::Refusal::default();
    let words = Domain::ALL.map(Domain::word);
    let domain = Domain::parse(&wish.domain);
    if domain.is_none() {
        let fault = Fault::new("domain", &wish.domain, words.join(", "));
        faults.add(fault.near(nearest(&wish.domain, words)));
    }
    let country = wish
        .country
        .map_or_else(|| ANYWHERE.to_owned(), |code| code.to_ascii_uppercase());
    if country.len() != 2 || !country.bytes().all(|byte| byte.is_ascii_uppercase()) {
        faults.add(Fault::new("country", &country, "two letters, such as DE"));
    }
    let wanted = wish.group_floor.unwrap_or(FLOOR_DEFAULT);
    let floor = Floor::new(wanted);
    if floor.is_none() {
        let allowed = format!("{FLOOR_MIN} to {FLOOR_MAX}");
        faults.add(Fault::new("group_floor", &wanted.to_string(), allowed));
    }
    let drill_down = wish
        .drill_down
        .unwrap_or_else(|| DRILL_DOWN.map(str::to_owned).to_vec());
    check_drill_down(&drill_down, &mut faults);
    let role = wish.case_role.as_deref().unwrap_or("operator");
    let case_role: Option<Role> = role.parse().ok();
    if case_role.is_none_or(|role| !matches!(role, Role::Operator | Role::Auditor | Role::Admin)) {
        faults.add(Fault::new("case_role", role, "operator, auditor, admin"));
    }
    let case_hours = wish.case_hours.unwrap_or(CASE_HOURS);
    if !(1..=CASE_HOURS_MAX).contains(&case_hours) {
        let allowed = format!("1 to {CASE_HOURS_MAX}");
        faults.add(Fault::new("case_hours", &case_hours.to_string(), allowed));
    }
    let noise = wish.noise.and_then(|noise| read_noise(&noise, &mut faults));
    faults.or(())?;
    Ok(Organization {
        id: random_id()?,
        name: wish.name.trim().to_owned(),
        domain: domain.unwrap_or(Domain::Business),
        country,
        employees: wish.employees,
        floor: floor.unwrap_or_default(),
        drill_down,
        case_role: case_role.unwrap_or(Role::Operator),
        case_hours,
        noise,
        created_us: now_us(),
    })
}

fn check_drill_down(wanted: &[String], faults: &mut ombud_core::Refusal) {
    if wanted.len() > DRILL_DOWN_MAX {
        let allowed = format!("at most {DRILL_DOWN_MAX} demographics");
        faults.add(Fault::new(
            "drill_down",
            &format!("{} names", wanted.len()),
            allowed,
        ));
    }
    for (place, name) in wanted.iter().enumerate() {
        let is_known = DIMENSIONS.contains(&name.as_str());
        if !is_known || wanted[..place].contains(name) {
            let fault = Fault::new(format!("drill_down.{place}"), name, DIMENSIONS.join(", "));
            faults.add(fault.near(nearest(name, DIMENSIONS)));
        }
    }
}

fn read_noise(wish: &NoiseWish, faults: &mut ombud_core::Refusal) -> Option<(Budget, Loss)> {
    let mut loss = |name: &str, epsilon: f64| {
        let loss = Loss::new(epsilon);
        if loss.is_none() {
            let allowed = "an epsilon above 0, at most 20";
            faults.add(Fault::new(
                format!("noise.{name}"),
                &epsilon.to_string(),
                allowed,
            ));
        }
        loss
    };
    let total = loss("epsilon_total", wish.epsilon_total)?;
    let release = loss("epsilon_per_campaign", wish.epsilon_per_campaign)?;
    if release.epsilon() > total.epsilon() {
        let allowed = "at most `noise.epsilon_total`, or nothing could ever be told";
        let came = release.epsilon().to_string();
        faults.add(Fault::new("noise.epsilon_per_campaign", &came, allowed));
        return None;
    }
    let spent = Loss::ZERO;
    Some((Budget { total, spent }, release))
}

/// The view of an organization.
pub fn view_of(organization: Organization) -> OrganizationView {
    let noise = organization.noise.map(|(budget, release)| NoiseView {
        epsilon_total: budget.total.epsilon(),
        epsilon_per_campaign: release.epsilon(),
        epsilon_spent: budget.spent.epsilon(),
    });
    OrganizationView {
        id: organization.id.to_string(),
        name: organization.name,
        domain: organization.domain.word().to_owned(),
        country: organization.country,
        employees: organization.employees,
        group_floor: organization.floor.get(),
        drill_down: organization.drill_down,
        case_role: organization.case_role.to_string(),
        case_hours: organization.case_hours,
        noise,
        created_at: text(organization.created_us),
    }
}

/// An organization's processed campaigns, oldest first.
pub async fn trend(
    store: &ombud_store::Store,
    tenant: &Tenant,
    id: RecordId,
) -> Result<Vec<MomentView>, Refusal> {
    let profiles = profile::of(store, tenant, id).await?;
    let campaigns = campaign::of(store, tenant, id).await?;
    let name = |id: RecordId| {
        let found = campaigns.iter().find(|campaign| campaign.id == id);
        found
            .map(|campaign| campaign.name.clone())
            .unwrap_or_default()
    };
    let moments = profiles
        .iter()
        .filter_map(|profile| moment(profile, name(profile.campaign)));
    Ok(moments.collect())
}

fn moment(profile: &Profile, campaign: String) -> Option<MomentView> {
    let told_of = Told::read(&profile.document)?;
    let group = told_of.release.everybody()?;
    let bands = told_bands(&told_of.release, &told_of.release.tiers);
    Some(MomentView {
        campaign_id: profile.campaign.to_string(),
        campaign,
        closed_on: date(profile.closed_us),
        respondents_at_least: group.people_at_least,
        overall_hseg_score: group.overall,
        overall_risk_tier: group.tier.map(|tier| tier.word().to_owned()),
        category_scores: by_category(&group.categories),
        tiers: bands
            .into_iter()
            .map(|(tiers, people_at_least)| BandView {
                tiers,
                people_at_least,
            })
            .collect(),
        forecast_tier: told_of.forecast.map(|forecast| forecast.tier),
    })
}

/// An organization among the newest profiles of its domain.
pub async fn benchmark(
    store: &ombud_store::Store,
    tenant: &Tenant,
    organization: &Organization,
) -> Result<BenchmarkView, Refusal> {
    let newest = profile::newest(store, tenant, organization.domain).await?;
    let (mut own, mut others) = (None, Vec::new());
    for profile in newest {
        let group = Told::read(&profile.document).and_then(|told| told.release.everybody());
        let Some(group) = group else { continue };
        match profile.organization == organization.id {
            true => own = group.overall,
            false => others.push(group),
        }
    }
    let overall: Vec<f64> = others.iter().filter_map(|group| group.overall).collect();
    let category = |category: Category| {
        let scores = others
            .iter()
            .filter_map(|group| group.categories[category.index()]);
        let scores: Vec<f64> = scores.collect();
        (category.number().to_string(), median(&scores).map(told))
    };
    Ok(BenchmarkView {
        others: others.len(),
        percentile: own.and_then(|own| percentile(own, &overall)).map(told),
        median_overall: median(&overall).map(told),
        median_categories: Category::ALL.into_iter().map(category).collect(),
    })
}

/// Category scores by their numbers.
pub fn by_category(scores: &[Option<f64>; 6]) -> BTreeMap<String, Option<f64>> {
    let line = |category: Category| {
        (
            category.number().to_string(),
            scores[category.index()].map(told),
        )
    };
    Category::ALL.into_iter().map(line).collect()
}

/// A time's date.
pub fn date(time_us: i64) -> String {
    text(time_us).chars().take(10).collect()
}

/// An organization's newest profile.
pub async fn newest(
    store: &ombud_store::Store,
    tenant: &Tenant,
    id: RecordId,
) -> Result<(Profile, Told), Refusal> {
    let mut profiles = profile::of(store, tenant, id).await?;
    let profile = profiles.pop().ok_or_else(|| {
        conflict("nothing may be told of this organization yet: no campaign with enough answers was processed")
            .hint("POST /campaigns/{id}/process")
    })?;
    let told = Told::read(&profile.document)
        .ok_or_else(|| conflict("the profile was kept by another version of this program"))?;
    Ok((profile, told))
}
