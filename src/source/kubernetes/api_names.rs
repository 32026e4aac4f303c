//! The names and versions under which the API may serve each kind, and the keys of labels, annotations and
//! ConfigMaps that strait reads.

use super::cluster::Kind;
use super::records::gateway;

/// The prefix of strait's annotations.
pub(super) const OURS: &str = "strait.dev/";
/// The annotation with the namespaces that Istio shows a Service to.
pub(super) const EXPORT_TO: &str = "networking.istio.io/exportTo";
/// The annotation of a WorkloadEntry whose condition `Healthy` counts.
pub(super) const HEALTH_CHECKS: &str = "proxy.istio.io/health-checks-enabled";
/// The label that names the Service of a slice.
pub(super) const SERVICE_NAME: &str = "kubernetes.io/service-name";
/// The label with a node's region, and the older label that it replaces.
pub(super) const REGION: [&str; 2] = [
    "topology.kubernetes.io/region",
    "failure-domain.beta.kubernetes.io/region",
];
/// The label with a node's zone, and the older label that it replaces.
pub(super) const ZONE: [&str; 2] = [
    "topology.kubernetes.io/zone",
    "failure-domain.beta.kubernetes.io/zone",
];
/// The label with a node's subzone.
pub(super) const SUBZONE: [&str; 1] = ["topology.istio.io/subzone"];
/// The key of the mesh's settings in Istio's ConfigMap.
pub(super) const MESH_SETTINGS: &str = "mesh";
/// The key in Istio's ConfigMap that puts addresses and registries into networks.
pub(super) const MESH_NETWORKS: &str = "meshNetworks";

type ApiName = &'static str;

/// A kind's names in the API.
#[derive(Debug, Clone, Copy)]
pub(super) struct ApiNames {
    /// The API group. Empty for the core group.
    pub(super) group: ApiName,
    /// The versions that strait can read, the preferred one first.
    pub(super) versions: &'static [ApiName],
    pub(super) plural: ApiName,
    pub(super) kind: ApiName,
}

impl ApiNames {
    pub(super) fn of(kind: Kind) -> Self {
        const ISTIO: &[&str] = &["v1", "v1beta1"];
        const GATEWAY: &[&str] = &["v1", "v1beta1"];
        let (group, versions, plural, kind): (ApiName, &'static [ApiName], ApiName, ApiName) =
            match kind {
                Kind::Service => ("", &["v1"], "services", "Service"),
                Kind::Pod => ("", &["v1"], "pods", "Pod"),
                Kind::Namespace => ("", &["v1"], "namespaces", "Namespace"),
                Kind::Node => ("", &["v1"], "nodes", "Node"),
                Kind::Slice => (
                    "discovery.k8s.io",
                    &["v1"],
                    "endpointslices",
                    "EndpointSlice",
                ),
                Kind::ServiceExport => (
                    "multicluster.x-k8s.io",
                    &["v1", "v1beta1", "v1alpha1"],
                    "serviceexports",
                    "ServiceExport",
                ),
                Kind::PeerAuthentication => (
                    "security.istio.io",
                    ISTIO,
                    "peerauthentications",
                    "PeerAuthentication",
                ),
                Kind::DestinationRule => (
                    "networking.istio.io",
                    &["v1", "v1beta1", "v1alpha3"],
                    "destinationrules",
                    "DestinationRule",
                ),
                Kind::ServiceEntry => (
                    "networking.istio.io",
                    &["v1", "v1beta1", "v1alpha3"],
                    "serviceentries",
                    "ServiceEntry",
                ),
                Kind::WorkloadEntry => (
                    "networking.istio.io",
                    &["v1", "v1beta1", "v1alpha3"],
                    "workloadentries",
                    "WorkloadEntry",
                ),
                Kind::MeshConfig => ("", &["v1"], "configmaps", "ConfigMap"),
                Kind::GatewayClass => (gateway::GROUP, GATEWAY, "gatewayclasses", "GatewayClass"),
                Kind::Gateway => (gateway::GROUP, GATEWAY, "gateways", "Gateway"),
                Kind::TlsRoute => (
                    gateway::GROUP,
                    &["v1", "v1alpha3", "v1alpha2"],
                    "tlsroutes",
                    "TLSRoute",
                ),
                Kind::ReferenceGrant => {
                    (gateway::GROUP, GATEWAY, "referencegrants", "ReferenceGrant")
                }
            };
        Self {
            group,
            versions,
            plural,
            kind,
        }
    }
}
