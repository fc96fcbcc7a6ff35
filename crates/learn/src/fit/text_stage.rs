//! A small text model whose margins stand beside a table's columns in a forest.
//!
//! The margins that the forest learns from must not know the answers of their own rows, or it would trust the text too
//! much: they are made out of fold, while serving uses one stage fitted on all rows. A number as target is told in
//! quarters, because the stage only has to order texts.

use super::FitError;
use super::encode::texts_of;
use crate::logistic::{Logistic, LogisticOptions, Rows, Targets};
use crate::progress::Progress;
use crate::split;
use crate::target::Target;
use crate::vocabulary;
use ombud_core::Frame;
use ombud_engine::linear::Linear;
use ombud_engine::text::{Scratch, SparseVector, TextOptions, Vectorizer};
use std::ops::ControlFlow;

/// Folds of the out-of-fold margins.
const FOLDS: usize = 5;
/// Quarters of a number.
const QUARTERS: usize = 4;
/// More classes than this are not worth a column each.
const OUTPUTS_MAX: usize = 60;

/// A fitted stage and the margins of the rows it was fitted on.
pub(super) struct Stage {
    pub(super) vectorizer: Vectorizer,
    pub(super) linear: Linear,
    /// Out of fold, row after row.
    pub(super) margins: Vec<f64>,
}

/// Fits a stage; `None` when there is nothing to learn from the texts.
pub(super) fn fit(
    frame: &Frame,
    feature: usize,
    target: &Target,
    rows: &[u32],
    keys: Option<&[u64]>,
    seed: u64,
    progress: &dyn Progress,
) -> Result<Option<Stage>, FitError> {
    let target = coarse(&target.take(rows));
    if target.names().len() > OUTPUTS_MAX {
        return Ok(None);
    }
    let texts = texts_of(frame, feature, rows);
    let all: Vec<usize> = (0..rows.len()).collect();
    let Some((vectorizer, linear)) = fit_on(&texts, &target, &all, progress)? else {
        return Ok(None);
    };
    let keys: Option<Vec<u64>> =
        keys.map(|keys| rows.iter().map(|row| keys[*row as usize]).collect());
    let fold_of = split::folds(FOLDS, target.codes(), keys.as_deref(), rows.len(), seed);
    let width = linear.outputs();
    let mut margins = vec![f64::NAN; rows.len() * width];
    for fold in 0..FOLDS as u32 {
        super::keep_going(progress)?;
        let inside: Vec<usize> = all
            .iter()
            .copied()
            .filter(|row| fold_of[*row] != fold)
            .collect();
        let Some((vectorizer, linear)) = fit_on(&texts, &target, &inside, progress)? else {
            continue;
        };
        let (mut scratch, mut terms, mut row_margins) =
            (Scratch::default(), SparseVector::default(), Vec::new());
        for row in all.iter().copied().filter(|row| fold_of[*row] == fold) {
            let Some(text) = texts[row] else { continue };
            vectorizer.transform(text, &mut scratch, &mut terms);
            if linear.margins_sparse(&terms, &mut row_margins).is_ok() && row_margins.len() == width
            {
                margins[row * width..(row + 1) * width].copy_from_slice(&row_margins);
            }
        }
    }
    Ok(Some(Stage {
        vectorizer,
        linear,
        margins,
    }))
}

fn fit_on(
    texts: &[Option<&str>],
    target: &Target,
    rows: &[usize],
    progress: &dyn Progress,
) -> Result<Option<(Vectorizer, Linear)>, FitError> {
    let known: Vec<usize> = rows
        .iter()
        .copied()
        .filter(|row| texts[*row].is_some())
        .collect();
    let words: Vec<&str> = known.iter().filter_map(|row| texts[*row]).collect();
    // Texts without a common term cannot be learned from, which is no reason to fail: the table still can.
    let Ok(vectorizer) = vocabulary::fit(&TextOptions::default(), &words) else {
        return Ok(None);
    };
    let csr = vocabulary::transform(&vectorizer, &words);
    let mut go_on = |_: usize, _: f64| {
        if progress.is_stopped() {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    };
    let logistic = Logistic::new(LogisticOptions::default())?;
    let fitted = match target {
        Target::Classes { names, codes, .. } => {
            let classes: Vec<u32> = known.iter().map(|row| codes[*row]).collect();
            let targets = Targets::Classes {
                classes: &classes,
                count: names.len(),
            };
            logistic.train(Rows::Sparse(&csr), targets, None, &mut go_on)
        }
        Target::Labels { names, flags } => {
            let width = names.len();
            let labels: Vec<bool> = known
                .iter()
                .flat_map(|row| flags[row * width..(row + 1) * width].iter().copied())
                .collect();
            let targets = Targets::Labels {
                labels: &labels,
                count: width,
            };
            logistic.train(Rows::Sparse(&csr), targets, None, &mut go_on)
        }
        Target::Numbers(_) | Target::Nothing { .. } => return Ok(None),
    };
    // One class among the texts of a fold leaves nothing to fit there.
    Ok(fitted.ok().map(|trained| (vectorizer, trained.model)))
}

/// Numbers become quarters; classes and labels stay.
fn coarse(target: &Target) -> Target {
    let Target::Numbers(numbers) = target else {
        return target.clone();
    };
    let mut sorted = numbers.clone();
    sorted.sort_by(f64::total_cmp);
    let border = |quarter: usize| sorted[sorted.len() * quarter / QUARTERS];
    let borders: Vec<f64> = (1..QUARTERS).map(border).collect();
    let codes = numbers
        .iter()
        .map(|n| borders.iter().filter(|border| *n >= **border).count() as u32);
    Target::Classes {
        names: (1..=QUARTERS)
            .map(|quarter| format!("quarter {quarter}"))
            .collect(),
        codes: codes.collect(),
        is_ordered: true,
    }
}
