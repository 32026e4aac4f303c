//! The endpoint behind the gateway. It sends each client the number of its connection, and keeps the
//! bytes that came on it.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::task::AbortHandle;

/// Start of every answer, which tells our endpoint from another server. The connection's number
/// follows.
pub(super) const BANNER: &[u8] = b"strait selftest\0";
/// Number of bytes in an answer: the banner and the connection's number.
pub(super) const ANSWER: usize = BANNER.len() + size_of::<u64>();
/// The most bytes of a connection. The longest delivery is 384 KiB, so a longer one is not ours.
const MOST_BYTES: usize = 1 << 20;
/// The most connections to keep that no client has asked about.
const MOST_CONNECTIONS: usize = 10_000;

/// The endpoint. It listens until dropped.
#[derive(Debug)]
pub(super) struct EchoEndpoint {
    connections: Arc<EchoConnections>,
    accepting: AbortHandle,
}

type EchoConnections = Mutex<HashMap<u64, Arc<EchoConnection>>>;

#[derive(Debug, Default)]
struct EchoConnection {
    received: Mutex<Vec<u8>>,
    more: Notify,
}

impl EchoEndpoint {
    /// Listens at `address`.
    ///
    /// # Errors
    /// Those of bind(2).
    pub(super) async fn bind(address: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind(address)
            .await
            .map_err(|error| io::Error::other(format!("cannot listen at {address}: {error}")))?;
        let connections = Arc::new(EchoConnections::default());
        let accepting = tokio::spawn(accept(listener, connections.clone()));
        Ok(Self {
            connections,
            accepting: accepting.abort_handle(),
        })
    }

    /// Waits until the connection with this number has brought `bytes`. Returns whether exactly these
    /// bytes came.
    pub(super) async fn got(&self, number: u64, bytes: &[u8]) -> bool {
        let connection = lock(&self.connections).get(&number).cloned();
        let Some(connection) = connection else {
            return false;
        };
        loop {
            let more = connection.more.notified();
            {
                let received = lock(&connection.received);
                if received.len() >= bytes.len() || !bytes.starts_with(&received) {
                    return *received == bytes;
                }
            }
            more.await;
        }
    }

    /// Forgets a connection that a client has seen.
    pub(super) fn forget(&self, number: u64) {
        lock(&self.connections).remove(&number);
    }

    /// Number of connections that brought bytes and that no client has seen.
    pub(super) fn unclaimed(&self) -> usize {
        let connections = lock(&self.connections);
        let brought = |one: &&Arc<EchoConnection>| !lock(&one.received).is_empty();
        connections.values().filter(brought).count()
    }
}

impl Drop for EchoEndpoint {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn accept(listener: TcpListener, connections: Arc<EchoConnections>) {
    let mut number = 0;
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            // No file descriptor is free, or the client is gone already.
            tokio::task::yield_now().await;
            continue;
        };
        number += 1;
        let connection = Arc::<EchoConnection>::default();
        let mut known = lock(&connections);
        if known.len() < MOST_CONNECTIONS {
            known.insert(number, connection.clone());
            drop(known);
            tokio::spawn(serve(stream, number, connection));
        }
    }
}

async fn serve(mut stream: TcpStream, number: u64, connection: Arc<EchoConnection>) {
    let answer = [BANNER, &number.to_be_bytes()].concat();
    if stream.write_all(&answer).await.is_err() {
        return;
    }
    let mut buffer = vec![0; 16 * 1024];
    while let Ok(length @ 1..) = stream.read(&mut buffer).await {
        let mut received = lock(&connection.received);
        received.extend_from_slice(buffer.get(..length).unwrap_or(&[]));
        let enough = received.len() > MOST_BYTES;
        drop(received);
        connection.more.notify_one();
        if enough {
            return;
        }
    }
}
