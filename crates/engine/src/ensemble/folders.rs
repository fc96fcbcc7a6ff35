//! Stages in folders of models or of packages, for the command line and for whoever embeds the engine.
//!
//! Looked for by name first and known by digest: the manifest's bytes are hashed before anything else of a candidate is read.
//! Whose signature an ensemble has covers the digests of its stages, so no other signature is asked of them.

use super::StageBundles;
use crate::bundle::digest::digest_bytes;
use crate::bundle::index::versions_in;
use crate::bundle::{Bundle, MANIFEST_FILE, Trust};
use crate::model::ModelError;
use ombud_core::ensemble::Stage;
use std::fs;
use std::path::{Path, PathBuf};

/// Packages of one model that are opened to look whether one of them is meant.
const PACKAGES_OPENED_MAX: usize = 32;

/// Folders of the layouts `models/<name>/<version>` and `<name>_<version>.tar.gz`.
#[derive(Debug, Clone, Default)]
pub struct Folders {
    folders: Vec<PathBuf>,
}

impl Folders {
    /// Looks in these folders, in this order.
    pub fn new(folders: Vec<PathBuf>) -> Folders {
        Folders { folders }
    }

    /// Where the stages of a bundle lie when nobody says otherwise: among the models of the same folder, or beside the package.
    pub fn beside(bundle: &Path) -> Folders {
        // `latest` is a link, and the folder it leads to has the neighbours.
        let bundle = fs::canonicalize(bundle).unwrap_or_else(|_| bundle.to_owned());
        let above = |steps: usize| bundle.ancestors().nth(steps).map(Path::to_owned);
        let folder = if bundle.is_dir() { above(2) } else { above(1) };
        Folders::new(folder.into_iter().collect())
    }

    /// Looks in other folders afterwards.
    pub fn and(mut self, more: impl IntoIterator<Item = PathBuf>) -> Folders {
        self.folders.extend(more);
        self
    }

    /// The folders, for a message.
    pub fn folders(&self) -> &[PathBuf] {
        &self.folders
    }
}

impl StageBundles for Folders {
    fn bundle(&self, stage: &Stage) -> Result<Option<Bundle>, ModelError> {
        for folder in &self.folders {
            if let Some(found) = in_folder(folder, stage)? {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }
}

fn in_folder(folder: &Path, stage: &Stage) -> Result<Option<Bundle>, ModelError> {
    let model = folder.join(stage.name.as_str());
    let mut versions = versions_in(&model);
    versions.sort_by_key(|version| *version != stage.version);
    for version in versions {
        let path = model.join(version.to_string());
        let manifest = fs::read(path.join(MANIFEST_FILE));
        if manifest.is_ok_and(|text| digest_bytes(&text) == stage.digest) {
            return Ok(Some(Bundle::open(&path, &Trust::default())?));
        }
    }
    for path in packages(folder, stage) {
        // A package that cannot be opened is not the one that is meant.
        if let Ok(bundle) = Bundle::open(&path, &Trust::default())
            && bundle.digest() == stage.digest
        {
            return Ok(Some(bundle));
        }
    }
    Ok(None)
}

/// The packages of a model, the version that is meant first.
fn packages(folder: &Path, stage: &Stage) -> Vec<PathBuf> {
    let start = format!("{}_", stage.name);
    let meant = format!("{start}{}.tar.gz", stage.version);
    let Ok(entries) = fs::read_dir(folder) else {
        return Vec::new();
    };
    let names = entries.flatten().map(|entry| entry.file_name());
    let names = names.filter_map(|name| name.into_string().ok());
    let of_model = |name: &String| name.starts_with(&start) && name.ends_with(".tar.gz");
    let mut names: Vec<String> = names.filter(of_model).collect();
    names.sort_by_key(|name| (*name != meant, name.clone()));
    let names = names.into_iter().take(PACKAGES_OPENED_MAX);
    names.map(|name| folder.join(name)).collect()
}
