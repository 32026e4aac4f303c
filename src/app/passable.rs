//! The sockets that a successor gets, and the messages of a takeover. Each message is one byte, with sockets or without.

use std::io;
use std::net::TcpListener;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::io::Interest;
use tokio::net::UnixStream;
use tokio::sync::watch;
use tokio::time::timeout;

use crate::proxy::Listener;
use crate::socket::{self, PASSED_AT_ONCE};

/// The first byte of a predecessor. It stands for the version of this protocol.
pub(super) const SOCKETS: u8 = 1;
/// The last byte before the successor is ready: there are no further sockets.
pub(super) const NO_MORE: u8 = 2;
/// The successor can serve.
pub(super) const READY: u8 = 3;
/// The predecessor accepts no more from now on.
pub(super) const YOURS: u8 = 4;

/// The longest wait for an answer that needs no work.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);
/// The sockets that a successor gets, and the sign that it has got them.
#[derive(Debug)]
pub(super) struct Passable {
    listeners: ArcSwap<Vec<Arc<Listener>>>,
    servers: Mutex<Vec<Weak<TcpListener>>>,
    pub(super) passed: watch::Sender<bool>,
}

impl Default for Passable {
    fn default() -> Self {
        Self {
            listeners: ArcSwap::default(),
            servers: Mutex::default(),
            passed: watch::Sender::new(false),
        }
    }
}

impl Passable {
    /// Replaces the listeners.
    pub(super) fn set_listeners(&self, listeners: Vec<Arc<Listener>>) {
        self.listeners.store(Arc::new(listeners));
    }

    /// Adds the socket of a server, which is passed on as long as the caller keeps it.
    pub(super) fn add_server(&self, socket: &Arc<TcpListener>) {
        let mut servers = self.servers.lock().unwrap_or_else(PoisonError::into_inner);
        servers.push(Arc::downgrade(socket));
    }

    /// Waits until a successor has the sockets.
    pub(super) async fn passed(&self) {
        // The sender lives as long as `self`.
        let _ = self.passed.subscribe().wait_for(|passed| *passed).await;
    }

    /// Sends every open socket to a successor.
    pub(super) async fn send(&self, stream: &UnixStream) -> io::Result<usize> {
        let listeners = self.listeners.load_full();
        let members: Vec<Arc<OwnedFd>> = listeners.iter().flat_map(|one| one.sockets()).collect();
        let servers: Vec<Arc<TcpListener>> = {
            let servers = self.servers.lock().unwrap_or_else(PoisonError::into_inner);
            servers.iter().filter_map(Weak::upgrade).collect()
        };
        let members = members.iter().map(|member| member.as_fd());
        let all: Vec<BorrowedFd<'_>> = members
            .chain(servers.iter().map(|server| server.as_fd()))
            .collect();
        for part in all.chunks(PASSED_AT_ONCE) {
            say(stream, SOCKETS, part).await?;
        }
        say(stream, NO_MORE, &[]).await?;
        Ok(all.len())
    }
}

/// Sends a byte, with descriptors or without.
pub(super) async fn say(
    stream: &UnixStream,
    byte: u8,
    descriptors: &[BorrowedFd<'_>],
) -> io::Result<()> {
    let send = stream.async_io(Interest::WRITABLE, || {
        socket::pass(stream, byte, descriptors)
    });
    within(PATIENCE, send).await
}

/// Receives a byte with its descriptors. `None`: the other side has closed.
pub(super) async fn hear(stream: &UnixStream) -> io::Result<Option<(u8, Vec<OwnedFd>)>> {
    let receive = || socket::receive_passed(stream);
    match stream.async_io(Interest::READABLE, receive).await {
        Err(error) if error.kind() == io::ErrorKind::ConnectionReset => Ok(None),
        result => result,
    }
}

pub(super) async fn within<T>(
    time: Duration,
    work: impl Future<Output = io::Result<T>>,
) -> io::Result<T> {
    let late = |_| io::Error::from(io::ErrorKind::TimedOut);
    timeout(time, work).await.map_err(late)?
}
