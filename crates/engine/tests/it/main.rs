//! The engine's public face, driven from outside.

mod forest_golden;
mod forest_hessboost;
mod forest_paths;
mod forest_readers;
mod golden_bundles;
mod model_signing;
