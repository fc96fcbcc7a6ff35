//! Requests that were turned away before a room below saw them: a wrong key, a missing right, an empty bucket, a body that
//! cannot be read.
//!
//! Each belongs on record, and whoever sends a million of them must not fill a disk. So the first of a kind (who, and why)
//! is recorded at once, the further ones of the same [`WINDOW_US`] are counted, and what was counted is recorded as one when
//! the window ends. The table is bounded too: when it is full, newcomers are counted together, by why. What a window counted
//! is lost when the process is killed; its first is not.
//!
//! Pure but for the lock: told what happened and when. [`crate::house::House::note_refusal`] writes.

use crate::refusal::Code;
use crate::time;
use ombud_ledger::Tenant;
use serde_json::{Value, json};
use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, PoisonError};

/// How long further ones are counted before they are recorded: one minute.
pub const WINDOW_US: i64 = 60_000_000;
/// Kinds counted apart at once. With the window it bounds what strangers can make the ledger grow by: about a megabyte a
/// minute.
pub const KINDS_MAX: usize = 1_000;

/// Who was turned away.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Who {
    /// Somebody whose key, session or token is known.
    Principal(Arc<str>),
    /// A stranger, by address; of the sixth version the network alone, because one stranger has a whole one.
    Address(IpAddr),
    /// Everybody for whom there was no place in the table.
    Anybody,
}

/// What is counted together.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Sort {
    pub tenant: Tenant,
    pub who: Who,
    pub code: Code,
}

/// What was counted of one sort.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Count {
    pub count: u64,
    pub since_us: i64,
    pub until_us: i64,
    /// How many by route's pattern; there are as many as the server has.
    pub routes: BTreeMap<String, u64>,
}

/// What is to be done about one that was turned away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    RecordNow,
    Counted,
}

/// The table.
#[derive(Debug, Default)]
pub struct TurnedAway(Mutex<HashMap<Sort, Window>>);

#[derive(Debug)]
struct Window {
    ends_us: i64,
    counted: Option<Count>,
}

impl Who {
    /// A stranger at an address.
    pub fn stranger(address: Option<IpAddr>) -> Self {
        match address {
            None => Who::Anybody,
            Some(IpAddr::V4(address)) => Who::Address(address.into()),
            Some(IpAddr::V6(address)) => match address.to_ipv4_mapped() {
                Some(address) => Who::Address(address.into()),
                None => {
                    let [a, b, c, d, ..] = address.segments();
                    Who::Address(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into())
                }
            },
        }
    }
}

impl TurnedAway {
    /// Takes note of one.
    pub fn note(&self, sort: &Sort, route: &str, now_us: i64) -> Verdict {
        let mut windows = self.windows();
        if let Some(window) = windows.get_mut(sort) {
            window.count(route, now_us);
            return Verdict::Counted;
        }
        if windows.len() < KINDS_MAX || sort.who == Who::Anybody {
            windows.insert(sort.clone(), Window::starting(now_us));
            return Verdict::RecordNow;
        }
        let together = Sort {
            who: Who::Anybody,
            ..sort.clone()
        };
        let window = windows
            .entry(together)
            .or_insert_with(|| Window::starting(now_us));
        window.count(route, now_us);
        Verdict::Counted
    }

    /// Counts one that was to be recorded and could not be.
    pub fn count(&self, sort: &Sort, route: &str, now_us: i64) {
        let mut windows = self.windows();
        let window = windows
            .entry(sort.clone())
            .or_insert_with(|| Window::starting(now_us));
        window.count(route, now_us);
    }

    /// What windows that ended have counted; they begin anew. At the end of the process, `i64::MAX` ends them all.
    pub fn ended(&self, now_us: i64) -> Vec<(Sort, Count)> {
        let mut windows = self.windows();
        let over: Vec<Sort> = windows
            .iter()
            .filter(|(_, window)| window.ends_us <= now_us)
            .map(|(sort, _)| sort.clone())
            .collect();
        let ended = over.into_iter().filter_map(|sort| {
            let counted = windows.remove(&sort)?.counted?;
            Some((sort, counted))
        });
        ended.collect()
    }

    /// Takes back what could not be recorded, to be told with what comes.
    pub fn take_back(&self, sort: Sort, count: Count, now_us: i64) {
        let mut windows = self.windows();
        let window = windows
            .entry(sort)
            .or_insert_with(|| Window::starting(now_us));
        window.counted = Some(match window.counted.take() {
            Some(later) => count.with(later),
            None => count,
        });
    }

    fn windows(&self) -> std::sync::MutexGuard<'_, HashMap<Sort, Window>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Window {
    fn starting(now_us: i64) -> Self {
        Window {
            ends_us: now_us + WINDOW_US,
            counted: None,
        }
    }

    fn count(&mut self, route: &str, now_us: i64) {
        let one = Count {
            count: 1,
            since_us: now_us,
            until_us: now_us,
            routes: BTreeMap::from([(route.to_owned(), 1)]),
        };
        self.counted = Some(match self.counted.take() {
            Some(before) => before.with(one),
            None => one,
        });
    }
}

impl Count {
    /// What a record says of it.
    pub fn detail(&self, code: Code) -> Value {
        json!({
            "code": code.name(), "count": self.count, "since": time::text(self.since_us),
            "until": time::text(self.until_us), "routes": self.routes,
        })
    }

    fn with(mut self, later: Count) -> Self {
        self.count += later.count;
        self.until_us = self.until_us.max(later.until_us);
        for (route, count) in later.routes {
            *self.routes.entry(route).or_default() += count;
        }
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sort(address: &str, code: Code) -> Sort {
        Sort {
            tenant: Tenant::new("main").expect("a name"),
            who: Who::stranger(address.parse().ok()),
            code,
        }
    }

    #[test]
    fn the_first_is_recorded_and_the_further_ones_are_summed_up() {
        let away = TurnedAway::default();
        let one = sort("192.0.2.1", Code::Unauthenticated);
        assert_eq!(away.note(&one, "/a", 0), Verdict::RecordNow);
        for second in 1..=1_000 {
            assert_eq!(away.note(&one, "/a", second), Verdict::Counted);
        }
        assert_eq!(away.note(&one, "/b", 1_001), Verdict::Counted);
        assert_eq!(away.ended(WINDOW_US - 1), []);
        let ended = away.ended(WINDOW_US);
        let [(_, count)] = ended.as_slice() else {
            panic!("{ended:?}");
        };
        assert_eq!(
            (count.count, count.since_us, count.until_us),
            (1_001, 1, 1_001)
        );
        assert_eq!(count.routes["/a"], 1_000);
        assert_eq!(away.note(&one, "/a", WINDOW_US), Verdict::RecordNow);
    }

    #[test]
    fn why_and_who_are_told_apart_and_one_network_is_one_stranger() {
        let away = TurnedAway::default();
        let note = |address, code| away.note(&sort(address, code), "/a", 0);
        assert_eq!(note("192.0.2.1", Code::Unauthenticated), Verdict::RecordNow);
        assert_eq!(note("192.0.2.1", Code::RateLimited), Verdict::RecordNow);
        assert_eq!(note("192.0.2.2", Code::RateLimited), Verdict::RecordNow);
        assert_eq!(note("2001:db8::1", Code::RateLimited), Verdict::RecordNow);
        assert_eq!(note("2001:db8::2:1", Code::RateLimited), Verdict::Counted);
        assert_eq!(
            note("::ffff:192.0.2.2", Code::RateLimited),
            Verdict::Counted
        );
    }

    #[test]
    fn a_flood_from_everywhere_fills_neither_the_table_nor_the_ledger() {
        let away = TurnedAway::default();
        let mut recorded = 0;
        for number in 0..100_000_u32 {
            let address = Some(IpAddr::from(number.to_be_bytes()));
            let flood = Sort {
                who: Who::stranger(address),
                ..sort("", Code::Unauthenticated)
            };
            recorded += usize::from(away.note(&flood, "/a", 0) == Verdict::RecordNow);
        }
        assert_eq!(recorded, KINDS_MAX);
        let ended = away.ended(i64::MAX);
        let counted: u64 = ended.iter().map(|(_, count)| count.count).sum();
        assert_eq!((ended.len(), counted), (1, 100_000 - KINDS_MAX as u64));
    }

    #[test]
    fn what_could_not_be_recorded_is_told_with_what_comes() {
        let away = TurnedAway::default();
        let one = sort("192.0.2.1", Code::RateLimited);
        away.count(&one, "/a", 5);
        let (sort, count) = away.ended(i64::MAX).remove(0);
        away.note(&one, "/a", 7);
        away.note(&one, "/a", 8);
        away.take_back(sort, count, 9);
        let (_, count) = away.ended(i64::MAX).remove(0);
        assert_eq!((count.count, count.since_us, count.until_us), (2, 5, 8));
    }
}
