//! Fitted segments: which segment a row belongs to, how surely, why, and how unusual the row is.
//!
//! One type, [`Clusters`], for both ways of fitting them (k-means centers and Gaussian mixtures),
//! so that whoever serves a segmentation need not know which was trained. Rows come here already
//! filled and scaled, dense and row-major; the encoder does that. Fitting and naming segments
//! belong to `learn`.

mod centers;
mod contrast;
mod file;
mod mixture;
pub mod tiles;

pub use centers::Centers;
pub use contrast::{Against, Contrast, Rival};
pub use file::BYTES_MAX;
pub use mixture::{Covariance, Mixture};

use rayon::prelude::*;
use tiles::{LANES, Lanes};

/// More segments than a person can tell apart, or a table of profiles can show.
pub const SEGMENTS_MAX: usize = 256;
/// Wide enough for one-hot columns; keeps one tile of rows below a mebibyte.
pub const FEATURES_MAX: usize = 16_384;
/// Numbers in the largest tensor of a model: 64 MiB.
pub const PARAMETERS_MAX: usize = 1 << 23;
/// Scaled features stay near zero; beyond this, squares of squares would leave the range of `f64`.
pub const MAGNITUDE_MAX: f64 = 1e60;
/// Rows one thread takes at a time when many are scored.
const ROWS_PER_TASK: usize = 1024;

/// A fitted segmentation.
#[derive(Debug, Clone, PartialEq)]
pub enum Clusters {
    /// k-means: a row belongs to the nearest center.
    Centers(Centers),
    /// Gaussian mixture: a row belongs to the segment of highest posterior.
    Mixture(Mixture),
}

/// Why segments cannot be built, read, or asked about a row.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum ClustersError {
    #[error("{what} holds {found} numbers, expected {expected}")]
    Length {
        what: &'static str,
        found: usize,
        expected: usize,
    },
    #[error("{what} is {found}, allowed are 1 to {limit}")]
    Size {
        what: &'static str,
        found: usize,
        limit: usize,
    },
    #[error("{what} has a value that is not finite or beyond 1e60, at position {position}")]
    NotFinite { what: &'static str, position: usize },
    #[error("{what} must be {allowed}, found {found} at position {position}")]
    Value {
        what: &'static str,
        position: usize,
        found: f64,
        allowed: &'static str,
    },
    #[error("there is no segment {segment}: the model has {segments}")]
    UnknownSegment { segment: usize, segments: usize },
    #[error("the segments file has {found} bytes, at most {limit} are read")]
    TooLarge { found: usize, limit: usize },
    #[error("the segments file cannot be read: {cause}")]
    File { cause: String },
}

impl Clusters {
    /// How many segments there are.
    pub fn segments(&self) -> usize {
        match self {
            Self::Centers(centers) => centers.segments(),
            Self::Mixture(mixture) => mixture.segments(),
        }
    }

    /// How many numbers a row has.
    pub fn features(&self) -> usize {
        match self {
            Self::Centers(centers) => centers.features(),
            Self::Mixture(mixture) => mixture.features(),
        }
    }

    /// The middle of a segment, in scaled features.
    pub fn center(&self, segment: usize) -> Result<&[f64], ClustersError> {
        self.check_segment(segment)?;
        Ok(match self {
            Self::Centers(centers) => centers.center(segment),
            Self::Mixture(mixture) => mixture.mean(segment),
        })
    }

    /// The mean of the rows the segments were fitted on.
    pub fn population(&self) -> &[f64] {
        match self {
            Self::Centers(centers) => centers.population(),
            Self::Mixture(mixture) => mixture.population(),
        }
    }

    /// The segment of one row; a tie goes to the lower index.
    pub fn assign(&self, row: &[f64]) -> Result<usize, ClustersError> {
        self.check_row(row)?;
        Ok(self.best(row).0)
    }

    /// How strongly a row belongs to each segment: shares that sum to one.
    ///
    /// For a mixture the posterior. For k-means `exp(-d²/(2·s²))` over its sum, with `d` the
    /// distance to a center and `s²` the pooled variance within segments per feature, measured at
    /// training: the posterior of equally large round Gaussians. The largest share is always that
    /// of [`Clusters::assign`]; it is the confidence.
    pub fn memberships_row(&self, row: &[f64], out: &mut [f64]) -> Result<(), ClustersError> {
        self.check_row(row)?;
        check_length("the memberships buffer", out.len(), self.segments())?;
        for (segment, slot) in out.iter_mut().enumerate() {
            *slot = self.score(segment, row);
        }
        shares(out, self.temperature());
        Ok(())
    }

    /// How unusual a row is, larger is more unusual: the distance to the nearest center, or for a
    /// mixture the negative log density.
    pub fn outlierness(&self, row: &[f64]) -> Result<f64, ClustersError> {
        self.check_row(row)?;
        Ok(match self {
            Self::Centers(centers) => {
                let (segment, _) = self.best(row);
                tiles::squared_distance(row, centers.center(segment)).sqrt()
            }
            Self::Mixture(mixture) => {
                let scores: Vec<f64> = (0..mixture.segments())
                    .map(|segment| mixture.score(segment, row))
                    .collect();
                -log_sum_exp(&scores)
            }
        })
    }

    /// Why a row is in its segment: per feature, what speaks for it against `against`.
    pub fn contrast(&self, row: &[f64], against: Against) -> Result<Contrast, ClustersError> {
        self.check_row(row)?;
        let (segment, runner_up) = self.best(row);
        let rival = match (against, runner_up) {
            (Against::RunnerUp, Some(other)) => Rival::Segment(other),
            _ => Rival::Population,
        };
        Ok(contrast::contrast(self, row, segment, rival))
    }

    /// The segments of many rows, row-major; equal to [`Clusters::assign`] of each.
    pub fn assign_batch(&self, rows: &[f64]) -> Result<Vec<usize>, ClustersError> {
        let mut labels = vec![0; self.check_rows(rows)?];
        self.score_tasks(rows, &mut labels, 1, |scores, lane, out| {
            out[0] = best_of(scores.iter().map(|segment| segment[lane])).0;
        });
        Ok(labels)
    }

    /// The memberships of many rows, row-major in and out; bit-equal to
    /// [`Clusters::memberships_row`].
    pub fn memberships(&self, rows: &[f64]) -> Result<Vec<f64>, ClustersError> {
        let mut all = vec![0.0; self.check_rows(rows)? * self.segments()];
        let temperature = self.temperature();
        self.score_tasks(rows, &mut all, self.segments(), |scores, lane, out| {
            for (slot, segment) in out.iter_mut().zip(scores) {
                *slot = segment[lane];
            }
            shares(out, temperature);
        });
        Ok(all)
    }

    /// Scores all rows in tiles and lets `write` turn the scores of one row into its part of `out`.
    fn score_tasks<T: Send>(
        &self,
        rows: &[f64],
        out: &mut [T],
        width: usize,
        write: impl Fn(&[Lanes], usize, &mut [T]) + Sync,
    ) {
        let features = self.features();
        let tasks = out.par_chunks_mut(ROWS_PER_TASK * width);
        tasks
            .zip(rows.par_chunks(ROWS_PER_TASK * features))
            .for_each(|(out, rows)| {
                let mut tile = vec![[0.0; LANES]; features];
                let mut offsets = tile.clone();
                let mut scores = vec![[0.0; LANES]; self.segments()];
                let tiles = out
                    .chunks_mut(LANES * width)
                    .zip(rows.chunks(LANES * features));
                for (out, rows) in tiles {
                    tiles::fill(&mut tile, rows.len() / features, |lane| {
                        &rows[lane * features..(lane + 1) * features]
                    });
                    for (segment, slot) in scores.iter_mut().enumerate() {
                        *slot = self.score_tile(segment, &tile, &mut offsets);
                    }
                    for (lane, out) in out.chunks_mut(width).enumerate() {
                        write(&scores, lane, out);
                    }
                }
            });
    }

    /// The larger, the better the segment suits the row: minus the squared distance, or the log of
    /// weight times density.
    fn score(&self, segment: usize, row: &[f64]) -> f64 {
        match self {
            Self::Centers(centers) => -tiles::squared_distance(row, centers.center(segment)),
            Self::Mixture(mixture) => mixture.score(segment, row),
        }
    }

    fn score_tile(&self, segment: usize, tile: &[Lanes], offsets: &mut [Lanes]) -> Lanes {
        match self {
            Self::Centers(centers) => {
                tiles::squared_distances(tile, centers.center(segment)).map(|distance| -distance)
            }
            Self::Mixture(mixture) => mixture.score_tile(segment, tile, offsets),
        }
    }

    /// By what a difference of scores is divided to become a difference of log odds.
    fn temperature(&self) -> f64 {
        match self {
            Self::Centers(centers) => 2.0 * centers.spread(),
            Self::Mixture(_) => 1.0,
        }
    }

    /// The best segment and the one after it.
    fn best(&self, row: &[f64]) -> (usize, Option<usize>) {
        best_of((0..self.segments()).map(|segment| self.score(segment, row)))
    }

    fn check_row(&self, row: &[f64]) -> Result<(), ClustersError> {
        check_length("the row", row.len(), self.features())?;
        check_finite("the row", row)
    }

    fn check_rows(&self, rows: &[f64]) -> Result<usize, ClustersError> {
        let count = rows.len() / self.features();
        check_length("the matrix of rows", rows.len(), count * self.features())?;
        check_finite("the matrix of rows", rows)?;
        Ok(count)
    }

    fn check_segment(&self, segment: usize) -> Result<(), ClustersError> {
        let segments = self.segments();
        if segment < segments {
            return Ok(());
        }
        Err(ClustersError::UnknownSegment { segment, segments })
    }
}

/// `ln Σ exp(score)`, without overflow.
pub fn log_sum_exp(scores: &[f64]) -> f64 {
    let top = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    top + scores
        .iter()
        .map(|score| (score - top).exp())
        .sum::<f64>()
        .ln()
}

/// Turns scores into shares that sum to one. At temperature zero the best takes all.
fn shares(scores: &mut [f64], temperature: f64) {
    let top = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    for score in scores.iter_mut() {
        let gap = *score - top;
        *score = if gap == 0.0 {
            1.0
        } else {
            (gap / temperature).exp()
        };
    }
    let total: f64 = scores.iter().sum();
    for score in scores.iter_mut() {
        *score /= total;
    }
}

fn best_of(scores: impl Iterator<Item = f64>) -> (usize, Option<usize>) {
    let mut best = (0, f64::NEG_INFINITY);
    let mut second: Option<(usize, f64)> = None;
    for (segment, score) in scores.enumerate() {
        if segment == 0 {
            best = (0, score);
        } else if score > best.1 {
            second = Some(best);
            best = (segment, score);
        } else if second.is_none_or(|(_, so_far)| score > so_far) {
            second = Some((segment, score));
        }
    }
    (best.0, second.map(|(segment, _)| segment))
}

fn check_length(what: &'static str, found: usize, expected: usize) -> Result<(), ClustersError> {
    if found == expected {
        return Ok(());
    }
    Err(ClustersError::Length {
        what,
        found,
        expected,
    })
}

fn check_size(what: &'static str, found: usize, limit: usize) -> Result<(), ClustersError> {
    if (1..=limit).contains(&found) {
        return Ok(());
    }
    Err(ClustersError::Size { what, found, limit })
}

fn check_finite(what: &'static str, values: &[f64]) -> Result<(), ClustersError> {
    let is_bad = |value: &f64| !value.is_finite() || value.abs() > MAGNITUDE_MAX;
    match values.iter().position(is_bad) {
        None => Ok(()),
        Some(position) => Err(ClustersError::NotFinite { what, position }),
    }
}

fn check_shape(segments: usize, features: usize) -> Result<(), ClustersError> {
    check_size("the number of segments", segments, SEGMENTS_MAX)?;
    check_size("the number of features", features, FEATURES_MAX)
}

#[cfg(test)]
pub(crate) mod samples {
    //! Small fitted models that the tests of this folder share.

    use super::*;

    /// Three centers in the plane.
    pub fn centers() -> Clusters {
        let points = vec![0.0, 0.0, 4.0, 0.0, 0.0, 3.0];
        Clusters::Centers(Centers::new(2, points, 0.5, vec![1.0, 1.0]).unwrap())
    }

    /// Two Gaussians in the plane, the second one slanted.
    pub fn mixture() -> Clusters {
        let whitening = vec![1.0, 0.0, 0.0, 1.0, 1.25, 0.0, -0.75, 1.5];
        let means = vec![0.0, 0.0, 3.0, 1.0];
        Clusters::Mixture(
            Mixture::new(Covariance::Full, 2, vec![0.25, 0.75], means, whitening).unwrap(),
        )
    }

    /// The same means with upright ellipses.
    pub fn diagonal() -> Clusters {
        let whitening = vec![1.0, 2.0, 0.5, 1.5];
        let means = vec![0.0, 0.0, 3.0, 1.0];
        Clusters::Mixture(
            Mixture::new(Covariance::Diagonal, 2, vec![0.25, 0.75], means, whitening).unwrap(),
        )
    }

    pub fn all() -> [Clusters; 3] {
        [centers(), mixture(), diagonal()]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_row_belongs_to_the_nearest_center() {
        let clusters = samples::centers();
        assert_eq!(clusters.assign(&[3.5, 0.2]).unwrap(), 1);
        assert_eq!(clusters.assign(&[0.1, 2.0]).unwrap(), 2);
    }

    #[test]
    fn a_tie_is_broken_by_the_lower_index() {
        assert_eq!(samples::centers().assign(&[2.0, 0.0]).unwrap(), 0);
        assert_eq!(samples::centers().assign_batch(&[2.0, 0.0]).unwrap(), [0]);
    }

    #[test]
    fn posteriors_equal_those_of_scikit_learn() {
        // scikit-learn 1.9.1: GaussianMixture with these weights, means and precision Cholesky
        // factors.
        let mut out = [0.0; 2];
        samples::mixture()
            .memberships_row(&[1.5, 0.5], &mut out)
            .unwrap();
        assert!((out[0] - MIXTURE_POSTERIOR).abs() < 1e-12, "{out:?}");
        let surprise = samples::mixture().outlierness(&[1.5, 0.5]).unwrap();
        assert!((surprise + MIXTURE_LOG_DENSITY).abs() < 1e-12, "{surprise}");
        samples::diagonal()
            .memberships_row(&[1.5, 0.5], &mut out)
            .unwrap();
        assert!((out[0] - DIAGONAL_POSTERIOR).abs() < 1e-12, "{out:?}");
    }

    const MIXTURE_POSTERIOR: f64 = 0.240_654_250_563_217_65;
    const MIXTURE_LOG_DENSITY: f64 = -3.049_777_406_983_438;
    const DIAGONAL_POSTERIOR: f64 = 0.235_001_309_488_300_5;

    #[test]
    fn memberships_survive_a_spread_of_zero_and_far_rows() {
        let tight = Centers::new(1, vec![0.0, 1.0], 0.0, vec![0.5]).unwrap();
        let mut out = [0.0; 2];
        Clusters::Centers(tight)
            .memberships_row(&[0.9], &mut out)
            .unwrap();
        assert_eq!(out, [0.0, 1.0]);
        for clusters in samples::all() {
            let mut out = vec![0.0; clusters.segments()];
            clusters.memberships_row(&[1e60, -1e60], &mut out).unwrap();
            assert!((out.iter().sum::<f64>() - 1.0).abs() < 1e-12, "{out:?}");
        }
    }

    #[test]
    fn a_row_of_the_wrong_width_or_with_nan_is_refused() {
        for clusters in samples::all() {
            assert!(matches!(
                clusters.assign(&[1.0]),
                Err(ClustersError::Length { .. })
            ));
            assert!(matches!(
                clusters.outlierness(&[1.0, f64::NAN]),
                Err(ClustersError::NotFinite { position: 1, .. })
            ));
            assert!(clusters.assign_batch(&[1.0, 2.0, 3.0]).is_err());
            assert!(clusters.memberships_row(&[1.0, 2.0], &mut []).is_err());
            assert!(clusters.center(9).is_err());
            assert_eq!(clusters.assign_batch(&[]).unwrap(), Vec::<usize>::new());
        }
    }

    proptest! {
        #[test]
        fn a_batch_equals_its_rows_bit_for_bit(
            rows in proptest::collection::vec(-20.0..20.0f64, 0..120)
        ) {
            let rows = &rows[..rows.len() / 2 * 2];
            for clusters in samples::all() {
                let labels = clusters.assign_batch(rows).unwrap();
                let shares = clusters.memberships(rows).unwrap();
                let mut one = vec![0.0; clusters.segments()];
                for (index, row) in rows.chunks(2).enumerate() {
                    clusters.memberships_row(row, &mut one).unwrap();
                    prop_assert_eq!(clusters.assign(row).unwrap(), labels[index]);
                    prop_assert_eq!(&shares[index * one.len()..][..one.len()], &one[..]);
                    let largest = one.iter().copied().fold(0.0, f64::max);
                    prop_assert_eq!(one[labels[index]], largest);
                    prop_assert!((one.iter().sum::<f64>() - 1.0).abs() < 1e-12);
                }
            }
        }
    }
}
