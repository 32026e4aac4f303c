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
    /// Boxed, since few have one and every idle connection would pay for it.
    failure: Option<Box<Failure>>,
    watch: Option<Watch>,
    /// The watch has fired. Error readiness is never cleared, so asking again would spin.
    fired: bool,
    /// Bytes for it are held here, or the other side has failed: closing must not look to it like
    /// the stream's proper end.
    torn: bool,
}

/// Waiting for an error of a socket that is neither read nor written now. Made when first needed (while
/// a socket is read, reading meets the error) and kept, since a stream that blocks once blocks again.
type Watch = Pin<Box<dyn Future<Output = ()>>>;

impl Peer {
    pub(super) fn new(socket: TcpStream) -> Self {
        Self {
            socket: Rc::new(socket),
            failure: None,
            watch: None,
            fired: false,
            torn: false,
        }
    }

    pub(super) fn socket(&self) -> &TcpStream {
        &self.socket
    }

    /// The socket, to outlive this.
    pub(super) fn shared_socket(&self) -> Rc<TcpStream> {
        self.socket.clone()
    }

    pub(super) fn failure(&self) -> Option<Failure> {
        self.failure.as_deref().copied()
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
        self.failure
            .get_or_insert_with(|| Box::new(Failure { timed_out, at }));
    }

    /// Sees to it that an error wakes this task even while the socket is not read: its bytes have
    /// nowhere to go, or it has sent its FIN, after which only SO_ERROR tells of an RST.
    pub(super) fn watch(&mut self, cx: &mut Context<'_>, is_read: bool) {
        if is_read || self.fired || self.failure.is_some() {
            return;
        }
        let socket = &self.socket;
        let watch = self.watch.get_or_insert_with(|| {
            let socket = socket.clone();
            Box::pin(async move {
                // An error of the runtime itself: no watch is all that is lost.
                let _ = socket.ready(Interest::ERROR).await;
            })
        });
        if watch.as_mut().poll(cx).is_ready() {
            self.watch = None;
            self.fired = true;
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
