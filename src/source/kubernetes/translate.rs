//! Records and policy -> routes, endpoints, and why a host has no route. Pure.

use std::sync::Arc;

use super::cluster::{Change, Cluster, Dirty};
use super::discovered::{Discovered, Routing};
use super::gateways::{self, Statuses};
use crate::config::KubernetesConfig;

/// Keeps the translation of a cluster true, change by change.
#[derive(Debug)]
pub struct Translator {
    policy: Arc<KubernetesConfig>,
    cluster: Cluster,
    statuses: Arc<Statuses>,
}

impl Translator {
    /// Of a cluster in which nothing is.
    pub fn new(policy: Arc<KubernetesConfig>) -> Self {
        Self {
            policy,
            cluster: Cluster::default(),
            statuses: Arc::default(),
        }
    }

    /// Takes the changes over. `None`: nothing that matters changed.
    pub fn apply(&mut self, changes: impl IntoIterator<Item = Change>) -> Option<Arc<Discovered>> {
        let mut dirty = Dirty::default();
        for change in changes {
            self.cluster.apply(change, &mut dirty);
        }
        if dirty == Dirty::default() {
            return None;
        }
        let mut routing = Routing::default();
        let mut discovered = Discovered::default();
        if let Some(config) = &self.policy.gateway_api {
            let translated = gateways::translate(&self.cluster, &self.policy, config, &|_| false);
            self.statuses = translated.statuses;
            routing.gateways = translated.routes;
            let endpoints = translated.backends.iter().map(|backend| {
                let name: Arc<str> = backend.to_string().into();
                (name, Arc::from([]))
            });
            discovered.endpoints = endpoints.collect();
        }
        discovered.routing = Arc::new(routing);
        Some(Arc::new(discovered))
    }

    /// The zone of the node that the gateway runs on, once known.
    pub fn own_zone(&self) -> Option<Arc<str>> {
        let name = self.policy.node.clone()?;
        let key = super::records::ObjectKey {
            namespace: "".into(),
            name,
        };
        self.cluster.nodes.get(&key)?.zone.clone()
    }

    /// The status that each object of the Gateway API should have. The same `Arc` as before when nothing
    /// of it has changed.
    pub fn statuses(&self) -> Arc<Statuses> {
        self.statuses.clone()
    }

    /// Every record there is.
    pub fn cluster(&self) -> &Cluster {
        &self.cluster
    }
}
