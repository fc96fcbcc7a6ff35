//! Learns a forest over a table, with texts beside it through out-of-fold stages.

use super::encode::{column_facts, matrix, store, store_blocks, store_parts};
use super::{FitError, Fitted, Problem, text_stage};
use crate::grow::{self, GrowError, Matrix, Settings};
use crate::progress::Progress;
use crate::recipe::{ForestParameters, LossKind};
use crate::target::Target;
use ombud_core::Kind;
use ombud_engine::bundle::Files;
use ombud_engine::encoding::{Block, Encoding, Parts};
use ombud_engine::engine::{Engine, ForestEngine};
use ombud_engine::model::FOREST_FILE;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::Arc;

/// Most rounds tried when held-out rows decide.
pub const ROUNDS_MAX: usize = 1_500;

/// Grows forests on rows of one problem. Texts are staged and rows written out once, for the rows it is made for.
#[derive(Debug)]
pub struct ForestLearner<'p> {
    problem: &'p Problem<'p>,
    rows: Vec<u32>,
    encoding: Encoding,
    parts: Parts,
    matrix: Matrix,
    target: Target,
    /// The rows as written out, kept only when texts are staged: their margins are out of fold and cannot be had again.
    staged: Option<Vec<f32>>,
}

/// A grown forest, not yet behind the engine's trait.
#[derive(Debug)]
pub struct GrownForest {
    engine: ForestEngine,
    files: Files,
    parameters: BTreeMap<String, Value>,
    /// How many rounds it has.
    pub rounds: usize,
}

impl From<GrownForest> for Fitted {
    fn from(grown: GrownForest) -> Fitted {
        Fitted {
            engine: Box::new(grown.engine),
            files: grown.files,
            parameters: grown.parameters,
        }
    }
}

/// Rows that decide when to stop growing.
#[derive(Debug, Clone, Copy)]
pub enum Watching<'a> {
    /// None: all rounds are grown.
    Nothing,
    /// These places among the learner's rows.
    Places(&'a [usize]),
}

impl<'p> ForestLearner<'p> {
    /// Stages the texts and writes out the rows.
    pub fn new(
        problem: &'p Problem<'p>,
        rows: &[u32],
        progress: &dyn Progress,
    ) -> Result<Self, FitError> {
        let frame = problem.frame;
        let mut parts = Parts::default();
        let mut blocks = Vec::new();
        let mut margins = Vec::new();
        for (feature, described) in frame.schema().features().iter().enumerate() {
            if !matches!(described.kind, Kind::Text) {
                blocks.push(Block::Raw { feature });
                continue;
            }
            let stage = text_stage::fit(
                frame,
                feature,
                problem.target,
                rows,
                problem.keys,
                problem.seed,
                progress,
            )?;
            let Some(stage) = stage else { continue };
            let (vectorizer, linear) = (
                format!("text_{feature}.safetensors"),
                format!("stage_{feature}.safetensors"),
            );
            parts
                .vectorizers
                .insert(vectorizer.clone(), Arc::new(stage.vectorizer));
            parts.linears.insert(linear.clone(), Arc::new(stage.linear));
            margins.push((blocks.len(), stage.margins));
            blocks.push(Block::TextStage {
                feature,
                vectorizer,
                linear,
            });
        }
        let encoding = Encoding::new(frame.schema(), blocks, &parts)?;
        encoding.check_dense()?;
        let mut values = matrix(&encoding, frame, rows);
        put_margins(&mut values, &encoding, &margins, rows.len());
        let target = problem.target.take(rows);
        let weights: Option<Vec<f32>> = problem
            .weights_of(rows)
            .map(|weights| weights.into_iter().map(|w| w as f32).collect());
        let facts = column_facts(&encoding, frame, problem.monotone);
        let staged = (!margins.is_empty()).then(|| values.clone());
        let matrix = Matrix::new(values, &facts, &target, weights.as_deref())?;
        Ok(ForestLearner {
            problem,
            rows: rows.to_vec(),
            encoding,
            parts,
            matrix,
            target,
            staged,
        })
    }

    /// The rows it learns from.
    pub fn rows(&self) -> &[u32] {
        &self.rows
    }

    /// Grows a forest on the rows at some places, or on all.
    pub fn fit(
        &self,
        places: Option<&[usize]>,
        watching: Watching<'_>,
        parameters: &ForestParameters,
        rounds: usize,
        on_round: &mut (dyn FnMut(usize) -> ControlFlow<()> + Send),
    ) -> Result<GrownForest, FitError> {
        let settings = Settings {
            parameters: parameters.clone(),
            rounds,
            seed: self.problem.seed,
            threads: self.problem.threads,
        };
        let chosen = places
            .map(|places| self.matrix.select(places))
            .transpose()?;
        let watched = match watching {
            Watching::Nothing => None,
            Watching::Places(places) => Some(self.matrix.select(places)?),
        };
        let matrix = chosen.as_ref().unwrap_or(&self.matrix);
        let grown = grow::grow(matrix, watched.as_ref(), &self.target, &settings, on_round)
            .map_err(|error| {
                if matches!(error, GrowError::Stopped) {
                    FitError::Stopped
                } else {
                    error.into()
                }
            })?;
        let stored = grown.forest.to_xgboost_ubjson().map_err(GrowError::from)?;
        let mut files = Files::new();
        store(&mut files, FOREST_FILE, stored)?;
        store_blocks(&mut files, &self.encoding)?;
        store_parts(&mut files, &self.parts)?;
        let engine = ForestEngine::new(self.encoding.clone(), grown.forest)?;
        Ok(GrownForest {
            engine,
            files,
            parameters: used(parameters, grown.rounds),
            rounds: grown.rounds,
        })
    }

    /// Scores the rows at some places. Where texts are staged, with the margins that do not know these rows' answers.
    pub fn score(&self, grown: &GrownForest, places: &[usize]) -> Vec<f64> {
        let width = grown.engine.width();
        let mut scores = vec![0.0; places.len() * width];
        match &self.staged {
            Some(values) => {
                let columns = self.encoding.columns();
                let of = |place: &usize| {
                    values[place * columns..(place + 1) * columns]
                        .iter()
                        .map(|v| f64::from(*v))
                };
                let encoded: Vec<f64> = places.iter().flat_map(of).collect();
                grown.engine.score_encoded(&encoded, &mut scores);
            }
            None => {
                let rows: Vec<u32> = places.iter().map(|place| self.rows[*place]).collect();
                grown
                    .engine
                    .score_frame(&self.problem.frame.take(&rows), &mut scores);
            }
        }
        scores
    }
}

/// Puts the out-of-fold margins where the stage's own would stand.
fn put_margins(
    values: &mut [f32],
    encoding: &Encoding,
    margins: &[(usize, Vec<f64>)],
    rows: usize,
) {
    let columns = encoding.columns();
    let mut offsets = Vec::new();
    let feature_of_column = encoding.feature_of_column();
    let mut offset = 0;
    for block in encoding.blocks() {
        offsets.push(offset);
        offset += feature_of_column
            .iter()
            .filter(|feature| **feature == block.feature())
            .count();
    }
    for (block, margins) in margins {
        let width = margins.len() / rows.max(1);
        for (row, of_row) in margins.chunks_exact(width.max(1)).enumerate() {
            let start = row * columns + offsets[*block];
            for (out, margin) in values[start..start + width].iter_mut().zip(of_row) {
                *out = *margin as f32;
            }
        }
    }
}

fn used(parameters: &ForestParameters, rounds: usize) -> BTreeMap<String, Value> {
    let loss = match parameters.loss {
        LossKind::Squared => json!("squared"),
        LossKind::Absolute => json!("absolute"),
        LossKind::Quantile(alpha) => json!({ "quantile": alpha }),
    };
    BTreeMap::from([
        ("algorithm".to_owned(), json!("forest")),
        ("rounds".to_owned(), json!(rounds)),
        ("depth".to_owned(), json!(parameters.depth)),
        ("learning_rate".to_owned(), json!(parameters.learning_rate)),
        ("subsample".to_owned(), json!(parameters.subsample)),
        ("colsample".to_owned(), json!(parameters.colsample)),
        (
            "min_child_weight".to_owned(),
            json!(parameters.min_child_weight),
        ),
        ("lambda".to_owned(), json!(parameters.lambda)),
        ("alpha".to_owned(), json!(parameters.alpha)),
        ("gamma".to_owned(), json!(parameters.gamma)),
        ("bins".to_owned(), json!(parameters.bins)),
        ("loss".to_owned(), loss),
    ])
}
