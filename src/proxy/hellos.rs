//! The hellos that come in pieces, and which of them gives way when their memory runs out.
//!
//! All workers share one budget. When it is used up the largest hello gives way, whichever worker
//! reads it: many slow small hellos are no reason to refuse the next one, one that has collected
//! 300 KiB is. Each worker keeps its own in order of size and publishes the largest, so that finding
//! it costs a look at each worker, however many hellos an attacker keeps in progress.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use slab::Slab;
use tokio::sync::Notify;

use super::refuse::Refusal;
use super::shared::Shared;
use crate::limits::Share;
use crate::outcome::Outcome;

/// What other workers know of one worker's hellos, on a cache line of its own.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct HelloLoad {
    /// Bytes that the largest holds; 0 when there is none. One that gives way counts until its memory
    /// is free: who asks meanwhile asks for the same one, and is not refused.
    largest: AtomicUsize,
    ask: Notify,
}

/// The hellos of one worker that come in pieces.
#[derive(Debug)]
pub(super) struct HellosInProgress {
    shared: Arc<Shared>,
    worker: usize,
    own: RefCell<BySize>,
}

#[derive(Debug, Default)]
struct BySize {
    evict: Slab<Rc<Notify>>,
    /// The bytes that each holds, with its key in `evict`.
    sizes: BTreeSet<(usize, usize)>,
}

/// One hello in progress.
#[derive(Debug)]
pub(super) struct Turn<'a> {
    hellos: &'a HellosInProgress,
    key: usize,
    bytes: Cell<usize>,
    evict: Rc<Notify>,
}

impl Turn<'_> {
    /// Waits until this hello must give way.
    pub(super) async fn evicted(&self) {
        self.evict.notified().await;
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let mut own = self.hellos.own.borrow_mut();
        own.evict.try_remove(self.key);
        own.sizes.remove(&(self.bytes.get(), self.key));
        self.hellos.publish(&own);
    }
}

impl HellosInProgress {
    /// Those of the worker with the number `worker`.
    pub(super) fn new(shared: Arc<Shared>, worker: usize) -> Self {
        Self {
            shared,
            worker,
            own: RefCell::default(),
        }
    }

    /// One more, which holds nothing yet.
    pub(super) fn enter(&self) -> Turn<'_> {
        let evict = Rc::new(Notify::new());
        Turn {
            hellos: self,
            key: self.own.borrow_mut().evict.insert(evict.clone()),
            bytes: Cell::new(0),
            evict,
        }
    }

    /// Accounts for a hello that now holds `bytes`. When the budget is used up and another hello
    /// holds more, that one gives way; this one goes over the budget by one read at most, until the
    /// other's memory is free.
    ///
    /// # Errors
    /// The budget is used up, and no hello holds more than this one.
    pub(super) fn account(
        &self,
        turn: &Turn<'_>,
        bytes: usize,
        share: &mut Share,
    ) -> Result<(), Refusal> {
        let before = turn.bytes.replace(bytes);
        {
            let mut own = self.own.borrow_mut();
            own.sizes.remove(&(before, turn.key));
            own.sizes.insert((bytes, turn.key));
            self.publish(&own);
        }
        let more = bytes.saturating_sub(before);
        if share.grow(more) {
            return Ok(());
        }
        let loads = self.shared.hello_loads.iter().enumerate();
        let sizes = loads.map(|(worker, load)| (load.largest.load(Ordering::Relaxed), worker));
        match sizes.max() {
            Some((largest, worker)) if largest > bytes => {
                if worker == self.worker {
                    self.evict_largest();
                } else if let Some(load) = self.shared.hello_loads.get(worker) {
                    load.ask.notify_one();
                }
                share.force(more);
                Ok(())
            }
            _ => Err(Refusal::silent(Outcome::Overloaded)),
        }
    }

    /// Lets the largest give way whenever another worker asks for it. Never returns.
    pub(super) async fn give_way(&self) {
        let Some(load) = self.shared.hello_loads.get(self.worker) else {
            return std::future::pending().await;
        };
        loop {
            load.ask.notified().await;
            // Memory may have come free since.
            if self.shared.hello_memory.exhausted() {
                self.evict_largest();
            }
        }
    }

    fn evict_largest(&self) {
        let own = self.own.borrow();
        let largest = own.sizes.last();
        if let Some(evict) = largest.and_then(|(_, key)| own.evict.get(*key)) {
            evict.notify_one();
        }
    }

    fn publish(&self, own: &BySize) {
        let largest = own.sizes.last().map_or(0, |(bytes, _)| *bytes);
        if let Some(load) = self.shared.hello_loads.get(self.worker) {
            load.largest.store(largest, Ordering::Relaxed);
        }
    }
}
