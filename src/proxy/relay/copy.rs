//! Copying through the worker's buffer: for small messages, and for bulk where no pipe can be had.

use std::io;
use std::task::{Context, Poll, ready};

use tokio::io::Interest;
use tokio::net::TcpStream;

use super::held::{FlowStep, HeldBytes, Resources, destination_step, is_transient, source_step};
use super::pace::Pace;
use super::peer::Peer;
use crate::socket;

/// The least number of bytes in the reserve for a plain read. With fewer, most reads would be short, and
/// would cost more than peeking.
const LEAST_READ: usize = 4 * 1024;

/// Writes what is left of the carry.
pub(super) fn write_carry(
    held: &mut HeldBytes,
    cx: &mut Context<'_>,
    destination: &mut Peer,
) -> FlowStep {
    let HeldBytes::Carry(carry) = held else {
        return FlowStep::Moved(0);
    };
    let write = write(cx, destination.socket(), carry.rest());
    match destination_step(write, destination) {
        Ok(written) => {
            held.wrote(written);
            FlowStep::Moved(written)
        }
        Err(step) => step,
    }
}

/// Reads once and writes what was read. Reads no more than the reserve can hold if nothing can be written.
pub(super) fn transfer(
    held: &mut HeldBytes,
    pace: &mut Pace,
    cx: &mut Context<'_>,
    source: &mut Peer,
    destination: &mut Peer,
    resources: &mut Resources<'_>,
) -> FlowStep {
    let most = resources.buffer.len();
    let limit = resources.carry.fill(pace.read_limit(most));
    if limit < LEAST_READ {
        return transfer_peeked(cx, source, destination, resources);
    }
    let read = read(cx, source, &mut resources.buffer[..limit]);
    let length = match source_step(read, source) {
        Ok(0) => return FlowStep::Eof,
        Ok(length) => length,
        Err(step) => return step,
    };
    let read = &resources.buffer[..length];
    resources.watch.passed(source.side(), read);
    let write = write(cx, destination.socket(), read);
    let written = match destination_step(write, destination) {
        Ok(written) => written,
        Err(FlowStep::Blocked) => 0,
        Err(step) => return step,
    };
    pace.read(length == limit, written == length, most);
    *held = HeldBytes::carry(read.get(written..).unwrap_or_default(), resources.carry);
    FlowStep::Moved(written)
}

/// Peeks at the bytes of the source, writes them, and takes the written ones from the source. This leaves
/// nothing to carry, and costs one more system call than a plain read.
fn transfer_peeked(
    cx: &mut Context<'_>,
    source: &mut Peer,
    destination: &mut Peer,
    resources: &mut Resources<'_>,
) -> FlowStep {
    let buffer = &mut resources.buffer[..LEAST_READ];
    // Without this check, each poll of a stuck destination would copy the same bytes again.
    let ready = destination.socket().poll_write_ready(cx);
    if let Err(step) = destination_step(ready, destination) {
        return step;
    }
    let peek = peek(cx, source.socket(), buffer);
    let length = match source_step(peek, source) {
        Ok(0) => return FlowStep::Eof,
        Ok(length) => length,
        Err(step) => return step,
    };
    let write = write(cx, destination.socket(), &buffer[..length]);
    let written = match destination_step(write, destination) {
        Ok(written) => written,
        Err(step) => return step,
    };
    match take_peeked(source.socket(), &mut buffer[..written]) {
        Ok(()) => {
            resources.watch.passed(source.side(), &buffer[..written]);
            FlowStep::Moved(written)
        }
        // The source still has bytes that were sent on. The next read would send them again.
        Err(error) => {
            source.failed(&error);
            FlowStep::SourceFailed
        }
    }
}

/// Takes bytes from a socket that were peeked at. The socket has them all, so this never waits.
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

/// Reads from a socket, asking for its readiness only after an EAGAIN, or a read that did not fill the
/// buffer: what comes after that wakes the task anew, so that nothing has to be read in vain to learn
/// that the socket is empty (7% of a ping-pong). Unlike an EAGAIN that the kernel never said
/// (`docs/src/internals/kernel.md#readiness-after-fin`), this ends after FIN too: the socket stays readable
/// then, and the next read is real. Only an urgent byte stops a read early: what is behind it waits for the next
/// segment, or until the sweep finds it.
fn read(cx: &mut Context<'_>, source: &mut Peer, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
    if source.is_stopped() {
        source.set_stopped(false);
        match socket::read(source.socket(), buffer) {
            Err(error) if is_transient(&error) => {}
            result => return Poll::Ready(result),
        }
    }
    let stream = source.socket();
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

/// Writes to a socket, asking for its readiness only after an EAGAIN.
fn write(cx: &mut Context<'_>, stream: &TcpStream, bytes: &[u8]) -> Poll<io::Result<usize>> {
    write_with(cx, stream, || socket::write(stream, bytes))
}

/// Does a system call that writes to `stream`, asking for its readiness only after an EAGAIN.
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
