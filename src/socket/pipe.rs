//! Pipes as a means to move bytes between two sockets without copying them (splice(2)).

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::pipe::{PipeFlags, SpliceFlags};

/// The smallest useful capacity of a pipe. Beyond the user's soft limit (pipe(7),
/// `pipe-user-pages-soft`) the kernel makes pipes of two pages and reports nothing
/// (`docs/src/internals/kernel.md#pipes-shrink-instead-of-failing`).
const LEAST_CAPACITY: usize = 64 * 1024;

/// A pipe that is non-blocking at both ends.
#[derive(Debug)]
pub struct Pipe {
    output: OwnedFd,
    input: OwnedFd,
}

impl Pipe {
    /// Opens a pipe of the kernel's default size.
    ///
    /// # Errors
    /// Errors of pipe2(2); `QuotaExceeded` when the kernel made the pipe smaller than usual.
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
    /// Errors of splice(2). `WouldBlock` and 0 are ambiguous: the pipe may be full, or the next byte of
    /// the stream may be urgent, which only read(2) skips.
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
    /// Errors of splice(2); `WouldBlock` when the socket's buffer is full.
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

    /// Reads bytes that are in the pipe.
    ///
    /// # Errors
    /// Errors of read(2); `WouldBlock` when the pipe is empty.
    pub fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        Ok(rustix::io::read(&self.output, buffer)?)
    }
}
