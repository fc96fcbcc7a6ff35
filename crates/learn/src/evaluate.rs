//! Measures a model on rows it was not trained on.
//!
//! [`classification`], [`multilabel`] and [`regression`] give every headline metric of their task
//! at once, with bootstrap intervals; [`groups`] gives them by protected group. Below those, each
//! statistic is a pure function in a file of its own, equal to scikit-learn 1.9 (and fairlearn
//! 0.15) on the same numbers.
//!
//! A metric that cannot be computed, such as an AUC where only one class occurs, is absent and says
//! why; there is no NaN. Where rows come from, and which of the metrics a gate looks at, is decided
//! by the callers.

pub mod bootstrap;
pub mod brier;
pub mod classification;
pub mod confusion;
pub mod groups;
pub mod log_loss;
pub mod metric;
pub mod multilabel;
pub mod ordered;
pub mod pr_auc;
pub mod ranking;
pub mod regression;
pub mod reliability;
pub mod roc_auc;
pub mod sample;

#[cfg(test)]
pub(crate) mod fixture;

pub use bootstrap::Resampling;
pub use metric::{Metric, Metrics, Undefined};
pub use sample::{Classified, MultiLabelled, Regressed, SampleError};
