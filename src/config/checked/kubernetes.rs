//! The config of the Kubernetes source: the objects that it watches, and the routes that it may make.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use super::dns::ResolverConfig;
use super::gateway_policy::{BelowFileRoutes, FileNames, GatewayNamespaces, PortRange};
use super::listener::ListenerConfig;
use super::route_match::AlpnPolicy;
use super::upstream::UpstreamConfig;
use crate::config::bounds;
use crate::metrics::MAX_CLUSTERS;
use crate::names::ListenerName;
use crate::server_name::ServerName;

/// The namespace that istiod is in, and whose policies hold for the whole mesh, unless the mesh's settings
/// name another one.
pub const ISTIO_ROOT_NAMESPACE: &str = "istio-system";

/// The largest number of other clusters.
pub const MAX_OTHER_CLUSTERS: usize = MAX_CLUSTERS;

/// Another cluster of the mesh.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct OtherClusterConfig {
    /// istiod's name for it.
    pub name: Arc<str>,
    /// The network of its pods that name none.
    pub network: Arc<str>,
    /// The file for access to its API.
    pub kubeconfig: PathBuf,
}

/// The Kubernetes source.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct KubernetesConfig {
    /// Access to the API; `None` for the service account of the pod.
    pub kubeconfig: Option<Kubeconfig>,
    /// The domain of the cluster's services, usually `cluster.local`.
    pub cluster_domain: ServerName,
    /// istiod's name for this cluster, if it is known.
    pub cluster: Option<Arc<str>>,
    /// The network of this gateway; `None` for that of the label of Istio's namespace.
    pub network: Option<Arc<str>>,
    /// Other clusters of the mesh.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub clusters: Vec<OtherClusterConfig>,
    /// Istio's control plane in this cluster.
    pub istio: IstioConfig,
    /// The node that this gateway runs on. Its zone counts when the config names none.
    pub node: Option<Arc<str>>,
    /// The policy for Services that other clusters may reach without a route in the file.
    pub export: ExportPolicy,
    /// The policy for Gateways and TLSRoutes; `None` if strait ignores them.
    pub gateway_api: Option<GatewayApiConfig>,
    /// The file with the state of the cluster; `None` if there is none.
    pub saved_state: Option<SavedStateConfig>,
    /// The resolver of names in ServiceEntries and WorkloadEntries.
    #[serde(skip)]
    pub resolver: ResolverConfig,
    /// The policy of every upstream that the source makes; its name and source are placeholders.
    pub upstream: Arc<UpstreamConfig>,
}

/// The file with the state of the cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SavedStateConfig {
    /// The file.
    pub path: PathBuf,
    /// The largest age at which it is used.
    #[serde(serialize_with = "bounds::serialize_duration")]
    pub max_age: Duration,
    /// The largest size in bytes.
    pub max_size: usize,
}

/// Istio's control plane in a cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct IstioConfig {
    /// The namespace of istiod and of Istio's gateways.
    pub namespace: Arc<str>,
    /// The ConfigMap in that namespace with the mesh's settings; `None`: Istio's defaults hold.
    pub config_map: Option<Arc<str>>,
}

/// Access to the API from outside the cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Kubeconfig {
    /// The file.
    pub path: PathBuf,
    /// The context in it; `None`: its current one.
    pub context: Option<String>,
}

/// The export policy.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ExportPolicy {
    /// The choice of services.
    pub mode: ExportMode,
    /// The names of the listeners that route exports.
    pub listeners: Vec<ListenerName>,
    /// The owner's consent that is also needed.
    pub opt_in: OptIn,
    /// The ALPN offers that exported ports accept.
    pub alpn: AlpnPolicy,
    /// Routes everything as [`ExportMode::All`] does, and logs and counts the connections that the
    /// policy would refuse.
    pub dry_run: bool,
}

/// The choice of exported services.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ExportMode {
    /// Nothing is exported.
    None,
    /// The services that match all of the selectors.
    Selected(ServiceSelector),
    /// Every service, as with Istio's `*.local`.
    All,
}

/// A selection of services and ports. An empty list or map matches everything.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct ServiceSelector {
    /// Names of namespaces.
    pub namespaces: Vec<Arc<str>>,
    /// Labels that the namespace must have.
    pub namespace_labels: BTreeMap<Arc<str>, Arc<str>>,
    /// Names of services.
    pub names: Vec<Arc<str>>,
    /// Labels that the service must have.
    pub labels: BTreeMap<Arc<str>, Arc<str>>,
    /// Ports of the service.
    pub ports: Vec<PortSelector>,
}

/// A port of a Service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum PortSelector {
    /// `port`, never the targetPort.
    Number(u16),
    /// `name`.
    Name(Arc<str>),
}

/// The owner's consent that is needed before a Service is exported.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum OptIn {
    /// None is needed.
    None,
    /// The Service has the annotation `strait.dev/export: "true"`.
    Annotation,
    /// A `ServiceExport` of the Multi-Cluster Services API with the Service's name exists.
    ServiceExport,
}

/// The policy for Gateways and TLSRoutes.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct GatewayApiConfig {
    /// The GatewayClass whose Gateways are served.
    pub class: Arc<str>,
    /// The `controllerName` that its GatewayClass must have.
    pub controller: Arc<str>,
    /// The template for a listener when no listener of the file has its port. Its name, address and
    /// routes are placeholders.
    pub listener: Arc<ListenerConfig>,
    /// The addresses that Gateways show in their status.
    pub addresses: GatewayAddresses,
    /// Ports that no Gateway may have, since the admin, status and metrics servers use them.
    pub reserved_ports: BTreeSet<u16>,
    /// Namespaces that may have Gateways.
    pub namespaces: GatewayNamespaces,
    /// Labels that such a namespace must have.
    pub namespace_labels: BTreeMap<Arc<str>, Arc<str>>,
    /// The namespace that strait runs in, once the source knows it.
    #[serde(skip)]
    pub home: Option<Arc<str>>,
    /// Ports that Gateways may have.
    pub ports: Vec<PortRange>,
    /// The treatment of names below those of the file.
    pub below_file_routes: BelowFileRoutes,
    /// The names of the file's own routes.
    #[serde(skip)]
    pub file_names: FileNames,
}

/// The addresses of this gateway that Gateways show.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum GatewayAddresses {
    /// They are not known.
    #[default]
    Unknown,
    /// These IP addresses and host names.
    Fixed(Vec<Arc<str>>),
    /// The addresses of the Service in front of this gateway: those of its load balancer, or its
    /// `externalIPs`.
    Service {
        /// Its namespace.
        namespace: Arc<str>,
        /// Its name.
        name: Arc<str>,
    },
}
