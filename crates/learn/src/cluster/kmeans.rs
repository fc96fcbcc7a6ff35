//! k-means: greedy k-means++ starts (from a sample of many rows), Lloyd's iterations with Hamerly's bounds, the best of several
//! restarts.
//!
//! A row is measured against all centers only when its bounds allow that another center is nearer;
//! such rows are gathered eight at a time into the engine's tiles. Sums move with the rows that
//! change segment and are taken anew at the end. A segment that loses all rows gets the row
//! farthest from its own center, as in scikit-learn. Bounds change the work, not the result.

use std::ops::Range;

use ombud_engine::clusters::tiles::{self, LANES, Lanes};
use ombud_engine::clusters::{Centers, Clusters};
use rayon::prelude::*;

use super::random::Random;
use super::{ClusterError, Rows, check_parameter, check_segments};

/// More restarts than this only burn time.
pub const RESTARTS_MAX: usize = 1000;
/// Iterations beyond any that converge.
pub const ITERATIONS_MAX: usize = 100_000;
/// Rows that a start is drawn from, and more with many segments: where segments lie shows in a share of the
/// rows as well as in all, and trying candidates on all took two thirds of the time.
const START_ROWS: usize = 1 << 13;
const START_ROWS_PER_SEGMENT: usize = 256;
/// The label of a row that has none yet.
const UNLABELLED: usize = usize::MAX;
/// What rounding may have added to a bound; a row this near to the edge is measured.
const BOUND_SLACK: f64 = 1e-9;

/// How k-means is run.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct KMeansOptions {
    pub segments: usize,
    /// Independent starts; the one of least inertia wins.
    pub restarts: usize,
    pub iterations_max: usize,
    /// Stop when the squared movement of all centers is below this share of the mean variance of a
    /// feature.
    pub tolerance: f64,
    pub seed: u64,
}

/// Fitted centers.
#[derive(Debug, Clone)]
pub struct KMeansFit {
    pub clusters: Clusters,
    /// The nearest center of each row.
    pub labels: Vec<usize>,
    /// Weighted sum of squared distances to the nearest center.
    pub inertia: f64,
    /// Iterations of the winning restart.
    pub iterations: usize,
    pub is_converged: bool,
}

impl KMeansOptions {
    /// Ten restarts, at most 300 iterations, scikit-learn's tolerance.
    pub fn new(segments: usize, seed: u64) -> Self {
        Self {
            segments,
            restarts: 10,
            iterations_max: 300,
            tolerance: 1e-4,
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
        check_parameter("tolerance", self.tolerance, "0 to 1", is_tolerance)
    }
}

impl KMeansFit {
    /// The Bayesian information criterion, lower is better, of k-means seen as equally round
    /// Gaussians with hard assignment: each row has the log density `ln share + ln N(x; center,
    /// s²)`, with `s²` the pooled variance per feature, and there are `k·d` centers, `k − 1` shares
    /// and one variance.
    pub fn bic(&self, rows: &Rows<'_>) -> f64 {
        let (count, features) = (rows.count() as f64, rows.features() as f64);
        let segments = self.clusters.segments();
        let spread = (self.inertia / rows.weight_total() / features).max(f64::MIN_POSITIVE);
        let mut masses = vec![0.0; segments];
        for (index, &label) in self.labels.iter().enumerate() {
            masses[label] += rows.weight(index);
        }
        let shares = masses.iter().map(|mass| mass / rows.weight_total());
        let mixing: f64 = shares
            .filter(|share| *share > 0.0)
            .map(|share| share * share.ln())
            .sum();
        let log_likelihood =
            mixing - 0.5 * features * (1.0 + (std::f64::consts::TAU * spread).ln());
        let parameters = segments as f64 * (features + 1.0);
        parameters * count.ln() - 2.0 * count * log_likelihood
    }
}

/// Finds the centers.
pub fn fit(rows: &Rows<'_>, options: &KMeansOptions) -> Result<KMeansFit, ClusterError> {
    options.check(rows)?;
    let population = rows.mean();
    let variances = rows.variance(&population);
    let variance = variances.iter().sum::<f64>() / rows.features() as f64;
    let stop = options.tolerance * variance;
    let runs: Vec<Run> = (0..options.restarts)
        .into_par_iter()
        .map(|restart| Lloyd::start(rows, options, restart).run(options.iterations_max, stop))
        .collect();
    let best = runs.into_iter().reduce(|best, run| {
        if run.inertia < best.inertia {
            run
        } else {
            best
        }
    });
    let Some(best) = best else {
        return Err(ClusterError::NoRows);
    };
    let Run {
        centers,
        labels,
        inertia,
        iterations,
        is_converged,
    } = settle(rows, options, best);
    let spread = inertia / (rows.weight_total() * rows.features() as f64);
    let centers = Centers::new(rows.features(), centers, spread, population)?;
    let clusters = Clusters::Centers(centers);
    Ok(KMeansFit {
        clusters,
        labels,
        inertia,
        iterations,
        is_converged,
    })
}

/// Goes on from the best restart until nothing moves any more: the tolerance only serves to compare
/// restarts early.
fn settle(rows: &Rows<'_>, options: &KMeansOptions, best: Run) -> Run {
    let left = options.iterations_max - best.iterations;
    if left == 0 {
        return best;
    }
    let run = Lloyd::from_centers(rows, best.centers.clone()).run(left, 0.0);
    if run.inertia > best.inertia {
        return best;
    }
    let is_converged = run.is_converged || best.is_converged;
    Run {
        iterations: best.iterations + run.iterations,
        is_converged,
        ..run
    }
}

/// What one restart came to.
struct Run {
    centers: Vec<f64>,
    labels: Vec<usize>,
    inertia: f64,
    iterations: usize,
    is_converged: bool,
}

/// One restart under way.
struct Lloyd<'data> {
    rows: Rows<'data>,
    segments: usize,
    centers: Vec<f64>,
    places: Vec<Place>,
    totals: Totals,
    /// How far each center moved last.
    moves: Vec<f64>,
}

/// Where a row is, and what is known about its distances without measuring.
#[derive(Clone, Copy)]
struct Place {
    label: usize,
    /// At least the distance to its own center.
    upper: f64,
    /// At most the distance to any other center.
    lower: f64,
}

/// Sums over rows by segment.
#[derive(Clone)]
struct Totals {
    sums: Vec<f64>,
    masses: Vec<f64>,
    counts: Vec<i64>,
    changed: usize,
}

impl<'data> Lloyd<'data> {
    fn start(rows: &Rows<'data>, options: &KMeansOptions, restart: usize) -> Self {
        let mut random = Random::new(options.seed, restart as u64);
        Self::from_centers(rows, sampled_start(rows, options.segments, &mut random))
    }

    fn from_centers(rows: &Rows<'data>, centers: Vec<f64>) -> Self {
        let segments = centers.len() / rows.features();
        Self {
            rows: *rows,
            segments,
            centers,
            places: vec![
                Place {
                    label: UNLABELLED,
                    upper: 0.0,
                    lower: 0.0
                };
                rows.count()
            ],
            totals: Totals::new(segments, rows.features()),
            moves: vec![0.0; segments],
        }
    }

    fn run(mut self, iterations_max: usize, stop: f64) -> Run {
        let mut iterations = 0;
        let mut is_converged = false;
        while iterations < iterations_max && !is_converged {
            iterations += 1;
            self.assign();
            let is_settled = self.totals.changed == 0;
            self.fill_empty_segments();
            let moved = self.recenter();
            is_converged = is_settled || moved <= stop;
        }
        self.finish(iterations, is_converged)
    }

    /// Gives every row its nearest center, measuring only where the bounds leave a doubt.
    fn assign(&mut self) {
        let reaches = self.reaches();
        let move_max = self.moves.iter().copied().fold(0.0, f64::max);
        let size = self.rows.chunk_rows();
        let (rows, centers) = (self.rows, &self.centers);
        let segments = self.segments;
        let chunks = self.places.par_chunks_mut(size).enumerate();
        let parts: Vec<Totals> = chunks
            .map(|(chunk, places)| {
                let doubtful = doubtful_places(places, &reaches, move_max);
                let mut totals = Totals::new(segments, rows.features());
                let mut tile = vec![[0.0; LANES]; rows.features()];
                for group in doubtful.chunks(LANES) {
                    let row = |lane: usize| rows.row(chunk * size + group[lane]);
                    tiles::fill(&mut tile, group.len(), row);
                    let nearest = Nearest::measure(&tile, centers);
                    for (lane, &offset) in group.iter().enumerate() {
                        let weight = rows.weight(chunk * size + offset);
                        totals.relabel(&mut places[offset], nearest.place(lane), row(lane), weight);
                    }
                }
                totals
            })
            .collect();
        self.totals.changed = 0;
        for part in &parts {
            self.totals.merge(part);
        }
    }

    /// A row nearer to its center than half the way to the next center has no nearer one.
    fn reaches(&self) -> Vec<Reach> {
        let features = self.rows.features();
        let centers: Vec<&[f64]> = self.centers.chunks_exact(features).collect();
        let gap = |own: usize| {
            let others = centers
                .iter()
                .enumerate()
                .filter(move |(other, _)| *other != own);
            others.fold(f64::INFINITY, |gap, (_, other)| {
                gap.min(tiles::squared_distance(centers[own], other))
            })
        };
        let moves = self.moves.iter().enumerate();
        moves
            .map(|(own, &moved)| Reach {
                moved,
                margin: 0.5 * gap(own).sqrt(),
            })
            .collect()
    }

    /// Moves the rows farthest from their centers, one each, to the segments that have none, in
    /// order.
    fn fill_empty_segments(&mut self) {
        if self.totals.counts.iter().all(|count| *count > 0) {
            return;
        }
        let mut farthest = self.rows_by_distance().into_iter();
        for segment in 0..self.segments {
            if self.totals.counts[segment] > 0 {
                continue;
            }
            let movable = |row: &usize| self.totals.counts[self.places[*row].label] > 1;
            let Some(row) = farthest.find(movable) else {
                return;
            };
            self.move_row(row, segment);
        }
    }

    /// All rows of positive weight, the farthest from its own center first, ties by index.
    fn rows_by_distance(&self) -> Vec<usize> {
        let features = self.rows.features();
        let distance = |row: usize| {
            let own = self.places[row].label * features;
            tiles::squared_distance(self.rows.row(row), &self.centers[own..own + features])
        };
        let weighted = (0..self.rows.count()).filter(|row| self.rows.weight(*row) > 0.0);
        let mut by_distance: Vec<(f64, usize)> = weighted.map(|row| (distance(row), row)).collect();
        by_distance.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
        by_distance.into_iter().map(|(_, row)| row).collect()
    }

    fn move_row(&mut self, row: usize, segment: usize) {
        let features = self.rows.features();
        // What rounding left in the sums of an empty segment is not a row.
        self.totals.masses[segment] = 0.0;
        self.totals.sums[segment * features..(segment + 1) * features].fill(0.0);
        // Its distance to the new center is zero; nothing is known about the others.
        let place = Place {
            label: segment,
            upper: 0.0,
            lower: 0.0,
        };
        let weight = self.rows.weight(row);
        self.totals
            .relabel(&mut self.places[row], place, self.rows.row(row), weight);
    }

    /// Puts every center in the middle of its rows; returns the squared movement of all.
    fn recenter(&mut self) -> f64 {
        let features = self.rows.features();
        let mut moved = 0.0;
        for (segment, center) in self.centers.chunks_exact_mut(features).enumerate() {
            let mass = self.totals.masses[segment];
            let sums = &self.totals.sums[segment * features..(segment + 1) * features];
            let mut distance = 0.0;
            if self.totals.counts[segment] > 0 {
                for (coordinate, sum) in center.iter_mut().zip(sums) {
                    let middle = sum / mass;
                    distance += (middle - *coordinate) * (middle - *coordinate);
                    *coordinate = middle;
                }
            }
            self.moves[segment] = distance.sqrt();
            moved += distance;
        }
        moved
    }

    /// Sums anew, without the rounding of rows that came and went, and measures every row once
    /// more.
    fn finish(mut self, iterations: usize, is_converged: bool) -> Run {
        let size = self.rows.chunk_rows();
        let (rows, segments, features) = (self.rows, self.segments, self.rows.features());
        let chunks = self.places.par_chunks(size).enumerate();
        let parts: Vec<Totals> = chunks
            .map(|(chunk, places)| {
                let mut totals = Totals::new(segments, features);
                for (offset, place) in places.iter().enumerate() {
                    let row = chunk * size + offset;
                    totals.add(place.label, rows.row(row), rows.weight(row));
                }
                totals
            })
            .collect();
        self.totals = Totals::new(segments, features);
        for part in &parts {
            self.totals.merge(part);
        }
        self.recenter();
        let (labels, inertia) = label_all(&rows, &self.centers);
        Run {
            centers: self.centers,
            labels,
            inertia,
            iterations,
            is_converged,
        }
    }
}

impl Totals {
    fn new(segments: usize, features: usize) -> Self {
        Self {
            sums: vec![0.0; segments * features],
            masses: vec![0.0; segments],
            counts: vec![0; segments],
            changed: 0,
        }
    }

    fn add(&mut self, segment: usize, row: &[f64], weight: f64) {
        self.masses[segment] += weight;
        self.counts[segment] += i64::from(weight > 0.0);
        let sums = &mut self.sums[segment * row.len()..(segment + 1) * row.len()];
        for (sum, value) in sums.iter_mut().zip(row) {
            *sum += weight * value;
        }
    }

    fn remove(&mut self, segment: usize, row: &[f64], weight: f64) {
        self.masses[segment] -= weight;
        self.counts[segment] -= i64::from(weight > 0.0);
        let sums = &mut self.sums[segment * row.len()..(segment + 1) * row.len()];
        for (sum, value) in sums.iter_mut().zip(row) {
            *sum -= weight * value;
        }
    }

    /// Moves a row from the segment it was in, if any, to that of `new`.
    #[inline]
    fn relabel(&mut self, old: &mut Place, new: Place, row: &[f64], weight: f64) {
        if old.label != new.label {
            if old.label != UNLABELLED {
                self.remove(old.label, row, weight);
            }
            self.add(new.label, row, weight);
            self.changed += 1;
        }
        *old = new;
    }

    fn merge(&mut self, other: &Self) {
        for (slot, value) in self.sums.iter_mut().zip(&other.sums) {
            *slot += value;
        }
        for (slot, value) in self.masses.iter_mut().zip(&other.masses) {
            *slot += value;
        }
        for (slot, value) in self.counts.iter_mut().zip(&other.counts) {
            *slot += value;
        }
        self.changed += other.changed;
    }
}

/// The two smallest squared distances of eight rows, and to which center the smallest is.
struct Nearest {
    label: [usize; LANES],
    first: Lanes,
    second: Lanes,
}

impl Nearest {
    fn measure(tile: &[Lanes], centers: &[f64]) -> Self {
        let mut nearest = Self {
            label: [0; LANES],
            first: [f64::INFINITY; LANES],
            second: [f64::INFINITY; LANES],
        };
        for (segment, center) in centers.chunks_exact(tile.len()).enumerate() {
            nearest.compare(segment, &tiles::squared_distances(tile, center));
        }
        nearest
    }

    #[inline]
    fn compare(&mut self, segment: usize, distances: &Lanes) {
        for (lane, &distance) in distances.iter().enumerate() {
            let (first, second) = (self.first[lane], self.second[lane]);
            let is_first = distance < first;
            let loser = if is_first { first } else { distance };
            self.second[lane] = if loser < second { loser } else { second };
            self.first[lane] = if is_first { distance } else { first };
            self.label[lane] = if is_first { segment } else { self.label[lane] };
        }
    }

    fn place(&self, lane: usize) -> Place {
        let (upper, lower) = (self.first[lane].sqrt(), self.second[lane].sqrt());
        Place {
            label: self.label[lane],
            upper,
            lower,
        }
    }
}

/// What an iteration knows of a center: how far it moved, and within what distance no other is
/// nearer.
#[derive(Clone, Copy)]
struct Reach {
    moved: f64,
    margin: f64,
}

/// Follows the centers' movement in the bounds; returns the places whose nearest center is in
/// doubt.
///
/// Written without branches: which rows are in doubt is as good as random, and a wrong guess of the
/// processor costs more than the distances saved.
fn doubtful_places(places: &mut [Place], reaches: &[Reach], move_max: f64) -> Vec<usize> {
    if places[0].label == UNLABELLED {
        return (0..places.len()).collect();
    }
    let mut doubtful = vec![0; places.len()];
    let mut count = 0;
    for (offset, place) in places.iter_mut().enumerate() {
        let Reach { moved, margin } = reaches[place.label];
        place.upper += moved;
        place.lower -= move_max;
        let bound = if place.lower > margin {
            place.lower
        } else {
            margin
        };
        doubtful[count] = offset;
        count += usize::from(place.upper >= bound * (1.0 - BOUND_SLACK));
    }
    doubtful.truncate(count);
    doubtful
}

/// The nearest center of every row, and the weighted sum of their squared distances.
fn label_all(rows: &Rows<'_>, centers: &[f64]) -> (Vec<usize>, f64) {
    let chunks = rows.chunks();
    let parts: Vec<(Vec<usize>, f64)> = chunks
        .into_par_iter()
        .map(|chunk| {
            let mut tile = vec![[0.0; LANES]; rows.features()];
            let mut labels = Vec::with_capacity(chunk.len());
            let mut inertia = 0.0;
            for start in chunk.clone().step_by(LANES) {
                let filled = LANES.min(chunk.end - start);
                tiles::fill(&mut tile, filled, |lane| rows.row(start + lane));
                let nearest = Nearest::measure(&tile, centers);
                for lane in 0..filled {
                    labels.push(nearest.label[lane]);
                    inertia += rows.weight(start + lane) * nearest.first[lane];
                }
            }
            (labels, inertia)
        })
        .collect();
    let inertia = parts.iter().map(|(_, inertia)| inertia).sum();
    (
        parts.into_iter().flat_map(|(labels, _)| labels).collect(),
        inertia,
    )
}

/// A greedy start from a sample where there are many rows.
fn sampled_start(rows: &Rows<'_>, segments: usize, random: &mut Random) -> Vec<f64> {
    let count = START_ROWS.max(START_ROWS_PER_SEGMENT * segments);
    if rows.count() < 2 * count {
        return greedy_start(rows, segments, random);
    }
    let places = random.sample(rows.count(), count);
    let values = places.iter().flat_map(|row| rows.row(*row));
    let values: Vec<f64> = values.copied().collect();
    let weights: Vec<f64> = places.iter().map(|row| rows.weight(*row)).collect();
    let sample =
        Rows::new(&values, rows.features()).and_then(|sample| sample.with_weights(&weights));
    match sample {
        Ok(sample) if check_segments(&sample, segments).is_ok() => {
            greedy_start(&sample, segments, random)
        }
        // Its rows are too few different ones, or have no weight.
        _ => greedy_start(rows, segments, random),
    }
}

/// Greedy k-means++: each next center is the best of a few rows drawn by their squared distance.
fn greedy_start(rows: &Rows<'_>, segments: usize, random: &mut Random) -> Vec<f64> {
    let trials = 2 + (segments as f64).ln() as usize;
    let chunks = rows.chunks();
    // Before there is a center every row is equally far: the first draw is by weight alone.
    let mut nearest = vec![1.0; rows.count()];
    let mut potentials = chunk_potentials(rows, &chunks, &nearest);
    let mut centers = Vec::with_capacity(segments * rows.features());
    for segment in 0..segments {
        let trials = if segment == 0 { 1 } else { trials };
        let drawn: Vec<usize> = (0..trials)
            .map(|_| draw(rows, &chunks, &nearest, &potentials, random))
            .collect();
        let candidates: Vec<f64> = drawn
            .iter()
            .flat_map(|row| rows.row(*row).iter().copied())
            .collect();
        if segment == 0 {
            nearest.fill(f64::INFINITY);
        }
        let tried = try_candidates(rows, &candidates, &nearest);
        let best = least(&tried);
        potentials = tried.iter().map(|chunk| chunk[best]).collect();
        let features = rows.features();
        let center = &candidates[best * features..(best + 1) * features];
        bring_nearer(rows, center, &mut nearest);
        centers.extend_from_slice(center);
    }
    centers
}

/// Each chunk's sum of weighted squared distances, were a candidate the next center.
fn try_candidates(rows: &Rows<'_>, candidates: &[f64], nearest: &[f64]) -> Vec<Vec<f64>> {
    let features = rows.features();
    let try_chunk = |chunk: Range<usize>| {
        let mut tile = vec![[0.0; LANES]; features];
        let mut sums = vec![0.0; candidates.len() / features];
        for start in chunk.clone().step_by(LANES) {
            let filled = LANES.min(chunk.end - start);
            tiles::fill(&mut tile, filled, |lane| rows.row(start + lane));
            let so_far = &nearest[start..start + filled];
            for (sum, candidate) in sums.iter_mut().zip(candidates.chunks_exact(features)) {
                let distances = tiles::squared_distances(&tile, candidate);
                for (lane, (so_far, distance)) in so_far.iter().zip(distances).enumerate() {
                    *sum += rows.weight(start + lane) * so_far.min(distance);
                }
            }
        }
        sums
    };
    rows.chunks().into_par_iter().map(try_chunk).collect()
}

/// The candidate of the least potential over all chunks, ties by index.
fn least(tried: &[Vec<f64>]) -> usize {
    let total = |candidate: usize| tried.iter().map(|chunk| chunk[candidate]).sum::<f64>();
    let totals: Vec<f64> = (0..tried[0].len()).map(total).collect();
    (0..totals.len()).fold(0, |best, next| {
        if totals[next] < totals[best] {
            next
        } else {
            best
        }
    })
}

fn bring_nearer(rows: &Rows<'_>, center: &[f64], nearest: &mut [f64]) {
    let size = rows.chunk_rows();
    nearest
        .par_chunks_mut(size)
        .enumerate()
        .for_each(|(chunk, nearest)| {
            let mut tile = vec![[0.0; LANES]; rows.features()];
            for (group, nearest) in nearest.chunks_mut(LANES).enumerate() {
                let start = chunk * size + group * LANES;
                tiles::fill(&mut tile, nearest.len(), |lane| rows.row(start + lane));
                let distances = tiles::squared_distances(&tile, center);
                for (so_far, distance) in nearest.iter_mut().zip(distances) {
                    *so_far = so_far.min(distance);
                }
            }
        });
}

fn chunk_potentials(rows: &Rows<'_>, chunks: &[Range<usize>], nearest: &[f64]) -> Vec<f64> {
    let potential = |chunk: &Range<usize>| {
        chunk
            .clone()
            .map(|row| rows.weight(row) * nearest[row])
            .sum()
    };
    chunks.iter().map(potential).collect()
}

/// Draws a row with probability proportional to its weight times its squared distance.
fn draw(
    rows: &Rows<'_>,
    chunks: &[Range<usize>],
    nearest: &[f64],
    potentials: &[f64],
    random: &mut Random,
) -> usize {
    let mut left = random.unit() * potentials.iter().sum::<f64>();
    let mut last = 0;
    for (chunk, &potential) in chunks.iter().zip(potentials) {
        if left >= potential {
            left -= potential;
            continue;
        }
        for row in chunk.clone() {
            let share = rows.weight(row) * nearest[row];
            if share > 0.0 {
                last = row;
            }
            if left < share {
                return row;
            }
            left -= share;
        }
    }
    // Rounding can leave a rest beyond the last row; the last row that could be drawn takes it.
    last
}

#[cfg(test)]
mod tests {
    use super::super::samples::{blobs, blobs_weights, noise};
    use super::*;
    use proptest::prelude::*;

    fn run(values: &[f64], features: usize, segments: usize) -> Result<KMeansFit, ClusterError> {
        fit(
            &Rows::new(values, features)?,
            &KMeansOptions::new(segments, 1),
        )
    }

    #[test]
    fn inertia_is_that_of_scikit_learn() {
        // scikit-learn 1.9.1: KMeans(k, n_init=50, tol=0, random_state=0).fit(blobs).inertia_
        let expected = [
            (1, 2273.421894121823),
            (2, 942.6748453917986),
            (3, 477.8902291585785),
        ];
        for (segments, inertia) in expected {
            let fit = run(&blobs(), 3, segments).unwrap();
            assert!(
                (fit.inertia / inertia - 1.0).abs() < 1e-12,
                "{segments}: {}",
                fit.inertia
            );
            assert!(fit.is_converged);
        }
        assert!(run(&blobs(), 3, 5).unwrap().inertia <= 378.921119577064 * (1.0 + 1e-3));
    }

    #[test]
    fn weights_count_rows_several_times() {
        // scikit-learn 1.9.1: the same with sample_weight.
        let (values, weights) = (blobs(), blobs_weights());
        let rows = Rows::new(&values, 3)
            .unwrap()
            .with_weights(&weights)
            .unwrap();
        let fit = fit(&rows, &KMeansOptions::new(3, 1)).unwrap();
        assert!(
            (fit.inertia / 1496.7331594333368 - 1.0).abs() < 1e-12,
            "{}",
            fit.inertia
        );
    }

    #[test]
    fn rows_without_weight_do_not_move_centers() {
        let values = [0.0, 1.0, 10.0, 11.0, 500.0];
        let weights = [1.0, 1.0, 1.0, 1.0, 0.0];
        let rows = Rows::new(&values, 1)
            .unwrap()
            .with_weights(&weights)
            .unwrap();
        let fit = fit(&rows, &KMeansOptions::new(2, 1)).unwrap();
        assert_eq!((fit.inertia, fit.labels[3]), (1.0, fit.labels[4]));
    }

    #[test]
    fn the_same_seed_gives_the_same_bits_for_any_number_of_threads() {
        let values = noise(20_000, 4);
        let run = |threads| {
            let pool = rayon::ThreadPoolBuilder::new()
                .num_threads(threads)
                .build()
                .unwrap();
            pool.install(|| run(&values, 4, 6).unwrap())
        };
        let (one, three) = (run(1), run(3));
        assert_eq!(one.clusters, three.clusters);
        assert_eq!((one.labels, one.inertia), (three.labels, three.inertia));
    }

    #[test]
    fn labels_are_what_the_model_assigns() {
        let values = noise(3000, 3);
        let fit = run(&values, 3, 7).unwrap();
        assert_eq!(fit.clusters.assign_batch(&values).unwrap(), fit.labels);
    }

    #[test]
    fn as_many_segments_as_different_rows_leave_no_inertia() {
        let fit = run(&[1.0, 1.0, 2.0, 2.0, 7.0, 7.0], 1, 3).unwrap();
        assert_eq!(fit.inertia, 0.0);
        let mut shares = [0.0; 3];
        fit.clusters.memberships_row(&[7.0], &mut shares).unwrap();
        assert_eq!(shares.iter().copied().fold(0.0, f64::max), 1.0);
    }

    #[test]
    fn an_empty_segment_gets_the_row_farthest_from_its_center() {
        let values = [0.0, 1.0, 2.0, 50.0];
        let rows = Rows::new(&values, 1).unwrap();
        let mut lloyd = Lloyd::from_centers(&rows, vec![1.0, 900.0, 901.0]);
        lloyd.assign();
        assert_eq!(lloyd.totals.counts, [4, 0, 0]);
        lloyd.fill_empty_segments();
        lloyd.recenter();
        assert_eq!(lloyd.totals.counts, [2, 1, 1]);
        assert_eq!(lloyd.centers[1..], [50.0, 0.0]);
        assert_eq!(lloyd.centers[0], 1.5);
        let run = lloyd.run(100, 0.0);
        assert!((run.inertia - 0.5).abs() < 1e-12, "{}", run.inertia);
    }

    #[test]
    fn constant_columns_and_single_segments_are_fine() {
        let values = [3.0, 1.0, 3.0, 2.0, 3.0, 9.0];
        let fit = run(&values, 2, 2).unwrap();
        assert_eq!((fit.labels[0], fit.inertia), (fit.labels[1], 0.5));
        assert_eq!(run(&values, 2, 1).unwrap().labels, [0, 0, 0]);
        assert_eq!(run(&[4.0], 1, 1).unwrap().inertia, 0.0);
    }

    #[test]
    fn what_cannot_be_fitted_is_refused_with_the_reason() {
        let refused = |values: &[f64], segments| run(values, 1, segments).unwrap_err();
        assert_eq!(refused(&[], 1), ClusterError::NoRows);
        let too_few = ClusterError::TooFewRows {
            distinct: 2,
            wanted: 3,
        };
        assert_eq!(refused(&[1.0, 2.0], 3), too_few);
        assert_eq!(refused(&[0.0, -0.0, 5.0, 5.0], 3), too_few);
        for wanted in [0, 257, usize::MAX] {
            let error = refused(&[1.0, 2.0], wanted);
            assert_eq!(error, ClusterError::Segments { wanted, limit: 256 });
        }
        let error = refused(&[1.0, f64::INFINITY], 1);
        assert!(matches!(
            error,
            ClusterError::NotFinite {
                row: 1,
                feature: 0,
                ..
            }
        ));
        assert!(matches!(
            run(&[1.0; 3], 2, 1),
            Err(ClusterError::Ragged { .. })
        ));
        assert!(matches!(
            run(&[1.0; 3], 0, 1),
            Err(ClusterError::Features { .. })
        ));
        let rows = Rows::new(&[1.0, 2.0], 1).unwrap();
        for options in [
            KMeansOptions {
                restarts: 0,
                ..KMeansOptions::new(1, 0)
            },
            KMeansOptions {
                iterations_max: 0,
                ..KMeansOptions::new(1, 0)
            },
            KMeansOptions {
                tolerance: f64::NAN,
                ..KMeansOptions::new(1, 0)
            },
        ] {
            assert!(matches!(
                fit(&rows, &options),
                Err(ClusterError::Parameter { .. })
            ));
        }
        assert!(rows.with_weights(&[1.0]).is_err());
        assert!(rows.with_weights(&[1.0, -1.0]).is_err());
        assert!(rows.with_weights(&[0.0, 0.0]).is_err());
    }

    /// Lloyd's iterations without bounds or tiles, from the same start.
    fn plain(rows: &Rows<'_>, mut centers: Vec<f64>) -> f64 {
        loop {
            let (labels, inertia) = label_all(rows, &centers);
            let mut totals = Totals::new(centers.len() / rows.features(), rows.features());
            for (row, label) in labels.iter().enumerate() {
                totals.add(*label, rows.row(row), 1.0);
            }
            for (segment, center) in centers.chunks_exact_mut(rows.features()).enumerate() {
                for (coordinate, sum) in center.iter_mut().zip(&totals.sums[segment * 2..]) {
                    *coordinate = sum / totals.masses[segment];
                }
            }
            if label_all(rows, &centers).1 >= inertia {
                return inertia;
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn bounds_change_the_work_not_the_result(
            seed in any::<u64>(), segments in 1usize..7, count in 40usize..400
        ) {
            let mut random = Random::new(seed, 9);
            let values: Vec<f64> = (0..count * 2).map(|_| random.unit()).collect();
            let rows = Rows::new(&values, 2).unwrap();
            let start = greedy_start(&rows, segments, &mut random);
            let run = Lloyd::from_centers(&rows, start.clone()).run(10_000, 0.0);
            let expected = plain(&rows, start);
            prop_assert!((run.inertia / expected - 1.0).abs() < 1e-9, "{} {expected}", run.inertia);
        }
    }
}
