//! What is seen three months later: the tier at follow-up, a resignation, a formal complaint.
//!
//! The follow-up score is a linear function of the latent factors, the text's level and the person's context, plus a
//! normal error, so that the chance of each tier is a difference of normal distribution functions.

use super::draw::{Draw, normal_cdf, sigmoid};
use super::person::{MIDDLE, SLOPE, Truth};
use super::world::Organization;
use crate::hseg::demographics::{
    AgeRange, Demographics, EmploymentStatus, PositionLevel, TenureRange, WorkLocation,
};
use crate::hseg::score::Tier;
use crate::hseg::survey::Category;
use crate::hseg::text::TextRisk;

/// Spread of the follow-up score around what is expected, in points of the overall score.
pub const OUTCOME_SIGMA: f64 = 1.5;
/// Three months pull a person towards what is usual in the place.
pub(super) const PERSISTENCE: f64 = 0.8;
/// What a text of each level says about the months to come, in points.
const TEXT_EFFECT: [f64; 5] = [0.0, -0.4, -1.2, -2.6, -5.0];
/// The middle of the follow-up score, where chances of resignation and complaint are told from.
const MIDDLE_SCORE: f64 = 7.0 * MIDDLE;
/// Spread of an organization's later score around the mean of its people's.
const ORGANIZATION_SIGMA: f64 = 0.8;
/// Spread of the logarithm of its turnover.
const TURNOVER_SIGMA: f64 = 0.15;
/// Streams of organizations' outcomes, apart from those of their making.
const OUTCOME_STREAMS: u64 = 1 << 31;

/// What became of a person.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outcome {
    pub tier: Tier,
    pub has_resigned: bool,
    pub has_complained: bool,
}

/// What became of an organization.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct OrganizationOutcome {
    pub tier: Tier,
    /// The share of its people who resigned.
    pub turnover: f64,
    /// The chance of each tier, when everything is known but chance.
    pub chances: [f64; 5],
}

pub(super) fn draw(
    truth: &mut Truth,
    of: &Demographics,
    place: &Organization,
    draw: &mut Draw,
) -> Outcome {
    truth.expected_follow_up = expected(&truth.factors, truth, of, place);
    let follow_up = truth.expected_follow_up + OUTCOME_SIGMA * draw.normal();
    truth.resignation = resignation(follow_up, truth.level, of);
    Outcome {
        tier: Tier::of(follow_up),
        has_resigned: draw.chance(truth.resignation),
        has_complained: draw.chance(complaint(truth)),
    }
}

fn expected(factors: &[f64; 6], truth: &Truth, of: &Demographics, place: &Organization) -> f64 {
    let stays: [f64; 6] =
        std::array::from_fn(|k| PERSISTENCE * factors[k] + (1.0 - PERSISTENCE) * truth.expected[k]);
    7.0 * (MIDDLE + SLOPE * weighted(&stays)) + place.trend + beside_factors(truth.level, of)
}

/// What adds to the follow-up score beside the factors and the organization's course.
pub(super) fn beside_factors(level: TextRisk, of: &Demographics) -> f64 {
    TEXT_EFFECT[level.index()] + context_effect(level, of)
}

/// The mean of factors by the weights of the assessment.
pub(super) fn weighted(factors: &[f64; 6]) -> f64 {
    let weights: f64 = Category::ALL.iter().map(|it| it.weight()).sum();
    Category::ALL
        .iter()
        .map(|it| it.weight() * factors[it.index()])
        .sum::<f64>()
        / weights
}

/// What a person's context adds. Read from what they said: a withheld answer has no effect.
fn context_effect(level: TextRisk, of: &Demographics) -> f64 {
    let is_new = of.tenure_range == Some(TenureRange::UnderOne);
    let is_entry = of.position_level == Some(PositionLevel::Entry);
    let is_insecure = matches!(
        of.employment_status,
        Some(EmploymentStatus::Contract | EmploymentStatus::Intern)
    );
    let has_stayed_long = of.tenure_range == Some(TenureRange::EightOrMore);
    let effects = [
        (is_new && is_entry, -1.6),
        (is_insecure, -1.4),
        (of.supervises_others == Some(true), 0.6),
        (of.work_location == Some(WorkLocation::Remote), 0.7),
        (has_stayed_long && level >= TextRisk::Medium, -1.2),
    ];
    effects
        .iter()
        .filter(|(holds, _)| *holds)
        .map(|(_, effect)| effect)
        .sum()
}

/// The chance of each tier around an expected score.
pub(super) fn tier_chances(expected: f64, sigma: f64) -> [f64; 5] {
    let below = |tier: Tier| {
        tier.limit()
            .map_or(1.0, |limit| normal_cdf((limit - expected) / sigma))
    };
    let mut least = 0.0;
    Tier::ALL.map(|tier| {
        let chance = below(tier) - least;
        least += chance;
        chance
    })
}

fn resignation(follow_up: f64, level: TextRisk, of: &Demographics) -> f64 {
    let is_young = matches!(of.age_range, Some(AgeRange::From18 | AgeRange::From25));
    let is_new = of.tenure_range == Some(TenureRange::UnderOne);
    let mut logit = -3.4 - 0.16 * (follow_up - MIDDLE_SCORE);
    logit += 0.4 * f64::from(u8::from(is_young)) + 0.5 * f64::from(u8::from(is_new));
    logit += 0.5 * f64::from(u8::from(level >= TextRisk::High));
    sigmoid(logit)
}

fn complaint(truth: &Truth) -> f64 {
    let of = |category: Category| truth.factors[category.index()];
    let harm = 0.7 * of(Category::PowerAbuse) + 0.6 * of(Category::Discrimination);
    // Where nothing follows from complaints, fewer are made.
    let trust = 0.5 * of(Category::Accountability);
    sigmoid(-4.4 - harm + trust + 0.4 * truth.level.index() as f64)
}

/// What becomes of an organization whose people have these truths.
pub fn organization_outcome<'a>(
    seed: u64,
    organization: usize,
    people: impl IntoIterator<Item = &'a Truth>,
) -> Option<OrganizationOutcome> {
    let (mut scores, mut resignations, mut count) = (0.0, 0.0, 0.0);
    for truth in people {
        scores += truth.expected_follow_up;
        resignations += truth.resignation;
        count += 1.0;
    }
    if count == 0.0 {
        return None;
    }
    let mut draw = Draw::stream(seed, OUTCOME_STREAMS + organization as u64);
    let expected = scores / count;
    let later = expected + ORGANIZATION_SIGMA * draw.normal();
    let turnover = resignations / count * (TURNOVER_SIGMA * draw.normal()).exp();
    Some(OrganizationOutcome {
        tier: Tier::of(later),
        turnover: turnover.min(1.0),
        chances: tier_chances(expected, ORGANIZATION_SIGMA),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chances_of_tiers_are_chances() {
        for expected in [5.0, 12.0, 17.85, 24.0, 40.0] {
            let chances = tier_chances(expected, OUTCOME_SIGMA);
            assert!((chances.iter().sum::<f64>() - 1.0).abs() < 1e-9);
            assert!(chances.iter().all(|chance| (0.0..=1.0).contains(chance)));
        }
        let chances = tier_chances(14.0, OUTCOME_SIGMA);
        assert_eq!(
            ombud_engine::answering::highest(&chances),
            Tier::AtRisk.index()
        );
    }
}
