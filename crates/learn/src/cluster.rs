//! Finds segments in scaled rows: fits them, judges them, chooses how many, and names them.
//!
//! [`fit`] is the one call a recipe needs; the parts stand on their own in the modules below. Rows
//! come as a dense matrix without missing values, as the encoder made it, and are checked once in
//! [`Rows`]. What comes out is the engine's [`Clusters`], ready to be stored and served. Names for
//! segments need the columns as people know them, so the caller hands those to [`profile`].
//!
//! The same seed gives the same bits for any number of threads: sums are taken per fixed chunk of
//! rows and then in the order of the chunks.

pub mod kmeans;
pub mod mixture;
pub mod profile;
pub mod quality;
mod random;
pub mod select;

use std::collections::HashSet;
use std::ops::Range;

use ombud_engine::clusters::{
    Clusters, ClustersError, Covariance, FEATURES_MAX, MAGNITUDE_MAX, SEGMENTS_MAX,
};
use serde::{Deserialize, Serialize};

use kmeans::KMeansOptions;
use mixture::MixtureOptions;
use select::{Choice, Progress, SelectOptions};

/// Partial sums are kept for at most this many chunks of rows, so that memory stays bounded.
const CHUNKS_MAX: usize = 64;
/// Below this many rows a chunk is not worth a task of its own.
const CHUNK_ROWS_MIN: usize = 1024;

/// How segments are fitted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Method {
    KMeans,
    Mixture(Covariance),
}

/// How many segments there shall be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Segments {
    Given(usize),
    /// Chosen from this range, both ends included; see [`select`].
    Chosen {
        from: usize,
        to: usize,
    },
}

/// What [`fit`] needs to know besides the rows.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    pub method: Method,
    pub segments: Segments,
    pub seed: u64,
}

/// Fitted segments with what speaks for them.
#[derive(Debug, Clone)]
pub struct Fit {
    pub clusters: Clusters,
    /// The segment of each row.
    pub labels: Vec<usize>,
    /// Weighted sum of squared distances of the rows to the center (k-means) or mean of their
    /// segment.
    pub inertia: f64,
    /// Mean log density of a row; only a mixture has one.
    pub log_likelihood: Option<f64>,
    /// The Bayesian information criterion, lower is better.
    pub bic: f64,
    /// Why there are as many segments, when the number was not given.
    pub choice: Option<Choice>,
}

/// Why segments cannot be found.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum ClusterError {
    #[error("there are no rows to find segments in")]
    NoRows,
    #[error("a row has {features} features, allowed are 1 to {limit}")]
    Features { features: usize, limit: usize },
    #[error("{values} numbers do not make whole rows of {features} features")]
    Ragged { values: usize, features: usize },
    #[error("row {row}, feature {feature} is {value}: segments need finite, scaled numbers")]
    NotFinite {
        row: usize,
        feature: usize,
        value: f64,
    },
    #[error("{what} has {found} entries for {rows} rows")]
    Length {
        what: &'static str,
        found: usize,
        rows: usize,
    },
    #[error(
        "the weight of row {row} is {weight}: weights are finite, not negative, and not all zero"
    )]
    Weight { row: usize, weight: f64 },
    #[error("{wanted} segments are wanted, allowed are 1 to {limit}")]
    Segments { wanted: usize, limit: usize },
    #[error(
        "{wanted} segments need as many different rows of positive weight, there are {distinct}"
    )]
    TooFewRows { distinct: usize, wanted: usize },
    #[error("{name} is {value}, it must be {allowed}")]
    Parameter {
        name: &'static str,
        value: f64,
        allowed: &'static str,
    },
    #[error("a label says segment {label}, but there are {segments} segments")]
    Label { label: usize, segments: usize },
    #[error(
        "{measure} needs from 2 to rows − 1 segments that have rows: {segments} for {rows} rows"
    )]
    Undefined {
        measure: &'static str,
        segments: usize,
        rows: usize,
    },
    #[error(
        "segment {segment} has no invertible covariance; raise the regulariser above {regulariser}"
    )]
    Singular { segment: usize, regulariser: f64 },
    #[error("no number of segments from {from} to {to} can be judged on {distinct} different rows")]
    NothingToChoose {
        from: usize,
        to: usize,
        distinct: usize,
    },
    #[error("column {name}: {cause}")]
    Column { name: String, cause: &'static str },
    #[error(transparent)]
    Model(#[from] ClustersError),
}

/// A checked matrix of scaled rows, row-major, perhaps with weights.
#[derive(Debug, Clone, Copy)]
pub struct Rows<'data> {
    values: &'data [f64],
    features: usize,
    weights: Option<&'data [f64]>,
}

impl<'data> Rows<'data> {
    /// Refuses matrices that are empty, ragged or hold anything but finite numbers of sane size.
    pub fn new(values: &'data [f64], features: usize) -> Result<Self, ClusterError> {
        if !(1..=FEATURES_MAX).contains(&features) {
            return Err(ClusterError::Features {
                features,
                limit: FEATURES_MAX,
            });
        }
        if values.is_empty() {
            return Err(ClusterError::NoRows);
        }
        if !values.len().is_multiple_of(features) {
            return Err(ClusterError::Ragged {
                values: values.len(),
                features,
            });
        }
        let is_bad = |value: &f64| !value.is_finite() || value.abs() > MAGNITUDE_MAX;
        if let Some(at) = values.iter().position(is_bad) {
            let (row, feature) = (at / features, at % features);
            return Err(ClusterError::NotFinite {
                row,
                feature,
                value: values[at],
            });
        }
        Ok(Self {
            values,
            features,
            weights: None,
        })
    }

    /// Gives each row a weight, such as a survey's sampling weight.
    pub fn with_weights(self, weights: &'data [f64]) -> Result<Self, ClusterError> {
        if weights.len() != self.count() {
            let (found, rows) = (weights.len(), self.count());
            return Err(ClusterError::Length {
                what: "the list of weights",
                found,
                rows,
            });
        }
        let is_bad = |weight: &f64| !(0.0..=MAGNITUDE_MAX).contains(weight);
        if let Some(row) = weights.iter().position(is_bad) {
            return Err(ClusterError::Weight {
                row,
                weight: weights[row],
            });
        }
        if weights.iter().all(|weight| *weight == 0.0) {
            return Err(ClusterError::Weight {
                row: 0,
                weight: 0.0,
            });
        }
        Ok(Self {
            weights: Some(weights),
            ..self
        })
    }

    /// How many rows there are.
    pub fn count(&self) -> usize {
        self.values.len() / self.features
    }

    /// How many numbers a row has.
    pub fn features(&self) -> usize {
        self.features
    }

    /// All numbers, row-major.
    pub fn values(&self) -> &'data [f64] {
        self.values
    }

    /// One row.
    pub fn row(&self, index: usize) -> &'data [f64] {
        &self.values[index * self.features..(index + 1) * self.features]
    }

    /// The weight of a row, one where none was given.
    pub fn weight(&self, index: usize) -> f64 {
        self.weights.map_or(1.0, |weights| weights[index])
    }

    /// The sum of all weights.
    pub fn weight_total(&self) -> f64 {
        self.weights
            .map_or(self.count() as f64, |weights| weights.iter().sum())
    }

    /// The number of different rows of positive weight, counted no further than `enough`.
    pub fn distinct(&self, enough: usize) -> usize {
        let mut seen = HashSet::new();
        for index in 0..self.count() {
            if seen.len() >= enough {
                break;
            }
            if self.weight(index) > 0.0 {
                // Adding zero turns −0 into 0: the two are one place.
                seen.insert(
                    self.row(index)
                        .iter()
                        .map(|v| (v + 0.0).to_bits())
                        .collect::<Vec<_>>(),
                );
            }
        }
        seen.len()
    }

    /// The rows cut in chunks that depend on nothing but their number.
    fn chunks(&self) -> Vec<Range<usize>> {
        let count = self.count();
        let size = self.chunk_rows();
        (0..count)
            .step_by(size)
            .map(|start| start..(start + size).min(count))
            .collect()
    }

    fn chunk_rows(&self) -> usize {
        self.count().div_ceil(CHUNKS_MAX).max(CHUNK_ROWS_MIN)
    }

    /// Weighted mean of each feature.
    fn mean(&self) -> Vec<f64> {
        self.weighted_mean(|_, value| value)
    }

    /// Weighted variance of each feature about `mean`.
    fn variance(&self, mean: &[f64]) -> Vec<f64> {
        self.weighted_mean(|feature, value| (value - mean[feature]) * (value - mean[feature]))
    }

    fn weighted_mean(&self, term: impl Fn(usize, f64) -> f64) -> Vec<f64> {
        let mut sums = vec![0.0; self.features];
        for index in 0..self.count() {
            let weight = self.weight(index);
            for (feature, (sum, &value)) in sums.iter_mut().zip(self.row(index)).enumerate() {
                *sum += weight * term(feature, value);
            }
        }
        let total = self.weight_total();
        sums.iter().map(|sum| sum / total).collect()
    }
}

/// Fits segments: as many as given, or as many as the evidence speaks for.
pub fn fit(
    rows: &Rows<'_>,
    options: &Options,
    progress: &mut dyn FnMut(Progress),
) -> Result<Fit, ClusterError> {
    let choice = match options.segments {
        Segments::Given(_) => None,
        Segments::Chosen { from, to } => {
            let select = SelectOptions {
                from,
                to,
                ..SelectOptions::new(options.method, options.seed)
            };
            Some(select::choose(rows, &select, progress)?)
        }
    };
    let segments = match (&choice, options.segments) {
        (Some(choice), _) => choice.segments,
        (None, Segments::Given(segments)) => segments,
        (None, Segments::Chosen { from, .. }) => from,
    };
    Ok(Fit {
        choice,
        ..fit_given(rows, options.method, segments, options.seed)?
    })
}

/// Fits a given number of segments with the defaults of the method.
pub fn fit_given(
    rows: &Rows<'_>,
    method: Method,
    segments: usize,
    seed: u64,
) -> Result<Fit, ClusterError> {
    match method {
        Method::KMeans => {
            let fit = kmeans::fit(rows, &KMeansOptions::new(segments, seed))?;
            let bic = fit.bic(rows);
            let kmeans::KMeansFit {
                clusters,
                labels,
                inertia,
                ..
            } = fit;
            Ok(Fit {
                clusters,
                labels,
                inertia,
                log_likelihood: None,
                bic,
                choice: None,
            })
        }
        Method::Mixture(covariance) => {
            let options = MixtureOptions {
                covariance,
                ..MixtureOptions::new(segments, seed)
            };
            let fit = mixture::fit(rows, &options)?;
            let inertia = quality::inertia(rows, &fit.labels, segments)?;
            let mixture::MixtureFit {
                clusters,
                labels,
                log_likelihood,
                bic,
                ..
            } = fit;
            let log_likelihood = Some(log_likelihood);
            Ok(Fit {
                clusters,
                labels,
                inertia,
                log_likelihood,
                bic,
                choice: None,
            })
        }
    }
}

fn check_segments(rows: &Rows<'_>, wanted: usize) -> Result<(), ClusterError> {
    if !(1..=SEGMENTS_MAX).contains(&wanted) {
        return Err(ClusterError::Segments {
            wanted,
            limit: SEGMENTS_MAX,
        });
    }
    let distinct = rows.distinct(wanted);
    if distinct < wanted {
        return Err(ClusterError::TooFewRows { distinct, wanted });
    }
    Ok(())
}

fn check_parameter(
    name: &'static str,
    value: f64,
    allowed: &'static str,
    is_allowed: bool,
) -> Result<(), ClusterError> {
    if is_allowed {
        return Ok(());
    }
    Err(ClusterError::Parameter {
        name,
        value,
        allowed,
    })
}

#[cfg(test)]
mod samples {
    //! Rows that the tests of this folder share; scikit-learn was given the same.

    /// Three blobs of 80 rows with three features, from a linear congruential generator.
    pub fn blobs() -> Vec<f64> {
        let centers = [[0.0, 0.0, 0.0], [3.0, 1.0, -1.0], [-1.0, 4.0, 2.0]];
        let mut unit = units(12_345);
        let mut value = |center: f64| center + 1.5 * (unit() + unit() + unit() + unit() - 2.0);
        (0..240)
            .flat_map(|row| centers[row % 3].map(&mut value))
            .collect()
    }

    /// 1, 2, 3, 4, 5, 1, … for the blobs.
    pub fn blobs_weights() -> Vec<f64> {
        (0..240).map(|row| 1.0 + (row % 5) as f64).collect()
    }

    /// Numbers from 0 to 1 without any structure.
    pub fn noise(count: usize, features: usize) -> Vec<f64> {
        let mut unit = units(99);
        (0..count * features).map(|_| unit()).collect()
    }

    fn units(mut state: u32) -> impl FnMut() -> f64 {
        move || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            f64::from(state) / 4_294_967_296.0
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_of_segments_is_chosen_unless_given() {
        let values = samples::blobs();
        let rows = Rows::new(&values, 3).unwrap();
        let method = Method::KMeans;
        let chosen = Options {
            method,
            segments: Segments::Chosen { from: 2, to: 6 },
            seed: 1,
        };
        let fit_chosen = fit(&rows, &chosen, &mut |_| {}).unwrap();
        assert_eq!(fit_chosen.choice.as_ref().unwrap().segments, 3);
        let given = Options {
            segments: Segments::Given(3),
            ..chosen
        };
        let fit_given = fit(&rows, &given, &mut |_| {}).unwrap();
        assert_eq!(
            (fit_given.clusters, fit_given.choice),
            (fit_chosen.clusters, None)
        );
    }

    #[test]
    fn a_mixture_has_a_likelihood_and_k_means_none() {
        let values = samples::blobs();
        let rows = Rows::new(&values, 3).unwrap();
        let mixture = fit_given(&rows, Method::Mixture(Covariance::Diagonal), 3, 1).unwrap();
        let kmeans = fit_given(&rows, Method::KMeans, 3, 1).unwrap();
        assert!(mixture.log_likelihood.is_some() && kmeans.log_likelihood.is_none());
        assert!(mixture.inertia >= kmeans.inertia);
        assert!(fit_given(&rows, Method::KMeans, 241, 1).is_err());
    }
}
