//! The input for the translation of one Service.

use std::sync::Arc;

use super::dns_names::DnsAnswers;
use super::others::OtherClusters;
use crate::config::{KubernetesConfig, ServicePort, UpstreamConfig, UpstreamSource};
use crate::server_name::{NameError, ServerName};
use crate::socket::OwnListeners;
use crate::source::kubernetes::cluster::{Cluster, Strings};
use crate::source::kubernetes::records::ObjectKey;

/// The input for translating a Service.
#[derive(Debug)]
pub(super) struct Context<'a> {
    pub(super) cluster: &'a Cluster,
    /// The other clusters of the mesh.
    pub(super) others: &'a OtherClusters,
    /// The addresses of DNS names.
    pub(super) names: &'a DnsAnswers,
    pub(super) policy: &'a KubernetesConfig,
    /// The addresses that this gateway listens on.
    pub(super) own: &'a OwnListeners,
    pub(super) strings: &'a mut Strings,
}

/// The host of a Service in a domain, with a prefix.
pub(super) fn host(key: &ObjectKey, prefix: &str, domain: &str) -> Result<ServerName, NameError> {
    let ObjectKey { namespace, name } = key;
    ServerName::parse(format!("{prefix}{name}.{namespace}.svc.{domain}").as_bytes())
}

/// The upstream of a port, by the policy.
pub(super) fn upstream(context: &mut Context<'_>, port: &ServicePort) -> Arc<UpstreamConfig> {
    Arc::new(UpstreamConfig {
        name: context.strings.shared(&port.to_string()).into(),
        source: UpstreamSource::Kubernetes(port.clone()),
        ..UpstreamConfig::clone(&context.policy.upstream)
    })
}
