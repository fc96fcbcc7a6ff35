//! The store keeps what the house knows between two calls: principals, the registry, deployments, outcomes, jobs.
//!
//! [`Store`] is a database, SQLite or PostgreSQL, asked in one SQL that both understand (`database`); the methods for one
//! noun lie in the noun's file. Beside it stand bundles as files ([`artifacts`]) and answers that may be given again
//! ([`cache`]), and what replicas count together ([`buckets`]). Everything belongs to a [`Tenant`], and whoever asks names theirs: there is no question that answers for
//! two. Time is handed in, and so is every decision: what may be deployed or who may see what is decided above.

pub mod alias;
pub mod artifacts;
pub mod buckets;
pub mod cache;
mod database;
pub mod deployment;
pub mod depot;
pub mod environment;
pub mod error;
pub mod event;
pub mod guest;
pub mod hours;
pub mod idempotency;
pub mod job;
pub mod key;
pub mod migrations;
pub mod model;
pub mod outcome;
pub mod person;
pub mod redis;
pub mod registry;
pub mod role;
pub mod secret;
pub mod session;
pub mod stage;
pub mod store;
pub mod subject;
pub mod tracking;
pub mod version;

pub use artifacts::{ArtifactError, Artifacts, Folder, Location};
pub use cache::{Cache, CacheKey};
pub use deployment::{Deployment, Recording, Share, Traffic};
pub use depot::{Depot, FilePath};
pub use environment::Environment;
pub use error::Error;
pub use event::Event;
pub use guest::Guest;
pub use key::Key;
pub use model::Model;
pub use ombud_ledger::{RecordId, Tenant};
pub use person::Person;
pub use registry::{Registry, RegistryError};
pub use role::{Role, Scope, Scopes};
pub use session::Session;
pub use store::{Place, Store};
pub use version::Registered;
