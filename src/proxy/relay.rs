//! Relay: bytes both ways until both sides have closed, or one has failed.
//!
//! One hand-polled future a connection. Each direction is a [`Flow`]; a [`Peer`] is a socket with the
//! first error seen on either of its halves, which decides how the connection ended: a write can
//! eat an ECONNRESET, after which reads give the data and a clean EOF
//! (`docs/src/internals/kernel.md#errors-are-sticky`).

mod copy;
mod flow;
mod handshake;
mod pace;
mod peer;
mod splice;

use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use tokio::net::TcpStream;

use super::counts::Counts;
use super::ending::Ending;
use super::record::ConnectionRecord;
use super::replay::Replay;
use super::seat::Stage;
use super::sockets::{Side, Sockets};
use super::worker::{Place, Worker, wake_after_driver};
use crate::outcome::Outcome;
use flow::{Flow, FlowState, Means, Progress};
use handshake::{FirstClose, HandshakeWatch};
use peer::Peer;

/// Bytes that one turn moves in each direction. Until a turn is over no other connection of the worker
/// moves anything. With 16 bulk streams on one worker of the machine this was tuned on (loopback, one or
/// two runs each, Gb/s, and p99 of a 64-byte ping-pong beside them): 64 KiB 17.3 and 0.16 ms, 256 KiB 20.9 and
/// 0.31 ms, 512 KiB 21.3 and 0.58 ms, 1 MiB 21.3 and 1.7 ms. Several turns of 64 KiB between two polls
/// of the driver gain little (18.9 for 16 of them): it is the same stream's next bytes that are cheap.
const QUANTUM: usize = 256 * 1024;

/// How long a peer may take to acknowledge what was sent before it is reset after the other.
const DELIVERY: Duration = Duration::from_secs(5);

/// A connection that relays, with the record that it leaves.
pub(super) struct Relaying {
    relay: Relay,
    record: ConnectionRecord,
    delivery: Option<Delivery>,
}

/// Ready when what one side sent before it failed has reached the other; then tells the ending.
type Delivery = Pin<Box<dyn Future<Output = Ending>>>;

impl Relaying {
    /// Relays between the two sockets, `replay` first.
    pub(super) fn new(
        downstream: TcpStream,
        upstream: TcpStream,
        replay: Replay,
        record: ConnectionRecord,
    ) -> Self {
        record.seat().enter(Stage::Relaying);
        let sockets = Rc::new(Sockets {
            downstream,
            upstream,
        });
        if let Some(upstream) = record.upstream() {
            record.seat().look_after(sockets.clone(), upstream);
        }
        Self {
            relay: Relay {
                to_upstream: Flow::replaying(replay, &record.worker().shared),
                to_downstream: Flow::default(),
                downstream: Peer::new(sockets.clone(), Side::Downstream),
                upstream: Peer::new(sockets, Side::Upstream),
                first_close: None,
                place: Place::default(),
                handshake: HandshakeWatch::default(),
            },
            record,
            delivery: None,
        }
    }

    /// Moves what can be moved. Ready once the connection has ended and its record is written.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Self {
            relay,
            record,
            delivery,
        } = self;
        if delivery.is_none() {
            if record.seat().cut_reason().is_some() {
                // Dropped with its record, which tells the reason.
                return Poll::Ready(());
            }
            let ending = ready!(relay.poll(cx, record));
            let ending = relay.classify_handshake(ending, record);
            *delivery = relay.deliver(ending, record);
            if delivery.is_none() {
                record.close(ending);
                return Poll::Ready(());
            }
        }
        if let Some(delivery) = delivery {
            let ending = ready!(delivery.as_mut().poll(cx));
            record.close(ending);
        }
        Poll::Ready(())
    }
}

/// Two sockets, and what moves between them.
#[derive(Debug)]
struct Relay {
    downstream: Peer,
    upstream: Peer,
    to_upstream: Flow,
    to_downstream: Flow,
    first_close: Option<FirstClose>,
    place: Place,
    handshake: HandshakeWatch,
}

impl Relay {
    /// A failure is passed on as RST (see Peer's drop), after all that was received before it.
    fn deliver(&mut self, ending: Ending, record: &ConnectionRecord) -> Option<Delivery> {
        let survivor = match (self.downstream.failure(), self.upstream.failure()) {
            (Some(_), None) => &mut self.upstream,
            (None, Some(_)) => &mut self.downstream,
            _ => return None,
        };
        survivor.set_torn(true);
        record.seat().enter(Stage::Closing);
        let delivery = survivor.delivery(DELIVERY);
        Some(Box::pin(async move {
            delivery.await;
            ending
        }))
    }

    /// `ending`, unless its byte counts show that one side refused the other in the handshake.
    fn classify_handshake(&self, ending: Ending, record: &mut ConnectionRecord) -> Ending {
        let (outcome, counts) = (ending.outcome, record.counts);
        match self.handshake.refusal(outcome, counts, self.first_close) {
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

    fn poll(&mut self, cx: &mut Context<'_>, record: &mut ConnectionRecord) -> Poll<Ending> {
        record.seat().wakes(cx.waker());
        self.note_gone(record);
        let worker = record.worker().clone();
        let (up, down) = self.move_bytes(cx, &worker, record);
        record.sent_upstream(up.moved);
        if up.moved > 0 {
            self.handshake.downstream_spoke(record.counts);
        }
        record.sent_downstream(down.moved);
        if down.moved > 0 {
            self.handshake.upstream_spoke(record.counts);
        }
        if up.moved + down.moved > 0 {
            let now = Instant::now();
            record.seat().active(now);
            if let Some(busy_poll) = &worker.busy_poll {
                busy_poll.wake(now);
            }
        }
        self.note_first_close(record);
        self.watch_errors(cx, up, down);
        // What it sent last may wait for a peer that never takes it; the reason stays all the same.
        record.failure = self.failed(record.counts);
        if let Some(ending) = self.ended(record.counts) {
            return Poll::Ready(ending);
        }
        if up.more || down.more {
            wake_after_driver(cx);
        }
        Poll::Pending
    }

    /// Watches for errors of a socket that neither this poll nor the next one reads.
    fn watch_errors(&mut self, cx: &mut Context<'_>, up: Progress, down: Progress) {
        let reads_downstream = up.more || self.to_upstream.awaits_source();
        self.downstream.watch(cx, reads_downstream);
        let reads_upstream = down.more || self.to_downstream.awaits_source();
        self.upstream.watch(cx, reads_upstream);
    }

    /// Takes over what the sweep has found: a peer that is gone counts as one whose socket has failed.
    fn note_gone(&mut self, record: &mut ConnectionRecord) {
        for peer in [&mut self.downstream, &mut self.upstream] {
            if record.seat().is_gone(peer.side()) && peer.failure().is_none() {
                peer.failed(&io::ErrorKind::TimedOut.into());
                record.note(record.seat().why_gone());
            }
        }
    }

    /// Moves a turn's worth each way, at once if it is little, else when it is this relay's turn.
    fn move_bytes(
        &mut self,
        cx: &mut Context<'_>,
        worker: &Worker,
        record: &ConnectionRecord,
    ) -> (Progress, Progress) {
        let (downstream, upstream) = (&mut self.downstream, &mut self.upstream);
        let up_is_bulk = self.to_upstream.wants_turn(cx, downstream, upstream);
        let down_is_bulk = self.to_downstream.wants_turn(cx, upstream, downstream);
        let has_turn = (up_is_bulk || down_is_bulk) && {
            let relay = Rc::as_ptr(record.seat()).addr();
            let turn = worker.bulk_queue.poll_turn(cx, relay, &mut self.place);
            turn.is_ready()
        };
        let mut buffer = worker.buffer.borrow_mut();
        let mut carry = worker.carry.borrow_mut();
        let mut held_pipes = worker.held_pipes.borrow_mut();
        let mut means = Means {
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
                flow.poll(cx, source, destination, &mut means, QUANTUM)
            };
        let up = turn(&mut self.to_upstream, up_is_bulk, downstream, upstream);
        let down = turn(&mut self.to_downstream, down_is_bulk, upstream, downstream);
        (up, down)
    }

    fn note_first_close(&mut self, record: &ConnectionRecord) {
        if self.first_close.is_some() {
            return;
        }
        let (by, delivered) = match (self.to_upstream.state(), self.to_downstream.state()) {
            (FlowState::Open, FlowState::Open) => return,
            (FlowState::Open, _) => (Side::Upstream, record.counts.to_upstream),
            _ => (Side::Downstream, record.counts.to_downstream),
        };
        self.first_close = Some(FirstClose { by, delivered });
        record.seat().enter(Stage::HalfClosed);
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
