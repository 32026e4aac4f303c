//! A budget: a shared amount of bytes or connections.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering, fence};

use prometheus::IntGauge;

use crate::metrics::gauge_value;

/// An amount that many may take parts of. It is never exceeded except by [`Budget::force`].
#[derive(Debug)]
pub struct Budget(Arc<Account>);

#[derive(Debug)]
struct Account {
    used: AtomicUsize,
    /// The part of `used` that reserves hold.
    reserved: AtomicUsize,
    limit: AtomicUsize,
    /// The largest amount ever taken at one moment.
    peak: AtomicUsize,
    gauge: Option<IntGauge>,
    peak_gauge: Option<IntGauge>,
}

/// Sets `gauge` to the amount of now. Of several threads that do so in the same moment, the last one to set it must not
/// leave an amount that another has changed since it was read.
fn show_on(gauge: &IntGauge, amount: impl Fn() -> usize) {
    let mut shown = None;
    loop {
        fence(Ordering::SeqCst);
        let now = amount();
        if shown == Some(now) {
            return;
        }
        gauge.set(gauge_value(now));
        shown = Some(now);
    }
}

impl Account {
    fn show(&self) {
        if let Some(gauge) = &self.gauge {
            show_on(gauge, || {
                let used = self.used.load(Ordering::Relaxed);
                used.saturating_sub(self.reserved.load(Ordering::Relaxed))
            });
        }
    }

    /// Notes that `used` is taken now.
    fn reached(&self, used: usize) {
        // Usually this only reads a number that has not changed for long.
        if used > self.peak.load(Ordering::Relaxed) {
            self.peak.fetch_max(used, Ordering::Relaxed);
            if let Some(gauge) = &self.peak_gauge {
                show_on(gauge, || self.peak.load(Ordering::Relaxed));
            }
        }
        self.show();
    }
}

impl Budget {
    /// Creates a budget of `limit`, in the unit of its users. `gauge` shows the amount taken, without what is in a
    /// [`Reserve`].
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
            reserved: AtomicUsize::new(0),
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

    /// The limit.
    pub fn limit(&self) -> usize {
        self.0.limit.load(Ordering::Relaxed)
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

    /// Creates an empty reserve for one of `holders`.
    pub fn reserve(&self, holders: usize) -> Reserve {
        Reserve {
            share: self.nothing(),
            holders: holders.max(1),
        }
    }

    /// The amount taken.
    pub fn used(&self) -> usize {
        self.0.used.load(Ordering::Relaxed)
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

/// A share taken in advance, out of which smaller shares are made without asking the budget.
///
/// A worker with a reserve needs no atomic operation to decide about a step that it may have to account for
/// afterwards.
#[derive(Debug)]
pub struct Reserve {
    share: Share,
    /// The number of holders that have a reserve of the same budget. Together they take at most half of it.
    holders: usize,
}

impl Reserve {
    /// Fills the reserve up to `wanted`. Returns how much of `wanted` is in it then: less if the budget is nearly
    /// used up, or smaller than what its holders would like.
    pub fn fill(&mut self, wanted: usize) -> usize {
        if self.share.amount < wanted {
            let account = &self.share.account;
            let part = account.limit.load(Ordering::Relaxed) / 2 / self.holders;
            let more = wanted.min(part.max(1)).saturating_sub(self.share.amount);
            if more > 0 && self.share.grow(more) {
                let account = &self.share.account;
                account.reserved.fetch_add(more, Ordering::Relaxed);
                account.show();
            }
        }
        self.share.amount.min(wanted)
    }

    /// A share of `amount` out of the reserve, or of all that is in it.
    pub fn split(&mut self, amount: usize) -> Share {
        let amount = amount.min(self.share.amount);
        self.share.amount -= amount;
        let account = self.share.account.clone();
        account.reserved.fetch_sub(amount, Ordering::Relaxed);
        account.show();
        Share { account, amount }
    }
}

impl Drop for Reserve {
    fn drop(&mut self) {
        // The share goes back by itself.
        let Share { account, amount } = &self.share;
        account.reserved.fetch_sub(*amount, Ordering::Relaxed);
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
        assert_eq!(budget.left(), 0);
        let forced = budget.force(5);
        drop(first);
        assert!(budget.take(6).is_none());
        assert_eq!(budget.left(), 5);
        drop(forced);
        assert!(budget.take(10).is_some());
        assert_eq!((budget.left(), budget.peak()), (10, 15));
    }

    /// Two threads change the amount and show it in the same moment, over and over.
    #[test]
    fn the_gauge_shows_the_last_amount_whoever_changed_it() {
        const ROUNDS: usize = 10_000;
        let gauge = IntGauge::new("taken", "Taken.").unwrap();
        let budget = Budget::new(2, Some(gauge.clone()));
        let (turns, wrong) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let change = || {
            let mut turn = 0;
            let mut meet = || {
                turn += 2;
                turns.fetch_add(1, Ordering::SeqCst);
                while turns.load(Ordering::SeqCst) < turn {
                    std::thread::yield_now();
                }
            };
            for _ in 0..ROUNDS {
                let share = budget.take(1);
                meet();
                drop(share);
                meet();
                wrong.fetch_add(usize::from(gauge.get() != 0), Ordering::Relaxed);
                meet();
            }
        };
        std::thread::scope(|scope| {
            scope.spawn(change);
            scope.spawn(change);
        });
        assert_eq!(wrong.into_inner(), 0, "of {ROUNDS} rounds");
    }

    #[test]
    fn reserves_take_half_of_a_budget_and_are_part_of_it() {
        let gauge = IntGauge::new("carried", "Carried.").unwrap();
        let budget = Budget::new(100, Some(gauge.clone()));
        let mut reserves = [budget.reserve(2), budget.reserve(2)];
        assert_eq!(reserves.each_mut().map(|reserve| reserve.fill(40)), [25; 2]);
        assert_eq!((budget.used(), gauge.get()), (50, 0));
        let shares = reserves.each_mut().map(|reserve| reserve.split(20));
        assert_eq!((budget.used(), gauge.get()), (50, 40));
        assert_eq!(reserves.each_mut().map(|reserve| reserve.fill(25)), [25; 2]);
        let rest = budget.take(10).unwrap();
        let last = reserves[0].split(99);
        // Nothing is left for the first, and the second keeps what it has.
        assert_eq!(reserves.each_mut().map(|reserve| reserve.fill(25)), [0, 25]);
        assert_eq!((budget.left(), budget.peak(), gauge.get()), (0, 100, 75));
        drop((shares, rest, last, reserves));
        assert_eq!((budget.used(), gauge.get()), (0, 0));
    }
}
