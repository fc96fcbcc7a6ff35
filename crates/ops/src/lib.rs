//! What the house does with models once they are trained: puts them to work, and answers with them.
//!
//! A deployment is changed in two steps: [`deploy`] decides, purely, what the new state is and why ([`gates`] judges a version's gates again); [`perform`] warms what
//! it needs, writes it down and puts it to work. A question goes one way: [`routing`] finds the version, [`decide`] asks the
//! cache or the engine, records, and answers. [`adopt`] makes bundles of what MLflow's clients register, [`history`] keeps both
//! worlds one. Beside them stand [`outcomes`], [`subjects`] (export, erase, retention) and
//! [`health`].
//!
//! The room knows no HTTP and no roles' tables: who may ask is decided above. The clock is handed in.

pub mod adopt;
pub mod answer;
pub mod batching;
pub mod canonical;
pub mod clock;
pub mod decide;
pub mod deploy;
pub mod error;
pub mod gates;
pub mod health;
pub mod history;
pub mod load;
pub mod observe;
pub mod ops;
pub mod outcomes;
pub mod perform;
mod pool;
pub mod routing;
pub mod shadow;
pub mod subjects;
pub mod traffic;
pub mod warm;

pub use answer::{AnswerText, Decision};
pub use batching::{Batching, Gather};
pub use clock::{Clock, SystemClock};
pub use decide::{Ask, Batch, BatchRow};
pub use deploy::{DeployError, Force, Order};
pub use error::Error;
pub use observe::{LoadTimes, Observer};
pub use ops::{Caller, Ops, Options};
pub use warm::Warm;
