//! The formula: ratings → six category scores, one overall score from 7 to 28, one tier.
//!
//! A category's score is the mean of its answered statements, 1 to 4. The overall score is
//! `7 × Σ(weight × category) / Σ weight` over the categories that have an answer; with no answer at all there is no
//! score. Limits belong to the tier below them: 12 is Crisis, 12.01 is At_Risk. A score within [`ROUNDING`] of a limit is
//! on it, so that the order of additions never moves a person into another tier.

use super::survey::{Category, Rating, Ratings};
use std::fmt;

/// What the sums of a score may differ by without meaning anything.
pub const ROUNDING: f64 = 1e-9;
/// The overall score of ratings that are all 1.
pub const OVERALL_MIN: f64 = 7.0;
/// The overall score of ratings that are all 4.
pub const OVERALL_MAX: f64 = 28.0;

/// How safe a place is by a score.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Tier {
    Crisis,
    AtRisk,
    Mixed,
    Safe,
    Thriving,
}

impl Tier {
    /// From the least healthy to the healthiest.
    pub const ALL: [Tier; 5] = [
        Tier::Crisis,
        Tier::AtRisk,
        Tier::Mixed,
        Tier::Safe,
        Tier::Thriving,
    ];

    /// The tier of an overall score.
    pub fn of(overall: f64) -> Tier {
        let is_within = |tier: &Tier| tier.limit().is_none_or(|limit| overall <= limit + ROUNDING);
        Tier::ALL
            .into_iter()
            .find(is_within)
            .unwrap_or(Tier::Thriving)
    }

    /// The highest overall score of the tier; the last has none.
    pub fn limit(self) -> Option<f64> {
        match self {
            Tier::Crisis => Some(12.0),
            Tier::AtRisk => Some(16.0),
            Tier::Mixed => Some(20.0),
            Tier::Safe => Some(24.0),
            Tier::Thriving => None,
        }
    }

    /// The word on the wire.
    pub fn word(self) -> &'static str {
        match self {
            Tier::Crisis => "Crisis",
            Tier::AtRisk => "At_Risk",
            Tier::Mixed => "Mixed",
            Tier::Safe => "Safe",
            Tier::Thriving => "Thriving",
        }
    }

    /// Reads the word.
    pub fn parse(word: &str) -> Option<Tier> {
        Tier::ALL.into_iter().find(|tier| tier.word() == word)
    }

    /// 0 for Crisis to 4 for Thriving.
    pub fn index(self) -> usize {
        self as usize
    }
}

impl fmt::Display for Tier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// What the formula says of one person's ratings.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Score {
    /// 7 to 28.
    pub overall: f64,
    pub tier: Tier,
    /// 1 to 4 each; `None` where nothing was answered.
    pub categories: [Option<f64>; 6],
}

impl Score {
    /// `None` when nothing was answered.
    pub fn of(ratings: &Ratings) -> Option<Score> {
        Score::of_categories(Category::ALL.map(|category| category_score(ratings, category)))
    }

    /// The score of category scores, such as the means of a group.
    pub fn of_categories(categories: [Option<f64>; 6]) -> Option<Score> {
        let mut sum = 0.0;
        let mut weights = 0.0;
        for category in Category::ALL {
            if let Some(score) = categories[category.index()] {
                sum += category.weight() * score;
                weights += category.weight();
            }
        }
        let overall = 7.0 * sum / weights;
        (weights > 0.0).then(|| Score {
            overall,
            tier: Tier::of(overall),
            categories,
        })
    }

    /// The score of one category.
    pub fn category(&self, category: Category) -> Option<f64> {
        self.categories[category.index()]
    }

    /// How much each category takes away from the healthiest overall score, in points of the overall score, worst first.
    /// Their sum and `overall` make [`OVERALL_MAX`].
    pub fn losses(&self) -> Vec<(Category, f64)> {
        let answered = |category: &Category| self.category(*category).is_some();
        let weights: f64 = Category::ALL
            .iter()
            .filter(|it| answered(it))
            .map(|it| it.weight())
            .sum();
        let loss = |category: Category| {
            let score = self.category(category)?;
            Some((
                category,
                7.0 * category.weight() * (Rating::MAX - score) / weights,
            ))
        };
        let mut losses: Vec<(Category, f64)> = Category::ALL.into_iter().filter_map(loss).collect();
        losses.sort_by(|a, b| b.1.total_cmp(&a.1));
        losses
    }
}

fn category_score(ratings: &Ratings, category: Category) -> Option<f64> {
    let given: Vec<f64> = category
        .questions()
        .filter_map(|question| ratings.get(question).map(Rating::get))
        .collect();
    (!given.is_empty()).then(|| given.iter().sum::<f64>() / given.len() as f64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hseg::survey::QUESTIONS;
    use proptest::prelude::*;

    fn all(value: f64) -> Ratings {
        Ratings::new([Rating::new(value); QUESTIONS])
    }

    fn ratings() -> impl Strategy<Value = [Option<f64>; QUESTIONS]> {
        prop::array::uniform22(prop::option::weighted(0.8, 1.0..=4.0f64))
    }

    fn built(values: [Option<f64>; QUESTIONS]) -> Ratings {
        Ratings::new(values.map(|value| value.and_then(Rating::new)))
    }

    #[test]
    fn the_ends_of_the_scale_are_7_and_28() {
        assert_eq!(Score::of(&all(1.0)).unwrap().overall, OVERALL_MIN);
        assert_eq!(Score::of(&all(4.0)).unwrap().overall, OVERALL_MAX);
        assert_eq!(Score::of(&Ratings::default()), None);
    }

    #[test]
    fn a_limit_belongs_to_the_tier_below_it() {
        let tiers = [
            7.0, 12.0, 12.01, 16.0, 16.01, 20.0, 20.01, 24.0, 24.01, 28.0,
        ]
        .map(|it| Tier::of(it).word());
        assert_eq!(
            tiers,
            [
                "Crisis", "Crisis", "At_Risk", "At_Risk", "Mixed", "Mixed", "Safe", "Safe",
                "Thriving", "Thriving"
            ]
        );
    }

    #[test]
    fn a_score_that_is_a_limit_but_for_rounding_is_on_it() {
        // 7 × 12/7 is 12.000000000000002 in some orders of addition.
        let score = Score::of(&all(12.0 / 7.0)).unwrap();
        assert_eq!(score.tier, Tier::Crisis, "{}", score.overall);
        assert_eq!(Tier::of(12.000000000000002), Tier::Crisis);
    }

    #[test]
    fn the_weights_are_those_of_the_assessment() {
        // Category 1 (weight 3 of 15) at 1, all others at 4: 28 - 7 × 3 × 3 / 15.
        let values = std::array::from_fn(|q| Rating::new(if q < 4 { 1.0 } else { 4.0 }));
        let score = Score::of(&Ratings::new(values)).unwrap();
        assert!((score.overall - 23.8).abs() < 1e-12);
        assert_eq!(score.tier, Tier::Safe);
        assert_eq!(score.losses()[0].0, Category::PowerAbuse);
    }

    #[test]
    fn a_category_without_answers_has_no_score_and_no_weight() {
        let values = std::array::from_fn(|q| Rating::new(2.0).filter(|_| q >= 4));
        let score = Score::of(&Ratings::new(values)).unwrap();
        assert_eq!(score.category(Category::PowerAbuse), None);
        assert!((score.overall - 14.0).abs() < 1e-12);
    }

    proptest! {
        #[test]
        fn scores_stay_on_their_scales(values in ratings()) {
            let ratings = built(values);
            match Score::of(&ratings) {
                None => prop_assert_eq!(ratings.answered(), 0),
                Some(score) => {
                    prop_assert!((OVERALL_MIN - ROUNDING..=OVERALL_MAX + ROUNDING).contains(&score.overall));
                    for category in score.categories.into_iter().flatten() {
                        prop_assert!((1.0 - ROUNDING..=4.0 + ROUNDING).contains(&category));
                    }
                    let lost: f64 = score.losses().iter().map(|(_, loss)| loss).sum();
                    prop_assert!((score.overall + lost - OVERALL_MAX).abs() < ROUNDING);
                }
            }
        }

        #[test]
        fn a_healthier_answer_never_lowers_the_score(values in ratings(), question in 0..QUESTIONS, more in 0.0..3.0f64) {
            let Some(before) = values[question] else { return Ok(()) };
            let mut better = values;
            better[question] = Some((before + more).min(4.0));
            let (before, after) = (Score::of(&built(values)).unwrap(), Score::of(&built(better)).unwrap());
            prop_assert!(after.overall >= before.overall - ROUNDING);
            prop_assert!(after.tier >= before.tier);
        }

        #[test]
        fn tiers_follow_the_overall_score(values in ratings()) {
            if let Some(score) = Score::of(&built(values)) {
                prop_assert_eq!(score.tier, Tier::of(score.overall));
                prop_assert!(score.tier.limit().is_none_or(|limit| score.overall <= limit + ROUNDING));
            }
        }
    }
}
