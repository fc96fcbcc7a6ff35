//! The keys that sign bundles and the keys that are trusted, in the PEM files that other tools read too.
//!
//! ECDSA on P-256 with SHA-256: the tool `model_signing` takes elliptic-curve keys only, and P-256 is the
//! one of its three curves that every library has. Signatures are deterministic (RFC 6979), so a signing
//! machine without good randomness cannot give the key away. What is signed is [`crate::bundle::signature`].

use std::fmt;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use p256::ecdsa::signature::{Signer, Verifier};
use p256::ecdsa::{self, DerSignature};
use p256::elliptic_curve::Generate;
use p256::pkcs8::{
    DecodePrivateKey, DecodePublicKey, EncodePrivateKey, EncodePublicKey, LineEnding,
};

use super::digest::{MeasureError, digest_bytes, read_stream};
use super::staging::{PLAIN_MODE, WriteError, write_file_once};
use ombud_core::Digest;

/// Signs bundles. It cannot be printed and is wiped from memory when dropped.
pub struct SigningKey(ecdsa::SigningKey);

/// Tells whether the owner of the matching [`SigningKey`] signed something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifyingKey {
    key: ecdsa::VerifyingKey,
    id: KeyId,
}

/// A key's fingerprint: the SHA-256 of its public PEM text, as `model_signing` writes it into a signature.
///
/// `sha256sum` of the public key's file gives the same digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyId(pub Digest);

/// Why there is no key.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    #[error("the key file {path:?} cannot be read")]
    Read { path: PathBuf, source: io::Error },
    #[error("the key file {path:?} has more than {bytes_max} bytes; a key has about 240")]
    TooLarge { path: PathBuf, bytes_max: u64 },
    #[error("this is a private key where the public one belongs")]
    PrivateInsteadOfPublic,
    #[error("this is a public key where the private one belongs")]
    PublicInsteadOfPrivate,
    #[error("the private key is encrypted; give it decrypted, in a file only its owner can read")]
    Encrypted,
    #[error("not a {wanted} in PEM form for the curve P-256")]
    Malformed { wanted: &'static str },
    #[error("the operating system gave no randomness")]
    Randomness(#[source] getrandom::Error),
    #[error("the key cannot be encoded")]
    Encode,
    #[error(transparent)]
    Write(#[from] WriteError),
}

/// Readable by its owner only.
const PRIVATE_MODE: u32 = 0o600;

/// Far above any PEM key, far below what would hurt.
const KEY_FILE_BYTES_MAX: u64 = 16 * 1024;

impl SigningKey {
    /// Makes a new key from the operating system's randomness.
    pub fn generate() -> Result<Self, KeyError> {
        ecdsa::SigningKey::try_generate()
            .map(Self)
            .map_err(KeyError::Randomness)
    }

    /// Reads a private key (PKCS#8 PEM) from a file.
    pub fn load(path: &Path) -> Result<Self, KeyError> {
        Self::from_pem(&read_pem(path, "private key")?)
    }

    /// Reads a private key (PKCS#8 PEM) from text.
    pub fn from_pem(pem: &str) -> Result<Self, KeyError> {
        if pem.contains("-----BEGIN ENCRYPTED PRIVATE KEY-----") {
            return Err(KeyError::Encrypted);
        }
        if pem.contains("-----BEGIN PUBLIC KEY-----") {
            return Err(KeyError::PublicInsteadOfPrivate);
        }
        let wanted = "PKCS#8 private key";
        let key = ecdsa::SigningKey::from_pkcs8_pem(pem);
        key.map(Self).map_err(|_| KeyError::Malformed { wanted })
    }

    /// Writes the private key to a new file that only its owner can read. An existing file stays as it is.
    pub fn save(&self, path: &Path) -> Result<(), KeyError> {
        let pem = self
            .0
            .to_pkcs8_pem(LineEnding::LF)
            .map_err(|_| KeyError::Encode)?;
        Ok(write_file_once(path, pem.as_bytes(), PRIVATE_MODE)?)
    }

    /// The key that others need to check what this one signs.
    pub fn public(&self) -> Result<VerifyingKey, KeyError> {
        VerifyingKey::new(*self.0.verifying_key())
    }

    /// Signs bytes; the answer is the ASN.1 DER form.
    pub(super) fn sign(&self, message: &[u8]) -> DerSignature {
        self.0.sign(message)
    }

    /// A key that every test run shares, so that signatures can be compared with stored ones.
    #[cfg(test)]
    pub(super) fn for_tests(seed: u8) -> Self {
        Self(ecdsa::SigningKey::from_slice(&[seed; 32]).expect("a scalar below the order"))
    }
}

impl VerifyingKey {
    /// Reads a public key (SPKI PEM) from a file.
    pub fn load(path: &Path) -> Result<Self, KeyError> {
        Self::from_pem(&read_pem(path, "public key")?)
    }

    /// Reads a public key (SPKI PEM) from text.
    pub fn from_pem(pem: &str) -> Result<Self, KeyError> {
        if pem.contains("PRIVATE KEY-----") {
            return Err(KeyError::PrivateInsteadOfPublic);
        }
        let wanted = "public key";
        let key = ecdsa::VerifyingKey::from_public_key_pem(pem);
        Self::new(key.map_err(|_| KeyError::Malformed { wanted })?)
    }

    /// Writes the public key to a new file. An existing file stays as it is.
    pub fn save(&self, path: &Path) -> Result<(), KeyError> {
        Ok(write_file_once(
            path,
            self.to_pem()?.as_bytes(),
            PLAIN_MODE,
        )?)
    }

    /// The key as SPKI PEM, in the one form that fingerprints are made of.
    pub fn to_pem(&self) -> Result<String, KeyError> {
        pem_of(&self.key)
    }

    /// The fingerprint under which signatures name this key.
    pub fn id(&self) -> KeyId {
        self.id
    }

    /// Whether the signature (ASN.1 DER) over the message is this key's.
    pub(super) fn accepts(&self, message: &[u8], signature: &[u8]) -> bool {
        DerSignature::from_bytes(signature)
            .is_ok_and(|signature| self.key.verify(message, &signature).is_ok())
    }

    fn new(key: ecdsa::VerifyingKey) -> Result<Self, KeyError> {
        let id = KeyId(digest_bytes(pem_of(&key)?.as_bytes()));
        Ok(Self { key, id })
    }
}

fn pem_of(key: &ecdsa::VerifyingKey) -> Result<String, KeyError> {
    key.to_public_key_pem(LineEnding::LF)
        .map_err(|_| KeyError::Encode)
}

fn read_pem(path: &Path, wanted: &'static str) -> Result<String, KeyError> {
    let unreadable = |source| KeyError::Read {
        path: path.to_owned(),
        source,
    };
    let file = File::open(path).map_err(unreadable)?;
    let read = read_stream(file, 0, KEY_FILE_BYTES_MAX);
    let (content, _) = read.map_err(|error| match error {
        MeasureError::TooLarge { bytes_max } => KeyError::TooLarge {
            path: path.to_owned(),
            bytes_max,
        },
        MeasureError::Read(source) => unreadable(source),
    })?;
    String::from_utf8(content).map_err(|_| KeyError::Malformed { wanted })
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("SigningKey(..)")
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::fs;
    use std::os::unix::fs::PermissionsExt;
    use std::sync::LazyLock;

    #[test]
    fn a_key_pair_survives_its_files() {
        let place = tempfile::tempdir().expect("a temporary folder");
        let (private, public) = (place.path().join("a.key"), place.path().join("a.pub"));
        let key = SigningKey::generate().expect("randomness");
        key.save(&private).expect("written");
        key.public()
            .expect("encodes")
            .save(&public)
            .expect("written");
        let loaded = SigningKey::load(&private).expect("our own file");
        let trusted = VerifyingKey::load(&public).expect("our own file");
        assert_eq!(loaded.public().expect("encodes"), trusted);
        assert!(trusted.accepts(b"message", key.sign(b"message").as_bytes()));
        assert!(!trusted.accepts(b"massage", key.sign(b"message").as_bytes()));
        assert_eq!(
            trusted.id().0,
            digest_bytes(&fs::read(&public).expect("there"))
        );
    }

    #[test]
    fn a_private_key_is_readable_by_its_owner_only() {
        let place = tempfile::tempdir().expect("a temporary folder");
        let path = place.path().join("a.key");
        SigningKey::for_tests(7).save(&path).expect("written");
        let mode = fs::metadata(&path).expect("there").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn a_key_file_is_never_overwritten() {
        let place = tempfile::tempdir().expect("a temporary folder");
        let path = place.path().join("a.key");
        fs::write(&path, "precious").expect("written");
        let refused = SigningKey::for_tests(7).save(&path);
        assert!(matches!(
            refused,
            Err(KeyError::Write(WriteError::Exists { .. }))
        ));
        assert_eq!(fs::read_to_string(&path).expect("kept"), "precious");
    }

    #[test]
    fn two_new_keys_differ() {
        let id = || {
            SigningKey::generate()
                .expect("randomness")
                .public()
                .expect("encodes")
                .id()
        };
        assert_ne!(id(), id());
    }

    #[test]
    fn a_key_in_the_wrong_place_is_named() {
        let place = tempfile::tempdir().expect("a temporary folder");
        let path = place.path().join("a.key");
        let key = SigningKey::for_tests(7);
        key.save(&path).expect("written");
        let private = fs::read_to_string(&path).expect("there");
        let public = key.public().expect("encodes").to_pem().expect("encodes");
        let encrypted = private.replace("PRIVATE", "ENCRYPTED PRIVATE");
        assert!(matches!(
            VerifyingKey::from_pem(&private),
            Err(KeyError::PrivateInsteadOfPublic)
        ));
        assert!(matches!(
            SigningKey::from_pem(&public),
            Err(KeyError::PublicInsteadOfPrivate)
        ));
        assert!(matches!(
            SigningKey::from_pem(&encrypted),
            Err(KeyError::Encrypted)
        ));
        fs::write(&path, vec![b'-'; 20_000]).expect("written");
        assert!(matches!(
            SigningKey::load(&path),
            Err(KeyError::TooLarge { .. })
        ));
        let absent = VerifyingKey::load(&place.path().join("absent"));
        assert!(matches!(absent, Err(KeyError::Read { .. })));
    }

    /// `openssl ecparam -name secp384r1 -genkey -noout | openssl ec -pubout`, OpenSSL 3.0.
    const P384: &str = "\
-----BEGIN PUBLIC KEY-----\n\
MHYwEAYHKoZIzj0CAQYFK4EEACIDYgAEDjtpSiAk6Uu3qyJs917BQEzvIg8yUfTJ\n\
prrQ3okdadsqYIZMV4/rEvE46Zl3leFzcM6lp68KICkndI4Qa6gY9vI9zPS7avsJ\n\
hML7k4N0EjObcs8/AhpYUQfwuKLhsCW8\n\
-----END PUBLIC KEY-----\n\
";

    #[test]
    fn a_key_on_another_curve_is_refused() {
        assert!(matches!(
            VerifyingKey::from_pem(P384),
            Err(KeyError::Malformed { .. })
        ));
    }

    #[test]
    fn a_private_key_does_not_print() {
        assert_eq!(format!("{:?}", SigningKey::for_tests(7)), "SigningKey(..)");
    }

    static PUBLIC: LazyLock<VerifyingKey> =
        LazyLock::new(|| SigningKey::for_tests(7).public().expect("encodes"));

    proptest! {
        #[test]
        fn any_text_is_refused_without_panic(text in "(-----BEGIN (PUBLIC|PRIVATE) KEY-----\n)?[A-Za-z0-9+/=\n-]{0,200}") {
            prop_assert!(SigningKey::from_pem(&text).is_err());
            prop_assert!(VerifyingKey::from_pem(&text).is_err());
        }

        #[test]
        fn any_signature_bytes_are_refused_without_panic(bytes: Vec<u8>) {
            prop_assert!(!PUBLIC.accepts(b"message", &bytes));
        }
    }
}
