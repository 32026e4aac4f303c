//! Under which names and versions the API serves the kinds.

use kube::Client;

use crate::source::kubernetes::cluster::Kind;
use crate::source::kubernetes::records::gateway;

/// A kind's names in the API, and the version that is used.
#[derive(Debug, Clone)]
pub(super) struct Served {
    pub(super) group: &'static str,
    pub(super) version: &'static str,
    pub(super) plural: &'static str,
    pub(super) kind: &'static str,
}

/// The group, the versions by preference, and the names.
fn names(
    kind: Kind,
) -> (
    &'static str,
    &'static [&'static str],
    &'static str,
    &'static str,
) {
    const ISTIO: &[&str] = &["v1", "v1beta1"];
    const GATEWAY: &[&str] = &["v1", "v1beta1"];
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
        Kind::GatewayClass => (gateway::GROUP, GATEWAY, "gatewayclasses", "GatewayClass"),
        Kind::Gateway => (gateway::GROUP, GATEWAY, "gateways", "Gateway"),
        Kind::TlsRoute => (
            gateway::GROUP,
            &["v1", "v1alpha3", "v1alpha2"],
            "tlsroutes",
            "TLSRoute",
        ),
        Kind::ReferenceGrant => (gateway::GROUP, GATEWAY, "referencegrants", "ReferenceGrant"),
    }
}

impl Served {
    /// The version in which the API serves `kind`: the newest that we know. `None`: it is not installed.
    ///
    /// # Errors
    /// The API does not say.
    pub(super) async fn find(kind: Kind, client: &Client) -> Result<Option<Self>, kube::Error> {
        let (group, versions, plural, api_kind) = names(kind);
        let served = |version| Self {
            group,
            version,
            plural,
            kind: api_kind,
        };
        if let ([version], true) = (versions, group.is_empty() || kind == Kind::Slice) {
            return Ok(Some(served(version)));
        }
        for version in versions {
            let group_version = format!("{group}/{version}");
            match client.list_api_group_resources(&group_version).await {
                Ok(list) if list.resources.iter().any(|one| one.name == plural) => {
                    return Ok(Some(served(version)));
                }
                Ok(_) => {}
                Err(kube::Error::Api(status)) if status.code == 404 => {}
                Err(error) => return Err(error),
            }
        }
        Ok(None)
    }
}
