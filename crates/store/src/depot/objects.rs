//! Files in an S3-compatible object store. A large one goes up in parts, and is there when the last part is.

use super::{Chunks, Depot, ENTRIES_MAX, Entry, FILES, FilePath};
use crate::artifacts::{ArtifactError, Doing, ObjectOptions, Objects};
use futures_util::{StreamExt, TryStreamExt};
use object_store::buffered::BufWriter;
use object_store::path::{Path, PathPart};
use object_store::{ObjectStore, ObjectStoreExt};
use ombud_ledger::Tenant;
use std::io;
use std::sync::Arc;

/// A bucket of files.
#[derive(Debug, Clone)]
pub struct ObjectDepot {
    store: Arc<dyn ObjectStore>,
    prefix: Path,
}

impl ObjectDepot {
    /// Files in a bucket. Nothing is asked of it yet.
    pub fn new(options: ObjectOptions) -> Result<Self, ArtifactError> {
        let (store, prefix) = Objects::new(options)?.into_parts();
        Ok(ObjectDepot { store, prefix })
    }

    fn place(&self, tenant: &Tenant, path: Option<&FilePath>) -> Path {
        let root = self.prefix.clone().join(tenant.as_str()).join(FILES);
        match path {
            Some(path) => path.parts().fold(root, join),
            None => root,
        }
    }

    async fn put_all(&self, place: Path, mut chunks: Chunks) -> Result<u64, ArtifactError> {
        let mut writer = BufWriter::new(Arc::clone(&self.store), place);
        let mut bytes = 0;
        while let Some(chunk) = chunks.next().await {
            let chunk = match chunk {
                Ok(chunk) => chunk,
                Err(error) => {
                    // Parts of what did not become whole cost money; a store that cannot forget them now will later.
                    let _ = writer.abort().await;
                    return Err(ArtifactError::Stream(error));
                }
            };
            bytes += chunk.len() as u64;
            writer.put(chunk.into()).await?;
        }
        tokio::io::AsyncWriteExt::shutdown(&mut writer)
            .await
            .map_err(ArtifactError::Stream)?;
        Ok(bytes)
    }

    async fn remove_all(&self, place: Path) -> Result<(), ArtifactError> {
        self.delete(&place).await?;
        let listed: Vec<_> = self.store.list(Some(&place)).try_collect().await?;
        for object in listed {
            self.delete(&object.location).await?;
        }
        Ok(())
    }

    async fn delete(&self, place: &Path) -> Result<(), ArtifactError> {
        match self.store.delete(place).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

/// Adds a part by its own name. What the store's library would write as `%C3%A4` comes back so in a listing.
fn join(folder: Path, part: &str) -> Path {
    match PathPart::parse(part) {
        Ok(part) => folder.join(part),
        Err(_) => folder.join(part),
    }
}

impl Depot for ObjectDepot {
    fn put<'a>(&'a self, tenant: &'a Tenant, path: &'a FilePath, chunks: Chunks) -> Doing<'a, u64> {
        Box::pin(self.put_all(self.place(tenant, Some(path)), chunks))
    }

    fn get<'a>(
        &'a self,
        tenant: &'a Tenant,
        path: &'a FilePath,
    ) -> Doing<'a, Option<(u64, Chunks)>> {
        let place = self.place(tenant, Some(path));
        Box::pin(async move {
            let found = match self.store.get(&place).await {
                Err(object_store::Error::NotFound { .. }) => return Ok(None),
                found => found?,
            };
            let bytes = found.meta.size;
            let chunks = found
                .into_stream()
                .map(|chunk| chunk.map(|chunk| chunk.to_vec()).map_err(io::Error::other));
            Ok(Some((bytes, Box::pin(chunks) as Chunks)))
        })
    }

    fn list<'a>(&'a self, tenant: &'a Tenant, path: Option<&'a FilePath>) -> Doing<'a, Vec<Entry>> {
        let place = self.place(tenant, path);
        Box::pin(async move {
            let found = self.store.list_with_delimiter(Some(&place)).await?;
            let folders = found.common_prefixes.iter().filter_map(|folder| {
                Some(Entry {
                    name: folder.filename()?.to_owned(),
                    bytes: None,
                })
            });
            let files = found.objects.iter().filter_map(|object| {
                Some(Entry {
                    name: object.location.filename()?.to_owned(),
                    bytes: Some(object.size),
                })
            });
            let mut entries: Vec<Entry> = folders.chain(files).take(ENTRIES_MAX).collect();
            entries.sort_by(|a, b| a.name.cmp(&b.name));
            Ok(entries)
        })
    }

    fn remove<'a>(&'a self, tenant: &'a Tenant, path: &'a FilePath) -> Doing<'a, ()> {
        Box::pin(self.remove_all(self.place(tenant, Some(path))))
    }
}
