//! Recommendations as they are told: interventions of the catalogue, ranked for a score.

use super::interventions::{Catalogue, RECOMMENDED_MAX};
use super::score::Score;
use super::survey::Domain;
use serde::Serialize;
use utoipa::ToSchema;

/// Something that can be done.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct Recommendation {
    pub id: String,
    pub title: String,
    pub what: String,
    pub category: String,
    /// `now`, `soon` or `planned`.
    pub urgency: String,
    /// `small`, `medium` or `large`.
    pub effort: String,
    /// 1 to 5, by those who wrote the catalogue.
    pub expected_impact: u8,
    /// Points of the overall score that the category costs now.
    pub lost_points: f64,
}

/// What to do for category scores in a domain, best first.
pub fn recommend(domain: Domain, categories: &[Option<f64>; 6]) -> Vec<Recommendation> {
    let Some(score) = Score::of_categories(*categories) else {
        return Vec::new();
    };
    let ranked = Catalogue::shipped().recommend(&score, domain, RECOMMENDED_MAX);
    let told = ranked.into_iter().map(|it| Recommendation {
        id: it.intervention.id.clone(),
        title: it.intervention.title.clone(),
        what: it.intervention.what.clone(),
        category: it.intervention.category.title().to_owned(),
        urgency: it.intervention.urgency.word().to_owned(),
        effort: it.intervention.effort.word().to_owned(),
        expected_impact: it.intervention.impact,
        lost_points: (it.lost_points * 100.0).round() / 100.0,
    });
    told.collect()
}
