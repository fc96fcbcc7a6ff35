//! Versions put to work, on one replica and on the others.

use crate::house::{House, NOW_US, acme, asking, caller, claims, deploy, subject, version};
use ombud_core::Class;
use ombud_core::manifest::GateResult;
use ombud_ledger::Kind;
use ombud_ops::{Error, Force, Order};
use ombud_store::event::EventQuery;
use ombud_store::{Environment, Event, Role};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

promises! {
    a_swap_under_load_loses_no_request,
    other_replicas_follow_at_their_next_tick,
    a_person_stays_with_their_version_while_a_canary_grows,
    the_previous_version_is_at_hand,
    a_failed_gate_is_refused_and_a_forced_one_shouts,
    a_gate_is_judged_by_its_numbers_and_an_unsigned_bundle_is_named,
    nothing_goes_back_to_a_version_that_never_answered,
    after_a_canary_it_is_known_what_answered_before,
    a_version_that_cannot_be_loaded_changes_nothing,
    a_swapped_bundle_is_not_put_to_work,
    of_two_orders_at_once_the_loser_is_on_record,
    a_withdrawn_model_answers_nobody,
    a_model_is_loaded_when_somebody_approved_it,
}

/// Ids sort by milliseconds, so events that are to be in order are that far apart.
const MILLISECOND_US: i64 = 1_000;

async fn events(house: &House) -> Vec<Event> {
    let query = EventQuery {
        limit: 100,
        ..EventQuery::default()
    };
    house
        .ops
        .registry()
        .store
        .events(&acme(), &query)
        .await
        .unwrap()
        .items
}

async fn a_swap_under_load_loses_no_request(house: &House) {
    house.register(2).await;
    house.order(deploy(1)).await.unwrap();
    let is_over = Arc::new(AtomicBool::new(false));
    let mut load = tokio::task::JoinSet::new();
    for worker in 0..4 {
        let (ops, is_over) = (house.ops.clone(), Arc::clone(&is_over));
        load.spawn(async move {
            let mut answered: BTreeMap<u32, usize> = BTreeMap::new();
            while !is_over.load(Ordering::Relaxed) {
                let ask = asking(|ask| {
                    ask.use_cache = false;
                    ask.subject = Some(subject(&format!("m-{worker}")));
                });
                let decision = ops
                    .decide(&acme(), &caller(), ask)
                    .await
                    .expect("no request fails");
                *answered.entry(decision.version.get()).or_default() += 1;
            }
            answered
        });
    }
    for round in 0..6 {
        house.order(deploy(2 - round % 2)).await.unwrap();
    }
    is_over.store(true, Ordering::Relaxed);
    let mut answered = 0;
    for versions in load.join_all().await {
        answered += versions.values().sum::<usize>();
    }
    assert!(answered > 0);
    assert_eq!(house.records(Kind::Failed).await.len(), 0);
    assert_eq!(
        house.records(Kind::Decision).await.len(),
        answered.min(1_000)
    );
}

async fn other_replicas_follow_at_their_next_tick(house: &House) {
    house.register(2).await;
    house.order(deploy(1)).await.unwrap();
    let second = house.replica("r2").await;
    let serves = || {
        let live = second
            .routing()
            .live(&acme(), &claims(), &Environment::production())
            .unwrap();
        live.deployment.traffic.to_string()
    };
    assert_eq!(
        serves(),
        "v1 100%",
        "what is deployed is at work after the start"
    );
    house.order(deploy(2)).await.unwrap();
    assert_eq!(serves(), "v1 100%");
    let wake_us = second.tick().await.unwrap();
    assert_eq!(serves(), "v2 100%");
    assert!(wake_us - NOW_US <= 2_000_000, "within two seconds");
    let decision = second
        .decide(&acme(), &caller(), asking(|_| {}))
        .await
        .unwrap();
    assert_eq!(decision.recorded.unwrap().lane.as_str(), "r2");
}

async fn a_person_stays_with_their_version_while_a_canary_grows(house: &House) {
    house.register(2).await;
    house.order(deploy(1)).await.unwrap();
    let mut with_canary: Vec<usize> = Vec::new();
    for percent in [10, 50, 90] {
        house.time.pass(MILLISECOND_US);
        house
            .order(Order::Canary {
                version: version(2),
                percent,
            })
            .await
            .unwrap();
        let mut now = Vec::new();
        for person in 0..60 {
            let who = format!("m-{person}");
            let routing = house.ops.routing();
            let route = routing.route(
                &acme(),
                &claims(),
                &Environment::production(),
                None,
                who.as_bytes(),
            );
            if route.unwrap().warm.registered.version == version(2) {
                now.push(person);
            }
        }
        assert!(
            with_canary.iter().all(|person| now.contains(person)),
            "{percent}%"
        );
        with_canary = now;
    }
    assert!(with_canary.len() > 40, "{}", with_canary.len());
    house.time.pass(MILLISECOND_US);
    house.order(Order::Promote).await.unwrap();
    let events: Vec<(String, String)> = events(house)
        .await
        .into_iter()
        .map(|event| (event.kind, event.becomes))
        .collect();
    assert_eq!(
        events[0],
        (
            "promote".to_owned(),
            "v2 100%; record before-answer".to_owned()
        )
    );
    assert_eq!(events[1].1, "v1 10%, v2 90%; record before-answer");
}

async fn the_previous_version_is_at_hand(house: &House) {
    house.register(2).await;
    house.order(deploy(1)).await.unwrap();
    house.order(deploy(2)).await.unwrap();
    let live = house
        .ops
        .routing()
        .live(&acme(), &claims(), &Environment::production())
        .unwrap();
    let first = Arc::clone(live.version(version(1)).expect("warm"));
    house.order(Order::Rollback { to: None }).await.unwrap();
    let live = house
        .ops
        .routing()
        .live(&acme(), &claims(), &Environment::production())
        .unwrap();
    assert!(
        Arc::ptr_eq(&first, live.version(version(1)).unwrap()),
        "not loaded again"
    );
    assert_eq!(live.deployment.traffic.to_string(), "v1 100%");
    let refused = house
        .ops
        .registry()
        .store
        .delete_version(&acme(), &claims(), version(2))
        .await;
    assert_eq!(refused.unwrap_err().class(), Class::Conflict);
}

async fn a_failed_gate_is_refused_and_a_forced_one_shouts(house: &House) {
    let gate = GateResult {
        name: "accuracy".to_owned(),
        passed: false,
        measured: Some(0.8),
        limit: ">= 0.85".to_owned(),
        note: String::new(),
    };
    house.register_one(1, vec![gate]).await;
    let refused = house.order(deploy(1)).await.unwrap_err();
    assert_eq!(refused.class(), Class::Conflict);
    assert!(events(house).await.is_empty() && house.records(Kind::Deployment).await.is_empty());
    let force = Force::new(Role::Admin, "the deadline is today").unwrap();
    house.order_with(deploy(1), Some(force)).await.unwrap();
    let event = events(house).await.remove(0);
    assert!(
        event.is_forced && event.reason.starts_with("GATES OVERRULED (accuracy"),
        "{event:?}"
    );
    let record = house.records(Kind::Deployment).await.remove(0);
    assert!(record.detail.unwrap().contains("GATES OVERRULED"));
    // Going back to it is free, and told.
    house.register_one(2, Vec::new()).await;
    for order in [deploy(2), Order::Rollback { to: None }] {
        house.time.pass(MILLISECOND_US);
        house.order(order).await.unwrap();
    }
    let mut told = events(house).await.into_iter();
    let went_back = told.find(|event| event.kind == "rollback").unwrap();
    let numbers = &went_back.numbers;
    assert_eq!(numbers["gates"][0]["passed"], false, "{numbers}");
    let warning = numbers["warning"].as_str().unwrap();
    assert!(warning.contains("FAILED GATES: accuracy"), "{warning}");
}

async fn a_gate_is_judged_by_its_numbers_and_an_unsigned_bundle_is_named(house: &House) {
    let gate = |passed, measured, limit: &str| GateResult {
        name: "accuracy".to_owned(),
        passed,
        measured,
        limit: limit.to_owned(),
        note: String::new(),
    };
    let claims = [
        gate(true, Some(0.5), ">= 0.85"),
        gate(true, None, ">= 0.85"),
        gate(true, Some(0.9), "good"),
    ];
    for (number, claim) in (1..).zip(claims) {
        house.register_one(number, vec![claim]).await;
        let refused = house.order(deploy(number)).await.unwrap_err();
        assert_eq!(refused.class(), Class::Conflict, "{refused}");
    }
    let passed = gate(true, Some(0.9), ">= 0.85");
    house.register_one(4, vec![passed]).await;
    house.order(deploy(4)).await.unwrap();
    let numbers = events(house).await.remove(0).numbers;
    assert_eq!(numbers["signed_by"], serde_json::Value::Null);
    assert!(
        numbers["warning"].as_str().unwrap().contains("not signed"),
        "{numbers}"
    );
}

async fn after_a_canary_it_is_known_what_answered_before(house: &House) {
    for number in 1..=4 {
        house.register_one(number, Vec::new()).await;
    }
    let canary = |number: u32| Order::Canary {
        version: version(number),
        percent: 10,
    };
    let back = || Order::Rollback { to: None };
    // Version 3 was taken back as a whole, 4 as a canary; neither is what answered before 2.
    let orders = [
        deploy(1),
        deploy(2),
        deploy(3),
        back(),
        canary(4),
        back(),
        back(),
    ];
    for order in orders {
        house.time.pass(MILLISECOND_US);
        house.order(order).await.unwrap();
    }
    let place = (&acme(), &claims(), &Environment::production());
    let now = house.ops.routing().live(place.0, place.1, place.2);
    let active = now.unwrap().deployment.traffic.active().to_vec();
    assert_eq!(
        (active.len(), active[0].version),
        (1, version(1)),
        "{active:?}"
    );
    house.time.pass(MILLISECOND_US);
    house.order(canary(4)).await.unwrap();
    house.time.pass(MILLISECOND_US);
    house.order(back()).await.unwrap();
    let refused = house.order(back()).await.unwrap_err();
    assert!(
        refused.to_string().contains("no version before"),
        "{refused}"
    );
}

async fn nothing_goes_back_to_a_version_that_never_answered(house: &House) {
    house.register(3).await;
    let back = |number| Order::Rollback {
        to: Some(version(number)),
    };
    house.order(deploy(1)).await.unwrap();
    let shadow = Order::Shadow {
        version: Some(version(3)),
    };
    for order in [shadow, deploy(2)] {
        house.time.pass(MILLISECOND_US);
        house.order(order).await.unwrap();
    }
    let refused = house.order(back(3)).await.unwrap_err();
    assert!(refused.to_string().contains("never answered"), "{refused}");
    for number in [1, 2] {
        house.time.pass(MILLISECOND_US);
        house.order(back(number)).await.unwrap();
    }
}

async fn a_version_that_cannot_be_loaded_changes_nothing(house: &House) {
    house.serving().await;
    house.register_one(2, Vec::new()).await;
    let bundle = house
        .folder
        .path()
        .join("artifacts/acme/models/claim_outcome/2");
    std::fs::write(bundle.join("model.ubj"), b"broken").unwrap();
    let refused = house.order(deploy(2)).await.unwrap_err();
    assert_eq!(refused.class(), Class::Corrupt, "{refused}");
    let decision = house
        .ops
        .decide(&acme(), &caller(), asking(|_| {}))
        .await
        .unwrap();
    assert_eq!(decision.version, version(1));
    assert_eq!(events(house).await.len(), 1);
}

async fn a_swapped_bundle_is_not_put_to_work(house: &House) {
    house.serving().await;
    house.register_one(2, Vec::new()).await;
    let models = house
        .folder
        .path()
        .join("artifacts/acme/models/claim_outcome");
    std::fs::remove_dir_all(models.join("1")).unwrap();
    std::fs::rename(models.join("2"), models.join("1")).unwrap();
    // A replica that starts now finds a bundle that is whole, and not the one that was registered.
    let second = house.replica("r2").await;
    let refused = second
        .decide(&acme(), &caller(), asking(|_| {}))
        .await
        .unwrap_err();
    assert!(matches!(refused, Error::NotAtHand { .. }), "{refused:?}");
    assert_eq!(refused.class(), Class::Unavailable);
    assert!(refused.retry_after_ms().is_some());
    assert!(!second.routing().is_ready(), "nobody should ask it");
    let failures = second.routing().failures();
    let why = &failures["acme/claim_outcome/production"];
    assert!(why.contains("is not the one that was registered"), "{why}");
    // What is deployed nowhere is another matter.
    let elsewhere = asking(|ask| ask.environment = Environment::staging());
    let refused = second.decide(&acme(), &caller(), elsewhere).await;
    assert_eq!(refused.unwrap_err().class(), Class::NotFound);
    assert!(house.ops.routing().is_ready());
    let decision = house
        .ops
        .decide(&acme(), &caller(), asking(|_| {}))
        .await
        .unwrap();
    assert_eq!(decision.version, version(1), "who has it in memory goes on");
}

async fn of_two_orders_at_once_the_loser_is_on_record(house: &House) {
    house.register(3).await;
    let second = house.replica("r2").await;
    let order = |ops: ombud_ops::Ops, number: u32| async move {
        let ordered = ombud_ops::perform::Ordered {
            model: claims(),
            environment: Environment::production(),
            order: deploy(number),
            reason: "a race".to_owned(),
            force: None,
        };
        ops.change(&acme(), &caller(), ordered).await
    };
    let (a, b) = tokio::join!(order(house.ops.clone(), 1), order(second, 2));
    let (won, lost): (Vec<_>, Vec<_>) = [a, b].into_iter().partition(Result::is_ok);
    let records = house.records(Kind::Deployment).await;
    let abandoned = records.iter().filter(|record| {
        !record
            .detail
            .as_deref()
            .unwrap()
            .contains("\"abandoned\":null")
    });
    assert_eq!(
        abandoned.count(),
        lost.len(),
        "who was slower is on record as abandoned"
    );
    assert_eq!(events(house).await.len(), won.len());
    assert!(!won.is_empty());
}

async fn a_withdrawn_model_answers_nobody(house: &House) {
    house.serving().await;
    house.time.pass(MILLISECOND_US);
    let production = Environment::production();
    house
        .ops
        .withdraw(&acme(), &caller(), &claims(), &production, "retired")
        .await
        .unwrap();
    let refused = house
        .ops
        .decide(&acme(), &caller(), asking(|_| {}))
        .await
        .unwrap_err();
    assert_eq!(refused.class(), Class::NotFound);
    assert_eq!(events(house).await[0].becomes, "nothing");
    let twice = house
        .ops
        .withdraw(&acme(), &caller(), &claims(), &production, "retired")
        .await;
    assert_eq!(twice.unwrap_err().class(), Class::NotFound);
}

async fn a_model_is_loaded_when_somebody_approved_it(house: &House) {
    house.register(2).await;
    let production = Environment::production();
    let load = async || {
        house
            .ops
            .load(&acme(), &caller(), &claims(), &production)
            .await
    };
    let refused = load().await.unwrap_err();
    assert_eq!(
        refused.class(),
        Class::Conflict,
        "registering is not approving"
    );
    house.order(deploy(1)).await.unwrap();
    house.time.pass(MILLISECOND_US);
    assert_eq!(load().await.unwrap().revision, 1, "it is at work already");
    house
        .ops
        .withdraw(&acme(), &caller(), &claims(), &production, "retired")
        .await
        .unwrap();
    house.time.pass(MILLISECOND_US);
    let back = load().await.unwrap();
    assert_eq!(
        back.traffic.active()[0].version,
        version(1),
        "and not the newest"
    );
    house
        .ops
        .decide(&acme(), &caller(), asking(|_| {}))
        .await
        .unwrap();
}
