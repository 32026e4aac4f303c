//! Recent events of an endpoint, in counts that forget: two halves of a time, the newer of which still grows.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::clock;

/// A moment before any that is compared, since atomics cannot hold an `Instant`.
fn epoch() -> Instant {
    static EPOCH: OnceLock<Instant> = OnceLock::new();
    *EPOCH.get_or_init(|| {
        // One millisecond back, so that 0 is free to mean "never".
        let now = Instant::now();
        now.checked_sub(Duration::from_millis(1)).unwrap_or(now)
    })
}

/// Milliseconds since a moment before the first call.
pub(super) fn millis(at: Instant) -> u64 {
    clock::millis(at.saturating_duration_since(epoch()))
}

/// The number of events of the last `SECONDS` seconds, and of as many before those at most.
#[derive(Debug, Default)]
pub(super) struct RecentCount<const SECONDS: u64>(AtomicU64);

/// The number of the current half, and the events of both.
#[derive(Debug, Clone, Copy)]
struct Halves {
    half: u32,
    before: u16,
    current: u16,
}

impl Halves {
    fn unpack(packed: u64) -> Self {
        let [a, b, c, d, e, f, g, h] = packed.to_be_bytes();
        Self {
            half: u32::from_be_bytes([a, b, c, d]),
            before: u16::from_be_bytes([e, f]),
            current: u16::from_be_bytes([g, h]),
        }
    }

    fn pack(self) -> u64 {
        u64::from(self.half) << 32 | u64::from(self.before) << 16 | u64::from(self.current)
    }

    /// The same events as seen in another half.
    fn in_half(self, half: u32) -> Self {
        let (before, current) = match half.saturating_sub(self.half) {
            0 => return self,
            1 => (self.current, 0),
            _ => (0, 0),
        };
        Self {
            half,
            before,
            current,
        }
    }
}

impl<const SECONDS: u64> RecentCount<SECONDS> {
    fn half(now: u64) -> u32 {
        u32::try_from(now / (SECONDS * 1000)).unwrap_or(u32::MAX)
    }

    /// Counts an event at `now`, in [`millis`].
    pub(super) fn add(&self, now: u64) {
        // An update that is always given cannot fail.
        let _ = self
            .0
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |packed| {
                let mut halves = Halves::unpack(packed).in_half(Self::half(now));
                halves.current = halves.current.saturating_add(1);
                Some(halves.pack())
            });
    }

    /// The number of recent events at `now`.
    pub(super) fn get(&self, now: u64) -> u32 {
        let packed = self.0.load(Ordering::Relaxed);
        if packed == 0 {
            return 0;
        }
        let halves = Halves::unpack(packed).in_half(Self::half(now));
        u32::from(halves.before) + u32::from(halves.current)
    }

    /// Forgets all events.
    pub(super) fn clear(&self) {
        self.0.store(0, Ordering::Relaxed);
    }
}

/// Source addresses that were seen in the last `SECONDS` seconds, as many as are told apart.
#[derive(Debug, Default)]
pub(super) struct RecentSources<const SECONDS: u64>([AtomicU64; MOST_SOURCES]);

/// The most source addresses that are told apart.
pub(super) const MOST_SOURCES: usize = 16;

impl<const SECONDS: u64> RecentSources<SECONDS> {
    fn is_recent(entry: u64, now: u64) -> bool {
        entry != 0 && (entry & u64::from(u32::MAX)) + SECONDS >= now / 1000
    }

    /// Notes the source with this `hash`, seen at `now`, in [`millis`]. Two sources at the same moment may take one
    /// place: then one of them is not noted.
    pub(super) fn note(&self, hash: u32, now: u64) {
        let entry = u64::from(hash) << 32 | (now / 1000).max(1) & u64::from(u32::MAX);
        let entries = || {
            self.0
                .iter()
                .map(|entry| (entry, entry.load(Ordering::Relaxed)))
        };
        let same = entries().find(|(_, old)| *old != 0 && old >> 32 == u64::from(hash));
        let free = || entries().find(|(_, old)| !Self::is_recent(*old, now));
        if let Some((place, _)) = same.or_else(free) {
            place.store(entry, Ordering::Relaxed);
        }
    }

    /// The number of sources at `now`.
    pub(super) fn count(&self, now: u64) -> usize {
        let entries = self.0.iter().map(|entry| entry.load(Ordering::Relaxed));
        entries.filter(|entry| Self::is_recent(*entry, now)).count()
    }

    /// Forgets all sources.
    pub(super) fn clear(&self) {
        for entry in &self.0 {
            entry.store(0, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_forgotten_after_once_to_twice_the_time() {
        let count = RecentCount::<10>::default();
        assert_eq!(count.get(0), 0);
        for (now, expected) in [(1, 1), (9_999, 2), (10_000, 3), (25_000, 2), (26_000, 3)] {
            count.add(now);
            assert_eq!(count.get(now), expected, "at {now} ms");
        }
        assert_eq!(
            [29_999, 30_000, 40_000].map(|now| count.get(now)),
            [3, 2, 0]
        );
        count.add(41_000);
        count.clear();
        assert_eq!(count.get(41_000), 0);
    }

    #[test]
    fn a_count_stops_at_its_most() {
        let count = RecentCount::<10>::default();
        (0..70_000).for_each(|_| count.add(1));
        assert_eq!(count.get(1), u32::from(u16::MAX));
    }

    #[test]
    fn sources_are_told_apart_and_forgotten() {
        let sources = RecentSources::<60>::default();
        for hash in [7, 8, 7, 0, 7] {
            sources.note(hash, 500);
        }
        assert_eq!(sources.count(500), 3);
        sources.note(7, 50_000);
        assert_eq!(
            [61_000, 62_000, 111_000].map(|now| sources.count(now)),
            [3, 1, 0]
        );
        (0..40).for_each(|hash| sources.note(hash, 200_000));
        assert_eq!(sources.count(200_000), MOST_SOURCES);
        sources.clear();
        assert_eq!(sources.count(200_000), 0);
    }
}
