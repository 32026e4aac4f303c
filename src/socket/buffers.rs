//! The bounds on the memory that the kernel uses for one socket, and on its segments.

use std::io;
use std::os::fd::AsFd;

use socket2::SockRef;

/// The bounds on the kernel's memory for a socket and on its segments, in bytes; `None` leaves a size to the
/// kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct BufferOptions {
    /// The memory for sent bytes that are not acknowledged (SO_SNDBUF).
    pub send: Option<usize>,
    /// The memory for received bytes that are not read (SO_RCVBUF). It must be set before connect(2) or
    /// listen(2), since the handshake fixes the window's scale.
    pub receive: Option<usize>,
    /// The bytes that may wait beyond those that the network takes now (TCP_NOTSENT_LOWAT, tcp(7)).
    pub unsent: Option<usize>,
    /// The largest segment, in both directions (TCP_MAXSEG, tcp(7)). It must be set before connect(2) or listen(2),
    /// since the handshake announces it.
    pub segment: Option<u32>,
}

/// Sets `options`. Sockets accepted from a listening socket inherit them.
///
/// # Errors
/// Errors of setsockopt(2). A size above the host's limit (`net.core.wmem_max` and `rmem_max`) is no
/// error: the kernel uses its limit.
pub fn set_buffers(socket: &impl AsFd, options: &BufferOptions) -> io::Result<()> {
    let socket = SockRef::from(socket);
    // The kernel doubles the value for its own bookkeeping (socket(7)).
    if let Some(bytes) = options.send {
        socket.set_send_buffer_size(bytes / 2)?;
    }
    if let Some(bytes) = options.receive {
        socket.set_recv_buffer_size(bytes / 2)?;
    }
    if let Some(bytes) = options.unsent {
        socket.set_tcp_notsent_lowat(bytes.try_into().unwrap_or(u32::MAX))?;
    }
    if let Some(bytes) = options.segment {
        socket.set_tcp_mss(bytes)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::socket::{accept, unsent_bytes};
    use std::io::Write;
    use std::net::{TcpListener, TcpStream};

    const KIB: usize = 1024;

    #[test]
    fn accepted_sockets_inherit_the_bounds() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let options = BufferOptions {
            send: Some(64 * KIB),
            receive: Some(32 * KIB),
            unsent: Some(16 * KIB),
            segment: Some(600),
        };
        set_buffers(&listener, &options).unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        // The peer sends no larger segments either, options included.
        let of_the_peer = SockRef::from(&client).tcp_mss().unwrap();
        assert!((536..=600).contains(&of_the_peer), "{of_the_peer}");
        let (accepted, _) = accept(&listener).unwrap();
        let accepted = SockRef::from(&accepted);
        assert_eq!(accepted.send_buffer_size().unwrap(), 64 * KIB);
        assert_eq!(accepted.recv_buffer_size().unwrap(), 32 * KIB);
        assert_eq!(accepted.tcp_notsent_lowat().unwrap(), 16 * 1024);
    }

    /// A peer that never reads holds no more memory than is set, whatever the kernel would give.
    #[test]
    fn what_nobody_reads_is_bounded_by_what_may_wait() {
        const PIECE: usize = 16 * KIB;

        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (_server, _) = listener.accept().unwrap();
        let unsent = 64 * KIB;
        let options = BufferOptions {
            unsent: Some(unsent),
            ..BufferOptions::default()
        };
        set_buffers(&client, &options).unwrap();
        client.set_nonblocking(true).unwrap();
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
        // Writes until the peer's buffer is full and nothing has moved for a while.
        let mut quiet = 0;
        while quiet < 20 {
            assert!(
                std::time::Instant::now() < deadline,
                "it never stands still"
            );
            if client.write(&[7; PIECE]).is_ok_and(|written| written > 0) {
                quiet = 0;
            } else {
                quiet += 1;
                std::thread::sleep(std::time::Duration::from_millis(5));
            }
        }
        let waits = unsent_bytes(&client).unwrap();
        assert!(waits <= unsent + PIECE, "{waits}");
    }
}
