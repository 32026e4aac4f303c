//! What the Kubernetes source watches, and what it may route to.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;

use serde::Serialize;

use super::gateway_policy::{BelowFileRoutes, FileNames, GatewayNamespaces, PortRange};
use super::listener::ListenerConfig;
use super::route_match::AlpnPolicy;
use super::upstream::UpstreamConfig;
use crate::names::ListenerName;
use crate::server_name::ServerName;

/// The namespace that istiod is in, and whose policies hold for the whole mesh, unless the mesh's settings
/// name another one.
pub const ISTIO_ROOT_NAMESPACE: &str = "istio-system";

/// The Kubernetes source.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct KubernetesConfig {
    /// How the API is reached; `None`: as a pod does, by its service account.
    pub kubeconfig: Option<Kubeconfig>,
    /// The domain of the cluster's services, usually `cluster.local`.
    pub cluster_domain: ServerName,
    /// The name that istiod has for this cluster, if it is known.
    pub cluster: Option<Arc<str>>,
    /// The network of this gateway; `None`: what the label of Istio's namespace says.
    pub network: Option<Arc<str>>,
    /// Istio's control plane in this cluster.
    pub istio: IstioConfig,
    /// The node that this gateway runs on: its zone counts when the config names none.
    pub node: Option<Arc<str>>,
    /// What of this cluster other clusters may reach without a route in the file.
    pub export: ExportPolicy,
    /// Gateways and TLSRoutes; `None`: they are not looked at.
    pub gateway_api: Option<GatewayApiConfig>,
    /// The policy of every upstream that the source makes; its name and source are placeholders.
    pub upstream: Arc<UpstreamConfig>,
}

/// Istio's control plane in a cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct IstioConfig {
    /// The namespace of istiod, in which its gateways stand too.
    pub namespace: Arc<str>,
    /// The ConfigMap of that namespace with the settings of the mesh; `None`: Istio's defaults hold.
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

/// What is exported, and how.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ExportPolicy {
    /// How the services are chosen.
    pub mode: ExportMode,
    /// Names of the listeners that route what is exported.
    pub listeners: Vec<ListenerName>,
    /// What the owner of a service must have done besides.
    pub opt_in: OptIn,
    /// Which ALPN offers exported ports take.
    pub alpn: AlpnPolicy,
    /// Route everything as [`ExportMode::All`] would, but log and count what the policy would refuse.
    pub dry_run: bool,
}

/// How exported services are chosen.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ExportMode {
    /// Nothing is exported.
    None,
    /// What every one of the selectors takes.
    Selected(ServiceSelector),
    /// Every service, as Istio's `*.local` does.
    All,
}

/// Which ports of which services; an empty list or map takes anything.
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

/// What the owner of a service must have done before it is exported.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum OptIn {
    /// Nothing.
    None,
    /// Annotated the Service with `strait.dev/export: "true"`.
    Annotation,
    /// Made a `ServiceExport` of the Multi-Cluster Services API with the service's name.
    ServiceExport,
}

/// Gateways and TLSRoutes.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct GatewayApiConfig {
    /// The GatewayClass whose Gateways are served.
    pub class: Arc<str>,
    /// The `controllerName` that its GatewayClass must have.
    pub controller: Arc<str>,
    /// What a listener is made of when no listener of the file has its port; name, address and routes
    /// are placeholders.
    pub listener: Arc<ListenerConfig>,
    /// The addresses that Gateways show in their status.
    pub addresses: GatewayAddresses,
    /// Ports that no Gateway may have: those of the admin, status and metrics servers.
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
    /// What becomes of names below those of the file.
    pub below_file_routes: BelowFileRoutes,
    /// What the file's own routes take.
    #[serde(skip)]
    pub file_names: FileNames,
}

/// What clients reach this gateway by, as Gateways show it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum GatewayAddresses {
    /// Nobody said.
    #[default]
    Unknown,
    /// These IP addresses and host names.
    Fixed(Vec<Arc<str>>),
    /// Those of the Service in front of this gateway: its load balancer's, or its `externalIPs`.
    Service {
        /// Its namespace.
        namespace: Arc<str>,
        /// Its name.
        name: Arc<str>,
    },
}
