//! Checkpoints: signed statements of how long every lane of a tenant was, and what its last hash was.
//!
//! A chain proves that nothing inside it was changed, but whoever can write the database could cut its end off, or
//! write the whole chain anew. A signed head that is also kept elsewhere proves both. A checkpoint is plain text, so that
//! `openssl` can check its signature and a person can read it; checkpoints of a tenant are chained themselves.

use crate::layout::GENESIS;
use crate::name::{LaneName, Tenant};
use crate::record::{hex, unhex};
use crate::seal::Secret;
use ed25519_dalek::{Signature, Signer as _, SigningKey};
use ombud_core::Digest;
use sha2::{Digest as _, Sha256};
use std::fmt;
use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// Largest checkpoint: some twenty thousand lanes.
pub const CHECKPOINT_BYTES_MAX: u64 = 4 << 20;

const TITLE: &str = "ombud-checkpoint-1";

/// The heads of a tenant's lanes at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkpoint {
    /// Whose lanes.
    pub tenant: Tenant,
    /// Its place among the tenant's checkpoints, from 1.
    pub number: u64,
    /// When: microseconds since 1970, UTC.
    pub time_us: i64,
    /// SHA-256 of the text of the checkpoint before it; zeros for the first.
    pub previous: Digest,
    /// Every lane that has records: name, last sequence, last hash; in order of names.
    pub heads: Vec<(LaneName, u64, Digest)>,
}

/// A checkpoint's text with its signature.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedCheckpoint {
    /// The text that is signed.
    pub text: String,
    /// Who signed.
    pub signer: VerifyingKey,
    /// The Ed25519 signature over the text.
    pub signature: [u8; Signature::BYTE_SIZE],
}

/// Signs checkpoints. It cannot be printed and is wiped from memory when dropped.
#[derive(Clone)]
pub struct Signer(SigningKey);

/// The public half of a [`Signer`], written as 64 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct VerifyingKey([u8; 32]);

/// What is wrong with a checkpoint.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CheckpointError {
    #[error("the checkpoint cannot be read at line {line}")]
    Unreadable { line: usize },
    #[error("the checkpoint's signature is wrong")]
    BadSignature,
    #[error("the checkpoint was signed by {signer}, which is not trusted")]
    WrongKey { signer: VerifyingKey },
}

impl Checkpoint {
    /// The text that is signed.
    pub fn to_text(&self) -> String {
        use fmt::Write;
        let mut text = format!(
            "{TITLE}\ntenant {}\nnumber {}\ntime_us {}\nprevious {}\n",
            self.tenant, self.number, self.time_us, self.previous
        );
        for (lane, sequence, hash) in &self.heads {
            // Writing to a string cannot fail.
            let _ = writeln!(text, "lane {lane} {sequence} {hash}");
        }
        text
    }

    /// Reads a text back; only the one spelling that [`Checkpoint::to_text`] writes is accepted.
    pub fn parse(text: &str) -> Result<Self, CheckpointError> {
        let unreadable = |line| CheckpointError::Unreadable { line };
        let mut lines = text.lines();
        if lines.next() != Some(TITLE) {
            return Err(unreadable(1));
        }
        let mut field = |name: &str, line| {
            let value = lines
                .next()
                .and_then(|l| l.strip_prefix(name)?.strip_prefix(' '));
            value.ok_or(unreadable(line))
        };
        let mut checkpoint = Checkpoint {
            tenant: field("tenant", 2)?.parse().map_err(|_| unreadable(2))?,
            number: field("number", 3)?.parse().map_err(|_| unreadable(3))?,
            time_us: field("time_us", 4)?.parse().map_err(|_| unreadable(4))?,
            previous: field("previous", 5)?.parse().map_err(|_| unreadable(5))?,
            heads: Vec::new(),
        };
        for (place, line) in lines.enumerate() {
            checkpoint
                .heads
                .push(head(line).ok_or(unreadable(place + 6))?);
        }
        if checkpoint.to_text() != text {
            return Err(unreadable(text.lines().count()));
        }
        Ok(checkpoint)
    }
}

impl SignedCheckpoint {
    /// What the next checkpoint calls its previous.
    pub fn digest(&self) -> Digest {
        Digest::new(Sha256::digest(self.text.as_bytes()).into())
    }

    /// Checks the signature, and that one of `trusted` made it; an empty list trusts any key.
    pub fn verify(&self, trusted: &[VerifyingKey]) -> Result<Checkpoint, CheckpointError> {
        if !trusted.is_empty() && !trusted.contains(&self.signer) {
            return Err(CheckpointError::WrongKey {
                signer: self.signer,
            });
        }
        let key = ed25519_dalek::VerifyingKey::from_bytes(&self.signer.0);
        let key = key.map_err(|_| CheckpointError::BadSignature)?;
        let signature = Signature::from_bytes(&self.signature);
        key.verify_strict(self.text.as_bytes(), &signature)
            .map_err(|_| CheckpointError::BadSignature)?;
        Checkpoint::parse(&self.text)
    }

    /// The text of a copy kept elsewhere: the signed text, then who signed and how.
    pub fn to_file_text(&self) -> String {
        format!(
            "{}signer {}\nsignature {}\n",
            self.text,
            self.signer,
            hex(&self.signature)
        )
    }

    /// Reads a copy back.
    pub fn parse_file(text: &str) -> Result<Self, CheckpointError> {
        let lines = text.lines().count();
        let unreadable = || CheckpointError::Unreadable { line: lines };
        let (rest, signature) = text
            .strip_suffix('\n')
            .and_then(|text| text.rsplit_once("\nsignature "))
            .ok_or_else(unreadable)?;
        let (rest, signer) = rest.rsplit_once("\nsigner ").ok_or_else(unreadable)?;
        Ok(SignedCheckpoint {
            text: format!("{rest}\n"),
            signer: signer.parse().map_err(|_| unreadable())?,
            signature: unhex(signature).ok_or_else(unreadable)?,
        })
    }

    /// Copies the checkpoint into a folder; a copy that is there already is left alone.
    pub fn copy_into(&self, folder: &Path) -> io::Result<PathBuf> {
        let checkpoint = Checkpoint::parse(&self.text).map_err(io::Error::other)?;
        let path = folder.join(format!(
            "{}-{:010}.checkpoint",
            checkpoint.tenant, checkpoint.number
        ));
        if path.exists() {
            return Ok(path);
        }
        let partial = path.with_extension("partial");
        let mut file = File::create(&partial)?;
        file.write_all(self.to_file_text().as_bytes())?;
        file.sync_all()?;
        std::fs::rename(&partial, &path)?;
        File::open(folder)?.sync_all()?;
        Ok(path)
    }

    /// Reads a copy from a file.
    pub fn read_file(path: &Path) -> io::Result<Self> {
        let mut text = String::new();
        File::open(path)?
            .take(CHECKPOINT_BYTES_MAX)
            .read_to_string(&mut text)?;
        SignedCheckpoint::parse_file(&text).map_err(io::Error::other)
    }
}

impl Signer {
    /// The signer made of these secret bytes.
    pub fn new(secret: &Secret) -> Self {
        Signer(SigningKey::from_bytes(secret))
    }

    /// Who will have signed.
    pub fn verifying_key(&self) -> VerifyingKey {
        VerifyingKey(self.0.verifying_key().to_bytes())
    }

    /// Signs a checkpoint.
    pub fn sign(&self, checkpoint: &Checkpoint) -> SignedCheckpoint {
        let text = checkpoint.to_text();
        let signature = self.0.sign(text.as_bytes()).to_bytes();
        SignedCheckpoint {
            text,
            signer: self.verifying_key(),
            signature,
        }
    }
}

impl VerifyingKey {
    /// The key with these bytes.
    pub fn new(bytes: [u8; 32]) -> Self {
        VerifyingKey(bytes)
    }

    /// The bytes, as they are stored.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl FromStr for VerifyingKey {
    type Err = CheckpointError;
    fn from_str(text: &str) -> Result<Self, CheckpointError> {
        unhex(text)
            .map(VerifyingKey)
            .ok_or(CheckpointError::Unreadable { line: 1 })
    }
}

impl fmt::Display for VerifyingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex(&self.0))
    }
}

impl fmt::Debug for VerifyingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Signer({})", self.verifying_key())
    }
}

/// What the first checkpoint of a tenant calls its previous.
pub(crate) fn first_previous() -> Digest {
    Digest::new(GENESIS)
}

fn head(line: &str) -> Option<(LaneName, u64, Digest)> {
    let mut words = line.strip_prefix("lane ")?.split(' ');
    let head = (
        words.next()?.parse().ok()?,
        words.next()?.parse().ok()?,
        words.next()?.parse().ok()?,
    );
    words.next().is_none().then_some(head)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checkpoint() -> Checkpoint {
        Checkpoint {
            tenant: Tenant::new("acme").unwrap(),
            number: 2,
            time_us: 1_763_700_000_000_000,
            previous: Digest::new([1; 32]),
            heads: vec![(LaneName::new("r1").unwrap(), 70, Digest::new([2; 32]))],
        }
    }

    fn signer() -> Signer {
        Signer::new(&Secret::new([3; 32]))
    }

    #[test]
    fn any_changed_byte_of_a_copy_is_noticed() {
        let copy = signer().sign(&checkpoint()).to_file_text();
        let trusted = [signer().verifying_key()];
        let holds = |text: &str| {
            SignedCheckpoint::parse_file(text).is_ok_and(|c| c.verify(&trusted).is_ok())
        };
        assert!(holds(&copy));
        for place in 0..copy.len() {
            let mut changed = copy.clone().into_bytes();
            changed[place] ^= 1;
            let changed =
                String::from_utf8(changed).expect("flipping the lowest bit keeps it ASCII");
            assert!(!holds(&changed), "byte {place}");
        }
    }

    #[test]
    fn a_signature_by_another_key_is_named() {
        let other = Signer::new(&Secret::new([4; 32]));
        let signed = other.sign(&checkpoint());
        let refused = signed.verify(&[signer().verifying_key()]).unwrap_err();
        assert_eq!(
            refused,
            CheckpointError::WrongKey {
                signer: other.verifying_key()
            }
        );
    }

    #[test]
    fn the_text_reads_back_as_written_and_in_no_other_spelling() {
        let text = checkpoint().to_text();
        assert_eq!(Checkpoint::parse(&text).unwrap(), checkpoint());
        for wrong in [
            text.replace("number 2", "number 02"),
            text.replace('\n', "\r\n"),
            format!("{text}\n"),
        ] {
            assert!(Checkpoint::parse(&wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn a_copy_is_written_once() {
        let folder = tempfile::tempdir().unwrap();
        let signed = signer().sign(&checkpoint());
        let path = signed.copy_into(folder.path()).unwrap();
        assert_eq!(signed.copy_into(folder.path()).unwrap(), path);
        assert_eq!(SignedCheckpoint::read_file(&path).unwrap(), signed);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
