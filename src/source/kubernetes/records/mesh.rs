//! Settings of a whole mesh: what Istio's ConfigMap says under the key `mesh`.

use std::sync::Arc;

use super::gateway::LabelSelector;
use crate::config::ISTIO_ROOT_NAMESPACE;

/// Those settings of a mesh that narrow who may be reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MeshConfigRecord {
    /// `rootNamespace`: its policies hold for the whole mesh.
    pub root_namespace: Arc<str>,
    /// `defaultServiceExportTo`: to which namespaces a Service is shown that does not say it itself.
    pub service_export_to: Box<[Arc<str>]>,
    /// Whether `defaultDestinationRuleExportTo` keeps a DestinationRule that does not say it itself in its
    /// own namespace.
    pub rules_are_private: bool,
    /// `discoverySelectors`: one of them takes the labels of each namespace that the mesh knows; empty: it
    /// knows every namespace.
    pub discovery: Box<[LabelSelector]>,
    /// Whether the key `meshNetworks` puts pods into networks, which is not read.
    pub has_networks: bool,
}

impl Default for MeshConfigRecord {
    /// What holds where nothing is said.
    fn default() -> Self {
        Self {
            root_namespace: ISTIO_ROOT_NAMESPACE.into(),
            service_export_to: ["*".into()].into(),
            rules_are_private: false,
            discovery: Box::default(),
            has_networks: false,
        }
    }
}
