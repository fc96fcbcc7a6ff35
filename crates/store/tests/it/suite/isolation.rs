//! One tenant can neither read, guess nor count another's rows: asked with another tenant's name, every question answers as
//! if nothing were there.

use crate::house::{House, NOW_US, acme, ana, event, id, name, other, production, version};
use ombud_core::Class;
use ombud_store::Traffic;
use ombud_store::deployment::NewDeployment;
use ombud_store::event::EventQuery;

promises! {
    a_stranger_finds_an_empty_house,
    a_stranger_changes_nothing,
    every_table_has_the_tenant_first_in_its_key,
}

async fn furnished(house: &House) {
    let (store, claims) = (&house.store, name("claims"));
    store.add_person(&acme(), ana(), NOW_US).await.unwrap();
    let first = house.register(&acme(), "claims", 1).await;
    store
        .set_tag(&acme(), &claims, first, "team", Some("desk"))
        .await
        .unwrap();
    store
        .add_note(&acme(), &claims, first, "person:ana", "a note", NOW_US)
        .await
        .unwrap();
    let wanted = NewDeployment {
        model: claims,
        environment: production(),
        traffic: Traffic::all_to(first),
        recording: ombud_store::Recording::BeforeAnswer,
        expected_revision: 0,
    };
    store
        .put_deployment(&acme(), wanted, &event("deploy", "claims"))
        .await
        .unwrap();
    store
        .add_job(
            &acme(),
            "score",
            &serde_json::json!({}),
            "person:ana",
            NOW_US,
        )
        .await
        .unwrap();
}

async fn a_stranger_finds_an_empty_house(house: &House) {
    furnished(house).await;
    let (store, claims, first) = (&house.store, name("claims"), version(1));
    assert_eq!(store.models(&other()).await.unwrap(), []);
    assert_eq!(store.versions(&other(), &claims).await.unwrap(), []);
    assert_eq!(store.deployments(&other()).await.unwrap(), []);
    assert_eq!(
        store
            .deployment(&other(), &claims, &production())
            .await
            .unwrap(),
        None
    );
    assert!(
        store
            .tags(&other(), &claims, first)
            .await
            .unwrap()
            .is_empty()
    );
    assert_eq!(store.notes(&other(), &claims, first).await.unwrap(), []);
    assert!(store.aliases(&other(), &claims).await.unwrap().is_empty());
    let query = EventQuery {
        limit: 10,
        ..EventQuery::default()
    };
    assert_eq!(store.events(&other(), &query).await.unwrap().items, []);
    let digest = store.version(&acme(), &claims, first).await.unwrap().digest;
    assert_eq!(
        store
            .version_by_digest(&other(), &claims, digest)
            .await
            .unwrap(),
        None
    );
    // What is another's and what is nobody's is told in the same words.
    let theirs = store
        .version(&other(), &claims, first)
        .await
        .unwrap_err()
        .to_string();
    let nobodys = store
        .version(&other(), &name("nobody"), first)
        .await
        .unwrap_err()
        .to_string();
    assert_eq!(theirs, nobodys.replace("nobody", "claims"));
    let theirs = store
        .model(&other(), &claims)
        .await
        .unwrap_err()
        .to_string();
    assert_eq!(theirs, "there is no model claims");
    // Numbers start from one for everybody, so they tell nothing of how many others there are.
    assert_eq!(house.register(&other(), "claims", 1).await, first);
}

async fn a_stranger_changes_nothing(house: &House) {
    furnished(house).await;
    let (store, claims, first) = (&house.store, name("claims"), version(1));
    let model = store.model(&acme(), &claims).await.unwrap();
    let refusals = [
        store
            .describe_model(&other(), &claims, "mine")
            .await
            .unwrap_err(),
        store
            .archive_model(&other(), &claims, true, NOW_US)
            .await
            .unwrap_err(),
        store
            .archive_version(&other(), &claims, first, true, NOW_US)
            .await
            .unwrap_err(),
        store
            .delete_version(&other(), &claims, first)
            .await
            .unwrap_err(),
        store
            .set_tag(&other(), &claims, first, "team", None)
            .await
            .unwrap_err(),
        store
            .add_note(&other(), &claims, first, "x", "x", NOW_US)
            .await
            .unwrap_err(),
    ];
    for refused in refusals {
        assert_eq!(refused.class(), Class::NotFound, "{refused}");
    }
    let wanted = NewDeployment {
        model: claims.clone(),
        environment: production(),
        traffic: Traffic::all_to(first),
        recording: ombud_store::Recording::After,
        expected_revision: 1,
    };
    let mut theirs = event("deploy", "claims");
    theirs.id = id();
    assert!(
        store
            .put_deployment(&other(), wanted, &theirs)
            .await
            .is_err()
    );
    assert_eq!(
        store.model(&acme(), &claims).await.unwrap(),
        model,
        "not even its revision moved"
    );
}

/// A table that is added without a tenant fails here.
async fn every_table_has_the_tenant_first_in_its_key(house: &House) {
    let tables = house.tables_and_first_key_columns().await;
    assert!(tables.len() > 15, "{tables:?}");
    for (table, column) in tables {
        if table != "store_migrations" && table != "store_guests" {
            assert_eq!(column, "tenant", "{table}");
        }
    }
}
