//! Takes in answers that were gathered elsewhere: a campaign of their own, sealed, closed at once, waiting to be processed.

use super::keep::campaign::{self, Campaign, Sealed, seal};
use super::keep::safe::Safe;
use super::keep::shuffle;
use super::process::CHUNK;
use super::response::Response;
use super::routes::campaigns::{make, start};
use ombud_api::time::now_us;
use ombud_api::{Code, House, Refusal};
use ombud_ledger::{RecordId, Tenant};

/// What was made of them.
#[derive(Debug, Clone, PartialEq)]
pub struct Taken {
    pub campaign: Campaign,
    /// The job that will score them.
    pub job: RecordId,
    pub responses: usize,
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
    let made = make(house, tenant, organization, name).await?;
    let opened = campaign::open(&house.store, tenant, made.id, now_us()).await?;
    let safe = opened.safe(&house.ledger, tenant)?;
    let sealing = tokio::task::spawn_blocking(move || seal_all(&safe, responses)).await;
    let sealed = sealing.map_err(|error| Refusal::internal(&error))??;
    for chunk in sealed.chunks(10 * CHUNK) {
        if !campaign::upload(&house.store, tenant, opened.id, chunk).await? {
            return Err(Refusal::new(
                Code::Conflict,
                "the campaign takes no more responses",
            ));
        }
    }
    let closed = campaign::close_uploaded(&house.store, tenant, opened.id, now_us()).await?;
    let job = start(house, tenant, principal, closed.clone()).await?;
    Ok(Taken {
        campaign: closed,
        job,
        responses: sealed.len(),
    })
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
