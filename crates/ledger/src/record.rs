//! What the ledger keeps of one decision or one administrative act.
//!
//! [`Record`] is checked and owned, for those who read. [`RawRecord`] borrows the stored cells as they are, checked for
//! nothing, because a walk over a chain must be able to hash whatever it finds, however wrong.

use crate::name::{LaneName, Tenant};
use crate::random;
use ombud_core::digest::hexadecimal;
use ombud_core::{Digest, ModelName, Version};
use std::fmt;
use std::str::FromStr;

/// One link of a chain.
#[derive(Debug, Clone, PartialEq)]
pub struct Record {
    /// Whose record it is.
    pub tenant: Tenant,
    /// Which of the tenant's lanes it stands in.
    pub lane: LaneName,
    /// Its place in the lane, from 1, without gaps.
    pub sequence: u64,
    /// When it happened: microseconds since 1970, UTC.
    pub time_us: i64,
    /// What it is about.
    pub kind: Kind,
    /// Its own identity; a decision's id.
    pub id: RecordId,
    /// The model that answered, or that was acted on.
    pub model: Option<ModelName>,
    /// That model's version.
    pub version: Option<Version>,
    /// The digest of the bundle that answered.
    pub bundle: Option<Digest>,
    /// `production`, `staging` or another.
    pub environment: Option<String>,
    /// The person it is about, as a keyed hash.
    pub subject: Option<SubjectReference>,
    /// Which data key sealed what is sealed here.
    pub key: Option<KeyId>,
    /// What the model was given, sealed.
    pub sealed_input: Option<Vec<u8>>,
    /// What was answered: JSON text, byte for byte as given.
    pub answer: Option<String>,
    /// How sure the model was.
    pub confidence: Option<f64>,
    /// Why it answered so, sealed, because reasons quote inputs.
    pub sealed_explanation: Option<Vec<u8>>,
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
    /// The request's id, which the logs carry too.
    pub request_id: Option<String>,
    /// What else an act has to say: JSON text, byte for byte as given.
    pub detail: Option<String>,
    /// The hash of the record before it in the lane; zeros for the first.
    pub previous: Digest,
    /// SHA-256 over everything above, by [`crate::layout`].
    pub hash: Digest,
}

/// What a record is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// A model answered.
    Decision,
    /// A call was turned away; its body is not kept.
    Refused,
    /// A call failed on our side; its body is not kept.
    Failed,
    /// What really happened was reported.
    Outcome,
    /// Somebody signed in, or tried to.
    SignIn,
    /// A key or a principal was made, changed or withdrawn.
    KeyChange,
    /// A version was registered, tagged or archived.
    Registry,
    /// Traffic was shifted: deploy, promote, roll back.
    Deployment,
    /// A training or another long job ran.
    Job,
    /// A setting was changed.
    Settings,
    /// Records left the house.
    Export,
    /// Sealed inputs were read.
    Opened,
    /// A person's data keys were destroyed.
    Erasure,
    /// A model's old data keys were destroyed.
    Retention,
}

/// A record's identity: a UUID of version 7, so that ids sort by time.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RecordId([u8; RecordId::BYTES]);

/// A person, as HMAC-SHA-256 of their id under the tenant's own key: the same person gives the same reference, and
/// nobody without the key can tell who it is.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SubjectReference(pub Digest);

/// The random name of a data key.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct KeyId(pub [u8; KeyId::BYTES]);

/// A text that is no record id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a record id: a UUID in lower case")]
pub struct RecordIdError(pub String);

/// A stored record that no ledger of ours can have written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the stored {field} cannot be read")]
pub struct Unreadable {
    /// The field that is damaged.
    pub field: &'static str,
}

/// A record's cells as they are stored, checked for nothing.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct RawRecord<'a> {
    pub previous: &'a [u8],
    pub sequence: i64,
    pub time_us: i64,
    pub id: &'a [u8],
    pub tenant: &'a [u8],
    pub lane: &'a [u8],
    pub kind: &'a [u8],
    pub model: Option<&'a [u8]>,
    pub version: Option<i64>,
    pub bundle: Option<&'a [u8]>,
    pub environment: Option<&'a [u8]>,
    pub subject: Option<&'a [u8]>,
    pub key: Option<&'a [u8]>,
    pub sealed_input: Option<&'a [u8]>,
    pub answer: Option<&'a [u8]>,
    pub confidence: Option<f64>,
    pub sealed_explanation: Option<&'a [u8]>,
    pub latency_us: Option<i64>,
    pub cache_hit: Option<i64>,
    pub principal: Option<&'a [u8]>,
    pub ip: Option<&'a [u8]>,
    pub user_agent: Option<&'a [u8]>,
    pub request_id: Option<&'a [u8]>,
    pub detail: Option<&'a [u8]>,
    pub hash: &'a [u8],
}

impl Record {
    /// The record's cells, as they are stored and hashed.
    pub fn raw(&self) -> RawRecord<'_> {
        RawRecord {
            previous: self.previous.as_bytes(),
            sequence: self.sequence.cast_signed(),
            time_us: self.time_us,
            id: self.id.as_bytes(),
            tenant: self.tenant.as_str().as_bytes(),
            lane: self.lane.as_str().as_bytes(),
            kind: self.kind.as_str().as_bytes(),
            model: self.model.as_ref().map(|model| model.as_str().as_bytes()),
            version: self.version.map(|version| i64::from(version.get())),
            bundle: self
                .bundle
                .as_ref()
                .map(|bundle| bundle.as_bytes().as_slice()),
            environment: self.environment.as_deref().map(str::as_bytes),
            subject: self
                .subject
                .as_ref()
                .map(|subject| subject.0.as_bytes().as_slice()),
            key: self.key.as_ref().map(|key| key.0.as_slice()),
            sealed_input: self.sealed_input.as_deref(),
            answer: self.answer.as_deref().map(str::as_bytes),
            confidence: self.confidence,
            sealed_explanation: self.sealed_explanation.as_deref(),
            latency_us: self.latency_us.map(u64::cast_signed),
            cache_hit: self.cache_hit.map(i64::from),
            principal: self.principal.as_deref().map(str::as_bytes),
            ip: self.ip.as_deref().map(str::as_bytes),
            user_agent: self.user_agent.as_deref().map(str::as_bytes),
            request_id: self.request_id.as_deref().map(str::as_bytes),
            detail: self.detail.as_deref().map(str::as_bytes),
            hash: self.hash.as_bytes(),
        }
    }
}

impl RawRecord<'_> {
    /// Checks every cell; whether the hash is right is another question ([`crate::chain`]).
    pub fn to_record(&self) -> Result<Record, Unreadable> {
        let optional_text =
            |cell: Option<&[u8]>, field| cell.map(|cell| text(cell, field)).transpose();
        Ok(Record {
            tenant: parsed(self.tenant, "tenant")?,
            lane: parsed(self.lane, "lane")?,
            sequence: unsigned(self.sequence, "sequence")?,
            time_us: self.time_us,
            kind: parsed(self.kind, "kind")?,
            id: RecordId(bytes(self.id, "id")?),
            model: match self.model {
                None => None,
                Some(cell) => {
                    let model = text(cell, "model")?;
                    Some(ModelName::new(&model).map_err(|_| Unreadable { field: "model" })?)
                }
            },
            version: self.version.map(version).transpose()?,
            bundle: self
                .bundle
                .map(|cell| bytes(cell, "bundle").map(Digest::new))
                .transpose()?,
            environment: optional_text(self.environment, "environment")?,
            subject: self
                .subject
                .map(|cell| bytes(cell, "subject").map(|b| SubjectReference(Digest::new(b))))
                .transpose()?,
            key: self
                .key
                .map(|cell| bytes(cell, "key").map(KeyId))
                .transpose()?,
            sealed_input: self.sealed_input.map(<[u8]>::to_vec),
            answer: optional_text(self.answer, "answer")?,
            confidence: self.confidence,
            sealed_explanation: self.sealed_explanation.map(<[u8]>::to_vec),
            latency_us: self
                .latency_us
                .map(|cell| unsigned(cell, "latency_us"))
                .transpose()?,
            cache_hit: self.cache_hit.map(truth).transpose()?,
            principal: optional_text(self.principal, "principal")?,
            ip: optional_text(self.ip, "ip")?,
            user_agent: optional_text(self.user_agent, "user_agent")?,
            request_id: optional_text(self.request_id, "request_id")?,
            detail: optional_text(self.detail, "detail")?,
            previous: Digest::new(bytes(self.previous, "previous")?),
            hash: Digest::new(bytes(self.hash, "hash")?),
        })
    }
}

impl Kind {
    /// Every kind.
    pub const ALL: [Kind; 14] = [
        Kind::Decision,
        Kind::Refused,
        Kind::Failed,
        Kind::Outcome,
        Kind::SignIn,
        Kind::KeyChange,
        Kind::Registry,
        Kind::Deployment,
        Kind::Job,
        Kind::Settings,
        Kind::Export,
        Kind::Opened,
        Kind::Erasure,
        Kind::Retention,
    ];

    /// The word that is stored and hashed.
    pub fn as_str(self) -> &'static str {
        match self {
            Kind::Decision => "decision",
            Kind::Refused => "refused",
            Kind::Failed => "failed",
            Kind::Outcome => "outcome",
            Kind::SignIn => "sign_in",
            Kind::KeyChange => "key_change",
            Kind::Registry => "registry",
            Kind::Deployment => "deployment",
            Kind::Job => "job",
            Kind::Settings => "settings",
            Kind::Export => "export",
            Kind::Opened => "opened",
            Kind::Erasure => "erasure",
            Kind::Retention => "retention",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Kind {
    type Err = Unreadable;
    fn from_str(text: &str) -> Result<Self, Unreadable> {
        let named = |kind: &&Kind| kind.as_str() == text;
        Kind::ALL
            .iter()
            .find(named)
            .copied()
            .ok_or(Unreadable { field: "kind" })
    }
}

impl RecordId {
    /// The size of an id.
    pub const BYTES: usize = 16;

    /// A new id for something that happens at `time_us`.
    pub fn generate(time_us: i64) -> Result<Self, getrandom::Error> {
        Ok(RecordId::from_parts(time_us, random::ten_bytes()?))
    }

    /// The id made of a time and randomness: a UUID of version 7.
    pub fn from_parts(time_us: i64, random: [u8; 10]) -> Self {
        let time_ms = (time_us / 1_000).cast_unsigned().to_be_bytes();
        let mut id = [0; RecordId::BYTES];
        id[..6].copy_from_slice(&time_ms[2..]);
        id[6..].copy_from_slice(&random);
        id[6] = (id[6] & 0x0f) | 0x70;
        id[8] = (id[8] & 0x3f) | 0x80;
        RecordId(id)
    }

    /// The id with these bytes.
    pub fn from_bytes(bytes: [u8; RecordId::BYTES]) -> Self {
        RecordId(bytes)
    }

    /// The bytes, as they are stored and hashed.
    pub fn as_bytes(&self) -> &[u8; RecordId::BYTES] {
        &self.0
    }
}

impl fmt::Display for RecordId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const ENDS: [usize; 5] = [8, 12, 16, 20, 32];
        let mut digits = [0; 2 * RecordId::BYTES];
        let digits = hexadecimal(&self.0, &mut digits);
        let (mut written, mut end) = ([b'-'; 2 * RecordId::BYTES + 4], 0);
        for (hyphens, part) in ENDS.iter().enumerate() {
            let start = end;
            end = *part;
            written[start + hyphens..end + hyphens].copy_from_slice(&digits.as_bytes()[start..end]);
        }
        f.write_str(std::str::from_utf8(&written).map_err(|_| fmt::Error)?)
    }
}

impl fmt::Debug for RecordId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl FromStr for RecordId {
    type Err = RecordIdError;
    fn from_str(text: &str) -> Result<Self, RecordIdError> {
        let refused = || RecordIdError(text.chars().take(80).collect());
        let mut digits = [0; 2 * RecordId::BYTES];
        let mut rest = digits.iter_mut();
        for (place, byte) in text.bytes().enumerate() {
            match (matches!(place, 8 | 13 | 18 | 23), byte == b'-') {
                (true, true) => {}
                (false, false) => *rest.next().ok_or_else(refused)? = byte,
                _ => return Err(refused()),
            }
        }
        let digits = std::str::from_utf8(&digits).map_err(|_| refused())?;
        unhex(digits).map(RecordId).ok_or_else(refused)
    }
}

impl fmt::Display for SubjectReference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for SubjectReference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl KeyId {
    /// The size of a key's name.
    pub const BYTES: usize = 16;
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex(&self.0))
    }
}

impl fmt::Debug for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// Bytes as lower-case hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digit = |nibble: u8| char::from(DIGITS[usize::from(nibble)]);
    bytes
        .iter()
        .flat_map(|byte| [digit(byte >> 4), digit(byte & 15)])
        .collect()
}

/// The bytes that lower-case hexadecimal digits stand for, when there are exactly enough.
pub(crate) fn unhex<const N: usize>(digits: &str) -> Option<[u8; N]> {
    let value = |digit: u8| match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    };
    if digits.len() != 2 * N {
        return None;
    }
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(digits.as_bytes().chunks_exact(2)) {
        *byte = (value(pair[0])? << 4) | value(pair[1])?;
    }
    Some(bytes)
}

fn bytes<const N: usize>(cell: &[u8], field: &'static str) -> Result<[u8; N], Unreadable> {
    cell.try_into().map_err(|_| Unreadable { field })
}

fn text(cell: &[u8], field: &'static str) -> Result<String, Unreadable> {
    std::str::from_utf8(cell)
        .map(str::to_owned)
        .map_err(|_| Unreadable { field })
}

fn parsed<T: FromStr>(cell: &[u8], field: &'static str) -> Result<T, Unreadable> {
    text(cell, field)?.parse().map_err(|_| Unreadable { field })
}

fn unsigned(cell: i64, field: &'static str) -> Result<u64, Unreadable> {
    u64::try_from(cell).map_err(|_| Unreadable { field })
}

fn version(cell: i64) -> Result<Version, Unreadable> {
    let number = u32::try_from(cell).ok();
    number
        .and_then(Version::new)
        .ok_or(Unreadable { field: "version" })
}

fn truth(cell: i64) -> Result<bool, Unreadable> {
    match cell {
        0 => Ok(false),
        1 => Ok(true),
        _ => Err(Unreadable { field: "cache_hit" }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_reads_back_as_written_and_sorts_by_time() {
        let early = RecordId::from_parts(1_763_700_000_000_000, [255; 10]);
        let late = RecordId::from_parts(1_763_700_001_000_000, [0; 10]);
        assert!(early < late);
        assert_eq!(early.to_string(), "019aa4b6-4500-7fff-bfff-ffffffffffff");
        assert_eq!(early.to_string().parse::<RecordId>().unwrap(), early);
    }

    #[test]
    fn other_spellings_of_an_id_are_refused() {
        for wrong in [
            "",
            "019AA51F-E300-7FFF-BFFF-FFFFFFFFFFFF",
            "019aa51fe3007fffbfffffffffffffff",
        ] {
            assert!(wrong.parse::<RecordId>().is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn every_kind_reads_back_as_written() {
        for kind in Kind::ALL {
            assert_eq!(kind.as_str().parse::<Kind>().unwrap(), kind);
        }
        assert!("guess".parse::<Kind>().is_err());
    }
}
