//! Secrets that we make: the text of an API key, the token of a session.
//!
//! Each is 256 random bits, told once and stored only as SHA-256: nobody guesses 256 bits, so no slow hash is needed, and a
//! stolen database gives none of them away. They do not print.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ombud_core::Digest;
use sha2::{Digest as _, Sha256};
use std::fmt;
use zeroize::Zeroizing;

/// How many random bytes a secret has.
const SECRET_BYTES: usize = 32;
/// Longest text that is hashed to be looked up; ours are far shorter.
pub const SECRET_TEXT_BYTES_MAX: usize = 256;

/// A secret's text, to be shown once.
#[derive(Clone)]
pub struct SecretText(Zeroizing<String>);

impl SecretText {
    /// The text itself.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// What is stored of it.
    pub fn hash(&self) -> Digest {
        hash(&self.0)
    }

    /// A new secret with something readable before it.
    pub(crate) fn generate(before: &str) -> Result<Self, getrandom::Error> {
        let mut random = Zeroizing::new([0; SECRET_BYTES]);
        getrandom::fill(random.as_mut())?;
        let secret = Zeroizing::new(URL_SAFE_NO_PAD.encode(random.as_ref()));
        Ok(SecretText(Zeroizing::new(format!("{before}{}", *secret))))
    }
}

/// What is stored of a secret.
pub fn hash(text: &str) -> Digest {
    Digest::new(Sha256::digest(text.as_bytes()).into())
}

impl fmt::Debug for SecretText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretText(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_new_each_time_and_does_not_print() {
        let (one, two) = (
            SecretText::generate("omb_").unwrap(),
            SecretText::generate("omb_").unwrap(),
        );
        assert_ne!(one.expose(), two.expose());
        assert_eq!(one.expose().len(), 4 + 43);
        assert!(!format!("{one:?}").contains(&one.expose()[4..]));
    }
}
