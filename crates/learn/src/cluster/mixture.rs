//! Gaussian mixtures by expectation and maximisation, in `f64` throughout.
//!
//! One pass over the rows does both steps: eight rows at a time get their posteriors, and their
//! offsets from the old means are summed into new weights, means and covariances. Covariances taken
//! about the old mean are moved to the new one afterwards, which loses nothing because the two are
//! near. Starts are the segments of k-means, the best of a few. A regulariser on the diagonal keeps covariances
//! invertible; where it does not, that segment's is raised tenfold, a few times, before the fit
//! gives up.

use ombud_engine::clusters::tiles::{self, LANES, Lanes};
use ombud_engine::clusters::{Clusters, Covariance, Mixture, PARAMETERS_MAX, log_sum_exp};
use rayon::prelude::*;

use super::kmeans::{self, ITERATIONS_MAX, KMeansOptions, RESTARTS_MAX};
use super::{ClusterError, Rows, check_parameter, check_segments};

/// Runs of k-means that a start is chosen from: one alone often puts two centers into one segment, and
/// expectation and maximisation do not get out of that.
const START_RUNS: usize = 4;
/// How often the regulariser is raised tenfold for a covariance that cannot be decomposed.
const RAISES_MAX: usize = 6;
/// Keeps the weight of a segment that lost all its rows above zero, as scikit-learn does.
const MASS_FLOOR: f64 = 10.0 * f64::EPSILON;
/// Lanes kept apart while summing products: half a tile.
const SUM_LANES: usize = LANES / 2;

/// How a mixture is fitted.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct MixtureOptions {
    pub segments: usize,
    pub covariance: Covariance,
    /// Independent starts; the one of highest likelihood wins.
    pub restarts: usize,
    pub iterations_max: usize,
    /// Stop when the mean log likelihood of a row gains less.
    pub tolerance: f64,
    /// Added to every variance.
    pub regulariser: f64,
    pub seed: u64,
}

/// A fitted mixture.
#[derive(Debug, Clone)]
pub struct MixtureFit {
    pub clusters: Clusters,
    /// The most probable segment of each row.
    pub labels: Vec<usize>,
    /// Weighted mean log density of a row.
    pub log_likelihood: f64,
    /// Bayesian information criterion, lower is better.
    pub bic: f64,
    /// Akaike information criterion, lower is better.
    pub aic: f64,
    /// Iterations of the winning restart.
    pub iterations: usize,
    pub is_converged: bool,
}

impl MixtureOptions {
    /// Full covariances, three restarts, and scikit-learn's tolerance, regulariser and number of
    /// iterations.
    pub fn new(segments: usize, seed: u64) -> Self {
        Self {
            segments,
            covariance: Covariance::Full,
            restarts: 3,
            iterations_max: 100,
            tolerance: 1e-3,
            regulariser: 1e-6,
            seed,
        }
    }

    fn check(&self, rows: &Rows<'_>) -> Result<(), ClusterError> {
        check_segments(rows, self.segments)?;
        let is_restarts = (1..=RESTARTS_MAX).contains(&self.restarts);
        check_parameter("restarts", self.restarts as f64, "1 to 1000", is_restarts)?;
        let (iterations, allowed) = (self.iterations_max as f64, "1 to 100000");
        let is_iterations = (1..=ITERATIONS_MAX).contains(&self.iterations_max);
        check_parameter("iterations_max", iterations, allowed, is_iterations)?;
        let is_tolerance = (0.0..=1.0).contains(&self.tolerance);
        check_parameter("tolerance", self.tolerance, "0 to 1", is_tolerance)?;
        let is_regulariser = (1e-12..=1e3).contains(&self.regulariser);
        check_parameter(
            "regulariser",
            self.regulariser,
            "1e-12 to 1000",
            is_regulariser,
        )?;
        let numbers = self.segments * self.covariance.width(rows.features());
        let allowed = "at most 8388608; take fewer segments or features, or a diagonal covariance";
        let is_bounded = numbers <= PARAMETERS_MAX;
        check_parameter(
            "the size of the covariances",
            numbers as f64,
            allowed,
            is_bounded,
        )
    }
}

/// Fits the mixture.
pub fn fit(rows: &Rows<'_>, options: &MixtureOptions) -> Result<MixtureFit, ClusterError> {
    options.check(rows)?;
    let runs: Vec<Result<Run, ClusterError>> = (0..options.restarts)
        .into_par_iter()
        .map(|restart| run(rows, options, restart))
        .collect();
    let mut best: Option<Run> = None;
    let mut failure = ClusterError::NoRows;
    for run in runs {
        match run {
            Ok(run) if best.as_ref().is_none_or(|best| run.bound > best.bound) => best = Some(run),
            Ok(_) => {}
            Err(error) => failure = error,
        }
    }
    best.map_or(Err(failure), |best| finish(rows, best))
}

/// What one restart came to.
struct Run {
    mixture: Mixture,
    /// Mean log density under the parameters before the last step, the rule for stopping.
    bound: f64,
    iterations: usize,
    is_converged: bool,
}

fn run(rows: &Rows<'_>, options: &MixtureOptions, restart: usize) -> Result<Run, ClusterError> {
    let mut mixture = start(rows, options, restart)?;
    let mut bound = f64::NEG_INFINITY;
    for iteration in 1..=options.iterations_max {
        let moments = expect(rows, &mixture);
        let before = bound;
        bound = moments.log_likelihood / rows.weight_total();
        mixture = maximise(&moments, mixture.means(), options, rows.features())?;
        if (bound - before).abs() < options.tolerance {
            return Ok(Run {
                mixture,
                bound,
                iterations: iteration,
                is_converged: true,
            });
        }
    }
    let iterations = options.iterations_max;
    Ok(Run {
        mixture,
        bound,
        iterations,
        is_converged: false,
    })
}

/// The mixture of the segments of the best of a few runs of k-means.
fn start(
    rows: &Rows<'_>,
    options: &MixtureOptions,
    restart: usize,
) -> Result<Mixture, ClusterError> {
    let seed = options.seed.wrapping_add((restart as u64) << 32);
    let kmeans = KMeansOptions {
        restarts: START_RUNS,
        ..KMeansOptions::new(options.segments, seed)
    };
    let fit = kmeans::fit(rows, &kmeans)?;
    let Clusters::Centers(centers) = &fit.clusters else {
        return Err(ClusterError::NoRows);
    };
    let means = centers.centers();
    let parts: Vec<Moments> = rows
        .chunks()
        .into_par_iter()
        .map(|chunk| {
            let mut moments = Moments::new(options.segments, rows.features(), options.covariance);
            let mut posteriors = vec![[0.0; LANES]; options.segments];
            for_each_tile(rows, chunk, |tile, first, filled| {
                posteriors.fill([0.0; LANES]);
                for lane in 0..filled {
                    posteriors[fit.labels[first + lane]][lane] = rows.weight(first + lane);
                }
                moments.add(tile, means, &posteriors);
            });
            moments.folded()
        })
        .collect();
    maximise(&merged(parts), means, options, rows.features())
}

/// Weighted sums over the rows, by segment, of offsets from a reference mean.
struct Moments {
    covariance: Covariance,
    log_likelihood: f64,
    masses: Vec<f64>,
    firsts: Vec<f64>,
    /// Sums of products, of the lower triangle row by row or of the diagonal, in lanes while they
    /// grow.
    seconds: Vec<[f64; SUM_LANES]>,
    folded: Vec<f64>,
    offsets: Vec<Lanes>,
}

impl Moments {
    fn new(segments: usize, features: usize, covariance: Covariance) -> Self {
        Self {
            covariance,
            log_likelihood: 0.0,
            masses: vec![0.0; segments],
            firsts: vec![0.0; segments * features],
            seconds: vec![[0.0; SUM_LANES]; segments * covariance.parameters(features)],
            folded: Vec::new(),
            offsets: vec![[0.0; LANES]; features],
        }
    }

    /// Adds eight rows, each to every segment as its posterior says.
    fn add(&mut self, tile: &[Lanes], means: &[f64], posteriors: &[Lanes]) {
        let features = tile.len();
        let width = self.covariance.parameters(features);
        for (segment, posterior) in posteriors.iter().enumerate() {
            if posterior.iter().all(|share| *share == 0.0) {
                continue;
            }
            let mean = &means[segment * features..(segment + 1) * features];
            for ((slot, values), middle) in self.offsets.iter_mut().zip(tile).zip(mean) {
                *slot = values.map(|value| value - middle);
            }
            self.masses[segment] += posterior.iter().sum::<f64>();
            let firsts = &mut self.firsts[segment * features..(segment + 1) * features];
            let seconds = &mut self.seconds[segment * width..(segment + 1) * width];
            match self.covariance {
                Covariance::Full => add_full(&self.offsets, posterior, firsts, seconds),
                Covariance::Diagonal => add_diagonal(&self.offsets, posterior, firsts, seconds),
            }
        }
    }

    /// Adds the lanes of each sum.
    fn folded(mut self) -> Self {
        self.folded = self
            .seconds
            .iter()
            .map(|lanes| lanes.iter().sum())
            .collect();
        self.seconds = Vec::new();
        self
    }
}

fn add_full(
    offsets: &[Lanes],
    posterior: &Lanes,
    firsts: &mut [f64],
    mut seconds: &mut [[f64; SUM_LANES]],
) {
    for (feature, offset) in offsets.iter().enumerate() {
        let weighted = product(offset, posterior);
        firsts[feature] += weighted.iter().sum::<f64>();
        let (row, rest) = seconds.split_at_mut(feature + 1);
        for (sum, other) in row.iter_mut().zip(offsets) {
            add_product(sum, &weighted, other);
        }
        seconds = rest;
    }
}

fn add_diagonal(
    offsets: &[Lanes],
    posterior: &Lanes,
    firsts: &mut [f64],
    seconds: &mut [[f64; SUM_LANES]],
) {
    for ((offset, first), second) in offsets.iter().zip(firsts).zip(seconds) {
        let weighted = product(offset, posterior);
        *first += weighted.iter().sum::<f64>();
        add_product(second, &weighted, offset);
    }
}

#[inline]
fn product(one: &Lanes, other: &Lanes) -> Lanes {
    std::array::from_fn(|lane| one[lane] * other[lane])
}

#[inline]
fn add_product(sum: &mut [f64; SUM_LANES], one: &Lanes, other: &Lanes) {
    for lane in 0..SUM_LANES {
        let far = lane + SUM_LANES;
        sum[lane] += one[lane] * other[lane] + one[far] * other[far];
    }
}

/// Expectation, and the sums that maximisation needs.
fn expect(rows: &Rows<'_>, mixture: &Mixture) -> Moments {
    let (segments, features) = (mixture.segments(), mixture.features());
    let parts: Vec<Moments> = rows
        .chunks()
        .into_par_iter()
        .map(|chunk| {
            let mut moments = Moments::new(segments, features, mixture.covariance());
            let mut offsets = vec![[0.0; LANES]; features];
            let mut scores = vec![[0.0; LANES]; segments];
            for_each_tile(rows, chunk, |tile, first, filled| {
                score_tile(mixture, tile, &mut offsets, &mut scores);
                let weights = std::array::from_fn(|l| {
                    if l < filled {
                        rows.weight(first + l)
                    } else {
                        0.0
                    }
                });
                moments.log_likelihood += posteriors(&mut scores, &weights);
                moments.add(tile, mixture.means(), &scores);
            });
            moments.folded()
        })
        .collect();
    merged(parts)
}

fn score_tile(mixture: &Mixture, tile: &[Lanes], offsets: &mut [Lanes], scores: &mut [Lanes]) {
    for (segment, slot) in scores.iter_mut().enumerate() {
        *slot = mixture.score_tile(segment, tile, offsets);
    }
}

/// Turns the scores of eight rows into posteriors times weight; returns their weighted log density.
fn posteriors(scores: &mut [Lanes], weights: &Lanes) -> f64 {
    let mut tops = [f64::NEG_INFINITY; LANES];
    for score in scores.iter() {
        for lane in 0..LANES {
            tops[lane] = if score[lane] > tops[lane] {
                score[lane]
            } else {
                tops[lane]
            };
        }
    }
    let mut totals = [0.0; LANES];
    for score in scores.iter_mut() {
        for lane in 0..LANES {
            score[lane] = (score[lane] - tops[lane]).exp();
            totals[lane] += score[lane];
        }
    }
    let factors: Lanes = std::array::from_fn(|lane| weights[lane] / totals[lane]);
    for score in scores.iter_mut() {
        *score = product(score, &factors);
    }
    (0..LANES)
        .map(|lane| weights[lane] * (tops[lane] + totals[lane].ln()))
        .sum()
}

fn for_each_tile(
    rows: &Rows<'_>,
    chunk: std::ops::Range<usize>,
    mut with: impl FnMut(&[Lanes], usize, usize),
) {
    let mut tile = vec![[0.0; LANES]; rows.features()];
    for first in chunk.clone().step_by(LANES) {
        let filled = LANES.min(chunk.end - first);
        tiles::fill(&mut tile, filled, |lane| rows.row(first + lane));
        with(&tile, first, filled);
    }
}

/// The sums of all chunks, in order.
fn merged(parts: Vec<Moments>) -> Moments {
    let mut parts = parts.into_iter();
    let Some(mut all) = parts.next() else {
        return Moments::new(0, 0, Covariance::Diagonal);
    };
    let add = |all: &mut [f64], part: &[f64]| {
        all.iter_mut()
            .zip(part)
            .for_each(|(slot, value)| *slot += value);
    };
    for part in parts {
        all.log_likelihood += part.log_likelihood;
        add(&mut all.masses, &part.masses);
        add(&mut all.firsts, &part.firsts);
        add(&mut all.folded, &part.folded);
    }
    all
}

/// New parameters from the sums about the old means.
fn maximise(
    moments: &Moments,
    old_means: &[f64],
    options: &MixtureOptions,
    features: usize,
) -> Result<Mixture, ClusterError> {
    let masses: Vec<f64> = moments
        .masses
        .iter()
        .map(|mass| mass + MASS_FLOOR)
        .collect();
    let total: f64 = masses.iter().sum();
    let covariance = options.covariance;
    let width = covariance.parameters(features);
    let mut means = old_means.to_vec();
    let mut whitening = Vec::with_capacity(masses.len() * covariance.width(features));
    for (segment, mass) in masses.iter().enumerate() {
        let firsts = &moments.firsts[segment * features..(segment + 1) * features];
        let seconds = &moments.folded[segment * width..(segment + 1) * width];
        let shift: Vec<f64> = firsts.iter().map(|sum| sum / mass).collect();
        let mean = &mut means[segment * features..(segment + 1) * features];
        mean.iter_mut()
            .zip(&shift)
            .for_each(|(slot, shift)| *slot += shift);
        let singular = ClusterError::Singular {
            segment,
            regulariser: options.regulariser,
        };
        let white = match covariance {
            Covariance::Full => whiten_full(seconds, &shift, *mass, options.regulariser),
            Covariance::Diagonal => whiten_diagonal(seconds, &shift, *mass, options.regulariser),
        };
        whitening.extend(white.ok_or(singular)?);
    }
    let weights = masses.iter().map(|mass| mass / total).collect();
    Ok(Mixture::new(
        covariance, features, weights, means, whitening,
    )?)
}

fn whiten_diagonal(
    seconds: &[f64],
    shift: &[f64],
    mass: f64,
    regulariser: f64,
) -> Option<Vec<f64>> {
    let variances = seconds
        .iter()
        .zip(shift)
        .map(|(sum, shift)| sum / mass - shift * shift);
    let inverse = variances.map(|variance| 1.0 / (variance.max(0.0) + regulariser).sqrt());
    let inverse: Vec<f64> = inverse.collect();
    inverse
        .iter()
        .all(|factor| factor.is_finite() && *factor > 0.0)
        .then_some(inverse)
}

/// The inverse of the Cholesky factor of the covariance, as a square lower triangular matrix.
fn whiten_full(seconds: &[f64], shift: &[f64], mass: f64, regulariser: f64) -> Option<Vec<f64>> {
    let features = shift.len();
    let mut covariance = vec![0.0; features * features];
    let mut sums = seconds.iter();
    for row in 0..features {
        let lower = &mut covariance[row * features..][..=row];
        for (column, (slot, sum)) in lower.iter_mut().zip(&mut sums).enumerate() {
            *slot = sum / mass - shift[row] * shift[column];
        }
        lower[row] = lower[row].max(0.0);
    }
    (0..=RAISES_MAX).find_map(|raise| {
        let mut factor = covariance.clone();
        let added = regulariser * 10f64.powi(raise as i32);
        factor
            .iter_mut()
            .step_by(features + 1)
            .for_each(|variance| *variance += added);
        cholesky(&mut factor, features)?;
        Some(inverse_of_lower(&factor, features))
    })
}

/// Decomposes a symmetric matrix, given and returned as its lower triangle; nothing where it is not
/// positive definite.
fn cholesky(matrix: &mut [f64], size: usize) -> Option<()> {
    for row in 0..size {
        let (above, rest) = matrix.split_at_mut(row * size);
        let current = &mut rest[..size];
        for column in 0..row {
            let other = &above[column * size..column * size + size];
            let dot = dot(&current[..column], &other[..column]);
            current[column] = (current[column] - dot) / other[column];
        }
        let pivot = current[row] - dot(&current[..row], &current[..row]);
        if !(pivot > 0.0 && pivot.is_finite()) {
            return None;
        }
        current[row] = pivot.sqrt();
    }
    Some(())
}

fn inverse_of_lower(lower: &[f64], size: usize) -> Vec<f64> {
    let mut inverse = vec![0.0; size * size];
    for row in 0..size {
        let factors = &lower[row * size..][..=row];
        let pivot = factors[row];
        let (above, rest) = inverse.split_at_mut(row * size);
        let current = &mut rest[..=row];
        for (factor, known) in factors[..row].iter().zip(above.chunks_exact(size)) {
            for (slot, value) in current.iter_mut().zip(known) {
                *slot -= factor * value;
            }
        }
        current[..row].iter_mut().for_each(|slot| *slot /= pivot);
        current[row] = 1.0 / pivot;
    }
    inverse
}

fn dot(one: &[f64], other: &[f64]) -> f64 {
    one.iter().zip(other).map(|(a, b)| a * b).sum()
}

/// Labels the rows and measures the likelihood under the final parameters.
fn finish(rows: &Rows<'_>, run: Run) -> Result<MixtureFit, ClusterError> {
    let Run {
        mixture,
        iterations,
        is_converged,
        ..
    } = run;
    let log_likelihood = log_likelihood(rows, &mixture);
    let count = rows.count() as f64;
    let (segments, features) = (mixture.segments(), mixture.features());
    let parameters = segments * (features + mixture.covariance().parameters(features) + 1) - 1;
    let clusters = Clusters::Mixture(mixture);
    let labels = clusters.assign_batch(rows.values())?;
    Ok(MixtureFit {
        clusters,
        labels,
        log_likelihood,
        bic: parameters as f64 * count.ln() - 2.0 * count * log_likelihood,
        aic: 2.0 * parameters as f64 - 2.0 * count * log_likelihood,
        iterations,
        is_converged,
    })
}

/// Weighted mean log density of the rows under a mixture of as many features.
pub fn log_likelihood(rows: &Rows<'_>, mixture: &Mixture) -> f64 {
    let parts: Vec<f64> = rows
        .chunks()
        .into_par_iter()
        .map(|chunk| {
            let mut offsets = vec![[0.0; LANES]; mixture.features()];
            let mut scores = vec![[0.0; LANES]; mixture.segments()];
            let mut row_scores = vec![0.0; mixture.segments()];
            let mut sum = 0.0;
            for_each_tile(rows, chunk, |tile, first, filled| {
                score_tile(mixture, tile, &mut offsets, &mut scores);
                for lane in 0..filled {
                    for (slot, score) in row_scores.iter_mut().zip(&scores) {
                        *slot = score[lane];
                    }
                    sum += rows.weight(first + lane) * log_sum_exp(&row_scores);
                }
            });
            sum
        })
        .collect();
    parts.iter().sum::<f64>() / rows.weight_total()
}

#[cfg(test)]
mod tests {
    use super::super::samples::{blobs, blobs_weights, noise};
    use super::*;

    fn options(segments: usize, covariance: Covariance) -> MixtureOptions {
        let exact = MixtureOptions::new(segments, 1);
        MixtureOptions {
            covariance,
            tolerance: 1e-10,
            iterations_max: 1000,
            ..exact
        }
    }

    fn run(
        values: &[f64],
        features: usize,
        options: &MixtureOptions,
    ) -> Result<MixtureFit, ClusterError> {
        fit(&Rows::new(values, features)?, options)
    }

    #[test]
    fn likelihood_and_criteria_are_those_of_scikit_learn() {
        // scikit-learn 1.9.1: GaussianMixture(3, n_init=10, tol=1e-10, max_iter=1000,
        // random_state=0): score, bic, aic.
        let expected = [
            (
                Covariance::Full,
                -4.6876185857454535,
                2408.9954499347355,
                2308.0569211578177,
            ),
            (
                Covariance::Diagonal,
                -4.718252592024059,
                2374.374022638388,
                2304.7612441715482,
            ),
        ];
        for (covariance, log_likelihood, bic, aic) in expected {
            let fit = run(&blobs(), 3, &options(3, covariance)).unwrap();
            assert!(
                (fit.log_likelihood - log_likelihood).abs() < 1e-7,
                "{}",
                fit.log_likelihood
            );
            assert!((fit.bic - bic).abs() < 1e-4 && (fit.aic - aic).abs() < 1e-4);
            assert!(fit.is_converged);
        }
    }

    #[test]
    fn weights_and_means_are_those_of_scikit_learn() {
        let fit = run(&blobs(), 3, &options(3, Covariance::Full)).unwrap();
        let Clusters::Mixture(mixture) = &fit.clusters else {
            panic!("it is a mixture")
        };
        let mut order: Vec<usize> = (0..3).collect();
        order.sort_by(|a, b| mixture.weights()[*a].total_cmp(&mixture.weights()[*b]));
        let expected = [
            (0.32265430392329775, 3.0638095411709467),
            (0.33086848247111605, -1.172462071842315),
            (0.34647721360558614, 0.01840955606818831),
        ];
        for (segment, (weight, mean)) in order.into_iter().zip(expected) {
            assert!((mixture.weights()[segment] - weight).abs() < 1e-4);
            assert!((mixture.means()[segment * 3] - mean).abs() < 1e-3);
        }
    }

    #[test]
    fn one_segment_is_the_plain_gaussian() {
        // scikit-learn 1.9.1: GaussianMixture(1).fit(blobs).score(blobs)
        let fit = run(&blobs(), 3, &options(1, Covariance::Full)).unwrap();
        assert!(
            (fit.log_likelihood + 5.447563742741661).abs() < 1e-9,
            "{}",
            fit.log_likelihood
        );
    }

    #[test]
    fn whole_weights_equal_repeated_rows() {
        let (values, weights) = (blobs(), blobs_weights());
        let repeated: Vec<f64> = values
            .chunks(3)
            .zip(&weights)
            .flat_map(|(row, weight)| row.repeat(*weight as usize))
            .collect();
        let rows = Rows::new(&values, 3)
            .unwrap()
            .with_weights(&weights)
            .unwrap();
        let weighted = fit(&rows, &options(3, Covariance::Full)).unwrap();
        let plain = run(&repeated, 3, &options(3, Covariance::Full)).unwrap();
        assert!((weighted.log_likelihood - plain.log_likelihood).abs() < 1e-6);
    }

    #[test]
    fn the_same_seed_gives_the_same_bits_for_any_number_of_threads() {
        let values = noise(5_000, 3);
        let run = |threads| {
            let pool = rayon::ThreadPoolBuilder::new()
                .num_threads(threads)
                .build()
                .unwrap();
            pool.install(|| run(&values, 3, &MixtureOptions::new(3, 5)).unwrap())
        };
        let (one, three) = (run(1), run(3));
        assert_eq!(one.clusters, three.clusters);
        assert_eq!(
            (one.labels, one.log_likelihood),
            (three.labels, three.log_likelihood)
        );
    }

    #[test]
    fn constant_and_repeated_columns_are_held_by_the_regulariser() {
        let values: Vec<f64> = blobs()
            .chunks(3)
            .flat_map(|row| [row[0], row[0], 7.0])
            .collect();
        for covariance in [Covariance::Full, Covariance::Diagonal] {
            let options = MixtureOptions {
                covariance,
                ..MixtureOptions::new(3, 1)
            };
            let fit = run(&values, 3, &options).unwrap();
            assert!(fit.log_likelihood.is_finite());
        }
    }

    #[test]
    fn duplicates_and_tiny_inputs_fit_or_say_why() {
        let two = MixtureOptions::new(2, 1);
        assert!(
            run(&[1.0, 1.0, 5.0, 5.0], 1, &two)
                .unwrap()
                .log_likelihood
                .is_finite()
        );
        let too_few = run(&[1.0, 1.0], 1, &two).unwrap_err();
        assert_eq!(
            too_few,
            ClusterError::TooFewRows {
                distinct: 1,
                wanted: 2
            }
        );
        assert!(run(&[4.0], 1, &MixtureOptions::new(1, 1)).is_ok());
    }

    #[test]
    fn absurd_parameters_are_refused() {
        let rows = Rows::new(&[1.0, 2.0, 3.0, 4.0], 2).unwrap();
        for options in [
            MixtureOptions {
                regulariser: 0.0,
                ..MixtureOptions::new(1, 0)
            },
            MixtureOptions {
                regulariser: f64::NAN,
                ..MixtureOptions::new(1, 0)
            },
            MixtureOptions {
                restarts: 1001,
                ..MixtureOptions::new(1, 0)
            },
            MixtureOptions {
                iterations_max: 0,
                ..MixtureOptions::new(1, 0)
            },
            MixtureOptions {
                tolerance: -1.0,
                ..MixtureOptions::new(1, 0)
            },
        ] {
            assert!(matches!(
                fit(&rows, &options),
                Err(ClusterError::Parameter { .. })
            ));
        }
        let wide = vec![0.5; 4000];
        let rows = Rows::new(&wide, 4000).unwrap();
        let error = fit(&rows, &MixtureOptions::new(1, 0)).unwrap_err();
        assert!(matches!(error, ClusterError::Parameter { .. }), "{error}");
    }

    #[test]
    fn a_matrix_times_its_whitening_is_the_identity() {
        let mut matrix = vec![4.0, 0.0, 0.0, 2.0, 5.0, 0.0, 0.4, 1.0, 3.0];
        cholesky(&mut matrix, 3).unwrap();
        let inverse = inverse_of_lower(&matrix, 3);
        for row in 0..3 {
            for column in 0..3 {
                let cell: f64 = (0..3)
                    .map(|k| matrix[row * 3 + k] * inverse[k * 3 + column])
                    .sum();
                let expected = if row == column { 1.0 } else { 0.0 };
                assert!(
                    (cell - expected).abs() < 1e-12 || column > row,
                    "{row} {column} {cell}"
                );
            }
        }
        assert_eq!(cholesky(&mut [1.0, 0.0, 2.0, 1.0], 2), None);
    }
}
