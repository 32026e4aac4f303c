//! Configs for the unit tests of other rooms: what a small file comes to, defaults included.

use super::{Config, KubernetesConfig, ListenerConfig, UpstreamConfig, UpstreamSource};

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
    config().listeners.remove(0)
}

/// An upstream `u` with the default policy.
pub(crate) fn upstream(source: UpstreamSource) -> UpstreamConfig {
    UpstreamConfig {
        source,
        ..(*config().upstreams["u"]).clone()
    }
}

/// A Kubernetes source that exports nothing and looks at no Gateways.
pub(crate) fn kubernetes() -> KubernetesConfig {
    (*config().kubernetes.unwrap()).clone()
}
