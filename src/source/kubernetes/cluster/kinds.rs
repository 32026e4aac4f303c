//! The kinds of object that are watched, with their records and tables. The kinds alone, with their labels, are
//! [`Kind`](super::Kind); the compiler holds the two lists to each other.

/// Hands the list to the macro `$then`, a line a kind: the kind and the type of its records, and the
/// name of its table in [`Cluster`](super::Cluster).
macro_rules! kinds {
    ($then:ident) => {
        $then! {
            Service(ServiceRecord), services;
            Slice(SliceRecord), slices;
            Pod(PodRecord), pods;
            Namespace(NamespaceRecord), namespaces;
            Node(NodeRecord), nodes;
            ServiceExport(ServiceExportRecord), service_exports;
            PeerAuthentication(PeerAuthenticationRecord), peer_authentications;
            DestinationRule(DestinationRuleRecord), destination_rules;
            ServiceEntry(ServiceEntryRecord), service_entries;
            WorkloadEntry(WorkloadEntryRecord), workload_entries;
            MeshConfig(MeshConfigRecord), mesh_configs;
            GatewayClass(GatewayClassRecord), gateway_classes;
            Gateway(GatewayRecord), gateways;
            TlsRoute(TlsRouteRecord), tls_routes;
            ReferenceGrant(ReferenceGrantRecord), reference_grants;
        }
    };
}
pub(super) use kinds;
