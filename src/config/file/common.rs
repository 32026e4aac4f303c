//! Sections that the file's own listeners and upstreams share with those of Kubernetes.

use super::addresses::SourceRef;
use crate::config::bounds::{
    Attempts, Bytes, ConnectionRate, Connections, Count, HelloSize, KeepaliveInterval,
    KeepaliveTime,
};
use crate::config::form::containers::{AutoOr, List, OrOff};
use crate::config::form::decode::At;
use crate::config::form::section::section;
use crate::config::form::units::{DAY, HOUR, KIB, MIB, Millis, SECOND};

section! {
    /// Limits on connections. Beyond one, a connection is refused before a byte is read, as
    /// `over_limit`.
    ConnectionLimitsFile {
        /// Open at a time.
        connections: OrOff<Connections> = "off",
        /// New ones a second; a second's worth may come at once.
        connections_per_second: OrOff<ConnectionRate> = "off",
        /// ClientHellos in progress.
        hellos: OrOff<Connections> = "off",
    }
}

section! {
    /// The PROXY protocol, versions 1 and 2, towards a load balancer in front.
    ProxyProtocolFile {
        /// Peers whose connections must begin with a header: CIDRs or names of source groups. The
        /// address in it is the source from then on, for policy, limits, metrics and logs. A header
        /// from anyone else is not TLS, and is refused as such.
        trusted: List<At<SourceRef>, 1, 1024>,
    }
}

section! {
    /// Bounds on the ClientHello.
    ClientHelloFile {
        /// From accept to the last byte of the hello, as one deadline.
        timeout: Millis<100, { 60 * SECOND }> = "5s",
        /// Largest handshake message, its 4-byte header included.
        max_size: HelloSize = "64KiB",
    }
}

section! {
    /// Bounds on silence once the connection is relayed.
    TimeoutsFile {
        /// Without a byte either way.
        idle: Millis<SECOND, { 7 * DAY }> = "1h",
        /// Since the last byte, once one side has closed.
        half_closed: Millis<SECOND, { 7 * DAY }> = "5m",
    }
}

section! {
    /// Options of the sockets that carry traffic.
    TcpFile {
        /// Idle time before the first keepalive probe, while nothing waits for an acknowledgement. Keep
        /// it below the idle timeout of load balancers on the way (an AWS NLB has 350 s).
        keepalive_time: KeepaliveTime = "60s",
        /// Between keepalive probes.
        keepalive_interval: KeepaliveInterval = "10s",
        /// Unanswered probes until the peer counts as gone, one interval after the last of them: with the
        /// defaults after 120 s of silence, whatever `user_timeout` is.
        keepalive_probes: Count<1, 100> = 6,
        /// The time after which a peer that acknowledges nothing of what was sent to it counts as gone;
        /// found up to 5 s later. A peer that acknowledges is never cut by this, however long it does
        /// not read: only `timeouts` bound that. One that vanishes after it has stopped reading (its
        /// window is shut) is found within this time and one probe interval of the kernel: at most
        /// this time, and at most 120 s. Linux before 6.15 waits for two probes up to 120 s apart, even
        /// if this time is shorter.
        user_timeout: Millis<SECOND, HOUR> = "120s",
        /// Kernel memory for what was sent on a socket and is not acknowledged (SO_SNDBUF). `auto` leaves
        /// it to the kernel, which grows it with the link, to 4 MiB on most hosts (net.ipv4.tcp_wmem). A
        /// size bounds it for every socket, and what one connection carries on a long link: half of it a
        /// round trip. The host's net.core.wmem_max bounds it, too.
        send_buffer: AutoOr<Bytes<{ 4 * KIB }, { 64 * MIB }>> = "auto",
        /// Kernel memory for what has arrived on a socket and was not read, because the other side takes
        /// nothing (SO_RCVBUF). `auto` leaves it to the kernel, which grows it with the link, to 6 MiB on
        /// most hosts (net.ipv4.tcp_rmem). A size bounds it as `send_buffer` does (net.core.rmem_max).
        receive_buffer: AutoOr<Bytes<{ 4 * KIB }, { 64 * MIB }>> = "auto",
        /// The most that waits in the kernel beyond what the network takes now (TCP_NOTSENT_LOWAT): what a
        /// reader that stands still can hold there. It slows no link down, since what is under way does
        /// not count. Going back to `auto` or `off` takes a restart for a listener.
        unsent: OrOff<Bytes<{ 16 * KIB }, { 64 * MIB }>> = "512KiB",
    }
}

section! {
    /// How endpoints are connected to.
    ConnectFile {
        /// For each attempt.
        timeout: Millis<10, { 60 * SECOND }> = "3s",
        /// Attempts for one connection, each on another endpoint.
        attempts: Attempts = 3,
    }
}

section! {
    /// When an endpoint to which connecting fails is left alone for a while.
    EjectionFile {
        /// Failed attempts in a row that eject; 0 never does.
        consecutive_failures: Count<0, 1000> = 3,
        /// The first ejection; each further one in a row lasts twice as long.
        base: Millis<100, HOUR> = "10s",
        /// The longest ejection; at least `base`.
        max: Millis<100, DAY> = "5m",
    }
}
