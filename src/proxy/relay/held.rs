//! The bytes that a direction holds, what it moves them with, and the result of one step.

use std::io;
use std::task::Poll;

use super::super::replay::Replay;
use super::super::shared::Shared;
use super::super::worker::{Pipes, PooledPipe};
use super::peer::Peer;
use crate::limits::{Budget, Reserve, Share};
use crate::verdict::FlightWatch;

/// Bytes taken from the source that the destination has not taken yet.
#[derive(Debug, Default)]
pub(super) enum HeldBytes {
    /// None.
    #[default]
    Nothing,
    /// On the heap.
    Carry(Box<Carry>),
    /// In a pipe.
    Pipe(Box<FullPipe>),
}

/// Bytes read and not written yet.
#[derive(Debug)]
pub(super) struct Carry {
    bytes: Box<[u8]>,
    written: usize,
    _share: Share,
}

/// A pipe with bytes that the destination has not taken.
#[derive(Debug)]
pub(super) struct FullPipe {
    /// The pipe.
    pub pipe: PooledPipe,
    /// Bytes in it.
    pub bytes: usize,
    _share: Share,
}

impl HeldBytes {
    /// Holds `bytes` on the heap, if there are any, with a share out of `reserve`.
    pub(super) fn carry(bytes: &[u8], reserve: &mut Reserve) -> Self {
        if bytes.is_empty() {
            return Self::Nothing;
        }
        Self::Carry(Box::new(Carry {
            bytes: bytes.into(),
            written: 0,
            _share: reserve.split(bytes.len()),
        }))
    }

    /// Holds the bytes that were taken from the socket before the relay, if any were.
    pub(super) fn replay(replay: Replay, carry_memory: &Budget) -> Self {
        let Some((bytes, share)) = replay.leave(carry_memory) else {
            return Self::Nothing;
        };
        Self::Carry(Box::new(Carry {
            bytes,
            written: 0,
            _share: share,
        }))
    }

    /// Holds the `bytes` that are in `pipe`, with a share out of `reserve`.
    pub(super) fn pipe(pipe: PooledPipe, bytes: usize, reserve: &mut Reserve) -> Self {
        Self::Pipe(Box::new(FullPipe {
            pipe,
            bytes,
            _share: reserve.split(1),
        }))
    }

    /// Takes `count` bytes off the carry, which were written.
    pub(super) fn wrote(&mut self, count: usize) {
        if let Self::Carry(carry) = self {
            carry.written = carry.written.saturating_add(count);
            if carry.written >= carry.bytes.len() {
                *self = Self::Nothing;
            }
        }
    }

    /// Takes out the pipe.
    pub(super) fn take_pipe(&mut self) -> Option<Box<FullPipe>> {
        match std::mem::take(self) {
            Self::Pipe(full) => Some(full),
            other => {
                *self = other;
                None
            }
        }
    }

    /// Takes out the pipe, if it is empty.
    pub(super) fn take_empty_pipe(&mut self) -> Option<PooledPipe> {
        match std::mem::take(self) {
            Self::Pipe(empty) if empty.bytes == 0 => Some(empty.pipe),
            other => {
                *self = other;
                None
            }
        }
    }
}

impl Carry {
    /// The bytes that are left to write.
    pub(super) fn rest(&self) -> &[u8] {
        self.bytes.get(self.written..).unwrap_or_default()
    }
}

/// The worker's means to move bytes, for the time of one poll.
pub(super) struct Resources<'a> {
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
    /// The watch over what both sides send.
    pub watch: &'a mut FlightWatch,
}

/// The result of one step of a poll.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FlowStep {
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

/// The value of a poll for readiness of the source or of a read, or the step that it comes to without one.
pub(super) fn source_step<T>(poll: Poll<io::Result<T>>, source: &mut Peer) -> Result<T, FlowStep> {
    io_step(poll, source, FlowStep::Drained, FlowStep::SourceFailed)
}

/// The value of a poll for readiness of the destination or of a write, or the step that it comes to without
/// one.
pub(super) fn destination_step<T>(
    poll: Poll<io::Result<T>>,
    destination: &mut Peer,
) -> Result<T, FlowStep> {
    let failed = FlowStep::DestinationFailed;
    io_step(poll, destination, FlowStep::Blocked, failed)
}

fn io_step<T>(
    poll: Poll<io::Result<T>>,
    peer: &mut Peer,
    pending: FlowStep,
    failed: FlowStep,
) -> Result<T, FlowStep> {
    match poll {
        Poll::Ready(Ok(value)) => Ok(value),
        Poll::Ready(Err(error)) => {
            peer.failed(&error);
            Err(failed)
        }
        Poll::Pending => Err(pending),
    }
}

/// Whether a system call that says so is to be tried again, once the socket is ready.
pub(super) fn is_transient(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted
    )
}

#[cfg(test)]
mod tests {
    use std::rc::Rc;
    use std::sync::Arc;
    use std::time::Instant;

    use prometheus::IntGauge;

    use super::*;
    use crate::proxy::hellos::{HelloMemory, HellosInProgress};

    fn rest(held: &HeldBytes) -> &[u8] {
        match held {
            HeldBytes::Carry(carry) => carry.rest(),
            HeldBytes::Nothing | HeldBytes::Pipe(_) => &[],
        }
    }

    #[test]
    fn a_carry_is_written_in_parts_and_goes_with_the_last() {
        let budget = Budget::new(100, None);
        let mut reserve = budget.reserve(1);
        assert_eq!(reserve.fill(10), 10);
        let mut held = HeldBytes::carry(b"abcdef", &mut reserve);
        held.wrote(0);
        assert_eq!(rest(&held), b"abcdef");
        held.wrote(2);
        assert_eq!(rest(&held), b"cdef");
        held.wrote(4);
        assert!(matches!(held, HeldBytes::Nothing));
        drop(reserve);
        assert_eq!(budget.used(), 0);
    }

    #[test]
    fn a_carry_is_paid_for_until_it_is_written() {
        let budget = Budget::new(100, None);
        let mut reserve = budget.reserve(1);
        assert_eq!(reserve.fill(10), 10);
        let held = HeldBytes::carry(b"abcdef", &mut reserve);
        drop(reserve);
        assert_eq!(budget.used(), 6);
        drop(held);
        assert_eq!(budget.used(), 0);
    }

    #[test]
    fn nothing_is_carried_for_no_bytes() {
        let mut reserve = Budget::new(100, None).reserve(1);
        assert!(matches!(
            HeldBytes::carry(b"", &mut reserve),
            HeldBytes::Nothing
        ));
    }

    /// A hello of `bytes` that came in pieces, and the memory that it is in.
    fn replay(bytes: &[u8]) -> Replay {
        let gauge = || IntGauge::new("g", "g").unwrap();
        let memory = Arc::new(HelloMemory::new(1000, 1, gauge(), gauge()));
        let hello = Rc::new(HellosInProgress::new(memory, 0)).enter();
        hello.reserve(bytes.len(), Instant::now());
        hello.append(bytes);
        Replay::of(hello)
    }

    #[test]
    fn a_replay_is_carried_at_the_expense_of_carry_memory_if_that_has_any_left() {
        let budget = Budget::new(10, None);
        let first = HeldBytes::replay(replay(b"seven b"), &budget);
        assert_eq!((rest(&first), budget.used()), (&b"seven b"[..], 7));
        let second = HeldBytes::replay(replay(b"seven b"), &budget);
        assert_eq!((rest(&second), budget.used()), (&b"seven b"[..], 7));
        drop((first, second));
        assert_eq!(budget.used(), 0);
        for nothing in [Replay::default(), replay(b"")] {
            assert!(matches!(
                HeldBytes::replay(nothing, &budget),
                HeldBytes::Nothing
            ));
        }
    }

    #[test]
    fn a_pipe_is_given_back_once_it_is_empty_and_not_before() {
        let (pipes, held_pipes) = (Budget::new(1, None), Budget::new(2, None));
        let pipe = Pipes::default().take(&pipes).unwrap();
        let mut reserve = held_pipes.reserve(1);
        assert_eq!(reserve.fill(1), 1);
        let mut held = HeldBytes::pipe(pipe, 5, &mut reserve);
        assert!(held.take_empty_pipe().is_none());
        let HeldBytes::Pipe(full) = &mut held else {
            panic!("{held:?}")
        };
        full.bytes = 0;
        assert!(held.take_empty_pipe().is_some());
        assert!(matches!(held, HeldBytes::Nothing));
        assert!(held.take_empty_pipe().is_none());
        drop(reserve);
        assert_eq!((held_pipes.used(), pipes.used()), (0, 0));
    }

    #[test]
    fn only_what_may_pass_is_tried_again() {
        for (kind, again) in [
            (io::ErrorKind::WouldBlock, true),
            (io::ErrorKind::Interrupted, true),
            (io::ErrorKind::ConnectionReset, false),
            (io::ErrorKind::TimedOut, false),
        ] {
            assert_eq!(is_transient(&kind.into()), again, "{kind}");
        }
    }
}
