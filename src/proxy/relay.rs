//! Relay: bytes both ways until both sides have closed, or one has failed.
//!
//! One hand-polled future a connection. Each direction is a [`Flow`]; a [`Peer`] is a socket with the
//! first error seen on either of its halves, which decides how the connection ended: a write can
//! eat an ECONNRESET, after which reads give the data and a clean EOF
//! (`docs/src/internals/kernel.md#errors-are-sticky`).

mod copy;
mod delivery;
mod flow;
mod held;
mod pace;
mod peer;
mod splice;

use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use super::conduct::{self, Reported};
use super::ending::Ending;
use super::record_parts::LocalAddresses;
use super::replay::Replay;
use super::review::review;
use super::seat::{Seat, Stage};
use super::shared::Shared;
use super::sockets::Sockets;
use super::states::{Connected, Connection};
use super::worker::{AlpnOffer, QueuePlace, Worker, wake_after_driver};
use crate::access_log::LineEvent;
use crate::open_connections::OpenConnection;
use crate::outcome::Outcome;
use crate::socket;
use crate::tls_version::TlsVersion;
use crate::upstream::Conduct;
use crate::verdict::{End, Evidence, FlightWatch, Flights, HandshakeStage, Side, judge};
use flow::{Flow, FlowProgress, FlowState};
use held::Resources;
use peer::{Failure, FailureKind, Peer};

/// Bytes that one turn moves in each direction. Until a turn is over no other connection of the worker
/// moves anything. With 16 bulk streams on one worker of the machine this was tuned on (loopback, one or
/// two runs each, Gb/s, and p99 of a 64-byte ping-pong beside them): 64 KiB 17.3 and 0.16 ms, 256 KiB 20.9 and
/// 0.31 ms, 512 KiB 21.3 and 0.58 ms, 1 MiB 21.3 and 1.7 ms. Several turns of 64 KiB between two polls
/// of the driver gain little (18.9 for 16 of them): it is the same stream's next bytes that are cheap.
const QUANTUM: usize = 256 * 1024;

/// A connection that relays.
pub(super) struct Relaying {
    relay: Relay,
    connection: Connection,
    delivery: Option<PendingDelivery>,
}

/// Ready when the bytes that one side sent before it failed have reached the other; gives the ending.
type PendingDelivery = Pin<Box<dyn Future<Output = Ending>>>;

impl Relaying {
    /// Relays between the client and the endpoint.
    pub(super) fn new(connected: Connected) -> Self {
        let Connected { routed, endpoint } = connected;
        let connection = *routed.connection;
        let sockets = Rc::new(Sockets {
            downstream: routed.downstream,
            upstream: endpoint,
        });
        let seat = connection.ticket.seat();
        seat.opened();
        seat.enter(Stage::Unanswered);
        let offer = connection.record.alpn_offer();
        if offer.is_some_and(AlpnOffer::is_multiplexed) {
            seat.note_multiplexed();
        }
        seat.look_after(sockets.clone(), routed.target);
        let relaying = Self {
            relay: Relay::new(sockets, routed.replay, connection.ticket.shared()),
            connection,
            delivery: None,
        };
        if relaying.connection.ticket.shared().access_log.writes_open() {
            relaying.log_open(LineEvent::Open);
        }
        relaying
    }

    /// Moves what can be moved. Ready once the connection has ended and its record is written.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Connection { ticket, .. } = &self.connection;
        if ticket.worker().survey.take_question(ticket.key()) {
            self.answer();
        }
        if self.delivery.is_none() {
            if self.connection.ticket.seat().is_asked() {
                self.do_as_asked();
            }
            if let Some(reason) = self.connection.ticket.seat().cut_reason() {
                self.connection.note_cut(reason);
                // Its record is written when it is dropped.
                return Poll::Ready(());
            }
            let ending = ready!(self.poll_relay(cx));
            self.delivery = self.relay.deliver(ending, self.connection.ticket.seat());
            if self.delivery.is_none() {
                self.close(ending);
                return Poll::Ready(());
            }
        }
        if let Some(delivery) = &mut self.delivery {
            let ending = ready!(delivery.as_mut().poll(cx));
            self.close(ending);
        }
        Poll::Ready(())
    }

    /// Does what the sweep has asked for.
    fn do_as_asked(&mut self) {
        if self.connection.ticket.seat().take_review() {
            review(&mut self.connection);
        }
        if self.connection.ticket.seat().take_line() {
            self.log_open(LineEvent::Interval);
        }
    }

    /// Answers a question about the connection. One that is in its last stage ends by itself.
    fn answer(&self) {
        let Connection { record, ticket } = &self.connection;
        let watch = &self.relay.watch;
        let facts = record.facts(ticket, watch.stage().label());
        let describe = || {
            let local = self.relay.upstream.socket().local_addr().ok();
            let version = self.flights().version();
            let version = version.map(TlsVersion::label);
            OpenConnection::new(&facts, ticket.worker().index, local, version)
        };
        if ticket.worker().survey.note(&facts, describe) {
            ticket.seat().cut(Outcome::EndedByOperator);
        }
    }

    /// The flights of both sides so far.
    fn flights(&self) -> Flights {
        let offer = self.connection.record.alpn_offer();
        let long = offer.is_some_and(AlpnOffer::answers_are_long);
        self.relay.watch.flights(long)
    }

    /// Writes the record, unless it is written.
    fn close(&mut self, ending: Ending) {
        let flights = self.flights();
        self.report_end(ending, flights.stage());
        let locals = self.locals();
        self.connection.close_relayed(ending, flights, locals);
    }

    /// The addresses of this host that a line of the connection has.
    fn locals(&self) -> LocalAddresses {
        let log = &self.connection.ticket.shared().access_log;
        let local = |peer: &Peer| peer.socket().local_addr().ok();
        LocalAddresses {
            downstream: log
                .wants_downstream_local()
                .then(|| local(&self.relay.downstream))
                .flatten(),
            upstream: log.is_on().then(|| local(&self.relay.upstream)).flatten(),
        }
    }

    /// Writes a line of the connection, which is open.
    fn log_open(&self, event: LineEvent) {
        let Connection { record, ticket } = &self.connection;
        let flights = match event {
            LineEvent::Interval => Some(self.flights()),
            LineEvent::Open | LineEvent::End(_) => None,
        };
        record.log_open(ticket, event, flights, self.locals());
    }

    /// Reports what the endpoint has just done or not done, if it counts for its health.
    fn report_conduct(&mut self) {
        let seat = self.connection.ticket.seat();
        let watch = &self.relay.watch;
        let stage = watch.stage();
        let left = stage == HandshakeStage::Asked && watch.has_closed(Side::Upstream);
        let (conduct, outcome) = if left {
            (Conduct::Failed, Outcome::UpstreamClosedBeforeReply)
        } else if seat.is_silent() {
            (Conduct::Failed, Outcome::UpstreamSilent)
        } else if let Some(conduct) = Conduct::at(stage) {
            (conduct, Outcome::UpstreamNotTls)
        } else {
            return;
        };
        let reported = match conduct {
            Conduct::Answered => Reported::Answer,
            Conduct::Passed | Conduct::Failed | Conduct::Refused => Reported::All,
        };
        if std::mem::replace(&mut self.relay.reported, reported) != reported {
            self.report(conduct, outcome);
        }
    }

    /// Reports what the end of the connection says of the endpoint, unless all is reported.
    fn report_end(&mut self, ending: Ending, stage: HandshakeStage) {
        if std::mem::replace(&mut self.relay.reported, Reported::All) == Reported::All {
            return;
        }
        let Some(upstream) = self.connection.ticket.seat().upstream() else {
            return;
        };
        let (waited, first_byte) = (
            self.connection.record.since_connected(),
            upstream.config().ejection.first_byte,
        );
        let Ending {
            outcome, ended_by, ..
        } = ending;
        if let Some(conduct) = Conduct::of_end(stage, outcome, ended_by, waited, first_byte) {
            self.report(conduct, outcome);
        }
    }

    fn report(&self, conduct: Conduct, outcome: Outcome) {
        let Connection { record, ticket } = &self.connection;
        if let (Some(upstream), Some(endpoint)) = (ticket.seat().upstream(), &record.endpoint) {
            let source = record.source().ip();
            conduct::report(upstream, endpoint, conduct, source, outcome);
        }
    }

    fn poll_relay(&mut self, cx: &mut Context<'_>) -> Poll<Ending> {
        let Connection { record, ticket } = &mut self.connection;
        let (relay, worker, seat) = (&mut self.relay, ticket.worker(), ticket.seat());
        seat.wakes(cx.waker());
        record.note(relay.note_gone(seat).map(String::from));
        relay.note_stopped(seat);
        let (up, down) = relay.move_bytes(cx, worker, Rc::as_ptr(seat).addr());
        if let Some(certificates) = relay.watch.new_certificates() {
            record.log_certificates(&certificates);
        }
        record.sent(up.moved, down.moved);
        if up.moved + down.moved > 0 {
            seat.moved(Instant::now(), up.moved > 0);
        }
        if down.moved > 0 && seat.answered() {
            record.trace("first_reply", |_| format!("{} bytes", down.moved));
        }
        if relay.note_closes() {
            seat.enter(Stage::HalfClosed);
        }
        relay.watch_errors(cx, up, down);
        if relay.has_ended() {
            return Poll::Ready(self.judge());
        }
        if up.more || down.more {
            wake_after_driver(cx);
        }
        if relay.reported != Reported::All {
            self.report_conduct();
        }
        Poll::Pending
    }

    /// The ending of a relay in which nothing is left to do. Its evidence goes to the record.
    fn judge(&mut self) -> Ending {
        let flights = self.flights();
        let end = match self.relay.failure() {
            Some((side, failure)) => match failure.kind {
                FailureKind::Ours => return Ending::of(Outcome::InternalError),
                FailureKind::TimedOut => return Ending::of(gone(side)),
                FailureKind::Reset => self.relay.reset_by(side),
            },
            None => End::Closed,
        };
        let verdict = judge(&flights, end);
        let record = &mut self.connection.record;
        record.note(verdict.evidence.map(Evidence::text));
        verdict.into()
    }
}

/// The outcome of a connection whose peer on that side is gone.
const fn gone(side: Side) -> Outcome {
    match side {
        Side::Downstream => Outcome::DownstreamTimeout,
        Side::Upstream => Outcome::UpstreamTimeout,
    }
}

impl Drop for Relaying {
    /// Writes the record of a connection that was cut, unless it is written. If that was while the last bytes of a
    /// failed peer were delivered, it ended by that failure.
    fn drop(&mut self) {
        if self.connection.record.written {
            return;
        }
        let is_cut = self.connection.ticket.seat().cut_reason().is_some();
        let ending = match self.relay.failure() {
            Some(_) if is_cut => self.judge(),
            _ => self.connection.cut_ending(),
        };
        self.close(ending);
    }
}

/// Two sockets, and the two directions between them.
#[derive(Debug)]
struct Relay {
    downstream: Peer,
    upstream: Peer,
    to_upstream: Flow,
    to_downstream: Flow,
    place: QueuePlace,
    watch: FlightWatch,
    /// A direction is over.
    half_closed: bool,
    /// The conduct of the endpoint that its upstream knows.
    reported: Reported,
}

impl Relay {
    fn new(sockets: Rc<Sockets>, replay: Replay, shared: &Shared) -> Self {
        let to_upstream = Flow::replaying(replay, &shared.carry_memory);
        let mut watch = FlightWatch::new();
        watch.passed(Side::Downstream, to_upstream.replayed());
        Self {
            to_upstream,
            to_downstream: Flow::default(),
            downstream: Peer::new(sockets.clone(), Side::Downstream),
            upstream: Peer::new(sockets, Side::Upstream),
            place: QueuePlace::default(),
            watch,
            half_closed: false,
            reported: Reported::default(),
        }
    }

    /// Waits until what a failed side had sent is delivered. The failure is passed on as RST after that, by
    /// the drop of [`Peer`].
    fn deliver(&mut self, ending: Ending, seat: &Seat) -> Option<PendingDelivery> {
        let survivor = match (self.downstream.failure(), self.upstream.failure()) {
            (Some(_), None) => &mut self.upstream,
            (None, Some(_)) => &mut self.downstream,
            _ => return None,
        };
        survivor.set_torn(true);
        seat.enter(Stage::Closing);
        let delivery = survivor.delivery();
        Some(Box::pin(async move {
            delivery.await;
            ending
        }))
    }

    /// Watches for errors of a socket that neither this poll nor the next one reads.
    fn watch_errors(&mut self, cx: &mut Context<'_>, up: FlowProgress, down: FlowProgress) {
        let reads_downstream = up.more || self.to_upstream.awaits_source();
        self.downstream.watch(cx, reads_downstream);
        let reads_upstream = down.more || self.to_downstream.awaits_source();
        self.upstream.watch(cx, reads_upstream);
    }

    /// Takes over what the sweep has found: a peer that is gone counts as one whose socket has failed.
    /// Returns the reason for the log, once.
    fn note_gone(&mut self, seat: &Seat) -> Option<Box<str>> {
        let mut reason = None;
        for peer in [&mut self.downstream, &mut self.upstream] {
            if seat.is_gone(peer.side()) && peer.failure().is_none() {
                peer.failed(&io::ErrorKind::TimedOut.into());
                reason = reason.or_else(|| seat.why_gone());
            }
        }
        reason
    }

    /// Takes over what the sweep has found: the socket of a peer has an urgent byte next, which stopped a read.
    fn note_stopped(&mut self, seat: &Seat) {
        for peer in [&mut self.downstream, &mut self.upstream] {
            if seat.take_stopped(peer.side()) {
                peer.set_stopped(true);
            }
        }
    }

    /// Moves a turn's worth each way: at once if it is little, else when `relay` has its turn.
    fn move_bytes(
        &mut self,
        cx: &mut Context<'_>,
        worker: &Worker,
        relay: usize,
    ) -> (FlowProgress, FlowProgress) {
        let (downstream, upstream) = (&mut self.downstream, &mut self.upstream);
        let up_is_bulk = self.to_upstream.wants_turn(cx, downstream, upstream);
        let down_is_bulk = self.to_downstream.wants_turn(cx, upstream, downstream);
        let has_turn = (up_is_bulk || down_is_bulk) && {
            let turn = worker.bulk_queue.poll_turn(cx, relay, &mut self.place);
            turn.is_ready()
        };
        let began = has_turn.then(Instant::now);
        let mut buffer = worker.buffer.borrow_mut();
        let mut carry = worker.carry.borrow_mut();
        let mut held_pipes = worker.held_pipes.borrow_mut();
        let mut resources = Resources {
            buffer: &mut buffer,
            carry: &mut carry,
            pipes: &worker.pipes,
            held_pipes: &mut held_pipes,
            shared: &worker.shared,
            watch: &mut self.watch,
        };
        let mut turn =
            |flow: &mut Flow, is_bulk: bool, source: &mut Peer, destination: &mut Peer| {
                if is_bulk && !has_turn {
                    return flow.wait_for_turn();
                }
                flow.poll(cx, source, destination, &mut resources, QUANTUM)
            };
        let up = turn(&mut self.to_upstream, up_is_bulk, downstream, upstream);
        let down = turn(&mut self.to_downstream, down_is_bulk, upstream, downstream);
        if let Some(began) = began {
            worker.bulk_queue.turn_took(began.elapsed());
        }
        (up, down)
    }

    /// Notes who has sent FIN, and passes it on. Returns whether a direction is over just now, and is the first.
    fn note_closes(&mut self) -> bool {
        let states = [self.to_upstream.state(), self.to_downstream.state()];
        if states == [FlowState::Open; 2] {
            return false;
        }
        // After the last direction the sockets close, which sends what FIN is left to send.
        let is_last = states == [FlowState::Finished; 2];
        for (side, state) in [Side::Downstream, Side::Upstream].into_iter().zip(states) {
            if state == FlowState::Finished && !self.watch.has_closed(side) {
                self.watch.closed(side);
                match side {
                    _ if is_last => {}
                    Side::Downstream => self.upstream.close_writing(),
                    Side::Upstream => self.downstream.close_writing(),
                }
            }
        }
        !std::mem::replace(&mut self.half_closed, true)
    }

    /// Whether nothing is left to do: both directions are finished, or one peer has failed and all that it
    /// sent before is delivered, or the downstream has closed before the upstream answered its hello.
    fn has_ended(&self) -> bool {
        let up_done = self.to_upstream.state() != FlowState::Open;
        let down_done = self.to_downstream.state() != FlowState::Open;
        match (self.downstream.failure(), self.upstream.failure()) {
            (Some(_), Some(_)) => true,
            (Some(_), None) => up_done,
            (None, Some(_)) => down_done,
            (None, None) => up_done && (down_done || self.watch.is_over()),
        }
    }

    /// The first failure of either peer.
    fn failure(&self) -> Option<(Side, Failure)> {
        match (self.downstream.failure(), self.upstream.failure()) {
            (Some(first), Some(second)) if second.at < first.at => Some((Side::Upstream, second)),
            (Some(failure), _) => Some((Side::Downstream, failure)),
            (None, Some(failure)) => Some((Side::Upstream, failure)),
            (None, None) => None,
        }
    }

    /// The end that a reset by `side` is.
    fn reset_by(&self, side: Side) -> End {
        let peer = match side {
            Side::Downstream => &self.downstream,
            Side::Upstream => &self.upstream,
        };
        // A socket that was reset still says how much it had on its way.
        let unacknowledged = socket::unsent_bytes(peer.socket()).unwrap_or_default();
        End::Reset {
            by: side,
            unacknowledged: unacknowledged.try_into().unwrap_or(u32::MAX),
        }
    }
}
