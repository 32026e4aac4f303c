//! Pipes as a means to move bytes between two sockets without copying them (splice(2)).

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::LazyLock;

use rustix::pipe::{PipeFlags, SpliceFlags};

/// The pages of a pipe as the kernel makes it. Beyond the user's soft limit (pipe(7),
/// `pipe-user-pages-soft`) it makes pipes of two pages and reports nothing
/// (`docs/src/internals/kernel.md#pipes-shrink-instead-of-failing`).
const USUAL_PAGES: usize = 16;

/// The size of a page: 4 KiB on x86-64, and 4, 16 or 64 KiB on arm64.
static PAGE: LazyLock<usize> = LazyLock::new(|| smallest_capacity().unwrap_or(4 * 1024));

/// The capacity of a pipe of one page. The kernel rounds a smaller one up to it.
fn smallest_capacity() -> io::Result<usize> {
    let (_output, input) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC)?;
    rustix::pipe::fcntl_setpipe_size(&input, 1)?;
    Ok(rustix::pipe::fcntl_getpipe_size(&input)?)
}

/// Whether the kernel made a pipe smaller than usual.
fn is_shrunken(capacity: usize, page: usize) -> bool {
    capacity < USUAL_PAGES * page
}

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
        if is_shrunken(rustix::pipe::fcntl_getpipe_size(&input)?, *PAGE) {
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

#[cfg(test)]
mod tests {
    use super::*;

    /// On pages of 64 KiB a pipe of two pages holds 128 KiB, but only two pieces of a socket's data.
    #[test]
    fn a_shrunken_pipe_is_known_whatever_the_size_of_a_page() {
        const KIB: usize = 1024;
        for (page, usual, shrunken) in [
            (4 * KIB, 64 * KIB, 8 * KIB),
            (16 * KIB, 256 * KIB, 32 * KIB),
            (64 * KIB, 1024 * KIB, 128 * KIB),
        ] {
            assert!(!is_shrunken(usual, page), "{page}");
            assert!(is_shrunken(shrunken, page), "{page}");
        }
    }

    #[test]
    fn the_kernel_says_the_size_of_a_page() {
        let page = smallest_capacity().unwrap();
        assert!([4, 16, 64].contains(&(page / 1024)), "{page}");
    }
}
