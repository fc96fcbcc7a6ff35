//! An attacker who knows who is in which group, asks whatever may be asked, and computes with the answers.
//!
//! They know every respondent's department, level, tenure and gender, and collect the answers to many random filters in
//! several campaigns. They look for a combination of answers that is about fewer people than the floor: differences of two
//! answers, differences of differences, and everything that elimination finds. The same attack on a publisher who merely
//! hides small groups finds somebody nearly at once, which shows that the attack is one.

use ombud_kits::hseg::anonymity::release::{Release, Respondent};
use ombud_kits::hseg::anonymity::{Filters, Floor, cells::divide};
use ombud_kits::hseg::score::Score;

const DIMENSIONS: [(&str, usize); 4] = [
    ("department", 6),
    ("level", 4),
    ("tenure", 4),
    ("gender", 3),
];
const QUERIES: usize = 400;
const TRIALS: u64 = 30;
const NOTHING: f64 = 1e-6;

/// A small generator of random numbers; its seed is in every message.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        ((self.0 >> 33) as usize) % sides
    }
}

struct Campaign {
    people: Vec<Respondent>,
    release: Release,
}

fn campaign(dice: &mut Dice, floor: Floor) -> Campaign {
    let people: Vec<Respondent> = (0..25 + dice.roll(60))
        .map(|_| {
            // Skewed, so that there are rare values.
            let traits = DIMENSIONS.iter().map(|(_, values)| {
                let (a, b) = (dice.roll(*values + 1), dice.roll(*values + 1));
                let value = a.min(b);
                (value < *values).then(|| value.to_string())
            });
            let traits = traits.collect();
            let rating = 1.0 + dice.roll(3_001) as f64 / 1_000.0;
            let score = Score::of_categories([Some(rating); 6]).expect("answers");
            Respondent {
                traits,
                score,
                forecast: None,
            }
        })
        .collect();
    let names: Vec<String> = DIMENSIONS
        .iter()
        .map(|(name, _)| (*name).to_owned())
        .collect();
    let release = Release::of(&people, &names, floor, None).expect("enough people");
    Campaign { people, release }
}

fn filters(dice: &mut Dice) -> Filters {
    let mut filters = Filters::new();
    for (name, values) in DIMENSIONS {
        if dice.roll(3) == 0 {
            filters.insert(name.to_owned(), dice.roll(values).to_string());
        }
    }
    filters
}

/// Whom an answer of ours is about, one coordinate a respondent.
fn ours(campaign: &Campaign, floor: Floor, filters: &Filters) -> Option<Vec<f64>> {
    campaign.release.group(filters)?;
    let names: Vec<&str> = DIMENSIONS.iter().map(|(name, _)| *name).collect();
    let traits: Vec<_> = campaign
        .people
        .iter()
        .map(|one| one.traits.clone())
        .collect();
    let cells = divide(&traits, names.len(), floor);
    let mut about = vec![0.0; campaign.people.len()];
    // The release keeps its cells in the order of the division; the attacker is told which.
    let within = campaign.release.within(filters)?;
    for (cell, told) in cells.iter().zip(&campaign.release.cells) {
        if within.iter().any(|cell| std::ptr::eq(*cell, told)) {
            cell.members.iter().for_each(|member| about[*member] = 1.0);
        }
    }
    let sum: f64 = about
        .iter()
        .zip(&campaign.people)
        .map(|(is_in, one)| is_in * one.score.overall)
        .sum();
    let kept: f64 = within
        .iter()
        .filter_map(|cell| cell.overall)
        .map(|sum| sum.sum)
        .sum();
    assert!(
        (sum - kept).abs() < NOTHING,
        "the attacker knows whom the sum is about"
    );
    Some(about)
}

/// Whom the answer of one who only hides small groups is about.
fn naive(campaign: &Campaign, floor: Floor, filters: &Filters) -> Option<Vec<f64>> {
    let is_in = |one: &Respondent| {
        DIMENSIONS.iter().zip(&one.traits).all(|((name, _), said)| {
            filters
                .get(*name)
                .is_none_or(|wanted| said.as_ref() == Some(wanted))
        })
    };
    let about: Vec<f64> = campaign
        .people
        .iter()
        .map(|one| f64::from(u8::from(is_in(one))))
        .collect();
    floor.admits(support(&about)).then_some(about)
}

fn support(about: &[f64]) -> usize {
    about.iter().filter(|weight| weight.abs() > NOTHING).count()
}

/// The fewest people that any combination tried is about.
fn attack(answers: &[Vec<f64>]) -> usize {
    let mut fewest = usize::MAX;
    let mut look = |about: &[f64]| {
        let people = support(about);
        if people > 0 {
            fewest = fewest.min(people);
        }
    };
    let basis = eliminated(answers);
    basis.iter().for_each(|row| look(row));
    for rows in [answers, &basis] {
        for (place, first) in rows.iter().enumerate() {
            for second in &rows[..place] {
                for sign in [-1.0, 1.0] {
                    let both: Vec<f64> = first
                        .iter()
                        .zip(second)
                        .map(|(a, b)| a + sign * b)
                        .collect();
                    look(&both);
                }
            }
        }
    }
    fewest
}

/// The reduced rows of all answers.
fn eliminated(answers: &[Vec<f64>]) -> Vec<Vec<f64>> {
    let mut rows = answers.to_vec();
    let columns = rows.first().map_or(0, Vec::len);
    let mut done = 0;
    for column in 0..columns {
        let pivot = (done..rows.len())
            .max_by(|a, b| rows[*a][column].abs().total_cmp(&rows[*b][column].abs()));
        let Some(pivot) = pivot.filter(|row| rows[*row][column].abs() > NOTHING) else {
            continue;
        };
        rows.swap(done, pivot);
        let scale = rows[done][column];
        rows[done].iter_mut().for_each(|weight| *weight /= scale);
        let row = rows[done].clone();
        for (place, other) in rows.iter_mut().enumerate() {
            let factor = other[column];
            if place != done && factor.abs() > NOTHING {
                other
                    .iter_mut()
                    .zip(&row)
                    .for_each(|(weight, minus)| *weight -= factor * minus);
            }
        }
        done += 1;
    }
    rows.truncate(done);
    rows
}

/// All answers in one space: campaigns have rows of their own.
fn collected(
    campaigns: &[Campaign],
    floor: Floor,
    dice: &mut Dice,
    publisher: impl Fn(&Campaign, Floor, &Filters) -> Option<Vec<f64>>,
) -> Vec<Vec<f64>> {
    let everybody: usize = campaigns.iter().map(|campaign| campaign.people.len()).sum();
    let mut answers: Vec<Vec<f64>> = Vec::new();
    for _ in 0..QUERIES / campaigns.len() {
        let filters = filters(dice);
        let mut before = 0;
        for campaign in campaigns {
            if let Some(about) = publisher(campaign, floor, &filters) {
                let mut answer = vec![0.0; everybody];
                answer[before..before + about.len()].copy_from_slice(&about);
                if !answers.contains(&answer) {
                    answers.push(answer);
                }
            }
            before += campaign.people.len();
        }
    }
    answers
}

#[test]
fn no_combination_of_answers_is_about_fewer_people_than_the_floor() {
    for seed in 0..TRIALS {
        let mut dice = Dice(seed);
        let floor = Floor::new(3 + dice.roll(6)).expect("a floor");
        let campaigns = [campaign(&mut dice, floor), campaign(&mut dice, floor)];
        let answers = collected(&campaigns, floor, &mut dice, ours);
        assert!(!answers.is_empty(), "seed {seed}");
        let fewest = attack(&answers);
        assert!(
            floor.admits(fewest),
            "seed {seed}: {fewest} people below {floor:?}"
        );
    }
}

#[test]
fn the_same_attack_finds_people_where_small_groups_are_merely_hidden() {
    let mut found = 0;
    for seed in 0..TRIALS {
        let mut dice = Dice(seed);
        let floor = Floor::default();
        let campaigns = [campaign(&mut dice, floor)];
        let answers = collected(&campaigns, floor, &mut dice, naive);
        found += usize::from(!floor.admits(attack(&answers)));
    }
    assert!(found as u64 > TRIALS * 9 / 10, "only {found} of {TRIALS}");
}
