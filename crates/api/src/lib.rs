//! HTTP: who calls ([`auth`], [`access`]), how much they may ask ([`limits`]), what they can ask ([`routes`]), and how a
//! refusal is told ([`refusal`]).
//!
//! A handler converts, calls a room below once, and converts back; nothing is decided here that another door (gRPC, the
//! command line) would have to decide again. [`config`] is every setting, [`listen`] the socket, [`request`] what
//! surrounds every request. The room knows no kit: kits hand in routers of their own.

pub mod access;
pub mod adoptions;
pub mod auth;
pub mod bodies;
pub mod config;
pub mod dialect;
pub mod docs;
pub mod extract;
pub mod grpc;
pub mod house;
pub mod inference;
pub mod kit;
pub mod limits;
pub mod listen;
pub mod logging;
pub mod machine;
pub mod metrics;
pub mod open;
pub mod performance;
pub mod refusal;
pub mod request;
pub mod retention;
pub mod routes;
pub mod serve;
pub mod statistics;
pub mod time;
pub mod traces;
pub mod turned_away;
pub mod wire;

pub use access::{Access, Caller, Permit, Right};
pub use config::{Config, ConfigError, Sources};
pub use dialect::Dialect;
pub use house::House;
pub use kit::Kit;
pub use refusal::{Code, Refusal};
