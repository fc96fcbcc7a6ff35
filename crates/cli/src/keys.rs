//! The signing key a training uses and the public keys a loading trusts: from a flag, the environment, or the folder of
//! keys.

use crate::console::Console;
use crate::failure::Failure;
use crate::places;
use clap::Args;
use ombud_engine::Trust;
use ombud_engine::bundle::keys::{SigningKey, VerifyingKey};
use std::env;
use std::path::{Path, PathBuf};

/// The private key's file name in a folder of keys.
pub const PRIVATE_FILE: &str = "signing.key";
/// The public key's file name in a folder of keys.
pub const PUBLIC_FILE: &str = "signing.pub";
/// Names the private key that signs.
pub const SIGNING_VARIABLE: &str = "OMBUD_SIGNING_KEY";
/// Names the public keys that are trusted, separated by colons.
pub const TRUSTED_VARIABLE: &str = "OMBUD_TRUSTED_KEYS";

/// Which signatures are accepted.
#[derive(Debug, Clone, Default, Args)]
pub struct TrustArguments {
    /// Accept only a bundle that this public key signed (may be given again; default: the files in $OMBUD_TRUSTED_KEYS,
    /// separated by colons)
    #[arg(long = "key", value_name = "PUBLIC_KEY")]
    pub keys: Vec<PathBuf>,
}

impl TrustArguments {
    /// Loads the keys.
    pub fn trust(&self) -> Result<Trust, Failure> {
        let from_environment = || match env::var_os(TRUSTED_VARIABLE) {
            Some(paths) => env::split_paths(&paths)
                .filter(|path| !path.as_os_str().is_empty())
                .collect(),
            None => Vec::new(),
        };
        let paths: Vec<PathBuf> = if self.keys.is_empty() {
            from_environment()
        } else {
            self.keys.clone()
        };
        let keys: Result<_, Failure> = paths.iter().map(|path| load_public(path)).collect();
        Ok(Trust { keys: keys? })
    }
}

/// The key that signs: the one named, else the environment's, else the person's own when there is one.
pub fn signing_key(named: Option<&Path>, console: &Console) -> Result<Option<SigningKey>, Failure> {
    let from_environment = || {
        env::var_os(SIGNING_VARIABLE)
            .filter(|path| !path.is_empty())
            .map(PathBuf::from)
    };
    if let Some(path) = named.map(Path::to_owned).or_else(from_environment) {
        return load_private(&path).map(Some);
    }
    match places::keys_folder().map(|folder| folder.join(PRIVATE_FILE)) {
        Some(path) if path.is_file() => load_private(&path).map(Some),
        _ => {
            console.note("the bundle is not signed; `ombud keys signing new` makes a key");
            Ok(None)
        }
    }
}

/// Loads a public key.
pub fn load_public(path: &Path) -> Result<VerifyingKey, Failure> {
    VerifyingKey::load(path).map_err(|error| Failure::from(error).about(path))
}

fn load_private(path: &Path) -> Result<SigningKey, Failure> {
    SigningKey::load(path).map_err(|error| Failure::from(error).about(path))
}
