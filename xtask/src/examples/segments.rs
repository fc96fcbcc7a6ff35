//! `examples/segments`: a week of wellness measures, without labels; four ways of living hide in them.
//!
//! Each person belongs to one of four groups; each measure is the group's mean plus the measure's spread
//! times a normal, kept within its bounds. Two in a hundred values are missing. The groups overlap, so
//! that a soft assignment means something. No column tells the group.

use super::ExampleFile;
use super::draw::Draw;
use super::table::Table;

const SEED: u64 = 20_261_103;
const PEOPLE: usize = 1_500;
const NEW_PEOPLE: usize = 5;
const MISSING: f64 = 0.02;

/// A measure: its mean in each group, the spread inside a group, and where it ends.
struct Measure {
    name: &'static str,
    means: [f64; 4],
    spread: f64,
    least: f64,
    most: f64,
    decimals: usize,
}

/// How large each group is: steady, night workers, stretched, withdrawn.
const SHARES: [f64; 4] = [0.38, 0.17, 0.27, 0.18];

#[rustfmt::skip]
const MEASURES: &[Measure] = &[
    Measure { name: "sleep_hours", means: [7.6, 5.9, 6.1, 8.1], spread: 0.7, least: 2.0, most: 12.0, decimals: 1 },
    Measure { name: "daily_steps", means: [9_200.0, 7_400.0, 5_200.0, 2_900.0], spread: 1_600.0, least: 200.0, most: 25_000.0, decimals: 0 },
    Measure { name: "resting_pulse", means: [61.0, 69.0, 74.0, 72.0], spread: 6.0, least: 40.0, most: 110.0, decimals: 0 },
    Measure { name: "mood", means: [7.6, 6.4, 5.4, 3.9], spread: 1.1, least: 1.0, most: 10.0, decimals: 1 },
    Measure { name: "stress", means: [3.2, 5.0, 7.7, 5.4], spread: 1.2, least: 1.0, most: 10.0, decimals: 1 },
    Measure { name: "social_hours", means: [9.0, 4.5, 6.0, 1.8], spread: 2.0, least: 0.0, most: 40.0, decimals: 1 },
    Measure { name: "screen_hours", means: [2.6, 3.4, 4.8, 6.6], spread: 1.1, least: 0.0, most: 16.0, decimals: 1 },
    Measure { name: "night_hours", means: [1.0, 22.0, 3.0, 1.5], spread: 2.5, least: 0.0, most: 60.0, decimals: 1 },
];

pub fn files() -> Vec<ExampleFile> {
    let mut draw = Draw::new(SEED);
    let mut columns = vec!["person_id", "age_band"];
    columns.extend(MEASURES.iter().map(|measure| measure.name));
    let (mut data, mut new) = (Table::new(&columns), Table::new(&columns));
    for index in 0..PEOPLE + NEW_PEOPLE {
        let table = if index < PEOPLE { &mut data } else { &mut new };
        table.row(&person(index, &mut draw));
    }
    vec![
        data.into_file("examples/segments/data.csv"),
        new.into_file("examples/segments/new.csv"),
    ]
}

fn person(index: usize, draw: &mut Draw) -> Vec<String> {
    let group = draw.weighted(&SHARES);
    let age_band = super::claims::AGE_BANDS[draw.weighted(&[0.25, 0.35, 0.28, 0.12])];
    let mut fields = vec![format!("P{:05}", index + 1), age_band.to_owned()];
    fields.extend(MEASURES.iter().map(|measure| value(measure, group, draw)));
    fields
}

fn value(measure: &Measure, group: usize, draw: &mut Draw) -> String {
    let value = measure.means[group] + measure.spread * draw.normal();
    if draw.chance(MISSING) {
        return String::new();
    }
    format!(
        "{:.*}",
        measure.decimals,
        value.clamp(measure.least, measure.most)
    )
}
