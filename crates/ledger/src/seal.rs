//! Sealing: what a record says about a person is readable only while that person's data key exists.
//!
//! A data key is random and belongs to one person, one model and one calendar month in one lane. The month and the
//! model make retention possible (a model's month is forgotten by destroying its keys), the lane keeps replicas from
//! waiting for each other. The key lies in the database wrapped by the master key ([`crate::master`]); destroying the
//! wrapped bytes makes everything sealed under it noise, also to us, while hashes cover the sealed bytes and so stay
//! right.
//!
//! ChaCha20-Poly1305 with a random nonce of 12 bytes: each record has another key, and this cipher needs no set-up per
//! key. A key seals a person's decisions of one month, so nonces are far from repeating. The associated data names the
//! record, so a sealed input moved to another record does not open.

use crate::layout::frame;
use crate::name::Tenant;
use crate::record::{KeyId, RecordId, SubjectReference};
use chacha20poly1305::aead::{Aead, Payload};
use chacha20poly1305::{ChaCha20Poly1305, KeyInit, Nonce};
use hmac::{Hmac, Mac};
use ombud_core::Digest;
use sha2::Sha256;
use zeroize::Zeroizing;

/// The size of every secret key here.
pub const SECRET_BYTES: usize = 32;
/// The nonce in front of what is sealed.
pub const NONCE_BYTES: usize = 12;
/// The authentication tag behind what is sealed.
pub const TAG_BYTES: usize = 16;

/// Thirty-two secret bytes, wiped from memory when dropped.
pub type Secret = Zeroizing<[u8; SECRET_BYTES]>;

/// Which sealed field of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    Input,
    Explanation,
}

/// What a sealed field belongs to; it opens nowhere else.
#[derive(Debug, Clone, Copy)]
pub struct Identity<'a> {
    pub tenant: &'a Tenant,
    pub record: &'a RecordId,
    pub key: &'a KeyId,
    pub subject: Option<&'a SubjectReference>,
    pub model: Option<&'a str>,
    pub role: Role,
}

/// What a sealed field refused to do: the key or the record is another, or its bytes were changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the sealed bytes do not open")]
pub struct DoesNotOpen;

/// A data key in memory.
#[derive(Clone)]
pub struct DataKey {
    /// Its name.
    pub id: KeyId,
    cipher: ChaCha20Poly1305,
}

/// A tenant's key that turns people's ids into references.
#[derive(Clone)]
pub struct ReferenceKey(Hmac<Sha256>);

impl DataKey {
    /// The key made of these secret bytes.
    pub fn new(id: KeyId, secret: &Secret) -> Self {
        DataKey {
            id,
            cipher: ChaCha20Poly1305::new(&(**secret).into()),
        }
    }

    /// Seals a field: nonce, sealed bytes, tag.
    pub fn seal(&self, clear: &[u8], nonce: [u8; NONCE_BYTES], identity: &Identity<'_>) -> Vec<u8> {
        let payload = Payload {
            msg: clear,
            aad: &identity.bytes(),
        };
        let sealed = self.cipher.encrypt(&Nonce::from(nonce), payload);
        // The cipher refuses only messages of 256 GiB; entries are bounded far below.
        let sealed = sealed.expect("an entry is shorter than the cipher's limit");
        let mut out = Vec::with_capacity(NONCE_BYTES + sealed.len());
        out.extend_from_slice(&nonce);
        out.extend_from_slice(&sealed);
        out
    }

    /// Opens what [`DataKey::seal`] sealed for the same identity.
    pub fn open(&self, sealed: &[u8], identity: &Identity<'_>) -> Result<Vec<u8>, DoesNotOpen> {
        let (nonce, sealed) = sealed
            .split_first_chunk::<NONCE_BYTES>()
            .ok_or(DoesNotOpen)?;
        let payload = Payload {
            msg: sealed,
            aad: &identity.bytes(),
        };
        self.cipher
            .decrypt(&Nonce::from(*nonce), payload)
            .map_err(|_| DoesNotOpen)
    }
}

impl Identity<'_> {
    /// The associated data: frames, as in [`crate::layout`].
    fn bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(192);
        let role = match self.role {
            Role::Input => "input",
            Role::Explanation => "explanation",
        };
        frame(&mut bytes, Some(b"ombud-seal-1"));
        frame(&mut bytes, Some(role.as_bytes()));
        frame(&mut bytes, Some(self.tenant.as_str().as_bytes()));
        frame(&mut bytes, Some(self.record.as_bytes()));
        frame(&mut bytes, Some(&self.key.0));
        frame(
            &mut bytes,
            self.subject.map(|subject| subject.0.as_bytes().as_slice()),
        );
        frame(&mut bytes, self.model.map(str::as_bytes));
        bytes
    }
}

impl ReferenceKey {
    /// The key made of these secret bytes.
    pub fn new(secret: &Secret) -> Self {
        // HMAC takes a key of any length.
        ReferenceKey(Hmac::new_from_slice(secret.as_slice()).expect("any length is a key"))
    }

    /// The reference of a person.
    pub fn of(&self, subject: &str) -> SubjectReference {
        let mut hmac = self.0.clone();
        hmac.update(subject.as_bytes());
        SubjectReference(Digest::new(hmac.finalize().into_bytes().into()))
    }
}

impl std::fmt::Debug for DataKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "DataKey({})", self.id)
    }
}

impl std::fmt::Debug for ReferenceKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ReferenceKey(…)")
    }
}

/// The calendar month (UTC) that a time falls into, counted from January 1970.
pub fn month(time_us: i64) -> i64 {
    const DAY_US: i64 = 86_400_000_000;
    // Days to civil date after Howard Hinnant's `civil_from_days`: years begin in March, so that leap days come last.
    let days = time_us.div_euclid(DAY_US) + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let months_since_march_of_year_zero = (era * 400 + year_of_era) * 12 + month_from_march;
    months_since_march_of_year_zero + 2 - 1_970 * 12
}

/// Fresh secret bytes.
pub(crate) fn fresh_secret() -> Result<Secret, getrandom::Error> {
    let mut secret = Secret::default();
    getrandom::fill(secret.as_mut_slice())?;
    Ok(secret)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn key(byte: u8) -> DataKey {
        DataKey::new(KeyId([byte; 16]), &Secret::new([byte; 32]))
    }

    #[test]
    fn a_sealed_field_opens_only_where_it_belongs() {
        let (one, other) = (Tenant::new("one").unwrap(), Tenant::new("other").unwrap());
        let (id, other_id) = (
            RecordId::from_parts(1, [1; 10]),
            RecordId::from_parts(1, [2; 10]),
        );
        let subject = SubjectReference(Digest::new([3; 32]));
        let key_id = KeyId([7; 16]);
        let right = Identity {
            tenant: &one,
            record: &id,
            key: &key_id,
            subject: Some(&subject),
            model: Some("m"),
            role: Role::Input,
        };
        let sealed = key(7).seal(b"slept badly", [9; 12], &right);
        assert_eq!(key(7).open(&sealed, &right).unwrap(), b"slept badly");
        let elsewhere = [
            Identity {
                tenant: &other,
                ..right
            },
            Identity {
                record: &other_id,
                ..right
            },
            Identity {
                subject: None,
                ..right
            },
            Identity {
                model: None,
                ..right
            },
            Identity {
                role: Role::Explanation,
                ..right
            },
        ];
        for wrong in elsewhere {
            assert_eq!(key(7).open(&sealed, &wrong), Err(DoesNotOpen), "{wrong:?}");
        }
        assert_eq!(key(8).open(&sealed, &right), Err(DoesNotOpen));
        for place in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[place] ^= 1;
            assert_eq!(
                key(7).open(&changed, &right),
                Err(DoesNotOpen),
                "byte {place}"
            );
        }
    }

    #[test]
    fn a_reference_is_hmac_sha_256() {
        // Python 3.11: hmac.new(bytes([5])*32, b"member-4711", "sha256").hexdigest()
        let reference = ReferenceKey::new(&Secret::new([5; 32])).of("member-4711");
        assert_eq!(
            reference.to_string(),
            "8e26ef93989b87b91adedbfbee50718ab62253ac97ddb33384f1819447d2151e"
        );
    }

    #[test]
    fn months_begin_on_the_first_at_midnight() {
        // GNU date 9.1: date -u -d 2026-11-01 +%s
        let november_2026_us = 1_793_491_200_000_000;
        assert_eq!(month(november_2026_us), (2026 - 1970) * 12 + 10);
        assert_eq!(month(november_2026_us - 1), (2026 - 1970) * 12 + 9);
        assert_eq!(month(0), 0);
        assert_eq!(month(-1), -1);
        // 29 February 2028 and the day after.
        assert_eq!(month(1_835_395_200_000_000), (2028 - 1970) * 12 + 1);
        assert_eq!(month(1_835_481_600_000_000), (2028 - 1970) * 12 + 2);
    }

    proptest! {
        #[test]
        fn months_never_run_backwards(seconds in any::<i32>(), days in 0i64..29) {
            let time_us = i64::from(seconds) * 1_000_000;
            let step = month(time_us + days * 86_400_000_000) - month(time_us);
            prop_assert!((0..=1).contains(&step));
        }
    }
}
