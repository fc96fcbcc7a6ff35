//! How good any model can be on generated data, from the generator's own probabilities.
//!
//! - [`oracle`]: the chance of being right about a tier when the latent state itself is known. No model comes near it,
//!   because nobody sees the latent state.
//! - [`bayes`]: the same when the factors are seen only through the ratings that were given, while all else that could be
//!   learned (place, department, demographics, the level of the text, who answered without care) is known exactly. A
//!   model sees less than that, so it cannot do better. The integral over the factors is a sum over a grid; that the
//!   weighted sum of six posteriors is normal is its one approximation.
//! - [`reading`]: the chance of agreeing with the readers of a text when its intended level is known.

use super::draw::normal_cdf;
use super::outcome::{OUTCOME_SIGMA, PERSISTENCE, beside_factors, tier_chances, weighted};
use super::person::{Care, GENERAL_SIGMA, ITEM_SIGMA, MIDDLE, SLOPE, SPECIFIC_SIGMA};
use super::text::read_chances;
use super::world::TREND_SIGMA;
use super::{Generated, Generator};
use crate::hseg::survey::{Category, Rating};

/// Grid points of the general part, and of each category's own.
const GENERAL_POINTS: usize = 21;
const SPECIFIC_POINTS: usize = 17;
/// How far the grids reach, in spreads.
const REACH: f64 = 3.5;

/// A mean over records, with its 95 % interval.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Ceiling {
    pub value: f64,
    pub lower: f64,
    pub upper: f64,
    pub records: usize,
}

impl Ceiling {
    /// The mean of what each record allows.
    pub fn of(chances: impl IntoIterator<Item = f64>) -> Ceiling {
        let chances: Vec<f64> = chances.into_iter().collect();
        let count = chances.len().max(1) as f64;
        let value = chances.iter().sum::<f64>() / count;
        let variance = chances.iter().map(|it| (it - value).powi(2)).sum::<f64>() / count;
        let reach = 1.96 * (variance / count).sqrt();
        Ceiling {
            value,
            lower: value - reach,
            upper: value + reach,
            records: chances.len(),
        }
    }
}

/// The best chance of naming the tier when everything but chance is known.
pub fn oracle(generated: &Generated) -> f64 {
    highest(tier_chances(
        generated.truth.expected_follow_up,
        OUTCOME_SIGMA,
    ))
}

/// The best chance of naming the label of the text, if there is one.
pub fn reading(generated: &Generated) -> Option<f64> {
    generated
        .record
        .label
        .map(|_| highest(read_chances(generated.truth.level)))
}

/// The best chance of naming the tier from what was answered.
pub fn bayes(generator: &Generator, generated: &Generated) -> f64 {
    highest(posterior_chances(generator, generated))
}

fn highest(chances: [f64; 5]) -> f64 {
    chances.into_iter().fold(0.0, f64::max)
}

fn posterior_chances(generator: &Generator, generated: &Generated) -> [f64; 5] {
    let truth = &generated.truth;
    let has_half_steps =
        generator.world().organizations[generated.record.organization].has_half_steps;
    let likelihoods = Likelihoods::of(generated, if has_half_steps { 0.5 } else { 1.0 });
    let usual = 7.0 * (MIDDLE + SLOPE * (1.0 - PERSISTENCE) * weighted(&truth.expected))
        + beside_factors(truth.level, &generated.record.demographics);
    let mut chances = [0.0; 5];
    let mut total = 0.0;
    for point in 0..GENERAL_POINTS {
        let general = grid(point, GENERAL_POINTS, GENERAL_SIGMA);
        let weight = density(general / GENERAL_SIGMA) * level_chance(generator, generated, general);
        let state = likelihoods.given(general, &truth.expected);
        let mean = usual + 7.0 * SLOPE * PERSISTENCE * state.mean;
        let variance = (7.0 * SLOPE * PERSISTENCE).powi(2) * state.variance
            + OUTCOME_SIGMA.powi(2)
            + TREND_SIGMA.powi(2);
        let weight = weight * state.likelihood;
        let here = tier_chances(mean, variance.sqrt());
        chances
            .iter_mut()
            .zip(here)
            .for_each(|(sum, chance)| *sum += weight * chance);
        total += weight;
    }
    chances.map(|chance| chance / total)
}

/// The chance of the text's level, given the general part.
fn level_chance(generator: &Generator, generated: &Generated, general: f64) -> f64 {
    use super::person::{STRAIN, STRAIN_LIMITS};
    let climate = generator.world().organizations[generated.record.organization].climate;
    let middle = -STRAIN.0 * (climate + general);
    let below = |limit: Option<&f64>, open: f64| {
        limit.map_or(open, |limit| normal_cdf((limit - middle) / STRAIN.1))
    };
    let level = generated.truth.level.index();
    let upper = below(STRAIN_LIMITS.get(level), 1.0);
    let lower = below(level.checked_sub(1).map(|it| &STRAIN_LIMITS[it]), 0.0);
    (upper - lower).max(0.0)
}

/// What the ratings say: for each category, the intervals in which its statements were felt.
struct Likelihoods {
    intervals: [Vec<(f64, f64)>; 6],
}

/// The weighted sum of the factors, given the general part and the ratings.
struct State {
    likelihood: f64,
    mean: f64,
    variance: f64,
}

impl Likelihoods {
    fn of(generated: &Generated, step: f64) -> Likelihoods {
        let painting = generated.truth.painting;
        // Ratings given without care say nothing of the state.
        let is_honest = generated.truth.care == Care::Honest;
        let intervals = Category::ALL.map(|category| {
            let ratings = category.questions().filter(|_| is_honest);
            let given = ratings.filter_map(|question| generated.record.ratings.get(question));
            given.map(|rating| felt(rating, step, painting)).collect()
        });
        Likelihoods { intervals }
    }

    fn given(&self, general: f64, expected: &[f64; 6]) -> State {
        let weights: f64 = Category::ALL.iter().map(|it| it.weight()).sum();
        let mut state = State {
            likelihood: 1.0,
            mean: 0.0,
            variance: 0.0,
        };
        for category in Category::ALL {
            let k = category.index();
            let share = category.weight() / weights;
            let (mass, mean, variance) = self.category(k, expected[k] + general);
            state.likelihood *= mass;
            state.mean += share * mean;
            state.variance += share * share * variance;
        }
        state
    }

    /// Likelihood of a category's ratings, and mean and variance of its factor, around a middle.
    fn category(&self, k: usize, middle: f64) -> (f64, f64, f64) {
        let (mut mass, mut first, mut second) = (0.0, 0.0, 0.0);
        for point in 0..SPECIFIC_POINTS {
            let own = grid(point, SPECIFIC_POINTS, SPECIFIC_SIGMA);
            let factor = middle + own;
            let likelihood = self.intervals[k].iter().fold(
                density(own / SPECIFIC_SIGMA),
                |product, (low, high)| {
                    product
                        * (normal_cdf((high - factor) / ITEM_SIGMA)
                            - normal_cdf((low - factor) / ITEM_SIGMA))
                        .max(1e-12)
                },
            );
            mass += likelihood;
            first += likelihood * factor;
            second += likelihood * factor * factor;
        }
        let mean = first / mass;
        (mass, mean, (second / mass - mean * mean).max(0.0))
    }
}

/// Between which latent values a statement with this rating was felt.
fn felt(rating: Rating, step: f64, painting: f64) -> (f64, f64) {
    let latent = |value: f64| (value - MIDDLE) / SLOPE - painting;
    let value = rating.get();
    let low = if value <= Rating::MIN {
        f64::NEG_INFINITY
    } else {
        latent(value - step / 2.0)
    };
    let high = if value >= Rating::MAX {
        f64::INFINITY
    } else {
        latent(value + step / 2.0)
    };
    (low, high)
}

fn grid(point: usize, points: usize, sigma: f64) -> f64 {
    sigma * REACH * (2.0 * point as f64 / (points - 1) as f64 - 1.0)
}

fn density(z: f64) -> f64 {
    (-0.5 * z * z).exp()
}

/// The tier that is likeliest by what was answered.
#[cfg(test)]
pub(super) fn likeliest(generator: &Generator, generated: &Generated) -> crate::hseg::score::Tier {
    let chances = posterior_chances(generator, generated);
    crate::hseg::score::Tier::ALL[ombud_engine::answering::highest(&chances)]
}
