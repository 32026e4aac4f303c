//! A connection's place among those of its worker: what others may know of it, and how they end it.
//!
//! One sweep a worker over all seats finds idle and half-closed connections, so that no connection
//! carries a timer through its life.

use std::cell::{Cell, OnceCell, RefCell};
use std::fmt;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use slab::Slab;
use tokio::task::AbortHandle;

use super::listener::ListenerPolicy;
use super::sockets::Sockets;
use super::worker::Worker;
use crate::limits::Share;
use crate::outcome::Outcome;
use crate::socket::{self, StreamOptions};
use crate::upstream::Upstream;

/// Without a byte for this long, a connection counts as quiet while draining.
const QUIET: Duration = Duration::from_millis(500);

/// How far a connection has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    /// Before the relay: hello and connect have deadlines of their own.
    Opening,
    /// Bytes may flow both ways.
    Relaying,
    /// One side has closed.
    HalfClosed,
    /// What was accepted is being delivered before the close; bounded by its own deadline.
    Closing,
}

/// What the worker knows of one connection.
#[derive(Debug)]
pub(super) struct Seat {
    policy: Arc<ListenerPolicy>,
    last_activity: Cell<Instant>,
    stage: Cell<Stage>,
    cut: Cell<Option<Outcome>>,
    task: OnceCell<AbortHandle>,
    unsettled: Unsettled,
}

impl Seat {
    /// The policy of the listener that accepted the connection.
    pub(super) fn policy(&self) -> &Arc<ListenerPolicy> {
        &self.policy
    }

    /// Bytes flowed.
    pub(super) fn active(&self, now: Instant) {
        self.last_activity.set(now);
    }

    /// The connection has come to `stage`.
    pub(super) fn enter(&self, stage: Stage) {
        self.stage.set(stage);
        self.last_activity.set(Instant::now());
    }

    /// Leaves it to the next sweep to set the options of the socket to `upstream`.
    pub(super) fn settle_later(&self, sockets: Rc<Sockets>, upstream: Arc<Upstream>) {
        self.unsettled.0.set(Some((sockets, upstream)));
    }

    fn settle(&self) {
        if let Some((sockets, upstream)) = self.unsettled.0.take() {
            let options = StreamOptions::from(upstream.config().tcp);
            if let Err(error) = socket::set_liveness_options(&sockets.upstream, &options) {
                tracing::debug!(%error, "no keepalive towards the upstream");
            }
        }
    }

    /// Why the connection was cut, if it was.
    pub(super) fn cut_reason(&self) -> Option<Outcome> {
        self.cut.get()
    }

    /// Ends the connection: its task is dropped, its sockets close, its record is written.
    fn cut(&self, reason: Outcome) {
        self.cut.set(Some(reason));
        if let Some(task) = self.task.get() {
            task.abort();
        }
    }

    /// Which timeout has run out at `now`, if one has.
    fn overdue(&self, now: Instant) -> Option<Outcome> {
        let timeouts = &self.policy.timeouts;
        let (limit, outcome) = match self.stage.get() {
            Stage::Opening | Stage::Closing => return None,
            Stage::Relaying => (timeouts.idle, Outcome::IdleTimeout),
            Stage::HalfClosed => (timeouts.half_closed, Outcome::HalfClosedTimeout),
        };
        let quiet = now.saturating_duration_since(self.last_activity.get());
        (quiet >= limit).then_some(outcome)
    }
}

/// The socket to an upstream that lacks the options that find out that its peer is gone, if it does. They
/// ask for minutes of silence, and are five system calls: most connections of a crowd of short ones end
/// before they need any.
#[derive(Default)]
struct Unsettled(Cell<Option<(Rc<Sockets>, Arc<Upstream>)>>);

impl fmt::Debug for Unsettled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Unsettled")
    }
}

/// The seats of one worker.
#[derive(Debug, Default)]
pub(super) struct Seats(RefCell<Slab<Rc<Seat>>>);

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
    /// Takes a seat at `worker`, whose load counts the connection already.
    pub(super) fn take(worker: Rc<Worker>, policy: Arc<ListenerPolicy>, connection: Share) -> Self {
        let seat = Rc::new(Seat {
            policy,
            last_activity: Cell::new(Instant::now()),
            stage: Cell::new(Stage::Opening),
            cut: Cell::new(None),
            task: OnceCell::new(),
            unsettled: Unsettled::default(),
        });
        let key = worker.seats.0.borrow_mut().insert(seat.clone());
        Self {
            worker,
            key,
            seat,
            _connection: connection,
        }
    }

    /// The worker.
    pub(super) fn worker(&self) -> &Rc<Worker> {
        &self.worker
    }

    /// The seat.
    pub(super) fn seat(&self) -> &Rc<Seat> {
        &self.seat
    }

    /// Tells the seat which task to cut.
    pub(super) fn seated(seat: &Seat, task: AbortHandle) {
        // Set once, right after the task was made.
        let _ = seat.task.set(task);
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.worker.seats.0.borrow_mut().try_remove(self.key);
        self.worker.load().remove();
    }
}

impl Seats {
    /// Cuts every connection whose timeout has run out, and settles those that are new.
    pub(super) fn sweep(&self) {
        let now = Instant::now();
        for (_, seat) in self.0.borrow().iter() {
            seat.settle();
            if let Some(outcome) = seat.overdue(now) {
                seat.cut(outcome);
            }
        }
    }

    /// While draining: cuts as many of the quiet connections as keeps the pace of closing all of
    /// them over `left`, those that have been quiet longest first.
    pub(super) fn cut_quiet(&self, tick: Duration, left: Duration) {
        let now = Instant::now();
        let seats = self.0.borrow();
        let mut quiet: Vec<(Duration, &Rc<Seat>)> = seats
            .iter()
            .map(|(_, seat)| seat)
            .filter(|seat| matches!(seat.stage.get(), Stage::Relaying | Stage::HalfClosed))
            .map(|seat| {
                (
                    now.saturating_duration_since(seat.last_activity.get()),
                    seat,
                )
            })
            .filter(|(duration, seat)| *duration >= QUIET && seat.cut.get().is_none())
            .collect();
        let ticks_left = left.as_millis().div_ceil(tick.as_millis().max(1)).max(1);
        // Rounded up: with few connections the first ones go at once.
        let due = quiet
            .len()
            .div_ceil(usize::try_from(ticks_left).unwrap_or(usize::MAX));
        quiet.sort_unstable_by_key(|(duration, _)| std::cmp::Reverse(*duration));
        for (_, seat) in quiet.into_iter().take(due) {
            seat.cut(Outcome::Drained);
        }
    }

    /// Marks every connection as cut by the drain; dropping the worker's runtime ends them.
    pub(super) fn mark_drained(&self) {
        for (_, seat) in self.0.borrow().iter() {
            if seat.cut.get().is_none() {
                seat.cut.set(Some(Outcome::Drained));
            }
        }
    }
}
