//! Buckets that replicas share, in a real Redis that is killed and stopped.

use crate::servers::RedisServer;
use ombud_store::buckets::Buckets;
use std::time::{Duration, Instant};

const SECOND: Duration = Duration::from_secs(1);
/// Long enough for a busy machine, and far below what a hanging server would cost.
const BOUND: Duration = Duration::from_millis(500);

#[tokio::test]
async fn two_replicas_take_from_one_bucket() {
    let Some(server) = RedisServer::start() else {
        return;
    };
    let (one, other) = (server.buckets(), server.buckets());
    let holds = 3_600 * SECOND;
    for turn in 0..6 {
        let replica = if turn % 2 == 0 { &one } else { &other };
        let taken = replica.take("a", 600 * SECOND, holds).await.unwrap();
        assert!(taken.is_granted, "{turn}");
        let wanted = 600 * SECOND * (turn + 1);
        assert!(taken.owed <= wanted && taken.owed + 10 * SECOND > wanted);
    }
    for replica in [&one, &other] {
        let taken = replica.take("a", 600 * SECOND, holds).await.unwrap();
        assert!(!taken.is_granted);
        let other_name = replica.take("b", 600 * SECOND, holds).await.unwrap();
        assert!(other_name.is_granted);
    }
    // What is full again needs no place there.
    let left = server.ask(&["PTTL", "ombud:bucket:a"]);
    let left_ms: u128 = left.trim().parse().unwrap();
    assert!((3_500_000..=3_600_001).contains(&left_ms), "{left_ms}");
}

#[tokio::test]
async fn many_at_once_get_what_the_bucket_holds_and_not_one_more() {
    let Some(server) = RedisServer::start() else {
        return;
    };
    let replicas: Vec<Buckets> = (0..4).map(|_| server.buckets()).collect();
    let takes = (0..200).map(|turn| replicas[turn % 4].take("a", 100 * SECOND, 5_000 * SECOND));
    let taken = futures_util::future::join_all(takes).await;
    let granted = taken.iter().flatten().filter(|taken| taken.is_granted);
    assert_eq!(granted.count(), 50);
}

async fn costs_little_without(buckets: &Buckets) {
    let start = Instant::now();
    for _ in 0..200 {
        assert_eq!(buckets.take("a", SECOND, 60 * SECOND).await, None);
    }
    let took = start.elapsed();
    assert!(took < BOUND, "two hundred takings took {took:?}");
}

async fn comes_back(buckets: &Buckets) {
    let deadline = Instant::now() + 60 * SECOND;
    while buckets.take("b", SECOND, 60 * SECOND).await.is_none() {
        assert!(Instant::now() < deadline, "it is there and nobody asks it");
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_redis_that_dies_gives_no_answer_and_is_asked_again_when_it_is_back() {
    let Some(mut server) = RedisServer::start() else {
        return;
    };
    let buckets = server.buckets();
    comes_back(&buckets).await;
    server.kill();
    costs_little_without(&buckets).await;
    server.restart();
    comes_back(&buckets).await;
}

#[tokio::test]
async fn a_redis_that_hangs_gives_no_answer_and_is_asked_again_when_it_goes_on() {
    let Some(server) = RedisServer::start() else {
        return;
    };
    let buckets = server.buckets();
    comes_back(&buckets).await;
    server.signal("STOP");
    costs_little_without(&buckets).await;
    server.signal("CONT");
    comes_back(&buckets).await;
}
