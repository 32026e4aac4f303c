//! System calls that no safe crate offers. This is the only module with `unsafe`.
#![expect(
    unsafe_code,
    reason = "SIOCOUTQ, TCP_INFO, TCP_RTO_MAX_MS, IP_BIND_ADDRESS_NO_PORT, tokio's registration of a descriptor and descriptors from the parent have no safe wrapper"
)]

use std::io;
use std::mem::MaybeUninit;
use std::ops::Range;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::sync::Arc;
use std::time::Duration;

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// Registers a listening socket with the runtime of this thread.
///
/// # Errors
/// Errors of epoll_ctl(2).
pub fn register_listener(socket: Arc<OwnedFd>) -> io::Result<AsyncFd<Arc<OwnedFd>>> {
    // SAFETY: an `OwnedFd` names one descriptor and keeps it open as long as it lives, as the
    // registration demands, and the `Arc` keeps it alive.
    let registered = unsafe { AsyncFd::register_with_interest(socket, Interest::READABLE) };
    Ok(registered?)
}

/// Descriptors that the parent has left open for this process, by number. They close when this process starts
/// another program.
///
/// # Errors
/// Errors of fcntl(2): no descriptor has that number.
pub(super) fn passed_by_parent(numbers: Range<RawFd>) -> io::Result<Vec<OwnedFd>> {
    let take = |number: RawFd| {
        // SAFETY: fcntl(2) with F_SETFD reads and writes no memory, and fails for a number that is not open.
        let result = unsafe { libc::fcntl(number, libc::F_SETFD, libc::FD_CLOEXEC) };
        if result == -1 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the number is open, as the call above shows. The protocol of the parent (sd_listen_fds(3))
        // gives it to this process, which asks once and before it opens anything else.
        Ok(unsafe { OwnedFd::from_raw_fd(number) })
    };
    numbers.map(take).collect()
}

/// Has bind(2) leave the choice of a port to connect(2) (IP_BIND_ADDRESS_NO_PORT, ip(7)), where a port is free as
/// long as no other socket has it towards the same endpoint. The option holds for IPv6 too.
///
/// # Errors
/// Errors of setsockopt(2).
pub fn choose_port_at_connect(socket: &impl AsFd) -> io::Result<()> {
    let (level, option) = (libc::IPPROTO_IP, libc::IP_BIND_ADDRESS_NO_PORT);
    let yes: libc::c_int = 1;
    let length = libc::socklen_t::try_from(size_of_val(&yes)).map_err(io::Error::other)?;
    let descriptor = socket.as_fd().as_raw_fd();
    // SAFETY: the descriptor is open as long as `socket` is borrowed, and setsockopt(2) reads `length` bytes
    // through a pointer to an int of that size.
    let result =
        unsafe { libc::setsockopt(descriptor, level, option, (&raw const yes).cast(), length) };
    match result {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Bytes written to a TCP socket that its peer has not acknowledged yet (SIOCOUTQ, tcp(7)).
///
/// # Errors
/// Errors of ioctl(2): not a TCP socket, or one that listens.
pub fn unsent_bytes(socket: &impl AsFd) -> io::Result<usize> {
    let descriptor = socket.as_fd().as_raw_fd();
    let mut bytes: libc::c_int = 0;
    // SAFETY: the descriptor is open as long as `socket` is borrowed, and SIOCOUTQ (the same number
    // as TIOCOUTQ) writes one int through a pointer that is valid for that.
    let result = unsafe { libc::ioctl(descriptor, libc::TIOCOUTQ, &raw mut bytes) };
    if result == -1 {
        return Err(io::Error::last_os_error());
    }
    usize::try_from(bytes).map_err(io::Error::other)
}

/// From linux/tcp.h, since Linux 6.15. libc does not have it yet.
const TCP_RTO_MAX_MS: libc::c_int = 44;

/// Asks the kernel about a TCP connection (TCP_INFO, tcp(7)). Fields that an older kernel does not know
/// are 0.
///
/// # Errors
/// Errors of getsockopt(2).
pub(super) fn tcp_info(socket: &impl AsFd) -> io::Result<libc::tcp_info> {
    let descriptor = socket.as_fd().as_raw_fd();
    let mut info = MaybeUninit::<libc::tcp_info>::zeroed();
    let mut length = length_of::<libc::tcp_info>();
    // SAFETY: the descriptor is open as long as `socket` is borrowed, and the kernel writes at most
    // `length` bytes, which is the size of the target of the pointer.
    let result = unsafe {
        libc::getsockopt(
            descriptor,
            libc::IPPROTO_TCP,
            libc::TCP_INFO,
            info.as_mut_ptr().cast(),
            &raw mut length,
        )
    };
    if result == -1 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the struct contains only integers, for which all bits zero is a value.
    Ok(unsafe { info.assume_init() })
}

/// Bounds the time between two retransmissions, or two probes of a shut window, at 1 s to 120 s.
///
/// # Errors
/// Errors of setsockopt(2); ENOPROTOOPT before Linux 6.15.
pub(super) fn set_longest_retry(socket: &impl AsFd, longest: Duration) -> io::Result<()> {
    let descriptor = socket.as_fd().as_raw_fd();
    let milliseconds: libc::c_int = longest.as_millis().try_into().map_err(io::Error::other)?;
    // SAFETY: the descriptor is open as long as `socket` is borrowed, and the kernel reads one int
    // through a pointer that is valid for that.
    let result = unsafe {
        libc::setsockopt(
            descriptor,
            libc::IPPROTO_TCP,
            TCP_RTO_MAX_MS,
            (&raw const milliseconds).cast(),
            length_of::<libc::c_int>(),
        )
    };
    if result == -1 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// The size of a `T` as system calls take it.
#[expect(
    clippy::cast_possible_truncation,
    reason = "a few hundred bytes at most"
)]
const fn length_of<T>() -> libc::socklen_t {
    size_of::<T>() as libc::socklen_t
}

#[cfg(test)]
mod tests {
    use super::unsent_bytes;
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream};

    #[test]
    fn counts_what_the_peer_has_not_acknowledged() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (mut server, _) = listener.accept().unwrap();
        client.set_nonblocking(true).unwrap();
        let mut written = 0;
        while let Ok(count) = client.write(&[0; 65536]) {
            written += count;
        }
        assert!(unsent_bytes(&client).unwrap() > 0);
        let mut received = vec![0; written];
        server.read_exact(&mut received).unwrap();
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(5);
        while unsent_bytes(&client).unwrap() > 0 {
            assert!(std::time::Instant::now() < deadline, "never acknowledged");
        }
    }
}
