//! Where a feature sits in a request: `age`, or `survey_responses.q1` for a nested one.

use std::fmt;

/// Most steps a path may have; deeper requests are a mistake or an attack.
pub const PATH_DEPTH_MAX: usize = 8;

/// The keys that lead to a field, outermost first.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct FieldPath(Vec<String>);

/// A text that is no path.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a path: names separated by dots, at most {PATH_DEPTH_MAX} deep")]
pub struct PathError(pub String);

impl FieldPath {
    /// A path of dotted steps.
    pub fn parse(text: &str) -> Result<Self, PathError> {
        let steps: Vec<String> = text.split('.').map(str::to_owned).collect();
        if steps.len() > PATH_DEPTH_MAX || steps.iter().any(String::is_empty) {
            return Err(PathError(text.chars().take(120).collect()));
        }
        Ok(FieldPath(steps))
    }

    /// A field at the top level, whatever its name contains.
    pub fn top(name: &str) -> Self {
        FieldPath(vec![name.to_owned()])
    }

    /// The keys, outermost first.
    pub fn steps(&self) -> &[String] {
        &self.0
    }
}

impl fmt::Display for FieldPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join("."))
    }
}
