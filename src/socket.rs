//! Sockets: binding, options, and the system calls of traffic.
//!
//! It follows the rules of `docs/src/internals/kernel.md`: listening sockets carry the options that
//! accepted sockets inherit, every worker has its own `SO_REUSEPORT` member, and accepting goes through
//! one raw `accept4`.

mod answers;
mod buffers;
mod inherited;
mod kernel;
mod own_addresses;
mod passing;
mod pipe;
mod sys;

use std::io;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpListener, TcpStream};
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use rustix::net::SocketFlags;
use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};
use tokio::io::Interest;
use tokio::net::TcpSocket;

pub use answers::{Answers, answers};
pub use buffers::{BufferOptions, set_buffers};
pub use inherited::{Inherited, overlap};
pub use kernel::{KernelReport, raise_file_limit};
pub use own_addresses::{
    OwnAddresses, OwnListeners, interface_addresses, is_own_address, leads_to,
};
pub use passing::{PASSED_AT_ONCE, pass, receive_passed};
pub use pipe::Pipe;
pub use sys::{choose_port_at_connect, register_listener, unsent_bytes};

/// The number of connections that may wait for accept. The kernel lowers it to `net.core.somaxconn`.
const BACKLOG: i32 = 4096;

/// Options of a socket that carries traffic. Durations of at least one second; the kernel counts
/// keepalive in whole seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StreamOptions {
    /// Idle time before the first keepalive probe.
    pub keepalive_time: Duration,
    /// The time between probes.
    pub keepalive_interval: Duration,
    /// The number of unanswered probes after which the peer counts as dead.
    pub keepalive_probes: u32,
    /// The time for which a peer may leave sent data unacknowledged. It is not a kernel option:
    /// TCP_USER_TIMEOUT also ends a living peer with a shut window, and makes keepalive ignore its
    /// count (tcp(7)).
    pub user_timeout: Duration,
    /// The memory that the kernel may use for the socket.
    pub buffers: BufferOptions,
}

/// The longest time between two retransmissions, or two probes of a shut window (TCP_RTO_MAX).
const LONGEST_RETRY: Duration = Duration::from_secs(120);

/// Sets `options` and TCP_NODELAY. Sockets accepted from a listening socket inherit them.
///
/// # Errors
/// Errors of setsockopt(2).
pub fn set_stream_options(socket: &impl AsFd, options: &StreamOptions) -> io::Result<()> {
    set_nodelay(socket)?;
    set_buffers(socket, &options.buffers)?;
    set_liveness_options(socket, options)
}

/// A socket to connect to `address` with.
///
/// # Errors
/// Those of socket(2).
pub fn for_connecting(address: SocketAddr) -> io::Result<TcpSocket> {
    match address {
        SocketAddr::V4(_) => TcpSocket::new_v4(),
        SocketAddr::V6(_) => TcpSocket::new_v6(),
    }
}

/// A socket of the kernel's, to connect to `address` with by [`connect`].
///
/// # Errors
/// Those of socket(2).
pub fn unconnected(address: SocketAddr) -> io::Result<Socket> {
    let domain = Domain::for_address(address);
    Socket::new(domain, Type::STREAM.nonblocking(), Some(Protocol::TCP))
}

/// Connects `socket`, which is non-blocking, to `address`. Unlike [`TcpSocket::connect`], it asks the socket for an
/// error only if epoll reports one, which saves a system call for each connection.
///
/// # Errors
/// The reason why there is no connection.
pub async fn connect(socket: Socket, address: SocketAddr) -> io::Result<tokio::net::TcpStream> {
    match socket.connect(&address.into()) {
        Err(error) if error.raw_os_error() != Some(libc::EINPROGRESS) => return Err(error),
        // An unconnected socket must not be registered: epoll would report it as hung up.
        Ok(()) | Err(_) => {}
    }
    let stream = tokio::net::TcpStream::from_std(socket.into())?;
    let ready = stream.ready(Interest::WRITABLE | Interest::ERROR).await?;
    if (ready.is_error() || ready.is_write_closed())
        && let Some(error) = stream.take_error()?
    {
        return Err(error);
    }
    Ok(stream)
}

/// Sends small messages at once.
///
/// # Errors
/// Errors of setsockopt(2).
pub fn set_nodelay(socket: &impl AsFd) -> io::Result<()> {
    SockRef::from(socket).set_tcp_nodelay(true)
}

/// Sets the options by which the kernel finds that a peer is gone, in four system calls: keepalive for
/// a socket without unacknowledged data, and a bound on the time between retransmissions for one with
/// such data.
///
/// # Errors
/// Errors of setsockopt(2).
pub fn set_liveness_options(socket: &impl AsFd, options: &StreamOptions) -> io::Result<()> {
    let keepalive = TcpKeepalive::new()
        .with_time(options.keepalive_time)
        .with_interval(options.keepalive_interval)
        .with_retries(options.keepalive_probes);
    SockRef::from(socket).set_tcp_keepalive(&keepalive)?;
    if options.user_timeout < LONGEST_RETRY {
        match sys::set_longest_retry(socket, options.user_timeout) {
            // Before Linux 6.15 the kernel asks less often, so a dead peer with a shut window is found
            // later.
            Err(error) if error.raw_os_error() == Some(libc::ENOPROTOOPT) => {}
            result => return result,
        }
    }
    Ok(())
}

/// Binds one listening socket for the admin servers. `[::]` means both families, and `0.0.0.0` where
/// IPv6 is off.
///
/// # Errors
/// Errors of socket(2), bind(2) and listen(2).
pub fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = bound(address, false)?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// Limits the bytes that the kernel keeps until the peer acknowledges them. The kernel uses twice the
/// value (socket(7)).
///
/// # Errors
/// Errors of setsockopt(2).
pub fn limit_send_buffer(socket: &impl AsFd, bytes: usize) -> io::Result<()> {
    SockRef::from(socket).set_send_buffer_size(bytes)
}

/// Binds `count` listening sockets to one address. The kernel spreads new connections over them
/// (SO_REUSEPORT). Port 0 is resolved once, for all of them.
///
/// # Errors
/// Errors of socket(2), bind(2) and listen(2). An address on which another process listens is an error
/// even if that process would share it.
pub fn bind_shared(
    address: SocketAddr,
    count: usize,
    options: &StreamOptions,
) -> io::Result<Vec<OwnedFd>> {
    // With SO_REUSEPORT alone, a second strait started by mistake would silently share the port. A bind
    // without the option fails when any other process has the address.
    let probe = bound(address, false)?;
    let address = match probe.local_addr()?.as_socket() {
        Some(resolved) => resolved,
        None => address,
    };
    drop(probe);
    let sockets = bind_beside(address, count, options)?;
    sockets.iter().try_for_each(listen)?;
    Ok(sockets)
}

/// As [`bind_shared`], beside sockets of this process, or of its predecessor, that share the port and go in a
/// moment. The sockets get connections only after [`listen`]: those that go still serve the port.
///
/// # Errors
/// Errors of socket(2) and bind(2).
pub fn bind_beside(
    address: SocketAddr,
    count: usize,
    options: &StreamOptions,
) -> io::Result<Vec<OwnedFd>> {
    // All members are bound before any listens, since a listening member gets connections at once.
    let sockets: Vec<Socket> = (0..count)
        .map(|_| bound(address, true))
        .collect::<io::Result<_>>()?;
    for socket in &sockets {
        set_stream_options(socket, options)?;
    }
    Ok(sockets.into_iter().map(OwnedFd::from).collect())
}

/// Makes a socket accept connections. One that does so already goes on.
///
/// # Errors
/// Errors of listen(2).
pub fn listen(socket: &OwnedFd) -> io::Result<()> {
    SockRef::from(socket).listen(BACKLOG)
}

fn bound(address: SocketAddr, shared: bool) -> io::Result<Socket> {
    let open = |address: SocketAddr| {
        let domain = Domain::for_address(address);
        let socket = Socket::new(domain, Type::STREAM.nonblocking(), Some(Protocol::TCP))?;
        if address.is_ipv6() {
            socket.set_only_v6(!address.ip().is_unspecified())?;
        }
        socket.set_reuse_address(true)?;
        socket.set_reuse_port(shared)?;
        socket.bind(&address.into())?;
        Ok(socket)
    };
    match open(address) {
        Err(error) if ipv6_is_off(&error) && address.is_ipv6() && address.ip().is_unspecified() => {
            open(SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, address.port()).into())
        }
        result => result,
    }
}

/// Whether IPv6 is off. EAFNOSUPPORT: the kernel has no IPv6. EADDRNOTAVAIL on `[::]`: a sysctl
/// switched it off.
fn ipv6_is_off(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::EAFNOSUPPORT | libc::EADDRNOTAVAIL)
    )
}

/// The address that a listening socket is bound to.
///
/// # Errors
/// Errors of getsockname(2).
pub fn local_address(socket: &impl AsFd) -> io::Result<SocketAddr> {
    let address = SockRef::from(socket).local_addr()?;
    address
        .as_socket()
        .ok_or_else(|| io::Error::other("not an internet socket"))
}

/// Accepts one connection from a listening socket. The same call makes it non-blocking and
/// close-on-exec. The peer's address is in canonical form (an IPv4 peer of a dual-stack socket is
/// IPv4).
///
/// # Errors
/// Errors of accept4(2); `WouldBlock` when no connection waits.
pub fn accept(listener: &impl AsFd) -> io::Result<(TcpStream, SocketAddr)> {
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let (socket, peer) = rustix::net::acceptfrom_with(listener, flags)?;
    let peer = peer
        .and_then(|peer| SocketAddr::try_from(peer).ok())
        .ok_or_else(|| io::Error::from(io::ErrorKind::ConnectionAborted))?;
    // The scope of a link-local address says through which interface it came, not who it is.
    let peer = SocketAddr::new(peer.ip(), peer.port());
    Ok((TcpStream::from(socket), canonical(peer)))
}

/// An IPv4 address in its v6-mapped form as the IPv4 address that it is: `::ffff:1.2.3.4` is `1.2.3.4`,
/// so that one address has one spelling. The scope of a link-local address stays.
pub fn canonical(address: SocketAddr) -> SocketAddr {
    match address.ip().to_canonical() {
        ip if ip == address.ip() => address,
        ip => SocketAddr::new(ip, address.port()),
    }
}

/// Makes the next close send RST instead of FIN and drop unsent bytes.
///
/// # Errors
/// Errors of setsockopt(2).
pub fn reset_on_close(socket: &impl AsFd) -> io::Result<()> {
    SockRef::from(socket).set_linger(Some(Duration::ZERO))
}

/// Takes the pending error of a socket (SO_ERROR).
pub fn pending_error(socket: &impl AsFd) -> Option<io::Error> {
    SockRef::from(socket).take_error().ok().flatten()
}

/// Reads without consuming (MSG_PEEK).
///
/// # Errors
/// Errors of recv(2); `WouldBlock` when there are no bytes.
pub fn peek(socket: &impl AsFd, buffer: &mut [u8]) -> io::Result<usize> {
    let (length, _) = rustix::net::recv(socket, buffer, rustix::net::RecvFlags::PEEK)?;
    Ok(length)
}

/// Whether an urgent byte has come that reading has not passed yet. A read stops before it, as if nothing were behind
/// it, and the next one skips it.
pub fn has_urgent_byte(socket: &impl AsFd) -> bool {
    let flags = rustix::net::RecvFlags::OOB | rustix::net::RecvFlags::PEEK;
    rustix::net::recv(socket, &mut [0_u8; 1], flags).is_ok()
}

/// Reads.
///
/// # Errors
/// Errors of read(2); `WouldBlock` when there are no bytes.
pub fn read(socket: &impl AsFd, buffer: &mut [u8]) -> io::Result<usize> {
    Ok(rustix::io::read(socket, buffer)?)
}

/// Writes, without SIGPIPE.
///
/// # Errors
/// Errors of send(2); `WouldBlock` when the socket's buffer is full.
pub fn write(socket: &impl AsFd, bytes: &[u8]) -> io::Result<usize> {
    let flags = rustix::net::SendFlags::NOSIGNAL;
    Ok(rustix::net::send(socket, bytes, flags)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    const OPTIONS: StreamOptions = StreamOptions {
        keepalive_time: Duration::from_secs(61),
        keepalive_interval: Duration::from_secs(11),
        keepalive_probes: 7,
        user_timeout: Duration::from_secs(121),
        buffers: BufferOptions {
            send: None,
            receive: None,
            unsent: None,
            segment: None,
        },
    };

    fn loopback() -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], 0))
    }

    #[test]
    fn accepted_sockets_inherit_the_options() {
        let sockets = bind_shared(loopback(), 1, &OPTIONS).unwrap();
        let address = local_address(&sockets[0]).unwrap();
        let _client = TcpStream::connect(address).unwrap();
        let (accepted, _) = accept(&sockets[0]).unwrap();
        let accepted = SockRef::from(&accepted);
        assert!(accepted.tcp_nodelay().unwrap());
        assert!(accepted.nonblocking().unwrap());
        assert!(accepted.keepalive().unwrap());
        assert_eq!(
            accepted.tcp_keepalive_time().unwrap(),
            OPTIONS.keepalive_time
        );
        assert_eq!(
            accepted.tcp_keepalive_interval().unwrap(),
            OPTIONS.keepalive_interval
        );
        assert_eq!(
            accepted.tcp_keepalive_retries().unwrap(),
            OPTIONS.keepalive_probes
        );
        // It would replace the count of probes.
        assert_eq!(accepted.tcp_user_timeout().unwrap(), None);
    }

    #[test]
    fn a_port_that_is_taken_is_an_error_even_when_it_could_be_shared() {
        let first = bind_shared(loopback(), 2, &OPTIONS).unwrap();
        let address = local_address(&first[0]).unwrap();
        assert_eq!(local_address(&first[1]).unwrap(), address);
        let error = bind_shared(address, 1, &OPTIONS).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
    }

    #[test]
    fn a_connection_is_made_and_a_refusal_is_told() {
        let runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = { runtime }.enable_io().build().unwrap();
        let listener = TcpListener::bind(loopback()).unwrap();
        let address = listener.local_addr().unwrap();
        let socket = unconnected(address).unwrap();
        let stream = runtime.block_on(connect(socket, address)).unwrap();
        assert_eq!(stream.peer_addr().unwrap(), address);
        // It is bound, so that nobody else has the port, and does not listen.
        let closed = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        closed.bind(&loopback().into()).unwrap();
        let address = local_address(&closed).unwrap();
        let socket = unconnected(address).unwrap();
        let error = runtime.block_on(connect(socket, address)).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
    }

    #[test]
    fn an_ipv4_peer_of_a_dual_stack_socket_is_ipv4() {
        let any = SocketAddr::from(([0u16; 8], 0));
        let sockets = bind_shared(any, 1, &OPTIONS).unwrap();
        let port = local_address(&sockets[0]).unwrap().port();
        let client = TcpStream::connect(("127.0.0.1", port)).unwrap();
        let (_, peer) = accept(&sockets[0]).unwrap();
        assert_eq!(peer, client.local_addr().unwrap());
    }
}
