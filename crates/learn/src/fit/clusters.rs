//! Finds segments over scaled features, and describes them in the words of the data.

use super::encode::{matrix_double, scaled, store, store_blocks};
use super::{FitError, Fitted, Problem, keep_going};
use crate::cluster::profile::{self, Profile, ProfileColumn, ProfileFeature};
use crate::cluster::select::Choice;
use crate::cluster::{self, Method, Options, Rows, Segments};
use crate::progress::Progress;
use crate::recipe::ClusterParameters;
use arrow_array::Array;
use ombud_core::Kind;
use ombud_core::frame::Column;
use ombud_engine::bundle::Files;
use ombud_engine::clusters::Covariance;
use ombud_engine::encoding::{Block, Encoding, Parts};
use ombud_engine::engine::ClusterEngine;
use ombud_engine::model::TENSORS_FILE;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Finds segments on rows of one problem.
#[derive(Debug)]
pub struct ClusterLearner<'p> {
    problem: &'p Problem<'p>,
    parameters: &'p ClusterParameters,
    is_mixture: bool,
}

/// A category's name, its values, and the value of each row.
type CategoryColumn<'a> = (String, &'a [String], Vec<Option<usize>>);

/// Found segments with their descriptions.
#[derive(Debug)]
pub struct Segmented {
    /// Ready to assign.
    pub fitted: Fitted,
    /// One per segment, in the engine's order.
    pub profiles: Vec<Profile>,
    /// Why so many, when the number was not given.
    pub choice: Option<Choice>,
    /// Mean log density of a row; a mixture's only.
    pub log_likelihood: Option<f64>,
}

impl<'p> ClusterLearner<'p> {
    /// A learner of k-means, or of a mixture.
    pub fn new(
        problem: &'p Problem<'p>,
        parameters: &'p ClusterParameters,
        is_mixture: bool,
    ) -> Self {
        ClusterLearner {
            problem,
            parameters,
            is_mixture,
        }
    }

    /// Finds segments among some rows.
    pub fn fit(&self, rows: &[u32], progress: &dyn Progress) -> Result<Segmented, FitError> {
        keep_going(progress)?;
        let encoding = self.encoding(rows)?;
        encoding.check_dense()?;
        let values = matrix_double(&encoding, self.problem.frame, rows);
        let weights: Option<Vec<f64>> = self
            .problem
            .weights
            .map(|weights| rows.iter().map(|row| weights[*row as usize]).collect());
        let mut scaled_rows = Rows::new(&values, encoding.columns())?;
        if let Some(weights) = &weights {
            scaled_rows = scaled_rows.with_weights(weights)?;
        }
        let options = Options {
            method: self.method(),
            segments: self.segments(),
            seed: self.problem.seed,
        };
        let mut done = 0;
        let fit = cluster::fit(&scaled_rows, &options, &mut |_| {
            done += 1;
            progress.advance(done);
        })?;
        keep_going(progress)?;
        let segments = fit.clusters.segments();
        let profiles = self.profiles(rows, &fit.labels, segments, weights.as_deref())?;
        let stored = fit
            .clusters
            .to_bytes()
            .map_err(|error| FitError::Store(error.to_string()))?;
        let mut files = Files::new();
        store(&mut files, TENSORS_FILE, stored)?;
        store_blocks(&mut files, &encoding)?;
        let engine = ClusterEngine::new(encoding, fit.clusters)?;
        let fitted = Fitted {
            engine: Box::new(engine),
            files,
            parameters: self.used(segments),
        };
        Ok(Segmented {
            fitted,
            profiles,
            choice: fit.choice,
            log_likelihood: fit.log_likelihood,
        })
    }

    fn method(&self) -> Method {
        match (self.is_mixture, self.parameters.full_covariance) {
            (false, _) => Method::KMeans,
            (true, true) => Method::Mixture(Covariance::Full),
            (true, false) => Method::Mixture(Covariance::Diagonal),
        }
    }

    fn segments(&self) -> Segments {
        match self.parameters.k {
            Some(k) => Segments::Given(k),
            None => Segments::Chosen {
                from: self.parameters.k_min,
                to: self.parameters.k_max,
            },
        }
    }

    /// Numbers in standard deviations; a category as one column per value, weighted so that two different values are as
    /// far apart as numbers one and a half deviations from each other.
    fn encoding(&self, rows: &[u32]) -> Result<Encoding, FitError> {
        let frame = self.problem.frame;
        let blocks =
            frame
                .schema()
                .features()
                .iter()
                .enumerate()
                .filter_map(|(feature, described)| match &described.kind {
                    Kind::Number { .. } | Kind::Ordinal { .. } | Kind::Sequence { .. } => {
                        Some(scaled(frame, feature, rows, false))
                    }
                    Kind::Category { values, .. } => Some(Block::OneOf {
                        feature,
                        values: values.len(),
                        weight: 1.0,
                    }),
                    Kind::Text => None,
                });
        Ok(Encoding::new(
            frame.schema(),
            blocks.collect(),
            &Parts::default(),
        )?)
    }

    fn profiles(
        &self,
        rows: &[u32],
        labels: &[usize],
        segments: usize,
        weights: Option<&[f64]>,
    ) -> Result<Vec<Profile>, FitError> {
        let frame = self.problem.frame;
        let mut numbers: Vec<(String, Vec<f64>)> = Vec::new();
        let mut categories: Vec<CategoryColumn<'_>> = Vec::new();
        for (feature, column) in frame.schema().features().iter().zip(frame.columns()) {
            match (column, &feature.kind) {
                (Column::Number(values), _) => {
                    let number = |row: &u32| {
                        if values.is_valid(*row as usize) {
                            values.value(*row as usize)
                        } else {
                            f64::NAN
                        }
                    };
                    numbers.push((feature.name.clone(), rows.iter().map(number).collect()));
                }
                (Column::Code(codes), Kind::Ordinal { .. }) => {
                    let level = |row: &u32| {
                        if codes.is_valid(*row as usize) {
                            f64::from(codes.value(*row as usize))
                        } else {
                            f64::NAN
                        }
                    };
                    numbers.push((feature.name.clone(), rows.iter().map(level).collect()));
                }
                (Column::Code(codes), kind) => {
                    let code = |row: &u32| {
                        codes
                            .is_valid(*row as usize)
                            .then(|| codes.value(*row as usize) as usize)
                    };
                    categories.push((
                        feature.name.clone(),
                        kind.values(),
                        rows.iter().map(code).collect(),
                    ));
                }
                (Column::Sequence { steps, values }, _) => {
                    let mean = |row: &u32| {
                        let known = values[*row as usize * steps..(*row as usize + 1) * steps]
                            .iter()
                            .filter(|v| !v.is_nan());
                        let (sum, count) =
                            known.fold((0.0, 0), |(sum, count), v| (sum + v, count + 1));
                        if count == 0 {
                            f64::NAN
                        } else {
                            sum / f64::from(count)
                        }
                    };
                    numbers.push((
                        format!("mean {}", feature.name),
                        rows.iter().map(mean).collect(),
                    ));
                }
                (Column::Text(_), _) => {}
            }
        }
        let number_columns = numbers.iter().map(|(name, values)| {
            (
                ProfileFeature::number(name, values, None),
                ProfileColumn::Number(values),
            )
        });
        let category_columns = categories.iter().map(|(name, values, codes)| {
            (
                ProfileFeature::category(name, values, codes),
                ProfileColumn::Category(codes),
            )
        });
        let columns: Vec<_> = number_columns.chain(category_columns).collect();
        Ok(profile::profile(labels, segments, weights, &columns)?)
    }

    fn used(&self, segments: usize) -> BTreeMap<String, Value> {
        let algorithm = if self.is_mixture { "mixture" } else { "kmeans" };
        let mut used = BTreeMap::from([
            ("algorithm".to_owned(), json!(algorithm)),
            ("k".to_owned(), json!(segments)),
            ("k_given".to_owned(), json!(self.parameters.k.is_some())),
        ]);
        if self.is_mixture {
            let covariance = if self.parameters.full_covariance {
                "full"
            } else {
                "diagonal"
            };
            used.insert("covariance".to_owned(), json!(covariance));
        }
        used
    }
}
