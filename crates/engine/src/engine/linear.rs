//! The linear model as an engine: encodes sparsely, adds weights, links, explains by weight times value.

use super::{Engine, Marked, ROWS_PER_TASK, Reasons};
use crate::encoding::{EncodeScratch, Encoding, EncodingError};
use crate::linear::{Linear, Link};
use crate::text::SparseVector;
use ombud_core::explanation::Unit;
use ombud_core::{Frame, Row};
use rayon::prelude::*;

/// A linear model over encoded rows.
#[derive(Debug)]
pub struct LinearEngine {
    encoding: Encoding,
    linear: Linear,
    is_binary: bool,
    normalizes: bool,
}

impl LinearEngine {
    /// A linear model and the encoding it was trained on; `is_exclusive` when exactly one class is true.
    ///
    /// # Errors
    /// When the model takes another number of columns than the encoding gives.
    pub fn new(
        encoding: Encoding,
        linear: Linear,
        is_exclusive: bool,
    ) -> Result<Self, EncodingError> {
        if linear.features() != encoding.columns() {
            return Err(EncodingError::TooWide {
                columns: encoding.columns(),
                max: linear.features(),
            });
        }
        let is_logistic = linear.link() == Link::Logistic;
        let is_binary = is_exclusive && is_logistic && linear.outputs() == 1;
        let normalizes = is_exclusive && is_logistic && linear.outputs() > 1;
        Ok(LinearEngine {
            encoding,
            linear,
            is_binary,
            normalizes,
        })
    }

    /// The model itself.
    pub fn linear(&self) -> &Linear {
        &self.linear
    }

    /// How rows are encoded.
    pub fn encoding(&self) -> &Encoding {
        &self.encoding
    }

    fn score_encoded(&self, columns: &SparseVector, margins: &mut Vec<f64>, scores: &mut [f64]) {
        self.linear.start(margins);
        // Lengths were checked when the engine was made, so adding cannot fail.
        if self.linear.add_sparse(0, columns, margins).is_err() {
            margins.fill(f64::NAN);
        }
        self.linear.apply_link(margins);
        if self.is_binary {
            scores[0] = 1.0 - margins[0];
            scores[1] = margins[0];
            return;
        }
        scores.copy_from_slice(margins);
        if self.normalizes {
            let total: f64 = scores.iter().sum();
            let even = 1.0 / scores.len() as f64;
            scores
                .iter_mut()
                .for_each(|score| *score = if total > 0.0 { *score / total } else { even });
        }
    }
}

impl Engine for LinearEngine {
    fn width(&self) -> usize {
        if self.is_binary {
            2
        } else {
            self.linear.outputs()
        }
    }

    fn score_row(&self, row: &Row, scores: &mut [f64]) {
        let mut columns = SparseVector::default();
        self.encoding
            .encode_row_sparse(row, &mut EncodeScratch::default(), &mut columns);
        self.score_encoded(&columns, &mut Vec::new(), scores);
    }

    fn score_frame(&self, frame: &Frame, scores: &mut [f64]) {
        let width = self.width();
        // A row of text costs far more than one of numbers, so tasks are smaller than a forest's.
        let rows_per_task = ROWS_PER_TASK / 16;
        scores
            .par_chunks_mut(rows_per_task * width)
            .enumerate()
            .for_each(|(task, scores)| {
                let mut scratch = EncodeScratch::default();
                let mut columns = SparseVector::default();
                let mut margins = Vec::new();
                for (row, scores) in scores.chunks_exact_mut(width).enumerate() {
                    let row = task * rows_per_task + row;
                    self.encoding
                        .encode_frame_row_sparse(frame, row, &mut scratch, &mut columns);
                    self.score_encoded(&columns, &mut margins, scores);
                }
            });
    }

    fn explain_row(&self, row: &Row, output: usize) -> Reasons {
        let mut columns = SparseVector::default();
        self.encoding
            .encode_row_sparse(row, &mut EncodeScratch::default(), &mut columns);
        let (margin, sign) = match (self.is_binary, output) {
            (true, 0) => (0, -1.0),
            (true, _) => (0, 1.0),
            (false, output) => (output, 1.0),
        };
        let weight_of = |column: usize| sign * self.linear.weight(column, margin);
        let shares = columns.iter().map(|(column, value)| {
            let column = column as usize;
            (column, weight_of(column) * f64::from(value))
        });
        let by_feature = self.encoding.by_feature(shares, row.values().len());
        let words = self.encoding.marks(row, &weight_of, margin);
        Reasons {
            unit: Unit::LogOdds,
            base: sign * self.linear.bias()[margin],
            by_feature,
            words: words
                .into_iter()
                .map(|(feature, marks)| Marked { feature, marks })
                .collect(),
        }
    }

    fn importance(&self) -> Option<Vec<f64>> {
        let outputs = self.linear.outputs();
        let columns = self.encoding.columns();
        let norm = |column: usize| {
            (0..outputs)
                .map(|o| self.linear.weight(column, o).abs())
                .sum::<f64>()
        };
        let norms = (0..columns).map(|column| (column, norm(column)));
        let mut shares = self.encoding.by_feature(norms, self.encoding.features());
        let total: f64 = shares.iter().sum();
        if total > 0.0 {
            shares.iter_mut().for_each(|share| *share /= total);
        }
        Some(shares)
    }
}
