//! From a row's typed values to the numbers an algorithm takes, the same in training and in serving.
//!
//! An encoding is a list of blocks; each turns one feature into one or more columns. Training makes it once (scales,
//! vocabularies, text stages), the bundle keeps it, and both rows and frames pass through the same code, so a model
//! cannot be asked in another shape than it learned. Which blocks an algorithm wants is training's choice.

use crate::linear::Linear;
use crate::text::{Mark, Scratch, SparseVector, Vectorizer};
use ombud_core::frame::Column;
use ombud_core::row::Value;
use ombud_core::{Frame, Row, Schema};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Most columns an encoding may have; more is a damaged or hostile file.
pub const COLUMNS_MAX: usize = 50_000_000;
/// Most columns a row may have where every column is written out.
pub const DENSE_COLUMNS_MAX: usize = 100_000;

/// How one feature becomes columns, as it is stored.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "block", rename_all = "snake_case", deny_unknown_fields)]
pub enum Block {
    /// The number, code or steps as they are; NaN where missing.
    Raw { feature: usize },
    /// `(x - center) / scale` per step; a missing value becomes 0, the center. With `flags`, a column of 0 or 1 per
    /// step follows that says whether it was missing.
    Scaled {
        feature: usize,
        center: Vec<f64>,
        scale: Vec<f64>,
        flags: bool,
    },
    /// One column per value: `weight` for the value at hand, 0 for the others; all 0 when missing.
    OneOf {
        feature: usize,
        values: usize,
        weight: f64,
    },
    /// The features of a text's vectorizer.
    Text { feature: usize, vectorizer: String },
    /// The margins of a small text model, learned out of fold.
    TextStage {
        feature: usize,
        vectorizer: String,
        linear: String,
    },
}

/// Why a stored encoding cannot be used.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum EncodingError {
    #[error("block {block} names feature {feature}, and the schema has {features}")]
    Feature {
        block: usize,
        feature: usize,
        features: usize,
    },
    #[error("block {block} does not fit a feature of type {kind}")]
    Kind { block: usize, kind: &'static str },
    #[error("block {block} holds a number that cannot be used")]
    Number { block: usize },
    #[error("block {block} needs the part {part:?}, which the bundle does not hold")]
    Part { block: usize, part: String },
    #[error("the encoding has {columns} columns, more than the {max} allowed")]
    TooWide { columns: usize, max: usize },
}

/// The fitted parts that blocks name: vectorizers and text stages.
#[derive(Debug, Clone, Default)]
pub struct Parts {
    /// Vectorizers by file name.
    pub vectorizers: BTreeMap<String, Arc<Vectorizer>>,
    /// Text stages by file name.
    pub linears: BTreeMap<String, Arc<Linear>>,
}

/// A checked encoding with its parts at hand.
#[derive(Debug, Clone)]
pub struct Encoding {
    blocks: Vec<Placed>,
    columns: usize,
    is_dense: bool,
}

#[derive(Debug, Clone)]
struct Placed {
    block: Block,
    offset: usize,
    width: usize,
    vectorizer: Option<Arc<Vectorizer>>,
    linear: Option<Arc<Linear>>,
}

/// Buffers reused from row to row.
#[derive(Debug, Default)]
pub struct EncodeScratch {
    text: Scratch,
    terms: SparseVector,
    margins: Vec<f64>,
}

impl Encoding {
    /// Checks blocks against the schema and their parts.
    pub fn new(schema: &Schema, blocks: Vec<Block>, parts: &Parts) -> Result<Self, EncodingError> {
        let mut placed = Vec::with_capacity(blocks.len());
        let mut offset = 0;
        for (index, block) in blocks.into_iter().enumerate() {
            let one = Placed::new(index, block, offset, schema, parts)?;
            offset += one.width;
            if offset > COLUMNS_MAX {
                return Err(EncodingError::TooWide {
                    columns: offset,
                    max: COLUMNS_MAX,
                });
            }
            placed.push(one);
        }
        let is_dense = placed
            .iter()
            .all(|p| !matches!(p.block, Block::Text { .. }));
        Ok(Encoding {
            blocks: placed,
            columns: offset,
            is_dense,
        })
    }

    /// How many columns a row becomes.
    pub fn columns(&self) -> usize {
        self.columns
    }

    /// Checks that rows can be written out in full.
    pub fn check_dense(&self) -> Result<(), EncodingError> {
        if self.is_dense && self.columns <= DENSE_COLUMNS_MAX {
            Ok(())
        } else {
            Err(EncodingError::TooWide {
                columns: self.columns,
                max: DENSE_COLUMNS_MAX,
            })
        }
    }

    /// The blocks, as stored.
    pub fn blocks(&self) -> impl Iterator<Item = &Block> {
        self.blocks.iter().map(|placed| &placed.block)
    }

    /// The feature each column comes from.
    pub fn feature_of_column(&self) -> Vec<usize> {
        self.blocks
            .iter()
            .flat_map(|p| std::iter::repeat_n(p.block.feature(), p.width))
            .collect()
    }

    /// How many of the schema's features there are up to the last that is encoded.
    pub fn features(&self) -> usize {
        let features = self.blocks().map(|block| block.feature() + 1);
        features.max().unwrap_or(0)
    }

    /// Columns' shares, in the columns' order, added up to features.
    pub fn by_feature(
        &self,
        shares: impl IntoIterator<Item = (usize, f64)>,
        features: usize,
    ) -> Vec<f64> {
        let mut sums = vec![0.0; features];
        let mut blocks = self.blocks.iter();
        let mut block = blocks.next();
        for (column, share) in shares {
            while block.is_some_and(|placed| column >= placed.offset + placed.width) {
                block = blocks.next();
            }
            if let Some(placed) = block {
                sums[placed.block.feature()] += share;
            }
        }
        sums
    }

    /// Writes a row's columns out; `out` has [`Encoding::columns`] places.
    pub fn encode_row(&self, row: &Row, scratch: &mut EncodeScratch, out: &mut [f64]) {
        self.encode(&row.values(), scratch, out);
    }

    /// Writes some rows of a frame out, row after row.
    pub fn encode_frame(
        &self,
        frame: &Frame,
        rows: std::ops::Range<usize>,
        scratch: &mut EncodeScratch,
        out: &mut [f64],
    ) {
        for (row, out) in rows.zip(out.chunks_exact_mut(self.columns.max(1))) {
            self.encode(&FrameRow { frame, row }, scratch, out);
        }
    }

    /// A row's columns that are not zero.
    pub fn encode_row_sparse(
        &self,
        row: &Row,
        scratch: &mut EncodeScratch,
        out: &mut SparseVector,
    ) {
        self.encode_sparse(&row.values(), scratch, out);
    }

    /// The columns of one row of a frame that are not zero.
    pub fn encode_frame_row_sparse(
        &self,
        frame: &Frame,
        row: usize,
        scratch: &mut EncodeScratch,
        out: &mut SparseVector,
    ) {
        self.encode_sparse(&FrameRow { frame, row }, scratch, out);
    }

    fn encode(&self, cells: &impl Cells, scratch: &mut EncodeScratch, out: &mut [f64]) {
        for placed in &self.blocks {
            placed.write(
                cells,
                scratch,
                &mut out[placed.offset..placed.offset + placed.width],
            );
        }
    }

    fn encode_sparse(
        &self,
        cells: &impl Cells,
        scratch: &mut EncodeScratch,
        out: &mut SparseVector,
    ) {
        out.clear();
        for placed in &self.blocks {
            placed.push(cells, scratch, out);
        }
    }

    /// The words of a row's texts, each with what `weight_of` gives its columns.
    ///
    /// For a block of vocabulary columns the weights are those of the model; for a text stage those of the stage's `stage_output`.
    pub fn marks(
        &self,
        row: &Row,
        weight_of: &dyn Fn(usize) -> f64,
        stage_output: usize,
    ) -> Vec<(usize, Vec<Mark>)> {
        let mut scratch = Scratch::default();
        let mut all = Vec::new();
        for placed in &self.blocks {
            let feature = placed.block.feature();
            let (Some(vectorizer), Value::Text(text)) =
                (&placed.vectorizer, &row.values()[feature])
            else {
                continue;
            };
            let marks = match &placed.linear {
                None => vectorizer.marks(text, &mut scratch, &|term| {
                    weight_of(placed.offset + term as usize)
                }),
                Some(linear) => {
                    let output = stage_output.min(linear.outputs().saturating_sub(1));
                    vectorizer.marks(text, &mut scratch, &|term| {
                        linear.weight(term as usize, output)
                    })
                }
            };
            all.push((feature, marks));
        }
        all
    }

    /// Whether a text feature goes through a stage of its own.
    pub fn has_text_stage(&self, feature: usize) -> bool {
        self.blocks
            .iter()
            .any(|p| p.linear.is_some() && p.block.feature() == feature)
    }
}

impl Block {
    /// The feature it encodes.
    pub fn feature(&self) -> usize {
        match self {
            Block::Raw { feature }
            | Block::Scaled { feature, .. }
            | Block::OneOf { feature, .. }
            | Block::Text { feature, .. }
            | Block::TextStage { feature, .. } => *feature,
        }
    }
}

impl Placed {
    fn new(
        index: usize,
        block: Block,
        offset: usize,
        schema: &Schema,
        parts: &Parts,
    ) -> Result<Self, EncodingError> {
        let feature = block.feature();
        let features = schema.features().len();
        let kind = match schema.features().get(feature) {
            Some(feature) => &feature.kind,
            None => {
                return Err(EncodingError::Feature {
                    block: index,
                    feature,
                    features,
                });
            }
        };
        use ombud_core::Kind;
        let steps = if let Kind::Sequence { steps, .. } = kind {
            *steps
        } else {
            1
        };
        let wrong_kind = || EncodingError::Kind {
            block: index,
            kind: kind.word(),
        };
        let is_text = matches!(kind, Kind::Text);
        let vectorizer = match &block {
            Block::Text { vectorizer, .. } | Block::TextStage { vectorizer, .. } => {
                let part = || EncodingError::Part {
                    block: index,
                    part: vectorizer.clone(),
                };
                Some(parts.vectorizers.get(vectorizer).ok_or_else(part)?.clone())
            }
            _ => None,
        };
        let mut linear = None;
        let width = match &block {
            Block::Raw { .. } if !is_text => steps,
            Block::Scaled {
                center,
                scale,
                flags,
                ..
            } if !is_text => {
                let is_usable = center.iter().all(|c| c.is_finite())
                    && scale.iter().all(|s| s.is_finite() && *s > 0.0);
                if center.len() != steps || scale.len() != steps || !is_usable {
                    return Err(EncodingError::Number { block: index });
                }
                steps * (1 + usize::from(*flags))
            }
            Block::OneOf { values, weight, .. }
                if matches!(kind, Kind::Category { .. } | Kind::Ordinal { .. }) =>
            {
                if *values != kind.values().len() || !weight.is_finite() {
                    return Err(EncodingError::Number { block: index });
                }
                *values
            }
            Block::Text { .. } if is_text => vectorizer.as_ref().map_or(0, |v| v.features()),
            Block::TextStage { linear: name, .. } if is_text => {
                let part = || EncodingError::Part {
                    block: index,
                    part: name.clone(),
                };
                let stage = parts.linears.get(name).ok_or_else(part)?.clone();
                if Some(stage.features()) != vectorizer.as_ref().map(|v| v.features()) {
                    return Err(EncodingError::Number { block: index });
                }
                let outputs = stage.outputs();
                linear = Some(stage);
                outputs
            }
            _ => return Err(wrong_kind()),
        };
        Ok(Placed {
            block,
            offset,
            width,
            vectorizer,
            linear,
        })
    }

    fn write(&self, cells: &impl Cells, scratch: &mut EncodeScratch, out: &mut [f64]) {
        match &self.block {
            Block::Raw { feature } => {
                for (step, out) in out.iter_mut().enumerate() {
                    *out = cells.number(*feature, step);
                }
            }
            Block::Scaled {
                feature,
                center,
                scale,
                flags,
            } => {
                let (values, missing) = out.split_at_mut(center.len());
                for (step, out) in values.iter_mut().enumerate() {
                    let number = cells.number(*feature, step);
                    *out = if number.is_nan() {
                        0.0
                    } else {
                        (number - center[step]) / scale[step]
                    };
                    if *flags {
                        missing[step] = f64::from(u8::from(number.is_nan()));
                    }
                }
            }
            Block::OneOf {
                feature, weight, ..
            } => {
                out.fill(0.0);
                let code = cells.number(*feature, 0);
                if let Some(place) = out.get_mut(code as usize)
                    && !code.is_nan()
                {
                    *place = *weight;
                }
            }
            Block::Text { .. } => {
                unreachable!("dense rows are only written by encodings without vocabularies")
            }
            Block::TextStage { feature, .. } => {
                self.write_stage(cells.text(*feature), scratch, out);
            }
        }
    }

    fn write_stage(&self, text: Option<&str>, scratch: &mut EncodeScratch, out: &mut [f64]) {
        let (Some(vectorizer), Some(linear)) = (&self.vectorizer, &self.linear) else {
            return;
        };
        let Some(text) = text else {
            out.fill(f64::NAN);
            return;
        };
        vectorizer.transform(text, &mut scratch.text, &mut scratch.terms);
        match linear.margins_sparse(&scratch.terms, &mut scratch.margins) {
            Ok(()) => out.copy_from_slice(&scratch.margins),
            Err(_) => out.fill(f64::NAN),
        }
    }

    fn push(&self, cells: &impl Cells, scratch: &mut EncodeScratch, out: &mut SparseVector) {
        match &self.block {
            Block::Text { feature, .. } => {
                let (Some(vectorizer), Some(text)) = (&self.vectorizer, cells.text(*feature))
                else {
                    return;
                };
                vectorizer.transform(text, &mut scratch.text, &mut scratch.terms);
                for (term, value) in scratch.terms.iter() {
                    out.indices.push(self.offset as u32 + term);
                    out.values.push(value);
                }
            }
            Block::OneOf {
                feature,
                values,
                weight,
            } => {
                let code = cells.number(*feature, 0);
                if !code.is_nan() && (code as usize) < *values {
                    out.indices.push(self.offset as u32 + code as u32);
                    out.values.push(*weight as f32);
                }
            }
            Block::Raw { .. } | Block::Scaled { .. } | Block::TextStage { .. } => {
                let mut dense = vec![0.0; self.width];
                self.write(cells, scratch, &mut dense);
                for (place, value) in dense.into_iter().enumerate() {
                    if value != 0.0 && !value.is_nan() {
                        out.indices.push((self.offset + place) as u32);
                        out.values.push(value as f32);
                    }
                }
            }
        }
    }
}

/// The cells of one row, whether it came alone or in a frame.
trait Cells {
    /// A number, a code or a step as a number; NaN when missing.
    fn number(&self, feature: usize, step: usize) -> f64;
    /// A text.
    fn text(&self, feature: usize) -> Option<&str>;
}

impl Cells for &[Value] {
    fn number(&self, feature: usize, step: usize) -> f64 {
        match &self[feature] {
            Value::Number(number) => *number,
            Value::Code(code) => f64::from(*code),
            Value::Sequence(steps) => steps.get(step).copied().unwrap_or(f64::NAN),
            Value::Missing | Value::Text(_) => f64::NAN,
        }
    }

    fn text(&self, feature: usize) -> Option<&str> {
        match &self[feature] {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }
}

struct FrameRow<'f> {
    frame: &'f Frame,
    row: usize,
}

impl Cells for FrameRow<'_> {
    fn number(&self, feature: usize, step: usize) -> f64 {
        use arrow_array::Array;
        match &self.frame.columns()[feature] {
            Column::Number(numbers) if numbers.is_valid(self.row) => numbers.value(self.row),
            Column::Code(codes) if codes.is_valid(self.row) => f64::from(codes.value(self.row)),
            Column::Sequence { steps, values } => values
                .get(self.row * steps + step)
                .copied()
                .unwrap_or(f64::NAN),
            Column::Number(_) | Column::Code(_) | Column::Text(_) => f64::NAN,
        }
    }

    fn text(&self, feature: usize) -> Option<&str> {
        use arrow_array::Array;
        match &self.frame.columns()[feature] {
            Column::Text(texts) if texts.is_valid(self.row) => Some(texts.value(self.row)),
            _ => None,
        }
    }
}
