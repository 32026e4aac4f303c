//! Relay: bytes both ways until both sides have closed, or one has failed.
//!
//! One hand-polled future a connection. Each direction is a [`Flow`]; a [`Peer`] is a socket with the
//! first error seen on either of its halves, which decides how the connection ended: a write can
//! eat an ECONNRESET, after which reads give the data and a clean EOF
//! (`docs/src/internals/kernel.md#errors-are-sticky`).

mod copy;
mod flow;
mod handshake;
mod held;
mod pace;
mod peer;
mod splice;

use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use super::counts::Counts;
use super::ending::Ending;
use super::replay::Replay;
use super::seat::{Seat, Stage};
use super::shared::Shared;
use super::sockets::{Side, Sockets};
use super::states::{Connected, Connection};
use super::worker::{QueuePlace, Worker, wake_after_driver};
use crate::outcome::Outcome;
use flow::{Flow, FlowProgress, FlowState};
use handshake::{FirstClose, HandshakeWatch};
use held::Resources;
use peer::Peer;

/// Bytes that one turn moves in each direction. Until a turn is over no other connection of the worker
/// moves anything. With 16 bulk streams on one worker of the machine this was tuned on (loopback, one or
/// two runs each, Gb/s, and p99 of a 64-byte ping-pong beside them): 64 KiB 17.3 and 0.16 ms, 256 KiB 20.9 and
/// 0.31 ms, 512 KiB 21.3 and 0.58 ms, 1 MiB 21.3 and 1.7 ms. Several turns of 64 KiB between two polls
/// of the driver gain little (18.9 for 16 of them): it is the same stream's next bytes that are cheap.
const QUANTUM: usize = 256 * 1024;

/// The time that a peer gets to acknowledge what was sent, before it is reset because the other failed.
const DELIVERY: Duration = Duration::from_secs(5);

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
        seat.enter(Stage::Relaying);
        if connection.record.is_multiplexed() {
            seat.note_multiplexed();
        }
        seat.look_after(sockets.clone(), routed.upstream);
        Self {
            relay: Relay::new(sockets, routed.replay, connection.ticket.shared()),
            connection,
            delivery: None,
        }
    }

    /// Moves what can be moved. Ready once the connection has ended and its record is written.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.delivery.is_none() {
            if self.connection.ticket.seat().cut_reason().is_some() {
                // Its record is written when it is dropped.
                return Poll::Ready(());
            }
            let ending = ready!(self.poll_relay(cx));
            let ending = self.classify_handshake(ending);
            self.delivery = self.relay.deliver(ending, self.connection.ticket.seat());
            if self.delivery.is_none() {
                self.connection.close(ending);
                return Poll::Ready(());
            }
        }
        if let Some(delivery) = &mut self.delivery {
            let ending = ready!(delivery.as_mut().poll(cx));
            self.connection.close(ending);
        }
        Poll::Ready(())
    }

    fn poll_relay(&mut self, cx: &mut Context<'_>) -> Poll<Ending> {
        let Connection { record, ticket } = &mut self.connection;
        let (relay, worker, seat) = (&mut self.relay, ticket.worker(), ticket.seat());
        seat.wakes(cx.waker());
        record.note(relay.note_gone(seat));
        let (up, down) = relay.move_bytes(cx, worker, Rc::as_ptr(seat).addr());
        record.sent_upstream(up.moved);
        if up.moved > 0 {
            relay.handshake.downstream_spoke(record.counts());
        }
        record.sent_downstream(down.moved);
        if down.moved > 0 {
            relay.handshake.upstream_spoke(record.counts());
        }
        if up.moved + down.moved > 0 {
            let now = Instant::now();
            seat.moved(now, up.moved > 0);
            if let Some(busy_poll) = &worker.busy_poll {
                busy_poll.wake(now);
            }
        }
        if relay.note_first_close(record.counts()) {
            seat.enter(Stage::HalfClosed);
        }
        relay.watch_errors(cx, up, down);
        if let Some(ending) = relay.ended(record.counts()) {
            return Poll::Ready(ending);
        }
        if up.more || down.more {
            wake_after_driver(cx);
        }
        Poll::Pending
    }

    /// `ending`, unless the byte counts show that one side refused the other in the handshake.
    fn classify_handshake(&mut self, ending: Ending) -> Ending {
        let record = &mut self.connection.record;
        let Relay {
            handshake,
            first_close,
            ..
        } = &self.relay;
        match handshake.refusal(ending.outcome, record.counts(), *first_close) {
            Some((side, detail)) => {
                record.note(Some(detail.into()));
                Ending {
                    outcome: Outcome::HandshakeRefused,
                    ended_by: side.into(),
                }
            }
            None => ending,
        }
    }
}

impl Drop for Relaying {
    /// A connection that is cut while the last bytes of a failed peer are delivered ended by that failure.
    fn drop(&mut self) {
        let failure = self.relay.failed(self.connection.record.counts());
        if let (Some(_), Some(failure)) = (self.connection.ticket.seat().cut_reason(), failure) {
            self.connection.close(failure);
        }
    }
}

/// Two sockets, and the two directions between them.
#[derive(Debug)]
struct Relay {
    downstream: Peer,
    upstream: Peer,
    to_upstream: Flow,
    to_downstream: Flow,
    first_close: Option<FirstClose>,
    place: QueuePlace,
    handshake: HandshakeWatch,
}

impl Relay {
    fn new(sockets: Rc<Sockets>, replay: Replay, shared: &Shared) -> Self {
        Self {
            to_upstream: Flow::replaying(replay, &shared.carry_memory),
            to_downstream: Flow::default(),
            downstream: Peer::new(sockets.clone(), Side::Downstream),
            upstream: Peer::new(sockets, Side::Upstream),
            first_close: None,
            place: QueuePlace::default(),
            handshake: HandshakeWatch::default(),
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
        let delivery = survivor.delivery(DELIVERY);
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
        let mut buffer = worker.buffer.borrow_mut();
        let mut carry = worker.carry.borrow_mut();
        let mut held_pipes = worker.held_pipes.borrow_mut();
        let mut resources = Resources {
            buffer: &mut buffer,
            carry: &mut carry,
            pipes: &worker.pipes,
            held_pipes: &mut held_pipes,
            shared: &worker.shared,
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
        (up, down)
    }

    /// Notes the first FIN. Returns whether it came just now.
    fn note_first_close(&mut self, counts: Counts) -> bool {
        if self.first_close.is_some() {
            return false;
        }
        let (by, delivered) = match (self.to_upstream.state(), self.to_downstream.state()) {
            (FlowState::Open, FlowState::Open) => return false,
            (FlowState::Open, _) => (Side::Upstream, counts.to_upstream),
            _ => (Side::Downstream, counts.to_downstream),
        };
        self.first_close = Some(FirstClose { by, delivered });
        true
    }

    /// The ending, if nothing is left to do: both directions are finished, or one peer has failed
    /// and all that it sent before is delivered.
    fn ended(&self, counts: Counts) -> Option<Ending> {
        let up_done = self.to_upstream.state() != FlowState::Open;
        let down_done = self.to_downstream.state() != FlowState::Open;
        match (self.downstream.failure(), self.upstream.failure()) {
            (Some(_), Some(_)) => self.failed(counts),
            (Some(_), None) if up_done => self.failed(counts),
            (None, Some(_)) if down_done => self.failed(counts),
            (None, None) if up_done && down_done => Some(self.closed(counts)),
            _ => None,
        }
    }

    /// The ending that the first failure of either peer gives.
    fn failed(&self, counts: Counts) -> Option<Ending> {
        let (failure, side) = match (self.downstream.failure(), self.upstream.failure()) {
            (Some(first), Some(second)) if second.at < first.at => (second, Side::Upstream),
            (Some(failure), _) => (failure, Side::Downstream),
            (None, Some(failure)) => (failure, Side::Upstream),
            (None, None) => return None,
        };
        // That side had closed both ways and reset the other's goodbye: this is no failure, but it says who
        // ended the connection.
        let is_close = self.first_close.is_some()
            && !failure.timed_out
            && self.handshake.only_a_goodbye_since(side, counts);
        let outcome = match (side, failure.timed_out) {
            _ if is_close => Outcome::Ok,
            (Side::Upstream, false) => Outcome::UpstreamReset,
            (Side::Upstream, true) => Outcome::UpstreamTimeout,
            (Side::Downstream, false) => Outcome::DownstreamReset,
            (Side::Downstream, true) => Outcome::DownstreamTimeout,
        };
        Some(Ending {
            outcome,
            ended_by: side.into(),
        })
    }

    /// The ending of a connection that both sides have closed.
    fn closed(&self, counts: Counts) -> Ending {
        let first = self.first_close.map_or(Side::Downstream, |close| close.by);
        let outcome = match first {
            Side::Upstream if counts.to_downstream == 0 => Outcome::UpstreamClosedBeforeReply,
            Side::Upstream | Side::Downstream => Outcome::Ok,
        };
        Ending {
            outcome,
            ended_by: first.into(),
        }
    }
}
