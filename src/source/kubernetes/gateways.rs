//! Gateways and TLSRoutes: records -> routes by port, and the status that each object gets.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::cluster::Cluster;
use crate::config::{GatewayApiConfig, KubernetesConfig, RouteConfig, ServicePort};

/// What the Gateway API's objects ask for.
#[derive(Debug, Default)]
pub(super) struct Translated {
    /// Routes by the port of the Gateway's listener; a port without routes is listened on too.
    pub(super) routes: BTreeMap<u16, Vec<RouteConfig>>,
    /// What the routes' upstreams stand for: each is called as its `ServicePort` is displayed. One that
    /// has no pods, or no Service, refuses.
    pub(super) backends: BTreeSet<ServicePort>,
    /// The status of every object, to be written back.
    pub(super) statuses: Arc<Statuses>,
}

/// The status that each object of the Gateway API should have.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Statuses;

/// Reads the Gateway API's objects. `in_mesh` says whether a service port has a pod that speaks Istio's
/// mutual TLS.
pub(super) fn translate(
    _cluster: &Cluster,
    _policy: &KubernetesConfig,
    _config: &GatewayApiConfig,
    _in_mesh: &dyn Fn(&ServicePort) -> bool,
) -> Translated {
    Translated::default()
}
