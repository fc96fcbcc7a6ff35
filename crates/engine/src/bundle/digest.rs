//! What a bundle holds, file by file: name, SHA-256 and size, and how they are measured.
//!
//! Content is hashed in the same pass that reads it, so the bytes that were checked are the bytes that are
//! used. Comparing against what was expected is [`crate::bundle::folder`].

use std::io::{self, Read};

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::path_name::PathName;
use ombud_core::Digest;

/// One file of a bundle, as its manifest lists it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileEntry {
    pub path: PathName,
    pub sha256: Digest,
    pub bytes: u64,
}

/// Why a stream was not hashed to its end.
#[derive(Debug, thiserror::Error)]
pub enum MeasureError {
    #[error("more than {bytes_max} bytes")]
    TooLarge { bytes_max: u64 },
    #[error(transparent)]
    Read(#[from] io::Error),
}

/// Small enough to stay in the second cache level between reading and hashing.
const CHUNK_BYTES: usize = 128 * 1024;

impl FileEntry {
    /// Measures content that is in memory.
    pub fn of(path: PathName, content: &[u8]) -> Self {
        Self {
            path,
            sha256: digest_bytes(content),
            bytes: content.len() as u64,
        }
    }
}

/// The SHA-256 of bytes in memory.
pub fn digest_bytes(content: &[u8]) -> Digest {
    Digest::new(Sha256::digest(content).into())
}

/// The SHA-256 and size of a stream that is not kept, refused beyond `bytes_max`.
pub fn digest_stream(reader: impl Read, bytes_max: u64) -> Result<(Digest, u64), MeasureError> {
    measure(reader, bytes_max, |_| ())
}

/// Reads a stream into memory with its SHA-256, refused beyond `bytes_max`.
///
/// `bytes_expected` only sizes the buffer; the memory used never exceeds twice what really came, plus one chunk.
pub fn read_stream(
    reader: impl Read,
    bytes_expected: u64,
    bytes_max: u64,
) -> Result<(Vec<u8>, Digest), MeasureError> {
    let mut content = Vec::with_capacity(capacity_for(bytes_expected.min(bytes_max)));
    let (digest, _) = measure(reader, bytes_max, |chunk| content.extend_from_slice(chunk))?;
    Ok((content, digest))
}

/// A first capacity that a lying size cannot inflate.
pub(super) fn capacity_for(bytes_claimed: u64) -> usize {
    const TRUSTED_BYTES_MAX: u64 = 64 << 20;
    usize::try_from(bytes_claimed.min(TRUSTED_BYTES_MAX)).unwrap_or(CHUNK_BYTES)
}

fn measure(
    mut reader: impl Read,
    bytes_max: u64,
    mut keep: impl FnMut(&[u8]),
) -> Result<(Digest, u64), MeasureError> {
    let mut hasher = Sha256::new();
    let mut chunk = vec![0; CHUNK_BYTES];
    let mut bytes = 0u64;
    loop {
        let filled = match reader.read(&mut chunk) {
            Ok(0) => break,
            Ok(filled) => filled,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error.into()),
        };
        bytes = bytes.saturating_add(filled as u64);
        if bytes > bytes_max {
            return Err(MeasureError::TooLarge { bytes_max });
        }
        hasher.update(&chunk[..filled]);
        keep(&chunk[..filled]);
    }
    Ok((Digest::new(hasher.finalize().into()), bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `printf abc | sha256sum` of coreutils 9.1.
    const ABC: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

    #[test]
    fn a_stream_has_the_digest_that_sha256sum_gives() {
        assert_eq!(digest_bytes(b"abc").to_string(), ABC);
        let (digest, bytes) = digest_stream(&b"abc"[..], 3).expect("within the bound");
        assert_eq!((digest.to_string().as_str(), bytes), (ABC, 3));
    }

    #[test]
    fn many_chunks_hash_as_one() {
        let content: Vec<u8> = (0..3 * CHUNK_BYTES + 7).map(|i| (i % 251) as u8).collect();
        let (read, digest) = read_stream(&content[..], 1, u64::MAX).expect("no bound");
        assert!(read == content);
        assert_eq!(digest, digest_bytes(&content));
    }

    #[test]
    fn an_endless_stream_is_left_at_the_bound() {
        let refused = read_stream(io::repeat(7), u64::MAX, 1_000_000);
        assert!(matches!(
            refused,
            Err(MeasureError::TooLarge {
                bytes_max: 1_000_000
            })
        ));
    }

    #[test]
    fn an_entry_keeps_its_shape_in_json() {
        let entry = FileEntry::of("card.md".parse().expect("safe"), b"abc");
        let json = serde_json::to_string(&entry).expect("an entry is plain");
        assert_eq!(
            json,
            format!(r#"{{"path":"card.md","sha256":"{ABC}","bytes":3}}"#)
        );
        assert_eq!(
            serde_json::from_str::<FileEntry>(&json).expect("our own text"),
            entry
        );
        let escaping = json.replace("card.md", "../card.md");
        assert!(serde_json::from_str::<FileEntry>(&escaping).is_err());
    }
}
