//! The one list of the kinds of object that are watched.

/// Hands the list to the macro `$then`, a line a kind: the kind and the type of its records, the name
/// of its table in [`Cluster`](super::Cluster), and what logs and the metric label `kind` call it.
macro_rules! kinds {
    ($then:ident) => {
        $then! {
            Service(ServiceRecord), services, "service";
            Slice(SliceRecord), slices, "endpoint_slice";
            Pod(PodRecord), pods, "pod";
            Namespace(NamespaceRecord), namespaces, "namespace";
            Node(NodeRecord), nodes, "node";
            ServiceExport(ServiceExportRecord), service_exports, "service_export";
            PeerAuthentication(PeerAuthenticationRecord), peer_authentications, "peer_authentication";
            DestinationRule(DestinationRuleRecord), destination_rules, "destination_rule";
            MeshConfig(MeshConfigRecord), mesh_configs, "mesh_config";
            GatewayClass(GatewayClassRecord), gateway_classes, "gateway_class";
            Gateway(GatewayRecord), gateways, "gateway";
            TlsRoute(TlsRouteRecord), tls_routes, "tls_route";
            ReferenceGrant(ReferenceGrantRecord), reference_grants, "reference_grant";
        }
    };
}
pub(super) use kinds;
