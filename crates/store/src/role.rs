//! What a principal may do, and where: a role, and scopes that narrow it.
//!
//! The words only. Which role may call which route is a table in `api`.

use crate::environment::Environment;
use ombud_core::ModelName;
use std::fmt;
use std::str::FromStr;

/// Most scopes of one key.
pub const SCOPES_MAX: usize = 100;

/// What a principal may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Role {
    /// Sees models and deployments, and nobody's decisions.
    Viewer,
    /// Asks for decisions and reports outcomes.
    Caller,
    /// Registers, deploys, promotes, rolls back.
    Operator,
    /// Reads the ledger.
    Auditor,
    /// All of it, and makes principals.
    Admin,
}

/// One model or all, in one environment or all: `claims@production`, `claims@*`, `*@staging`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Scope {
    /// The model; every one when absent.
    pub model: Option<ModelName>,
    /// The environment; every one when absent.
    pub environment: Option<Environment>,
}

/// Where a key may be used; none listed means everywhere.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Scopes(Vec<Scope>);

/// A text that is no role.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no role: viewer, caller, operator, auditor or admin")]
pub struct RoleError(pub String);

/// A text that is no scope, or too many of them.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ScopeError {
    #[error("{0:?} is no scope: write MODEL@ENVIRONMENT, with * for any")]
    Malformed(String),
    #[error("{count} scopes; a key has at most {SCOPES_MAX}")]
    TooMany { count: usize },
}

impl Role {
    /// Every role.
    pub const ALL: [Role; 5] = [
        Role::Viewer,
        Role::Caller,
        Role::Operator,
        Role::Auditor,
        Role::Admin,
    ];

    /// The word that is stored and told.
    pub fn as_str(self) -> &'static str {
        match self {
            Role::Viewer => "viewer",
            Role::Caller => "caller",
            Role::Operator => "operator",
            Role::Auditor => "auditor",
            Role::Admin => "admin",
        }
    }
}

impl Scopes {
    /// Everywhere.
    pub const EVERYWHERE: Scopes = Scopes(Vec::new());

    /// Checks their number.
    pub fn new(scopes: Vec<Scope>) -> Result<Self, ScopeError> {
        let count = scopes.len();
        if count > SCOPES_MAX {
            return Err(ScopeError::TooMany { count });
        }
        Ok(Scopes(scopes))
    }

    /// Those listed.
    pub fn as_slice(&self) -> &[Scope] {
        &self.0
    }

    /// Whether a model in an environment is covered.
    pub fn cover(&self, model: &ModelName, environment: &Environment) -> bool {
        self.0.is_empty() || self.0.iter().any(|scope| scope.covers(model, environment))
    }

    /// Whether a model is covered in at least one environment.
    pub fn touch(&self, model: &ModelName) -> bool {
        let names = |scope: &Scope| scope.model.as_ref().is_none_or(|named| named == model);
        self.0.is_empty() || self.0.iter().any(names)
    }

    pub(crate) fn to_text(&self) -> String {
        let texts: Vec<String> = self.0.iter().map(Scope::to_string).collect();
        texts.join(" ")
    }

    pub(crate) fn from_text(text: &str) -> Result<Self, ScopeError> {
        Scopes::new(
            text.split_whitespace()
                .map(str::parse)
                .collect::<Result<_, _>>()?,
        )
    }
}

impl Scope {
    /// Whether it covers a model in an environment.
    pub fn covers(&self, model: &ModelName, environment: &Environment) -> bool {
        self.model.as_ref().is_none_or(|named| named == model)
            && self
                .environment
                .as_ref()
                .is_none_or(|named| named == environment)
    }
}

/// Whether a text is a lower-case letter, then letters, digits, `_` or `-`.
pub(crate) fn is_plain_name(text: &str, length_max: usize) -> bool {
    text.starts_with(|c: char| c.is_ascii_lowercase())
        && text.len() <= length_max
        && text
            .bytes()
            .all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-'))
}

impl FromStr for Role {
    type Err = RoleError;
    fn from_str(text: &str) -> Result<Self, RoleError> {
        let named = Role::ALL.into_iter().find(|role| role.as_str() == text);
        named.ok_or_else(|| RoleError(text.chars().take(40).collect()))
    }
}

impl FromStr for Scope {
    type Err = ScopeError;
    fn from_str(text: &str) -> Result<Self, ScopeError> {
        let refused = || ScopeError::Malformed(text.chars().take(140).collect());
        let (model, environment) = text.split_once('@').ok_or_else(refused)?;
        let model = match model {
            "*" => None,
            name => Some(ModelName::new(name).map_err(|_| refused())?),
        };
        let environment = match environment {
            "*" => None,
            name => Some(Environment::new(name).map_err(|_| refused())?),
        };
        Ok(Scope { model, environment })
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let model = self.model.as_ref().map_or("*", ModelName::as_str);
        let environment = self.environment.as_ref().map_or("*", Environment::as_str);
        write!(f, "{model}@{environment}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(scopes: &str, model: &str, environment: &str) -> bool {
        Scopes::from_text(scopes).unwrap().cover(
            &ModelName::new(model).unwrap(),
            &Environment::new(environment).unwrap(),
        )
    }

    #[test]
    fn no_scope_is_everywhere() {
        assert!(check("", "claims", "production"));
    }

    #[test]
    fn a_scope_covers_what_it_names_and_nothing_else() {
        assert!(check("claims@production", "claims", "production"));
        assert!(!check("claims@production", "claims", "staging"));
        assert!(!check("claims@production", "claims2", "production"));
        assert!(check("claims@* *@staging", "claims", "production"));
        assert!(check("claims@* *@staging", "other", "staging"));
        assert!(!check("claims@* *@staging", "other", "production"));
    }

    #[test]
    fn what_is_printed_parses_back() {
        for text in ["claims@production", "*@*", "a@*", "*@staging"] {
            assert_eq!(text.parse::<Scope>().unwrap().to_string(), text);
        }
        for wrong in ["claims", "@", "A@b", "a@b@c", "a@"] {
            assert!(wrong.parse::<Scope>().is_err(), "{wrong}");
        }
        for role in Role::ALL {
            assert_eq!(role.as_str().parse::<Role>().unwrap(), role);
        }
    }
}
