//! Organizations: a domain, a size, a climate that all feel, a culture by category, departments, and a course over the
//! three months that nobody who answers can know.

use super::draw::Draw;
use crate::hseg::survey::{Category, Domain};

/// Streams below this number belong to organizations, those from it on to records.
pub(super) const STREAMS: u64 = 1 << 32;
/// Streams of texts that belong to no record.
pub(super) const TEXT_STREAMS: u64 = 1 << 48;
/// Spread of the climate.
pub(super) const CLIMATE_SIGMA: f64 = 0.55;
/// Spread of the culture around it, by category.
const CULTURE_SIGMA: f64 = 0.25;
/// Spread of a department around its organization: in common, and by category.
const DEPARTMENT_SIGMA: (f64, f64) = (0.18, 0.12);
/// Spread of the course of three months, in points of the overall score.
pub(super) const TREND_SIGMA: f64 = 0.8;
/// The share of organizations that ask with half steps.
const HALF_STEPS_SHARE: f64 = 0.15;

/// A place where people work.
#[derive(Debug, Clone, PartialEq)]
pub struct Organization {
    pub id: String,
    pub name: String,
    pub domain: Domain,
    pub employees: u32,
    /// What everyone there shares, in standard units; 0 is the middle of all organizations.
    pub climate: f64,
    /// The climate and what is special to each category.
    pub culture: [f64; 6],
    pub departments: Vec<Department>,
    /// What the three months after the survey bring, in points of the overall score.
    pub trend: f64,
    /// Whether its form allows 2.5.
    pub has_half_steps: bool,
}

/// A part of an organization.
#[derive(Debug, Clone, PartialEq)]
pub struct Department {
    pub name: &'static str,
    pub effect: [f64; 6],
    /// Its share of the people, unnormalised.
    pub share: f64,
}

/// All organizations.
#[derive(Debug, Clone, PartialEq)]
pub struct World {
    pub organizations: Vec<Organization>,
    shares: Vec<f64>,
}

impl World {
    pub(super) fn new(seed: u64, organizations: usize) -> World {
        let organizations: Vec<Organization> = (0..organizations)
            .map(|index| organization(seed, index))
            .collect();
        let mut sum = 0.0;
        let shares = organizations.iter().map(|it| {
            // A large organization answers more, though not in proportion; fifty thousand answers of 55 organizations are a
            // third of their people.
            sum += f64::from(it.employees).powf(0.8);
            sum
        });
        World {
            shares: shares.collect(),
            organizations,
        }
    }

    /// The organization of a respondent.
    pub(super) fn draw(&self, draw: &mut Draw) -> usize {
        let total = self.shares.last().copied().unwrap_or(0.0);
        let place = draw.unit() * total;
        self.shares
            .partition_point(|sum| *sum <= place)
            .min(self.shares.len() - 1)
    }
}

fn organization(seed: u64, index: usize) -> Organization {
    let mut draw = Draw::stream(seed, index as u64);
    let domain = Domain::ALL[draw.weighted(&[0.33, 0.27, 0.40])];
    let employees = (7.6 + 0.7 * draw.normal()).exp().clamp(300.0, 12_000.0) as u32;
    let climate = CLIMATE_SIGMA * draw.normal();
    let culture = std::array::from_fn(|_| climate + CULTURE_SIGMA * draw.normal());
    let departments = departments(domain)
        .iter()
        .map(|name| department(name, &mut draw))
        .collect();
    Organization {
        id: format!("ORG{:03}", index + 1),
        name: name(domain, &mut draw),
        domain,
        employees,
        climate,
        culture,
        departments,
        trend: TREND_SIGMA * draw.normal(),
        has_half_steps: draw.chance(HALF_STEPS_SHARE),
    }
}

fn department(name: &'static str, draw: &mut Draw) -> Department {
    let common = DEPARTMENT_SIGMA.0 * draw.normal();
    Department {
        name,
        effect: std::array::from_fn(|_| common + DEPARTMENT_SIGMA.1 * draw.normal()),
        share: 0.4 + draw.unit(),
    }
}

fn name(domain: Domain, draw: &mut Draw) -> String {
    const PLACES: [&str; 24] = [
        "Northgate",
        "Riverside",
        "Linden",
        "Harbour",
        "Elmwood",
        "Kingsfield",
        "Silverlake",
        "Oakhurst",
        "Brightwater",
        "Fairview",
        "Ashdown",
        "Millbrook",
        "Westmark",
        "Stonebridge",
        "Greenhill",
        "Summit",
        "Alder",
        "Clearwell",
        "Redwood",
        "Marlow",
        "Juniper",
        "Eastvale",
        "Foxglove",
        "Highmoor",
    ];
    let kinds: &[&str] = match domain {
        Domain::Healthcare => &["Hospital", "Clinics", "Health Trust", "Care Group"],
        Domain::University => &["University", "College", "Institute", "School of Science"],
        Domain::Business => &[
            "Logistics",
            "Software",
            "Foods",
            "Insurance",
            "Energy",
            "Retail",
        ],
    };
    format!("{} {}", draw.pick(&PLACES), draw.pick(kinds))
}

fn departments(domain: Domain) -> &'static [&'static str] {
    match domain {
        Domain::Healthcare => &[
            "Emergency",
            "Surgery",
            "Intensive Care",
            "Paediatrics",
            "Outpatients",
            "Laboratory",
            "Administration",
            "Facilities",
        ],
        Domain::University => &[
            "Life Sciences",
            "Engineering",
            "Humanities",
            "Social Sciences",
            "Medicine",
            "Library",
            "Administration",
        ],
        Domain::Business => &[
            "Sales",
            "Engineering",
            "Operations",
            "Customer Service",
            "Finance",
            "Human Resources",
            "Marketing",
        ],
    }
}

/// What a domain does to the people in it.
pub(super) fn domain_effect(domain: Domain, category: Category) -> f64 {
    match (domain, category) {
        (Domain::Healthcare, Category::MentalHealth) => -0.30,
        (Domain::Healthcare, Category::Accountability) => -0.05,
        (Domain::University, Category::Accountability) => -0.15,
        (Domain::University, Category::PowerAbuse | Category::Discrimination) => -0.05,
        (Domain::Business, Category::Manipulation) => -0.10,
        (Domain::Business, Category::MentalHealth) => 0.10,
        _ => 0.0,
    }
}
