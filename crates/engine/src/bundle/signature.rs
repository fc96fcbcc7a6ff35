//! Signs a bundle's list of files, and checks such a signature, in the OpenSSF Model Signing format.
//!
//! The format is what `model_signing sign key` (1.1) writes and `model_signing verify key` takes: a Sigstore
//! bundle around a DSSE envelope around an in-toto statement that names each file with its SHA-256. This
//! module never opens a file: that the listed digests are those of the bytes is [`crate::bundle::folder`],
//! where trust comes from is [`crate::bundle::keys`]. Stricter than the tool in one thing: every file must
//! be covered, whatever the signature itself asks to ignore.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use sha2::{Digest as _, Sha256};

use super::SIGNATURE_FILE;
use super::digest::FileEntry;
use super::keys::{KeyError, KeyId, SigningKey, VerifyingKey};
use super::path_name::PathName;
use ombud_core::Digest;

/// Why a signature does not vouch for a bundle.
#[derive(Debug, thiserror::Error)]
pub enum SignatureError {
    #[error("the signature has {bytes} bytes, allowed are {bytes_max}")]
    TooLarge { bytes: usize, bytes_max: usize },
    #[error("the signature is malformed: {part}")]
    Malformed {
        part: &'static str,
        #[source]
        source: Option<serde_json::Error>,
    },
    #[error("the signature's {part} is {found:?}; supported is {supported:?}")]
    Unsupported {
        part: &'static str,
        found: String,
        supported: &'static str,
    },
    #[error("signed with the key {key}, which is not trusted here")]
    UnknownKey { key: KeyId },
    #[error("the signature does not belong to its content: it was forged or altered (key {key})")]
    Forged { key: KeyId },
    #[error("{path:?} was changed after signing: its SHA-256 is {found}, signed is {signed}")]
    FileChanged {
        path: String,
        signed: Digest,
        found: Digest,
    },
    #[error("{path:?} is not covered by the signature")]
    FileNotCovered { path: String },
    #[error("{path:?} is signed but missing")]
    FileMissing { path: String },
}

/// Room for several thousand files; a bundle has at most a few hundred.
pub const SIGNATURE_BYTES_MAX: usize = 1 << 20;

const BUNDLE_TYPE: &str = "application/vnd.dev.sigstore.bundle.v0.3+json";
const PAYLOAD_TYPE: &str = "application/vnd.in-toto+json";
const STATEMENT_TYPE: &str = "https://in-toto.io/Statement/v1";
const PREDICATE_TYPE: &str = "https://model_signing/signature/v1.0";
const METHOD: &str = "files";
const HASH_TYPE: &str = "sha256";
/// What the tool leaves out by itself, and the signature, which cannot cover itself.
const IGNORED: [&str; 5] = [
    ".git",
    ".gitattributes",
    ".github",
    ".gitignore",
    SIGNATURE_FILE,
];

/// Signs the files of a bundle; the answer is the content of `model.sig`.
///
/// `name` is for people only (the tool takes the folder's name) and is not checked by anybody. The same files,
/// name and key always give the same bytes.
pub fn sign_folder(name: &str, files: &[FileEntry], key: &SigningKey) -> Result<Vec<u8>, KeyError> {
    let statement = Statement::about(name, files);
    let payload = serde_json::to_vec_pretty(&statement).map_err(|_| KeyError::Encode)?;
    let signature = key.sign(&pre_authentication(&payload));
    let bundle = Bundle {
        media_type: BUNDLE_TYPE.into(),
        verification_material: Material {
            public_key: PublicKeyHint {
                hint: key.public()?.id().to_string(),
            },
            transparency_log_entries: [],
        },
        dsse_envelope: Envelope {
            payload: BASE64.encode(&payload),
            payload_type: PAYLOAD_TYPE.into(),
            signatures: vec![EnvelopeSignature {
                sig: BASE64.encode(signature.as_bytes()),
                keyid: String::new(),
            }],
        },
    };
    serde_json::to_vec(&bundle).map_err(|_| KeyError::Encode)
}

/// Checks that a trusted key signed exactly these files, and says which.
///
/// Nothing of the statement is parsed before the signature over it holds.
pub fn verify(
    signature: &[u8],
    files: &[FileEntry],
    trusted: &[VerifyingKey],
) -> Result<KeyId, SignatureError> {
    let bundle = read_bundle(signature)?;
    let (key, payload) = open_envelope(&bundle, trusted)?;
    let statement: Statement = parse(&payload, "the payload is not a Model Signing statement")?;
    compare(&statement.covered()?, files)?;
    Ok(key)
}

/// Checks that a signature speaks of exactly these files, without asking who made it.
///
/// For places where no key is trusted: it finds damage and carelessness, never forgery.
pub fn check_agreement(signature: &[u8], files: &[FileEntry]) -> Result<(), SignatureError> {
    let bundle = read_bundle(signature)?;
    let payload = decode(&bundle.dsse_envelope.payload, "the payload is not Base64")?;
    let statement: Statement = parse(&payload, "the payload is not a Model Signing statement")?;
    compare(&statement.covered()?, files)
}

/// The envelope, of a kind that is known here.
fn read_bundle(signature: &[u8]) -> Result<Bundle, SignatureError> {
    if signature.len() > SIGNATURE_BYTES_MAX {
        return Err(SignatureError::TooLarge {
            bytes: signature.len(),
            bytes_max: SIGNATURE_BYTES_MAX,
        });
    }
    let bundle: Bundle = parse(signature, "not a Sigstore bundle with a public-key hint")?;
    supported("media type", &bundle.media_type, BUNDLE_TYPE)?;
    supported(
        "payload type",
        &bundle.dsse_envelope.payload_type,
        PAYLOAD_TYPE,
    )?;
    Ok(bundle)
}

/// The payload, once its signature holds for the trusted key that the bundle names.
fn open_envelope(
    bundle: &Bundle,
    trusted: &[VerifyingKey],
) -> Result<(KeyId, Vec<u8>), SignatureError> {
    let envelope = &bundle.dsse_envelope;
    let hint = bundle.verification_material.public_key.hint.parse();
    let id = KeyId(hint.map_err(|_| malformed("the public-key hint is not a SHA-256"))?);
    let [signature] = &envelope.signatures[..] else {
        return Err(malformed("there must be exactly one signature"));
    };
    let signature = decode(&signature.sig, "the signature is not Base64")?;
    let payload = decode(&envelope.payload, "the payload is not Base64")?;
    let Some(key) = trusted.iter().find(|key| key.id() == id) else {
        return Err(SignatureError::UnknownKey { key: id });
    };
    if !key.accepts(&pre_authentication(&payload), &signature) {
        return Err(SignatureError::Forged { key: id });
    }
    Ok((id, payload))
}

/// What DSSE signs instead of the bare payload, so that a payload cannot be taken for another type.
fn pre_authentication(payload: &[u8]) -> Vec<u8> {
    let (type_bytes, payload_bytes) = (PAYLOAD_TYPE.len(), payload.len());
    let mut message = format!("DSSEv1 {type_bytes} {PAYLOAD_TYPE} {payload_bytes} ").into_bytes();
    message.extend_from_slice(payload);
    message
}

fn compare(
    covered: &BTreeMap<PathName, Digest>,
    files: &[FileEntry],
) -> Result<(), SignatureError> {
    let found: BTreeMap<_, _> = files.iter().map(|file| (&file.path, file.sha256)).collect();
    for (&name, &found) in &found {
        let path = name.to_string();
        match covered.get(name) {
            None => return Err(SignatureError::FileNotCovered { path }),
            Some(&signed) if signed != found => {
                return Err(SignatureError::FileChanged {
                    path,
                    signed,
                    found,
                });
            }
            Some(_) => {}
        }
    }
    match covered.keys().find(|path| !found.contains_key(path)) {
        None => Ok(()),
        Some(path) => Err(SignatureError::FileMissing {
            path: path.to_string(),
        }),
    }
}

fn supported(
    part: &'static str,
    found: &str,
    supported: &'static str,
) -> Result<(), SignatureError> {
    const SHOWN_CHARS_MAX: usize = 80;
    if found == supported {
        return Ok(());
    }
    Err(SignatureError::Unsupported {
        part,
        found: found.chars().take(SHOWN_CHARS_MAX).collect(),
        supported,
    })
}

fn parse<T: DeserializeOwned>(json: &[u8], part: &'static str) -> Result<T, SignatureError> {
    serde_json::from_slice(json).map_err(|source| SignatureError::Malformed {
        part,
        source: Some(source),
    })
}

fn decode(text: &str, part: &'static str) -> Result<Vec<u8>, SignatureError> {
    BASE64.decode(text).map_err(|_| malformed(part))
}

fn malformed(part: &'static str) -> SignatureError {
    SignatureError::Malformed { part, source: None }
}

// The stored shapes, in the order in which the tool writes their fields. Fields that only other kinds of
// signature have (certificates, time stamps) are skipped on reading, as the specification asks.

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Bundle {
    media_type: String,
    verification_material: Material,
    dsse_envelope: Envelope,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Material {
    public_key: PublicKeyHint,
    /// Written empty, because the tool demands the field; a local key has no transparency log.
    #[serde(rename = "tlogEntries", skip_deserializing)]
    transparency_log_entries: [(); 0],
}

#[derive(Serialize, Deserialize)]
struct PublicKeyHint {
    hint: String,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Envelope {
    payload: String,
    payload_type: String,
    signatures: Vec<EnvelopeSignature>,
}

#[derive(Serialize, Deserialize)]
struct EnvelopeSignature {
    sig: String,
    #[serde(default)]
    keyid: String,
}

#[derive(Serialize, Deserialize)]
struct Statement {
    #[serde(rename = "_type")]
    kind: String,
    subject: Vec<Subject>,
    #[serde(rename = "predicateType")]
    predicate_type: String,
    predicate: Predicate,
}

#[derive(Serialize, Deserialize)]
struct Subject {
    name: String,
    digest: RootDigest,
}

#[derive(Serialize, Deserialize)]
struct RootDigest {
    sha256: Digest,
}

#[derive(Serialize, Deserialize)]
struct Predicate {
    serialization: Serialization,
    resources: Vec<Resource>,
}

#[derive(Serialize, Deserialize)]
struct Serialization {
    method: String,
    hash_type: String,
    allow_symlinks: bool,
    /// For the tool. We ignore nothing but the signature.
    #[serde(skip_deserializing)]
    ignore_paths: Vec<String>,
}

#[derive(Serialize, Deserialize)]
struct Resource {
    name: String,
    algorithm: String,
    digest: Digest,
}

impl Statement {
    fn about(name: &str, files: &[FileEntry]) -> Self {
        let files: BTreeMap<_, _> = files.iter().map(|file| (&file.path, file.sha256)).collect();
        let resource = |(path, &digest): (&&PathName, &Digest)| Resource {
            name: path.to_string(),
            algorithm: HASH_TYPE.into(),
            digest,
        };
        let resources: Vec<_> = files.iter().map(resource).collect();
        Self {
            kind: STATEMENT_TYPE.into(),
            subject: vec![Subject {
                name: name.into(),
                digest: root_digest(&resources),
            }],
            predicate_type: PREDICATE_TYPE.into(),
            predicate: Predicate {
                serialization: Serialization {
                    method: METHOD.into(),
                    hash_type: HASH_TYPE.into(),
                    allow_symlinks: false,
                    ignore_paths: IGNORED.map(String::from).into(),
                },
                resources,
            },
        }
    }

    /// The files the statement covers, once it is consistent with itself.
    fn covered(&self) -> Result<BTreeMap<PathName, Digest>, SignatureError> {
        supported("statement type", &self.kind, STATEMENT_TYPE)?;
        supported("predicate type", &self.predicate_type, PREDICATE_TYPE)?;
        let Predicate {
            serialization,
            resources,
        } = &self.predicate;
        supported("method", &serialization.method, METHOD)?;
        supported("hash type", &serialization.hash_type, HASH_TYPE)?;
        let [subject] = &self.subject[..] else {
            return Err(malformed("there must be exactly one subject"));
        };
        if subject.digest.sha256 != root_digest(resources).sha256 {
            return Err(malformed("the root digest is not that of the files"));
        }
        let mut covered = BTreeMap::new();
        for resource in resources {
            supported("algorithm", &resource.algorithm, HASH_TYPE)?;
            let path = PathName::new(&resource.name);
            let path = path.map_err(|_| malformed("a signed file has an unsafe name"))?;
            if covered.insert(path, resource.digest).is_some() {
                return Err(malformed("a file is signed twice"));
            }
        }
        Ok(covered)
    }
}

/// One digest for the whole: SHA-256 over the files' digests in their order.
fn root_digest(resources: &[Resource]) -> RootDigest {
    let mut hasher = Sha256::new();
    for resource in resources {
        hasher.update(resource.digest.as_bytes());
    }
    RootDigest {
        sha256: Digest::new(hasher.finalize().into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::{Value, json};
    use std::sync::LazyLock;

    const SEED: u8 = 7;

    fn entry(path: &str, content: &str) -> FileEntry {
        FileEntry::of(path.parse().expect("safe"), content.as_bytes())
    }

    fn files() -> Vec<FileEntry> {
        vec![
            entry("model.forest", "w\n"),
            entry("card.md", "hi\n"),
            entry("encoder/vocabulary.json", "x\n"),
            entry("manifest.json", "{}\n"),
        ]
    }

    // Made once: arithmetic on curves is slow without optimisation.
    static SIGNED: LazyLock<Vec<u8>> = LazyLock::new(|| {
        sign_folder("mood", &files(), &SigningKey::for_tests(SEED)).expect("encodes")
    });
    static TRUSTED: LazyLock<[VerifyingKey; 2]> = LazyLock::new(|| {
        [1, SEED].map(|seed| SigningKey::for_tests(seed).public().expect("encodes"))
    });

    fn signed() -> Vec<u8> {
        SIGNED.clone()
    }

    fn trusted() -> [VerifyingKey; 2] {
        TRUSTED.clone()
    }

    /// What is said about `files` under our signature over [`files`].
    fn verdict(files: &[FileEntry]) -> String {
        match verify(&signed(), files, &trusted()) {
            Ok(_) => "accepted".into(),
            Err(error) => error.to_string(),
        }
    }

    /// What is said about a bundle whose outer JSON was changed.
    fn verdict_on_bundle(change: impl FnOnce(&mut Value)) -> String {
        let mut bundle: Value = serde_json::from_slice(&signed()).expect("our own JSON");
        change(&mut bundle);
        let bytes = serde_json::to_vec(&bundle).expect("JSON");
        verify(&bytes, &files(), &trusted())
            .expect_err("refused")
            .to_string()
    }

    /// What is said about a statement that was changed and then signed properly.
    fn verdict_on_statement(change: impl FnOnce(&mut Value)) -> String {
        let mut statement = serde_json::to_value(Statement::about("mood", &files())).expect("JSON");
        change(&mut statement);
        let payload = serde_json::to_vec(&statement).expect("JSON");
        let signature = SigningKey::for_tests(SEED).sign(&pre_authentication(&payload));
        let mut bundle: Value = serde_json::from_slice(&signed()).expect("our own JSON");
        bundle["dsseEnvelope"]["payload"] = BASE64.encode(&payload).into();
        bundle["dsseEnvelope"]["signatures"][0]["sig"] = BASE64.encode(signature.as_bytes()).into();
        let bytes = serde_json::to_vec(&bundle).expect("JSON");
        verify(&bytes, &files(), &trusted())
            .expect_err("refused")
            .to_string()
    }

    fn check(said: String, expected: &str) {
        assert!(
            said.contains(expected),
            "{said:?} does not say {expected:?}"
        );
    }

    #[test]
    fn a_signature_holds_for_its_files_in_any_order() {
        let mut files = files();
        let key = verify(&signed(), &files, &trusted()).expect("untouched");
        assert_eq!(key, trusted()[1].id());
        files.reverse();
        assert_eq!(verdict(&files), "accepted");
    }

    #[test]
    fn a_signature_is_the_same_bytes_each_time() {
        let golden = include_str!("../../tests/golden/signature/ombud.sig");
        assert_eq!(
            String::from_utf8(signed()).expect("JSON"),
            golden.trim_end()
        );
    }

    #[test]
    fn a_signature_made_by_the_tool_is_taken() {
        // model_signing 1.1.1: `sign key` over these four files, with a P-256 key made by OpenSSL 3.0.
        let signature = include_bytes!("../../tests/golden/signature/model_signing_1.1.1.sig");
        let key = include_str!("../../tests/golden/signature/model_signing_1.1.1.pub");
        let key = VerifyingKey::from_pem(key).expect("OpenSSL's PEM");
        let said = verify(signature, &files(), std::slice::from_ref(&key)).expect("the tool's own");
        assert_eq!(said, key.id());
    }

    #[test]
    fn each_change_of_the_files_is_named() {
        let changed = |index: usize, file| {
            let mut files = files();
            files[index] = file;
            verdict(&files)
        };
        check(
            changed(1, entry("card.md", "ho\n")),
            r#""card.md" was changed after signing"#,
        );
        check(
            changed(1, entry("cart.md", "hi\n")),
            r#""cart.md" is not covered"#,
        );
        let mut more = files();
        more.push(entry("weights.pkl", ""));
        check(verdict(&more), r#""weights.pkl" is not covered"#);
        check(
            verdict(&files()[1..]),
            r#""model.forest" is signed but missing"#,
        );
        check(verdict(&[]), "is signed but missing");
    }

    #[test]
    fn a_key_that_is_not_trusted_is_named() {
        let said = verify(&signed(), &files(), &trusted()[..1]).expect_err("refused");
        check(
            said.to_string(),
            &format!("{}, which is not trusted", trusted()[1].id()),
        );
        let said = verify(&signed(), &files(), &[]).expect_err("refused");
        assert!(matches!(said, SignatureError::UnknownKey { .. }));
    }

    #[test]
    fn an_altered_bundle_is_refused_with_the_part() {
        let set = |pointer: &'static str, value: Value| {
            verdict_on_bundle(|bundle| *bundle.pointer_mut(pointer).expect("there") = value)
        };
        let hint = "/verificationMaterial/publicKey/hint";
        let envelope = "/dsseEnvelope/payload";
        check(
            set("/mediaType", json!("text/plain")),
            r#"media type is "text/plain""#,
        );
        check(set("/dsseEnvelope/payloadType", json!("x")), "payload type");
        check(set(hint, json!("k")), "hint is not a SHA-256");
        check(
            set(hint, json!(trusted()[0].id().to_string())),
            "forged or altered",
        );
        check(set(envelope, json!("e30=")), "forged or altered");
        check(set(envelope, json!("%")), "payload is not Base64");
        check(
            set("/dsseEnvelope/signatures/0/sig", json!("AAAA")),
            "forged or altered",
        );
        check(
            set("/dsseEnvelope/signatures/0/sig", json!("A")),
            "signature is not Base64",
        );
        check(
            set("/dsseEnvelope/signatures", json!([])),
            "exactly one signature",
        );
        check(
            set("/verificationMaterial", json!({"certificate": {}})),
            "public-key hint",
        );
    }

    #[test]
    fn a_statement_that_contradicts_itself_is_refused_although_signed() {
        let set = |pointer: &'static str, value: Value| {
            verdict_on_statement(|said| *said.pointer_mut(pointer).expect("there") = value)
        };
        let zeros = json!("00".repeat(32));
        check(set("/_type", json!("x")), "statement type");
        check(
            set(
                "/predicateType",
                json!("https://model_signing/Digests/v0.1"),
            ),
            "predicate type",
        );
        check(
            set("/predicate/serialization/method", json!("shards")),
            r#"method is "shards""#,
        );
        check(
            set("/predicate/serialization/hash_type", json!("blake3")),
            "hash type",
        );
        check(
            set("/predicate/resources/0/algorithm", json!("blake2b")),
            "algorithm",
        );
        check(
            set("/predicate/resources/0/digest", zeros.clone()),
            "root digest",
        );
        check(
            set("/predicate/resources/0/name", json!("../card.md")),
            "unsafe name",
        );
        check(
            set("/predicate/resources/0/name", json!("manifest.json")),
            "signed twice",
        );
        check(set("/subject/0/digest/sha256", zeros), "root digest");
        check(set("/subject", json!([])), "exactly one subject");
        check(
            set("/predicate", json!({})),
            "not a Model Signing statement",
        );
    }

    #[test]
    fn a_file_that_the_signature_asks_to_ignore_is_still_refused() {
        let said = verdict_on_statement(|said| {
            let predicate = &mut said["predicate"];
            predicate["serialization"]["ignore_paths"] = json!(["card.md"]);
            predicate["resources"]
                .as_array_mut()
                .expect("a list")
                .remove(0);
            let rest: Vec<Resource> =
                serde_json::from_value(predicate["resources"].clone()).expect("ours");
            said["subject"][0]["digest"]["sha256"] = json!(root_digest(&rest).sha256);
        });
        check(said, r#""card.md" is not covered"#);
    }

    #[test]
    fn an_endless_or_deeply_nested_signature_is_refused() {
        let refuse = |bytes: Vec<u8>| verify(&bytes, &files(), &trusted()).expect_err("refused");
        assert!(matches!(
            refuse(vec![b' '; SIGNATURE_BYTES_MAX + 1]),
            SignatureError::TooLarge { .. }
        ));
        assert!(matches!(
            refuse(vec![b'['; SIGNATURE_BYTES_MAX]),
            SignatureError::Malformed { .. }
        ));
        let nested = format!(r#"{{"x":{}"#, "[".repeat(500_000));
        assert!(matches!(
            refuse(nested.into()),
            SignatureError::Malformed { .. }
        ));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn arbitrary_bytes_are_refused_without_panic(bytes: Vec<u8>) {
            prop_assert!(verify(&bytes, &files(), &trusted()).is_err());
        }

        #[test]
        fn a_cut_signature_is_refused(keep in 0.0..1.0f64) {
            let whole = signed();
            let cut = &whole[..(keep * whole.len() as f64) as usize];
            prop_assert!(verify(cut, &files(), &trusted()).is_err());
        }

        #[test]
        fn a_changed_byte_never_passes_for_other_files(at in 0.0..1.0f64, byte: u8) {
            let mut bytes = signed();
            let at = (at * bytes.len() as f64) as usize;
            bytes[at] = byte;
            let mut other = files();
            other[0] = entry("model.forest", "other");
            prop_assert!(verify(&bytes, &other, &trusted()).is_err());
            // A byte that carries nothing (a field that is skipped) may change; the answer is the same then.
            if let Ok(key) = verify(&bytes, &files(), &trusted()) {
                prop_assert_eq!(key, trusted()[1].id());
            }
        }

        #[test]
        fn any_signed_payload_is_answered_without_panic(payload in "\\PC{0,60}|[\\[\\]{}\":,a0-9_]{0,60}") {
            let signature = SigningKey::for_tests(SEED).sign(&pre_authentication(payload.as_bytes()));
            let mut bundle: Value = serde_json::from_slice(&signed()).expect("our own JSON");
            bundle["dsseEnvelope"]["payload"] = BASE64.encode(&payload).into();
            bundle["dsseEnvelope"]["signatures"][0]["sig"] = BASE64.encode(signature.as_bytes()).into();
            let bytes = serde_json::to_vec(&bundle).expect("JSON");
            prop_assert!(verify(&bytes, &files(), &trusted()).is_err());
        }
    }
}
