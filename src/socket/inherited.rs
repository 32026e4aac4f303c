//! Listening sockets that another process has opened for this one: its predecessor, or systemd.

use std::fmt;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Mutex, MutexGuard, PoisonError};

use socket2::{Domain, SockRef, Socket, Type};

use super::{StreamOptions, bind_beside, bind_shared, canonical, local_address, sys};
use super::{ipv6_is_off, set_stream_options};

/// The first descriptor that systemd passes (sd_listen_fds(3)).
const FIRST_OF_SYSTEMD: i32 = 3;
/// The most descriptors that are taken from systemd.
const MOST_OF_SYSTEMD: u32 = 1024;

/// Listening sockets from another process, until a listener or a server takes them.
#[derive(Default)]
pub struct Inherited(Mutex<Vec<(SocketAddr, OwnedFd)>>);

impl fmt::Debug for Inherited {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.addresses()).finish()
    }
}

impl Inherited {
    /// The sockets that systemd has passed to this process (`LISTEN_PID`, `LISTEN_FDS`, sd_listen_fds(3)).
    /// Call this once, at the start of the process.
    ///
    /// # Errors
    /// A passed descriptor is not a TCP socket that listens.
    pub fn from_systemd() -> io::Result<Self> {
        let number = |name| std::env::var(name).ok()?.parse::<u32>().ok();
        let inherited = Self::default();
        if number("LISTEN_PID") != Some(std::process::id()) {
            return Ok(inherited);
        }
        let count = number("LISTEN_FDS").unwrap_or(0);
        let count = i32::try_from(count.min(MOST_OF_SYSTEMD)).map_err(io::Error::other)?;
        inherited.add(sys::passed_by_parent(
            FIRST_OF_SYSTEMD..FIRST_OF_SYSTEMD + count,
        )?)?;
        Ok(inherited)
    }

    /// Adds sockets. One that is there already, as another descriptor, is not added again.
    ///
    /// # Errors
    /// A descriptor is not a TCP socket that listens.
    pub fn add(&self, descriptors: Vec<OwnedFd>) -> io::Result<()> {
        let mut sockets = self.sockets();
        for descriptor in descriptors {
            let address = listening_on(&descriptor)?;
            let same = |other: &(SocketAddr, OwnedFd)| {
                other.0 == address && is_same(&other.1, &descriptor)
            };
            if !sockets.iter().any(same) {
                SockRef::from(&descriptor).set_nonblocking(true)?;
                sockets.push((address, descriptor));
            }
        }
        Ok(())
    }

    /// The addresses of the sockets that nothing has taken.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        let sockets = self.sockets();
        let mut addresses: Vec<SocketAddr> = sockets.iter().map(|(address, _)| *address).collect();
        addresses.dedup();
        addresses
    }

    /// Closes the sockets that nothing has taken. Returns their addresses.
    pub fn close(&self) -> Vec<SocketAddr> {
        let addresses = self.addresses();
        let mut sockets = self.sockets();
        sockets.clear();
        addresses
    }

    /// Takes the sockets that listen on `address`. `[::]` is `0.0.0.0` where IPv6 is off.
    pub fn take(&self, address: SocketAddr) -> Vec<OwnedFd> {
        let taken = self.take_exactly(address);
        let any = address.ip() == Ipv6Addr::UNSPECIFIED;
        if any && taken.is_empty() && !has_ipv6() {
            return self.take_exactly((Ipv4Addr::UNSPECIFIED, address.port()).into());
        }
        taken
    }

    fn sockets(&self) -> MutexGuard<'_, Vec<(SocketAddr, OwnedFd)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take_exactly(&self, address: SocketAddr) -> Vec<OwnedFd> {
        let mut sockets = self.sockets();
        let (taken, rest): (Vec<_>, Vec<_>) = std::mem::take(&mut *sockets)
            .into_iter()
            .partition(|(other, _)| *other == address);
        *sockets = rest;
        taken.into_iter().map(|(_, socket)| socket).collect()
    }

    /// The sockets to accept on at `address`: those that another process has opened, otherwise `count` new
    /// ones. With `beside_own`, sockets of this process share the port, and go in a moment.
    ///
    /// # Errors
    /// As [`bind_shared`].
    pub fn take_or_bind(
        &self,
        address: SocketAddr,
        count: usize,
        options: &StreamOptions,
        beside_own: bool,
    ) -> io::Result<Vec<OwnedFd>> {
        let taken = self.take(address);
        if taken.is_empty() {
            let mut untaken = self.addresses().into_iter();
            let beside = beside_own || untaken.any(|other| overlap(other, address));
            let bind = if beside { bind_beside } else { bind_shared };
            return bind(address, count, options);
        }
        for socket in &taken {
            set_stream_options(socket, options)?;
        }
        Ok(taken)
    }
}

/// Whether a socket on one address may get connections to the other one: they have one port, and are equal or
/// one of them stands for every address.
pub fn overlap(one: SocketAddr, other: SocketAddr) -> bool {
    let (one, other) = (canonical(one), canonical(other));
    let any = one.ip().is_unspecified() || other.ip().is_unspecified();
    one.port() == other.port() && one.port() != 0 && (any || one.ip() == other.ip())
}

/// The address on which a TCP socket listens.
fn listening_on(socket: &OwnedFd) -> io::Result<SocketAddr> {
    let listens = || {
        let socket = SockRef::from(socket);
        Ok::<_, io::Error>(socket.r#type()? == Type::STREAM && socket.is_listener()?)
    };
    match (listens(), local_address(socket)) {
        (Ok(true), Ok(address)) => Ok(address),
        _ => Err(io::Error::other(
            "a descriptor from another process is not a TCP socket that listens",
        )),
    }
}

/// Whether two descriptors are one socket.
fn is_same(one: &impl AsFd, other: &impl AsFd) -> bool {
    let number = |socket: &dyn AsFd| {
        let stat = rustix::fs::fstat(socket).ok()?;
        Some((stat.st_dev, stat.st_ino))
    };
    let first = number(one);
    first.is_some() && first == number(other)
}

fn has_ipv6() -> bool {
    let any = SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0));
    let socket = Socket::new(Domain::IPV6, Type::STREAM, None);
    match socket.and_then(|socket| socket.bind(&any.into())) {
        Ok(()) => true,
        Err(error) => !ipv6_is_off(&error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;
    use std::net::TcpListener;

    fn listening(address: &str) -> (SocketAddr, TcpListener) {
        let listener = TcpListener::bind(address).unwrap();
        (listener.local_addr().unwrap(), listener)
    }

    #[test]
    fn a_socket_goes_to_the_one_that_asks_for_its_address_and_only_once() {
        let (address, listener) = listening("127.0.0.1:0");
        let twin = listener.try_clone().unwrap();
        let (other, second) = listening("127.0.0.1:0");
        let inherited = Inherited::default();
        inherited
            .add(vec![listener.into(), twin.into(), second.into()])
            .unwrap();
        assert_eq!(
            inherited.take(address).len(),
            1,
            "a twin is the same socket"
        );
        assert!(inherited.take(address).is_empty());
        assert_eq!(inherited.close(), [other]);
        assert!(inherited.addresses().is_empty());
    }

    #[test]
    fn what_does_not_listen_is_refused() {
        let file = File::open("/proc/self/exe").unwrap();
        let (address, listener) = listening("127.0.0.1:0");
        let connected = std::net::TcpStream::connect(address).unwrap();
        drop(listener);
        let udp = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        for descriptor in [file.into(), connected.into(), udp.into()] {
            let inherited = Inherited::default();
            let error = inherited.add(vec![descriptor]).unwrap_err().to_string();
            assert!(error.contains("TCP socket that listens"), "{error}");
        }
    }

    #[test]
    fn addresses_overlap_if_one_connection_could_reach_both() {
        for (one, other, expected) in [
            ("0.0.0.0:1", "127.0.0.1:1", true),
            ("[::]:1", "127.0.0.1:1", true),
            ("[::]:1", "0.0.0.0:1", true),
            ("[::ffff:127.0.0.1]:1", "127.0.0.1:1", true),
            ("127.0.0.1:1", "127.0.0.2:1", false),
            ("0.0.0.0:1", "127.0.0.1:2", false),
            ("0.0.0.0:0", "127.0.0.1:0", false),
        ] {
            let (one, other) = (one.parse().unwrap(), other.parse().unwrap());
            assert_eq!(overlap(one, other), expected, "{one} {other}");
            assert_eq!(overlap(other, one), expected, "{other} {one}");
        }
    }
}
