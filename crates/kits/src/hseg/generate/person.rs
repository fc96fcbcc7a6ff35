//! A person: who they are, what they live through, and how they answer.

use super::draw::Draw;
use super::world::{Organization, domain_effect};
use crate::hseg::demographics::{
    AgeRange, Demographics, EducationLevel, EmploymentStatus, Ethnicity, GenderIdentity,
    PositionLevel, ResponseQuality, TenureRange, WorkLocation,
};
use crate::hseg::survey::{Category, QUESTIONS, Rating, Ratings, STATEMENTS};
use crate::hseg::text::TextRisk;

/// Spread of what a person lives through, in all categories alike.
pub(super) const GENERAL_SIGMA: f64 = 0.60;
/// Spread by category around it.
pub(super) const SPECIFIC_SIGMA: f64 = 0.45;
/// The rating of a factor of 0, and its slope.
pub(super) const MIDDLE: f64 = 2.55;
pub(super) const SLOPE: f64 = 0.85;
/// How far a single statement strays from its factor.
pub(super) const ITEM_SIGMA: f64 = 0.45;
/// Strain: how much of it comes from climate and person, how much from elsewhere.
pub(super) const STRAIN: (f64, f64) = (0.90, 0.75);
/// The strain from which a text is Low, Medium, High, Crisis; below the first it is None.
pub(super) const STRAIN_LIMITS: [f64; 4] = [0.35, 1.05, 1.80, 2.60];

const CARELESS_SHARE: f64 = 0.05;
const SKIPPED_SHARE: f64 = 0.02;
const GAVE_UP_SHARE: f64 = 0.03;
const WITHHELD_SHARE: f64 = 0.04;

/// How a person went through the form.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Care {
    /// Read and answered.
    Honest,
    /// The same mark all the way down.
    StraightLine,
    /// Any mark.
    AtRandom,
}

/// What only the generator knows of a person.
#[derive(Debug, Clone, PartialEq)]
pub struct Truth {
    /// The state by category, in standard units; 0 is the middle, more is healthier.
    pub factors: [f64; 6],
    /// What is expected by category of anyone of this place and these demographics.
    pub expected: [f64; 6],
    /// The person's own part that all factors share.
    pub general: f64,
    /// How much healthier they answer than they feel.
    pub painting: f64,
    pub care: Care,
    /// What they would write, or did.
    pub level: TextRisk,
    /// The follow-up score that is to be expected when everything is known but chance.
    pub expected_follow_up: f64,
    /// Chance of having resigned by then, when the follow-up score is known.
    pub resignation: f64,
}

/// A person in the making.
pub(super) struct Person {
    pub(super) truth: Truth,
    pub(super) demographics: Demographics,
    department: usize,
}

impl Person {
    pub(super) fn draw(place: &Organization, draw: &mut Draw) -> Person {
        let shares: Vec<f64> = place.departments.iter().map(|it| it.share).collect();
        let department = draw.weighted(&shares);
        let demographics = demographics(place, department, draw);
        let effect = demographic_effect(&demographics);
        let expected = Category::ALL.map(|category| {
            let k = category.index();
            place.culture[k]
                + place.departments[department].effect[k]
                + domain_effect(place.domain, category)
                + effect[k]
        });
        let general = GENERAL_SIGMA * draw.normal();
        let factors = expected.map(|mean| mean + general + SPECIFIC_SIGMA * draw.normal());
        let strain = -STRAIN.0 * (place.climate + general) + STRAIN.1 * draw.normal();
        let truth = Truth {
            factors,
            expected,
            general,
            painting: painting(&demographics),
            care: care(draw),
            level: level_of(strain),
            expected_follow_up: f64::NAN,
            resignation: f64::NAN,
        };
        Person {
            truth,
            demographics: withheld(demographics, draw),
            department,
        }
    }

    pub(super) fn department_effect(&self, place: &Organization) -> [f64; 6] {
        place.departments[self.department].effect
    }

    /// Ratings as given.
    pub(super) fn answer(&self, place: &Organization, draw: &mut Draw) -> Ratings {
        let step = if place.has_half_steps { 0.5 } else { 1.0 };
        let straight = 1.0 + draw.below(4) as f64;
        let given_up_at = match draw.chance(GAVE_UP_SHARE) {
            true => 4 + draw.below(QUESTIONS - 4),
            false => QUESTIONS,
        };
        Ratings::new(std::array::from_fn(|question| {
            let value = match self.truth.care {
                Care::Honest => self.honest(question, step, draw),
                Care::StraightLine => {
                    let agreement = Rating::new(straight)?;
                    STATEMENTS[question].rating_of(agreement).get()
                }
                Care::AtRandom => 1.0 + draw.below(4) as f64,
            };
            let is_skipped = draw.chance(SKIPPED_SHARE) || question >= given_up_at;
            Rating::new(value).filter(|_| !is_skipped)
        }))
    }

    fn honest(&self, question: usize, step: f64, draw: &mut Draw) -> f64 {
        let category = STATEMENTS[question].category.index();
        let felt = self.truth.factors[category] + self.truth.painting + ITEM_SIGMA * draw.normal();
        let value = MIDDLE + SLOPE * felt;
        ((value / step).round() * step).clamp(Rating::MIN, Rating::MAX)
    }

    /// What the form noticed about the answering.
    pub(super) fn quality(&self, ratings: &Ratings, draw: &mut Draw) -> ResponseQuality {
        let (middle, failing) = match self.truth.care {
            Care::Honest => (5.6, 0.03),
            Care::StraightLine | Care::AtRandom => (3.8, 0.60),
        };
        let quality = ResponseQuality {
            seconds: Some((middle + 0.4 * draw.normal()).exp().round()),
            attention_passed: Some(!draw.chance(failing)),
            ..ResponseQuality::default()
        };
        quality.completed_from(ratings)
    }
}

fn care(draw: &mut Draw) -> Care {
    match draw.unit() {
        u if u < CARELESS_SHARE / 2.0 => Care::StraightLine,
        u if u < CARELESS_SHARE => Care::AtRandom,
        _ => Care::Honest,
    }
}

fn level_of(strain: f64) -> TextRisk {
    let passed = STRAIN_LIMITS
        .iter()
        .filter(|limit| strain > **limit)
        .count();
    TextRisk::ALL[passed]
}

/// Who fears for the job paints the picture brighter.
fn painting(demographics: &Demographics) -> f64 {
    let insecure = matches!(
        demographics.employment_status,
        Some(EmploymentStatus::Contract | EmploymentStatus::Intern)
    );
    let at_the_bottom = demographics.position_level == Some(PositionLevel::Entry);
    0.30 * f64::from(u8::from(insecure)) + 0.15 * f64::from(u8::from(at_the_bottom))
}

fn demographic_effect(of: &Demographics) -> [f64; 6] {
    let mut effect = [0.0; 6];
    let mut add = |categories: &[Category], amount: f64| {
        categories
            .iter()
            .for_each(|it| effect[it.index()] += amount);
    };
    match of.gender_identity {
        Some(GenderIdentity::Woman) => add(&[Category::Discrimination], -0.15),
        Some(GenderIdentity::NonBinary) => {
            add(&[Category::Discrimination, Category::MentalHealth], -0.30);
        }
        _ => {}
    }
    let is_majority = |it: &Ethnicity| matches!(it, Ethnicity::White | Ethnicity::PreferNotToSay);
    if !of.ethnicity.iter().all(is_majority) {
        add(&[Category::Discrimination], -0.25);
    }
    match of.position_level {
        Some(PositionLevel::Entry) => {
            add(&[Category::PowerAbuse], -0.15);
            add(&[Category::Voice], -0.25);
        }
        Some(PositionLevel::Executive) => add(&Category::ALL, 0.40),
        _ => {}
    }
    match of.tenure_range {
        Some(TenureRange::UnderOne) => add(&Category::ALL, 0.15),
        Some(TenureRange::FourToSeven) => add(&Category::ALL, -0.10),
        _ => {}
    }
    if of.employment_status == Some(EmploymentStatus::Intern)
        || of.employment_status == Some(EmploymentStatus::Contract)
    {
        add(&[Category::Accountability, Category::Voice], -0.20);
    }
    if of.work_location == Some(WorkLocation::Remote) {
        add(&[Category::PowerAbuse], 0.10);
        add(&[Category::Voice], -0.05);
    }
    if of.supervises_others == Some(true) {
        add(&Category::ALL, 0.10);
    }
    effect
}

fn demographics(place: &Organization, department: usize, draw: &mut Draw) -> Demographics {
    let position = PositionLevel::ALL[draw.weighted(&[0.34, 0.40, 0.20, 0.06])];
    let supervises = draw.chance(match position {
        PositionLevel::Entry => 0.03,
        PositionLevel::Mid => 0.20,
        PositionLevel::Senior => 0.60,
        PositionLevel::Executive => 0.97,
    });
    let ages: [f64; 6] = match position {
        PositionLevel::Entry => [0.30, 0.38, 0.16, 0.10, 0.05, 0.01],
        PositionLevel::Mid => [0.05, 0.35, 0.30, 0.19, 0.10, 0.01],
        PositionLevel::Senior => [0.0, 0.14, 0.34, 0.30, 0.19, 0.03],
        PositionLevel::Executive => [0.0, 0.05, 0.25, 0.38, 0.27, 0.05],
    };
    let age = AgeRange::ALL[draw.weighted(&ages)];
    let tenure = match age {
        AgeRange::From18 => [0.55, 0.40, 0.05, 0.0],
        AgeRange::From25 => [0.28, 0.42, 0.24, 0.06],
        _ => [0.12, 0.26, 0.26, 0.36],
    };
    let ethnicity =
        Ethnicity::ALL[draw.weighted(&[0.13, 0.11, 0.14, 0.02, 0.04, 0.01, 0.50, 0.02, 0.03])];
    let mut ethnicities = vec![ethnicity];
    if ethnicity != Ethnicity::PreferNotToSay && draw.chance(0.04) {
        let second = *draw.pick(&Ethnicity::ALL[..8]);
        if second != ethnicity {
            ethnicities.push(second);
        }
    }
    Demographics {
        age_range: Some(age),
        gender_identity: Some(GenderIdentity::ALL[draw.weighted(&[0.45, 0.50, 0.02, 0.03])]),
        tenure_range: Some(TenureRange::ALL[draw.weighted(&tenure)]),
        position_level: Some(position),
        department: Some(place.departments[department].name.to_owned()),
        supervises_others: Some(supervises),
        work_location: Some(WorkLocation::ALL[draw.weighted(&locations(place))]),
        employment_status: Some(EmploymentStatus::ALL[draw.weighted(&[0.74, 0.14, 0.09, 0.03])]),
        education_level: Some(EducationLevel::ALL[draw.weighted(&[0.14, 0.18, 0.40, 0.21, 0.07])]),
        ethnicity: ethnicities,
    }
}

fn locations(place: &Organization) -> [f64; 3] {
    use crate::hseg::survey::Domain;
    match place.domain {
        Domain::Healthcare => [0.86, 0.04, 0.10],
        Domain::University => [0.45, 0.10, 0.45],
        Domain::Business => [0.40, 0.22, 0.38],
    }
}

/// Some keep some of it to themselves.
fn withheld(mut of: Demographics, draw: &mut Draw) -> Demographics {
    fn drop<T>(value: &mut Option<T>, draw: &mut Draw) {
        if draw.chance(WITHHELD_SHARE) {
            *value = None;
        }
    }
    drop(&mut of.age_range, draw);
    drop(&mut of.gender_identity, draw);
    drop(&mut of.tenure_range, draw);
    drop(&mut of.position_level, draw);
    drop(&mut of.department, draw);
    drop(&mut of.supervises_others, draw);
    drop(&mut of.work_location, draw);
    drop(&mut of.employment_status, draw);
    drop(&mut of.education_level, draw);
    if draw.chance(WITHHELD_SHARE) {
        of.ethnicity.clear();
    }
    of
}
