//! Seals responses under a key of their campaign.
//!
//! The key is wrapped by the house's master key and stands beside the campaign. Each response has a nonce of its own and is
//! bound to its tenant, campaign and id, so that rows cannot be exchanged. Whoever removes the wrapped key has erased the
//! whole campaign.

use chacha20poly1305::aead::{Aead, Payload};
use chacha20poly1305::{KeyInit, XChaCha20Poly1305, XNonce};
use ombud_ledger::master::{MasterKey, Purpose};
use ombud_ledger::{RecordId, Tenant};
use std::fmt;
use zeroize::Zeroizing;

const NONCE_BYTES: usize = 24;
const ROLE: &str = "hseg-responses";

/// A campaign's key, in memory.
pub struct Safe {
    cipher: XChaCha20Poly1305,
    bound: Vec<u8>,
}

/// Sealed bytes of another campaign or response, or damaged ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("what is kept of this campaign cannot be opened")]
pub struct DoesNotOpen;

/// A new key for a campaign, wrapped.
pub fn fresh(
    master: &dyn MasterKey,
    tenant: &Tenant,
    campaign: RecordId,
) -> Result<Vec<u8>, ombud_ledger::Error> {
    let mut secret = Zeroizing::new([0; 32]);
    getrandom::fill(secret.as_mut())?;
    Ok(master.wrap(&secret, &purpose(tenant, &campaign))?)
}

impl Safe {
    /// Unwraps a campaign's key.
    pub fn open(
        master: &dyn MasterKey,
        tenant: &Tenant,
        campaign: RecordId,
        wrapped: &[u8],
    ) -> Result<Safe, ombud_ledger::Error> {
        let secret = master.unwrap(wrapped, &purpose(tenant, &campaign))?;
        let bound = [tenant.as_str().as_bytes(), campaign.as_bytes()].concat();
        Ok(Safe {
            cipher: XChaCha20Poly1305::new(&(*secret).into()),
            bound,
        })
    }

    /// Seals a response.
    pub fn seal(&self, id: RecordId, clear: &[u8]) -> Result<Vec<u8>, getrandom::Error> {
        let mut nonce = [0; NONCE_BYTES];
        getrandom::fill(&mut nonce)?;
        let aad = self.about(id);
        let payload = Payload {
            msg: clear,
            aad: &aad,
        };
        // Only a message of hundreds of gigabytes is refused.
        let sealed = self.cipher.encrypt(&XNonce::from(nonce), payload);
        Ok([nonce.as_slice(), &sealed.unwrap_or_default()].concat())
    }

    /// Opens what was sealed for the same response.
    pub fn unseal(&self, id: RecordId, sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, DoesNotOpen> {
        let (nonce, sealed) = sealed
            .split_first_chunk::<NONCE_BYTES>()
            .ok_or(DoesNotOpen)?;
        let aad = self.about(id);
        let payload = Payload {
            msg: sealed,
            aad: &aad,
        };
        let clear = self.cipher.decrypt(&XNonce::from(*nonce), payload);
        clear.map(Zeroizing::new).map_err(|_| DoesNotOpen)
    }

    fn about(&self, id: RecordId) -> Vec<u8> {
        [self.bound.as_slice(), id.as_bytes()].concat()
    }
}

fn purpose<'a>(tenant: &'a Tenant, campaign: &'a RecordId) -> Purpose<'a> {
    Purpose {
        role: ROLE,
        tenant: tenant.as_str(),
        name: campaign.as_bytes(),
    }
}

impl fmt::Debug for Safe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Safe(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ombud_ledger::LocalMasterKey;

    #[test]
    fn a_response_opens_only_in_its_own_place() {
        let master = LocalMasterKey::new(&Zeroizing::new([7; 32]));
        let tenant = Tenant::new("main").unwrap();
        let id = |byte| RecordId::from_bytes([byte; 16]);
        let wrapped = fresh(&master, &tenant, id(1)).unwrap();
        let safe = Safe::open(&master, &tenant, id(1), &wrapped).unwrap();
        let sealed = safe.seal(id(2), b"q1").unwrap();
        assert_eq!(safe.unseal(id(2), &sealed).unwrap().as_slice(), b"q1");
        assert_eq!(safe.unseal(id(3), &sealed), Err(DoesNotOpen));
        assert!(
            Safe::open(&master, &tenant, id(9), &wrapped).is_err(),
            "another campaign's key"
        );
    }
}
