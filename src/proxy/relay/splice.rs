//! Splicing through a pipe of the worker's. A direction keeps the pipe, with what is in it, only when the
//! destination does not take everything.
//!
//! splice(2) into the pipe happens only while the pipe is empty. Even then a result without bytes proves
//! nothing: `EAGAIN` and 0 also come while an urgent byte stands next in the stream (tcp_read_sock stops
//! there, and skips nothing), with data behind it. A read(2) decides, and clears the readiness if it must.

use std::io;
use std::task::{Context, Poll};

use super::super::worker::PooledPipe;
use super::copy::write_with;
use super::held::{FlowStep, HeldBytes, Resources, destination_step, is_transient, source_step};
use super::peer::Peer;

/// Bytes that a transfer asks for. A pipe has 16 slots of a page each, or of a larger piece where
/// the network card or the sender's kernel made one; asking for 256 KiB brought nothing (15.6 and
/// 17.2 Gb/s against 16.9 and 17.3 with 16 streams). Larger pipes were slower
/// (`docs/src/internals/kernel.md#sizes-of-pipes`).
const TRANSFER: usize = 64 * 1024;

/// Splices once from `source` and to `destination`. `None`: copying must do it.
pub(super) fn transfer(
    held: &mut HeldBytes,
    cx: &mut Context<'_>,
    source: &mut Peer,
    destination: &mut Peer,
    resources: &mut Resources<'_>,
) -> Option<FlowStep> {
    if source.is_stopped() {
        return None;
    }
    let ready = source.socket().poll_read_ready(cx);
    if let Err(step) = source_step(ready, source) {
        return Some(step);
    }
    // A destination that gets stuck keeps the pipe, so its share must be there before.
    if resources.held_pipes.fill(1) == 0 {
        return None;
    }
    let pipe = resources.pipes.take(&resources.shared.pipes)?;
    let mut left = match pipe.pipe.fill(source.socket(), TRANSFER) {
        Ok(0) => {
            resources.pipes.put_back(pipe);
            return None;
        }
        Ok(bytes) => bytes,
        Err(error) if is_transient(&error) => {
            resources.pipes.put_back(pipe);
            return None;
        }
        // Here and below an error closes the pipe: what it holds is not known.
        Err(error) if is_refusal(&error) => {
            resources.pipes.refuse(&error);
            return None;
        }
        Err(error) => {
            source.failed(&error);
            return Some(FlowStep::SourceFailed);
        }
    };
    resources.watch.passed_unseen(source.side(), left);
    let step = match drain(cx, destination, &pipe, &mut left) {
        Err(Stopped::At(FlowStep::Blocked)) => FlowStep::Moved(0),
        Err(Stopped::At(step)) => return Some(step),
        Err(Stopped::Refused(error)) => {
            resources.pipes.refuse(&error);
            return Some(take_back(held, &pipe, left, destination, resources));
        }
        Ok(written) => FlowStep::Moved(written),
    };
    if left == 0 {
        resources.pipes.put_back(pipe);
    } else {
        *held = HeldBytes::pipe(pipe, left, resources.held_pipes);
    }
    Some(step)
}

/// Takes the `left` bytes out of a pipe that splice(2) does not empty, so that they are copied. The pipe is
/// closed.
fn take_back(
    held: &mut HeldBytes,
    pipe: &PooledPipe,
    left: usize,
    destination: &mut Peer,
    resources: &mut Resources<'_>,
) -> FlowStep {
    // Bytes that nothing may carry are lost, and with them the stream.
    if resources.carry.fill(left) < left {
        destination.given_up();
        return FlowStep::DestinationFailed;
    }
    let mut taken = 0;
    while let Some(rest) = resources
        .buffer
        .get_mut(taken..left)
        .filter(|rest| !rest.is_empty())
    {
        match pipe.pipe.read(rest) {
            Ok(read @ 1..) => taken += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Ok(_) | Err(_) => break,
        }
    }
    if taken < left {
        destination.given_up();
        return FlowStep::DestinationFailed;
    }
    *held = HeldBytes::carry(&resources.buffer[..left], resources.carry);
    FlowStep::Moved(0)
}

/// Writes what a pipe holds since an earlier poll.
pub(super) fn drain_held(
    held: &mut HeldBytes,
    cx: &mut Context<'_>,
    destination: &mut Peer,
    resources: &mut Resources<'_>,
) -> FlowStep {
    let HeldBytes::Pipe(full) = held else {
        return FlowStep::Moved(0);
    };
    let written = match drain(cx, destination, &full.pipe, &mut full.bytes) {
        Ok(written) => written,
        Err(Stopped::At(step)) => return step,
        Err(Stopped::Refused(error)) => {
            resources.pipes.refuse(&error);
            let Some(full) = held.take_pipe() else {
                return FlowStep::Moved(0);
            };
            return take_back(held, &full.pipe, full.bytes, destination, resources);
        }
    };
    if let Some(pipe) = held.take_empty_pipe() {
        resources.pipes.put_back(pipe);
    }
    FlowStep::Moved(written)
}

/// The reason why a pipe was not emptied.
enum Stopped {
    At(FlowStep),
    /// splice(2) itself was refused.
    Refused(io::Error),
}

/// Writes the `left` bytes of `pipe` as far as the destination takes them; at least one, or says why
/// not.
fn drain(
    cx: &mut Context<'_>,
    destination: &mut Peer,
    pipe: &PooledPipe,
    left: &mut usize,
) -> Result<usize, Stopped> {
    let before = *left;
    while *left > 0 {
        let stream = destination.socket();
        let write = write_with(cx, stream, || match pipe.pipe.drain(stream, *left) {
            // Never, as long as `left` is right.
            Ok(0) => Err(io::ErrorKind::WriteZero.into()),
            result => result,
        });
        let write = match write {
            Poll::Ready(Err(error)) if is_refusal(&error) => return Err(Stopped::Refused(error)),
            write => write,
        };
        match destination_step(write, destination) {
            Ok(written) => *left = left.saturating_sub(written),
            Err(FlowStep::Blocked) if *left < before => break,
            Err(step) => return Err(Stopped::At(step)),
        }
    }
    Ok(before - *left)
}

/// Whether splice(2) itself was refused, by a sandbox or for want of memory, and says nothing of the
/// connection.
fn is_refusal(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::EINVAL | libc::ENOSYS | libc::EPERM | libc::ENOMEM)
    )
}
