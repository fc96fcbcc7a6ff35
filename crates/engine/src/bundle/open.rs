//! Opens a bundle, from a folder or a package, and writes one.
//!
//! Opening reads the manifest first, then checks the signature over everything it lists, then every file against its
//! digest; not a byte of weights is used before all three have agreed.

use super::archive::{self, ArchiveError};
use super::digest::FileEntry;
use super::folder::{self, FolderError};
use super::keys::{KeyError, KeyId, SigningKey, VerifyingKey};
use super::path_name::{PathName, PathNameError};
use super::signature::{self, SignatureError};
use super::staging::{Staging, WriteError};
use super::{Files, Limits, MANIFEST_FILE, SIGNATURE_FILE};
use ombud_core::manifest::{self, FORMAT};
use ombud_core::{Class, Digest, Manifest};
use std::fs::{self, File};
use std::io::{self, BufReader, Write};
use std::path::{Path, PathBuf};

/// Largest manifest; ours stay far below it.
const MANIFEST_BYTES_MAX: u64 = 64 << 20;
/// Largest signature file.
const SIGNATURE_BYTES_MAX: u64 = 1 << 20;

/// Whose signature is accepted.
#[derive(Debug, Clone, Default)]
pub struct Trust {
    /// The keys; when there are any, one of them must have signed the bundle.
    pub keys: Vec<VerifyingKey>,
}

/// A verified bundle in memory.
#[derive(Debug, Clone)]
pub struct Bundle {
    manifest: Manifest,
    files: Files,
    digest: Digest,
    signature: Option<Vec<u8>>,
    signed_by: Option<KeyId>,
}

/// Why a bundle is refused.
#[derive(Debug, thiserror::Error)]
pub enum BundleError {
    #[error("there is no bundle at {path:?}")]
    Absent { path: PathBuf },
    #[error("{path:?} cannot be read")]
    Read { path: PathBuf, source: io::Error },
    #[error("{path:?} holds no manifest.json")]
    NoManifest { path: PathBuf },
    #[error("the manifest cannot be read: {reason}")]
    Manifest { reason: String },
    #[error("the bundle has format {format}; this program reads up to {FORMAT}")]
    NewerFormat { format: u64 },
    #[error("the bundle is not signed, and a trusted key is configured")]
    Unsigned,
    #[error(transparent)]
    Signature(#[from] SignatureError),
    #[error(transparent)]
    Folder(#[from] FolderError),
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    #[error(transparent)]
    Name(#[from] PathNameError),
    #[error(transparent)]
    Key(#[from] KeyError),
    #[error(transparent)]
    Write(#[from] WriteError),
}

impl BundleError {
    /// Whose mistake it is.
    pub fn class(&self) -> Class {
        match self {
            BundleError::Absent { .. } => Class::NotFound,
            BundleError::NewerFormat { .. } => Class::Unsupported,
            BundleError::Unsigned => Class::Forbidden,
            BundleError::Read { .. } | BundleError::Write(_) => Class::Unavailable,
            BundleError::Key(_) => Class::Invalid,
            BundleError::NoManifest { .. }
            | BundleError::Manifest { .. }
            | BundleError::Signature(_)
            | BundleError::Folder(_)
            | BundleError::Archive(_)
            | BundleError::Name(_) => Class::Corrupt,
        }
    }

    /// What to do.
    pub fn hint(&self) -> &'static str {
        match self {
            BundleError::Absent { .. } => {
                "a bundle is a folder models/<name>/<version> or a .tar.gz made by `ombud package`"
            }
            BundleError::NoManifest { .. } => {
                "name the folder of one version, such as models/<name>/latest"
            }
            BundleError::NewerFormat { .. } => "open it with a newer ombud",
            BundleError::Unsigned | BundleError::Signature(_) => {
                "get the bundle again from whoever signed it, or trust the right key with --key"
            }
            BundleError::Manifest { .. }
            | BundleError::Folder(_)
            | BundleError::Archive(_)
            | BundleError::Name(_) => {
                "the bundle was changed or damaged after training; get it again from where it was made"
            }
            BundleError::Read { .. } | BundleError::Write(_) => {
                "check the disk and the rights on the folder"
            }
            BundleError::Key(_) => "make a key with `ombud keys signing new`",
        }
    }
}

impl Bundle {
    /// Opens a folder or a `.tar.gz`.
    pub fn open(path: &Path, trust: &Trust) -> Result<Bundle, BundleError> {
        let kind = fs::metadata(path).map_err(|source| match source.kind() {
            io::ErrorKind::NotFound => BundleError::Absent {
                path: path.to_owned(),
            },
            _ => BundleError::Read {
                path: path.to_owned(),
                source,
            },
        })?;
        if kind.is_dir() {
            Bundle::open_folder(path, trust)
        } else {
            Bundle::open_package(path, trust)
        }
    }

    fn open_folder(path: &Path, trust: &Trust) -> Result<Bundle, BundleError> {
        let name = PathName::new(MANIFEST_FILE)?;
        let text = folder::read_unlisted(path, &name, MANIFEST_BYTES_MAX)?.ok_or_else(|| {
            BundleError::NoManifest {
                path: path.to_owned(),
            }
        })?;
        let signature =
            folder::read_unlisted(path, &PathName::new(SIGNATURE_FILE)?, SIGNATURE_BYTES_MAX)?;
        let (manifest, expected) = read_manifest(&text)?;
        let signed_by = check_signature(signature.as_deref(), &expected, trust)?;
        let files = folder::read_folder(path, &Limits::default(), &expected)?;
        Ok(Bundle {
            manifest,
            files,
            digest: super::digest::digest_bytes(&text),
            signature,
            signed_by,
        })
    }

    fn open_package(path: &Path, trust: &Trust) -> Result<Bundle, BundleError> {
        let file = File::open(path).map_err(|source| BundleError::Read {
            path: path.to_owned(),
            source,
        })?;
        let files = archive::unpack(BufReader::new(file), &Limits::default())?;
        Bundle::from_files(files, trust).map_err(|error| match error {
            BundleError::NoManifest { .. } => BundleError::NoManifest {
                path: path.to_owned(),
            },
            other => other,
        })
    }

    /// A bundle from files in memory, verified like any other.
    pub fn from_files(mut files: Files, trust: &Trust) -> Result<Bundle, BundleError> {
        let text = files
            .get(&PathName::new(MANIFEST_FILE)?)
            .ok_or_else(|| BundleError::NoManifest {
                path: PathBuf::new(),
            })?
            .clone();
        let signature = files.remove(&PathName::new(SIGNATURE_FILE)?);
        let (manifest, expected) = read_manifest(&text)?;
        let signed_by = check_signature(signature.as_deref(), &expected, trust)?;
        folder::check_files(&files, &Limits::default(), &expected)?;
        Ok(Bundle {
            manifest,
            files,
            digest: super::digest::digest_bytes(&text),
            signature,
            signed_by,
        })
    }

    /// Makes a bundle: fills in the manifest's list of files and signs everything when a key is given.
    pub fn make(
        mut manifest: Manifest,
        mut files: Files,
        key: Option<&SigningKey>,
    ) -> Result<Bundle, BundleError> {
        manifest.files = files
            .iter()
            .map(|(name, content)| {
                let entry = FileEntry::of(name.clone(), content);
                (
                    name.as_str().to_owned(),
                    manifest::FileEntry {
                        sha256: entry.sha256,
                        bytes: entry.bytes,
                    },
                )
            })
            .collect();
        let mut text =
            serde_json::to_vec_pretty(&manifest).map_err(|error| BundleError::Manifest {
                reason: error.to_string(),
            })?;
        text.push(b'\n');
        let digest = super::digest::digest_bytes(&text);
        files.insert(PathName::new(MANIFEST_FILE)?, text);
        let entries: Vec<FileEntry> = files
            .iter()
            .map(|(name, content)| FileEntry::of(name.clone(), content))
            .collect();
        let signature = match key {
            Some(key) => Some(signature::sign_folder(
                manifest.name.as_str(),
                &entries,
                key,
            )?),
            None => None,
        };
        let signed_by = match key {
            Some(key) => Some(key.public()?.id()),
            None => None,
        };
        Ok(Bundle {
            manifest,
            files,
            digest,
            signature,
            signed_by,
        })
    }

    /// Writes the bundle as a folder in one step: it is there whole, or not at all.
    pub fn write(&self, target: &Path) -> Result<(), BundleError> {
        let parent = target.parent().unwrap_or(Path::new("."));
        let mut staging = Staging::new(parent)?;
        for (name, content) in &self.files {
            staging.write(name, content)?;
        }
        if let Some(signature) = &self.signature {
            staging.write(&PathName::new(SIGNATURE_FILE)?, signature)?;
        }
        Ok(staging.finish(target)?)
    }

    /// Writes the bundle as one `.tar.gz`; the same bundle gives the same bytes.
    pub fn pack(&self, writer: impl Write) -> io::Result<()> {
        let mut files = self.files.clone();
        if let (Some(signature), Ok(name)) = (&self.signature, PathName::new(SIGNATURE_FILE)) {
            files.insert(name, signature.clone());
        }
        archive::pack(&files, writer)?.flush()
    }

    /// The manifest.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// The manifest, without the rest.
    pub fn into_manifest(self) -> Manifest {
        self.manifest
    }

    /// Every file with its bytes, the manifest and the signature among them.
    pub fn files(&self) -> impl Iterator<Item = (&str, &[u8])> {
        let listed = self.files.iter();
        let signature = self.signature.iter();
        listed
            .map(|(name, content)| (name.as_str(), content.as_slice()))
            .chain(signature.map(|content| (SIGNATURE_FILE, content.as_slice())))
    }

    /// A file's bytes.
    pub fn file(&self, name: &str) -> Option<&[u8]> {
        let name = PathName::new(name).ok()?;
        self.files.get(&name).map(Vec::as_slice)
    }

    /// The bundle's identity: the digest of its manifest, which lists all others.
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// Whether it carries a signature.
    pub fn is_signed(&self) -> bool {
        self.signature.is_some()
    }

    /// The trusted key that signed it; `None` when no key was asked for.
    pub fn signed_by(&self) -> Option<KeyId> {
        self.signed_by
    }
}

/// Parses a manifest and lists what the folder must hold, the manifest itself included.
fn read_manifest(text: &[u8]) -> Result<(Manifest, Vec<FileEntry>), BundleError> {
    let wrong = |error: serde_json::Error| BundleError::Manifest {
        reason: error.to_string(),
    };
    // The format is read on its own first: a newer manifest may not parse as today's.
    #[derive(serde::Deserialize)]
    struct Format {
        format: u64,
    }
    let Format { format } = serde_json::from_slice(text).map_err(wrong)?;
    if format > u64::from(FORMAT) {
        return Err(BundleError::NewerFormat { format });
    }
    let manifest: Manifest = serde_json::from_slice(text).map_err(wrong)?;
    check_answers(&manifest)?;
    let mut expected = vec![FileEntry::of(PathName::new(MANIFEST_FILE)?, text)];
    for (name, entry) in &manifest.files {
        expected.push(FileEntry {
            path: PathName::new(name.as_str())?,
            sha256: entry.sha256,
            bytes: entry.bytes,
        });
    }
    Ok((manifest, expected))
}

fn check_signature(
    signature: Option<&[u8]>,
    expected: &[FileEntry],
    trust: &Trust,
) -> Result<Option<KeyId>, BundleError> {
    match signature {
        None if trust.keys.is_empty() => Ok(None),
        None => Err(BundleError::Unsigned),
        // Nobody's key is trusted, so nobody vouches; but a signature over other files is a damaged bundle all the same.
        Some(signature) if trust.keys.is_empty() => {
            signature::check_agreement(signature, expected)?;
            Ok(None)
        }
        Some(signature) => Ok(Some(signature::verify(signature, expected, &trust.keys)?)),
    }
}

/// What the manifest says of its answers must fit together.
fn check_answers(manifest: &Manifest) -> Result<(), BundleError> {
    let refused = |reason: String| Err(BundleError::Manifest { reason });
    if !manifest.outputs.fits(manifest.task) {
        return refused(format!(
            "its task is {}, and its outputs are of another kind",
            manifest.task
        ));
    }
    match manifest.outputs.repeated_name() {
        Some(name) => refused(format!("its outputs name {name:?} twice")),
        None => Ok(()),
    }
}
