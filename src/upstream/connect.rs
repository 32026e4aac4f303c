//! Connects to endpoints: the address of this host that each is made from (`connect.source_addresses`), and the meaning
//! of the kernel's errors.

use std::error::Error;
use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};

use socket2::Socket;
use tokio::net::TcpStream;

use super::Upstream;
use crate::config::UpstreamConfig;
use crate::outcome::Outcome;
use crate::socket;

/// The addresses of this host to connect from, for one attempt: those of the endpoint's family, from the one
/// whose turn it is.
#[derive(Debug, Clone, Copy)]
pub struct SourceAddresses<'a> {
    all: &'a [IpAddr],
    /// The number of those that fit.
    count: usize,
    turn: usize,
}

impl<'a> SourceAddresses<'a> {
    /// Those of `upstream` for an attempt to connect to `address`.
    pub fn of(upstream: &Upstream, config: &'a UpstreamConfig, address: SocketAddr) -> Self {
        let all = &config.connect.source_addresses;
        let count = all.iter().filter(|ip| fits(ip, address)).count();
        let turn = if count > 0 {
            upstream.next_source_turn(address)
        } else {
            0
        };
        Self { all, count, turn }
    }

    /// Whether the config gives any of the endpoint's family.
    pub fn are_given(&self) -> bool {
        self.count > 0
    }

    /// Connects to `address` from the first one that has a port left. `prepare` sets the options of each socket.
    ///
    /// # Errors
    /// The error of the last connect(2), or of the system calls before it.
    pub async fn connect(
        self,
        address: SocketAddr,
        prepare: impl Fn(&Socket) -> io::Result<()>,
    ) -> Result<TcpStream, ConnectError> {
        let mut failed = None;
        for own in self.tries(address) {
            match connect_from(own, address, &prepare).await {
                Err(error) if error.outcome() == Outcome::NoLocalPort => failed = Some(error),
                result => return result,
            }
        }
        Err(failed.unwrap_or_else(|| io::Error::from_raw_os_error(libc::EADDRNOTAVAIL).into()))
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

async fn connect_from(
    own: Option<IpAddr>,
    address: SocketAddr,
    prepare: impl Fn(&Socket) -> io::Result<()>,
) -> Result<TcpStream, ConnectError> {
    let socket = socket::unconnected(address)?;
    prepare(&socket)?;
    if let Some(ip) = own {
        bind(&socket, ip).map_err(|error| ConnectError {
            error,
            source_address: own,
        })?;
    }
    Ok(socket::connect(socket, address).await?)
}

/// Binds the socket to `ip`, and leaves its port to connect(2).
fn bind(socket: &Socket, ip: IpAddr) -> io::Result<()> {
    socket::choose_port_at_connect(socket)?;
    socket.bind(&SocketAddr::new(ip, 0).into())
}

/// The reason why there is no connection.
#[derive(Debug)]
pub struct ConnectError {
    /// The kernel's error.
    pub error: io::Error,
    /// The address of `connect.source_addresses` that cannot be connected from, if that is the reason.
    pub source_address: Option<IpAddr>,
}

impl ConnectError {
    /// The outcome of a connection that fails for this reason.
    pub fn outcome(&self) -> Outcome {
        match self.source_address {
            Some(_) => Outcome::NoLocalPort,
            None => outcome_of_connect(&self.error),
        }
    }
}

impl From<io::Error> for ConnectError {
    fn from(error: io::Error) -> Self {
        Self {
            error,
            source_address: None,
        }
    }
}

impl fmt::Display for ConnectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let error = &self.error;
        match (self.source_address, error.raw_os_error()) {
            (Some(own), Some(libc::EADDRNOTAVAIL)) => write!(
                f,
                "this host does not have {own}, an address of connect.source_addresses"
            ),
            (Some(own), _) => write!(f, "{own}, an address of connect.source_addresses: {error}"),
            (None, _) => write!(f, "{error}"),
        }
    }
}

impl Error for ConnectError {}

/// The outcome of a connection whose last attempt has failed with `error`.
pub fn outcome_of_connect(error: &io::Error) -> Outcome {
    match error.raw_os_error() {
        Some(libc::ECONNREFUSED | libc::ECONNRESET) => Outcome::ConnectRefused,
        Some(libc::ETIMEDOUT) => Outcome::ConnectTimeout,
        // connect(2): every local port towards this endpoint is taken, many by TIME_WAIT.
        Some(libc::EADDRNOTAVAIL) => Outcome::NoLocalPort,
        Some(libc::EMFILE | libc::ENFILE | libc::ENOBUFS | libc::ENOMEM) => Outcome::Overloaded,
        _ => Outcome::ConnectUnreachable,
    }
}

/// Whether a connect has failed for this host's own shortage of ports or descriptors, which says nothing about the
/// endpoint.
pub fn is_own_shortage(outcome: Outcome) -> bool {
    matches!(outcome, Outcome::NoLocalPort | Outcome::Overloaded)
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
            let tries = SourceAddresses { all, count, turn }.tries(address);
            let tries: Vec<_> = tries.map(|own| own.unwrap().to_string()).collect();
            assert_eq!(tries, expected, "{address}, turn {turn}");
        }
        let none = SourceAddresses {
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
            let error = io::Error::from_raw_os_error(errno);
            assert_eq!(outcome_of_connect(&error), outcome);
        }
    }
}
