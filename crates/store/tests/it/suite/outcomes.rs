//! Outcomes: first, repeated, contradicting, late.

use crate::house::{DAY_US, House, NOW_US, acme, id, name, other, production, version};
use ombud_core::Digest;
use ombud_ledger::{RecordId, SubjectReference};
use ombud_store::outcome::{
    FreeText, Kept, LATE_AFTER_US, NewOutcome, OutcomeQuery, REPORTS_MAX, Standing,
};
use serde_json::{Value, json};

promises! {
    a_repeated_report_adds_nothing,
    of_contradicting_reports_the_later_observation_counts,
    a_late_report_counts_and_is_marked,
    one_decision_has_a_bounded_number_of_reports,
    outcomes_are_paged_by_the_time_of_their_decisions,
    reports_at_once_leave_one_that_counts,
    a_forgotten_person_leaves_no_free_text,
    outcomes_end_by_age,
}

fn person() -> SubjectReference {
    SubjectReference(Digest::new([5; 32]))
}

fn told(decision: RecordId, value: Value, observed_us: i64) -> NewOutcome {
    NewOutcome {
        decision,
        value,
        note: Some(FreeText("she wrote back".to_owned())),
        model: name("claims"),
        version: version(2),
        environment: production(),
        subject: Some(person()),
        decided_us: NOW_US,
        observed_us,
        reported_by: "key:omb_desk".to_owned(),
    }
}

async fn report(
    house: &House,
    decision: RecordId,
    value: &str,
    observed_us: i64,
    now_us: i64,
) -> Kept {
    let outcome = told(decision, json!(value), observed_us);
    house
        .store
        .add_outcome(&acme(), outcome, now_us)
        .await
        .unwrap()
}

async fn current(house: &House, decision: RecordId) -> Vec<(String, bool)> {
    let reports = house.store.outcomes_of(&acme(), decision).await.unwrap();
    let shown = reports
        .iter()
        .map(|report| (report.value.to_string(), report.is_current));
    shown.collect()
}

async fn a_repeated_report_adds_nothing(house: &House) {
    let decision = id();
    let first = report(house, decision, "settled", NOW_US, NOW_US + 1).await;
    assert_eq!(
        first,
        Kept {
            standing: Standing::First,
            is_late: false
        }
    );
    let again = report(house, decision, "settled", NOW_US, NOW_US + 2).await;
    assert_eq!(again.standing, Standing::Repeated);
    assert_eq!(
        current(house, decision).await,
        [("\"settled\"".to_owned(), true)]
    );
}

async fn of_contradicting_reports_the_later_observation_counts(house: &House) {
    let decision = id();
    let standing = |value, observed_us| async move {
        report(house, decision, value, NOW_US + observed_us, NOW_US)
            .await
            .standing
    };
    assert_eq!(standing("settled", 10).await, Standing::First);
    assert_eq!(standing("denied", 20).await, Standing::Replaces);
    assert_eq!(standing("appealed", 15).await, Standing::Superseded);
    assert_eq!(standing("denied", 30).await, Standing::Confirms);
    assert_eq!(
        standing("settled", 30).await,
        Standing::Replaces,
        "of two at one time the later report"
    );
    assert_eq!(
        standing("settled", 10).await,
        Standing::Repeated,
        "an old report that comes again changes nothing"
    );
    let expected = [
        ("settled", false),
        ("denied", false),
        ("appealed", false),
        ("denied", false),
        ("settled", true),
    ];
    assert_eq!(
        current(house, decision).await,
        expected.map(|(value, counts)| (format!("\"{value}\""), counts))
    );
}

async fn a_late_report_counts_and_is_marked(house: &House) {
    let decision = id();
    assert!(
        !report(house, decision, "settled", NOW_US, NOW_US + LATE_AFTER_US)
            .await
            .is_late
    );
    let late = report(
        house,
        decision,
        "denied",
        NOW_US + 1,
        NOW_US + LATE_AFTER_US + 1,
    )
    .await;
    assert_eq!(
        late,
        Kept {
            standing: Standing::Replaces,
            is_late: true
        }
    );
    let reports = house.store.outcomes_of(&acme(), decision).await.unwrap();
    assert!(reports[1].is_late && reports[1].is_current);
}

async fn one_decision_has_a_bounded_number_of_reports(house: &House) {
    let decision = id();
    for place in 0..REPORTS_MAX as i64 {
        report(house, decision, &place.to_string(), NOW_US + place, NOW_US).await;
    }
    let more = told(decision, json!("more"), NOW_US + DAY_US);
    let refused = house.store.add_outcome(&acme(), more, NOW_US).await;
    assert_eq!(refused.unwrap_err().class(), ombud_core::Class::TooLarge);
    let again = report(house, decision, "0", NOW_US, NOW_US).await;
    assert_eq!(
        again.standing,
        Standing::Repeated,
        "what is known is no more"
    );
}

async fn outcomes_are_paged_by_the_time_of_their_decisions(house: &House) {
    for place in 0..5 {
        let mut outcome = told(id(), json!(place), NOW_US);
        outcome.decided_us = NOW_US + place * DAY_US;
        house
            .store
            .add_outcome(&acme(), outcome, NOW_US)
            .await
            .unwrap();
    }
    let mut query = OutcomeQuery {
        model: name("claims"),
        environment: Some(production()),
        version: Some(version(2)),
        from_us: NOW_US + DAY_US,
        until_us: NOW_US + 4 * DAY_US,
        after: None,
        limit: 2,
    };
    let mut seen = Vec::new();
    loop {
        let page = house.store.outcomes(&acme(), &query).await.unwrap();
        seen.extend(page.items.iter().map(|outcome| outcome.value.to_string()));
        query.after = page.next;
        if page.next.is_none() {
            break;
        }
    }
    assert_eq!(seen, ["1", "2", "3"]);
    query.version = Some(version(3));
    assert_eq!(
        house.store.outcomes(&acme(), &query).await.unwrap().items,
        []
    );
}

async fn reports_at_once_leave_one_that_counts(house: &House) {
    let decision = id();
    let tell = |value| report(house, decision, value, NOW_US, NOW_US);
    tokio::join!(tell("a"), tell("b"), tell("c"), tell("d"));
    let reports = current(house, decision).await;
    assert_eq!(reports.len(), 4);
    assert_eq!(reports.iter().filter(|(_, counts)| *counts).count(), 1);
}

async fn a_forgotten_person_leaves_no_free_text(house: &House) {
    let decision = id();
    report(house, decision, "settled", NOW_US, NOW_US).await;
    assert_eq!(
        house
            .store
            .outcomes_about(&acme(), person(), 10)
            .await
            .unwrap()
            .len(),
        1
    );
    let stranger = house
        .store
        .forget_subject(&other(), person())
        .await
        .unwrap();
    assert_eq!(stranger.outcomes, 0);
    let forgotten = house.store.forget_subject(&acme(), person()).await.unwrap();
    assert_eq!(forgotten.outcomes, 1);
    assert_eq!(
        house
            .store
            .outcomes_about(&acme(), person(), 10)
            .await
            .unwrap(),
        []
    );
    let kept = house.store.outcomes_of(&acme(), decision).await.unwrap();
    assert_eq!(
        (kept[0].note.clone(), kept[0].value.clone()),
        (None, json!("settled"))
    );
    let stays = id();
    let mut stranger = told(stays, json!("settled"), NOW_US);
    stranger.note = Some(FreeText("somebody else's words".to_owned()));
    stranger.subject = None;
    house
        .store
        .add_outcome(&acme(), stranger, NOW_US)
        .await
        .unwrap();
    house.store.wipe_forgotten().await.unwrap();
    let everything = house.files_and_a_backup().await;
    let is_there = |text: &[u8]| {
        everything
            .iter()
            .any(|bytes| bytes.windows(text.len()).any(|window| window == text))
    };
    assert!(
        is_there(b"somebody else's words"),
        "the search finds what is there"
    );
    assert!(!is_there(b"she wrote back"));
}

async fn outcomes_end_by_age(house: &House) {
    let (old, new) = (id(), id());
    let mut outcome = told(old, json!("settled"), NOW_US);
    outcome.decided_us = NOW_US - DAY_US;
    house
        .store
        .add_outcome(&acme(), outcome, NOW_US)
        .await
        .unwrap();
    report(house, new, "settled", NOW_US, NOW_US).await;
    let ended = |tenant, before_us| async move {
        house
            .store
            .retain_outcomes(&tenant, &name("claims"), before_us)
            .await
            .unwrap()
    };
    assert_eq!(ended(other(), NOW_US).await, 0);
    assert_eq!(ended(acme(), NOW_US).await, 1);
    assert_eq!(house.store.outcomes_of(&acme(), old).await.unwrap(), []);
    assert_eq!(
        house.store.outcomes_of(&acme(), new).await.unwrap().len(),
        1
    );
}
