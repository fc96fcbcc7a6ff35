//! Stages at work: a row is given to other models first, and their answers become features of this one.
//!
//! Everything between what a request holds and what the engine decides by, the same for one row and for a frame, in training
//! and in serving. Which answers become which features is [`ombud_core::ensemble`]; where a stage's bundle lies is known to
//! whoever gives it ([`StageBundles`]), and its digest says whether it is the right one. A stage that cannot be asked, because
//! what it needs is missing, makes features that are missing.

mod folders;
mod input;

pub use folders::Folders;

use crate::bundle::Bundle;
use crate::model::{Model, ModelError};
use input::Input;
use ombud_core::answer::{Answer, Prediction};
use ombud_core::ensemble::{DEPTH_MAX, Ensemble, STAGES_MAX, Stage, StageOutput};
use ombud_core::explanation::StageReasons;
use ombud_core::frame::Column;
use ombud_core::row::Value;
use ombud_core::schema::Missing;
use ombud_core::{Class, Digest, Frame, Kind, Row, Schema};
use std::collections::HashMap;
use std::sync::Arc;

/// Gives the bundles that an ensemble names.
pub trait StageBundles {
    /// The bundle with the stage's digest; `None` when it is not here.
    fn bundle(&self, stage: &Stage) -> Result<Option<Bundle>, ModelError>;
}

/// Bundles that are in memory already, by digest.
pub type Gathered = HashMap<Digest, Bundle>;

/// Nobody has any stage.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoStages;

/// Why an ensemble cannot answer.
#[derive(Debug, thiserror::Error)]
pub enum StageError {
    #[error("the stage {stage} (digest {digest}) is not at hand")]
    Absent { stage: String, digest: Digest },
    #[error("what was given as the stage {stage} is another bundle: {found} instead of {digest}")]
    Other {
        stage: String,
        digest: Digest,
        found: Digest,
    },
    #[error("the stage {stage} cannot be used: {source}")]
    Model {
        stage: String,
        #[source]
        source: Box<ModelError>,
    },
    #[error("the stage {stage} does not fit: {reason}")]
    Unfit { stage: String, reason: String },
    #[error("a model has 1 to {STAGES_MAX} stages, not {stages}")]
    TooMany { stages: usize },
    #[error("stages have stages of their own more than {DEPTH_MAX} deep")]
    TooDeep,
}

/// The stages of an ensemble, ready.
#[derive(Debug)]
pub struct Stages {
    /// What the engine decides by.
    schema: Arc<Schema>,
    /// The places of the ensemble's own features in what a request holds.
    own: Vec<usize>,
    at_work: Vec<AtWork>,
}

/// One stage, ready.
#[derive(Debug)]
struct AtWork {
    stage: Stage,
    model: Arc<Model>,
    /// One per feature of the stage.
    inputs: Vec<Option<Input>>,
    outputs: Vec<Taken>,
}

/// What of an answer becomes a feature.
#[derive(Debug, Clone, Copy)]
enum Taken {
    Predicted,
    Number,
    Confidence,
    Probability(usize),
}

/// Whether a feature of one type can be given to a stage that takes the other.
pub fn goes_together(here: &Kind, there: &Kind) -> bool {
    Input::new(0, here, there).is_some()
}

impl StageError {
    /// Whose mistake it is.
    pub fn class(&self) -> Class {
        match self {
            StageError::Absent { .. } => Class::NotFound,
            StageError::Model { source, .. } => source.class(),
            StageError::Other { .. }
            | StageError::Unfit { .. }
            | StageError::TooMany { .. }
            | StageError::TooDeep => Class::Corrupt,
        }
    }
}

impl StageBundles for NoStages {
    fn bundle(&self, _stage: &Stage) -> Result<Option<Bundle>, ModelError> {
        Ok(None)
    }
}

impl StageBundles for Gathered {
    fn bundle(&self, stage: &Stage) -> Result<Option<Bundle>, ModelError> {
        Ok(self.get(&stage.digest).cloned())
    }
}

impl Stages {
    /// Finds, opens and checks every stage of an ensemble whose requests hold `asked`. `depth` counts ensembles above.
    pub(crate) fn open(
        asked: &Schema,
        ensemble: &Ensemble,
        bundles: &dyn StageBundles,
        depth: usize,
    ) -> Result<Stages, ModelError> {
        if depth >= DEPTH_MAX {
            return Err(StageError::TooDeep.into());
        }
        let open = |stage: &Stage| open_stage(stage, bundles, depth).map(Arc::new);
        let models: Result<Vec<_>, _> = ensemble.stages.iter().map(open).collect();
        Ok(Stages::new(asked, ensemble, models?)?)
    }

    /// Puts models to work as the stages of an ensemble, in its order.
    pub fn new(
        asked: &Schema,
        ensemble: &Ensemble,
        models: Vec<Arc<Model>>,
    ) -> Result<Stages, StageError> {
        let stages = ensemble.stages.len();
        if stages == 0 || stages > STAGES_MAX || models.len() != stages {
            return Err(StageError::TooMany { stages });
        }
        let whole = |reason: String| StageError::Unfit {
            stage: ensemble.stages[0].words(),
            reason,
        };
        let schema = ensemble.schema_of_engine(asked);
        let schema = schema.map_err(|error| whole(error.to_string()))?;
        let unknown = ensemble
            .passed_on
            .iter()
            .find(|name| asked.position(name).is_none());
        if let Some(unknown) = unknown {
            return Err(whole(format!("{unknown} is passed on, and no feature")));
        }
        let own = (0..asked.features().len())
            .filter(|place| !ensemble.is_passed_on(&asked.features()[*place].name));
        let at_work = ensemble.stages.iter().zip(models);
        let at_work = at_work.map(|(stage, model)| AtWork::new(asked, stage.clone(), model));
        Ok(Stages {
            schema: Arc::new(schema),
            own: own.collect(),
            at_work: at_work.collect::<Result<_, _>>()?,
        })
    }

    /// What the engine decides by.
    pub fn schema(&self) -> &Arc<Schema> {
        &self.schema
    }

    /// The models, in the order of the stages.
    pub fn models(&self) -> impl Iterator<Item = &Arc<Model>> {
        self.at_work.iter().map(|stage| &stage.model)
    }

    /// What the engine is given of a request's row.
    pub fn row(&self, row: &Row) -> Row {
        let own = self.own.iter().map(|place| row.values()[*place].clone());
        let made = self.at_work.iter().flat_map(|stage| stage.values(row));
        Row::of(&self.schema, own.chain(made).collect())
    }

    /// What the engine is given of a frame.
    pub fn frame(&self, frame: &Frame) -> Frame {
        let own = self.own.iter().map(|place| frame.columns()[*place].clone());
        let made = self.at_work.iter().flat_map(|stage| stage.columns(frame));
        frame.with_columns(Arc::clone(&self.schema), own.chain(made).collect())
    }

    /// Why the stages answered as they did, of those that can say it.
    pub fn reasons(&self, row: &Row) -> Vec<StageReasons> {
        self.at_work
            .iter()
            .filter_map(|stage| stage.reasons(row))
            .collect()
    }
}

fn open_stage(
    stage: &Stage,
    bundles: &dyn StageBundles,
    depth: usize,
) -> Result<Model, ModelError> {
    let bundle = bundles.bundle(stage)?.ok_or_else(|| StageError::Absent {
        stage: stage.words(),
        digest: stage.digest,
    })?;
    let found = bundle.digest();
    if found != stage.digest {
        let (stage, digest) = (stage.words(), stage.digest);
        return Err(StageError::Other {
            stage,
            digest,
            found,
        }
        .into());
    }
    let opened = Model::from_bundle_below(bundle, bundles, depth + 1);
    opened.map_err(|error| match error {
        // A stage of a stage names itself.
        ModelError::Stage(error) => error.into(),
        source => StageError::Model {
            stage: stage.words(),
            source: Box::new(source),
        }
        .into(),
    })
}

impl AtWork {
    fn new(asked: &Schema, stage: Stage, model: Arc<Model>) -> Result<AtWork, StageError> {
        let unfit = |reason: String| StageError::Unfit {
            stage: stage.words(),
            reason,
        };
        if let Some(unknown) = stage
            .inputs
            .keys()
            .find(|name| model.schema().position(name).is_none())
        {
            return Err(unfit(format!("it takes no feature {unknown:?}")));
        }
        let input = |feature: &ombud_core::Feature| -> Result<Option<Input>, StageError> {
            let Some(name) = stage.inputs.get(&feature.name) else {
                return Ok(None);
            };
            let place = asked.position(name);
            let place =
                place.ok_or_else(|| unfit(format!("there is no feature {name:?} to give it")))?;
            let given = Input::new(place, &asked.features()[place].kind, &feature.kind);
            given.map(Some).ok_or_else(|| {
                let (here, there) = (asked.features()[place].kind.word(), feature.kind.word());
                unfit(format!(
                    "{name:?} is of type {here}, and its {:?} of type {there}",
                    feature.name
                ))
            })
        };
        let features = model.schema().features().iter();
        let inputs = features.map(input).collect::<Result<_, _>>()?;
        let manifest = model.manifest();
        let mut outputs = Vec::with_capacity(stage.features.len());
        for feature in &stage.features {
            let kind = feature.output.kind(manifest);
            let kind = kind.map_err(|error| unfit(error.to_string()))?;
            if kind != feature.kind {
                return Err(unfit(format!(
                    "{:?} has another type than its answer",
                    feature.name
                )));
            }
            let names = manifest.outputs.names();
            outputs.push(match &feature.output {
                StageOutput::Label | StageOutput::Segment => Taken::Predicted,
                StageOutput::Number => Taken::Number,
                StageOutput::Confidence => Taken::Confidence,
                StageOutput::Probability(name) => {
                    let place = names.iter().position(|known| known == name);
                    Taken::Probability(place.unwrap_or_default())
                }
            });
        }
        Ok(AtWork {
            stage,
            model,
            inputs,
            outputs,
        })
    }

    /// The features that its answer to a row becomes.
    fn values(&self, row: &Row) -> Vec<Value> {
        let answer = self.question(row).map(|row| self.model.predict(&row));
        self.taken(answer.as_ref())
    }

    /// The row as the stage is asked it, if it can be asked.
    fn question(&self, row: &Row) -> Option<Row> {
        let given = |input: &Option<Input>| match input {
            Some(input) => input.value(&row.values()[input.place]),
            None => Value::Missing,
        };
        let values: Vec<Value> = self.inputs.iter().map(given).collect();
        let is_missing = |place: usize| values[place] == Value::Missing;
        let can_be_asked = self.can_be_asked(is_missing);
        can_be_asked.then(|| Row::of(self.model.schema(), values))
    }

    /// A stage needs what it refuses to miss, and something at all.
    fn can_be_asked(&self, is_missing: impl Fn(usize) -> bool) -> bool {
        let features = self.model.schema().features();
        let needed = |place: usize| features[place].missing == Missing::Refused;
        let mut places = 0..features.len();
        places
            .clone()
            .all(|place| !(needed(place) && is_missing(place)))
            && places.any(|place| !is_missing(place))
    }

    fn taken(&self, answer: Option<&Answer>) -> Vec<Value> {
        let is_number =
            |answer: &&Answer| answer.probabilities.iter().all(|share| share.is_finite());
        let Some(answer) = answer.filter(is_number) else {
            return vec![Value::Missing; self.outputs.len()];
        };
        let number = |number: Option<f64>| match number.filter(|number| number.is_finite()) {
            Some(number) => Value::Number(number),
            None => Value::Missing,
        };
        let take = |taken: &Taken| match (taken, &answer.prediction) {
            (Taken::Probability(place), _) => number(answer.probabilities.get(*place).copied()),
            (Taken::Confidence, _) => number(answer.confidence),
            (Taken::Predicted, Prediction::Class { index, .. } | Prediction::Segment { index }) => {
                Value::Code(*index as u32)
            }
            (Taken::Number, Prediction::Number { value, .. }) => number(Some(*value)),
            (Taken::Predicted | Taken::Number, _) => Value::Missing,
        };
        self.outputs.iter().map(take).collect()
    }

    /// The same for every row of a frame, a column per feature.
    fn columns(&self, frame: &Frame) -> Vec<Column> {
        let schema = self.model.schema();
        let rows = frame.rows();
        let given = self.inputs.iter().zip(schema.features());
        let given = given.map(|(input, feature)| match input {
            Some(input) => input.column(&frame.columns()[input.place], &feature.kind),
            None => Column::of(&feature.kind, &vec![Value::Missing; rows]),
        });
        let asked = frame.with_columns(Arc::clone(schema), given.collect());
        let columns = asked.columns();
        let askable = (0..rows as u32)
            .filter(|row| self.can_be_asked(|place| columns[place].is_missing(*row as usize)));
        let askable: Vec<u32> = askable.collect();
        let answered = if askable.len() == rows {
            self.model.predict_frame(&asked)
        } else {
            self.model.predict_frame(&asked.take(&askable))
        };
        let mut by_feature = vec![vec![Value::Missing; rows]; self.outputs.len()];
        let scores = answered.values.chunks_exact(answered.width.max(1));
        for (row, scores) in askable.iter().zip(scores) {
            let taken = self.taken(Some(&self.model.answer(scores)));
            for (values, value) in by_feature.iter_mut().zip(taken) {
                values[*row as usize] = value;
            }
        }
        let features = self.stage.features.iter();
        let columns = features.zip(by_feature);
        columns
            .map(|(feature, values)| Column::of(&feature.kind, &values))
            .collect()
    }

    fn reasons(&self, row: &Row) -> Option<StageReasons> {
        if !self.model.explains() {
            return None;
        }
        let row = self.question(row)?;
        let answer = self.model.predict(&row);
        let features = self
            .stage
            .features
            .iter()
            .map(|feature| feature.name.clone());
        Some(StageReasons {
            stage: self.stage.name.to_string(),
            features: features.collect(),
            explanation: self.model.explain(&row, &answer),
        })
    }
}
