//! Bundles in an S3-compatible object store.
//!
//! An object store renames nothing, so the manifest is put last and a bundle without one is not there. It has no links
//! either: `latest` is a small object that holds the newest version's number.

use super::folder::is_damaged;
use super::{ArtifactError, Artifacts, Doing, LATEST, Location, MODELS};
use futures_util::{StreamExt, TryStreamExt};
use object_store::aws::{AmazonS3, AmazonS3Builder};
use object_store::path::Path;
use object_store::{
    BackoffConfig, ClientConfigKey, ClientOptions, ObjectStore, ObjectStoreExt, PutPayload,
    RetryConfig,
};
use ombud_core::Version;
use ombud_engine::Bundle;
use ombud_engine::bundle::path_name::PathName;
use ombud_engine::bundle::{Files, Limits, MANIFEST_FILE, Trust, index};
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// How long a connection may take to be made.
const CONNECT_WAIT: Duration = Duration::from_secs(5);
/// How long one request may take; a large file is one request.
const REQUEST_WAIT: Duration = Duration::from_secs(300);
/// How long a store may say nothing; a file that is sent counts until it is answered.
const ANSWER_WAIT: &str = "60 seconds";
/// How often a request is tried again, and for how long in all.
const RETRIES_MAX: usize = 3;
const RETRY_WAIT: Duration = Duration::from_secs(20);
/// Requests at once when a bundle is read or removed.
const REQUESTS_AT_ONCE: usize = 8;

/// How an object store is reached.
#[derive(Clone)]
pub struct ObjectOptions {
    /// The bucket, which exists.
    pub bucket: String,
    /// What every key begins with; may be empty.
    pub prefix: String,
    /// Where, when it is not Amazon's.
    pub endpoint: Option<String>,
    pub region: String,
    /// The key's id and its secret; without them the environment's usual ones are used.
    pub access: Option<(String, String)>,
    /// Whether an endpoint may be reached without TLS.
    pub allow_http: bool,
}

/// A bucket of bundles.
#[derive(Debug, Clone)]
pub struct Objects {
    store: Arc<AmazonS3>,
    prefix: Path,
}

impl Objects {
    /// Bundles in a bucket. Nothing is asked of it yet.
    pub fn new(options: ObjectOptions) -> Result<Self, ArtifactError> {
        // One TLS for the house. A provider that somebody installed before is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let base = match options.access {
            Some((id, secret)) => AmazonS3Builder::new()
                .with_access_key_id(id)
                .with_secret_access_key(secret),
            None => AmazonS3Builder::from_env(),
        };
        let client = ClientOptions::new()
            .with_connect_timeout(CONNECT_WAIT)
            .with_timeout(REQUEST_WAIT)
            .with_config(ClientConfigKey::ReadTimeout, ANSWER_WAIT)
            .with_allow_http(options.allow_http);
        let retry = RetryConfig {
            backoff: BackoffConfig::default(),
            max_retries: RETRIES_MAX,
            retry_timeout: RETRY_WAIT,
        };
        let mut builder = base
            .with_bucket_name(options.bucket)
            .with_region(options.region)
            .with_client_options(client)
            .with_retry(retry);
        if let Some(endpoint) = options.endpoint {
            builder = builder.with_endpoint(endpoint);
        }
        let prefix = Path::parse(&options.prefix).map_err(|error| ArtifactError::Setting {
            setting: "prefix",
            reason: error.to_string(),
        })?;
        Ok(Objects {
            store: Arc::new(builder.build()?),
            prefix,
        })
    }

    /// The bucket itself and what every key begins with, for files that are no bundles.
    pub(crate) fn into_parts(self) -> (Arc<dyn ObjectStore>, Path) {
        (self.store, self.prefix)
    }

    fn models(&self, location: &Location) -> Path {
        self.prefix
            .clone()
            .join(location.tenant.as_str())
            .join(MODELS)
    }

    fn model(&self, location: &Location) -> Path {
        self.models(location).join(location.model.as_str())
    }

    fn version(&self, location: &Location) -> Path {
        self.model(location).join(location.version.to_string())
    }

    async fn put_all(&self, location: &Location, bundle: &Bundle) -> Result<(), ArtifactError> {
        let folder = self.version(location);
        let manifest = file(&folder, MANIFEST_FILE)?;
        if self.exists(&manifest).await? {
            match self.get_all(location, &Trust::default()).await {
                Ok(found) if found.digest() == bundle.digest() => return self.list(location).await,
                Ok(found) => return Err(location.taken(found.digest())),
                // Of a damaged one every file is put again.
                Err(ArtifactError::Bundle(error)) if is_damaged(&error) => {}
                Err(error) => return Err(error),
            }
        }
        for (name, content) in bundle.files().filter(|(name, _)| *name != MANIFEST_FILE) {
            let content = PutPayload::from(content.to_vec());
            self.store.put(&file(&folder, name)?, content).await?;
        }
        let content = bundle.file(MANIFEST_FILE).unwrap_or_default().to_vec();
        self.store.put(&manifest, PutPayload::from(content)).await?;
        self.list(location).await
    }

    async fn get_all(&self, location: &Location, trust: &Trust) -> Result<Bundle, ArtifactError> {
        let folder = self.version(location);
        let listed: Vec<_> = self
            .store
            .list(Some(&folder))
            .take(Limits::default().files_max + 1)
            .try_collect()
            .await?;
        let manifest = file(&folder, MANIFEST_FILE)?;
        if !listed.iter().any(|object| object.location == manifest) {
            return Err(location.absent());
        }
        let reading = listed.into_iter().map(|object| {
            let folder = &folder;
            async move {
                let name = object.location.prefix_match(folder).map(|parts| {
                    let parts: Vec<String> = parts.map(|part| part.as_ref().to_owned()).collect();
                    parts.join("/")
                });
                let name = PathName::new(name.unwrap_or_default())?;
                let content = self.store.get(&object.location).await?.bytes().await?;
                Ok::<_, ArtifactError>((name, content.to_vec()))
            }
        });
        let files: Files = futures_util::stream::iter(reading)
            .buffer_unordered(REQUESTS_AT_ONCE)
            .try_collect()
            .await?;
        Ok(Bundle::from_files(files, trust)?)
    }

    async fn remove_all(&self, location: &Location) -> Result<(), ArtifactError> {
        let folder = self.version(location);
        // The manifest goes first: from then on the bundle is not there.
        self.delete(&file(&folder, MANIFEST_FILE)?).await?;
        let listed: Vec<_> = self.store.list(Some(&folder)).try_collect().await?;
        for object in listed {
            self.delete(&object.location).await?;
        }
        self.list(location).await
    }

    async fn delete(&self, path: &Path) -> Result<(), ArtifactError> {
        match self.store.delete(path).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    async fn exists(&self, path: &Path) -> Result<bool, ArtifactError> {
        match self.store.head(path).await {
            Ok(_) => Ok(true),
            Err(object_store::Error::NotFound { .. }) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Rewrites what names the newest version, and the index, from what is really there. Two replicas that do so at
    /// once may leave the earlier listing until the next put; nothing in the house reads either.
    async fn list(&self, location: &Location) -> Result<(), ArtifactError> {
        let models = self.models(location);
        let mut found: BTreeMap<String, Vec<Version>> = BTreeMap::new();
        let mut objects = self.store.list(Some(&models));
        while let Some(object) = objects.try_next().await? {
            let Some(parts) = object.location.prefix_match(&models) else {
                continue;
            };
            let parts: Vec<String> = parts.map(|part| part.as_ref().to_owned()).collect();
            let [model, version, name] = parts.as_slice() else {
                continue;
            };
            if let (MANIFEST_FILE, Ok(version)) = (name.as_str(), version.parse()) {
                found.entry(model.clone()).or_default().push(version);
            }
        }
        found
            .values_mut()
            .for_each(|versions| versions.sort_unstable());
        let latest = self.model(location).join(LATEST);
        match found
            .get(location.model.as_str())
            .and_then(|versions| versions.last())
        {
            Some(newest) => {
                let text = format!("{newest}\n").into_bytes();
                self.store.put(&latest, PutPayload::from(text)).await?;
            }
            None => self.delete(&latest).await?,
        }
        let text = index::text(&found).map_err(|error| ArtifactError::Setting {
            setting: index::INDEX_FILE,
            reason: error.to_string(),
        })?;
        let path = models.join(index::INDEX_FILE);
        self.store.put(&path, PutPayload::from(text)).await?;
        Ok(())
    }
}

impl Artifacts for Objects {
    fn put<'a>(&'a self, location: &'a Location, bundle: Arc<Bundle>) -> Doing<'a, ()> {
        Box::pin(async move { self.put_all(location, &bundle).await })
    }

    fn get<'a>(&'a self, location: &'a Location, trust: &'a Trust) -> Doing<'a, Bundle> {
        Box::pin(self.get_all(location, trust))
    }

    fn remove<'a>(&'a self, location: &'a Location) -> Doing<'a, ()> {
        Box::pin(self.remove_all(location))
    }

    fn ping(&self) -> Doing<'_, ()> {
        Box::pin(async move {
            let mut listed = self.store.list(Some(&self.prefix));
            listed.try_next().await?;
            Ok(())
        })
    }
}

/// A file of a bundle below its folder; its name may hold folders of its own.
fn file(folder: &Path, name: &str) -> Result<Path, ArtifactError> {
    let name = PathName::new(name)?;
    let parts = name.parts();
    Ok(parts.fold(folder.clone(), Path::join))
}

impl fmt::Debug for ObjectOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ObjectOptions")
            .field("bucket", &self.bucket)
            .field("prefix", &self.prefix)
            .field("endpoint", &self.endpoint)
            .finish_non_exhaustive()
    }
}
