//! Loss and gradient over all rows in one pass, for sparse and for dense rows.
//!
//! Sparse rows are kept twice: by row, where margins come from, and by feature, where each feature's
//! gradient is summed by one worker in row order. So no worker needs a gradient of its own (weights of
//! 151 classes × 20,000 features are 12 MB), and every sum has one fixed order whatever the number of
//! threads. Dense rows have few features; there each fixed run of rows sums its own small gradient.
//!
//! The search sees every feature's weights divided by a [`Scales`] factor, so that all directions
//! curve about alike: rare words, common words and the bias differ ten-thousandfold otherwise, which
//! costs several times the iterations.

use rayon::prelude::*;

use super::Pass;
use super::problem::{PADDING, Problem, RowBuffers};
use crate::lbfgs::Objective;
use crate::real::{Real, dot};
use crate::rows::{Csr, Dense};

/// Residuals held at a time; more rows than fit are taken block by block.
const RESIDUALS_MAX: usize = 1 << 24;
const ROWS_PER_CHUNK: usize = 128;
const FEATURES_PER_CHUNK: usize = 64;
/// Dense rows are cut into at most this many runs, each with a gradient of its own.
const RUNS_MAX: usize = 16;
const ROWS_PER_RUN_MIN: usize = 512;
/// Outputs summed side by side in registers.
const LANES: usize = 32;

/// What a feature's weight is in the search's units: weight = factor × number searched.
pub(super) struct Scales<T> {
    features: Vec<T>,
    bias: T,
}

impl<T: Real> Scales<T> {
    /// One over the root of the curvature at weights of zero. `squares` are of each feature over all
    /// rows, each row counted by its curvature, whose sum is `total`.
    fn new(squares: &[f64], total: f64, penalty: f64) -> Self {
        let factor = |curvature: f64| T::of(1.0 / curvature.sqrt());
        let features = squares
            .iter()
            .map(|square| factor(square + penalty))
            .collect();
        Self {
            features,
            bias: factor(total),
        }
    }

    /// The factors, feature by feature and the bias last.
    fn iter(&self) -> impl Iterator<Item = T> + '_ {
        self.features.iter().copied().chain([self.bias])
    }

    /// Numbers of the search become weights and biases.
    pub fn apply(&self, padded: usize, point: &mut [T]) {
        for (numbers, factor) in point.chunks_mut(padded).zip(self.iter()) {
            numbers.iter_mut().for_each(|number| *number *= factor);
        }
    }

    /// The largest slope by a weight, from slopes by the numbers of the search.
    fn largest_slope(&self, padded: usize, slopes: &[T]) -> f64 {
        let (features, bias) = slopes.split_at(self.features.len() * padded);
        let of_feature = |(slopes, &factor): (&[T], &T)| largest_size(slopes) / factor;
        let chunks = features.par_chunks(FEATURES_PER_CHUNK * padded);
        let chunks = chunks.zip(self.features.par_chunks(FEATURES_PER_CHUNK));
        let of_chunk = |(slopes, factors): (&[T], &[T])| {
            let sizes = slopes.chunks(padded).zip(factors).map(of_feature);
            sizes.fold(T::ZERO, T::larger).to_f64()
        };
        let largest = chunks.map(of_chunk).reduce(|| 0.0, f64::max);
        largest.max(of_feature((bias, &self.bias)).to_f64())
    }
}

pub(super) struct SparsePass<'a, T> {
    rows: &'a Csr<T>,
    /// The rows' values, each times its feature's factor.
    values: Vec<T>,
    problem: Problem<T>,
    penalty: f64,
    scales: Scales<T>,
    blocks: Vec<Block<T>>,
    residuals: Vec<T>,
}

/// A run of rows, by feature.
struct Block<T> {
    first_row: usize,
    row_count: usize,
    /// Where each feature's entries begin; one more than there are features.
    starts: Vec<usize>,
    /// Rows counted from the block's first.
    rows: Vec<u32>,
    values: Vec<T>,
}

impl<'a, T: Real> SparsePass<'a, T> {
    pub fn new(rows: &'a Csr<T>, problem: Problem<T>, penalty: f64) -> Self {
        let mut squares = vec![0.0; rows.columns()];
        let mut total = 0.0;
        for row in 0..rows.rows() {
            let curvature = problem.curvature(row);
            let (indices, values) = rows.row(row);
            for (&feature, value) in indices.iter().zip(values) {
                squares[feature as usize] += curvature * value.to_f64() * value.to_f64();
            }
            total += curvature;
        }
        let scales = Scales::new(&squares, total, penalty);
        let entries = rows.indices().iter().zip(rows.values());
        let values = entries.map(|(&feature, &value)| value * scales.features[feature as usize]);
        let values = values.collect::<Vec<_>>();

        let block_rows = (RESIDUALS_MAX / problem.padded).max(ROWS_PER_CHUNK);
        let firsts = (0..rows.rows()).step_by(block_rows).collect::<Vec<_>>();
        let block = |&first_row: &usize| {
            let row_count = block_rows.min(rows.rows() - first_row);
            Block::new(rows, &values, first_row, row_count)
        };
        let blocks = firsts.par_iter().map(block).collect();
        let residuals = vec![T::ZERO; block_rows.min(rows.rows()) * problem.padded];
        Self {
            rows,
            values,
            problem,
            penalty,
            scales,
            blocks,
            residuals,
        }
    }
}

impl<T: Real> Pass<T> for SparsePass<'_, T> {
    fn problem(&self) -> &Problem<T> {
        &self.problem
    }

    fn scales(&self) -> &Scales<T> {
        &self.scales
    }
}

impl<T: Real> Objective<T> for SparsePass<'_, T> {
    fn evaluate(&mut self, point: &[T], gradient: &mut [T]) -> f64 {
        let Self {
            rows,
            values,
            problem,
            penalty,
            scales,
            blocks,
            residuals,
        } = self;
        let padded = problem.padded;
        let (weights, bias) = point.split_at(rows.columns() * padded);
        let bias = bias
            .iter()
            .map(|&bias| bias * scales.bias)
            .collect::<Vec<_>>();
        let (slopes, bias_slopes) = gradient.split_at_mut(rows.columns() * padded);
        slopes
            .par_chunks_mut(1 << 16)
            .for_each(|slopes| slopes.fill(T::ZERO));
        let mut loss = 0.0;
        let mut bias_sums = vec![0.0; padded];
        for block in blocks {
            let residuals = &mut residuals[..block.row_count * padded];
            let entries = (&**rows, &**values);
            loss += block.residuals(
                entries,
                problem,
                (weights, &bias),
                residuals,
                &mut bias_sums,
            );
            block.add_slopes(residuals, padded, slopes);
        }
        for (slope, sum) in bias_slopes.iter_mut().zip(bias_sums) {
            *slope = T::of(sum) * scales.bias;
        }
        loss + add_penalty(weights, slopes, *penalty, &scales.features, padded)
    }

    fn largest_slope(&self, gradient: &[T]) -> f64 {
        self.scales.largest_slope(self.problem.padded, gradient)
    }
}

impl<T: Real> Block<T> {
    fn new(rows: &Csr<T>, all_values: &[T], first_row: usize, row_count: usize) -> Self {
        let range = first_row..first_row + row_count;
        let mut starts = vec![0; rows.columns() + 1];
        for row in range.clone() {
            rows.row(row)
                .0
                .iter()
                .for_each(|&feature| starts[feature as usize + 1] += 1);
        }
        for feature in 0..rows.columns() {
            starts[feature + 1] += starts[feature];
        }
        let count = starts[rows.columns()];
        let mut block_rows = vec![0; count];
        let mut values = vec![T::ZERO; count];
        let mut next = starts.clone();
        for row in range {
            let row_values = &all_values[rows.range(row)];
            for (&feature, &value) in rows.row(row).0.iter().zip(row_values) {
                let at = next[feature as usize];
                (block_rows[at], values[at]) = ((row - first_row) as u32, value);
                next[feature as usize] += 1;
            }
        }
        Self {
            first_row,
            row_count,
            starts,
            rows: block_rows,
            values,
        }
    }

    /// The rows' part of the loss; writes what each row says against each output's margin.
    fn residuals(
        &self,
        (rows, values): (&Csr<T>, &[T]),
        problem: &Problem<T>,
        (weights, bias): (&[T], &[T]),
        residuals: &mut [T],
        bias_sums: &mut [f64],
    ) -> f64 {
        let padded = problem.padded;
        let chunks = residuals
            .par_chunks_mut(ROWS_PER_CHUNK * padded)
            .enumerate();
        let parts = chunks.map(|(chunk, residuals)| {
            let mut buffers = RowBuffers::new(padded);
            let (mut loss, mut sums) = (0.0, vec![0.0; padded]);
            for (at, residuals) in residuals.chunks_mut(padded).enumerate() {
                let row = self.first_row + chunk * ROWS_PER_CHUNK + at;
                let (indices, values) = (rows.row(row).0, &values[rows.range(row)]);
                buffers.margins.copy_from_slice(bias);
                add_weighed(indices, values, weights, &mut buffers.margins);
                loss += problem.loss(row, &mut buffers, residuals);
                add_to_sums(residuals, &mut sums);
            }
            (loss, sums)
        });
        add_parts(parts.collect(), bias_sums)
    }

    /// Each feature's slopes: the sum of its values times their rows' residuals.
    fn add_slopes(&self, residuals: &[T], padded: usize, slopes: &mut [T]) {
        let chunks = slopes
            .par_chunks_mut(FEATURES_PER_CHUNK * padded)
            .enumerate();
        chunks.for_each(|(chunk, slopes)| {
            for (at, slopes) in slopes.chunks_mut(padded).enumerate() {
                let feature = chunk * FEATURES_PER_CHUNK + at;
                let range = self.starts[feature]..self.starts[feature + 1];
                let (rows, values) = (&self.rows[range.clone()], &self.values[range]);
                add_weighed(rows, values, residuals, slopes);
            }
        });
    }
}

pub(super) struct DensePass<'a> {
    rows: Dense<'a>,
    problem: Problem<f64>,
    penalty: f64,
    scales: Scales<f64>,
}

impl<'a> DensePass<'a> {
    pub fn new(rows: Dense<'a>, problem: Problem<f64>, penalty: f64) -> Self {
        let mut squares = vec![0.0; rows.columns()];
        let mut total = 0.0;
        for row in 0..rows.rows() {
            let curvature = problem.curvature(row);
            let values = rows.row(row).iter();
            squares
                .iter_mut()
                .zip(values)
                .for_each(|(sum, value)| *sum += curvature * value * value);
            total += curvature;
        }
        let scales = Scales::new(&squares, total, penalty);
        Self {
            rows,
            problem,
            penalty,
            scales,
        }
    }

    /// Loss of a run of rows, and its gradient by weights and bias.
    fn run(&self, first: usize, count: usize, point: &[f64]) -> (f64, Vec<f64>) {
        let padded = self.problem.padded;
        let columns = self.rows.columns();
        let (weights, bias) = point.split_at(columns * padded);
        let all = (0..columns as u32).collect::<Vec<_>>();
        let mut buffers = RowBuffers::new(padded);
        let mut residuals = vec![0.0; padded];
        let (mut loss, mut gradient) = (0.0, vec![0.0; point.len()]);
        for row in first..first + count {
            let values = self.rows.row(row);
            buffers.margins.copy_from_slice(bias);
            add_weighed(&all, values, weights, &mut buffers.margins);
            loss += self.problem.loss(row, &mut buffers, &mut residuals);
            for (slopes, &value) in gradient.chunks_mut(padded).zip(values.iter().chain([&1.0])) {
                add_scaled(&residuals, value, slopes);
            }
        }
        (loss, gradient)
    }
}

impl Pass<f64> for DensePass<'_> {
    fn problem(&self) -> &Problem<f64> {
        &self.problem
    }

    fn scales(&self) -> &Scales<f64> {
        &self.scales
    }
}

impl Objective<f64> for DensePass<'_> {
    fn evaluate(&mut self, point: &[f64], gradient: &mut [f64]) -> f64 {
        let padded = self.problem.padded;
        let rows = self.rows.rows();
        let run = rows.div_ceil(RUNS_MAX).max(ROWS_PER_RUN_MIN);
        let firsts = (0..rows).step_by(run).collect::<Vec<_>>();
        let mut weights = point.to_vec();
        self.scales.apply(padded, &mut weights);
        let runs = firsts
            .par_iter()
            .map(|&first| self.run(first, run.min(rows - first), &weights));
        let runs = runs.collect::<Vec<_>>();
        gradient.fill(0.0);
        for (_, part) in &runs {
            gradient
                .iter_mut()
                .zip(part)
                .for_each(|(sum, part)| *sum += part);
        }
        // Slopes by weights become slopes by the numbers searched: the same factors again.
        self.scales.apply(padded, gradient);
        let bias_at = self.rows.columns() * padded;
        let penalty = add_penalty(
            &point[..bias_at],
            &mut gradient[..bias_at],
            self.penalty,
            &self.scales.features,
            padded,
        );
        penalty + runs.iter().map(|run| run.0).sum::<f64>()
    }

    fn largest_slope(&self, gradient: &[f64]) -> f64 {
        self.scales.largest_slope(self.problem.padded, gradient)
    }
}

/// ½ penalty ‖W‖² of the weights behind the numbers, its slopes added.
fn add_penalty<T: Real>(
    numbers: &[T],
    slopes: &mut [T],
    penalty: f64,
    factors: &[T],
    padded: usize,
) -> f64 {
    let size = FEATURES_PER_CHUNK * padded;
    let chunks = numbers.par_chunks(size).zip(slopes.par_chunks_mut(size));
    let parts =
        chunks
            .zip(factors.par_chunks(FEATURES_PER_CHUNK))
            .map(|((numbers, slopes), factors)| {
                let mut part = 0.0;
                let features = numbers.chunks(padded).zip(slopes.chunks_mut(padded));
                for ((numbers, slopes), factor) in features.zip(factors) {
                    let curvature = penalty * factor.to_f64() * factor.to_f64();
                    add_scaled(numbers, T::of(curvature), slopes);
                    part += curvature * dot(numbers, numbers);
                }
                part
            });
    0.5 * parts.collect::<Vec<_>>().iter().sum::<f64>()
}

fn largest_size<T: Real>(values: &[T]) -> T {
    values
        .iter()
        .fold(T::ZERO, |most, value| most.larger(value.abs()))
}

fn add_parts(parts: Vec<(f64, Vec<f64>)>, sums: &mut [f64]) -> f64 {
    let mut loss = 0.0;
    for (part, part_sums) in parts {
        loss += part;
        sums.iter_mut()
            .zip(part_sums)
            .for_each(|(sum, part)| *sum += part);
    }
    loss
}

fn add_to_sums<T: Real>(values: &[T], sums: &mut [f64]) {
    sums.iter_mut()
        .zip(values)
        .for_each(|(sum, value)| *sum += value.to_f64());
}

fn add_scaled<T: Real>(values: &[T], factor: T, sums: &mut [T]) {
    sums.iter_mut()
        .zip(values)
        .for_each(|(sum, &value)| *sum += factor * value);
}

/// Adds value × row of `matrix` to `sums` for each (row, value): margins from weights by feature, and
/// slopes from residuals by row. Outputs go by blocks whose sums stay in registers.
#[inline]
fn add_weighed<T: Real>(indices: &[u32], values: &[T], matrix: &[T], sums: &mut [T]) {
    let padded = sums.len();
    if padded == 1 {
        let pairs = indices.iter().zip(values);
        return pairs.for_each(|(&at, &value)| sums[0] += value * matrix[at as usize]);
    }
    let entries = (indices, values);
    if padded < PADDING {
        return add_block::<T, { PADDING / 2 }>(entries, matrix, padded, 0, sums);
    }
    let (blocks, rest) = sums.as_chunks_mut::<LANES>();
    let rest_at = blocks.len() * LANES;
    for (block, sums) in blocks.iter_mut().enumerate() {
        add_block::<T, LANES>(entries, matrix, padded, block * LANES, sums);
    }
    for (block, sums) in rest.chunks_mut(PADDING).enumerate() {
        add_block::<T, PADDING>(entries, matrix, padded, rest_at + block * PADDING, sums);
    }
}

#[inline(always)]
fn add_block<T: Real, const N: usize>(
    (indices, values): (&[u32], &[T]),
    matrix: &[T],
    padded: usize,
    offset: usize,
    sums: &mut [T],
) {
    let Some(sums) = sums.first_chunk_mut::<N>() else {
        return;
    };
    let mut lanes = *sums;
    for (&at, &value) in indices.iter().zip(values) {
        let start = at as usize * padded + offset;
        let Some(row) = matrix[start..].first_chunk::<N>() else {
            return;
        };
        for (lane, &number) in lanes.iter_mut().zip(row) {
            *lane += value * number;
        }
    }
    *sums = lanes;
}
