//! Takes in answers that were gathered elsewhere: a campaign of their own, sealed and closed, waiting to be processed. A file
//! is there whole or not at all, whenever the process ends.
//!
//! What protects people in what is told is that campaigns are of different answers, so answers that are in a file uploaded for
//! the organization before are left out, and what is new must be a floor's number ([`super::repeats`]). Whoever uploads has
//! the answers in clear and could disguise them; this is for those who do not mean to.

use super::anonymity::Floor;
use super::keep::campaign::{self, Campaign, File, Sealed, seal};
use super::keep::organization;
use super::keep::safe::{self, Safe};
use super::keep::{self, shuffle};
use super::process::CHUNK;
use super::repeats::{self, Earlier, Mark, Repeated};
use super::response::Response;
use super::routes::campaigns::start;
use ombud_api::time::now_us;
use ombud_api::{Code, House, Refusal};
use ombud_ledger::{RecordId, Tenant};
use std::collections::HashMap;
use tokio::sync::Mutex;

/// Of two files at once, the second must see the first.
static ONE_AT_A_TIME: Mutex<()> = Mutex::const_new(());

/// What was made of them.
#[derive(Debug, Clone, PartialEq)]
pub struct Taken {
    pub campaign: Campaign,
    /// The job that will score them.
    pub job: RecordId,
    pub responses: usize,
    /// Answers that an earlier file had, and that were not taken in again.
    pub left_out: usize,
}

/// Makes a campaign of responses.
pub async fn take_in(
    house: &House,
    tenant: &Tenant,
    principal: &str,
    organization: RecordId,
    name: &str,
    responses: Vec<Response>,
) -> Result<Taken, Refusal> {
    let _turn = ONE_AT_A_TIME.lock().await;
    let floor = organization::get(&house.store, tenant, organization)
        .await?
        .floor;
    let files = files_of(house, tenant, organization).await?;
    let came = responses.len();
    let news = news(house, tenant, &files, &responses, floor).await?;
    let news = news.map_err(|repeated| refusal_of(&repeated, came, floor))?;
    let responses = responses.into_iter().zip(news);
    let new: Vec<Response> = responses
        .filter_map(|(response, is_new)| is_new.then_some(response))
        .collect();
    let left_out = came - new.len();
    let id = keep::random_id()?;
    let master = house.ledger.master()?;
    let wrapped_key = safe::fresh(master.as_ref(), tenant, id)?;
    let safe = Safe::open(master.as_ref(), tenant, id, &wrapped_key)?;
    let sealing = tokio::task::spawn_blocking(move || seal_all(&safe, new)).await;
    let sealed = sealing.map_err(|error| Refusal::internal(&error))??;
    let file = File {
        id,
        organization,
        name,
        wrapped_key,
        sealed: &sealed,
    };
    if !campaign::add_file(&house.store, tenant, file, files.len(), now_us()).await? {
        let detail = "another file of this organization was uploaded at the same moment";
        return Err(Refusal::new(Code::Conflict, detail).hint("repeat the call"));
    }
    let closed = campaign::get(&house.store, tenant, id).await?;
    let job = start(house, tenant, principal, closed.clone()).await?;
    Ok(Taken {
        campaign: closed,
        job,
        responses: sealed.len(),
        left_out,
    })
}

/// How many of a file's answers would be left out; none where it would not be taken in.
pub async fn left_out(
    house: &House,
    tenant: &Tenant,
    organization: RecordId,
    responses: &[Response],
) -> Result<Option<usize>, Refusal> {
    let found = organization::get(&house.store, tenant, organization).await?;
    let files = files_of(house, tenant, organization).await?;
    let news = news(house, tenant, &files, responses, found.floor).await?;
    let known = |news: Vec<bool>| news.iter().filter(|is_new| !**is_new).count();
    Ok(news.ok().map(known))
}

/// Only other files are compared with: whoever uploads may learn what was uploaded. What people answered here by invitation
/// nobody has as rows, and a refusal would tell whether somebody answered just so.
async fn files_of(
    house: &House,
    tenant: &Tenant,
    organization: RecordId,
) -> Result<Vec<Campaign>, Refusal> {
    let mut campaigns = campaign::of(&house.store, tenant, organization).await?;
    campaigns.retain(|campaign| campaign.invited == 0);
    Ok(campaigns)
}

fn refusal_of(repeated: &Repeated, came: usize, floor: Floor) -> Refusal {
    let floor = floor.get();
    let detail = match repeated {
        Repeated::Few { new } => format!(
            "{new} of the {came} answers are in no earlier file of this organization; at least {floor} must be"
        ),
        Repeated::Alike { differ } => format!(
            "the file is what was uploaded before and {differ} answers more, or less; at least {floor} must differ"
        ),
    };
    Refusal::new(Code::Conflict, detail).hint(
        "wait until there are enough: what was uploaded before is left out, and fewer are told of by nothing",
    )
}

/// Which of the answers no earlier file of the organization has.
async fn news(
    house: &House,
    tenant: &Tenant,
    files: &[Campaign],
    responses: &[Response],
    floor: Floor,
) -> Result<Result<Vec<bool>, Repeated>, Refusal> {
    let marks: Vec<Mark> = responses.iter().map(Mark::of).collect();
    let sought = repeats::counted(&marks);
    let mut earlier = Vec::with_capacity(files.len());
    for campaign in files {
        earlier.push(earlier_of(house, tenant, campaign, &sought).await?);
    }
    Ok(repeats::new_ones(&marks, &earlier, floor))
}

/// A campaign's answers, as far as they are sought.
async fn earlier_of(
    house: &House,
    tenant: &Tenant,
    campaign: &Campaign,
    sought: &HashMap<Mark, usize>,
) -> Result<Earlier, Refusal> {
    let safe = campaign.safe(&house.ledger, tenant)?;
    let mut found = Earlier::default();
    let mut after = None;
    loop {
        let page = campaign::responses(&house.store, tenant, campaign.id, after, CHUNK).await?;
        let Some(last) = page.last() else {
            return Ok(found);
        };
        after = Some(last.id);
        for sealed in &page {
            let clear = safe.unseal(sealed.id, &sealed.bytes);
            let clear = clear.map_err(|error| Refusal::internal(&error))?;
            let kept = serde_json::from_slice(&clear).ok();
            if let Some(kept) = kept.as_ref().and_then(Response::kept) {
                found.add(Mark::of(&kept), sought);
            }
        }
        tokio::task::yield_now().await;
    }
}

/// Sealed, in an order that chance chose: a file's order may be that of names.
fn seal_all(safe: &Safe, mut responses: Vec<Response>) -> Result<Vec<Sealed>, Refusal> {
    shuffle(&mut responses)?;
    let sealed = responses.iter().map(|response| {
        let clear = zeroize::Zeroizing::new(response.written().to_string());
        Ok(seal(safe, clear.as_bytes())?)
    });
    sealed.collect()
}
