//! One socket of a relay, with the first error seen on it.

use std::fmt;
use std::future::Future;
use std::io;
use std::net::Shutdown;
use std::pin::Pin;
use std::rc::Rc;
use std::task::Context;
use std::time::Instant;

use tokio::io::Interest;
use tokio::net::TcpStream;

use super::super::sockets::Sockets;
use super::delivery::delivered;
use crate::socket;
use crate::verdict::Side;

/// The kind of a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FailureKind {
    /// The peer reset.
    Reset,
    /// The peer stopped answering.
    TimedOut,
    /// Nothing is known against the peer: the gateway could not go on.
    Ours,
}

/// The first error of a socket.
#[derive(Debug, Clone, Copy)]
pub(super) struct Failure {
    /// Its kind.
    pub kind: FailureKind,
    /// When it was noticed.
    pub at: Instant,
}

/// A socket of a relay.
pub(super) struct Peer {
    sockets: Rc<Sockets>,
    side: Side,
    /// Boxed, since few have one and every idle connection would pay for it.
    failure: Option<Box<Failure>>,
    watch: Option<ErrorWatch>,
    /// The watch has fired. Error readiness is never cleared, so asking again would spin.
    fired: bool,
    /// Bytes for it are held here, or the other side has failed: closing must not look to it like
    /// the stream's proper end.
    torn: bool,
    /// An urgent byte has stopped a read. The runtime takes the socket for empty, and is not to be asked.
    stopped: bool,
}

/// Waiting for an error of a socket that is neither read nor written now. Made when first needed (while
/// a socket is read, reading meets the error) and kept, since a stream that blocks once blocks again.
type ErrorWatch = Pin<Box<dyn Future<Output = ()>>>;

impl Peer {
    pub(super) fn new(sockets: Rc<Sockets>, side: Side) -> Self {
        Self {
            sockets,
            side,
            failure: None,
            watch: None,
            fired: false,
            torn: false,
            stopped: false,
        }
    }

    pub(super) fn side(&self) -> Side {
        self.side
    }

    pub(super) fn socket(&self) -> &TcpStream {
        self.sockets.to(self.side)
    }

    /// Waits until the peer has acknowledged everything, as far as it reads; may outlive this.
    pub(super) fn delivery(&self) -> impl Future<Output = ()> + use<> {
        delivered(self.sockets.clone(), self.side)
    }

    pub(super) fn failure(&self) -> Option<Failure> {
        self.failure.as_deref().copied()
    }

    /// Says whether the stream to this peer would be cut short if it closed now.
    pub(super) fn set_torn(&mut self, torn: bool) {
        self.torn = torn;
    }

    /// Says whether an urgent byte has stopped the reading of this peer.
    pub(super) fn set_stopped(&mut self, stopped: bool) {
        self.stopped = stopped;
    }

    /// Whether an urgent byte has stopped the reading of this peer.
    pub(super) fn is_stopped(&self) -> bool {
        self.stopped
    }

    /// Passes FIN on, after the last byte: everything before is written.
    pub(super) fn close_writing(&mut self) {
        let socket = socket2::SockRef::from(self.socket());
        if let Err(error) = socket.shutdown(Shutdown::Write) {
            self.failed(&error);
        }
    }

    /// Notes an error of a read or a write. Only the first counts.
    pub(super) fn failed(&mut self, error: &io::Error) {
        // A peer that vanished shows as a timeout, or as what an ICMP message said of it last.
        let timed_out = matches!(
            error.kind(),
            io::ErrorKind::TimedOut
                | io::ErrorKind::HostUnreachable
                | io::ErrorKind::NetworkUnreachable
        );
        self.note(match timed_out {
            true => FailureKind::TimedOut,
            false => FailureKind::Reset,
        });
    }

    /// Notes that the gateway itself cannot go on with this socket.
    pub(super) fn given_up(&mut self) {
        self.note(FailureKind::Ours);
    }

    fn note(&mut self, kind: FailureKind) {
        let at = Instant::now();
        self.failure
            .get_or_insert_with(|| Box::new(Failure { kind, at }));
    }

    /// Makes an error wake this task even while the socket is not read: its bytes have nowhere to go, or it
    /// has sent its FIN, after which only SO_ERROR shows an RST.
    pub(super) fn watch(&mut self, cx: &mut Context<'_>, is_read: bool) {
        if is_read || self.fired || self.failure.is_some() {
            return;
        }
        let (sockets, side) = (&self.sockets, self.side);
        let watch = self.watch.get_or_insert_with(|| {
            let sockets = sockets.clone();
            Box::pin(async move {
                // An error of the runtime itself: no watch is all that is lost.
                let _ = sockets.to(side).ready(Interest::ERROR).await;
            })
        });
        if watch.as_mut().poll(cx).is_ready() {
            self.watch = None;
            self.fired = true;
            if let Some(error) = socket::pending_error(self.socket()) {
                self.failed(&error);
                // The direction that this ends must look again.
                cx.waker().wake_by_ref();
            }
        }
    }
}

impl Drop for Peer {
    /// Also of a connection that a timeout or a drain cuts.
    fn drop(&mut self) {
        // The kernel would go on for minutes to send what is left to a peer that is gone.
        let gone = self
            .failure()
            .is_some_and(|failure| failure.kind == FailureKind::TimedOut);
        if self.torn || gone {
            // Failing leaves a plain close, which is no worse than what a crash would leave.
            let _ = socket::reset_on_close(self.socket());
        }
    }
}

impl fmt::Debug for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Peer")
            .field("socket", self.socket())
            .field("failure", &self.failure)
            .finish_non_exhaustive()
    }
}
