//! One message at a time, back and forth.

use std::io;
use std::time::Instant;

use rustix::net::{RecvFlags, SendFlags, recv, send};

use super::{Connection, Latencies, Next, Side, Work, discard, no_latencies};

/// The size of a small message.
pub const SMALL: usize = 64;
/// The first bytes of a message: the number of its size.
type Header = [u8; 4];

/// Ping-pongs: a client sends a message, the backend sends one of the same size back, and the client sends
/// the next one. Clients have different sizes in turn.
#[derive(Debug)]
pub struct Ping {
    /// A message of each size, at least [`SMALL`] bytes.
    messages: Vec<Vec<u8>>,
    /// The times from sending a message of each size to the last byte of the answer.
    pub latencies: Vec<Latencies>,
    clients: usize,
    sink: Vec<u8>,
}

impl Ping {
    /// Creates the work without anything sent. The first client has the first of `sizes`, the second one
    /// the second, and so on in turn.
    pub fn new(sizes: &[usize]) -> io::Result<Self> {
        let message = |(number, size): (u32, &usize)| {
            let mut message = vec![0; (*size).max(SMALL)];
            message[..size_of::<Header>()].copy_from_slice(&number.to_le_bytes());
            message
        };
        let messages: Vec<_> = (0..).zip(sizes).map(message).collect();
        let longest = messages.iter().map(Vec::len).max();
        Ok(Self {
            latencies: sizes
                .iter()
                .map(|_| no_latencies())
                .collect::<io::Result<_>>()?,
            sink: vec![0; longest.unwrap_or(SMALL)],
            messages,
            clients: 0,
        })
    }

    fn size(&self, connection: &Connection) -> usize {
        self.messages[connection.kind].len()
    }

    /// Begins to send a message.
    fn say(&self, connection: &mut Connection) -> io::Result<Next> {
        connection.since = Instant::now();
        connection.unsent = self.size(connection);
        self.send_rest(connection)
    }

    fn send_rest(&self, connection: &mut Connection) -> io::Result<Next> {
        let message = &self.messages[connection.kind];
        while connection.unsent > 0 {
            let rest = &message[message.len() - connection.unsent..];
            match send(&connection.socket, rest, SendFlags::NOSIGNAL) {
                Ok(sent) => connection.unsent -= sent,
                Err(rustix::io::Errno::AGAIN) => return Ok(Next::Write),
                Err(error) => return Err(error.into()),
            }
        }
        Ok(Next::Read)
    }

    /// Reads the first bytes of a message, with its header. The kernel has copied the message from one
    /// send(2), so that they come together.
    fn read_first(&mut self, connection: &mut Connection) -> io::Result<()> {
        let first = &mut self.sink[..SMALL];
        let (read, _) = recv(&connection.socket, &mut *first, RecvFlags::empty())?;
        let header = first[..read].first_chunk().copied();
        let Some(header) = header.map(u32::from_le_bytes) else {
            return Err(io::ErrorKind::UnexpectedEof.into());
        };
        connection.seen = read;
        connection.kind = usize::try_from(header).map_err(io::Error::other)?;
        match self.messages.get(connection.kind) {
            Some(_) => Ok(()),
            None => Err(io::Error::other("a message with an unknown number")),
        }
    }
}

impl Work for Ping {
    fn begin(&mut self, connection: &mut Connection) -> io::Result<Next> {
        match connection.side {
            Side::Client => {
                connection.kind = self.clients % self.messages.len();
                self.clients += 1;
                self.say(connection)
            }
            Side::Backend => Ok(Next::Read),
        }
    }

    fn go_on(&mut self, connection: &mut Connection) -> io::Result<Next> {
        if connection.unsent > 0 {
            return self.send_rest(connection);
        }
        if connection.seen == 0 {
            self.read_first(connection)?;
        }
        let size = self.size(connection);
        while connection.seen < size {
            connection.seen += discard(connection, &mut self.sink[..size - connection.seen])?;
        }
        connection.seen = 0;
        if connection.side == Side::Client {
            let took = connection.since.elapsed().as_nanos();
            self.latencies[connection.kind] += u64::try_from(took).unwrap_or(u64::MAX);
        }
        self.say(connection)
    }

    fn reset(&mut self) {
        self.latencies.iter_mut().for_each(Latencies::clear);
    }
}
