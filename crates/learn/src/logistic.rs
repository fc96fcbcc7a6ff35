//! Trains logistic regression: one of several classes, two classes, or several labels at once.
//!
//! The objective is scikit-learn's: C · Σ wᵢ lossᵢ + ½ ‖W‖², the bias free. All outputs are trained
//! together: weights lie `[feature][output]`, so that a row's features each bring a run of numbers
//! that the processor takes as vectors, in single precision for text and double for tables. What is
//! minimised and how fast it is computed is here; the search itself is `lbfgs`.

mod options;
mod passes;
mod problem;

use std::ops::ControlFlow;

use ombud_engine::linear::{Linear, LinearError, OUTPUTS_MAX, WEIGHTS_MAX, Weights};

pub use crate::lbfgs::Ending;
use crate::lbfgs::{Minimum, Objective, Settings, minimize};
use crate::real::Real;
use crate::rows::{Csr, Dense};
pub use options::{ClassWeights, Family, LogisticOptions, LogisticOptionsError};
use passes::{DensePass, Scales, SparsePass};
use problem::Problem;

/// What to learn from, and so in which precision.
#[derive(Debug, Clone, Copy)]
pub enum Rows<'a> {
    /// Text: single precision.
    Sparse(&'a Csr<f32>),
    /// Text beside a table's columns: double precision.
    SparseDouble(&'a Csr<f64>),
    /// A table, its columns scaled: double precision.
    Dense(Dense<'a>),
}

/// What to learn.
#[derive(Debug, Clone, Copy)]
pub enum Targets<'a> {
    /// One class per row, numbered from 0.
    Classes { classes: &'a [u32], count: usize },
    /// For each row, one statement per label; always one-versus-rest.
    Labels { labels: &'a [bool], count: usize },
}

/// A trained model and how the training went.
#[derive(Debug, Clone)]
pub struct Trained {
    pub model: Linear,
    /// C · Σ wᵢ lossᵢ + ½ ‖W‖², the sum over all outputs.
    pub objective: f64,
    pub iterations: usize,
    pub evaluations: usize,
    pub ending: Ending,
}

#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum LogisticError {
    #[error("there are no rows to learn from")]
    NoRows,
    #[error("{targets} targets for {rows} rows")]
    Targets { targets: usize, rows: usize },
    #[error("{weights} weights for {rows} rows")]
    Weights { weights: usize, rows: usize },
    #[error("row {row}: weight {weight} is not a positive number or zero")]
    Weight { row: usize, weight: f64 },
    #[error("no row has a weight above zero")]
    NoWeight,
    #[error("row {row}: class {class} of {count}")]
    Class {
        row: usize,
        class: u32,
        count: usize,
    },
    #[error("all rows that count are of class {class}: there is nothing to tell apart")]
    OneClass { class: u32 },
    #[error("at least two classes or one label are needed, at most {OUTPUTS_MAX}; got {count}")]
    Outputs { count: usize },
    #[error("{found} class weights for {expected} classes")]
    ClassWeights { found: usize, expected: usize },
    #[error("value {index} is not finite")]
    Value { index: usize },
    #[error("{features} features × {outputs} outputs are more than {WEIGHTS_MAX} weights")]
    TooLarge { features: usize, outputs: usize },
    #[error("training ran out of the range of numbers: scale the columns or lower C")]
    Overflow(#[source] LinearError),
}

/// Logistic regression with checked options.
#[derive(Debug, Clone)]
pub struct Logistic {
    options: LogisticOptions,
}

impl Logistic {
    pub fn new(options: LogisticOptions) -> Result<Self, LogisticOptionsError> {
        options.check()?;
        Ok(Self { options })
    }

    /// Trains on `rows`, each of which counts `weights` times (once unless given). `progress` sees
    /// the number of each iteration and the objective, and may stop the training there.
    ///
    /// Two classes make one output, the margin of class 1.
    pub fn train(
        &self,
        rows: Rows<'_>,
        targets: Targets<'_>,
        weights: Option<&[f64]>,
        progress: &mut dyn FnMut(usize, f64) -> ControlFlow<()>,
    ) -> Result<Trained, LogisticError> {
        match rows {
            Rows::Sparse(rows) => {
                let (problem, penalty) =
                    self.prepare(rows.rows(), rows.columns(), targets, weights)?;
                check_values(rows.values())?;
                let pass = SparsePass::new(rows, problem, penalty);
                self.search(pass, rows.columns(), progress, Weights::Single)
            }
            Rows::SparseDouble(rows) => {
                let (problem, penalty) =
                    self.prepare(rows.rows(), rows.columns(), targets, weights)?;
                check_values(rows.values())?;
                let pass = SparsePass::new(rows, problem, penalty);
                self.search(pass, rows.columns(), progress, Weights::Double)
            }
            Rows::Dense(rows) => {
                let (problem, penalty) =
                    self.prepare(rows.rows(), rows.columns(), targets, weights)?;
                check_values(rows.values())?;
                let pass = DensePass::new(rows, problem, penalty);
                self.search(pass, rows.columns(), progress, Weights::Double)
            }
        }
    }

    /// The problem, and the penalty that belongs to losses scaled to a mean.
    fn prepare<T: Real>(
        &self,
        rows: usize,
        features: usize,
        targets: Targets<'_>,
        weights: Option<&[f64]>,
    ) -> Result<(Problem<T>, f64), LogisticError> {
        let problem = Problem::new(rows, targets, weights, &self.options)?;
        let outputs = problem.padded;
        if (features + 1)
            .checked_mul(outputs)
            .is_none_or(|size| size > WEIGHTS_MAX)
        {
            return Err(LogisticError::TooLarge { features, outputs });
        }
        let penalty = 1.0 / (self.options.c * problem.weight_total);
        Ok((problem, penalty))
    }

    fn search<T: Real, P: Pass<T>>(
        &self,
        mut pass: P,
        features: usize,
        progress: &mut dyn FnMut(usize, f64) -> ControlFlow<()>,
        wrap: fn(Vec<T>) -> Weights,
    ) -> Result<Trained, LogisticError> {
        let settings = Settings {
            history: self.options.history,
            tolerance: self.options.tolerance,
            iterations_max: self.options.iterations_max,
            problems: pass.problem().separate(),
            padded: pass.problem().padded,
        };
        let (padded, outputs) = (pass.problem().padded, pass.problem().outputs);
        let scale = self.options.c * pass.problem().weight_total;
        let link = pass.problem().link();
        let start = vec![T::ZERO; (features + 1) * padded];
        let mut scaled = |iteration, value| progress(iteration, value * scale);
        let minimum = minimize(&mut pass, start, settings, &mut scaled);
        let Minimum {
            mut point,
            value,
            iterations,
            evaluations,
            ending,
        } = minimum;
        pass.scales().apply(padded, &mut point);
        let (weights, bias) = point.split_at(features * padded);
        let weights = weights
            .chunks(padded)
            .flat_map(|row| &row[..outputs])
            .copied()
            .collect();
        let bias = bias[..outputs].iter().map(|bias| bias.to_f64()).collect();
        let model =
            Linear::new(features, wrap(weights), bias, link).map_err(LogisticError::Overflow)?;
        Ok(Trained {
            model,
            objective: value * scale,
            iterations,
            evaluations,
            ending,
        })
    }
}

/// An objective that knows its problem and the units of its numbers.
trait Pass<T>: Objective<T> {
    fn problem(&self) -> &Problem<T>;
    fn scales(&self) -> &Scales<T>;
}

fn check_values<T: Real>(values: &[T]) -> Result<(), LogisticError> {
    match values.iter().position(|value| !value.to_f64().is_finite()) {
        Some(index) => Err(LogisticError::Value { index }),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use ombud_engine::linear::Link;

    use super::*;

    const ROWS: usize = 60;
    const CLASSES: [u32; ROWS] = [
        1, 1, 1, 2, 0, 0, 2, 0, 0, 0, 2, 1, 2, 2, 1, 2, 2, 2, 0, 0, 2, 0, 0, 1, 2, 1, 0, 0, 1, 2,
        1, 1, 1, 1, 1, 2, 2, 0, 2, 2, 0, 1, 0, 2, 1, 1, 2, 1, 1, 0, 2, 1, 0, 2, 1, 1, 0, 2, 0, 0,
    ];

    /// Four columns of numbers within −1 and 1, from the generator that the reference used too.
    fn values() -> Vec<f64> {
        let mut state = 1_u64;
        let mut next = || {
            state = (state * 1_103_515_245 + 12_345) % (1 << 31);
            ((state >> 8) % 2001) as f64 / 1000.0 - 1.0
        };
        (0..ROWS * 4).map(|_| next()).collect()
    }

    fn sparse<T: Real>(values: &[f64]) -> Csr<T> {
        let mut rows = Csr::new(4);
        for row in values.chunks(4) {
            let row = row.iter().map(|&value| T::of(value)).collect::<Vec<_>>();
            rows.push(&[0, 1, 2, 3], &row).unwrap();
        }
        rows
    }

    fn precise(c: f64, class_weights: ClassWeights) -> LogisticOptions {
        LogisticOptions {
            c,
            class_weights,
            tolerance: 1e-9,
            ..LogisticOptions::default()
        }
    }

    fn train(
        options: LogisticOptions,
        rows: Rows<'_>,
        targets: Targets<'_>,
        weights: Option<&[f64]>,
    ) -> Result<Trained, LogisticError> {
        let mut go_on = |_, _| ControlFlow::Continue(());
        Logistic::new(options)
            .unwrap()
            .train(rows, targets, weights, &mut go_on)
    }

    /// Objective, weights and bias of a reference, from scikit-learn 1.9.1.
    struct Reference<'a> {
        objective: f64,
        weights: &'a [f64],
        bias: &'a [f64],
    }

    fn check(trained: &Trained, reference: &Reference<'_>, tolerance: f64) {
        let gap = (trained.objective - reference.objective) / reference.objective;
        assert!(
            gap.abs() < tolerance,
            "objective {} {gap}",
            trained.objective
        );
        let outputs = trained.model.outputs();
        assert_eq!(outputs, reference.bias.len());
        for (at, expected) in reference.weights.iter().enumerate() {
            let found = trained.model.weight(at / outputs, at % outputs);
            assert!(
                (found - expected).abs() < tolerance,
                "weight {at}: {found} {expected}"
            );
        }
        for (found, expected) in trained.model.bias().iter().zip(reference.bias) {
            assert!(
                (found - expected).abs() < tolerance,
                "bias: {found} {expected}"
            );
        }
    }

    /// `LogisticRegression(C=2.0, tol=1e-10)`.
    const MULTINOMIAL: Reference<'static> = Reference {
        objective: 61.01305271738464,
        weights: &[
            2.410537260718045,
            -2.2503150011325164,
            -0.16022225958552924,
            0.45335633329383795,
            1.1491312288771625,
            -1.6024875621709995,
            -1.3823319711203912,
            0.08604307214925667,
            1.2962888989711348,
            0.15003943527277017,
            0.5625554901064246,
            -0.712594925379195,
        ],
        bias: &[
            -0.10313586519998376,
            -0.010577441692432339,
            0.11371330689241484,
        ],
    };

    #[test]
    fn several_classes_equal_the_reference() {
        let values = values();
        let targets = Targets::Classes {
            classes: &CLASSES,
            count: 3,
        };
        let options = precise(2.0, ClassWeights::Uniform);
        let dense = Rows::Dense(Dense::new(4, &values).unwrap());
        let trained = train(options.clone(), dense, targets, None).unwrap();
        check(&trained, &MULTINOMIAL, 1e-6);
        assert_eq!(trained.ending, Ending::Converged);
        assert_eq!(trained.model.link(), Link::Softmax);
        let rows = sparse::<f64>(&values);
        let trained = train(options, Rows::SparseDouble(&rows), targets, None).unwrap();
        check(&trained, &MULTINOMIAL, 1e-6);
        assert!(matches!(trained.model.weights(), Weights::Double(_)));
    }

    #[test]
    fn single_precision_is_precise_enough() {
        let rows = sparse::<f32>(&values());
        let targets = Targets::Classes {
            classes: &CLASSES,
            count: 3,
        };
        let options = LogisticOptions {
            tolerance: 1e-6,
            ..precise(2.0, ClassWeights::Uniform)
        };
        let trained = train(options, Rows::Sparse(&rows), targets, None).unwrap();
        check(&trained, &MULTINOMIAL, 1e-4);
        assert!(matches!(trained.model.weights(), Weights::Single(_)));
    }

    /// `LogisticRegression(C=0.5, class_weight="balanced")` with sample weights 1, 1.5, 2 in turn.
    #[test]
    fn row_and_class_weights_equal_the_reference() {
        let reference = Reference {
            objective: 27.559213635021052,
            weights: &[
                1.752471267750493,
                -1.6339071428490357,
                -0.11856412490145712,
                0.3579802226083394,
                0.8564389634259076,
                -1.214419186034247,
                -0.9598730785121075,
                0.08630875012553854,
                0.8735643283865696,
                0.10980991409543459,
                0.43586159127972834,
                -0.545671505375163,
            ],
            bias: &[
                -0.03632901587643887,
                -0.03733377580042244,
                0.07366279167686207,
            ],
        };
        let values = values();
        let weights = (0..ROWS)
            .map(|row| 1.0 + 0.5 * (row % 3) as f64)
            .collect::<Vec<_>>();
        let rows = Rows::Dense(Dense::new(4, &values).unwrap());
        let targets = Targets::Classes {
            classes: &CLASSES,
            count: 3,
        };
        let options = precise(0.5, ClassWeights::Balanced);
        check(
            &train(options, rows, targets, Some(&weights)).unwrap(),
            &reference,
            1e-6,
        );
    }

    /// `LogisticRegression(class_weight={0: 1, 1: 3})` for class 1 against the others.
    #[test]
    fn two_classes_equal_the_reference() {
        let reference = Reference {
            objective: 42.249440481652556,
            weights: &[
                -2.6774944405279832,
                1.6222900271102199,
                -0.0721544603567829,
                0.7799977817126056,
            ],
            bias: &[-0.2018328102221211],
        };
        let values = values();
        let classes = CLASSES.map(|class| u32::from(class == 1));
        let targets = Targets::Classes {
            classes: &classes,
            count: 2,
        };
        let options = precise(1.0, ClassWeights::Given(vec![1.0, 3.0]));
        let rows = Rows::Dense(Dense::new(4, &values).unwrap());
        let trained = train(options.clone(), rows, targets, None).unwrap();
        check(&trained, &reference, 1e-6);
        assert_eq!(trained.model.link(), Link::Logistic);
        let rows = sparse::<f64>(&values);
        let trained = train(options, Rows::SparseDouble(&rows), targets, None).unwrap();
        check(&trained, &reference, 1e-6);
    }

    /// `OneVsRestClassifier(LogisticRegression(class_weight="balanced"))` on three labels.
    #[test]
    fn labels_equal_the_reference() {
        let reference = Reference {
            objective: 66.41055862295138,
            weights: &[
                2.4836821621344076,
                -2.2971449606824446,
                2.18113771565832,
                0.5868314058344195,
                1.4160804302669094,
                2.6311192175619498,
                -1.6446296075236473,
                -0.04259136546619984,
                0.03136640002273699,
                0.3499060106066664,
                0.5759605589352976,
                0.2619642142246313,
            ],
            bias: &[
                -0.41722120693311004,
                -0.5253616031282161,
                -0.803735534836774,
            ],
        };
        let values = values();
        let is_high = |row: usize| values[row * 4] + values[row * 4 + 1] > 0.3;
        let label = |row: usize| [CLASSES[row] == 0, CLASSES[row] == 1, is_high(row)];
        let labels = (0..ROWS).flat_map(label).collect::<Vec<_>>();
        let targets = Targets::Labels {
            labels: &labels,
            count: 3,
        };
        let rows = Rows::Dense(Dense::new(4, &values).unwrap());
        let options = precise(1.0, ClassWeights::Balanced);
        check(
            &train(options, rows, targets, None).unwrap(),
            &reference,
            1e-6,
        );
    }

    #[test]
    fn one_versus_rest_is_each_class_on_its_own() {
        let values = values();
        let rows = Rows::Dense(Dense::new(4, &values).unwrap());
        let options = precise(1.0, ClassWeights::Balanced);
        let rest = LogisticOptions {
            family: Family::OneVsRest,
            ..options.clone()
        };
        let targets = Targets::Classes {
            classes: &CLASSES,
            count: 3,
        };
        let all = train(rest, rows, targets, None).unwrap().model;
        for class in 0..3 {
            let classes = CLASSES.map(|other| u32::from(other == class));
            let targets = Targets::Classes {
                classes: &classes,
                count: 2,
            };
            let alone = train(options.clone(), rows, targets, None).unwrap().model;
            for feature in 0..4 {
                let gap = alone.weight(feature, 0) - all.weight(feature, class as usize);
                assert!(gap.abs() < 1e-6, "class {class}, feature {feature}: {gap}");
            }
        }
    }

    /// Sparse rows over many features, with a class that some of them tell.
    fn many_rows(rows: usize, classes: u32) -> (Csr<f32>, Vec<u32>) {
        let mut matrix = Csr::new(3000);
        let mut targets = Vec::new();
        for row in 0..rows as u32 {
            let class = row * 7 % classes;
            let mut indices = (1..9)
                .map(|place| row * place * 613 % 2900)
                .collect::<Vec<_>>();
            indices.push(2900 + class);
            indices.sort_unstable();
            indices.dedup();
            let values = indices.iter().map(|index| 0.1 + (index % 7) as f32 / 10.0);
            matrix.push(&indices, &values.collect::<Vec<_>>()).unwrap();
            targets.push(class);
        }
        (matrix, targets)
    }

    #[test]
    fn any_number_of_threads_trains_the_same_bits() {
        let (rows, classes) = many_rows(1200, 13);
        let dense = (0..rows.rows() * 3)
            .map(|at| (at * 31 % 17) as f64 - 8.0)
            .collect::<Vec<_>>();
        let targets = Targets::Classes {
            classes: &classes,
            count: 13,
        };
        for family in [Family::Multinomial, Family::OneVsRest] {
            let options = LogisticOptions {
                family,
                ..LogisticOptions::default()
            };
            let trained = |threads| {
                let pool = rayon::ThreadPoolBuilder::new()
                    .num_threads(threads)
                    .build()
                    .unwrap();
                pool.install(|| {
                    let dense = Rows::Dense(Dense::new(3, &dense).unwrap());
                    [Rows::Sparse(&rows), dense].map(|rows| {
                        let trained = train(options.clone(), rows, targets, None).unwrap();
                        (trained.objective, trained.model)
                    })
                })
            };
            assert_eq!(trained(1), trained(2));
        }
    }

    #[test]
    fn a_tolerance_below_rounding_ends_all_the_same() {
        let (values, options) = (values(), precise(2.0, ClassWeights::Uniform));
        let options = LogisticOptions {
            tolerance: 1e-30,
            ..options
        };
        let (single, double) = (sparse::<f32>(&values), sparse::<f64>(&values));
        let targets = Targets::Classes {
            classes: &CLASSES,
            count: 3,
        };
        let matrices = [Rows::Sparse(&single), Rows::SparseDouble(&double)];
        for (rows, tolerance) in matrices.into_iter().zip([1e-4, 1e-6]) {
            let trained = train(options.clone(), rows, targets, None).unwrap();
            check(&trained, &MULTINOMIAL, tolerance);
            assert_eq!(trained.ending, Ending::Stalled);
            assert!(
                trained.iterations < 200,
                "{} iterations",
                trained.iterations
            );
        }
    }

    #[test]
    fn progress_sees_a_falling_objective_and_can_stop() {
        let (rows, classes) = many_rows(300, 3);
        let targets = Targets::Classes {
            classes: &classes,
            count: 3,
        };
        let mut seen = Vec::new();
        let mut progress = |iteration, objective| {
            seen.push(objective);
            if iteration == 3 {
                ControlFlow::Break(())
            } else {
                ControlFlow::Continue(())
            }
        };
        let logistic = Logistic::new(LogisticOptions::default()).unwrap();
        let trained = logistic
            .train(Rows::Sparse(&rows), targets, None, &mut progress)
            .unwrap();
        assert_eq!((trained.ending, trained.iterations), (Ending::Stopped, 3));
        assert!(
            seen.is_sorted_by(|before, after| before > after),
            "{seen:?}"
        );
        assert_eq!(seen.last(), Some(&trained.objective));
    }

    #[test]
    fn rows_that_weigh_nothing_change_nothing() {
        let values = values();
        let rows = Rows::Dense(Dense::new(4, &values).unwrap());
        let half = Rows::Dense(Dense::new(4, &values[..ROWS * 2]).unwrap());
        let weights = (0..ROWS).map(|row| if row < ROWS / 2 { 1.0 } else { 0.0 });
        let weights = weights.collect::<Vec<_>>();
        let options = precise(1.0, ClassWeights::Uniform);
        let targets = Targets::Classes {
            classes: &CLASSES,
            count: 3,
        };
        let weighed = train(options.clone(), rows, targets, Some(&weights)).unwrap();
        let targets = Targets::Classes {
            classes: &CLASSES[..ROWS / 2],
            count: 3,
        };
        let halved = train(options, half, targets, None).unwrap();
        assert!((weighed.objective - halved.objective).abs() < 1e-9);
    }

    #[test]
    fn columns_of_wild_sizes_still_train() {
        let mut values = values();
        values.chunks_mut(4).for_each(|row| {
            row[0] *= 1e6;
            row[1] *= 1e-6;
            row[2] = 0.0;
        });
        let rows = Rows::Dense(Dense::new(4, &values).unwrap());
        let targets = Targets::Classes {
            classes: &CLASSES,
            count: 3,
        };
        let trained = train(LogisticOptions::default(), rows, targets, None).unwrap();
        assert!(trained.objective < 60.0 * 3_f64.ln());
    }

    #[test]
    fn what_cannot_be_learnt_is_refused() {
        let values = values();
        let rows = Rows::Dense(Dense::new(4, &values).unwrap());
        let refused = |rows, classes: &[u32], count, weights| {
            let targets = Targets::Classes { classes, count };
            train(LogisticOptions::default(), rows, targets, weights).unwrap_err()
        };
        let none = Rows::Dense(Dense::new(4, &[]).unwrap());
        assert_eq!(refused(none, &[], 2, None), LogisticError::NoRows);
        let error = LogisticError::Targets {
            targets: 2,
            rows: ROWS,
        };
        assert_eq!(refused(rows, &[0, 1], 2, None), error);
        let error = LogisticError::Class {
            row: 3,
            class: 2,
            count: 2,
        };
        assert_eq!(refused(rows, &CLASSES, 2, None), error);
        assert_eq!(
            refused(rows, &[1; ROWS], 2, None),
            LogisticError::OneClass { class: 1 }
        );
        let error = LogisticError::Outputs { count: 1 };
        assert_eq!(refused(rows, &[0; ROWS], 1, None), error);
        let mut weights = [1.0; ROWS];
        weights[5] = -1.0;
        let error = LogisticError::Weight {
            row: 5,
            weight: -1.0,
        };
        assert_eq!(refused(rows, &CLASSES, 3, Some(&weights)), error);
        let nothing = refused(rows, &CLASSES, 3, Some(&[0.0; ROWS]));
        assert_eq!(nothing, LogisticError::NoWeight);
        let mut broken = values.clone();
        broken[7] = f64::NAN;
        let broken = Rows::Dense(Dense::new(4, &broken).unwrap());
        assert_eq!(
            refused(broken, &CLASSES, 3, None),
            LogisticError::Value { index: 7 }
        );
        let given = precise(1.0, ClassWeights::Given(vec![1.0]));
        let targets = Targets::Classes {
            classes: &CLASSES,
            count: 3,
        };
        let error = LogisticError::ClassWeights {
            found: 1,
            expected: 3,
        };
        assert_eq!(train(given, rows, targets, None).unwrap_err(), error);
    }
}
