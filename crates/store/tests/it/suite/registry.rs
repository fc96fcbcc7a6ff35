//! Models, versions, tags, notes, aliases, events.

use crate::house::{House, NOW_US, acme, event, id, name, new_version, other, version};
use ombud_core::ensemble::Stage;
use ombud_core::{Class, Digest, Label};
use ombud_store::alias::NewAssignment;
use ombud_store::event::EventQuery;
use ombud_store::version::{Registration, TAGS_MAX};
use ombud_store::{Error, Event};
use std::collections::BTreeMap;

promises! {
    versions_are_numbered_in_order_of_registration,
    the_same_digest_twice_is_the_same_version,
    other_content_under_one_label_is_refused,
    a_number_is_never_given_twice,
    registrations_at_once_get_different_numbers,
    a_version_is_meant_by_number_label_or_alias,
    an_alias_remembers_where_it_pointed,
    tags_and_notes_belong_to_a_version,
    an_archived_version_can_come_back,
    an_ensemble_is_refused_while_its_stages_are_not_here_and_they_stay_as_long_as_it_does,
    the_stages_of_one_tenant_are_nobody_elses,
    events_are_paged_newest_first,
}

async fn versions_are_numbered_in_order_of_registration(house: &House) {
    for content in 1..=3 {
        let given = house.register(&acme(), "claims", content).await;
        assert_eq!(given, version(u32::from(content)));
    }
    assert_eq!(
        house.register(&acme(), "churn", 1).await,
        version(1),
        "each model counts for itself"
    );
    let versions = house
        .store
        .versions(&acme(), &name("claims"))
        .await
        .unwrap();
    let numbers: Vec<u32> = versions.iter().map(|found| found.version.get()).collect();
    assert_eq!(numbers, [3, 2, 1]);
    assert_eq!(versions[2].digest, Digest::new([1; 32]));
    assert_eq!(versions[2].label, Label::of(version(1)));
}

fn stage(model: &str, content: u8) -> Stage {
    Stage {
        name: name(model),
        // Another registry counted differently; the digest is what is meant.
        version: version(40),
        label: Label::of(version(40)),
        digest: Digest::new([content; 32]),
        inputs: BTreeMap::new(),
        features: Vec::new(),
    }
}

async fn an_ensemble_is_refused_while_its_stages_are_not_here_and_they_stay_as_long_as_it_does(
    house: &House,
) {
    let (store, people) = (&house.store, name("people"));
    let tenant = acme();
    let reserved = store.reserve_version(&tenant, &people, "", NOW_US);
    let reserved = reserved.await.unwrap();
    let ensemble = || {
        let mut new = new_version(&people, reserved, 9);
        new.stages = vec![stage("text", 1), stage("text", 2)];
        new
    };
    house.register(&acme(), "text", 1).await;
    let refused = store
        .register(&acme(), ensemble(), NOW_US)
        .await
        .unwrap_err();
    let told = refused.to_string();
    assert_eq!(refused.class(), Class::Conflict);
    assert!(
        told.contains(&"02".repeat(6)) && !told.contains(&"01".repeat(6)),
        "{told}"
    );
    let early = ensemble().stages;
    assert!(
        store
            .refuse_absent_stages(&acme(), &people, &early)
            .await
            .is_err()
    );
    house.register(&acme(), "text", 2).await;
    store
        .refuse_absent_stages(&acme(), &people, &early)
        .await
        .unwrap();
    store.register(&acme(), ensemble(), NOW_US).await.unwrap();
    let stages = store.stages(&acme(), &people, reserved).await.unwrap();
    let numbers: Vec<u32> = stages.iter().map(|stage| stage.version.get()).collect();
    assert_eq!(numbers, [1, 2]);
    let kept = store
        .delete_version(&acme(), &name("text"), version(1))
        .await;
    assert!(
        matches!(&kept, Err(Error::IsStage { by, .. }) if *by == people),
        "{kept:?}"
    );
    store
        .delete_version(&acme(), &people, reserved)
        .await
        .unwrap();
    store
        .delete_version(&acme(), &name("text"), version(1))
        .await
        .unwrap();
}

async fn the_stages_of_one_tenant_are_nobody_elses(house: &House) {
    house.register(&acme(), "text", 1).await;
    let wanted = [stage("text", 1)];
    let store = &house.store;
    store
        .refuse_absent_stages(&acme(), &name("people"), &wanted)
        .await
        .unwrap();
    let refused = store
        .refuse_absent_stages(&other(), &name("people"), &wanted)
        .await;
    assert!(matches!(refused, Err(Error::StagesAbsent { .. })));
}

async fn the_same_digest_twice_is_the_same_version(house: &House) {
    house.register(&acme(), "claims", 7).await;
    let reserved = house
        .store
        .reserve_version(&acme(), &name("claims"), "", NOW_US)
        .await
        .unwrap();
    assert_eq!(reserved, version(2));
    let again = new_version(&name("claims"), reserved, 7);
    let again = house.store.register(&acme(), again, NOW_US).await.unwrap();
    assert!(matches!(again, Registration::Known(known) if known.version == version(1)));
    assert_eq!(
        house
            .store
            .versions(&acme(), &name("claims"))
            .await
            .unwrap()
            .len(),
        1
    );
}

async fn other_content_under_one_label_is_refused(house: &House) {
    house.register(&acme(), "claims", 1).await;
    let mut second = new_version(&name("claims"), version(2), 2);
    second.label = Label::of(version(1));
    let refused = house
        .store
        .register(&acme(), second, NOW_US)
        .await
        .unwrap_err();
    assert_eq!(
        refused.to_string(),
        "claims v1.0.0 is registered already as version 1, with other content"
    );
    assert_eq!(refused.class(), Class::Conflict);
    let label = Label::of(version(1));
    assert!(
        house
            .store
            .refuse_label(&acme(), &name("claims"), &label)
            .await
            .is_err()
    );
    house
        .store
        .refuse_label(&other(), &name("claims"), &label)
        .await
        .unwrap();
}

async fn a_number_is_never_given_twice(house: &House) {
    house.register(&acme(), "claims", 1).await;
    let second = house.register(&acme(), "claims", 2).await;
    house
        .store
        .delete_version(&acme(), &name("claims"), second)
        .await
        .unwrap();
    assert_eq!(house.register(&acme(), "claims", 3).await, version(3));
}

async fn registrations_at_once_get_different_numbers(house: &House) {
    let store = &house.store;
    let claims = name("claims");
    let reserve = || store.reserve_version(&TENANT, &claims, "", NOW_US);
    static TENANT: std::sync::LazyLock<ombud_ledger::Tenant> = std::sync::LazyLock::new(acme);
    let (a, b, c, d) = tokio::join!(reserve(), reserve(), reserve(), reserve());
    let mut given = [a.unwrap(), b.unwrap(), c.unwrap(), d.unwrap()];
    given.sort_unstable();
    assert_eq!(given, [1, 2, 3, 4].map(version));
}

async fn a_version_is_meant_by_number_label_or_alias(house: &House) {
    let (store, claims) = (&house.store, name("claims"));
    for content in 1..=3 {
        house.register(&acme(), "claims", content).await;
    }
    assign(house, "champion", Some(2)).await;
    for (text, meant) in [("1", 1), ("v3.0.0", 3), ("champion", 2), ("latest", 3)] {
        let found = store.resolve(&acme(), &claims, text).await.unwrap();
        assert_eq!(found.version, version(meant), "{text}");
    }
    store
        .archive_version(&acme(), &claims, version(3), true, NOW_US)
        .await
        .unwrap();
    assert_eq!(
        store
            .resolve(&acme(), &claims, "latest")
            .await
            .unwrap()
            .version,
        version(2)
    );
    for text in [
        "4",
        "v9.0.0",
        "nobody",
        "",
        "'; drop table store_versions; --",
    ] {
        let refused = store.resolve(&acme(), &claims, text).await.unwrap_err();
        assert_eq!(refused.class(), Class::NotFound, "{text}");
    }
}

async fn assign(house: &House, alias: &str, to: Option<u32>) {
    let change = NewAssignment {
        version: to.map(version),
        principal: "person:ana".to_owned(),
        reason: format!("to {to:?}"),
    };
    house
        .store
        .set_alias(&acme(), &name("claims"), alias, change, NOW_US)
        .await
        .unwrap();
}

async fn an_alias_remembers_where_it_pointed(house: &House) {
    let (store, claims) = (&house.store, name("claims"));
    house.register(&acme(), "claims", 1).await;
    house.register(&acme(), "claims", 2).await;
    for to in [Some(1), Some(2), None] {
        assign(house, "champion", to).await;
        assert_eq!(
            store.alias(&acme(), &claims, "champion").await.unwrap(),
            to.map(version)
        );
    }
    assert!(
        store.aliases(&acme(), &claims).await.unwrap().is_empty(),
        "it was withdrawn"
    );
    assign(house, "champion", Some(1)).await;
    assert_eq!(
        store.aliases(&acme(), &claims).await.unwrap()["champion"],
        version(1)
    );
    let history = store
        .alias_history(&acme(), &claims, "champion")
        .await
        .unwrap();
    let history: Vec<_> = history
        .iter()
        .map(|past| (past.number, past.version.map(ombud_core::Version::get)))
        .collect();
    assert_eq!(
        history,
        [(4, Some(1)), (3, None), (2, Some(2)), (1, Some(1))]
    );
    let change = |version| NewAssignment {
        version,
        principal: String::new(),
        reason: String::new(),
    };
    let refused = store
        .set_alias(&acme(), &claims, "latest", change(None), NOW_US)
        .await;
    assert_eq!(
        refused.unwrap_err().class(),
        Class::Invalid,
        "latest is computed"
    );
    let refused = store
        .set_alias(&acme(), &claims, "a", change(Some(version(9))), NOW_US)
        .await;
    assert_eq!(refused.unwrap_err().class(), Class::NotFound);
}

async fn tags_and_notes_belong_to_a_version(house: &House) {
    let (store, claims) = (&house.store, name("claims"));
    let first = house.register(&acme(), "claims", 1).await;
    store
        .set_tag(&acme(), &claims, first, "team", Some("claims desk"))
        .await
        .unwrap();
    store
        .set_tag(&acme(), &claims, first, "team", Some("intake"))
        .await
        .unwrap();
    store
        .set_tag(&acme(), &claims, first, "old", Some("x"))
        .await
        .unwrap();
    store
        .set_tag(&acme(), &claims, first, "old", None)
        .await
        .unwrap();
    let tags = store.tags(&acme(), &claims, first).await.unwrap();
    assert_eq!(
        tags.into_iter().collect::<Vec<_>>(),
        [("team".to_owned(), "intake".to_owned())]
    );
    for place in 1..TAGS_MAX {
        store
            .set_tag(&acme(), &claims, first, &format!("t{place}"), Some(""))
            .await
            .unwrap();
    }
    let refused = store
        .set_tag(&acme(), &claims, first, "more", Some(""))
        .await;
    assert_eq!(refused.unwrap_err().class(), Class::TooLarge);

    for body in ["looked at", "looked again"] {
        store
            .add_note(&acme(), &claims, first, "person:ana", body, NOW_US)
            .await
            .unwrap();
    }
    let notes = store.notes(&acme(), &claims, first).await.unwrap();
    assert_eq!(notes.len(), 2);
    let missing = store
        .add_note(&acme(), &claims, version(9), "person:ana", "x", NOW_US)
        .await;
    assert_eq!(missing.unwrap_err().class(), Class::NotFound);
}

async fn an_archived_version_can_come_back(house: &House) {
    let (store, claims) = (&house.store, name("claims"));
    let first = house.register(&acme(), "claims", 1).await;
    let archived = store
        .archive_version(&acme(), &claims, first, true, NOW_US)
        .await
        .unwrap();
    assert_eq!(archived.archived_us, Some(NOW_US));
    let back = store
        .archive_version(&acme(), &claims, first, false, NOW_US)
        .await
        .unwrap();
    assert_eq!(back.archived_us, None);
    let refused = store
        .archive_version(&acme(), &claims, version(9), true, NOW_US)
        .await;
    assert!(matches!(refused, Err(Error::UnknownVersion { .. })));
}

async fn events_are_paged_newest_first(house: &House) {
    let store = &house.store;
    let mut told = Vec::new();
    for place in 0..5 {
        let model = if place == 2 { "churn" } else { "claims" };
        let event = Event {
            id: ombud_ledger::RecordId::from_parts(NOW_US, [place; 10]),
            ..event("deploy", model)
        };
        store.add_event(&acme(), &event).await.unwrap();
        told.insert(0, event);
    }
    let query = EventQuery {
        limit: 2,
        ..EventQuery::default()
    };
    let first = store.events(&acme(), &query).await.unwrap();
    assert_eq!(first.items, told[..2]);
    let query = EventQuery {
        after: first.next,
        limit: 10,
        ..EventQuery::default()
    };
    let rest = store.events(&acme(), &query).await.unwrap();
    assert_eq!((rest.items.as_slice(), rest.next), (&told[2..], None));
    let query = EventQuery {
        model: Some(name("churn")),
        limit: 10,
        ..EventQuery::default()
    };
    assert_eq!(
        store.events(&acme(), &query).await.unwrap().items,
        [told[2].clone()]
    );
    let long = Event {
        id: id(),
        reason: "x".repeat(10_000),
        ..event("deploy", "claims")
    };
    assert_eq!(
        store.add_event(&acme(), &long).await.unwrap_err().class(),
        Class::TooLarge
    );
}
