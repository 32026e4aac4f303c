//! Preread: the ClientHello, without taking it from the socket when it comes in one piece.
//!
//! First one `MSG_PEEK` into the worker's buffer: nearly always the whole hello is there, nothing is
//! consumed and nothing is kept. If it is not, reading begins, into a buffer that grows as bytes
//! arrive and that the relay replays byte for byte. A second peek would spin: data that stays in the
//! socket keeps it readable (`docs/src/internals/kernel.md#readiness-after-fin`).
//!
//! The route is decided while the hello still lies in a buffer of the worker's, so that little is kept of a
//! hello, however long it is.

use std::cell::Cell;
use std::io;
use std::rc::Rc;
use std::sync::Arc;

use tokio::io::Interest;
use tokio::net::TcpStream;
use tokio::time::Instant;

use super::hellos::{Hello, Reservation};
use super::listener::ListenerPolicy;
use super::refusal::{Refusal, gone};
use super::replay::Replay;
use super::starttls;
use super::time_limit::{Timer, until};
use super::worker::{AlpnOffer, Worker};
use crate::client_hello::{ClientHello, HelloParser, Offers, Progress};
use crate::config::{HelloLimits, StartTls};
use crate::kept_hellos::KeptHellos;
use crate::outcome::Outcome;
use crate::route::{Route, RouteRefusal, RouteTable};
use crate::server_name::{Name, ServerName};
use crate::socket;

/// Bytes on the wire for one byte of hello at the worst: a record header for each.
const WIRE_PER_BYTE: usize = 6;
/// Bytes of one read while a hello comes in pieces.
const READ: usize = 16 * 1024;

/// The part of a hello that the corridor needs.
#[derive(Debug)]
pub(super) struct Preread<'t> {
    /// The name that selects the route: the route table's copy, if it has one. `None` if the hello names no
    /// server, and a route takes such hellos.
    pub server_name: Option<ServerName>,
    /// The request for TLS that came before the hello.
    pub starttls: Option<StartTls>,
    /// The route of the name and of all ALPN protocols offered, or the refusal.
    pub route: Result<&'t Arc<Route>, Unrouted>,
    /// The ALPN protocols offered, if any, as the log shows them.
    pub alpn: Option<Rc<AlpnOffer>>,
    /// The versions and post-quantum groups offered.
    pub offers: Offers,
    /// The client's JA4, if the access log is to have it.
    pub ja4: Option<Box<str>>,
    /// Bytes taken from the socket, which the upstream must get first.
    pub replay: Replay,
}

/// The refusal of a valid hello.
#[derive(Debug)]
pub(super) struct Unrouted {
    pub refusal: Refusal,
    /// The first route that takes the name, and not the ALPN protocols.
    pub route: Option<Arc<Route>>,
}

impl Unrouted {
    fn new(refused: &RouteRefusal<'_>) -> Self {
        Self {
            refusal: Refusal::unrouted(refused),
            route: match refused {
                RouteRefusal::AlpnRefused(routes) => routes.first().cloned(),
                RouteRefusal::NoRoute(_) | RouteRefusal::NoSni => None,
            },
        }
    }
}

/// Reads the hello of a connection that was accepted before `deadline` minus the hello timeout, and
/// decides by `routes` where it goes.
///
/// # Errors
/// The reason why no hello came that names a server.
pub(super) async fn preread<'t>(
    worker: &Worker,
    downstream: &TcpStream,
    policy: &ListenerPolicy,
    deadline: Instant,
    routes: &'t RouteTable,
) -> Result<Preread<'t>, Refusal> {
    let limits = &policy.client_hello;
    let received = Cell::new(0);
    let requested = Cell::new(false);
    let work = async {
        let starttls = match policy.starttls {
            // In a box, since few listeners have it.
            Some(StartTls::Postgres) => Box::pin(starttls::answer(downstream, &requested))
                .await?
                .then_some(StartTls::Postgres),
            None => None,
        };
        let preread = match peek(worker, downstream, limits, routes).await {
            Ok(Some(preread)) => preread,
            Ok(None) => read(worker, downstream, limits, routes, &received).await?,
            // Only a client that sends no byte at all is a probe.
            Err(refusal) if refusal.outcome == Outcome::Probe && requested.get() => {
                return Err(Refusal::silent(Outcome::ClientGoneBeforeHello));
            }
            Err(refusal) => return Err(refusal),
        };
        Ok(Preread {
            starttls,
            ..preread
        })
    };
    let ended = until(deadline, Timer::FirstPoll, work).await;
    ended.unwrap_or_else(|| Err(late(received.get(), requested.get())))
}

/// The refusal of a client that had sent `received` bytes of its hello by the deadline, and before them a
/// request for TLS if `requested`.
fn late(received: usize, requested: bool) -> Refusal {
    let detail = match received {
        0 if requested => "a request for TLS received, and no ClientHello after it".to_owned(),
        0 => "nothing received: does the server speak first in this protocol (SMTP, MySQL)?"
            .to_owned(),
        _ => format!("{received} bytes of a ClientHello received"),
    };
    Refusal::noted(Outcome::HelloTimeout, detail)
}

/// The hello, if all of it is in the socket by the time anything is.
async fn peek<'t>(
    worker: &Worker,
    downstream: &TcpStream,
    limits: &HelloLimits,
    routes: &'t RouteTable,
) -> Result<Option<Preread<'t>>, Refusal> {
    let look = || -> io::Result<_> {
        let mut buffer = worker.buffer.borrow_mut();
        let length = socket::peek(downstream, &mut buffer)?;
        Ok(examine(worker, &buffer[..length], limits, routes))
    };
    // A busy worker accepts a connection whose hello has come. To wait for its readiness would cost a pass of the
    // driver and of the run queue.
    let peeked = match look() {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
            downstream.async_io(Interest::READABLE, look).await
        }
        peeked => peeked,
    };
    peeked.unwrap_or_else(|error| Err(gone(&error, 0)))
}

/// Reads a hello from the first bytes. `None` if they are only a part of one.
fn examine<'t>(
    worker: &Worker,
    wire: &[u8],
    limits: &HelloLimits,
    routes: &'t RouteTable,
) -> Result<Option<Preread<'t>>, Refusal> {
    if wire.is_empty() {
        return Err(Refusal::silent(Outcome::Probe));
    }
    match parser(limits, routes).parse(wire) {
        Ok(Progress::Complete(hello)) => {
            let preread = Preread::peeked(worker, &hello, routes);
            Ok(Some(preread.of_bytes(&worker.shared.hellos, wire)))
        }
        Ok(Progress::Incomplete) => Ok(None),
        Err(error) => Err(Refusal::bad_hello(&error).of_bytes(&worker.shared.hellos, wire)),
    }
}

/// A parser of a hello for one of `routes`.
fn parser(limits: &HelloLimits, routes: &RouteTable) -> HelloParser {
    HelloParser::new(limits.max_size.get()).nameless(routes.takes_nameless())
}

impl<'t> Preread<'t> {
    /// A hello that is still in the socket.
    fn peeked(worker: &Worker, hello: &ClientHello<'_>, routes: &'t RouteTable) -> Self {
        let ja4 = worker.shared.access_log.wants_ja4();
        let name = hello.server_name.as_ref();
        let (own, route) = match routes.decide(name, hello.alpn()) {
            Ok(decided) => (decided.name, Ok(decided.route)),
            Err(refused) => (None, Err(Unrouted::new(&refused))),
        };
        Self {
            starttls: None,
            server_name: own.cloned().or_else(|| name.map(Name::to_server_name)),
            route,
            alpn: worker.alpn_offers.intern(hello.alpn()),
            offers: Offers::of(hello),
            ja4: ja4
                .then(|| hello.ja4())
                .flatten()
                .map(String::into_boxed_str),
            replay: Replay::default(),
        }
    }

    /// The same, whose refusal, if it is one, has the bytes of the client.
    fn of_bytes(self, kept: &KeptHellos, wire: &[u8]) -> Self {
        let route = self.route.map_err(|unrouted| Unrouted {
            refusal: unrouted.refusal.of_bytes(kept, wire),
            ..unrouted
        });
        Self { route, ..self }
    }
}

/// The hello, read piece by piece.
async fn read<'t>(
    worker: &Worker,
    downstream: &TcpStream,
    limits: &HelloLimits,
    routes: &'t RouteTable,
    received: &Cell<usize>,
) -> Result<Preread<'t>, Refusal> {
    let mut parser = parser(limits, routes);
    let hello = worker.hellos.enter();
    let kept = &worker.shared.hellos;
    let refused = |outcome| hello.with(|wire| Refusal::silent(outcome).of_bytes(kept, wire));
    loop {
        let freed = worker.hellos.freed();
        let read = downstream.async_io(Interest::READABLE, || take(worker, downstream, &hello));
        let taken = tokio::select! {
            biased;
            () = hello.evicted() => return Err(Refusal::silent(Outcome::Overloaded)),
            read = read => read.map_err(|error| gone(&error, hello.len()))?,
        };
        match taken {
            Taken::Bytes => received.set(hello.len()),
            Taken::End => return Err(refused(Outcome::ClientGoneBeforeHello)),
            Taken::NoMemory => return Err(Refusal::silent(Outcome::Overloaded)),
            Taken::Later => {
                tokio::select! {
                    biased;
                    () = hello.evicted() => return Err(Refusal::silent(Outcome::Overloaded)),
                    () = freed => continue,
                }
            }
        }
        let complete = hello.with(|wire| match parser.parse(wire) {
            Ok(Progress::Incomplete) => Ok(None),
            Ok(Progress::Complete(parsed)) => {
                let preread = Preread::peeked(worker, &parsed, routes);
                Ok(Some(preread.of_bytes(kept, wire)))
            }
            Err(error) => Err(Refusal::bad_hello(&error).of_bytes(kept, wire)),
        })?;
        if let Some(preread) = complete {
            hello.waits(std::time::Instant::now());
            let replay = Replay::of(hello);
            return Ok(Preread { replay, ..preread });
        }
        if hello.len() > limits.max_size.get() * WIRE_PER_BYTE + READ {
            return Err(refused(Outcome::HelloTooLarge));
        }
    }
}

/// The result of one read of a hello that comes in pieces.
enum Taken {
    Bytes,
    /// The client sends nothing more.
    End,
    /// The bytes stay in the socket until another worker has freed memory.
    Later,
    /// There is no memory for them.
    NoMemory,
}

/// Takes as many bytes from the socket as memory can be had for. It peeks first, so that the memory is there
/// before the bytes leave the socket.
fn take(worker: &Worker, downstream: &TcpStream, hello: &Hello) -> io::Result<Taken> {
    let mut buffer = worker.buffer.borrow_mut();
    let length = socket::peek(downstream, &mut buffer[..READ])?;
    if length == 0 {
        return Ok(Taken::End);
    }
    match hello.reserve(length, std::time::Instant::now()) {
        Reservation::Yes => {}
        Reservation::Asked => return Ok(Taken::Later),
        Reservation::No => return Ok(Taken::NoMemory),
    }
    let length = socket::read(downstream, &mut buffer[..length])?;
    hello.append(&buffer[..length]);
    Ok(Taken::Bytes)
}
