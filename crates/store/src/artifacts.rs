//! Bundles as files: put once under a tenant, a name and a version, read back verified, never changed.
//!
//! The layout is the one that training writes, below a folder of the tenant's own: `TENANT/models/NAME/VERSION/…`, with
//! `latest` and `registry.json` kept current for people and scripts. [`Folder`] keeps it on a disk, [`Objects`] in an
//! S3-compatible object store. What may be put or removed is decided above.

mod folder;
mod objects;

pub use folder::Folder;
pub use objects::{ObjectOptions, Objects};

use ombud_core::{Class, Digest, ModelName, Version};
use ombud_engine::Bundle;
use ombud_engine::bundle::path_name::PathNameError;
use ombud_engine::bundle::staging::WriteError;
use ombud_engine::bundle::{BundleError, Trust};
use ombud_ledger::Tenant;
use std::fmt;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;

/// The folder of a tenant's models.
const MODELS: &str = "models";
/// What names the newest version, beside the versions.
const LATEST: &str = "latest";

/// Where a bundle lies.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Location {
    pub tenant: Tenant,
    pub model: ModelName,
    pub version: Version,
}

/// Work that may wait for a disk or a network.
pub type Doing<'a, T> = Pin<Box<dyn Future<Output = Result<T, ArtifactError>> + Send + 'a>>;

/// A place for bundles.
pub trait Artifacts: Send + Sync + fmt::Debug {
    /// Puts a bundle where nothing lies yet: it is there whole, or not at all. The same bundle again is as once.
    fn put<'a>(&'a self, location: &'a Location, bundle: Arc<Bundle>) -> Doing<'a, ()>;
    /// Reads a bundle and verifies every byte; with trusted keys, one of them must have signed it.
    fn get<'a>(&'a self, location: &'a Location, trust: &'a Trust) -> Doing<'a, Bundle>;
    /// Removes a bundle. One that is not there is removed already.
    fn remove<'a>(&'a self, location: &'a Location) -> Doing<'a, ()>;
    /// Whether the place answers.
    fn ping(&self) -> Doing<'_, ()>;
}

/// Why a bundle was not put or read.
#[derive(Debug, thiserror::Error)]
pub enum ArtifactError {
    #[error("there is no bundle of {model} {version}")]
    Absent { model: ModelName, version: Version },
    #[error("another bundle lies at {model} {version}: {found}")]
    Taken {
        model: ModelName,
        version: Version,
        found: Digest,
    },
    #[error(transparent)]
    Bundle(#[from] BundleError),
    #[error(transparent)]
    Write(#[from] WriteError),
    #[error(transparent)]
    Name(#[from] PathNameError),
    #[error("{path:?} cannot be used")]
    Disk {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("the object store did not do it")]
    Objects(#[from] object_store::Error),
    #[error("the object store's setting {setting} is wrong: {reason}")]
    Setting {
        setting: &'static str,
        reason: String,
    },
    #[error("the file did not arrive whole")]
    Stream(#[source] std::io::Error),
    #[error("a folder lies where a file is to be put, or a file where a folder is needed")]
    InTheWay,
    #[error("the file has {bytes} bytes; at most {bytes_max} are read")]
    TooLong { bytes: u64, bytes_max: u64 },
    #[error("the work was interrupted")]
    Interrupted,
}

impl ArtifactError {
    /// Whose mistake it was.
    pub fn class(&self) -> Class {
        match self {
            ArtifactError::Absent { .. } => Class::NotFound,
            ArtifactError::Taken { .. } | ArtifactError::InTheWay => Class::Conflict,
            ArtifactError::TooLong { .. } => Class::TooLarge,
            ArtifactError::Bundle(source) => source.class(),
            ArtifactError::Name(_) => Class::Corrupt,
            ArtifactError::Setting { .. } | ArtifactError::Stream(_) => Class::Invalid,
            ArtifactError::Write(_)
            | ArtifactError::Disk { .. }
            | ArtifactError::Objects(_)
            | ArtifactError::Interrupted => Class::Unavailable,
        }
    }
}

impl Location {
    fn absent(&self) -> ArtifactError {
        ArtifactError::Absent {
            model: self.model.clone(),
            version: self.version,
        }
    }

    fn taken(&self, found: Digest) -> ArtifactError {
        ArtifactError::Taken {
            model: self.model.clone(),
            version: self.version,
            found,
        }
    }
}
