//! Pipes as a means to move bytes between two sockets without copying them (splice(2)).

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::pipe::{PipeFlags, SpliceFlags};

/// What a pipe holds at least, or it is not worth having. Past the user's soft limit (pipe(7),
/// `pipe-user-pages-soft`) the kernel makes pipes of two pages and says nothing
/// (`docs/src/internals/kernel.md#pipes-shrink-instead-of-failing`).
const LEAST_CAPACITY: usize = 64 * 1024;

/// A pipe, non-blocking at both ends.
#[derive(Debug)]
pub struct Pipe {
    output: OwnedFd,
    input: OwnedFd,
}

impl Pipe {
    /// A pipe of the kernel's default size.
    ///
    /// # Errors
    /// Those of pipe2(2); `QuotaExceeded` for a pipe that the kernel made smaller than usual.
    pub fn open() -> io::Result<Self> {
        let (output, input) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
        if rustix::pipe::fcntl_getpipe_size(&input)? < LEAST_CAPACITY {
            return Err(io::ErrorKind::QuotaExceeded.into());
        }
        Ok(Self { output, input })
    }

    /// Moves up to `most` bytes from `socket` into the pipe.
    ///
    /// # Errors
    /// Those of splice(2). `WouldBlock` and 0 need not mean what they say: the pipe may be full, or
    /// an urgent byte may stand next in the stream, which only read(2) skips.
    pub fn fill(&self, socket: &impl AsFd, most: usize) -> io::Result<usize> {
        let flags = SpliceFlags::MOVE | SpliceFlags::NONBLOCK;
        Ok(rustix::pipe::splice(
            socket,
            None,
            &self.input,
            None,
            most,
            flags,
        )?)
    }

    /// Moves up to `most` bytes, which the pipe must hold, to `socket`.
    ///
    /// # Errors
    /// Those of splice(2); `WouldBlock` when the socket's buffer is full.
    pub fn drain(&self, socket: &impl AsFd, most: usize) -> io::Result<usize> {
        let flags = SpliceFlags::MOVE | SpliceFlags::NONBLOCK;
        Ok(rustix::pipe::splice(
            &self.output,
            None,
            socket,
            None,
            most,
            flags,
        )?)
    }

    /// Takes bytes out of the pipe.
    ///
    /// # Errors
    /// Those of read(2); `WouldBlock` when it is empty.
    pub fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        Ok(rustix::io::read(&self.output, buffer)?)
    }
}
