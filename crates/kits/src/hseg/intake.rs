//! Takes in answers that were gathered elsewhere: a campaign of their own, sealed and closed, waiting to be processed. A file
//! is there whole or not at all, whenever the process ends.
//!
//! What protects people in what is told is that campaigns are of different answers: of two that share some, the difference of
//! what is told of them tells of the few that they do not share, department by department. Survey tools export everything so
//! far, every week, so that is looked for: answers that are in a file uploaded for the organization before are left out, and
//! what is new must be a floor's number. The same file twice has nothing new. Whoever uploads has the answers in clear and
//! could disguise them; this is for those who do not mean to.

use super::anonymity::Floor;
use super::keep::campaign::{self, Campaign, File, Sealed, seal};
use super::keep::organization;
use super::keep::safe::{self, Safe};
use super::keep::{self, shuffle};
use super::process::CHUNK;
use super::response::{DIMENSIONS, Response};
use super::routes::campaigns::start;
use super::survey::Rating;
use ombud_api::time::now_us;
use ombud_api::{Code, House, Refusal};
use ombud_ledger::{RecordId, Tenant};
use sha2::{Digest, Sha256};
use std::collections::HashMap;
use tokio::sync::Mutex;

/// Of two files at once, the second must see the first.
static ONE_AT_A_TIME: Mutex<()> = Mutex::const_new(());

/// With so many ratings two people hardly answer alike, and what a survey tool exports beside them differs from week to week.
const TELLING_RATINGS: usize = 12;

/// Where fewer than one in so many answers are alike, other people happened to answer so: all 3, most often.
const CHANCE: usize = 10;

/// Answers by a digest of what was answered, and how often they came.
type Answers = HashMap<[u8; 16], usize>;

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
    // Only with other files: whoever uploads may learn what was uploaded. What people answered here by invitation nobody has
    // as rows, and a refusal would tell whether somebody answered just so.
    let campaigns = campaign::of(&house.store, tenant, organization).await?;
    let files: Vec<Campaign> = campaigns.into_iter().filter(|it| it.invited == 0).collect();
    let came = responses.len();
    let new = new_ones(house, tenant, &files, responses).await?;
    if !floor.admits(new.len()) {
        return Err(too_few(new.len(), came, floor));
    }
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

fn too_few(new: usize, came: usize, floor: Floor) -> Refusal {
    let floor = floor.get();
    let detail = format!(
        "{new} of the {came} answers are in no earlier file of this organization; at least {floor} must be"
    );
    Refusal::new(Code::Conflict, detail).hint(
        "wait until there are enough: what was uploaded before is left out, and fewer are told of by nothing",
    )
}

/// The answers that no earlier file of the organization has.
async fn new_ones(
    house: &House,
    tenant: &Tenant,
    files: &[Campaign],
    responses: Vec<Response>,
) -> Result<Vec<Response>, Refusal> {
    let mut mine = Answers::new();
    for response in &responses {
        *mine.entry(digest(response)).or_default() += 1;
    }
    let mut known = Answers::new();
    for campaign in files {
        let theirs = those_of(house, tenant, campaign, &mine).await?;
        let shared = theirs
            .iter()
            .map(|(answers, number)| mine[answers].min(*number));
        let smaller = responses.len().min(campaign.responded.max(0) as usize);
        if shared.sum::<usize>() * CHANCE < smaller {
            continue;
        }
        // Files share no answers, so what each has of them adds up.
        for (answers, number) in theirs {
            *known.entry(answers).or_default() += number;
        }
    }
    let is_new = |response: &Response| match known.get_mut(&digest(response)) {
        Some(left) if *left > 0 => {
            *left -= 1;
            false
        }
        _ => true,
    };
    Ok(responses.into_iter().filter(is_new).collect())
}

/// Of some answers, those that a campaign has.
async fn those_of(
    house: &House,
    tenant: &Tenant,
    campaign: &Campaign,
    sought: &Answers,
) -> Result<Answers, Refusal> {
    let safe = campaign.safe(&house.ledger, tenant)?;
    let mut found = Answers::new();
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
            let Some(kept) = kept.as_ref().and_then(Response::kept) else {
                continue;
            };
            let answers = digest(&kept);
            if sought.contains_key(&answers) {
                *found.entry(answers).or_default() += 1;
            }
        }
        tokio::task::yield_now().await;
    }
}

/// The ratings, where they are many; else all that was answered, of texts the letters alone: a file that is exported anew may
/// lack columns, or end its texts otherwise.
fn digest(response: &Response) -> [u8; 16] {
    let mut hasher = Sha256::new();
    let mut ratings = 0;
    for rating in response.ratings.iter() {
        ratings += usize::from(rating.is_some());
        hasher.update(rating.map_or(0.0, Rating::get).to_be_bytes());
    }
    if ratings < TELLING_RATINGS {
        for dimension in DIMENSIONS {
            hasher.update(response.trait_of(dimension).unwrap_or_default());
            hasher.update([0]);
        }
        let text = zeroize::Zeroizing::new(response.text().unwrap_or_default());
        for letter in text.chars().filter(|letter| letter.is_alphanumeric()) {
            for letter in letter.to_lowercase() {
                hasher.update(u32::from(letter).to_be_bytes());
            }
        }
    }
    let digest: [u8; 32] = hasher.finalize().into();
    std::array::from_fn(|at| digest[at])
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
