//! A question's way through the house.

use crate::house::{House, acme, ask, asking, caller, case, claims, deploy, subject, version};
use ombud_core::Class;
use ombud_ledger::{Clear, Kind};
use ombud_ops::decide::{BATCH_ROWS_MAX, Batch, BatchRow};
use ombud_ops::{Error, Order};
use ombud_store::{Environment, Recording};

promises! {
    a_decision_is_on_record_when_it_is_answered,
    the_same_question_is_answered_from_the_cache_and_still_recorded,
    a_refused_input_is_recorded_without_its_body,
    what_is_not_deployed_is_refused_and_recorded,
    a_retry_gets_the_same_decision,
    retries_at_once_make_one_decision,
    a_try_that_died_before_its_record_is_taken_up_under_its_id,
    a_refused_try_gives_its_key_back,
    a_batch_has_errors_beside_answers,
    a_batch_that_is_answered_whole_or_not_at_all_names_the_row,
    a_ledger_that_cannot_write_refuses_decisions,
    an_answer_may_leave_before_its_record_where_the_deployment_says_so,
    a_shadow_sees_the_same_rows_and_answers_nobody,
}

async fn a_decision_is_on_record_when_it_is_answered(house: &House) {
    house.serving().await;
    let decision = house.ops.decide(&acme(), &caller(), ask()).await.unwrap();
    assert_eq!(decision.answer.prediction, case(0).1);
    assert_eq!((decision.version, decision.cache_hit), (version(1), false));
    let recorded = decision.recorded.clone().unwrap();
    let record = house.records(Kind::Decision).await.remove(0);
    assert_eq!((record.id, record.hash), (decision.id, recorded.hash));
    assert_eq!(
        record.answer,
        Some(serde_json::to_string(&decision.answer).unwrap())
    );
    assert_eq!(record.bundle, Some(decision.bundle));
    assert_eq!(record.principal.as_deref(), Some("key:omb_desk"));
    assert!(
        record.subject.is_some()
            && record.sealed_input.is_some()
            && record.sealed_explanation.is_some()
    );
    let shown = format!("{record:?}");
    assert!(
        !shown.contains("overtime") && !shown.contains("m-1"),
        "nothing personal is in clear"
    );
}

async fn the_same_question_is_answered_from_the_cache_and_still_recorded(house: &House) {
    house.serving().await;
    let first = house.ops.decide(&acme(), &caller(), ask()).await.unwrap();
    let again = house.ops.decide(&acme(), &caller(), ask()).await.unwrap();
    assert!(again.cache_hit && again.id != first.id);
    assert_eq!(
        (&again.answer, &again.explanation),
        (&first.answer, &first.explanation)
    );
    let without = house
        .ops
        .decide(&acme(), &caller(), asking(|ask| ask.use_cache = false))
        .await
        .unwrap();
    assert!(!without.cache_hit);
    let unexplained = house
        .ops
        .decide(&acme(), &caller(), asking(|ask| ask.explain = false))
        .await
        .unwrap();
    assert!(
        !unexplained.cache_hit && unexplained.explanation.is_none(),
        "without reasons it is another answer"
    );
    let hits: Vec<_> = house
        .records(Kind::Decision)
        .await
        .iter()
        .map(|record| record.cache_hit)
        .collect();
    assert_eq!(hits.iter().filter(|hit| **hit == Some(true)).count(), 1);
    assert_eq!(hits.len(), 4);
}

async fn a_refused_input_is_recorded_without_its_body(house: &House) {
    house.serving().await;
    let wrong = Clear::new(br#"{"severity":"the secret illness","nonsense":1}"#.to_vec());
    let refused = house
        .ops
        .decide(&acme(), &caller(), asking(|ask| ask.input = wrong))
        .await
        .unwrap_err();
    let Error::Refused(refusal) = &refused else {
        panic!("{refused:?}");
    };
    assert!(refusal.count > 1, "every fault is told: {refusal}");
    let record = house.records(Kind::Refused).await.remove(0);
    assert_eq!(record.sealed_input, None);
    let detail = record.detail.unwrap();
    assert!(
        detail.contains("Invalid") && !detail.contains("secret"),
        "{detail}"
    );
    assert!(house.records(Kind::Decision).await.is_empty());
}

async fn what_is_not_deployed_is_refused_and_recorded(house: &House) {
    house.serving().await;
    let staging = asking(|ask| ask.environment = Environment::staging());
    let refused = house
        .ops
        .decide(&acme(), &caller(), staging)
        .await
        .unwrap_err();
    assert_eq!(
        refused.to_string(),
        "nothing of claim_outcome is deployed to staging"
    );
    let elsewhere = asking(|ask| ask.version = Some(version(7)));
    let refused = house
        .ops
        .decide(&acme(), &caller(), elsewhere)
        .await
        .unwrap_err();
    assert_eq!(refused.class(), Class::NotFound);
    let stranger = ombud_ledger::Tenant::new("other").unwrap();
    let refused = house
        .ops
        .decide(&stranger, &caller(), ask())
        .await
        .unwrap_err();
    assert_eq!(refused.class(), Class::NotFound);
    assert_eq!(house.records(Kind::Refused).await.len(), 2);
}

async fn a_retry_gets_the_same_decision(house: &House) {
    house.serving().await;
    let keyed = || asking(|ask| ask.idempotency_key = Some("k1".to_owned()));
    let first = house.ops.decide(&acme(), &caller(), keyed()).await.unwrap();
    // Another version answers by now; the retry does not notice.
    house.register_one(2, Vec::new()).await;
    house.order(deploy(2)).await.unwrap();
    let again = house.ops.decide(&acme(), &caller(), keyed()).await.unwrap();
    assert!(again.is_replayed);
    assert_eq!(
        (again.id, again.version, &again.answer),
        (first.id, version(1), &first.answer)
    );
    assert_eq!(
        (&again.explanation, &again.recorded),
        (&first.explanation, &first.recorded)
    );
    assert_eq!(house.records(Kind::Decision).await.len(), 1);
    let other = asking(|ask| {
        ask.idempotency_key = Some("k1".to_owned());
        ask.subject = Some(subject("m-2"));
    });
    let refused = house
        .ops
        .decide(&acme(), &caller(), other)
        .await
        .unwrap_err();
    assert_eq!(refused.class(), Class::Conflict);
}

async fn retries_at_once_make_one_decision(house: &House) {
    house.serving().await;
    let mut tries = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let ops = house.ops.clone();
        let keyed = asking(|ask| ask.idempotency_key = Some("k1".to_owned()));
        tries.spawn(async move { ops.decide(&acme(), &caller(), keyed).await.unwrap().id });
    }
    let mut ids = tries.join_all().await;
    ids.dedup();
    assert_eq!(ids.len(), 1);
    assert_eq!(house.records(Kind::Decision).await.len(), 1);
}

async fn a_try_that_died_before_its_record_is_taken_up_under_its_id(house: &House) {
    house.serving().await;
    let second = house.replica("r2").await;
    let ledger = house.ops.ledger().clone();
    tokio::task::spawn_blocking(move || ledger.close())
        .await
        .unwrap();
    let keyed = || asking(|ask| ask.idempotency_key = Some("k1".to_owned()));
    // The first replica reserves the key and cannot record.
    let died = house.ops.decide(&acme(), &caller(), keyed()).await;
    assert_eq!(died.unwrap_err().class(), Class::Unavailable);
    let taken_up = second.decide(&acme(), &caller(), keyed()).await.unwrap();
    assert!(!taken_up.is_replayed, "it was never decided before");
    let retry = second.decide(&acme(), &caller(), keyed()).await.unwrap();
    assert!(retry.is_replayed && retry.id == taken_up.id);
    assert_eq!(house.records(Kind::Decision).await.len(), 1);
}

async fn a_refused_try_gives_its_key_back(house: &House) {
    house.serving().await;
    let wrong = asking(|ask| {
        ask.input = Clear::new(b"{}".to_vec());
        ask.version = Some(version(9));
        ask.idempotency_key = Some("k1".to_owned());
    });
    house
        .ops
        .decide(&acme(), &caller(), wrong)
        .await
        .unwrap_err();
    let mended = asking(|ask| ask.idempotency_key = Some("k1".to_owned()));
    let decision = house.ops.decide(&acme(), &caller(), mended).await.unwrap();
    assert!(!decision.is_replayed);
}

fn batch(rows: Vec<BatchRow>) -> Batch {
    Batch {
        model: claims(),
        environment: Environment::production(),
        version: None,
        rows,
        explain: false,
    }
}

fn row(input: &str) -> BatchRow {
    BatchRow {
        subject: None,
        input: Clear::new(input.as_bytes().to_vec()),
    }
}

async fn a_batch_has_errors_beside_answers(house: &House) {
    house.serving().await;
    let good = case(1).0.to_string();
    let rows = vec![
        row(&good),
        row(r#"{"severity":7}"#),
        row("no json"),
        row(&good),
    ];
    let told = house
        .ops
        .decide_batch(&acme(), &caller(), batch(rows))
        .await
        .unwrap();
    let shown: Vec<bool> = told.iter().map(Result::is_ok).collect();
    assert_eq!(shown, [true, false, false, true]);
    assert_eq!(told[0].as_ref().unwrap().answer.prediction, case(1).1);
    assert_eq!(house.records(Kind::Decision).await.len(), 2);
    assert_eq!(house.records(Kind::Refused).await.len(), 2);
    let full = vec![row(&good); BATCH_ROWS_MAX];
    assert_eq!(
        house
            .ops
            .decide_batch(&acme(), &caller(), batch(full))
            .await
            .unwrap()
            .len(),
        BATCH_ROWS_MAX
    );
    let many = vec![row(&good); BATCH_ROWS_MAX + 1];
    let refused = house
        .ops
        .decide_batch(&acme(), &caller(), batch(many))
        .await
        .unwrap_err();
    assert_eq!(refused.class(), Class::TooLarge);
    let refused = house
        .ops
        .decide_batch(&acme(), &caller(), batch(Vec::new()))
        .await
        .unwrap_err();
    assert_eq!(refused.class(), Class::Invalid);
}

async fn a_batch_that_is_answered_whole_or_not_at_all_names_the_row(house: &House) {
    house.serving().await;
    let good = case(1).0.to_string();
    let whole = async |rows| {
        let batch = batch(rows);
        house.ops.decide_whole(&acme(), &caller(), batch).await
    };
    let error = whole(vec![row(&good), row(r#"{"severity":7}"#), row(&good)]).await;
    let error = error.unwrap_err();
    assert!(matches!(error, Error::Row { row: 1, .. }), "{error}");
    assert_eq!(error.class(), Class::Invalid);
    assert_eq!(house.records(Kind::Decision).await.len(), 0);
    assert_eq!(house.records(Kind::Refused).await.len(), 1);
    let told = whole(vec![row(&good), row(&good)]).await.unwrap();
    assert_eq!(told[1].answer.prediction, case(1).1);
    assert_eq!(house.records(Kind::Decision).await.len(), 2);
}

async fn a_ledger_that_cannot_write_refuses_decisions(house: &House) {
    house.serving().await;
    let ledger = house.ops.ledger().clone();
    tokio::task::spawn_blocking(move || ledger.close())
        .await
        .unwrap();
    let refused = house
        .ops
        .decide(&acme(), &caller(), ask())
        .await
        .unwrap_err();
    assert_eq!(refused.class(), Class::Unavailable);
    let rows = vec![row(&case(0).0.to_string())];
    let refused = house
        .ops
        .decide_batch(&acme(), &caller(), batch(rows))
        .await
        .unwrap_err();
    assert_eq!(refused.class(), Class::Unavailable);
    let wrong = asking(|ask| ask.input = Clear::new(b"{".to_vec()));
    let refused = house
        .ops
        .decide(&acme(), &caller(), wrong)
        .await
        .unwrap_err();
    assert_eq!(
        refused.class(),
        Class::Unavailable,
        "not even a refusal goes unrecorded"
    );
}

async fn an_answer_may_leave_before_its_record_where_the_deployment_says_so(house: &House) {
    house.serving().await;
    house
        .order(Order::Record {
            recording: Recording::After,
        })
        .await
        .unwrap();
    let decision = house.ops.decide(&acme(), &caller(), ask()).await.unwrap();
    assert_eq!(decision.recorded, None);
    let ledger = house.ops.ledger().clone();
    tokio::task::spawn_blocking(move || ledger.close())
        .await
        .unwrap();
    assert_eq!(
        house.records(Kind::Decision).await[0].id,
        decision.id,
        "what was accepted is finished"
    );
    let refused = house
        .ops
        .decide(&acme(), &caller(), ask())
        .await
        .unwrap_err();
    assert_eq!(
        refused.class(),
        Class::Unavailable,
        "what is not accepted is refused"
    );
}

async fn a_shadow_sees_the_same_rows_and_answers_nobody(house: &House) {
    house.register(2).await;
    house.order(deploy(1)).await.unwrap();
    house
        .order(Order::Shadow {
            version: Some(version(2)),
        })
        .await
        .unwrap();
    for _ in 0..5 {
        let decision = house
            .ops
            .decide(&acme(), &caller(), asking(|ask| ask.use_cache = false))
            .await
            .unwrap();
        assert_eq!(decision.version, version(1));
    }
    let directly = asking(|ask| ask.version = Some(version(2)));
    let refused = house.ops.decide(&acme(), &caller(), directly).await;
    assert_eq!(
        refused.unwrap_err().class(),
        Class::NotFound,
        "nor to those who ask for it"
    );
    house.ops.drain_shadows().await;
    let live = house
        .ops
        .routing()
        .live(&acme(), &claims(), &Environment::production())
        .unwrap();
    let counts = live.shadow().unwrap().counters.counts();
    assert_eq!(
        (counts.shadowed, counts.shadow_differs, counts.answered),
        (5, 0, 0)
    );
    assert_eq!(
        live.version(version(1)).unwrap().counters.counts().answered,
        5
    );
    assert_eq!(house.records(Kind::Decision).await.len(), 5);
}
