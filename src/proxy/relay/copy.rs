//! One direction of a relay, copied through the worker's buffer.
//!
//! No direction owns a buffer. What a short write leaves behind moves to a heap carry of exactly
//! that size, and nothing is read in that direction until it is written (`kernel-notes.md` 4).

use std::io;
use std::net::Shutdown;
use std::task::{Context, Poll, ready};

use tokio::io::Interest;

use super::super::preread::Replay;
use super::super::shared::Shared;
use super::super::worker::BUFFER;
use super::peer::Peer;
use crate::limits::Share;
use crate::socket;

/// The first reads of a direction, and the next ones after a short write: what a peer that does not
/// read may leave us holding.
const SMALL_READ: usize = 16 * 1024;
/// While the carries of all connections use up their budget.
const TINY_READ: usize = 4 * 1024;
/// Reads that filled their limit and were written whole before the limit doubles.
const FREE_READS_TO_GROW: u8 = 4;

/// Where a direction stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum FlowState {
    /// Bytes may come.
    #[default]
    Open,
    /// The source has closed, everything is written and FIN is passed on.
    Finished,
    /// The source or the destination has failed.
    Dead,
}

/// One direction.
#[derive(Debug, Default)]
pub(super) struct Flow {
    state: FlowState,
    carry: Option<Box<Carry>>,
    /// Bytes of the next read; 0 until the first.
    read_limit: usize,
    free_reads: u8,
    awaits_source: bool,
}

/// Bytes read and not written yet.
#[derive(Debug)]
struct Carry {
    bytes: Box<[u8]>,
    written: usize,
    _share: Share,
}

/// What one poll of a direction did.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Turn {
    /// Bytes written.
    pub moved: usize,
    /// There is more to do at once, after others had their turn.
    pub more: bool,
}

impl Flow {
    /// A direction that begins with bytes taken from the source before.
    pub(super) fn replaying(replay: &Replay, shared: &Shared) -> Self {
        Self {
            carry: Carry::of(&replay.bytes, shared),
            ..Self::default()
        }
    }

    pub(super) fn state(&self) -> FlowState {
        self.state
    }

    /// Whether this direction waits for its source to become readable, and so meets its errors.
    pub(super) fn awaits_source(&self) -> bool {
        self.awaits_source
    }

    /// Moves what can be moved, at most one buffer's worth.
    pub(super) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        source: &mut Peer,
        destination: &mut Peer,
        buffer: &mut [u8],
        shared: &Shared,
    ) -> Turn {
        let mut turn = Turn::default();
        let mut left = buffer.len();
        self.awaits_source = false;
        while self.state == FlowState::Open {
            if destination.failure().is_some() {
                self.state = FlowState::Dead;
                self.carry = None;
                break;
            }
            let step = match self.carry.is_some() {
                true => self.write_carry(cx, destination),
                false => self.transfer(cx, source, destination, buffer, shared),
            };
            let Poll::Ready(moved) = step else {
                break;
            };
            turn.moved += moved;
            left = left.saturating_sub(moved);
            if left == 0 {
                turn.more = true;
                break;
            }
        }
        let source_failed = self.state == FlowState::Dead && source.failure().is_some();
        destination.set_torn(self.carry.is_some() || source_failed);
        turn
    }

    /// Writes what is left of the carry.
    fn write_carry(&mut self, cx: &mut Context<'_>, destination: &mut Peer) -> Poll<usize> {
        let Some(carry) = &mut self.carry else {
            return Poll::Ready(0);
        };
        let rest = carry.bytes.get(carry.written..).unwrap_or_default();
        match ready!(write(cx, destination, rest)) {
            Ok(written) => {
                carry.written += written;
                if carry.written >= carry.bytes.len() {
                    self.carry = None;
                }
                Poll::Ready(written)
            }
            Err(error) => {
                destination.failed(&error);
                Poll::Ready(0)
            }
        }
    }

    /// Reads once and writes what was read.
    fn transfer(
        &mut self,
        cx: &mut Context<'_>,
        source: &mut Peer,
        destination: &mut Peer,
        buffer: &mut [u8],
        shared: &Shared,
    ) -> Poll<usize> {
        let limit = self.read_limit(buffer.len(), shared);
        let read = read(cx, source, &mut buffer[..limit]);
        self.awaits_source = read.is_pending();
        let length = match ready!(read) {
            Ok(0) => {
                self.finish(source, destination);
                return Poll::Ready(0);
            }
            Ok(length) => length,
            Err(error) => {
                source.failed(&error);
                self.state = FlowState::Dead;
                return Poll::Ready(0);
            }
        };
        let read = &buffer[..length];
        let written = match write(cx, destination, read) {
            Poll::Ready(Ok(written)) => written,
            Poll::Ready(Err(error)) => {
                destination.failed(&error);
                return Poll::Ready(0);
            }
            Poll::Pending => 0,
        };
        self.adapt(length == limit, written == length);
        self.carry = Carry::of(read.get(written..).unwrap_or_default(), shared);
        Poll::Ready(written)
    }

    /// The source sends nothing more. A source that has failed gets no FIN passed on: its EOF came
    /// after an error that a write has eaten.
    fn finish(&mut self, source: &Peer, destination: &mut Peer) {
        if source.failure().is_some() {
            self.state = FlowState::Dead;
            return;
        }
        self.state = FlowState::Finished;
        // Everything before is written, so FIN goes out after the last byte.
        let socket = socket2::SockRef::from(destination.socket());
        if let Err(error) = socket.shutdown(Shutdown::Write) {
            destination.failed(&error);
        }
    }

    fn read_limit(&self, most: usize, shared: &Shared) -> usize {
        if shared.carry_memory.exhausted() {
            return TINY_READ.min(most);
        }
        self.read_limit
            .clamp(SMALL_READ, most.max(SMALL_READ))
            .min(most)
    }

    /// Larger reads for a direction that flows freely, small ones again once its destination has
    /// not taken all.
    fn adapt(&mut self, filled: bool, written_whole: bool) {
        if !written_whole {
            self.read_limit = 0;
            self.free_reads = 0;
        } else if filled {
            self.free_reads += 1;
            if self.free_reads == FREE_READS_TO_GROW {
                self.free_reads = 0;
                self.read_limit = (self.read_limit.max(SMALL_READ) * 2).min(BUFFER);
            }
        }
    }
}

impl Carry {
    fn of(bytes: &[u8], shared: &Shared) -> Option<Box<Self>> {
        (!bytes.is_empty()).then(|| {
            Box::new(Self {
                bytes: bytes.into(),
                written: 0,
                // These bytes exist already; the budget shrinks the next reads instead.
                _share: shared.carry_memory.force(bytes.len()),
            })
        })
    }
}

fn is_transient(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted
    )
}

/// Reads from a socket, asking for its readiness only after a real EAGAIN (`kernel-notes.md` 1).
fn read(cx: &mut Context<'_>, peer: &Peer, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
    let stream = peer.socket();
    loop {
        ready!(stream.poll_read_ready(cx))?;
        match stream.try_io(Interest::READABLE, || socket::read(stream, buffer)) {
            Err(error) if is_transient(&error) => {}
            result => return Poll::Ready(result),
        }
    }
}

/// Writes to a socket likewise.
fn write(cx: &mut Context<'_>, peer: &Peer, bytes: &[u8]) -> Poll<io::Result<usize>> {
    let stream = peer.socket();
    loop {
        ready!(stream.poll_write_ready(cx))?;
        match stream.try_io(Interest::WRITABLE, || socket::write(stream, bytes)) {
            Err(error) if is_transient(&error) => {}
            result => return Poll::Ready(result),
        }
    }
}
