//! Options of the sockets that carry traffic.

use std::time::Duration;

use serde::Serialize;

use crate::config::bounds::{self, KeepaliveInterval, KeepaliveTime};
use crate::socket::{BufferOptions, StreamOptions};

/// Options of a socket that carries traffic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct TcpOptions {
    /// Idle time before the first keepalive probe.
    pub keepalive_time: KeepaliveTime,
    /// Between probes.
    pub keepalive_interval: KeepaliveInterval,
    /// The number of unanswered probes after which the peer counts as gone.
    pub keepalive_probes: u32,
    /// The time for which a peer may leave sent data unacknowledged.
    #[serde(serialize_with = "bounds::serialize_duration")]
    pub user_timeout: Duration,
    /// The memory for sent bytes that are not acknowledged; `None` leaves it to the kernel.
    pub send_buffer: Option<usize>,
    /// The memory for received bytes that are not read; `None` leaves it to the kernel.
    pub receive_buffer: Option<usize>,
    /// The bytes that may wait beyond those that the network takes now; `None` for no bound but memory.
    pub unsent: Option<usize>,
    /// The largest segment; `None` leaves it to the kernel.
    pub mss: Option<u32>,
}

impl From<TcpOptions> for BufferOptions {
    fn from(options: TcpOptions) -> Self {
        Self {
            send: options.send_buffer,
            receive: options.receive_buffer,
            unsent: options.unsent,
            segment: options.mss,
        }
    }
}

impl From<TcpOptions> for StreamOptions {
    fn from(options: TcpOptions) -> Self {
        Self {
            keepalive_time: options.keepalive_time.get(),
            keepalive_interval: options.keepalive_interval.get(),
            keepalive_probes: options.keepalive_probes,
            user_timeout: options.user_timeout,
            buffers: options.into(),
        }
    }
}
