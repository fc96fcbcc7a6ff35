//! What callers hand in, before it has a place in a chain.
//!
//! An entry still holds a person's id and inputs in clear, in types that do not print; the writer turns the id into a
//! reference and seals the inputs. Every field has a bound, checked before it may wait in a queue.

use crate::record::{Kind, RecordId};
use ombud_core::{Class, Digest, ModelName, Version};
use std::fmt;
use zeroize::Zeroize;

/// Longest text field: environment, principal, address, user agent, request id.
pub const TEXT_BYTES_MAX: usize = 1 << 10;
/// Largest input or explanation, in clear.
pub const SEALED_BYTES_MAX: usize = 4 << 20;
/// Largest answer or detail.
pub const JSON_BYTES_MAX: usize = 1 << 20;
/// Longest id of a person.
pub const SUBJECT_BYTES_MAX: usize = 1 << 10;

/// Something to be recorded.
#[derive(Debug)]
pub struct Entry {
    /// The record's identity, made by the caller, who may need it before the record is written.
    pub id: RecordId,
    /// When it happened: microseconds since 1970, UTC.
    pub time_us: i64,
    /// What it is about.
    pub kind: Kind,
    /// The model that answered, or that is acted on.
    pub model: Option<ModelName>,
    /// That model's version.
    pub version: Option<Version>,
    /// The digest of the bundle that answered.
    pub bundle: Option<Digest>,
    /// `production`, `staging` or another.
    pub environment: Option<String>,
    /// The person it is about.
    pub subject: Option<Subject>,
    /// What the model was given; sealed before it is stored.
    pub input: Option<Clear>,
    /// What was answered, as JSON text; kept byte for byte, in clear.
    pub answer: Option<String>,
    /// How sure the model was.
    pub confidence: Option<f64>,
    /// Why it answered so; sealed before it is stored.
    pub explanation: Option<Clear>,
    /// How long the answer took, in microseconds.
    pub latency_us: Option<u64>,
    /// Whether the answer came from the cache.
    pub cache_hit: Option<bool>,
    /// Who called.
    pub principal: Option<String>,
    /// From which address.
    pub ip: Option<String>,
    /// With which program.
    pub user_agent: Option<String>,
    /// The request's id.
    pub request_id: Option<String>,
    /// What else there is to say, as JSON text; kept byte for byte, in clear.
    pub detail: Option<String>,
}

/// Who does something to the ledger itself, when and why: erase, retain, open.
#[derive(Debug, Clone)]
pub struct Act {
    /// When: microseconds since 1970, UTC.
    pub time_us: i64,
    /// Why, in a person's words. Never empty.
    pub reason: String,
    /// Who.
    pub principal: Option<String>,
    /// From which address.
    pub ip: Option<String>,
    /// With which program.
    pub user_agent: Option<String>,
    /// The request's id.
    pub request_id: Option<String>,
}

/// A person's id in clear. It cannot be printed and is wiped from memory when dropped.
#[derive(Clone, PartialEq, Eq)]
pub struct Subject(String);

/// Bytes that are to be sealed. They cannot be printed and are wiped from memory when dropped.
#[derive(Clone, PartialEq, Eq)]
pub struct Clear(Vec<u8>);

/// Why an entry cannot be recorded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EntryError {
    #[error("the {field} has {bytes} bytes; at most {bytes_max} are recorded")]
    TooLarge {
        field: &'static str,
        bytes: usize,
        bytes_max: usize,
    },
    #[error("the {field} holds a zero byte, which no database keeps in a text")]
    ZeroByte { field: &'static str },
    #[error("the {field} is empty")]
    Empty { field: &'static str },
    #[error("the confidence is not a number")]
    NotFinite,
}

impl Entry {
    /// An entry with nothing but its identity.
    pub fn new(id: RecordId, kind: Kind, time_us: i64) -> Self {
        Entry {
            id,
            time_us,
            kind,
            model: None,
            version: None,
            bundle: None,
            environment: None,
            subject: None,
            input: None,
            answer: None,
            confidence: None,
            explanation: None,
            latency_us: None,
            cache_hit: None,
            principal: None,
            ip: None,
            user_agent: None,
            request_id: None,
            detail: None,
        }
    }

    /// Whether something in it will be sealed.
    pub fn has_something_to_seal(&self) -> bool {
        self.input.is_some() || self.explanation.is_some()
    }

    /// Checks every bound; the answer is about how many bytes the entry holds in memory.
    pub fn check(&self) -> Result<usize, EntryError> {
        if self
            .confidence
            .is_some_and(|confidence| !confidence.is_finite())
        {
            return Err(EntryError::NotFinite);
        }
        let texts = [
            ("environment", &self.environment, TEXT_BYTES_MAX),
            ("principal", &self.principal, TEXT_BYTES_MAX),
            ("ip", &self.ip, TEXT_BYTES_MAX),
            ("user agent", &self.user_agent, TEXT_BYTES_MAX),
            ("request id", &self.request_id, TEXT_BYTES_MAX),
            ("answer", &self.answer, JSON_BYTES_MAX),
            ("detail", &self.detail, JSON_BYTES_MAX),
        ];
        let sealed = [("input", &self.input), ("explanation", &self.explanation)];
        let mut bytes = size_of::<Entry>();
        for (field, text, bytes_max) in texts {
            bytes += checked_text(field, text.as_deref().unwrap_or_default(), bytes_max)?;
        }
        for (field, clear) in sealed {
            let length = clear.as_ref().map_or(0, |clear| clear.0.len());
            bytes += bounded(field, length, SEALED_BYTES_MAX)?;
        }
        if let Some(subject) = &self.subject {
            bytes += subject.check()?;
        }
        Ok(bytes)
    }
}

impl Act {
    /// The act as an entry of a kind, with a detail that the kind explains.
    pub(crate) fn entry(&self, id: RecordId, kind: Kind, detail: String) -> Entry {
        Entry {
            principal: self.principal.clone(),
            ip: self.ip.clone(),
            user_agent: self.user_agent.clone(),
            request_id: self.request_id.clone(),
            detail: Some(detail),
            ..Entry::new(id, kind, self.time_us)
        }
    }

    /// An act without a reason is none.
    pub(crate) fn check(&self) -> Result<(), EntryError> {
        checked_text("reason", &self.reason, TEXT_BYTES_MAX)?;
        if self.reason.trim().is_empty() {
            return Err(EntryError::Empty { field: "reason" });
        }
        Ok(())
    }
}

impl Subject {
    /// Takes a person's id.
    pub fn new(id: String) -> Self {
        Subject(id)
    }

    /// The id in clear.
    pub fn expose(&self) -> &str {
        &self.0
    }

    pub(crate) fn check(&self) -> Result<usize, EntryError> {
        if self.0.is_empty() {
            return Err(EntryError::Empty { field: "subject" });
        }
        bounded("subject", self.0.len(), SUBJECT_BYTES_MAX)
    }
}

impl Clear {
    /// Takes bytes that are to be sealed.
    pub fn new(bytes: Vec<u8>) -> Self {
        Clear(bytes)
    }

    /// The bytes in clear.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }
}

impl Drop for Subject {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl Drop for Clear {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl fmt::Debug for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Subject(…)")
    }
}

impl fmt::Debug for Clear {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Clear({} bytes)", self.0.len())
    }
}

impl EntryError {
    /// Whose mistake it was.
    pub fn class(&self) -> Class {
        match self {
            EntryError::TooLarge { .. } => Class::TooLarge,
            EntryError::ZeroByte { .. } | EntryError::Empty { .. } | EntryError::NotFinite => {
                Class::Invalid
            }
        }
    }
}

fn checked_text(field: &'static str, text: &str, bytes_max: usize) -> Result<usize, EntryError> {
    if text.contains('\0') {
        return Err(EntryError::ZeroByte { field });
    }
    bounded(field, text.len(), bytes_max)
}

fn bounded(field: &'static str, bytes: usize, bytes_max: usize) -> Result<usize, EntryError> {
    if bytes > bytes_max {
        return Err(EntryError::TooLarge {
            field,
            bytes,
            bytes_max,
        });
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry() -> Entry {
        Entry::new(RecordId::from_parts(0, [0; 10]), Kind::Decision, 0)
    }

    #[test]
    fn a_person_and_their_inputs_cannot_be_printed() {
        let mut entry = entry();
        entry.subject = Some(Subject::new("member-4711".to_owned()));
        entry.input = Some(Clear::new(b"very sad".to_vec()));
        let printed = format!("{entry:?}");
        assert!(
            !printed.contains("4711") && !printed.contains("sad"),
            "{printed}"
        );
    }

    #[test]
    fn what_is_too_large_or_not_a_number_is_refused_by_name() {
        let mut large = entry();
        large.user_agent = Some("x".repeat(TEXT_BYTES_MAX + 1));
        assert!(matches!(
            large.check(),
            Err(EntryError::TooLarge {
                field: "user agent",
                ..
            })
        ));
        let mut unsure = entry();
        unsure.confidence = Some(f64::NAN);
        assert_eq!(unsure.check(), Err(EntryError::NotFinite));
        let mut broken = entry();
        broken.answer = Some("a\0b".to_owned());
        assert_eq!(
            broken.check(),
            Err(EntryError::ZeroByte { field: "answer" })
        );
    }
}
