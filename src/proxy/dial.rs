//! Dial: one attempt to connect to one address, and the reason if it fails.

use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use socket2::Socket;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use super::starttls;
use super::time_limit::{Timer, until};
use crate::config::{StartTls, UpstreamConfig};
use crate::outcome::Outcome;
use crate::socket::{self, OwnAddresses, is_own_address};
use crate::upstream::{ConnectError, SourceAddresses, outcome_of_connect};

/// The first bytes that an endpoint gets, before a byte of the client.
#[derive(Debug)]
pub(super) struct First {
    /// Bytes of the gateway's own.
    pub bytes: Vec<u8>,
    /// The request for TLS at their end, which the endpoint must grant.
    pub starttls: Option<StartTls>,
}

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

    fn by_connect(failed: &ConnectError, address: SocketAddr) -> Self {
        if failed.source_address.is_none() {
            return Self::of(&failed.error, address);
        }
        Self {
            local: true,
            ..Self::remote(failed.outcome(), failed.to_string())
        }
    }

    fn of(error: &io::Error, address: SocketAddr) -> Self {
        let outcome = outcome_of_connect(error);
        Self {
            local: is_local(error),
            ..Self::remote(outcome, detail_of(outcome, address, error))
        }
    }
}

/// The time that an attempt has.
#[derive(Debug, Clone, Copy)]
pub(super) struct AttemptTime {
    /// Its beginning.
    pub began: Instant,
    /// The time limit.
    pub most: Duration,
    /// The poll that begins its timer.
    pub timer: Timer,
}

/// Connects to `address` in `time`, sends `first`, and waits until its request for TLS is granted.
///
/// # Errors
/// The reason why there is no connection.
pub(super) async fn attempt(
    address: SocketAddr,
    config: &UpstreamConfig,
    from: SourceAddresses<'_>,
    time: AttemptTime,
    first: &First,
    own: Option<&OwnAddresses>,
) -> Result<TcpStream, NotConnected> {
    let AttemptTime { began, most, timer } = time;
    let opened = open(address, config, from, first, own);
    until((began + most).into(), timer, opened)
        .await
        .unwrap_or_else(|| {
            let detail = format!(
                "{address} did not answer within {most:?}: a NetworkPolicy, or its node is gone?"
            );
            Err(NotConnected::remote(Outcome::ConnectTimeout, detail))
        })
}

/// A connection on which `first` is sent, and its request for TLS granted.
async fn open(
    address: SocketAddr,
    config: &UpstreamConfig,
    from: SourceAddresses<'_>,
    first: &First,
    own: Option<&OwnAddresses>,
) -> Result<TcpStream, NotConnected> {
    let failed = |error: io::Error| NotConnected::of(&error, address);
    let is_given = from.are_given();
    let mut stream = dial(address, config, from).await?;
    // Without this one hello would become connections up to the limit. A given source address says nothing.
    let local = || match is_given {
        true => is_own_address(address.ip()).then(|| address.ip()),
        false => stream.local_addr().ok().map(|local| local.ip()),
    };
    if own.is_some_and(|own| own.led_to(address, local)) {
        let detail = format!("{address} is this gateway itself: a loop");
        return Err(NotConnected::remote(Outcome::ConnectUnreachable, detail));
    }
    stream.write_all(&first.bytes).await.map_err(failed)?;
    if let Some(StartTls::Postgres) = first.starttls {
        let granted = starttls::granted(&mut stream, address).await;
        granted.map_err(|(outcome, detail)| NotConnected::remote(outcome, detail))?;
    }
    Ok(stream)
}

/// A connection to `address`, with the options of connections.
async fn dial(
    address: SocketAddr,
    config: &UpstreamConfig,
    from: SourceAddresses<'_>,
) -> Result<TcpStream, NotConnected> {
    // The options that find out that a peer is gone come later (`Seat::look_after`).
    let prepare = |socket: &Socket| {
        socket::set_nodelay(socket)?;
        socket::set_buffers(socket, &config.tcp.into())
    };
    let connected = from.connect(address, prepare).await;
    connected.map_err(|failed| NotConnected::by_connect(&failed, address))
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
