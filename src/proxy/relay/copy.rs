//! Copying through the worker's buffer: what small messages take, and bulk where no pipe can be had.

use std::io;
use std::task::{Context, Poll, ready};

use tokio::io::Interest;
use tokio::net::TcpStream;

use super::super::replay::Replay;
use super::super::shared::Shared;
use super::flow::{Flow, Held, Means, Step, settle};
use super::peer::Peer;
use crate::limits::{Reserve, Share};
use crate::socket;

/// Bytes that a plain read needs in the reserve, at least. With less, most reads would be short, and peeking
/// costs less than they do.
const LEAST_READ: usize = 4 * 1024;

/// Bytes read and not written yet.
#[derive(Debug)]
pub(super) struct Carry {
    bytes: Box<[u8]>,
    written: usize,
    _share: Share,
}

impl Held {
    /// Holds `bytes` on the heap, if there are any, with a share out of `reserve`.
    fn carry(bytes: &[u8], reserve: &mut Reserve) -> Self {
        if bytes.is_empty() {
            return Self::Nothing;
        }
        Self::Carry(Box::new(Carry {
            bytes: bytes.into(),
            written: 0,
            _share: reserve.split(bytes.len()),
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

/// Reads once and writes what was read. Reads no more than the reserve can hold if nothing can be written.
pub(super) fn transfer(
    flow: &mut Flow,
    cx: &mut Context<'_>,
    source: &mut Peer,
    destination: &mut Peer,
    means: &mut Means<'_>,
) -> Step {
    let most = means.buffer.len();
    let limit = means.carry.fill(flow.pace.read_limit(most));
    if limit < LEAST_READ {
        return transfer_peeked(cx, source, destination, &mut means.buffer[..LEAST_READ]);
    }
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
    flow.held = Held::carry(read.get(written..).unwrap_or_default(), means.carry);
    Step::Moved(written)
}

/// Writes what can be peeked at, and takes from the source what was written. Nothing is left to carry, for one
/// system call more.
fn transfer_peeked(
    cx: &mut Context<'_>,
    source: &mut Peer,
    destination: &mut Peer,
    buffer: &mut [u8],
) -> Step {
    // Nothing is peeked at again and again for a destination that is stuck.
    let ready = destination.socket().poll_write_ready(cx);
    if let Err(step) = settle(ready, destination, Step::Blocked, Step::DestinationFailed) {
        return step;
    }
    let peek = peek(cx, source.socket(), buffer);
    let length = match settle(peek, source, Step::Drained, Step::SourceFailed) {
        Ok(0) => return Step::Eof,
        Ok(length) => length,
        Err(step) => return step,
    };
    let write = write(cx, destination.socket(), &buffer[..length]);
    let written = match settle(write, destination, Step::Blocked, Step::DestinationFailed) {
        Ok(written) => written,
        Err(step) => return step,
    };
    match take_peeked(source.socket(), &mut buffer[..written]) {
        Ok(()) => Step::Moved(written),
        // Bytes that were sent on are still there, and the next read would send them again.
        Err(error) => {
            source.failed(&error);
            Step::SourceFailed
        }
    }
}

/// Takes bytes from a socket that were peeked at, so that they are there.
fn take_peeked(stream: &TcpStream, mut peeked: &mut [u8]) -> io::Result<()> {
    while !peeked.is_empty() {
        match socket::read(stream, peeked) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(taken) => peeked = peeked.get_mut(taken..).unwrap_or_default(),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Peeks at what a socket has received.
fn peek(cx: &mut Context<'_>, stream: &TcpStream, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
    loop {
        ready!(stream.poll_read_ready(cx))?;
        match stream.try_io(Interest::READABLE, || socket::peek(stream, buffer)) {
            Err(error) if is_transient(&error) => {}
            result => return Poll::Ready(result),
        }
    }
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
