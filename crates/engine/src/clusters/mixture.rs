//! A Gaussian mixture as a fitted model.
//!
//! Each segment keeps its weight, its mean and a whitening matrix `W` with `WᵀW` the inverse
//! covariance: the inverse of the covariance's Cholesky factor, lower triangular, or only its
//! diagonal. The log density of a row is then a few sums of squares, and nothing is inverted or
//! decomposed while serving.

use serde::{Deserialize, Serialize};

use super::tiles::{LANES, Lanes};
use super::{ClustersError, MAGNITUDE_MAX, PARAMETERS_MAX};
use super::{check_finite, check_length, check_shape, check_size};

/// How far from one the weights may sum.
const WEIGHT_SLACK: f64 = 1e-6;

/// What shape a segment may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Covariance {
    /// Any ellipsoid: features may move together.
    Full,
    /// Ellipsoids along the axes: features vary on their own.
    Diagonal,
}

/// Weighted Gaussians.
#[derive(Debug, Clone, PartialEq)]
pub struct Mixture {
    covariance: Covariance,
    features: usize,
    weights: Vec<f64>,
    means: Vec<f64>,
    whitening: Vec<f64>,
    /// `ln weight + ln det W − features/2·ln 2π`: what a segment's score is at its mean.
    peaks: Vec<f64>,
    population: Vec<f64>,
}

impl Covariance {
    /// Numbers in one segment's whitening matrix as it is stored.
    pub fn width(self, features: usize) -> usize {
        match self {
            Self::Full => features * features,
            Self::Diagonal => features,
        }
    }

    /// Free parameters of one segment's covariance, for the information criteria.
    pub fn parameters(self, features: usize) -> usize {
        match self {
            Self::Full => features * (features + 1) / 2,
            Self::Diagonal => features,
        }
    }
}

impl Mixture {
    /// Takes row-major `means` and, one segment after the other, `whitening`: for a full covariance
    /// a square lower triangular matrix, else its diagonal.
    pub fn new(
        covariance: Covariance,
        features: usize,
        weights: Vec<f64>,
        means: Vec<f64>,
        whitening: Vec<f64>,
    ) -> Result<Self, ClustersError> {
        let segments = weights.len();
        check_shape(segments, features)?;
        let width = covariance.width(features);
        check_size("the number of parameters", segments * width, PARAMETERS_MAX)?;
        check_length("the means", means.len(), segments * features)?;
        check_length("the whitening matrices", whitening.len(), segments * width)?;
        check_finite("the means", &means)?;
        check_finite("the whitening matrices", &whitening)?;
        check_weights(&weights)?;
        check_triangles(covariance, features, &whitening)?;
        let mut mixture = Self {
            covariance,
            features,
            weights,
            means,
            whitening,
            peaks: Vec::new(),
            population: Vec::new(),
        };
        mixture.peaks = (0..segments)
            .map(|segment| mixture.peak_of(segment))
            .collect();
        mixture.population = mixture.mean_of_means();
        Ok(mixture)
    }

    /// How many segments there are.
    pub fn segments(&self) -> usize {
        self.weights.len()
    }

    /// How many numbers a mean has.
    pub fn features(&self) -> usize {
        self.features
    }

    /// Full or diagonal.
    pub fn covariance(&self) -> Covariance {
        self.covariance
    }

    /// The segments' shares of the population.
    pub fn weights(&self) -> &[f64] {
        &self.weights
    }

    /// The segments' means, row-major.
    pub fn means(&self) -> &[f64] {
        &self.means
    }

    /// The whitening matrices, one segment after the other.
    pub fn whitening(&self) -> &[f64] {
        &self.whitening
    }

    /// The mean of the whole mixture.
    pub fn population(&self) -> &[f64] {
        &self.population
    }

    /// The log of weight times density of eight rows under one segment. `offsets` is scratch space,
    /// one entry per feature.
    #[inline]
    pub fn score_tile(&self, segment: usize, tile: &[Lanes], offsets: &mut [Lanes]) -> Lanes {
        for ((slot, values), &mean) in offsets.iter_mut().zip(tile).zip(self.mean(segment)) {
            for lane in 0..LANES {
                slot[lane] = values[lane] - mean;
            }
        }
        let squares = match self.covariance {
            Covariance::Full => self.squares_full(segment, offsets),
            Covariance::Diagonal => self.squares_diagonal(segment, offsets),
        };
        squares.map(|square| self.peaks[segment] - 0.5 * square)
    }

    /// The same for one row, bit-equal to its lane.
    pub fn score(&self, segment: usize, row: &[f64]) -> f64 {
        let mean = self.mean(segment);
        let whitening = self.whitening_of(segment);
        let mut sum = 0.0;
        for feature in 0..self.features {
            let white = match self.covariance {
                Covariance::Diagonal => whitening[feature] * (row[feature] - mean[feature]),
                Covariance::Full => {
                    let factors = &whitening[feature * self.features..][..=feature];
                    factors
                        .iter()
                        .zip(row)
                        .zip(mean)
                        .fold(0.0, |white, ((factor, value), mean)| {
                            white + factor * (value - mean)
                        })
                }
            };
            sum += white * white;
        }
        self.peaks[segment] - 0.5 * sum
    }

    pub(super) fn mean(&self, segment: usize) -> &[f64] {
        &self.means[segment * self.features..(segment + 1) * self.features]
    }

    pub(super) fn peak(&self, segment: usize) -> f64 {
        self.peaks[segment]
    }

    /// The parts, one per feature, of half the squared Mahalanobis distance of `row` from `point`
    /// under a segment's covariance: `½·zᵢ·(Pz)ᵢ` with `z = row − point` and `P` the inverse
    /// covariance.
    pub(super) fn half_square_parts(&self, segment: usize, row: &[f64], point: &[f64]) -> Vec<f64> {
        let whitening = self.whitening_of(segment);
        let offsets: Vec<f64> = row
            .iter()
            .zip(point)
            .map(|(value, point)| value - point)
            .collect();
        if self.covariance == Covariance::Diagonal {
            let parts = offsets.iter().zip(whitening);
            return parts
                .map(|(offset, factor)| 0.5 * (factor * offset) * (factor * offset))
                .collect();
        }
        let mut pulls = vec![0.0; self.features];
        for (feature, factors) in whitening.chunks_exact(self.features).enumerate() {
            let factors = &factors[..=feature];
            let white: f64 = factors
                .iter()
                .zip(&offsets)
                .map(|(factor, offset)| factor * offset)
                .sum();
            for (pull, factor) in pulls.iter_mut().zip(factors) {
                *pull += factor * white;
            }
        }
        offsets
            .iter()
            .zip(&pulls)
            .map(|(offset, pull)| 0.5 * offset * pull)
            .collect()
    }

    fn squares_full(&self, segment: usize, offsets: &[Lanes]) -> Lanes {
        let mut sums = [0.0; LANES];
        let whitening = self.whitening_of(segment);
        for (feature, factors) in whitening.chunks_exact(self.features).enumerate() {
            let mut white = [0.0; LANES];
            for (factor, offset) in factors[..=feature].iter().zip(offsets) {
                for lane in 0..LANES {
                    white[lane] += factor * offset[lane];
                }
            }
            for lane in 0..LANES {
                sums[lane] += white[lane] * white[lane];
            }
        }
        sums
    }

    fn squares_diagonal(&self, segment: usize, offsets: &[Lanes]) -> Lanes {
        let mut sums = [0.0; LANES];
        for (factor, offset) in self.whitening_of(segment).iter().zip(offsets) {
            for lane in 0..LANES {
                let white = factor * offset[lane];
                sums[lane] += white * white;
            }
        }
        sums
    }

    fn whitening_of(&self, segment: usize) -> &[f64] {
        let width = self.covariance.width(self.features);
        &self.whitening[segment * width..(segment + 1) * width]
    }

    fn peak_of(&self, segment: usize) -> f64 {
        let diagonal = diagonal(self.covariance, self.features, self.whitening_of(segment));
        let log_determinant: f64 = diagonal.map(f64::ln).sum();
        let area = 0.5 * self.features as f64 * std::f64::consts::TAU.ln();
        self.weights[segment].ln() + log_determinant - area
    }

    fn mean_of_means(&self) -> Vec<f64> {
        let mut population = vec![0.0; self.features];
        for (mean, weight) in self.means.chunks_exact(self.features).zip(&self.weights) {
            for (slot, value) in population.iter_mut().zip(mean) {
                *slot += weight * value;
            }
        }
        population
    }
}

fn check_weights(weights: &[f64]) -> Result<(), ClustersError> {
    let what = "the segment weights";
    if let Some(position) = weights
        .iter()
        .position(|weight| !(*weight > 0.0 && *weight <= 1.0))
    {
        let (found, allowed) = (weights[position], "above 0 and at most 1");
        return Err(ClustersError::Value {
            what,
            position,
            found,
            allowed,
        });
    }
    let total: f64 = weights.iter().sum();
    if (total - 1.0).abs() > WEIGHT_SLACK {
        let allowed = "shares that sum to 1";
        return Err(ClustersError::Value {
            what,
            position: 0,
            found: total,
            allowed,
        });
    }
    Ok(())
}

/// Every diagonal entry is positive; of a full matrix, everything above the diagonal is zero.
fn check_triangles(
    covariance: Covariance,
    features: usize,
    whitening: &[f64],
) -> Result<(), ClustersError> {
    let what = "the whitening matrices";
    let smallest = 1.0 / MAGNITUDE_MAX;
    for (position, &found) in whitening.iter().enumerate() {
        let (row, column) = match covariance {
            Covariance::Diagonal => (0, 0),
            Covariance::Full => (position / features % features, position % features),
        };
        if row == column && found < smallest {
            let allowed = "at least 1e-60 on the diagonal";
            return Err(ClustersError::Value {
                what,
                position,
                found,
                allowed,
            });
        }
        if row < column && found != 0.0 {
            let allowed = "zero above the diagonal";
            return Err(ClustersError::Value {
                what,
                position,
                found,
                allowed,
            });
        }
    }
    Ok(())
}

fn diagonal(
    covariance: Covariance,
    features: usize,
    whitening: &[f64],
) -> impl Iterator<Item = f64> + '_ {
    let step = match covariance {
        Covariance::Full => features + 1,
        Covariance::Diagonal => 1,
    };
    whitening.iter().step_by(step).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn full(whitening: Vec<f64>) -> Result<Mixture, ClustersError> {
        Mixture::new(Covariance::Full, 2, vec![1.0], vec![0.0, 0.0], whitening)
    }

    #[test]
    fn a_whitening_matrix_is_lower_triangular_with_a_positive_diagonal() {
        assert!(full(vec![1.0, 0.0, 0.5, 1.0]).is_ok());
        assert!(matches!(
            full(vec![1.0, 0.1, 0.5, 1.0]),
            Err(ClustersError::Value { position: 1, .. })
        ));
        assert!(matches!(
            full(vec![1.0, 0.0, 0.5, 0.0]),
            Err(ClustersError::Value { position: 3, .. })
        ));
        assert!(matches!(
            full(vec![1.0; 3]),
            Err(ClustersError::Length { .. })
        ));
    }

    #[test]
    fn weights_are_positive_and_sum_to_one() {
        let build = |weights: Vec<f64>| {
            let means = vec![0.0; weights.len()];
            let whitening = vec![1.0; weights.len()];
            Mixture::new(Covariance::Diagonal, 1, weights, means, whitening)
        };
        assert!(build(vec![0.5, 0.5]).is_ok());
        assert!(build(vec![0.5, 0.6]).is_err());
        assert!(build(vec![1.0, 0.0]).is_err());
        assert!(build(vec![f64::NAN]).is_err());
        assert!(matches!(build(Vec::new()), Err(ClustersError::Size { .. })));
        assert!(matches!(
            build(vec![1.0 / 300.0; 300]),
            Err(ClustersError::Size { .. })
        ));
    }

    #[test]
    fn the_population_is_the_weighted_mean_of_the_segments() {
        let whitening = vec![1.0, 1.0];
        let mixture = Mixture::new(
            Covariance::Diagonal,
            1,
            vec![0.25, 0.75],
            vec![0.0, 4.0],
            whitening,
        );
        assert_eq!(mixture.unwrap().population(), [3.0]);
    }
}
