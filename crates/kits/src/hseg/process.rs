//! Processes a closed campaign: scores every response, asks the models, and makes what may be told.
//!
//! A job in chunks of a thousand. What single people answered is read by a [`Panel`], which leaves no record of any of
//! them; what is on record is that the campaign was read, by which versions, and a digest over the sealed answers. What
//! comes out is one document ([`Told`]), kept in the same transaction that says the campaign was processed and spends its
//! privacy budget. It is made once: a second run finds the campaign processed and stops.

use super::aggregate::{Aggregate, Member};
use super::anonymity::Floor;
use super::anonymity::noise::Loss;
use super::anonymity::release::{Band, Noise, Release, Respondent};
use super::asking::{Models, Panel};
use super::crisis::{Urgency, judge};
use super::keep::campaign::{self, Campaign, Sealed};
use super::keep::safe::Safe;
use super::keep::{Organization, Profile, State, case, organization, profile};
use super::reading::{Read, Reader};
use super::recipes;
use super::response::Response;
use super::routes::record_without_origin;
use super::score::{Score, Tier};
use super::survey::Category;
use super::themes::{Theme, Themes};
use ombud_api::kit::{Doing, Stopped, Work};
use ombud_api::refusal::chain;
use ombud_api::time::now_us;
use ombud_ledger::{Kind, RecordId};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use std::collections::BTreeMap;

/// The job's kind.
pub const KIND: &str = "hseg-process";
/// Responses that are opened together.
pub const CHUNK: usize = 1_000;
/// As many floors of people must have answered for a forecast of the organization.
const FORECAST_FLOORS_MIN: usize = 4;

/// What may be told of a campaign; everything that is shown of it comes from here.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Told {
    pub release: Release,
    /// Absent when no organization model is deployed, or too few answered.
    pub forecast: Option<OrganizationForecast>,
    pub themes: Vec<Theme>,
    /// Categories that texts point to, with how many at least.
    pub signals: BTreeMap<String, usize>,
}

/// What the organization model forecasts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct OrganizationForecast {
    pub decision_id: String,
    pub tier: String,
    pub probabilities: BTreeMap<String, f64>,
    pub confidence: f64,
    #[serde(default)]
    pub prediction_set: Vec<String>,
    /// The share of people who will have left three months later.
    pub turnover: Option<f64>,
    pub turnover_interval: Option<(f64, f64)>,
}

impl Told {
    /// Reads a kept profile.
    pub fn read(document: &Value) -> Option<Told> {
        serde_json::from_value(document.clone()).ok()
    }
}

/// Everything that is gathered on the way.
#[derive(Default)]
struct Gathered {
    /// Over the sealed answers, in their order.
    digest: Sha256,
    respondents: Vec<Respondent>,
    members: Vec<Member>,
    signals: BTreeMap<String, usize>,
    themes: Themes,
    crises: usize,
    kinds: std::collections::BTreeSet<String>,
}

/// Does the job.
pub fn run(work: Work) -> Doing {
    Box::pin(process(work))
}

async fn process(work: Work) -> Result<Value, Stopped> {
    let (store, tenant) = (&work.house.store, &work.job.tenant);
    let id = work.job.spec.get("campaign").and_then(Value::as_str);
    let id: Option<RecordId> = id.and_then(|id| id.parse().ok());
    let id = id.ok_or_else(|| failed("the job names no campaign"))?;
    let campaign = campaign::get(store, tenant, id).await.map_err(broken)?;
    if campaign.state != State::Closed {
        return Err(failed(format!("the campaign is {}", campaign.state)));
    }
    let organization = organization::get(store, tenant, campaign.organization)
        .await
        .map_err(broken)?;
    let panel = Models::new(&work.house, tenant, &work.job.created_by, None).panel()?;
    let gathered = gather(&work, &campaign, &organization, &panel).await?;
    record(&work, &campaign, &panel, &gathered).await?;
    // Who is in danger is heard, whatever may be told of the campaign.
    if gathered.crises > 0 {
        open_case(&work, &campaign, &organization, &gathered).await?;
    }
    let cost = cost(&organization)?;
    let told = tell(&work, &campaign, &organization, &gathered, cost).await?;
    finish(&work, &campaign, &organization, &gathered, told, cost).await
}

/// What the campaign costs of the privacy budget; refused before anything is told when too little is left.
fn cost(organization: &Organization) -> Result<Option<Loss>, Stopped> {
    let Some((budget, cost)) = organization.noise else {
        return Ok(None);
    };
    match budget.after(cost) {
        Ok(_) => Ok(Some(cost)),
        Err(overspent) => Err(failed(overspent.to_string())),
    }
}

async fn gather(
    work: &Work,
    campaign: &Campaign,
    organization: &Organization,
    panel: &Panel,
) -> Result<Gathered, Stopped> {
    let (store, tenant) = (&work.house.store, &work.job.tenant);
    let safe = campaign.safe(&work.house.ledger, tenant).map_err(broken)?;
    let total = campaign.responded.max(0).cast_unsigned();
    let mut gathered = Gathered::default();
    let (mut after, mut done) = (None, 0);
    loop {
        let page = campaign::responses(store, tenant, campaign.id, after, CHUNK);
        let page = page.await.map_err(broken)?;
        let Some(last) = page.last() else {
            return Ok(gathered);
        };
        after = Some(last.id);
        done += page.len() as u64;
        let read = || gathered.read(panel, organization, &safe, &page);
        tokio::task::block_in_place(read)?;
        // How many answered is told in steps of the floor only, so progress is told in hundredths.
        let percent = done * 100 / total.max(done);
        let message = format!("{percent} % of the responses scored");
        work.progress(percent, 100, &message).await?;
    }
}

/// A response with what the models made of it.
struct Scored {
    response: Response,
    said: Option<(String, Read)>,
    forecast: Tier,
}

fn score(
    panel: &Panel,
    reader: &Reader<'_>,
    employees: Option<u32>,
    response: Response,
) -> Result<Scored, Stopped> {
    let read = |text: String| reader.read(&text).map(|read| (text, read));
    let said = response.text().map(read).transpose().map_err(broken)?;
    let outputs = said.as_ref().map(|(_, read)| &read.outputs);
    Ok(Scored {
        forecast: panel.forecast(&response, employees, outputs)?,
        said,
        response,
    })
}

/// Organizations, counts and all else that is needed once every response was seen.
async fn tell(
    work: &Work,
    campaign: &Campaign,
    organization: &Organization,
    gathered: &Gathered,
    cost: Option<Loss>,
) -> Result<Option<Told>, Stopped> {
    let floor = organization.floor;
    let release = tokio::task::block_in_place(|| release(gathered, organization, cost))?;
    let Some(release) = release else {
        return Ok(None);
    };
    // Phrases, counts of texts and the forecast carry no noise, so they are not told where noise is wished for.
    let is_plain = cost.is_none();
    Ok(Some(Told {
        release,
        forecast: match is_plain {
            true => forecast(work, campaign, organization, gathered).await?,
            false => None,
        },
        themes: if is_plain {
            gathered.themes.told(floor)
        } else {
            Vec::new()
        },
        signals: if is_plain {
            stepped(&gathered.signals, floor)
        } else {
            BTreeMap::new()
        },
    }))
}

fn release(
    gathered: &Gathered,
    organization: &Organization,
    cost: Option<Loss>,
) -> Result<Option<Release>, Stopped> {
    let mut uniform = uniform_draws()?;
    let noise = cost.map(|loss| Noise {
        loss,
        uniform: &mut uniform,
    });
    let (respondents, dimensions) = (&gathered.respondents, &organization.drill_down);
    Ok(Release::of(
        respondents,
        dimensions,
        organization.floor,
        noise,
    ))
}

async fn forecast(
    work: &Work,
    campaign: &Campaign,
    organization: &Organization,
    gathered: &Gathered,
) -> Result<Option<OrganizationForecast>, Stopped> {
    let models = Models::new(&work.house, &work.job.tenant, &work.job.created_by, None);
    let aggregate = Aggregate::of(
        organization.domain,
        organization.employees,
        &gathered.members,
    );
    let Ok(aggregate) = aggregate else {
        return Ok(None);
    };
    // Of fewer people a forecast says little, and its numbers would say much of each.
    if aggregate.members < FORECAST_FLOORS_MIN * organization.floor.get() {
        return Ok(None);
    }
    let aggregate = aggregate.coarse(organization.floor.get());
    if !models.is_at_work(recipes::ORGANIZATION.name) {
        return Ok(None);
    }
    let subject = format!("{}/{}", organization.id, campaign.id);
    let forecast = models.organization(&subject, &aggregate).await?;
    let turnover = match models.is_at_work(recipes::TURNOVER.name) {
        true => Some(models.turnover(&subject, &aggregate).await?),
        false => None,
    };
    Ok(Some(OrganizationForecast {
        decision_id: forecast.decision.to_string(),
        tier: forecast.tier.word().to_owned(),
        probabilities: forecast
            .probabilities
            .into_iter()
            .map(|(tier, chance)| (tier, hundredths(chance)))
            .collect(),
        confidence: hundredths(forecast.confidence),
        prediction_set: forecast.set,
        turnover: turnover.map(|turnover| hundredths(turnover.share)),
        turnover_interval: turnover
            .and_then(|turnover| turnover.interval)
            .map(|(low, high)| (hundredths(low), hundredths(high))),
    }))
}

/// As fine as a forecast is told: more would be a fingerprint of the answers behind it.
fn hundredths(number: f64) -> f64 {
    (number * 100.0).round() / 100.0
}

/// Writes down that the campaign was read, by whom and what, before anything of it is told.
async fn record(
    work: &Work,
    campaign: &Campaign,
    panel: &Panel,
    gathered: &Gathered,
) -> Result<(), Stopped> {
    let digest: [u8; 32] = gathered.digest.clone().finalize().into();
    let detail = json!({
        "act": "campaign-read",
        "campaign": campaign.id.to_string(),
        "models": panel.named(),
        "answers_digest": ombud_core::Digest::new(digest).to_string(),
    });
    let by = Some(work.job.created_by.as_str());
    let (house, tenant) = (&work.house, &work.job.tenant);
    record_without_origin(house, tenant, Kind::Settings, by, detail).await?;
    Ok(())
}

async fn finish(
    work: &Work,
    campaign: &Campaign,
    organization: &Organization,
    gathered: &Gathered,
    told: Option<Told>,
    cost: Option<Loss>,
) -> Result<Value, Stopped> {
    let (store, tenant) = (&work.house.store, &work.job.tenant);
    let mut transaction = store.begin().await.map_err(broken)?;
    let now = now_us();
    let is_first = campaign::processed(&mut transaction, tenant, campaign.id, now).await;
    if !is_first.map_err(broken)? {
        return Err(failed("the campaign was processed meanwhile"));
    }
    if let Some(told) = &told {
        if let Some(cost) = cost {
            let spent = organization::spend(&mut transaction, tenant, organization.id, cost).await;
            if !spent.map_err(broken)? {
                return Err(failed("the privacy budget was used up meanwhile"));
            }
        }
        let profile = Profile {
            organization: organization.id,
            campaign: campaign.id,
            closed_us: campaign.closed_us.unwrap_or(now),
            document: json!(told),
        };
        let kept = profile::add(&mut transaction, tenant, organization.domain, &profile).await;
        kept.map_err(broken)?;
    }
    transaction.commit().await.map_err(broken)?;
    let people = told.as_ref().map(|told| {
        told.release
            .cells
            .iter()
            .map(|cell| cell.people)
            .sum::<f64>()
    });
    let floor = organization.floor.get();
    Ok(json!({
        "campaign_id": campaign.id.to_string(),
        "scored": gathered.respondents.len() / floor * floor,
        "is_told": told.is_some(),
        "cells": told.as_ref().map_or(0, |told| told.release.cells.len()),
        "people_at_least": people.map(|people| people as usize / floor * floor),
    }))
}

/// Opens a case for what nobody was called for yet: uploaded answers were seen by nobody when they were given, and models
/// may have learned since. As many cases as crises were opened when answers came in by invitation; one is for a whole file.
async fn open_case(
    work: &Work,
    campaign: &Campaign,
    organization: &Organization,
    gathered: &Gathered,
) -> Result<(), Stopped> {
    let (store, tenant) = (&work.house.store, &work.job.tenant);
    let known = case::of_campaign(store, tenant, campaign.id)
        .await
        .map_err(broken)?;
    let needed = match campaign.invited {
        0 => 1,
        _ => gathered.crises,
    };
    if known >= needed {
        return Ok(());
    }
    let reasons: Vec<String> = gathered.kinds.iter().cloned().collect();
    let urgency = Urgency::of(&reasons).unwrap_or(Urgency::Urgent);
    let new = case::NewCase {
        organization: Some(organization.id),
        campaign: Some(campaign.id),
        decision: None,
        reasons,
        role: organization.case_role,
        hours: urgency.hours(organization.case_hours),
    };
    case::open(store, tenant, new, now_us())
        .await
        .map(drop)
        .map_err(broken)
}

impl Gathered {
    /// Opens, scores and gathers a page of responses.
    fn read(
        &mut self,
        panel: &Panel,
        organization: &Organization,
        safe: &Safe,
        page: &[Sealed],
    ) -> Result<(), Stopped> {
        page.iter().for_each(|one| self.digest.update(&one.bytes));
        let reader = panel.reader()?;
        let one = |sealed: &Sealed| {
            let response = open(safe, sealed)?;
            score(panel, &reader, organization.employees, response)
        };
        let scored: Vec<Scored> = page.par_iter().map(one).collect::<Result<_, Stopped>>()?;
        scored.iter().for_each(|one| self.take(organization, one));
        Ok(())
    }

    fn take(&mut self, organization: &Organization, scored: &Scored) {
        let response = &scored.response;
        if let Some((text, read)) = &scored.said {
            self.hear(text, read);
        }
        // Whoever only wrote is heard and has no score.
        let Some(score) = Score::of(&response.ratings) else {
            return;
        };
        let traits = organization
            .drill_down
            .iter()
            .map(|name| response.trait_of(name));
        self.respondents.push(Respondent {
            traits: traits.collect(),
            score,
            forecast: Some(scored.forecast),
        });
        let quality = response.quality.completed_from(&response.ratings);
        self.members.push(Member {
            score,
            text: scored.said.as_ref().map(|(_, read)| read.outputs),
            reliability: quality.reliability(),
        });
    }

    fn hear(&mut self, text: &str, read: &Read) {
        let spoken = Category::ALL.into_iter().zip(read.outputs.signals);
        for (category, _) in spoken.filter(|(_, chance)| *chance >= 0.5) {
            *self.signals.entry(category.title().to_owned()).or_default() += 1;
        }
        let crisis = judge(read.risk, &read.reading);
        if crisis.is_detected {
            self.crises += 1;
            self.kinds.extend(crisis.kinds);
        }
        self.themes.add(text);
    }
}

/// Counts in steps of the floor; smaller ones are left out.
fn stepped(counts: &BTreeMap<String, usize>, floor: Floor) -> BTreeMap<String, usize> {
    let floor = floor.get();
    let told = counts.iter().filter(|(_, people)| **people >= floor);
    told.map(|(name, people)| (name.clone(), people / floor * floor))
        .collect()
}

fn open(safe: &Safe, sealed: &Sealed) -> Result<Response, Stopped> {
    let clear = safe.unseal(sealed.id, &sealed.bytes).map_err(broken)?;
    let document: Value = serde_json::from_slice(&clear).map_err(broken)?;
    let response = Response::kept(&document);
    response.ok_or_else(|| failed("a kept response cannot be read"))
}

/// Uniform draws in (0, 1) from the operating system's randomness.
fn uniform_draws() -> Result<impl FnMut() -> f64, Stopped> {
    let mut probe = [0; 8];
    getrandom::fill(&mut probe).map_err(broken)?;
    Ok(move || {
        let mut bytes = [0; 8];
        // It answered a moment ago; should it stop, the last draw is used again rather than none.
        if getrandom::fill(&mut bytes).is_ok() {
            probe = bytes;
        }
        ((u64::from_be_bytes(probe) >> 11) as f64 + 0.5) / (1u64 << 53) as f64
    })
}

fn failed(message: impl Into<String>) -> Stopped {
    Stopped::Failed(message.into())
}

fn broken(error: impl std::error::Error) -> Stopped {
    Stopped::Failed(chain(&error))
}

/// Bands as they are told: in steps of the floor.
pub fn told_bands(release: &Release, bands: &[Band]) -> Vec<(String, usize)> {
    let word = |band: &Band| match band.tiers.as_slice() {
        [] => String::new(),
        [one] => one.clone(),
        [first, .., last] => format!("{first} to {last}"),
    };
    let line = |band: &Band| {
        let people = match release.loss_milli {
            // Small counts are noise as likely as people, and noise is what protects them.
            Some(_) => (band.people / release.floor as f64).round() as usize * release.floor,
            None if band.people < 0.5 => 0,
            None => release.stepped(band.people),
        };
        (word(band), people)
    };
    bands.iter().map(line).collect()
}
