//! Survey-like rows for the training benchmark: five classes, 28 features, learnable but not easy.
//!
//! Two hidden traits t₀, t₁ ~ normal. Features 1–20 are answers 1 to 5: round(3 + 0.8 t (own noise 0.9)),
//! the odd ones from t₀, the even ones from t₁; feature 21 is a site of 12 (as a number), 22–28 are
//! measures with two decimals, of which 22 to 24 matter. With m = x₂₂, x₂₃, x₂₄:
//!
//! ```text
//! score = 1.0 t₀ + 0.7 t₁ + 0.6 t₀ t₁ + 0.8 [m₁ > 0.5] m₂ - 0.5 m₃² + 0.2 (site mod 3) + 0.7 normal
//! ```
//!
//! and the class is the fifth of the scores' range that it falls in, by fixed cuts. Three in a hundred
//! answers are missing.

use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::path::Path;

use anyhow::{Context, Result};

use crate::examples::draw::Draw;

const ANSWERS: usize = 20;
const SITES: usize = 12;
const MEASURES: usize = 7;
const MISSING: f64 = 0.03;
const CUTS: [f64; 4] = [-1.2, -0.35, 0.35, 1.3];

/// Writes `rows` rows with a header to `path`; another seed gives other rows of the same world.
pub fn write(path: &Path, rows: usize, seed: u64) -> Result<()> {
    let file = File::create(path).with_context(|| format!("cannot write {}", path.display()))?;
    let mut file = BufWriter::new(file);
    let features: Vec<_> = (1..=ANSWERS + 1 + MEASURES)
        .map(|index| format!("x{index:02}"))
        .collect();
    writeln!(file, "{},class", features.join(","))?;
    let mut draw = Draw::new(seed);
    for _ in 0..rows {
        writeln!(file, "{}", row(&mut draw))?;
    }
    file.flush().context("the rows cannot be written")
}

fn row(draw: &mut Draw) -> String {
    let traits = [draw.normal(), draw.normal()];
    let mut fields: Vec<String> = (0..ANSWERS)
        .map(|index| answer(traits[index % 2], draw))
        .collect();
    let site = draw.below(SITES);
    fields.push(site.to_string());
    let measures: Vec<f64> = (0..MEASURES).map(|_| draw.normal()).collect();
    fields.extend(measures.iter().map(|measure| format!("{measure:.2}")));
    let score = traits[0]
        + 0.7 * traits[1]
        + 0.6 * traits[0] * traits[1]
        + if measures[0] > 0.5 {
            0.8 * measures[1]
        } else {
            0.0
        }
        - 0.5 * measures[2] * measures[2]
        + 0.2 * (site % 3) as f64
        + 0.7 * draw.normal();
    let class = CUTS.iter().filter(|cut| score > **cut).count();
    fields.push(class.to_string());
    fields.join(",")
}

fn answer(inclination: f64, draw: &mut Draw) -> String {
    let answer = (3.0 + 0.8 * inclination + 0.9 * draw.normal())
        .round()
        .clamp(1.0, 5.0);
    if draw.chance(MISSING) {
        String::new()
    } else {
        format!("{answer}")
    }
}
