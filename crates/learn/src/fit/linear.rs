//! Learns a logistic regression over numbers, categories and texts.

use super::encode::{scaled, store, store_blocks, store_parts, texts_of};
use super::{FitError, Fitted, Problem, keep_going};
use crate::logistic::{Family, Logistic, LogisticOptions, Rows, Targets};
use crate::progress::Progress;
use crate::recipe::{LinearParameters, Strategy};
use crate::rows::Csr;
use crate::target::Target;
use crate::vocabulary;
use ombud_core::{Kind, Task};
use ombud_engine::bundle::Files;
use ombud_engine::encoding::{Block, EncodeScratch, Encoding, Parts};
use ombud_engine::engine::LinearEngine;
use ombud_engine::model::TENSORS_FILE;
use ombud_engine::text::SparseVector;
use rayon::prelude::*;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::Arc;

/// scikit-learn's default, when nothing was chosen.
const C_DEFAULT: f64 = 1.0;
/// Rows encoded by one task.
const ROWS_PER_TASK: usize = 512;

/// Fits linear models on rows of one problem.
#[derive(Debug)]
pub struct LinearLearner<'p> {
    problem: &'p Problem<'p>,
    parameters: &'p LinearParameters,
}

impl<'p> LinearLearner<'p> {
    /// A learner.
    pub fn new(problem: &'p Problem<'p>, parameters: &'p LinearParameters) -> Self {
        LinearLearner {
            problem,
            parameters,
        }
    }

    /// Fits on some rows.
    pub fn fit(&self, rows: &[u32], progress: &dyn Progress) -> Result<Fitted, FitError> {
        keep_going(progress)?;
        let (encoding, parts) = self.encoding(rows)?;
        let csr = self.encode(&encoding, rows);
        let target = self.problem.target.take(rows);
        let weights = self.problem.weights_of(rows);
        let options = LogisticOptions {
            c: self.parameters.c.unwrap_or(C_DEFAULT),
            iterations_max: self.parameters.iterations,
            family: match self.parameters.strategy {
                Strategy::Multinomial => Family::Multinomial,
                Strategy::OneVsRest => Family::OneVsRest,
            },
            ..LogisticOptions::default()
        };
        let mut on_iteration = |iteration: usize, _objective: f64| {
            progress.advance(iteration as u64);
            if progress.is_stopped() {
                ControlFlow::Break(())
            } else {
                ControlFlow::Continue(())
            }
        };
        let targets = match &target {
            Target::Classes { names, codes, .. } => Targets::Classes {
                classes: codes,
                count: names.len(),
            },
            Target::Labels { names, flags } => Targets::Labels {
                labels: flags,
                count: names.len(),
            },
            Target::Numbers(_) | Target::Nothing { .. } => {
                return Err(FitError::Store("a linear model needs classes".into()));
            }
        };
        let logistic = Logistic::new(options)?;
        let trained = logistic.train(
            Rows::Sparse(&csr),
            targets,
            weights.as_deref(),
            &mut on_iteration,
        )?;
        keep_going(progress)?;
        let stored = trained
            .model
            .to_bytes()
            .map_err(|error| FitError::Store(error.to_string()))?;
        let mut files = Files::new();
        store(&mut files, TENSORS_FILE, stored)?;
        store_blocks(&mut files, &encoding)?;
        store_parts(&mut files, &parts)?;
        let is_exclusive = self.problem.target.task() != Task::MultiLabel;
        let engine = LinearEngine::new(encoding, trained.model, is_exclusive)?;
        Ok(Fitted {
            engine: Box::new(engine),
            files,
            parameters: self.used(trained.iterations),
        })
    }

    fn encoding(&self, rows: &[u32]) -> Result<(Encoding, Parts), FitError> {
        let frame = self.problem.frame;
        let mut parts = Parts::default();
        let mut blocks = Vec::new();
        for (feature, described) in frame.schema().features().iter().enumerate() {
            match &described.kind {
                Kind::Number { .. } | Kind::Ordinal { .. } | Kind::Sequence { .. } => {
                    blocks.push(scaled(frame, feature, rows, true));
                }
                Kind::Category { values, .. } => {
                    blocks.push(Block::OneOf {
                        feature,
                        values: values.len(),
                        weight: 1.0,
                    });
                }
                Kind::Text => {
                    let texts: Vec<&str> = texts_of(frame, feature, rows)
                        .into_iter()
                        .flatten()
                        .collect();
                    let fitted = vocabulary::fit(&self.parameters.text, &texts);
                    let fitted = fitted.map_err(|cause| FitError::Texts {
                        feature: described.name.clone(),
                        cause,
                    })?;
                    let vectorizer = format!("text_{feature}.safetensors");
                    parts
                        .vectorizers
                        .insert(vectorizer.clone(), Arc::new(fitted));
                    blocks.push(Block::Text {
                        feature,
                        vectorizer,
                    });
                }
            }
        }
        Ok((Encoding::new(frame.schema(), blocks, &parts)?, parts))
    }

    fn encode(&self, encoding: &Encoding, rows: &[u32]) -> Csr<f32> {
        let chunks: Vec<Csr<f32>> = rows
            .par_chunks(ROWS_PER_TASK)
            .map(|rows| {
                let (mut scratch, mut row_terms) =
                    (EncodeScratch::default(), SparseVector::default());
                let mut csr = Csr::new(encoding.columns());
                for row in rows {
                    encoding.encode_frame_row_sparse(
                        self.problem.frame,
                        *row as usize,
                        &mut scratch,
                        &mut row_terms,
                    );
                    csr.push(&row_terms.indices, &row_terms.values)
                        .expect("an encoded row fits its encoding");
                }
                csr
            })
            .collect();
        let mut all = Csr::new(encoding.columns());
        for chunk in &chunks {
            all.append(chunk)
                .expect("all chunks have the encoding's columns");
        }
        all
    }

    fn used(&self, iterations: usize) -> BTreeMap<String, Value> {
        let strategy = match self.parameters.strategy {
            Strategy::Multinomial => "multinomial",
            Strategy::OneVsRest => "one_vs_rest",
        };
        BTreeMap::from([
            ("algorithm".to_owned(), json!("linear")),
            (
                "c".to_owned(),
                json!(self.parameters.c.unwrap_or(C_DEFAULT)),
            ),
            ("strategy".to_owned(), json!(strategy)),
            ("iterations".to_owned(), json!(iterations)),
            ("text".to_owned(), json!(self.parameters.text)),
        ])
    }
}
