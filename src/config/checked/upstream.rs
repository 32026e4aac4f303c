//! An upstream: a named set of endpoints with its connection policy.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use super::dns::DnsConfig;
use super::tcp::TcpOptions;
use crate::config::bounds::{self, Attempts, Connections, Weight};
use crate::names::{NodeName, UpstreamName, Zone};
use crate::server_name::ServerName;

/// A named set of endpoints with its connection policy.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct UpstreamConfig {
    /// Its key in [`Config::upstreams`](super::Config::upstreams).
    pub name: UpstreamName,
    /// The source of its endpoints.
    pub source: UpstreamSource,
    /// The policy for connecting to its endpoints.
    pub connect: ConnectPolicy,
    /// The PROXY protocol header that its endpoints get first, if any.
    pub proxy_protocol: Option<ProxyVersion>,
    /// The choice of an endpoint for a connection.
    pub balance: Balance,
    /// The time in which the share of a new endpoint grows.
    #[serde(serialize_with = "bounds::serialize_duration_or_off")]
    pub slow_start: Option<Duration>,
    /// The policy of active checks, if there are any.
    pub check: Option<CheckPolicy>,
    /// The policy for ejecting endpoints.
    pub ejection: EjectionPolicy,
    /// Limits on connections to all endpoints together.
    pub limits: UpstreamLimits,
    /// Limits on connections to each endpoint.
    pub limits_per_endpoint: UpstreamLimits,
    /// Options of the upstream sockets.
    pub tcp: TcpOptions,
    /// Bounds on its connections beside those of the listener and the route.
    #[serde(skip_serializing_if = "UpstreamTimeouts::is_off")]
    pub timeouts: UpstreamTimeouts,
}

/// Bounds on the connections to an upstream. They hold beside those of the listener and the route: the smaller
/// value counts. `None`: no bound.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct UpstreamTimeouts {
    /// The longest time without a byte in either direction.
    #[serde(serialize_with = "bounds::serialize_duration_or_off")]
    pub idle: Option<Duration>,
    /// The longest life of a connection.
    #[serde(serialize_with = "bounds::serialize_duration_or_off")]
    pub max_age: Option<Duration>,
}

impl UpstreamTimeouts {
    /// No bound.
    pub const OFF: Self = Self {
        idle: None,
        max_age: None,
    };

    /// Whether no bound is set.
    pub fn is_off(&self) -> bool {
        *self == Self::OFF
    }
}

/// The source of an upstream's endpoints.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum UpstreamSource {
    /// Endpoints listed in the file, at least one.
    Static(Vec<EndpointSpec>),
    /// Endpoints resolved from a name.
    Dns(DnsConfig),
    /// Endpoints from the Kubernetes source.
    Kubernetes(ServicePort),
}

/// The pods behind a port of a Service, or some of them.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
pub struct ServicePort {
    /// The namespace of the Service.
    pub namespace: Arc<str>,
    /// The name of the Service, or the host of a ServiceEntry, which has a dot.
    pub service: Arc<str>,
    /// The port of the Service, never the targetPort.
    pub port: u16,
    /// The subset of the host's DestinationRules that the pods must belong to.
    pub subset: Option<Arc<str>>,
    /// True if a connection goes to the pod that its server name begins with, in a headless Service.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub by_pod: bool,
    /// The choice of pods outside Istio's mesh.
    pub pods: PodChoice,
}

/// The choice whether pods outside Istio's mesh are endpoints.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum PodChoice {
    /// As the export policy's `alpn` demands: pods outside the mesh are left out when clients must
    /// offer an Istio ALPN.
    #[default]
    AsExported,
    /// Pods outside the mesh are left out.
    Mesh,
    /// All pods are endpoints.
    All,
    /// No pod is an endpoint: the backend of a TLSRoute may not be used, or does not exist.
    Refused,
}

impl fmt::Display for ServicePort {
    /// The upstream's name: `NAMESPACE/SERVICE:PORT`, then `/SUBSET`, `@*` for pods by their names, and `+mesh`, `+all`
    /// or `+refused` if any.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}:{}", self.namespace, self.service, self.port)?;
        if let Some(subset) = &self.subset {
            write!(f, "/{subset}")?;
        }
        if self.by_pod {
            f.write_str("@*")?;
        }
        f.write_str(match self.pods {
            PodChoice::AsExported => "",
            PodChoice::Mesh => "+mesh",
            PodChoice::All => "+all",
            PodChoice::Refused => "+refused",
        })
    }
}

/// An endpoint as a source gives it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
pub struct EndpointSpec {
    /// The address to connect to.
    pub address: SocketAddr,
    /// The same server's address of the other family, if it has one: tried when the first fails.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub other: Option<SocketAddr>,
    /// The zone that it runs in, if known.
    pub zone: Option<Zone>,
    /// The node that it runs on, if known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node: Option<NodeName>,
    /// The name of its pod in a headless Service, if connections ask for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hostname: Option<Arc<str>>,
    /// Its share of the connections against the others'.
    pub weight: Weight,
    /// True if it ends soon and still serves. A source gives such endpoints only if it has no other, or no other of the
    /// same `hostname`.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub terminating: bool,
    /// The objects of the Kubernetes API that it comes from, if it does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub origin: Option<Arc<EndpointOrigin>>,
}

/// The objects of the Kubernetes API that an endpoint comes from.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
pub struct EndpointOrigin {
    /// The name of the cluster, if the config has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cluster: Option<Arc<str>>,
    /// The kind of the object that has the address or selects its pod.
    pub kind: OriginKind,
    /// The namespace of that object, and of the pod.
    pub namespace: Arc<str>,
    /// The name of that object.
    pub name: Arc<str>,
    /// The name of the pod, if it is known to be one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pod: Option<Arc<str>>,
    /// The DestinationRule that holds for it, as `NAMESPACE/NAME`: that of its subset, or of its host.
    #[serde(rename = "destination_rule", skip_serializing_if = "Option::is_none")]
    pub rule: Option<Arc<str>>,
}

/// The kinds of object that give endpoints.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
pub enum OriginKind {
    /// An EndpointSlice of a Service.
    EndpointSlice,
    /// A ServiceEntry that lists the endpoint or selects its pod.
    ServiceEntry,
    /// A WorkloadEntry.
    WorkloadEntry,
}

impl fmt::Display for EndpointOrigin {
    /// `[pod POD, ]KIND NAMESPACE/NAME[ of cluster CLUSTER][, DestinationRule NAMESPACE/NAME]`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            cluster,
            kind,
            namespace,
            name,
            pod,
            rule,
        } = self;
        if let Some(pod) = pod {
            write!(f, "pod {pod}, ")?;
        }
        write!(f, "{kind:?} {namespace}/{name}")?;
        if let Some(cluster) = cluster {
            write!(f, " of cluster {cluster}")?;
        }
        match rule {
            Some(rule) => write!(f, ", DestinationRule {rule}"),
            None => Ok(()),
        }
    }
}

/// The policy for connecting to an upstream's endpoints.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ConnectPolicy {
    /// Per attempt.
    #[serde(serialize_with = "bounds::serialize_duration")]
    pub timeout: Duration,
    /// Attempts, each on another endpoint.
    pub attempts: Attempts,
    /// The time after which the next attempt begins beside one that has not ended.
    #[serde(serialize_with = "bounds::serialize_duration_or_off")]
    pub hedge: Option<Duration>,
    /// The addresses of this host to connect from, in turn. Empty: the kernel chooses.
    pub source_addresses: Vec<IpAddr>,
}

/// The policy of active checks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CheckPolicy {
    /// The hello that must be answered. `None`: an endpoint that accepts a connection passes.
    pub hello: Option<CheckHello>,
    /// The longest time between two checks of an endpoint.
    #[serde(serialize_with = "bounds::serialize_duration")]
    pub interval: Duration,
    /// The time of a check.
    #[serde(serialize_with = "bounds::serialize_duration")]
    pub timeout: Duration,
    /// Checks in a row that pass before an unhealthy endpoint is healthy.
    pub rise: u32,
    /// Checks in a row that fail before an endpoint is unhealthy.
    pub fall: u32,
    /// The part of the interval by which it may be shorter, in percent.
    pub jitter_percent: u32,
}

/// The hello of a check.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CheckHello {
    /// The server name in it, if any.
    pub sni: Option<ServerName>,
    /// The ALPN protocols in it.
    pub alpn: Vec<Arc<str>>,
}

/// The ways to choose an endpoint for a connection.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Balance {
    /// The one with fewer connections of two at random.
    #[default]
    LeastConnections,
    /// Each in its turn.
    RoundRobin,
    /// Any one at random.
    Random,
    /// The same one for the same source address.
    SourceHash,
    /// The same one for the same server name.
    NameHash,
}

/// Limits on the connections to an upstream, or to each of its endpoints. `None`: no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct UpstreamLimits {
    /// Open or being opened.
    pub connections: Option<Connections>,
    /// Being opened.
    pub connecting: Option<Connections>,
}

impl UpstreamLimits {
    /// No limit.
    pub const OFF: Self = Self {
        connections: None,
        connecting: None,
    };

    /// Whether no limit is set.
    pub fn is_off(&self) -> bool {
        *self == Self::OFF
    }
}

/// The versions of the PROXY protocol that strait can send.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ProxyVersion {
    /// The binary header.
    V2,
}

/// The policy for ejecting an endpoint whose connections fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct EjectionPolicy {
    /// The number of failures in a row after which an endpoint is ejected; 0 for never.
    pub consecutive_failures: u32,
    /// The time for an endpoint's first byte. Longer silence is a failure.
    #[serde(serialize_with = "bounds::serialize_duration")]
    pub first_byte: Duration,
    /// The number of sources whose handshakes must be refused at an endpoint before it is ejected for that; 0 for
    /// never.
    pub refused_sources: u32,
    /// The duration of the first ejection. Each further one in a row lasts twice as long.
    #[serde(serialize_with = "bounds::serialize_duration")]
    pub base: Duration,
    /// The most endpoints that may be ejected, in percent; one may always be.
    pub max_percent: u32,
    /// When fewer endpoints than this are ready, in percent, all are picked, ejected or not.
    pub panic_percent: u32,
    /// The longest ejection.
    #[serde(serialize_with = "bounds::serialize_duration")]
    pub max: Duration,
}
