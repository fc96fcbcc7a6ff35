//! Ours against the real tool of OpenSSF Model Signing, in both directions.
//!
//! Needs a Python with the PyPI package `model-signing`, named by `OMBUD_MODEL_SIGNING_PYTHON`; says so when
//! there is none. Stored signatures of both sides are checked beside the code in any case.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use ombud_engine::bundle::digest::FileEntry;
use ombud_engine::bundle::keys::{SigningKey, VerifyingKey};
use ombud_engine::bundle::signature::{self, SignatureError};
use ombud_engine::bundle::staging::Staging;
use ombud_engine::bundle::{SIGNATURE_FILE, folder};

const PYTHON: &str = "OMBUD_MODEL_SIGNING_PYTHON";

/// About every second signature has a large second half, which some libraries refuse: enough to see both.
const ROUNDS: usize = 8;

/// A bundle in a temporary folder with a fresh key pair beside it.
struct Scene {
    place: tempfile::TempDir,
    files: Vec<FileEntry>,
    key: SigningKey,
}

impl Scene {
    fn new(round: usize) -> Self {
        let place = tempfile::tempdir().expect("a temporary folder");
        let key = SigningKey::generate().expect("randomness");
        key.save(&place.path().join("key")).expect("written");
        let public = key.public().expect("encodes");
        public.save(&place.path().join("key.pub")).expect("written");
        let scene = Self {
            place,
            files: listing(round),
            key,
        };
        let mut staging = Staging::new(scene.place.path()).expect("writable");
        for (path, content) in contents(round) {
            staging
                .write(&path.parse().expect("safe"), content.as_bytes())
                .expect("written");
        }
        staging.finish(&scene.folder()).expect("finished");
        scene
    }

    fn folder(&self) -> PathBuf {
        self.place.path().join("bundle")
    }

    fn signature(&self) -> PathBuf {
        self.folder().join(SIGNATURE_FILE)
    }

    fn sign(&self) {
        let signed = signature::sign_folder("bundle", &self.files, &self.key).expect("encodes");
        fs::write(self.signature(), signed).expect("written");
    }

    fn verify(&self) -> Result<(), SignatureError> {
        let signed = fs::read(self.signature()).expect("there");
        let trusted = VerifyingKey::load(&self.place.path().join("key.pub")).expect("our own");
        signature::verify(&signed, &self.files, &[trusted]).map(|_| ())
    }

    /// Runs the tool; it answers with its exit code and what it said.
    fn tool(&self, python: &Path, verb: &str, key: &str) -> (bool, String) {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/model_signing_interop.py");
        let output = Command::new(python)
            .arg(script)
            .arg(verb)
            .args([self.folder(), self.signature(), self.place.path().join(key)])
            .output()
            .expect("the named Python runs");
        let said = [output.stdout, output.stderr].concat();
        (
            output.status.success(),
            String::from_utf8_lossy(&said).into_owned(),
        )
    }
}

/// `a.b` and `a/b` because their order is where implementations differ.
fn contents(round: usize) -> [(&'static str, String); 5] {
    [
        ("manifest.json", format!("{{\"round\": {round}}}")),
        ("card.md", "Größe".into()),
        ("a.b", String::new()),
        ("a/b", "x".repeat(70_000)),
        ("a/deeper/c d", "\n".into()),
    ]
}

fn listing(round: usize) -> Vec<FileEntry> {
    let entry = |(path, content): (&str, String)| {
        FileEntry::of(path.parse().expect("safe"), content.as_bytes())
    };
    contents(round).into_iter().map(entry).collect()
}

fn python() -> Option<PathBuf> {
    let python = std::env::var_os(PYTHON).map(PathBuf::from);
    if python.is_none() {
        // Past the capture of the test harness, which would swallow `eprintln!` of a passing test.
        let said = writeln!(
            std::io::stderr(),
            "NOT COMPARED with model_signing: {PYTHON} names no Python that has it"
        );
        said.expect("standard error is open");
    }
    python
}

#[test]
fn the_tool_accepts_what_we_sign_and_refuses_it_changed() {
    let Some(python) = python() else { return };
    for round in 0..ROUNDS {
        let scene = Scene::new(round);
        scene.sign();
        let (is_accepted, said) = scene.tool(&python, "verify", "key.pub");
        assert!(is_accepted, "round {round}: {said}");
    }
    let scene = Scene::new(0);
    scene.sign();
    fs::write(scene.folder().join("card.md"), "Grösse").expect("written");
    let (is_accepted, said) = scene.tool(&python, "verify", "key.pub");
    assert!(
        !is_accepted && said.contains("Hash mismatch") && said.contains("card.md"),
        "{said}"
    );
}

#[test]
fn we_accept_what_the_tool_signs_and_refuse_it_changed() {
    let Some(python) = python() else { return };
    for round in 0..ROUNDS {
        let scene = Scene::new(round);
        let (is_signed, said) = scene.tool(&python, "sign", "key");
        assert!(is_signed, "round {round}: {said}");
        scene.verify().expect("the tool's own");
        folder::read_folder(&scene.folder(), &Default::default(), &scene.files).expect("untouched");
    }
    let mut scene = Scene::new(0);
    let (is_signed, said) = scene.tool(&python, "sign", "key");
    assert!(is_signed, "{said}");
    scene.files = listing(1);
    let refused = scene.verify().expect_err("another manifest");
    assert!(matches!(refused, SignatureError::FileChanged { path, .. } if path == "manifest.json"));
}

#[test]
fn the_tool_signs_the_same_statement_as_we() {
    let Some(python) = python() else { return };
    let scene = Scene::new(0);
    scene.sign();
    let (is_same, said) = scene.tool(&python, "compare", "key");
    assert!(is_same, "{said}");
}
