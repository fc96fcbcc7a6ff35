//! What people tried and what they keep, in one history: a bundle's training is a run, and every change of the registry is
//! an act on record, whichever door it came through.
//!
//! A bundle's run has an id that follows from the bundle's digest, so training, registering and registering once more tell
//! of the same run. Logging runs leaves no record in the ledger: nothing is decided by it.

use crate::error::Result;
use crate::ops::{Caller, Ops};
use crate::perform::new_id;
use ombud_core::{Label, Manifest, ModelName, Version};
use ombud_engine::Bundle;
use ombud_ledger::{Kind, Tenant};
use ombud_store::depot::{Chunks, Depot, FilePath};
use ombud_store::registry::Registering;
use ombud_store::tracking::experiment::{HERE, NewExperiment};
use ombud_store::tracking::listing::{ListedVersion, Stage};
use ombud_store::tracking::run::{NAME_TAG, NewRun, RunChange};
use ombud_store::tracking::{Pair, Point};
use ombud_store::version::Registration;
use ombud_store::{Environment, Store};
use serde_json::{Value, json};
use std::sync::Arc;

/// Digits of a bundle's digest that are its run's id.
const RUN_ID_LENGTH: usize = 32;
/// Files of a bundle that its run shows.
const SHOWN: [&str; 3] = ["report.json", "card.md", "manifest.json"];
/// Deepest parameter that gets a name of its own, as `trees.depth`.
const DEPTH_MAX: usize = 3;

impl Ops {
    /// Registers a bundle, puts the act on record, and shows its training as a run.
    pub async fn register(
        &self,
        tenant: &Tenant,
        caller: &Caller,
        depot: &dyn Depot,
        bundle: Arc<Bundle>,
        label: Option<Label>,
    ) -> Result<Registration> {
        let how = Registering {
            label,
            by: caller.principal.clone(),
            now_us: self.now_us(),
        };
        let registry = &self.shared.registry;
        let registration = registry.register(tenant, Arc::clone(&bundle), how).await?;
        let Registration::New(version) = &registration else {
            return Ok(registration);
        };
        let detail = json!({ "did": "register", "model": version.model, "version": version.version,
            "label": version.label, "digest": version.digest.to_string() });
        self.record_registry(tenant, caller, Some(&version.model), detail)
            .await?;
        let run = record_training(
            &registry.store,
            depot,
            tenant,
            &bundle,
            &caller.principal,
            self.now_us(),
        );
        // The version is registered and on record; that its run could not be shown takes nothing back.
        if let Ok((run, source)) = run.await {
            registry
                .store
                .tie_version(tenant, &version.model, version.version, &run, &source)
                .await?;
        }
        Ok(registration)
    }

    /// Puts a change of the registry on record.
    pub async fn record_registry(
        &self,
        tenant: &Tenant,
        caller: &Caller,
        model: Option<&ModelName>,
        detail: Value,
    ) -> Result<()> {
        let now_us = self.now_us();
        let mut entry = caller.entry(new_id(now_us)?, Kind::Registry, now_us);
        entry.model = model.cloned();
        entry.detail = Some(detail.to_string());
        self.shared.ledger.append(tenant, entry).await?;
        Ok(())
    }

    /// Takes a version off both worlds' lists: its aliases are withdrawn, its bundle removed when it never answered.
    pub async fn forget_version(
        &self,
        tenant: &Tenant,
        caller: &Caller,
        listed: &ListedVersion,
    ) -> Result<()> {
        let registry = &self.shared.registry;
        let (model, number) = (&listed.model, listed.version);
        let detail = json!({ "did": "delete", "model": model, "version": number });
        self.record_registry(tenant, caller, Some(model), detail)
            .await?;
        if listed.has_bundle {
            let version = registry.store.version(tenant, model, number).await?;
            registry.delete(tenant, &version).await?;
        } else {
            registry.store.unlist_version(tenant, model, number).await?;
        }
        for alias in &listed.aliases {
            self.point_alias(tenant, caller, model, alias, None).await?;
        }
        Ok(())
    }

    /// Gives an alias to a version, or withdraws it, and puts that on record.
    pub async fn point_alias(
        &self,
        tenant: &Tenant,
        caller: &Caller,
        model: &ModelName,
        alias: &str,
        version: Option<Version>,
    ) -> Result<()> {
        let reason = "by a client of MLflow's protocol";
        let change = ombud_store::alias::NewAssignment {
            version,
            principal: caller.principal.clone(),
            reason: reason.to_owned(),
        };
        let store = &self.shared.registry.store;
        store
            .set_alias(tenant, model, alias, change, self.now_us())
            .await?;
        let detail = json!({ "did": "alias", "model": model, "alias": alias, "version": version, "reason": reason });
        self.record_registry(tenant, caller, Some(model), detail)
            .await
    }
}

/// Which environment a stage is, when it is one.
pub fn environment_of(stage: Stage) -> Option<Environment> {
    match stage {
        Stage::Production => Some(Environment::production()),
        Stage::Staging => Some(Environment::staging()),
        Stage::None | Stage::Archived => None,
    }
}

/// Shows a bundle's training as a run; gives the run's id and where the bundle's words lie.
pub async fn record_training(
    store: &Store,
    depot: &dyn Depot,
    tenant: &Tenant,
    bundle: &Bundle,
    user: &str,
    now_us: i64,
) -> Result<(String, String)> {
    let manifest = bundle.manifest();
    let id: String = bundle
        .digest()
        .to_string()
        .chars()
        .filter(char::is_ascii_hexdigit)
        .take(RUN_ID_LENGTH)
        .collect();
    let now_ms = now_us / 1_000;
    match store.run(tenant, &id).await {
        Ok(run) => return Ok((run.id, run.artifact_uri)),
        Err(ombud_store::Error::NotFound { .. }) => {}
        Err(error) => return Err(error.into()),
    }
    let new = NewRun {
        id: Some(id.clone()),
        experiment: experiment(store, tenant, manifest, now_ms).await?,
        name: format!("{} {}", manifest.name, manifest.label),
        user: user.to_owned(),
        started_ms: now_ms - (manifest.lineage.seconds * 1_000.0) as i64,
        tags: tags(bundle, user),
    };
    let run = store.create_run(tenant, new).await?;
    let metrics: Vec<Point> = manifest
        .metrics
        .iter()
        .map(|(name, metric)| Point {
            key: name.clone(),
            value: metric.value,
            step: 0,
            logged_ms: now_ms,
        })
        .collect();
    let params = params(manifest);
    store.log_batch(tenant, &id, &metrics, &params, &[]).await?;
    put_files(depot, tenant, bundle, &run.artifact_uri).await?;
    let change = RunChange {
        status: Some("FINISHED".to_owned()),
        ended_ms: Some(now_ms),
        name: None,
    };
    store.update_run(tenant, &id, change).await?;
    Ok((id, run.artifact_uri))
}

async fn experiment(
    store: &Store,
    tenant: &Tenant,
    manifest: &Manifest,
    now_ms: i64,
) -> Result<i64> {
    let name = manifest.name.as_str();
    if let Ok(found) = store.experiment_by_name(tenant, name).await {
        return Ok(found.number);
    }
    let new = NewExperiment {
        name: name.to_owned(),
        ..NewExperiment::default()
    };
    match store.create_experiment(tenant, new, now_ms).await {
        // Somebody trained the same model at the same moment.
        Err(ombud_store::Error::Exists { .. }) => {
            Ok(store.experiment_by_name(tenant, name).await?.number)
        }
        made => Ok(made?),
    }
}

fn tags(bundle: &Bundle, user: &str) -> Vec<Pair> {
    let manifest = bundle.manifest();
    let mut tags = vec![
        Pair::new(NAME_TAG, format!("{} {}", manifest.name, manifest.label)),
        Pair::new("mlflow.user", user),
        Pair::new("mlflow.source.name", manifest.made_by.as_str()),
        Pair::new("mlflow.source.type", "LOCAL"),
        Pair::new("ombud.model", manifest.name.as_str()),
        Pair::new("ombud.label", manifest.label.as_str()),
        Pair::new("ombud.digest", bundle.digest().to_string()),
        Pair::new("ombud.task", manifest.task.to_string()),
        Pair::new("ombud.engine", manifest.engine.as_str()),
    ];
    if let Some(data) = &manifest.lineage.data {
        tags.push(Pair::new("ombud.data", data.source.as_str()));
        tags.push(Pair::new("ombud.data.sha256", data.sha256.to_string()));
        tags.push(Pair::new("ombud.data.rows", data.rows.to_string()));
    }
    for gate in &manifest.gates {
        let word = if gate.passed { "passed" } else { "failed" };
        tags.push(Pair::new(format!("ombud.gate.{}", gate.name), word));
    }
    tags
}

fn params(manifest: &Manifest) -> Vec<Pair> {
    let mut params = vec![Pair::new("seed", manifest.lineage.seed.to_string())];
    for (name, value) in &manifest.lineage.parameters {
        flatten(name, value, DEPTH_MAX, &mut params);
    }
    params
}

fn flatten(name: &str, value: &Value, depth: usize, params: &mut Vec<Pair>) {
    match value {
        Value::Object(parts) if depth > 0 => {
            for (part, value) in parts {
                flatten(&format!("{name}.{part}"), value, depth - 1, params);
            }
        }
        Value::String(text) => params.push(Pair::new(name, text.as_str())),
        other => params.push(Pair::new(name, other.to_string())),
    }
}

async fn put_files(
    depot: &dyn Depot,
    tenant: &Tenant,
    bundle: &Bundle,
    artifact_uri: &str,
) -> Result<()> {
    // An experiment may keep its files elsewhere, where only its clients reach.
    let Some(folder) = artifact_uri.strip_prefix(HERE) else {
        return Ok(());
    };
    for name in SHOWN {
        let Some(content) = bundle.file(name) else {
            continue;
        };
        let Ok(path) = FilePath::new(&format!("{folder}/{name}")) else {
            continue;
        };
        let content = content.to_vec();
        let chunks: Chunks = Box::pin(futures_util::stream::once(async { Ok(content) }));
        depot
            .put(tenant, &path, chunks)
            .await
            .map_err(ombud_store::RegistryError::from)?;
    }
    Ok(())
}
