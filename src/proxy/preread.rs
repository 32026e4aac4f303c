//! Preread: the ClientHello, without taking it from the socket when it comes in one piece.
//!
//! First one `MSG_PEEK` into the worker's buffer: nearly always the whole hello is there, nothing is
//! consumed and nothing is kept. If it is not, reading begins, into a buffer that grows as bytes
//! arrive and that the relay replays byte for byte. A second peek would spin: data that stays in the
//! socket keeps it readable (`kernel-notes.md` 1).

use std::cell::{Cell, RefCell};
use std::io;
use std::rc::Rc;

use slab::Slab;
use tokio::io::Interest;
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::refuse::Refusal;
use super::worker::Worker;
use crate::client_hello::{ClientHello, HelloParser, Progress};
use crate::config::HelloLimits;
use crate::limits::Share;
use crate::outcome::Outcome;
use crate::server_name::ServerName;
use crate::socket;

/// Bytes on the wire for one byte of hello at the worst: a record header for each.
const WIRE_PER_BYTE: usize = 6;
/// Bytes of one read while a hello comes in pieces.
const READ: usize = 16 * 1024;

/// What the corridor needs of a hello.
#[derive(Debug)]
pub(super) struct Preread {
    /// The name that selects the route.
    pub server_name: ServerName,
    /// The ALPN protocols offered.
    pub alpn: Vec<Box<[u8]>>,
    /// Bytes taken from the socket, which the upstream must get first; empty when the hello was
    /// only peeked at.
    pub replay: Replay,
}

/// Bytes taken from the downstream socket, with their share of the hello memory.
#[derive(Debug, Default)]
pub(super) struct Replay {
    /// In order, from the first byte of the connection.
    pub bytes: Vec<u8>,
    _share: Option<Share>,
}

/// Reads the hello of a connection that was accepted before `deadline` minus the hello timeout.
///
/// # Errors
/// Why the connection is refused.
pub(super) async fn preread(
    worker: &Worker,
    downstream: &TcpStream,
    limits: &HelloLimits,
    deadline: Instant,
) -> Result<Preread, Refusal> {
    let work = async {
        match peek(worker, downstream, limits).await? {
            Some(preread) => Ok(preread),
            None => read(worker, downstream, limits).await,
        }
    };
    match tokio::time::timeout_at(deadline, work).await {
        Ok(result) => result,
        Err(_) => Err(Refusal::silent(Outcome::HelloTimeout)),
    }
}

/// The hello, if all of it is in the socket by the time anything is.
async fn peek(
    worker: &Worker,
    downstream: &TcpStream,
    limits: &HelloLimits,
) -> Result<Option<Preread>, Refusal> {
    let peeked = downstream.async_io(Interest::READABLE, || {
        let mut buffer = worker.buffer.borrow_mut();
        let length = socket::peek(downstream, &mut buffer)?;
        Ok(examine(&buffer[..length], limits))
    });
    peeked.await.unwrap_or_else(|error| Err(gone(&error, 0)))
}

/// What one look at the first bytes tells.
fn examine(wire: &[u8], limits: &HelloLimits) -> Result<Option<Preread>, Refusal> {
    if wire.is_empty() {
        return Err(Refusal::silent(Outcome::Probe));
    }
    match HelloParser::new(limits.max_size).parse(wire) {
        Ok(Progress::Complete(hello)) => Ok(Some(Preread::peeked(&hello))),
        Ok(Progress::Incomplete) => Ok(None),
        Err(error) => Err(Refusal::bad_hello(&error)),
    }
}

impl Preread {
    /// A hello that is still in the socket.
    fn peeked(hello: &ClientHello<'_>) -> Self {
        Self {
            server_name: hello.server_name.clone(),
            alpn: hello.alpn().map(Box::from).collect(),
            replay: Replay::default(),
        }
    }
}

/// The hello, read piece by piece.
async fn read(
    worker: &Worker,
    downstream: &TcpStream,
    limits: &HelloLimits,
) -> Result<Preread, Refusal> {
    let mut parser = HelloParser::new(limits.max_size);
    let mut wire = Vec::new();
    let mut share = worker.shared.hello_memory.force(0);
    let turn = worker.hellos.enter();
    loop {
        let read = downstream.async_io(Interest::READABLE, || {
            let mut buffer = worker.buffer.borrow_mut();
            let length = socket::read(downstream, &mut buffer[..READ])?;
            wire.extend_from_slice(&buffer[..length]);
            Ok(length)
        });
        let length = tokio::select! {
            biased;
            () = turn.evicted() => return Err(Refusal::silent(Outcome::Overloaded)),
            read = read => read.map_err(|error| gone(&error, wire.len()))?,
        };
        if length == 0 {
            return Err(Refusal::silent(Outcome::ClientGoneBeforeHello));
        }
        // Parser's copy included: a hello over several records is held twice until it is complete.
        let held = wire.len() + parser.buffered();
        worker.hellos.account(&turn, held, &mut share)?;
        match parser.parse(&wire) {
            Ok(Progress::Incomplete) => {}
            Ok(Progress::Complete(hello)) => {
                // Made before the wire moves: the hello borrows from it.
                let preread = Preread::peeked(&hello);
                let replay = Replay {
                    bytes: wire,
                    _share: Some(share),
                };
                return Ok(Preread { replay, ..preread });
            }
            Err(error) => return Err(Refusal::bad_hello(&error)),
        }
        if wire.len() > limits.max_size * WIRE_PER_BYTE + READ {
            return Err(Refusal::silent(Outcome::HelloTooLarge));
        }
    }
}

/// An error before the hello was whole: a load balancer's check may end with RST, too.
pub(super) fn gone(error: &io::Error, received: usize) -> Refusal {
    tracing::debug!(%error, received, "the client went away before its hello");
    Refusal::silent(match (received, error.kind()) {
        (0, _) => Outcome::Probe,
        (_, io::ErrorKind::TimedOut) => Outcome::DownstreamTimeout,
        _ => Outcome::ClientGoneBeforeHello,
    })
}

/// The hellos of one worker that come in pieces. When the memory that all hellos share runs out,
/// the largest of them gives way: many slow small hellos are no reason to refuse the next one, one
/// that has collected 300 KiB is.
#[derive(Debug, Default)]
pub(super) struct HellosInProgress(RefCell<Slab<Rc<Held>>>);

#[derive(Debug, Default)]
struct Held {
    bytes: Cell<usize>,
    evict: Notify,
}

/// One hello in progress.
#[derive(Debug)]
struct Turn<'a> {
    hellos: &'a HellosInProgress,
    key: usize,
    held: Rc<Held>,
}

impl Turn<'_> {
    async fn evicted(&self) {
        self.held.evict.notified().await;
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.hellos.0.borrow_mut().try_remove(self.key);
    }
}

impl HellosInProgress {
    fn enter(&self) -> Turn<'_> {
        let held = Rc::new(Held::default());
        Turn {
            hellos: self,
            key: self.0.borrow_mut().insert(held.clone()),
            held,
        }
    }

    /// Accounts for a hello that now holds `bytes`. When the budget is used up the largest hello of
    /// this worker is evicted; this one goes over the budget by one read at most, until the other's
    /// memory is free.
    fn account(&self, turn: &Turn<'_>, bytes: usize, share: &mut Share) -> Result<(), Refusal> {
        let more = bytes.saturating_sub(turn.held.bytes.replace(bytes));
        if share.grow(more) {
            return Ok(());
        }
        let hellos = self.0.borrow();
        let largest = hellos.iter().map(|(_, held)| held);
        match largest.max_by_key(|held| held.bytes.get()) {
            Some(largest) if !Rc::ptr_eq(largest, &turn.held) => {
                largest.evict.notify_one();
                share.force(more);
                Ok(())
            }
            _ => Err(Refusal::silent(Outcome::Overloaded)),
        }
    }
}
