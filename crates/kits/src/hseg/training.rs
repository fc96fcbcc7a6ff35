//! Trains the kit's models from generated data, and says how good they are beside what is simple and what is possible.
//!
//! The order is that of serving: the text models first, then a person's forecast, which sees the text models' outputs, then
//! organizations. What a person's model learns of a text must not come from a text model that learned from that person, so
//! those outputs are made out of fold. Texts of the rare levels are added to what the text models learn from, for a model
//! learns little from one text in two hundred. Quality is measured on a fresh world, where they are as rare as they are:
//! other organizations, other people, and for texts also other wording. Training itself is the `learn` room's, by the
//! recipes in [`super::recipes`].

mod exam;
mod measure;
pub mod quality;
mod tables;

use super::generate::{Generated, Generator, Options, Phrases};
use super::lexicon::Lexicon;
use super::reading::{Reader, WrongModel};
use super::recipes::{self, Shipped};
use crate::table::TableError;
use ombud_core::{Class, Refusal};
use ombud_engine::Model;
use ombud_engine::bundle::keys::SigningKey;
use ombud_learn::progress::{Progress, Silent};
use ombud_learn::recipe::RecipeError;
use ombud_learn::train::{self, TrainError, TrainOptions, Trained};
use quality::Line;
use std::path::{Path, PathBuf};

/// Folds of the out-of-fold text outputs.
const FOLDS: usize = 3;
/// Organizations that the organization models learn from.
const ORGANIZATIONS_LEARNED: usize = 1_600;
/// Organizations they are measured on.
const ORGANIZATIONS_MEASURED: usize = 400;
/// People that models of persons and texts are measured on.
const PEOPLE_MEASURED: u64 = 12_000;
/// Seeds of the other worlds, apart from the one that is asked for.
const WORLD_OF_ORGANIZATIONS: u64 = 1_000_001;
const WORLD_OF_MEASURING: u64 = 2_000_003;

/// What to train, and where.
#[derive(Debug, Clone, Copy)]
pub struct Plan<'a> {
    pub records: u64,
    pub seed: u64,
    /// The folder of models.
    pub out: &'a Path,
    /// Where the training tables are written.
    pub work: &'a Path,
    pub key: Option<&'a SigningKey>,
    /// Organizations of the organization models; fewer for a quick look.
    pub organizations: Option<usize>,
}

/// What came of it.
#[derive(Debug)]
pub struct Trainings {
    /// In the order of [`recipes::ALL`].
    pub models: Vec<Trained>,
    pub quality: Vec<Line>,
}

/// Why it ended early.
#[derive(Debug, thiserror::Error)]
pub enum TrainingError {
    #[error("{model}: {source}")]
    Train {
        model: &'static str,
        #[source]
        source: TrainError,
    },
    #[error(transparent)]
    Recipe(#[from] RecipeError),
    #[error(transparent)]
    Table(#[from] TableError),
    #[error(transparent)]
    WrongModel(#[from] WrongModel),
    #[error("a generated row does not fit its model: {0}")]
    Refused(#[from] Refusal),
    #[error("{} cannot be made", path.display())]
    Folder {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("stopped")]
    Stopped,
}

impl TrainingError {
    /// Whose mistake it is.
    pub fn class(&self) -> Class {
        match self {
            TrainingError::Train { source, .. } => source.class(),
            TrainingError::Recipe(_) => Class::Invalid,
            TrainingError::Table(error) => error.class(),
            TrainingError::Folder { .. } | TrainingError::Stopped => Class::Unavailable,
            TrainingError::WrongModel(_) | TrainingError::Refused(_) => Class::Internal,
        }
    }

    /// What to do.
    pub fn hint(&self) -> Option<String> {
        match self {
            TrainingError::Train { source, .. } => source.hint(),
            TrainingError::Recipe(error) => error.hint().map(str::to_owned),
            TrainingError::Table(error) => Some(error.hint().to_owned()),
            TrainingError::Folder { .. } => {
                Some("check the disk and the rights on the folder".into())
            }
            TrainingError::WrongModel(_) | TrainingError::Refused(_) | TrainingError::Stopped => {
                None
            }
        }
    }
}

/// Trains everything and measures it.
///
/// # Errors
/// Whatever keeps a model from being trained; bundles that were finished before stay.
pub fn train(plan: &Plan<'_>, progress: &dyn Progress) -> Result<Trainings, TrainingError> {
    std::fs::create_dir_all(plan.work).map_err(|source| TrainingError::Folder {
        path: plan.work.to_owned(),
        source,
    })?;
    let generator = plan.people();
    let rare = tables::rare_texts(&generator);
    let people = made(generator, "generating people", progress)?;
    let (risk, signals) = train_texts(plan, &people, &rare, progress)?;
    let individual = train_individual(plan, &people, &rare, progress)?;
    drop((people, rare));
    let reader = Reader::new(&risk.model, &signals.model, Lexicon::shipped())?;
    let (organization, turnover) = train_organizations(plan, &reader, progress)?;
    let fresh = measure::Models {
        reader,
        individual: &individual.model,
        organization: &organization.model,
        turnover: &turnover.model,
    };
    let quality = measure::all(&fresh, plan.seed.wrapping_add(WORLD_OF_MEASURING), progress)?;
    Ok(Trainings {
        quality,
        models: vec![risk, signals, individual, organization, turnover],
    })
}

impl Plan<'_> {
    fn people(&self) -> Generator {
        Generator::new(Options {
            records: self.records,
            seed: self.seed,
            ..Options::default()
        })
    }

    fn organizations(&self) -> Generator {
        Generator::new(Options {
            seed: self.seed.wrapping_add(WORLD_OF_ORGANIZATIONS),
            organizations: self.organizations.unwrap_or(ORGANIZATIONS_LEARNED),
            ..Options::default()
        })
    }
}

fn train_texts(
    plan: &Plan<'_>,
    people: &[Generated],
    rare: &[tables::Labelled],
    progress: &dyn Progress,
) -> Result<(Trained, Trained), TrainingError> {
    let path = plan.work.join("texts.parquet");
    tables::texts(&path, people.iter(), rare)?;
    let risk = learn(plan, &recipes::TEXT, &[], plan.out, &path, progress)?;
    let signals = learn(plan, &recipes::SIGNALS, &[], plan.out, &path, progress)?;
    Ok((risk, signals))
}

fn train_individual(
    plan: &Plan<'_>,
    people: &[Generated],
    rare: &[tables::Labelled],
    progress: &dyn Progress,
) -> Result<Trained, TrainingError> {
    let outputs = out_of_fold(plan, people, rare, progress)?;
    let path = plan.work.join("individuals.parquet");
    tables::individuals(&path, people, &outputs)?;
    learn(plan, &recipes::INDIVIDUAL, &[], plan.out, &path, progress)
}

fn train_organizations(
    plan: &Plan<'_>,
    reader: &Reader<'_>,
    progress: &dyn Progress,
) -> Result<(Trained, Trained), TrainingError> {
    let generator = plan.organizations();
    progress.start(
        "generating organizations",
        Some(generator.world().organizations.len() as u64),
    );
    let groups = tables::groups(&generator, reader, progress)?;
    progress.finish();
    let path = plan.work.join("organizations.parquet");
    tables::organizations(&path, &groups)?;
    let tier = learn(plan, &recipes::ORGANIZATION, &[], plan.out, &path, progress)?;
    let turnover = learn(plan, &recipes::TURNOVER, &[], plan.out, &path, progress)?;
    Ok((tier, turnover))
}

/// The text models' outputs for each person, from models that did not learn from that person.
fn out_of_fold(
    plan: &Plan<'_>,
    people: &[Generated],
    rare: &[tables::Labelled],
    progress: &dyn Progress,
) -> Result<Vec<Option<super::features::TextOutputs>>, TrainingError> {
    let mut outputs = vec![None; people.len()];
    progress.start("text outputs out of fold", Some(FOLDS as u64));
    for fold in 0..FOLDS {
        let folder = plan.work.join(format!("fold-{fold}"));
        std::fs::create_dir_all(&folder).map_err(|source| TrainingError::Folder {
            path: folder.clone(),
            source,
        })?;
        let path = folder.join("texts.parquet");
        let others = people
            .iter()
            .enumerate()
            .filter(|(place, _)| place % FOLDS != fold)
            .map(|(_, it)| it);
        tables::texts(&path, others, rare)?;
        let quick = ["train.refit=false".to_owned()];
        let risk = learn(plan, &recipes::TEXT, &quick, &folder, &path, &Silent)?;
        let signals = learn(plan, &recipes::SIGNALS, &quick, &folder, &path, &Silent)?;
        let reader = Reader::new(&risk.model, &signals.model, Lexicon::shipped())?;
        let own: Vec<usize> = (fold..people.len()).step_by(FOLDS).collect();
        for (place, read) in tables::read_all(
            &reader,
            own.iter()
                .map(|place| (*place, &people[*place].record))
                .collect(),
        )? {
            outputs[place] = read;
        }
        // Bundles and tables of folds are of no further use to anybody.
        let _ = std::fs::remove_dir_all(&folder);
        progress.advance(fold as u64 + 1);
        stop_if_asked(progress)?;
    }
    progress.finish();
    Ok(outputs)
}

fn learn(
    plan: &Plan<'_>,
    shipped: &Shipped,
    overrides: &[String],
    out: &Path,
    table: &Path,
    progress: &dyn Progress,
) -> Result<Trained, TrainingError> {
    let recipe = shipped.recipe(overrides)?;
    let data = format!("parquet:{}", table.display());
    let options = TrainOptions {
        recipe_folder: Path::new("."),
        data: Some(&data),
        out,
        key: plan.key,
    };
    train::train(&recipe, &options, progress).map_err(|source| TrainingError::Train {
        model: shipped.name,
        source,
    })
}

/// All records of a world.
fn made(
    generator: Generator,
    stage: &str,
    progress: &dyn Progress,
) -> Result<Vec<Generated>, TrainingError> {
    const BATCH: u64 = 8_192;
    let records = generator.options().records;
    progress.start(stage, Some(records));
    let mut all = Vec::with_capacity(records as usize);
    while (all.len() as u64) < records {
        let done = all.len() as u64;
        all.extend(generator.batch(done..(done + BATCH).min(records)));
        progress.advance(all.len() as u64);
        stop_if_asked(progress)?;
    }
    progress.finish();
    Ok(all)
}

/// People of a fresh world to measure on.
fn fresh_people(seed: u64, phrases: Phrases) -> Generator {
    Generator::new(Options {
        records: PEOPLE_MEASURED,
        seed,
        phrases,
        ..Options::default()
    })
}

fn stop_if_asked(progress: &dyn Progress) -> Result<(), TrainingError> {
    match progress.is_stopped() {
        true => Err(TrainingError::Stopped),
        false => Ok(()),
    }
}

/// The class that a model names, by the place of its output.
fn output_place(model: &Model, name: &str) -> Option<usize> {
    model
        .manifest()
        .outputs
        .names()
        .iter()
        .position(|it| it == name)
}
