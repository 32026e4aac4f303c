//! The record of a whole mesh's settings: those of Istio's ConfigMap under the key `mesh`.

use std::sync::Arc;

use super::gateway::LabelSelector;
use crate::config::ISTIO_ROOT_NAMESPACE;

/// The settings of a mesh that narrow who may be reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MeshConfigRecord {
    /// `rootNamespace`: policies in it apply to the whole mesh.
    pub root_namespace: Arc<str>,
    /// `defaultServiceExportTo`: the namespaces that a Service is shown to if it has no such setting
    /// itself.
    pub service_export_to: Box<[Arc<str>]>,
    /// True if `defaultDestinationRuleExportTo` keeps a DestinationRule in its own namespace if it has
    /// no such setting itself.
    pub rules_are_private: bool,
    /// `discoverySelectors`: the mesh knows the namespaces whose labels match one of them. Empty: it
    /// knows every namespace.
    pub discovery: Box<[LabelSelector]>,
    /// `serviceSettings`: hosts, or wildcards such as `*.example.local`, each with its `clusterLocal`: only the
    /// callers of a cluster reach the pods of that cluster there. Of two entries with one host the later counts.
    pub cluster_local: Box<[(Arc<str>, bool)]>,
    /// True if the key `meshNetworks` puts pods into networks. strait does not read which.
    pub has_networks: bool,
}

impl Default for MeshConfigRecord {
    /// Istio's defaults.
    fn default() -> Self {
        Self {
            root_namespace: ISTIO_ROOT_NAMESPACE.into(),
            service_export_to: ["*".into()].into(),
            rules_are_private: false,
            discovery: Box::default(),
            cluster_local: Box::default(),
            has_networks: false,
        }
    }
}
