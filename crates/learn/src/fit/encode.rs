//! Chooses how features become columns for each algorithm, and writes rows out for training.

use super::FitError;
use crate::grow::ColumnFacts;
use arrow_array::Array;
use ombud_core::frame::Column;
use ombud_core::{Frame, Kind};
use ombud_engine::bundle::Files;
use ombud_engine::bundle::path_name::PathName;
use ombud_engine::encoding::{Block, EncodeScratch, Encoding, Parts};
use ombud_engine::linear::Linear;
use ombud_engine::model::ENCODING_FILE;
use ombud_engine::text::Vectorizer;
use rayon::prelude::*;

/// Rows encoded by one task.
const ROWS_PER_TASK: usize = 4_096;
/// A scale below this is a constant column's.
const SCALE_MIN: f64 = 1e-12;

/// Adds a part's file to a bundle's files.
pub(super) fn store(files: &mut Files, name: &str, content: Vec<u8>) -> Result<(), FitError> {
    let name = PathName::new(name).map_err(|error| FitError::Store(error.to_string()))?;
    files.insert(name, content);
    Ok(())
}

/// Adds the file that says how rows are encoded.
pub(super) fn store_blocks(files: &mut Files, encoding: &Encoding) -> Result<(), FitError> {
    let blocks: Vec<&Block> = encoding.blocks().collect();
    let text =
        serde_json::to_vec_pretty(&blocks).map_err(|error| FitError::Store(error.to_string()))?;
    store(files, ENCODING_FILE, text)
}

/// Adds the files of vectorizers and text stages.
pub(super) fn store_parts(files: &mut Files, parts: &Parts) -> Result<(), FitError> {
    for (name, vectorizer) in &parts.vectorizers {
        store(
            files,
            name,
            Vectorizer::to_bytes(vectorizer).map_err(|e| FitError::Store(e.to_string()))?,
        )?;
    }
    for (name, linear) in &parts.linears {
        store(
            files,
            name,
            Linear::to_bytes(linear).map_err(|e| FitError::Store(e.to_string()))?,
        )?;
    }
    Ok(())
}

/// The texts of a feature at some rows; a missing text is empty.
pub(super) fn texts_of<'f>(frame: &'f Frame, feature: usize, rows: &[u32]) -> Vec<Option<&'f str>> {
    match &frame.columns()[feature] {
        Column::Text(texts) => rows
            .iter()
            .map(|row| {
                texts
                    .is_valid(*row as usize)
                    .then(|| texts.value(*row as usize))
            })
            .collect(),
        _ => vec![None; rows.len()],
    }
}

/// A column's mean and standard deviation over some rows, per step; missing values left out.
fn moments(column: &Column, steps: usize, rows: &[u32]) -> Vec<(f64, f64)> {
    let value = |row: usize, step: usize| match column {
        Column::Number(numbers) if numbers.is_valid(row) => numbers.value(row),
        Column::Code(codes) if codes.is_valid(row) => f64::from(codes.value(row)),
        Column::Sequence { steps, values } => values[row * steps + step],
        Column::Number(_) | Column::Code(_) | Column::Text(_) => f64::NAN,
    };
    (0..steps)
        .map(|step| {
            let known = || {
                rows.iter()
                    .map(|row| value(*row as usize, step))
                    .filter(|v| !v.is_nan())
            };
            let count = known().count().max(1) as f64;
            let mean = known().sum::<f64>() / count;
            let variance = known().map(|v| (v - mean).powi(2)).sum::<f64>() / count;
            (mean, variance.sqrt())
        })
        .collect()
}

/// A scaled block of a number, ordinal or sequence.
pub(super) fn scaled(frame: &Frame, feature: usize, rows: &[u32], flags_wanted: bool) -> Block {
    let steps = match frame.schema().features()[feature].kind {
        Kind::Sequence { steps, .. } => steps,
        _ => 1,
    };
    let column = &frame.columns()[feature];
    let moments = moments(column, steps, rows);
    let usable = |scale: f64| if scale > SCALE_MIN { scale } else { 1.0 };
    Block::Scaled {
        feature,
        center: moments.iter().map(|(mean, _)| *mean).collect(),
        scale: moments
            .iter()
            .map(|(_, deviation)| usable(*deviation))
            .collect(),
        flags: flags_wanted && has_missing(column, rows),
    }
}

fn has_missing(column: &Column, rows: &[u32]) -> bool {
    match column {
        Column::Number(numbers) => rows.iter().any(|row| numbers.is_null(*row as usize)),
        Column::Code(codes) => rows.iter().any(|row| codes.is_null(*row as usize)),
        Column::Text(_) => false,
        Column::Sequence { steps, values } => rows.iter().any(|row| {
            values[*row as usize * steps..(*row as usize + 1) * steps]
                .iter()
                .any(|v| v.is_nan())
        }),
    }
}

/// Writes rows out in full, as single-precision numbers, row after row.
pub(super) fn matrix(encoding: &Encoding, frame: &Frame, rows: &[u32]) -> Vec<f32> {
    let columns = encoding.columns();
    let mut values = vec![0f32; rows.len() * columns];
    values
        .par_chunks_mut(ROWS_PER_TASK * columns.max(1))
        .enumerate()
        .for_each(|(task, out)| {
            let mut scratch = EncodeScratch::default();
            let mut row_values = vec![0.0; columns];
            for (place, out) in out.chunks_exact_mut(columns).enumerate() {
                let row = rows[task * ROWS_PER_TASK + place] as usize;
                encoding.encode_frame(frame, row..row + 1, &mut scratch, &mut row_values);
                for (out, value) in out.iter_mut().zip(&row_values) {
                    *out = *value as f32;
                }
            }
        });
    values
}

/// Writes rows out in full, in double precision.
pub(super) fn matrix_double(encoding: &Encoding, frame: &Frame, rows: &[u32]) -> Vec<f64> {
    let columns = encoding.columns();
    let mut values = vec![0.0; rows.len() * columns];
    values
        .par_chunks_mut(ROWS_PER_TASK * columns.max(1))
        .enumerate()
        .for_each(|(task, out)| {
            let mut scratch = EncodeScratch::default();
            for (place, out) in out.chunks_exact_mut(columns).enumerate() {
                let row = rows[task * ROWS_PER_TASK + place] as usize;
                encoding.encode_frame(frame, row..row + 1, &mut scratch, out);
            }
        });
    values
}

/// What the tree grower must know of each column.
pub(super) fn column_facts(
    encoding: &Encoding,
    frame: &Frame,
    monotone: &[i8],
) -> Vec<ColumnFacts> {
    let features = frame.schema().features();
    encoding
        .feature_of_column()
        .into_iter()
        .map(|feature| {
            let is_category = matches!(features[feature].kind, Kind::Category { .. });
            let monotone = if is_category {
                0
            } else {
                monotone.get(feature).copied().unwrap_or(0)
            };
            ColumnFacts {
                is_category,
                monotone,
            }
        })
        .collect()
}
