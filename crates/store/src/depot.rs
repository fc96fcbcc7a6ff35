//! Files that clients put beside runs and logged models: kept as they came, never opened here.
//!
//! A file comes in chunks, grows aside, and gets its name when it is whole; so whoever reads one reads it whole. Every
//! tenant has a folder of its own, and a [`FilePath`] cannot leave it. Bundles are not here but in [`crate::artifacts`].

mod folder;
mod objects;

pub use folder::FolderDepot;
pub use objects::ObjectDepot;

use crate::artifacts::{ArtifactError, Doing};
use futures_util::Stream;
use ombud_ledger::Tenant;
use std::fmt;
use std::io;
use std::pin::Pin;

/// Longest path.
pub const PATH_BYTES_MAX: usize = 1_000;
/// Folders inside folders.
pub const PARTS_MAX: usize = 32;
/// Longest name of one file or folder; what common file systems allow.
const PART_BYTES_MAX: usize = 255;
/// Entries of one listing.
pub const ENTRIES_MAX: usize = 10_000;
/// The folder of a tenant's files, beside its models.
const FILES: &str = "artifacts";

/// A file as it comes or goes.
pub type Chunks = Pin<Box<dyn Stream<Item = io::Result<Vec<u8>>> + Send>>;

/// A path within a tenant's files that cannot leave them.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct FilePath(String);

/// A text that is no such path.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{came:?} is no path of a file here: {reason}")]
pub struct FilePathError {
    /// What was given, shortened.
    pub came: String,
    pub reason: &'static str,
}

/// What lies in a folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its name, without the folder's.
    pub name: String,
    /// Its size; none for a folder.
    pub bytes: Option<u64>,
}

/// A place for files.
pub trait Depot: Send + Sync + fmt::Debug {
    /// Puts a file, in place of one that lay there: whole, or not at all. Gives its size.
    fn put<'a>(&'a self, tenant: &'a Tenant, path: &'a FilePath, chunks: Chunks) -> Doing<'a, u64>;
    /// Reads a file: its size and its content.
    fn get<'a>(
        &'a self,
        tenant: &'a Tenant,
        path: &'a FilePath,
    ) -> Doing<'a, Option<(u64, Chunks)>>;
    /// What lies in a folder, by name; nothing when there is none. At most [`ENTRIES_MAX`].
    fn list<'a>(&'a self, tenant: &'a Tenant, path: Option<&'a FilePath>) -> Doing<'a, Vec<Entry>>;
    /// Removes a file, or a folder with everything in it. What is not there is removed already.
    fn remove<'a>(&'a self, tenant: &'a Tenant, path: &'a FilePath) -> Doing<'a, ()>;
}

impl FilePath {
    /// Checks a text.
    pub fn new(text: &str) -> Result<Self, FilePathError> {
        match fault(text) {
            None => Ok(FilePath(text.to_owned())),
            Some(reason) => Err(FilePathError {
                came: text.chars().take(80).collect(),
                reason,
            }),
        }
    }

    /// The path as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The parts from the outermost folder to the file.
    pub fn parts(&self) -> impl Iterator<Item = &str> {
        self.0.split('/')
    }

    /// A file or folder within this one.
    pub fn join(&self, text: &str) -> Result<Self, FilePathError> {
        FilePath::new(&format!("{}/{text}", self.0))
    }
}

fn fault(text: &str) -> Option<&'static str> {
    if text.is_empty() {
        Some("it is empty")
    } else if text.len() > PATH_BYTES_MAX {
        Some("it is too long")
    } else if text.chars().any(|c| c.is_control() || c == '\\') {
        Some("it has a control character or a backslash")
    } else if text.split('/').any(|part| matches!(part, "" | "." | "..")) {
        Some("a part is empty, `.` or `..`")
    } else if text.split('/').any(|part| part.len() > PART_BYTES_MAX) {
        Some("a part is too long")
    } else if text.split('/').count() > PARTS_MAX {
        Some("it has too many parts")
    } else {
        None
    }
}

/// A file's content, when it is not longer than so many bytes.
pub async fn read_whole(
    depot: &dyn Depot,
    tenant: &Tenant,
    path: &FilePath,
    bytes_max: u64,
) -> Result<Option<Vec<u8>>, ArtifactError> {
    use futures_util::StreamExt;
    let Some((bytes, mut chunks)) = depot.get(tenant, path).await? else {
        return Ok(None);
    };
    if bytes > bytes_max {
        return Err(ArtifactError::TooLong { bytes, bytes_max });
    }
    let mut content = Vec::with_capacity(usize::try_from(bytes).unwrap_or_default());
    while let Some(chunk) = chunks.next().await {
        content.extend_from_slice(&chunk.map_err(ArtifactError::Stream)?);
        if content.len() as u64 > bytes_max {
            return Err(ArtifactError::TooLong { bytes, bytes_max });
        }
    }
    Ok(Some(content))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_cannot_leave_its_folder() {
        for wrong in [
            "",
            "/etc/passwd",
            "..",
            "a/../b",
            "a//b",
            "a/",
            "./a",
            "a/.",
            "a\\b",
            "a\0b",
            "a\nb",
        ] {
            assert!(FilePath::new(wrong).is_err(), "{wrong:?}");
        }
        for right in ["a", "0/1f/artifacts/model/MLmodel", "a/.hidden", "a b/ä:c"] {
            assert_eq!(
                FilePath::new(right).map(|path| path.0).as_deref(),
                Ok(right)
            );
        }
        assert!(FilePath::new("a/".repeat(40).trim_end_matches('/')).is_err());
    }
}
