//! The bundle that a command is about: found, verified, opened.

use crate::failure::Failure;
use crate::keys::TrustArguments;
use clap::Args;
use ombud_core::Class;
use ombud_engine::bundle::index::version_folder;
use ombud_engine::ensemble::Folders;
use ombud_engine::{Bundle, Model};
use std::path::{Path, PathBuf};

/// Where the stages of an ensemble lie.
#[derive(Debug, Clone, Default, Args)]
pub struct StagesArguments {
    /// Look for the bundle's stages in this folder of models or packages too (may be given again; default: beside the
    /// bundle)
    #[arg(long = "stages", value_name = "DIR")]
    pub folders: Vec<PathBuf>,
}

/// Opens a bundle: a version's folder, a model's folder (its latest version) or a package.
pub fn open(path: &Path, trust: &TrustArguments) -> Result<Bundle, Failure> {
    let place = version_folder(path);
    Bundle::open(&place, &trust.trust()?).map_err(|error| {
        let failure = Failure::from(error);
        name_the_bundle(failure, path)
    })
}

/// Opens a bundle as a model.
pub fn open_model(
    path: &Path,
    trust: &TrustArguments,
    stages: &StagesArguments,
) -> Result<Model, Failure> {
    as_model(open(path, trust)?, path, stages)
}

/// A bundle that was opened from a path, as a model with its stages.
pub fn as_model(bundle: Bundle, path: &Path, stages: &StagesArguments) -> Result<Model, Failure> {
    let beside = Folders::beside(&version_folder(path)).and(stages.folders.clone());
    Ok(Model::from_bundle_with(bundle, &beside)?)
}

/// A refusal says which bundle it is about; two may be in play.
fn name_the_bundle(failure: Failure, path: &Path) -> Failure {
    match failure {
        Failure::Wrong(mut wrong)
            if wrong.class == Class::Corrupt || wrong.class == Class::Forbidden =>
        {
            let name = path.display().to_string();
            if !wrong.message.contains(&name) {
                wrong.message = format!("{name} is refused: {}", wrong.message);
            }
            Failure::Wrong(wrong)
        }
        other => other,
    }
}
