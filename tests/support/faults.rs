//! Faults of a peer, caused for real on loopback.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::IntoRawFd;

use socket2::{Domain, SockFilter, SockRef, Socket, Type};

/// Makes the kernel drop every packet that comes for this socket, so that it neither answers nor
/// acknowledges: what a host does that has lost its power.
pub fn stop_answering(stream: &TcpStream) {
    /// Classic BPF (linux/filter.h): return a constant, here no byte of the packet.
    const BPF_RET: u16 = 0x06;
    let drop_all = [SockFilter::new(BPF_RET, 0, 0, 0)];
    SockRef::from(stream).attach_filter(&drop_all).unwrap();
}

/// Takes [`stop_answering`] back.
pub fn answer_again(stream: &TcpStream) {
    SockRef::from(stream).detach_filter().unwrap();
}

/// An address that refuses connections for now, and that nobody else gets meanwhile.
pub struct ClosedPort {
    /// The address.
    pub address: SocketAddr,
    socket: Socket,
}

impl ClosedPort {
    /// Takes one.
    pub fn reserve() -> Self {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        let any_port = SocketAddr::from(([127, 0, 0, 1], 0));
        socket.bind(&any_port.into()).unwrap();
        let address = socket.local_addr().unwrap().as_socket().unwrap();
        Self { address, socket }
    }

    /// Leaves it closed until the process ends.
    pub fn keep(self) {
        let _ = self.socket.into_raw_fd();
    }

    /// From now on it takes connections.
    pub fn open(self) -> TcpListener {
        self.socket.listen(128).unwrap();
        self.socket.into()
    }
}
