//! What is kept of a campaign for telling: sums over whole cells, and how many people are in each tier.
//!
//! Made once, when a campaign has ended, and never again. [`Release::group`] answers any filter from it; nothing else of a
//! respondent is needed afterwards. A category's sum over a cell is kept only when at least the floor of its people
//! answered the category: those are then the category's own, smaller cells, and the argument of the module holds for them
//! as it does for people.

use super::cells::{Label, Traits, divide, plain, spell_alike};
use super::noise::{Loss, laplace, scale};
use super::{FLOOR_DEFAULT, Floor};
use crate::hseg::score::{OVERALL_MAX, OVERALL_MIN, Score, Tier};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The middle of the scale, from which noisy sums are counted.
const MIDDLE: f64 = 2.5;
/// What one answer can move a category by: 1 to 4.
const CATEGORY_RANGE: f64 = 3.0;
/// What one respondent can move an overall score by: 7 to 28.
const OVERALL_RANGE: f64 = OVERALL_MAX - OVERALL_MIN;
/// The steps that means are told in.
const STEPS: [f64; 10] = [0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0];

/// One who answered, as far as a release needs them.
#[derive(Debug, Clone, PartialEq)]
pub struct Respondent {
    pub traits: Traits,
    pub score: Score,
    /// What is forecast, where a model did.
    pub forecast: Option<Tier>,
}

/// What a question asks for: a value in some dimensions.
pub type Filters = BTreeMap<String, String>;

/// What may be told of a campaign, for good.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Release {
    pub floor: usize,
    /// The dimensions that can be asked for, the most wanted first.
    pub dimensions: Vec<String>,
    pub cells: Vec<Told>,
    /// Scores by tier.
    pub tiers: Vec<Band>,
    /// Forecasts by tier.
    pub forecast: Vec<Band>,
    /// The privacy loss in thousandths of ε, where noise was added.
    pub loss_milli: Option<u64>,
}

/// What is kept of a cell.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Told {
    /// One for each dimension.
    pub labels: Vec<Label>,
    pub people: f64,
    pub categories: [Option<Sum>; 6],
    pub overall: Option<Sum>,
}

/// A sum and of how many.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Sum {
    pub sum: f64,
    pub number: f64,
}

/// Neighbouring tiers that are told together, worst first.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Band {
    pub tiers: Vec<String>,
    pub people: f64,
}

/// A group as it may be told.
#[derive(Debug, Clone, PartialEq)]
pub struct Group {
    /// At least so many people, in steps of the floor.
    pub people_at_least: usize,
    /// Whether more people may be meant, who are told only together with others.
    pub is_part: bool,
    pub overall: Option<f64>,
    /// That of every score which is told as this one; none where a limit lies among them.
    pub tier: Option<Tier>,
    pub categories: [Option<f64>; 6],
}

/// Noise to be added: how much is lost, and where chance comes from.
pub struct Noise<'a> {
    pub loss: Loss,
    /// Uniform draws in (0, 1).
    pub uniform: &'a mut dyn FnMut() -> f64,
}

impl Release {
    /// Makes what may be told of these respondents. `None` when they are fewer than the floor.
    pub fn of(
        respondents: &[Respondent],
        dimensions: &[String],
        floor: Floor,
        noise: Option<Noise<'_>>,
    ) -> Option<Release> {
        let mut traits: Vec<Traits> = respondents.iter().map(|one| one.traits.clone()).collect();
        spell_alike(&mut traits, dimensions.len());
        let cells = divide(&traits, dimensions.len(), floor);
        if cells.is_empty() {
            return None;
        }
        let told = cells.iter().map(|cell| {
            let members: Vec<&Respondent> =
                cell.members.iter().map(|at| &respondents[*at]).collect();
            told(&cell.labels, &members, floor)
        });
        let forecasts: Vec<Tier> = respondents.iter().filter_map(|one| one.forecast).collect();
        let mut release = Release {
            floor: floor.get(),
            dimensions: dimensions.to_vec(),
            cells: told.collect(),
            tiers: match noise {
                // Which tiers are told together would tell, without noise, how many are in them.
                Some(_) => single_bands(respondents.iter().map(|one| one.score.tier)),
                None => bands(respondents.iter().map(|one| one.score.tier), floor),
            },
            forecast: match floor.admits(forecasts.len()) {
                // Forecasts of fewer than all would tell who has none.
                true if forecasts.len() == respondents.len() => bands(forecasts.into_iter(), floor),
                _ => Vec::new(),
            },
            loss_milli: None,
        };
        if let Some(noise) = noise {
            release.blur(noise);
        }
        Some(release)
    }

    /// What may be told of those for whom every filter holds. `None` when no whole cell lies within the filters.
    pub fn group(&self, filters: &Filters) -> Option<Group> {
        let within = self.within(filters)?;
        let people: f64 = within.iter().map(|cell| cell.people).sum();
        let mean = |sums: Vec<Sum>, range: f64, low: f64, high: f64| {
            let number: f64 = sums.iter().map(|sum| sum.number).sum();
            let sum: f64 = sums.iter().map(|sum| sum.sum).sum();
            (number >= 1.0).then(|| {
                let step = precision(range, number);
                let told = rounded((sum / number).clamp(low, high), step);
                // The nearest step may lie beyond the scale.
                (told.clamp(low, high), tier_within(told, step))
            })
        };
        let categories = std::array::from_fn(|at| {
            let sums = within
                .iter()
                .filter_map(|cell| cell.categories[at])
                .collect();
            mean(sums, CATEGORY_RANGE, 1.0, 4.0).map(|(value, _)| value)
        });
        let sums = within.iter().filter_map(|cell| cell.overall).collect();
        let overall = mean(sums, OVERALL_RANGE, OVERALL_MIN, OVERALL_MAX);
        Some(Group {
            people_at_least: self.stepped(people),
            is_part: self.has_more(filters),
            tier: overall.and_then(|(_, tier)| tier),
            overall: overall.map(|(value, _)| value),
            categories,
        })
    }

    /// Everybody.
    pub fn everybody(&self) -> Option<Group> {
        self.group(&Filters::new())
    }

    /// The values of a dimension that can be asked for.
    pub fn values(&self, dimension: &str) -> Vec<String> {
        let Some(at) = self.dimensions.iter().position(|name| name == dimension) else {
            return Vec::new();
        };
        let said = self.cells.iter().filter_map(|cell| match &cell.labels[at] {
            Label::Is(value) => value.clone(),
            Label::Mixed => None,
        });
        let values: std::collections::BTreeSet<String> = said.collect();
        values.into_iter().collect()
    }

    /// Whether some values of a dimension are told only together with others.
    pub fn has_merged(&self, dimension: &str) -> bool {
        let at = self.dimensions.iter().position(|name| name == dimension);
        at.is_some_and(|at| {
            self.cells
                .iter()
                .any(|cell| cell.labels[at] == Label::Mixed)
        })
    }

    /// The cells that lie wholly within the filters, unless there are none.
    pub fn within(&self, filters: &Filters) -> Option<Vec<&Told>> {
        let mut wanted = Vec::with_capacity(filters.len());
        for (dimension, value) in filters {
            let at = self.dimensions.iter().position(|name| name == dimension)?;
            wanted.push((at, plain(value)));
        }
        let is_within = |cell: &&Told| {
            wanted
                .iter()
                .all(|(at, value)| is_said(&cell.labels[*at], value))
        };
        let within: Vec<&Told> = self.cells.iter().filter(is_within).collect();
        (!within.is_empty()).then_some(within)
    }

    /// Whether cells that are told only together with others may hold some of whom the filters mean.
    fn has_more(&self, filters: &Filters) -> bool {
        let may_hold = |cell: &Told| {
            let labels = self.dimensions.iter().zip(&cell.labels);
            let mut is_merged = false;
            for (dimension, label) in labels {
                match (filters.get(dimension), label) {
                    (Some(_), Label::Mixed) => is_merged = true,
                    (Some(value), label) if !is_said(label, &plain(value)) => return false,
                    _ => {}
                }
            }
            is_merged
        };
        self.cells.iter().any(may_hold)
    }

    /// How many people, in steps of the floor.
    pub fn stepped(&self, people: f64) -> usize {
        let floor = if self.floor == 0 {
            FLOOR_DEFAULT
        } else {
            self.floor
        };
        (people.max(0.0).round() as usize / floor * floor).max(floor)
    }

    /// Adds noise to every number that is kept. Means are taken from the noisy sums, so they need none of their own.
    fn blur(&mut self, noise: Noise<'_>) {
        let Noise { loss, uniform } = noise;
        let mut draw = |sensitivity: f64| laplace(scale(sensitivity, loss), uniform());
        for cell in &mut self.cells {
            cell.people = (cell.people + draw(1.0)).max(1.0);
            let number = cell.people;
            for category in &mut cell.categories {
                let (sum, of) = category.map_or((0.0, 0.0), |sum| (sum.sum, sum.number));
                let offset = sum - MIDDLE * of + draw(CATEGORY_RANGE / 2.0);
                let sum = MIDDLE * number + offset;
                *category = Some(Sum { sum, number });
            }
            let means = cell
                .categories
                .map(|sum| sum.map(|sum| (sum.sum / sum.number).clamp(1.0, 4.0)));
            cell.overall = Score::of_categories(means).map(|score| Sum {
                sum: score.overall * number,
                number,
            });
        }
        for band in &mut self.tiers {
            band.people = (band.people + draw(1.0)).max(0.0);
        }
        // Forecasts would be a ninth statistic of every respondent.
        self.forecast.clear();
        self.loss_milli = Some(loss.milli());
    }
}

/// The step in which a mean of `number` values is told: what one of them can move it by at most, rounded up.
///
/// ```
/// use ombud_kits::hseg::anonymity::release::precision;
/// assert_eq!(precision(3.0, 10.0), 0.5);
/// assert_eq!(precision(3.0, 300.0), 0.01);
/// ```
pub fn precision(range: f64, number: f64) -> f64 {
    let moved = range / number.max(1.0);
    let step = STEPS.into_iter().find(|step| *step >= moved - 1e-12);
    step.unwrap_or(STEPS[STEPS.len() - 1])
}

/// Whether the people of a cell said this, however it is written.
fn is_said(label: &Label, value: &str) -> bool {
    matches!(label, Label::Is(Some(said)) if plain(said) == value)
}

/// The tier of all scores that are told as `value` in steps of `step`, when they have one.
fn tier_within(value: f64, step: f64) -> Option<Tier> {
    let edge = |by: f64| Tier::of((value + by * step).clamp(OVERALL_MIN, OVERALL_MAX));
    (edge(-0.5) == edge(0.5)).then(|| edge(0.0))
}

fn rounded(value: f64, step: f64) -> f64 {
    let rounded = (value / step).round() * step;
    (rounded * 100.0).round() / 100.0
}

fn told(labels: &[Label], members: &[&Respondent], floor: Floor) -> Told {
    let sum = |values: Vec<f64>| {
        floor.admits(values.len()).then(|| Sum {
            sum: values.iter().sum(),
            number: values.len() as f64,
        })
    };
    let category = |at: usize| {
        let answered = members.iter().filter_map(|one| one.score.categories[at]);
        sum(answered.collect())
    };
    Told {
        labels: labels.to_vec(),
        people: members.len() as f64,
        categories: std::array::from_fn(category),
        overall: sum(members.iter().map(|one| one.score.overall).collect()),
    }
}

/// Counts by tier.
fn single_bands(tiers: impl Iterator<Item = Tier>) -> Vec<Band> {
    let mut counts = [0usize; 5];
    tiers.for_each(|tier| counts[tier.index()] += 1);
    let band = |tier: Tier| Band {
        tiers: vec![tier.word().to_owned()],
        people: counts[tier.index()] as f64,
    };
    Tier::ALL.map(band).to_vec()
}

/// Counts by tier, neighbours merged until none is below the floor. An empty tier is told with others like any that is too
/// small: told alone, it would say of those that are not that somebody is in them.
fn bands(tiers: impl Iterator<Item = Tier>, floor: Floor) -> Vec<Band> {
    let mut counts = [0usize; 5];
    tiers.for_each(|tier| counts[tier.index()] += 1);
    let mut bands: Vec<Band> = Vec::new();
    let (mut open, mut people) = (Vec::new(), 0);
    for tier in Tier::ALL {
        open.push(tier.word().to_owned());
        people += counts[tier.index()];
        if floor.admits(people) {
            bands.push(Band {
                tiers: std::mem::take(&mut open),
                people: std::mem::take(&mut people) as f64,
            });
        }
    }
    // What is left is too small for itself and joins its neighbour.
    if let Some(last) = bands.last_mut() {
        last.tiers.append(&mut open);
        last.people += people as f64;
    }
    bands
}

impl std::fmt::Debug for Noise<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Noise({})", self.loss)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn people(of: &[(&str, f64, usize)]) -> Vec<Respondent> {
        let one = |(department, value, number): &(&str, f64, usize)| {
            let respondent = Respondent {
                traits: vec![Some((*department).to_owned())],
                score: Score::of_categories([Some(*value); 6]).unwrap(),
                forecast: None,
            };
            vec![respondent; *number]
        };
        of.iter().flat_map(one).collect()
    }

    fn release(of: &[(&str, f64, usize)]) -> Release {
        Release::of(
            &people(of),
            &["department".to_owned()],
            Floor::default(),
            None,
        )
        .unwrap()
    }

    fn department(name: &str) -> Filters {
        Filters::from([("department".to_owned(), name.to_owned())])
    }

    #[test]
    fn a_group_is_told_in_steps_that_no_single_person_could_move() {
        let release = release(&[("Lab", 2.0, 12), ("Law", 3.0, 30)]);
        let lab = release.group(&department("Lab")).unwrap();
        assert_eq!(
            (lab.people_at_least, lab.categories[0], lab.overall),
            (10, Some(2.0), Some(14.0))
        );
        assert_eq!(lab.tier, Some(Tier::AtRisk));
        let all = release.everybody().unwrap();
        assert_eq!(all.people_at_least, 40);
        assert_eq!(all.categories[0], Some(2.7));
    }

    #[test]
    fn a_merged_department_is_not_told_alone() {
        let release = release(&[("Lab", 2.0, 12), ("Law", 3.0, 6), ("Roof", 1.0, 2)]);
        assert_eq!(release.group(&department("Roof")), None);
        assert_eq!(release.group(&department("Law")), None);
        assert!(release.has_merged("department"));
        assert_eq!(release.values("department"), ["Lab"]);
        assert_eq!(
            release.group(&Filters::from([("shoe".to_owned(), "42".to_owned())])),
            None
        );
    }

    #[test]
    fn a_score_that_is_told_coarsely_has_no_tier_where_a_limit_is_near() {
        // The mean is 12.9: At_Risk, and 12.0 would be Crisis.
        let few = release(&[("Lab", 1.84, 5)]).everybody().unwrap();
        assert_eq!((few.overall, few.tier), (Some(15.0), None));
        let many = release(&[("Lab", 1.84, 2_000)]).everybody().unwrap();
        assert_eq!(many.tier, Some(Tier::AtRisk));
        assert_eq!(precision(OVERALL_RANGE, 5.0), 5.0);
    }

    #[test]
    fn what_is_told_lies_on_the_scale() {
        for (rating, told) in [(4.0, 28.0), (1.0, 7.0)] {
            for number in [5, 10, 40] {
                let group = release(&[("Lab", rating, number)]).everybody().unwrap();
                assert_eq!(
                    (group.overall, group.categories[0]),
                    (Some(told), Some(rating))
                );
            }
        }
    }

    #[test]
    fn a_department_is_one_however_it_is_written() {
        let release = release(&[("Lab", 2.0, 4), ("lab ", 2.0, 2), ("LAB", 2.0, 1)]);
        assert_eq!(release.values("department"), ["Lab"]);
        for written in ["Lab", "lab", " LAB"] {
            let group = release.group(&department(written)).unwrap();
            assert_eq!(group.people_at_least, 5);
        }
    }

    #[test]
    fn a_category_that_few_answered_is_not_told() {
        let mut answered = people(&[("Lab", 2.0, 9)]);
        for one in answered.iter_mut().take(6) {
            one.score.categories[2] = None;
        }
        let release = Release::of(
            &answered,
            &["department".to_owned()],
            Floor::default(),
            None,
        )
        .unwrap();
        let all = release.everybody().unwrap();
        assert_eq!((all.categories[1], all.categories[2]), (Some(2.0), None));
    }

    #[test]
    fn tiers_with_few_people_are_told_with_their_neighbours() {
        let told = |counts: [usize; 5]| {
            let tiers = Tier::ALL
                .into_iter()
                .zip(counts)
                .flat_map(|(tier, number)| vec![tier; number]);
            let bands = bands(tiers, Floor::default());
            let words = bands
                .iter()
                .map(|band| format!("{} {}", band.tiers.join("+"), band.people));
            words.collect::<Vec<_>>().join(", ")
        };
        assert_eq!(
            told([0, 6, 20, 7, 5]),
            "Crisis+At_Risk 6, Mixed 20, Safe 7, Thriving 5"
        );
        assert_eq!(
            told([1, 3, 20, 7, 0]),
            "Crisis+At_Risk+Mixed 24, Safe+Thriving 7"
        );
        assert_eq!(
            told([0, 9, 8, 0, 2]),
            "Crisis+At_Risk 9, Mixed+Safe+Thriving 10"
        );
    }

    #[test]
    fn noise_moves_what_is_told_and_says_what_it_cost() {
        let noise = |seed: f64| {
            let mut state = seed;
            let mut uniform = move || {
                state = (state * 997.0 + 0.1234).fract();
                state
            };
            let loss = Loss::new(2.0).unwrap();
            let noise = Noise {
                loss,
                uniform: &mut uniform,
            };
            let people = people(&[("Lab", 2.0, 2_000), ("Law", 3.0, 2_000)]);
            Release::of(
                &people,
                &["department".to_owned()],
                Floor::default(),
                Some(noise),
            )
            .unwrap()
        };
        let (one, other) = (noise(0.3), noise(0.7));
        assert_ne!(one, other);
        assert_eq!(one.loss_milli, Some(2_000));
        let told = one.group(&department("Lab")).unwrap().categories[0].unwrap();
        assert!((told - 2.0).abs() < 0.05, "{told}");
    }
}
