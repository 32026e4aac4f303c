//! What can go wrong with a peer, done to it for real and on loopback.

use std::net::TcpStream;

use socket2::{SockFilter, SockRef};

/// Makes the kernel drop every packet that comes for this socket, so that it neither answers nor
/// acknowledges: what a host does that has lost its power. Nothing that it held back is sent.
pub fn stop_answering(stream: &TcpStream) {
    /// Classic BPF (linux/filter.h): return a constant, here no byte of the packet.
    const BPF_RET: u16 = 0x06;
    let drop_all = [SockFilter::new(BPF_RET, 0, 0, 0)];
    SockRef::from(stream).attach_filter(&drop_all).unwrap();
}
