//! Bulk: as many bytes as possible in one direction.

use std::io;
use std::os::fd::OwnedFd;

use rustix::fs::{MemfdFlags, ftruncate, memfd_create, sendfile};

use super::{Connection, Next, Side, Work, discard};

/// The size of the data, which is sent over and over.
const SOURCE: usize = 1 << 20;
/// The largest read from a socket.
const SINK: usize = 4 << 20;
/// A full TLS record on the wire: 2^14 bytes, header, content type and tag (RFC 8446 section 5.2).
const RECORD: usize = 16_384 + 5 + 1 + 16;

/// The direction of the bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Direction {
    /// From the backend to the client.
    Down,
    /// From the client to the backend.
    Up,
}

/// The pieces in which the source hands bytes to its socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Shape {
    /// As large as the socket accepts.
    Stream,
    /// One TLS record for each call, as an endpoint that encrypts does.
    Records,
}

/// Sends from a file in memory without copying, and drops received bytes without copying, so that the
/// gateway and the kernel do most of the work.
#[derive(Debug)]
pub struct Bulk {
    direction: Direction,
    source: OwnedFd,
    piece: usize,
    sink: Vec<u8>,
    /// The number of bytes that arrived.
    pub bytes: u64,
}

impl Bulk {
    /// Creates the work without anything sent.
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
