//! Exact TreeSHAP of a forest.

use crate::prepared::{count, floats, read};
use crate::{Measure, serve};
use anyhow::Result;
use ombud_engine::forest::Forest;
use std::fs;
use std::path::Path;

pub fn play(folder: &Path) -> Result<()> {
    let rows = floats(folder, "rows.f32")?;
    let forest = Forest::from_xgboost(&read(folder, "forest.ubj")?)?.forest;
    let explainer = forest.explainer();
    let explained = count(folder, "explained")?;
    let values: Vec<f64> = rows.values[..explained * rows.columns]
        .iter()
        .map(|value| f64::from(*value))
        .collect();
    let mut parts = vec![0.0; explained * explainer.width()];
    explainer.contributions(&values, &mut parts);
    // Left for the comparison of every single value.
    let bytes: Vec<u8> = parts.iter().flat_map(|part| part.to_le_bytes()).collect();
    fs::write(folder.join("ombud_parts.f64"), bytes)?;
    let all = Measure::new("explain", explained, || {
        explainer.contributions(&values, &mut parts);
        Ok(parts.iter().map(|part| part.abs()).sum())
    });
    serve(vec![all])
}
