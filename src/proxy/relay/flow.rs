//! One direction of a relay.
//!
//! No direction owns a buffer: bytes pass through the worker's buffer, or one of its pipes, between
//! two awaits. What the destination did not take stays where it is cheapest, in the pipe or in a heap
//! carry of exactly that size, and nothing is read in that direction until it is written
//! (`docs/src/internals/kernel.md#short-writes`).

use std::net::Shutdown;
use std::task::{Context, Poll};

use super::super::replay::Replay;
use super::super::shared::Shared;
use super::super::worker::Pipes;
use super::copy::{self, Carry};
use super::pace::Pace;
use super::peer::Peer;
use super::splice::{self, FullPipe};
use crate::limits::Reserve;

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

/// Bytes taken from the source that the destination has not taken yet.
#[derive(Debug, Default)]
pub(super) enum Held {
    /// None.
    #[default]
    Nothing,
    /// On the heap.
    Carry(Box<Carry>),
    /// In a pipe.
    Pipe(Box<FullPipe>),
}

/// One direction.
#[derive(Debug, Default)]
pub(super) struct Flow {
    pub(super) held: Held,
    pub(super) pace: Pace,
    state: FlowState,
    awaits_source: bool,
}

/// What a direction moves bytes with: the worker's, for the time of one poll.
pub(super) struct Means<'a> {
    /// Filled and emptied within one poll.
    pub buffer: &'a mut [u8],
    /// Bytes of `carry_memory` that this worker may carry without asking.
    pub carry: &'a mut Reserve,
    /// Pipes to take one from.
    pub pipes: &'a Pipes,
    /// Pipes that this worker may leave full without asking.
    pub held_pipes: &'a mut Reserve,
    /// Budgets.
    pub shared: &'a Shared,
}

/// The work that one poll of a direction did.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Progress {
    /// Bytes written.
    pub moved: usize,
    /// There is more to do at once, after others had their turn.
    pub more: bool,
}

/// What one step of a poll did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// Bytes written.
    Moved(usize),
    /// The source has nothing now; its readiness wakes the task.
    Drained,
    /// The destination takes nothing now; its readiness wakes the task.
    Blocked,
    /// The source sends nothing more.
    Eof,
    /// The source has failed, and knows it.
    SourceFailed,
    /// The destination has failed, and knows it.
    DestinationFailed,
}

impl Flow {
    /// A direction that begins with bytes taken from the source before.
    pub(super) fn replaying(replay: Replay, shared: &Shared) -> Self {
        Self {
            held: Held::replay(replay, shared),
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

    /// Whether it could move much now. If not, the task is woken when it can, unless it is no bulk.
    pub(super) fn wants_turn(
        &self,
        cx: &mut Context<'_>,
        source: &Peer,
        destination: &Peer,
    ) -> bool {
        if self.state != FlowState::Open || !self.pace.is_bulk() {
            return false;
        }
        let ready = match self.held {
            Held::Nothing => source.socket().poll_read_ready(cx),
            Held::Carry(_) | Held::Pipe(_) => destination.socket().poll_write_ready(cx),
        };
        ready.is_ready()
    }

    /// Leaves this poll to others: the direction waits for its turn.
    pub(super) fn wait_for_turn(&mut self) -> Progress {
        // It will read once called, which meets the source's errors early enough.
        self.awaits_source = true;
        Progress::default()
    }

    /// Moves what can be moved, about `most` bytes.
    pub(super) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        source: &mut Peer,
        destination: &mut Peer,
        means: &mut Means<'_>,
        most: usize,
    ) -> Progress {
        let mut progress = Progress::default();
        self.awaits_source = false;
        while self.state == FlowState::Open {
            if destination.failure().is_some() {
                self.fail();
                break;
            }
            match self.step(cx, source, destination, means) {
                Step::Moved(bytes) => {
                    progress.moved += bytes;
                    if progress.moved >= most {
                        progress.more = true;
                        break;
                    }
                }
                // Gone, as the sweep has found: its socket does not know.
                Step::Drained if source.failure().is_some() => self.fail(),
                Step::Drained => {
                    self.awaits_source = true;
                    break;
                }
                Step::Blocked => break,
                Step::Eof => self.finish(source, destination),
                Step::SourceFailed | Step::DestinationFailed => self.fail(),
            }
        }
        if progress.moved > 0 {
            self.pace.moved(progress.moved);
        }
        let source_failed = self.state == FlowState::Dead && source.failure().is_some();
        destination.set_torn(!matches!(self.held, Held::Nothing) || source_failed);
        progress
    }

    fn step(
        &mut self,
        cx: &mut Context<'_>,
        source: &mut Peer,
        destination: &mut Peer,
        means: &mut Means<'_>,
    ) -> Step {
        match self.held {
            Held::Carry(_) => copy::write_carry(self, cx, destination),
            Held::Pipe(_) => splice::drain_held(self, cx, destination, means),
            Held::Nothing if self.pace.is_bulk() => {
                match splice::transfer(self, cx, source, destination, means) {
                    Some(step) => step,
                    None => copy::transfer(self, cx, source, destination, means),
                }
            }
            Held::Nothing => copy::transfer(self, cx, source, destination, means),
        }
    }

    /// Nothing of this direction will arrive any more. A pipe is closed with what is in it.
    fn fail(&mut self) {
        self.state = FlowState::Dead;
        self.held = Held::Nothing;
    }

    /// The source sends nothing more. A source that has failed gets no FIN passed on: its EOF came
    /// after an error that a write has eaten.
    fn finish(&mut self, source: &Peer, destination: &mut Peer) {
        if source.failure().is_some() {
            self.fail();
            return;
        }
        self.state = FlowState::Finished;
        // Everything before is written, so FIN goes out after the last byte.
        let socket = socket2::SockRef::from(destination.socket());
        if let Err(error) = socket.shutdown(Shutdown::Write) {
            destination.failed(&error);
        }
    }
}

/// What a poll for readiness or a system call came to, for the one socket that it concerns.
pub(super) fn settle<T>(
    poll: Poll<std::io::Result<T>>,
    peer: &mut Peer,
    pending: Step,
    failed: Step,
) -> Result<T, Step> {
    match poll {
        Poll::Ready(Ok(value)) => Ok(value),
        Poll::Ready(Err(error)) => {
            peer.failed(&error);
            Err(failed)
        }
        Poll::Pending => Err(pending),
    }
}
