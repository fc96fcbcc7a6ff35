//! `/campaigns`: a survey of an organization, from draft to profile.

use super::{conflict, id_of, record};
use crate::hseg::keep::campaign::{self, INVITATIONS_MAX};
use crate::hseg::keep::{self, Campaign, State as Standing, Traces, organization};
use crate::hseg::process::KIND;
use axum::extract::State;
use axum::http::header::HOST;
use axum::http::{HeaderMap, StatusCode};
use axum::{Extension, Json as Answer};
use ombud_api::extract::{Json, Known, Path, Query};
use ombud_api::request::Origin;
use ombud_api::time::{now_us, text};
use ombud_api::wire::ShownOnce;
use ombud_api::{House, Refusal};
use ombud_core::Fault;
use ombud_ledger::{RecordId, Tenant};
use ombud_store::job;
use serde::{Deserialize, Serialize};
use serde_json::json;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

/// A campaign to be made.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CampaignWish {
    pub organization_id: String,
    #[schema(min_length = 1, max_length = 200)]
    pub name: String,
}

/// Whose campaigns.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Whose {
    organization_id: String,
}

/// How many may be invited.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct InvitationsWish {
    #[schema(minimum = 1, maximum = 10000)]
    pub number: usize,
}

/// A campaign.
#[derive(Debug, Serialize, ToSchema)]
pub struct CampaignView {
    pub id: String,
    pub organization_id: String,
    pub name: String,
    /// `draft`, `open`, `closed` or `processed`.
    pub state: String,
    pub invited: i64,
    /// In steps of the smallest group that may be told; 0 while there are fewer.
    pub responded_at_least: i64,
    #[schema(format = DateTime)]
    pub created_at: String,
    #[schema(format = DateTime)]
    pub opened_at: Option<String>,
    #[schema(format = DateTime)]
    pub closed_at: Option<String>,
    pub job: Option<JobView>,
}

/// Long work.
#[derive(Debug, Serialize, ToSchema)]
pub struct JobView {
    pub id: String,
    /// `waiting`, `running`, `succeeded`, `failed` or `cancelled`.
    pub state: String,
    pub message: String,
}

/// Several campaigns, newest first.
#[derive(Debug, Serialize, ToSchema)]
pub struct CampaignsView {
    pub campaigns: Vec<CampaignView>,
}

/// New invitations; nobody is told them again.
#[derive(Debug, Serialize, ToSchema)]
pub struct InvitationsView {
    /// One for each person; whoever has it can answer once.
    #[schema(value_type = Vec<String>)]
    pub links: Vec<ShownOnce>,
}

/// The routes of this file.
pub fn router() -> OpenApiRouter<House> {
    OpenApiRouter::new()
        .routes(routes!(list, add))
        .routes(routes!(one))
        .routes(routes!(open))
        .routes(routes!(close))
        .routes(routes!(invite))
        .routes(routes!(process))
}

/// An organization's campaigns
#[utoipa::path(get, path = "/campaigns", tag = "hseg", operation_id = "list_campaigns", params(("organization_id" = String, Query, description = "Whose.")),
    responses((status = 200, description = "Newest first.", body = CampaignsView)))]
async fn list(
    State(house): State<House>,
    caller: Known,
    Query(whose): Query<Whose>,
) -> Result<Answer<CampaignsView>, Refusal> {
    let id = id_of(&whose.organization_id, "organization_id")?;
    organization::get(&house.store, &caller.tenant, id).await?;
    let mut campaigns = Vec::new();
    for found in campaign::of(&house.store, &caller.tenant, id).await? {
        campaigns.push(view_of(&house, &caller.tenant, found).await?);
    }
    Ok(Answer(CampaignsView { campaigns }))
}

/// Make a campaign
#[utoipa::path(post, path = "/campaigns", tag = "hseg", operation_id = "add_campaign", request_body = CampaignWish,
    responses((status = 201, description = "The campaign, a draft.", body = CampaignView)))]
async fn add(
    State(house): State<House>,
    caller: Known,
    Extension(origin): Extension<Origin>,
    Json(wish): Json<CampaignWish>,
) -> Result<(StatusCode, Answer<CampaignView>), Refusal> {
    let organization = id_of(&wish.organization_id, "organization_id")?;
    let made = make(&house, &caller.tenant, organization, &wish.name).await?;
    let detail = json!({ "act": "campaign-added", "campaign": made.id.to_string() });
    record(&house, &caller, &origin, detail).await?;
    let view = view_of(&house, &caller.tenant, made).await?;
    Ok((StatusCode::CREATED, Answer(view)))
}

/// One campaign
#[utoipa::path(get, path = "/campaigns/{id}", tag = "hseg", operation_id = "campaign", params(("id" = String, Path, description = "The campaign.")),
    responses((status = 200, description = "The campaign.", body = CampaignView)))]
async fn one(
    State(house): State<House>,
    caller: Known,
    Path(id): Path<String>,
) -> Result<Answer<CampaignView>, Refusal> {
    let found = campaign::get(&house.store, &caller.tenant, id_of(&id, "id")?).await?;
    Ok(Answer(view_of(&house, &caller.tenant, found).await?))
}

/// Let a campaign take responses
#[utoipa::path(post, path = "/campaigns/{id}/open", tag = "hseg", operation_id = "open_campaign", params(("id" = String, Path, description = "The campaign.")),
    responses((status = 200, description = "The campaign, open.", body = CampaignView)))]
async fn open(
    State(house): State<House>,
    caller: Known,
    Extension(origin): Extension<Origin>,
    Path(id): Path<String>,
) -> Result<Answer<CampaignView>, Refusal> {
    let id = id_of(&id, "id")?;
    let opened = campaign::open(&house.store, &caller.tenant, id, now_us()).await?;
    let detail = json!({ "act": "campaign-opened", "campaign": id.to_string() });
    record(&house, &caller, &origin, detail).await?;
    Ok(Answer(view_of(&house, &caller.tenant, opened).await?))
}

/// End a campaign; its responses are put in a random order and its unused invitations removed
#[utoipa::path(post, path = "/campaigns/{id}/close", tag = "hseg", operation_id = "close_campaign", params(("id" = String, Path, description = "The campaign.")),
    responses((status = 200, description = "The campaign, closed.", body = CampaignView)))]
async fn close(
    State(house): State<House>,
    caller: Known,
    Extension(origin): Extension<Origin>,
    Path(id): Path<String>,
) -> Result<Answer<CampaignView>, Refusal> {
    let id = id_of(&id, "id")?;
    let found = campaign::get(&house.store, &caller.tenant, id).await?;
    let safe = found.safe(&house.ledger, &caller.tenant)?;
    let closed = campaign::close(&house.store, &caller.tenant, id, &safe, now_us()).await?;
    Traces::OfCampaign.wipe_soon(&house.store);
    let detail = json!({ "act": "campaign-closed", "campaign": id.to_string() });
    record(&house, &caller, &origin, detail).await?;
    Ok(Answer(view_of(&house, &caller.tenant, closed).await?))
}

/// Make invitations; each lets somebody answer once and is linked to nothing
#[utoipa::path(post, path = "/campaigns/{id}/invitations", tag = "hseg", params(("id" = String, Path, description = "The campaign.")), request_body = InvitationsWish,
    responses((status = 201, description = "The invitations, shown this once.", body = InvitationsView)))]
async fn invite(
    State(house): State<House>,
    caller: Known,
    Extension(origin): Extension<Origin>,
    Path(id): Path<String>,
    headers: HeaderMap,
    Json(wish): Json<InvitationsWish>,
) -> Result<(StatusCode, Answer<InvitationsView>), Refusal> {
    let id = id_of(&id, "id")?;
    if !(1..=INVITATIONS_MAX).contains(&wish.number) {
        let allowed = format!("1 to {INVITATIONS_MAX}");
        return Err(Fault::new("number", &wish.number.to_string(), allowed).into());
    }
    let found = campaign::get(&house.store, &caller.tenant, id).await?;
    let organization = organization::get(&house.store, &caller.tenant, found.organization).await?;
    let floor = organization.floor.get();
    if wish.number < floor {
        // Of fewer people a single review case, or that somebody answered at all, would name the person; of fewer who were
        // invited later, too.
        let came = wish.number.to_string();
        let allowed = format!("at least {floor} at a time; give out as many as you need");
        return Err(Fault::new("number", &came, allowed).into());
    }
    let tokens = campaign::invite(&house.store, &caller.tenant, &found, wish.number).await?;
    let detail =
        json!({ "act": "invitations-made", "campaign": id.to_string(), "number": wish.number });
    record(&house, &caller, &origin, detail).await?;
    let base = base_of(&house, &headers);
    let (domain, country) = (organization.domain.word(), &organization.country);
    // Behind a `#`, so that a browser keeps it to itself: no log on the way has it.
    let link = |token: &str| {
        ShownOnce::new(&format!(
            "{base}/survey?domain={domain}&country={country}#{token}"
        ))
    };
    let links = tokens.iter().map(|token| link(token)).collect();
    Ok((StatusCode::CREATED, Answer(InvitationsView { links })))
}

/// The front of a link: the public address, or else the one by which whoever asks reached us.
fn base_of(house: &House, headers: &HeaderMap) -> String {
    let public = house.config.server.public_url.trim_end_matches('/');
    let host = headers.get(HOST).and_then(|host| host.to_str().ok());
    match host {
        Some(host) if public.is_empty() => {
            let scheme = if house.is_encrypted() {
                "https"
            } else {
                "http"
            };
            format!("{scheme}://{host}")
        }
        _ => public.to_owned(),
    }
}

/// Score a closed campaign and make what may be told of it
#[utoipa::path(post, path = "/campaigns/{id}/process", tag = "hseg", params(("id" = String, Path, description = "The campaign.")),
    responses((status = 202, description = "The job; `GET /campaigns/{id}` tells how far it is.", body = JobView)))]
async fn process(
    State(house): State<House>,
    caller: Known,
    Extension(origin): Extension<Origin>,
    Path(id): Path<String>,
) -> Result<(StatusCode, Answer<JobView>), Refusal> {
    let id = id_of(&id, "id")?;
    let found = campaign::get(&house.store, &caller.tenant, id).await?;
    let job = start(&house, &caller.tenant, &caller.principal, found).await?;
    let detail =
        json!({ "act": "campaign-processing", "campaign": id.to_string(), "job": job.to_string() });
    record(&house, &caller, &origin, detail).await?;
    let job = house.store.job(&caller.tenant, job).await?;
    Ok((StatusCode::ACCEPTED, Answer(job_view(&job))))
}

/// Makes a campaign with a key of its own.
pub async fn make(
    house: &House,
    tenant: &Tenant,
    organization: RecordId,
    name: &str,
) -> Result<Campaign, Refusal> {
    organization::get(&house.store, tenant, organization).await?;
    let id = keep::random_id()?;
    let master = house.ledger.master()?;
    let wrapped = keep::safe::fresh(master.as_ref(), tenant, id)?;
    let made = campaign::add(
        &house.store,
        tenant,
        organization,
        name,
        wrapped,
        id,
        now_us(),
    )
    .await?;
    Ok(made)
}

/// Starts processing, unless it is under way.
pub async fn start(
    house: &House,
    tenant: &Tenant,
    principal: &str,
    found: Campaign,
) -> Result<RecordId, Refusal> {
    if found.state != Standing::Closed {
        let hint = match found.state {
            Standing::Draft | Standing::Open => "POST /campaigns/{id}/close",
            _ => "what may be told of it is made once",
        };
        return Err(conflict(format!("the campaign is {}", found.state)).hint(hint));
    }
    if let Some(job) = found.job {
        let job = house.store.job(tenant, job).await?;
        if !job.state.is_over() {
            return Err(conflict("the campaign is being processed"));
        }
    }
    let spec = json!({ "campaign": found.id.to_string() });
    let job = house
        .store
        .add_job(tenant, KIND, &spec, principal, now_us())
        .await?;
    campaign::note_job(&house.store, tenant, found.id, job).await?;
    Ok(job)
}

/// The view of a campaign.
pub async fn view_of(
    house: &House,
    tenant: &Tenant,
    mut campaign: Campaign,
) -> Result<CampaignView, Refusal> {
    let organization = organization::get(&house.store, tenant, campaign.organization).await?;
    let floor = organization.floor.get() as i64;
    let job = match campaign.job {
        None => None,
        Some(job) => {
            let job = house.store.job(tenant, job).await?;
            // It may have ended since the campaign was read, and changed it before.
            campaign = campaign::get(&house.store, tenant, campaign.id).await?;
            Some(job_view(&job))
        }
    };
    Ok(CampaignView {
        id: campaign.id.to_string(),
        organization_id: campaign.organization.to_string(),
        name: campaign.name,
        state: campaign.state.to_string(),
        invited: campaign.invited,
        responded_at_least: campaign.responded / floor * floor,
        created_at: text(campaign.created_us),
        opened_at: campaign.opened_us.map(text),
        closed_at: campaign.closed_us.map(text),
        job,
    })
}

fn job_view(job: &job::Job) -> JobView {
    JobView {
        id: job.id.to_string(),
        state: job.state.to_string(),
        message: job.message.clone(),
    }
}
