//! Servers to stand behind the gateway, each good or bad in one way.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use socket2::{Domain, SockRef, Socket, Type};

use super::DEADLINE;
use super::faults::ClosedPort;

/// A server that treats every connection the same way, each on a thread of its own. Its threads end
/// with their connections.
pub struct Server {
    /// The address that it listens on.
    pub address: SocketAddr,
    connections: Arc<AtomicUsize>,
    listener: TcpListener,
}

impl Server {
    /// A server that does `serve` with each connection.
    pub fn start(serve: impl Fn(TcpStream) + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let connections = Arc::new(AtomicUsize::new(0));
        let serve = Arc::new(serve);
        let (accepting, counting) = (listener.try_clone().unwrap(), connections.clone());
        std::thread::spawn(move || {
            while let Ok((stream, _)) = accepting.accept() {
                counting.fetch_add(1, Ordering::Relaxed);
                with_deadlines(&stream);
                let serve = serve.clone();
                std::thread::spawn(move || serve(stream));
            }
        });
        Self {
            address,
            connections,
            listener,
        }
    }

    /// Sends back what comes, and closes when the client does.
    pub fn echo() -> Self {
        Self::start(|mut stream| {
            let mut reader = stream.try_clone().unwrap();
            let _ = io::copy(&mut reader, &mut stream);
            let _ = stream.shutdown(Shutdown::Write);
        })
    }

    /// Hands each connection to the test.
    pub fn handing_over() -> (Self, Receiver<TcpStream>) {
        let (sender, receiver): (Sender<TcpStream>, _) = channel();
        let server = Self::start(move |stream| {
            let _ = sender.send(stream);
        });
        (server, receiver)
    }

    /// Number of connections that it has accepted.
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Wakes accept(2), which then fails.
        let _ = SockRef::from(&self.listener).shutdown(Shutdown::Both);
    }
}

/// An address at which nobody listens, as long as this process lives.
pub fn refusing_address() -> SocketAddr {
    let closed = ClosedPort::reserve();
    let address = closed.address;
    // A port given back is soon another test's listener.
    closed.keep();
    address
}

/// An address that takes no connection and answers nothing: its accept queue is full, so the kernel
/// drops every further SYN.
pub struct BlackHole {
    /// The address.
    pub address: SocketAddr,
    _listener: Socket,
    _queued: Vec<TcpStream>,
}

impl BlackHole {
    /// Digs one.
    pub fn dig() -> Self {
        let listener = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        listener
            .bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into())
            .unwrap();
        listener.listen(0).unwrap();
        let address = listener.local_addr().unwrap().as_socket().unwrap();
        // Without a backlog one connection is taken, however long that takes on this machine.
        let mut queued = vec![TcpStream::connect_timeout(&address, DEADLINE).unwrap()];
        let patience = Duration::from_millis(200);
        while let Ok(stream) = TcpStream::connect_timeout(&address, patience) {
            queued.push(stream);
            assert!(queued.len() < 100, "the accept queue never fills");
        }
        Self {
            address,
            _listener: listener,
            _queued: queued,
        }
    }
}

/// No read or write of a test blocks for ever.
pub fn with_deadlines(stream: &TcpStream) {
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    stream.set_write_timeout(Some(DEADLINE)).unwrap();
    stream.set_nodelay(true).unwrap();
}

/// Closes with RST.
#[expect(clippy::needless_pass_by_value, reason = "it is closed here")]
pub fn reset(stream: TcpStream) {
    SockRef::from(&stream)
        .set_linger(Some(Duration::ZERO))
        .unwrap();
}

/// Reads exactly `length` bytes.
#[track_caller]
pub fn read_exactly(stream: &mut TcpStream, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    let mut filled = 0;
    while filled < length {
        match stream.read(&mut bytes[filled..]) {
            Ok(0) => panic!("EOF after {filled} of {length} bytes"),
            Ok(read) => filled += read,
            Err(error) => panic!("{error} after {filled} of {length} bytes"),
        }
    }
    bytes
}

/// Takes the hello off the server's end, and has it answer, so that the relay is under way: with a record of
/// TLS that is no handshake which the gateway knows. The client takes the answer off.
#[track_caller]
pub fn answer_hello(upstream: &mut TcpStream, client: &mut TcpStream, hello: usize) {
    read_exactly(upstream, hello);
    upstream.write_all(&ANSWER).unwrap();
    read_exactly(client, ANSWER.len());
}

/// The answer of [`answer_hello`]: a record with an empty ClientHello (RFC 8446 sections 5.1 and 4).
pub const ANSWER: [u8; 9] = [22, 3, 3, 0, 4, 1, 0, 0, 0];

/// Everything until EOF.
#[track_caller]
pub fn read_to_eof(stream: &mut TcpStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    if let Err(error) = stream.read_to_end(&mut bytes) {
        panic!("{error} after {} bytes", bytes.len());
    }
    bytes
}

/// The bytes read, and the error that ended the read; `None` for EOF.
pub fn read_to_error(stream: &mut TcpStream) -> (Vec<u8>, Option<io::ErrorKind>) {
    let mut bytes = Vec::new();
    let error = stream.read_to_end(&mut bytes).err();
    (bytes, error.map(|error| error.kind()))
}

/// Writes all of `bytes` from another thread, so that this one can read.
pub fn write_beside(stream: &TcpStream, bytes: Vec<u8>) -> std::thread::JoinHandle<()> {
    let mut stream = stream.try_clone().unwrap();
    std::thread::spawn(move || stream.write_all(&bytes).unwrap())
}

/// Bytes written to `stream` that the peer's host has not acknowledged.
pub fn unacknowledged(stream: &TcpStream) -> usize {
    // Not from /proc/net/tcp, whose lines may be missed while other tests open and close sockets.
    strait::socket::unsent_bytes(stream).unwrap()
}

/// Writes as much of `bytes` as goes until nothing has gone for a while: nobody reads at the other
/// end. Returns how much that is.
pub fn write_until_stuck(stream: &mut TcpStream, bytes: &[u8]) -> usize {
    /// The number of attempts in vain, with a pause after each. A machine that stands still makes one of them.
    const IN_VAIN: usize = 80;
    stream.set_nonblocking(true).unwrap();
    let (mut written, mut in_vain) = (0, 0);
    while written < bytes.len() && in_vain < IN_VAIN {
        match stream.write(&bytes[written..]) {
            Ok(more) => (written, in_vain) = (written + more, 0),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                in_vain += 1;
                std::thread::sleep(Duration::from_millis(5));
            }
            Err(error) => panic!("{error} after {written} bytes"),
        }
    }
    stream.set_nonblocking(false).unwrap();
    written
}
