//! The budget of one kind of log line, so that a flood of it hides no other kind.
//!
//! A budget has two parts: a number of lines a second, and a number of places in the queue. Lines that
//! are left out are counted for one summary line.

use std::fmt;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::limits::TokenBucket;

/// The budget of one kind of line. `S` is a sample of the lines left out.
pub(crate) struct LineBudget<S> {
    bucket: TokenBucket,
    waiting: AtomicUsize,
    left_out: AtomicU64,
    sample: Mutex<Option<S>>,
}

/// A place in the queue. Dropping it frees the place.
pub(crate) struct LinePlace<S>(Arc<LineBudget<S>>);

/// Frees a place when dropped, whatever kind of line had it.
pub(crate) trait Placed: Send + Sync {}

impl<S: Send> Placed for LinePlace<S> {}

impl<S> Default for LineBudget<S> {
    fn default() -> Self {
        Self {
            bucket: TokenBucket::default(),
            waiting: AtomicUsize::new(0),
            left_out: AtomicU64::new(0),
            sample: Mutex::default(),
        }
    }
}

impl<S> LineBudget<S> {
    /// Whether the rate allows one more line at `now`.
    pub(crate) fn admits(&self, per_second: u32, now: u64) -> bool {
        self.bucket.take(per_second, now)
    }

    /// Takes a place in the queue, if this kind has taken fewer than `most`.
    pub(crate) fn place(self: &Arc<Self>, most: usize) -> Option<LinePlace<S>> {
        // Relaxed: the count stands alone, and publishes nothing else.
        if self.waiting.fetch_add(1, Ordering::Relaxed) < most {
            return Some(LinePlace(self.clone()));
        }
        self.waiting.fetch_sub(1, Ordering::Relaxed);
        None
    }

    /// Counts a line that was not written. The first since the last summary gives the sample.
    pub(crate) fn leave_out(&self, sample: impl FnOnce() -> S) {
        if self.left_out.fetch_add(1, Ordering::Relaxed) == 0 {
            let sample = Some(sample());
            *self.sample.lock().unwrap_or_else(PoisonError::into_inner) = sample;
        }
    }

    /// The number of lines left out since the last call and the sample, if there were any.
    pub(crate) fn summary(&self) -> Option<(u64, Option<S>)> {
        if self.left_out.load(Ordering::Relaxed) == 0 {
            return None;
        }
        let sample = self
            .sample
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        let left_out = self.left_out.swap(0, Ordering::Relaxed);
        Some((left_out, sample))
    }

    /// Whether forgetting this budget would change nothing.
    pub(crate) fn is_idle(&self, now: u64) -> bool {
        self.bucket.is_full(now)
            && self.waiting.load(Ordering::Relaxed) == 0
            && self.left_out.load(Ordering::Relaxed) == 0
    }
}

impl<S> Drop for LinePlace<S> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}

impl<S> fmt::Debug for LineBudget<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LineBudget")
            .field("waiting", &self.waiting)
            .field("left_out", &self.left_out)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    #[test]
    fn what_is_left_out_is_summed_up_once_with_the_first_of_it() {
        let budget = LineBudget::default();
        let written = (0..10).filter(|line| {
            let admitted = budget.admits(3, 0);
            if !admitted {
                budget.leave_out(|| *line);
            }
            admitted
        });
        assert_eq!(written.count(), 3);
        assert!(!budget.is_idle(SECOND));
        assert_eq!(budget.summary(), Some((7, Some(3))));
        assert_eq!(budget.summary(), None);
        assert!(!budget.is_idle(0));
        assert!(budget.is_idle(SECOND));
        budget.leave_out(|| 7);
        assert_eq!(budget.summary(), Some((1, Some(7))));
    }

    #[test]
    fn places_come_back() {
        let budget = Arc::new(LineBudget::<()>::default());
        let held: Vec<_> = (0..5).filter_map(|_| budget.place(3)).collect();
        assert_eq!(held.len(), 3);
        assert!(!budget.is_idle(0));
        drop(held);
        assert!(budget.place(1).is_some());
        assert!(budget.is_idle(0));
    }
}
