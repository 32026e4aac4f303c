//! The seats of one worker: one sweep over all of them finds what is overdue, and a drain ends what is quiet.

use std::cell::{Cell, RefCell};
use std::cmp::Reverse;
use std::rc::Rc;
use std::time::{Duration, Instant};

use slab::Slab;

use super::age::LifeShare;
use super::seat::{DrainOrder, Moment, QUIET, Seat};
use super::survey::{SLICE, Survey};
use crate::outcome::Outcome;

/// Sweeps between two reviews of a connection: 5 s.
const REVIEW: u32 = 20;

/// Under overload, one in this many connections may end in each sweep.
const AT_A_TIME: usize = 64;

/// The seats that a part of a sweep looks at: some tens of microseconds.
const PART: usize = 1024;

/// The requests that a sweep makes of relays, beside its own work.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Requests {
    /// The time after which an open connection writes another line in the access log, if it writes any.
    pub lines: Option<Duration>,
    /// Whether a listener ends connections that may not go on. Without that, those are reviewed whose listener did when
    /// they were accepted.
    pub reviews: bool,
}

/// A sweep that is being made.
#[derive(Debug)]
pub(super) struct Sweep {
    instant: Instant,
    /// The time of the sweep before, or of this one if it is the first.
    before: Moment,
    requests: Requests,
    number: u32,
    /// The first key of the next part.
    next: usize,
}

/// The seats of one worker.
#[derive(Debug, Default)]
pub(super) struct Seats {
    seats: RefCell<Slab<Rc<Seat>>>,
    sweeps: Cell<u32>,
    /// The time of the last sweep, if there was one.
    swept: Cell<Option<Moment>>,
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
    #[cfg(test)]
    pub(super) fn sweep(&self, instant: Instant, requests: Requests) {
        let mut sweep = self.begin_sweep(instant, requests);
        while self.sweep_on(&mut sweep) {}
    }

    /// Begins a sweep, which [`Seats::sweep_on`] makes part by part.
    pub(super) fn begin_sweep(&self, instant: Instant, requests: Requests) -> Sweep {
        let number = self.sweeps.get();
        self.sweeps.set(number.wrapping_add(1));
        let now = Moment::of(instant);
        Sweep {
            instant,
            before: self.swept.replace(Some(now)).unwrap_or(now),
            requests,
            number,
            next: 0,
        }
    }

    /// Makes the next part of a sweep: cuts connections whose timeout has run out, settles those that are new, looks
    /// whether the peers of a part of them still answer, and asks relays for what the sweep requests: each for one line in
    /// an interval, and for one review in [`REVIEW`] sweeps. Returns whether there is another part. Between two parts
    /// the worker moves bytes.
    pub(super) fn sweep_on(&self, part: &mut Sweep) -> bool {
        let first = part.next;
        part.next = first.saturating_add(PART);
        let (instant, sweep, requests) = (part.instant, part.number, part.requests);
        let now = Moment::of(instant);
        let seats = self.seats.borrow();
        let keys = first..part.next.min(seats.capacity());
        for (key, seat) in keys.filter_map(|key| Some((key, seats.get(key)?))) {
            let line_is_due = |interval| seat.is_line_due(key, part.before, now, interval);
            if requests.lines.is_some_and(line_is_due) {
                seat.ask_line();
            }
            seat.settle();
            seat.note_silence(now);
            let key = u32::try_from(key).unwrap_or_default();
            if key % REVIEW == sweep % REVIEW
                && (requests.reviews || seat.policy().end_disallowed.is_some())
            {
                seat.ask_review();
            }
            if seat.wants_look(sweep.wrapping_add(key), now) {
                seat.look(instant);
            }
            if let Some(outcome) = seat.overdue(LifeShare::of(key), now) {
                seat.cut(outcome);
            }
        }
        part.next < seats.capacity()
    }

    /// Asks the connections with the keys from `first` on, as many as `survey` takes at a time. A relay answers with its
    /// next poll; the others are answered for. Returns whether there may be connections with such keys.
    pub(super) fn ask(&self, first: usize, survey: &Survey, worker: usize) -> bool {
        let seats = self.seats.borrow();
        survey.go_on(first);
        for key in first..first.saturating_add(SLICE) {
            if let Some(seat) = seats.get(key) {
                if seat.relays() {
                    survey.ask(key);
                    seat.wake();
                } else {
                    seat.answer_while_opening(survey, worker);
                }
            }
        }
        first < seats.capacity()
    }

    /// While draining: cuts as many of the quiet connections as keeps the pace of closing all of them over
    /// `left`, those without HTTP/2 first, then those that have been quiet longest. A connection whose client
    /// waits for an answer is not quiet, however long it takes.
    pub(super) fn cut_quiet(&self, now: Instant, tick: Duration, left: Duration) {
        let now = Moment::of(now);
        let seats = self.seats.borrow();
        let quiet = quiet(&seats, now);
        let mut quiet: Vec<_> = quiet
            .filter(|one| one.0 != DrainOrder::AwaitsAnswer)
            .collect();
        let due = self.drain_pace.due(quiet.len(), tick, left);
        quiet.sort_unstable_by_key(|(order, duration, _)| (*order, Reverse(*duration)));
        for (_, _, seat) in quiet.into_iter().take(due) {
            seat.cut(Outcome::Drained);
        }
    }

    /// Under overload: cuts up to one in [`AT_A_TIME`] connections, those over which no byte has flowed for longest.
    /// Connections whose client waits for an answer come last. Returns the number.
    pub(super) fn end_quietest(&self, now: Instant) -> u64 {
        let seats = self.seats.borrow();
        let mut quiet: Vec<_> = quiet(&seats, Moment::of(now)).collect();
        let due = seats.len().div_ceil(AT_A_TIME).min(quiet.len());
        let waits = |order| order == DrainOrder::AwaitsAnswer;
        quiet.sort_unstable_by_key(|(order, duration, _)| (waits(*order), Reverse(*duration)));
        for (_, _, seat) in quiet.into_iter().take(due) {
            seat.cut(Outcome::Overloaded);
        }
        u64::try_from(due).unwrap_or(u64::MAX)
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

/// The connections over which no byte has flowed for a while, with the time since one has.
fn quiet(
    seats: &Slab<Rc<Seat>>,
    now: Moment,
) -> impl Iterator<Item = (DrainOrder, Duration, &Rc<Seat>)> {
    let open = seats.iter().map(|(_, seat)| seat);
    let open = open.filter(|seat| seat.stage.get().is_open() && seat.cut.get().is_none());
    open.map(move |seat| (seat.order(), seat.last_activity.get().until(now), seat))
        .filter(|(_, duration, _)| *duration >= QUIET)
}

#[cfg(test)]
mod tests;
