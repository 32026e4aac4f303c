//! Sessions that stay silent after their handshake.

use std::io;

use rustix::net::{SendFlags, send};

use super::{Connection, Next, Side, Work, discard};

/// The lengths of records, by their type, which the two sides of a session of TLS 1.3 send after the hello. Their
/// content does not matter, but for the ServerHello.
const SERVER: &[(u8, usize)] = &[(20, 1), (23, 27), (23, 900), (23, 264), (23, 53)];
const CLIENT: &[(u8, usize)] = &[(20, 1), (23, 53)];
const TICKET: &[(u8, usize)] = &[(23, 250)];

/// The length of a record's header.
const HEADER: usize = 5;

/// Shakes hands as TLS 1.3 does, as far as a gateway sees it, and then does nothing.
#[derive(Debug)]
pub struct Session {
    server: Vec<u8>,
    client: Vec<u8>,
    ticket: Vec<u8>,
    scratch: Vec<u8>,
    /// The clients whose handshake is over.
    pub established: usize,
}

impl Session {
    /// Creates the work without any connection.
    pub fn new() -> Self {
        let server = [record(22, &server_hello()), records(SERVER)].concat();
        Self {
            scratch: vec![0; server.len()],
            server,
            client: records(CLIENT),
            ticket: records(TICKET),
            established: 0,
        }
    }
}

impl Work for Session {
    fn begin(&mut self, connection: &mut Connection) -> io::Result<Next> {
        if connection.side == Side::Backend {
            whole(connection, &self.server)?;
        }
        Ok(Next::Read)
    }

    fn go_on(&mut self, connection: &mut Connection) -> io::Result<Next> {
        let length = match discard(connection, &mut self.scratch) {
            // The client has left.
            Err(error)
                if error.kind() == io::ErrorKind::UnexpectedEof
                    && connection.side == Side::Backend =>
            {
                return Ok(Next::Close);
            }
            read => read?,
        };
        let before = connection.seen;
        connection.seen += length;
        let reaches = |count: usize| before < count && count <= connection.seen;
        match connection.side {
            Side::Backend if reaches(self.client.len()) => whole(connection, &self.ticket)?,
            Side::Client if reaches(self.server.len()) => whole(connection, &self.client)?,
            Side::Client if reaches(self.server.len() + self.ticket.len()) => self.established += 1,
            _ => {}
        }
        Ok(Next::Read)
    }

    fn reset(&mut self) {
        self.established = 0;
    }
}

/// Sends all of it, which the empty buffer of a new connection takes.
fn whole(connection: &Connection, bytes: &[u8]) -> io::Result<()> {
    match send(&connection.socket, bytes, SendFlags::NOSIGNAL)? == bytes.len() {
        true => Ok(()),
        false => Err(io::Error::other("a flight did not go out in one piece")),
    }
}

/// The first flight of a server of TLS 1.3, of `length` bytes.
pub(super) fn first_flight(length: usize) -> Vec<u8> {
    let mut flight = [record(22, &server_hello()), record(20, &[1])].concat();
    let rest = length - flight.len() - HEADER;
    flight.extend(record(23, &vec![0; rest]));
    flight
}

fn records(of: &[(u8, usize)]) -> Vec<u8> {
    let each = of
        .iter()
        .map(|(kind, length)| record(*kind, &vec![0; *length]));
    each.collect::<Vec<_>>().concat()
}

fn record(kind: u8, payload: &[u8]) -> Vec<u8> {
    let length = u16::try_from(payload.len()).unwrap_or(u16::MAX);
    [&[kind, 3, 3], &length.to_be_bytes()[..], payload].concat()
}

/// A ServerHello with TLS_AES_128_GCM_SHA256 and a share of X25519 (RFC 8446, 4.1.3).
fn server_hello() -> Vec<u8> {
    let extensions = [
        &[0, 43, 0, 2, 3, 4, 0, 51, 0, 36, 0, 29, 0, 32][..],
        &[0; 32],
    ]
    .concat();
    let body = [
        &[3, 3][..],
        &[0; 32],
        &[32],
        &[0; 32],
        &[0x13, 1, 0],
        &[0, 46],
        &extensions,
    ]
    .concat();
    [&[2, 0, 0, 118][..], &body].concat()
}
