//! The two names a lane is known by: whose records, and which replica wrote them.
//!
//! Both enter hashes, signed checkpoints and file names as plain text, so they are checked once, here, and can hold
//! nothing that would need quoting there.

use std::fmt;
use std::str::FromStr;

/// Longest name of a tenant or a lane; a pod's name fits.
pub const NAME_LENGTH_MAX: usize = 128;

/// Whose records they are.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Tenant(String);

/// The name of a lane within a tenant: that of the replica which writes it.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LaneName(String);

/// A text that names no tenant and no lane.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{came:?} is not a name: a lower-case letter or digit, then at most {} lower-case letters, digits, `_`, `-` or `.`",
    NAME_LENGTH_MAX - 1
)]
pub struct NameError {
    /// What was given, shortened.
    pub came: String,
}

impl Tenant {
    /// Checks a text.
    pub fn new(text: &str) -> Result<Self, NameError> {
        checked(text).map(Tenant)
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl LaneName {
    /// Checks a text.
    pub fn new(text: &str) -> Result<Self, NameError> {
        checked(text).map(LaneName)
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Tenant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Tenant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.0)
    }
}

impl FromStr for Tenant {
    type Err = NameError;
    fn from_str(text: &str) -> Result<Self, NameError> {
        Tenant::new(text)
    }
}

impl fmt::Display for LaneName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for LaneName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.0)
    }
}

impl FromStr for LaneName {
    type Err = NameError;
    fn from_str(text: &str) -> Result<Self, NameError> {
        LaneName::new(text)
    }
}

fn checked(text: &str) -> Result<String, NameError> {
    let is_plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let starts_well = text.bytes().next().is_some_and(is_plain);
    let holds_well = text
        .bytes()
        .all(|b| is_plain(b) || matches!(b, b'_' | b'-' | b'.'));
    if starts_well && holds_well && text.len() <= NAME_LENGTH_MAX {
        return Ok(text.to_owned());
    }
    Err(NameError {
        came: text.chars().take(80).collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_would_need_quoting_are_refused() {
        for wrong in [
            "",
            "a b",
            "a\nb",
            "..",
            "-a",
            "A",
            "a/b",
            "ä",
            &"a".repeat(129),
        ] {
            assert!(Tenant::new(wrong).is_err(), "{wrong:?}");
            assert!(LaneName::new(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn ordinary_names_pass() {
        for right in ["acme", "10.0.0.7", "ombud-6f9c-x2x", "a"] {
            assert_eq!(LaneName::new(right).unwrap().as_str(), right);
        }
    }
}
