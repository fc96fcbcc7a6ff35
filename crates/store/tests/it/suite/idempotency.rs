//! Idempotency keys.

use crate::house::{House, NOW_US, acme, id, other};
use ombud_core::{Class, Digest};
use ombud_ledger::{RecordId, SubjectReference, Tenant};
use ombud_store::Error;
use ombud_store::idempotency::{IDEMPOTENCY_AGE_MAX_US, Reservation, Try};

promises! {
    a_retry_gets_the_decision_of_the_first_try,
    a_key_with_another_request_is_refused,
    keys_of_two_principals_or_tenants_never_meet,
    of_tries_at_once_one_is_first,
    a_key_is_forgotten_after_a_day,
    a_released_key_may_be_used_again,
    a_forgotten_person_leaves_no_key,
}

fn came(key: &str, request: u8) -> Try<'_> {
    Try {
        principal: "key:omb_desk",
        key,
        request: Digest::new([request; 32]),
        fresh: id(),
        subject: None,
    }
}

async fn reserve(house: &House, tenant: Tenant, came: Try<'_>, now_us: i64) -> Reservation {
    house.store.reserve(&tenant, came, now_us).await.unwrap()
}

async fn a_retry_gets_the_decision_of_the_first_try(house: &House) {
    let first = came("k1", 1);
    let decision = first.fresh;
    assert_eq!(
        reserve(house, acme(), first, NOW_US).await,
        Reservation::First(decision)
    );
    for later_us in [0, 1, IDEMPOTENCY_AGE_MAX_US - 1] {
        let again = reserve(house, acme(), came("k1", 1), NOW_US + later_us).await;
        assert_eq!(again, Reservation::Again(decision));
    }
}

async fn a_key_with_another_request_is_refused(house: &House) {
    let decision = reserve(house, acme(), came("k1", 1), NOW_US)
        .await
        .decision();
    let refused = house
        .store
        .reserve(&acme(), came("k1", 2), NOW_US)
        .await
        .unwrap_err();
    assert!(matches!(refused, Error::IdempotencyMismatch { decision: found } if found == decision));
    for key in ["", "a b", "ä", &"k".repeat(256)] {
        let refused = house
            .store
            .reserve(&acme(), came(key, 1), NOW_US)
            .await
            .unwrap_err();
        assert_eq!(refused.class(), Class::Invalid, "{key:?}");
    }
}

async fn keys_of_two_principals_or_tenants_never_meet(house: &House) {
    reserve(house, acme(), came("k1", 1), NOW_US).await;
    let theirs = reserve(house, other(), came("k1", 2), NOW_US).await;
    assert!(matches!(theirs, Reservation::First(_)));
    let colleague = Try {
        principal: "person:ana",
        ..came("k1", 3)
    };
    assert!(matches!(
        reserve(house, acme(), colleague, NOW_US).await,
        Reservation::First(_)
    ));
}

async fn of_tries_at_once_one_is_first(house: &House) {
    let one = || reserve(house, acme(), came("k1", 1), NOW_US);
    let (a, b, c, d) = tokio::join!(one(), one(), one(), one());
    let all = [a, b, c, d];
    let first: Vec<RecordId> = all
        .iter()
        .filter_map(|reservation| match reservation {
            Reservation::First(id) => Some(*id),
            Reservation::Again(_) => None,
        })
        .collect();
    assert_eq!(first.len(), 1);
    assert!(
        all.iter()
            .all(|reservation| reservation.decision() == first[0])
    );
}

async fn a_key_is_forgotten_after_a_day(house: &House) {
    let old = reserve(house, acme(), came("k1", 1), NOW_US)
        .await
        .decision();
    let later_us = NOW_US + IDEMPOTENCY_AGE_MAX_US;
    let taken_over = reserve(house, acme(), came("k1", 2), later_us).await;
    assert!(matches!(taken_over, Reservation::First(id) if id != old));
    assert_eq!(house.store.sweep_idempotency(later_us).await.unwrap(), 0);
    let swept = house
        .store
        .sweep_idempotency(later_us + IDEMPOTENCY_AGE_MAX_US)
        .await
        .unwrap();
    assert_eq!(swept, 1);
}

async fn a_released_key_may_be_used_again(house: &House) {
    let decision = reserve(house, acme(), came("k1", 1), NOW_US)
        .await
        .decision();
    let release = |tenant: Tenant, id| async move {
        house
            .store
            .release(&tenant, "key:omb_desk", "k1", id)
            .await
            .unwrap();
    };
    release(other(), decision).await;
    release(acme(), id()).await;
    assert!(
        house
            .store
            .reserve(&acme(), came("k1", 2), NOW_US)
            .await
            .is_err(),
        "not theirs to release"
    );
    release(acme(), decision).await;
    assert!(matches!(
        reserve(house, acme(), came("k1", 2), NOW_US).await,
        Reservation::First(_)
    ));
}

async fn a_forgotten_person_leaves_no_key(house: &House) {
    let person = SubjectReference(Digest::new([5; 32]));
    reserve(
        house,
        acme(),
        Try {
            subject: Some(person),
            ..came("k1", 1)
        },
        NOW_US,
    )
    .await;
    assert_eq!(
        house
            .store
            .forget_subject(&acme(), person)
            .await
            .unwrap()
            .idempotency_keys,
        1
    );
    assert!(matches!(
        reserve(house, acme(), came("k1", 1), NOW_US).await,
        Reservation::First(_)
    ));
}
