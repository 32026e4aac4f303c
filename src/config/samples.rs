//! Configs for unit tests of other modules: the result of a small file, with defaults.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::checked::{
    BelowFileRoutes, Config, FileNames, GatewayAddresses, GatewayApiConfig, GatewayNamespaces,
    KubernetesConfig, ListenerConfig, PortRange, UpstreamConfig, UpstreamSource,
};

fn config() -> Config {
    let text = "
listeners: [{ name: l, bind: '127.0.0.1:0' }]
upstreams: { u: { endpoints: ['10.0.0.1:80'] } }
kubernetes: { gateway_api: off }
";
    Config::parse(text, "a sample").unwrap()
}

/// A listener without routes.
pub(crate) fn listener() -> ListenerConfig {
    Arc::unwrap_or_clone(config().listeners.remove(0))
}

/// An upstream `u` with the default policy.
pub(crate) fn upstream(source: UpstreamSource) -> UpstreamConfig {
    UpstreamConfig {
        source,
        ..(*config().upstreams["u"]).clone()
    }
}

/// A Kubernetes source that exports nothing and ignores Gateways.
pub(crate) fn kubernetes() -> KubernetesConfig {
    (*config().kubernetes.unwrap()).clone()
}

/// Gateways of all namespaces, on all ports.
pub(crate) fn gateway_api() -> GatewayApiConfig {
    GatewayApiConfig {
        class: "strait".into(),
        controller: "strait.dev/gateway-controller".into(),
        listener: Arc::new(listener()),
        addresses: GatewayAddresses::Unknown,
        reserved_ports: BTreeSet::new(),
        namespaces: GatewayNamespaces::All,
        namespace_labels: BTreeMap::new(),
        home: Some("strait".into()),
        ports: vec![PortRange {
            first: 1,
            last: 65535,
        }],
        below_file_routes: BelowFileRoutes::Refuse,
        file_names: FileNames::default(),
    }
}
