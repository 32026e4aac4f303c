//! The content of the YAML file: every key with its type, default and meaning.
//!
//! This is the one place that declares them; the JSON Schema (`config/strait.schema.json`) and the
//! reference in `docs/src/` are generated from it. [`super::resolve`] turns this form into the one that
//! the program runs on.

pub(super) mod addresses;
pub(super) mod alpn;
pub(super) mod common;
mod hosts;
pub(super) mod kubernetes;
pub(super) mod words;

use self::addresses::{Bind, Cidr, EndpointAddress, SourceRef};
use self::common::{
    CheckFile, ClientHelloFile, ConnectFile, ConnectionLimitsFile, EjectionFile, EndDisallowedFile,
    ProxyProtocolFile, TcpFile, TimeoutsFile, UpstreamLimitsFile,
};
use self::hosts::{HostPort, ServiceRef, Sni, SrvName};
use self::kubernetes::KubernetesFile;
use self::words::{SocketPath, Subset};
use super::bounds::{Bytes, ConnectionRate, Connections, Count, Ipv6Prefix, SampleShare, Weight};
use super::checked::{
    AddressKind, AlpnPolicy, Balance, Fingerprint, LineFormat, LogFilter, LogFormat, OtlpEndpoint,
    ProxyVersion, Refuse, StartTls,
};
use super::form::containers::{AutoOr, List, Named, OrOff};
use super::form::decode::At;
use super::form::section::section;
use super::form::units::{DAY, GIB, HOUR, KIB, MIB, MINUTE, Millis, SECOND};
use crate::names::{
    ListenerName, NodeName, RouteName, SourceGroupName, UpstreamName, WorkloadName, Zone,
};

section! {
    /// The whole file. Every key has a default except those that decide where traffic may go.
    ConfigFile {
        /// The number of worker threads. `auto` is the number of CPUs that the process may use,
        /// including the cgroup's quota. A change needs a restart.
        workers: AutoOr<Count<1, 1024>> = "auto",
        /// The zone of this gateway. Endpoints of the same zone are preferred, unless they are few:
        /// connections that would load them more than a quarter above their fair share go to other
        /// zones. Without the key, the environment variable `STRAIT_ZONE` names the zone, then (with
        /// `kubernetes`) the node's label; without any of these there is no preference.
        zone: Option<Zone> = null,
        /// Named groups of source addresses, for metrics and for `allow_sources`. An address belongs to
        /// the first group that contains it, and to `other` if no group does.
        sources: List<SourceFile, 0, 256> = [],
        /// The addresses that accept traffic. May be `[]` if `kubernetes.gateway_api` is on: Gateways
        /// then open listeners.
        listeners: At<List<ListenerFile, 0, 64>>,
        /// The upstreams that routes may name: sets of endpoints, by name.
        upstreams: Named<UpstreamName, UpstreamFile> = {},
        /// The Kubernetes API to watch for routes and endpoints. `off` watches none.
        kubernetes: OrOff<KubernetesFile> = "off",
        /// The DNS resolver for `dns` upstreams. A change needs a restart.
        resolver: ResolverFile = {},
        /// Limits of the whole process.
        limits: LimitsFile = {},
        /// The end of the process after SIGTERM or `POST /drain`.
        drain: DrainFile = {},
        /// The takeover: a new process on this host gets the listening sockets of the one that serves,
        /// which then drains. No connection is lost between them. `off` passes none on. A change needs a
        /// restart.
        takeover: OrOff<TakeoverFile> = "off",
        /// The access log: one line for each connection, on stdout.
        access_log: AccessLogFile = {},
        /// strait's own log, on stderr.
        log: LogFile = {},
        /// The hellos of refused connections that are kept in memory for operators: `GET /hellos` on the admin
        /// server. They are what clients sent, and a client that did not send TLS may have sent a password.
        /// `off` keeps none.
        hellos: OrOff<HellosFile> = "off",
        /// The admin server: status page, config dump, drain, log level. `off` starts none. A change
        /// needs a restart.
        admin: OrOff<AdminFile> = {},
        /// The health server: `/healthz/ready` and `/healthz/live`. `off` starts none. A change needs a
        /// restart.
        status: OrOff<StatusFile> = {},
        /// The metrics server: `/metrics` and `/stats/prometheus`. `off` starts none. A change needs a
        /// restart.
        metrics: OrOff<MetricsFile> = {},
    }
}

section! {
    /// A named group of source addresses.
    SourceFile {
        /// The name, unique among the groups; not `other` or `none`. It is a metric label.
        name: At<SourceGroupName>,
        /// The networks of the group.
        cidrs: List<Cidr, 1, 1024>,
        /// Limits on the group's connections to all listeners together.
        limits: ConnectionLimitsFile = {},
    }
}

section! {
    /// One address that accepts traffic, with its policy and its routes.
    ListenerFile {
        /// The name, unique among the listeners. It is a metric label.
        name: At<ListenerName>,
        /// The address to listen on, unique among the listeners. `[::]` accepts IPv4 too, and becomes
        /// `0.0.0.0` where IPv6 is off. With port 0 the kernel chooses a port.
        bind: At<Bind>,
        /// The sources that may connect: CIDRs or names of source groups. Without the key, any source
        /// may.
        allow_sources: Option<List<At<SourceRef>, 1, 1024>> = null,
        /// The sources that may not connect, even if `allow_sources` contains them: CIDRs or names of
        /// source groups.
        deny_sources: List<At<SourceRef>, 0, 1024> = [],
        /// The PROXY protocol from a load balancer in front, which announces its clients' addresses.
        /// `off` accepts no such header.
        proxy_protocol: OrOff<ProxyProtocolFile> = "off",
        /// Bounds on the ClientHello.
        client_hello: ClientHelloFile = {},
        /// The protocol whose clients may ask for TLS before their hello. `postgres`: strait answers
        /// PostgreSQL's SSLRequest with `S`, and sends an SSLRequest to the endpoint, whose answer must be
        /// `S`, before it replays the hello. GSSENCRequest is answered with `N`. A client that begins with
        /// TLS (`sslnegotiation=direct`) is relayed as without this key. A session without TLS is refused, and
        /// so is a CancelRequest without TLS.
        starttls: OrOff<StartTls> = "off",
        /// Bounds on silence and on age once the connection is relayed.
        timeouts: TimeoutsFile = {},
        /// The end of connections that would no longer be let in: a duration, or a section. With `off`,
        /// connections go on under the config that let them in.
        end_disallowed: OrOff<EndDisallowedFile> = "off",
        /// The answer to a TLS client that is refused. `alert`: a fatal TLS alert with the reason, then
        /// a close. `close`: a close alone (FIN, or RST). A connection that is not TLS gets a close
        /// alone in both cases, and so does one that meets a state that may pass (no endpoint, a failed
        /// connect, a limit).
        refuse: Refuse = "alert",
        /// Options of the downstream sockets.
        tcp: TcpFile = {},
        /// Limits on all connections of this listener together.
        limits: ConnectionLimitsFile = {},
        /// Limits on the connections of each source address. strait counts at most 65,536 addresses at
        /// a time; it refuses connections from further ones as `over_limit`.
        limits_per_source: ConnectionLimitsFile = {},
        /// The number of leading bits by which IPv6 addresses count as one source in
        /// `limits_per_source`.
        ipv6_source_prefix: Ipv6Prefix = 64,
        /// Routes of this listener. A server name that no route matches is refused.
        routes: List<At<RouteFile>, 0, { usize::MAX }> = [],
    }
}

section! {
    /// Limits on a route's connections. A connection over a limit is refused with the outcome
    /// `over_limit`.
    RouteLimitsFile {
        /// Connections open at the same time.
        connections: OrOff<Connections> = "off",
        /// New connections a second. Those of one second may come at once.
        connections_per_second: OrOff<ConnectionRate> = "off",
    }
}

section! {
    /// Times for a route's connections. A key that is set wins over that of the listener or the upstream.
    /// A change applies to connections that are routed after it.
    RouteTimeoutsFile {
        /// The longest time without a byte in either direction. Then the connection ends as
        /// `idle_timeout`. Without the key, `timeouts.idle` of the listener.
        idle: Option<Millis<SECOND, { 7 * DAY }>> = null,
        /// The time limit of each attempt to connect, and of all attempts that are made again. Without the
        /// key, `connect.timeout` of the upstream.
        connect: Option<Millis<10, { 60 * SECOND }>> = null,
    }
}

section! {
    /// A rule that sends server names to an upstream. Give exactly one of `service`, `sni` and `no_sni`.
    /// An exact name wins over a wildcard, and a longer wildcard over a shorter one. Up to 32 routes may
    /// share a name if their `alpn` differs: of the protocols that the client offers, the first, in its order
    /// of preference, that one of these routes lists decides, and a route with `any` gets the other clients.
    /// A protocol may stand in only one of them.
    RouteFile one_of(service, sni, no_sni) {
        /// The name, unique in the listener. It is a metric label. Without the key: `HOST:PORT` of the
        /// service, the `sni` pattern, or `no_sni`.
        name: Option<At<RouteName>> = null,
        /// A Kubernetes Service in both spellings of Istio's clients: its host alone, and
        /// `outbound_.PORT_._.HOST`.
        service: Option<At<ServiceRef>> = null,
        /// Subsets of the service whose names `outbound_.PORT_.SUBSET_.HOST` match too. Only with
        /// `service`.
        subsets: List<At<Subset>, 0, 64> = [],
        /// `true` if the host alone matches too. If several routes have ports of one host, only one of
        /// them may be `true`. Only with `service`.
        plain_host: At<bool> = true,
        /// One server name, `*.NAME` for any number of labels before NAME, or `*` for any name. None of
        /// them matches a hello without a server name.
        sni: Option<At<Sni>> = null,
        /// `true` for a route of hellos without a server name, such as those of clients that were given an
        /// IP address. Only a hello without the extension takes this route: one with an empty or invalid
        /// name is refused. The name of the route is `no_sni` by default.
        no_sni: Option<At<bool>> = null,
        /// The clients that may pass, by the ALPN protocols that they offer: `istio` for clients with
        /// Istio's mutual TLS, `any` for every client, or a list of which the client must offer one. It
        /// has no default, since it is a security boundary: a pod in PERMISSIVE mode takes TLS without
        /// an Istio ALPN as the application's own, past mTLS and authorization.
        alpn: At<AlpnPolicy>,
        /// The name of the upstream that gets the connections: a key of `upstreams`.
        upstream: At<UpstreamName>,
        /// Limits on the route's connections.
        limits: RouteLimitsFile = {},
        /// Times that win over those of the listener and the upstream.
        timeouts: RouteTimeoutsFile = {},
    }
}

section! {
    /// A named set of endpoints. Give exactly one of `endpoints` and `dns`.
    UpstreamFile one_of(endpoints, dns) {
        /// Fixed endpoints: addresses, or sections with zone, node and weight.
        endpoints: Option<List<At<EndpointFile>, 1, { usize::MAX }>> = null,
        /// A DNS name whose addresses are the endpoints.
        dns: Option<At<DnsFile>> = null,
        /// The policy for connecting to endpoints.
        connect: ConnectFile = {},
        /// `v2` sends each endpoint a PROXY protocol header first, with the client's address and the
        /// server name (PP2_TYPE_AUTHORITY). The endpoint must expect it.
        proxy_protocol: OrOff<ProxyVersion> = "off",
        /// The choice among the endpoints that are ready, below their limits and in the gateway's zone, by
        /// weight. `least_connections`: of two at random, the one with fewer open connections.
        /// `round_robin`: each in its turn. `random`: any one. `source_hash` and `name_hash`: the same one
        /// for the same source address, or the same server name, in every gateway (rendezvous hashing); an
        /// endpoint that comes or goes, is ejected or at its limit moves only its own share. A NAT makes
        /// many clients one source address.
        balance: Balance = "least_connections",
        /// The time in which the share of an endpoint grows from a tenth to all of it (Envoy's
        /// `slow_start_window`, HAProxy's `slowstart`), when it is new beside endpoints that serve, or was
        /// ejected and works again. The endpoints of a source's first answer begin with their whole share.
        slow_start: OrOff<Millis<SECOND, HOUR>> = "off",
        /// Active checks of the endpoints. `off` makes none.
        check: OrOff<CheckFile> = "off",
        /// The policy for ejecting an endpoint that fails.
        ejection: At<EjectionFile> = {},
        /// Limits on the connections to all endpoints together.
        limits: UpstreamLimitsFile = {},
        /// Limits on the connections to each endpoint. An endpoint at its limit is passed over.
        limits_per_endpoint: UpstreamLimitsFile = {},
        /// Options of the upstream sockets.
        tcp: TcpFile = {},
    }
}

section! {
    /// One endpoint.
    EndpointFile short address {
        /// The address to connect to.
        address: At<EndpointAddress>,
        /// The zone that the endpoint runs in.
        zone: Option<Zone> = null,
        /// The node that the endpoint runs on: after a failed attempt, the next goes to another one.
        node: Option<NodeName> = null,
        /// The weight of the endpoint: its share of the connections relative to the others.
        weight: Weight = 100,
    }
}

section! {
    /// Endpoints from DNS. Give exactly one of `name` and `srv`.
    DnsFile short name one_of(name, srv) {
        /// A host and a port. All of the host's A and AAAA addresses are endpoints at this port.
        name: Option<At<HostPort>> = null,
        /// A name with SRV records. Ports and weights come from the records.
        srv: Option<At<SrvName>> = null,
        /// The shortest time until the name is asked again, even if the answer's TTL is smaller.
        min_ttl: At<Millis<SECOND, DAY>> = "5s",
        /// The longest time until the name is asked again, even if the answer's TTL is larger. At least
        /// `min_ttl`.
        max_ttl: At<Millis<SECOND, DAY>> = "5m",
        /// The largest number of endpoints. The rest of a larger answer is left out and counted.
        max_endpoints: Count<1, 10_000> = 256,
        /// The time for which DNS must have said that the name has no record (NXDOMAIN, or an empty answer)
        /// before its last endpoints go. An outage of DNS (SERVFAIL, no answer) never removes endpoints.
        /// With `off` they stay until there is an answer with addresses.
        gone_after: OrOff<Millis<SECOND, { 7 * DAY }>> = "off",
        /// Kinds of address to accept although they are refused by default. A name that others control
        /// must not lead into the pod, the node or the cloud's metadata service.
        allow: List<AddressKind, 0, 6> = [],
    }
}

section! {
    /// The DNS resolver for `dns` upstreams. A change needs a restart.
    ResolverFile {
        /// The DNS servers. With `[]`, those of `/etc/resolv.conf` with its search list.
        servers: List<EndpointAddress, 0, 8> = [],
        /// The time limit of each query to each server.
        timeout: Millis<100, { 30 * SECOND }> = "2s",
    }
}

section! {
    /// Limits of the whole process.
    LimitsFile {
        /// The largest number of open connections; further ones are refused as `overloaded`. `auto` is
        /// the number that the limit of open files (two for a connection) and the memory limit allow.
        /// The memory limit is the tightest one of the process's cgroup and of those above it (a
        /// container's `resources.limits.memory`), otherwise the host's memory. From it strait
        /// subtracts 24 MiB, 2 MiB for each worker, `hello_memory`, `carry_memory`, pipes and the log's
        /// queue, and keeps at least a quarter; each connection counts as 16 KiB, which covers its two
        /// sockets in the kernel and a little of their buffers. The log gives the chosen number at
        /// start.
        connections: AutoOr<Connections> = "auto",
        /// The percentage of a cgroup's memory limit above which new connections are refused as
        /// `overloaded`, until use is 5 percent lower. So strait refuses connections before the kernel
        /// kills the process. Page cache that the kernel drops first does not count. `off` never
        /// refuses because of memory.
        memory_percent: OrOff<Count<50, 99>> = 90,
        /// The lag of a worker thread from which it refuses new connections as `overloaded`, until the lag is
        /// half of that: the time by which each of its last four rounds, due every 250 ms, came late. Such
        /// a worker has more to do than its CPU can. `off` never refuses because of lag.
        worker_lag: OrOff<Millis<100, { 60 * SECOND }>> = "5s",
        /// The next step, when refusing new connections is not enough: open ones end.
        end_quiet: EndQuietFile = {},
        /// Total memory for hellos that come in pieces, until they are sent to an endpoint. At most an
        /// eighth of the memory limit. When it is used up, hellos that have waited long for their
        /// upstream are dropped first, then the largest: they end as `overloaded`.
        hello_memory: Bytes<{ 64 * KIB }, { 64 * GIB }> = "64MiB",
        /// Total memory for bytes that strait has read from connections and that the other side has not
        /// accepted yet. At most an eighth of the memory limit. It is never exceeded: when it is used
        /// up, such bytes stay in the kernel's buffers until the other side reads.
        carry_memory: Bytes<{ 64 * KIB }, { 64 * GIB }> = "64MiB",
    }
}

section! {
    /// The next step against overload. While it is in force, every worker ends up to a 64th of its
    /// connections four times a second, as `overloaded`: those over which no byte has flowed for longest,
    /// and for at least 500 ms. Connections whose client waits for an answer end after all others.
    EndQuietFile {
        /// The percentage of a cgroup's memory limit above which this is in force, until use is 5 percent
        /// lower; `limits.memory_percent` if that is more. It has no effect while that is `off`.
        memory_percent: OrOff<Count<50, 99>> = 95,
        /// The lag of a worker thread from which this is in force for its connections; `limits.worker_lag`
        /// if that is more. It has no effect while that is `off`. A quiet connection takes hardly any CPU
        /// time, so that it helps only if there are very many.
        worker_lag: OrOff<Millis<100, { 60 * SECOND }>> = "off",
    }
}

section! {
    /// The end of the process. The sum of both times must fit into the pod's
    /// `terminationGracePeriodSeconds` (30 s by default).
    DrainFile {
        /// The time during which the gateway is not ready but still accepts, so that load balancers
        /// move away first.
        readiness_delay: Millis<0, { 10 * MINUTE }> = "5s",
        /// The time from closing the listeners to cutting the connections that are still open.
        window: Millis<0, DAY> = "20s",
    }
}

section! {
    /// The takeover of the listening sockets by a new process.
    TakeoverFile {
        /// The Unix socket over which the sockets are passed. A process that starts asks there first, and
        /// once it serves, the Unix socket is its own, with the mode 0600. Both processes must run as the
        /// same user. Only that user may be able to write to the folder.
        path: SocketPath,
    }
}

section! {
    /// The access log: one line for each connection, on stdout.
    AccessLogFile {
        /// The format of the lines: `json`, `text` (`key=value`), or a line of your own with the operators of
        /// Envoy's format strings, such as `"[%START_TIME%] %REQUESTED_SERVER_NAME% %RESPONSE_FLAGS%"`.
        /// `docs/src/operate/outcomes.md` lists the operators. `off` writes none.
        format: OrOff<LineFormat> = "json",
        /// `true` writes a line also when a connection begins to relay. It has `event` and no `outcome`.
        open: bool = false,
        /// The time between two lines of a connection that is open for longer than this, with its bytes so far.
        /// `off` writes none.
        interval: OrOff<Millis<SECOND, DAY>> = "off",
        /// The share of the connections with the outcome `ok` that leave lines, `open` and `interval` included. Each
        /// of these lines has it as `sampled`. A connection that fails always has its line.
        sample_ok: SampleShare = 1,
        /// Lines a second for connections that reached no upstream, for each outcome of each source
        /// group. One line a second gives the number of further ones.
        refused_per_second: Count<0, 1_000_000> = 100,
        /// The number of lines that may wait for stdout. Further ones are counted, not written. A
        /// change needs a restart.
        queue: Count<1, 1_048_576> = 16_384,
        /// The fingerprint of a client's software in each line: `ja4` is FoxIO's JA4 for TLS over TCP.
        /// It costs some microseconds for each connection. A hello that lists more than 1,024 cipher
        /// suites, extensions or signature algorithms gets none.
        fingerprint: OrOff<Fingerprint> = "off",
        /// The export of the lines to a collector of OpenTelemetry, beside `format` or, if that is `off`, in its place.
        /// A change needs a restart.
        otlp: OrOff<OtlpFile> = "off",
    }
}

section! {
    /// The export of the access log's lines by OTLP over HTTP, with JSON as the body. Each line is a log record with the
    /// attributes `strait.KEY`. Traffic never waits for the collector: lines that find the queue full, or that it does
    /// not take in time, are counted (`strait_log_lines_dropped_total{log="otlp"}`).
    OtlpFile short endpoint {
        /// The URL of the collector: `http://HOST:PORT/PATH`, by default with the port 4318 and the path `/v1/logs`. strait
        /// sends without TLS and without a header for access, so name a collector of the node or the cluster.
        endpoint: At<OtlpEndpoint>,
        /// The time in which a batch must be taken, attempts that are made again included.
        timeout: Millis<100, { 60 * SECOND }> = "5s",
        /// The number of lines that may wait.
        queue: Count<1, 1_048_576> = 16_384,
    }
}

section! {
    /// strait's own log, on stderr.
    LogFile {
        /// The filter: a level such as `info`, or levels for parts of the program such as
        /// `info,strait::proxy=debug`.
        level: LogFilter = "info",
        /// The format of the lines: `text`, `json`, or `auto`, which is `text` if standard error is a terminal
        /// and `json` if it is not, as in a pod. A change needs a restart.
        format: LogFormat = "auto",
    }
}

section! {
    /// The hellos of refused connections that are kept.
    HellosFile {
        /// The number of hellos to keep of each outcome. A newer one takes the place of the oldest.
        keep: Count<1, 1024> = 16,
        /// The memory for all of them. Each outcome has an equal share of it; a hello that is larger is cut.
        memory: Bytes<{ 64 * KIB }, { 64 * MIB }> = "1MiB",
    }
}

section! {
    /// The admin server. It has no authentication: leave it on loopback.
    AdminFile {
        /// The address to listen on.
        bind: At<Bind> = "127.0.0.1:15000",
    }
}

section! {
    /// The health server.
    StatusFile {
        /// The address to listen on.
        bind: At<Bind> = "[::]:15021",
    }
}

section! {
    /// The metrics server.
    MetricsFile {
        /// The address to listen on.
        bind: At<Bind> = "[::]:15090",
        /// The number of endpoints with metrics of their own (`strait_endpoint_*`), of those that strait has
        /// used, and of upstreams with a histogram of their connect times; 0 for none. `/upstreams` on the admin server has the numbers of all. A change needs no restart.
        endpoints: Count<0, 1_000_000> = 1_000,
        /// The number of routes whose counters of common outcomes begin at 0 before the first connection, in the
        /// order of the config, so that `increase()` sees a first failure. They take some ten series for each
        /// source group. The counters of listeners begin at 0 as well. A change needs no restart.
        routes_from_zero: Count<0, 10_000> = 100,
        /// The metrics `istio_tcp_*` with the labels of Istio's proxies, for Kiali and for dashboards that know
        /// those, beside strait's own. `off` has none. A change needs no restart.
        istio: OrOff<IstioMetricsFile> = "off",
    }
}

section! {
    /// The metrics with Istio's names.
    IstioMetricsFile {
        /// The number of services with series; 4 to some 10 series each.
        services: Count<1, 10_000> = 1_000,
        /// The workload as which the gateway reports: `source_workload`, `source_app` and
        /// `source_canonical_service`.
        workload: WorkloadName = "strait",
        /// Its namespace: `source_workload_namespace`.
        namespace: WorkloadName = "strait",
    }
}
