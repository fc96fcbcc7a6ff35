//! Bundles as files, in a folder and in an object store. `OMBUD_TEST_PYTHON` names a Python that has `moto[server]`, which
//! serves the object store's own protocol; without it the second half has nothing to run on.

use crate::house::{House, NOW_US, acme, other, version};
use crate::servers::ObjectServer;
use ombud_core::{Class, Label, ModelName};
use ombud_engine::bundle::{Bundle, Trust};
use ombud_store::registry::{Registering, Registry};
use ombud_store::version::Registration;
use ombud_store::{ArtifactError, Artifacts, Folder, Location};
use std::path::Path;
use std::sync::Arc;

macro_rules! on_both {
    ($($name:ident),* $(,)?) => {
        mod folder {
            $(#[tokio::test] async fn $name() {
                let folder = tempfile::tempdir().unwrap();
                let artifacts = std::sync::Arc::new(ombud_store::Folder::new(folder.path().join("artifacts")).unwrap());
                super::$name(artifacts).await;
            })*
        }
        mod objects {
            $(#[tokio::test] async fn $name() {
                if let Some(server) = crate::servers::ObjectServer::start() {
                    super::$name(server.bucket("bundles").await).await;
                }
            })*
        }
    };
}

on_both! {
    a_bundle_reads_back_verified,
    the_same_bundle_twice_is_as_once_and_another_is_refused,
    what_is_not_there_is_absent_for_each_tenant,
    a_removed_bundle_is_gone,
    a_bundle_of_the_wrong_signer_is_refused,
    registering_is_once_for_each_content,
}

/// A bundle of the shipped examples.
fn golden(name: &str) -> Arc<Bundle> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../engine/tests/golden/1/bundles");
    let bundle = Bundle::open(&folder.join(format!("{name}.tar.gz")), &Trust::default());
    Arc::new(bundle.unwrap())
}

/// The same model with another description: other content under the same name and label.
fn altered(bundle: &Bundle) -> Arc<Bundle> {
    let mut manifest = bundle.manifest().clone();
    manifest.description.push_str(" Altered.");
    let listed = bundle
        .files()
        .filter(|(name, _)| !matches!(*name, "manifest.json" | "model.sig"));
    let files = listed.map(|(name, content)| (name.parse().unwrap(), content.to_vec()));
    Arc::new(Bundle::make(manifest, files.collect(), None).unwrap())
}

fn at(bundle: &Bundle, number: u32) -> Location {
    Location {
        tenant: acme(),
        model: bundle.manifest().name.clone(),
        version: version(number),
    }
}

async fn a_bundle_reads_back_verified(artifacts: Arc<dyn Artifacts>) {
    let bundle = golden("claim_outcome");
    artifacts.ping().await.unwrap();
    artifacts
        .put(&at(&bundle, 1), Arc::clone(&bundle))
        .await
        .unwrap();
    let found = artifacts
        .get(&at(&bundle, 1), &Trust::default())
        .await
        .unwrap();
    assert_eq!(found.digest(), bundle.digest());
    assert!(found.files().eq(bundle.files()));
}

async fn the_same_bundle_twice_is_as_once_and_another_is_refused(artifacts: Arc<dyn Artifacts>) {
    let bundle = golden("claim_outcome");
    for _ in 0..2 {
        artifacts
            .put(&at(&bundle, 1), Arc::clone(&bundle))
            .await
            .unwrap();
    }
    let refused = artifacts
        .put(&at(&bundle, 1), altered(&bundle))
        .await
        .unwrap_err();
    assert!(
        matches!(refused, ArtifactError::Taken { .. }),
        "{refused:?}"
    );
    let found = artifacts
        .get(&at(&bundle, 1), &Trust::default())
        .await
        .unwrap();
    assert_eq!(found.digest(), bundle.digest());
}

async fn what_is_not_there_is_absent_for_each_tenant(artifacts: Arc<dyn Artifacts>) {
    let bundle = golden("claim_outcome");
    artifacts
        .put(&at(&bundle, 1), Arc::clone(&bundle))
        .await
        .unwrap();
    let theirs = Location {
        tenant: other(),
        ..at(&bundle, 1)
    };
    let nobodys = Location {
        model: ModelName::new("nobody").unwrap(),
        ..at(&bundle, 1)
    };
    for place in [at(&bundle, 2), theirs, nobodys] {
        let refused = artifacts.get(&place, &Trust::default()).await.unwrap_err();
        assert_eq!(refused.class(), Class::NotFound, "{place:?}");
    }
}

async fn a_removed_bundle_is_gone(artifacts: Arc<dyn Artifacts>) {
    let bundle = golden("claim_outcome");
    artifacts
        .put(&at(&bundle, 1), Arc::clone(&bundle))
        .await
        .unwrap();
    for _ in 0..2 {
        artifacts.remove(&at(&bundle, 1)).await.unwrap();
    }
    let refused = artifacts
        .get(&at(&bundle, 1), &Trust::default())
        .await
        .unwrap_err();
    assert_eq!(refused.class(), Class::NotFound);
    artifacts
        .put(&at(&bundle, 1), bundle.clone())
        .await
        .unwrap();
}

async fn a_bundle_of_the_wrong_signer_is_refused(artifacts: Arc<dyn Artifacts>) {
    use ombud_engine::bundle::keys::SigningKey;
    let (ours, theirs) = (
        SigningKey::generate().unwrap(),
        SigningKey::generate().unwrap(),
    );
    let golden = golden("claim_outcome");
    let listed = golden
        .files()
        .filter(|(name, _)| !matches!(*name, "manifest.json" | "model.sig"));
    let files = listed.map(|(name, content)| (name.parse().unwrap(), content.to_vec()));
    let signed = Bundle::make(golden.manifest().clone(), files.collect(), Some(&ours)).unwrap();
    artifacts
        .put(&at(&golden, 1), Arc::new(signed))
        .await
        .unwrap();
    let trusting = |key: &SigningKey| Trust {
        keys: vec![key.public().unwrap()],
    };
    artifacts
        .get(&at(&golden, 1), &trusting(&ours))
        .await
        .unwrap();
    let refused = artifacts.get(&at(&golden, 1), &trusting(&theirs)).await;
    assert!(refused.is_err());
}

async fn registering_is_once_for_each_content(artifacts: Arc<dyn Artifacts>) {
    let house = House::sqlite().await;
    let registry = Registry {
        store: house.store.clone(),
        artifacts,
        trust: Trust::default(),
    };
    let bundle = golden("claim_outcome");
    let how = |label: Option<&str>| Registering {
        label: label.map(|label| Label::new(label).unwrap()),
        by: "person:ana".to_owned(),
        now_us: NOW_US,
    };
    let tenant = acme();
    let first = registry
        .register(&tenant, Arc::clone(&bundle), how(None))
        .await
        .unwrap()
        .into_registered();
    assert_eq!(first.version, version(1));
    let again = registry
        .register(&tenant, Arc::clone(&bundle), how(None))
        .await
        .unwrap();
    assert_eq!(again, Registration::Known(first.clone()));
    let place = at(&bundle, 1);
    registry.artifacts.remove(&place).await.unwrap();
    let again = registry
        .register(&tenant, Arc::clone(&bundle), how(None))
        .await
        .unwrap();
    assert_eq!(again, Registration::Known(first.clone()));
    let found = registry.bundle(&tenant, &first).await.unwrap();
    assert_eq!(found.digest(), first.digest, "what was lost is back");
    let refused = registry
        .register(&tenant, altered(&bundle), how(None))
        .await
        .unwrap_err();
    assert_eq!(
        refused.class(),
        Class::Conflict,
        "its label is taken: {refused}"
    );
    let second = registry
        .register(&tenant, altered(&bundle), how(Some("v9.0.0")))
        .await
        .unwrap()
        .into_registered();
    assert_eq!(
        (second.version, second.label.as_str()),
        (version(2), "v9.0.0")
    );
    let found = registry.bundle(&tenant, &second).await.unwrap();
    assert_eq!(found.digest(), second.digest);
    assert_eq!(
        second.bytes,
        found
            .files()
            .map(|(_, content)| content.len() as u64)
            .sum::<u64>()
    );
    let as_second =
        registry.register_as(&tenant, altered(&bundle), version(2), how(Some("v9.0.0")));
    assert_eq!(
        as_second.await.unwrap(),
        Registration::Known(second.clone()),
        "again by its number"
    );
    registry.delete(&tenant, &second).await.unwrap();
    assert!(registry.bundle(&tenant, &second).await.is_err());
    // A bundle that was swapped behind our back is not served.
    registry.artifacts.remove(&place).await.unwrap();
    registry
        .artifacts
        .put(&place, altered(&bundle))
        .await
        .unwrap();
    let refused = registry.bundle(&tenant, &first).await.unwrap_err();
    assert_eq!(refused.class(), Class::Corrupt, "{refused}");
}

#[tokio::test]
async fn a_folder_has_the_layout_that_people_know() {
    let place = tempfile::tempdir().unwrap();
    let folder = Folder::new(place.path().to_owned()).unwrap();
    let bundle = golden("claim_outcome");
    for number in [1, 2, 10] {
        folder
            .put(&at(&bundle, number), Arc::clone(&bundle))
            .await
            .unwrap();
    }
    let models = place.path().join("acme/models");
    let latest = || std::fs::read_link(models.join("claim_outcome/latest")).unwrap();
    assert_eq!(latest(), Path::new("10"));
    assert!(models.join("claim_outcome/2/manifest.json").is_file());
    folder.remove(&at(&bundle, 10)).await.unwrap();
    assert_eq!(latest(), Path::new("2"));
    let index = std::fs::read(models.join("registry.json")).unwrap();
    let index: serde_json::Value = serde_json::from_slice(&index).unwrap();
    assert_eq!(
        index["models"]["claim_outcome"],
        serde_json::json!({ "latest": 2, "versions": [1, 2] })
    );
}

#[tokio::test]
async fn a_damaged_bundle_is_put_again() {
    let place = tempfile::tempdir().unwrap();
    let folder = Folder::new(place.path().to_owned()).unwrap();
    let bundle = golden("claim_outcome");
    let here = at(&bundle, 1);
    folder.put(&here, Arc::clone(&bundle)).await.unwrap();
    let version = folder.path(&here);
    let damages: [&dyn Fn(); 4] = [
        &|| std::fs::remove_file(version.join("manifest.json")).unwrap(),
        &|| std::fs::remove_file(version.join("card.md")).unwrap(),
        &|| std::fs::write(version.join("card.md"), "cut").unwrap(),
        &|| {
            std::fs::remove_dir_all(&version).unwrap();
            std::fs::create_dir(&version).unwrap();
        },
    ];
    // What somebody who was killed at this left beside it.
    let aside = version.with_file_name(format!(".damaged-{}", bundle.digest()));
    for damage in damages {
        std::fs::create_dir(&aside).unwrap();
        std::fs::write(aside.join("card.md"), "old").unwrap();
        damage();
        assert!(folder.get(&here, &Trust::default()).await.is_err());
        folder.put(&here, Arc::clone(&bundle)).await.unwrap();
        let found = folder.get(&here, &Trust::default()).await.unwrap();
        assert_eq!(found.digest(), bundle.digest());
    }
    let refused = folder.put(&here, altered(&bundle)).await.unwrap_err();
    assert!(matches!(refused, ArtifactError::Taken { .. }), "{refused}");
    let left: Vec<_> = std::fs::read_dir(version.parent().unwrap())
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .filter(|name| name.to_string_lossy().starts_with('.'))
        .collect();
    assert!(left.is_empty(), "{left:?}");
}

#[tokio::test]
async fn a_bucket_has_the_layout_that_people_know() {
    let Some(server) = ObjectServer::start() else {
        return;
    };
    let objects = server.bucket("bundles").await;
    let bundle = golden("claim_outcome");
    for number in [1, 2, 10] {
        objects
            .put(&at(&bundle, number), Arc::clone(&bundle))
            .await
            .unwrap();
    }
    objects.remove(&at(&bundle, 10)).await.unwrap();
    let text = |key: &'static str| {
        let server = &server;
        async move { server.read("bundles", key).await }
    };
    assert_eq!(text("house/acme/models/claim_outcome/latest").await, "2\n");
    let index: serde_json::Value =
        serde_json::from_str(&text("house/acme/models/registry.json").await).unwrap();
    assert_eq!(
        index["models"]["claim_outcome"],
        serde_json::json!({ "latest": 2, "versions": [1, 2] })
    );
}
