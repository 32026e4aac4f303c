//! Accepting: the loop that takes connections from one listening socket.

use std::io;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use tokio::io::unix::AsyncFd;

use super::super::listener::{Accepted, Listener};
use super::super::worker::Worker;
use super::placing::place;
use crate::drain::DrainWatcher;
use crate::metrics::AcceptPause;
use crate::socket;

/// Connections taken before other tasks of the worker get their turn.
const ACCEPT_BATCH: usize = 32;

/// The result of a batch of accepts.
#[derive(Debug)]
enum Accept {
    /// Nothing waits any more.
    Drained,
    /// More may wait.
    More,
    /// The process or the host ran out of something.
    Exhausted(AcceptPause),
    /// The socket can accept nothing any more.
    Broken(io::Error),
}

/// Accepts on this worker's member of `listener` until it closes or the process drains. Before the
/// socket closes, the connections in its queue are taken: closing it with connections waiting would reset
/// them (`docs/src/internals/kernel.md#closing-a-listening-socket-resets-its-queue`).
///
/// # Errors
/// The socket cannot be waited for, or accepts nothing any more.
pub(super) async fn run(
    worker: Rc<Worker>,
    listener: Arc<Listener>,
    socket: AsyncFd<Arc<OwnedFd>>,
    mut drain: DrainWatcher,
) -> io::Result<()> {
    let mut closing = listener.closing();
    let mut options = listener.options();
    let closed = async {
        tokio::select! {
            _ = closing.wait_for(|closing| *closing) => {}
            _ = drain.draining() => {}
        }
    };
    tokio::pin!(closed);
    loop {
        tokio::select! {
            biased;
            () = &mut closed => break,
            () = worker.shared.accept_gate.open() => {}
        }
        let mut ready = tokio::select! {
            biased;
            () = &mut closed => break,
            Ok(()) = options.changed() => {
                let changed = *options.borrow_and_update();
                if let Err(error) = socket::set_stream_options(&socket, &changed) {
                    tracing::warn!(%error, "strait cannot change the options of a listening socket; it keeps the old ones");
                }
                continue;
            }
            ready = socket.readable() => match ready {
                Ok(ready) => ready,
                Err(error) => return Err(error),
            },
        };
        match accept_batch(&worker, &listener, &socket) {
            Accept::Drained => ready.clear_ready(),
            Accept::More => tokio::task::yield_now().await,
            Accept::Exhausted(reason) => pause(&worker, &listener, reason),
            Accept::Broken(error) => {
                let name = &listener.state().policy.name;
                let text = format!("listener {name} accepts nothing any more: {error}");
                return Err(io::Error::other(text));
            }
        }
    }
    while let Accept::More = accept_batch(&worker, &listener, &socket) {
        tokio::task::yield_now().await;
    }
    Ok(())
}

fn pause(worker: &Worker, listener: &Listener, reason: AcceptPause) {
    let shared = &worker.shared;
    shared.metrics.accept_paused(reason).inc();
    shared.accept_gate.pause();
    let (name, reason) = (&listener.state().policy.name, reason.label());
    tracing::warn!(listener = %name, reason, "strait pauses accepting for 100 ms, because it lacks this resource; with `other`, the host does not let it accept");
}

fn accept_batch(
    worker: &Rc<Worker>,
    listener: &Listener,
    socket: &AsyncFd<Arc<OwnedFd>>,
) -> Accept {
    let accept = || socket::accept(socket.get_ref());
    batch(accept, |(socket, source)| {
        let accepted = Accepted {
            socket,
            source,
            at: Instant::now(),
            state: listener.state(),
        };
        place(worker, accepted);
    })
}

/// Takes connections with `accept`, and gives each to `place`.
fn batch<T>(mut accept: impl FnMut() -> io::Result<T>, mut place: impl FnMut(T)) -> Accept {
    let mut placed = false;
    for _ in 0..ACCEPT_BATCH {
        match accept() {
            Ok(accepted) => {
                placed = true;
                place(accepted);
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Accept::Drained,
            Err(error) if is_broken(&error) => return Accept::Broken(error),
            Err(error) => match exhausted(&error) {
                Some(reason) => return Accept::Exhausted(reason),
                // accept(2): an error of the connection that waited (it is gone), as on RST in the
                // backlog; the next one is fine.
                None => tracing::debug!(%error, "a connection failed before it was accepted"),
            },
        }
    }
    // So many in a row are no errors of connections: something forbids to accept, such as a security module.
    if placed {
        Accept::More
    } else {
        Accept::Exhausted(AcceptPause::Other)
    }
}

/// The resource that is used up by an error of accept(2), if it says so.
fn exhausted(error: &io::Error) -> Option<AcceptPause> {
    match error.raw_os_error() {
        Some(libc::EMFILE) => Some(AcceptPause::ProcessFiles),
        Some(libc::ENFILE) => Some(AcceptPause::HostFiles),
        Some(libc::ENOBUFS | libc::ENOMEM) => Some(AcceptPause::Memory),
        _ => None,
    }
}

/// Whether accept(2) will fail on this descriptor for ever: it is closed, is not a socket, or does not listen.
fn is_broken(error: &io::Error) -> bool {
    let broken = [libc::EBADF, libc::EINVAL, libc::ENOTSOCK].map(Some);
    broken.contains(&error.raw_os_error())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(results: impl Fn(usize) -> Result<(), i32>) -> (Accept, usize) {
        let (mut calls, mut placed) = (0, 0);
        let accept = || {
            calls += 1;
            results(calls).map_err(io::Error::from_raw_os_error)
        };
        let end = batch(accept, |()| placed += 1);
        (end, placed)
    }

    #[test]
    fn an_error_that_stays_pauses_and_one_of_a_connection_does_not() {
        use AcceptPause::{Other, ProcessFiles};
        let (end, _) = after(|_| Err(libc::EACCES));
        assert!(matches!(end, Accept::Exhausted(Other)), "{end:?}");
        let (end, placed) = after(|call| match call {
            1..=31 => Err(libc::ECONNABORTED),
            _ => Ok(()),
        });
        assert!(matches!(end, Accept::More), "{end:?}");
        assert_eq!(placed, 1);
        let (end, placed) = after(|call| match call {
            1 => Ok(()),
            _ => Err(libc::EMFILE),
        });
        assert!(matches!(end, Accept::Exhausted(ProcessFiles)), "{end:?}");
        assert_eq!(placed, 1);
        let (end, _) = after(|call| match call {
            1 => Err(libc::EPERM),
            _ => Err(libc::EAGAIN),
        });
        assert!(matches!(end, Accept::Drained), "{end:?}");
        let (end, _) = after(|_| Err(libc::EBADF));
        assert!(matches!(end, Accept::Broken(_)), "{end:?}");
    }
}
