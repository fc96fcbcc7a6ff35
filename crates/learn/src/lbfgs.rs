//! Minimises a smooth function of very many numbers by L-BFGS with a strong-Wolfe line search.
//!
//! Vectors here are larger than any cache, so what costs is reading them. The two-loop recursion is
//! therefore done on inner products alone ("vector-free" L-BFGS): one pass over the history takes the
//! products with the new gradient, small loops find the coefficients, one pass builds the direction.
//! All sums run per fixed chunk and then in order, so results do not depend on the number of threads.
//!
//! Problems that share nothing but their rows (one-versus-rest) can be searched side by side: each
//! has its own products and so its own direction, while they share the passes and the line search.
//! Searched as one, many unlike problems would crowd each other out of the short history.

use std::collections::VecDeque;
use std::ops::ControlFlow;

use rayon::prelude::*;

use crate::real::{Real, SUMMED_SHORT, add_products, dot};

/// Elements per chunk, about: few enough to stay in the nearest cache while the history passes by.
const CHUNK: usize = 4096;
/// Sums that run side by side, at least.
const LANES_MIN: usize = 32;
/// Sufficient decrease and curvature, the usual constants for quasi-Newton directions.
const DECREASE: f64 = 1e-4;
const CURVATURE: f64 = 0.9;
const TRIALS_MAX: usize = 30;
/// An iteration that gains less than this many rounding errors, and no flatter gradient than any
/// before, is idle; near the minimum the gradient still tells steps apart when values no longer do.
const IDLE_ROUNDINGS: f64 = 64.0;
const IDLE_MAX: usize = 3;

/// A function to minimise.
pub(crate) trait Objective<T>: Sync {
    /// The value at `point`; overwrites `gradient`.
    fn evaluate(&mut self, point: &[T], gradient: &mut [T]) -> f64;

    /// The largest part of a gradient, in the units of the tolerance.
    fn largest_slope(&self, gradient: &[T]) -> f64;
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct Settings {
    pub history: usize,
    pub tolerance: f64,
    pub iterations_max: usize,
    /// Separate problems: number i of a point belongs to problem i modulo this. One for a single
    /// problem.
    pub problems: usize,
    /// Numbers of a point that lie together; a multiple of `problems`.
    pub padded: usize,
}

/// Why the search ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// No part of the gradient exceeds the tolerance.
    Converged,
    /// As many iterations as were allowed.
    Exhausted,
    /// No step gains anything that rounding would not take back.
    Stalled,
    /// The caller asked to stop.
    Stopped,
}

#[derive(Debug, Clone)]
pub(crate) struct Minimum<T> {
    pub point: Vec<T>,
    pub value: f64,
    pub iterations: usize,
    pub evaluations: usize,
    pub ending: Ending,
}

/// Searches from `point`; `progress` sees the number and value of each iteration.
pub(crate) fn minimize<T: Real>(
    objective: &mut impl Objective<T>,
    point: Vec<T>,
    settings: Settings,
    progress: &mut dyn FnMut(usize, f64) -> ControlFlow<()>,
) -> Minimum<T> {
    let mut search = Search::new(objective, point, settings);
    let ending = search.run(progress);
    let Search {
        point,
        value,
        iterations,
        evaluations,
        ..
    } = search;
    Minimum {
        point,
        value,
        iterations,
        evaluations,
        ending,
    }
}

struct Search<'a, T, O> {
    objective: &'a mut O,
    settings: Settings,
    lanes: Lanes,
    point: Vec<T>,
    gradient: Vec<T>,
    value: f64,
    trial_point: Vec<T>,
    trial_gradient: Vec<T>,
    direction: Vec<T>,
    history: VecDeque<Pair<T>>,
    /// Vectors of forgotten pairs, kept for the next one.
    spare: Vec<Vec<T>>,
    /// Of each problem.
    gradient_squares: Vec<f64>,
    gradient_largest: f64,
    iterations: usize,
    evaluations: usize,
}

/// A step taken and how the gradient changed along it. Products are one number per problem.
struct Pair<T> {
    step: Vec<T>,
    /// The true step is `step × scale`.
    scale: f64,
    change: Vec<T>,
    /// step · change; zero for a problem to which the pair says nothing.
    product: Vec<f64>,
    change_square: Vec<f64>,
    /// With the gradient at hand.
    step_gradient: Vec<f64>,
    change_gradient: Vec<f64>,
    /// Of this pair's vectors with the change of each later pair, in order.
    later: Vec<Later>,
}

struct Later {
    step_change: Vec<f64>,
    change_change: Vec<f64>,
}

impl<'a, T: Real, O: Objective<T>> Search<'a, T, O> {
    fn new(objective: &'a mut O, point: Vec<T>, settings: Settings) -> Self {
        let zeros = || vec![T::ZERO; point.len()];
        let (mut gradient, trial_point) = (zeros(), zeros());
        let (trial_gradient, direction) = (zeros(), zeros());
        let lanes = Lanes::new(settings.padded, settings.problems);
        let value = objective.evaluate(&point, &mut gradient);
        let gradient_squares = lanes.dots(&gradient, &gradient);
        let gradient_largest = objective.largest_slope(&gradient);
        Self {
            objective,
            settings,
            lanes,
            point,
            gradient,
            value,
            trial_point,
            trial_gradient,
            direction,
            history: VecDeque::new(),
            spare: Vec::new(),
            gradient_squares,
            gradient_largest,
            iterations: 0,
            evaluations: 1,
        }
    }

    fn run(&mut self, progress: &mut dyn FnMut(usize, f64) -> ControlFlow<()>) -> Ending {
        let (mut idle, mut flattest) = (0, self.gradient_largest);
        while self.gradient_largest > self.settings.tolerance {
            if self.iterations >= self.settings.iterations_max {
                return Ending::Exhausted;
            }
            let before = self.value;
            if !self.iterate() {
                return Ending::Stalled;
            }
            self.iterations += 1;
            if progress(self.iterations, self.value).is_break() {
                return Ending::Stopped;
            }
            let least_gain = IDLE_ROUNDINGS * f64::EPSILON * self.value.abs().max(1.0);
            let gains = before - self.value > least_gain || self.gradient_largest < flattest;
            flattest = flattest.min(self.gradient_largest);
            idle = if gains { 0 } else { idle + 1 };
            if idle == IDLE_MAX && self.gradient_largest > self.settings.tolerance {
                return Ending::Stalled;
            }
        }
        Ending::Converged
    }

    /// One step, or false when even the steepest descent finds none.
    fn iterate(&mut self) -> bool {
        loop {
            let slope = self.set_direction();
            let first = if self.history.is_empty() {
                (1.0 / self.gradient_squares.iter().sum::<f64>().sqrt()).min(1.0)
            } else {
                1.0
            };
            if slope < 0.0
                && let Some(length) = self.search_line(slope, first)
            {
                self.accept(length);
                return true;
            }
            if self.history.is_empty() {
                return false;
            }
            self.forget();
        }
    }

    fn forget(&mut self) {
        for pair in self.history.drain(..) {
            self.spare.extend([pair.step, pair.change]);
        }
    }

    /// Builds the direction and answers its slope.
    fn set_direction(&mut self) -> f64 {
        let factors = (0..self.settings.problems).map(|problem| self.factors(problem));
        let factors = factors.collect::<Vec<_>>();
        let lanes = self.lanes;
        let own = lanes.spread(|problem| factors[problem].gradient);
        let pairs = (0..self.history.len()).map(|at| {
            let step = lanes.spread::<T>(|problem| factors[problem].pairs[at].0);
            (
                step,
                lanes.spread::<T>(|problem| factors[problem].pairs[at].1),
            )
        });
        let pairs = pairs.collect::<Vec<_>>();
        let (history, size) = (&self.history, lanes.chunk());
        let chunks = self
            .direction
            .par_chunks_mut(size)
            .zip(self.gradient.par_chunks(size));
        chunks
            .enumerate()
            .for_each(|(chunk, (direction, gradient))| {
                set_scaled(direction, gradient, &own);
                for (pair, (step, change)) in history.iter().zip(&pairs) {
                    let range = chunk * size..chunk * size + direction.len();
                    let (steps, changes) = (&pair.step[range.clone()], &pair.change[range]);
                    add_two(direction, (steps, step), (changes, change));
                }
            });
        factors.iter().map(|factors| factors.slope).sum()
    }

    /// The two loops of L-BFGS for one problem, on products. Steps are unscaled throughout, so a
    /// pair's scale appears once where the recursion has it twice.
    fn factors(&self, problem: usize) -> Factors {
        let count = self.history.len();
        let of = |numbers: &Vec<f64>| numbers[problem];
        let telling = |pair: &&Pair<T>| of(&pair.product) > 0.0;
        let newest = self.history.iter().rev().find(telling);
        let size = newest.map_or(1.0, |newest| {
            newest.scale * of(&newest.product) / of(&newest.change_square)
        });
        let mut alphas = vec![0.0; count];
        for (at, pair) in self
            .history
            .iter()
            .enumerate()
            .rev()
            .filter(|(_, pair)| telling(pair))
        {
            let later = pair.later.iter().zip(&alphas[at + 1..]);
            let along = later
                .map(|(later, alpha)| alpha * of(&later.step_change))
                .sum::<f64>();
            alphas[at] = (of(&pair.step_gradient) - along) / of(&pair.product);
        }
        let mut steps = vec![0.0; count];
        for (at, pair) in self
            .history
            .iter()
            .enumerate()
            .filter(|(_, pair)| telling(pair))
        {
            let mut along = of(&pair.change_gradient) - alphas[at] * of(&pair.change_square);
            for (later, alpha) in pair.later.iter().zip(&alphas[at + 1..]) {
                along -= alpha * of(&later.change_change);
            }
            let mut moved = 0.0;
            for (earlier_at, earlier) in self.history.iter().enumerate().take(at) {
                let later = &earlier.later[at - earlier_at - 1];
                along -= alphas[earlier_at] * of(&later.change_change);
                moved += steps[earlier_at] * earlier.scale * of(&later.step_change);
            }
            let beta = (size * along + moved) / (pair.scale * of(&pair.product));
            steps[at] = alphas[at] - beta;
        }
        let scales = self.history.iter().map(|pair| pair.scale);
        let pairs = steps.iter().zip(scales).zip(&alphas);
        let pairs = pairs.map(|((step, scale), alpha)| (-step * scale, size * alpha));
        let mut factors = Factors {
            gradient: -size,
            pairs: pairs.collect(),
            slope: 0.0,
        };
        factors.slope = factors.gradient * self.gradient_squares[problem];
        for (pair, (step, change)) in self.history.iter().zip(&factors.pairs) {
            factors.slope += step * of(&pair.step_gradient) + change * of(&pair.change_gradient);
        }
        factors
    }

    /// A step length that satisfies the strong Wolfe conditions; its point, gradient and value are
    /// then the trial's. (Nocedal and Wright, Numerical Optimization, algorithms 3.5 and 3.6.)
    fn search_line(&mut self, slope: f64, first: f64) -> Option<Step> {
        let start = Step {
            length: 0.0,
            value: self.value,
            slope,
        };
        let noise = T::NOISE * self.value.abs();
        let is_low =
            |step: &Step| step.value <= start.value + DECREASE * step.length * slope + noise;
        let is_flat = |step: &Step| step.slope.abs() <= -CURVATURE * slope;
        let (mut low, mut high) = (start, None::<Step>);
        let mut length = first;
        for _ in 0..TRIALS_MAX {
            let trial = self.try_step(length);
            if !trial.value.is_finite() || !is_low(&trial) || trial.value > low.value + noise {
                high = Some(trial);
            } else if is_flat(&trial) {
                return Some(trial);
            } else {
                let bound = high.map_or(f64::INFINITY, |high: Step| high.length);
                if trial.slope * (bound - low.length) >= 0.0 {
                    high = Some(low);
                }
                low = trial;
            }
            length = match high {
                Some(high) => between(low, high),
                None => extrapolate(low),
            };
        }
        // Rounding may hide the flat place; a lower one is still a step.
        (low.length > 0.0 && low.value < start.value).then(|| self.try_step(low.length))
    }

    fn try_step(&mut self, length: f64) -> Step {
        self.evaluations += 1;
        let scale = T::of(length);
        let chunks = self.trial_point.par_chunks_mut(CHUNK);
        let chunks = chunks.zip(self.point.par_chunks(CHUNK));
        chunks
            .zip(self.direction.par_chunks(CHUNK))
            .for_each(|((trial, point), direction)| {
                for ((trial, &point), &direction) in trial.iter_mut().zip(point).zip(direction) {
                    *trial = point + scale * direction;
                }
            });
        let value = self
            .objective
            .evaluate(&self.trial_point, &mut self.trial_gradient);
        let slope = self
            .lanes
            .dots(&self.direction, &self.trial_gradient)
            .iter()
            .sum();
        Step {
            length,
            value,
            slope,
        }
    }

    /// Moves to the trial and remembers the way there.
    fn accept(&mut self, taken: Step) {
        let mut change = self.spare_vector();
        let measured = self.measure(&mut change);
        let [
            step_gradient,
            change_gradient,
            product,
            change_square,
            gradient_squares,
        ] = measured.own;
        for (pair, [step_new, change_new]) in self.history.iter_mut().zip(measured.pairs) {
            pair.later.push(Later {
                step_change: difference(&step_new, &pair.step_gradient),
                change_change: difference(&change_new, &pair.change_gradient),
            });
            (pair.step_gradient, pair.change_gradient) = (step_new, change_new);
        }
        std::mem::swap(&mut self.point, &mut self.trial_point);
        std::mem::swap(&mut self.gradient, &mut self.trial_gradient);
        self.value = taken.value;
        self.gradient_squares = gradient_squares;
        self.gradient_largest = self.objective.largest_slope(&self.gradient);
        let mut step = self.spare_vector();
        std::mem::swap(&mut step, &mut self.direction);
        self.remember(Pair {
            step,
            scale: taken.length,
            change,
            product,
            change_square,
            step_gradient,
            change_gradient,
            later: Vec::new(),
        });
    }

    /// Sets `change` to how the gradient changed, and takes all products with it and the new one.
    fn measure(&self, change: &mut [T]) -> Measured {
        let (lanes, size) = (self.lanes, self.lanes.chunk());
        let chunks = change
            .par_chunks_mut(size)
            .zip(self.trial_gradient.par_chunks(size));
        let chunks = chunks.zip(self.gradient.par_chunks(size)).enumerate();
        let parts = chunks.map(|(chunk, ((change, new), old))| {
            for ((change, &new), &old) in change.iter_mut().zip(new).zip(old) {
                *change = new - old;
            }
            let range = chunk * size..chunk * size + change.len();
            let pairs = self.history.iter().map(|pair| {
                [&pair.step, &pair.change].map(|vector| lanes.dot(&vector[range.clone()], new))
            });
            let step = &self.direction[range.clone()];
            let own = [
                (step, new),
                (change, new),
                (step, change),
                (change, change),
                (new, new),
            ];
            Measured {
                pairs: pairs.collect(),
                own: own.map(|(a, b)| lanes.dot(a, b)),
            }
        });
        Measured::total(parts.collect())
    }

    /// A pair without curvature says nothing of its problem and would spoil the other pairs.
    fn remember(&mut self, mut pair: Pair<T>) {
        for (product, square) in pair.product.iter_mut().zip(&pair.change_square) {
            if pair.scale * *product <= f64::EPSILON * square {
                *product = 0.0;
            }
        }
        self.history.push_back(pair);
        if self.history.len() > self.settings.history
            && let Some(oldest) = self.history.pop_front()
        {
            self.spare.extend([oldest.step, oldest.change]);
        }
    }

    fn spare_vector(&mut self) -> Vec<T> {
        self.spare
            .pop()
            .unwrap_or_else(|| vec![T::ZERO; self.point.len()])
    }
}

/// Factors of the direction's parts for one problem: the gradient, and each pair's step and change.
struct Factors {
    gradient: f64,
    pairs: Vec<(f64, f64)>,
    /// Of the direction they make.
    slope: f64,
}

/// A place on the line: how far along, the value there and the slope.
#[derive(Debug, Clone, Copy)]
struct Step {
    length: f64,
    value: f64,
    slope: f64,
}

/// Products, each one number per problem.
struct Measured {
    /// Each pair's step and change with the new gradient.
    pairs: Vec<[Vec<f64>; 2]>,
    own: [Vec<f64>; 5],
}

impl Measured {
    fn total(chunks: Vec<Self>) -> Self {
        let mut chunks = chunks.into_iter();
        let first = chunks.next().unwrap_or(Self {
            pairs: Vec::new(),
            own: Default::default(),
        });
        chunks.fold(first, |mut total, chunk| {
            let pairs = total
                .pairs
                .iter_mut()
                .flatten()
                .zip(chunk.pairs.iter().flatten());
            pairs.for_each(|(sums, parts)| add(sums, parts));
            total
                .own
                .iter_mut()
                .zip(&chunk.own)
                .for_each(|(sums, parts)| add(sums, parts));
            total
        })
    }
}

/// How numbers of a point are taken side by side, and which problem each lane belongs to.
#[derive(Debug, Clone, Copy)]
struct Lanes {
    width: usize,
    problems: usize,
}

impl Lanes {
    fn new(padded: usize, problems: usize) -> Self {
        Self {
            width: padded * LANES_MIN.div_ceil(padded),
            problems,
        }
    }

    /// A whole number of lanes' widths.
    fn chunk(self) -> usize {
        self.width * CHUNK.div_ceil(self.width)
    }

    /// A number per problem, repeated for the lanes.
    fn spread<T: Real>(self, number: impl Fn(usize) -> f64) -> Vec<T> {
        (0..self.width)
            .map(|lane| T::of(number(lane % self.problems)))
            .collect()
    }

    /// Sums of products, one per problem.
    fn dot<T: Real>(self, left: &[T], right: &[T]) -> Vec<f64> {
        if self.problems == 1 {
            return vec![dot(left, right)];
        }
        let mut sums = vec![0.0; self.problems];
        let mut lanes = vec![T::ZERO; self.width];
        let run = self.width * SUMMED_SHORT;
        for (left, right) in left.chunks(run).zip(right.chunks(run)) {
            lanes.fill(T::ZERO);
            for (left, right) in left.chunks(self.width).zip(right.chunks(self.width)) {
                add_products(&mut lanes, left, right);
            }
            for lanes in lanes.chunks(self.problems) {
                sums.iter_mut()
                    .zip(lanes)
                    .for_each(|(sum, lane)| *sum += lane.to_f64());
            }
        }
        sums
    }

    /// The same over vectors of any length, in parallel.
    fn dots<T: Real>(self, left: &[T], right: &[T]) -> Vec<f64> {
        let chunks = left
            .par_chunks(self.chunk())
            .zip(right.par_chunks(self.chunk()));
        let parts = chunks
            .map(|(left, right)| self.dot(left, right))
            .collect::<Vec<_>>();
        let mut sums = vec![0.0; self.problems];
        parts.iter().for_each(|part| add(&mut sums, part));
        sums
    }
}

/// Where a cubic through both ends is lowest, kept away from the ends.
fn between(low: Step, high: Step) -> f64 {
    let width = high.length - low.length;
    let middle = low.length + 0.5 * width;
    if !high.value.is_finite() || !high.slope.is_finite() {
        return low.length + 0.1 * width;
    }
    let mean = low.slope + high.slope - 3.0 * (high.value - low.value) / width;
    let square = mean * mean - low.slope * high.slope;
    if square < 0.0 {
        return middle;
    }
    let root = square.sqrt().copysign(width);
    let length =
        high.length - width * (high.slope + root - mean) / (high.slope - low.slope + 2.0 * root);
    let share = (length - low.length) / width;
    if share.is_finite() {
        low.length + share.clamp(0.1, 0.9) * width
    } else {
        middle
    }
}

/// Further along a line that still falls: four times as far, as scipy's search does.
fn extrapolate(low: Step) -> f64 {
    low.length * 4.0
}

fn add(sums: &mut [f64], parts: &[f64]) {
    sums.iter_mut()
        .zip(parts)
        .for_each(|(sum, part)| *sum += part);
}

fn difference(left: &[f64], right: &[f64]) -> Vec<f64> {
    left.iter()
        .zip(right)
        .map(|(left, right)| left - right)
        .collect()
}

/// Every lane has a factor of its own.
fn set_scaled<T: Real>(out: &mut [T], values: &[T], factors: &[T]) {
    for (out, values) in out
        .chunks_mut(factors.len())
        .zip(values.chunks(factors.len()))
    {
        for ((out, &value), &factor) in out.iter_mut().zip(values).zip(factors) {
            *out = factor * value;
        }
    }
}

fn add_two<T: Real>(
    out: &mut [T],
    (left, left_factors): (&[T], &[T]),
    (right, right_factors): (&[T], &[T]),
) {
    let width = left_factors.len();
    let values = left.chunks(width).zip(right.chunks(width));
    for (out, (left, right)) in out.chunks_mut(width).zip(values) {
        let left = left.iter().zip(left_factors);
        let right = right.iter().zip(right_factors);
        for (out, ((&left, &by), (&right, &also_by))) in out.iter_mut().zip(left.zip(right)) {
            *out += by * left + also_by * right;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rosenbrock's valley in pairs of numbers: lowest, 0, where all are 1.
    struct Valley;

    impl Objective<f64> for Valley {
        fn evaluate(&mut self, point: &[f64], gradient: &mut [f64]) -> f64 {
            let pairs = point
                .as_chunks::<2>()
                .0
                .iter()
                .zip(gradient.as_chunks_mut::<2>().0);
            let value = |(&[x, y], gradient): (&[f64; 2], &mut [f64; 2])| {
                let bend = y - x * x;
                *gradient = [-400.0 * x * bend - 2.0 * (1.0 - x), 200.0 * bend];
                100.0 * bend * bend + (1.0 - x) * (1.0 - x)
            };
            pairs.map(value).sum()
        }

        fn largest_slope(&self, gradient: &[f64]) -> f64 {
            gradient
                .iter()
                .fold(0.0, |most, slope| slope.abs().max(most))
        }
    }

    const SETTINGS: Settings = Settings {
        history: 10,
        tolerance: 1e-9,
        iterations_max: 200,
        problems: 1,
        padded: 1,
    };

    #[test]
    fn the_bottom_of_a_bent_valley_is_found() {
        let start = [-1.2, 1.0].repeat(20);
        let mut go_on = |_, _| ControlFlow::Continue(());
        let minimum = minimize(&mut Valley, start, SETTINGS, &mut go_on);
        assert_eq!(minimum.ending, Ending::Converged);
        assert!(minimum.point.iter().all(|x| (x - 1.0).abs() < 1e-8));
        // scipy 1.17.1's L-BFGS-B takes 34 iterations from here.
        assert!(minimum.iterations < 60, "{}", minimum.iterations);
    }

    #[test]
    fn the_caller_can_stop() {
        let mut stop = |iteration, _| match iteration {
            3 => ControlFlow::Break(()),
            _ => ControlFlow::Continue(()),
        };
        let minimum = minimize(&mut Valley, vec![-1.2, 1.0], SETTINGS, &mut stop);
        assert_eq!((minimum.ending, minimum.iterations), (Ending::Stopped, 3));
    }

    #[test]
    fn iterations_are_bounded() {
        let settings = Settings {
            iterations_max: 5,
            ..SETTINGS
        };
        let mut go_on = |_, _| ControlFlow::Continue(());
        let minimum = minimize(&mut Valley, vec![-1.2, 1.0], settings, &mut go_on);
        assert_eq!((minimum.ending, minimum.iterations), (Ending::Exhausted, 5));
    }
}
