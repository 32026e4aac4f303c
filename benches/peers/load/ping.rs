//! One small message at a time, back and forth.

use std::io;
use std::time::Instant;

use rustix::net::{RecvFlags, SendFlags, recv, send};

use super::{Connection, Latencies, Next, Side, Work, no_latencies};

/// The size of a message.
const MESSAGE: usize = 64;

/// A ping-pong: the client sends a message, the backend sends it back, and the client sends the next
/// one.
#[derive(Debug)]
pub struct Ping {
    message: [u8; MESSAGE],
    /// The times from sending a message to its echo.
    pub latencies: Latencies,
}

impl Ping {
    /// Creates the work without anything sent.
    pub fn new() -> io::Result<Self> {
        Ok(Self {
            message: [0; MESSAGE],
            latencies: no_latencies()?,
        })
    }

    fn say(&self, connection: &mut Connection) -> io::Result<Next> {
        connection.since = Instant::now();
        if send(&connection.socket, &self.message, SendFlags::NOSIGNAL)? < MESSAGE {
            return Err(io::Error::other("a message did not go out in one piece"));
        }
        Ok(Next::Read)
    }
}

impl Work for Ping {
    fn begin(&mut self, connection: &mut Connection) -> io::Result<Next> {
        match connection.side {
            Side::Client => self.say(connection),
            Side::Backend => Ok(Next::Read),
        }
    }

    fn go_on(&mut self, connection: &mut Connection) -> io::Result<Next> {
        let target = &mut self.message[connection.seen..];
        let (read, _) = recv(&connection.socket, target, RecvFlags::empty())?;
        if read == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        connection.seen += read;
        if connection.seen < MESSAGE {
            return Ok(Next::Read);
        }
        connection.seen = 0;
        if connection.side == Side::Client {
            let took = connection.since.elapsed().as_nanos();
            self.latencies += u64::try_from(took).unwrap_or(u64::MAX);
        }
        self.say(connection)
    }

    fn reset(&mut self) {
        self.latencies.clear();
    }
}
