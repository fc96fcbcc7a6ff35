//! `ombud register`, `deploy`, `promote`, `rollback`, `models`, `deployments`: what serves, and what served before.

use super::Outcome;
use crate::console::Console;
use crate::failure::Failure;
use crate::settings::{self, Settings};
use clap::Args;
use ombud_api::open::Rooms;
use ombud_api::time;
use ombud_core::{Label, ModelName, Version};
use ombud_engine::Bundle;
use ombud_ledger::Tenant;
use ombud_ops::perform::Ordered;
use ombud_ops::{Force, Ops, Order};
use ombud_store::version::Registration;
use ombud_store::{Deployment, Depot, Environment, Registered, Role};
use serde_json::{Value, json};
use std::path::PathBuf;
use std::sync::Arc;

/// Register a trained bundle as a version that can be deployed
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  ombud register models/claim_outcome/latest")]
pub struct RegisterArguments {
    #[command(flatten)]
    pub settings: Settings,
    /// The bundle: a folder, or a .tar.gz
    pub bundle: PathBuf,
    /// The label, when it is not the bundle's own
    #[arg(long)]
    pub label: Option<String>,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}

/// Put a version to work: for everybody, for a part with --canary, or unseen with --shadow
///
/// A running server takes it up within two seconds; no request fails or waits.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  ombud deploy claim_outcome v1.2.0 --env production --reason \"better on new cases\"
  ombud deploy claim_outcome latest --canary 10
  ombud deploy claim_outcome models/claim_outcome/latest")]
pub struct DeployArguments {
    #[command(flatten)]
    pub settings: Settings,
    /// The model
    pub name: String,
    /// The version: a number, a label, an alias, `latest`, or the path of a bundle that is registered first
    pub version: String,
    /// Where
    #[arg(
        long,
        visible_alias = "environment",
        default_value = "production",
        value_name = "ENVIRONMENT"
    )]
    pub env: String,
    /// This part of the traffic only, in percent
    #[arg(long, value_name = "PERCENT", conflicts_with = "shadow")]
    pub canary: Option<u8>,
    /// It sees the same rows and answers nobody
    #[arg(long)]
    pub shadow: bool,
    /// Why
    #[arg(long, default_value = "deployed by command")]
    pub reason: String,
    /// Past its gates; needs a --reason of its own, which is told loudly
    #[arg(long, requires = "reason")]
    pub force: bool,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}

/// Let the canary, or else the shadow, take everybody
#[derive(Debug, Args)]
pub struct PromoteArguments {
    #[command(flatten)]
    pub settings: Settings,
    /// The model
    pub name: String,
    /// Where
    #[arg(
        long,
        visible_alias = "environment",
        default_value = "production",
        value_name = "ENVIRONMENT"
    )]
    pub env: String,
    /// Why
    #[arg(long, default_value = "promoted by command")]
    pub reason: String,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}

/// Go back to what was before, or to a version
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  ombud rollback claim_outcome --env production --reason \"refuses half of the forms\"")]
pub struct RollbackArguments {
    #[command(flatten)]
    pub settings: Settings,
    /// The model
    pub name: String,
    /// Where
    #[arg(
        long,
        visible_alias = "environment",
        default_value = "production",
        value_name = "ENVIRONMENT"
    )]
    pub env: String,
    /// Back to this version [default: to what was before]
    #[arg(long, value_name = "VERSION")]
    pub to: Option<String>,
    /// Why
    #[arg(long)]
    pub reason: String,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}

/// List models that have a version to deploy, or one model's versions
#[derive(Debug, Args)]
pub struct ModelsArguments {
    #[command(flatten)]
    pub settings: Settings,
    /// The model whose versions to list
    pub name: Option<String>,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}

/// List what is deployed where
#[derive(Debug, Args)]
pub struct DeploymentsArguments {
    #[command(flatten)]
    pub settings: Settings,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}

/// Registers a bundle.
pub fn register(arguments: &RegisterArguments, console: &Console) -> Result<Outcome, Failure> {
    let label = arguments.label.clone().map(Label::try_from).transpose();
    let label = label.map_err(|error| Failure::invalid(error.to_string(), "such as v1.2.0"))?;
    let wanted = label.clone();
    with_rooms(&arguments.settings, async |rooms| {
        let registration = register_bundle(
            &rooms.ops,
            &*rooms.depot,
            &rooms.tenant,
            &arguments.bundle,
            label,
        )
        .await?;
        let word = if matches!(registration, Registration::New(_)) {
            "registered"
        } else {
            "was registered before"
        };
        let version = registration.into_registered();
        if let Some(label) = wanted.filter(|label| *label != version.label) {
            console.warn(&format!(
                "the label {label} was not taken: the same bundle is {} already",
                version.label
            ));
        }
        if console.is_json {
            return console.print_json(&version_json(&version));
        }
        let next = format!("ombud deploy {} {}", version.model, version.label);
        console.print(&format!(
            "{} {} ({}) {word}\n\nNext:\n  {next}",
            version.model, version.label, version.version
        ))
    })
}

/// Puts a version to work.
pub fn deploy(arguments: &DeployArguments, console: &Console) -> Result<Outcome, Failure> {
    let model = model(&arguments.name)?;
    with_rooms(&arguments.settings, async |rooms| {
        let path = PathBuf::from(&arguments.version);
        let version = if path.exists() {
            let registered = register_bundle(&rooms.ops, &*rooms.depot, &rooms.tenant, &path, None)
                .await?
                .into_registered();
            if registered.model != model {
                let message = format!(
                    "the bundle is of the model {}, not {model}",
                    registered.model
                );
                return Err(Failure::invalid(
                    message,
                    "name that model, or another bundle",
                ));
            }
            registered.version
        } else {
            resolve(rooms, &model, &arguments.version).await?
        };
        let order = match (arguments.canary, arguments.shadow) {
            (Some(percent), _) => Order::Canary { version, percent },
            (None, true) => Order::Shadow {
                version: Some(version),
            },
            (None, false) => Order::Deploy { version },
        };
        // Whoever holds the database is an admin.
        let force = arguments
            .force
            .then(|| Force::new(Role::Admin, &arguments.reason))
            .transpose();
        let force =
            force.map_err(|error| Failure::invalid(error.to_string(), "say why with --reason"))?;
        let ordered = Ordered {
            model,
            environment: environment(&arguments.env)?,
            order,
            reason: arguments.reason.clone(),
            force,
        };
        change(rooms, ordered, console).await
    })
}

/// Lets the canary or the shadow take everybody.
pub fn promote(arguments: &PromoteArguments, console: &Console) -> Result<Outcome, Failure> {
    let ordered = Ordered {
        model: model(&arguments.name)?,
        environment: environment(&arguments.env)?,
        order: Order::Promote,
        reason: arguments.reason.clone(),
        force: None,
    };
    with_rooms(&arguments.settings, async |rooms| {
        change(rooms, ordered, console).await
    })
}

/// Goes back.
pub fn rollback(arguments: &RollbackArguments, console: &Console) -> Result<Outcome, Failure> {
    let (model, environment) = (model(&arguments.name)?, environment(&arguments.env)?);
    with_rooms(&arguments.settings, async |rooms| {
        let to = match &arguments.to {
            Some(version) => Some(resolve(rooms, &model, version).await?),
            None => None,
        };
        let ordered = Ordered {
            model,
            environment,
            order: Order::Rollback { to },
            reason: arguments.reason.clone(),
            force: None,
        };
        change(rooms, ordered, console).await
    })
}

/// Lists models or versions.
pub fn models(arguments: &ModelsArguments, console: &Console) -> Result<Outcome, Failure> {
    let name = arguments.name.as_deref().map(model).transpose()?;
    with_rooms(&arguments.settings, async |rooms| match &name {
        Some(name) => list_versions(rooms, name, console).await,
        None => list_models(rooms, console).await,
    })
}

/// Lists deployments.
pub fn deployments(
    arguments: &DeploymentsArguments,
    console: &Console,
) -> Result<Outcome, Failure> {
    with_rooms(&arguments.settings, async |rooms| {
        let all = rooms.store.deployments(&rooms.tenant).await?;
        if console.is_json {
            let all: Vec<Value> = all.iter().map(deployment_json).collect();
            return console.print_json(&json!({ "deployments": all }));
        }
        for deployment in &all {
            console.print(&line(deployment))?;
        }
        if all.is_empty() {
            console
                .note("nothing is deployed; `ombud deploy MODEL VERSION` puts a version to work");
        }
        Ok(())
    })
}

fn with_rooms(
    settings: &Settings,
    work: impl AsyncFnOnce(&Rooms) -> Result<(), Failure>,
) -> Result<Outcome, Failure> {
    let (runtime, _, rooms) = settings.open()?;
    let outcome = runtime.block_on(work(&rooms));
    settings::close(&runtime, &rooms);
    outcome.map(|()| Outcome::Done)
}

/// Registers a bundle and writes it down.
pub async fn register_bundle(
    ops: &Ops,
    depot: &dyn Depot,
    tenant: &Tenant,
    path: &std::path::Path,
    label: Option<Label>,
) -> Result<Registration, Failure> {
    let bundle = Bundle::open(path, &ops.registry().trust)?;
    let caller = settings::caller();
    Ok(ops
        .register(tenant, &caller, depot, Arc::new(bundle), label)
        .await?)
}

async fn change(rooms: &Rooms, ordered: Ordered, console: &Console) -> Result<(), Failure> {
    let made = rooms
        .ops
        .change(&rooms.tenant, &settings::caller(), ordered)
        .await?;
    if console.is_json {
        return console.print_json(&deployment_json(&made));
    }
    console.print(&line(&made))
}

async fn list_models(rooms: &Rooms, console: &Console) -> Result<(), Failure> {
    let models = rooms.store.deployable_models(&rooms.tenant).await?;
    if console.is_json {
        let models: Vec<Value> = models
            .iter()
            .map(|model| json!({ "name": model.name, "description": model.description }))
            .collect();
        return console.print_json(&json!({ "models": models }));
    }
    for model in &models {
        console.print(format!("{}  {}", model.name, model.description).trim_end())?;
    }
    if models.is_empty() {
        console.note("no model is registered; `ombud register BUNDLE` makes one a version");
    }
    Ok(())
}

async fn list_versions(rooms: &Rooms, name: &ModelName, console: &Console) -> Result<(), Failure> {
    rooms.store.model(&rooms.tenant, name).await?;
    let versions = rooms.store.versions(&rooms.tenant, name).await?;
    if console.is_json {
        let versions: Vec<Value> = versions.iter().map(version_json).collect();
        return console.print_json(&json!({ "model": name, "versions": versions }));
    }
    for version in &versions {
        let state = if version.archived_us.is_some() {
            "  archived"
        } else {
            ""
        };
        let digest: String = version.digest.to_string().chars().take(12).collect();
        let when = time::text(version.registered_us);
        console.print(&format!(
            "{}  {}  {}  {digest}  {when}{state}",
            version.version, version.label, version.engine
        ))?;
    }
    Ok(())
}

async fn resolve(rooms: &Rooms, model: &ModelName, version: &str) -> Result<Version, Failure> {
    Ok(rooms
        .store
        .resolve(&rooms.tenant, model, version)
        .await?
        .version)
}

fn line(deployment: &Deployment) -> String {
    format!(
        "{}  {}  {}  ({}, {})",
        deployment.model,
        deployment.environment,
        deployment.traffic,
        deployment.reason,
        time::text(deployment.changed_us)
    )
}

fn deployment_json(deployment: &Deployment) -> Value {
    let shares = |shares: &[ombud_store::Share]| -> Vec<Value> {
        shares
            .iter()
            .map(|share| json!({ "version": share.version, "percent": share.percent }))
            .collect()
    };
    json!({
        "model": deployment.model, "environment": deployment.environment.as_str(),
        "active": shares(deployment.traffic.active()), "previous": shares(deployment.traffic.previous()),
        "shadow": deployment.traffic.shadow(), "record": deployment.recording.as_str(), "revision": deployment.revision,
        "reason": deployment.reason,
    })
}

fn version_json(version: &Registered) -> Value {
    json!({
        "model": version.model, "version": version.version, "label": version.label, "digest": version.digest.to_string(),
        "engine": version.engine, "is_archived": version.archived_us.is_some(),
    })
}

fn model(name: &str) -> Result<ModelName, Failure> {
    ModelName::new(name).map_err(|error| Failure::invalid(error.to_string(), "see `ombud models`"))
}

fn environment(name: &str) -> Result<Environment, Failure> {
    Environment::new(name)
        .map_err(|error| Failure::invalid(error.to_string(), "such as production or staging"))
}
