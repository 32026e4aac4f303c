//! What the YAML file says: every key with its type, default and meaning.
//!
//! This is the one place that declares them; the JSON Schema (`config/strait.schema.json`) and the
//! reference in `docs/src/` are generated from it. [`super::resolve`] turns this form into
//! the one that the program runs on.

pub(super) mod addresses;
mod alpn;
pub(super) mod common;
mod hosts;
pub(super) mod kubernetes;
pub(super) mod words;

use self::addresses::{Bind, Cidr, Endpoint, SourceRef};
use self::common::{
    ClientHelloFile, ConnectFile, ConnectionLimitsFile, EjectionFile, ProxyProtocolFile, TcpFile,
    TimeoutsFile,
};
use self::hosts::{HostPort, ServiceRef, Sni, SrvName};
use self::kubernetes::KubernetesFile;
use self::words::Subset;
use super::bounds::{Bytes, ConnectionRate, Connections, Count, Ipv6Prefix, Weight};
use super::checked::{AddressKind, AlpnPolicy, Fingerprint, LogFilter, LogFormat, ProxyVersion};
use super::form::containers::{AutoOr, List, Named, OrOff};
use super::form::decode::At;
use super::form::section::section;
use super::form::units::{DAY, GIB, KIB, MINUTE, Micros, Millis, SECOND};
use crate::names::{ListenerName, RouteName, SourceGroupName, UpstreamName, Zone};

section! {
    /// The whole file. Every key has a default except those that say where traffic may go.
    ConfigFile {
        /// Worker threads; `auto` is the number of CPUs that the process may use, cgroup quota
        /// included.
        workers: AutoOr<Count<1, 1024>> = "auto",
        /// How long a worker that has nothing to do looks for news before it sleeps: small messages
        /// on an idle gateway arrive sooner, at the price of CPU spent looking.
        busy_poll: OrOff<Micros<1, 1000>> = "off",
        /// The zone that this gateway runs in: endpoints of the same zone are preferred, unless they
        /// are few: connections that would load them more than a quarter above their fair share go to
        /// other zones. When the key is absent, the environment variable `STRAIT_ZONE` says it;
        /// without either there is no preference.
        zone: Option<Zone> = null,
        /// Named groups of source addresses, for metrics and for `allow_sources`. The first group
        /// that holds an address names it; an address in no group counts as `other`.
        sources: List<SourceFile, 0, 256> = [],
        /// The addresses that accept traffic. May be `[]` when `kubernetes.gateway_api` is on: Gateways
        /// bring their own then.
        listeners: At<List<ListenerFile, 0, 64>>,
        /// Where routes may send traffic, by name.
        upstreams: Named<UpstreamName, UpstreamFile> = {},
        /// What is taken from a Kubernetes API; with `off`, nothing is.
        kubernetes: OrOff<KubernetesFile> = "off",
        /// How names of `dns` upstreams are resolved.
        resolver: ResolverFile = {},
        /// Limits of the whole process.
        limits: LimitsFile = {},
        /// How the process ends.
        drain: DrainFile = {},
        /// One line for each connection, on stdout.
        access_log: AccessLogFile = {},
        /// What strait says of itself, on stderr.
        log: LogFile = {},
        /// Status page, config dump, drain, log level; `off` switches it off.
        admin: OrOff<AdminFile> = {},
        /// `/healthz/ready` and `/healthz/live`; `off` switches it off.
        status: OrOff<StatusFile> = {},
        /// `/metrics` and `/stats/prometheus`; `off` switches it off.
        metrics: OrOff<MetricsFile> = {},
    }
}

section! {
    /// A named group of source addresses.
    SourceFile {
        /// Unique; not `other` or `none`.
        name: At<SourceGroupName>,
        /// The networks of the group.
        cidrs: List<Cidr, 1, 1024>,
        /// On the group's connections to all listeners together.
        limits: ConnectionLimitsFile = {},
    }
}

section! {
    /// One bound address with its policy and its routes.
    ListenerFile {
        /// Unique; a metric label.
        name: At<ListenerName>,
        /// Where to listen. `[::]` is dual stack, and falls back to `0.0.0.0` where IPv6 is off.
        /// Port 0 lets the kernel choose.
        bind: At<Bind>,
        /// Sources that may connect: CIDRs or names of source groups. Without the key, any source.
        allow_sources: Option<List<At<SourceRef>, 1, 1024>> = null,
        /// Sources that may not connect, even if `allow_sources` names them.
        deny_sources: List<At<SourceRef>, 0, 1024> = [],
        /// For a load balancer in front that announces its clients with a PROXY protocol header.
        proxy_protocol: OrOff<ProxyProtocolFile> = "off",
        /// Bounds on the ClientHello.
        client_hello: ClientHelloFile = {},
        /// Bounds on silence once the connection is relayed.
        timeouts: TimeoutsFile = {},
        /// Options of the downstream sockets.
        tcp: TcpFile = {},
        /// On all connections of this listener together.
        limits: ConnectionLimitsFile = {},
        /// On the connections of each source address. At most 65,536 addresses are kept count of at a
        /// time; connections of further ones are refused.
        limits_per_source: ConnectionLimitsFile = {},
        /// IPv6 addresses with this many bits in common count as one in `limits_per_source`.
        ipv6_source_prefix: Ipv6Prefix = 64,
        /// What is reachable through this listener; nothing is that no route names.
        routes: List<At<RouteFile>, 0, { usize::MAX }> = [],
    }
}

section! {
    /// Limits on a route's connections. Beyond one, a connection is refused with a TLS alert, as
    /// `over_limit`.
    RouteLimitsFile {
        /// Open at a time.
        connections: OrOff<Connections> = "off",
        /// New ones a second; a second's worth may come at once.
        connections_per_second: OrOff<ConnectionRate> = "off",
    }
}

section! {
    /// Which server names go to which upstream. Exactly one of `service` and `sni` is given. An
    /// exact name beats a wildcard, and a longer wildcard beats a shorter one.
    RouteFile {
        /// Unique in the listener; a metric label. Without the key: `HOST:PORT` of the service, or
        /// the `sni` pattern.
        name: Option<At<RouteName>> = null,
        /// A Kubernetes service in both spellings of Istio's clients: its host alone, and
        /// `outbound_.PORT_._.HOST`.
        service: Option<At<ServiceRef>> = null,
        /// Subsets of the service whose `outbound_.PORT_.SUBSET_.HOST` names match too; only with
        /// `service`.
        subsets: List<At<Subset>, 0, 64> = [],
        /// Whether the host alone matches; of several ports of one host, one route at most may
        /// take it. Only with `service`.
        plain_host: At<bool> = true,
        /// One server name, or `*.NAME` for any number of labels below NAME, or `*` for any name.
        sni: Option<At<Sni>> = null,
        /// Which clients may pass, by the ALPN protocols that they offer: `istio` is those of
        /// Istio's mutual TLS, `any` is every client. It has no default, since it is a security
        /// boundary: to a pod in PERMISSIVE mode, TLS without an Istio ALPN is the application's
        /// own, past mTLS and authorization.
        alpn: AlpnPolicy,
        /// The name of an upstream.
        upstream: At<UpstreamName>,
        /// On the route's connections.
        limits: RouteLimitsFile = {},
    }
}

section! {
    /// A named set of endpoints. Exactly one of `endpoints` and `dns` is given.
    UpstreamFile {
        /// Fixed endpoints.
        endpoints: Option<List<At<EndpointFile>, 1, { usize::MAX }>> = null,
        /// A name whose addresses are the endpoints.
        dns: Option<At<DnsFile>> = null,
        /// How endpoints are connected to.
        connect: ConnectFile = {},
        /// `v2` sends each endpoint a PROXY protocol header first, with the source's address and the
        /// server name (PP2_TYPE_AUTHORITY). The endpoint must expect it.
        proxy_protocol: OrOff<ProxyVersion> = "off",
        /// When an endpoint that fails is left alone.
        ejection: At<EjectionFile> = {},
        /// Options of the upstream sockets.
        tcp: TcpFile = {},
    }
}

section! {
    /// One endpoint.
    EndpointFile short address {
        /// Where to connect.
        address: At<Endpoint>,
        /// The zone it runs in.
        zone: Option<Zone> = null,
        /// Its share of the connections against that of the others.
        weight: Weight = 100,
    }
}

section! {
    /// Endpoints from DNS. Exactly one of `name` and `srv` is given.
    DnsFile short name {
        /// A host, all A and AAAA addresses of which are endpoints, and their port.
        name: Option<At<HostPort>> = null,
        /// A name with SRV records; ports and weights come from them.
        srv: Option<At<SrvName>> = null,
        /// Ask again no sooner than this, however small the answer's TTL.
        min_ttl: At<Millis<SECOND, DAY>> = "5s",
        /// Ask again no later than this, however large the answer's TTL.
        max_ttl: At<Millis<SECOND, DAY>> = "5m",
        /// Endpoints kept at the most; the rest of a larger answer is left out and counted.
        max_endpoints: Count<1, 10_000> = 256,
        /// Kinds of address to take although they are refused by default: a name that others
        /// control must not lead into the pod, the node or the cloud's metadata.
        allow: List<AddressKind, 0, 6> = [],
    }
}

section! {
    /// How names of `dns` upstreams are resolved.
    ResolverFile {
        /// DNS servers; with none, those of `/etc/resolv.conf` and its search list.
        servers: List<Endpoint, 0, 8> = [],
        /// For each query to each server.
        timeout: Millis<100, { 30 * SECOND }> = "2s",
    }
}

section! {
    /// Limits of the whole process.
    LimitsFile {
        /// Connections at a time; more are refused as `overloaded`. `auto` is what the limit of open
        /// files (two for a connection) and the memory limit allow. The memory limit is the tightest
        /// one of the process's cgroup and of those above it (a container's `resources.limits.memory`),
        /// else the host's memory; 24 MiB, 2 MiB for each worker, `hello_memory`, `carry_memory`, pipes
        /// and the log's queue are taken off, down to a quarter, and each connection counts as 16 KiB, which is its two
        /// sockets in the kernel and little of their buffers. The log says at start what was chosen.
        connections: AutoOr<Connections> = "auto",
        /// From this much of a cgroup's memory limit on, in percent, new connections are refused as
        /// `overloaded`, until use is 5 percent lower: before the kernel kills the process. Page cache
        /// that the kernel drops first does not count. `off` never refuses any for it.
        memory_percent: OrOff<Count<50, 99>> = 90,
        /// Memory that all hellos that come in pieces may hold together until they are sent to an
        /// endpoint; an eighth of the memory limit at most. When it is used up, hellos that have waited
        /// long for their upstream give way first, then the largest: they end as `overloaded`.
        hello_memory: Bytes<{ 64 * KIB }, { 64 * GIB }> = "64MiB",
        /// Memory for the bytes of all connections that strait has read and the other side has not accepted
        /// yet; never exceeded, and an eighth of the memory limit at most. When it is used up, such bytes
        /// stay in the kernel's buffers until the other side reads.
        carry_memory: Bytes<{ 64 * KIB }, { 64 * GIB }> = "64MiB",
    }
}

section! {
    /// How the process ends. Both together must fit into the pod's
    /// `terminationGracePeriodSeconds` (30 s by default).
    DrainFile {
        /// Not ready but still accepting, so that load balancers move away first.
        readiness_delay: Millis<0, { 10 * MINUTE }> = "5s",
        /// From closing the listeners to cutting the connections that still run.
        window: Millis<0, DAY> = "20s",
    }
}

section! {
    /// One line for each connection, on stdout.
    AccessLogFile {
        /// How lines are written.
        format: OrOff<LogFormat> = "json",
        /// Lines a second for connections that reached no upstream, for each outcome of each source
        /// group; of more, one line a second says how many there were.
        refused_per_second: Count<0, 1_000_000> = 100,
        /// Lines that may wait for stdout; more are counted, not written.
        queue: Count<1, 1_048_576> = 16_384,
        /// How the software of a client is told from its hello: `ja4` is FoxIO's JA4 for TLS over
        /// TCP. Costs some microseconds a connection. A hello that lists more than 1,024 cipher suites,
        /// extensions or signature algorithms gets none.
        fingerprint: OrOff<Fingerprint> = "off",
    }
}

section! {
    /// What strait says of itself, on stderr.
    LogFile {
        /// What is logged: `info`, or `info,strait::proxy=debug`.
        level: LogFilter = "info",
        /// How lines are written.
        format: LogFormat = "text",
    }
}

section! {
    /// The admin server. It has no authentication: leave it on loopback.
    AdminFile {
        /// Where to listen.
        bind: At<Bind> = "127.0.0.1:15000",
    }
}

section! {
    /// The health server.
    StatusFile {
        /// Where to listen.
        bind: At<Bind> = "[::]:15021",
    }
}

section! {
    /// The metrics server.
    MetricsFile {
        /// Where to listen.
        bind: At<Bind> = "[::]:15090",
    }
}
