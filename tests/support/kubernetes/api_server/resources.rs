//! The resources that the stand-in knows.

/// One resource of the API.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Resource {
    /// Empty for the core group.
    pub(super) group: &'static str,
    /// Versions that are served; every object is the same in each.
    pub(super) versions: &'static [&'static str],
    /// As in the path.
    pub(super) plural: &'static str,
    /// As in the object.
    pub(super) kind: &'static str,
    /// Set if its objects have a namespace.
    pub(super) namespaced: bool,
}

const fn resource(
    group: &'static str,
    versions: &'static [&'static str],
    plural: &'static str,
    kind: &'static str,
) -> Resource {
    Resource {
        group,
        versions,
        plural,
        kind,
        namespaced: true,
    }
}

const fn cluster_wide(resource: Resource) -> Resource {
    Resource {
        namespaced: false,
        ..resource
    }
}

const GATEWAY: &str = "gateway.networking.k8s.io";
const SPIRE: &str = "spire.spiffe.io";

/// All of them. Those with a dot in the group that is not Kubernetes' own are custom resources.
pub(super) const ALL: &[Resource] = &[
    resource("", &["v1"], "services", "Service"),
    resource("", &["v1"], "pods", "Pod"),
    resource("", &["v1"], "configmaps", "ConfigMap"),
    cluster_wide(resource("", &["v1"], "namespaces", "Namespace")),
    cluster_wide(resource("", &["v1"], "nodes", "Node")),
    resource(
        "discovery.k8s.io",
        &["v1"],
        "endpointslices",
        "EndpointSlice",
    ),
    resource("coordination.k8s.io", &["v1"], "leases", "Lease"),
    resource("events.k8s.io", &["v1"], "events", "Event"),
    resource(
        "multicluster.x-k8s.io",
        &["v1alpha1"],
        "serviceexports",
        "ServiceExport",
    ),
    resource(
        "security.istio.io",
        &["v1", "v1beta1"],
        "peerauthentications",
        "PeerAuthentication",
    ),
    resource(
        "networking.istio.io",
        &["v1", "v1beta1"],
        "destinationrules",
        "DestinationRule",
    ),
    resource(
        "networking.istio.io",
        &["v1", "v1beta1"],
        "serviceentries",
        "ServiceEntry",
    ),
    resource(
        "networking.istio.io",
        &["v1", "v1beta1"],
        "workloadentries",
        "WorkloadEntry",
    ),
    cluster_wide(resource(
        GATEWAY,
        &["v1", "v1beta1"],
        "gatewayclasses",
        "GatewayClass",
    )),
    resource(GATEWAY, &["v1", "v1beta1"], "gateways", "Gateway"),
    resource(GATEWAY, &["v1", "v1alpha2"], "tlsroutes", "TLSRoute"),
    resource(
        GATEWAY,
        &["v1", "v1beta1"],
        "referencegrants",
        "ReferenceGrant",
    ),
    cluster_wide(resource(
        SPIRE,
        &["v1alpha1"],
        "clusterfederatedtrustdomains",
        "ClusterFederatedTrustDomain",
    )),
    cluster_wide(resource(
        SPIRE,
        &["v1alpha1"],
        "clusterspiffeids",
        "ClusterSPIFFEID",
    )),
];

/// The resource of that plural.
pub(super) fn named(plural: &str) -> &'static Resource {
    let found = ALL.iter().find(|resource| resource.plural == plural);
    found.unwrap_or_else(|| panic!("the stand-in has no resource {plural}"))
}

/// The resource whose objects have that kind.
pub(super) fn of_kind(kind: &str) -> &'static Resource {
    let found = ALL.iter().find(|resource| resource.kind == kind);
    found.unwrap_or_else(|| panic!("the stand-in has no resource of kind {kind}"))
}

impl Resource {
    /// `apiVersion` of its objects in a version.
    pub(super) fn api_version(&self, version: &str) -> String {
        match self.group {
            "" => version.to_owned(),
            group => format!("{group}/{version}"),
        }
    }
}
