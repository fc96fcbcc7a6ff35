//! Segments as an engine: encodes, measures closeness, explains by what sets the segment apart from the next one.

use super::{Engine, Points, ROWS_PER_TASK, Reasons};
use crate::clusters::{Against, Clusters};
use crate::encoding::{EncodeScratch, Encoding, EncodingError};
use ombud_core::explanation::Unit;
use ombud_core::{Frame, Row};
use rayon::prelude::*;

/// Segments over encoded rows.
#[derive(Debug)]
pub struct ClusterEngine {
    encoding: Encoding,
    clusters: Clusters,
}

impl ClusterEngine {
    /// Segments and the encoding they were found in.
    ///
    /// # Errors
    /// When they take another number of columns than the encoding gives.
    pub fn new(encoding: Encoding, clusters: Clusters) -> Result<Self, EncodingError> {
        encoding.check_dense()?;
        if clusters.features() != encoding.columns() {
            return Err(EncodingError::TooWide {
                columns: encoding.columns(),
                max: clusters.features(),
            });
        }
        Ok(ClusterEngine { encoding, clusters })
    }

    /// The segments themselves.
    pub fn clusters(&self) -> &Clusters {
        &self.clusters
    }

    /// How rows are encoded.
    pub fn encoding(&self) -> &Encoding {
        &self.encoding
    }
}

impl Engine for ClusterEngine {
    fn width(&self) -> usize {
        self.clusters.segments()
    }

    fn score_row(&self, row: &Row, scores: &mut [f64]) {
        let mut columns = vec![0.0; self.encoding.columns()];
        self.encoding
            .encode_row(row, &mut EncodeScratch::default(), &mut columns);
        let is_scored = self.clusters.memberships_row(&columns, scores);
        debug_assert!(
            is_scored.is_ok(),
            "widths were checked when the engine was made"
        );
    }

    fn score_frame(&self, frame: &Frame, scores: &mut [f64]) {
        let width = self.width();
        scores
            .par_chunks_mut(ROWS_PER_TASK * width)
            .enumerate()
            .for_each(|(task, scores)| {
                let start = task * ROWS_PER_TASK;
                let rows = scores.len() / width;
                let mut columns = vec![0.0; rows * self.encoding.columns()];
                self.encoding.encode_frame(
                    frame,
                    start..start + rows,
                    &mut EncodeScratch::default(),
                    &mut columns,
                );
                if let Ok(memberships) = self.clusters.memberships(&columns) {
                    scores.copy_from_slice(&memberships);
                }
            });
    }

    fn explain_row(&self, row: &Row, _output: usize) -> Reasons {
        let mut columns = vec![0.0; self.encoding.columns()];
        self.encoding
            .encode_row(row, &mut EncodeScratch::default(), &mut columns);
        let (base, shares) = match self.clusters.contrast(&columns, Against::RunnerUp) {
            Ok(contrast) => (contrast.constant, contrast.contributions),
            Err(_) => (0.0, Vec::new()),
        };
        Reasons {
            unit: Unit::Closeness,
            base,
            by_feature: self
                .encoding
                .by_feature(shares.into_iter().enumerate(), row.values().len()),
            words: Vec::new(),
        }
    }

    fn importance(&self) -> Option<Vec<f64>> {
        None
    }

    fn points(&self, frame: &Frame) -> Option<Points> {
        let columns = self.encoding.columns();
        let mut values = vec![0.0; frame.rows() * columns];
        self.encoding.encode_frame(
            frame,
            0..frame.rows(),
            &mut EncodeScratch::default(),
            &mut values,
        );
        let mean_log_likelihood = match self.clusters {
            Clusters::Mixture(_) => {
                let densities = values
                    .chunks_exact(columns)
                    .map(|row| self.clusters.outlierness(row).map(|o| -o));
                let sum: f64 = densities.sum::<Result<f64, _>>().ok()?;
                Some(sum / frame.rows().max(1) as f64)
            }
            Clusters::Centers(_) => None,
        };
        Some(Points {
            columns,
            values,
            mean_log_likelihood,
        })
    }
}
