//! A linear model: margins are weights times features plus a bias, and a link makes them probabilities.
//!
//! One type for text (sparse rows) and tables (dense rows), for one class, many or several at once.
//! Weights lie feature by feature, all outputs of a feature together, because a sparse row touches few
//! features and needs every output of each. Text models keep single precision (half the memory, twice
//! the speed, and differences far below what data can tell); tabular models keep double precision,
//! so that they equal their reference. Scaling of dense columns is the caller's business.

use serde::{Deserialize, Serialize};

pub use crate::tensors::StoredError;
use crate::tensors::{self, Incoming, Outgoing};
use crate::text::SparseVector;

/// More weights than this do not fit the stored size.
pub const WEIGHTS_MAX: usize = 1 << 28;
/// More outputs than this are not classes but identities.
pub const OUTPUTS_MAX: usize = 1 << 16;

const FORMAT: &str = "linear";
/// Outputs summed side by side in registers; a multiple of every vector width.
const LANES: usize = 16;

#[derive(Debug, Clone, PartialEq)]
pub struct Linear {
    features: usize,
    weights: Weights,
    bias: Vec<f64>,
    link: Link,
}

/// `[feature][output]`, row by row.
#[derive(Debug, Clone, PartialEq)]
pub enum Weights {
    Single(Vec<f32>),
    Double(Vec<f64>),
}

impl Weights {
    pub fn len(&self) -> usize {
        match self {
            Self::Single(weights) => weights.len(),
            Self::Double(weights) => weights.len(),
        }
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn get(&self, at: usize) -> f64 {
        match self {
            Self::Single(weights) => f64::from(weights[at]),
            Self::Double(weights) => weights[at],
        }
    }

    fn is_finite(&self) -> bool {
        match self {
            Self::Single(weights) => weights.iter().all(|weight| weight.is_finite()),
            Self::Double(weights) => weights.iter().all(|weight| weight.is_finite()),
        }
    }
}

/// From margins to probabilities.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Link {
    /// One of several classes: probabilities sum to one.
    Softmax,
    /// Each output on its own: two classes (one output), one-versus-rest, or many labels.
    Logistic,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LinearError {
    #[error("{found} weights for {features} features and {outputs} outputs")]
    Weights {
        found: usize,
        features: usize,
        outputs: usize,
    },
    #[error("a model has between 1 and {OUTPUTS_MAX} outputs and at most {WEIGHTS_MAX} weights")]
    Size,
    #[error("a weight or a bias is not finite")]
    NotFinite,
    #[error("a row with feature {feature} for a model of {features}")]
    Feature { feature: usize, features: usize },
    #[error("a row of {found} values for a model of {expected} features")]
    RowLength { found: usize, expected: usize },
    #[error("{found} margins for a model of {expected} outputs")]
    Margins { found: usize, expected: usize },
    #[error("output {output} of a model with {outputs}")]
    Output { output: usize, outputs: usize },
}

impl Linear {
    /// A checked model; there are as many outputs as bias values.
    pub fn new(
        features: usize,
        weights: Weights,
        bias: Vec<f64>,
        link: Link,
    ) -> Result<Self, LinearError> {
        let outputs = bias.len();
        if !(1..=OUTPUTS_MAX).contains(&outputs) || weights.len() > WEIGHTS_MAX {
            return Err(LinearError::Size);
        }
        if features.checked_mul(outputs) != Some(weights.len()) {
            let found = weights.len();
            return Err(LinearError::Weights {
                found,
                features,
                outputs,
            });
        }
        if !weights.is_finite() || !bias.iter().all(|bias| bias.is_finite()) {
            return Err(LinearError::NotFinite);
        }
        Ok(Self {
            features,
            weights,
            bias,
            link,
        })
    }

    pub fn features(&self) -> usize {
        self.features
    }

    pub fn outputs(&self) -> usize {
        self.bias.len()
    }

    pub fn link(&self) -> Link {
        self.link
    }

    pub fn bias(&self) -> &[f64] {
        &self.bias
    }

    pub fn weights(&self) -> &Weights {
        &self.weights
    }

    /// The weight of a feature for an output; zero outside the model.
    pub fn weight(&self, feature: usize, output: usize) -> f64 {
        if feature >= self.features || output >= self.outputs() {
            return 0.0;
        }
        self.weights.get(feature * self.outputs() + output)
    }

    /// Writes one margin per output over `margins`.
    pub fn margins_sparse(
        &self,
        row: &SparseVector,
        margins: &mut Vec<f64>,
    ) -> Result<(), LinearError> {
        self.start(margins);
        self.add_sparse(0, row, margins)
    }

    /// Writes one margin per output over `margins`.
    pub fn margins_dense(&self, row: &[f64], margins: &mut Vec<f64>) -> Result<(), LinearError> {
        if row.len() != self.features {
            let (found, expected) = (row.len(), self.features);
            return Err(LinearError::RowLength { found, expected });
        }
        self.start(margins);
        self.add_dense(0, row, margins)
    }

    /// Margins of no features at all: the bias. With [`Linear::add_dense`] and [`Linear::add_sparse`]
    /// a row may be given in blocks (columns of a table, then the features of a text).
    pub fn start(&self, margins: &mut Vec<f64>) {
        margins.clear();
        margins.extend_from_slice(&self.bias);
    }

    /// Adds a block of sparse features of which the first is feature `offset` of the model.
    pub fn add_sparse(
        &self,
        offset: usize,
        row: &SparseVector,
        margins: &mut [f64],
    ) -> Result<(), LinearError> {
        self.check_margins(margins)?;
        if let Some(&last) = row.indices.iter().max() {
            self.check_feature(offset.saturating_add(last as usize))?;
        }
        let terms = row
            .iter()
            .map(|(index, value)| (offset + index as usize, value));
        let terms = terms.map(|(index, value)| (index, f64::from(value)));
        match &self.weights {
            Weights::Single(weights) => add(weights, terms, margins),
            Weights::Double(weights) => add(weights, terms, margins),
        }
        Ok(())
    }

    /// Adds a block of dense features of which the first is feature `offset` of the model.
    pub fn add_dense(
        &self,
        offset: usize,
        row: &[f64],
        margins: &mut [f64],
    ) -> Result<(), LinearError> {
        self.check_margins(margins)?;
        if !row.is_empty() {
            self.check_feature(offset.saturating_add(row.len() - 1))?;
        }
        let terms = row
            .iter()
            .enumerate()
            .map(|(index, &value)| (offset + index, value));
        match &self.weights {
            Weights::Single(weights) => add(weights, terms, margins),
            Weights::Double(weights) => add(weights, terms, margins),
        }
        Ok(())
    }

    /// Margins become probabilities where they lie.
    pub fn apply_link(&self, margins: &mut [f64]) {
        match self.link {
            Link::Softmax => softmax(margins),
            Link::Logistic => margins
                .iter_mut()
                .for_each(|margin| *margin = logistic(*margin)),
        }
    }

    /// What each feature present added to the margin of `output`: weight × value.
    pub fn contributions_sparse(
        &self,
        row: &SparseVector,
        output: usize,
    ) -> Result<Vec<(u32, f64)>, LinearError> {
        self.check_output(output)?;
        let contribution = |(feature, value): (u32, f32)| {
            self.check_feature(feature as usize)?;
            Ok((
                feature,
                self.weight(feature as usize, output) * f64::from(value),
            ))
        };
        row.iter().map(contribution).collect()
    }

    /// What each feature added to the margin of `output` against the usual row `center`:
    /// weight × (value − center). Centered features have a center of zeros.
    pub fn contributions_dense(
        &self,
        row: &[f64],
        center: &[f64],
        output: usize,
    ) -> Result<Vec<f64>, LinearError> {
        self.check_output(output)?;
        for found in [row.len(), center.len()] {
            if found != self.features {
                return Err(LinearError::RowLength {
                    found,
                    expected: self.features,
                });
            }
        }
        let differences = row.iter().zip(center).map(|(value, center)| value - center);
        let contribution = |(feature, difference)| self.weight(feature, output) * difference;
        Ok(differences.enumerate().map(contribution).collect())
    }

    /// Equal models give equal bytes. Layout, version 1: safetensors with `weights`
    /// `[feature][output]` (f32 or f64), `bias` (f64), and link and precision as JSON in the header.
    pub fn to_bytes(&self) -> Result<Vec<u8>, StoredError> {
        let shape = vec![self.features, self.outputs()];
        let (precision, weights) = match &self.weights {
            Weights::Single(weights) => (Precision::Single, Outgoing::f32(weights, shape)),
            Weights::Double(weights) => (Precision::Double, Outgoing::f64(weights, shape)),
        };
        let bias = Outgoing::f64(&self.bias, vec![self.outputs()]);
        let about = About {
            link: self.link,
            precision,
            features: self.features,
        };
        let out = [("weights".to_owned(), weights), ("bias".to_owned(), bias)];
        tensors::write(FORMAT, about, &out)
    }

    pub fn from_bytes(bytes: &[u8]) -> Result<Self, StoredError> {
        let (incoming, about) = Incoming::open::<About>(bytes, FORMAT)?;
        incoming.expect_count(2)?;
        let weights = match about.precision {
            Precision::Single => Weights::Single(incoming.f32("weights")?),
            Precision::Double => Weights::Double(incoming.f64("weights")?),
        };
        Self::new(about.features, weights, incoming.f64("bias")?, about.link).map_err(|error| {
            StoredError::Inconsistent {
                reason: error.to_string(),
            }
        })
    }

    fn check_feature(&self, feature: usize) -> Result<(), LinearError> {
        if feature < self.features {
            return Ok(());
        }
        Err(LinearError::Feature {
            feature,
            features: self.features,
        })
    }

    fn check_margins(&self, margins: &[f64]) -> Result<(), LinearError> {
        if margins.len() == self.outputs() {
            return Ok(());
        }
        let (found, expected) = (margins.len(), self.outputs());
        Err(LinearError::Margins { found, expected })
    }

    fn check_output(&self, output: usize) -> Result<(), LinearError> {
        if output < self.outputs() {
            return Ok(());
        }
        Err(LinearError::Output {
            output,
            outputs: self.outputs(),
        })
    }
}

/// The part of a stored model that is not a tensor.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct About {
    link: Link,
    precision: Precision,
    features: usize,
}

#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Precision {
    Single,
    Double,
}

/// Margins to probabilities that sum to one; margins of any size are safe.
pub fn softmax(margins: &mut [f64]) {
    let largest = margins.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let mut sum = 0.0;
    for margin in margins.iter_mut() {
        *margin = (*margin - largest).exp();
        sum += *margin;
    }
    margins.iter_mut().for_each(|margin| *margin /= sum);
}

/// 1 / (1 + e⁻ᵐ); margins of any size are safe.
pub fn logistic(margin: f64) -> f64 {
    let small = (-margin.abs()).exp();
    if margin >= 0.0 {
        1.0 / (1.0 + small)
    } else {
        small / (1.0 + small)
    }
}

/// Adds value × weights to every margin. Outputs are taken by blocks of [`LANES`], so that a block's
/// sums stay in registers while the row's features pass by. Whatever weights are kept as, sums are
/// double: single ones depend on the order of the features by more than a steep calibration forgives.
fn add<W: Copy + Into<f64>>(
    weights: &[W],
    terms: impl Iterator<Item = (usize, f64)> + Clone,
    margins: &mut [f64],
) {
    let outputs = margins.len();
    if outputs == 1 {
        let mut sum = 0.0;
        terms.for_each(|(feature, value)| sum += weights[feature].into() * value);
        margins[0] += sum;
        return;
    }
    let (blocks, rest) = margins.as_chunks_mut::<LANES>();
    let rest_start = blocks.len() * LANES;
    for (block, margins) in blocks.iter_mut().enumerate() {
        let mut sums = [0.0; LANES];
        for (feature, value) in terms.clone() {
            let start = feature * outputs + block * LANES;
            if let Some(weights) = weights[start..].first_chunk::<LANES>() {
                for (sum, &weight) in sums.iter_mut().zip(weights) {
                    *sum += weight.into() * value;
                }
            }
        }
        margins
            .iter_mut()
            .zip(sums)
            .for_each(|(margin, sum)| *margin += sum);
    }
    let mut sums = [0.0; LANES];
    for (feature, value) in terms {
        let start = feature * outputs + rest_start;
        let weights = &weights[start..start + rest.len()];
        for (sum, &weight) in sums.iter_mut().zip(weights) {
            *sum += weight.into() * value;
        }
    }
    rest.iter_mut()
        .zip(sums)
        .for_each(|(margin, sum)| *margin += sum);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The bytes of [`sample`] as version 1 writes them; a change of format fails here first.
    const GOLDEN: &[u8] = include_bytes!("../tests/golden/1/linear.safetensors");

    fn sample() -> Linear {
        let weights = Weights::Single(vec![0.5, -0.25, 0.0, 1.0, 2.0, -3.0]);
        Linear::new(2, weights, vec![0.125, -1.0, 0.0], Link::Softmax).unwrap()
    }

    fn sparse(entries: &[(u32, f32)]) -> SparseVector {
        let (indices, values) = entries.iter().copied().unzip();
        SparseVector { indices, values }
    }

    fn many_outputs(outputs: usize) -> Linear {
        let weights = (0..3 * outputs).map(|at| (at * 7919 % 1000) as f64 / 500.0 - 1.0);
        let weights = Weights::Double(weights.collect());
        Linear::new(3, weights, vec![0.5; outputs], Link::Logistic).unwrap()
    }

    #[test]
    fn margins_of_sparse_and_dense_rows_agree() {
        for outputs in [1, 2, 31, 32, 33, 151] {
            let model = many_outputs(outputs);
            let (mut dense, mut from_sparse) = (Vec::new(), Vec::new());
            model.margins_dense(&[0.0, 2.0, -0.5], &mut dense).unwrap();
            model
                .margins_sparse(&sparse(&[(1, 2.0), (2, -0.5)]), &mut from_sparse)
                .unwrap();
            assert_eq!(dense, from_sparse);
            for (output, margin) in dense.iter().enumerate() {
                let plain = model.weight(1, output) * 2.0 - model.weight(2, output) * 0.5 + 0.5;
                assert!((margin - plain).abs() < 1e-12);
            }
        }
    }

    #[test]
    fn blocks_of_a_row_add_up_to_the_row() {
        let model = many_outputs(4);
        let (mut whole, mut blocks) = (Vec::new(), Vec::new());
        model.margins_dense(&[1.0, 2.0, 3.0], &mut whole).unwrap();
        model.start(&mut blocks);
        model.add_dense(0, &[1.0], &mut blocks).unwrap();
        model
            .add_sparse(1, &sparse(&[(0, 2.0), (1, 3.0)]), &mut blocks)
            .unwrap();
        for (whole, blocks) in whole.iter().zip(&blocks) {
            assert!((whole - blocks).abs() < 1e-12);
        }
    }

    #[test]
    fn contributions_sum_to_the_margin_less_its_bias() {
        let model = sample();
        let row = sparse(&[(0, 2.0), (1, -1.0)]);
        let mut margins = Vec::new();
        model.margins_sparse(&row, &mut margins).unwrap();
        for (output, margin) in margins.iter().enumerate() {
            let contributions = model.contributions_sparse(&row, output).unwrap();
            let sum = contributions
                .iter()
                .map(|contribution| contribution.1)
                .sum::<f64>();
            assert!((margin - model.bias()[output] - sum).abs() < 1e-12);
        }
        let centered = model
            .contributions_dense(&[2.0, -1.0], &[1.0, -1.0], 1)
            .unwrap();
        assert_eq!(centered, [-0.25, 0.0]);
    }

    #[test]
    fn links_bear_margins_of_any_size() {
        let mut margins = [1e4, -1e4, 1e4];
        softmax(&mut margins);
        assert_eq!(margins, [0.5, 0.0, 0.5]);
        assert_eq!(
            [logistic(-1e4), logistic(0.0), logistic(1e4)],
            [0.0, 0.5, 1.0]
        );
    }

    #[test]
    fn rows_and_models_of_other_sizes_are_refused() {
        let model = sample();
        let mut margins = Vec::new();
        let refused = model.margins_sparse(&sparse(&[(2, 1.0)]), &mut margins);
        assert_eq!(
            refused,
            Err(LinearError::Feature {
                feature: 2,
                features: 2
            })
        );
        let refused = model.margins_dense(&[1.0], &mut margins);
        assert_eq!(
            refused,
            Err(LinearError::RowLength {
                found: 1,
                expected: 2
            })
        );
        let refused = model.contributions_sparse(&sparse(&[]), 3);
        assert_eq!(
            refused,
            Err(LinearError::Output {
                output: 3,
                outputs: 3
            })
        );
        let new = |weights, bias| Linear::new(2, Weights::Double(weights), bias, Link::Logistic);
        assert_eq!(new(vec![], vec![]), Err(LinearError::Size));
        assert_eq!(
            new(vec![1.0, f64::NAN], vec![0.0]),
            Err(LinearError::NotFinite)
        );
        let error = LinearError::Weights {
            found: 3,
            features: 2,
            outputs: 1,
        };
        assert_eq!(new(vec![1.0; 3], vec![0.0]), Err(error));
    }

    #[test]
    fn the_golden_model_of_version_1_still_reads() {
        assert_eq!(Linear::from_bytes(GOLDEN), Ok(sample()));
        assert_eq!(sample().to_bytes().unwrap(), GOLDEN);
    }

    #[test]
    fn double_precision_survives_storage() {
        let model = many_outputs(5);
        assert_eq!(Linear::from_bytes(&model.to_bytes().unwrap()), Ok(model));
    }

    #[test]
    fn every_cut_is_refused() {
        for length in 0..GOLDEN.len() {
            assert!(
                Linear::from_bytes(&GOLDEN[..length]).is_err(),
                "cut at {length}"
            );
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            prop_assert!(Linear::from_bytes(&bytes).is_err());
        }

        #[test]
        fn a_damaged_model_is_usable_or_refused(
            damage in proptest::collection::vec((0..GOLDEN.len(), any::<u8>()), 1..6),
        ) {
            let mut bytes = GOLDEN.to_vec();
            for (at, byte) in damage {
                bytes[at] = byte;
            }
            if let Ok(model) = Linear::from_bytes(&bytes) {
                prop_assert!((0..model.features()).all(|at| model.weight(at, 0).is_finite()));
            }
        }
    }
}
