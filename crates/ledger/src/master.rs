//! The key above all data keys, and where it comes from.
//!
//! Whoever holds the master key and the database can open what is sealed; whoever holds only the database cannot. It
//! comes from a file only its owner can read, from the environment, or from a command (`aws kms decrypt …`), so that
//! it need not lie on the machine at all. [`MasterKey`] is a trait so that a key which never leaves its hardware can
//! take its place.

use crate::layout::frame;
use crate::record::{hex, unhex};
use crate::seal::{SECRET_BYTES, Secret};
use base64::Engine as _;
use chacha20poly1305::aead::{Aead, Payload};
use chacha20poly1305::{KeyInit, XChaCha20Poly1305, XNonce};
use sha2::{Digest as _, Sha256};
use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;
use zeroize::Zeroizing;

/// Wraps and unwraps secrets of thirty-two bytes.
pub trait MasterKey: Send + Sync + fmt::Debug {
    /// A name that tells this key from others and gives nothing away.
    fn id(&self) -> &str;
    /// Wraps a secret for a purpose.
    fn wrap(&self, secret: &Secret, purpose: &Purpose<'_>) -> Result<Vec<u8>, MasterKeyError>;
    /// Gives back what was wrapped for the same purpose.
    fn unwrap(&self, wrapped: &[u8], purpose: &Purpose<'_>) -> Result<Secret, MasterKeyError>;
}

/// What a wrapped secret is for; it unwraps for nothing else.
#[derive(Debug, Clone, Copy)]
pub struct Purpose<'a> {
    /// `data` or `reference`.
    pub role: &'static str,
    /// Whose it is.
    pub tenant: &'a str,
    /// Which one; a data key's id.
    pub name: &'a [u8],
}

/// A master key in this process's memory.
#[derive(Clone)]
pub struct LocalMasterKey {
    id: String,
    cipher: XChaCha20Poly1305,
}

/// A master key and the one before it: wraps by the new one, unwraps by either, until everything is wrapped anew.
#[derive(Debug, Clone)]
pub struct SucceedingMasterKey {
    pub current: LocalMasterKey,
    pub before: LocalMasterKey,
}

/// Where thirty-two secret bytes come from; each gives them as 64 hexadecimal digits or as base64.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SecretSource {
    /// A file that only its owner can read.
    File(PathBuf),
    /// A variable of the environment.
    Environment(String),
    /// A program and its arguments; what it prints is the secret.
    Command(Vec<String>),
}

/// Why a secret could not be wrapped or unwrapped.
#[derive(Debug, Clone, thiserror::Error)]
pub enum MasterKeyError {
    #[error(
        "a secret was wrapped by another master key than {id}, or its wrapped bytes are damaged"
    )]
    DoesNotUnwrap { id: String },
    #[error("the operating system gave no randomness")]
    Randomness(#[from] getrandom::Error),
    #[error("the key service failed: {message}")]
    Service { message: String },
}

/// Why a secret could not be loaded. No variant holds anything of the secret.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    #[error("the key file {path:?} cannot be read")]
    Read { path: PathBuf, source: io::Error },
    #[error("the key file {path:?} cannot be written")]
    Write { path: PathBuf, source: io::Error },
    #[error(
        "the key file {path:?} can be read by others than its owner (mode {mode:o}); make it 600"
    )]
    Exposed { path: PathBuf, mode: u32 },
    #[error("the environment has no {name}")]
    NoVariable { name: String },
    #[error("no command was named")]
    NoCommand,
    #[error("the command {program:?} could not be run")]
    Run { program: String, source: io::Error },
    #[error("the command {program:?} failed: {status}")]
    Failed { program: String, status: String },
    #[error("the command {program:?} gave no key within {seconds} s")]
    TooSlow { program: String, seconds: u64 },
    #[error("a key is 32 bytes, written as 64 lower-case hexadecimal digits or as base64")]
    Malformed,
    #[error("the operating system gave no randomness")]
    Randomness(#[from] getrandom::Error),
}

/// Far above a key in any spelling.
const SOURCE_BYTES_MAX: u64 = 1 << 10;
/// How long a key command may take; a cold KMS call takes a few seconds.
const COMMAND_SECONDS_MAX: u64 = 30;
const NONCE_BYTES: usize = 24;

impl LocalMasterKey {
    /// The master key made of these secret bytes.
    pub fn new(secret: &Secret) -> Self {
        let mut hasher = Sha256::new();
        hasher.update(b"ombud-master-id-1");
        hasher.update(secret.as_slice());
        LocalMasterKey {
            id: hex(&hasher.finalize()[..8]),
            cipher: XChaCha20Poly1305::new(&(**secret).into()),
        }
    }

    /// Loads the master key.
    pub fn load(source: &SecretSource) -> Result<Self, SecretError> {
        source.load().map(|secret| LocalMasterKey::new(&secret))
    }
}

impl MasterKey for LocalMasterKey {
    fn id(&self) -> &str {
        &self.id
    }

    fn wrap(&self, secret: &Secret, purpose: &Purpose<'_>) -> Result<Vec<u8>, MasterKeyError> {
        // One key wraps millions of secrets: a nonce of 24 bytes may be drawn at random that often.
        let mut nonce = [0; NONCE_BYTES];
        getrandom::fill(&mut nonce)?;
        let payload = Payload {
            msg: secret.as_slice(),
            aad: &purpose.bytes(),
        };
        let wrapped = self.cipher.encrypt(&XNonce::from(nonce), payload);
        let wrapped = wrapped.map_err(|_| MasterKeyError::DoesNotUnwrap {
            id: self.id.clone(),
        })?;
        Ok([nonce.as_slice(), &wrapped].concat())
    }

    fn unwrap(&self, wrapped: &[u8], purpose: &Purpose<'_>) -> Result<Secret, MasterKeyError> {
        let refused = || MasterKeyError::DoesNotUnwrap {
            id: self.id.clone(),
        };
        let (nonce, wrapped) = wrapped
            .split_first_chunk::<NONCE_BYTES>()
            .ok_or_else(refused)?;
        let payload = Payload {
            msg: wrapped,
            aad: &purpose.bytes(),
        };
        let clear = self
            .cipher
            .decrypt(&XNonce::from(*nonce), payload)
            .map_err(|_| refused())?;
        let clear = Zeroizing::new(clear);
        clear
            .as_slice()
            .try_into()
            .map(Secret::new)
            .map_err(|_| refused())
    }
}

impl MasterKey for SucceedingMasterKey {
    fn id(&self) -> &str {
        self.current.id()
    }

    fn wrap(&self, secret: &Secret, purpose: &Purpose<'_>) -> Result<Vec<u8>, MasterKeyError> {
        self.current.wrap(secret, purpose)
    }

    fn unwrap(&self, wrapped: &[u8], purpose: &Purpose<'_>) -> Result<Secret, MasterKeyError> {
        let unwrapped = self.current.unwrap(wrapped, purpose);
        unwrapped.or_else(|refused| self.before.unwrap(wrapped, purpose).map_err(|_| refused))
    }
}

impl fmt::Debug for LocalMasterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LocalMasterKey({})", self.id)
    }
}

impl Purpose<'_> {
    fn bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(96);
        frame(&mut bytes, Some(b"ombud-wrap-1"));
        frame(&mut bytes, Some(self.role.as_bytes()));
        frame(&mut bytes, Some(self.tenant.as_bytes()));
        frame(&mut bytes, Some(self.name));
        bytes
    }
}

impl SecretSource {
    /// Fetches the secret.
    pub fn load(&self) -> Result<Secret, SecretError> {
        let text = match self {
            SecretSource::File(path) => from_file(path)?,
            SecretSource::Environment(name) => std::env::var(name)
                .map(Zeroizing::new)
                .map_err(|_| SecretError::NoVariable { name: name.clone() })?,
            SecretSource::Command(words) => from_command(words)?,
        };
        decoded(text.trim())
    }

    /// Writes a new random secret into a new file that only its owner can read: all of it, or no file.
    pub fn generate_file(path: &Path) -> Result<(), SecretError> {
        let secret = crate::seal::fresh_secret()?;
        let text = Zeroizing::new(format!("{}\n", hex(secret.as_slice())));
        let mut apart = [0; 8];
        getrandom::fill(&mut apart)?;
        let mut beside = path.as_os_str().to_owned();
        beside.push(format!(".{}", hex(&apart)));
        let beside = PathBuf::from(beside);
        let written = write_private(&beside, text.as_bytes())
            .and_then(|()| take_place(&beside, path))
            .and_then(|()| sync_folder_of(path));
        // Gone already when it could not be made.
        let _ = std::fs::remove_file(&beside);
        written.map_err(|source| SecretError::Write {
            path: path.to_owned(),
            source,
        })
    }

    /// The same where several may start at once: the file that came first is everybody's.
    pub fn generate_file_once(path: &Path) -> Result<(), SecretError> {
        match Self::generate_file(path) {
            Err(SecretError::Write { source, .. })
                if source.kind() == io::ErrorKind::AlreadyExists =>
            {
                Ok(())
            }
            other => other,
        }
    }
}

fn decoded(text: &str) -> Result<Secret, SecretError> {
    if let Some(secret) = unhex::<SECRET_BYTES>(text) {
        return Ok(Secret::new(secret));
    }
    let bytes = base64::engine::general_purpose::STANDARD
        .decode(text)
        .map(Zeroizing::new);
    let bytes = bytes.map_err(|_| SecretError::Malformed)?;
    bytes
        .as_slice()
        .try_into()
        .map(Secret::new)
        .map_err(|_| SecretError::Malformed)
}

fn from_file(path: &Path) -> Result<Zeroizing<String>, SecretError> {
    let unreadable = |source| SecretError::Read {
        path: path.to_owned(),
        source,
    };
    let file = File::open(path).map_err(unreadable)?;
    refuse_if_exposed(path, &file)?;
    read_bounded(file).map_err(unreadable)
}

#[cfg(unix)]
fn refuse_if_exposed(path: &Path, file: &File) -> Result<(), SecretError> {
    use std::os::unix::fs::PermissionsExt;
    let metadata = file.metadata();
    let metadata = metadata.map_err(|source| SecretError::Read {
        path: path.to_owned(),
        source,
    })?;
    let mode = metadata.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(SecretError::Exposed {
            path: path.to_owned(),
            mode,
        });
    }
    Ok(())
}

#[cfg(not(unix))]
fn refuse_if_exposed(_: &Path, _: &File) -> Result<(), SecretError> {
    Ok(())
}

fn write_private(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

/// Gives a file its name by a link, which never takes the place of one that somebody else made meanwhile. Where a file system
/// knows no links, a look must do.
fn take_place(beside: &Path, path: &Path) -> io::Result<()> {
    match std::fs::hard_link(beside, path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists && !path.exists() => {
            std::fs::rename(beside, path)
        }
        linked => linked,
    }
}

/// So that the name is still there after a power cut.
#[cfg(unix)]
fn sync_folder_of(path: &Path) -> io::Result<()> {
    let folder = path.parent().filter(|it| !it.as_os_str().is_empty());
    File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
}

#[cfg(not(unix))]
fn sync_folder_of(_: &Path) -> io::Result<()> {
    Ok(())
}

fn from_command(words: &[String]) -> Result<Zeroizing<String>, SecretError> {
    let (program, arguments) = words.split_first().ok_or(SecretError::NoCommand)?;
    let not_run = |source| SecretError::Run {
        program: program.clone(),
        source,
    };
    let mut command = Command::new(program);
    command
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    let mut child = command.spawn().map_err(not_run)?;
    let Some(stdout) = child.stdout.take() else {
        return Err(not_run(io::ErrorKind::BrokenPipe.into()));
    };
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || sender.send(read_bounded(stdout)));
    let Ok(text) = receiver.recv_timeout(Duration::from_secs(COMMAND_SECONDS_MAX)) else {
        child.kill().and_then(|()| child.wait()).map_err(not_run)?;
        return Err(SecretError::TooSlow {
            program: program.clone(),
            seconds: COMMAND_SECONDS_MAX,
        });
    };
    let status = child.wait().map_err(not_run)?;
    if !status.success() {
        return Err(SecretError::Failed {
            program: program.clone(),
            status: status.to_string(),
        });
    }
    text.map_err(not_run)
}

fn read_bounded(reader: impl Read) -> io::Result<Zeroizing<String>> {
    let mut text = Zeroizing::new(String::new());
    reader.take(SOURCE_BYTES_MAX).read_to_string(&mut text)?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PURPOSE: Purpose<'_> = Purpose {
        role: "data",
        tenant: "acme",
        name: b"k",
    };

    #[test]
    fn a_wrapped_secret_unwraps_only_by_its_key_and_for_its_purpose() {
        let master = LocalMasterKey::new(&Secret::new([1; 32]));
        let secret = Secret::new([9; 32]);
        let wrapped = master.wrap(&secret, &PURPOSE).unwrap();
        assert_eq!(*master.unwrap(&wrapped, &PURPOSE).unwrap(), *secret);
        assert!(
            master
                .unwrap(
                    &wrapped,
                    &Purpose {
                        tenant: "other",
                        ..PURPOSE
                    }
                )
                .is_err()
        );
        assert!(
            master
                .unwrap(
                    &wrapped,
                    &Purpose {
                        name: b"l",
                        ..PURPOSE
                    }
                )
                .is_err()
        );
        assert!(
            LocalMasterKey::new(&Secret::new([2; 32]))
                .unwrap(&wrapped, &PURPOSE)
                .is_err()
        );
        assert!(master.unwrap(&wrapped[..20], &PURPOSE).is_err());
    }

    #[test]
    fn a_generated_key_file_loads_and_is_never_overwritten() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("master.key");
        SecretSource::generate_file(&path).unwrap();
        let first = LocalMasterKey::load(&SecretSource::File(path.clone())).unwrap();
        assert!(matches!(
            SecretSource::generate_file(&path),
            Err(SecretError::Write { .. })
        ));
        assert_eq!(
            LocalMasterKey::load(&SecretSource::File(path))
                .unwrap()
                .id(),
            first.id()
        );
    }

    #[cfg(unix)]
    #[test]
    fn a_key_file_that_others_can_read_is_refused() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("master.key");
        SecretSource::generate_file(&path).unwrap();
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o640)).unwrap();
        let refused = SecretSource::File(path).load().unwrap_err();
        assert!(
            matches!(refused, SecretError::Exposed { mode: 0o640, .. }),
            "{refused}"
        );
    }

    #[test]
    fn a_command_gives_a_key_in_either_spelling() {
        let echo = |text: &str| SecretSource::Command(vec!["echo".to_owned(), text.to_owned()]);
        let digits = echo(&"07".repeat(32)).load().unwrap();
        let base64 = echo("BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc=")
            .load()
            .unwrap();
        assert_eq!(*digits, *base64);
        assert!(matches!(echo("short").load(), Err(SecretError::Malformed)));
        let failing = SecretSource::Command(vec!["false".to_owned()]).load();
        assert!(matches!(failing, Err(SecretError::Failed { .. })));
    }
}
