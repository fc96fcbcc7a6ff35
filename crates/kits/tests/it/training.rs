//! What `ombud kit hseg train` promises, on a world small enough for a test.

use ombud_kits::hseg::recipes;
use ombud_kits::hseg::training::quality::{Line, Measured};
use ombud_kits::hseg::training::{Plan, train};
use ombud_learn::progress::Silent;

fn line<'a>(quality: &'a [Line], model: &str, what: &str) -> &'a Line {
    quality
        .iter()
        .find(|it| it.model == model && it.what == what)
        .unwrap_or_else(|| panic!("{model}: {what}"))
}

fn beside(line: &Line, name: &str) -> Measured {
    let all = line.baselines.iter().chain(&line.ceilings);
    all.filter(|it| it.name == name)
        .map(|it| it.measured)
        .next()
        .unwrap_or_else(|| panic!("{name}"))
}

#[test]
fn models_beat_what_is_simple_and_stay_below_what_is_possible() {
    let folder = tempfile::tempdir().unwrap();
    let plan = Plan {
        records: 16_000,
        seed: 7,
        out: &folder.path().join("models"),
        work: &folder.path().join("tables"),
        key: None,
        organizations: Some(600),
    };
    let trainings = train(&plan, &Silent).unwrap();
    let quality = &trainings.quality;
    for line in quality {
        eprintln!(
            "{} | {} | {} | {} | {:?} | {:?}",
            line.model, line.what, line.rows, line.measured, line.baselines, line.ceilings
        );
    }
    let names: Vec<&str> = trainings
        .models
        .iter()
        .map(|it| it.bundle.manifest().name.as_str())
        .collect();
    assert_eq!(names, recipes::ALL.map(|it| it.name));

    let text = line(quality, recipes::TEXT.name, "accuracy of the level");
    assert!(
        text.measured.lower > beside(text, "majority").upper,
        "{text:?}"
    );
    assert!(
        text.measured.value <= beside(text, "readers' agreement").upper,
        "{text:?}"
    );
    let recall = line(quality, recipes::TEXT.name, "recall of crisis");
    assert!(recall.measured.value >= 0.95, "{recall:?}");
    assert!(beside(recall, "either net").value >= recall.measured.value);

    let individual = line(
        quality,
        recipes::INDIVIDUAL.name,
        "accuracy of the tier at follow-up",
    );
    assert!(
        individual.measured.value > beside(individual, "formula alone").value + 0.02,
        "{individual:?}"
    );
    assert!(
        individual.measured.value < beside(individual, "Bayes").upper,
        "{individual:?}"
    );
    assert!(beside(individual, "Bayes").value < beside(individual, "oracle").value);

    let organization = line(
        quality,
        recipes::ORGANIZATION.name,
        "accuracy of the tier at follow-up",
    );
    assert!(
        organization.measured.lower > beside(organization, "majority").upper,
        "{organization:?}"
    );
    assert!(
        organization.measured.value < beside(organization, "oracle").upper,
        "{organization:?}"
    );

    let turnover = line(
        quality,
        recipes::TURNOVER.name,
        "mean absolute error of turnover",
    );
    assert!(
        turnover.measured.upper < beside(turnover, "always the mean").lower,
        "{turnover:?}"
    );
    let kept = line(
        quality,
        recipes::TURNOVER.name,
        "intervals promised at 0.9 that hold",
    );
    assert!((0.83..=0.97).contains(&kept.measured.value), "{kept:?}");
}
