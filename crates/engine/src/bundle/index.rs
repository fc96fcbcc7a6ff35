//! The index of a folder of bundles: every model, its versions, its newest one.
//!
//! Rewritten from what is really there, so that it cannot drift from the folders. For people and scripts; nothing here
//! reads it back.

use super::MANIFEST_FILE;
use super::path_name::PathName;
use super::staging::{LATEST_LINK, WriteError, folders_in, write_file_atomically};
use ombud_core::Version;
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

/// The name of the file.
pub const INDEX_FILE: &str = "registry.json";

/// Every model of a folder with its versions in order; a folder that is not there holds none.
pub fn list(folder: &Path) -> BTreeMap<String, Vec<Version>> {
    let names = folders_in(folder).unwrap_or_default();
    let listed = names.iter().map(|name| {
        let versions = versions_in(&folder.join(name.as_str()));
        (name.as_str().to_owned(), versions)
    });
    listed
        .filter(|(_, versions)| !versions.is_empty())
        .collect()
}

/// The versions of one model's folder, in order.
pub fn versions_in(folder: &Path) -> Vec<Version> {
    let names = folders_in(folder).unwrap_or_default();
    let number = |name: &PathName| name.as_str().parse().ok();
    let mut versions: Vec<Version> = names.iter().filter_map(number).collect();
    versions.sort_unstable();
    versions
}

/// The folder of the version that is meant: a model's own folder stands for its latest version.
pub fn version_folder(path: &Path) -> PathBuf {
    let latest = path.join(LATEST_LINK);
    let is_model_folder =
        !path.join(MANIFEST_FILE).exists() && latest.join(MANIFEST_FILE).is_file();
    match is_model_folder {
        true => latest,
        false => path.to_owned(),
    }
}

/// The index as text.
pub fn text(models: &BTreeMap<String, Vec<Version>>) -> Result<Vec<u8>, serde_json::Error> {
    let entry = |versions: &Vec<Version>| serde_json::json!({ "latest": versions.last(), "versions": versions });
    let models: BTreeMap<&String, serde_json::Value> = models
        .iter()
        .map(|(name, versions)| (name, entry(versions)))
        .collect();
    serde_json::to_vec_pretty(&serde_json::json!({ "models": models }))
}

/// Rewrites a folder's index.
pub fn write(folder: &Path) -> Result<(), WriteError> {
    let path = folder.join(INDEX_FILE);
    let text = text(&list(folder)).map_err(|error| WriteError::Write {
        path: path.clone(),
        source: io::Error::other(error),
    })?;
    write_file_atomically(&path, &text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn the_index_lists_what_is_there_in_order_of_numbers() {
        let place = tempfile::tempdir().expect("a temporary folder");
        for version in [
            "claims/2",
            "claims/10",
            "churn/1",
            "empty",
            "claims/.staging-1",
            "claims/draft",
        ] {
            fs::create_dir_all(place.path().join(version)).expect("a folder");
        }
        write(place.path()).expect("written");
        let text = fs::read(place.path().join(INDEX_FILE)).expect("there");
        let index: serde_json::Value = serde_json::from_slice(&text).expect("JSON");
        let expected = serde_json::json!({ "models": {
            "churn": { "latest": 1, "versions": [1] },
            "claims": { "latest": 10, "versions": [2, 10] },
        } });
        assert_eq!(index, expected);
    }
}
