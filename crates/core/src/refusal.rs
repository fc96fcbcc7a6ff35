//! A refused input: every field at fault, not only the first.
//!
//! Whoever fills in a form of twenty fields wants all mistakes at once, each with what came, what is allowed and the
//! nearest right name. The same value becomes a problem+json answer, a table on a terminal or a batch row's error.

use serde::Serialize;
use std::fmt;

/// Most faults listed; past it only their number is told, so that a wrong file cannot fill a screen or a response.
pub const FAULTS_LISTED_MAX: usize = 100;

/// How much of a refused value is repeated back; it may be long, or personal.
const CAME_LENGTH_MAX: usize = 60;

/// One field that cannot be accepted.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Fault {
    /// Where, as a dotted path.
    pub path: String,
    /// What came, shortened.
    pub came: String,
    /// What would be accepted.
    pub allowed: String,
    /// The nearest right name or value, when one is close.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nearest: Option<String>,
}

impl Fault {
    /// A fault without a near name.
    pub fn new(path: impl Into<String>, came: &str, allowed: impl Into<String>) -> Self {
        Fault {
            path: path.into(),
            came: shorten(came),
            allowed: allowed.into(),
            nearest: None,
        }
    }

    /// Adds the nearest right name.
    pub fn near(mut self, nearest: Option<&str>) -> Self {
        self.nearest = nearest.map(str::to_owned);
        self
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}: came {}, allowed is {}",
            self.path, self.came, self.allowed
        )?;
        match &self.nearest {
            Some(nearest) => write!(f, " (nearest: {nearest})"),
            None => Ok(()),
        }
    }
}

/// All faults of one input.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Refusal {
    /// The faults, at most [`FAULTS_LISTED_MAX`].
    pub faults: Vec<Fault>,
    /// How many there were in all.
    pub count: usize,
}

impl Refusal {
    /// Notes one more fault.
    pub fn add(&mut self, fault: Fault) {
        self.count += 1;
        if self.faults.len() < FAULTS_LISTED_MAX {
            self.faults.push(fault);
        }
    }

    /// `Ok(value)` when nothing is at fault.
    pub fn or<T>(self, value: T) -> Result<T, Refusal> {
        if self.count == 0 {
            Ok(value)
        } else {
            Err(self)
        }
    }
}

impl From<Fault> for Refusal {
    fn from(fault: Fault) -> Self {
        Refusal {
            faults: vec![fault],
            count: 1,
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let noun = if self.count == 1 { "field" } else { "fields" };
        write!(f, "{} {noun} cannot be accepted", self.count)?;
        self.faults
            .iter()
            .try_for_each(|fault| write!(f, "; {fault}"))
    }
}

impl std::error::Error for Refusal {}

fn shorten(came: &str) -> String {
    if came.chars().count() <= CAME_LENGTH_MAX {
        return came.to_owned();
    }
    let start: String = came.chars().take(CAME_LENGTH_MAX).collect();
    format!("{start}…")
}
