//! Registering a bundle: number, files, row, in this order, so that whoever sees a version finds its files.
//!
//! A crash in between leaves files without a row, which the next registration of that number cannot meet: numbers are given
//! once.

use crate::artifacts::{ArtifactError, Artifacts, Location};
use crate::error::Error;
use crate::store::Store;
use crate::version::{NewVersion, Registered, Registration};
use ombud_core::ensemble::Stage;
use ombud_core::{Class, Label, ModelName, Version};
use ombud_engine::bundle::{Bundle, MANIFEST_FILE, Trust};
use ombud_engine::ensemble::Gathered;
use ombud_ledger::Tenant;
use std::sync::Arc;

/// Bundles that are read for one ensemble; all of them are in memory at once.
const STAGES_GATHERED_MAX: usize = 64;

/// The rows and the files together.
#[derive(Debug, Clone)]
pub struct Registry {
    pub store: Store,
    pub artifacts: Arc<dyn Artifacts>,
    /// Whose signatures are accepted; with none, any bundle is.
    pub trust: Trust,
}

/// How a bundle is registered.
#[derive(Debug, Clone)]
pub struct Registering {
    /// The label, when it is not the manifest's own.
    pub label: Option<Label>,
    /// Who.
    pub by: String,
    pub now_us: i64,
}

/// Why a bundle was not registered, read or removed.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    #[error(transparent)]
    Store(#[from] Error),
    #[error(transparent)]
    Artifact(#[from] ArtifactError),
    #[error("the stored bundle of {model} {version} is not the one that was registered")]
    Swapped { model: ModelName, version: Version },
    #[error("the bundle has a signature, but from none of the trusted keys, or has none")]
    Untrusted,
}

impl RegistryError {
    /// Whose mistake it was.
    pub fn class(&self) -> Class {
        match self {
            RegistryError::Store(source) => source.class(),
            RegistryError::Artifact(source) => source.class(),
            RegistryError::Swapped { .. } => Class::Corrupt,
            RegistryError::Untrusted => Class::Forbidden,
        }
    }
}

impl Registry {
    /// Makes a verified bundle a version of the model that its manifest names.
    pub async fn register(
        &self,
        tenant: &Tenant,
        bundle: Arc<Bundle>,
        how: Registering,
    ) -> Result<Registration, RegistryError> {
        if !self.trust.keys.is_empty() && bundle.signed_by().is_none() {
            return Err(RegistryError::Untrusted);
        }
        let manifest = bundle.manifest();
        let (store, model) = (&self.store, &manifest.name);
        let label = how.label.clone().unwrap_or_else(|| manifest.label.clone());
        let known = store.version_by_digest(tenant, model, bundle.digest());
        if let Some(known) = known.await? {
            // Files that were lost since are brought back; those that are there are compared.
            self.artifacts
                .put(&location(tenant, &known), bundle)
                .await?;
            return Ok(Registration::Known(known));
        }
        store.refuse_label(tenant, model, &label).await?;
        store
            .refuse_absent_stages(tenant, model, stages(&bundle))
            .await?;
        let version = store
            .reserve_version(tenant, model, &manifest.description, how.now_us)
            .await?;
        self.keep(tenant, bundle, version, label, how).await
    }

    /// Makes a verified bundle the version of its model that has this number already, and no bundle yet.
    pub async fn register_as(
        &self,
        tenant: &Tenant,
        bundle: Arc<Bundle>,
        version: Version,
        how: Registering,
    ) -> Result<Registration, RegistryError> {
        if !self.trust.keys.is_empty() && bundle.signed_by().is_none() {
            return Err(RegistryError::Untrusted);
        }
        let label = how.label.clone().unwrap_or_else(|| Label::of(version));
        let model = &bundle.manifest().name;
        let known = self.store.version_by_digest(tenant, model, bundle.digest());
        if let Some(known) = known.await?.filter(|known| known.version == version) {
            // Whoever was interrupted behind the registration comes to it again.
            self.artifacts
                .put(&location(tenant, &known), bundle)
                .await?;
            return Ok(Registration::Known(known));
        }
        self.store.refuse_label(tenant, model, &label).await?;
        self.keep(tenant, bundle, version, label, how).await
    }

    async fn keep(
        &self,
        tenant: &Tenant,
        bundle: Arc<Bundle>,
        version: Version,
        label: Label,
        how: Registering,
    ) -> Result<Registration, RegistryError> {
        let location = Location {
            tenant: tenant.clone(),
            model: bundle.manifest().name.clone(),
            version,
        };
        self.artifacts.put(&location, Arc::clone(&bundle)).await?;
        let new = new_version(&bundle, version, label, how.by);
        let registered = self.store.register(tenant, new, how.now_us).await;
        let is_its = |registration: &Registration| match registration {
            Registration::New(_) => true,
            Registration::Known(known) => known.version == version,
        };
        if !registered.as_ref().is_ok_and(is_its) {
            // Somebody was faster; these files belong to no version.
            self.artifacts.remove(&location).await?;
        }
        Ok(registered?)
    }

    /// Reads a version's bundle, and proves that it is the one that was registered.
    pub async fn bundle(
        &self,
        tenant: &Tenant,
        registered: &Registered,
    ) -> Result<Bundle, RegistryError> {
        let location = location(tenant, registered);
        let bundle = self.artifacts.get(&location, &self.trust).await?;
        if bundle.digest() != registered.digest {
            return Err(RegistryError::Swapped {
                model: registered.model.clone(),
                version: registered.version,
            });
        }
        Ok(bundle)
    }

    /// Reads the bundles that an ensemble asks first, and those that they ask; none for any other bundle.
    pub async fn stages(
        &self,
        tenant: &Tenant,
        bundle: &Bundle,
    ) -> Result<Gathered, RegistryError> {
        let mut gathered = Gathered::new();
        let mut waiting = stages(bundle).to_vec();
        while let Some(stage) = waiting.pop() {
            if gathered.contains_key(&stage.digest) {
                continue;
            }
            if gathered.len() >= STAGES_GATHERED_MAX {
                let (what, count_max) = ("stages of stages", STAGES_GATHERED_MAX);
                return Err(Error::TooMany { what, count_max }.into());
            }
            let (store, name) = (&self.store, &stage.name);
            let registered = store.version_by_digest(tenant, name, stage.digest).await?;
            let registered = registered.ok_or_else(|| Error::StagesAbsent {
                model: bundle.manifest().name.clone(),
                stages: stage.words(),
            })?;
            let found = self.bundle(tenant, &registered).await?;
            waiting.extend_from_slice(stages(&found));
            gathered.insert(stage.digest, found);
        }
        Ok(gathered)
    }

    /// Deletes a version that was never deployed, first its row, then its files.
    pub async fn delete(
        &self,
        tenant: &Tenant,
        registered: &Registered,
    ) -> Result<(), RegistryError> {
        let version = registered.version;
        self.store
            .delete_version(tenant, &registered.model, version)
            .await?;
        Ok(self.artifacts.remove(&location(tenant, registered)).await?)
    }
}

/// The stages that a bundle names.
fn stages(bundle: &Bundle) -> &[Stage] {
    let ensemble = bundle.manifest().ensemble.as_ref();
    ensemble.map_or(&[], |ensemble| &ensemble.stages)
}

fn location(tenant: &Tenant, registered: &Registered) -> Location {
    Location {
        tenant: tenant.clone(),
        model: registered.model.clone(),
        version: registered.version,
    }
}

fn new_version(bundle: &Bundle, version: Version, label: Label, by: String) -> NewVersion {
    let manifest = bundle.manifest();
    let text = bundle.file(MANIFEST_FILE).unwrap_or_default();
    NewVersion {
        model: manifest.name.clone(),
        version,
        label,
        digest: bundle.digest(),
        task: manifest.task.as_str().to_owned(),
        engine: manifest.engine.clone(),
        manifest: String::from_utf8_lossy(text).into_owned(),
        bytes: bundle
            .files()
            .map(|(_, content)| content.len() as u64)
            .sum(),
        signed_by: bundle.signed_by().map(|key| key.to_string()),
        by,
        stages: stages(bundle).to_vec(),
    }
}
