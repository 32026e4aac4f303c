//! The load generator: clients and the backend behind the gateway, both on one thread.
//!
//! One epoll loop serves both ends, so that a core is enough for them and no time goes into switching
//! between threads. Every client connects, sends a hello, and then does what its [`Work`] says; the
//! backend reads exactly that hello, compares it, and then does its part.

mod bulk;
mod connects;
mod ping;
mod session;

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::buffer::spare_capacity;
use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, recv, send};
use slab::Slab;
use socket2::{Domain, Socket, Type};
use strait::client_hello::vectors::HelloBuilder;
use strait::socket;

pub use bulk::{Bulk, Direction, Shape};
pub use connects::Connects;
pub use ping::{Ping, SMALL};
pub use session::Session;

/// The number of events taken from the kernel at once.
const BATCH: usize = 256;
/// The token of the backend's listening socket.
const LISTENER: u64 = u64::MAX;
/// The time limit for connecting, and for everything else that must happen before measuring.
const PATIENCE: Duration = Duration::from_secs(20);

/// Latencies in nanoseconds, to three digits.
pub type Latencies = hdrhistogram::Histogram<u64>;

/// An empty set of latencies.
pub fn no_latencies() -> io::Result<Latencies> {
    Latencies::new(3).map_err(io::Error::other)
}

/// The end of a connection through the gateway.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// The client, which connects and sends the hello.
    Client,
    /// The backend behind the gateway.
    Backend,
}

/// The event that a connection waits for next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// Bytes to read.
    Read,
    /// Space to write.
    Write,
    /// No event: the connection is done.
    Close,
}

/// The behaviour of both ends after the hello.
pub trait Work {
    /// Called when the hello was sent or read.
    fn begin(&mut self, connection: &mut Connection) -> io::Result<Next>;

    /// Called when the awaited event has come. `WouldBlock` waits again.
    fn go_on(&mut self, connection: &mut Connection) -> io::Result<Next>;

    /// Whether a new client follows one that is done or has failed.
    fn renews(&mut self) -> bool {
        false
    }

    /// Forgets the counts so far.
    fn reset(&mut self);
}

/// One end of a connection.
#[derive(Debug)]
pub struct Connection {
    /// The non-blocking socket.
    pub socket: OwnedFd,
    /// The end that it is.
    pub side: Side,
    /// The time when it began to connect, or a time that its work sets.
    pub since: Instant,
    /// The number of bytes read of the current message. Its work uses it, and the two below.
    pub seen: usize,
    /// The number of bytes of the current message that are not sent yet.
    pub unsent: usize,
    /// The kind of its messages.
    pub kind: usize,
    saluted: bool,
    waits_for: Next,
}

/// The clients, the backend and their work.
pub struct Load<W> {
    /// The work with its counts.
    pub work: W,
    /// The number of failed connections, and the reason of the first.
    pub failed: Failures,
    epoll: OwnedFd,
    events: Vec<Event>,
    connections: Slab<Connection>,
    listener: TcpListener,
    gateway: SocketAddr,
    hello: Vec<u8>,
    scratch: Vec<u8>,
    saluted_backends: usize,
}

/// The failed connections.
#[derive(Debug, Default)]
pub struct Failures {
    /// Their number.
    pub count: u64,
    /// The error of the first one.
    pub first: Option<String>,
}

impl Failures {
    fn add(&mut self, side: Side, error: &io::Error) {
        self.count += 1;
        self.first
            .get_or_insert_with(|| format!("{side:?}: {error}"));
    }
}

/// The hello that asks for `name`, as a current client sends it.
pub fn hello(name: &str) -> Vec<u8> {
    HelloBuilder::tls13()
        .server_name(name)
        .alpn(&["istio-peer-exchange", "istio"])
        .key_shares(&[(strait::client_hello::vectors::X25519, 32)])
        .wire()
}

impl<W: Work> Load<W> {
    /// Creates clients that will connect to `gateway` and ask for `name`, and the backend on
    /// `listener`.
    pub fn new(
        work: W,
        gateway: SocketAddr,
        name: &str,
        listener: &TcpListener,
    ) -> io::Result<Self> {
        let listener = listener.try_clone()?;
        // Connections of an earlier run, which was cut off, may be left in the queue.
        while socket::accept(&listener).is_ok() {}
        let epoll = epoll::create(CreateFlags::CLOEXEC)?;
        epoll::add(
            &epoll,
            &listener,
            EventData::new_u64(LISTENER),
            EventFlags::IN,
        )?;
        let hello = hello(name);
        Ok(Self {
            work,
            failed: Failures::default(),
            epoll,
            events: Vec::with_capacity(BATCH),
            connections: Slab::new(),
            listener,
            gateway,
            scratch: vec![0; hello.len()],
            hello,
            saluted_backends: 0,
        })
    }

    /// Opens `count` connections more, at most `at_once` at a time, and waits until the backend has every
    /// hello.
    pub fn open(&mut self, count: usize, at_once: usize) -> io::Result<()> {
        let give_up = Instant::now() + PATIENCE;
        let mut opened = self.saluted_backends;
        let wanted = opened + count;
        while self.saluted_backends < wanted {
            while opened < wanted && opened - self.saluted_backends < at_once {
                self.connect()?;
                opened += 1;
            }
            self.turn(Duration::from_millis(10))?;
            self.failed.check()?;
            if Instant::now() > give_up {
                let got = self.saluted_backends;
                return Err(io::Error::other(format!(
                    "{got} of {wanted} hellos came through"
                )));
            }
        }
        Ok(())
    }

    /// Closes all connections.
    pub fn leave(&mut self) {
        self.connections.clear();
    }

    /// Begins to connect `count` clients without waiting for them.
    pub fn start(&mut self, count: usize) -> io::Result<()> {
        (0..count).try_for_each(|_| self.connect())
    }

    /// Whether no connection is open.
    pub fn is_over(&self) -> bool {
        self.connections.is_empty()
    }

    /// Runs until `end`, and handles the events that have come by then.
    pub fn run_until(&mut self, end: Instant) -> io::Result<()> {
        loop {
            let left = end.saturating_duration_since(Instant::now());
            self.turn(left)?;
            if left.is_zero() {
                return Ok(());
            }
        }
    }

    /// Waits for events once, and handles them.
    fn turn(&mut self, at_most: Duration) -> io::Result<()> {
        let timeout = Timespec::try_from(at_most).map_err(io::Error::other)?;
        let mut events = std::mem::take(&mut self.events);
        match epoll::wait(&self.epoll, spare_capacity(&mut events), Some(&timeout)) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        for event in events.drain(..) {
            match event.data.u64() {
                LISTENER => self.accept()?,
                token => self.ready(usize::try_from(token).map_err(io::Error::other)?)?,
            }
        }
        self.events = events;
        Ok(())
    }

    fn connect(&mut self) -> io::Result<()> {
        let socket = Socket::new(
            Domain::for_address(self.gateway),
            Type::STREAM.nonblocking(),
            None,
        )?;
        socket.set_tcp_nodelay(true)?;
        let since = Instant::now();
        match socket.connect(&self.gateway.into()) {
            Ok(()) => {}
            Err(error) if error.raw_os_error() == Some(libc::EINPROGRESS) => {}
            Err(error) => return Err(error),
        }
        self.add(socket.into(), Side::Client, since, Next::Write)
    }

    fn accept(&mut self) -> io::Result<()> {
        loop {
            match socket::accept(&self.listener) {
                Ok((stream, _)) => {
                    stream.set_nodelay(true)?;
                    self.add(stream.into(), Side::Backend, Instant::now(), Next::Read)?;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
        }
    }

    fn add(
        &mut self,
        socket: OwnedFd,
        side: Side,
        since: Instant,
        waits_for: Next,
    ) -> io::Result<()> {
        let entry = self.connections.vacant_entry();
        let token = EventData::new_u64(entry.key() as u64);
        epoll::add(&self.epoll, &socket, token, interest(waits_for))?;
        entry.insert(Connection {
            socket,
            side,
            since,
            seen: 0,
            unsent: 0,
            kind: 0,
            saluted: false,
            waits_for,
        });
        Ok(())
    }

    fn ready(&mut self, key: usize) -> io::Result<()> {
        let Some(connection) = self.connections.get_mut(key) else {
            return Ok(());
        };
        let next = if connection.saluted {
            self.work.go_on(connection)
        } else {
            let done = salute(connection, &self.hello, &mut self.scratch);
            if matches!(done, Ok(())) && connection.side == Side::Backend {
                self.saluted_backends += 1;
            }
            done.and_then(|()| self.work.begin(connection))
        };
        let next = match next {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
            Err(error) => {
                self.failed.add(connection.side, &error);
                Next::Close
            }
            Ok(next) => next,
        };
        if next == Next::Close {
            let client = connection.side == Side::Client;
            self.connections.remove(key);
            if client && self.work.renews() {
                self.connect()?;
            }
        } else if next != connection.waits_for {
            connection.waits_for = next;
            let token = EventData::new_u64(key as u64);
            epoll::modify(&self.epoll, &connection.socket, token, interest(next))?;
        }
        Ok(())
    }
}

impl Failures {
    /// Returns an error if any connection failed.
    pub fn check(&self) -> io::Result<()> {
        match &self.first {
            None => Ok(()),
            Some(first) => Err(io::Error::other(format!(
                "{} connections failed, the first: {first}",
                self.count
            ))),
        }
    }
}

fn interest(next: Next) -> EventFlags {
    match next {
        Next::Read => EventFlags::IN,
        Next::Write => EventFlags::OUT,
        Next::Close => EventFlags::empty(),
    }
}

/// Sends the client's hello in one piece. The backend reads it in any pieces, and no byte more.
fn salute(connection: &mut Connection, hello: &[u8], scratch: &mut [u8]) -> io::Result<()> {
    match connection.side {
        Side::Client => {
            let sent = send(&connection.socket, hello, SendFlags::NOSIGNAL)?;
            if sent < hello.len() {
                return Err(io::Error::other("the hello did not go out in one piece"));
            }
        }
        Side::Backend => {
            let expected = &hello[connection.seen..];
            let target = &mut scratch[..expected.len()];
            let (read, _) = recv(&connection.socket, target, RecvFlags::empty())?;
            if read == 0 || scratch[..read] != expected[..read] {
                return Err(io::Error::other(
                    "the backend got another hello than was sent",
                ));
            }
            connection.seen += read;
            if connection.seen < hello.len() {
                return Err(io::ErrorKind::WouldBlock.into());
            }
        }
    }
    connection.saluted = true;
    connection.seen = 0;
    Ok(())
}

/// Reads without looking at the bytes, and without the kernel's copying them (MSG_TRUNC, tcp(7)).
fn discard(connection: &Connection, buffer: &mut [u8]) -> io::Result<usize> {
    let (_, length) = recv(&connection.socket, buffer, RecvFlags::TRUNC)?;
    if length == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(length)
}
