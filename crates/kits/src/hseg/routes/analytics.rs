//! `/analytics/dashboard/{org_id}`: everything that may be told of an organization's newest campaign, on one page.

use super::id_of;
use super::organizations::{
    BandView, BenchmarkView, MomentView, OrganizationView, benchmark, by_category, date, newest,
    trend, view_of,
};
use crate::hseg::anonymity::cells::plain;
use crate::hseg::anonymity::{Filters, Group, Release};
use crate::hseg::keep::organization;
use crate::hseg::process::{Told, told_bands};
use crate::hseg::recommend::{Recommendation, recommend};
use crate::hseg::themes::Theme;
use axum::Json as Answer;
use axum::extract::State;
use ombud_api::extract::{Known, Path, Query};
use ombud_api::{House, Refusal};
use ombud_core::Fault;
use ombud_core::nearest::nearest;
use ombud_ledger::{RecordId, Tenant};
use ombud_store::Store;
use serde::Serialize;
use std::collections::BTreeMap;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

/// What may be told of an organization.
#[derive(Debug, Serialize, ToSchema)]
pub struct DashboardView {
    pub organization: OrganizationView,
    pub campaign_id: String,
    #[schema(format = Date)]
    pub closed_on: String,
    /// No smaller group is told of.
    pub group_floor: usize,
    /// The filters of the question.
    pub filters: BTreeMap<String, String>,
    /// Those for whom every filter holds; null when nothing may be told of them.
    pub group: Option<GroupView>,
    /// Respondents by tier of their score, of the whole campaign; nothing beside a filter, and so the next two.
    pub tiers: Vec<BandView>,
    /// Respondents by forecast tier, of the whole campaign.
    pub forecast_tiers: Vec<BandView>,
    pub forecast: Option<ForecastView>,
    /// The first dimension of the drill-down, group by group.
    pub heat_map: HeatMapView,
    pub trend: Vec<MomentView>,
    pub benchmark: BenchmarkView,
    /// Phrases that many used.
    pub themes: Vec<Theme>,
    /// Categories that open answers point to, with at least how many answers.
    pub text_signals: BTreeMap<String, usize>,
    pub recommendations: Vec<Recommendation>,
    /// The epsilon of the noise on these numbers; null without noise.
    pub noise_epsilon: Option<f64>,
}

/// A group.
#[derive(Debug, Serialize, ToSchema)]
// Another shape of the document has the name.
#[schema(as = DashboardGroupView)]
pub struct GroupView {
    pub respondents_at_least: usize,
    /// Whether more people may be meant than these, who are told only together with others.
    pub is_part: bool,
    pub overall_hseg_score: Option<f64>,
    pub overall_risk_tier: Option<String>,
    pub category_scores: BTreeMap<String, Option<f64>>,
}

/// What the organization model expects.
#[derive(Debug, Serialize, ToSchema)]
// Another shape of the document has the name.
#[schema(as = DashboardForecastView)]
pub struct ForecastView {
    pub decision_id: String,
    pub tier: String,
    pub confidence: f64,
    pub probabilities: BTreeMap<String, f64>,
    /// The share of people who will have left three months later.
    pub expected_turnover: Option<f64>,
    #[schema(value_type = Option<Vec<f64>>)]
    pub turnover_interval: Option<(f64, f64)>,
}

/// Groups by one dimension.
#[derive(Debug, Serialize, ToSchema)]
pub struct HeatMapView {
    pub dimension: Option<String>,
    pub rows: Vec<HeatRow>,
    /// Whether some values are too rare to be told, and others with them.
    pub has_withheld: bool,
}

/// A group of the heat map.
#[derive(Debug, Serialize, ToSchema)]
pub struct HeatRow {
    pub value: String,
    #[serde(flatten)]
    pub group: GroupView,
}

/// The routes of this file.
pub fn router() -> OpenApiRouter<House> {
    OpenApiRouter::new().routes(routes!(dashboard))
}

/// Everything that may be told of an organization
#[utoipa::path(get, path = "/analytics/dashboard/{org_id}", tag = "hseg",
    params(("org_id" = String, Path, description = "The organization."), ("department" = Option<String>, Query, description = "A value of a dimension of the drill-down; any of them may be given.")),
    responses((status = 200, description = "The dashboard.", body = DashboardView)))]
async fn dashboard(
    State(house): State<House>,
    caller: Known,
    Path(id): Path<String>,
    Query(filters): Query<Filters>,
) -> Result<Answer<DashboardView>, Refusal> {
    let id = id_of(&id, "org_id")?;
    Ok(Answer(
        view(&house.store, &caller.tenant, id, filters).await?,
    ))
}

/// The dashboard of an organization.
pub async fn view(
    store: &Store,
    tenant: &Tenant,
    id: RecordId,
    filters: Filters,
) -> Result<DashboardView, Refusal> {
    let organization = organization::get(store, tenant, id).await?;
    let (profile, told) = newest(store, tenant, id).await?;
    known_filters(&told.release, &filters)?;
    let group = told.release.group(&filters);
    let categories = group.as_ref().map_or([None; 6], |group| group.categories);
    let bands = |bands| {
        let bands = told_bands(&told.release, bands);
        let bands = bands.into_iter();
        bands
            .map(|(tiers, people_at_least)| BandView {
                tiers,
                people_at_least,
            })
            .collect()
    };
    // These are of everybody, and beside a part of them would be taken for it.
    let (tiers, forecast_tiers, forecast) = match filters.is_empty() {
        true => (
            bands(&told.release.tiers),
            bands(&told.release.forecast),
            forecast(&told),
        ),
        false => Default::default(),
    };
    Ok(DashboardView {
        campaign_id: profile.campaign.to_string(),
        closed_on: date(profile.closed_us),
        group_floor: told.release.floor,
        group: group.map(group_view),
        tiers,
        forecast_tiers,
        forecast,
        heat_map: heat_map(&told),
        trend: trend(store, tenant, id).await?,
        benchmark: benchmark(store, tenant, &organization).await?,
        recommendations: recommend(organization.domain, &categories),
        noise_epsilon: told.release.loss_milli.map(|milli| milli as f64 / 1_000.0),
        themes: told.themes,
        text_signals: told.signals,
        organization: view_of(organization),
        filters,
    })
}

/// Refuses a filter by something that cannot be asked for, or by a value that nobody has.
pub fn known_filters(release: &Release, filters: &Filters) -> Result<(), Refusal> {
    let mut faults = ombud_core::Refusal::default();
    for (dimension, value) in filters {
        let path = format!("filters.{dimension}");
        let dimensions = release.dimensions.iter().map(String::as_str);
        if !release.dimensions.contains(dimension) {
            let allowed = dimensions.clone().collect::<Vec<_>>().join(", ");
            let fault = Fault::new(path, dimension, format!("one of {allowed}"));
            faults.add(fault.near(nearest(dimension, dimensions)));
            continue;
        }
        let values = release.values(dimension);
        let is_said = values.iter().any(|said| plain(said) == plain(value));
        if !is_said && !release.has_merged(dimension) {
            let allowed = format!("one of {}", values.join(", "));
            let near = nearest(value, values.iter().map(String::as_str));
            faults.add(Fault::new(path, value, allowed).near(near));
        }
    }
    Ok(faults.or(())?)
}

fn heat_map(told: &Told) -> HeatMapView {
    let release = &told.release;
    let Some(dimension) = release.dimensions.first() else {
        return HeatMapView {
            dimension: None,
            rows: Vec::new(),
            has_withheld: false,
        };
    };
    let row = |value: String| {
        let filters = Filters::from([(dimension.clone(), value.clone())]);
        let group = group_view(release.group(&filters)?);
        Some(HeatRow { value, group })
    };
    let rows = release.values(dimension).into_iter().filter_map(row);
    HeatMapView {
        rows: rows.collect(),
        has_withheld: release.has_merged(dimension),
        dimension: Some(dimension.clone()),
    }
}

fn forecast(told: &Told) -> Option<ForecastView> {
    let forecast = told.forecast.clone()?;
    Some(ForecastView {
        decision_id: forecast.decision_id,
        tier: forecast.tier,
        confidence: forecast.confidence,
        probabilities: forecast.probabilities,
        expected_turnover: forecast.turnover,
        turnover_interval: forecast.turnover_interval,
    })
}

fn group_view(group: Group) -> GroupView {
    GroupView {
        respondents_at_least: group.people_at_least,
        is_part: group.is_part,
        overall_hseg_score: group.overall,
        overall_risk_tier: group.tier.map(|tier| tier.word().to_owned()),
        category_scores: by_category(&group.categories),
    }
}
