//! The records of the API's objects: the fields that routing needs and nothing else.

pub mod entry;
pub mod gateway;
mod labels;
pub mod mesh;
pub mod wishes;

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::num::NonZeroU16;
use std::sync::Arc;

pub use labels::Labels;
use wishes::RuleWishes;

/// The key of an object of one kind. Objects without a namespace have an empty one.
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
    /// The key of an object without a namespace.
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
    /// strait's annotations (`strait.dev/...`), without the prefix.
    pub annotations: Labels,
    /// The type of the Service.
    pub kind: ServiceKind,
    /// TCP ports.
    pub ports: Box<[ServicePortRecord]>,
    /// The namespaces that its annotation `networking.istio.io/exportTo` shows it to. Empty without the
    /// annotation.
    pub export_to: Box<[Arc<str>]>,
    /// `status.loadBalancer.ingress`, each by IP address or host name, otherwise `externalIPs`. Few
    /// Services have any.
    pub addresses: Box<[Arc<str>]>,
    /// True if `ipFamilies` starts with IPv6: pods that have both families are reached over IPv6 first.
    pub ipv6_first: bool,
    /// `selector`, by which WorkloadEntries belong to it too. Empty without one.
    pub selector: Labels,
}

/// The type of a Service.
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
    /// Empty when the only port has no name. The slices use the same name for the port.
    pub name: Arc<str>,
    /// `port`.
    pub port: u16,
    /// `targetPort`, if it is a number.
    pub target: Option<NonZeroU16>,
    /// `targetPort`, if it is a name.
    pub target_name: Option<Arc<str>>,
}

/// An EndpointSlice. It belongs to the Service that its label `kubernetes.io/service-name` names.
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
    /// The first of `addresses`. All addresses belong to the same pod (`kubectl explain
    /// endpointslice.endpoints.addresses`).
    pub address: IpAddr,
    /// `conditions.ready`; unknown counts as ready. With `publishNotReadyAddresses` of the Service it is
    /// true in any case.
    pub ready: bool,
    /// `conditions.serving`: it would be ready if it did not terminate. Unknown counts as yes.
    pub serving: bool,
    /// `conditions.terminating`; unknown counts as no.
    pub terminating: bool,
    /// `zone`.
    pub zone: Option<Arc<str>>,
    /// `nodeName`.
    pub node: Option<Arc<str>>,
    /// `hostname`, of StatefulSet pods.
    pub hostname: Option<Arc<str>>,
    /// The name of the Pod that `targetRef` names, in the slice's namespace. Slices that people write
    /// often lack it.
    pub pod: Option<Arc<str>>,
}

/// A Pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PodRecord {
    /// Its labels. Subsets, PeerAuthentications and `security.istio.io/tlsMode` use them.
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

/// A `ServiceExport` of the Multi-Cluster Services API. It exports the Service of the same name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ServiceExportRecord {
    /// The reason why it exports nothing, if its condition `Valid` is false.
    pub invalid: Option<Arc<str>>,
}

/// The mTLS mode that a PeerAuthentication or DestinationRule asks for; `None` leaves it to the policy
/// above it.
pub type TlsMode<T> = Option<T>;

/// Istio's PeerAuthentication.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerAuthenticationRecord {
    /// `metadata.creationTimestamp`, seconds since 1970. Of two that cover the same pods the older
    /// counts.
    pub created: i64,
    /// `selector.matchLabels`; empty: the whole namespace, or the mesh when in Istio's root namespace.
    pub selector: Labels,
    /// `mtls.mode`: true for DISABLE.
    pub disabled: TlsMode<bool>,
    /// `portLevelMtls` by the pods' port: true for DISABLE.
    pub disabled_ports: BTreeMap<u16, TlsMode<bool>>,
}

/// Istio's DestinationRule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DestinationRuleRecord {
    /// `metadata.creationTimestamp`, seconds since 1970.
    pub created: i64,
    /// `host` as written. A short name means a Service of the rule's namespace.
    pub host: Arc<str>,
    /// `exportTo`; empty: everywhere.
    pub export_to: Box<[Arc<str>]>,
    /// True if it has a `workloadSelector`: such a rule is for some clients only, and no gateway is
    /// among them.
    pub for_workloads: bool,
    /// `trafficPolicy.tls.mode`, and `portLevelSettings` by service port. `None` without a
    /// `trafficPolicy`: then that of a younger rule for the host counts.
    pub tls: Option<RuleTls>,
    /// The rest of the `trafficPolicy`, as far as it is about connections.
    pub wishes: Box<RuleWishes>,
    /// Subsets by name, each with labels of its pods and a TLS mode.
    pub subsets: Box<[SubsetRecord]>,
}

/// A subset of a DestinationRule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SubsetRecord {
    /// Its name.
    pub name: Arc<str>,
    /// Labels that its pods have.
    pub labels: Labels,
    /// The TLS mode of the subset.
    pub tls: RuleTls,
    /// The rest of its `trafficPolicy`, as far as it is about connections.
    pub wishes: RuleWishes,
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
    /// The mode for a service port.
    pub fn of_port(&self, port: u16) -> TlsMode<ClientTls> {
        self.ports.get(&port).copied().or(self.mode)
    }
}

/// A DestinationRule's `tls.mode`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClientTls {
    /// DISABLE.
    Disable,
    /// SIMPLE or MUTUAL: the client uses TLS of its own.
    Own,
    /// ISTIO_MUTUAL.
    IstioMutual,
}
