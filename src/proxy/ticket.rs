//! A ticket: a connection's hold on its worker.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use super::listener::ListenerPolicy;
use super::seat::Seat;
use super::shared::Shared;
use super::worker::Worker;
use crate::limits::Share;

/// A connection's hold on its worker and on its seat there, and its share of the connection limit and
/// of the worker's load. All go back when it is dropped.
#[derive(Debug)]
pub(super) struct Ticket {
    worker: Rc<Worker>,
    seat: Rc<Seat>,
    key: usize,
    _connection: Share,
}

impl Ticket {
    /// Takes a seat at `worker`, whose load counts the connection already. The connection was accepted at `accepted`.
    pub(super) fn take(
        worker: Rc<Worker>,
        policy: Arc<ListenerPolicy>,
        connection: Share,
        accepted: Instant,
    ) -> Self {
        let seat = Rc::new(Seat::new(policy, accepted));
        let key = worker.seats.insert(seat.clone());
        Self {
            worker,
            key,
            seat,
            _connection: connection,
        }
    }

    /// The policy of the listener that accepted the connection.
    pub(super) fn policy(&self) -> &ListenerPolicy {
        self.seat.policy()
    }

    /// The state that all workers share.
    pub(super) fn shared(&self) -> &Shared {
        &self.worker.shared
    }

    /// The worker that serves the connection.
    pub(super) fn worker(&self) -> &Rc<Worker> {
        &self.worker
    }

    /// The key of the seat.
    pub(super) fn key(&self) -> usize {
        self.key
    }

    /// The connection's place among those of its worker.
    pub(super) fn seat(&self) -> &Rc<Seat> {
        &self.seat
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.worker.seats.remove(self.key);
        self.worker.load().remove();
    }
}
