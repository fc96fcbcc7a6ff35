//! The bundle that a command is about: found, verified, opened.

use crate::failure::Failure;
use crate::keys::TrustArguments;
use ombud_core::Class;
use ombud_engine::bundle::MANIFEST_FILE;
use ombud_engine::bundle::staging::LATEST_LINK;
use ombud_engine::{Bundle, Model};
use std::path::{Path, PathBuf};

/// Opens a bundle: a version's folder, a model's folder (its latest version) or a package.
pub fn open(path: &Path, trust: &TrustArguments) -> Result<Bundle, Failure> {
    let place = version_folder(path);
    Bundle::open(&place, &trust.trust()?).map_err(|error| {
        let failure = Failure::from(error);
        name_the_bundle(failure, path)
    })
}

/// Opens a bundle as a model.
pub fn open_model(path: &Path, trust: &TrustArguments) -> Result<Model, Failure> {
    Ok(Model::from_bundle(open(path, trust)?)?)
}

/// `models/claims` stands for `models/claims/latest`.
fn version_folder(path: &Path) -> PathBuf {
    let latest = path.join(LATEST_LINK);
    let is_model_folder =
        !path.join(MANIFEST_FILE).exists() && latest.join(MANIFEST_FILE).is_file();
    if is_model_folder {
        latest
    } else {
        path.to_owned()
    }
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
