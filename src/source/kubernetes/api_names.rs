//! The names and versions under which the API may serve each kind.

use super::cluster::Kind;
use super::records::gateway;

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
