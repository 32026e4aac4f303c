//! What the gateway itself listens on, so that no answer leads a connection back into it.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use arc_swap::ArcSwap;

/// The gateway's own listening sockets. Clones share them, so that what [`OwnAddresses::replace`]
/// says after a reload is seen by every source at its next question.
///
/// A Service, node port or load balancer that leads back to the gateway is not known here and not
/// recognised.
#[derive(Debug, Clone)]
pub struct OwnAddresses(Arc<ArcSwap<Vec<SocketAddr>>>);

impl OwnAddresses {
    /// `bound`: the addresses as they were really bound, ports resolved.
    pub fn new(bound: Vec<SocketAddr>) -> Self {
        Self(Arc::new(ArcSwap::from_pointee(bound)))
    }

    /// Takes the place of what was known, for every clone.
    pub fn replace(&self, bound: Vec<SocketAddr>) {
        self.0.store(Arc::new(bound));
    }

    /// What they stand for at this moment. Reads the interfaces' addresses if a listener is bound to
    /// a wildcard, since those come and go.
    pub fn now(&self) -> OwnListeners {
        OwnListeners::of(&self.0.load())
    }
}

/// Listening sockets with the interface addresses that wildcards stood for at one moment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OwnListeners {
    bound: Vec<SocketAddr>,
    /// Addresses of this host's interfaces; empty when no listener is bound to a wildcard.
    interfaces: Vec<IpAddr>,
}

impl OwnListeners {
    /// `bound` as this host's interfaces are now.
    pub fn of(bound: &[SocketAddr]) -> Self {
        let canonical =
            |address: &SocketAddr| SocketAddr::new(address.ip().to_canonical(), address.port());
        let bound: Vec<SocketAddr> = bound.iter().map(canonical).collect();
        let interfaces = if bound.iter().any(|address| address.ip().is_unspecified()) {
            interface_addresses()
        } else {
            Vec::new()
        };
        Self { bound, interfaces }
    }

    /// Whether connecting to `address` (canonical) reaches one of them.
    pub fn contain(&self, address: SocketAddr) -> bool {
        self.bound
            .iter()
            .any(|bound| bound.port() == address.port() && self.reaches(bound.ip(), address.ip()))
    }

    fn reaches(&self, bound: IpAddr, ip: IpAddr) -> bool {
        // Linux takes a connection to the unspecified address to be one to loopback.
        let to_this_host = ip.is_loopback() || ip.is_unspecified();
        match bound {
            _ if bound == ip => true,
            _ if bound.is_loopback() => ip.is_unspecified(),
            // `[::]` may be dual stack, so it stands for IPv4 addresses too.
            IpAddr::V6(_) if bound.is_unspecified() => {
                to_this_host || self.interfaces.contains(&ip)
            }
            IpAddr::V4(_) if bound.is_unspecified() => {
                ip.is_ipv4() && (to_this_host || self.interfaces.contains(&ip))
            }
            _ => false,
        }
    }
}

fn interface_addresses() -> Vec<IpAddr> {
    match if_addrs::get_if_addrs() {
        Ok(interfaces) => interfaces.iter().map(if_addrs::Interface::ip).collect(),
        Err(error) => {
            tracing::debug!(%error, "the interfaces' addresses cannot be read: only loopback counts as this host's own");
            Vec::new()
        }
    }
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
    fn clones_see_a_replacement() {
        let own = OwnAddresses::new(Vec::new());
        let clone = own.clone();
        let address: SocketAddr = "10.0.0.1:15443".parse().unwrap();
        assert!(!clone.now().contain(address));
        own.replace(vec![address]);
        assert!(clone.now().contain(address));
    }
}
