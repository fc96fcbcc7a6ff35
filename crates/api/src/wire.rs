//! Words on the wire that several resources share.

use serde::{Deserialize, Serialize};
use std::fmt;
use zeroize::Zeroizing;

/// A secret in an answer, shown this once. It does not print and is wiped when dropped.
pub struct ShownOnce(Zeroizing<String>);

/// A password on its way to being checked. It does not print and is wiped when dropped.
#[derive(Deserialize)]
#[serde(from = "String")]
pub struct Password(pub Zeroizing<String>);

impl ShownOnce {
    /// Takes a secret.
    pub fn new(secret: &str) -> Self {
        ShownOnce(Zeroizing::new(secret.to_owned()))
    }
}

impl Serialize for ShownOnce {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl From<String> for Password {
    fn from(password: String) -> Self {
        Password(Zeroizing::new(password))
    }
}

impl fmt::Debug for ShownOnce {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ShownOnce(…)")
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password(…)")
    }
}
