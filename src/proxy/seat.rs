//! A seat: a connection's place among those of its worker, through which the sweep and the drain see it and
//! end it.
//!
//! One sweep a worker over all seats finds idle and half-closed connections, and peers that are gone, so
//! that no connection carries a timer through its life.

use std::cell::{Cell, OnceCell, RefCell};
use std::cmp::Reverse;
use std::fmt;
use std::rc::Rc;
use std::sync::{Arc, LazyLock};
use std::task::Waker;
use std::time::{Duration, Instant};

use slab::Slab;

use super::age::{LifeShare, LifeStage};
use super::listener::ListenerPolicy;
use super::liveness::{Finding, SilenceWatch};
use super::sockets::Sockets;
use crate::outcome::Outcome;
use crate::socket::{self, StreamOptions};
use crate::upstream::Upstream;
use crate::verdict::Side;

/// Without a byte for this long, a connection counts as quiet while draining.
const QUIET: Duration = Duration::from_millis(500);

/// Sweeps between two looks at the peers of a connection that something may wait in: a second.
const LOOK: u32 = 4;
/// The same while bytes flow, which says enough nearly always.
const LOOK_WHILE_BUSY: u32 = 16;
/// Without a byte for this long, a connection is looked at as one that is not busy.
const BUSY: Duration = Duration::from_secs(1);

/// The stage that a connection has reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    /// Before the relay: hello and connect have deadlines of their own.
    Opening,
    /// The upstream has not answered the hello.
    Unanswered,
    /// The upstream has not answered it in the time that its policy gives.
    Silent,
    /// Bytes may flow both ways.
    Relaying,
    /// One side has closed.
    HalfClosed,
    /// The last bytes are being delivered before the close; bounded by its own deadline.
    Closing,
}

impl Stage {
    /// Whether bytes may flow.
    const fn is_open(self) -> bool {
        match self {
            Self::Opening | Self::Closing => false,
            Self::Unanswered | Self::Silent | Self::Relaying | Self::HalfClosed => true,
        }
    }
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

    /// The whole seconds, which last for 136 years.
    fn seconds(self) -> u32 {
        u32::try_from(self.0 / 1_000_000).unwrap_or(u32::MAX)
    }
}

/// The need to look at the peers of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Attention {
    /// Nothing waited for either when they were looked at last, and no byte has flowed since.
    Needless,
    /// Something may wait for one.
    Needed,
    /// One has not answered a question.
    Urgent,
}

/// The order in which a drain ends connections over which no byte flows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum DrainOrder {
    /// The upstream had the last word: nobody is known to wait.
    Quiet,
    /// The same, but the client offered HTTP/2: a call may be open without a byte flowing.
    Multiplexed,
    /// The client had the last word: it waits for an answer, and only the end of the drain cuts it.
    AwaitsAnswer,
}

/// A fact about a connection. It is a bit of [`SeatFacts`].
#[derive(Debug, Clone, Copy)]
enum SeatFact {
    /// The last bytes went to the upstream.
    AwaitsAnswer = 1,
    /// The client offered HTTP/2.
    Multiplexed = 2,
    /// The socket to the upstream has the options that detect a peer that is gone.
    Settled = 4,
    DownstreamGone = 8,
    UpstreamGone = 16,
}

/// Facts about a connection, in a byte: every idle connection pays for the size of its seat.
#[derive(Debug, Default)]
struct SeatFacts(Cell<u8>);

impl SeatFacts {
    fn has(&self, fact: SeatFact) -> bool {
        self.0.get() & fact as u8 != 0
    }

    /// Sets `fact`. Returns whether it held before.
    fn set(&self, fact: SeatFact, holds: bool) -> bool {
        let before = self.0.get();
        let others = before & !(fact as u8);
        self.0.set(if holds { others | fact as u8 } else { others });
        before & fact as u8 != 0
    }
}

/// One connection as its worker sees it.
pub(super) struct Seat {
    policy: Arc<ListenerPolicy>,
    /// The second in which the connection was accepted.
    began: u32,
    last_activity: Cell<Moment>,
    facts: SeatFacts,
    stage: Cell<Stage>,
    cut: Cell<Option<Outcome>>,
    attention: Cell<Attention>,
    waker: Cell<Option<Waker>>,
    ends: OnceCell<Ends>,
    /// Present while a peer does not answer.
    watch: Cell<Option<Box<SilenceWatch>>>,
}

impl Seat {
    /// A seat of a connection just accepted under `policy`.
    pub(super) fn new(policy: Arc<ListenerPolicy>) -> Self {
        let now = Moment::of(Instant::now());
        Self {
            policy,
            began: now.seconds(),
            last_activity: Cell::new(now),
            facts: SeatFacts::default(),
            stage: Cell::new(Stage::Opening),
            cut: Cell::new(None),
            attention: Cell::new(Attention::Needed),
            waker: Cell::new(None),
            ends: OnceCell::new(),
            watch: Cell::new(None),
        }
    }

    /// The policy of the listener that accepted the connection.
    pub(super) fn policy(&self) -> &ListenerPolicy {
        &self.policy
    }

    /// Bytes flowed.
    pub(super) fn active(&self, now: Instant) {
        self.last_activity.set(Moment::of(now));
        if self.attention.get() == Attention::Needless {
            self.attention.set(Attention::Needed);
        }
    }

    /// Bytes flowed. `to_upstream` if some of them went there: what comes back in the same poll was sent
    /// before it could answer them.
    pub(super) fn moved(&self, now: Instant, to_upstream: bool) {
        self.facts.set(SeatFact::AwaitsAnswer, to_upstream);
        self.active(now);
    }

    /// The client offered HTTP/2, so that a silent connection may still have calls open.
    pub(super) fn note_multiplexed(&self) {
        self.facts.set(SeatFact::Multiplexed, true);
    }

    fn order(&self) -> DrainOrder {
        let has = |fact| self.facts.has(fact);
        match (has(SeatFact::AwaitsAnswer), has(SeatFact::Multiplexed)) {
            (true, _) => DrainOrder::AwaitsAnswer,
            (false, true) => DrainOrder::Multiplexed,
            (false, false) => DrainOrder::Quiet,
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

    /// The upstream that the connection is to. `None` before its relay.
    pub(super) fn upstream(&self) -> Option<&Upstream> {
        self.ends.get().map(|ends| &*ends.upstream)
    }

    /// The first bytes of the upstream have come.
    pub(super) fn answered(&self) {
        if matches!(self.stage.get(), Stage::Unanswered | Stage::Silent) {
            self.stage.set(Stage::Relaying);
        }
    }

    /// Whether the upstream has not answered the hello in the time that its policy gives it.
    pub(super) fn is_silent(&self) -> bool {
        self.stage.get() == Stage::Silent
    }

    /// Wakes the relay of a connection that the upstream has not answered in time.
    fn note_silence(&self, now: Moment) {
        if self.stage.get() != Stage::Unanswered {
            return;
        }
        let most = self.upstream().map(|it| it.config().ejection.first_byte);
        if most.is_some_and(|most| self.last_activity.get().until(now) >= most) {
            self.stage.set(Stage::Silent);
            self.wake();
        }
    }

    /// Sets the options that find out that the upstream's peer is gone, unless it has them. They ask for
    /// minutes of silence, and are several system calls: most connections of a crowd of short ones end
    /// before they need any.
    fn settle(&self) {
        if let Some(ends) = self.ends.get()
            && !self.facts.set(SeatFact::Settled, true)
        {
            let options = StreamOptions::from(ends.upstream.config().tcp);
            if let Err(error) = socket::set_liveness_options(&ends.sockets.upstream, &options) {
                tracing::debug!(%error, "strait cannot set keepalive on the socket to the upstream");
            }
        }
    }

    /// Whether the peers are to be looked at in this sweep, the `turn`-th one for this seat.
    fn wants_look(&self, turn: u32, now: Moment) -> bool {
        if !turn.is_multiple_of(LOOK) || !self.stage.get().is_open() {
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
            if !self.facts.set(gone(side), true) {
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

    /// Whether the sweep has found that the peer on that side is gone.
    pub(super) fn is_gone(&self, side: Side) -> bool {
        self.facts.has(gone(side))
    }

    /// The reason to take a peer for gone. `None` when it was given before.
    pub(super) fn why_gone(&self) -> Option<Box<str>> {
        let mut watch = self.watch.take()?;
        let detail = watch.detail.take();
        self.watch.set(Some(watch));
        detail
    }

    /// Notes the task to wake when the sweep has found something.
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

    /// The reason why the connection was cut, if it was.
    pub(super) fn cut_reason(&self) -> Option<Outcome> {
        self.cut.get()
    }

    /// Has the relay end the connection: its task is dropped, its sockets close, its record is written.
    fn cut(&self, reason: Outcome) {
        self.cut.set(Some(reason));
        self.wake();
    }

    /// Whether the connection, whose life has `share`, is old enough to end at `now`, and nobody is known to
    /// be cut short by that.
    fn has_lived(&self, share: LifeShare, now: Moment, quiet: Duration) -> bool {
        let age = Duration::from_secs(now.seconds().saturating_sub(self.began).into());
        let stage = |longest| share.stage(age, longest);
        match self.policy.timeouts.max_age.map(stage) {
            None | Some(LifeStage::Young) => false,
            Some(LifeStage::Old) => quiet >= QUIET && self.order() != DrainOrder::AwaitsAnswer,
            Some(LifeStage::Over) => true,
        }
    }

    /// The outcome of the timeout that has run out at `now`, if one has.
    fn overdue(&self, share: LifeShare, now: Moment) -> Option<Outcome> {
        let timeouts = &self.policy.timeouts;
        let (limit, outcome) = match self.stage.get() {
            Stage::Opening | Stage::Closing => return None,
            Stage::Unanswered | Stage::Silent | Stage::Relaying => {
                (timeouts.idle, Outcome::IdleTimeout)
            }
            Stage::HalfClosed => (timeouts.half_closed, Outcome::HalfClosedTimeout),
        };
        let quiet = self.last_activity.get().until(now);
        if quiet >= limit {
            return Some(outcome);
        }
        self.has_lived(share, now, quiet).then_some(Outcome::MaxAge)
    }
}

/// The fact that the peer on that side is gone.
const fn gone(side: Side) -> SeatFact {
    match side {
        Side::Downstream => SeatFact::DownstreamGone,
        Side::Upstream => SeatFact::UpstreamGone,
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
    drain_pace: DrainPace,
}

/// The pace of a drain: the part of a connection that is due from ticks before, in millionths.
#[derive(Debug, Default)]
struct DrainPace(Cell<u64>);

impl DrainPace {
    /// A connection, in the parts that are counted.
    const WHOLE: u64 = 1_000_000;

    /// The connections of `quiet` that are due now, when a tick comes every `tick` and the drain has `left`
    /// to go. Parts of one add up, so that few connections end spread over the drain and not in its first
    /// ticks.
    fn due(&self, quiet: usize, tick: Duration, left: Duration) -> usize {
        let ticks_left = left.as_millis().div_ceil(tick.as_millis().max(1)).max(1);
        let ticks_left = u64::try_from(ticks_left).unwrap_or(u64::MAX);
        let quiet = u64::try_from(quiet).unwrap_or(u64::MAX);
        let parts = self.0.get() + quiet.saturating_mul(Self::WHOLE) / ticks_left;
        self.0.set(parts % Self::WHOLE);
        usize::try_from(parts / Self::WHOLE).unwrap_or(usize::MAX)
    }
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
    pub(super) fn sweep(&self, instant: Instant) {
        let sweep = self.sweeps.get();
        self.sweeps.set(sweep.wrapping_add(1));
        let now = Moment::of(instant);
        for (key, seat) in self.seats.borrow().iter() {
            seat.settle();
            seat.note_silence(now);
            let key = u32::try_from(key).unwrap_or_default();
            if seat.wants_look(sweep.wrapping_add(key), now) {
                seat.look(instant);
            }
            if let Some(outcome) = seat.overdue(LifeShare::of(key), now) {
                seat.cut(outcome);
            }
        }
    }

    /// While draining: cuts as many of the quiet connections as keeps the pace of closing all of them over
    /// `left`, those without HTTP/2 first, then those that have been quiet longest. A connection whose client
    /// waits for an answer is not quiet, however long it takes.
    pub(super) fn cut_quiet(&self, now: Instant, tick: Duration, left: Duration) {
        let now = Moment::of(now);
        let seats = self.seats.borrow();
        let mut quiet: Vec<(DrainOrder, Duration, &Rc<Seat>)> = seats
            .iter()
            .map(|(_, seat)| seat)
            .filter(|seat| seat.stage.get().is_open())
            .map(|seat| (seat.order(), seat.last_activity.get().until(now), seat))
            .filter(|(order, duration, seat)| {
                *order != DrainOrder::AwaitsAnswer && *duration >= QUIET && seat.cut.get().is_none()
            })
            .collect();
        let due = self.drain_pace.due(quiet.len(), tick, left);
        quiet.sort_unstable_by_key(|(order, duration, _)| (*order, Reverse(*duration)));
        for (_, _, seat) in quiet.into_iter().take(due) {
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

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::Wake;

    use super::*;
    use crate::config::{SourceGroups, samples};
    use crate::limits::Scopes;
    use crate::metrics::Metrics;

    const TICK: Duration = Duration::from_millis(250);
    const IDLE: Duration = Duration::from_secs(60);
    const HALF_CLOSED: Duration = Duration::from_secs(10);
    const MAX_AGE: Duration = Duration::from_secs(100_000);

    /// `count` seats of a listener with the timeouts above. Their last bytes flowed at `start`.
    fn seats(count: usize, stage: Stage, start: Instant) -> (Seats, Vec<Rc<Seat>>) {
        let mut config = samples::listener();
        config.timeouts.idle = IDLE;
        config.timeouts.half_closed = HALF_CLOSED;
        config.timeouts.max_age = Some(MAX_AGE);
        let (metrics, scopes) = (Metrics::new().unwrap(), Scopes::default());
        let sources = Arc::new(SourceGroups::default());
        let policy = Arc::new(ListenerPolicy::new(&config, &sources, &metrics, &scopes));
        let seats = Seats::default();
        let taken = (0..count).map(|_| {
            let seat = Rc::new(Seat::new(policy.clone()));
            seat.enter(stage);
            seat.active(start);
            seats.insert(seat.clone());
            seat
        });
        let taken = taken.collect();
        (seats, taken)
    }

    fn cut(seats: &[Rc<Seat>]) -> usize {
        let cut = |seat: &&Rc<Seat>| seat.cut_reason().is_some();
        seats.iter().filter(cut).count()
    }

    #[derive(Default)]
    struct Wakes(AtomicUsize);

    impl Wake for Wakes {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn a_timeout_cuts_a_connection_when_it_has_run_out_and_not_before() {
        let start = Instant::now() + Duration::from_secs(1);
        let early = Duration::from_millis(1);
        for (stage, timeout, reason) in [
            (Stage::Relaying, IDLE, Outcome::IdleTimeout),
            (Stage::HalfClosed, HALF_CLOSED, Outcome::HalfClosedTimeout),
        ] {
            let (seats, taken) = seats(1, stage, start);
            seats.sweep(start + timeout - early);
            assert_eq!(taken[0].cut_reason(), None, "{stage:?}");
            seats.sweep(start + timeout);
            assert_eq!(taken[0].cut_reason(), Some(reason), "{stage:?}");
        }
        for stage in [Stage::Opening, Stage::Closing] {
            let (seats, taken) = seats(1, stage, start);
            seats.sweep(start + IDLE * 2);
            assert_eq!(
                taken[0].cut_reason(),
                None,
                "{stage:?} has its own deadline"
            );
        }
    }

    #[test]
    fn an_old_connection_ends_when_nobody_waits_for_an_answer() {
        let start = Instant::now() + Duration::from_secs(1);
        let second = Duration::from_secs(1);
        let (seats, taken) = seats(3, Stage::Relaying, start);
        let [quiet, waits, flows] = &taken[..] else {
            panic!("three seats")
        };
        let young = start + MAX_AGE * 79 / 100;
        waits.moved(young, true);
        quiet.moved(young, false);
        flows.moved(young, false);
        seats.sweep(young + second);
        assert_eq!(cut(&taken), 0);
        // Every life is over its own share at this time, and none is at its longest.
        let old = start + MAX_AGE - second * 50;
        waits.moved(old - second, true);
        quiet.moved(old - second, false);
        flows.moved(old, false);
        seats.sweep(old);
        let reasons = || taken.iter().map(|seat| seat.cut_reason());
        assert!(reasons().eq([Some(Outcome::MaxAge), None, None]));
        flows.moved(start + MAX_AGE + second, false);
        seats.sweep(start + MAX_AGE + second);
        assert!(reasons().eq([Some(Outcome::MaxAge); 3]));
    }

    #[test]
    fn bytes_put_the_timeout_off() {
        let start = Instant::now() + Duration::from_secs(1);
        let (seats, taken) = seats(1, Stage::Relaying, start);
        taken[0].active(start + IDLE / 2);
        seats.sweep(start + IDLE);
        assert_eq!(cut(&taken), 0);
        seats.sweep(start + IDLE / 2 + IDLE);
        assert_eq!(cut(&taken), 1);
    }

    #[test]
    fn a_cut_wakes_the_relay() {
        let start = Instant::now() + Duration::from_secs(1);
        let (seats, taken) = seats(1, Stage::Relaying, start);
        let wakes = Arc::new(Wakes::default());
        taken[0].wakes(&wakes.clone().into());
        seats.sweep(start);
        assert_eq!(wakes.0.load(Ordering::Relaxed), 0);
        seats.sweep(start + IDLE);
        assert_eq!(wakes.0.load(Ordering::Relaxed), 1);
    }

    #[test]
    fn a_drain_closes_quiet_connections_spread_over_its_time() {
        let start = Instant::now() + Duration::from_secs(1);
        let (seats, taken) = seats(10, Stage::Relaying, start);
        let mut closed = Vec::new();
        for tick in 0..4 {
            seats.cut_quiet(start + QUIET + TICK * tick, TICK, TICK * (4 - tick));
            closed.push(cut(&taken));
        }
        assert_eq!(closed, [2, 5, 7, 10]);
        assert_eq!(taken[0].cut_reason(), Some(Outcome::Drained));
    }

    #[test]
    fn the_pace_of_a_drain_spreads_few_connections_over_it() {
        for (count, expected) in [(1, &[2][..]), (2, &[1, 3]), (3, &[1, 2, 3]), (0, &[])] {
            let pace = DrainPace::default();
            let mut quiet = count;
            let mut ended = Vec::new();
            for tick in 0..4 {
                for _ in 0..pace.due(quiet, TICK, TICK * (4 - tick)) {
                    quiet -= 1;
                    ended.push(tick);
                }
            }
            assert_eq!(ended, expected, "{count} connections");
        }
    }

    #[test]
    fn a_drain_closes_those_first_that_have_been_quiet_longest_and_leaves_busy_ones() {
        let start = Instant::now() + Duration::from_secs(1);
        let (seats, taken) = seats(3, Stage::Relaying, start);
        taken[0].active(start + QUIET);
        taken[1].active(start + Duration::from_millis(1));
        let now = start + QUIET + Duration::from_millis(1);
        seats.cut_quiet(now, TICK, TICK * 2);
        let cut: Vec<_> = taken.iter().map(|seat| seat.cut_reason()).collect();
        assert_eq!(cut, [None, None, Some(Outcome::Drained)]);
        seats.cut_quiet(now, TICK, Duration::ZERO);
        assert_eq!(taken[0].cut_reason(), None, "bytes have just flowed");
        assert_eq!(taken[1].cut_reason(), Some(Outcome::Drained));
    }

    #[test]
    fn a_drain_waits_for_answers_and_closes_what_may_hold_calls_late() {
        let start = Instant::now() + Duration::from_secs(1);
        let (seats, taken) = seats(4, Stage::Relaying, start);
        taken[0].moved(start, true);
        taken[1].note_multiplexed();
        taken[2].moved(start, true);
        taken[2].moved(start, false);
        let reasons = || taken.iter().map(|seat| seat.cut_reason().is_some());
        let now = start + IDLE;
        seats.cut_quiet(now, TICK, TICK * 2);
        assert!(
            reasons().eq([false, false, false, true]) || reasons().eq([false, false, true, false])
        );
        seats.cut_quiet(now, TICK, TICK * 2);
        assert!(reasons().eq([false, false, true, true]), "HTTP/2 last");
        seats.cut_quiet(now, TICK, TICK);
        assert!(reasons().eq([false, true, true, true]), "who waits is left");
        taken[0].moved(now, false);
        seats.cut_quiet(now + QUIET, TICK, TICK);
        assert!(reasons().eq([true; 4]), "its answer has come");
    }

    #[test]
    fn a_connection_that_opens_or_closes_is_not_cut_as_quiet() {
        let start = Instant::now() + Duration::from_secs(1);
        for stage in [Stage::Opening, Stage::Closing] {
            let (seats, taken) = seats(2, stage, start);
            seats.cut_quiet(start + IDLE, TICK, Duration::ZERO);
            assert_eq!(cut(&taken), 0, "{stage:?}");
        }
    }

    #[test]
    fn the_end_of_a_drain_keeps_an_earlier_reason() {
        let start = Instant::now() + Duration::from_secs(1);
        let (seats, taken) = seats(2, Stage::Relaying, start);
        taken[1].active(start + IDLE);
        seats.sweep(start + IDLE);
        seats.mark_drained();
        let reasons = taken.iter().map(|seat| seat.cut_reason());
        let expected = [Outcome::IdleTimeout, Outcome::Drained].map(Some);
        assert!(reasons.eq(expected), "{taken:?}");
    }

    #[test]
    fn a_seat_that_was_given_back_is_left_alone() {
        let start = Instant::now() + Duration::from_secs(1);
        let (seats, taken) = seats(2, Stage::Relaying, start);
        seats.remove(0);
        seats.remove(0);
        seats.sweep(start + IDLE);
        assert_eq!(taken[0].cut_reason(), None);
        assert_eq!(taken[1].cut_reason(), Some(Outcome::IdleTimeout));
    }

    #[test]
    fn peers_are_looked_at_seldom_while_bytes_flow_and_never_when_nothing_waits() {
        let start = Instant::now() + Duration::from_secs(1);
        let (_seats, taken) = seats(1, Stage::Relaying, start);
        let [seat] = &taken[..] else { panic!() };
        let looks = |now: Instant| {
            let wanted = |turn: &u32| seat.wants_look(*turn, Moment::of(now));
            (0..LOOK_WHILE_BUSY).filter(wanted).count()
        };
        assert_eq!(looks(start), 1);
        assert_eq!(looks(start + BUSY), 4);
        seat.attention.set(Attention::Urgent);
        assert_eq!(looks(start), 4);
        seat.attention.set(Attention::Needless);
        assert_eq!(looks(start + BUSY), 0);
        seat.active(start + BUSY);
        assert_eq!(looks(start + BUSY * 2), 4, "bytes may wait again");
        seat.enter(Stage::Closing);
        assert_eq!(looks(start + BUSY * 3), 0);
    }
}
