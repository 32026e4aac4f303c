//! The time from which on changes of the Kubernetes API may be unknown.
//!
//! The tasks that watch kinds write it, and failed connections read it for their line in the access log.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use super::kubernetes::Kind;
use crate::clock;

/// The times of one kind, in milliseconds since 1970. 0 is no time.
#[derive(Debug, Default)]
struct KindTimes {
    /// The API was last heard of this kind.
    heard: AtomicU64,
    /// From then on changes may be unknown.
    lost: AtomicU64,
}

/// The times of all kinds.
#[derive(Debug)]
pub(super) struct Staleness(Box<[KindTimes]>);

impl Default for Staleness {
    fn default() -> Self {
        Self(Kind::ALL.iter().map(|_| KindTimes::default()).collect())
    }
}

impl Staleness {
    fn times(&self, kind: Kind) -> Option<&KindTimes> {
        self.0.get(kind as usize)
    }

    /// Notes that the API tells the changes of a kind.
    pub(super) fn heard(&self, kind: Kind) {
        if let Some(times) = self.times(kind) {
            times.heard.store(now(), Ordering::Relaxed);
            times.lost.store(0, Ordering::Relaxed);
        }
    }

    /// Notes that the API does not tell the changes of a kind any more. `silent`: it did not say so, so that it is
    /// not known for how long.
    pub(super) fn lost(&self, kind: Kind, silent: bool) {
        let Some(times) = self.times(kind) else {
            return;
        };
        let heard = times.heard.load(Ordering::Relaxed);
        let since = if silent && heard != 0 { heard } else { now() };
        // The first loss counts.
        let _ = times
            .lost
            .compare_exchange(0, since, Ordering::Relaxed, Ordering::Relaxed);
    }

    /// Notes that nothing is known of a kind, so that nothing of it is stale.
    pub(super) fn forget(&self, kind: Kind) {
        if let Some(times) = self.times(kind) {
            times.lost.store(0, Ordering::Relaxed);
        }
    }

    /// The time from which on changes of any kind may be unknown.
    pub(super) fn since(&self) -> Option<SystemTime> {
        let lost = self
            .0
            .iter()
            .map(|times| times.lost.load(Ordering::Relaxed));
        let first = lost.filter(|since| *since != 0).min()?;
        SystemTime::UNIX_EPOCH.checked_add(Duration::from_millis(first))
    }
}

fn now() -> u64 {
    let since = clock::now().duration_since(SystemTime::UNIX_EPOCH);
    clock::millis(since.unwrap_or_default()).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_loss_of_any_kind_counts_until_that_kind_is_heard_again() {
        let staleness = Staleness::default();
        staleness.heard(Kind::Service);
        assert_eq!(staleness.since(), None);
        let before = clock::now() - Duration::from_millis(2);
        staleness.lost(Kind::Service, false);
        let since = staleness.since().expect("a time");
        assert!((before..=clock::now()).contains(&since));
        std::thread::sleep(Duration::from_millis(3));
        staleness.lost(Kind::Service, false);
        staleness.lost(Kind::Slice, false);
        assert_eq!(staleness.since(), Some(since), "the first one counts");
        staleness.heard(Kind::Service);
        assert!(staleness.since() > Some(since), "the slices are still lost");
        staleness.forget(Kind::Slice);
        assert_eq!(staleness.since(), None);
    }

    #[test]
    fn what_fell_silent_is_stale_from_when_it_was_last_heard() {
        let staleness = Staleness::default();
        staleness.heard(Kind::Slice);
        let heard = clock::now();
        std::thread::sleep(Duration::from_millis(3));
        staleness.lost(Kind::Slice, true);
        assert!(staleness.since().expect("a time") <= heard);
    }
}
