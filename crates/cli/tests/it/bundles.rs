//! Bundles from outside: packed, verified, signed, tampered with.

use crate::support::{LEAVERS, Place, leavers};
use std::fs;

fn trained() -> Place {
    let place = Place::new();
    place.train(&leavers(200, 1), LEAVERS);
    place
}

/// A place with a key pair in `keys` and a bundle that it signed.
fn signed() -> Place {
    let place = Place::new();
    place.done(&["keys", "signing", "new", "--out", "keys"]);
    place.write("data.csv", leavers(200, 1));
    place.write("recipe.toml", LEAVERS);
    place.done(&["train", "recipe.toml", "--key", "keys/signing.key"]);
    place
}

const BUNDLE: &str = "models/leavers/1";

#[test]
fn a_package_answers_like_its_folder() {
    let place = trained();
    let run = place.done(&["package", BUNDLE]);
    assert!(
        run.stdout.contains("model_packages/leavers_1.tar.gz"),
        "{}",
        run.stdout
    );
    let package = "model_packages/leavers_1.tar.gz";
    place.done(&["verify", package]);
    let from_package = place
        .done(&["predict", package, "--data", "data.csv"])
        .stdout;
    assert_eq!(
        from_package,
        place
            .done(&["predict", BUNDLE, "--data", "data.csv"])
            .stdout
    );
}

#[test]
fn the_same_bundle_packs_to_the_same_bytes() {
    let place = trained();
    let first = place.json(&["package", BUNDLE, "--out", "a.tar.gz", "--json"]);
    let second = place.json(&["package", BUNDLE, "--out", "b.tar.gz", "--json"]);
    assert_eq!(first["sha256"], second["sha256"]);
    assert_eq!(
        fs::read(place.path("a.tar.gz")).expect("a"),
        fs::read(place.path("b.tar.gz")).expect("b")
    );
}

#[test]
fn a_changed_byte_is_found_by_everything_that_opens_a_bundle() {
    let place = trained();
    let weights = place.path(BUNDLE).join("model.ubj");
    let mut bytes = fs::read(&weights).expect("weights");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&weights, bytes).expect("written");
    for words in [
        vec!["verify", BUNDLE],
        vec!["inspect", BUNDLE],
        vec!["predict", BUNDLE, "--data", "data.csv", "--out", "a.csv"],
        vec!["evaluate", BUNDLE, "--data", "data.csv"],
        vec!["package", BUNDLE, "--out", "a.tar.gz"],
    ] {
        place.ombud(&words).refused("model.ubj");
    }
    assert!(!place.path("a.csv").exists() && !place.path("a.tar.gz").exists());
}

#[test]
fn a_bundle_with_a_file_too_many_or_too_few_is_refused() {
    let place = trained();
    place.write("models/leavers/1/extra.bin", "x");
    place.ombud(&["verify", BUNDLE]).refused("extra.bin");
    fs::remove_file(place.path("models/leavers/1/extra.bin")).expect("removed");
    fs::remove_file(place.path("models/leavers/1/card.md")).expect("removed");
    place.ombud(&["verify", BUNDLE]).refused("card.md");
}

/// Changes a bundle's manifest as text, once.
fn change_manifest(place: &Place, from: &str, to: &str) {
    let path = place.path(BUNDLE).join("manifest.json");
    let text = fs::read_to_string(&path).expect("a manifest");
    assert!(text.contains(from), "no {from:?} in {text}");
    fs::write(&path, text.replacen(from, to, 1)).expect("written");
}

#[test]
fn a_manifest_with_an_unknown_word_is_refused() {
    let place = trained();
    change_manifest(&place, "\"made_by\"", "\"approved\": true,\n  \"made_by\"");
    place
        .ombud(&["verify", BUNDLE])
        .refused("unknown field `approved`");
}

#[test]
fn a_manifest_whose_task_and_answers_disagree_is_refused() {
    let place = trained();
    change_manifest(
        &place,
        "\"task\": \"classification\"",
        "\"task\": \"regression\"",
    );
    place
        .ombud(&["predict", BUNDLE, "--data", "data.csv"])
        .refused("its task is regression");
}

#[test]
fn a_manifest_rewritten_after_signing_is_refused_whether_or_not_a_key_is_trusted() {
    let place = signed();
    change_manifest(&place, "\"version\": 1", "\"version\": 9");
    for trust in [&[][..], &["--key", "keys/signing.pub"]] {
        let words = [&["verify", BUNDLE], trust].concat();
        place
            .ombud(&words)
            .refused("manifest.json\" was changed after signing");
    }
}

#[test]
fn a_package_cut_short_is_refused() {
    let place = trained();
    place.done(&["package", BUNDLE, "--out", "whole.tar.gz"]);
    let whole = fs::read(place.path("whole.tar.gz")).expect("a package");
    for share in [0, 1, 2, 3] {
        place.write("cut.tar.gz", &whole[..whole.len() * share / 4]);
        let run = place.ombud(&["verify", "cut.tar.gz", "--json"]);
        run.refused("cut.tar.gz is refused");
        assert_eq!(run.json()["error"]["class"], "corrupt");
    }
}

#[test]
fn a_signature_is_checked_against_the_trusted_key() {
    let place = signed();
    let plain = place.json(&["verify", BUNDLE, "--json"]);
    assert_eq!(
        (&plain["signed"], &plain["signed_by"]),
        (&true.into(), &serde_json::Value::Null)
    );
    let checked = place.json(&["verify", BUNDLE, "--key", "keys/signing.pub", "--json"]);
    let shown = place.json(&["keys", "signing", "show", "keys/signing.pub", "--json"]);
    assert_eq!(checked["signed_by"], shown["key_id"]);
    place.done(&[
        "predict",
        BUNDLE,
        "--data",
        "data.csv",
        "--key",
        "keys/signing.pub",
    ]);
    place.done(&["keys", "signing", "new", "--out", "others"]);
    place
        .ombud(&["verify", BUNDLE, "--key", "others/signing.pub"])
        .refused("is refused");
    let both = place.json(&[
        "verify",
        BUNDLE,
        "--key",
        "others/signing.pub",
        "--key",
        "keys/signing.pub",
        "--json",
    ]);
    assert_eq!(both["signed_by"], shown["key_id"]);
}

#[test]
fn an_unsigned_bundle_is_refused_where_a_key_is_trusted() {
    let place = trained();
    place.done(&["keys", "signing", "new", "--out", "keys"]);
    place
        .ombud(&[
            "predict",
            BUNDLE,
            "--data",
            "data.csv",
            "--key",
            "keys/signing.pub",
        ])
        .refused("not signed");
}

#[test]
fn keys_come_from_the_environment_too() {
    let place = Place::new();
    place.done(&["keys", "signing", "new", "--out", "keys"]);
    place.write("data.csv", leavers(150, 1));
    place.write("recipe.toml", LEAVERS);
    let train = place
        .command(&["train", "recipe.toml", "--json"])
        .env("OMBUD_SIGNING_KEY", "keys/signing.key")
        .output();
    assert!(train.expect("runs").status.success());
    let verify = |trusted: &str| {
        let run = place
            .command(&["verify", BUNDLE, "--json"])
            .env("OMBUD_TRUSTED_KEYS", trusted)
            .output();
        crate::support::Run::of(run.expect("runs"))
    };
    assert!(verify("keys/signing.pub").json()["signed_by"].is_string());
    verify("keys/absent.pub").refused("absent.pub");
    place.done(&["keys", "signing", "new", "--out", "others"]);
    verify("others/signing.pub").refused("is refused");
    assert_eq!(verify("others/signing.pub:keys/signing.pub").code, 0);
}

#[test]
fn a_key_in_the_persons_own_folder_signs_without_being_named() {
    let place = Place::new();
    let run = place.done(&["keys", "signing", "new"]);
    assert!(
        run.stdout.contains("signs with it from now on"),
        "{}",
        run.stdout
    );
    place.write("data.csv", leavers(150, 1));
    place.write("recipe.toml", LEAVERS);
    let report = place.json(&["train", "recipe.toml", "--json"]);
    assert_eq!(report["signed"], true);
    let public = "home/.config/ombud/keys/signing.pub";
    place.done(&["verify", BUNDLE, "--key", public]);
}

#[test]
fn a_key_is_never_overwritten_and_its_owners_alone() {
    let place = Place::new();
    place.done(&["keys", "signing", "new", "--out", "keys"]);
    let before = place.listing();
    place
        .ombud(&["keys", "signing", "new", "--out", "keys"])
        .refused("never overwritten");
    assert!(place.listing() == before);
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mode = |name: &str| {
            fs::metadata(place.path(name))
                .expect("a key")
                .permissions()
                .mode()
                & 0o777
        };
        assert_eq!((mode("keys/signing.key"), mode("keys")), (0o600, 0o700));
    }
    let swapped = place.ombud(&["keys", "signing", "show", "keys/signing.key"]);
    swapped.refused("private key where the public one belongs");
}
