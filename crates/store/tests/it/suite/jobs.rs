//! Jobs: claimed by one worker, taken up again when it dies.

use crate::house::{House, MINUTE_US, NOW_US, acme, other};
use ombud_core::Class;
use ombud_ledger::RecordId;
use ombud_store::job::{ATTEMPTS_MAX, Advice, End, Job, Progress, State};
use serde_json::json;

promises! {
    a_job_runs_from_waiting_to_its_end,
    a_job_goes_to_one_worker,
    a_job_whose_worker_died_is_taken_up_again_but_not_for_ever,
    a_cancelled_job_stops_at_its_next_word,
    jobs_are_paged_newest_first,
}

async fn add(house: &House) -> RecordId {
    house
        .store
        .add_job(
            &acme(),
            "score",
            &json!({ "rows": 7 }),
            "person:ana",
            NOW_US,
        )
        .await
        .unwrap()
}

async fn claim(house: &House, worker: &str, now_us: i64) -> Option<Job> {
    house
        .store
        .claim_job(worker, MINUTE_US, now_us)
        .await
        .unwrap()
}

async fn tell(house: &House, job: &Job, done: u64, now_us: i64) -> Advice {
    let progress = Progress {
        done,
        total: Some(7),
        message: "scoring",
    };
    house
        .store
        .job_progress(job, progress, MINUTE_US, now_us)
        .await
        .unwrap()
}

async fn a_job_runs_from_waiting_to_its_end(house: &House) {
    let id = add(house).await;
    assert_eq!(
        house.store.job(&acme(), id).await.unwrap().state,
        State::Waiting
    );
    assert_eq!(
        house.store.job(&other(), id).await.unwrap_err().class(),
        Class::NotFound
    );
    let job = claim(house, "r1", NOW_US).await.unwrap();
    assert_eq!(
        (job.id, job.spec.clone(), job.state),
        (id, json!({ "rows": 7 }), State::Running)
    );
    assert_eq!(tell(house, &job, 3, NOW_US).await, Advice::Continue);
    let found = house.store.job(&acme(), id).await.unwrap();
    assert_eq!(
        (found.done, found.total, found.message.as_str()),
        (3, Some(7), "scoring")
    );
    house
        .store
        .end_job(&job, End::Succeeded(json!({ "rows": 7 })), NOW_US + 5)
        .await
        .unwrap();
    let found = house.store.job(&acme(), id).await.unwrap();
    assert_eq!(
        (found.state, found.result, found.ended_us),
        (
            State::Succeeded,
            Some(json!({ "rows": 7 })),
            Some(NOW_US + 5)
        )
    );
    let twice = house.store.end_job(&job, End::Cancelled, NOW_US).await;
    assert_eq!(twice.unwrap_err().class(), Class::Conflict);
}

async fn a_job_goes_to_one_worker(house: &House) {
    let first = add(house).await;
    let (a, b, c) = tokio::join!(
        claim(house, "r1", NOW_US),
        claim(house, "r2", NOW_US),
        claim(house, "r3", NOW_US)
    );
    let claimed: Vec<RecordId> = [a, b, c].into_iter().flatten().map(|job| job.id).collect();
    assert_eq!(claimed, [first]);
}

async fn a_job_whose_worker_died_is_taken_up_again_but_not_for_ever(house: &House) {
    let id = add(house).await;
    let mut now_us = NOW_US;
    let first = claim(house, "r0", now_us).await.unwrap();
    for _ in 1..ATTEMPTS_MAX {
        assert!(
            claim(house, "r1", now_us + MINUTE_US).await.is_none(),
            "the lease still runs"
        );
        now_us += MINUTE_US + 1;
        assert_eq!(claim(house, "r1", now_us).await.unwrap().id, id);
    }
    assert_eq!(
        tell(house, &first, 1, now_us).await,
        Advice::Lost,
        "its first worker has nothing to say any more"
    );
    now_us += MINUTE_US + 1;
    assert!(claim(house, "r1", now_us).await.is_none());
    let found = house.store.job(&acme(), id).await.unwrap();
    assert_eq!(
        (found.state, found.message.as_str()),
        (State::Failed, "its workers died")
    );
}

async fn a_cancelled_job_stops_at_its_next_word(house: &House) {
    let (waiting, running) = (add(house).await, add(house).await);
    let stranger = house.store.cancel_job(&other(), waiting, NOW_US).await;
    assert_eq!(stranger.unwrap_err().class(), Class::NotFound);
    let job = claim(house, "r1", NOW_US).await.unwrap();
    let (running, waiting) = if job.id == running {
        (running, waiting)
    } else {
        (waiting, running)
    };
    assert_eq!(
        house
            .store
            .cancel_job(&acme(), waiting, NOW_US)
            .await
            .unwrap()
            .state,
        State::Cancelled
    );
    assert_eq!(
        house
            .store
            .cancel_job(&acme(), running, NOW_US)
            .await
            .unwrap()
            .state,
        State::Running
    );
    assert_eq!(tell(house, &job, 1, NOW_US).await, Advice::Cancel);
    house
        .store
        .end_job(&job, End::Cancelled, NOW_US)
        .await
        .unwrap();
    let late = house.store.cancel_job(&acme(), running, NOW_US).await;
    assert_eq!(late.unwrap_err().class(), Class::Conflict);
    assert!(claim(house, "r1", NOW_US).await.is_none());
}

async fn jobs_are_paged_newest_first(house: &House) {
    let mut ids = vec![add(house).await, add(house).await, add(house).await];
    ids.sort();
    ids.reverse();
    let first = house.store.jobs(&acme(), None, 2).await.unwrap();
    let rest = house.store.jobs(&acme(), first.next, 2).await.unwrap();
    let seen: Vec<RecordId> = first
        .items
        .iter()
        .chain(&rest.items)
        .map(|job| job.id)
        .collect();
    assert_eq!((seen, rest.next), (ids, None));
    assert_eq!(
        house.store.jobs(&other(), None, 10).await.unwrap().items,
        []
    );
}
