//! Refusing: the alert and the close that a client gets in place of a relay.
//!
//! A TLS client gets a fatal alert and a clean close, so that it logs something useful, unless the listener's
//! policy is a close alone. Closing a
//! socket with unread bytes sends RST, which can overtake the alert: bytes that were peeked at are consumed,
//! and those that still come are discarded for a moment
//! (`docs/src/internals/kernel.md#refusing-with-an-alert`).

use std::io;
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use super::worker::{BUFFER, Worker};
use crate::client_hello::Alert;
use crate::socket;

/// The time that a refused client gets to read its alert and close.
const LINGER: Duration = Duration::from_secs(1);
/// Bytes of a refused client that are read and thrown away, beyond a peeked hello.
const DISCARD: usize = 64 * 1024;

/// Sends the alert, if there is one, so that it arrives before the close.
pub(super) async fn send(worker: &Worker, mut downstream: TcpStream, alert: Option<Alert>) {
    let (Some(alert), Some(_lingering)) = (alert, worker.shared.lingering.take(1)) else {
        // A client that gets no alert, as one without TLS, gets a close at least and not a reset.
        let _ = discard(worker, &downstream, BUFFER, false).await;
        return;
    };
    let farewell = async {
        // The bytes that were peeked at come first: left unread when the socket closes, they would make it RST.
        discard(worker, &downstream, BUFFER, false).await?;
        downstream.write_all(&alert.record()).await?;
        downstream.shutdown().await?;
        discard(worker, &downstream, DISCARD, true).await
    };
    // A client that is gone, or slow, is closed too.
    let _ = tokio::time::timeout(LINGER, farewell).await;
}

/// Reads and throws away up to `limit` bytes: until EOF if `wait`, else what is there.
async fn discard(worker: &Worker, client: &TcpStream, limit: usize, wait: bool) -> io::Result<()> {
    let mut left = limit;
    while left > 0 {
        if wait {
            client.readable().await?;
        }
        let read = {
            let mut buffer = worker.buffer.borrow_mut();
            let most = left.min(buffer.len());
            match wait {
                true => client.try_read(&mut buffer[..most]),
                // The runtime may not know yet that there is something to read: the hello was peeked at before.
                false => socket::read(client, &mut buffer[..most]),
            }
        };
        match read {
            Ok(0) => return Ok(()),
            Ok(length) => left -= length,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock && wait => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
