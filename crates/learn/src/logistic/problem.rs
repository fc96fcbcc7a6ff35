//! The targets of a training, made ready: which outputs a row is positive for and how much it counts.
//!
//! From a row's margins this gives its loss and the loss's derivatives; how margins come from
//! features, and gradients from derivatives, is the business of [`super::passes`].

use ombud_engine::linear::{Link, OUTPUTS_MAX};

use super::options::{ClassWeights, Family, LogisticOptions};
use super::{LogisticError, Targets};
use crate::real::{Real, largest, sum};

/// Outputs are padded with idle ones to a multiple of this, and small counts to half of it.
pub(super) const PADDING: usize = 8;

#[derive(Debug)]
pub(super) struct Problem<T> {
    pub outputs: usize,
    /// Outputs in memory; the idle ones keep weights of zero.
    pub padded: usize,
    /// What all rows weigh together.
    pub weight_total: f64,
    /// The sum of the weights that outputs give to the rows that are not theirs.
    rest_total: f64,
    /// Share of each row in the mean loss.
    shares: Vec<T>,
    kind: Kind<T>,
}

#[derive(Debug)]
enum Kind<T> {
    Softmax {
        classes: Vec<u32>,
    },
    Logistic {
        positives: Positives,
        rest_weights: Vec<T>,
        own_weights: Vec<T>,
    },
}

/// For each row, the outputs it is positive for.
#[derive(Debug)]
struct Positives {
    starts: Vec<usize>,
    outputs: Vec<u32>,
}

/// Buffers of one row, reused from row to row.
#[derive(Debug)]
pub(super) struct RowBuffers<T> {
    pub margins: Vec<T>,
    losses: Vec<T>,
}

impl<T: Real> RowBuffers<T> {
    pub fn new(padded: usize) -> Self {
        Self {
            margins: vec![T::ZERO; padded],
            losses: vec![T::ZERO; padded],
        }
    }
}

impl<T: Real> Problem<T> {
    pub fn new(
        rows: usize,
        targets: Targets<'_>,
        weights: Option<&[f64]>,
        options: &LogisticOptions,
    ) -> Result<Self, LogisticError> {
        if rows == 0 {
            return Err(LogisticError::NoRows);
        }
        let weights = row_weights(rows, weights)?;
        match targets {
            Targets::Classes { classes, count } => {
                check_classes(rows, classes, count, &weights)?;
                match (count, options.family) {
                    (2, _) => Self::two_classes(classes, weights, options),
                    (_, Family::Multinomial) => Self::softmax(classes, count, weights, options),
                    (_, Family::OneVsRest) => {
                        let positives = Positives::of_classes(classes);
                        Self::logistic(positives, count, weights, options)
                    }
                }
            }
            Targets::Labels { labels, count } => {
                check_outputs(1, count)?;
                if labels.len() != rows * count {
                    return Err(LogisticError::Targets {
                        targets: labels.len() / count,
                        rows,
                    });
                }
                let positives = Positives::of_labels(labels, count);
                Self::logistic(positives, count, weights, options)
            }
        }
    }

    pub fn link(&self) -> Link {
        match self.kind {
            Kind::Softmax { .. } => Link::Softmax,
            Kind::Logistic { .. } => Link::Logistic,
        }
    }

    /// How many problems there are that share nothing but their rows: one per output, or one.
    pub fn separate(&self) -> usize {
        match self.kind {
            Kind::Softmax { .. } => 1,
            Kind::Logistic { .. } => self.padded,
        }
    }

    /// The row's share of the mean loss at the margins in `buffers`; writes its derivative by each
    /// margin to `residuals`.
    #[inline]
    pub fn loss(&self, row: usize, buffers: &mut RowBuffers<T>, residuals: &mut [T]) -> f64 {
        let share = self.shares[row];
        let RowBuffers { margins, losses } = buffers;
        match &self.kind {
            Kind::Softmax { classes } => {
                let margins = &margins[..self.outputs];
                residuals[self.outputs..].fill(T::ZERO);
                let residuals = &mut residuals[..self.outputs];
                share.to_f64() * softmax_loss(margins, classes[row] as usize, share, residuals)
            }
            Kind::Logistic {
                positives,
                rest_weights,
                own_weights,
            } => {
                rest_losses(margins, rest_weights, share, losses, residuals);
                for &output in positives.row(row) {
                    let output = output as usize;
                    let weight = own_weights[output];
                    let (loss, slope) = own_loss(margins[output]);
                    losses[output] = weight * loss;
                    residuals[output] = share * weight * slope;
                }
                share.to_f64() * sum(losses)
            }
        }
    }

    /// How much the row's share of the loss curves along a margin at margins of zero, on average over
    /// outputs.
    pub fn curvature(&self, row: usize) -> f64 {
        let share = self.shares[row].to_f64();
        let outputs = self.outputs as f64;
        match &self.kind {
            Kind::Softmax { .. } => share * (1.0 - 1.0 / outputs) / outputs,
            Kind::Logistic {
                positives,
                rest_weights,
                own_weights,
            } => {
                let own = positives.row(row).iter().map(|&output| {
                    let output = output as usize;
                    own_weights[output].to_f64() - rest_weights[output].to_f64()
                });
                0.25 * share * (self.rest_total + own.sum::<f64>()) / outputs
            }
        }
    }

    /// Two classes are one output, and class weights are row weights.
    fn two_classes(
        classes: &[u32],
        weights: Vec<f64>,
        options: &LogisticOptions,
    ) -> Result<Self, LogisticError> {
        let weights = weigh_by_class(classes, 2, weights, &options.class_weights)?;
        let positives = Positives::of_second_class(classes);
        let uniform = LogisticOptions {
            class_weights: ClassWeights::Uniform,
            ..options.clone()
        };
        Self::logistic(positives, 1, weights, &uniform)
    }

    fn softmax(
        classes: &[u32],
        count: usize,
        weights: Vec<f64>,
        options: &LogisticOptions,
    ) -> Result<Self, LogisticError> {
        let weights = weigh_by_class(classes, count, weights, &options.class_weights)?;
        let weight_total = weights.iter().sum::<f64>();
        Ok(Self {
            outputs: count,
            padded: padded(count),
            weight_total,
            rest_total: 0.0,
            shares: weights
                .iter()
                .map(|weight| T::of(weight / weight_total))
                .collect(),
            kind: Kind::Softmax {
                classes: classes.to_vec(),
            },
        })
    }

    fn logistic(
        positives: Positives,
        outputs: usize,
        weights: Vec<f64>,
        options: &LogisticOptions,
    ) -> Result<Self, LogisticError> {
        let weight_total = weights.iter().sum::<f64>();
        let balances = balances(&positives, outputs, &weights, &options.class_weights)?;
        let padded = padded(outputs);
        // The idle outputs' losses weigh nothing, so their weights stay zero.
        let side = |pick: fn(&(f64, f64)) -> f64| {
            let mut weights = balances
                .iter()
                .map(|pair| T::of(pick(pair)))
                .collect::<Vec<_>>();
            weights.resize(padded, T::ZERO);
            weights
        };
        let (rest_weights, own_weights) = (side(|pair| pair.0), side(|pair| pair.1));
        Ok(Self {
            outputs,
            padded,
            weight_total,
            rest_total: balances.iter().map(|pair| pair.0).sum(),
            shares: weights
                .iter()
                .map(|weight| T::of(weight / weight_total))
                .collect(),
            kind: Kind::Logistic {
                positives,
                rest_weights,
                own_weights,
            },
        })
    }
}

impl Positives {
    fn of_classes(classes: &[u32]) -> Self {
        Self {
            starts: (0..=classes.len()).collect(),
            outputs: classes.to_vec(),
        }
    }

    fn of_second_class(classes: &[u32]) -> Self {
        Self::of_rows(classes.iter().map(|&class| (class == 1).then_some(0)))
    }

    fn of_labels(labels: &[bool], count: usize) -> Self {
        Self::of_rows(labels.chunks(count).map(|row| {
            row.iter()
                .enumerate()
                .filter(|label| *label.1)
                .map(|(output, _)| output as u32)
        }))
    }

    fn of_rows(rows: impl Iterator<Item: IntoIterator<Item = u32>>) -> Self {
        let (mut starts, mut outputs) = (vec![0], Vec::new());
        for row in rows {
            outputs.extend(row);
            starts.push(outputs.len());
        }
        Self { starts, outputs }
    }

    #[inline]
    fn row(&self, row: usize) -> &[u32] {
        &self.outputs[self.starts[row]..self.starts[row + 1]]
    }
}

/// −ln of the class's probability; residuals are (probability − is the class) × share.
#[inline(always)]
fn softmax_loss<T: Real>(margins: &[T], class: usize, share: T, residuals: &mut [T]) -> f64 {
    let highest = largest(margins);
    for (residual, &margin) in residuals.iter_mut().zip(margins) {
        *residual = (margin - highest).exp_of_negative();
    }
    let total = sum(residuals);
    let factor = share * T::of(1.0 / total);
    residuals
        .iter_mut()
        .for_each(|residual| *residual *= factor);
    residuals[class] = residuals[class] - share;
    total.ln() - (margins[class] - highest).to_f64()
}

/// For every output as if the row were not its own: ln(1 + eᵐ) and its derivative, weighed.
#[inline(always)]
fn rest_losses<T: Real>(
    margins: &[T],
    weights: &[T],
    share: T,
    losses: &mut [T],
    residuals: &mut [T],
) {
    let out = losses.iter_mut().zip(residuals);
    for ((&margin, &weight), (loss, residual)) in margins.iter().zip(weights).zip(out) {
        let small = (-margin.abs()).exp_of_negative();
        *loss = weight * (margin.larger(T::ZERO) + small.ln_1p_of_unit());
        let top = if margin >= T::ZERO { T::ONE } else { small };
        *residual = share * weight * (top / (T::ONE + small));
    }
}

/// ln(1 + e⁻ᵐ) and its derivative.
#[inline(always)]
fn own_loss<T: Real>(margin: T) -> (T, T) {
    let small = (-margin.abs()).exp_of_negative();
    let loss = (-margin).larger(T::ZERO) + small.ln_1p_of_unit();
    let top = if margin >= T::ZERO { small } else { T::ONE };
    (loss, -(top / (T::ONE + small)))
}

fn padded(outputs: usize) -> usize {
    match outputs {
        1 => 1,
        2..=4 => PADDING / 2,
        _ => outputs.next_multiple_of(PADDING),
    }
}

fn row_weights(rows: usize, weights: Option<&[f64]>) -> Result<Vec<f64>, LogisticError> {
    let Some(weights) = weights else {
        return Ok(vec![1.0; rows]);
    };
    if weights.len() != rows {
        return Err(LogisticError::Weights {
            weights: weights.len(),
            rows,
        });
    }
    let is_wrong = |weight: &&f64| !weight.is_finite() || **weight < 0.0;
    if let Some(weight) = weights.iter().find(is_wrong) {
        let row = weights
            .iter()
            .position(|other| is_wrong(&other))
            .unwrap_or_default();
        return Err(LogisticError::Weight {
            row,
            weight: *weight,
        });
    }
    if weights.iter().all(|&weight| weight == 0.0) {
        return Err(LogisticError::NoWeight);
    }
    Ok(weights.to_vec())
}

fn check_outputs(least: usize, count: usize) -> Result<(), LogisticError> {
    if (least..=OUTPUTS_MAX).contains(&count) {
        return Ok(());
    }
    Err(LogisticError::Outputs { count })
}

fn check_classes(
    rows: usize,
    classes: &[u32],
    count: usize,
    weights: &[f64],
) -> Result<(), LogisticError> {
    check_outputs(2, count)?;
    if classes.len() != rows {
        return Err(LogisticError::Targets {
            targets: classes.len(),
            rows,
        });
    }
    if let Some(row) = classes.iter().position(|&class| class as usize >= count) {
        return Err(LogisticError::Class {
            row,
            class: classes[row],
            count,
        });
    }
    let mut counting = classes
        .iter()
        .zip(weights)
        .filter(|row| *row.1 > 0.0)
        .map(|row| *row.0);
    let first = counting.next().ok_or(LogisticError::NoWeight)?;
    if counting.all(|class| class == first) {
        return Err(LogisticError::OneClass { class: first });
    }
    Ok(())
}

/// Row weights times the weight of the row's class; balanced as in scikit-learn, where a class weighs
/// all / (classes × its own). A class without rows needs no weight.
fn weigh_by_class(
    classes: &[u32],
    count: usize,
    mut weights: Vec<f64>,
    class_weights: &ClassWeights,
) -> Result<Vec<f64>, LogisticError> {
    let by_class = match class_weights {
        ClassWeights::Uniform => return Ok(weights),
        ClassWeights::Given(given) => checked_given(given, count)?.to_vec(),
        ClassWeights::Balanced => {
            let mut sums = vec![0.0; count];
            classes
                .iter()
                .zip(&weights)
                .for_each(|(&class, weight)| sums[class as usize] += weight);
            let total = weights.iter().sum::<f64>();
            sums.iter().map(|&sum| balance(total, count, sum)).collect()
        }
    };
    for (weight, &class) in weights.iter_mut().zip(classes) {
        *weight *= by_class[class as usize];
    }
    Ok(weights)
}

/// For each output the weights of the rest and of its own rows.
fn balances(
    positives: &Positives,
    outputs: usize,
    weights: &[f64],
    class_weights: &ClassWeights,
) -> Result<Vec<(f64, f64)>, LogisticError> {
    match class_weights {
        ClassWeights::Uniform => Ok(vec![(1.0, 1.0); outputs]),
        ClassWeights::Given(given) => Ok(checked_given(given, outputs)?
            .iter()
            .map(|&own| (1.0, own))
            .collect()),
        ClassWeights::Balanced => {
            let mut sums = vec![0.0; outputs];
            for (row, weight) in weights.iter().enumerate() {
                positives
                    .row(row)
                    .iter()
                    .for_each(|&output| sums[output as usize] += weight);
            }
            let total = weights.iter().sum::<f64>();
            let sides = |&own: &f64| (balance(total, 2, total - own), balance(total, 2, own));
            Ok(sums.iter().map(sides).collect())
        }
    }
}

fn balance(total: f64, classes: usize, own: f64) -> f64 {
    if own > 0.0 {
        total / (classes as f64 * own)
    } else {
        1.0
    }
}

fn checked_given(given: &[f64], expected: usize) -> Result<&[f64], LogisticError> {
    if given.len() == expected {
        return Ok(given);
    }
    Err(LogisticError::ClassWeights {
        found: given.len(),
        expected,
    })
}
