//! What is kept of each object of the API: what routing needs, and nothing else.

pub mod gateway;
mod labels;
pub mod mesh;

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

pub use labels::Labels;

/// Names an object of one kind. Objects without a namespace have an empty one.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ObjectKey {
    /// `metadata.namespace`.
    pub namespace: Arc<str>,
    /// `metadata.name`.
    pub name: Arc<str>,
}

impl fmt::Display for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.namespace.is_empty() {
            f.write_str(&self.name)
        } else {
            write!(f, "{}/{}", self.namespace, self.name)
        }
    }
}

impl ObjectKey {
    /// An object without a namespace.
    pub fn global(name: &Arc<str>) -> Self {
        Self {
            namespace: Arc::default(),
            name: name.clone(),
        }
    }

    /// The object called `name` in the same namespace.
    pub fn beside(&self, name: &Arc<str>) -> Self {
        Self {
            namespace: self.namespace.clone(),
            name: name.clone(),
        }
    }
}

/// A Service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceRecord {
    /// `metadata.resourceVersion`.
    pub resource_version: Arc<str>,
    /// Its labels.
    pub labels: Labels,
    /// Annotations of ours (`strait.dev/...`), without the prefix.
    pub annotations: Labels,
    /// What it is.
    pub kind: ServiceKind,
    /// TCP ports.
    pub ports: Box<[ServicePortRecord]>,
    /// `publishNotReadyAddresses`.
    pub publish_not_ready: bool,
    /// To which namespaces its annotation `networking.istio.io/exportTo` shows it; empty: it does not say.
    pub export_to: Box<[Arc<str>]>,
    /// `status.loadBalancer.ingress`, each by IP address or host name; else `externalIPs`. Few Services
    /// have any.
    pub addresses: Box<[Arc<str>]>,
    /// Whether `ipFamilies` starts with IPv6: a pod that has both is reached by that.
    pub ipv6_first: bool,
}

/// What a Service is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ServiceKind {
    /// ClusterIP, NodePort or LoadBalancer: pods behind an address.
    Balanced,
    /// `clusterIP: None`: its pods have names of their own.
    Headless,
    /// An alias in DNS; it has no endpoints.
    ExternalName,
}

/// A TCP port of a Service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServicePortRecord {
    /// Empty when the only port has none. The slices name their ports so.
    pub name: Arc<str>,
    /// `port`.
    pub port: u16,
}

/// An EndpointSlice; belongs to the Service that its label `kubernetes.io/service-name` names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SliceRecord {
    /// The Service's name, in the slice's namespace.
    pub service: Arc<str>,
    /// TCP ports: the name that the Service gives, and the pods' port.
    pub ports: Box<[(Arc<str>, u16)]>,
    /// Its endpoints.
    pub endpoints: Box<[SliceEndpoint]>,
}

/// An endpoint of a slice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SliceEndpoint {
    /// The first of `addresses`, which all are the same pod (`kubectl explain endpointslice.endpoints.addresses`).
    pub address: IpAddr,
    /// `conditions.ready`; unknown counts as ready.
    pub ready: bool,
    /// `conditions.serving`; unknown is what `ready` says.
    pub serving: bool,
    /// `conditions.terminating`; unknown counts as no.
    pub terminating: bool,
    /// `zone`.
    pub zone: Option<Arc<str>>,
    /// `nodeName`.
    pub node: Option<Arc<str>>,
    /// `hostname`, of StatefulSet pods.
    pub hostname: Option<Arc<str>>,
    /// The name of the Pod that `targetRef` names, in the slice's namespace.
    pub pod: Option<Arc<str>>,
}

/// A Pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PodRecord {
    /// Its labels: for subsets, PeerAuthentications and `security.istio.io/tlsMode`.
    pub labels: Labels,
}

/// A Namespace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamespaceRecord {
    /// Its labels.
    pub labels: Labels,
}

/// A Node.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NodeRecord {
    /// The label `topology.kubernetes.io/region`, or the one that it replaces.
    pub region: Option<Arc<str>>,
    /// The label `topology.kubernetes.io/zone`, or the one that it replaces.
    pub zone: Option<Arc<str>>,
    /// The label `topology.istio.io/subzone`.
    pub subzone: Option<Arc<str>>,
}

/// A `ServiceExport` of the Multi-Cluster Services API: it names the Service of its own name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ServiceExportRecord;

/// What mTLS a PeerAuthentication or DestinationRule asks for; `None`: what is above it decides.
pub type TlsMode<T> = Option<T>;

/// Istio's PeerAuthentication.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerAuthenticationRecord {
    /// `metadata.creationTimestamp`, seconds since 1970: of two that say the same the older counts.
    pub created: i64,
    /// `selector.matchLabels`; empty: the whole namespace, or the mesh when in Istio's root namespace.
    pub selector: Labels,
    /// `mtls.mode`: whether it is DISABLE.
    pub disabled: TlsMode<bool>,
    /// `portLevelMtls`, by the pods' port: whether it is DISABLE.
    pub disabled_ports: BTreeMap<u16, TlsMode<bool>>,
}

/// Istio's DestinationRule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DestinationRuleRecord {
    /// `metadata.creationTimestamp`, seconds since 1970.
    pub created: i64,
    /// `host`, as written: a short name counts in the rule's namespace.
    pub host: Arc<str>,
    /// `exportTo`; empty: everywhere.
    pub export_to: Box<[Arc<str>]>,
    /// Whether it has a `workloadSelector`: it is for some clients only, none of which is a gateway.
    pub for_workloads: bool,
    /// `trafficPolicy.tls.mode`, and `portLevelSettings` by service port; `None`: it has no
    /// `trafficPolicy`, so that of a younger rule for the host counts.
    pub tls: Option<RuleTls>,
    /// Subsets by name: labels of the pods, and a tls mode of their own.
    pub subsets: Box<[SubsetRecord]>,
}

/// A subset of a DestinationRule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SubsetRecord {
    /// Its name.
    pub name: Arc<str>,
    /// Labels that its pods have.
    pub labels: Labels,
    /// A tls mode of its own.
    pub tls: RuleTls,
}

/// `tls.mode` of a DestinationRule's traffic policy.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RuleTls {
    /// For every port.
    pub mode: TlsMode<ClientTls>,
    /// By service port.
    pub ports: BTreeMap<u16, ClientTls>,
}

impl RuleTls {
    /// What it says of a service port.
    pub fn of_port(&self, port: u16) -> TlsMode<ClientTls> {
        self.ports.get(&port).copied().or(self.mode)
    }
}

/// A DestinationRule's `tls.mode`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClientTls {
    /// DISABLE.
    Disable,
    /// SIMPLE or MUTUAL: the client's own TLS.
    Own,
    /// ISTIO_MUTUAL.
    IstioMutual,
}
