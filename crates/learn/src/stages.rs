//! The stages of a recipe: found, fitted to the data's columns, and asked about every row that is learned from.
//!
//! A training with stages learns from two frames. One holds what a request will hold; the other, made of it by the stages, is
//! what the algorithm sees. Which columns only a stage reads is decided here: texts, unless `[features]` names them, and what
//! `[features]` leaves out.

use crate::prepare::PrepareError;
use crate::recipe::{Recipe, StageSpec};
use arrow_array::RecordBatch;
use ombud_core::ensemble::{Ensemble, NoSuchOutput, Stage, StageFeature};
use ombud_core::manifest::DataPrint;
use ombud_core::nearest::nearest;
use ombud_core::schema::{Columns, Missing, SchemaError};
use ombud_core::{Class, Digest, Feature, Frame, Kind, Manifest, Schema};
use ombud_engine::bundle::index::version_folder;
use ombud_engine::bundle::{Bundle, Trust};
use ombud_engine::ensemble::{Folders, goes_together};
use ombud_engine::{Model, ModelError, StageError, Stages};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Where stages are looked for.
#[derive(Debug, Clone, Copy)]
pub struct Places<'a> {
    /// Paths in a recipe start here.
    pub recipe_folder: &'a Path,
    /// The folder of models, where `name@version` is looked for.
    pub models: &'a Path,
}

/// A stage at hand.
#[derive(Debug, Clone)]
pub(crate) struct Opened {
    wanted: StageSpec,
    digest: Digest,
    model: Arc<Model>,
}

/// What a recipe's stages make of its data.
#[derive(Debug)]
pub struct Staged {
    /// What a request holds.
    pub asked: Frame,
    /// What the manifest will say.
    pub ensemble: Ensemble,
    models: Vec<Arc<Model>>,
}

/// Why stages cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StagesError {
    #[error("the stage {bundle:?} cannot be used: {source}")]
    Open {
        bundle: String,
        #[source]
        source: Box<ModelError>,
    },
    #[error("the stage {bundle:?} is neither a path nor name@version")]
    Name { bundle: String },
    #[error(transparent)]
    Output(#[from] NoSuchOutput),
    #[error("the stage {stage} takes no feature {feature:?}")]
    NoInput {
        stage: String,
        feature: String,
        hint: String,
    },
    #[error("the stage {stage} takes {column:?}, which is the target")]
    Target { stage: String, column: String },
    #[error("{feature:?} is made by a stage, and is a column of the data too")]
    NameTaken { feature: String },
    #[error("{feature:?} is made by a stage, so nothing but `monotone` can be said about it")]
    Said { feature: String },
    #[error(transparent)]
    Schema(#[from] SchemaError),
    #[error(transparent)]
    Fit(#[from] StageError),
}

impl StagesError {
    /// Whose mistake it is.
    pub fn class(&self) -> Class {
        match self {
            StagesError::Open { source, .. } => source.class(),
            StagesError::Name { .. }
            | StagesError::Output(_)
            | StagesError::NoInput { .. }
            | StagesError::Target { .. }
            | StagesError::NameTaken { .. }
            | StagesError::Said { .. }
            | StagesError::Schema(_)
            | StagesError::Fit(_) => Class::Invalid,
        }
    }

    /// What to do.
    pub fn hint(&self) -> String {
        match self {
            StagesError::Open { .. } => {
                "a path in a recipe starts at the recipe's folder; name@version is looked for in the folder of --out".into()
            }
            StagesError::Name { .. } => {
                "write models/text_risk/latest, or text_risk@3 for a model in the folder of --out".into()
            }
            StagesError::Output(error) => match &error.nearest {
                Some(near) => format!("did you mean {near:?}?"),
                None => format!("write one of {}", error.allowed),
            },
            StagesError::NoInput { hint, .. } => hint.clone(),
            StagesError::Target { .. } => {
                "a model that is told the answer learns nothing: name another column in the stage's `inputs`".into()
            }
            StagesError::NameTaken { feature } => {
                format!("give it another name in the stage's `features`, or rename the column {feature}")
            }
            StagesError::Said { .. } => "remove the rest from [features]".into(),
            StagesError::Schema(_) | StagesError::Fit(_) => {
                "check the names and types in [features] and in the stage's `inputs`".into()
            }
        }
    }
}

/// Opens every stage of a recipe.
pub(crate) fn open(recipe: &Recipe, places: Places<'_>) -> Result<Vec<Opened>, StagesError> {
    recipe
        .stages
        .iter()
        .map(|wanted| open_one(wanted, places))
        .collect()
}

fn open_one(wanted: &StageSpec, places: Places<'_>) -> Result<Opened, StagesError> {
    let failed = |source: ModelError| StagesError::Open {
        bundle: wanted.bundle.clone(),
        source: Box::new(source),
    };
    let path = place(wanted, places)?;
    let bundle = Bundle::open(&path, &Trust::default());
    let bundle = bundle.map_err(|error| failed(error.into()))?;
    let digest = bundle.digest();
    let beside = Folders::beside(&path).and([places.models.to_owned()]);
    let model = Model::from_bundle_with(bundle, &beside).map_err(failed)?;
    Ok(Opened {
        wanted: wanted.clone(),
        digest,
        model: Arc::new(model),
    })
}

/// `models/text/latest`, `../text_3.tar.gz`, `text@3`, `text`.
fn place(wanted: &StageSpec, places: Places<'_>) -> Result<PathBuf, StagesError> {
    let text = wanted.bundle.as_str();
    if text.contains(['/', std::path::MAIN_SEPARATOR]) || text.ends_with(".tar.gz") {
        return Ok(version_folder(&places.recipe_folder.join(text)));
    }
    let (name, version) = text.split_once('@').unwrap_or((text, "latest"));
    let is_version = version == "latest" || version.parse::<ombud_core::Version>().is_ok();
    match ombud_core::ModelName::new(name) {
        Ok(name) if is_version => Ok(places.models.join(name.as_str()).join(version)),
        _ => Err(StagesError::Name {
            bundle: text.to_owned(),
        }),
    }
}

impl Opened {
    fn manifest(&self) -> &Manifest {
        self.model.manifest()
    }

    /// What the stage takes, each with its name here.
    fn takes(&self) -> impl Iterator<Item = (&Feature, &str)> {
        let features = self.model.schema().features().iter();
        features.map(|feature| {
            let here = self.wanted.inputs.get(&feature.name);
            (feature, here.unwrap_or(&feature.name).as_str())
        })
    }
}

/// The columns that are left to the stages alone: texts that [features] does not name.
pub(crate) fn texts_for_stages(recipe: &Recipe, stages: &[Opened]) -> Vec<String> {
    let taken = stages.iter().flat_map(Opened::takes);
    let texts = taken.filter(|(feature, here)| {
        let is_named = recipe.features.given.contains_key(*here)
            || recipe.features.only.iter().any(|name| name == here);
        matches!(feature.kind, Kind::Text) && !is_named
    });
    texts.map(|(_, here)| here.to_owned()).collect()
}

/// The names of features that stages make.
pub(crate) fn made(recipe: &Recipe) -> impl Iterator<Item = &String> {
    recipe.stages.iter().flat_map(|stage| stage.features.keys())
}

/// Refuses what a recipe says of stages and the data's columns cannot bear.
pub(crate) fn check(
    recipe: &Recipe,
    stages: &[Opened],
    batch: &RecordBatch,
) -> Result<(), PrepareError> {
    for feature in made(recipe) {
        if batch.column_by_name(feature).is_some() {
            let feature = feature.clone();
            return Err(StagesError::NameTaken { feature }.into());
        }
        let said = recipe.features.given.get(feature).cloned();
        let said = said.map(|spec| crate::recipe::FeatureSpec {
            monotone: None,
            ..spec
        });
        if said.is_some_and(|spec| spec != Default::default()) {
            let feature = feature.clone();
            return Err(StagesError::Said { feature }.into());
        }
    }
    for stage in stages {
        let words = format!(
            "{} version {}",
            stage.manifest().name,
            stage.manifest().version
        );
        check_inputs(stage, &words)?;
        for (feature, here) in stage.takes() {
            if recipe.data.target.as_deref() == Some(here) {
                let column = here.to_owned();
                return Err(StagesError::Target {
                    stage: words,
                    column,
                }
                .into());
            }
            let is_there = batch.column_by_name(here).is_some()
                || batch.column_by_name(&feature.path.to_string()).is_some()
                || batch.column_by_name(&format!("{here}_1")).is_some();
            if !is_there {
                let fields = batch.schema();
                let names = fields.fields().iter().map(|field| field.name().as_str());
                let hint = match nearest(here, names) {
                    Some(near) => format!(
                        "did you mean {near:?}? then write `inputs = {{ {} = {near:?} }}` in the stage {}",
                        feature.name,
                        stage.manifest().name
                    ),
                    None => format!(
                        "name the column that the stage {} takes: `inputs = {{ {} = \"…\" }}`",
                        stage.manifest().name,
                        feature.name
                    ),
                };
                return Err(PrepareError::NoColumn {
                    column: here.to_owned(),
                    role: "what a stage takes",
                    hint,
                });
            }
        }
    }
    Ok(())
}

fn check_inputs(stage: &Opened, words: &str) -> Result<(), StagesError> {
    let features = stage.model.schema().features();
    let names = || features.iter().map(|feature| feature.name.as_str());
    let inputs = &stage.wanted.inputs;
    let Some(unknown) = inputs
        .keys()
        .find(|name| !names().any(|known| known == *name))
    else {
        return Ok(());
    };
    let hint = match nearest(unknown, names()) {
        Some(near) => format!("did you mean {near:?}?"),
        None => format!(
            "it takes: {}",
            names().take(12).collect::<Vec<_>>().join(", ")
        ),
    };
    Err(StagesError::NoInput {
        stage: words.to_owned(),
        feature: unknown.clone(),
        hint,
    })
}

/// What a request holds, and what the manifest says of the stages, when the model's own features are `own`.
pub(crate) fn plan(
    recipe: &Recipe,
    stages: &[Opened],
    mut own: Vec<Feature>,
    columns: Columns,
) -> Result<(Schema, Ensemble), StagesError> {
    let mut passed_on: Vec<Feature> = Vec::new();
    let mut planned = Vec::with_capacity(stages.len());
    for stage in stages {
        let mut inputs = std::collections::BTreeMap::new();
        for (feature, here) in stage.takes() {
            inputs.insert(feature.name.clone(), here.to_owned());
            let shared = own
                .iter_mut()
                .chain(&mut passed_on)
                .find(|own| own.name == here);
            let is_needed = !stage.wanted.missing;
            match shared {
                Some(shared) => share(recipe, shared, feature, is_needed),
                None => passed_on.push(passed(recipe, feature, here, is_needed)),
            }
        }
        planned.push(planned_stage(stage, inputs)?);
    }
    let ensemble = Ensemble {
        stages: planned,
        passed_on: passed_on
            .iter()
            .map(|feature| feature.name.clone())
            .collect(),
    };
    own.append(&mut passed_on);
    let asked = Schema::new(own, columns)?;
    ensemble.schema_of_engine(&asked)?;
    Ok((asked, ensemble))
}

/// A feature that is decided by here and that a stage takes too: the stage's type, where ours would not do and nobody chose it.
fn share(recipe: &Recipe, own: &mut Feature, theirs: &Feature, is_needed: bool) {
    let is_given = recipe.features.given.contains_key(&own.name);
    if !is_given && !goes_together(&own.kind, &theirs.kind) {
        own.kind = theirs.kind.clone();
    }
    if is_needed {
        own.missing = Missing::Refused;
    }
}

/// A feature that only stages are given; it may be missing, unless the recipe needs the stage.
fn passed(recipe: &Recipe, theirs: &Feature, here: &str, is_needed: bool) -> Feature {
    let said = recipe.features.given.get(here);
    let path = said.and_then(|spec| spec.path.clone());
    let path = path.or_else(|| (theirs.name == here).then(|| theirs.path.clone()));
    let must_be_there = is_needed || said.is_some_and(|spec| spec.missing == Some(false));
    let feature = Feature::new(here, theirs.kind.clone());
    Feature {
        path: path.unwrap_or_else(|| feature.path.clone()),
        missing: match must_be_there {
            true => Missing::Refused,
            false => Missing::Allowed,
        },
        ..feature
    }
}

fn planned_stage(
    stage: &Opened,
    inputs: std::collections::BTreeMap<String, String>,
) -> Result<Stage, StagesError> {
    let manifest = stage.manifest();
    let made = stage.wanted.features.iter().map(|(name, output)| {
        Ok(StageFeature {
            name: name.clone(),
            output: output.clone(),
            kind: output.kind(manifest)?,
        })
    });
    Ok(Stage {
        name: manifest.name.clone(),
        version: manifest.version,
        label: manifest.label.clone(),
        digest: stage.digest,
        inputs,
        features: made.collect::<Result<_, StagesError>>()?,
    })
}

impl Staged {
    /// Asks the stages about every row: what the algorithm learns from, and what made it.
    pub(crate) fn ask(
        asked: Frame,
        ensemble: Ensemble,
        opened: &[Opened],
    ) -> Result<(Frame, Staged), StagesError> {
        let staged = Staged {
            models: opened
                .iter()
                .map(|stage| Arc::clone(&stage.model))
                .collect(),
            asked,
            ensemble,
        };
        let frame = staged.stages()?.frame(&staged.asked);
        Ok((frame, staged))
    }

    /// The stages, ready to stand before a model.
    pub(crate) fn stages(&self) -> Result<Stages, StageError> {
        Stages::new(self.asked.schema(), &self.ensemble, self.models.clone())
    }

    /// What was decided about them, in words.
    pub(crate) fn notes(&self) -> Vec<String> {
        let of = |stage: &Stage| {
            let features: Vec<&str> = stage.features.iter().map(|f| f.name.as_str()).collect();
            format!(
                "{} answers first and gives {}",
                stage.words(),
                features.join(", ")
            )
        };
        let mut notes: Vec<String> = self.ensemble.stages.iter().map(of).collect();
        if !self.ensemble.passed_on.is_empty() {
            notes.push(format!(
                "only stages are given {}",
                self.ensemble.passed_on.join(", ")
            ));
        }
        notes
    }
}

/// A stage that learned from the very rows it is asked about here knows their answers better than it will know new ones.
pub(crate) fn warnings(opened: &[Opened], print: &DataPrint) -> Vec<String> {
    let mut warnings = Vec::new();
    for stage in opened {
        warn_of(&stage.model, print, &mut warnings);
    }
    warnings
}

fn warn_of(model: &Model, print: &DataPrint, warnings: &mut Vec<String>) {
    let manifest = model.manifest();
    let data = manifest.lineage.data.as_ref();
    if data.is_some_and(|data| data.sha256 == print.sha256) {
        warnings.push(format!(
            "the stage {} version {} was trained on this very data: its answers to rows it has seen are too good, so this model will \
             trust it too much and its measured quality is too high; train the stage on other rows",
            manifest.name, manifest.version
        ));
    }
    let below = model.stages().into_iter().flat_map(Stages::models);
    below.for_each(|model| warn_of(model, print, warnings));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stage_is_a_path_or_a_name_with_a_version() {
        let places = Places {
            recipe_folder: Path::new("recipes"),
            models: Path::new("models"),
        };
        let at = |bundle: &str| {
            let wanted = StageSpec {
                bundle: bundle.to_owned(),
                features: Default::default(),
                inputs: Default::default(),
                missing: true,
            };
            place(&wanted, places)
                .map(|path| path.display().to_string())
                .ok()
        };
        assert_eq!(
            at("../models/text/3").as_deref(),
            Some("recipes/../models/text/3")
        );
        assert_eq!(
            at("text_3.tar.gz").as_deref(),
            Some("recipes/text_3.tar.gz")
        );
        assert_eq!(at("text@3").as_deref(), Some("models/text/3"));
        assert_eq!(at("text").as_deref(), Some("models/text/latest"));
        assert_eq!(at("Text"), None);
        assert_eq!(at("text@new"), None);
    }
}
