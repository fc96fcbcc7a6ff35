//! Which rows are held out, and the folds of a cross-validation.
//!
//! Pure: takes what decides (classes, times, keys), gives row numbers in ascending order. Rows that belong together, by
//! subject or group, are never divided; a split by time holds out the latest rows, because that is how the model will
//! be used. The same seed gives the same rows on every machine.

use crate::random::Random;
use std::collections::HashMap;

/// What a split may go by.
#[derive(Debug, Clone, Copy)]
pub enum Rule<'a> {
    /// Each class keeps its share; `None` when there are no classes.
    Stratified(Option<&'a [u32]>),
    /// The rows with the greatest times are held out.
    Latest(&'a [i64]),
    /// Rows with the same key stay together.
    Together(&'a [u64]),
}

/// The two sides of a split, each ascending.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sides {
    /// Rows to learn from.
    pub training: Vec<u32>,
    /// Rows held out to measure.
    pub validation: Vec<u32>,
}

/// Divides `rows` rows so that about `share` of them are held out.
pub fn divide(rows: usize, share: f64, rule: Rule<'_>, seed: u64) -> Sides {
    let held_out = match rule {
        Rule::Stratified(classes) => stratified(rows, share, classes, seed),
        Rule::Latest(times) => latest(times, share),
        Rule::Together(keys) => together(keys, share, seed),
    };
    let (mut training, mut validation) = (Vec::new(), Vec::new());
    for (row, is_held_out) in held_out.into_iter().enumerate() {
        if is_held_out {
            validation.push(row as u32);
        } else {
            training.push(row as u32);
        }
    }
    Sides {
        training,
        validation,
    }
}

/// The fold, from 0, of each row.
pub fn folds(
    count: usize,
    classes: Option<&[u32]>,
    keys: Option<&[u64]>,
    rows: usize,
    seed: u64,
) -> Vec<u32> {
    if let Some(keys) = keys {
        return folds_together(count, keys, seed);
    }
    let mut order: Vec<u32> = (0..rows as u32).collect();
    Random::stream(seed, 0xF01D).shuffle(&mut order);
    if let Some(classes) = classes {
        order.sort_by_key(|row| classes[*row as usize]);
    }
    let mut fold = vec![0; rows];
    for (place, row) in order.into_iter().enumerate() {
        fold[row as usize] = (place % count) as u32;
    }
    fold
}

fn stratified(rows: usize, share: f64, classes: Option<&[u32]>, seed: u64) -> Vec<bool> {
    let mut by_class: HashMap<u32, Vec<usize>> = HashMap::new();
    for row in 0..rows {
        by_class
            .entry(classes.map_or(0, |classes| classes[row]))
            .or_default()
            .push(row);
    }
    let mut held_out = vec![false; rows];
    let mut classes: Vec<u32> = by_class.keys().copied().collect();
    classes.sort_unstable();
    for class in classes {
        let members = by_class
            .get_mut(&class)
            .map(std::mem::take)
            .unwrap_or_default();
        let mut members = members;
        Random::stream(seed, u64::from(class)).shuffle(&mut members);
        // A class of one row is learned from: a held-out class that was never seen measures nothing.
        let count =
            ((members.len() as f64 * share).round() as usize).min(members.len().saturating_sub(1));
        for row in &members[..count] {
            held_out[*row] = true;
        }
    }
    held_out
}

fn latest(times: &[i64], share: f64) -> Vec<bool> {
    let mut sorted = times.to_vec();
    sorted.sort_unstable();
    let first = sorted.len() - (sorted.len() as f64 * share).round() as usize;
    let mut held_out = vec![false; times.len()];
    let Some(border) = sorted.get(first) else {
        return held_out;
    };
    for (is_held_out, time) in held_out.iter_mut().zip(times) {
        *is_held_out = time >= border;
    }
    held_out
}

fn together(keys: &[u64], share: f64, seed: u64) -> Vec<bool> {
    let mut sizes: HashMap<u64, usize> = HashMap::new();
    let mut order: Vec<u64> = Vec::new();
    for key in keys {
        let size = sizes.entry(*key).or_insert_with(|| {
            order.push(*key);
            0
        });
        *size += 1;
    }
    Random::stream(seed, 0x6E0).shuffle(&mut order);
    let wanted = (keys.len() as f64 * share).round() as usize;
    let mut chosen = std::collections::HashSet::new();
    let mut held = 0;
    // At least one key stays on each side.
    for key in order.iter().take(order.len().saturating_sub(1)) {
        if held >= wanted {
            break;
        }
        held += sizes[key];
        chosen.insert(*key);
    }
    keys.iter().map(|key| chosen.contains(key)).collect()
}

fn folds_together(count: usize, keys: &[u64], seed: u64) -> Vec<u32> {
    let mut members: HashMap<u64, usize> = HashMap::new();
    for key in keys {
        *members.entry(*key).or_default() += 1;
    }
    let mut order: Vec<(u64, usize)> = members.into_iter().collect();
    order.sort_unstable();
    Random::stream(seed, 0x6E1).shuffle(&mut order);
    // Large keys first, each into the smallest fold, so that folds come out even.
    order.sort_by_key(|(_, size)| std::cmp::Reverse(*size));
    let mut sizes = vec![0; count];
    let mut fold_of: HashMap<u64, u32> = HashMap::new();
    for (key, size) in order {
        let smallest = (0..count).min_by_key(|fold| sizes[*fold]).unwrap_or(0);
        sizes[smallest] += size;
        fold_of.insert(key, smallest as u32);
    }
    keys.iter().map(|key| fold_of[key]).collect()
}

/// The rows of a fold's two sides, among `among`.
pub fn sides_of_fold(among: &[u32], fold_of: &[u32], fold: u32) -> Sides {
    let (mut training, mut validation) = (Vec::new(), Vec::new());
    for (row, of) in among.iter().zip(fold_of) {
        if *of == fold {
            validation.push(*row);
        } else {
            training.push(*row);
        }
    }
    Sides {
        training,
        validation,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_class_keeps_its_share() {
        let classes: Vec<u32> = (0..1000).map(|row| u32::from(row % 10 == 0)).collect();
        let sides = divide(1000, 0.2, Rule::Stratified(Some(&classes)), 7);
        let rare = sides
            .validation
            .iter()
            .filter(|row| classes[**row as usize] == 1)
            .count();
        assert_eq!((sides.validation.len(), rare), (200, 20));
        assert_eq!(sides.training.len() + sides.validation.len(), 1000);
    }

    #[test]
    fn the_latest_rows_are_held_out() {
        let times = [5, 1, 4, 2, 3];
        assert_eq!(divide(5, 0.4, Rule::Latest(&times), 0).validation, [0, 2]);
    }

    #[test]
    fn rows_that_belong_together_are_never_divided() {
        let keys: Vec<u64> = (0..300).map(|row| row / 3).collect();
        let sides = divide(300, 0.25, Rule::Together(&keys), 3);
        let held: std::collections::HashSet<u64> = sides
            .validation
            .iter()
            .map(|row| keys[*row as usize])
            .collect();
        assert!(
            sides
                .training
                .iter()
                .all(|row| !held.contains(&keys[*row as usize]))
        );
        let fold_of = folds(5, None, Some(&keys), 300, 3);
        assert!((0..300).all(|row| fold_of[row] == fold_of[row / 3 * 3]));
    }

    #[test]
    fn folds_are_even_within_each_class() {
        let classes: Vec<u32> = (0..100).map(|row| row % 4).collect();
        let fold_of = folds(5, Some(&classes), None, 100, 1);
        for fold in 0..5 {
            for class in 0..4 {
                let count = (0..100)
                    .filter(|row| fold_of[*row] == fold && classes[*row] == class)
                    .count();
                assert_eq!(count, 5);
            }
        }
    }

    #[test]
    fn a_class_of_one_row_is_learned_from() {
        let sides = divide(3, 0.9, Rule::Stratified(Some(&[0, 0, 1])), 1);
        assert!(sides.training.contains(&2));
    }
}
