//! The name of a model: safe as a folder, in a URL and in a metric label, checked once.

use serde::{Deserialize, Serialize};
use std::fmt;

/// Longest allowed name, so that `<name>_<version>.tar.gz` fits every file system.
pub const NAME_LENGTH_MAX: usize = 64;

/// A model's name: a lower-case letter, then letters, digits, `_` or `-`.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ModelName(String);

/// Why a text is no model name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{came:?} is not a model name: a lower-case letter, then at most {} lower-case letters, digits, `_` or `-`",
    NAME_LENGTH_MAX - 1
)]
pub struct NameError {
    /// What was given.
    pub came: String,
}

impl ModelName {
    /// Checks a text.
    pub fn new(text: &str) -> Result<Self, NameError> {
        let starts_well = text.starts_with(|c: char| c.is_ascii_lowercase());
        let plain = text
            .bytes()
            .all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-'));
        if starts_well && plain && text.len() <= NAME_LENGTH_MAX {
            Ok(ModelName(text.to_owned()))
        } else {
            Err(NameError {
                came: text.chars().take(80).collect(),
            })
        }
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ModelName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for ModelName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.0)
    }
}

impl TryFrom<String> for ModelName {
    type Error = NameError;
    fn try_from(text: String) -> Result<Self, NameError> {
        ModelName::new(&text)
    }
}

impl From<ModelName> for String {
    fn from(name: ModelName) -> String {
        name.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_could_leave_their_folder_are_refused() {
        for wrong in [
            "",
            "..",
            "a/b",
            "A",
            "1a",
            "a b",
            "a.b",
            "ä",
            &"a".repeat(65),
        ] {
            assert!(ModelName::new(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn ordinary_names_pass() {
        for right in ["a", "claim_outcome", "hseg-text", "model-2"] {
            assert_eq!(ModelName::new(right).unwrap().as_str(), right);
        }
    }
}
