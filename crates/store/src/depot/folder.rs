//! Files in a folder of this machine, or of a disk that replicas share.

use super::{Chunks, Depot, ENTRIES_MAX, Entry, FILES, FilePath};
use crate::artifacts::{ArtifactError, Doing};
use futures_util::StreamExt;
use ombud_ledger::{RecordId, Tenant};
use std::fs;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

/// Where files grow until they are whole, beside the files themselves.
const INCOMING: &str = "incoming";
const KEPT: &str = "files";
/// How much is read at once.
const CHUNK_BYTES: usize = 256 << 10;

/// A folder of files.
#[derive(Debug, Clone)]
pub struct FolderDepot {
    root: PathBuf,
}

/// A file that is gone when it did not become whole.
struct Growing {
    path: PathBuf,
    file: Option<fs::File>,
}

impl FolderDepot {
    /// Files below `root`.
    pub fn new(root: PathBuf) -> Self {
        FolderDepot { root }
    }

    fn place(&self, tenant: &Tenant, path: Option<&FilePath>) -> PathBuf {
        let kept = self.root.join(tenant.as_str()).join(FILES).join(KEPT);
        path.map_or(kept.clone(), |path| kept.join(path.as_str()))
    }

    fn grow(&self, tenant: &Tenant) -> Result<Growing, ArtifactError> {
        let folder = self.root.join(tenant.as_str()).join(FILES).join(INCOMING);
        fs::create_dir_all(&folder).map_err(|source| failed(&folder, source))?;
        // Named by time and randomness; the name is nobody's business.
        let id = RecordId::generate(0).map_err(|_| ArtifactError::Interrupted)?;
        let path = folder.join(id.to_string());
        let file = fs::File::create_new(&path).map_err(|source| failed(&path, source))?;
        Ok(Growing {
            path,
            file: Some(file),
        })
    }
}

impl Growing {
    fn add(&mut self, chunk: &[u8]) -> Result<(), ArtifactError> {
        let Some(file) = &mut self.file else {
            return Err(ArtifactError::Interrupted);
        };
        file.write_all(chunk)
            .map_err(|source| failed(&self.path, source))
    }

    fn become_whole(mut self, place: &Path) -> Result<(), ArtifactError> {
        let Some(file) = self.file.take() else {
            return Err(ArtifactError::Interrupted);
        };
        file.sync_all()
            .map_err(|source| failed(&self.path, source))?;
        drop(file);
        if let Some(folder) = place.parent() {
            fs::create_dir_all(folder).map_err(|source| taken(folder, source))?;
        }
        fs::rename(&self.path, place).map_err(|source| taken(place, source))
    }
}

impl Drop for Growing {
    fn drop(&mut self) {
        // One that became whole has another name by now.
        let _ = fs::remove_file(&self.path);
    }
}

impl Depot for FolderDepot {
    fn put<'a>(
        &'a self,
        tenant: &'a Tenant,
        path: &'a FilePath,
        mut chunks: Chunks,
    ) -> Doing<'a, u64> {
        Box::pin(async move {
            let (depot, owner) = (self.clone(), tenant.clone());
            let mut growing = blocking(move || depot.grow(&owner)).await?;
            let mut bytes = 0;
            while let Some(chunk) = chunks.next().await {
                let chunk = chunk.map_err(ArtifactError::Stream)?;
                bytes += chunk.len() as u64;
                growing = blocking(move || {
                    growing.add(&chunk)?;
                    Ok(growing)
                })
                .await?;
            }
            let place = self.place(tenant, Some(path));
            blocking(move || growing.become_whole(&place)).await?;
            Ok(bytes)
        })
    }

    fn get<'a>(
        &'a self,
        tenant: &'a Tenant,
        path: &'a FilePath,
    ) -> Doing<'a, Option<(u64, Chunks)>> {
        let place = self.place(tenant, Some(path));
        Box::pin(async move {
            let opened = blocking(move || open(&place)).await?;
            Ok(opened.map(|(bytes, file)| (bytes, chunks(file))))
        })
    }

    fn list<'a>(&'a self, tenant: &'a Tenant, path: Option<&'a FilePath>) -> Doing<'a, Vec<Entry>> {
        let place = self.place(tenant, path);
        Box::pin(blocking(move || entries(&place)))
    }

    fn remove<'a>(&'a self, tenant: &'a Tenant, path: &'a FilePath) -> Doing<'a, ()> {
        let place = self.place(tenant, Some(path));
        Box::pin(blocking(move || {
            let removed = if place.is_dir() {
                fs::remove_dir_all(&place)
            } else {
                fs::remove_file(&place)
            };
            match removed {
                Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
                removed => removed.map_err(|source| failed(&place, source)),
            }
        }))
    }
}

fn open(place: &Path) -> Result<Option<(u64, fs::File)>, ArtifactError> {
    let is_absent = |error: &io::Error| {
        matches!(
            error.kind(),
            io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
        )
    };
    let file = match fs::File::open(place) {
        Err(error) if is_absent(&error) => return Ok(None),
        opened => opened.map_err(|source| failed(place, source))?,
    };
    let about = file.metadata().map_err(|source| failed(place, source))?;
    Ok(about.is_file().then_some((about.len(), file)))
}

/// Reads as fast as the other side takes it, a chunk at a time.
fn chunks(file: fs::File) -> Chunks {
    let next = |file: Option<fs::File>| async move {
        let mut file = file?;
        let read = tokio::task::spawn_blocking(move || {
            let mut chunk = vec![0; CHUNK_BYTES];
            let read = file.read(&mut chunk);
            read.map(|bytes| {
                chunk.truncate(bytes);
                (chunk, file)
            })
        });
        match read.await {
            Ok(Ok((chunk, _))) if chunk.is_empty() => None,
            Ok(Ok((chunk, file))) => Some((Ok(chunk), Some(file))),
            Ok(Err(error)) => Some((Err(error), None)),
            Err(_) => Some((Err(io::ErrorKind::Interrupted.into()), None)),
        }
    };
    Box::pin(futures_util::stream::unfold(Some(file), next))
}

fn entries(place: &Path) -> Result<Vec<Entry>, ArtifactError> {
    let listed = match fs::read_dir(place) {
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
            ) =>
        {
            return Ok(Vec::new());
        }
        listed => listed.map_err(|source| failed(place, source))?,
    };
    let mut entries = Vec::new();
    for entry in listed.take(ENTRIES_MAX) {
        let entry = entry.map_err(|source| failed(place, source))?;
        let about = entry.metadata().map_err(|source| failed(place, source))?;
        let Ok(name) = entry.file_name().into_string() else {
            continue;
        };
        let bytes = about.is_file().then_some(about.len());
        entries.push(Entry { name, bytes });
    }
    entries.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(entries)
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, ArtifactError> + Send + 'static,
) -> Result<T, ArtifactError> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|_| ArtifactError::Interrupted)?
}

fn failed(path: &Path, source: io::Error) -> ArtifactError {
    ArtifactError::Disk {
        path: path.to_owned(),
        source,
    }
}

/// A file where a folder is wanted, or a folder where a file is, is the caller's mistake and not the disk's.
fn taken(path: &Path, source: io::Error) -> ArtifactError {
    match source.kind() {
        io::ErrorKind::NotADirectory
        | io::ErrorKind::IsADirectory
        | io::ErrorKind::DirectoryNotEmpty
        | io::ErrorKind::AlreadyExists => ArtifactError::InTheWay,
        _ => failed(path, source),
    }
}
