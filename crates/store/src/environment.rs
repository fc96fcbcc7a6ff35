//! Where a model serves: `production`, `staging` or any other name.

use std::fmt;
use std::str::FromStr;

/// Longest name of an environment.
pub const ENVIRONMENT_LENGTH_MAX: usize = 64;

/// An environment's name: a lower-case letter, then letters, digits, `_` or `-`.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Environment(String);

/// A text that names no environment.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{came:?} is no environment: a lower-case letter, then at most {} lower-case letters, digits, `_` or `-`",
    ENVIRONMENT_LENGTH_MAX - 1
)]
pub struct EnvironmentError {
    /// What was given, shortened.
    pub came: String,
}

impl Environment {
    /// Checks a text.
    pub fn new(text: &str) -> Result<Self, EnvironmentError> {
        if crate::role::is_plain_name(text, ENVIRONMENT_LENGTH_MAX) {
            return Ok(Environment(text.to_owned()));
        }
        Err(EnvironmentError {
            came: text.chars().take(80).collect(),
        })
    }

    /// Where people are answered.
    pub fn production() -> Self {
        Environment("production".to_owned())
    }

    /// Where a version waits for its turn.
    pub fn staging() -> Self {
        Environment("staging".to_owned())
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Environment {
    type Err = EnvironmentError;
    fn from_str(text: &str) -> Result<Self, EnvironmentError> {
        Environment::new(text)
    }
}

impl fmt::Display for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.0)
    }
}

impl From<&Environment> for crate::database::Value {
    fn from(environment: &Environment) -> Self {
        environment.as_str().into()
    }
}
