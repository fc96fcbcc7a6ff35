//! Deployments: whole states, one after the other, on versions that then stay.

use crate::house::{House, NOW_US, acme, event, name, other, production, version};
use ombud_core::Class;
use ombud_store::deployment::NewDeployment;
use ombud_store::event::EventQuery;
use ombud_store::store::Topic;
use ombud_store::{Environment, Error, Recording, Share, Traffic};

promises! {
    a_deployment_reads_back_as_it_was_put,
    two_who_change_at_once_do_not_overwrite_each_other,
    what_is_deployed_cannot_be_archived_or_deleted,
    what_was_deployed_once_cannot_be_deleted,
    an_archived_or_unknown_version_cannot_be_deployed,
    a_change_is_told_to_other_replicas_together_with_its_event,
    a_model_leaves_an_environment,
}

#[test]
fn shares_that_are_not_whole_are_refused() {
    let check = |active: &[(u32, u8)], shadow: Option<u32>, said: &str| {
        let refused = Traffic::new(shares(active), Vec::new(), shadow.map(version));
        let message = refused.unwrap_err().to_string();
        assert!(message.ends_with(said), "{message}");
    };
    check(&[], None, "somebody must answer");
    check(&[(1, 50), (2, 49)], None, "the shares must add up to 100");
    check(&[(1, 50), (2, 51)], None, "the shares must add up to 100");
    check(&[(1, 100), (2, 0)], None, "a share is at least 1 percent");
    check(&[(1, 50), (1, 50)], None, "a version is named twice");
    check(
        &[(1, 100)],
        Some(1),
        "a version cannot answer and be the shadow at once",
    );
    let many: Vec<(u32, u8)> = (1..=11).map(|number| (number, 9)).collect();
    check(&many, None, "too many versions share the traffic");
}

fn shares(shares: &[(u32, u8)]) -> Vec<Share> {
    let share = |(number, percent): &(u32, u8)| Share {
        version: version(*number),
        percent: *percent,
    };
    shares.iter().map(share).collect()
}

fn wanted(traffic: Traffic, expected_revision: i64) -> NewDeployment {
    NewDeployment {
        model: name("claims"),
        environment: production(),
        traffic,
        recording: Recording::BeforeAnswer,
        expected_revision,
    }
}

async fn put(house: &House, wanted: NewDeployment) -> Result<ombud_store::Deployment, Error> {
    house
        .store
        .put_deployment(&acme(), wanted, &event("deploy", "claims"))
        .await
}

async fn registered(house: &House) {
    for content in 1..=4 {
        house.register(&acme(), "claims", content).await;
    }
}

async fn a_deployment_reads_back_as_it_was_put(house: &House) {
    registered(house).await;
    let (store, claims) = (&house.store, name("claims"));
    assert_eq!(
        store
            .deployment(&acme(), &claims, &production())
            .await
            .unwrap(),
        None
    );
    let traffic = Traffic::new(
        shares(&[(2, 75), (3, 25)]),
        shares(&[(1, 100)]),
        Some(version(4)),
    )
    .unwrap();
    let mut state = wanted(traffic.clone(), 0);
    state.recording = Recording::After;
    let made = put(house, state).await.unwrap();
    let found = store
        .deployment(&acme(), &claims, &production())
        .await
        .unwrap()
        .unwrap();
    assert_eq!(found, made);
    assert_eq!(found.traffic.to_string(), "v2 75%, v3 25%, shadow v4");
    assert_eq!(found.traffic.versions(), [1, 2, 3, 4].map(version));
    let next = put(house, wanted(Traffic::all_to(version(3)), 1))
        .await
        .unwrap();
    assert_eq!(next.revision, 2);
    assert_eq!(store.deployments(&acme()).await.unwrap(), [next]);
}

async fn two_who_change_at_once_do_not_overwrite_each_other(house: &House) {
    registered(house).await;
    let change = |number| put(house, wanted(Traffic::all_to(version(number)), 0));
    let (a, b, c) = tokio::join!(change(1), change(2), change(3));
    let results = [a, b, c];
    assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 1);
    for refused in results.into_iter().filter_map(Result::err) {
        assert!(
            matches!(
                refused,
                Error::Moved {
                    found: 1,
                    expected: 0,
                    ..
                }
            ),
            "{refused:?}"
        );
    }
    assert_eq!(
        house
            .store
            .events(
                &acme(),
                &EventQuery {
                    limit: 9,
                    ..EventQuery::default()
                }
            )
            .await
            .unwrap()
            .items
            .len(),
        1
    );
}

async fn what_is_deployed_cannot_be_archived_or_deleted(house: &House) {
    registered(house).await;
    let (store, claims) = (&house.store, name("claims"));
    let traffic = Traffic::new(
        shares(&[(1, 90), (2, 10)]),
        shares(&[(3, 100)]),
        Some(version(4)),
    )
    .unwrap();
    put(house, wanted(traffic, 0)).await.unwrap();
    for number in 1..=4 {
        let number = version(number);
        let refused = store
            .archive_version(&acme(), &claims, number, true, NOW_US)
            .await
            .unwrap_err();
        assert_eq!(
            refused.to_string(),
            format!("version {number} of claims is deployed to production")
        );
        let refused = store
            .delete_version(&acme(), &claims, number)
            .await
            .unwrap_err();
        assert!(matches!(refused, Error::Deployed { .. }));
    }
    let refused = store
        .archive_model(&acme(), &claims, true, NOW_US)
        .await
        .unwrap_err();
    assert_eq!(refused.class(), Class::Conflict);
}

async fn what_was_deployed_once_cannot_be_deleted(house: &House) {
    registered(house).await;
    let (store, claims) = (&house.store, name("claims"));
    put(house, wanted(Traffic::all_to(version(1)), 0))
        .await
        .unwrap();
    put(house, wanted(Traffic::all_to(version(2)), 1))
        .await
        .unwrap();
    let refused = store
        .delete_version(&acme(), &claims, version(1))
        .await
        .unwrap_err();
    assert!(
        matches!(refused, Error::NeededByLedger { .. }),
        "{refused:?}"
    );
    store
        .archive_version(&acme(), &claims, version(1), true, NOW_US)
        .await
        .unwrap();
    store
        .delete_version(&acme(), &claims, version(4))
        .await
        .unwrap();
}

async fn an_archived_or_unknown_version_cannot_be_deployed(house: &House) {
    registered(house).await;
    house
        .store
        .archive_version(&acme(), &name("claims"), version(2), true, NOW_US)
        .await
        .unwrap();
    let refused = put(house, wanted(Traffic::all_to(version(2)), 0))
        .await
        .unwrap_err();
    assert!(matches!(refused, Error::Archived { .. }));
    let refused = put(house, wanted(Traffic::all_to(version(9)), 0))
        .await
        .unwrap_err();
    assert!(matches!(refused, Error::UnknownVersion { .. }));
    assert_eq!(
        house.store.deployments(&acme()).await.unwrap(),
        [],
        "nothing was half written"
    );
    assert_eq!(
        house
            .store
            .events(&acme(), &EventQuery::default())
            .await
            .unwrap()
            .items,
        []
    );
}

async fn a_change_is_told_to_other_replicas_together_with_its_event(house: &House) {
    registered(house).await;
    let before = house.store.revisions(Topic::Deployments).await.unwrap();
    assert_eq!(before, []);
    put(house, wanted(Traffic::all_to(version(1)), 0))
        .await
        .unwrap();
    assert_eq!(
        house.store.revisions(Topic::Deployments).await.unwrap(),
        [(acme(), 1)]
    );
    let events = house
        .store
        .events(
            &acme(),
            &EventQuery {
                limit: 9,
                ..EventQuery::default()
            },
        )
        .await
        .unwrap();
    assert_eq!(events.items.len(), 1);
    assert_eq!(
        events.items[0].numbers,
        serde_json::json!({ "accuracy": 0.9 })
    );
}

async fn a_model_leaves_an_environment(house: &House) {
    registered(house).await;
    put(house, wanted(Traffic::all_to(version(1)), 0))
        .await
        .unwrap();
    let (store, claims) = (&house.store, name("claims"));
    let leave = event("withdraw", "claims");
    let staging = Environment::staging();
    let refused = store
        .remove_deployment(&acme(), &claims, &staging, &leave)
        .await;
    assert_eq!(refused.unwrap_err().class(), Class::NotFound);
    let stranger = store
        .remove_deployment(&other(), &claims, &production(), &leave)
        .await;
    assert_eq!(stranger.unwrap_err().class(), Class::NotFound);
    store
        .remove_deployment(&acme(), &claims, &production(), &leave)
        .await
        .unwrap();
    assert_eq!(store.deployments(&acme()).await.unwrap(), []);
    put(house, wanted(Traffic::all_to(version(2)), 0))
        .await
        .unwrap();
}
