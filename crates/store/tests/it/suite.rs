//! The contract, noun by noun. Every promise runs on every implementation.

mod artifacts;
mod buckets;
mod cache;
mod database;
mod deployments;
mod depot;
mod hours;
mod idempotency;
mod isolation;
mod jobs;
mod outcomes;
mod principals;
mod registry;
mod tracking;
