//! The two sockets of a connection that relays, in one allocation: an idle connection is mostly these.

use tokio::net::TcpStream;

use crate::outcome::EndedBy;

/// Both sockets.
#[derive(Debug)]
pub(super) struct Sockets {
    /// To the side that connected to us.
    pub downstream: TcpStream,
    /// To the side that we connected to.
    pub upstream: TcpStream,
}

/// One of the two sides of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    Downstream,
    Upstream,
}

impl From<Side> for EndedBy {
    fn from(side: Side) -> Self {
        match side {
            Side::Downstream => Self::Downstream,
            Side::Upstream => Self::Upstream,
        }
    }
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
