//! Survey data with the structure of real ones, from a seed.
//!
//! A [`Generator`] is a small world: organizations with a climate, a culture and departments (`world`), people with
//! latent category factors who answer, skip or click through (`person`), write in their own words (`text`), and are
//! seen again three months later (`outcome`). What is to be predicted is that later outcome, never the formula. Because
//! every probability is known here, so is the best that any model can do ([`ceiling`]). The equations are written out in
//! `docs/kits/hseg.md`.
//!
//! Every record has random numbers of its own, so record 40,000 can be made without the first 39,999.

pub mod ceiling;
mod draw;
mod outcome;
mod person;
mod table;
mod text;
mod world;

pub use outcome::{OUTCOME_SIGMA, OrganizationOutcome, Outcome, organization_outcome};
pub use person::{Care, Truth};
pub(crate) use table::signal_words;
pub use table::{COLUMNS, cells, write};
pub use text::{Phrases, TextLabel};
pub use world::{Department, Organization, World};

use super::demographics::{Demographics, ResponseQuality};
use super::survey::{Domain, Ratings};
use super::text::TextRisk;
use draw::Draw;
use text::Author;

/// As many as the assessment's own survey had.
pub const RECORDS: u64 = 49_550;
/// As many as it had, too.
pub const ORGANIZATIONS: usize = 55;
/// Most organizations of a world.
pub const ORGANIZATIONS_MAX: usize = 20_000;
/// Most records of one table.
pub const RECORDS_MAX: u64 = 100_000_000;

/// Which world, and how much of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    pub records: u64,
    pub seed: u64,
    pub organizations: usize,
    pub phrases: Phrases,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            records: RECORDS,
            seed: 7,
            organizations: ORGANIZATIONS,
            phrases: Phrases::Common,
        }
    }
}

/// One person's answers and what became of them.
#[derive(Debug, Clone, PartialEq)]
pub struct Record {
    pub response_id: String,
    /// Its place in [`World::organizations`].
    pub organization: usize,
    pub organization_id: String,
    pub employees: u32,
    pub domain: Domain,
    pub ratings: Ratings,
    pub demographics: Demographics,
    pub quality: ResponseQuality,
    /// `q23`, `q24`, `q25`.
    pub texts: [Option<String>; 3],
    /// What two readers of the texts agreed on; absent without texts.
    pub label: Option<TextLabel>,
    pub outcome: Outcome,
}

impl Record {
    /// The open answers as one text, an answer a line; `None` when none was given.
    pub fn text(&self) -> Option<String> {
        joined(&self.texts)
    }
}

fn joined(texts: &[Option<String>; 3]) -> Option<String> {
    let given: Vec<&str> = texts.iter().flatten().map(String::as_str).collect();
    (!given.is_empty()).then(|| given.join("\n"))
}

/// A record and what nobody but the generator knows of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Generated {
    pub record: Record,
    pub truth: Truth,
}

/// Makes the records of one world.
#[derive(Debug)]
pub struct Generator {
    options: Options,
    world: World,
    author: Author,
}

impl Generator {
    /// A world from a seed. Numbers beyond the limits are brought within them.
    pub fn new(options: Options) -> Generator {
        let options = Options {
            records: options.records.min(RECORDS_MAX),
            organizations: options.organizations.clamp(1, ORGANIZATIONS_MAX),
            ..options
        };
        Generator {
            options,
            world: World::new(options.seed, options.organizations),
            author: Author::new(options.phrases),
        }
    }

    pub fn options(&self) -> &Options {
        &self.options
    }

    pub fn world(&self) -> &World {
        &self.world
    }

    /// All records, in order.
    pub fn records(&self) -> impl Iterator<Item = Generated> {
        (0..self.options.records).map(|index| self.record(index))
    }

    /// The records in `range`, made on all cores.
    pub fn batch(&self, range: std::ops::Range<u64>) -> Vec<Generated> {
        use rayon::prelude::*;
        range
            .into_par_iter()
            .map(|index| self.record(index))
            .collect()
    }

    /// One record; the same for a seed whatever else is made.
    pub fn record(&self, index: u64) -> Generated {
        let mut draw = Draw::stream(self.options.seed, world::STREAMS + index);
        let organization = self.world.draw(&mut draw);
        self.record_of(organization, index, &mut draw)
    }

    /// One record of a given organization; `index` numbers it within the world.
    pub fn record_in(&self, organization: usize, index: u64) -> Generated {
        let mut draw = Draw::stream(self.options.seed, world::STREAMS + index);
        self.record_of(organization, index, &mut draw)
    }

    /// A text as a person under that strain would write it, with what readers said of it; for tables in which rare
    /// levels are not rare.
    pub fn text_at(&self, level: TextRisk, index: u64) -> (String, TextLabel) {
        let mut draw = Draw::stream(self.options.seed, world::TEXT_STREAMS + index);
        loop {
            let place = &self.world.organizations[self.world.draw(&mut draw)];
            let mut person = person::Person::draw(place, &mut draw);
            person.truth.level = level;
            let effect = person.department_effect(place);
            let written = self.author.write(&person.truth, place, &effect, &mut draw);
            // Not everyone writes; somebody will.
            if let (Some(text), Some(label)) = (joined(&written.texts), written.label) {
                return (text, label);
            }
        }
    }

    fn record_of(&self, organization: usize, index: u64, draw: &mut Draw) -> Generated {
        let place = &self.world.organizations[organization];
        let mut person = person::Person::draw(place, draw);
        let ratings = person.answer(place, draw);
        let quality = person.quality(&ratings, draw);
        let written =
            self.author
                .write(&person.truth, place, &person.department_effect(place), draw);
        let outcome = outcome::draw(&mut person.truth, &person.demographics, place, draw);
        Generated {
            record: Record {
                response_id: format!("R{:07}", index + 1),
                organization,
                organization_id: place.id.clone(),
                employees: place.employees,
                domain: place.domain,
                ratings,
                demographics: person.demographics,
                quality,
                texts: written.texts,
                label: written.label,
                outcome,
            },
            truth: person.truth,
        }
    }
}

#[cfg(test)]
mod tests;
