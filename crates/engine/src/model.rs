//! A model ready to answer: a verified bundle with its engine, its schema and its answering rule.
//!
//! ```no_run
//! let model = ombud_engine::Model::open("models/claim_outcome/latest")?;
//! let row = model.row(br#"{"department": "Surgery", "age": 41}"#)?;
//! let answer = model.predict(&row);
//! println!("{} ({:?})", model.name_of(&answer), answer.confidence);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use crate::answering::{Answering, AnsweringError};
use crate::bundle::{Bundle, BundleError, Trust};
use crate::clusters::Clusters;
use crate::encoding::{Block, Encoding, EncodingError, Parts};
use crate::engine::{
    ClusterEngine, Engine, ForestEngine, LinearEngine, Mapping, OnnxEngine, Points,
};
use crate::ensemble::{Folders, NoStages, StageBundles, StageError, Stages};
use crate::forest::{Forest, ForestError};
use crate::linear::Linear;
use crate::onnx::OnnxModel;
use crate::text::Vectorizer;
use ombud_core::answer::Prediction;
use ombud_core::explanation::{Contribution, Word};
use ombud_core::row::{RowParser, Value};
use ombud_core::schema::Kind;
use ombud_core::task::Outputs;
use ombud_core::{Answer, Class, Explanation, Frame, Manifest, Refusal, Row, Schema, Task};
use std::borrow::Cow;
use std::path::Path;
use std::sync::Arc;

/// The file that holds how rows are encoded.
pub const ENCODING_FILE: &str = "encoding.json";
/// The file that holds how scores become answers.
pub const ANSWERING_FILE: &str = "answering.json";
/// The file that holds a forest.
pub const FOREST_FILE: &str = "model.ubj";
/// The file that holds a forest imported from LightGBM, as LightGBM wrote it: its thresholds are of another precision and
/// sense than XGBoost's, so its own format is the only one that keeps every answer.
pub const LIGHTGBM_FILE: &str = "model.txt";
/// The file that holds an imported ONNX graph.
pub const ONNX_FILE: &str = "model.onnx";
/// The file that says how an ONNX graph is asked and understood.
pub const MAPPING_FILE: &str = "mapping.json";
/// The file that holds a linear model or segments.
pub const TENSORS_FILE: &str = "model.safetensors";

/// A model ready to answer. Cheap to share: everything in it is read-only.
#[derive(Debug)]
pub struct Model {
    manifest: Manifest,
    parser: RowParser,
    engine: Box<dyn Engine>,
    answering: Answering,
    stages: Option<Stages>,
}

/// Why a bundle cannot answer.
#[derive(Debug, thiserror::Error)]
pub enum ModelError {
    #[error(transparent)]
    Bundle(#[from] BundleError),
    #[error("this program has no engine named {engine:?}")]
    UnknownEngine { engine: String },
    #[error("the bundle's file {file} cannot be used: {reason}")]
    Part { file: String, reason: String },
    #[error("the bundle's outputs do not fit its weights: {outputs} named, {width} computed")]
    Width { outputs: usize, width: usize },
    #[error(transparent)]
    Stage(#[from] StageError),
}

impl ModelError {
    /// Whose mistake it is.
    pub fn class(&self) -> Class {
        match self {
            ModelError::Bundle(error) => error.class(),
            ModelError::UnknownEngine { .. } => Class::Unsupported,
            ModelError::Part { .. } | ModelError::Width { .. } => Class::Corrupt,
            ModelError::Stage(error) => error.class(),
        }
    }
}

/// Scores of many rows, calibrated.
#[derive(Debug, Clone, PartialEq)]
pub struct Scores {
    /// Scores per row.
    pub width: usize,
    /// Row after row.
    pub values: Vec<f64>,
}

impl Model {
    /// Opens a bundle (a folder or a `.tar.gz`), verifying every digest. A signature is not asked for.
    pub fn open(path: impl AsRef<Path>) -> Result<Model, ModelError> {
        Model::open_trusting(path, &Trust::default())
    }

    /// Opens a bundle that one of the trusted keys must have signed, when there are any. The stages of an ensemble are
    /// looked for beside it.
    pub fn open_trusting(path: impl AsRef<Path>, trust: &Trust) -> Result<Model, ModelError> {
        let bundle = Bundle::open(path.as_ref(), trust)?;
        Model::from_bundle_with(bundle, &Folders::beside(path.as_ref()))
    }

    /// A model from a bundle that was verified already, and that has no stages.
    pub fn from_bundle(bundle: Bundle) -> Result<Model, ModelError> {
        Model::from_bundle_with(bundle, &NoStages)
    }

    /// A model from a bundle that was verified already, with whoever gives its stages.
    pub fn from_bundle_with(
        bundle: Bundle,
        bundles: &dyn StageBundles,
    ) -> Result<Model, ModelError> {
        Model::from_bundle_below(bundle, bundles, 0)
    }

    pub(crate) fn from_bundle_below(
        bundle: Bundle,
        bundles: &dyn StageBundles,
        depth: usize,
    ) -> Result<Model, ModelError> {
        let manifest = bundle.manifest();
        let stages = manifest.ensemble.as_ref();
        let stages = stages
            .map(|ensemble| Stages::open(&manifest.schema, ensemble, bundles, depth))
            .transpose()?;
        let engine = build(&bundle, stages.as_ref())?;
        let answering: Answering = match bundle.file(ANSWERING_FILE) {
            Some(_) => json(&bundle, ANSWERING_FILE)?,
            None => Answering::default(),
        };
        let mut model = Model::assemble(bundle.into_manifest(), engine, answering)?;
        model.stages = stages;
        Ok(model)
    }

    /// A model from parts that were just made.
    pub fn assemble(
        manifest: Manifest,
        engine: Box<dyn Engine>,
        answering: Answering,
    ) -> Result<Model, ModelError> {
        let (outputs, width) = (manifest.outputs.width(), engine.width());
        if outputs != width {
            return Err(ModelError::Width { outputs, width });
        }
        answering
            .check(&manifest.outputs)
            .map_err(|error: AnsweringError| ModelError::Part {
                file: ANSWERING_FILE.into(),
                reason: error.to_string(),
            })?;
        let parser = RowParser::new(Arc::new(manifest.schema.clone()));
        Ok(Model {
            manifest,
            parser,
            engine,
            answering,
            stages: None,
        })
    }

    /// The same model with more known of it: training measures a model before its manifest is complete.
    pub fn with_manifest(mut self, manifest: Manifest) -> Model {
        self.manifest = manifest;
        self
    }

    /// The same model behind stages, for requests of the manifest's schema: training measures it behind them.
    pub fn behind(mut self, stages: Stages, manifest: Manifest) -> Model {
        self.parser = RowParser::new(Arc::new(manifest.schema.clone()));
        self.manifest = manifest;
        self.stages = Some(stages);
        self
    }

    /// What is known of it.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// What it takes.
    pub fn schema(&self) -> &Arc<Schema> {
        self.parser.schema()
    }

    /// What its engine decides by: of an ensemble, its own features and what the stages made.
    pub fn decides_by(&self) -> &Arc<Schema> {
        match &self.stages {
            Some(stages) => stages.schema(),
            None => self.schema(),
        }
    }

    /// The models that it asks first.
    pub fn stages(&self) -> Option<&Stages> {
        self.stages.as_ref()
    }

    /// Whether it can say why it answered.
    pub fn explains(&self) -> bool {
        self.engine.explains()
    }

    /// Whether many rows take little more time than one, here or in a stage.
    pub fn gains_from_batches(&self) -> bool {
        let mut stages = self.stages.iter().flat_map(Stages::models);
        self.engine.gains_from_batches() || stages.any(|model| model.gains_from_batches())
    }

    /// How scores become answers.
    pub fn answering(&self) -> &Answering {
        &self.answering
    }

    /// The engine, for whoever needs raw scores.
    pub fn engine(&self) -> &dyn Engine {
        self.engine.as_ref()
    }

    /// Reads a row from JSON.
    pub fn row(&self, json: &[u8]) -> Result<Row, Refusal> {
        self.parser.parse(json)
    }

    /// Reads rows from JSON, again and again.
    pub fn parser(&self) -> &RowParser {
        &self.parser
    }

    /// Answers one row.
    pub fn predict(&self, row: &Row) -> Answer {
        let mut scores = vec![0.0; self.engine.width()];
        self.engine.score_row(&self.asked(row), &mut scores);
        self.answering.calibrate(&mut scores);
        self.answering.answer(&self.manifest.outputs, &scores)
    }

    /// Scores a frame of the model's schema; [`Model::answer`] turns a row's scores into its answer.
    pub fn predict_frame(&self, frame: &Frame) -> Scores {
        let width = self.engine.width();
        let mut values = vec![0.0; frame.rows() * width];
        match &self.stages {
            Some(stages) => self.engine.score_frame(&stages.frame(frame), &mut values),
            None => self.engine.score_frame(frame, &mut values),
        }
        values
            .chunks_exact_mut(width)
            .for_each(|scores| self.answering.calibrate(scores));
        Scores { width, values }
    }

    /// Rows as points between which distances mean something, for engines that find segments.
    pub fn points(&self, frame: &Frame) -> Option<Points> {
        match &self.stages {
            Some(stages) => self.engine.points(&stages.frame(frame)),
            None => self.engine.points(frame),
        }
    }

    /// The answer that a row's calibrated scores give.
    pub fn answer(&self, scores: &[f64]) -> Answer {
        self.answering.answer(&self.manifest.outputs, scores)
    }

    /// The prediction in words: the class, the labels, the segment's name or the number.
    pub fn name_of(&self, answer: &Answer) -> String {
        let names = self.manifest.outputs.names();
        match &answer.prediction {
            Prediction::Class { index, .. } | Prediction::Segment { index } => {
                names[*index].clone()
            }
            Prediction::Labels { indices } => indices
                .iter()
                .map(|index| names[*index].as_str())
                .collect::<Vec<_>>()
                .join("|"),
            Prediction::Number { value, .. } => format!("{value}"),
        }
    }

    /// A row as the engine is asked it.
    fn asked<'r>(&self, row: &'r Row) -> Cow<'r, Row> {
        match &self.stages {
            Some(stages) => Cow::Owned(stages.row(row)),
            None => Cow::Borrowed(row),
        }
    }

    /// Why the answer came out as it did.
    pub fn explain(&self, row: &Row, answer: &Answer) -> Explanation {
        let output = explained_output(answer);
        let stages = self.stages.as_ref();
        let stages = stages.map_or_else(Vec::new, |stages| stages.reasons(row));
        let row = self.asked(row);
        let reasons = self.engine.explain_row(&row, output);
        let features = self.decides_by().features();
        let mut contributions: Vec<Contribution> = features
            .iter()
            .zip(row.values())
            .zip(&reasons.by_feature)
            .map(|((feature, value), weight)| Contribution {
                feature: feature.name.clone(),
                value: shown(&feature.kind, value),
                weight: *weight,
            })
            .collect();
        contributions.sort_by(|a, b| b.weight.abs().total_cmp(&a.weight.abs()));
        let mut words: Vec<Word> = reasons
            .words
            .into_iter()
            .flat_map(|marked| {
                let feature = features[marked.feature].name.clone();
                marked.marks.into_iter().map(move |mark| Word {
                    feature: feature.clone(),
                    start: mark.start,
                    end: mark.end,
                    text: mark.text,
                    weight: mark.weight,
                })
            })
            .filter(|word| word.weight != 0.0)
            .collect();
        words.sort_by(|a, b| b.weight.abs().total_cmp(&a.weight.abs()));
        let output = match &self.manifest.outputs {
            Outputs::Number { name } => name.clone(),
            outputs => outputs.names()[output].clone(),
        };
        Explanation {
            output,
            unit: reasons.unit,
            base: reasons.base,
            contributions,
            words,
            stages,
        }
    }
}

/// The score an explanation is about: the predicted class, the likeliest label, the segment.
fn explained_output(answer: &Answer) -> usize {
    match &answer.prediction {
        Prediction::Class { index, .. } | Prediction::Segment { index } => *index,
        Prediction::Labels { indices } => {
            let among = if indices.is_empty() {
                (0..answer.probabilities.len()).collect()
            } else {
                indices.clone()
            };
            let likelier = |a: &usize, b: &usize| {
                answer.probabilities[*a].total_cmp(&answer.probabilities[*b])
            };
            among.into_iter().max_by(likelier).unwrap_or(0)
        }
        Prediction::Number { .. } => 0,
    }
}

fn shown(kind: &Kind, value: &Value) -> Option<String> {
    const TEXT_SHOWN_MAX: usize = 80;
    match value {
        Value::Missing => None,
        Value::Number(number) => Some(number.to_string()),
        Value::Code(code) => kind.values().get(*code as usize).cloned(),
        Value::Text(text) => Some(text.chars().take(TEXT_SHOWN_MAX).collect()),
        Value::Sequence(steps) => Some(
            steps
                .iter()
                .map(ToString::to_string)
                .collect::<Vec<_>>()
                .join(", "),
        ),
    }
}

fn build(bundle: &Bundle, stages: Option<&Stages>) -> Result<Box<dyn Engine>, ModelError> {
    let manifest = bundle.manifest();
    let schema = stages.map_or(&manifest.schema, |stages| stages.schema());
    let encoding = |file: &str| -> Result<Encoding, ModelError> {
        let blocks: Vec<Block> = json(bundle, file)?;
        let parts = parts(bundle, &blocks)?;
        Encoding::new(schema, blocks, &parts).map_err(|error| wrong(file, &error))
    };
    match manifest.engine.as_str() {
        "forest" => {
            let (file, forest) = stored_forest(bundle)?;
            let forest = forest.map_err(|error| wrong(file, &error))?;
            let engine = ForestEngine::new(encoding(ENCODING_FILE)?, forest);
            Ok(Box::new(
                engine.map_err(|error: EncodingError| wrong(file, &error))?,
            ))
        }
        "onnx" => {
            let model = OnnxModel::open(required(bundle, ONNX_FILE)?.to_vec())
                .map_err(|error| wrong(ONNX_FILE, &error))?;
            let mapping: Mapping = json(bundle, MAPPING_FILE)?;
            let schema = Arc::new(schema.clone());
            let width = manifest.outputs.width();
            let engine = OnnxEngine::new(model, mapping, schema, width);
            Ok(Box::new(
                engine.map_err(|error| wrong(MAPPING_FILE, &error))?,
            ))
        }
        "linear" => {
            let linear = Linear::from_bytes(required(bundle, TENSORS_FILE)?)
                .map_err(|e| wrong(TENSORS_FILE, &e))?;
            let is_exclusive = manifest.task != Task::MultiLabel;
            let engine = LinearEngine::new(encoding(ENCODING_FILE)?, linear, is_exclusive);
            Ok(Box::new(
                engine.map_err(|error| wrong(TENSORS_FILE, &error))?,
            ))
        }
        "clusters" => {
            let clusters = Clusters::from_bytes(required(bundle, TENSORS_FILE)?)
                .map_err(|e| wrong(TENSORS_FILE, &e))?;
            let engine = ClusterEngine::new(encoding(ENCODING_FILE)?, clusters);
            Ok(Box::new(
                engine.map_err(|error| wrong(TENSORS_FILE, &error))?,
            ))
        }
        engine => Err(ModelError::UnknownEngine {
            engine: engine.to_owned(),
        }),
    }
}

/// The forest, in whichever of its two formats it is kept.
pub(crate) fn stored_forest(
    bundle: &Bundle,
) -> Result<(&'static str, Result<Forest, ForestError>), ModelError> {
    if let Some(text) = bundle.file(LIGHTGBM_FILE) {
        let read = Forest::from_lightgbm(text).map(|imported| imported.forest);
        return Ok((LIGHTGBM_FILE, read));
    }
    let read = Forest::from_xgboost(required(bundle, FOREST_FILE)?);
    Ok((FOREST_FILE, read.map(|imported| imported.forest)))
}

pub(crate) fn parts(bundle: &Bundle, blocks: &[Block]) -> Result<Parts, ModelError> {
    let mut parts = Parts::default();
    for block in blocks {
        if let Block::Text { vectorizer, .. } | Block::TextStage { vectorizer, .. } = block {
            let part = Vectorizer::from_bytes(required(bundle, vectorizer)?)
                .map_err(|e| wrong(vectorizer, &e))?;
            parts.vectorizers.insert(vectorizer.clone(), Arc::new(part));
        }
        if let Block::TextStage { linear, .. } = block {
            let part =
                Linear::from_bytes(required(bundle, linear)?).map_err(|e| wrong(linear, &e))?;
            parts.linears.insert(linear.clone(), Arc::new(part));
        }
    }
    Ok(parts)
}

pub(crate) fn required<'b>(bundle: &'b Bundle, file: &str) -> Result<&'b [u8], ModelError> {
    bundle.file(file).ok_or_else(|| ModelError::Part {
        file: file.to_owned(),
        reason: "it is absent".into(),
    })
}

pub(crate) fn json<T: serde::de::DeserializeOwned>(
    bundle: &Bundle,
    file: &str,
) -> Result<T, ModelError> {
    serde_json::from_slice(required(bundle, file)?).map_err(|error| wrong(file, &error))
}

pub(crate) fn wrong(file: &str, error: &dyn std::fmt::Display) -> ModelError {
    ModelError::Part {
        file: file.to_owned(),
        reason: error.to_string(),
    }
}
