//! A worker: what one thread owns, and its connections share.

mod alpn_offers;
mod bulk_queue;
mod pipes;

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use tokio::sync::mpsc::Sender;

use super::hellos::HellosInProgress;
use super::listener::Accepted;
use super::seats::Seats;
use super::shared::{Shared, WorkerLoad};
use super::survey::Survey;
use crate::limits::{OverloadStep, Reserve};
use crate::metrics::OverloadCause;
use crate::source_book::SourceBook;
pub(super) use alpn_offers::{AlpnOffer, AlpnOfferCache};
pub(super) use bulk_queue::{BulkQueue, QueuePlace, wake_after_driver};
pub(super) use pipes::{Pipes, PooledPipe};

/// The largest read, and the largest hello that can be peeked whole.
pub(super) const BUFFER: usize = 256 * 1024;

/// A worker thread's own things, which all its connections use.
#[derive(Debug)]
pub(super) struct Worker {
    /// The state that all workers share.
    pub shared: Arc<Shared>,
    /// Its number.
    pub index: usize,
    /// The inboxes of all workers, by number.
    pub peers: Arc<[Sender<Accepted>]>,
    /// Its connections.
    pub seats: Seats,
    /// The answer to a question about them.
    pub survey: Survey,
    /// The recent connections of each source.
    pub source_book: RefCell<SourceBook>,
    /// The one buffer of this thread: filled and emptied between two awaits.
    pub buffer: RefCell<Box<[u8]>>,
    /// Its part of `carry_memory`, taken before it reads what it may have to carry.
    pub carry: RefCell<Reserve>,
    /// Its pipes.
    pub pipes: Pipes,
    /// Its part of the pipes that may stay full, taken before it fills one.
    pub held_pipes: RefCell<Reserve>,
    /// The relays that move much and wait for their turn.
    pub bulk_queue: BulkQueue,
    /// ALPN offers that its clients make.
    pub alpn_offers: AlpnOfferCache,
    /// Hellos that did not come in one piece.
    pub hellos: Rc<HellosInProgress>,
}

impl Worker {
    /// The cause for which at least `step` is in force here.
    pub(super) fn overload(&self, step: OverloadStep) -> Option<OverloadCause> {
        let memory = self.shared.overload.step(OverloadCause::Memory);
        if memory.get() >= step {
            Some(OverloadCause::Memory)
        } else if self.load().lag_step.get() >= step {
            Some(OverloadCause::WorkerLag)
        } else {
            None
        }
    }

    /// The count of its connections.
    pub(super) fn load(&self) -> &WorkerLoad {
        &self.shared.loads[self.index]
    }
}
