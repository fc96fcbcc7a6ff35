//! What people may ask of the house: their data, its end, and that what happened to them is heard.

use crate::house::{House, NOW_US, acme, ask, asking, caller, claims, subject};
use ombud_core::Class;
use ombud_ledger::ledger::Contents;
use ombud_ledger::verify::VerifyOptions;
use ombud_ledger::{Kind, RecordId};
use ombud_ops::Error;
use ombud_ops::outcomes::{About, Report};
use ombud_store::cache::{LIFETIME, Redis, RedisOptions};
use ombud_store::outcome::{FreeText, Standing};
use serde_json::json;
use std::sync::Arc;
use std::time::Duration;

promises! {
    a_person_gets_what_is_held_about_them,
    an_erased_person_is_found_nowhere,
    an_erasure_reaches_the_caches_of_other_replicas,
    keys_do_not_wait_for_a_cache_that_does_not_answer,
    an_outcome_is_joined_by_id_or_by_person_and_time,
    an_outcome_of_nothing_is_refused,
    an_outcome_that_the_model_does_not_know_is_refused,
    an_outcome_is_observed_after_its_decision_and_before_now,
    what_is_too_old_ends,
}

async fn decide(house: &House, who: &str) -> RecordId {
    let ask = asking(|ask| ask.subject = Some(subject(who)));
    house.ops.decide(&acme(), &caller(), ask).await.unwrap().id
}

fn report(about: About, value: &str) -> Report {
    Report {
        about,
        value: json!(value),
        note: Some(FreeText("her sister called".to_owned())),
        observed_us: NOW_US,
    }
}

async fn an_outcome_is_observed_after_its_decision_and_before_now(house: &House) {
    house.serving().await;
    let decision = decide(house, "m-1").await;
    house.time.pass(24 * 3_600 * 1_000_000);
    let now_us = NOW_US + 24 * 3_600 * 1_000_000;
    let report_at = async |observed_us: i64| {
        let report = Report {
            observed_us,
            ..report(About::Decision(decision), "upheld")
        };
        house.ops.report(&acme(), &caller(), report).await
    };
    for wrong in [NOW_US - 1_000_000, now_us + 301_000_000] {
        let refused = report_at(wrong).await.unwrap_err();
        let Error::Refused(refusal) = refused else {
            panic!("{refused}");
        };
        assert_eq!(refusal.faults[0].path, "observed_at");
    }
    for right in [NOW_US, now_us, now_us + 299_000_000] {
        report_at(right).await.unwrap();
    }
}

async fn a_person_gets_what_is_held_about_them(house: &House) {
    house.serving().await;
    let decision = decide(house, "m-1").await;
    decide(house, "m-2").await;
    house
        .ops
        .report(
            &acme(),
            &caller(),
            report(About::Decision(decision), "upheld"),
        )
        .await
        .unwrap();
    let export = house
        .ops
        .export_subject(&acme(), &caller(), &subject("m-1"), "she asked", None)
        .await
        .unwrap();
    assert_eq!(export.records.len(), 1);
    let Contents::Open {
        input: Some(input), ..
    } = &export.records[0].1
    else {
        panic!("it opens");
    };
    assert_eq!(input.expose(), ask().input.expose());
    assert_eq!(export.outcomes.len(), 1);
    assert_eq!(
        house.records(Kind::Export).await.len(),
        1,
        "who asked is on record"
    );
    assert_eq!(house.records(Kind::Opened).await.len(), 1);
    let nobody = house
        .ops
        .export_subject(&acme(), &caller(), &subject("m-9"), "she asked", None)
        .await
        .unwrap();
    assert!(nobody.records.is_empty());
}

async fn an_erased_person_is_found_nowhere(house: &House) {
    house.serving().await;
    let keyed = asking(|ask| ask.idempotency_key = Some("k1".to_owned()));
    let decision = decide(house, "m-1").await;
    house.ops.decide(&acme(), &caller(), keyed).await.unwrap();
    house
        .ops
        .report(
            &acme(),
            &caller(),
            report(About::Decision(decision), "upheld"),
        )
        .await
        .unwrap();
    let erased = house
        .ops
        .erase_subject(&acme(), &caller(), subject("m-1"), "she asked")
        .await
        .unwrap();
    assert_eq!(
        (erased.forgotten.outcomes, erased.forgotten.idempotency_keys),
        (1, 1)
    );
    assert!(erased.erased.keys_destroyed > 0);
    let export = house
        .ops
        .export_subject(&acme(), &caller(), &subject("m-1"), "a test", None)
        .await
        .unwrap();
    let opened = export
        .records
        .iter()
        .filter(|(record, _)| record.kind == Kind::Decision);
    assert!(
        opened.clone().count() > 0
            && opened
                .clone()
                .all(|(_, contents)| *contents == Contents::Erased)
    );
    assert!(export.outcomes.is_empty());
    let again = house.ops.decide(&acme(), &caller(), ask()).await.unwrap();
    assert!(!again.cache_hit, "the cache forgot");
    let reader = house.ops.ledger().clone();
    let report =
        tokio::task::spawn_blocking(move || reader.reader().verify(&VerifyOptions::default()));
    assert!(
        report.await.unwrap().unwrap().is_sound(),
        "the chain still verifies"
    );
    if house.is_sqlite() {
        house.ops.registry().store.close().await;
        for item in std::fs::read_dir(house.folder.path()).unwrap() {
            let path = item.unwrap().path();
            if path.is_file() {
                let bytes = std::fs::read(&path).unwrap();
                for text in ["her sister called", "photos and pay slips"] {
                    let found = bytes
                        .windows(text.len())
                        .any(|window| window == text.as_bytes());
                    assert!(!found, "{text:?} is in {path:?}");
                }
            }
        }
    }
}

async fn an_erasure_reaches_the_caches_of_other_replicas(house: &House) {
    house.serving().await;
    let second = house.replica("r2").await;
    second.decide(&acme(), &caller(), ask()).await.unwrap();
    assert!(
        second
            .decide(&acme(), &caller(), ask())
            .await
            .unwrap()
            .cache_hit
    );
    house
        .ops
        .erase_subject(&acme(), &caller(), subject("m-1"), "she asked")
        .await
        .unwrap();
    second.tick().await.unwrap();
    assert!(
        !second
            .decide(&acme(), &caller(), ask())
            .await
            .unwrap()
            .cache_hit
    );
}

async fn keys_do_not_wait_for_a_cache_that_does_not_answer(house: &House) {
    house.serving().await;
    decide(house, "m-1").await;
    // Nobody listens there: the port was ours until now.
    let gone = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("redis://{}", gone.local_addr().unwrap());
    drop(gone);
    let cache = Redis::new(RedisOptions {
        url,
        prefix: "t".to_owned(),
        lifetime: LIFETIME,
        wait: Duration::from_millis(50),
    });
    let second = house.replica_caching("r2", Arc::new(cache.unwrap())).await;
    let refused = second
        .erase_subject(&acme(), &caller(), subject("m-1"), "she asked")
        .await
        .unwrap_err();
    assert!(matches!(refused, Error::CacheKeeps(_)), "{refused:?}");
    assert_eq!(refused.class(), Class::Unavailable);
    assert!(refused.retry_after_ms().is_some());
    let export = house
        .ops
        .export_subject(&acme(), &caller(), &subject("m-1"), "a test", None)
        .await
        .unwrap();
    let (_, contents) = export
        .records
        .iter()
        .find(|(record, _)| record.kind == Kind::Decision)
        .unwrap();
    assert_eq!(*contents, Contents::Erased);
    // Nor does what is deployed wait for it, also where it starts anew.
    second.follow_deployments().await.unwrap();
    assert!(second.routing().is_ready());
    assert!(second.follow_erasures().await.is_err(), "it is asked again");
}

async fn an_outcome_is_joined_by_id_or_by_person_and_time(house: &House) {
    house.serving().await;
    let first = decide(house, "m-1").await;
    let taken = house
        .ops
        .report(&acme(), &caller(), report(About::Decision(first), "upheld"))
        .await
        .unwrap();
    assert_eq!(
        (taken.decision, taken.kept.standing),
        (first, Standing::First)
    );
    let within = |from_us, until_us| About::Person {
        subject: subject("m-1"),
        model: claims(),
        from_us: NOW_US + from_us,
        until_us: NOW_US + until_us,
    };
    let again = house
        .ops
        .report(&acme(), &caller(), report(within(0, 10), "upheld"))
        .await
        .unwrap();
    assert_eq!(
        (again.decision, again.kept.standing),
        (first, Standing::Repeated)
    );
    house.time.pass(100);
    let second = decide(house, "m-1").await;
    let reports = vec![
        report(within(0, 1_000), "denied"),
        report(within(50, 1_000), "denied"),
        report(within(500, 1_000), "denied"),
    ];
    let taken = house
        .ops
        .report_all(&acme(), &caller(), reports)
        .await
        .unwrap();
    let told: Vec<Result<RecordId, Class>> = taken
        .into_iter()
        .map(|taken| {
            taken
                .map(|taken| taken.decision)
                .map_err(|error| error.class())
        })
        .collect();
    assert_eq!(
        told,
        [Err(Class::Conflict), Ok(second), Err(Class::NotFound)]
    );
    assert_eq!(house.records(Kind::Outcome).await.len(), 3);
}

async fn an_outcome_of_nothing_is_refused(house: &House) {
    house.serving().await;
    let nothing = RecordId::from_parts(NOW_US, [1; 10]);
    let deployment = house.records(Kind::Deployment).await[0].id;
    for id in [nothing, deployment] {
        let refused = house
            .ops
            .report(&acme(), &caller(), report(About::Decision(id), "upheld"))
            .await;
        assert_eq!(refused.unwrap_err().class(), Class::NotFound);
    }
    let decision = decide(house, "m-1").await;
    let stranger = ombud_ledger::Tenant::new("other").unwrap();
    let refused = house
        .ops
        .report(
            &stranger,
            &caller(),
            report(About::Decision(decision), "upheld"),
        )
        .await;
    assert_eq!(
        refused.unwrap_err().class(),
        Class::NotFound,
        "another tenant's decision is nobody's"
    );
}

async fn an_outcome_that_the_model_does_not_know_is_refused(house: &House) {
    house.serving().await;
    let decision = decide(house, "m-1").await;
    let asked = report(About::Decision(decision), "uphold");
    // Whether the version is at work on this replica or only registered.
    let idle = house.replica_untold("r2").await;
    for ops in [&house.ops, &idle] {
        let refused = ops.report(&acme(), &caller(), asked.clone()).await;
        let error = refused.unwrap_err();
        assert_eq!(error.class(), Class::Invalid);
        let Error::Refused(refusal) = error else {
            panic!("{error}");
        };
        assert_eq!(refusal.faults[0].path, "value");
        assert_eq!(refusal.faults[0].nearest.as_deref(), Some("upheld"));
    }
    assert_eq!(house.records(Kind::Outcome).await.len(), 0);
    let store = &house.ops.registry().store;
    let kept = store.outcomes_of(&acme(), decision).await.unwrap();
    assert_eq!(kept, []);
}

async fn what_is_too_old_ends(house: &House) {
    house.serving().await;
    let decision = decide(house, "m-1").await;
    house
        .ops
        .report(
            &acme(),
            &caller(),
            report(About::Decision(decision), "upheld"),
        )
        .await
        .unwrap();
    const MONTHS_US: i64 = 70 * 24 * 3_600 * 1_000_000;
    house.time.pass(MONTHS_US);
    let retained = house
        .ops
        .retain(
            &acme(),
            &caller(),
            claims(),
            NOW_US + MONTHS_US,
            "the policy",
        )
        .await
        .unwrap();
    assert!(retained.keys_destroyed > 0 && retained.is_complete);
    let left = house
        .ops
        .registry()
        .store
        .outcomes_of(&acme(), decision)
        .await
        .unwrap();
    assert_eq!(left, []);
}
