//! The slowest connects of the last minutes, for the status page.

use std::cmp::Reverse;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use crate::names::UpstreamName;

/// Connects that are kept.
const KEPT: usize = 32;
/// The time for which one is kept.
const AGE: Duration = Duration::from_mins(10);

/// A connect that has succeeded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SlowConnect {
    /// The time when the connection was made.
    pub at: SystemTime,
    /// The time that it took.
    pub took: Duration,
    /// The upstream.
    pub upstream: UpstreamName,
    /// The endpoint.
    pub endpoint: SocketAddr,
    /// The client's address.
    pub source: SocketAddr,
    /// Whether the endpoint was asked for TLS, so that its answer is in the time.
    pub starttls: bool,
}

/// The slowest connects. A connect that is not among them costs one load.
#[derive(Debug, Default)]
pub struct SlowConnects {
    /// The time in microseconds that a connect must exceed to be kept; 0 while there is room.
    bar: AtomicU64,
    kept: Mutex<Vec<SlowConnect>>,
}

impl SlowConnects {
    /// Notes a connect that took so long, if it is among the slowest.
    pub fn note(&self, took: Duration, describe: impl FnOnce() -> SlowConnect) {
        let bar = self.bar.load(Ordering::Relaxed);
        if bar > 0 && took.as_micros() <= u128::from(bar) {
            return;
        }
        let connect = describe();
        let at = connect.at;
        self.with(at, |kept| kept.push(connect));
    }

    /// Forgets those that are too old at `now`.
    pub fn forget(&self, now: SystemTime) {
        self.with(now, |_| {});
    }

    /// The slowest ones, the slowest first.
    pub fn list(&self, now: SystemTime) -> Vec<SlowConnect> {
        let mut list = Vec::new();
        self.with(now, |kept| list.clone_from(kept));
        list.retain(|one| is_recent(one, now));
        list
    }

    fn with(&self, now: SystemTime, change: impl FnOnce(&mut Vec<SlowConnect>)) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut kept);
        kept.retain(|one| is_recent(one, now));
        kept.sort_by_key(|one| Reverse(one.took));
        kept.truncate(KEPT);
        let least = kept.get(KEPT - 1).map(|one| one.took.as_micros().max(1));
        let bar = least.map_or(0, |micros| u64::try_from(micros).unwrap_or(u64::MAX));
        self.bar.store(bar, Ordering::Relaxed);
    }
}

/// Whether `one` is of the last minutes. A clock that was set back makes none of them old.
fn is_recent(one: &SlowConnect, now: SystemTime) -> bool {
    now.duration_since(one.at).is_ok_and(|age| age <= AGE) || now < one.at
}

#[cfg(test)]
mod tests {
    use super::*;

    fn connect(millis: u64, at: SystemTime) -> SlowConnect {
        SlowConnect {
            at,
            took: Duration::from_millis(millis),
            upstream: "svcb".into(),
            endpoint: SocketAddr::from(([10, 1, 0, 7], 8443)),
            source: SocketAddr::from(([10, 0, 0, 1], 1)),
            starttls: false,
        }
    }

    fn note(slow: &SlowConnects, millis: u64, at: SystemTime) {
        slow.note(Duration::from_millis(millis), || connect(millis, at));
    }

    fn millis(slow: &SlowConnects, now: SystemTime) -> Vec<u128> {
        let list = slow.list(now);
        list.iter().map(|one| one.took.as_millis()).collect()
    }

    #[test]
    fn the_slowest_are_kept_and_a_faster_one_is_not_even_described() {
        let (slow, now) = (SlowConnects::default(), SystemTime::now());
        (1..=100).for_each(|time| note(&slow, time, now));
        let expected: Vec<u128> = (69..=100).rev().collect();
        assert_eq!(millis(&slow, now), expected);
        slow.note(Duration::from_millis(69), || panic!("it is not slower"));
        note(&slow, 1000, now);
        assert_eq!(millis(&slow, now)[..2], [1000, 100]);
    }

    #[test]
    fn old_ones_make_room_for_faster_ones() {
        let (slow, then) = (SlowConnects::default(), SystemTime::now());
        (0..32).for_each(|_| note(&slow, 500, then));
        let now = then + AGE + Duration::from_secs(1);
        slow.forget(now);
        assert_eq!(millis(&slow, now), []);
        note(&slow, 3, now);
        assert_eq!(millis(&slow, now), [3]);
    }
}
