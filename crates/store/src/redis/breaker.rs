//! A circuit breaker: whoever does not answer is left alone for a while, longer each time.
//!
//! Pure: told what happened and when. While it is open nobody waits; when its pause ends one caller tries, and the others
//! go on without until that one has succeeded.

use std::time::{Duration, Instant};

/// The first pause.
const PAUSE_MIN: Duration = Duration::from_millis(500);
/// The longest pause.
const PAUSE_MAX: Duration = Duration::from_secs(30);

/// Whether something may be asked.
#[derive(Debug)]
pub(super) struct Breaker {
    state: State,
    pause: Duration,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Closed,
    /// Nobody asks before this moment.
    Open {
        until: Instant,
    },
    /// Somebody tries; if they never come back, the next may try after this moment.
    Trying {
        until: Instant,
    },
}

impl Breaker {
    pub fn new() -> Self {
        Breaker {
            state: State::Closed,
            pause: PAUSE_MIN,
        }
    }

    /// Whether this caller may ask.
    pub fn admits(&mut self, now: Instant) -> bool {
        match self.state {
            State::Closed => true,
            State::Open { until } | State::Trying { until } if now < until => false,
            State::Open { .. } | State::Trying { .. } => {
                self.state = State::Trying {
                    until: now + self.pause,
                };
                true
            }
        }
    }

    /// It answered.
    pub fn succeeded(&mut self) {
        self.state = State::Closed;
        self.pause = PAUSE_MIN;
    }

    /// It did not. Many callers may say so about one outage; the pause grows once.
    pub fn failed(&mut self, now: Instant) {
        match self.state {
            State::Open { .. } => {}
            State::Closed => self.open(now),
            State::Trying { .. } => {
                self.pause = (self.pause * 2).min(PAUSE_MAX);
                self.open(now);
            }
        }
    }

    /// Whether nobody is kept away.
    pub fn is_closed(&self) -> bool {
        self.state == State::Closed
    }

    fn open(&mut self, now: Instant) {
        self.state = State::Open {
            until: now + self.pause,
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Plays `ms:what` and tells, for each `ask`, whether it was let through.
    fn check(play: &str, expected: &str) {
        let start = Instant::now();
        let mut breaker = Breaker::new();
        let mut told = String::new();
        for step in play.split_whitespace() {
            let (ms, what) = step.split_once(':').unwrap();
            let now = start + Duration::from_millis(ms.parse().unwrap());
            match what {
                "ask" => told.push(if breaker.admits(now) { 'y' } else { 'n' }),
                "fail" => breaker.failed(now),
                _ => breaker.succeeded(),
            }
        }
        assert_eq!(told, expected, "{play}");
    }

    #[test]
    fn after_a_failure_nobody_asks_for_half_a_second() {
        check("0:ask 0:fail 1:ask 499:ask 500:ask", "ynny");
    }

    #[test]
    fn one_caller_tries_and_the_others_go_on_without() {
        check(
            "0:fail 500:ask 500:ask 501:ask 502:well 502:ask 502:ask",
            "ynnyy",
        );
    }

    #[test]
    fn each_failed_try_doubles_the_pause_up_to_a_bound() {
        check(
            "0:fail 500:ask 510:fail 1509:ask 1510:ask 1520:fail 3519:ask 3520:ask",
            "ynyny",
        );
        let mut breaker = Breaker::new();
        let mut now = Instant::now();
        for _ in 0..20 {
            breaker.failed(now);
            now += PAUSE_MAX;
            assert!(breaker.admits(now), "never longer than the longest pause");
        }
    }

    #[test]
    fn many_failures_of_one_outage_count_once() {
        check("0:fail 1:fail 2:fail 500:ask", "y");
    }

    #[test]
    fn a_try_that_never_comes_back_blocks_nobody_for_ever() {
        check("0:fail 500:ask 999:ask 1000:ask", "yny");
    }
}
