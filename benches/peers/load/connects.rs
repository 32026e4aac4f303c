//! One short connection after another.

use std::io;

use rustix::net::{SendFlags, send};

use super::session::first_flight;
use super::{Connection, Latencies, Next, Side, Work, discard, no_latencies};

/// The size of the answer, a server's first flight: another one would be judged as no TLS.
const ANSWER: usize = 1200;

/// A loop of short connections: the client connects and sends its hello, the backend answers, the
/// client closes, and the next one connects.
#[derive(Debug)]
pub struct Connects {
    answer: Vec<u8>,
    /// Clients that still follow others, if their number is limited.
    left: Option<usize>,
    /// The times from the start of connecting to the end of the answer.
    pub latencies: Latencies,
}

impl Connects {
    /// Creates the work without any connection.
    pub fn new() -> io::Result<Self> {
        Ok(Self {
            answer: first_flight(ANSWER),
            left: None,
            latencies: no_latencies()?,
        })
    }

    /// The same work, which ends: `more` clients follow the first ones.
    pub fn ending(more: usize) -> io::Result<Self> {
        Ok(Self {
            left: Some(more),
            ..Self::new()?
        })
    }
}

impl Work for Connects {
    fn begin(&mut self, connection: &mut Connection) -> io::Result<Next> {
        if connection.side == Side::Backend
            && send(&connection.socket, &self.answer, SendFlags::NOSIGNAL)? < ANSWER
        {
            return Err(io::Error::other("the answer did not go out in one piece"));
        }
        Ok(Next::Read)
    }

    fn go_on(&mut self, connection: &mut Connection) -> io::Result<Next> {
        match (connection.side, discard(connection, &mut self.answer)) {
            (Side::Backend, Err(error)) if error.kind() == io::ErrorKind::UnexpectedEof => {
                Ok(Next::Close)
            }
            (Side::Backend, Ok(_)) => Err(io::Error::other("more came than a hello")),
            (_, Err(error)) => Err(error),
            (Side::Client, Ok(length)) => {
                connection.seen += length;
                if connection.seen < ANSWER {
                    return Ok(Next::Read);
                }
                let took = connection.since.elapsed().as_nanos();
                self.latencies += u64::try_from(took).unwrap_or(u64::MAX);
                Ok(Next::Close)
            }
        }
    }

    fn renews(&mut self) -> bool {
        match &mut self.left {
            None => true,
            Some(0) => false,
            Some(left) => {
                *left -= 1;
                true
            }
        }
    }

    fn reset(&mut self) {
        self.latencies.clear();
    }
}
