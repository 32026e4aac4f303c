//! One direction of a relay.
//!
//! No direction owns a buffer: bytes pass through the worker's buffer, or one of its pipes, between
//! two awaits. Bytes that the destination did not take stay where it is cheapest, in the pipe or in a heap
//! carry of exactly their size, and nothing is read in that direction until they are written
//! (`docs/src/internals/kernel.md#short-writes`).

use std::task::Context;

use super::super::replay::Replay;
use super::copy;
use super::held::{FlowStep, HeldBytes, Resources};
use super::pace::Pace;
use super::peer::Peer;
use super::splice;
use crate::limits::Budget;

/// The state of a direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum FlowState {
    /// Bytes may come.
    #[default]
    Open,
    /// The source has closed, and everything is written.
    Finished,
    /// The source or the destination has failed.
    Dead,
}

/// One direction.
#[derive(Debug, Default)]
pub(super) struct Flow {
    held: HeldBytes,
    pace: Pace,
    state: FlowState,
    awaits_source: bool,
}

/// The work that one poll of a direction did.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct FlowProgress {
    /// Bytes written.
    pub moved: usize,
    /// There is more to do at once, after others had their turn.
    pub more: bool,
}

impl Flow {
    /// The bytes taken from the source before that are not written yet.
    pub(super) fn replayed(&self) -> &[u8] {
        match &self.held {
            HeldBytes::Carry(carry) => carry.rest(),
            HeldBytes::Nothing | HeldBytes::Pipe(_) => &[],
        }
    }

    /// A direction that begins with bytes taken from the source before.
    pub(super) fn replaying(replay: Replay, carry_memory: &Budget) -> Self {
        Self {
            held: HeldBytes::replay(replay, carry_memory),
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
            HeldBytes::Nothing => source.socket().poll_read_ready(cx),
            HeldBytes::Carry(_) | HeldBytes::Pipe(_) => destination.socket().poll_write_ready(cx),
        };
        ready.is_ready()
    }

    /// Leaves this poll to others: the direction waits for its turn.
    pub(super) fn wait_for_turn(&mut self) -> FlowProgress {
        // It will read once called, which meets the source's errors early enough.
        self.awaits_source = true;
        FlowProgress::default()
    }

    /// Moves about `most` bytes, or as many as can be moved.
    pub(super) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        source: &mut Peer,
        destination: &mut Peer,
        resources: &mut Resources<'_>,
        most: usize,
    ) -> FlowProgress {
        let mut progress = FlowProgress::default();
        self.awaits_source = false;
        while self.state == FlowState::Open {
            if destination.failure().is_some() {
                self.fail();
                break;
            }
            match self.step(cx, source, destination, resources) {
                FlowStep::Moved(bytes) => {
                    progress.moved += bytes;
                    if progress.moved >= most {
                        progress.more = true;
                        break;
                    }
                }
                // Gone, as the sweep has found: its socket does not know.
                FlowStep::Drained if source.failure().is_some() => self.fail(),
                FlowStep::Drained => {
                    self.awaits_source = true;
                    break;
                }
                FlowStep::Blocked => break,
                FlowStep::Eof => self.finish(source),
                FlowStep::SourceFailed | FlowStep::DestinationFailed => self.fail(),
            }
        }
        if progress.moved > 0 {
            self.pace.moved(progress.moved);
        }
        let source_failed = self.state == FlowState::Dead && source.failure().is_some();
        destination.set_torn(!matches!(self.held, HeldBytes::Nothing) || source_failed);
        progress
    }

    fn step(
        &mut self,
        cx: &mut Context<'_>,
        source: &mut Peer,
        destination: &mut Peer,
        resources: &mut Resources<'_>,
    ) -> FlowStep {
        let Self { held, pace, .. } = self;
        match held {
            HeldBytes::Carry(_) => copy::write_carry(held, cx, destination),
            HeldBytes::Pipe(_) => splice::drain_held(held, cx, destination, resources),
            // The watch must see the bytes of the handshake, and it sees none that are spliced.
            HeldBytes::Nothing if pace.is_spliced() && !resources.watch.is_early() => {
                match splice::transfer(held, cx, source, destination, resources) {
                    Some(step) => step,
                    None => copy::transfer(held, pace, cx, source, destination, resources),
                }
            }
            HeldBytes::Nothing => copy::transfer(held, pace, cx, source, destination, resources),
        }
    }

    /// Nothing of this direction will arrive any more. A pipe is closed with what is in it.
    fn fail(&mut self) {
        self.state = FlowState::Dead;
        self.held = HeldBytes::Nothing;
    }

    /// The source sends nothing more. A source that has failed gets no FIN passed on: its EOF came
    /// after an error that a write has eaten.
    fn finish(&mut self, source: &Peer) {
        if source.failure().is_some() {
            self.fail();
            return;
        }
        self.state = FlowState::Finished;
    }
}
