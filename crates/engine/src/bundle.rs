//! A trained model on disk: a folder of files, its digests, its signature, its package.
//!
//! [`Bundle`] is a verified one in memory. Below it, this room knows names, bytes and digests; what the bytes mean is read
//! by [`crate::model`], and only after everything here has said yes. Nothing here executes or unpickles content.

pub mod archive;
pub mod digest;
pub mod folder;
pub mod index;
pub mod keys;
mod open;
pub mod path_name;
pub mod signature;
pub mod staging;

use std::collections::BTreeMap;

pub use open::{Bundle, BundleError, Trust};
use path_name::PathName;

/// The file that names every other file with its SHA-256 and size.
pub const MANIFEST_FILE: &str = "manifest.json";

/// The OpenSSF Model Signing bundle over all other files; the only file no manifest lists.
pub const SIGNATURE_FILE: &str = "model.sig";

/// The content of a bundle in memory, by name.
pub type Files = BTreeMap<PathName, Vec<u8>>;

/// How much a bundle may hold before it is refused unread.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Files in one bundle. The largest we write, a sharded encoder, has a few dozen.
    pub files_max: usize,
    /// Bytes of one file: a language model of two billion 16-bit weights fits.
    pub file_bytes_max: u64,
    /// Bytes of all files together; they are held in memory.
    pub total_bytes_max: u64,
}

impl Default for Limits {
    fn default() -> Self {
        const GIB: u64 = 1 << 30;
        Self {
            files_max: 256,
            file_bytes_max: 4 * GIB,
            total_bytes_max: 8 * GIB,
        }
    }
}
