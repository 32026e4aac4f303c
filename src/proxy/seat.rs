//! A connection's place among those of its worker: what others may know of it, and how they end it.
//!
//! One sweep a worker over all seats finds idle and half-closed connections, and peers that are gone, so
//! that no connection carries a timer through its life.

use std::cell::{Cell, OnceCell, RefCell};
use std::fmt;
use std::rc::Rc;
use std::sync::{Arc, LazyLock};
use std::task::Waker;
use std::time::{Duration, Instant};

use slab::Slab;

use super::listener::ListenerPolicy;
use super::liveness::{Finding, Watch};
use super::sockets::{Side, Sockets};
use crate::outcome::Outcome;
use crate::socket::{self, StreamOptions};
use crate::upstream::Upstream;

/// Without a byte for this long, a connection counts as quiet while draining.
const QUIET: Duration = Duration::from_millis(500);

/// Sweeps between two looks at the peers of a connection that something may wait in: a second.
const LOOK: u32 = 4;
/// The same while bytes flow, which says enough nearly always.
const LOOK_WHILE_BUSY: u32 = 16;
/// Without a byte for this long, a connection is looked at as one that is not busy.
const BUSY: Duration = Duration::from_secs(1);

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

/// Microseconds since this process first asked: half the size of an [`Instant`], in every seat.
#[derive(Debug, Clone, Copy)]
struct Moment(u64);

impl Moment {
    fn of(instant: Instant) -> Self {
        static START: LazyLock<Instant> = LazyLock::new(Instant::now);
        let since = instant.saturating_duration_since(*START);
        Self(since.as_secs() * 1_000_000 + u64::from(since.subsec_micros()))
    }

    fn until(self, later: Self) -> Duration {
        Duration::from_micros(later.0.saturating_sub(self.0))
    }
}

/// Whether the peers of a connection are to be looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Attention {
    /// Nothing waited for either when they were looked at last, and no byte has flowed since.
    Needless,
    /// Something may wait for one.
    Needed,
    /// One has not answered what it was asked.
    Urgent,
}

/// What the worker knows of one connection.
pub(super) struct Seat {
    policy: Arc<ListenerPolicy>,
    last_activity: Cell<Moment>,
    stage: Cell<Stage>,
    cut: Cell<Option<Outcome>>,
    attention: Cell<Attention>,
    /// Whether the socket to the upstream has the options that find out that its peer is gone.
    settled: Cell<bool>,
    downstream_gone: Cell<bool>,
    upstream_gone: Cell<bool>,
    waker: Cell<Option<Waker>>,
    ends: OnceCell<Ends>,
    /// Present while a peer does not answer.
    watch: Cell<Option<Box<Watch>>>,
}

impl Seat {
    /// A seat of a connection just accepted under `policy`.
    pub(super) fn new(policy: Arc<ListenerPolicy>) -> Self {
        Self {
            policy,
            last_activity: Cell::new(Moment::of(Instant::now())),
            stage: Cell::new(Stage::Opening),
            cut: Cell::new(None),
            attention: Cell::new(Attention::Needed),
            settled: Cell::new(false),
            downstream_gone: Cell::new(false),
            upstream_gone: Cell::new(false),
            waker: Cell::new(None),
            ends: OnceCell::new(),
            watch: Cell::new(None),
        }
    }

    /// The policy of the listener that accepted the connection.
    pub(super) fn policy(&self) -> &Arc<ListenerPolicy> {
        &self.policy
    }

    /// Bytes flowed.
    pub(super) fn active(&self, now: Instant) {
        self.last_activity.set(Moment::of(now));
        if self.attention.get() == Attention::Needless {
            self.attention.set(Attention::Needed);
        }
    }

    /// The connection has come to `stage`.
    pub(super) fn enter(&self, stage: Stage) {
        self.stage.set(stage);
        self.active(Instant::now());
    }

    /// Leaves it to the sweep to set the options of the socket to `upstream`, and to see whether both
    /// peers still answer.
    pub(super) fn look_after(&self, sockets: Rc<Sockets>, upstream: Arc<Upstream>) {
        // Set once: a connection relays between the same two sockets all its life.
        let _ = self.ends.set(Ends { sockets, upstream });
    }

    /// Sets the options that find out that the upstream's peer is gone, unless it has them. They ask for
    /// minutes of silence, and are several system calls: most connections of a crowd of short ones end
    /// before they need any.
    fn settle(&self) {
        if let Some(ends) = self.ends.get()
            && !self.settled.replace(true)
        {
            let options = StreamOptions::from(ends.upstream.config().tcp);
            if let Err(error) = socket::set_liveness_options(&ends.sockets.upstream, &options) {
                tracing::debug!(%error, "no keepalive towards the upstream");
            }
        }
    }

    /// Whether the peers are to be looked at in this sweep, the `turn`-th one for this seat.
    fn wants_look(&self, turn: u32, now: Moment) -> bool {
        if !turn.is_multiple_of(LOOK)
            || !matches!(self.stage.get(), Stage::Relaying | Stage::HalfClosed)
        {
            return false;
        }
        match self.attention.get() {
            Attention::Needless => false,
            Attention::Urgent => true,
            Attention::Needed => {
                turn.is_multiple_of(LOOK_WHILE_BUSY) || self.last_activity.get().until(now) >= BUSY
            }
        }
    }

    /// Looks whether both peers still answer. The relay is woken to end a connection whose peer does not.
    fn look(&self, now: Instant) {
        let Some(ends) = self.ends.get() else {
            return;
        };
        let mut watch = self.watch.take().map(|watch| *watch).unwrap_or_default();
        let most = |side| match side {
            Side::Downstream => self.policy.user_timeout,
            Side::Upstream => ends.upstream.config().tcp.user_timeout,
        };
        let finding = watch.look(&ends.sockets, now, most, |side| {
            if !self.gone(side).replace(true) {
                self.wake();
            }
        });
        self.attention.set(match finding {
            Finding::Quiet => Attention::Needless,
            Finding::Waiting => Attention::Needed,
            Finding::Silent => Attention::Urgent,
        });
        if finding == Finding::Silent {
            self.watch.set(Some(Box::new(watch)));
        }
    }

    fn gone(&self, side: Side) -> &Cell<bool> {
        match side {
            Side::Downstream => &self.downstream_gone,
            Side::Upstream => &self.upstream_gone,
        }
    }

    /// Whether the sweep has found that the peer on that side is gone.
    pub(super) fn is_gone(&self, side: Side) -> bool {
        self.gone(side).get()
    }

    /// The reason to take a peer for gone. `None` when it was given before.
    pub(super) fn why_gone(&self) -> Option<Box<str>> {
        let mut watch = self.watch.take()?;
        let detail = watch.detail.take();
        self.watch.set(Some(watch));
        detail
    }

    /// Notes whom to wake when the sweep has found something.
    pub(super) fn wakes(&self, waker: &Waker) {
        let kept = self.waker.take().filter(|kept| kept.will_wake(waker));
        self.waker.set(Some(kept.unwrap_or_else(|| waker.clone())));
    }

    fn wake(&self) {
        if let Some(waker) = self.waker.take() {
            waker.wake_by_ref();
            self.waker.set(Some(waker));
        }
    }

    /// Why the connection was cut, if it was.
    pub(super) fn cut_reason(&self) -> Option<Outcome> {
        self.cut.get()
    }

    /// Has the relay end the connection: its task is dropped, its sockets close, its record is written.
    fn cut(&self, reason: Outcome) {
        self.cut.set(Some(reason));
        self.wake();
    }

    /// Which timeout has run out at `now`, if one has.
    fn overdue(&self, now: Moment) -> Option<Outcome> {
        let timeouts = &self.policy.timeouts;
        let (limit, outcome) = match self.stage.get() {
            Stage::Opening | Stage::Closing => return None,
            Stage::Relaying => (timeouts.idle, Outcome::IdleTimeout),
            Stage::HalfClosed => (timeouts.half_closed, Outcome::HalfClosedTimeout),
        };
        let quiet = self.last_activity.get().until(now);
        (quiet >= limit).then_some(outcome)
    }
}

/// The two ends of a connection that relays.
struct Ends {
    sockets: Rc<Sockets>,
    upstream: Arc<Upstream>,
}

impl fmt::Debug for Seat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Seat")
            .field("stage", &self.stage)
            .field("cut", &self.cut)
            .finish_non_exhaustive()
    }
}

/// The seats of one worker.
#[derive(Debug, Default)]
pub(super) struct Seats {
    seats: RefCell<Slab<Rc<Seat>>>,
    sweeps: Cell<u32>,
}

impl Seats {
    /// Adds `seat`. Returns its key.
    pub(super) fn insert(&self, seat: Rc<Seat>) -> usize {
        self.seats.borrow_mut().insert(seat)
    }

    /// Removes the seat with `key`.
    pub(super) fn remove(&self, key: usize) {
        self.seats.borrow_mut().try_remove(key);
    }

    /// Cuts every connection whose timeout has run out, settles those that are new, and looks whether
    /// peers still answer: at a part of the connections in each sweep.
    pub(super) fn sweep(&self) {
        let sweep = self.sweeps.get();
        self.sweeps.set(sweep.wrapping_add(1));
        let instant = Instant::now();
        let now = Moment::of(instant);
        for (key, seat) in self.seats.borrow().iter() {
            seat.settle();
            let key = u32::try_from(key).unwrap_or_default();
            if seat.wants_look(sweep.wrapping_add(key), now) {
                seat.look(instant);
            }
            if let Some(outcome) = seat.overdue(now) {
                seat.cut(outcome);
            }
        }
    }

    /// While draining: cuts as many of the quiet connections as keeps the pace of closing all of
    /// them over `left`, those that have been quiet longest first.
    pub(super) fn cut_quiet(&self, tick: Duration, left: Duration) {
        let now = Moment::of(Instant::now());
        let seats = self.seats.borrow();
        let mut quiet: Vec<(Duration, &Rc<Seat>)> = seats
            .iter()
            .map(|(_, seat)| seat)
            .filter(|seat| matches!(seat.stage.get(), Stage::Relaying | Stage::HalfClosed))
            .map(|seat| (seat.last_activity.get().until(now), seat))
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
        for (_, seat) in self.seats.borrow().iter() {
            if seat.cut.get().is_none() {
                seat.cut.set(Some(Outcome::Drained));
            }
        }
    }
}
