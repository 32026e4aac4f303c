//! Copying through the worker's buffer: what small messages take, and bulk where no pipe can be had.

use std::io;
use std::task::{Context, Poll, ready};

use tokio::io::Interest;
use tokio::net::TcpStream;

use super::super::replay::Replay;
use super::super::shared::Shared;
use super::flow::{Flow, Held, Means, Step, settle};
use super::peer::Peer;
use crate::limits::Share;
use crate::socket;

/// Bytes of a read while the carries of all connections use up their budget.
const TINY_READ: usize = 4 * 1024;

/// Bytes read and not written yet.
#[derive(Debug)]
pub(super) struct Carry {
    bytes: Box<[u8]>,
    written: usize,
    _share: Share,
}

impl Held {
    /// Holds `bytes` on the heap, if there are any.
    pub(super) fn carry(bytes: &[u8], shared: &Shared) -> Self {
        if bytes.is_empty() {
            return Self::Nothing;
        }
        Self::Carry(Box::new(Carry {
            bytes: bytes.into(),
            written: 0,
            // These bytes exist already; the budget shrinks the next reads instead.
            _share: shared.carry_memory.force(bytes.len()),
        }))
    }

    /// Holds what was taken from the socket before the relay, if anything was.
    pub(super) fn replay(replay: Replay, shared: &Shared) -> Self {
        let Some((bytes, share)) = replay.leave(&shared.carry_memory) else {
            return Self::Nothing;
        };
        Self::Carry(Box::new(Carry {
            bytes,
            written: 0,
            _share: share,
        }))
    }
}

/// Writes what is left of the carry.
pub(super) fn write_carry(flow: &mut Flow, cx: &mut Context<'_>, destination: &mut Peer) -> Step {
    let Held::Carry(carry) = &mut flow.held else {
        return Step::Moved(0);
    };
    let rest = carry.bytes.get(carry.written..).unwrap_or_default();
    let write = write(cx, destination.socket(), rest);
    match settle(write, destination, Step::Blocked, Step::DestinationFailed) {
        Ok(written) => {
            carry.written += written;
            if carry.written >= carry.bytes.len() {
                flow.held = Held::Nothing;
            }
            Step::Moved(written)
        }
        Err(step) => step,
    }
}

/// Reads once and writes what was read.
pub(super) fn transfer(
    flow: &mut Flow,
    cx: &mut Context<'_>,
    source: &mut Peer,
    destination: &mut Peer,
    means: &mut Means<'_>,
) -> Step {
    let most = means.buffer.len();
    let limit = match means.shared.carry_memory.exhausted() {
        true => TINY_READ.min(most),
        false => flow.pace.read_limit(most),
    };
    let read = read(cx, source.socket(), &mut means.buffer[..limit]);
    let length = match settle(read, source, Step::Drained, Step::SourceFailed) {
        Ok(0) => return Step::Eof,
        Ok(length) => length,
        Err(step) => return step,
    };
    let read = &means.buffer[..length];
    let write = write(cx, destination.socket(), read);
    let written = match settle(write, destination, Step::Blocked, Step::DestinationFailed) {
        Ok(written) => written,
        Err(Step::Blocked) => 0,
        Err(step) => return step,
    };
    flow.pace.read(length == limit, written == length, most);
    flow.held = Held::carry(read.get(written..).unwrap_or_default(), means.shared);
    Step::Moved(written)
}

/// Whether a system call that says so is to be tried again, once the socket is ready.
pub(super) fn is_transient(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted
    )
}

/// Reads from a socket, asking for its readiness only after an EAGAIN, or a read that did not fill the
/// buffer: what comes after that wakes the task anew, so that nothing has to be read in vain to learn
/// that the socket is empty (7% of a ping-pong). Unlike an EAGAIN that the kernel never said
/// (`docs/src/internals/kernel.md#readiness-after-fin`), this ends after FIN too: the socket stays readable
/// then, and the next read is real. Only after an urgent byte, which stops a read early, may the rest wait for the
/// next segment.
fn read(cx: &mut Context<'_>, stream: &TcpStream, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
    loop {
        ready!(stream.poll_read_ready(cx))?;
        match stream.try_io(Interest::READABLE, || socket::read(stream, buffer)) {
            Err(error) if is_transient(&error) => {}
            Ok(length) if (1..buffer.len()).contains(&length) => {
                clear_readable(stream);
                return Poll::Ready(Ok(length));
            }
            result => return Poll::Ready(result),
        }
    }
}

fn clear_readable(stream: &TcpStream) {
    let empty = || Err::<(), _>(io::ErrorKind::WouldBlock.into());
    // The error is our own.
    let _ = stream.try_io(Interest::READABLE, empty);
}

/// Writes to a socket likewise.
fn write(cx: &mut Context<'_>, stream: &TcpStream, bytes: &[u8]) -> Poll<io::Result<usize>> {
    write_with(cx, stream, || socket::write(stream, bytes))
}

/// Does a system call that writes to `stream`, likewise.
pub(super) fn write_with(
    cx: &mut Context<'_>,
    stream: &TcpStream,
    mut call: impl FnMut() -> io::Result<usize>,
) -> Poll<io::Result<usize>> {
    loop {
        ready!(stream.poll_write_ready(cx))?;
        match stream.try_io(Interest::WRITABLE, &mut call) {
            Err(error) if is_transient(&error) => {}
            result => return Poll::Ready(result),
        }
    }
}
