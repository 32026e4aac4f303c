//! The configuration that the program runs on: whole, checked and resolved.
//!
//! `config::file` holds what the YAML file says; [`Config::load`] turns it into this form or into a
//! list of problems with line, key and remedy. A value of this type cannot name an upstream that
//! does not exist, a CIDR that does not parse or a limit out of bounds.
//!
//! ```text
//! bytes -> tree (YAML, with lines) -> decode -> file (keys, types, defaults) -> resolve -> Config
//!                                                 `-> reference (JSON Schema, reference)
//! ```

mod addresses;
mod alpn;
mod containers;
mod decode;
mod file;
mod gateway_policy;
mod hosts;
mod kubernetes;
mod kubernetes_file;
mod load;
mod origin;
mod problems;
pub mod reference;
mod resolve;
mod route_match;
#[cfg(test)]
pub(crate) mod samples;
mod section;
mod tree;
mod units;
mod words;

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::num::{NonZeroU32, NonZeroUsize};
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use serde::Serialize;

use crate::server_name::ServerName;
use crate::socket::{BufferOptions, StreamOptions};

pub use gateway_policy::{BelowFileRoutes, FileNames, FileRoute, GatewayNamespaces, PortRange};
pub use kubernetes::{
    ExportMode, ExportPolicy, GatewayAddresses, GatewayApiConfig, IstioConfig, Kubeconfig,
    KubernetesConfig, OptIn, PortSelector, ServiceSelector,
};
pub use load::{Loaded, MAX_FILE};
pub use origin::{ObjectRef, Origin};
pub use problems::{ConfigError, Problem};
pub use resolve::Machine;
pub use route_match::{AlpnPolicy, ISTIO_ALPNS, RouteMatch, SniPattern};

/// Everything that one config file decides.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Config {
    /// Worker threads, `auto` already resolved to the CPUs this process may use.
    pub workers: NonZeroUsize,
    /// How long a worker looks for news before it sleeps.
    pub busy_poll: Option<Duration>,
    /// The zone this gateway runs in; endpoints of the same zone are preferred.
    pub zone: Option<Arc<str>>,
    /// Named groups of source addresses, in the file's order: the first match names the source.
    pub sources: Arc<SourceGroups>,
    /// Those of the file. May be empty if Gateways of the Gateway API open some.
    pub listeners: Vec<ListenerConfig>,
    /// Every upstream that a route names, and those none names yet.
    pub upstreams: BTreeMap<Arc<str>, Arc<UpstreamConfig>>,
    /// What is taken from a Kubernetes API; `None`: nothing is.
    pub kubernetes: Option<Arc<KubernetesConfig>>,
    /// How names of `dns` upstreams are resolved.
    pub resolver: ResolverConfig,
    /// Limits of the whole process.
    pub limits: Limits,
    /// How the process ends.
    pub drain: DrainConfig,
    /// One line a connection.
    pub access_log: AccessLogConfig,
    /// What strait says of itself.
    pub log: LogConfig,
    /// Admin server: status page, config dump, drain, log level. `None` when switched off.
    pub admin: Option<SocketAddr>,
    /// Health endpoints for the kubelet and load balancers.
    pub status: Option<SocketAddr>,
    /// Prometheus metrics.
    pub metrics: Option<SocketAddr>,
}

/// Source groups by name. The order is the order of precedence.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct SourceGroups(pub Vec<SourceGroup>);

/// A name for a set of source addresses: a closed metric label.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SourceGroup {
    /// Unique; never `other`.
    pub name: Arc<str>,
    /// At least one.
    pub cidrs: Vec<IpNet>,
    /// On its connections to all listeners together.
    pub limits: ConnectionLimits,
}

/// The source group of addresses that no group names.
pub const OTHER_SOURCES: &str = "other";

impl SourceGroups {
    /// The position of the first group that holds `ip` (canonical: no v4-mapped form); one past the
    /// last group when none does.
    pub fn index_of(&self, ip: IpAddr) -> usize {
        self.0
            .iter()
            .position(|group| contains(&group.cidrs, ip))
            .unwrap_or(self.0.len())
    }

    /// The name at a position that [`SourceGroups::index_of`] gave, or [`OTHER_SOURCES`].
    pub fn name(&self, index: usize) -> &str {
        self.0.get(index).map_or(OTHER_SOURCES, |group| &group.name)
    }

    /// How many positions there are, that of [`OTHER_SOURCES`] included.
    pub fn positions(&self) -> usize {
        self.0.len() + 1
    }
}

/// Whether one of the networks holds `ip` (canonical: no v4-mapped form).
pub(crate) fn contains(cidrs: &[IpNet], ip: IpAddr) -> bool {
    cidrs.iter().any(|cidr| cidr.contains(&ip))
}

/// One bound address with its policy and its routes.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ListenerConfig {
    /// Unique among the listeners.
    pub name: Arc<str>,
    /// Unique among the listeners, unless the port is 0.
    pub bind: SocketAddr,
    /// Who may connect.
    pub source_policy: SourcePolicy,
    /// Peers that announce the source with a PROXY protocol header; empty when nobody does.
    pub trusted_proxies: Vec<IpNet>,
    /// Bounds on the ClientHello.
    pub client_hello: HelloLimits,
    /// Bounds on the relay.
    pub timeouts: RelayTimeouts,
    /// Options of the downstream sockets.
    pub tcp: TcpOptions,
    /// On all of its connections together.
    pub limits: ConnectionLimits,
    /// On the connections of each source address.
    pub limits_per_source: SourceLimits,
    /// What is reachable, by precedence. Empty means that nothing is.
    pub routes: Vec<RouteConfig>,
    /// Hosts that are known and not routed, with the reason: what a client that asks for one is told
    /// in the log.
    #[serde(skip)]
    pub unrouted: Arc<HashMap<ServerName, Arc<str>>>,
}

/// How many connections a listener, a route, a source group or a source address may have. `None`:
/// as many as there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct ConnectionLimits {
    /// At a time, at least 1.
    pub connections: Option<u32>,
    /// New ones a second, at least 1; a second's worth may come at once.
    pub connections_per_second: Option<u32>,
    /// ClientHellos in progress, at least 1.
    pub hellos: Option<u32>,
}

impl ConnectionLimits {
    /// No limit.
    pub const OFF: Self = Self {
        connections: None,
        connections_per_second: None,
        hellos: None,
    };

    /// Whether nothing is limited.
    pub fn is_off(&self) -> bool {
        *self == Self::OFF
    }
}

impl Default for ConnectionLimits {
    fn default() -> Self {
        Self::OFF
    }
}

/// How many connections each source address may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct SourceLimits {
    /// Each one's limits.
    pub each: ConnectionLimits,
    /// IPv6 addresses with this many bits in common count as one, 32..=128.
    pub ipv6_prefix: u8,
}

impl Default for SourceLimits {
    fn default() -> Self {
        Self {
            each: ConnectionLimits::OFF,
            ipv6_prefix: 64,
        }
    }
}

/// Who may connect: not denied, and allowed when `allow` says anything.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct SourcePolicy {
    /// `None`: any source.
    pub allow: Option<Vec<IpNet>>,
    /// Beats `allow`.
    pub deny: Vec<IpNet>,
}

impl SourcePolicy {
    /// Whether `ip` (canonical: no v4-mapped form) may connect.
    pub fn admits(&self, ip: IpAddr) -> bool {
        !contains(&self.deny, ip) && self.allow.as_ref().is_none_or(|allow| contains(allow, ip))
    }
}

/// Bounds on the ClientHello.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct HelloLimits {
    /// From accept to the last byte of the hello: one absolute deadline.
    #[serde(serialize_with = "units::serialize_duration")]
    pub timeout: Duration,
    /// Bytes of the handshake message with its 4-byte header, 512..=65536.
    pub max_size: usize,
}

/// Bounds on the relay.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct RelayTimeouts {
    /// Without a byte either way.
    #[serde(serialize_with = "units::serialize_duration")]
    pub idle: Duration,
    /// Since the last byte, once one side has closed.
    #[serde(serialize_with = "units::serialize_duration")]
    pub half_closed: Duration,
}

/// Options of a socket that carries traffic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct TcpOptions {
    /// Idle time before the first keepalive probe, at least 1 s.
    #[serde(serialize_with = "units::serialize_duration")]
    pub keepalive_time: Duration,
    /// Between probes, at least 1 s.
    #[serde(serialize_with = "units::serialize_duration")]
    pub keepalive_interval: Duration,
    /// Unanswered probes until the peer counts as gone.
    pub keepalive_probes: u32,
    /// The time for which a peer may acknowledge nothing of what waits for it.
    #[serde(serialize_with = "units::serialize_duration")]
    pub user_timeout: Duration,
    /// Memory for what was sent and is not acknowledged; `None`: the kernel decides.
    pub send_buffer: Option<usize>,
    /// Memory for what has arrived and is not read; `None`: the kernel decides.
    pub receive_buffer: Option<usize>,
    /// What waits beyond that which the network takes now; `None`: as much as there is memory for.
    pub unsent: Option<usize>,
}

impl From<TcpOptions> for BufferOptions {
    fn from(options: TcpOptions) -> Self {
        Self {
            send: options.send_buffer,
            receive: options.receive_buffer,
            unsent: options.unsent,
        }
    }
}

impl From<TcpOptions> for StreamOptions {
    fn from(options: TcpOptions) -> Self {
        Self {
            keepalive_time: options.keepalive_time,
            keepalive_interval: options.keepalive_interval,
            keepalive_probes: options.keepalive_probes,
            user_timeout: options.user_timeout,
            buffers: options.into(),
        }
    }
}

/// What a listener does with a server name.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RouteConfig {
    /// The metric label; unique in its listener.
    pub name: Arc<str>,
    /// Which server names.
    pub matches: RouteMatch,
    /// Which ALPN offers.
    pub alpn: AlpnPolicy,
    /// Where its connections go.
    pub targets: TargetConfigs,
    /// On its connections. It limits no hellos: those have ended when the route is known.
    pub limits: ConnectionLimits,
    /// Where it comes from.
    pub origin: Origin,
    /// Why the export policy would refuse its connections, were it no dry run.
    pub dry_run: Option<Arc<str>>,
}

/// The upstreams that share a route's connections; at least one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TargetConfigs {
    /// The only one, usually.
    pub first: TargetConfig,
    /// The others.
    pub rest: Vec<TargetConfig>,
}

impl TargetConfigs {
    /// One upstream that gets every connection.
    pub fn only(upstream: Arc<str>) -> Self {
        let weight = NonZeroU32::MIN;
        Self {
            first: TargetConfig { upstream, weight },
            rest: Vec::new(),
        }
    }

    /// Every target.
    pub fn iter(&self) -> impl Iterator<Item = &TargetConfig> {
        std::iter::once(&self.first).chain(&self.rest)
    }
}

impl Serialize for TargetConfigs {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.iter())
    }
}

/// One of the upstreams that share a route's connections.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TargetConfig {
    /// A key of [`Config::upstreams`].
    pub upstream: Arc<str>,
    /// Its share against the others'.
    pub weight: NonZeroU32,
}

/// A named set of endpoints with its connection policy.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct UpstreamConfig {
    /// Its key in [`Config::upstreams`].
    pub name: Arc<str>,
    /// Where its endpoints come from.
    pub source: UpstreamSource,
    /// How its endpoints are connected to.
    pub connect: ConnectPolicy,
    /// Which PROXY protocol header its endpoints get first, if any.
    pub proxy_protocol: Option<ProxyVersion>,
    /// When an endpoint that fails is left alone.
    pub ejection: EjectionPolicy,
    /// Options of the upstream sockets.
    pub tcp: TcpOptions,
}

/// Where an upstream's endpoints come from.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum UpstreamSource {
    /// Listed in the file; at least one.
    Static(Vec<EndpointSpec>),
    /// Resolved from a name.
    Dns(DnsConfig),
    /// Told by the Kubernetes source.
    Kubernetes(ServicePort),
}

/// The pods behind a port of a Service, or some of them.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
pub struct ServicePort {
    /// The namespace of the Service.
    pub namespace: Arc<str>,
    /// The name of the Service.
    pub service: Arc<str>,
    /// The port of the Service, never the targetPort.
    pub port: u16,
    /// Only the pods of this subset of the host's DestinationRules.
    pub subset: Option<Arc<str>>,
    /// Only the pod of this hostname, of a headless Service.
    pub pod: Option<Arc<str>>,
    /// Whether pods outside Istio's mesh count too.
    pub pods: PodChoice,
}

/// Whether pods outside Istio's mesh are endpoints.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum PodChoice {
    /// As the export policy's `alpn` has it: they are left out when clients must offer an Istio ALPN.
    #[default]
    AsExported,
    /// They are left out.
    Mesh,
    /// They count.
    All,
    /// No pod is an endpoint: a backend of a TLSRoute that may not be used, or that is not there.
    Refused,
}

impl fmt::Display for ServicePort {
    /// As the upstream is called: `NAMESPACE/SERVICE:PORT`, then `/SUBSET`, `@POD`, and `+mesh`, `+all`
    /// or `+refused` if any.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}:{}", self.namespace, self.service, self.port)?;
        if let Some(subset) = &self.subset {
            write!(f, "/{subset}")?;
        }
        if let Some(pod) = &self.pod {
            write!(f, "@{pod}")?;
        }
        f.write_str(match self.pods {
            PodChoice::AsExported => "",
            PodChoice::Mesh => "+mesh",
            PodChoice::All => "+all",
            PodChoice::Refused => "+refused",
        })
    }
}

/// One endpoint as a source tells it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
pub struct EndpointSpec {
    /// Where to connect.
    pub address: SocketAddr,
    /// The zone it runs in, if known.
    pub zone: Option<Arc<str>>,
    /// Its share of the connections against the others', 1..=1000.
    pub weight: u16,
}

/// How connections to an upstream's endpoints are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct ConnectPolicy {
    /// Per attempt.
    #[serde(serialize_with = "units::serialize_duration")]
    pub timeout: Duration,
    /// Attempts, each on another endpoint, 1..=10.
    pub attempts: u32,
}

/// Versions of the PROXY protocol that are sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ProxyVersion {
    /// The binary header.
    V2,
}

/// When an endpoint to which connecting fails is left alone for a while.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct EjectionPolicy {
    /// Failed attempts in a row that eject; 0 never does.
    pub consecutive_failures: u32,
    /// The first ejection's duration; each further one in a row doubles it.
    #[serde(serialize_with = "units::serialize_duration")]
    pub base: Duration,
    /// The longest ejection.
    #[serde(serialize_with = "units::serialize_duration")]
    pub max: Duration,
}

/// An upstream whose endpoints are the answers for a name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DnsConfig {
    /// What is asked.
    pub query: DnsQuery,
    /// Answers are asked again no sooner than this, however small their TTL.
    #[serde(serialize_with = "units::serialize_duration")]
    pub min_ttl: Duration,
    /// And no later than this, however large.
    #[serde(serialize_with = "units::serialize_duration")]
    pub max_ttl: Duration,
    /// Endpoints kept at the most; the rest of a larger answer is left out and counted.
    pub max_endpoints: usize,
    /// Kinds of address that are taken although they are refused by default.
    pub allow: Vec<AddressKind>,
}

/// What is asked of DNS.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum DnsQuery {
    /// A and AAAA of `name`; every answer is an endpoint at `port`.
    Address {
        /// The host.
        name: ServerName,
        /// The port of every endpoint.
        port: u16,
    },
    /// SRV of `name`, then A and AAAA of each target; ports and weights come from the records.
    Service {
        /// For instance `_https._tcp.spire.example.com`.
        name: ServerName,
    },
}

impl fmt::Display for DnsQuery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address { name, port } => write!(f, "{name}:{port}"),
            Self::Service { name } => write!(f, "SRV {name}"),
        }
    }
}

/// Kinds of address that a DNS answer may not hold unless the upstream allows them by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum AddressKind {
    /// 127.0.0.0/8, ::1.
    Loopback,
    /// 169.254.0.0/16, fe80::/10.
    LinkLocal,
    /// The clouds' instance metadata services.
    Metadata,
    /// 0.0.0.0/8, ::.
    Unspecified,
    /// 224.0.0.0/4, ff00::/8, and 255.255.255.255.
    Multicast,
    /// An address and port that this gateway listens on: a loop.
    OwnListener,
}

/// How names of `dns` upstreams are resolved.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ResolverConfig {
    /// Empty: those of /etc/resolv.conf, with its search list.
    pub servers: Vec<SocketAddr>,
    /// Per query and server.
    #[serde(serialize_with = "units::serialize_duration")]
    pub timeout: Duration,
}

/// Limits of the whole process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Limits {
    /// `None`: from the limits of open files and of memory.
    pub connections: Option<usize>,
    /// Percent of the memory limit from which on new connections are refused; `None`: never.
    pub memory_percent: Option<u32>,
    /// Bytes that all hellos in progress may hold together.
    pub hello_memory: usize,
    /// Bytes that all short writes may leave waiting together.
    pub carry_memory: usize,
}

/// How the process ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct DrainConfig {
    /// Not ready, but still accepting.
    #[serde(serialize_with = "units::serialize_duration")]
    pub readiness_delay: Duration,
    /// From closing the listeners to cutting what still runs.
    #[serde(serialize_with = "units::serialize_duration")]
    pub window: Duration,
}

/// One line a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct AccessLogConfig {
    /// `None`: no access log.
    pub format: Option<LogFormat>,
    /// Lines a second for connections that reached no upstream, for each outcome of each source group;
    /// of more, one line a second says how many there were.
    pub refused_per_second: u32,
    /// Lines that may wait for stdout; more are counted, not written.
    pub queue: usize,
    /// How clients are fingerprinted; `None`: not at all.
    pub fingerprint: Option<Fingerprint>,
}

/// What strait says of itself, on stderr.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LogConfig {
    /// A filter in tracing's syntax: `info`, or `info,strait::proxy=debug`.
    pub level: Arc<str>,
    /// How it is written.
    pub format: LogFormat,
}

/// How the software of a client is told from its hello.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Fingerprint {
    /// FoxIO's JA4.
    Ja4,
}

/// How log lines are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum LogFormat {
    /// One JSON object a line.
    Json,
    /// key=value pairs.
    Text,
}
