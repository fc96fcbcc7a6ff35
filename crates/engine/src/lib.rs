//! A bundle in, an answer out: the part of Ombud that runs models, embeddable in any Rust program.
//!
//! [`Model::open`] verifies a bundle and gives something that answers rows and frames and says why. One engine a
//! file ([`engine`]), the arithmetic each stands on beside it ([`forest`], [`linear`], [`text`], [`clusters`]). Knows
//! nothing of training, servers or databases: what made a bundle and who asks is not visible from here.

pub mod answering;
pub mod bundle;
pub mod calibration;
pub mod clusters;
pub mod conformal;
pub mod decision;
pub mod encoding;
pub mod engine;
pub mod ensemble;
#[expect(
    unsafe_code,
    reason = "vector instructions; each block says why it is sound"
)]
pub mod forest;
pub mod linear;
pub mod model;
pub mod onnx;
pub mod shown;
pub mod stored;
mod tensors;
pub mod text;

pub use bundle::{Bundle, BundleError, Trust};
pub use engine::Engine;
pub use ensemble::{StageBundles, StageError, Stages};
pub use model::{Model, ModelError, Scores};
