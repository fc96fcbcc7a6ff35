//! What an organization can do, from a catalogue that people wrote, in the order in which it helps most.
//!
//! The catalogue is `data/hseg/interventions.toml` and may be replaced by an operator's. Ranking is arithmetic that a
//! reader can redo: how much of the overall score a category costs, how much the intervention is expected to move that
//! category, and less for effort; what is urgent comes first where a place is in crisis or at risk.

use super::aggregate::RISK_LIMIT;
use super::score::{OVERALL_MIN, Score, Tier};
use super::survey::{Category, Domain};
use serde::Deserialize;
use std::collections::HashSet;
use std::sync::OnceLock;

/// Most recommendations that are given at once: nobody does ten things.
pub const RECOMMENDED_MAX: usize = 10;

/// How soon it should be begun.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Urgency {
    /// Within days.
    Now,
    /// Within a month.
    Soon,
    /// Within a quarter.
    Planned,
}

impl Urgency {
    pub fn word(self) -> &'static str {
        match self {
            Urgency::Now => "now",
            Urgency::Soon => "soon",
            Urgency::Planned => "planned",
        }
    }
}

/// What it takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Effort {
    /// A person and a few hours.
    Small,
    /// A team and some weeks.
    Medium,
    /// Budget and months.
    Large,
}

impl Effort {
    pub fn word(self) -> &'static str {
        match self {
            Effort::Small => "small",
            Effort::Medium => "medium",
            Effort::Large => "large",
        }
    }

    /// What is left of the expected effect when effort is weighed against it.
    fn discount(self) -> f64 {
        match self {
            Effort::Small => 1.0,
            Effort::Medium => 0.85,
            Effort::Large => 0.65,
        }
    }
}

/// One thing to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Intervention {
    pub id: String,
    pub category: Category,
    /// Empty: everywhere.
    pub domains: Vec<Domain>,
    /// Empty: all below Thriving.
    pub tiers: Vec<Tier>,
    pub title: String,
    pub what: String,
    pub urgency: Urgency,
    pub effort: Effort,
    /// 1 to 5.
    pub impact: u8,
}

/// An intervention with why it is recommended.
#[derive(Debug, Clone, PartialEq)]
pub struct Recommendation<'c> {
    pub intervention: &'c Intervention,
    /// Expected points of the overall score that the category gives back, after effort; for ranking only.
    pub expected_points: f64,
    /// Points of the overall score that the category costs now.
    pub lost_points: f64,
}

/// All interventions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Catalogue(Vec<Intervention>);

/// Why a catalogue cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CatalogueError {
    #[error("the catalogue is not TOML of the right form: {0}")]
    Form(#[from] toml::de::Error),
    #[error("{id}: {field} is {word:?}, which is unknown")]
    UnknownWord {
        id: String,
        field: &'static str,
        word: String,
    },
    #[error("{id}: impact is {impact}, and it must be 1 to 5")]
    Impact { id: String, impact: u8 },
    #[error("the id {id:?} occurs twice")]
    Twice { id: String },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    interventions: Vec<Written>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    id: String,
    category: String,
    #[serde(default)]
    domains: Vec<String>,
    #[serde(default)]
    tiers: Vec<String>,
    title: String,
    what: String,
    urgency: Urgency,
    effort: Effort,
    impact: u8,
}

impl Catalogue {
    /// The one that ships.
    pub fn shipped() -> &'static Catalogue {
        static SHIPPED: OnceLock<Catalogue> = OnceLock::new();
        SHIPPED.get_or_init(|| {
            Catalogue::parse(include_str!("../../data/hseg/interventions.toml"))
                .expect("the embedded catalogue is tested")
        })
    }

    /// An operator's own.
    ///
    /// # Errors
    /// A text that is no catalogue.
    pub fn parse(text: &str) -> Result<Catalogue, CatalogueError> {
        let file: File = toml::from_str(text)?;
        let mut ids = HashSet::new();
        let mut interventions = Vec::new();
        for written in file.interventions {
            if !ids.insert(written.id.clone()) {
                return Err(CatalogueError::Twice { id: written.id });
            }
            interventions.push(checked(written)?);
        }
        Ok(Catalogue(interventions))
    }

    pub fn all(&self) -> &[Intervention] {
        &self.0
    }

    /// What to do for a score in a domain, best first. At most two for a category, so that a reader sees the whole.
    pub fn recommend(&self, score: &Score, domain: Domain, most: usize) -> Vec<Recommendation<'_>> {
        const PER_CATEGORY_MAX: usize = 2;
        let losses = score.losses();
        let lost = |category: Category| {
            losses
                .iter()
                .find(|it| it.0 == category)
                .map_or(0.0, |it| it.1)
        };
        // A category that is a risk is one in the best of places.
        let tier = |category: Category| match score.category(category) {
            Some(value) if value <= RISK_LIMIT => score.tier.min(Tier::of(OVERALL_MIN * value)),
            _ => score.tier,
        };
        let fitting = self
            .0
            .iter()
            .filter(|it| it.fits(domain, tier(it.category)));
        let mut ranked: Vec<Recommendation<'_>> = fitting
            .map(|intervention| {
                let lost_points = lost(intervention.category);
                Recommendation {
                    intervention,
                    expected_points: expected(
                        intervention,
                        lost_points,
                        tier(intervention.category),
                    ),
                    lost_points,
                }
            })
            .filter(|it| it.lost_points > 0.0)
            .collect();
        ranked.sort_by(|a, b| {
            let (a_urgency, b_urgency) = (a.intervention.urgency, b.intervention.urgency);
            b.expected_points
                .total_cmp(&a.expected_points)
                .then(a_urgency.cmp(&b_urgency))
                .then_with(|| a.intervention.id.cmp(&b.intervention.id))
        });
        let mut taken = [0; 6];
        ranked.retain(|it| {
            taken[it.intervention.category.index()] += 1;
            taken[it.intervention.category.index()] <= PER_CATEGORY_MAX
        });
        ranked.truncate(most.min(RECOMMENDED_MAX));
        ranked
    }
}

impl Intervention {
    fn fits(&self, domain: Domain, tier: Tier) -> bool {
        let is_meant = match self.tiers.is_empty() {
            true => tier != Tier::Thriving,
            false => self.tiers.contains(&tier),
        };
        is_meant && (self.domains.is_empty() || self.domains.contains(&domain))
    }
}

/// The share of a category's loss that an impact of 5 is taken to win back in a year.
const SHARE_OF_IMPACT_5: f64 = 0.5;

fn expected(of: &Intervention, lost_points: f64, tier: Tier) -> f64 {
    let share = SHARE_OF_IMPACT_5 * f64::from(of.impact) / 5.0;
    let haste = match (tier, of.urgency) {
        (Tier::Crisis, Urgency::Now) => 1.6,
        (Tier::AtRisk, Urgency::Now) => 1.3,
        (Tier::Crisis, Urgency::Planned) => 0.6,
        (Tier::AtRisk, Urgency::Planned) => 0.8,
        _ => 1.0,
    };
    // What is made for the place fits better than what fits everywhere.
    let fit = if of.domains.is_empty() { 1.0 } else { 1.1 };
    lost_points * share * of.effort.discount() * haste * fit
}

fn checked(written: Written) -> Result<Intervention, CatalogueError> {
    let unknown = |field, word: &str| CatalogueError::UnknownWord {
        id: written.id.clone(),
        field,
        word: word.to_owned(),
    };
    if !(1..=5).contains(&written.impact) {
        return Err(CatalogueError::Impact {
            id: written.id,
            impact: written.impact,
        });
    }
    let category =
        Category::parse(&written.category).ok_or_else(|| unknown("category", &written.category))?;
    let domain = |word: &String| Domain::parse(word).ok_or_else(|| unknown("domains", word));
    let tier = |word: &String| Tier::parse(word).ok_or_else(|| unknown("tiers", word));
    Ok(Intervention {
        category,
        domains: written
            .domains
            .iter()
            .map(domain)
            .collect::<Result<_, _>>()?,
        tiers: written.tiers.iter().map(tier).collect::<Result<_, _>>()?,
        title: written.title,
        what: written.what,
        urgency: written.urgency,
        effort: written.effort,
        impact: written.impact,
        id: written.id,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn score(of: [f64; 6]) -> Score {
        Score::of_categories(of.map(Some)).unwrap()
    }

    #[test]
    fn the_catalogue_has_something_for_every_category_domain_and_haste() {
        let all = Catalogue::shipped().all();
        assert!(all.len() >= 40, "{}", all.len());
        for category in Category::ALL {
            for domain in Domain::ALL {
                let fitting =
                    |it: &&Intervention| it.category == category && it.fits(domain, Tier::Mixed);
                assert!(
                    all.iter().filter(fitting).count() >= 4,
                    "{category} {domain}"
                );
            }
            let now = |it: &Intervention| it.category == category && it.urgency <= Urgency::Soon;
            assert!(all.iter().any(now), "{category}");
        }
        assert!(
            all.iter().all(|it| it.what.len() > 80),
            "concrete enough to be begun on Monday"
        );
    }

    #[test]
    fn no_wording_diagnoses_or_treats() {
        for it in Catalogue::shipped().all() {
            let text = format!("{} {}", it.title, it.what).to_lowercase();
            for word in ["disorder", "patholog", "medication", "symptom"] {
                assert!(!text.contains(word), "{}: {word}", it.id);
            }
        }
    }

    #[test]
    fn the_category_that_costs_most_comes_first() {
        let hurt = score([1.2, 3.8, 3.8, 3.8, 3.8, 3.8]);
        let given = Catalogue::shipped().recommend(&hurt, Domain::University, 5);
        assert_eq!(given[0].intervention.category, Category::PowerAbuse);
        assert!(
            given
                .windows(2)
                .all(|pair| pair[0].expected_points >= pair[1].expected_points)
        );
        let of_power = given
            .iter()
            .filter(|it| it.intervention.category == Category::PowerAbuse)
            .count();
        assert_eq!(of_power, 2);
    }

    #[test]
    fn a_risk_in_a_thriving_place_is_one() {
        let hurt = score([3.9, 3.9, 3.9, 3.9, 1.2, 3.9]);
        assert_eq!(hurt.tier, Tier::Thriving);
        let given = Catalogue::shipped().recommend(&hurt, Domain::Business, 5);
        assert!(!given.is_empty());
        let category = |it: &Recommendation<'_>| it.intervention.category;
        assert!(
            given
                .iter()
                .all(|it| category(it) == Category::MentalHealth)
        );
    }

    #[test]
    fn a_crisis_begins_with_what_can_be_done_now() {
        let given = Catalogue::shipped().recommend(&score([1.3; 6]), Domain::Business, 3);
        assert!(
            given
                .iter()
                .all(|it| it.intervention.urgency == Urgency::Now),
            "{given:#?}"
        );
    }

    #[test]
    fn other_domains_interventions_and_thriving_places_are_left_alone() {
        let given = Catalogue::shipped().recommend(&score([2.0; 6]), Domain::Healthcare, 10);
        assert!(
            given
                .iter()
                .all(|it| it.intervention.fits(Domain::Healthcare, Tier::AtRisk))
        );
        assert!(
            Catalogue::shipped()
                .recommend(&score([3.9; 6]), Domain::Healthcare, 10)
                .is_empty()
        );
    }

    #[test]
    fn a_wrong_word_is_told_with_its_entry() {
        let text =
            include_str!("../../data/hseg/interventions.toml").replacen("power_abuse", "power", 1);
        let error = Catalogue::parse(&text).unwrap_err();
        assert_eq!(
            error.to_string(),
            "power-outside-contact: category is \"power\", which is unknown"
        );
    }
}
