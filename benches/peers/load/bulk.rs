//! As many bytes as go, one way.

use std::io;
use std::os::fd::OwnedFd;

use rustix::fs::{MemfdFlags, ftruncate, memfd_create, sendfile};

use super::{Connection, Next, Side, Work, discard};

/// Bytes of the source, which is sent over and over.
const SOURCE: usize = 1 << 20;
/// The most that is taken from a socket at once.
const SINK: usize = 4 << 20;
/// A full TLS record on the wire: 2^14 bytes, header, content type and tag (RFC 8446 section 5.2).
const RECORD: usize = 16_384 + 5 + 1 + 16;

/// Which way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Direction {
    /// From the backend to the client.
    Down,
    /// From the client to the backend.
    Up,
}

/// In what pieces the source hands bytes to its socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Shape {
    /// As large as the socket takes them.
    Stream,
    /// One TLS record a call, as an endpoint that encrypts does.
    Records,
}

/// Sends from a file in memory without copying, and throws away what arrives without copying: what
/// is left is the gateway's work and the kernel's.
#[derive(Debug)]
pub struct Bulk {
    direction: Direction,
    source: OwnedFd,
    piece: usize,
    sink: Vec<u8>,
    /// Bytes that arrived.
    pub bytes: u64,
}

impl Bulk {
    /// Nothing sent yet.
    pub fn new(direction: Direction, shape: Shape) -> io::Result<Self> {
        let source = memfd_create("bench-source", MemfdFlags::CLOEXEC)?;
        ftruncate(&source, SOURCE as u64)?;
        let piece = match shape {
            Shape::Stream => SOURCE,
            Shape::Records => RECORD,
        };
        Ok(Self {
            direction,
            source,
            piece,
            sink: vec![0; SINK],
            bytes: 0,
        })
    }

    fn sends(&self, side: Side) -> bool {
        (side == Side::Client) == (self.direction == Direction::Up)
    }
}

impl Work for Bulk {
    fn begin(&mut self, connection: &mut Connection) -> io::Result<Next> {
        Ok(if self.sends(connection.side) {
            Next::Write
        } else {
            Next::Read
        })
    }

    fn go_on(&mut self, connection: &mut Connection) -> io::Result<Next> {
        if self.sends(connection.side) {
            let mut offset = 0;
            sendfile(
                &connection.socket,
                &self.source,
                Some(&mut offset),
                self.piece,
            )?;
            Ok(Next::Write)
        } else {
            self.bytes += discard(connection, &mut self.sink)? as u64;
            Ok(Next::Read)
        }
    }

    fn reset(&mut self) {
        self.bytes = 0;
    }
}
