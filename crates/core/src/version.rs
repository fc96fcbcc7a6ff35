//! A model's version: an integer in order of registration, and the label people read.
//!
//! Two notions on purpose: the integer is what machines order, route and address by (Triton's clients accept nothing
//! else), and never changes its meaning; the label (`v1.2.0`) is what a team says aloud.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::num::NonZeroU32;
use std::str::FromStr;

/// The place of a version in its model's order of registration, from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Version(NonZeroU32);

impl Version {
    /// The first version of a model.
    pub const FIRST: Version = Version(NonZeroU32::MIN);

    /// A version by its number; zero is none.
    pub fn new(number: u32) -> Option<Self> {
        NonZeroU32::new(number).map(Version)
    }

    /// The number.
    pub fn get(self) -> u32 {
        self.0.get()
    }

    /// The version registered after this one.
    pub fn next(self) -> Self {
        Version(self.0.saturating_add(1))
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A text that is no version number.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a version: a whole number from 1")]
pub struct VersionError(pub String);

impl FromStr for Version {
    type Err = VersionError;
    fn from_str(text: &str) -> Result<Self, VersionError> {
        text.parse()
            .ok()
            .and_then(Version::new)
            .ok_or_else(|| VersionError(text.chars().take(40).collect()))
    }
}

/// The label people read: `v1.2.0`, optionally with a suffix (`v1.2.0-rc1`).
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Label(String);

/// A text that is no label.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a version label: write it like v1.2.0")]
pub struct LabelError(pub String);

impl Label {
    /// Checks a text.
    pub fn new(text: &str) -> Result<Self, LabelError> {
        let refused = || LabelError(text.chars().take(40).collect());
        let numbers = text.strip_prefix('v').ok_or_else(refused)?;
        let (numbers, suffix) = numbers.split_once('-').unwrap_or((numbers, "x"));
        let parts: Vec<&str> = numbers.split('.').collect();
        let is_number = |part: &&str| {
            !part.is_empty() && part.len() <= 6 && part.bytes().all(|b| b.is_ascii_digit())
        };
        let is_suffix = !suffix.is_empty()
            && suffix.len() <= 20
            && suffix
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b == b'.');
        if parts.len() == 3 && parts.iter().all(is_number) && is_suffix {
            Ok(Label(text.to_owned()))
        } else {
            Err(refused())
        }
    }

    /// The label a version gets when nobody names one.
    pub fn of(version: Version) -> Self {
        Label(format!("v{version}.0.0"))
    }

    /// The label as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for Label {
    type Error = LabelError;
    fn try_from(text: String) -> Result<Self, LabelError> {
        Label::new(&text)
    }
}

impl From<Label> for String {
    fn from(label: Label) -> String {
        label.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zero_is_no_version() {
        assert!(Version::new(0).is_none());
        assert!("0".parse::<Version>().is_err());
        assert_eq!("7".parse::<Version>().unwrap().get(), 7);
    }

    #[test]
    fn labels_are_written_one_way() {
        assert!(Label::new("v1.2.0").is_ok());
        assert!(Label::new("v1.2.0-rc1").is_ok());
        for wrong in ["1.2.0", "v1.2", "v1.2.x", "v1.2.0-", "v1..0", "v1.2.0/../x"] {
            assert!(Label::new(wrong).is_err(), "{wrong}");
        }
    }
}
