//! A token bucket in one atomic word.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

const SECOND: u64 = 1_000_000_000;

/// A bucket of tokens. It holds the tokens of one second, is full at first, and a monotonic clock fills
/// it. (GCRA: the word holds the time at which the bucket is full again.)
#[derive(Debug, Default)]
pub struct TokenBucket {
    /// The time when the bucket is full again, in nanoseconds on the clock of [`now`].
    full_at: AtomicU64,
}

/// Nanoseconds since the first call. They overflow after 584 years.
pub fn now() -> u64 {
    static START: OnceLock<Instant> = OnceLock::new();
    let start = START.get_or_init(Instant::now);
    u64::try_from(start.elapsed().as_nanos()).unwrap_or(u64::MAX)
}

impl TokenBucket {
    /// Takes a token at `now` if one is there; `per_second` tokens come each second. At 0 there is
    /// never one.
    pub fn take(&self, per_second: u32, now: u64) -> bool {
        let Some(cost) = SECOND.checked_div(per_second.into()) else {
            return false;
        };
        let take = |full_at: u64| {
            let full_at = full_at.max(now) + cost;
            (full_at <= now + SECOND).then_some(full_at)
        };
        // Relaxed: the word stands alone, and publishes nothing else.
        self.full_at
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, take)
            .is_ok()
    }

    /// The tokens that are missing at `now`, if `per_second` come each second.
    pub fn taken(&self, per_second: u32, now: u64) -> u32 {
        let missing = self.full_at.load(Ordering::Relaxed).saturating_sub(now);
        let cost = SECOND.checked_div(per_second.into()).unwrap_or(SECOND);
        u32::try_from(missing.div_ceil(cost.max(1))).unwrap_or(u32::MAX)
    }

    /// Whether the bucket is full at `now`, like a bucket that was never used.
    pub fn is_full(&self, now: u64) -> bool {
        self.full_at.load(Ordering::Relaxed) <= now
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn admitted(bucket: &TokenBucket, per_second: u32, asked: usize, at: u64) -> usize {
        (0..asked).filter(|_| bucket.take(per_second, at)).count()
    }

    #[test]
    fn a_seconds_worth_at_once_then_the_rate() {
        let bucket = TokenBucket::default();
        assert_eq!(admitted(&bucket, 10, 100, 0), 10);
        assert_eq!(admitted(&bucket, 10, 100, SECOND / 2), 5);
        assert_eq!(admitted(&bucket, 10, 100, SECOND / 2), 0);
        assert_eq!(admitted(&bucket, 10, 100, 100 * SECOND), 10, "no hoarding");
        let taken = [100, 101].map(|second| bucket.taken(10, second * SECOND));
        assert_eq!(taken, [10, 0]);
    }

    #[test]
    fn the_rate_changes_and_zero_admits_nothing() {
        let bucket = TokenBucket::default();
        assert_eq!(admitted(&bucket, 0, 10, 5 * SECOND), 0);
        assert_eq!(admitted(&bucket, 3, 10, 5 * SECOND), 3);
        assert_eq!(admitted(&bucket, u32::MAX, 10, 7 * SECOND), 10);
    }

    #[test]
    fn threads_share_one_bucket() {
        let bucket = TokenBucket::default();
        let total: usize = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..4)
                .map(|_| scope.spawn(|| admitted(&bucket, 1000, 1000, SECOND)))
                .collect();
            threads.into_iter().map(|t| t.join().unwrap()).sum()
        });
        assert_eq!(total, 1000);
    }
}
