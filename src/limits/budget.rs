//! A budget: a shared amount of bytes or connections.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use prometheus::IntGauge;

use crate::metrics::gauge_value;

/// An amount that many may take parts of. It is never exceeded except by [`Budget::force`].
#[derive(Debug)]
pub struct Budget(Arc<Account>);

#[derive(Debug)]
struct Account {
    used: AtomicUsize,
    limit: AtomicUsize,
    /// The largest amount ever taken at one moment.
    peak: AtomicUsize,
    gauge: Option<IntGauge>,
    peak_gauge: Option<IntGauge>,
}

impl Account {
    fn show(&self) {
        if let Some(gauge) = &self.gauge {
            let used = self.used.load(Ordering::Relaxed);
            gauge.set(gauge_value(used));
        }
    }

    /// Notes that `used` is taken now.
    fn reached(&self, used: usize) {
        // Usually this only reads a number that has not changed for long.
        if used > self.peak.load(Ordering::Relaxed) {
            let before = self.peak.fetch_max(used, Ordering::Relaxed);
            if let Some(gauge) = &self.peak_gauge {
                gauge.set(gauge_value(before.max(used)));
            }
        }
        self.show();
    }
}

impl Budget {
    /// Creates a budget of `limit`, in the unit of its users. `gauge` shows the amount taken.
    pub fn new(limit: usize, gauge: Option<IntGauge>) -> Self {
        Self::with_gauges(limit, gauge, None)
    }

    /// As [`Budget::new`]. `peak_gauge` shows the largest amount ever taken.
    pub fn with_gauges(
        limit: usize,
        gauge: Option<IntGauge>,
        peak_gauge: Option<IntGauge>,
    ) -> Self {
        Self(Arc::new(Account {
            used: AtomicUsize::new(0),
            limit: AtomicUsize::new(limit),
            peak: AtomicUsize::new(0),
            gauge,
            peak_gauge,
        }))
    }

    /// An empty share, which may grow.
    pub fn nothing(&self) -> Share {
        Share {
            account: self.0.clone(),
            amount: 0,
        }
    }

    /// The amount that is left.
    pub fn left(&self) -> usize {
        let limit = self.0.limit.load(Ordering::Relaxed);
        limit.saturating_sub(self.used())
    }

    /// The largest amount ever taken at one moment.
    pub fn peak(&self) -> usize {
        self.0.peak.load(Ordering::Relaxed)
    }

    /// Changes the limit. Amounts already taken stay taken.
    pub fn set_limit(&self, limit: usize) {
        self.0.limit.store(limit, Ordering::Relaxed);
    }

    /// Takes `amount` if that much is left.
    pub fn take(&self, amount: usize) -> Option<Share> {
        self.take_within(amount, self.0.limit.load(Ordering::Relaxed))
    }

    /// Takes `amount` if the total then stays within `limit`, whatever the budget's own limit.
    pub fn take_within(&self, amount: usize, limit: usize) -> Option<Share> {
        let mut share = self.nothing();
        share.grow_within(amount, limit).then_some(share)
    }

    /// Takes `amount` even beyond the limit: for something that exists already and must be held.
    pub fn force(&self, amount: usize) -> Share {
        let mut share = self.nothing();
        share.force(amount);
        share
    }

    /// The amount taken.
    pub fn used(&self) -> usize {
        self.0.used.load(Ordering::Relaxed)
    }

    /// Whether nothing is left.
    pub fn exhausted(&self) -> bool {
        self.0.used.load(Ordering::Relaxed) >= self.0.limit.load(Ordering::Relaxed)
    }
}

/// A part taken from a [`Budget`]. Dropping it gives the part back.
#[derive(Debug)]
pub struct Share {
    account: Arc<Account>,
    amount: usize,
}

impl Share {
    /// Takes `more` if that much is left. Returns whether it did.
    pub fn grow(&mut self, more: usize) -> bool {
        self.grow_within(more, self.account.limit.load(Ordering::Relaxed))
    }

    fn grow_within(&mut self, more: usize, limit: usize) -> bool {
        let within = |used: usize| used.checked_add(more).filter(|sum| *sum <= limit);
        let used = &self.account.used;
        let before = used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, within);
        let Ok(before) = before else { return false };
        self.amount += more;
        self.account.reached(before + more);
        true
    }

    /// Takes `more` even beyond the limit.
    pub fn force(&mut self, more: usize) {
        let before = self.account.used.fetch_add(more, Ordering::Relaxed);
        self.amount += more;
        self.account.reached(before.saturating_add(more));
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.account.used.fetch_sub(self.amount, Ordering::Relaxed);
        self.account.show();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_budget_cannot_be_overdrawn_but_by_force() {
        let budget = Budget::new(10, None);
        let mut first = budget.take(6).unwrap();
        assert!(budget.take(5).is_none());
        assert!(!first.grow(5));
        assert!(first.grow(4));
        assert!(budget.exhausted());
        let forced = budget.force(5);
        drop(first);
        assert!(budget.take(6).is_none());
        assert_eq!(budget.left(), 5);
        drop(forced);
        assert!(budget.take(10).is_some());
        assert_eq!((budget.left(), budget.peak()), (10, 15));
    }
}
