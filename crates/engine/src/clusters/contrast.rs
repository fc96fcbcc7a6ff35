//! Why a row is in its segment, feature by feature.
//!
//! What is split is the row's case for its segment against a rival, positive where it speaks for
//! the segment:
//!
//! - k-means: squared distance to the rival minus squared distance to the segment's center. Feature
//!   `i` gives `(xᵢ − rᵢ)² − (xᵢ − cᵢ)²`; nothing is left over.
//! - mixture against another segment: the log odds. With `z = x − mean` and `P` the inverse
//!   covariance, half the squared Mahalanobis distance is `Σᵢ ½·zᵢ·(Pz)ᵢ`; feature `i` gives the
//!   rival's part minus the segment's. Where features vary together, a feature is charged with its
//!   share of what they do together. What does not depend on the row (weights and volumes) is the
//!   `constant`.
//! - mixture against the population: the same under the segment's own covariance, moved to the
//!   population's mean; the constant is zero.
//!
//! The split is exact: `constant` plus the contributions is the whole difference, up to rounding.

use super::{Clusters, Mixture};

/// Against what a segment is to be explained.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Against {
    /// The next best segment; the population where there is only one.
    RunnerUp,
    /// The mean of the rows the segments were fitted on.
    Population,
}

/// What the segment was explained against in the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rival {
    Segment(usize),
    Population,
}

/// A row's case for its segment, split by feature.
#[derive(Debug, Clone, PartialEq)]
pub struct Contrast {
    /// The row's segment.
    pub segment: usize,
    /// What it is compared with.
    pub rival: Rival,
    /// The part that no feature of the row can change.
    pub constant: f64,
    /// One number per feature; positive speaks for the segment.
    pub contributions: Vec<f64>,
}

impl Contrast {
    /// The whole difference: of squared distances for k-means, of log densities for a mixture.
    pub fn total(&self) -> f64 {
        self.constant + self.contributions.iter().sum::<f64>()
    }
}

pub(super) fn contrast(clusters: &Clusters, row: &[f64], segment: usize, rival: Rival) -> Contrast {
    let (constant, contributions) = match clusters {
        Clusters::Centers(centers) => {
            let other = match rival {
                Rival::Segment(other) => centers.center(other),
                Rival::Population => centers.population(),
            };
            (0.0, square_parts(row, centers.center(segment), other))
        }
        Clusters::Mixture(mixture) => mixture_parts(mixture, row, segment, rival),
    };
    Contrast {
        segment,
        rival,
        constant,
        contributions,
    }
}

fn square_parts(row: &[f64], own: &[f64], other: &[f64]) -> Vec<f64> {
    let points = own.iter().zip(other);
    let parts = row.iter().zip(points);
    parts
        .map(|(x, (own, other))| (x - other) * (x - other) - (x - own) * (x - own))
        .collect()
}

fn mixture_parts(mixture: &Mixture, row: &[f64], segment: usize, rival: Rival) -> (f64, Vec<f64>) {
    let own = mixture.half_square_parts(segment, row, mixture.mean(segment));
    let (constant, other) = match rival {
        Rival::Segment(other) => {
            let parts = mixture.half_square_parts(other, row, mixture.mean(other));
            (mixture.peak(segment) - mixture.peak(other), parts)
        }
        Rival::Population => (
            0.0,
            mixture.half_square_parts(segment, row, mixture.population()),
        ),
    };
    (
        constant,
        other
            .iter()
            .zip(&own)
            .map(|(other, own)| other - own)
            .collect(),
    )
}

#[cfg(test)]
mod tests {
    use super::super::{Centers, samples, tiles};
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_only_segment_is_explained_against_the_population() {
        let only = Centers::new(1, vec![2.0], 1.0, vec![2.0]).unwrap();
        let contrast = Clusters::Centers(only)
            .contrast(&[5.0], Against::RunnerUp)
            .unwrap();
        assert_eq!(contrast.rival, Rival::Population);
        assert_eq!(contrast.contributions, [0.0]);
    }

    #[test]
    fn a_feature_on_the_far_side_speaks_against_the_segment() {
        let contrast = samples::centers()
            .contrast(&[3.0, 1.6], Against::RunnerUp)
            .unwrap();
        assert_eq!((contrast.segment, contrast.rival), (1, Rival::Segment(2)));
        assert!(
            contrast.contributions[0] > 0.0 && contrast.contributions[1] < 0.0,
            "{contrast:?}"
        );
    }

    proptest! {
        #[test]
        fn contributions_sum_to_the_difference(x in -9.0..9.0f64, y in -9.0..9.0f64) {
            let row = [x, y];
            for clusters in samples::all() {
                let contrast = clusters.contrast(&row, Against::RunnerUp).unwrap();
                let Rival::Segment(rival) = contrast.rival else { panic!("there are rivals") };
                prop_assert_eq!(contrast.segment, clusters.assign(&row).unwrap());
                let expected = clusters.score(contrast.segment, &row) - clusters.score(rival, &row);
                prop_assert!((contrast.total() - expected).abs() < 1e-9, "{:?}", contrast);
                prop_assert!(expected >= 0.0);
            }
        }

        #[test]
        fn contributions_against_the_population_sum_too(x in -9.0..9.0f64, y in -9.0..9.0f64) {
            let row = [x, y];
            for clusters in samples::all() {
                let contrast = clusters.contrast(&row, Against::Population).unwrap();
                let expected = match &clusters {
                    Clusters::Centers(centers) => {
                        tiles::squared_distance(&row, centers.population())
                            - tiles::squared_distance(&row, centers.center(contrast.segment))
                    }
                    Clusters::Mixture(mixture) => moved(mixture, &row, contrast.segment),
                };
                prop_assert!((contrast.total() - expected).abs() < 1e-9, "{:?}", contrast);
            }
        }
    }

    /// The score at the row minus the score the row had if the segment's mean were the
    /// population's.
    fn moved(mixture: &Mixture, row: &[f64], segment: usize) -> f64 {
        let shift = mixture.mean(segment).iter().zip(mixture.population());
        let as_if: Vec<f64> = row
            .iter()
            .zip(shift)
            .map(|(value, (mean, middle))| value - middle + mean)
            .collect();
        mixture.score(segment, row) - mixture.score(segment, &as_if)
    }
}
