//! Grows trees: the one place that knows the boosting library.
//!
//! Takes an encoded matrix and a target, gives our own [`Forest`]; in between the library's model passes through
//! XGBoost's stored format, so that nothing else in the house depends on whose code grew the trees.

use crate::recipe::{ForestParameters, LossKind};
use crate::target::Target;
use hessboost::config::Monotone;
use hessboost::data::FeatureType;
use hessboost::objective::{Multiclass, Quantiles, RegLoss};
use hessboost::prelude::{
    BoostedModel, DMatrix, EvalMetric, ModelFormat, Objective, Trainer, TrainingParams,
};
use ombud_engine::forest::{Forest, ForestError};
use std::num::NonZeroUsize;
use std::ops::ControlFlow;

/// Rows ready for growing trees. Copies with other rows share the binned values.
#[derive(Debug)]
pub struct Matrix {
    matrix: DMatrix,
    monotone: Vec<Monotone>,
}

/// What is known of a column beforehand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ColumnFacts {
    /// Whether its values are codes without an order.
    pub is_category: bool,
    /// +1: the answer may only rise with it; -1: only fall; 0: free.
    pub monotone: i8,
}

/// Why no forest could be grown.
#[derive(Debug, thiserror::Error)]
pub enum GrowError {
    #[error("the trees could not be grown: {0}")]
    Library(#[from] hessboost::error::HessboostError),
    #[error("the grown trees could not be read back")]
    Forest(#[from] ForestError),
    #[error("training was stopped")]
    Stopped,
}

/// A grown forest.
#[derive(Debug)]
pub struct Grown {
    /// The forest, cut to its best round.
    pub forest: Forest,
    /// How many rounds it has.
    pub rounds: usize,
}

/// Settings of one growing, all decided.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// As the recipe says, with depth and learning rate filled in.
    pub parameters: ForestParameters,
    /// Rounds, or the most rounds when others decide.
    pub rounds: usize,
    /// The seed of sampling.
    pub seed: u64,
    /// Threads; all when `None`.
    pub threads: Option<usize>,
}

impl Matrix {
    /// A matrix of rows in row-major order, with the target and weights it is learned from.
    pub fn new(
        values: Vec<f32>,
        columns: &[ColumnFacts],
        target: &Target,
        weights: Option<&[f32]>,
    ) -> Result<Self, GrowError> {
        let rows = values.len() / columns.len().max(1);
        let types: Vec<FeatureType> = columns
            .iter()
            .map(|column| {
                if column.is_category {
                    FeatureType::Categorical
                } else {
                    FeatureType::Numerical
                }
            })
            .collect();
        let monotone = columns.iter().map(|column| match column.monotone {
            1 => Monotone::Increasing,
            -1 => Monotone::Decreasing,
            _ => Monotone::None,
        });
        let mut matrix =
            DMatrix::from_dense_vec(values, rows, columns.len())?.with_feature_types(&types)?;
        matrix = match target {
            Target::Labels { names, .. } => {
                matrix.with_label_matrix(&labels(target), names.len())?
            }
            _ => matrix.with_labels(&labels(target))?,
        };
        if let Some(weights) = weights {
            matrix = matrix.with_weights(weights)?;
        }
        Ok(Matrix {
            matrix,
            monotone: monotone.collect(),
        })
    }

    /// Some of the rows.
    pub fn select(&self, rows: &[usize]) -> Result<Self, GrowError> {
        Ok(Matrix {
            matrix: self.matrix.select_rows(rows)?,
            monotone: self.monotone.clone(),
        })
    }
}

fn labels(target: &Target) -> Vec<f32> {
    match target {
        Target::Classes { codes, .. } => codes.iter().map(|code| *code as f32).collect(),
        Target::Labels { flags, .. } => flags
            .iter()
            .map(|flag| f32::from(u8::from(*flag)))
            .collect(),
        Target::Numbers(numbers) => numbers.iter().map(|number| *number as f32).collect(),
        Target::Nothing { rows } => vec![0.0; *rows],
    }
}

/// Grows a forest. With `watched` rows it stops when they no longer improve and keeps the best round.
///
/// `on_round` hears each round and may stop the training.
pub fn grow(
    matrix: &Matrix,
    watched: Option<&Matrix>,
    target: &Target,
    settings: &Settings,
    on_round: &mut (dyn FnMut(usize) -> ControlFlow<()> + Send),
) -> Result<Grown, GrowError> {
    let parameters = parameters(matrix, target, settings)?;
    let mut is_stopped = false;
    let mut trainer =
        Trainer::new(&parameters, &matrix.matrix, settings.rounds).on_round(|round| {
            let flow = on_round(round.iteration());
            is_stopped = flow.is_break();
            flow
        });
    if let Some(watched) = watched {
        let patience =
            NonZeroUsize::new(settings.parameters.early_stopping).unwrap_or(NonZeroUsize::MIN);
        trainer = trainer
            .eval(&watched.matrix, "watched")
            .early_stopping_rounds(patience);
    }
    let result = trainer.train()?;
    if is_stopped {
        return Err(GrowError::Stopped);
    }
    let best = watched
        .and_then(|_| result.model.best_iteration())
        .map(|best| best + 1);
    finish(&result.model, best)
}

/// Cuts a model to its best round and passes it through XGBoost's format.
fn finish(model: &BoostedModel, best: Option<usize>) -> Result<Grown, GrowError> {
    let rounds = best.unwrap_or_else(|| model.num_boost_rounds());
    let stored = if rounds < model.num_boost_rounds() {
        model
            .slice(..rounds, 1)?
            .encode(ModelFormat::XgboostUbjson)?
    } else {
        model.encode(ModelFormat::XgboostUbjson)?
    };
    Ok(Grown {
        forest: Forest::from_xgboost(&stored)?.forest,
        rounds,
    })
}

fn parameters(
    matrix: &Matrix,
    target: &Target,
    settings: &Settings,
) -> Result<TrainingParams, GrowError> {
    let of = &settings.parameters;
    let (objective, metric) = match target {
        Target::Classes { names, .. } if names.len() == 2 => (
            Objective::BinaryLogistic(RegLoss::default()),
            EvalMetric::LogLoss,
        ),
        Target::Classes { names, .. } => (
            Objective::Softprob(Multiclass::new(names.len())?),
            EvalMetric::MLogLoss,
        ),
        Target::Labels { .. } => (
            Objective::BinaryLogistic(RegLoss::default()),
            EvalMetric::LogLoss,
        ),
        Target::Numbers(_) | Target::Nothing { .. } => match of.loss {
            LossKind::Squared => (
                Objective::SquaredError(RegLoss::default()),
                EvalMetric::Rmse,
            ),
            LossKind::Absolute => (Objective::AbsoluteError, EvalMetric::Mae),
            LossKind::Quantile(alpha) => (
                Objective::Quantile(Quantiles::new(vec![alpha])?),
                EvalMetric::Mae,
            ),
        },
    };
    let mut builder = TrainingParams::builder()
        .objective(objective)
        .eta(of.learning_rate.unwrap_or(0.1))
        .max_depth(of.depth.unwrap_or(6))
        .subsample(of.subsample)
        .colsample_bytree(of.colsample)
        .min_child_weight(of.min_child_weight)
        .lambda(of.lambda)
        .alpha(of.alpha)
        .gamma(of.gamma)
        .max_bin(of.bins)
        .seed(settings.seed);
    if !matches!(of.loss, LossKind::Quantile(_)) {
        builder = builder.eval_metric(metric);
    }
    if let Some(threads) = settings.threads {
        builder = builder.nthread(threads);
    }
    if matrix.monotone.iter().any(|m| *m != Monotone::None) {
        builder = builder.monotone_constraints(matrix.monotone.clone());
    }
    Ok(builder.build()?)
}
