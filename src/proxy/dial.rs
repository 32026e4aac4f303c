//! Dial: one attempt to connect to one address, and the reason if it fails.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;

use crate::config::UpstreamConfig;
use crate::outcome::Outcome;
use crate::socket::{self, OwnAddresses};

/// A failed attempt.
#[derive(Debug)]
pub(super) struct NotConnected {
    /// The outcome, if this was the last attempt.
    pub outcome: Outcome,
    /// The reason for the log.
    pub detail: Option<Box<str>>,
    /// This host has refused it, at once.
    pub local: bool,
}

impl NotConnected {
    fn remote(outcome: Outcome, detail: String) -> Self {
        Self {
            outcome,
            detail: Some(detail.into()),
            local: false,
        }
    }

    fn of(error: &io::Error, address: SocketAddr) -> Self {
        let outcome = outcome_of(error);
        Self {
            local: is_local(error),
            ..Self::remote(outcome, detail_of(outcome, address, error))
        }
    }
}

/// Connects to `address` within `most`, and sends `first`.
///
/// # Errors
/// The reason why there is no connection.
pub(super) async fn attempt(
    address: SocketAddr,
    config: &UpstreamConfig,
    most: Duration,
    first: &[u8],
    own: Option<&OwnAddresses>,
) -> Result<TcpStream, NotConnected> {
    match timeout(most, open(address, config, first, own)).await {
        Ok(result) => result,
        Err(_) => {
            let detail = format!(
                "{address} did not answer within {most:?}: a NetworkPolicy, or its node is gone?"
            );
            Err(NotConnected::remote(Outcome::ConnectTimeout, detail))
        }
    }
}

/// A connection on which `first` is sent: the gateway's own bytes, none of the client's.
async fn open(
    address: SocketAddr,
    config: &UpstreamConfig,
    first: &[u8],
    own: Option<&OwnAddresses>,
) -> Result<TcpStream, NotConnected> {
    let failed = |error: io::Error| NotConnected::of(&error, address);
    let mut stream = dial(address, config).await.map_err(failed)?;
    // Without this one hello would become connections up to the limit.
    let local = || stream.local_addr().ok().map(|local| local.ip());
    if own.is_some_and(|own| own.led_to(address, local)) {
        let detail = format!("{address} is this gateway itself: a loop");
        return Err(NotConnected::remote(Outcome::ConnectUnreachable, detail));
    }
    stream.write_all(first).await.map_err(failed)?;
    Ok(stream)
}

async fn dial(address: SocketAddr, config: &UpstreamConfig) -> io::Result<TcpStream> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    // The options that find out that a peer is gone come later (`Seat::look_after`).
    socket::set_nodelay(&socket)?;
    socket::set_buffers(&socket, &config.tcp.into())?;
    socket.connect(address).await
}

/// The outcome of a failed attempt, if it was the last.
fn outcome_of(error: &io::Error) -> Outcome {
    match error.raw_os_error() {
        Some(libc::ECONNREFUSED | libc::ECONNRESET) => Outcome::ConnectRefused,
        Some(libc::ETIMEDOUT) => Outcome::ConnectTimeout,
        // connect(2): every local port towards this endpoint is taken, many by TIME_WAIT.
        Some(libc::EADDRNOTAVAIL) => Outcome::NoLocalPort,
        Some(libc::EMFILE | libc::ENFILE | libc::ENOBUFS | libc::ENOMEM) => Outcome::Overloaded,
        _ => Outcome::ConnectUnreachable,
    }
}

/// Whether this host refuses to connect to an address, without asking the network.
fn is_local(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(
            libc::ENETUNREACH
                | libc::EAFNOSUPPORT
                | libc::EADDRNOTAVAIL
                | libc::EACCES
                | libc::EPERM
                | libc::EINVAL
        )
    )
}

/// The reason for a failed attempt, and the place to look at.
fn detail_of(outcome: Outcome, address: SocketAddr, error: &io::Error) -> String {
    match outcome {
        Outcome::ConnectRefused => format!(
            "nothing listens at {address}: the pod starts, its sidecar has no SVID yet (no registration entry), \
             or the port is wrong"
        ),
        Outcome::ConnectTimeout => format!("{address} did not answer: {error}"),
        Outcome::NoLocalPort => format!("no local port is left towards {address}"),
        _ => format!("{address}: {error}"),
    }
}
#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_error_of_connect_has_its_outcome() {
        for (errno, outcome) in [
            (libc::ECONNREFUSED, Outcome::ConnectRefused),
            (libc::ETIMEDOUT, Outcome::ConnectTimeout),
            (libc::EADDRNOTAVAIL, Outcome::NoLocalPort),
            (libc::EMFILE, Outcome::Overloaded),
            (libc::EHOSTUNREACH, Outcome::ConnectUnreachable),
            (libc::ENETUNREACH, Outcome::ConnectUnreachable),
            (libc::EACCES, Outcome::ConnectUnreachable),
        ] {
            assert_eq!(outcome_of(&io::Error::from_raw_os_error(errno)), outcome);
        }
    }
}
