//! Cached answers, in memory and in a real Redis that is killed and stopped.

use crate::house::{acme, other};
use crate::servers::RedisServer;
use ombud_core::{Class, Digest};
use ombud_store::Cache;
use ombud_store::cache::{CacheKey, Memory, Redis, RedisOptions, VALUE_BYTES_MAX};
use std::sync::Arc;
use std::time::{Duration, Instant};

macro_rules! on_both {
    ($($name:ident),* $(,)?) => {
        mod memory {
            $(#[tokio::test] async fn $name() {
                let cache = ombud_store::cache::Memory::new(64 << 20, ombud_store::cache::LIFETIME);
                super::$name(&cache).await;
            })*
        }
        mod redis {
            $(#[tokio::test] async fn $name() {
                if let Some(server) = crate::servers::RedisServer::start() {
                    super::$name(&server.cache()).await;
                }
            })*
        }
    };
}

on_both! {
    an_answer_is_given_again_to_the_same_question_only,
    a_tenant_is_forgotten_whole_and_alone,
    an_answer_that_is_too_large_is_not_kept,
    a_cache_says_that_it_is_there,
}

fn key(bundle: u8, input: u8) -> CacheKey {
    CacheKey {
        bundle: Digest::new([bundle; 32]),
        input: Digest::new([input; 32]),
    }
}

fn value(text: &str) -> Arc<[u8]> {
    Arc::from(text.as_bytes())
}

async fn an_answer_is_given_again_to_the_same_question_only(cache: &dyn Cache) {
    cache.put(&acme(), &key(1, 1), value("yes")).await;
    assert_eq!(
        cache.get(&acme(), &key(1, 1)).await.as_deref(),
        Some(b"yes".as_slice())
    );
    assert_eq!(cache.get(&acme(), &key(1, 2)).await, None, "another input");
    assert_eq!(cache.get(&acme(), &key(2, 1)).await, None, "another bundle");
    assert_eq!(
        cache.get(&other(), &key(1, 1)).await,
        None,
        "another tenant"
    );
    cache.put(&acme(), &key(1, 1), value("no")).await;
    assert_eq!(
        cache.get(&acme(), &key(1, 1)).await.as_deref(),
        Some(b"no".as_slice())
    );
}

async fn a_tenant_is_forgotten_whole_and_alone(cache: &dyn Cache) {
    for input in 0..100 {
        cache.put(&acme(), &key(1, input), value("a")).await;
        cache.put(&other(), &key(1, input), value("b")).await;
    }
    cache.clear(&acme()).await.unwrap();
    for input in 0..100 {
        assert_eq!(cache.get(&acme(), &key(1, input)).await, None);
        assert!(cache.get(&other(), &key(1, input)).await.is_some());
    }
}

async fn an_answer_that_is_too_large_is_not_kept(cache: &dyn Cache) {
    let large: Arc<[u8]> = vec![0; VALUE_BYTES_MAX + 1].into();
    cache.put(&acme(), &key(1, 1), large).await;
    assert_eq!(cache.get(&acme(), &key(1, 1)).await, None);
    let fits: Arc<[u8]> = vec![0; VALUE_BYTES_MAX].into();
    cache.put(&acme(), &key(1, 2), fits).await;
    assert!(cache.get(&acme(), &key(1, 2)).await.is_some());
}

async fn a_cache_says_that_it_is_there(cache: &dyn Cache) {
    assert!(cache.status().await.is_available);
}

#[tokio::test]
async fn memory_is_bounded_and_forgets_the_longest_unused_first() {
    let bytes_max = 16 * 10_000;
    let cache = Memory::new(bytes_max, Duration::from_secs(60));
    let kilobyte: Arc<[u8]> = vec![1; 1_000].into();
    // All of one shard, whose part is 10,000 bytes: seven of 1,256.
    for place in 0..20 {
        cache
            .put(&acme(), &key(place, 0), Arc::clone(&kilobyte))
            .await;
        assert!(
            place == 0 || cache.get(&acme(), &key(0, 0)).await.is_some(),
            "used all the time"
        );
        let bytes = cache.status().await.bytes.unwrap();
        assert!(bytes <= bytes_max as u64, "{bytes}");
    }
    let mut kept = Vec::new();
    for place in 0..20 {
        if cache.get(&acme(), &key(place, 0)).await.is_some() {
            kept.push(place);
        }
    }
    assert_eq!(kept, [0, 14, 15, 16, 17, 18, 19]);
}

#[tokio::test]
async fn an_answer_in_memory_ends_with_its_lifetime() {
    static START: std::sync::LazyLock<Instant> = std::sync::LazyLock::new(Instant::now);
    static PASSED_MS: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);
    let clock =
        || *START + Duration::from_millis(PASSED_MS.load(std::sync::atomic::Ordering::Relaxed));
    let cache = Memory::with_clock(1 << 20, Duration::from_secs(3_600), clock);
    cache.put(&acme(), &key(1, 1), value("a")).await;
    for (passed_ms, is_there) in [(3_599_999, true), (3_600_000, false)] {
        PASSED_MS.store(passed_ms, std::sync::atomic::Ordering::Relaxed);
        assert_eq!(
            cache.get(&acme(), &key(1, 1)).await.is_some(),
            is_there,
            "{passed_ms}"
        );
    }
    assert_eq!(cache.status().await.entries, Some(0));
}

#[tokio::test]
async fn an_answer_in_redis_has_a_lifetime() {
    let Some(server) = RedisServer::start() else {
        return;
    };
    server.cache().put(&acme(), &key(1, 1), value("a")).await;
    let left = server.ask(&["PTTL", &server.keys()[0]]);
    let left_ms: i64 = left.trim().parse().unwrap();
    assert!((3_500_000..=3_600_000).contains(&left_ms), "{left_ms}");
}

/// Long enough for a busy machine, and far below what a hanging server would cost.
const BOUND: Duration = Duration::from_millis(500);

async fn costs_little_without(cache: &Redis) {
    let start = Instant::now();
    for input in 0..100 {
        assert_eq!(cache.get(&acme(), &key(1, input)).await, None);
        cache.put(&acme(), &key(1, input), value("a")).await;
    }
    let took = start.elapsed();
    assert!(took < BOUND, "two hundred questions took {took:?}");
    assert!(!cache.status().await.is_available);
}

async fn comes_back(cache: &Redis) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !cache.status().await.is_available {
        assert!(
            Instant::now() < deadline,
            "it is there again and nobody asks it"
        );
        tokio::task::yield_now().await;
    }
    cache.put(&acme(), &key(9, 9), value("a")).await;
    assert!(cache.get(&acme(), &key(9, 9)).await.is_some());
}

#[tokio::test]
async fn a_redis_that_dies_costs_little_and_is_used_again_when_it_is_back() {
    let Some(mut server) = RedisServer::start() else {
        return;
    };
    let cache = server.cache();
    cache.put(&acme(), &key(1, 1), value("a")).await;
    server.kill();
    costs_little_without(&cache).await;
    assert_eq!(
        cache.clear(&acme()).await.unwrap_err().class(),
        Class::Unavailable,
        "what was not forgotten is said"
    );
    server.restart();
    comes_back(&cache).await;
}

#[tokio::test]
async fn a_redis_that_hangs_costs_little_and_is_used_again_when_it_is_back() {
    let Some(server) = RedisServer::start() else {
        return;
    };
    let cache = server.cache();
    cache.put(&acme(), &key(1, 1), value("a")).await;
    server.signal("STOP");
    costs_little_without(&cache).await;
    server.signal("CONT");
    comes_back(&cache).await;
}

#[tokio::test]
async fn a_redis_that_was_never_there_costs_little() {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("unix:{}", folder.path().join("nobody").display());
    let cache = Redis::new(RedisOptions::new(&url)).unwrap();
    costs_little_without(&cache).await;
    let refused = Redis::new(RedisOptions::new("http://me:secret@nowhere")).unwrap_err();
    assert!(!refused.to_string().contains("secret"));
}
