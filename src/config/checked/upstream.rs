//! An upstream: a named set of endpoints with its connection policy.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use super::dns::DnsConfig;
use super::tcp::TcpOptions;
use crate::config::bounds::{self, Attempts, Weight};
use crate::names::{UpstreamName, Zone};

/// A named set of endpoints with its connection policy.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct UpstreamConfig {
    /// Its key in [`Config::upstreams`].
    pub name: UpstreamName,
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
    pub zone: Option<Zone>,
    /// Its share of the connections against the others'.
    pub weight: Weight,
}

/// How connections to an upstream's endpoints are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct ConnectPolicy {
    /// Per attempt.
    #[serde(serialize_with = "bounds::serialize_duration")]
    pub timeout: Duration,
    /// Attempts, each on another endpoint.
    pub attempts: Attempts,
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
    #[serde(serialize_with = "bounds::serialize_duration")]
    pub base: Duration,
    /// The longest ejection.
    #[serde(serialize_with = "bounds::serialize_duration")]
    pub max: Duration,
}
