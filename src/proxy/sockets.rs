//! The two sockets of a connection that relays, in one allocation: an idle connection is mostly these.

use tokio::net::TcpStream;

use crate::verdict::Side;

/// Both sockets.
#[derive(Debug)]
pub(super) struct Sockets {
    /// To the side that connected to us.
    pub downstream: TcpStream,
    /// To the side that we connected to.
    pub upstream: TcpStream,
}

impl Sockets {
    /// The socket to that side.
    pub(super) fn to(&self, side: Side) -> &TcpStream {
        match side {
            Side::Downstream => &self.downstream,
            Side::Upstream => &self.upstream,
        }
    }
}
