//! The time from which on changes of the Kubernetes API may be unknown, and the reason.
//!
//! The tasks that watch kinds write it, and failed connections read it for their line in the access log.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwapOption;

use super::labels::Kind;
use crate::clock;

/// The largest reason that is kept, in bytes.
const MAX_WHY: usize = 512;

/// The times of one kind, in milliseconds since 1970. 0 is no time.
#[derive(Debug, Default)]
struct KindTimes {
    /// The API was last heard of this kind.
    heard: AtomicU64,
    /// From then on changes may be unknown.
    lost: AtomicU64,
    /// The reason of the newest failure since then.
    why: ArcSwapOption<Box<str>>,
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
            times.why.store(None);
        }
    }

    /// Notes that the API does not tell the changes of a kind any more, and why. `silent`: it did not say so, so that
    /// it is not known for how long.
    pub(super) fn lost(&self, kind: Kind, silent: bool, why: &str) {
        let Some(times) = self.times(kind) else {
            return;
        };
        let heard = times.heard.load(Ordering::Relaxed);
        let since = if silent && heard != 0 { heard } else { now() };
        let kept = why.get(..why.floor_char_boundary(MAX_WHY)).unwrap_or(why);
        times.why.store(Some(Arc::new(kept.into())));
        // The first loss counts.
        let _ = times
            .lost
            .compare_exchange(0, since, Ordering::Relaxed, Ordering::Relaxed);
    }

    /// Notes that nothing is known of a kind, so that nothing of it is stale.
    pub(super) fn forget(&self, kind: Kind) {
        if let Some(times) = self.times(kind) {
            times.lost.store(0, Ordering::Relaxed);
            times.why.store(None);
        }
    }

    /// The kind that was lost first, with the time.
    fn first_lost(&self) -> Option<(u64, &KindTimes)> {
        let times = self.0.iter();
        let lost = times.map(|times| (times.lost.load(Ordering::Relaxed), times));
        lost.filter(|(since, _)| *since != 0)
            .min_by_key(|(since, _)| *since)
    }

    /// The reason why the changes of the kind that was lost first are unknown.
    pub(super) fn why(&self) -> Option<Arc<Box<str>>> {
        self.first_lost()?.1.why.load_full()
    }

    /// The time from which on changes of any kind may be unknown.
    pub(super) fn since(&self) -> Option<SystemTime> {
        let (first, _) = self.first_lost()?;
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
        staleness.lost(Kind::Service, false, "refused");
        let since = staleness.since().expect("a time");
        assert!((before..=clock::now()).contains(&since));
        std::thread::sleep(Duration::from_millis(3));
        staleness.lost(Kind::Slice, false, "no answer");
        assert_eq!(
            staleness.why().as_deref().map(|why| &**why),
            Some("refused")
        );
        staleness.lost(Kind::Service, false, &"\u{e4}".repeat(MAX_WHY));
        let why = staleness.why().expect("a reason");
        assert_eq!(why.len(), MAX_WHY, "it is cut");
        assert_eq!(staleness.since(), Some(since), "the first one counts");
        staleness.heard(Kind::Service);
        assert!(staleness.since() > Some(since), "the slices are still lost");
        let why = staleness.why();
        assert_eq!(why.as_deref().map(|why| &**why), Some("no answer"));
        staleness.forget(Kind::Slice);
        assert_eq!(staleness.since(), None);
        assert_eq!(staleness.why(), None);
    }

    #[test]
    fn what_fell_silent_is_stale_from_when_it_was_last_heard() {
        let staleness = Staleness::default();
        staleness.heard(Kind::Slice);
        let heard = clock::now();
        std::thread::sleep(Duration::from_millis(3));
        staleness.lost(Kind::Slice, true, "silent");
        assert!(staleness.since().expect("a time") <= heard);
    }
}
