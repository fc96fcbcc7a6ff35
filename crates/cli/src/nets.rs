//! The onnxruntime that runs neural nets, where one is installed and named.
//!
//! The variable is the one that other Rust programs with onnxruntime know. Without it nets are run by `rten`, as in a
//! binary without this feature.

use std::env;
use std::path::PathBuf;

use ombud_core::Class;

use crate::failure::Failure;

const LIBRARY: &str = "ORT_DYLIB_PATH";

/// Loads the library that the environment names, if it names one.
pub fn ready() -> Result<(), Failure> {
    let Some(path) = env::var_os(LIBRARY).filter(|path| !path.is_empty()) else {
        return Ok(());
    };
    ombud_engine::onnx::load_onnxruntime(&PathBuf::from(path)).map_err(|error| {
        let hint = format!(
            "{LIBRARY} names libonnxruntime.so of an installed onnxruntime; without it nets are run all the same"
        );
        Failure::new(Class::Invalid, error.to_string(), hint)
    })
}
