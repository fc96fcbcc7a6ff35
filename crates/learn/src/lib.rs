//! A recipe and its data in, a bundle out: how Ombud learns.
//!
//! [`recipe`] says what is wanted, [`source`] and [`infer`] turn files into typed rows, [`fit`] holds the algorithms,
//! [`mod@train`] the plan that keeps learning, choosing and measuring apart. Knows nothing of servers and databases; what
//! is learned here runs in `ombud-engine`, which knows nothing of this crate.

pub mod baseline;
pub mod calibrate;
pub mod cluster;
pub mod compare;
pub mod evaluate;
pub mod evaluation;
pub mod export;
pub mod fit;
pub mod gate;
mod grow;
pub mod import;
pub mod infer;
pub mod joining;
pub mod judge;
mod lbfgs;
pub mod leakage;
pub mod logistic;
pub mod math;
pub mod prepare;
pub mod progress;
pub mod random;
mod real;
pub mod recipe;
pub mod recipe_new;
pub mod rows;
pub mod source;
pub mod split;
pub mod stages;
pub mod target;
pub mod thresholds;
mod times;
pub mod train;
pub mod vocabulary;
