//! Dial: one attempt to connect to one address, and the reason if it fails.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;

use super::starttls;
use crate::config::{StartTls, UpstreamConfig};
use crate::outcome::Outcome;
use crate::socket::{self, OwnAddresses, is_own_address};
use crate::upstream::Upstream;

/// What an endpoint gets first, before a byte of the client.
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

    /// An address of this host that cannot be connected from.
    fn unbound(error: &io::Error, own: IpAddr) -> Self {
        let detail = match error.raw_os_error() {
            Some(libc::EADDRNOTAVAIL) => {
                format!("this host does not have {own}, an address of connect.source_addresses")
            }
            _ => format!("{own}, an address of connect.source_addresses: {error}"),
        };
        Self {
            local: true,
            ..Self::remote(Outcome::NoLocalPort, detail)
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

/// Connects to `address` within `most`, sends `first`, and waits until its request for TLS is granted.
///
/// # Errors
/// The reason why there is no connection.
pub(super) async fn attempt(
    address: SocketAddr,
    config: &UpstreamConfig,
    from: LocalAddresses<'_>,
    most: Duration,
    first: &First,
    own: Option<&OwnAddresses>,
) -> Result<TcpStream, NotConnected> {
    match timeout(most, open(address, config, from, first, own)).await {
        Ok(result) => result,
        Err(_) => {
            let detail = format!(
                "{address} did not answer within {most:?}: a NetworkPolicy, or its node is gone?"
            );
            Err(NotConnected::remote(Outcome::ConnectTimeout, detail))
        }
    }
}

/// A connection on which `first` is sent, and its request for TLS granted.
async fn open(
    address: SocketAddr,
    config: &UpstreamConfig,
    from: LocalAddresses<'_>,
    first: &First,
    own: Option<&OwnAddresses>,
) -> Result<TcpStream, NotConnected> {
    let failed = |error: io::Error| NotConnected::of(&error, address);
    let is_given = from.count > 0;
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

/// The addresses of this host to connect from, for one attempt: those of the endpoint's family, from the one
/// whose turn it is.
#[derive(Debug, Clone, Copy)]
pub(super) struct LocalAddresses<'a> {
    all: &'a [IpAddr],
    /// The number of those that fit.
    count: usize,
    turn: usize,
}

impl<'a> LocalAddresses<'a> {
    /// Those of `upstream` for an attempt to connect to `address`.
    pub(super) fn of(upstream: &Upstream, config: &'a UpstreamConfig, address: SocketAddr) -> Self {
        let all = &config.connect.source_addresses;
        let count = all.iter().filter(|ip| fits(ip, address)).count();
        let turn = if count > 0 {
            upstream.next_source_turn(address)
        } else {
            0
        };
        Self { all, count, turn }
    }

    /// The address for each try; `None` leaves it to the kernel.
    fn tries(self, address: SocketAddr) -> impl Iterator<Item = Option<IpAddr>> {
        let count = self.count.max(1);
        let fitting = move || self.all.iter().filter(move |ip| fits(ip, address));
        (0..count).map(move |step| fitting().nth(self.turn.wrapping_add(step) % count).copied())
    }
}

/// Whether a socket with this address of its own can connect to `address`.
fn fits(own: &IpAddr, address: SocketAddr) -> bool {
    own.is_ipv4() == address.is_ipv4()
}

/// Connects from the first address that has a port left.
async fn dial(
    address: SocketAddr,
    config: &UpstreamConfig,
    from: LocalAddresses<'_>,
) -> Result<TcpStream, NotConnected> {
    let mut failed = None;
    for own in from.tries(address) {
        match dial_from(own, address, config).await {
            Err(error) if error.outcome == Outcome::NoLocalPort => failed = Some(error),
            result => return result,
        }
    }
    Err(failed.unwrap_or_else(|| {
        NotConnected::of(&io::Error::from_raw_os_error(libc::EADDRNOTAVAIL), address)
    }))
}

async fn dial_from(
    own: Option<IpAddr>,
    address: SocketAddr,
    config: &UpstreamConfig,
) -> Result<TcpStream, NotConnected> {
    let failed = |error: io::Error| NotConnected::of(&error, address);
    let socket = socket(address, config).map_err(failed)?;
    if let Some(ip) = own {
        bind(&socket, ip).map_err(|error| NotConnected::unbound(&error, ip))?;
    }
    socket.connect(address).await.map_err(failed)
}

/// Binds the socket to `ip`, and leaves its port to connect(2).
fn bind(socket: &TcpSocket, ip: IpAddr) -> io::Result<()> {
    socket::choose_port_at_connect(socket)?;
    socket.bind(SocketAddr::new(ip, 0))
}

fn socket(address: SocketAddr, config: &UpstreamConfig) -> io::Result<TcpSocket> {
    let socket = socket::for_connecting(address)?;
    // The options that find out that a peer is gone come later (`Seat::look_after`).
    socket::set_nodelay(&socket)?;
    socket::set_buffers(&socket, &config.tcp.into())?;
    Ok(socket)
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
    fn every_source_of_the_endpoints_family_is_tried_once_from_the_one_whose_turn_it_is() {
        let all = ["10.0.0.1", "fd00::1", "10.0.0.2", "10.0.0.3"].map(|ip| ip.parse().unwrap());
        for (address, turn, expected) in [
            ("10.9.9.9:1", 0, &["10.0.0.1", "10.0.0.2", "10.0.0.3"][..]),
            ("10.9.9.9:1", 1, &["10.0.0.2", "10.0.0.3", "10.0.0.1"]),
            ("10.9.9.9:1", 5, &["10.0.0.3", "10.0.0.1", "10.0.0.2"]),
            ("[fd00::9]:1", 7, &["fd00::1"]),
        ] {
            let address = address.parse().unwrap();
            let count = all.iter().filter(|ip| fits(ip, address)).count();
            let all = &all;
            let tries = LocalAddresses { all, count, turn }.tries(address);
            let tries: Vec<_> = tries.map(|own| own.unwrap().to_string()).collect();
            assert_eq!(tries, expected, "{address}, turn {turn}");
        }
        let none = LocalAddresses {
            all: &all[..1],
            count: 0,
            turn: 0,
        };
        let address = "[fd00::9]:1".parse().unwrap();
        assert!(none.tries(address).eq([None]), "the kernel chooses");
    }

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
