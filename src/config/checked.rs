//! The config that the program runs on: whole, checked and resolved.
//!
//! A value of these types cannot name an upstream that does not exist, a CIDR that does not parse or
//! a limit out of bounds.

mod dns;
mod gateway_policy;
mod kubernetes;
mod limits;
mod line_fields;
mod line_pattern;
mod listener;
mod log_filter;
mod origin;
mod process;
mod route;
mod route_list;
mod route_match;
mod sources;
mod tcp;
mod upstream;

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::Arc;

use serde::Serialize;

use crate::names::{UpstreamName, Zone};
use crate::shared_map::SharedMap;

pub use dns::{AddressKind, DnsConfig, DnsQuery, ResolverConfig};
pub use gateway_policy::{BelowFileRoutes, FileNames, FileRoute, GatewayNamespaces, PortRange};
pub use kubernetes::{
    ExportMode, ExportPolicy, GatewayAddresses, GatewayApiConfig, ISTIO_ROOT_NAMESPACE,
    IstioConfig, Kubeconfig, KubernetesConfig, MAX_OTHER_CLUSTERS, OptIn, OtherClusterConfig,
    PortSelector, SavedStateConfig, ServiceSelector,
};
pub use limits::{ConnectionLimits, SourceLimits};
pub use line_fields::{LINE_FIELDS, LineField};
pub use line_pattern::{
    AddressPart, ENVOY_OPERATORS, EnvoyOperator, LineAddress, LinePattern, LinePatternError,
    LineTime, LineValue, PatternPart, TimePart,
};
pub use listener::{EndDisallowed, HelloLimits, ListenerConfig, Refuse, RelayTimeouts, StartTls};
pub use log_filter::{LogFilter, LogFilterError};
pub use origin::{ObjectRef, Origin};
pub use process::{
    AccessLogConfig, DrainConfig, EndQuiet, Fingerprint, IstioMetrics, KeptHellosConfig, Limits,
    LineFormat, LogConfig, LogFormat, OtlpConfig, OtlpEndpoint,
};
pub use route::{RouteConfig, RouteTimeouts, TargetConfig, TargetConfigs};
pub use route_list::{Exporter, Exports, RouteList};
pub use route_match::{
    AlpnPolicy, ISTIO_ALPNS, RouteMatch, SharedOffers, SniPattern, offers_in_words,
};
pub(crate) use sources::contains;
pub use sources::{OTHER_SOURCES, SourceGroup, SourceGroupId, SourceGroups, SourcePolicy};
pub use tcp::TcpOptions;
pub use upstream::{
    Balance, CheckHello, CheckPolicy, ConnectPolicy, EjectionPolicy, EndpointOrigin, EndpointSpec,
    OriginKind, PodChoice, ProxyVersion, ServicePort, UpstreamConfig, UpstreamLimits,
    UpstreamSource, UpstreamTimeouts,
};

/// The content of one config file.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Config {
    /// Worker threads, with `auto` resolved to the CPUs that this process may use.
    pub workers: NonZeroUsize,
    /// The zone of this gateway. Endpoints of the same zone are preferred.
    pub zone: Option<Zone>,
    /// Named groups of source addresses, in the file's order. The first match names the source.
    pub sources: Arc<SourceGroups>,
    /// The listeners of the file. May be empty if Gateways of the Gateway API open some.
    pub listeners: Vec<Arc<ListenerConfig>>,
    /// All upstreams, whether or not a route names them yet.
    pub upstreams: SharedMap<UpstreamName, Arc<UpstreamConfig>>,
    /// The Kubernetes source; `None` without one.
    pub kubernetes: Option<Arc<KubernetesConfig>>,
    /// The resolver of `dns` upstreams.
    pub resolver: ResolverConfig,
    /// Limits of the whole process.
    pub limits: Limits,
    /// The end of the process.
    pub drain: DrainConfig,
    /// The Unix socket of the takeover; `None` without one.
    pub takeover: Option<PathBuf>,
    /// The access log: one line for each connection.
    pub access_log: AccessLogConfig,
    /// strait's own log.
    pub log: LogConfig,
    /// The hellos that are kept; `None` for none.
    pub hellos: Option<KeptHellosConfig>,
    /// The admin server: status page, config dump, drain, log level. `None` when it is off.
    pub admin: Option<SocketAddr>,
    /// The health server, for the kubelet and load balancers.
    pub status: Option<SocketAddr>,
    /// The server of Prometheus metrics.
    pub metrics: Option<SocketAddr>,
    /// The number of endpoints with metrics of their own.
    pub metric_endpoints: usize,
    /// The number of routes whose counters of common outcomes begin at 0; `None` without metrics.
    pub metric_routes_from_zero: Option<usize>,
    /// The metrics with Istio's names, if they are wanted.
    pub metric_istio: Option<IstioMetrics>,
}
