//! One socket of a relay, with the first error seen on it.

use std::fmt;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::Context;
use std::time::Instant;

use tokio::io::Interest;
use tokio::net::TcpStream;

use crate::socket;

/// The first error of a socket.
#[derive(Debug, Clone, Copy)]
pub(super) struct Failure {
    /// The peer stopped answering, rather than reset.
    pub timed_out: bool,
    /// When it was noticed.
    pub at: Instant,
}

/// A socket of a relay.
pub(super) struct Peer {
    socket: Rc<TcpStream>,
    failure: Option<Failure>,
    watch: Watch,
    /// Bytes for it are held here, or the other side has failed: closing must not look to it like
    /// the stream's proper end.
    torn: bool,
}

/// Waiting for an error of a socket that is neither read nor written now.
enum Watch {
    /// Not needed so far: while a socket is read, reading meets the error.
    Never,
    /// Kept once made, since a stream that blocks once blocks again.
    On(Pin<Box<dyn Future<Output = ()>>>),
    /// Has fired. Error readiness is never cleared, so asking again would spin.
    Fired,
}

impl Peer {
    pub(super) fn new(socket: TcpStream) -> Self {
        Self {
            socket: Rc::new(socket),
            failure: None,
            watch: Watch::Never,
            torn: false,
        }
    }

    pub(super) fn socket(&self) -> &TcpStream {
        &self.socket
    }

    pub(super) fn failure(&self) -> Option<Failure> {
        self.failure
    }

    /// Says whether the stream to this peer would be cut short if it closed now.
    pub(super) fn set_torn(&mut self, torn: bool) {
        self.torn = torn;
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
        let at = Instant::now();
        self.failure.get_or_insert(Failure { timed_out, at });
    }

    /// Sees to it that an error wakes this task even while the socket is not read: its bytes have
    /// nowhere to go, or it has sent its FIN, after which only SO_ERROR tells of an RST.
    pub(super) fn watch(&mut self, cx: &mut Context<'_>, is_read: bool) {
        if is_read || self.failure.is_some() {
            return;
        }
        if matches!(self.watch, Watch::Never) {
            let socket = self.socket.clone();
            self.watch = Watch::On(Box::pin(async move {
                // An error of the runtime itself: no watch is all that is lost.
                let _ = socket.ready(Interest::ERROR).await;
            }));
        }
        let Watch::On(watch) = &mut self.watch else {
            return;
        };
        if watch.as_mut().poll(cx).is_ready() {
            self.watch = Watch::Fired;
            if let Some(error) = socket::pending_error(&*self.socket) {
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
        if self.torn {
            // Failing leaves a plain close, which is no worse than what a crash would leave.
            let _ = socket::reset_on_close(&*self.socket);
        }
    }
}

impl fmt::Debug for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Peer")
            .field("socket", &self.socket)
            .field("failure", &self.failure)
            .finish_non_exhaustive()
    }
}
