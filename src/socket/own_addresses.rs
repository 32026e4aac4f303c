//! The gateway's own listening addresses, so that no answer of discovery leads a connection back into
//! it.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use arc_swap::ArcSwap;
use socket2::{Domain, Socket, Type};

use super::canonical;

/// The gateway's own listening sockets. Clones share them, so every source sees the change of
/// [`OwnAddresses::replace`] after a reload at its next question.
///
/// A Service, node port, load balancer or other gateway that leads back to this one cannot be
/// recognised.
#[derive(Debug, Clone, Default)]
pub struct OwnAddresses(Arc<ArcSwap<Vec<SocketAddr>>>);

impl OwnAddresses {
    /// Creates them from the addresses that were really bound, with their ports.
    pub fn new(bound: Vec<SocketAddr>) -> Self {
        Self(Arc::new(ArcSwap::from_pointee(bound)))
    }

    /// Replaces the addresses for every clone.
    pub fn replace(&self, bound: Vec<SocketAddr>) {
        self.0.store(Arc::new(bound));
    }

    /// The sockets and interfaces at this moment. If a listener is bound to a wildcard, this reads the
    /// interfaces' addresses, since those come and go.
    pub fn now(&self) -> OwnListeners {
        OwnListeners::of(&self.0.load())
    }

    /// Whether a connection to `address` that was just made leads back into the gateway. `local`
    /// returns the connection's own address: to an address of its own host the kernel connects from
    /// that same address. So this also recognises an address that the host got a moment ago, and calls
    /// `local` only if the port matches.
    pub fn led_to(&self, address: SocketAddr, local: impl FnOnce() -> Option<IpAddr>) -> bool {
        let bound = self.0.load();
        let mut same_port = bound.iter().filter(|bound| bound.port() == address.port());
        let Some(first) = same_port.next() else {
            return false;
        };
        let address = canonical(address);
        let local: Vec<IpAddr> = local().map(|ip| ip.to_canonical()).into_iter().collect();
        let mut these = std::iter::once(first).chain(same_port);
        these.any(|bound| leads_to(canonical(*bound), &local, address))
    }
}

/// Whether a connection to `address` reaches a socket that listens on `bound` on a host with these
/// addresses. All are in canonical form.
pub fn leads_to(bound: SocketAddr, interfaces: &[IpAddr], address: SocketAddr) -> bool {
    let ip = address.ip();
    // Linux treats a connection to the unspecified address as one to loopback.
    let to_this_host = ip.is_loopback() || ip.is_unspecified();
    let reaches = match bound.ip() {
        bound if bound == ip => true,
        bound if bound.is_loopback() => ip.is_unspecified(),
        // `[::]` may be dual stack, so it includes IPv4 addresses.
        IpAddr::V6(bound) if bound.is_unspecified() => to_this_host || interfaces.contains(&ip),
        IpAddr::V4(bound) if bound.is_unspecified() => {
            ip.is_ipv4() && (to_this_host || interfaces.contains(&ip))
        }
        _ => false,
    };
    reaches && bound.port() == address.port()
}

/// Listening sockets together with the interface addresses that their wildcards include at one moment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OwnListeners {
    bound: Vec<SocketAddr>,
    /// Addresses of this host's interfaces; empty when no listener is bound to a wildcard.
    interfaces: Vec<IpAddr>,
}

impl OwnListeners {
    /// The sockets `bound` with the interfaces of this host at this moment.
    pub fn of(bound: &[SocketAddr]) -> Self {
        let bound: Vec<SocketAddr> = bound.iter().copied().map(canonical).collect();
        let interfaces = if bound.iter().any(|address| address.ip().is_unspecified()) {
            interface_addresses()
        } else {
            Vec::new()
        };
        Self { bound, interfaces }
    }

    /// Whether connecting to `address` (canonical) reaches one of them.
    pub fn contain(&self, address: SocketAddr) -> bool {
        let reaches = |bound: &SocketAddr| leads_to(*bound, &self.interfaces, address);
        self.bound.iter().any(reaches)
    }
}

/// The addresses of this host's interfaces; empty if they cannot be read.
pub fn interface_addresses() -> Vec<IpAddr> {
    match if_addrs::get_if_addrs() {
        Ok(interfaces) => interfaces.iter().map(if_addrs::Interface::ip).collect(),
        Err(error) => {
            tracing::debug!(%error, "strait cannot read the addresses of the interfaces: only loopback counts as this host's own");
            Vec::new()
        }
    }
}

/// Whether this host has the address: a socket can be bound to it.
pub fn is_own_address(ip: IpAddr) -> bool {
    let socket = Socket::new(
        Domain::for_address(SocketAddr::new(ip, 0)),
        Type::STREAM,
        None,
    );
    let bound = socket.and_then(|socket| socket.bind(&SocketAddr::new(ip, 0).into()));
    bound.is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn contain(bound: &str, address: &str) -> bool {
        OwnListeners::of(&[bound.parse().unwrap()]).contain(address.parse().unwrap())
    }

    #[test]
    fn a_bound_address_is_that_address_and_port() {
        assert!(contain("10.0.0.1:15443", "10.0.0.1:15443"));
        assert!(!contain("10.0.0.1:15443", "10.0.0.1:443"));
        assert!(!contain("10.0.0.1:15443", "10.0.0.2:15443"));
        assert!(contain("[::ffff:10.0.0.1]:15443", "10.0.0.1:15443"));
        assert!(contain("127.0.0.1:15443", "0.0.0.0:15443"));
    }

    #[test]
    fn a_wildcard_is_every_address_of_the_host() {
        for bound in ["0.0.0.0:15443", "[::]:15443"] {
            assert!(contain(bound, "127.0.0.1:15443"));
            assert!(contain(bound, "127.0.0.2:15443"));
            assert!(contain(bound, "0.0.0.0:15443"));
            assert!(!contain(bound, "127.0.0.1:443"));
            assert!(!contain(bound, "192.0.2.1:15443"));
            for ip in interface_addresses() {
                let address = SocketAddr::new(ip, 15443);
                let own = OwnListeners::of(&[bound.parse().unwrap()]);
                let reachable = ip.is_ipv4() || bound.starts_with('[');
                assert_eq!(own.contain(address), reachable, "{address} by {bound}");
            }
        }
        assert!(contain("[::]:15443", "[::1]:15443"));
        assert!(!contain("0.0.0.0:15443", "[::1]:15443"));
    }

    #[test]
    fn a_connection_that_was_made_shows_where_it_led() {
        let own = OwnAddresses::new(vec!["[::]:15443".parse().unwrap()]);
        let led_to = |address: &str, local: &str| {
            own.led_to(address.parse().unwrap(), || Some(local.parse().unwrap()))
        };
        assert!(led_to("10.9.9.9:15443", "10.9.9.9"));
        assert!(led_to("10.9.9.9:15443", "::ffff:10.9.9.9"));
        assert!(led_to("[fd00::9]:15443", "fd00::9"));
        assert!(led_to("127.0.0.2:15443", "127.0.0.1"));
        assert!(!led_to("10.9.9.9:15443", "10.9.9.8"));
        assert!(!led_to("10.9.9.9:8443", "10.9.9.9"));
        let unasked = || panic!("asked for a port that is not the gateway's");
        assert!(!own.led_to("10.9.9.9:8443".parse().unwrap(), unasked));
    }

    #[test]
    fn clones_see_a_replacement() {
        let own = OwnAddresses::new(Vec::new());
        let clone = own.clone();
        let address: SocketAddr = "10.0.0.1:15443".parse().unwrap();
        assert!(!clone.now().contain(address));
        own.replace(vec![address]);
        assert!(clone.now().contain(address));
    }
}
