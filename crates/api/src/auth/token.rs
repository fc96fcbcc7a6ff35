//! A signed token (JWT): whether one of some keys signed it, and what it then claims.
//!
//! Pure: keys, token and time in, claims out; where keys come from is [`super::issuers`]. Only algorithms with a public
//! key are known here, and a key says which one it is for, so that a token cannot talk us into another one ("none", or
//! HMAC with the public key).

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::signature::{self, RsaPublicKeyComponents, UnparsedPublicKey};
use serde::Deserialize;
use serde_json::{Map, Value};

/// Longest token that is looked at.
pub const TOKEN_BYTES_MAX: usize = 16 << 10;
/// How far two clocks may differ.
const LEEWAY_SECONDS: f64 = 60.0;
/// Keys of one issuer.
pub const KEYS_MAX: usize = 64;

/// What a token says, once its signature was found right.
#[derive(Debug, Clone)]
pub struct Claims(Map<String, Value>);

/// An issuer's public keys (a JWK set, RFC 7517).
#[derive(Debug, Default)]
pub struct KeySet {
    keys: Vec<Key>,
}

/// Why a token opens no door.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    #[error("the token cannot be read")]
    Malformed,
    #[error("the token is signed in a way that is not accepted")]
    Algorithm,
    #[error("the token names a key that its issuer does not have")]
    UnknownKey,
    #[error("the keys of the token's issuer cannot be fetched just now")]
    NoKeys,
    #[error("the token's signature is wrong")]
    Signature,
    #[error("the token is expired")]
    Expired,
    #[error("the token is not valid yet")]
    Early,
    #[error("the token is for somebody else")]
    Audience,
    #[error("the token comes from an issuer that is not known here")]
    Issuer,
    #[error("the token names nobody")]
    Subject,
    #[error(
        "the token names no tenant in the claim that should (`tenant_claim`), or none that can be one"
    )]
    Tenant,
}

/// Signatures that can be checked here. Others are refused before anybody is asked for keys.
const ALGORITHMS: [&str; 9] = [
    "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "EdDSA",
];

#[derive(Debug)]
struct Key {
    id: Option<String>,
    algorithm: Option<String>,
    material: Material,
}

#[derive(Debug)]
enum Material {
    Rsa { n: Vec<u8>, e: Vec<u8> },
    P256(Vec<u8>),
    P384(Vec<u8>),
    Ed25519(Vec<u8>),
}

#[derive(Deserialize)]
struct Header {
    alg: String,
    kid: Option<String>,
    crit: Option<Value>,
}

#[derive(Deserialize)]
struct Jwks {
    keys: Vec<Jwk>,
}

#[derive(Deserialize)]
struct Jwk {
    kty: String,
    kid: Option<String>,
    alg: Option<String>,
    #[serde(rename = "use")]
    purpose: Option<String>,
    crv: Option<String>,
    n: Option<String>,
    e: Option<String>,
    x: Option<String>,
    y: Option<String>,
}

/// A token taken apart and not yet believed.
#[derive(Debug)]
pub struct Unverified<'t> {
    signed: &'t str,
    signature: Vec<u8>,
    algorithm: String,
    key_id: Option<String>,
    claims: Claims,
}

impl<'t> Unverified<'t> {
    /// Takes a token apart.
    pub fn read(token: &'t str) -> Result<Self, TokenError> {
        if token.len() > TOKEN_BYTES_MAX {
            return Err(TokenError::Malformed);
        }
        let (signed, signature) = token.rsplit_once('.').ok_or(TokenError::Malformed)?;
        let (header, payload) = signed.split_once('.').ok_or(TokenError::Malformed)?;
        let header: Header = decoded(header)?;
        if header.crit.is_some() || !ALGORITHMS.contains(&header.alg.as_str()) {
            return Err(TokenError::Algorithm);
        }
        Ok(Unverified {
            signed,
            signature: bytes(signature).ok_or(TokenError::Malformed)?,
            algorithm: header.alg,
            key_id: header.kid,
            claims: Claims(decoded(payload)?),
        })
    }

    /// Who it says signed it; to find the keys, and to be believed only afterwards.
    pub fn issuer(&self) -> Option<&str> {
        self.claims.text("iss")
    }

    /// The claims, when one of the keys signed them.
    pub fn verify(self, keys: &KeySet) -> Result<Claims, TokenError> {
        let fits = |key: &&Key| {
            let is_named = self.key_id.is_none() || key.id.is_none() || key.id == self.key_id;
            let is_for_it = key
                .algorithm
                .as_ref()
                .is_none_or(|algorithm| *algorithm == self.algorithm);
            is_named && is_for_it
        };
        let candidates: Vec<&Key> = keys.keys.iter().filter(fits).collect();
        if candidates.is_empty() {
            return Err(TokenError::UnknownKey);
        }
        let mut refused = TokenError::Algorithm;
        for key in candidates {
            match key
                .material
                .check(&self.algorithm, self.signed.as_bytes(), &self.signature)
            {
                Ok(()) => return Ok(self.claims),
                Err(TokenError::Signature) => refused = TokenError::Signature,
                Err(_) => {}
            }
        }
        Err(refused)
    }
}

impl Claims {
    /// Checks for whom and until when it holds; the answer is whom it names.
    pub fn check(
        &self,
        issuer: &str,
        audience: &str,
        now_seconds: f64,
    ) -> Result<&str, TokenError> {
        if self.text("iss") != Some(issuer) {
            return Err(TokenError::Issuer);
        }
        // Cognito's access tokens carry `client_id` where others carry `aud`.
        let is_for_us = match self.0.get("aud") {
            Some(Value::String(one)) => one == audience,
            Some(Value::Array(many)) => many.iter().any(|one| one.as_str() == Some(audience)),
            _ => self.text("client_id") == Some(audience),
        };
        if !is_for_us {
            return Err(TokenError::Audience);
        }
        let expires = self
            .0
            .get("exp")
            .and_then(Value::as_f64)
            .ok_or(TokenError::Expired)?;
        if now_seconds > expires + LEEWAY_SECONDS {
            return Err(TokenError::Expired);
        }
        if self
            .0
            .get("nbf")
            .and_then(Value::as_f64)
            .is_some_and(|from| now_seconds + LEEWAY_SECONDS < from)
        {
            return Err(TokenError::Early);
        }
        self.text("sub")
            .filter(|subject| !subject.is_empty())
            .ok_or(TokenError::Subject)
    }

    /// A claim at a dotted path. A name with dots or colons of its own is found whole first.
    pub fn at(&self, path: &str) -> Option<&Value> {
        if let Some(whole) = self.0.get(path) {
            return Some(whole);
        }
        let mut steps = path.split('.');
        let first = self.0.get(steps.next()?)?;
        steps.try_fold(first, |value, step| value.get(step))
    }

    /// The texts of a claim: one, a list, or several separated by spaces as in `scope`.
    pub fn texts_at(&self, path: &str) -> Vec<&str> {
        match self.at(path) {
            Some(Value::String(text)) => text.split_whitespace().collect(),
            Some(Value::Array(values)) => values.iter().filter_map(Value::as_str).collect(),
            _ => Vec::new(),
        }
    }

    /// A claim that is a text.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.0.get(name).and_then(Value::as_str)
    }
}

impl KeySet {
    /// Reads a JWK set. Keys of a kind that is not known are passed over: issuers publish keys for other uses too.
    pub fn read(json: &[u8]) -> Result<Self, TokenError> {
        let set: Jwks = serde_json::from_slice(json).map_err(|_| TokenError::Malformed)?;
        let keys = set
            .keys
            .into_iter()
            .take(KEYS_MAX)
            .filter_map(Key::of)
            .collect();
        Ok(KeySet { keys })
    }

    /// Whether there is no key.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }
}

impl Key {
    fn of(jwk: Jwk) -> Option<Self> {
        if jwk
            .purpose
            .as_deref()
            .is_some_and(|purpose| purpose != "sig")
        {
            return None;
        }
        let part = |text: &Option<String>| bytes(text.as_deref()?);
        let point = || Some([vec![4], part(&jwk.x)?, part(&jwk.y)?].concat());
        let material = match (jwk.kty.as_str(), jwk.crv.as_deref()) {
            ("RSA", _) => Material::Rsa {
                n: part(&jwk.n)?,
                e: part(&jwk.e)?,
            },
            ("EC", Some("P-256")) => Material::P256(point()?),
            ("EC", Some("P-384")) => Material::P384(point()?),
            ("OKP", Some("Ed25519")) => Material::Ed25519(part(&jwk.x)?),
            _ => return None,
        };
        Some(Key {
            id: jwk.kid,
            algorithm: jwk.alg,
            material,
        })
    }
}

impl Material {
    fn check(&self, algorithm: &str, message: &[u8], given: &[u8]) -> Result<(), TokenError> {
        let wrong = |_| TokenError::Signature;
        let unparsed = |how: &'static dyn signature::VerificationAlgorithm, key: &[u8]| {
            UnparsedPublicKey::new(how, key)
                .verify(message, given)
                .map_err(wrong)
        };
        match (self, algorithm) {
            (Material::Rsa { n, e }, _) => {
                let how = match algorithm {
                    "RS256" => &signature::RSA_PKCS1_2048_8192_SHA256,
                    "RS384" => &signature::RSA_PKCS1_2048_8192_SHA384,
                    "RS512" => &signature::RSA_PKCS1_2048_8192_SHA512,
                    "PS256" => &signature::RSA_PSS_2048_8192_SHA256,
                    "PS384" => &signature::RSA_PSS_2048_8192_SHA384,
                    "PS512" => &signature::RSA_PSS_2048_8192_SHA512,
                    _ => return Err(TokenError::Algorithm),
                };
                RsaPublicKeyComponents { n, e }
                    .verify(how, message, given)
                    .map_err(wrong)
            }
            (Material::P256(key), "ES256") => unparsed(&signature::ECDSA_P256_SHA256_FIXED, key),
            (Material::P384(key), "ES384") => unparsed(&signature::ECDSA_P384_SHA384_FIXED, key),
            (Material::Ed25519(key), "EdDSA") => unparsed(&signature::ED25519, key),
            _ => Err(TokenError::Algorithm),
        }
    }
}

fn decoded<T: for<'de> Deserialize<'de>>(part: &str) -> Result<T, TokenError> {
    let json = bytes(part).ok_or(TokenError::Malformed)?;
    serde_json::from_slice(&json).map_err(|_| TokenError::Malformed)
}

fn bytes(text: &str) -> Option<Vec<u8>> {
    URL_SAFE_NO_PAD.decode(text.trim_end_matches('=')).ok()
}
