//! Sections that the file's own listeners and upstreams share with those of Kubernetes.

use super::addresses::{LocalAddress, SourceRef};
use super::alpn::Protocol;
use super::hosts::HostName;
use crate::config::bounds::{
    Attempts, Bytes, ConnectionRate, Connections, Count, HelloSize, KeepaliveInterval,
    KeepaliveTime,
};
use crate::config::form::containers::{AutoOr, List, OrOff};
use crate::config::form::decode::At;
use crate::config::form::section::section;
use crate::config::form::units::{DAY, HOUR, KIB, MIB, Millis, SECOND};

section! {
    /// Limits on connections. A connection over a limit is closed before a byte is read, with the
    /// outcome `over_limit`.
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
    /// The PROXY protocol, versions 1 and 2, from a load balancer in front.
    ProxyProtocolFile {
        /// Peers whose connections must begin with a header: CIDRs or names of source groups. The
        /// address in the header is then the source, for policy, limits, metrics and logs. A header
        /// from any other peer is not TLS, and ends as `not_tls`.
        trusted: List<At<SourceRef>, 1, 1024>,
    }
}

section! {
    /// Bounds on the ClientHello.
    ClientHelloFile {
        /// The time from accept to the last byte of the hello. It is one deadline for the whole hello,
        /// not for each byte.
        timeout: Millis<100, { 60 * SECOND }> = "5s",
        /// The largest handshake message, including its 4-byte header. A larger hello ends as
        /// `hello_too_large`.
        max_size: HelloSize = "64KiB",
    }
}

section! {
    /// Bounds on silence and on age once the connection is relayed. A change applies to connections that
    /// are accepted after it.
    TimeoutsFile {
        /// The longest time without a byte in either direction. Then the connection ends as
        /// `idle_timeout`.
        idle: Millis<SECOND, { 7 * DAY }> = "1h",
        /// The longest time since the last byte, once one side has closed. Then the connection ends as
        /// `half_closed_timeout`.
        half_closed: Millis<SECOND, { 7 * DAY }> = "5m",
        /// The longest life of a connection since it was accepted, so that clients connect anew and load
        /// spreads over new gateways and endpoints. Each connection gets a life of its own between 80
        /// and 100 percent of it. From then on it ends, as `max_age`, once no byte has flowed for 500 ms
        /// and the client waits for no answer; at the full time it ends whatever it does.
        max_age: OrOff<Millis<SECOND, { 30 * DAY }>> = "off",
    }
}

section! {
    /// The end of connections that would no longer be let in: their source is denied, their name has no
    /// route or one to another upstream, their ALPN offer is refused, their endpoint has left the upstream,
    /// or their listener is gone. A change applies to open connections too. strait looks at each of them
    /// every 5 s, so they end spread over that time, with the outcome `disallowed`.
    EndDisallowedFile short grace {
        /// The time for which a connection may go on after strait has seen that it is not allowed any more.
        /// If it is allowed again in this time, it stays.
        grace: Millis<0, DAY>,
        /// `true` if a connection ends too when its endpoint is no longer one of the upstream's: it has left
        /// Kubernetes, DNS or the file. A pod that is not ready, or terminates, has left as well.
        endpoints: bool = true,
    }
}

section! {
    /// Options of the sockets that carry traffic. Open connections keep the options that they started
    /// with.
    TcpFile {
        /// The idle time before the first keepalive probe, while no data waits for an acknowledgement.
        /// Keep it below the idle timeout of load balancers on the way (an AWS NLB has 350 s).
        keepalive_time: KeepaliveTime = "60s",
        /// Between keepalive probes.
        keepalive_interval: KeepaliveInterval = "10s",
        /// The number of unanswered probes after which the peer counts as gone, one interval after the
        /// last of them: with the defaults after 120 s of silence, whatever `user_timeout` is.
        keepalive_probes: Count<1, 100> = 6,
        /// The time after which a peer that does not acknowledge sent data counts as gone (noticed up
        /// to 5 s later). A peer that acknowledges is never cut by this, however long it does not read:
        /// only `timeouts` bound that. A peer that vanishes after it has stopped reading (its window is
        /// shut) counts as gone after this time and one probe interval of the kernel, which is at most
        /// this time and at most 120 s. Linux before 6.15 waits for two probes up to 120 s apart, even
        /// if this time is shorter.
        user_timeout: Millis<SECOND, HOUR> = "120s",
        /// Kernel memory for bytes that were sent on a socket and are not acknowledged (SO_SNDBUF).
        /// `auto` leaves it to the kernel, which grows it with the link, up to 4 MiB on most hosts
        /// (net.ipv4.tcp_wmem). A size bounds it for every socket, and so the rate of a connection on a
        /// long link: about half the size in each round trip. The host's net.core.wmem_max bounds it
        /// too. For a listener, going back to `auto` needs a restart.
        send_buffer: AutoOr<Bytes<{ 4 * KIB }, { 64 * MIB }>> = "auto",
        /// Kernel memory for bytes that have arrived on a socket and are not read, because the other
        /// side accepts no more (SO_RCVBUF). `auto` leaves it to the kernel, which grows it with the
        /// link, up to 6 MiB on most hosts (net.ipv4.tcp_rmem). A size bounds it as `send_buffer` does
        /// (net.core.rmem_max). For a listener, going back to `auto` needs a restart.
        receive_buffer: AutoOr<Bytes<{ 4 * KIB }, { 64 * MIB }>> = "auto",
        /// The bytes that may wait in the kernel beyond those that the network takes now
        /// (TCP_NOTSENT_LOWAT). It bounds what a peer that does not read can hold there, and slows no
        /// link down, since bytes under way do not count. For a listener, going back to `off` needs a
        /// restart.
        unsent: OrOff<Bytes<{ 16 * KIB }, { 64 * MIB }>> = "512KiB",
        /// The largest TCP segment in bytes, both ways (TCP_MAXSEG); `auto` leaves it to the kernel, which
        /// takes it from the interface. Set it where the way has a smaller MTU (a tunnel, a VPN) and drops
        /// the ICMP messages that would say so: the MTU less 40 bytes for IPv4, less 60 for IPv6. Without
        /// it such connections end as `hello_timeout` or stand still. For a listener, going back to
        /// `auto` needs a restart.
        mss: AutoOr<Count<536, 32767>> = "auto",
    }
}

section! {
    /// The policy for connecting to endpoints.
    ConnectFile {
        /// The time limit of each attempt. If every endpoint has failed sooner and the last one refuses
        /// connections, all are tried again after pauses of 25 to 400 ms, as long as this time lasts since
        /// the first attempt: the restart of the only endpoint costs no call. `attempts: 1` tries nothing
        /// again.
        timeout: Millis<10, { 60 * SECOND }> = "3s",
        /// The largest number of attempts for one connection, each on another endpoint, in another zone,
        /// of another address family and on another node if there is one. The two address families of a pod
        /// count as one attempt. An attempt that this host refuses at once, for the lack of a route or an
        /// address family, does not count.
        attempts: Attempts = 3,
        /// The time after which the next attempt begins while an attempt is under way. The first that
        /// connects is used; no byte of the client is sent before. `off` waits for the end of each attempt.
        hedge: OrOff<Millis<10, { 60 * SECOND }>> = "250ms",
        /// Addresses of this host to connect from, against a shortage of local ports: each has all ports of its
        /// own towards an endpoint. Connections and active checks take them in turn, among those of the
        /// endpoint's address family. If no port is left at one, or this host does not have it, the next is
        /// tried at once, which is no further attempt. `[]` leaves the address to the kernel, and so does a
        /// family without one.
        source_addresses: List<At<LocalAddress>, 0, 64> = [],
    }
}

section! {
    /// Active checks: strait connects to each endpoint now and then. An endpoint that fails is used as an
    /// ejected one is. A new one is used at once, before its first check. At most 64 checks are under way
    /// at a time, of all upstreams together; further ones come later than `interval` says. A check that this
    /// host cannot make, for the lack of a local port or a descriptor, changes nothing.
    CheckFile {
        /// A TLS hello that the endpoint must answer with a ServerHello or a HelloRetryRequest. With `off`
        /// an endpoint that accepts a connection passes.
        hello: OrOff<CheckHelloFile> = "off",
        /// The longest time between two checks of an endpoint.
        interval: Millis<SECOND, HOUR> = "10s",
        /// The time in which a check must pass.
        timeout: Millis<100, { 60 * SECOND }> = "2s",
        /// The number of checks in a row that must pass before an unhealthy endpoint is healthy.
        rise: Count<1, 100> = 2,
        /// The number of checks in a row that must fail before an endpoint is unhealthy.
        fall: Count<1, 100> = 3,
        /// The part of `interval`, in percent, by which the time to the next check is shortened at random,
        /// so that replicas of the gateway do not check at the same moments.
        jitter_percent: Count<0, 100> = 20,
    }
}

section! {
    /// The TLS hello of a check. It offers TLS 1.3 and 1.2.
    CheckHelloFile {
        /// The server name in the hello. Without the key the hello has none.
        sni: Option<HostName> = null,
        /// The ALPN protocols in the hello.
        alpn: List<Protocol, 0, 32> = [],
    }
}

section! {
    /// Limits on connections to an upstream. A connection that no endpoint may take is closed with the
    /// outcome `over_limit`.
    UpstreamLimitsFile {
        /// Open or being opened, as Envoy's `max_connections` and HAProxy's `maxconn` of a server.
        connections: OrOff<Connections> = "off",
        /// Being opened: attempts to connect that have not ended, as Envoy's `max_pending_requests`.
        connecting: OrOff<Connections> = "off",
    }
}

section! {
    /// The policy for ejecting an endpoint: after failures, strait does not pick it for a while, unless
    /// all endpoints are ejected. After that one connection at a time tries it, until one shows that it
    /// works.
    EjectionFile {
        /// The number of failures in a row after which an endpoint is ejected. A failure is an attempt to
        /// connect that fails, and a connection that the endpoint closes or resets before its first bytes
        /// of TLS, that it answers with something else, or over which it is silent for `first_byte`. Its
        /// first bytes of TLS are a success. 0 never ejects for failures.
        consecutive_failures: Count<0, 1000> = 3,
        /// The time in which the first byte of the endpoint must come, once it has the hello. Longer
        /// silence is a failure; the connection goes on. A client that gives up before the first byte
        /// speaks against the endpoint after a quarter of this time.
        first_byte: Millis<100, { 60 * SECOND }> = "2s",
        /// The number of source addresses whose handshakes must be refused at the endpoint within a
        /// minute or two, by either side, before it is ejected for that. At least half of its handshakes
        /// must be refused, and twice the share of the other endpoints' handshakes, so that the fault of
        /// a client ejects nothing. 0 never ejects for refused handshakes.
        refused_sources: Count<0, 16> = 5,
        /// The largest part of the upstream's endpoints that may be ejected at a time, in percent, as Envoy's
        /// `max_ejection_percent`: one endpoint may be ejected whatever this is.
        max_percent: Count<1, 100> = 50,
        /// The panic threshold, as Envoy's: when less than this part of the endpoints is ready, in percent,
        /// strait disregards ejections and picks among all endpoints. It cannot happen while `max_percent`
        /// leaves as many. 0: only when no endpoint is left.
        panic_percent: Count<0, 100> = 50,
        /// The duration of the first ejection. Each further one in a row lasts twice as long.
        base: Millis<100, HOUR> = "5s",
        /// The longest ejection, and so about the longest time until an endpoint that works again is
        /// used. At least `base`.
        max: Millis<100, DAY> = "10s",
    }
}
