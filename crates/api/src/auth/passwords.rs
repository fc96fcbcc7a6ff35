//! Passwords: how they are made, and what is kept of them.
//!
//! A password can be guessed, so argon2id is kept of it, which takes memory and time on purpose and therefore runs a bounded
//! number at once. Keys and sessions are 256 random bits and the store's own business.

use argon2::password_hash::{PasswordHasher, PasswordVerifier, phc};
use argon2::{Algorithm, Argon2, Params, Version};
use ombud_store::person::PasswordHash;
use std::sync::Arc;
use tokio::sync::Semaphore;
use zeroize::Zeroizing;

/// Shortest password that is taken.
pub const PASSWORD_LENGTH_MIN: usize = 12;
/// Longest password that is looked at.
pub const PASSWORD_LENGTH_MAX: usize = 256;
/// OWASP's first choice for argon2id: 19 MiB, two passes, one lane.
const MEMORY_KIB: u32 = 19 << 10;
const PASSES: u32 = 2;
const LANES: u32 = 1;
/// Letters and digits that nobody confuses when typing them off a screen.
const ALPHABET: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyz23456789";

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

/// A new password that a person can type: 100 random bits in five groups.
pub fn random_password() -> Result<Zeroizing<String>, getrandom::Error> {
    let mut bytes = Zeroizing::new([0_u8; 20]);
    getrandom::fill(bytes.as_mut_slice())?;
    let mut password = Zeroizing::new(String::with_capacity(24));
    for (place, byte) in bytes.iter().enumerate() {
        if place > 0 && place % 4 == 0 {
            password.push('-');
        }
        password.push(char::from(ALPHABET[usize::from(byte % 32)]));
    }
    Ok(password)
}

impl Passwords {
    /// Checks at most this many at once.
    pub fn new(checks_max: usize) -> Self {
        Passwords {
            places: Arc::new(Semaphore::new(checks_max)),
        }
    }

    /// What is kept of a password.
    pub async fn hash(&self, password: Zeroizing<String>) -> Result<PasswordHash, PasswordError> {
        if !(PASSWORD_LENGTH_MIN..=PASSWORD_LENGTH_MAX).contains(&password.chars().count()) {
            return Err(PasswordError::Length);
        }
        self.work(move || {
            let hashed = hasher().hash_password(password.as_bytes());
            hashed
                .map(|hash| PasswordHash::new(hash.to_string()))
                .map_err(|_| PasswordError::Stored)
        })
        .await
    }

    /// Whether a password is the one that was kept. Without a kept one it takes as long and says no, so that nobody
    /// learns who exists.
    pub async fn check(
        &self,
        password: Zeroizing<String>,
        kept: Option<PasswordHash>,
    ) -> Result<bool, PasswordError> {
        if password.len() > PASSWORD_LENGTH_MAX * 4 {
            return Err(PasswordError::Length);
        }
        self.work(move || {
            let is_known = kept.is_some();
            let kept = kept.as_ref().map_or(NOBODY, PasswordHash::expose);
            let hash = phc::PasswordHash::new(kept).map_err(|_| PasswordError::Stored)?;
            let is_right = hasher().verify_password(password.as_bytes(), &hash).is_ok();
            Ok(is_right && is_known)
        })
        .await
    }

    async fn work<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T, PasswordError> + Send + 'static,
    ) -> Result<T, PasswordError> {
        let place = Arc::clone(&self.places)
            .acquire_owned()
            .await
            .map_err(|_| PasswordError::Busy)?;
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

#[cfg(test)]
mod tests {
    use super::*;

    fn clear(text: &str) -> Zeroizing<String> {
        Zeroizing::new(text.to_owned())
    }

    #[test]
    fn a_random_password_can_be_typed_and_is_new_each_time() {
        let (one, other) = (
            random_password().expect("random"),
            random_password().expect("random"),
        );
        assert_ne!(one, other);
        assert_eq!(one.split('-').count(), 5);
    }

    #[tokio::test]
    async fn a_password_is_checked_and_a_stranger_is_told_no() {
        let passwords = Passwords::new(1);
        let kept = passwords
            .hash(clear("correct horse battery"))
            .await
            .expect("a hash");
        assert!(kept.expose().starts_with("$argon2id$"));
        assert!(
            passwords
                .check(clear("correct horse battery"), Some(kept.clone()))
                .await
                .expect("checked")
        );
        assert!(
            !passwords
                .check(clear("correct horse batterx"), Some(kept))
                .await
                .expect("checked")
        );
        assert!(
            !passwords
                .check(clear("correct horse battery"), None)
                .await
                .expect("checked")
        );
    }

    #[tokio::test]
    async fn a_short_password_is_not_taken() {
        assert!(matches!(
            Passwords::new(1).hash(clear("short")).await,
            Err(PasswordError::Length)
        ));
    }
}
