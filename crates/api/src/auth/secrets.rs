//! What callers prove themselves with: API keys, session secrets and passwords; how they are made and what is kept of them.
//!
//! Keys and session secrets are 256 random bits, so a plain SHA-256 is kept: there is nothing to guess. Passwords are
//! guessable and get argon2id, which takes memory and time on purpose and therefore runs a bounded number at once.

use argon2::password_hash::{PasswordHasher, PasswordVerifier, phc::PasswordHash};
use argon2::{Algorithm, Argon2, Params, Version};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest as _, Sha256};
use std::fmt;
use std::sync::Arc;
use tokio::sync::Semaphore;
use zeroize::Zeroizing;

/// What an API key begins with, so that secret scanners know one.
pub const KEY_PREFIX: &str = "omb_";
/// How much of a key is kept in clear, to tell keys apart.
pub const KEY_VISIBLE_LENGTH: usize = KEY_PREFIX.len() + 8;
/// Shortest password that is taken.
pub const PASSWORD_LENGTH_MIN: usize = 12;
/// Longest password that is looked at.
pub const PASSWORD_LENGTH_MAX: usize = 256;
const SECRET_BYTES: usize = 32;
/// OWASP's first choice for argon2id: 19 MiB, two passes, one lane.
const MEMORY_KIB: u32 = 19 << 10;
const PASSES: u32 = 2;
const LANES: u32 = 1;
/// Letters and digits that nobody confuses when typing them off a screen.
const ALPHABET: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyz23456789";

/// A secret that was just made and is shown once.
#[derive(Clone)]
pub struct Fresh(Zeroizing<String>);

/// What is kept of a secret that cannot be guessed.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct SecretHash(pub [u8; 32]);

/// Checks passwords, a few at once.
#[derive(Debug, Clone)]
pub struct Passwords {
    places: Arc<Semaphore>,
}

/// Why a password cannot be hashed or checked.
#[derive(Debug, thiserror::Error)]
pub enum PasswordError {
    #[error("a password has {PASSWORD_LENGTH_MIN} to {PASSWORD_LENGTH_MAX} characters")]
    Length,
    #[error("the stored password cannot be read")]
    Stored,
    #[error("as many passwords as may be are being checked")]
    Busy,
}

impl Fresh {
    /// A new API key.
    pub fn key() -> Result<Self, getrandom::Error> {
        random_text().map(|text| Fresh(Zeroizing::new(format!("{KEY_PREFIX}{}", *text))))
    }

    /// A new session's secret, or a token against requests from other pages.
    pub fn secret() -> Result<Self, getrandom::Error> {
        random_text().map(Fresh)
    }

    /// A new password that a person can type: 100 bits in five groups.
    pub fn password() -> Result<Self, getrandom::Error> {
        let mut bytes = Zeroizing::new([0_u8; 20]);
        getrandom::fill(bytes.as_mut_slice())?;
        let letters: Vec<u8> = bytes.iter().map(|byte| ALPHABET[usize::from(byte % 32)]).collect();
        let groups: Vec<String> = letters.chunks(4).map(|group| String::from_utf8_lossy(group).into_owned()).collect();
        Ok(Fresh(Zeroizing::new(groups.join("-"))))
    }

    /// The secret in clear.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// What is kept of it.
    pub fn hash(&self) -> SecretHash {
        SecretHash::of(&self.0)
    }

    /// The part that tells keys apart and opens nothing.
    pub fn visible(&self) -> &str {
        self.0.get(..KEY_VISIBLE_LENGTH).unwrap_or(&self.0)
    }
}

impl SecretHash {
    /// What is kept of a secret.
    pub fn of(secret: &str) -> Self {
        SecretHash(Sha256::digest(secret.as_bytes()).into())
    }

    /// The hash as hexadecimal digits.
    pub fn to_hex(self) -> String {
        self.0.iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

impl Passwords {
    /// Checks at most this many at once.
    pub fn new(checks_max: usize) -> Self {
        Passwords { places: Arc::new(Semaphore::new(checks_max)) }
    }

    /// What is kept of a password.
    pub async fn hash(&self, password: Zeroizing<String>) -> Result<String, PasswordError> {
        if !(PASSWORD_LENGTH_MIN..=PASSWORD_LENGTH_MAX).contains(&password.chars().count()) {
            return Err(PasswordError::Length);
        }
        self.work(move || {
            let hashed = hasher().hash_password(password.as_bytes());
            hashed.map(|hash| hash.to_string()).map_err(|_| PasswordError::Stored)
        })
        .await
    }

    /// Whether a password is the one that was kept. Without a kept one it takes as long and says no, so that nobody
    /// learns who exists.
    pub async fn check(&self, password: Zeroizing<String>, kept: Option<String>) -> Result<bool, PasswordError> {
        if password.len() > PASSWORD_LENGTH_MAX * 4 {
            return Err(PasswordError::Length);
        }
        self.work(move || {
            let is_known = kept.is_some();
            let kept = kept.unwrap_or_else(|| NOBODY.to_owned());
            let hash = PasswordHash::new(&kept).map_err(|_| PasswordError::Stored)?;
            let is_right = hasher().verify_password(password.as_bytes(), &hash).is_ok();
            Ok(is_right && is_known)
        })
        .await
    }

    async fn work<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T, PasswordError> + Send + 'static,
    ) -> Result<T, PasswordError> {
        let place = Arc::clone(&self.places).acquire_owned().await.map_err(|_| PasswordError::Busy)?;
        tokio::task::spawn_blocking(move || {
            let _place = place;
            work()
        })
        .await
        .map_err(|_| PasswordError::Busy)?
    }
}

/// The hash of a password that nobody has, with the same cost.
const NOBODY: &str = "$argon2id$v=19$m=19456,t=2,p=1$b21idWQtbm9ib2R5LXNhbHQ$3yHWl6vGkwfOUXqfYhqbnCQmT0kOcOYvM1dOYwHmCyI";

fn hasher() -> Argon2<'static> {
    let params = Params::new(MEMORY_KIB, PASSES, LANES, None).unwrap_or(Params::DEFAULT);
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
}

fn random_text() -> Result<Zeroizing<String>, getrandom::Error> {
    let mut bytes = Zeroizing::new([0; SECRET_BYTES]);
    getrandom::fill(bytes.as_mut_slice())?;
    Ok(Zeroizing::new(URL_SAFE_NO_PAD.encode(bytes.as_slice())))
}

impl fmt::Debug for Fresh {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Fresh(…)")
    }
}

impl fmt::Debug for SecretHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretHash(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn clear(text: &str) -> Zeroizing<String> {
        Zeroizing::new(text.to_owned())
    }

    #[test]
    fn a_key_shows_its_prefix_and_never_itself() {
        let (one, other) = (Fresh::key().expect("a key"), Fresh::key().expect("a key"));
        assert_ne!(one.expose(), other.expose());
        assert_eq!(one.expose().len(), KEY_PREFIX.len() + 43);
        assert_eq!(one.visible().len(), KEY_VISIBLE_LENGTH);
        assert!(!format!("{one:?}{:?}", one.hash()).contains(&one.expose()[5..]));
    }

    #[tokio::test]
    async fn a_password_is_checked_and_a_stranger_is_told_no() {
        let passwords = Passwords::new(1);
        let kept = passwords.hash(clear("correct horse battery")).await.expect("a hash");
        assert!(kept.starts_with("$argon2id$"));
        assert!(passwords.check(clear("correct horse battery"), Some(kept.clone())).await.expect("checked"));
        assert!(!passwords.check(clear("correct horse batterx"), Some(kept)).await.expect("checked"));
        assert!(!passwords.check(clear("correct horse battery"), None).await.expect("checked"));
    }

    #[tokio::test]
    async fn a_short_password_is_not_taken() {
        assert!(matches!(Passwords::new(1).hash(clear("short")).await, Err(PasswordError::Length)));
    }
}
