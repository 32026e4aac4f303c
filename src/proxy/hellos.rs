//! The bytes of hellos that did not come in one piece, and which of them give way when their memory runs
//! out.
//!
//! All workers share one budget, which is never overdrawn: memory is taken from it before a byte is
//! read, and a hello that gives way loses its bytes at once. The first to go is the hello that has waited
//! longest for its upstream, if that is long: an upstream that is dead must not use up the memory of all
//! others. The next is the largest hello that is still being read, by any worker: many slow small hellos are
//! no reason to refuse the next one, but a hello that has collected 300 KiB is.
//!
//! Each worker keeps its own hellos in order and publishes the first to go, so that finding it costs a look
//! at each worker, however many hellos an attacker keeps in progress. A worker frees its own hellos only: one
//! that needs another worker's memory asks for it, and waits.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use prometheus::IntGauge;
use slab::Slab;
use tokio::sync::Notify;
use tokio::sync::futures::Notified;

use crate::limits::{Budget, Share};

/// A hello that has waited this long for its upstream gives way before any that is being read.
const LONG_WAIT: Duration = Duration::from_millis(250);

/// The most memory that a hello takes before it needs it, in bytes.
const MOST_AHEAD: usize = 64 * 1024;

/// The memory that the hellos of all workers share.
#[derive(Debug)]
pub struct HelloMemory {
    budget: Budget,
    loads: Box<[HelloLoad]>,
    /// Wakes those that wait for memory.
    freed: Notify,
    started: Instant,
}

/// One worker's hellos as other workers see them, on a cache line of its own.
#[derive(Debug, Default)]
#[repr(align(128))]
struct HelloLoad {
    /// Bytes of the largest hello that is being read. 0 if no hello is being read.
    largest: AtomicUsize,
    /// The moment at which the hello that waits longest for its upstream began to wait, in microseconds since
    /// the start, plus one; 0 when none waits.
    waits_since: AtomicU64,
    /// The most bytes that another worker needs.
    asked: AtomicUsize,
    ask: Notify,
}

impl HelloMemory {
    /// At most `limit` bytes, for `workers` workers. The gauges show what is held, and the most that ever
    /// was.
    pub fn new(limit: usize, workers: usize, held: IntGauge, most: IntGauge) -> Self {
        Self {
            budget: Budget::with_gauges(limit, Some(held), Some(most)),
            loads: (0..workers).map(|_| HelloLoad::default()).collect(),
            freed: Notify::new(),
            started: Instant::now(),
        }
    }

    /// Changes the limit; what is held already stays held.
    pub fn set_limit(&self, limit: usize) {
        self.budget.set_limit(limit);
        self.freed.notify_waiters();
    }

    /// The limit.
    pub fn limit(&self) -> usize {
        self.budget.limit()
    }

    /// The bytes held.
    pub fn used(&self) -> usize {
        self.budget.used()
    }

    fn micros(&self, at: Instant) -> u64 {
        let since = at.saturating_duration_since(self.started).as_micros();
        u64::try_from(since).unwrap_or(u64::MAX)
    }
}

/// The hellos of one worker that came in pieces.
#[derive(Debug)]
pub(super) struct HellosInProgress {
    memory: Arc<HelloMemory>,
    worker: usize,
    own: RefCell<Own>,
}

#[derive(Debug, Default)]
struct Own {
    hellos: Slab<HelloBytes>,
    /// The hellos being read, by the bytes that they hold, with their keys in `hellos`.
    sizes: BTreeSet<(usize, usize)>,
    /// The hellos that wait for their upstream, by the moment that they began to.
    waits: BTreeSet<(Instant, usize)>,
}

/// The bytes of one hello, with their share of the budget.
#[derive(Debug)]
struct HelloBytes {
    wire: Vec<u8>,
    /// Of the wire's capacity.
    share: Share,
    /// The moment from which it waits for its upstream, if it does.
    waits: Option<Instant>,
    evicted: Rc<Notify>,
}

/// A hello that gives way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Victim {
    /// One of the worker's own, by its key.
    Own(usize),
    /// The first to go of another worker.
    Of(usize),
}

/// The answer to a request for memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reservation {
    /// It is there.
    Yes,
    /// Another worker was asked to free it.
    Asked,
    /// The budget is used up, and no other hello gives way to this one.
    No,
}

impl HellosInProgress {
    /// Those of the worker with the number `worker`.
    pub(super) fn new(memory: Arc<HelloMemory>, worker: usize) -> Self {
        Self {
            memory,
            worker,
            own: RefCell::default(),
        }
    }

    /// One more, which holds nothing yet.
    pub(super) fn enter(self: &Rc<Self>) -> Hello {
        let evicted = Rc::new(Notify::new());
        let key = self.own.borrow_mut().hellos.insert(HelloBytes {
            wire: Vec::new(),
            share: self.memory.budget.nothing(),
            waits: None,
            evicted: evicted.clone(),
        });
        Hello {
            hellos: self.clone(),
            key,
            evicted,
        }
    }

    /// Waits until memory has come free since this was called.
    pub(super) fn freed(&self) -> Notified<'_> {
        self.memory.freed.notified()
    }

    /// Frees memory whenever another worker asks for it. Never returns.
    pub(super) async fn give_way(&self) {
        let Some(load) = self.memory.loads.get(self.worker) else {
            return std::future::pending().await;
        };
        loop {
            load.ask.notified().await;
            self.free(load.asked.swap(0, Ordering::Relaxed), Instant::now());
        }
    }

    /// Lets own hellos give way until `bytes` are left in the budget.
    fn free(&self, bytes: usize, now: Instant) {
        while self.memory.budget.left() < bytes {
            let victim = {
                let own = self.own.borrow();
                let waits = own.waits.first().filter(|(since, _)| is_long(*since, now));
                let key = waits.map(|(_, key)| *key);
                key.or_else(|| own.sizes.last().map(|(_, key)| *key))
            };
            let Some(key) = victim else { break };
            self.evict(key);
        }
        // The worker that asked looks again, even when nothing was left to free.
        self.memory.freed.notify_waiters();
    }

    /// The hello that gives way to one that wants to hold `bytes` in all. `None` if none does.
    fn victim(&self, bytes: usize, now: Instant) -> Option<Victim> {
        let memory = &self.memory;
        let loads = || memory.loads.iter().enumerate();
        let waits =
            loads().filter_map(
                |(worker, load)| match load.waits_since.load(Ordering::Relaxed) {
                    0 => None,
                    since => Some((since - 1, worker)),
                },
            );
        let long = u64::try_from(LONG_WAIT.as_micros()).unwrap_or(u64::MAX);
        let now = memory.micros(now);
        let longest = waits.min();
        let longest = longest.filter(|(since, _)| now.saturating_sub(*since) >= long);
        let largest = loads().map(|(worker, load)| (load.largest.load(Ordering::Relaxed), worker));
        let largest = largest.max().filter(|(largest, _)| *largest > bytes);
        let own = self.own.borrow();
        let (worker, key) = match (longest, largest) {
            (Some((_, worker)), _) => (worker, own.waits.first().map(|(_, key)| *key)),
            (None, Some((_, worker))) => (worker, own.sizes.last().map(|(_, key)| *key)),
            (None, None) => return None,
        };
        match worker == self.worker {
            true => key.map(Victim::Own),
            false => Some(Victim::Of(worker)),
        }
    }

    /// Takes everything from the hello at `key`, and wakes its task.
    fn evict(&self, key: usize) {
        let mut own = self.own.borrow_mut();
        own.forget(key);
        if let Some(held) = own.hellos.get_mut(key) {
            held.wire = Vec::new();
            held.share = self.memory.budget.nothing();
            held.waits = None;
            held.evicted.notify_one();
        }
        self.changed(&own);
    }

    /// Publishes the state for other workers, and wakes those that wait for memory.
    fn changed(&self, own: &Own) {
        let Some(load) = self.memory.loads.get(self.worker) else {
            return;
        };
        let largest = own.sizes.last().map_or(0, |(bytes, _)| *bytes);
        load.largest.store(largest, Ordering::Relaxed);
        let since = own
            .waits
            .first()
            .map(|(since, _)| self.memory.micros(*since));
        let since = since.map_or(0, |since| since.saturating_add(1));
        load.waits_since.store(since, Ordering::Relaxed);
        self.memory.freed.notify_waiters();
    }
}

fn is_long(since: Instant, now: Instant) -> bool {
    now.saturating_duration_since(since) >= LONG_WAIT
}

impl Own {
    /// Takes the hello at `key` out of the orders.
    fn forget(&mut self, key: usize) {
        if let Some(held) = self.hellos.get(key) {
            self.sizes.remove(&(held.wire.capacity(), key));
            if let Some(since) = held.waits {
                self.waits.remove(&(since, key));
            }
        }
    }

    /// Makes place for `more` bytes and counts the hello at `key` by what it holds then, if the budget
    /// has that much.
    fn grow(&mut self, key: usize, more: usize) -> bool {
        let Some(held) = self.hellos.get_mut(key) else {
            return false;
        };
        let (length, before) = (held.wire.len(), held.wire.capacity());
        let needed = length.saturating_add(more);
        if needed <= before {
            return true;
        }
        // Growing ahead keeps the work small; a budget that has not that much left gives what is needed.
        let ahead = needed.max(before.saturating_add(before.min(MOST_AHEAD)));
        let grown = [ahead, needed];
        let grown = grown
            .into_iter()
            .find(|size| held.share.grow(size - before));
        let Some(capacity) = grown else { return false };
        held.wire.reserve_exact(capacity - length);
        self.sizes.remove(&(before, key));
        self.sizes.insert((held.wire.capacity(), key));
        true
    }
}

/// One hello in progress, with its bytes.
#[derive(Debug)]
pub(super) struct Hello {
    hellos: Rc<HellosInProgress>,
    key: usize,
    evicted: Rc<Notify>,
}

impl Hello {
    /// Makes place for `more` bytes, for which others may have to give way.
    pub(super) fn reserve(&self, more: usize, now: Instant) -> Reservation {
        let hellos = &*self.hellos;
        loop {
            if hellos.own.borrow_mut().grow(self.key, more) {
                hellos.changed(&hellos.own.borrow());
                return Reservation::Yes;
            }
            let wanted = self.len().saturating_add(more);
            match hellos.victim(wanted, now) {
                Some(Victim::Own(key)) if key != self.key => hellos.evict(key),
                Some(Victim::Of(worker)) => {
                    if let Some(load) = hellos.memory.loads.get(worker) {
                        load.asked.fetch_max(more, Ordering::Relaxed);
                        load.ask.notify_one();
                    }
                    return Reservation::Asked;
                }
                _ => return Reservation::No,
            }
        }
    }

    /// Adds bytes for which place was made.
    pub(super) fn append(&self, bytes: &[u8]) {
        if let Some(held) = self.hellos.own.borrow_mut().hellos.get_mut(self.key) {
            held.wire.extend_from_slice(bytes);
        }
    }

    /// The number of bytes that have come.
    pub(super) fn len(&self) -> usize {
        self.with(<[u8]>::len)
    }

    /// Looks at the bytes that have come.
    pub(super) fn with<T>(&self, look: impl FnOnce(&[u8]) -> T) -> T {
        let own = self.hellos.own.borrow();
        look(own.hellos.get(self.key).map_or(&[], |held| &held.wire))
    }

    /// The hello is complete and waits for its upstream from `now` on.
    pub(super) fn waits(&self, now: Instant) {
        let mut own = self.hellos.own.borrow_mut();
        own.forget(self.key);
        if let Some(held) = own.hellos.get_mut(self.key) {
            held.waits = Some(now);
            own.waits.insert((now, self.key));
        }
        self.hellos.changed(&own);
    }

    /// Waits until this hello must give way; its bytes are gone then.
    pub(super) async fn evicted(&self) {
        self.evicted.notified().await;
    }

    /// The bytes, with their share of the hello memory.
    pub(super) fn leave(self) -> (Vec<u8>, Share) {
        let mut own = self.hellos.own.borrow_mut();
        own.forget(self.key);
        match own.hellos.get_mut(self.key) {
            Some(held) => {
                let nothing = self.hellos.memory.budget.nothing();
                let share = std::mem::replace(&mut held.share, nothing);
                (std::mem::take(&mut held.wire), share)
            }
            None => (Vec::new(), self.hellos.memory.budget.nothing()),
        }
    }
}

impl Drop for Hello {
    fn drop(&mut self) {
        let mut own = self.hellos.own.borrow_mut();
        own.forget(self.key);
        own.hellos.try_remove(self.key);
        self.hellos.changed(&own);
    }
}

#[cfg(test)]
mod tests;
