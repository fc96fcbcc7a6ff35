//! k-means as a fitted model: centers, the spread around them, and the mean of the population.
//!
//! The constructor checks everything a file or a trainer could get wrong, so that questions about a
//! row need no checks of their own.

use super::{ClustersError, MAGNITUDE_MAX, PARAMETERS_MAX};
use super::{check_finite, check_length, check_shape, check_size};

/// Centers of k-means segments.
#[derive(Debug, Clone, PartialEq)]
pub struct Centers {
    features: usize,
    centers: Vec<f64>,
    spread: f64,
    population: Vec<f64>,
}

impl Centers {
    /// Takes row-major `centers`, the pooled variance within segments per feature (`spread`), and
    /// the mean of all training rows (`population`).
    pub fn new(
        features: usize,
        centers: Vec<f64>,
        spread: f64,
        population: Vec<f64>,
    ) -> Result<Self, ClustersError> {
        check_shape(centers.len() / features.max(1), features)?;
        check_size("the number of parameters", centers.len(), PARAMETERS_MAX)?;
        check_length(
            "the centers",
            centers.len(),
            centers.len() / features * features,
        )?;
        check_length("the population mean", population.len(), features)?;
        check_finite("the centers", &centers)?;
        check_finite("the population mean", &population)?;
        if !(0.0..=MAGNITUDE_MAX * MAGNITUDE_MAX).contains(&spread) {
            let allowed = "a finite variance, zero or more";
            return Err(ClustersError::Value {
                what: "the spread",
                position: 0,
                found: spread,
                allowed,
            });
        }
        Ok(Self {
            features,
            centers,
            spread,
            population,
        })
    }

    /// How many centers there are.
    pub fn segments(&self) -> usize {
        self.centers.len() / self.features
    }

    /// How many numbers a center has.
    pub fn features(&self) -> usize {
        self.features
    }

    /// All centers, row-major.
    pub fn centers(&self) -> &[f64] {
        &self.centers
    }

    /// The pooled variance within segments, per feature.
    pub fn spread(&self) -> f64 {
        self.spread
    }

    /// The mean of the training rows.
    pub fn population(&self) -> &[f64] {
        &self.population
    }

    pub(super) fn center(&self, segment: usize) -> &[f64] {
        &self.centers[segment * self.features..(segment + 1) * self.features]
    }
}
