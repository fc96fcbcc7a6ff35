//! What the peers' script left for both sides: numbers as raw little-endian bytes, and a few counts.

use anyhow::{Context, Result, ensure};
use std::fs;
use std::path::Path;

/// A dense matrix, row after row.
pub struct Matrix<T> {
    pub values: Vec<T>,
    pub columns: usize,
}

impl<T> Matrix<T> {
    pub fn rows(&self) -> usize {
        self.values.len() / self.columns
    }
}

/// `NAME.f32` or `NAME.f64` with its number of columns from `prepared.json`.
pub fn floats(folder: &Path, name: &str) -> Result<Matrix<f32>> {
    let bytes = read(folder, name)?;
    ensure!(bytes.len().is_multiple_of(4), "{name} is cut short");
    let (numbers, _) = bytes.as_chunks::<4>();
    let values = numbers
        .iter()
        .map(|bytes| f32::from_le_bytes(*bytes))
        .collect();
    Ok(Matrix {
        values,
        columns: count(folder, "features")?,
    })
}

pub fn doubles(folder: &Path, name: &str) -> Result<Matrix<f64>> {
    let bytes = read(folder, name)?;
    ensure!(bytes.len().is_multiple_of(8), "{name} is cut short");
    let (numbers, _) = bytes.as_chunks::<8>();
    let values = numbers
        .iter()
        .map(|bytes| f64::from_le_bytes(*bytes))
        .collect();
    Ok(Matrix {
        values,
        columns: count(folder, "features")?,
    })
}

pub fn codes(folder: &Path, name: &str) -> Result<Vec<u32>> {
    let bytes = read(folder, name)?;
    let (numbers, _) = bytes.as_chunks::<4>();
    Ok(numbers
        .iter()
        .map(|bytes| u32::from_le_bytes(*bytes))
        .collect())
}

pub fn texts(folder: &Path, name: &str) -> Result<Vec<String>> {
    serde_json::from_slice(&read(folder, name)?).with_context(|| format!("{name} holds no texts"))
}

/// A number of `prepared.json`.
pub fn count(folder: &Path, name: &str) -> Result<usize> {
    let facts: serde_json::Value = serde_json::from_slice(&read(folder, "prepared.json")?)?;
    let count = facts[name].as_u64();
    Ok(count.with_context(|| format!("prepared.json has no {name}"))? as usize)
}

pub fn read(folder: &Path, name: &str) -> Result<Vec<u8>> {
    fs::read(folder.join(name)).with_context(|| format!("{name} cannot be read"))
}
