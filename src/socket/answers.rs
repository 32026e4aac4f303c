//! The acknowledgements of a peer, from TCP_INFO.

use std::io;
use std::os::fd::AsFd;
use std::time::Duration;

use super::sys::tcp_info;

/// States of a socket whose own FIN is not acknowledged yet (net/tcp_states.h).
const FIN_WAIT1: u8 = 4;
const LAST_ACK: u8 = 9;
const CLOSING: u8 = 11;

/// The answers of a peer's host to what was sent to it, from TCP_INFO.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Answers {
    /// True if bytes wait for an acknowledgement, or to be sent.
    pub awaited: bool,
    /// The number of times the kernel sent the same bytes again, or probed a shut window, without an
    /// answer. 0 after an answer.
    pub asked_in_vain: u32,
    /// True if the peer accepts no more bytes for now.
    pub window_shut: bool,
    /// The time since the last packet from the peer.
    pub heard: Duration,
}

/// Asks the kernel what the peer of `socket` has answered.
///
/// # Errors
/// Errors of getsockopt(2).
pub fn answers(socket: &impl AsFd) -> io::Result<Answers> {
    tcp_info(socket).map(|info| Answers::from(&info))
}

impl From<&libc::tcp_info> for Answers {
    fn from(info: &libc::tcp_info) -> Self {
        let heard = info.tcpi_last_ack_recv.min(info.tcpi_last_data_recv);
        // The kernel resets `retransmits` and `backoff` only when new bytes are acknowledged. A living
        // peer without buffer space answers a retransmission with its old acknowledgement. So only
        // bytes sent after the last packet from the peer are unanswered. A FIN alone does not count as
        // sent data.
        let only_fin =
            info.tcpi_unacked == 1 && matches!(info.tcpi_state, FIN_WAIT1 | LAST_ACK | CLOSING);
        let sent_since = info.tcpi_last_data_sent < heard || only_fin;
        let sent_again =
            info.tcpi_unacked > 0 && (info.tcpi_retransmits > 0 || info.tcpi_backoff > 0);
        let in_vain = info.tcpi_probes > 0 || (sent_again && sent_since);
        let asked = [info.tcpi_probes, info.tcpi_retransmits, info.tcpi_backoff];
        Self {
            awaited: info.tcpi_unacked > 0 || info.tcpi_notsent_bytes > 0,
            asked_in_vain: match in_vain {
                true => asked.into_iter().map(u32::from).sum(),
                false => 0,
            },
            window_shut: info.tcpi_snd_wnd == 0,
            heard: Duration::from_millis(heard.into()),
        }
    }
}
