//! Bundles in a folder of this machine, or of a disk that replicas share.
//!
//! A put grows beside its place and gets its name in one rename; the link and the index follow, and are mended by the next
//! put when a crash came in between.

use super::{ArtifactError, Artifacts, Doing, Location, MODELS};
use ombud_core::{Class, Version};
use ombud_engine::Bundle;
use ombud_engine::bundle::staging::{LATEST_LINK, WriteError, point_latest};
use ombud_engine::bundle::{BundleError, Trust, index};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

/// A folder of bundles.
#[derive(Debug, Clone)]
pub struct Folder {
    root: PathBuf,
    /// The link and the index are rewritten by one at a time in this process.
    listing: Arc<Mutex<()>>,
}

impl Folder {
    /// Bundles below `root`, which is made when missing.
    pub fn new(root: PathBuf) -> Result<Self, ArtifactError> {
        fs::create_dir_all(&root).map_err(|source| failed(&root, source))?;
        Ok(Folder {
            root,
            listing: Arc::default(),
        })
    }

    /// Where a bundle lies, for whoever reads files themselves.
    pub fn path(&self, location: &Location) -> PathBuf {
        self.model(location).join(location.version.to_string())
    }

    fn models(&self, location: &Location) -> PathBuf {
        self.root.join(location.tenant.as_str()).join(MODELS)
    }

    fn model(&self, location: &Location) -> PathBuf {
        self.models(location).join(location.model.as_str())
    }

    fn put_now(&self, location: &Location, bundle: &Bundle) -> Result<(), ArtifactError> {
        let path = self.path(location);
        match bundle.write(&path) {
            Ok(()) => {}
            Err(BundleError::Write(WriteError::Exists { .. })) => {
                match Bundle::open(&path, &Trust::default()) {
                    Ok(found) if found.digest() == bundle.digest() => {}
                    Ok(found) => return Err(location.taken(found.digest())),
                    Err(error) if is_damaged(&error) => replace(&path, bundle)?,
                    Err(error) => return Err(error.into()),
                }
            }
            Err(other) => return Err(other.into()),
        }
        self.list(location)
    }

    fn get_now(&self, location: &Location, trust: &Trust) -> Result<Bundle, ArtifactError> {
        match Bundle::open(&self.path(location), trust) {
            Err(BundleError::Absent { .. }) => Err(location.absent()),
            opened => Ok(opened?),
        }
    }

    fn remove_now(&self, location: &Location) -> Result<(), ArtifactError> {
        let path = self.path(location);
        match fs::remove_dir_all(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed(&path, error)),
            _ => self.list(location),
        }
    }

    /// Points `latest` at the newest version and rewrites the index.
    fn list(&self, location: &Location) -> Result<(), ArtifactError> {
        let _alone = self.listing.lock().unwrap_or_else(PoisonError::into_inner);
        let folder = self.model(location);
        match index::versions_in(&folder).last() {
            Some(newest) => point_latest(&folder, &newest.to_string())?,
            None => unlink(&folder.join(LATEST_LINK))?,
        }
        match self.models(location) {
            models if models.is_dir() => Ok(index::write(&models)?),
            _ => Ok(()),
        }
    }

    /// The versions of a model that lie here, in order.
    pub fn versions(&self, location: &Location) -> Vec<Version> {
        index::versions_in(&self.model(location))
    }
}

/// Whether what lies there is no bundle any more, other than that it cannot be read just now.
pub(super) fn is_damaged(error: &BundleError) -> bool {
    matches!(error, BundleError::Absent { .. }) || error.class() == Class::Corrupt
}

/// Puts a bundle where a damaged one lies, which is out of the way first: whoever looks in between finds none.
fn replace(path: &Path, bundle: &Bundle) -> Result<(), ArtifactError> {
    let aside = path.with_file_name(format!(".damaged-{}", bundle.digest()));
    // Whoever was killed at it before left one there, and a folder is not moved onto another.
    if let Err(source) = fs::remove_dir_all(&aside)
        && source.kind() != io::ErrorKind::NotFound
    {
        return Err(failed(&aside, source));
    }
    let moved = fs::rename(path, &aside);
    moved.map_err(|source| failed(path, source))?;
    bundle.write(path)?;
    fs::remove_dir_all(&aside).map_err(|source| failed(&aside, source))
}

impl Artifacts for Folder {
    fn put<'a>(&'a self, location: &'a Location, bundle: Arc<Bundle>) -> Doing<'a, ()> {
        let (folder, location) = (self.clone(), location.clone());
        Box::pin(blocking(move || folder.put_now(&location, &bundle)))
    }

    fn get<'a>(&'a self, location: &'a Location, trust: &'a Trust) -> Doing<'a, Bundle> {
        let (folder, location, trust) = (self.clone(), location.clone(), trust.clone());
        Box::pin(blocking(move || folder.get_now(&location, &trust)))
    }

    fn remove<'a>(&'a self, location: &'a Location) -> Doing<'a, ()> {
        let (folder, location) = (self.clone(), location.clone());
        Box::pin(blocking(move || folder.remove_now(&location)))
    }

    fn ping(&self) -> Doing<'_, ()> {
        let root = self.root.clone();
        Box::pin(blocking(move || {
            let read = fs::read_dir(&root).map(drop);
            read.map_err(|source| failed(&root, source))
        }))
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, ArtifactError> + Send + 'static,
) -> Result<T, ArtifactError> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|_| ArtifactError::Interrupted)?
}

fn unlink(link: &Path) -> Result<(), ArtifactError> {
    match fs::remove_file(link) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed(link, error)),
        _ => Ok(()),
    }
}

fn failed(path: &Path, source: io::Error) -> ArtifactError {
    ArtifactError::Disk {
        path: path.to_owned(),
        source,
    }
}
