//! A seat: a connection's place among those of its worker, through which the sweep and the drain see it and
//! end it.
//!
//! One sweep a worker over all seats finds idle and half-closed connections, and peers that are gone, so
//! that no connection carries a timer through its life.

use std::cell::{Cell, OnceCell};
use std::fmt;
use std::rc::Rc;
use std::sync::{Arc, LazyLock};
use std::task::Waker;
use std::time::{Duration, Instant};

use super::age::{LifeShare, LifeStage};
use super::listener::ListenerPolicy;
use super::liveness::{Finding, SilenceWatch};
use super::opening::OpeningFacts;
use super::sockets::Sockets;
use super::survey::Survey;
use crate::config::UpstreamTimeouts;
use crate::open_connections::OpenConnection;
use crate::outcome::Outcome;
use crate::route::Target;
use crate::socket::{self, StreamOptions};
use crate::upstream::Upstream;
use crate::verdict::Side;

/// Without a byte for this long, a connection counts as quiet while draining.
pub(super) const QUIET: Duration = Duration::from_millis(500);

/// Sweeps between two looks at the peers of a connection that something may wait in: a second.
const LOOK: u32 = 4;
/// The same while bytes flow, which says enough nearly always.
pub(super) const LOOK_WHILE_BUSY: u32 = 16;
/// Without a byte for this long, a connection is looked at as one that is not busy.
pub(super) const BUSY: Duration = Duration::from_secs(1);

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
    pub(super) const fn is_open(self) -> bool {
        match self {
            Self::Opening | Self::Closing => false,
            Self::Unanswered | Self::Silent | Self::Relaying | Self::HalfClosed => true,
        }
    }
}

/// Microseconds since this process first asked: half the size of an [`Instant`], in every seat.
#[derive(Debug, Clone, Copy)]
pub(super) struct Moment(u64);

impl Moment {
    pub(super) fn of(instant: Instant) -> Self {
        static START: LazyLock<Instant> = LazyLock::new(Instant::now);
        let since = instant.saturating_duration_since(*START);
        Self(since.as_secs() * 1_000_000 + u64::from(since.subsec_micros()))
    }

    pub(super) fn until(self, later: Self) -> Duration {
        Duration::from_micros(later.0.saturating_sub(self.0))
    }

    /// The whole seconds, which last for 136 years.
    fn seconds(self) -> u32 {
        u32::try_from(self.0 / 1_000_000).unwrap_or(u32::MAX)
    }
}

/// The need to look at the peers of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Attention {
    /// Nothing waited for either when they were looked at last, and no byte has flowed since.
    Needless,
    /// Something may wait for one.
    Needed,
    /// One has not answered a question.
    Urgent,
}

/// The order in which a drain ends connections over which no byte flows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum DrainOrder {
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
    /// The relay is asked to see whether its connection may go on.
    Review = 32,
    /// An urgent byte has stopped a read, and what is behind it may wait.
    DownstreamStopped = 64,
    UpstreamStopped = 128,
    /// The relay is asked to write a line in the access log.
    Line = 256,
    /// See [`Attention`]; without both it is needless.
    LookNeeded = 512,
    LookUrgent = 1024,
}

/// Facts about a connection, in two bytes: every idle connection pays for the size of its seat.
#[derive(Debug, Default)]
struct SeatFacts(Cell<u16>);

impl SeatFacts {
    fn has(&self, fact: SeatFact) -> bool {
        self.0.get() & fact as u16 != 0
    }

    /// Sets `fact`. Returns whether it held before.
    fn set(&self, fact: SeatFact, holds: bool) -> bool {
        let before = self.0.get();
        let others = before & !(fact as u16);
        self.0
            .set(if holds { others | fact as u16 } else { others });
        before & fact as u16 != 0
    }
}

/// The part of a seat that is apart, since few connections have it at a time.
#[derive(Debug)]
enum SeatAside {
    /// The facts about a connection before its relay.
    Opening(OpeningFacts),
    /// The silence of a peer that does not answer.
    Silence(SilenceWatch),
}

/// One connection as its worker sees it.
pub(super) struct Seat {
    policy: Arc<ListenerPolicy>,
    /// The second in which the connection was accepted.
    began: u32,
    pub(super) last_activity: Cell<Moment>,
    facts: SeatFacts,
    pub(super) stage: Cell<Stage>,
    pub(super) cut: Cell<Option<Outcome>>,
    waker: Cell<Option<Waker>>,
    ends: OnceCell<Ends>,
    aside: Cell<Option<Box<SeatAside>>>,
}

impl Seat {
    /// A seat of a connection that was accepted under `policy` at `accepted`.
    pub(super) fn new(policy: Arc<ListenerPolicy>, accepted: Instant) -> Self {
        let now = Moment::of(accepted);
        let seat = Self {
            policy,
            began: now.seconds(),
            last_activity: Cell::new(now),
            facts: SeatFacts::default(),
            stage: Cell::new(Stage::Opening),
            cut: Cell::new(None),
            waker: Cell::new(None),
            ends: OnceCell::new(),
            aside: Cell::new(None),
        };
        seat.set_attention(Attention::Needed);
        seat
    }

    /// The need to look at the peers.
    pub(super) fn attention(&self) -> Attention {
        let has = |fact| self.facts.has(fact);
        match (has(SeatFact::LookUrgent), has(SeatFact::LookNeeded)) {
            (true, _) => Attention::Urgent,
            (false, true) => Attention::Needed,
            (false, false) => Attention::Needless,
        }
    }

    pub(super) fn set_attention(&self, attention: Attention) {
        let set = |fact, of| self.facts.set(fact, attention == of);
        set(SeatFact::LookUrgent, Attention::Urgent);
        set(SeatFact::LookNeeded, Attention::Needed);
    }

    /// The policy of the listener that accepted the connection.
    pub(super) fn policy(&self) -> &ListenerPolicy {
        &self.policy
    }

    /// Bytes flowed.
    pub(super) fn active(&self, now: Instant) {
        self.last_activity.set(Moment::of(now));
        if self.attention() == Attention::Needless {
            self.set_attention(Attention::Needed);
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

    pub(super) fn order(&self) -> DrainOrder {
        let has = |fact| self.facts.has(fact);
        match (has(SeatFact::AwaitsAnswer), has(SeatFact::Multiplexed)) {
            (true, _) => DrainOrder::AwaitsAnswer,
            (false, true) => DrainOrder::Multiplexed,
            (false, false) => DrainOrder::Quiet,
        }
    }

    /// Keeps the facts about a connection that has no relay yet for those who ask.
    pub(super) fn open(&self, facts: OpeningFacts) {
        self.aside.set(Some(Box::new(SeatAside::Opening(facts))));
    }

    /// Changes these facts, if there are any.
    pub(super) fn change_opening(&self, change: impl FnOnce(&mut OpeningFacts)) {
        if let Some(mut aside) = self.aside.take() {
            if let SeatAside::Opening(facts) = &mut *aside {
                change(facts);
            }
            self.aside.set(Some(aside));
        }
    }

    /// Forgets these facts: the connection has a relay, or its record is written.
    pub(super) fn opened(&self) {
        if self.stage.get() == Stage::Opening {
            self.aside.set(None);
        }
    }

    /// Answers a question about a connection that has no relay yet, and whose record is not written.
    pub(super) fn answer_while_opening(&self, survey: &Survey, worker: usize) {
        let Some(aside) = self.aside.take() else {
            return;
        };
        if let SeatAside::Opening(opening) = &*aside {
            let facts = opening.facts(&self.policy, self.quiet());
            if survey.note(&facts, || OpenConnection::new(&facts, worker, None, None)) {
                self.cut(Outcome::EndedByOperator);
            }
        }
        self.aside.set(Some(aside));
    }

    /// Whether the connection has a relay, which may be at its end.
    pub(super) fn relays(&self) -> bool {
        self.stage.get() != Stage::Opening
    }

    /// The stage in a word.
    pub(super) fn state(&self) -> &'static str {
        match self.stage.get() {
            Stage::Opening => "opening",
            Stage::Unanswered => "unanswered",
            Stage::Silent => "silent",
            Stage::Relaying => "relaying",
            Stage::HalfClosed => "half_closed",
            Stage::Closing => "closing",
        }
    }

    /// The connection has come to `stage`.
    pub(super) fn enter(&self, stage: Stage) {
        self.stage.set(stage);
        self.active(Instant::now());
    }

    /// Leaves it to the sweep to set the options of the socket to `upstream`, and to see whether both
    /// peers still answer.
    pub(super) fn look_after(&self, sockets: Rc<Sockets>, target: Arc<Target>) {
        // Set once: a connection relays between the same two sockets all its life.
        let _ = self.ends.set(Ends { sockets, target });
    }

    /// The upstream that the connection is to. `None` before its relay.
    pub(super) fn upstream(&self) -> Option<&Upstream> {
        self.ends.get().map(|ends| &*ends.target.upstream)
    }

    /// Bytes of the upstream have come. Returns whether they are the first.
    pub(super) fn answered(&self) -> bool {
        let first = matches!(self.stage.get(), Stage::Unanswered | Stage::Silent);
        if first {
            self.stage.set(Stage::Relaying);
        }
        first
    }

    /// Whether the upstream has not answered the hello in the time that its policy gives it.
    pub(super) fn is_silent(&self) -> bool {
        self.stage.get() == Stage::Silent
    }

    /// Wakes the relay of a connection that the upstream has not answered in time.
    pub(super) fn note_silence(&self, now: Moment) {
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
    pub(super) fn settle(&self) {
        if let Some(ends) = self.ends.get()
            && !self.facts.set(SeatFact::Settled, true)
        {
            let options = StreamOptions::from(ends.target.upstream.config().tcp);
            if let Err(error) = socket::set_liveness_options(&ends.sockets.upstream, &options) {
                tracing::debug!(%error, "strait cannot set keepalive on the socket to the upstream");
            }
        }
    }

    /// Whether the peers are to be looked at in this sweep, the `turn`-th one for this seat.
    pub(super) fn wants_look(&self, turn: u32, now: Moment) -> bool {
        if !turn.is_multiple_of(LOOK) || !self.stage.get().is_open() {
            return false;
        }
        match self.attention() {
            Attention::Needless => false,
            Attention::Urgent => true,
            Attention::Needed => {
                turn.is_multiple_of(LOOK_WHILE_BUSY) || self.last_activity.get().until(now) >= BUSY
            }
        }
    }

    /// Looks whether both peers still answer. The relay is woken to end a connection whose peer does not.
    pub(super) fn look(&self, now: Instant) {
        let Some(ends) = self.ends.get() else {
            return;
        };
        let mut watch = match self.aside.take().map(|aside| *aside) {
            Some(SeatAside::Silence(watch)) => watch,
            Some(SeatAside::Opening(_)) | None => SilenceWatch::default(),
        };
        let most = |side| match side {
            Side::Downstream => self.policy.user_timeout,
            Side::Upstream => ends.target.upstream.config().tcp.user_timeout,
        };
        let finding = watch.look(&ends.sockets, now, most, |side| {
            if !self.facts.set(gone(side), true) {
                self.wake();
            }
        });
        let mut stopped = false;
        for side in [Side::Downstream, Side::Upstream] {
            if socket::has_urgent_byte(ends.sockets.to(side)) {
                stopped = true;
                self.facts.set(stopped_at(side), true);
                self.wake();
            }
        }
        self.set_attention(match finding {
            Finding::Quiet if !stopped => Attention::Needless,
            Finding::Quiet | Finding::Waiting => Attention::Needed,
            Finding::Silent => Attention::Urgent,
        });
        if finding == Finding::Silent {
            self.aside.set(Some(Box::new(SeatAside::Silence(watch))));
        }
    }

    /// Whether the sweep has found that an urgent byte has stopped the reading of that side. It says so once.
    pub(super) fn take_stopped(&self, side: Side) -> bool {
        self.facts.set(stopped_at(side), false)
    }

    /// Whether the sweep has found that the peer on that side is gone.
    pub(super) fn is_gone(&self, side: Side) -> bool {
        self.facts.has(gone(side))
    }

    /// The reason to take a peer for gone. `None` when it was given before.
    pub(super) fn why_gone(&self) -> Option<Box<str>> {
        let mut aside = self.aside.take()?;
        let detail = match &mut *aside {
            SeatAside::Silence(watch) => watch.detail.take(),
            SeatAside::Opening(_) => None,
        };
        self.aside.set(Some(aside));
        detail
    }

    /// Asks the relay to see whether its connection may go on.
    pub(super) fn ask_review(&self) {
        if self.stage.get().is_open() && !self.facts.set(SeatFact::Review, true) {
            self.wake();
        }
    }

    /// Whether the relay was asked to see whether its connection may go on. Asked once, it answers once.
    pub(super) fn take_review(&self) -> bool {
        self.facts.set(SeatFact::Review, false)
    }

    /// Whether the relay is asked for anything.
    pub(super) fn is_asked(&self) -> bool {
        self.facts.has(SeatFact::Review) || self.facts.has(SeatFact::Line)
    }

    /// Whether a line of the open connection is due at `now`, when lines are `interval` apart and the sweep before
    /// was at `before`. The lines of connections that began together are spread over the interval.
    pub(super) fn is_line_due(
        &self,
        key: usize,
        before: Moment,
        now: Moment,
        interval: Duration,
    ) -> bool {
        let long = u64::try_from(interval.as_micros())
            .unwrap_or(u64::MAX)
            .max(1);
        // Multiples of the golden ratio are spread evenly.
        let share = (key as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let shift = share % long;
        let turn = |at: Moment| at.0.saturating_add(shift) / long;
        // In whole seconds: it may be one more than has passed.
        let age = now.seconds().saturating_sub(self.began);
        turn(before) != turn(now) && Duration::from_secs(age.into()) > interval
    }

    /// Asks the relay to write a line in the access log.
    pub(super) fn ask_line(&self) {
        if self.stage.get().is_open() && !self.facts.set(SeatFact::Line, true) {
            self.wake();
        }
    }

    /// Whether the relay was asked for a line. Asked once, it writes one.
    pub(super) fn take_line(&self) -> bool {
        self.facts.set(SeatFact::Line, false)
    }

    /// Notes the task to wake when the sweep has found something.
    pub(super) fn wakes(&self, waker: &Waker) {
        let kept = self.waker.take().filter(|kept| kept.will_wake(waker));
        self.waker.set(Some(kept.unwrap_or_else(|| waker.clone())));
    }

    pub(super) fn wake(&self) {
        if let Some(waker) = self.waker.take() {
            waker.wake_by_ref();
            self.waker.set(Some(waker));
        }
    }

    /// The reason why the connection was cut, if it was.
    pub(super) fn cut_reason(&self) -> Option<Outcome> {
        self.cut.get()
    }

    /// The time since bytes flowed.
    pub(super) fn quiet(&self) -> Duration {
        self.last_activity.get().until(Moment::of(Instant::now()))
    }

    /// Has the relay end the connection: its task is dropped, its sockets close, its record is written.
    pub(super) fn cut(&self, reason: Outcome) {
        self.cut.set(Some(reason));
        self.wake();
    }

    /// Whether the connection, whose life has `share`, is old enough to end at `now`, and nobody is known to
    /// be cut short by that.
    fn has_lived(
        &self,
        share: LifeShare,
        of_upstream: UpstreamTimeouts,
        now: Moment,
        quiet: Duration,
    ) -> bool {
        let age = Duration::from_secs(now.seconds().saturating_sub(self.began).into());
        let stage = |longest| share.stage(age, longest);
        let longest = tighter(self.policy.timeouts.max_age, of_upstream.max_age);
        match longest.map(stage) {
            None | Some(LifeStage::Young) => false,
            Some(LifeStage::Old) => quiet >= QUIET && self.order() != DrainOrder::AwaitsAnswer,
            Some(LifeStage::Over) => true,
        }
    }

    /// The outcome of the timeout that has run out at `now`, if one has.
    pub(super) fn overdue(&self, share: LifeShare, now: Moment) -> Option<Outcome> {
        let timeouts = &self.policy.timeouts;
        let ends = self.ends.get();
        let of_upstream = ends.map_or(UpstreamTimeouts::OFF, |it| it.target.upstream.timeouts());
        let (limit, outcome) = match self.stage.get() {
            Stage::Opening | Stage::Closing => return None,
            Stage::Unanswered | Stage::Silent | Stage::Relaying => {
                let of_route = ends.and_then(|ends| ends.target.timeouts.idle);
                let configured = of_route.unwrap_or(timeouts.idle);
                let idle = of_upstream.idle.unwrap_or(configured);
                (idle.min(configured), Outcome::IdleTimeout)
            }
            Stage::HalfClosed => (timeouts.half_closed, Outcome::HalfClosedTimeout),
        };
        let quiet = self.last_activity.get().until(now);
        if quiet >= limit {
            return Some(outcome);
        }
        let has_lived = self.has_lived(share, of_upstream, now, quiet);
        has_lived.then_some(Outcome::MaxAge)
    }
}

/// The smaller of two bounds of which each may be missing.
fn tighter(one: Option<Duration>, other: Option<Duration>) -> Option<Duration> {
    one.into_iter().chain(other).min()
}

/// The fact that the peer on that side is gone.
const fn gone(side: Side) -> SeatFact {
    match side {
        Side::Downstream => SeatFact::DownstreamGone,
        Side::Upstream => SeatFact::UpstreamGone,
    }
}

/// The fact that an urgent byte has stopped the reading of that side.
const fn stopped_at(side: Side) -> SeatFact {
    match side {
        Side::Downstream => SeatFact::DownstreamStopped,
        Side::Upstream => SeatFact::UpstreamStopped,
    }
}

/// The two ends of a connection that relays.
struct Ends {
    sockets: Rc<Sockets>,
    target: Arc<Target>,
}

impl fmt::Debug for Seat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Seat")
            .field("stage", &self.stage)
            .field("cut", &self.cut)
            .finish_non_exhaustive()
    }
}
