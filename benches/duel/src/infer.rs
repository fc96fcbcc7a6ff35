//! Answers of a forest: many rows at once, and one at a time.

use crate::prepared::{count, floats, read};
use crate::{Measure, serve};
use anyhow::Result;
use hessboost::model::BoostedModel;
use hessboost::prelude::{DMatrix, Iterations, ModelFormat};
use ombud_engine::forest::Forest;
use std::path::Path;

/// Rows asked about one at a time; Python's calls are slow, so the peers ask about fewer.
const SINGLE_ROWS: usize = 2_000;

pub fn ours(folder: &Path, threads: usize) -> Result<()> {
    let rows = floats(folder, "rows.f32")?;
    let forest = Forest::from_xgboost(&read(folder, "forest.ubj")?)?.forest;
    let compiled = forest.compile();
    let width = forest.outputs();
    let values: Vec<f64> = rows.values.iter().map(|value| f64::from(*value)).collect();
    let columns = rows.columns;
    let mut margins = vec![0.0; rows.rows() * width];
    let batch = Measure::new("batch", rows.rows(), || {
        match threads {
            1 => compiled.margins(&values, &mut margins),
            _ => compiled.margins_parallel(&values, &mut margins),
        }
        Ok(margins.iter().sum())
    });
    let single = Measure::new("single", SINGLE_ROWS, || {
        let mut sum = 0.0;
        let mut margins = vec![0.0; width];
        for row in values.chunks_exact(columns).take(SINGLE_ROWS) {
            compiled.margins_row(row, &mut margins);
            sum += margins[0];
        }
        Ok(sum)
    });
    serve(vec![batch, single])
}

pub fn hessboost(folder: &Path) -> Result<()> {
    let rows = floats(folder, "rows.f32")?;
    let model = BoostedModel::decode(&read(folder, "forest.ubj")?, ModelFormat::XgboostUbjson)?;
    let width = count(folder, "classes")?;
    let matrix = DMatrix::from_dense(&rows.values, rows.rows(), rows.columns)?;
    let batch = Measure::new("batch", rows.rows(), || {
        let margins = model.predict_margin(&matrix, Iterations::Best)?.into_vec();
        Ok(margins.iter().map(|margin| f64::from(*margin)).sum())
    });
    let single = Measure::new("single", SINGLE_ROWS, || {
        let mut sum = 0.0;
        let mut margins = vec![0.0; width];
        for row in rows.values.chunks_exact(rows.columns).take(SINGLE_ROWS) {
            model.predict_margin_row_into(row, Iterations::Best, &mut margins)?;
            sum += f64::from(margins[0]);
        }
        Ok(sum)
    });
    serve(vec![batch, single])
}
