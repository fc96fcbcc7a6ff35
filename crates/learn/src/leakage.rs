//! Signs that the model would know the answer beforehand, or that held-out rows are not new to it.
//!
//! Every warning names the columns, because the remedy is a person's: drop the column, group the split, or know why it is
//! right. Nothing is dropped here.

pub(crate) mod duplicates;
pub(crate) mod newer;

use crate::prepare::Prepared;
use crate::split::Sides;
use crate::target::Target;
use arrow_array::Array;
use ombud_core::frame::Column;
use std::collections::{HashMap, HashSet};

/// A feature that alone tells the target this well gives it away.
const GIVEAWAY_AUC: f64 = 0.95;
/// The same for more than two classes, as a share of rows told right.
const GIVEAWAY_RIGHT: f64 = 0.99;
/// The same for numbers, as a share of variance explained.
const GIVEAWAY_R2: f64 = 0.99;
/// Rows looked at.
const ROWS_LOOKED_MAX: usize = 50_000;

/// The warnings, most serious first.
pub fn warnings(prepared: &Prepared, sides: &Sides) -> Vec<String> {
    let mut all = giveaways(prepared);
    all.extend(duplicates::warning(&prepared.fingerprints, sides));
    all.extend(shared_subjects(prepared, sides));
    all
}

/// Features that alone give the target away.
fn giveaways(prepared: &Prepared) -> Vec<String> {
    let rows = prepared.frame.rows();
    let step = rows.div_ceil(ROWS_LOOKED_MAX).max(1);
    let rows: Vec<usize> = (0..rows).step_by(step).collect();
    let features = prepared
        .frame
        .schema()
        .features()
        .iter()
        .zip(prepared.frame.columns());
    let judged = features.filter_map(|(feature, column)| {
        let telling = match &prepared.target {
            Target::Classes { codes, names, .. } => class_telling(column, codes, names.len(), &rows)?,
            Target::Numbers(numbers) => number_telling(column, numbers, &rows)?,
            Target::Labels { .. } | Target::Nothing { .. } => return None,
        };
        telling.then(|| {
            format!(
                "{} alone gives the target away: is it written down after the outcome? drop it in [features] unless it is known when deciding",
                feature.name
            )
        })
    });
    judged.collect()
}

/// Whether a column orders (or names) the classes almost perfectly.
fn class_telling(column: &Column, codes: &[u32], classes: usize, rows: &[usize]) -> Option<bool> {
    match column {
        Column::Number(numbers) if classes == 2 => {
            let mut pairs: Vec<(f64, bool)> = rows
                .iter()
                .filter(|row| numbers.is_valid(**row))
                .map(|row| (numbers.value(*row), codes[*row] == 1))
                .collect();
            let auc = rank_auc(&mut pairs)?;
            Some(auc.max(1.0 - auc) >= GIVEAWAY_AUC)
        }
        Column::Code(values) if classes == 2 => {
            let mut counts: HashMap<Option<u32>, (usize, usize)> = HashMap::new();
            let value = |row: usize| values.is_valid(row).then(|| values.value(row));
            for row in rows {
                let (positive, all) = counts.entry(value(*row)).or_default();
                *positive += usize::from(codes[*row] == 1);
                *all += 1;
            }
            // As many values as rows tell nothing: that is an identifier, which has its own warning.
            if counts.len() * 10 > rows.len() {
                return None;
            }
            let rate = |row: &usize| {
                let (positive, all) = counts[&value(*row)];
                (positive as f64 / all as f64, codes[*row] == 1)
            };
            let mut pairs: Vec<(f64, bool)> = rows.iter().map(rate).collect();
            Some(rank_auc(&mut pairs)? >= GIVEAWAY_AUC)
        }
        Column::Code(values) => {
            let mut counts: HashMap<Option<u32>, HashMap<u32, usize>> = HashMap::new();
            for row in rows {
                let value = values.is_valid(*row).then(|| values.value(*row));
                *counts
                    .entry(value)
                    .or_default()
                    .entry(codes[*row])
                    .or_default() += 1;
            }
            let right: usize = counts.values().filter_map(|of| of.values().max()).sum();
            let distinct = rows
                .iter()
                .map(|row| codes[*row])
                .collect::<HashSet<_>>()
                .len();
            // As many values as rows tell nothing: that is an identifier, which has its own warning.
            let is_many = counts.len() * 10 > rows.len();
            Some(distinct > 1 && !is_many && right as f64 >= GIVEAWAY_RIGHT * rows.len() as f64)
        }
        Column::Number(numbers) => {
            let distinct: HashSet<u64> = rows
                .iter()
                .filter(|row| numbers.is_valid(**row))
                .map(|row| numbers.value(*row).to_bits())
                .collect();
            if distinct.len() > 20 * classes {
                return None;
            }
            let mut counts: HashMap<u64, HashMap<u32, usize>> = HashMap::new();
            for row in rows.iter().filter(|row| numbers.is_valid(**row)) {
                *counts
                    .entry(numbers.value(*row).to_bits())
                    .or_default()
                    .entry(codes[*row])
                    .or_default() += 1;
            }
            let right: usize = counts.values().filter_map(|of| of.values().max()).sum();
            Some(right as f64 >= GIVEAWAY_RIGHT * rows.len() as f64)
        }
        Column::Text(_) | Column::Sequence { .. } => None,
    }
}

/// Area under the ROC curve by ranks, ties counted half.
fn rank_auc(pairs: &mut [(f64, bool)]) -> Option<f64> {
    pairs.sort_by(|a, b| a.0.total_cmp(&b.0));
    let positives = pairs.iter().filter(|pair| pair.1).count() as f64;
    let negatives = pairs.len() as f64 - positives;
    if positives < 5.0 || negatives < 5.0 {
        return None;
    }
    let mut sum = 0.0;
    let mut start = 0;
    while start < pairs.len() {
        let value = pairs[start].0;
        let end = start
            + pairs[start..]
                .iter()
                .take_while(|pair| pair.0 == value)
                .count();
        let rank = (start + end + 1) as f64 / 2.0;
        sum += rank * pairs[start..end].iter().filter(|pair| pair.1).count() as f64;
        start = end;
    }
    Some((sum - positives * (positives + 1.0) / 2.0) / (positives * negatives))
}

fn number_telling(column: &Column, target: &[f64], rows: &[usize]) -> Option<bool> {
    let Column::Number(numbers) = column else {
        return None;
    };
    let pairs: Vec<(f64, f64)> = rows
        .iter()
        .filter(|row| numbers.is_valid(**row))
        .map(|row| (numbers.value(*row), target[*row]))
        .collect();
    let count = pairs.len() as f64;
    if count < 20.0 {
        return None;
    }
    let mean_x = pairs.iter().map(|pair| pair.0).sum::<f64>() / count;
    let mean_y = pairs.iter().map(|pair| pair.1).sum::<f64>() / count;
    let covariance: f64 = pairs.iter().map(|(x, y)| (x - mean_x) * (y - mean_y)).sum();
    let variance_x: f64 = pairs.iter().map(|(x, _)| (x - mean_x).powi(2)).sum();
    let variance_y: f64 = pairs.iter().map(|(_, y)| (y - mean_y).powi(2)).sum();
    if variance_x <= 0.0 || variance_y <= 0.0 {
        return None;
    }
    Some(covariance * covariance / (variance_x * variance_y) >= GIVEAWAY_R2)
}

fn shared_subjects(prepared: &Prepared, sides: &Sides) -> Option<String> {
    let keys = prepared.keys.as_ref()?;
    let known: HashSet<u64> = sides
        .training
        .iter()
        .map(|row| keys[*row as usize])
        .collect();
    let shared: HashSet<u64> = sides
        .validation
        .iter()
        .map(|row| keys[*row as usize])
        .filter(|key| known.contains(key))
        .collect();
    (!shared.is_empty()).then(|| {
        format!(
            "{} subjects have rows on both sides of the split: the model may recognise them; use split = \"subject\"",
            shared.len()
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranks_with_ties_count_half() {
        // roc_auc_score([0,0,0,0,0,1,1,1,1,1], [1,2,2,3,4,2,3,4,5,5]), scikit-learn 1.9.1: 0.8
        let labels = [0, 0, 0, 0, 0, 1, 1, 1, 1, 1];
        let scores = [1.0, 2.0, 2.0, 3.0, 4.0, 2.0, 3.0, 4.0, 5.0, 5.0];
        let mut pairs: Vec<(f64, bool)> = scores
            .into_iter()
            .zip(labels.map(|label| label == 1))
            .collect();
        assert!((rank_auc(&mut pairs).unwrap() - 0.8).abs() < 1e-12);
    }
}
