//! What the generator promises: repeatable rows with the structure of real surveys, and a ceiling that is known.

use super::*;
use crate::hseg::score::{Score, Tier};
use crate::hseg::survey::{Category, Rating};
use crate::hseg::text::TextRisk;
use ombud_learn::progress::Silent;

fn world(records: u64, seed: u64) -> Vec<Generated> {
    let generator = Generator::new(Options {
        records,
        seed,
        ..Options::default()
    });
    generator.batch(0..records)
}

/// Cronbach's alpha of the complete answers to a category.
fn alpha(world: &[Generated], category: Category) -> f64 {
    let rows: Vec<Vec<f64>> = world
        .iter()
        .filter_map(|it| {
            let given = category
                .questions()
                .map(|q| it.record.ratings.get(q).map(Rating::get));
            given.collect::<Option<Vec<f64>>>()
        })
        .collect();
    let items = category.questions().len();
    let single: f64 = (0..items)
        .map(|item| variance(rows.iter().map(|row| row[item])))
        .sum();
    let whole = variance(rows.iter().map(|row| row.iter().sum()));
    items as f64 / (items as f64 - 1.0) * (1.0 - single / whole)
}

fn variance(values: impl Iterator<Item = f64> + Clone) -> f64 {
    let count = values.clone().count() as f64;
    let mean = values.clone().sum::<f64>() / count;
    values.map(|value| (value - mean).powi(2)).sum::<f64>() / (count - 1.0)
}

fn share(world: &[Generated], holds: impl Fn(&Generated) -> bool) -> f64 {
    world.iter().filter(|it| holds(it)).count() as f64 / world.len() as f64
}

#[test]
fn statements_of_a_category_belong_together() {
    let world = world(12_000, 7);
    for category in Category::ALL {
        let alpha = alpha(&world, category);
        assert!((0.80..0.95).contains(&alpha), "{category}: {alpha:.3}");
    }
}

#[test]
fn a_seed_gives_the_same_bytes_and_another_seed_others() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, seed: u64| {
        let path = folder.path().join(name);
        let options = Options {
            records: 9_000,
            seed,
            ..Options::default()
        };
        write(&Generator::new(options), &path, &Silent, |_| {}).unwrap();
        std::fs::read(path).unwrap()
    };
    for ending in ["csv", "parquet"] {
        let first = file(&format!("a.{ending}"), 7);
        assert!(first == file(&format!("b.{ending}"), 7), "{ending}");
        assert!(first != file(&format!("c.{ending}"), 8), "{ending}");
    }
}

#[test]
fn a_record_does_not_depend_on_how_many_are_made() {
    let few = world(10, 3);
    let many = world(5_000, 3);
    assert_eq!(few[..], many[..10]);
}

#[test]
fn every_tier_level_and_carelessness_occurs_in_its_share() {
    let world = world(20_000, 7);
    for tier in Tier::ALL {
        let found = share(&world, |it| it.record.outcome.tier == tier);
        assert!((0.03..0.45).contains(&found), "{tier}: {found}");
    }
    let written = share(&world, |it| it.record.label.is_some());
    assert!((0.5..0.75).contains(&written), "{written}");
    let crisis = share(&world, |it| {
        it.record
            .label
            .is_some_and(|label| label.risk == TextRisk::Crisis)
    });
    assert!((0.002..0.02).contains(&crisis), "{crisis}");
    let careless = share(&world, |it| it.truth.care != Care::Honest);
    assert!((0.04..0.06).contains(&careless), "{careless}");
    let resigned = share(&world, |it| it.record.outcome.has_resigned);
    assert!((0.02..0.15).contains(&resigned), "{resigned}");
    let complete = share(&world, |it| it.record.ratings.answered() == 22);
    assert!((0.45..0.75).contains(&complete), "{complete}");
}

#[test]
fn all_domains_and_organizations_answer() {
    let generator = Generator::new(Options::default());
    let world = generator.batch(0..20_000);
    for index in 0..ORGANIZATIONS {
        let people = share(&world, |it| it.record.organization == index);
        assert!(people > 0.0005, "organization {index}: {people}");
    }
    for domain in Domain::ALL {
        assert!(
            share(&world, |it| it.record.domain == domain) > 0.1,
            "{domain}"
        );
    }
}

#[test]
fn the_ceilings_stand_in_their_order_and_above_the_formula() {
    let generator = Generator::new(Options::default());
    let world = generator.batch(0..3_000);
    let oracle = ceiling::Ceiling::of(world.iter().map(ceiling::oracle));
    let bayes = ceiling::Ceiling::of(world.iter().map(|it| ceiling::bayes(&generator, it)));
    let formula = share(&world, |it| {
        Score::of(&it.record.ratings).is_some_and(|score| score.tier == it.record.outcome.tier)
    });
    assert!(oracle.lower > bayes.upper, "{oracle:?} {bayes:?}");
    assert!(bayes.lower > formula + 0.02, "{bayes:?} {formula}");
}

#[test]
fn the_bayes_chances_are_calibrated() {
    // If the integral is right, the highest chance is how often the likeliest tier comes true, up to the course of the
    // organization, which all its people share.
    let generator = Generator::new(Options {
        organizations: 2_000,
        ..Options::default()
    });
    let world = generator.batch(0..4_000);
    let promised =
        ceiling::Ceiling::of(world.iter().map(|it| ceiling::bayes(&generator, it))).value;
    let kept = share(&world, |it| {
        ceiling::likeliest(&generator, it) == it.record.outcome.tier
    });
    assert!(
        (promised - kept).abs() < 0.03,
        "promised {promised:.3}, kept {kept:.3}"
    );
}

#[test]
fn idioms_negations_and_irony_are_written_too() {
    let world = world(20_000, 7);
    let texts: Vec<String> = world
        .iter()
        .filter_map(|it| it.record.text())
        .map(|it| it.to_lowercase())
        .collect();
    for words in [
        "deadline is killing me",
        "not afraid to speak up",
        "best team ever",
        "tbh",
        "kill for a decent chair",
    ] {
        assert!(texts.iter().any(|text| text.contains(words)), "{words}");
    }
}

#[test]
fn reserved_phrases_are_written_only_when_asked_for() {
    let texts = |phrases| {
        let generator = Generator::new(Options {
            phrases,
            ..Options::default()
        });
        let made = generator.batch(0..4_000);
        made.iter()
            .filter_map(|it| it.record.text())
            .map(|it| it.to_lowercase())
            .collect::<Vec<_>>()
            .join("\n")
    };
    let reserved = "there is no way out for me";
    let common = "i want to end it all";
    let (of_common, of_reserved) = (texts(Phrases::Common), texts(Phrases::Reserved));
    assert!(!of_common.contains("everyone would be better off without me"));
    assert!(!of_reserved.contains(common) && !of_reserved.contains(reserved));
}
