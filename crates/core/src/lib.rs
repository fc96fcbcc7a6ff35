//! The words of Ombud as types: what a model takes ([`schema`], [`row`], [`frame`]), what it answers ([`answer`],
//! [`explanation`]), and what is known of it ([`manifest`], [`metrics`]).
//!
//! Everything else in the house speaks in these types, so they are cut to be right by construction and to know
//! nothing: no files, no network, no clock, no async. Parsing happens once, here or at an edge; past it a
//! [`ModelName`] cannot be malformed and a [`row::Row`] fits its schema.

pub mod answer;
pub mod class;
pub mod digest;
pub mod ensemble;
pub mod explanation;
pub mod field_path;
pub mod frame;
pub mod manifest;
pub mod metrics;
pub mod name;
pub mod nearest;
pub mod refusal;
pub mod row;
pub mod schema;
pub mod task;
pub mod version;

pub use answer::{Answer, Prediction};
pub use class::Class;
pub use digest::Digest;
pub use ensemble::Ensemble;
pub use explanation::Explanation;
pub use field_path::FieldPath;
pub use frame::Frame;
pub use manifest::Manifest;
pub use metrics::{Metric, Metrics};
pub use name::ModelName;
pub use refusal::{Fault, Refusal};
pub use row::Row;
pub use schema::{Feature, Kind, Schema};
pub use task::Task;
pub use version::{Label, Version};
