//! `examples/days_to_close`: how many days a claim takes, a skewed number with an interval around it.
//!
//! ```text
//! days = exp(2.6 + 0.25 severity + 0.8 [hearing] - 0.9 documents + 0.02 open cases
//!            + 0.35 [site over 500] + region + 0.35 normal), at least 1
//! ```
//!
//! where `documents` is the share of papers that came with the claim (missing in one row of ten, and
//! then most often low), `severity` counts from 0 to 3, and `region` is between -0.3 and 0.4.

use super::ExampleFile;
use super::claims::{AGE_BANDS, GENDERS, SEVERITIES, TYPES};
use super::draw::{Draw, date, exponential};
use super::table::Table;

const SEED: u64 = 20_261_102;
const CASES: usize = 2_000;
const NEW_CASES: usize = 5;
const MEMBERS: usize = 1_200;
const DAYS: usize = 1_095;
const NOISE: f64 = 0.35;

const COLUMNS: &[&str] = &[
    "case_id",
    "member_id",
    "filed_at",
    "region",
    "claim_type",
    "severity",
    "hearing",
    "documents",
    "site_size",
    "open_cases",
    "gender",
    "age_band",
    "days_to_close",
];
const REGIONS: &[(&str, f64)] = &[
    ("north", 0.0),
    ("south", 0.2),
    ("east", -0.3),
    ("west", 0.1),
    ("coast", 0.4),
    ("capital", -0.1),
];

pub fn files() -> Vec<ExampleFile> {
    let mut draw = Draw::new(SEED);
    let mut data = Table::new(COLUMNS);
    let mut new = Table::new(&COLUMNS[..COLUMNS.len() - 1]);
    for index in 0..CASES + NEW_CASES {
        let mut fields = case(index, &mut draw);
        if index >= CASES {
            fields.pop();
            new.row(&fields);
            continue;
        }
        data.row(&fields);
    }
    let folder_files = [
        (data, "examples/days_to_close/data.csv"),
        (new, "examples/days_to_close/new.csv"),
    ];
    folder_files
        .into_iter()
        .map(|(table, path)| table.into_file(path))
        .collect()
}

fn case(index: usize, draw: &mut Draw) -> Vec<String> {
    let (region, region_pull) = draw.pick(REGIONS);
    let claim_type = draw.pick(TYPES);
    let severity = draw.weighted(&[0.28, 0.36, 0.24, 0.12]);
    let hearing = draw.chance(if claim_type == "discipline" {
        0.6
    } else {
        0.25
    });
    let documents = draw.uniform();
    let site_size = 20 + (draw.uniform() * draw.uniform() * 1_800.0) as usize;
    let open_cases = 6 + draw.below(30);
    let pull = 2.6 + 0.25 * severity as f64 - 0.9 * documents
        + 0.02 * open_cases as f64
        + 0.8 * f64::from(u8::from(hearing))
        + 0.35 * f64::from(u8::from(site_size > 500))
        + region_pull
        + NOISE * draw.normal();
    let days = exponential(pull).max(1.0);
    let is_unknown = draw.chance(if documents < 0.4 { 0.18 } else { 0.04 });
    vec![
        format!("K{:05}", index + 1),
        format!("M{:04}", draw.below(MEMBERS) + 1),
        date(index * DAYS / (CASES + NEW_CASES)),
        region.to_owned(),
        claim_type.to_owned(),
        SEVERITIES[severity].to_owned(),
        if hearing { "yes" } else { "no" }.to_owned(),
        if is_unknown {
            String::new()
        } else {
            format!("{documents:.2}")
        },
        site_size.to_string(),
        open_cases.to_string(),
        GENDERS[draw.weighted(&[0.49, 0.48, 0.03])].to_owned(),
        AGE_BANDS[draw.weighted(&[0.22, 0.34, 0.31, 0.13])].to_owned(),
        format!("{days:.0}"),
    ]
}
