//! The forest as an engine: encodes, walks, links, explains by exact TreeSHAP.

use super::{Engine, Marked, ROWS_PER_TASK, Reasons};
use crate::encoding::{EncodeScratch, Encoding, EncodingError};
use crate::forest::{CompiledForest, Explainer, Forest, Link};
use ombud_core::explanation::Unit;
use ombud_core::{Frame, Row};
use rayon::prelude::*;
use std::fmt;
use std::sync::LazyLock;

/// A forest over encoded rows.
pub struct ForestEngine {
    encoding: Encoding,
    compiled: CompiledForest,
    link: Link,
    outputs: usize,
    /// Gains by column.
    gains: Vec<f64>,
    /// Made when reasons are first wanted, of the forest itself, which goes then: answers need only what was compiled.
    explainer: LazyLock<Explainer, Box<dyn FnOnce() -> Explainer + Send>>,
    is_binary: bool,
}

impl ForestEngine {
    /// A forest and the encoding it was trained on.
    ///
    /// # Errors
    /// When the forest takes another number of columns than the encoding gives.
    pub fn new(encoding: Encoding, forest: Forest) -> Result<Self, EncodingError> {
        encoding.check_dense()?;
        if forest.features() != encoding.columns() {
            return Err(EncodingError::TooWide {
                columns: encoding.columns(),
                max: forest.features(),
            });
        }
        let tells_two_apart = matches!(forest.link(), Link::Logistic { .. } | Link::Step);
        let is_binary = forest.outputs() == 1 && tells_two_apart;
        let importance = forest.importance();
        Ok(ForestEngine {
            encoding,
            compiled: forest.compile(),
            link: forest.link(),
            outputs: forest.outputs(),
            gains: importance.iter().map(|of| of.gain.max(0.0)).collect(),
            explainer: LazyLock::new(Box::new(move || forest.explainer())),
            is_binary,
        })
    }

    /// How rows are encoded.
    pub fn encoding(&self) -> &Encoding {
        &self.encoding
    }

    /// Scores rows that are encoded already; training uses it where a column must not know its row's answer.
    pub fn score_encoded(&self, columns: &[f64], scores: &mut [f64]) {
        let outputs = self.outputs;
        let mut margins = vec![0.0; columns.len() / self.encoding.columns().max(1) * outputs];
        self.compiled.margins(columns, &mut margins);
        for (margins, scores) in margins
            .chunks_exact_mut(outputs)
            .zip(scores.chunks_exact_mut(self.width()))
        {
            self.finish(margins, scores);
        }
    }

    /// From margins to scores: a binary forest has one margin and two classes.
    fn finish(&self, margins: &mut [f64], scores: &mut [f64]) {
        self.link.apply(margins);
        if self.is_binary {
            scores[0] = 1.0 - margins[0];
            scores[1] = margins[0];
        } else {
            scores.copy_from_slice(margins);
        }
    }
}

impl fmt::Debug for ForestEngine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ForestEngine")
            .field("outputs", &self.outputs)
            .finish_non_exhaustive()
    }
}

impl Engine for ForestEngine {
    fn width(&self) -> usize {
        if self.is_binary { 2 } else { self.outputs }
    }

    fn score_row(&self, row: &Row, scores: &mut [f64]) {
        let mut columns = vec![0.0; self.encoding.columns()];
        let mut margins = vec![0.0; self.outputs];
        self.encoding
            .encode_row(row, &mut EncodeScratch::default(), &mut columns);
        self.compiled.margins_row(&columns, &mut margins);
        self.finish(&mut margins, scores);
    }

    fn score_frame(&self, frame: &Frame, scores: &mut [f64]) {
        let (width, outputs) = (self.width(), self.outputs);
        scores
            .par_chunks_mut(ROWS_PER_TASK * width)
            .enumerate()
            .for_each(|(task, scores)| {
                let start = task * ROWS_PER_TASK;
                let rows = scores.len() / width;
                let mut columns = vec![0.0; rows * self.encoding.columns()];
                let mut margins = vec![0.0; rows * outputs];
                self.encoding.encode_frame(
                    frame,
                    start..start + rows,
                    &mut EncodeScratch::default(),
                    &mut columns,
                );
                self.compiled.margins(&columns, &mut margins);
                for (margins, scores) in margins
                    .chunks_exact_mut(outputs)
                    .zip(scores.chunks_exact_mut(width))
                {
                    self.finish(margins, scores);
                }
            });
    }

    fn explain_row(&self, row: &Row, output: usize) -> Reasons {
        let columns = self.encoding.columns();
        let mut encoded = vec![0.0; columns];
        self.encoding
            .encode_row(row, &mut EncodeScratch::default(), &mut encoded);
        // A binary forest has one margin, that of the second class: the first class's reasons are its mirror.
        let (margin, sign) = match (self.is_binary, output) {
            (true, 0) => (0, -1.0),
            (true, _) => (0, 1.0),
            (false, output) => (output, 1.0),
        };
        let mut shares = vec![0.0; columns + 1];
        self.explainer
            .contributions_to(margin, &encoded, &mut shares);
        shares.iter_mut().for_each(|share| *share *= sign);
        let base = shares.pop().unwrap_or_default();
        let words =
            self.encoding
                .marks(row, &|_| 0.0, margin)
                .into_iter()
                .map(|(feature, mut marks)| {
                    marks.iter_mut().for_each(|mark| mark.weight *= sign);
                    Marked { feature, marks }
                });
        Reasons {
            unit: match self.link {
                Link::Identity => Unit::Target,
                Link::Exp => Unit::LogTarget,
                _ => Unit::LogOdds,
            },
            base,
            by_feature: self
                .encoding
                .by_feature(shares.into_iter().enumerate(), row.values().len()),
            words: words.collect(),
        }
    }

    fn importance(&self) -> Option<Vec<f64>> {
        let gains = self.gains.iter().copied().enumerate();
        let mut shares = self.encoding.by_feature(gains, self.encoding.features());
        let total: f64 = shares.iter().sum();
        if total > 0.0 {
            shares.iter_mut().for_each(|share| *share /= total);
        }
        Some(shares)
    }
}
